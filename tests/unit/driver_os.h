/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operating system in miniature around the driver core, and a device for it
 * to speak to: a queue that holds requests until a test answers them, by hand
 * or by the device core; memory whose use is written down by block; ops whose
 * results the test says. Whatever the two promise each other is asserted.
 */
#ifndef TESTS_DRIVER_OS_H
#define TESTS_DRIVER_OS_H

#include <stdlib.h>
#include <string.h>
#include <vmem/device.h>
#include <vmem/driver.h>

#define MIB	    (1ULL << 20)
#define GIB	    (1ULL << 30)
#define BASE	    (4 * GIB)
#define MAX_PENDING 64

struct pending_request {
	unsigned int tag;
	struct vmem_request req;
	uint8_t bytes[24];
};

enum os_op {
	OS_ADD,
	OS_TAKE,
	OS_UNIT_ADD,
	OS_UNIT_REMOVE,
	NR_OS_OPS
};

struct os {
	struct vmem_driver *drv;
	void *storage;
	struct vmem_driver_config config;
	struct vmem_config space; /* what a hand-made device shows */
	uint32_t generation;
	int unsteady; /* so many readings of the generation differ */

	/* The device core, if the test uses it. */
	struct vmem_device *dev;
	void *dev_storage;
	int host_result; /* of its plug and unplug */
	unsigned int nr_guest_errors;

	/* The queue. */
	struct pending_request pending[MAX_PENDING];
	unsigned int nr_pending, nr_kicks;
	bool queue_full;

	/* The ops: what they return, how often they were called, the last. */
	int result[NR_OS_OPS];
	unsigned int nr_calls[NR_OS_OPS];
	uint64_t addr, size;
	uint64_t refuse_addr;  /* take_range of this address fails, if not 0 */
	uint64_t usage_of[64]; /* by unit, from the region's start */
	const char *broken;
	uint64_t now;
};

static inline uint64_t os_get(const uint8_t *from, unsigned int nr)
{
	uint64_t value = 0;

	while (nr-- > 0)
		value = value << 8 | from[nr];
	return value;
}

static inline int os_submit(void *opaque, unsigned int tag, const void *req,
			    size_t len)
{
	struct os *os = opaque;
	struct pending_request *p = &os->pending[os->nr_pending];

	assert_int_equal(len, 24);
	assert_true(tag < VMEM_DRIVER_MAX_DEPTH);
	if (os->queue_full)
		return -VMEM_EAGAIN;
	assert_true(os->nr_pending < MAX_PENDING);
	for (unsigned int i = 0; i < os->nr_pending; i++)
		assert_int_not_equal(os->pending[i].tag, tag);
	os->nr_pending++;
	p->tag = tag;
	memcpy(p->bytes, req, 24);
	memset(&p->req, 0, sizeof(p->req));
	p->req.type = (uint16_t)os_get(p->bytes, 2);
	p->req.addr = os_get(p->bytes + 8, 8);
	p->req.nr_blocks = (uint16_t)os_get(p->bytes + 16, 2);
	return 0;
}

static inline void os_kick(void *opaque)
{
	((struct os *)opaque)->nr_kicks++;
}

