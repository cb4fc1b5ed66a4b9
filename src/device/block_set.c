// SPDX-License-Identifier: BSD-3-Clause
/* The bitmap behind a device: which blocks are plugged. */
#include <string.h>

#include "block_set.h"

#define ALL_BITS (~UINT64_C(0))

/*
 * C17 has no bit searches and no population count; compilers know these forms
 * and use the machine's own where it has them.
 */
static unsigned int count_ones(uint64_t x)
{
	x -= (x >> 1) & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) +
	    ((x >> 2) & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned int)((x * UINT64_C(0x0101010101010101)) >> 56);
}

/* Index of the lowest one; x is not 0. */
static unsigned int lowest_one(uint64_t x)
{
	return count_ones((x & (0 - x)) - 1);
}

/* Index of the highest one; x is not 0. */
static unsigned int highest_one(uint64_t x)
{
	for (unsigned int shift = 1; shift < BLOCK_SET_WORD_BITS; shift *= 2)
		x |= x >> shift;
	return count_ones(x) - 1;
}

/* The words that a range touches, and its bits in the outer two. */
struct span {
	uint64_t first, last;
	uint64_t first_mask, last_mask;
};

static struct span span_of(struct block_run range)
{
	uint64_t end = range.first + range.nr - 1;
	unsigned int low = (unsigned int)(range.first % BLOCK_SET_WORD_BITS);
	unsigned int high = (unsigned int)(end % BLOCK_SET_WORD_BITS);

	return (struct span){
		.first = range.first / BLOCK_SET_WORD_BITS,
		.last = end / BLOCK_SET_WORD_BITS,
		.first_mask = ALL_BITS << low,
		.last_mask = ALL_BITS >> (BLOCK_SET_WORD_BITS - 1 - high),
	};
}

static uint64_t mask_at(const struct span *span, uint64_t word)
{
	uint64_t mask = ALL_BITS;

	if (word == span->first)
		mask &= span->first_mask;
	if (word == span->last)
		mask &= span->last_mask;
	return mask;
}

uint64_t block_set_nr_words(uint64_t nr_blocks)
{
	/* Rounding up by addition would wrap for the largest of regions. */
	return nr_blocks / BLOCK_SET_WORD_BITS +
	       (nr_blocks % BLOCK_SET_WORD_BITS != 0);
}

/* memset by the word: a set may be larger than size_t can say on no machine
 * that holds it, so the cast is safe. */
static void zero_words(struct block_set *set)
{
	memset(set->words, 0,
	       (size_t)block_set_nr_words(set->nr_blocks) * sizeof(uint64_t));
	set->nr_set = 0;
}

void block_set_init(struct block_set *set, uint64_t *words, uint64_t nr_blocks)
{
	set->nr_blocks = nr_blocks;
	set->words = words;
	zero_words(set);
}

bool block_set_has_all(const struct block_set *set, struct block_run range)
{
	struct span span = span_of(range);

	for (uint64_t word = span.first; word <= span.last; word++) {
		if (~set->words[word] & mask_at(&span, word))
			return false;
	}
	return true;
}

bool block_set_has_none(const struct block_set *set, struct block_run range)
{
	struct span span = span_of(range);

	for (uint64_t word = span.first; word <= span.last; word++) {
		if (set->words[word] & mask_at(&span, word))
			return false;
	}
	return true;
}

void block_set_add(struct block_set *set, struct block_run range)
{
	struct span span = span_of(range);

	for (uint64_t word = span.first; word <= span.last; word++)
		set->words[word] |= mask_at(&span, word);
	set->nr_set += range.nr;
}

void block_set_remove(struct block_set *set, struct block_run range)
{
	struct span span = span_of(range);

	for (uint64_t word = span.first; word <= span.last; word++)
		set->words[word] &= ~mask_at(&span, word);
	set->nr_set -= range.nr;
}

void block_set_clear(struct block_set *set)
{
	if (set->nr_set != 0)
		zero_words(set);
}

/*
 * The first block at or after from whose bit differs from those of flip (all
 * zeroes to find a block in the set, all ones to find one outside it);
 * nr_blocks if there is none.
 */
static uint64_t find(const struct block_set *set, uint64_t from, uint64_t flip)
{
	uint64_t nr_words = block_set_nr_words(set->nr_blocks);
	uint64_t word = from / BLOCK_SET_WORD_BITS;
	uint64_t mask = ALL_BITS << (from % BLOCK_SET_WORD_BITS);
	uint64_t bits, found;

	for (; word < nr_words; word++) {
		bits = (set->words[word] ^ flip) & mask;
		if (bits) {
			found = word * BLOCK_SET_WORD_BITS + lowest_one(bits);
			return found < set->nr_blocks ? found : set->nr_blocks;
		}
		mask = ALL_BITS;
	}
	return set->nr_blocks;
}

bool block_set_next_run(const struct block_set *set, uint64_t from,
			struct block_run *run)
{
	uint64_t first;

	if (set->nr_set == 0 || from >= set->nr_blocks)
		return false;
	first = find(set, from, 0);
	if (first == set->nr_blocks)
		return false;
	run->first = first;
	run->nr = find(set, first, ALL_BITS) - first;
	return true;
}

bool block_set_hull(const struct block_set *set, struct block_run *range)
{
	uint64_t word = block_set_nr_words(set->nr_blocks) - 1;
	uint64_t last;

	if (set->nr_set == 0)
		return false;
	while (set->words[word] == 0)
		word--;
	last = word * BLOCK_SET_WORD_BITS + highest_one(set->words[word]);
	range->first = find(set, 0, 0);
	range->nr = last - range->first + 1;
	return true;
}
