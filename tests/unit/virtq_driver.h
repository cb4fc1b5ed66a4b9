/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of split and packed rings, written from the specification
 * for tests of the device's side. Memory is a flat array; a guest address is an
 * offset into it. Include <cmocka.h> and what it needs first.
 */
#ifndef TESTS_VIRTQ_DRIVER_H
#define TESTS_VIRTQ_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "virtio/virtqueue.h"

#define RAM_SIZE   (1U << 20)
#define DESC_AT	   0x1000
#define DRIVER_AT  0x4000
#define DEVICE_AT  0x6000
#define TABLES_AT  0x10000 /* indirect tables, one a buffer id */
#define TABLE_SIZE 0x100
#define DATA_AT	   0x40000

#define F_NEXT	   1
#define F_WRITE	   2
#define F_INDIRECT 4
#define F_AVAIL	   (1 << 7)
#define F_USED	   (1 << 15)

struct piece {
	uint64_t addr;
	uint32_t len;
	bool writable;
};

struct driver {
	uint8_t *ram;
	struct virtq_config config;
	uint16_t next; /* split: available index; packed: slot */
	uint16_t seen; /* split: used index; packed: slot */
	bool next_wrap, seen_wrap;
	bool free_desc[VIRTQ_MAX_SIZE]; /* split: descriptor is free */
	uint16_t nr_free;
	uint16_t slots[VIRTQ_MAX_SIZE]; /* of the buffer with that id */
	uint16_t links[VIRTQ_MAX_SIZE]; /* split: next of a chain */
	bool id_used[VIRTQ_MAX_SIZE];
};

static inline void put16(uint8_t *at, uint16_t v)
{
	memcpy(at, &v, 2);
}

static inline uint16_t get16(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, 2);
	return v;
}

static inline uint32_t get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, 4);
	return v;
}

static inline void put_desc(uint8_t *at, const struct piece *p, uint16_t third,
			    uint16_t fourth)
{
	memcpy(at, &p->addr, 8);
	memcpy(at + 8, &p->len, 4);
	put16(at + 12, third);
	put16(at + 14, fourth);
}

static inline void *ram_map(void *opaque, uint64_t gpa, uint64_t len)
{
	uint8_t *ram = opaque;

	return gpa >= RAM_SIZE || len > RAM_SIZE - gpa ? NULL : ram + gpa;
}

static inline void driver_start(struct driver *d, uint8_t *ram,
				const struct virtq_config *config)
{
	memset(d, 0, sizeof(*d));
	memset(ram, 0, DATA_AT);
	d->ram = ram;
	d->config = *config;
	d->config.desc = DESC_AT;
	d->config.driver = DRIVER_AT;
	d->config.device = DEVICE_AT;
	d->next_wrap = d->seen_wrap = true;
	d->nr_free = config->size;
	memset(d->free_desc, true, sizeof(d->free_desc));
}

static inline int driver_new_id(struct driver *d)
{
	for (int i = 0; i < d->config.size; i++) {
		if (!d->id_used[i] && (d->config.packed || d->free_desc[i]))
			return i;
	}
	return -1;
}

static inline void driver_advance(const struct driver *d, uint16_t *slot,
				  bool *wrap, uint16_t nr)
{
	*slot = (uint16_t)(*slot + nr);
	if (*slot >= d->config.size) {
		*slot = (uint16_t)(*slot - d->config.size);
		*wrap = !*wrap;
	}
}

static inline void driver_table(struct driver *d, int id,
				const struct piece *pieces, uint16_t nr)
{
	uint8_t *table = d->ram + TABLES_AT + id * TABLE_SIZE;

	for (uint16_t i = 0; i < nr; i++) {
		uint16_t flags = pieces[i].writable ? F_WRITE : 0;

		if (d->config.packed)
			put_desc(table + 16 * i, &pieces[i], 0, flags);
		else
			put_desc(table + 16 * i, &pieces[i],
				 (uint16_t)(flags | (i + 1 < nr ? F_NEXT : 0)),
				 (uint16_t)(i + 1));
	}
}

static inline void driver_post_split(struct driver *d, int id,
				     const struct piece *pieces, uint16_t nr,
				     bool indirect)
{
	uint8_t *avail = d->ram + DRIVER_AT;
	int at = id;

	for (uint16_t i = 0; i < nr; i++) {
		int next = 0;

		d->free_desc[at] = false;
		if (i + 1 < nr) {
			while (!d->free_desc[next])
				next++;
		}
		d->links[at] = (uint16_t)next;
		put_desc(d->ram + DESC_AT + 16 * at, &pieces[i],
			 (uint16_t)((pieces[i].writable ? F_WRITE : 0) |
				    (indirect ? F_INDIRECT : 0) |
				    (i + 1 < nr ? F_NEXT : 0)),
			 (uint16_t)next);
		at = next;
	}
	put16(avail + 4 + 2 * (d->next % d->config.size), (uint16_t)id);
	put16(avail + 2, ++d->next);
}

