// SPDX-License-Identifier: BSD-3-Clause
/*
 * Packed virtqueues (VIRTIO 1.2, section 2.8).
 *
 * One ring of descriptors that both sides write. Two bits in a descriptor's
 * flags say in which lap it was made available and used; each side keeps a
 * wrap counter that flips with every lap.
 */
#include <stdatomic.h>
#include <string.h>

#include "virtqueue_internal.h"

#define DESC_FLAGS     14 /* offset in a descriptor */
#define DESC_ID	       12
#define DESC_LEN       8
#define DESC_AVAIL     (1U << 7)
#define DESC_USED      (1U << 15)
/* Event suppression structure (2.8.10). */
#define EVENT_OFF_WRAP 0
#define EVENT_FLAGS    2
#define EVENT_SIZE     4
#define EVENT_ENABLE   0
#define EVENT_DISABLE  1
#define EVENT_DESC     2
#define EVENT_WRAP     (1U << 15)

static uint64_t packed_area_size(const struct virtq_config *config,
				 unsigned int area)
{
	if (area == VIRTQ_AREA_DESC)
		return (uint64_t)config->size * VIRTQ_DESC_SIZE;
	return EVENT_SIZE;
}

static uint8_t *slot_of(const struct virtq *q, uint16_t slot)
{
	return q->desc + (size_t)slot * VIRTQ_DESC_SIZE;
}

static bool is_available(const struct virtq *q, uint16_t flags)
{
	bool avail = flags & DESC_AVAIL, used = flags & DESC_USED;

	return avail == q->avail_wrap && used != q->avail_wrap;
}

static struct virtq_desc copy_desc(const uint8_t *from)
{
	uint8_t raw[VIRTQ_DESC_SIZE];

	memcpy(raw, from, sizeof(raw));
	return (struct virtq_desc){
		.addr = virtq_load64(raw),
		.len = virtq_load32(raw + DESC_LEN),
		.extra = virtq_load16(raw + DESC_ID),
		.flags = virtq_load16(raw + DESC_FLAGS),
	};
}

/* An indirect table holds its pieces in order; only WRITE counts in it
 * (2.8.7). */
static bool walk_indirect(const struct virtq *q, const struct virtq_desc *desc,
			  struct virtq_chain *chain)
{
	uint32_t nr = desc->len / VIRTQ_DESC_SIZE;
	const uint8_t *table;

	if (!q->config.indirect || !nr || nr > q->config.size ||
	    desc->len % VIRTQ_DESC_SIZE)
		return false;
	table = q->memory.map(q->memory.opaque, desc->addr, desc->len);
	for (uint32_t i = 0; table && i < nr; i++) {
		struct virtq_desc piece =
			copy_desc(table + i * VIRTQ_DESC_SIZE);

		if ((piece.flags & VIRTQ_DESC_INDIRECT) ||
		    !virtq_chain_add(q, chain, &piece))
			return false;
	}
	return table != NULL;
}

/* Collect a chain that starts with head, whose flags were read already; the
 * driver made its other slots visible before. */
static bool walk(const struct virtq *q, uint16_t head_flags,
		 struct virtq_chain *chain)
{
	uint16_t slot = q->next_avail;

	chain->nr_slots = 0;
	while (chain->nr_slots < q->config.size) {
		struct virtq_desc desc = copy_desc(slot_of(q, slot));

		if (chain->nr_slots++ == 0)
			desc.flags = head_flags;
		chain->id = desc.extra;
		if (desc.flags & VIRTQ_DESC_INDIRECT)
			return chain->nr_slots == 1 &&
			       !(desc.flags & VIRTQ_DESC_NEXT) &&
			       walk_indirect(q, &desc, chain);
		if (!virtq_chain_add(q, chain, &desc))
			return false;
		if (!(desc.flags & VIRTQ_DESC_NEXT))
			return true;
		slot = slot + 1 == q->config.size ? 0 : slot + 1;
	}
	return false;
}

