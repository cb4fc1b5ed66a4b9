// SPDX-License-Identifier: BSD-3-Clause
/*
 * The API's server and client over a VM that is none: it fails as it is told
 * to. The server is a process of its own, as it is in life.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/client.h"
#include "api/runtime.h"
#include "api/server.h"
#include "no_vm.h"

#define PAUSE_US 2000
#define ATTEMPTS 5000

/* ---- Its process ------------------------------------------------------- */

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

static const struct sandbox_config no_sandbox = {0};

static struct vm_config config_of(const char *how)
{
	return (struct vm_config){.name = "none", .nr_cpus = 1, .cmdline = how};
}

/* Start a server; returns once it answers. */
static pid_t start(const char *how)
{
	struct vm_config config = config_of(how);
	struct error err = {0};
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int status = (int)api_run_vm(&config, &no_sandbox, &err);

		/* The exit statuses of ours are 0 to 4. */
		if (status == API_EXIT_FAILED &&
		    strcmp(err.text, "it came to a bad end") != 0)
			status = 20;
		_exit(status);
	}
	for (int i = 0; i < ATTEMPTS && api_get_vm("none", NULL, &err); i++)
		usleep(PAUSE_US);
	assert_int_equal(api_get_vm("none", NULL, &err), 0);
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int call(const char *method, const char *path, json_t *body,
		json_t **reply, struct error *err)
{
	const struct api_call call = {
		.method = method, .path = path, .body = body};
	int ret = api_call("none", &call, reply, err);

	json_decref(body);
	return ret;
}

static int force_stop(struct error *err)
{
	return call("POST", "/v1/vm/stop", json_pack("{s:b}", "force", 1), NULL,
		    err);
}

static json_t *resize_body(const char *id)
{
	return json_pack("{s:[{s:s, s:i}]}", "elastic", "id", id,
			 "requested_bytes", 0);
}

/* The status code of an answer, which api_call() does not tell. */
static int code_of(const char *method, const char *path, json_t *body)
{
	char *text = json_dumps(body, 0), request[512], answer[64] = "";
	struct error err = {0};
	int fd = runtime_connect("none", &err);
	int len, code = -1;

	assert_true(fd >= 0);
	len = snprintf(request, sizeof(request),
		       "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n"
		       "\r\n%s",
		       method, path, strlen(text), text);
	assert_int_equal(send(fd, request, (size_t)len, 0), len);
	assert_true(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
	assert_int_equal(sscanf(answer, "HTTP/1.1 %d ", &code), 1);
	close(fd);
	free(text);
	json_decref(body);
	return code;
}

/* ---- Tests ------------------------------------------------------------- */

static void failures_answered(void **state)
{
	pid_t pid = start("");

	for (size_t i = 0; i < NR_FAILURES; i++) {
		struct error err = {0};
		json_t *reply = (json_t *)&err;
		int ret = call("PUT", "/v1/vm/elastic",
			       resize_body(failures[i].id), &reply, &err);

		if (ret != failures[i].seen)
			fail_msg("%s: %d", failures[i].id, ret);
		assert_null(reply);
		assert_memory_equal(err.text, "it says ", 8);
		assert_string_equal(err.text + 8, failures[i].id);
		assert_int_equal(code_of("PUT", "/v1/vm/elastic",
					 resize_body(failures[i].id)),
				 failures[i].code);
	}
	assert_int_equal(code_of("PUT", "/v1/vm/elastic", resize_body("other")),
			 200);
	assert_int_equal(code_of("POST", "/v1/vm/reboot", json_object()), 202);
	assert_int_equal(code_of("PUT", "/v1/vm/guard",
				 json_pack("{s:s}", "policy", "kill")),
			 409);
	assert_int_equal(code_of("POST", "/v1/nothing", json_object()), 404);
	assert_int_equal(code_of("PUT", "/v1/vm/stop", json_object()), 405);
	assert_int_equal(force_stop(NULL), 0);
	assert_int_equal(end_of(pid), API_EXIT_OK);
}

static void events_after_a_number(void **state)
{
	static const struct {
		const char *path;
		size_t nr;
	} asked[] = {
		{"/v1/vm/events", 3},	      {"/v1/vm/events?after=0", 3},
		{"/v1/vm/events?after=2", 1}, {"/v1/vm/events?after=3", 0},
		{"/v1/vm/events?after=x", 3}, {"/v1/vm/events?x=2", 3},
	};
	pid_t pid = start("guard");
	const json_t *event;
	json_t *reply;

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		assert_int_equal(call("GET", asked[i].path, NULL, &reply, NULL),
				 0);
		assert_int_equal(
			json_array_size(json_object_get(reply, "events")),
			asked[i].nr);
		json_decref(reply);
	}
	assert_int_equal(
		call("GET", "/v1/vm/events?after=2", NULL, &reply, NULL), 0);
	event = json_array_get(json_object_get(reply, "events"), 0);
	assert_int_equal(json_integer_value(json_object_get(event, "number")),
			 3);
	assert_true(json_is_null(json_object_get(event, "vcpu")));
	assert_true(json_is_null(json_object_get(event, "length")));
	json_decref(reply);
	assert_int_equal(force_stop(NULL), 0);
	assert_int_equal(end_of(pid), API_EXIT_GUARD);
}

