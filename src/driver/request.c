// SPDX-License-Identifier: BSD-3-Clause
/* Requests in flight: submitting, answers, waiting after refusals. */
#include <string.h>

#include "driver_internal.h"

/* ---- Waiting ----------------------------------------------------------- */

bool drv_waits(const struct vmem_driver *drv, const struct retry *retry)
{
	return retry->armed && drv->now < retry->until;
}

void drv_refused(struct vmem_driver *drv, struct retry *retry)
{
	uint32_t max = drv->config.retry_max_ms;

	/* Several refusals of one moment are one. */
	if (drv_waits(drv, retry))
		return;
	if (retry->delay_ms == 0)
		retry->delay_ms = drv->config.retry_min_ms;
	else
		retry->delay_ms =
			retry->delay_ms > max / 2 ? max : retry->delay_ms * 2;
	retry->until = drv->now + retry->delay_ms;
	retry->armed = true;
}

void drv_end_wait(struct retry *retry)
{
	retry->armed = false;
	retry->delay_ms = 0;
}

void drv_succeeded(struct retry *retry)
{
	if (!retry->armed)
		retry->delay_ms = 0;
}

void drv_break(struct vmem_driver *drv, const char *why)
{
	if (drv->broken)
		return;
	drv->broken = why;
	if (drv->ops->broken)
		drv->ops->broken(drv->opaque, why);
}

/* ---- Submitting -------------------------------------------------------- */

bool drv_may_submit(const struct vmem_driver *drv)
{
	return !drv->stopped && !drv->broken && !drv->queue_full &&
	       drv->nr_in_flight < drv->config.depth;
}

