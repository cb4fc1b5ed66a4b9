// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a VM's process gives up. Each test does it in a process of its own, and
 * looks at how that ended: 0 is as it should be, the line where it was not
 * comes as exit status 1 and on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "host/kept_files.h"
#include "host/sandbox.h"

#define MIB (1ULL << 20)

#define MUST(condition)                                                        \
	do {                                                                   \
		if (!(condition)) {                                            \
			dprintf(2, "line %d: not so: %s (%s)\n", __LINE__,     \
				#condition, strerror(errno));                  \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static int run(void (*body)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		body(arg);
		/* Before _exit(), a sanitizer asks for what is forbidden. */
		syscall(SYS_exit_group, 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_passes(void (*body)(void *arg), void *arg)
{
	int status = run(body, arg);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- System calls ------------------------------------------------------ */

static void filter(enum sandbox_mode mode)
{
	struct error err = {0};

	MUST(sandbox_filter(mode, &err) == 0);
}

static void call_socket(void *arg)
{
	socket(AF_INET, SOCK_STREAM, 0);
}

static void call_execve(void *arg)
{
	execl("/bin/true", "true", NULL);
}

static void call_fork(void *arg)
{
	syscall(SYS_fork);
}

static void call_mmap_exec(void *arg)
{
	mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	     0);
}

static void call_ioctl(void *arg)
{
	ioctl(0, TIOCSTI, "x");
}

static void call_stat(void *arg)
{
	struct stat st;

	fstatat(AT_FDCWD, "/", &st, 0);
}

static void call_chroot(void *arg)
{
	(void)!chroot("/");
}

static void call_kill(void *arg)
{
	kill(getpid(), 0);
}

static void (*const forbidden[])(void *arg) = {
	call_socket, call_execve, call_fork,   call_mmap_exec,
	call_ioctl,  call_stat,	  call_chroot, call_kill,
};
#define NR_FORBIDDEN (sizeof(forbidden) / sizeof(forbidden[0]))

static void filtered(void *arg)
{
	filter(SANDBOX_ON);
	(*(void (*const *)(void *))arg)(NULL);
}

static void forbidden_calls_kill(void **state)
{
	for (size_t i = 0; i < NR_FORBIDDEN; i++) {
		int status = run(filtered, (void *)(uintptr_t)&forbidden[i]);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("call %zu: status %#x", i, status);
	}
}

static void *wait_and_call(void *arg)
{
	char byte;

	if (read(*(int *)arg, &byte, 1) == 1)
		call_socket(NULL);
	_exit(1);
}

/* A thread that was there before is bound as well. */
static void filter_with_thread(void *arg)
{
	int ends[2];
	pthread_t thread;

	MUST(pipe(ends) == 0);
	MUST(pthread_create(&thread, NULL, wait_and_call, &ends[0]) == 0);
	filter(SANDBOX_ON);
	MUST(write(ends[1], "", 1) == 1);
	pthread_join(thread, NULL);
}

static void threads_are_bound(void **state)
{
	int status = run(filter_with_thread, NULL);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void use_what_is_allowed(void *arg)
{
	int ends[2], memory = memfd_create("sandbox", MFD_CLOEXEC);
	struct termios term;
	struct stat st;
	void *block;
	char byte;

	MUST(pipe(ends) == 0 && memory >= 0);
	filter(SANDBOX_ON);
	MUST(write(ends[1], "a", 1) == 1 && read(ends[0], &byte, 1) == 1);
	MUST(fstat(memory, &st) == 0);
	MUST(fallocate(memory, 0, 0, 4096) == 0);
	MUST(pread(memory, &byte, 1, 0) == 1 && byte == 0);
	MUST(tcgetattr(ends[0], &term) < 0 && errno == ENOTTY);
	/* Opening fails, as if there were nothing. */
	MUST(open("/dev/null", O_RDWR) < 0 && errno == EACCES);
	block = malloc(8 * MIB);
	MUST(block != NULL);
	memset(block, 1, 8 * MIB);
	free(block);
}

static void allowed_calls_work(void **state)
{
	assert_passes(use_what_is_allowed, NULL);
}

static void log_alone(void *arg)
{
	filter(SANDBOX_LOG);
	MUST(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}

static void log_forbids_nothing(void **state)
{
	assert_passes(log_alone, NULL);
}

static void every_rule_has_its_reason(void **state)
{
	assert_true(sandbox_nr_rules > 0);
	for (size_t i = 0; i < sandbox_nr_rules; i++) {
		assert_true(sandbox_rules[i].role[0] != '\0');
		assert_true(sandbox_rules[i].why[0] != '\0');
	}
}

/* ---- Privileges -------------------------------------------------------- */

/* The number after key in our status. */
static uint64_t status_of(const char *text, const char *key, int base)
{
	const char *at = strstr(text, key);

	MUST(at != NULL);
	return strtoull(at + strlen(key), NULL, base);
}

static void confine_self(void *arg)
{
	const struct sandbox_config *config = arg;
	bool root = geteuid() == 0;
	struct kept_files kept;
	struct error err = {0};
	struct rlimit files, size, core;
	char *text;

	kept_files_init(&kept);
	text = kept_files_read(&kept, "/proc/self/status");
	MUST(text != NULL && status_of(text, "NoNewPrivs:", 10) == 0);
	free(text);
	if (sandbox_confine(config, &err)) {
		dprintf(2, "%s\n", err.text);
		_exit(1);
	}
	text = kept_files_read(&kept, "/proc/self/status");
	MUST(text != NULL && status_of(text, "NoNewPrivs:", 10) == 1);
	MUST(status_of(text, "CapEff:", 16) == 0);
	MUST(status_of(text, "CapPrm:", 16) == 0);
	MUST(!root || status_of(text, "CapBnd:", 16) == 0);
	if (config->change_user) {
		MUST(geteuid() == config->uid && getegid() == config->gid);
		MUST(setuid(0) < 0);
	}
	MUST(!root || access("/proc", F_OK) < 0);
	MUST(!root || mkdir("/x", 0700) < 0);
	free(text);
	MUST(getrlimit(RLIMIT_NOFILE, &files) == 0);
	MUST(getrlimit(RLIMIT_FSIZE, &size) == 0);
	MUST(getrlimit(RLIMIT_CORE, &core) == 0);
	MUST(files.rlim_max <= SANDBOX_MAX_FILES);
	MUST(size.rlim_max <= config->max_file_bytes && core.rlim_max == 0);
	kept_files_finish(&kept);
}

static void little_is_left(void **state)
{
	struct sandbox_config config = {
		.mode = SANDBOX_ON,
		.max_file_bytes = 64 * MIB,
	};

	assert_passes(confine_self, &config);
	if (geteuid() != 0)
		return;
	config.change_user = true;
	config.uid = 65534;
	config.gid = 65533;
	assert_passes(confine_self, &config);
}

static void grow_too_far(void *arg)
{
	const struct sandbox_config config = {
		.mode = SANDBOX_ON,
		.max_file_bytes = MIB,
	};
	int memory = memfd_create("sandbox", MFD_CLOEXEC);
	struct error err = {0};

	MUST(ftruncate(memory, 2 * MIB) == 0);
	MUST(sandbox_confine(&config, &err) == 0);
	/* What is long already can be filled; nothing gets longer. */
	MUST(fallocate(memory, FALLOC_FL_KEEP_SIZE, 0, 2 * MIB) == 0);
	MUST(pwrite(memory, "x", 1, 2 * MIB) < 0 && errno == EFBIG);
}

static void files_end_at_their_limit(void **state)
{
	assert_passes(grow_too_far, NULL);
}

static void refuse_root(void *arg)
{
	struct sandbox_config config = {.mode = SANDBOX_ON, .root = arg};
	struct error err = {0};

	config.max_file_bytes = MIB;
	MUST(sandbox_confine(&config, &err) < 0);
	MUST(strstr(err.text, "--chroot") && strstr(err.text, arg));
}

static void roots_refused(void **state)
{
	static char full[] = "/proc", missing[] = "/no/such/folder";

	assert_passes(refuse_root, full);
	assert_passes(refuse_root, missing);
}

static void users_found(void **state)
{
	static const char *const bad[] = {"",	     ":",
					  "root:",   ":root",
					  "no-such", "root:no-such",
					  "-1",	     "4294967295:0"};
	struct sandbox_config config = {0};
	struct error err = {0};

	assert_int_equal(sandbox_parse_user("root", &config, &err), 0);
	assert_true(config.change_user && !config.uid && !config.gid);
	assert_int_equal(sandbox_parse_user("root:7", &config, &err), 0);
	assert_int_equal(config.gid, 7);
	assert_int_equal(sandbox_parse_user("12345:678", &config, &err), 0);
	assert_int_equal(config.uid, 12345);
	assert_int_equal(config.gid, 678);
	/* A number without an entry has no group of its own. */
	assert_int_equal(sandbox_parse_user("2345678", &config, &err), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (sandbox_parse_user(bad[i], &config, &err) != -EINVAL)
			fail_msg("taken: '%s'", bad[i]);
		assert_non_null(strstr(err.text, "--user"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden_calls_kill),
		cmocka_unit_test(threads_are_bound),
		cmocka_unit_test(allowed_calls_work),
		cmocka_unit_test(log_forbids_nothing),
		cmocka_unit_test(every_rule_has_its_reason),
		cmocka_unit_test(little_is_left),
		cmocka_unit_test(files_end_at_their_limit),
		cmocka_unit_test(roots_refused),
		cmocka_unit_test(users_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
