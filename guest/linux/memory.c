// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the driver core asks of Linux: add memory, give its pages out, and take
 * them back.
 *
 * A unit of the core is one Linux memory block (several, for devices with
 * larger blocks). Memory blocks may be plugged in part: `usable` says of each
 * sub-block whether Linux may touch it, and the pages of the others are hidden
 * (pages.c), as long as the memory block is online. Linux may take a memory
 * block online and offline at any time, on whoever's behalf; from the first to
 * the last of its notifications bm->lock is held, so that `usable` and the
 * pages always agree.
 *
 * The lock must not be held around calls that add, remove, online or offline
 * memory: they notify.
 */
#include <linux/acpi.h>
#include <linux/delay.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/sched/signal.h>

#include "bellows_mem.h"

/* Without it kexec would take the memory for the machine's own. */
static const char resource_name[] = "System RAM (virtio_mem)";

#define NO_UNIT ULONG_MAX

/* So much may wait to be brought online by somebody else. */
#define OFFLINE_LIMIT (1ULL << 30)

static LIST_HEAD(devices);
static DECLARE_RWSEM(devices_sem);

static unsigned long first_sub(const struct bm *bm, u64 addr)
{
	return (addr - bm->base) / bm->sub_size;
}

static unsigned long unit_of(const struct bm *bm, u64 addr)
{
	return (addr - bm->base) / bm->unit_size;
}

static u64 region_end(const struct bm *bm)
{
	return bm->base + bm->nr_units * bm->unit_size;
}

static void set_usable(struct bm *bm, u64 addr, u64 size)
{
	bitmap_set(bm->usable, first_sub(bm, addr), size / bm->sub_size);
}

static void clear_usable(struct bm *bm, u64 addr, u64 size)
{
	bitmap_clear(bm->usable, first_sub(bm, addr), size / bm->sub_size);
}

static bool is_usable(const struct bm *bm, u64 addr)
{
	return test_bit(first_sub(bm, addr), bm->usable);
}

static u64 usable_bytes(const struct bm *bm, u64 addr, u64 size)
{
	u64 sum = 0;

	for (u64 at = addr; at < addr + size; at += bm->sub_size)
		sum += is_usable(bm, at) ? bm->sub_size : 0;
	return sum;
}

/* Whether all of a unit is online. */
static bool is_online(const struct bm *bm, unsigned long unit)
{
	return bm->online_blocks[unit] ==
	       bm->unit_size / memory_block_size_bytes();
}

/* ---- Coming online ------------------------------------------------------ */

static struct bm *device_of(u64 addr)
{
	struct bm *bm;

	list_for_each_entry(bm, &devices, list)
	{
		if (addr >= bm->base && addr < region_end(bm))
			return bm;
	}
	return NULL;
}

/* Linux gives 2^order new pages to the allocator: hold back those that are not
 * plugged. Runs between MEM_GOING_ONLINE and MEM_ONLINE. */
static void online_page(struct page *page, unsigned int order)
{
	unsigned long pfn = page_to_pfn(page), nr = 1UL << order;
	u64 addr = PFN_PHYS(pfn), size = PFN_PHYS(nr);
	unsigned int whole = 0, pieces = 0;
	struct bm *bm;

	down_read(&devices_sem);
	bm = device_of(addr);
	if (!bm) {
		generic_online_page(page, order);
		goto out;
	}
	for (u64 at = addr; at < addr + size;
	     at += PFN_PHYS(pageblock_nr_pages)) {
		whole += is_usable(bm, at);
		pieces++;
	}
	if (whole == pieces) {
		generic_online_page(page, order);
		goto out;
	}
	for (; nr > 0; pfn += pageblock_nr_pages, nr -= pageblock_nr_pages) {
		if (is_usable(bm, PFN_PHYS(pfn)))
			generic_online_page(pfn_to_page(pfn), pageblock_order);
		else
			bm_pages_hide_new(pfn, pageblock_nr_pages);
	}
out:
	up_read(&devices_sem);
}

