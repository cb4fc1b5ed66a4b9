// SPDX-License-Identifier: BSD-3-Clause
/* `bellows resize`: ask for sizes, watch the guest get there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/client.h"
#include "api/json.h"
#include "cli.h"
#include "diagnose.h"
#include "host/size.h"
#include "spread.h"

#define DEFAULT_WAIT 60.0
#define POLL_FIRST   0.002
#define POLL_LAST    0.05
#define BAR_WIDTH    30

struct resize {
	double wait;
	bool json;
	const char *name;
	json_t *body;	/* the request; its items are the targets */
	json_t *before; /* the VM when it was asked for */
	json_t *now;	/* the VM as last seen */
};

static int take_wait(void *args, const char *value, struct error *err)
{
	return cli_take_seconds("wait", value, &((struct resize *)args)->wait,
				err);
}

static int take_json(void *args, const char *value, struct error *err)
{
	((struct resize *)args)->json = true;
	return 0;
}

/* ---- The request ------------------------------------------------------- */

static const json_t *find_device(const json_t *vm, const char *id)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(vm, "elastic"), i, device)
	{
		if (!strcmp(cli_string(device, "id"), id))
			return device;
	}
	return NULL;
}

static int add_target(struct resize *r, const char *id, uint64_t bytes)
{
	return json_array_append_new(json_object_get(r->body, "elastic"),
				     json_pack("{s:s, s:I}", "id", id,
					       "requested_bytes",
					       (json_int_t)bytes));
}

/* Spread a total over all devices, or those of one node. */
static int add_total(struct resize *r, int node, uint64_t total,
		     struct error *err)
{
	struct spread_device devices[VM_MAX_ELASTIC];
	const char *ids[VM_MAX_ELASTIC];
	unsigned int nr = 0;
	const json_t *device;
	char what[VM_NAME_MAX + 32];
	size_t i;
	int ret;

	json_array_foreach(json_object_get(r->before, "elastic"), i, device)
	{
		const json_t *its = json_object_get(device, "node");
		int number = json_is_integer(its) ? (int)json_integer_value(its)
						  : -1;

		if (nr == VM_MAX_ELASTIC || (node >= 0 && number != node))
			continue;
		ids[nr] = cli_string(device, "id");
		devices[nr++] = (struct spread_device){
			.node = number,
			.block_bytes = cli_number(device, "block_bytes"),
			.max_bytes = cli_number(device, "max_bytes"),
			.bytes = cli_number(device, "requested_bytes"),
		};
	}
	if (node >= 0)
		snprintf(what, sizeof(what), "node %d of VM '%s'", node,
			 r->name);
	else
		snprintf(what, sizeof(what), "VM '%s'", r->name);
	if (!nr)
		return error_set(err, -ENOENT, "%s has no elastic device",
				 what);
	ret = spread(devices, nr, total, what, err);
	for (i = 0; i < nr && !ret; i++)
		ret = add_target(r, ids[i], devices[i].bytes);
	return ret;
}

/* SIZE (a total), ID=SIZE, or nodeN=SIZE unless a device is named so. */
static int add_argument(struct resize *r, const char *text, bool only,
			struct error *err)
{
	const char *equals = strchr(text, '=');
	char id[VM_ID_MAX], extra;
	uint64_t bytes;
	int node, ret;

	if (!equals && !only)
		return error_set(err, -EINVAL,
				 "resize: '%s' is a total, and must stand "
				 "alone; name devices or nodes: ID=SIZE or "
				 "nodeN=SIZE",
				 text);
	ret = size_parse(equals ? text : "resize", equals ? equals + 1 : text,
			 &bytes, err);
	if (ret)
		return ret;
	if (!equals)
		return add_total(r, -1, bytes, err);
	snprintf(id, sizeof(id), "%.*s",
		 (int)((size_t)(equals - text) < sizeof(id)
			       ? (size_t)(equals - text)
			       : sizeof(id) - 1),
		 text);
	if (!find_device(r->before, id) &&
	    sscanf(id, "node%d%c", &node, &extra) == 1 && node >= 0)
		return add_total(r, node, bytes, err);
	return add_target(r, id, bytes);
}

