// SPDX-License-Identifier: BSD-3-Clause
/* Device resets (2.4, 5.15.5) and, with the host's help, system resets. */
#include <string.h>

#include "case.h"

#define FLIGHT	  60
#define PATTERN	  UINT64_C(0xfeedfacecafef00d)
#define SETTLE_US 200000

static struct exchange flight[FLIGHT];

static void reset_keeps_blocks(struct run *r)
{
	must(r, ACK, PLUG, 0, 3);
	must(r, ACK, PLUG, 10, 2);
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	must_have_plugged(r, 5);
	must_state(r, VMEM_STATE_PLUGGED, 0, 3);
	must_state(r, VMEM_STATE_UNPLUGGED, 3, 7);
	must_state(r, VMEM_STATE_PLUGGED, 10, 2);
}

static void reset_keeps_content(struct run *r)
{
	must(r, ACK, PLUG, 0, 2);
	arch_map(r->base, 2 * r->block);
	for (uint64_t at = 0; at < 2 * r->block; at += 65536)
		store64(r->base + at, PATTERN + at);
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	for (uint64_t at = 0; at < 2 * r->block; at += 65536)
		expect(r, load64(r->base + at) == PATTERN + at,
		       "plugged memory changed");
}

static void reset_keeps_requested(struct run *r)
{
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	expect(r, r->m->config.requested_size == USUAL_BLOCKS * r->block,
	       "requested_size changed");
}

/* As many blocks as the device says are plugged, one by one. */
static void books_agree(struct run *r, unsigned int nr)
{
	uint64_t plugged = 0;

	for (unsigned int i = 0; i < nr; i++)
		plugged += state_of(r->m, block_addr(r, i), 1) ==
			   VMEM_STATE_PLUGGED;
	must_have_plugged(r, plugged);
}

/* param: requests in the queue, which are shown at once */
static void reset_in_flight(struct run *r)
{
	static uint8_t before[sizeof(flight)];

	for (unsigned int i = 0; i < r->param; i++) {
		exchange_fill(&flight[i], i % 3 == 2 ? UNPLUG : PLUG,
			      block_addr(r, i / 3), 1);
		exchange_add(r->m, &flight[i]);
	}
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	expect(r, virtio_reset(&r->m->virtio), "the status never reads 0");
	/* From here on the driver's memory is its own again. */
	memcpy(before, flight, sizeof(flight));
	wait_us(SETTLE_US);
	expect(r, memcmp(before, flight, sizeof(flight)) == 0,
	       "a buffer was written after the reset was done");
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	books_agree(r, USUAL_BLOCKS);
	must(r, ACK, UNPLUG_ALL, 0, 0);
}

static void reset_again_and_again(struct run *r)
{
	must(r, ACK, PLUG, 0, 1);
	for (unsigned int i = 0; i < 20 && !r->wrong; i++)
		expect(r, memdev_start(r->m, F_VERSION_1 | F_INACCESSIBLE, 0),
		       "the device does not start");
	must_state(r, VMEM_STATE_PLUGGED, 0, 1);
}

static void reset_at_each_step(struct run *r)
{
	const struct virtio *v = &r->m->virtio;
	static const uint8_t steps[] = {
		STATUS_ACKNOWLEDGE,
		STATUS_DRIVER,
		STATUS_FEATURES_OK,
		STATUS_FAILED,
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		virtio_reset(v);
		for (size_t k = 0; k <= i; k++) {
			if (steps[k] == STATUS_FEATURES_OK)
				virtio_accept(v,
					      F_VERSION_1 | (virtio_offered(v) &
							     F_INACCESSIBLE));
			virtio_add_status(v, steps[k]);
		}
		expect(r, virtio_status(v) & steps[i],
		       "a status bit does not stick");
		expect(r, virtio_reset(v), "the status never reads 0");
	}
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	must(r, ACK, PLUG, 0, 1);
}

static void other_features_after(struct run *r)
{
	restart(r, F_VERSION_1 | F_INACCESSIBLE | F_PACKED | F_INDIRECT, 0);
	must(r, ACK, PLUG, 0, 1);
	restart(r, F_VERSION_1 | F_INACCESSIBLE | F_EVENT_IDX, 0);
	must_state(r, VMEM_STATE_PLUGGED, 0, 1);
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 16);
	must(r, ACK, UNPLUG, 0, 1);
}

/* ---- System reset: the host's script resets between these ---------------- */

static void before_system_reset(struct run *r)
{
	must(r, ACK, PLUG, 0, 5);
	must(r, ACK, PLUG, 9, 1);
	must_have_plugged(r, 6);
}

static void after_unplugged(struct run *r)
{
	must_have_plugged(r, 0);
	expect(r, virtio_status(&r->m->virtio) == 0, "the status is not 0");
	restart(r, F_VERSION_1 | F_INACCESSIBLE, 0);
	must_state(r, VMEM_STATE_UNPLUGGED, 0, USUAL_BLOCKS);
}

static void after_sizes(struct run *r)
{
	memdev_read_config(r->m);
	expect(r, r->m->config.requested_size == USUAL_BLOCKS * r->block,
	       "requested_size changed");
	expect(r,
	       r->m->config.usable_region_size >= r->m->config.requested_size,
	       "usable_region_size is below requested_size");
}

const struct test_case reset_cases[] = {
	{901, "reset-keeps-blocks", "5.15.5",
	 "A device reset changes the state of no block", reset_keeps_blocks, 0},
	{902, "reset-keeps-content", "5.15.5",
	 "A device reset changes no plugged memory", reset_keeps_content, 0},
	{903, "reset-keeps-requested-size", "5.15.5",
	 "A device reset leaves requested_size as it is", reset_keeps_requested,
	 0},
	{904, "reset-one-in-flight", "2.4",
	 "A reset while a request is served: done when the status reads 0",
	 reset_in_flight, 1},
	{905, "reset-many-in-flight", "2.4",
	 "A reset while many requests are in the queue: the books agree",
	 reset_in_flight, FLIGHT},
	{906, "reset-again-and-again", "2.4", "Twenty resets, one by one",
	 reset_again_and_again, 0},
	{907, "reset-at-each-step", "3.1",
	 "A reset at each step of initialization", reset_at_each_step, 0},
	{908, "other-features-after-reset", "2.2",
	 "After a reset other features may be accepted", other_features_after,
	 0},
	{909, "before-system-reset", "5.15.6",
	 "Blocks are plugged before the system is reset", before_system_reset,
	 0},
	{0},
};

const struct test_case after_reset_cases[] = {
	{910, "system-reset-unplugs", "5.15.6",
	 "After a system reset no block is plugged", after_unplugged, 0},
	{911, "system-reset-sizes", "5.15.4",
	 "After a system reset requested_size is what it was, and usable",
	 after_sizes, 0},
	{0},
};
