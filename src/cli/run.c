// SPDX-License-Identifier: BSD-3-Clause
/* `bellows run`: make a VM, and be its process until it ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/server.h"
#include "cli.h"
#include "host/size.h"

#define DEFAULT_MEMORY	(512ULL << 20)
/* A stock kernel talks on the serial port only if it is told to. */
#define DEFAULT_CMDLINE "console=ttyS0"

static int copy_word(const char *what, const char *value, char *to, size_t size,
		     struct error *err)
{
	if (strlen(value) >= size)
		return error_set(err, -EINVAL,
				 "%s: '%s' is longer than %zu characters", what,
				 value, size - 1);
	strcpy(to, value);
	return 0;
}

static int take_number(const char *what, const char *value, unsigned long max,
		       unsigned long *number, struct error *err)
{
	char *end;

	errno = 0;
	*number = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || *number > max)
		return error_set(err, -EINVAL,
				 "%s: '%s' is not a whole number up to %lu",
				 what, value, max);
	return 0;
}

/* ---- Options ----------------------------------------------------------- */

static int take_name(void *args, const char *value, struct error *err)
{
	struct vm_config *config = args;
	int ret = vm_name_check(value, err);

	return ret ? ret
		   : copy_word("--name", value, config->name,
			       sizeof(config->name), err);
}

static int take_kernel(void *args, const char *value, struct error *err)
{
	((struct vm_config *)args)->kernel_path = value;
	return 0;
}

static int take_initrd(void *args, const char *value, struct error *err)
{
	((struct vm_config *)args)->initrd_path = value;
	return 0;
}

static int take_cmdline(void *args, const char *value, struct error *err)
{
	((struct vm_config *)args)->cmdline = value;
	return 0;
}

static int take_cpus(void *args, const char *value, struct error *err)
{
	unsigned long nr;
	int ret = take_number("--cpus", value, VM_MAX_CPUS, &nr, err);

	if (ret)
		return ret;
	if (nr < 1)
		return error_set(err, -EINVAL, "--cpus: '%s': 1 to %d", value,
				 VM_MAX_CPUS);
	((struct vm_config *)args)->nr_cpus = (unsigned int)nr;
	return 0;
}

static int take_memory(void *args, const char *value, struct error *err)
{
	return size_parse("--memory", value,
			  &((struct vm_config *)args)->memory_bytes, err);
}

static int take_console(void *args, const char *value, struct error *err)
{
	struct vm_config *config = args;

	if (!strcmp(value, "stdio")) {
		config->console = VM_CONSOLE_STDIO;
	} else if (!strcmp(value, "none")) {
		config->console = VM_CONSOLE_NONE;
	} else if (!strncmp(value, "file:", 5) && value[5]) {
		config->console = VM_CONSOLE_FILE;
		config->console_path = value + 5;
	} else {
		return error_set(err, -EINVAL,
				 "--console: '%s' is not stdio, file:PATH or "
				 "none",
				 value);
	}
	return 0;
}

static int take_prealloc(void *args, const char *value, struct error *err)
{
	((struct vm_config *)args)->prealloc = true;
	return 0;
}

static int take_elastic_key(struct vm_elastic_config *device, const char *key,
			    const char *value, struct error *err)
{
	unsigned long node;
	int ret;

	if (!strcmp(key, "max"))
		return size_parse("--elastic max", value, &device->max_bytes,
				  err);
	if (!strcmp(key, "size"))
		return size_parse("--elastic size", value,
				  &device->requested_bytes, err);
	if (!strcmp(key, "block")) {
		ret = size_parse("--elastic block", value, &device->block_bytes,
				 err);
		if (!ret && !device->block_bytes)
			ret = error_set(err, -EINVAL,
					"--elastic block: '%s': 2M at least",
					value);
		return ret;
	}
	if (!strcmp(key, "id"))
		return copy_word("--elastic id", value, device->id,
				 sizeof(device->id), err);
	if (!strcmp(key, "node")) {
		ret = take_number("--elastic node", value, UINT16_MAX, &node,
				  err);
		device->node = (int)node;
		return ret;
	}
	return error_set(err, -EINVAL,
			 "--elastic: '%s' is none of max, size, block, id and "
			 "node",
			 key);
}

