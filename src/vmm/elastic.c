// SPDX-License-Identifier: BSD-3-Clause
/*
 * One elastic device: the device core, its transport and queue, and the thread
 * that serves requests.
 *
 * One lock guards the core, the transport, the queue and the counters. The
 * worker lets go of it while memory is committed or discarded (busy is set
 * then), so that vCPUs and the API never wait for that. With the guard, the
 * driver is answered before its memory is discarded: nobody can touch that
 * meanwhile, and for the operator it is plugged until it is gone. Two things
 * must wait for it: a device reset by the driver, whose end the worker
 * announces to the driver (reset_wanted), and a system reset, which waits on
 * idle.
 *
 * A system reset puts fresh memory in the place of what the old guest had, so
 * that the new one can start at once; the worker gives the old to the host
 * before it serves the new guest's first request, and the next reset waits for
 * that, so there is never more than one old guest's memory to give back. Huge
 * page pools are the exception: they may not have the pages twice.
 *
 * Lock order: elastic, then the PCI bus's or KVM's routes.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "host/size.h"
#include "host/thread.h"
#include "vmm/elastic_internal.h"
#include "vmm/guard.h"

#define PCI_CLASS_OTHER 0x00ff00

uint64_t elastic_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t elastic_now_ms(void)
{
	return elastic_now_us() / 1000;
}

void elastic_signal(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

/* ---- What the device core asks for ------------------------------------- */

/* Without prealloc a page comes into being when the guest touches it. */
static int elastic_plug(void *opaque, uint64_t addr, uint64_t size)
{
	struct elastic *e = opaque;
	int ret = 0;

	pthread_mutex_unlock(&e->lock);
	if (e->prealloc)
		ret = hostmem_populate(&e->mem, addr - e->addr, size);
	if (!ret)
		ret = guard_open(e->guarded, addr, size);
	pthread_mutex_lock(&e->lock);
	if (!ret)
		e->rest = (struct elastic_rest){addr, size, false};
	/* The guest asks again, and the host may have memory then. */
	return ret == -ENOMEM ? -EBUSY : ret;
}

static int elastic_unplug(void *opaque, uint64_t addr, uint64_t size)
{
	struct elastic *e = opaque;
	bool away;
	int ret;

	/* elastic_reset() does it. */
	if (e->renewing)
		return 0;
	/* Of UNPLUG_ALL, there may be one before this. */
	elastic_do_rest(e);
	pthread_mutex_unlock(&e->lock);
	/* Before its pages go, so that none comes back. */
	ret = guard_close(e->guarded, addr, size, &away);
	if (!ret && !away)
		ret = hostmem_discard(&e->mem, addr - e->addr, size);
	pthread_mutex_lock(&e->lock);
	if (away)
		e->rest = (struct elastic_rest){addr, size, true};
	return ret;
}

void elastic_do_rest(struct elastic *e)
{
	const struct elastic_rest rest = e->rest;

	if (!rest.size)
		return;
	pthread_mutex_unlock(&e->lock);
	if (rest.discard)
		guard_discard(e->guarded, rest.addr, rest.size);
	else
		guard_opened(e->guarded, rest.addr, rest.size);
	pthread_mutex_lock(&e->lock);
	e->rest.size = 0;
	if (rest.discard)
		e->changed_ms = elastic_now_ms();
}

static void elastic_config_changed(void *opaque)
{
	struct elastic *e = opaque;

	virtio_pci_config_changed(&e->vp);
}

/* What is answered with ERROR is counted as that, and what breaks the queue
 * where it does; a NACK may be the host's. */
static void elastic_guest_error(void *opaque, enum vmem_guest_error error,
				const struct vmem_request *req)
{
	struct elastic *e = opaque;

	if (error == VMEM_GUEST_OVER_REQUESTED)
		e->nr_over_requested++;
}

static const struct vmem_device_ops device_ops = {
	.plug = elastic_plug,
	.unplug = elastic_unplug,
	.config_changed = elastic_config_changed,
	.guest_error = elastic_guest_error,
};

/* ---- What the guard asks for ------------------------------------------- */

/* Called by the guard, from any thread. */
static bool may_read(void *opaque, uint64_t gpa)
{
	struct elastic *e = opaque;
	struct vmem_config config;
	bool may;

	pthread_mutex_lock(&e->lock);
	vmem_device_get_config(e->dev, &config);
	may = !(vmem_device_accepted_features(e->dev) &
		1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE) &&
	      gpa - e->addr < config.usable_region_size;
	pthread_mutex_unlock(&e->lock);
	return may;
}

