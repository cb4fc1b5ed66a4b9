/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two cores in one process: the device core, the driver core, a queue
 * between them, an operating system and a host, each of which can be unwilling.
 *
 * All that happens is a list of steps. A step is a kind and a number; what the
 * number means depends on where things stand, and all chance during a step
 * comes from it. So any step may be left out of a list, and the rest still
 * means something: that is what makes a failing list easy to shorten.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <vmem/device.h>
#include <vmem/driver.h>

#define MAX_BLOCKS 1024
#define MAX_UNITS  (MAX_BLOCKS + 1)

enum step_kind {
	STEP_RUN,	   /* the driver runs */
	STEP_HANDLE,	   /* the device serves a request */
	STEP_DELIVER,	   /* a response reaches the driver */
	STEP_RESIZE,	   /* the operator asks for another size */
	STEP_NOTIFY,	   /* a configuration change is announced */
	STEP_LOSE,	   /* the announcement is lost */
	STEP_TIME,	   /* time passes */
	STEP_OS_DONE,	   /* the OS ends what it began */
	STEP_HOST_MOOD,	   /* the host is out of memory, busy, or well */
	STEP_OS_MOOD,	   /* the OS refuses, takes its time, or is well */
	STEP_QUEUE_MOOD,   /* the queue is full now and then, or never */
	STEP_ERROR,	   /* the device answers ERROR, and does nothing */
	STEP_DEVICE_RESET, /* and requests in flight are gone */
	STEP_DEVICE_READY,
	STEP_SYSTEM_RESET, /* the machine starts anew */
	STEP_KEXEC,	   /* another driver, perhaps of another OS */
	STEP_DRAIN,	   /* on or off */
	STEP_UNPLUG_ALL,
	STEP_BOGUS,   /* responses and ends that belong to nothing */
	STEP_USAGE,   /* the OS fills and empties its units */
	STEP_QUIESCE, /* all are well, and come to rest */
	NR_STEP_KINDS,
};

struct step {
	enum step_kind kind;
	uint64_t number;
};

const char *step_name(enum step_kind kind);

struct request {
	unsigned int tag;
	uint8_t bytes[24];
	bool served;
	uint8_t response[10];
	uint64_t version; /* of the sizes the driver knew when it sent it */
};

enum op {
	OP_ADD,
	OP_TAKE,
	OP_UNIT_ADD,
	OP_UNIT_REMOVE
};

struct later {
	enum op op;
	uint64_t addr, size;
};

/* How likely it is, in 16ths. */
struct mood {
	unsigned int refuses, later;
};

struct world {
	uint64_t random;
	struct vmem_device_config device_config;
	struct vmem_driver_config driver_config;
	bool has_units;
	struct vmem_device *dev;
	struct vmem_driver *drv;
	void *dev_storage, *drv_storage;
	uint64_t now;

	/* The queue. */
	struct request queue[VMEM_DRIVER_MAX_DEPTH];
	unsigned int nr_queued;
	unsigned int queue_full; /* 16ths */
	bool stopped;		 /* the device is in reset */
	bool draining;

	/* Sizes: their version, and what the driver read of them. */
	uint64_t version, read_version, read_requested;
	bool notification_due, meddling;
	int host_result;
	unsigned int host_fails; /* 16ths */

	/* What is in memory, and what the OS wrote where it uses it. */
	bool used[MAX_BLOCKS];
	uint64_t content[MAX_BLOCKS], written[MAX_BLOCKS];
	bool there[MAX_UNITS];
	uint64_t usage[MAX_UNITS];
	struct later later[MAX_UNITS];
	unsigned int nr_later;
	struct mood os_mood;

	/* Counted over all of a run. */
	uint64_t nr_requests, nr_syncs;
	char failure[256]; /* empty: none */
};

void fail(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

uint64_t draw(struct world *world, uint64_t bound);
bool chance(struct world *world, unsigned int sixteenths);

/* Blocks of the region, by number. */
uint64_t nr_blocks(const struct world *world);
uint64_t addr_of(const struct world *world, uint64_t block);
uint64_t block_of(const struct world *world, uint64_t addr);

/* ---- world.c ----------------------------------------------------------- */

/* A world whose sizes follow from the seed. False: out of memory. */
void world_create(struct world *world, uint64_t seed);
void world_destroy(struct world *world);
/* One step, and the checks after it. */
void world_step(struct world *world, const struct step *step);

/* ---- guest.c: the OS, and the queue's driver end ----------------------- */

/* A new driver, with nothing of the OS's in use. */
void guest_boot(struct world *world, enum vmem_driver_start start);
void guest_op_ends(struct world *world, unsigned int which, bool well);

/* ---- host.c: the VMM, and the queue's device end ----------------------- */

void host_create_device(struct world *world);
void host_serve(struct world *world, unsigned int which);
void host_resize(struct world *world);

/* ---- check.c ----------------------------------------------------------- */

/* What holds at any moment. */
void check_always(struct world *world);
/* Let all come to rest, and check that they are of one mind. */
void check_at_rest(struct world *world);

#endif
