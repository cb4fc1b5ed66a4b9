/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvirtio-mem-driver: the guest half of virtio-mem (VIRTIO 1.2+, section
 * 5.15) as a state machine. It decides which blocks to plug and unplug, speaks
 * the protocol, and keeps the books; all it needs from its operating system
 * goes through struct vmem_driver_ops. docs/driver-library.md tells what an OS
 * must provide, and shows a complete event loop.
 *
 * The library starts no thread, keeps no global state, and allocates nothing:
 * the caller supplies the storage, whose size vmem_driver_storage_size() tells
 * (one byte a sub-block and about 40 bytes a unit).
 *
 * What it promises, against any device:
 * - a block is handed to the OS only after its PLUG was acknowledged;
 * - a block's UNPLUG is sent only after the OS gave the block up, and the OS
 *   is not handed the block again before the device said that it stays;
 * - no more is plugged than requested_size, as last read, allows;
 * - no request names a block outside the usable region, as last read.
 *
 * Sizes. A *block* is the device's. A *sub-block* is what is plugged and
 * unplugged together: the larger of the block and of what the OS can isolate.
 * A *unit* is what the OS adds and removes as a whole (Linux: a memory block);
 * never less than a sub-block. All three are powers of two, and sub-blocks and
 * units are aligned to their size. Where an OS has units (ops->unit_add), only
 * units wholly inside the device's region are used.
 *
 * Threads. The caller serialises all calls on one driver, those of the ops
 * included: an op runs inside a call. Functions marked [any] are the exception:
 * they may be called from an op, and beside any other call.
 *
 * Errors. Functions return 0 or a negative value of <vmem/error.h>. What a
 * device does wrong is no such error: where it can be lived with, it is (back
 * off, ask for the state anew); where not, the driver is *broken*: it stops,
 * leaves the OS what it has, and ops->broken hears why.
 *
 * Units of values. Addresses are guest-physical, sizes are bytes, times are
 * milliseconds of a clock that never goes back.
 */
#ifndef VMEM_DRIVER_H
#define VMEM_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmem/abi.h>
#include <vmem/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opaque; lives in storage of the caller. */
struct vmem_driver;

/* Result of an OS op that goes on after it returned: vmem_driver_done() will
 * tell its end. */
#define VMEM_DRIVER_LATER 1

/* What vmem_driver_run() returns when it needs no call before an event. */
#define VMEM_DRIVER_IDLE UINT32_MAX

/* Most requests in flight; tags are less than this. */
#define VMEM_DRIVER_MAX_DEPTH 32

/* What to do with blocks that are plugged when the driver starts: left by a
 * kernel before a kexec, or by the driver before a reload. */
enum vmem_driver_start {
	/* Give all back with UNPLUG_ALL. For whoever cannot know what is in
	 * them, or whether they fit its own units. */
	VMEM_DRIVER_START_UNPLUG_ALL = 0,
	/* Ask by STATE which they are, and hand them to the OS. Parts of a
	 * sub-block, and blocks outside the units, are given back. */
	VMEM_DRIVER_START_ADOPT,
	/* Ask by STATE which they are, and do nothing else, ever: for a crash
	 * kernel, which reads its predecessor's memory and must not touch
	 * unplugged blocks. The sub-block is the block, no OS op is called,
	 * and vmem_driver_is_plugged() answers for the whole region. */
	VMEM_DRIVER_START_LOOK,
};

/* Zero means the default, where one is named. */
struct vmem_driver_config {
	/* The OS's unit, a power of two; default 128 MiB. A larger block or
	 * granule takes its place ("big blocks": a unit is then one
	 * sub-block, and unit_add is asked for several units of the OS). */
	uint64_t unit_size;

	/* The least that the OS can take out of use, a power of two; default:
	 * any block will do. */
	uint64_t granule;

	/* First address that the OS cannot use, if not 0. */
	uint64_t addr_limit;

	enum vmem_driver_start start;

