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

static void worker(struct load *load, uint64_t *memory)
{
	struct load_stats *stats = load->stats;
	uint64_t nr_pages = (load->size_mib << 20) / PAGE;
	uint64_t state = 1;

	for (uint64_t i = 0; i < nr_pages; i++) {
		page_write(memory + i * WORDS, i);
		stats->pages_done++;
	}
	stats->filled = 1;
	for (uint64_t turn = 0;; turn++) {
		uint64_t i = turn % nr_pages;

		if (load->random) {
			state = mix(state + turn);
			i = state % nr_pages;
		}
		if (!page_good(memory + i * WORDS, i))
			stats->errors++;
		page_write(memory + i * WORDS, i);
		stats->pages_done++;
	}
}

int load_start(struct load *load, uint64_t size_mib, bool random)
{
	uint64_t *memory;

	if (size_mib == 0 || size_mib > (1 << 24))
		return -EINVAL;
	memset(load, 0, sizeof(*load));
	load->size_mib = size_mib;
	load->random = random;
	load->stats = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (load->stats == MAP_FAILED)
		return -errno;
	load->pid = fork();
	if (load->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A load on memory, not on the processor. */
		setpriority(PRIO_PROCESS, 0, LOAD_NICE);
		memory = mmap(NULL, size_mib << 20, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			      0);
		if (memory == MAP_FAILED)
			_exit(1);
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
