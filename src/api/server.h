/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM and its control API: HTTP/1.1 and JSON on a unix socket.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "host/sandbox.h"
#include "vmm/vmm.h"

/* How a VM's process ends: its exit status. */
enum api_exit {
	API_EXIT_OK = 0,      /* the guest powered off, or was stopped */
	API_EXIT_FAILED = 1,  /* the host or KVM failed */
	API_EXIT_REFUSED = 2, /* the VM could not be made */
	API_EXIT_GUARD = 4,   /* the guard ended it (--guard kill) */
};

/*
 * Take the config's name, make the VM, and serve its API until it ends or
 * SIGTERM, SIGINT or SIGHUP ends it. What went wrong is in err unless the
 * result is API_EXIT_OK. Call it once, from the process's only thread. The
 * process is confined as sandbox says before the guest runs.
 */
enum api_exit api_run_vm(const struct vm_config *config,
			 const struct sandbox_config *sandbox,
			 struct error *err);

#endif
