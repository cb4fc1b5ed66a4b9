// SPDX-License-Identifier: BSD-3-Clause
/*
 * The transport as a guest sees it: finds the structures by their capabilities,
 * negotiates, sets up a queue, takes interrupts, resets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "virtio/virtio_pci.h"

#define BASE	    0xc0004000U
#define FEATURES    0x5ULL
#define CONFIG_SIZE 20

/* Common configuration (4.1.4.3). */
enum {
	DEV_SELECT = 0,
	DEV_FEATURES = 4,
	DRV_SELECT = 8,
	DRV_FEATURES = 12,
	CONFIG_VECTOR = 16,
	NUM_QUEUES = 18,
	STATUS = 20,
	GENERATION = 21,
	QUEUE_SELECT = 22,
	QUEUE_SIZE = 24,
	QUEUE_VECTOR = 26,
	QUEUE_ENABLE = 28,
	QUEUE_NOTIFY_OFF = 30,
	QUEUE_DESC = 32,
	QUEUE_DRIVER = 40,
	QUEUE_DEVICE = 48,
};

/* A VMM and the guest's knowledge of the device. */
struct guest {
	struct virtio_pci vp;
	bool refuse, busy;
	unsigned int nr_started, nr_doorbells, nr_resets;
	unsigned int nr_signals[VIRTIO_PCI_MAX_VECTORS];
	uint64_t routed_address[VIRTIO_PCI_MAX_VECTORS];
	uint32_t routed_data[VIRTIO_PCI_MAX_VECTORS];
	struct virtq_config started;
	uint64_t accepted, bar_base;
	bool bar_enabled;
	uint8_t config[CONFIG_SIZE];
	unsigned int msix; /* capability */
	uint32_t common, isr, device, notify, notify_multiplier; /* in BAR */
};

static uint64_t op_features(void *opaque)
{
	return FEATURES;
}

static bool op_accept(void *opaque, uint64_t features)
{
	struct guest *g = opaque;

	g->accepted = features;
	return !g->refuse;
}

static void op_config_read(void *opaque, size_t offset, void *buf, size_t len)
{
	struct guest *g = opaque;

	assert_true(offset + len <= CONFIG_SIZE);
	memcpy(buf, g->config + offset, len);
}

static void op_config_write(void *opaque, size_t offset, const void *buf,
			    size_t len)
{
	struct guest *g = opaque;

	assert_true(offset + len <= CONFIG_SIZE);
	memcpy(g->config + offset, buf, len);
}

static void op_queue_start(void *opaque, unsigned int queue,
			   const struct virtq_config *config)
{
	struct guest *g = opaque;

	assert_int_equal(queue, 0);
	g->nr_started++;
	g->started = *config;
}

static bool op_reset(void *opaque)
{
	struct guest *g = opaque;

	g->nr_resets++;
	return !g->busy;
}

static void op_doorbell(void *opaque, unsigned int queue)
{
	((struct guest *)opaque)->nr_doorbells++;
}

static void op_bar_moved(void *opaque, uint64_t base, bool enabled)
{
	struct guest *g = opaque;

	g->bar_base = base;
	g->bar_enabled = enabled;
}

static void op_route(void *opaque, unsigned int vector, uint64_t address,
		     uint32_t data)
{
	struct guest *g = opaque;

	assert_in_range(vector, 0, VIRTIO_PCI_MAX_VECTORS - 1);
	g->routed_address[vector] = address;
	g->routed_data[vector] = data;
}

static void op_signal(void *opaque, unsigned int vector)
{
	struct guest *g = opaque;

	assert_in_range(vector, 0, VIRTIO_PCI_MAX_VECTORS - 1);
	g->nr_signals[vector]++;
}

static const struct virtio_pci_ops ops = {
	.features = op_features,
	.accept_features = op_accept,
	.config_read = op_config_read,
	.config_write = op_config_write,
	.queue_start = op_queue_start,
	.reset = op_reset,
	.doorbell = op_doorbell,
	.bar_moved = op_bar_moved,
	.route = op_route,
	.signal = op_signal,
};

static uint32_t space(struct guest *g, unsigned int at, unsigned int len)
{
	uint32_t value = 0;

	virtio_pci_space_read(&g->vp, at, &value, len);
	return value;
}

static void set_space(struct guest *g, unsigned int at, uint32_t value,
		      unsigned int len)
{
	virtio_pci_space_write(&g->vp, at, &value, len);
}

