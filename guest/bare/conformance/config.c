// SPDX-License-Identifier: BSD-3-Clause
/* The device configuration space (5.15.4), and how it may be read (4.1.4). */
#include <string.h>

#include "case.h"

#define CONFIG_SIZE sizeof(struct vmem_config)
#define CAP_BAR	    4
#define CAP_OFFSET  8
#define CAP_LENGTH  12
#define CAP_DATA    16

static void block_size(struct run *r)
{
	expect(r, r->block != 0 && (r->block & (r->block - 1)) == 0,
	       "block_size is not a power of two");
}

/* param: offset of a field that is a multiple of block_size */
static void multiple(struct run *r)
{
	uint64_t value;

	must(r, ACK, PLUG, 0, 3);
	memcpy(&value, (uint8_t *)&r->m->config + r->param, sizeof(value));
	expect(r, value % r->block == 0, "not a multiple of block_size");
}

static void usable_fits(struct run *r)
{
	static const uint8_t sizes[] = {1, 200, 3, 0, USUAL_BLOCKS};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		request_size(r, sizes[i]);
		expect(r, r->usable >= r->m->config.requested_size,
		       "usable_region_size is below requested_size");
		expect(r, r->usable <= r->region,
		       "usable_region_size is above region_size");
	}
}

static void usable_grows(struct run *r)
{
	request_size(r, r->region / r->block);
	expect(r, r->usable == r->region,
	       "usable_region_size is not region_size");
}

static bool fixed_fields_equal(const struct vmem_config *a,
			       const struct vmem_config *b)
{
	return a->block_size == b->block_size && a->node_id == b->node_id &&
	       a->addr == b->addr && a->region_size == b->region_size;
}

/* param: 0 across requests, 1 across sizes, 2 across a device reset */
static void fixed_fields(struct run *r)
{
	struct vmem_config before = r->m->config;

	if (r->param == 0) {
		must(r, ACK, PLUG, 0, 4);
		must(r, ACK, UNPLUG, 1, 2);
	} else if (r->param == 1) {
		request_size(r, 100);
		request_size(r, 0);
	} else {
		restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	}
	memdev_read_config(r->m);
	expect(r, fixed_fields_equal(&before, &r->m->config),
	       "a field changed that never changes");
}

static void plugged_size(struct run *r)
{
	must_have_plugged(r, 0);
	must(r, ACK, PLUG, 0, 7);
	must_have_plugged(r, 7);
	must(r, ACK, PLUG, 20, 1);
	must_have_plugged(r, 8);
	must(r, ACK, UNPLUG, 2, 5);
	must_have_plugged(r, 3);
	must(r, ACK, UNPLUG_ALL, 0, 0);
	must_have_plugged(r, 0);
}

/* param: 0 requested_size shrinks, 1 UNPLUG, 2 device reset */
static void usable_stays(struct run *r)
{
	uint64_t before;

	request_size(r, 4 * USUAL_BLOCKS);
	must(r, ACK, PLUG, 0, 8);
	before = r->usable;
	request_size(r, 1);
	if (r->param == 1)
		must(r, ACK, UNPLUG, 0, 8);
	else if (r->param == 2)
		restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	memdev_read_config(r->m);
	expect(r, r->m->config.usable_region_size >= before,
	       "usable_region_size shrank");
}

/* ---- Notifications and generation -------------------------------------- */

static bool saw_config_interrupt(struct run *r, uint64_t patience_us)
{
	uint64_t until = arch_now_us() + patience_us;

	do {
		if (virtio_isr(&r->m->virtio) & ISR_CONFIG)
			return true;
	} while (arch_now_us() < until);
	return false;
}

/* param: blocks requested anew */
static void notified_of_size(struct run *r)
{
	virtio_isr(&r->m->virtio);
	request_size(r, r->param);
	expect(r, saw_config_interrupt(r, 2000000),
	       "no configuration change notification");
}

static void no_notice_of_plug(struct run *r)
{
	virtio_isr(&r->m->virtio);
	must(r, ACK, PLUG, 0, 4);
	must(r, ACK, UNPLUG, 0, 2);
	if (virtio_isr(&r->m->virtio) & ISR_CONFIG)
		expect(r, false,
		       "plugged_size raised a notification (SHOULD "
		       "NOT)");
}

