// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fuzz target: PCI configuration space and the registers of virtio-pci, with
 * any access of any width at any place, and a device that signals and is reset
 * in between. The VMM must only ever be told what makes sense: queues and
 * vectors that exist, features that were offered, accesses inside the device's
 * configuration; and what is read-only stays as it is.
 */
#include "fuzz.h"

#include "virtio/virtio_pci.h"

#define CONFIG_SIZE 56
#define NR_QUEUES   2
#define FEATURES    3ULL
#define OFFERED                                                                \
	(FEATURES | 1ULL << VIRTIO_F_INDIRECT_DESC |                           \
	 1ULL << VIRTIO_F_EVENT_IDX | 1ULL << VIRTIO_F_VERSION_1 |             \
	 1ULL << VIRTIO_F_RING_PACKED)

enum {
	SPACE_READ,
	SPACE_WRITE,
	BAR_READ,
	BAR_WRITE,
	QUEUE_USED,
	CONFIG_TOUCHED,
	CONFIG_CHANGED,
	NEEDS_RESET,
	RESET_DONE,
	SYSTEM_RESET,
	NR_STEPS
};

struct run {
	struct virtio_pci vp;
	struct fuzz_input in;
	uint8_t config[CONFIG_SIZE];
	uint8_t space[VIRTIO_PCI_CONFIG_SIZE]; /* at power-on */
	unsigned int nr_resets;
	bool running[NR_QUEUES], routed[VIRTIO_PCI_MAX_VECTORS];
	bool refuse, busy, reset_pending, bar_enabled;
	uint64_t bar_base;
};

static uint64_t op_features(void *opaque)
{
	return FEATURES;
}

static bool op_accept(void *opaque, uint64_t features)
{
	struct run *run = opaque;

	FUZZ_CHECK(!(features & ~OFFERED));
	FUZZ_CHECK(features & 1ULL << VIRTIO_F_VERSION_1);
	FUZZ_CHECK(!run->reset_pending);
	return !run->refuse;
}

static void check_config_access(size_t offset, size_t len)
{
	FUZZ_CHECK(len >= 1 && len <= 8);
	FUZZ_CHECK(offset < CONFIG_SIZE && len <= CONFIG_SIZE - offset);
}

static void op_config_read(void *opaque, size_t offset, void *buf, size_t len)
{
	struct run *run = opaque;

	check_config_access(offset, len);
	memcpy(buf, run->config + offset, len);
}

static void op_config_write(void *opaque, size_t offset, const void *buf,
			    size_t len)
{
	struct run *run = opaque;

	check_config_access(offset, len);
	memcpy(run->config + offset, buf, len);
}

static void op_queue_start(void *opaque, unsigned int queue,
			   const struct virtq_config *config)
{
	struct run *run = opaque;

	FUZZ_CHECK(queue < NR_QUEUES && !run->running[queue]);
	FUZZ_CHECK(config->size >= 1 && config->size <= VIRTQ_MAX_SIZE);
	FUZZ_CHECK(virtio_pci_status(&run->vp) & VIRTIO_STATUS_FEATURES_OK);
	FUZZ_CHECK(virtio_pci_status(&run->vp) & VIRTIO_STATUS_DRIVER_OK);
	FUZZ_CHECK(!run->reset_pending);
	run->running[queue] = true;
}

static bool op_reset(void *opaque)
{
	struct run *run = opaque;

	run->nr_resets++;
	memset(run->running, 0, sizeof(run->running));
	run->reset_pending = run->busy;
	return !run->busy;
}

static void op_doorbell(void *opaque, unsigned int queue)
{
	struct run *run = opaque;

	FUZZ_CHECK(queue < NR_QUEUES);
	FUZZ_CHECK(run->running[queue] || run->reset_pending);
}

static void op_bar_moved(void *opaque, uint64_t base, bool enabled)
{
	struct run *run = opaque;

	FUZZ_CHECK(base % VIRTIO_PCI_BAR_SIZE == 0);
	FUZZ_CHECK(base <= UINT32_MAX);
	run->bar_base = base;
	run->bar_enabled = enabled;
}

static void op_route(void *opaque, unsigned int vector, uint64_t address,
		     uint32_t data)
{
	FUZZ_CHECK(vector <= NR_QUEUES);
	((struct run *)opaque)->routed[vector] = true;
}