static int send_request(struct resize *r, const struct cli_arguments *arguments,
			struct error *err)
{
	const struct api_call call = {
		.method = "PUT",
		.path = API_PREFIX "/elastic",
		.body = r->body,
	};
	int ret = 0;

	for (unsigned int i = 1; i < arguments->nr && !ret; i++)
		ret = add_argument(r, arguments->at[i], arguments->nr == 2,
				   err);
	return ret ? ret : api_call(r->name, &call, &r->now, err);
}

/* ---- Progress ---------------------------------------------------------- */

/* Bytes still to go, over all targets; how many there were at first. */
static uint64_t distance(const struct resize *r, const json_t *vm)
{
	uint64_t sum = 0;
	json_t *target;
	size_t i;

	json_array_foreach(json_object_get(r->body, "elastic"), i, target)
	{
		const json_t *device =
			find_device(vm, cli_string(target, "id"));
		uint64_t plugged = cli_number(device, "plugged_bytes");
		uint64_t wanted = cli_number(target, "requested_bytes");

		sum += plugged > wanted ? plugged - wanted : wanted - plugged;
	}
	return sum;
}

/* A bar, MiB, and the rate, on a terminal's line. */
static void show_progress(const struct resize *r, double seconds)
{
	uint64_t all = distance(r, r->before), left = distance(r, r->now);
	uint64_t done = all > left ? all - left : 0;
	unsigned int full =
		all ? (unsigned int)(done * BAR_WIDTH / all) : BAR_WIDTH;
	char bar[BAR_WIDTH + 1];

	memset(bar, '#', full);
	memset(bar + full, '.', BAR_WIDTH - full);
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %llu of %llu MiB, %.0f MiB/s\033[K", bar,
		(unsigned long long)(done >> 20),
		(unsigned long long)(all >> 20),
		seconds > 0 ? (double)(done >> 20) / seconds : 0);
}

static int watch(struct resize *r, double began, struct error *err)
{
	bool terminal = isatty(STDERR_FILENO) && !r->json;
	double pause = POLL_FIRST;
	json_t *vm;
	int ret = 0;

	while (distance(r, r->now) && cli_now() - began < r->wait) {
		if (terminal)
			show_progress(r, cli_now() - began);
		cli_sleep(pause);
		pause = pause * 1.3 > POLL_LAST ? POLL_LAST : pause * 1.3;
		ret = api_get_vm(r->name, &vm, err);
		if (ret)
			break;
		json_decref(r->now);
		r->now = vm;
	}
	if (terminal)
		fprintf(stderr, "\r\033[K");
	return ret;
}

/* ---- The result -------------------------------------------------------- */

static const char *reason_not_reached(const struct resize *r,
				      const json_t *before, const json_t *now)
{
	const char *state = cli_string(r->now, "state");

	if (!strcmp(state, "suspended"))
		return "the guest is suspended, and hears of it once it wakes";
	if (!strcmp(state, "paused"))
		return "the VM is paused, and hears of it once it goes on";
	return diagnose(before, now);
}

static void print_device(const struct resize *r, const json_t *target,
			 double seconds)
{
	const char *id = cli_string(target, "id");
	const json_t *before = find_device(r->before, id);
	const json_t *now = find_device(r->now, id);
	uint64_t start = cli_number(before, "plugged_bytes");
	uint64_t plugged = cli_number(now, "plugged_bytes");
	uint64_t wanted = cli_number(target, "requested_bytes");

	if (plugged == wanted)
		printf("%s: %s plugged (before: %s), %.2f s\n", id,
		       cli_size(plugged).text, cli_size(start).text, seconds);
	else if (cli_number(now, "requested_bytes") != wanted)
		printf("%s: %s plugged, %s wanted: another resize asked for "
		       "%s meanwhile\n",
		       id, cli_size(plugged).text, cli_size(wanted).text,
		       cli_size(cli_number(now, "requested_bytes")).text);
	else
		printf("%s: %s plugged, %s wanted, after %.2f s: %s\n", id,
		       cli_size(plugged).text, cli_size(wanted).text, seconds,
		       reason_not_reached(r, before, now));
}

