/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two ring formats share with virtqueue.c, and nobody else. */
#ifndef VIRTIO_VIRTQUEUE_INTERNAL_H
#define VIRTIO_VIRTQUEUE_INTERNAL_H

#include "virtqueue.h"

/* A ring format. Variants stand in one const table in virtqueue.c. */
struct virtq_format {
	/* Bytes and alignment of the three areas for a queue of size. */
	uint64_t (*area_size)(const struct virtq_config *config,
			      unsigned int area);
	int (*pop)(struct virtq *q, struct virtq_chain *chain);
	bool (*push)(struct virtq *q, const struct virtq_chain *chain,
		     uint32_t written);
	bool (*enable_kicks)(struct virtq *q);
	void (*disable_kicks)(struct virtq *q);
};

enum {
	VIRTQ_AREA_DESC,
	VIRTQ_AREA_DRIVER,
	VIRTQ_AREA_DEVICE,
	VIRTQ_NR_AREAS
};

extern const struct virtq_format virtq_split;
extern const struct virtq_format virtq_packed;

/* Descriptor flags, the same in both formats (2.7.5, 2.8.1). */
#define VIRTQ_DESC_NEXT	    1
#define VIRTQ_DESC_WRITE    2
#define VIRTQ_DESC_INDIRECT 4
#define VIRTQ_DESC_SIZE	    16

/* A descriptor, copied out of the ring. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t extra; /* split: next; packed: buffer id */
};

/* Little-endian loads and stores of guest memory at any alignment. */
uint16_t virtq_load16(const uint8_t *p);
uint32_t virtq_load32(const uint8_t *p);
uint64_t virtq_load64(const uint8_t *p);
void virtq_store16(uint8_t *p, uint16_t value);
void virtq_store32(uint8_t *p, uint32_t value);

/* Single atomic accesses to the ring's shared 16-bit fields, which are 2-byte
 * aligned (virtq_start() checks). The one who calls names the partner. */
uint16_t virtq_load16_relaxed(const uint8_t *p);
uint16_t virtq_load16_acquire(const uint8_t *p);
void virtq_store16_relaxed(uint8_t *p, uint16_t value);
void virtq_store16_release(uint8_t *p, uint16_t value);

/* Add a descriptor's piece to chain: translated, writable after readable,
 * bounded. False if it breaks a rule. */
bool virtq_chain_add(const struct virtq *q, struct virtq_chain *chain,
		     const struct virtq_desc *desc);

/* Whether event is among the indices just passed, (old, new_idx]; all modulo
 * 2^16 (2.7.10). */
bool virtq_event_passed(uint16_t event, uint16_t new_idx, uint16_t old);

/* Mark the queue broken and return -1. */
int virtq_fail(struct virtq *q);

#endif
