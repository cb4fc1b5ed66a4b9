/* SPDX-License-Identifier: GPL-2.0-only */
/* <stdint.h> for the driver core, from what the kernel has. */
#ifndef COMPAT_STDINT_H
#define COMPAT_STDINT_H

#include <linux/limits.h>
#include <linux/types.h>

#define UINT64_C(x) x##ULL
#ifndef UINT32_MAX
#define UINT32_MAX U32_MAX
#endif
#ifndef UINT64_MAX
#define UINT64_MAX U64_MAX
#endif

#endif
