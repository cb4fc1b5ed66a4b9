// SPDX-License-Identifier: BSD-3-Clause
/*
 * Suspending to memory. Where a PC's firmware looks for the address at which to
 * go on is the FACS, found here where Bellows has its tables.
 */
#include <string.h>

#include "../bare.h"
#include "x86.h"

#define TABLES	     0xe0000U
#define TABLES_END   0x100000U
#define TABLE_ALIGN  64U
#define PM1_STATUS   0x600
#define PM1_CONTROL  0x604
#define ARMED	     0x622 /* what the sleep button's _DSW writes to */
#define ARMED_IDLE   0x80
#define SLEEP_ENABLE 0x2000
#define TRAMPOLINE   0x11000
#define PATIENCE     100000 /* us */

const unsigned int arch_suspend_type = 1;

struct facs {
	char signature[4];
	uint32_t length, hardware, vector, lock, flags;
	uint64_t x_vector;
};

static struct catch sleeper;

static struct facs *find_facs(void)
{
	for (uint64_t at = TABLES; at < TABLES_END; at += TABLE_ALIGN) {
		if (!memcmp((void *)at, "FACS", 4))
			return (struct facs *)at;
	}
	return NULL;
}

static void fall_asleep(void *arg)
{
	out16(PM1_CONTROL, *(uint16_t *)arg);
	wait_us(PATIENCE);
}

/* From entry.S, on another stack than what slept. */
void wake_main(void)
{
	platform_init();
	try_escape(&sleeper);
}

bool arch_suspend(unsigned int type, enum arch_wake how, uint64_t addr,
		  uint16_t *status)
{
	uint16_t control = (uint16_t)(SLEEP_ENABLE | (type & 7) << 10);
	struct facs *facs = find_facs();
	bool woken;

	if (!facs)
		return false;
	memcpy((void *)TRAMPOLINE, wake_trampoline,
	       (size_t)(wake_trampoline_end - wake_trampoline));
	facs->vector = facs->x_vector = 0;
	if (how == ARCH_WAKE_REAL)
		facs->vector = TRAMPOLINE;
	else if (how == ARCH_WAKE_AT)
		facs->vector = (uint32_t)addr;
	else
		facs->x_vector =
			how == ARCH_WAKE_FLAT ? (uint64_t)wake_flat : addr;
	out16(PM1_STATUS, 0xffff); /* writing ones clears */
	woken = !try_call(&sleeper, fall_asleep, &control);
	*status = in16(PM1_STATUS);
	return woken;
}

void arch_say_idle(bool idle)
{
	out8(ARMED, idle ? ARMED_IDLE : 0);
}
