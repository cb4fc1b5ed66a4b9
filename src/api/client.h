/* SPDX-License-Identifier: BSD-3-Clause */
/* The control API from the outside: one call, one connection. */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include <jansson.h>

#include "host/error.h"

/* One request. */
struct api_call {
	const char *method;
	const char *path;   /* `/v1/vm...` */
	const json_t *body; /* NULL: none */
};

/*
 * Send a call to the VM of that name and wait for the answer, a few seconds at
 * most. 0: *reply (the caller's reference; reply may be NULL) is what it said;
 * otherwise it is NULL.
 * -ENOENT: no such VM, or no such device. -EINVAL: it refused; err is its own
 * sentence. Others: the connection or the server failed. Blocks.
 */
int api_call(const char *name, const struct api_call *call, json_t **reply,
	     struct error *err);

/* `GET /v1/vm`. */
int api_get_vm(const char *name, json_t **vm, struct error *err);

#endif
