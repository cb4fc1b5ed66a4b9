// SPDX-License-Identifier: BSD-3-Clause
/*
 * The x86 platform: interrupt chips and timer inside KVM, a few ports, PCI
 * configuration by ports and by ECAM, ACPI.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/machine.h"
#include "vmm/pci.h"
#include "vmm/serial.h"
#include "acpi.h"
#include "boot.h"
#include "layout.h"
#include "pm.h"
#include "vcpu.h"

#define NR_PIC_PINS    8
#define NR_IOAPIC_PINS 24
#define RESET_GO       0x04 /* bit of the reset register that acts */
#define I8042_PULSE    0xfe

struct machine {
	struct machine_config config;
	struct bus ports;
	struct pm pm;
	uint32_t pci_address; /* last write to PORT_PCI_ADDR */
	struct acpi_places acpi;
	bool la57;		 /* processors have 5-level paging */
	struct boot_entry entry; /* how the first vCPU starts */
	/* In-kernel chips as they were when new. */
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
};

struct machine_vcpu {
	struct machine *machine;
	int fd;
	unsigned int index;
	struct vcpu_state *state;
};

int machine_plan(const struct kvm *kvm, uint64_t memory_bytes,
		 struct machine_plan *plan, struct error *err)
{
	unsigned int bits = vcpu_address_bits(kvm);
	uint64_t top = LAYOUT_HOLE_END;

	*plan = (struct machine_plan){
		.elastic_align = LAYOUT_ELASTIC_ALIGN,
		.address_end = bits < 52 ? 1ULL << bits : 1ULL << 52,
		.pci_mmio = {LAYOUT_PCI_MMIO, LAYOUT_PCI_MMIO_SIZE},
		.first_msi_gsi = GSI_MSI_FIRST,
		.nr_boot = 1,
		.boot[0] = {0, memory_bytes},
	};
	if (memory_bytes > LAYOUT_HOLE_START) {
		plan->boot[0].size = LAYOUT_HOLE_START;
		plan->boot[1].start = LAYOUT_HOLE_END;
		plan->boot[1].size = memory_bytes - LAYOUT_HOLE_START;
		plan->nr_boot = 2;
		top += plan->boot[1].size;
	}
	if (memory_bytes > plan->address_end || top > plan->address_end)
		return error_set(
			err, -ERANGE,
			"%llu MiB of boot memory is more than processors of "
			"this host can address (%u bits)",
			(unsigned long long)(memory_bytes >> 20), bits);
	plan->elastic_start = top;
	return 0;
}

/* ---- Ports ------------------------------------------------------------- */

static void reset_port_read(void *opaque, uint64_t offset, void *data,
			    unsigned int len)
{
	/* The keyboard controller is absent but for its reset line: an idle
	 * status keeps whoever waits for it from waiting. */
	memset(data, 0, len);
}

static void i8042_write(void *opaque, uint64_t offset, const void *data,
			unsigned int len)
{
	struct machine *machine = opaque;

	if (*(const uint8_t *)data == I8042_PULSE)
		machine->config.ops->reset(machine->config.opaque);
}

static const struct bus_ops i8042_ops = {
	.read = reset_port_read,
	.write = i8042_write,
};

/* Configuration mechanism 1: an address register and a data window. The reset
 * register hides in the address register's second byte. */
static void pci_ports_read(void *opaque, uint64_t offset, void *data,
			   unsigned int len)
{
	struct machine *machine = opaque;
	uint32_t address =
		__atomic_load_n(&machine->pci_address, __ATOMIC_RELAXED);

	memset(data, 0xff, len);
	if (offset == 0 && len == 4)
		memcpy(data, &address, 4);
	else if (offset >= 4 && (address >> 31))
		pci_config_read(machine->config.pci, address >> 8 & 0xffff,
				(address & 0xfc) + (unsigned int)(offset - 4),
				data, len);
}

static void pci_ports_write(void *opaque, uint64_t offset, const void *data,
			    unsigned int len)
{
	struct machine *machine = opaque;
	uint32_t address =
		__atomic_load_n(&machine->pci_address, __ATOMIC_RELAXED);

	if (offset == 0 && len == 4) {
		memcpy(&address, data, 4);
		__atomic_store_n(&machine->pci_address, address,
				 __ATOMIC_RELAXED);
	} else if (offset == PORT_ACPI_RESET - PORT_PCI_ADDR && len == 1) {
		if (*(const uint8_t *)data & RESET_GO)
			machine->config.ops->reset(machine->config.opaque);
	} else if (offset >= 4 && (address >> 31)) {
		pci_config_write(machine->config.pci, address >> 8 & 0xffff,
				 (address & 0xfc) + (unsigned int)(offset - 4),
				 data, len);
	}
}

static const struct bus_ops pci_port_ops = {
	.read = pci_ports_read,
	.write = pci_ports_write,
};

static void ecam_read(void *opaque, uint64_t offset, void *data,
		      unsigned int len)
{
	struct machine *machine = opaque;

	pci_config_read(machine->config.pci, (unsigned int)(offset >> 12),
			offset & 0xfff, data, len);
}

