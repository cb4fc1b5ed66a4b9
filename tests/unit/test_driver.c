// SPDX-License-Identifier: BSD-3-Clause
/* The driver core with the device core: growing, shrinking, starting, leaving.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver_os.h"

static const struct vmem_device_config usual = {
	.addr = BASE,
	.region_size = 4 * GIB,
	.requested_size = GIB,
};

static void resize(struct os *os, uint64_t size)
{
	assert_int_equal(vmem_device_set_requested_size(os->dev, size), 0);
	vmem_driver_config_changed(os->drv);
}

static void grows_and_shrinks(const struct vmem_driver_ops *ops)
{
	static const uint64_t sizes[] = {2 * GIB,   4 * GIB,   10 * MIB, 0,
					 300 * MIB, 302 * MIB, 6 * MIB,	 0};
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, ops);
	assert_int_equal(os_settle(&os), VMEM_DRIVER_IDLE);
	os_check_agreed(&os, GIB);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		resize(&os, sizes[i]);
		assert_int_equal(os_settle(&os), VMEM_DRIVER_IDLE);
		os_check_agreed(&os, sizes[i]);
	}
	if (ops->unit_add)
		assert_int_equal(os.nr_calls[OS_UNIT_ADD],
				 os.nr_calls[OS_UNIT_REMOVE]);
	os_finish(&os);
}

static void test_grow_and_shrink_plain(void **state)
{
	grows_and_shrinks(&plain_ops);
}

static void test_grow_and_shrink_units(void **state)
{
	grows_and_shrinks(&unit_ops);
}

/* ---- Units -------------------------------------------------------------- */

#define UNIT (128 * MIB)

/* A new unit comes with what is plugged of it; the rest is not usable. */
static void test_partly_plugged_unit(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &unit_ops);
	resize(&os, 2 * UNIT + 6 * MIB);
	os_settle(&os);
	os_check_agreed(&os, 2 * UNIT + 6 * MIB);
	assert_int_equal(os.nr_calls[OS_UNIT_ADD], 3);
	assert_int_equal(os.nr_calls[OS_ADD], 0);
	assert_true(vmem_driver_is_usable(os.drv, BASE + 2 * UNIT + 4 * MIB));
	assert_false(vmem_driver_is_usable(os.drv, BASE + 2 * UNIT + 6 * MIB));
	assert_true(vmem_driver_unit_present(os.drv, BASE + 3 * UNIT - 1));
	assert_false(vmem_driver_unit_present(os.drv, BASE + 3 * UNIT));
	/* The next growth fills it before it adds another. */
	resize(&os, 3 * UNIT + 2 * MIB);
	os_settle(&os);
	assert_int_equal(os.nr_calls[OS_ADD], 1);
	assert_int_equal(os.nr_calls[OS_UNIT_ADD], 4);
	os_finish(&os);
}

static void test_emptiest_units_go_first(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &unit_ops);
	os_settle(&os);
	for (int unit = 0; unit < 8; unit++)
		os.usage_of[unit] = 1000;
	os.usage_of[3] = 5;
	os.usage_of[6] = 10;
	os.usage_of[5] = UINT64_MAX;
	resize(&os, GIB - UNIT);
	os_settle(&os);
	assert_int_equal(os.addr, BASE + 3 * UNIT);
	resize(&os, GIB - 2 * UNIT);
	os_settle(&os);
	assert_int_equal(os.addr, BASE + 6 * UNIT);
	/* Never the one that the OS says to leave. */
	resize(&os, 0);
	assert_int_not_equal(os_settle(&os), VMEM_DRIVER_IDLE);
	assert_true(vmem_driver_is_usable(os.drv, BASE + 5 * UNIT));
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_USED], UNIT);
	os_finish(&os);
}

/* A unit that cannot go as a whole gives up what it can. */
static void test_stuck_sub_block(void **state)
{
	struct vmem_driver_status status;
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &unit_ops);
	resize(&os, UNIT);
	os_settle(&os);
	os.result[OS_UNIT_REMOVE] = -VMEM_EBUSY;
	os.refuse_addr = BASE + 10 * MIB;
	resize(&os, 0);
	assert_int_equal(os_settle(&os), 50);
	status = os_status(&os);
	assert_int_equal(status.state_bytes[VMEM_DRIVER_USED], 2 * MIB);
	assert_int_equal(status.refused_addr, BASE + 10 * MIB);
	assert_int_equal(status.refused_size, 2 * MIB);
	assert_int_equal(status.refused_error, -VMEM_EBUSY);
	assert_true(status.nr_takes_refused > 1);
	assert_false(status.settled);
	/* Later it goes. */
	os.refuse_addr = 0;
	os.result[OS_UNIT_REMOVE] = 0;
	os.now += 50;
	assert_int_equal(os_settle(&os), VMEM_DRIVER_IDLE);
	os_check_agreed(&os, 0);
	os_finish(&os);
}

