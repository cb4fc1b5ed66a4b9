// SPDX-License-Identifier: BSD-3-Clause
/* Running the cases, and what they have in common. */
#include <string.h>

#include "case.h"

#define FIRST_PLUG_RULE	  320
#define FIRST_UNPLUG_RULE 420
#define FIRST_STATE_RULE  620

static const struct test_case *const tables[] = {
	config_cases, feature_cases,	 plug_cases,  unplug_cases,
	state_cases,  size_cases,	 queue_cases, reset_cases,
	memory_cases, after_reset_cases,
};

static const struct {
	unsigned int first, type;
} rules[] = {
	{FIRST_PLUG_RULE, PLUG},
	{FIRST_UNPLUG_RULE, UNPLUG},
	{FIRST_STATE_RULE, STATE},
};

static struct exchange exchange;

/* ---- For the cases ----------------------------------------------------- */

void expect(struct run *r, bool condition, const char *what)
{
	if (!condition && !r->wrong)
		r->wrong = what;
}

uint64_t block_addr(const struct run *r, uint64_t block)
{
	return r->base + block * r->block;
}

static void begin_line(const struct run *r)
{
	answer();
	print("%u ", r->test->number);
}

static void take_config(struct run *r)
{
	memdev_read_sizes(r->m);
	r->base = r->m->config.addr;
	r->block = r->m->config.block_size;
	r->usable = r->m->config.usable_region_size;
	r->region = r->m->config.region_size;
}

static void print_config(struct run *r)
{
	take_config(r);
	print("plugged 0x%lx requested 0x%lx usable 0x%lx\n",
	      r->m->config.plugged_size, r->m->config.requested_size,
	      r->usable);
}

void report(struct run *r, const struct exchange *x)
{
	static const char *const types[] = {"PLUG", "UNPLUG", "UNPLUG_ALL",
					    "STATE"};
	static const char *const states[] = {"PLUGGED", "UNPLUGGED", "MIXED"};
	struct vmem_request request;

	memcpy(&request, x->request, sizeof(request));
	begin_line(r);
	if (request.type < ARRAY_SIZE(types))
		print("%s", types[request.type]);
	else
		print("TYPE_%u", request.type);
	if (request.addr >= r->base)
		print(" +0x%lx", request.addr - r->base);
	else
		print(" -0x%lx", r->base - request.addr);
	print(" %u -> %s", request.nr_blocks, outcome_names[x->outcome]);
	if (request.type == STATE && x->outcome == ACK)
		print(" %s", x->state < ARRAY_SIZE(states) ? states[x->state]
							   : "NONE");
	print(" | ");
	print_config(r);
}

enum outcome send(struct run *r, unsigned int type, uint64_t addr,
		  unsigned int nr_blocks)
{
	memdev_request(r->m, &exchange, type, addr, nr_blocks);
	report(r, &exchange);
	return exchange.outcome;
}

enum outcome send_block(struct run *r, unsigned int type, uint64_t block,
			unsigned int nr_blocks)
{
	return send(r, type, block_addr(r, block), nr_blocks);
}

void must(struct run *r, enum outcome wanted, unsigned int type, uint64_t block,
	  unsigned int nr_blocks)
{
	static const char *const other[NR_OUTCOMES] = {
		"the answer is not ACK",
		"the answer is not NACK",
		"the answer is not BUSY",
		"the answer is not ERROR",
	};

	expect(r, send_block(r, type, block, nr_blocks) == wanted,
	       other[wanted]);
}

void must_state(struct run *r, int state, uint64_t block,
		unsigned int nr_blocks)
{
	static const char *const other[] = {
		"the state is not PLUGGED",
		"the state is not UNPLUGGED",
		"the state is not MIXED",
	};

	expect(r,
	       send_block(r, STATE, block, nr_blocks) == ACK &&
		       exchange.state == state,
	       other[state]);
}

