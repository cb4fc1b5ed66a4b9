/* SPDX-License-Identifier: GPL-2.0-only */
/* <string.h> for the driver core, from what the kernel has. */
#ifndef COMPAT_STRING_H
#define COMPAT_STRING_H

#include <linux/string.h>

#endif
