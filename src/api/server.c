// SPDX-License-Identifier: BSD-3-Clause
/* The event loop of a VM's process, and its HTTP server (libevent). */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include "json.h"
#include "metrics.h"
#include "runtime.h"
#include "server.h"

#define MAX_BODY_BYTES	 65536
#define MAX_HEADER_BYTES 16384
#define TIMEOUT_SECONDS	 60
#define ANY_METHOD                                                             \
	(EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | \
	 EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |           \
	 EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH)

static const int end_signals[] = {SIGTERM, SIGINT, SIGHUP};
#define NR_END_SIGNALS (sizeof(end_signals) / sizeof(end_signals[0]))

struct server {
	struct vm *vm;
	struct event_base *base;
	struct evhttp *http;
	struct event *ended;
	struct event *signals[NR_END_SIGNALS];
};

/* ---- Answers ----------------------------------------------------------- */

static void answer(struct evhttp_request *req, int code, json_t *body)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	struct evbuffer *out = evhttp_request_get_output_buffer(req);
	char *text = json_dumps(body, JSON_INDENT(2));

	json_decref(body);
	if (!text) {
		code = HTTP_INTERNAL;
	} else if (evhttp_request_get_command(req) != EVHTTP_REQ_HEAD) {
		/* What follows HEAD's answer is the next answer's begin. */
		evhttp_add_header(headers, "Content-Type", "application/json");
		evbuffer_add(out, text, strlen(text));
		evbuffer_add(out, "\n", 1);
	}
	free(text);
	/* NULL: the reason phrase of the code. */
	evhttp_send_reply(req, code, NULL, NULL);
}

static void answer_error(struct evhttp_request *req, int code,
			 const char *sentence)
{
	answer(req, code, api_error_json(sentence));
}

static void answer_failure(struct evhttp_request *req, int ret,
			   const struct error *err)
{
	switch (-ret) {
	case EINVAL:
	case ERANGE:
		answer_error(req, HTTP_BADREQUEST, err->text);
		break;
	case ENOENT:
		answer_error(req, HTTP_NOTFOUND, err->text);
		break;
	case EPERM:
	case ESRCH:
		answer_error(req, 409, err->text);
		break;
	default:
		answer_error(req, HTTP_INTERNAL, err->text);
		break;
	}
}

static void answer_status(struct server *server, struct evhttp_request *req,
			  int code)
{
	struct vm_status status;

	vm_get_status(server->vm, &status);
	answer(req, code, api_status_json(&status));
}

/* The body as JSON: *body is NULL if there is none. That of GET has no
 * meaning. */
static int read_body(struct evhttp_request *req, json_t **body,
		     struct error *err)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	size_t len = evbuffer_get_length(in);
	json_error_t why;

	*body = NULL;
	if (!len || evhttp_request_get_command(req) == EVHTTP_REQ_GET)
		return 0;
	*body = json_loadb((const char *)evbuffer_pullup(in, -1), len,
			   JSON_REJECT_DUPLICATES, &why);
	if (*body)
		return 0;
	return error_set(err, -EINVAL, "the body is not JSON: %s (line %d)",
			 why.text, why.line);
}

static void answer_residence(struct server *server, struct evhttp_request *req,
			     int code)
{
	struct vm_residence *residence =
		calloc(VM_MAX_BACKENDS, sizeof(*residence));
	unsigned int nr;

	if (!residence) {
		answer_error(req, HTTP_INTERNAL, "no memory");
		return;
	}
	nr = vm_get_residence(server->vm, residence);
	answer(req, code, api_residence_json(residence, nr));
	free(residence);
}

/* The number after which events are asked for: ?after=N, else 0. */
static uint64_t events_after(struct evhttp_request *req)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *query = evhttp_uri_get_query(uri);
	struct evkeyvalq words = {0};
	const char *value = NULL;
	uint64_t after = 0;

	if (query && evhttp_parse_query_str(query, &words) == 0) {
		value = evhttp_find_header(&words, "after");
		if (value)
			after = strtoull(value, NULL, 10);
		evhttp_clear_headers(&words);
	}
	return after;
}

