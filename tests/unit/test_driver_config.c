// SPDX-License-Identifier: BSD-3-Clause
/* What the driver core accepts: features, configurations, storage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver_os.h"

#define PXM	     (1ULL << VMEM_F_ACPI_PXM)
#define INACCESSIBLE (1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE)
#define SUSPEND	     (1ULL << VMEM_F_PERSISTENT_SUSPEND)

static const struct vmem_config good = {
	.block_size = 2 * MIB,
	.node_id = 5,
	.addr = BASE,
	.region_size = GIB,
	.usable_region_size = 512 * MIB,
	.requested_size = 256 * MIB,
};

static void test_features(void **state)
{
	uint64_t all = PXM | INACCESSIBLE | SUSPEND;

	assert_int_equal(vmem_driver_features(all, false), PXM | INACCESSIBLE);
	assert_int_equal(vmem_driver_features(all, true), all);
	assert_int_equal(vmem_driver_features(0, true), 0);
	assert_int_equal(vmem_driver_features(~all, true), 0);
}

static const char *error_of(const struct vmem_driver_config *config,
			    const struct vmem_config *device, bool has_units)
{
	const char *error = vmem_driver_config_error(config, device, has_units);

	/* Storage is known exactly if nothing is wrong. */
	assert_int_equal(!error, vmem_driver_storage_size(config, device,
							  has_units) != 0);
	return error;
}

static void test_bad_driver_configs(void **state)
{
	static const struct vmem_driver_config bad[] = {
		{.unit_size = 3 * MIB},
		{.granule = 3},
		{.depth = VMEM_DRIVER_MAX_DEPTH + 1},
		{.start = (enum vmem_driver_start)3},
		{.addr_limit = BASE},
		{.unit_size = 2 * GIB},
		{.granule = 2 * GIB},
	};
	struct vmem_driver_config fine = {0};

	assert_null(error_of(&fine, &good, true));
	assert_null(error_of(&fine, &good, false));
	fine.depth = VMEM_DRIVER_MAX_DEPTH;
	assert_null(error_of(&fine, &good, true));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(error_of(&bad[i], &good, true));
}

static void test_bad_devices(void **state)
{
	const struct vmem_driver_config config = {.unit_size = 4 * MIB};
	struct vmem_config bad[14];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		bad[i] = good;
	bad[0].block_size = 0;
	bad[1].block_size = 3 * MIB;
	bad[2].addr += MIB;
	bad[3].region_size = 0;
	bad[4].region_size -= MIB;
	bad[5].addr = UINT64_MAX - 2 * MIB + 1;
	bad[6].usable_region_size -= 1;
	bad[7].usable_region_size = GIB + 2 * MIB;
	bad[8].requested_size += 1;
	bad[9].requested_size = 514 * MIB;
	bad[10].plugged_size = 1;
	bad[11].plugged_size = 514 * MIB;
	bad[12].region_size = 2 * MIB; /* no whole unit */
	bad[12].usable_region_size = 0;
	bad[12].requested_size = 0;
	bad[13].block_size = 1; /* a granule of 2^20 blocks */
	for (size_t i = 0; i < 13; i++)
		assert_non_null(error_of(&config, &bad[i], true));
	assert_non_null(error_of(&(struct vmem_driver_config){.granule = MIB},
				 &bad[13], true));
}

static void test_node(void **state)
{
	struct vmem_driver_config config = {0};
	size_t size = vmem_driver_storage_size(&config, &good, false);
	void *storage = malloc(size);
	struct os os = {.space = good};
	struct vmem_driver *drv;
	uint16_t node = 0;

	drv = vmem_driver_init(storage, size, &config, &good, PXM, &plain_ops,
			       &os);
	assert_true(vmem_driver_node(drv, &node));
	assert_int_equal(node, 5);
	drv = vmem_driver_init(storage, size, &config, &good, 0, &plain_ops,
			       &os);
	assert_false(vmem_driver_node(drv, &node));
	free(storage);
}

static void test_init_refuses(void **state)
{
	struct vmem_driver_config config = {0}, bad = {.granule = 3};
	size_t size = vmem_driver_storage_size(&config, &good, true);
	uint64_t *storage = malloc(size + 8);
	struct vmem_driver_ops ops = plain_ops;
	struct os os = {.space = good};

	assert_null(vmem_driver_init(NULL, size, &config, &good, 0, &plain_ops,
				     &os));
	assert_null(vmem_driver_init((char *)storage + 1, size, &config, &good,
				     0, &plain_ops, &os));
	assert_null(vmem_driver_init(storage, size - 1, &config, &good, 0,
				     &unit_ops, &os));
	assert_null(vmem_driver_init(storage, size, &bad, &good, 0, &plain_ops,
				     &os));
	assert_null(
		vmem_driver_init(storage, size, &config, &good, 0, NULL, &os));
	ops.submit = NULL;
	assert_null(
		vmem_driver_init(storage, size, &config, &good, 0, &ops, &os));
	ops = unit_ops;
	ops.unit_remove = NULL;
	assert_null(
		vmem_driver_init(storage, size, &config, &good, 0, &ops, &os));
	assert_non_null(vmem_driver_init(storage, size, &config, &good, 0,
					 &unit_ops, &os));
	free(storage);
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t block, granule, unit, sub_is, unit_is;
	} rows[] = {
		{2 * MIB, 0, 0, 2 * MIB, 128 * MIB},
		{2 * MIB, 4 * MIB, 64 * MIB, 4 * MIB, 64 * MIB},
		{4096, 2 * MIB, 128 * MIB, 2 * MIB, 128 * MIB},
		{256 * MIB, 2 * MIB, 128 * MIB, 256 * MIB, 256 * MIB},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct os os = {.space = good};

		os.space.block_size = rows[i].block;
		os.config.granule = rows[i].granule;
		os.config.unit_size = rows[i].unit;
		os_start(&os, &unit_ops);
		assert_int_equal(vmem_driver_sub_size(os.drv), rows[i].sub_is);
		assert_int_equal(vmem_driver_unit_size(os.drv),
				 rows[i].unit_is);
		os_finish(&os);
	}
}

/* Only whole units, below the limit, wherever the region begins. */
static void test_region_without_whole_units(void **state)
{
	struct os os = {.space = good};

	os.space.addr += 2 * MIB;
	os.space.usable_region_size = os.space.region_size;
	os.space.requested_size = os.space.region_size;
	os.config.addr_limit = BASE + 512 * MIB + MIB;
	os_start(&os, &unit_ops);
	os_run(&os);
	assert_int_equal(os.nr_pending, 1);
	assert_int_equal(os.pending[0].req.addr, BASE + 128 * MIB);
	assert_int_equal(os.pending[0].req.nr_blocks, 3 * 64);
	os_finish(&os);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_bad_driver_configs),
		cmocka_unit_test(test_bad_devices),
		cmocka_unit_test(test_node),
		cmocka_unit_test(test_init_refuses),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_region_without_whole_units),
	};

	return cmocka_run_group_tests_name("driver_config", tests, NULL, NULL);
}