/* ---- What the transport asks for --------------------------------------- */

static uint64_t vp_features(void *opaque)
{
	const struct elastic *e = opaque;

	return vmem_device_features(e->dev);
}

static bool vp_accept_features(void *opaque, uint64_t features)
{
	struct elastic *e = opaque;

	/* The rest are the transport's, which offered them. */
	features &= vmem_device_features(e->dev);
	return vmem_device_accept_features(e->dev, features) == 0;
}

static void vp_config_read(void *opaque, size_t offset, void *buf, size_t len)
{
	const struct elastic *e = opaque;

	vmem_device_config_read(e->dev, offset, buf, len);
}

static void vp_config_write(void *opaque, size_t offset, const void *buf,
			    size_t len)
{
	struct elastic *e = opaque;

	/* Read-only for the driver (5.15.4). */
	e->nr_config_writes++;
}

static void vp_queue_start(void *opaque, unsigned int queue,
			   const struct virtq_config *config)
{
	struct elastic *e = opaque;

	elastic_queue_start(e, config);
}

static bool vp_reset(void *opaque)
{
	struct elastic *e = opaque;

	vmem_device_reset(e->dev);
	if (e->busy) {
		e->reset_wanted = true;
		return false;
	}
	virtq_stop(&e->queue);
	return true;
}

static void vp_doorbell(void *opaque, unsigned int queue)
{
	struct elastic *e = opaque;

	elastic_signal(e->doorbell_fd);
}

/* Writes to the doorbell become events without an exit; should KVM refuse,
 * they come to vp_doorbell() instead. */
static void vp_bar_moved(void *opaque, uint64_t base, bool enabled)
{
	struct elastic *e = opaque;

	pci_bar_moved(e->pci, e->devfn, base, enabled);
	if (e->doorbell_on)
		kvm_set_doorbell(e->kvm, e->doorbell_addr, 2, e->doorbell_fd,
				 false);
	e->doorbell_addr = base + VIRTIO_PCI_NOTIFY_OFFSET(VMEM_QUEUE_REQUEST);
	e->doorbell_on =
		enabled && kvm_set_doorbell(e->kvm, e->doorbell_addr, 2,
					    e->doorbell_fd, true) == 0;
}

static void vp_route(void *opaque, unsigned int vector, uint64_t address,
		     uint32_t data)
{
	struct elastic *e = opaque;

	/* A route that KVM does not take is one the guest made up. */
	if (vector < NR_VECTORS)
		kvm_route_msi(e->kvm, e->gsi[vector], address, data);
}

static void vp_signal(void *opaque, unsigned int vector)
{
	struct elastic *e = opaque;

	if (vector < NR_VECTORS)
		elastic_signal(e->vector_fd[vector]);
}

static const struct virtio_pci_ops transport_ops = {
	.features = vp_features,
	.accept_features = vp_accept_features,
	.config_read = vp_config_read,
	.config_write = vp_config_write,
	.queue_start = vp_queue_start,
	.reset = vp_reset,
	.doorbell = vp_doorbell,
	.bar_moved = vp_bar_moved,
	.route = vp_route,
	.signal = vp_signal,
};

/* ---- What the PCI bus asks for ----------------------------------------- */

static void space_read(void *opaque, unsigned int offset, void *data,
		       unsigned int len)
{
	struct elastic *e = opaque;

	pthread_mutex_lock(&e->lock);
	virtio_pci_space_read(&e->vp, offset, data, len);
	pthread_mutex_unlock(&e->lock);
}

static void space_write(void *opaque, unsigned int offset, const void *data,
			unsigned int len)
{
	struct elastic *e = opaque;

	pthread_mutex_lock(&e->lock);
	/* With the bus back, the queue still is not looked at before the driver
	 * kicks: a kernel gives the bus to a device before it resets it, and
	 * the queue may be that of the kernel before. */
	virtio_pci_space_write(&e->vp, offset, data, len);
	pthread_mutex_unlock(&e->lock);
}

static void bar_read(void *opaque, uint64_t offset, void *data,
		     unsigned int len)
{
	struct elastic *e = opaque;

	pthread_mutex_lock(&e->lock);
	virtio_pci_bar_read(&e->vp, offset, data, len);
	pthread_mutex_unlock(&e->lock);
}

