/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the host that backs guest memory: one backend for each boot node
 * and each elastic device.
 *
 * A backend is a file in memory (a memfd, or a file of a tmpfs that has huge
 * pages), mapped shared and without reservation: making one of 16 TiB costs
 * address space alone. Pages come into being when they are
 * touched or populated, and go when they are discarded (a hole is punched, so
 * that no mapping of the file, ours, KVM's or another process's, keeps them).
 *
 * Threads: all functions may be called from any thread at any time on ranges
 * that do not overlap; create and destroy from one thread.
 * Errors: negative errno values, with a sentence in err where one is taken.
 */
#ifndef HOST_HOSTMEM_H
#define HOST_HOSTMEM_H

#include <stdint.h>

#include "error.h"

struct hostmem {
	int fd;		/* the file; -1 if there is none */
	uint64_t size;	/* bytes; multiple of the page size */
	uint8_t *base;	/* where it is mapped */
	uint64_t align; /* alignment of base */
};

/*
 * Make a backend of size bytes, mapped at an address aligned to align (power
 * of two, at least 4096; use 2 MiB so that huge pages can serve it). name
 * shows in /proc/PID/maps, after `bellows:`. The range is left out of core
 * dumps (MADV_DONTDUMP).
 */
int hostmem_create(struct hostmem *mem, const char *name, uint64_t size,
		   uint64_t align, struct error *err);

/* Unmap and close; mem may be zeroed with fd -1, or destroyed already. */
void hostmem_destroy(struct hostmem *mem);

/*
 * Commit all pages of [offset, offset + size) now. -ENOMEM if the host has
 * not got them: what was committed by this call is given back (never what was
 * there before it), and no signal is raised. Blocks for as long as clearing
 * the pages takes.
 */
int hostmem_populate(struct hostmem *mem, uint64_t offset, uint64_t size);

/*
 * Give all pages of [offset, offset + size) back to the host at once; they
 * read as zero when touched again.
 */
int hostmem_discard(struct hostmem *mem, uint64_t offset, uint64_t size);

/*
 * Bytes of the host that the backend holds now, asked of the kernel, whoever
 * touched them. Costs one system call, whatever the size.
 */
int64_t hostmem_resident(const struct hostmem *mem);

#endif
