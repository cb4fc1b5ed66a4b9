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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grow_and_shrink_plain),
		cmocka_unit_test(test_grow_and_shrink_units),
	};

	return cmocka_run_group_tests_name("driver", tests, NULL, NULL);
}
