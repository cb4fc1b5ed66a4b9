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

#define MIB  (1ULL << 20)
#define GIB  (1ULL << 30)
#define TIB  (1ULL << 40)
#define BASE (4 * GIB)

struct vmm {
	struct vmem_device *dev;
	void *storage;
	int result; /* of plug and unplug */
	unsigned int nr_plug, nr_unplug, nr_notified, nr_errors;
	uint64_t addr, size; /* of the last call */
	enum vmem_guest_error error;
};

static int vmm_plug(void *opaque, uint64_t addr, uint64_t size)
{
	struct vmm *vmm = opaque;

	vmm->nr_plug++;
	vmm->addr = addr;
	vmm->size = size;
	return vmm->result;
}

static int vmm_unplug(void *opaque, uint64_t addr, uint64_t size)
{
	struct vmm *vmm = opaque;

	vmm->nr_unplug++;
	vmm->addr = addr;
	vmm->size = size;
	return vmm->result;
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

static void make(struct vmm *vmm, const struct vmem_device_config *config)
{
	size_t size = vmem_device_storage_size(config);

	memset(vmm, 0, sizeof(*vmm));
	assert_true(size > 0);
	vmm->storage = malloc(size);
	vmm->dev = vmem_device_init(vmm->storage, size, config, &ops, vmm);
	assert_non_null(vmm->dev);
}

static void end(struct vmm *vmm)
{
	free(vmm->storage);
}

struct answer {
	unsigned int type, state;
};

static struct answer ask(struct vmm *vmm, unsigned int type, uint64_t addr,
			 unsigned int nr)
{
	uint8_t req[24] = {(uint8_t)type, (uint8_t)(type >> 8)};
	uint8_t resp[10];

	memset(resp, 0xff, sizeof(resp));
	for (unsigned int i = 0; i < 8; i++)
		req[8 + i] = (uint8_t)(addr >> (8 * i));
	req[16] = (uint8_t)nr;
	req[17] = (uint8_t)(nr >> 8);
	assert_int_equal(vmem_device_handle_request(vmm->dev, req, sizeof(req),
						    resp, sizeof(resp)),
			 10);
	return (struct answer){(unsigned int)(resp[0] | resp[1] << 8),
			       (unsigned int)(resp[8] | resp[9] << 8)};
}

static void expect_refused(struct vmm *vmm, struct answer answer,
			   enum vmem_guest_error error)
{
	assert_int_equal(answer.type, error == VMEM_GUEST_OVER_REQUESTED
					      ? VMEM_RESP_NACK
					      : VMEM_RESP_ERROR);
	assert_int_equal(vmm->error, error);
}

static uint64_t read_config(const struct vmm *vmm, size_t offset, size_t len)
{
	uint8_t bytes[8] = {0};
	uint64_t value = 0;

	vmem_device_config_read(vmm->dev, offset, bytes, len);
	for (size_t i = 0; i < len; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

/* ---- Making one -------------------------------------------------------- */

static void errno_values(void **state)
{
	assert_int_equal(VMEM_EAGAIN, EAGAIN);
	assert_int_equal(VMEM_EBUSY, EBUSY);
	assert_int_equal(VMEM_EINVAL, EINVAL);
	assert_int_equal(VMEM_ERANGE, ERANGE);
}

static void bad_configs(void **state)
{
	const struct vmem_device_config bad[] = {
		{.addr = BASE},
		{.addr = BASE + 1, .region_size = GIB},
		{.addr = BASE, .region_size = GIB + 1},
		{.addr = BASE, .region_size = GIB, .block_size = 3 * MIB},
		{.addr = BASE, .region_size = GIB, .requested_size = 3},
		{.addr = BASE, .region_size = GIB, .requested_size = 2 * GIB},
		{.addr = UINT64_MAX - GIB + 1, .region_size = 2 * GIB},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t storage[64];

		assert_non_null(vmem_device_config_error(&bad[i]));
		assert_int_equal(vmem_device_storage_size(&bad[i]), 0);
		assert_null(vmem_device_init(storage, sizeof(storage), &bad[i],
					     &ops, NULL));
	}
	assert_null(vmem_device_config_error(&usual));
}

static void bad_storage(void **state)
{
	size_t size = vmem_device_storage_size(&usual);
	char *storage = malloc(size + 8);

	assert_null(vmem_device_init(NULL, size, &usual, &ops, NULL));
	assert_null(vmem_device_init(storage, size - 1, &usual, &ops, NULL));
	assert_null(vmem_device_init(storage + 1, size, &usual, &ops, NULL));
	assert_non_null(vmem_device_init(storage, size, &usual, &ops, NULL));
	free(storage);
}

/* One bit a block, and a header. */
static void storage_of_large_ones(void **state)
{
	const struct vmem_device_config one = {.region_size = TIB};
	const struct vmem_device_config sixteen = {.region_size = 16 * TIB};

	assert_in_range(vmem_device_storage_size(&one), TIB / (2 * MIB) / 8,
			TIB / (2 * MIB) / 8 + 512);
	assert_in_range(vmem_device_storage_size(&sixteen),
			16 * TIB / (2 * MIB) / 8,
			16 * TIB / (2 * MIB) / 8 + 512);
}

/* ---- Configuration space ----------------------------------------------- */

static void config_space(void **state)
{
	struct vmem_device_config config = usual;
	struct vmm vmm;
	uint8_t bytes[64];

	config.has_node = true;
	config.node_id = 0x1234;
	make(&vmm, &config);
	assert_int_equal(read_config(&vmm, 0, 8), 2 * MIB);
	assert_int_equal(read_config(&vmm, 8, 2), 0x1234);
	assert_int_equal(read_config(&vmm, 9, 1), 0x12);
	assert_int_equal(read_config(&vmm, 10, 4), 0);
	assert_int_equal(read_config(&vmm, 16, 8), BASE);
	assert_int_equal(read_config(&vmm, 24, 8), 4 * GIB);
	assert_int_equal(read_config(&vmm, 28, 4), 1);
	assert_int_equal(read_config(&vmm, 32, 8), GIB + 256 * MIB);
	assert_int_equal(read_config(&vmm, 40, 8), 0);
	assert_int_equal(read_config(&vmm, 48, 8), GIB);
	/* Beyond the end: zeros. */
	memset(bytes, 0xff, sizeof(bytes));
	vmem_device_config_read(vmm.dev, 48, bytes, 16);
	assert_int_equal(bytes[3], 0x40);
	assert_int_equal(bytes[8], 0);
	assert_int_equal(bytes[15], 0);
	assert_int_equal(bytes[16], 0xff);
	assert_int_equal(read_config(&vmm, 56, 8), 0);
	assert_int_equal(read_config(&vmm, SIZE_MAX, 1), 0);
	end(&vmm);
}

static void features(void **state)
{
	const uint64_t inaccessible = 1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE;
	const uint64_t pxm = 1ULL << VMEM_F_ACPI_PXM;
	struct vmem_device_config config = usual;
	struct vmm vmm;

	make(&vmm, &config);
	assert_int_equal(vmem_device_features(vmm.dev), inaccessible);
	assert_int_equal(vmem_device_accept_features(vmm.dev, pxm),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_device_accept_features(vmm.dev, 0), 0);
	assert_int_equal(vmem_device_accept_features(vmm.dev, inaccessible), 0);
	assert_int_equal(vmem_device_accepted_features(vmm.dev), inaccessible);
	vmem_device_reset(vmm.dev);
	assert_int_equal(vmem_device_accepted_features(vmm.dev), 0);
	end(&vmm);

	config.has_node = true;
	config.require_unplugged_inaccessible = true;
	make(&vmm, &config);
	assert_int_equal(vmem_device_features(vmm.dev), inaccessible | pxm);
	assert_int_equal(vmem_device_accept_features(vmm.dev, pxm),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_device_accept_features(vmm.dev, inaccessible), 0);
	end(&vmm);
}

/* ---- Requests ---------------------------------------------------------- */

static void plug_and_unplug(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 512).type,
			 VMEM_RESP_ACK);
	assert_int_equal(vmm.addr, BASE);
	assert_int_equal(vmm.size, GIB);
	assert_int_equal(read_config(&vmm, 40, 8), GIB);
	assert_true(vmem_device_is_plugged(vmm.dev, BASE + GIB - 1));
	assert_false(vmem_device_is_plugged(vmm.dev, BASE + GIB));
	assert_false(vmem_device_is_plugged(vmm.dev, BASE - 1));
	assert_false(vmem_device_is_plugged(vmm.dev, UINT64_MAX));

	assert_int_equal(ask(&vmm, VMEM_REQ_UNPLUG, BASE + 2 * MIB, 3).type,
			 VMEM_RESP_ACK);
	assert_int_equal(vmm.addr, BASE + 2 * MIB);
	assert_int_equal(vmm.size, 6 * MIB);
	assert_int_equal(read_config(&vmm, 40, 8), GIB - 6 * MIB);
	assert_int_equal(vmm.nr_errors, 0);
	end(&vmm);
}

static void refused_ranges(void **state)
{
	const uint64_t usable = GIB + 256 * MIB;
	static const unsigned int types[] = {VMEM_REQ_PLUG, VMEM_REQ_UNPLUG,
					     VMEM_REQ_STATE};
	struct vmm vmm;

	make(&vmm, &usual);
	for (size_t i = 0; i < 3; i++) {
		unsigned int type = types[i];

		expect_refused(&vmm, ask(&vmm, type, BASE, 0),
			       VMEM_GUEST_ZERO_BLOCKS);
		expect_refused(&vmm, ask(&vmm, type, BASE + 1, 1),
			       VMEM_GUEST_MISALIGNED);
		expect_refused(&vmm, ask(&vmm, type, BASE - 2 * MIB, 1),
			       VMEM_GUEST_OUT_OF_RANGE);
		expect_refused(&vmm, ask(&vmm, type, BASE - 2 * MIB, 2),
			       VMEM_GUEST_OUT_OF_RANGE);
		expect_refused(&vmm, ask(&vmm, type, BASE + usable, 1),
			       VMEM_GUEST_OUT_OF_RANGE);
		expect_refused(&vmm,
			       ask(&vmm, type, BASE + usable - 2 * MIB, 2),
			       VMEM_GUEST_OUT_OF_RANGE);
		expect_refused(&vmm, ask(&vmm, type, BASE, 65535),
			       VMEM_GUEST_OUT_OF_RANGE);
		expect_refused(&vmm, ask(&vmm, type, -(2 * MIB), 2),
			       VMEM_GUEST_OUT_OF_RANGE);
	}
	for (unsigned int type = 4; type < 0x10000; type += 4093)
		expect_refused(&vmm, ask(&vmm, type, BASE, 1),
			       VMEM_GUEST_BAD_TYPE);
	assert_int_equal(vmm.nr_plug + vmm.nr_unplug, 0);
	/* The last usable block can be used. */
	assert_int_equal(
		ask(&vmm, VMEM_REQ_PLUG, BASE + usable - 2 * MIB, 1).type,
		VMEM_RESP_ACK);
	end(&vmm);
}

static void wrong_state(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 4).type, VMEM_RESP_ACK);
	expect_refused(&vmm, ask(&vmm, VMEM_REQ_PLUG, BASE, 1),
		       VMEM_GUEST_WRONG_STATE);
	expect_refused(&vmm, ask(&vmm, VMEM_REQ_PLUG, BASE + 6 * MIB, 2),
		       VMEM_GUEST_WRONG_STATE);
	expect_refused(&vmm, ask(&vmm, VMEM_REQ_UNPLUG, BASE + 6 * MIB, 2),
		       VMEM_GUEST_WRONG_STATE);
	assert_int_equal(read_config(&vmm, 40, 8), 8 * MIB);
	end(&vmm);
}

