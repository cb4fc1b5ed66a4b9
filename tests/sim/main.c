// SPDX-License-Identifier: BSD-3-Clause
/*
 * The simulation's program: worlds from one seed after another, each with a
 * random list of steps. A list that fails is shortened, step by step, as long
 * as it still fails, and printed with the command that repeats it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "world.h"

#define DEFAULT_RUNS  4000
#define DEFAULT_STEPS 500
#define MAX_STEPS     100000
#define MAX_TRIALS    20000 /* of a list to be shortened */

/* How often, of 1000; the rest are runs, serving, and delivering. */
static const unsigned int weights[NR_STEP_KINDS] = {
	[STEP_RUN] = 290,	 [STEP_HANDLE] = 220,
	[STEP_DELIVER] = 220,	 [STEP_RESIZE] = 30,
	[STEP_NOTIFY] = 30,	 [STEP_LOSE] = 8,
	[STEP_TIME] = 60,	 [STEP_OS_DONE] = 60,
	[STEP_HOST_MOOD] = 8,	 [STEP_OS_MOOD] = 10,
	[STEP_QUEUE_MOOD] = 3,	 [STEP_ERROR] = 4,
	[STEP_DEVICE_RESET] = 6, [STEP_DEVICE_READY] = 12,
	[STEP_SYSTEM_RESET] = 2, [STEP_KEXEC] = 5,
	[STEP_DRAIN] = 6,	 [STEP_UNPLUG_ALL] = 4,
	[STEP_BOGUS] = 4,	 [STEP_USAGE] = 6,
	[STEP_QUIESCE] = 12,
};

struct options {
	uint64_t seed, runs, steps, seconds;
};

struct totals {
	uint64_t runs, steps, requests;
};

static enum step_kind choose_kind(struct world *source)
{
	unsigned int sum = 0, at;

	for (int kind = 0; kind < NR_STEP_KINDS; kind++)
		sum += weights[kind];
	at = (unsigned int)draw(source, sum);
	for (int kind = 0;; kind++) {
		if (at < weights[kind])
			return (enum step_kind)kind;
		at -= weights[kind];
	}
}

static void choose_steps(struct step *steps, uint64_t nr, uint64_t seed)
{
	struct world source = {.random = seed * 2 + 1};

	for (int i = 0; i < 16; i++)
		draw(&source, 2);
	for (uint64_t i = 0; i < nr; i++) {
		steps[i].kind = choose_kind(&source);
		steps[i].number = draw(&source, UINT64_MAX);
	}
	/* Whatever happened, in the end they must agree. */
	if (nr > 0)
		steps[nr - 1].kind = STEP_QUIESCE;
}

/* Run a list; returns how many steps it took to fail, or 0. why: room for 256
 * bytes, or NULL. */
static uint64_t run_list(const struct step *steps, uint64_t nr, uint64_t seed,
			 char *why, struct totals *totals)
{
	static struct world world;
	uint64_t failed_at = 0;

	world_create(&world, seed);
	for (uint64_t i = 0; i < nr && !world.failure[0]; i++) {
		world_step(&world, &steps[i]);
		totals->steps++;
		failed_at = i + 1;
	}
	if (!world.failure[0])
		failed_at = 0;
	if (why)
		memcpy(why, world.failure, sizeof(world.failure));
	totals->requests += world.nr_requests;
	totals->runs++;
	world_destroy(&world);
	return failed_at;
}

/* Leave out what is not needed for a failure: long stretches, then short. */
static uint64_t shorten(struct step *steps, uint64_t nr, uint64_t seed)
{
	struct step *trial = malloc(nr * sizeof(*trial));
	struct totals ignored = {0};
	uint64_t chunk = nr / 2 > 0 ? nr / 2 : 1, failed_at;

	while (trial && chunk > 0 && ignored.runs < MAX_TRIALS) {
		bool shorter = false;

		for (uint64_t at = 0; at + chunk <= nr;) {
			memcpy(trial, steps, at * sizeof(*trial));
			memcpy(trial + at, steps + at + chunk,
			       (nr - at - chunk) * sizeof(*trial));
			failed_at = run_list(trial, nr - chunk, seed, NULL,
					     &ignored);
			if (failed_at == 0) {
				at += chunk;
				continue;
			}
			nr = failed_at;
			memcpy(steps, trial, nr * sizeof(*trial));
			shorter = true;
		}
		if (!shorter || chunk > 1)
			chunk /= 2;
	}
	free(trial);
	return nr;
}

