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

/* The number after key in a text of `KEY NUMBER` lines; key "" is a text of
 * one number. */
static bool find_number(const char *text, const char *key, uint64_t *value)
{
	size_t len = strlen(key);

	for (; text; text = strchr(text, '\n')) {
		char *end;

		text += *text == '\n';
		if (strncmp(text, key, len) != 0)
			continue;
		*value = strtoull(text + len, &end, 10);
		if (end != text + len)
			return true;
	}
	return false;
}

static bool read_number(struct kept_files *kept, const char *path,
			const char *key, uint64_t *value)
{
	char *text = kept_files_read(kept, path);
	bool found = find_number(text, key, value);

	free(text);
	return found;
}

static bool group_number(struct kept_files *kept, const char *group,
			 const char *file, const char *key, uint64_t *value)
{
	char path[PATH_BYTES + 64];

	snprintf(path, sizeof(path), CGROUP_ROOT "%s/%s", group, file);
	return read_number(kept, path, key, value);
}

/* Room in one group; a limit of "max" is no number, and none. */
static uint64_t group_room(struct kept_files *kept, const char *group)
{
	uint64_t max, current, cache = 0;

	if (!group_number(kept, group, "memory.max", "", &max) ||
	    !group_number(kept, group, "memory.current", "", &current))
		return UNLIMITED;
	group_number(kept, group, "memory.stat", "inactive_file ", &cache);
	if (current > max + cache)
		return 0;
	return max + cache - current;
}

static uint64_t groups_room(struct kept_files *kept)
{
	char *text = kept_files_read(kept, "/proc/self/cgroup");
	uint64_t room = UNLIMITED;
	char *group = text;

	while (group && strncmp(group, "0::", 3) != 0) {
		group = strchr(group, '\n');
		group += group != NULL;
	}
	if (!group) {
		free(text);
		return UNLIMITED;
	}
	group += 3;
	group[strcspn(group, "\n")] = '\0';
	/* The topmost has a limit where it is a container's. */
	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		char *slash = strrchr(group, '/');
		uint64_t here = group_room(kept, group);

		if (here < room)
			room = here;
		if (!slash)
			break;
		*slash = '\0';
	}
	free(text);
	return room;
}

/* Free memory of the nodes, and their page cache that can go. */
static uint64_t nodes_room(struct kept_files *kept, uint64_t nodes)
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
		read_number(kept, path, key, &free_kib);
		snprintf(key, sizeof(key), "Node %u Inactive(file):", node);
		read_number(kept, path, key, &cache_kib);
		room += (free_kib + cache_kib) * 1024;
	}
	return room;
}

uint64_t host_available(struct kept_files *kept, uint64_t nodes)
{
	uint64_t kib, room = groups_room(kept);

	if (nodes && nodes_room(kept, nodes) < room)
		room = nodes_room(kept, nodes);
	if (read_number(kept, "/proc/meminfo", "MemAvailable:", &kib) &&
	    kib * 1024 < room)
		room = kib * 1024;
	if (room == UNLIMITED)
		return room;
	return room > RESERVE ? room - RESERVE : 0;
}
