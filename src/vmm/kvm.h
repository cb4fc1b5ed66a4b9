/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * KVM as the VMM uses it, on any architecture: the VM, memory slots, eventfds
 * for doorbells and interrupts, and MSI routes.
 *
 * Threads: create and destroy from one thread; the rest from any thread, each
 * call complete in itself (routes are guarded by a lock of their own).
 * Errors: negative errno values, with a sentence where err is taken.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "host/error.h"

#define KVM_MAX_MSI_ROUTES 512

/* A memory slot; its number is its place in the list. size 0: not in use. */
struct kvm_slot {
	uint64_t gpa, size;
	uint8_t *host;
};

struct kvm {
	int sys_fd;
	int vm_fd;
	int vcpu_run_size; /* bytes of struct kvm_run to map */
	/* Changed by whoever makes the VM, then by kvm_cut_memory() and
	 * kvm_join_memory() alone. */
	struct kvm_slot *slots;
	unsigned int nr_slots;

	pthread_mutex_t route_lock; /* guards what follows */
	unsigned int
		nr_fixed;    /* routes of the architecture's interrupt chips */
	unsigned int nr_msi; /* MSI routes handed out */
	struct kvm_irq_routing *routing;
	bool routes_live; /* a table with MSI routes was given to KVM */
};

/* Open /dev/kvm, check what it can do, make a VM without memory. */
int kvm_create(struct kvm *kvm, struct error *err);
void kvm_destroy(struct kvm *kvm);

/* Value of a capability; 0 if it is absent. */
int kvm_capability(const struct kvm *kvm, long cap);

/* Map [gpa, gpa + size) of the guest to host. */
int kvm_add_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host,
		   struct error *err);

/*
 * Make a hole in the guest's memory: [gpa, gpa + size), which lies in one slot.
 * Accesses to it exit as MMIO. No vCPU may run meanwhile, for the slot is gone
 * for a moment. One thread at a time, for both.
 */
int kvm_cut_memory(struct kvm *kvm, uint64_t gpa, uint64_t size,
		   struct error *err);

/* Close such a hole again. */
int kvm_join_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host,
		    struct error *err);

/* Writes of len bytes by the guest at addr (memory, not port) signal fd and
 * exit to nobody. Undone with on false. */
int kvm_set_doorbell(struct kvm *kvm, uint64_t addr, uint32_t len, int fd,
		     bool on);

/* Routes of the interrupt chips, once, before the first MSI route. */
int kvm_set_fixed_routes(struct kvm *kvm,
			 const struct kvm_irq_routing_entry *entries,
			 unsigned int nr);

/* Hand out a global interrupt number whose signals come from fd. It goes
 * nowhere until kvm_route_msi(). first_gsi: lowest number for MSI. */
int kvm_add_msi(struct kvm *kvm, unsigned int first_gsi, int fd,
		unsigned int *gsi, struct error *err);

/* Send gsi to this MSI address and data. */
int kvm_route_msi(struct kvm *kvm, unsigned int gsi, uint64_t addr,
		  uint32_t data);

/* Level of an interrupt line of the in-kernel chips. */
int kvm_set_irq_line(struct kvm *kvm, unsigned int gsi, bool level);

#endif
