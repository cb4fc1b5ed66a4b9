/* SPDX-License-Identifier: BSD-3-Clause */
/* What all of the bare guest uses: the console, and how commands are made. */
#ifndef BARE_BARE_H
#define BARE_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/*
 * Print. Knows %s, %c, %d, %u, %x (int) and %lu, %lx (64 bits), and a width
 * with leading zeros. A line of an answer begins with answer().
 */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Begin a line of the answer to the command that runs: "@SEQUENCE ". */
void answer(void);

/* A line from the host, without its end; waits for it. Cut at size. */
void read_line(char *line, size_t size);

/*
 * Have the host do something, and wait until it is done: the line
 * "@SEQUENCE ASK what device value", answered by any line.
 */
void ask_host(const char *what, unsigned int device, uint64_t value);

/* Split off the next word of *text; an empty string at the end. */
char *next_word(char **text);
/* A number: decimal, or hexadecimal with 0x; K, M, G, T may follow. 0 if it
 * is none. */
uint64_t number(const char *word);
bool same(const char *a, const char *b);
/* The value of KEY=VALUE on the command line, as a number. */
uint64_t boot_number(const char *key, uint64_t otherwise);

void wait_us(uint64_t us);

/* A verb; returns the status of the answer, 0 if all is well. */
struct verb {
	const char *name;
	int (*run)(char *args);
	const char *help;
};

extern const struct verb conformance_verbs[], drive_verbs[], hostile_verbs[],
	memory_verbs[];

#endif
