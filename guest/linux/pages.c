// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages in and out of Linux's page allocator.
 *
 * A page that Linux must not touch is *hidden*: PageOffline, with one reference
 * that is ours, and not counted as managed. Taking free pages goes to the
 * allocator's own lists, under the zone's lock: alloc_contig_range() would
 * clear every page where init_on_alloc is set, which makes the host provide
 * memory that is about to be thrown away. What is relied on is laid open in
 * linux/mmzone.h; a kernel where it differs does not build this file, or is
 * refused below.
 */
#include <linux/mm.h>
#include <linux/memory_hotplug.h>

#include <linux/page-flags.h>
#include <linux/page-isolation.h>
#include <linux/vmstat.h>
#include <linux/version.h>

#include "bellows_mem.h"

/* Since 6.11 new memory is PageOffline until it is given to the allocator, and
 * offlining does not count pages that are. */
#define NEW_IS_OFFLINE (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0))

/* Kernels whose free lists are known to be as this file takes them. A debug
 * kernel that unmaps free pages is left to the official way. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0) &&                           \
	!defined(CONFIG_DEBUG_PAGEALLOC)
#define KNOWN_FREE_LISTS 1
#else
#define KNOWN_FREE_LISTS 0
#endif

void bm_pages_hide_new(unsigned long pfn, unsigned long nr)
{
	if (NEW_IS_OFFLINE)
		return;
	page_offline_begin();
	for (unsigned long i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfn + i);

		__SetPageOffline(page);
		ClearPageReserved(page);
	}
	page_offline_end();
}

/* Pages with no reference and in no list. */
static void hide_taken(unsigned long pfn, unsigned long nr)
{
	page_offline_begin();
	for (unsigned long i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfn + i);

		__SetPageOffline(page);
		init_page_count(page);
	}
	page_offline_end();
	adjust_managed_page_count(pfn_to_page(pfn), -(long)nr);
}

void bm_pages_give(unsigned long pfn, unsigned long nr)
{
	if (!NEW_IS_OFFLINE) {
		page_offline_begin();
		for (unsigned long i = 0; i < nr; i++)
			__ClearPageOffline(pfn_to_page(pfn + i));
		page_offline_end();
	}
	for (unsigned long i = 0; i < nr; i += pageblock_nr_pages)
		generic_online_page(pfn_to_page(pfn + i), pageblock_order);
}

void bm_pages_release(unsigned long pfn, unsigned long nr)
{
	if (!NEW_IS_OFFLINE)
		adjust_managed_page_count(pfn_to_page(pfn), (long)nr);
	for (unsigned long i = 0; i < nr; i++) {
		if (!page_ref_dec_and_test(pfn_to_page(pfn + i)))
			pr_warn_once(BM_NAME ": a hidden page is in use\n");
	}
}

void bm_pages_hold(unsigned long pfn, unsigned long nr)
{
	if (!NEW_IS_OFFLINE)
		adjust_managed_page_count(pfn_to_page(pfn), -(long)nr);
	for (unsigned long i = 0; i < nr; i++)
		page_ref_inc(pfn_to_page(pfn + i));
}

/* ---- The allocator's free lists ----------------------------------------- */

/* The kind of a page block, as get_pageblock_migratetype() has it, which is
 * not exported. */
static unsigned int kind_of(unsigned long pfn)
{
	const unsigned long *bits =
		__pfn_to_section(pfn)->usage->pageblock_flags;
	unsigned long bit =
		((pfn & (PAGES_PER_SECTION - 1)) >> pageblock_order) *
		NR_PAGEBLOCK_BITS;

	return (bits[bit / BITS_PER_LONG] >> (bit % BITS_PER_LONG)) &
	       ((1UL << PB_migratetype_bits) - 1);
}

/* Kinds that count as free memory, and that nobody has reserved. */
static bool is_plain(unsigned long pfn)
{
	return kind_of(pfn) < MIGRATE_PCPTYPES;
}

/* The free page that covers a whole page block; NULL if none does. */
static struct page *covering(struct zone *zone, unsigned long pfn)
{
	unsigned int top = ARRAY_SIZE(zone->free_area) - 1;

	for (unsigned int order = pageblock_order; order <= top; order++) {
		struct page *page = pfn_to_page(pfn & ~((1UL << order) - 1));

		if (PageBuddy(page) && page_private(page) >= order)
			return page;
	}
	return NULL;
}

static void unlist(struct zone *zone, struct page *page, unsigned int order)
{
	if (PageReported(page))
		__ClearPageReported(page);
	list_del(&page->buddy_list);
	__ClearPageBuddy(page);
	set_page_private(page, 0);
	zone->free_area[order].nr_free--;
}

static void enlist(struct zone *zone, struct page *page, unsigned int order)
{
	set_page_private(page, order);
	__SetPageBuddy(page);
	list_add_tail(
		&page->buddy_list,
		&zone->free_area[order].free_list[kind_of(page_to_pfn(page))]);
	zone->free_area[order].nr_free++;
}

/* Unlist one page block; what the free page had besides goes back. */
static bool take_block(struct zone *zone, unsigned long pfn)
{
	struct page *page = covering(zone, pfn);
	unsigned long first;
	unsigned int order;

	if (!page)
		return false;
	order = page_private(page);
	first = page_to_pfn(page);
	for (unsigned long i = 0; i < 1UL << order; i += pageblock_nr_pages) {
		if (!is_plain(first + i))
			return false;
	}
	unlist(zone, page, order);
	while (order > pageblock_order) {
		unsigned long half = 1UL << --order;

		if (pfn < first + half) {
			enlist(zone, pfn_to_page(first + half), order);
		} else {
			enlist(zone, pfn_to_page(first), order);
			first += half;
		}
	}
	return true;
}

