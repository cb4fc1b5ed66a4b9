// SPDX-License-Identifier: BSD-3-Clause
/*
 * Suspending to memory (ACPI S3), as the lifecycle thread does it. To the guest
 * it is a loss of power that memory survives: devices are reset when it falls
 * asleep, so that nothing changes while it sleeps, and processors when it
 * wakes. Elastic memory stays plugged, with what is in it (PERSISTENT_SUSPEND).
 *
 * Suspending to idle is the guest's alone: its processors wait, and go on.
 */
#include <stdio.h>

#include "vm_internal.h"

void vm_do_sleep(struct vm *vm)
{
	struct error err;

	vcpus_hold(&vm->vcpus);
	for (unsigned int i = 0; i < vm->nr_elastic; i++)
		elastic_sleep(vm->elastic[i]);
	if (machine_sleep(vm->machine, &err)) {
		vm_wish_end(vm, VM_END_ERROR, &err);
		return;
	}
	pthread_mutex_lock(&vm->lock);
	vm->asleep = true;
	vm->want_sleep = false; /* of another processor */
	vm->button_pressed = false;
	vm->state = VM_RUNNING;
	pthread_mutex_unlock(&vm->lock);
}

/* A guest that cannot be woken boots again, as firmware would have it. */
void vm_do_wake(struct vm *vm)
{
	struct error err;
	bool paused;

	if (machine_wake(vm->machine, &err)) {
		fprintf(stderr,
			"bellows: VM '%s' cannot be woken: %s; it is reset\n",
			vm->name, err.text);
		vm_wish_reset(vm);
		return;
	}
	pci_assign(&vm->pci);
	if (vcpus_reset(&vm->vcpus, &err)) {
		vm_wish_end(vm, VM_END_ERROR, &err);
		return;
	}
	pthread_mutex_lock(&vm->lock);
	vm->asleep = vm->want_wake = false;
	paused = vm->paused;
	pthread_mutex_unlock(&vm->lock);
	if (!paused)
		vcpus_run(&vm->vcpus);
}
