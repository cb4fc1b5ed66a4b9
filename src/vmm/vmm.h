/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One virtual machine: what the control API needs of it. The implementation is
 * vm.c; tests of the API link a small one of their own.
 *
 * Threads: vm_create() to vm_destroy() from one thread; everything marked
 * [any] from any thread while the VM exists. None but vm_create() and
 * vm_destroy() blocks for longer than a lock that is never held across I/O.
 * Errors: negative errno values with a sentence in err. -EINVAL, -ENOENT and
 * -ERANGE mean that the caller asked for something that cannot be (the command
 * exits with 2); others that the host failed.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "host/error.h"
#include "host/hostmem.h"

#define VM_NAME_MAX                                                            \
	64		  /* bytes with the NUL; [A-Za-z0-9._-], not starting  \
			     with '.' or '-' */
#define VM_ID_MAX      32 /* the same characters */
#define VM_MAX_ELASTIC 64
#define VM_MAX_CPUS    16
#define VM_MAX_NODES   64
#define VM_MIN_MEMORY  (64ULL << 20)

struct vm;

enum vm_console {
	VM_CONSOLE_STDIO, /* raw mode if stdin is a terminal */
	VM_CONSOLE_FILE,  /* output only, appended */
	VM_CONSOLE_NONE,
};

/* What becomes of an access to memory that is not plugged. */
enum vm_guard {
	VM_GUARD_DEFAULT, /* report if this host lets us, else off */
	VM_GUARD_OFF,	  /* it is not caught */
	VM_GUARD_REPORT,  /* a read sees zeros, a write is dropped */
	VM_GUARD_PAUSE,	  /* the same, and the VM is paused */
	VM_GUARD_KILL,	  /* the VM ends */
};

/* One NUMA node of the guest. */
struct vm_node_config {
	uint32_t cpus;	       /* bit n: processor n */
	uint64_t memory_bytes; /* boot memory; multiple of 2 MiB; 0: none */
	struct hostmem_placement placement;
	/* To node n, 10 is local; 0: 10 to itself, 20 to others, or what node
	 * n says of this one. */
	uint8_t distance[VM_MAX_NODES];
};

/* One elastic (virtio-mem) device. */
struct vm_elastic_config {
	char id[VM_ID_MAX];	  /* empty: "em" and its number */
	uint64_t max_bytes;	  /* region_size */
	uint64_t requested_bytes; /* at start */
	uint64_t block_bytes;	  /* 0: the smallest that its pages allow */
	int node;		  /* -1: none given */
	struct hostmem_placement placement;
};

struct vm_config {
	char name[VM_NAME_MAX];
	const char *kernel_path;
	const char *initrd_path; /* NULL: none */
	const char *cmdline;	 /* "" allowed */
	/* Folder for kernels that are unpacked already; NULL: the default. */
	const char *cache_path;
	bool no_cache; /* none: a kernel unpacks itself */
	unsigned int nr_cpus;
	/* Boot memory, a multiple of 2 MiB; with nodes the sum of theirs. */
	uint64_t memory_bytes;
	struct hostmem_placement placement; /* of boot memory without nodes */
	/* 0: the guest hears nothing of NUMA. */
	unsigned int nr_nodes;
	struct vm_node_config nodes[VM_MAX_NODES];
	enum vm_console console;
	const char *console_path; /* VM_CONSOLE_FILE */
	bool prealloc;		  /* commit memory when it is plugged */
	bool no_reboot;		  /* a reset ends the VM */
	enum vm_guard guard;
	unsigned int nr_elastic;
	struct vm_elastic_config elastic[VM_MAX_ELASTIC];
};

enum vm_state {
	VM_RUNNING,
	VM_PAUSED,
	VM_SUSPENDED, /* the guest is, to memory or to idle */
	VM_REBOOTING,
	VM_STOPPING, /* power button pressed or stop forced, not yet ended */
	VM_ENDED,
};

/* Why a VM ended. */
enum vm_end {
	VM_END_NONE,	 /* it has not */
	VM_END_POWEROFF, /* the guest powered off */
	VM_END_STOPPED,	 /* vm_stop() with force */
	VM_END_RESET,	 /* it was reset, and config said no_reboot */
	VM_END_ERROR,	 /* the host or KVM failed: vm_end_reason() says how */
	VM_END_GUARD,	 /* VM_GUARD_KILL: vm_end_reason() says for what */
};

/* What the driver in the guest has done with a device. */
enum vm_driver {
	VM_DRIVER_ABSENT,   /* no driver has taken the device */
	VM_DRIVER_STARTING, /* negotiating */
	VM_DRIVER_READY,    /* DRIVER_OK */
	VM_DRIVER_FAILED,   /* FAILED set by it, or DEVICE_NEEDS_RESET by us */
};

