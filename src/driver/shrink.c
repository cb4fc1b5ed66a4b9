// SPDX-License-Identifier: BSD-3-Clause
/*
 * Shrinking: unplug what is held; take more from the OS, the cheapest units
 * first (see struct shrink). One op of the OS at a time.
 */
#include "driver_internal.h"

void drv_forget_visit(struct vmem_driver *drv)
{
	drv->shrink.visiting = false;
	drv->shrink.nr_candidates = 0;
	drv->shrink.next = 0;
}

void drv_forgive(struct vmem_driver *drv)
{
	for (uint64_t u = 0; u < drv->geo.nr_units; u++) {
		drv->units[u].add_refused = false;
		drv->units[u].take_refused = false;
	}
	drv->shrink.exhausted = false;
	if (!drv->shrink.taking)
		drv_forget_visit(drv);
}

/* ---- To the device ----------------------------------------------------- */

/* The last held run before end; units that hold nothing are skipped. */
static bool find_held(const struct vmem_driver *drv, uint64_t end, uint64_t max,
		      struct sub_run *run)
{
	struct sub_run range = {.first = 0};

	for (uint64_t u = drv->geo.nr_units; u-- > 0;) {
		struct sub_run subs = drv_subs_of(drv, u);

		if (subs.first >= end ||
		    drv->units[u].counts[VMEM_DRIVER_HELD] == 0)
			continue;
		range.nr = subs.first + subs.nr;
		if (range.nr > end)
			range.nr = end;
		if (drv_find_last(drv, range, VMEM_DRIVER_HELD, max, run))
			return true;
	}
	return false;
}

/* Unplug held sub-blocks, the last ones first, but no more than surplus. */
static void unplug(struct vmem_driver *drv, uint64_t surplus)
{
	uint64_t max_run = MAX_REQUEST_BLOCKS / drv->geo.blocks_per_sub;
	uint64_t end = drv->geo.nr_subs, max;
	struct sub_run run;

	while (surplus > 0 && drv->totals[VMEM_DRIVER_HELD] > 0 &&
	       drv_may_submit(drv)) {
		max = surplus < max_run ? surplus : max_run;
		if (!find_held(drv, end, max, &run) ||
		    !drv_submit_run(drv, VMEM_REQ_UNPLUG, run))
			return;
		surplus -= run.nr;
		end = run.first;
	}
}

/* ---- Candidates -------------------------------------------------------- */

static uint64_t unit_addr(const struct vmem_driver *drv, uint64_t unit)
{
	return drv_addr_of(drv, drv_subs_of(drv, unit).first);
}

static bool better(const struct candidate *a, const struct candidate *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->cost != b->cost)
		return a->cost < b->cost;
	return a->unit > b->unit;
}

/* Keep the best ones, in order. */
static void consider(struct shrink *shrink, const struct candidate *c)
{
	unsigned int at = shrink->nr_candidates;

	while (at > 0 && better(c, &shrink->candidates[at - 1]))
		at--;
	if (at == NR_CANDIDATES)
		return;
	if (shrink->nr_candidates < NR_CANDIDATES)
		shrink->nr_candidates++;
	for (unsigned int i = shrink->nr_candidates - 1; i > at; i--)
		shrink->candidates[i] = shrink->candidates[i - 1];
	shrink->candidates[at] = *c;
}

static bool may_take(const struct unit *unit)
{
	return unit->state == UNIT_PRESENT && !unit->take_refused &&
	       unit->counts[VMEM_DRIVER_USED] > 0;
}

static void survey(struct vmem_driver *drv)
{
	struct shrink *shrink = &drv->shrink;

	drv_forget_visit(drv);
	for (uint64_t u = 0; u < drv->geo.nr_units; u++) {
		const struct unit *unit = &drv->units[u];
		struct candidate c = {.unit = u};
		struct sub_run subs;

		if (!may_take(unit))
			continue;
		subs = drv_subs_of(drv, u);
		if (drv->ops->usage)
			c.cost = drv->ops->usage(drv->opaque, unit_addr(drv, u),
						 drv_bytes_of(drv, subs));
		if (c.cost == UINT64_MAX)
			continue;
		c.rank = drv_unit_plugged(unit) < subs.nr ? 1 : 2;
		consider(shrink, &c);
	}
}

/* ---- From the OS ------------------------------------------------------- */

static void take_refused(struct vmem_driver *drv, struct sub_run run, int error)
{
	drv->count.nr_takes_refused++;
	drv->count.refused_addr = drv_addr_of(drv, run.first);
	drv->count.refused_size = drv_bytes_of(drv, run);
	drv->count.refused_error = error;
}

/* unit_remove ended. After a refusal its runs are tried, if there are any. */
static void whole_taken(struct vmem_driver *drv, int result)
{
	struct shrink *shrink = &drv->shrink;
	struct unit *unit = &drv->units[shrink->unit];

	drv_change(drv, shrink->taken, VMEM_DRIVER_TAKING,
		   result < 0 ? VMEM_DRIVER_USED : VMEM_DRIVER_HELD);
	unit->state = result < 0 ? UNIT_PRESENT : UNIT_ABSENT;
	if (result < 0) {
		take_refused(drv, shrink->taken, result);
		/* Of an empty unit nothing is left to try. */
		if (unit->counts[VMEM_DRIVER_USED] == 0) {
			unit->take_refused = true;
			drv_refused(drv, &drv->os_retry);
			shrink->visiting = false;
		}
	} else {
		shrink->visiting = false;
	}
}