static inline void driver_post_packed(struct driver *d, int id,
				      const struct piece *pieces, uint16_t nr,
				      bool indirect)
{
	uint16_t slot = d->next, head_flags = 0;
	bool wrap = d->next_wrap;

	for (uint16_t i = 0; i < nr; i++) {
		uint16_t flags = (uint16_t)((pieces[i].writable ? F_WRITE : 0) |
					    (indirect ? F_INDIRECT : 0) |
					    (i + 1 < nr ? F_NEXT : 0) |
					    (wrap ? F_AVAIL : F_USED));

		if (i == 0)
			head_flags = flags;
		/* The head's flags come last: nothing is there before. */
		put_desc(d->ram + DESC_AT + 16 * slot, &pieces[i], (uint16_t)id,
			 i ? flags : get16(d->ram + DESC_AT + 16 * slot + 14));
		driver_advance(d, &slot, &wrap, 1);
	}
	put16(d->ram + DESC_AT + 16 * d->next + 14, head_flags);
	driver_advance(d, &d->next, &d->next_wrap, nr);
}

/* Make a buffer available. Its id, or -1 if there is no room. */
static inline int driver_post(struct driver *d, const struct piece *pieces,
			      uint16_t nr, bool indirect)
{
	int id = driver_new_id(d);
	struct piece table = {TABLES_AT + (uint64_t)id * TABLE_SIZE, 16U * nr,
			      false};
	uint16_t slots = indirect ? 1 : nr;

	if (id < 0 || slots > d->nr_free)
		return -1;
	if (indirect) {
		driver_table(d, id, pieces, nr);
		pieces = &table;
	}
	if (d->config.packed)
		driver_post_packed(d, id, pieces, slots, indirect);
	else
		driver_post_split(d, id, pieces, slots, indirect);
	d->id_used[id] = true;
	d->slots[id] = slots;
	d->nr_free = (uint16_t)(d->nr_free - slots);
	return id;
}

/* Take a used buffer: its id, or -1 if there is none. */
static inline int driver_take(struct driver *d, uint32_t *len)
{
	const uint8_t *slot = d->ram + DESC_AT + 16 * d->seen;
	const uint8_t *used = d->ram + DEVICE_AT;
	uint16_t flags = get16(slot + 14);
	int id, at;

	if (d->config.packed) {
		if (!!(flags & F_USED) != d->seen_wrap ||
		    !!(flags & F_AVAIL) != d->seen_wrap)
			return -1;
		id = get16(slot + 12);
		*len = get32(slot + 8);
		driver_advance(d, &d->seen, &d->seen_wrap, d->slots[id]);
	} else {
		if (d->seen == get16(used + 2))
			return -1;
		used += 4 + 8 * (d->seen++ % d->config.size);
		id = (int)get32(used);
		*len = get32(used + 4);
		at = id;
		for (uint16_t i = 0; i < d->slots[id]; i++) {
			d->free_desc[at] = true;
			at = d->links[at];
		}
	}
	assert_in_range(id, 0, d->config.size - 1);
	assert_true(d->id_used[id]);
	d->id_used[id] = false;
	d->nr_free = (uint16_t)(d->nr_free + d->slots[id]);
	return id;
}

/* Would the device be kicked for what was posted since position old? */
static inline bool driver_kicks(const struct driver *d, uint16_t old,
				bool old_wrap)
{
	const uint8_t *device = d->ram + DEVICE_AT;
	uint16_t event, flags;

	if (!d->config.packed) {
		if (!d->config.event_idx)
			return !(get16(device) & 1);
		event = get16(device + 4 + 8 * d->config.size);
		return (uint16_t)(d->next - event - 1) <
		       (uint16_t)(d->next - old);
	}
	flags = get16(device + 2);
	if (flags != 2)
		return flags == 0;
	event = get16(device);
	/* Only asked for the next slot in these tests. */
	return (event & 0x7fff) == old && (event >> 15) == old_wrap;
}

/* Ask for interrupts, or none; with event index from the next buffer on. */
static inline void driver_interrupts(struct driver *d, bool on)
{
	uint8_t *driver = d->ram + DRIVER_AT;

	if (d->config.packed) {
		put16(driver, (uint16_t)(d->seen | (d->seen_wrap << 15)));
		put16(driver + 2, !on ? 1 : d->config.event_idx ? 2 : 0);
	} else if (d->config.event_idx) {
		put16(driver + 4 + 2 * d->config.size,
		      (uint16_t)(on ? d->seen : d->seen - 1));
	} else {
		put16(driver, !on);
	}
}

#endif
