// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a VM.
 *
 * The lifecycle thread alone stops and starts vCPUs. Whoever wants a reset or
 * the end (a guest that writes to the reset register, an API call, a vCPU that
 * failed) leaves a wish under the lock and wakes it; so a wish can come from
 * any thread, a vCPU's included, and wishes never overtake one another.
 *
 * Locks: vm->lock guards the wishes and the state, and is never held across
 * I/O or a call into a device.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "host/thread.h"
#include "vm_internal.h"

/* Distances between nodes that nobody set, as ACPI has them. */
#define LOCAL_DISTANCE	10
#define REMOTE_DISTANCE 20

uint64_t vm_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- Wishes ------------------------------------------------------------ */

/* The first reason to end counts. */
void vm_wish_end(struct vm *vm, enum vm_end end, const struct error *err)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->want_end == VM_END_NONE) {
		vm->want_end = end;
		if (err)
			vm->end_error = *err;
	}
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
}

void vm_wish_reset(struct vm *vm)
{
	if (vm->no_reboot) {
		vm_wish_end(vm, VM_END_RESET, NULL);
		return;
	}
	pthread_mutex_lock(&vm->lock);
	vm->want_reset = true;
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
}

/* From a vCPU thread: it must not run on into what follows the write. */
static void guest_reset(void *opaque)
{
	struct vm *vm = opaque;

	/* In this order: who fulfils the wish waits for us to be held. */
	vm_wish_reset(vm);
	vcpus_hold_self(&vm->vcpus);
}

static void guest_poweroff(void *opaque)
{
	struct vm *vm = opaque;

	vm_wish_end(vm, VM_END_POWEROFF, NULL);
	vcpus_hold_self(&vm->vcpus);
}

static void guest_sleep(void *opaque)
{
	struct vm *vm = opaque;

	/* In this order, as for a reset. */
	pthread_mutex_lock(&vm->lock);
	vm->want_sleep = true;
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
	vcpus_hold_self(&vm->vcpus);
}

static const struct machine_ops vm_machine_ops = {
	.reset = guest_reset,
	.poweroff = guest_poweroff,
	.sleep = guest_sleep,
};

static void vcpu_failed(void *opaque, const struct error *err)
{
	vm_wish_end(opaque, VM_END_ERROR, err);
}

/* ---- What the guard asks for ------------------------------------------- */

static void guard_freeze(void *opaque)
{
	vcpus_freeze(&((struct vm *)opaque)->vcpus);
}

static void guard_thaw(void *opaque)
{
	vcpus_thaw(&((struct vm *)opaque)->vcpus);
}

static int guard_vcpu_of_thread(void *opaque, int tid)
{
	return vcpus_find(&((struct vm *)opaque)->vcpus, tid);
}

static void guard_pause(void *opaque)
{
	struct vm *vm = opaque;

	/* In this order, as for a reset. */
	pthread_mutex_lock(&vm->lock);
	vm->want_hold = vm->want_paused = vm->guard_paused = true;
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
	vcpus_hold_self(&vm->vcpus);
}

static void guard_end(void *opaque, bool guilty, const struct error *err)
{
	struct vm *vm = opaque;

	vm_wish_end(vm, guilty ? VM_END_GUARD : VM_END_ERROR, err);
	vcpus_hold_self(&vm->vcpus);
}

static const struct guard_ops vm_guard_ops = {
	.freeze = guard_freeze,
	.thaw = guard_thaw,
	.vcpu_of_thread = guard_vcpu_of_thread,
	.pause = guard_pause,
	.end = guard_end,
};

static void console_irq(void *opaque, bool level)
{
	struct vm *vm = opaque;

	/* The UART is made before the machine, and quiet until it is. */
	if (vm->machine)
		machine_serial_irq(vm->machine, level);
}

static void console_escape(void *opaque)
{
	vm_wish_end(opaque, VM_END_STOPPED, NULL);
}

static const struct console_ops vm_console_ops = {
	.irq = console_irq,
	.escape = console_escape,
};

/* ---- Lifecycle --------------------------------------------------------- */

/* Boot memory reads as zero, vCPUs are held. */
static int load_guest(struct vm *vm, struct error *err)
{
	int ret = machine_boot(vm->machine, &vm->source, err);

	if (ret)
		return ret;
	pci_assign(&vm->pci);
	return vcpus_reset(&vm->vcpus, err);
}

/* The time since the last lap. */
static uint64_t lap(uint64_t *since)
{
	uint64_t now = vm_now_us(), took = now - *since;

	*since = now;
	return took;
}

