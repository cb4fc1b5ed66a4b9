// SPDX-License-Identifier: BSD-3-Clause
/* Files made from other files. A file gets its name once it is complete. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"

#define NAME_BYTES 160

/* ---- The folder -------------------------------------------------------- */

static int default_folder(char path[PATH_MAX])
{
	const char *user = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int len;

	if (geteuid() == 0) {
		len = snprintf(path, PATH_MAX, "/var/cache/bellows");
	} else if (user && *user == '/') {
		len = snprintf(path, PATH_MAX, "%s/bellows", user);
	} else if (home && *home == '/') {
		len = snprintf(path, PATH_MAX, "%s/.cache", home);
		if (len < PATH_MAX)
			mkdir(path, 0700);
		len = snprintf(path, PATH_MAX, "%s/.cache/bellows", home);
	} else {
		return -ENOENT;
	}
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Nobody else may put files there that our guests would then run. */
static int open_folder(const char *given, struct error *err)
{
	char own[PATH_MAX];
	const char *path = given ? given : own;
	struct stat st;
	int ret = given ? 0 : default_folder(own), fd;

	if (ret)
		return error_set_errno(err, ret, "no folder for the cache");
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set_errno(err, -errno, "cannot make '%s'", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, -errno, "cannot open '%s'", path);
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	    !(st.st_mode & 022))
		return fd;
	close(fd);
	return error_set(err, -EACCES,
			 "'%s' can be written to by others; it must belong to "
			 "you alone (mode 0700)",
			 path);
}

/* The oldest of more than CACHE_MAX_FILES files; false: there are no more. */
static bool find_oldest(int folder, char name[NAME_BYTES])
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	unsigned int nr = 0;
	time_t oldest = 0;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !S_ISREG(st.st_mode) || strlen(entry->d_name) >= NAME_BYTES)
			continue;
		if (nr++ && st.st_mtime >= oldest)
			continue;
		oldest = st.st_mtime;
		strcpy(name, entry->d_name);
	}
	if (dir)
		closedir(dir);
	return nr > CACHE_MAX_FILES;
}

static void prune(int folder)
{
	char name[NAME_BYTES];

	while (find_oldest(folder, name) && unlinkat(folder, name, 0) == 0)
		;
}

/* ---- Files ------------------------------------------------------------- */

/* Whatever is done to a file, its time of change or its number differs. */
static int file_name(int fd, const char *what, char name[NAME_BYTES])
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	snprintf(name, NAME_BYTES, "%s-%jx-%jx-%jx-%jx.%lx-%jx.%lx", what,
		 (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
		 (uintmax_t)st.st_size, (uintmax_t)st.st_mtim.tv_sec,
		 st.st_mtim.tv_nsec, (uintmax_t)st.st_ctim.tv_sec,
		 st.st_ctim.tv_nsec);
	return 0;
}

static int open_file(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	/* It was used just now. */
	if (fd >= 0)
		futimens(fd, NULL);
	return fd < 0 ? -errno : fd;
}

static int make_file(int folder, const char *name,
		     int (*make)(void *opaque, int to), void *opaque)
{
	char draft[NAME_BYTES + 16];
	int to, ret;

	snprintf(draft, sizeof(draft), "%s.%d", name, getpid());
	to = openat(folder, draft,
		    O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	ret = make(opaque, to) ? -ENODATA : 0;
	close(to);
	if (!ret && renameat(folder, draft, folder, name) < 0)
		ret = -errno;
	if (ret)
		unlinkat(folder, draft, 0);
	else
		prune(folder);
	return ret;
}

int cache_open(const char *folder, const char *what, int fd,
	       int (*make)(void *opaque, int to), void *opaque,
	       struct error *err)
{
	int at = open_folder(folder, err), ret;
	char name[NAME_BYTES];

	if (at < 0)
		return at;
	ret = file_name(fd, what, name);
	if (!ret) {
		ret = open_file(at, name);
		if (ret == -ENOENT) {
			ret = make_file(at, name, make, opaque);
			if (!ret)
				ret = open_file(at, name);
		}
	}
	close(at);
	return ret < 0 ? error_set_errno(err, ret, "no copy in the cache")
		       : ret;
}
