/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's half of virtio over PCI, for tests: it does what it is told,
 * right or wrong, by polling alone.
 */
#ifndef BARE_VIRTIO_H
#define BARE_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

/* Device status (2.1). */
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER	   2
#define STATUS_DRIVER_OK   4
#define STATUS_FEATURES_OK 8
#define STATUS_NEEDS_RESET 64
#define STATUS_FAILED	   128

/* Features (6). */
#define F_INDIRECT  (UINT64_C(1) << 28)
#define F_EVENT_IDX (UINT64_C(1) << 29)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define F_PACKED    (UINT64_C(1) << 34)

/* Common configuration (4.1.4.3). */
enum {
	COMMON_DEVICE_FEATURE_SELECT = 0,
	COMMON_DEVICE_FEATURE = 4,
	COMMON_DRIVER_FEATURE_SELECT = 8,
	COMMON_DRIVER_FEATURE = 12,
	COMMON_CONFIG_VECTOR = 16,
	COMMON_NUM_QUEUES = 18,
	COMMON_STATUS = 20,
	COMMON_GENERATION = 21,
	COMMON_QUEUE_SELECT = 22,
	COMMON_QUEUE_SIZE = 24,
	COMMON_QUEUE_VECTOR = 26,
	COMMON_QUEUE_ENABLE = 28,
	COMMON_QUEUE_NOTIFY_OFF = 30,
	COMMON_QUEUE_DESC = 32,
	COMMON_QUEUE_DRIVER = 40,
	COMMON_QUEUE_DEVICE = 48,
};

#define ISR_QUEUE  1
#define ISR_CONFIG 2

/* Where a device's structures are. */
struct virtio {
	unsigned int bdf;
	uint64_t common, isr, config, notify;
	uint32_t notify_multiplier;
	unsigned int window; /* offset of the configuration access capability */
	uint8_t config_bar;
	uint32_t config_offset;
	unsigned int msix; /* offset of the MSI-X capability */
	uint64_t msix_table, msix_pba;
};

/* Find the structures of a function, and let it answer. False: it is not a
 * modern virtio device. */
bool virtio_probe(struct virtio *v, unsigned int bdf);

/* Whether the device may access memory: PCI's bus master bit. */
void virtio_set_master(const struct virtio *v, bool on);
/* Reset and wait until it is done (4.1.4.3.1). False: it never is. */
bool virtio_reset(const struct virtio *v);
uint64_t virtio_offered(const struct virtio *v);
void virtio_accept(const struct virtio *v, uint64_t features);
uint8_t virtio_status(const struct virtio *v);
void virtio_add_status(const struct virtio *v, uint8_t bits);
/* Read and clear what the device wants to tell. */
uint8_t virtio_isr(const struct virtio *v);

/* ---- Queues ------------------------------------------------------------ */

#define QUEUE_MAX      256
#define QUEUE_BYTES    0x4000 /* of memory, for the largest, in one piece */
#define INDIRECT_MAX   64     /* pieces in an indirect table */
#define DESC_NEXT      1
#define DESC_WRITE     2
#define DESC_INDIRECT  4
#define DESC_AVAILABLE 0x80
#define DESC_USED      0x8000

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* packed: id, flags */
	uint16_t next;
};

struct queue {
	const struct virtio *device;
	bool packed;
	uint16_t size;
	uint64_t desc, driver, device_area; /* three areas */
	uint64_t doorbell;
	uint16_t next;	/* next free descriptor */
	uint16_t avail; /* split: available index; not yet shown */
	uint16_t used;	/* split: used index; packed: slot */
	bool avail_wrap, used_wrap;
	uint16_t first_flags; /* packed: shown by queue_show() */
	uint16_t first_slot;
	bool hidden;
	uint16_t slots[QUEUE_MAX]; /* packed: of the buffer with that id */
};

/* A piece of a buffer. */
struct piece {
	uint64_t addr;
	uint32_t len;
	bool write;
};

enum area {
	AREA_DESC,
	AREA_DRIVER,
	AREA_DEVICE,
	NR_AREAS,
};

/*
 * Give queue 0 its memory: QUEUE_BYTES from memory on, but for areas whose
 * address elsewhere[] holds (0: none); these are not touched. size 0: the
 * largest that it and we can do. Returns the size, 0 if there is no queue.
 */
uint16_t queue_set_up(struct queue *q, const struct virtio *v,
		      uint64_t features, uint16_t size, uint64_t memory,
		      const uint64_t elsewhere[NR_AREAS]);

/* Add a buffer; the device does not see it before queue_show(). Returns its
 * id. table: an indirect table is made there; 0: no table. */
uint16_t queue_add(struct queue *q, const struct piece *pieces, unsigned int nr,
		   uint64_t table);
void queue_show(struct queue *q);
void queue_kick(const struct queue *q);
/* The next used buffer, if there is one. */
bool queue_used(struct queue *q, uint16_t *id, uint32_t *len);

#endif
