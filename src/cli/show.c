// SPDX-License-Identifier: BSD-3-Clause
/* `bellows show` and `bellows ls`: look at one VM, or at all. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/client.h"
#include "api/json.h"
#include "api/runtime.h"
#include "cli.h"
#include "nodes.h"

struct show {
	bool json, nodes;
	json_t *vms; /* of ls */
	struct error err;
	int status; /* of ls: CLI_OK unless a VM did not answer */
};

static int take_json(void *args, const char *value, struct error *err)
{
	((struct show *)args)->json = true;
	return 0;
}

static int take_nodes(void *args, const char *value, struct error *err)
{
	((struct show *)args)->nodes = true;
	return 0;
}

static const struct cli_option show_options[] = {
	{"json", NULL, "print as JSON", take_json},
	{"nodes", NULL, "draw NUMA nodes, and where the host holds them",
	 take_nodes},
	{0},
};

static const struct cli_option ls_options[] = {
	{"json", NULL, "print as JSON", take_json},
	{0},
};

static void print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	printf("\n");
}

/* ---- show -------------------------------------------------------------- */

void cli_print_reset(const json_t *times)
{
	static const char *const keys[] = {"hold_us", "elastic_us", "clear_us",
					   "load_us"};
	double ms[4], sum = 0;

	for (size_t i = 0; i < 4; i++) {
		ms[i] = (double)cli_number(times, keys[i]) / 1000;
		sum += ms[i];
	}
	printf("last reset: %.1f ms (processors %.1f, elastic memory %.1f, "
	       "boot "
	       "memory %.1f, loading %.1f); ",
	       sum, ms[0], ms[1], ms[2], ms[3]);
	if (json_is_null(json_object_get(times, "back_us")))
		printf("its memory is being given back\n");
	else
		printf("its memory given back after %.1f ms\n",
		       (double)cli_number(times, "back_us") / 1000);
}

/* What the guard caught, if anything. */
static void print_guard(const json_t *guard)
{
	const json_t *last = json_object_get(guard, "last");
	uint64_t nr = cli_number(guard, "violations");

	printf("guard: %s", cli_string(guard, "policy"));
	if (cli_string(guard, "off_reason")[0])
		printf(" (%s)", cli_string(guard, "off_reason"));
	if (nr)
		printf(", %llu accesses to unplugged memory; the last: %s by "
		       "%s at %#llx of %s",
		       (unsigned long long)nr, cli_string(last, "access"),
		       cli_string(last, "by"),
		       (unsigned long long)cli_number(last, "addr"),
		       cli_string(last, "id"));
	printf("\n\n");
}

static void print_vm(const json_t *vm)
{
	const json_t *device, *node;
	uint64_t uptime = cli_number(vm, "uptime_ms") / 1000;
	size_t i;

	printf("%s: %s%s, pid %llu, %llu CPUs, up %llu:%02llu:%02llu, "
	       "%llu reboots\n\n",
	       cli_string(vm, "name"), cli_string(vm, "state"),
	       json_is_true(json_object_get(vm, "paused_by_guard"))
		       ? " by the guard"
		       : "",
	       (unsigned long long)cli_number(vm, "pid"),
	       (unsigned long long)cli_number(vm, "cpus"),
	       (unsigned long long)(uptime / 3600),
	       (unsigned long long)(uptime / 60 % 60),
	       (unsigned long long)(uptime % 60),
	       (unsigned long long)cli_number(vm, "reboots"));
	if (json_is_object(json_object_get(vm, "last_reset"))) {
		cli_print_reset(json_object_get(vm, "last_reset"));
		printf("\n");
	}
	if (json_array_size(json_object_get(vm, "elastic")))
		print_guard(json_object_get(vm, "guard"));
	printf("%-12s %4s %9s %9s %9s %9s %6s  %s\n", "MEMORY", "NODE",
	       "PLUGGED", "REQUESTED", "MAXIMUM", "RESIDENT", "BLOCK",
	       "DRIVER");
	printf("%-12s %4s %9s %9s %9s %9s %6s  %s\n", "boot", "-",
	       cli_size(cli_number(vm, "boot_bytes")).text, "-", "-",
	       cli_size(cli_number(vm, "boot_resident_bytes")).text, "-", "-");
	json_array_foreach(json_object_get(vm, "elastic"), i, device)
	{
		char number[24] = "-";

		node = json_object_get(device, "node");
		if (json_is_integer(node))
			snprintf(number, sizeof(number), "%lld",
				 (long long)json_integer_value(node));
		printf("%-12s %4s %9s %9s %9s %9s %6s  %s\n",
		       cli_string(device, "id"), number,
		       cli_size(cli_number(device, "plugged_bytes")).text,
		       cli_size(cli_number(device, "requested_bytes")).text,
		       cli_size(cli_number(device, "max_bytes")).text,
		       cli_size(cli_number(device, "resident_bytes")).text,
		       cli_size(cli_number(device, "block_bytes")).text,
		       cli_string(device, "driver"));
	}
}

