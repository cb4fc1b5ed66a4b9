/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A 16550A UART, as far as a console needs it: FIFOs, interrupts, modem lines
 * that are always up. Baud rates are accepted and ignored.
 *
 * Threads: port accesses from vCPU threads, input from the console thread; a
 * lock inside. ops are called with that lock held and must not call back.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus.h"

struct serial_ops {
	/* Take one byte of output; false if there is no room now: the UART
	 * keeps it and serial_output_ready() will be called. */
	bool (*output)(void *opaque, uint8_t byte);
	/* Set the interrupt line. */
	void (*irq)(void *opaque, bool level);
	/* The guest read input, so that there is room for more. */
	void (*input_room)(void *opaque);
};

#define SERIAL_FIFO_SIZE 16

struct serial {
	pthread_mutex_t lock;
	const struct serial_ops *ops;
	void *opaque;

	uint8_t ier, iir_fifo, lcr, mcr, scratch, divisor[2];
	uint8_t rx[SERIAL_FIFO_SIZE]; /* ring of received bytes */
	unsigned int rx_head, rx_len;
	bool overrun;
	uint8_t tx[SERIAL_FIFO_SIZE]; /* what waits for
					 serial_output_ready(), oldest first */
	unsigned int tx_len;
	bool thre_pending; /* "transmitter empty" not yet seen in IIR */
	bool line;	   /* interrupt line as last set */
};

#define SERIAL_NR_PORTS 8

extern const struct bus_ops serial_bus_ops;

void serial_init(struct serial *serial, const struct serial_ops *ops,
		 void *opaque);
void serial_finish(struct serial *serial);

/* Power-on state; what is in the FIFOs is lost. */
void serial_reset(struct serial *serial);

/* Receive up to len bytes; returns how many there was room for. */
size_t serial_input(struct serial *serial, const uint8_t *bytes, size_t len);

/* Room for another input byte now. */
bool serial_has_room(struct serial *serial);

/* Output can be taken again after ops->output said no. */
void serial_output_ready(struct serial *serial);

#endif
