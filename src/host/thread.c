// SPDX-License-Identifier: BSD-3-Clause
/*
 * The usual stack of 8 MiB is one that the kernel likes to back with a huge
 * page: 2 MiB of resident memory for a thread that needs a few KiB.
 */
#include <stdio.h>

#include "thread.h"

#define STACK_BYTES (128U << 10)
#define NAME_BYTES  16

int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *),
		 void *arg)
{
	pthread_attr_t attr;
	char short_name[NAME_BYTES];
	int ret;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	ret = -pthread_create(thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	if (ret)
		return ret;
	snprintf(short_name, sizeof(short_name), "%s", name);
	pthread_setname_np(*thread, short_name);
	return 0;
}
