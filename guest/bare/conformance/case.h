/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A conformance case: a numbered statement about a virtio-mem device, and the
 * function that finds out. What a case does is printed as it does it, in a
 * fixed format, addresses relative to the region, so that the transcripts of
 * two VMMs can be compared:
 *
 *   CASE 301 plug-first-block
 *   301 PLUG +0x0 1 -> ACK | plugged 0x200000 requested 0x.. usable 0x..
 *   301 ok
 */
#ifndef BARE_CONFORMANCE_CASE_H
#define BARE_CONFORMANCE_CASE_H

#include "../arch.h"
#include "../memdev.h"
#include "../mmio.h"

/* What every case starts with, unless it asks for something else. */
#define USUAL_BLOCKS 32

struct run {
	const struct test_case *test;
	struct memdev *m;
	unsigned int param;
	/* Of the device, as the case found it. */
	uint64_t base, block, usable, region;
	const char *wrong; /* the first thing that was; NULL if none */
	const char *skip;  /* why there is nothing to find out */
};

struct test_case {
	unsigned int number;
	const char *name;
	const char *section; /* of VIRTIO 1.2 */
	const char *statement;
	void (*run)(struct run *r);
	unsigned int param; /* for functions that serve several cases */
};

/* Tables end with number 0. */
extern const struct test_case config_cases[], feature_cases[], plug_cases[],
	unplug_cases[], state_cases[], size_cases[], queue_cases[],
	reset_cases[], after_reset_cases[], memory_cases[];

/* The rules on a request's range, one case for each type. */
extern const unsigned int nr_range_rules;
void range_rule_case(unsigned int type, unsigned int rule,
		     struct test_case *out);

/* ---- For the cases ----------------------------------------------------- */

/* Note that something is not as it should be; the first of them counts. */
void expect(struct run *r, bool condition, const char *what);

/* requested_size is this, the driver usual, nothing plugged. */
void prepare(struct run *r, uint64_t requested_blocks);
/* Have the host set requested_size. */
void request_size(struct run *r, uint64_t nr_blocks);
/* Start over with these features; skips the case if the device refuses. */
bool restart(struct run *r, uint64_t features, uint16_t queue_size);

/* One request, printed; address by block from the region's start. */
enum outcome send(struct run *r, unsigned int type, uint64_t addr,
		  unsigned int nr_blocks);
enum outcome send_block(struct run *r, unsigned int type, uint64_t block,
			unsigned int nr_blocks);
/* The same, and expect that outcome. */
void must(struct run *r, enum outcome wanted, unsigned int type, uint64_t block,
	  unsigned int nr_blocks);
void must_state(struct run *r, int state, uint64_t block,
		unsigned int nr_blocks);
/* Print what came of an exchange, and the configuration after it. */
void report(struct run *r, const struct exchange *x);
/* plugged_size is so many blocks, now. */
void must_have_plugged(struct run *r, uint64_t nr_blocks);
uint64_t block_addr(const struct run *r, uint64_t block);

#define PLUG	   VMEM_REQ_PLUG
#define UNPLUG	   VMEM_REQ_UNPLUG
#define UNPLUG_ALL VMEM_REQ_UNPLUG_ALL
#define STATE	   VMEM_REQ_STATE

#endif
