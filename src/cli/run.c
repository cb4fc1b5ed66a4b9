// SPDX-License-Identifier: BSD-3-Clause
/* `bellows run`: make a VM, and be its process until it ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/json.h"
#include "api/server.h"
#include "cli.h"
#include "host/size.h"
#include "pairs.h"

#define DEFAULT_MEMORY	(512ULL << 20)
/* As long as a console's file may get, or guest memory is. */
#define MAX_FILE	(1ULL << 30)
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

struct run_args {
	struct vm_config config;
	struct sandbox_config sandbox;
	bool memory_given;
};

/* ---- Options ----------------------------------------------------------- */

static int take_name(void *args, const char *value, struct error *err)
{
	struct vm_config *config = &((struct run_args *)args)->config;
	int ret = vm_name_check(value, err);

	return ret ? ret
		   : copy_word("--name", value, config->name,
			       sizeof(config->name), err);
}

static int take_kernel(void *args, const char *value, struct error *err)
{
	((struct run_args *)args)->config.kernel_path = value;
	return 0;
}

static int take_initrd(void *args, const char *value, struct error *err)
{
	((struct run_args *)args)->config.initrd_path = value;
	return 0;
}

static int take_cmdline(void *args, const char *value, struct error *err)
{
	((struct run_args *)args)->config.cmdline = value;
	return 0;
}

static int take_cpus(void *args, const char *value, struct error *err)
{
	unsigned long nr;
	int ret = pairs_number("--cpus", value, VM_MAX_CPUS, &nr, err);

	if (ret)
		return ret;
	if (nr < 1)
		return error_set(err, -EINVAL, "--cpus: '%s': 1 to %d", value,
				 VM_MAX_CPUS);
	((struct run_args *)args)->config.nr_cpus = (unsigned int)nr;
	return 0;
}

static int take_memory(void *args, const char *value, struct error *err)
{
	struct run_args *run = args;

	run->memory_given = true;
	return size_parse("--memory", value, &run->config.memory_bytes, err);
}

static int take_console(void *args, const char *value, struct error *err)
{
	struct vm_config *config = &((struct run_args *)args)->config;

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
	((struct run_args *)args)->config.prealloc = true;
	return 0;
}

static int take_sandbox(void *args, const char *value, struct error *err)
{
	static const char *const modes[] = {
		[SANDBOX_OFF] = "off",
		[SANDBOX_ON] = "on",
		[SANDBOX_LOG] = "log",
	};
	struct run_args *run = args;

	for (unsigned int i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!strcmp(value, modes[i])) {
			run->sandbox.mode = (enum sandbox_mode)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "--sandbox: '%s' is not on, off or log",
			 value);
}

static int take_user(void *args, const char *value, struct error *err)
{
	return sandbox_parse_user(value, &((struct run_args *)args)->sandbox,
				  err);
}

static int take_cache(void *args, const char *value, struct error *err)
{
	struct vm_config *config = &((struct run_args *)args)->config;

	config->no_cache = !strcmp(value, "none");
	config->cache_path = value;
	return 0;
}

static int take_chroot(void *args, const char *value, struct error *err)
{
	((struct run_args *)args)->sandbox.root = value;
	return 0;
}

static int take_no_reboot(void *args, const char *value, struct error *err)
{
	((struct run_args *)args)->config.no_reboot = true;
	return 0;
}

static int take_guard(void *args, const char *value, struct error *err)
{
	return api_guard_policy("--guard", value,
				&((struct run_args *)args)->config.guard, err);
}

static int take_elastic_key(void *opaque, const char *key, const char *value,
			    struct error *err)
{
	struct vm_elastic_config *device = opaque;
	unsigned long node;
	int ret = pairs_placement("--elastic", &device->placement, key, value,
				  err);

	if (ret <= 0)
		return ret;
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
		ret = pairs_number("--elastic node", value, VM_MAX_NODES - 1,
				   &node, err);
		device->node = (int)node;
		return ret;
	}
	return error_set(err, -EINVAL,
			 "--elastic: '%s' is none of max, size, block, id, "
			 "node, pages, host and policy",
			 key);
}

static int take_elastic(void *args, const char *value, struct error *err)
{
	static const char *const lists[] = {"host", NULL};
	struct vm_config *config = &((struct run_args *)args)->config;
	struct vm_elastic_config *device;

	if (config->nr_elastic == VM_MAX_ELASTIC)
		return error_set(err, -EINVAL,
				 "--elastic '%s': only %d devices are possible",
				 value, VM_MAX_ELASTIC);
	device = &config->elastic[config->nr_elastic++];
	*device = (struct vm_elastic_config){.node = -1};
	return pairs_parse("--elastic", value, lists, take_elastic_key, device,
			   err);
}

/* NODE:DISTANCE */
static int take_distance(struct vm_node_config *node, const char *value,
			 struct error *err)
{
	unsigned long to, distance;

	if (!pairs_two(value, ':', &to, &distance) || to >= VM_MAX_NODES ||
	    distance < 10 || distance > 255)
		return error_set(err, -EINVAL,
				 "--node distance: '%s' is not NODE:DISTANCE "
				 "with a distance of 10 to 255, such as 1:20",
				 value);
	node->distance[to] = (uint8_t)distance;
	return 0;
}

static int take_node_key(void *opaque, const char *key, const char *value,
			 struct error *err)
{
	struct vm_node_config *node = opaque;
	uint64_t cpus = node->cpus;
	int ret = pairs_placement("--node", &node->placement, key, value, err);

