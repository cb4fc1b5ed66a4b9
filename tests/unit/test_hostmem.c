// SPDX-License-Identifier: BSD-3-Clause
/* Host memory: reserved, committed, discarded, and counted by the kernel. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <pthread.h>
#include <cmocka.h>

#include "host/available.h"
#include "host/hostmem.h"
#include "host/thread.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
/* ThreadSanitizer leaves little address space. */
#ifdef __SANITIZE_THREAD__
#define LARGE (512 * GIB)
#else
#define LARGE (16384 * GIB)
#endif

static void make(struct hostmem *mem, uint64_t size)
{
	struct error err = {0};

	if (hostmem_create(mem, "test", size, NULL, &err))
		fail_msg("%s", err.text);
	assert_int_equal((uintptr_t)mem->base % (2 * MIB), 0);
	assert_int_equal(hostmem_resident(mem), 0);
}

/* Touched pages count, in whole huge pages where the host has them. */
static void touched_and_discarded(void **state)
{
	struct hostmem mem;

	make(&mem, 64 * MIB);
	memset(mem.base + 4 * MIB, 1, 2 * MIB);
	mem.base[32 * MIB] = 1;
	assert_in_range(hostmem_resident(&mem), 2 * MIB + 4096, 4 * MIB);
	assert_int_equal(hostmem_discard(&mem, 4 * MIB, 2 * MIB), 0);
	assert_in_range(hostmem_resident(&mem), 4096, 2 * MIB);
	assert_int_equal(mem.base[5 * MIB], 0);
	assert_int_equal(mem.base[32 * MIB], 1);
	assert_int_equal(hostmem_discard(&mem, 0, 64 * MIB), 0);
	assert_int_equal(hostmem_resident(&mem), 0);
	hostmem_destroy(&mem);
	hostmem_destroy(&mem);
}

static void populated(void **state)
{
	struct hostmem mem;

	make(&mem, 64 * MIB);
	mem.base[10 * MIB] = 7;
	assert_int_equal(hostmem_populate(&mem, 8 * MIB, 16 * MIB), 0);
	assert_int_equal(hostmem_resident(&mem), 16 * MIB);
	assert_int_equal(mem.base[10 * MIB], 7);
	assert_int_equal(mem.base[9 * MIB], 0);
	/* Again: nothing more. */
	assert_int_equal(hostmem_populate(&mem, 8 * MIB, 16 * MIB), 0);
	assert_int_equal(hostmem_resident(&mem), 16 * MIB);
	hostmem_destroy(&mem);
}

/* More than the host has: refused, and nothing is committed or lost. */
static void too_much(void **state)
{
	uint64_t available = host_available(0);
	struct hostmem mem;

	if (available == UINT64_MAX)
		skip();
	make(&mem, 512 * GIB);
	mem.base[MIB] = 7;
	assert_int_equal(hostmem_populate(&mem, 0, 512 * GIB), -ENOMEM);
	assert_in_range(hostmem_resident(&mem), 4096, 2 * MIB);
	assert_int_equal(mem.base[MIB], 7);
	hostmem_destroy(&mem);
}

static void large_ones_cost_nothing(void **state)
{
	struct hostmem mem;

	make(&mem, LARGE);
	mem.base[LARGE - 1] = 1;
	assert_in_range(hostmem_resident(&mem), 4096, 2 * MIB);
	hostmem_destroy(&mem);
}

static void no_space(void **state)
{
	struct hostmem mem;
	struct error err = {0};

	assert_true(hostmem_create(&mem, "huge", 1ULL << 62, NULL, &err) < 0);
	assert_non_null(strstr(err.text, "huge"));
	hostmem_destroy(&mem);
}

struct work {
	struct hostmem *mem;
	uint64_t start;
	int result;
};

static void *commit_and_discard(void *arg)
{
	struct work *work = arg;

	for (int i = 0; i < 50 && !work->result; i++) {
		work->result =
			hostmem_populate(work->mem, work->start, 4 * MIB);
		work->mem->base[work->start] = (uint8_t)i;
		if (!work->result)
			work->result = hostmem_discard(work->mem, work->start,
						       4 * MIB);
	}
	return NULL;
}

static void side_by_side(void **state)
{
	struct hostmem mem;
	struct work work[4];
	pthread_t threads[4];

	make(&mem, 64 * MIB);
	for (unsigned int i = 0; i < 4; i++) {
		work[i] = (struct work){&mem, i * 4 * MIB, 0};
		assert_int_equal(thread_start(&threads[i], "work",
					      commit_and_discard, &work[i]),
				 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(work[i].result, 0);
	}
	assert_int_equal(hostmem_resident(&mem), 0);
	hostmem_destroy(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touched_and_discarded),
		cmocka_unit_test(populated),
		cmocka_unit_test(too_much),
		cmocka_unit_test(large_ones_cost_nothing),
		cmocka_unit_test(no_space),
		cmocka_unit_test(side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
