// SPDX-License-Identifier: BSD-3-Clause
/*
 * The driver core against a device played by hand: each answer, right and
 * wrong, and what the driver does then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver_os.h"

#define BLOCK (2 * MIB)

/* A region of 16 blocks, 8 of them usable and 4 requested. */
static void by_hand(struct os *os)
{
	os->space = (struct vmem_config){
		.block_size = BLOCK,
		.node_id = 3,
		.addr = BASE,
		.region_size = 16 * BLOCK,
		.usable_region_size = 8 * BLOCK,
		.requested_size = 4 * BLOCK,
	};
	os->config.retry_min_ms = 10;
	os->config.retry_max_ms = 100;
}

static void notify(struct os *os)
{
	vmem_driver_config_changed(os->drv);
	os_run(os);
}

static void assert_request(struct vmem_request req, enum vmem_request_type type,
			   uint64_t block, uint16_t nr)
{
	assert_int_equal(req.type, type);
	assert_int_equal(req.addr, BASE + block * BLOCK);
	assert_int_equal(req.nr_blocks, nr);
}

/* Plug what is requested, and have the books agree. */
static void start_plugged(struct os *os)
{
	by_hand(os);
	os_start(os, &plain_ops);
	os_run(os);
	assert_request(os_answer(os, VMEM_RESP_ACK, 0), VMEM_REQ_PLUG, 0, 4);
	os->space.plugged_size = 4 * BLOCK;
	os_run(os);
	assert_int_equal(os_status(os).state_bytes[VMEM_DRIVER_USED],
			 4 * BLOCK);
}

static void test_not_used_before_ack(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os_start(&os, &plain_ops);
	os_run(&os);
	assert_int_equal(os.nr_pending, 1);
	assert_int_equal(os.nr_kicks, 1);
	assert_int_equal(os.nr_calls[OS_ADD], 0);
	assert_int_equal(vmem_driver_state_at(os.drv, BASE),
			 VMEM_DRIVER_PLUGGING);
	assert_false(vmem_driver_is_plugged(os.drv, BASE));
	os_answer(&os, VMEM_RESP_ACK, 0);
	assert_true(vmem_driver_is_plugged(os.drv, BASE));
	assert_false(vmem_driver_is_usable(os.drv, BASE));
	os_run(&os);
	assert_int_equal(os.nr_calls[OS_ADD], 1);
	assert_int_equal(os.addr, BASE);
	assert_int_equal(os.size, 4 * BLOCK);
	assert_true(vmem_driver_is_usable(os.drv, BASE + 4 * BLOCK - 1));
	assert_false(vmem_driver_is_usable(os.drv, BASE + 4 * BLOCK));
	os_finish(&os);
}

/* After BUSY half is asked for at once; one block waits, ever longer. */
static void test_busy_backs_off(void **state)
{
	static const uint32_t waits[] = {10, 20, 40, 80, 100, 100};
	struct os os = {0};

	by_hand(&os);
	os_start(&os, &plain_ops);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_BUSY, 0), VMEM_REQ_PLUG, 0, 4);
	os_run(&os);
	/* Whatever the sizes were, in the end it waits. */
	for (int i = 0; i < 8 && os_run(&os) == VMEM_DRIVER_IDLE; i++) {
		while (os.nr_pending > 0)
			os_answer(&os, VMEM_RESP_BUSY, 0);
	}
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		assert_int_equal(os_run(&os), waits[i]);
		assert_int_equal(os.nr_pending, 0);
		os.now += waits[i] - 1;
		assert_int_equal(os_run(&os), 1);
		assert_int_equal(os.nr_pending, 0);
		os.now++;
		os_run(&os);
		assert_true(os.nr_pending > 0);
		while (os.nr_pending > 0)
			assert_int_equal(
				os_answer(&os, VMEM_RESP_BUSY, 0).nr_blocks, 1);
	}
	/* A change ends the wait. */
	os_run(&os);
	notify(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, 0), VMEM_REQ_PLUG, 0, 4);
	os_finish(&os);
}

static void test_nack_reads_config_again(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os_start(&os, &plain_ops);
	os_run(&os);
	os.space.requested_size = BLOCK;
	os_answer(&os, VMEM_RESP_NACK, 0);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, 0), VMEM_REQ_PLUG, 0, 1);
	os_finish(&os);
}

static void test_busy_unplug_stays_plugged(void **state)
{
	struct os os = {0};

	start_plugged(&os);
	os.space.requested_size = 2 * BLOCK;
	notify(&os);
	assert_int_equal(os.nr_calls[OS_TAKE], 1);
	assert_int_equal(vmem_driver_state_at(os.drv, BASE + 3 * BLOCK),
			 VMEM_DRIVER_UNPLUGGING);
	assert_request(os_answer(&os, VMEM_RESP_BUSY, 0), VMEM_REQ_UNPLUG, 2,
		       2);
	assert_int_equal(vmem_driver_state_at(os.drv, BASE + 3 * BLOCK),
			 VMEM_DRIVER_HELD);
	assert_int_equal(os_run(&os), 10);
	/* It is used again if the size goes up before. */
	os.space.requested_size = 4 * BLOCK;
	notify(&os);
	assert_int_equal(os.nr_pending, 0);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_USED],
			 4 * BLOCK);
	os_finish(&os);
}

