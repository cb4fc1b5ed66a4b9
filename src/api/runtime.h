/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the control sockets of VMs stand: NAME.sock in $BELLOWS_RUNTIME_DIR if
 * that is set; else, for root, /run/bellows; else $XDG_RUNTIME_DIR/bellows or
 * /tmp/bellows-UID. The folder is the owner's alone.
 *
 * A name is taken while a process listens on its socket. One that nobody
 * listens on is stale (its VM was killed) and is replaced.
 */
#ifndef API_RUNTIME_H
#define API_RUNTIME_H

#include <stdbool.h>
#include <sys/types.h>

#include "host/error.h"

#define RUNTIME_PATH_BYTES 108 /* of a unix socket's address */

/* A name of ours, with the socket that we listen on. */
struct runtime_claim {
	int fd;	       /* listening; -1: none */
	int keeper_fd; /* to the socket's keeper; -1: none */
	char path[RUNTIME_PATH_BYTES];
	dev_t device; /* of the socket's file, to know it again */
	ino_t inode;
};

/* Take the name: make the folder if it is missing, and listen. -EEXIST: a VM
 * of that name runs. */
int runtime_claim(struct runtime_claim *claim, const char *name,
		  struct error *err);

/*
 * Have the socket removed by a process of its own, the keeper: for a process
 * that will not be able to, or may be killed. It has nothing open but a line
 * to us; it acts when runtime_release() tells it to, or when we are gone. Call
 * it from the process's only thread.
 */
int runtime_keep(struct runtime_claim *claim, struct error *err);

/* Stop listening, remove the socket, and the folder if it is empty now. May be
 * called twice. */
void runtime_release(struct runtime_claim *claim);

/* Connect to the VM of that name: a file descriptor, or -ENOENT if none runs.
 */
int runtime_connect(const char *name, struct error *err);

/* Call each for the names of all sockets, in order. Stops if it returns false.
 * -ENOENT is no error: no folder, no names. */
int runtime_list(bool (*each)(void *opaque, const char *name), void *opaque,
		 struct error *err);

#endif
