/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the verbs of the `bellows` command share. One table per verb drives
 * both parsing and help.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "host/error.h"

/* Exit statuses, the same for all verbs. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	 /* the host, KVM or the connection failed */
	CLI_REFUSED = 2, /* the request was wrong */
	CLI_LATE = 3,	 /* not reached in time */
	CLI_EXCESS = 4,	 /* the guest has more than it was given */
};

#define CLI_MAX_ARGUMENTS 64

/* One option of a verb. */
struct cli_option {
	const char *name;  /* without the dashes */
	const char *value; /* what it is called in help; NULL: none is taken */
	const char *help;
	/* Take the value ("" if none is taken). -EINVAL with a sentence. */
	int (*take)(void *args, const char *value, struct error *err);
};

/* One verb. */
struct cli_verb {
	const char *name;
	const char *summary;
	const char *synopsis; /* what follows the verb in the usage line */
	const char *notes;    /* after the options in the help */
	const struct cli_option *options; /* ends with a NULL name */
	unsigned int min_arguments, max_arguments;
	const char *argument; /* what is missing when too few are given */
	/* Run it; the result is an exit status. args: of the options. */
	int (*run)(const struct cli_verb *verb, int argc, char **argv);
};

extern const struct cli_verb cli_run, cli_resize, cli_show, cli_ls, cli_audit,
	cli_guard, cli_stop, cli_reboot, cli_pause, cli_suspend, cli_resume;

/* The arguments of a verb that are not options. */
struct cli_arguments {
	unsigned int nr;
	const char *at[CLI_MAX_ARGUMENTS];
};

/*
 * Parse argv of a verb, whose name is argv[0]. Options and arguments may come
 * in any order; `--` ends options. Returns -1 if the verb is to go on; else
 * the exit status (help was printed, or a refusal).
 */
int cli_parse(const struct cli_verb *verb, int argc, char **argv, void *args,
	      struct cli_arguments *arguments);

/* Print `bellows: SENTENCE` to stderr, and give the exit status for ret. */
int cli_fail(int ret, const struct error *err);

/* Read a wait in whole or decimal seconds, for an option's take. */
int cli_take_seconds(const char *option, const char *value, double *seconds,
		     struct error *err);

double cli_now(void);
void cli_sleep(double seconds);

/* A number of a JSON object; 0 if there is none. */
uint64_t cli_number(const json_t *object, const char *key);
const char *cli_string(const json_t *object, const char *key);

/* Print how long a reset took, and its parts, as one line. */
void cli_print_reset(const json_t *times);

/* A size for people: `512M`, `1.5G`. */
struct cli_size {
	char text[24];
};
struct cli_size cli_size(uint64_t bytes);

#endif
