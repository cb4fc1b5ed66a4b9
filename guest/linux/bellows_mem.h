/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the Linux driver share. main.c is the virtio driver,
 * loop.c the thread that runs the driver core (src/driver/), memory.c what the
 * core asks of Linux, pages.c the page allocator, cache.c the page cache,
 * online.c how memory comes online, report.c what the module tells.
 */
#ifndef BELLOWS_MEM_H
#define BELLOWS_MEM_H

#include <linux/bitmap.h>
#include <linux/crash_dump.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/timer.h>
#include <linux/virtio.h>
#include <linux/wait.h>

#include <vmem/driver.h>

#define BM_NAME	 "bellows_mem"
#define BM_DEPTH 8

/* To take a memory block out of use is given up once nothing has moved for so
 * long: the kernel itself would go on for ever. */
#define BM_MOVE_PATIENCE HZ

/* Events that wake the thread. */
enum bm_event {
	BM_EVENT_RESPONSE,
	BM_EVENT_CONFIG,
	BM_EVENT_ONLINE, /* a memory block came online, or went */
	BM_EVENT_DRAIN,
};

/* How hard to try to take memory. */
enum bm_effort {
	BM_FREE_ONLY, /* what the allocator has at hand: costs nothing */
	BM_MOVE,      /* move pages, memory block by memory block */
};

/* What holds a page that cannot be moved. */
enum bm_holder {
	BM_HOLDS_NOTHING,
	BM_HOLDS_SLAB,
	BM_HOLDS_PAGE_TABLE,
	BM_HOLDS_PINNED,
	BM_HOLDS_HUGETLB,
	BM_HOLDS_RESERVED,
	BM_HOLDS_KERNEL,
	BM_HOLDS_MOVABLE, /* only pages that could move: no room, or busy */
	BM_NR_HOLDERS,
};

/* The last time that less was given back than was asked for. */
struct bm_shortfall {
	u64 addr; /* of the memory block; size 0: there was none */
	u64 size;
	unsigned long pfn; /* of the first page that holds it */
	enum bm_holder holder;
	unsigned long nr_held; /* pages of its kind */
	int error;
};

struct bm_counts {
	u64 taken_free;	  /* bytes straight from the allocator */
	u64 taken_moved;  /* bytes after pages were moved away */
	u64 dropped;	  /* bytes of clean page cache, so as not to move it */
	u64 blocks_added; /* memory blocks */
	u64 blocks_removed;
	u64 rebuilt; /* memory blocks taken whole, and brought back in part */
	u64 online_failures;
	u64 removing_us; /* time that Linux took to remove memory blocks */
	u64 adding_us;	 /* and to add them and bring them online */
	u64 taking_us;	 /* and that taking free pages took */
};

/* A request in flight; the device reads and writes it. */
struct bm_slot {
	u8 request[24];
	u8 response[16];
	unsigned int tag;
};

struct bm {
	struct list_head list; /* of all devices; bm_devices_sem */
	struct virtio_device *vdev;
	struct virtqueue *vq;
	struct vmem_driver *core;
	struct vmem_config device;
	struct bm_slot *slots;
	bool kdump;

	/* The thread; only it calls the core, but for what is marked [any]. */
	struct task_struct *thread;
	wait_queue_head_t wait;
	unsigned long events; /* enum bm_event, by bit */
	bool draining;
	enum bm_effort effort;

	/* What the thread last saw; status_lock. */
	spinlock_t status_lock;
	struct vmem_driver_status status;
	struct bm_counts counts;
	struct bm_shortfall shortfall;

	/* Memory. lock is held while a memory block of the region goes online
	 * or offline, and by the thread while it looks at or changes pages. */
	struct mutex lock;
	struct resource *region;
	u64 base; /* of unit 0 */
	u64 unit_size;
	u64 sub_size;
	unsigned long nr_units;
	int nid;
	int mgid;
	unsigned long *usable; /* sub-blocks whose pages Linux may use */
	unsigned long *added;  /* units */
	u8 *online_blocks;     /* of each unit, how many memory blocks are */
	u8 *movable;	       /* of each unit, whether in the movable zone */
	unsigned long nr_added;
	bool veto; /* the thread adds memory, to bring it online itself */
	/* Holds what cannot move: seen since candidates were looked for. */
	unsigned long stuck_unit;
	bool lock_taken; /* by a notification, until the last one */
	bool moving;	 /* a signal ends what the thread does */
	/* While moving, of the timer. */
	struct timer_list move_timer;
	unsigned long move_unit;
	unsigned long move_left; /* bm_pages_cost() at the last look */
	struct notifier_block memory_nb;
	struct notifier_block pm_nb;
#ifdef CONFIG_PROC_VMCORE
	struct vmcore_cb vmcore_cb;
#endif
};