static int reset_guest(struct vm *vm, struct vm_reset_times *times,
		       struct error *err)
{
	uint64_t since = vm_now_us();
	int ret;

	vcpus_hold(&vm->vcpus);
	times->hold_us = lap(&since);
	for (unsigned int i = 0; i < vm->nr_elastic; i++) {
		ret = elastic_reset(vm->elastic[i], err);
		if (ret)
			return ret;
	}
	guard_reset(vm->guard);
	times->elastic_us = lap(&since);
	ret = boot_memory_clear(&vm->boot);
	if (ret)
		return error_set_errno(err, ret, "cannot clear boot memory");
	times->clear_us = lap(&since);
	times->back_us = times->hold_us + times->elastic_us + times->clear_us;
	ret = load_guest(vm, err);
	times->load_us = lap(&since);
	return ret;
}

static void set_ended(struct vm *vm)
{
	uint64_t one = 1;

	pthread_mutex_lock(&vm->lock);
	vm->state = VM_ENDED;
	vm->end = vm->want_end;
	pthread_mutex_unlock(&vm->lock);
	(void)!write(vm->end_fd, &one, sizeof(one));
}

/* What the lifecycle thread is to do next. */
enum task {
	TASK_END,
	TASK_RUN,
	TASK_RESET,
	TASK_SLEEP,
	TASK_WAKE,
	TASK_PAUSE,
	TASK_RESUME
};

static enum task next_task(struct vm *vm)
{
	enum task task;

	pthread_mutex_lock(&vm->lock);
	while (!vm->want_run && !vm->want_reset &&
	       vm->want_end == VM_END_NONE && !vm->want_hold &&
	       !vm->want_sleep && !vm->want_wake &&
	       vm->want_paused == vm->paused)
		pthread_cond_wait(&vm->wish, &vm->lock);
	if (vm->want_end != VM_END_NONE) {
		task = TASK_END;
	} else if (vm->want_run) {
		task = TASK_RUN;
		vm->want_run = false;
	} else if (vm->want_reset) {
		task = TASK_RESET;
		vm->want_reset = false;
		vm->state = VM_REBOOTING;
		vm->button_pressed = false;
		vm->asleep = vm->want_wake = false;
	} else if (vm->want_sleep) {
		task = TASK_SLEEP;
		vm->want_sleep = false;
	} else if (vm->want_wake) {
		task = TASK_WAKE;
		vm->want_wake = false;
	} else {
		task = vm->want_hold || vm->want_paused ? TASK_PAUSE
							: TASK_RESUME;
		vm->want_hold = false;
	}
	pthread_mutex_unlock(&vm->lock);
	return task;
}

static void do_reset(struct vm *vm)
{
	struct vm_reset_times times = {0};
	uint64_t began = vm_now_us();
	struct error err;
	bool paused;

	if (reset_guest(vm, &times, &err)) {
		vm_wish_end(vm, VM_END_ERROR, &err);
		return;
	}
	pthread_mutex_lock(&vm->lock);
	vm->nr_reboots++;
	vm->last_reset = times;
	vm->reset_began_us = began;
	vm->want_sleep = false; /* the old guest's */
	vm->state = vm->button_pressed ? VM_STOPPING : VM_RUNNING;
	paused = vm->paused;
	pthread_mutex_unlock(&vm->lock);
	if (!paused)
		vcpus_run(&vm->vcpus);
}

static void do_pause(struct vm *vm, bool paused)
{
	bool asleep;

	if (paused)
		vcpus_hold(&vm->vcpus);
	pthread_mutex_lock(&vm->lock);
	vm->paused = paused;
	asleep = vm->asleep;
	pthread_mutex_unlock(&vm->lock);
	if (!paused && !asleep)
		vcpus_resume(&vm->vcpus);
}

static void *lifecycle_thread(void *arg)
{
	struct vm *vm = arg;

	for (;;) {
		switch (next_task(vm)) {
		case TASK_END:
			vcpus_hold(&vm->vcpus);
			set_ended(vm);
			return NULL;
		case TASK_RUN:
			vcpus_run(&vm->vcpus);
			break;
		case TASK_RESET:
			do_reset(vm);
			break;
		case TASK_SLEEP:
			vm_do_sleep(vm);
			break;
		case TASK_WAKE:
			vm_do_wake(vm);
			break;
		case TASK_PAUSE:
			do_pause(vm, true);
			break;
		case TASK_RESUME:
			do_pause(vm, false);
			break;
		}
	}
}

