// SPDX-License-Identifier: BSD-3-Clause
/*
 * Attempts to get at memory that is not plugged. Each is one function; what
 * the guest saw is printed, and what it gained is for the host to find out.
 *
 * An attempt finds 8 blocks plugged, from the region's start on, of 32 that
 * are requested; what it calls `victim` is not plugged.
 */
#include <string.h>

#include "arch.h"
#include "memdev.h"
#include "mmio.h"

#define REQUESTED  32
#define PLUGGED	   8
#define VICTIM	   20
#define PATTERN	   UINT64_C(0xbadc0ffee0ddf00d)
#define MANY	   16
#define PAGE	   4096
#define SETTLE_US  500000
#define CLOCK_US   2500000
#define NR_TOUCHES 2000

struct attempt {
	const char *name;
	void (*run)(struct memdev *m, uint64_t victim);
};

static void saw(const char *what, uint64_t value)
{
	answer();
	print("saw %s %lx\n", what, value);
}

/* ---- Single accesses --------------------------------------------------- */

struct touch {
	char kind; /* r, w, x, a (atomic), f (fill), s (stack) */
	uint64_t addr, value;
	size_t len;
};

static void do_touch(void *arg)
{
	struct touch *t = arg;

	if (t->kind == 'r')
		t->value = load64(t->addr);
	else if (t->kind == 'w')
		store64(t->addr, t->value);
	else if (t->kind == 'a')
		t->value = arch_fetch_add(t->addr, t->value);
	else if (t->kind == 'f')
		arch_fill(t->addr, (uint8_t)t->value, t->len);
	else if (t->kind == 's')
		t->value = arch_push_pop(t->addr, t->value);
	else
		t->value = ((uint64_t(*)(void))t->addr)();
}

/* Touch; what the guest read, or the number of the exception plus a mark. */
static uint64_t touch(char kind, uint64_t addr)
{
	struct touch t = {
		.kind = kind, .addr = addr, .value = PATTERN, .len = PAGE + 64};
	struct arch_fault fault;

	arch_map(addr - PAGE, 3 * PAGE);
	if (arch_try(do_touch, &t, &fault))
		return t.value;
	answer();
	print("exception %lu address %lx\n", fault.vector, fault.address);
	return 0;
}

static void read_before_plug(struct memdev *m, uint64_t victim)
{
	saw("read", touch('r', victim + 8));
}

static void write_before_plug(struct memdev *m, uint64_t victim)
{
	touch('w', victim + PAGE);
	saw("read", touch('r', victim + PAGE));
}

static void execute_before_plug(struct memdev *m, uint64_t victim)
{
	saw("result", touch('x', victim));
}

static void atomic_before_plug(struct memdev *m, uint64_t victim)
{
	saw("read", touch('a', victim + 64));
}

/* Plug a block, leave something in it, unplug it. */
static void leave(struct memdev *m, uint64_t victim)
{
	uint64_t at = victim;

	plug(m, victim, 1);
	arch_map(victim, m->config.block_size);
	for (uint64_t i = 0; i < m->config.block_size; i += PAGE)
		store64(victim + i, PATTERN);
	for (const uint8_t *p = arch_probe_code; p < arch_probe_code_end; p++)
		store8(at++, *p);
	unplug(m, victim, 1);
}

static void read_after_unplug(struct memdev *m, uint64_t victim)
{
	leave(m, victim);
	saw("read", touch('r', victim + PAGE));
}

static void write_after_unplug(struct memdev *m, uint64_t victim)
{
	leave(m, victim);
	touch('w', victim + PAGE);
}

static void execute_after_unplug(struct memdev *m, uint64_t victim)
{
	leave(m, victim);
	saw("result", touch('x', victim));
}

static void read_after_unplug_all(struct memdev *m, uint64_t victim)
{
	arch_map(m->config.addr, m->config.block_size);
	store64(m->config.addr, PATTERN);
	unplug_all(m);
	saw("read", touch('r', m->config.addr));
}

static void write_after_unplug_all(struct memdev *m, uint64_t victim)
{
	unplug_all(m);
	touch('w', m->config.addr + PAGE);
}

static uint64_t usable_end(const struct memdev *m)
{
	return m->config.addr + m->config.usable_region_size;
}

static void read_beyond_usable(struct memdev *m, uint64_t victim)
{
	saw("read", touch('r', usable_end(m)));
}

static void write_beyond_usable(struct memdev *m, uint64_t victim)
{
	touch('w', usable_end(m));
}

static void write_last_of_region(struct memdev *m, uint64_t victim)
{
	touch('w', m->config.addr + m->config.region_size - 8);
}

/* The last plugged block ends where an unplugged one begins. */
static uint64_t boundary(const struct memdev *m)
{
	return m->config.addr + PLUGGED * m->config.block_size;
}

static void read_across_boundary(struct memdev *m, uint64_t victim)
{
	saw("read", touch('r', boundary(m) - 4));
}

