// SPDX-License-Identifier: BSD-3-Clause
/*
 * How requests may lie in the queue (2.7, 2.8): cut in every way, many at a
 * time, in rings of both kinds; and buffers that no driver may make, which
 * must do no harm.
 */
#include <string.h>

#include "case.h"

#define MAX_FLIGHT 128
#define MAX_PIECES 40
#define SETTLE_US  3000000

static struct exchange flight[MAX_FLIGHT];
static struct virtq_desc table[MAX_PIECES] __attribute__((aligned(16)));

/* ---- Cut buffers ------------------------------------------------------- */

enum mode {
	SPLIT,
	SPLIT_INDIRECT,
	PACKED,
	PACKED_INDIRECT,
};

/* Lengths of the pieces, as they follow; the last one is repeated. */
static const struct {
	uint8_t request[4], response[4];
} cuts[] = {
	{{24}, {10}},	   {{1, 23}, {10}},   {{23, 1}, {10}},
	{{8, 8, 8}, {10}}, {{2, 22}, {2, 8}}, {{16, 8}, {1, 9}},
	{{24}, {9, 1}},	   {{1}, {1}},
};

static unsigned int cut(struct piece *pieces, const uint8_t *lengths,
			uint64_t addr, unsigned int total, bool write)
{
	unsigned int nr = 0, at = 0;

	while (at < total) {
		uint8_t len = lengths[nr < 4 && lengths[nr] ? nr : 0];

		pieces[nr++] = (struct piece){addr + at, len, write};
		at += len;
	}
	return nr;
}

static bool start_mode(struct run *r, enum mode mode, uint16_t size)
{
	uint64_t wanted = 0;

	if (mode == SPLIT_INDIRECT || mode == PACKED_INDIRECT)
		wanted |= F_INDIRECT;
	if (mode == PACKED || mode == PACKED_INDIRECT)
		wanted |= F_PACKED;
	if ((virtio_offered(&r->m->virtio) & wanted) != wanted) {
		r->skip = "the feature is not offered";
		return false;
	}
	expect(r, restart(r, F_VERSION_1 | F_INACCESSIBLE | wanted, size),
	       "the device does not start");
	return !r->wrong;
}

/* param: which cut, and the mode times 256 */
static void cut_buffers(struct run *r)
{
	static const unsigned int types[] = {PLUG, STATE, UNPLUG};
	unsigned int which = r->param % 256;
	enum mode mode = r->param / 256;
	struct exchange *x = &flight[0];
	struct piece pieces[MAX_PIECES];

	if (!start_mode(r, mode, 0))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		unsigned int nr;

		exchange_fill(x, types[i], r->base, 2);
		nr = cut(pieces, cuts[which].request, (uint64_t)x->request, 24,
			 false);
		nr += cut(pieces + nr, cuts[which].response,
			  (uint64_t)x->response, 10, true);
		x->id = queue_add(&r->m->queue, pieces, nr,
				  mode == SPLIT_INDIRECT ||
						  mode == PACKED_INDIRECT
					  ? (uint64_t)table
					  : 0);
		queue_show(&r->m->queue);
		queue_kick(&r->m->queue);
		exchange_outcome(r->m, x);
		report(r, x);
		expect(r, x->outcome == ACK && x->state == 0,
		       "the answer is not ACK");
		expect(r, x->written == 10, "not 10 bytes were written");
	}
	must_have_plugged(r, 0);
}

static void long_buffers(struct run *r)
{
	struct exchange *x = &flight[0];
	const struct piece pieces[] = {
		{(uint64_t)x->request, sizeof(x->request), false},
		{(uint64_t)x->response, sizeof(x->response), true},
	};

	exchange_fill(x, PLUG, r->base, 3);
	memset(x->request + 24, 0xff, sizeof(x->request) - 24);
	x->id = queue_add(&r->m->queue, pieces, 2, 0);
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	exchange_outcome(r->m, x);
	report(r, x);
	expect(r, x->outcome == ACK, "the answer is not ACK");
	expect(r, x->written == 10, "not 10 bytes were written");
	must_have_plugged(r, 3);
}

/* ---- Many at a time ---------------------------------------------------- */

static void add_flight(struct run *r, unsigned int i, unsigned int type,
		       uint64_t block, unsigned int nr)
{
	exchange_fill(&flight[i], type, block_addr(r, block), nr);
	exchange_add(r->m, &flight[i]);
}

/* Show all, wait for all, print all; the answers are in the same order. */
static void fly(struct run *r, unsigned int nr)
{
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	expect(r, exchange_wait(r->m, flight, nr),
	       "not all were answered, each in its turn");
	for (unsigned int i = 0; i < nr; i++)
		report(r, &flight[i]);
}