/* Let go of the hidden pages of a range, or hold them again. */
static void for_hidden(const struct bm *bm, u64 addr, u64 size,
		       void (*action)(unsigned long, unsigned long))
{
	u64 step = min_t(u64, bm->sub_size, memory_block_size_bytes());

	for (u64 at = addr; at < addr + size; at += step) {
		if (!is_usable(bm, at))
			action(PHYS_PFN(at), PHYS_PFN(step));
	}
}

static void changed_state(struct bm *bm, u64 addr, int by)
{
	unsigned long unit = unit_of(bm, addr);

	bm->online_blocks[unit] += by;
	if (by > 0)
		bm->movable[unit] = page_zonenum(pfn_to_page(PHYS_PFN(addr))) ==
				    ZONE_MOVABLE;
	if (current != bm->thread)
		bm_wake(bm, BM_EVENT_ONLINE);
	/* Before Linux forgets the pages that the timer looks at. */
	if (bm->online_blocks[unit] == 0 && unit == bm->move_unit)
		timer_delete_sync(&bm->move_timer);
}

/* lock_taken is set from GOING to the end, by whoever holds the hotplug lock.
 */
static int going(struct bm *bm, unsigned long action, u64 addr, u64 size)
{
	if (action == MEM_GOING_ONLINE && bm->veto && current == bm->thread)
		return NOTIFY_BAD;
	mutex_lock(&bm->lock);
	bm->lock_taken = true;
	if (action == MEM_GOING_OFFLINE)
		for_hidden(bm, addr, size, bm_pages_release);
	return NOTIFY_OK;
}

static int on_notification(struct notifier_block *nb, unsigned long action,
			   void *arg)
{
	struct bm *bm = container_of(nb, struct bm, memory_nb);
	const struct memory_notify *what = arg;
	u64 addr = PFN_PHYS(what->start_pfn), size = PFN_PHYS(what->nr_pages);

	if (addr + size <= bm->base || addr >= region_end(bm))
		return NOTIFY_DONE;
	if (action == MEM_GOING_ONLINE || action == MEM_GOING_OFFLINE)
		return going(bm, action, addr, size);
	if (!bm->lock_taken)
		return NOTIFY_OK;
	switch (action) {
	case MEM_ONLINE:
		changed_state(bm, addr, 1);
		break;
	case MEM_OFFLINE:
		changed_state(bm, addr, -1);
		break;
	case MEM_CANCEL_OFFLINE:
		for_hidden(bm, addr, size, bm_pages_hold);
		break;
	case MEM_CANCEL_ONLINE:
		break;
	default:
		return NOTIFY_OK;
	}
	bm->lock_taken = false;
	mutex_unlock(&bm->lock);
	return NOTIFY_OK;
}

/* ---- Memory blocks ------------------------------------------------------ */

/* Bytes that were added and are not online. */
static u64 offline_bytes(const struct bm *bm)
{
	unsigned long unit;
	u64 sum = 0;

	for_each_set_bit(unit, bm->added, bm->nr_units)
	{
		if (bm->online_blocks[unit] == 0)
			sum += bm->unit_size;
	}
	return sum;
}

static void online_unit(struct bm *bm, u64 addr, bool movable)
{
	unsigned long block = memory_block_size_bytes();
	int error;

	for (u64 at = addr; at < addr + bm->unit_size; at += block) {
		error = bm_online_block(PHYS_PFN(at), movable);
		if (!error)
			continue;
		bm->counts.online_failures++;
		dev_warn_ratelimited(&bm->vdev->dev,
				     "memory at %#llx does not come online: "
				     "error %d\n",
				     at, error);
	}
}

/* Add a unit to Linux; it comes online if that is for us to do. */
static int add_unit(struct bm *bm, u64 addr, bool movable)
{
	bool ours = bm_online_is_ours();
	ktime_t began = ktime_get();
	int error;

	bm->veto = ours;
	error = add_memory_driver_managed(bm->mgid, addr, bm->unit_size,
					  resource_name,
					  MHP_MERGE_RESOURCE | MHP_NID_IS_MGID);
	bm->veto = false;
	if (error)
		return error;
	/* The module must not go while it keeps pages hidden. */
	if (bm->nr_added++ == 0)
		__module_get(THIS_MODULE);
	set_bit(unit_of(bm, addr), bm->added);
	if (ours)
		online_unit(bm, addr, movable);
	bm->counts.adding_us += ktime_us_delta(ktime_get(), began);
	return 0;
}

