// SPDX-License-Identifier: BSD-3-Clause
/*
 * The console's thread. Output: vCPU threads put bytes into a ring and wake
 * the thread when the ring was empty; a full ring holds the UART back. Input:
 * read only as much as the UART has room for, so that a pipe on stdin loses
 * nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "console.h"
#include "host/thread.h"
#include "terminal.h"

#define RING_SIZE 4096
#define WRITE_CHUNK                                                            \
	512 /* what poll() promises a pipe takes without blocking              \
	     */
#define FLUSH_MS    500
#define GATHER_NS   1000000
#define ESCAPE_BYTE 0x01 /* Ctrl-A */

struct console {
	struct serial serial;
	const struct console_ops *ops;
	void *opaque;
	struct terminal term;
	int in_fd;  /* -1: none, or at its end */
	int out_fd; /* -1: none, or broken */
	bool owns_out;
	bool escaped; /* the last byte typed was Ctrl-A */
	int wake_fd;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* guards the ring; taken inside serial's lock */
	uint8_t ring[RING_SIZE];
	unsigned int head, len;
	bool held; /* the UART was refused a byte */
	bool stop;
};

static void wake(struct console *console)
{
	uint64_t one = 1;

	(void)!write(console->wake_fd, &one, sizeof(one));
}

static bool console_output(void *opaque, uint8_t byte)
{
	struct console *console = opaque;
	bool taken = true, was_empty;

	if (console->out_fd < 0)
		return true;
	pthread_mutex_lock(&console->lock);
	was_empty = console->len == 0;
	if (console->len < RING_SIZE) {
		console->ring[(console->head + console->len++) % RING_SIZE] =
			byte;
	} else {
		taken = false;
		console->held = true;
	}
	pthread_mutex_unlock(&console->lock);
	if (was_empty)
		wake(console);
	return taken;
}

static void console_irq(void *opaque, bool level)
{
	struct console *console = opaque;

	console->ops->irq(console->opaque, level);
}

static void console_input_room(void *opaque)
{
	struct console *console = opaque;

	if (console->in_fd >= 0)
		wake(console);
}

static const struct serial_ops console_serial_ops = {
	.output = console_output,
	.irq = console_irq,
	.input_room = console_input_room,
};

/* Write one chunk of the ring; the descriptor is ready for it. */
static void write_chunk(struct console *console)
{
	uint8_t chunk[WRITE_CHUNK];
	unsigned int nr = 0;
	ssize_t done;
	bool held;

	pthread_mutex_lock(&console->lock);
	while (nr < sizeof(chunk) && nr < console->len) {
		chunk[nr] = console->ring[(console->head + nr) % RING_SIZE];
		nr++;
	}
	pthread_mutex_unlock(&console->lock);
	if (!nr)
		return;
	done = write(console->out_fd, chunk, nr);
	if (done < 0) {
		if (errno == EINTR || errno == EAGAIN)
			return;
		/* Nobody listens any more: the guest goes on without. */
		done = nr;
		if (console->owns_out)
			close(console->out_fd);
		console->out_fd = -1;
	}
	pthread_mutex_lock(&console->lock);
	console->head = (console->head + (unsigned int)done) % RING_SIZE;
	console->len -= (unsigned int)done;
	held = console->held;
	console->held = false;
	pthread_mutex_unlock(&console->lock);
	if (held)
		serial_output_ready(&console->serial);
}

/* Take escapes out of what a person typed. Returns what is left. */
static size_t filter_escapes(struct console *console, uint8_t *bytes,
			     size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		if (console->escaped) {
			console->escaped = false;
			if (bytes[i] == 'x' || bytes[i] == 'X')
				console->ops->escape(console->opaque);
			else if (bytes[i] == ESCAPE_BYTE)
				bytes[kept++] = bytes[i];
		} else if (console->term.fd >= 0 && bytes[i] == ESCAPE_BYTE) {
			console->escaped = true;
		} else {
			bytes[kept++] = bytes[i];
		}
	}
	return kept;
}

static void read_input(struct console *console)
{
	/* One at a time while there is room: never more than fits. */
	uint8_t byte;
	ssize_t got = read(console->in_fd, &byte, 1);

	if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
		console->in_fd = -1;
		return;
	}
	if (got == 1 && filter_escapes(console, &byte, 1))
		serial_input(&console->serial, &byte, 1);
}

