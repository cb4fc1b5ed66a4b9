/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the loader: the payload of a bzImage, which is the kernel proper,
 * compressed. For src/vmm/x86/boot*.c alone.
 */
#ifndef VMM_X86_PAYLOAD_H
#define VMM_X86_PAYLOAD_H

#include "boot_image.h"

/* Whether the image's payload is compressed in a way known here. */
bool payload_is_known(const struct boot_image *image);

/* Unpack it to the file open at to, which is empty. What is zero is left out
 * of the file where the file system can do that. -EINVAL: it is damaged. */
int payload_unpack(const struct boot_image *image, int to);

#endif
