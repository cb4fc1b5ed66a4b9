// SPDX-License-Identifier: BSD-3-Clause
/*
 * Available memory, of the machine (/proc/meminfo) and of our control group
 * and those above it (cgroup v2: memory.max less memory.current, plus the page
 * cache that can go).
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "available.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
/* What is left alone, so that committing all of the rest kills nobody. */
#define RESERVE	    (64ULL << 20)
#define MAX_DEPTH   32
#define PATH_BYTES  4096
#define UNLIMITED   UINT64_MAX

/* The number after key in a file of `KEY NUMBER` lines; key "" is a file of
 * one number. */
static bool read_number(const char *path, const char *key, uint64_t *value)
{
	FILE *file = fopen(path, "re");
	char line[256];
	size_t len = strlen(key);
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		char *end;

		if (strncmp(line, key, len) != 0)
			continue;
		*value = strtoull(line + len, &end, 10);
		found = end != line + len;
	}
	fclose(file);
	return found;
}

static bool group_number(const char *group, const char *file, const char *key,
			 uint64_t *value)
{
	char path[PATH_BYTES + 64];

	snprintf(path, sizeof(path), CGROUP_ROOT "%s/%s", group, file);
	return read_number(path, key, value);
}

/* Room in one group; a limit of "max" is no number, and none. */
static uint64_t group_room(const char *group)
{
	uint64_t max, current, cache = 0;

	if (!group_number(group, "memory.max", "", &max) ||
	    !group_number(group, "memory.current", "", &current))
		return UNLIMITED;
	group_number(group, "memory.stat", "inactive_file ", &cache);
	if (current > max + cache)
		return 0;
	return max + cache - current;
}

static uint64_t groups_room(void)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[PATH_BYTES], *group = NULL;
	uint64_t room = UNLIMITED;

	if (!file)
		return UNLIMITED;
	while (!group && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "0::", 3) == 0)
			group = line + 3;
	}
	fclose(file);
	if (!group)
		return UNLIMITED;
	group[strcspn(group, "\n")] = '\0';
	/* The topmost has a limit where it is a container's. */
	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		char *slash = strrchr(group, '/');
		uint64_t here = group_room(group);

		if (here < room)
			room = here;
		if (!slash)
			break;
		*slash = '\0';
	}
	return room;
}

/* Free memory of the nodes, and their page cache that can go. */
static uint64_t nodes_room(uint64_t nodes)
{
	uint64_t room = 0;

	for (unsigned int node = 0; node < 64; node++) {
		uint64_t free_kib = 0, cache_kib = 0;
		char path[64], key[64];

		if (!(nodes >> node & 1))
			continue;
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%u/meminfo", node);
		snprintf(key, sizeof(key), "Node %u MemFree:", node);
		read_number(path, key, &free_kib);
		snprintf(key, sizeof(key), "Node %u Inactive(file):", node);
		read_number(path, key, &cache_kib);
		room += (free_kib + cache_kib) * 1024;
	}
	return room;
}

uint64_t host_available(uint64_t nodes)
{
	uint64_t kib, room = groups_room();

	if (nodes && nodes_room(nodes) < room)
		room = nodes_room(nodes);
	if (read_number("/proc/meminfo", "MemAvailable:", &kib) &&
	    kib * 1024 < room)
		room = kib * 1024;
	if (room == UNLIMITED)
		return room;
	return room > RESERVE ? room - RESERVE : 0;
}
