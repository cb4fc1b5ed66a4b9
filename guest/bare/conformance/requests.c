// SPDX-License-Identifier: BSD-3-Clause
/* PLUG, UNPLUG, UNPLUG ALL and STATE (5.15.6.2 to 5.15.6.5). */
#include <string.h>

#include "case.h"

/* ---- Ranges that no request may name ----------------------------------- */

enum anchor {
	REGION_START,
	USABLE_END,
	REGION_END,
	ZERO,
};

/* Blocks and bytes from an anchor; all arithmetic is modulo 2^64. */
static const struct range_rule {
	const char *name;
	enum anchor anchor;
	int64_t blocks;
	int32_t bytes; /* -1: half a block */
	uint32_t nr_blocks;
} range_rules[] = {
	{"zero-blocks", REGION_START, 0, 0, 0},
	{"zero-blocks-outside", USABLE_END, 0, 0, 0},
	{"one-byte-off", REGION_START, 0, 1, 1},
	{"one-page-off", REGION_START, 0, 4096, 1},
	{"half-a-block-off", REGION_START, 0, -1, 1},
	{"one-byte-off-the-last-block", USABLE_END, -1, 1, 1},
	{"block-below-the-region", REGION_START, -1, 0, 1},
	{"across-the-start-of-the-region", REGION_START, -1, 0, 2},
	{"address-zero", ZERO, 0, 0, 1},
	{"block-after-the-usable-region", USABLE_END, 0, 0, 1},
	{"across-the-end-of-the-usable-region", USABLE_END, -1, 0, 2},
	{"more-than-the-usable-region", REGION_START, 0, 0, 0xffff},
	{"last-block-of-the-region", REGION_END, -1, 0, 1},
	{"block-after-the-region", REGION_END, 0, 0, 1},
	{"across-the-end-of-the-region", REGION_END, -1, 0, 2},
	{"last-block-of-the-address-space", ZERO, -1, 0, 1},
	{"wrap-to-zero", ZERO, -1, 0, 2},
	{"wrap-into-the-region", REGION_START, -0xfffe, 0, 0xffff},
	{"half-way-round", ZERO, INT64_MIN / (2 << 20), 0, 1},
	{"half-way-round-and-a-block", ZERO, INT64_MIN / (2 << 20) - 1, 0, 2},
};

const unsigned int nr_range_rules = ARRAY_SIZE(range_rules);

static uint64_t rule_addr(const struct run *r, const struct range_rule *rule)
{
	uint64_t at = rule->anchor == REGION_START ? r->base
		      : rule->anchor == USABLE_END ? r->base + r->usable
		      : rule->anchor == REGION_END ? r->base + r->region
						   : 0;

	at += (uint64_t)rule->blocks * r->block;
	return at + (rule->bytes < 0 ? r->block / 2 : (uint64_t)rule->bytes);
}

/* With half of the blocks plugged, so that only the range is at fault. */
static void refuse_range(struct run *r)
{
	const struct range_rule *rule =
		&range_rules[r->param % ARRAY_SIZE(range_rules)];
	unsigned int type = r->param / ARRAY_SIZE(range_rules);
	uint64_t usable = r->usable;

	must(r, ACK, PLUG, type == PLUG ? 1 : 0, USUAL_BLOCKS / 2);
	expect(r, send(r, type, rule_addr(r, rule), rule->nr_blocks) == ERROR,
	       "the answer is not ERROR");
	must_have_plugged(r, USUAL_BLOCKS / 2);
	expect(r, r->usable == usable, "usable_region_size changed");
}

void range_rule_case(unsigned int type, unsigned int rule,
		     struct test_case *out)
{
	static char name[64];
	static const char *const prefixes[] = {"plug-", "unplug-", "",
					       "state-"};
	static const char *const sections[] = {"5.15.6.2", "5.15.6.3", "",
					       "5.15.6.5"};
	size_t len = 0;

	for (const char *p = prefixes[type]; *p; p++)
		name[len++] = *p;
	for (const char *p = range_rules[rule].name; *p; p++)
		name[len++] = *p;
	name[len] = 0;
	*out = (struct test_case){
		.name = name,
		.section = sections[type],
		.statement = "A range that is empty, misaligned or not wholly "
			     "usable is answered ERROR and changes nothing",
		.run = refuse_range,
		.param = type * nr_range_rules + rule,
	};
}

/* ---- PLUG -------------------------------------------------------------- */

static void plug_first(struct run *r)
{
	must(r, ACK, PLUG, 0, 1);
	must_have_plugged(r, 1);
	must_state(r, VMEM_STATE_PLUGGED, 0, 1);
}

