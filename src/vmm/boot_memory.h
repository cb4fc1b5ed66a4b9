/* SPDX-License-Identifier: BSD-3-Clause */
/* Boot memory: one backend for each NUMA node that has any, or one in all. */
#ifndef VMM_BOOT_MEMORY_H
#define VMM_BOOT_MEMORY_H

#include "vmm/guest_memory.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"
#include "vmm/vmm.h"

struct boot_memory {
	unsigned int nr;
	struct hostmem mem[VM_MAX_NODES];
	int node[VM_MAX_NODES]; /* of the guest; -1: the VM has no nodes */
};

/* Where boot memory is mapped. */
struct boot_memory_place {
	struct kvm *kvm;
	struct guest_memory *memory; /* regions are added to it */
	const struct machine_plan *plan;
};

/* Make the backends and map them, node by node; of huge page pools the pages
 * are taken now. What was made is for boot_memory_destroy(), also on errors. */
int boot_memory_create(struct boot_memory *boot, const struct vm_config *config,
		       const struct boot_memory_place *place,
		       struct error *err);
void boot_memory_destroy(struct boot_memory *boot);

/* Make it read as zero again, while no vCPU runs. */
int boot_memory_clear(struct boot_memory *boot);

/* The parts of a VM's status that are of boot memory. */
void boot_memory_get_status(const struct boot_memory *boot,
			    struct vm_status *status);

/* Fill one for each backend; returns how many. */
unsigned int boot_memory_get_residence(const struct boot_memory *boot,
				       struct vm_residence *residence);

#endif
