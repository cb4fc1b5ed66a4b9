/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A folder of files that were made from other files, at some cost, and can be
 * made again: kept for the next process that needs the same. A file there has a
 * name that changes with its original, and never changes itself.
 */
#ifndef HOST_CACHE_H
#define HOST_CACHE_H

#include "error.h"

#define CACHE_MAX_FILES 16 /* the rest, least lately used, goes */

/*
 * A descriptor, for reading, of what make() writes to the one it is given, for
 * the original open at fd; what is names the kind of file (a short word). Made
 * now if it is not there. make() returns 0 or a negative errno value.
 *
 * folder NULL: the user's own, /var/cache/bellows for root. It is made if it is
 * not there. -EACCES: others can write to it; -ENODATA: make() failed; else
 * what the system said.
 */
int cache_open(const char *folder, const char *what, int fd,
	       int (*make)(void *opaque, int to), void *opaque,
	       struct error *err);

#endif
