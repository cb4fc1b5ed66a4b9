/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio-pci transport (VIRTIO 1.2, section 4.1), modern only: one PCI
 * function with its configuration space, one memory BAR that holds all
 * structures, MSI-X, feature negotiation and the device status.
 *
 * It knows neither KVM nor the PCI bus: it calls the VMM through an ops table
 * to place the BAR, route and signal interrupts, and start and stop queues.
 *
 * Threads: the caller serialises all calls on one device; ops are called
 * inside these calls and must not call back, but for what each says.
 */
#ifndef VIRTIO_VIRTIO_PCI_H
#define VIRTIO_VIRTIO_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtqueue.h"

#define VIRTIO_PCI_MAX_QUEUES  4
#define VIRTIO_PCI_MAX_VECTORS (VIRTIO_PCI_MAX_QUEUES + 1)
#define VIRTIO_PCI_CONFIG_SIZE 256

/* The BAR: its size, and where a write announces buffers in queue n. */
#define VIRTIO_PCI_BAR_SIZE		0x4000U
#define VIRTIO_PCI_NOTIFY_OFFSET(queue) (0x2000U + 4U * (queue))

/* Device status bits (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER	  2
#define VIRTIO_STATUS_DRIVER_OK	  4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64
#define VIRTIO_STATUS_FAILED	  128

struct virtio_pci_ops {
	/* The device's own feature bits; the transport adds its own. */
	uint64_t (*features)(void *opaque);

	/* The driver accepted these; all were offered. False refuses them:
	 * FEATURES_OK does not stick. */
	bool (*accept_features)(void *opaque, uint64_t features);

	/* Read and write the device configuration space. */
	void (*config_read)(void *opaque, size_t offset, void *buf, size_t len);
	void (*config_write)(void *opaque, size_t offset, const void *buf,
			     size_t len);

	/* DRIVER_OK was set: this queue is to be served. Called once for each
	 * queue that the driver enabled. */
	void (*queue_start)(void *opaque, unsigned int queue,
			    const struct virtq_config *config);

	/* The driver resets the device: stop all queues. False if a request is
	 * still being served: then the status does not read 0 until
	 * virtio_pci_reset_done(). */
	bool (*reset)(void *opaque);

	/* A write to the doorbell of a queue that came here. */
	void (*doorbell)(void *opaque, unsigned int queue);

	/* The BAR is at base now, or off. */
	void (*bar_moved)(void *opaque, uint64_t base, bool enabled);

	/* Interrupt vector goes to this address with this data. */
	void (*route)(void *opaque, unsigned int vector, uint64_t address,
		      uint32_t data);

	/* Send the interrupt of a vector that was routed. */
	void (*signal)(void *opaque, unsigned int vector);
};

/* Zero means the default, where one is named. */
struct virtio_pci_config {
	uint16_t device_id;   /* virtio device ID */
	uint32_t class_code;  /* 24 bits, as in the PCI header */
	uint16_t nr_queues;   /* 1 to VIRTIO_PCI_MAX_QUEUES */
	uint16_t queue_size;  /* default VIRTQ_MAX_SIZE */
	uint32_t config_size; /* bytes of device configuration, up to 4096 */
};

/* Registers of one queue (4.1.4.3). */
struct virtio_pci_queue {
	uint16_t size;
	uint16_t vector;
	bool enabled;
	uint64_t desc, driver, device;
};

/* One entry of the MSI-X table. */
struct virtio_pci_vector {
	uint64_t address;
	uint32_t data;
	bool masked;
	bool pending; /* raised while it could not be sent */
	bool routed;  /* ops->route was told address and data */
};

/* One device. Fields are private to src/virtio. */
struct virtio_pci {
	struct virtio_pci_config config;
	const struct virtio_pci_ops *ops;
	void *opaque;

	uint8_t space[VIRTIO_PCI_CONFIG_SIZE]; /* PCI configuration space */
	uint64_t bar_base; /* as last told to ops->bar_moved */
	bool bar_enabled;

	uint8_t status;
	bool reset_pending; /* status is to become 0 */
	uint8_t isr;
	uint8_t generation;
	uint64_t driver_features;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t config_vector;
	uint16_t queue_select;
	struct virtio_pci_queue queues[VIRTIO_PCI_MAX_QUEUES];
	struct virtio_pci_vector vectors[VIRTIO_PCI_MAX_VECTORS];
};

/* Power-on state. config is copied; ops and opaque must outlive the device. */
void virtio_pci_init(struct virtio_pci *vp,
		     const struct virtio_pci_config *config,
		     const struct virtio_pci_ops *ops, void *opaque);

/* System reset: power-on state again. The queues are stopped already;
 * ops->reset is not called. Calls ops->bar_moved. */
void virtio_pci_system_reset(struct virtio_pci *vp);

/* Accesses to PCI configuration space, of any width at any offset. */
void virtio_pci_space_read(struct virtio_pci *vp, unsigned int offset,
			   void *data, unsigned int len);
void virtio_pci_space_write(struct virtio_pci *vp, unsigned int offset,
			    const void *data, unsigned int len);

/* Accesses to the BAR. len is 1, 2, 4 or 8. */
void virtio_pci_bar_read(struct virtio_pci *vp, uint64_t offset, void *data,
			 unsigned int len);
void virtio_pci_bar_write(struct virtio_pci *vp, uint64_t offset,
			  const void *data, unsigned int len);

/* Device status as the driver sees it. */
uint8_t virtio_pci_status(const struct virtio_pci *vp);

/* True while the device may access guest memory, and send interrupts: the bus
 * master bit of the PCI command register. A kernel clears it before another
 * takes its place by kexec. */
bool virtio_pci_is_master(const struct virtio_pci *vp);

/* Features that both sides agreed on; 0 before FEATURES_OK. */
uint64_t virtio_pci_features(const struct virtio_pci *vp);

/* Buffers of a queue were used, and the driver wants to know. */
void virtio_pci_queue_used(struct virtio_pci *vp, unsigned int queue);

/* The device configuration changed by a request of the driver's own: new
 * generation, and no notification. */
void virtio_pci_config_touched(struct virtio_pci *vp);

/* The device configuration changed: new generation, and a notification once
 * the driver is ready for them. */
void virtio_pci_config_changed(struct virtio_pci *vp);

/* The device cannot go on until the driver resets it (2.1.2). */
void virtio_pci_set_needs_reset(struct virtio_pci *vp);

/* The reset that ops->reset left unfinished is done. */
void virtio_pci_reset_done(struct virtio_pci *vp);

#endif
