// SPDX-License-Identifier: BSD-3-Clause
/* The bitmap behind a device against one bool a block, at word boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "device/block_set.h"

#define MAX_BLOCKS 320
#define MAX_WORDS  (MAX_BLOCKS / BLOCK_SET_WORD_BITS)
#define CANARY	   UINT64_C(0xdeadbeefcafef00d)
#define STEPS	   200000

/* Around each boundary between words, and one of many words. */
static const uint64_t sizes[] = {1,   2,   63,	64,  65,  127,
				 128, 129, 191, 192, 193, 320};
#define NR_SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct pair {
	struct block_set set;
	uint64_t words[MAX_WORDS + 1]; /* the first behind the set's: canary */
	bool blocks[MAX_BLOCKS];
};

static void make(struct pair *pair, uint64_t nr_blocks)
{
	memset(pair, 0xff, sizeof(*pair));
	memset(pair->blocks, 0, sizeof(pair->blocks));
	pair->words[block_set_nr_words(nr_blocks)] = CANARY;
	block_set_init(&pair->set, pair->words, nr_blocks);
}

static uint64_t count(const struct pair *pair, struct block_run range)
{
	uint64_t found = 0;

	for (uint64_t i = 0; i < range.nr; i++)
		found += pair->blocks[range.first + i];
	return found;
}

static void add(struct pair *pair, struct block_run range)
{
	block_set_add(&pair->set, range);
	memset(pair->blocks + range.first, true, range.nr);
}

static void drop(struct pair *pair, struct block_run range)
{
	block_set_remove(&pair->set, range);
	memset(pair->blocks + range.first, false, range.nr);
}

/* Every bit, also those behind the last block, and no word more. */
static void check_bits(const struct pair *pair)
{
	uint64_t nr_words = block_set_nr_words(pair->set.nr_blocks);
	struct block_run all = {0, pair->set.nr_blocks};

	assert_int_equal(pair->set.nr_set, count(pair, all));
	for (uint64_t i = 0; i < nr_words * BLOCK_SET_WORD_BITS; i++) {
		bool bit = pair->words[i / BLOCK_SET_WORD_BITS] >>
				   (i % BLOCK_SET_WORD_BITS) &
			   1;

		assert_int_equal(bit, i < all.nr && pair->blocks[i]);
	}
	assert_true(pair->words[nr_words] == CANARY);
}

static void check_next_run(const struct pair *pair, uint64_t from)
{
	uint64_t nr_blocks = pair->set.nr_blocks, first = from, end;
	struct block_run run;
	bool found = block_set_next_run(&pair->set, from, &run);

	while (first < nr_blocks && !pair->blocks[first])
		first++;
	assert_int_equal(found, first < nr_blocks);
	if (!found)
		return;
	for (end = first; end < nr_blocks && pair->blocks[end]; end++)
		;
	assert_int_equal(run.first, first);
	assert_int_equal(run.nr, end - first);
}

static void check_hull(const struct pair *pair)
{
	uint64_t first = 0, end = pair->set.nr_blocks;
	struct block_run hull;
	bool found = block_set_hull(&pair->set, &hull);

	while (end > 0 && !pair->blocks[end - 1])
		end--;
	assert_int_equal(found, end > 0);
	if (!found)
		return;
	while (!pair->blocks[first])
		first++;
	assert_int_equal(hull.first, first);
	assert_int_equal(hull.nr, end - first);
}

static void check_searches(const struct pair *pair)
{
	for (uint64_t from = 0; from < pair->set.nr_blocks + 66; from++)
		check_next_run(pair, from);
	check_next_run(pair, UINT64_MAX);
	check_hull(pair);
}

static void check_range(const struct pair *pair, struct block_run range)
{
	uint64_t found = count(pair, range);

	assert_int_equal(block_set_has_all(&pair->set, range),
			 found == range.nr);
	assert_int_equal(block_set_has_none(&pair->set, range), found == 0);
}

