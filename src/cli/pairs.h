/* SPDX-License-Identifier: BSD-3-Clause */
/* Options that take KEY=VALUE,KEY=VALUE..., and lists in them. */
#ifndef CLI_PAIRS_H
#define CLI_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "host/error.h"
#include "host/hostmem.h"

/* Takes a pair. -EINVAL with a sentence. */
typedef int (*pairs_take_fn)(void *opaque, const char *key, const char *value,
			     struct error *err);

/*
 * Split text at its commas and hand each pair over. What has no `=` continues
 * the value before it, if that key's values are lists (named in lists, which
 * ends with NULL): `cpus=0-3,8,mem=1G` gives cpus twice.
 */
int pairs_parse(const char *option, const char *text, const char *const *lists,
		pairs_take_fn take, void *opaque, struct error *err);

/* A number up to max. */
int pairs_number(const char *what, const char *text, unsigned long max,
		 unsigned long *number, struct error *err);

/* Two numbers with a character between them, such as 0-3. */
bool pairs_two(const char *text, char between, unsigned long *first,
	       unsigned long *second);

/* Add N or N-M, each below max, to bits. */
int pairs_range(const char *what, const char *text, unsigned int max,
		uint64_t *bits, struct error *err);

/* pages=, host= and policy= of a placement. 1 if key is none of them. */
int pairs_placement(const char *option, struct hostmem_placement *placement,
		    const char *key, const char *value, struct error *err);

#endif
