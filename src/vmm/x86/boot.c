// SPDX-License-Identifier: BSD-3-Clause
/*
 * Loading a kernel: what all formats have in common. Finds out what the file
 * is, places kernel and initrd in boot memory, reads them straight into it,
 * and leaves the entry protocol to the format.
 *
 * Memory, from below: tables of ours under 640 KiB, firmware tables under
 * 1 MiB, the kernel where it wants to be, the initrd as high as it may go. In
 * a small guest, where nothing fits above the kernel, the initrd goes between
 * 1 MiB and the kernel instead.
 *
 * Files are not trusted: every number of theirs is checked against the file's
 * size and boot memory before it is used.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot_image.h"
#include "layout.h"
#include "payload.h"

static const struct boot_format *const formats[] = {
	&elf_format,
	&bzimage_format,
};

#define NR_FORMATS (sizeof(formats) / sizeof(formats[0]))

/* What people give by mistake, told by its first bytes. */
static const struct {
	const char *magic;
	size_t len;
	const char *name;
} known_files[] = {
	{"\x1f\x8b", 2, "gzip data"},
	{"\xfd"
	 "7zXZ",
	 5, "xz data"},
	{"\x28\xb5\x2f\xfd", 4, "zstd data"},
	{"BZh", 3, "bzip2 data"},
	{"\x02\x21\x4c\x18", 4, "lz4 data"},
	{"\x04\x22\x4d\x18", 4, "lz4 data"},
	{"\x5d\x00\x00", 3, "lzma data"},
	{"\x89LZO", 4, "lzo data"},
	{"070701", 6, "a cpio archive, as an initrd is"},
	{"070702", 6, "a cpio archive, as an initrd is"},
	{"!<arch>\n", 8, "an ar archive, as a Debian package is"},
	{"#!", 2, "a script"},
	{"QFI\xfb", 4, "a qcow2 disk image"},
	{"MZ", 2, "an EFI program without a Linux setup header"},
};

/* ---- Files ------------------------------------------------------------- */

