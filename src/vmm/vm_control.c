// SPDX-License-Identifier: BSD-3-Clause
/* What the control API asks of a VM: to look at it, and to leave wishes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vm_internal.h"

int vm_end_fd(const struct vm *vm)
{
	return vm->end_fd;
}

enum vm_end vm_end_reason(const struct vm *vm, struct error *err)
{
	struct vm *locked = (struct vm *)(uintptr_t)vm;
	enum vm_end end;

	pthread_mutex_lock(&locked->lock);
	end = vm->end;
	if ((end == VM_END_ERROR || end == VM_END_GUARD) && err)
		*err = vm->end_error;
	pthread_mutex_unlock(&locked->lock);
	return end;
}

/* When the last of the elastic devices gave back what a reset took. */
static uint64_t given_back_us(struct vm *vm)
{
	uint64_t last = 0;

	for (unsigned int i = 0; i < vm->nr_elastic; i++) {
		uint64_t when = elastic_given_back_us(vm->elastic[i]);

		if (when > last)
			last = when;
	}
	return last;
}

/* The lock is held. given_us was asked for before. */
static struct vm_reset_times reset_times(const struct vm *vm, uint64_t given_us)
{
	struct vm_reset_times times = vm->last_reset;

	/* It may be that of another reset than this. */
	if (vm->nr_elastic &&
	    (given_us == UINT64_MAX || given_us < vm->reset_began_us ||
	     vm->state == VM_REBOOTING))
		times.back_us = UINT64_MAX;
	else if (vm->nr_elastic &&
		 given_us - vm->reset_began_us > times.back_us)
		times.back_us = given_us - vm->reset_began_us;
	return times;
}

void vm_get_status(struct vm *vm, struct vm_status *status)
{
	uint64_t given_us = given_back_us(vm);
	bool idle = machine_is_idle(vm->machine);

	memset(status, 0, sizeof(*status));
	memcpy(status->name, vm->name, sizeof(status->name));
	status->pid = getpid();
	status->nr_cpus = vm->nr_cpus;
	status->boot_bytes = vm->boot_bytes;
	status->nr_nodes = vm->numa.nr_nodes;
	for (unsigned int i = 0; status->nr_nodes && i < vm->nr_cpus; i++)
		status->nodes[vm->numa.cpu_node[i]].cpus |= 1U << i;
	boot_memory_get_status(&vm->boot, status);
	status->resident_bytes = status->boot_resident_bytes;
	status->uptime_ms = vm_now_us() / 1000 - vm->created_ms;
	status->nr_elastic = vm->nr_elastic;
	for (unsigned int i = 0; i < vm->nr_elastic; i++) {
		elastic_get_status(vm->elastic[i], &status->elastic[i]);
		status->resident_bytes += status->elastic[i].resident_bytes;
	}
	guard_get_status(vm->guard, &status->guard);
	memcpy(status->guard.off_reason, vm->guard_off_reason,
	       sizeof(status->guard.off_reason));
	pthread_mutex_lock(&vm->lock);
	status->state = vm->state;
	if (vm->paused && status->state == VM_RUNNING)
		status->state = VM_PAUSED;
	else if ((vm->asleep || idle) &&
		 (status->state == VM_RUNNING || status->state == VM_STOPPING))
		status->state = VM_SUSPENDED;
	status->paused_by_guard = vm->paused && vm->guard_paused;
	status->nr_reboots = vm->nr_reboots;
	status->kernel_unpacked = vm->source.unpacked;
	status->last_reset = reset_times(vm, given_us);
	pthread_mutex_unlock(&vm->lock);
}

int vm_set_guard(struct vm *vm, enum vm_guard policy, struct error *err)
{
	int ret = guard_set_policy(vm->guard, policy);

	if (ret && ret != -EOPNOTSUPP)
		return error_set_errno(err, ret, "cannot guard VM '%s'",
				       vm->name);
	if (!ret)
		return 0;
	if (!vm->nr_elastic)
		return error_set(
			err, -EPERM,
			"VM '%s' has no elastic device, and so nothing "
			"to guard",
			vm->name);
	if (vm->guard_off_reason[0])
		return error_set(err, -EPERM, "VM '%s' has no guard: %s",
				 vm->name, vm->guard_off_reason);
	return error_set(err, -EPERM,
			 "VM '%s' was started with --guard off, and has no "
			 "guard until it is started without that",
			 vm->name);
}

