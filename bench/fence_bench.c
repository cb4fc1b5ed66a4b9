// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the guard's fence costs, in the pattern that is worst for it: 1 TiB in
 * blocks of 2 MiB, every other one open; and what the alternatives would cost
 * there. Needs a userfaultfd; KVM's part is left out where there is no KVM.
 *
 *     fence-bench [GIB]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/fence.h"

#define MIB	   (1ULL << 20)
#define GIB	   (1ULL << 30)
#define BLOCK	   (2 * MIB)
#define NR_TOUCHES 200
#define NR_OPS	   2000

struct bench {
	struct hostmem mem;
	struct fence fence;
	struct fence_region region;
	uint64_t nr_blocks;
	int pipe[2];
};

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Median, and the one that 99 of 100 stay below. */
static void show(const char *what, double *us, unsigned int nr)
{
	qsort(us, nr, sizeof(*us), compare);
	printf("  %-52s %9.1f %9.1f us\n", what, us[nr / 2],
	       us[nr - 1 - nr / 100]);
}

/* ---- The fence --------------------------------------------------------- */

/* A touch of a page of a region that is all in the fence, as if all of it were
 * handled so: the handler gives a page of zeros. */
static void *give_pages(void *arg)
{
	struct bench *b = arg;
	struct pollfd fd = {.fd = b->fence.fd, .events = POLLIN};
	struct fence_fault fault;

	for (unsigned int nr = 0; nr < NR_TOUCHES;) {
		struct uffdio_zeropage page = {.range.len = 4096};

		poll(&fd, 1, -1);
		while (fence_next(&b->fence, &fault) == 1) {
			page.range.start = fault.address & ~4095ULL;
			ioctl(b->fence.fd, UFFDIO_ZEROPAGE, &page);
			nr++;
		}
	}
	return NULL;
}

/* Handles faults as the guard does. */
static void *handler(void *arg)
{
	struct bench *b = arg;
	struct pollfd fds[] = {{.fd = b->fence.fd, .events = POLLIN},
			       {.fd = b->pipe[0], .events = POLLIN}};
	struct fence_fault fault;

	for (;;) {
		poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		while (fence_next(&b->fence, &fault) == 1) {
			uint64_t offset =
				fault.address - (uintptr_t)b->mem.base;

			if (fence_is_open(&b->fence, &b->region, offset, 1))
				fence_let_pass(&b->fence, &b->region, offset);
			else
				fence_shut(&b->fence, &b->region, offset);
		}
	}
}

static void open_every_other(struct bench *b)
{
	double begin = now_us(), half = begin;

	for (uint64_t i = 1; i < b->nr_blocks; i += 2) {
		if (i == b->nr_blocks / 2 + 1)
			half = now_us();
		fence_open(&b->fence, &b->region, i * BLOCK, BLOCK);
	}
	printf("  %-52s %9.1f %9.1f us\n",
	       "open a block: all in order, first half and second",
	       (half - begin) / (double)(b->nr_blocks / 4),
	       (now_us() - half) / (double)(b->nr_blocks / 4));
	printf("  %-52s %9u of %u\n", "mappings used", b->fence.nr_mappings,
	       b->fence.max_mappings);
}

/* Time to close and to open a block again, at places all over the region. */
static void open_and_close(struct bench *b, const char *when, uint64_t limit)
{
	static double close_us[NR_OPS], open_us[NR_OPS];
	char what[64];

	for (unsigned int i = 0; i < NR_OPS; i++) {
		uint64_t block = (i * 7919ULL % (limit / 2)) * 2 + 1;
		double t0 = now_us(), t1;

		fence_close(&b->fence, &b->region, block * BLOCK, BLOCK);
		t1 = now_us();
		fence_open(&b->fence, &b->region, block * BLOCK, BLOCK);
		close_us[i] = t1 - t0;
		open_us[i] = now_us() - t1;
	}
	snprintf(what, sizeof(what), "close a block (%s)", when);
	show(what, close_us, NR_OPS);
	snprintf(what, sizeof(what), "open a block (%s)", when);
	show(what, open_us, NR_OPS);
}

/* Touch blocks one after the other: as the kernel touches them for KVM, so that
 * a refusal is an error and no signal. */
static void touch(struct bench *b, const char *what, uint64_t first,
		  int expected)
{
	static double us[NR_TOUCHES];
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	for (unsigned int i = 0; i < NR_TOUCHES; i++) {
		uint8_t *at = b->mem.base + (first + 2ULL * i) * BLOCK;
		double begin = now_us();
		ssize_t got = read(zero, at, 1);

		us[i] = now_us() - begin;
		if ((got == 1 ? 0 : errno) != expected)
			printf("  unexpected: %zd, %s\n", got, strerror(errno));
	}
	close(zero);
	show(what, us, NR_TOUCHES);
	hostmem_discard(&b->mem, first * BLOCK, 2ULL * NR_TOUCHES * BLOCK);
}

