// SPDX-License-Identifier: BSD-3-Clause
/*
 * The UART's registers. Transmission is instant unless the console is full:
 * then bytes are held, as many as the transmitter has room for (a driver that
 * saw it empty sends that many at once), and it does not read as empty until
 * the console takes them, which is how a real line holds a guest back.
 */
#include <string.h>

#include "serial.h"

/* Registers (offset from the base port; DLAB changes the first two). */
enum {
	REG_DATA = 0,
	REG_IER = 1,
	REG_IIR_FCR = 2,
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCRATCH = 7,
};

#define IER_RX	     0x01
#define IER_THRE     0x02
#define IER_LINE     0x04
#define IIR_NONE     0x01
#define IIR_THRE     0x02
#define IIR_RX	     0x04
#define IIR_LINE     0x06
#define IIR_FIFO_ON  0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define LCR_DLAB     0x80
#define MCR_DTR	     0x01
#define MCR_RTS	     0x02
#define MCR_OUT1     0x04
#define MCR_OUT2     0x08 /* gates the interrupt on a PC */
#define MCR_LOOP     0x10
#define LSR_READY    0x01
#define LSR_OVERRUN  0x02
#define LSR_THRE     0x20
#define LSR_IDLE     0x40
#define MSR_LINES_UP 0xb0 /* CTS, DSR, DCD */

static uint8_t pending_iir(const struct serial *serial)
{
	if ((serial->ier & IER_LINE) && serial->overrun)
		return IIR_LINE;
	if ((serial->ier & IER_RX) && serial->rx_len)
		return IIR_RX;
	if ((serial->ier & IER_THRE) && serial->thre_pending)
		return IIR_THRE;
	return IIR_NONE;
}

static void update_irq(struct serial *serial)
{
	bool line = pending_iir(serial) != IIR_NONE &&
		    (serial->mcr & MCR_OUT2) && !(serial->mcr & MCR_LOOP);

	if (line == serial->line)
		return;
	serial->line = line;
	serial->ops->irq(serial->opaque, line);
}

static bool receive(struct serial *serial, uint8_t byte)
{
	if (serial->rx_len == SERIAL_FIFO_SIZE)
		return false;
	serial->rx[(serial->rx_head + serial->rx_len++) % SERIAL_FIFO_SIZE] =
		byte;
	return true;
}

static void transmit(struct serial *serial, uint8_t byte)
{
	if (serial->mcr & MCR_LOOP) {
		if (!receive(serial, byte))
			serial->overrun = true;
		serial->thre_pending = true;
		return;
	}
	if (!serial->tx_len && serial->ops->output(serial->opaque, byte)) {
		serial->thre_pending = true;
		return;
	}
	/* A byte too many takes the place of the last, as on the real thing. */
	if (serial->tx_len == (serial->iir_fifo ? SERIAL_FIFO_SIZE : 1))
		serial->tx_len--;
	serial->tx[serial->tx_len++] = byte;
	serial->thre_pending = false;
}

static uint8_t read_data(struct serial *serial)
{
	uint8_t byte = 0;

	if (serial->rx_len) {
		byte = serial->rx[serial->rx_head];
		serial->rx_head = (serial->rx_head + 1) % SERIAL_FIFO_SIZE;
		serial->rx_len--;
		serial->ops->input_room(serial->opaque);
	}
	return byte;
}

static uint8_t read_lsr(struct serial *serial)
{
	uint8_t lsr = serial->tx_len ? 0 : LSR_THRE | LSR_IDLE;

	if (serial->rx_len)
		lsr |= LSR_READY;
	if (serial->overrun)
		lsr |= LSR_OVERRUN;
	serial->overrun = false;
	return lsr;
}

/* In loop mode the modem inputs are wired to the outputs. */
static uint8_t read_msr(const struct serial *serial)
{
	uint8_t msr = 0;

	if (!(serial->mcr & MCR_LOOP))
		return MSR_LINES_UP;
	if (serial->mcr & MCR_RTS)
		msr |= 0x10;
	if (serial->mcr & MCR_DTR)
		msr |= 0x20;
	if (serial->mcr & MCR_OUT1)
		msr |= 0x40;
	if (serial->mcr & MCR_OUT2)
		msr |= 0x80;
	return msr;
}

