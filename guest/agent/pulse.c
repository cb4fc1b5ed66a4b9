/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A foreground load: copies pieces of memory from random places, and clocks
 * each copy, so that what disturbs it is seen in its throughput and its tail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "agent.h"

#define BUFFER	    (96UL << 20)
#define PIECE	    (64UL << 10)
#define MAX_SAMPLES (1UL << 20)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Copy until the time is over; the number of copies. */
static size_t copy_pieces(unsigned char *buffer, uint32_t *samples,
			  uint64_t end_ns)
{
	uint64_t began = now_ns(), ended, state = 1;
	size_t nr = 0;

	while (nr < MAX_SAMPLES && began < end_ns) {
		size_t from, to;

		state = state * 6364136223846793005ULL + 1;
		from = (state >> 33) % (BUFFER / PIECE / 2) * PIECE;
		to = BUFFER / 2 + (state >> 20) % (BUFFER / PIECE / 2) * PIECE;
		memcpy(buffer + to, buffer + from, PIECE);
		ended = now_ns();
		samples[nr++] = (uint32_t)((ended - began) / 1000);
		began = ended;
	}
	return nr;
}

int pulse_run(unsigned int seconds, struct pulse *pulse)
{
	size_t size = BUFFER + MAX_SAMPLES * sizeof(uint32_t), nr;
	uint64_t began, took;
	unsigned char *buffer;
	uint32_t *samples;

	if (seconds == 0 || seconds > 3600)
		return -EINVAL;
	buffer = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffer == MAP_FAILED)
		return -errno;
	samples = (uint32_t *)(void *)(buffer + BUFFER);
	began = now_ns();
	nr = copy_pieces(buffer, samples, began + seconds * 1000000000ULL);
	took = now_ns() - began;
	qsort(samples, nr, sizeof(*samples), by_size);
	pulse->kib_per_s = nr * (PIECE >> 10) * 1000000000ULL / took;
	pulse->p50_us = samples[nr / 2];
	pulse->p99_us = samples[nr * 99 / 100];
	pulse->max_us = samples[nr - 1];
	munmap(buffer, size);
	return 0;
}
