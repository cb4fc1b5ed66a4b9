// SPDX-License-Identifier: BSD-3-Clause
/*
 * An x86 processor. Reset works by replay: the state that KVM gives a new vCPU
 * is the power-on state, so it is read once and written back at each reset.
 * That covers what a list of our own would forget, such as the addresses at
 * which KVM writes its clock into guest memory.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vcpu.h"

#define MAX_CPUID_ENTRIES  256
#define MAX_MSRS	   512
#define MSR_TSC		   0x10
#define CPUID_HYPERVISOR   (1U << 31) /* leaf 1, ecx */
#define CPUID_TSC_DEADLINE (1U << 24)
#define CPUID_HTT	   (1U << 28) /* leaf 1, edx */
#define CPUID_LA57	   (1U << 16) /* leaf 7, ecx */
#define CR0_PE		   (1ULL << 0)
#define CR0_NE		   (1ULL << 5)
#define CR0_ET		   (1ULL << 4)
#define CR0_PG		   (1ULL << 31)
#define CR4_PAE		   (1ULL << 5)
#define CR4_LA57	   (1ULL << 12)
#define EFER_LME	   (1ULL << 8)
#define EFER_LMA	   (1ULL << 10)

static struct kvm_cpuid2 *supported_cpuid(const struct kvm *kvm)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + MAX_CPUID_ENTRIES *
						   sizeof(cpuid->entries[0]));

	if (!cpuid)
		return NULL;
	cpuid->nent = MAX_CPUID_ENTRIES;
	if (ioctl(kvm->sys_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		free(cpuid);
		return NULL;
	}
	return cpuid;
}

/* A leaf of what KVM supports, by its first index; zero if there is none. */
static struct kvm_cpuid_entry2 supported_leaf(const struct kvm *kvm,
					      uint32_t function)
{
	struct kvm_cpuid2 *cpuid = supported_cpuid(kvm);
	struct kvm_cpuid_entry2 leaf = {0};

	for (uint32_t i = 0; cpuid && i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == function &&
		    cpuid->entries[i].index == 0)
			leaf = cpuid->entries[i];
	}
	free(cpuid);
	return leaf;
}

unsigned int vcpu_address_bits(const struct kvm *kvm)
{
	unsigned int bits = supported_leaf(kvm, 0x80000008).eax & 0xff;

	return bits ? bits : 36;
}

bool vcpu_has_la57(const struct kvm *kvm)
{
	return supported_leaf(kvm, 7).ecx & CPUID_LA57;
}

/* Bits that hold numbers from 0 to count - 1. */
static unsigned int id_bits(unsigned int count)
{
	unsigned int bits = 0;

	while ((1U << bits) < count)
		bits++;
	return bits;
}

/* The guest sees one package with one thread a core. */
static void patch_cpuid(struct kvm_cpuid_entry2 *entry, unsigned int index,
			unsigned int nr_cpus, bool tsc_deadline)
{
	unsigned int bits = id_bits(nr_cpus);

	switch (entry->function) {
	case 0x1:
		entry->ebx = (entry->ebx & 0x0000ffff) | index << 24 |
			     (1U << bits) << 16;
		entry->ecx |= CPUID_HYPERVISOR;
		if (tsc_deadline)
			entry->ecx |= CPUID_TSC_DEADLINE;
		if (nr_cpus > 1)
			entry->edx |= CPUID_HTT;
		else
			entry->edx &= ~CPUID_HTT;
		break;
	case 0x4: /* caches: first and second level private, others shared */
		entry->eax &= 0x00003fff;
		entry->eax |= ((1U << bits) - 1) << 26;
		if ((entry->eax >> 5 & 7) > 2)
			entry->eax |= ((1U << bits) - 1) << 14;
		break;
	case 0xb:
	case 0x1f:
		entry->edx = index;
		entry->ecx = entry->index & 0xff;
		entry->eax = entry->ebx = 0;
		if (entry->index == 0) { /* threads of a core */
			entry->ebx = 1;
			entry->ecx |= 1U << 8;
		} else if (entry->index == 1) { /* cores of a package */
			entry->eax = bits;
			entry->ebx = nr_cpus;
			entry->ecx |= 2U << 8;
		}
		break;
	case 0x80000002: /* the host's name, which KVM leaves out */
	case 0x80000003:
	case 0x80000004:
		__cpuid(entry->function, entry->eax, entry->ebx, entry->ecx,
			entry->edx);
		break;
	case 0x80000008:
		entry->ecx = (nr_cpus - 1) | bits << 12;
		break;
	case 0x8000001d: /* AMD's caches, as leaf 4 */
		entry->eax &= 0x00003fff;
		if ((entry->eax >> 5 & 7) > 2)
			entry->eax |= (nr_cpus - 1) << 14;
		break;
	case 0x8000001e: /* AMD's topology */
		entry->eax = index;
		entry->ebx = index;
		entry->ecx = 0;
		break;
	default:
		break;
	}
}