static void many(struct run *r)
{
	for (unsigned int i = 0; i < 32; i++)
		add_flight(r, i, PLUG, i, 1);
	fly(r, 32);
	for (unsigned int i = 0; i < 32; i++)
		expect(r, flight[i].outcome == ACK, "the answer is not ACK");
	must_have_plugged(r, 32);
}

/* As many as there is room for: VMMs differ, so they are not printed. */
static void full_queue(struct run *r)
{
	unsigned int nr = r->m->queue.size / 2U;

	if (nr > MAX_FLIGHT)
		nr = MAX_FLIGHT;
	for (unsigned int i = 0; i < nr; i++)
		add_flight(r, i, i % 2 ? UNPLUG : PLUG, 7, 1);
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	expect(r, exchange_wait(r->m, flight, nr),
	       "not all were answered, each in its turn");
	for (unsigned int i = 0; i < nr; i++)
		expect(r, flight[i].outcome == ACK, "the answer is not ACK");
	must_have_plugged(r, 0);
}

static void same_twice(struct run *r)
{
	add_flight(r, 0, PLUG, 5, 1);
	add_flight(r, 1, PLUG, 5, 1);
	add_flight(r, 2, UNPLUG, 5, 1);
	add_flight(r, 3, UNPLUG, 5, 1);
	fly(r, 4);
	expect(r,
	       flight[0].outcome == ACK && flight[1].outcome == ERROR &&
		       flight[2].outcome == ACK && flight[3].outcome == ERROR,
	       "not ACK, ERROR, ACK, ERROR");
}

static void across_requested(struct run *r)
{
	for (unsigned int i = 0; i < 6; i++)
		add_flight(r, i, PLUG, 8ULL * i, 8);
	fly(r, 6);
	for (unsigned int i = 0; i < 6; i++)
		expect(r, (flight[i].outcome == ACK) == (i < 4),
		       "not the first four were plugged");
	must_have_plugged(r, 32);
}

static void unplug_all_amid(struct run *r)
{
	add_flight(r, 0, PLUG, 0, 8);
	add_flight(r, 1, UNPLUG_ALL, 0, 0);
	add_flight(r, 2, STATE, 0, 8);
	add_flight(r, 3, PLUG, 4, 8);
	fly(r, 4);
	expect(r,
	       flight[2].outcome == ACK &&
		       flight[2].state == VMEM_STATE_UNPLUGGED,
	       "not UNPLUGGED after UNPLUG ALL");
	must_have_plugged(r, 8);
}

/* param: mode. More requests than a small ring has entries, many times. */
static void ring_wraps(struct run *r)
{
	if (!start_mode(r, (enum mode)r->param, 8))
		return;
	for (unsigned int i = 0; i < 50 && !r->wrong; i++) {
		expect(r, plug(r->m, r->base, 1) == ACK, "PLUG: not ACK");
		expect(r, unplug(r->m, r->base, 1) == ACK, "UNPLUG: not ACK");
	}
	/* Three at a time do not end where the ring does. */
	for (unsigned int i = 0; i < 20 && !r->wrong; i++) {
		for (unsigned int k = 0; k < 3; k++)
			add_flight(r, k, STATE, k, 1);
		queue_show(&r->m->queue);
		queue_kick(&r->m->queue);
		expect(r, exchange_wait(r->m, flight, 3),
		       "not all were answered");
	}
	must_have_plugged(r, 0);
}

static void empty_kick(struct run *r)
{
	for (unsigned int i = 0; i < 10; i++)
		queue_kick(&r->m->queue);
	must(r, ACK, PLUG, 0, 1);
	expect(r, !(virtio_status(&r->m->virtio) & STATUS_NEEDS_RESET),
	       "the device asks for a reset");
}

static void queue_interrupt(struct run *r)
{
	virtio_isr(&r->m->virtio);
	must(r, ACK, PLUG, 0, 1);
	expect(r, virtio_isr(&r->m->virtio) & ISR_QUEUE,
	       "the ISR status does not tell of the used buffer");
	expect(r, !(virtio_isr(&r->m->virtio) & ISR_QUEUE),
	       "reading the ISR status does not clear it");
}

/* ---- What no driver may do --------------------------------------------- */

enum fault {
	SHORT_RESPONSE,
	NO_RESPONSE,
	SHORT_REQUEST,
	NO_REQUEST,
	RESPONSE_FIRST,
	EMPTY_BUFFER,
	OUTSIDE_MEMORY,
	END_OF_ADDRESSES,
	LOOP,
	HEAD_TOO_LARGE,
	INDEX_TOO_FAR,
	TABLE_UNEVEN,
	TABLE_EMPTY,
	TABLE_IN_TABLE,
	TABLE_AND_NEXT,
	TABLE_OUTSIDE,
};