	/* Requests in flight; default 4, at most VMEM_DRIVER_MAX_DEPTH. The
	 * queue must take as many. */
	unsigned int depth;

	/* After a refusal (the device: BUSY, NACK, ERROR; the OS: an error),
	 * how long to wait before the next attempt: doubled from the first to
	 * the second. A configuration change ends any wait. Default 50 ms and
	 * 10 s. */
	uint32_t retry_min_ms;
	uint32_t retry_max_ms;

	/* Read the configuration this often although no change was announced;
	 * 0: never. For transports that can lose a notification. */
	uint32_t poll_ms;
};

/*
 * What the driver asks of its OS. opaque is what vmem_driver_init() was given.
 * No op may call a function of this interface that is not marked [any], except
 * vmem_driver_get_status(). Every member must be set but those that say
 * otherwise.
 */
struct vmem_driver_ops {
	/*
	 * Put a request of req_len (24) bytes into the request queue, with
	 * room for a response of 10 bytes; req is valid during the call only.
	 * When it comes back, call vmem_driver_response() with the same tag.
	 * Negative: no room; the driver tries again later.
	 */
	int (*submit)(void *opaque, unsigned int tag, const void *req,
		      size_t req_len);

	/* Notify the device of the requests submitted since the last kick.
	 * May be NULL, where submit does so. */
	void (*kick)(void *opaque);

	/* Read len bytes at offset of the device configuration space, as they
	 * stand there (little-endian). */
	void (*read_config)(void *opaque, size_t offset, void *buf, size_t len);

	/* The transport's configuration generation (2.5.1). May be NULL where
	 * there is none: then everything is read until two readings agree. */
	uint32_t (*config_generation)(void *opaque);

	/*
	 * [addr, addr + size), one or more sub-blocks of one unit, is plugged:
	 * use it. Its content is undefined. Where the OS has units, the unit
	 * was added before. 0; VMEM_DRIVER_LATER; or negative: the OS does not
	 * want it now, and will be asked again.
	 */
	int (*add_range)(void *opaque, uint64_t addr, uint64_t size);

	/*
	 * Take [addr, addr + size), one or more sub-blocks of one unit, all in
	 * use, out of use. 0: the OS does not touch it any more, not even to
	 * read; VMEM_DRIVER_LATER; or negative: nothing changed (all or
	 * nothing). After a refusal smaller parts are asked for, then other
	 * places, and this one again after a while.
	 */
	int (*take_range)(void *opaque, uint64_t addr, uint64_t size);

	/*
	 * Add the unit at addr. Its sub-blocks for which
	 * vmem_driver_is_usable() is true come into use; the OS must not touch
	 * the others. 0, VMEM_DRIVER_LATER, or negative: nothing changed.
	 * Called for a unit that is not there. May be NULL, where the OS has no
	 * units: then add_range and take_range do everything.
	 */
	int (*unit_add)(void *opaque, uint64_t addr, uint64_t size);

	/*
	 * Take all of a unit that is still in use out of use, and remove the
	 * unit. Tried before take_range where all of the unit is to go. 0,
	 * VMEM_DRIVER_LATER, or negative: nothing changed. NULL if unit_add
	 * is.
	 */
	int (*unit_remove)(void *opaque, uint64_t addr, uint64_t size);

	/*
	 * How much of [addr, addr + size), one unit, would have to be moved to
	 * take it out of use, in bytes (or in anything that grows with the
	 * effort). Units with the least go first. UINT64_MAX: do not try. May
	 * be NULL: all are equal. Should be cheap: called once for each unit
	 * in use whenever candidates are chosen.
	 */
	uint64_t (*usage)(void *opaque, uint64_t addr, uint64_t size);

	/* The driver stopped for good; why is a static string. May be NULL. */
	void (*broken)(void *opaque, const char *why);
};

