// SPDX-License-Identifier: BSD-3-Clause
/* Metrics as text. Names and ids hold no character that needs quoting. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "metrics.h"

/* Numbers of a device, as they lie in its status. */
static const struct {
	const char *name, *type, *help;
	size_t offset;
} device_metrics[] = {
	{"plugged_bytes", "gauge", "Memory the guest has from the device.",
	 offsetof(struct vm_elastic_status, plugged_bytes)},
	{"requested_bytes", "gauge", "Memory it is asked to have.",
	 offsetof(struct vm_elastic_status, requested_bytes)},
	{"max_bytes", "gauge", "The most it can have.",
	 offsetof(struct vm_elastic_status, max_bytes)},
	{"resident_bytes", "gauge", "Memory the host holds for the device.",
	 offsetof(struct vm_elastic_status, resident_bytes)},
};

static void head(FILE *out, const char *name, const char *type,
		 const char *help)
{
	fprintf(out, "# HELP bellows_%s %s\n# TYPE bellows_%s %s\n", name, help,
		name, type);
}

static void put_vm(FILE *out, const struct vm_status *status)
{
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{"boot_bytes", "gauge", "Boot memory.", status->boot_bytes},
		{"resident_bytes", "gauge",
		 "Memory the host holds for the guest.",
		 status->resident_bytes},
		{"reboots_total", "counter", "Resets since the VM started.",
		 status->nr_reboots},
		{"guard_enabled", "gauge",
		 "1 if accesses to unplugged memory are caught.",
		 status->guard.policy != VM_GUARD_OFF},
		{"guard_violations_total", "counter",
		 "Accesses to unplugged memory that were caught.",
		 status->guard.nr_violations},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		head(out, rows[i].name, rows[i].type, rows[i].help);
		fprintf(out, "bellows_%s{vm=\"%s\"} %llu\n", rows[i].name,
			status->name, (unsigned long long)rows[i].value);
	}
}

char *metrics_text(const struct vm_status *status)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	put_vm(out, status);
	for (size_t i = 0;
	     i < sizeof(device_metrics) / sizeof(device_metrics[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "elastic_%s",
			 device_metrics[i].name);
		head(out, name, device_metrics[i].type, device_metrics[i].help);
		for (unsigned int j = 0; j < status->nr_elastic; j++) {
			const struct vm_elastic_status *e = &status->elastic[j];
			const void *at =
				(const char *)e + device_metrics[i].offset;

			fprintf(out, "bellows_%s{vm=\"%s\",id=\"%s\"} %llu\n",
				name, status->name, e->id,
				(unsigned long long)*(const uint64_t *)at);
		}
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