/* One take_range ended. After a refusal half is tried, then what is below. */
static void run_taken(struct vmem_driver *drv, int result)
{
	struct shrink *shrink = &drv->shrink;
	struct sub_run run = shrink->taken;

	drv_set(drv, run, result < 0 ? VMEM_DRIVER_USED : VMEM_DRIVER_HELD);
	if (result >= 0) {
		shrink->cursor = run.first;
		return;
	}
	take_refused(drv, run, result);
	if (run.nr > 1) {
		shrink->max_nr = run.nr / 2;
		return;
	}
	drv->units[shrink->unit].take_refused = true;
	shrink->cursor = run.first;
}

void drv_taken(struct vmem_driver *drv, int result)
{
	struct shrink *shrink = &drv->shrink;

	shrink->taking = false;
	if (shrink->taking_whole)
		whole_taken(drv, result);
	else
		run_taken(drv, result);
	if (result == 0)
		drv_succeeded(&drv->os_retry);
	drv->again = true;
}

static void remove_unit(struct vmem_driver *drv, uint64_t number)
{
	struct shrink *shrink = &drv->shrink;
	struct unit *unit = &drv->units[number];
	int result;

	shrink->unit = number;
	shrink->taking = true;
	shrink->taking_whole = true;
	shrink->taken = drv_subs_of(drv, number);
	drv_change(drv, shrink->taken, VMEM_DRIVER_USED, VMEM_DRIVER_TAKING);
	unit->state = UNIT_REMOVING;
	result = drv->ops->unit_remove(drv->opaque, unit_addr(drv, number),
				       drv->geo.unit_size);
	if (result <= 0)
		drv_taken(drv, result);
}

static void take_run(struct vmem_driver *drv, struct sub_run run)
{
	struct shrink *shrink = &drv->shrink;
	int result;

	shrink->taking = true;
	shrink->taking_whole = false;
	shrink->taken = run;
	drv_set(drv, run, VMEM_DRIVER_TAKING);
	result = drv->ops->take_range(drv->opaque, drv_addr_of(drv, run.first),
				      drv_bytes_of(drv, run));
	if (result <= 0)
		drv_taken(drv, result);
}

/* Whether the whole unit may go, and nothing of it is on its way. */
static bool may_remove(const struct vmem_driver *drv, const struct unit *unit,
		       uint64_t surplus)
{
	return drv_has_units(drv) && drv_unit_plugged(unit) <= surplus &&
	       unit->counts[VMEM_DRIVER_ADDING] == 0 &&
	       unit->counts[VMEM_DRIVER_PLUGGING] == 0;
}

static void begin_visit(struct vmem_driver *drv, uint64_t unit)
{
	struct sub_run subs = drv_subs_of(drv, unit);
	struct shrink *shrink = &drv->shrink;

	shrink->visiting = true;
	shrink->whole_tried = false;
	shrink->unit = unit;
	shrink->cursor = subs.first + subs.nr;
	shrink->max_nr = subs.nr;
}

/* The next op for the unit being visited. False: the visit is over. */
static bool visit(struct vmem_driver *drv, uint64_t surplus)
{
	struct shrink *shrink = &drv->shrink;
	struct unit *unit = &drv->units[shrink->unit];
	struct sub_run range = drv_subs_of(drv, shrink->unit), run;
	uint64_t max = surplus < shrink->max_nr ? surplus : shrink->max_nr;

	if (unit->state != UNIT_PRESENT)
		return false;
	if (!shrink->whole_tried && may_remove(drv, unit, surplus)) {
		shrink->whole_tried = true;
		remove_unit(drv, shrink->unit);
		return true;
	}
	range.nr = shrink->cursor - range.first;
	if (!drv_find_last(drv, range, VMEM_DRIVER_USED, max, &run))
		return false;
	take_run(drv, run);
	return true;
}

/* Begin to visit the next candidate. False: there is none left. */
static bool next_candidate(struct vmem_driver *drv)
{
	struct shrink *shrink = &drv->shrink;

	shrink->visiting = false;
	while (!shrink->visiting && shrink->next < shrink->nr_candidates) {
		uint64_t unit = shrink->candidates[shrink->next++].unit;

		if (may_take(&drv->units[unit]))
			begin_visit(drv, unit);
	}
	return shrink->visiting;
}

static void take(struct vmem_driver *drv, uint64_t surplus)
{
	struct shrink *shrink = &drv->shrink;
	bool surveyed = false;

	if (shrink->taking || shrink->exhausted)
		return;
	while (!shrink->visiting || !visit(drv, surplus)) {
		if (next_candidate(drv))
			continue;
		if (surveyed) {
			/* The OS refused everything. Before anything else is
			 * done, the caller may see that and try harder. */
			shrink->exhausted = true;
			drv_refused(drv, &drv->os_retry);
			drv->again = true;
			return;
		}
		survey(drv);
		surveyed = true;
	}
}

void drv_shrink(struct vmem_driver *drv, uint64_t surplus)
{
	uint64_t coming =
		drv->totals[VMEM_DRIVER_HELD] + drv->totals[VMEM_DRIVER_TAKING];

	if (!drv_waits(drv, &drv->device_retry))
		unplug(drv, surplus);
	drv_kick(drv);
	if (surplus > coming)
		take(drv, surplus - coming);
}

bool drv_unit_is_empty(const struct unit *unit)
{
	return unit->state == UNIT_PRESENT && drv_unit_plugged(unit) == 0 &&
	       unit->counts[VMEM_DRIVER_PLUGGING] == 0;
}

void drv_tidy(struct vmem_driver *drv)
{
	if (!drv_has_units(drv) || drv->shrink.taking)
		return;
	for (uint64_t u = 0; u < drv->geo.nr_units; u++) {
		if (drv_unit_is_empty(&drv->units[u]) &&
		    !drv->units[u].take_refused) {
			drv_forget_visit(drv);
			remove_unit(drv, u);
			return;
		}
	}
}
