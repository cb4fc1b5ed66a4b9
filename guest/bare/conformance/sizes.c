// SPDX-License-Identifier: BSD-3-Clause
/* requested_size that changes under the driver, and plugged memory itself. */
#include "case.h"

/* ---- requested_size ---------------------------------------------------- */

static void shrunk_below_plugged(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	request_size(r, 4);
	must_have_plugged(r, USUAL_BLOCKS);
	must_state(r, VMEM_STATE_PLUGGED, 0, USUAL_BLOCKS);
	expect(r, send_block(r, PLUG, USUAL_BLOCKS, 1) != ACK,
	       "plugged above requested_size");
	must(r, ACK, UNPLUG, 4, USUAL_BLOCKS - 4);
	must_have_plugged(r, 4);
	expect(r, send_block(r, PLUG, 4, 1) != ACK,
	       "plugged above requested_size");
}

static void shrunk_to_zero(struct run *r)
{
	must(r, ACK, PLUG, 0, 8);
	request_size(r, 0);
	must_have_plugged(r, 8);
	must_state(r, VMEM_STATE_PLUGGED, 0, 8);
	must(r, ACK, UNPLUG, 0, 8);
	must_have_plugged(r, 0);
}

static void unplug_all_above_requested(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	request_size(r, 1);
	must(r, ACK, UNPLUG_ALL, 0, 0);
	must_have_plugged(r, 0);
	must(r, ACK, PLUG, 0, 1);
}

static void grown(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	request_size(r, 2 * USUAL_BLOCKS);
	must_have_plugged(r, USUAL_BLOCKS);
	must(r, ACK, PLUG, USUAL_BLOCKS, USUAL_BLOCKS);
	must_have_plugged(r, 2 * USUAL_BLOCKS);
}

static void unplug_below_requested(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	must(r, ACK, UNPLUG, 0, USUAL_BLOCKS);
	must_have_plugged(r, 0);
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
}

#define FLIGHT 64

static struct exchange flight[FLIGHT];

/*
 * Requests are in the queue when the host changes requested_size (param: to
 * so many blocks): whichever comes first, each request gets an answer that is
 * right before the change or after it, and the books agree at the end.
 */
static void changed_in_flight(struct run *r)
{
	uint64_t plugged = 0;

	for (unsigned int i = 0; i < FLIGHT; i++) {
		exchange_fill(&flight[i], PLUG, block_addr(r, i), 1);
		exchange_add(r->m, &flight[i]);
	}
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	ask_host("resize", r->m->index, r->param * r->block);
	expect(r, exchange_wait(r->m, flight, FLIGHT),
	       "a request was not answered");
	for (unsigned int i = 0; i < FLIGHT; i++) {
		plugged += flight[i].outcome == ACK;
		expect(r, flight[i].outcome <= NACK,
		       "an answer that neither size explains");
	}
	expect(r,
	       plugged >= (r->param < 32 ? r->param : 32) &&
		       plugged <= (r->param > 32 ? r->param : 32),
	       "more or less was plugged than either size allows");
	must_have_plugged(r, plugged);
}

const struct test_case size_cases[] = {
	{701, "shrunk-below-plugged", "5.15.6",
	 "requested_size below plugged_size unplugs nothing by itself",
	 shrunk_below_plugged, 0},
	{702, "shrunk-to-zero", "5.15.6",
	 "requested_size 0 leaves blocks plugged until they are unplugged",
	 shrunk_to_zero, 0},
	{703, "unplug-all-above-requested", "5.15.6.4",
	 "UNPLUG ALL works above requested_size", unplug_all_above_requested,
	 0},
	{704, "grown", "5.15.6", "What is requested more can be plugged", grown,
	 0},
	{705, "unplug-below-requested", "5.15.6.3",
	 "UNPLUG works below requested_size", unplug_below_requested, 0},
	{706, "shrunk-in-flight", "5.15.6",
	 "requested_size shrinks while requests are in the queue",
	 changed_in_flight, 4},
	{707, "grown-in-flight", "5.15.6",
	 "requested_size grows while requests are in the queue",
	 changed_in_flight, FLIGHT},
	{0},
};

/* ---- Memory ------------------------------------------------------------ */

#define PATTERN UINT64_C(0x0123456789abcdef)

/* First, middle and last word of a block. */
static uint64_t word_of(const struct run *r, uint64_t block, unsigned int i)
{
	return block_addr(r, block) + (i == 0	? 0
				       : i == 1 ? r->block / 2
						: r->block - sizeof(uint64_t));
}

