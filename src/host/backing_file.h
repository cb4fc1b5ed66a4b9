/* SPDX-License-Identifier: BSD-3-Clause */
/* Files in memory, for hostmem.c. */
#ifndef HOST_BACKING_FILE_H
#define HOST_BACKING_FILE_H

#include <stdbool.h>

#include "hostmem.h"

/*
 * A file of size 0, without a name, whose pages are memory, of the kind that is
 * asked for. name shows in /proc/PID/maps, after `bellows:`. A file descriptor
 * or a negative errno value.
 */
int backing_file_create(const char *name, enum hostmem_pages pages);

/* Whether transparent huge pages are to be had: the host's setting is not
 * `never`, and we may mount. */
bool backing_file_can_huge(void);

#endif
