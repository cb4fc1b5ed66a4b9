// SPDX-License-Identifier: BSD-3-Clause
/* The host's side: a VMM that can be out of memory, and the memory itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

/* The operator may change his mind while the VMM is at work. */
static int mood(struct world *world)
{
	if (world->meddling && chance(world, 2))
		host_resize(world);
	return chance(world, world->host_fails) ? world->host_result : 0;
}

static int plug(void *opaque, uint64_t addr, uint64_t size)
{
	struct world *world = opaque;
	uint64_t first = block_of(world, addr);
	int result = mood(world);

	for (uint64_t b = first; b < block_of(world, addr + size) && !result;
	     b++) {
		if (world->used[b])
			fail(world, "block %lu is used before its PLUG", b);
		world->content[b] = draw(world, UINT64_MAX);
	}
	return result;
}

static int unplug(void *opaque, uint64_t addr, uint64_t size)
{
	struct world *world = opaque;
	uint64_t first = block_of(world, addr);
	int result = mood(world);

	for (uint64_t b = first; b < block_of(world, addr + size) && !result;
	     b++) {
		if (world->used[b] &&
		    vmem_device_is_plugged(world->dev, addr_of(world, b)))
			fail(world, "block %lu is unplugged while in use", b);
		world->content[b] = draw(world, UINT64_MAX);
	}
	return result;
}

static void config_changed(void *opaque)
{
	struct world *world = opaque;

	world->version++;
	world->notification_due = true;
}

static const char *const blames[VMEM_NR_GUEST_ERRORS] = {
	[VMEM_GUEST_BAD_TYPE] = "of unknown type",
	[VMEM_GUEST_ZERO_BLOCKS] = "of no blocks",
	[VMEM_GUEST_MISALIGNED] = "misaligned",
	[VMEM_GUEST_OUT_OF_RANGE] = "outside the usable region",
	[VMEM_GUEST_WRONG_STATE] = "for blocks in the wrong state",
	[VMEM_GUEST_OVER_REQUESTED] = "beyond requested_size",
	[VMEM_GUEST_SHORT_REQUEST] = "too short",
	[VMEM_GUEST_SHORT_RESPONSE] = "without room for a response",
};

static void guest_error(void *opaque, enum vmem_guest_error error,
			const struct vmem_request *req)
{
	struct world *world = opaque;

	/* The driver could not know of a size that changed on the way. */
	if (error == VMEM_GUEST_OVER_REQUESTED &&
	    world->read_version != world->version)
		return;
	fail(world, "a request of type %u, addr %#lx, %u blocks, was %s",
	     req ? req->type : 0, req ? req->addr : 0, req ? req->nr_blocks : 0,
	     blames[error]);
}

static const struct vmem_device_ops ops = {
	.plug = plug,
	.unplug = unplug,
	.config_changed = config_changed,
	.guest_error = guest_error,
};

void host_create_device(struct world *world)
{
	size_t size = vmem_device_storage_size(&world->device_config);

	world->dev_storage = malloc(size);
	world->dev = vmem_device_init(world->dev_storage, size,
				      &world->device_config, &ops, world);
	if (!world->dev)
		abort();
	world->version = 1;
}

void host_resize(struct world *world)
{
	uint64_t size = draw(world, nr_blocks(world) + 1);

	if (chance(world, 2))
		size = 0;
	else if (chance(world, 2))
		size = nr_blocks(world);
	vmem_device_set_requested_size(world->dev,
				       size * world->device_config.block_size);
}

void host_serve(struct world *world, unsigned int which)
{
	struct request *request = &world->queue[which];
	struct vmem_config before, after;
	uint64_t known = world->read_version;

	vmem_device_get_config(world->dev, &before);
	/* For guest_error: what the driver knew when it asked. */
	world->read_version = request->version;
	vmem_device_handle_request(world->dev, request->bytes, 24,
				   request->response, 10);
	world->read_version = known;
	request->served = true;
	vmem_device_get_config(world->dev, &after);
	/* UNPLUG_ALL shrinks it without a notification. */
	if (after.usable_region_size < before.usable_region_size)
		world->version++;
	if (after.plugged_size > before.plugged_size &&
	    after.plugged_size > before.requested_size)
		fail(world, "more is plugged than requested");
}
