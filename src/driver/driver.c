// SPDX-License-Identifier: BSD-3-Clause
/*
 * The public calls, and the one loop body behind them: events only change the
 * books, and vmem_driver_run() acts on what the books say. So an event may come
 * in any state, in any order, any number of times.
 *
 * Invariants, between calls:
 * - the counts of a unit, and the totals, are those of the states;
 * - a sub-block is PLUGGING or UNPLUGGING if and only if one request in flight
 *   covers it; TAKING if and only if the op in struct shrink covers it;
 * - where the OS has units, a sub-block is USED or TAKING only in a unit that
 *   is PRESENT or REMOVING.
 */
#include <string.h>

#include "driver_internal.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))

/* ---- Life cycle -------------------------------------------------------- */

static bool ops_are_complete(const struct vmem_driver_ops *ops)
{
	return ops && ops->submit && ops->read_config && ops->add_range &&
	       ops->take_range && !ops->unit_add == !ops->unit_remove;
}

static enum vmem_driver_phase first_phase(const struct vmem_driver *drv)
{
	if (drv->config.start == VMEM_DRIVER_START_LOOK)
		return VMEM_DRIVER_SYNCING;
	if (drv->device.plugged_size == 0)
		return VMEM_DRIVER_ACTIVE;
	if (drv->config.start == VMEM_DRIVER_START_ADOPT)
		return VMEM_DRIVER_SYNCING;
	return VMEM_DRIVER_CLEARING;
}

static void init_units(struct vmem_driver *drv)
{
	for (uint64_t u = 0; u < drv->geo.nr_units; u++) {
		struct unit *unit = &drv->units[u];

		memset(unit, 0, sizeof(*unit));
		unit->counts[VMEM_DRIVER_UNPLUGGED] =
			(uint32_t)drv_subs_of(drv, u).nr;
		/* Without unit ops all units are there. */
		unit->state = drv_has_units(drv) ? UNIT_ABSENT : UNIT_PRESENT;
	}
}

struct vmem_driver *vmem_driver_init(void *storage, size_t storage_size,
				     const struct vmem_driver_config *config,
				     const struct vmem_config *device,
				     uint64_t features,
				     const struct vmem_driver_ops *ops,
				     void *opaque)
{
	struct vmem_driver *drv = storage;
	size_t needed;

	if (!drv || (uintptr_t)storage % sizeof(uint64_t) != 0 ||
	    !ops_are_complete(ops))
		return NULL;
	needed =
		vmem_driver_storage_size(config, device, ops->unit_add != NULL);
	if (needed == 0 || storage_size < needed)
		return NULL;
	memset(drv, 0, sizeof(*drv));
	drv->config = drv_defaults(config);
	drv->device = *device;
	drv->geo = drv_geometry(config, device, ops->unit_add != NULL);
	drv->ops = ops;
	drv->opaque = opaque;
	drv->features = features;
	drv->units = (struct unit *)(drv + 1);
	drv->states = (uint8_t *)(drv->units + drv->geo.nr_units);
	memset(drv->states, VMEM_DRIVER_UNPLUGGED, (size_t)drv->geo.nr_subs);
	init_units(drv);
	drv->totals[VMEM_DRIVER_UNPLUGGED] = drv->geo.nr_subs;
	drv->plug_batch = MAX_REQUEST_BLOCKS;
	drv->config_dirty = true;
	drv->phase = first_phase(drv);
	return drv;
}

/* ---- The loop body ----------------------------------------------------- */

void drv_stop_waiting(struct vmem_driver *drv)
{
	drv_end_wait(&drv->device_retry);
	drv_end_wait(&drv->os_retry);
	drv->queue_full = false;
	drv->plug_batch = MAX_REQUEST_BLOCKS;
	drv_forgive(drv);
}

/* Waits that are over, and the time to look at the configuration. */
static void heed_time(struct vmem_driver *drv)
{
	if (drv->device_retry.armed && drv->now >= drv->device_retry.until) {
		drv->device_retry.armed = false;
		drv->queue_full = false;
		/* What was refused may have had a reason to be read there. */
		drv->config_dirty = true;
	}
	if (drv->os_retry.armed && drv->now >= drv->os_retry.until) {
		drv->os_retry.armed = false;
		drv_forgive(drv);
	}
	if (drv->config.poll_ms != 0 && drv->now >= drv->next_poll) {
		drv->next_poll = drv->now + drv->config.poll_ms;
		drv->config_dirty = true;
	}
}

