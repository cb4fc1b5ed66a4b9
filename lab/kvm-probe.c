// SPDX-License-Identifier: BSD-3-Clause
/*
 * Can this machine's KVM run a stock guest? Exit status 0 if it can; else 1,
 * with one line on stdout that says why not.
 *
 * Some KVMs open and make VMs, but emulate each instruction, slowly and not
 * all of them: a stock kernel dies there in early boot. The probe runs a tiny
 * 64-bit guest that counts to a few hundred thousand, then uses what such
 * emulators lack: cmpxchg16b and an exception with a handler.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MEMORY_SIZE   0x10000
#define PML4	      0x1000
#define PDPT	      0x2000
#define PD	      0x3000
#define GDT	      0x4000
#define IDT	      0x5000
#define CODE	      0x6000
#define HANDLER	      0x7000
#define STACK	      0x9000
#define SCRATCH	      0xa000 /* aligned to 16 for cmpxchg16b */
#define EXIT_PORT     0x80
#define HANDLED	      0x5a
#define TIME_LIMIT_MS 800

#define CR0_PE		   (1U << 0)
#define CR0_ET		   (1U << 4)
#define CR0_NE		   (1U << 5)
#define CR0_PG		   (1U << 31)
#define CR4_PAE		   (1U << 5)
#define EFER_LME	   (1U << 8)
#define EFER_LMA	   (1U << 10)
#define PAGE_PRESENT_WRITE 0x3
#define PAGE_LARGE	   0x80

static const uint8_t code[] = {
	0xb9, 0x40,	      0x0d,	    0x03,
	0x00,	    /* mov ecx, 200000 */
	0xff, 0xc9, /* 1: dec ecx */
	0x75, 0xfc, /* jnz 1b */
	0xbf, SCRATCH & 0xff, SCRATCH >> 8, 0,
	0,					  /* mov edi, SCRATCH */
	0x31, 0xc0,	      0x31,	    0xd2, /* xor eax, eax; edx, edx */
	0xf0, 0x48,	      0x0f,	    0xc7,
	0x0f,		 /* lock cmpxchg16b [rdi] */
	0xcc,		 /* int3 */
	0xe6, EXIT_PORT, /* out EXIT_PORT, al */
	0xf4,		 /* hlt */
};

static const uint8_t handler[] = {
	0xb0, HANDLED, /* mov al, HANDLED */
	0x48, 0xcf,    /* iretq */
};

static int fail(const char *what)
{
	printf("/dev/kvm: %s\n", what);
	return 1;
}

static int fail_errno(const char *what)
{
	printf("/dev/kvm: %s: %s\n", what, strerror(errno));
	return 1;
}

static void store64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void fill_memory(uint8_t *memory)
{
	const struct {
		uint16_t offset_low, selector, type, offset_middle;
		uint32_t offset_high, zero;
	} gate = {HANDLER, 0x8, 0x8e00, 0, 0, 0};

	store64(memory + PML4, PDPT | PAGE_PRESENT_WRITE);
	store64(memory + PDPT, PD | PAGE_PRESENT_WRITE);
	store64(memory + PD, PAGE_PRESENT_WRITE | PAGE_LARGE);
	store64(memory + GDT + 0x8, 0x00af9b000000ffffULL);  /* 64-bit code */
	store64(memory + GDT + 0x10, 0x00cf93000000ffffULL); /* data */
	memcpy(memory + IDT + 3 * sizeof(gate), &gate, sizeof(gate));
	memcpy(memory + CODE, code, sizeof(code));
	memcpy(memory + HANDLER, handler, sizeof(handler));
}

static int set_registers(int vcpu)
{
	const struct kvm_segment flat = {
		.limit = 0xffffffff, .present = 1, .s = 1, .g = 1};
	struct kvm_regs regs = {.rip = CODE, .rsp = STACK, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.cs = flat;
	sregs.cs.selector = 0x8;
	sregs.cs.type = 11;
	sregs.cs.l = 1;
	sregs.ds = flat;
	sregs.ds.selector = 0x10;
	sregs.ds.type = 3;
	sregs.ds.db = 1;
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.gdt.base = GDT;
	sregs.gdt.limit = 0x17;
	sregs.idt.base = IDT;
	sregs.idt.limit = 0xff;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	sregs.cr3 = PML4;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		return -1;
	return ioctl(vcpu, KVM_SET_REGS, &regs);
}

static void on_alarm(int number)
{
	(void)number; /* the interrupted KVM_RUN says the rest */
}

static int run(int vcpu, struct kvm_run *state)
{
	const struct itimerval limit = {.it_value.tv_usec =
						TIME_LIMIT_MS * 1000};
	const struct sigaction action = {.sa_handler = on_alarm};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &limit, NULL);
	if (ioctl(vcpu, KVM_RUN, 0) < 0) {
		if (errno == EINTR)
			return fail("too slow: it emulates instructions");
		return fail_errno("a guest does not run");
	}
	switch (state->exit_reason) {
	case KVM_EXIT_IO:
		if (((uint8_t *)state)[state->io.data_offset] == HANDLED)
			return 0;
		return fail("exceptions are not delivered");
	case KVM_EXIT_INTERNAL_ERROR:
		return fail("it cannot run all instructions of a stock guest");
	default:
		printf("/dev/kvm: the probe's guest ended with exit %u\n",
		       state->exit_reason);
		return 1;
	}
}

static int set_cpuid(int kvm, int vcpu)
{
	enum {
		MAX_ENTRIES = 256
	};
	struct kvm_cpuid2 *cpuid = calloc(
		1, sizeof(*cpuid) + MAX_ENTRIES * sizeof(cpuid->entries[0]));
	int ret = -1;

	if (cpuid) {
		cpuid->nent = MAX_ENTRIES;
		ret = ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
		if (ret == 0)
			ret = ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	}
	free(cpuid);
	return ret;
}

int main(void)
{
	struct kvm_userspace_memory_region region = {.memory_size =
							     MEMORY_SIZE};
	struct kvm_run *state;
	uint8_t *memory;
	int kvm, vm, vcpu, size;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return fail_errno("cannot be opened");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm < 0 || memory == MAP_FAILED)
		return fail_errno("no VM");
	region.userspace_addr = (uintptr_t)memory;
	fill_memory(memory);
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return fail_errno("no guest memory");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < (int)sizeof(*state))
		return fail_errno("no vCPU");
	state = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
		     vcpu, 0);
	if (state == MAP_FAILED || set_cpuid(kvm, vcpu) < 0 ||
	    set_registers(vcpu) < 0)
		return fail_errno("no vCPU state");
	return run(vcpu, state);
}
