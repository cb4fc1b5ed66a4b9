/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes as people write them: a number and K, M, G or T, powers of 1024. */
#ifndef HOST_SIZE_H
#define HOST_SIZE_H

#include <stdint.h>

#include "error.h"

#define SIZE_TEXT_BYTES 24

struct size_text {
	char text[SIZE_TEXT_BYTES];
};

/*
 * Read a size: digits, then nothing (bytes) or one of K, M, G, T in either
 * case. -EINVAL for other text, -ERANGE for 2^63 and more; the sentence quotes
 * text and what (`--memory`).
 */
int size_parse(const char *what, const char *text, uint64_t *bytes,
	       struct error *err);

/* The exact size in the largest unit that needs no fraction. */
struct size_text size_format(uint64_t bytes);

#endif
