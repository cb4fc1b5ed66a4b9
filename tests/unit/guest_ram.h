/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory for tests that need no VM: fresh zero pages between two that
 * cannot be touched, so that a write beside them ends the test.
 */
#ifndef TESTS_GUEST_RAM_H
#define TESTS_GUEST_RAM_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/guest_memory.h"

#define MIB	   (1ULL << 20)
#define GUARD_SIZE 4096

struct guest_ram {
	struct hostmem mem;
	struct guest_memory gm;
};

/* Backing of size bytes, no region yet. */
static inline void ram_make(struct guest_ram *ram, uint64_t size)
{
	uint8_t *at = mmap(NULL, size + 2 * GUARD_SIZE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(at != MAP_FAILED);
	assert_int_equal(
		mprotect(at + GUARD_SIZE, size, PROT_READ | PROT_WRITE), 0);
	memset(ram, 0, sizeof(*ram));
	ram->mem = (struct hostmem){
		.fd = -1,
		.size = size,
		.base = at + GUARD_SIZE,
		.align = 4096,
	};
}

/* The next size bytes of the backing at gpa. */
static inline void ram_add(struct guest_ram *ram, uint64_t gpa, uint64_t size,
			   bool boot)
{
	struct guest_region r = {
		.gpa = gpa,
		.size = size,
		.mem = &ram->mem,
		.boot = boot,
	};

	for (unsigned int i = 0; i < ram->gm.nr_regions; i++)
		r.offset += ram->gm.regions[i].size;
	assert_int_equal(guest_memory_add(&ram->gm, &r), 0);
}

/* One region of boot memory at 0, as most tests want it. */
static inline void ram_make_boot(struct guest_ram *ram, uint64_t size)
{
	ram_make(ram, size);
	ram_add(ram, 0, size, true);
}

static inline void ram_free(struct guest_ram *ram)
{
	munmap(ram->mem.base - GUARD_SIZE, ram->mem.size + 2 * GUARD_SIZE);
}

#endif
