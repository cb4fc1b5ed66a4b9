// SPDX-License-Identifier: BSD-3-Clause
/*
 * bzImage: the Linux/x86 boot protocol (Documentation/arch/x86/boot.rst), by
 * its 64-bit entry. The file begins with some sectors of 16-bit code, of which
 * only the header matters here; the rest is the protected-mode part, which is
 * loaded and entered in long mode, 0x200 bytes after its start.
 *
 * The kernel is loaded at its preferred address and nowhere else: one that is
 * loaded lower moves itself to that address, so it would need the same memory.
 *
 * Where there is an unpacked copy of the kernel proper (unpacked.c), that is
 * loaded and entered instead, in the same way.
 */
#include <errno.h>
#include <string.h>

#include "boot_image.h"
#include "layout.h"

#define SETUP_OFFSET	   0x1f1      /* of struct setup_header in the file */
#define SETUP_MAGIC	   0x53726448 /* "HdrS" */
#define SETUP_MAGIC_OFFSET 0x202
#define SETUP_MIN_VERSION  0x020c /* the first with a 64-bit entry */
#define ENTRY64_OFFSET	   0x200
#define LOADER_UNKNOWN	   0xff
#define VIDEO_MODE_NORMAL  0xffff
#define E820_USABLE	   1
#define E820_RESERVED	   2
#define STACK_TOP	   LAYOUT_PAGE_TABLES /* a page is free below */

#define PAGE_PRESENT_WRITE 0x3ULL
#define PAGE_LARGE	   0x80ULL
#define LARGE_PAGE_SIZE	   (2ULL << 20)
#define TABLE_ENTRIES	   512
#define NR_DIRECTORIES	   4 /* of 1 GiB each */

static_assert(offsetof(struct boot_params, hdr) == SETUP_OFFSET, "");
static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "");
static_assert(offsetof(struct boot_params, e820_table) == 0x2d0, "");
static_assert(sizeof(struct boot_params) == 4096, "the zero page is a page");
static_assert(SETUP_OFFSET + sizeof(struct setup_header) <= BOOT_HEAD_SIZE,
	      "the head holds the setup header");
static_assert(BOOT_MAX_MAP <= E820_MAX_ENTRIES_ZEROPAGE, "");

static bool is_unpacked(const struct boot_image *image)
{
	return image->body.fd != image->file.fd;
}

static bool bzimage_probe(const struct boot_image *image)
{
	uint32_t magic;

	if (image->head_size < SETUP_MAGIC_OFFSET + sizeof(magic))
		return false;
	memcpy(&magic, image->head + SETUP_MAGIC_OFFSET, sizeof(magic));
	return magic == SETUP_MAGIC;
}

/* The header is as long as its jump instruction leaps; fields that a longer
 * one has are unknown to us, those that a shorter one lacks read as zero. */
static void copy_setup(struct boot_image *image)
{
	size_t len = SETUP_MAGIC_OFFSET + image->head[0x201] - SETUP_OFFSET;

	if (len > sizeof(image->setup))
		len = sizeof(image->setup);
	if (len > image->head_size - SETUP_OFFSET)
		len = image->head_size - SETUP_OFFSET;
	memcpy(&image->setup, image->head + SETUP_OFFSET, len);
}

static int check_setup(const struct boot_image *image, struct error *err)
{
	const struct setup_header *setup = &image->setup;

	if (setup->version < SETUP_MIN_VERSION)
		return boot_refuse(image, err,
				   "a Linux image of boot protocol %u.%02u, "
				   "which is older than 2.12",
				   setup->version >> 8, setup->version & 0xff);
	if (!(setup->loadflags & LOADED_HIGH))
		return boot_refuse(image, err, "a 16-bit zImage");
	if (!(setup->xloadflags & XLF_KERNEL_64))
		return boot_refuse(image, err,
				   "a bzImage without a 64-bit entry");
	if (setup->pref_address < LAYOUT_HIGH ||
	    setup->pref_address >= LAYOUT_HOLE_START)
		return boot_refuse(
			image, err,
			"a bzImage with a damaged header (address %#llx)",
			(unsigned long long)setup->pref_address);
	return 0;
}

static int bzimage_parse(struct boot_image *image, struct error *err)
{
	const struct setup_header *setup = &image->setup;
	uint64_t offset, size, need;
	int ret;

	copy_setup(image);
	ret = check_setup(image, err);
	if (ret)
		return ret;
	/* 0 means 4, for kernels of the last century. */
	offset = ((setup->setup_sects ? setup->setup_sects : 4U) + 1) * 512ULL;
	size = setup->syssize * 16ULL;
	if (size <= ENTRY64_OFFSET)
		return boot_refuse(image, err,
				   "a bzImage with a damaged header (%llu "
				   "bytes of code)",
				   (unsigned long long)size);
	if (image->file.size < offset + size)
		return boot_refuse(image, err,
				   "a bzImage cut short (%llu of %llu bytes)",
				   (unsigned long long)image->file.size,
				   (unsigned long long)(offset + size));
	need = size > setup->init_size ? size : setup->init_size;
	image->start = setup->pref_address;
	image->end = setup->pref_address + need;
	image->entry = setup->pref_address + ENTRY64_OFFSET;
	image->initrd_last = setup->initrd_addr_max;
	image->cmdline_max = setup->cmdline_size;
	image->nr_segments = 1;
	image->segments[0] = (struct boot_segment){
		.offset = offset,
		.size = size,
		.gpa = setup->pref_address,
		.need_size = need,
	};
	return 0;
}

