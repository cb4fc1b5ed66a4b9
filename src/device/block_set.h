/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of blocks: one bit a block in 64-bit words, and the number of blocks in
 * it, which is kept and never counted. A range costs one step per word that it
 * touches, a search one step per word that it skips.
 *
 * Ranges are [first, first + nr); nr is at least 1 and the range lies within
 * the set: the caller has checked it.
 */
#ifndef DEVICE_BLOCK_SET_H
#define DEVICE_BLOCK_SET_H

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_SET_WORD_BITS 64

struct block_set {
	uint64_t nr_blocks; /* that could be in it */
	uint64_t nr_set;    /* that are in it */
	uint64_t *words;    /* bits from nr_blocks on are always 0 */
};

/* A run of blocks. */
struct block_run {
	uint64_t first;
	uint64_t nr;
};

/* Words of storage for nr_blocks blocks. */
uint64_t block_set_nr_words(uint64_t nr_blocks);

/* An empty set in words, which holds block_set_nr_words(nr_blocks). */
void block_set_init(struct block_set *set, uint64_t *words, uint64_t nr_blocks);

/* Whether every block of the range is in the set. */
bool block_set_has_all(const struct block_set *set, struct block_run range);

/* Whether no block of the range is in the set. */
bool block_set_has_none(const struct block_set *set, struct block_run range);

/* Add a range of which no block is in the set. */
void block_set_add(struct block_set *set, struct block_run range);

/* Remove a range of which every block is in the set. */
void block_set_remove(struct block_set *set, struct block_run range);

/* Remove all blocks. */
void block_set_clear(struct block_set *set);

/*
 * Find the first run of blocks in the set that ends after block from, cut to
 * begin no earlier than from. False if there is none, or from is outside.
 */
bool block_set_next_run(const struct block_set *set, uint64_t from,
			struct block_run *run);

/* The shortest range that holds all blocks of the set. False if it is empty. */
bool block_set_hull(const struct block_set *set, struct block_run *range);

#endif
