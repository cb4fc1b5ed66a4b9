// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device against a naive model, written from the specification: one bool a
 * block, every rule spelled out. Random requests of all kinds, right and wrong,
 * with a VMM that fails at random; after each, both must say the same.
 *
 * BELLOWS_SEED and BELLOWS_STEPS choose the sequence and its length.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <vmem/device.h>

#define MIB	      (1ULL << 20)
#define GIB	      (1ULL << 30)
#define MAX_BLOCKS    4096
#define DEFAULT_STEPS 3000000
#define FULL_CHECK    512 /* steps between looks at every block */

struct model {
	struct vmem_device_config config;
	bool plugged[MAX_BLOCKS];
	uint64_t nr_blocks, nr_plugged;
	uint64_t usable, requested;
	/* What the VMM is to answer next, and what it saw. */
	int fail_with;
	unsigned int nr_calls, nr_notified;
	uint64_t call_addr, call_size;
};

struct run {
	struct model model;
	struct vmem_device *dev;
	void *storage;
	uint64_t random;
};

static uint64_t draw(struct run *run, uint64_t bound)
{
	run->random ^= run->random << 13;
	run->random ^= run->random >> 7;
	run->random ^= run->random << 17;
	return run->random % bound;
}

static int vmm_call(void *opaque, uint64_t addr, uint64_t size)
{
	struct model *m = opaque;

	m->nr_calls++;
	m->call_addr = addr;
	m->call_size = size;
	return m->fail_with;
}

static void notified(void *opaque)
{
	((struct model *)opaque)->nr_notified++;
}

static const struct vmem_device_ops ops = {
	.plug = vmm_call,
	.unplug = vmm_call,
	.config_changed = notified,
};

/* ---- The rules, in the specification's order --------------------------- */

static uint64_t usable_for(const struct model *m, uint64_t requested)
{
	uint64_t slack =
		m->config.usable_slack ? m->config.usable_slack : 256 * MIB;
	uint64_t block = m->config.block_size;
	uint64_t size = (requested + slack + block - 1) / block * block;

	if (requested == 0)
		return 0;
	return size > m->config.region_size ? m->config.region_size : size;
}

static bool range_valid(const struct model *m, uint64_t addr, uint64_t nr)
{
	uint64_t block = m->config.block_size;
	uint64_t offset = addr - m->config.addr;

	return nr != 0 && addr % block == 0 && addr >= m->config.addr &&
	       offset < m->usable && nr * block <= m->usable - offset;
}

static unsigned int count(const struct model *m, uint64_t addr, uint64_t nr)
{
	uint64_t first = (addr - m->config.addr) / m->config.block_size;
	unsigned int found = 0;

	for (uint64_t i = first; i < first + nr; i++)
		found += m->plugged[i];
	return found;
}

static void set(struct model *m, uint64_t addr, uint64_t nr, bool plugged)
{
	uint64_t first = (addr - m->config.addr) / m->config.block_size;

	for (uint64_t i = first; i < first + nr; i++)
		m->plugged[i] = plugged;
	m->nr_plugged += plugged ? nr : -nr;
}

static unsigned int model_plug(struct model *m, uint64_t addr, uint64_t nr)
{
	uint64_t block = m->config.block_size;

	if (!range_valid(m, addr, nr) || count(m, addr, nr) != 0)
		return VMEM_RESP_ERROR;
	if ((m->nr_plugged + nr) * block > m->requested)
		return VMEM_RESP_NACK;
	if (m->fail_with)
		return m->fail_with == -VMEM_EBUSY ||
				       m->fail_with == -VMEM_EAGAIN
			       ? VMEM_RESP_BUSY
			       : VMEM_RESP_NACK;
	set(m, addr, nr, true);
	return VMEM_RESP_ACK;
}

static unsigned int model_unplug(struct model *m, uint64_t addr, uint64_t nr)
{
	if (!range_valid(m, addr, nr) || count(m, addr, nr) != nr)
		return VMEM_RESP_ERROR;
	if (m->fail_with)
		return VMEM_RESP_BUSY;
	set(m, addr, nr, false);
	return VMEM_RESP_ACK;
}