int boot_refuse(const struct boot_image *image, struct error *err,
		const char *fmt, ...)
{
	char found[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(found, sizeof(found), fmt, args);
	va_end(args);
	return error_set(err, -EINVAL,
			 "%s is not a kernel that can be booted: found %s; "
			 "give a bzImage or an uncompressed ELF vmlinux with "
			 "a PVH note",
			 image->file.path, found);
}

/* Anything but a regular file is told apart by *kind. */
static int file_open(struct boot_file *file, int fd, const char *path,
		     const char *what, const char **kind, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set_errno(err, -errno, "cannot examine %s %s",
				       what, path);
	*file = (struct boot_file){
		.fd = fd,
		.path = path,
		.what = what,
		.size = (uint64_t)st.st_size,
	};
	*kind = NULL;
	if (S_ISDIR(st.st_mode))
		*kind = "a directory";
	else if (!S_ISREG(st.st_mode))
		*kind = "something that is no regular file";
	else if (st.st_size == 0)
		*kind = "an empty file";
	return 0;
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *buf,
		   size_t len, struct error *err)
{
	uint8_t *bytes = buf;

	while (len) {
		ssize_t got = pread(file->fd, bytes, len, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(err, -errno, "cannot read %s %s",
					       file->what, file->path);
		if (got == 0)
			return error_set(err, -EIO,
					 "%s %s ended early: it was cut while "
					 "it was read",
					 file->what, file->path);
		bytes += got;
		offset += (uint64_t)got;
		len -= (size_t)got;
	}
	return 0;
}

/* The next run of data from offset to before end; what lies between is zero, as
 * guest memory is. False: there is none. */
static bool next_data(const struct boot_file *file, uint64_t *offset,
		      uint64_t end, uint64_t *len)
{
	off_t data = lseek(file->fd, (off_t)*offset, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO)
		return false;
	hole = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);
	/* Whatever cannot tell holes has data only. */
	if (hole > data) {
		if ((uint64_t)data >= end)
			return false;
		if ((uint64_t)hole < end)
			end = (uint64_t)hole;
		*offset = (uint64_t)data;
	}
	*len = end - *offset;
	return true;
}

/* Read len bytes at offset straight into guest memory, region by region. */
static int read_into(const struct guest_memory *gm,
		     const struct boot_file *file, uint64_t offset,
		     uint64_t gpa, uint64_t len, struct error *err)
{
	while (len) {
		const struct guest_region *r = guest_memory_find(gm, gpa);
		uint64_t part;
		int ret;

		if (!r)
			return error_set(err, -EFAULT,
					 "no boot memory at %#llx for %s %s",
					 (unsigned long long)gpa, file->what,
					 file->path);
		part = r->size - (gpa - r->gpa);
		if (part > len)
			part = len;
		ret = boot_file_read(file, offset,
				     guest_memory_map(gm, gpa, part), part,
				     err);
		if (ret)
			return ret;
		offset += part;
		gpa += part;
		len -= part;
	}
	return 0;
}

static int file_load(const struct guest_memory *gm,
		     const struct boot_file *file, uint64_t offset,
		     uint64_t gpa, uint64_t len, struct error *err)
{
	const uint64_t end = offset + len;
	uint64_t at = offset, part;

	while (at < end && next_data(file, &at, end, &part)) {
		int ret =
			read_into(gm, file, at, gpa + (at - offset), part, err);

		if (ret)
			return ret;
		at += part;
	}
	return 0;
}

int boot_put(const struct guest_memory *gm, uint64_t gpa, const void *data,
	     size_t len, struct error *err)
{
	void *host = guest_memory_map(gm, gpa, len);

	if (!host)
		return error_set(err, -EFAULT,
				 "no boot memory at %#llx for boot tables",
				 (unsigned long long)gpa);
	memcpy(host, data, len);
	return 0;
}

/* ---- What the kernel is ------------------------------------------------ */

static int refuse_unknown(const struct boot_image *image, struct error *err)
{
	const uint8_t *head = image->head;

	for (size_t i = 0; i < sizeof(known_files) / sizeof(known_files[0]);
	     i++) {
		if (image->head_size >= known_files[i].len &&
		    !memcmp(head, known_files[i].magic, known_files[i].len))
			return boot_refuse(image, err, "%s",
					   known_files[i].name);
	}
	if (image->head_size >= 512 && head[510] == 0x55 && head[511] == 0xaa)
		return boot_refuse(image, err, "a 16-bit boot sector");
	return boot_refuse(image, err, "data of an unknown kind");
}

static int open_image(struct boot_image *image, const struct boot_source *src,
		      const struct boot_format **format, struct error *err)
{
	const char *kind;
	int ret;

	memset(image, 0, sizeof(*image));
	ret = file_open(&image->file, src->kernel_fd, src->kernel_path,
			"kernel", &kind, err);
	if (ret)
		return ret;
	if (kind)
		return boot_refuse(image, err, "%s", kind);
	image->body = image->file;
	image->head_size = sizeof(image->head);
	if (image->head_size > image->file.size)
		image->head_size = (size_t)image->file.size;
	ret = boot_file_read(&image->file, 0, image->head, image->head_size,
			     err);
	if (ret)
		return ret;
	for (size_t i = 0; i < NR_FORMATS; i++) {
		if (!formats[i]->probe(image))
			continue;
		*format = formats[i];
		ret = formats[i]->parse(image, err);
		if (!ret && src->unpacked)
			ret = unpacked_open(image, src, err);
		return ret;
	}
	return refuse_unknown(image, err);
}

static int open_initrd(struct boot_file *initrd, const struct boot_source *src,
		       struct error *err)
{
	const char *kind;
	int ret = file_open(initrd, src->initrd_fd, src->initrd_path, "initrd",
			    &kind, err);

	if (ret)
		return ret;
	if (kind)
		return error_set(err, -EINVAL,
				 "%s cannot be an initrd: found %s; give a "
				 "cpio archive, compressed or not",
				 src->initrd_path, kind);
	return 0;
}

static int check_cmdline(const struct boot_image *image,
			 const struct boot_source *src, struct error *err)
{
	size_t len = strlen(src->cmdline);
	size_t max = image->cmdline_max;

	if (max > LAYOUT_CMDLINE_MAX - 1)
		max = LAYOUT_CMDLINE_MAX - 1;
	if (len <= max)
		return 0;
	return error_set(err, -EINVAL,
			 "the kernel command line has %zu bytes, kernel %s "
			 "takes at most %zu",
			 len, image->file.path, max);
}

/* Everything that can be checked without guest memory. */
static int open_all(struct boot_image *image, struct boot_file *initrd,
		    const struct boot_source *src,
		    const struct boot_format **format, struct error *err)
{
	int ret = open_image(image, src, format, err);

	if (ret)
		return ret;
	ret = check_cmdline(image, src, err);
	if (ret || src->initrd_fd < 0)
		return ret;
	return open_initrd(initrd, src, err);
}

int boot_check(const struct boot_source *src, struct error *err)
{
	const struct boot_format *format;
	struct boot_image image;
	struct boot_file initrd;

	return open_all(&image, &initrd, src, &format, err);
}

/* Open the kernel, if it is packed in a way that is known. */
static int open_packed(struct boot_image *image, const struct boot_source *src)
{
	const struct boot_format *format;
	int ret = open_image(image, src, &format, NULL);

	if (!ret && format == &bzimage_format && payload_is_known(image))
		return 0;
	return -ENOTSUP;
}

bool boot_is_packed(const struct boot_source *src)
{
	struct boot_image image;

	return !open_packed(&image, src);
}

int boot_unpack(const struct boot_source *src, int to)
{
	struct boot_source made = *src;
	const struct boot_format *format;
	struct boot_image image;
	int ret = open_packed(&image, src);

	if (!ret)
		ret = payload_unpack(&image, to);
	if (ret)
		return ret;
	/* What cannot be used is not kept. */
	made.unpacked = true;
	made.unpacked_fd = to;
	ret = open_image(&image, &made, &format, NULL);
	return ret ? ret : unpacked_check(&image);
}

bool boot_cmdline_has(const char *cmdline, const char *word, bool prefix)
{
	size_t len = strlen(word);
	const char *at = cmdline;

	while ((at = strstr(at, word))) {
		if ((at == cmdline || at[-1] == ' ') &&
		    (prefix || at[len] == '\0' || at[len] == ' '))
			return true;
		at += len;
	}
	return false;
}

/* ---- Where things go --------------------------------------------------- */

static int map_add(struct boot_map *map, uint64_t start, uint64_t end,
		   bool usable)
{
	if (start >= end)
		return 0;
	if (map->nr == BOOT_MAX_MAP)
		return -ENOSPC;
	map->entries[map->nr].start = start;
	map->entries[map->nr].size = end - start;
	map->entries[map->nr].usable = usable;
	map->nr++;
	return 0;
}

/* One run of boot memory: the end of low memory is reserved, firmware tables
 * stand there. */
static int map_add_run(struct boot_map *map, uint64_t start, uint64_t end)
{
	if (start == 0 && end > LAYOUT_HIGH) {
		if (map_add(map, 0, LAYOUT_EBDA, true) ||
		    map_add(map, LAYOUT_EBDA, LAYOUT_HIGH, false))
			return -ENOSPC;
		start = LAYOUT_HIGH;
	}
	return map_add(map, start, end, true);
}

/* The end of the run of boot memory that region i starts; *i becomes the
 * run's last region. NUMA nodes and hugetlb parts are regions of their own,
 * the guest need not know. */
static uint64_t run_end(const struct guest_memory *gm, unsigned int *i)
{
	uint64_t end = gm->regions[*i].gpa + gm->regions[*i].size;

	while (*i + 1 < gm->nr_regions && gm->regions[*i + 1].boot &&
	       gm->regions[*i + 1].gpa == end) {
		++*i;
		end += gm->regions[*i].size;
	}
	return end;
}

/*
 * Linux takes the ECAM window only if the memory map (or ACPI, which says it
 * too) reserves it.
 */
static int build_map(struct boot_map *map, const struct guest_memory *gm)
{
	bool ecam = false;

	map->nr = 0;
	for (unsigned int i = 0; i < gm->nr_regions; i++) {
		uint64_t start = gm->regions[i].gpa;

		if (!gm->regions[i].boot)
			continue;
		if (start > LAYOUT_ECAM && !ecam) {
			ecam = true;
			if (map_add(map, LAYOUT_ECAM,
				    LAYOUT_ECAM + LAYOUT_ECAM_SIZE, false))
				return -ENOSPC;
		}
		if (map_add_run(map, start, run_end(gm, &i)))
			return -ENOSPC;
	}
	if (ecam)
		return 0;
	return map_add(map, LAYOUT_ECAM, LAYOUT_ECAM + LAYOUT_ECAM_SIZE, false);
}

/* End of the boot memory that starts at address 0, at most the hole's start;
 * 0 if there is none. */
static uint64_t low_memory_end(const struct guest_memory *gm)
{
	unsigned int i = 0;
	uint64_t end;

	if (gm->nr_regions == 0 || gm->regions[0].gpa != 0 ||
	    !gm->regions[0].boot)
		return 0;
	end = run_end(gm, &i);
	return end < LAYOUT_HOLE_START ? end : LAYOUT_HOLE_START;
}

/* Boot memory is given in steps of 2 MiB. */
static unsigned long long to_mib(uint64_t bytes)
{
	return (bytes + (2U << 20) - 1) / (2U << 20) * 2;
}

static int too_small(const struct boot_image *image, uint64_t need,
		     uint64_t have, const char *rest, struct error *err)
{
	if (need > LAYOUT_HOLE_START)
		return error_set(err, -ENOMEM,
				 "kernel %s%s cannot be loaded: it needs %llu "
				 "MiB, and the loader has %llu MiB at the most",
				 image->file.path, rest, to_mib(need),
				 LAYOUT_HOLE_START >> 20);
	return error_set(err, -ENOMEM,
			 "kernel %s%s needs at least %llu MiB of boot memory, "
			 "there is %llu MiB",
			 image->file.path, rest, to_mib(need),
			 (unsigned long long)(have >> 20));
}

/* There is no room for the initrd, for lack of memory or because the kernel
 * does not take it where there is some. */
static int no_room(const struct boot_image *image,
		   const struct boot_file *initrd, uint64_t pages,
		   uint64_t low_end, struct error *err)
{
	uint64_t need = image->end + pages;

	if (need > low_end && need - 1 <= image->initrd_last)
		return too_small(image, need, low_end, " with its initrd", err);
	return error_set(err, -EINVAL,
			 "initrd %s (%llu bytes) is too large: kernel %s takes "
			 "none above %#llx",
			 initrd->path, (unsigned long long)initrd->size,
			 image->file.path,
			 (unsigned long long)image->initrd_last);
}

/* As high as it may go, above the kernel; below it if there is no room. */
static int place_initrd(const struct boot_image *image,
			const struct boot_file *initrd, uint64_t low_end,
			struct boot_data *data, struct error *err)
{
	uint64_t top = low_end, pages;

	if (top > image->initrd_last)
		top = image->initrd_last + 1;
	top = boot_align_down(top, BOOT_PAGE_SIZE);
	/* Sizes of files fit in 63 bits. */
	pages = boot_align_down(initrd->size + BOOT_PAGE_SIZE - 1,
				BOOT_PAGE_SIZE);
	if (top < image->end || top - image->end < pages) {
		if (top > image->start)
			top = boot_align_down(image->start, BOOT_PAGE_SIZE);
		if (top < LAYOUT_HIGH || top - LAYOUT_HIGH < pages)
			return no_room(image, initrd, pages, low_end, err);
	}
	data->initrd_start = top - pages;
	data->initrd_size = initrd->size;
	return 0;
}

/* Flat segments where the boot protocols want them: code 0x10, data 0x18, a
 * task state segment 0x20 (two slots in long mode). */
static int put_gdt(const struct guest_memory *gm, struct boot_entry *entry,
		   struct error *err)
{
	const uint64_t code = entry->mode == BOOT_LONG64 ? 0x00af9b000000ffff
							 : 0x00cf9b000000ffff;
	const uint64_t gdt[] = {
		0, 0, code, 0x00cf93000000ffff, 0x00008b0000000067, 0,
	};

	entry->gdt = LAYOUT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
	return boot_put(gm, LAYOUT_GDT, gdt, sizeof(gdt), err);
}

static int load_files(const struct guest_memory *gm,
		      const struct boot_image *image,
		      const struct boot_file *initrd,
		      const struct boot_data *data, struct error *err)
{
	int ret;

	for (unsigned int i = 0; i < image->nr_segments; i++) {
		const struct boot_segment *s = &image->segments[i];

		ret = file_load(gm, &image->body, s->offset, s->gpa, s->size,
				err);
		if (ret)
			return ret;
	}
	if (data->initrd_size == 0)
		return 0;
	return file_load(gm, initrd, 0, data->initrd_start, data->initrd_size,
			 err);
}

int boot_load(const struct guest_memory *gm, const struct boot_source *src,
	      uint64_t rsdp, struct boot_entry *entry, struct error *err)
{
	uint64_t low_end = low_memory_end(gm);
	struct boot_data data = {
		.rsdp = rsdp,
		.cmdline = src->cmdline,
		.la57 = src->la57,
	};
	const struct boot_format *format;
	struct boot_image image;
	struct boot_file initrd;
	int ret = open_all(&image, &initrd, src, &format, err);

	if (ret)
		return ret;
	if (image.end > low_end)
		return too_small(&image, image.end, low_end, "", err);
	if (src->initrd_fd >= 0) {
		ret = place_initrd(&image, &initrd, low_end, &data, err);
		if (ret)
			return ret;
	}
	if (src->unpacked)
		unpacked_place(&image, src->cmdline,
			       data.initrd_start > image.start
				       ? data.initrd_start
				       : low_end);
	ret = build_map(&data.map, gm);
	if (ret)
		return error_set(err, ret,
				 "boot memory is in more than %d parts",
				 BOOT_MAX_MAP);
	ret = load_files(gm, &image, &initrd, &data, err);
	if (!ret)
		ret = boot_put(gm, LAYOUT_CMDLINE, src->cmdline,
			       strlen(src->cmdline) + 1, err);
	if (!ret)
		ret = format->enter(gm, &image, &data, entry, err);
	return ret ? ret : put_gdt(gm, entry, err);
}
