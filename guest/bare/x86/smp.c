// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the local APIC does: other processors, and sleep. Each job starts the
 * other processors anew (INIT, SIPI), and they halt at its end.
 */
#include <string.h>

#include "../bare.h"
#include "x86.h"

#define ICR_LOW	   (LAPIC + 0x300)
#define SPURIOUS   (LAPIC + 0xf0)
#define APIC_ON	   0x11f
#define EOI	   (LAPIC + 0xb0)
#define TIMER	   (LAPIC + 0x320)
#define COUNT	   (LAPIC + 0x380)
#define DIVIDE	   (LAPIC + 0x3e0)
#define BY_1	   0xb
#define TICKS	   2000000 /* 2 ms with the APIC of KVM and of QEMU */
#define VECTOR	   32
#define TO_OTHERS  0xc0000
#define INIT	   0x4500
#define STARTUP	   0x4600
#define TRAMPOLINE 0x10000
#define PATIENCE   (10 * 1000000) /* us; the host may be busy */

static struct {
	void (*fn)(void *arg, unsigned int cpu);
	void *arg;
	unsigned int nr; /* processors that take part */
	uint32_t done;
} job;

/* All that take part start at once. */
static void take_part(unsigned int cpu)
{
	uint64_t spins = 0;

	while (ap_arrived + 1 < job.nr && spins++ < UINT64_C(1) << 24)
		arch_relax();
	job.fn(job.arg, cpu);
	__atomic_add_fetch(&job.done, 1, __ATOMIC_SEQ_CST);
}

/* From entry.S. */
void ap_main(unsigned int number)
{
	store32(SPURIOUS, APIC_ON);
	if (number + 1 < job.nr)
		take_part(number + 1);
}

static bool wait_for(volatile uint32_t *counter, uint32_t value)
{
	uint64_t until = arch_now_us() + PATIENCE;

	while (*counter < value) {
		if (arch_now_us() > until)
			return false;
		arch_relax();
	}
	return true;
}

bool arch_run_on_all(unsigned int nr, void (*fn)(void *arg, unsigned int cpu),
		     void *arg)
{
	job.fn = fn;
	job.arg = arg;
	job.nr = nr;
	job.done = 0;
	ap_arrived = 0;
	if (nr == 1) {
		fn(arg, 0);
		return true;
	}
	memcpy((void *)TRAMPOLINE, ap_trampoline,
	       (size_t)(ap_trampoline_end - ap_trampoline));
	store32(SPURIOUS, APIC_ON);
	store32(ICR_LOW, TO_OTHERS | INIT);
	wait_us(1000);
	store32(ICR_LOW, TO_OTHERS | STARTUP | TRAMPOLINE >> 12);
	if (!wait_for(&ap_arrived, nr - 1))
		return false;
	take_part(0);
	return wait_for(&job.done, nr);
}

/* ---- Sleep ------------------------------------------------------------- */

/* Left by the interrupt, which is an exception like others here. */
static void sleep(void *arg)
{
	store32(COUNT, TICKS);
	for (;;)
		__asm__ volatile("sti; hlt" ::: "memory");
}

void arch_sleep(void)
{
	store32(SPURIOUS, APIC_ON);
	store32(DIVIDE, BY_1);
	store32(TIMER, VECTOR);
	arch_try(sleep, NULL, NULL);
	store32(EOI, 0);
}
