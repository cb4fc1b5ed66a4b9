/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The errno values that the library speaks, as freestanding C has no
 * <errno.h>, and the C library's may lead to the kernel's headers. The unit
 * tests compare them with the host's.
 */
#ifndef DEVICE_ERROR_CODES_H
#define DEVICE_ERROR_CODES_H

/* The same on every Unix since the seventh edition. */
#define VMEM_EBUSY  16
#define VMEM_EINVAL 22
#define VMEM_ERANGE 34

/* The one where System V and BSD part. */
#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) ||       \
	defined(__OpenBSD__) || defined(__DragonFly__)
#define VMEM_EAGAIN 35
#else
#define VMEM_EAGAIN 11
#endif

#endif
