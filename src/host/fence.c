// SPDX-License-Identifier: BSD-3-Clause
/* The fence around memory that is not plugged, by userfaultfd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fence.h"

#define UFFD_DEVICE    "/dev/userfaultfd"
#define MAX_MAP_COUNT  "/proc/sys/vm/max_map_count"
#define DEFAULT_MAPS   65530
/* Mappings that are not ours to use: the program's own, thread stacks, and
 * blocks that are shut. */
#define SPARE_MAPPINGS 8192
#define PASS_BYTES     (2ULL << 20)
#define WANTED_FEATURES                                                        \
	(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS |         \
	 UFFD_FEATURE_THREAD_ID)

/* Bits of a block. */
#define BLOCK_OPEN    1U /* may be touched */
#define BLOCK_FREE    2U /* userfaultfd has nothing to do with it */
#define BLOCK_SHUT    4U /* may not be accessed at all */
#define BLOCK_AWAY    8U /* nor may these, until they are discarded */
/* Neighbours that agree in these share a mapping. */
#define BLOCK_MAPPING (BLOCK_FREE | BLOCK_SHUT | BLOCK_AWAY)

/* A run of blocks. */
struct run {
	uint64_t first, end;
};

static int open_uffd(void)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;
	int device = open(UFFD_DEVICE, O_RDWR | O_CLOEXEC);
	int fd = -1;

	/* Whoever may open the device needs no capability. */
	if (device >= 0) {
		fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
		close(device);
	}
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, flags);
	return fd < 0 ? -errno : fd;
}

static unsigned int mapping_budget(void)
{
	FILE *file = fopen(MAX_MAP_COUNT, "re");
	unsigned int maps = DEFAULT_MAPS;

	if (file) {
		if (fscanf(file, "%u", &maps) != 1)
			maps = DEFAULT_MAPS;
		fclose(file);
	}
	return maps > SPARE_MAPPINGS ? maps - SPARE_MAPPINGS : 0;
}

int fence_create(struct fence *fence, struct error *err)
{
	struct uffdio_api api = {.api = UFFD_API, .features = WANTED_FEATURES};
	int ret;

	*fence = (struct fence){.fd = open_uffd()};
	if (fence->fd == -EPERM || fence->fd == -EACCES)
		return error_set(
			err, -EPERM,
			"this user may not have the kernel's accesses "
			"to memory held: run as root, or with the "
			"capability CAP_SYS_PTRACE, or make " UFFD_DEVICE
			" accessible to this user");
	if (fence->fd < 0)
		return error_set_errno(err, fence->fd,
				       "this host has no userfaultfd");
	if (ioctl(fence->fd, UFFDIO_API, &api) < 0) {
		ret = error_set_errno(err, -errno,
				      "userfaultfd of this host cannot hold "
				      "accesses to shared memory");
		close(fence->fd);
		fence->fd = -1;
		return ret;
	}
	pthread_mutex_init(&fence->lock, NULL);
	fence->max_mappings = mapping_budget();
	return 0;
}

void fence_destroy(struct fence *fence)
{
	if (fence->fd < 0)
		return;
	close(fence->fd);
	pthread_mutex_destroy(&fence->lock);
	fence->fd = -1;
}

/* ---- Mappings ---------------------------------------------------------- */

static struct uffdio_range range_of(const struct fence_region *region,
				    struct run run)
{
	return (struct uffdio_range){
		.start = (uintptr_t)region->mem->base +
			 run.first * region->block_bytes,
		.len = (run.end - run.first) * region->block_bytes,
	};
}

static struct run run_of(const struct fence_region *region, uint64_t offset,
			 uint64_t size)
{
	return (struct run){
		.first = offset / region->block_bytes,
		.end = (offset + size + region->block_bytes - 1) /
		       region->block_bytes,
	};
}

/* The run from first on whose blocks agree in these bits. */
static struct run run_alike(const struct fence_region *region, uint64_t first,
			    uint8_t bits)
{
	struct run run = {first, first + 1};

	while (run.end < region->nr_blocks &&
	       !((region->blocks[run.end] ^ region->blocks[first]) & bits))
		run.end++;
	return run;
}

/* Borders between mappings inside a run, and at its two ends. */
static unsigned int nr_borders(const struct fence_region *region,
			       struct run run)
{
	unsigned int nr = 0;

	for (uint64_t i = run.first; i <= run.end; i++) {
		if (i > 0 && i < region->nr_blocks &&
		    ((region->blocks[i] ^ region->blocks[i - 1]) &
		     BLOCK_MAPPING))
			nr++;
	}
	return nr;
}

/* The same if all blocks of the run had these bits. */
static unsigned int nr_borders_then(const struct fence_region *region,
				    struct run run, uint8_t bits)
{
	unsigned int nr = 0;

