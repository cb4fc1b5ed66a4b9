/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a total is spread over elastic devices.
 *
 * The rule. Memory goes out in steps of 128 MiB (or of a device's block, if
 * that is larger). Each step of a grow goes to the node that has the smallest
 * part of its maximum, and there to the device that has; each step of a shrink
 * comes from where that part is largest; among equals the first of the list.
 * So nodes stay in proportion to their maxima, a small change moves one
 * device, and the same request twice changes nothing.
 */
#ifndef CLI_SPREAD_H
#define CLI_SPREAD_H

#include <stdint.h>

#include "host/error.h"

struct spread_device {
	int node; /* -1 counts as a node of its own */
	uint64_t block_bytes, max_bytes;
	uint64_t bytes; /* requested; changed by spread() */
};

/*
 * Change bytes of the devices so that they add up to total. -ERANGE if it is
 * more than they can have, -EINVAL if their blocks cannot make it; then nothing
 * is changed and err says what would do. what names the whole: `VM 'x'`.
 */
int spread(struct spread_device *devices, unsigned int nr, uint64_t total,
	   const char *what, struct error *err);

#endif
