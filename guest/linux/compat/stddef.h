/* SPDX-License-Identifier: GPL-2.0-only */
/* <stddef.h> for the driver core, from what the kernel has. */
#ifndef COMPAT_STDDEF_H
#define COMPAT_STDDEF_H

#include <linux/stddef.h>
#include <linux/types.h>

#endif
