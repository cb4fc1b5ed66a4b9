/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fence around guest memory that nobody may touch: the blocks of a backend
 * that are not plugged. A touch of such a block, by a vCPU, by KVM on its
 * behalf, or by this process, is held before a page comes into being and
 * reported here (userfaultfd, missing mode). Blocks that are open cost nothing:
 * they are no part of it.
 *
 * Blocks are open or closed; opening and closing changes no page and no page
 * table, it takes microseconds. Each border between what is fenced and what is
 * not costs the kernel a mapping (VMA), of which a process may have a bounded
 * number. Beyond a budget, blocks that are opened stay fenced, and whoever
 * handles faults lets the touch of such a block pass (fence_let_pass()): that
 * costs one fault a block, and is just as correct. Huge page pools are fenced
 * always: their open blocks are populated, and what is there never faults.
 *
 * Threads: add and destroy from one thread; the rest from any.
 * System calls used after start: ioctl on the userfaultfd (register,
 * unregister, wake), mprotect, fallocate, read and poll of it by its reader;
 * for fence_renew() those of hostmem_renew().
 */
#ifndef HOST_FENCE_H
#define HOST_FENCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "hostmem.h"

/* One backend inside the fence. */
struct fence_region {
	struct hostmem *mem;
	uint64_t block_bytes;
	uint64_t nr_blocks;
	uint8_t *blocks; /* BLOCK_* of each; all of them 0 at first */
	bool keep;	 /* fenced even where it is open */
	bool lowered;
};

struct fence {
	int fd; /* the userfaultfd; -1: none */

	pthread_mutex_t lock; /* guards what follows, and blocks of regions */
	unsigned int nr_mappings, max_mappings; /* used, and to be used */
};

/* A touch that is being held. */
struct fence_fault {
	uint64_t address; /* in this process */
	bool write;	  /* KVM's own worker threads always say so */
	int tid;	  /* who is held */
};

/* Get a userfaultfd that holds the kernel's accesses, too. -EPERM with what
 * the administrator can do. */
int fence_create(struct fence *fence, struct error *err);
void fence_destroy(struct fence *fence);

/* Put all of a backend inside the fence, all blocks closed. block_bytes is a
 * multiple of its page size and divides its size. */
int fence_add(struct fence *fence, struct fence_region *region,
	      struct hostmem *mem, uint64_t block_bytes, struct error *err);
/* Free what the region holds; its backend's mapping may be gone already. */
void fence_region_destroy(struct fence_region *region);

/* Open the blocks of [offset, offset + size), before anyone is told that they
 * may be touched. Whoever is held there goes on; a touch at the same time may
 * still be reported: it is for fence_let_pass(). */
void fence_open(struct fence *fence, struct fence_region *region,
		uint64_t offset, uint64_t size);

/* The same, but for now each touch is reported, and for fence_let_pass():
 * fence_open() of them, which takes longer, may then wait until it is no hurry.
 */
void fence_allow(struct fence *fence, struct fence_region *region,
		 uint64_t offset, uint64_t size);

/* Close them, before their pages are discarded. A touch that is under way
 * when this returns leaves no page behind that a discard then misses.
 * -ENOMEM: the kernel has no mapping for it; nothing changed. */
int fence_close(struct fence *fence, struct fence_region *region,
		uint64_t offset, uint64_t size);

/* The same, and let nobody touch them at all until fence_discarded(): what is
 * in them may then be discarded after the guest has heard that they are
 * unplugged. All of them are open, of a region that is neither lowered nor
 * kept. */
int fence_close_shut(struct fence *fence, struct fence_region *region,
		     uint64_t offset, uint64_t size);
int fence_discarded(struct fence *fence, struct fence_region *region,
		    uint64_t offset, uint64_t size);

/* Close all blocks and put fresh memory in the place of what they hold
 * (hostmem_renew()). No vCPU runs, and no device accesses guest memory. After
 * an error the backend cannot be used. */
int fence_renew(struct fence *fence, struct fence_region *region);

/* Hold nobody any more, until it is raised again. Blocks are opened and closed
 * as before meanwhile. */
void fence_lower(struct fence *fence, struct fence_region *region);
/* Hold who touches a closed block from now on, and discard what the closed
 * blocks got meanwhile. After an error it is still lowered. */
int fence_raise(struct fence *fence, struct fence_region *region);

/* Whether all blocks that [offset, offset + size) touches are open. */
bool fence_is_open(struct fence *fence, const struct fence_region *region,
		   uint64_t offset, uint64_t size);

/* Whether one of them may not be touched by anybody. */
bool fence_is_shut(struct fence *fence, const struct fence_region *region,
		   uint64_t offset, uint64_t size);

/* The next touch that is held. 1: there is one. 0: none now (the fd is
 * non-blocking: poll it). Negative: an errno value. */
int fence_next(struct fence *fence, struct fence_fault *fault);

/*
 * Let a touch of the open block at offset pass. What it needs comes into
 * being. -ENOMEM: the host has nothing; the touch is tried again.
 */
int fence_let_pass(struct fence *fence, struct fence_region *region,
		   uint64_t offset);

/* Make the closed block at offset fail all that touch it (EFAULT for the
 * kernel, SIGSEGV for us), those who are held included. */
int fence_shut(struct fence *fence, struct fence_region *region,
	       uint64_t offset);
/* Back to what it was. */
int fence_unshut(struct fence *fence, struct fence_region *region,
		 uint64_t offset);

#endif