static unsigned int bad_pieces(struct exchange *x, enum fault fault,
			       struct piece *p)
{
	p[0] = (struct piece){(uint64_t)x->request, 24, false};
	p[1] = (struct piece){(uint64_t)x->response, 10, true};
	switch ((unsigned int)fault) {
	case SHORT_RESPONSE:
		p[1].len = 9;
		return 2;
	case NO_RESPONSE:
		return 1;
	case SHORT_REQUEST:
		p[0].len = 23;
		return 2;
	case NO_REQUEST:
		p[0] = p[1];
		return 1;
	case RESPONSE_FIRST:
		p[0].write = true;
		p[1].write = false;
		return 2;
	case EMPTY_BUFFER:
		p[0].len = p[1].len = 0;
		return 2;
	case OUTSIDE_MEMORY:
		p[0].addr = UINT64_C(0xfff000000000);
		return 2;
	case END_OF_ADDRESSES:
		p[1].addr = UINT64_MAX - 4;
		return 2;
	default:
		return 2;
	}
}

/* Faults that are in the ring, made in one that is right. */
static void spoil_ring(struct queue *q, enum fault fault)
{
	uint64_t first = q->desc;

	switch ((unsigned int)fault) {
	case LOOP:
		store16(first + 16 + 12, DESC_NEXT);
		store16(first + 16 + 14, 0);
		store16(first + 12, DESC_NEXT);
		break;
	case HEAD_TOO_LARGE:
		store16(q->driver + 4, q->size);
		break;
	case INDEX_TOO_FAR:
		q->avail = (uint16_t)(q->avail + q->size + 1);
		break;
	case TABLE_UNEVEN:
		store32(first + 8, 33);
		break;
	case TABLE_EMPTY:
		store32(first + 8, 0);
		break;
	case TABLE_IN_TABLE:
		table[0].flags |= DESC_INDIRECT;
		break;
	case TABLE_AND_NEXT:
		store16(first + 12, DESC_INDIRECT | DESC_NEXT);
		store16(first + 14, 1);
		break;
	case TABLE_OUTSIDE:
		store64(first, UINT64_C(0xfff000000000));
		break;
	default:
		break;
	}
}

/* Until something came of the buffer; SILENCE if nothing does. */
static const char *settle(const struct memdev *m)
{
	uint64_t until = arch_now_us() + SETTLE_US;

	while (arch_now_us() < until) {
		if (virtio_status(&m->virtio) & STATUS_NEEDS_RESET)
			return "NEEDS_RESET";
		if (load16(m->queue.device_area + 2) != 0)
			return "used";
	}
	return "SILENCE";
}

/* Nothing is plugged but perhaps what the buffer asked for, no memory is
 * written that is not the buffer's, and a reset makes all well. */
static void bad_buffer(struct run *r)
{
	enum fault fault = (enum fault)r->param;
	struct exchange *x = &flight[0];
	struct piece pieces[2];
	unsigned int nr;

	if (!start_mode(r, SPLIT_INDIRECT, 0))
		return;
	exchange_fill(x, STATE, r->base, 1);
	nr = bad_pieces(x, fault, pieces);
	x->id = queue_add(&r->m->queue, pieces, nr,
			  fault >= TABLE_UNEVEN ? (uint64_t)table : 0);
	spoil_ring(&r->m->queue, fault);
	queue_show(&r->m->queue);
	queue_kick(&r->m->queue);
	answer();
	print("%u BAD -> %s\n", r->test->number, settle(r->m));
	must_have_plugged(r, 0);
	if (fault == SHORT_RESPONSE)
		expect(r, x->response[9] == 0xee,
		       "a byte behind the buffer was written");
	expect(r, restart(r, F_VERSION_1 | F_INACCESSIBLE, 0),
	       "the device does not start again");
	must(r, ACK, PLUG, 0, 1);
}

/* param: the type. The specification has no rule. */
static void unknown_type(struct run *r)
{
	enum outcome outcome;

	must(r, ACK, PLUG, 0, 2);
	outcome = send_block(r, r->param, 0, 1);
	expect(r, outcome == ERROR || outcome == NEEDS_RESET,
	       "neither ERROR nor a request for a reset");
	expect(r, restart(r, F_VERSION_1 | F_INACCESSIBLE, 0),
	       "the device does not start again");
	must_have_plugged(r, 2);
	must(r, ACK, UNPLUG, 0, 2);
}

#define CUT(number, name, which, mode)                                         \
	{                                                                      \
		number, name, "2.7.4.2",                                       \
			"A request counts by its bytes, however buffers are "  \
			"cut",                                                 \
			cut_buffers, (mode)*256 + (which)                      \
	}
