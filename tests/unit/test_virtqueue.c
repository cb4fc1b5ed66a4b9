// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rings against a driver's side written from the specification: random
 * traffic over every kind of ring, then rings that no driver would make.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "virtq_driver.h"

#define STEPS	   20000
#define MAX_PIECES 6
#define MAX_LEN	   600
#define SLOT_SIZE  (MAX_PIECES * MAX_LEN)

static uint64_t random_state;

static uint32_t draw(uint32_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state % bound);
}

static void seed_random(void)
{
	const char *text = getenv("BELLOWS_SEED");
	uint64_t seed =
		text && *text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

	print_message("again: BELLOWS_SEED=%llu\n", (unsigned long long)seed);
	random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
}

struct bench {
	uint8_t *ram;
	struct driver driver;
	struct virtq q;
	struct virtq_chain chain;
	struct {
		struct piece pieces[MAX_PIECES];
		uint16_t nr;
		uint32_t readable, writable, written;
		uint8_t sum; /* of what the device may read */
	} posted[VIRTQ_MAX_SIZE];
	struct {
		uint16_t id, nr_slots;
	} held[VIRTQ_MAX_SIZE]; /* taken by the device, not given back */
	unsigned int nr_held;
};

static void make(struct bench *b, const struct virtq_config *config)
{
	const struct virtq_memory memory = {.map = ram_map, .opaque = b->ram};

	driver_start(&b->driver, b->ram, config);
	b->nr_held = 0;
	assert_int_equal(virtq_start(&b->q, &memory, &b->driver.config), 0);
	assert_true(virtq_usable(&b->q));
}

/* Give a buffer random pieces and content. */
static void fill(struct bench *b, unsigned int slot, uint16_t nr)
{
	uint64_t at = DATA_AT + (uint64_t)slot * SLOT_SIZE;
	uint16_t nr_readable = (uint16_t)draw(nr + 1U);

	b->posted[slot].nr = nr;
	b->posted[slot].readable = b->posted[slot].writable = 0;
	b->posted[slot].sum = 0;
	for (uint16_t i = 0; i < nr; i++) {
		struct piece *p = &b->posted[slot].pieces[i];

		*p = (struct piece){at, draw(MAX_LEN), i >= nr_readable};
		for (uint32_t j = 0; j < p->len; j++) {
			b->ram[at + j] = (uint8_t)draw(256);
			if (!p->writable)
				b->posted[slot].sum += b->ram[at + j];
		}
		if (p->writable)
			b->posted[slot].writable += p->len;
		else
			b->posted[slot].readable += p->len;
		at += p->len;
	}
}

static void post(struct bench *b)
{
	uint16_t nr = (uint16_t)(1 + draw(MAX_PIECES));
	bool indirect = b->driver.config.indirect && draw(2);
	uint16_t old = b->driver.next;
	bool old_wrap = b->driver.next_wrap;
	int id = driver_new_id(&b->driver);
	bool wanted = draw(2);

	if (nr > b->driver.config.size)
		nr = b->driver.config.size;
	if (id < 0 || (indirect ? 1 : nr) > b->driver.nr_free)
		return;
	/* Either the device wants to hear of this one, or it does not. */
	virtq_disable_kicks(&b->q);
	if (wanted && virtq_enable_kicks(&b->q))
		wanted = false; /* it knows of buffers: no kick is needed */
	else if (wanted)
		fill(b, (unsigned int)id, nr);
	if (!wanted)
		fill(b, (unsigned int)id, nr);
	assert_int_equal(driver_post(&b->driver, b->posted[id].pieces, nr,
				     indirect),
			 id);
	if (wanted)
		assert_true(driver_kicks(&b->driver, old, old_wrap));
}