static void ecam_write(void *opaque, uint64_t offset, const void *data,
		       unsigned int len)
{
	struct machine *machine = opaque;

	pci_config_write(machine->config.pci, (unsigned int)(offset >> 12),
			 offset & 0xfff, data, len);
}

static const struct bus_ops ecam_ops = {
	.read = ecam_read,
	.write = ecam_write,
};

static void add_devices(struct machine *machine)
{
	const struct bus_range ports[] = {
		{PORT_COM1, SERIAL_NR_PORTS, &serial_bus_ops,
		 machine->config.serial},
		{PORT_I8042_CMD, 1, &i8042_ops, machine},
		{PORT_PCI_ADDR, 8, &pci_port_ops, machine},
		{PORT_ACPI_PM1_EVT, PM_NR_PORTS, &pm_bus_ops, &machine->pm},
	};
	const struct bus_range ecam = {LAYOUT_ECAM, LAYOUT_ECAM_SIZE, &ecam_ops,
				       machine};

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		bus_add(&machine->ports, &ports[i]);
	bus_add(machine->config.mmio, &ecam);
}

/* ---- Platform ---------------------------------------------------------- */

static void machine_sci(void *opaque, bool level)
{
	struct machine *machine = opaque;

	kvm_set_irq_line(machine->config.kvm, GSI_SCI, level);
}

static void machine_s5(void *opaque)
{
	struct machine *machine = opaque;

	machine->config.ops->poweroff(machine->config.opaque);
}

static void machine_s3(void *opaque)
{
	struct machine *machine = opaque;

	machine->config.ops->sleep(machine->config.opaque);
}

static const struct pm_ops machine_pm_ops = {
	.sci = machine_sci,
	.poweroff = machine_s5,
	.sleep = machine_s3,
};

static struct kvm_irq_routing_entry chip_route(unsigned int gsi,
					       unsigned int chip,
					       unsigned int pin)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

/* PC wiring: lines 0 to 15 go to both PICs and to the IOAPIC, where line 0
 * arrives at pin 2 (the MADT says so). */
static int set_chip_routes(struct machine *machine)
{
	struct kvm_irq_routing_entry routes[2 * NR_PIC_PINS + NR_IOAPIC_PINS];
	unsigned int nr = 0;

	for (unsigned int i = 0; i < NR_PIC_PINS; i++)
		routes[nr++] = chip_route(i, KVM_IRQCHIP_PIC_MASTER, i);
	for (unsigned int i = 0; i < NR_PIC_PINS; i++)
		routes[nr++] =
			chip_route(NR_PIC_PINS + i, KVM_IRQCHIP_PIC_SLAVE, i);
	for (unsigned int i = 0; i < NR_IOAPIC_PINS; i++) {
		if (i != 2)
			routes[nr++] = chip_route(i, KVM_IRQCHIP_IOAPIC,
						  i == 0 ? 2 : i);
	}
	return kvm_set_fixed_routes(machine->config.kvm, routes, nr);
}

/* Read the state of the in-kernel chips, to go back to at each reset. */
static int save_chips(struct machine *machine)
{
	int vm_fd = machine->config.kvm->vm_fd;

	for (unsigned int i = 0; i < 3; i++) {
		machine->chips[i].chip_id = i;
		if (ioctl(vm_fd, KVM_GET_IRQCHIP, &machine->chips[i]) < 0)
			return -errno;
	}
	return ioctl(vm_fd, KVM_GET_PIT2, &machine->pit) < 0 ? -errno : 0;
}

static int restore_chips(struct machine *machine)
{
	int vm_fd = machine->config.kvm->vm_fd;

	for (unsigned int i = 0; i < 3; i++) {
		if (ioctl(vm_fd, KVM_SET_IRQCHIP, &machine->chips[i]) < 0)
			return -errno;
	}
	return ioctl(vm_fd, KVM_SET_PIT2, &machine->pit) < 0 ? -errno : 0;
}

static int make_chips(struct machine *machine)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity = LAYOUT_KVM_IDENTITY;
	int vm_fd = machine->config.kvm->vm_fd;
	int ret;

	/* Pages that Intel's KVM needs for real mode, in the hole. */
	if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm_fd, KVM_SET_TSS_ADDR, LAYOUT_KVM_TSS) < 0 ||
	    ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) < 0 ||
	    ioctl(vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return -errno;
	ret = set_chip_routes(machine);
	return ret ? ret : save_chips(machine);
}

int machine_create(struct machine **out, const struct machine_config *config,
		   struct error *err)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int ret;

	if (!machine)
		return error_set(err, -ENOMEM, "no memory for the platform");
	machine->config = *config;
	machine->la57 = vcpu_has_la57(config->kvm);
	ret = make_chips(machine);
	if (ret) {
		free(machine);
		return error_set_errno(err, ret,
				       "KVM cannot make interrupt chips");
	}
	pm_init(&machine->pm, &machine_pm_ops, machine);
	add_devices(machine);
	*out = machine;
	return 0;
}

void machine_destroy(struct machine *machine)
{
	if (!machine)
		return;
	pm_finish(&machine->pm);
	free(machine);
}

