/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the VMM asks of the architecture: where memory lies, the platform's own
 * devices, how a kernel starts, what a processor is. Implemented once for each
 * architecture, under vmm/ARCH/; nothing above knows which.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "host/error.h"
#include "vmm/bus.h"
#include "vmm/guest_memory.h"
#include "vmm/kvm.h"
#include "vmm/vmm.h"

struct machine;
struct machine_vcpu;
struct pci_bus;
struct boot_source;

/* A run of guest-physical addresses. */
struct machine_range {
	uint64_t start, size;
};

#define MACHINE_MAX_BOOT_RANGES 2

/* Where things go for a given amount of boot memory. */
struct machine_plan {
	unsigned int nr_boot;
	struct machine_range boot[MACHINE_MAX_BOOT_RANGES];
	uint64_t elastic_start; /* first address for elastic devices */
	uint64_t elastic_align; /* each starts at a multiple of this */
	uint64_t address_end;	/* the guest cannot address this and above */
	struct machine_range pci_mmio; /* window for BARs */
	unsigned int first_msi_gsi;
};

struct machine_ops {
	/* The guest asked for a reset, for power-off, or to be suspended to
	 * memory. Called from a vCPU thread; must return at once. */
	void (*reset)(void *opaque);
	void (*poweroff)(void *opaque);
	void (*sleep)(void *opaque);
};

/* NUMA, as firmware tells it. */
struct machine_numa {
	unsigned int nr_nodes; /* 0: no tables */
	uint8_t cpu_node[VM_MAX_CPUS];
	uint8_t distance[VM_MAX_NODES][VM_MAX_NODES];
};

struct machine_config {
	struct kvm *kvm;
	const struct guest_memory *memory;
	struct pci_bus *pci;
	struct bus *mmio; /* the machine adds its ranges */
	struct serial *serial;
	unsigned int nr_cpus;
	const struct machine_numa *numa;
	const struct machine_ops *ops;
	void *opaque;
};

/* Lay out the address space. kvm: to ask what processors can address. */
int machine_plan(const struct kvm *kvm, uint64_t memory_bytes,
		 struct machine_plan *plan, struct error *err);

/* Prepare the VM (interrupt chips, timers) before any vCPU is made, and put
 * the platform's devices on the buses. config is copied. */
int machine_create(struct machine **machine,
		   const struct machine_config *config, struct error *err);
void machine_destroy(struct machine *machine);

/* Interrupt line of the serial port. Any thread. */
void machine_serial_irq(struct machine *machine, bool level);

/* Press the power button, the sleep button. Any thread. */
void machine_power_button(struct machine *machine);
void machine_sleep_button(struct machine *machine);

/* Whether the guest has suspended itself and is idle, its processors running,
 * as far as it said so; and wake it from that. Any thread. */
bool machine_is_idle(struct machine *machine);
void machine_wake_idle(struct machine *machine);

/*
 * Bring platform devices to their power-on state and load kernel and firmware
 * tables into boot memory, which reads as zero. All vCPUs are stopped. The
 * vCPUs' own part is machine_vcpu_reset().
 */
int machine_boot(struct machine *machine, const struct boot_source *source,
		 struct error *err);

/*
 * The guest is suspended to memory: platform devices lose what they held. All
 * vCPUs are stopped, until machine_wake(): from then machine_vcpu_reset() sets
 * the first one to where the guest wanted to go on. -ENOENT: that is nowhere.
 */
int machine_sleep(struct machine *machine, struct error *err);
int machine_wake(struct machine *machine, struct error *err);

/* Make what the architecture keeps for a vCPU, and configure it (features,
 * identity). fd and index are the vCPU's. */
int machine_vcpu_create(struct machine *machine, struct machine_vcpu **vcpu,
			int fd, unsigned int index, struct error *err);
void machine_vcpu_destroy(struct machine_vcpu *vcpu);

/* Power-on state; the first vCPU is set to enter the kernel that
 * machine_boot() loaded, or where machine_wake() found, the others wait to be
 * started. Called while its thread
 * is parked. */
int machine_vcpu_reset(struct machine_vcpu *vcpu, struct error *err);

/* It stood still for a while, and goes on now. Called while its thread is
 * parked. */
void machine_vcpu_resumed(struct machine_vcpu *vcpu);

/* Where the instruction is that it would execute next; UINT64_MAX if that is
 * nowhere. Called from its thread. */
uint64_t machine_vcpu_next_gpa(struct machine_vcpu *vcpu);

/* Serve an exit that the generic code does not know. 0: go on; -errno: the VM
 * cannot go on, with the reason in err. */
int machine_vcpu_exit(struct machine_vcpu *vcpu, struct kvm_run *run,
		      struct error *err);

#endif
