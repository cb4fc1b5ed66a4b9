// SPDX-License-Identifier: BSD-3-Clause
/*
 * virtio-pci: negotiation and the structures inside the BAR. The PCI header,
 * its capabilities and MSI-X are in pci_space.c and msix.c.
 *
 * The common configuration is served through an image of its bytes, so that
 * any width at any offset does what the fields' rules say.
 */
#include <string.h>

#include "virtio_pci_internal.h"

/* Offsets of the common configuration (4.1.4.3). */
enum {
	COMMON_DEVICE_FEATURE_SELECT = 0,
	COMMON_DEVICE_FEATURE = 4,
	COMMON_DRIVER_FEATURE_SELECT = 8,
	COMMON_DRIVER_FEATURE = 12,
	COMMON_CONFIG_VECTOR = 16,
	COMMON_NUM_QUEUES = 18,
	COMMON_STATUS = 20,
	COMMON_GENERATION = 21,
	COMMON_QUEUE_SELECT = 22,
	COMMON_QUEUE_SIZE = 24,
	COMMON_QUEUE_VECTOR = 26,
	COMMON_QUEUE_ENABLE = 28,
	COMMON_QUEUE_NOTIFY_OFF = 30,
	COMMON_QUEUE_DESC = 32,
	COMMON_QUEUE_DRIVER = 40,
	COMMON_QUEUE_DEVICE = 48,
};

#define ISR_QUEUE  1
#define ISR_CONFIG 2

static void put(uint8_t *at, uint64_t value, unsigned int size)
{
	for (unsigned int i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *at, unsigned int size)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < size; i++)
		value |= (uint64_t)at[i] << 8 * i;
	return value;
}

static uint64_t offered_features(const struct virtio_pci *vp)
{
	return vp->ops->features(vp->opaque) | 1ULL << VIRTIO_F_VERSION_1 |
	       1ULL << VIRTIO_F_INDIRECT_DESC | 1ULL << VIRTIO_F_EVENT_IDX |
	       1ULL << VIRTIO_F_RING_PACKED;
}