static void audit_told(void **state)
{
	pid_t pid = start("");
	const json_t *device;
	json_t *reply;

	assert_int_equal(call("GET", "/v1/vm/audit", NULL, &reply, NULL), 0);
	assert_true(json_is_false(json_object_get(reply, "clean")));
	device = json_array_get(json_object_get(reply, "elastic"), 1);
	assert_int_equal(
		json_integer_value(json_object_get(device, "excess_blocks")),
		VM_MAX_EXCESS + 1);
	assert_int_equal(json_array_size(json_object_get(device, "excess")),
			 VM_MAX_EXCESS);
	json_decref(reply);
	assert_int_equal(code_of("GET", "/v1/metrics", json_object()), 200);
	assert_int_equal(force_stop(NULL), 0);
	assert_int_equal(end_of(pid), API_EXIT_OK);
}

static void what_it_says_arrives(void **state)
{
	struct error err = {0};
	pid_t pid = start("");
	json_t *vm = NULL;

	assert_int_equal(api_get_vm("none", &vm, &err), 0);
	assert_string_equal(json_string_value(json_object_get(vm, "name")),
			    "none");
	assert_int_equal(json_integer_value(json_object_get(vm, "pid")), pid);
	json_decref(vm);
	assert_int_equal(call("PUT", "/v1/vm/elastic", json_object(), NULL,
			      &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "requested_bytes"));
	assert_int_equal(call("GET", "/v1/nothing", NULL, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/v1/nothing"));
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(end_of(pid), API_EXIT_OK);
	assert_int_equal(api_get_vm("none", &vm, &err), -ENOENT);
	assert_null(vm);
}

static void ends_told_apart(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
	struct error err = {0};
	pid_t pid;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		pid = start("");
		assert_int_equal(kill(pid, signals[i]), 0);
		assert_int_equal(end_of(pid), API_EXIT_OK);
	}
	pid = start("bad-end");
	assert_int_equal(force_stop(&err), 0);
	assert_int_equal(end_of(pid), API_EXIT_FAILED);
}

static void not_made(void **state)
{
	struct vm_config config = config_of("no-vm");
	struct error err = {0};
	pid_t pid;

	assert_int_equal(api_run_vm(&config, &no_sandbox, &err),
			 API_EXIT_REFUSED);
	assert_string_equal(err.text, "no VM today");
	config.nr_cpus = 0;
	assert_int_equal(api_run_vm(&config, &no_sandbox, &err),
			 API_EXIT_REFUSED);
	assert_string_equal(err.text, "0 CPUs");
	/* The name is taken: the one that has it goes on. */
	pid = start("");
	config = config_of("");
	assert_int_equal(api_run_vm(&config, &no_sandbox, &err),
			 API_EXIT_REFUSED);
	assert_non_null(strstr(err.text, "'none' runs already"));
	assert_int_equal(force_stop(&err), 0);
	assert_int_equal(end_of(pid), API_EXIT_OK);
}

/* A server that dies over a call; what it leaves is replaced. */
static void a_sudden_death(void **state)
{
	struct error err = {0};
	pid_t pid = start("");

	assert_int_equal(call("POST", "/v1/vm/pause", NULL, NULL, &err),
			 -ENOENT);
	assert_non_null(strstr(err.text, "ended without an answer"));
	assert_int_equal(end_of(pid), 9);
	assert_int_equal(api_get_vm("none", NULL, &err), -ENOENT);
	pid = start("");
	assert_int_equal(force_stop(&err), 0);
	assert_int_equal(end_of(pid), API_EXIT_OK);
}

/* Somebody else's answer. */
static void nonsense_refused(void **state)
{
	static const char *const answers[] = {
		"hello\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\n\r\n{\"a\": 1, \"a\": 2}",
		"HTTP/1.1 200 OK",
		"\xff\xff\xff\xff",
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct runtime_claim claim;
		struct error err = {0};
		char request[512];
		pid_t pid;

		assert_int_equal(runtime_claim(&claim, "none", &err), 0);
		pid = fork();
		if (pid == 0) {
			_exit(api_get_vm("none", NULL, &err) == -EPROTO &&
					      strstr(err.text, "not the API's")
				      ? 0
				      : 1);
		}
		for (int fd = -1; fd < 0; usleep(PAUSE_US)) {
			fd = accept(claim.fd, NULL, NULL);
			if (fd < 0)
				continue;
			assert_true(recv(fd, request, sizeof(request), 0) > 0);
			send(fd, answers[i], strlen(answers[i]), 0);
			close(fd);
		}
		if (end_of(pid))
			fail_msg("taken for an answer: %s", answers[i]);
		runtime_release(&claim);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_answered),
		cmocka_unit_test(what_it_says_arrives),
		cmocka_unit_test(events_after_a_number),
		cmocka_unit_test(audit_told),
		cmocka_unit_test(ends_told_apart),
		cmocka_unit_test(not_made),
		cmocka_unit_test(a_sudden_death),
		cmocka_unit_test(nonsense_refused),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
