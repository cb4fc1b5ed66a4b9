/* SPDX-License-Identifier: BSD-3-Clause */
/* Why a device has not reached its requested size. */
#ifndef CLI_DIAGNOSE_H
#define CLI_DIAGNOSE_H

#include <jansson.h>

/*
 * The likeliest reason, as a static sentence without a period, told from two
 * looks at a device (items of `elastic` in the VM's status): when the resize
 * began, and now. The host cannot see into the guest: it concludes from what
 * the driver asked for.
 */
const char *diagnose(const json_t *before, const json_t *now);

#endif
