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

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "kept_files.h"

#define HOSTMEM_MAX_NODES 64

/* Which pages of the host. */
enum hostmem_pages {
	HOSTMEM_PAGES_ANY, /* huge ones if the host lets us, else small ones */
	HOSTMEM_PAGES_4K,
	HOSTMEM_PAGES_THP, /* transparent huge pages, or an error */
	HOSTMEM_PAGES_2M,  /* of the hugetlb pools */
	HOSTMEM_PAGES_1G,
};

/* From which nodes of the host. */
enum hostmem_policy {
	HOSTMEM_POLICY_DEFAULT,
	HOSTMEM_POLICY_BIND,	   /* from these nodes, or not at all */
	HOSTMEM_POLICY_PREFERRED,  /* from the first of them, while it can */
	HOSTMEM_POLICY_INTERLEAVE, /* page by page from all of them */
};

/* Zero is the default. */
struct hostmem_placement {
	enum hostmem_pages pages;
	enum hostmem_policy policy;
	uint64_t host_nodes; /* bit n: node n; with a policy other than default
			      */
};

struct hostmem {
	int fd;		/* the file; -1 if there is none */
	uint64_t size;	/* bytes; multiple of the page size */
	uint64_t start; /* where in the file it starts: 0, or size */
	uint8_t *base;	/* where it is mapped */
	uint64_t align; /* alignment of base */
	struct hostmem_placement placement;
	struct kept_files *kept; /* set it to read /proc later; or NULL */
};

/* Bytes of the smallest page that a placement may give: 4096 unless it says
 * otherwise. */
uint64_t hostmem_page_bytes(const struct hostmem_placement *placement);

/* True if touching memory that was not populated could fail with a signal:
 * populate before anyone may touch it. */
bool hostmem_must_populate(const struct hostmem_placement *placement);

/* Whether the host can place memory so: its nodes exist, its pages are to be
 * had. -EINVAL with a sentence. */
int hostmem_placement_check(const struct hostmem_placement *placement,
			    struct error *err);

/*
 * Make a backend of size bytes (a multiple of its page size), mapped at an
 * address that huge pages can serve, placed as placement (NULL: the default)
 * says; nothing is committed yet. name
 * shows in /proc/PID/maps, after `bellows:`. The range is left out of core
 * dumps (MADV_DONTDUMP).
 */
int hostmem_create(struct hostmem *mem, const char *name, uint64_t size,
		   const struct hostmem_placement *placement,
		   struct error *err);

/* Unmap and close; mem may be zeroed with fd -1, or destroyed already. */
void hostmem_destroy(struct hostmem *mem);

/*
 * Commit all pages of [offset, offset + size) now. -ENOMEM if the host has
 * not got them: what was committed by this call is given back, and no signal
 * is raised. What the range held stays, but for hugetlb pages after a failure.
 * Blocks for as long as clearing the pages takes.
 */
int hostmem_populate(struct hostmem *mem, uint64_t offset, uint64_t size);

/*
 * Give all pages of [offset, offset + size) back to the host at once; they
 * read as zero when touched again.
 */
int hostmem_discard(struct hostmem *mem, uint64_t offset, uint64_t size);

/*
 * Put fresh memory, which reads as zero, in the place of all that the backend
 * holds, at the same address. What it held stays with the host until
 * hostmem_discard_old(), which must be over before the next renewal. A file
 * has room for the two, one behind the other, so it takes neither another file
 * nor a privilege. shut: no access yet; for mprotect() to change. Not for huge
 * page pools. After an error the range may not be mapped. Uses mmap(),
 * madvise() and mbind().
 */
int hostmem_renew(struct hostmem *mem, bool shut);

/* Give back what was there before the last hostmem_renew(). */
int hostmem_discard_old(struct hostmem *mem);

/*
 * Bytes of the host that the backend holds now, asked of the kernel, whoever
 * touched them, and with what hostmem_renew() left behind. Costs one system
 * call, whatever the size.
 */
int64_t hostmem_resident(const struct hostmem *mem);

/*
 * Find the first run of bytes at or after *offset that the backend holds, and
 * set *offset and *size to it. 1: found; 0: none; or a negative errno value.
 * Pages that were committed but never touched may be missed; for huge page
 * pools, so are pages that are not mapped: hostmem_resident() counts all.
 */
int hostmem_next_held(const struct hostmem *mem, uint64_t *offset,
		      uint64_t *size);

/*
 * On which nodes of the host the pages are that this process has mapped, in
 * bytes, asked of the kernel. Reads /proc: its cost grows with what is
 * resident. 0 or a negative errno value.
 */
int hostmem_residence(const struct hostmem *mem,
		      uint64_t bytes[HOSTMEM_MAX_NODES]);

/* Read once what hostmem_populate() and hostmem_residence() read of the host
 * for a backend with this placement, so that the files are open. */
void hostmem_keep_files(struct kept_files *kept,
			const struct hostmem_placement *placement);

#endif