/* ---- Making and unmaking ----------------------------------------------- */

static uint8_t node_distance(const struct vm_config *config, unsigned int from,
			     unsigned int to)
{
	if (config->nodes[from].distance[to])
		return config->nodes[from].distance[to];
	if (config->nodes[to].distance[from])
		return config->nodes[to].distance[from];
	return from == to ? LOCAL_DISTANCE : REMOTE_DISTANCE;
}

static void plan_numa(struct machine_numa *numa, const struct vm_config *config)
{
	numa->nr_nodes = config->nr_nodes;
	for (unsigned int i = 0; i < config->nr_nodes; i++) {
		for (unsigned int cpu = 0; cpu < config->nr_cpus; cpu++) {
			if (config->nodes[i].cpus >> cpu & 1)
				numa->cpu_node[cpu] = (uint8_t)i;
		}
		for (unsigned int j = 0; j < config->nr_nodes; j++)
			numa->distance[i][j] = node_distance(config, i, j);
	}
}

static int make_elastic(struct vm *vm, const struct vm_config *config,
			struct error *err)
{
	struct elastic_place place = {
		.kvm = &vm->kvm,
		.pci = &vm->pci,
		.memory = &vm->memory,
		.guard = vm->guard,
		.addr = vm->plan.elastic_start,
		.first_msi_gsi = vm->plan.first_msi_gsi,
		.prealloc = config->prealloc,
	};
	int ret;

	for (unsigned int i = 0; i < config->nr_elastic; i++) {
		struct vm_elastic_config device = config->elastic[i];
		uint64_t align = vm->plan.elastic_align;

		device.block_bytes = vm_elastic_block(&device);
		if (device.block_bytes > align)
			align = device.block_bytes;
		if (config->nr_nodes && device.node < 0)
			device.node = 0;
		vm_elastic_id(config, i, device.id);
		place.addr = (place.addr + align - 1) & ~(align - 1);
		if (place.addr >= vm->plan.address_end ||
		    device.max_bytes > vm->plan.address_end - place.addr)
			return error_set(
				err, -ERANGE,
				"elastic device '%s' with max=%lluM does not "
				"fit into the address space of the guest, "
				"which ends at %lluG on this host",
				device.id,
				(unsigned long long)(device.max_bytes >> 20),
				(unsigned long long)(vm->plan.address_end >>
						     30));
		ret = elastic_create(&vm->elastic[i], &device, &place, err);
		if (ret)
			return ret;
		vm->nr_elastic++;
		place.addr += device.max_bytes;
	}
	return 0;
}

/* Without a word of the user it is as good as this host lets it be. */
static int make_guard(struct vm *vm, const struct vm_config *config,
		      struct error *err)
{
	struct guard_config guard = {
		.vm_name = vm->name,
		.policy = config->guard == VM_GUARD_DEFAULT ? VM_GUARD_REPORT
							    : config->guard,
		.kvm = &vm->kvm,
		.ops = &vm_guard_ops,
		.opaque = vm,
	};
	struct error why;
	int ret;

	if (!config->nr_elastic)
		return 0;
	ret = guard_create(&vm->guard, &guard, &why);
	if (!ret)
		return 0;
	if (config->guard != VM_GUARD_DEFAULT)
		return error_set(err, ret, "--guard: %s", why.text);
	snprintf(vm->guard_off_reason, sizeof(vm->guard_off_reason), "%s",
		 why.text);
	fprintf(stderr,
		"bellows: VM '%s' runs without the guard: %s (--guard off to "
		"not be told)\n",
		vm->name, why.text);
	return 0;
}

static int make_platform(struct vm *vm, const struct vm_config *config,
			 struct error *err)
{
	struct machine_config machine = {
		.kvm = &vm->kvm,
		.memory = &vm->memory,
		.pci = &vm->pci,
		.mmio = &vm->mmio,
		.nr_cpus = config->nr_cpus,
		.numa = &vm->numa,
		.ops = &vm_machine_ops,
		.opaque = vm,
	};
	int ret =
		console_create(&vm->console, config->console,
			       config->console_path, &vm_console_ops, vm, err);

	if (ret)
		return ret;
	machine.serial = console_serial(vm->console);
	return machine_create(&vm->machine, &machine, err);
}