	if (run.first > 0 &&
	    ((region->blocks[run.first - 1] ^ bits) & BLOCK_MAPPING))
		nr++;
	if (run.end < region->nr_blocks &&
	    ((region->blocks[run.end] ^ bits) & BLOCK_MAPPING))
		nr++;
	return nr;
}

static void set_blocks(struct fence *fence, struct fence_region *region,
		       struct run run, uint8_t bits)
{
	fence->nr_mappings -= nr_borders(region, run);
	memset(&region->blocks[run.first], bits, run.end - run.first);
	fence->nr_mappings += nr_borders(region, run);
}

/* Whether the kernel joins a run that is about to change with neighbours that
 * it becomes alike: it is one mapping, or the start of one. Linux 6.1 leaves
 * one that begins inside a mapping as a mapping of its own. */
static bool joins_itself(const struct fence_region *region, struct run run)
{
	uint64_t i = run.first;
	uint8_t bits = region->blocks[i] & BLOCK_MAPPING;

	if (i > 0 && (region->blocks[i - 1] & BLOCK_MAPPING) == bits)
		return false;
	while (i < run.end && (region->blocks[i] & BLOCK_MAPPING) == bits)
		i++;
	return i == run.end;
}

/* It joins mappings that become alike by advice, too: so take from the run what
 * all of them have, and give it again. */
static void join_run(const struct fence_region *region, struct run run)
{
	uint8_t *start = region->mem->base + run.first * region->block_bytes;
	uint64_t size = (run.end - run.first) * region->block_bytes;

	if (joins_itself(region, run))
		return;
	madvise(start, size, MADV_DODUMP);
	madvise(start, size, MADV_DONTDUMP);
}

static int register_only(struct fence *fence, const struct fence_region *region,
			 struct run run)
{
	struct uffdio_register arg = {
		.range = range_of(region, run),
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(fence->fd, UFFDIO_REGISTER, &arg) < 0 ? -errno : 0;
}

/* The blocks are marked as what they become after this. */
static int register_run(struct fence *fence, const struct fence_region *region,
			struct run run)
{
	int ret;

	if (region->lowered)
		return 0;
	ret = register_only(fence, region, run);
	if (!ret)
		join_run(region, run);
	return ret;
}

static void wake_run(struct fence *fence, const struct fence_region *region,
		     struct run run)
{
	struct uffdio_range range = range_of(region, run);

	ioctl(fence->fd, UFFDIO_WAKE, &range);
}

/* Lets those go who are held there, too. The kernel does so before it takes the
 * run away: where faults hold no more than a lock of the mapping (since Linux
 * 6.7), one may be held in between, and is reported. */
static int unregister_run(struct fence *fence,
			  const struct fence_region *region, struct run run)
{
	struct uffdio_range range = range_of(region, run);

	if (region->lowered)
		return 0;
	if (ioctl(fence->fd, UFFDIO_UNREGISTER, &range) < 0)
		return -errno;
	join_run(region, run);
	return 0;
}

int fence_add(struct fence *fence, struct fence_region *region,
	      struct hostmem *mem, uint64_t block_bytes, struct error *err)
{
	int ret;

	*region = (struct fence_region){
		.mem = mem,
		.block_bytes = block_bytes,
		.nr_blocks = mem->size / block_bytes,
		.keep = hostmem_must_populate(&mem->placement),
	};
	region->blocks = calloc(region->nr_blocks, 1);
	if (!region->blocks)
		return error_set(err, -ENOMEM, "no memory for the guard");
	ret = register_run(fence, region, (struct run){0, region->nr_blocks});
	if (ret) {
		fence_region_destroy(region);
		return error_set_errno(err, ret,
				       "userfaultfd does not take memory of "
				       "this kind");
	}
	pthread_mutex_lock(&fence->lock);
	fence->nr_mappings++;
	pthread_mutex_unlock(&fence->lock);
	return 0;
}

void fence_region_destroy(struct fence_region *region)
{
	free(region->blocks);
	region->blocks = NULL;
}

/* ---- Opening and closing ----------------------------------------------- */

/* Take a run of open blocks out of the fence if the budget allows. */
static bool free_run(struct fence *fence, struct fence_region *region,
		     struct run run)
{
	unsigned int now = nr_borders(region, run);
	unsigned int then =
		nr_borders_then(region, run, BLOCK_OPEN | BLOCK_FREE);

