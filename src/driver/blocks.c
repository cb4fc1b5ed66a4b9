// SPDX-License-Identifier: BSD-3-Clause
/*
 * One state for each sub-block, and the counts that follow. A byte, not several
 * bitmaps: so no combination exists that means nothing, and another thread can
 * read one beside a writer. The counts of the units let searches skip.
 */
#include "driver_internal.h"

uint64_t drv_addr_of(const struct vmem_driver *drv, uint64_t sub)
{
	return drv->geo.base + sub * drv->geo.sub_size;
}

uint64_t drv_bytes_of(const struct vmem_driver *drv, struct sub_run run)
{
	return run.nr * drv->geo.sub_size;
}

uint64_t drv_unit_of(const struct vmem_driver *drv, uint64_t sub)
{
	return drv_addr_of(drv, sub) / drv->geo.unit_size - drv->geo.first_unit;
}

struct sub_run drv_subs_of(const struct vmem_driver *drv, uint64_t unit)
{
	const struct geometry *geo = &drv->geo;
	uint64_t per_unit = geo->unit_size / geo->sub_size;
	uint64_t cut = geo->base / geo->sub_size % per_unit; /* of unit 0 */
	uint64_t first = unit == 0 ? 0 : unit * per_unit - cut;
	uint64_t end = (unit + 1) * per_unit - cut;

	if (end > geo->nr_subs)
		end = geo->nr_subs;
	return (struct sub_run){.first = first, .nr = end - first};
}

uint64_t drv_unit_usable(const struct unit *unit)
{
	return (uint64_t)unit->counts[VMEM_DRIVER_ADDING] +
	       unit->counts[VMEM_DRIVER_USED] +
	       unit->counts[VMEM_DRIVER_TAKING];
}

uint64_t drv_unit_plugged(const struct unit *unit)
{
	return drv_unit_usable(unit) + unit->counts[VMEM_DRIVER_HELD];
}

static void set_one(struct vmem_driver *drv, uint64_t sub,
		    enum vmem_driver_state state)
{
	struct unit *unit = &drv->units[drv_unit_of(drv, sub)];
	enum vmem_driver_state before = drv_state(drv, sub);

	unit->counts[before]--;
	unit->counts[state]++;
	drv->totals[before]--;
	drv->totals[state]++;
	*(volatile uint8_t *)&drv->states[sub] = (uint8_t)state;
}

void drv_set(struct vmem_driver *drv, struct sub_run run,
	     enum vmem_driver_state state)
{
	for (uint64_t i = 0; i < run.nr; i++)
		set_one(drv, run.first + i, state);
}

void drv_change(struct vmem_driver *drv, struct sub_run run,
		enum vmem_driver_state from, enum vmem_driver_state to)
{
	for (uint64_t i = 0; i < run.nr; i++) {
		if (drv_state(drv, run.first + i) == from)
			set_one(drv, run.first + i, to);
	}
}

bool drv_find(const struct vmem_driver *drv, struct sub_run range,
	      enum vmem_driver_state state, uint64_t max, struct sub_run *run)
{
	uint64_t end = range.first + range.nr;
	uint64_t sub = range.first;

	while (sub < end && drv_state(drv, sub) != state)
		sub++;
	run->first = sub;
	while (sub < end && sub - run->first < max &&
	       drv_state(drv, sub) == state)
		sub++;
	run->nr = sub - run->first;
	return run->nr > 0;
}

bool drv_find_last(const struct vmem_driver *drv, struct sub_run range,
		   enum vmem_driver_state state, uint64_t max,
		   struct sub_run *run)
{
	uint64_t end = range.first + range.nr, first;

	while (end > range.first && drv_state(drv, end - 1) != state)
		end--;
	first = end;
	while (first > range.first && end - first < max &&
	       drv_state(drv, first - 1) == state)
		first--;
	run->first = first;
	run->nr = end - first;
	return run->nr > 0;
}
