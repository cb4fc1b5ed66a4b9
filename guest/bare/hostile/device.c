// SPDX-License-Identifier: BSD-3-Clause
/* Rings and buffers in memory that is not plugged: the device is to go there.
 */
#include <string.h>

#include "attempt.h"

#define SETTLE_US 500000

/* What came of what was put into the queue. */
static void settle(struct memdev *m)
{
	uint64_t until = arch_now_us() + SETTLE_US;
	uint32_t written;
	uint16_t id;

	while (arch_now_us() < until) {
		if (virtio_status(&m->virtio) & STATUS_NEEDS_RESET) {
			saw("needs reset", 1);
			return;
		}
		if (!m->elsewhere[AREA_DEVICE] &&
		    queue_used(&m->queue, &id, &written)) {
			saw("used", written);
			return;
		}
	}
	saw("silence", 1);
}

static void area_in_it(struct memdev *m, enum area area, uint64_t victim)
{
	static struct exchange x;

	m->elsewhere[area] = victim;
	memdev_start_usual(m);
	if (area == AREA_DEVICE) {
		exchange_fill(&x, VMEM_REQ_STATE, m->config.addr, 1);
		exchange_add(m, &x);
		queue_show(&m->queue);
	} else if (area == AREA_DESC) {
		/* A buffer whose descriptors nobody wrote. */
		m->queue.avail = 1;
		queue_show(&m->queue);
	}
	queue_kick(&m->queue);
	settle(m);
	m->elsewhere[area] = 0;
	memdev_start_usual(m);
}

static void descriptors_in_it(struct memdev *m, uint64_t victim)
{
	area_in_it(m, AREA_DESC, victim);
}

static void available_ring_in_it(struct memdev *m, uint64_t victim)
{
	area_in_it(m, AREA_DRIVER, victim);
}

static void used_ring_in_it(struct memdev *m, uint64_t victim)
{
	area_in_it(m, AREA_DEVICE, victim);
}

/* Have pieces served, with an indirect table at table if that is not 0. */
static void serve_pieces(struct memdev *m, const struct piece *pieces,
			 uint64_t table)
{
	struct piece one = {.addr = table, .len = 32};

	queue_add(&m->queue, table ? &one : pieces, table ? 1 : 2, 0);
	if (table)
		store16(m->queue.desc + 12, DESC_INDIRECT);
	queue_show(&m->queue);
	queue_kick(&m->queue);
	settle(m);
}

/* kind: 'q' the request, 'p' the response, 't' the table, 'b' a response that
 * begins in plugged memory. */
static void buffer_in_it(struct memdev *m, char kind, uint64_t victim)
{
	static struct exchange x;
	struct piece pieces[] = {
		{(uint64_t)x.request, sizeof(struct vmem_request), false},
		{(uint64_t)x.response, sizeof(struct vmem_response), true},
	};

	exchange_fill(&x, VMEM_REQ_STATE, m->config.addr, 1);
	memdev_start_usual(m);
	if (kind == 'q')
		pieces[0].addr = victim;
	else if (kind == 'p')
		pieces[1].addr = victim;
	else if (kind == 'b')
		pieces[1].addr = boundary(m) - 4;
	serve_pieces(m, pieces, kind == 't' ? victim : 0);
	memdev_start_usual(m);
}

static void request_in_it(struct memdev *m, uint64_t victim)
{
	buffer_in_it(m, 'q', victim);
}

static void response_in_it(struct memdev *m, uint64_t victim)
{
	buffer_in_it(m, 'p', victim);
}

static void response_across_boundary(struct memdev *m, uint64_t victim)
{
	buffer_in_it(m, 'b', victim);
}

static void table_in_it(struct memdev *m, uint64_t victim)
{
	buffer_in_it(m, 't', victim);
}

/* The block that a request unplugs is where its response is to go. */
static void response_in_what_is_unplugged(struct memdev *m, uint64_t victim)
{
	static struct exchange x;
	const struct piece pieces[] = {
		{(uint64_t)x.request, sizeof(struct vmem_request), false},
		{victim, sizeof(struct vmem_response), true},
	};

	plug(m, victim, 1);
	exchange_fill(&x, VMEM_REQ_UNPLUG, victim, 1);
	serve_pieces(m, pieces, 0);
	memdev_start_usual(m);
}

/* The ring lies in a block that is then unplugged. */
static void ring_in_what_is_unplugged(struct memdev *m, uint64_t victim)
{
	static struct exchange x;

	plug(m, victim, 1);
	arch_map(victim, m->config.block_size);
	memset((void *)victim, 0, QUEUE_BYTES);
	for (unsigned int i = 0; i < NR_AREAS; i++)
		m->elsewhere[i] = victim + i * PAGE;
	memdev_start_usual(m);
	exchange_fill(&x, VMEM_REQ_UNPLUG, victim, 1);
	exchange_add(m, &x);
	queue_show(&m->queue);
	queue_kick(&m->queue);
	settle(m);
	queue_kick(&m->queue);
	settle(m);
	memset(m->elsewhere, 0, sizeof(m->elsewhere));
	memdev_start_usual(m);
}

static void interrupt_to_it(struct memdev *m, uint64_t victim)
{
	const struct virtio *v = &m->virtio;

	if (!v->msix)
		return;
	store32(v->msix_table, (uint32_t)victim);
	store32(v->msix_table + 4, (uint32_t)(victim >> 32));
	store32(v->msix_table + 8, 0x4041);
	store32(v->msix_table + 12, 0);
	arch_pci_write(v->bdf, v->msix + 2,
		       arch_pci_read(v->bdf, v->msix + 2, 2) | 0x8000, 2);
	store16(v->common + COMMON_CONFIG_VECTOR, 0);
	ask_host("resize", m->index, 2 * REQUESTED * m->config.block_size);
	ask_host("resize", m->index, REQUESTED * m->config.block_size);
	arch_pci_write(v->bdf, v->msix + 2,
		       arch_pci_read(v->bdf, v->msix + 2, 2) & 0x3fff, 2);
	memdev_start_usual(m);
}

const struct attempt device_attempts[] = {
	{"descriptors", descriptors_in_it},
	{"available-ring", available_ring_in_it},
	{"used-ring", used_ring_in_it},
	{"request", request_in_it},
	{"response", response_in_it},
	{"response-across-boundary", response_across_boundary},
	{"indirect-table", table_in_it},
	{"response-in-what-is-unplugged", response_in_what_is_unplugged},
	{"ring-in-what-is-unplugged", ring_in_what_is_unplugged},
	{"interrupt", interrupt_to_it},
	{NULL, NULL},
};
