// SPDX-License-Identifier: GPL-2.0-only
/*
 * How added memory comes online, and into which zone. The kernel exports no
 * function for that: it is written to the memory block's file in sysfs, through
 * a mount of our own, so that it does not matter what is mounted where.
 */
#include <linux/fs.h>
#include <linux/memory.h>

#include <linux/module.h>
#include <linux/mount.h>
#include <linux/sched/signal.h>
#include <linux/string.h>

#include "bellows_mem.h"

#define MEMORY_DIR "devices/system/memory"

/* How often to try to bring a memory block online while somebody else (udev,
 * say) does so with another: the kernel waits 5 ms each time. */
#define ONLINE_ATTEMPTS 400

/* With online=auto: so much movable memory to one part of the kernel's. */
#define MOVABLE_RATIO 3

static char *online = "auto";
module_param(online, charp, 0444);
MODULE_PARM_DESC(online,
		 "Zone of added memory: auto (the default: the kernel's policy "
		 "where that names a zone, else movable, but at most three "
		 "parts to one of the kernel's), movable, kernel, or offline "
		 "(as the kernel's policy has it)");

static struct vfsmount *sysfs;

static struct file *open_sysfs(const char *name, int flags)
{
	const struct path root = {.mnt = sysfs, .dentry = sysfs->mnt_root};

	return file_open_root(&root, name, flags, 0);
}

int bm_online_init(void)
{
	static const char *const known[] = {"auto", "movable", "kernel",
					    "offline"};
	struct file_system_type *type;

	if (match_string(known, ARRAY_SIZE(known), online) < 0) {
		pr_err(BM_NAME ": online=%s: not auto, movable, kernel or "
			       "offline\n",
		       online);
		return -EINVAL;
	}
	type = get_fs_type("sysfs");
	if (!type)
		return -ENODEV;
	sysfs = kern_mount(type);
	module_put(type->owner);
	return PTR_ERR_OR_ZERO(sysfs);
}

void bm_online_exit(void)
{
	kern_unmount(sysfs);
}

/* The kernel's policy, the content of auto_online_blocks. */
static void read_policy(char *policy, size_t size)
{
	struct file *file =
		open_sysfs(MEMORY_DIR "/auto_online_blocks", O_RDONLY);
	loff_t pos = 0;
	ssize_t got;

	policy[0] = '\0';
	if (IS_ERR(file))
		return;
	got = kernel_read(file, policy, size - 1, &pos);
	policy[got > 0 ? got : 0] = '\0';
	strim(policy);
	filp_close(file, NULL);
}

bool bm_online_wanted(void)
{
	return strcmp(online, "offline") != 0;
}

bool bm_online_is_ours(void)
{
	char policy[32];

	if (!bm_online_wanted())
		return false;
	read_policy(policy, sizeof(policy));
	if (!strcmp(online, "auto"))
		return strcmp(policy, "online_movable") != 0 &&
		       strcmp(policy, "online_kernel") != 0;
	return !strstarts(policy, "online_") ||
	       strcmp(policy + strlen("online_"), online) != 0;
}

int bm_online_block(unsigned long pfn, bool movable)
{
	const char *how = movable ? "online_movable" : "online_kernel";
	unsigned long block = PFN_PHYS(pfn) / memory_block_size_bytes();
	ssize_t put = -ERESTARTNOINTR;
	char name[64];
	struct file *file;

	snprintf(name, sizeof(name), MEMORY_DIR "/memory%lu/state", block);
	file = open_sysfs(name, O_WRONLY);
	if (IS_ERR(file))
		return PTR_ERR(file);
	for (int i = 0; i < ONLINE_ATTEMPTS && put == -ERESTARTNOINTR; i++) {
		loff_t pos = 0;

		put = kernel_write(file, how, strlen(how), &pos);
		/* By a signal it would have the caller start again. */
		flush_signals(current);
	}
	filp_close(file, NULL);
	return put < 0 ? put : 0;
}

/* Bytes that the allocator manages, in the movable zones and in the others. */
static void sum_zones(u64 *kernel, u64 *movable)
{
	int nid;

	*kernel = *movable = 0;
	for_each_online_node(nid)
	{
		for (int i = 0; i < MAX_NR_ZONES; i++) {
			struct zone *zone = &NODE_DATA(nid)->node_zones[i];
			u64 size = (u64)zone_managed_pages(zone) << PAGE_SHIFT;

			if (i == ZONE_MOVABLE)
				*movable += size;
			else if (!zone_is_zone_device(zone))
				*kernel += size;
		}
	}
}

bool bm_online_choose_movable(u64 size)
{
	u64 kernel, movable;

	if (strcmp(online, "auto") != 0)
		return strcmp(online, "movable") == 0;
	sum_zones(&kernel, &movable);
	return movable + size <= MOVABLE_RATIO * kernel;
}