/* What will be read of the host later is opened now. */
static void keep_files(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->boot.nr; i++) {
		vm->boot.mem[i].kept = &vm->kept;
		hostmem_keep_files(&vm->kept, &vm->boot.mem[i].placement);
	}
	for (unsigned int i = 0; i < vm->nr_elastic; i++)
		elastic_keep_files(vm->elastic[i], &vm->kept);
}

int vm_start(struct vm *vm, struct error *err)
{
	int ret;

	ret = console_start(vm->console, err);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < vm->nr_elastic; i++) {
		ret = elastic_start(vm->elastic[i], err);
		if (ret)
			return ret;
	}
	ret = vcpus_create(&vm->vcpus,
			   &(const struct vcpus_config){
				   .kvm = &vm->kvm,
				   .machine = vm->machine,
				   .mmio = &vm->mmio,
				   .guard = vm->guard,
				   .nr = vm->nr_cpus,
				   .failed = vcpu_failed,
				   .opaque = vm,
			   },
			   err);
	if (ret)
		return ret;
	ret = guard_start(vm->guard, err);
	if (ret)
		return ret;
	ret = load_guest(vm, err);
	if (ret)
		return ret;
	ret = thread_start(&vm->lifecycle, "lifecycle", lifecycle_thread, vm);
	if (ret)
		return error_set_errno(err, ret, "no thread for the VM");
	vm->lifecycle_started = true;
	return 0;
}

void vm_run(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->want_run = true;
	pthread_cond_signal(&vm->wish);
	pthread_mutex_unlock(&vm->lock);
}

static struct vm *vm_alloc(const struct vm_config *config)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	memcpy(vm->name, config->name, sizeof(vm->name));
	vm->boot_bytes = config->memory_bytes;
	vm->nr_cpus = config->nr_cpus;
	vm->created_ms = vm_now_us() / 1000;
	vm->no_reboot = config->no_reboot;
	vm->source.kernel_fd = vm->source.initrd_fd = -1;
	vm->kvm.sys_fd = vm->kvm.vm_fd = -1;
	vm->end_fd = -1;
	kept_files_init(&vm->kept);
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->wish, NULL);
	return vm;
}

int vm_create(const struct vm_config *config, struct vm **out,
	      struct error *err)
{
	struct vm *vm;
	int ret = vm_config_check(config, err);

	if (ret)
		return ret;
	vm = vm_alloc(config);
	if (!vm)
		return error_set(err, -ENOMEM, "no memory for a VM");
	/* A console or a client that goes away is no reason to die. */
	signal(SIGPIPE, SIG_IGN);

	ret = vm_open_source(vm, config, err);
	if (ret)
		goto fail;
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0) {
		ret = error_set_errno(err, -errno, "no eventfd");
		goto fail;
	}
	ret = kvm_create(&vm->kvm, err);
	if (ret)
		goto fail;
	ret = machine_plan(&vm->kvm, vm->boot_bytes, &vm->plan, err);
	if (ret)
		goto fail;
	pci_init(&vm->pci, &vm->mmio, &vm->plan.pci_mmio);
	plan_numa(&vm->numa, config);
	ret = boot_memory_create(&vm->boot, config,
				 &(const struct boot_memory_place){
					 .kvm = &vm->kvm,
					 .memory = &vm->memory,
					 .plan = &vm->plan,
				 },
				 err);
	if (!ret)
		ret = make_platform(vm, config, err);
	if (!ret)
		ret = make_guard(vm, config, err);
	if (!ret)
		ret = make_elastic(vm, config, err);
	if (!ret)
		keep_files(vm);
	if (ret)
		goto fail;
	*out = vm;
	return 0;
fail:
	vm_destroy(vm);
	return ret;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	if (vm->lifecycle_started) {
		vm_wish_end(vm, VM_END_STOPPED, NULL);
		pthread_join(vm->lifecycle, NULL);
	}
	guard_stop(vm->guard);
	vcpus_destroy(&vm->vcpus);
	for (unsigned int i = 0; i < vm->nr_elastic; i++)
		elastic_destroy(vm->elastic[i]);
	guard_destroy(vm->guard);
	/* The UART may still raise its line: the machine goes after it. */
	console_destroy(vm->console);
	machine_destroy(vm->machine);
	pci_finish(&vm->pci);
	kvm_destroy(&vm->kvm);
	boot_memory_destroy(&vm->boot);
	if (vm->end_fd >= 0)
		close(vm->end_fd);
	kept_files_finish(&vm->kept);
	vm_close_source(vm);
	pthread_cond_destroy(&vm->wish);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}
