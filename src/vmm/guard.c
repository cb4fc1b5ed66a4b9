// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guard: what the VM, its devices and its vCPUs call. The threads that do
 * the work are in guard_threads.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "guard_internal.h"
#include "host/thread.h"

/* A vCPU whose touch failed waits so long before it is entered again, to find a
 * hole; and so often if the guard knows of no reason. */
#define FAULT_WAIT_NS 100000
#define MAX_USELESS   10000

uint64_t guard_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- Life cycle -------------------------------------------------------- */

int guard_create(struct guard **out, const struct guard_config *config,
		 struct error *err)
{
	struct guard *guard;
	int ret;

	*out = NULL;
	if (config->policy == VM_GUARD_OFF)
		return 0;
	guard = calloc(1, sizeof(*guard));
	if (!guard)
		return error_set(err, -ENOMEM, "no memory for the guard");
	ret = fence_create(&guard->fence, err);
	if (ret) {
		free(guard);
		return ret;
	}
	memcpy(guard->vm_name, config->vm_name,
	       strnlen(config->vm_name, sizeof(guard->vm_name) - 1));
	guard->policy = config->policy;
	guard->kvm = config->kvm;
	guard->ops = config->ops;
	guard->opaque = config->opaque;
	guard->created_ms = guard_now_ms();
	pthread_mutex_init(&guard->access, NULL);
	pthread_mutex_init(&guard->lock, NULL);
	pthread_cond_init(&guard->work, NULL);
	pthread_cond_init(&guard->done, NULL);
	guard->quit_fd = eventfd(0, EFD_CLOEXEC);
	if (guard->quit_fd < 0) {
		ret = error_set_errno(err, -errno, "no eventfd");
		guard_destroy(guard);
		return ret;
	}
	*out = guard;
	return 0;
}

int guard_add(struct guard *guard, const struct guard_region_config *config,
	      struct guard_region **out, struct error *err)
{
	struct guard_region *region;
	int ret;

	*out = NULL;
	if (!guard)
		return 0;
	region = calloc(1, sizeof(*region));
	if (!region)
		return error_set(err, -ENOMEM, "no memory for the guard");
	region->guard = guard;
	memcpy(region->id, config->id,
	       strnlen(config->id, sizeof(region->id) - 1));
	region->gpa = config->gpa;
	region->size = config->mem->size;
	region->block_bytes = config->block_bytes;
	region->may_read = config->may_read;
	region->opaque = config->opaque;
	ret = fence_add(&guard->fence, &region->fence, config->mem,
			config->block_bytes, err);
	if (ret) {
		free(region);
		return ret;
	}
	region->next = guard->regions;
	guard->regions = region;
	*out = region;
	return 0;
}

int guard_start(struct guard *guard, struct error *err)
{
	int ret;

	if (!guard)
		return 0;
	ret = thread_start(&guard->fault_thread, "guard-faults",
			   guard_fault_thread, guard);
	guard->fault_started = ret == 0;
	if (!ret) {
		ret = thread_start(&guard->slot_thread, "guard-slots",
				   guard_slot_thread, guard);
		guard->slot_started = ret == 0;
	}
	return ret ? error_set_errno(err, ret, "no thread for the guard") : 0;
}

void guard_stop(struct guard *guard)
{
	uint64_t one = 1;

	if (!guard)
		return;
	pthread_mutex_lock(&guard->lock);
	guard->quit = true;
	pthread_cond_broadcast(&guard->work);
	pthread_cond_broadcast(&guard->done);
	pthread_mutex_unlock(&guard->lock);
	if (guard->slot_started)
		pthread_join(guard->slot_thread, NULL);
	/* Last: vCPUs may need it to stop for the other. */
	(void)!write(guard->quit_fd, &one, sizeof(one));
	if (guard->fault_started)
		pthread_join(guard->fault_thread, NULL);
	guard->slot_started = guard->fault_started = false;
}

void guard_destroy(struct guard *guard)
{
	if (!guard)
		return;
	guard_stop(guard);
	while (guard->regions) {
		struct guard_region *region = guard->regions;

		guard->regions = region->next;
		fence_region_destroy(&region->fence);
		free(region);
	}
	fence_destroy(&guard->fence);
	if (guard->quit_fd >= 0)
		close(guard->quit_fd);
	pthread_cond_destroy(&guard->done);
	pthread_cond_destroy(&guard->work);
	pthread_mutex_destroy(&guard->lock);
	pthread_mutex_destroy(&guard->access);
	free(guard);
}

/* ---- Regions ----------------------------------------------------------- */

struct guard_region *guard_find(struct guard *guard, uint64_t gpa)
{
	struct guard_region *r = guard->regions;

	while (r && (gpa < r->gpa || gpa - r->gpa >= r->size))
		r = r->next;
	return r;
}

static struct trip *next_trip(struct guard *guard, struct trip *from)
{
	struct trip *end = &guard->trips[GUARD_MAX_TRIPS];

