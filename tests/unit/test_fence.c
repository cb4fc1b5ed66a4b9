// SPDX-License-Identifier: BSD-3-Clause
/*
 * The fence, on a plain mapping: touches come from a second thread of this
 * process. Where this user may not have a userfaultfd the tests are skipped.
 */
#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/fence.h"

#define BLOCK	  (2ULL << 20)
#define NR_BLOCKS 64
#define WAIT_MS	  10000

struct world {
	struct fence fence;
	struct fence_region region;
	struct hostmem mem;
	struct error why_not; /* there is no fence here */
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct error err;

	assert_non_null(w);
	assert_int_equal(hostmem_create(&w->mem, "fence", NR_BLOCKS * BLOCK,
					NULL, &err),
			 0);
	w->fence.fd = -1;
	*state = w;
	if (fence_create(&w->fence, &w->why_not) == 0)
		assert_int_equal(fence_add(&w->fence, &w->region, &w->mem,
					   BLOCK, &err),
				 0);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fence_destroy(&w->fence);
	fence_region_destroy(&w->region);
	hostmem_destroy(&w->mem);
	free(w);
	return 0;
}

static struct world *world(void **state)
{
	struct world *w = *state;

	if (w->fence.fd < 0) {
		print_message("%s\n", w->why_not.text);
		skip();
	}
	return w;
}

/* ---- Touches ----------------------------------------------------------- */

struct touch {
	volatile uint8_t *at;
	bool write;
	int tid;
	pthread_t thread;
};

static void *touch_thread(void *arg)
{
	struct touch *touch = arg;

	touch->tid = (int)syscall(SYS_gettid);
	if (touch->write)
		*touch->at = 1;
	else
		(void)*touch->at;
	return NULL;
}

static void touch_start(struct touch *touch, const struct world *w,
			uint64_t offset, bool write)
{
	*touch = (struct touch){.at = w->mem.base + offset, .write = write};
	assert_int_equal(
		pthread_create(&touch->thread, NULL, touch_thread, touch), 0);
}

static void touch_join(struct touch *touch)
{
	assert_int_equal(pthread_join(touch->thread, NULL), 0);
}

static struct fence_fault wait_fault(struct world *w)
{
	struct pollfd fd = {.fd = w->fence.fd, .events = POLLIN};
	struct fence_fault fault = {0};

	assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
	assert_int_equal(fence_next(&w->fence, &fault), 1);
	return fault;
}

static void assert_held(const struct world *w, uint64_t bytes)
{
	assert_int_equal(hostmem_resident(&w->mem), bytes);
}

/* The blocks that are open are touched without anybody being asked. */
static void assert_free(struct world *w, uint64_t block)
{
	struct fence_fault fault;

	w->mem.base[block * BLOCK] = 1;
	assert_int_equal(fence_next(&w->fence, &fault), 0);
}

/* ---- Tests ------------------------------------------------------------- */

/* All is closed again, to whoever was held before as well, and what was there
 * is there no more. */
static void test_renewed_is_held(void **state)
{
	struct world *w = world(state);
	struct touch before, after;

	fence_open(&w->fence, &w->region, BLOCK, 2 * BLOCK);
	assert_free(w, 1);
	touch_start(&before, w, 7 * BLOCK, true);
	wait_fault(w);
	assert_int_equal(fence_renew(&w->fence, &w->region), 0);
	assert_int_equal(w->fence.nr_mappings, 1);
	assert_int_equal(hostmem_discard_old(&w->mem), 0);
	assert_held(w, 0);
	wait_fault(w); /* it tried again */
	assert_false(fence_is_open(&w->fence, &w->region, BLOCK, BLOCK));
	touch_start(&after, w, BLOCK, false);
	assert_int_equal(wait_fault(w).address & ~4095ULL,
			 (uintptr_t)w->mem.base + BLOCK);
	assert_held(w, 0);
	fence_open(&w->fence, &w->region, 0, NR_BLOCKS * BLOCK);
	touch_join(&before);
	touch_join(&after);
	assert_int_equal(w->mem.base[BLOCK], 0);
	assert_int_equal(w->mem.base[7 * BLOCK], 1);
}

