// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first process of the emulated host: starts one command and relays its
 * streams, over one virtio serial port, to lab/run outside.
 *
 * Both directions carry frames: a type, three bytes of nothing, a length, and
 * that many bytes. The command's standard input goes one frame at a time, each
 * after an ACK, so that a command which does not read cannot hold up a change
 * of the terminal's size. A command that wants a terminal gets a real one (a
 * pty here); the terminal outside is raw then.
 *
 * When the command ends, what it had written is sent, then its status; the
 * whole machine is gone a moment later, so nothing here is cleaned up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	FRAME_MAX = 65536,
	ARGS_MAX = 4096,
	CPUS_MAX = 64,
};

/* Frames to us. */
enum {
	IN_OUT_SHARE = 'O', /* mount the output share at this path */
	IN_BIND = 'B',	    /* show this path, which a fresh tmpfs hides */
	IN_TERMINAL = 'T',  /* rows and columns: the command gets a pty */
	IN_ENV = 'E',
	IN_ARG = 'A',
	IN_DIR = 'D',
	IN_GO = 'G',
	IN_STDIN = 'I',	    /* an empty one is the end of the file */
	IN_SIZE = 'W',	    /* rows and columns */
	IN_HEARTBEAT = 'H', /* wake every processor; emulated.py says why */
};

/* Frames from us. */
enum {
	OUT_READY = 'R',
	OUT_STDOUT = 'o',
	OUT_STDERR = 'e',
	OUT_ACK = 'a',
	OUT_STATUS = 'x',
	OUT_FAILED = 'f',
};

struct frame_header {
	uint8_t type;
	uint8_t zero[3];
	uint32_t length;
};

/* One command and its streams; a descriptor of -1 is one that is closed. */
struct relay {
	int port;
	int stdin_fd;
	int stdout_fd;
	int stderr_fd;
	int signals;
	int sleepers[CPUS_MAX]; /* eventfds of wake_up()'s threads */
	int nr_sleepers;
	pid_t child;
	int terminal;
	struct winsize size;
	char *args[ARGS_MAX + 1];
	char *env[ARGS_MAX + 1];
	size_t nr_args;
	size_t nr_env;
	char *dir;
	char *pending; /* standard input on its way to the command */
	size_t pending_at;
	size_t pending_length;
	char buffer[FRAME_MAX];
};

static void read_all(int fd, void *data, size_t length)
{
	char *at = data;

	while (length) {
		ssize_t got = read(fd, at, length);

		if (got > 0) {
			at += got;
			length -= (size_t)got;
		} else if (got == 0) {
			/* The outside is gone; it will end us. */
			sleep(1);
		} else if (errno != EINTR && errno != EAGAIN) {
			_exit(1);
		}
	}
}

static void write_all(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length) {
		ssize_t put = write(fd, at, length);

		if (put > 0) {
			at += put;
			length -= (size_t)put;
		} else if (put < 0 && errno != EINTR && errno != EAGAIN) {
			_exit(1);
		}
	}
}

static void send_frame(struct relay *relay, uint8_t type, const void *data,
		       size_t length)
{
	struct frame_header header = {.type = type, .length = (uint32_t)length};

	write_all(relay->port, &header, sizeof(header));
	write_all(relay->port, data, length);
}

static void fail(struct relay *relay, const char *what, const char *which)
{
	char text[512];
	int length = snprintf(text, sizeof(text), "%s %s: %s", what, which,
			      strerror(errno));

	send_frame(relay, OUT_FAILED, text, (size_t)length);
	for (;;)
		pause();
}

/* To wake it means to interrupt its processor, whatever that does. */
static void *sleeper(void *opaque)
{
	int fd = (int)(intptr_t)opaque;
	uint64_t count;

	for (;;)
		read_all(fd, &count, sizeof(count));
	return NULL;
}

static void start_sleepers(struct relay *relay)
{
	long nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < nr_cpus && i < CPUS_MAX; i++) {
		const struct sched_param first = {.sched_priority = 1};
		int fd = eventfd(0, EFD_CLOEXEC);
		pthread_attr_t attr;
		pthread_t thread;
		cpu_set_t cpu;

		CPU_ZERO(&cpu);
		CPU_SET((unsigned int)i, &cpu);
		pthread_attr_init(&attr);
		pthread_attr_setaffinity_np(&attr, sizeof(cpu), &cpu);
		pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
		pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
		pthread_attr_setschedparam(&attr, &first);
		if (fd < 0 || pthread_create(&thread, &attr, sleeper,
					     (void *)(intptr_t)fd))
			fail(relay, "starting", "a thread");
		pthread_attr_destroy(&attr);
		relay->sleepers[relay->nr_sleepers++] = fd;
	}
}