static void notified_by_msix(struct run *r)
{
	const struct virtio *v = &r->m->virtio;
	uint64_t until = arch_now_us() + 2000000;
	bool pending = false;

	if (!v->msix) {
		r->skip = "the device has no MSI-X";
		return;
	}
	/* On, with the whole function masked: what is sent stays pending. */
	arch_pci_write(v->bdf, v->msix + 2,
		       arch_pci_read(v->bdf, v->msix + 2, 2) | 0xc000, 2);
	store16(v->common + COMMON_CONFIG_VECTOR, 0);
	expect(r, load16(v->common + COMMON_CONFIG_VECTOR) == 0,
	       "the vector was not taken");
	request_size(r, 64);
	while (!pending && arch_now_us() < until)
		pending = load32(v->msix_pba) & 1;
	expect(r, pending, "no interrupt is pending");
	store16(v->common + COMMON_CONFIG_VECTOR, 0xffff);
	arch_pci_write(v->bdf, v->msix + 2,
		       arch_pci_read(v->bdf, v->msix + 2, 2) & 0x3fff, 2);
}

static void generation(struct run *r)
{
	uint64_t at = r->m->virtio.common + COMMON_GENERATION;
	uint8_t before = load8(at), stable;

	stable = load8(at);
	expect(r, stable == before,
	       "the generation changed though nothing else did");
	request_size(r, 77);
	expect(r, load8(at) != before,
	       "the generation is the same though requested_size changed");
}

/* ---- Ways to read ------------------------------------------------------ */

static void read_all(struct run *r, uint8_t bytes[CONFIG_SIZE],
		     unsigned int width)
{
	uint64_t at = r->m->virtio.config;

	for (unsigned int i = 0; i < CONFIG_SIZE; i += width) {
		uint64_t value = width == 1   ? load8(at + i)
				 : width == 2 ? load16(at + i)
				 : width == 4 ? load32(at + i)
					      : load64(at + i);

		memcpy(bytes + i, &value, width);
	}
}

/* param: width of the accesses */
static void read_width(struct run *r)
{
	uint8_t words[CONFIG_SIZE], bytes[CONFIG_SIZE];

	must(r, ACK, PLUG, 0, 3);
	read_all(r, words, 4);
	read_all(r, bytes, r->param);
	expect(r, memcmp(words, bytes, CONFIG_SIZE) == 0,
	       "another width reads other values");
}

static void read_through_window(struct run *r)
{
	const struct virtio *v = &r->m->virtio;
	unsigned int cap = v->window;

	if (!cap) {
		expect(r, false, "no configuration access capability (4.1.4)");
		return;
	}
	arch_pci_write(v->bdf, cap + CAP_BAR, v->config_bar, 1);
	for (unsigned int i = 0; i < CONFIG_SIZE; i += 4) {
		arch_pci_write(v->bdf, cap + CAP_LENGTH, 4, 4);
		arch_pci_write(v->bdf, cap + CAP_OFFSET, v->config_offset + i,
			       4);
		expect(r,
		       arch_pci_read(v->bdf, cap + CAP_DATA, 4) ==
			       load32(v->config + i),
		       "the window reads another value");
	}
}

static void write_ignored(struct run *r)
{
	struct vmem_config before = r->m->config;

	for (unsigned int i = 0; i < CONFIG_SIZE; i += 4)
		store32(r->m->virtio.config + i, 0xffffffff);
	for (unsigned int i = 0; i < CONFIG_SIZE; i++)
		store8(r->m->virtio.config + i, 0);
	memdev_read_config(r->m);
	expect(r, memcmp(&before, &r->m->config, sizeof(before)) == 0,
	       "a write changed the configuration");
	must(r, ACK, PLUG, 0, 1);
}

static void read_beyond(struct run *r)
{
	for (unsigned int i = CONFIG_SIZE; i < 128; i += 4)
		(void)load32(r->m->virtio.config + i);
	must(r, ACK, PLUG, 0, 1);
}

