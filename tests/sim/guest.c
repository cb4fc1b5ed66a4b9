// SPDX-License-Identifier: BSD-3-Clause
/* The guest's side: an OS that can refuse or take its time, and the driver. */
#include <stdlib.h>
#include <string.h>

#include "world.h"

/* ---- The transport ----------------------------------------------------- */

static uint64_t get_le(const uint8_t *from, unsigned int nr_bytes)
{
	uint64_t value = 0;

	while (nr_bytes-- > 0)
		value = value << 8 | from[nr_bytes];
	return value;
}

/* Bytes of all requests of a type that the device has yet to serve. */
static uint64_t bytes_coming(const struct world *world, uint16_t type)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < world->nr_queued; i++) {
		const struct request *r = &world->queue[i];

		if (!r->served && get_le(r->bytes, 2) == type)
			sum += get_le(r->bytes + 16, 2) *
			       world->device_config.block_size;
	}
	return sum;
}

/* What the driver is to reach, as it knows it, in whole sub-blocks. */
static uint64_t goal(const struct world *world)
{
	uint64_t sub = vmem_driver_sub_size(world->drv);

	return world->draining ? 0 : world->read_requested / sub * sub;
}

/* Never more than is requested; and, but for the strays of a scan, no less. */
static void check_request(struct world *world, uint16_t type)
{
	struct vmem_driver_status status;
	struct vmem_config config;

	vmem_driver_get_status(world->drv, &status);
	vmem_device_get_config(world->dev, &config);
	if (type == VMEM_REQ_PLUG &&
	    config.plugged_size + bytes_coming(world, VMEM_REQ_PLUG) >
		    world->read_requested)
		fail(world, "PLUG of more than the driver read as requested");
	if (type == VMEM_REQ_UNPLUG && status.phase == VMEM_DRIVER_ACTIVE &&
	    config.plugged_size <
		    goal(world) + bytes_coming(world, VMEM_REQ_UNPLUG))
		fail(world, "UNPLUG of what is requested");
	if (world->driver_config.start == VMEM_DRIVER_START_LOOK &&
	    type != VMEM_REQ_STATE)
		fail(world, "a looking driver sent a request of type %u", type);
}

static int submit(void *opaque, unsigned int tag, const void *req,
		  size_t req_len)
{
	struct world *world = opaque;
	struct request *r = &world->queue[world->nr_queued];

	if (world->stopped)
		fail(world, "a request while the device is in reset");
	if (chance(world, world->queue_full))
		return -VMEM_EAGAIN;
	if (world->nr_queued >= world->driver_config.depth) {
		fail(world, "more requests in flight than the depth");
		return -VMEM_EAGAIN;
	}
	for (unsigned int i = 0; i < world->nr_queued; i++) {
		if (world->queue[i].tag == tag)
			fail(world, "tag %u is in flight already", tag);
	}
	memset(r, 0, sizeof(*r));
	r->tag = tag;
	memcpy(r->bytes, req, req_len);
	r->version = world->read_version;
	world->nr_queued++;
	world->nr_requests++;
	check_request(world, (uint16_t)get_le(req, 2));
	return 0;
}

/* A reading takes time: the end of it may be newer than its beginning. */
static void read_config(void *opaque, size_t offset, void *buf, size_t len)
{
	struct world *world = opaque;
	uint8_t *bytes = buf;
	size_t half = 40 + 8 * draw(world, 2); /* among the sizes */

	world->read_version = world->version;
	vmem_device_config_read(world->dev, offset, bytes, half);
	if (world->meddling && chance(world, 1))
		host_resize(world);
	vmem_device_config_read(world->dev, offset + half, bytes + half,
				len - half);
	world->read_requested = get_le(bytes + 48, 8);
}

static uint32_t config_generation(void *opaque)
{
	struct world *world = opaque;

	/* The operator's hand between two readings. */
	if (world->meddling && chance(world, 1))
		host_resize(world);
	return (uint32_t)world->version;
}

/* ---- Memory ------------------------------------------------------------ */

static void use(struct world *world, uint64_t block)
{
	if (world->used[block])
		fail(world, "block %lu is added twice", block);
	if (!vmem_device_is_plugged(world->dev, addr_of(world, block)))
		fail(world, "block %lu is used before it is plugged", block);
	world->used[block] = true;
	world->written[block] = draw(world, UINT64_MAX);
	world->content[block] = world->written[block];
}

static void disuse(struct world *world, uint64_t block)
{
	if (!world->used[block])
		fail(world, "block %lu is taken, but not in use", block);
	world->used[block] = false;
}

static uint64_t unit_of(const struct world *world, uint64_t addr)
{
	uint64_t size = vmem_driver_unit_size(world->drv);

	return addr / size - world->device_config.addr / size;
}

/* What an op does in the end. */
static void take_effect(struct world *world, const struct later *l)
{
	uint64_t first = block_of(world, l->addr);
	uint64_t end = block_of(world, l->addr + l->size);

	if (l->op == OP_UNIT_ADD)
		world->there[unit_of(world, l->addr)] = true;
	if (l->op == OP_UNIT_REMOVE)
		world->there[unit_of(world, l->addr)] = false;
	for (uint64_t b = first; b < end; b++) {
		if (l->op == OP_ADD ||
		    (l->op == OP_UNIT_ADD &&
		     vmem_driver_is_usable(world->drv, addr_of(world, b))))
			use(world, b);
		else if (l->op == OP_TAKE ||
			 (l->op == OP_UNIT_REMOVE && world->used[b]))
			disuse(world, b);
	}
}

