// SPDX-License-Identifier: BSD-3-Clause
/* What the guard says: counter, events, log; and what the policy does. */
#include <stdio.h>
#include <string.h>

#include "guard_internal.h"

/* Lines of the log in ten seconds, then a count of what was left out. */
#define LOG_LINES  10
#define LOG_MS	   10000
#define WORD_BYTES 96

static const char *const access_words[] = {
	[VM_ACCESS_UNKNOWN] = "accessed",
	[VM_ACCESS_READ] = "read",
	[VM_ACCESS_WRITE] = "wrote to",
	[VM_ACCESS_EXECUTE] = "executed",
};

static void describe(const struct vm_guard_event *event, char *text,
		     size_t room)
{
	char who[WORD_BYTES] = "the guest";

	if (event->by == VM_BY_DEVICE)
		snprintf(who, sizeof(who), "device '%s'", event->device);
	else if (event->by == VM_BY_KVM)
		snprintf(who, sizeof(who), "KVM on behalf of vCPU %d",
			 event->vcpu);
	else if (event->vcpu >= 0)
		snprintf(who, sizeof(who), "vCPU %d", event->vcpu);
	snprintf(text, room,
		 "%s %s memory that is not plugged, at %#llx (device '%s', "
		 "block %#llx)",
		 who, access_words[event->access],
		 (unsigned long long)event->addr, event->id,
		 (unsigned long long)event->block_addr);
}

/* Whether a line may be written now. The guard's lock is held. */
static bool may_log(struct guard *guard, uint64_t now, uint64_t *left_out)
{
	*left_out = 0;
	if (!guard->log_ms || now - guard->log_ms >= LOG_MS) {
		guard->log_ms = now;
		guard->log_left = LOG_LINES;
		*left_out = guard->nr_unlogged;
		guard->nr_unlogged = 0;
	}
	if (!guard->log_left) {
		guard->nr_unlogged++;
		return false;
	}
	guard->log_left--;
	return true;
}

void guard_fail(struct guard *guard, const char *what, int ret)
{
	struct error err;

	error_set_errno(&err, ret, "the guard cannot %s", what);
	guard->ops->end(guard->opaque, false, &err);
}

void guard_report(struct guard *guard, const struct guard_region *region,
		  const struct vm_guard_event *what)
{
	uint64_t now = guard_now_ms(), left_out;
	struct vm_guard_event event = *what;
	enum vm_guard policy;
	struct error err;
	bool log;

	memcpy(event.id, region->id, sizeof(event.id));
	event.uptime_ms = now - guard->created_ms;
	event.block_addr = event.addr & ~(region->block_bytes - 1);
	pthread_mutex_lock(&guard->lock);
	policy = guard->policy;
	if (policy == VM_GUARD_OFF) {
		pthread_mutex_unlock(&guard->lock);
		return;
	}
	event.number = ++guard->nr_violations;
	guard->events[event.number % VM_NR_GUARD_EVENTS] = event;
	log = may_log(guard, now, &left_out);
	pthread_mutex_unlock(&guard->lock);

	describe(&event, err.text, sizeof(err.text));
	if (left_out)
		fprintf(stderr, "bellows: VM '%s': %llu more of them\n",
			guard->vm_name, (unsigned long long)left_out);
	if (log)
		fprintf(stderr, "bellows: VM '%s': %s\n", guard->vm_name,
			err.text);
	if (policy == VM_GUARD_PAUSE)
		guard->ops->pause(guard->opaque);
	else if (policy == VM_GUARD_KILL)
		guard->ops->end(guard->opaque, true, &err);
}

void guard_get_status(struct guard *guard, struct vm_guard_status *status)
{
	*status = (struct vm_guard_status){.policy = VM_GUARD_OFF};
	if (!guard)
		return;
	pthread_mutex_lock(&guard->lock);
	status->policy = guard->policy;
	status->nr_violations = guard->nr_violations;
	status->last = guard->events[guard->nr_violations % VM_NR_GUARD_EVENTS];
	pthread_mutex_unlock(&guard->lock);
}

unsigned int guard_get_events(struct guard *guard, uint64_t after,
			      struct vm_guard_event *events, unsigned int max)
{
	unsigned int nr = 0;

	if (!guard)
		return 0;
	pthread_mutex_lock(&guard->lock);
	if (guard->nr_violations > VM_NR_GUARD_EVENTS &&
	    after < guard->nr_violations - VM_NR_GUARD_EVENTS)
		after = guard->nr_violations - VM_NR_GUARD_EVENTS;
	while (after < guard->nr_violations && nr < max)
		events[nr++] = guard->events[++after % VM_NR_GUARD_EVENTS];
	pthread_mutex_unlock(&guard->lock);
	return nr;
}
