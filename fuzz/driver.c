// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fuzz target: the driver core against a hostile device and a whimsical OS.
 * The device answers whatever the input says, in any order, or not at all; its
 * configuration changes at any time. What vmem/driver.h promises "against any
 * device" must hold: who uses a block, and what the device is asked for.
 */
#include <stdbool.h>
#include <vmem/driver.h>

#include "fuzz.h"

#define MIB	    (1ULL << 20)
#define REGION	    (4096 * MIB)
#define MAX_BLOCKS  256
#define MAX_PENDING VMEM_DRIVER_MAX_DEPTH
#define MAX_LATE    64

enum {
	RUN,
	RESPOND,
	RECONFIGURE,
	FINISH_LATE,
	RESET,
	READY,
	DRAIN,
	ALL_OFF,
	NR_STEPS
};
enum late_kind {
	ADD,
	TAKE,
	UNIT_ADD,
	UNIT_REMOVE
};

struct late {
	enum late_kind kind;
	uint64_t addr, size;
};

struct run {
	struct fuzz_input in;
	struct vmem_driver *drv;
	struct vmem_config space;
	uint64_t usable_read, requested_read; /* as the driver read them last */
	uint64_t now;
	bool broken, stopped;

	/* By block: the OS may touch it; the device said that it is plugged. */
	bool used[MAX_BLOCKS], plugged[MAX_BLOCKS];

	unsigned int nr_pending;
	struct {
		unsigned int tag;
		struct vmem_request req;
	} pending[MAX_PENDING];
	unsigned int nr_late;
	struct late late[MAX_LATE];
};

static uint64_t get(const uint8_t *from, unsigned int nr)
{
	uint64_t value = 0;

	while (nr-- > 0)
		value = value << 8 | from[nr];
	return value;
}

