/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM that is none, for tests of the API's server: it fails as it is told to.
 * Include it once in a program that does not link the VMM.
 */
#ifndef TESTS_NO_VM_H
#define TESTS_NO_VM_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/vmm.h"

struct vm {
	int end_fd;
	enum vm_end end;
	enum vm_end how; /* it will end */
	bool dies;	 /* when it is to be paused */
};

static const struct {
	const char *id;
	int ret;
	int code; /* of the answer */
	int seen; /* by a caller of api_call() */
} failures[] = {
	{"EINVAL", -EINVAL, 400, -EINVAL}, {"ERANGE", -ERANGE, 400, -EINVAL},
	{"ENOENT", -ENOENT, 404, -ENOENT}, {"ESRCH", -ESRCH, 409, -EINVAL},
	{"EPERM", -EPERM, 409, -EINVAL},   {"EIO", -EIO, 500, -EIO},
	{"ENOMEM", -ENOMEM, 500, -EIO},
};
#define NR_FAILURES (sizeof(failures) / sizeof(failures[0]))

int vm_config_check(const struct vm_config *config, struct error *err)
{
	return config->nr_cpus ? 0 : error_set(err, -EINVAL, "0 CPUs");
}

int vm_create(const struct vm_config *config, struct vm **vm, struct error *err)
{
	if (!strcmp(config->cmdline, "no-vm"))
		return error_set(err, -EIO, "no VM today");
	*vm = calloc(1, sizeof(**vm));
	if (!*vm)
		return -ENOMEM;
	(*vm)->end_fd = eventfd(0, EFD_CLOEXEC);
	(*vm)->dies = true;
	(*vm)->how = VM_END_STOPPED;
	if (!strcmp(config->cmdline, "bad-end"))
		(*vm)->how = VM_END_ERROR;
	else if (!strcmp(config->cmdline, "guard"))
		(*vm)->how = VM_END_GUARD;
	return 0;
}

int vm_start(struct vm *vm, struct error *err)
{
	return 0;
}

void vm_run(struct vm *vm)
{
}

void vm_destroy(struct vm *vm)
{
	if (vm)
		close(vm->end_fd);
	free(vm);
}

int vm_end_fd(const struct vm *vm)
{
	return vm->end_fd;
}

enum vm_end vm_end_reason(const struct vm *vm, struct error *err)
{
	if (vm->end == VM_END_ERROR)
		error_set(err, 0, "it came to a bad end");
	return vm->end;
}

void vm_get_status(struct vm *vm, struct vm_status *status)
{
	memset(status, 0, sizeof(*status));
	strcpy(status->name, "none");
	status->pid = getpid();
	status->nr_elastic = 2;
}

unsigned int vm_get_residence(struct vm *vm, struct vm_residence *residence)
{
	return 0;
}

/* One device in order, and one that holds more than is plugged. */
int vm_audit(struct vm *vm, struct vm_audit *audit, struct error *err)
{
	strcpy(audit[0].id, "good");
	audit[0].plugged_bytes = audit[0].resident_bytes = 1 << 21;
	strcpy(audit[1].id, "bad");
	audit[1].nr_excess = VM_MAX_EXCESS + 1;
	audit[1].excess_bytes = 4096;
	audit[1].excess[0].addr = 1ULL << 32;
	return 0;
}

unsigned int vm_get_guard_events(struct vm *vm, uint64_t after,
				 struct vm_guard_event *events,
				 unsigned int max)
{
	unsigned int nr = 0;

	/* Three there are. */
	for (uint64_t number = after + 1; number <= 3 && nr < max; number++)
		events[nr++] = (struct vm_guard_event){
			.number = number,
			.id = "em0",
			.vcpu = -1,
		};
	return nr;
}

int vm_resize(struct vm *vm, const struct vm_resize_target *targets,
	      unsigned int nr_targets, struct error *err)
{
	for (size_t i = 0; i < NR_FAILURES; i++) {
		if (!strcmp(targets[0].id, failures[i].id))
			return error_set(err, failures[i].ret, "it says %s",
					 failures[i].id);
	}
	return 0;
}

int vm_set_guard(struct vm *vm, enum vm_guard policy, struct error *err)
{
	return error_set(err, -EPERM, "no guard");
}

int vm_reboot(struct vm *vm, struct error *err)
{
	return 0;
}

int vm_suspend(struct vm *vm, struct error *err)
{
	return 0;
}

int vm_resume(struct vm *vm, struct error *err)
{
	return 0;
}

int vm_pause(struct vm *vm, struct error *err)
{
	/* The worst that a server can do to its client. */
	if (vm->dies)
		_exit(9);
	return 0;
}

int vm_stop(struct vm *vm, bool force, struct error *err)
{
	if (vm->end != VM_END_NONE)
		return error_set(err, -ESRCH, "it has ended");
	if (force) {
		vm->end = vm->how;
		eventfd_write(vm->end_fd, 1);
	}
	return 0;
}

#endif
