// SPDX-License-Identifier: BSD-3-Clause
/* Virtqueues: what both ring formats have in common. */
#include <stdatomic.h>
#include <string.h>

#include "virtqueue_internal.h"

uint16_t virtq_load16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t virtq_load32(const uint8_t *p)
{
	return virtq_load16(p) | (uint32_t)virtq_load16(p + 2) << 16;
}

uint64_t virtq_load64(const uint8_t *p)
{
	return virtq_load32(p) | (uint64_t)virtq_load32(p + 4) << 32;
}

void virtq_store16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

void virtq_store32(uint8_t *p, uint32_t value)
{
	virtq_store16(p, (uint16_t)value);
	virtq_store16(p + 2, (uint16_t)(value >> 16));
}

/* The host's view of a little-endian 16-bit value. */
static uint16_t le16(uint16_t raw)
{
	uint8_t bytes[2];

	memcpy(bytes, &raw, sizeof(bytes));
	return virtq_load16(bytes);
}

uint16_t virtq_load16_relaxed(const uint8_t *p)
{
	const void *at = p;

	return le16(atomic_load_explicit((const _Atomic uint16_t *)at,
					 memory_order_relaxed));
}

uint16_t virtq_load16_acquire(const uint8_t *p)
{
	const void *at = p;

	return le16(atomic_load_explicit((const _Atomic uint16_t *)at,
					 memory_order_acquire));
}

void virtq_store16_relaxed(uint8_t *p, uint16_t value)
{
	void *at = p;

	atomic_store_explicit((_Atomic uint16_t *)at, le16(value),
			      memory_order_relaxed);
}

void virtq_store16_release(uint8_t *p, uint16_t value)
{
	void *at = p;

	atomic_store_explicit((_Atomic uint16_t *)at, le16(value),
			      memory_order_release);
}

bool virtq_event_passed(uint16_t event, uint16_t new_idx, uint16_t old)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old);
}

int virtq_fail(struct virtq *q)
{
	q->broken = true;
	return -1;
}

bool virtq_chain_add(const struct virtq *q, struct virtq_chain *chain,
		     const struct virtq_desc *desc)
{
	bool writable = desc->flags & VIRTQ_DESC_WRITE;
	struct virtq_segment *segment;

	if (chain->nr_segments == VIRTQ_MAX_SEGMENTS)
		return false;
	/* Readable pieces all come before writable ones (2.7.4.2). */
	if (!writable && chain->nr_readable < chain->nr_segments)
		return false;
	segment = &chain->segments[chain->nr_segments];
	segment->len = desc->len;
	segment->addr = desc->addr;
	segment->host = NULL;
	if (desc->len) {
		segment->host =
			q->memory.map(q->memory.opaque, desc->addr, desc->len);
		if (!segment->host)
			return false;
	}
	chain->nr_segments++;
	if (!writable)
		chain->nr_readable++;
	return true;
}

static const struct virtq_format *format_of(const struct virtq *q)
{
	return q->config.packed ? &virtq_packed : &virtq_split;
}

static bool config_valid(const struct virtq_config *config)
{
	uint16_t size = config->size;

	if (!size || size > VIRTQ_MAX_SIZE)
		return false;
	if (!config->packed && (size & (size - 1)))
		return false;
	/* 2.7.1 and 2.8: descriptors 16; split: driver area 2, device area 4;
	 * packed: both event structures 4. */
	return config->desc % 16 == 0 && config->device % 4 == 0 &&
	       config->driver % (config->packed ? 4 : 2) == 0;
}

/* Translate the three areas. Host memory must be aligned as the guest's
 * addresses are, for the atomic accesses. */
static bool map_areas(struct virtq *q)
{
	const struct virtq_format *format = format_of(q);
	const struct virtq_config *config = &q->config;
	const struct virtq_memory *memory = &q->memory;

	q->desc = memory->map(memory->opaque, config->desc,
			      format->area_size(config, VIRTQ_AREA_DESC));
	q->driver = memory->map(memory->opaque, config->driver,
				format->area_size(config, VIRTQ_AREA_DRIVER));
	q->device = memory->map(memory->opaque, config->device,
				format->area_size(config, VIRTQ_AREA_DEVICE));
	return q->desc && q->driver && q->device &&
	       (uintptr_t)q->desc % 16 == 0 && (uintptr_t)q->driver % 2 == 0 &&
	       (uintptr_t)q->device % 4 == 0;
}

int virtq_start(struct virtq *q, const struct virtq_memory *memory,
		const struct virtq_config *config)
{
	memset(q, 0, sizeof(*q));
	q->memory = *memory;
	q->config = *config;
	q->running = true;
	q->avail_wrap = q->used_wrap = true;
	if (!config_valid(config))
		return virtq_fail(q);
	return map_areas(q) ? 0 : virtq_fail(q);
}

int virtq_remap(struct virtq *q, struct virtq_chain *chain)
{
	if (!virtq_usable(q) || !map_areas(q))
		return virtq_fail(q);
	for (unsigned int i = 0; chain && i < chain->nr_segments; i++) {
		struct virtq_segment *s = &chain->segments[i];

		if (!s->len)
			continue;
		s->host = q->memory.map(q->memory.opaque, s->addr, s->len);
		if (!s->host)
			return virtq_fail(q);
	}
	return 0;
}

void virtq_stop(struct virtq *q)
{
	memset(q, 0, sizeof(*q));
}

bool virtq_usable(const struct virtq *q)
{
	return q->running && !q->broken;
}

void virtq_set_broken(struct virtq *q)
{
	q->broken = true;
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	if (!virtq_usable(q))
		return q->broken ? -1 : 0;
	chain->nr_segments = chain->nr_readable = 0;
	return format_of(q)->pop(q, chain);
}

bool virtq_push(struct virtq *q, const struct virtq_chain *chain,
		uint32_t written)
{
	return virtq_usable(q) && format_of(q)->push(q, chain, written);
}

bool virtq_enable_kicks(struct virtq *q)
{
	return virtq_usable(q) && format_of(q)->enable_kicks(q);
}

void virtq_disable_kicks(struct virtq *q)
{
	if (virtq_usable(q))
		format_of(q)->disable_kicks(q);
}

static uint64_t sum(const struct virtq_chain *chain, unsigned int from,
		    unsigned int to)
{
	uint64_t total = 0;

	for (unsigned int i = from; i < to; i++)
		total += chain->segments[i].len;
	return total;
}

uint64_t virtq_chain_readable(const struct virtq_chain *chain)
{
	return sum(chain, 0, chain->nr_readable);
}

uint64_t virtq_chain_writable(const struct virtq_chain *chain)
{
	return sum(chain, chain->nr_readable, chain->nr_segments);
}

size_t virtq_chain_read(const struct virtq_chain *chain, void *buf, size_t len)
{
	uint8_t *to = buf;
	size_t done = 0;

	for (unsigned int i = 0; i < chain->nr_readable && done < len; i++) {
		const struct virtq_segment *s = &chain->segments[i];
		size_t part = s->len < len - done ? s->len : len - done;

		if (part)
			memcpy(to + done, s->host, part);
		done += part;
	}
	return done;
}

size_t virtq_chain_write(const struct virtq_chain *chain, const void *buf,
			 size_t len)
{
	const uint8_t *from = buf;
	size_t done = 0;

	for (unsigned int i = chain->nr_readable;
	     i < chain->nr_segments && done < len; i++) {
		const struct virtq_segment *s = &chain->segments[i];
		size_t part = s->len < len - done ? s->len : len - done;

		if (part)
			memcpy(s->host, from + done, part);
		done += part;
	}
	return done;
}
