/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vCPUs of a VM and their threads, as one group: they run together and
 * stop together.
 *
 * Threads: all functions but vcpus_hold_self(), freeze, thaw and vcpus_find()
 * from the VM's lifecycle thread (or its owner, before and after that one
 * lives).
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmm/bus.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"

enum vcpus_phase {
	VCPUS_HOLD, /* all threads parked, or on their way */
	VCPUS_RUN,
	VCPUS_EXIT, /* threads end */
};

struct guard;
struct vcpus;

struct vcpu {
	struct vcpus *group;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	struct machine_vcpu *machine;
	pthread_t thread;
	bool started; /* thread is valid */
	int tid;      /* its id for the kernel; 0 until it has parked once */
};

/* A vCPU cannot go on: err says why. Called from its thread, once. */
typedef void (*vcpus_failed_fn)(void *opaque, const struct error *err);

struct vcpus {
	struct kvm *kvm;
	const struct bus *mmio;
	struct guard *guard; /* NULL: none */
	vcpus_failed_fn failed;
	void *opaque;
	unsigned int nr;
	struct vcpu vcpu[VM_MAX_CPUS];

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	_Atomic enum vcpus_phase phase; /* read without the lock in the loop */
	unsigned int nr_parked;
	/* While it is not 0, all are parked whatever the phase. */
	_Atomic unsigned int nr_freezes;
};

struct vcpus_config {
	struct kvm *kvm;
	struct machine *machine;
	const struct bus *mmio;
	struct guard *guard;
	unsigned int nr;
	vcpus_failed_fn failed;
	void *opaque;
};

/* Make vCPUs and their threads, held. */
int vcpus_create(struct vcpus *vcpus, const struct vcpus_config *config,
		 struct error *err);

/* Ends the threads and frees everything; vcpus_create() may have failed. */
void vcpus_destroy(struct vcpus *vcpus);

/* Stop all; returns when none is inside the guest or in a device of ours. */
void vcpus_hold(struct vcpus *vcpus);

/* Called by a vCPU thread from inside an exit: no vCPU enters the guest again
 * until vcpus_run(). Does not wait. */
void vcpus_hold_self(struct vcpus *vcpus);

/*
 * Keep all out of the guest for a moment, also from a hold or a run that comes
 * meanwhile; may be nested. Not from a vCPU's thread, and with nothing held
 * that a vCPU may wait for.
 */
void vcpus_freeze(struct vcpus *vcpus);
void vcpus_thaw(struct vcpus *vcpus);

/* The vCPU whose thread has this id; -1: none. Any thread. */
int vcpus_find(struct vcpus *vcpus, int tid);

/* Power-on state for all; they are held. */
int vcpus_reset(struct vcpus *vcpus, struct error *err);

void vcpus_run(struct vcpus *vcpus);

/* The same after a pause: the guest is told that it was stopped, so that it
 * does not take the gap in time for a hang. */
void vcpus_resume(struct vcpus *vcpus);

#endif