static inline void os_put(uint8_t *to, uint64_t value, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static inline void os_encode(uint8_t *bytes, const struct vmem_config *c)
{
	memset(bytes, 0, 56);
	os_put(bytes, c->block_size, 8);
	os_put(bytes + 8, c->node_id, 2);
	os_put(bytes + 16, c->addr, 8);
	os_put(bytes + 24, c->region_size, 8);
	os_put(bytes + 32, c->usable_region_size, 8);
	os_put(bytes + 40, c->plugged_size, 8);
	os_put(bytes + 48, c->requested_size, 8);
}

static inline void os_read_config(void *opaque, size_t offset, void *buf,
				  size_t len)
{
	struct os *os = opaque;
	uint8_t bytes[56];

	if (os->dev) {
		vmem_device_config_read(os->dev, offset, buf, len);
		return;
	}
	os_encode(bytes, &os->space);
	assert_true(offset <= 56 && len <= 56 - offset);
	memcpy(buf, bytes + offset, len);
}

static inline uint32_t os_generation(void *opaque)
{
	struct os *os = opaque;

	if (os->unsteady > 0) {
		os->unsteady--;
		os->generation++;
	}
	return os->generation;
}

static inline int os_called(struct os *os, enum os_op op, uint64_t addr,
			    uint64_t size)
{
	os->nr_calls[op]++;
	os->addr = addr;
	os->size = size;
	return os->result[op];
}

static inline int os_add_range(void *opaque, uint64_t addr, uint64_t size)
{
	struct os *os = opaque;

	for (uint64_t at = addr; at < addr + size;
	     at += vmem_driver_sub_size(os->drv))
		assert_int_equal(vmem_driver_state_at(os->drv, at),
				 VMEM_DRIVER_ADDING);
	return os_called(os, OS_ADD, addr, size);
}

static inline int os_take_range(void *opaque, uint64_t addr, uint64_t size)
{
	struct os *os = opaque;
	int result = os_called(os, OS_TAKE, addr, size);

	assert_true(vmem_driver_is_usable(os->drv, addr));
	if (os->refuse_addr && addr <= os->refuse_addr &&
	    os->refuse_addr - addr < size)
		return -VMEM_EBUSY;
	return result;
}

static inline int os_unit_add(void *opaque, uint64_t addr, uint64_t size)
{
	return os_called(opaque, OS_UNIT_ADD, addr, size);
}

static inline int os_unit_remove(void *opaque, uint64_t addr, uint64_t size)
{
	return os_called(opaque, OS_UNIT_REMOVE, addr, size);
}

static inline uint64_t os_usage(void *opaque, uint64_t addr, uint64_t size)
{
	struct os *os = opaque;

	return os->usage_of[(addr - os->space.addr) / size % 64];
}

static inline void os_broken(void *opaque, const char *why)
{
	((struct os *)opaque)->broken = why;
}

static const struct vmem_driver_ops plain_ops = {
	.submit = os_submit,
	.kick = os_kick,
	.read_config = os_read_config,
	.config_generation = os_generation,
	.add_range = os_add_range,
	.take_range = os_take_range,
	.usage = os_usage,
	.broken = os_broken,
};

static const struct vmem_driver_ops unit_ops = {
	.submit = os_submit,
	.kick = os_kick,
	.read_config = os_read_config,
	.config_generation = os_generation,
	.add_range = os_add_range,
	.take_range = os_take_range,
	.unit_add = os_unit_add,
	.unit_remove = os_unit_remove,
	.usage = os_usage,
	.broken = os_broken,
};

/* ---- The device -------------------------------------------------------- */

static inline int os_host_op(void *opaque, uint64_t addr, uint64_t size)
{
	return ((struct os *)opaque)->host_result;
}

static inline void os_guest_error(void *opaque, enum vmem_guest_error error,
				  const struct vmem_request *req)
{
	((struct os *)opaque)->nr_guest_errors++;
}

static const struct vmem_device_ops host_ops = {
	.plug = os_host_op,
	.unplug = os_host_op,
	.guest_error = os_guest_error,
};

static inline void os_create_device(struct os *os,
				    const struct vmem_device_config *config)
{
	size_t size = vmem_device_storage_size(config);

	os->dev_storage = malloc(size);
	os->dev =
		vmem_device_init(os->dev_storage, size, config, &host_ops, os);
	assert_non_null(os->dev);
	vmem_device_get_config(os->dev, &os->space);
}

/* ---- The driver -------------------------------------------------------- */

static inline void os_start(struct os *os, const struct vmem_driver_ops *ops)
{
	struct vmem_config device;
	size_t size;

	assert_int_equal(vmem_driver_read_config(ops, os, &device), 0);
	assert_null(vmem_driver_config_error(&os->config, &device,
					     ops->unit_add != NULL));
	size = vmem_driver_storage_size(&os->config, &device,
					ops->unit_add != NULL);
	os->storage = malloc(size);
	os->drv = vmem_driver_init(os->storage, size, &os->config, &device,
				   1 << VMEM_F_UNPLUGGED_INACCESSIBLE, ops, os);
	assert_non_null(os->drv);
}

static inline void os_finish(struct os *os)
{
	free(os->storage);
	free(os->dev_storage);
}

/* Run until it wants to wait; returns for how long. */
static inline uint32_t os_run(struct os *os)
{
	uint32_t wait;

	for (int i = 0; i < 100000; i++) {
		wait = vmem_driver_run(os->drv, os->now);
		if (wait != 0)
			return wait;
	}
	fail_msg("the driver wants to run for ever");
	return 0;
}

/* Of a response the type counts, and the state of an ACK to STATE; in the
 * rest (5.15.6) stands what must be ignored. */
static inline void os_add_noise(uint8_t resp[10], uint16_t request)
{
	bool has_state = request == VMEM_REQ_STATE && resp[0] == VMEM_RESP_ACK;

	memset(resp + 2, 0xa5, has_state ? 6 : 8);
}

/* Answer the oldest request by hand. */
static inline struct vmem_request os_answer(struct os *os, uint16_t type,
					    uint16_t state)
{
	struct pending_request p = os->pending[0];
	uint8_t resp[10] = {0};

	assert_true(os->nr_pending > 0);
	os->nr_pending--;
	memmove(os->pending, os->pending + 1,
		os->nr_pending * sizeof(os->pending[0]));
	os_put(resp, type, 2);
	os_put(resp + 8, state, 2);
	os_add_noise(resp, p.req.type);
	assert_int_equal(vmem_driver_response(os->drv, p.tag, resp, 10), 0);
	return p.req;
}

/* Have the device core answer the oldest request. */
static inline void os_serve(struct os *os)
{
	struct pending_request p = os->pending[0];
	uint8_t resp[10];

	assert_true(os->nr_pending > 0);
	os->nr_pending--;
	memmove(os->pending, os->pending + 1,
		os->nr_pending * sizeof(os->pending[0]));
	assert_int_equal(
		vmem_device_handle_request(os->dev, p.bytes, 24, resp, 10), 10);
	os_add_noise(resp, p.req.type);
	assert_int_equal(vmem_driver_response(os->drv, p.tag, resp, 10), 0);
}

/* Run and serve until neither has anything to do. */
static inline uint32_t os_settle(struct os *os)
{
	uint32_t wait = os_run(os);

	while (os->nr_pending > 0) {
		os_serve(os);
		wait = os_run(os);
	}
	return wait;
}

static inline struct vmem_driver_status os_status(const struct os *os)
{
	struct vmem_driver_status status;

	vmem_driver_get_status(os->drv, &status);
	return status;
}

/* Both at rest, and of one mind about every block. */
static inline void os_check_agreed(const struct os *os, uint64_t size)
{
	struct vmem_driver_status status = os_status(os);
	uint64_t end = os->space.addr + os->space.region_size;
	struct vmem_config c;

	vmem_device_get_config(os->dev, &c);
	assert_int_equal(c.plugged_size, size);
	assert_int_equal(status.state_bytes[VMEM_DRIVER_USED], size);
	assert_true(status.settled);
	for (uint64_t at = os->space.addr; at < end; at += os->space.block_size)
		assert_int_equal(vmem_driver_is_plugged(os->drv, at),
				 vmem_device_is_plugged(os->dev, at));
	assert_int_equal(os->nr_guest_errors, 0);
	assert_null(os->broken);
}

#endif