static void bench_fence(struct bench *b)
{
	pthread_t thread;
	uint64_t end = b->nr_blocks;

	printf("the fence, %llu GiB in blocks of 2 MiB     "
	       "median, 99 of 100 below\n",
	       (unsigned long long)(b->mem.size / GIB));
	pthread_create(&thread, NULL, give_pages, b);
	touch(b, "touch a page that a thread has to give", 0, 0);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, handler, b);
	open_and_close(b, "few open", 4096);
	fence_close(&b->fence, &b->region, 0, b->mem.size);
	open_every_other(b);
	open_and_close(b, "every other open, in the budget", 16384);
	touch(b, "touch an open block, in the budget", 1, 0);
	touch(b, "touch an open block, beyond the budget",
	      end - 2 * NR_TOUCHES - 1, 0);
	touch(b, "touch a closed block (refused)", end - 2 * NR_TOUCHES - 2,
	      EFAULT);
	if (hostmem_resident(&b->mem) != 0)
		printf("  unexpected: %lld bytes are held\n",
		       (long long)hostmem_resident(&b->mem));
	(void)!write(b->pipe[1], "", 1);
	pthread_join(thread, NULL);
}

/* ---- Alternatives ------------------------------------------------------ */

static void bench_mprotect(uint64_t size)
{
	struct hostmem mem;
	struct error err;
	uint64_t nr = 0;

	if (hostmem_create(&mem, "mprotect", size, NULL, &err))
		return;
	mprotect(mem.base, size, PROT_NONE);
	for (uint64_t i = 1; i < size / BLOCK; i += 2, nr++) {
		if (mprotect(mem.base + i * BLOCK, BLOCK,
			     PROT_READ | PROT_WRITE) < 0)
			break;
	}
	printf("mprotect: %llu of %llu lone blocks, then %s\n",
	       (unsigned long long)nr, (unsigned long long)(size / BLOCK / 2),
	       strerror(errno));
	hostmem_destroy(&mem);
}

static int set_slot(int vm, unsigned int slot, const struct hostmem *mem,
		    uint64_t block, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = 4 * GIB + block * BLOCK,
		.memory_size = size,
		.userspace_addr = (uintptr_t)mem->base + block * BLOCK,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* A memory slot a lone block: as many as KVM takes, and what one costs. */
static void bench_slots(uint64_t size)
{
	static double us[NR_OPS];
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	struct hostmem mem;
	struct error err;
	unsigned int nr = 0;
	double begin;

	if (vm < 0 || hostmem_create(&mem, "slots", size, NULL, &err)) {
		printf("memory slots: no KVM here\n");
		return;
	}
	begin = now_us();
	while (nr < size / BLOCK / 2 &&
	       set_slot(vm, nr, &mem, 2ULL * nr + 1, BLOCK) == 0)
		nr++;
	printf("memory slots: %u of %llu lone blocks, %.1f us each\n", nr,
	       (unsigned long long)(size / BLOCK / 2), (now_us() - begin) / nr);
	for (unsigned int i = 0; i < NR_OPS / 10; i++) {
		unsigned int slot = i * 7919U % nr;

		begin = now_us();
		set_slot(vm, slot, &mem, 2ULL * slot + 1, 0);
		us[i] = now_us() - begin;
		set_slot(vm, slot, &mem, 2ULL * slot + 1, BLOCK);
	}
	show("take a slot away (no vCPU runs)", us, NR_OPS / 10);
	close(vm);
	close(kvm);
	hostmem_destroy(&mem);
}

int main(int argc, char **argv)
{
	uint64_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1024) * GIB;
	const struct hostmem_placement small = {.pages = HOSTMEM_PAGES_4K};
	struct bench b = {.nr_blocks = size / BLOCK};
	struct error err;

	if (size < 16 * GIB) {
		fprintf(stderr, "fence-bench: 16 GiB at least\n");
		return 2;
	}
	if (hostmem_create(&b.mem, "fence", size, &small, &err) ||
	    fence_create(&b.fence, &err) ||
	    fence_add(&b.fence, &b.region, &b.mem, BLOCK, &err) ||
	    pipe(b.pipe) < 0) {
		fprintf(stderr, "fence-bench: %s\n", err.text);
		return 1;
	}
	bench_fence(&b);
	fence_destroy(&b.fence);
	fence_region_destroy(&b.region);
	hostmem_destroy(&b.mem);
	bench_mprotect(size);
	bench_slots(size);
	return 0;
}
