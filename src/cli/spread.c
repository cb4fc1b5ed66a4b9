// SPDX-License-Identifier: BSD-3-Clause
/* Spreading a total, step by step. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "host/size.h"
#include "spread.h"

#define STEP	    (128ULL << 20)
#define MAX_DEVICES 64

static uint64_t sum_bytes(const struct spread_device *d, unsigned int nr)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < nr; i++)
		sum += d[i].bytes;
	return sum;
}

/* Which part of its maximum the node of a device has. */
static double node_part(const struct spread_device *d, unsigned int nr,
			unsigned int device)
{
	uint64_t bytes = 0, max = 0;

	if (d[device].node < 0)
		return (double)d[device].bytes / (double)d[device].max_bytes;
	for (unsigned int i = 0; i < nr; i++) {
		if (d[i].node == d[device].node) {
			bytes += d[i].bytes;
			max += d[i].max_bytes;
		}
	}
	return (double)bytes / (double)max;
}

/* How much of left the device can take (or give) in one step; 0: none. */
static uint64_t step_of(const struct spread_device *d, bool grow, uint64_t left)
{
	uint64_t room = grow ? d->max_bytes - d->bytes : d->bytes;
	uint64_t step = d->block_bytes > STEP ? d->block_bytes : STEP;

	if (step > room)
		step = room;
	if (step > left)
		step = left;
	return step - step % d->block_bytes;
}

/* The device that the next step goes to, or comes from; nr if there is none. */
static unsigned int choose(const struct spread_device *d, unsigned int nr,
			   bool grow, uint64_t left)
{
	unsigned int best = nr;
	double best_node = 0, best_own = 0;

	for (unsigned int i = 0; i < nr; i++) {
		double node = node_part(d, nr, i);
		double own = (double)d[i].bytes / (double)d[i].max_bytes;
		bool better;

		if (!step_of(&d[i], grow, left))
			continue;
		if (!grow) { /* the largest first */
			node = -node;
			own = -own;
		}
		better = best == nr || node < best_node ||
			 (node == best_node && own < best_own);
		if (better) {
			best = i;
			best_node = node;
			best_own = own;
		}
	}
	return best;
}

int spread(struct spread_device *devices, unsigned int nr, uint64_t total,
	   const char *what, struct error *err)
{
	struct spread_device d[MAX_DEVICES];
	uint64_t sum = sum_bytes(devices, nr), max = 0, left;
	bool grow = total > sum;

	for (unsigned int i = 0; i < nr; i++) {
		d[i] = devices[i];
		max += d[i].max_bytes;
	}
	if (total > max)
		return error_set(err, -ERANGE,
				 "%s is more than the maximum of %s, %s",
				 size_format(total).text, what,
				 size_format(max).text);
	left = grow ? total - sum : sum - total;
	while (left) {
		unsigned int i = choose(d, nr, grow, left);
		uint64_t step;

		if (i == nr)
			return error_set(
				err, -EINVAL,
				"%s cannot be made of the blocks of %s; the "
				"nearest on the way is %s",
				size_format(total).text, what,
				size_format(grow ? total - left : total + left)
					.text);
		step = step_of(&d[i], grow, left);
		d[i].bytes += grow ? step : -step;
		left -= step;
	}
	memcpy(devices, d, nr * sizeof(d[0]));
	return 0;
}