static void over_requested(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	expect_refused(&vmm, ask(&vmm, VMEM_REQ_PLUG, BASE, 513),
		       VMEM_GUEST_OVER_REQUESTED);
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 512).type,
			 VMEM_RESP_ACK);
	expect_refused(&vmm, ask(&vmm, VMEM_REQ_PLUG, BASE + GIB, 1),
		       VMEM_GUEST_OVER_REQUESTED);
	/* Less is asked for than is plugged: what is there stays. */
	assert_int_equal(vmem_device_set_requested_size(vmm.dev, 0), 0);
	assert_int_equal(read_config(&vmm, 40, 8), GIB);
	expect_refused(&vmm, ask(&vmm, VMEM_REQ_PLUG, BASE + GIB, 1),
		       VMEM_GUEST_OVER_REQUESTED);
	end(&vmm);
}

static void host_fails(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	vmm.result = -EBUSY;
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 1).type,
			 VMEM_RESP_BUSY);
	vmm.result = -EAGAIN;
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 1).type,
			 VMEM_RESP_BUSY);
	vmm.result = -ENOMEM;
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 1).type,
			 VMEM_RESP_NACK);
	assert_int_equal(read_config(&vmm, 40, 8), 0);
	vmm.result = 0;
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, BASE, 2).type, VMEM_RESP_ACK);
	vmm.result = -EIO;
	assert_int_equal(ask(&vmm, VMEM_REQ_UNPLUG, BASE, 1).type,
			 VMEM_RESP_BUSY);
	assert_int_equal(ask(&vmm, VMEM_REQ_UNPLUG_ALL, 0, 0).type,
			 VMEM_RESP_BUSY);
	assert_int_equal(vmem_device_system_reset(vmm.dev), -EIO);
	assert_int_equal(read_config(&vmm, 40, 8), 4 * MIB);
	end(&vmm);
}

