/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dumps of a kernel's memory, checked the way that crash(8) begins: before the
 * crash, pages are marked and their physical addresses told; afterwards the
 * dump must hold the mark at that address, and the kernel's own name where its
 * symbols say. In ELF, as /proc/vmcore, or in makedumpfile's own format.
 */
#ifndef GUEST_DUMP_H
#define GUEST_DUMP_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE	  4096ULL
#define UTS_FIELD 65 /* bytes of a field of struct new_utsname */

/* A page with a pattern that its physical address gives. */
struct mark {
	void *page;
	uint64_t phys;
};

/* Use so much memory, mark one page of it in each 128 MiB of physical memory,
 * up to max, and give the rest back. Their number or a negative errno value. */
int marks_make(uint64_t size_mib, struct mark *marks, int max);

struct dump {
	int fd;
	uint64_t info_offset, info_size; /* vmcoreinfo, in the file */

	/* ELF only. */
	Elf64_Phdr *segments;
	size_t nr_segments;

	/* makedumpfile's own only: two bitmaps, one after the other. */
	uint8_t *bitmaps;
	uint64_t bitmap_bytes; /* of each */
	uint64_t descriptors;  /* in the file */
};

/* 0 or a negative errno value: -ENOEXEC if it is no such dump. */
int dump_open(struct dump *dump, const char *path);
void dump_close(struct dump *dump);

/* What the dump has of the page at phys: "right" (its mark), "zero", "other",
 * "absent". */
const char *dump_page(const struct dump *dump, uint64_t phys);

/* The release of the kernel that was dumped, found by the symbols that the
 * dump tells. 0 or a negative errno value. */
int dump_release(const struct dump *dump, char *release, size_t size);

/* Bytes of memory that the dumped kernel had, as the dump says. */
uint64_t dump_bytes(const struct dump *dump);

/* For dump.c and diskdump.c alone: read all of it or say why not; the parts
 * of makedumpfile's format. */
int read_at(int fd, void *buf, size_t size, uint64_t at);
int diskdump_open(struct dump *dump);
uint64_t diskdump_bytes(const struct dump *dump);
int diskdump_read(const struct dump *dump, void *page, uint64_t phys);

#endif