static void answer_events(struct server *server, struct evhttp_request *req,
			  int code)
{
	struct vm_guard_event *events =
		calloc(VM_NR_GUARD_EVENTS, sizeof(*events));
	unsigned int nr;

	if (!events) {
		answer_error(req, HTTP_INTERNAL, "no memory");
		return;
	}
	nr = vm_get_guard_events(server->vm, events_after(req), events,
				 VM_NR_GUARD_EVENTS);
	answer(req, code, api_events_json(events, nr));
	free(events);
}

static void answer_audit(struct server *server, struct evhttp_request *req,
			 int code)
{
	struct vm_audit *audit = calloc(VM_MAX_ELASTIC, sizeof(*audit));
	struct vm_status status;
	struct error err;
	int ret;

	if (!audit) {
		answer_error(req, HTTP_INTERNAL, "no memory");
		return;
	}
	vm_get_status(server->vm, &status);
	ret = vm_audit(server->vm, audit, &err);
	if (ret)
		answer_failure(req, ret, &err);
	else
		answer(req, code, api_audit_json(audit, status.nr_elastic));
	free(audit);
}

static void answer_metrics(struct server *server, struct evhttp_request *req,
			   int code)
{
	struct evbuffer *out = evhttp_request_get_output_buffer(req);
	struct vm_status status;
	char *text;

	vm_get_status(server->vm, &status);
	text = metrics_text(&status);
	if (!text) {
		answer_error(req, HTTP_INTERNAL, "no memory");
		return;
	}
	evhttp_add_header(evhttp_request_get_output_headers(req),
			  "Content-Type", METRICS_CONTENT_TYPE);
	evbuffer_add(out, text, strlen(text));
	free(text);
	evhttp_send_reply(req, code, NULL, NULL);
}

/* ---- Operations -------------------------------------------------------- */

static int op_show(struct server *server, const json_t *body, struct error *err)
{
	return 0;
}

static int op_resize(struct server *server, const json_t *body,
		     struct error *err)
{
	struct vm_resize_target targets[VM_MAX_ELASTIC];
	unsigned int nr;
	int ret = api_parse_resize(body, targets, &nr, err);

	return ret ? ret : vm_resize(server->vm, targets, nr, err);
}

static int op_guard(struct server *server, const json_t *body,
		    struct error *err)
{
	enum vm_guard policy;
	int ret = api_parse_guard(body, &policy, err);

	return ret ? ret : vm_set_guard(server->vm, policy, err);
}

static int op_reboot(struct server *server, const json_t *body,
		     struct error *err)
{
	int ret = api_parse_nothing(body, err);

	return ret ? ret : vm_reboot(server->vm, err);
}

static int op_pause(struct server *server, const json_t *body,
		    struct error *err)
{
	int ret = api_parse_nothing(body, err);

	return ret ? ret : vm_pause(server->vm, err);
}

static int op_suspend(struct server *server, const json_t *body,
		      struct error *err)
{
	int ret = api_parse_nothing(body, err);

	return ret ? ret : vm_suspend(server->vm, err);
}

static int op_resume(struct server *server, const json_t *body,
		     struct error *err)
{
	int ret = api_parse_nothing(body, err);

	return ret ? ret : vm_resume(server->vm, err);
}

static int op_stop(struct server *server, const json_t *body, struct error *err)
{
	bool force;
	int ret = api_parse_stop(body, &force, err);

	return ret ? ret : vm_stop(server->vm, force, err);
}

