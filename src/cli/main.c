// SPDX-License-Identifier: BSD-3-Clause
/* The `bellows` command: finds the verb. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

#ifndef BELLOWS_VERSION
#define BELLOWS_VERSION "unknown"
#endif

static const struct cli_verb *const verbs[] = {
	&cli_run,     &cli_resize, &cli_show,	&cli_ls,
	&cli_guard,   &cli_audit,  &cli_reboot, &cli_pause,
	&cli_suspend, &cli_resume, &cli_stop,
};
#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void usage(void)
{
	printf("usage: bellows VERB ...\n\n"
	       "Virtual machines whose memory grows and shrinks while they "
	       "run.\n\n");
	for (size_t i = 0; i < NR_VERBS; i++)
		printf("  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
	printf("\n`bellows VERB --help` says more. Sizes are whole numbers "
	       "with K, M, G or T\n(powers of 1024).\n"
	       "Exit status: 0 done, 1 the host failed, 2 the request was "
	       "wrong, 3 not reached in\ntime.\n");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		fprintf(stderr, "bellows: no verb given; `bellows --help` "
				"lists them\n");
		return CLI_REFUSED;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h") ||
	    !strcmp(name, "help")) {
		usage();
		return CLI_OK;
	}
	if (!strcmp(name, "--version")) {
		printf("bellows " BELLOWS_VERSION "\n");
		return CLI_OK;
	}
	for (size_t i = 0; i < NR_VERBS; i++) {
		if (!strcmp(verbs[i]->name, name))
			return verbs[i]->run(verbs[i], argc - 1, argv + 1);
	}
	fprintf(stderr, "bellows: no verb '%s'; `bellows --help` lists them\n",
		name);
	return CLI_REFUSED;
}
