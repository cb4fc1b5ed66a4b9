// SPDX-License-Identifier: BSD-3-Clause
/* The rule by which a total is spread over devices and nodes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/spread.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static const struct spread_device four[] = {
	{.node = 0, .block_bytes = 2 * MIB, .max_bytes = 4 * GIB},
	{.node = 0, .block_bytes = 2 * MIB, .max_bytes = 4 * GIB},
	{.node = 1, .block_bytes = 4 * MIB, .max_bytes = 4 * GIB},
	{.node = -1, .block_bytes = 2 * MIB, .max_bytes = 2 * GIB},
};

static uint64_t sum(const struct spread_device *d, unsigned int nr)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < nr; i++)
		total += d[i].bytes;
	return total;
}

static void in_proportion(void **state)
{
	struct spread_device d[4];

	memcpy(d, four, sizeof(d));
	assert_int_equal(spread(d, 4, 7 * GIB, "it", NULL), 0);
	assert_int_equal(d[0].bytes + d[1].bytes, 4 * GIB);
	assert_int_equal(d[0].bytes, d[1].bytes);
	assert_int_equal(d[2].bytes, 2 * GIB);
	assert_int_equal(d[3].bytes, 1 * GIB);
	assert_int_equal(spread(d, 4, 14 * GIB, "it", NULL), 0);
	assert_int_equal(d[3].bytes, 2 * GIB);
	assert_int_equal(spread(d, 4, 0, "it", NULL), 0);
	assert_int_equal(sum(d, 4), 0);
}

static void small_changes_move_one(void **state)
{
	struct spread_device d[4], before[4];
	uint64_t total = 5 * GIB;

	memcpy(d, four, sizeof(d));
	assert_int_equal(spread(d, 4, total, "it", NULL), 0);
	for (int i = 0; i < 40; i++) {
		unsigned int moved = 0;

		memcpy(before, d, sizeof(d));
		total += i % 3 == 2 ? -64 * MIB : 100 * MIB;
		assert_int_equal(spread(d, 4, total, "it", NULL), 0);
		assert_int_equal(sum(d, 4), total);
		for (unsigned int j = 0; j < 4; j++)
			moved += d[j].bytes != before[j].bytes;
		assert_int_equal(moved, 1);
		memcpy(before, d, sizeof(d));
		assert_int_equal(spread(d, 4, total, "it", NULL), 0);
		assert_memory_equal(before, d, sizeof(d));
	}
}

static void refused(void **state)
{
	struct spread_device d[4], before[4];
	struct error err = {0};

	memcpy(d, four, sizeof(d));
	d[1].bytes = 6 * MIB;
	memcpy(before, d, sizeof(d));
	assert_int_equal(spread(d, 4, 14 * GIB + 2 * MIB, "VM 'x'", &err),
			 -ERANGE);
	assert_non_null(strstr(err.text, "VM 'x'"));
	assert_non_null(strstr(err.text, "14G"));
	assert_int_equal(spread(d, 4, 7 * MIB, "VM 'x'", &err), -EINVAL);
	assert_non_null(strstr(err.text, "6M"));
	assert_memory_equal(before, d, sizeof(d));
}

/* Any total that two blocks can make is made, whatever the start. */
static void any_total(void **state)
{
	struct spread_device d[4];

	memcpy(d, four, sizeof(d));
	srand(1);
	for (int i = 0; i < 2000; i++) {
		uint64_t total = (uint64_t)(rand() % 7169) * 2 * MIB;

		assert_int_equal(spread(d, 4, total, "it", NULL), 0);
		assert_int_equal(sum(d, 4), total);
		for (unsigned int j = 0; j < 4; j++) {
			assert_true(d[j].bytes <= d[j].max_bytes);
			assert_int_equal(d[j].bytes % d[j].block_bytes, 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_proportion),
		cmocka_unit_test(small_changes_move_one),
		cmocka_unit_test(refused),
		cmocka_unit_test(any_total),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
