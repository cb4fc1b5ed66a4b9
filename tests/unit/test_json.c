// SPDX-License-Identifier: BSD-3-Clause
/* What the control API takes and says in JSON. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "api/json.h"

/* The server's own way to read a body. */
static json_t *json(const char *text)
{
	json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (!value)
		fail_msg("not JSON: %s", text);
	return value;
}

static int parse_resize(const char *text, struct vm_resize_target *targets,
			unsigned int *nr, struct error *err)
{
	json_t *body = json(text);
	int ret = api_parse_resize(body, targets, nr, err);

	json_decref(body);
	return ret;
}

static void resizes_read(void **state)
{
	struct vm_resize_target targets[VM_MAX_ELASTIC];
	struct error err = {0};
	unsigned int nr = 0;

	assert_int_equal(
		parse_resize("{\"elastic\": ["
			     "{\"id\": \"em0\", \"requested_bytes\": 0},"
			     "{\"requested_bytes\": 9223372036854775807, "
			     "\"id\": \"b\"}]}",
			     targets, &nr, &err),
		0);
	assert_int_equal(nr, 2);
	assert_string_equal(targets[0].id, "em0");
	assert_int_equal(targets[0].requested_bytes, 0);
	assert_string_equal(targets[1].id, "b");
	assert_int_equal(targets[1].requested_bytes, INT64_MAX);
}

/* Each of them is refused with a sentence that holds the word. */
static void resizes_refused(void **state)
{
	static const struct {
		const char *body, *word;
	} bad[] = {
		{"[]", "{\"elastic\":"},
		{"{}", "{\"elastic\":"},
		{"{\"elastic\": 1}", "{\"elastic\":"},
		{"{\"elastic\": {}}", "{\"elastic\":"},
		{"{\"elastic\": [], \"more\": 1}", "{\"elastic\":"},
		{"{\"elastic\": []}", "0 items"},
		{"{\"elastic\": [\"em0\"]}", "object"},
		{"{\"elastic\": [[]]}", "object"},
		{"{\"elastic\": [{}]}", "no id"},
		{"{\"elastic\": [{\"requested_bytes\": 1}]}", "no id"},
		{"{\"elastic\": [{\"id\": \"em7\"}]}", "'em7'"},
		{"{\"elastic\": [{\"id\": 7}]}", "'id'"},
		{"{\"elastic\": [{\"id\": null}]}", "'id'"},
		{"{\"elastic\": [{\"id\": \"a\", \"size\": 1}]}", "'size'"},
		{"{\"elastic\": [{\"id\": \"a\", \"requested_bytes\": -1}]}",
		 "0 or more"},
		{"{\"elastic\": [{\"id\": \"a\", \"requested_bytes\": 1.0}]}",
		 "'requested_bytes'"},
		{"{\"elastic\": [{\"id\": \"a\", \"requested_bytes\": "
		 "\"1\"}]}",
		 "'requested_bytes'"},
		{"{\"elastic\": [{\"id\": \"a\", \"requested_bytes\": 1}, "
		 "{\"id\": \"a\", \"requested_bytes\": 2}]}",
		 "'a' is named twice"},
		{"{\"elastic\": [{\"id\": \"0123456789012345678901234567890x\""
		 ", \"requested_bytes\": 1}]}",
		 "too long"},
	};
	struct vm_resize_target targets[VM_MAX_ELASTIC];
	unsigned int nr = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error err = {0};

		if (parse_resize(bad[i].body, targets, &nr, &err) != -EINVAL)
			fail_msg("taken: %s", bad[i].body);
		if (!strstr(err.text, bad[i].word))
			fail_msg("no '%s' in '%s'", bad[i].word, err.text);
	}
	assert_int_equal(nr, 77);
	assert_int_equal(api_parse_resize(NULL, targets, &nr, NULL), -EINVAL);
}

static void as_many_targets_as_devices(void **state)
{
	struct vm_resize_target targets[VM_MAX_ELASTIC];
	json_t *body = json_pack("{s:[]}", "elastic");
	json_t *list = json_object_get(body, "elastic");
	struct error err = {0};
	unsigned int nr;

	for (int i = 0; i < VM_MAX_ELASTIC; i++) {
		char id[VM_ID_MAX];

		snprintf(id, sizeof(id), "em%d", i);
		json_array_append_new(list, json_pack("{s:s, s:i}", "id", id,
						      "requested_bytes", i));
	}
	assert_int_equal(api_parse_resize(body, targets, &nr, &err), 0);
	assert_int_equal(nr, VM_MAX_ELASTIC);
	assert_int_equal(targets[VM_MAX_ELASTIC - 1].requested_bytes,
			 VM_MAX_ELASTIC - 1);
	json_array_append_new(list, json_pack("{s:s, s:i}", "id", "more",
					      "requested_bytes", 0));
	assert_int_equal(api_parse_resize(body, targets, &nr, &err), -EINVAL);
	assert_non_null(strstr(err.text, "65 items"));
	json_decref(body);
}

