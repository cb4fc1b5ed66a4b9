/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work on input that is not trusted, in a process of its own that can do
 * nothing but that: it reads and writes what is open already, and takes memory.
 */
#ifndef HOST_WORKER_H
#define HOST_WORKER_H

#include <stdint.h>

/* Wait until work() is done there. 0; -EIO: work() failed, was killed for a
 * system call, or wrote more than max_file_bytes to one file; or what the
 * system said. Nothing of the caller's memory changes. */
int worker_run(int (*work)(void *opaque), void *opaque,
	       uint64_t max_file_bytes);

#endif
