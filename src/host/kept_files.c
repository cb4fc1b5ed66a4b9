// SPDX-License-Identifier: BSD-3-Clause
/* Small files of the kernel's, read by descriptors that stay open. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kept_files.h"

#define FIRST_BYTES 8192

void kept_files_init(struct kept_files *kept)
{
	memset(kept, 0, sizeof(*kept));
	pthread_mutex_init(&kept->lock, NULL);
}

void kept_files_finish(struct kept_files *kept)
{
	for (unsigned int i = 0; i < kept->nr; i++) {
		close(kept->files[i].fd);
		free(kept->files[i].path);
	}
	kept->nr = 0;
	pthread_mutex_destroy(&kept->lock);
}

/* From the start to the end, which only reading tells. */
static char *read_all(int fd)
{
	size_t room = FIRST_BYTES, len = 0;
	char *text = malloc(room);
	ssize_t got;

	while (text) {
		got = pread(fd, text + len, room - len - 1, (off_t)len);
		if (got < 0)
			break;
		len += (size_t)got;
		if (got == 0) {
			text[len] = '\0';
			return text;
		}
		if (len == room - 1) {
			char *more = realloc(text, room *= 2);

			if (!more)
				break;
			text = more;
		}
	}
	free(text);
	return NULL;
}

static int find(const struct kept_files *kept, const char *path)
{
	for (unsigned int i = 0; i < kept->nr; i++) {
		if (!strcmp(kept->files[i].path, path))
			return kept->files[i].fd;
	}
	return -1;
}

/* True if it will be closed by kept_files_finish(). */
static bool keep(struct kept_files *kept, const char *path, int fd)
{
	char *copy;

	if (kept->nr == KEPT_FILES_MAX)
		return false;
	copy = strdup(path);
	if (!copy)
		return false;
	kept->files[kept->nr].path = copy;
	kept->files[kept->nr++].fd = fd;
	return true;
}

static char *read_kept(struct kept_files *kept, const char *path)
{
	int fd = find(kept, path);
	bool stays = fd >= 0;
	char *text;

	if (!stays) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return NULL;
		stays = keep(kept, path, fd);
	}
	text = read_all(fd);
	if (!stays)
		close(fd);
	return text;
}

char *kept_files_read(struct kept_files *kept, const char *path)
{
	char *text = NULL;
	int fd;

	if (kept) {
		/* Who reads a file piece by piece wants it to himself. */
		pthread_mutex_lock(&kept->lock);
		text = read_kept(kept, path);
		pthread_mutex_unlock(&kept->lock);
		return text;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		text = read_all(fd);
		close(fd);
	}
	return text;
}
