/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory load: a process that fills memory with a pattern and checks it again
 * and again, so that a page that got lost while memory moved is found.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define LOAD_NICE 10

#define PAGE  4096
#define WORDS (PAGE / sizeof(uint64_t))

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ULL;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	return x ^ (x >> 32);
}

/* First, middle and last word of a page: what tells it from all others. */
static void page_write(volatile uint64_t *page, uint64_t index)
{
	page[0] = mix(index);
	page[WORDS / 2] = mix(index + 1);
	page[WORDS - 1] = ~mix(index);
}

static bool page_good(const volatile uint64_t *page, uint64_t index)
{
	return page[0] == mix(index) && page[WORDS / 2] == mix(index + 1) &&
	       page[WORDS - 1] == ~mix(index);
}

/* Of the pages 2i and 2i + 1, the one that a spread load keeps. */
static uint64_t kept(uint64_t i)
{
	return 2 * i + (mix(i) >> 63);
}

/* Give back what is not kept; the pages kept are those of another order. */
static void spread(struct load *load, uint64_t *memory, uint64_t nr_pages)
{
	for (uint64_t i = 0; i < nr_pages; i++)
		madvise(memory + (kept(i) ^ 1) * WORDS, PAGE, MADV_DONTNEED);
	load->stats->filled = 1;
	for (uint64_t i = 0;; i = (i + 1) % nr_pages) {
		uint64_t *page = memory + kept(i) * WORDS;

		if (!page_good(page, kept(i)))
			load->stats->errors++;
		load->stats->pages_done++;
		if (i % 64 == 0)
			usleep(1000);
	}
}

static void worker(struct load *load, uint64_t *memory)
{
	struct load_stats *stats = load->stats;
	uint64_t nr_pages = (load->size_mib << 20) / PAGE;
	uint64_t nr_first = load->kind == LOAD_SPREAD ? 2 * nr_pages : nr_pages;
	uint64_t state = 1;

	for (uint64_t i = 0; i < nr_first; i++) {
		page_write(memory + i * WORDS, i);
		stats->pages_done++;
	}
	if (load->kind == LOAD_SPREAD)
		spread(load, memory, nr_pages);
	stats->filled = 1;
	for (uint64_t turn = 0;; turn++) {
		uint64_t i = turn % nr_pages;

		if (load->kind == LOAD_RANDOM) {
			state = mix(state + turn);
			i = state % nr_pages;
		}
		if (!page_good(memory + i * WORDS, i))
			stats->errors++;
		page_write(memory + i * WORDS, i);
		stats->pages_done++;
	}
}

int load_start(struct load *load, uint64_t size_mib, enum load_kind kind)
{
	uint64_t *memory;
	uint64_t size = size_mib << (kind == LOAD_SPREAD ? 21 : 20);

	if (size_mib == 0 || size_mib > (1 << 24))
		return -EINVAL;
	memset(load, 0, sizeof(*load));
	load->size_mib = size_mib;
	load->kind = kind;
	load->stats = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (load->stats == MAP_FAILED)
		return -errno;
	load->pid = fork();
	if (load->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A load on memory, not on the processor. */
		setpriority(PRIO_PROCESS, 0, LOAD_NICE);
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			      0);
		if (memory == MAP_FAILED)
			_exit(1);
		if (kind == LOAD_SPREAD)
			madvise(memory, size, MADV_NOHUGEPAGE);
		worker(load, memory);
	}
	if (load->pid < 0) {
		int code = -errno;

		munmap(load->stats, PAGE);
		load->pid = 0;
		return code;
	}
	return 0;
}

bool load_alive(struct load *load)
{
	int status;

	if (load->pid && !load->end_signal &&
	    waitpid(load->pid, &status, WNOHANG) == load->pid)
		load->end_signal = WIFSIGNALED(status) ? WTERMSIG(status) : -1;
	return load->pid && !load->end_signal;
}

void load_stop(struct load *load)
{
	if (!load->pid)
		return;
	if (load_alive(load)) {
		kill(load->pid, SIGKILL);
		waitpid(load->pid, NULL, 0);
	}
	munmap(load->stats, PAGE);
	memset(load, 0, sizeof(*load));
}
