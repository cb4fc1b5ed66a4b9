// SPDX-License-Identifier: BSD-3-Clause
/*
 * Names and sockets. Whoever takes or frees a name holds a lock on the folder
 * itself, so no lock file is left behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime.h"

#define SUFFIX		".sock"
#define BACKLOG		64
#define MAX_ATTEMPTS	100
#define CONNECT_SECONDS 10

static int runtime_folder(char path[RUNTIME_PATH_BYTES], struct error *err)
{
	const char *given = getenv("BELLOWS_RUNTIME_DIR");
	const char *user = getenv("XDG_RUNTIME_DIR");
	int len;

	if (given && *given)
		len = snprintf(path, RUNTIME_PATH_BYTES, "%s", given);
	else if (geteuid() == 0)
		len = snprintf(path, RUNTIME_PATH_BYTES, "/run/bellows");
	else if (user && *user)
		len = snprintf(path, RUNTIME_PATH_BYTES, "%s/bellows", user);
	else
		len = snprintf(path, RUNTIME_PATH_BYTES, "/tmp/bellows-%u",
			       geteuid());
	if (len >= RUNTIME_PATH_BYTES)
		return error_set(err, -ENAMETOOLONG,
				 "the folder for sockets has a path that is "
				 "too long: '%s...'; set BELLOWS_RUNTIME_DIR "
				 "to a shorter one",
				 path);
	return 0;
}

static int socket_address(const char *folder, const char *name,
			  struct sockaddr_un *addr, struct error *err)
{
	int len;

	if (strchr(name, '/'))
		return error_set(err, -EINVAL,
				 "the name '%s' has a '/'; no VM can have it",
				 name);
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	len = snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/%s" SUFFIX,
		       folder, name);
	if (len >= (int)sizeof(addr->sun_path))
		return error_set(err, -ENAMETOOLONG,
				 "the name '%s' is too long for a socket in "
				 "'%s'; give a shorter one, or set "
				 "BELLOWS_RUNTIME_DIR",
				 name, folder);
	return 0;
}

/* Nobody else may put sockets there, or take them away. */
static int check_folder(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set_errno(err, -errno, "cannot examine '%s'",
				       path);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return error_set(err, -EACCES,
				 "'%s' can be written to by others; it must "
				 "belong to you alone (mode 0700)",
				 path);
	return 0;
}

/* Open and lock the folder. It may go away in between, with its last VM. */
static int lock_folder(const char *path, bool create, struct error *err)
{
	for (int i = 0; i < MAX_ATTEMPTS; i++) {
		struct stat open_one, named_one;
		int fd, ret;

		if (create && mkdir(path, 0700) < 0 && errno != EEXIST)
			return error_set_errno(err, -errno, "cannot make '%s'",
					       path);
		fd = open(path,
			  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT && create)
			continue;
		if (fd < 0)
			return error_set_errno(err, -errno, "cannot open '%s'",
					       path);
		ret = check_folder(fd, path, err);
		if (!ret && flock(fd, LOCK_EX) < 0)
			ret = error_set_errno(err, -errno, "cannot lock '%s'",
					      path);
		if (!ret && fstat(fd, &open_one) == 0 &&
		    stat(path, &named_one) == 0 &&
		    open_one.st_ino == named_one.st_ino)
			return fd;
		close(fd);
		if (ret)
			return ret;
	}
	return error_set(err, -EAGAIN, "'%s' comes and goes", path);
}

/* The folder that we may have made goes with its last socket. */
static void unlock_folder(int fd, const char *path)
{
	if (!getenv("BELLOWS_RUNTIME_DIR"))
		rmdir(path);
	close(fd);
}

/* A connected socket; -ECONNREFUSED if nobody listens, -EAGAIN if nobody takes
 * us in from a full queue. */
