// SPDX-License-Identifier: BSD-3-Clause
/* Dispatch of port and memory accesses to devices. */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "bus.h"

void bus_add(struct bus *bus, const struct bus_range *range)
{
	assert(bus->nr_ranges < BUS_MAX_RANGES);
	for (unsigned int i = 0; i < bus->nr_ranges; i++) {
		const struct bus_range *other = &bus->ranges[i];

		assert(range->start + range->size <= other->start ||
		       other->start + other->size <= range->start);
		(void)other;
	}
	bus->ranges[bus->nr_ranges++] = *range;
}

/* An access that sticks out of its range belongs to nobody. */
static const struct bus_range *bus_find(const struct bus *bus, uint64_t addr,
					unsigned int len)
{
	for (unsigned int i = 0; i < bus->nr_ranges; i++) {
		const struct bus_range *range = &bus->ranges[i];

		if (addr >= range->start && addr - range->start < range->size &&
		    len <= range->size - (addr - range->start))
			return range;
	}
	return NULL;
}

void bus_read(const struct bus *bus, uint64_t addr, void *data,
	      unsigned int len)
{
	const struct bus_range *range = bus_find(bus, addr, len);

	if (range)
		range->ops->read(range->opaque, addr - range->start, data, len);
	else
		memset(data, 0xff, len);
}

void bus_write(const struct bus *bus, uint64_t addr, const void *data,
	       unsigned int len)
{
	const struct bus_range *range = bus_find(bus, addr, len);

	if (range)
		range->ops->write(range->opaque, addr - range->start, data,
				  len);
}
