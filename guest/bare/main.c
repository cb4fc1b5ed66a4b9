// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bare guest: a host's script sends lines "SEQUENCE VERB ARGUMENTS" on the
 * serial port; each is answered by lines "@SEQUENCE ..." and at last "@SEQUENCE
 * END STATUS".
 */
#include "arch.h"
#include "bare.h"
#include "memdev.h"

#define LINE_MAX 256

static const char *boot_line;
static const char *sequence = "0";

void answer(void)
{
	print("@%s ", sequence);
}

void ask_host(const char *what, unsigned int device, uint64_t value)
{
	char reply[LINE_MAX];

	answer();
	print("ASK %s %u %lu\n", what, device, value);
	read_line(reply, sizeof(reply));
}

uint64_t boot_number(const char *key, uint64_t otherwise)
{
	const char *at = boot_line;

	while (*at) {
		size_t i = 0;

		while (key[i] && at[i] == key[i])
			i++;
		if (!key[i] && at[i] == '=')
			return number(at + i + 1);
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return otherwise;
}

void bare_panic(const struct arch_fault *fault)
{
	if (fault)
		print("\nKernel panic: exception %lu, error %lx, at %lx, "
		      "address %lx\n",
		      fault->vector, fault->error, fault->ip, fault->address);
	else
		print("\nKernel panic\n");
	arch_power_off();
}

static int ping(char *args)
{
	answer();
	print("pong\n");
	return 0;
}

static int power_off(char *args)
{
	arch_power_off();
}

static int reset(char *args)
{
	arch_reset();
}

static int suspend(char *args)
{
	static const char *const words[] = {"real", "flat", "at", "at64"};
	const char *how = next_word(&args);
	uint64_t addr = number(next_word(&args));
	const char *type = next_word(&args);
	uint16_t status = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		if (!same(words[i], how))
			continue;
		if (arch_suspend(*type ? (unsigned int)number(type)
				       : arch_suspend_type,
				 (enum arch_wake)i, addr, &status)) {
			memdevs_find();
			answer();
			print("woke status=%x\n", status);
		}
		return 0;
	}
	return 22;
}

static int say_idle(char *args)
{
	arch_say_idle(number(next_word(&args)) != 0);
	return 0;
}

static const struct verb general_verbs[];

static const struct verb *const tables[] = {
	general_verbs, memory_verbs,  conformance_verbs,
	drive_verbs,   hostile_verbs,
};

static int help(char *args)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct verb *v = tables[i]; v->name; v++) {
			answer();
			print("%s %s\n", v->name, v->help);
		}
	}
	return 0;
}

static const struct verb general_verbs[] = {
	{"help", help, ""},
	{"ping", ping, ""},
	{"poweroff", power_off, ""},
	{"reset", reset, "reset the machine"},
	{"suspend", suspend, "real|flat|at|at64 [ADDRESS [TYPE]]"},
	{"idle", say_idle, "0|1: say that we are suspended to idle"},
	{NULL, NULL, NULL},
};

static int run(char *line)
{
	char *name = next_word(&line);

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		for (const struct verb *v = tables[i]; v->name; v++) {
			if (same(v->name, name))
				return v->run(line);
		}
	}
	answer();
	print("no verb %s\n", name);
	return 22;
}

void bare_main(const char *cmdline)
{
	char line[LINE_MAX];

	boot_line = cmdline;
	print("BELLOWS-INIT bare\n");
	memdevs_find();
	print("BELLOWS-READY\n");
	for (;;) {
		char *rest = line;
		int status;

		read_line(line, sizeof(line));
		sequence = next_word(&rest);
		if (!*sequence)
			continue;
		status = run(rest);
		answer();
		print("END %d\n", status);
	}
}
