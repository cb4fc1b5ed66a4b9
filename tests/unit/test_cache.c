// SPDX-License-Identifier: BSD-3-Clause
/* Files made from other files, and kept. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/cache.h"

struct made {
	unsigned int nr;
	int ret;
};

static char folder[64], cache[96];

static int make(void *opaque, int to)
{
	struct made *made = opaque;

	made->nr++;
	return dprintf(to, "made %u", made->nr) > 0 ? made->ret : -EIO;
}

static int setup(void **state)
{
	strcpy(folder, "/tmp/cache-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(cache, sizeof(cache), "%s/cache", folder);
	return 0;
}

static unsigned int nr_files(void)
{
	DIR *dir = opendir(cache);
	const struct dirent *entry;
	unsigned int nr = 0;

	while (dir && (entry = readdir(dir)))
		nr += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return nr;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static int original(const char *text)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/original", folder);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static void expect_content(int fd, const char *text)
{
	char got[32] = "";

	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof(got) - 1), strlen(text));
	assert_string_equal(got, text);
	/* It is for reading alone. */
	assert_int_equal(write(fd, "x", 1), -1);
	close(fd);
}

static void it_is_made_once(void **state)
{
	struct made made = {0};
	struct error err;
	struct stat st;
	int fd = original("one");

	expect_content(cache_open(cache, "kind", fd, make, &made, &err),
		       "made 1");
	expect_content(cache_open(cache, "kind", fd, make, &made, &err),
		       "made 1");
	assert_int_equal(made.nr, 1);
	assert_int_equal(stat(cache, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* Another kind of file from the same one. */
	expect_content(cache_open(cache, "other", fd, make, &made, &err),
		       "made 2");
	/* The original changed. */
	assert_int_equal(pwrite(fd, "two", 3, 0), 3);
	assert_int_equal(
		futimens(fd, (const struct timespec[]){{1, 0}, {2, 0}}), 0);
	expect_content(cache_open(cache, "kind", fd, make, &made, &err),
		       "made 3");
	close(fd);
}

static void what_fails_leaves_nothing(void **state)
{
	struct made made = {.ret = -EIO};
	struct error err;
	int fd = original("one");

	assert_int_equal(cache_open(cache, "kind", fd, make, &made, &err),
			 -ENODATA);
	assert_true(err.text[0]);
	assert_int_equal(nr_files(), 0);
	assert_int_equal(cache_open("/proc/cache", "kind", fd, make, &made,
				    &err),
			 -ENOENT);
	assert_int_equal(made.nr, 1);
	close(fd);
}

static void others_may_not_write_there(void **state)
{
	struct made made = {0};
	struct error err;
	int fd = original("one");

	assert_int_equal(mkdir(cache, 0700), 0);
	assert_int_equal(chmod(cache, 0770), 0);
	assert_int_equal(cache_open(cache, "kind", fd, make, &made, &err),
			 -EACCES);
	assert_non_null(strstr(err.text, cache));
	assert_int_equal(made.nr, 0);
	close(fd);
}

static void the_oldest_goes(void **state)
{
	const struct timespec long_ago[2] = {{1, 0}, {1, 0}};
	struct made made = {0};
	struct error err;
	int fd = original("one"), first, again;

	first = cache_open(cache, "first", fd, make, &made, &err);
	for (int i = 0; i < CACHE_MAX_FILES - 1; i++) {
		char what[16];

		snprintf(what, sizeof(what), "kind%d", i);
		close(cache_open(cache, what, fd, make, &made, &err));
	}
	assert_int_equal(nr_files(), CACHE_MAX_FILES);
	/* It was not used for long, then it was: another is older. */
	assert_int_equal(futimens(first, long_ago), 0);
	again = cache_open(cache, "first", fd, make, &made, &err);
	assert_int_equal(made.nr, CACHE_MAX_FILES);
	close(again);
	again = cache_open(cache, "kind3", fd, make, &made, &err);
	assert_int_equal(futimens(again, long_ago), 0);
	close(again);
	close(cache_open(cache, "last", fd, make, &made, &err));
	assert_int_equal(nr_files(), CACHE_MAX_FILES);
	close(cache_open(cache, "first", fd, make, &made, &err));
	assert_int_equal(made.nr, CACHE_MAX_FILES + 1);
	close(cache_open(cache, "kind3", fd, make, &made, &err));
	assert_int_equal(made.nr, CACHE_MAX_FILES + 2);
	close(first);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_is_made_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_fails_leaves_nothing,
						setup, teardown),
		cmocka_unit_test_setup_teardown(others_may_not_write_there,
						setup, teardown),
		cmocka_unit_test_setup_teardown(the_oldest_goes, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
