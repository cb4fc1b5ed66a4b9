// SPDX-License-Identifier: BSD-3-Clause
/*
 * A memfd has huge pages only where the administrator allowed them for all
 * shared memory of the host, which no distribution does. A tmpfs of our own
 * has its own setting: so we mount one, attached nowhere, make one file in it,
 * and let the file be all that is left of it. That takes CAP_SYS_ADMIN; without
 * it a memfd has to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "backing_file.h"

#define THP_SETTING "/sys/kernel/mm/transparent_hugepage/enabled"
#define NAME_BYTES  64

/* The setting that counts stands in brackets. */
static bool huge_pages_allowed(void)
{
	char text[64] = "";
	int fd = open(THP_SETTING, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	return len > 0 && !strstr(text, "[never]");
}

/* A tmpfs without a limit, attached nowhere; -1 if we may not. */
static int mount_tmpfs(void)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd = -1;

	if (context < 0)
		return -1;
	if (fsconfig(context, FSCONFIG_SET_STRING, "size", "0", 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "huge", "always", 0) == 0 &&
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(context, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				     MOUNT_ATTR_NOEXEC);
	close(context);
	return fd;
}

static int create_huge(const char *name)
{
	int folder = mount_tmpfs();
	int fd;

	if (folder < 0)
		return -1;
	fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlinkat(folder, name, 0);
	close(folder);
	return fd;
}

bool backing_file_can_huge(void)
{
	int fd = huge_pages_allowed() ? mount_tmpfs() : -1;

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int create_memfd(const char *name, unsigned int flags)
{
	/* Nobody who is given the file can take memory from under KVM. */
	const int seals = F_SEAL_SHRINK | F_SEAL_SEAL;
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd >= 0 && fcntl(fd, F_ADD_SEALS, seals) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -errno;
}

int backing_file_create(const char *name, enum hostmem_pages pages)
{
	char file_name[NAME_BYTES];
	int fd = -1;

	snprintf(file_name, sizeof(file_name), "bellows:%s", name);
	switch (pages) {
	case HOSTMEM_PAGES_2M:
		return create_memfd(file_name, MFD_HUGETLB | MFD_HUGE_2MB);
	case HOSTMEM_PAGES_1G:
		return create_memfd(file_name, MFD_HUGETLB | MFD_HUGE_1GB);
	case HOSTMEM_PAGES_4K:
		break;
	case HOSTMEM_PAGES_ANY:
	case HOSTMEM_PAGES_THP:
		if (huge_pages_allowed())
			fd = create_huge(file_name);
		break;
	}
	return fd >= 0 ? fd : create_memfd(file_name, 0);
}
