/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the bare guest needs of a machine. The rest of it knows no
 * architecture; x86/ is the one implementation.
 */
#ifndef BARE_ARCH_H
#define BARE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARCH_MAX_CPUS 16

/* Bytes to the serial port; waits until it has room. */
void arch_console_write(const char *bytes, size_t len);
/* A byte from it, or -1. */
int arch_console_get(void);

/* Microseconds since the start. To be asked at least every 4 seconds. */
uint64_t arch_now_us(void);

/* No load or store moves across it, in either direction. */
void arch_barrier(void);
/* In a loop that waits. */
void arch_relax(void);
/* Leave the processor to others for a few milliseconds. */
void arch_sleep(void);

/* PCI configuration space; size is 1, 2 or 4. */
uint32_t arch_pci_read(unsigned int bdf, unsigned int offset,
		       unsigned int size);
void arch_pci_write(unsigned int bdf, unsigned int offset, uint32_t value,
		    unsigned int size);

/* Let [addr, addr + size) be read, written and executed at its own address. */
void arch_map(uint64_t addr, uint64_t size);
/*
 * Let the page (4 KiB) at addr be translated by a table that itself lies in
 * the page at table, which is written here. False if the store was lost.
 */
bool arch_map_by(uint64_t addr, uint64_t table);
/* A virtual address that arch_map_by() may use, mapped to nothing. */
#define ARCH_SPARE_ADDRESS UINT64_C(0x7f0000000000)

/* Why a processor stopped in arch_try(). */
struct arch_fault {
	uint64_t vector, error, address, ip;
};

/* Call fn; false if an exception ended it, which fault (may be NULL) says. */
bool arch_try(void (*fn)(void *arg), void *arg, struct arch_fault *fault);

/* Push value on a stack that ends at top; what is popped then. */
uint64_t arch_push_pop(uint64_t top, uint64_t value);
/* Cause an exception while the stack ends at top. */
_Noreturn void arch_fault_on_stack(uint64_t top);
/* Add to the word at addr, atomically; what it was. */
uint64_t arch_fetch_add(uint64_t addr, uint64_t value);
/* Store a byte len times from addr on, by one instruction. */
void arch_fill(uint64_t addr, uint8_t byte, size_t len);
/* Have the hypervisor keep a clock at addr; 0: no more. False: it has none. */
bool arch_clock_at(uint64_t addr);

/* A few bytes of position-independent code that returns ARCH_PROBE_RESULT. */
#define ARCH_PROBE_RESULT 0x600d
extern const uint8_t arch_probe_code[], arch_probe_code_end[];

/*
 * Call fn on each of nr processors at once, this one (number 0) among them;
 * returns when all are done. False if others did not start within seconds.
 */
bool arch_run_on_all(unsigned int nr, void (*fn)(void *arg, unsigned int cpu),
		     void *arg);

/* How a suspended machine is to go on, and so what it is told. */
enum arch_wake {
	ARCH_WAKE_REAL, /* ours, in real mode */
	ARCH_WAKE_FLAT, /* ours, in flat 32-bit mode */
	ARCH_WAKE_AT,	/* an address as it is, for real mode */
	ARCH_WAKE_AT64, /* the same, for flat mode */
};

/*
 * Ask the firmware for a sleeping state by its type: 0 to 7. False if nothing
 * came of it; true once the machine has woken, as a processor alone: *status is
 * why, as the machine has it.
 */
bool arch_suspend(unsigned int type, enum arch_wake how, uint64_t addr,
		  uint16_t *status);
/* The type that suspends to memory. */
extern const unsigned int arch_suspend_type;

/* As a suspending kernel tells the machine: it is idle from now on, or not. */
void arch_say_idle(bool idle);

_Noreturn void arch_power_off(void);
_Noreturn void arch_reset(void);

/* Called once, with the command line. */
void bare_main(const char *cmdline);
/* Says that the guest is lost, on the console. */
void bare_panic(const struct arch_fault *fault);

#endif
