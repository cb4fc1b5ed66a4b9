// SPDX-License-Identifier: BSD-3-Clause
/* Discovery and negotiation (2.1, 2.2, 3.1, 4.1, 5.15.1 to 5.15.3, 5.15.5). */
#include "case.h"

#define ANY_FEATURES                                                           \
	(F_INACCESSIBLE | F_PXM | F_SUSPEND | F_INDIRECT | F_EVENT_IDX |       \
	 F_PACKED)

static void device_id(struct run *r)
{
	unsigned int bdf = r->m->virtio.bdf;

	expect(r, arch_pci_read(bdf, 0, 2) == 0x1af4, "another vendor");
	expect(r, arch_pci_read(bdf, 2, 2) == 0x1040 + 24, "another device");
	expect(r, arch_pci_read(bdf, 8, 1) >= 1, "revision 0");
}

static void one_queue(struct run *r)
{
	uint64_t common = r->m->virtio.common;
	unsigned int size;

	expect(r, load16(common + COMMON_NUM_QUEUES) == 1,
	       "there is not one queue");
	store16(common + COMMON_QUEUE_SELECT, 0);
	size = load16(common + COMMON_QUEUE_SIZE);
	expect(r, size && (size & (size - 1)) == 0,
	       "the size is no power of two");
	store16(common + COMMON_QUEUE_SELECT, 1);
	expect(r, load16(common + COMMON_QUEUE_SIZE) == 0,
	       "a queue that there is not has a size");
	store16(common + COMMON_QUEUE_SELECT, 0);
}

static void version_1(struct run *r)
{
	expect(r, virtio_offered(&r->m->virtio) & F_VERSION_1,
	       "VERSION_1 is not offered");
}

static void unknown_bits(struct run *r)
{
	/* Bits 0 to 23 are the device type's, of which 3 are defined. */
	expect(r, (virtio_offered(&r->m->virtio) & 0xfffff8) == 0,
	       "a bit is offered that has no meaning");
}

static void offer_is_stable(struct run *r)
{
	uint64_t before = virtio_offered(&r->m->virtio);

	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	expect(r, virtio_offered(&r->m->virtio) == before,
	       "another offer after a reset");
}

static void select_beyond(struct run *r)
{
	uint64_t common = r->m->virtio.common;

	store32(common + COMMON_DEVICE_FEATURE_SELECT, 7);
	expect(r, load32(common + COMMON_DEVICE_FEATURE) == 0,
	       "bits beyond all that exist are offered");
}

/* Up to DRIVER with these bits accepted; is FEATURES_OK kept? */
static bool accepts(struct run *r, uint64_t features)
{
	const struct virtio *v = &r->m->virtio;

	r->m->running = false;
	virtio_reset(v);
	virtio_add_status(v, STATUS_ACKNOWLEDGE);
	virtio_add_status(v, STATUS_DRIVER);
	virtio_accept(v, features);
	virtio_add_status(v, STATUS_FEATURES_OK);
	return virtio_status(v) & STATUS_FEATURES_OK;
}

static void not_offered(struct run *r)
{
	uint64_t offered = virtio_offered(&r->m->virtio);
	uint64_t bad = UINT64_C(1) << 23;

	if (offered & bad)
		bad = UINT64_C(1) << 22;
	expect(r, !accepts(r, (offered & ANY_FEATURES) | F_VERSION_1 | bad),
	       "FEATURES_OK with a feature that was not offered");
}

/* Does a driver with these features get what it asks for? */
static void works(struct run *r)
{
	must(r, ACK, PLUG, 0, 4);
	must_state(r, VMEM_STATE_PLUGGED, 0, 4);
	must(r, ACK, UNPLUG, 0, 4);
	must_have_plugged(r, 0);
}

static void all_features(struct run *r)
{
	expect(r, restart(r, F_VERSION_1 | ANY_FEATURES, 0),
	       "a driver that accepts all is refused");
	if (!r->wrong)
		works(r);
}

static void no_inaccessible(struct run *r)
{
	/* Refusing it is allowed (5.15.5.1). */
	if (restart(r, F_VERSION_1, 0))
		works(r);
}

static const uint64_t refusable[] = {F_INDIRECT, F_EVENT_IDX, F_PACKED, F_PXM,
				     F_SUSPEND};

static void one_feature_refused(struct run *r)
{
	uint64_t refused = refusable[r->param];

	if (!(virtio_offered(&r->m->virtio) & refused)) {
		r->skip = "the feature is not offered";
		return;
	}
	expect(r, restart(r, F_VERSION_1 | (ANY_FEATURES & ~refused), 0),
	       "a driver that refuses it is refused");
	if (!r->wrong)
		works(r);
}

static void only_needed_features(struct run *r)
{
	expect(r, restart(r, F_VERSION_1 | F_INACCESSIBLE, 0),
	       "a driver that accepts the least is refused");
	if (!r->wrong)
		works(r);
}

static void node_id(struct run *r)
{
	if (!(virtio_offered(&r->m->virtio) & F_PXM)) {
		r->skip = "ACPI_PXM is not offered";
		return;
	}
	memdev_read_config(r->m);
	expect(r, r->m->config.node_id == boot_number("node", 0),
	       "node_id is not the node that the host set");
}

