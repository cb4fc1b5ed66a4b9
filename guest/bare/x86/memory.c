// SPDX-License-Identifier: BSD-3-Clause
/* Page tables and exceptions. */
#include <stddef.h>
#include <string.h>

#include "x86.h"

#define PAGE_SIZE      4096U
#define PRESENT_WRITE  3U
#define LARGE	       0x80U
#define LARGE_SIZE     (UINT64_C(2) << 20)
#define NR_TABLES      1024 /* each page directory of them maps 1 GiB */
#define CODE64	       0x08
#define INTERRUPT_GATE 0x8e00
#define NR_VECTORS     33 /* exceptions, and the timer */
#define STUB_SIZE      16

struct gate {
	uint16_t offset_low, selector, type, offset_middle;
	uint32_t offset_high, zero;
};

extern struct gate idt[NR_VECTORS];

static uint64_t tables[NR_TABLES][512] __attribute__((aligned(PAGE_SIZE)));
static unsigned int nr_tables;
static struct catch catches[MAX_CPUS];

/* ---- Page tables ------------------------------------------------------- */

/* The table that an entry leads to; a new one if there is none. */
static uint64_t *descend(uint64_t *entry)
{
	if (!(*entry & 1)) {
		if (nr_tables == NR_TABLES)
			bare_panic(NULL);
		*entry = (uint64_t)tables[nr_tables++] | PRESENT_WRITE;
	}
	return (uint64_t *)(*entry & ~UINT64_C(0xfff));
}

static uint64_t *directory_entry(uint64_t addr)
{
	uint64_t *pdpt = descend(&pml4[addr >> 39 & 511]);

	return &descend(&pdpt[addr >> 30 & 511])[addr >> 21 & 511];
}

void arch_map(uint64_t addr, uint64_t size)
{
	uint64_t at = addr & ~(LARGE_SIZE - 1), last = addr + size - 1;

	for (;; at += LARGE_SIZE) {
		uint64_t *entry = directory_entry(at);

		if (!(*entry & 1))
			*entry = at | LARGE | PRESENT_WRITE;
		if (last - at < LARGE_SIZE)
			return;
	}
}

bool arch_map_by(uint64_t addr, uint64_t table)
{
	volatile uint64_t *entry =
		(volatile uint64_t *)table + (addr >> 12 & 511);
	uint64_t value = (uint64_t)tables[0] | PRESENT_WRITE;

	*directory_entry(addr) = table | PRESENT_WRITE;
	*entry = value;
	__asm__ volatile("invlpg (%0)" ::"r"(addr) : "memory");
	return *entry == value;
}

/* ---- Exceptions -------------------------------------------------------- */

void faults_init(void)
{
	for (unsigned int i = 0; i < NR_VECTORS; i++) {
		uint64_t stub = (uint64_t)fault_stubs + STUB_SIZE * i;

		idt[i] = (struct gate){
			.offset_low = (uint16_t)stub,
			.selector = CODE64,
			.type = INTERRUPT_GATE,
			.offset_middle = (uint16_t)(stub >> 16),
			.offset_high = (uint32_t)(stub >> 32),
		};
	}
}

void fault_entry(uint64_t vector, uint64_t error, uint64_t ip)
{
	struct catch *c = &catches[this_cpu() % MAX_CPUS];

	c->fault =
		(struct arch_fault){.vector = vector, .error = error, .ip = ip};
	__asm__ volatile("movq %%cr2, %0" : "=r"(c->fault.address));
	if (!c->active)
		bare_panic(&c->fault);
	try_escape(c);
}

bool arch_try(void (*fn)(void *arg), void *arg, struct arch_fault *fault)
{
	struct catch *c = &catches[this_cpu() % MAX_CPUS];
	bool returned = try_call(c, fn, arg);

	if (!returned && fault)
		*fault = c->fault;
	return returned;
}