static int run_show(const struct cli_verb *verb, int argc, char **argv)
{
	struct show show = {0};
	struct cli_arguments arguments;
	const struct api_call call = {.method = "GET",
				      .path = API_PREFIX "/residence"};
	json_t *vm = NULL, *residence = NULL;
	int ret, status = cli_parse(verb, argc, argv, &show, &arguments);

	if (status >= 0)
		return status;
	ret = api_get_vm(arguments.at[0], &vm, &show.err);
	if (!ret && !show.json && json_array_size(json_object_get(vm, "nodes")))
		ret = api_call(arguments.at[0], &call, &residence, &show.err);
	if (ret) {
		status = cli_fail(ret, &show.err);
	} else {
		status = CLI_OK;
		if (show.json)
			print_json(vm);
		else if (!show.nodes)
			print_vm(vm);
		else if (residence)
			nodes_draw(vm, residence);
		else
			printf("VM '%s' has no NUMA nodes (bellows run "
			       "--node makes them)\n",
			       arguments.at[0]);
		if (!show.json && !show.nodes && residence) {
			printf("\n");
			nodes_print_table(vm, residence);
		}
	}
	json_decref(residence);
	json_decref(vm);
	return status;
}

const struct cli_verb cli_show = {
	.name = "show",
	.summary = "Show a VM: its memory, and what the host holds for it",
	.synopsis = "NAME [--json | --nodes]",
	.notes = "RESIDENT is what the host's kernel really holds.\n",
	.options = show_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_show,
};

/* ---- ls ---------------------------------------------------------------- */

/* A VM that ended since the folder was read is none. One that does not answer
 * keeps nobody from seeing the others. */
static bool add_vm(void *opaque, const char *name)
{
	struct show *show = opaque;
	json_t *vm;
	struct error err = {0};
	int ret = api_get_vm(name, &vm, &err);

	if (!ret)
		json_array_append_new(show->vms, vm);
	else if (ret != -ENOENT)
		show->status = cli_fail(ret, &err);
	return true;
}

static void print_row(const json_t *vm)
{
	uint64_t plugged = 0, requested = 0, max = 0;
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(vm, "elastic"), i, device)
	{
		plugged += cli_number(device, "plugged_bytes");
		requested += cli_number(device, "requested_bytes");
		max += cli_number(device, "max_bytes");
	}
	printf("%-16s %-9s %8llu %4llu %8s %8s %9s %8s %8s\n",
	       cli_string(vm, "name"), cli_string(vm, "state"),
	       (unsigned long long)cli_number(vm, "pid"),
	       (unsigned long long)cli_number(vm, "cpus"),
	       cli_size(cli_number(vm, "boot_bytes")).text,
	       cli_size(plugged).text, cli_size(requested).text,
	       cli_size(max).text,
	       cli_size(cli_number(vm, "resident_bytes")).text);
}

static int run_ls(const struct cli_verb *verb, int argc, char **argv)
{
	struct show show = {0};
	struct cli_arguments arguments;
	const json_t *vm;
	size_t i;
	int ret, status = cli_parse(verb, argc, argv, &show, &arguments);

	if (status >= 0)
		return status;
	show.vms = json_array();
	ret = runtime_list(add_vm, &show, &show.err);
	status = ret ? cli_fail(ret, &show.err) : show.status;
	if (!ret && show.json) {
		print_json(show.vms);
	} else if (!ret) {
		printf("%-16s %-9s %8s %4s %8s %8s %9s %8s %8s\n", "NAME",
		       "STATE", "PID", "CPUS", "BOOT", "PLUGGED", "REQUESTED",
		       "MAXIMUM", "RESIDENT");
		json_array_foreach(show.vms, i, vm) print_row(vm);
	}
	json_decref(show.vms);
	return status;
}

const struct cli_verb cli_ls = {
	.name = "ls",
	.summary = "List the VMs that run",
	.synopsis = "[--json]",
	.options = ls_options,
	.run = run_ls,
};
