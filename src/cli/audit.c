// SPDX-License-Identifier: BSD-3-Clause
/* `bellows audit`: does a guest have what it was given, and no more? */
#include <stdio.h>

#include "api/client.h"
#include "api/json.h"
#include "cli.h"

struct audit {
	bool json;
};

static int take_json(void *args, const char *value, struct error *err)
{
	((struct audit *)args)->json = true;
	return 0;
}

static void print_device(const json_t *device)
{
	uint64_t nr = cli_number(device, "excess_blocks");
	const json_t *list = json_object_get(device, "excess"), *block;
	size_t i;

	printf("%-12s %9s %9s %9llu %9s\n", cli_string(device, "id"),
	       cli_size(cli_number(device, "plugged_bytes")).text,
	       cli_size(cli_number(device, "resident_bytes")).text,
	       (unsigned long long)nr,
	       cli_size(cli_number(device, "excess_bytes") +
			cli_number(device, "unplaced_bytes"))
		       .text);
	json_array_foreach(list, i, block)
		printf("  block %#llx is not plugged, and holds %s\n",
		       (unsigned long long)cli_number(block, "addr"),
		       cli_size(cli_number(block, "bytes")).text);
	if (nr > json_array_size(list))
		printf("  and %llu more blocks\n",
		       (unsigned long long)(nr - json_array_size(list)));
}

static int run_audit(const struct cli_verb *verb, int argc, char **argv)
{
	const struct api_call call = {.method = "GET",
				      .path = API_PREFIX "/audit"};
	struct audit audit = {0};
	struct cli_arguments arguments;
	struct error err = {0};
	const json_t *device;
	json_t *reply = NULL;
	size_t i;
	int ret, status = cli_parse(verb, argc, argv, &audit, &arguments);

	if (status >= 0)
		return status;
	ret = api_call(arguments.at[0], &call, &reply, &err);
	if (ret)
		return cli_fail(ret, &err);
	if (audit.json) {
		json_dumpf(reply, stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		printf("%-12s %9s %9s %9s %9s\n", "MEMORY", "PLUGGED",
		       "RESIDENT", "EXCESS", "BYTES");
		json_array_foreach(json_object_get(reply, "elastic"), i, device)
			print_device(device);
	}
	status = json_is_true(json_object_get(reply, "clean")) ? CLI_OK
							       : CLI_EXCESS;
	json_decref(reply);
	return status;
}

static const struct cli_option audit_options[] = {
	{"json", NULL, "print as JSON", take_json},
	{0},
};

const struct cli_verb cli_audit = {
	.name = "audit",
	.summary = "Prove that a VM holds no more memory than is plugged",
	.synopsis = "NAME [--json]",
	.notes = "Compares, block by block, what the host's kernel holds for "
		 "each elastic device\nwith what is plugged, while the guest "
		 "runs. Blocks that hold memory and are not\nplugged are "
		 "listed.\n"
		 "Exit status: 0 there are none, 2 no such VM, 4 there are.\n",
	.options = audit_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_audit,
};