unsigned int vm_get_guard_events(struct vm *vm, uint64_t after,
				 struct vm_guard_event *events,
				 unsigned int max)
{
	return guard_get_events(vm->guard, after, events, max);
}

int vm_audit(struct vm *vm, struct vm_audit *audit, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->nr_elastic && !ret; i++)
		ret = elastic_audit(vm->elastic[i], &audit[i], err);
	return ret;
}

unsigned int vm_get_residence(struct vm *vm, struct vm_residence *residence)
{
	unsigned int nr = boot_memory_get_residence(&vm->boot, residence);

	for (unsigned int i = 0; i < vm->nr_elastic; i++)
		elastic_get_residence(vm->elastic[i], &residence[nr++]);
	return nr;
}

static struct elastic *find_elastic(const struct vm *vm, const char *id)
{
	for (unsigned int i = 0; i < vm->nr_elastic; i++) {
		if (!strcmp(elastic_id(vm->elastic[i]), id))
			return vm->elastic[i];
	}
	return NULL;
}

int vm_resize(struct vm *vm, const struct vm_resize_target *targets,
	      unsigned int nr_targets, struct error *err)
{
	for (unsigned int i = 0; i < nr_targets; i++) {
		const struct elastic *elastic = find_elastic(vm, targets[i].id);
		int ret;

		if (!elastic)
			return error_set(err, -ENOENT,
					 "VM '%s' has no elastic device '%s'",
					 vm->name, targets[i].id);
		ret = elastic_check_request(elastic, targets[i].requested_bytes,
					    err);
		if (ret)
			return ret;
	}
	for (unsigned int i = 0; i < nr_targets; i++)
		elastic_request(find_elastic(vm, targets[i].id),
				targets[i].requested_bytes);
	return 0;
}

static int check_alive(struct vm *vm, struct error *err)
{
	bool ended;

	pthread_mutex_lock(&vm->lock);
	ended = vm->state == VM_ENDED;
	pthread_mutex_unlock(&vm->lock);
	return ended ? error_set(err, -ESRCH, "VM '%s' has ended", vm->name)
		     : 0;
}

int vm_reboot(struct vm *vm, struct error *err)
{
	int ret = check_alive(vm, err);

	if (!ret)
		vm_wish_reset(vm);
	return ret;
}

int vm_pause(struct vm *vm, struct error *err)
{
	int ret = check_alive(vm, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&vm->lock);
	vm->want_paused = true;
	vm->guard_paused = false;
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

/* If it is suspended, wake it. */
static void wake(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->asleep) {
		vm->want_wake = true;
		pthread_cond_signal(&vm->wish);
	}
	pthread_mutex_unlock(&vm->lock);
	if (machine_is_idle(vm->machine))
		machine_wake_idle(vm->machine);
}

int vm_resume(struct vm *vm, struct error *err)
{
	bool paused;
	int ret = check_alive(vm, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&vm->lock);
	paused = vm->paused || vm->want_paused;
	vm->want_paused = vm->guard_paused = false;
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
	if (!paused)
		wake(vm);
	return 0;
}

int vm_suspend(struct vm *vm, struct error *err)
{
	bool paused, asleep;
	int ret = check_alive(vm, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&vm->lock);
	paused = vm->paused || vm->want_paused;
	asleep = vm->asleep;
	pthread_mutex_unlock(&vm->lock);
	if (asleep || machine_is_idle(vm->machine))
		return 0;
	if (paused)
		return error_set(err, -EPERM,
				 "VM '%s' is paused, so that its guest cannot "
				 "be asked to suspend; resume it first",
				 vm->name);
	for (unsigned int i = 0; i < vm->nr_elastic; i++) {
		ret = elastic_check_suspend(vm->elastic[i], err);
		if (ret)
			return ret;
	}
	machine_sleep_button(vm->machine);
	return 0;
}

int vm_stop(struct vm *vm, bool force, struct error *err)
{
	int ret = check_alive(vm, err);

	if (ret)
		return ret;
	if (force) {
		vm_wish_end(vm, VM_END_STOPPED, NULL);
		return 0;
	}
	pthread_mutex_lock(&vm->lock);
	vm->button_pressed = true;
	if (vm->state == VM_RUNNING)
		vm->state = VM_STOPPING;
	pthread_mutex_unlock(&vm->lock);
	machine_power_button(vm->machine);
	wake(vm);
	return 0;
}