static void plug_last_usable(struct run *r)
{
	uint64_t last = r->usable / r->block - 1;

	must(r, ACK, PLUG, last, 1);
	must_have_plugged(r, 1);
	must_state(r, VMEM_STATE_PLUGGED, last, 1);
}

static void plug_several(struct run *r)
{
	must(r, ACK, PLUG, 3, 5);
	must_have_plugged(r, 5);
	must_state(r, VMEM_STATE_PLUGGED, 3, 5);
	must_state(r, VMEM_STATE_UNPLUGGED, 0, 3);
	must_state(r, VMEM_STATE_UNPLUGGED, 8, 8);
}

static void plug_scattered(struct run *r)
{
	for (uint64_t i = 0; i < 4; i++)
		must(r, ACK, PLUG, 2 * i, 1);
	must_have_plugged(r, 4);
	must_state(r, VMEM_STATE_MIXED, 0, 8);
}

static void plug_to_requested(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	must_have_plugged(r, USUAL_BLOCKS);
}

static void plug_one_more(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	expect(r, send_block(r, PLUG, USUAL_BLOCKS, 1) != ACK,
	       "more than requested was plugged");
	must_have_plugged(r, USUAL_BLOCKS);
	must_state(r, VMEM_STATE_UNPLUGGED, USUAL_BLOCKS, 1);
}

static void plug_too_much_at_once(struct run *r)
{
	expect(r, send_block(r, PLUG, 0, USUAL_BLOCKS + 1) != ACK,
	       "more than requested was plugged");
	must_have_plugged(r, 0);
	must_state(r, VMEM_STATE_UNPLUGGED, 0, USUAL_BLOCKS + 1);
}

static void plug_nothing_requested(struct run *r)
{
	request_size(r, 0);
	expect(r, send_block(r, PLUG, 0, 1) != ACK,
	       "a block was plugged that was not requested");
	must_have_plugged(r, 0);
}

/* param: where in a run of 4 plugged blocks a request of 4 begins, plus 3 */
static void plug_overlapping(struct run *r)
{
	must(r, ACK, PLUG, 8, 4);
	must(r, ERROR, PLUG, 8 + r->param - 3, 4);
	must_have_plugged(r, 4);
	must_state(r, VMEM_STATE_PLUGGED, 8, 4);
	must_state(r, VMEM_STATE_UNPLUGGED, 4, 4);
	must_state(r, VMEM_STATE_UNPLUGGED, 12, 4);
}

static void plug_around_plugged(struct run *r)
{
	must(r, ACK, PLUG, 10, 1);
	must(r, ERROR, PLUG, 8, 5);
	must_have_plugged(r, 1);
	must_state(r, VMEM_STATE_UNPLUGGED, 8, 2);
}

static void plug_plugged_at_limit(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	must(r, ERROR, PLUG, 0, 1);
	must_have_plugged(r, USUAL_BLOCKS);
}

static void plug_65535(struct run *r)
{
	if (r->region / r->block < 0xffff) {
		r->skip = "the region has less than 65535 blocks";
		return;
	}
	request_size(r, 0xffff);
	must(r, ACK, PLUG, 0, 0xffff);
	must_have_plugged(r, 0xffff);
	must_state(r, VMEM_STATE_PLUGGED, 0, 0xffff);
	must(r, ACK, UNPLUG, 0, 0xffff);
	must_have_plugged(r, 0);
}

static void plug_region_end(struct run *r)
{
	uint64_t last = r->region / r->block - 1;

	request_size(r, r->region / r->block);
	expect(r, r->usable == r->region,
	       "the usable region does not fit all that is requested");
	must(r, ACK, PLUG, last, 1);
	must_state(r, VMEM_STATE_PLUGGED, last, 1);
	must(r, ERROR, PLUG, last, 2);
	must_have_plugged(r, 1);
}

static void plug_again(struct run *r)
{
	for (unsigned int i = 0; i < 3; i++) {
		must(r, ACK, PLUG, 5, 2);
		must(r, ACK, UNPLUG, 5, 2);
	}
	must_have_plugged(r, 0);
}

/* Everything in a request that is neither type nor payload is noise. */
static enum outcome send_noisy(struct run *r, unsigned int type, uint64_t block,
			       unsigned int nr_blocks)
{
	static struct exchange x;

	exchange_fill(&x, type, block_addr(r, block), nr_blocks);
	memset(x.request + 2, 0xa5, 6);
	memset(x.request + 18, 0x5a, 6);
	if (type == UNPLUG_ALL)
		memset(x.request + 8, 0xff, 16);
	exchange_add(r->m, &x);
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	exchange_outcome(r->m, &x);
	report(r, &x);
	return x.outcome;
}

