/* SPDX-License-Identifier: BSD-3-Clause */
/* An x86 processor: what CPUID says, its power-on state, entry to a kernel. */
#ifndef VMM_X86_VCPU_H
#define VMM_X86_VCPU_H

#include <linux/kvm.h>
#include <stdbool.h>

#include "vmm/kvm.h"
#include "vmm/x86/boot.h"

/* Everything that KVM keeps of a vCPU, as it was when the vCPU was new. */
struct vcpu_state;

/* Give the vCPU its CPUID leaves. */
int vcpu_set_cpuid(const struct kvm *kvm, int fd, unsigned int index,
		   unsigned int nr_cpus, struct error *err);

/* Bits of a guest-physical address that processors have. */
unsigned int vcpu_address_bits(const struct kvm *kvm);

/* Whether they have 5-level paging. */
bool vcpu_has_la57(const struct kvm *kvm);

/* Read the state of a new vCPU, to go back to at each reset; NULL on error. */
struct vcpu_state *vcpu_state_save(const struct kvm *kvm, int fd,
				   struct error *err);
void vcpu_state_free(struct vcpu_state *state);

/* Back to the saved state; with entry, set to enter that kernel. */
int vcpu_state_restore(const struct vcpu_state *state, int fd,
		       const struct boot_entry *entry, struct error *err);

#endif
