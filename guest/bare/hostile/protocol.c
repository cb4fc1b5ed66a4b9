// SPDX-License-Identifier: BSD-3-Clause
/* By the protocol: too much, too often, without what was to be agreed on. */
#include "attempt.h"

#define NR_TOUCHES 2000

static void plug_past_limit(struct memdev *m, uint64_t victim)
{
	uint64_t block = m->config.block_size, acks = 0;

	for (uint64_t i = PLUGGED; i < 3 * REQUESTED; i++)
		acks += plug(m, m->config.addr + i * block, 1) == ACK;
	saw("acknowledged", acks);
	memdev_read_sizes(m);
	saw("plugged", m->config.plugged_size / block);
	touch('w', m->config.addr + 2 * REQUESTED * block);
}

static void flood(struct memdev *m, uint64_t victim)
{
	static struct exchange x;
	uint64_t seed = 1, block = m->config.block_size;

	for (unsigned int i = 0; i < NR_TOUCHES; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		memdev_request(m, &x, (unsigned int)(seed >> 60) % 5,
			       m->config.addr + (seed >> 40) % 64 * block,
			       (unsigned int)(seed >> 50) % 9);
	}
	unplug_all(m);
	touch('w', victim);
}

static void after_refusal(struct memdev *m, uint64_t victim)
{
	unplug(m, victim, 1);
	plug(m, victim, 0);
	plug(m, victim + 1, 1);
	plug(m, m->config.addr, PLUGGED + 1);
	touch('w', victim);
}

/* Without UNPLUGGED_INACCESSIBLE a driver may read, and may not write. */
static void write_without_feature(struct memdev *m, uint64_t victim)
{
	if (memdev_start(m, F_VERSION_1, 0))
		touch('w', victim);
	memdev_start_usual(m);
}

static void read_beyond_without_feature(struct memdev *m, uint64_t victim)
{
	if (memdev_start(m, F_VERSION_1, 0))
		saw("read", touch('r', usable_end(m)));
	memdev_start_usual(m);
}

static void write_after_device_reset(struct memdev *m, uint64_t victim)
{
	virtio_reset(&m->virtio);
	m->running = false;
	touch('w', victim);
}

const struct attempt protocol_attempts[] = {
	{"plug-past-limit", plug_past_limit},
	{"flood", flood},
	{"after-refusal", after_refusal},
	{"write-without-feature", write_without_feature},
	{"read-beyond-without-feature", read_beyond_without_feature},
	{"write-after-device-reset", write_after_device_reset},
	{NULL, NULL},
};
