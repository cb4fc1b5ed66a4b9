// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device against device_model.h: random requests of all kinds, right and
 * wrong, resizes and resets, with a VMM that fails at random and at random
 * calls back as device.h allows. After each step both must say the same, and
 * the VMM must have heard exactly what it should.
 *
 * BELLOWS_SEED and BELLOWS_STEPS choose the sequences and their length.
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

#include "device_model.h"

#define MIB	      (1ULL << 20)
#define GIB	      (1ULL << 30)
#define TIB	      (1ULL << 40)
#define DEFAULT_STEPS 12000000
#define UNTOUCHED     0xee

/* Long and short, with and without slack, at both ends of the address space;
 * in numbers of blocks beside the bitmap's words. */
static const struct vmem_device_config shapes[] = {
	{.addr = 4 * GIB, .region_size = 8 * GIB, .block_size = 2 * MIB},
	{.addr = 6 * GIB,
	 .region_size = 130 * MIB,
	 .block_size = 2 * MIB,
	 .usable_slack = 4 * MIB,
	 .has_node = true,
	 .node_id = 0xabcd},
	{.addr = 128 * GIB,
	 .region_size = 300 * GIB,
	 .block_size = GIB,
	 .requested_size = 5 * GIB,
	 .node_id = 7},
	{.addr = 0,
	 .region_size = 63 * 4 * MIB,
	 .block_size = 4 * MIB,
	 .usable_slack = 9 * MIB,
	 .persistent_suspend = true,
	 .require_unplugged_inaccessible = true},
	{.addr = 1ULL << 51, .region_size = 4096, .block_size = 4096},
	{.addr = UINT64_MAX - 66 * 4096 + 1,
	 .region_size = 65 * 4096,
	 .block_size = 4096,
	 .usable_slack = 1},
	{.addr = UINT64_MAX - 192,
	 .region_size = 192,
	 .block_size = 1,
	 .usable_slack = 3,
	 .has_node = true,
	 .require_unplugged_inaccessible = true},
	{.addr = TIB, .region_size = TIB, .block_size = 2 * MIB},
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct run {
	struct model model;
	struct vmem_device *dev;
	void *storage;
	uint64_t random;
	bool done;
	/* What repeats it, and where it stands. */
	uint64_t seed, steps, step;
	size_t shape;
	/* The VMM: what it is to say, and what it heard in this step. */
	int says;
	bool meddles, plugs;
	unsigned int nr_calls, nr_blames;
	uint64_t addr, size;
	struct vmem_request blamed;
	unsigned int nr_notified, nr_due; /* in this run */
};

static uint64_t draw(struct run *run, uint64_t bound)
{
	run->random ^= run->random << 13;
	run->random ^= run->random >> 7;
	run->random ^= run->random << 17;
	return run->random % bound;
}

static bool one_in(struct run *run, unsigned int n)
{
	return draw(run, n) == 0;
}

/* ---- Without the guest ------------------------------------------------- */

static void step_resize(struct run *run)
{
	struct model *m = &run->model;
	uint64_t before = m->requested;
	uint64_t size = draw(run, m->nr_blocks + 4) * m->config.block_size;
	int expected;

	if (one_in(run, 8))
		size = 0;
	else if (one_in(run, 8))
		size = m->config.region_size;
	if (one_in(run, 16))
		size += draw(run, m->config.block_size);
	expected = model_resize(m, size);
	run->nr_due += m->requested != before;
	assert_int_equal(vmem_device_set_requested_size(run->dev, size),
			 expected);
}

static void step_features(struct run *run)
{
	struct model *m = &run->model;
	uint64_t features = draw(run, 8);

	if (one_in(run, 8))
		features = 1ULL << draw(run, 64);
	if (one_in(run, 4)) {
		vmem_device_reset(run->dev);
		m->accepted = 0;
	}
	assert_int_equal(vmem_device_features(run->dev), model_features(m));
	assert_int_equal(vmem_device_accept_features(run->dev, features),
			 model_accept(m, features));
}

static void step_config_read(struct run *run)
{
	uint8_t space[56], expected[40], bytes[40];
	size_t offset = (size_t)draw(run, 64), len = (size_t)draw(run, 33);

	if (one_in(run, 64))
		offset = SIZE_MAX - offset;
	model_config_space(&run->model, space);
	memset(expected, UNTOUCHED, sizeof(expected));
	memset(bytes, UNTOUCHED, sizeof(bytes));
	for (size_t i = 0; i < len; i++)
		expected[i] = offset < sizeof(space) - i && i < sizeof(space)
				      ? space[offset + i]
				      : 0;
	vmem_device_config_read(run->dev, offset, len ? bytes : NULL, len);
	assert_memory_equal(bytes, expected, sizeof(bytes));
}

/* Near the region, or anywhere. */
static uint64_t draw_byte(struct run *run)
{
	const struct vmem_device_config *c = &run->model.config;

	if (one_in(run, 16))
		return draw(run, UINT64_MAX);
	return c->addr - c->block_size +
	       draw(run, c->region_size + 2 * c->block_size);
}

static void step_look(struct run *run)
{
	const struct model *m = &run->model;
	uint64_t addr = draw_byte(run), from = addr, size = 0;
	uint64_t expected_addr = addr, expected_size = 0;
	bool inside = addr >= m->config.addr &&
		      addr - m->config.addr < m->config.region_size;

	assert_int_equal(vmem_device_is_plugged(run->dev, addr),
			 inside && m->plugged[model_block_of(m, addr)]);
	assert_int_equal(vmem_device_next_plugged(run->dev, &from, &size),
			 model_next_plugged(m, &expected_addr, &expected_size));
	assert_int_equal(from, expected_addr);
	assert_int_equal(size, expected_size);
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
	assert_int_equal(vmem_device_accepted_features(run->dev), m->accepted);
	assert_int_equal(run->nr_notified, run->nr_due);
}

/* All runs, each maximal and where the model has it. */
static void check_blocks(const struct run *run)
{
	uint64_t addr = 0, size = 0, model_addr = 0, model_size = 0;
	bool more;

	do {
		more = model_next_plugged(&run->model, &model_addr,
					  &model_size);
		assert_int_equal(
			vmem_device_next_plugged(run->dev, &addr, &size), more);
		assert_int_equal(addr, model_addr);
		assert_int_equal(size, model_size);
		addr += size;
		model_addr += model_size;
	} while (more);
}

/* ---- The VMM ----------------------------------------------------------- */

/* What other threads may do while the VMM plugs and unplugs. */
static void meddle(struct run *run)
{
	for (uint64_t nr = draw(run, 3); nr > 0; nr--)
		step_resize(run);
	if (one_in(run, 2))
		step_features(run);
	step_config_read(run);
	step_look(run);
	check_sizes(run);
}

static int heard(struct run *run, bool plugs, uint64_t addr, uint64_t size)
{
	run->nr_calls++;
	run->plugs = plugs;
	run->addr = addr;
	run->size = size;
	if (run->meddles)
		meddle(run);
	return run->says;
}

static int vmm_plug(void *opaque, uint64_t addr, uint64_t size)
{
	return heard(opaque, true, addr, size);
}

static int vmm_unplug(void *opaque, uint64_t addr, uint64_t size)
{
	return heard(opaque, false, addr, size);
}

static void vmm_notified(void *opaque)
{
	((struct run *)opaque)->nr_notified++;
}

static void vmm_blames(void *opaque, enum vmem_guest_error error,
		       const struct vmem_request *req)
{
	struct run *run = opaque;

	run->nr_blames++;
	if (req)
		run->blamed = *req;
}

static const struct vmem_device_ops ops = {
	.plug = vmm_plug,
	.unplug = vmm_unplug,
	.config_changed = vmm_notified,
	.guest_error = vmm_blames,
};

static void prepare_vmm(struct run *run)
{
	static const int failures[] = {-VMEM_EBUSY, -VMEM_EAGAIN, -12, -5};

	run->says = one_in(run, 16) ? failures[draw(run, 4)] : 0;
	run->meddles = one_in(run, 64);
	run->nr_calls = 0;
	run->nr_blames = 0;
	memset(&run->blamed, 0, sizeof(run->blamed));
}

/* Everything that is plugged, and nothing outside the region. nr_plugged is
 * that of before. */
static void check_covers_all(const struct run *run, uint64_t nr_plugged)
{
	const struct model *m = &run->model;
	uint64_t block = m->config.block_size;

	assert_false(run->plugs);
	assert_true(run->addr >= m->config.addr && run->addr % block == 0);
	assert_true(run->size % block == 0);
	assert_true(run->size <=
		    m->config.region_size - (run->addr - m->config.addr));
	assert_int_equal(model_count(m, run->addr, run->size / block),
			 nr_plugged);
}

static void step_reset(struct run *run)
{
	struct model *m = &run->model;
	bool asks = m->nr_plugged != 0;
	int ret;

	prepare_vmm(run);
	run->says = one_in(run, 4) ? -5 : 0;
	run->meddles = one_in(run, 4);
	m->accepted = 0;
	ret = vmem_device_system_reset(run->dev);
	assert_int_equal(ret, asks ? run->says : 0);
	assert_int_equal(run->nr_calls, asks);
	if (asks)
		check_covers_all(run, m->nr_plugged);
	if (ret == 0)
		run->nr_due += model_unplug_all(m);
}

/* ---- The guest --------------------------------------------------------- */

static uint64_t draw_length(struct run *run)
{
	switch (draw(run, 64)) {
	case 0:
		return 1 + draw(run, 65535);
	case 1:
	case 2:
		return 1 + draw(run, 300);
	default:
		return 1 + draw(run, one_in(run, 4) ? 70 : 4);
	}
}

/*
 * What a driver would ask: to unplug what is plugged, to plug what is not and
 * still may be, or what there is; as far as the blocks are of one kind. Now and
 * then one block too many.
 */
static struct vmem_request draw_sensible(struct run *run)
{
	const struct model *m = &run->model;
	uint64_t block = m->config.block_size, usable = m->usable / block;
	uint64_t first = draw(run, usable), wanted = draw_length(run), nr = 1;
	uint64_t plugged_size = m->nr_plugged * block;
	bool plugged = m->plugged[first];

	if (!plugged && plugged_size < m->requested && !one_in(run, 8)) {
		uint64_t left = (m->requested - plugged_size) / block;

		wanted = wanted < left ? wanted : left;
	}
	while (nr < wanted && first + nr < usable &&
	       m->plugged[first + nr] == plugged)
		nr++;
	nr += one_in(run, 32);
	return (struct vmem_request){
		.type = one_in(run, 8) ? VMEM_REQ_STATE
			: plugged      ? VMEM_REQ_UNPLUG
				       : VMEM_REQ_PLUG,
		.addr = m->config.addr + first * block,
		.nr_blocks = (uint16_t)nr,
	};
}

static uint64_t draw_wild_addr(struct run *run)
{
	const struct vmem_device_config *c = &run->model.config;

	switch (draw(run, 8)) {
	case 0:
		return draw_byte(run);
	case 1:
		return c->addr - c->block_size;
	case 2:
		return UINT64_MAX - c->block_size + 1;
	case 3:
		return c->addr + run->model.usable;
	case 4:
		return c->addr + c->region_size;
	default:
		return c->addr +
		       draw(run, run->model.nr_blocks) * c->block_size;
	}
}

static struct vmem_request draw_request(struct run *run)
{
	struct vmem_request req;

	if (run->model.usable != 0 && !one_in(run, 4))
		return draw_sensible(run);
	memset(&req, 0, sizeof(req));
	req.type = (uint16_t)draw(run, 4);
	if (req.type == VMEM_REQ_UNPLUG_ALL && !one_in(run, 64))
		req.type = VMEM_REQ_STATE;
	if (one_in(run, 32))
		req.type = (uint16_t)draw(run, 65536);
	req.addr = draw_wild_addr(run);
	if (!one_in(run, 8))
		req.nr_blocks = (uint16_t)draw_length(run);
	return req;
}

/* On the wire; the padding, and what follows, are whatever they are. */
static void encode(struct run *run, uint8_t *bytes, size_t len,
		   const struct vmem_request *req)
{
	for (size_t i = 0; i + 8 <= len; i += 8)
		model_put(bytes + i, draw(run, UINT64_MAX), 8);
	model_put(bytes, req->type, 2);
	model_put(bytes + 8, req->addr, 8);
	model_put(bytes + 16, req->nr_blocks, 2);
}

static void check_calls(const struct run *run, const struct vmem_request *req,
			const struct verdict *verdict)
{
	const struct model *m = &run->model;

	assert_int_equal(run->nr_calls, verdict->asks_vmm);
	if (verdict->asks_vmm && req->type == VMEM_REQ_UNPLUG_ALL) {
		check_covers_all(run, m->nr_plugged);
	} else if (verdict->asks_vmm) {
		assert_int_equal(run->plugs, req->type == VMEM_REQ_PLUG);
		assert_int_equal(run->addr, req->addr);
		assert_int_equal(run->size,
				 req->nr_blocks * m->config.block_size);
	}
	assert_int_equal(run->nr_blames, verdict->blames_guest);
	if (verdict->blames_guest) {
		assert_int_equal(run->blamed.type, req->type);
		assert_int_equal(run->blamed.addr, req->addr);
		assert_int_equal(run->blamed.nr_blocks, req->nr_blocks);
	}
}

static void step_request(struct run *run)
{
	struct vmem_request req = draw_request(run);
	uint8_t bytes[40], resp[16], expected[16];
	size_t extra = one_in(run, 16) ? 16 : 0;
	struct verdict verdict;

	encode(run, bytes, sizeof(bytes), &req);
	prepare_vmm(run);
	verdict = model_judge(&run->model, &req, run->says);
	memset(resp, UNTOUCHED, sizeof(resp));
	memset(expected, UNTOUCHED, sizeof(expected));
	memset(expected, 0, 10);
	model_put(expected, verdict.type, 2);
	model_put(expected + 8, verdict.state, 2);
	assert_int_equal(vmem_device_handle_request(run->dev, bytes, 24 + extra,
						    resp, extra ? 16 : 10),
			 10);
	if (memcmp(resp, expected, sizeof(resp)) != 0)
		assert_memory_equal(resp, expected, sizeof(resp));
	check_calls(run, &req, &verdict);
	model_apply(&run->model, &req, &verdict);
}

/* One buffer or both too short: blamed, and nothing more. */
static void step_short(struct run *run)
{
	struct vmem_request req = draw_request(run);
	size_t req_len = 24, resp_len = 10;
	uint8_t bytes[24], resp[10], untouched[10];

	encode(run, bytes, sizeof(bytes), &req);
	if (one_in(run, 2))
		req_len = (size_t)draw(run, 24);
	else
		resp_len = (size_t)draw(run, 10);
	prepare_vmm(run);
	memset(resp, UNTOUCHED, sizeof(resp));
	memset(untouched, UNTOUCHED, sizeof(untouched));
	assert_int_equal(vmem_device_handle_request(run->dev, bytes, req_len,
						    resp, resp_len),
			 -VMEM_EINVAL);
	assert_memory_equal(resp, untouched, sizeof(resp));
	assert_int_equal(run->nr_calls, 0);
	assert_int_equal(run->nr_blames, 1);
}

/* ---- Runs -------------------------------------------------------------- */

static void step(struct run *run)
{
	uint64_t what = draw(run, 1024);

	if (what < 4)
		step_resize(run);
	else if (what < 8)
		step_features(run);
	else if (what < 16)
		step_config_read(run);
	else if (what < 32)
		step_look(run);
	else if (what < 36)
		step_short(run);
	else if (what == 36 && one_in(run, 4))
		step_reset(run);
	else
		step_request(run);
	check_sizes(run);
}

static void run_shape(struct run *run)
{
	const struct vmem_device_config *config = &shapes[run->shape];
	size_t size = vmem_device_storage_size(config);
	uint64_t interval;

	run->random = (run->seed + run->shape) * UINT64_C(0x9e3779b97f4a7c15);
	run->random |= 1;
	run->nr_notified = 0;
	run->nr_due = 0;
	model_init(&run->model, config);
	run->storage = malloc(size);
	run->dev = vmem_device_init(run->storage, size, config, &ops, run);
	assert_non_null(run->dev);
	/* Few enough looks at all blocks that they cost as much as the rest. */
	interval = 256 + run->model.nr_blocks / 4;
	for (run->step = 0; run->step < run->steps / NR_SHAPES; run->step++) {
		step(run);
		if (run->step % interval == 0)
			check_blocks(run);
	}
	check_blocks(run);
	free(run->storage);
	model_finish(&run->model);
	run->storage = NULL;
	run->model.plugged = NULL;
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
	struct run *run = *state;
	double began = seconds();

	print_message("seed %llu, %llu steps\n", (unsigned long long)run->seed,
		      (unsigned long long)run->steps);
	for (run->shape = 0; run->shape < NR_SHAPES; run->shape++)
		run_shape(run);
	run->done = true;
	print_message("%.1f million steps a second\n",
		      (double)run->steps / (seconds() - began) / 1e6);
}

static int setup(void **state)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		return -1;
	run->seed = environment("BELLOWS_SEED", (uint64_t)time(NULL));
	run->steps = environment("BELLOWS_STEPS", DEFAULT_STEPS);
	*state = run;
	return 0;
}

/* A failed assertion ends the test where it stands. */
static int teardown(void **state)
{
	struct run *run = *state;

	if (!run->done)
		print_message("shape %zu, step %llu; again:\n"
			      "BELLOWS_SEED=%llu BELLOWS_STEPS=%llu"
			      " ./dev test unit/device_model\n",
			      run->shape, (unsigned long long)run->step,
			      (unsigned long long)run->seed,
			      (unsigned long long)run->steps);
	free(run->storage);
	model_finish(&run->model);
	free(run);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_sequences, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
