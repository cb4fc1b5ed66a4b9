// SPDX-License-Identifier: BSD-3-Clause
/* From what the driver did to why it does no more. */
#include <string.h>

#include "cli.h"
#include "diagnose.h"

/* A driver that works asks more often than this; Linux's tries again after 50
 * seconds at first, and after up to 5 minutes later. */
#define QUIET_MS 1500

static uint64_t request_count(const json_t *device, const char *key)
{
	return cli_number(json_object_get(device, "requests"), key);
}

static bool is_quiet(const json_t *device, const char *key)
{
	const json_t *ago = json_object_get(device, key);

	return !json_is_integer(ago) ||
	       json_integer_value(ago) > (json_int_t)QUIET_MS;
}

static const char *driver_reason(const char *driver)
{
	if (!strcmp(driver, "absent"))
		return "no driver in the guest has taken the device; load "
		       "virtio_mem there";
	if (!strcmp(driver, "starting"))
		return "the guest's driver is still starting";
	if (!strcmp(driver, "failed"))
		return "the guest's driver failed, or broke the device's "
		       "queue; the guest's log may say why";
	return NULL;
}

static const char *grow_reason(const json_t *before, const json_t *now)
{
	if (request_count(now, "answered_busy") >
	    request_count(before, "answered_busy"))
		return "the host has no more memory to commit (--prealloc)";
	if (is_quiet(now, "request_ms_ago"))
		return "the guest's driver has stopped asking; the guest "
		       "probably does not bring added memory online (see "
		       "/sys/devices/system/memory/auto_online_blocks there)";
	return "the guest is still adding memory";
}

static const char *shrink_reason(const json_t *before, const json_t *now)
{
	if (!is_quiet(now, "changed_ms_ago"))
		return "the guest is still giving memory back";
	return "the guest cannot free more: the rest is in use, or holds "
	       "what cannot be moved; it will try again by itself";
}

const char *diagnose(const json_t *before, const json_t *now)
{
	const char *reason = driver_reason(cli_string(now, "driver"));

	if (reason)
		return reason;
	if (cli_number(now, "plugged_bytes") <
	    cli_number(now, "requested_bytes"))
		return grow_reason(before, now);
	return shrink_reason(before, now);
}
