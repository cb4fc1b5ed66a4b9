/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the driver's files share. Each concern is one file: blocks.c the states
 * of sub-blocks, config.c the configurations and the geometry that follows from
 * them, request.c the requests in flight, sync.c STATE and UNPLUG_ALL, grow.c
 * and shrink.c the two directions, driver.c the public calls.
 */
#ifndef DRIVER_DRIVER_INTERNAL_H
#define DRIVER_DRIVER_INTERNAL_H

#include <vmem/driver.h>

#define REQUEST_SIZE	   24
#define RESPONSE_SIZE	   10
#define MAX_REQUEST_BLOCKS 65535

/* A run of sub-blocks, by number. */
struct sub_run {
	uint64_t first;
	uint64_t nr;
};

/*
 * How the region divides. Sub-blocks count from base, which is aligned to a
 * sub-block; units count from the one that holds base. Without unit ops the
 * outermost units may be cut.
 */
struct geometry {
	uint64_t sub_size;
	uint64_t unit_size;
	uint64_t base; /* address of sub-block 0 */
	uint64_t nr_subs;
	uint64_t nr_units;
	uint64_t first_unit;	 /* base / unit_size */
	uint32_t blocks_per_sub; /* at most 32768 */
};

enum unit_state {
	UNIT_ABSENT,
	UNIT_ADDING, /* unit_add goes on */
	UNIT_PRESENT,
	UNIT_REMOVING, /* unit_remove goes on */
};

struct unit {
	/* Of its sub-blocks, by state: always what the states say. */
	uint32_t counts[VMEM_DRIVER_NR_STATES];
	uint8_t state; /* enum unit_state */
	/* The OS refused; not again before a wait or a change. */
	bool add_refused;
	bool take_refused;
};

/* A request in flight, by tag. */
struct slot {
	bool busy;
	uint16_t type;	    /* enum vmem_request_type */
	uint16_t nr_blocks; /* of STATE, and of UNPLUG while syncing */
	uint64_t block;	    /* its first, counted from the region's start */
	struct sub_run run; /* of PLUG and UNPLUG; nr 0 for a stray */
};

/* A wait after a refusal. */
struct retry {
	uint64_t until;
	uint32_t delay_ms; /* of the last wait; 0: none since a success */
	bool armed;
};

/* How far a scan by STATE has come, in blocks from the region's start. */
struct scan {
	uint64_t pos;
	uint64_t len;	  /* to ask for next: halved where it is MIXED */
	uint16_t stray;	  /* so many blocks at pos are to be unplugged */
	bool in_progress; /* or it begins anew */
};

#define NR_CANDIDATES 32

/* A unit to shrink, and what that costs. */
struct candidate {
	uint64_t unit;
	uint64_t cost;
	uint8_t rank; /* 0: nothing in use, 1: partly plugged, 2: the others */
};

/*
 * Shrinking goes unit by unit: the best candidates are chosen, and each is
 * visited: first all of it at once, if it may go as a whole; then by runs of
 * sub-blocks, from its end to its start.
 */
struct shrink {
	struct candidate candidates[NR_CANDIDATES];
	unsigned int nr_candidates;
	unsigned int next;
	bool visiting;
	bool whole_tried;
	uint64_t unit;	 /* being visited */
	uint64_t cursor; /* sub-blocks from here on were seen */
	uint64_t max_nr; /* in one take_range: halved by a refusal */
	/* The op that is going on: take_range, or unit_remove. */
	bool taking;
	bool taking_whole;
	bool exhausted; /* all refused: wait */
	struct sub_run taken;
};

struct vmem_driver {
	struct vmem_driver_config config; /* defaults filled in */
	struct vmem_config device;	  /* as last read */
	struct geometry geo;
	const struct vmem_driver_ops *ops;
	void *opaque;
	uint64_t features;
	const char *broken;
	enum vmem_driver_phase phase; /* never STOPPED or BROKEN */
	bool stopped;
	bool draining;
	bool config_dirty;
	bool need_sync;	 /* go to SYNCING as soon as that may be */
	bool queue_full; /* submit refused; until a response or a retry */
	bool submitted;	 /* a kick is due */
	bool again;	 /* run() shall be called at once */
	uint64_t now;
	uint64_t next_poll;
	struct retry device_retry;
	struct retry os_retry;
	uint64_t plug_batch; /* most sub-blocks in one PLUG, now */
	struct slot slots[VMEM_DRIVER_MAX_DEPTH];
	unsigned int nr_in_flight;
	struct scan scan;
	struct shrink shrink;
	struct vmem_driver_status count; /* its counters alone */
	uint64_t totals[VMEM_DRIVER_NR_STATES];
	struct unit *units; /* behind the struct */
	uint8_t *states;    /* one a sub-block, behind the units */
};

/* ---- blocks.c ---------------------------------------------------------- */

static inline enum vmem_driver_state drv_state(const struct vmem_driver *drv,
					       uint64_t sub)
{
	/* [any] functions read beside a writer: one whole access. */
	return (enum vmem_driver_state)(
		*(const volatile uint8_t *)&drv->states[sub]);
}