static void counts_words(void **state)
{
	assert_int_equal(block_set_nr_words(0), 0);
	assert_int_equal(block_set_nr_words(1), 1);
	assert_int_equal(block_set_nr_words(64), 1);
	assert_int_equal(block_set_nr_words(65), 2);
	assert_int_equal(block_set_nr_words(UINT64_MAX - 63), (1ULL << 58) - 1);
	assert_int_equal(block_set_nr_words(UINT64_MAX), 1ULL << 58);
}

/* One range of each place and length in an empty set, and gone again. */
static void holds_each_range(void **state)
{
	struct pair pair;

	for (size_t s = 0; s < NR_SIZES; s++) {
		make(&pair, sizes[s]);
		check_searches(&pair);
		for (uint64_t first = 0; first < sizes[s]; first++) {
			uint64_t room = sizes[s] - first;
			struct block_run range = {first, 0};

			for (range.nr = 1; range.nr <= room; range.nr++) {
				add(&pair, range);
				check_bits(&pair);
				check_hull(&pair);
				check_next_run(&pair, 0);
				check_next_run(&pair, first + range.nr / 2);
				check_next_run(&pair, first + range.nr);
				drop(&pair, range);
				check_bits(&pair);
			}
		}
	}
}

/* One hole in a full set: it alone decides what a question finds. */
static void sees_each_hole(void **state)
{
	struct pair pair;

	for (size_t s = 0; s < NR_SIZES; s++) {
		make(&pair, sizes[s]);
		add(&pair, (struct block_run){0, sizes[s]});
		for (uint64_t hole = 0; hole < sizes[s]; hole++) {
			drop(&pair, (struct block_run){hole, 1});
			check_searches(&pair);
			for (uint64_t at = 0; at < sizes[s]; at++) {
				check_range(&pair,
					    (struct block_run){0, at + 1});
				check_range(&pair, (struct block_run){
							   at, sizes[s] - at});
			}
			add(&pair, (struct block_run){hole, 1});
		}
		check_bits(&pair);
	}
}

static void clears(void **state)
{
	struct pair pair;

	for (size_t s = 0; s < NR_SIZES; s++) {
		make(&pair, sizes[s]);
		for (uint64_t at = 0; at < sizes[s]; at += 3) {
			add(&pair, (struct block_run){at, 1});
			block_set_clear(&pair.set);
			memset(pair.blocks, 0, sizeof(pair.blocks));
			check_bits(&pair);
		}
		add(&pair, (struct block_run){0, sizes[s]});
		block_set_clear(&pair.set);
		memset(pair.blocks, 0, sizeof(pair.blocks));
		check_bits(&pair);
		check_searches(&pair);
		block_set_clear(&pair.set);
		check_bits(&pair);
	}
}

static uint64_t draw(uint64_t *random, uint64_t bound)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % bound;
}

/* What is all in goes, what is all out comes: fragments of every kind. */
static void random_ranges(void **state)
{
	const char *text = getenv("BELLOWS_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

	print_message("again: BELLOWS_SEED=%llu ./dev test unit/block_set\n",
		      (unsigned long long)seed);
	for (size_t s = 0; s < NR_SIZES; s++) {
		struct pair pair;

		make(&pair, sizes[s]);
		for (unsigned int i = 0; i < STEPS / NR_SIZES; i++) {
			struct block_run range = {draw(&random, sizes[s]), 0};
			uint64_t room = sizes[s] - range.first;

			range.nr = 1 + draw(&random, room);
			if (draw(&random, 4))
				range.nr = 1 + range.nr % (room < 8 ? room : 8);
			check_range(&pair, range);
			if (count(&pair, range) == 0)
				add(&pair, range);
			else if (count(&pair, range) == range.nr)
				drop(&pair, range);
			check_next_run(&pair, draw(&random, sizes[s] + 1));
			check_hull(&pair);
			if (i % 64 == 0)
				check_bits(&pair);
		}
		check_bits(&pair);
		check_searches(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_words),
		cmocka_unit_test(holds_each_range),
		cmocka_unit_test(sees_each_hole),
		cmocka_unit_test(clears),
		cmocka_unit_test(random_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
