/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvirtio-mem: the device half of virtio-mem (VIRTIO 1.2+, section 5.15) as
 * a state machine. Requests go in, responses come out; everything the device
 * needs from its VMM goes through struct vmem_device_ops.
 *
 * The library does no I/O, starts no thread, keeps no global state, and
 * allocates nothing: the caller supplies the storage, whose size
 * vmem_device_storage_size() tells (one bit a block and a small header).
 *
 * Threads. The caller serialises all calls on one device, with one relief: the
 * device never holds anything across a call of ops->plug or ops->unplug, so a
 * VMM may drop its lock inside these two and take it again before it returns.
 * While one of them runs, every function marked [any] may be called; the
 * others (a further request, a system reset) may not.
 *
 * Errors. Functions return 0 or a negative errno value. What a guest does
 * wrong is never such an error: it gets the specification's answer, and
 * ops->guest_error hears of it.
 *
 * Units. Sizes and addresses are bytes, addresses are guest-physical.
 */
#ifndef VMEM_DEVICE_H
#define VMEM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmem/abi.h>
#include <vmem/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opaque; lives in storage of the caller. */
struct vmem_device;

/* Why a request of the guest was answered with other than ACK. */
enum vmem_guest_error {
	VMEM_GUEST_BAD_TYPE,	   /* unknown request type */
	VMEM_GUEST_ZERO_BLOCKS,	   /* nb_blocks is 0 */
	VMEM_GUEST_MISALIGNED,	   /* addr is not a multiple of block_size */
	VMEM_GUEST_OUT_OF_RANGE,   /* a block is outside the usable region */
	VMEM_GUEST_WRONG_STATE,	   /* PLUG of plugged, UNPLUG of unplugged */
	VMEM_GUEST_OVER_REQUESTED, /* PLUG beyond requested_size (NACK) */
	VMEM_GUEST_SHORT_REQUEST,  /* buffer too short for a request */
	VMEM_GUEST_SHORT_RESPONSE, /* buffer too short for a response */
	VMEM_NR_GUEST_ERRORS,
};

/* What the device asks of its VMM. Every member but guest_error and
 * config_changed must be set. opaque is what vmem_device_init() was given. */
struct vmem_device_ops {
	/*
	 * Make [addr, addr + size) usable by the guest. Called from
	 * vmem_device_handle_request() only; may block. Returns
	 *   0        the blocks become plugged, the guest gets ACK;
	 *   -EBUSY or -EAGAIN  nothing changes, the guest gets BUSY (it will
	 *            ask again later);
	 *   any other negative errno value  nothing changes, the guest gets
	 *            NACK.
	 */
	int (*plug)(void *opaque, uint64_t addr, uint64_t size);

	/*
	 * Take [addr, addr + size) back and drop its content. Called for
	 * UNPLUG with exactly the blocks named; for UNPLUG_ALL and
	 * vmem_device_system_reset() once, with a range that covers all
	 * plugged blocks and may cover unplugged ones. May block. 0: the
	 * blocks become unplugged. Negative: nothing changes, the guest gets
	 * BUSY, a system reset fails with that value.
	 */
	int (*unplug)(void *opaque, uint64_t addr, uint64_t size);

	/*
	 * Send a configuration change notification: usable_region_size or
	 * requested_size changed. Called from
	 * vmem_device_set_requested_size() and vmem_device_system_reset()
	 * (5.15.5). May be NULL in a test. Must not call back.
	 */
	void (*config_changed)(void *opaque);

	/*
	 * The guest did something wrong; req is the request decoded to the
	 * host's byte order, or NULL where none could be read. For logs and
	 * counters. May be NULL. Must not call back.
	 */
	void (*guest_error)(void *opaque, enum vmem_guest_error error,
			    const struct vmem_request *req);
};

/* Zero means the default, where one is named. */
struct vmem_device_config {
	uint64_t addr;		 /* multiple of block_size */
	uint64_t region_size;	 /* multiple of block_size, not 0 */
	uint64_t block_size;	 /* power of two; default 2 MiB */
	uint64_t requested_size; /* initial; multiple of block_size */

	/*
	 * usable_region_size is kept at requested_size plus this, rounded up
	 * to block_size and cut at region_size; 0 while requested_size is 0.
	 * A driver whose unit is larger than a block (Linux: memory blocks)
	 * needs the room to choose. Default 256 MiB: two memory blocks of
	 * 128 MiB, as the peers have it.
	 */
	uint64_t usable_slack;

	/* Offer VMEM_F_ACPI_PXM, with node_id in the config space. */
	bool has_node;
	uint16_t node_id;

