// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fuzz target: the control API. An input is what a client sends, byte for
 * byte; the server is the real one over a VM that is none, in this process.
 * Each connection must come to its end, what comes back must be HTTP with a
 * status that the API has and a body that is JSON if it says so, and the next
 * client must be served.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fuzz.h"

/* For what is static in it: one connection at a time, and no signals. */
#include "../src/api/server.c"
#include "../tests/unit/no_vm.h"

#define MAX_ANSWER 262144
#define MAX_TURNS  10000

static struct vm vm;
static struct server server = {.vm = &vm};
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size = sizeof(sa_family_t);
static char reply[MAX_ANSWER + 1];

static void start(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct error err = {0};

	/* An address that the kernel makes up. */
	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(!bind(fd, (struct sockaddr *)&address, address_size));
	address_size = sizeof(address);
	FUZZ_CHECK(
		!getsockname(fd, (struct sockaddr *)&address, &address_size));
	FUZZ_CHECK(!listen(fd, 16));
	vm.end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	FUZZ_CHECK(!server_init(&server, fd, &err));
	/* The signals are the fuzzer's. */
	for (size_t i = 0; i < NR_END_SIGNALS; i++)
		event_del(server.signals[i]);
}

/* Send all of it and serve until the connection ends; returns the length of
 * what came back. */
static size_t converse(const void *data, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	size_t len = 0;
	ssize_t got = -1;

	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(!connect(fd, (struct sockaddr *)&address, address_size));
	FUZZ_CHECK(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	FUZZ_CHECK(!shutdown(fd, SHUT_WR));
	for (int i = 0; i < MAX_TURNS && got != 0; i++) {
		event_base_loop(server.base, EVLOOP_NONBLOCK);
		got = recv(fd, reply + len, MAX_ANSWER - len, 0);
		if (got > 0)
			len += (size_t)got;
		else if (got < 0 && errno == ECONNRESET)
			got = 0;
		FUZZ_CHECK(len < MAX_ANSWER);
	}
	FUZZ_CHECK(got == 0);
	close(fd);
	reply[len] = 0;
	return len;
}

static bool known_code(int code)
{
	static const int codes[] = {100, 200, 202, 400, 404, 405, 408,
				    409, 411, 413, 417, 500, 501};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i] == code)
			return true;
	}
	return false;
}

/* The first answer; returns its status, 0 if there is none. */
static int check_reply(size_t len)
{
	const char *body, *type, *length;
	json_t *json;
	int major, minor, code;
	size_t size;

	if (!len)
		return 0;
	/* libevent answers in the version that it was asked in. */
	FUZZ_CHECK(sscanf(reply, "HTTP/%d.%d %3d ", &major, &minor, &code) ==
		   3);
	if (!known_code(code))
		fail_msg("status %d\n", code);
	body = strstr(reply, "\r\n\r\n");
	FUZZ_CHECK(body);
	body += 4;
	type = strstr(reply, "Content-Type: application/json\r\n");
	length = strstr(reply, "Content-Length: ");
	if (!type || type > body || !length || length > body)
		return code;
	size = strtoul(length + 16, NULL, 10);
	FUZZ_CHECK(size > 0 && size <= len - (size_t)(body - reply));
	json = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(json_is_object(json));
	FUZZ_CHECK((code >= 400) == (json_object_get(json, "error") != NULL));
	json_decref(json);
	return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char show[] = "GET /v1/vm HTTP/1.1\r\nHost: x\r\n\r\n";
	eventfd_t ended;

	if (!server.base)
		start();
	check_reply(converse(data, size));
	FUZZ_CHECK(check_reply(converse(show, sizeof(show) - 1)) == 200);
	/* A VM that was stopped is another one now. */
	vm.end = VM_END_NONE;
	eventfd_read(vm.end_fd, &ended);
	return 0;
}

/* ---- Seeds ------------------------------------------------------------- */

static const char *const requests[][2] = {
	{"GET /v1/vm", ""},
	{"HEAD /v1/vm", ""},
	{"GET /v1/vm/residence", ""},
	{"GET /v1/vm/audit", ""},
	{"GET /v1/vm/events?after=1", ""},
	{"GET /v1/metrics", ""},
	{"PUT /v1/vm/elastic", "{\"elastic\": [{\"id\": \"mem0\", "
			       "\"requested_bytes\": 1073741824}]}"},
	{"PUT /v1/vm/elastic",
	 "{\"elastic\": [{\"id\": \"EIO\", \"requested_bytes\": 0}, "
	 "{\"id\": \"b\", \"requested_bytes\": 9223372036854775807}]}"},
	{"POST /v1/vm/reboot", "{}"},
	{"POST /v1/vm/pause", ""},
	{"POST /v1/vm/resume", ""},
	{"POST /v1/vm/stop", "{\"force\": true}"},
	{"POST /v1/vm/stop", "{\"force\": false}"},
	{"DELETE /v1/vm/elastic?a=%41#b", "[]"},
	{"GET http://x/v1/%76m", "not JSON \xff\xc3"},
};
#define NR_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static void put_http(struct fuzz_seed *s, const char *line, const char *body)
{
	char head[256];
	int len = snprintf(head, sizeof(head),
			   "%s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n"
			   "\r\n",
			   line, strlen(body));

	fuzz_put_bytes(s, head, (size_t)len);
	fuzz_put_bytes(s, body, strlen(body));
}

size_t fuzz_seed(unsigned int nr, uint8_t *seed)
{
	static const char chunked[] =
		"POST /v1/vm/stop HTTP/1.1\r\nHost: x\r\nExpect: 100-continue"
		"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
	struct fuzz_seed s = {.at = seed};

	if (nr < NR_REQUESTS) {
		put_http(&s, requests[nr][0], requests[nr][1]);
	} else if (nr == NR_REQUESTS) {
		fuzz_put_bytes(&s, chunked, sizeof(chunked) - 1);
	} else if (nr == NR_REQUESTS + 1) {
		/* One after another on a connection. */
		for (size_t i = 0; i < NR_REQUESTS; i++)
			put_http(&s, requests[i][0], requests[i][1]);
	}
	return s.len;
}
