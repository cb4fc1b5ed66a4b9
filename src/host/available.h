/* SPDX-License-Identifier: BSD-3-Clause */
/* How much memory the host could still commit. */
#ifndef HOST_AVAILABLE_H
#define HOST_AVAILABLE_H

#include <stdint.h>

#include "kept_files.h"

/*
 * Bytes that could be committed now without driving the host, or the control
 * group that we are in, out of memory: what the kernel estimates to be
 * available, less a reserve. nodes: only memory of these nodes of the host
 * counts (bit n: node n); 0: of all. UINT64_MAX where the kernel does not say.
 * Any thread. kept: where the files stay open that were read before, or NULL.
 */
uint64_t host_available(struct kept_files *kept, uint64_t nodes);

#endif