static bool ring_has_data(struct console *console, bool *stop)
{
	bool data;

	pthread_mutex_lock(&console->lock);
	data = console->len > 0;
	*stop = console->stop;
	pthread_mutex_unlock(&console->lock);
	return data;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Milliseconds that poll() may wait: for ever while running; once told to
 * stop, until the time for the last bytes is over. */
static int poll_timeout(bool stop, int64_t *deadline)
{
	int64_t left;

	if (!stop)
		return -1;
	if (!*deadline)
		*deadline = now_ms() + FLUSH_MS;
	left = *deadline - now_ms();
	return left > 0 ? (int)left : 0;
}

/* A guest writes byte by byte: wait for more, rather than wake up (and the
 * reader with us) for each. */
static void gather(void)
{
	const struct timespec pause = {.tv_nsec = GATHER_NS};

	nanosleep(&pause, NULL);
}

static void *console_thread(void *arg)
{
	struct console *console = arg;
	int64_t deadline = 0;

	for (;;) {
		struct pollfd fds[3] = {
			{.fd = console->wake_fd, .events = POLLIN},
			{.fd = -1, .events = POLLIN},
			{.fd = -1, .events = POLLOUT},
		};
		uint64_t count;
		bool stop;
		int timeout;

		if (ring_has_data(console, &stop))
			fds[2].fd = console->out_fd;
		else if (stop)
			break;
		timeout = poll_timeout(stop, &deadline);
		if (timeout == 0)
			break;
		if (console->in_fd >= 0 && serial_has_room(&console->serial))
			fds[1].fd = console->in_fd;
		if (poll(fds, 3, timeout) < 0)
			continue;
		if (fds[0].revents) {
			(void)!read(console->wake_fd, &count, sizeof(count));
			gather();
		}
		if (fds[1].revents)
			read_input(console);
		if (fds[2].revents)
			write_chunk(console);
	}
	return NULL;
}

static int open_ends(struct console *console, enum vm_console kind,
		     const char *path, struct error *err)
{
	int ret;

	switch (kind) {
	case VM_CONSOLE_STDIO:
		console->in_fd = STDIN_FILENO;
		console->out_fd = STDOUT_FILENO;
		ret = terminal_raw(&console->term, STDIN_FILENO);
		if (ret)
			return error_set_errno(
				err, ret,
				"cannot set the terminal to raw mode");
		return 0;
	case VM_CONSOLE_FILE:
		console->out_fd = open(
			path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (console->out_fd < 0)
			return error_set_errno(err, -errno,
					       "cannot open console file '%s'",
					       path);
		console->owns_out = true;
		return 0;
	case VM_CONSOLE_NONE:
	default:
		return 0;
	}
}

int console_create(struct console **out, enum vm_console kind, const char *path,
		   const struct console_ops *ops, void *opaque,
		   struct error *err)
{
	struct console *console = calloc(1, sizeof(*console));
	int ret;

	if (!console)
		return error_set(err, -ENOMEM, "no memory for the console");
	console->ops = ops;
	console->opaque = opaque;
	console->in_fd = console->out_fd = console->term.fd = -1;
	pthread_mutex_init(&console->lock, NULL);
	serial_init(&console->serial, &console_serial_ops, console);

	console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (console->wake_fd < 0) {
		ret = error_set_errno(err, -errno,
				      "no eventfd for the console");
		goto fail;
	}
	ret = open_ends(console, kind, path, err);
	if (ret)
		goto fail_wake;
	*out = console;
	return 0;

fail_wake:
	close(console->wake_fd);
fail:
	serial_finish(&console->serial);
	pthread_mutex_destroy(&console->lock);
	free(console);
	return ret;
}

int console_start(struct console *console, struct error *err)
{
	int ret = thread_start(&console->thread, "console", console_thread,
			       console);

	console->started = ret == 0;
	return ret ? error_set_errno(err, ret, "no thread for the console") : 0;
}

void console_destroy(struct console *console)
{
	if (!console)
		return;
	pthread_mutex_lock(&console->lock);
	console->stop = true;
	pthread_mutex_unlock(&console->lock);
	wake(console);
	if (console->started)
		pthread_join(console->thread, NULL);
	terminal_restore(&console->term);
	if (console->owns_out && console->out_fd >= 0)
		close(console->out_fd);
	close(console->wake_fd);
	serial_finish(&console->serial);
	pthread_mutex_destroy(&console->lock);
	free(console);
}

struct serial *console_serial(struct console *console)
{
	return &console->serial;
}
