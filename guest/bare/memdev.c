// SPDX-License-Identifier: BSD-3-Clause
/* virtio-mem devices: finding them, starting them, raw requests. */
#include <string.h>

#include "arch.h"
#include "memdev.h"
#include "mmio.h"

#define PCI_DEVICE_ID (0x1040 + VMEM_VIRTIO_ID)
#define NR_BDF	      256
#define PATIENCE_US   (60 * 1000000)
#define SPINS	      1000

const char *const outcome_names[NR_OUTCOMES] = {
	"ACK", "NACK", "BUSY", "ERROR", "OTHER", "NEEDS_RESET", "SILENCE",
};

static struct memdev devices[MEMDEV_MAX];
static unsigned int nr_devices;
static uint8_t rings[MEMDEV_MAX][QUEUE_BYTES] __attribute__((aligned(4096)));

unsigned int memdev_count(void)
{
	return nr_devices;
}

struct memdev *memdev(unsigned int index)
{
	return &devices[index];
}

static void sort_by_address(void)
{
	for (unsigned int i = 1; i < nr_devices; i++) {
		for (unsigned int k = i;
		     k && devices[k].config.addr < devices[k - 1].config.addr;
		     k--) {
			struct memdev swap = devices[k];

			devices[k] = devices[k - 1];
			devices[k - 1] = swap;
		}
	}
	for (unsigned int i = 0; i < nr_devices; i++)
		devices[i].index = i;
}

void memdevs_find(void)
{
	nr_devices = 0;
	for (unsigned int bdf = 0; bdf < NR_BDF; bdf++) {
		struct memdev *m = &devices[nr_devices];

		if (nr_devices == MEMDEV_MAX ||
		    arch_pci_read(bdf, 2, 2) != PCI_DEVICE_ID ||
		    !virtio_probe(&m->virtio, bdf))
			continue;
		m->running = m->usual = false;
		memdev_read_config(m);
		nr_devices++;
	}
	sort_by_address();
}

/* ---- Configuration ----------------------------------------------------- */

/* All from an offset on. */
static void read_from(struct memdev *m, size_t offset)
{
	uint32_t words[sizeof(m->config) / 4];
	uint8_t generation;

	memcpy(words, &m->config, sizeof(words));
	do {
		generation = load8(m->virtio.common + COMMON_GENERATION);
		for (size_t i = offset / 4; i < ARRAY_SIZE(words); i++)
			words[i] = load32(m->virtio.config + 4 * i);
	} while (load8(m->virtio.common + COMMON_GENERATION) != generation);
	memcpy(&m->config, words, sizeof(words));
}

void memdev_read_config(struct memdev *m)
{
	read_from(m, 0);
}

void memdev_read_sizes(struct memdev *m)
{
	read_from(m, offsetof(struct vmem_config, usable_region_size));
}

bool memdev_start_halfway(struct memdev *m, uint64_t features,
			  uint16_t queue_size)
{
	const struct virtio *v = &m->virtio;

	m->running = m->usual = false;
	if (!virtio_reset(v))
		return false;
	virtio_add_status(v, STATUS_ACKNOWLEDGE);
	virtio_add_status(v, STATUS_DRIVER);
	m->features = features & virtio_offered(v);
	virtio_accept(v, m->features);
	virtio_add_status(v, STATUS_FEATURES_OK);
	if (!(virtio_status(v) & STATUS_FEATURES_OK))
		return false;
	memdev_read_config(m);
	return queue_set_up(&m->queue, v, m->features, queue_size,
			    (uint64_t)rings[m->index], m->elsewhere) != 0;
}

bool memdev_start(struct memdev *m, uint64_t features, uint16_t queue_size)
{
	if (!memdev_start_halfway(m, features, queue_size))
		return false;
	virtio_add_status(&m->virtio, STATUS_DRIVER_OK);
	m->running = true;
	return true;
}

bool memdev_start_usual(struct memdev *m)
{
	m->usual = memdev_start(m,
				F_VERSION_1 | F_INACCESSIBLE | F_PXM |
					F_SUSPEND | F_INDIRECT,
				0);
	return m->usual;
}

/* ---- Requests ---------------------------------------------------------- */

void exchange_fill(struct exchange *x, unsigned int type, uint64_t addr,
		   unsigned int nr_blocks)
{
	const struct vmem_request request = {
		.type = (uint16_t)type,
		.addr = addr,
		.nr_blocks = (uint16_t)nr_blocks,
	};

	memset(x, 0, sizeof(*x));
	memset(x->response, 0xee, sizeof(x->response));
	memcpy(x->request, &request, sizeof(request));
}

void exchange_add(struct memdev *m, struct exchange *x)
{
	const struct piece pieces[] = {
		{(uint64_t)x->request, sizeof(struct vmem_request), false},
		{(uint64_t)x->response, sizeof(struct vmem_response), true},
	};

	x->id = queue_add(&m->queue, pieces, ARRAY_SIZE(pieces), 0);
}

static enum outcome decode(struct exchange *x)
{
	const volatile uint8_t *r = x->response;
	unsigned int type = r[0] | (unsigned int)r[1] << 8;

	x->state = (uint16_t)(r[8] | r[9] << 8);
	return type <= ERROR ? (enum outcome)type : OTHER;
}

enum outcome exchange_outcome(struct memdev *m, struct exchange *x)
{
	uint64_t until = arch_now_us() + PATIENCE_US;
	uint32_t written = 0;
	uint16_t id = 0;

	for (;;) {
		bool used = false;

		/* The ring first: what follows leaves the guest. */
		for (int i = 0; i < SPINS && !used; i++) {
			used = queue_used(&m->queue, &id, &written);
			arch_relax();
		}
		if (used) {
			x->written = written;
			x->outcome = id == x->id ? decode(x) : OTHER;
			return x->outcome;
		}
		if (virtio_status(&m->virtio) & STATUS_NEEDS_RESET) {
			x->outcome = NEEDS_RESET;
			return x->outcome;
		}
		if (arch_now_us() > until) {
			x->outcome = SILENCE;
			return x->outcome;
		}
	}
}

bool exchange_wait(struct memdev *m, struct exchange *x, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (exchange_outcome(m, &x[i]) >= OTHER)
			return false;
	}
	return true;
}

enum outcome memdev_request(struct memdev *m, struct exchange *x,
			    unsigned int type, uint64_t addr,
			    unsigned int nr_blocks)
{
	exchange_fill(x, type, addr, nr_blocks);
	exchange_add(m, x);
	queue_show(&m->queue);
	queue_kick(&m->queue);
	return exchange_outcome(m, x);
}

static struct exchange scratch;

enum outcome plug(struct memdev *m, uint64_t addr, unsigned int nr_blocks)
{
	return memdev_request(m, &scratch, VMEM_REQ_PLUG, addr, nr_blocks);
}

enum outcome unplug(struct memdev *m, uint64_t addr, unsigned int nr_blocks)
{
	return memdev_request(m, &scratch, VMEM_REQ_UNPLUG, addr, nr_blocks);
}

enum outcome unplug_all(struct memdev *m)
{
	return memdev_request(m, &scratch, VMEM_REQ_UNPLUG_ALL, 0, 0);
}

int state_of(struct memdev *m, uint64_t addr, unsigned int nr_blocks)
{
	enum outcome outcome =
		memdev_request(m, &scratch, VMEM_REQ_STATE, addr, nr_blocks);

	return outcome == ACK ? scratch.state : -1;
}