/* The state of a sub-block. In ADDING, USED and TAKING the OS may touch it. */
enum vmem_driver_state {
	VMEM_DRIVER_UNPLUGGED = 0,
	VMEM_DRIVER_PLUGGING,	/* PLUG sent */
	VMEM_DRIVER_HELD,	/* plugged, and the OS does not use it */
	VMEM_DRIVER_ADDING,	/* being handed to the OS */
	VMEM_DRIVER_USED,	/* in use by the OS */
	VMEM_DRIVER_TAKING,	/* the OS is asked to take it out of use */
	VMEM_DRIVER_UNPLUGGING, /* UNPLUG sent */
	VMEM_DRIVER_NR_STATES,
};

/* What the driver is at. */
enum vmem_driver_phase {
	VMEM_DRIVER_CLEARING, /* UNPLUG_ALL is to be done or in flight */
	VMEM_DRIVER_SYNCING,  /* asks by STATE what is plugged */
	VMEM_DRIVER_ACTIVE,   /* follows requested_size */
	VMEM_DRIVER_LOOKED,   /* START_LOOK, and all is known */
	VMEM_DRIVER_STOPPED,  /* between device_reset and device_ready */
	VMEM_DRIVER_BROKEN,
};

struct vmem_driver_status {
	enum vmem_driver_phase phase;
	const char *broken; /* why, or NULL */
	/* As last read from the device. */
	uint64_t requested_size;
	uint64_t usable_region_size;
	/* By state of sub-block. */
	uint64_t state_bytes[VMEM_DRIVER_NR_STATES];
	unsigned int nr_in_flight; /* requests */
	/* Less is wanted than the OS uses, and it refused all of it: until a
	 * wait is over, or a call ends it. */
	bool exhausted;
	/* Nothing to do: the size is requested_size (or 0 while draining), cut
	 * to whole sub-blocks and to what the usable region holds; all of it
	 * is in use, and no request, op or wait is left. */
	bool settled;
	/* Counted since vmem_driver_init(). */
	uint64_t nr_requests[4];   /* by vmem_request_type */
	uint64_t nr_responses[4];  /* by vmem_response_type */
	uint64_t nr_syncs;	   /* scans by STATE begun */
	uint64_t nr_adds_refused;  /* by unit_add and add_range */
	uint64_t nr_takes_refused; /* by unit_remove and take_range */
	/* Of the last refusal to take; size 0 if there was none. */
	uint64_t refused_addr;
	uint64_t refused_size;
	int refused_error;
};

/* ---- Before there is a driver ------------------------------------------ */

/*
 * Of the device-specific feature bits offered, those to accept (5.15.5): bits
 * the driver does not know are refused. PERSISTENT_SUSPEND is accepted only if
 * the caller can do something with it. [any]
 */
uint64_t vmem_driver_features(uint64_t offered, bool can_persistent_suspend);

/*
 * Read the device configuration through ops->read_config and
 * config_generation, in the host's byte order. -VMEM_EAGAIN if it did not
 * stand still for as long as a reading takes, several times.
 */
int vmem_driver_read_config(const struct vmem_driver_ops *ops, void *opaque,
			    struct vmem_config *device);

/*
 * Say in words what is wrong with config, or with the device's configuration,
 * or with the two together, as a static string; NULL if all is well. has_units:
 * whether ops->unit_add is set. [any]
 */
const char *vmem_driver_config_error(const struct vmem_driver_config *config,
				     const struct vmem_config *device,
				     bool has_units);

/* Bytes of storage needed; 0 if vmem_driver_config_error() has something to
 * say. Storage must be aligned to 8 bytes. [any] */
size_t vmem_driver_storage_size(const struct vmem_driver_config *config,
				const struct vmem_config *device,
				bool has_units);

/* ---- Life cycle -------------------------------------------------------- */

/*
 * Make a driver in storage. config and device are copied; ops and opaque must
 * outlive the driver. features: those negotiated. Nothing is sent before the
 * first vmem_driver_run(). NULL if a config is not valid, if an op is missing,
 * or if storage is NULL, misaligned or too short. There is no finish function:
 * see vmem_driver_drain() for how to leave, then reset the device.
 */
