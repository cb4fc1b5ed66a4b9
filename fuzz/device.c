// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device of virtio-mem against its naive model (tests/unit): any config,
 * then any sequence of requests, resizes, resets and looks, with a VMM that
 * fails as the input says. Both must answer the same after each step, and the
 * VMM must be asked for exactly the blocks it should.
 */
#include "fuzz.h"

#include "../tests/unit/device_model.h"

#define MIB	   (1ULL << 20)
#define MAX_BLOCKS 4096

/* Chosen by the first byte; beyond them the input spells a config out. */
static const struct vmem_device_config shapes[] = {
	{.addr = 4096 * MIB, .region_size = 256 * MIB, .block_size = 2 * MIB},
	{.addr = 4096 * MIB,
	 .region_size = 130 * MIB,
	 .block_size = 2 * MIB,
	 .usable_slack = 4 * MIB,
	 .has_node = true,
	 .node_id = 3},
	{.addr = 0,
	 .region_size = 65 * 4096,
	 .block_size = 4096,
	 .usable_slack = 1,
	 .persistent_suspend = true,
	 .require_unplugged_inaccessible = true},
	{.addr = UINT64_MAX - 192, .region_size = 192, .block_size = 1},
};
#define NR_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

enum {
	REQUEST,
	RESIZE,
	RESET,
	SYSTEM_RESET,
	FEATURES,
	LOOK,
	NR_STEPS
};

struct run {
	struct model model;
	struct vmem_device *dev;
	struct fuzz_input in;
	int says;
	unsigned int nr_calls, nr_blames, nr_notified;
	bool plugs;
	uint64_t addr, size;
};

static int asked(struct run *run, bool plugs, uint64_t addr, uint64_t size)
{
	run->nr_calls++;
	run->plugs = plugs;
	run->addr = addr;
	run->size = size;
	return run->says;
}

static int op_plug(void *opaque, uint64_t addr, uint64_t size)
{
	return asked(opaque, true, addr, size);
}

static int op_unplug(void *opaque, uint64_t addr, uint64_t size)
{
	return asked(opaque, false, addr, size);
}

static void op_changed(void *opaque)
{
	((struct run *)opaque)->nr_notified++;
}

static void op_blames(void *opaque, enum vmem_guest_error error,
		      const struct vmem_request *req)
{
	((struct run *)opaque)->nr_blames++;
	FUZZ_CHECK(error < VMEM_NR_GUEST_ERRORS);
}

static const struct vmem_device_ops ops = {
	.plug = op_plug,
	.unplug = op_unplug,
	.config_changed = op_changed,
	.guest_error = op_blames,
};

/* All of what is plugged, and only whole blocks of the region. */
static void check_covers_all(const struct run *run, uint64_t nr_plugged)
{
	const struct vmem_device_config *c = &run->model.config;

	FUZZ_CHECK(!run->plugs && run->addr >= c->addr);
	FUZZ_CHECK(run->addr % c->block_size == 0);
	FUZZ_CHECK(run->size % c->block_size == 0);
	FUZZ_CHECK(run->size <= c->region_size - (run->addr - c->addr));
	FUZZ_CHECK(model_count(&run->model, run->addr,
			       run->size / c->block_size) == nr_plugged);
}