static void test_closed_is_held(void **state)
{
	struct world *w = world(state);
	struct fence_fault fault;
	struct touch touch;

	touch_start(&touch, w, 3 * BLOCK + 5 * 4096, true);
	fault = wait_fault(w);
	assert_int_equal(fault.address & ~4095ULL,
			 (uintptr_t)w->mem.base + 3 * BLOCK + 5 * 4096);
	assert_true(fault.write);
	assert_held(w, 0);
	/* Opened, it goes on. */
	fence_open(&w->fence, &w->region, 3 * BLOCK, BLOCK);
	touch_join(&touch);
	assert_int_equal(fault.tid, touch.tid);
	assert_int_equal(fence_next(&w->fence, &fault), 0);
}

static void test_read_is_told_from_write(void **state)
{
	struct world *w = world(state);
	struct touch touch;

	touch_start(&touch, w, 0, false);
	assert_false(wait_fault(w).write);
	fence_open(&w->fence, &w->region, 0, BLOCK);
	touch_join(&touch);
}

static void test_open_is_free(void **state)
{
	struct world *w = world(state);

	fence_open(&w->fence, &w->region, 8 * BLOCK, 4 * BLOCK);
	for (uint64_t i = 8; i < 12; i++)
		assert_free(w, i);
	assert_true(fence_is_open(&w->fence, &w->region, 8 * BLOCK, 4 * BLOCK));
	assert_false(
		fence_is_open(&w->fence, &w->region, 8 * BLOCK, 4 * BLOCK + 1));
	assert_false(
		fence_is_open(&w->fence, &w->region, 8 * BLOCK - 1, BLOCK));
}

static void test_close_then_discard_leaves_nothing(void **state)
{
	struct world *w = world(state);
	struct touch touch;

	fence_open(&w->fence, &w->region, 0, 8 * BLOCK);
	for (uint64_t i = 0; i < 8; i++)
		assert_free(w, i);
	assert_int_equal(
		fence_close(&w->fence, &w->region, 2 * BLOCK, 4 * BLOCK), 0);
	assert_int_equal(hostmem_discard(&w->mem, 2 * BLOCK, 4 * BLOCK), 0);
	assert_free(w, 1);
	assert_free(w, 6);
	touch_start(&touch, w, 4 * BLOCK, true);
	wait_fault(w);
	fence_open(&w->fence, &w->region, 4 * BLOCK, BLOCK);
	touch_join(&touch);
}

static sigjmp_buf escape;

static void on_fault(int number)
{
	siglongjmp(escape, 1);
}

static bool can_touch(const struct world *w, uint64_t offset)
{
	const struct sigaction action = {.sa_handler = on_fault};
	struct sigaction before;
	volatile bool can = false;

	sigaction(SIGSEGV, &action, &before);
	if (sigsetjmp(escape, 1) == 0) {
		*(volatile uint8_t *)(w->mem.base + offset) = 1;
		can = true;
	}
	sigaction(SIGSEGV, &before, NULL);
	return can;
}

/* What is there still is out of reach, and what is no more is held. */
static void test_closed_and_shut(void **state)
{
	struct world *w = world(state);
	struct fence_fault fault;
	struct touch touch;

	fence_open(&w->fence, &w->region, 0, 8 * BLOCK);
	for (uint64_t i = 0; i < 8; i++)
		assert_free(w, i);
	assert_int_equal(fence_close_shut(&w->fence, &w->region, 2 * BLOCK,
					  4 * BLOCK),
			 0);
	assert_false(fence_is_open(&w->fence, &w->region, 2 * BLOCK, 1));
	assert_true(fence_is_shut(&w->fence, &w->region, 0, 3 * BLOCK));
	assert_false(fence_is_shut(&w->fence, &w->region, 0, 2 * BLOCK));
	for (uint64_t i = 2; i < 6; i++)
		assert_false(can_touch(w, i * BLOCK));
	assert_int_equal(fence_next(&w->fence, &fault), 0);
	assert_free(w, 1);
	assert_free(w, 6);
	/* One whose touch was late is shut for longer. */
	assert_int_equal(fence_shut(&w->fence, &w->region, 3 * BLOCK), 0);
	assert_int_equal(hostmem_discard(&w->mem, 2 * BLOCK, 4 * BLOCK), 0);
	assert_int_equal(fence_discarded(&w->fence, &w->region, 2 * BLOCK,
					 4 * BLOCK),
			 0);
	assert_false(can_touch(w, 3 * BLOCK));
	assert_true(fence_is_shut(&w->fence, &w->region, 3 * BLOCK, 1));
	assert_int_equal(fence_unshut(&w->fence, &w->region, 3 * BLOCK), 0);
	assert_false(fence_is_shut(&w->fence, &w->region, 0, 8 * BLOCK));
	touch_start(&touch, w, 3 * BLOCK, true);
	wait_fault(w);
	fence_open(&w->fence, &w->region, 3 * BLOCK, BLOCK);
	touch_join(&touch);
}

