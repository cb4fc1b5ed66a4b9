/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire format of virtio-mem: VIRTIO 1.2 and later, section 5.15 "Memory
 * Device". Shared by the device (host) and the driver (guest).
 *
 * All fields are little-endian on the wire. Code that must run on big-endian
 * machines reads and writes them by byte; the structs state the layout.
 */
#ifndef VMEM_ABI_H
#define VMEM_ABI_H

#include <stddef.h>
#include <stdint.h>

/* No <assert.h>: a freestanding compiler need not have it. */
#ifdef __cplusplus
#define VMEM_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define VMEM_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* Virtio device ID (5.15.1) and the one virtqueue (5.15.2). */
#define VMEM_VIRTIO_ID	   24
#define VMEM_QUEUE_REQUEST 0
#define VMEM_NR_QUEUES	   1

/* Feature bits (5.15.3). */
#define VMEM_F_ACPI_PXM		      0
#define VMEM_F_UNPLUGGED_INACCESSIBLE 1
#define VMEM_F_PERSISTENT_SUSPEND     2

/* Device configuration layout (5.15.4). Read-only for the driver. */
struct vmem_config {
	uint64_t block_size; /* power of two; never changes */
	uint16_t node_id;    /* valid with VMEM_F_ACPI_PXM; never changes */
	uint8_t padding[6];
	uint64_t addr;		     /* start of the region; never changes */
	uint64_t region_size;	     /* never changes */
	uint64_t usable_region_size; /* driver may use [addr, addr + this) */
	uint64_t plugged_size;	     /* sum of the plugged blocks */
	uint64_t requested_size;     /* what the driver shall reach */
};

VMEM_STATIC_ASSERT(sizeof(struct vmem_config) == 56, "5.15.4");
VMEM_STATIC_ASSERT(offsetof(struct vmem_config, node_id) == 8, "5.15.4");
VMEM_STATIC_ASSERT(offsetof(struct vmem_config, addr) == 16, "5.15.4");
VMEM_STATIC_ASSERT(offsetof(struct vmem_config, region_size) == 24, "5.15.4");
VMEM_STATIC_ASSERT(offsetof(struct vmem_config, usable_region_size) == 32,
		   "5.15.4");
VMEM_STATIC_ASSERT(offsetof(struct vmem_config, plugged_size) == 40, "5.15.4");
VMEM_STATIC_ASSERT(offsetof(struct vmem_config, requested_size) == 48,
		   "5.15.4");

/* Request types (5.15.6). */
enum vmem_request_type {
	VMEM_REQ_PLUG = 0,
	VMEM_REQ_UNPLUG = 1,
	VMEM_REQ_UNPLUG_ALL = 2,
	VMEM_REQ_STATE = 3,
};

/* One request. addr and nr_blocks are used by PLUG, UNPLUG and STATE. */
struct vmem_request {
	uint16_t type;
	uint16_t padding[3];
	uint64_t addr;
	uint16_t nr_blocks; /* the specification's nb_blocks */
	uint16_t padding2[3];
};

VMEM_STATIC_ASSERT(sizeof(struct vmem_request) == 24, "5.15.6");
VMEM_STATIC_ASSERT(offsetof(struct vmem_request, addr) == 8, "5.15.6");
VMEM_STATIC_ASSERT(offsetof(struct vmem_request, nr_blocks) == 16, "5.15.6");

/* Response types (5.15.6). */
enum vmem_response_type {
	VMEM_RESP_ACK = 0,
	VMEM_RESP_NACK = 1,
	VMEM_RESP_BUSY = 2,
	VMEM_RESP_ERROR = 3,
};

/* State of a range of blocks, in the response to STATE (5.15.6.5). */
enum vmem_range_state {
	VMEM_STATE_PLUGGED = 0,
	VMEM_STATE_UNPLUGGED = 1,
	VMEM_STATE_MIXED = 2,
};

/* One response. state is valid in the ACK to STATE. */
struct vmem_response {
	uint16_t type;
	uint16_t padding[3];
	uint16_t state;
};

VMEM_STATIC_ASSERT(sizeof(struct vmem_response) == 10, "5.15.6");
VMEM_STATIC_ASSERT(offsetof(struct vmem_response, state) == 8, "5.15.6");

#endif
