// SPDX-License-Identifier: BSD-3-Clause
/* Making a world, and taking one step in it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define MIB (1ULL << 20)

static const char *const names[NR_STEP_KINDS] = {
	[STEP_RUN] = "run",
	[STEP_HANDLE] = "handle",
	[STEP_DELIVER] = "deliver",
	[STEP_RESIZE] = "resize",
	[STEP_NOTIFY] = "notify",
	[STEP_LOSE] = "lose-notification",
	[STEP_TIME] = "time",
	[STEP_OS_DONE] = "os-done",
	[STEP_HOST_MOOD] = "host-mood",
	[STEP_OS_MOOD] = "os-mood",
	[STEP_QUEUE_MOOD] = "queue-mood",
	[STEP_ERROR] = "answer-error",
	[STEP_DEVICE_RESET] = "device-reset",
	[STEP_DEVICE_READY] = "device-ready",
	[STEP_SYSTEM_RESET] = "system-reset",
	[STEP_KEXEC] = "kexec",
	[STEP_DRAIN] = "drain",
	[STEP_UNPLUG_ALL] = "unplug-all",
	[STEP_BOGUS] = "bogus-event",
	[STEP_USAGE] = "usage",
	[STEP_QUIESCE] = "quiesce",
};

const char *step_name(enum step_kind kind)
{
	return names[kind];
}

void fail(struct world *world, const char *format, ...)
{
	va_list args;

	/* The first is the one that counts. */
	if (world->failure[0])
		return;
	va_start(args, format);
	vsnprintf(world->failure, sizeof(world->failure), format, args);
	va_end(args);
}

static void seed(struct world *world, uint64_t number)
{
	/* splitmix64: neighbours do not look alike. */
	number += 0x9e3779b97f4a7c15;
	number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
	number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
	world->random = (number ^ (number >> 31)) | 1;
}

uint64_t draw(struct world *world, uint64_t bound)
{
	world->random ^= world->random << 13;
	world->random ^= world->random >> 7;
	world->random ^= world->random << 17;
	return (world->random >> 8) % bound;
}

bool chance(struct world *world, unsigned int sixteenths)
{
	return sixteenths > 0 && draw(world, 16) < sixteenths;
}

uint64_t nr_blocks(const struct world *world)
{
	return world->device_config.region_size /
	       world->device_config.block_size;
}

uint64_t addr_of(const struct world *world, uint64_t block)
{
	return world->device_config.addr +
	       block * world->device_config.block_size;
}

uint64_t block_of(const struct world *world, uint64_t addr)
{
	return (addr - world->device_config.addr) /
	       world->device_config.block_size;
}

/* ---- Making one -------------------------------------------------------- */

static uint64_t one_of(struct world *world, const uint64_t *values, unsigned nr)
{
	return values[draw(world, nr)];
}

/* An OS: sub-blocks of 1 to 4 blocks, units of 1 to 16 sub-blocks. */
static void choose_os(struct world *world)
{
	static const uint64_t few[] = {1, 2, 4}, many[] = {1, 4, 16, 64};
	uint64_t block = world->device_config.block_size;
	struct vmem_driver_config *c = &world->driver_config;

	world->has_units = chance(world, 10);
	c->granule = block * one_of(world, few, 3);
	c->unit_size = block * one_of(world, many, 4);
	c->depth = 1 + (unsigned int)draw(world, 8);
	c->poll_ms = chance(world, 8) ? 1000 : 0;
	c->retry_min_ms = 10;
	c->retry_max_ms = 1000;
}

void world_create(struct world *world, uint64_t number)
{
	static const uint64_t sizes[] = {4096, 2 * MIB, 128 * MIB};
	struct vmem_device_config *d = &world->device_config;
	uint64_t size;

	memset(world, 0, sizeof(*world));
	seed(world, number);
	d->block_size = one_of(world, sizes, 3);
	/* Room for two whole units of the largest kind, wherever it begins. */
	size = 128 + draw(world, 200);
	if (chance(world, 1))
		size = 128 + draw(world, MAX_BLOCKS - 128);
	d->region_size = size * d->block_size;
	d->addr = (256 + draw(world, 64)) * d->block_size;
	if (chance(world, 8))
		d->addr = 256 * d->block_size;
	d->requested_size = draw(world, size + 1) * d->block_size;
	d->usable_slack = (1 + draw(world, 64)) * d->block_size;
	host_create_device(world);
	choose_os(world);
	guest_boot(world, VMEM_DRIVER_START_UNPLUG_ALL);
}

void world_destroy(struct world *world)
{
	free(world->dev_storage);
	free(world->drv_storage);
}

/* ---- Steps ------------------------------------------------------------- */

static void step_deliver(struct world *world)
{
	unsigned int which;
	struct request r;

	if (world->nr_queued == 0)
		return;
	which = (unsigned int)draw(world, world->nr_queued);
	r = world->queue[which];
	if (!r.served)
		return;
	world->queue[which] = world->queue[--world->nr_queued];
	if (vmem_driver_response(world->drv, r.tag, r.response, 10) != 0)
		fail(world, "the response to tag %u was refused", r.tag);
}

/* The device does nothing, and says that it could not. */
static void step_error(struct world *world)
{
	struct request *r;

	if (world->nr_queued == 0)
		return;
	r = &world->queue[draw(world, world->nr_queued)];
	if (r->served)
		return;
	r->served = true;
	memset(r->response, 0, sizeof(r->response));
	r->response[0] = VMEM_RESP_ERROR;
}

