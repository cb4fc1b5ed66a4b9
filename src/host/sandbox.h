/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the process of a VM gives up before its guest runs, so that a guest that
 * gets hold of it has got nothing more (docs/hardening.md):
 *
 *  1. sandbox_confine(), when all files are open and before there are threads:
 *     another root folder, user and group, no capabilities, no new privileges,
 *     limits;
 *  2. sandbox_filter(), when all threads are there: the system calls of
 *     sandbox_rules[] and no others, for all threads.
 *
 * Neither can be taken back.
 */
#ifndef HOST_SANDBOX_H
#define HOST_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* Open files that a VM's process may have. */
#define SANDBOX_MAX_FILES 1024

enum sandbox_mode {
	SANDBOX_OFF,
	SANDBOX_ON,
	SANDBOX_LOG, /* a call that is not allowed is logged and done */
};

struct sandbox_config {
	enum sandbox_mode mode;
	bool change_user;
	uid_t uid;
	gid_t gid;
	const char *root; /* an empty folder; NULL: one of our own, if we may */
	uint64_t max_file_bytes; /* a file may not grow beyond that */
};

/* USER[:GROUP], by name or by number; GROUP is the user's own by default.
 * -EINVAL with a sentence. */
int sandbox_parse_user(const char *text, struct sandbox_config *config,
		       struct error *err);

/* Step 1. The sentence says what this user may not do. */
int sandbox_confine(const struct sandbox_config *config, struct error *err);

/*
 * One system call that is allowed; where arg is not negative, only if argument
 * arg (from 0) under mask is value. A call may stand several times.
 */
struct sandbox_rule {
	int number;
	const char *role; /* whose it is: vcpu, elastic, guard, api, ... */
	const char *why;
	int arg;
	uint64_t mask, value;
	int answer; /* not 0: it is not done, but fails with this errno value */
};

extern const struct sandbox_rule sandbox_rules[];
extern const size_t sandbox_nr_rules;

/* Step 2. */
int sandbox_filter(enum sandbox_mode mode, struct error *err);

#endif
