/* SPDX-License-Identifier: BSD-3-Clause */
/* Files in memory, for hostmem.c. */
#ifndef HOST_BACKING_FILE_H
#define HOST_BACKING_FILE_H

/*
 * A file of size 0, without a name, whose pages are memory. In huge pages if
 * the host lets this process have them (its setting of transparent huge pages
 * is not `never`, and we may mount); otherwise in small ones. name shows in
 * /proc/PID/maps as /bellows:NAME. A file descriptor or a negative errno value.
 */
int backing_file_create(const char *name);

#endif