static void reset_status(struct run *r)
{
	expect(r, virtio_reset(&r->m->virtio), "the status never reads 0");
	store16(r->m->virtio.common + COMMON_QUEUE_SELECT, 0);
	expect(r, load16(r->m->virtio.common + COMMON_QUEUE_ENABLE) == 0,
	       "a queue is enabled after a reset");
	r->m->running = false;
}

static void status_sticks(struct run *r)
{
	const struct virtio *v = &r->m->virtio;

	r->m->running = false;
	virtio_reset(v);
	virtio_add_status(v, STATUS_ACKNOWLEDGE);
	expect(r, virtio_status(v) == STATUS_ACKNOWLEDGE, "ACKNOWLEDGE");
	virtio_add_status(v, STATUS_DRIVER);
	expect(r, virtio_status(v) == (STATUS_ACKNOWLEDGE | STATUS_DRIVER),
	       "DRIVER");
}

/* No buffer is used before DRIVER_OK, though it is there and notified of. */
static void not_before_driver_ok(struct run *r)
{
	static struct exchange x;
	uint64_t until;
	uint32_t written;
	uint16_t id;

	if (!memdev_start_halfway(r->m, F_VERSION_1 | F_INACCESSIBLE, 0)) {
		expect(r, false, "the device does not start");
		return;
	}
	exchange_fill(&x, PLUG, r->base, 1);
	exchange_add(r->m, &x);
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	until = arch_now_us() + 100000;
	while (arch_now_us() < until)
		expect(r, !queue_used(&r->m->queue, &id, &written),
		       "a buffer was used before DRIVER_OK");
	must_have_plugged(r, 0);
	if (r->wrong)
		return;
	virtio_add_status(&r->m->virtio, STATUS_DRIVER_OK);
	r->m->running = true;
	queue_kick(&r->m->queue);
	exchange_outcome(r->m, &x);
	report(r, &x);
	expect(r, x.outcome == ACK, "not used after DRIVER_OK either");
}

/* param: entries in the queue */
static void queue_size(struct run *r)
{
	expect(r, restart(r, F_VERSION_1 | F_INACCESSIBLE, (uint16_t)r->param),
	       "the device does not start");
	for (unsigned int i = 0; i < 5 && !r->wrong; i++)
		works(r);
}

const struct test_case feature_cases[] = {
	{201, "device-id", "5.15.1, 4.1.2", "The PCI function's identity",
	 device_id, 0},
	{202, "one-queue", "5.15.2", "There is one queue, number 0", one_queue,
	 0},
	{203, "version-1", "6", "VERSION_1 is offered", version_1, 0},
	{204, "no-unknown-bits", "5.15.3",
	 "No device feature is offered that is not defined", unknown_bits, 0},
	{205, "offer-is-stable", "2.2", "The offer is the same after a reset",
	 offer_is_stable, 0},
	{206, "offer-beyond-the-end", "4.1.4.3",
	 "Feature words that do not exist read as 0", select_beyond, 0},
	{207, "not-offered", "2.2.2",
	 "FEATURES_OK is not kept if a bit was not offered", not_offered, 0},
	{208, "all-features", "2.2.2", "All that is offered can be accepted",
	 all_features, 0},
	{209, "least-features", "2.2.2",
	 "VERSION_1 and UNPLUGGED_INACCESSIBLE alone are enough",
	 only_needed_features, 0},
	{210, "without-inaccessible", "5.15.5",
	 "Without UNPLUGGED_INACCESSIBLE: refused, or it works",
	 no_inaccessible, 0},
	{211, "without-indirect", "2.2.2", "INDIRECT_DESC can be refused",
	 one_feature_refused, 0},
	{212, "without-event-index", "2.2.2", "EVENT_IDX can be refused",
	 one_feature_refused, 1},
	{213, "without-packed", "2.2.2", "RING_PACKED can be refused",
	 one_feature_refused, 2},
	{214, "without-pxm", "2.2.2", "ACPI_PXM can be refused",
	 one_feature_refused, 3},
	{215, "without-suspend", "2.2.2", "PERSISTENT_SUSPEND can be refused",
	 one_feature_refused, 4},
	{216, "node-id", "5.15.4", "With ACPI_PXM node_id is the node", node_id,
	 0},
	{217, "reset-status", "2.4, 4.1.4.3",
	 "After a reset the status is 0 and no queue is enabled", reset_status,
	 0},
	{218, "status-sticks", "2.1", "Status bits read back as written",
	 status_sticks, 0},
	{219, "not-before-driver-ok", "3.1.1",
	 "No buffer is used before DRIVER_OK", not_before_driver_ok, 0},
	{220, "queue-of-2", "4.1.4.3", "A queue of 2 entries", queue_size, 2},
	{221, "queue-of-8", "4.1.4.3", "A queue of 8 entries", queue_size, 8},
	{222, "queue-of-64", "4.1.4.3", "A queue of 64 entries", queue_size,
	 64},
	{0},
};