struct vm_elastic_status {
	char id[VM_ID_MAX];
	int node; /* -1: none given */
	uint64_t addr;
	uint64_t block_bytes;
	uint64_t max_bytes;
	uint64_t usable_bytes;
	uint64_t requested_bytes;
	uint64_t plugged_bytes;
	uint64_t resident_bytes; /* what the host really holds for it */
	enum vm_driver driver;
	bool persistent_suspend; /* the driver knows PERSISTENT_SUSPEND */
	/* Requests answered since the VM started. */
	uint64_t nr_plug, nr_unplug, nr_unplug_all, nr_state;
	uint64_t nr_nack, nr_busy, nr_error;
	/* What a driver that keeps to the specification never does: PLUG beyond
	 * requested_size (but when that changes on the way), writes to the
	 * configuration, buffers and rings that break the queue. */
	uint64_t nr_over_requested, nr_config_writes, nr_broken;
	/* Milliseconds since plugged_bytes last changed, and since the driver
	 * last made a request; UINT64_MAX: never. */
	uint64_t changed_ms_ago, request_ms_ago;
};

struct vm_node_status {
	uint32_t cpus; /* bit n: processor n */
	uint64_t boot_bytes, boot_resident_bytes;
};

/* How long the parts of the last reset took, in microseconds. */
struct vm_reset_times {
	uint64_t hold_us;    /* until no processor ran */
	uint64_t elastic_us; /* elastic devices reset, their memory taken */
	uint64_t clear_us;   /* boot memory given back, to read as zero */
	uint64_t load_us; /* firmware tables and kernel loaded, vCPUs reset */
	/* From the start until the host had all memory back, which the new
	 * guest does not wait for; UINT64_MAX: it has not yet. */
	uint64_t back_us;
};

enum vm_access {
	VM_ACCESS_UNKNOWN,
	VM_ACCESS_READ,
	VM_ACCESS_WRITE,
	VM_ACCESS_EXECUTE,
};

/* By whom an unplugged block was accessed. */
enum vm_accessor {
	VM_BY_VCPU,   /* an instruction of the guest */
	VM_BY_KVM,    /* KVM on the guest's behalf, such as for its clock */
	VM_BY_DEVICE, /* a device of ours, told so by the guest */
};

#define VM_NR_GUARD_EVENTS 256 /* that are kept */

/* One access to memory that is not plugged. */
struct vm_guard_event {
	uint64_t number;    /* from 1 */
	uint64_t uptime_ms; /* when it was */
	char id[VM_ID_MAX]; /* of the elastic device whose memory it is */
	uint64_t addr, block_addr;
	uint32_t len; /* 0: not known */
	enum vm_access access;
	enum vm_accessor by;
	int vcpu;		/* -1: none, or not known */
	char device[VM_ID_MAX]; /* VM_BY_DEVICE: whose */
};

struct vm_guard_status {
	enum vm_guard policy; /* never VM_GUARD_DEFAULT */
	char off_reason[512]; /* why it is off though not asked to; or empty */
	uint64_t nr_violations;
	struct vm_guard_event last; /* valid if there were any */
};

struct vm_status {
	char name[VM_NAME_MAX];
	enum vm_state state;
	bool paused_by_guard; /* VM_PAUSED for an access that it caught */
	int pid;
	unsigned int nr_cpus;
	bool kernel_unpacked; /* by us, not by itself */
	uint64_t boot_bytes;
	uint64_t resident_bytes; /* boot memory and elastic devices together */
	uint64_t boot_resident_bytes;
	uint64_t uptime_ms; /* since vm_create() */
	unsigned int nr_reboots;
	struct vm_reset_times last_reset; /* valid if nr_reboots is not 0 */
	unsigned int nr_nodes; /* NUMA nodes of the guest; 0: none were made */
	struct vm_node_status nodes[VM_MAX_NODES];
	unsigned int nr_elastic;
	struct vm_elastic_status elastic[VM_MAX_ELASTIC];
	struct vm_guard_status guard;
};

/* Whether name can name a VM. */
int vm_name_check(const char *name, struct error *err);

/* The id of a config's elastic device: the one given, or "em" and its number.
 */
void vm_elastic_id(const struct vm_config *config, unsigned int index,
		   char id[VM_ID_MAX]);

/* The block size of a config's elastic device, with the default filled in. */
uint64_t vm_elastic_block(const struct vm_elastic_config *device);