	if (!guard->nr_trips)
		return NULL;
	for (; from < end; from++) {
		if (from->state != TRIP_NONE && from->state != TRIP_GONE)
			return from;
	}
	return NULL;
}

static bool has_trip(struct guard *guard, uint64_t gpa, uint64_t size)
{
	struct trip *trip = next_trip(guard, guard->trips);

	while (trip && (trip->gpa < gpa || trip->gpa - gpa >= size))
		trip = next_trip(guard, trip + 1);
	return trip;
}

int guard_open(struct guard_region *region, uint64_t gpa, uint64_t size)
{
	struct guard *guard;
	int ret = 0;

	if (!region)
		return 0;
	guard = region->guard;
	pthread_mutex_lock(&guard->lock);
	if (!has_trip(guard, gpa, size)) {
		fence_allow(&guard->fence, &region->fence, gpa - region->gpa,
			    size);
	} else {
		region->open_gpa = gpa;
		region->open_size = size;
		pthread_cond_signal(&guard->work);
		while (region->open_size && !guard->quit)
			pthread_cond_wait(&guard->done, &guard->lock);
		if (region->open_size)
			ret = -EBUSY;
		region->open_size = 0;
	}
	pthread_mutex_unlock(&guard->lock);
	return ret;
}

void guard_opened(struct guard_region *region, uint64_t gpa, uint64_t size)
{
	if (region)
		fence_open(&region->guard->fence, &region->fence,
			   gpa - region->gpa, size);
}

int guard_close(struct guard_region *region, uint64_t gpa, uint64_t size,
		bool *away)
{
	struct guard *guard;
	int ret;

	*away = false;
	if (!region)
		return 0;
	guard = region->guard;
	pthread_mutex_lock(&guard->access);
	pthread_mutex_lock(&guard->lock);
	if (guard->policy == VM_GUARD_OFF || region->fence.keep) {
		ret = fence_close(&guard->fence, &region->fence,
				  gpa - region->gpa, size);
	} else {
		ret = fence_close_shut(&guard->fence, &region->fence,
				       gpa - region->gpa, size);
		*away = ret == 0;
		guard->nr_away += *away;
	}
	pthread_mutex_unlock(&guard->lock);
	pthread_mutex_unlock(&guard->access);
	return ret;
}

void guard_discard(struct guard_region *region, uint64_t gpa, uint64_t size)
{
	struct guard *guard = region->guard;
	uint64_t offset = gpa - region->gpa;
	int ret = hostmem_discard(region->fence.mem, offset, size);

	pthread_mutex_lock(&guard->lock);
	if (!ret)
		ret = fence_discarded(&guard->fence, &region->fence, offset,
				      size);
	guard->nr_away--;
	pthread_mutex_unlock(&guard->lock);
	if (ret)
		guard_fail(guard, "give back what is not plugged", ret);
}

int guard_renew(struct guard_region *region, struct hostmem *mem)
{
	struct guard *guard;
	int ret;

	if (!region)
		return hostmem_renew(mem, false);
	guard = region->guard;
	pthread_mutex_lock(&guard->access);
	pthread_mutex_lock(&guard->lock);
	ret = fence_renew(&guard->fence, &region->fence);
	pthread_mutex_unlock(&guard->lock);
	pthread_mutex_unlock(&guard->access);
	return ret;
}

/* The guard's lock is held. */
static void end_trips(struct guard *guard)
{
	struct trip *trip;

	/* One of KVM's workers may still be late with a touch. */
	while (guard->nr_trips && !guard->quit) {
		for (trip = next_trip(guard, guard->trips); trip;
		     trip = next_trip(guard, trip + 1))
			trip->state = TRIP_OVER;
		pthread_cond_signal(&guard->work);
		pthread_cond_wait(&guard->done, &guard->lock);
	}
}

void guard_reset(struct guard *guard)
{
	if (!guard)
		return;
	pthread_mutex_lock(&guard->lock);
	end_trips(guard);
	pthread_mutex_unlock(&guard->lock);
}

static void lower(struct guard *guard)
{
	for (struct guard_region *r = guard->regions; r; r = r->next)
		fence_lower(&guard->fence, &r->fence);
}

static int raise(struct guard *guard)
{
	int ret = 0;

	for (struct guard_region *r = guard->regions; r && !ret; r = r->next)
		ret = fence_raise(&guard->fence, &r->fence);
	if (ret)
		lower(guard);
	return ret;
}

int guard_set_policy(struct guard *guard, enum vm_guard policy)
{
	bool was_off, off = policy == VM_GUARD_OFF;
	int ret = 0;

	if (!guard)
		return off ? 0 : -EOPNOTSUPP;
	pthread_mutex_lock(&guard->access);
	pthread_mutex_lock(&guard->lock);
	was_off = guard->policy == VM_GUARD_OFF;
	if (was_off && !off)
		ret = raise(guard);
	else if (off && !was_off)
		lower(guard);
	if (!ret)
		guard->policy = policy;
	pthread_mutex_unlock(&guard->access);
	if (off)
		end_trips(guard);
	pthread_mutex_unlock(&guard->lock);
	return ret;
}