/* ERROR: a scan, in which the device is right. */
static void test_error_resynchronises(void **state)
{
	struct os os = {0};

	start_plugged(&os);
	os.space.requested_size = 6 * BLOCK;
	notify(&os);
	assert_request(os_answer(&os, VMEM_RESP_ERROR, 0), VMEM_REQ_PLUG, 4, 2);
	assert_int_equal(os_run(&os), 10);
	os.now += 10;
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_MIXED),
		       VMEM_REQ_STATE, 0, 8);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_PLUGGED),
		       VMEM_REQ_STATE, 0, 4);
	os_run(&os);
	/* Two more were plugged than was known: they are used. */
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_MIXED),
		       VMEM_REQ_STATE, 4, 4);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_PLUGGED),
		       VMEM_REQ_STATE, 4, 2);
	os.space.plugged_size = 6 * BLOCK;
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_UNPLUGGED),
		       VMEM_REQ_STATE, 6, 2);
	os_run(&os);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_USED],
			 6 * BLOCK);
	assert_int_equal(os_status(&os).nr_syncs, 1);
	os_finish(&os);
}

static void test_lost_memory_breaks(void **state)
{
	struct os os = {0};

	start_plugged(&os);
	os.space.plugged_size = 0;
	notify(&os);
	os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_UNPLUGGED);
	assert_non_null(os.broken);
	assert_int_equal(os_status(&os).phase, VMEM_DRIVER_BROKEN);
	assert_string_equal(os_status(&os).broken, os.broken);
	assert_int_equal(os_run(&os), VMEM_DRIVER_IDLE);
	os_finish(&os);
}

static void test_unplug_all_at_start(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os.space.plugged_size = 2 * BLOCK;
	os_start(&os, &plain_ops);
	os_run(&os);
	assert_int_equal(os_status(&os).phase, VMEM_DRIVER_CLEARING);
	assert_int_equal(os_answer(&os, VMEM_RESP_BUSY, 0).type,
			 VMEM_REQ_UNPLUG_ALL);
	assert_int_equal(os_run(&os), 10);
	os.now += 10;
	os_run(&os);
	assert_int_equal(os_answer(&os, VMEM_RESP_ACK, 0).type,
			 VMEM_REQ_UNPLUG_ALL);
	os.space.plugged_size = 0;
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, 0), VMEM_REQ_PLUG, 0, 4);
	os_finish(&os);
}

static void test_reset_in_flight(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os_start(&os, &plain_ops);
	os_run(&os);
	os.nr_pending = 0;
	vmem_driver_device_reset(os.drv);
	assert_int_equal(os_status(&os).phase, VMEM_DRIVER_STOPPED);
	assert_int_equal(os_run(&os), VMEM_DRIVER_IDLE);
	assert_int_equal(os.nr_pending, 0);
	/* It had been served. */
	os.space.plugged_size = 4 * BLOCK;
	vmem_driver_device_ready(os.drv);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_MIXED),
		       VMEM_REQ_STATE, 0, 8);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_PLUGGED),
		       VMEM_REQ_STATE, 0, 4);
	os_run(&os);
	os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_UNPLUGGED);
	os_run(&os);
	assert_int_equal(os.nr_calls[OS_ADD], 1);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_USED],
			 4 * BLOCK);
	os_finish(&os);
}

/* The sum may be right by chance: it asks all the same. */
static void test_reset_before_it_was_served(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os_start(&os, &plain_ops);
	os_run(&os);
	os.nr_pending = 0;
	vmem_driver_device_reset(os.drv);
	vmem_driver_device_ready(os.drv);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_UNPLUGGED),
		       VMEM_REQ_STATE, 0, 8);
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, 0), VMEM_REQ_PLUG, 0, 4);
	os_finish(&os);
}

static void test_responses_that_are_none(void **state)
{
	static const uint8_t bytes[10] = {9};
	struct os os = {0};

	by_hand(&os);
	os_start(&os, &plain_ops);
	assert_int_equal(vmem_driver_response(os.drv, 0, bytes, 10),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_driver_response(os.drv, UINT32_MAX, bytes, 10),
			 -VMEM_EINVAL);
	os_run(&os);
	assert_null(os.broken);
	assert_int_equal(
		vmem_driver_response(os.drv, os.pending[0].tag, bytes, 10), 0);
	assert_non_null(os.broken);
	os_finish(&os);
}

static void breaks(size_t len, uint16_t type, uint16_t state, bool scan)
{
	uint8_t bytes[10] = {0};
	struct os os = {0};

	by_hand(&os);
	os.space.plugged_size = scan ? BLOCK : 0;
	os.config.start = VMEM_DRIVER_START_ADOPT;
	os_start(&os, &plain_ops);
	os_run(&os);
	bytes[0] = (uint8_t)type;
	bytes[8] = (uint8_t)state;
	assert_int_equal(
		vmem_driver_response(os.drv, os.pending[0].tag, bytes, len), 0);
	assert_non_null(os.broken);
	os_finish(&os);
}