static void step_request(struct run *run)
{
	static const int answers[] = {0, -VMEM_EBUSY, -VMEM_EAGAIN, -12};
	uint8_t what = (uint8_t)fuzz_take(&run->in, 1), bytes[24] = {0};
	struct vmem_request req = {.type = what & 3};
	uint8_t resp[10], expected[10] = {0};
	struct verdict v;

	/* Blocks near the region, or anything. */
	if (what & 4) {
		req.type = (uint16_t)fuzz_take(&run->in, 2);
		req.addr = fuzz_take(&run->in, 8);
	} else {
		req.addr =
			run->model.config.addr +
			fuzz_take(&run->in, 2) * run->model.config.block_size;
	}
	req.nr_blocks = (uint16_t)fuzz_take(&run->in, what & 8 ? 2 : 1);
	run->says = answers[what >> 4 & 3];
	model_put(bytes, req.type, 2);
	model_put(bytes + 8, req.addr, 8);
	model_put(bytes + 16, req.nr_blocks, 2);
	if (what >> 6 == 3) {
		/* Too short a buffer: nothing happens. */
		FUZZ_CHECK(vmem_device_handle_request(run->dev, bytes, 23, resp,
						      10) == -VMEM_EINVAL);
		FUZZ_CHECK(run->nr_blames == 1 && run->nr_calls == 0);
		return;
	}
	v = model_judge(&run->model, &req, run->says);
	model_put(expected, v.type, 2);
	model_put(expected + 8, v.state, 2);
	FUZZ_CHECK(vmem_device_handle_request(run->dev, bytes, 24, resp, 10) ==
		   10);
	FUZZ_CHECK(!memcmp(resp, expected, 10));
	FUZZ_CHECK(run->nr_calls == v.asks_vmm);
	FUZZ_CHECK(run->nr_blames == v.blames_guest);
	if (v.asks_vmm && req.type == VMEM_REQ_UNPLUG_ALL)
		check_covers_all(run, run->model.nr_plugged);
	else if (v.asks_vmm)
		FUZZ_CHECK(run->plugs == (req.type == VMEM_REQ_PLUG) &&
			   run->addr == req.addr &&
			   run->size == req.nr_blocks *
						run->model.config.block_size);
	model_apply(&run->model, &req, &v);
}

static void step_resize(struct run *run)
{
	struct model *m = &run->model;
	uint64_t before = m->requested, size = fuzz_take(&run->in, 2);

	size = size == 0xffff ? fuzz_take(&run->in, 8)
			      : size * m->config.block_size;
	FUZZ_CHECK(vmem_device_set_requested_size(run->dev, size) ==
		   model_resize(m, size));
	FUZZ_CHECK(run->nr_notified == (m->requested != before));
}

static void step_system_reset(struct run *run)
{
	struct model *m = &run->model;
	bool asks = m->nr_plugged != 0;
	int ret;

	run->says = fuzz_take(&run->in, 1) & 1 ? -5 : 0;
	ret = vmem_device_system_reset(run->dev);
	m->accepted = 0;
	FUZZ_CHECK(ret == (asks ? run->says : 0));
	FUZZ_CHECK(run->nr_calls == asks);
	if (asks)
		check_covers_all(run, m->nr_plugged);
	if (ret == 0)
		FUZZ_CHECK(run->nr_notified == model_unplug_all(m));
}

static void step_features(struct run *run)
{
	uint8_t what = (uint8_t)fuzz_take(&run->in, 1);
	uint64_t features = what & 0x80 ? 1ULL << (what & 63) : what & 7;

	FUZZ_CHECK(vmem_device_features(run->dev) ==
		   model_features(&run->model));
	FUZZ_CHECK(vmem_device_accept_features(run->dev, features) ==
		   model_accept(&run->model, features));
}

static void step_look(struct run *run)
{
	const struct model *m = &run->model;
	uint64_t block = fuzz_take(&run->in, 2);
	uint64_t addr = m->config.addr + block * m->config.block_size +
			fuzz_take(&run->in, 1);
	uint64_t from = addr, size = 0, model_from = addr, model_size = 0;
	uint8_t space[56], bytes[8];
	size_t offset = (size_t)fuzz_take(&run->in, 1) % 49;

	if (addr >= m->config.addr) {
		bool inside = addr - m->config.addr < m->config.region_size;

		FUZZ_CHECK(vmem_device_is_plugged(run->dev, addr) ==
			   (inside && m->plugged[model_block_of(m, addr)]));
	}
	FUZZ_CHECK(vmem_device_next_plugged(run->dev, &from, &size) ==
		   model_next_plugged(m, &model_from, &model_size));
	FUZZ_CHECK(from == model_from && size == model_size);
	model_config_space(m, space);
	vmem_device_config_read(run->dev, offset, bytes, sizeof(bytes));
	FUZZ_CHECK(!memcmp(bytes, space + offset, sizeof(bytes)));
}

static void check_sizes(const struct run *run)
{
	const struct model *m = &run->model;
	struct vmem_config config;

	vmem_device_get_config(run->dev, &config);
	FUZZ_CHECK(config.plugged_size == m->nr_plugged * m->config.block_size);
	FUZZ_CHECK(config.requested_size == m->requested);
	FUZZ_CHECK(config.usable_region_size == m->usable);
	FUZZ_CHECK(config.usable_region_size <= config.region_size);
	FUZZ_CHECK(vmem_device_accepted_features(run->dev) == m->accepted);
}