static unsigned int model_unplug_all(struct model *m)
{
	if (m->nr_plugged && m->fail_with)
		return VMEM_RESP_BUSY;
	memset(m->plugged, 0, sizeof(m->plugged));
	m->nr_plugged = 0;
	m->usable = usable_for(m, m->requested);
	return VMEM_RESP_ACK;
}

static unsigned int model_state(const struct model *m, uint64_t addr,
				uint64_t nr, unsigned int *state)
{
	unsigned int found;

	if (!range_valid(m, addr, nr))
		return VMEM_RESP_ERROR;
	found = count(m, addr, nr);
	*state = found == nr  ? VMEM_STATE_PLUGGED
		 : found == 0 ? VMEM_STATE_UNPLUGGED
			      : VMEM_STATE_MIXED;
	return VMEM_RESP_ACK;
}

/* ---- One step ---------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

/* Mostly near what is legal; sometimes anywhere. */
static uint64_t draw_addr(struct run *run)
{
	const struct vmem_device_config *c = &run->model.config;
	uint64_t addr =
		c->addr + draw(run, run->model.nr_blocks) * c->block_size;

	switch (draw(run, 32)) {
	case 0:
		return addr + draw(run, c->block_size);
	case 1:
		return run->random;
	case 2:
		return c->addr - c->block_size;
	case 3:
		return UINT64_MAX - c->block_size + 1;
	default:
		return addr;
	}
}

static uint16_t draw_nr(struct run *run)
{
	switch (draw(run, 16)) {
	case 0:
		return (uint16_t)run->random;
	case 1:
		return 0;
	case 2:
		return (uint16_t)(1 + draw(run, run->model.nr_blocks));
	default:
		return (uint16_t)(1 + draw(run, 70));
	}
}

static void step_request(struct run *run)
{
	static const int failures[] = {-VMEM_EBUSY, -VMEM_EAGAIN, -12, -5};
	struct model *m = &run->model;
	unsigned int type = (unsigned int)draw(run, 64);
	unsigned int expected, state = 0;
	uint64_t addr = draw_addr(run);
	uint16_t nr = draw_nr(run);
	uint8_t req[24] = {0}, resp[10] = {0};

	type = type < 28 ? 0 : type < 50 ? 1 : type < 62 ? 3 : type;
	if (type == 62)
		type = draw(run, 64) ? 3 : 2;
	m->fail_with = draw(run, 16) ? 0 : failures[draw(run, 4)];
	put(req, type, 2);
	put(req + 8, addr, 8);
	put(req + 16, nr, 2);
	assert_int_equal(vmem_device_handle_request(run->dev, req, sizeof(req),
						    resp, sizeof(resp)),
			 10);
	switch (type) {
	case VMEM_REQ_PLUG:
		expected = model_plug(m, addr, nr);
		break;
	case VMEM_REQ_UNPLUG:
		expected = model_unplug(m, addr, nr);
		break;
	case VMEM_REQ_UNPLUG_ALL:
		expected = model_unplug_all(m);
		break;
	case VMEM_REQ_STATE:
		expected = model_state(m, addr, nr, &state);
		break;
	default:
		expected = VMEM_RESP_ERROR;
		break;
	}
	assert_int_equal(resp[0] | resp[1] << 8, expected);
	if (type == VMEM_REQ_STATE && expected == VMEM_RESP_ACK)
		assert_int_equal(resp[8] | resp[9] << 8, state);
}

static void step_resize(struct run *run)
{
	struct model *m = &run->model;
	uint64_t size = draw(run, m->nr_blocks + 4) * m->config.block_size;
	unsigned int before = m->nr_notified;
	int expected = 0;

	if (draw(run, 8) == 0)
		size = 0;
	if (draw(run, 16) == 0)
		size += 1 + draw(run, m->config.block_size - 1);
	if (size % m->config.block_size)
		expected = -VMEM_EINVAL;
	else if (size > m->config.region_size)
		expected = -VMEM_ERANGE;
	assert_int_equal(vmem_device_set_requested_size(run->dev, size),
			 expected);
	assert_int_equal(m->nr_notified - before,
			 expected == 0 && size != m->requested);
	if (expected)
		return;
	m->requested = size;
	if (usable_for(m, size) > m->usable)
		m->usable = usable_for(m, size);
}

