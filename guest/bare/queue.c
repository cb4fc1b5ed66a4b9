// SPDX-License-Identifier: BSD-3-Clause
/*
 * Virtqueues, split (2.7) and packed (2.8). Descriptors are taken in order and
 * come back in order, so a counter is all there is to their bookkeeping: who
 * uses this adds no more than fits.
 */
#include <string.h>

#include "arch.h"
#include "bare.h"
#include "mmio.h"
#include "virtio.h"

/* Offsets in the queue's memory. */
#define DRIVER_AREA 0x1000
#define DEVICE_AREA 0x2000

#define RING_IDX	2
#define RING_ENTRIES	4
#define PACKED_DISABLED 1 /* event suppression: none */

/* 64-bit fields are written by halves (4.1.3.1). */
static void store_halves(uint64_t addr, uint64_t value)
{
	store32(addr, (uint32_t)value);
	store32(addr + 4, (uint32_t)(value >> 32));
}

/* Where an area is; cleared if it is where it belongs. */
static uint64_t place(uint64_t here, uint64_t elsewhere, size_t size)
{
	if (elsewhere)
		return elsewhere;
	memset((void *)here, 0, size);
	return here;
}

uint16_t queue_set_up(struct queue *q, const struct virtio *v,
		      uint64_t features, uint16_t size, uint64_t memory,
		      const uint64_t elsewhere[NR_AREAS])
{
	uint16_t most, offset;

	store16(v->common + COMMON_QUEUE_SELECT, 0);
	most = load16(v->common + COMMON_QUEUE_SIZE);
	if (most > QUEUE_MAX)
		most = QUEUE_MAX;
	if (size == 0 || size > most)
		size = most;
	memset(q, 0, sizeof(*q));
	q->device = v;
	q->packed = features & F_PACKED;
	q->size = size;
	q->avail_wrap = q->used_wrap = true;
	q->desc = place(memory, elsewhere[AREA_DESC], size * 16U);
	q->driver = place(memory + DRIVER_AREA, elsewhere[AREA_DRIVER],
			  RING_ENTRIES + 2 + size * 2U);
	q->device_area = place(memory + DEVICE_AREA, elsewhere[AREA_DEVICE],
			       RING_ENTRIES + 2 + size * 8U);
	if (q->packed && !elsewhere[AREA_DRIVER])
		store16(q->driver + 2, PACKED_DISABLED);
	offset = load16(v->common + COMMON_QUEUE_NOTIFY_OFF);
	q->doorbell = v->notify + (uint64_t)offset * v->notify_multiplier;
	store16(v->common + COMMON_QUEUE_SIZE, size);
	store_halves(v->common + COMMON_QUEUE_DESC, q->desc);
	store_halves(v->common + COMMON_QUEUE_DRIVER, q->driver);
	store_halves(v->common + COMMON_QUEUE_DEVICE, q->device_area);
	store16(v->common + COMMON_QUEUE_ENABLE, 1);
	return size;
}

static void fill_table(uint64_t table, const struct piece *pieces,
		       unsigned int nr, bool packed)
{
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t at = table + i * sizeof(struct virtq_desc);
		uint16_t flags = pieces[i].write ? DESC_WRITE : 0;

		if (!packed && i + 1 < nr)
			flags |= DESC_NEXT;
		store64(at, pieces[i].addr);
		store32(at + 8, pieces[i].len);
		store16(at + 12, packed ? 0 : flags);
		store16(at + 14, packed ? flags : (uint16_t)(i + 1));
	}
}

static uint16_t add_split(struct queue *q, const struct piece *pieces,
			  unsigned int nr, uint16_t extra_flags)
{
	uint16_t head = q->next;

	for (unsigned int i = 0; i < nr; i++) {
		uint64_t at = q->desc + q->next * sizeof(struct virtq_desc);
		uint16_t flags = pieces[i].write ? DESC_WRITE : 0;

		q->next = (uint16_t)((q->next + 1) % q->size);
		store64(at, pieces[i].addr);
		store32(at + 8, pieces[i].len);
		store16(at + 12,
			flags | extra_flags | (i + 1 < nr ? DESC_NEXT : 0));
		store16(at + 14, q->next);
	}
	store16(q->driver + RING_ENTRIES + q->avail % q->size * 2, head);
	q->avail++;
	return head;
}

static uint16_t add_packed(struct queue *q, const struct piece *pieces,
			   unsigned int nr, uint16_t extra_flags)
{
	uint16_t id = q->next;

	q->slots[id] = (uint16_t)nr;
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t at = q->desc + q->next * sizeof(struct virtq_desc);
		uint16_t flags = pieces[i].write ? DESC_WRITE : 0;

		flags |= extra_flags | (i + 1 < nr ? DESC_NEXT : 0);
		flags |= q->avail_wrap ? DESC_AVAILABLE : DESC_USED;
		store64(at, pieces[i].addr);
		store32(at + 8, pieces[i].len);
		store16(at + 12, id);
		/* The first flags make all that follows visible. */
		if (q->hidden) {
			store16(at + 14, flags);
		} else {
			q->hidden = true;
			q->first_slot = q->next;
			q->first_flags = flags;
		}
		if (++q->next == q->size) {
			q->next = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	return id;
}

uint16_t queue_add(struct queue *q, const struct piece *pieces, unsigned int nr,
		   uint64_t table)
{
	struct piece one = {
		.addr = table,
		.len = (uint32_t)(nr * sizeof(struct virtq_desc)),
	};
	uint16_t flags = 0;

	if (table) {
		fill_table(table, pieces, nr, q->packed);
		pieces = &one;
		nr = 1;
		flags = DESC_INDIRECT;
	}
	return q->packed ? add_packed(q, pieces, nr, flags)
			 : add_split(q, pieces, nr, flags);
}

void queue_show(struct queue *q)
{
	arch_barrier();
	if (!q->packed) {
		store16(q->driver + RING_IDX, q->avail);
	} else if (q->hidden) {
		store16(q->desc + q->first_slot * sizeof(struct virtq_desc) +
				14,
			q->first_flags);
		q->hidden = false;
	}
	arch_barrier();
}

void queue_kick(const struct queue *q)
{
	store16(q->doorbell, 0);
}

static bool used_packed(struct queue *q, uint16_t *id, uint32_t *len)
{
	uint64_t at = q->desc + q->used * sizeof(struct virtq_desc);
	uint16_t flags = load16(at + 14);
	uint32_t next;

	if (!(flags & DESC_AVAILABLE) != !(flags & DESC_USED) ||
	    !!(flags & DESC_USED) != q->used_wrap)
		return false;
	arch_barrier();
	*len = load32(at + 8);
	*id = load16(at + 12);
	next = q->used + (*id < QUEUE_MAX ? q->slots[*id] : 1U);
	if (next >= q->size) {
		next -= q->size;
		q->used_wrap = !q->used_wrap;
	}
	q->used = (uint16_t)next;
	return true;
}

bool queue_used(struct queue *q, uint16_t *id, uint32_t *len)
{
	uint64_t at;

	if (q->packed)
		return used_packed(q, id, len);
	if (load16(q->device_area + RING_IDX) == q->used)
		return false;
	arch_barrier();
	at = q->device_area + RING_ENTRIES + q->used % q->size * 8;
	*id = (uint16_t)load32(at);
	*len = load32(at + 4);
	q->used++;
	return true;
}