/* KEY=VALUE[,KEY=VALUE]... */
static int take_elastic(void *args, const char *value, struct error *err)
{
	struct vm_config *config = args;
	struct vm_elastic_config *device;
	char *copy, *rest, *item;
	int ret = 0;

	if (config->nr_elastic == VM_MAX_ELASTIC)
		return error_set(err, -EINVAL,
				 "--elastic '%s': only %d devices are possible",
				 value, VM_MAX_ELASTIC);
	device = &config->elastic[config->nr_elastic++];
	*device = (struct vm_elastic_config){.node = -1};
	copy = rest = strdup(value);
	if (!copy)
		return error_set(err, -ENOMEM, "no memory");
	while (!ret && (item = strsep(&rest, ","))) {
		char *equals = strchr(item, '=');

		if (!equals || equals == item || !equals[1]) {
			ret = error_set(err, -EINVAL,
					"--elastic: '%s' in '%s' is not "
					"KEY=VALUE, such as max=4G",
					item, value);
			break;
		}
		*equals = '\0';
		ret = take_elastic_key(device, item, equals + 1, err);
	}
	free(copy);
	return ret;
}

static const struct cli_option options[] = {
	{"name", "NAME", "its name, for the other verbs (needed)", take_name},
	{"kernel", "FILE", "kernel: bzImage, or ELF with a PVH entry (needed)",
	 take_kernel},
	{"initrd", "FILE", "initial RAM disk", take_initrd},
	{"cmdline", "STRING", "kernel command line (" DEFAULT_CMDLINE ")",
	 take_cmdline},
	{"cpus", "N", "processors, 1 to 16 (1)", take_cpus},
	{"memory", "SIZE", "boot memory, 64M or more (512M)", take_memory},
	{"console", "WHERE", "serial console: stdio, file:PATH or none (stdio)",
	 take_console},
	{"elastic", "KEY=VALUE,...", "an elastic device; see below",
	 take_elastic},
	{"prealloc", NULL, "commit elastic memory when it is plugged",
	 take_prealloc},
	{0},
};

static int run(const struct cli_verb *verb, int argc, char **argv)
{
	static const char *const needed[] = {"--name", "--kernel"};
	struct vm_config *config = calloc(1, sizeof(*config));
	struct cli_arguments arguments;
	struct error err = {0};
	const bool *given;
	int status;

	if (!config) {
		fprintf(stderr, "bellows: no memory\n");
		return CLI_FAILED;
	}
	config->cmdline = DEFAULT_CMDLINE;
	config->nr_cpus = 1;
	config->memory_bytes = DEFAULT_MEMORY;
	status = cli_parse(verb, argc, argv, config, &arguments);
	if (status >= 0)
		goto out;
	given = (const bool[]){config->name[0], config->kernel_path};
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (given[i])
			continue;
		fprintf(stderr,
			"bellows: run needs %s; see: bellows run "
			"--help\n",
			needed[i]);
		status = CLI_REFUSED;
		goto out;
	}
	status = (int)api_run_vm(config, &err);
	if (status)
		fprintf(stderr, "bellows: %s\n", err.text);
out:
	free(config);
	return status;
}

const struct cli_verb cli_run = {
	.name = "run",
	.summary = "Run a VM in the foreground, until it ends",
	.synopsis = "--name NAME --kernel FILE [OPTION]...",
	.notes = "--elastic takes KEY=VALUE pairs with commas between them; "
		 "give "
		 "it once for each\ndevice:\n"
		 "  max=SIZE    the most that the device can ever have "
		 "(needed)\n"
		 "  size=SIZE   what it asks the guest to have at start (0)\n"
		 "  block=SIZE  the smallest step, a power of two (2M)\n"
		 "  id=ID       its name in `bellows resize` (em0, em1, ...)\n"
		 "  node=N      the guest's NUMA node that it belongs to\n\n"
		 "On a terminal, Ctrl-A x ends the VM, and Ctrl-A Ctrl-A types "
		 "Ctrl-A.\n"
		 "SIGTERM, SIGINT and SIGHUP end it at once.\n\n"
		 "Exit status: 0 the guest powered off or was stopped, 1 the "
		 "host or KVM failed,\n2 the VM could not be made.\n",
	.options = options,
	.run = run,
};