/* All that the API has. */
static const struct operation {
	const char *path;
	enum evhttp_cmd_type method;
	const char *method_name;
	int code;
	int (*run)(struct server *server, const json_t *body,
		   struct error *err);
	void (*answer)(struct server *server, struct evhttp_request *req,
		       int code);
} operations[] = {
	{API_PREFIX, EVHTTP_REQ_GET, "GET", HTTP_OK, op_show, answer_status},
	{API_PREFIX "/residence", EVHTTP_REQ_GET, "GET", HTTP_OK, op_show,
	 answer_residence},
	{API_PREFIX "/audit", EVHTTP_REQ_GET, "GET", HTTP_OK, op_show,
	 answer_audit},
	{API_PREFIX "/events", EVHTTP_REQ_GET, "GET", HTTP_OK, op_show,
	 answer_events},
	{"/v1/metrics", EVHTTP_REQ_GET, "GET", HTTP_OK, op_show,
	 answer_metrics},
	{API_PREFIX "/elastic", EVHTTP_REQ_PUT, "PUT", HTTP_OK, op_resize,
	 answer_status},
	{API_PREFIX "/guard", EVHTTP_REQ_PUT, "PUT", HTTP_OK, op_guard,
	 answer_status},
	{API_PREFIX "/reboot", EVHTTP_REQ_POST, "POST", 202, op_reboot,
	 answer_status},
	{API_PREFIX "/pause", EVHTTP_REQ_POST, "POST", 202, op_pause,
	 answer_status},
	{API_PREFIX "/suspend", EVHTTP_REQ_POST, "POST", 202, op_suspend,
	 answer_status},
	{API_PREFIX "/resume", EVHTTP_REQ_POST, "POST", 202, op_resume,
	 answer_status},
	{API_PREFIX "/stop", EVHTTP_REQ_POST, "POST", 202, op_stop,
	 answer_status},
};

static const struct operation *find_operation(const char *path)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]);
	     i++) {
		if (path && !strcmp(operations[i].path, path))
			return &operations[i];
	}
	return NULL;
}

static void on_request(struct evhttp_request *req, void *opaque)
{
	struct server *server = opaque;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const struct operation *op = find_operation(evhttp_uri_get_path(uri));
	struct error err = {0};
	json_t *body;
	int ret;

	if (!op) {
		error_set(&err, 0, "no such path: '%.200s'",
			  evhttp_request_get_uri(req));
		answer_error(req, HTTP_NOTFOUND, err.text);
		return;
	}
	if (evhttp_request_get_command(req) != op->method) {
		evhttp_add_header(evhttp_request_get_output_headers(req),
				  "Allow", op->method_name);
		error_set(&err, 0, "'%s' takes %s only", op->path,
			  op->method_name);
		answer_error(req, HTTP_BADMETHOD, err.text);
		return;
	}
	ret = read_body(req, &body, &err);
	if (!ret)
		ret = op->run(server, body, &err);
	json_decref(body);
	if (ret)
		answer_failure(req, ret, &err);
	else
		op->answer(server, req, op->code);
}

/* ---- The loop ---------------------------------------------------------- */

static void on_ended(evutil_socket_t fd, short what, void *opaque)
{
	event_base_loopexit(opaque, NULL);
}

static void on_signal(evutil_socket_t number, short what, void *opaque)
{
	struct server *server = opaque;

	vm_stop(server->vm, true, NULL);
}

static void on_accept_again(evutil_socket_t fd, short what, void *opaque)
{
	evconnlistener_enable(opaque);
}

/* No file descriptor for a client, say. It stays in the queue; asking for it
 * again at once would only burn a processor. */
static void on_accept_failed(struct evconnlistener *listener, void *opaque)
{
	static const struct timeval pause = {.tv_usec = 100000};

	if (event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT,
			    on_accept_again, listener, &pause) == 0)
		evconnlistener_disable(listener);
}

static int server_init(struct server *server, int listen_fd, struct error *err)
{
	struct evconnlistener *listener;

	server->base = event_base_new();
	if (!server->base)
		goto no_memory;
	server->http = evhttp_new(server->base);
	/* Closed by our caller, who made it. */
	listener =
		evconnlistener_new(server->base, NULL, NULL, 0, 0, listen_fd);
	if (!server->http || !listener ||
	    !evhttp_bind_listener(server->http, listener))
		goto no_memory;
	evconnlistener_set_error_cb(listener, on_accept_failed);
	evhttp_set_allowed_methods(server->http, ANY_METHOD);
	evhttp_set_max_body_size(server->http, MAX_BODY_BYTES);
	evhttp_set_max_headers_size(server->http, MAX_HEADER_BYTES);
	evhttp_set_timeout(server->http, TIMEOUT_SECONDS);
	evhttp_set_gencb(server->http, on_request, server);

	server->ended = event_new(server->base, vm_end_fd(server->vm), EV_READ,
				  on_ended, server->base);
	if (!server->ended || event_add(server->ended, NULL) < 0)
		goto no_memory;
	for (size_t i = 0; i < NR_END_SIGNALS; i++) {
		server->signals[i] = evsignal_new(server->base, end_signals[i],
						  on_signal, server);
		if (!server->signals[i] ||
		    event_add(server->signals[i], NULL) < 0)
			goto no_memory;
	}
	return 0;
no_memory:
	return error_set(err, -ENOMEM, "no memory for the control API");
}

