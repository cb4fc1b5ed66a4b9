/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the guard share; nobody else includes it. */
#ifndef VMM_GUARD_INTERNAL_H
#define VMM_GUARD_INTERNAL_H

#include <pthread.h>

#include "host/fence.h"
#include "vmm/guard.h"

/* Holes in memory slots that stay open, beyond those just made. */
#define GUARD_MAX_HOLES 64
/* Trips at a time: each vCPU can wait for one, and 64 of its accesses can be
 * with KVM's workers (ASYNC_PF_PER_VCPU). */
#define GUARD_MAX_TRIPS (GUARD_MAX_HOLES + VM_MAX_CPUS * 65)

/* A block that the guest touched while it was closed. From then on it is shut
 * (nobody can touch it), and soon a hole in the memory slots. */
enum trip_state {
	TRIP_NONE,
	TRIP_SHUT, /* a hole is wanted */
	TRIP_HOLE, /* accesses exit as MMIO */
	TRIP_OVER, /* to be closed, and to be fenced as before */
	TRIP_GONE, /* that was done, and it is still to be reported */
};

struct trip {
	enum trip_state state;
	struct guard_region *region;
	uint64_t gpa; /* of the block */

	/* The touch itself. */
	uint64_t touched; /* its address */
	bool write;
	int vcpu;	  /* -1: one of KVM's workers */
	bool faulted;	  /* KVM_RUN of that vCPU failed, then */
	bool reported;	  /* or found to be no violation */
	uint64_t hole_ms; /* when the hole was made */
	uint64_t used_ms; /* last access through it */
};

struct guard_region {
	struct guard *guard;
	struct guard_region *next;
	char id[VM_ID_MAX];
	uint64_t gpa, size, block_bytes;
	bool (*may_read)(void *opaque, uint64_t gpa);
	void *opaque;
	struct fence_region fence;

	/* Under the guard's lock: a range whose trips must be over before it
	 * is opened, by the slot thread. size 0: none. */
	uint64_t open_gpa, open_size;
};

struct guard {
	char vm_name[VM_NAME_MAX];
	struct kvm *kvm;
	const struct guard_ops *ops;
	void *opaque;
	uint64_t created_ms;
	struct fence fence;
	struct guard_region *regions;
	int quit_fd; /* wakes the fault thread */
	pthread_t fault_thread, slot_thread;
	bool fault_started, slot_started;

	/* Held by a device that accesses guest memory, and while blocks are
	 * closed. Comes before lock. */
	pthread_mutex_t access;
	enum vm_guard policy; /* changed with both locks held */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work;  /* for the slot thread */
	pthread_cond_t done;  /* the slot thread did what it could */
	bool quit;
	bool vcpu_faulted[VM_MAX_CPUS];
	unsigned int nr_useless; /* faults of vCPUs while there was no trip */
	struct trip trips[GUARD_MAX_TRIPS];
	unsigned int nr_trips; /* neither NONE nor GONE */
	unsigned int nr_away;  /* guard_discard()s to come */
	uint64_t nr_violations;
	struct vm_guard_event events[VM_NR_GUARD_EVENTS];
	uint64_t log_ms; /* when log_left was filled up */
	unsigned int log_left;
	uint64_t nr_unlogged;
};

uint64_t guard_now_ms(void);

/* The region that holds gpa; NULL. */
struct guard_region *guard_find(struct guard *guard, uint64_t gpa);

/* End the VM: the guard cannot do what it is there for. */
void guard_fail(struct guard *guard, const char *what, int ret);

/* Count, keep, log, and do what the policy says. Any lock but the guard's may
 * be held. number and uptime_ms are filled in. */
void guard_report(struct guard *guard, const struct guard_region *region,
		  const struct vm_guard_event *event);

/* The threads. */
void *guard_fault_thread(void *guard);
void *guard_slot_thread(void *guard);

#endif