/*
 * The identity map of the first 4 GiB: one table, one of directories, four
 * directories of 2 MiB pages, in successive pages; and with 5 levels one above
 * them. *root is where cr3 points to.
 */
static int put_page_tables(const struct guest_memory *gm, bool la57,
			   uint64_t *root, struct error *err)
{
	const uint64_t level5 =
		LAYOUT_PAGE_TABLES + (2 + NR_DIRECTORIES) * BOOT_PAGE_SIZE;
	const uint64_t only = LAYOUT_PAGE_TABLES | PAGE_PRESENT_WRITE;
	const uint64_t pdpt = LAYOUT_PAGE_TABLES + BOOT_PAGE_SIZE;
	const uint64_t directory = pdpt + BOOT_PAGE_SIZE;
	const uint64_t top = pdpt | PAGE_PRESENT_WRITE;
	uint64_t entries[TABLE_ENTRIES] = {0};
	int ret = boot_put(gm, LAYOUT_PAGE_TABLES, &top, sizeof(top), err);

	for (unsigned int i = 0; i < NR_DIRECTORIES; i++)
		entries[i] =
			(directory + i * BOOT_PAGE_SIZE) | PAGE_PRESENT_WRITE;
	if (!ret)
		ret = boot_put(gm, pdpt, entries,
			       NR_DIRECTORIES * sizeof(entries[0]), err);
	for (unsigned int i = 0; !ret && i < NR_DIRECTORIES; i++) {
		for (unsigned int k = 0; k < TABLE_ENTRIES; k++)
			entries[k] = (i * TABLE_ENTRIES + k) * LARGE_PAGE_SIZE |
				     PAGE_PRESENT_WRITE | PAGE_LARGE;
		ret = boot_put(gm, directory + i * BOOT_PAGE_SIZE, entries,
			       sizeof(entries), err);
	}
	if (!ret && la57)
		ret = boot_put(gm, level5, &only, sizeof(only), err);
	*root = la57 ? level5 : LAYOUT_PAGE_TABLES;
	return ret;
}

/* A kernel that is entered unpacked uses as many levels as it finds. */
static bool five_levels(const struct boot_image *image,
			const struct boot_data *data)
{
	return is_unpacked(image) && data->la57 &&
	       (image->setup.xloadflags & XLF_5LEVEL_ENABLED) &&
	       !boot_cmdline_has(data->cmdline, "no5lvl", false);
}

static int put_zero_page(const struct guest_memory *gm,
			 const struct boot_image *image,
			 const struct boot_data *data, struct error *err)
{
	struct boot_params params;

	memset(&params, 0, sizeof(params));
	params.hdr = image->setup;
	params.hdr.type_of_loader = LOADER_UNKNOWN;
	params.hdr.vid_mode = VIDEO_MODE_NORMAL;
	params.hdr.loadflags &= (__u8) ~(CAN_USE_HEAP | KEEP_SEGMENTS);
	if (image->randomized)
		params.hdr.loadflags |= KASLR_FLAG;
	params.hdr.code32_start = (uint32_t)image->start;
	params.hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	params.hdr.setup_data = 0;
	params.hdr.ramdisk_image = (uint32_t)data->initrd_start;
	params.hdr.ramdisk_size = (uint32_t)data->initrd_size;
	params.ext_ramdisk_image = (uint32_t)(data->initrd_start >> 32);
	params.ext_ramdisk_size = (uint32_t)(data->initrd_size >> 32);
	params.acpi_rsdp_addr = data->rsdp;
	params.e820_entries = (uint8_t)data->map.nr;
	for (unsigned int i = 0; i < data->map.nr; i++) {
		params.e820_table[i] = (struct boot_e820_entry){
			.addr = data->map.entries[i].start,
			.size = data->map.entries[i].size,
			.type = data->map.entries[i].usable ? E820_USABLE
							    : E820_RESERVED,
		};
	}
	return boot_put(gm, LAYOUT_ZERO_PAGE, &params, sizeof(params), err);
}

static int bzimage_enter(const struct guest_memory *gm,
			 const struct boot_image *image,
			 const struct boot_data *data, struct boot_entry *entry,
			 struct error *err)
{
	bool la57 = five_levels(image, data);
	uint64_t root;
	int ret = put_zero_page(gm, image, data, err);

	if (!ret)
		ret = put_page_tables(gm, la57, &root, err);
	if (!ret && is_unpacked(image))
		ret = unpacked_relocate(gm, image, err);
	if (ret)
		return ret;
	*entry = (struct boot_entry){
		.mode = BOOT_LONG64,
		.rip = image->entry,
		.arg = LAYOUT_ZERO_PAGE,
		.rsp = STACK_TOP,
		.cr3 = root,
		.la57 = la57,
	};
	return 0;
}

const struct boot_format bzimage_format = {
	.probe = bzimage_probe,
	.parse = bzimage_parse,
	.enter = bzimage_enter,
};
