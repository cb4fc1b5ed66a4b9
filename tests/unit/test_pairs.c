// SPDX-License-Identifier: BSD-3-Clause
/* Options of KEY=VALUE pairs, with lists and ranges in them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cli/pairs.h"

static int note(void *opaque, const char *key, const char *value,
		struct error *err)
{
	char *noted = opaque;

	if (!strcmp(key, "bad"))
		return error_set(err, -EINVAL, "a bad key");
	strcat(noted, key);
	strcat(noted, ":");
	strcat(noted, value);
	strcat(noted, " ");
	return 0;
}

static const char *const lists[] = {"cpus", "host", NULL};

static void split(void **state)
{
	static const struct {
		const char *text, *noted;
	} good[] = {
		{"a=1", "a:1 "},
		{"a=1,b=x y", "a:1 b:x y "},
		{"cpus=0-3,8,a=1", "cpus:0-3 cpus:8 a:1 "},
		{"a=1,host=0,1,2", "a:1 host:0 host:1 host:2 "},
		{"a=b=c", "a:b=c "},
	};
	static const char *const bad[] = {
		"",    "a",	"=1",	     "a=",	     ",a=1",	"a=1,",
		"1,2", "a=1,2", "cpus=1,,2", "cpus=1,a=2,3", "cpus=1,="};
	struct error err;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char noted[128] = "";

		assert_int_equal(pairs_parse("--x", good[i].text, lists, note,
					     noted, &err),
				 0);
		assert_string_equal(noted, good[i].noted);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char noted[128] = "";

		if (pairs_parse("--x", bad[i], lists, note, noted, &err) !=
		    -EINVAL)
			fail_msg("taken: '%s'", bad[i]);
		assert_non_null(strstr(err.text, "--x"));
		assert_non_null(strstr(err.text, bad[i]));
	}
}

static void stopped_at_a_refusal(void **state)
{
	char noted[128] = "";
	struct error err;

	assert_int_equal(pairs_parse("--x", "a=1,bad=2,c=3", lists, note, noted,
				     &err),
			 -EINVAL);
	assert_string_equal(noted, "a:1 ");
	assert_string_equal(err.text, "a bad key");
}

static void ranges_read(void **state)
{
	static const char *const bad[] = {"",
					  "-",
					  "1-",
					  "-1",
					  "3-2",
					  "64",
					  "0-64",
					  "0x1",
					  " 1",
					  "1 ",
					  "+1",
					  "1-+2",
					  "1- 2",
					  "0-1-2",
					  "1,2",
					  "one",
					  "4294967296",
					  "4294967296-4294967297",
					  "18446744073709551616",
					  "0-18446744073709551616"};
	struct error err;
	uint64_t bits = 0;

	assert_int_equal(pairs_range("--x", "5", 64, &bits, &err), 0);
	assert_true(bits == 1 << 5);
	assert_int_equal(pairs_range("--x", "0-3", 64, &bits, &err), 0);
	assert_true(bits == (1 << 5 | 0xf));
	assert_int_equal(pairs_range("--x", "63-63", 64, &bits, &err), 0);
	assert_true(bits == (1ULL << 63 | 1 << 5 | 0xf));
	assert_int_equal(pairs_range("--x", "0-63", 64, &bits, &err), 0);
	assert_true(bits == UINT64_MAX);
	bits = 0;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (pairs_range("--x", bad[i], 64, &bits, &err) != -EINVAL)
			fail_msg("taken: '%s'", bad[i]);
		assert_non_null(strstr(err.text, bad[i]));
	}
	assert_true(bits == 0);
}

static void two_numbers_read(void **state)
{
	static const char *const bad[] = {
		"",	":",	"1",	"1:",
		":2",	"1:2:", "1-2",	"1: 2",
		"-1:2", "1:2 ", "1::2", "18446744073709551616:1"};
	unsigned long first, second;

	assert_true(pairs_two("12:34", ':', &first, &second));
	assert_int_equal(first, 12);
	assert_int_equal(second, 34);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (pairs_two(bad[i], ':', &first, &second))
			fail_msg("taken: '%s'", bad[i]);
	}
}

static void placements_read(void **state)
{
	struct hostmem_placement p = {0};
	struct error err;

	assert_int_equal(pairs_placement("--x", &p, "pages", "2M", &err), 0);
	assert_int_equal(p.pages, HOSTMEM_PAGES_2M);
	assert_int_equal(p.policy, HOSTMEM_POLICY_DEFAULT);
	assert_int_equal(pairs_placement("--x", &p, "host", "1", &err), 0);
	assert_int_equal(p.policy, HOSTMEM_POLICY_BIND);
	assert_int_equal(
		pairs_placement("--x", &p, "policy", "interleave", &err), 0);
	assert_int_equal(pairs_placement("--x", &p, "host", "3", &err), 0);
	assert_int_equal(p.policy, HOSTMEM_POLICY_INTERLEAVE);
	assert_true(p.host_nodes == (1 << 1 | 1 << 3));
	assert_int_equal(pairs_placement("--x", &p, "size", "1", &err), 1);
	assert_int_equal(pairs_placement("--x", &p, "pages", "3M", &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "any, 4K, thp, 2M, 1G"));
	assert_int_equal(pairs_placement("--x", &p, "policy", "", &err),
			 -EINVAL);
	assert_int_equal(pairs_placement("--x", &p, "host", "64", &err),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split),
		cmocka_unit_test(stopped_at_a_refusal),
		cmocka_unit_test(ranges_read),
		cmocka_unit_test(two_numbers_read),
		cmocka_unit_test(placements_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
