/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this folder share. */
#ifndef BARE_X86_X86_H
#define BARE_X86_X86_H

#include "../arch.h"
#include "../mmio.h"

#define MAX_CPUS ARCH_MAX_CPUS
#define LAPIC	 UINT64_C(0xfee00000)
#define LAPIC_ID (LAPIC + 0x20)

/* Where try_escape() goes; entry.S knows the first two members. */
struct catch
{
	uint64_t stack;
	uint32_t active;
	struct arch_fault fault;
};

struct pvh_start_info;

/* entry.S */
bool try_call(struct catch *c, void (*fn)(void *), void *arg);
_Noreturn void try_escape(struct catch *c);
extern const uint8_t ap_trampoline[], ap_trampoline_end[];
extern const uint8_t wake_trampoline[], wake_trampoline_end[];
extern const uint8_t wake_flat[];
extern const uint8_t fault_stubs[];
extern volatile uint32_t ap_arrived;
extern uint64_t pml4[512];

/* Called from entry.S. */
void arch_main(const struct pvh_start_info *info);
void ap_main(unsigned int number);
_Noreturn void wake_main(void);
_Noreturn void fault_entry(uint64_t vector, uint64_t error, uint64_t ip);

void faults_init(void);
/* Interrupt controllers and UART, as we use them. */
void platform_init(void);

static inline unsigned int this_cpu(void)
{
	return load32(LAPIC_ID) >> 24;
}

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

#endif
