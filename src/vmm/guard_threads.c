// SPDX-License-Identifier: BSD-3-Clause
/*
 * The two threads of the guard.
 *
 * The fault thread reads who touched what. A closed block becomes a *trip*: it
 * is shut, so that the touch fails and whoever made it gets out of the kernel;
 * a vCPU then leaves KVM_RUN with EFAULT. It never waits for a vCPU, since a
 * vCPU may be waiting for it.
 *
 * The slot thread then stops all vCPUs for a moment and makes a hole in the
 * memory slots over the block. The vCPU that is entered again meets it, and
 * exits with all that is to be known (guard_vcpu_mmio()). A touch that was not
 * an instruction's, such as KVM's own for its clock, does not come back so: it
 * is reported after a while with what is known. Holes that were used least
 * lately are closed; so are those whose block is plugged.
 *
 * System calls: read and poll of the userfaultfd, its ioctls, mprotect,
 * fallocate (fault thread); mprotect, KVM_SET_USER_MEMORY_REGION, tgkill (slot
 * thread).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "guard_internal.h"

/* So long may a touch take to come back. */
#define OVERDUE_MS 1000
#define RETRY_US   1000

/* ---- The fault thread -------------------------------------------------- */

static struct guard_region *find_address(struct guard *guard, uint64_t address)
{
	struct guard_region *r = guard->regions;

	while (r && (address < (uintptr_t)r->fence.mem->base ||
		     address - (uintptr_t)r->fence.mem->base >= r->size))
		r = r->next;
	return r;
}

static struct trip *find_trip(struct guard *guard, uint64_t block_gpa)
{
	struct trip *unused = NULL;

	for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++) {
		struct trip *trip = &guard->trips[i];

		if (trip->state != TRIP_NONE && trip->state != TRIP_GONE &&
		    trip->gpa == block_gpa)
			return trip;
		if (trip->state == TRIP_NONE && !unused)
			unused = trip;
	}
	return unused;
}

/* A closed block was touched. The guard's lock is held. */
static int make_trip(struct guard *guard, struct guard_region *region,
		     uint64_t offset, const struct fence_fault *fault)
{
	uint64_t block = offset & ~(region->block_bytes - 1);
	struct trip *trip = find_trip(guard, region->gpa + block);

	if (!trip)
		return -ENOSPC;
	if (trip->state == TRIP_NONE) {
		guard->nr_trips++;
		*trip = (struct trip){
			.state = TRIP_SHUT,
			.region = region,
			.gpa = region->gpa + block,
			.touched = region->gpa + offset,
			.write = fault->write,
			.vcpu = guard->ops->vcpu_of_thread(guard->opaque,
							   fault->tid),
		};
		pthread_cond_signal(&guard->work);
	}
	/* Again for one that is: whoever came late is woken. */
	return fence_shut(&guard->fence, &region->fence, block);
}

static void handle(struct guard *guard, const struct fence_fault *fault)
{
	struct guard_region *region = find_address(guard, fault->address);
	uint64_t offset;
	int ret = 0;

	if (!region)
		return;
	offset = fault->address - (uintptr_t)region->fence.mem->base;
	pthread_mutex_lock(&guard->lock);
	if (guard->policy == VM_GUARD_OFF ||
	    fence_is_open(&guard->fence, &region->fence, offset, 1)) {
		pthread_mutex_unlock(&guard->lock);
		/* Who finds no memory on the host tries again, as long as it
		 * takes. */
		if (fence_let_pass(&guard->fence, &region->fence, offset))
			nanosleep(&(struct timespec){.tv_nsec =
							     RETRY_US * 1000},
				  NULL);
		return;
	}
	ret = make_trip(guard, region, offset, fault);
	pthread_mutex_unlock(&guard->lock);
	if (ret)
		guard_fail(guard,
			   "keep the guest from memory that is not plugged",
			   ret);
}

void *guard_fault_thread(void *arg)
{
	struct guard *guard = arg;
	struct pollfd fds[] = {
		{.fd = guard->fence.fd, .events = POLLIN},
		{.fd = guard->quit_fd, .events = POLLIN},
	};

	for (;;) {
		struct fence_fault fault;
		int ret;

		poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		while ((ret = fence_next(&guard->fence, &fault)) == 1)
			handle(guard, &fault);
		if (ret < 0) {
			guard_fail(guard, "read faults", ret);
			return NULL;
		}
	}
}

/* ---- The slot thread --------------------------------------------------- */

static bool in_range(const struct trip *trip, uint64_t gpa, uint64_t size)
{
	return trip->gpa >= gpa && trip->gpa - gpa < size;
}

/* Mark what is to be closed: trips in ranges that are being opened, and the
 * holes that were used least lately, beyond the bound. */
static void choose(struct guard *guard)
{
	struct trip *oldest;
	unsigned int nr;

	for (struct guard_region *r = guard->regions; r; r = r->next) {
		for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++) {
			struct trip *trip = &guard->trips[i];

			if (trip->state != TRIP_NONE &&
			    trip->state != TRIP_GONE && trip->region == r &&
			    in_range(trip, r->open_gpa, r->open_size))
				trip->state = TRIP_OVER;
		}
	}
	do {
		oldest = NULL;
		nr = 0;
		for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++) {
			struct trip *trip = &guard->trips[i];

			if (trip->state != TRIP_HOLE)
				continue;
			nr++;
			if (trip->reported &&
			    (!oldest || trip->used_ms < oldest->used_ms))
				oldest = trip;
		}
		if (nr > GUARD_MAX_HOLES && oldest)
			oldest->state = TRIP_OVER;
	} while (nr > GUARD_MAX_HOLES && oldest);
}

