// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module tells of a device, in the folder bellows_mem of its sysfs
 * entry: where it stands, what it did, and why it could not do more. Writing 1
 * to `drain` gives all memory back, whatever was requested, so that the module
 * can be unloaded; 0 ends that.
 */
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "bellows_mem.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

const char *bm_holder_name(enum bm_holder holder)
{
	static const char *const names[BM_NR_HOLDERS] = {
		[BM_HOLDS_NOTHING] = "nothing",
		[BM_HOLDS_SLAB] = "slab",
		[BM_HOLDS_PAGE_TABLE] = "page-table",
		[BM_HOLDS_PINNED] = "pinned",
		[BM_HOLDS_HUGETLB] = "huge-page",
		[BM_HOLDS_RESERVED] = "reserved",
		[BM_HOLDS_KERNEL] = "kernel",
		[BM_HOLDS_MOVABLE] = "movable",
	};

	return names[holder];
}

void bm_report_shortfall(struct bm *bm, const struct bm_shortfall *shortfall)
{
	spin_lock(&bm->status_lock);
	bm->shortfall = *shortfall;
	spin_unlock(&bm->status_lock);
	trace_bellows_mem_shortfall(shortfall->addr, shortfall->size,
				    shortfall->pfn,
				    bm_holder_name(shortfall->holder),
				    shortfall->nr_held, shortfall->error);
}

static struct bm *bm_of(struct device *dev)
{
	return dev_to_virtio(dev)->priv;
}

static ssize_t status_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	static const char *const phases[] = {"clearing", "syncing", "active",
					     "looked",	 "stopped", "broken"};
	struct bm *bm = bm_of(dev);
	struct vmem_driver_status now;

	spin_lock(&bm->status_lock);
	now = bm->status;
	spin_unlock(&bm->status_lock);
	return sysfs_emit(buf,
			  "phase %s\nsettled %d\nrequested %llu\nused %llu\n"
			  "held %llu\nin_flight %u\n",
			  phases[now.phase], now.settled, now.requested_size,
			  now.state_bytes[VMEM_DRIVER_USED],
			  now.state_bytes[VMEM_DRIVER_HELD], now.nr_in_flight);
}
static DEVICE_ATTR_RO(status);

static ssize_t counters_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct bm *bm = bm_of(dev);
	const struct bm_counts *c = &bm->counts;
	struct vmem_driver_status now;

	spin_lock(&bm->status_lock);
	now = bm->status;
	spin_unlock(&bm->status_lock);
	return sysfs_emit(buf,
			  "plug_requests %llu\nunplug_requests %llu\n"
			  "unplug_all_requests %llu\nstate_requests %llu\n"
			  "acks %llu\nnacks %llu\nbusy %llu\nerrors %llu\n"
			  "taken_free %llu\ntaken_moved %llu\n"
			  "dropped %llu\n"
			  "blocks_added %llu\nblocks_removed %llu\n"
			  "blocks_rebuilt %llu\nonline_failures %llu\n"
			  "removing_us %llu\nadding_us %llu\ntaking_us %llu\n",
			  now.nr_requests[VMEM_REQ_PLUG],
			  now.nr_requests[VMEM_REQ_UNPLUG],
			  now.nr_requests[VMEM_REQ_UNPLUG_ALL],
			  now.nr_requests[VMEM_REQ_STATE],
			  now.nr_responses[VMEM_RESP_ACK],
			  now.nr_responses[VMEM_RESP_NACK],
			  now.nr_responses[VMEM_RESP_BUSY],
			  now.nr_responses[VMEM_RESP_ERROR], c->taken_free,
			  c->taken_moved, c->dropped, c->blocks_added,
			  c->blocks_removed, c->rebuilt, c->online_failures,
			  c->removing_us, c->adding_us, c->taking_us);
}
static DEVICE_ATTR_RO(counters);

static ssize_t shortfall_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	struct bm *bm = bm_of(dev);
	struct bm_shortfall last;

	spin_lock(&bm->status_lock);
	last = bm->shortfall;
	spin_unlock(&bm->status_lock);
	if (last.size == 0)
		return sysfs_emit(buf, "none\n");
	return sysfs_emit(buf,
			  "block %#llx\nsize %llu\npfn %#lx\nholder %s\n"
			  "pages %lu\nerror %d\n",
			  last.addr, last.size, last.pfn,
			  bm_holder_name(last.holder), last.nr_held,
			  last.error);
}
static DEVICE_ATTR_RO(shortfall);

static ssize_t drain_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(bm_of(dev)->draining));
}

static ssize_t drain_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	struct bm *bm = bm_of(dev);
	bool on;
	int error = kstrtobool(buf, &on);

	if (error)
		return error;
	WRITE_ONCE(bm->draining, on);
	bm_wake(bm, BM_EVENT_DRAIN);
	return count;
}
static DEVICE_ATTR_RW(drain);

static struct attribute *attributes[] = {
	&dev_attr_status.attr,
	&dev_attr_counters.attr,
	&dev_attr_shortfall.attr,
	&dev_attr_drain.attr,
	NULL,
};

static const struct attribute_group group = {
	.name = BM_NAME,
	.attrs = attributes,
};

const struct attribute_group *bm_attribute_groups[] = {&group, NULL};
