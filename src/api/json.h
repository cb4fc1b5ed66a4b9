/* SPDX-License-Identifier: BSD-3-Clause */
/* What the API says and takes, in JSON. docs/openapi.json describes it. */
#ifndef API_JSON_H
#define API_JSON_H

#include <jansson.h>

#include "vmm/vmm.h"

#define API_PREFIX "/v1/vm"

/* The VM as `GET /v1/vm` shows it; the caller's reference. NULL: no memory. */
json_t *api_status_json(const struct vm_status *status);

/* Where memory is on the host, as `GET /v1/vm/residence` shows it. */
json_t *api_residence_json(const struct vm_residence *residence,
			   unsigned int nr);

/* An audit of nr devices, as `GET /v1/vm/audit` shows it. */
json_t *api_audit_json(const struct vm_audit *audit, unsigned int nr);

/* Events of the guard, as `GET /v1/vm/events` shows them. */
json_t *api_events_json(const struct vm_guard_event *events, unsigned int nr);

/* {"error": SENTENCE}; the caller's reference. NULL: no memory. */
json_t *api_error_json(const char *sentence);

/*
 * Read the body of a resize: {"elastic": [{"id": ID, "requested_bytes": N}]}.
 * Fills up to VM_MAX_ELASTIC targets. -EINVAL with a sentence.
 */
int api_parse_resize(const json_t *body, struct vm_resize_target *targets,
		     unsigned int *nr_targets, struct error *err);

/* The policy with that name, for an option or a field what. -EINVAL with a
 * sentence. */
int api_guard_policy(const char *what, const char *name, enum vm_guard *policy,
		     struct error *err);

/* Read the body of a change of the guard: {"policy": NAME}. */
int api_parse_guard(const json_t *body, enum vm_guard *policy,
		    struct error *err);

/* Read the body of a stop: nothing, or {"force": BOOL}. */
int api_parse_stop(const json_t *body, bool *force, struct error *err);

/* Read the body of what takes none: nothing, or {}. */
int api_parse_nothing(const json_t *body, struct error *err);

#endif