/* The 32-bit window that select names; there are 64 bits. */
static uint32_t feature_window(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

static struct virtio_pci_queue *selected_queue(struct virtio_pci *vp)
{
	return vp->queue_select < vp->config.nr_queues
		       ? &vp->queues[vp->queue_select]
		       : NULL;
}

uint8_t virtio_pci_status(const struct virtio_pci *vp)
{
	return vp->status;
}

uint64_t virtio_pci_features(const struct virtio_pci *vp)
{
	return vp->status & VIRTIO_STATUS_FEATURES_OK ? vp->driver_features : 0;
}

/* ---- Reset ------------------------------------------------------------- */

/* What a device reset brings back to its start (2.4): all but PCI state. */
static void reset_registers(struct virtio_pci *vp)
{
	vp->isr = 0;
	vp->driver_features = 0;
	vp->device_feature_select = vp->driver_feature_select = 0;
	vp->config_vector = MSIX_NO_VECTOR;
	vp->queue_select = 0;
	for (unsigned int i = 0; i < vp->config.nr_queues; i++)
		vp->queues[i] = (struct virtio_pci_queue){
			.size = vp->config.queue_size,
			.vector = MSIX_NO_VECTOR,
		};
	for (unsigned int i = 0; i < VIRTIO_PCI_MAX_VECTORS; i++)
		vp->vectors[i].pending = false;
}

void virtio_pci_reset_done(struct virtio_pci *vp)
{
	if (!vp->reset_pending)
		return;
	vp->reset_pending = false;
	vp->status = 0;
}

static void device_reset(struct virtio_pci *vp)
{
	/* NEEDS_RESET, FEATURES_OK and the rest stay visible until the queues
	 * have really stopped. */
	vp->reset_pending = true;
	reset_registers(vp);
	if (vp->ops->reset(vp->opaque))
		virtio_pci_reset_done(vp);
}

void virtio_pci_system_reset(struct virtio_pci *vp)
{
	reset_registers(vp);
	vp->status = 0;
	vp->reset_pending = false;
	virtio_pci_space_reset(vp);
	virtio_pci_msix_reset(vp);
}

void virtio_pci_init(struct virtio_pci *vp,
		     const struct virtio_pci_config *config,
		     const struct virtio_pci_ops *ops, void *opaque)
{
	memset(vp, 0, sizeof(*vp));
	vp->config = *config;
	if (!vp->config.queue_size)
		vp->config.queue_size = VIRTQ_MAX_SIZE;
	vp->ops = ops;
	vp->opaque = opaque;
	virtio_pci_system_reset(vp);
}

/* ---- Status ------------------------------------------------------------ */

static bool features_acceptable(struct virtio_pci *vp)
{
	uint64_t features = vp->driver_features;

	return !(features & ~offered_features(vp)) &&
	       (features & 1ULL << VIRTIO_F_VERSION_1) &&
	       vp->ops->accept_features(vp->opaque, features);
}

static void start_queues(struct virtio_pci *vp)
{
	for (unsigned int i = 0; i < vp->config.nr_queues; i++) {
		const struct virtio_pci_queue *queue = &vp->queues[i];
		const struct virtq_config config = {
			.size = queue->size,
			.packed =
				vp->driver_features >> VIRTIO_F_RING_PACKED & 1,
			.indirect =
				vp->driver_features >> VIRTIO_F_INDIRECT_DESC &
				1,
			.event_idx =
				vp->driver_features >> VIRTIO_F_EVENT_IDX & 1,
			.desc = queue->desc,
			.driver = queue->driver,
			.device = queue->device,
		};

		if (queue->enabled)
			vp->ops->queue_start(vp->opaque, i, &config);
	}
}

static void write_status(struct virtio_pci *vp, uint8_t value)
{
	uint8_t fresh;

	if (value == 0) {
		device_reset(vp);
		return;
	}
	/* The driver only ever adds bits, and one bit is not its to change. */
	fresh = value & (uint8_t)~vp->status &
		(uint8_t)~VIRTIO_STATUS_NEEDS_RESET;
	if ((fresh & VIRTIO_STATUS_FEATURES_OK) && !features_acceptable(vp))
		fresh &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	/* No data before the features are agreed on (3.1.1). */
	if (!((vp->status | fresh) & VIRTIO_STATUS_FEATURES_OK))
		fresh &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	vp->status |= fresh;
	if (fresh & VIRTIO_STATUS_DRIVER_OK)
		start_queues(vp);
}

/* ---- Common configuration ---------------------------------------------- */

static void common_image(struct virtio_pci *vp, uint8_t image[COMMON_SIZE])
{
	const struct virtio_pci_queue none = {.vector = MSIX_NO_VECTOR};
	const struct virtio_pci_queue *queue = selected_queue(vp);

	if (!queue)
		queue = &none;
	put(image + COMMON_DEVICE_FEATURE_SELECT, vp->device_feature_select, 4);
	put(image + COMMON_DEVICE_FEATURE,
	    feature_window(offered_features(vp), vp->device_feature_select), 4);
	put(image + COMMON_DRIVER_FEATURE_SELECT, vp->driver_feature_select, 4);
	put(image + COMMON_DRIVER_FEATURE,
	    feature_window(vp->driver_features, vp->driver_feature_select), 4);
	put(image + COMMON_CONFIG_VECTOR, vp->config_vector, 2);
	put(image + COMMON_NUM_QUEUES, vp->config.nr_queues, 2);
	put(image + COMMON_STATUS, vp->status, 1);
	put(image + COMMON_GENERATION, vp->generation, 1);
	put(image + COMMON_QUEUE_SELECT, vp->queue_select, 2);
	put(image + COMMON_QUEUE_SIZE, queue->size, 2);
	put(image + COMMON_QUEUE_VECTOR, queue->vector, 2);
	put(image + COMMON_QUEUE_ENABLE, queue->enabled, 2);
	put(image + COMMON_QUEUE_NOTIFY_OFF,
	    queue == &none ? 0 : vp->queue_select, 2);
	put(image + COMMON_QUEUE_DESC, queue->desc, 8);
	put(image + COMMON_QUEUE_DRIVER, queue->driver, 8);
	put(image + COMMON_QUEUE_DEVICE, queue->device, 8);
}

static uint16_t valid_vector(const struct virtio_pci *vp, uint64_t vector)
{
	return vector <= vp->config.nr_queues ? (uint16_t)vector
					      : MSIX_NO_VECTOR;
}

/* What the driver sets of a queue before it enables it (4.1.5.1.3). */
static void write_queue_field(struct virtio_pci *vp, unsigned int field,
			      uint64_t value)
{
	struct virtio_pci_queue *queue = selected_queue(vp);

	if (!queue)
		return;
	if (field == COMMON_QUEUE_VECTOR) {
		queue->vector = valid_vector(vp, value);
		return;
	}
	if (queue->enabled || (vp->status & VIRTIO_STATUS_DRIVER_OK))
		return;
	switch (field) {
	case COMMON_QUEUE_SIZE:
		if (value && value <= vp->config.queue_size)
			queue->size = (uint16_t)value;
		break;
	case COMMON_QUEUE_ENABLE:
		queue->enabled = value == 1;
		break;
	case COMMON_QUEUE_DESC:
		queue->desc = value;
		break;
	case COMMON_QUEUE_DRIVER:
		queue->driver = value;
		break;
	case COMMON_QUEUE_DEVICE:
		queue->device = value;
		break;
	default:
		break;
	}
}

static void write_driver_feature(struct virtio_pci *vp, uint32_t value)
{
	unsigned int shift = 32 * vp->driver_feature_select;

	if (vp->driver_feature_select > 1 ||
	    (vp->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	vp->driver_features &= ~(0xffffffffULL << shift);
	vp->driver_features |= (uint64_t)value << shift;
}

static void write_common_field(struct virtio_pci *vp, unsigned int field,
			       uint64_t value)
{
	switch (field) {
	case COMMON_DEVICE_FEATURE_SELECT:
		vp->device_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE_SELECT:
		vp->driver_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE:
		write_driver_feature(vp, (uint32_t)value);
		break;
	case COMMON_CONFIG_VECTOR:
		vp->config_vector = valid_vector(vp, value);
		break;
	case COMMON_STATUS:
		write_status(vp, (uint8_t)value);
		break;
	case COMMON_QUEUE_SELECT:
		vp->queue_select = (uint16_t)value;
		break;
	default:
		write_queue_field(vp, field, value);
		break;
	}
}

/* Writable fields, in the order in which one access writes several. */
static const struct {
	uint8_t offset, size;
} common_fields[] = {
	{COMMON_DEVICE_FEATURE_SELECT, 4},
	{COMMON_DRIVER_FEATURE_SELECT, 4},
	{COMMON_DRIVER_FEATURE, 4},
	{COMMON_CONFIG_VECTOR, 2},
	{COMMON_STATUS, 1},
	{COMMON_QUEUE_SELECT, 2},
	{COMMON_QUEUE_SIZE, 2},
	{COMMON_QUEUE_VECTOR, 2},
	{COMMON_QUEUE_ENABLE, 2},
	{COMMON_QUEUE_DESC, 8},
	{COMMON_QUEUE_DRIVER, 8},
	{COMMON_QUEUE_DEVICE, 8},
};

static void common_write(struct virtio_pci *vp, unsigned int offset,
			 const uint8_t *data, unsigned int len)
{
	/* While a reset is pending the device listens to nothing. */
	if (vp->reset_pending)
		return;
	for (size_t i = 0; i < sizeof(common_fields) / sizeof(common_fields[0]);
	     i++) {
		unsigned int at = common_fields[i].offset;
		unsigned int size = common_fields[i].size;
		uint8_t image[COMMON_SIZE];

		if (offset >= at + size || offset + len <= at)
			continue;
		/* Bytes of the field that are not written keep their value. */
		common_image(vp, image);
		memcpy(image + offset, data, len);
		write_common_field(vp, at, get(image + at, size));
	}
}

/* ---- The BAR ----------------------------------------------------------- */

static bool inside(uint64_t offset, unsigned int len, uint64_t start,
		   uint64_t size)
{
	return offset >= start && offset - start < size &&
	       len <= size - (offset - start);
}

static uint8_t read_isr(struct virtio_pci *vp)
{
	uint8_t isr = vp->isr;

	vp->isr = 0;
	return isr;
}

void virtio_pci_bar_read(struct virtio_pci *vp, uint64_t offset, void *data,
			 unsigned int len)
{
	uint8_t image[COMMON_SIZE];

	memset(data, 0, len);
	if (inside(offset, len, BAR_COMMON, COMMON_SIZE)) {
		common_image(vp, image);
		memcpy(data, image + (offset - BAR_COMMON), len);
	} else if (inside(offset, len, BAR_ISR, ISR_SIZE)) {
		if (offset == BAR_ISR)
			*(uint8_t *)data = read_isr(vp);
	} else if (inside(offset, len, BAR_DEVICE, vp->config.config_size)) {
		vp->ops->config_read(vp->opaque, offset - BAR_DEVICE, data,
				     len);
	} else if (inside(offset, len, BAR_MSIX_TABLE, MSIX_TABLE_SIZE)) {
		virtio_pci_msix_read(
			vp, (unsigned int)(offset - BAR_MSIX_TABLE), data, len);
	} else if (inside(offset, len, BAR_MSIX_PBA, MSIX_PBA_SIZE)) {
		virtio_pci_pba_read(vp, (unsigned int)(offset - BAR_MSIX_PBA),
				    data, len);
	}
}

static void doorbell_write(struct virtio_pci *vp, uint64_t offset)
{
	unsigned int queue = (unsigned int)(offset / NOTIFY_MULTIPLIER);

	if (offset % NOTIFY_MULTIPLIER == 0 &&
	    (vp->status & VIRTIO_STATUS_DRIVER_OK) &&
	    queue < vp->config.nr_queues && vp->queues[queue].enabled)
		vp->ops->doorbell(vp->opaque, queue);
}

void virtio_pci_bar_write(struct virtio_pci *vp, uint64_t offset,
			  const void *data, unsigned int len)
{
	if (inside(offset, len, BAR_COMMON, COMMON_SIZE))
		common_write(vp, (unsigned int)(offset - BAR_COMMON), data,
			     len);
	else if (inside(offset, len, BAR_DEVICE, vp->config.config_size))
		vp->ops->config_write(vp->opaque, offset - BAR_DEVICE, data,
				      len);
	else if (inside(offset, len, BAR_NOTIFY, NOTIFY_SIZE))
		doorbell_write(vp, offset - BAR_NOTIFY);
	else if (inside(offset, len, BAR_MSIX_TABLE, MSIX_TABLE_SIZE))
		virtio_pci_msix_write(
			vp, (unsigned int)(offset - BAR_MSIX_TABLE), data, len);
}

/* ---- From the device --------------------------------------------------- */

void virtio_pci_queue_used(struct virtio_pci *vp, unsigned int queue)
{
	if (!(vp->status & VIRTIO_STATUS_DRIVER_OK) || vp->reset_pending)
		return;
	vp->isr |= ISR_QUEUE;
	virtio_pci_msix_raise(vp, vp->queues[queue].vector);
}

static void notify_config(struct virtio_pci *vp)
{
	/* No notification before DRIVER_OK (3.1.1). */
	if (!(vp->status & VIRTIO_STATUS_DRIVER_OK) || vp->reset_pending)
		return;
	vp->isr |= ISR_CONFIG;
	virtio_pci_msix_raise(vp, vp->config_vector);
}

void virtio_pci_config_touched(struct virtio_pci *vp)
{
	vp->generation++;
}

void virtio_pci_config_changed(struct virtio_pci *vp)
{
	vp->generation++;
	notify_config(vp);
}

void virtio_pci_set_needs_reset(struct virtio_pci *vp)
{
	if (vp->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	vp->status |= VIRTIO_STATUS_NEEDS_RESET;
	notify_config(vp);
}
