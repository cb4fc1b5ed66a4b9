// SPDX-License-Identifier: BSD-3-Clause
/* Virtio over PCI: capabilities, status, features. */
#include "arch.h"
#include "bare.h"
#include "mmio.h"
#include "virtio.h"

#define VENDOR_ID	 0x1af4
#define REG_COMMAND	 0x04
#define REG_BAR0	 0x10
#define REG_CAPABILITIES 0x34
#define COMMAND_ON	 0x0006 /* memory, bus master */
#define COMMAND_MASTER	 0x0004
#define CAP_VENDOR	 0x09
#define CAP_MSIX	 0x11
#define MAX_CAPS	 48
#define BAR_64		 0x4
#define PATIENCE_US	 (30 * 1000000)

enum {
	CFG_COMMON = 1,
	CFG_NOTIFY = 2,
	CFG_ISR = 3,
	CFG_DEVICE = 4,
	CFG_PCI = 5,
};

static uint64_t bar_base(unsigned int bdf, unsigned int bar)
{
	uint32_t low = arch_pci_read(bdf, REG_BAR0 + 4 * bar, 4);
	uint64_t high = 0;

	if (low & BAR_64)
		high = arch_pci_read(bdf, REG_BAR0 + 4 * bar + 4, 4);
	return high << 32 | (low & ~0xfU);
}

static uint64_t place(unsigned int bdf, unsigned int bar, uint32_t offset,
		      uint32_t length)
{
	uint64_t at = bar_base(bdf, bar) + offset;

	arch_map(at, length ? length : 1);
	return at;
}

static void take_vendor_cap(struct virtio *v, unsigned int cap)
{
	unsigned int bar = arch_pci_read(v->bdf, cap + 4, 1);
	uint32_t offset = arch_pci_read(v->bdf, cap + 8, 4);
	uint32_t length = arch_pci_read(v->bdf, cap + 12, 4);
	unsigned int type = arch_pci_read(v->bdf, cap + 3, 1);

	if (type == CFG_PCI) {
		v->window = cap;
		return;
	}
	/* Of each kind the first one counts (4.1.4.1). */
	if (type == CFG_COMMON && !v->common) {
		v->common = place(v->bdf, bar, offset, length);
	} else if (type == CFG_ISR && !v->isr) {
		v->isr = place(v->bdf, bar, offset, length);
	} else if (type == CFG_DEVICE && !v->config) {
		v->config = place(v->bdf, bar, offset, length);
		v->config_bar = (uint8_t)bar;
		v->config_offset = offset;
	} else if (type == CFG_NOTIFY && !v->notify) {
		v->notify = place(v->bdf, bar, offset, length);
		v->notify_multiplier = arch_pci_read(v->bdf, cap + 16, 4);
	}
}

static void take_msix(struct virtio *v, unsigned int cap)
{
	uint32_t table = arch_pci_read(v->bdf, cap + 4, 4);
	uint32_t pba = arch_pci_read(v->bdf, cap + 8, 4);

	v->msix = cap;
	v->msix_table = place(v->bdf, table & 7, table & ~7U, 4096);
	v->msix_pba = place(v->bdf, pba & 7, pba & ~7U, 8);
}

bool virtio_probe(struct virtio *v, unsigned int bdf)
{
	unsigned int cap = arch_pci_read(bdf, REG_CAPABILITIES, 1);

	*v = (struct virtio){.bdf = bdf};
	if (arch_pci_read(bdf, 0, 2) != VENDOR_ID)
		return false;
	arch_pci_write(bdf, REG_COMMAND,
		       arch_pci_read(bdf, REG_COMMAND, 2) | COMMAND_ON, 2);
	for (int i = 0; cap && i < MAX_CAPS; i++) {
		unsigned int id = arch_pci_read(bdf, cap, 1);

		if (id == CAP_VENDOR)
			take_vendor_cap(v, cap);
		else if (id == CAP_MSIX)
			take_msix(v, cap);
		cap = arch_pci_read(bdf, cap + 1, 1);
	}
	return v->common && v->isr && v->config && v->notify;
}

void virtio_set_master(const struct virtio *v, bool on)
{
	uint32_t command = arch_pci_read(v->bdf, REG_COMMAND, 2);

	arch_pci_write(v->bdf, REG_COMMAND,
		       on ? command | COMMAND_MASTER
			  : command & ~(uint32_t)COMMAND_MASTER,
		       2);
}

uint8_t virtio_status(const struct virtio *v)
{
	return load8(v->common + COMMON_STATUS);
}

void virtio_add_status(const struct virtio *v, uint8_t bits)
{
	store8(v->common + COMMON_STATUS, virtio_status(v) | bits);
}

bool virtio_reset(const struct virtio *v)
{
	uint64_t until = arch_now_us() + PATIENCE_US;

	store8(v->common + COMMON_STATUS, 0);
	while (virtio_status(v) != 0) {
		if (arch_now_us() > until)
			return false;
	}
	return true;
}

uint64_t virtio_offered(const struct virtio *v)
{
	uint64_t low, high;

	store32(v->common + COMMON_DEVICE_FEATURE_SELECT, 0);
	low = load32(v->common + COMMON_DEVICE_FEATURE);
	store32(v->common + COMMON_DEVICE_FEATURE_SELECT, 1);
	high = load32(v->common + COMMON_DEVICE_FEATURE);
	return high << 32 | low;
}

void virtio_accept(const struct virtio *v, uint64_t features)
{
	store32(v->common + COMMON_DRIVER_FEATURE_SELECT, 0);
	store32(v->common + COMMON_DRIVER_FEATURE, (uint32_t)features);
	store32(v->common + COMMON_DRIVER_FEATURE_SELECT, 1);
	store32(v->common + COMMON_DRIVER_FEATURE, (uint32_t)(features >> 32));
}

uint8_t virtio_isr(const struct virtio *v)
{
	return load8(v->isr);
}