/* The device takes the next buffer: checks it, and answers. */
static void take(struct bench *b)
{
	uint8_t data[SLOT_SIZE], sum = 0;
	uint32_t write;
	int ret = virtq_pop(&b->q, &b->chain);
	uint16_t id;

	assert_in_range(ret, 0, 1);
	if (!ret)
		return;
	id = b->chain.id;
	assert_true(b->driver.id_used[id]);
	assert_int_equal(b->chain.nr_segments, b->posted[id].nr);
	assert_int_equal(virtq_chain_readable(&b->chain),
			 b->posted[id].readable);
	assert_int_equal(virtq_chain_writable(&b->chain),
			 b->posted[id].writable);
	assert_int_equal(virtq_chain_read(&b->chain, data, sizeof(data)),
			 b->posted[id].readable);
	for (uint32_t i = 0; i < b->posted[id].readable; i++)
		sum += data[i];
	assert_int_equal(sum, b->posted[id].sum);

	write = draw(b->posted[id].writable + 1);
	memset(data, id, sizeof(data));
	assert_int_equal(virtq_chain_write(&b->chain, data, write), write);
	b->posted[id].written = write;
	b->held[b->nr_held].nr_slots = b->chain.nr_slots;
	b->held[b->nr_held++].id = id;
}

static void give_back(struct bench *b)
{
	unsigned int i;
	bool on = draw(2), wanted;

	if (!b->nr_held)
		return;
	i = draw(b->nr_held);
	b->chain.id = b->held[i].id;
	b->chain.nr_slots = b->held[i].nr_slots;
	b->held[i] = b->held[--b->nr_held];
	driver_interrupts(&b->driver, on);
	wanted = virtq_push(&b->q, &b->chain, b->posted[b->chain.id].written);
	/* With event index, the event may lie behind this buffer. */
	if (!on || !b->driver.config.event_idx)
		assert_int_equal(wanted, on);
}

static void collect(struct bench *b)
{
	uint32_t len;
	int id = driver_take(&b->driver, &len);
	uint32_t left;

	if (id < 0)
		return;
	assert_int_equal(len, b->posted[id].written);
	left = len;
	for (uint16_t i = 0; i < b->posted[id].nr; i++) {
		const struct piece *p = &b->posted[id].pieces[i];

		for (uint32_t j = 0; p->writable && j < p->len && left; j++) {
			assert_int_equal(b->ram[p->addr + j], (uint8_t)id);
			left--;
		}
	}
	assert_int_equal(left, 0);
}

static void traffic(struct bench *b, const struct virtq_config *config)
{
	make(b, config);
	for (int i = 0; i < STEPS; i++) {
		switch (draw(4)) {
		case 0:
			post(b);
			break;
		case 1:
			take(b);
			break;
		case 2:
			give_back(b);
			break;
		default:
			collect(b);
			break;
		}
	}
	assert_true(virtq_usable(&b->q));
}

static void every_kind(void **state)
{
	static const uint16_t sizes[] = {1, 2, 4, 7, 16, 64, 100, 128};
	struct bench *b = calloc(1, sizeof(*b));

	b->ram = aligned_alloc(4096, RAM_SIZE);
	seed_random();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (unsigned int kind = 0; kind < 8; kind++) {
			const struct virtq_config config = {
				.size = sizes[i],
				.packed = kind & 1,
				.indirect = kind & 2,
				.event_idx = kind & 4,
			};

			if (config.packed || !(sizes[i] & (sizes[i] - 1)))
				traffic(b, &config);
		}
	}
	free(b->ram);
	free(b);
}

/* ---- What no driver would do ------------------------------------------- */

static void bad_configs(void **state)
{
	static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
	const struct virtq_memory memory = {.map = ram_map, .opaque = ram};
	const struct virtq_config good = {.size = 8,
					  .desc = DESC_AT,
					  .driver = DRIVER_AT,
					  .device = DEVICE_AT};
	struct virtq_config bad[8];
	struct virtq_chain chain;
	struct virtq q;

	for (size_t i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].size = 0;
	bad[1].size = 9;
	bad[2].size = VIRTQ_MAX_SIZE * 2;
	bad[3].desc = DESC_AT + 8;
	bad[4].device = DEVICE_AT + 2;
	bad[5].desc = RAM_SIZE - 16;
	bad[6].driver = UINT64_MAX - 1;
	bad[7].device = RAM_SIZE;
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(virtq_start(&q, &memory, &bad[i]), -1);
		assert_false(virtq_usable(&q));
		assert_int_equal(virtq_pop(&q, &chain), -1);
		virtq_stop(&q);
		assert_int_equal(virtq_pop(&q, &chain), 0);
	}
}