static uint8_t read_register(struct serial *serial, unsigned int reg)
{
	uint8_t iir;

	switch (reg) {
	case REG_DATA:
		return serial->lcr & LCR_DLAB ? serial->divisor[0]
					      : read_data(serial);
	case REG_IER:
		return serial->lcr & LCR_DLAB ? serial->divisor[1]
					      : serial->ier;
	case REG_IIR_FCR:
		iir = pending_iir(serial);
		/* Seeing "transmitter empty" acknowledges it. */
		if (iir == IIR_THRE)
			serial->thre_pending = false;
		return iir | serial->iir_fifo;
	case REG_LCR:
		return serial->lcr;
	case REG_MCR:
		return serial->mcr;
	case REG_LSR:
		return read_lsr(serial);
	case REG_MSR:
		return read_msr(serial);
	default:
		return serial->scratch;
	}
}

static void write_register(struct serial *serial, unsigned int reg,
			   uint8_t value)
{
	switch (reg) {
	case REG_DATA:
		if (serial->lcr & LCR_DLAB)
			serial->divisor[0] = value;
		else
			transmit(serial, value);
		break;
	case REG_IER:
		if (serial->lcr & LCR_DLAB) {
			serial->divisor[1] = value;
			break;
		}
		/* Enabling the interrupt while the transmitter is empty
		 * raises it: drivers start sending that way. */
		if ((value & ~serial->ier & IER_THRE) && !serial->tx_len)
			serial->thre_pending = true;
		serial->ier = value & 0x0f;
		break;
	case REG_IIR_FCR:
		serial->iir_fifo = value & FCR_ENABLE ? IIR_FIFO_ON : 0;
		if (value & FCR_CLEAR_RX) {
			serial->rx_len = 0;
			serial->ops->input_room(serial->opaque);
		}
		if (value & FCR_CLEAR_TX)
			serial->tx_len = 0;
		break;
	case REG_LCR:
		serial->lcr = value;
		break;
	case REG_MCR:
		serial->mcr = value & 0x1f;
		break;
	case REG_SCRATCH:
		serial->scratch = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

static void serial_bus_read(void *opaque, uint64_t offset, void *data,
			    unsigned int len)
{
	struct serial *serial = opaque;
	uint8_t *bytes = data;

	pthread_mutex_lock(&serial->lock);
	memset(bytes, 0xff, len);
	bytes[0] = read_register(serial, (unsigned int)offset);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
}

static void serial_bus_write(void *opaque, uint64_t offset, const void *data,
			     unsigned int len)
{
	struct serial *serial = opaque;
	const uint8_t *bytes = data;

	(void)len; /* the chip is eight bits wide */
	pthread_mutex_lock(&serial->lock);
	write_register(serial, (unsigned int)offset, bytes[0]);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
}

const struct bus_ops serial_bus_ops = {
	.read = serial_bus_read,
	.write = serial_bus_write,
};

static void set_power_on(struct serial *serial)
{
	serial->ier = serial->iir_fifo = serial->lcr = serial->scratch = 0;
	serial->mcr = MCR_OUT2;
	serial->divisor[0] = 0x0c; /* 9600 baud, for whoever asks */
	serial->divisor[1] = 0;
	serial->rx_head = serial->rx_len = 0;
	serial->overrun = false;
	serial->tx_len = 0;
	serial->thre_pending = false;
}

void serial_init(struct serial *serial, const struct serial_ops *ops,
		 void *opaque)
{
	memset(serial, 0, sizeof(*serial));
	pthread_mutex_init(&serial->lock, NULL);
	serial->ops = ops;
	serial->opaque = opaque;
	set_power_on(serial);
}

void serial_finish(struct serial *serial)
{
	pthread_mutex_destroy(&serial->lock);
}

void serial_reset(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	set_power_on(serial);
	update_irq(serial);
	serial->ops->input_room(serial->opaque);
	pthread_mutex_unlock(&serial->lock);
}

size_t serial_input(struct serial *serial, const uint8_t *bytes, size_t len)
{
	size_t taken = 0;

	pthread_mutex_lock(&serial->lock);
	while (taken < len && receive(serial, bytes[taken]))
		taken++;
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

bool serial_has_room(struct serial *serial)
{
	bool room;

	pthread_mutex_lock(&serial->lock);
	room = serial->rx_len < SERIAL_FIFO_SIZE;
	pthread_mutex_unlock(&serial->lock);
	return room;
}

void serial_output_ready(struct serial *serial)
{
	unsigned int sent = 0;

	pthread_mutex_lock(&serial->lock);
	while (sent < serial->tx_len &&
	       serial->ops->output(serial->opaque, serial->tx[sent]))
		sent++;
	if (sent) {
		serial->tx_len -= sent;
		memmove(serial->tx, serial->tx + sent, serial->tx_len);
		serial->thre_pending = serial->tx_len == 0;
	}
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
}