static void unplug_all(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	/* Nothing is plugged: nothing to call for. */
	assert_int_equal(ask(&vmm, VMEM_REQ_UNPLUG_ALL, 1, 0).type,
			 VMEM_RESP_ACK);
	assert_int_equal(vmm.nr_unplug, 0);
	ask(&vmm, VMEM_REQ_PLUG, BASE + 4 * MIB, 1);
	ask(&vmm, VMEM_REQ_PLUG, BASE + 512 * MIB, 1);
	vmem_device_set_requested_size(vmm.dev, 2 * MIB);
	assert_int_equal(read_config(&vmm, 32, 8), GIB + 256 * MIB);
	assert_int_equal(ask(&vmm, VMEM_REQ_UNPLUG_ALL, 0, 0).type,
			 VMEM_RESP_ACK);
	assert_int_equal(vmm.nr_unplug, 1);
	assert_true(vmm.addr <= BASE + 4 * MIB);
	assert_true(vmm.addr + vmm.size >= BASE + 514 * MIB);
	assert_int_equal(read_config(&vmm, 40, 8), 0);
	/* Now the usable region may shrink. */
	assert_int_equal(read_config(&vmm, 32, 8), 258 * MIB);
	end(&vmm);
}

static void states(void **state)
{
	struct vmm vmm;
	struct answer answer;

	make(&vmm, &usual);
	ask(&vmm, VMEM_REQ_PLUG, BASE + 2 * MIB, 200);
	answer = ask(&vmm, VMEM_REQ_STATE, BASE + 2 * MIB, 200);
	assert_int_equal(answer.type, VMEM_RESP_ACK);
	assert_int_equal(answer.state, VMEM_STATE_PLUGGED);
	answer = ask(&vmm, VMEM_REQ_STATE, BASE, 1);
	assert_int_equal(answer.state, VMEM_STATE_UNPLUGGED);
	answer = ask(&vmm, VMEM_REQ_STATE, BASE, 201);
	assert_int_equal(answer.state, VMEM_STATE_MIXED);
	answer = ask(&vmm, VMEM_REQ_STATE, BASE + 2 * MIB, 201);
	assert_int_equal(answer.state, VMEM_STATE_MIXED);
	end(&vmm);
}