static void step_reset(struct run *run)
{
	struct model *m = &run->model;
	bool fails;

	m->fail_with = draw(run, 4) ? 0 : -5;
	fails = m->fail_with && m->nr_plugged;
	assert_int_equal(vmem_device_system_reset(run->dev), fails ? -5 : 0);
	if (!fails)
		model_unplug_all(m);
	assert_int_equal(vmem_device_accepted_features(run->dev), 0);
}

static void check_sizes(const struct run *run)
{
	const struct model *m = &run->model;
	struct vmem_config config;

	vmem_device_get_config(run->dev, &config);
	assert_int_equal(config.plugged_size,
			 m->nr_plugged * m->config.block_size);
	assert_int_equal(config.requested_size, m->requested);
	assert_int_equal(config.usable_region_size, m->usable);
}

static void check_blocks(const struct run *run)
{
	const struct model *m = &run->model;
	uint64_t block = m->config.block_size, addr = 0, size, at = 0;

	while (vmem_device_next_plugged(run->dev, &addr, &size)) {
		uint64_t first = (addr - m->config.addr) / block;

		assert_true(size > 0 && size % block == 0);
		for (; at < first; at++)
			assert_false(m->plugged[at]);
		for (; at < first + size / block; at++)
			assert_true(m->plugged[at]);
		/* Maximal: the next one, if there is one, is not plugged. */
		assert_false(at < m->nr_blocks && m->plugged[at]);
		addr += size;
	}
	for (; at < m->nr_blocks; at++)
		assert_false(m->plugged[at]);
}

/* ---- Runs -------------------------------------------------------------- */

static const struct vmem_device_config shapes[] = {
	{.addr = 4 * GIB, .region_size = 8 * GIB, .block_size = 2 * MIB},
	{.addr = 6 * GIB,
	 .region_size = 130 * MIB,
	 .block_size = 2 * MIB,
	 .usable_slack = 4 * MIB},
	{.addr = 128 * GIB,
	 .region_size = 300 * GIB,
	 .block_size = GIB,
	 .requested_size = 5 * GIB},
	{.addr = 0, .region_size = 63 * 4 * MIB, .block_size = 4 * MIB},
	{.addr = 1ULL << 51, .region_size = 4096, .block_size = 4096},
	{.addr = 2 * MIB, .region_size = 65 * 4096, .block_size = 4096},
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void start(struct run *run, const struct vmem_device_config *config)
{
	struct model *m = &run->model;
	size_t size = vmem_device_storage_size(config);

	memset(m, 0, sizeof(*m));
	m->config = *config;
	m->nr_blocks = config->region_size / config->block_size;
	m->requested = config->requested_size;
	m->usable = usable_for(m, m->requested);
	assert_true(m->nr_blocks <= MAX_BLOCKS);
	run->storage = malloc(size);
	run->dev = vmem_device_init(run->storage, size, config, &ops, m);
	assert_non_null(run->dev);
}

static uint64_t environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void random_sequences(void **state)
{
	uint64_t steps = environment("BELLOWS_STEPS", DEFAULT_STEPS);
	uint64_t seed = environment("BELLOWS_SEED", (uint64_t)time(NULL));
	double began = seconds();

	print_message("again: BELLOWS_SEED=%llu BELLOWS_STEPS=%llu\n",
		      (unsigned long long)seed, (unsigned long long)steps);
	for (size_t shape = 0; shape < NR_SHAPES; shape++) {
		struct run *run = calloc(1, sizeof(*run));

		run->random = seed * 0x9e3779b97f4a7c15ULL + shape + 1;
		start(run, &shapes[shape]);
		for (uint64_t i = 0; i < steps / NR_SHAPES; i++) {
			uint64_t what = draw(run, 256);

			if (what == 0)
				step_resize(run);
			else if (what == 1 && draw(run, 16) == 0)
				step_reset(run);
			else
				step_request(run);
			check_sizes(run);
			if (i % FULL_CHECK == 0)
				check_blocks(run);
		}
		check_blocks(run);
		free(run->storage);
		free(run);
	}
	print_message("%.1f million steps a second\n",
		      (double)steps / (seconds() - began) / 1e6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
