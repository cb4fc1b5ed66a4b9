// SPDX-License-Identifier: GPL-2.0-only
/*
 * The thread that runs the driver core: it carries requests and responses
 * between the core and the virtqueue, and decides how hard the core shall try
 * to take memory.
 */
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include "bellows_mem.h"

void bm_wake(struct bm *bm, enum bm_event event)
{
	set_bit(event, &bm->events);
	wake_up(&bm->wait);
}

/* ---- The queue ---------------------------------------------------------- */

/* A response came; interrupt context. */
void bm_request_done(struct virtqueue *vq)
{
	bm_wake(vq->vdev->priv, BM_EVENT_RESPONSE);
}

int bm_queue_init(struct bm *bm)
{
	bm->vq = virtio_find_single_vq(bm->vdev, bm_request_done,
				       "guest-request");
	return PTR_ERR_OR_ZERO(bm->vq);
}

int bm_submit(void *opaque, unsigned int tag, const void *req, size_t req_len)
{
	struct bm *bm = opaque;
	struct bm_slot *slot = &bm->slots[tag];
	struct scatterlist out, in, *sgs[] = {&out, &in};

	slot->tag = tag;
	memcpy(slot->request, req, req_len);
	sg_init_one(&out, slot->request, req_len);
	sg_init_one(&in, slot->response, 10);
	return virtqueue_add_sgs(bm->vq, sgs, 1, 1, slot, GFP_KERNEL);
}

void bm_kick(void *opaque)
{
	struct bm *bm = opaque;

	virtqueue_kick(bm->vq);
}

static void take_responses(struct bm *bm)
{
	struct bm_slot *slot;
	unsigned int len;

	while ((slot = virtqueue_get_buf(bm->vq, &len)))
		vmem_driver_response(bm->core, slot->tag, slot->response, len);
}

/* Every field is 8 bytes, or 2 at an offset that is a multiple of 8. */
void bm_read_config(void *opaque, size_t offset, void *buf, size_t len)
{
	struct virtio_device *vdev = ((struct bm *)opaque)->vdev;

	for (; len >= 8; len -= 8, offset += 8, buf += 8)
		vdev->config->get(vdev, offset, buf, 8);
	for (; len > 0; len--, offset++, buf++)
		vdev->config->get(vdev, offset, buf, 1);
}

uint32_t bm_config_generation(void *opaque)
{
	struct virtio_device *vdev = ((struct bm *)opaque)->vdev;

	return vdev->config->generation ? vdev->config->generation(vdev) : 0;
}

static void broken(void *opaque, const char *why)
{
	struct bm *bm = opaque;

	dev_err(&bm->vdev->dev, "stopped: %s\n", why);
}

const struct vmem_driver_ops bm_ops = {
	.submit = bm_submit,
	.kick = bm_kick,
	.read_config = bm_read_config,
	.config_generation = bm_config_generation,
	.add_range = bm_memory_add_range,
	.take_range = bm_memory_take_range,
	.unit_add = bm_memory_unit_add,
	.unit_remove = bm_memory_unit_remove,
	.usage = bm_memory_usage,
	.broken = broken,
};

/* ---- The thread --------------------------------------------------------- */

static void handle_events(struct bm *bm)
{
	if (test_and_clear_bit(BM_EVENT_RESPONSE, &bm->events))
		take_responses(bm);
	if (test_and_clear_bit(BM_EVENT_CONFIG, &bm->events)) {
		bm->effort = BM_FREE_ONLY;
		vmem_driver_config_changed(bm->core);
	}
	if (test_and_clear_bit(BM_EVENT_ONLINE, &bm->events))
		vmem_driver_config_changed(bm->core);
	if (test_and_clear_bit(BM_EVENT_DRAIN, &bm->events))
		vmem_driver_drain(bm->core, READ_ONCE(bm->draining));
}

/* Run the core; returns how many milliseconds to wait. */
static u32 run_core(struct bm *bm)
{
	struct vmem_driver_status now;
	u32 delay = vmem_driver_run(bm->core, ktime_to_ms(ktime_get()));

	vmem_driver_get_status(bm->core, &now);
	spin_lock(&bm->status_lock);
	bm->status = now;
	spin_unlock(&bm->status_lock);
	if (now.phase == VMEM_DRIVER_LOOKED)
		wake_up(&bm->wait);
	/* What is free is taken, and more is wanted. */
	if (now.exhausted && bm->effort == BM_FREE_ONLY) {
		bm->effort = BM_MOVE;
		vmem_driver_config_changed(bm->core);
		return 0;
	}
	return delay;
}

int bm_thread(void *opaque)
{
	struct bm *bm = opaque;
	long timeout;
	bool whole;
	u32 delay;

	allow_signal(SIGINT);
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		handle_events(bm);
		whole = bm->kdump || bm_memory_mend(bm);
		delay = run_core(bm);
		if (!whole)
			delay = min_t(u32, delay, MSEC_PER_SEC);
		timeout = delay == VMEM_DRIVER_IDLE ? MAX_SCHEDULE_TIMEOUT
						    : msecs_to_jiffies(delay);
		if (delay > 0)
			wait_event_interruptible_timeout(
				bm->wait,
				READ_ONCE(bm->events) ||
					kthread_should_stop() ||
					kthread_should_park(),
				timeout);
		flush_signals(current);
		cond_resched();
	}
	return 0;
}
