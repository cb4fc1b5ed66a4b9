// SPDX-License-Identifier: BSD-3-Clause
/* MSI-X (PCI 3.0, section 6.8.2): the table, pending bits and delivery. */
#include <string.h>

#include "virtio_pci_internal.h"

#define ENTRY_ADDRESS 0
#define ENTRY_DATA    8
#define ENTRY_CONTROL 12
#define CONTROL_MASK  1

static unsigned int nr_vectors(const struct virtio_pci *vp)
{
	return vp->config.nr_queues + 1U;
}

static void entry_image(const struct virtio_pci_vector *vector,
			uint8_t image[MSIX_ENTRY_SIZE])
{
	memset(image, 0, MSIX_ENTRY_SIZE);
	for (unsigned int i = 0; i < 8; i++)
		image[ENTRY_ADDRESS + i] = (uint8_t)(vector->address >> 8 * i);
	for (unsigned int i = 0; i < 4; i++)
		image[ENTRY_DATA + i] = (uint8_t)(vector->data >> 8 * i);
	image[ENTRY_CONTROL] = vector->masked ? CONTROL_MASK : 0;
}

/* Send what can be sent: tell the route if it changed, then what is pending. */
static void deliver(struct virtio_pci *vp, unsigned int index)
{
	struct virtio_pci_vector *vector = &vp->vectors[index];

	if (!virtio_pci_msix_enabled(vp) || !virtio_pci_msix_unmasked(vp) ||
	    vector->masked || !virtio_pci_is_master(vp))
		return;
	if (!vector->routed) {
		vp->ops->route(vp->opaque, index, vector->address,
			       vector->data);
		vector->routed = true;
	}
	if (vector->pending) {
		vector->pending = false;
		vp->ops->signal(vp->opaque, index);
	}
}

void virtio_pci_msix_reset(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < VIRTIO_PCI_MAX_VECTORS; i++)
		vp->vectors[i] = (struct virtio_pci_vector){.masked = true};
}

void virtio_pci_msix_read(const struct virtio_pci *vp, unsigned int offset,
			  void *data, unsigned int len)
{
	uint8_t image[MSIX_TABLE_SIZE + MSIX_ENTRY_SIZE] = {0};

	for (unsigned int i = 0; i < nr_vectors(vp); i++)
		entry_image(&vp->vectors[i], image + i * MSIX_ENTRY_SIZE);
	memcpy(data, image + offset, len);
}

void virtio_pci_msix_write(struct virtio_pci *vp, unsigned int offset,
			   const void *data, unsigned int len)
{
	unsigned int index = offset / MSIX_ENTRY_SIZE;
	unsigned int at = offset % MSIX_ENTRY_SIZE;
	uint8_t image[MSIX_ENTRY_SIZE];
	struct virtio_pci_vector *vector;
	uint64_t address = 0;
	uint32_t message = 0;

	if (index >= nr_vectors(vp) || at + len > MSIX_ENTRY_SIZE)
		return;
	vector = &vp->vectors[index];
	entry_image(vector, image);
	memcpy(image + at, data, len);
	for (unsigned int i = 0; i < 8; i++)
		address |= (uint64_t)image[ENTRY_ADDRESS + i] << 8 * i;
	for (unsigned int i = 0; i < 4; i++)
		message |= (uint32_t)image[ENTRY_DATA + i] << 8 * i;
	if (address != vector->address || message != vector->data)
		vector->routed = false;
	vector->address = address;
	vector->data = message;
	vector->masked = image[ENTRY_CONTROL] & CONTROL_MASK;
	deliver(vp, index);
}

void virtio_pci_pba_read(const struct virtio_pci *vp, unsigned int offset,
			 void *data, unsigned int len)
{
	uint8_t image[MSIX_PBA_SIZE] = {0};

	for (unsigned int i = 0; i < nr_vectors(vp); i++) {
		if (vp->vectors[i].pending)
			image[i / 8] |= (uint8_t)(1U << i % 8);
	}
	memcpy(data, image + offset, len);
}

void virtio_pci_msix_raise(struct virtio_pci *vp, unsigned int vector)
{
	if (vector >= nr_vectors(vp) || !virtio_pci_msix_enabled(vp))
		return;
	vp->vectors[vector].pending = true;
	deliver(vp, vector);
}

void virtio_pci_msix_update(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < nr_vectors(vp); i++)
		deliver(vp, i);
}