static void write_across_boundary(struct memdev *m, uint64_t victim)
{
	touch('w', boundary(m) - 4);
}

static void fill_across_boundary(struct memdev *m, uint64_t victim)
{
	touch('f', boundary(m) - PAGE);
}

static void stack_in_it(struct memdev *m, uint64_t victim)
{
	saw("popped", touch('s', victim + PAGE));
}

/* The processor itself writes to the stack; nobody may get out of this. */
static void fault_on_stack(void *arg)
{
	arch_fault_on_stack(*(uint64_t *)arg);
}

static void exception_stack_in_it(struct memdev *m, uint64_t victim)
{
	uint64_t top = victim + PAGE;
	struct arch_fault fault = {0};

	arch_map(victim, PAGE);
	arch_try(fault_on_stack, &top, &fault);
	saw("exception", fault.vector);
}

static void every_page(struct memdev *m, uint64_t victim)
{
	for (uint64_t at = 0; at < m->config.block_size; at += PAGE)
		touch('w', victim + at);
}

static void every_block(struct memdev *m, uint64_t victim)
{
	for (uint64_t i = 0; i < MANY; i++)
		touch('w', victim + i * m->config.block_size);
}

static void map_by(void *arg)
{
	uint64_t *victim = arg;

	*victim = arch_map_by(ARCH_SPARE_ADDRESS, *victim);
}

static void page_table_in_it(struct memdev *m, uint64_t victim)
{
	struct touch t = {.kind = 'r', .addr = ARCH_SPARE_ADDRESS};
	uint64_t kept = victim;
	struct arch_fault fault = {0};

	arch_map(victim, PAGE);
	arch_try(map_by, &kept, NULL);
	saw("table kept", kept);
	arch_try(do_touch, &t, &fault);
	saw("exception", fault.vector);
}

static void clock_in_it(struct memdev *m, uint64_t victim)
{
	uint64_t until = arch_now_us() + CLOCK_US;

	saw("clock", arch_clock_at(victim));
	while (arch_now_us() < until)
		arch_sleep();
	arch_clock_at(0);
}

/* ---- From every processor ---------------------------------------------- */

struct crowd {
	char kind;
	uint64_t addr, stride;
};

static void crowd_member(void *arg, unsigned int cpu)
{
	const struct crowd *crowd = arg;
	struct touch t = {
		.kind = crowd->kind,
		.addr = crowd->addr + cpu * crowd->stride,
		.value = PATTERN,
	};

	for (unsigned int i = 0; i < 10; i++)
		arch_try(do_touch, &t, NULL);
}

static void all_touch(char kind, uint64_t addr, uint64_t stride)
{
	struct crowd crowd = {kind, addr, stride};
	unsigned int cpus = (unsigned int)boot_number("cpus", 1);

	arch_map(addr, (stride + 8) * ARCH_MAX_CPUS);
	saw("all done", arch_run_on_all(cpus, crowd_member, &crowd));
}

static void all_read_one_word(struct memdev *m, uint64_t victim)
{
	all_touch('r', victim, 0);
}

static void all_write_one_word(struct memdev *m, uint64_t victim)
{
	all_touch('w', victim, 0);
}

static void all_write_one_block(struct memdev *m, uint64_t victim)
{
	all_touch('w', victim, PAGE);
}

static void all_write_own_block(struct memdev *m, uint64_t victim)
{
	all_touch('w', victim, m->config.block_size);
}

static void all_add(struct memdev *m, uint64_t victim)
{
	all_touch('a', victim, 0);
}

/* One plugs and unplugs, the others write all the while. */
static struct {
	struct memdev *m;
	uint64_t victim, rounds, acks;
	volatile bool over;
} race;

static void racer(void *arg, unsigned int cpu)
{
	struct touch t = {.kind = 'w', .addr = race.victim + 64, .value = cpu};

	if (cpu == 0) {
		for (uint64_t i = 0; i < race.rounds; i++) {
			race.acks += plug(race.m, race.victim, 1) == ACK;
			race.acks += unplug(race.m, race.victim, 1) == ACK;
		}
		race.over = true;
		return;
	}
	while (!race.over)
		arch_try(do_touch, &t, NULL);
}

static int run_race(struct memdev *m, uint64_t rounds)
{
	unsigned int cpus = (unsigned int)boot_number("cpus", 1);

	race.m = m;
	race.victim = m->config.addr + VICTIM * m->config.block_size;
	race.rounds = rounds;
	race.acks = 0;
	race.over = false;
	arch_map(race.victim, m->config.block_size);
	saw("all done", arch_run_on_all(cpus, racer, NULL));
	answer();
	print("acknowledged %lu\n", race.acks);
	return race.acks == 2 * rounds ? 0 : 1;
}

/* ---- Through the device ------------------------------------------------ */

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

/* ---- By the protocol --------------------------------------------------- */

