// SPDX-License-Identifier: BSD-3-Clause
/* The device's interface: each function, each error, each rule for a device. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <vmem/device.h>

#define MIB	     (1ULL << 20)
#define GIB	     (1ULL << 30)
#define TIB	     (1ULL << 40)
#define BASE	     (4 * GIB)
#define USABLE	     (GIB + 256 * MIB) /* of the usual device */
#define INACCESSIBLE (1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE)
#define SUSPEND	     (1ULL << VMEM_F_PERSISTENT_SUSPEND)

struct vmm {
	struct vmem_device *dev;
	void *storage;
	int result; /* of plug and unplug */
	unsigned int nr_plug, nr_unplug, nr_notified, nr_errors;
	uint64_t addr, size; /* of the last call */
	/* What a call does to the device before it returns; may be NULL. */
	void (*meanwhile)(struct vmm *vmm);
	enum vmem_guest_error error;
	const struct vmem_request *blamed; /* only whether there is one */
};

static int vmm_called(struct vmm *vmm, uint64_t addr, uint64_t size)
{
	vmm->addr = addr;
	vmm->size = size;
	if (vmm->meanwhile)
		vmm->meanwhile(vmm);
	return vmm->result;
}

static int vmm_plug(void *opaque, uint64_t addr, uint64_t size)
{
	((struct vmm *)opaque)->nr_plug++;
	return vmm_called(opaque, addr, size);
}

static int vmm_unplug(void *opaque, uint64_t addr, uint64_t size)
{
	((struct vmm *)opaque)->nr_unplug++;
	return vmm_called(opaque, addr, size);
}

static void vmm_notified(void *opaque)
{
	((struct vmm *)opaque)->nr_notified++;
}

static void vmm_guest_error(void *opaque, enum vmem_guest_error error,
			    const struct vmem_request *req)
{
	struct vmm *vmm = opaque;

	vmm->nr_errors++;
	vmm->error = error;
	vmm->blamed = req;
}

static const struct vmem_device_ops ops = {
	.plug = vmm_plug,
	.unplug = vmm_unplug,
	.config_changed = vmm_notified,
	.guest_error = vmm_guest_error,
};

static const struct vmem_device_config usual = {
	.addr = BASE,
	.region_size = 4 * GIB,
	.requested_size = GIB,
};

static struct vmm *make(const struct vmem_device_config *config)
{
	size_t size = vmem_device_storage_size(config);
	struct vmm *vmm = calloc(1, sizeof(*vmm));

	assert_true(size > 0);
	vmm->storage = malloc(size);
	vmm->dev = vmem_device_init(vmm->storage, size, config, &ops, vmm);
	assert_non_null(vmm->dev);
	return vmm;
}

static void end(struct vmm *vmm)
{
	free(vmm->storage);
	free(vmm);
}

/* The type of the response; *state is set if it is not NULL. */
static unsigned int ask(struct vmm *vmm, unsigned int type, uint64_t addr,
			unsigned int nr, unsigned int *state)
{
	uint8_t req[24] = {(uint8_t)type, (uint8_t)(type >> 8)};
	uint8_t resp[10];

	memset(resp, 0xff, sizeof(resp));
	for (unsigned int i = 0; i < 8; i++)
		req[8 + i] = (uint8_t)(addr >> (8 * i));
	req[16] = (uint8_t)nr;
	req[17] = (uint8_t)(nr >> 8);
	assert_int_equal(
		vmem_device_handle_request(vmm->dev, req, 24, resp, 10), 10);
	if (state)
		*state = resp[8] | (unsigned int)resp[9] << 8;
	return resp[0] | (unsigned int)resp[1] << 8;
}

static void expect(struct vmm *vmm, unsigned int type, uint64_t addr,
		   unsigned int nr, enum vmem_response_type expected)
{
	assert_int_equal(ask(vmm, type, addr, nr, NULL), expected);
}

static void acks(struct vmm *vmm, unsigned int type, uint64_t addr,
		 unsigned int nr)
{
	expect(vmm, type, addr, nr, VMEM_RESP_ACK);
}

static void refuses(struct vmm *vmm, unsigned int type, uint64_t addr,
		    unsigned int nr, enum vmem_guest_error error)
{
	unsigned int errors_before = vmm->nr_errors;

	expect(vmm, type, addr, nr,
	       error == VMEM_GUEST_OVER_REQUESTED ? VMEM_RESP_NACK
						  : VMEM_RESP_ERROR);
	assert_int_equal(vmm->nr_errors, errors_before + 1);
	assert_int_equal(vmm->error, error);
}