/* One processor alone was woken by the frame that asks for it. */
static void wake_up(struct relay *relay)
{
	const uint64_t one = 1;

	for (int i = 0; i < relay->nr_sleepers; i++)
		write_all(relay->sleepers[i], &one, sizeof(one));
}

/* Make every folder on the way to the path, and the path itself. */
static void make_path(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	mkdir(path, 0755);
}

static void mount_output(struct relay *relay, char *path)
{
	make_path(path);
	if (mount("labout", path, "9p", 0,
		  "trans=virtio,version=9p2000.L,msize=1048576,cache=none,"
		  "access=client"))
		fail(relay, "the output folder", path);
}

static void bind_path(struct relay *relay, char *path)
{
	char below[4200];

	make_path(path);
	snprintf(below, sizeof(below), "/run/lab/root%s", path);
	if (mount(below, path, NULL, MS_BIND | MS_REC, NULL))
		fail(relay, "showing the folder", path);
}

static void set_size(struct relay *relay, const char *text)
{
	unsigned int rows, columns;

	if (sscanf(text, "%u %u", &rows, &columns) != 2)
		return;
	relay->size.ws_row = (unsigned short)rows;
	relay->size.ws_col = (unsigned short)columns;
	if (relay->terminal && relay->stdout_fd >= 0)
		ioctl(relay->stdout_fd, TIOCSWINSZ, &relay->size);
}

/* Standard input from outside; it is passed on as the command takes it. */
static void take_input(struct relay *relay, char *text, size_t length)
{
	if (length && relay->stdin_fd >= 0) {
		relay->pending = text;
		relay->pending_at = 0;
		relay->pending_length = length;
		return;
	}
	free(text);
	if (length) {
		send_frame(relay, OUT_ACK, NULL, 0);
	} else if (relay->terminal) {
		write_all(relay->stdin_fd, "\x04", 1);
	} else if (relay->stdin_fd >= 0) {
		close(relay->stdin_fd);
		relay->stdin_fd = -1;
	}
}

/* Act on one frame; returns its type. */
static uint8_t take_frame(struct relay *relay)
{
	struct frame_header header;
	char *text;

	read_all(relay->port, &header, sizeof(header));
	if (header.length > FRAME_MAX)
		_exit(1);
	text = malloc(header.length + 1);
	if (!text)
		_exit(1);
	read_all(relay->port, text, header.length);
	text[header.length] = '\0';
	switch (header.type) {
	case IN_ARG:
		if (relay->nr_args < ARGS_MAX)
			relay->args[relay->nr_args++] = text;
		return header.type;
	case IN_ENV:
		if (relay->nr_env < ARGS_MAX)
			relay->env[relay->nr_env++] = text;
		return header.type;
	case IN_DIR:
		relay->dir = text;
		return header.type;
	case IN_STDIN:
		take_input(relay, text, header.length);
		return header.type;
	case IN_OUT_SHARE:
		mount_output(relay, text);
		break;
	case IN_BIND:
		bind_path(relay, text);
		break;
	case IN_TERMINAL:
		relay->terminal = 1;
		set_size(relay, text);
		break;
	case IN_SIZE:
		set_size(relay, text);
		break;
	case IN_HEARTBEAT:
		wake_up(relay);
		break;
	default:
		break;
	}
	free(text);
	return header.type;
}