static inline bool drv_state_usable(enum vmem_driver_state state)
{
	return state == VMEM_DRIVER_ADDING || state == VMEM_DRIVER_USED ||
	       state == VMEM_DRIVER_TAKING;
}

/* Set the state of a run, and keep all counts. */
void drv_set(struct vmem_driver *drv, struct sub_run run,
	     enum vmem_driver_state state);

/* Set those of a run that are at `from` to `to`. */
void drv_change(struct vmem_driver *drv, struct sub_run run,
		enum vmem_driver_state from, enum vmem_driver_state to);

/* The first run at `state` in range, of at most max. False: none. */
bool drv_find(const struct vmem_driver *drv, struct sub_run range,
	      enum vmem_driver_state state, uint64_t max, struct sub_run *run);

/* The last run at `state` in range, of at most max. False: none. */
bool drv_find_last(const struct vmem_driver *drv, struct sub_run range,
		   enum vmem_driver_state state, uint64_t max,
		   struct sub_run *run);

uint64_t drv_addr_of(const struct vmem_driver *drv, uint64_t sub);
uint64_t drv_bytes_of(const struct vmem_driver *drv, struct sub_run run);
uint64_t drv_unit_of(const struct vmem_driver *drv, uint64_t sub);
struct sub_run drv_subs_of(const struct vmem_driver *drv, uint64_t unit);
/* Sub-blocks that are plugged and not about to be unplugged. */
uint64_t drv_unit_plugged(const struct unit *unit);
/* Sub-blocks in use, or on the way in or out of it. */
uint64_t drv_unit_usable(const struct unit *unit);

/* ---- config.c ---------------------------------------------------------- */

struct vmem_driver_config drv_defaults(const struct vmem_driver_config *config);
struct geometry drv_geometry(const struct vmem_driver_config *config,
			     const struct vmem_config *device, bool has_units);
bool drv_has_units(const struct vmem_driver *drv);
/* Read the configuration anew, and judge it. False: not now, or broken. */
bool drv_update_config(struct vmem_driver *drv);
/* Sub-blocks, from the first on, that lie wholly in the usable region. */
uint64_t drv_nr_usable_subs(const struct vmem_driver *drv);
/* The size to reach, in sub-blocks: no more than the usable region holds. */
uint64_t drv_target(const struct vmem_driver *drv);

/* ---- request.c --------------------------------------------------------- */

/* Whether a request could be submitted now. */
bool drv_may_submit(const struct vmem_driver *drv);
/* Submit; false if the queue has no room. PLUG and UNPLUG of a run set its
 * state. */
bool drv_submit_run(struct vmem_driver *drv, enum vmem_request_type type,
		    struct sub_run run);
/* The same for blocks whose sub-blocks' state stays as it is. */
bool drv_submit_blocks(struct vmem_driver *drv, enum vmem_request_type type,
		       uint64_t block, uint16_t nr_blocks);
/* Nothing is in flight any more; what was served of it is unknown. */
void drv_forget_requests(struct vmem_driver *drv);

bool drv_waits(const struct vmem_driver *drv, const struct retry *retry);
void drv_refused(struct vmem_driver *drv, struct retry *retry);
void drv_end_wait(struct retry *retry);
/* The next wait is a short one again. */
void drv_succeeded(struct retry *retry);
/* Notify the device of what was submitted. */
void drv_kick(struct vmem_driver *drv);

/* All that was refused may be asked for at once: the world changed. */
void drv_stop_waiting(struct vmem_driver *drv);

/* Stop for good. */
void drv_break(struct vmem_driver *drv, const char *why);

/* ---- sync.c ------------------------------------------------------------ */

void drv_begin_sync(struct vmem_driver *drv);
void drv_sync_step(struct vmem_driver *drv);
void drv_clear_step(struct vmem_driver *drv);
/* What a STATE, a stray's UNPLUG, or an UNPLUG_ALL brought. */
void drv_state_response(struct vmem_driver *drv, const struct slot *slot,
			uint16_t type, uint16_t state);
void drv_stray_response(struct vmem_driver *drv, const struct slot *slot,
			uint16_t type);
void drv_clear_response(struct vmem_driver *drv, uint16_t type);

/* ---- grow.c, shrink.c -------------------------------------------------- */

void drv_grow(struct vmem_driver *drv, uint64_t target);
void drv_added(struct vmem_driver *drv, struct sub_run run, int result);
void drv_unit_added(struct vmem_driver *drv, uint64_t unit, int result);
void drv_shrink(struct vmem_driver *drv, uint64_t surplus);
void drv_taken(struct vmem_driver *drv, int result);
/* Remove a unit of which nothing is plugged. */
void drv_tidy(struct vmem_driver *drv);
bool drv_unit_is_empty(const struct unit *unit);
/* Choose candidates anew: the size changed, or a wait is over. */
void drv_forget_visit(struct vmem_driver *drv);
/* The OS may be asked again for all that it refused. */
void drv_forgive(struct vmem_driver *drv);

#endif
