/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM's NUMA nodes as a table, and as a diagram. */
#ifndef CLI_NODES_H
#define CLI_NODES_H

#include <jansson.h>

/* One row a node. vm: the VM's status; residence: where its memory is. */
void nodes_print_table(const json_t *vm, const json_t *residence);

/* Guest nodes on the left, the host's on the right, bytes between them. */
void nodes_draw(const json_t *vm, const json_t *residence);

#endif