int vcpu_set_cpuid(const struct kvm *kvm, int fd, unsigned int index,
		   unsigned int nr_cpus, struct error *err)
{
	bool tsc_deadline =
		kvm_capability(kvm, KVM_CAP_TSC_DEADLINE_TIMER) != 0;
	struct kvm_cpuid2 *cpuid = supported_cpuid(kvm);
	int ret = 0;

	if (!cpuid)
		return error_set_errno(err, -errno,
				       "KVM does not tell CPUID leaves");
	for (uint32_t i = 0; i < cpuid->nent; i++)
		patch_cpuid(&cpuid->entries[i], index, nr_cpus, tsc_deadline);
	if (ioctl(fd, KVM_SET_CPUID2, cpuid) < 0)
		ret = error_set_errno(err, -errno,
				      "KVM does not take CPUID leaves");
	free(cpuid);
	return ret;
}

struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_lapic_state lapic;
	struct kvm_xcrs xcrs;
	struct kvm_fpu fpu; /* its power-on state is all there is: see reset */
	struct kvm_xsave xsave;
	bool has_xsave, has_xcrs;
	unsigned int nr_msrs;
	struct kvm_msr_entry msrs[];
};

/* Read MSRs one at a time: KVM lists some that it then cannot read. */
static void save_msrs(struct vcpu_state *state, const struct kvm_msr_list *list,
		      int fd)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one;

	for (uint32_t i = 0; i < list->nmsrs; i++) {
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		one.entry.index = list->indices[i];
		if (ioctl(fd, KVM_GET_MSRS, &one) != 1)
			continue;
		/* Time goes on across a reset. KVM takes zero for a vCPU that
		 * is new, and sets it to the time of the others. That must be
		 * done: on AMD, KVM loses a vCPU's offset at a triple fault,
		 * and its timers are then late by the host's uptime. */
		if (one.entry.index == MSR_TSC)
			one.entry.data = 0;
		state->msrs[state->nr_msrs++] = one.entry;
	}
}

static struct kvm_msr_list *msr_list(const struct kvm *kvm)
{
	struct kvm_msr_list *list =
		calloc(1, sizeof(*list) + MAX_MSRS * sizeof(list->indices[0]));

	if (!list)
		return NULL;
	list->nmsrs = MAX_MSRS;
	if (ioctl(kvm->sys_fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
		free(list);
		return NULL;
	}
	return list;
}

static int get_state(struct vcpu_state *state, int fd)
{
	if (ioctl(fd, KVM_GET_REGS, &state->regs) < 0 ||
	    ioctl(fd, KVM_GET_SREGS, &state->sregs) < 0 ||
	    ioctl(fd, KVM_GET_DEBUGREGS, &state->debugregs) < 0 ||
	    ioctl(fd, KVM_GET_VCPU_EVENTS, &state->events) < 0 ||
	    ioctl(fd, KVM_GET_MP_STATE, &state->mp) < 0 ||
	    ioctl(fd, KVM_GET_LAPIC, &state->lapic) < 0 ||
	    ioctl(fd, KVM_GET_FPU, &state->fpu) < 0)
		return -errno;
	if (state->has_xcrs && ioctl(fd, KVM_GET_XCRS, &state->xcrs) < 0)
		return -errno;
	if (state->has_xsave && ioctl(fd, KVM_GET_XSAVE, &state->xsave) < 0)
		return -errno;
	return 0;
}

struct vcpu_state *vcpu_state_save(const struct kvm *kvm, int fd,
				   struct error *err)
{
	struct kvm_msr_list *list = msr_list(kvm);
	struct vcpu_state *state = NULL;
	int ret;