/* Rings full of noise: never a piece outside of memory, never without end. */
static void noise(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	unsigned int nr_broken = 0, nr_taken = 0;

	b->ram = aligned_alloc(4096, RAM_SIZE);
	seed_random();
	for (unsigned int round = 0; round < 20000; round++) {
		const struct virtq_config config = {
			.size = (uint16_t)(1U << draw(6)),
			.packed = draw(2),
			.indirect = draw(2),
			.event_idx = draw(2),
		};
		int ret = 1;

		make(b, &config);
		for (unsigned int i = 0; i < 16U * config.size; i++)
			b->ram[DESC_AT + i] =
				(uint8_t)(draw(3) ? draw(8) : draw(256));
		/* Mostly small addresses and lengths: chains get long. */
		for (unsigned int i = 0; i < config.size; i++) {
			memset(b->ram + DESC_AT + 16 * i + 3, 0, 5);
			memset(b->ram + DESC_AT + 16 * i + 10, 0, 2);
			if (config.packed && draw(4))
				put16(b->ram + DESC_AT + 16 * i + 14,
				      (uint16_t)(draw(8) | F_AVAIL));
		}
		for (unsigned int i = 0; i < 64; i++)
			b->ram[DRIVER_AT + i] =
				(uint8_t)(i % 2 && draw(8) ? 0 : draw(4));
		put16(b->ram + DRIVER_AT + 2, (uint16_t)draw(8));
		for (unsigned int i = 0; ret == 1 && i < 300; i++) {
			ret = virtq_pop(&b->q, &b->chain);
			nr_taken += ret == 1;
			for (unsigned int j = 0;
			     ret == 1 && j < b->chain.nr_segments; j++) {
				struct virtq_segment s = b->chain.segments[j];

				assert_true(
					!s.len ||
					(s.host >= b->ram &&
					 s.host + s.len <= b->ram + RAM_SIZE));
			}
			if (ret == 1)
				virtq_push(&b->q, &b->chain, draw(100));
		}
		assert_in_range(ret + 1, 0, 1);
		nr_broken += ret < 0;
		assert_int_equal(virtq_usable(&b->q), ret == 0);
	}
	assert_true(nr_broken > 1000);
	assert_true(nr_taken > 1000);
	free(b->ram);
	free(b);
}