static void test_malformed_responses_break(void **state)
{
	breaks(9, VMEM_RESP_ACK, 0, false);
	breaks(0, VMEM_RESP_ACK, 0, false);
	breaks(10, 4, 0, false);
	breaks(10, VMEM_RESP_ACK, 3, true);
}

static void test_one_block_is_never_mixed(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os.space.plugged_size = BLOCK;
	os.config.start = VMEM_DRIVER_START_ADOPT;
	os_start(&os, &plain_ops);
	for (int i = 0; i < 4; i++) {
		assert_null(os.broken);
		os_run(&os);
		os_answer(&os, VMEM_RESP_ACK, VMEM_STATE_MIXED);
	}
	assert_non_null(os.broken);
	os_finish(&os);
}

static void test_changes_of_what_never_changes(void **state)
{
	for (int i = 0; i < 6; i++) {
		struct os os = {0};

		start_plugged(&os);
		if (i == 0)
			os.space.block_size /= 2;
		if (i == 1)
			os.space.addr += BLOCK;
		if (i == 2)
			os.space.region_size += BLOCK;
		if (i == 3)
			os.space.node_id++;
		if (i == 4)
			os.space.usable_region_size = 17 * BLOCK;
		if (i == 5)
			os.space.requested_size++;
		notify(&os);
		assert_non_null(os.broken);
		os_finish(&os);
	}
}

static void test_unsteady_configuration(void **state)
{
	struct vmem_config config;
	struct os os = {0};

	by_hand(&os);
	os.unsteady = 1000;
	assert_int_equal(vmem_driver_read_config(&plain_ops, &os, &config),
			 -VMEM_EAGAIN);
	os.unsteady = 3;
	assert_int_equal(vmem_driver_read_config(&plain_ops, &os, &config), 0);
	assert_int_equal(config.requested_size, 4 * BLOCK);
	assert_int_equal(config.node_id, 3);
	os_start(&os, &plain_ops);
	os.unsteady = 1000;
	assert_int_equal(os_run(&os), 10);
	assert_int_equal(os.nr_pending, 0);
	os.unsteady = 0;
	os.now += 10;
	os_run(&os);
	assert_int_equal(os.nr_pending, 1);
	os_finish(&os);
}

static void test_full_queue(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os.queue_full = true;
	os_start(&os, &plain_ops);
	assert_int_equal(os_run(&os), 10);
	assert_int_equal(vmem_driver_state_at(os.drv, BASE),
			 VMEM_DRIVER_UNPLUGGED);
	os.queue_full = false;
	os.now += 10;
	os_run(&os);
	assert_int_equal(os.nr_pending, 1);
	os_finish(&os);
}

static void test_polls(void **state)
{
	struct os os = {0};

	os.config.poll_ms = 500;
	start_plugged(&os);
	os.space.requested_size = 5 * BLOCK;
	assert_int_equal(os_run(&os), 500);
	assert_int_equal(os.nr_pending, 0);
	os.now += 500;
	os_run(&os);
	assert_request(os_answer(&os, VMEM_RESP_ACK, 0), VMEM_REQ_PLUG, 4, 1);
	os_finish(&os);
}

/* 200000 blocks in as few requests as the protocol allows, and at once. */
static void test_batches_and_depth(void **state)
{
	struct os os = {0};

	by_hand(&os);
	os.space.block_size = 4096;
	os.space.region_size = 200000 * 4096ULL;
	os.space.usable_region_size = os.space.region_size;
	os.space.requested_size = os.space.region_size;
	os.config.depth = 3;
	os_start(&os, &plain_ops);
	os_run(&os);
	assert_int_equal(os.nr_pending, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(os_answer(&os, VMEM_RESP_ACK, 0).nr_blocks,
				 65535);
	os_run(&os);
	assert_int_equal(os_answer(&os, VMEM_RESP_ACK, 0).nr_blocks,
			 200000 - 3 * 65535);
	os_finish(&os);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_used_before_ack),
		cmocka_unit_test(test_busy_backs_off),
		cmocka_unit_test(test_nack_reads_config_again),
		cmocka_unit_test(test_busy_unplug_stays_plugged),
		cmocka_unit_test(test_error_resynchronises),
		cmocka_unit_test(test_lost_memory_breaks),
		cmocka_unit_test(test_unplug_all_at_start),
		cmocka_unit_test(test_reset_in_flight),
		cmocka_unit_test(test_reset_before_it_was_served),
		cmocka_unit_test(test_responses_that_are_none),
		cmocka_unit_test(test_malformed_responses_break),
		cmocka_unit_test(test_one_block_is_never_mixed),
		cmocka_unit_test(test_changes_of_what_never_changes),
		cmocka_unit_test(test_unsteady_configuration),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_polls),
		cmocka_unit_test(test_batches_and_depth),
	};

	return cmocka_run_group_tests_name("driver_protocol", tests, NULL,
					   NULL);
}
