// SPDX-License-Identifier: BSD-3-Clause
/* Reading and writing sizes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

static const char units[] = "KMGT";

static int refuse(const char *what, const char *text, struct error *err)
{
	return error_set(err, -EINVAL,
			 "%s: '%s' is not a size; write a whole number with "
			 "K, M, G or T, such as 512M",
			 what, text);
}

int size_parse(const char *what, const char *text, uint64_t *bytes,
	       struct error *err)
{
	const char *at = text, *unit;
	uint64_t value = 0;
	unsigned int shift = 0;

	for (; *at >= '0' && *at <= '9'; at++) {
		if (value > UINT64_MAX / 20)
			goto too_large;
		value = value * 10 + (uint64_t)(*at - '0');
	}
	if (at == text)
		return refuse(what, text, err);
	if (*at) {
		unit = strchr(units, *at & ~0x20);
		if (!unit || !*unit || at[1])
			return refuse(what, text, err);
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (value > (uint64_t)INT64_MAX >> shift)
		goto too_large;
	*bytes = value << shift;
	return 0;
too_large:
	return error_set(err, -ERANGE, "%s: '%s' is more than any machine has",
			 what, text);
}

struct size_text size_format(uint64_t bytes)
{
	struct size_text size;
	unsigned int unit = 0;

	while (unit < sizeof(units) - 1 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	if (unit)
		snprintf(size.text, sizeof(size.text), "%llu%c",
			 (unsigned long long)bytes, units[unit - 1]);
	else
		snprintf(size.text, sizeof(size.text), "%llu",
			 (unsigned long long)bytes);
	return size;
}
