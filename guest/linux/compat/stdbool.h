/* SPDX-License-Identifier: GPL-2.0-only */
/* <stdbool.h> for the driver core, from what the kernel has. */
#ifndef COMPAT_STDBOOL_H
#define COMPAT_STDBOOL_H

#include <linux/types.h>

#endif
