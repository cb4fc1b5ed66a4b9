// SPDX-License-Identifier: BSD-3-Clause
/*
 * Uncompressed ELF kernels, entered by PVH (Xen's x86/HVM direct boot ABI):
 * an ELF note holds the physical address of a 32-bit entry, and ebx points to
 * a structure with memory map, initrd and command line.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "boot_image.h"
#include "layout.h"

#define MAX_HEADERS	  64
#define MAX_NOTES	  256
#define NOTE_PHYS32_ENTRY 18
#define PVH_MAGIC	  0x336ec578
#define PVH_VERSION	  1
#define PVH_CMDLINE_MAX	  2047 /* what Linux keeps on x86 */
#define MEMMAP_RAM	  1
#define MEMMAP_RESERVED	  2
#define STACK_TOP	  LAYOUT_PAGE_TABLES /* a page is free below */
#define PVH_INFO_ROOM	  (LAYOUT_ZERO_PAGE - LAYOUT_PVH_INFO)

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct pvh_module {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

struct pvh_memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

static_assert(sizeof(struct pvh_start_info) == 56, "");
static_assert(offsetof(struct pvh_start_info, memmap_paddr) == 40, "");
static_assert(sizeof(struct pvh_module) == 32, "");
static_assert(sizeof(struct pvh_memmap_entry) == 24, "");

/* All that is handed over, in one piece at LAYOUT_PVH_INFO. */
struct pvh_info {
	struct pvh_start_info start;
	struct pvh_module module;
	struct pvh_memmap_entry memmap[BOOT_MAX_MAP];
};

static_assert(sizeof(struct pvh_info) <= PVH_INFO_ROOM, "");

static bool elf_probe(const struct boot_image *image)
{
	return image->head_size >= SELFMAG &&
	       !memcmp(image->head, ELFMAG, SELFMAG);
}

static int cut_short(const struct boot_image *image, uint64_t need,
		     struct error *err)
{
	return boot_refuse(image, err,
			   "an ELF file cut short (%llu of %llu bytes)",
			   (unsigned long long)image->body.size,
			   (unsigned long long)need);
}

/* Sentences for a number in a header that cannot be right. */
static int damaged(const struct boot_image *image, const char *what,
		   uint64_t value, struct error *err)
{
	return boot_refuse(image, err,
			   "an ELF file with a damaged header (%s %#llx)", what,
			   (unsigned long long)value);
}

static int check_header(const struct boot_image *image, const Elf64_Ehdr *elf,
			struct error *err)
{
	uint64_t table_size = (uint64_t)elf->e_phnum * sizeof(Elf64_Phdr);

	if (elf->e_machine != EM_X86_64)
		return boot_refuse(image, err,
				   "an ELF file for another machine (type %u)",
				   elf->e_machine);
	if (elf->e_type != ET_EXEC && elf->e_type != ET_DYN)
		return boot_refuse(image, err,
				   "an ELF file that is no executable (type "
				   "%u)",
				   elf->e_type);
	if (elf->e_phentsize != sizeof(Elf64_Phdr))
		return damaged(image, "program header size", elf->e_phentsize,
			       err);
	if (elf->e_phnum == 0 || elf->e_phnum > MAX_HEADERS)
		return damaged(image, "number of program headers", elf->e_phnum,
			       err);
	if (elf->e_phoff > UINT64_MAX - table_size)
		return damaged(image, "program header offset", elf->e_phoff,
			       err);
	if (elf->e_phoff + table_size > image->body.size)
		return cut_short(image, elf->e_phoff + table_size, err);
	return 0;
}

/* The file goes on to the end of what stands there at least. */
static void note_end(struct boot_image *image, uint64_t offset, uint64_t size)
{
	if (offset <= UINT64_MAX - size && offset + size > image->elf_end)
		image->elf_end = offset + size;
}

static int add_segment(struct boot_image *image, const Elf64_Phdr *ph,
		       struct error *err)
{
	if (ph->p_memsz == 0)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return damaged(image, "segment file size", ph->p_filesz, err);
	if (ph->p_paddr < LAYOUT_HIGH || ph->p_paddr >= LAYOUT_HOLE_START)
		return damaged(image, "segment address", ph->p_paddr, err);
	if (ph->p_memsz > LAYOUT_HOLE_START - ph->p_paddr)
		return damaged(image, "segment size", ph->p_memsz, err);
	if (ph->p_offset > UINT64_MAX - ph->p_filesz)
		return damaged(image, "segment offset", ph->p_offset, err);
	if (ph->p_offset + ph->p_filesz > image->body.size)
		return cut_short(image, ph->p_offset + ph->p_filesz, err);
	for (unsigned int i = 0; i < image->nr_segments; i++) {
		const struct boot_segment *s = &image->segments[i];

		if (ph->p_paddr < s->gpa + s->need_size &&
		    s->gpa < ph->p_paddr + ph->p_memsz)
			return damaged(image, "overlapping segment address",
				       ph->p_paddr, err);
	}
	if (image->nr_segments == BOOT_MAX_SEGMENTS)
		return damaged(image, "number of segments above",
			       BOOT_MAX_SEGMENTS, err);
	image->segments[image->nr_segments++] = (struct boot_segment){
		.offset = ph->p_offset,
		.size = ph->p_filesz,
		.gpa = ph->p_paddr,
		.need_size = ph->p_memsz,
	};
	note_end(image, ph->p_offset, ph->p_filesz);
	if (image->nr_segments == 1 || ph->p_paddr < image->start)
		image->start = ph->p_paddr;
	if (ph->p_paddr + ph->p_memsz > image->end)
		image->end = ph->p_paddr + ph->p_memsz;
	return 0;
}

/* A note as far as it matters: header, a name of 4 bytes, 8 of content. */
struct pvh_note {
	Elf64_Nhdr head;
	char name[4];
	uint64_t value;
};

static_assert(sizeof(struct pvh_note) == 24, "");

static bool is_entry_note(const struct pvh_note *note)
{
	return note->head.n_type == NOTE_PHYS32_ENTRY &&
	       note->head.n_namesz == sizeof(note->name) &&
	       !memcmp(note->name, "Xen", sizeof(note->name)) &&
	       (note->head.n_descsz == 4 || note->head.n_descsz == 8);
}

/* Walk the notes of a segment; names and contents are padded to 4 bytes. */
static int scan_notes(struct boot_image *image, const Elf64_Phdr *ph,
		      struct error *err)
{
	uint64_t left = ph->p_filesz, offset = ph->p_offset;

	if (offset > UINT64_MAX - left)
		return damaged(image, "note offset", offset, err);
	if (offset + left > image->body.size)
		return cut_short(image, offset + left, err);
	for (unsigned int i = 0; i < MAX_NOTES; i++) {
		struct pvh_note note = {0};
		uint64_t size = sizeof(note.head);
		int ret;

		if (left < size)
			return 0;
		ret = boot_file_read(&image->body, offset, &note,
				     left < sizeof(note) ? left : sizeof(note),
				     err);
		if (ret)
			return ret;
		size += (note.head.n_namesz + 3ULL) & ~3ULL;
		size += (note.head.n_descsz + 3ULL) & ~3ULL;
		if (size > left)
			return damaged(image, "note size", size, err);
		if (is_entry_note(&note)) {
			image->entry = note.head.n_descsz == 4
					       ? (uint32_t)note.value
					       : note.value;
			return 0;
		}
		offset += size;
		left -= size;
	}
	return 0;
}

static int check_entry(const struct boot_image *image, struct error *err)
{
	if (image->nr_segments == 0)
		return boot_refuse(image, err,
				   "an ELF file with nothing to load");
	if (image->entry == 0)
		return boot_refuse(image, err,
				   "an ELF file without a PVH note");
	for (unsigned int i = 0; i < image->nr_segments; i++) {
		const struct boot_segment *s = &image->segments[i];

		if (image->entry >= s->gpa && image->entry - s->gpa < s->size)
			return 0;
	}
	return damaged(image, "PVH entry", image->entry, err);
}

int elf_read_headers(struct boot_image *image, bool notes, struct error *err)
{
	Elf64_Phdr headers[MAX_HEADERS];
	Elf64_Ehdr elf;
	int ret;

	if (image->body.size < sizeof(elf))
		return cut_short(image, sizeof(elf), err);
	ret = boot_file_read(&image->body, 0, &elf, sizeof(elf), err);
	if (ret)
		return ret;
	if (elf.e_ident[EI_CLASS] != ELFCLASS64)
		return boot_refuse(image, err,
				   "an ELF file that is not 64-bit");
	if (elf.e_ident[EI_DATA] != ELFDATA2LSB)
		return boot_refuse(image, err, "a big-endian ELF file");
	ret = check_header(image, &elf, err);
	if (ret)
		return ret;
	ret = boot_file_read(&image->body, elf.e_phoff, headers,
			     elf.e_phnum * sizeof(headers[0]), err);
	for (unsigned int i = 0; !ret && i < elf.e_phnum; i++) {
		if (headers[i].p_type == PT_LOAD)
			ret = add_segment(image, &headers[i], err);
		else if (headers[i].p_type == PT_NOTE && notes &&
			 image->entry == 0)
			ret = scan_notes(image, &headers[i], err);
	}
	if (ret)
		return ret;
	if (!notes)
		image->entry = elf.e_entry;
	note_end(image, elf.e_shoff,
		 (uint64_t)elf.e_shnum * sizeof(Elf64_Shdr));
	return check_entry(image, err);
}

static int elf_parse(struct boot_image *image, struct error *err)
{
	image->initrd_last = LAYOUT_HOLE_START - 1;
	image->cmdline_max = PVH_CMDLINE_MAX;
	return elf_read_headers(image, true, err);
}

static int elf_enter(const struct guest_memory *gm,
		     const struct boot_image *image,
		     const struct boot_data *data, struct boot_entry *entry,
		     struct error *err)
{
	struct pvh_info info = {
		.start =
			{
				.magic = PVH_MAGIC,
				.version = PVH_VERSION,
				.cmdline_paddr = LAYOUT_CMDLINE,
				.rsdp_paddr = data->rsdp,
				.memmap_paddr =
					LAYOUT_PVH_INFO +
					offsetof(struct pvh_info, memmap),
				.memmap_entries = data->map.nr,
			},
	};

	if (data->initrd_size) {
		info.start.nr_modules = 1;
		info.start.modlist_paddr =
			LAYOUT_PVH_INFO + offsetof(struct pvh_info, module);
		info.module.paddr = data->initrd_start;
		info.module.size = data->initrd_size;
	}
	for (unsigned int i = 0; i < data->map.nr; i++) {
		info.memmap[i] = (struct pvh_memmap_entry){
			.addr = data->map.entries[i].start,
			.size = data->map.entries[i].size,
			.type = data->map.entries[i].usable ? MEMMAP_RAM
							    : MEMMAP_RESERVED,
		};
	}
	*entry = (struct boot_entry){
		.mode = BOOT_PVH32,
		.rip = image->entry,
		.arg = LAYOUT_PVH_INFO,
		.rsp = STACK_TOP,
	};
	return boot_put(gm, LAYOUT_PVH_INFO, &info, sizeof(info), err);
}

const struct boot_format elf_format = {
	.probe = elf_probe,
	.parse = elf_parse,
	.enter = elf_enter,
};
