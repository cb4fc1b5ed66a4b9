// SPDX-License-Identifier: BSD-3-Clause
/* From JSON to what a person looks at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "host/hostmem.h"
#include "nodes.h"

struct totals {
	uint64_t boot, plugged, requested, max, resident;
	uint64_t host[HOSTMEM_MAX_NODES];
};

static int node_of(const json_t *object)
{
	const json_t *node = json_object_get(object, "node");

	return json_is_integer(node) ? (int)json_integer_value(node) : -1;
}

static struct totals count(const json_t *vm, const json_t *residence,
			   const json_t *node)
{
	struct totals t = {
		.boot = cli_number(node, "boot_bytes"),
		.resident = cli_number(node, "boot_resident_bytes"),
	};
	int number = node_of(node);
	const json_t *item, *bytes;
	const char *key;
	size_t i;

	json_array_foreach(json_object_get(vm, "elastic"), i, item)
	{
		if (node_of(item) != number)
			continue;
		t.plugged += cli_number(item, "plugged_bytes");
		t.requested += cli_number(item, "requested_bytes");
		t.max += cli_number(item, "max_bytes");
		t.resident += cli_number(item, "resident_bytes");
	}
	json_array_foreach(json_object_get(residence, "memory"), i, item)
	{
		if (node_of(item) != number)
			continue;
		json_object_foreach(json_object_get(item, "host_node_bytes"),
				    key, bytes)
		{
			unsigned long host = strtoul(key, NULL, 10);

			if (host < HOSTMEM_MAX_NODES)
				t.host[host] +=
					(uint64_t)json_integer_value(bytes);
		}
	}
	return t;
}

static void print_host(const struct totals *t)
{
	const char *comma = "";

	for (unsigned int i = 0; i < HOSTMEM_MAX_NODES; i++) {
		if (!t->host[i])
			continue;
		printf("%s%u: %s", comma, i, cli_size(t->host[i]).text);
		comma = ", ";
	}
	printf("%s\n", *comma ? "" : "-");
}

void nodes_print_table(const json_t *vm, const json_t *residence)
{
	const json_t *node;
	size_t i;

	printf("%-5s %9s %9s %9s %9s %9s  %s\n", "NODE", "BOOT", "PLUGGED",
	       "REQUESTED", "MAXIMUM", "RESIDENT", "ON HOST NODE");
	json_array_foreach(json_object_get(vm, "nodes"), i, node)
	{
		struct totals t = count(vm, residence, node);

		printf("%-5d %9s %9s %9s %9s %9s  ", node_of(node),
		       cli_size(t.boot).text, cli_size(t.plugged).text,
		       cli_size(t.requested).text, cli_size(t.max).text,
		       cli_size(t.resident).text);
		print_host(&t);
	}
}

/* 0-3,8 */
static void print_cpus(const json_t *cpus, char *text, size_t size)
{
	size_t nr = json_array_size(cpus), len = 0;

	snprintf(text, size, "%s", nr ? "" : "none");
	for (size_t i = 0; i < nr && len < size;) {
		json_int_t first = json_integer_value(json_array_get(cpus, i));
		json_int_t last = first;

		for (i++;
		     i < nr &&
		     json_integer_value(json_array_get(cpus, i)) == last + 1;
		     i++)
			last++;
		len += (size_t)snprintf(text + len, size - len, "%s%lld",
					len ? "," : "", (long long)first);
		if (last > first && len < size)
			len += (size_t)snprintf(text + len, size - len, "-%lld",
						(long long)last);
	}
}

static void draw_bar(const struct totals *t)
{
	uint64_t whole = t->boot + t->max;
	unsigned int boot = 0, plugged = 0;

	if (whole) {
		boot = (unsigned int)(t->boot * 24 / whole);
		plugged = (unsigned int)((t->boot + t->plugged) * 24 / whole);
	}
	for (unsigned int i = 0; i < 24; i++)
		printf("%s", i < boot ? "█" : i < plugged ? "▓" : "░");
}

void nodes_draw(const json_t *vm, const json_t *residence)
{
	const json_t *node;
	size_t i;

	printf("guest                                host\n");
	json_array_foreach(json_object_get(vm, "nodes"), i, node)
	{
		struct totals t = count(vm, residence, node);
		const char *corner = "──";
		char cpus[40];

		print_cpus(json_object_get(node, "cpus"), cpus, sizeof(cpus));
		printf("┌ node %-2d  cpus %-13.13s ┐\n", node_of(node), cpus);
		printf("│ ");
		draw_bar(&t);
		printf("   │");
		for (unsigned int host = 0; host < HOSTMEM_MAX_NODES; host++) {
			if (!t.host[host])
				continue;
			printf("%s %s ──▶ node %u", corner,
			       cli_size(t.host[host]).text, host);
			corner = "  and";
		}
		printf("\n└ boot %s + %s of %s ┘\n", cli_size(t.boot).text,
		       cli_size(t.plugged).text, cli_size(t.max).text);
	}
	printf("█ boot  ▓ plugged  ░ could be plugged; the arrows: where the "
	       "host holds it\n");
}
