// SPDX-License-Identifier: BSD-3-Clause
/*
 * A bzImage's kernel proper, unpacked: an ELF file for one address, and after
 * its end a list of the words in it that hold virtual addresses. The kernel is
 * entered as its own decompressor would: at a random place (KASLR), with these
 * words corrected.
 *
 * The list is of 32-bit words, from the file's end backwards: places of 32-bit
 * addresses, a zero, places of 32-bit addresses that count down (in kernels
 * before 6.15 only, and then another zero), places of 64-bit addresses, a zero.
 * A place is a virtual address itself, of which the upper half is all ones. A
 * kernel without a list stays where it is.
 *
 * The place in memory and the virtual address are moved independently. Both
 * mappings of Linux start at -2 GiB; 1 GiB of it is the kernel's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "boot_image.h"
#include "layout.h"
#include "payload.h"

#define MAP_START      0xffffffff80000000ULL
#define VIRTUAL_SIZE   (1ULL << 30)
#define MIN_ALIGN      (2ULL << 20)
#define MAX_LIST_BYTES (64ULL << 20)
#define MAX_LISTS      3

/* What is done to a word when virtual addresses go up. */
enum word_kind {
	WORD_ADD64,
	WORD_SUB32,
	WORD_ADD32,
};

struct list {
	enum word_kind kind;
	const uint32_t *places;
	size_t nr;
};

struct lists {
	uint32_t *words; /* of all of them */
	unsigned int nr;
	struct list list[MAX_LISTS];
};

/* ---- The lists --------------------------------------------------------- */

static int damaged(const struct boot_image *image, const char *what,
		   uint64_t value, struct error *err)
{
	return boot_refuse(image, err,
			   "a bzImage with a damaged payload (%s %#llx)", what,
			   (unsigned long long)value);
}

/* Split the words at their zeros; they start with one. */
static int split(struct lists *lists, size_t nr)
{
	static const enum word_kind kinds[2][MAX_LISTS] = {
		{WORD_ADD64, WORD_ADD32},
		{WORD_ADD64, WORD_SUB32, WORD_ADD32},
	};

	if (nr == 0)
		return 0;
	if (lists->words[0] != 0)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		if (lists->words[i] != 0) {
			lists->list[lists->nr - 1].nr++;
			continue;
		}
		if (lists->nr == MAX_LISTS)
			return -EINVAL;
		lists->list[lists->nr++].places = &lists->words[i + 1];
	}
	if (lists->nr < 2)
		return -EINVAL;
	for (unsigned int i = 0; i < lists->nr; i++)
		lists->list[i].kind = kinds[lists->nr - 2][i];
	return 0;
}

/* What stands after the ELF file. lists->words is the caller's to free. */
static int read_lists(const struct boot_image *image, struct lists *lists,
		      struct error *err)
{
	uint64_t len = image->body.size - image->elf_end;
	int ret;

	memset(lists, 0, sizeof(*lists));
	if (image->elf_end > image->body.size || len > MAX_LIST_BYTES ||
	    len % sizeof(lists->words[0]))
		return damaged(image, "end of the ELF file", image->elf_end,
			       err);
	lists->words = malloc(len + 1);
	if (!lists->words)
		return error_set(err, -ENOMEM, "no memory to load a kernel");
	ret = boot_file_read(&image->body, image->elf_end, lists->words, len,
			     err);
	if (!ret && split(lists, len / sizeof(lists->words[0])))
		ret = damaged(image, "bytes of relocations", len, err);
	return ret;
}

/* ---- Opening ----------------------------------------------------------- */

int unpacked_open(struct boot_image *image, const struct boot_source *src,
		  struct error *err)
{
	struct stat st;
	int ret;

	if (fstat(src->unpacked_fd, &st) < 0)
		return error_set_errno(err, -errno,
				       "cannot examine the unpacked kernel");
	image->body.fd = src->unpacked_fd;
	image->body.size = (uint64_t)st.st_size;
	image->nr_segments = 0;
	image->start = image->end = image->entry = 0;
	ret = elf_read_headers(image, false, err);
	if (!ret && image->start != image->setup.pref_address)
		ret = damaged(image, "address", image->start, err);
	return ret;
}

