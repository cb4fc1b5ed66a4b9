// SPDX-License-Identifier: BSD-3-Clause
/* Structs to JSON and back; strict about what it takes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

static const char *state_name(enum vm_state state)
{
	switch (state) {
	case VM_RUNNING:
		return "running";
	case VM_PAUSED:
		return "paused";
	case VM_SUSPENDED:
		return "suspended";
	case VM_REBOOTING:
		return "rebooting";
	case VM_STOPPING:
		return "stopping";
	case VM_ENDED:
		return "ended";
	}
	return "unknown";
}

static const char *driver_name(enum vm_driver driver)
{
	switch (driver) {
	case VM_DRIVER_ABSENT:
		return "absent";
	case VM_DRIVER_STARTING:
		return "starting";
	case VM_DRIVER_READY:
		return "ready";
	case VM_DRIVER_FAILED:
		return "failed";
	}
	return "unknown";
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* UINT64_MAX is null: never, or not yet. */
static void set_or_null(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key,
			    value == UINT64_MAX
				    ? json_null()
				    : json_integer((json_int_t)value));
}

static json_t *elastic_json(const struct vm_elastic_status *e)
{
	json_t *object = json_object();
	json_t *requests = json_object();

	json_object_set_new(object, "id", json_string(e->id));
	json_object_set_new(object, "node",
			    e->node < 0 ? json_null() : json_integer(e->node));
	set_number(object, "addr", e->addr);
	set_number(object, "block_bytes", e->block_bytes);
	set_number(object, "max_bytes", e->max_bytes);
	set_number(object, "usable_bytes", e->usable_bytes);
	set_number(object, "requested_bytes", e->requested_bytes);
	set_number(object, "plugged_bytes", e->plugged_bytes);
	set_number(object, "resident_bytes", e->resident_bytes);
	json_object_set_new(object, "driver",
			    json_string(driver_name(e->driver)));
	json_object_set_new(object, "persistent_suspend",
			    json_boolean(e->persistent_suspend));
	set_number(requests, "plug", e->nr_plug);
	set_number(requests, "unplug", e->nr_unplug);
	set_number(requests, "unplug_all", e->nr_unplug_all);
	set_number(requests, "state", e->nr_state);
	set_number(requests, "answered_nack", e->nr_nack);
	set_number(requests, "answered_busy", e->nr_busy);
	set_number(requests, "answered_error", e->nr_error);
	set_number(requests, "over_requested", e->nr_over_requested);
	set_number(requests, "config_writes", e->nr_config_writes);
	set_number(requests, "queue_broken", e->nr_broken);
	json_object_set_new(object, "requests", requests);
	set_or_null(object, "changed_ms_ago", e->changed_ms_ago);
	set_or_null(object, "request_ms_ago", e->request_ms_ago);
	return object;
}

static json_t *reset_json(const struct vm_reset_times *times)
{
	json_t *object = json_object();

	set_number(object, "hold_us", times->hold_us);
	set_number(object, "elastic_us", times->elastic_us);
	set_number(object, "clear_us", times->clear_us);
	set_number(object, "load_us", times->load_us);
	set_or_null(object, "back_us", times->back_us);
	return object;
}

static json_t *node_json(const struct vm_node_status *node, unsigned int number)
{
	json_t *object = json_object();
	json_t *cpus = json_array();

	for (unsigned int i = 0; i < VM_MAX_CPUS; i++) {
		if (node->cpus >> i & 1)
			json_array_append_new(cpus, json_integer(i));
	}
	set_number(object, "node", number);
	json_object_set_new(object, "cpus", cpus);
	set_number(object, "boot_bytes", node->boot_bytes);
	set_number(object, "boot_resident_bytes", node->boot_resident_bytes);
	return object;
}

static const char *const guard_names[] = {
	[VM_GUARD_OFF] = "off",
	[VM_GUARD_REPORT] = "report",
	[VM_GUARD_PAUSE] = "pause",
	[VM_GUARD_KILL] = "kill",
};