static void server_finish(struct server *server)
{
	for (size_t i = 0; i < NR_END_SIGNALS; i++) {
		if (server->signals[i])
			event_free(server->signals[i]);
	}
	if (server->ended)
		event_free(server->ended);
	if (server->http)
		evhttp_free(server->http);
	if (server->base)
		event_base_free(server->base);
}

/* Start the guest, and have nothing left that it could misuse. */
static int start_confined(struct vm *vm, const struct sandbox_config *sandbox,
			  struct error *err)
{
	int ret;

	/* The first use of these would open files. */
	json_object_seed(0);
	tzset();
	ret = sandbox_confine(sandbox, err);
	if (!ret)
		ret = vm_start(vm, err);
	if (!ret)
		ret = sandbox_filter(sandbox->mode, err);
	if (!ret)
		vm_run(vm);
	return ret;
}

static enum api_exit serve_vm(struct vm *vm, int listen_fd,
			      const struct sandbox_config *sandbox,
			      const sigset_t *signals, struct error *err)
{
	struct server server = {.vm = vm};
	enum api_exit status = API_EXIT_REFUSED;

	if (server_init(&server, listen_fd, err) == 0 &&
	    start_confined(vm, sandbox, err) == 0) {
		status = API_EXIT_FAILED;
		pthread_sigmask(SIG_UNBLOCK, signals, NULL);
		event_base_dispatch(server.base);
		pthread_sigmask(SIG_BLOCK, signals, NULL);
		switch (vm_end_reason(vm, err)) {
		case VM_END_ERROR:
			break;
		case VM_END_GUARD:
			status = API_EXIT_GUARD;
			break;
		case VM_END_NONE:
		case VM_END_POWEROFF:
		case VM_END_STOPPED:
		case VM_END_RESET:
			status = API_EXIT_OK;
			break;
		}
	}
	server_finish(&server);
	return status;
}

/* The longest of the files that guest memory stands in. */
static uint64_t longest_file(const struct vm_config *config)
{
	uint64_t longest = config->memory_bytes;

	for (unsigned int i = 0; i < config->nr_elastic; i++) {
		if (config->elastic[i].max_bytes > longest)
			longest = config->elastic[i].max_bytes;
	}
	return longest;
}

enum api_exit api_run_vm(const struct vm_config *config,
			 const struct sandbox_config *sandbox,
			 struct error *err)
{
	struct sandbox_config limited = *sandbox;
	enum api_exit status = API_EXIT_REFUSED;
	struct runtime_claim claim;
	struct vm *vm = NULL;
	sigset_t signals;
	int ret;

	if (vm_config_check(config, err) ||
	    runtime_claim(&claim, config->name, err))
		return status;
	/* Nobody but the loop hears of them, once there is one. */
	sigemptyset(&signals);
	for (size_t i = 0; i < NR_END_SIGNALS; i++)
		sigaddset(&signals, end_signals[i]);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	if (longest_file(config) > limited.max_file_bytes)
		limited.max_file_bytes = longest_file(config);
	ret = sandbox->mode == SANDBOX_OFF ? 0 : runtime_keep(&claim, err);
	if (!ret)
		ret = vm_create(config, &vm, err);
	if (!ret)
		status = serve_vm(vm, claim.fd, &limited, &signals, err);
	/* The name is free once the VM is gone, not before. */
	vm_destroy(vm);
	runtime_release(&claim);
	return status;
}