static void step(struct run *run)
{
	run->nr_calls = run->nr_blames = run->nr_notified = 0;
	run->says = 0;
	switch (fuzz_take(&run->in, 1) % NR_STEPS) {
	case REQUEST:
		step_request(run);
		break;
	case RESIZE:
		step_resize(run);
		break;
	case RESET:
		vmem_device_reset(run->dev);
		run->model.accepted = 0;
		break;
	case SYSTEM_RESET:
		step_system_reset(run);
		break;
	case FEATURES:
		step_features(run);
		break;
	default:
		step_look(run);
		break;
	}
	check_sizes(run);
}

static struct vmem_device_config take_config(struct fuzz_input *in)
{
	uint8_t shape = (uint8_t)fuzz_take(in, 1);

	if (shape < NR_SHAPES)
		return shapes[shape];
	return (struct vmem_device_config){
		.addr = fuzz_take(in, 8),
		.region_size = fuzz_take(in, 8),
		.block_size = fuzz_take(in, 8),
		.requested_size = fuzz_take(in, 8),
		.usable_slack = fuzz_take(in, 8),
		.has_node = shape & 1,
		.node_id = (uint16_t)fuzz_take(in, 2),
		.require_unplugged_inaccessible = shape & 2,
		.persistent_suspend = shape & 4,
	};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = {.in = {data, size}};
	struct vmem_device_config config = take_config(&run.in);
	size_t storage_size = vmem_device_storage_size(&config);
	void *storage;

	FUZZ_CHECK((storage_size == 0) ==
		   (vmem_device_config_error(&config) != NULL));
	if (!config.block_size)
		config.block_size = 2 * MIB;
	if (!storage_size ||
	    config.region_size / config.block_size > MAX_BLOCKS)
		return 0;
	storage = malloc(storage_size);
	FUZZ_CHECK(storage);
	FUZZ_CHECK(!vmem_device_init(storage, storage_size - 1, &config, &ops,
				     &run));
	run.dev = vmem_device_init(storage, storage_size, &config, &ops, &run);
	FUZZ_CHECK(run.dev);
	model_init(&run.model, &config);
	while (run.in.left)
		step(&run);
	model_finish(&run.model);
	free(storage);
	return 0;
}

/* Plug, ask and unplug in each shape. */
static void put_request(struct fuzz_seed *s, unsigned int type, uint64_t block,
			unsigned int nr)
{
	fuzz_put(s, REQUEST, 1);
	fuzz_put(s, type, 1);
	fuzz_put(s, block, 2);
	fuzz_put(s, nr, 1);
}

size_t fuzz_seed(unsigned int nr, uint8_t *seed)
{
	struct fuzz_seed s = {.at = seed};

	if (nr > NR_SHAPES + 1)
		return 0;
	fuzz_put(&s, nr, 1);
	if (nr >= NR_SHAPES) {
		fuzz_put(&s, 1ULL << 32, 8);
		fuzz_put(&s, 64 * MIB, 8);
		fuzz_put(&s, MIB, 8);
		fuzz_put(&s, 8 * MIB, 8);
		/* The second: a sum with it would wrap. */
		fuzz_put(&s, nr == NR_SHAPES ? MIB : UINT64_MAX, 8);
		fuzz_put(&s, 1, 2);
	}
	fuzz_put(&s, FEATURES, 1);
	fuzz_put(&s, 2, 1);
	fuzz_put(&s, RESIZE, 1);
	fuzz_put(&s, 32, 2);
	put_request(&s, VMEM_REQ_PLUG, 2, 20);
	put_request(&s, VMEM_REQ_PLUG, 30, 3);
	put_request(&s, VMEM_REQ_STATE, 0, 31);
	put_request(&s, VMEM_REQ_UNPLUG, 4, 9);
	fuzz_put(&s, LOOK, 1);
	fuzz_put(&s, 3, 4);
	put_request(&s, VMEM_REQ_UNPLUG_ALL, 0, 0);
	put_request(&s, VMEM_REQ_PLUG, 0, 32);
	fuzz_put(&s, SYSTEM_RESET, 1);
	fuzz_put(&s, 1, 1);
	fuzz_put(&s, SYSTEM_RESET, 1);
	fuzz_put(&s, 0, 1);
	fuzz_put(&s, RESET, 1);
	return s.len;
}