int api_guard_policy(const char *what, const char *name, enum vm_guard *policy,
		     struct error *err)
{
	for (enum vm_guard i = VM_GUARD_OFF; i <= VM_GUARD_KILL; i++) {
		if (!strcmp(name, guard_names[i])) {
			*policy = i;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "%s: '%s' is not off, report, pause or kill", what,
			 name);
}

static json_t *event_json(const struct vm_guard_event *event)
{
	static const char *const accesses[] = {
		[VM_ACCESS_UNKNOWN] = "unknown",
		[VM_ACCESS_READ] = "read",
		[VM_ACCESS_WRITE] = "write",
		[VM_ACCESS_EXECUTE] = "execute",
	};
	static const char *const accessors[] = {
		[VM_BY_VCPU] = "vcpu",
		[VM_BY_KVM] = "kvm",
		[VM_BY_DEVICE] = "device",
	};
	json_t *object = json_object();

	set_number(object, "number", event->number);
	set_number(object, "uptime_ms", event->uptime_ms);
	json_object_set_new(object, "id", json_string(event->id));
	set_number(object, "addr", event->addr);
	set_number(object, "block_addr", event->block_addr);
	json_object_set_new(object, "access",
			    json_string(accesses[event->access]));
	json_object_set_new(object, "by", json_string(accessors[event->by]));
	json_object_set_new(object, "vcpu",
			    event->vcpu < 0 ? json_null()
					    : json_integer(event->vcpu));
	json_object_set_new(object, "length",
			    event->len ? json_integer(event->len)
				       : json_null());
	json_object_set_new(object, "device",
			    event->device[0] ? json_string(event->device)
					     : json_null());
	return object;
}

json_t *api_events_json(const struct vm_guard_event *events, unsigned int nr)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < nr; i++)
		json_array_append_new(list, event_json(&events[i]));
	return json_pack("{s:o}", "events", list);
}

static json_t *device_audit_json(const struct vm_audit *audit)
{
	json_t *object = json_object(), *list = json_array();

	json_object_set_new(object, "id", json_string(audit->id));
	set_number(object, "block_bytes", audit->block_bytes);
	set_number(object, "plugged_bytes", audit->plugged_bytes);
	set_number(object, "resident_bytes", audit->resident_bytes);
	set_number(object, "excess_blocks", audit->nr_excess);
	set_number(object, "excess_bytes", audit->excess_bytes);
	set_number(object, "unplaced_bytes", audit->unplaced_bytes);
	for (uint64_t i = 0; i < audit->nr_excess && i < VM_MAX_EXCESS; i++) {
		json_t *block = json_object();

		set_number(block, "addr", audit->excess[i].addr);
		set_number(block, "bytes", audit->excess[i].bytes);
		json_array_append_new(list, block);
	}
	json_object_set_new(object, "excess", list);
	return object;
}

json_t *api_audit_json(const struct vm_audit *audit, unsigned int nr)
{
	json_t *list = json_array();
	bool clean = true;

	for (unsigned int i = 0; i < nr; i++) {
		json_array_append_new(list, device_audit_json(&audit[i]));
		clean = clean && !audit[i].nr_excess &&
			!audit[i].unplaced_bytes;
	}
	return json_pack("{s:b, s:o}", "clean", clean, "elastic", list);
}

static json_t *guard_json(const struct vm_guard_status *guard)
{
	json_t *object = json_object();

	json_object_set_new(object, "policy",
			    json_string(guard_names[guard->policy]));
	json_object_set_new(object, "off_reason",
			    guard->off_reason[0]
				    ? json_string(guard->off_reason)
				    : json_null());
	set_number(object, "violations", guard->nr_violations);
	json_object_set_new(object, "last",
			    guard->nr_violations ? event_json(&guard->last)
						 : json_null());
	return object;
}

json_t *api_status_json(const struct vm_status *status)
{
	json_t *object = json_object();
	json_t *elastic = json_array();
	json_t *nodes = json_array();

	json_object_set_new(object, "name", json_string(status->name));
	json_object_set_new(object, "state",
			    json_string(state_name(status->state)));
	json_object_set_new(object, "paused_by_guard",
			    json_boolean(status->paused_by_guard));
	set_number(object, "pid", (uint64_t)status->pid);
	set_number(object, "cpus", status->nr_cpus);
	json_object_set_new(object, "kernel_unpacked",
			    json_boolean(status->kernel_unpacked));
	set_number(object, "uptime_ms", status->uptime_ms);
	set_number(object, "reboots", status->nr_reboots);
	json_object_set_new(object, "last_reset",
			    status->nr_reboots ? reset_json(&status->last_reset)
					       : json_null());
	set_number(object, "boot_bytes", status->boot_bytes);
	set_number(object, "boot_resident_bytes", status->boot_resident_bytes);
	set_number(object, "resident_bytes", status->resident_bytes);
	for (unsigned int i = 0; i < status->nr_nodes; i++)
		json_array_append_new(nodes, node_json(&status->nodes[i], i));
	json_object_set_new(object, "nodes", nodes);
	for (unsigned int i = 0; i < status->nr_elastic; i++)
		json_array_append_new(elastic,
				      elastic_json(&status->elastic[i]));
	json_object_set_new(object, "elastic", elastic);
	json_object_set_new(object, "guard", guard_json(&status->guard));
	return object;
}

