// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page cache in memory that is to go. What is clean there is dropped: to
 * move it, Linux would have to find room, and that means to drop as much
 * elsewhere, where nothing else is free. The kernel's own driver has it so,
 * too. What is dirty is moved with the rest of its memory block; where that
 * cannot be, it is written to its file, to be dropped when the memory is tried
 * again.
 *
 * Linux exports no function for pages, but some for a range of a file. So runs
 * of pages are gathered that follow each other in their file. A file stays
 * while it is looked at because its inode is ours, and its file system because
 * s_umount is held.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>

#include "bellows_mem.h"

struct run {
	struct inode *inode; /* NULL: no run */
	struct address_space *mapping;
	pgoff_t first, end;
};

/* Without a reference to the page that is a guess. */
static bool is_cached(struct page *page, bool dirty)
{
	struct folio *folio = page_folio(page);

	return folio_test_lru(folio) && !folio_test_anon(folio) &&
	       !folio_test_swapbacked(folio) && !folio_test_writeback(folio) &&
	       folio_test_dirty(folio) == dirty;
}

bool bm_cache_is_clean(struct page *page)
{
	return is_cached(page, false);
}

/* Write a run, or drop it: but what is dirty by now, mapped, or in use. Returns
 * how many pages were dropped. */
static unsigned long finish(struct run *run, bool dirty)
{
	unsigned long dropped = 0;
	struct super_block *sb;

	if (!run->inode)
		return 0;
	sb = run->inode->i_sb;
	if (dirty)
		filemap_fdatawrite_range(run->mapping,
					 (loff_t)run->first << PAGE_SHIFT,
					 ((loff_t)run->end << PAGE_SHIFT) - 1);
	else
		dropped = invalidate_mapping_pages(run->mapping, run->first,
						   run->end - 1);
	iput(run->inode);
	up_read(&sb->s_umount);
	run->inode = NULL;
	return dropped;
}

/* Begin a run with a folio, which is locked; without one if its file is about
 * to go. */
static struct run begin(struct folio *folio)
{
	struct address_space *mapping = folio_mapping(folio);
	struct run run = {.mapping = mapping, .first = folio->index};
	struct super_block *sb;

	if (!mapping || !mapping->host)
		return run;
	sb = mapping->host->i_sb;
	if (!down_read_trylock(&sb->s_umount))
		return run;
	run.inode = igrab(mapping->host);
	if (!run.inode)
		up_read(&sb->s_umount);
	run.end = run.first + folio_nr_pages(folio);
	return run;
}

static bool extends(const struct run *run, struct folio *folio)
{
	return run->inode && folio_mapping(folio) == run->mapping &&
	       folio->index == run->end;
}

/* Add a folio to the run, or finish that and begin another. */
static unsigned long gather(struct run *run, struct folio *folio, bool dirty)
{
	unsigned long dropped = 0;
	struct run next = {0};
	bool more;

	if (!folio_try_get(folio))
		return 0;
	if (!folio_trylock(folio)) {
		folio_put(folio);
		return 0;
	}
	more = extends(run, folio);
	if (more)
		run->end += folio_nr_pages(folio);
	else
		next = begin(folio);
	folio_unlock(folio);
	/* Who is to be dropped must not be held. */
	folio_put(folio);
	if (!more) {
		dropped = finish(run, dirty);
		*run = next;
	}
	return dropped;
}

static unsigned long walk(unsigned long pfn, unsigned long nr, bool dirty)
{
	unsigned long end = pfn + nr, dropped = 0;
	struct run run = {0};

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_page(pfn);

		if (!PageTail(page) && is_cached(page, dirty))
			dropped += gather(&run, (struct folio *)page, dirty);
		if (pfn % pageblock_nr_pages == 0)
			cond_resched();
	}
	return dropped + finish(&run, dirty);
}

unsigned long bm_cache_drop(unsigned long pfn, unsigned long nr)
{
	return walk(pfn, nr, false);
}

void bm_cache_write(unsigned long pfn, unsigned long nr)
{
	walk(pfn, nr, true);
}
