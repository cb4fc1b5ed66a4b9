// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio driver: devices come and go, the machine sleeps and crashes.
 */
#include <linux/ioport.h>
#include <linux/kthread.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "bellows_mem.h"

/* How long an unbinding waits for memory to be given back. */
#define DRAIN_TIMEOUT (10 * HZ)

static void config_changed(struct virtio_device *vdev)
{
	struct bm *bm = vdev->priv;

	bm_wake(bm, BM_EVENT_CONFIG);
	/* What is being moved may not be wanted any more. */
	if (READ_ONCE(bm->moving))
		send_sig(SIGINT, bm->thread, 1);
}

/* ---- The crash kernel --------------------------------------------------- */

#ifdef CONFIG_PROC_VMCORE
static bool looked(struct bm *bm)
{
	enum vmem_driver_phase phase;

	spin_lock(&bm->status_lock);
	phase = bm->status.phase;
	spin_unlock(&bm->status_lock);
	return phase == VMEM_DRIVER_LOOKED || phase == VMEM_DRIVER_BROKEN;
}

/* The crashed kernel's page: unplugged memory must not be read. */
static bool pfn_is_ram(struct vmcore_cb *cb, unsigned long pfn)
{
	struct bm *bm = container_of(cb, struct bm, vmcore_cb);
	u64 addr = PFN_PHYS(pfn);

	if (addr < bm->device.addr ||
	    addr >= bm->device.addr + bm->device.region_size)
		return true;
	wait_event(bm->wait, looked(bm));
	return vmem_driver_is_plugged(bm->core, addr);
}

static void begin_look(struct bm *bm)
{
	bm->vmcore_cb.pfn_is_ram = pfn_is_ram;
	register_vmcore_cb(&bm->vmcore_cb);
}

static void end_look(struct bm *bm)
{
	unregister_vmcore_cb(&bm->vmcore_cb);
}
#else
static void begin_look(struct bm *bm)
{
}

static void end_look(struct bm *bm)
{
}
#endif

/* ---- Devices ------------------------------------------------------------ */

static int create_core(struct bm *bm)
{
	const struct vmem_driver_config config = {
		.unit_size = memory_block_size_bytes(),
		.granule = PFN_PHYS(pageblock_nr_pages),
		.addr_limit = mhp_get_pluggable_range(true).end + 1,
		.start = bm->kdump ? VMEM_DRIVER_START_LOOK
				   : VMEM_DRIVER_START_UNPLUG_ALL,
		.depth = BM_DEPTH,
	};
	const char *wrong;
	void *storage;
	size_t size;
	int error;

	error = vmem_driver_read_config(&bm_ops, bm, &bm->device);
	if (error)
		return error;
	wrong = vmem_driver_config_error(&config, &bm->device, true);
	if (wrong) {
		dev_err(&bm->vdev->dev, "%s\n", wrong);
		return -EINVAL;
	}
	size = vmem_driver_storage_size(&config, &bm->device, true);
	storage = kvzalloc(size, GFP_KERNEL);
	if (!storage)
		return -ENOMEM;
	bm->core = vmem_driver_init(storage, size, &config, &bm->device,
				    bm->vdev->features, &bm_ops, bm);
	if (bm->core)
		return 0;
	kvfree(storage);
	return -EINVAL;
}

/*
 * The region becomes ours. Memory that a driver before us left in use: nobody
 * can tell any more which of it is plugged.
 */
