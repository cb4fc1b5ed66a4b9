/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads and stores at guest-physical addresses, once and as wide as named. */
#ifndef BARE_MMIO_H
#define BARE_MMIO_H

#include <stdint.h>

#define MMIO_ACCESS(bits)                                                      \
	static inline uint##bits##_t load##bits(uint64_t addr)                 \
	{                                                                      \
		return *(volatile uint##bits##_t *)addr;                       \
	}                                                                      \
	static inline void store##bits(uint64_t addr, uint##bits##_t value)    \
	{                                                                      \
		*(volatile uint##bits##_t *)addr = value;                      \
	}

MMIO_ACCESS(8)
MMIO_ACCESS(16)
MMIO_ACCESS(32)
MMIO_ACCESS(64)

#endif
