// SPDX-License-Identifier: BSD-3-Clause
/*
 * The driver core (src/driver) in the bare guest: it follows requested_size as
 * an operating system's driver does. The guest's use of a block is a word in
 * each of its pages, which must still be there when the block is given up.
 */
#include <string.h>
#include <vmem/driver.h>

#include "arch.h"
#include "memdev.h"
#include "mmio.h"

#define UNIT	     (4 * MIB)
#define DEPTH	     8
#define STEP	     262144
#define PATTERN	     UINT64_C(0x6d656d6f72790000)
#define STORAGE_SIZE (512 * KIB)
#define PATIENCE_US  (60 * 1000000)

static struct {
	struct memdev *m;
	struct vmem_driver *driver;
	uint64_t lost; /* words that were not what they should be */
	const char *broken;
	struct exchange exchanges[VMEM_DRIVER_MAX_DEPTH];
	uint8_t tags[QUEUE_MAX]; /* of the buffer with that id */
	uint64_t storage[STORAGE_SIZE / sizeof(uint64_t)];
} drive;

/* ---- What the core asks for -------------------------------------------- */

static int submit(void *opaque, unsigned int tag, const void *req,
		  size_t req_len)
{
	struct exchange *x = &drive.exchanges[tag];

	memcpy(x->request, req, req_len);
	exchange_add(drive.m, x);
	drive.tags[x->id] = (uint8_t)tag;
	queue_show(&drive.m->queue);
	return 0;
}

static void kick(void *opaque)
{
	queue_kick(&drive.m->queue);
}

static void read_config(void *opaque, size_t offset, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i += 4) {
		uint32_t word = load32(drive.m->virtio.config + offset + i);

		memcpy((uint8_t *)buf + i, &word, len - i < 4 ? len - i : 4);
	}
}

static uint32_t generation(void *opaque)
{
	return load8(drive.m->virtio.common + COMMON_GENERATION);
}

static int add_range(void *opaque, uint64_t addr, uint64_t size)
{
	arch_map(addr, size);
	for (uint64_t at = addr; at < addr + size; at += STEP)
		store64(at, PATTERN ^ at);
	return 0;
}

static int take_range(void *opaque, uint64_t addr, uint64_t size)
{
	for (uint64_t at = addr; at < addr + size; at += STEP)
		drive.lost += load64(at) != (PATTERN ^ at);
	return 0;
}

static void broken(void *opaque, const char *why)
{
	drive.broken = why;
}

static const struct vmem_driver_ops ops = {
	.submit = submit,
	.kick = kick,
	.read_config = read_config,
	.config_generation = generation,
	.add_range = add_range,
	.take_range = take_range,
	.broken = broken,
};

/* ---- The event loop ---------------------------------------------------- */

static bool begin(struct memdev *m)
{
	const struct vmem_driver_config config = {
		.unit_size = UNIT,
		.depth = DEPTH,
		.start = VMEM_DRIVER_START_UNPLUG_ALL,
	};
	struct vmem_config device;

	memset(&drive, 0, sizeof(drive));
	drive.m = m;
	if (!memdev_start(m,
			  F_VERSION_1 |
				  vmem_driver_features(
					  virtio_offered(&m->virtio), false),
			  0) ||
	    vmem_driver_read_config(&ops, NULL, &device))
		return false;
	drive.driver =
		vmem_driver_init(drive.storage, sizeof(drive.storage), &config,
				 &device, m->features, &ops, NULL);
	return drive.driver;
}

/* Give the core what happened. */
static void take_events(void)
{
	uint32_t written;
	uint16_t id;

	while (queue_used(&drive.m->queue, &id, &written)) {
		unsigned int tag = drive.tags[id % QUEUE_MAX];

		vmem_driver_response(drive.driver, tag,
				     drive.exchanges[tag].response, written);
	}
	if (virtio_isr(&drive.m->virtio) & ISR_CONFIG)
		vmem_driver_config_changed(drive.driver);
}

/* drive D: follow requested_size until nothing is left to do. */
static int run_drive(char *args)
{
	uint64_t index = number(next_word(&args));
	struct memdev *m = memdev((unsigned int)index % MEMDEV_MAX);
	uint64_t until = arch_now_us() + PATIENCE_US;
	struct vmem_driver_status status = {0};

	if (index >= memdev_count() ||
	    ((drive.m != m || !m->running) && !begin(m)))
		return 19;
	vmem_driver_config_changed(drive.driver);
	do {
		vmem_driver_run(drive.driver, arch_now_us() / 1000);
		take_events();
		vmem_driver_get_status(drive.driver, &status);
	} while (!status.settled && !drive.broken && arch_now_us() < until);
	answer();
	print("settled=%u used=%lu requested=%lu lost=%lu plug=%lu unplug=%lu "
	      "broken=%s\n",
	      status.settled, status.state_bytes[VMEM_DRIVER_USED],
	      status.requested_size, drive.lost,
	      status.nr_requests[VMEM_REQ_PLUG],
	      status.nr_requests[VMEM_REQ_UNPLUG],
	      drive.broken ? drive.broken : "no");
	return status.settled && !drive.broken && !drive.lost ? 0 : 5;
}

const struct verb drive_verbs[] = {
	{"drive", run_drive, "D: follow requested_size with the driver core"},
	{NULL, NULL, NULL},
};
