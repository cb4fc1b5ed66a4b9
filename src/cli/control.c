// SPDX-License-Identifier: BSD-3-Clause
/* `bellows stop`, `reboot`, `pause` and `resume`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/client.h"
#include "api/json.h"
#include "api/runtime.h"
#include "cli.h"

#define DEFAULT_WAIT 30.0
#define POLL	     0.02

struct control {
	double wait;
	bool force;
};

static int take_wait(void *args, const char *value, struct error *err)
{
	return cli_take_seconds("wait", value, &((struct control *)args)->wait,
				err);
}

static int take_force(void *args, const char *value, struct error *err)
{
	((struct control *)args)->force = true;
	return 0;
}

static bool is_listened_at(const char *name, struct error *err)
{
	int fd = runtime_connect(name, err);

	if (fd >= 0)
		close(fd);
	return fd != -ENOENT;
}

/* 0 once nobody answers to that name any more, or another process does: the
 * name is free for a new VM at once. -ETIMEDOUT. */
static int wait_for_end(const char *name, uint64_t pid, double seconds,
			struct error *err)
{
	double began = cli_now();

	do {
		json_t *vm = NULL;
		int ret = api_get_vm(name, &vm, err);
		bool other = !ret && cli_number(vm, "pid") != pid;

		json_decref(vm);
		if (other)
			return 0;
		if (ret && ret != -ENOENT)
			return ret;
		/* One that no longer answers may still be on its way out. */
		if (ret && !is_listened_at(name, err))
			return 0;
		cli_sleep(POLL);
	} while (cli_now() - began < seconds);
	return -ETIMEDOUT;
}

static int run_stop(const struct cli_verb *verb, int argc, char **argv)
{
	struct control control = {.wait = DEFAULT_WAIT};
	struct api_call call = {.method = "POST", .path = API_PREFIX "/stop"};
	struct cli_arguments arguments;
	struct error err = {0};
	json_t *body, *vm = NULL;
	int ret, status = cli_parse(verb, argc, argv, &control, &arguments);

	if (status >= 0)
		return status;
	body = json_pack("{s:b}", "force", control.force);
	call.body = body;
	ret = api_call(arguments.at[0], &call, &vm, &err);
	json_decref(body);
	if (!ret && control.wait > 0)
		ret = wait_for_end(arguments.at[0], cli_number(vm, "pid"),
				   control.wait, &err);
	json_decref(vm);
	if (ret == -ETIMEDOUT) {
		fprintf(stderr,
			"bellows: VM '%s' has not powered off after %g s; the "
			"guest may ignore the power button. --force ends it "
			"at once\n",
			arguments.at[0], control.wait);
		return CLI_LATE;
	}
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

static const struct cli_option stop_options[] = {
	{"wait", "SECONDS", "how long to wait for its end (30)", take_wait},
	{"force", NULL, "end it at once, without asking the guest", take_force},
	{0},
};

const struct cli_verb cli_stop = {
	.name = "stop",
	.summary = "Press a VM's power button, and wait until it has ended",
	.synopsis = "NAME [--wait SECONDS] [--force]",
	.notes = "With --wait 0 it does not wait.\n"
		 "Exit status: 0 ended, 2 no such VM, 3 not ended in time.\n",
	.options = stop_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_stop,
};

/* 0 once it was reset and its memory is back, having said how long that took.
 * -ETIMEDOUT. */
static int wait_for_reset(const char *name, uint64_t before, double seconds,
			  struct error *err)
{
	double began = cli_now();

	do {
		json_t *vm = NULL;
		const json_t *times;
		int ret = api_get_vm(name, &vm, err);
		bool over;

		times = json_object_get(vm, "last_reset");
		over = !ret && cli_number(vm, "reboots") > before &&
		       json_is_integer(json_object_get(times, "back_us"));
		if (over)
			cli_print_reset(times);
		json_decref(vm);
		if (ret || over)
			return ret;
		cli_sleep(POLL);
	} while (cli_now() - began < seconds);
	return -ETIMEDOUT;
}

static int run_reboot(const struct cli_verb *verb, int argc, char **argv)
{
	const struct api_call call = {.method = "POST",
				      .path = API_PREFIX "/reboot"};
	struct control control = {0};
	struct cli_arguments arguments;
	struct error err = {0};
	json_t *vm = NULL;
	int ret, status = cli_parse(verb, argc, argv, &control, &arguments);

	if (status >= 0)
		return status;
	ret = api_call(arguments.at[0], &call, &vm, &err);
	if (!ret && control.wait > 0)
		ret = wait_for_reset(arguments.at[0], cli_number(vm, "reboots"),
				     control.wait, &err);
	json_decref(vm);
	if (ret == -ETIMEDOUT) {
		fprintf(stderr,
			"bellows: the reset of VM '%s' is not over after %g "
			"s\n",
			arguments.at[0], control.wait);
		return CLI_LATE;
	}
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

static const struct cli_option reboot_options[] = {
	{"wait", "SECONDS", "until the host has its memory back (0)",
	 take_wait},
	{0},
};

/* 0 once it is paused, or no longer is. */
static int wait_for_pause(const char *name, bool paused, struct error *err)
{
	double began = cli_now();

	do {
		json_t *vm = NULL;
		int ret = api_get_vm(name, &vm, err);
		bool is = !ret && !strcmp(cli_string(vm, "state"), "paused");

		json_decref(vm);
		if (ret || is == paused)
			return ret;
		cli_sleep(POLL);
	} while (cli_now() - began < DEFAULT_WAIT);
	return error_set(err, -ETIMEDOUT, "VM '%s' is not %s after %g s", name,
			 paused ? "paused" : "running", DEFAULT_WAIT);
}

static int set_paused(const struct cli_verb *verb, int argc, char **argv,
		      bool paused)
{
	const struct api_call call = {.method = "POST",
				      .path = paused ? API_PREFIX "/pause"
						     : API_PREFIX "/resume"};
	struct cli_arguments arguments;
	struct error err = {0};
	int ret, status = cli_parse(verb, argc, argv, NULL, &arguments);

	if (status >= 0)
		return status;
	ret = api_call(arguments.at[0], &call, NULL, &err);
	if (!ret)
		ret = wait_for_pause(arguments.at[0], paused, &err);
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

static int run_pause(const struct cli_verb *verb, int argc, char **argv)
{
	return set_paused(verb, argc, argv, true);
}

static int run_resume(const struct cli_verb *verb, int argc, char **argv)
{
	return set_paused(verb, argc, argv, false);
}

static const struct cli_option no_options[] = {{0}};

const struct cli_verb cli_reboot = {
	.name = "reboot",
	.summary = "Reset a VM: it boots again, and keeps its requested sizes",
	.synopsis = "NAME [--wait SECONDS]",
	.notes = "The guest is not asked. All elastic memory goes back to the "
		 "host; the guest gets\nit again once its driver asks. With "
		 "--wait it says how long that took.\n"
		 "Exit status: 0 done, 2 no such VM, 3 not done in time.\n",
	.options = reboot_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_reboot,
};

const struct cli_verb cli_pause = {
	.name = "pause",
	.summary = "Stop a VM's processors",
	.synopsis = "NAME",
	.notes = "Its memory stays; a resize waits until it goes on.\n",
	.options = no_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_pause,
};

const struct cli_verb cli_resume = {
	.name = "resume",
	.summary = "Let a paused VM go on",
	.synopsis = "NAME",
	.options = no_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_resume,
};
