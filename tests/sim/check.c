// SPDX-License-Identifier: BSD-3-Clause
/* What must hold at any moment, and what must hold at rest. */
#include "world.h"

#define MAX_ROUNDS 20000

static void check_block(struct world *world, uint64_t block)
{
	uint64_t addr = addr_of(world, block);
	bool plugged = vmem_device_is_plugged(world->dev, addr);

	if (world->used[block] && !plugged)
		fail(world, "block %lu is in use but unplugged", block);
	if (world->used[block] &&
	    world->content[block] != world->written[block])
		fail(world, "block %lu lost its content", block);
	if (vmem_driver_is_plugged(world->drv, addr) && !plugged)
		fail(world, "block %lu is plugged to the driver alone", block);
	if (world->used[block] && !vmem_driver_is_usable(world->drv, addr))
		fail(world, "block %lu is in use and not known to be", block);
}

void check_always(struct world *world)
{
	for (uint64_t b = 0; b < nr_blocks(world); b++)
		check_block(world, b);
}

/* Everything that is due happens, and well. Whether anything was due. */
static bool happen(struct world *world)
{
	bool any = false;

	if (world->notification_due) {
		world->notification_due = false;
		vmem_driver_config_changed(world->drv);
		any = true;
	}
	while (world->nr_queued > 0) {
		struct request r;

		if (!world->queue[0].served)
			host_serve(world, 0);
		r = world->queue[0];
		world->queue[0] = world->queue[--world->nr_queued];
		vmem_driver_response(world->drv, r.tag, r.response, 10);
		any = true;
	}
	while (world->nr_later > 0) {
		guest_op_ends(world, 0, true);
		any = true;
	}
	return any;
}

static void all_well(struct world *world)
{
	world->host_fails = 0;
	world->os_mood = (struct mood){0};
	world->queue_full = 0;
	world->meddling = false;
	/* A lost announcement is made up for by the next one. */
	if (world->driver_config.poll_ms == 0 &&
	    world->read_version != world->version)
		world->notification_due = true;
	if (world->stopped) {
		world->stopped = false;
		vmem_driver_device_ready(world->drv);
	}
	world->draining = false;
	vmem_driver_drain(world->drv, false);
}

/* Sub-blocks wholly inside units (if any) and the usable region. */
static uint64_t capacity(const struct world *world,
			 const struct vmem_config *config)
{
	uint64_t sub = vmem_driver_sub_size(world->drv);
	uint64_t align =
		world->has_units ? vmem_driver_unit_size(world->drv) : sub;
	uint64_t start = (config->addr + align - 1) / align * align;
	uint64_t end = (config->addr + config->region_size) / align * align;
	uint64_t usable = config->addr + config->usable_region_size;

	if (usable < end)
		end = usable;
	return end > start ? (end - start) / sub * sub : 0;
}

static void check_sizes(struct world *world)
{
	uint64_t sub = vmem_driver_sub_size(world->drv), expected;
	struct vmem_driver_status status;
	struct vmem_config config;

	vmem_driver_get_status(world->drv, &status);
	vmem_device_get_config(world->dev, &config);
	if (!status.settled)
		fail(world, "the driver sleeps with work to do");
	if (status.phase == VMEM_DRIVER_LOOKED)
		return;
	expected = config.requested_size / sub * sub;
	if (expected > capacity(world, &config))
		expected = capacity(world, &config);
	if (config.plugged_size != expected)
		fail(world, "%#lx is plugged where %#lx could be",
		     config.plugged_size, expected);
}

static void check_agreement(struct world *world)
{
	for (uint64_t b = 0; b < nr_blocks(world); b++) {
		uint64_t addr = addr_of(world, b);
		bool plugged = vmem_device_is_plugged(world->dev, addr);

		if (plugged != vmem_driver_is_plugged(world->drv, addr))
			fail(world, "the two disagree on block %lu", b);
		if (world->driver_config.start != VMEM_DRIVER_START_LOOK &&
		    plugged != world->used[b])
			fail(world, "block %lu is plugged and not used", b);
	}
}

static bool settled(const struct world *world)
{
	struct vmem_driver_status status;

	vmem_driver_get_status(world->drv, &status);
	return status.settled && world->nr_queued == 0 && world->nr_later == 0;
}

void check_at_rest(struct world *world)
{
	uint32_t wait;

	all_well(world);
	for (int i = 0; i < MAX_ROUNDS && !world->failure[0]; i++) {
		wait = vmem_driver_run(world->drv, world->now);
		check_always(world);
		if (happen(world) || wait == 0)
			continue;
		if (wait == VMEM_DRIVER_IDLE ||
		    (settled(world) && world->read_version == world->version)) {
			check_sizes(world);
			check_agreement(world);
			return;
		}
		world->now += wait;
	}
	fail(world, "no rest after %d rounds", MAX_ROUNDS);
}