void must_have_plugged(struct run *r, uint64_t nr_blocks)
{
	take_config(r);
	expect(r, r->m->config.plugged_size == nr_blocks * r->block,
	       "plugged_size is not that of the plugged blocks");
}

void request_size(struct run *r, uint64_t nr_blocks)
{
	ask_host("resize", r->m->index, nr_blocks * r->block);
	begin_line(r);
	print("HOST requested_size 0x%lx | ", nr_blocks * r->block);
	print_config(r);
	expect(r, r->m->config.requested_size == nr_blocks * r->block,
	       "requested_size is not what the host set");
}

bool restart(struct run *r, uint64_t features, uint16_t queue_size)
{
	bool started = memdev_start(r->m, features, queue_size);

	begin_line(r);
	print("START features 0x%lx queue %u -> %s | ", features, queue_size,
	      started ? "DRIVER_OK" : "refused");
	print_config(r);
	return started;
}

void prepare(struct run *r, uint64_t requested_blocks)
{
	if (!r->m->running || !r->m->usual ||
	    (virtio_status(&r->m->virtio) & STATUS_NEEDS_RESET))
		memdev_start_usual(r->m);
	take_config(r);
	if (r->m->config.requested_size != requested_blocks * r->block)
		ask_host("resize", r->m->index, requested_blocks * r->block);
	expect(r, unplug_all(r->m) == ACK, "UNPLUG_ALL at the start failed");
	/* Its usable region may have shrunk: what follows starts from here. */
	take_config(r);
}

/* ---- Running ----------------------------------------------------------- */

/* The case with that place in the list of all; false after the last. */
static bool nth_case(unsigned int n, struct test_case *out)
{
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct test_case *c = tables[t]; c->number; c++) {
			if (n-- == 0) {
				*out = *c;
				return true;
			}
		}
	}
	if (n >= nr_range_rules * ARRAY_SIZE(rules))
		return false;
	range_rule_case(rules[n / nr_range_rules].type, n % nr_range_rules,
			out);
	out->number = rules[n / nr_range_rules].first + n % nr_range_rules;
	return true;
}

/* What a system reset left is looked at as it is. */
static bool follows_reset(const struct test_case *test)
{
	for (const struct test_case *c = after_reset_cases; c->number; c++) {
		if (c->number == test->number)
			return true;
	}
	return false;
}

static bool run_case(const struct test_case *test)
{
	struct run r = {.test = test, .m = memdev(0), .param = test->param};

	answer();
	print("CASE %u %s\n", test->number, test->name);
	if (follows_reset(test))
		take_config(&r);
	else
		prepare(&r, USUAL_BLOCKS);
	if (!r.wrong)
		test->run(&r);
	begin_line(&r);
	if (r.wrong)
		print("FAIL %s\n", r.wrong);
	else if (r.skip)
		print("skip %s\n", r.skip);
	else
		print("ok\n");
	return !r.wrong;
}

/* conformance [FIRST [LAST]] */
static int run_cases(char *args)
{
	uint64_t first = number(next_word(&args));
	uint64_t last = number(next_word(&args));
	struct test_case test;
	int failed = 0;

	if (memdev_count() == 0)
		return 19;
	if (last == 0)
		last = first ? first : UINT64_MAX;
	for (unsigned int i = 0; nth_case(i, &test); i++) {
		if (test.number < first || test.number > last ||
		    (follows_reset(&test) && first != test.number))
			continue;
		if (!run_case(&test))
			failed++;
	}
	return failed ? 1 : 0;
}

static int list_cases(char *args)
{
	struct test_case test;

	for (unsigned int i = 0; nth_case(i, &test); i++) {
		answer();
		print("%u|%s|%s|%s\n", test.number, test.name, test.section,
		      test.statement);
	}
	return 0;
}

const struct verb conformance_verbs[] = {
	{"conformance", run_cases, "[FIRST [LAST]]"},
	{"cases", list_cases, "list the conformance cases"},
	{NULL, NULL, NULL},
};
