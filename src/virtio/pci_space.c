// SPDX-License-Identifier: BSD-3-Clause
/*
 * PCI configuration space of a virtio device: a type 0 header and the
 * capabilities that say where the structures are (4.1.4). Kept as bytes; a
 * mask says which bits the guest can change.
 */
#include <string.h>

#include "virtio_pci_internal.h"

/* Header. */
#define REG_COMMAND	0x04
#define REG_STATUS	0x06
#define REG_CACHELINE	0x0c
#define REG_BAR0	0x10
#define REG_LINE	0x3c
#define COMMAND_MEMORY	0x0002
#define COMMAND_MASTER	0x0004
#define COMMAND_NO_INTX 0x0400
#define STATUS_CAPS	0x0010
#define VENDOR_ID	0x1af4
#define DEVICE_ID_BASE	0x1040
#define SUBSYSTEM_ID	0x1100

/* Capabilities, where they lie. */
#define CAP_MSIX     0x40
#define CAP_COMMON   0x50
#define CAP_ISR	     0x60
#define CAP_NOTIFY   0x70 /* with the multiplier, 20 bytes */
#define CAP_DEVICE   0x84
#define CAP_WINDOW   0x94 /* with the data register, 20 bytes */
#define MSIX_CONTROL (CAP_MSIX + 2)
#define MSIX_ENABLE  0x8000
#define MSIX_MASKALL 0x4000

/* Inside a vendor capability (4.1.4). */
#define CAP_BAR	   4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_EXTRA  16 /* notify: multiplier; window: data */

enum {
	CFG_COMMON = 1,
	CFG_NOTIFY = 2,
	CFG_ISR = 3,
	CFG_DEVICE = 4,
	CFG_PCI = 5
};

