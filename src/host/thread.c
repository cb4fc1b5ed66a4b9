// SPDX-License-Identifier: BSD-3-Clause
/*
 * The usual stack of 8 MiB is one that the kernel likes to back with a huge
 * page: 2 MiB of resident memory for a thread that needs a few KiB.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "thread.h"

#define STACK_BYTES (128U << 10)
#define NAME_BYTES  16

/* What a new thread is told; it names itself, since another's name is set
 * through /proc, which need not be there. */
struct start {
	void *(*fn)(void *);
	void *arg;
	char name[NAME_BYTES];
};

static void *run(void *opaque)
{
	struct start start = *(struct start *)opaque;

	free(opaque);
	pthread_setname_np(pthread_self(), start.name);
	return start.fn(start.arg);
}

int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *),
		 void *arg)
{
	struct start *start = malloc(sizeof(*start));
	pthread_attr_t attr;
	int ret;

	if (!start)
		return -ENOMEM;
	start->fn = fn;
	start->arg = arg;
	snprintf(start->name, sizeof(start->name), "%s", name);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	ret = -pthread_create(thread, &attr, run, start);
	pthread_attr_destroy(&attr);
	if (ret)
		free(start);
	return ret;
}