static int connect_to(const struct sockaddr_un *addr, int flags)
{
	const struct timeval limit = {.tv_sec = CONNECT_SECONDS};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	int ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static int listen_at(struct runtime_claim *claim,
		     const struct sockaddr_un *addr, struct error *err)
{
	struct stat st;
	mode_t mask;
	int ret;

	claim->fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (claim->fd < 0)
		return error_set_errno(err, -errno, "no socket");
	mask = umask(0177);
	ret = bind(claim->fd, (const struct sockaddr *)addr, sizeof(*addr));
	umask(mask);
	if (ret < 0 || listen(claim->fd, BACKLOG) < 0 ||
	    stat(addr->sun_path, &st) < 0)
		return error_set_errno(err, -errno, "cannot listen at '%s'",
				       addr->sun_path);
	memcpy(claim->path, addr->sun_path, sizeof(claim->path));
	claim->device = st.st_dev;
	claim->inode = st.st_ino;
	return 0;
}

static int claim_locked(struct runtime_claim *claim, const char *name,
			const struct sockaddr_un *addr, struct error *err)
{
	int fd = connect_to(addr, SOCK_NONBLOCK);

	if (fd >= 0 || fd == -EAGAIN) {
		if (fd >= 0)
			close(fd);
		return error_set(err, -EEXIST,
				 "a VM named '%s' runs already; give another "
				 "name, or stop it with: bellows stop %s",
				 name, name);
	}
	if (fd == -ECONNREFUSED)
		unlink(addr->sun_path);
	return listen_at(claim, addr, err);
}

int runtime_claim(struct runtime_claim *claim, const char *name,
		  struct error *err)
{
	char folder[RUNTIME_PATH_BYTES];
	struct sockaddr_un addr;
	int lock, ret;

	memset(claim, 0, sizeof(*claim));
	claim->fd = claim->keeper_fd = -1;
	ret = runtime_folder(folder, err);
	if (!ret)
		ret = socket_address(folder, name, &addr, err);
	if (ret)
		return ret;
	lock = lock_folder(folder, true, err);
	if (lock < 0)
		return lock;
	ret = claim_locked(claim, name, &addr, err);
	if (ret && claim->fd >= 0) {
		close(claim->fd);
		claim->fd = -1;
	}
	if (ret)
		unlock_folder(lock, folder);
	else
		close(lock);
	return ret;
}

static void remove_socket(const struct runtime_claim *claim)
{
	char folder[RUNTIME_PATH_BYTES];
	struct stat st;
	int lock;

	memcpy(folder, claim->path, sizeof(folder));
	*strrchr(folder, '/') = '\0';
	lock = lock_folder(folder, false, NULL);
	if (stat(claim->path, &st) == 0 && st.st_dev == claim->device &&
	    st.st_ino == claim->inode)
		unlink(claim->path);
	if (lock >= 0)
		unlock_folder(lock, folder);
}

__attribute__((noreturn)) static void be_keeper(
	const struct runtime_claim *claim, int line)
{
	char byte;

	/* Nobody is to wait for us as if we were the VM. */
	dup2(line, STDIN_FILENO);
	close_range(STDIN_FILENO + 1, ~0U, 0);
	prctl(PR_SET_NAME, "bellows-keeper");
	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
	remove_socket(claim);
	_exit(0);
}

int runtime_keep(struct runtime_claim *claim, struct error *err)
{
	int line[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
		return error_set_errno(err, -errno, "no socket");
	pid = fork();
	if (pid == 0)
		be_keeper(claim, line[1]);
	close(line[1]);
	if (pid < 0) {
		close(line[0]);
		return error_set_errno(err, -errno,
				       "no process to keep the socket");
	}
	claim->keeper_fd = line[0];
	return 0;
}

void runtime_release(struct runtime_claim *claim)
{
	char byte;

	if (claim->fd < 0)
		return;
	if (claim->keeper_fd < 0) {
		remove_socket(claim);
	} else {
		/* Its end of the line closes when it is done. */
		shutdown(claim->keeper_fd, SHUT_WR);
		while (read(claim->keeper_fd, &byte, 1) < 0 && errno == EINTR)
			;
		close(claim->keeper_fd);
	}
	close(claim->fd);
	claim->fd = claim->keeper_fd = -1;
}

int runtime_connect(const char *name, struct error *err)
{
	char folder[RUNTIME_PATH_BYTES];
	struct sockaddr_un addr;
	int fd, ret = runtime_folder(folder, err);

	if (!ret)
		ret = socket_address(folder, name, &addr, err);
	if (ret)
		return ret;
	fd = connect_to(&addr, 0);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return error_set(err, -ENOENT,
				 "no VM named '%s' runs (no one listens at "
				 "'%s'); `bellows ls` lists those that do",
				 name, addr.sun_path);
	if (fd < 0)
		return error_set_errno(err, fd, "cannot connect to '%s'",
				       addr.sun_path);
	return fd;
}

static int is_socket_name(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > strlen(SUFFIX) &&
	       !strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX);
}

int runtime_list(bool (*each)(void *opaque, const char *name), void *opaque,
		 struct error *err)
{
	char folder[RUNTIME_PATH_BYTES];
	struct dirent **entries;
	bool more = true;
	int nr, ret = runtime_folder(folder, err);

	if (ret)
		return ret;
	nr = scandir(folder, &entries, is_socket_name, alphasort);
	if (nr < 0)
		return errno == ENOENT
			       ? 0
			       : error_set_errno(err, -errno,
						 "cannot read '%s'", folder);
	for (int i = 0; i < nr; i++) {
		char *name = entries[i]->d_name;

		name[strlen(name) - strlen(SUFFIX)] = '\0';
		if (more)
			more = each(opaque, name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}
