/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One elastic device of a VM: libvirtio-mem behind virtio-pci, its memory, and
 * the thread that serves its queue, so that no vCPU waits for memory to be
 * committed or discarded.
 *
 * Threads: create, start and destroy from the VM's owner; elastic_reset() and
 * elastic_sleep() while no vCPU runs; the rest from any thread.
 */
#ifndef VMM_ELASTIC_H
#define VMM_ELASTIC_H

#include "vmm/guest_memory.h"
#include "vmm/kvm.h"
#include "vmm/pci.h"
#include "vmm/vmm.h"

struct elastic;
struct kept_files;
struct guard;

/* Where the device lives. */
struct elastic_place {
	struct kvm *kvm;
	struct pci_bus *pci;
	struct guest_memory *memory; /* the region is added to it */
	struct guard *guard;	     /* and to this; NULL: none */
	uint64_t addr;		     /* of the region */
	unsigned int first_msi_gsi;
	bool prealloc;
};

int elastic_create(struct elastic **elastic,
		   const struct vm_elastic_config *config,
		   const struct elastic_place *place, struct error *err);

/* Open what of the host's files will be read later, and keep it in kept. */
void elastic_keep_files(struct elastic *elastic, struct kept_files *kept);

/* Start serving the queue. */
int elastic_start(struct elastic *elastic, struct error *err);

/* Ends the thread; a request that is being served is finished first. */
void elastic_destroy(struct elastic *elastic);

/* System reset: all memory is unplugged. The host has it back some time later,
 * but before the driver gets any; waits for what the reset before it left. */
int elastic_reset(struct elastic *elastic, struct error *err);

/* The machine is suspended, which to the device is a loss of power; but memory
 * stays, plugged and with its content. */
void elastic_sleep(struct elastic *elastic);

/* When the host had back what the last reset took (CLOCK_MONOTONIC,
 * microseconds); UINT64_MAX: not yet. */
uint64_t elastic_given_back_us(struct elastic *elastic);

const char *elastic_id(const struct elastic *elastic);

/* Whether requested_bytes can be asked for; the sentence says what can. */
int elastic_check_request(const struct elastic *elastic,
			  uint64_t requested_bytes, struct error *err);

/* -EPERM if the guest's driver would let no machine suspend: it has memory
 * plugged, and knows nothing of PERSISTENT_SUSPEND. */
int elastic_check_suspend(struct elastic *elastic, struct error *err);

/* Ask the guest for it; it was checked. */
void elastic_request(struct elastic *elastic, uint64_t requested_bytes);

void elastic_get_status(struct elastic *elastic,
			struct vm_elastic_status *status);

/* What the host holds, block by block, against what is plugged. -EBUSY: it is
 * in a request that takes long. */
int elastic_audit(struct elastic *elastic, struct vm_audit *audit,
		  struct error *err);

/* Where its pages are on the host. */
void elastic_get_residence(struct elastic *elastic,
			   struct vm_residence *residence);

#endif