static void active_step(struct vmem_driver *drv)
{
	uint64_t target = drv_target(drv);
	uint64_t plugged = drv->totals[VMEM_DRIVER_HELD] +
			   drv->totals[VMEM_DRIVER_ADDING] +
			   drv->totals[VMEM_DRIVER_USED] +
			   drv->totals[VMEM_DRIVER_TAKING];

	if (plugged > target) {
		drv_shrink(drv, plugged - target);
	} else {
		if (!drv->shrink.taking)
			drv_forget_visit(drv);
		drv_grow(drv, target);
	}
	/* Before there is an end to growth an empty unit may yet be filled. */
	if (!drv->again && plugged >= target)
		drv_tidy(drv);
}

static void step(struct vmem_driver *drv)
{
	if (drv->config_dirty && !drv_update_config(drv))
		return;
	if (drv->need_sync && drv->phase == VMEM_DRIVER_ACTIVE)
		drv_begin_sync(drv);
	switch (drv->phase) {
	case VMEM_DRIVER_CLEARING:
		drv_clear_step(drv);
		break;
	case VMEM_DRIVER_SYNCING:
		drv_sync_step(drv);
		break;
	case VMEM_DRIVER_ACTIVE:
		active_step(drv);
		break;
	case VMEM_DRIVER_LOOKED:
	case VMEM_DRIVER_STOPPED:
	case VMEM_DRIVER_BROKEN:
		break;
	}
	drv_kick(drv);
}

static uint32_t until(const struct vmem_driver *drv, uint64_t time,
		      uint32_t sooner)
{
	uint64_t wait = time > drv->now ? time - drv->now : 0;

	return wait < sooner ? (uint32_t)wait : sooner;
}

uint32_t vmem_driver_run(struct vmem_driver *drv, uint64_t now_ms)
{
	uint32_t wait = VMEM_DRIVER_IDLE;

	drv->now = now_ms;
	drv->again = false;
	if (drv->stopped || drv->broken)
		return VMEM_DRIVER_IDLE;
	heed_time(drv);
	step(drv);
	if (drv->broken)
		return VMEM_DRIVER_IDLE;
	if (drv->again)
		return 0;
	if (drv->device_retry.armed)
		wait = until(drv, drv->device_retry.until, wait);
	if (drv->os_retry.armed)
		wait = until(drv, drv->os_retry.until, wait);
	if (drv->config.poll_ms != 0)
		wait = until(drv, drv->next_poll, wait);
	return wait;
}

/* ---- Events ------------------------------------------------------------ */

void vmem_driver_config_changed(struct vmem_driver *drv)
{
	drv->config_dirty = true;
	drv_stop_waiting(drv);
}

int vmem_driver_done(struct vmem_driver *drv, uint64_t addr, uint64_t size,
		     int result)
{
	const struct geometry *geo = &drv->geo;
	const struct shrink *shrink = &drv->shrink;
	struct sub_run run;
	uint64_t unit;

	if (addr < geo->base || size == 0 || result > 0 ||
	    (addr - geo->base) % geo->sub_size != 0 ||
	    size % geo->sub_size != 0)
		return -VMEM_EINVAL;
	run.first = (addr - geo->base) / geo->sub_size;
	run.nr = size / geo->sub_size;
	if (run.first >= geo->nr_subs || run.nr > geo->nr_subs - run.first)
		return -VMEM_EINVAL;
	if (shrink->taking && run.first == shrink->taken.first &&
	    run.nr == shrink->taken.nr) {
		drv_taken(drv, result);
		return 0;
	}
	unit = drv_unit_of(drv, run.first);
	if (drv->units[unit].state == UNIT_ADDING) {
		if (run.first != drv_subs_of(drv, unit).first ||
		    run.nr != drv_subs_of(drv, unit).nr)
			return -VMEM_EINVAL;
		drv_unit_added(drv, unit, result);
		return 0;
	}
	for (uint64_t i = 0; i < run.nr; i++) {
		if (drv_state(drv, run.first + i) != VMEM_DRIVER_ADDING)
			return -VMEM_EINVAL;
	}
	drv_added(drv, run, result);
	return 0;
}

void vmem_driver_device_reset(struct vmem_driver *drv)
{
	drv->stopped = true;
	if (drv->nr_in_flight == 0)
		return;
	/* Whether they were served, STATE will tell. */
	drv_forget_requests(drv);
	drv->scan.in_progress = false;
	if (drv->phase == VMEM_DRIVER_ACTIVE)
		drv->need_sync = true;
}