static void put_le(uint8_t *to, uint64_t value, unsigned int nr_bytes)
{
	for (unsigned int i = 0; i < nr_bytes; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static bool submit(struct vmem_driver *drv, const struct slot *request)
{
	uint8_t bytes[REQUEST_SIZE] = {0};
	unsigned int tag = 0;

	if (!drv_may_submit(drv))
		return false;
	while (drv->slots[tag].busy)
		tag++;
	put_le(bytes, request->type, 2);
	if (request->type != VMEM_REQ_UNPLUG_ALL) {
		put_le(bytes + 8,
		       drv->device.addr +
			       request->block * drv->device.block_size,
		       8);
		put_le(bytes + 16, request->nr_blocks, 2);
	}
	if (drv->ops->submit(drv->opaque, tag, bytes, sizeof(bytes)) < 0) {
		drv->queue_full = true;
		/* With nothing in flight no response will come to end it. */
		if (drv->nr_in_flight == 0)
			drv_refused(drv, &drv->device_retry);
		return false;
	}
	drv->slots[tag] = *request;
	drv->slots[tag].busy = true;
	drv->nr_in_flight++;
	drv->count.nr_requests[request->type]++;
	drv->submitted = true;
	return true;
}

void drv_kick(struct vmem_driver *drv)
{
	if (drv->submitted && drv->ops->kick)
		drv->ops->kick(drv->opaque);
	drv->submitted = false;
}

bool drv_submit_run(struct vmem_driver *drv, enum vmem_request_type type,
		    struct sub_run run)
{
	uint64_t offset = drv_addr_of(drv, run.first) - drv->device.addr;
	struct slot slot = {
		.type = (uint16_t)type,
		.block = offset / drv->device.block_size,
		.nr_blocks = (uint16_t)(run.nr * drv->geo.blocks_per_sub),
		.run = run,
	};

	if (!submit(drv, &slot))
		return false;
	drv_set(drv, run,
		type == VMEM_REQ_PLUG ? VMEM_DRIVER_PLUGGING
				      : VMEM_DRIVER_UNPLUGGING);
	return true;
}

bool drv_submit_blocks(struct vmem_driver *drv, enum vmem_request_type type,
		       uint64_t block, uint16_t nr_blocks)
{
	struct slot slot = {
		.type = (uint16_t)type,
		.block = block,
		.nr_blocks = nr_blocks,
	};

	return submit(drv, &slot);
}

static void free_slot(struct vmem_driver *drv, struct slot *slot)
{
	slot->busy = false;
	drv->nr_in_flight--;
	drv->queue_full = false;
}

void drv_forget_requests(struct vmem_driver *drv)
{
	for (unsigned int tag = 0; tag < VMEM_DRIVER_MAX_DEPTH; tag++) {
		struct slot *slot = &drv->slots[tag];

		if (!slot->busy)
			continue;
		free_slot(drv, slot);
		/* Served or not: until STATE has told, not to be used. */
		drv_set(drv, slot->run, VMEM_DRIVER_UNPLUGGED);
	}
}

/* ---- Answers ----------------------------------------------------------- */

/*
 * The device did not do it: BUSY, NACK, or ERROR. What it has is then not what
 * we think only after ERROR, but a new configuration may tell why.
 */
static void not_done(struct vmem_driver *drv, const struct slot *slot,
		     uint16_t type)
{
	drv->config_dirty = true;
	if (type == VMEM_RESP_ERROR) {
		drv->need_sync = true;
		drv_refused(drv, &drv->device_retry);
	} else if (slot->type == VMEM_REQ_PLUG && slot->run.nr > 1) {
		/* Less may be possible: ask at once. */
		if (drv->plug_batch > slot->run.nr / 2)
			drv->plug_batch = slot->run.nr / 2;
	} else {
		drv_refused(drv, &drv->device_retry);
	}
}

static void done(struct vmem_driver *drv, const struct slot *slot)
{
	drv_succeeded(&drv->device_retry);
	if (slot->type == VMEM_REQ_PLUG &&
	    drv->plug_batch <= MAX_REQUEST_BLOCKS / 2)
		drv->plug_batch *= 2;
}

static void run_response(struct vmem_driver *drv, const struct slot *slot,
			 uint16_t type)
{
	bool plug = slot->type == VMEM_REQ_PLUG;

	if (type == VMEM_RESP_ACK) {
		drv_set(drv, slot->run,
			plug ? VMEM_DRIVER_HELD : VMEM_DRIVER_UNPLUGGED);
		done(drv, slot);
	} else {
		/* After ERROR nothing is sure before STATE has told. */
		drv_set(drv, slot->run,
			plug || type == VMEM_RESP_ERROR ? VMEM_DRIVER_UNPLUGGED
							: VMEM_DRIVER_HELD);
		not_done(drv, slot, type);
	}
}

static void dispatch(struct vmem_driver *drv, const struct slot *slot,
		     uint16_t type, uint16_t state)
{
	switch ((enum vmem_request_type)slot->type) {
	case VMEM_REQ_PLUG:
		run_response(drv, slot, type);
		break;
	case VMEM_REQ_UNPLUG:
		if (slot->run.nr > 0)
			run_response(drv, slot, type);
		else
			drv_stray_response(drv, slot, type);
		break;
	case VMEM_REQ_UNPLUG_ALL:
		drv_clear_response(drv, type);
		break;
	case VMEM_REQ_STATE:
		drv_state_response(drv, slot, type, state);
		break;
	}
}

int vmem_driver_response(struct vmem_driver *drv, unsigned int tag,
			 const void *resp, size_t resp_len)
{
	uint8_t bytes[RESPONSE_SIZE];
	uint16_t type, state;
	struct slot slot;

	if (tag >= VMEM_DRIVER_MAX_DEPTH || !drv->slots[tag].busy)
		return -VMEM_EINVAL;
	if (drv->broken)
		return 0;
	if (!resp || resp_len < sizeof(bytes)) {
		drv_break(drv, "the device's response is too short");
		return 0;
	}
	memcpy(bytes, resp, sizeof(bytes));
	type = (uint16_t)(bytes[0] | bytes[1] << 8);
	state = (uint16_t)(bytes[8] | bytes[9] << 8);
	if (type > VMEM_RESP_ERROR) {
		drv_break(drv, "the device's response is of no known type");
		return 0;
	}
	slot = drv->slots[tag];
	free_slot(drv, &drv->slots[tag]);
	drv->count.nr_responses[type]++;
	dispatch(drv, &slot, type, state);
	return 0;
}