/* Mappings are counted as the kernel has them. */
static unsigned int nr_mappings(const struct world *w)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long long start, end;
	char line[512];
	unsigned int nr = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 &&
		    start >= (uintptr_t)w->mem.base &&
		    end <= (uintptr_t)w->mem.base + w->mem.size)
			nr++;
	}
	fclose(maps);
	return nr;
}

static void test_mappings_are_counted(void **state)
{
	struct world *w = world(state);

	srand(1);
	for (int i = 0; i < 500; i++) {
		uint64_t first = (uint64_t)rand() % NR_BLOCKS;
		uint64_t nr = 1 + (uint64_t)rand() % (NR_BLOCKS - first);

		if (fence_is_open(&w->fence, &w->region, first * BLOCK,
				  nr * BLOCK)) {
			assert_int_equal(fence_close_shut(&w->fence, &w->region,
							  first * BLOCK,
							  nr * BLOCK),
					 0);
			assert_int_equal(w->fence.nr_mappings, nr_mappings(w));
			assert_int_equal(fence_discarded(&w->fence, &w->region,
							 first * BLOCK,
							 nr * BLOCK),
					 0);
		} else if (rand() % 2) {
			assert_int_equal(fence_close(&w->fence, &w->region,
						     first * BLOCK, nr * BLOCK),
					 0);
		} else {
			fence_open(&w->fence, &w->region, first * BLOCK,
				   nr * BLOCK);
		}
		assert_int_equal(w->fence.nr_mappings, nr_mappings(w));
	}
}

/* Lowered it holds nobody, opened or closed meanwhile; raised it holds those
 * who touch what is closed, and what they took is gone. */
static void test_lowered_and_raised(void **state)
{
	struct world *w = world(state);
	uint64_t offset = 0, size;
	unsigned int nr_held = 0;
	struct touch touch;

	fence_open(&w->fence, &w->region, 0, 4 * BLOCK);
	assert_free(w, 2);
	touch_start(&touch, w, 9 * BLOCK, true);
	wait_fault(w);
	fence_lower(&w->fence, &w->region);
	touch_join(&touch);
	assert_free(w, 30);
	assert_int_equal(fence_close(&w->fence, &w->region, 0, 2 * BLOCK), 0);
	assert_false(fence_is_open(&w->fence, &w->region, 0, BLOCK));
	assert_free(w, 1);
	fence_open(&w->fence, &w->region, 20 * BLOCK, BLOCK);
	assert_free(w, 20);
	assert_int_equal(nr_mappings(w), 1);

	assert_int_equal(fence_raise(&w->fence, &w->region), 0);
	assert_int_equal(w->fence.nr_mappings, nr_mappings(w));
	while (hostmem_next_held(&w->mem, &offset, &size) == 1) {
		assert_true(offset / BLOCK == 2 || offset / BLOCK == 20);
		assert_true((offset + size - 1) / BLOCK == offset / BLOCK);
		nr_held++;
		offset += size;
	}
	assert_int_equal(nr_held, 2);
	assert_free(w, 2);
	assert_free(w, 20);
	assert_int_equal(w->mem.base[2 * BLOCK], 1);
	touch_start(&touch, w, 30 * BLOCK, true);
	wait_fault(w);
	fence_open(&w->fence, &w->region, 30 * BLOCK, BLOCK);
	touch_join(&touch);
}