int unpacked_check(const struct boot_image *image)
{
	struct lists lists;
	int ret = read_lists(image, &lists, NULL);

	free(lists.words);
	return ret;
}

/* ---- Placing ----------------------------------------------------------- */

/* A multiple of align from 0 to max, at random. */
static uint64_t random_multiple(uint64_t align, uint64_t max)
{
	uint64_t value;

	if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
		return 0;
	return value % (max / align + 1) * align;
}

static void move(struct boot_image *image, uint64_t shift)
{
	for (unsigned int i = 0; i < image->nr_segments; i++)
		image->segments[i].gpa += shift;
	image->start += shift;
	image->end += shift;
	image->entry += shift;
}

void unpacked_place(struct boot_image *image, const char *cmdline,
		    uint64_t limit)
{
	const uint64_t size = image->end - image->start;
	const uint64_t room = VIRTUAL_SIZE - image->start;
	uint64_t align = image->setup.kernel_alignment;

	if (align < MIN_ALIGN || (align & (align - 1)))
		align = MIN_ALIGN;
	if (image->elf_end >= image->body.size || size > room ||
	    boot_cmdline_has(cmdline, "nokaslr", false))
		return;
	image->randomized = true;
	image->virtual_shift = random_multiple(align, room - size);
	/* The user may have taken away the memory that we would choose. */
	if (limit > image->end && !boot_cmdline_has(cmdline, "mem=", true) &&
	    !boot_cmdline_has(cmdline, "memmap=", true))
		move(image, random_multiple(align, limit - image->end));
}

/* ---- Relocating -------------------------------------------------------- */

/* Copy a word from or to guest memory, where regions may meet within it. */
static bool copy_word(const struct guest_memory *gm, uint64_t gpa,
		      uint8_t *word, size_t len, bool to_guest)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t *at = guest_memory_map(gm, gpa + i, 1);

		if (!at)
			return false;
		if (to_guest)
			*at = word[i];
		else
			word[i] = *at;
	}
	return true;
}

static bool correct(const struct guest_memory *gm, uint64_t gpa,
		    enum word_kind kind, uint64_t shift)
{
	size_t len = kind == WORD_ADD64 ? sizeof(uint64_t) : sizeof(uint32_t);
	uint8_t *at = guest_memory_map(gm, gpa, len);
	uint64_t value = 0;

	/* Little-endian, as we are. */
	if (at)
		memcpy(&value, at, len);
	else if (!copy_word(gm, gpa, (uint8_t *)&value, len, false))
		return false;
	value += kind == WORD_SUB32 ? -shift : shift;
	if (at)
		memcpy(at, &value, len);
	else
		copy_word(gm, gpa, (uint8_t *)&value, len, true);
	return true;
}

static int correct_list(const struct guest_memory *gm,
			const struct boot_image *image, const struct list *list,
			struct error *err)
{
	const uint64_t link = MAP_START + image->setup.pref_address;
	const uint64_t size = image->end - image->start;

	for (size_t i = 0; i < list->nr; i++) {
		uint64_t at = 0xffffffff00000000ULL + list->places[i] - link;

		if (at > size - sizeof(uint64_t) ||
		    !correct(gm, image->start + at, list->kind,
			     image->virtual_shift))
			return damaged(image, "place of a relocation",
				       list->places[i], err);
	}
	return 0;
}

int unpacked_relocate(const struct guest_memory *gm,
		      const struct boot_image *image, struct error *err)
{
	struct lists lists;
	int ret;

	if (!image->virtual_shift)
		return 0;
	ret = read_lists(image, &lists, err);
	for (unsigned int i = 0; !ret && i < lists.nr; i++)
		ret = correct_list(gm, image, &lists.list[i], err);
	free(lists.words);
	return ret;
}
