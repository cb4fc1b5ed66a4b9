// SPDX-License-Identifier: BSD-3-Clause
/* Names of VMs: taken, in use, stale, given up. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/runtime.h"

static char folder[64];

static int make_folder(void **state)
{
	strcpy(folder, "/tmp/bellows-unit-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	return setenv("BELLOWS_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
	return rmdir(folder); /* fails if anything was left in it */
}

static void taken_and_given_up(void **state)
{
	struct runtime_claim claim, second;
	struct error err = {0};
	struct stat st;
	int fd;

	assert_int_equal(runtime_claim(&claim, "one", &err), 0);
	assert_int_equal(stat(claim.path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(runtime_claim(&second, "one", &err), -EEXIST);
	assert_non_null(strstr(err.text, "'one'"));
	fd = runtime_connect("one", &err);
	assert_true(fd >= 0);
	close(fd);
	runtime_release(&claim);
	runtime_release(&claim);
	assert_int_equal(stat(claim.path, &st), -1);
	assert_int_equal(runtime_connect("one", &err), -ENOENT);
}

/* Make a claim that has its keeper, then end without a word. */
static void claim_and_die(void)
{
	struct runtime_claim claim;
	struct error err = {0};

	if (runtime_claim(&claim, "kept", &err) || runtime_keep(&claim, &err) ||
	    access(claim.path, F_OK) < 0)
		_exit(1);
	raise(SIGKILL);
}

static void kept_by_another_process(void **state)
{
	struct runtime_claim claim;
	struct error err = {0};
	char path[128];
	int status;
	pid_t pid;

	assert_int_equal(runtime_claim(&claim, "kept", &err), 0);
	assert_int_equal(runtime_keep(&claim, &err), 0);
	assert_int_equal(access(claim.path, F_OK), 0);
	runtime_release(&claim);
	assert_int_equal(access(claim.path, F_OK), -1);
	/* The same if we are killed. */
	snprintf(path, sizeof(path), "%s/kept.sock", folder);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		claim_and_die();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	for (int i = 0; i < 10000 && access(path, F_OK) == 0; i++)
		usleep(1000);
	assert_int_equal(access(path, F_OK), -1);
}

static void stale_one_replaced(void **state)
{
	struct runtime_claim claim;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct error err = {0};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/dead.sock", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(runtime_connect("dead", &err), -ENOENT);
	assert_int_equal(runtime_claim(&claim, "dead", &err), 0);
	runtime_release(&claim);
}

/* Somebody else's socket of the same name is not ours to remove. */
static void only_our_own_removed(void **state)
{
	struct runtime_claim first, second;
	struct error err = {0};
	struct stat st;

	assert_int_equal(runtime_claim(&first, "x", &err), 0);
	assert_int_equal(unlink(first.path), 0);
	assert_int_equal(runtime_claim(&second, "x", &err), 0);
	runtime_release(&first);
	assert_int_equal(stat(second.path, &st), 0);
	runtime_release(&second);
}

static void open_folder_refused(void **state)
{
	struct runtime_claim claim;
	struct error err = {0};

	assert_int_equal(chmod(folder, 0777), 0);
	assert_int_equal(runtime_claim(&claim, "x", &err), -EACCES);
	assert_non_null(strstr(err.text, folder));
	assert_int_equal(chmod(folder, 0700), 0);
}

static void long_names_refused(void **state)
{
	struct runtime_claim claim;
	struct error err = {0};
	char name[120];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(runtime_claim(&claim, name, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "BELLOWS_RUNTIME_DIR"));
}

static void no_way_out_of_the_folder(void **state)
{
	struct runtime_claim claim;
	struct error err = {0};

	assert_int_equal(runtime_claim(&claim, "../x", &err), -EINVAL);
	assert_non_null(strstr(err.text, "'../x'"));
	assert_int_equal(runtime_connect("../x", &err), -EINVAL);
	assert_int_equal(runtime_connect("/x", &err), -EINVAL);
}

/* A link could lead to a folder that belongs to somebody else tomorrow. */
static void linked_folder_refused(void **state)
{
	struct runtime_claim claim;
	struct error err = {0};
	char link[80];

	snprintf(link, sizeof(link), "%s-link", folder);
	assert_int_equal(symlink(folder, link), 0);
	setenv("BELLOWS_RUNTIME_DIR", link, 1);
	assert_true(runtime_claim(&claim, "x", &err) < 0);
	assert_non_null(strstr(err.text, link));
	assert_int_equal(claim.fd, -1);
	setenv("BELLOWS_RUNTIME_DIR", folder, 1);
	assert_int_equal(unlink(link), 0);
}

static void missing_folder_made(void **state)
{
	struct runtime_claim claim;
	struct error err = {0};
	struct stat st;
	char inner[80];

	snprintf(inner, sizeof(inner), "%s/new", folder);
	setenv("BELLOWS_RUNTIME_DIR", inner, 1);
	assert_int_equal(runtime_claim(&claim, "x", &err), 0);
	assert_int_equal(stat(inner, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	runtime_release(&claim);
	/* The user's own choice of a folder stays. */
	assert_int_equal(rmdir(inner), 0);
	snprintf(inner, sizeof(inner), "%s/no/such", folder);
	setenv("BELLOWS_RUNTIME_DIR", inner, 1);
	assert_int_equal(runtime_claim(&claim, "x", &err), -ENOENT);
	assert_non_null(strstr(err.text, inner));
	setenv("BELLOWS_RUNTIME_DIR", folder, 1);
}

/* A folder of ours goes with the last name in it. Root has one place for all,
 * so it plays somebody else. */
static void own_folder_goes(void **state)
{
	struct runtime_claim a, b;
	struct error err = {0};
	struct stat st;
	char home[80], own[96];
	uid_t user = geteuid() ? geteuid() : 65534;

	snprintf(home, sizeof(home), "%s-user", folder);
	snprintf(own, sizeof(own), "%s/bellows", home);
	assert_int_equal(mkdir(home, 0700), 0);
	assert_int_equal(chown(home, user, (gid_t)-1), 0);
	assert_int_equal(seteuid(user), 0);
	unsetenv("BELLOWS_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", home, 1);
	assert_int_equal(runtime_claim(&a, "a", &err), 0);
	assert_int_equal(runtime_claim(&b, "b", &err), 0);
	assert_memory_equal(a.path, own, strlen(own));
	runtime_release(&a);
	assert_int_equal(stat(own, &st), 0);
	runtime_release(&b);
	assert_int_equal(stat(own, &st), -1);
	seteuid(getuid());
	setenv("BELLOWS_RUNTIME_DIR", folder, 1);
	assert_int_equal(rmdir(home), 0);
}

static bool add_name(void *opaque, const char *name)
{
	strcat(opaque, name);
	strcat(opaque, " ");
	return true;
}

static void listed_in_order(void **state)
{
	struct runtime_claim b, a;
	struct error err = {0};
	char names[64] = "";

	assert_int_equal(runtime_claim(&b, "b", &err), 0);
	assert_int_equal(runtime_claim(&a, "a", &err), 0);
	assert_int_equal(runtime_list(add_name, names, &err), 0);
	assert_string_equal(names, "a b ");
	runtime_release(&a);
	runtime_release(&b);
	setenv("BELLOWS_RUNTIME_DIR", "/no/such/folder", 1);
	assert_int_equal(runtime_list(add_name, names, &err), 0);
	setenv("BELLOWS_RUNTIME_DIR", folder, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken_and_given_up),
		cmocka_unit_test(kept_by_another_process),
		cmocka_unit_test(stale_one_replaced),
		cmocka_unit_test(only_our_own_removed),
		cmocka_unit_test(open_folder_refused),
		cmocka_unit_test(long_names_refused),
		cmocka_unit_test(no_way_out_of_the_folder),
		cmocka_unit_test(linked_folder_refused),
		cmocka_unit_test(missing_folder_made),
		cmocka_unit_test(own_folder_goes),
		cmocka_unit_test(listed_in_order),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