static void fill(struct run *r, uint64_t block, uint64_t seed)
{
	arch_map(block_addr(r, block), r->block);
	for (unsigned int i = 0; i < 3; i++)
		store64(word_of(r, block, i), PATTERN * seed + i);
}

static bool holds(struct run *r, uint64_t block, uint64_t seed)
{
	for (unsigned int i = 0; i < 3; i++) {
		if (load64(word_of(r, block, i)) != PATTERN * seed + i)
			return false;
	}
	return true;
}

static void memory_works(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	for (uint64_t i = 0; i < USUAL_BLOCKS; i++)
		fill(r, i, i);
	for (uint64_t i = 0; i < USUAL_BLOCKS; i++)
		expect(r, holds(r, i, i), "a block does not hold its content");
}

static void run_code(void *arg)
{
	uint64_t *at = arg;

	*at = ((uint64_t(*)(void)) * at)();
}

static void memory_executes(struct run *r)
{
	uint64_t at = r->base + 64, value = at;

	must(r, ACK, PLUG, 0, 1);
	arch_map(r->base, r->block);
	for (const uint8_t *p = arch_probe_code; p < arch_probe_code_end; p++)
		store8(at++, *p);
	expect(r,
	       arch_try(run_code, &value, NULL) && value == ARCH_PROBE_RESULT,
	       "code in plugged memory does not run");
}

static void neighbours_keep(struct run *r)
{
	must(r, ACK, PLUG, 4, 1);
	must(r, ACK, PLUG, 6, 1);
	fill(r, 4, 4);
	fill(r, 6, 6);
	must(r, ACK, PLUG, 5, 1);
	fill(r, 5, 5);
	must(r, ACK, UNPLUG, 5, 1);
	must(r, ACK, PLUG, 3, 1);
	must(r, ACK, UNPLUG, 3, 1);
	expect(r, holds(r, 4, 4) && holds(r, 6, 6),
	       "a plugged block lost its content");
}

static void refusals_keep(struct run *r)
{
	must(r, ACK, PLUG, 0, 2);
	fill(r, 0, 1);
	fill(r, 1, 2);
	must(r, ERROR, PLUG, 0, 1);
	must(r, ERROR, UNPLUG, 1, 2);
	must_state(r, VMEM_STATE_MIXED, 1, 2);
	expect(r, holds(r, 0, 1) && holds(r, 1, 2),
	       "a plugged block lost its content");
}

static void sizes_keep(struct run *r)
{
	must(r, ACK, PLUG, 0, 4);
	fill(r, 3, 3);
	request_size(r, 0);
	request_size(r, 500);
	expect(r, holds(r, 3, 3), "a plugged block lost its content");
}

static void usable_after_replug(struct run *r)
{
	for (uint64_t i = 1; i < 4; i++) {
		must(r, ACK, PLUG, 9, 1);
		fill(r, 9, i);
		expect(r, holds(r, 9, i), "a block plugged again is no memory");
		must(r, ACK, UNPLUG, 9, 1);
	}
}

/* Readable without UNPLUGGED_INACCESSIBLE, whatever is read (5.15.6). */
static void read_unplugged(struct run *r)
{
	if (!restart(r, F_VERSION_1, 0)) {
		r->skip = "the device insists on UNPLUGGED_INACCESSIBLE";
		return;
	}
	arch_map(r->base, r->usable);
	(void)load64(r->base);
	(void)load8(r->base + r->block - 1);
	(void)load64(r->base + r->usable / 2);
	(void)load64(r->base + r->usable - sizeof(uint64_t));
	must(r, ACK, PLUG, 0, 1);
	fill(r, 0, 1);
	expect(r, holds(r, 0, 1), "a block does not hold its content");
}

const struct test_case memory_cases[] = {
	{1001, "memory-works", "5.15.6",
	 "Every plugged block can be read and written", memory_works, 0},
	{1002, "memory-executes", "5.15.6",
	 "Plugged memory has the properties of RAM: code runs in it",
	 memory_executes, 0},
	{1003, "neighbours-keep-content", "5.15.6",
	 "Plugging and unplugging changes no other plugged block",
	 neighbours_keep, 0},
	{1004, "refusals-keep-content", "5.15.6",
	 "A request that is refused changes no plugged block", refusals_keep,
	 0},
	{1005, "sizes-keep-content", "5.15.6",
	 "A change of requested_size changes no plugged block", sizes_keep, 0},
	{1006, "memory-after-replug", "5.15.6.2",
	 "A block that is plugged again is memory again", usable_after_replug,
	 0},
	{1007, "read-unplugged", "5.15.6",
	 "Without UNPLUGGED_INACCESSIBLE unplugged usable memory can be read",
	 read_unplugged, 0},
	{0},
};
