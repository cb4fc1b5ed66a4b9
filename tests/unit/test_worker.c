// SPDX-License-Identifier: BSD-3-Clause
/* Work in a process that can do nothing else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/worker.h"

#define LIMIT 4096

struct job {
	int fd;
	unsigned int seen;
};

/* Takes memory, reads, writes. */
static int copy_twice(void *opaque)
{
	struct job *job = opaque;
	size_t size = 1 << 20;
	uint8_t *memory = malloc(size);
	struct stat st;
	char text[3];

	job->seen++;
	if (!memory || fstat(job->fd, &st) || st.st_size != sizeof(text) ||
	    pread(job->fd, text, sizeof(text), 0) != sizeof(text))
		return -EIO;
	memset(memory, 0, size);
	free(memory);
	return pwrite(job->fd, text, sizeof(text), sizeof(text)) == sizeof(text)
		       ? 0
		       : -EIO;
}

static int be_unwell(void *opaque)
{
	return -EINVAL;
}

static int die(void *opaque)
{
	return *(volatile int *)opaque;
}

static int open_socket(void *opaque)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? -errno : 0;
}

static int make_executable(void *opaque)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? -errno
		       : 0;
}

static int write_long(void *opaque)
{
	struct job *job = opaque;

	return pwrite(job->fd, "x", 1, LIMIT) == 1 ? 0 : -errno;
}

static int file_of(const char *text)
{
	int fd = memfd_create("job", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static void it_does_its_work(void **state)
{
	struct job job = {.fd = file_of("abc")};
	char text[7] = "";

	assert_int_equal(worker_run(copy_twice, &job, LIMIT), 0);
	assert_int_equal(pread(job.fd, text, sizeof(text), 0), 6);
	assert_string_equal(text, "abcabc");
	/* Our memory is not its memory. */
	assert_int_equal(job.seen, 0);
	close(job.fd);
}

static void it_fails_alone(void **state)
{
	struct job job = {.fd = file_of("")};

	assert_int_equal(worker_run(be_unwell, NULL, LIMIT), -EIO);
	assert_int_equal(worker_run(die, NULL, LIMIT), -EIO);
	assert_int_equal(worker_run(open_socket, NULL, LIMIT), -EIO);
	assert_int_equal(worker_run(make_executable, NULL, LIMIT), -EIO);
	assert_int_equal(worker_run(write_long, &job, LIMIT), -EIO);
	assert_int_equal(worker_run(write_long, &job, LIMIT + 1), 0);
	close(job.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_does_its_work),
		cmocka_unit_test(it_fails_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
