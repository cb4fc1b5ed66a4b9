// SPDX-License-Identifier: BSD-3-Clause
/*
 * Kernel files that are none: the sentence for each, and files damaged by
 * chance, which must never do harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot_files.h"
#include "guest_ram.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/boot_image.h"
#include "vmm/x86/layout.h"

/* ---- What is refused --------------------------------------------------- */

#define GIVE	     "; give a bzImage or an uncompressed ELF vmlinux with a PVH note"
#define NOT_A_KERNEL "K is not a kernel that can be booted: found "

/* A file that is base with len bytes at offset replaced, then cut to size if
 * that is not 0. */
struct bad_file {
	void (*base)(struct test_file *f);
	const char *found;
	size_t offset;
	const char *bytes;
	size_t len;
	size_t size;
};

static void make_nothing(struct test_file *f)
{
	memset(f, 0, sizeof(*f));
	f->size = 4096;
}

static void make_zero_entry(struct test_file *f)
{
	make_elf(f);
	memset(f->data + ELF_NOTE_OFFSET + 20 + 16, 0, 8);
}

#define MAX64 "\xff\xff\xff\xff\xff\xff\xff\xff"

#define BAD(base, found, offset, bytes)                                        \
	{                                                                      \
		base, found, offset, bytes, sizeof(bytes) - 1, 0               \
	}
#define CUT(base, found, size)                                                 \
	{                                                                      \
		base, found, 0, "", 0, size                                    \
	}

