// SPDX-License-Identifier: BSD-3-Clause
/* Why a resize was not reached: the reason for each thing the host can see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cli/diagnose.h"

static json_t *device(const char *driver, int plugged, int busy, int quiet_ms)
{
	return json_pack("{s:s, s:i, s:i, s:{s:i}, s:i, s:i}", "driver", driver,
			 "plugged_bytes", plugged, "requested_bytes", 100,
			 "requests", "answered_busy", busy, "request_ms_ago",
			 quiet_ms, "changed_ms_ago", quiet_ms);
}

static void reasons(void **state)
{
	static const struct {
		const char *driver;
		int plugged, busy, quiet_ms;
		const char *word;
	} cases[] = {
		{"absent", 0, 0, 0, "load virtio_mem"},
		{"starting", 0, 0, 0, "still starting"},
		{"failed", 0, 0, 0, "failed"},
		{"ready", 50, 1, 0, "--prealloc"},
		{"ready", 50, 0, 10, "still adding"},
		{"ready", 50, 0, 5000, "online"},
		{"ready", 150, 0, 10, "still giving"},
		{"ready", 150, 0, 5000, "cannot free more"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *before = device("ready", 0, 0, 0);
		json_t *now = device(cases[i].driver, cases[i].plugged,
				     cases[i].busy, cases[i].quiet_ms);
		const char *reason = diagnose(before, now);

		if (!strstr(reason, cases[i].word))
			fail_msg("no '%s' in '%s'", cases[i].word, reason);
		json_decref(before);
		json_decref(now);
	}
}

/* Never asked at all is quiet, too. */
static void never_asked(void **state)
{
	json_t *before = device("ready", 0, 0, 0);
	json_t *now = device("ready", 0, 0, 0);

	json_object_set_new(now, "request_ms_ago", json_null());
	assert_non_null(strstr(diagnose(before, now), "online"));
	json_decref(before);
	json_decref(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reasons),
		cmocka_unit_test(never_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