/* Once everything was refused the caller hears of it before an empty unit is
 * removed, which may take long. */
static void test_exhausted(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &unit_ops);
	resize(&os, 2 * UNIT);
	os_settle(&os);
	assert_false(os_status(&os).exhausted);
	os.result[OS_UNIT_REMOVE] = -VMEM_EBUSY;
	os.refuse_addr = BASE + 10 * MIB;
	resize(&os, 0);
	for (int i = 0; i < 1000 && !os_status(&os).exhausted; i++) {
		assert_int_equal(vmem_driver_run(os.drv, os.now), 0);
		while (os.nr_pending > 0)
			os_serve(&os);
	}
	assert_true(os_status(&os).exhausted);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_USED], 2 * MIB);
	os.result[OS_UNIT_REMOVE] = 0;
	assert_true(vmem_driver_unit_present(os.drv, BASE + UNIT));
	os_settle(&os);
	assert_false(vmem_driver_unit_present(os.drv, BASE + UNIT));
	vmem_driver_config_changed(os.drv);
	assert_false(os_status(&os).exhausted);
	os_finish(&os);
}

/* An empty unit goes though what is requested cannot be had: the usable region
 * ends before the first whole unit. */
static void test_empty_unit_without_room(void **state)
{
	static const struct vmem_device_config config = {
		.addr = BASE + 64 * MIB,
		.region_size = 512 * MIB,
		.requested_size = 256 * MIB,
		.usable_slack = 2 * MIB,
	};
	struct os os = {0};

	os_create_device(&os, &config);
	os_start(&os, &unit_ops);
	os_settle(&os);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_USED],
			 194 * MIB);
	os.result[OS_UNIT_REMOVE] = -VMEM_EBUSY;
	resize(&os, 0);
	os_settle(&os);
	assert_true(vmem_driver_unit_present(os.drv, BASE + UNIT));
	assert_false(os_status(&os).settled);
	assert_int_equal(vmem_driver_unplug_all(os.drv), 0);
	resize(&os, 32 * MIB);
	os_settle(&os);
	assert_true(vmem_driver_unit_present(os.drv, BASE + UNIT));
	os.result[OS_UNIT_REMOVE] = 0;
	os.now += 10000;
	os_settle(&os);
	assert_false(vmem_driver_unit_present(os.drv, BASE + UNIT));
	os_check_agreed(&os, 0);
	os_finish(&os);
}

static void test_refused_add(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os.result[OS_UNIT_ADD] = -VMEM_EAGAIN;
	os_start(&os, &unit_ops);
	assert_int_equal(os_settle(&os), 50);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_HELD], GIB);
	assert_int_equal(os_status(&os).nr_adds_refused, 8);
	assert_false(vmem_driver_is_usable(os.drv, BASE));
	assert_true(vmem_driver_is_plugged(os.drv, BASE));
	os.result[OS_UNIT_ADD] = 0;
	os.now += 50;
	assert_int_equal(os_settle(&os), VMEM_DRIVER_IDLE);
	os_check_agreed(&os, GIB);
	os_finish(&os);
}

/* ---- Ops that take their time ------------------------------------------- */

static void test_units_are_added_side_by_side(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os.result[OS_UNIT_ADD] = VMEM_DRIVER_LATER;
	os_start(&os, &unit_ops);
	os_settle(&os);
	assert_int_equal(os.nr_calls[OS_UNIT_ADD], 8);
	assert_int_equal(os_status(&os).state_bytes[VMEM_DRIVER_ADDING], GIB);
	assert_true(vmem_driver_is_usable(os.drv, BASE));
	assert_int_equal(vmem_driver_done(os.drv, BASE, UNIT, 0), 0);
	assert_int_equal(vmem_driver_done(os.drv, BASE, UNIT, 0), -VMEM_EINVAL);
	assert_int_equal(
		vmem_driver_done(os.drv, BASE + UNIT, UNIT, -VMEM_EBUSY), 0);
	assert_int_equal(vmem_driver_done(os.drv, BASE + 2 * UNIT, 2 * MIB, 0),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_driver_done(os.drv, BASE + 2 * UNIT, UNIT, 1),
			 -VMEM_EINVAL);
	for (uint64_t unit = 2; unit < 8; unit++)
		assert_int_equal(vmem_driver_done(os.drv, BASE + unit * UNIT,
						  UNIT, 0),
				 0);
	os.result[OS_UNIT_ADD] = 0;
	os.now += 50;
	os_settle(&os);
	os_check_agreed(&os, GIB);
	os_finish(&os);
}

