/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads with a name, and a stack that fits what ours do. */
#ifndef HOST_THREAD_H
#define HOST_THREAD_H

#include <pthread.h>

/* Start fn(arg) as a thread that top and /proc show by name (15 bytes count).
 * 0 or a negative errno value. */
int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *),
		 void *arg);

#endif