static uint64_t bar(struct guest *g, uint64_t at, unsigned int len)
{
	uint64_t value = 0;

	virtio_pci_bar_read(&g->vp, at, &value, len);
	return value;
}

static void set_bar(struct guest *g, uint64_t at, uint64_t value,
		    unsigned int len)
{
	virtio_pci_bar_write(&g->vp, at, &value, len);
}

static uint64_t common(struct guest *g, unsigned int reg, unsigned int len)
{
	return bar(g, g->common + reg, len);
}

static void set_common(struct guest *g, unsigned int reg, uint64_t value,
		       unsigned int len)
{
	set_bar(g, g->common + reg, value, len);
}

/* Walk the capabilities as a driver does. */
static void find_structures(struct guest *g)
{
	unsigned int found = 0;

	assert_true(space(g, 6, 2) & 0x10);
	for (unsigned int at = space(g, 0x34, 1); at;
	     at = space(g, at + 1, 1)) {
		uint32_t offset = space(g, at + 8, 4);

		if (space(g, at, 1) == 0x11)
			g->msix = at;
		if (space(g, at, 1) != 0x09)
			continue;
		assert_true(space(g, at + 2, 1) >= 16);
		assert_int_equal(space(g, at + 4, 1), 0); /* BAR 0 */
		switch (space(g, at + 3, 1)) {
		case 1:
			assert_true(space(g, at + 12, 4) >= 56);
			g->common = offset;
			break;
		case 2:
			g->notify = offset;
			g->notify_multiplier = space(g, at + 16, 4);
			break;
		case 3:
			g->isr = offset;
			break;
		case 4:
			assert_int_equal(space(g, at + 12, 4), CONFIG_SIZE);
			g->device = offset;
			break;
		default:
			break;
		}
		assert_true(offset + space(g, at + 12, 4) <=
			    VIRTIO_PCI_BAR_SIZE);
		found++;
	}
	assert_true(found >= 5);
	assert_true(g->msix);
}

static void power_on(struct guest *g)
{
	const struct virtio_pci_config config = {
		.device_id = 24,
		.class_code = 0x00ff00,
		.nr_queues = 1,
		.config_size = CONFIG_SIZE,
	};

	memset(g, 0, sizeof(*g));
	virtio_pci_init(&g->vp, &config, &ops, g);
	set_space(g, 0x10, BASE, 4);
	set_space(g, 4, 0x6, 2);
	find_structures(g);
}

/* Up to FEATURES_OK; true if it stuck. */
static bool negotiate(struct guest *g, uint64_t features)
{
	set_common(g, STATUS, 0, 1);
	set_common(g, STATUS, VIRTIO_STATUS_ACKNOWLEDGE, 1);
	set_common(g, STATUS, 3, 1);
	set_common(g, DRV_SELECT, 0, 4);
	set_common(g, DRV_FEATURES, (uint32_t)features, 4);
	set_common(g, DRV_SELECT, 1, 4);
	set_common(g, DRV_FEATURES, features >> 32, 4);
	set_common(g, STATUS, 3 | VIRTIO_STATUS_FEATURES_OK, 1);
	return common(g, STATUS, 1) & VIRTIO_STATUS_FEATURES_OK;
}

#define GOOD_FEATURES (FEATURES | 1ULL << VIRTIO_F_VERSION_1)

static void set_up_msix(struct guest *g)
{
	uint32_t table = space(g, g->msix + 4, 4) & ~7U;

	for (unsigned int i = 0; i < 2; i++) {
		set_bar(g, table + 16 * i, 0xfee00000 + 16 * i, 4);
		set_bar(g, table + 16 * i + 4, 0, 4);
		set_bar(g, table + 16 * i + 8, 0x40 + i, 4);
		set_bar(g, table + 16 * i + 12, 0, 4);
	}
	set_space(g, g->msix + 2, 0x8000, 2);
	set_common(g, CONFIG_VECTOR, 0, 2);
	assert_int_equal(common(g, CONFIG_VECTOR, 2), 0);
}

