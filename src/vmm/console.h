/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other end of the serial line: stdio, a file, or nothing. A thread moves
 * the bytes, so that no processor of the guest ever waits for a terminal.
 *
 * With stdio and a terminal on stdin, the terminal is in raw mode until
 * console_destroy(), or until this process dies, of whatever: a small process
 * beside it watches and puts the terminal back. Ctrl-A x ends the VM, Ctrl-A
 * Ctrl-A sends one Ctrl-A.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "host/error.h"
#include "vmm/serial.h"
#include "vmm/vmm.h"

struct console;

struct console_ops {
	/* Interrupt line of the UART. Called from any thread. */
	void (*irq)(void *opaque, bool level);
	/* The person asked to end the VM. Called from the console's thread. */
	void (*escape)(void *opaque);
};

/* Makes the console and its UART, which takes bytes in from then on. */
int console_create(struct console **console, enum vm_console kind,
		   const char *path, const struct console_ops *ops,
		   void *opaque, struct error *err);

/* Start its thread: input and output. */
int console_start(struct console *console, struct error *err);

/* Write out what is left (for at most half a second), end the thread, restore
 * the terminal. NULL is allowed. */
void console_destroy(struct console *console);

/* The UART, for the bus. */
struct serial *console_serial(struct console *console);

#endif
