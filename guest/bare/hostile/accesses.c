// SPDX-License-Identifier: BSD-3-Clause
/* Accesses of one processor, of every kind. */
#include "attempt.h"

#define MANY	 16
#define CLOCK_US 2500000

void do_touch(void *arg)
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

uint64_t touch(char kind, uint64_t addr)
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

uint64_t usable_end(const struct memdev *m)
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

uint64_t boundary(const struct memdev *m)
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

const struct attempt access_attempts[] = {
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
	{NULL, NULL},
};