static void describe(uint64_t seed)
{
	static struct world w;

	world_create(&w, seed);
	printf("block %#lx, region %#lx at %#lx, requested %#lx, slack %#lx, "
	       "granule %#lx, unit %#lx%s, depth %u, poll %u ms\n",
	       w.device_config.block_size, w.device_config.region_size,
	       w.device_config.addr, w.device_config.requested_size,
	       w.device_config.usable_slack, w.driver_config.granule,
	       w.driver_config.unit_size, w.has_units ? "" : " (no unit ops)",
	       w.driver_config.depth, w.driver_config.poll_ms);
	world_destroy(&w);
}

static void report(const char *program, struct step *steps, uint64_t nr,
		   const struct options *options, uint64_t seed)
{
	struct totals ignored = {0};
	char why[256];

	run_list(steps, nr, seed, why, &ignored);
	printf("FAIL seed %lu at step %lu: %s\n", seed, nr, why);
	printf("repeat: %s --seed %lu --runs 1 --steps %lu\n", program, seed,
	       options->steps);
	fflush(stdout);
	nr = shorten(steps, nr, seed);
	run_list(steps, nr, seed, why, &ignored);
	printf("shortened to %lu steps: %s\n", nr, why);
	describe(seed);
	for (uint64_t i = 0; i < nr; i++)
		printf("%5lu %-18s %#lx\n", i, step_name(steps[i].kind),
		       steps[i].number);
}

static int parse(struct options *options, int argc, char **argv)
{
	struct {
		const char *name;
		uint64_t *value;
	} known[] = {
		{"--seed", &options->seed},
		{"--runs", &options->runs},
		{"--steps", &options->steps},
		{"--seconds", &options->seconds},
	};
	size_t k;
	char *end;

	for (int i = 1; i < argc; i += 2) {
		for (k = 0; k < 4 && strcmp(argv[i], known[k].name) != 0; k++)
			;
		if (k == 4 || i + 1 == argc)
			return -EINVAL;
		errno = 0;
		*known[k].value = strtoull(argv[i + 1], &end, 0);
		if (errno || *end || end == argv[i + 1])
			return -EINVAL;
	}
	return options->steps >= 1 && options->steps <= MAX_STEPS ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options o = {
		.seed = 1, .runs = DEFAULT_RUNS, .steps = DEFAULT_STEPS};
	struct totals totals = {0};
	struct step *steps;
	time_t began = time(NULL);
	uint64_t failed_at = 0;

	if (parse(&o, argc, argv) != 0) {
		fprintf(stderr,
			"usage: %s [--seed N] [--runs N | --seconds N] "
			"[--steps N (at most %d)]\n",
			argv[0], MAX_STEPS);
		return 2;
	}
	steps = malloc(o.steps * sizeof(*steps));
	if (!steps)
		return 1;
	for (uint64_t seed = o.seed; !failed_at; seed++) {
		if (o.seconds ? (uint64_t)(time(NULL) - began) >= o.seconds
			      : totals.runs >= o.runs)
			break;
		choose_steps(steps, o.steps, seed);
		failed_at = run_list(steps, o.steps, seed, NULL, &totals);
		if (failed_at)
			report(argv[0], steps, failed_at, &o, seed);
	}
	printf("%lu runs, %lu steps, %lu requests\n", totals.runs, totals.steps,
	       totals.requests);
	free(steps);
	return failed_at ? 1 : 0;
}
