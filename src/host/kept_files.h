/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of /proc and /sys that are read again and again. The first reading
 * opens one, and it stays open: so it can still be read once the process has
 * another root, another user, or may open nothing at all (sandbox.h). Whoever
 * wants to read a file then reads it once before.
 *
 * Threads: kept_files_read() from any; the others from one.
 */
#ifndef HOST_KEPT_FILES_H
#define HOST_KEPT_FILES_H

#include <pthread.h>

#define KEPT_FILES_MAX 128

struct kept_files {
	pthread_mutex_t lock;
	unsigned int nr;
	struct {
		char *path;
		int fd;
	} files[KEPT_FILES_MAX];
};

void kept_files_init(struct kept_files *kept);
void kept_files_finish(struct kept_files *kept);

/* All of a file, as a string to be freed by the caller; NULL if it cannot be
 * had. kept NULL: nothing is kept. */
char *kept_files_read(struct kept_files *kept, const char *path);

#endif