static void plug_past_limit(struct memdev *m, uint64_t victim)
{
	uint64_t block = m->config.block_size, acks = 0;

	for (uint64_t i = PLUGGED; i < 3 * REQUESTED; i++)
		acks += plug(m, m->config.addr + i * block, 1) == ACK;
	saw("acknowledged", acks);
	memdev_read_sizes(m);
	saw("plugged", m->config.plugged_size / block);
	touch('w', m->config.addr + 2 * REQUESTED * block);
}

static void flood(struct memdev *m, uint64_t victim)
{
	static struct exchange x;
	uint64_t seed = 1, block = m->config.block_size;

	for (unsigned int i = 0; i < NR_TOUCHES; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		memdev_request(m, &x, (unsigned int)(seed >> 60) % 5,
			       m->config.addr + (seed >> 40) % 64 * block,
			       (unsigned int)(seed >> 50) % 9);
	}
	unplug_all(m);
	touch('w', victim);
}

static void after_refusal(struct memdev *m, uint64_t victim)
{
	unplug(m, victim, 1);
	plug(m, victim, 0);
	plug(m, victim + 1, 1);
	plug(m, m->config.addr, PLUGGED + 1);
	touch('w', victim);
}

/* Without UNPLUGGED_INACCESSIBLE a driver may read, and may not write. */
static void write_without_feature(struct memdev *m, uint64_t victim)
{
	if (memdev_start(m, F_VERSION_1, 0))
		touch('w', victim);
	memdev_start_usual(m);
}

static void read_beyond_without_feature(struct memdev *m, uint64_t victim)
{
	if (memdev_start(m, F_VERSION_1, 0))
		saw("read", touch('r', usable_end(m)));
	memdev_start_usual(m);
}

static void write_after_device_reset(struct memdev *m, uint64_t victim)
{
	virtio_reset(&m->virtio);
	m->running = false;
	touch('w', victim);
}

/* ---- The verbs --------------------------------------------------------- */

static const struct attempt attempts[] = {
	{"read-before-plug", read_before_plug},
	{"write-before-plug", write_before_plug},
	{"execute-before-plug", execute_before_plug},
	{"atomic-before-plug", atomic_before_plug},
	{"read-after-unplug", read_after_unplug},
	{"write-after-unplug", write_after_unplug},
	{"execute-after-unplug", execute_after_unplug},
	{"read-after-unplug-all", read_after_unplug_all},
	{"write-after-unplug-all", write_after_unplug_all},
	{"read-beyond-usable", read_beyond_usable},
	{"write-beyond-usable", write_beyond_usable},
	{"write-last-of-region", write_last_of_region},
	{"read-across-boundary", read_across_boundary},
	{"write-across-boundary", write_across_boundary},
	{"fill-across-boundary", fill_across_boundary},
	{"stack", stack_in_it},
	{"every-page", every_page},
	{"every-block", every_block},
	{"page-table", page_table_in_it},
	{"exception-stack", exception_stack_in_it},
	{"clock", clock_in_it},
	{"all-read-one-word", all_read_one_word},
	{"all-write-one-word", all_write_one_word},
	{"all-write-one-block", all_write_one_block},
	{"all-write-own-block", all_write_own_block},
	{"all-add", all_add},
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
	{"plug-past-limit", plug_past_limit},
	{"flood", flood},
	{"after-refusal", after_refusal},
	{"write-without-feature", write_without_feature},
	{"read-beyond-without-feature", read_beyond_without_feature},
	{"write-after-device-reset", write_after_device_reset},
};

static struct memdev *prepared(void)
{
	struct memdev *m = memdev(0);
	uint64_t block = m->config.block_size;

	if (memdev_count() == 0 || !memdev_start_usual(m) ||
	    unplug_all(m) != ACK ||
	    m->config.requested_size != REQUESTED * block ||
	    plug(m, m->config.addr, PLUGGED) != ACK)
		return NULL;
	memdev_read_sizes(m);
	return m;
}

/* hostile NAME */
static int run_attempt(char *args)
{
	const char *name = next_word(&args);
	struct memdev *m = prepared();

	if (!m)
		return 19;
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		if (!same(attempts[i].name, name))
			continue;
		attempts[i].run(m,
				m->config.addr + VICTIM * m->config.block_size);
		return 0;
	}
	return 22;
}

static int do_race(char *args)
{
	struct memdev *m = prepared();

	return m ? run_race(m, number(next_word(&args))) : 19;
}

static int list_attempts(char *args)
{
	for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
		answer();
		print("%s\n", attempts[i].name);
	}
	return 0;
}

const struct verb hostile_verbs[] = {
	{"hostile", run_attempt, "NAME: try to get at unplugged memory"},
	{"race", do_race,
	 "ROUNDS: touch a block that is plugged and unplugged"},
	{"attempts", list_attempts, "list the attempts"},
	{NULL, NULL, NULL},
};