	if (ret <= 0)
		return ret;
	if (!strcmp(key, "mem"))
		return size_parse("--node mem", value, &node->memory_bytes,
				  err);
	if (!strcmp(key, "distance"))
		return take_distance(node, value, err);
	if (!strcmp(key, "cpus")) {
		ret = pairs_range("--node cpus", value, VM_MAX_CPUS, &cpus,
				  err);
		node->cpus = (uint32_t)cpus;
		return ret;
	}
	return error_set(err, -EINVAL,
			 "--node: '%s' is none of cpus, mem, distance, pages, "
			 "host and policy",
			 key);
}

static int take_node(void *args, const char *value, struct error *err)
{
	static const char *const lists[] = {"cpus", "distance", "host", NULL};
	struct vm_config *config = &((struct run_args *)args)->config;

	if (config->nr_nodes == VM_MAX_NODES)
		return error_set(err, -EINVAL,
				 "--node '%s': only %d nodes are possible",
				 value, VM_MAX_NODES);
	/* A node with nothing but an elastic device. */
	if (!strcmp(value, "empty")) {
		config->nr_nodes++;
		return 0;
	}
	return pairs_parse("--node", value, lists, take_node_key,
			   &config->nodes[config->nr_nodes++], err);
}

static int take_memory_key(void *opaque, const char *key, const char *value,
			   struct error *err)
{
	struct vm_config *config = opaque;
	int ret =
		pairs_placement("--boot", &config->placement, key, value, err);

	if (ret <= 0)
		return ret;
	return error_set(err, -EINVAL,
			 "--boot: '%s' is none of pages, host and policy", key);
}

static int take_boot(void *args, const char *value, struct error *err)
{
	static const char *const lists[] = {"host", NULL};

	return pairs_parse("--boot", value, lists, take_memory_key,
			   &((struct run_args *)args)->config, err);
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
	{"node", "KEY=VALUE,...", "a NUMA node of the guest; see below",
	 take_node},
	{"boot", "KEY=VALUE,...", "placement of boot memory; see below",
	 take_boot},
	{"guard", "POLICY",
	 "when the guest uses memory it has not got (report)", take_guard},
	{"sandbox", "HOW", "on, off, or log what on would not allow (on)",
	 take_sandbox},
	{"user", "USER[:GROUP]", "become this user before the guest starts",
	 take_user},
	{"chroot", "FOLDER",
	 "have this empty folder as root, not one of its own", take_chroot},
	{"cache", "FOLDER", "where unpacked kernels are kept; none: nowhere",
	 take_cache},
	{"no-reboot", NULL, "end where the guest would be reset",
	 take_no_reboot},
	{"prealloc", NULL, "commit elastic memory when it is plugged",
	 take_prealloc},
	{0},
};

static int run(const struct cli_verb *verb, int argc, char **argv)
{
	static const char *const needed[] = {"--name", "--kernel"};
	struct run_args *args = calloc(1, sizeof(*args));
	struct vm_config *config = &args->config;
	struct cli_arguments arguments;
	struct error err = {0};
	const bool *given;
	int status;

	if (!args) {
		fprintf(stderr, "bellows: no memory\n");
		return CLI_FAILED;
	}
	config->cmdline = DEFAULT_CMDLINE;
	config->nr_cpus = 1;
	args->sandbox = (struct sandbox_config){
		.mode = SANDBOX_ON,
		.max_file_bytes = MAX_FILE,
	};
	config->memory_bytes = DEFAULT_MEMORY;
	status = cli_parse(verb, argc, argv, args, &arguments);
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
	if (config->nr_nodes && !args->memory_given) {
		config->memory_bytes = 0;
		for (unsigned int i = 0; i < config->nr_nodes; i++)
			config->memory_bytes += config->nodes[i].memory_bytes;
	}
	if (args->sandbox.mode == SANDBOX_OFF &&
	    (args->sandbox.change_user || args->sandbox.root)) {
		fprintf(stderr, "bellows: --user and --chroot need --sandbox "
				"on\n");
		status = CLI_REFUSED;
		goto out;
	}
	status = (int)api_run_vm(config, &args->sandbox, &err);
	if (status)
		fprintf(stderr, "bellows: %s\n", err.text);
out:
	free(args);
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
		 "  node=N      the guest's NUMA node that it belongs to\n"
		 "and pages, host and policy, as --boot.\n\n"
		 "--node, once for each NUMA node of the guest, in order; "
		 "`--node empty` makes one\nthat has elastic memory alone:\n"
		 "  cpus=LIST   its processors, such as 0-3,8\n"
		 "  mem=SIZE    its boot memory (--memory is their sum)\n"
		 "  distance=N:D,...  to other nodes (20)\n"
		 "and pages, host and policy, as --boot.\n\n"
		 "--boot places boot memory on the host, for a VM without "
		 "--node:\n"
		 "  pages=WHICH 4K, thp, 2M or 1G; any\n"
		 "  host=LIST   nodes of the host\n"
		 "  policy=HOW  bind (with host), preferred or interleave\n\n"
		 "--guard says what becomes of an access to memory that is not "
		 "plugged:\n"
		 "  off         it is not caught\n"
		 "  report      a read sees zeros, a write is dropped\n"
		 "  pause       the same, and the VM is paused\n"
		 "  kill        the VM ends\n\n"
		 "On a terminal, Ctrl-A x ends the VM, and Ctrl-A Ctrl-A types "
		 "Ctrl-A.\n"
		 "SIGTERM, SIGINT and SIGHUP end it at once.\n\n"
		 "Exit status: 0 the guest powered off or was stopped, 1 the "
		 "host or KVM failed,\n2 the VM could not be made, 4 the guard "
		 "ended it.\n",
	.options = options,
	.run = run,
};