static void start_child(struct relay *relay, int in, int out, int err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (relay->terminal)
		ioctl(in, TIOCSCTTY, 0);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	if (chdir(relay->dir ? relay->dir : "/")) {
		dprintf(2, "lab: %s: %s\n", relay->dir, strerror(errno));
		_exit(126);
	}
	environ = relay->env;
	execvp(relay->args[0], relay->args);
	dprintf(2, "lab: %s: %s\n", relay->args[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void open_terminal(struct relay *relay, int *inner)
{
	int outer = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (outer < 0 || grantpt(outer) || unlockpt(outer))
		fail(relay, "opening", "a terminal");
	ioctl(outer, TIOCSWINSZ, &relay->size);
	*inner = open(ptsname(outer), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*inner < 0)
		fail(relay, "opening", "a terminal");
	relay->stdin_fd = outer;
	relay->stdout_fd = outer;
}

static void start(struct relay *relay)
{
	int in[2], out[2], err[2], inner;

	if (relay->terminal) {
		open_terminal(relay, &inner);
		in[0] = out[1] = err[1] = inner;
	} else {
		if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ||
		    pipe2(err, O_CLOEXEC))
			fail(relay, "making", "pipes");
		relay->stdin_fd = in[1];
		relay->stdout_fd = out[0];
		relay->stderr_fd = err[0];
		fcntl(err[0], F_SETFL, O_NONBLOCK);
	}
	fcntl(relay->stdin_fd, F_SETFL, O_NONBLOCK);
	fcntl(relay->stdout_fd, F_SETFL, O_NONBLOCK);
	relay->child = fork();
	if (relay->child < 0)
		fail(relay, "starting", relay->args[0]);
	if (relay->child == 0)
		start_child(relay, in[0], out[1], err[1]);
	close(in[0]);
	if (!relay->terminal) {
		close(out[1]);
		close(err[1]);
	}
}

/* Pass on one piece of what the command wrote; false if there is none. */
static int pass(struct relay *relay, int *fd, uint8_t type)
{
	ssize_t got;

	if (*fd < 0)
		return 0;
	got = read(*fd, relay->buffer, sizeof(relay->buffer));
	if (got > 0) {
		send_frame(relay, type, relay->buffer, (size_t)got);
		return 1;
	}
	if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		if (*fd == relay->stdin_fd)
			relay->stdin_fd = -1;
		close(*fd);
		*fd = -1;
	}
	return 0;
}

static void pass_input(struct relay *relay)
{
	ssize_t put = write(relay->stdin_fd, relay->pending + relay->pending_at,
			    relay->pending_length - relay->pending_at);

	if (put > 0)
		relay->pending_at += (size_t)put;
	else if (errno == EAGAIN || errno == EINTR)
		return;
	if (put > 0 && relay->pending_at < relay->pending_length)
		return;
	if (put < 0 && !relay->terminal) {
		close(relay->stdin_fd);
		relay->stdin_fd = -1;
	}
	free(relay->pending);
	relay->pending = NULL;
	send_frame(relay, OUT_ACK, NULL, 0);
}

/* Collect what has ended; true, with its status, if that is the command. */
static int reap(struct relay *relay, int *status)
{
	struct signalfd_siginfo info;
	int how, found = 0;
	pid_t pid;

	if (read(relay->signals, &info, sizeof(info)) < 0)
		return 0;
	while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
		if (pid != relay->child)
			continue;
		*status = WIFSIGNALED(how) ? 128 + WTERMSIG(how)
					   : WEXITSTATUS(how);
		found = 1;
	}
	return found;
}

static int relay_until_end(struct relay *relay)
{
	int status = 0;

	for (;;) {
		struct pollfd polls[5] = {
			{relay->signals, POLLIN, 0},
			{relay->port, POLLIN, 0},
			{relay->stdout_fd, POLLIN, 0},
			{relay->stderr_fd, POLLIN, 0},
			{relay->pending ? relay->stdin_fd : -1, POLLOUT, 0},
		};

		if (poll(polls, 5, -1) < 0 && errno != EINTR)
			_exit(1);
		if (polls[2].revents)
			pass(relay, &relay->stdout_fd, OUT_STDOUT);
		if (polls[3].revents)
			pass(relay, &relay->stderr_fd, OUT_STDERR);
		if (polls[4].revents && relay->stdin_fd >= 0)
			pass_input(relay);
		if (polls[1].revents & POLLIN)
			take_frame(relay);
		if (polls[0].revents && reap(relay, &status))
			break;
	}
	while (pass(relay, &relay->stdout_fd, OUT_STDOUT) ||
	       pass(relay, &relay->stderr_fd, OUT_STDERR))
		;
	return status;
}

int main(int argc, char **argv)
{
	static struct relay relay = {
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
	};
	sigset_t signals;
	int status;

	if (argc != 2)
		return 2;
	relay.port = open(argv[1], O_RDWR | O_CLOEXEC);
	if (relay.port < 0) {
		perror(argv[1]);
		return 1;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	relay.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	send_frame(&relay, OUT_READY, NULL, 0);
	while (take_frame(&relay) != IN_GO)
		;
	if (!relay.nr_args)
		return 2;
	start(&relay);
	start_sleepers(&relay);
	status = relay_until_end(&relay);
	send_frame(&relay, OUT_STATUS, &status, sizeof(status));
	for (;;)
		pause();
}