int bm_memory_unit_add(void *opaque, uint64_t addr, uint64_t size)
{
	struct bm *bm = opaque;
	int error;

	if (offline_bytes(bm) >= OFFLINE_LIMIT)
		return -EBUSY;
	for (u64 at = addr; at < addr + size; at += bm->sub_size) {
		if (vmem_driver_is_usable(bm->core, at))
			set_usable(bm, at, bm->sub_size);
	}
	error = add_unit(bm, addr, bm_online_choose_movable(size));
	if (error)
		clear_usable(bm, addr, size);
	else
		bm->counts.blocks_added++;
	return error;
}

static void fell_short(struct bm *bm, u64 addr, const struct bm_shortfall *seen,
		       int error)
{
	struct bm_shortfall why = *seen;

	why.addr = addr;
	why.size = bm->unit_size;
	why.error = error;
	bm_report_shortfall(bm, &why);
}

/* Whether a unit holds what cannot move. Linux would find out as well, but
 * print a page's state each time. */
static bool is_stuck(struct bm *bm, u64 addr, struct bm_shortfall *seen)
{
	*seen = (struct bm_shortfall){0};
	if (is_online(bm, unit_of(bm, addr)))
		bm_pages_explain(PHYS_PFN(addr), PHYS_PFN(bm->unit_size), seen);
	return seen->holder == BM_HOLDS_SLAB ||
	       seen->holder == BM_HOLDS_PAGE_TABLE ||
	       seen->holder == BM_HOLDS_RESERVED ||
	       seen->holder == BM_HOLDS_KERNEL;
}

static unsigned long cost_of(struct bm *bm, unsigned long unit)
{
	return bm_pages_cost(PHYS_PFN(bm->base + unit * bm->unit_size),
			     PHYS_PFN(bm->unit_size));
}

/* Have a signal end it when nothing moves any more. */
static void begin_to_watch(struct bm *bm, unsigned long unit)
{
	mutex_lock(&bm->lock);
	bm->move_unit = unit;
	bm->move_left = ULONG_MAX;
	if (bm->online_blocks[unit] > 0)
		mod_timer(&bm->move_timer, jiffies + BM_MOVE_PATIENCE);
	mutex_unlock(&bm->lock);
}

static void look_again(struct timer_list *timer)
{
	struct bm *bm = container_of(timer, struct bm, move_timer);
	unsigned long left = cost_of(bm, bm->move_unit);

	if (left >= bm->move_left) {
		send_sig(SIGINT, bm->thread, 1);
		return;
	}
	bm->move_left = left;
	mod_timer(timer, jiffies + BM_MOVE_PATIENCE);
}

/* The kernel moves pages until it succeeds, or until a signal comes. */
static int remove_memory_in_time(struct bm *bm, u64 addr)
{
	ktime_t began = ktime_get();
	unsigned long unit = unit_of(bm, addr);
	struct bm_shortfall seen;
	int error;

	/* If the rest cannot move, parts of it may be free then. */
	if (is_online(bm, unit))
		bm->counts.dropped += PFN_PHYS(
			bm_cache_drop(PHYS_PFN(addr), PHYS_PFN(bm->unit_size)));
	if (is_stuck(bm, addr, &seen)) {
		bm_cache_write(PHYS_PFN(addr), PHYS_PFN(bm->unit_size));
		bm->stuck_unit = unit;
		fell_short(bm, addr, &seen, -EBUSY);
		return -EBUSY;
	}
	WRITE_ONCE(bm->moving, true);
	begin_to_watch(bm, unit);
	error = offline_and_remove_memory(addr, bm->unit_size);
	WRITE_ONCE(bm->moving, false);
	timer_delete_sync(&bm->move_timer);
	flush_signals(current);
	bm->counts.removing_us += ktime_us_delta(ktime_get(), began);
	if (error) {
		fell_short(bm, addr, &seen, error);
		return error;
	}
	clear_bit(unit, bm->added);
	bm->online_blocks[unit] = 0;
	if (--bm->nr_added == 0)
		module_put(THIS_MODULE);
	return 0;
}

