// SPDX-License-Identifier: BSD-3-Clause
/*
 * Growing: plug where the OS already has the unit, then in new units; hand what
 * is plugged to the OS.
 */
#include "driver_internal.h"

/* ---- From the device --------------------------------------------------- */

/* The longest run to plug that begins at the first unplugged sub-block of a
 * unit; it goes on into the next units as long as they are in this state. */
static struct sub_run run_from(const struct vmem_driver *drv, uint64_t unit,
			       uint64_t usable, uint64_t max)
{
	enum unit_state wanted = (enum unit_state)drv->units[unit].state;
	struct sub_run range = drv_subs_of(drv, unit), run, part;

	if (range.first + range.nr > usable)
		range.nr = usable - range.first;
	if (!drv_find(drv, range, VMEM_DRIVER_UNPLUGGED, max, &run))
		return (struct sub_run){0};
	while (run.nr < max && run.first + run.nr == range.first + range.nr) {
		if (++unit == drv->geo.nr_units ||
		    drv->units[unit].state != wanted)
			break;
		range = drv_subs_of(drv, unit);
		if (range.first + range.nr > usable)
			break;
		if (!drv_find(drv, range, VMEM_DRIVER_UNPLUGGED, max - run.nr,
			      &part) ||
		    part.first != range.first)
			break;
		run.nr += part.nr;
	}
	return run;
}

static bool choose(const struct vmem_driver *drv, enum unit_state state,
		   uint64_t max, struct sub_run *run)
{
	uint64_t usable = drv_nr_usable_subs(drv);

	for (uint64_t u = 0; u < drv->geo.nr_units; u++) {
		if (drv_subs_of(drv, u).first >= usable)
			return false;
		if (drv->units[u].state != state ||
		    drv->units[u].counts[VMEM_DRIVER_UNPLUGGED] == 0)
			continue;
		*run = run_from(drv, u, usable, max);
		if (run->nr > 0)
			return true;
	}
	return false;
}

static void plug(struct vmem_driver *drv, uint64_t target)
{
	uint64_t max_run = MAX_REQUEST_BLOCKS / drv->geo.blocks_per_sub;
	uint64_t have, max;
	struct sub_run run;

	while (drv_may_submit(drv)) {
		/* What is being unplugged counts until the device said so:
		 * it may answer in any order. */
		have = drv->geo.nr_subs - drv->totals[VMEM_DRIVER_UNPLUGGED];
		if (have >= target)
			return;
		max = target - have;
		if (max > max_run)
			max = max_run;
		if (max > drv->plug_batch)
			max = drv->plug_batch;
		if (!choose(drv, UNIT_PRESENT, max, &run) &&
		    !choose(drv, UNIT_ABSENT, max, &run))
			return;
		if (!drv_submit_run(drv, VMEM_REQ_PLUG, run))
			return;
	}
}

/* ---- To the OS --------------------------------------------------------- */

static void add_failed(struct vmem_driver *drv, struct unit *unit)
{
	unit->add_refused = true;
	drv->count.nr_adds_refused++;
	drv_refused(drv, &drv->os_retry);
}

void drv_added(struct vmem_driver *drv, struct sub_run run, int result)
{
	drv_set(drv, run, result < 0 ? VMEM_DRIVER_HELD : VMEM_DRIVER_USED);
	if (result < 0)
		add_failed(drv, &drv->units[drv_unit_of(drv, run.first)]);
	else
		drv_succeeded(&drv->os_retry);
}

void drv_unit_added(struct vmem_driver *drv, uint64_t number, int result)
{
	struct unit *unit = &drv->units[number];

	drv_change(drv, drv_subs_of(drv, number), VMEM_DRIVER_ADDING,
		   result < 0 ? VMEM_DRIVER_HELD : VMEM_DRIVER_USED);
	unit->state = result < 0 ? UNIT_ABSENT : UNIT_PRESENT;
	if (result < 0)
		add_failed(drv, unit);
	else
		drv_succeeded(&drv->os_retry);
}

/* An op of the OS; its result if it is known, else VMEM_DRIVER_LATER. */
static int add_unit(struct vmem_driver *drv, uint64_t number)
{
	int result;

	drv_change(drv, drv_subs_of(drv, number), VMEM_DRIVER_HELD,
		   VMEM_DRIVER_ADDING);
	drv->units[number].state = UNIT_ADDING;
	result = drv->ops->unit_add(drv->opaque,
				    (drv->geo.first_unit + number) *
					    drv->geo.unit_size,
				    drv->geo.unit_size);
	if (result <= 0)
		drv_unit_added(drv, number, result);
	return result;
}

static int add_run(struct vmem_driver *drv, struct sub_run run)
{
	int result;

	drv_set(drv, run, VMEM_DRIVER_ADDING);
	result = drv->ops->add_range(drv->opaque, drv_addr_of(drv, run.first),
				     drv_bytes_of(drv, run));
	if (result <= 0)
		drv_added(drv, run, result);
	return result;
}

/* Whether the OS can be given what is held of a unit. */
static bool may_add(const struct unit *unit)
{
	if (unit->counts[VMEM_DRIVER_HELD] == 0 || unit->add_refused)
		return false;
	/* A new unit comes with all that is on its way. */
	return unit->state == UNIT_PRESENT ||
	       (unit->state == UNIT_ABSENT &&
		unit->counts[VMEM_DRIVER_PLUGGING] == 0 &&
		unit->counts[VMEM_DRIVER_UNPLUGGING] == 0);
}

/* The next of the OS's ops for a unit; its result. */
static int add_to(struct vmem_driver *drv, uint64_t number)
{
	struct sub_run run;

	if (drv->units[number].state == UNIT_ABSENT)
		return add_unit(drv, number);
	drv_find(drv, drv_subs_of(drv, number), VMEM_DRIVER_HELD, UINT64_MAX,
		 &run);
	return add_run(drv, run);
}

/* Ops that go on are started for all; one that ends at once ends this. */
static void hand_out(struct vmem_driver *drv)
{
	for (uint64_t u = 0; u < drv->geo.nr_units; u++) {
		if (drv->totals[VMEM_DRIVER_HELD] == 0)
			return;
		while (may_add(&drv->units[u])) {
			if (add_to(drv, u) <= 0) {
				drv->again = true;
				return;
			}
		}
	}
}

void drv_grow(struct vmem_driver *drv, uint64_t target)
{
	if (!drv_waits(drv, &drv->device_retry))
		plug(drv, target);
	/* The device works while the OS does. */
	drv_kick(drv);
	hand_out(drv);
}