/* ---- Devices ----------------------------------------------------------- */

void guard_enter(struct guard *guard)
{
	if (guard)
		pthread_mutex_lock(&guard->access);
}

void guard_exit(struct guard *guard)
{
	if (guard)
		pthread_mutex_unlock(&guard->access);
}

bool guard_allows(struct guard *guard, const char *device, uint64_t gpa,
		  uint64_t len)
{
	struct guard_region *region = guard ? guard_find(guard, gpa) : NULL;
	struct vm_guard_event event = {
		.addr = gpa,
		.len = (uint32_t)len,
		.by = VM_BY_DEVICE,
		.vcpu = -1,
	};

	if (!region)
		return true;
	/* What was shut before may be for a moment more. */
	if (guard->policy == VM_GUARD_OFF)
		return !fence_is_shut(&guard->fence, &region->fence,
				      gpa - region->gpa, len);
	if (fence_is_open(&guard->fence, &region->fence, gpa - region->gpa,
			  len))
		return true;
	/* Name the part that is not. */
	while (fence_is_open(&guard->fence, &region->fence,
			     event.addr - region->gpa, 1))
		event.addr = (event.addr | (region->block_bytes - 1)) + 1;
	memcpy(event.device, device, strnlen(device, sizeof(event.device) - 1));
	guard_report(guard, region, &event);
	return false;
}

/* ---- vCPUs ------------------------------------------------------------- */

bool guard_vcpu_fault(struct guard *guard, unsigned int vcpu)
{
	bool again;

	if (!guard)
		return false;
	pthread_mutex_lock(&guard->lock);
	guard->vcpu_faulted[vcpu] = true;
	if (guard->nr_trips || guard->nr_away)
		guard->nr_useless = 0;
	else
		guard->nr_useless++;
	again = guard->nr_useless < MAX_USELESS;
	pthread_mutex_unlock(&guard->lock);
	nanosleep(&(struct timespec){.tv_nsec = FAULT_WAIT_NS}, NULL);
	return again;
}

/* What there was to be known of it is known. */
static void trip_reported(struct guard *guard, uint64_t gpa)
{
	struct trip *trip;

	pthread_mutex_lock(&guard->lock);
	for (trip = next_trip(guard, guard->trips); trip;
	     trip = next_trip(guard, trip + 1)) {
		if (gpa < trip->gpa ||
		    gpa - trip->gpa >= trip->region->block_bytes)
			continue;
		trip->reported = true;
		trip->used_ms = guard_now_ms();
	}
	pthread_mutex_unlock(&guard->lock);
}

bool guard_vcpu_mmio(struct guard *guard, unsigned int vcpu,
		     const struct guard_access *access)
{
	struct guard_region *region =
		guard ? guard_find(guard, access->gpa) : NULL;
	const struct vm_guard_event event = {
		.addr = access->gpa,
		.len = access->len,
		.access = access->write ? VM_ACCESS_WRITE : VM_ACCESS_READ,
		.by = VM_BY_VCPU,
		.vcpu = (int)vcpu,
	};

	if (!region)
		return false;
	if (!access->write)
		memset(access->data, 0, access->len);
	trip_reported(guard, access->gpa);
	if (access->write || !region->may_read(region->opaque, access->gpa))
		guard_report(guard, region, &event);
	return true;
}

/* A trip of this vCPU that nothing came back of yet, or any: KVM does not say
 * what the instruction was to access. */
static struct trip *stuck_trip(struct guard *guard, unsigned int vcpu)
{
	struct trip *trip, *any = NULL;

	for (trip = next_trip(guard, guard->trips); trip;
	     trip = next_trip(guard, trip + 1)) {
		if (trip->vcpu == (int)vcpu && !trip->reported)
			return trip;
		if (!any || trip->used_ms > any->used_ms)
			any = trip;
	}
	return any;
}

bool guard_vcpu_stuck(struct guard *guard, unsigned int vcpu, uint64_t gpa)
{
	struct vm_guard_event event = {
		.addr = gpa,
		.access = VM_ACCESS_EXECUTE,
		.by = VM_BY_VCPU,
		.vcpu = (int)vcpu,
	};
	struct guard_region *region = NULL;
	struct trip *trip;

	if (!guard)
		return false;
	if (gpa != UINT64_MAX)
		region = guard_find(guard, gpa);
	if (region && !fence_is_open(&guard->fence, &region->fence,
				     gpa - region->gpa, 1)) {
		trip_reported(guard, gpa);
		guard_report(guard, region, &event);
		return true;
	}
	pthread_mutex_lock(&guard->lock);
	trip = stuck_trip(guard, vcpu);
	if (trip) {
		region = trip->region;
		event.addr = trip->touched;
		event.access = VM_ACCESS_UNKNOWN;
		trip->reported = true;
	}
	pthread_mutex_unlock(&guard->lock);
	if (trip)
		guard_report(guard, region, &event);
	return trip;
}
