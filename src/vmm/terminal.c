// SPDX-License-Identifier: BSD-3-Clause
/*
 * Raw mode. A process that is killed cannot restore its terminal, so a forked
 * guardian holds one end of a pipe and does it when the other end closes. It
 * sits in a session of its own: signals of the terminal do not reach it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "terminal.h"

static void __attribute__((noreturn))
guardian_main(int fd, const struct termios *before, int pipe_fd)
{
	char byte;

	setsid();
	/* Keep nothing of the VM open: only the terminal and the pipe. */
	if (fd != 0)
		dup2(fd, 0);
	if (pipe_fd != 1)
		dup2(pipe_fd, 1);
	close_range(2, ~0U, 0);
	while (read(1, &byte, 1) < 0 && errno == EINTR)
		;
	tcsetattr(0, TCSANOW, before);
	_exit(0);
}

int terminal_raw(struct terminal *term, int fd)
{
	struct termios raw;
	int pipe_fds[2];

	term->fd = -1;
	if (!isatty(fd))
		return 0;
	if (tcgetattr(fd, &term->before) < 0)
		return -errno;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	term->guardian = fork();
	if (term->guardian < 0) {
		int ret = -errno;

		close(pipe_fds[0]);
		close(pipe_fds[1]);
		return ret;
	}
	if (term->guardian == 0)
		guardian_main(fd, &term->before, pipe_fds[0]);
	close(pipe_fds[0]);
	term->guardian_pipe = pipe_fds[1];
	term->fd = fd;

	raw = term->before;
	cfmakeraw(&raw);
	/* The guest's line feeds pass as they are, but messages of this
	 * process still deserve a carriage return. */
	raw.c_oflag |= OPOST | ONLCR;
	if (tcsetattr(fd, TCSANOW, &raw) < 0) {
		int ret = -errno;

		terminal_restore(term);
		return ret;
	}
	return 0;
}

void terminal_restore(struct terminal *term)
{
	if (term->fd < 0)
		return;
	tcsetattr(term->fd, TCSADRAIN, &term->before);
	close(term->guardian_pipe);
	while (waitpid(term->guardian, NULL, 0) < 0 && errno == EINTR)
		;
	term->fd = -1;
}