static void put(uint8_t *to, uint64_t value, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

/* The first block of a range that must lie in the region. */
static uint64_t block_at(const struct run *run, uint64_t addr, uint64_t size)
{
	FUZZ_CHECK(addr >= REGION && addr - REGION < run->space.region_size);
	FUZZ_CHECK(size > 0 &&
		   size <= run->space.region_size - (addr - REGION));
	FUZZ_CHECK(addr % run->space.block_size == 0);
	FUZZ_CHECK(size % run->space.block_size == 0);
	return (addr - REGION) / run->space.block_size;
}

static void set(struct run *run, bool *map, const struct late *range, bool on)
{
	uint64_t first = block_at(run, range->addr, range->size);

	for (uint64_t i = 0; i < range->size / run->space.block_size; i++)
		map[first + i] = on;
}

static bool any(const struct run *run, const bool *map,
		const struct late *range)
{
	uint64_t first = block_at(run, range->addr, range->size);

	for (uint64_t i = 0; i < range->size / run->space.block_size; i++) {
		if (map[first + i])
			return true;
	}
	return false;
}

/* ---- The device -------------------------------------------------------- */

static void check_request(struct run *run, const struct vmem_request *req)
{
	struct late range = {
		.addr = req->addr,
		.size = req->nr_blocks * run->space.block_size,
	};

	FUZZ_CHECK(req->type <= VMEM_REQ_STATE);
	if (req->type == VMEM_REQ_UNPLUG_ALL) {
		for (unsigned int i = 0; i < MAX_BLOCKS; i++)
			FUZZ_CHECK(!run->used[i]);
		memset(run->plugged, 0, sizeof(run->plugged));
		return;
	}
	block_at(run, range.addr, range.size);
	FUZZ_CHECK(range.addr - REGION + range.size <= run->usable_read);
	if (req->type == VMEM_REQ_STATE)
		return;
	FUZZ_CHECK(!any(run, run->used, &range));
	if (req->type == VMEM_REQ_UNPLUG)
		set(run, run->plugged, &range, false);
}

/* No more than requested_size, with what is under way. */
static void check_size(const struct run *run)
{
	uint64_t blocks = 0;

	for (unsigned int i = 0; i < MAX_BLOCKS; i++)
		blocks += run->plugged[i];
	for (unsigned int i = 0; i < run->nr_pending; i++) {
		if (run->pending[i].req.type == VMEM_REQ_PLUG)
			blocks += run->pending[i].req.nr_blocks;
	}
	FUZZ_CHECK(blocks * run->space.block_size <= run->requested_read);
}

static int op_submit(void *opaque, unsigned int tag, const void *bytes,
		     size_t len)
{
	struct run *run = opaque;
	struct vmem_request req = {.type = (uint16_t)get(bytes, 2)};

	req.addr = get((const uint8_t *)bytes + 8, 8);
	req.nr_blocks = (uint16_t)get((const uint8_t *)bytes + 16, 2);
	FUZZ_CHECK(len == 24 && tag < VMEM_DRIVER_MAX_DEPTH);
	FUZZ_CHECK(!run->broken && !run->stopped);
	for (unsigned int i = 0; i < run->nr_pending; i++)
		FUZZ_CHECK(run->pending[i].tag != tag);
	if (run->nr_pending == MAX_PENDING ||
	    (fuzz_take(&run->in, 1) & 15) == 15)
		return -VMEM_EAGAIN;
	check_request(run, &req);
	run->pending[run->nr_pending].tag = tag;
	run->pending[run->nr_pending++].req = req;
	if (req.type == VMEM_REQ_PLUG)
		check_size(run);
	return 0;
}

static void op_read_config(void *opaque, size_t offset, void *buf, size_t len)
{
	struct run *run = opaque;
	const struct vmem_config *c = &run->space;
	uint8_t bytes[56] = {0};

	put(bytes, c->block_size, 8);
	put(bytes + 16, c->addr, 8);
	put(bytes + 24, c->region_size, 8);
	put(bytes + 32, c->usable_region_size, 8);
	put(bytes + 40, c->plugged_size, 8);
	put(bytes + 48, c->requested_size, 8);
	FUZZ_CHECK(offset <= sizeof(bytes) && len <= sizeof(bytes) - offset);
	memcpy(buf, bytes + offset, len);
	run->usable_read = c->usable_region_size;
	run->requested_read = c->requested_size;
}

static void step_respond(struct run *run)
{
	uint8_t what = (uint8_t)fuzz_take(&run->in, 1), bytes[10] = {0};
	unsigned int type = what & 3, state = what >> 2 & 3, tag, at;
	struct vmem_request req;
	struct late range;

	if (what & 0x80) {
		/* An answer to nothing, or a wild one. */
		type = (unsigned int)fuzz_take(&run->in, 2);
		state = (unsigned int)fuzz_take(&run->in, 2);
	}
	if (!run->nr_pending) {
		/* One that broke forgets nothing, and listens to nothing. */
		FUZZ_CHECK(run->broken ||
			   vmem_driver_response(run->drv, what & 31, bytes,
						10) == -VMEM_EINVAL);
		return;
	}
	at = (what >> 4 & 7) % run->nr_pending;
	tag = run->pending[at].tag;
	req = run->pending[at].req;
	run->pending[at] = run->pending[--run->nr_pending];
	put(bytes, type, 2);
	put(bytes + 8, state, 2);
	range.addr = req.addr;
	range.size = req.nr_blocks * run->space.block_size;
	if (type == VMEM_RESP_ACK && req.type == VMEM_REQ_PLUG)
		set(run, run->plugged, &range, true);
	if (type == VMEM_RESP_ACK && req.type == VMEM_REQ_STATE &&
	    state == VMEM_STATE_PLUGGED)
		set(run, run->plugged, &range, true);
	/* What it says now counts, whatever it said before. */
	if (type == VMEM_RESP_ACK && req.type == VMEM_REQ_STATE &&
	    state == VMEM_STATE_UNPLUGGED)
		set(run, run->plugged, &range, false);
	/* It says that they stay. */
	if ((type == VMEM_RESP_BUSY || type == VMEM_RESP_NACK) &&
	    req.type == VMEM_REQ_UNPLUG)
		set(run, run->plugged, &range, true);
	FUZZ_CHECK(vmem_driver_response(run->drv, tag, bytes, 10) == 0);
}

static void step_reconfigure(struct run *run)
{
	uint64_t nr = run->space.region_size / run->space.block_size;

	run->space.requested_size =
		fuzz_take(&run->in, 1) % (nr + 1) * run->space.block_size;
	/* Grows, as it should; wild ones are taken at the start. */
	run->space.usable_region_size = run->space.region_size;
	vmem_driver_config_changed(run->drv);
}

/* ---- The OS ------------------------------------------------------------ */

/* What an op returns; what is late is kept to be finished. */
static int decide(struct run *run, enum late_kind kind, uint64_t addr,
		  uint64_t size)
{
	uint8_t what = (uint8_t)fuzz_take(&run->in, 1) & 7;

	if (what == 7)
		return -VMEM_EBUSY;
	if (what >= 5 && run->nr_late < MAX_LATE) {
		run->late[run->nr_late++] = (struct late){kind, addr, size};
		return VMEM_DRIVER_LATER;
	}
	return 0;
}

static int op_add(void *opaque, uint64_t addr, uint64_t size)
{
	struct run *run = opaque;
	struct late range = {ADD, addr, size};
	uint64_t first = block_at(run, addr, size);
	int ret;

	FUZZ_CHECK(!any(run, run->used, &range));
	for (uint64_t i = 0; i < size / run->space.block_size; i++)
		FUZZ_CHECK(run->plugged[first + i]);
	ret = decide(run, ADD, addr, size);
	if (ret >= 0)
		set(run, run->used, &range, true);
	return ret;
}

static int op_take(void *opaque, uint64_t addr, uint64_t size)
{
	struct run *run = opaque;
	struct late range = {TAKE, addr, size};
	uint64_t first = block_at(run, addr, size);
	int ret;

	for (uint64_t i = 0; i < size / run->space.block_size; i++)
		FUZZ_CHECK(run->used[first + i]);
	ret = decide(run, TAKE, addr, size);
	if (ret == 0)
		set(run, run->used, &range, false);
	return ret;
}

static int op_unit_add(void *opaque, uint64_t addr, uint64_t size)
{
	struct run *run = opaque;
	uint64_t first = block_at(run, addr, size);
	int ret = decide(run, UNIT_ADD, addr, size);

	for (uint64_t i = 0; i < size / run->space.block_size; i++) {
		uint64_t at = addr + i * run->space.block_size;

		if (!vmem_driver_is_usable(run->drv, at))
			continue;
		FUZZ_CHECK(run->plugged[first + i]);
		FUZZ_CHECK(!run->used[first + i]);
		run->used[first + i] = ret >= 0;
	}
	return ret;
}

static int op_unit_remove(void *opaque, uint64_t addr, uint64_t size)
{
	struct run *run = opaque;
	struct late range = {UNIT_REMOVE, addr, size};
	int ret = decide(run, UNIT_REMOVE, addr, size);

	block_at(run, addr, size);
	if (ret == 0)
		set(run, run->used, &range, false);
	return ret;
}

static void op_broken(void *opaque, const char *why)
{
	FUZZ_CHECK(why && *why);
	((struct run *)opaque)->broken = true;
}

static void step_finish_late(struct run *run)
{
	uint8_t what = (uint8_t)fuzz_take(&run->in, 1);
	int result = what & 1 ? -VMEM_EBUSY : 0;
	struct late late;
	unsigned int at;

	if (!run->nr_late) {
		FUZZ_CHECK(vmem_driver_done(run->drv, REGION,
					    run->space.block_size,
					    result) == -VMEM_EINVAL);
		return;
	}
	at = (what >> 1) % run->nr_late;
	late = run->late[at];
	run->late[at] = run->late[--run->nr_late];
	if ((late.kind == TAKE || late.kind == UNIT_REMOVE) && !result)
		set(run, run->used, &late, false);
	if ((late.kind == ADD || late.kind == UNIT_ADD) && result)
		set(run, run->used, &late, false);
	vmem_driver_done(run->drv, late.addr, late.size, result);
}

static const struct vmem_driver_ops with_units = {
	.submit = op_submit,
	.read_config = op_read_config,
	.add_range = op_add,
	.take_range = op_take,
	.unit_add = op_unit_add,
	.unit_remove = op_unit_remove,
	.broken = op_broken,
};

static const struct vmem_driver_ops without_units = {
	.submit = op_submit,
	.read_config = op_read_config,
	.add_range = op_add,
	.take_range = op_take,
	.broken = op_broken,
};

/* ---- Steps ------------------------------------------------------------- */

static void check_status(const struct run *run)
{
	struct vmem_driver_status status;

	vmem_driver_get_status(run->drv, &status);
	FUZZ_CHECK((status.broken != NULL) == run->broken);
	FUZZ_CHECK((status.phase == VMEM_DRIVER_BROKEN) == run->broken);
	for (uint64_t i = 0; i < run->space.region_size / run->space.block_size;
	     i++) {
		uint64_t at = REGION + i * run->space.block_size;

		if (run->used[i])
			FUZZ_CHECK(vmem_driver_is_usable(run->drv, at));
	}
}

static void step(struct run *run)
{
	switch (fuzz_take(&run->in, 1) % NR_STEPS) {
	case RUN:
		run->now += fuzz_take(&run->in, 1) * 100;
		vmem_driver_run(run->drv, run->now);
		break;
	case RESPOND:
		step_respond(run);
		break;
	case RECONFIGURE:
		step_reconfigure(run);
		break;
	case FINISH_LATE:
		step_finish_late(run);
		break;
	case RESET:
		vmem_driver_device_reset(run->drv);
		run->stopped = true;
		run->nr_pending = 0;
		break;
	case READY:
		if (run->stopped)
			vmem_driver_device_ready(run->drv);
		run->stopped = false;
		break;
	case DRAIN:
		vmem_driver_drain(run->drv, fuzz_take(&run->in, 1) & 1);
		break;
	default:
		vmem_driver_unplug_all(run->drv);
		break;
	}
	check_status(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run run;
	uint8_t what, shape;
	struct vmem_driver_config config = {0};
	size_t storage_size;
	void *storage;
	bool units;

	memset(&run, 0, sizeof(run));
	run.in = (struct fuzz_input){data, size};
	what = (uint8_t)fuzz_take(&run.in, 1);
	shape = (uint8_t)fuzz_take(&run.in, 1);
	units = what & 1;
	config.unit_size = MIB << (2 + (what >> 1 & 3));
	config.granule = what & 8 ? 4 * MIB : 0;
	config.start = (what >> 4 & 3) == 1 ? VMEM_DRIVER_START_ADOPT
					    : VMEM_DRIVER_START_UNPLUG_ALL;
	config.depth = (what >> 6) * 3;
	run.space = (struct vmem_config){
		.block_size = 2 * MIB,
		.addr = REGION,
		.region_size = (1 + shape % 64) * 2 * MIB,
	};
	run.space.usable_region_size = run.space.region_size;
	run.space.plugged_size = shape & 0x80 ? 2 * MIB : 0;
	storage_size = vmem_driver_storage_size(&config, &run.space, units);
	FUZZ_CHECK(
		(storage_size == 0) ==
		(vmem_driver_config_error(&config, &run.space, units) != NULL));
	if (!storage_size)
		return 0;
	storage = malloc(storage_size);
	FUZZ_CHECK(storage);
	run.drv = vmem_driver_init(storage, storage_size, &config, &run.space,
				   1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE,
				   units ? &with_units : &without_units, &run);
	FUZZ_CHECK(run.drv);
	run.usable_read = run.space.usable_region_size;
	while (run.in.left)
		step(&run);
	free(storage);
	return 0;
}

/* ---- Seeds ------------------------------------------------------------- */

static void put_runs(struct fuzz_seed *s, unsigned int nr)
{
	while (nr-- > 0) {
		fuzz_put(s, RUN, 1);
		fuzz_put(s, 1, 1);
		/* What is asked meanwhile succeeds: zeros. */
		fuzz_put(s, 0, 4);
		fuzz_put(s, RESPOND, 1);
		fuzz_put(s, 0, 1);
	}
}

size_t fuzz_seed(unsigned int nr, uint8_t *seed)
{
	struct fuzz_seed s = {.at = seed};

	if (nr >= 8)
		return 0;
	fuzz_put(&s, (nr & 1) | (nr & 2) << 3 | (nr & 4) << 1, 1);
	fuzz_put(&s, 31 | (nr & 2) << 6, 1);
	put_runs(&s, 4);
	fuzz_put(&s, RECONFIGURE, 1);
	fuzz_put(&s, 20, 1);
	put_runs(&s, 20);
	fuzz_put(&s, RECONFIGURE, 1);
	fuzz_put(&s, 5, 1);
	put_runs(&s, 20);
	fuzz_put(&s, RESET, 1);
	fuzz_put(&s, READY, 1);
	put_runs(&s, 10);
	fuzz_put(&s, DRAIN, 1);
	fuzz_put(&s, 1, 1);
	put_runs(&s, 10);
	return s.len;
}