	if (!list) {
		error_set_errno(err, -errno, "KVM does not list its MSRs");
		return NULL;
	}
	state = calloc(1,
		       sizeof(*state) + list->nmsrs * sizeof(state->msrs[0]));
	if (!state) {
		error_set(err, -ENOMEM, "no memory for a vCPU's state");
		goto out;
	}
	state->has_xcrs = kvm_capability(kvm, KVM_CAP_XCRS) != 0;
	/* A vCPU whose state is larger (AMX) is reset through the legacy part
	 * alone; KVM clears the rest when XCR0 goes back. */
	state->has_xsave = kvm_capability(kvm, KVM_CAP_XSAVE) != 0 &&
			   kvm_capability(kvm, KVM_CAP_XSAVE2) <=
				   (int)sizeof(struct kvm_xsave);
	ret = get_state(state, fd);
	if (ret) {
		error_set_errno(err, ret, "cannot read the state of a vCPU");
		vcpu_state_free(state);
		state = NULL;
		goto out;
	}
	save_msrs(state, list, fd);
out:
	free(list);
	return state;
}

void vcpu_state_free(struct vcpu_state *state)
{
	free(state);
}

static struct kvm_segment flat_segment(uint16_t selector, bool code, bool is64)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 0xb
			     : 0x3, /* accessed; execute/read, read/write */
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code && is64,
		.db = !(code && is64),
	};
}

/* As ACPI has it of waking from S3 (5.2.10); what is not said is as at reset,
 * but with caches on. */
static void set_real_mode_entry(struct kvm_sregs *sregs, struct kvm_regs *regs,
				uint64_t vector)
{
	sregs->cs.selector = (uint16_t)(vector >> 4);
	sregs->cs.base = vector & ~0xfULL;
	sregs->cr0 = CR0_ET;
	regs->rip = vector & 0xf;
}

/* Registers as the boot protocols want them. */
static void set_entry(struct kvm_sregs *sregs, struct kvm_regs *regs,
		      const struct boot_entry *entry)
{
	bool is64 = entry->mode == BOOT_LONG64;

	if (entry->mode == BOOT_REAL16) {
		set_real_mode_entry(sregs, regs, entry->rip);
		return;
	}
	sregs->cs = flat_segment(0x10, true, is64);
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss =
		flat_segment(0x18, false, is64);
	sregs->tr = (struct kvm_segment){
		.limit = 0x67,
		.selector = 0x20,
		.type = 0xb, /* busy TSS */
		.present = 1,
	};
	sregs->gdt.base = entry->gdt;
	sregs->gdt.limit = entry->gdt_limit;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
	sregs->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (is64) {
		sregs->cr0 |= CR0_PG;
		sregs->cr3 = entry->cr3;
		sregs->cr4 = CR4_PAE | (entry->la57 ? CR4_LA57 : 0);
		sregs->efer = EFER_LME | EFER_LMA;
	}
	regs->rip = entry->rip;
	regs->rsp = entry->rsp;
	regs->rflags = 2;
	if (is64)
		regs->rsi = entry->arg;
	else
		regs->rbx = entry->arg;
}

static int set_msrs(const struct vcpu_state *state, int fd)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one;

	for (unsigned int i = 0; i < state->nr_msrs; i++) {
		memset(&one, 0, sizeof(one));
		one.head.nmsrs = 1;
		one.entry = state->msrs[i];
		/* Some can be read but not written: they did not change. */
		if (ioctl(fd, KVM_SET_MSRS, &one) < 0)
			return -errno;
	}
	return 0;
}

int vcpu_state_restore(const struct vcpu_state *state, int fd,
		       const struct boot_entry *entry, struct error *err)
{
	struct kvm_sregs sregs = state->sregs;
	struct kvm_regs regs = state->regs;
	int ret;

	if (entry)
		set_entry(&sregs, &regs, entry);
	if (ioctl(fd, KVM_SET_MP_STATE, &state->mp) < 0 ||
	    (state->has_xcrs && ioctl(fd, KVM_SET_XCRS, &state->xcrs) < 0) ||
	    (state->has_xsave ? ioctl(fd, KVM_SET_XSAVE, &state->xsave)
			      : ioctl(fd, KVM_SET_FPU, &state->fpu)) < 0 ||
	    ioctl(fd, KVM_SET_DEBUGREGS, &state->debugregs) < 0 ||
	    ioctl(fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(fd, KVM_SET_REGS, &regs) < 0 ||
	    ioctl(fd, KVM_SET_VCPU_EVENTS, &state->events) < 0)
		return error_set_errno(err, -errno, "cannot reset a vCPU");
	ret = set_msrs(state, fd);
	if (ret)
		return error_set_errno(err, ret, "cannot reset a vCPU's MSRs");
	/* After the MSRs: the APIC's base, and its timer mode, hang on them. */
	if (ioctl(fd, KVM_SET_LAPIC, &state->lapic) < 0)
		return error_set_errno(err, -errno,
				       "cannot reset a local APIC");
	return 0;
}
