// SPDX-License-Identifier: BSD-3-Clause
/* Translation of guest-physical addresses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/guest_memory.h"

static uint8_t bytes[64];
static struct hostmem backing = {.fd = -1, .size = 64, .base = bytes};

static struct guest_region region(uint64_t gpa, uint64_t size, uint64_t offset)
{
	return (struct guest_region){
		.gpa = gpa,
		.size = size,
		.mem = &backing,
		.offset = offset,
	};
}

static int add(struct guest_memory *gm, uint64_t gpa, uint64_t size,
	       uint64_t offset)
{
	struct guest_region r = region(gpa, size, offset);

	return guest_memory_add(gm, &r);
}

/* [0, 16), [16, 24) beside it, and a last one that ends the address space. */
static void make(struct guest_memory *gm)
{
	memset(gm, 0, sizeof(*gm));
	assert_int_equal(add(gm, 0, 16, 0), 0);
	assert_int_equal(add(gm, 16, 8, 40), 0);
	assert_int_equal(add(gm, UINT64_MAX - 16, 16, 16), 0);
}

static void maps_inside_a_region(void **state)
{
	struct guest_memory gm;

	make(&gm);
	assert_ptr_equal(guest_memory_map(&gm, 0, 16), bytes);
	assert_ptr_equal(guest_memory_map(&gm, 15, 1), bytes + 15);
	assert_ptr_equal(guest_memory_map(&gm, 16, 8), bytes + 40);
	assert_ptr_equal(guest_memory_map(&gm, 20, 4), bytes + 44);
	assert_ptr_equal(guest_memory_map(&gm, UINT64_MAX - 16, 16),
			 bytes + 16);
	assert_ptr_equal(guest_memory_map(&gm, UINT64_MAX - 1, 1), bytes + 31);
}

static void refuses_what_is_not_one_piece_of_memory(void **state)
{
	static const struct {
		uint64_t gpa, len;
	} bad[] = {
		{0, 0},			       /* nothing */
		{0, 17},		       /* into the next region */
		{15, 2},		       /* the same */
		{24, 1},		       /* behind */
		{20, 5},		       /* over the end */
		{0, UINT64_MAX},	       /* far over the end */
		{16, UINT64_MAX - 15},	       /* wraps to 0 */
		{UINT64_MAX, 1},	       /* behind the last */
		{UINT64_MAX - 1, 2},	       /* over the last byte */
		{UINT64_MAX - 16, UINT64_MAX}, /* wraps */
		{1ULL << 40, 8},	       /* between */
	};
	struct guest_memory gm;

	make(&gm);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(guest_memory_map(&gm, bad[i].gpa, bad[i].len));
}

static void finds_the_region(void **state)
{
	struct guest_memory gm;

	make(&gm);
	assert_ptr_equal(guest_memory_find(&gm, 0), &gm.regions[0]);
	assert_ptr_equal(guest_memory_find(&gm, 15), &gm.regions[0]);
	assert_ptr_equal(guest_memory_find(&gm, 16), &gm.regions[1]);
	assert_null(guest_memory_find(&gm, 24));
	assert_null(guest_memory_find(&gm, UINT64_MAX));
	memset(&gm, 0, sizeof(gm));
	assert_null(guest_memory_find(&gm, 0));
	assert_null(guest_memory_map(&gm, 0, 1));
}

static void refuses_bad_regions(void **state)
{
	struct guest_memory gm = {0};
	struct guest_region r = region(0, 16, 0);

	r.mem = NULL;
	assert_int_equal(guest_memory_add(&gm, &r), -EINVAL);
	assert_int_equal(add(&gm, 32, 0, 0), -EINVAL);		     /* empty */
	assert_int_equal(add(&gm, UINT64_MAX - 14, 16, 0), -EINVAL); /* wraps */
	assert_int_equal(add(&gm, 0, 16, 49), -EINVAL); /* over its backing */
	assert_int_equal(add(&gm, 0, 16, 65), -EINVAL);
	assert_int_equal(add(&gm, 0, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(gm.nr_regions, 0);
	assert_int_equal(add(&gm, 32, 16, 0), 0);
	assert_int_equal(add(&gm, 47, 16, 16), -EINVAL); /* overlaps */
	assert_int_equal(add(&gm, 0, 16, 16), -EINVAL);	 /* out of order */
	assert_int_equal(add(&gm, 48, 16, 16), 0);
	assert_int_equal(gm.nr_regions, 2);
}

/* Full, and each region found by the search wherever it stands. */
static void holds_as_many_as_it_says(void **state)
{
	struct guest_memory gm = {0};

	for (uint64_t i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++)
		assert_int_equal(add(&gm, i * 100, 50, i % 8), 0);
	assert_int_equal(add(&gm, GUEST_MEMORY_MAX_REGIONS * 100, 50, 0),
			 -ENOSPC);
	for (uint64_t i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++) {
		assert_ptr_equal(guest_memory_map(&gm, i * 100 + 49, 1),
				 bytes + i % 8 + 49);
		assert_null(guest_memory_map(&gm, i * 100 + 50, 1));
		assert_null(guest_memory_map(&gm, i * 100 + 99, 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_inside_a_region),
		cmocka_unit_test(refuses_what_is_not_one_piece_of_memory),
		cmocka_unit_test(finds_the_region),
		cmocka_unit_test(refuses_bad_regions),
		cmocka_unit_test(holds_as_many_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