/* Check a config without touching the host beyond its files. The sentence in
 * err names the value and what would be right. */
int vm_config_check(const struct vm_config *config, struct error *err);

/* Make a VM: all that it needs is open, and none of its threads runs. config
 * is copied. */
int vm_create(const struct vm_config *config, struct vm **vm,
	      struct error *err);

/* Load its kernel and start its threads, but hold its processors. Opens
 * nothing. */
int vm_start(struct vm *vm, struct error *err);

/* Let its processors run; after this no thread is made any more. */
void vm_run(struct vm *vm);

/* End the VM if it still runs, restore the terminal, free everything. NULL is
 * allowed. Bounded: a few seconds at the most. */
void vm_destroy(struct vm *vm);

/* A file descriptor that becomes readable once when the VM has ended (poll it;
 * do not read or close it). [any] */
int vm_end_fd(const struct vm *vm);

/* Why it ended, with a sentence for VM_END_ERROR and VM_END_GUARD in err. [any]
 */
enum vm_end vm_end_reason(const struct vm *vm, struct error *err);

/* Fill status with one consistent view per device. [any] */
void vm_get_status(struct vm *vm, struct vm_status *status);

/* Where the pages of one backend are on the host. */
struct vm_residence {
	char id[VM_ID_MAX]; /* of the elastic device; "boot", or "nodeN" */
	int node;	    /* of the guest; -1: none */
	bool boot;
	uint64_t bytes[HOSTMEM_MAX_NODES]; /* on node n of the host */
};

#define VM_MAX_BACKENDS (VM_MAX_NODES + VM_MAX_ELASTIC)

/* Ask the kernel; fills up to VM_MAX_BACKENDS, returns how many. Cost grows
 * with what is resident. [any] */
unsigned int vm_get_residence(struct vm *vm, struct vm_residence *residence);

#define VM_MAX_EXCESS 64 /* blocks that an audit names */

/* What the host holds for an elastic device, against what is plugged. */
struct vm_audit {
	char id[VM_ID_MAX];
	uint64_t block_bytes, plugged_bytes, resident_bytes;
	/* Blocks that hold memory though they are not plugged. */
	uint64_t nr_excess, excess_bytes;
	struct {
		uint64_t addr, bytes;
	} excess[VM_MAX_EXCESS]; /* the first of them */
	/* Held beyond all plugged and all excess blocks, place unknown. */
	uint64_t unplaced_bytes;
};

/*
 * Compare the books with what the host's kernel says, block by block, while
 * the guest runs. *audit is of as many as the VM has elastic devices. -EBUSY: a
 * device is in a long request. [any]
 */
int vm_audit(struct vm *vm, struct vm_audit *audit, struct error *err);

/*
 * Change what becomes of an access to memory that is not plugged, from now on.
 * From off to another, what the guest took meanwhile goes back to the host.
 * -EPERM: this VM has no guard, and the sentence says why. [any]
 */
int vm_set_guard(struct vm *vm, enum vm_guard policy, struct error *err);

/* Events of the guard with numbers above after, oldest first; up to
 * VM_NR_GUARD_EVENTS are kept. Returns how many. [any] */
unsigned int vm_get_guard_events(struct vm *vm, uint64_t after,
				 struct vm_guard_event *events,
				 unsigned int max);

/* One target of a resize. */
struct vm_resize_target {
	char id[VM_ID_MAX];
	uint64_t requested_bytes;
};

/* Set requested sizes: all are checked before any is applied. [any] */
int vm_resize(struct vm *vm, const struct vm_resize_target *targets,
	      unsigned int nr_targets, struct error *err);

/* Reset the VM as its reset button would: it boots again. [any] */
int vm_reboot(struct vm *vm, struct error *err);

/* Stop the processors, until vm_resume(). It takes effect soon: vm_get_status()
 * says when. A reset keeps a VM paused. [any] */
int vm_pause(struct vm *vm, struct error *err);

/*
 * Press the sleep button; whether the guest follows is its choice, and
 * vm_get_status() says when it has. -EPERM: it is known that it would not: it
 * is paused, or has memory plugged by a driver without PERSISTENT_SUSPEND.
 * [any]
 */
int vm_suspend(struct vm *vm, struct error *err);

/* Let a paused VM go on; else wake a suspended one. One that is both stays
 * suspended. [any] */
int vm_resume(struct vm *vm, struct error *err);

/*
 * force: end it now. Otherwise press the ACPI power button; whether the guest
 * follows is its choice. A suspended guest is woken by that, and hears of the
 * button once it is pressed again. [any]
 */
int vm_stop(struct vm *vm, bool force, struct error *err);

#endif
