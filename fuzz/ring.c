// SPDX-License-Identifier: BSD-3-Clause
/*
 * A virtqueue over memory of a hostile guest: any bytes anywhere, changed
 * between any two calls and whenever the device translates an address. What is
 * handed out must lie in guest memory, nothing is written but where the ring's
 * format has the device write, and a broken queue stays broken.
 */
#include "ring.h"

#include "../tests/unit/virtq_driver.h"

/* Small, so that wild addresses often hit it, and comparing it is cheap. */
#define MEMORY_SIZE 4096U
#define MAX_HELD    8

enum {
	WRITE,
	POP,
	PUSH,
	KICKS_ON,
	KICKS_OFF,
	MEDDLE,
	AVAIL,
	NR_STEPS
};

struct run {
	struct virtq q;
	struct virtq_config config;
	struct fuzz_input in;
	uint8_t *memory; /* what the device sees */
	uint8_t *shadow; /* and what it must be */
	bool meddles;
	unsigned int nr_held;
	struct virtq_chain held[MAX_HELD];
};

/* The guest writes. */
static void guest_write(struct run *run)
{
	uint32_t at = (uint32_t)fuzz_take(&run->in, 2) % MEMORY_SIZE;
	size_t len = (size_t)fuzz_take(&run->in, 1) % 33;

	if (len > MEMORY_SIZE - at)
		len = MEMORY_SIZE - at;
	len = fuzz_take_bytes(&run->in, run->shadow + at, len);
	memcpy(run->memory + at, run->shadow + at, len);
}

static void *map(void *opaque, uint64_t gpa, uint64_t len)
{
	struct run *run = opaque;

	FUZZ_CHECK(len > 0);
	if (run->meddles && run->in.left)
		guest_write(run);
	return gpa >= MEMORY_SIZE || len > MEMORY_SIZE - gpa
		       ? NULL
		       : run->memory + gpa;
}

/* Take over what the device wrote in [at, at + len) of memory, where it may. */
static void allow(struct run *run, uint64_t at, size_t len)
{
	memcpy(run->shadow + at, run->memory + at, len);
}

static void allow_event(struct run *run)
{
	const struct virtq_config *c = &run->config;

	if (c->packed) {
		allow(run, c->device, 4);
		return;
	}
	allow(run, c->device, 2);
	if (c->event_idx)
		allow(run, c->device + 4 + 8ULL * c->size, 2);
}

static void check_memory(const struct run *run)
{
	FUZZ_CHECK(!memcmp(run->memory, run->shadow, MEMORY_SIZE));
}

static void check_chain(const struct run *run, const struct virtq_chain *chain)
{
	uint64_t readable = 0, writable = 0;

	FUZZ_CHECK(chain->nr_segments <= VIRTQ_MAX_SEGMENTS);
	FUZZ_CHECK(chain->nr_readable <= chain->nr_segments);
	FUZZ_CHECK(chain->nr_slots >= 1 && chain->nr_slots <= run->config.size);
	FUZZ_CHECK(run->config.packed || chain->id < run->config.size);
	for (unsigned int i = 0; i < chain->nr_segments; i++) {
		const struct virtq_segment *s = &chain->segments[i];

		*(i < chain->nr_readable ? &readable : &writable) += s->len;
		if (!s->len)
			continue;
		FUZZ_CHECK(s->host >= run->memory);
		FUZZ_CHECK(s->host < run->memory + MEMORY_SIZE);
		FUZZ_CHECK(s->len <= run->memory + MEMORY_SIZE - s->host);
	}
	FUZZ_CHECK(virtq_chain_readable(chain) == readable);
	FUZZ_CHECK(virtq_chain_writable(chain) == writable);
}

static void step_pop(struct run *run)
{
	struct virtq_chain chain;
	bool usable = virtq_usable(&run->q);
	int ret = virtq_pop(&run->q, &chain);
	uint8_t bytes[24];

	FUZZ_CHECK(usable || ret == -1);
	FUZZ_CHECK(virtq_usable(&run->q) == (ret >= 0));
	check_memory(run);
	if (ret != 1)
		return;
	check_chain(run, &chain);
	FUZZ_CHECK(virtq_chain_read(&chain, bytes, sizeof(bytes)) ==
		   (virtq_chain_readable(&chain) < sizeof(bytes)
			    ? virtq_chain_readable(&chain)
			    : sizeof(bytes)));
	if (run->nr_held < MAX_HELD)
		run->held[run->nr_held++] = chain;
}

/* Answer the last buffer taken, as the device of virtio-mem does. */
static void step_push(struct run *run)
{
	const struct virtq_chain *chain;
	size_t written;

	if (!run->nr_held)
		return;
	chain = &run->held[--run->nr_held];
	written = virtq_chain_write(chain, "response!", 10);
	FUZZ_CHECK(written <= virtq_chain_writable(chain));
	/* The buffer may lie over anything: take it all over. */
	memcpy(run->shadow, run->memory, MEMORY_SIZE);
	virtq_push(&run->q, chain, (uint32_t)written);
	if (run->config.packed) {
		uint64_t slots = 16ULL * run->config.size;

		allow(run, run->config.desc, slots);
	} else {
		allow(run, run->config.device + 2, 2 + 8ULL * run->config.size);
	}
	check_memory(run);
}