static void put(struct virtio_pci *vp, unsigned int at, uint32_t value,
		unsigned int size)
{
	for (unsigned int i = 0; i < size; i++)
		vp->space[at + i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get(const struct virtio_pci *vp, unsigned int at,
		    unsigned int size)
{
	uint32_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value |= (uint32_t)vp->space[at + i] << 8 * i;
	return value;
}

bool virtio_pci_is_master(const struct virtio_pci *vp)
{
	return get(vp, REG_COMMAND, 2) & COMMAND_MASTER;
}

bool virtio_pci_msix_enabled(const struct virtio_pci *vp)
{
	return get(vp, MSIX_CONTROL, 2) & MSIX_ENABLE;
}

bool virtio_pci_msix_unmasked(const struct virtio_pci *vp)
{
	return !(get(vp, MSIX_CONTROL, 2) & MSIX_MASKALL);
}

/* One vendor capability. */
struct cap {
	uint8_t at, next, len, type;
	uint32_t offset, length;
};

static void put_cap(struct virtio_pci *vp, const struct cap *cap)
{
	put(vp, cap->at, 0x09, 1); /* vendor-specific */
	put(vp, cap->at + 1U, cap->next, 1);
	put(vp, cap->at + 2U, cap->len, 1);
	put(vp, cap->at + 3U, cap->type, 1);
	put(vp, cap->at + CAP_OFFSET, cap->offset, 4);
	put(vp, cap->at + CAP_LENGTH, cap->length, 4);
}

static void put_caps(struct virtio_pci *vp)
{
	const struct cap caps[] = {
		{CAP_COMMON, CAP_ISR, 16, CFG_COMMON, BAR_COMMON, COMMON_SIZE},
		{CAP_ISR, CAP_NOTIFY, 16, CFG_ISR, BAR_ISR, 1},
		{CAP_NOTIFY, CAP_DEVICE, 20, CFG_NOTIFY, BAR_NOTIFY,
		 NOTIFY_MULTIPLIER * vp->config.nr_queues},
		{CAP_DEVICE, CAP_WINDOW, 16, CFG_DEVICE, BAR_DEVICE,
		 vp->config.config_size},
		{CAP_WINDOW, 0, 20, CFG_PCI, 0, 0},
	};

	put(vp, 0x34, CAP_MSIX, 1);
	put(vp, CAP_MSIX, 0x11, 1);
	put(vp, CAP_MSIX + 1, CAP_COMMON, 1);
	put(vp, MSIX_CONTROL, vp->config.nr_queues, 2); /* vectors - 1 */
	put(vp, CAP_MSIX + 4, BAR_MSIX_TABLE, 4);
	put(vp, CAP_MSIX + 8, BAR_MSIX_PBA, 4);
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		put_cap(vp, &caps[i]);
	put(vp, CAP_NOTIFY + CAP_EXTRA, NOTIFY_MULTIPLIER, 4);
}

static void place_bar(struct virtio_pci *vp)
{
	uint64_t base = get(vp, REG_BAR0, 4);
	bool enabled = (get(vp, REG_COMMAND, 2) & COMMAND_MEMORY) != 0;

	if (base == vp->bar_base && enabled == vp->bar_enabled)
		return;
	vp->bar_base = base;
	vp->bar_enabled = enabled;
	vp->ops->bar_moved(vp->opaque, base, enabled);
}

void virtio_pci_space_reset(struct virtio_pci *vp)
{
	memset(vp->space, 0, sizeof(vp->space));
	put(vp, 0x00, VENDOR_ID, 2);
	put(vp, 0x02, DEVICE_ID_BASE + vp->config.device_id, 2);
	put(vp, REG_STATUS, STATUS_CAPS, 2);
	put(vp, 0x08, 1, 1); /* revision of a modern device */
	put(vp, 0x09, vp->config.class_code, 3);
	put(vp, 0x2c, VENDOR_ID, 2);
	put(vp, 0x2e, SUBSYSTEM_ID, 2);
	put_caps(vp);
	place_bar(vp);
}

/* Bits of the byte at offset that the guest can change. */
static uint8_t writable_bits(unsigned int offset)
{
	const uint32_t bar = ~(VIRTIO_PCI_BAR_SIZE - 1);
	const uint16_t command =
		COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX;

	if (offset >= REG_BAR0 && offset < REG_BAR0 + 4)
		return (uint8_t)(bar >> 8 * (offset - REG_BAR0));
	if (offset >= REG_COMMAND && offset < REG_COMMAND + 2)
		return (uint8_t)(command >> 8 * (offset - REG_COMMAND));
	if (offset == REG_CACHELINE || offset == REG_LINE)
		return 0xff;
	if (offset == MSIX_CONTROL + 1)
		return (MSIX_ENABLE | MSIX_MASKALL) >> 8;
	if (offset == CAP_WINDOW + CAP_BAR ||
	    (offset >= CAP_WINDOW + CAP_OFFSET &&
	     offset < CAP_WINDOW + CAP_EXTRA + 4))
		return 0xff;
	return 0;
}

static bool overlaps(unsigned int offset, unsigned int len, unsigned int at,
		     unsigned int size)
{
	return offset < at + size && offset + len > at;
}

/* What the window names, if that is valid (4.1.4.9): 1, 2 or 4 aligned bytes
 * of the BAR. */
static bool window_target(const struct virtio_pci *vp, uint32_t *offset,
			  uint32_t *len)
{
	*offset = get(vp, CAP_WINDOW + CAP_OFFSET, 4);
	*len = get(vp, CAP_WINDOW + CAP_LENGTH, 4);
	return vp->space[CAP_WINDOW + CAP_BAR] == 0 &&
	       (*len == 1 || *len == 2 || *len == 4) && *offset % *len == 0 &&
	       *offset < VIRTIO_PCI_BAR_SIZE;
}

void virtio_pci_space_read(struct virtio_pci *vp, unsigned int offset,
			   void *data, unsigned int len)
{
	uint8_t *bytes = data;
	uint32_t target, size;

	if (overlaps(offset, len, CAP_WINDOW + CAP_EXTRA, 4) &&
	    window_target(vp, &target, &size))
		virtio_pci_bar_read(vp, target,
				    vp->space + CAP_WINDOW + CAP_EXTRA, size);
	/* Extended space is there and empty. */
	for (unsigned int i = 0; i < len; i++)
		bytes[i] = offset + i < sizeof(vp->space)
				   ? vp->space[offset + i]
				   : 0;
}

void virtio_pci_space_write(struct virtio_pci *vp, unsigned int offset,
			    const void *data, unsigned int len)
{
	const uint8_t *bytes = data;
	uint32_t target, size;

	for (unsigned int i = 0; i < len && offset + i < sizeof(vp->space);
	     i++) {
		uint8_t mask = writable_bits(offset + i);
		uint8_t *at = &vp->space[offset + i];

		*at = (uint8_t)((*at & ~mask) | (bytes[i] & mask));
	}
	if (overlaps(offset, len, REG_COMMAND, 2) ||
	    overlaps(offset, len, REG_BAR0, 4))
		place_bar(vp);
	if (overlaps(offset, len, MSIX_CONTROL, 2) ||
	    overlaps(offset, len, REG_COMMAND, 2))
		virtio_pci_msix_update(vp);
	if (overlaps(offset, len, CAP_WINDOW + CAP_EXTRA, 4) &&
	    window_target(vp, &target, &size))
		virtio_pci_bar_write(vp, target,
				     vp->space + CAP_WINDOW + CAP_EXTRA, size);
}
