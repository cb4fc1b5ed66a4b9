/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a VM share; nobody else includes it. */
#ifndef VMM_VM_INTERNAL_H
#define VMM_VM_INTERNAL_H

#include <pthread.h>

#include "boot_memory.h"
#include "console.h"
#include "elastic.h"
#include "guard.h"
#include "guest_memory.h"
#include "host/kept_files.h"
#include "kvm.h"
#include "machine.h"
#include "pci.h"
#include "vcpu.h"
#include "vmm.h"
#include "x86/boot.h"

struct vm {
	char name[VM_NAME_MAX];
	uint64_t boot_bytes;
	uint64_t created_ms;
	bool no_reboot;

	/* Parts, in the order in which they are made. */
	struct kept_files kept;
	struct boot_source source;
	char *kernel_path, *initrd_path, *cmdline;
	struct kvm kvm;
	struct machine_plan plan;
	struct boot_memory boot;
	struct machine_numa numa;
	struct guest_memory memory;
	struct bus mmio;
	struct pci_bus pci;
	struct console *console;
	struct machine *machine;
	struct guard *guard; /* NULL: off */
	char guard_off_reason[512];
	unsigned int nr_elastic;
	struct elastic *elastic[VM_MAX_ELASTIC];
	unsigned int nr_cpus;
	struct vcpus vcpus;
	pthread_t lifecycle;
	bool lifecycle_started;
	int end_fd;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wish;
	bool want_run; /* for the first time */
	bool want_reset;
	bool want_paused, paused;
	bool want_hold;	   /* pause first, whatever want_paused says by then */
	bool guard_paused; /* want_paused is the guard's wish */
	bool want_sleep;   /* the guest's */
	bool want_wake;	   /* void unless asleep */
	bool asleep;	   /* suspended to memory: no processor runs */
	enum vm_end want_end;
	bool button_pressed;
	enum vm_state state;
	enum vm_end end;
	struct error end_error;
	unsigned int nr_reboots;
	struct vm_reset_times last_reset; /* back_us: of boot memory alone */
	uint64_t reset_began_us;
};

uint64_t vm_now_us(void);

/* Leave a wish for the lifecycle thread; from any thread. The first reason to
 * end counts. */
void vm_wish_end(struct vm *vm, enum vm_end end, const struct error *err);
void vm_wish_reset(struct vm *vm);

/* Open what the VM boots from, before it has any thread; and close it. */
int vm_open_source(struct vm *vm, const struct vm_config *config,
		   struct error *err);
void vm_close_source(struct vm *vm);

/* From the lifecycle thread: suspend the guest to memory, and wake it. */
void vm_do_sleep(struct vm *vm);
void vm_do_wake(struct vm *vm);

#endif