static void op_signal(void *opaque, unsigned int vector)
{
	struct run *run = opaque;

	FUZZ_CHECK(vector <= NR_QUEUES);
	FUZZ_CHECK(run->routed[vector]);
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

/* What the guest cannot change, in the bytes [at, at + len) of the space. */
static void check_constant(struct run *run, unsigned int at, unsigned int len)
{
	uint8_t now[VIRTIO_PCI_CONFIG_SIZE];

	virtio_pci_space_read(&run->vp, at, now, len);
	FUZZ_CHECK(!memcmp(now, run->space + at, len));
}

/* Walk the capabilities: they are where they were, and end. */
static void check_space(struct run *run)
{
	unsigned int nr = 0, at = run->space[0x34];
	uint8_t command[2], bar[4];

	check_constant(run, 0, 4);
	check_constant(run, 6, 6);
	check_constant(run, 0x14, 0x28);
	for (; at; at = run->space[at + 1]) {
		FUZZ_CHECK(at <= VIRTIO_PCI_CONFIG_SIZE - 4 && nr++ < 16);
		check_constant(run, at, 2);
		if (run->space[at] == 0x09 && run->space[at + 3] != 5)
			check_constant(run, at, run->space[at + 2]);
	}
	virtio_pci_space_read(&run->vp, 4, command, 2);
	virtio_pci_space_read(&run->vp, 0x10, bar, 4);
	FUZZ_CHECK(run->bar_enabled == !!(command[0] & 2));
	FUZZ_CHECK(run->bar_base == (bar[0] | bar[1] << 8 | bar[2] << 16 |
				     (uint32_t)bar[3] << 24));
}

static void check_status(struct run *run, uint8_t before, unsigned int resets)
{
	uint8_t status = virtio_pci_status(&run->vp);

	/* Bits go only by a reset (2.1.1). */
	if (run->nr_resets == resets)
		FUZZ_CHECK((status & before) == before);
	if (status & VIRTIO_STATUS_DRIVER_OK)
		FUZZ_CHECK(status & VIRTIO_STATUS_FEATURES_OK);
	FUZZ_CHECK(!(virtio_pci_features(&run->vp) & ~OFFERED) ||
		   !(status & VIRTIO_STATUS_FEATURES_OK) || run->reset_pending);
}

static unsigned int take_width(struct fuzz_input *in)
{
	return 1U << (fuzz_take(in, 1) & 3);
}

static void step_space(struct run *run, bool write)
{
	unsigned int len = take_width(&run->in);
	unsigned int at = (unsigned int)fuzz_take(&run->in, 2) & 0xfff;
	uint8_t data[8];

	fuzz_take_bytes(&run->in, memset(data, 0, 8), write ? len : 0);
	if (write)
		virtio_pci_space_write(&run->vp, at, data, len);
	else
		virtio_pci_space_read(&run->vp, at, data, len);
}

static void step_bar(struct run *run, bool write)
{
	unsigned int len = take_width(&run->in);
	uint64_t at = fuzz_take(&run->in, 2) % VIRTIO_PCI_BAR_SIZE;
	uint8_t data[9];

	data[8] = 0xa5;
	if (write) {
		fuzz_take_bytes(&run->in, memset(data, 0, 8), len);
		virtio_pci_bar_write(&run->vp, at, data, len);
		return;
	}
	memset(data, 0xa5, 8);
	virtio_pci_bar_read(&run->vp, at, data, len);
	for (unsigned int i = len; i < sizeof(data); i++)
		FUZZ_CHECK(data[i] == 0xa5);
}

static void step_from_device(struct run *run, unsigned int step)
{
	uint8_t what = (uint8_t)fuzz_take(&run->in, 1);

	run->refuse = what & 2;
	run->busy = what & 4;
	switch (step) {
	case QUEUE_USED:
		virtio_pci_queue_used(&run->vp, what & 1);
		break;
	case CONFIG_TOUCHED:
		virtio_pci_config_touched(&run->vp);
		break;
	case CONFIG_CHANGED:
		virtio_pci_config_changed(&run->vp);
		break;
	case NEEDS_RESET:
		virtio_pci_set_needs_reset(&run->vp);
		break;
	case RESET_DONE:
		virtio_pci_reset_done(&run->vp);
		run->nr_resets += run->reset_pending;
		run->reset_pending = false;
		break;
	default:
		run->nr_resets++;
		run->reset_pending = false;
		memset(run->running, 0, sizeof(run->running));
		virtio_pci_system_reset(&run->vp);
		FUZZ_CHECK(!virtio_pci_status(&run->vp));
		break;
	}
}

static void step(struct run *run)
{
	unsigned int step = (unsigned int)fuzz_take(&run->in, 1) % NR_STEPS;
	uint8_t status = virtio_pci_status(&run->vp);
	unsigned int resets = run->nr_resets;

	switch (step) {
	case SPACE_READ:
	case SPACE_WRITE:
		step_space(run, step == SPACE_WRITE);
		break;
	case BAR_READ:
	case BAR_WRITE:
		step_bar(run, step == BAR_WRITE);
		break;
	default:
		step_from_device(run, step);
		break;
	}
	check_status(run, status, resets);
	check_space(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct virtio_pci_config config = {
		.device_id = 24,
		.class_code = 0x00ff00,
		.nr_queues = NR_QUEUES,
		.config_size = CONFIG_SIZE,
	};
	struct run run = {.in = {data, size}};

	virtio_pci_init(&run.vp, &config, &ops, &run);
	virtio_pci_space_read(&run.vp, 0, run.space, sizeof(run.space));
	while (run.in.left)
		step(&run);
	return 0;
}

/* ---- Seeds ------------------------------------------------------------- */

static void put_access(struct fuzz_seed *s, unsigned int step, unsigned int at,
		       uint64_t value, unsigned int len)
{
	fuzz_put(s, step, 1);
	fuzz_put(s, len == 8 ? 3 : len / 2, 1);
	fuzz_put(s, at, 2);
	if (step == SPACE_WRITE || step == BAR_WRITE)
		fuzz_put(s, value, len);
}

static void put_negotiation(struct fuzz_seed *s)
{
	static const struct {
		uint8_t at, len;
		uint64_t value;
	} writes[] = {
		{20, 1, 1},	  {20, 1, 3},
		{8, 4, 0},	  {12, 4, 3 | 3U << 28},
		{8, 4, 1},	  {12, 4, 1},
		{20, 1, 11},	  {16, 2, 0},
		{22, 2, 0},	  {24, 2, 64},
		{26, 2, 1},	  {32, 8, 0x10000},
		{40, 8, 0x20000}, {48, 8, 0x30000},
		{28, 2, 1},	  {20, 1, 15},
	};

	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		put_access(s, BAR_WRITE, writes[i].at, writes[i].value,
			   writes[i].len);
}

/* Through the window in configuration space (4.1.4.9). */
static void put_window(struct fuzz_seed *s)
{
	put_access(s, SPACE_WRITE, 0x94 + 8, 20, 4);
	put_access(s, SPACE_WRITE, 0x94 + 12, 1, 4);
	put_access(s, SPACE_WRITE, 0x94 + 16, 0, 1);
	put_access(s, SPACE_READ, 0x94 + 16, 0, 1);
}

/* From the pages' starts: where the structures of the BAR are. */
static void put_reads(struct fuzz_seed *s)
{
	for (unsigned int at = 0; at < VIRTIO_PCI_BAR_SIZE; at += 0x400)
		put_access(s, BAR_READ, at, 0, 1U << (at >> 10 & 3));
}

size_t fuzz_seed(unsigned int nr, uint8_t *seed)
{
	struct fuzz_seed s = {.at = seed};

	if (nr >= 4)
		return 0;
	put_access(&s, SPACE_WRITE, 0x10, 0xc0000000, 4);
	put_access(&s, SPACE_WRITE, 4, 6, 2);
	put_access(&s, SPACE_WRITE, 0x42, 0x8000, 2);
	put_negotiation(&s);
	if (nr == 1)
		put_window(&s);
	if (nr == 2)
		put_reads(&s);
	for (unsigned int step = QUEUE_USED; step < NR_STEPS; step++) {
		if (nr == 3)
			put_negotiation(&s);
		fuzz_put(&s, step, 1);
		fuzz_put(&s, 0, 1);
		put_access(&s, BAR_WRITE, VIRTIO_PCI_NOTIFY_OFFSET(0), 0, 2);
	}
	put_access(&s, BAR_WRITE, 20, 0, 1);
	return s.len;
}
