// SPDX-License-Identifier: BSD-3-Clause
/*
 * The queue of an elastic device, and the thread that serves it. Guest memory
 * is accessed only between guard_enter() and guard_exit(), and translated anew
 * each time: by a request of its own, or through another device, the guest may
 * have given away the memory that its rings and buffers are in.
 */
#include <string.h>
#include <unistd.h>

#include "vmm/elastic_internal.h"
#include "vmm/guard.h"

static void *map_guest(void *opaque, uint64_t gpa, uint64_t len)
{
	struct elastic *e = opaque;
	void *host = guest_memory_map(e->memory, gpa, len);

	return host && guard_allows(e->guard, e->id, gpa, len) ? host : NULL;
}

static uint64_t plugged_size(const struct elastic *e)
{
	struct vmem_config config;

	vmem_device_get_config(e->dev, &config);
	return config.plugged_size;
}

static uint16_t load_le16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static void count(struct elastic *e, const uint8_t *req, const uint8_t *resp)
{
	uint16_t type = load_le16(req), answer = load_le16(resp);

	if (type < NR_REQUEST_TYPES)
		e->nr_requests[type]++;
	if (answer < NR_RESPONSES)
		e->nr_responses[answer]++;
}

/* The queue cannot go on until the driver has reset the device. */
static void break_queue(struct elastic *e)
{
	e->nr_broken++;
	virtq_set_broken(&e->queue);
	virtio_pci_set_needs_reset(&e->vp);
}

/* Have the core serve a request; e->lock is let go of for a while. e->busy is
 * set by the caller. */
static int handle_request(struct elastic *e, const uint8_t *req, size_t len,
			  uint8_t resp[sizeof(struct vmem_response)])
{
	uint64_t room = virtq_chain_writable(&e->chain);
	uint64_t plugged = plugged_size(e);
	int written;

	e->request_ms = elastic_now_ms();
	written = vmem_device_handle_request(
		e->dev, req, len, resp,
		room < sizeof(struct vmem_response)
			? (size_t)room
			: sizeof(struct vmem_response));
	if (plugged_size(e) != plugged) {
		e->changed_ms = elastic_now_ms();
		virtio_pci_config_touched(&e->vp);
	}
	if (written > 0)
		count(e, req, resp);
	return written;
}

/* Write the response to the request in e->chain. What may be accessed can have
 * changed by that very request. */
static bool respond(struct elastic *e, const uint8_t *resp, size_t len)
{
	bool good;

	guard_enter(e->guard);
	good = virtq_remap(&e->queue, &e->chain) == 0;
	if (good) {
		virtq_chain_write(&e->chain, resp, len);
		if (virtq_push(&e->queue, &e->chain, (uint32_t)len))
			virtio_pci_queue_used(&e->vp, VMEM_QUEUE_REQUEST);
	}
	guard_exit(e->guard);
	if (!good)
		break_queue(e);
	return good;
}

/* The driver's reset, if it wanted one meanwhile. */
static bool reset_came(struct elastic *e)
{
	if (!e->reset_wanted)
		return false;
	e->reset_wanted = false;
	virtq_stop(&e->queue);
	virtio_pci_reset_done(&e->vp);
	return true;
}

/* Answer the request req of e->chain. False: the queue is not to go on. */
static bool answer(struct elastic *e, const uint8_t *req, size_t len)
{
	uint8_t resp[sizeof(struct vmem_response)];
	int written = handle_request(e, req, len, resp);

	/* The driver that asked is gone, and so is its buffer. */
	if (reset_came(e))
		return false;
	if (!virtq_usable(&e->queue))
		return false; /* a system reset came first */
	/* Without the bus there is no way to answer: where the answer was to
	 * go may be another kernel's memory by now. */
	if (written < 0 || !virtio_pci_is_master(&e->vp)) {
		break_queue(e);
		return false;
	}
	return respond(e, resp, (size_t)written);
}

static bool serve_one(struct elastic *e, const uint8_t *req, size_t len)
{
	bool good;

	e->busy = true;
	good = answer(e, req, len);
	elastic_do_rest(e);
	e->busy = false;
	pthread_cond_broadcast(&e->idle);
	return !reset_came(e) && good;
}

/* Take the next request, or have the driver kick for it. 1: req is filled.
 * 0: there is none. -1: the queue is broken. */
static int take_request(struct elastic *e, uint8_t *req, size_t *len)
{
	int ret;

	guard_enter(e->guard);
	ret = virtq_remap(&e->queue, NULL);
	while (!ret) {
		virtq_disable_kicks(&e->queue);
		ret = virtq_pop(&e->queue, &e->chain);
		if (!ret && !virtq_enable_kicks(&e->queue))
			break;
	}
	if (ret == 1)
		*len = virtq_chain_read(&e->chain, req,
					sizeof(struct vmem_request));
	guard_exit(e->guard);
	return ret;
}

/* Serve all that is in the queue. */
static void serve(struct elastic *e)
{
	while (virtq_usable(&e->queue) && virtio_pci_is_master(&e->vp) &&
	       !e->quit) {
		uint8_t req[sizeof(struct vmem_request)] = {0};
		size_t len = 0;
		int ret = take_request(e, req, &len);

		if (ret < 0)
			break_queue(e);
		if (ret <= 0 || !serve_one(e, req, len))
			return;
	}
}

/* Before any request of the new guest: its memory may need the room. */
static void give_back(struct elastic *e)
{
	int ret;

	pthread_mutex_unlock(&e->lock);
	ret = hostmem_discard_old(&e->mem);
	pthread_mutex_lock(&e->lock);
	e->give_back_error = ret;
	e->giving_back = false;
	e->given_back_us = elastic_now_us();
	pthread_cond_broadcast(&e->idle);
}

void *elastic_worker(void *arg)
{
	struct elastic *e = arg;
	uint64_t kicks;
	bool quit;

	do {
		(void)!read(e->doorbell_fd, &kicks, sizeof(kicks));
		pthread_mutex_lock(&e->lock);
		if (e->giving_back && !e->quit)
			give_back(e);
		if (!e->quit)
			serve(e);
		quit = e->quit;
		pthread_mutex_unlock(&e->lock);
	} while (!quit);
	return NULL;
}

void elastic_queue_start(struct elastic *e, const struct virtq_config *config)
{
	const struct virtq_memory memory = {.map = map_guest, .opaque = e};

	/* An address that is none shows at the first kick. */
	if (virtq_start(&e->queue, &memory, config) < 0) {
		e->nr_broken++;
		virtio_pci_set_needs_reset(&e->vp);
	}
	/* The driver may have filled the queue before DRIVER_OK. */
	elastic_signal(e->doorbell_fd);
}