static void set_up_queue(struct guest *g)
{
	set_common(g, QUEUE_SELECT, 0, 2);
	assert_true(common(g, QUEUE_SIZE, 2) > 0);
	set_common(g, QUEUE_SIZE, 64, 2);
	set_common(g, QUEUE_DESC, 0x10000, 4);
	set_common(g, QUEUE_DESC + 4, 0x2, 4);
	set_common(g, QUEUE_DRIVER, 0x200020000, 8);
	set_common(g, QUEUE_DEVICE, 0x30000, 8);
	set_common(g, QUEUE_VECTOR, 1, 2);
	assert_int_equal(common(g, QUEUE_VECTOR, 2), 1);
	set_common(g, QUEUE_ENABLE, 1, 2);
	assert_int_equal(common(g, QUEUE_ENABLE, 2), 1);
}

static void drive(struct guest *g)
{
	power_on(g);
	assert_true(negotiate(g, GOOD_FEATURES));
	set_up_msix(g);
	set_up_queue(g);
	set_common(g, STATUS, 15, 1);
	g->nr_resets = 0;
}

/* ---- Tests ------------------------------------------------------------- */

static void header(void **state)
{
	struct guest g;

	power_on(&g);
	assert_int_equal(space(&g, 0, 2), 0x1af4);
	assert_int_equal(space(&g, 2, 2), 0x1040 + 24);
	assert_true(space(&g, 8, 1) >= 1); /* revision: not transitional */
	assert_int_equal(space(&g, 9, 3), 0x00ff00);
	assert_int_equal(space(&g, 0x0e, 1), 0);
	/* Read-only fields stay. */
	set_space(&g, 0, 0, 4);
	set_space(&g, 8, 0, 4);
	assert_int_equal(space(&g, 0, 4), 0x10581af4);
	/* Beyond the end nothing happens, at odd places all does. */
	set_space(&g, 255, 0xffffffff, 4);
	assert_int_equal(space(&g, 1, 2), 0x581a);
}

static void bar_sizing(void **state)
{
	struct guest g;

	power_on(&g);
	assert_true(g.bar_enabled);
	assert_int_equal(g.bar_base, BASE);
	set_space(&g, 4, 0x4, 2);
	assert_false(g.bar_enabled);
	set_space(&g, 0x10, 0xffffffff, 4);
	assert_int_equal(~(space(&g, 0x10, 4) & ~0xfU) + 1,
			 VIRTIO_PCI_BAR_SIZE);
	set_space(&g, 0x10, 0xd0000000, 4);
	assert_false(g.bar_enabled);
	set_space(&g, 4, 0x6, 2);
	assert_true(g.bar_enabled);
	assert_int_equal(g.bar_base, 0xd0000000);
	for (unsigned int i = 1; i < 6; i++) {
		set_space(&g, 0x10 + 4 * i, 0xffffffff, 4);
		assert_int_equal(space(&g, 0x10 + 4 * i, 4), 0);
	}
}

static void features_offered(void **state)
{
	struct guest g;
	uint64_t offered;

	power_on(&g);
	set_common(&g, DEV_SELECT, 0, 4);
	offered = common(&g, DEV_FEATURES, 4);
	set_common(&g, DEV_SELECT, 1, 4);
	offered |= common(&g, DEV_FEATURES, 4) << 32;
	set_common(&g, DEV_SELECT, 2, 4);
	assert_int_equal(common(&g, DEV_FEATURES, 4), 0);
	assert_int_equal(offered & 0xffffff, FEATURES);
	assert_true(offered & 1ULL << VIRTIO_F_VERSION_1);
	assert_true(offered & 1ULL << VIRTIO_F_RING_PACKED);
	assert_true(offered & 1ULL << VIRTIO_F_EVENT_IDX);
	assert_true(offered & 1ULL << VIRTIO_F_INDIRECT_DESC);
}

static void features_refused(void **state)
{
	struct guest g;

	power_on(&g);
	/* No legacy driver, nothing that was not offered. */
	assert_false(negotiate(&g, FEATURES));
	assert_false(negotiate(&g, GOOD_FEATURES | 2));
	assert_false(negotiate(&g, GOOD_FEATURES | 1ULL << 63));
	assert_int_equal(virtio_pci_features(&g.vp), 0);
	g.refuse = true;
	assert_false(negotiate(&g, GOOD_FEATURES));
	g.refuse = false;
	assert_true(negotiate(&g, GOOD_FEATURES));
	assert_int_equal(virtio_pci_features(&g.vp), GOOD_FEATURES);
	/* They cannot be changed afterwards. */
	set_common(&g, DRV_SELECT, 0, 4);
	set_common(&g, DRV_FEATURES, 0, 4);
	assert_int_equal(virtio_pci_features(&g.vp), GOOD_FEATURES);
}

