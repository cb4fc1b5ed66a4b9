// SPDX-License-Identifier: BSD-3-Clause
/* Accesses of every processor at once. */
#include "attempt.h"

struct crowd {
	char kind;
	uint64_t addr, stride;
};

static void crowd_member(void *arg, unsigned int cpu)
{
	const struct crowd *crowd = arg;
	struct touch t = {
		.kind = crowd->kind,
		.addr = crowd->addr + cpu * crowd->stride,
		.value = PATTERN,
	};

	for (unsigned int i = 0; i < 10; i++)
		arch_try(do_touch, &t, NULL);
}

static void all_touch(char kind, uint64_t addr, uint64_t stride)
{
	struct crowd crowd = {kind, addr, stride};
	unsigned int cpus = (unsigned int)boot_number("cpus", 1);

	arch_map(addr, (stride + 8) * ARCH_MAX_CPUS);
	saw("all done", arch_run_on_all(cpus, crowd_member, &crowd));
}

static void all_read_one_word(struct memdev *m, uint64_t victim)
{
	all_touch('r', victim, 0);
}

static void all_write_one_word(struct memdev *m, uint64_t victim)
{
	all_touch('w', victim, 0);
}

static void all_write_one_block(struct memdev *m, uint64_t victim)
{
	all_touch('w', victim, PAGE);
}

static void all_write_own_block(struct memdev *m, uint64_t victim)
{
	all_touch('w', victim, m->config.block_size);
}

static void all_add(struct memdev *m, uint64_t victim)
{
	all_touch('a', victim, 0);
}

/* One plugs and unplugs, the others write all the while. */
static struct {
	struct memdev *m;
	uint64_t victim, rounds, acks;
	volatile bool over;
} race;

static void racer(void *arg, unsigned int cpu)
{
	struct touch t = {.kind = 'w', .addr = race.victim + 64, .value = cpu};

	if (cpu == 0) {
		for (uint64_t i = 0; i < race.rounds; i++) {
			race.acks += plug(race.m, race.victim, 1) == ACK;
			race.acks += unplug(race.m, race.victim, 1) == ACK;
		}
		race.over = true;
		return;
	}
	while (!race.over)
		arch_try(do_touch, &t, NULL);
}

bool race_touches(struct memdev *m, uint64_t rounds)
{
	unsigned int cpus = (unsigned int)boot_number("cpus", 1);

	race.m = m;
	race.victim = m->config.addr + VICTIM * m->config.block_size;
	race.rounds = rounds;
	race.acks = 0;
	race.over = false;
	arch_map(race.victim, m->config.block_size);
	saw("all done", arch_run_on_all(cpus, racer, NULL));
	answer();
	print("acknowledged %lu\n", race.acks);
	return race.acks == 2 * rounds;
}

const struct attempt crowd_attempts[] = {
	{"all-read-one-word", all_read_one_word},
	{"all-write-one-word", all_write_one_word},
	{"all-write-one-block", all_write_one_block},
	{"all-write-own-block", all_write_own_block},
	{"all-add", all_add},
	{NULL, NULL},
};