static void plug_noise(struct run *r)
{
	expect(r, send_noisy(r, PLUG, 1, 2) == ACK, "the answer is not ACK");
	must_have_plugged(r, 2);
	must_state(r, VMEM_STATE_PLUGGED, 1, 2);
}

static void response_length(struct run *r)
{
	static struct exchange x;

	memdev_request(r->m, &x, r->param, r->base, 1);
	report(r, &x);
	expect(r, x.written == sizeof(struct vmem_response),
	       "the device did not write 10 bytes");
	expect(r, x.response[10] == 0xee, "byte 11 of the buffer changed");
}

const struct test_case plug_cases[] = {
	{301, "plug-first-block", "5.15.6.2",
	 "The first block of the region is plugged, and counted", plug_first,
	 0},
	{302, "plug-last-usable-block", "5.15.6.2",
	 "The last usable block is plugged", plug_last_usable, 0},
	{303, "plug-several", "5.15.6.2",
	 "Consecutive blocks are plugged, and no others", plug_several, 0},
	{304, "plug-scattered", "5.15.6.2",
	 "Blocks may be plugged in any pattern", plug_scattered, 0},
	{305, "plug-to-requested", "5.15.6.2",
	 "Plugging up to requested_size, to the block", plug_to_requested, 0},
	{306, "plug-one-more", "5.15",
	 "At requested_size, a further block is rejected", plug_one_more, 0},
	{307, "plug-too-much-at-once", "5.15",
	 "A request that would exceed requested_size plugs nothing",
	 plug_too_much_at_once, 0},
	{308, "plug-nothing-requested", "5.15",
	 "With requested_size 0 nothing is plugged", plug_nothing_requested, 0},
	{309, "plug-tail-plugged", "5.15.6.2",
	 "The last block asked for is plugged: ERROR, and no change",
	 plug_overlapping, 0},
	{310, "plug-same-again", "5.15.6.2",
	 "All blocks asked for are plugged: ERROR, and no change",
	 plug_overlapping, 3},
	{311, "plug-head-plugged", "5.15.6.2",
	 "The first block asked for is plugged: ERROR, and no change",
	 plug_overlapping, 6},
	{312, "plug-around-plugged", "5.15.6.2",
	 "A block in the middle is plugged: ERROR, and no change",
	 plug_around_plugged, 0},
	{313, "plug-plugged-at-the-limit", "5.15.6.2",
	 "A plugged block is ERROR also where nothing more may be plugged",
	 plug_plugged_at_limit, 0},
	{314, "plug-65535-blocks", "5.15.6.2",
	 "65535 blocks, the most that a request can name", plug_65535, 0},
	{315, "plug-end-of-region", "5.15.6.2",
	 "The region's last block is plugged; nothing beyond it is",
	 plug_region_end, 0},
	{316, "plug-again", "5.15.6.2", "A block is plugged again and again",
	 plug_again, 0},
	{317, "plug-noise", "5.15.6.2",
	 "Padding of PLUG is ignored, whatever it holds", plug_noise, 0},
	{318, "plug-response-length", "5.15.6",
	 "The response to PLUG has 10 bytes", response_length, PLUG},
	{0},
};

/* ---- UNPLUG and UNPLUG ALL --------------------------------------------- */

static void unplug_one(struct run *r)
{
	must(r, ACK, PLUG, 0, 4);
	must(r, ACK, UNPLUG, 0, 1);
	must_have_plugged(r, 3);
	must_state(r, VMEM_STATE_UNPLUGGED, 0, 1);
	must_state(r, VMEM_STATE_PLUGGED, 1, 3);
}

static void unplug_middle(struct run *r)
{
	must(r, ACK, PLUG, 0, 8);
	must(r, ACK, UNPLUG, 3, 2);
	must_have_plugged(r, 6);
	must_state(r, VMEM_STATE_PLUGGED, 0, 3);
	must_state(r, VMEM_STATE_UNPLUGGED, 3, 2);
	must_state(r, VMEM_STATE_PLUGGED, 5, 3);
}

static void unplug_across_plugs(struct run *r)
{
	for (uint64_t i = 0; i < 4; i++)
		must(r, ACK, PLUG, i, 1);
	must(r, ACK, UNPLUG, 0, 4);
	must_have_plugged(r, 0);
}

static void unplug_never_plugged(struct run *r)
{
	must(r, ERROR, UNPLUG, 0, 1);
	must_have_plugged(r, 0);
}