static void bar_write(void *opaque, uint64_t offset, const void *data,
		      unsigned int len)
{
	struct elastic *e = opaque;

	pthread_mutex_lock(&e->lock);
	virtio_pci_bar_write(&e->vp, offset, data, len);
	pthread_mutex_unlock(&e->lock);
}

static const struct pci_function_ops function_ops = {
	.config_read = space_read,
	.config_write = space_write,
	.bar_read = bar_read,
	.bar_write = bar_write,
};

/* ---- Life cycle -------------------------------------------------------- */

static int make_device(struct elastic *e, uint64_t requested_bytes,
		       struct error *err)
{
	const struct vmem_device_config config = {
		.addr = e->addr,
		.region_size = e->max_bytes,
		.block_size = e->block_bytes,
		.requested_size = requested_bytes,
		.persistent_suspend = true,
		.has_node = e->node >= 0,
		.node_id = (uint16_t)(e->node >= 0 ? e->node : 0),
	};
	const char *wrong = vmem_device_config_error(&config);
	size_t size = vmem_device_storage_size(&config);

	if (wrong)
		return error_set(err, -EINVAL, "elastic device '%s': %s", e->id,
				 wrong);
	e->storage = calloc(1, size);
	if (!e->storage)
		return error_set(err, -ENOMEM,
				 "no memory for elastic device '%s'", e->id);
	e->dev = vmem_device_init(e->storage, size, &config, &device_ops, e);
	return 0;
}

static int make_memory(struct elastic *e, struct guest_memory *memory,
		       struct error *err)
{
	const struct guest_region region = {
		.gpa = e->addr,
		.size = e->max_bytes,
		.mem = &e->mem,
		.node = (unsigned int)(e->node >= 0 ? e->node : 0),
	};
	const struct guard_region_config guarded = {
		.id = e->id,
		.gpa = e->addr,
		.block_bytes = e->block_bytes,
		.mem = &e->mem,
		.may_read = may_read,
		.opaque = e,
	};
	int ret;

	ret = hostmem_create(&e->mem, e->id, e->max_bytes, &e->placement, err);
	if (ret)
		return ret;
	ret = guest_memory_add(memory, &region);
	if (ret)
		return error_set(err, ret, "no place for elastic device '%s'",
				 e->id);
	ret = guard_add(e->guard, &guarded, &e->guarded, err);
	if (ret)
		return ret;
	return kvm_add_memory(e->kvm, e->addr, e->max_bytes, e->mem.base, err);
}

static int make_function(struct elastic *e, unsigned int first_msi_gsi,
			 struct error *err)
{
	const struct virtio_pci_config config = {
		.device_id = VMEM_VIRTIO_ID,
		.class_code = PCI_CLASS_OTHER,
		.nr_queues = VMEM_NR_QUEUES,
		.config_size = sizeof(struct vmem_config),
	};

	for (unsigned int i = 0; i < NR_VECTORS; i++) {
		int ret;

		e->vector_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (e->vector_fd[i] < 0)
			return error_set_errno(err, -errno, "no eventfd");
		ret = kvm_add_msi(e->kvm, first_msi_gsi, e->vector_fd[i],
				  &e->gsi[i], err);
		if (ret)
			return ret;
	}
	e->doorbell_fd = eventfd(0, EFD_CLOEXEC);
	if (e->doorbell_fd < 0)
		return error_set_errno(err, -errno, "no eventfd");
	e->devfn = pci_add(e->pci, &function_ops, e, VIRTIO_PCI_BAR_SIZE);
	if (e->devfn < 0)
		return error_set(err, e->devfn,
				 "no PCI slot for elastic device '%s'", e->id);
	virtio_pci_init(&e->vp, &config, &transport_ops, e);
	return 0;
}

int elastic_create(struct elastic **out, const struct vm_elastic_config *config,
		   const struct elastic_place *place, struct error *err)
{
	struct elastic *e = calloc(1, sizeof(*e));
	int ret;

	if (!e)
		return error_set(err, -ENOMEM,
				 "no memory for elastic device '%s'",
				 config->id);
	memcpy(e->id, config->id, sizeof(e->id));
	e->node = config->node;
	e->addr = place->addr;
	e->block_bytes = vm_elastic_block(config);
	e->placement = config->placement;
	e->max_bytes = config->max_bytes;
	/* Pages of a pool must be there before the guest touches them. */
	e->prealloc =
		place->prealloc || hostmem_must_populate(&config->placement);
	e->kvm = place->kvm;
	e->pci = place->pci;
	e->memory = place->memory;
	e->guard = place->guard;
	e->mem.fd = e->doorbell_fd = e->devfn = -1;
	for (unsigned int i = 0; i < NR_VECTORS; i++)
		e->vector_fd[i] = -1;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->idle, NULL);

	ret = make_device(e, config->requested_bytes, err);
	if (!ret)
		ret = make_memory(e, place->memory, err);
	if (!ret)
		ret = make_function(e, place->first_msi_gsi, err);
	if (ret) {
		elastic_destroy(e);
		return ret;
	}
	*out = e;
	return 0;
}

