// SPDX-License-Identifier: BSD-3-Clause
/* Backends of guest memory on files in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "available.h"
#include "backing_file.h"
#include "hostmem.h"

#define PAGE_BYTES 4096ULL
#define MIB	   (1ULL << 20)

/* Map the file at an aligned address: reserve more than is needed, put it in
 * the middle, give the edges back. */
static int map_aligned(struct hostmem *mem)
{
	uint64_t span = mem->size + mem->align;
	uint8_t *at = mmap(NULL, span, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t head;

	if (at == MAP_FAILED)
		return -errno;
	head = -(uintptr_t)at & (mem->align - 1);
	mem->base = mmap(at + head, mem->size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, mem->fd, 0);
	if (mem->base == MAP_FAILED) {
		int ret = -errno;

		mem->base = NULL;
		munmap(at, span);
		return ret;
	}
	if (head)
		munmap(at, head);
	munmap(mem->base + mem->size, mem->align - head);
	madvise(mem->base, mem->size, MADV_DONTDUMP);
	return 0;
}

int hostmem_create(struct hostmem *mem, const char *name, uint64_t size,
		   uint64_t align, struct error *err)
{
	int ret;

	*mem = (struct hostmem){.size = size, .align = align};
	mem->fd = backing_file_create(name);
	if (mem->fd < 0)
		return error_set_errno(err, mem->fd,
				       "no file in memory for '%s'", name);
	ret = ftruncate(mem->fd, (off_t)size) < 0 ? -errno : map_aligned(mem);
	if (ret) {
		hostmem_destroy(mem);
		return error_set_errno(
			err, ret, "cannot reserve %llu MiB of memory for '%s'",
			(unsigned long long)(size / MIB), name);
	}
	return 0;
}

void hostmem_destroy(struct hostmem *mem)
{
	if (mem->base)
		munmap(mem->base, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
	mem->base = NULL;
	mem->fd = -1;
}

/* Find the first hole in [*start, end): sets both its ends. */
static bool next_hole(int fd, uint64_t *start, uint64_t end, uint64_t *hole_end)
{
	off_t hole = lseek(fd, (off_t)*start, SEEK_HOLE);
	off_t data;

	if (hole < 0 || (uint64_t)hole >= end)
		return false;
	data = lseek(fd, hole, SEEK_DATA);
	*start = (uint64_t)hole;
	*hole_end = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
	return true;
}

static int allocate(int fd, uint64_t offset, uint64_t size)
{
	int ret;

	do {
		ret = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset,
				(off_t)size);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/*
 * All or nothing: a hole that cannot be filled takes those filled before with
 * it. The kernel undoes a hole of its own accord; what was filled before is
 * remembered in a bounded list, and where that runs over, the rest of the
 * range stays as it is (it was committed, and is discarded with its blocks).
 */
int hostmem_populate(struct hostmem *mem, uint64_t offset, uint64_t size)
{
	enum {
		MAX_FILLED = 64
	};
	struct {
		uint64_t start, end;
	} filled[MAX_FILLED];
	unsigned int nr_filled = 0;
	uint64_t at = offset, end = offset + size, hole_end;

	/* The kernel would rather kill a process than say no. */
	if (host_available() < size)
		return -ENOMEM;
	while (at < end && next_hole(mem->fd, &at, end, &hole_end)) {
		int ret = allocate(mem->fd, at, hole_end - at);

		if (ret) {
			for (unsigned int i = 0; i < nr_filled; i++)
				hostmem_discard(mem, filled[i].start,
						filled[i].end -
							filled[i].start);
			return ret == -ENOSPC ? -ENOMEM : ret;
		}
		if (nr_filled < MAX_FILLED) {
			filled[nr_filled].start = at;
			filled[nr_filled++].end = hole_end;
		}
		at = hole_end;
	}
	return 0;
}

int hostmem_discard(struct hostmem *mem, uint64_t offset, uint64_t size)
{
	int ret;

	do {
		ret = fallocate(mem->fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)offset, (off_t)size);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

int64_t hostmem_resident(const struct hostmem *mem)
{
	struct stat st;

	if (fstat(mem->fd, &st) < 0)
		return -errno;
	return (int64_t)st.st_blocks * 512;
}
