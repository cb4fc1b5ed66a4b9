/* SPDX-License-Identifier: BSD-3-Clause */
/* What the agent asks of the guest's kernel: modules and small files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"

#define DEV_MEM "/dev/mem"
#define PAGE	4096UL

int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(text);
	int code = 0;

	if (fd < 0)
		return -errno;
	errno = EIO;
	if (write(fd, text, (size_t)len) != len)
		code = -errno;
	close(fd);
	return code;
}

ssize_t read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;

	if (fd < 0)
		return -errno;
	while (used < size - 1) {
		ssize_t got = read(fd, buf + used, size - 1 - used);

		if (got <= 0)
			break;
		used += (size_t)got;
	}
	close(fd);
	buf[used] = '\0';
	return (ssize_t)used;
}

int module_insert(const char *file, const char *parameters)
{
	char path[128];
	int fd, code = 0;

	snprintf(path, sizeof(path), "/modules/%s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, parameters, 0) < 0)
		code = -errno;
	close(fd);
	return code;
}

int module_remove(const char *name)
{
	if (syscall(SYS_delete_module, name, O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int physical_read(uint64_t address, uint64_t step, unsigned int count)
{
	int fd = open(DEV_MEM, O_RDONLY | O_CLOEXEC);
	char page[PAGE];
	int nr = 0;

	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < count; i++) {
		off_t at = (off_t)(address + i * step);

		if (pread(fd, page, PAGE, at) == (ssize_t)PAGE)
			nr++;
	}
	close(fd);
	return nr;
}

/* By a mapping for each, as devmem does. */
int physical_write(uint64_t address, uint64_t step, unsigned int count)
{
	int fd = open(DEV_MEM, O_RDWR | O_SYNC | O_CLOEXEC);
	int nr = 0;

	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < count; i++) {
		uint64_t at = address + i * step;
		char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED, fd, (off_t)(at & -PAGE));

		if (page == MAP_FAILED)
			continue;
		*(volatile uint32_t *)(void *)(page + at % PAGE) = 1;
		munmap(page, PAGE);
		nr++;
	}
	close(fd);
	return nr;
}