void vmem_driver_device_ready(struct vmem_driver *drv)
{
	drv->stopped = false;
	drv->queue_full = false;
	vmem_driver_config_changed(drv);
}

void vmem_driver_drain(struct vmem_driver *drv, bool on)
{
	if (drv->draining == on)
		return;
	drv->draining = on;
	drv_stop_waiting(drv);
}

int vmem_driver_unplug_all(struct vmem_driver *drv)
{
	if (drv->totals[VMEM_DRIVER_ADDING] > 0 ||
	    drv->totals[VMEM_DRIVER_USED] > 0 ||
	    drv->totals[VMEM_DRIVER_TAKING] > 0 || drv->nr_in_flight > 0 ||
	    drv->phase == VMEM_DRIVER_LOOKED ||
	    drv->config.start == VMEM_DRIVER_START_LOOK)
		return -VMEM_EBUSY;
	drv->phase = VMEM_DRIVER_CLEARING;
	drv_stop_waiting(drv);
	return 0;
}

/* ---- Questions --------------------------------------------------------- */

bool vmem_driver_node(const struct vmem_driver *drv, uint16_t *node)
{
	if (!(drv->features & FEATURE(VMEM_F_ACPI_PXM)))
		return false;
	*node = drv->device.node_id;
	return true;
}

uint64_t vmem_driver_unit_size(const struct vmem_driver *drv)
{
	return drv->geo.unit_size;
}

uint64_t vmem_driver_sub_size(const struct vmem_driver *drv)
{
	return drv->geo.sub_size;
}

/* False if no sub-block holds addr. */
static bool sub_at(const struct vmem_driver *drv, uint64_t addr, uint64_t *sub)
{
	if (addr < drv->geo.base)
		return false;
	*sub = (addr - drv->geo.base) / drv->geo.sub_size;
	return *sub < drv->geo.nr_subs;
}

enum vmem_driver_state vmem_driver_state_at(const struct vmem_driver *drv,
					    uint64_t addr)
{
	uint64_t sub;

	return sub_at(drv, addr, &sub) ? drv_state(drv, sub)
				       : VMEM_DRIVER_UNPLUGGED;
}

bool vmem_driver_is_usable(const struct vmem_driver *drv, uint64_t addr)
{
	return drv_state_usable(vmem_driver_state_at(drv, addr));
}

bool vmem_driver_is_plugged(const struct vmem_driver *drv, uint64_t addr)
{
	enum vmem_driver_state state = vmem_driver_state_at(drv, addr);

	return drv_state_usable(state) || state == VMEM_DRIVER_HELD;
}

bool vmem_driver_unit_present(const struct vmem_driver *drv, uint64_t addr)
{
	uint64_t sub;

	if (!sub_at(drv, addr, &sub))
		return false;
	return drv->units[drv_unit_of(drv, sub)].state == UNIT_PRESENT ||
	       drv->units[drv_unit_of(drv, sub)].state == UNIT_REMOVING;
}

static bool is_settled(const struct vmem_driver *drv)
{
	uint64_t target = drv_target(drv);

	if (drv->phase == VMEM_DRIVER_LOOKED)
		return true;
	if (drv->phase != VMEM_DRIVER_ACTIVE || drv->config_dirty ||
	    drv->need_sync || drv->nr_in_flight > 0 || drv->shrink.taking)
		return false;
	if (drv->totals[VMEM_DRIVER_USED] != target ||
	    drv->totals[VMEM_DRIVER_UNPLUGGED] != drv->geo.nr_subs - target)
		return false;
	for (uint64_t u = 0; u < drv->geo.nr_units && drv_has_units(drv); u++) {
		if (drv_unit_is_empty(&drv->units[u]))
			return false;
	}
	return true;
}

void vmem_driver_get_status(const struct vmem_driver *drv,
			    struct vmem_driver_status *status)
{
	*status = drv->count;
	status->phase = drv->phase;
	if (drv->stopped)
		status->phase = VMEM_DRIVER_STOPPED;
	if (drv->broken)
		status->phase = VMEM_DRIVER_BROKEN;
	status->broken = drv->broken;
	status->requested_size = drv->device.requested_size;
	status->usable_region_size = drv->device.usable_region_size;
	for (int i = 0; i < VMEM_DRIVER_NR_STATES; i++)
		status->state_bytes[i] = drv->totals[i] * drv->geo.sub_size;
	status->nr_in_flight = drv->nr_in_flight;
	status->exhausted = drv->shrink.exhausted;
	status->settled = !drv->stopped && !drv->broken && is_settled(drv);
}