struct vmem_driver *vmem_driver_init(void *storage, size_t storage_size,
				     const struct vmem_driver_config *config,
				     const struct vmem_config *device,
				     uint64_t features,
				     const struct vmem_driver_ops *ops,
				     void *opaque);

/*
 * Do what is to be done: read the configuration if it may have changed, submit
 * requests, ask the OS. At most one OS op that does not return
 * VMEM_DRIVER_LATER is called, so that the caller can look at its queue in
 * between. Returns after how many milliseconds to call it again if nothing
 * happens before: 0 is at once, VMEM_DRIVER_IDLE is never. Call it after every
 * event (the four functions below), and once to begin. now_ms: the time.
 */
uint32_t vmem_driver_run(struct vmem_driver *drv, uint64_t now_ms);

/*
 * The request with this tag came back; resp_len is how many bytes the device
 * wrote. -VMEM_EINVAL if no such request is in flight: nothing happened.
 */
int vmem_driver_response(struct vmem_driver *drv, unsigned int tag,
			 const void *resp, size_t resp_len);

/* A configuration change notification came (5.15.5). Ends all waiting. */
void vmem_driver_config_changed(struct vmem_driver *drv);

/*
 * The op that was called with this addr and size, and returned
 * VMEM_DRIVER_LATER, ended with result: 0 or negative. -VMEM_EINVAL if there
 * is none: nothing happened.
 */
int vmem_driver_done(struct vmem_driver *drv, uint64_t addr, uint64_t size,
		     int result);

/*
 * The device was, or is about to be, reset (a virtio reset, by the driver of
 * the transport, for suspend or after DEVICE_NEEDS_RESET). Requests in flight
 * are forgotten: their responses must not be given to the driver any more.
 * Until device_ready() it submits nothing.
 */
void vmem_driver_device_reset(struct vmem_driver *drv);

/*
 * The device is up again, with features negotiated (those that count were
 * accepted again) and an empty queue. What became of the requests that were in
 * flight is asked for by STATE, before any of their blocks is used.
 */
void vmem_driver_device_ready(struct vmem_driver *drv);

/*
 * Take everything from the OS and unplug it, whatever requested_size is (on):
 * before the driver is unloaded; or follow requested_size again (off). Done
 * when status.settled.
 */
void vmem_driver_drain(struct vmem_driver *drv, bool on);

/*
 * Unplug everything at once, by UNPLUG_ALL; afterwards requested_size is
 * followed. -VMEM_EBUSY if the OS uses any of it, or if a request is in
 * flight: nothing happened.
 */
int vmem_driver_unplug_all(struct vmem_driver *drv);

/* ---- Questions --------------------------------------------------------- */

/* The NUMA node (ACPI proximity domain) of all blocks. False if the device
 * does not say: VMEM_F_ACPI_PXM was not negotiated. [any] */
bool vmem_driver_node(const struct vmem_driver *drv, uint16_t *node);

/* The sizes that came out of the two configs. [any] */
uint64_t vmem_driver_unit_size(const struct vmem_driver *drv);
uint64_t vmem_driver_sub_size(const struct vmem_driver *drv);

/* What the sub-block that holds addr is at; UNPLUGGED outside. [any] */
enum vmem_driver_state vmem_driver_state_at(const struct vmem_driver *drv,
					    uint64_t addr);

/* Whether the OS may touch the sub-block that holds addr. [any] */
bool vmem_driver_is_usable(const struct vmem_driver *drv, uint64_t addr);

/* Whether the sub-block that holds addr is plugged for sure: PLUG was
 * acknowledged (or STATE said so) and no UNPLUG was sent. [any] */
bool vmem_driver_is_plugged(const struct vmem_driver *drv, uint64_t addr);

/* Whether the unit that holds addr was added and not removed. [any] */
bool vmem_driver_unit_present(const struct vmem_driver *drv, uint64_t addr);

/* Where everything stands. May be called from an op as well. */
void vmem_driver_get_status(const struct vmem_driver *drv,
			    struct vmem_driver_status *status);

#ifdef __cplusplus
}
#endif

#endif