/* An op may go on while the unit is in the state that it needs. */
static void check_unit(struct world *world, const struct later *l)
{
	bool there = world->there[unit_of(world, l->addr)];

	if (!world->has_units)
		return;
	if (there == (l->op == OP_UNIT_ADD))
		fail(world, "op %d for a unit that is %s", l->op,
		     there ? "there" : "not there");
	for (unsigned int i = 0; i < world->nr_later; i++) {
		const struct later *other = &world->later[i];

		if (l->addr < other->addr + other->size &&
		    other->addr < l->addr + l->size)
			fail(world, "two ops at %#lx at once", l->addr);
	}
}

/* What is left of the OS's is what is requested, or more. */
static void check_taking(struct world *world)
{
	struct vmem_driver_status status;
	uint64_t left;

	vmem_driver_get_status(world->drv, &status);
	left = status.state_bytes[VMEM_DRIVER_ADDING] +
	       status.state_bytes[VMEM_DRIVER_USED];
	if (status.state_bytes[VMEM_DRIVER_TAKING] > 0 && left < goal(world))
		fail(world, "more is taken than is to go");
}

static int op(struct world *world, enum op kind, uint64_t addr, uint64_t size)
{
	struct later l = {.op = kind, .addr = addr, .size = size};

	if (world->driver_config.start == VMEM_DRIVER_START_LOOK)
		fail(world, "a looking driver asked the OS for something");
	if (addr / vmem_driver_unit_size(world->drv) !=
	    (addr + size - 1) / vmem_driver_unit_size(world->drv))
		fail(world, "an op spans two units");
	check_unit(world, &l);
	if (kind == OP_TAKE || kind == OP_UNIT_REMOVE)
		check_taking(world);
	if (chance(world, world->os_mood.refuses))
		return -VMEM_EBUSY;
	if (chance(world, world->os_mood.later) &&
	    world->nr_later < MAX_UNITS) {
		world->later[world->nr_later++] = l;
		return VMEM_DRIVER_LATER;
	}
	take_effect(world, &l);
	return 0;
}

static int add_range(void *opaque, uint64_t addr, uint64_t size)
{
	return op(opaque, OP_ADD, addr, size);
}

static int take_range(void *opaque, uint64_t addr, uint64_t size)
{
	return op(opaque, OP_TAKE, addr, size);
}

static int unit_add(void *opaque, uint64_t addr, uint64_t size)
{
	return op(opaque, OP_UNIT_ADD, addr, size);
}

static int unit_remove(void *opaque, uint64_t addr, uint64_t size)
{
	return op(opaque, OP_UNIT_REMOVE, addr, size);
}

static uint64_t usage(void *opaque, uint64_t addr, uint64_t size)
{
	struct world *world = opaque;

	return world->usage[unit_of(world, addr)];
}

static void broken(void *opaque, const char *why)
{
	fail(opaque, "the driver is broken: %s", why);
}

static const struct vmem_driver_ops plain = {
	.submit = submit,
	.read_config = read_config,
	.config_generation = config_generation,
	.add_range = add_range,
	.take_range = take_range,
	.usage = usage,
	.broken = broken,
};

static const struct vmem_driver_ops with_units = {
	.submit = submit,
	.read_config = read_config,
	.config_generation = config_generation,
	.add_range = add_range,
	.take_range = take_range,
	.unit_add = unit_add,
	.unit_remove = unit_remove,
	.usage = usage,
	.broken = broken,
};

void guest_op_ends(struct world *world, unsigned int which, bool well)
{
	struct later l = world->later[which];

	world->later[which] = world->later[--world->nr_later];
	if (well)
		take_effect(world, &l);
	if (vmem_driver_done(world->drv, l.addr, l.size,
			     well ? 0 : -VMEM_EBUSY) != 0)
		fail(world, "the end of an op at %#lx was refused", l.addr);
}

void guest_boot(struct world *world, enum vmem_driver_start start)
{
	const struct vmem_driver_ops *ops =
		world->has_units ? &with_units : &plain;
	bool meddling = world->meddling;
	struct vmem_config config;
	size_t size;

	memset(world->used, 0, sizeof(world->used));
	memset(world->there, 0, sizeof(world->there));
	world->nr_later = 0;
	world->nr_queued = 0;
	world->stopped = false;
	world->draining = false;
	world->driver_config.start = start;
	world->meddling = false;
	if (vmem_driver_read_config(ops, world, &config) != 0)
		fail(world, "the configuration cannot be read");
	world->meddling = meddling;
	size = vmem_driver_storage_size(&world->driver_config, &config,
					world->has_units);
	free(world->drv_storage);
	world->drv_storage = malloc(size);
	world->drv =
		vmem_driver_init(world->drv_storage, size,
				 &world->driver_config, &config, 0, ops, world);
	if (!world->drv) {
		fail(world, "no driver: %s",
		     vmem_driver_config_error(&world->driver_config, &config,
					      world->has_units));
	}
}
