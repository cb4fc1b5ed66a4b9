// SPDX-License-Identifier: BSD-3-Clause
/* The verbs that make attempts. */
#include "attempt.h"

static const struct attempt *const tables[] = {
	access_attempts,
	crowd_attempts,
	device_attempts,
	protocol_attempts,
};

void saw(const char *what, uint64_t value)
{
	answer();
	print("saw %s %lx\n", what, value);
}

static struct memdev *prepared(void)
{
	struct memdev *m = memdev(0);
	uint64_t block = m->config.block_size;

	if (memdev_count() == 0 || !memdev_start_usual(m) ||
	    unplug_all(m) != ACK ||
	    m->config.requested_size != REQUESTED * block ||
	    plug(m, m->config.addr, PLUGGED) != ACK)
		return NULL;
	memdev_read_sizes(m);
	return m;
}

/* hostile NAME */
static int run_attempt(char *args)
{
	const char *name = next_word(&args);
	struct memdev *m = prepared();

	if (!m)
		return 19;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct attempt *a = tables[i]; a->name; a++) {
			if (!same(a->name, name))
				continue;
			a->run(m,
			       m->config.addr + VICTIM * m->config.block_size);
			return 0;
		}
	}
	return 22;
}

/* race ROUNDS */
static int run_race(char *args)
{
	struct memdev *m = prepared();

	if (!m)
		return 19;
	return race_touches(m, number(next_word(&args))) ? 0 : 1;
}

static int list_attempts(char *args)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct attempt *a = tables[i]; a->name; a++) {
			answer();
			print("%s\n", a->name);
		}
	}
	return 0;
}

const struct verb hostile_verbs[] = {
	{"hostile", run_attempt, "NAME: try to get at unplugged memory"},
	{"race", run_race,
	 "ROUNDS: touch a block that is plugged and unplugged"},
	{"attempts", list_attempts, "list the attempts"},
	{NULL, NULL, NULL},
};