	if (region->keep ||
	    (then > now &&
	     fence->nr_mappings + (then - now) > fence->max_mappings) ||
	    unregister_run(fence, region, run))
		return false;
	set_blocks(fence, region, run, BLOCK_OPEN | BLOCK_FREE);
	return true;
}

void fence_open(struct fence *fence, struct fence_region *region,
		uint64_t offset, uint64_t size)
{
	struct run run = run_of(region, offset, size);

	pthread_mutex_lock(&fence->lock);
	if (!free_run(fence, region, run))
		set_blocks(fence, region, run, BLOCK_OPEN);
	pthread_mutex_unlock(&fence->lock);
}

void fence_allow(struct fence *fence, struct fence_region *region,
		 uint64_t offset, uint64_t size)
{
	pthread_mutex_lock(&fence->lock);
	set_blocks(fence, region, run_of(region, offset, size), BLOCK_OPEN);
	pthread_mutex_unlock(&fence->lock);
}

int fence_close(struct fence *fence, struct fence_region *region,
		uint64_t offset, uint64_t size)
{
	struct run run = run_of(region, offset, size);
	int ret;

	pthread_mutex_lock(&fence->lock);
	/* What is in it already stays as it is. */
	ret = register_run(fence, region, run);
	for (uint64_t i = run.first; i < run.end && !ret; i++) {
		if (region->blocks[i] & BLOCK_OPEN)
			set_blocks(fence, region, (struct run){i, i + 1}, 0);
	}
	pthread_mutex_unlock(&fence->lock);
	return ret;
}

static int protect_run(const struct fence_region *region, struct run run,
		       int protection)
{
	struct uffdio_range range = range_of(region, run);

	if (mprotect((void *)(uintptr_t)range.start, range.len, protection) < 0)
		return -errno;
	return 0;
}

/* The kernel joins what it protects alike with its neighbours, wherever it
 * begins: so this is one call more than to close, and needs no join_run(). */
int fence_close_shut(struct fence *fence, struct fence_region *region,
		     uint64_t offset, uint64_t size)
{
	struct run run = run_of(region, offset, size);
	int ret;

	pthread_mutex_lock(&fence->lock);
	ret = protect_run(region, run, PROT_NONE);
	if (!ret) {
		ret = register_only(fence, region, run);
		if (ret)
			protect_run(region, run, PROT_READ | PROT_WRITE);
		else
			set_blocks(fence, region, run, BLOCK_AWAY);
	}
	pthread_mutex_unlock(&fence->lock);
	return ret;
}

int fence_discarded(struct fence *fence, struct fence_region *region,
		    uint64_t offset, uint64_t size)
{
	struct run run = run_of(region, offset, size), part = run;
	int ret = 0;

	pthread_mutex_lock(&fence->lock);
	for (; !ret && part.first < run.end; part.first = part.end) {
		part = run_alike(region, part.first, BLOCK_AWAY | BLOCK_SHUT);
		if (part.end > run.end)
			part.end = run.end;
		if (region->blocks[part.first] & BLOCK_SHUT) {
			set_blocks(fence, region, part, BLOCK_SHUT);
			continue;
		}
		ret = protect_run(region, part, PROT_READ | PROT_WRITE);
		set_blocks(fence, region, part, 0);
	}
	pthread_mutex_unlock(&fence->lock);
	return ret;
}

/* While it is shut, a touch fails; from then on it is held. */
static int replace_mapping(struct fence *fence, struct fence_region *region)
{
	struct hostmem *mem = region->mem;
	int ret = hostmem_renew(mem, true);

	if (!ret)
		ret = register_run(fence, region,
				   (struct run){0, region->nr_blocks});
	if (!ret && mprotect(mem->base, mem->size, PROT_READ | PROT_WRITE) < 0)
		ret = -errno;
	return ret;
}

int fence_renew(struct fence *fence, struct fence_region *region)
{
	struct run all = {0, region->nr_blocks};
	int ret;

	pthread_mutex_lock(&fence->lock);
	ret = replace_mapping(fence, region);
	set_blocks(fence, region, all, 0);
	/* Who was held by the mapping before tries again, with this one. */
	wake_run(fence, region, all);
	pthread_mutex_unlock(&fence->lock);
	return ret;
}

void fence_lower(struct fence *fence, struct fence_region *region)
{
	struct run all = {0, region->nr_blocks};

	pthread_mutex_lock(&fence->lock);
	/* Of the whole no mapping is split, for which memory could lack. */
	unregister_run(fence, region, all);
	region->lowered = true;
	pthread_mutex_unlock(&fence->lock);
}

int fence_raise(struct fence *fence, struct fence_region *region)
{
	struct run run = {0, region->nr_blocks};
	int ret;

	pthread_mutex_lock(&fence->lock);
	region->lowered = false;
	ret = register_run(fence, region, run);
	for (; !ret && run.first < region->nr_blocks; run.first = run.end) {
		run = run_alike(region, run.first, BLOCK_FREE);
		if (region->blocks[run.first] & BLOCK_FREE)
			ret = unregister_run(fence, region, run);
	}
	for (run.first = 0; !ret && run.first < region->nr_blocks;
	     run.first = run.end) {
		run = run_alike(region, run.first, BLOCK_OPEN);
		if (!(region->blocks[run.first] & BLOCK_OPEN))
			ret = hostmem_discard(
				region->mem, run.first * region->block_bytes,
				(run.end - run.first) * region->block_bytes);
	}
	pthread_mutex_unlock(&fence->lock);
	if (ret)
		fence_lower(fence, region);
	return ret;
}

/* Whether all blocks have one of the bits, or (any) one does. */
static bool have_bits(struct fence *fence, const struct fence_region *region,
		      struct run run, uint8_t bits, bool any)
{
	bool have = !any;