static int claim_region(struct bm *bm)
{
	u64 addr = bm->device.addr, size = bm->device.region_size;

	if (bm->kdump)
		return 0;
	if (region_intersects(addr, size, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT) {
		dev_err(&bm->vdev->dev,
			"a driver before this one left memory of the device in "
			"use; it can be managed again after a reboot\n");
		return -EBUSY;
	}
	bm->region = __request_region(&iomem_resource, addr, size, BM_NAME,
				      IORESOURCE_SYSTEM_RAM);
	if (!bm->region) {
		dev_err(&bm->vdev->dev,
			"the device's region at %#llx is somebody else's\n",
			addr);
		return -EBUSY;
	}
	/* Memory is added in it; nobody maps by /dev/mem what is not plugged.
	 */
	bm->region->flags &= ~IORESOURCE_BUSY;
	bm->region->flags |= IORESOURCE_EXCLUSIVE;
	return 0;
}

/* Not while memory in it is in use. */
static void release_region_if_empty(struct bm *bm)
{
	if (!bm->region || bm->nr_added > 0)
		return;
	release_resource(bm->region);
	kfree(bm->region);
}

static int pm_notify(struct notifier_block *nb, unsigned long action, void *arg)
{
	struct bm *bm = container_of(nb, struct bm, pm_nb);
	bool sleeps =
		action == PM_HIBERNATION_PREPARE ||
		action == PM_RESTORE_PREPARE ||
		(action == PM_SUSPEND_PREPARE &&
		 !virtio_has_feature(bm->vdev, VMEM_F_PERSISTENT_SUSPEND));

	if (!sleeps || READ_ONCE(bm->nr_added) == 0)
		return NOTIFY_DONE;
	dev_err(&bm->vdev->dev, "the machine cannot sleep: the memory that was "
				"added would be lost\n");
	return NOTIFY_BAD;
}

static int start(struct bm *bm)
{
	struct task_struct *thread =
		kthread_create(bm_thread, bm, BM_NAME "/%d", bm->vdev->index);

	if (IS_ERR(thread))
		return PTR_ERR(thread);
	bm->thread = thread;
	virtio_device_ready(bm->vdev);
	wake_up_process(thread);
	return 0;
}

static int set_up(struct bm *bm)
{
	int error = create_core(bm);

	if (error)
		return error;
	error = claim_region(bm);
	if (error)
		goto fail;
	if (!bm->kdump) {
		error = bm_memory_init(bm);
		if (error)
			goto fail_region;
		bm->pm_nb.notifier_call = pm_notify;
		register_pm_notifier(&bm->pm_nb);
	}
	error = start(bm);
	if (!error) {
		if (bm->kdump)
			begin_look(bm);
		return 0;
	}
	if (!bm->kdump) {
		unregister_pm_notifier(&bm->pm_nb);
		bm_memory_finish(bm);
	}
fail_region:
	release_region_if_empty(bm);
fail:
	kvfree(bm->core);
	return error;
}

static int probe(struct virtio_device *vdev)
{
	struct bm *bm = kzalloc(sizeof(*bm), GFP_KERNEL);
	int error = -ENOMEM;

	if (!bm)
		return error;
	vdev->priv = bm;
	bm->vdev = vdev;
	bm->kdump = is_kdump_kernel();
	init_waitqueue_head(&bm->wait);
	spin_lock_init(&bm->status_lock);
	bm->slots = kcalloc(BM_DEPTH, sizeof(*bm->slots), GFP_KERNEL);
	if (!bm->slots)
		goto fail;
	error = bm_queue_init(bm);
	if (error)
		goto fail;
	error = set_up(bm);
	if (!error)
		return 0;
	vdev->config->del_vqs(vdev);
fail:
	vdev->priv = NULL;
	kfree(bm->slots);
	kfree(bm);
	return error;
}

static bool drained(struct bm *bm)
{
	bool settled;

	spin_lock(&bm->status_lock);
	settled = bm->status.settled && READ_ONCE(bm->nr_added) == 0;
	spin_unlock(&bm->status_lock);
	return settled;
}

static void remove(struct virtio_device *vdev)
{
	struct bm *bm = vdev->priv;

	if (!bm->kdump && READ_ONCE(bm->nr_added) > 0) {
		unsigned long end = jiffies + DRAIN_TIMEOUT;

		WRITE_ONCE(bm->draining, true);
		bm_wake(bm, BM_EVENT_DRAIN);
		while (!drained(bm) && time_before(jiffies, end))
			schedule_timeout_uninterruptible(HZ / 20);
	}
	if (bm->kdump)
		end_look(bm);
	else
		unregister_pm_notifier(&bm->pm_nb);
	kthread_stop(bm->thread);
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	if (!bm->kdump)
		bm_memory_finish(bm);
	release_region_if_empty(bm);
	kvfree(bm->core);
	kfree(bm->slots);
	kfree(bm);
	vdev->priv = NULL;
}

#ifdef CONFIG_PM_SLEEP
static int freeze(struct virtio_device *vdev)
{
	struct bm *bm = vdev->priv;

	if (bm->nr_added > 0 &&
	    !virtio_has_feature(vdev, VMEM_F_PERSISTENT_SUSPEND))
		return -EPERM;
	kthread_park(bm->thread);
	vmem_driver_device_reset(bm->core);
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	return 0;
}

static int restore(struct virtio_device *vdev)
{
	struct bm *bm = vdev->priv;
	int error = bm_queue_init(bm);

	if (error)
		return error;
	virtio_device_ready(vdev);
	vmem_driver_device_ready(bm->core);
	bm_wake(bm, BM_EVENT_CONFIG);
	kthread_unpark(bm->thread);
	return 0;
}
#endif

static const unsigned int features[] = {
#ifdef CONFIG_ACPI_NUMA
	VMEM_F_ACPI_PXM,
#endif
	VMEM_F_UNPLUGGED_INACCESSIBLE,
	VMEM_F_PERSISTENT_SUSPEND,
};

static const struct virtio_device_id ids[] = {
	{VIRTIO_ID_MEM, VIRTIO_DEV_ANY_ID},
	{0},
};
MODULE_DEVICE_TABLE(virtio, ids);

static struct virtio_driver driver = {
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.driver.name = BM_NAME,
	.driver.owner = THIS_MODULE,
	.driver.dev_groups = bm_attribute_groups,
	.id_table = ids,
	.probe = probe,
	.remove = remove,
	.config_changed = config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = freeze,
	.restore = restore,
#endif
};

static int __init bm_init(void)
{
	int error = bm_online_init();

	if (error)
		return error;
	error = register_virtio_driver(&driver);
	if (error) {
		bm_online_exit();
		return error;
	}
	if (driver_find("virtio_mem", driver.driver.bus))
		pr_notice(BM_NAME ": virtio_mem is loaded, too. A device "
				  "belongs to whichever came first: blacklist "
				  "virtio_mem, or unbind its devices\n");
	return 0;
}

static void __exit bm_exit(void)
{
	unregister_virtio_driver(&driver);
	bm_online_exit();
}

module_init(bm_init);
module_exit(bm_exit);

MODULE_DESCRIPTION("virtio-mem driver that gives memory back at once");
MODULE_AUTHOR("The Bellows authors");
MODULE_LICENSE("GPL");
