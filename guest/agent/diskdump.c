/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dumps in makedumpfile's own format ("KDUMP"), with pages that are not
 * compressed: a header, a second one, two bitmaps with a bit for each page of
 * memory (it exists; the dump has it), and a descriptor for each page that
 * the dump has, in order. All in blocks of a page.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

#define UTS_BYTES (6 * UTS_FIELD)

struct disk_header {
	char signature[8];
	int32_t version;
	char uts[UTS_BYTES];
	uint8_t padding[6];
	uint64_t time[2];
	uint32_t status;
	int32_t block_size;
	int32_t sub_header_blocks;
	uint32_t bitmap_blocks;
};

struct disk_sub_header {
	uint64_t phys_base;
	int32_t dump_level;
	int32_t split;
	uint64_t start_pfn, end_pfn;
	uint64_t info_offset, info_size;
};

struct page_descriptor {
	uint64_t offset;
	uint32_t size;
	uint32_t flags; /* how it is compressed; 0: not */
	uint64_t page_flags;
};

static uint64_t count_bits(const uint8_t *bitmap, uint64_t end)
{
	uint64_t nr = 0;

	for (uint64_t i = 0; i < end / 8; i++)
		nr += (uint64_t)__builtin_popcount(bitmap[i]);
	if (end % 8)
		nr += (uint64_t)__builtin_popcount(bitmap[end / 8] &
						   ((1U << end % 8) - 1));
	return nr;
}

int diskdump_open(struct dump *dump)
{
	struct disk_header head;
	struct disk_sub_header sub;
	int code = read_at(dump->fd, &head, sizeof(head), 0);

	if (!code && (memcmp(head.signature, "KDUMP   ", 8) != 0 ||
		      head.block_size != PAGE || head.sub_header_blocks < 1))
		code = -ENOEXEC;
	if (!code)
		code = read_at(dump->fd, &sub, sizeof(sub), PAGE);
	if (code)
		return code;
	dump->info_offset = sub.info_offset;
	dump->info_size = sub.info_size;
	dump->bitmap_bytes = head.bitmap_blocks / 2 * PAGE;
	dump->bitmaps = malloc(2 * dump->bitmap_bytes);
	if (!dump->bitmaps)
		return -ENOMEM;
	dump->descriptors =
		(1 + (uint64_t)head.sub_header_blocks + head.bitmap_blocks) *
		PAGE;
	return read_at(dump->fd, dump->bitmaps, 2 * dump->bitmap_bytes,
		       (1 + (uint64_t)head.sub_header_blocks) * PAGE);
}

uint64_t diskdump_bytes(const struct dump *dump)
{
	return count_bits(dump->bitmaps, dump->bitmap_bytes * 8) * PAGE;
}

int diskdump_read(const struct dump *dump, void *page, uint64_t phys)
{
	const uint8_t *dumped = dump->bitmaps + dump->bitmap_bytes;
	uint64_t pfn = phys / PAGE;
	struct page_descriptor desc;
	int code;

	if (pfn / 8 >= dump->bitmap_bytes || !(dumped[pfn / 8] >> pfn % 8 & 1))
		return -ENXIO;
	code = read_at(dump->fd, &desc, sizeof(desc),
		       dump->descriptors +
			       count_bits(dumped, pfn) * sizeof(desc));
	if (code)
		return code;
	if (desc.flags || desc.size != PAGE)
		return -ENOTSUP;
	return read_at(dump->fd, page, PAGE, desc.offset);
}
