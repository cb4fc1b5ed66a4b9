// SPDX-License-Identifier: BSD-3-Clause
/* Pairs, lists and placements on the command line. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pairs.h"

static bool is_list(const char *const *lists, const char *key)
{
	for (; *lists; lists++) {
		if (!strcmp(*lists, key))
			return true;
	}
	return false;
}

static int refuse(const char *option, const char *item, const char *text,
		  struct error *err)
{
	return error_set(err, -EINVAL, "%s: '%s' in '%s' is not KEY=VALUE",
			 option, item, text);
}

int pairs_parse(const char *option, const char *text, const char *const *lists,
		pairs_take_fn take, void *opaque, struct error *err)
{
	char *copy = strdup(text), *rest = copy, *item;
	const char *key = NULL;
	int ret = 0;

	if (!copy)
		return error_set(err, -ENOMEM, "no memory");
	while (!ret && (item = strsep(&rest, ","))) {
		char *equals = strchr(item, '=');
		const char *value = item;

		if (equals == item || (equals && !equals[1]) || !*item) {
			ret = refuse(option, item, text, err);
		} else if (equals) {
			*equals = '\0';
			key = item;
			value = equals + 1;
		} else if (!key || !is_list(lists, key)) {
			ret = refuse(option, item, text, err);
		}
		if (!ret)
			ret = take(opaque, key, value, err);
	}
	free(copy);
	return ret;
}

/* Digits and nothing else; false if there are none, or too many. */
static bool digits(const char **at, unsigned long *number)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*number = strtoul(*at, &end, 10);
	*at = end;
	return errno == 0;
}

bool pairs_two(const char *text, char between, unsigned long *first,
	       unsigned long *second)
{
	return digits(&text, first) && *text++ == between &&
	       digits(&text, second) && !*text;
}

int pairs_number(const char *what, const char *text, unsigned long max,
		 unsigned long *number, struct error *err)
{
	const char *at = text;

	if (!digits(&at, number) || *at || *number > max)
		return error_set(err, -EINVAL,
				 "%s: '%s' is not a whole number up to %lu",
				 what, text, max);
	return 0;
}

int pairs_range(const char *what, const char *text, unsigned int max,
		uint64_t *bits, struct error *err)
{
	unsigned long first, last;

	if (!strchr(text, '-')) {
		if (pairs_number(what, text, max - 1, &first, err))
			return -EINVAL;
		last = first;
	} else if (!pairs_two(text, '-', &first, &last) || last < first ||
		   last >= max) {
		return error_set(err, -EINVAL,
				 "%s: '%s' is not a number or a range up to "
				 "%u, such as 0-3",
				 what, text, max - 1);
	}
	for (; first <= last; first++)
		*bits |= 1ULL << first;
	return 0;
}

/* One word of a few. Its index, or -EINVAL. */
static int word(const char *what, const char *text, const char *const *words,
		struct error *err)
{
	char all[128] = "";

	for (int i = 0; words[i]; i++) {
		if (!strcmp(words[i], text))
			return i;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
			 i ? ", " : "", words[i]);
	}
	return error_set(err, -EINVAL, "%s: '%s' is none of %s", what, text,
			 all);
}

int pairs_placement(const char *option, struct hostmem_placement *placement,
		    const char *key, const char *value, struct error *err)
{
	static const char *const pages[] = {"any", "4K", "thp",
					    "2M",  "1G", NULL};
	static const char *const policies[] = {"default", "bind", "preferred",
					       "interleave", NULL};
	char what[64];
	int ret;

	snprintf(what, sizeof(what), "%s %s", option, key);
	if (!strcmp(key, "pages")) {
		ret = word(what, value, pages, err);
		placement->pages = (enum hostmem_pages)(ret < 0 ? 0 : ret);
	} else if (!strcmp(key, "policy")) {
		ret = word(what, value, policies, err);
		placement->policy = (enum hostmem_policy)(ret < 0 ? 0 : ret);
	} else if (!strcmp(key, "host")) {
		ret = pairs_range(what, value, HOSTMEM_MAX_NODES,
				  &placement->host_nodes, err);
		if (placement->policy == HOSTMEM_POLICY_DEFAULT)
			placement->policy = HOSTMEM_POLICY_BIND;
	} else {
		return 1;
	}
	return ret < 0 ? ret : 0;
}