static const struct bad_file bad_files[] = {
	BAD(make_nothing, "data of an unknown kind", 0, ""),
	CUT(make_nothing, "data of an unknown kind", 1),
	BAD(make_nothing, "gzip data", 0, "\x1f\x8b\x08"),
	BAD(make_nothing, "xz data", 0,
	    "\xfd"
	    "7zXZ"),
	BAD(make_nothing, "zstd data", 0, "\x28\xb5\x2f\xfd"),
	BAD(make_nothing, "bzip2 data", 0, "BZh9"),
	BAD(make_nothing, "lz4 data", 0, "\x02\x21\x4c\x18"),
	BAD(make_nothing, "lz4 data", 0, "\x04\x22\x4d\x18"),
	BAD(make_nothing, "lzma data", 0, "\x5d\x00\x00\x80"),
	BAD(make_nothing, "lzo data", 0, "\x89LZO"),
	BAD(make_nothing, "a cpio archive, as an initrd is", 0, "070701"),
	BAD(make_nothing, "an ar archive, as a Debian package is", 0,
	    "!<arch>\n"),
	BAD(make_nothing, "a script", 0, "#!/bin/sh\n"),
	BAD(make_nothing, "a qcow2 disk image", 0, "QFI\xfb"),
	BAD(make_nothing, "an EFI program without a Linux setup header", 0,
	    "MZ"),
	BAD(make_nothing, "a 16-bit boot sector", 510, "\x55\xaa"),

	BAD(make_bzimage,
	    "a Linux image of boot protocol 2.11, which is older than 2.12",
	    BZ_FIELD(version), "\x0b\x02"),
	BAD(make_bzimage, "a 16-bit zImage", BZ_FIELD(loadflags), "\0"),
	BAD(make_bzimage, "a bzImage without a 64-bit entry",
	    BZ_FIELD(xloadflags), "\x02\0"),
	BAD(make_bzimage, "a bzImage with a damaged header (address 0xfffff)",
	    BZ_FIELD(pref_address), "\xff\xff\x0f\0\0\0\0\0"),
	BAD(make_bzimage,
	    "a bzImage with a damaged header (address 0xc0000000)",
	    BZ_FIELD(pref_address), "\0\0\0\xc0\0\0\0\0"),
	BAD(make_bzimage,
	    "a bzImage with a damaged header (address 0xffffffffffffffff)",
	    BZ_FIELD(pref_address), MAX64),
	BAD(make_bzimage, "a bzImage with a damaged header (512 bytes of code)",
	    BZ_FIELD(syssize), "\x20\0\0\0"),
	CUT(make_bzimage, "a bzImage cut short (5119 of 5120 bytes)", 5119),
	BAD(make_bzimage, "a bzImage cut short (5120 of 6656 bytes)",
	    BZ_FIELD(setup_sects), "\x04"),
	BAD(make_bzimage, "a bzImage cut short (5120 of 6656 bytes)",
	    BZ_FIELD(setup_sects), "\0"), /* 0 means 4 */
	BAD(make_bzimage, "a bzImage cut short (5120 of 68719477744 bytes)",
	    BZ_FIELD(syssize), "\xff\xff\xff\xff"),
	BAD(make_bzimage,
	    "a Linux image of boot protocol 0.00, which is older than 2.12",
	    0x201, "\0"), /* a header that ends before it began */

	CUT(make_elf, "an ELF file cut short (63 of 64 bytes)", 63),
	BAD(make_elf, "an ELF file that is not 64-bit", EI_CLASS, "\x01"),
	BAD(make_elf, "a big-endian ELF file", EI_DATA, "\x02"),
	BAD(make_elf, "an ELF file for another machine (type 183)",
	    offsetof(Elf64_Ehdr, e_machine), "\xb7\0"),
	BAD(make_elf, "an ELF file that is no executable (type 1)",
	    offsetof(Elf64_Ehdr, e_type), "\x01\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (program header size 0x20)",
	    offsetof(Elf64_Ehdr, e_phentsize), "\x20\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (number of program headers 0)",
	    offsetof(Elf64_Ehdr, e_phnum), "\0\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (number of program headers "
	    "0x41)",
	    offsetof(Elf64_Ehdr, e_phnum), "\x41\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (program header offset "
	    "0xffffffffffffffff)",
	    offsetof(Elf64_Ehdr, e_phoff), MAX64),
	BAD(make_elf, "an ELF file cut short (12288 of 12456 bytes)",
	    offsetof(Elf64_Ehdr, e_phoff), "\0\x30\0\0\0\0\0\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (segment file size 0x1001)",
	    ELF_PH(0, p_filesz), "\x01\x10\0\0\0\0\0\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (segment address 0xfffff)",
	    ELF_PH(0, p_paddr), "\xff\xff\x0f\0\0\0\0\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (segment address "
	    "0xffffffffffffffff)",
	    ELF_PH(0, p_paddr), MAX64),
	BAD(make_elf,
	    "an ELF file with a damaged header (segment size "
	    "0xffffffffffffffff)",
	    ELF_PH(1, p_memsz), MAX64),
	BAD(make_elf,
	    "an ELF file with a damaged header (segment offset "
	    "0xffffffffffffffff)",
	    ELF_PH(0, p_offset), MAX64),
	BAD(make_elf, "an ELF file cut short (12288 of 12289 bytes)",
	    ELF_PH(1, p_offset), "\x01\x20\0\0\0\0\0\0"),
	CUT(make_elf, "an ELF file cut short (12287 of 12288 bytes)", 12287),
	BAD(make_elf,
	    "an ELF file with a damaged header (overlapping segment address "
	    "0x1000fff)",
	    ELF_PH(1, p_paddr), "\xff\x0f\0\x01\0\0\0\0"),
	BAD(make_elf, "an ELF file without a PVH note", ELF_PH(2, p_type),
	    "\0\0\0\0"),
	BAD(make_elf, "an ELF file without a PVH note", ELF_NOTE_OFFSET + 28,
	    "\x13"), /* another type */
	BAD(make_elf, "an ELF file without a PVH note", ELF_NOTE_OFFSET + 32,
	    "Xem"), /* another's */
	BAD(make_elf, "an ELF file without a PVH note", ELF_PH(2, p_filesz),
	    "\x14"), /* the second note is not in the segment */
	BAD(make_zero_entry, "an ELF file without a PVH note", 0, ""),
	BAD(make_elf, "an ELF file with a damaged header (note size 0x18)",
	    ELF_PH(2, p_filesz), "\x2b"), /* cut by a byte */
	BAD(make_elf,
	    "an ELF file with a damaged header (note size 0x10000000c)",
	    ELF_NOTE_OFFSET, "\xff\xff\xff\xff\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (note offset "
	    "0xffffffffffffffff)",
	    ELF_PH(2, p_offset), MAX64),
	BAD(make_elf, "an ELF file cut short (12288 of 12332 bytes)",
	    ELF_PH(2, p_offset), "\0\x30"),
	BAD(make_elf, "an ELF file with a damaged header (PVH entry 0x1001000)",
	    ELF_NOTE_OFFSET + 36, "\0\x10\0\x01\0\0\0\0"),
	BAD(make_elf,
	    "an ELF file with a damaged header (PVH entry 0x101000050)",
	    ELF_NOTE_OFFSET + 36, "\x50\0\0\x01\x01\0\0\0"),
	BAD(make_elf, "an ELF file with a damaged header (PVH entry 0x1401000)",
	    ELF_NOTE_OFFSET + 36, "\0\x10\x40\x01\0\0\0\0"), /* its bss */
};

