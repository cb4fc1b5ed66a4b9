/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The errno values of the libraries' interfaces, as Linux, the BSDs and newlib
 * number them: the libraries include no <errno.h>. On a system whose <errno.h>
 * differs, use these names.
 */
#ifndef VMEM_ERROR_H
#define VMEM_ERROR_H

#define VMEM_EAGAIN 11
#define VMEM_EBUSY  16
#define VMEM_EINVAL 22
#define VMEM_ERANGE 34

#endif