static bool has_work(const struct guard *guard)
{
	for (const struct guard_region *r = guard->regions; r; r = r->next) {
		if (r->open_size)
			return true;
	}
	for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++) {
		if (guard->trips[i].state == TRIP_SHUT ||
		    guard->trips[i].state == TRIP_OVER)
			return true;
	}
	return false;
}

static int make_hole(struct guard *guard, struct trip *trip, struct error *err)
{
	trip->state = TRIP_HOLE;
	trip->hole_ms = trip->used_ms = guard_now_ms();
	return kvm_cut_memory(guard->kvm, trip->gpa, trip->region->block_bytes,
			      err);
}

static int close_hole(struct guard *guard, struct trip *trip, struct error *err)
{
	struct guard_region *region = trip->region;
	uint64_t offset = trip->gpa - region->gpa;
	int ret = 0;

	if (trip->hole_ms)
		ret = kvm_join_memory(guard->kvm, trip->gpa,
				      region->block_bytes,
				      region->fence.mem->base + offset, err);
	if (!ret) {
		ret = fence_unshut(&guard->fence, &region->fence, offset);
		if (ret)
			error_set_errno(err, ret, "cannot close a hole");
	}
	trip->state = trip->reported ? TRIP_NONE : TRIP_GONE;
	guard->nr_trips--;
	return ret;
}

/* All vCPUs are out of the guest; the guard's lock is held. Holes are closed
 * first, so that there are never many. */
static int change_slots(struct guard *guard, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++) {
		struct trip *trip = &guard->trips[i];

		if (trip->vcpu >= 0 && guard->vcpu_faulted[trip->vcpu])
			trip->faulted = true;
	}
	choose(guard);
	for (unsigned int i = 0; i < GUARD_MAX_TRIPS && !ret; i++) {
		if (guard->trips[i].state == TRIP_OVER)
			ret = close_hole(guard, &guard->trips[i], err);
	}
	for (unsigned int i = 0; i < GUARD_MAX_TRIPS && !ret; i++) {
		if (guard->trips[i].state == TRIP_SHUT)
			ret = make_hole(guard, &guard->trips[i], err);
	}
	for (struct guard_region *r = guard->regions; r && !ret; r = r->next) {
		if (r->open_size)
			fence_open(&guard->fence, &r->fence,
				   r->open_gpa - r->gpa, r->open_size);
		r->open_size = 0;
	}
	memset(guard->vcpu_faulted, 0, sizeof(guard->vcpu_faulted));
	return ret;
}

/* Take the next trip that nothing came back of: it is overdue, or was closed
 * before. */
static bool next_silent(struct guard *guard, struct trip *silent)
{
	uint64_t now = guard_now_ms();

	for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++) {
		struct trip *trip = &guard->trips[i];
		bool overdue = trip->state == TRIP_HOLE && !trip->reported &&
			       now - trip->hole_ms > OVERDUE_MS;

		if (!overdue && trip->state != TRIP_GONE)
			continue;
		*silent = *trip;
		trip->reported = true;
		if (trip->state == TRIP_GONE)
			trip->state = TRIP_NONE;
		return true;
	}
	return false;
}

/* What is known of a touch that did not come back: by whom, unless it was one
 * of KVM's workers; and whether it was a write, unless by a worker, or by an
 * instruction's fetch. */
static void report_silent(struct guard *guard, const struct trip *trip)
{
	const struct guard_region *region = trip->region;
	struct vm_guard_event event = {
		.addr = trip->touched,
		.by = trip->vcpu >= 0 && !trip->faulted ? VM_BY_KVM
							: VM_BY_VCPU,
		.vcpu = trip->vcpu,
	};

	if (trip->vcpu >= 0 && trip->write)
		event.access = VM_ACCESS_WRITE;
	else if (event.by == VM_BY_KVM)
		event.access = VM_ACCESS_READ;
	if (event.access == VM_ACCESS_WRITE ||
	    !region->may_read(region->opaque, trip->touched))
		guard_report(guard, region, &event);
}

/* Wait for work; not for long if a trip may become overdue. */
static void wait_for_work(struct guard *guard)
{
	bool soon = false;
	struct timespec until;

	for (unsigned int i = 0; i < GUARD_MAX_TRIPS; i++)
		soon = soon || (guard->trips[i].state == TRIP_HOLE &&
				!guard->trips[i].reported);
	if (!soon) {
		pthread_cond_wait(&guard->work, &guard->lock);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	pthread_cond_timedwait(&guard->work, &guard->lock, &until);
}

void *guard_slot_thread(void *arg)
{
	struct guard *guard = arg;
	struct trip silent;
	struct error err;
	int ret;

	pthread_mutex_lock(&guard->lock);
	while (!guard->quit) {
		if (next_silent(guard, &silent)) {
			pthread_mutex_unlock(&guard->lock);
			report_silent(guard, &silent);
			pthread_mutex_lock(&guard->lock);
			continue;
		}
		if (!has_work(guard)) {
			wait_for_work(guard);
			continue;
		}
		pthread_mutex_unlock(&guard->lock);
		guard->ops->freeze(guard->opaque);
		pthread_mutex_lock(&guard->lock);
		ret = change_slots(guard, &err);
		pthread_cond_broadcast(&guard->done);
		pthread_mutex_unlock(&guard->lock);
		/* Before the vCPUs can find memory missing. */
		if (ret)
			guard->ops->end(guard->opaque, false, &err);
		guard->ops->thaw(guard->opaque);
		pthread_mutex_lock(&guard->lock);
	}
	pthread_mutex_unlock(&guard->lock);
	return NULL;
}