static void bad_files_are_told_apart(void **state)
{
	struct guest_ram ram;

	ram_make_boot(&ram, 64 * MIB);
	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		const struct bad_file *bad = &bad_files[i];
		char sentence[300];
		struct boot_entry entry;
		struct boot_source src;
		struct test_file f;
		struct error err;

		bad->base(&f);
		memcpy(f.data + bad->offset, bad->bytes, bad->len);
		if (bad->size)
			f.size = bad->size;
		src = source(file_fd(&f), -1);
		snprintf(sentence, sizeof(sentence), NOT_A_KERNEL "%s" GIVE,
			 bad->found);
		memset(&err, 0, sizeof(err));
		assert_int_equal(boot_check(&src, &err), -EINVAL);
		assert_string_equal(err.text, sentence);
		memset(&err, 0, sizeof(err));
		assert_int_equal(boot_load(&ram.gm, &src, RSDP, &entry, &err),
				 -EINVAL);
		assert_string_equal(err.text, sentence);
		close(src.kernel_fd);
	}
	assert_zero(&ram, 0, 32 * MIB); /* nothing was loaded */
	ram_free(&ram);
}

/* An ELF file whose only segment is empty. */
static void elf_with_nothing_to_load(void **state)
{
	struct boot_source src;
	struct test_file f;
	struct error err;

	make_elf(&f);
	memset(f.data + ELF_PH(0, p_type), 0, 2 * sizeof(Elf64_Phdr));
	src = source(file_fd(&f), -1);
	assert_int_equal(boot_check(&src, &err), -EINVAL);
	assert_string_equal(err.text, NOT_A_KERNEL
			    "an ELF file with nothing to load" GIVE);
	close(src.kernel_fd);
}

/* 33 segments, one more than are taken, each a page. */
static void elf_with_too_many_segments(void **state)
{
	struct boot_source src;
	struct test_file f;
	struct error err;

	make_elf(&f);
	f.data[offsetof(Elf64_Ehdr, e_phnum)] = BOOT_MAX_SEGMENTS + 1;
	for (unsigned int i = 0; i <= BOOT_MAX_SEGMENTS; i++) {
		const Elf64_Phdr ph = {
			.p_type = PT_LOAD,
			.p_paddr = ELF_LOAD + i * 4096,
			.p_memsz = 4096,
		};

		memcpy(f.data + ELF_PH(i, p_type), &ph, sizeof(ph));
	}
	src = source(file_fd(&f), -1);
	assert_int_equal(boot_check(&src, &err), -EINVAL);
	assert_string_equal(err.text, NOT_A_KERNEL
			    "an ELF file with a damaged header "
			    "(number of segments above 0x20)" GIVE);
	close(src.kernel_fd);
}

static void things_that_are_no_files(void **state)
{
	static const struct {
		const char *path;
		const char *found;
	} cases[] = {
		{"/", "a directory"},
		{"/dev/null", "something that is no regular file"},
	};
	struct boot_source src;
	char sentence[300];
	struct error err;
	struct test_file f;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		src = source(open(cases[i].path, O_RDONLY | O_CLOEXEC), -1);
		snprintf(sentence, sizeof(sentence), NOT_A_KERNEL "%s" GIVE,
			 cases[i].found);
		assert_int_equal(boot_check(&src, &err), -EINVAL);
		assert_string_equal(err.text, sentence);
		make_bzimage(&f);
		src.initrd_fd = src.kernel_fd;
		src.kernel_fd = file_fd(&f);
		snprintf(sentence, sizeof(sentence),
			 "I cannot be an initrd: found %s; give a cpio "
			 "archive, compressed or not",
			 cases[i].found);
		assert_int_equal(boot_check(&src, &err), -EINVAL);
		assert_string_equal(err.text, sentence);
		close(src.kernel_fd);
		close(src.initrd_fd);
	}
	f.size = 0;
	src = source(file_fd(&f), -1);
	assert_int_equal(boot_check(&src, &err), -EINVAL);
	assert_string_equal(err.text, NOT_A_KERNEL "an empty file" GIVE);
	close(src.kernel_fd);
	src.kernel_fd = -1;
	assert_int_equal(boot_check(&src, &err), -EBADF);
	assert_string_equal(err.text,
			    "cannot examine kernel K: Bad file descriptor");
}

/* The parser asks for what the file had when it was opened. */
static void file_that_shrinks(void **state)
{
	uint8_t buf[128];
	struct test_file f;
	struct error err;
	struct boot_file file = {.path = "K", .what = "kernel"};

	make_elf(&f);
	file.fd = file_fd(&f);
	assert_int_equal(ftruncate(file.fd, 100), 0);
	assert_int_equal(boot_file_read(&file, 0, buf, 100, &err), 0);
	assert_int_equal(boot_file_read(&file, 0, buf, 101, &err), -EIO);
	assert_string_equal(err.text, "kernel K ended early: it was cut while "
				      "it was read");
	close(file.fd);
	assert_int_equal(boot_file_read(&file, 0, buf, 1, &err), -EBADF);
	assert_string_equal(err.text,
			    "cannot read kernel K: Bad file descriptor");
}

