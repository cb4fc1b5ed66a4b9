// SPDX-License-Identifier: BSD-3-Clause
/*
 * vCPU threads. To stop them, the phase changes first; then immediate_exit
 * makes KVM_RUN return at once wherever the thread is about to enter it, and a
 * signal takes it out where it is inside. The thread clears immediate_exit
 * under the lock when it sees the phase that lets it run.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guard.h"
#include "host/thread.h"
#include "vcpu.h"

#define KICK_SIGNAL SIGUSR1

static void kick_handler(int signal_number)
{
	/* Its arrival is all that matters: KVM_RUN returns EINTR. */
}

/* Have KVM_RUN return at once, or not. Any thread may. */
static void set_immediate_exit(struct vcpu *vcpu, bool at_once)
{
	__atomic_store_n(&vcpu->run->immediate_exit, at_once, __ATOMIC_RELAXED);
}

/* Park until the group runs. False: end. */
static bool wait_for_run(struct vcpu *vcpu)
{
	struct vcpus *group = vcpu->group;
	bool run;

	pthread_mutex_lock(&group->lock);
	vcpu->tid = gettid();
	group->nr_parked++;
	pthread_cond_broadcast(&group->changed);
	while (group->phase == VCPUS_HOLD ||
	       (group->phase == VCPUS_RUN && group->nr_freezes))
		pthread_cond_wait(&group->changed, &group->lock);
	group->nr_parked--;
	run = group->phase == VCPUS_RUN;
	set_immediate_exit(vcpu, false);
	pthread_mutex_unlock(&group->lock);
	return run;
}

/* Whether an instruction that KVM cannot emulate was for memory that is not
 * there. */
static bool is_stuck(struct vcpu *vcpu)
{
	return vcpu->group->guard &&
	       vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	       vcpu->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	       guard_vcpu_stuck(vcpu->group->guard, vcpu->index,
				machine_vcpu_next_gpa(vcpu->machine));
}

static int handle_exit(struct vcpu *vcpu, struct error *err)
{
	struct kvm_run *run = vcpu->run;
	const struct guard_access access = {
		.gpa = run->mmio.phys_addr,
		.write = run->mmio.is_write,
		.data = run->mmio.data,
		.len = run->mmio.len,
	};

	if (run->exit_reason == KVM_EXIT_INTR || is_stuck(vcpu))
		return 0;
	if (run->exit_reason != KVM_EXIT_MMIO)
		return machine_vcpu_exit(vcpu->machine, run, err);
	if (guard_vcpu_mmio(vcpu->group->guard, vcpu->index, &access))
		return 0;
	if (run->mmio.is_write)
		bus_write(vcpu->group->mmio, run->mmio.phys_addr,
			  run->mmio.data, run->mmio.len);
	else
		bus_read(vcpu->group->mmio, run->mmio.phys_addr, run->mmio.data,
			 run->mmio.len);
	return 0;
}

/* KVM completes an access only when the vCPU is entered again. Do that without
 * running guest code, so that what is read or set next is whole. One that
 * crosses into another page comes in parts. */
static void complete_exit(struct vcpu *vcpu)
{
	struct error err;

	set_immediate_exit(vcpu, true);
	while (ioctl(vcpu->fd, KVM_RUN, 0) == 0 && !handle_exit(vcpu, &err))
		;
}

static bool may_run(struct vcpus *group)
{
	return atomic_load_explicit(&group->phase, memory_order_acquire) ==
		       VCPUS_RUN &&
	       !atomic_load_explicit(&group->nr_freezes, memory_order_acquire);
}

/* Run the guest until the group is told to stop. */
static int run_guest(struct vcpu *vcpu, struct error *err)
{
	int ret;

	while (may_run(vcpu->group)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			if (errno == EFAULT &&
			    guard_vcpu_fault(vcpu->group->guard, vcpu->index))
				continue;
			return error_set_errno(err, -errno,
					       "KVM cannot run vCPU %u",
					       vcpu->index);
		}
		ret = handle_exit(vcpu, err);
		if (ret)
			return ret;
	}
	complete_exit(vcpu);
	return 0;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct error err;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (wait_for_run(vcpu)) {
		if (run_guest(vcpu, &err)) {
			vcpus_hold_self(vcpu->group);
			vcpu->group->failed(vcpu->group->opaque, &err);
		}
	}
	return NULL;
}