static void short_buffers(void **state)
{
	uint8_t req[24] = {VMEM_REQ_UNPLUG_ALL}, resp[10] = {0};
	struct vmm vmm;

	make(&vmm, &usual);
	assert_int_equal(vmem_device_handle_request(vmm.dev, req, 23, resp, 10),
			 -VMEM_EINVAL);
	assert_int_equal(vmm.error, VMEM_GUEST_SHORT_REQUEST);
	assert_int_equal(vmem_device_handle_request(vmm.dev, req, 24, resp, 9),
			 -VMEM_EINVAL);
	assert_int_equal(vmm.error, VMEM_GUEST_SHORT_RESPONSE);
	assert_int_equal(vmem_device_handle_request(vmm.dev, req, 24, resp, 10),
			 10);
	end(&vmm);
}

/* ---- Resizes and resets ------------------------------------------------ */

static void resizes(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	assert_int_equal(vmem_device_set_requested_size(vmm.dev, MIB),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_device_set_requested_size(vmm.dev,
							4 * GIB + 2 * MIB),
			 -VMEM_ERANGE);
	assert_int_equal(vmem_device_set_requested_size(vmm.dev, GIB), 0);
	assert_int_equal(vmm.nr_notified, 0);
	assert_int_equal(vmem_device_set_requested_size(vmm.dev, 4 * GIB), 0);
	assert_int_equal(vmm.nr_notified, 1);
	assert_int_equal(read_config(&vmm, 32, 8), 4 * GIB);
	assert_int_equal(read_config(&vmm, 48, 8), 4 * GIB);
	end(&vmm);
}

