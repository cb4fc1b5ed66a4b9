/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the loader: what the kernel formats (bzimage.c, elf.c) and the common
 * part (boot.c) tell each other. For src/vmm/x86/boot*.c alone.
 *
 * A format's parser turns a file into a list of segments and a range of memory
 * that the kernel needs; the common part loads these and places the initrd;
 * then the format writes what its entry protocol hands to the kernel.
 */
#ifndef VMM_X86_BOOT_IMAGE_H
#define VMM_X86_BOOT_IMAGE_H

#include <asm/bootparam.h>
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/error.h"
#include "vmm/guest_memory.h"
#include "vmm/x86/boot.h"

#define BOOT_PAGE_SIZE	  4096ULL
#define BOOT_MAX_SEGMENTS 32
/* The first bytes of a file, enough to tell what it is and to hold the setup
 * header of a bzImage. */
#define BOOT_HEAD_SIZE	  1024

struct boot_file {
	int fd;
	const char *path; /* for messages */
	const char *what; /* "kernel" or "initrd", for messages */
	uint64_t size;
};

/* size bytes at offset of the file go to gpa; the rest of need_size reads as
 * zero. */
struct boot_segment {
	uint64_t offset, size;
	uint64_t gpa, need_size;
};

struct boot_image {
	struct boot_file file;
	/* What the segments are read from: file, or its payload, unpacked. */
	struct boot_file body;
	uint8_t head[BOOT_HEAD_SIZE];
	size_t head_size; /* less if the file is shorter */

	/* Filled by the parser. [start, end) holds all segments, is not empty,
	 * and starts at LAYOUT_HIGH or above. */
	uint64_t start, end;
	uint64_t entry;
	uint64_t initrd_last; /* highest address of a byte of the initrd */
	size_t cmdline_max;   /* longest command line, without its NUL */
	unsigned int nr_segments;
	struct boot_segment segments[BOOT_MAX_SEGMENTS];
	uint64_t elf_end;	   /* ELF: where it ends in body */
	struct setup_header setup; /* bzImage: as in the file */
	/* Unpacked: whether KASLR is on, and how far its virtual addresses are
	 * moved. */
	bool randomized;
	uint64_t virtual_shift;
};

#define BOOT_MAX_MAP 64

/* The memory map that the kernel is given, in ascending order. */
struct boot_map {
	unsigned int nr;
	struct {
		uint64_t start, size;
		bool usable; /* else reserved */
	} entries[BOOT_MAX_MAP];
};

/* What was loaded besides the kernel. */
struct boot_data {
	uint64_t initrd_start, initrd_size; /* 0, 0: none */
	uint64_t rsdp;
	const char *cmdline;
	bool la57; /* its processors have 5-level paging */
	struct boot_map map;
};

struct boot_format {
	/* True if the image's head looks like this format. */
	bool (*probe)(const struct boot_image *image);
	/* Check the headers and fill the image, or boot_refuse() it. */
	int (*parse)(struct boot_image *image, struct error *err);
	/* All is loaded: write the boot information and fill entry. */
	int (*enter)(const struct guest_memory *gm,
		     const struct boot_image *image,
		     const struct boot_data *data, struct boot_entry *entry,
		     struct error *err);
};

extern const struct boot_format bzimage_format;
extern const struct boot_format elf_format;

/* Say why the kernel file is refused and what to give instead: -EINVAL. fmt
 * goes on after "found ". */
int boot_refuse(const struct boot_image *image, struct error *err,
		const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Read exactly len bytes; an end of file before that is -EIO. */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *buf,
		   size_t len, struct error *err);

/* Copy len bytes to guest memory; -EFAULT if there is none at gpa. */
int boot_put(const struct guest_memory *gm, uint64_t gpa, const void *data,
	     size_t len, struct error *err);

/* Read the headers of the ELF file in the image's body, which tell segments,
 * memory, and (with notes) the PVH entry. */
int elf_read_headers(struct boot_image *image, bool notes, struct error *err);

/* The kernel in a bzImage, unpacked (unpacked.c). Parsed already is the bzImage
 * itself; open: take src's unpacked file for its body. check: what open leaves
 * until it is needed. place: choose where it goes, to end at limit at the most.
 * relocate: it is loaded there. */
int unpacked_open(struct boot_image *image, const struct boot_source *src,
		  struct error *err);
int unpacked_check(const struct boot_image *image);
void unpacked_place(struct boot_image *image, const char *cmdline,
		    uint64_t limit);
int unpacked_relocate(const struct guest_memory *gm,
		      const struct boot_image *image, struct error *err);

/* Whether a word of a command line is word, or with prefix starts so. */
bool boot_cmdline_has(const char *cmdline, const char *word, bool prefix);

static inline uint64_t boot_align_down(uint64_t value, uint64_t align)
{
	return value - value % align;
}

#endif
