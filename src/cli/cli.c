// SPDX-License-Identifier: BSD-3-Clause
/* Options, help, errors, and small things that verbs share. */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define MAX_OPTIONS 32
#define OPTION_BASE 256 /* above every character */
#define HELP_COLUMN 26

static void print_help(const struct cli_verb *verb)
{
	printf("usage: bellows %s %s\n\n%s.\n", verb->name, verb->synopsis,
	       verb->summary);
	printf("\noptions:\n");
	for (const struct cli_option *o = verb->options; o->name; o++) {
		int len = printf("  --%s%s%s", o->name, o->value ? " " : "",
				 o->value ? o->value : "");

		if (len > HELP_COLUMN - 2) {
			printf("\n");
			len = 0;
		}
		printf("%*s%s\n", HELP_COLUMN - len, "", o->help);
	}
	printf("  --help%*sthis text\n", HELP_COLUMN - 8, "");
	if (verb->notes)
		printf("\n%s", verb->notes);
}

static int refuse(const struct cli_verb *verb, const char *what,
		  const char *value)
{
	fprintf(stderr, "bellows: %s '%s'; see: bellows %s --help\n", what,
		value, verb->name);
	return CLI_REFUSED;
}

static unsigned int fill_options(const struct cli_verb *verb,
				 struct option *longs)
{
	unsigned int nr = 0;

	for (; verb->options[nr].name; nr++) {
		assert(nr < MAX_OPTIONS);
		longs[nr] = (struct option){
			.name = verb->options[nr].name,
			.has_arg = verb->options[nr].value ? required_argument
							   : no_argument,
			.val = OPTION_BASE + (int)nr,
		};
	}
	longs[nr] = (struct option){.name = "help", .val = 'h'};
	return nr;
}

static int take_arguments(const struct cli_verb *verb, int argc, char **argv,
			  struct cli_arguments *arguments)
{
	unsigned int nr = (unsigned int)(argc - optind);

	if (nr > verb->max_arguments)
		return refuse(verb, "unexpected argument",
			      argv[optind + (int)verb->max_arguments]);
	if (nr < verb->min_arguments) {
		fprintf(stderr, "bellows: %s needs %s; usage: bellows %s %s\n",
			verb->name, verb->argument, verb->name, verb->synopsis);
		return CLI_REFUSED;
	}
	arguments->nr = nr;
	for (unsigned int i = 0; i < nr; i++)
		arguments->at[i] = argv[optind + (int)i];
	return -1;
}

/* Quote what the user wrote: of a short option getopt tells the letter, which
 * began a word or stands inside it. */
static int refuse_option(const struct cli_verb *verb, char **argv)
{
	const char *word = argv[optind - 1];

	for (int i = 1; optopt && optopt < OPTION_BASE && i <= optind; i++) {
		if (argv[i] && argv[i][0] == '-' && argv[i][1] != '-' &&
		    strchr(argv[i], optopt))
			word = argv[i];
	}
	return refuse(verb, "unknown option", word);
}

int cli_parse(const struct cli_verb *verb, int argc, char **argv, void *args,
	      struct cli_arguments *arguments)
{
	struct option longs[MAX_OPTIONS + 2] = {0};
	struct error err = {0};
	int c;

	fill_options(verb, longs);
	opterr = 0;
	for (;;) {
		const struct cli_option *option;

		c = getopt_long(argc, argv, ":h", longs, NULL);
		if (c < 0)
			break;
		if (c == 'h') {
			print_help(verb);
			return CLI_OK;
		}
		if (c == ':')
			return refuse(verb, "no value for option",
				      argv[optind - 1]);
		if (c == '?')
			return refuse_option(verb, argv);
		option = &verb->options[c - OPTION_BASE];
		if (option->take(args, optarg ? optarg : "", &err))
			return cli_fail(-EINVAL, &err);
	}
	return take_arguments(verb, argc, argv, arguments);
}

int cli_fail(int ret, const struct error *err)
{
	fprintf(stderr, "bellows: %s\n", err->text);
	switch (-ret) {
	case EINVAL:
	case ERANGE:
	case ENOENT:
	case EEXIST:
	case ENAMETOOLONG:
		return CLI_REFUSED;
	default:
		return CLI_FAILED;
	}
}

int cli_take_seconds(const char *option, const char *value, double *seconds,
		     struct error *err)
{
	char *end;

	*seconds = strtod(value, &end);
	if (end == value || *end || !isfinite(*seconds) || *seconds < 0 ||
	    *seconds > 1e9)
		return error_set(err, -EINVAL,
				 "--%s: '%s' is not a number of seconds, such "
				 "as 10 or 0.5",
				 option, value);
	return 0;
}

double cli_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void cli_sleep(double seconds)
{
	const struct timespec ts = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};

	nanosleep(&ts, NULL);
}

uint64_t cli_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

const char *cli_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

struct cli_size cli_size(uint64_t bytes)
{
	static const char units[] = "BKMGTP";
	double value = (double)bytes;
	struct cli_size size;
	size_t unit = 0;

	while (value >= 1024 && unit < sizeof(units) - 2) {
		value /= 1024;
		unit++;
	}
	if (value == floor(value))
		snprintf(size.text, sizeof(size.text), "%.0f%c", value,
			 units[unit]);
	else
		snprintf(size.text, sizeof(size.text), "%.*f%c",
			 value < 10 ? 2 : 1, value, units[unit]);
	return size;
}