int bm_memory_unit_remove(void *opaque, uint64_t addr, uint64_t size)
{
	struct bm *bm = opaque;
	unsigned long unit = unit_of(bm, addr);
	u64 usable = usable_bytes(bm, addr, size);
	bool moves = usable > 0 && bm->online_blocks[unit];
	int error;

	if (moves && bm->effort == BM_FREE_ONLY)
		return -EBUSY;
	if (test_bit(unit, bm->added)) {
		error = remove_memory_in_time(bm, addr);
		if (error)
			return error;
		bm->counts.blocks_removed++;
	}
	if (moves)
		bm->counts.taken_moved += usable;
	clear_usable(bm, addr, size);
	return 0;
}

/* ---- Sub-blocks --------------------------------------------------------- */

int bm_memory_add_range(void *opaque, uint64_t addr, uint64_t size)
{
	struct bm *bm = opaque;

	mutex_lock(&bm->lock);
	set_usable(bm, addr, size);
	if (is_online(bm, unit_of(bm, addr)))
		bm_pages_give(PHYS_PFN(addr), PHYS_PFN(size));
	mutex_unlock(&bm->lock);
	return 0;
}

/* Take the memory block away, and bring it back without the range: offlining
 * moves pages without writing to those that are left behind. */
static int rebuild(struct bm *bm, u64 addr, u64 size)
{
	u64 unit_addr = addr - (addr - bm->base) % bm->unit_size;
	bool movable = bm->movable[unit_of(bm, addr)];
	int error;

	/* Not for each of its sub-blocks again. */
	if (unit_of(bm, addr) == bm->stuck_unit)
		return -EBUSY;
	error = remove_memory_in_time(bm, unit_addr);
	if (error)
		return error;
	clear_usable(bm, addr, size);
	bm->counts.rebuilt++;
	bm->counts.taken_moved += size;
	/* If it fails, bm_memory_mend() goes on. */
	add_unit(bm, unit_addr, movable);
	return 0;
}

/* 0: taken; 1: by moving only. */
static int take_in_place(struct bm *bm, u64 addr, u64 size)
{
	unsigned long pfn = PHYS_PFN(addr), nr = PHYS_PFN(size);
	unsigned long unit = unit_of(bm, addr);
	ktime_t began = ktime_get();
	int result = 0;

	mutex_lock(&bm->lock);
	if (bm->online_blocks[unit] == 0)
		; /* Linux has no page of it. */
	else if (!is_online(bm, unit))
		result = 1;
	else if (bm_pages_take_free(pfn, nr))
		bm->counts.taken_free += size;
	else if (bm->effort == BM_MOVE && bm_pages_take_moving(pfn, nr))
		bm->counts.taken_moved += size;
	else
		result = 1;
	if (result == 0)
		clear_usable(bm, addr, size);
	mutex_unlock(&bm->lock);
	bm->counts.taking_us += ktime_us_delta(ktime_get(), began);
	return result;
}

int bm_memory_take_range(void *opaque, uint64_t addr, uint64_t size)
{
	struct bm *bm = opaque;

	if (take_in_place(bm, addr, size) == 0)
		return 0;
	if (bm->effort == BM_FREE_ONLY)
		return -EBUSY;
	return rebuild(bm, addr, size);
}

uint64_t bm_memory_usage(void *opaque, uint64_t addr, uint64_t size)
{
	struct bm *bm = opaque;
	u64 cost = 0;

	bm->stuck_unit = NO_UNIT;
	mutex_lock(&bm->lock);
	/* One more, so that what Linux does not use at all goes first. */
	if (is_online(bm, unit_of(bm, addr)))
		cost = 1 + cost_of(bm, unit_of(bm, addr));
	mutex_unlock(&bm->lock);
	return cost;
}