static void stops_and_reboots_read(void **state)
{
	static const char *const bad[] = {"[]",
					  "[1]",
					  "{\"force\": 1}",
					  "{\"force\": null}",
					  "{\"x\": 1}",
					  "{\"force\": true, \"x\": 1}"};
	struct error err = {0};
	bool force = true;
	json_t *body;

	assert_int_equal(api_parse_nothing(NULL, &err), 0);
	assert_int_equal(api_parse_stop(NULL, &force, &err), 0);
	assert_false(force);
	body = json("{}");
	assert_int_equal(api_parse_nothing(body, &err), 0);
	assert_int_equal(api_parse_stop(body, &force, &err), 0);
	assert_false(force);
	json_decref(body);
	body = json("{\"force\": true}");
	assert_int_equal(api_parse_stop(body, &force, &err), 0);
	assert_true(force);
	json_decref(body);
	body = json("{\"force\": false}");
	assert_int_equal(api_parse_stop(body, &force, &err), 0);
	assert_false(force);
	json_decref(body);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		body = json(bad[i]);
		if (!api_parse_stop(body, &force, &err) ||
		    !api_parse_nothing(body, &err))
			fail_msg("taken: %s", bad[i]);
		json_decref(body);
	}
}

static void policies_read(void **state)
{
	static const char *const bad[] = {"{}", "[]", "{\"policy\": 1}",
					  "{\"policy\": \"maybe\"}",
					  "{\"policy\": \"off\", \"x\": 1}"};
	static const struct {
		const char *text;
		enum vm_guard policy;
	} good[] = {
		{"{\"policy\": \"off\"}", VM_GUARD_OFF},
		{"{\"policy\": \"report\"}", VM_GUARD_REPORT},
		{"{\"policy\": \"pause\"}", VM_GUARD_PAUSE},
		{"{\"policy\": \"kill\"}", VM_GUARD_KILL},
	};
	enum vm_guard policy;
	struct error err = {0};

	assert_int_equal(api_parse_guard(NULL, &policy, &err), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *body = json(bad[i]);

		if (!api_parse_guard(body, &policy, &err))
			fail_msg("taken: %s", bad[i]);
		json_decref(body);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		json_t *body = json(good[i].text);

		assert_int_equal(api_parse_guard(body, &policy, &err), 0);
		assert_int_equal(policy, good[i].policy);
		json_decref(body);
	}
}

static void check_error(const char *sentence, const char *wanted)
{
	json_t *object = api_error_json(sentence);

	assert_int_equal(json_object_size(object), 1);
	assert_string_equal(json_string_value(json_object_get(object, "error")),
			    wanted);
	json_decref(object);
}

/* Sentences quote what a client sent: any bytes. */
static void errors_written(void **state)
{
	char sentence[600], plain[600];

	check_error("no '\"'", "no '\"'");
	check_error("no '\xc3\xa4'", "no '\xc3\xa4'");
	check_error("no '\xe4'", "no '?'");
	check_error("no '\xc3", "no '?");
	check_error("", "");
	memset(sentence, 0xff, sizeof(sentence));
	sentence[511] = '\0';
	memset(plain, '?', sizeof(plain));
	plain[511] = '\0';
	check_error(sentence, plain);
}

static void status_written(void **state)
{
	struct vm_status *status = calloc(1, sizeof(*status));
	json_t *vm, *device;

	assert_non_null(status);
	strcpy(status->name, "web");
	status->state = VM_STOPPING;
	status->boot_bytes = 1ULL << 40;
	status->nr_elastic = 1;
	strcpy(status->elastic[0].id, "em0");
	status->elastic[0].node = -1;
	status->elastic[0].driver = VM_DRIVER_FAILED;
	status->elastic[0].nr_busy = 3;
	status->elastic[0].nr_config_writes = 4;
	status->elastic[0].changed_ms_ago = UINT64_MAX;
	vm = api_status_json(status);
	assert_string_equal(json_string_value(json_object_get(vm, "state")),
			    "stopping");
	assert_int_equal(json_integer_value(json_object_get(vm, "boot_bytes")),
			 1ULL << 40);
	assert_int_equal(json_array_size(json_object_get(vm, "elastic")), 1);
	device = json_array_get(json_object_get(vm, "elastic"), 0);
	assert_string_equal(
		json_string_value(json_object_get(device, "driver")), "failed");
	assert_true(json_is_null(json_object_get(device, "node")));
	assert_true(json_is_null(json_object_get(device, "changed_ms_ago")));
	assert_true(json_is_integer(json_object_get(device, "request_ms_ago")));
	assert_int_equal(
		json_integer_value(json_object_get(
			json_object_get(device, "requests"), "answered_busy")),
		3);
	assert_int_equal(
		json_integer_value(json_object_get(
			json_object_get(device, "requests"), "config_writes")),
		4);
	assert_true(
		json_is_false(json_object_get(device, "persistent_suspend")));
	json_decref(vm);
	status->state = VM_SUSPENDED;
	status->elastic[0].persistent_suspend = true;
	vm = api_status_json(status);
	assert_string_equal(json_string_value(json_object_get(vm, "state")),
			    "suspended");
	device = json_array_get(json_object_get(vm, "elastic"), 0);
	assert_true(
		json_is_true(json_object_get(device, "persistent_suspend")));
	json_decref(vm);
	free(status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resizes_read),
		cmocka_unit_test(resizes_refused),
		cmocka_unit_test(as_many_targets_as_devices),
		cmocka_unit_test(stops_and_reboots_read),
		cmocka_unit_test(policies_read),
		cmocka_unit_test(errors_written),
		cmocka_unit_test(status_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
