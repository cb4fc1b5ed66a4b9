// SPDX-License-Identifier: BSD-3-Clause
/*
 * The system calls that a VM's process makes once its guest runs, and why.
 * docs/hardening.md says how to find out what is missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>

#include "sandbox.h"

#define ANY(name, role, why)                                                   \
	{                                                                      \
		SCMP_SYS(name), role, why, -1, 0, 0, 0                         \
	}
#define IF(name, role, why, arg, mask, value)                                  \
	{                                                                      \
		SCMP_SYS(name), role, why, arg, mask, value, 0                 \
	}
/* The kernel looks at 32 bits of the request. */
#define IOCTL(request, role, why)                                              \
	{                                                                      \
		SCMP_SYS(ioctl), role, why, 1, UINT32_MAX, request, 0          \
	}
#define FAILS(name, role, why, error)                                          \
	{                                                                      \
		SCMP_SYS(name), role, why, -1, 0, 0, error                     \
	}

const struct sandbox_rule sandbox_rules[] = {
	/* The C library, in every thread. */
	ANY(brk, "all", "malloc"),
	IF(mmap, "all", "malloc; a reset's fresh memory", 2, PROT_EXEC, 0),
	IF(mprotect, "all", "malloc; guard: shut blocks", 2, PROT_EXEC, 0),
	ANY(mremap, "all", "realloc"),
	ANY(munmap, "all", "free; the end"),
	ANY(madvise, "all", "free; populate; thread stacks"),
	ANY(futex, "all", "locks"),
	ANY(rt_sigprocmask, "all", "signals to vCPUs; abort()"),
	ANY(rt_sigreturn, "all", "return from a signal"),
	ANY(rt_sigaction, "api", "signals given back at the end"),
	ANY(restart_syscall, "all", "sleep after a stop signal"),
	ANY(clock_gettime, "all", "time where the vDSO cannot tell"),
	ANY(gettimeofday, "all", "time where the vDSO cannot tell"),
	ANY(clock_nanosleep, "console, guard", "gather output; wait"),
	ANY(getpid, "all", "status; abort()"),
	ANY(gettid, "all", "abort(); signals to vCPUs"),
	ANY(tgkill, "lifecycle, guard", "make vCPUs leave the guest"),
	ANY(sched_yield, "all", "locks"),
	ANY(sched_getaffinity, "all", "malloc: number of processors"),
	ANY(getrandom, "all", "malloc"),
	ANY(set_robust_list, "all", "threads"),
	ANY(rseq, "all", "threads"),
	IF(prctl, "all", "a thread that is young names itself", 0, UINT32_MAX,
	   PR_SET_NAME),
	ANY(exit, "all", "a thread's end"),
	ANY(exit_group, "all", "the end"),
	FAILS(openat, "all", "malloc and the time zone live without", EACCES),
	FAILS(readlink, "all", "the C library lives without", EACCES),

	/* Descriptors that are open already. */
	ANY(read, "all", "eventfds, console, userfaultfd"),
	ANY(write, "all", "eventfds, console, messages"),
	ANY(readv, "api", "clients"),
	ANY(writev, "api", "clients"),
	ANY(pread64, "lifecycle", "kernel and initrd at a reset; /proc"),
	ANY(lseek, "api", "audit: what backing files hold"),
	ANY(close, "all", "clients; the end"),
	ANY(fcntl, "api", "clients do not block"),
	IF(newfstatat, "all", "size of a descriptor's file, no path", 3,
	   UINT32_MAX, AT_EMPTY_PATH),
	ANY(fstat, "all", "size of a descriptor's file"),
	ANY(poll, "console, elastic, guard", "wait"),
	ANY(ppoll, "console, elastic, guard", "wait"),

	/* Guest memory. */
	ANY(fallocate, "elastic, api, guard, lifecycle",
	    "populate and discard"),
	ANY(mbind, "lifecycle", "a reset's fresh memory stays on its nodes"),
	ANY(mincore, "api", "audit"),

	/* The control API. */
	ANY(epoll_wait, "api", "wait"),
	ANY(epoll_pwait, "api", "wait"),
	ANY(epoll_ctl, "api", "clients come and go"),
	ANY(accept4, "api", "a client"),
	ANY(accept, "api", "a client"),
	ANY(recvfrom, "api", "clients"),
	ANY(sendto, "api", "clients; signals"),
	ANY(recvmsg, "api", "clients"),
	ANY(sendmsg, "api", "clients"),
	ANY(shutdown, "api", "clients; the socket's keeper"),
	ANY(getsockopt, "api", "clients"),
	ANY(setsockopt, "api", "clients"),
	ANY(getsockname, "api", "clients"),
	ANY(getpeername, "api", "clients"),
	ANY(uname, "api", "the name of a client at a unix socket"),
	IOCTL(FIONREAD, "api", "how much a client has sent"),
	IOCTL(FIONBIO, "api", "clients do not block"),

	/* The terminal. */
	IOCTL(TCGETS, "console", "is it a terminal?"),
	IOCTL(TCSETS, "main", "restore it at the end"),
	IOCTL(TCSETSW, "main", "restore it at the end"),
	IOCTL(TCSETSF, "main", "restore it at the end"),

	ANY(wait4, "main", "the end of the process that would restore it"),

	/* KVM: running. */
	IOCTL(KVM_RUN, "vcpu", "run the guest"),
	IOCTL(KVM_IRQ_LINE, "vcpu, console", "interrupts"),
	IOCTL(KVM_SET_GSI_ROUTING, "vcpu", "MSI-X tables of the guest"),
	IOCTL(KVM_IOEVENTFD, "vcpu", "doorbells move with their BAR"),
	IOCTL(KVM_SIGNAL_MSI, "elastic", "interrupts"),
	IOCTL(KVM_SET_USER_MEMORY_REGION, "guard, lifecycle",
	      "memory slots: holes for the guard; a reset"),
	IOCTL(KVM_KVMCLOCK_CTRL, "lifecycle", "the guest was paused"),
	IOCTL(KVM_TRANSLATE, "vcpu", "guard: kind of an access"),
	/* KVM: reset. */
	IOCTL(KVM_CHECK_EXTENSION, "lifecycle", "reset"),
	IOCTL(KVM_GET_REGS, "vcpu, lifecycle", "guard; reset"),
	IOCTL(KVM_SET_REGS, "vcpu, lifecycle", "guard; reset"),
	IOCTL(KVM_GET_SREGS, "vcpu, lifecycle", "guard; reset"),
	IOCTL(KVM_SET_SREGS, "lifecycle", "reset"),
	IOCTL(KVM_SET_CPUID2, "lifecycle", "reset"),
	IOCTL(KVM_SET_MSRS, "lifecycle", "reset"),
	IOCTL(KVM_GET_MSRS, "lifecycle", "reset"),
	IOCTL(KVM_SET_FPU, "lifecycle", "reset"),
	IOCTL(KVM_SET_XSAVE, "lifecycle", "reset"),
	IOCTL(KVM_SET_XCRS, "lifecycle", "reset"),
	IOCTL(KVM_SET_DEBUGREGS, "lifecycle", "reset"),
	IOCTL(KVM_SET_VCPU_EVENTS, "lifecycle", "reset"),
	IOCTL(KVM_SET_MP_STATE, "lifecycle", "reset"),
	IOCTL(KVM_GET_MP_STATE, "lifecycle", "reset"),
	IOCTL(KVM_SET_LAPIC, "lifecycle", "reset"),
	IOCTL(KVM_SET_IRQCHIP, "lifecycle", "reset"),
	IOCTL(KVM_SET_PIT2, "lifecycle", "reset"),
	IOCTL(KVM_SET_CLOCK, "lifecycle", "reset"),

	/* The guard. */
	IOCTL(UFFDIO_REGISTER, "elastic, api, guard, lifecycle",
	      "close blocks"),
	IOCTL(UFFDIO_UNREGISTER, "elastic, api, guard", "open blocks"),
	IOCTL(UFFDIO_WAKE, "guard, lifecycle", "let a held access go on"),
};
const size_t sandbox_nr_rules =
	sizeof(sandbox_rules) / sizeof(sandbox_rules[0]);