/* Add what rebuild() could not. False: not yet. */
bool bm_memory_mend(struct bm *bm)
{
	for (unsigned long u = 0; u < bm->nr_units; u++) {
		u64 addr = bm->base + u * bm->unit_size;

		if (!test_bit(u, bm->added) &&
		    vmem_driver_unit_present(bm->core, addr) &&
		    add_unit(bm, addr, bm->movable[u]))
			return false;
	}
	return true;
}

/* ---- Beginning and end -------------------------------------------------- */

static int node_of(const struct bm *bm)
{
	int nid = NUMA_NO_NODE;
	uint16_t pxm;

	if (IS_ENABLED(CONFIG_ACPI_NUMA) && vmem_driver_node(bm->core, &pxm))
		nid = pxm_to_node(pxm);
	return nid == NUMA_NO_NODE ? memory_add_physaddr_to_nid(bm->base) : nid;
}

static int publish(struct bm *bm)
{
	int error = 0;

	down_write(&devices_sem);
	if (list_empty(&devices))
		error = set_online_page_callback(online_page);
	if (!error)
		list_add_tail(&bm->list, &devices);
	up_write(&devices_sem);
	if (error)
		dev_err(&bm->vdev->dev,
			"another driver (virtio_mem, or a balloon) decides how "
			"memory comes online: only one can. See the README\n");
	return error;
}

static void withdraw(struct bm *bm)
{
	down_write(&devices_sem);
	list_del(&bm->list);
	if (list_empty(&devices))
		restore_online_page_callback(online_page);
	up_write(&devices_sem);
}

static int allocate(struct bm *bm)
{
	unsigned long nr_subs = bm->nr_units * (bm->unit_size / bm->sub_size);

	bm->usable = kvcalloc(BITS_TO_LONGS(nr_subs), sizeof(long), GFP_KERNEL);
	bm->added =
		kvcalloc(BITS_TO_LONGS(bm->nr_units), sizeof(long), GFP_KERNEL);
	bm->online_blocks = kvcalloc(bm->nr_units, 1, GFP_KERNEL);
	bm->movable = kvcalloc(bm->nr_units, 1, GFP_KERNEL);
	return bm->usable && bm->added && bm->online_blocks && bm->movable
		       ? 0
		       : -ENOMEM;
}

static void release(struct bm *bm)
{
	kvfree(bm->usable);
	kvfree(bm->added);
	kvfree(bm->online_blocks);
	kvfree(bm->movable);
}

int bm_memory_init(struct bm *bm)
{
	u64 end = bm->device.addr + bm->device.region_size;
	int error;

	bm->unit_size = vmem_driver_unit_size(bm->core);
	bm->sub_size = vmem_driver_sub_size(bm->core);
	bm->base = ALIGN(bm->device.addr, bm->unit_size);
	bm->nr_units =
		(ALIGN_DOWN(end, bm->unit_size) - bm->base) / bm->unit_size;
	bm->nid = node_of(bm);
	bm->stuck_unit = NO_UNIT;
	mutex_init(&bm->lock);
	timer_setup(&bm->move_timer, look_again, 0);
	error = allocate(bm);
	if (error)
		goto fail;
	bm->mgid =
		memory_group_register_dynamic(bm->nid, PFN_DOWN(bm->unit_size));
	if (bm->mgid < 0) {
		error = bm->mgid;
		goto fail;
	}
	error = publish(bm);
	if (error)
		goto fail_group;
	bm->memory_nb.notifier_call = on_notification;
	error = register_memory_notifier(&bm->memory_nb);
	if (!error)
		return 0;
	withdraw(bm);
fail_group:
	memory_group_unregister(bm->mgid);
fail:
	release(bm);
	return error;
}

/* What is still added stays as it is until the next boot: its hidden pages
 * remain hidden, and the module remains loaded. */
void bm_memory_finish(struct bm *bm)
{
	unregister_memory_notifier(&bm->memory_nb);
	withdraw(bm);
	if (bm->nr_added == 0)
		memory_group_unregister(bm->mgid);
	else
		dev_warn(&bm->vdev->dev, "leaves %llu MiB to Linux\n",
			 bm->nr_added * bm->unit_size >> 20);
	release(bm);
}