static int create_vcpu(struct vcpus *vcpus, struct machine *machine,
		       unsigned int index, struct error *err)
{
	struct vcpu *vcpu = &vcpus->vcpu[index];
	char name[16];
	int ret;

	vcpu->group = vcpus;
	vcpu->index = index;
	vcpu->fd =
		ioctl(vcpus->kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		return error_set_errno(err, -errno, "KVM cannot make vCPU %u",
				       index);
	vcpu->run = mmap(NULL, (size_t)vcpus->kvm->vcpu_run_size,
			 PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return error_set_errno(err, -errno,
				       "cannot map the run area of vCPU %u",
				       index);
	}
	ret = machine_vcpu_create(machine, &vcpu->machine, vcpu->fd, index,
				  err);
	if (ret)
		return ret;
	snprintf(name, sizeof(name), "vcpu%u", index);
	ret = thread_start(&vcpu->thread, name, vcpu_thread, vcpu);
	if (ret)
		return error_set_errno(err, ret, "no thread for vCPU %u",
				       index);
	vcpu->started = true;
	return 0;
}

int vcpus_create(struct vcpus *vcpus, const struct vcpus_config *config,
		 struct error *err)
{
	const struct sigaction action = {.sa_handler = kick_handler};
	int ret = 0;

	memset(vcpus, 0, sizeof(*vcpus));
	vcpus->kvm = config->kvm;
	vcpus->mmio = config->mmio;
	vcpus->guard = config->guard;
	vcpus->failed = config->failed;
	vcpus->opaque = config->opaque;
	vcpus->nr = config->nr;
	for (unsigned int i = 0; i < vcpus->nr; i++)
		vcpus->vcpu[i].fd = -1;
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->changed, NULL);
	sigaction(KICK_SIGNAL, &action, NULL);
	for (unsigned int i = 0; i < vcpus->nr && !ret; i++)
		ret = create_vcpu(vcpus, config->machine, i, err);
	if (ret)
		vcpus_destroy(vcpus);
	return ret;
}

/* Take them out of the guest, to see that something has changed. */
static void kick(struct vcpus *vcpus)
{
	for (unsigned int i = 0; i < vcpus->nr; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		if (!vcpu->started)
			continue;
		set_immediate_exit(vcpu, true);
		pthread_kill(vcpu->thread, KICK_SIGNAL);
	}
}

static void set_phase(struct vcpus *vcpus, enum vcpus_phase phase)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->phase = phase;
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
	if (phase != VCPUS_RUN)
		kick(vcpus);
}

void vcpus_destroy(struct vcpus *vcpus)
{
	if (!vcpus->nr)
		return;
	set_phase(vcpus, VCPUS_EXIT);
	for (unsigned int i = 0; i < vcpus->nr; i++) {
		struct vcpu *vcpu = &vcpus->vcpu[i];

		if (vcpu->started)
			pthread_join(vcpu->thread, NULL);
		machine_vcpu_destroy(vcpu->machine);
		if (vcpu->run)
			munmap(vcpu->run, (size_t)vcpus->kvm->vcpu_run_size);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
	}
	pthread_cond_destroy(&vcpus->changed);
	pthread_mutex_destroy(&vcpus->lock);
	vcpus->nr = 0;
}

void vcpus_hold_self(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	if (vcpus->phase == VCPUS_RUN)
		vcpus->phase = VCPUS_HOLD;
	pthread_mutex_unlock(&vcpus->lock);
}

static void wait_parked(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	while (vcpus->nr_parked < vcpus->nr)
		pthread_cond_wait(&vcpus->changed, &vcpus->lock);
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_hold(struct vcpus *vcpus)
{
	set_phase(vcpus, VCPUS_HOLD);
	wait_parked(vcpus);
}

void vcpus_freeze(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->nr_freezes++;
	pthread_mutex_unlock(&vcpus->lock);
	kick(vcpus);
	wait_parked(vcpus);
}

void vcpus_thaw(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	vcpus->nr_freezes--;
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
}

int vcpus_find(struct vcpus *vcpus, int tid)
{
	int found = -1;

	pthread_mutex_lock(&vcpus->lock);
	for (unsigned int i = 0; i < vcpus->nr; i++) {
		if (vcpus->vcpu[i].tid == tid)
			found = (int)i;
	}
	pthread_mutex_unlock(&vcpus->lock);
	return found;
}

int vcpus_reset(struct vcpus *vcpus, struct error *err)
{
	for (unsigned int i = 0; i < vcpus->nr; i++) {
		int ret = machine_vcpu_reset(vcpus->vcpu[i].machine, err);

		if (ret)
			return ret;
	}
	return 0;
}

void vcpus_run(struct vcpus *vcpus)
{
	set_phase(vcpus, VCPUS_RUN);
}

void vcpus_resume(struct vcpus *vcpus)
{
	for (unsigned int i = 0; i < vcpus->nr; i++)
		machine_vcpu_resumed(vcpus->vcpu[i].machine);
	vcpus_run(vcpus);
}
