/* SPDX-License-Identifier: BSD-3-Clause */
/* Placement of a backend, for hostmem.c. */
#ifndef HOST_PLACEMENT_H
#define HOST_PLACEMENT_H

#include "hostmem.h"

/* Set the memory policy of the mapping. 0 or a negative errno value. */
int placement_apply(const struct hostmem *mem);

/* The nodes that all of it must come from; 0: any. */
uint64_t placement_bound_nodes(const struct hostmem_placement *placement);

#endif
