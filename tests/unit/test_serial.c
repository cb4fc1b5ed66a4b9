// SPDX-License-Identifier: BSD-3-Clause
/* The UART, driven as a guest's driver does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/serial.h"

#define IER	    1
#define IIR	    2
#define FCR	    2
#define LCR	    3
#define MCR	    4
#define LSR	    5
#define MSR	    6
#define SCRATCH	    7
#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_THRE    0x20
#define IIR_NONE    0x01
#define IIR_THRE    0x02
#define IIR_RX	    0x04
#define IIR_LINE    0x06
#define MCR_OUT2    0x08
#define MCR_LOOP    0x10

struct bench {
	struct serial serial;
	char out[64];
	size_t out_len, out_room;
	bool line;
	unsigned int nr_edges, nr_room;
};

static bool bench_output(void *opaque, uint8_t byte)
{
	struct bench *bench = opaque;

	if (bench->out_len == bench->out_room)
		return false;
	bench->out[bench->out_len++] = (char)byte;
	return true;
}

static void bench_irq(void *opaque, bool level)
{
	struct bench *bench = opaque;

	assert_int_not_equal(bench->line, level);
	bench->line = level;
	bench->nr_edges++;
}

static void bench_room(void *opaque)
{
	struct bench *bench = opaque;

	bench->nr_room++;
}

static const struct serial_ops bench_ops = {
	.output = bench_output,
	.irq = bench_irq,
	.input_room = bench_room,
};

static uint8_t in(struct bench *bench, unsigned int reg)
{
	uint8_t value = 0;

	serial_bus_ops.read(&bench->serial, reg, &value, 1);
	return value;
}

static void out(struct bench *bench, unsigned int reg, uint8_t value)
{
	serial_bus_ops.write(&bench->serial, reg, &value, 1);
}

static int setup(void **state)
{
	static struct bench bench;

	memset(&bench, 0, sizeof(bench));
	bench.out_room = sizeof(bench.out);
	serial_init(&bench.serial, &bench_ops, &bench);
	*state = &bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	serial_finish(&bench->serial);
	return 0;
}

static void writes_reach_the_console(void **state)
{
	struct bench *bench = *state;

	for (const char *c = "hello"; *c; c++) {
		assert_int_equal(in(bench, LSR) & LSR_THRE, LSR_THRE);
		out(bench, 0, (uint8_t)*c);
	}
	assert_int_equal(bench->out_len, 5);
	assert_memory_equal(bench->out, "hello", 5);
	assert_false(bench->line);
}

static void transmit_interrupt_is_acknowledged_by_iir(void **state)
{
	struct bench *bench = *state;

	out(bench, IER, 0x02);
	assert_true(bench->line);
	assert_int_equal(in(bench, IIR) & 0x0f, IIR_THRE);
	assert_false(bench->line);
	assert_int_equal(in(bench, IIR) & 0x0f, IIR_NONE);
	out(bench, 0, 'x');
	assert_true(bench->line);
	out(bench, IER, 0);
	assert_false(bench->line);
}

static void out2_gates_the_interrupt(void **state)
{
	struct bench *bench = *state;

	out(bench, MCR, 0);
	out(bench, IER, 0x02);
	assert_false(bench->line);
	out(bench, MCR, MCR_OUT2);
	assert_true(bench->line);
}

static void input_fills_the_fifo_and_no_more(void **state)
{
	struct bench *bench = *state;
	uint8_t bytes[20];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)('a' + i);
	out(bench, IER, 0x01);
	assert_true(serial_has_room(&bench->serial));
	assert_int_equal(serial_input(&bench->serial, bytes, sizeof(bytes)),
			 SERIAL_FIFO_SIZE);
	assert_false(serial_has_room(&bench->serial));
	assert_true(bench->line);
	assert_int_equal(in(bench, IIR) & 0x0f, IIR_RX);
	for (size_t i = 0; i < SERIAL_FIFO_SIZE; i++) {
		assert_int_equal(in(bench, LSR) & LSR_READY, LSR_READY);
		assert_int_equal(in(bench, 0), bytes[i]);
	}
	assert_int_equal(bench->nr_room, SERIAL_FIFO_SIZE);
	assert_int_equal(in(bench, LSR) & LSR_READY, 0);
	assert_false(bench->line);
	assert_int_equal(in(bench, 0), 0);
}

static void full_console_holds_the_guest_back(void **state)
{
	struct bench *bench = *state;

	bench->out_room = 1;
	out(bench, 0, 'a');
	out(bench, 0, 'b');
	assert_int_equal(bench->out_len, 1);
	assert_int_equal(in(bench, LSR) & LSR_THRE, 0);
	out(bench, IER, 0x02);
	assert_false(bench->line);
	bench->out_room = sizeof(bench->out);
	serial_output_ready(&bench->serial);
	assert_memory_equal(bench->out, "ab", 2);
	assert_int_equal(in(bench, LSR) & LSR_THRE, LSR_THRE);
	assert_true(bench->line);
}

static void full_console_loses_nothing_of_a_burst(void **state)
{
	static const char burst[] = "0123456789abcdef";
	struct bench *bench = *state;

	out(bench, FCR, 0x01);
	bench->out_room = 5;
	assert_int_equal(in(bench, LSR) & LSR_THRE, LSR_THRE);
	for (size_t i = 0; i < SERIAL_FIFO_SIZE; i++)
		out(bench, 0, (uint8_t)burst[i]);
	assert_int_equal(bench->out_len, 5);
	bench->out_room = 9;
	serial_output_ready(&bench->serial);
	assert_int_equal(in(bench, LSR) & LSR_THRE, 0);
	bench->out_room = sizeof(bench->out);
	serial_output_ready(&bench->serial);
	assert_int_equal(bench->out_len, SERIAL_FIFO_SIZE);
	assert_memory_equal(bench->out, burst, SERIAL_FIFO_SIZE);
	assert_int_equal(in(bench, LSR) & LSR_THRE, LSR_THRE);
}

static void clearing_the_transmitter_drops_what_waits(void **state)
{
	struct bench *bench = *state;

	bench->out_room = 0;
	out(bench, FCR, 0x01);
	out(bench, 0, 'a');
	assert_int_equal(in(bench, LSR) & LSR_THRE, 0);
	out(bench, FCR, 0x05);
	assert_int_equal(in(bench, LSR) & LSR_THRE, LSR_THRE);
	bench->out_room = sizeof(bench->out);
	serial_output_ready(&bench->serial);
	assert_int_equal(bench->out_len, 0);
}

static void divisor_latch_hides_data(void **state)
{
	struct bench *bench = *state;

	out(bench, LCR, 0x80);
	out(bench, 0, 0x34);
	out(bench, IER, 0x12);
	assert_int_equal(in(bench, 0), 0x34);
	assert_int_equal(in(bench, IER), 0x12);
	out(bench, LCR, 0x03);
	assert_int_equal(in(bench, IER), 0);
	assert_int_equal(bench->out_len, 0);
}

static void loop_mode_returns_bytes_and_lines(void **state)
{
	struct bench *bench = *state;

	out(bench, MCR, MCR_LOOP | 0x0a);
	assert_int_equal(in(bench, MSR) & 0xf0, 0x90);
	out(bench, 0, 'L');
	assert_int_equal(bench->out_len, 0);
	assert_int_equal(in(bench, 0), 'L');
	for (unsigned int i = 0; i <= SERIAL_FIFO_SIZE; i++)
		out(bench, 0, 'o');
	assert_int_equal(in(bench, LSR) & LSR_OVERRUN, LSR_OVERRUN);
	assert_int_equal(in(bench, LSR) & LSR_OVERRUN, 0);
}

static void reset_forgets_everything(void **state)
{
	struct bench *bench = *state;

	out(bench, IER, 0x03);
	out(bench, SCRATCH, 0x5a);
	assert_int_equal(in(bench, SCRATCH), 0x5a);
	serial_input(&bench->serial, (const uint8_t *)"z", 1);
	assert_true(bench->line);
	serial_reset(&bench->serial);
	assert_false(bench->line);
	assert_int_equal(in(bench, IER), 0);
	assert_int_equal(in(bench, SCRATCH), 0);
	assert_int_equal(in(bench, LSR), LSR_THRE | 0x40);
}

static void fifo_control_clears_input(void **state)
{
	struct bench *bench = *state;

	serial_input(&bench->serial, (const uint8_t *)"abc", 3);
	out(bench, FCR, 0x03);
	assert_int_equal(in(bench, LSR) & LSR_READY, 0);
	assert_int_equal(in(bench, IIR) & 0xc0, 0xc0);
	out(bench, FCR, 0);
	assert_int_equal(in(bench, IIR) & 0xc0, 0);
}

static void read_only_registers_stay(void **state)
{
	struct bench *bench = *state;
	uint8_t lsr = in(bench, LSR), msr = in(bench, MSR);

	out(bench, LSR, (uint8_t)~lsr);
	out(bench, MSR, (uint8_t)~msr);
	assert_int_equal(in(bench, LSR), lsr);
	assert_int_equal(in(bench, MSR), msr);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(writes_reach_the_console),
		TEST(transmit_interrupt_is_acknowledged_by_iir),
		TEST(out2_gates_the_interrupt),
		TEST(input_fills_the_fifo_and_no_more),
		TEST(full_console_holds_the_guest_back),
		TEST(full_console_loses_nothing_of_a_burst),
		TEST(clearing_the_transmitter_drops_what_waits),
		TEST(divisor_latch_hides_data),
		TEST(loop_mode_returns_bytes_and_lines),
		TEST(reset_forgets_everything),
		TEST(fifo_control_clears_input),
		TEST(read_only_registers_stay),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
