// SPDX-License-Identifier: BSD-3-Clause
/* A process that works on what is not trusted. */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker.h"

static const int calls[] = {
	/* Files that are open. */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(lseek),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fstat),
	/* Memory; mmap has a rule of its own. */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	/* The C library. */
	SCMP_SYS(futex),
	SCMP_SYS(getrandom),
	SCMP_SYS(exit_group),
};

static int confine(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int ret = filter ? 0 : -ENOMEM;

	for (size_t i = 0; !ret && i < sizeof(calls) / sizeof(calls[0]); i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	if (!ret)
		ret = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* The C library's fstat(). */
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW,
				       SCMP_SYS(newfstatat), 1,
				       SCMP_A3(SCMP_CMP_MASKED_EQ,
					       AT_EMPTY_PATH, AT_EMPTY_PATH));
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}

static void be_worker(int (*work)(void *opaque), void *opaque,
		      uint64_t max_file_bytes)
{
	const struct rlimit file = {max_file_bytes, max_file_bytes};
	const struct rlimit none = {0, 0};

	/* Nobody waits for its work once the process that asked is gone. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    prctl(PR_SET_NAME, "bellows-worker") < 0 ||
	    setrlimit(RLIMIT_FSIZE, &file) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0 || confine() || work(opaque))
		syscall(SYS_exit_group, 1);
	/* _exit() of a sanitizer asks for what is forbidden. */
	syscall(SYS_exit_group, 0);
}

int worker_run(int (*work)(void *opaque), void *opaque, uint64_t max_file_bytes)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		be_worker(work, opaque, max_file_bytes);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}