void machine_serial_irq(struct machine *machine, bool level)
{
	kvm_set_irq_line(machine->config.kvm, GSI_COM1, level);
}

void machine_power_button(struct machine *machine)
{
	pm_press_button(&machine->pm);
}

void machine_sleep_button(struct machine *machine)
{
	pm_press_sleep_button(&machine->pm);
}

bool machine_is_idle(struct machine *machine)
{
	return pm_is_idle(&machine->pm);
}

void machine_wake_idle(struct machine *machine)
{
	pm_wake_idle(&machine->pm);
}

/* All that loses its state when power goes, but the PM's registers. */
static int power_cycle(struct machine *machine, struct error *err)
{
	int ret = restore_chips(machine);

	if (ret)
		return error_set_errno(err, ret,
				       "cannot reset the interrupt chips");
	serial_reset(machine->config.serial);
	machine->pci_address = 0;
	return 0;
}

int machine_boot(struct machine *machine, const struct boot_source *source,
		 struct error *err)
{
	const struct acpi_config acpi = {
		.nr_cpus = machine->config.nr_cpus,
		.numa = machine->config.numa,
	};
	struct boot_source with = *source;
	int ret = power_cycle(machine, err);

	if (ret)
		return ret;
	with.la57 = machine->la57;
	pm_reset(&machine->pm);
	ret = acpi_build(machine->config.memory, &acpi, &machine->acpi, err);
	if (ret)
		return ret;
	return boot_load(machine->config.memory, &with, machine->acpi.rsdp,
			 &machine->entry, err);
}

int machine_sleep(struct machine *machine, struct error *err)
{
	return power_cycle(machine, err);
}

int machine_wake(struct machine *machine, struct error *err)
{
	if (!acpi_waking_entry(machine->config.memory, machine->acpi.facs,
			       &machine->entry))
		return error_set(err, -ENOENT,
				 "it named no address in its memory at which "
				 "to wake");
	pm_wake(&machine->pm);
	return 0;
}

/* ---- Processors -------------------------------------------------------- */

int machine_vcpu_create(struct machine *machine, struct machine_vcpu **out,
			int fd, unsigned int index, struct error *err)
{
	struct machine_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	int ret;

	if (!vcpu)
		return error_set(err, -ENOMEM, "no memory for a vCPU");
	vcpu->machine = machine;
	vcpu->fd = fd;
	vcpu->index = index;
	ret = vcpu_set_cpuid(machine->config.kvm, fd, index,
			     machine->config.nr_cpus, err);
	if (ret)
		goto fail;
	vcpu->state = vcpu_state_save(machine->config.kvm, fd, err);
	if (!vcpu->state) {
		ret = -EIO;
		goto fail;
	}
	*out = vcpu;
	return 0;
fail:
	free(vcpu);
	return ret;
}

void machine_vcpu_destroy(struct machine_vcpu *vcpu)
{
	if (!vcpu)
		return;
	vcpu_state_free(vcpu->state);
	free(vcpu);
}

int machine_vcpu_reset(struct machine_vcpu *vcpu, struct error *err)
{
	const struct boot_entry *entry =
		vcpu->index == 0 ? &vcpu->machine->entry : NULL;

	return vcpu_state_restore(vcpu->state, vcpu->fd, entry, err);
}

void machine_vcpu_resumed(struct machine_vcpu *vcpu)
{
	/* Fails for a guest without KVM's clock, which has no use for it. */
	ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
}

uint64_t machine_vcpu_next_gpa(struct machine_vcpu *vcpu)
{
	struct kvm_translation where = {0};
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ||
	    ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return UINT64_MAX;
	where.linear_address = sregs.cs.base + regs.rip;
	if (ioctl(vcpu->fd, KVM_TRANSLATE, &where) < 0 || !where.valid)
		return UINT64_MAX;
	return where.physical_address;
}

static void port_access(struct machine *machine, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	/* String instructions come with a count. */
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(&machine->ports, run->io.port, data,
				 run->io.size);
		else
			bus_write(&machine->ports, run->io.port, data,
				  run->io.size);
	}
}

int machine_vcpu_exit(struct machine_vcpu *vcpu, struct kvm_run *run,
		      struct error *err)
{
	struct machine *machine = vcpu->machine;
	struct kvm_regs regs = {0};

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		port_access(machine, run);
		return 0;
	case KVM_EXIT_SHUTDOWN: /* triple fault: resets a PC */
		machine->config.ops->reset(machine->config.opaque);
		return 0;
	case KVM_EXIT_FAIL_ENTRY:
		return error_set(
			err, -EIO, "vCPU %u cannot be entered (reason %#llx)",
			vcpu->index,
			(unsigned long long)
				run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		ioctl(vcpu->fd, KVM_GET_REGS, &regs);
		return error_set(
			err, -EIO,
			"KVM gave up on vCPU %u at rip %#llx (internal error "
			"%u); this KVM may be unable to run stock guests",
			vcpu->index, (unsigned long long)regs.rip,
			run->internal.suberror);
	default:
		return error_set(err, -EIO,
				 "vCPU %u stopped for an unknown reason (%u)",
				 vcpu->index, run->exit_reason);
	}
}
