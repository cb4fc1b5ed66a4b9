/* SPDX-License-Identifier: BSD-3-Clause */
/* The layout of the BAR, and what the three files of virtio-pci share. */
#ifndef VIRTIO_VIRTIO_PCI_INTERNAL_H
#define VIRTIO_VIRTIO_PCI_INTERNAL_H

#include "virtio_pci.h"

/* Structures in the BAR; each starts a page or part of one. */
#define BAR_COMMON	  0x0000U
#define BAR_ISR		  0x0800U
#define BAR_DEVICE	  0x1000U
#define BAR_NOTIFY	  VIRTIO_PCI_NOTIFY_OFFSET(0)
#define BAR_MSIX_TABLE	  0x3000U
#define BAR_MSIX_PBA	  0x3800U
#define COMMON_SIZE	  56U
#define ISR_SIZE	  4U
#define NOTIFY_MULTIPLIER 4U
#define NOTIFY_SIZE	  (NOTIFY_MULTIPLIER * VIRTIO_PCI_MAX_QUEUES)
#define MSIX_ENTRY_SIZE	  16U
#define MSIX_TABLE_SIZE	  (MSIX_ENTRY_SIZE * VIRTIO_PCI_MAX_VECTORS)
#define MSIX_PBA_SIZE	  8U
#define MSIX_NO_VECTOR	  0xffffU

/* pci_space.c: the PCI header and capabilities. */
void virtio_pci_space_reset(struct virtio_pci *vp);
/* MSI-X is switched on; the whole function is not masked. */
bool virtio_pci_msix_enabled(const struct virtio_pci *vp);
bool virtio_pci_msix_unmasked(const struct virtio_pci *vp);

/* msix.c: the table, pending bits, delivery. */
void virtio_pci_msix_reset(struct virtio_pci *vp);
void virtio_pci_msix_read(const struct virtio_pci *vp, unsigned int offset,
			  void *data, unsigned int len);
void virtio_pci_msix_write(struct virtio_pci *vp, unsigned int offset,
			   const void *data, unsigned int len);
void virtio_pci_pba_read(const struct virtio_pci *vp, unsigned int offset,
			 void *data, unsigned int len);
/* Raise a vector: sent now, or pending until it is unmasked. */
void virtio_pci_msix_raise(struct virtio_pci *vp, unsigned int vector);
/* The enable or mask bit of the function changed. */
void virtio_pci_msix_update(struct virtio_pci *vp);

#endif
