// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bringing the books into line with the device: a scan by STATE, or UNPLUG_ALL.
 *
 * A scan goes through the usable region from its start, one STATE at a time,
 * with nothing else in flight. Where the answer is MIXED it asks for half, down
 * to one block; where it is not, for twice as much. What is plugged and makes a
 * whole sub-block is held; what is plugged and does not (a part of a sub-block,
 * or outside the units) is a stray, and given back there and then. A block that
 * the OS uses and the device calls unplugged is memory lost: nothing can mend
 * that, and the driver stops.
 */
#include "driver_internal.h"

static const char lost[] = "the device unplugged memory that is in use";

void drv_begin_sync(struct vmem_driver *drv)
{
	drv->need_sync = false;
	drv->phase = VMEM_DRIVER_SYNCING;
	drv->scan.in_progress = false;
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Where the sub-blocks lie, in blocks. */
static uint64_t area_start(const struct vmem_driver *drv)
{
	return (drv->geo.base - drv->device.addr) / drv->device.block_size;
}

static uint64_t area_end(const struct vmem_driver *drv)
{
	return area_start(drv) + drv->geo.nr_subs * drv->geo.blocks_per_sub;
}

static bool in_area(const struct vmem_driver *drv, uint64_t block)
{
	return block >= area_start(drv) && block < area_end(drv);
}

/* How many blocks to ask for at scan.pos. */
static uint16_t next_len(const struct vmem_driver *drv)
{
	uint32_t per_sub = drv->geo.blocks_per_sub;
	uint64_t pos = drv->scan.pos, offset;
	uint64_t usable =
		drv->device.usable_region_size / drv->device.block_size;
	uint64_t len = min_of(drv->scan.len, usable - pos);

	if (pos < area_start(drv))
		return (uint16_t)min_of(len, area_start(drv) - pos);
	if (!in_area(drv, pos))
		return (uint16_t)len;
	len = min_of(len, area_end(drv) - pos);
	offset = (pos - area_start(drv)) % per_sub;
	if (offset != 0 || len < per_sub)
		return (uint16_t)min_of(len, per_sub - offset);
	return (uint16_t)(len - len % per_sub);
}

/* The sub-blocks that a piece touches. */
static struct sub_run touched(const struct vmem_driver *drv, uint64_t block,
			      uint16_t nr_blocks)
{
	uint64_t first, last;

	if (!in_area(drv, block))
		return (struct sub_run){0};
	first = (block - area_start(drv)) / drv->geo.blocks_per_sub;
	last = (block - area_start(drv) + nr_blocks - 1) /
	       drv->geo.blocks_per_sub;
	return (struct sub_run){.first = first, .nr = last - first + 1};
}

static bool any_usable(const struct vmem_driver *drv, struct sub_run run)
{
	for (uint64_t i = 0; i < run.nr; i++) {
		if (drv_state_usable(drv_state(drv, run.first + i)))
			return true;
	}
	return false;
}

/* These sub-blocks are not plugged, or not wholly. */
static void found_unplugged(struct vmem_driver *drv, struct sub_run run)
{
	if (any_usable(drv, run))
		drv_break(drv, lost);
	else
		drv_change(drv, run, VMEM_DRIVER_HELD, VMEM_DRIVER_UNPLUGGED);
}

static void advance(struct vmem_driver *drv, uint16_t nr_blocks)
{
	uint32_t per_sub = drv->geo.blocks_per_sub;
	struct scan *scan = &drv->scan;

	scan->pos += nr_blocks;
	scan->len = min_of(2 * scan->len, MAX_REQUEST_BLOCKS);
	/* A new sub-block is asked for as a whole again. */
	if (in_area(drv, scan->pos) &&
	    (scan->pos - area_start(drv)) % per_sub == 0 && scan->len < per_sub)
		scan->len = per_sub;
}

static void found_plugged(struct vmem_driver *drv, const struct slot *slot)
{
	struct sub_run run = touched(drv, slot->block, slot->nr_blocks);

	if (run.nr * drv->geo.blocks_per_sub == slot->nr_blocks) {
		drv_change(drv, run, VMEM_DRIVER_UNPLUGGED, VMEM_DRIVER_HELD);
		advance(drv, slot->nr_blocks);
	} else {
		drv->scan.stray = slot->nr_blocks;
	}
}

static void found_mixed(struct vmem_driver *drv, const struct slot *slot)
{
	uint16_t nr = slot->nr_blocks;

	if (nr == 1) {
		drv_break(drv, "the device calls a single block mixed");
		return;
	}
	if (nr <= drv->geo.blocks_per_sub)
		found_unplugged(drv, touched(drv, slot->block, nr));
	drv->scan.len = nr / 2;
	/* Between the two, a whole sub-block is what to ask for. */
	if (nr > drv->geo.blocks_per_sub &&
	    drv->scan.len < drv->geo.blocks_per_sub)
		drv->scan.len = drv->geo.blocks_per_sub;
}

/* ERROR: the usable region is not what we think. Begin anew. */
static void scan_failed(struct vmem_driver *drv)
{
	drv->config_dirty = true;
	drv->scan.in_progress = false;
	drv_refused(drv, &drv->device_retry);
}

void drv_state_response(struct vmem_driver *drv, const struct slot *slot,
			uint16_t type, uint16_t state)
{
	if (type != VMEM_RESP_ACK) {
		scan_failed(drv);
		return;
	}
	drv_succeeded(&drv->device_retry);
	switch (state) {
	case VMEM_STATE_PLUGGED:
		found_plugged(drv, slot);
		break;
	case VMEM_STATE_UNPLUGGED:
		found_unplugged(drv,
				touched(drv, slot->block, slot->nr_blocks));
		advance(drv, slot->nr_blocks);
		break;
	case VMEM_STATE_MIXED:
		found_mixed(drv, slot);
		break;
	default:
		drv_break(drv, "the device answered with no known state");
	}
}

void drv_stray_response(struct vmem_driver *drv, const struct slot *slot,
			uint16_t type)
{
	if (type == VMEM_RESP_ACK) {
		drv_succeeded(&drv->device_retry);
		drv->scan.stray = 0;
		advance(drv, slot->nr_blocks);
	} else if (type == VMEM_RESP_ERROR) {
		scan_failed(drv);
	} else {
		drv_refused(drv, &drv->device_retry);
	}
}

static void scan_ended(struct vmem_driver *drv)
{
	uint64_t usable = drv_nr_usable_subs(drv);
	struct sub_run rest = {
		.first = usable,
		.nr = drv->geo.nr_subs - usable,
	};

	/* Nothing can be plugged out there (5.15.5). */
	found_unplugged(drv, rest);
	drv->scan.in_progress = false;
	drv->again = true;
	drv_forget_visit(drv);
	drv->phase = drv->config.start == VMEM_DRIVER_START_LOOK
			     ? VMEM_DRIVER_LOOKED
			     : VMEM_DRIVER_ACTIVE;
}

void drv_sync_step(struct vmem_driver *drv)
{
	struct scan *scan = &drv->scan;
	uint64_t usable =
		drv->device.usable_region_size / drv->device.block_size;

	if (drv->nr_in_flight > 0 || drv_waits(drv, &drv->device_retry))
		return;
	if (!scan->in_progress) {
		*scan = (struct scan){
			.len = MAX_REQUEST_BLOCKS,
			.in_progress = true,
		};
		drv->count.nr_syncs++;
	}
	if (scan->pos >= usable)
		scan_ended(drv);
	else if (scan->stray && drv->config.start != VMEM_DRIVER_START_LOOK)
		drv_submit_blocks(drv, VMEM_REQ_UNPLUG, scan->pos, scan->stray);
	else
		drv_submit_blocks(drv, VMEM_REQ_STATE, scan->pos,
				  next_len(drv));
}

/* ---- UNPLUG_ALL -------------------------------------------------------- */

void drv_clear_step(struct vmem_driver *drv)
{
	struct sub_run all = {.first = 0, .nr = drv->geo.nr_subs};

	if (drv->nr_in_flight > 0 || drv_waits(drv, &drv->device_retry))
		return;
	/* From now on no block is plugged for sure. */
	if (drv_submit_blocks(drv, VMEM_REQ_UNPLUG_ALL, 0, 0))
		drv_change(drv, all, VMEM_DRIVER_HELD, VMEM_DRIVER_UNPLUGGED);
}

void drv_clear_response(struct vmem_driver *drv, uint16_t type)
{
	/* The usable region may have shrunk (5.15.5.2). */
	drv->config_dirty = true;
	if (type != VMEM_RESP_ACK) {
		drv_refused(drv, &drv->device_retry);
		return;
	}
	drv_succeeded(&drv->device_retry);
	drv->phase = VMEM_DRIVER_ACTIVE;
}
