/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who answers an access of a processor to a port or to memory that is no RAM.
 * Ranges are added while the VM is made and fixed from then on, so look-ups
 * take no lock; each device has a lock of its own.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

/* offset counts from the start of the range; len is 1, 2, 4 or 8. Called from
 * vCPU threads, several at a time. */
struct bus_ops {
	void (*read)(void *opaque, uint64_t offset, void *data,
		     unsigned int len);
	void (*write)(void *opaque, uint64_t offset, const void *data,
		      unsigned int len);
};

struct bus_range {
	uint64_t start;
	uint64_t size;
	const struct bus_ops *ops;
	void *opaque;
};

#define BUS_MAX_RANGES 16

struct bus {
	unsigned int nr_ranges;
	struct bus_range ranges[BUS_MAX_RANGES];
};

/* The range must not overlap one that is there; asserts that there is room. */
void bus_add(struct bus *bus, const struct bus_range *range);

/* Reads of what nobody claims give all ones, writes are dropped. */
void bus_read(const struct bus *bus, uint64_t addr, void *data,
	      unsigned int len);
void bus_write(const struct bus *bus, uint64_t addr, const void *data,
	       unsigned int len);

#endif