static void queue_is_started(void **state)
{
	struct guest g;

	power_on(&g);
	assert_int_equal(common(&g, NUM_QUEUES, 2), 1);
	assert_true(negotiate(&g, GOOD_FEATURES));
	set_common(&g, QUEUE_SELECT, 1, 2);
	assert_int_equal(common(&g, QUEUE_SIZE, 2), 0);
	set_common(&g, QUEUE_ENABLE, 1, 2);
	set_up_msix(&g);
	set_up_queue(&g);
	assert_int_equal(g.nr_started, 0);
	set_common(&g, STATUS, 15, 1);
	assert_int_equal(g.nr_started, 1);
	assert_int_equal(g.started.size, 64);
	assert_int_equal(g.started.desc, 0x200010000);
	assert_int_equal(g.started.driver, 0x200020000);
	assert_int_equal(g.started.device, 0x30000);
	assert_false(g.started.packed);
	set_common(&g, STATUS, 15, 1);
	assert_int_equal(g.nr_started, 1);
	/* The doorbell, once it runs. */
	assert_int_equal(common(&g, QUEUE_NOTIFY_OFF, 2), 0);
	assert_int_equal(g.notify, VIRTIO_PCI_NOTIFY_OFFSET(0));
	set_bar(&g, g.notify, 0, 2);
	assert_int_equal(g.nr_doorbells, 1);
	set_bar(&g, g.notify + g.notify_multiplier, 1, 2);
	assert_int_equal(g.nr_doorbells, 1);
}

static void interrupts(void **state)
{
	struct guest g;
	uint32_t table, pending;

	drive(&g);
	table = space(&g, g.msix + 4, 4) & ~7U;
	pending = space(&g, g.msix + 8, 4) & ~7U;
	virtio_pci_queue_used(&g.vp, 0);
	assert_int_equal(g.nr_signals[1], 1);
	assert_int_equal(g.routed_address[1], 0xfee00010);
	assert_int_equal(g.routed_data[1], 0x41);
	/* Masked: pending, and sent when it is unmasked. */
	set_bar(&g, table + 16 + 12, 1, 4);
	virtio_pci_queue_used(&g.vp, 0);
	virtio_pci_queue_used(&g.vp, 0);
	assert_int_equal(g.nr_signals[1], 1);
	assert_int_equal(bar(&g, pending, 8), 2);
	set_bar(&g, table + 16 + 8, 0x99, 4);
	set_bar(&g, table + 16 + 12, 0, 4);
	assert_int_equal(g.nr_signals[1], 2);
	assert_int_equal(g.routed_data[1], 0x99);
	assert_int_equal(bar(&g, pending, 8), 0);
	/* The same for the whole function. */
	set_space(&g, g.msix + 2, 0xc000, 2);
	virtio_pci_config_changed(&g.vp);
	assert_int_equal(g.nr_signals[0], 0);
	set_space(&g, g.msix + 2, 0x8000, 2);
	assert_int_equal(g.nr_signals[0], 1);
	/* And without the bus, on which an interrupt is a write. */
	set_space(&g, 4, 0x2, 2);
	assert_false(virtio_pci_is_master(&g.vp));
	virtio_pci_config_changed(&g.vp);
	assert_int_equal(g.nr_signals[0], 1);
	set_space(&g, 4, 0x6, 2);
	assert_true(virtio_pci_is_master(&g.vp));
	assert_int_equal(g.nr_signals[0], 2);
	/* A vector that does not exist is none. */
	set_common(&g, CONFIG_VECTOR, 7, 2);
	assert_int_equal(common(&g, CONFIG_VECTOR, 2), 0xffff);
	virtio_pci_config_changed(&g.vp);
	assert_int_equal(g.nr_signals[0], 2);
}

