/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a fuzz target is: one input in, an abort if anything is wrong; and its
 * seeds. libFuzzer, AFL++ and main.c (replay, seeds, a smoke run without any
 * fuzzer) call the same two functions.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest input, and so the longest seed. */
#define FUZZ_MAX_SIZE 16384

/* Try one input; returns 0. The name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Write seed nr to seed, which holds FUZZ_MAX_SIZE bytes; returns its length,
 * or 0 if there is no such seed. */
size_t fuzz_seed(unsigned int nr, uint8_t *seed);

/* What must hold. */
#define FUZZ_CHECK(condition)                                                  \
	do {                                                                   \
		if (!(condition))                                              \
			fuzz_fail(__FILE__, __LINE__, #condition);             \
	} while (0)

__attribute__((noreturn)) static inline void fuzz_fail(const char *file,
						       int line,
						       const char *text)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
	abort();
}

/* An input, read from its start on; zeros follow its end. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes && in->left; i++) {
		value |= (uint64_t)*in->at++ << 8 * i;
		in->left--;
	}
	return value;
}

static inline size_t fuzz_take_bytes(struct fuzz_input *in, void *to,
				     size_t len)
{
	if (len > in->left)
		len = in->left;
	if (len)
		memcpy(to, in->at, len);
	in->at += len;
	in->left -= len;
	return len;
}

/* A seed being written. */
struct fuzz_seed {
	uint8_t *at;
	size_t len;
};

static inline void fuzz_put(struct fuzz_seed *seed, uint64_t value,
			    unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes && seed->len < FUZZ_MAX_SIZE; i++)
		seed->at[seed->len++] = (uint8_t)(value >> 8 * i);
}

static inline void fuzz_put_bytes(struct fuzz_seed *seed, const void *from,
				  size_t len)
{
	FUZZ_CHECK(len <= FUZZ_MAX_SIZE - seed->len);
	memcpy(seed->at + seed->len, from, len);
	seed->len += len;
}

/* The unit tests' helpers speak cmocka; what they use of it. */
#define assert_true(a)	       FUZZ_CHECK(a)
#define assert_false(a)	       FUZZ_CHECK(!(a))
#define assert_non_null(a)     FUZZ_CHECK((a) != NULL)
#define assert_int_equal(a, b) FUZZ_CHECK((uint64_t)(a) == (uint64_t)(b))
#define assert_in_range(a, low, high)                                          \
	FUZZ_CHECK((uint64_t)(a) >= (uint64_t)(low) &&                         \
		   (uint64_t)(a) <= (uint64_t)(high))
#define assert_memory_equal(a, b, len) FUZZ_CHECK(!memcmp((a), (b), (len)))
#define fail_msg(...)                                                          \
	do {                                                                   \
		fprintf(stderr, __VA_ARGS__);                                  \
		abort();                                                       \
	} while (0)

#endif