#define CUTS(number, mode_name, mode)                                          \
	CUT(number, mode_name "-24-10", 0, mode),                              \
		CUT(number + 1, mode_name "-1-23-10", 1, mode),                \
		CUT(number + 2, mode_name "-23-1-10", 2, mode),                \
		CUT(number + 3, mode_name "-8-8-8-10", 3, mode),               \
		CUT(number + 4, mode_name "-2-22-2-8", 4, mode),               \
		CUT(number + 5, mode_name "-16-8-1-9", 5, mode),               \
		CUT(number + 6, mode_name "-24-9-1", 6, mode),                 \
		CUT(number + 7, mode_name "-every-byte", 7, mode)
#define BAD(number, name, section, what, fault)                                \
	{                                                                      \
		number, name, section,                                         \
			what ": no harm is done, and a reset makes all well",  \
			bad_buffer, fault                                      \
	}

const struct test_case queue_cases[] = {
	CUTS(801, "split", SPLIT),
	CUTS(811, "indirect", SPLIT_INDIRECT),
	CUTS(821, "packed", PACKED),
	CUTS(831, "packed-indirect", PACKED_INDIRECT),
	{841, "long-buffers", "5.15.6",
	 "Bytes after the 24 of a request, and room after the 10 of a "
	 "response, do not matter",
	 long_buffers, 0},
	{842, "many-at-once", "5.15.6",
	 "Requests that are in the queue together are all served", many, 0},
	{843, "full-queue", "2.7", "A queue without a free entry is served",
	 full_queue, 0},
	{844, "same-twice", "5.15.6.2",
	 "Requests in the queue see what those before them did", same_twice, 0},
	{845, "across-requested", "5.15",
	 "Requests in the queue are counted against requested_size in turn",
	 across_requested, 0},
	{846, "unplug-all-amid-others", "5.15.6.4",
	 "UNPLUG ALL among others unplugs what those before it plugged",
	 unplug_all_amid, 0},
	{847, "split-wraps", "2.7", "A split ring that wraps", ring_wraps,
	 SPLIT},
	{848, "packed-wraps", "2.8", "A packed ring that wraps", ring_wraps,
	 PACKED},
	{849, "empty-kick", "2.9.4", "A notification for nothing does no harm",
	 empty_kick, 0},
	{850, "queue-interrupt", "4.1.4.5",
	 "A used buffer shows in the ISR status, until that is read",
	 queue_interrupt, 0},
	BAD(861, "short-response", "5.15.6", "A response of 9 bytes",
	    SHORT_RESPONSE),
	BAD(862, "no-response", "5.15.6", "No place for a response",
	    NO_RESPONSE),
	BAD(863, "short-request", "5.15.6", "A request of 23 bytes",
	    SHORT_REQUEST),
	BAD(864, "no-request", "5.15.6", "A response without a request",
	    NO_REQUEST),
	BAD(865, "response-first", "2.7.4.2", "Writable before readable",
	    RESPONSE_FIRST),
	BAD(866, "empty-buffer", "5.15.6", "A buffer of no bytes",
	    EMPTY_BUFFER),
	BAD(867, "outside-memory", "2.7", "A request outside of memory",
	    OUTSIDE_MEMORY),
	BAD(868, "end-of-addresses", "2.7",
	    "A response across the end of the address space", END_OF_ADDRESSES),
	BAD(869, "loop", "2.7.5.1", "A chain that loops", LOOP),
	BAD(870, "head-too-large", "2.7.6",
	    "A chain that begins beyond the table", HEAD_TOO_LARGE),
	BAD(871, "index-too-far", "2.7.6",
	    "More buffers made available than there are entries",
	    INDEX_TOO_FAR),
	BAD(872, "table-uneven", "2.7.5.3",
	    "An indirect table that ends within a descriptor", TABLE_UNEVEN),
	BAD(873, "table-empty", "2.7.5.3", "An empty indirect table",
	    TABLE_EMPTY),
	BAD(874, "table-in-table", "2.7.5.3",
	    "An indirect table inside an indirect table", TABLE_IN_TABLE),
	BAD(875, "table-and-next", "2.7.5.3",
	    "An indirect descriptor with a successor", TABLE_AND_NEXT),
	BAD(876, "table-outside-memory", "2.7.5.3",
	    "An indirect table outside of memory", TABLE_OUTSIDE),
	{881, "unknown-type-4", "5.15.6",
	 "The first type that there is not: ERROR or a request for a reset",
	 unknown_type, 4},
	{882, "unknown-type-65535", "5.15.6",
	 "The last type that there is not: ERROR or a request for a reset",
	 unknown_type, 0xffff},
	{0},
};
