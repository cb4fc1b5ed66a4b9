// SPDX-License-Identifier: BSD-3-Clause
/* Verbs for single requests and single accesses, for a host's script. */
#include "arch.h"
#include "memdev.h"
#include "mmio.h"

/* "D" or "D+OFFSET": a device, and an address in its region. */
static struct memdev *device_and_address(char *word, uint64_t *addr)
{
	unsigned int index = (unsigned int)(word[0] - '0');

	if (index >= memdev_count())
		return NULL;
	*addr = memdev(index)->config.addr;
	if (word[1] == '+')
		*addr += number(word + 2);
	return memdev(index);
}

static int devices(char *args)
{
	for (unsigned int i = 0; i < memdev_count(); i++) {
		struct memdev *m = memdev(i);

		memdev_read_config(m);
		answer();
		print("%u addr=%lx block=%lx region=%lx usable=%lx plugged=%lx "
		      "requested=%lx status=%x features=%lx\n",
		      i, m->config.addr, m->config.block_size,
		      m->config.region_size, m->config.usable_region_size,
		      m->config.plugged_size, m->config.requested_size,
		      virtio_status(&m->virtio), virtio_offered(&m->virtio));
	}
	return 0;
}

/* start D [plain]: the second without UNPLUGGED_INACCESSIBLE. */
static int start(char *args)
{
	uint64_t addr;
	struct memdev *m = device_and_address(next_word(&args), &addr);
	bool plain = same(next_word(&args), "plain");

	if (!m)
		return 19;
	return (plain ? memdev_start(m, F_VERSION_1, 0) : memdev_start_usual(m))
		       ? 0
		       : 5;
}

static int request(char *args, unsigned int type)
{
	static struct exchange x;
	uint64_t addr, nr;
	struct memdev *m = device_and_address(next_word(&args), &addr);

	if (!m || !m->running)
		return 19;
	nr = number(next_word(&args));
	memdev_request(m, &x, type, addr, (unsigned int)nr);
	answer();
	print("%s state=%u\n", outcome_names[x.outcome], x.state);
	return 0;
}

static int do_plug(char *args)
{
	return request(args, VMEM_REQ_PLUG);
}

static int do_unplug(char *args)
{
	return request(args, VMEM_REQ_UNPLUG);
}

static int do_unplug_all(char *args)
{
	return request(args, VMEM_REQ_UNPLUG_ALL);
}

static int do_state(char *args)
{
	return request(args, VMEM_REQ_STATE);
}

struct access {
	char kind;
	uint64_t addr, value;
};

static void access(void *arg)
{
	struct access *a = arg;

	if (a->kind == 'r')
		a->value = load64(a->addr);
	else if (a->kind == 'w')
		store64(a->addr, a->value);
	else
		a->value = ((uint64_t(*)(void))a->addr)();
}

static int touch(char *args)
{
	struct arch_fault fault = {0};
	struct access a = {0};

	if (!device_and_address(next_word(&args), &a.addr))
		return 19;
	a.kind = *next_word(&args);
	a.value = number(next_word(&args));
	arch_map(a.addr, 16);
	answer();
	if (arch_try(access, &a, &fault))
		print("value=%lx\n", a.value);
	else
		print("fault=%lu address=%lx\n", fault.vector, fault.address);
	return 0;
}

const struct verb memory_verbs[] = {
	{"devices", devices, ""},
	{"start", start, "D [plain]"},
	{"plug", do_plug, "D+OFFSET NR"},
	{"unplug", do_unplug, "D+OFFSET NR"},
	{"unplug-all", do_unplug_all, "D"},
	{"state", do_state, "D+OFFSET NR"},
	{"touch", touch, "D+OFFSET r|w|x [VALUE]"},
	{NULL, NULL, NULL},
};