json_t *api_residence_json(const struct vm_residence *residence,
			   unsigned int nr)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < nr; i++) {
		const struct vm_residence *r = &residence[i];
		json_t *object = json_object(), *nodes = json_object();

		for (unsigned int node = 0; node < HOSTMEM_MAX_NODES; node++) {
			char key[16];

			snprintf(key, sizeof(key), "%u", node);
			if (r->bytes[node])
				set_number(nodes, key, r->bytes[node]);
		}
		json_object_set_new(object, "id", json_string(r->id));
		json_object_set_new(object, "kind",
				    json_string(r->boot ? "boot" : "elastic"));
		json_object_set_new(object, "node",
				    r->node < 0 ? json_null()
						: json_integer(r->node));
		json_object_set_new(object, "host_node_bytes", nodes);
		json_array_append_new(list, object);
	}
	return json_pack("{s:o}", "memory", list);
}

/* A sentence may quote bytes that are no UTF-8, or end inside a character: a
 * JSON string takes neither. */
json_t *api_error_json(const char *sentence)
{
	json_t *text = json_string(sentence);
	struct error plain = {0};

	for (size_t i = 0; !text && sentence[i] && i < sizeof(plain.text) - 1;
	     i++)
		plain.text[i] = (sentence[i] & 0x80) ? '?' : sentence[i];
	return json_pack("{s:o}", "error",
			 text ? text : json_string(plain.text));
}

static int parse_target(const json_t *item, struct vm_resize_target *target,
			struct error *err)
{
	const char *key, *id = NULL;
	const json_t *value;
	json_int_t bytes = -1;

	if (!json_is_object(item))
		return error_set(err, -EINVAL,
				 "elastic: each item must be an object with "
				 "id and requested_bytes");
	json_object_foreach((json_t *)(uintptr_t)item, key, value)
	{
		if (!strcmp(key, "id") && json_is_string(value))
			id = json_string_value(value);
		else if (!strcmp(key, "requested_bytes") &&
			 json_is_integer(value))
			bytes = json_integer_value(value);
		else
			return error_set(
				err, -EINVAL,
				"elastic: '%s' is not a string 'id' or "
				"an integer 'requested_bytes'",
				key);
	}
	if (!id)
		return error_set(err, -EINVAL, "elastic: an item has no id");
	if (strlen(id) >= sizeof(target->id))
		return error_set(err, -EINVAL,
				 "elastic: no device has the id "
				 "'%s': it is too long",
				 id);
	if (bytes < 0)
		return error_set(err, -EINVAL,
				 "elastic: '%s' has no requested_bytes of 0 or "
				 "more",
				 id);
	strcpy(target->id, id);
	target->requested_bytes = (uint64_t)bytes;
	return 0;
}

int api_parse_resize(const json_t *body, struct vm_resize_target *targets,
		     unsigned int *nr_targets, struct error *err)
{
	const json_t *list = json_object_get(body, "elastic");
	size_t nr = json_array_size(list);

	if (!json_is_array(list) || json_object_size(body) != 1)
		return error_set(err, -EINVAL,
				 "the body must be {\"elastic\": [{\"id\": "
				 "..., \"requested_bytes\": ...}, ...]}");
	if (nr < 1 || nr > VM_MAX_ELASTIC)
		return error_set(err, -EINVAL,
				 "elastic: %zu items; 1 to %d are possible", nr,
				 VM_MAX_ELASTIC);
	for (size_t i = 0; i < nr; i++) {
		int ret =
			parse_target(json_array_get(list, i), &targets[i], err);

		if (ret)
			return ret;
		for (size_t j = 0; j < i; j++) {
			if (!strcmp(targets[i].id, targets[j].id))
				return error_set(err, -EINVAL,
						 "elastic: '%s' is named twice",
						 targets[i].id);
		}
	}
	*nr_targets = (unsigned int)nr;
	return 0;
}

int api_parse_guard(const json_t *body, enum vm_guard *policy,
		    struct error *err)
{
	const char *name = json_string_value(json_object_get(body, "policy"));

	if (!name || json_object_size(body) != 1)
		return error_set(err, -EINVAL,
				 "the body must be {\"policy\": \"off\"}, or "
				 "\"report\", \"pause\" or \"kill\"");
	return api_guard_policy("policy", name, policy, err);
}

int api_parse_stop(const json_t *body, bool *force, struct error *err)
{
	const json_t *value = json_object_get(body, "force");

	*force = json_is_true(value);
	if (!body ||
	    (json_is_object(body) &&
	     json_object_size(body) == (json_is_boolean(value) ? 1 : 0)))
		return 0;
	return error_set(err, -EINVAL,
			 "the body must be empty, or {\"force\": true} or "
			 "{\"force\": false}");
}

int api_parse_nothing(const json_t *body, struct error *err)
{
	if (!body || (json_is_object(body) && json_object_size(body) == 0))
		return 0;
	return error_set(err, -EINVAL, "the body must be empty");
}