static uint64_t read_config(const struct vmm *vmm, size_t offset, size_t len)
{
	uint8_t bytes[8];
	uint64_t value = 0;

	memset(bytes, 0xff, sizeof(bytes));
	vmem_device_config_read(vmm->dev, offset, bytes, len);
	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static void sizes(const struct vmm *vmm, uint64_t usable, uint64_t plugged,
		  uint64_t requested)
{
	struct vmem_config config;

	vmem_device_get_config(vmm->dev, &config);
	assert_int_equal(config.usable_region_size, usable);
	assert_int_equal(config.plugged_size, plugged);
	assert_int_equal(config.requested_size, requested);
}

static void resize(struct vmm *vmm, uint64_t size)
{
	assert_int_equal(vmem_device_set_requested_size(vmm->dev, size), 0);
}

_Static_assert(VMEM_EAGAIN == EAGAIN && VMEM_EBUSY == EBUSY, "errno.h");
_Static_assert(VMEM_EINVAL == EINVAL && VMEM_ERANGE == ERANGE, "errno.h");

/* ---- Making one -------------------------------------------------------- */

/* Each has one flaw. */
static void bad_configs(void **state)
{
	const struct vmem_device_config good = {
		.addr = UINT64_MAX - 100, .region_size = 100, .block_size = 1};
	const struct vmem_device_config bad[] = {
		{.addr = BASE},
		{.addr = BASE + 1, .region_size = GIB},
		{.addr = BASE, .region_size = GIB + 1},
		{.addr = 3 * BASE, .region_size = 3 * GIB, .block_size = 3},
		{.addr = BASE, .region_size = GIB, .requested_size = 3},
		{.addr = BASE, .region_size = GIB, .requested_size = 2 * GIB},
		{.addr = UINT64_MAX - GIB + 1, .region_size = 2 * GIB},
		{.addr = UINT64_MAX - 99, .region_size = 100, .block_size = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t storage[128];

		assert_non_null(vmem_device_config_error(&bad[i]));
		assert_int_equal(vmem_device_storage_size(&bad[i]), 0);
		assert_null(vmem_device_init(storage, sizeof(storage), &bad[i],
					     &ops, NULL));
	}
	assert_null(vmem_device_config_error(&usual));
	assert_null(vmem_device_config_error(&good)); /* the last, mended */
}

static void bad_storage_and_ops(void **state)
{
	const struct vmem_device_ops no_plug = {.unplug = vmm_unplug};
	const struct vmem_device_ops no_unplug = {.plug = vmm_plug};
	size_t size = vmem_device_storage_size(&usual);
	char *storage = malloc(size + 8);

	assert_null(vmem_device_init(NULL, size, &usual, &ops, NULL));
	assert_null(vmem_device_init(storage, size - 1, &usual, &ops, NULL));
	assert_null(vmem_device_init(storage + 1, size, &usual, &ops, NULL));
	assert_null(vmem_device_init(storage, size, &usual, NULL, NULL));
	assert_null(vmem_device_init(storage, size, &usual, &no_plug, NULL));
	assert_null(vmem_device_init(storage, size, &usual, &no_unplug, NULL));
	assert_non_null(vmem_device_init(storage, size, &usual, &ops, NULL));
	free(storage);
}

/* Whatever the storage held, and whatever stands behind it. */
static void keeps_to_its_storage(void **state)
{
	size_t size = vmem_device_storage_size(&usual);
	uint8_t *storage = malloc(size + 8);
	struct vmm vmm = {0};
	uint64_t addr = 0, length;

	memset(storage, 0xff, size + 8);
	vmm.dev = vmem_device_init(storage, size, &usual, &ops, &vmm);
	assert_int_equal(vmem_device_accepted_features(vmm.dev), 0);
	assert_false(vmem_device_next_plugged(vmm.dev, &addr, &length));
	resize(&vmm, 4 * GIB);
	acks(&vmm, VMEM_REQ_PLUG, BASE, 2048);
	assert_true(vmem_device_is_plugged(vmm.dev, BASE + 4 * GIB - 1));
	assert_false(vmem_device_is_plugged(vmm.dev, BASE + 4 * GIB));
	acks(&vmm, VMEM_REQ_UNPLUG_ALL, 0, 0);
	for (size_t i = size; i < size + 8; i++)
		assert_int_equal(storage[i], 0xff);
	free(storage);
}

/* ---- Configuration space ----------------------------------------------- */

static void config_space(void **state)
{
	struct vmem_device_config config = usual;
	struct vmm *vmm;

	config.has_node = true;
	config.node_id = 0x1234;
	vmm = make(&config);
	assert_int_equal(read_config(vmm, 0, 8), 2 * MIB);
	assert_int_equal(read_config(vmm, 8, 2), 0x1234);
	assert_int_equal(read_config(vmm, 9, 1), 0x12);
	assert_int_equal(read_config(vmm, 10, 6), 0);
	assert_int_equal(read_config(vmm, 16, 8), BASE);
	assert_int_equal(read_config(vmm, 24, 8), 4 * GIB);
	assert_int_equal(read_config(vmm, 32, 8), USABLE);
	assert_int_equal(read_config(vmm, 40, 8), 0);
	assert_int_equal(read_config(vmm, 48, 8), GIB);
	/* Beyond the end: zeros. */
	assert_int_equal(read_config(vmm, 51, 8), 0x40);
	assert_int_equal(read_config(vmm, SIZE_MAX, 1), 0);
	end(vmm);
}

/* requested_size and slack, in whole blocks, as far as the region goes. */
static void usable_region(void **state)
{
	static const struct {
		uint64_t requested, slack, usable;
	} rows[] = {
		{0, 0, 0},
		{2 * MIB, 0, 258 * MIB},
		{2 * MIB, 2 * MIB, 4 * MIB},
		{2 * MIB, 2 * MIB + 1, 6 * MIB},
		{4 * GIB, 1, 4 * GIB},
		{2 * MIB, UINT64_MAX, 4 * GIB},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vmem_device_config config = usual;
		struct vmm *vmm;

		config.requested_size = rows[i].requested;
		config.usable_slack = rows[i].slack;
		vmm = make(&config);
		sizes(vmm, rows[i].usable, 0, rows[i].requested);
		end(vmm);
	}
}

static void accepts(struct vmm *vmm, uint64_t features, int expected)
{
	uint64_t before = vmem_device_accepted_features(vmm->dev);

	assert_int_equal(vmem_device_accept_features(vmm->dev, features),
			 expected);
	assert_int_equal(vmem_device_accepted_features(vmm->dev),
			 expected == 0 ? features : before);
}

static void features(void **state)
{
	const uint64_t pxm = 1ULL << VMEM_F_ACPI_PXM;
	struct vmem_device_config config = usual;
	struct vmm *vmm = make(&config);

	assert_int_equal(vmem_device_features(vmm->dev), INACCESSIBLE);
	accepts(vmm, INACCESSIBLE, 0);
	/* A failure changes nothing; another choice replaces the first. */
	accepts(vmm, pxm, -VMEM_EINVAL);
	accepts(vmm, INACCESSIBLE | SUSPEND, -VMEM_EINVAL);
	accepts(vmm, 0, 0);
	accepts(vmm, INACCESSIBLE, 0);
	vmem_device_reset(vmm->dev);
	assert_int_equal(vmem_device_accepted_features(vmm->dev), 0);
	end(vmm);

	config.has_node = config.persistent_suspend = true;
	config.require_unplugged_inaccessible = true;
	vmm = make(&config);
	accepts(vmm, INACCESSIBLE | pxm | SUSPEND, 0);
	accepts(vmm, pxm | SUSPEND, -VMEM_EINVAL);
	accepts(vmm, INACCESSIBLE | pxm, 0);
	end(vmm);
}

/* ---- Requests ---------------------------------------------------------- */

static void plug_and_unplug(void **state)
{
	struct vmm *vmm = make(&usual);

	acks(vmm, VMEM_REQ_PLUG, BASE, 512);
	assert_int_equal(vmm->addr, BASE);
	assert_int_equal(vmm->size, GIB);
	sizes(vmm, USABLE, GIB, GIB);
	assert_true(vmem_device_is_plugged(vmm->dev, BASE + GIB - 1));
	assert_false(vmem_device_is_plugged(vmm->dev, BASE + GIB));
	assert_false(vmem_device_is_plugged(vmm->dev, BASE - 1));
	assert_false(vmem_device_is_plugged(vmm->dev, UINT64_MAX));

	acks(vmm, VMEM_REQ_UNPLUG, BASE + 2 * MIB, 3);
	assert_int_equal(vmm->addr, BASE + 2 * MIB);
	assert_int_equal(vmm->size, 6 * MIB);
	sizes(vmm, USABLE, GIB - 6 * MIB, GIB);
	assert_true(vmm->nr_plug == 1 && vmm->nr_unplug == 1);
	assert_int_equal(vmm->nr_errors + vmm->nr_notified, 0);
	end(vmm);
}

static void refused_requests(void **state)
{
	static const struct {
		uint64_t addr;
		unsigned int nr;
		enum vmem_guest_error error;
	} bad[] = {
		{BASE, 0, VMEM_GUEST_ZERO_BLOCKS},
		{BASE + 1, 1, VMEM_GUEST_MISALIGNED},
		{BASE - 2 * MIB, 1, VMEM_GUEST_OUT_OF_RANGE},
		{BASE - 2 * MIB, 2, VMEM_GUEST_OUT_OF_RANGE},
		{BASE + USABLE, 1, VMEM_GUEST_OUT_OF_RANGE},
		{BASE + USABLE - 2 * MIB, 2, VMEM_GUEST_OUT_OF_RANGE},
		{BASE + 4 * GIB - 2 * MIB, 1, VMEM_GUEST_OUT_OF_RANGE},
		{BASE + 4 * GIB, 1, VMEM_GUEST_OUT_OF_RANGE},
		{BASE, 65535, VMEM_GUEST_OUT_OF_RANGE},
		{BASE + (1ULL << 63), 1, VMEM_GUEST_OUT_OF_RANGE},
		{0 - 2 * MIB, 2, VMEM_GUEST_OUT_OF_RANGE},
	};
	static const unsigned int types[] = {VMEM_REQ_PLUG, VMEM_REQ_UNPLUG,
					     VMEM_REQ_STATE};
	struct vmm *vmm = make(&usual);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (size_t j = 0; j < 3; j++)
			refuses(vmm, types[j], bad[i].addr, bad[i].nr,
				bad[i].error);
	}
	for (unsigned int type = 4; type < 0x10000; type++)
		refuses(vmm, type, BASE, 1, VMEM_GUEST_BAD_TYPE);
	assert_int_equal(vmm->nr_plug + vmm->nr_unplug, 0);
	/* The last usable block can be used. */
	acks(vmm, VMEM_REQ_PLUG, BASE + USABLE - 2 * MIB, 1);
	acks(vmm, VMEM_REQ_UNPLUG, BASE + USABLE - 2 * MIB, 1);
	end(vmm);
}

static void wrong_state(void **state)
{
	struct vmm *vmm = make(&usual);

	acks(vmm, VMEM_REQ_PLUG, BASE, 4);
	refuses(vmm, VMEM_REQ_PLUG, BASE, 1, VMEM_GUEST_WRONG_STATE);
	refuses(vmm, VMEM_REQ_PLUG, BASE + 6 * MIB, 2, VMEM_GUEST_WRONG_STATE);
	refuses(vmm, VMEM_REQ_UNPLUG, BASE + 6 * MIB, 2,
		VMEM_GUEST_WRONG_STATE);
	sizes(vmm, USABLE, 8 * MIB, GIB);
	/* ERROR also where NACK would be right. */
	resize(vmm, 0);
	refuses(vmm, VMEM_REQ_PLUG, BASE, 1, VMEM_GUEST_WRONG_STATE);
	end(vmm);
}

static void over_requested(void **state)
{
	struct vmm *vmm = make(&usual);

	refuses(vmm, VMEM_REQ_PLUG, BASE, 513, VMEM_GUEST_OVER_REQUESTED);
	acks(vmm, VMEM_REQ_PLUG, BASE, 512);
	refuses(vmm, VMEM_REQ_PLUG, BASE + GIB, 1, VMEM_GUEST_OVER_REQUESTED);
	/* Less is asked for than is plugged: what is there stays. */
	resize(vmm, 0);
	sizes(vmm, USABLE, GIB, 0);
	refuses(vmm, VMEM_REQ_PLUG, BASE + GIB, 1, VMEM_GUEST_OVER_REQUESTED);
	end(vmm);
}

/* No fault of the guest's. */
static void host_fails(void **state)
{
	struct vmm *vmm = make(&usual);

	vmm->result = -EBUSY;
	expect(vmm, VMEM_REQ_PLUG, BASE, 1, VMEM_RESP_BUSY);
	vmm->result = -EAGAIN;
	expect(vmm, VMEM_REQ_PLUG, BASE, 1, VMEM_RESP_BUSY);
	vmm->result = -ENOMEM;
	expect(vmm, VMEM_REQ_PLUG, BASE, 1, VMEM_RESP_NACK);
	sizes(vmm, USABLE, 0, GIB);
	vmm->result = 0;
	acks(vmm, VMEM_REQ_PLUG, BASE, 2);
	resize(vmm, 2 * MIB);
	vmm->result = -EIO;
	expect(vmm, VMEM_REQ_UNPLUG, BASE, 1, VMEM_RESP_BUSY);
	expect(vmm, VMEM_REQ_UNPLUG_ALL, 0, 0, VMEM_RESP_BUSY);
	assert_int_equal(vmem_device_system_reset(vmm->dev), -EIO);
	sizes(vmm, USABLE, 4 * MIB, 2 * MIB);
	assert_int_equal(vmm->nr_errors, 0);
	end(vmm);
}

static void unplug_all(void **state)
{
	struct vmm *vmm = make(&usual);

	/* Nothing is plugged: nothing to call for. */
	acks(vmm, VMEM_REQ_UNPLUG_ALL, 1, 0);
	assert_int_equal(vmm->nr_unplug, 0);
	acks(vmm, VMEM_REQ_PLUG, BASE + 4 * MIB, 1);
	acks(vmm, VMEM_REQ_PLUG, BASE + 512 * MIB, 1);
	resize(vmm, 2 * MIB);
	sizes(vmm, USABLE, 4 * MIB, 2 * MIB);
	acks(vmm, VMEM_REQ_UNPLUG_ALL, 0, 0);
	assert_int_equal(vmm->nr_unplug, 1);
	assert_true(vmm->addr <= BASE + 4 * MIB);
	assert_true(vmm->addr + vmm->size >= BASE + 514 * MIB);
	/* Now the usable region may shrink, and nobody is told. */
	sizes(vmm, 258 * MIB, 0, 2 * MIB);
	assert_int_equal(vmm->nr_notified, 1);
	/* Also where nothing is plugged. */
	resize(vmm, 0);
	acks(vmm, VMEM_REQ_UNPLUG_ALL, 0, 0);
	sizes(vmm, 0, 0, 0);
	refuses(vmm, VMEM_REQ_STATE, BASE, 1, VMEM_GUEST_OUT_OF_RANGE);
	end(vmm);
}

static void is_in_state(struct vmm *vmm, uint64_t addr, unsigned int nr,
			enum vmem_range_state expected)
{
	unsigned int range;

	assert_int_equal(ask(vmm, VMEM_REQ_STATE, addr, nr, &range),
			 VMEM_RESP_ACK);
	assert_int_equal(range, expected);
}

static void states(void **state)
{
	struct vmm *vmm = make(&usual);

	acks(vmm, VMEM_REQ_PLUG, BASE + 2 * MIB, 200);
	is_in_state(vmm, BASE + 2 * MIB, 200, VMEM_STATE_PLUGGED);
	is_in_state(vmm, BASE, 1, VMEM_STATE_UNPLUGGED);
	is_in_state(vmm, BASE, 201, VMEM_STATE_MIXED);
	is_in_state(vmm, BASE + 2 * MIB, 201, VMEM_STATE_MIXED);
	/* Never BUSY, whatever the VMM would say: it is not asked. */
	vmm->result = -EBUSY;
	is_in_state(vmm, BASE, 201, VMEM_STATE_MIXED);
	assert_int_equal(vmm->nr_plug + vmm->nr_unplug, 1);
	end(vmm);
}

static void short_buffers(void **state)
{
	uint8_t req[24] = {VMEM_REQ_UNPLUG_ALL}, resp[10] = {0};
	struct vmm *vmm = make(&usual);

	assert_int_equal(vmem_device_handle_request(vmm->dev, req, 23, resp,
						    10),
			 -VMEM_EINVAL);
	assert_int_equal(vmm->error, VMEM_GUEST_SHORT_REQUEST);
	assert_null(vmm->blamed);
	assert_int_equal(vmem_device_handle_request(vmm->dev, req, 24, resp, 9),
			 -VMEM_EINVAL);
	assert_int_equal(vmm->error, VMEM_GUEST_SHORT_RESPONSE);
	assert_non_null(vmm->blamed);
	assert_int_equal(vmm->nr_errors, 2);
	assert_int_equal(
		vmem_device_handle_request(vmm->dev, req, 24, resp, 10), 10);
	end(vmm);
}

/* ---- Resizes and resets ------------------------------------------------ */

static void resizes(void **state)
{
	struct vmm *vmm = make(&usual);

	assert_int_equal(vmem_device_set_requested_size(vmm->dev, MIB),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_device_set_requested_size(vmm->dev, 8 * GIB),
			 -VMEM_ERANGE);
	resize(vmm, GIB); /* as it was */
	assert_int_equal(vmm->nr_notified, 0);
	resize(vmm, 4 * GIB);
	assert_int_equal(vmm->nr_notified, 1);
	sizes(vmm, 4 * GIB, 0, 4 * GIB);
	/* The usable region does not shrink by this. */
	resize(vmm, 2 * MIB);
	assert_int_equal(vmm->nr_notified, 2);
	sizes(vmm, 4 * GIB, 0, 2 * MIB);
	end(vmm);
}

/* A VMM without the two ops that may be missing. */
static void silent_vmm(void **state)
{
	const struct vmem_device_ops silent = {.plug = vmm_plug,
					       .unplug = vmm_unplug};
	uint64_t storage[512];
	struct vmm vmm = {0};

	vmm.dev = vmem_device_init(storage, sizeof(storage), &usual, &silent,
				   &vmm);
	resize(&vmm, 0);
	expect(&vmm, VMEM_REQ_PLUG, BASE, 0, VMEM_RESP_ERROR);
	assert_int_equal(vmem_device_system_reset(vmm.dev), 0);
}

/*
 * Of the virtio device: all stays. Of the system: memory goes, the wish stays,
 * and a notification tells of a usable region that shrank.
 */
static void resets(void **state)
{
	struct vmm *vmm = make(&usual);

	acks(vmm, VMEM_REQ_PLUG, BASE + 2 * MIB, 511);
	assert_int_equal(vmem_device_system_reset(vmm->dev), 0);
	assert_int_equal(vmm->nr_unplug, 1);
	assert_int_equal(vmm->addr, BASE + 2 * MIB);
	assert_int_equal(vmm->size, GIB - 2 * MIB);
	sizes(vmm, USABLE, 0, GIB);
	assert_int_equal(vmm->nr_notified, 0);

	acks(vmm, VMEM_REQ_PLUG, BASE, 512);
	resize(vmm, 4 * MIB);
	vmem_device_reset(vmm->dev);
	sizes(vmm, USABLE, GIB, 4 * MIB);
	assert_int_equal(vmm->nr_unplug, 1);
	accepts(vmm, INACCESSIBLE, 0);
	vmm->result = -EIO;
	assert_int_equal(vmem_device_system_reset(vmm->dev), -EIO);
	sizes(vmm, USABLE, GIB, 4 * MIB);
	assert_int_equal(vmem_device_accepted_features(vmm->dev), 0);
	assert_int_equal(vmm->nr_notified, 1);
	vmm->result = 0;
	assert_int_equal(vmem_device_system_reset(vmm->dev), 0);
	sizes(vmm, 260 * MIB, 0, 4 * MIB);
	assert_int_equal(vmm->nr_notified, 2);
	end(vmm);
}

static void ask_for_more_and_less(struct vmm *vmm)
{
	assert_true(vmem_device_is_plugged(vmm->dev, BASE));
	resize(vmm, 3 * GIB);
	resize(vmm, GIB);
	sizes(vmm, 3 * GIB + 256 * MIB, 2 * MIB, GIB);
}

/* The last notification must not speak of more than there is. */
static void resized_while_it_resets(void **state)
{
	struct vmm *vmm = make(&usual);

	acks(vmm, VMEM_REQ_PLUG, BASE, 1);
	vmm->meanwhile = ask_for_more_and_less;
	assert_int_equal(vmem_device_system_reset(vmm->dev), 0);
	sizes(vmm, USABLE, 0, GIB);
	assert_int_equal(vmm->nr_notified, 3);
	end(vmm);
}

static void next_is(struct vmm *vmm, uint64_t *addr, uint64_t start,
		    uint64_t expected)
{
	uint64_t size;

	assert_true(vmem_device_next_plugged(vmm->dev, addr, &size));
	assert_int_equal(*addr, start);
	assert_int_equal(size, expected);
	*addr += size;
}

/* Full, by the longest of requests, and empty again. */
static void fills_a_tebibyte(void **state)
{
	const struct vmem_device_config config = {
		.addr = 1ULL << 62, .region_size = TIB, .requested_size = TIB};
	const unsigned int most = 65535, nr_blocks = TIB / (2 * MIB);
	struct vmm *vmm = make(&config);
	uint64_t addr = 0;

	/* One bit a block, and a header. */
	assert_in_range(vmem_device_storage_size(&config), nr_blocks / 8,
			nr_blocks / 8 + 512);
	for (unsigned int at = 0; at < nr_blocks; at += most)
		acks(vmm, VMEM_REQ_PLUG, config.addr + at * 2 * MIB,
		     nr_blocks - at < most ? nr_blocks - at : most);
	sizes(vmm, TIB, TIB, TIB);
	next_is(vmm, &addr, config.addr, TIB);
	refuses(vmm, VMEM_REQ_STATE, config.addr + TIB, 1,
		VMEM_GUEST_OUT_OF_RANGE);
	/* A hole in the midst of 65535 blocks. */
	acks(vmm, VMEM_REQ_UNPLUG, config.addr + 30000 * 2 * MIB, 1);
	is_in_state(vmm, config.addr, most, VMEM_STATE_MIXED);
	refuses(vmm, VMEM_REQ_UNPLUG, config.addr, most,
		VMEM_GUEST_WRONG_STATE);
	acks(vmm, VMEM_REQ_UNPLUG_ALL, 0, 0);
	assert_int_equal(vmm->size, TIB);
	sizes(vmm, TIB, 0, TIB);
	end(vmm);
}

static void runs_of_16_tebibytes(void **state)
{
	const struct vmem_device_config config = {.addr = TIB,
						  .region_size = 16 * TIB,
						  .requested_size = 16 * TIB};
	struct vmm *vmm = make(&config);
	uint64_t addr = 0, size;

	assert_false(vmem_device_next_plugged(vmm->dev, &addr, &size));
	acks(vmm, VMEM_REQ_PLUG, TIB + 126 * MIB, 66);
	acks(vmm, VMEM_REQ_PLUG, 17 * TIB - 2 * MIB, 1);
	next_is(vmm, &addr, TIB + 126 * MIB, 132 * MIB);
	next_is(vmm, &addr, 17 * TIB - 2 * MIB, 2 * MIB);
	assert_false(vmem_device_next_plugged(vmm->dev, &addr, &size));
	/* From inside a run, and inside a block: what is left of it. */
	addr = TIB + 129 * MIB;
	next_is(vmm, &addr, TIB + 129 * MIB, 129 * MIB);
	addr = UINT64_MAX;
	assert_false(vmem_device_next_plugged(vmm->dev, &addr, &size));
	acks(vmm, VMEM_REQ_PLUG, 2 * TIB, 65535);
	sizes(vmm, 16 * TIB, 65602 * 2 * MIB, 16 * TIB);
	end(vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_configs),
		cmocka_unit_test(bad_storage_and_ops),
		cmocka_unit_test(keeps_to_its_storage),
		cmocka_unit_test(config_space),
		cmocka_unit_test(usable_region),
		cmocka_unit_test(features),
		cmocka_unit_test(plug_and_unplug),
		cmocka_unit_test(refused_requests),
		cmocka_unit_test(wrong_state),
		cmocka_unit_test(over_requested),
		cmocka_unit_test(host_fails),
		cmocka_unit_test(unplug_all),
		cmocka_unit_test(states),
		cmocka_unit_test(short_buffers),
		cmocka_unit_test(resizes),
		cmocka_unit_test(silent_vmm),
		cmocka_unit_test(resets),
		cmocka_unit_test(resized_while_it_resets),
		cmocka_unit_test(fills_a_tebibyte),
		cmocka_unit_test(runs_of_16_tebibytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