/* Advance a position by nr slots; flips the wrap counter at the end. */
static void advance(const struct virtq *q, uint16_t *slot, bool *wrap,
		    uint16_t nr)
{
	uint32_t next = (uint32_t)*slot + nr;

	if (next >= q->config.size) {
		next -= q->config.size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)next;
}

static int packed_pop(struct virtq *q, struct virtq_chain *chain)
{
	/* Pairs with the driver's barrier before it stores a head's flags. */
	uint16_t flags =
		virtq_load16_acquire(slot_of(q, q->next_avail) + DESC_FLAGS);

	if (!is_available(q, flags))
		return 0;
	if (!walk(q, flags, chain))
		return virtq_fail(q);
	advance(q, &q->next_avail, &q->avail_wrap, chain->nr_slots);
	return 1;
}

/* Does the driver want an interrupt for the slots [from, from + nr), in the
 * lap whose wrap counter is wrap? */
static bool wants_interrupt(const struct virtq *q, uint16_t from, bool wrap,
			    uint16_t nr)
{
	uint16_t flags = virtq_load16_relaxed(q->driver + EVENT_FLAGS) & 3;
	uint16_t off_wrap;
	uint32_t event;

	if (flags != EVENT_DESC || !q->config.event_idx)
		return flags != EVENT_DISABLE;
	off_wrap = virtq_load16_relaxed(q->driver + EVENT_OFF_WRAP);
	event = off_wrap & (EVENT_WRAP - 1);
	/* An event in another lap lies in the next one. */
	if (!!(off_wrap & EVENT_WRAP) != wrap)
		event += q->config.size;
	return event >= from && event < (uint32_t)from + nr;
}

static bool packed_push(struct virtq *q, const struct virtq_chain *chain,
			uint32_t written)
{
	uint16_t from = q->next_used;
	bool wrap = q->used_wrap;
	uint8_t *slot = slot_of(q, from);
	uint16_t flags = written ? VIRTQ_DESC_WRITE : 0;

	if (wrap)
		flags |= DESC_AVAIL | DESC_USED;
	virtq_store16(slot + DESC_ID, chain->id);
	virtq_store32(slot + DESC_LEN, written);
	/* Pairs with the driver's barrier after its load of the flags. */
	virtq_store16_release(slot + DESC_FLAGS, flags);
	advance(q, &q->next_used, &q->used_wrap, chain->nr_slots);

	/* Pairs with the driver's barrier between enabling interrupts and
	 * looking for used slots once more. */
	atomic_thread_fence(memory_order_seq_cst);
	return wants_interrupt(q, from, wrap, chain->nr_slots);
}

static bool packed_enable_kicks(struct virtq *q)
{
	if (q->config.event_idx) {
		virtq_store16_relaxed(q->device + EVENT_OFF_WRAP,
				      q->next_avail |
					      (q->avail_wrap ? EVENT_WRAP : 0));
		/* The position must be there before the flags that use it:
		 * pairs with the driver's load of flags, then of position. */
		virtq_store16_release(q->device + EVENT_FLAGS, EVENT_DESC);
	} else {
		virtq_store16_relaxed(q->device + EVENT_FLAGS, EVENT_ENABLE);
	}
	/* Pairs with the driver's barrier between publishing a buffer and
	 * looking whether we want a kick. */
	atomic_thread_fence(memory_order_seq_cst);
	return is_available(q, virtq_load16_relaxed(slot_of(q, q->next_avail) +
						    DESC_FLAGS));
}

static void packed_disable_kicks(struct virtq *q)
{
	virtq_store16_relaxed(q->device + EVENT_FLAGS, EVENT_DISABLE);
}

const struct virtq_format virtq_packed = {
	.area_size = packed_area_size,
	.pop = packed_pop,
	.push = packed_push,
	.enable_kicks = packed_enable_kicks,
	.disable_kicks = packed_disable_kicks,
};
