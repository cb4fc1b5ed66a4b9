/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one accessor from guest-physical addresses to host memory. Guest
 * addresses are integers; nothing else in the VMM turns one into a pointer.
 */
#ifndef VMM_GUEST_MEMORY_H
#define VMM_GUEST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "host/hostmem.h"

/* A run of guest-physical addresses backed by a part of one backend. */
struct guest_region {
	uint64_t gpa;
	uint64_t size;
	struct hostmem *mem;
	uint64_t offset; /* of gpa in mem */
	bool boot;	 /* boot memory: it is in the firmware map */
	unsigned int node;
};

#define GUEST_MEMORY_MAX_REGIONS 192

/* Regions in ascending order, without overlap; fixed once the VM runs. */
struct guest_memory {
	unsigned int nr_regions;
	struct guest_region regions[GUEST_MEMORY_MAX_REGIONS];
};

/* Add a region at the end; -ENOSPC if full, -EINVAL if out of order. */
int guest_memory_add(struct guest_memory *gm, const struct guest_region *r);

/*
 * Host address of [gpa, gpa + len), or NULL if any byte of it is not guest
 * memory, or if it spans two regions. len 0 gives NULL.
 */
void *guest_memory_map(const struct guest_memory *gm, uint64_t gpa,
		       uint64_t len);

/* The region that holds gpa, or NULL. */
const struct guest_region *guest_memory_find(const struct guest_memory *gm,
					     uint64_t gpa);

#endif