	pthread_mutex_lock(&fence->lock);
	for (uint64_t i = run.first; i < run.end && have != any; i++)
		have = region->blocks[i] & bits;
	pthread_mutex_unlock(&fence->lock);
	return have;
}

bool fence_is_open(struct fence *fence, const struct fence_region *region,
		   uint64_t offset, uint64_t size)
{
	return have_bits(fence, region, run_of(region, offset, size),
			 BLOCK_OPEN, false);
}

bool fence_is_shut(struct fence *fence, const struct fence_region *region,
		   uint64_t offset, uint64_t size)
{
	return have_bits(fence, region, run_of(region, offset, size),
			 BLOCK_SHUT | BLOCK_AWAY, true);
}

/* ---- Faults ------------------------------------------------------------ */

int fence_next(struct fence *fence, struct fence_fault *fault)
{
	struct uffd_msg msg;

	for (;;) {
		ssize_t got = read(fence->fd, &msg, sizeof(msg));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (got != sizeof(msg))
			return -EIO;
		if (msg.event == UFFD_EVENT_PAGEFAULT)
			break;
	}
	*fault = (struct fence_fault){
		.address = msg.arg.pagefault.address,
		.write = msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE,
		.tid = (int)msg.arg.pagefault.feat.ptid,
	};
	return 1;
}

/* The run of open blocks around one. */
static struct run open_run(const struct fence_region *region, uint64_t block)
{
	struct run run = {block, block + 1};

	while (run.first > 0 && (region->blocks[run.first - 1] & BLOCK_OPEN))
		run.first--;
	while (run.end < region->nr_blocks &&
	       (region->blocks[run.end] & BLOCK_OPEN))
		run.end++;
	return run;
}

int fence_let_pass(struct fence *fence, struct fence_region *region,
		   uint64_t offset)
{
	uint64_t block = offset / region->block_bytes;
	uint64_t piece = region->block_bytes < PASS_BYTES ? region->block_bytes
							  : PASS_BYTES;
	int ret = 0;

	/* The lock keeps it from being closed, and its pages from being
	 * discarded, before they are there. */
	pthread_mutex_lock(&fence->lock);
	if (!(region->blocks[block] & BLOCK_OPEN) ||
	    (region->blocks[block] & BLOCK_FREE) ||
	    free_run(fence, region, open_run(region, block)))
		goto out;
	do {
		ret = fallocate(
			region->mem->fd, FALLOC_FL_KEEP_SIZE,
			(off_t)(region->mem->start + (offset & ~(piece - 1))),
			(off_t)piece);
	} while (ret < 0 && errno == EINTR);
	ret = ret < 0 ? -errno : 0;
out:
	wake_run(fence, region, (struct run){block, block + 1});
	pthread_mutex_unlock(&fence->lock);
	return ret;
}

static int protect(struct fence *fence, struct fence_region *region,
		   uint64_t offset, bool shut)
{
	uint64_t block = offset / region->block_bytes;
	struct run run = {block, block + 1};
	uint8_t bits;
	int ret;

	pthread_mutex_lock(&fence->lock);
	bits = region->blocks[block];
	bits = (uint8_t)(shut ? bits | BLOCK_SHUT : bits & ~BLOCK_SHUT);
	ret = protect_run(region, run,
			  bits & (BLOCK_SHUT | BLOCK_AWAY)
				  ? PROT_NONE
				  : PROT_READ | PROT_WRITE);
	if (!ret)
		set_blocks(fence, region, run, bits);
	pthread_mutex_unlock(&fence->lock);
	return ret;
}

int fence_shut(struct fence *fence, struct fence_region *region,
	       uint64_t offset)
{
	uint64_t block = offset / region->block_bytes;
	int ret = protect(fence, region, offset, true);

	if (!ret)
		wake_run(fence, region, (struct run){block, block + 1});
	return ret;
}

int fence_unshut(struct fence *fence, struct fence_region *region,
		 uint64_t offset)
{
	return protect(fence, region, offset, false);
}
