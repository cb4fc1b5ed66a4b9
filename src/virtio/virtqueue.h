/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtqueues, device side: split (VIRTIO 1.2, section 2.7) and packed (2.8)
 * rings behind one interface, with indirect descriptors and event index.
 *
 * The guest owns the ring and is not trusted: every address is checked, every
 * index and descriptor is read once and the copy is used, every loop is
 * bounded by the queue's size. A ring that breaks the rules makes the queue
 * broken: it serves nothing more until it is started again, and the transport
 * sets DEVICE_NEEDS_RESET.
 *
 * No allocation, no lock. One thread uses a queue at a time.
 */
#ifndef VIRTIO_VIRTQUEUE_H
#define VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTQ_MAX_SIZE	   256 /* descriptors of a queue */
#define VIRTQ_MAX_SEGMENTS 256 /* of one chain */

/* Feature bits of the rings (6). */
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX     29
#define VIRTIO_F_VERSION_1     32
#define VIRTIO_F_RING_PACKED   34

/* How a queue reaches guest memory. */
struct virtq_memory {
	/* Host address of [gpa, gpa + len), or NULL if any byte of it may not
	 * be accessed. len is never 0. The address stays good while the queue
	 * runs, or until virtq_remap() where that may change. */
	void *(*map)(void *opaque, uint64_t gpa, uint64_t len);
	void *opaque;
};

/* What the driver set up. */
struct virtq_config {
	uint16_t size; /* 1 to VIRTQ_MAX_SIZE; split: a power of two */
	bool packed;
	bool indirect;	 /* VIRTIO_F_INDIRECT_DESC was negotiated */
	bool event_idx;	 /* VIRTIO_F_EVENT_IDX was negotiated */
	uint64_t desc;	 /* descriptor area */
	uint64_t driver; /* driver area: available ring, event suppression */
	uint64_t device; /* device area: used ring, event suppression */
};

/* One piece of a buffer, already translated. */
struct virtq_segment {
	uint8_t *host;
	uint64_t addr; /* the guest's */
	uint32_t len;
};

/* One buffer: device-readable segments first, then device-writable ones. */
struct virtq_chain {
	uint16_t id;	   /* names the buffer when it is given back */
	uint16_t nr_slots; /* ring slots it takes (packed) */
	uint16_t nr_segments;
	uint16_t nr_readable;
	struct virtq_segment segments[VIRTQ_MAX_SEGMENTS];
};

/* One queue. Fields are private to src/virtio. */
struct virtq {
	struct virtq_memory memory;
	struct virtq_config config;
	bool running, broken;
	uint8_t *desc, *driver, *device; /* the three areas, mapped */

	uint16_t next_avail;	    /* split: index; packed: slot */
	uint16_t next_used;	    /* split: index; packed: slot */
	bool avail_wrap, used_wrap; /* packed: wrap counters */
};

/* Start with this config. -1 if the size or an address is not valid: the
 * queue is then broken. */
int virtq_start(struct virtq *q, const struct virtq_memory *memory,
		const struct virtq_config *config);

/* Forget everything. */
void virtq_stop(struct virtq *q);

/* Running and not broken. */
bool virtq_usable(const struct virtq *q);

/* Mark it broken: the device found something it cannot answer. */
void virtq_set_broken(struct virtq *q);

/*
 * Ask again for the addresses of the rings, and of chain (NULL: none) that was
 * taken: what may be accessed can have changed. -1: some of it may no longer
 * be, and the queue is broken.
 */
int virtq_remap(struct virtq *q, struct virtq_chain *chain);

/*
 * Take the next buffer. 1: chain is filled. 0: there is none. -1: the ring is
 * malformed and the queue broken. A chain that was taken must be given back by
 * virtq_push(), or the queue stopped.
 */
int virtq_pop(struct virtq *q, struct virtq_chain *chain);

/*
 * Give a buffer back, with the number of bytes written to it. Returns true if
 * the driver wants an interrupt for it.
 */
bool virtq_push(struct virtq *q, const struct virtq_chain *chain,
		uint32_t written);

/*
 * Ask for kicks, or to be spared them. After enabling, returns true if buffers
 * are there already: serve them, the driver may not kick for them.
 */
bool virtq_enable_kicks(struct virtq *q);
void virtq_disable_kicks(struct virtq *q);

/* Bytes in the readable and in the writable part. */
uint64_t virtq_chain_readable(const struct virtq_chain *chain);
uint64_t virtq_chain_writable(const struct virtq_chain *chain);

/* Copy from the start of the readable part; returns how much there was. */
size_t virtq_chain_read(const struct virtq_chain *chain, void *buf, size_t len);

/* Copy to the start of the writable part; returns how much there was room
 * for. */
size_t virtq_chain_write(const struct virtq_chain *chain, const void *buf,
			 size_t len);

#endif