/* One deliberate fault each, in split rings. */
static void split_faults(void **state)
{
	const struct virtq_config config = {.size = 8, .indirect = true};
	const struct piece in = {DATA_AT, 24, false}, out = {DATA_AT, 10, true};
	static const char *const names[] = {
		"head out of range",
		"loop",
		"readable after writable",
		"address outside",
		"wraps around",
		"index too far ahead",
		"indirect with next",
		"indirect in indirect",
		"indirect of no whole size",
		"next out of range",
		"empty indirect table",
	};
	struct bench *b = calloc(1, sizeof(*b));

	b->ram = aligned_alloc(4096, RAM_SIZE);
	for (unsigned int fault = 0; fault < sizeof(names) / sizeof(names[0]);
	     fault++) {
		const struct piece pieces[] = {in, out};
		uint8_t *desc = b->ram + DESC_AT;
		struct piece table = {TABLES_AT, 32, false};

		make(b, &config);
		driver_post(&b->driver, pieces, 2, fault == 7);
		switch (fault) {
		case 0:
			put16(b->ram + DRIVER_AT + 4, 8);
			break;
		case 1:
			put_desc(desc + 16, &out, F_WRITE | F_NEXT, 1);
			break;
		case 2:
			put_desc(desc, &out, F_WRITE | F_NEXT, 1);
			put_desc(desc + 16, &in, 0, 0);
			break;
		case 3:
			table.addr = RAM_SIZE - 8;
			put_desc(desc, &table, 0, 0);
			break;
		case 4:
			table.addr = UINT64_MAX - 7;
			put_desc(desc, &table, 0, 0);
			break;
		case 5:
			put16(b->ram + DRIVER_AT + 2, 9);
			break;
		case 6:
			put_desc(desc, &table, F_INDIRECT | F_NEXT, 1);
			break;
		case 7:
			put_desc(b->ram + TABLES_AT, &table, F_INDIRECT, 0);
			break;
		case 8:
			table.len = 24;
			put_desc(desc, &table, F_INDIRECT, 0);
			break;
		case 9:
			put_desc(desc, &in, F_NEXT, 8);
			break;
		default:
			table.len = 0;
			put_desc(desc, &table, F_INDIRECT, 0);
			break;
		}
		if (virtq_pop(&b->q, &b->chain) != -1)
			fail_msg("%s: was taken", names[fault]);
		assert_false(virtq_usable(&b->q));
		assert_false(virtq_push(&b->q, &b->chain, 0));
		assert_false(virtq_enable_kicks(&b->q));
	}
	free(b->ram);
	free(b);
}

/* Memory of which a range may no longer be accessed. */
struct shrinking {
	uint8_t *ram;
	uint64_t gone, gone_len;
};

static void *shrinking_map(void *opaque, uint64_t gpa, uint64_t len)
{
	struct shrinking *s = opaque;

	if (s->gone_len && gpa < s->gone + s->gone_len && s->gone < gpa + len)
		return NULL;
	return ram_map(s->ram, gpa, len);
}

/* What the guest takes away under a queue, or under a buffer that was taken,
 * breaks the queue when it is asked for again; the rest stays good. */
static void remapped(void **state)
{
	static const struct {
		uint64_t gone;
		bool taken; /* is in the buffer alone */
	} cases[] = {
		{DESC_AT, false},	    {DRIVER_AT, false},
		{DEVICE_AT, false},	    {DATA_AT, true},
		{DATA_AT + 4096 + 9, true},
	};
	struct shrinking s = {.ram = calloc(1, RAM_SIZE)};
	struct bench *b = calloc(1, sizeof(*b));
	const struct virtq_memory memory = {.map = shrinking_map, .opaque = &s};
	const struct piece pieces[] = {{DATA_AT, 24, false},
				       {DATA_AT + 4096, 10, true}};

	assert_non_null(s.ram);
	assert_non_null(b);
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		const struct virtq_config config = {.size = 8, .packed = i % 2};

		s.gone_len = 0;
		driver_start(&b->driver, s.ram, &config);
		assert_int_equal(virtq_start(&b->q, &memory, &b->driver.config),
				 0);
		assert_true(driver_post(&b->driver, pieces, 2, false) >= 0);
		assert_int_equal(virtq_remap(&b->q, NULL), 0);
		assert_int_equal(virtq_pop(&b->q, &b->chain), 1);
		assert_int_equal(virtq_remap(&b->q, &b->chain), 0);
		assert_ptr_equal(b->chain.segments[1].host,
				 s.ram + DATA_AT + 4096);
		s.gone = cases[i / 2].gone;
		s.gone_len = 1;
		if (cases[i / 2].taken)
			assert_int_equal(virtq_remap(&b->q, NULL), 0);
		assert_int_equal(virtq_remap(&b->q, &b->chain), -1);
		assert_false(virtq_usable(&b->q));
		assert_false(virtq_push(&b->q, &b->chain, 10));
		/* It stays broken when the memory is there again. */
		s.gone_len = 0;
		assert_int_equal(virtq_remap(&b->q, NULL), -1);
	}
	free(s.ram);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind), cmocka_unit_test(bad_configs),
		cmocka_unit_test(noise),      cmocka_unit_test(split_faults),
		cmocka_unit_test(remapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