static void unplug_twice(struct run *r)
{
	must(r, ACK, PLUG, 0, 2);
	must(r, ACK, UNPLUG, 0, 2);
	must(r, ERROR, UNPLUG, 0, 2);
	must_have_plugged(r, 0);
}

static void unplug_overlapping(struct run *r)
{
	must(r, ACK, PLUG, 8, 4);
	must(r, ERROR, UNPLUG, 8 + r->param - 3, 4);
	must_have_plugged(r, 4);
	must_state(r, VMEM_STATE_PLUGGED, 8, 4);
}

static void unplug_with_hole(struct run *r)
{
	must(r, ACK, PLUG, 0, 8);
	must(r, ACK, UNPLUG, 4, 1);
	must(r, ERROR, UNPLUG, 0, 8);
	must_have_plugged(r, 7);
}

static void unplug_noise(struct run *r)
{
	must(r, ACK, PLUG, 0, 4);
	expect(r, send_noisy(r, UNPLUG, 1, 2) == ACK, "the answer is not ACK");
	must_have_plugged(r, 2);
}

static void unplug_last_usable(struct run *r)
{
	uint64_t last = r->usable / r->block - 1;

	must(r, ACK, PLUG, last, 1);
	must(r, ACK, UNPLUG, last, 1);
	must_have_plugged(r, 0);
}

/* param: blocks plugged before */
static void unplug_all_ack(struct run *r)
{
	if (r->param)
		must(r, ACK, PLUG, 0, r->param);
	if (r->param > 2)
		must(r, ACK, UNPLUG, 1, 1);
	must(r, ACK, UNPLUG_ALL, 0, 0);
	must_have_plugged(r, 0);
	must_state(r, VMEM_STATE_UNPLUGGED, 0, USUAL_BLOCKS);
}

static void unplug_all_noise(struct run *r)
{
	must(r, ACK, PLUG, 0, 4);
	expect(r, send_noisy(r, UNPLUG_ALL, 0, 0xffff) == ACK,
	       "the answer is not ACK");
	must_have_plugged(r, 0);
}

static void unplug_all_usable(struct run *r)
{
	request_size(r, 4 * USUAL_BLOCKS);
	request_size(r, USUAL_BLOCKS);
	must(r, ACK, UNPLUG_ALL, 0, 0);
	expect(r, r->usable >= r->m->config.requested_size,
	       "usable_region_size is below requested_size");
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
}

static void unplug_all_then_plug(struct run *r)
{
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	must(r, ACK, UNPLUG_ALL, 0, 0);
	must(r, ACK, PLUG, 0, USUAL_BLOCKS);
	must_have_plugged(r, USUAL_BLOCKS);
}

const struct test_case unplug_cases[] = {
	{401, "unplug-one", "5.15.6.3", "One block is unplugged, and counted",
	 unplug_one, 0},
	{402, "unplug-middle", "5.15.6.3",
	 "Blocks amid plugged ones are unplugged, and no others", unplug_middle,
	 0},
	{403, "unplug-across-plugs", "5.15.6.3",
	 "One request unplugs what several plugged", unplug_across_plugs, 0},
	{404, "unplug-never-plugged", "5.15.6.3",
	 "A block that was never plugged: ERROR", unplug_never_plugged, 0},
	{405, "unplug-twice", "5.15.6.3",
	 "Blocks that were unplugged already: ERROR", unplug_twice, 0},
	{406, "unplug-head-unplugged", "5.15.6.3",
	 "All but the last block are unplugged: ERROR, and no change",
	 unplug_overlapping, 0},
	{407, "unplug-tail-unplugged", "5.15.6.3",
	 "All but the first block are unplugged: ERROR, and no change",
	 unplug_overlapping, 6},
	{408, "unplug-with-a-hole", "5.15.6.3",
	 "One block among many is unplugged: ERROR, and no change",
	 unplug_with_hole, 0},
	{409, "unplug-noise", "5.15.6.3",
	 "Padding of UNPLUG is ignored, whatever it holds", unplug_noise, 0},
	{410, "unplug-last-usable-block", "5.15.6.3",
	 "The last usable block is unplugged", unplug_last_usable, 0},
	{411, "unplug-response-length", "5.15.6",
	 "The response to UNPLUG has 10 bytes", response_length, UNPLUG},
	{501, "unplug-all-of-nothing", "5.15.6.4",
	 "UNPLUG ALL with nothing plugged is acknowledged", unplug_all_ack, 0},
	{502, "unplug-all-of-one", "5.15.6.4",
	 "UNPLUG ALL unplugs a block; plugged_size is 0", unplug_all_ack, 1},
	{503, "unplug-all-of-many", "5.15.6.4",
	 "UNPLUG ALL unplugs all, with holes; plugged_size is 0",
	 unplug_all_ack, USUAL_BLOCKS},
	{504, "unplug-all-noise", "5.15.6.4",
	 "All but the type of UNPLUG ALL is ignored", unplug_all_noise, 0},
	{505, "unplug-all-usable-region", "5.15.4",
	 "After UNPLUG ALL the usable region still fits requested_size",
	 unplug_all_usable, 0},
	{506, "unplug-all-then-plug", "5.15.6.4",
	 "After UNPLUG ALL everything can be plugged again",
	 unplug_all_then_plug, 0},
	{507, "unplug-all-response-length", "5.15.6",
	 "The response to UNPLUG ALL has 10 bytes", response_length,
	 UNPLUG_ALL},
	{0},
};

