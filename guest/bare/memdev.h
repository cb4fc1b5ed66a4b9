/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio-mem device as the tests use it: raw requests, and its memory. */
#ifndef BARE_MEMDEV_H
#define BARE_MEMDEV_H

#include <vmem/abi.h>

#include "bare.h"
#include "virtio.h"

#define MEMDEV_MAX     4
#define F_PXM	       (UINT64_C(1) << VMEM_F_ACPI_PXM)
#define F_INACCESSIBLE (UINT64_C(1) << VMEM_F_UNPLUGGED_INACCESSIBLE)
#define F_SUSPEND      (UINT64_C(1) << VMEM_F_PERSISTENT_SUSPEND)

/* What came of a request: a response type, or one of these. */
enum outcome {
	ACK = VMEM_RESP_ACK,
	NACK = VMEM_RESP_NACK,
	BUSY = VMEM_RESP_BUSY,
	ERROR = VMEM_RESP_ERROR,
	OTHER,	     /* a type that there is not */
	NEEDS_RESET, /* no response: the device asks for a reset */
	SILENCE,     /* nothing in a long time */
	NR_OUTCOMES,
};

extern const char *const outcome_names[NR_OUTCOMES];

/* A buffer for one request, with room for what is wrong with it. */
struct exchange {
	uint8_t request[64];
	uint8_t response[64];
	uint16_t id;
	uint32_t written; /* bytes, as the device says */
	enum outcome outcome;
	uint16_t state;
};

struct memdev {
	struct virtio virtio;
	struct queue queue;
	uint64_t features;	   /* negotiated */
	struct vmem_config config; /* as read last; addr and the like */
	unsigned int index;
	/* Where the next start puts areas of the queue; 0: where they belong */
	uint64_t elsewhere[NR_AREAS];
	bool running; /* DRIVER_OK */
	bool usual;   /* by memdev_start_usual() */
};

/* Find the machine's devices, and let them have the bus. None runs then: at the
 * start, and when the machine has slept. */
void memdevs_find(void);
unsigned int memdev_count(void);
struct memdev *memdev(unsigned int index);

/* Read the whole configuration space, consistently (2.5.1). */
void memdev_read_config(struct memdev *m);
/* The three sizes in it that change. */
void memdev_read_sizes(struct memdev *m);

/*
 * Reset and start over, with those of features that are offered, up to
 * DRIVER_OK. False if the device does not accept them. queue_size 0: the
 * largest.
 */
bool memdev_start(struct memdev *m, uint64_t features, uint16_t queue_size);
/* With all the features that a usual driver wants. */
bool memdev_start_usual(struct memdev *m);
/* Up to, and without, DRIVER_OK. */
bool memdev_start_halfway(struct memdev *m, uint64_t features,
			  uint16_t queue_size);

/* ---- Requests ---------------------------------------------------------- */

void exchange_fill(struct exchange *x, unsigned int type, uint64_t addr,
		   unsigned int nr_blocks);
/* Add to the queue, in two pieces: 24 and 10 bytes. */
void exchange_add(struct memdev *m, struct exchange *x);
/* Wait for nr exchanges that were added in this order. */
bool exchange_wait(struct memdev *m, struct exchange *x, unsigned int nr);
/* Fill, add, show, kick, wait. */
enum outcome memdev_request(struct memdev *m, struct exchange *x,
			    unsigned int type, uint64_t addr,
			    unsigned int nr_blocks);
/* The same where only what came of it matters. */
enum outcome plug(struct memdev *m, uint64_t addr, unsigned int nr_blocks);
enum outcome unplug(struct memdev *m, uint64_t addr, unsigned int nr_blocks);
enum outcome unplug_all(struct memdev *m);
/* VMEM_STATE_*, or -1. */
int state_of(struct memdev *m, uint64_t addr, unsigned int nr_blocks);

/* Wait until the response to x is there, or there will be none. */
enum outcome exchange_outcome(struct memdev *m, struct exchange *x);

#endif