/* param: 0 before FEATURES_OK, 1 after it, before DRIVER_OK */
static void read_early(struct run *r)
{
	struct vmem_config before = r->m->config;
	const struct virtio *v = &r->m->virtio;

	r->m->running = false;
	virtio_reset(v);
	virtio_add_status(v, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	if (r->param == 1) {
		virtio_accept(v, F_VERSION_1 |
					 (virtio_offered(v) & F_INACCESSIBLE));
		virtio_add_status(v, STATUS_FEATURES_OK);
	}
	memdev_read_config(r->m);
	expect(r, memcmp(&before, &r->m->config, sizeof(before)) == 0,
	       "the configuration reads differently");
}

const struct test_case config_cases[] = {
	{101, "block-size", "5.15.4", "block_size is a power of two",
	 block_size, 0},
	{102, "addr-aligned", "5.15.4", "addr is a multiple of block_size",
	 multiple, offsetof(struct vmem_config, addr)},
	{103, "region-size-aligned", "5.15.4",
	 "region_size is a multiple of block_size", multiple,
	 offsetof(struct vmem_config, region_size)},
	{104, "usable-size-aligned", "5.15.4",
	 "usable_region_size is a multiple of block_size", multiple,
	 offsetof(struct vmem_config, usable_region_size)},
	{105, "plugged-size-aligned", "5.15.4",
	 "plugged_size is a multiple of block_size", multiple,
	 offsetof(struct vmem_config, plugged_size)},
	{106, "requested-size-aligned", "5.15.4",
	 "requested_size is a multiple of block_size", multiple,
	 offsetof(struct vmem_config, requested_size)},
	{107, "usable-fits-requested", "5.15.4",
	 "usable_region_size is requested_size at least, region_size at most",
	 usable_fits, 0},
	{108, "usable-grows", "5.15.4",
	 "All of the region becomes usable when all is requested", usable_grows,
	 0},
	{109, "fixed-across-requests", "5.15.4",
	 "block_size, node_id, addr, region_size: the same after requests",
	 fixed_fields, 0},
	{110, "fixed-across-sizes", "5.15.4",
	 "The same after requested_size changed", fixed_fields, 1},
	{111, "fixed-across-device-reset", "5.15.4",
	 "The same after a device reset", fixed_fields, 2},
	{112, "plugged-size-follows", "5.15.4",
	 "plugged_size is the size of the plugged blocks, always", plugged_size,
	 0},
	{113, "usable-stays-when-less-is-requested", "5.15.4",
	 "usable_region_size does not shrink with requested_size", usable_stays,
	 0},
	{114, "usable-stays-after-unplug", "5.15.4",
	 "usable_region_size does not shrink by UNPLUG", usable_stays, 1},
	{115, "usable-stays-after-device-reset", "5.15.4",
	 "usable_region_size does not shrink by a device reset", usable_stays,
	 2},
	{116, "notified-of-more", "5.15.4",
	 "A larger requested_size is notified", notified_of_size, 100},
	{117, "notified-of-less", "5.15.4",
	 "A smaller requested_size is notified", notified_of_size, 1},
	{118, "no-notice-of-plugged-size", "5.15.4",
	 "A change of plugged_size is not notified", no_notice_of_plug, 0},
	{119, "notified-by-msix", "4.1.5.4",
	 "The notification is sent by the vector that the driver set",
	 notified_by_msix, 0},
	{120, "generation", "4.1.4.3.1",
	 "config_generation changes with the configuration, and only then",
	 generation, 0},
	{121, "read-by-bytes", "4.1.3.1", "Bytes read as words do", read_width,
	 1},
	{122, "read-by-16-bits", "4.1.3.1", "16 bits read as words do",
	 read_width, 2},
	{123, "read-by-64-bits", "4.1.3.1", "64 bits read as words do",
	 read_width, 8},
	{124, "read-through-the-window", "4.1.4.9",
	 "The PCI configuration access capability reads the same",
	 read_through_window, 0},
	{125, "writes-ignored", "5.15.4",
	 "The fields are read-only for the driver", write_ignored, 0},
	{126, "read-beyond-the-end", "4.1.4",
	 "Reads beyond the last field do no harm", read_beyond, 0},
	{127, "read-before-features-ok", "2.5.2",
	 "The configuration can be read before FEATURES_OK", read_early, 0},
	{128, "read-before-driver-ok", "2.5.2",
	 "The configuration can be read before DRIVER_OK", read_early, 1},
	{0},
};