/* ---- STATE ------------------------------------------------------------- */

static void state_of_blocks(struct run *r)
{
	must(r, ACK, PLUG, 4, 4);
	if (r->param == VMEM_STATE_PLUGGED) {
		must_state(r, VMEM_STATE_PLUGGED, 4, 4);
		must_state(r, VMEM_STATE_PLUGGED, 4, 1);
		must_state(r, VMEM_STATE_PLUGGED, 7, 1);
	} else if (r->param == VMEM_STATE_UNPLUGGED) {
		must_state(r, VMEM_STATE_UNPLUGGED, 0, 4);
		must_state(r, VMEM_STATE_UNPLUGGED, 3, 1);
		must_state(r, VMEM_STATE_UNPLUGGED, 8, 4);
	} else {
		must_state(r, VMEM_STATE_MIXED, 3, 2);
		must_state(r, VMEM_STATE_MIXED, 7, 2);
		must_state(r, VMEM_STATE_MIXED, 0, 12);
	}
}

/* One plugged block among unplugged ones, at each place of a word of 64. */
static void state_one_of_many(struct run *r)
{
	static const uint8_t places[] = {0, 1, 31, 32, 62, 63, 64, 65, 127};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		must(r, ACK, PLUG, places[i], 1);
		must_state(r, VMEM_STATE_MIXED, 0, 128);
		must_state(r, VMEM_STATE_PLUGGED, places[i], 1);
		must(r, ACK, UNPLUG, places[i], 1);
		must_state(r, VMEM_STATE_UNPLUGGED, 0, 128);
	}
}

static void state_usable(struct run *r)
{
	unsigned int nr = (unsigned int)(r->usable / r->block);

	must_state(r, VMEM_STATE_UNPLUGGED, 0, nr);
	must(r, ACK, PLUG, nr - 1, 1);
	must_state(r, VMEM_STATE_MIXED, 0, nr);
}

static void state_noise(struct run *r)
{
	must(r, ACK, PLUG, 0, 2);
	expect(r, send_noisy(r, STATE, 0, 2) == ACK, "the answer is not ACK");
}

static void state_changes_nothing(struct run *r)
{
	must(r, ACK, PLUG, 0, 2);
	for (unsigned int i = 0; i < 3; i++)
		must_state(r, VMEM_STATE_MIXED, 0, 4);
	must_have_plugged(r, 2);
	must_state(r, VMEM_STATE_PLUGGED, 0, 2);
}

const struct test_case state_cases[] = {
	{601, "state-plugged", "5.15.6.5", "All blocks plugged: PLUGGED",
	 state_of_blocks, VMEM_STATE_PLUGGED},
	{602, "state-unplugged", "5.15.6.5", "All blocks unplugged: UNPLUGGED",
	 state_of_blocks, VMEM_STATE_UNPLUGGED},
	{603, "state-mixed", "5.15.6.5", "Some of each: MIXED", state_of_blocks,
	 VMEM_STATE_MIXED},
	{604, "state-one-of-many", "5.15.6.5",
	 "One plugged block among 128 makes the state MIXED", state_one_of_many,
	 0},
	{605, "state-of-the-usable-region", "5.15.6.5",
	 "The state of all usable blocks in one request", state_usable, 0},
	{606, "state-noise", "5.15.6.5",
	 "Padding of STATE is ignored, whatever it holds", state_noise, 0},
	{607, "state-changes-nothing", "5.15.6.5", "STATE changes no block",
	 state_changes_nothing, 0},
	{608, "state-response-length", "5.15.6",
	 "The response to STATE has 10 bytes", response_length, STATE},
	{0},
};