static void test_taking_goes_on(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &plain_ops);
	os_settle(&os);
	os.result[OS_TAKE] = VMEM_DRIVER_LATER;
	resize(&os, GIB - 8 * MIB);
	os_settle(&os);
	assert_int_equal(os.nr_calls[OS_TAKE], 1);
	assert_int_equal(os.size, 8 * MIB);
	assert_int_equal(vmem_driver_state_at(os.drv, os.addr),
			 VMEM_DRIVER_TAKING);
	assert_int_equal(vmem_driver_done(os.drv, os.addr + 2 * MIB, 2 * MIB,
					  0),
			 -VMEM_EINVAL);
	assert_int_equal(vmem_driver_done(os.drv, os.addr, os.size, 0), 0);
	os_settle(&os);
	os_check_agreed(&os, GIB - 8 * MIB);
	os_finish(&os);
}

/* ---- Starting and leaving ----------------------------------------------- */

/* Another kernel takes over what the one before had plugged. */
static void restart(struct os *os, enum vmem_driver_start start,
		    uint64_t granule)
{
	free(os->storage);
	memset(os->nr_calls, 0, sizeof(os->nr_calls));
	os->config.start = start;
	os->config.granule = granule;
	os_start(os, &plain_ops);
	os_settle(os);
}

static void test_starts(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &plain_ops);
	resize(&os, 6 * MIB);
	os_settle(&os);
	restart(&os, VMEM_DRIVER_START_ADOPT, 0);
	os_check_agreed(&os, 6 * MIB);
	assert_int_equal(os_status(&os).nr_requests[VMEM_REQ_PLUG], 0);
	assert_int_equal(os.nr_calls[OS_ADD], 1);
	/* Half of a sub-block of 4 MiB is given back. */
	restart(&os, VMEM_DRIVER_START_ADOPT, 4 * MIB);
	os_check_agreed(&os, 4 * MIB);
	assert_int_equal(os_status(&os).nr_requests[VMEM_REQ_UNPLUG], 1);
	restart(&os, VMEM_DRIVER_START_UNPLUG_ALL, 0);
	os_check_agreed(&os, 6 * MIB);
	assert_int_equal(os_status(&os).nr_requests[VMEM_REQ_UNPLUG_ALL], 1);
	os_finish(&os);
}

static void test_looking(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &unit_ops);
	resize(&os, 130 * MIB);
	os_settle(&os);
	resize(&os, 20 * MIB);
	restart(&os, VMEM_DRIVER_START_LOOK, 4 * MIB);
	assert_int_equal(os_status(&os).phase, VMEM_DRIVER_LOOKED);
	for (uint64_t at = BASE; at < BASE + 4 * GIB; at += 2 * MIB)
		assert_int_equal(vmem_driver_is_plugged(os.drv, at),
				 at < BASE + 130 * MIB);
	assert_false(vmem_driver_is_usable(os.drv, BASE));
	assert_int_equal(os.nr_calls[OS_ADD], 0);
	assert_int_equal(vmem_driver_unplug_all(os.drv), -VMEM_EBUSY);
	os_finish(&os);
}

static void test_drain(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os_start(&os, &unit_ops);
	os_settle(&os);
	assert_int_equal(vmem_driver_unplug_all(os.drv), -VMEM_EBUSY);
	vmem_driver_drain(os.drv, true);
	os_settle(&os);
	os_check_agreed(&os, 0);
	assert_int_equal(os.nr_calls[OS_UNIT_REMOVE], 8);
	vmem_driver_drain(os.drv, false);
	os_settle(&os);
	os_check_agreed(&os, GIB);
	os_finish(&os);
}

static void test_unplug_all_of_what_is_held(void **state)
{
	struct os os = {0};

	os_create_device(&os, &usual);
	os.result[OS_UNIT_ADD] = -VMEM_EAGAIN;
	os_start(&os, &unit_ops);
	os_settle(&os);
	os.result[OS_UNIT_ADD] = 0;
	assert_int_equal(vmem_driver_unplug_all(os.drv), 0);
	os_settle(&os);
	os_check_agreed(&os, GIB);
	assert_int_equal(os_status(&os).nr_requests[VMEM_REQ_UNPLUG_ALL], 1);
	os_finish(&os);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grow_and_shrink_plain),
		cmocka_unit_test(test_grow_and_shrink_units),
		cmocka_unit_test(test_partly_plugged_unit),
		cmocka_unit_test(test_emptiest_units_go_first),
		cmocka_unit_test(test_stuck_sub_block),
		cmocka_unit_test(test_exhausted),
		cmocka_unit_test(test_empty_unit_without_room),
		cmocka_unit_test(test_refused_add),
		cmocka_unit_test(test_units_are_added_side_by_side),
		cmocka_unit_test(test_taking_goes_on),
		cmocka_unit_test(test_starts),
		cmocka_unit_test(test_looking),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_unplug_all_of_what_is_held),
	};

	return cmocka_run_group_tests_name("driver", tests, NULL, NULL);
}
