/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The init of the test guest: a program of one process that answers commands
 * on the console, with child processes that put memory to use.
 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LOAD_MAX 8

/* What a load worker tells of itself; shared with it. */
struct load_stats {
	uint64_t pages_done; /* pages written or checked */
	uint64_t errors;     /* pages that did not hold what was written */
	uint64_t filled;     /* every page was written once */
};

enum load_kind {
	LOAD_SEQUENTIAL, /* goes through all pages in order */
	LOAD_RANDOM,
	/* Touches twice as much, and gives back every page but those it keeps,
	 * which lie at random between the others. */
	LOAD_SPREAD,
};

/* One worker process that fills and checks memory. */
struct load {
	pid_t pid; /* 0: none */
	uint64_t size_mib;
	enum load_kind kind;
	int end_signal; /* what killed it; 0 while it runs */
	struct load_stats *stats;
};

/* Start a worker on size_mib MiB. 0 or a negative errno value. */
int load_start(struct load *load, uint64_t size_mib, enum load_kind kind);

/* End the worker and give its memory back. */
void load_stop(struct load *load);

/* True while the worker runs; notes how it ended if it does not. */
bool load_alive(struct load *load);

/* What a foreground load tells of itself. */
struct pulse {
	uint64_t kib_per_s;
	uint32_t p50_us; /* of one copy */
	uint32_t p99_us;
	uint32_t max_us;
};

/* Copy memory for so long. 0 or a negative errno value. */
int pulse_run(unsigned int seconds, struct pulse *pulse);

/* Load or unload a module of /modules. 0 or a negative errno value. */
int module_insert(const char *file, const char *parameters);
int module_remove(const char *name);

/* Have root read a page, or write a word, at so many physical addresses, step
 * bytes apart, by /dev/mem. Returns how many the kernel let it, or a negative
 * errno value. */
int physical_read(uint64_t address, uint64_t step, unsigned int count);
int physical_write(uint64_t address, uint64_t step, unsigned int count);

/* Write text to a file. 0 or a negative errno value. */
int write_text(const char *path, const char *text);

/* Read up to size - 1 bytes of a file into buf, ended by a NUL. Returns their
 * number or a negative errno value. */
ssize_t read_text(const char *path, char *buf, size_t size);

#endif
