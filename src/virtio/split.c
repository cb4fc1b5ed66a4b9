// SPDX-License-Identifier: BSD-3-Clause
/*
 * Split virtqueues (VIRTIO 1.2, section 2.7).
 *
 * The driver publishes buffers by storing the available index after the ring
 * entries and descriptors; we load it with acquire and then read what it
 * covers. We publish used buffers by a release store of the used index.
 */
#include <stdatomic.h>
#include <string.h>

#include "virtqueue_internal.h"

/* Fields of the available (driver) and used (device) rings. */
#define RING_FLAGS	   0
#define RING_IDX	   2
#define RING_ENTRIES	   4
#define AVAIL_ENTRY_SIZE   2
#define USED_ENTRY_SIZE	   8
#define EVENT_SIZE	   2
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

static uint64_t split_area_size(const struct virtq_config *config,
				unsigned int area)
{
	uint64_t event = config->event_idx ? EVENT_SIZE : 0;

	switch (area) {
	case VIRTQ_AREA_DESC:
		return (uint64_t)config->size * VIRTQ_DESC_SIZE;
	case VIRTQ_AREA_DRIVER:
		return RING_ENTRIES + event +
		       (uint64_t)config->size * AVAIL_ENTRY_SIZE;
	default:
		return RING_ENTRIES + event +
		       (uint64_t)config->size * USED_ENTRY_SIZE;
	}
}

/* Where the driver says at which used index it wants an interrupt. */
static uint8_t *used_event(const struct virtq *q)
{
	return q->driver + RING_ENTRIES + q->config.size * AVAIL_ENTRY_SIZE;
}

/* Where we say at which available index we want a kick. */
static uint8_t *avail_event(const struct virtq *q)
{
	return q->device + RING_ENTRIES + q->config.size * USED_ENTRY_SIZE;
}

/* One copy of a descriptor, taken once. */
static struct virtq_desc copy_desc(const uint8_t *table, uint16_t index)
{
	uint8_t raw[VIRTQ_DESC_SIZE];

	memcpy(raw, table + (size_t)index * VIRTQ_DESC_SIZE, sizeof(raw));
	return (struct virtq_desc){
		.addr = virtq_load64(raw),
		.len = virtq_load32(raw + 8),
		.flags = virtq_load16(raw + 12),
		.extra = virtq_load16(raw + 14),
	};
}

/*
 * Walk a chain in table from index on. On an indirect descriptor in the main
 * table, fills indirect and stops. A chain may not be longer than the queue
 * (2.7.5.3.1), nor than its table, which also ends loops.
 */
static bool walk(const struct virtq *q, const uint8_t *table, uint32_t nr,
		 uint16_t index, struct virtq_chain *chain,
		 struct virtq_desc *indirect)
{
	for (uint32_t steps = 0; steps < nr; steps++) {
		struct virtq_desc desc;

		if (index >= nr)
			return false;
		desc = copy_desc(table, index);
		if (desc.flags & VIRTQ_DESC_INDIRECT) {
			/* Not inside an indirect table, nor with NEXT. */
			if (!indirect || (desc.flags & VIRTQ_DESC_NEXT))
				return false;
			*indirect = desc;
			return true;
		}
		if (!virtq_chain_add(q, chain, &desc))
			return false;
		if (!(desc.flags & VIRTQ_DESC_NEXT))
			return true;
		index = desc.extra;
	}
	return false;
}

static bool walk_indirect(const struct virtq *q, const struct virtq_desc *desc,
			  struct virtq_chain *chain)
{
	uint32_t nr = desc->len / VIRTQ_DESC_SIZE;
	const uint8_t *table;

	if (!q->config.indirect || !nr || nr > q->config.size ||
	    desc->len % VIRTQ_DESC_SIZE)
		return false;
	table = q->memory.map(q->memory.opaque, desc->addr, desc->len);
	return table && walk(q, table, nr, 0, chain, NULL);
}

static int split_pop(struct virtq *q, struct virtq_chain *chain)
{
	struct virtq_desc indirect = {0};
	uint16_t avail, head, slot;

	/* Pairs with the driver's barrier before its store of the index. */
	avail = virtq_load16_acquire(q->driver + RING_IDX);
	if (avail == q->next_avail)
		return 0;
	if ((uint16_t)(avail - q->next_avail) > q->config.size)
		return virtq_fail(q);
	slot = q->next_avail & (q->config.size - 1);
	head = virtq_load16_relaxed(q->driver + RING_ENTRIES +
				    slot * AVAIL_ENTRY_SIZE);
	if (!walk(q, q->desc, q->config.size, head, chain, &indirect))
		return virtq_fail(q);
	if (indirect.flags && !walk_indirect(q, &indirect, chain))
		return virtq_fail(q);
	chain->id = head;
	chain->nr_slots = 1;
	q->next_avail++;
	return 1;
}

static bool split_push(struct virtq *q, const struct virtq_chain *chain,
		       uint32_t written)
{
	uint16_t slot = q->next_used & (q->config.size - 1);
	uint8_t *entry = q->device + RING_ENTRIES + slot * USED_ENTRY_SIZE;
	uint16_t event;

	virtq_store32(entry, chain->id);
	virtq_store32(entry + 4, written);
	/* Pairs with the driver's barrier after its load of the index. */
	virtq_store16_release(q->device + RING_IDX, ++q->next_used);

	/* Pairs with the driver's barrier between enabling interrupts and
	 * looking at the used index once more: one of us sees the other. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->config.event_idx)
		return !(virtq_load16_relaxed(q->driver + RING_FLAGS) &
			 AVAIL_NO_INTERRUPT);
	event = virtq_load16_relaxed(used_event(q));
	return virtq_event_passed(event, q->next_used,
				  (uint16_t)(q->next_used - 1));
}

static bool split_enable_kicks(struct virtq *q)
{
	if (q->config.event_idx)
		virtq_store16_relaxed(avail_event(q), q->next_avail);
	else
		virtq_store16_relaxed(q->device + RING_FLAGS, 0);
	/* Pairs with the driver's barrier between publishing a buffer and
	 * looking whether we want a kick: one of us sees the other. */
	atomic_thread_fence(memory_order_seq_cst);
	return virtq_load16_relaxed(q->driver + RING_IDX) != q->next_avail;
}

static void split_disable_kicks(struct virtq *q)
{
	/* With event index, an event that lies behind asks for nothing. */
	if (!q->config.event_idx)
		virtq_store16_relaxed(q->device + RING_FLAGS, USED_NO_NOTIFY);
}

const struct virtq_format virtq_split = {
	.area_size = split_area_size,
	.pop = split_pop,
	.push = split_push,
	.enable_kicks = split_enable_kicks,
	.disable_kicks = split_disable_kicks,
};