/* Free pages of a zone beyond what the kernel wants to have there, where it
 * would stop reclaiming, for allocations that could go to the zone `top`. */
static long spare_pages(const struct zone *zone, enum zone_type top)
{
	long free = atomic_long_read(&zone->vm_stat[NR_FREE_PAGES]);
	long kept = high_wmark_pages(zone) + zone->lowmem_reserve[top];

	return max(free - kept, 0L);
}

/* Free memory must be left to the guest, but not in this very zone: what finds
 * none there goes to the zones below it. */
static bool enough_left(const struct zone *zone, unsigned long nr)
{
	enum zone_type top = zone_idx(zone);
	long spare = 0;
	int nid;

	for_each_online_node(nid)
	{
		for (enum zone_type i = 0; i <= top; i++)
			spare += spare_pages(&NODE_DATA(nid)->node_zones[i],
					     top);
	}
	return spare > (long)nr;
}

bool bm_pages_take_free(unsigned long pfn, unsigned long nr)
{
	struct zone *zone = page_zone(pfn_to_page(pfn));
	unsigned long flags, done = 0;

	if (!KNOWN_FREE_LISTS || !enough_left(zone, nr))
		return false;
	spin_lock_irqsave(&zone->lock, flags);
	/* Look first: nothing is to be undone then. */
	while (done < nr && page_zone(pfn_to_page(pfn + done)) == zone &&
	       covering(zone, pfn + done) && is_plain(pfn + done))
		done += pageblock_nr_pages;
	if (done < nr) {
		spin_unlock_irqrestore(&zone->lock, flags);
		return false;
	}
	for (done = 0; done < nr && take_block(zone, pfn + done);)
		done += pageblock_nr_pages;
	__mod_zone_page_state(zone, NR_FREE_PAGES, -(long)done);
	spin_unlock_irqrestore(&zone->lock, flags);
	if (done > 0)
		hide_taken(pfn, done);
	if (done < nr && done > 0)
		bm_pages_give(pfn, done);
	return done == nr;
}

bool bm_pages_take_moving(unsigned long pfn, unsigned long nr)
{
	if (want_init_on_alloc(0))
		return false;
	if (alloc_contig_range(pfn, pfn + nr, MIGRATE_MOVABLE,
			       GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN))
		return false;
	hide_taken(pfn, nr);
	return true;
}

/* ---- Looking ------------------------------------------------------------ */

/* What it takes to move a page, where to drop one of the page cache takes 1. */
#define MOVE_COST 8

unsigned long bm_pages_cost(unsigned long pfn, unsigned long nr)
{
	unsigned long end = pfn + nr, cost = 0;

	while (pfn < end) {
		struct page *page = pfn_to_page(pfn);
		unsigned long order = PageBuddy(page) ? page_private(page) : 0;

		/* Nobody is kept out: the order may be anything by now. */
		if (PageBuddy(page) &&
		    order < ARRAY_SIZE(page_zone(page)->free_area)) {
			pfn += 1UL << order;
			continue;
		}
		if (!PageOffline(page))
			cost += bm_cache_is_clean(page) ? 1 : MOVE_COST;
		pfn++;
	}
	return cost;
}

static enum bm_holder holder_of(struct page *page)
{
	if (PageBuddy(page) || PageOffline(page) || page_count(page) == 0)
		return BM_HOLDS_NOTHING;
	if (PageReserved(page))
		return BM_HOLDS_RESERVED;
	if (PageSlab(page))
		return BM_HOLDS_SLAB;
	if (PageTable(page))
		return BM_HOLDS_PAGE_TABLE;
	if (PageHuge(page))
		return BM_HOLDS_HUGETLB;
	/* A page that was just put to use by a process or a file waits on its
	 * processor's list to be put on the LRU, for as long as that processor
	 * has nothing to do: but it has a mapping. */
	if (!PageLRU(page) && !page->mapping && !PageCompound(page))
		return BM_HOLDS_KERNEL;
	if (PageAnon(page) && !PageCompound(page) &&
	    folio_maybe_dma_pinned(page_folio(page)))
		return BM_HOLDS_PINNED;
	return BM_HOLDS_MOVABLE;
}

void bm_pages_explain(unsigned long pfn, unsigned long nr,
		      struct bm_shortfall *shortfall)
{
	unsigned long counts[BM_NR_HOLDERS] = {0};
	unsigned long first[BM_NR_HOLDERS] = {0};
	unsigned int worst = BM_HOLDS_NOTHING;

	for (unsigned long i = 0; i < nr; i++) {
		enum bm_holder holder = holder_of(pfn_to_page(pfn + i));

		if (counts[holder]++ == 0)
			first[holder] = pfn + i;
	}
	/* What cannot move counts before what could. */
	for (unsigned int h = BM_HOLDS_SLAB; h < BM_NR_HOLDERS; h++) {
		if (counts[h] > 0 &&
		    (worst == BM_HOLDS_NOTHING ||
		     (h != BM_HOLDS_MOVABLE && counts[h] > counts[worst])))
			worst = h;
	}
	shortfall->holder = worst;
	shortfall->pfn = first[worst];
	shortfall->nr_held = worst == BM_HOLDS_NOTHING ? 0 : counts[worst];
}
