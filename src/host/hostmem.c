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
#include "placement.h"
#include "size.h"

#define HUGE_PAGE (2ULL << 20)

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
		   const struct hostmem_placement *placement, struct error *err)
{
	int ret;

	*mem = (struct hostmem){.size = size, .align = HUGE_PAGE};
	if (placement)
		mem->placement = *placement;
	if (hostmem_page_bytes(&mem->placement) > mem->align)
		mem->align = hostmem_page_bytes(&mem->placement);
	mem->fd = backing_file_create(name, mem->placement.pages);
	if (mem->fd < 0)
		return error_set_errno(err, mem->fd,
				       "no file in memory for '%s'", name);
	/* With room for hostmem_renew(), where it can be. */
	if (!hostmem_must_populate(&mem->placement))
		size *= 2;
	ret = ftruncate(mem->fd, (off_t)size) < 0 ? -errno : map_aligned(mem);
	if (ret) {
		hostmem_destroy(mem);
		return error_set_errno(err, ret,
				       "cannot reserve %s of memory for '%s'",
				       size_format(mem->size).text, name);
	}
	ret = placement_apply(mem);
	if (ret) {
		hostmem_destroy(mem);
		return error_set_errno(
			err, ret,
			"cannot place memory of '%s' on the host "
			"nodes asked for",
			name);
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

/* The kernel undoes what it did of a call that fails. */
static int populate_file(struct hostmem *mem, uint64_t offset, uint64_t size)
{
	int ret;

	/* It would rather kill a process than say no. */
	if (host_available(mem->kept, placement_bound_nodes(&mem->placement)) <
	    size)
		return -ENOMEM;
	do {
		ret = fallocate(mem->fd, FALLOC_FL_KEEP_SIZE,
				(off_t)(mem->start + offset), (off_t)size);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return errno == ENOSPC ? -ENOMEM : -errno;
	/* Map the pages, too: whoever asks where they are can be told. */
	madvise(mem->base + offset, size, MADV_POPULATE_WRITE);
	return 0;
}

/* The policy of huge page pools belongs to the mapping, so pages are touched
 * there: in one of our own, since the other may be fenced. What the range held
 * before a failure was not plugged. */
static int populate_pool(struct hostmem *mem, uint64_t offset, uint64_t size)
{
	struct hostmem side = *mem;
	int ret = 0;

	side.size = size;
	side.base = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE, mem->fd, (off_t)offset);
	if (side.base == MAP_FAILED)
		return -ENOMEM;
	if (placement_apply(&side) ||
	    madvise(side.base, size, MADV_POPULATE_WRITE) < 0)
		ret = -ENOMEM;
	munmap(side.base, size);
	if (ret)
		hostmem_discard(mem, offset, size);
	else /* Map the pages where the guest has them. */
		madvise(mem->base + offset, size, MADV_POPULATE_WRITE);
	return ret;
}

int hostmem_populate(struct hostmem *mem, uint64_t offset, uint64_t size)
{
	return hostmem_must_populate(&mem->placement)
		       ? populate_pool(mem, offset, size)
		       : populate_file(mem, offset, size);
}

static int punch(int fd, uint64_t at, uint64_t size)
{
	int ret;

	do {
		ret = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)at, (off_t)size);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

int hostmem_discard(struct hostmem *mem, uint64_t offset, uint64_t size)
{
	return punch(mem->fd, mem->start + offset, size);
}

int hostmem_renew(struct hostmem *mem, bool shut)
{
	uint64_t start = mem->start ? 0 : mem->size;

	if (mmap(mem->base, mem->size,
		 shut ? PROT_NONE : PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, mem->fd,
		 (off_t)start) == MAP_FAILED)
		return -errno;
	mem->start = start;
	madvise(mem->base, mem->size, MADV_DONTDUMP);
	/* The policy is that of a range of the file. */
	return placement_apply(mem);
}

int hostmem_discard_old(struct hostmem *mem)
{
	return punch(mem->fd, mem->start ? 0 : mem->size, mem->size);
}

/* The files of huge page pools do not tell where their data is: ask the
 * mapping, page by page. */
static int next_held_in_pool(const struct hostmem *mem, uint64_t *offset,
			     uint64_t *size)
{
	uint64_t page = hostmem_page_bytes(&mem->placement);
	uint64_t at = *offset & ~(page - 1);
	unsigned char there = 0;

	for (; at < mem->size; at += page) {
		if (mincore(mem->base + at, 4096, &there) < 0)
			return -errno;
		if (!(there & 1))
			continue;
		*size = at + page - (at > *offset ? at : *offset);
		*offset = at > *offset ? at : *offset;
		return 1;
	}
	return 0;
}

int hostmem_next_held(const struct hostmem *mem, uint64_t *offset,
		      uint64_t *size)
{
	off_t end = (off_t)(mem->start + mem->size);
	off_t data, hole;

	if (hostmem_must_populate(&mem->placement))
		return next_held_in_pool(mem, offset, size);
	data = lseek(mem->fd, (off_t)(mem->start + *offset), SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? 0 : -errno;
	if (data >= end)
		return 0;
	hole = lseek(mem->fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	/* The hole may have come in between. */
	if (hole == data)
		hole = data + 4096;
	if (hole > end)
		hole = end;
	*offset = (uint64_t)data - mem->start;
	*size = (uint64_t)(hole - data);
	return 1;
}

int64_t hostmem_resident(const struct hostmem *mem)
{
	struct stat st;

	if (fstat(mem->fd, &st) < 0)
		return -errno;
	return (int64_t)st.st_blocks * 512;
}
