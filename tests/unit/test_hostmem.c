// SPDX-License-Identifier: BSD-3-Clause
/* Host memory: reserved, committed, discarded, and counted by the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>
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
	uint64_t available = host_available(NULL, 0);
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

/* A file that can hold 8 MiB and no more; -1 if we may not mount. */
static int small_file(void)
{
	int context = fsopen("tmpfs", 0), folder, fd;

	if (context < 0)
		return -1;
	fsconfig(context, FSCONFIG_SET_STRING, "size", "8M", 0);
	fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	folder = fsmount(context, 0, 0);
	close(context);
	if (folder < 0)
		return -1;
	fd = openat(folder, "file", O_RDWR | O_CREAT, 0600);
	close(folder);
	return fd;
}

/* The kernel says no halfway: what this call committed goes, what was there
 * stays, touched or not. */
static void undone_on_failure(void **state)
{
	int fd = small_file();
	struct hostmem mem;

	if (fd < 0) {
		print_message("mounting needs root\n");
		skip();
	}
	make(&mem, 16 * MIB);
	assert_int_equal(ftruncate(fd, 16 * MIB), 0);
	assert_ptr_equal(mmap(mem.base, mem.size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, fd, 0),
			 mem.base);
	assert_int_equal(dup2(fd, mem.fd), mem.fd);
	close(fd);
	mem.base[10 * MIB] = 7;
	assert_int_equal(hostmem_populate(&mem, 2 * MIB, 2 * MIB), 0);
	assert_int_equal(hostmem_resident(&mem), 2 * MIB + 4096);
	assert_int_equal(hostmem_populate(&mem, 0, 16 * MIB), -ENOMEM);
	assert_int_equal(hostmem_resident(&mem), 2 * MIB + 4096);
	assert_int_equal(mem.base[10 * MIB], 7);
	assert_int_equal(hostmem_discard(&mem, 0, 16 * MIB), 0);
	assert_int_equal(hostmem_populate(&mem, 8 * MIB, 8 * MIB), 0);
	assert_int_equal(hostmem_populate(&mem, 0, 4096), -ENOMEM);
	hostmem_destroy(&mem);
}

static struct hostmem_placement placed(enum hostmem_pages pages,
				       enum hostmem_policy policy,
				       uint64_t host_nodes)
{
	return (struct hostmem_placement){pages, policy, host_nodes};
}

/* Whoever is given the file can neither cut it nor change that. */
static void sealed(void **state)
{
	struct hostmem_placement small = placed(HOSTMEM_PAGES_4K, 0, 0);
	struct error err = {0};
	struct hostmem mem;

	assert_int_equal(hostmem_create(&mem, "test", 4 * MIB, &small, &err),
			 0);
	assert_int_equal(fcntl(mem.fd, F_GET_SEALS),
			 F_SEAL_SHRINK | F_SEAL_SEAL);
	assert_int_equal(ftruncate(mem.fd, 0), -1);
	assert_int_equal(errno, EPERM);
	mem.base[4 * MIB - 1] = 1;
	hostmem_destroy(&mem);
}

static void placements_checked(void **state)
{
	struct error err = {0};
	struct hostmem_placement p = {0};

	assert_int_equal(hostmem_placement_check(&p, &err), 0);
	assert_int_equal(hostmem_page_bytes(&p), 4096);
	assert_false(hostmem_must_populate(&p));
	p = placed(HOSTMEM_PAGES_1G, 0, 0);
	assert_int_equal(hostmem_page_bytes(&p), 1 << 30);
	assert_true(hostmem_must_populate(&p));
	p = placed(HOSTMEM_PAGES_THP, 0, 0);
	assert_int_equal(hostmem_page_bytes(&p), 2 * MIB);
	assert_false(hostmem_must_populate(&p));
	p = placed(0, HOSTMEM_POLICY_BIND, 0);
	assert_int_equal(hostmem_placement_check(&p, &err), -EINVAL);
	p = placed(0, HOSTMEM_POLICY_INTERLEAVE, 1 | 1ULL << 63);
	assert_int_equal(hostmem_placement_check(&p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "host node 63"));
}

/* The bytes that next_held() tells of, from the first to the last. */
static uint64_t sum_held(const struct hostmem *mem, uint64_t *first)
{
	uint64_t offset = 0, size = 0, sum = 0;

	while (hostmem_next_held(mem, &offset, &size) == 1) {
		if (!sum)
			*first = offset;
		assert_true(offset + size <= mem->size);
		sum += size;
		offset += size;
	}
	return sum;
}