/* Make what is available more: hard to hit by chance. */
static void step_avail(struct run *run)
{
	uint64_t at = run->config.driver + 2;

	if (run->config.packed) {
		/* The next slot's flags say that it is there. */
		at = run->config.desc + 16ULL * run->q.next_avail + 14;
		if (!virtq_usable(&run->q))
			return;
		run->shadow[at] &= 0x7f;
		run->shadow[at + 1] &= 0x7f;
		if (run->q.avail_wrap)
			run->shadow[at] |= 0x80;
		else
			run->shadow[at + 1] |= 0x80;
	} else if (virtq_usable(&run->q)) {
		put16(run->shadow + at,
		      (uint16_t)(get16(run->shadow + at) + 1));
	}
	memcpy(run->memory, run->shadow, MEMORY_SIZE);
}

static void step(struct run *run)
{
	switch (fuzz_take(&run->in, 1) % NR_STEPS) {
	case WRITE:
		guest_write(run);
		break;
	case POP:
		step_pop(run);
		break;
	case PUSH:
		step_push(run);
		break;
	case KICKS_ON:
		virtq_enable_kicks(&run->q);
		allow_event(run);
		check_memory(run);
		break;
	case KICKS_OFF:
		virtq_disable_kicks(&run->q);
		allow_event(run);
		check_memory(run);
		break;
	case MEDDLE:
		run->meddles = !run->meddles;
		break;
	default:
		step_avail(run);
		break;
	}
}

/* Where the parts of a queue lie: most often where they may. */
static struct virtq_config take_config(struct fuzz_input *in, bool packed)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	struct virtq_config config = {
		.size = (uint16_t)(1U << (what & 7)),
		.packed = packed,
		.indirect = what & 0x10,
		.event_idx = what & 0x20,
		.desc = 0,
		.driver = 0x800,
		.device = 0xa00,
	};

	if (what & 8)
		config.size = (uint16_t)fuzz_take(in, 2);
	if (what & 0x40) {
		config.desc = fuzz_take(in, 2);
		config.driver = fuzz_take(in, 2);
		config.device = fuzz_take(in, 2);
	}
	if (what & 0x80)
		config.desc = fuzz_take(in, 8);
	return config;
}

int fuzz_ring(const uint8_t *data, size_t size, bool packed)
{
	struct run *run = calloc(1, sizeof(*run));
	struct virtq_memory memory = {.map = map, .opaque = run};
	int ret;

	FUZZ_CHECK(run);
	run->in = (struct fuzz_input){data, size};
	run->config = take_config(&run->in, packed);
	run->memory = calloc(1, MEMORY_SIZE);
	run->shadow = calloc(1, MEMORY_SIZE);
	FUZZ_CHECK(run->memory && run->shadow);
	ret = virtq_start(&run->q, &memory, &run->config);
	FUZZ_CHECK(virtq_usable(&run->q) == (ret == 0));
	while (ret == 0 && run->in.left)
		step(run);
	free(run->memory);
	free(run->shadow);
	free(run);
	return 0;
}

/* ---- Seeds ------------------------------------------------------------- */

static void put_memory(struct fuzz_seed *s, uint64_t at, const void *bytes,
		       size_t len)
{
	fuzz_put(s, WRITE, 1);
	fuzz_put(s, at, 2);
	fuzz_put(s, len, 1);
	fuzz_put_bytes(s, bytes, len);
}

static void put_piece(struct fuzz_seed *s, uint64_t at, const struct piece *p,
		      uint16_t third, uint16_t fourth)
{
	uint8_t bytes[16];

	put_desc(bytes, p, third, fourth);
	put_memory(s, at, bytes, sizeof(bytes));
}

/* A request and the room for its answer, direct or in an indirect table. */
static void put_buffer(struct fuzz_seed *s, bool packed, bool indirect,
		       uint16_t slot)
{
	const struct piece request = {0xe00, 24, false};
	const struct piece response = {0xe40, 10, true};
	const struct piece table = {0xf00, 32, false};
	uint64_t at = indirect ? 0xf00 : 16ULL * slot;
	uint16_t next = indirect ? 1 : (uint16_t)(slot + 1), entry[1] = {slot};

	if (packed) {
		put_piece(s, at + 16, &response, slot, F_WRITE | F_AVAIL);
		put_piece(s, at, &request, slot,
			  (uint16_t)(F_AVAIL | (indirect ? 0 : F_NEXT)));
	} else {
		put_piece(s, at + 16, &response, F_WRITE, 0);
		put_piece(s, at, &request, F_NEXT, next);
		put_memory(s, 0x804 + slot, entry, 2);
	}
	if (indirect && packed)
		put_piece(s, 16ULL * slot, &table, slot, F_INDIRECT);
	else if (indirect)
		put_piece(s, 16ULL * slot, &table, F_INDIRECT, 0);
	fuzz_put(s, AVAIL, 1);
}

size_t fuzz_ring_seed(unsigned int nr, uint8_t *seed, bool packed)
{
	struct fuzz_seed s = {.at = seed};

	if (nr >= 8)
		return 0;
	/* 8 descriptors; bits of nr: indirect, event index, meddling. */
	fuzz_put(&s, 3U | (nr & 1) << 4 | (nr & 2) << 4, 1);
	fuzz_put(&s, KICKS_ON, 1);
	for (uint16_t slot = 0; slot < 6; slot = (uint16_t)(slot + 2)) {
		put_buffer(&s, packed, nr & 1, slot);
		if (nr & 4)
			fuzz_put(&s, MEDDLE, 1);
		fuzz_put(&s, POP, 1);
		if (nr & 4) {
			fuzz_put(&s, 0x10, 2);
			fuzz_put(&s, 0, 1);
			fuzz_put(&s, MEDDLE, 1);
		}
		fuzz_put(&s, PUSH, 1);
	}
	fuzz_put(&s, KICKS_OFF, 1);
	fuzz_put(&s, POP, 1);
	return s.len;
}
