// SPDX-License-Identifier: BSD-3-Clause
/* The verbs that make attempts. */
#include <string.h>

#include "attempt.h"

#define SETTLE_US 200000
#define FOREIGN	  0x5a /* each byte of memory that is another's */

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

/* bus split|packed: as a kernel that another takes the place of. The bus is
 * taken from the device, the queue's memory used for something else, and the
 * bus given back: tells how much of that memory the device changed. */
static int run_bus(char *args)
{
	struct memdev *m = prepared();
	uint64_t features = F_VERSION_1 | F_INACCESSIBLE | F_EVENT_IDX;
	uint64_t changed = 0;
	uint8_t *memory;

	if (same(next_word(&args), "packed"))
		features |= F_PACKED;
	if (!m || !memdev_start(m, features, 0) ||
	    state_of(m, m->config.addr, 1) < 0)
		return 19;
	virtio_set_master(&m->virtio, false);
	wait_us(SETTLE_US);
	memory = (uint8_t *)m->queue.desc;
	memset(memory, FOREIGN, QUEUE_BYTES);
	queue_kick(&m->queue);
	wait_us(SETTLE_US);
	virtio_set_master(&m->virtio, true);
	wait_us(SETTLE_US);
	for (unsigned int i = 0; i < QUEUE_BYTES; i++)
		changed += memory[i] != FOREIGN;
	saw("changed", changed);
	return memdev_start_usual(m) ? 0 : 5;
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
	{"bus", run_bus,
	 "split|packed: take the bus from the device, and give it back"},
	{"attempts", list_attempts, "list the attempts"},
	{NULL, NULL, NULL},
};
