/* SPDX-License-Identifier: BSD-3-Clause */
/* The fuzz target of both ring formats; see fuzz.h. */
#ifndef FUZZ_RING_H
#define FUZZ_RING_H

#include <stdbool.h>

#include "fuzz.h"

int fuzz_ring(const uint8_t *data, size_t size, bool packed);
size_t fuzz_ring_seed(unsigned int nr, uint8_t *seed, bool packed);

#endif