static void resets(void **state)
{
	struct vmm vmm;

	make(&vmm, &usual);
	ask(&vmm, VMEM_REQ_PLUG, BASE, 512);
	/* Of the device: all stays. */
	vmem_device_reset(vmm.dev);
	assert_int_equal(read_config(&vmm, 40, 8), GIB);
	assert_int_equal(vmm.nr_unplug, 0);
	/* Of the system: memory goes, the wish stays. */
	assert_int_equal(vmem_device_set_requested_size(vmm.dev, 4 * MIB), 0);
	assert_int_equal(vmem_device_system_reset(vmm.dev), 0);
	assert_int_equal(vmm.nr_unplug, 1);
	assert_int_equal(read_config(&vmm, 40, 8), 0);
	assert_int_equal(read_config(&vmm, 48, 8), 4 * MIB);
	assert_int_equal(read_config(&vmm, 32, 8), 260 * MIB);
	end(&vmm);
}

static void runs_of_a_large_device(void **state)
{
	const struct vmem_device_config config = {
		.addr = TIB,
		.region_size = 16 * TIB,
		.requested_size = 16 * TIB,
	};
	uint64_t addr = 0, size;
	struct vmm vmm;

	make(&vmm, &config);
	assert_false(vmem_device_next_plugged(vmm.dev, &addr, &size));
	ask(&vmm, VMEM_REQ_PLUG, TIB + 126 * MIB, 66);
	ask(&vmm, VMEM_REQ_PLUG, 17 * TIB - 2 * MIB, 1);
	addr = 0;
	assert_true(vmem_device_next_plugged(vmm.dev, &addr, &size));
	assert_int_equal(addr, TIB + 126 * MIB);
	assert_int_equal(size, 132 * MIB);
	/* From inside a run: what is left of it. */
	addr += 3 * MIB;
	assert_true(vmem_device_next_plugged(vmm.dev, &addr, &size));
	assert_int_equal(addr, TIB + 129 * MIB);
	assert_int_equal(size, 129 * MIB);
	addr += size;
	assert_true(vmem_device_next_plugged(vmm.dev, &addr, &size));
	assert_int_equal(addr, 17 * TIB - 2 * MIB);
	assert_int_equal(size, 2 * MIB);
	addr += size;
	assert_false(vmem_device_next_plugged(vmm.dev, &addr, &size));
	assert_int_equal(ask(&vmm, VMEM_REQ_PLUG, 2 * TIB, 65535).type,
			 VMEM_RESP_ACK);
	assert_int_equal(read_config(&vmm, 40, 8), 65602 * 2 * MIB);
	end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errno_values),
		cmocka_unit_test(bad_configs),
		cmocka_unit_test(bad_storage),
		cmocka_unit_test(storage_of_large_ones),
		cmocka_unit_test(config_space),
		cmocka_unit_test(features),
		cmocka_unit_test(plug_and_unplug),
		cmocka_unit_test(refused_ranges),
		cmocka_unit_test(wrong_state),
		cmocka_unit_test(over_requested),
		cmocka_unit_test(host_fails),
		cmocka_unit_test(unplug_all),
		cmocka_unit_test(states),
		cmocka_unit_test(short_buffers),
		cmocka_unit_test(resizes),
		cmocka_unit_test(resets),
		cmocka_unit_test(runs_of_a_large_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
