/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attempts to get at memory that is not plugged. Each is one function; what
 * the guest saw is printed, and what it gained is for the host to find out.
 *
 * An attempt finds 8 blocks plugged, from the region's start on, of 32 that
 * are requested; what it calls `victim` is not plugged.
 */
#ifndef BARE_HOSTILE_ATTEMPT_H
#define BARE_HOSTILE_ATTEMPT_H

#include "../arch.h"
#include "../memdev.h"
#include "../mmio.h"

#define REQUESTED 32
#define PLUGGED	  8
#define VICTIM	  20
#define PAGE	  4096
#define PATTERN	  UINT64_C(0xbadc0ffee0ddf00d)

struct attempt {
	const char *name;
	void (*run)(struct memdev *m, uint64_t victim);
};

/* Tables end with a NULL. */
extern const struct attempt access_attempts[], crowd_attempts[],
	device_attempts[], protocol_attempts[];

/* A line of the answer. */
void saw(const char *what, uint64_t value);

struct touch {
	char kind; /* r, w, x, a (atomic), f (fill), s (stack) */
	uint64_t addr, value;
	size_t len;
};

/* For arch_try(); the argument is a struct touch. */
void do_touch(void *arg);
/* Touch; what the guest read, or 0 after an exception, which is printed. */
uint64_t touch(char kind, uint64_t addr);

/* Where the usable region ends. */
uint64_t usable_end(const struct memdev *m);
/* The last plugged block ends where an unplugged one begins. */
uint64_t boundary(const struct memdev *m);

/* Plug and unplug a block so often while other processors write to it. False
 * if a request was refused. */
bool race_touches(struct memdev *m, uint64_t rounds);

#endif