static void test_budget(void **state)
{
	struct world *w = world(state);
	struct fence_fault fault;
	struct touch touch;

	/* One mapping is there; each lone block takes two more. */
	w->fence.max_mappings = 9;
	for (uint64_t i = 1; i < NR_BLOCKS; i += 2)
		fence_open(&w->fence, &w->region, i * BLOCK, BLOCK);
	assert_true(w->fence.nr_mappings <= 9);
	assert_true(nr_mappings(w) <= 9);
	assert_free(w, 1);
	assert_free(w, 7);

	/* Beyond the budget a touch is held once, and lets the block come. */
	touch_start(&touch, w, 21 * BLOCK + 4096, true);
	fault = wait_fault(w);
	assert_int_equal(fault.address & ~4095ULL,
			 (uintptr_t)w->mem.base + 21 * BLOCK + 4096);
	assert_int_equal(fence_let_pass(&w->fence, &w->region, 21 * BLOCK), 0);
	touch_join(&touch);
	assert_free(w, 21);
	assert_true(w->fence.nr_mappings <= 9);

	/* What takes no mapping more is free at once. */
	fence_open(&w->fence, &w->region, 2 * BLOCK, BLOCK);
	assert_free(w, 2);

	/* Where there is room again, the run around it becomes free. */
	assert_int_equal(fence_close(&w->fence, &w->region, 0, 8 * BLOCK), 0);
	touch_start(&touch, w, 31 * BLOCK, true);
	wait_fault(w);
	assert_int_equal(fence_let_pass(&w->fence, &w->region, 31 * BLOCK), 0);
	touch_join(&touch);
	w->mem.base[31 * BLOCK + BLOCK - 1] = 1;
	assert_int_equal(w->fence.nr_mappings, nr_mappings(w));
	assert_true(w->fence.nr_mappings <= 9);
}

static void test_shut_fails_those_who_touch(void **state)
{
	struct world *w = world(state);
	struct fence_fault fault;
	ssize_t got;
	int fds[2];

	/* The kernel's own accesses get EFAULT. */
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(fence_shut(&w->fence, &w->region, 5 * BLOCK), 0);
	got = read(fds[0], w->mem.base + 5 * BLOCK, 1);
	assert_int_equal(got, -1);
	assert_int_equal(errno, EFAULT);
	assert_false(can_touch(w, 5 * BLOCK + BLOCK - 1));
	assert_int_equal(fence_next(&w->fence, &fault), 0);
	assert_held(w, 0);

	assert_int_equal(fence_unshut(&w->fence, &w->region, 5 * BLOCK), 0);
	assert_int_equal(w->fence.nr_mappings, 1);
	fence_open(&w->fence, &w->region, 5 * BLOCK, BLOCK);
	assert_true(can_touch(w, 5 * BLOCK));
	close(fds[0]);
	close(fds[1]);
}

/* A touch races the close and the discard of its block: it succeeds before,
 * or is held after; nothing stays. */
static void test_race_leaves_nothing(void **state)
{
	struct world *w = world(state);

	for (int i = 0; i < 300; i++) {
		struct pollfd fd = {.fd = w->fence.fd, .events = POLLIN};
		struct fence_fault fault;
		struct touch touch;

		fence_open(&w->fence, &w->region, 9 * BLOCK, BLOCK);
		touch_start(&touch, w, 9 * BLOCK, true);
		if (i % 3)
			usleep((useconds_t)(i % 50));
		assert_int_equal(fence_close(&w->fence, &w->region, 9 * BLOCK,
					     BLOCK),
				 0);
		assert_int_equal(hostmem_discard(&w->mem, 9 * BLOCK, BLOCK), 0);
		assert_held(w, 0);
		poll(&fd, 1, 1);
		if (fence_next(&w->fence, &fault) == 1)
			assert_held(w, 0);
		fence_open(&w->fence, &w->region, 9 * BLOCK, BLOCK);
		while (pthread_tryjoin_np(touch.thread, NULL) == EBUSY) {
			/* One at the time of the opening. */
			if (fence_next(&w->fence, &fault) == 1)
				assert_int_equal(fence_let_pass(&w->fence,
								&w->region,
								9 * BLOCK),
						 0);
		}
		assert_int_equal(fence_close(&w->fence, &w->region, 9 * BLOCK,
					     BLOCK),
				 0);
		assert_int_equal(hostmem_discard(&w->mem, 9 * BLOCK, BLOCK), 0);
		while (fence_next(&w->fence, &fault) == 1)
			;
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_closed_is_held),
		TEST(test_renewed_is_held),
		TEST(test_read_is_told_from_write),
		TEST(test_open_is_free),
		TEST(test_close_then_discard_leaves_nothing),
		TEST(test_mappings_are_counted),
		TEST(test_lowered_and_raised),
		TEST(test_closed_and_shut),
		TEST(test_budget),
		TEST(test_shut_fails_those_who_touch),
		TEST(test_race_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
