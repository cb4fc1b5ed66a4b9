// SPDX-License-Identifier: BSD-3-Clause
/* The console, words and numbers, and what a compiler takes for granted. */
#include <stdarg.h>
#include <string.h>

#include "arch.h"
#include "bare.h"

/* ---- What the compiler calls ------------------------------------------- */

void *memcpy(void *to, const void *from, size_t len)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	while (len--)
		*t++ = *f++;
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	uint8_t *t = to;
	const uint8_t *f = from;

	if (t <= f)
		return memcpy(to, from, len);
	while (len--)
		t[len] = f[len];
	return to;
}

void *memset(void *to, int value, size_t len)
{
	uint8_t *t = to;

	/* Words where possible: some KVMs emulate each store. */
	for (; len >= 8 && (uint64_t)t % 8 == 0; len -= 8, t += 8)
		*(uint64_t *)(void *)t = 0x0101010101010101 * (uint8_t)value;
	while (len--)
		*t++ = (uint8_t)value;
	return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < len; i++) {
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	}
	return 0;
}

/* ---- Printing ---------------------------------------------------------- */

/* A line goes out as a whole. */
static char line_out[256];
static size_t line_len;

static void put_char(char c)
{
	line_out[line_len++] = c;
	if (c != '\n' && line_len < sizeof(line_out))
		return;
	arch_console_write(line_out, line_len);
	line_len = 0;
}

static void put_text(const char *text)
{
	while (*text)
		put_char(*text++);
}

static void put_number(uint64_t value, unsigned int base, unsigned int width)
{
	char digits[24];
	unsigned int nr = 0;

	do {
		digits[nr++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value && nr < sizeof(digits));
	for (unsigned int i = nr; i < width; i++)
		put_char('0');
	while (nr)
		put_char(digits[--nr]);
}

static void put_signed(int value)
{
	if (value < 0)
		put_char('-');
	put_number(value < 0 ? -(int64_t)value : value, 10, 0);
}

/* What follows a '%': returns the last character of it. */
static const char *put_value(const char *fmt, va_list *args)
{
	unsigned int width = 0;
	bool wide;
	uint64_t value;

	for (; *fmt >= '0' && *fmt <= '9'; fmt++)
		width = width * 10 + (unsigned int)(*fmt - '0');
	wide = *fmt == 'l';
	if (wide)
		fmt++;
	switch (*fmt) {
	case 's':
		put_text(va_arg(*args, const char *));
		break;
	case 'c':
		put_char((char)va_arg(*args, int));
		break;
	case 'd':
		put_signed(va_arg(*args, int));
		break;
	case 'u':
	case 'x':
		value = wide ? va_arg(*args, unsigned long)
			     : va_arg(*args, unsigned int);
		put_number(value, *fmt == 'x' ? 16 : 10, width);
		break;
	default:
		put_char(*fmt);
		break;
	}
	return fmt;
}

void print(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	for (; *fmt; fmt++) {
		if (*fmt == '%')
			fmt = put_value(fmt + 1, &args);
		else
			put_char(*fmt);
	}
	va_end(args);
}

#define POLLS 500 /* before going to sleep */

/* ---- Reading ----------------------------------------------------------- */

void read_line(char *line, size_t size)
{
	unsigned int idle = 0;
	size_t len = 0;

	for (;;) {
		int byte = arch_console_get();

		if (byte < 0) {
			if (idle++ > POLLS)
				arch_sleep();
			continue;
		}
		idle = 0;
		if (byte == '\n' || byte == '\r')
			break;
		if (len + 1 < size)
			line[len++] = (char)byte;
	}
	line[len] = 0;
}

char *next_word(char **text)
{
	char *word;

	while (**text == ' ')
		(*text)++;
	word = *text;
	while (**text && **text != ' ')
		(*text)++;
	if (**text)
		*(*text)++ = 0;
	return word;
}

static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a') + 10;
	return 99;
}

uint64_t number(const char *word)
{
	static const char units[] = "KMGT";
	unsigned int base = 10;
	uint64_t value = 0;

	if (word[0] == '0' && word[1] == 'x') {
		base = 16;
		word += 2;
	}
	for (; digit_of(*word) < base; word++)
		value = value * base + digit_of(*word);
	for (unsigned int i = 0; units[i]; i++) {
		if (*word == units[i])
			value <<= 10 * (i + 1);
	}
	return value;
}

bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* ---- Time --------------------------------------------------------------- */

void wait_us(uint64_t us)
{
	uint64_t until = arch_now_us() + us;

	while (arch_now_us() < until)
		arch_relax();
}
