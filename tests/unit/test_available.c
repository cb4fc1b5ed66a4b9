// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the host could still commit, of hosts that are made up: in a mount
 * namespace of our own, files of ours lie over those of the kernel.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/available.h"

#define MIB    (1ULL << 20)
#define GROUPS "/sys/fs/cgroup"
#define NODES  "/sys/devices/system/node"

static bool in_namespace;

static void put(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (!file)
		fail_msg("cannot write %s: %s", path, strerror(errno));
	fputs(text, file);
	fclose(file);
}

static void put_mib(const char *path, uint64_t mib)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)(mib * MIB));
	put(path, text);
}

static void set_available(uint64_t mib)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "MemTotal: 99999999 kB\nMemFree: 1 kB\n"
		 "MemAvailable: %llu kB\n",
		 (unsigned long long)(mib * 1024));
	put("/proc/meminfo", text);
}

/* A group of control: what it may have and has. */
static void set_group(const char *group, uint64_t max, uint64_t current)
{
	char path[128];

	snprintf(path, sizeof(path), GROUPS "%s/memory.max", group);
	put_mib(path, max);
	snprintf(path, sizeof(path), GROUPS "%s/memory.current", group);
	put_mib(path, current);
}

static void unlimited_group(const char *group)
{
	char path[128];

	set_group(group, 0, 1);
	snprintf(path, sizeof(path), GROUPS "%s/memory.max", group);
	put(path, "max\n");
	snprintf(path, sizeof(path), GROUPS "%s/memory.stat", group);
	put(path, "");
}

/* Who is not root is root of a user namespace. */
static bool unshare_mounts(void)
{
	char user[32], group[32];

	snprintf(user, sizeof(user), "0 %u 1", geteuid());
	snprintf(group, sizeof(group), "0 %u 1", getegid());
	if (unshare(CLONE_NEWNS) == 0)
		return true;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	put("/proc/self/uid_map", user);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/gid_map", group);
	return true;
}

/* Nothing but what each test says. Without the right to mount: no test. */
static int enter_namespace(void **state)
{
	if (!unshare_mounts() ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", GROUPS, "tmpfs", 0, NULL) < 0 ||
	    mount("none", NODES, "tmpfs", 0, NULL) < 0)
		return 0;
	put(GROUPS "/of-self", "");
	put(GROUPS "/meminfo", "");
	if (mount(GROUPS "/of-self", "/proc/self/cgroup", NULL, MS_BIND, NULL) <
		    0 ||
	    mount(GROUPS "/meminfo", "/proc/meminfo", NULL, MS_BIND, NULL) < 0)
		return 0;
	mkdir(GROUPS "/a", 0755);
	mkdir(GROUPS "/a/b", 0755);
	in_namespace = true;
	return 0;
}

static int usual_host(void **state)
{
	if (!in_namespace)
		return 0;
	set_available(1000);
	put("/proc/self/cgroup", "4:memory:/other\n0::/a/b\n");
	unlimited_group("/a/b");
	unlimited_group("/a");
	unlimited_group("");
	return 0;
}

static void need_namespace(void)
{
	if (in_namespace)
		return;
	print_message("neither root nor user namespaces\n");
	skip();
}

static void expect_mib(uint64_t nodes, uint64_t mib)
{
	assert_int_equal(host_available(NULL, nodes) / MIB, mib);
}

static void of_the_machine(void **state)
{
	need_namespace();
	expect_mib(0, 1000 - 64);
	set_available(64);
	assert_int_equal(host_available(NULL, 0), 0);
	set_available(3);
	assert_int_equal(host_available(NULL, 0), 0);
}

static void of_our_group(void **state)
{
	need_namespace();
	set_group("/a/b", 500, 100);
	expect_mib(0, 400 - 64);
	/* Page cache that can go is as good as free. */
	put(GROUPS "/a/b/memory.stat",
	    "anon 1\ninactive_file 104857600\nactive_file 999999999\n");
	expect_mib(0, 500 - 64);
	set_group("/a/b", 500, 700);
	assert_int_equal(host_available(NULL, 0), 0);
	set_group("/a/b", 5000, 0);
	expect_mib(0, 1000 - 64);
}

/* The limit of each group above counts, that of the topmost too: it is a
 * container's own. */
static void of_groups_above(void **state)
{
	need_namespace();
	set_group("/a", 300, 0);
	expect_mib(0, 300 - 64);
	set_group("", 200, 0);
	expect_mib(0, 200 - 64);
	put("/proc/self/cgroup", "0::/a\n");
	expect_mib(0, 200 - 64);
	put("/proc/self/cgroup", "0::/\n");
	expect_mib(0, 200 - 64);
}

static void without_groups(void **state)
{
	need_namespace();
	put("/proc/self/cgroup", "4:memory:/a\n");
	set_group("/a", 300, 0);
	expect_mib(0, 1000 - 64);
	put("/proc/self/cgroup", "0::/no/such\n");
	expect_mib(0, 1000 - 64);
	put("/proc/meminfo", "MemTotal: 1 kB\n");
	assert_true(host_available(NULL, 0) == UINT64_MAX);
}

static void of_nodes(void **state)
{
	need_namespace();
	mkdir(NODES "/node0", 0755);
	mkdir(NODES "/node5", 0755);
	put(NODES "/node0/meminfo", "Node 0 MemTotal: 9999999 kB\n"
				    "Node 0 MemFree: 204800 kB\n"
				    "Node 0 Inactive(file): 102400 kB\n");
	put(NODES "/node5/meminfo", "Node 5 MemFree: 409600 kB\n");
	expect_mib(1 << 0, 300 - 64);
	expect_mib(1 << 5, 400 - 64);
	expect_mib(1 << 0 | 1 << 5, 700 - 64);
	/* The machine's limit stands above. */
	set_available(500);
	expect_mib(1 << 0 | 1 << 5, 500 - 64);
	/* A node that is not there has nothing. */
	assert_int_equal(host_available(NULL, 1ULL << 63), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(of_the_machine, usual_host),
		cmocka_unit_test_setup(of_our_group, usual_host),
		cmocka_unit_test_setup(of_groups_above, usual_host),
		cmocka_unit_test_setup(without_groups, usual_host),
		cmocka_unit_test_setup(of_nodes, usual_host),
	};

	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
