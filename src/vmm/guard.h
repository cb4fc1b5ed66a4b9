/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guard: catches accesses of the guest to memory that is not plugged, when
 * they happen and before they cost the host a page. docs/guard.md says what an
 * operator sees, docs/decisions/0002-guard.md why it is made so.
 *
 * Threads: create, start, stop and destroy from the VM's owner; guard_vcpu_*()
 * from a vCPU's thread; the rest from any thread.
 * Locks: a device's lock comes before the guard's. may_read is called with none
 * of the guard's.
 */
#ifndef VMM_GUARD_H
#define VMM_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "host/error.h"
#include "host/hostmem.h"
#include "vmm/kvm.h"
#include "vmm/vmm.h"

struct guard;
struct guard_region;

/* What the guard needs of the VM. */
struct guard_ops {
	/* Stop all vCPUs outside of the guest, whatever else holds them; and
	 * let go of that. From a thread of the guard's. */
	void (*freeze)(void *opaque);
	void (*thaw)(void *opaque);
	/* The processor whose thread has this id; -1: none. */
	int (*vcpu_of_thread)(void *opaque, int tid);
	/* Policy pause and kill, or the guard cannot go on: no vCPU goes on
	 * after the access it is in. From any thread; does not wait. */
	void (*pause)(void *opaque);
	void (*end)(void *opaque, bool guilty, const struct error *err);
};

struct guard_config {
	const char *vm_name;
	enum vm_guard policy; /* not VM_GUARD_DEFAULT */
	struct kvm *kvm;
	const struct guard_ops *ops;
	void *opaque;
};

/* A region of guest-physical addresses, of which blocks are plugged. */
struct guard_region_config {
	const char *id;
	uint64_t gpa, block_bytes;
	struct hostmem *mem; /* all of it */
	/* Whether the driver may read an unplugged block at gpa: it did not
	 * negotiate VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE, and gpa lies in the
	 * usable region. May take the device's lock. */
	bool (*may_read)(void *opaque, uint64_t gpa);
	void *opaque;
};

/*
 * Make a guard. -EPERM and others: this host does not let us, with a sentence.
 * With VM_GUARD_OFF *guard becomes NULL, which all functions take for a guard
 * that allows everything.
 */
int guard_create(struct guard **guard, const struct guard_config *config,
		 struct error *err);
int guard_start(struct guard *guard, struct error *err);
/* Ends its threads: while vCPUs are held, before they are destroyed. Who waits
 * in guard_open() is let go. */
void guard_stop(struct guard *guard);
void guard_destroy(struct guard *guard);

/* Add a region, all of it unplugged. Before guard_start(). */
int guard_add(struct guard *guard, const struct guard_region_config *config,
	      struct guard_region **region, struct error *err);

/* The blocks of [gpa, gpa + size) are being plugged: nobody knows yet. Blocks
 * if the guest touched one of them before. -EBUSY: the VM ends. */
int guard_open(struct guard_region *region, uint64_t gpa, uint64_t size);
/* The guest knows: let touches of them cost nothing. Before any other call for
 * them. */
void guard_opened(struct guard_region *region, uint64_t gpa, uint64_t size);
/* They are being unplugged: their pages are about to be discarded. *away: the
 * guest may hear of it first, for it cannot get at them any more; then discard
 * them with guard_discard(), and before the next call here. */
int guard_close(struct guard_region *region, uint64_t gpa, uint64_t size,
		bool *away);
/* Whoever touches them meanwhile waits. Should the host fail, the VM ends. */
void guard_discard(struct guard_region *region, uint64_t gpa, uint64_t size);
/* A system reset unplugs all: hostmem_renew() of the region's backend, which is
 * mem, with all blocks closed. vCPUs are held. */
int guard_renew(struct guard_region *region, struct hostmem *mem);

/*
 * A device reads or writes guest memory only between enter and exit: no block
 * is closed meanwhile. Short: an unplug waits for it.
 */
void guard_enter(struct guard *guard);
void guard_exit(struct guard *guard);
/* Whether a device may access [gpa, gpa + len), between enter and exit. What
 * may not be is reported, as device's. */
bool guard_allows(struct guard *guard, const char *device, uint64_t gpa,
		  uint64_t len);

/* KVM_RUN failed with EFAULT. True: enter the guest again. */
bool guard_vcpu_fault(struct guard *guard, unsigned int vcpu);

/* An access that no memory slot and no device answers. */
struct guard_access {
	uint64_t gpa;
	bool write;
	void *data;
	unsigned int len;
};

/* True: it was to a region, and has been answered. */
bool guard_vcpu_mmio(struct guard *guard, unsigned int vcpu,
		     const struct guard_access *access);
/* KVM cannot emulate the instruction at gpa (UINT64_MAX: not known), and has
 * raised an exception in the guest for it. True: it was for an access to a
 * region; let the guest go on. */
bool guard_vcpu_stuck(struct guard *guard, unsigned int vcpu, uint64_t gpa);

/* A system reset: the regions are unplugged, vCPUs are held. Returns when all
 * memory slots are whole again. */
void guard_reset(struct guard *guard);

/* Change the policy (not VM_GUARD_DEFAULT). From off to another, what the guest
 * got meanwhile goes back to the host. -EOPNOTSUPP: there is no guard. Others:
 * the kernel has no room for the fence, and the policy stays off. */
int guard_set_policy(struct guard *guard, enum vm_guard policy);

void guard_get_status(struct guard *guard, struct vm_guard_status *status);
/* Events with numbers above after, oldest first; up to max. Returns how many.
 */
unsigned int guard_get_events(struct guard *guard, uint64_t after,
			      struct vm_guard_event *events, unsigned int max);

#endif