static void command_line_has_a_limit(void **state)
{
	static const struct {
		void (*make)(struct test_file *f);
		size_t limit;
	} kinds[] = {{make_bzimage, 2047}, {make_elf, 2047}};
	char cmdline[4096];
	struct error err;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct boot_source src;
		struct test_file f;

		kinds[i].make(&f);
		src = source(file_fd(&f), -1);
		memset(cmdline, 'x', sizeof(cmdline));
		cmdline[kinds[i].limit] = '\0';
		src.cmdline = cmdline;
		assert_int_equal(boot_check(&src, &err), 0);
		cmdline[kinds[i].limit] = 'x';
		cmdline[kinds[i].limit + 1] = '\0';
		assert_int_equal(boot_check(&src, &err), -EINVAL);
		assert_string_equal(err.text,
				    "the kernel command line has 2048 bytes, "
				    "kernel K takes at most 2047");
		src.cmdline = "";
		assert_int_equal(boot_check(&src, &err), 0);
		close(src.kernel_fd);
	}
}

/* ---- Damage by chance -------------------------------------------------- */

#define NR_MUTATIONS 20000
#define SEED	     0x5eed

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Change up to four places of the headers, with values that hurt. */
static void mutate(struct test_file *f, size_t from, size_t to, uint32_t *seed)
{
	static const uint64_t values[] = {
		0,
		1,
		0x7f,
		0xff,
		0x1000,
		0xfffff,
		0x100000,
		0x1000000,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xfffffffffffff000,
		UINT64_MAX,
	};
	unsigned int nr = next_random(seed) % 4 + 1;

	for (unsigned int i = 0; i < nr; i++) {
		size_t at = from + next_random(seed) % (to - from);
		size_t len = 1U << next_random(seed) % 4;
		uint64_t value = next_random(seed) & 1
					 ? values[next_random(seed) % 16]
					 : next_random(seed);

		if (at + len > to)
			len = 1;
		memcpy(f->data + at, &value, len);
	}
	if (next_random(seed) % 8 == 0)
		f->size = next_random(seed) % f->size + 1;
}

static void run_mutations(void (*make)(struct test_file *f), size_t from,
			  size_t to)
{
	unsigned int nr_taken = 0, nr_refused = 0;
	uint32_t seed = SEED;
	struct guest_ram ram;
	uint8_t *content;
	int initrd = initrd_fd(300, &content);

	ram_make_boot(&ram, 64 * MIB);
	for (unsigned int i = 0; i < NR_MUTATIONS; i++) {
		struct boot_entry entry;
		struct boot_source src;
		struct error err = {0};
		struct test_file f;
		int ret;

		make(&f);
		mutate(&f, from, to, &seed);
		src = source(file_fd(&f), i % 2 ? initrd : -1);
		ret = boot_load(&ram.gm, &src, RSDP, &entry, &err);
		if (ret == 0)
			check_taken(&ram, &entry);
		else
			assert_true(err.text[0] != '\0');
		assert_true(ret == 0 || ret == -EINVAL || ret == -ENOMEM);
		nr_taken += ret == 0;
		nr_refused += ret != 0;
		close(src.kernel_fd);
	}
	print_message("%u taken, %u refused\n", nr_taken, nr_refused);
	/* Else the damage misses the point. */
	assert_true(nr_taken > NR_MUTATIONS / 100);
	assert_true(nr_refused > NR_MUTATIONS / 4);
	free(content);
	close(initrd);
	ram_free(&ram);
}

static void damaged_bzimages_do_no_harm(void **state)
{
	run_mutations(make_bzimage, BZ_HEADER,
		      BZ_HEADER + sizeof(struct setup_header));
}

static void damaged_elf_files_do_no_harm(void **state)
{
	run_mutations(make_elf, 0, ELF_NOTE_OFFSET + ELF_NOTE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_files_are_told_apart),
		cmocka_unit_test(elf_with_nothing_to_load),
		cmocka_unit_test(elf_with_too_many_segments),
		cmocka_unit_test(things_that_are_no_files),
		cmocka_unit_test(file_that_shrinks),
		cmocka_unit_test(command_line_has_a_limit),
		cmocka_unit_test(damaged_bzimages_do_no_harm),
		cmocka_unit_test(damaged_elf_files_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