static json_t *device_result(const struct resize *r, const json_t *target)
{
	const char *id = cli_string(target, "id");
	const json_t *before = find_device(r->before, id);
	const json_t *now = find_device(r->now, id);
	json_int_t plugged = (json_int_t)cli_number(now, "plugged_bytes");
	json_int_t wanted = (json_int_t)cli_number(target, "requested_bytes");
	json_t *reason =
		plugged == wanted
			? json_null()
			: json_string(reason_not_reached(r, before, now));

	return json_pack("{s:s, s:I, s:I, s:I, s:o}", "id", id, "before_bytes",
			 (json_int_t)cli_number(before, "plugged_bytes"),
			 "requested_bytes", wanted, "plugged_bytes", plugged,
			 "reason", reason);
}

static int print_result(const struct resize *r, double seconds)
{
	bool reached = distance(r, r->now) == 0;
	json_t *devices = json_array(), *target, *result;
	size_t i;

	json_array_foreach(json_object_get(r->body, "elastic"), i, target)
	{
		if (r->json)
			json_array_append_new(devices,
					      device_result(r, target));
		else
			print_device(r, target, seconds);
	}
	if (r->json) {
		result = json_pack("{s:b, s:f, s:O}", "reached", reached,
				   "seconds", seconds, "elastic", devices);
		json_dumpf(result, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(result);
	}
	json_decref(devices);
	return reached ? CLI_OK : CLI_LATE;
}

static const struct cli_option options[] = {
	{"wait", "SECONDS", "how long to wait for the guest (60)", take_wait},
	{"json", NULL, "print the result as JSON", take_json},
	{0},
};

static int run(const struct cli_verb *verb, int argc, char **argv)
{
	struct resize r = {.wait = DEFAULT_WAIT};
	struct cli_arguments arguments;
	struct error err = {0};
	double began;
	int ret, status = cli_parse(verb, argc, argv, &r, &arguments);

	if (status >= 0)
		return status;
	r.name = arguments.at[0];
	r.body = json_pack("{s:[]}", "elastic");
	ret = api_get_vm(r.name, &r.before, &err);
	began = cli_now();
	if (!ret)
		ret = send_request(&r, &arguments, &err);
	if (!ret)
		ret = watch(&r, began, &err);
	status =
		ret ? cli_fail(ret, &err) : print_result(&r, cli_now() - began);
	json_decref(r.body);
	json_decref(r.before);
	json_decref(r.now);
	return status;
}

const struct cli_verb cli_resize = {
	.name = "resize",
	.summary = "Ask a guest to have more or less elastic memory",
	.synopsis = "NAME [ID=]SIZE... [--wait SECONDS] [--json]",
	.notes =
		"ID=SIZE asks for SIZE on a device, a multiple of its block "
		"size; nodeN=SIZE for SIZE\non all devices of a node; SIZE "
		"alone for a total. Totals are spread so that nodes\nkeep in "
		"proportion to their maxima, and small changes move one "
		"device. All sizes\nare checked before any is applied.\n"
		"The request stands after the wait: the guest goes on trying.\n"
		"\nExit status: 0 reached, 2 the request was wrong, 3 not "
		"reached in time (it says\nwhat was reached, and why not more "
		"as far as the host can know).\n",
	.options = options,
	.min_arguments = 2,
	.max_arguments = CLI_MAX_ARGUMENTS,
	.argument = "a NAME and a SIZE",
	.run = run,
};