static void config_space(void **state)
{
	struct guest g;
	uint64_t generation;

	drive(&g);
	for (unsigned int i = 0; i < CONFIG_SIZE; i++)
		g.config[i] = (uint8_t)i;
	assert_int_equal(bar(&g, g.device, 8), 0x0706050403020100);
	assert_int_equal(bar(&g, g.device + 3, 2), 0x0403);
	generation = common(&g, GENERATION, 1);
	assert_int_equal(common(&g, GENERATION, 1), generation);
	virtio_pci_config_changed(&g.vp);
	assert_int_not_equal(common(&g, GENERATION, 1), generation);
	assert_int_equal(g.nr_signals[0], 1);
	generation = common(&g, GENERATION, 1);
	virtio_pci_config_touched(&g.vp);
	assert_int_not_equal(common(&g, GENERATION, 1), generation);
	assert_int_equal(g.nr_signals[0], 1);
	/* ISR is cleared by reading. */
	assert_int_equal(bar(&g, g.isr, 1) & 2, 2);
	assert_int_equal(bar(&g, g.isr, 1), 0);
}

static void resets(void **state)
{
	struct guest g;

	drive(&g);
	set_common(&g, STATUS, 0, 1);
	assert_int_equal(g.nr_resets, 1);
	assert_int_equal(common(&g, STATUS, 1), 0);
	assert_int_equal(common(&g, QUEUE_ENABLE, 2), 0);
	virtio_pci_queue_used(&g.vp, 0);
	assert_int_equal(g.nr_signals[1], 0);
	/* While a request is being served, it is not done yet. */
	drive(&g);
	g.busy = true;
	set_common(&g, STATUS, 0, 1);
	assert_int_not_equal(common(&g, STATUS, 1), 0);
	set_common(&g, STATUS, 1, 1);
	virtio_pci_queue_used(&g.vp, 0);
	virtio_pci_config_changed(&g.vp);
	assert_int_equal(g.nr_signals[0] + g.nr_signals[1], 0);
	g.busy = false;
	virtio_pci_reset_done(&g.vp);
	assert_int_equal(common(&g, STATUS, 1), 0);
	assert_true(negotiate(&g, GOOD_FEATURES));
}

static void needs_reset(void **state)
{
	struct guest g;

	drive(&g);
	virtio_pci_set_needs_reset(&g.vp);
	assert_true(common(&g, STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(g.nr_signals[0], 1);
	virtio_pci_set_needs_reset(&g.vp);
	assert_int_equal(g.nr_signals[0], 1);
	set_common(&g, STATUS, 0, 1);
	assert_int_equal(common(&g, STATUS, 1), 0);
}

static void system_reset(void **state)
{
	struct guest g;

	drive(&g);
	virtio_pci_system_reset(&g.vp);
	assert_int_equal(g.nr_resets, 0);
	assert_false(g.bar_enabled);
	assert_int_equal(virtio_pci_status(&g.vp), 0);
	assert_int_equal(space(&g, 4, 2) & 2, 0);
	assert_int_equal(space(&g, g.msix + 2, 2) & 0x8000, 0);
}

/* The window into the BAR through configuration space (4.1.4.9). */
static void window(void **state)
{
	struct guest g;
	unsigned int at;

	power_on(&g);
	for (at = space(&g, 0x34, 1); at; at = space(&g, at + 1, 1)) {
		if (space(&g, at, 1) == 0x09 && space(&g, at + 3, 1) == 5)
			break;
	}
	assert_int_not_equal(at, 0);
	set_space(&g, at + 4, 0, 1);
	set_space(&g, at + 8, g.common + STATUS, 4);
	set_space(&g, at + 12, 1, 4);
	set_space(&g, at + 16, VIRTIO_STATUS_ACKNOWLEDGE, 1);
	assert_int_equal(common(&g, STATUS, 1), VIRTIO_STATUS_ACKNOWLEDGE);
	assert_int_equal(space(&g, at + 16, 1), VIRTIO_STATUS_ACKNOWLEDGE);
	/* Not of a whole register, or outside: nothing, and no harm. */
	set_space(&g, at + 12, 3, 4);
	space(&g, at + 16, 4);
	set_space(&g, at + 8, 0xfffffff0, 4);
	set_space(&g, at + 12, 4, 4);
	space(&g, at + 16, 4);
	set_space(&g, at + 16, 0, 4);
	assert_int_equal(common(&g, STATUS, 1), VIRTIO_STATUS_ACKNOWLEDGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header),
		cmocka_unit_test(bar_sizing),
		cmocka_unit_test(features_offered),
		cmocka_unit_test(features_refused),
		cmocka_unit_test(queue_is_started),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(config_space),
		cmocka_unit_test(resets),
		cmocka_unit_test(needs_reset),
		cmocka_unit_test(system_reset),
		cmocka_unit_test(window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