/* ---- main.c, loop.c ----------------------------------------------------- */

void bm_wake(struct bm *bm, enum bm_event event);
int bm_queue_init(struct bm *bm);
void bm_request_done(struct virtqueue *vq);
int bm_thread(void *opaque);
extern const struct vmem_driver_ops bm_ops;

int bm_submit(void *opaque, unsigned int tag, const void *req, size_t req_len);
void bm_kick(void *opaque);
void bm_read_config(void *opaque, size_t offset, void *buf, size_t len);
uint32_t bm_config_generation(void *opaque);

/* ---- memory.c ----------------------------------------------------------- */

int bm_memory_init(struct bm *bm);
void bm_memory_finish(struct bm *bm);
int bm_memory_add_range(void *opaque, uint64_t addr, uint64_t size);
int bm_memory_take_range(void *opaque, uint64_t addr, uint64_t size);
int bm_memory_unit_add(void *opaque, uint64_t addr, uint64_t size);
int bm_memory_unit_remove(void *opaque, uint64_t addr, uint64_t size);
uint64_t bm_memory_usage(void *opaque, uint64_t addr, uint64_t size);
bool bm_memory_mend(struct bm *bm);

/* ---- pages.c ------------------------------------------------------------ */

/* Hide pages that Linux never saw, or that were taken. */
void bm_pages_hide_new(unsigned long pfn, unsigned long nr);
/* Give hidden pages to the allocator. */
void bm_pages_give(unsigned long pfn, unsigned long nr);
/* Let go of hidden pages, or hold them again: around their offlining. */
void bm_pages_release(unsigned long pfn, unsigned long nr);
void bm_pages_hold(unsigned long pfn, unsigned long nr);
/* Take free pages out of the allocator, all or none, and hide them. Nothing
 * is written to them. */
bool bm_pages_take_free(unsigned long pfn, unsigned long nr);
/* The same where they must be moved first; false too where that would write to
 * the pages. */
bool bm_pages_take_moving(unsigned long pfn, unsigned long nr);
/* What it would take to move everything away, or to drop it. */
unsigned long bm_pages_cost(unsigned long pfn, unsigned long nr);
/* What keeps a range from being taken. */
void bm_pages_explain(unsigned long pfn, unsigned long nr,
		      struct bm_shortfall *shortfall);

/* ---- cache.c ------------------------------------------------------------ */

/* Whether a page is of the page cache and clean; without a reference to it that
 * is a guess. */
bool bm_cache_is_clean(struct page *page);
/* Drop such pages, as far as nobody uses them; returns how many. The caller
 * holds no lock. */
unsigned long bm_cache_drop(unsigned long pfn, unsigned long nr);
/* Begin to write the dirty ones to their files. No lock either. */
void bm_cache_write(unsigned long pfn, unsigned long nr);

/* ---- online.c ----------------------------------------------------------- */

int bm_online_init(void);
void bm_online_exit(void);
/* Whether the kernel's own policy may bring online what is added now. */
bool bm_online_is_ours(void);
/* Whether the module is to bring memory online by itself at all. */
bool bm_online_wanted(void);
/* Bring a memory block online; into the movable zone or the kernel's. */
int bm_online_block(unsigned long pfn, bool movable);
/* Where the next block should go. */
bool bm_online_choose_movable(u64 size);

/* ---- report.c ----------------------------------------------------------- */

extern const struct attribute_group *bm_attribute_groups[];
const char *bm_holder_name(enum bm_holder holder);
void bm_report_shortfall(struct bm *bm, const struct bm_shortfall *shortfall);

#endif