void elastic_keep_files(struct elastic *e, struct kept_files *kept)
{
	e->mem.kept = kept;
	hostmem_keep_files(kept, &e->placement);
}

int elastic_start(struct elastic *e, struct error *err)
{
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "em-%.12s", e->id);
	ret = thread_start(&e->worker, name, elastic_worker, e);
	if (ret)
		return error_set_errno(
			err, ret, "no thread for elastic device '%s'", e->id);
	e->worker_started = true;
	return 0;
}

void elastic_destroy(struct elastic *e)
{
	if (!e)
		return;
	if (e->worker_started) {
		pthread_mutex_lock(&e->lock);
		e->quit = true;
		pthread_mutex_unlock(&e->lock);
		elastic_signal(e->doorbell_fd);
		pthread_join(e->worker, NULL);
	}
	for (unsigned int i = 0; i < NR_VECTORS; i++) {
		if (e->vector_fd[i] >= 0)
			close(e->vector_fd[i]);
	}
	if (e->doorbell_fd >= 0)
		close(e->doorbell_fd);
	hostmem_destroy(&e->mem);
	free(e->storage);
	pthread_cond_destroy(&e->idle);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

/* All of it, whatever was plugged: also what a guest touched elsewhere. */
static int discard_all(struct elastic *e)
{
	int ret = hostmem_discard(&e->mem, 0, e->mem.size);

	e->given_back_us = elastic_now_us();
	return ret;
}

/* The same, by the worker. */
static int take_back(struct elastic *e)
{
	int ret = e->give_back_error;

	if (!ret)
		ret = guard_renew(e->guarded, &e->mem);
	if (ret)
		return ret;
	e->giving_back = true;
	elastic_signal(e->doorbell_fd);
	return 0;
}

/* The transport to its power-on state; a request that is served is finished
 * first. No block changes. */
static void power_cycle(struct elastic *e)
{
	/* First, so that the worker finds it stopped when it comes back. */
	virtq_stop(&e->queue);
	while (e->busy)
		pthread_cond_wait(&e->idle, &e->lock);
	e->reset_wanted = false;
	virtio_pci_system_reset(&e->vp);
	vmem_device_reset(e->dev);
}

void elastic_sleep(struct elastic *e)
{
	pthread_mutex_lock(&e->lock);
	power_cycle(e);
	pthread_mutex_unlock(&e->lock);
}

int elastic_reset(struct elastic *e, struct error *err)
{
	int ret;

	pthread_mutex_lock(&e->lock);
	/* Before the core's: no notification of ours may reach a guest that
	 * knows nothing of the device yet. */
	power_cycle(e);
	while (e->giving_back)
		pthread_cond_wait(&e->idle, &e->lock);
	e->renewing = !hostmem_must_populate(&e->placement) &&
		      hostmem_resident(&e->mem) > 0;
	ret = vmem_device_system_reset(e->dev);
	elastic_do_rest(e);
	if (!ret)
		ret = e->renewing ? take_back(e) : discard_all(e);
	e->renewing = false;
	pthread_mutex_unlock(&e->lock);
	return ret ? error_set_errno(err, ret,
				     "cannot take back the memory of elastic "
				     "device '%s'",
				     e->id)
		   : 0;
}

uint64_t elastic_given_back_us(struct elastic *e)
{
	uint64_t when;

	pthread_mutex_lock(&e->lock);
	when = e->giving_back ? UINT64_MAX : e->given_back_us;
	pthread_mutex_unlock(&e->lock);
	return when;
}

/* ---- For the operator -------------------------------------------------- */

const char *elastic_id(const struct elastic *e)
{
	return e->id;
}

int elastic_check_request(const struct elastic *e, uint64_t requested_bytes,
			  struct error *err)
{
	uint64_t excess = requested_bytes % e->block_bytes;

	if (requested_bytes > e->max_bytes)
		return error_set(err, -ERANGE,
				 "%s is more than the maximum of elastic "
				 "device '%s', %s",
				 size_format(requested_bytes).text, e->id,
				 size_format(e->max_bytes).text);
	if (excess)
		return error_set(err, -EINVAL,
				 "%s is not a multiple of the block size of "
				 "elastic device '%s', %s; the next smaller "
				 "size is %s",
				 size_format(requested_bytes).text, e->id,
				 size_format(e->block_bytes).text,
				 size_format(requested_bytes - excess).text);
	return 0;
}

void elastic_request(struct elastic *e, uint64_t requested_bytes)
{
	pthread_mutex_lock(&e->lock);
	vmem_device_set_requested_size(e->dev, requested_bytes);
	pthread_mutex_unlock(&e->lock);
}

static bool has_persistent_suspend(const struct elastic *e)
{
	return vmem_device_accepted_features(e->dev) &
	       1ULL << VMEM_F_PERSISTENT_SUSPEND;
}

int elastic_check_suspend(struct elastic *e, struct error *err)
{
	struct vmem_config config;
	bool refuses;

	pthread_mutex_lock(&e->lock);
	vmem_device_get_config(e->dev, &config);
	refuses = (virtio_pci_status(&e->vp) & VIRTIO_STATUS_DRIVER_OK) &&
		  !has_persistent_suspend(e) && config.plugged_size > 0;
	pthread_mutex_unlock(&e->lock);
	if (!refuses)
		return 0;
	return error_set(err, -EPERM,
			 "the guest refuses to suspend: its driver of elastic "
			 "device '%s', which has %s plugged, did not accept "
			 "PERSISTENT_SUSPEND (Linux's does since 6.10)",
			 e->id, size_format(config.plugged_size).text);
}

/* A driver's core acknowledges a device that no driver then takes. */
static enum vm_driver driver_state(uint8_t status)
{
	if (status & (VIRTIO_STATUS_FAILED | VIRTIO_STATUS_NEEDS_RESET))
		return VM_DRIVER_FAILED;
	if (status & VIRTIO_STATUS_DRIVER_OK)
		return VM_DRIVER_READY;
	if (status & VIRTIO_STATUS_DRIVER)
		return VM_DRIVER_STARTING;
	return VM_DRIVER_ABSENT;
}

static uint64_t ago(uint64_t when_ms)
{
	return when_ms ? elastic_now_ms() - when_ms : UINT64_MAX;
}

void elastic_get_status(struct elastic *e, struct vm_elastic_status *status)
{
	struct vmem_config config;
	int64_t resident;

	pthread_mutex_lock(&e->lock);
	vmem_device_get_config(e->dev, &config);
	*status = (struct vm_elastic_status){
		.node = e->node,
		.addr = e->addr,
		.block_bytes = e->block_bytes,
		.max_bytes = e->max_bytes,
		.usable_bytes = config.usable_region_size,
		.requested_bytes = config.requested_size,
		/* Until the host has it back. */
		.plugged_bytes = config.plugged_size +
				 (e->rest.discard ? e->rest.size : 0),
		.driver = driver_state(virtio_pci_status(&e->vp)),
		.persistent_suspend = has_persistent_suspend(e),
		.nr_plug = e->nr_requests[VMEM_REQ_PLUG],
		.nr_unplug = e->nr_requests[VMEM_REQ_UNPLUG],
		.nr_unplug_all = e->nr_requests[VMEM_REQ_UNPLUG_ALL],
		.nr_state = e->nr_requests[VMEM_REQ_STATE],
		.nr_nack = e->nr_responses[VMEM_RESP_NACK],
		.nr_busy = e->nr_responses[VMEM_RESP_BUSY],
		.nr_error = e->nr_responses[VMEM_RESP_ERROR],
		.nr_over_requested = e->nr_over_requested,
		.nr_config_writes = e->nr_config_writes,
		.nr_broken = e->nr_broken,
		.changed_ms_ago = ago(e->changed_ms),
		.request_ms_ago = ago(e->request_ms),
	};
	pthread_mutex_unlock(&e->lock);
	memcpy(status->id, e->id, sizeof(status->id));
	resident = hostmem_resident(&e->mem);
	status->resident_bytes = resident > 0 ? (uint64_t)resident : 0;
}

void elastic_get_residence(struct elastic *e, struct vm_residence *residence)
{
	*residence = (struct vm_residence){.node = e->node};
	memcpy(residence->id, e->id, sizeof(residence->id));
	hostmem_residence(&e->mem, residence->bytes);
}
