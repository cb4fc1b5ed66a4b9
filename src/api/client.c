// SPDX-License-Identifier: BSD-3-Clause
/*
 * An HTTP client for one call on a unix socket. The whole of it is a request
 * with `Connection: close` and an answer read to its end: a library for that
 * would weigh more than the VMM.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "client.h"
#include "json.h"
#include "runtime.h"

#define TIMEOUT_SECONDS	  10
#define MAX_ANSWER_BYTES  (1U << 20)
#define FIRST_ANSWER_SIZE 8192

static int send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		data += sent;
		len -= (size_t)sent;
	}
	return 0;
}

static int send_call(int fd, const struct api_call *call)
{
	char *body = call->body ? json_dumps(call->body, JSON_COMPACT) : NULL;
	size_t len = body ? strlen(body) : 0;
	char head[256];
	int ret, head_len;

	if (call->body && !body)
		return -ENOMEM;
	head_len = snprintf(head, sizeof(head),
			    "%s %s HTTP/1.1\r\nHost: bellows\r\n"
			    "Connection: close\r\nContent-Length: %zu\r\n\r\n",
			    call->method, call->path, len);
	ret = send_all(fd, head, (size_t)head_len);
	if (!ret && body)
		ret = send_all(fd, body, len);
	free(body);
	return ret;
}

/* Read to the end: a string, which the caller frees, or NULL with errno. */
static char *read_answer(int fd)
{
	size_t size = FIRST_ANSWER_SIZE, len = 0;
	char *text = malloc(size), *larger;

	while (text) {
		ssize_t got = recv(fd, text + len, size - len - 1, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		len += (size_t)got;
		if (got == 0) {
			text[len] = '\0';
			return text;
		}
		if (len + 1 < size)
			continue;
		errno = EMSGSIZE;
		size *= 2;
		larger = size > MAX_ANSWER_BYTES ? NULL : realloc(text, size);
		if (!larger)
			break;
		text = larger;
	}
	free(text);
	return NULL;
}

static int parse_answer(const char *name, const char *text, json_t **reply,
			struct error *err)
{
	const char *body = strstr(text, "\r\n\r\n");
	const char *sentence;
	json_t *json = NULL;
	int code;

	if (sscanf(text, "HTTP/1.%*d %d", &code) == 1 && body)
		json = json_loads(body + 4, JSON_REJECT_DUPLICATES, NULL);
	if (!json)
		return error_set(err, -EPROTO,
				 "VM '%s' answered something that is not the "
				 "API's: '%.80s'",
				 name, text);
	if (code < 300) {
		*reply = json;
		return 0;
	}
	sentence = json_string_value(json_object_get(json, "error"));
	error_set(err, 0, "%s", sentence ? sentence : "refused, without a why");
	json_decref(json);
	return code == 404 ? -ENOENT : code < 500 ? -EINVAL : -EIO;
}

int api_call(const char *name, const struct api_call *call, json_t **reply,
	     struct error *err)
{
	const struct timeval limit = {.tv_sec = TIMEOUT_SECONDS};
	json_t *answer = NULL;
	char *text;
	int ret, fd = runtime_connect(name, err);

	if (reply)
		*reply = NULL;
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	ret = send_call(fd, call);
	if (!ret) {
		text = read_answer(fd);
		if (text && *text)
			ret = parse_answer(name, text, &answer, err);
		else if (text || errno == ECONNRESET) /* while we asked */
			ret = error_set(err, -ENOENT,
					"VM '%s' ended without an answer",
					name);
		else
			ret = error_set_errno(err, -errno,
					      "VM '%s' does not answer", name);
		free(text);
	} else if (ret == -EPIPE || ret == -ECONNRESET) {
		ret = error_set(err, -ENOENT, "VM '%s' has ended", name);
	} else {
		error_set_errno(err, ret, "cannot talk to VM '%s'", name);
	}
	close(fd);
	if (reply)
		*reply = answer;
	else
		json_decref(answer);
	return ret;
}

int api_get_vm(const char *name, json_t **vm, struct error *err)
{
	const struct api_call call = {.method = "GET", .path = API_PREFIX};

	return api_call(name, &call, vm, err);
}