static void step_moods(struct world *world, enum step_kind kind)
{
	static const int results[] = {-EBUSY, -EAGAIN, -ENOMEM};

	if (kind == STEP_QUEUE_MOOD) {
		world->queue_full = (unsigned int)draw(world, 9);
	} else if (kind == STEP_OS_MOOD) {
		world->os_mood.refuses = (unsigned int)draw(world, 17);
		world->os_mood.later = (unsigned int)draw(world, 17);
	} else {
		world->host_result = results[draw(world, 3)];
		world->host_fails = (unsigned int)draw(world, 17);
		world->meddling = chance(world, 4);
	}
}

static void step_device_reset(struct world *world)
{
	vmem_driver_device_reset(world->drv);
	vmem_device_reset(world->dev);
	world->nr_queued = 0;
	world->stopped = true;
}

static void step_system_reset(struct world *world)
{
	unsigned int fails = world->host_fails;

	memset(world->used, 0, sizeof(world->used));
	world->host_fails = 0;
	if (vmem_device_system_reset(world->dev) != 0)
		fail(world, "the system reset failed");
	world->host_fails = fails;
	world->version++;
	guest_boot(world, VMEM_DRIVER_START_UNPLUG_ALL);
}

/* Another kernel, without a system reset: what is plugged stays so. */
static void step_kexec(struct world *world)
{
	static const enum vmem_driver_start starts[] = {
		VMEM_DRIVER_START_ADOPT,
		VMEM_DRIVER_START_ADOPT,
		VMEM_DRIVER_START_UNPLUG_ALL,
		VMEM_DRIVER_START_LOOK,
	};

	vmem_device_reset(world->dev);
	if (chance(world, 8))
		choose_os(world);
	guest_boot(world, starts[draw(world, 4)]);
}

static void step_bogus(struct world *world)
{
	uint8_t response[10] = {0};
	unsigned int tag = (unsigned int)draw(world, 40);
	uint64_t addr = addr_of(world, draw(world, nr_blocks(world)));

	for (unsigned int i = 0; i < world->nr_queued; i++) {
		if (world->queue[i].tag == tag)
			return;
	}
	if (vmem_driver_response(world->drv, tag, response, 10) != -VMEM_EINVAL)
		fail(world, "a response to nothing was accepted");
	if (world->nr_later == 0 &&
	    vmem_driver_done(world->drv, addr, vmem_driver_sub_size(world->drv),
			     0) != -VMEM_EINVAL)
		fail(world, "the end of no op was accepted");
}

static void step_usage(struct world *world)
{
	for (uint64_t u = 0; u < MAX_UNITS; u++)
		world->usage[u] =
			chance(world, 1) ? UINT64_MAX : draw(world, 1000);
}

static void step_notify(struct world *world)
{
	if (world->notification_due)
		vmem_driver_config_changed(world->drv);
	world->notification_due = false;
}

static void step_drain(struct world *world)
{
	world->draining = chance(world, 8);
	vmem_driver_drain(world->drv, world->draining);
}

static void take_step(struct world *world, enum step_kind kind)
{
	unsigned int which;

	switch (kind) {
	case STEP_RUN:
		vmem_driver_run(world->drv, world->now);
		break;
	case STEP_HANDLE:
		which = (unsigned int)draw(world, VMEM_DRIVER_MAX_DEPTH);
		if (world->nr_queued > 0 &&
		    !world->queue[which % world->nr_queued].served)
			host_serve(world, which % world->nr_queued);
		break;
	case STEP_DELIVER:
		step_deliver(world);
		break;
	case STEP_RESIZE:
		host_resize(world);
		break;
	case STEP_NOTIFY:
		step_notify(world);
		break;
	case STEP_LOSE:
		world->notification_due = false;
		break;
	case STEP_TIME:
		world->now += draw(world, chance(world, 2) ? 2000 : 50);
		break;
	case STEP_OS_DONE:
		if (world->nr_later > 0) {
			which = (unsigned int)draw(world, world->nr_later);
			guest_op_ends(world, which, !chance(world, 4));
		}
		break;
	case STEP_HOST_MOOD:
	case STEP_OS_MOOD:
	case STEP_QUEUE_MOOD:
		step_moods(world, kind);
		break;
	case STEP_ERROR:
		step_error(world);
		break;
	case STEP_DEVICE_RESET:
		step_device_reset(world);
		break;
	case STEP_DEVICE_READY:
		if (world->stopped) {
			world->stopped = false;
			vmem_driver_device_ready(world->drv);
		}
		break;
	case STEP_SYSTEM_RESET:
		step_system_reset(world);
		break;
	case STEP_KEXEC:
		step_kexec(world);
		break;
	case STEP_DRAIN:
		step_drain(world);
		break;
	case STEP_UNPLUG_ALL:
		vmem_driver_unplug_all(world->drv);
		break;
	case STEP_BOGUS:
		step_bogus(world);
		break;
	case STEP_USAGE:
		step_usage(world);
		break;
	case STEP_QUIESCE:
		step_usage(world);
		for (uint64_t u = 0; u < MAX_UNITS; u++)
			world->usage[u] %= 1000;
		check_at_rest(world);
		break;
	case NR_STEP_KINDS:
		break;
	}
}

void world_step(struct world *world, const struct step *step)
{
	seed(world, step->number);
	take_step(world, step->kind);
	if (!world->failure[0])
		check_always(world);
}