/* Again and again fresh memory at the same place; the old is there until it is
 * discarded, and shows in no other way. */
static void renewed(void **state)
{
	const struct hostmem_placement small = {.pages = HOSTMEM_PAGES_4K};
	struct error err = {0};
	struct hostmem mem;
	uint64_t first = 0;

	assert_int_equal(hostmem_create(&mem, "test", 16 * MIB, &small, &err),
			 0);
	for (uint64_t i = 0; i < 5; i++) {
		uint8_t *base = mem.base;
		uint64_t at = i * MIB;

		memset(mem.base, 1, 8 * MIB);
		assert_int_equal(hostmem_renew(&mem, false), 0);
		assert_ptr_equal(mem.base, base);
		assert_int_equal(hostmem_resident(&mem), 8 * MIB);
		assert_int_equal(sum_held(&mem, &first), 0);
		assert_int_equal(mem.base[4 * MIB], 0);
		assert_int_equal(hostmem_discard(&mem, 0, 16 * MIB), 0);
		assert_int_equal(hostmem_resident(&mem), 8 * MIB);
		mem.base[at + 5] = 3;
		assert_int_equal(hostmem_populate(&mem, at, MIB), 0);
		assert_int_equal(mem.base[at + 5], 3);
		assert_int_equal(hostmem_discard_old(&mem), 0);
		assert_int_equal(mem.base[at + 5], 3);
		assert_int_equal(hostmem_resident(&mem), MIB);
		assert_int_equal(sum_held(&mem, &first), MIB);
		assert_int_equal(first, at);
		assert_int_equal(hostmem_discard(&mem, at, MIB), 0);
		assert_int_equal(hostmem_resident(&mem), 0);
	}
	hostmem_destroy(&mem);
}

/* What the kernel says of the place where the memory is mapped. */
static void assert_policy(const struct hostmem *mem, enum hostmem_policy policy)
{
	static const char *const words[] = {
		[HOSTMEM_POLICY_BIND] = " bind",
		[HOSTMEM_POLICY_PREFERRED] = " prefer",
		[HOSTMEM_POLICY_INTERLEAVE] = " interleave"};
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char line[1024] = "";
	bool found = false;

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file))
		found = strtoull(line, NULL, 16) == (uintptr_t)mem->base;
	fclose(file);
	assert_true(found);
	assert_non_null(strstr(line, words[policy]));
}

/* All on node 0, which every host has, by each policy; and the kernel says so.
 */
static void placed_on_a_node(void **state)
{
	static const enum hostmem_policy policies[] = {
		HOSTMEM_POLICY_BIND, HOSTMEM_POLICY_PREFERRED,
		HOSTMEM_POLICY_INTERLEAVE};

	if (access("/proc/self/numa_maps", R_OK) < 0) {
		print_message("a kernel without NUMA\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct hostmem_placement p =
			placed(HOSTMEM_PAGES_4K, policies[i], 1);
		uint64_t bytes[HOSTMEM_MAX_NODES];
		struct error err = {0};
		struct hostmem mem;

		assert_int_equal(hostmem_placement_check(&p, &err), 0);
		if (hostmem_create(&mem, "test", 16 * MIB, &p, &err))
			fail_msg("%s", err.text);
		mem.base[0] = 1;
		mem.base[9 * MIB] = 1;
		assert_int_equal(hostmem_populate(&mem, 4 * MIB, 2 * MIB), 0);
		assert_int_equal(hostmem_residence(&mem, bytes), 0);
		assert_int_equal(bytes[0], 2 * MIB + 2 * 4096);
		assert_int_equal(bytes[1], 0);
		assert_int_equal(hostmem_discard(&mem, 0, 16 * MIB), 0);
		assert_int_equal(hostmem_residence(&mem, bytes), 0);
		assert_int_equal(bytes[0], 0);
		assert_policy(&mem, policies[i]);
		assert_int_equal(hostmem_renew(&mem, false), 0);
		assert_policy(&mem, policies[i]);
		hostmem_destroy(&mem);
	}
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
		cmocka_unit_test(undone_on_failure),
		cmocka_unit_test(sealed),
		cmocka_unit_test(renewed),
		cmocka_unit_test(placements_checked),
		cmocka_unit_test(placed_on_a_node),
		cmocka_unit_test(large_ones_cost_nothing),
		cmocka_unit_test(no_space),
		cmocka_unit_test(side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
