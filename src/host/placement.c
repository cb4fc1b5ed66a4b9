// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where memory of the host comes from: which pages, which nodes; and where it
 * is. By system calls and /sys: libnuma would add nothing but its weight.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "available.h"
#include "backing_file.h"
#include "hostmem.h"
#include "placement.h"
#include "size.h"

#define NODES_WITH_MEMORY "/sys/devices/system/node/has_memory"
#define HUGETLB_FOLDER	  "/sys/kernel/mm/hugepages"
#define KIB		  1024ULL
#define LINE_BYTES	  4096
#define NUMA_MAPS	  "/proc/self/numa_maps"

static const uint64_t page_bytes[] = {
	[HOSTMEM_PAGES_ANY] = 4096,	      [HOSTMEM_PAGES_4K] = 4096,
	[HOSTMEM_PAGES_THP] = 2048 * KIB,     [HOSTMEM_PAGES_2M] = 2048 * KIB,
	[HOSTMEM_PAGES_1G] = KIB * KIB * KIB,
};

uint64_t hostmem_page_bytes(const struct hostmem_placement *placement)
{
	return page_bytes[placement->pages];
}

bool hostmem_must_populate(const struct hostmem_placement *placement)
{
	return placement->pages == HOSTMEM_PAGES_2M ||
	       placement->pages == HOSTMEM_PAGES_1G;
}

/* A list such as 0-1,3; node 0 where there is no such file. */
static uint64_t nodes_with_memory(char text[LINE_BYTES])
{
	FILE *file = fopen(NODES_WITH_MEMORY, "re");
	uint64_t nodes = 0;
	char *at = text;

	strcpy(text, "0");
	if (file) {
		if (!fgets(text, LINE_BYTES, file))
			strcpy(text, "0");
		fclose(file);
		text[strcspn(text, "\n")] = '\0';
	}
	while (*at) {
		unsigned long first = strtoul(at, &at, 10), last = first;

		if (*at == '-')
			last = strtoul(at + 1, &at, 10);
		for (; first <= last && first < HOSTMEM_MAX_NODES; first++)
			nodes |= 1ULL << first;
		if (*at != ',')
			break;
		at++;
	}
	return nodes;
}

static int check_nodes(const struct hostmem_placement *placement,
		       struct error *err)
{
	char text[LINE_BYTES];
	uint64_t there = nodes_with_memory(text);
	uint64_t missing = placement->host_nodes & ~there;

	if (placement->policy == HOSTMEM_POLICY_DEFAULT)
		return 0;
	if (!placement->host_nodes)
		return error_set(err, -EINVAL, "no host node is given");
	if (missing)
		return error_set(err, -EINVAL,
				 "host node %d has no memory, or is not there; "
				 "this host has nodes %s",
				 __builtin_ctzll(missing), text);
	return 0;
}

static int check_pages(const struct hostmem_placement *placement,
		       struct error *err)
{
	struct size_text size = size_format(hostmem_page_bytes(placement));
	char path[128];

	if (placement->pages == HOSTMEM_PAGES_THP && !backing_file_can_huge())
		return error_set(err, -EINVAL,
				 "pages=thp cannot be had: transparent huge "
				 "pages are switched off on this host, or this "
				 "user may not mount (run as root)");
	if (!hostmem_must_populate(placement))
		return 0;
	snprintf(path, sizeof(path), HUGETLB_FOLDER "/hugepages-%llukB",
		 (unsigned long long)(hostmem_page_bytes(placement) / KIB));
	if (access(path, F_OK) == 0)
		return 0;
	return error_set(err, -EINVAL,
			 "pages=%s cannot be had: this host has no huge pages "
			 "of that size",
			 size.text);
}

int hostmem_placement_check(const struct hostmem_placement *placement,
			    struct error *err)
{
	int ret = check_nodes(placement, err);

	return ret ? ret : check_pages(placement, err);
}

uint64_t placement_bound_nodes(const struct hostmem_placement *placement)
{
	return placement->policy == HOSTMEM_POLICY_BIND ? placement->host_nodes
							: 0;
}

int placement_apply(const struct hostmem *mem)
{
	static const int modes[] = {
		[HOSTMEM_POLICY_BIND] = MPOL_BIND,
		[HOSTMEM_POLICY_PREFERRED] = MPOL_PREFERRED,
		[HOSTMEM_POLICY_INTERLEAVE] = MPOL_INTERLEAVE,
	};
	/* One bit more than there are: the kernel wants the number so. */
	unsigned long nodes[2] = {mem->placement.host_nodes};

	if (mem->placement.policy == HOSTMEM_POLICY_DEFAULT)
		return 0;
	/* Preferred takes one node. */
	if (mem->placement.policy == HOSTMEM_POLICY_PREFERRED)
		nodes[0] &= -nodes[0];
	if (syscall(SYS_mbind, mem->base, mem->size,
		    modes[mem->placement.policy], nodes,
		    HOSTMEM_MAX_NODES + 1UL, 0) < 0)
		return -errno;
	return 0;
}

/* Add up N0=123 N1=4 ... kernelpagesize_kB=4 of one line of numa_maps. */
static void add_line(char *line, uint64_t bytes[HOSTMEM_MAX_NODES])
{
	uint64_t pages[HOSTMEM_MAX_NODES] = {0}, page_kib = 4;
	char *word, *rest = line;

	while ((word = strsep(&rest, " \n"))) {
		unsigned int node;
		unsigned long long count;

		if (sscanf(word, "N%u=%llu", &node, &count) == 2 &&
		    node < HOSTMEM_MAX_NODES)
			pages[node] = count;
		else if (sscanf(word, "kernelpagesize_kB=%llu", &count) == 1)
			page_kib = count;
	}
	for (unsigned int i = 0; i < HOSTMEM_MAX_NODES; i++)
		bytes[i] += pages[i] * page_kib * KIB;
}

int hostmem_residence(const struct hostmem *mem,
		      uint64_t bytes[HOSTMEM_MAX_NODES])
{
	char *text = kept_files_read(mem->kept, NUMA_MAPS);
	char *line, *rest = text;

	if (!text)
		return -EIO;
	memset(bytes, 0, HOSTMEM_MAX_NODES * sizeof(bytes[0]));
	while ((line = strsep(&rest, "\n"))) {
		uintptr_t at = strtoull(line, NULL, 16);
		uintptr_t base = (uintptr_t)mem->base;

		if (at >= base && at < base + mem->size)
			add_line(line, bytes);
	}
	free(text);
	return 0;
}

void hostmem_keep_files(struct kept_files *kept,
			const struct hostmem_placement *placement)
{
	host_available(kept, placement_bound_nodes(placement));
	free(kept_files_read(kept, NUMA_MAPS));
}
