// SPDX-License-Identifier: BSD-3-Clause
/* Fuzz target: split rings over hostile memory. */
#include "ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return fuzz_ring(data, size, false);
}

size_t fuzz_seed(unsigned int nr, uint8_t *seed)
{
	return fuzz_ring_seed(nr, seed, false);
}