	/*
	 * VMEM_F_UNPLUGGED_INACCESSIBLE is always offered. With this set, a
	 * driver that refuses it is refused (FEATURES_OK fails, 5.15.5.1).
	 */
	bool require_unplugged_inaccessible;

	/*
	 * Offer VMEM_F_PERSISTENT_SUSPEND: while the guest is suspended, the
	 * VMM keeps plugged blocks and their content, and does not reset the
	 * system for it. Without it, drivers refuse to suspend while memory
	 * is plugged.
	 */
	bool persistent_suspend;
};

/* ---- Life cycle -------------------------------------------------------- */

/*
 * Bytes of storage that a device of this config needs; 0 if the config is not
 * valid. Storage must be aligned to 8 bytes.
 */
size_t vmem_device_storage_size(const struct vmem_device_config *config);

/*
 * Make a device in storage, all blocks unplugged. config is copied; ops and
 * opaque must outlive the device. There is no finish function: the storage may
 * be freed or reused at any time. NULL if the config is not valid or storage
 * is NULL, misaligned or shorter than vmem_device_storage_size().
 */
struct vmem_device *vmem_device_init(void *storage, size_t storage_size,
				     const struct vmem_device_config *config,
				     const struct vmem_device_ops *ops,
				     void *opaque);

/*
 * Say in words what is wrong with config, as a static string; NULL if it is
 * valid. [any]
 */
const char *vmem_device_config_error(const struct vmem_device_config *config);

/*
 * The system was reset (power-on state, not a virtio device reset): unplug all
 * blocks, shrink the usable region to what requested_size needs, forget the
 * negotiated features; requested_size stays (5.15.5.2). 0, or what ops->unplug
 * returned; then nothing but the features changed.
 */
int vmem_device_system_reset(struct vmem_device *dev);

/* ---- For the transport ------------------------------------------------- */

/* Feature bits offered, 1 << VMEM_F_*. [any] */
uint64_t vmem_device_features(const struct vmem_device *dev);

/*
 * The driver accepted these (device-specific) bits. 0; -EINVAL if it accepted
 * one that is not offered, or refused one that the device requires: then the
 * transport must not let FEATURES_OK stick (3.1.1, 5.15.5.1). [any]
 */
int vmem_device_accept_features(struct vmem_device *dev, uint64_t features);

/* Feature bits accepted; 0 after a reset. [any] */
uint64_t vmem_device_accepted_features(const struct vmem_device *dev);

/*
 * Virtio device reset: forgets the negotiated features. Blocks, their content
 * and all sizes stay (5.15.5.2). [any]
 */
void vmem_device_reset(struct vmem_device *dev);

/*
 * Read len bytes at offset of the device configuration space as the driver
 * sees it (5.15.4), little-endian. Bytes beyond its end read as 0. The driver
 * cannot write it: drop such writes. [any]
 */
void vmem_device_config_read(const struct vmem_device *dev, size_t offset,
			     void *buf, size_t len);

/*
 * Serve one request (5.15.6). req: the device-readable bytes of the buffer, of
 * which the first 24 count. resp: where the response goes, at least 10 bytes.
 * Returns the number of bytes written to resp (10), or -EINVAL if either
 * buffer is too short: nothing happened, and the queue is to be treated as
 * broken (DEVICE_NEEDS_RESET). Calls ops->plug or ops->unplug, so it may
 * block. Cost beyond the ops: one step per 64 blocks.
 */
int vmem_device_handle_request(struct vmem_device *dev, const void *req,
			       size_t req_len, void *resp, size_t resp_len);

/* ---- For the operator -------------------------------------------------- */

/*
 * Ask the driver for another size. -EINVAL if it is not a multiple of
 * block_size, -ERANGE if it is more than region_size; then nothing changes.
 * Calls ops->config_changed if the value differs from the one before. [any]
 */
int vmem_device_set_requested_size(struct vmem_device *dev, uint64_t size);

/* The config space in the host's byte order. [any] */
void vmem_device_get_config(const struct vmem_device *dev,
			    struct vmem_config *config);

/* True if the block that holds addr is plugged; false outside the region.
 * [any] */
bool vmem_device_is_plugged(const struct vmem_device *dev, uint64_t addr);

/*
 * Iterate over the maximal runs of plugged blocks in ascending order: finds
 * the first run that ends after *addr; sets *addr to its start (cut to the
 * given *addr if that lies inside) and *size. False if there is none. Start
 * with *addr = 0, go on with *addr += *size. Skips 64 blocks a step. [any]
 */
bool vmem_device_next_plugged(const struct vmem_device *dev, uint64_t *addr,
			      uint64_t *size);

#ifdef __cplusplus
}
#endif

#endif
