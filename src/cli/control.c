// SPDX-License-Identifier: BSD-3-Clause
/* `bellows stop`, `reboot`, `pause`, `suspend`, `resume` and `guard`. */
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
#define ASK_AGAIN    2.0

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

static bool is_suspended(const json_t *vm)
{
	return !strcmp(cli_string(vm, "state"), "suspended");
}

/*
 * 0 once nobody answers to that name any more, or another process does: the
 * name is free for a new VM at once. -ETIMEDOUT. before is what the VM was when
 * call was made: a guest that sleeps takes the button for what wakes it, until
 * it has woken, so it is asked again.
 */
static int wait_for_end(const char *name, const struct api_call *call,
			const json_t *before, double seconds, struct error *err)
{
	double began = cli_now(), asked = began;
	bool slept = is_suspended(before);

	do {
		json_t *vm = NULL;
		int ret = api_get_vm(name, &vm, err);
		bool other = !ret &&
			     cli_number(vm, "pid") != cli_number(before, "pid");

		slept |= is_suspended(vm);
		json_decref(vm);
		if (other)
			return 0;
		if (ret && ret != -ENOENT)
			return ret;
		/* One that no longer answers may still be on its way out. */
		if (ret && !is_listened_at(name, err))
			return 0;
		if (!ret && slept && cli_now() - asked > ASK_AGAIN) {
			api_call(name, call, NULL, err);
			asked = cli_now();
		}
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
	json_t *body, *before = NULL;
	int ret, status = cli_parse(verb, argc, argv, &control, &arguments);

	if (status >= 0)
		return status;
	body = json_pack("{s:b}", "force", control.force);
	call.body = body;
	ret = api_get_vm(arguments.at[0], &before, &err);
	if (!ret)
		ret = api_call(arguments.at[0], &call, NULL, &err);
	if (!ret && control.wait > 0)
		ret = wait_for_end(arguments.at[0], &call, before, control.wait,
				   &err);
	json_decref(body);
	json_decref(before);
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

/* 0 once its state is that one, or no longer is. -ETIMEDOUT. *vm is what it was
 * last. */
static int wait_for_state(const char *name, const char *state, bool wanted,
			  double seconds, json_t **vm, struct error *err)
{
	double began = cli_now();

	for (;;) {
		int ret = api_get_vm(name, vm, err);

		if (ret || !strcmp(cli_string(*vm, "state"), state) == wanted)
			return ret;
		if (cli_now() - began >= seconds)
			return error_set(err, -ETIMEDOUT,
					 "VM '%s' is %s after %g s", name,
					 cli_string(*vm, "state"), seconds);
		json_decref(*vm);
		*vm = NULL;
		cli_sleep(POLL);
	}
}

static int run_pause(const struct cli_verb *verb, int argc, char **argv)
{
	const struct api_call call = {.method = "POST",
				      .path = API_PREFIX "/pause"};
	struct cli_arguments arguments;
	struct error err = {0};
	json_t *vm = NULL;
	int ret, status = cli_parse(verb, argc, argv, NULL, &arguments);

	if (status >= 0)
		return status;
	ret = api_call(arguments.at[0], &call, NULL, &err);
	if (!ret)
		ret = wait_for_state(arguments.at[0], "paused", true,
				     DEFAULT_WAIT, &vm, &err);
	json_decref(vm);
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

static int run_resume(const struct cli_verb *verb, int argc, char **argv)
{
	const struct api_call call = {.method = "POST",
				      .path = API_PREFIX "/resume"};
	struct cli_arguments arguments;
	struct error err = {0};
	json_t *before = NULL, *vm = NULL;
	const char *state;
	int ret, status = cli_parse(verb, argc, argv, NULL, &arguments);

	if (status >= 0)
		return status;
	ret = api_get_vm(arguments.at[0], &before, &err);
	if (!ret)
		ret = api_call(arguments.at[0], &call, NULL, &err);
	state = cli_string(before, "state");
	if (!ret && (!strcmp(state, "paused") || is_suspended(before)))
		ret = wait_for_state(arguments.at[0], state, false,
				     DEFAULT_WAIT, &vm, &err);
	json_decref(before);
	json_decref(vm);
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

static int run_guard(const struct cli_verb *verb, int argc, char **argv)
{
	struct api_call call = {.method = "PUT", .path = API_PREFIX "/guard"};
	struct cli_arguments arguments;
	struct error err = {0};
	enum vm_guard policy;
	json_t *body;
	int ret, status = cli_parse(verb, argc, argv, NULL, &arguments);

	if (status >= 0)
		return status;
	ret = api_guard_policy("POLICY", arguments.at[1], &policy, &err);
	if (ret)
		return cli_fail(ret, &err);
	body = json_pack("{s:s}", "policy", arguments.at[1]);
	call.body = body;
	ret = api_call(arguments.at[0], &call, NULL, &err);
	json_decref(body);
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

/* Why a guest that was asked to suspend has not, as far as can be known. */
static void explain_awake(const char *name, const json_t *vm, double seconds)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(vm, "elastic"), i, device)
	{
		if (strcmp(cli_string(device, "driver"), "ready") ||
		    json_is_true(json_object_get(device, "persistent_suspend")))
			continue;
		fprintf(stderr,
			"bellows: VM '%s' has not suspended after %g s: the "
			"guest's driver of elastic device '%s' did not accept "
			"PERSISTENT_SUSPEND; Linux's before 6.10 then refuses, "
			"even with nothing plugged\n",
			name, seconds, cli_string(device, "id"));
		return;
	}
	fprintf(stderr,
		"bellows: VM '%s' has not suspended after %g s; the guest may "
		"ignore the sleep button, or one of its drivers refused, as "
		"its log would say\n",
		name, seconds);
}

static int run_suspend(const struct cli_verb *verb, int argc, char **argv)
{
	const struct api_call call = {.method = "POST",
				      .path = API_PREFIX "/suspend"};
	struct control control = {.wait = DEFAULT_WAIT};
	struct cli_arguments arguments;
	struct error err = {0};
	json_t *vm = NULL;
	int ret, status = cli_parse(verb, argc, argv, &control, &arguments);

	if (status >= 0)
		return status;
	ret = api_call(arguments.at[0], &call, NULL, &err);
	if (!ret && control.wait > 0)
		ret = wait_for_state(arguments.at[0], "suspended", true,
				     control.wait, &vm, &err);
	if (ret == -ETIMEDOUT)
		explain_awake(arguments.at[0], vm, control.wait);
	json_decref(vm);
	if (ret == -ETIMEDOUT)
		return CLI_LATE;
	return ret ? cli_fail(ret, &err) : CLI_OK;
}

static const struct cli_option suspend_options[] = {
	{"wait", "SECONDS", "how long to wait until it is (30)", take_wait},
	{0},
};

static const struct cli_option no_options[] = {{0}};

const struct cli_verb cli_guard = {
	.name = "guard",
	.summary = "Change what becomes of an access to memory not plugged",
	.synopsis = "NAME off|report|pause|kill",
	.notes = "As --guard of `bellows run`, from now on. From off to "
		 "another, what the guest took\nmeanwhile goes back to the "
		 "host. A VM that was started with --guard off has no\nguard.\n"
		 "Exit status: 0 done, 2 no such VM, or it has no guard.\n",
	.options = no_options,
	.min_arguments = 2,
	.max_arguments = 2,
	.argument = "a NAME and a policy",
	.run = run_guard,
};

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

const struct cli_verb cli_suspend = {
	.name = "suspend",
	.summary = "Press a VM's sleep button, and wait until it has suspended",
	.synopsis = "NAME [--wait SECONDS]",
	.notes = "Elastic memory stays plugged, with its content. The guest "
		 "chooses whether to\nsuspend to memory (S3) or to idle. With "
		 "--wait 0 it does not wait.\n"
		 "Exit status: 0 suspended, 2 no such VM, or it is known that "
		 "its guest refuses, 3\nnot suspended in time.\n",
	.options = suspend_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_suspend,
};

const struct cli_verb cli_resume = {
	.name = "resume",
	.summary = "Let a paused VM go on, or wake a suspended one",
	.synopsis = "NAME",
	.notes = "One that was paused while it was suspended stays "
		 "suspended.\n",
	.options = no_options,
	.min_arguments = 1,
	.max_arguments = 1,
	.argument = "a NAME",
	.run = run_resume,
};
