// SPDX-License-Identifier: BSD-3-Clause
/* A bzImage's kernel, unpacked in advance: unpacking, placing, relocating. */
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <cmocka.h>

#include "boot_files.h"

#define LINK	      0xffffffff80000000ULL
#define ALIGN	      (2 * MIB)
#define CODE	      0x1000 /* of the segment, in the ELF file */
#define CODE_SIZE     0x3000
#define CODE_NEED     0x405123
#define ENTRY_OFFSET  0x53
#define PACKED_OFFSET 0x40 /* in the bzImage's code */

/* Where the words are that hold addresses, in the segment. */
#define WORD64	0x100
#define WORDSUB 0x200
#define WORD32	0x2fd /* across a page and a word */

struct vmlinux {
	uint8_t data[0x5000];
	size_t size;
};

struct kernel {
	struct vmlinux plain;
	struct test_file packed;
	int fd, unpacked_fd;
};

static void put_list(struct vmlinux *k, const uint32_t *words, size_t nr)
{
	memcpy(k->data + k->size, words, nr * sizeof(words[0]));
	k->size += nr * sizeof(words[0]);
}

static void make_vmlinux(struct vmlinux *k)
{
	const Elf64_Ehdr elf = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = BZ_LOAD + ENTRY_OFFSET,
		.e_phoff = sizeof(elf),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	const Elf64_Phdr header = {
		.p_type = PT_LOAD,
		.p_offset = CODE,
		.p_vaddr = LINK + BZ_LOAD,
		.p_paddr = BZ_LOAD,
		.p_filesz = CODE_SIZE,
		.p_memsz = CODE_NEED,
	};
	const uint32_t at = (uint32_t)(LINK + BZ_LOAD);
	const uint32_t lists[] = {0, at + WORD64, 0, at + WORDSUB,
				  0, at + WORD32};

	memset(k, 0, sizeof(*k));
	memcpy(k->data, &elf, sizeof(elf));
	memcpy(k->data + sizeof(elf), &header, sizeof(header));
	fill_pattern(k->data + CODE, 0x1000, 3);
	/* A page of zeros, which is a hole of the unpacked file. */
	fill_pattern(k->data + CODE + 0x2000, 0x1000, 4);
	k->size = CODE + CODE_SIZE;
	put_list(k, lists, sizeof(lists) / sizeof(lists[0]));
}

/* ---- Packing ----------------------------------------------------------- */

static size_t pack_xz(const struct vmlinux *k, uint8_t *to, size_t room)
{
	size_t len = 0;

	assert_int_equal(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL,
						 k->data, k->size, to, &len,
						 room),
			 LZMA_OK);
	return len;
}

static size_t pack_zstd(const struct vmlinux *k, uint8_t *to, size_t room)
{
	size_t len = ZSTD_compress(to, room, k->data, k->size, 3);

	assert_false(ZSTD_isError(len));
	return len;
}

/* In two blocks. */
static size_t pack_lz4(const struct vmlinux *k, uint8_t *to, size_t room)
{
	const uint32_t magic = 0x184c2102;
	const size_t half = k->size / 2;
	size_t at = sizeof(magic);

	memcpy(to, &magic, sizeof(magic));
	for (int i = 0; i < 2; i++) {
		const uint8_t *from = k->data + (i ? half : 0);
		size_t len = i ? k->size - half : half;
		int got = LZ4_compress_default((const char *)from,
					       (char *)to + at + 4, (int)len,
					       (int)(room - at - 4));

		assert_true(got > 0);
		memcpy(to + at, &got, 4);
		at += 4 + (size_t)got;
	}
	return at;
}

typedef size_t (*pack_fn)(const struct vmlinux *k, uint8_t *to, size_t room);

static void pack(struct kernel *k, pack_fn pack_it)
{
	struct test_file *f = &k->packed;
	uint8_t *at = f->data + BZ_CODE_OFFSET + PACKED_OFFSET;
	uint32_t offset = PACKED_OFFSET, len, plain = (uint32_t)k->plain.size;
	uint32_t sixteenths = (sizeof(f->data) - BZ_CODE_OFFSET) / 16;

	make_bzimage(f);
	f->size = sizeof(f->data);
	memcpy(f->data + BZ_FIELD(syssize), &sixteenths, sizeof(sixteenths));
	len = (uint32_t)pack_it(&k->plain, at,
				sizeof(f->data) - BZ_CODE_OFFSET -
					PACKED_OFFSET - 4);
	memcpy(at + len, &plain, 4);
	len += 4;
	memcpy(f->data + BZ_FIELD(payload_offset), &offset, 4);
	memcpy(f->data + BZ_FIELD(payload_length), &len, 4);
	f->data[BZ_FIELD(xloadflags)] |= XLF_5LEVEL_ENABLED;
}

static int unpack(struct kernel *k)
{
	const struct boot_source src = source(k->fd, -1);
	int ret;

	k->unpacked_fd = memfd_create("unpacked", MFD_CLOEXEC);
	assert_true(k->unpacked_fd >= 0);
	ret = boot_unpack(&src, k->unpacked_fd);
	if (ret)
		close(k->unpacked_fd);
	return ret;
}

static void make_kernel(struct kernel *k)
{
	make_vmlinux(&k->plain);
	pack(k, pack_zstd);
	k->fd = file_fd(&k->packed);
	assert_int_equal(unpack(k), 0);
}

static struct boot_source unpacked_source(const struct kernel *k)
{
	struct boot_source src = source(k->fd, -1);

	src.unpacked = true;
	src.unpacked_fd = k->unpacked_fd;
	return src;
}

static void free_kernel(struct kernel *k)
{
	close(k->fd);
	close(k->unpacked_fd);
}

static void every_format_is_unpacked(void **state)
{
	const pack_fn packs[] = {pack_xz, pack_zstd, pack_lz4};
	uint8_t got[sizeof(((struct vmlinux *)0)->data)];
	struct kernel k;

	make_vmlinux(&k.plain);
	for (size_t i = 0; i < sizeof(packs) / sizeof(packs[0]); i++) {
		struct boot_source src;

		pack(&k, packs[i]);
		k.fd = file_fd(&k.packed);
		src = source(k.fd, -1);
		assert_true(boot_is_packed(&src));
		assert_int_equal(unpack(&k), 0);
		assert_int_equal(pread(k.unpacked_fd, got, sizeof(got), 0),
				 k.plain.size);
		assert_memory_equal(got, k.plain.data, k.plain.size);
		free_kernel(&k);
	}
}

/* A bit changed in each byte does no harm, though not every format notices; cut
 * at any length, none is taken. */
static void damaged_payloads_are_refused(void **state)
{
	const pack_fn packs[] = {pack_xz, pack_zstd, pack_lz4};
	unsigned int nr_refused = 0;
	uint32_t whole;
	struct kernel k;

	make_vmlinux(&k.plain);
	for (size_t i = 0; i < sizeof(packs) / sizeof(packs[0]); i++) {
		pack(&k, packs[i]);
		for (size_t at = 0; at < 600; at++) {
			struct test_file good = k.packed;
			int ret;

			k.packed.data[BZ_CODE_OFFSET + PACKED_OFFSET + at] ^=
				1 << at % 8;
			k.fd = file_fd(&k.packed);
			ret = unpack(&k);
			nr_refused += ret != 0;
			if (!ret)
				close(k.unpacked_fd);
			close(k.fd);
			k.packed = good;
		}
		memcpy(&whole, k.packed.data + BZ_FIELD(payload_length), 4);
		for (uint32_t len = 0; len < whole; len++) {
			memcpy(k.packed.data + BZ_FIELD(payload_length), &len,
			       sizeof(len));
			k.fd = file_fd(&k.packed);
			assert_true(unpack(&k) < 0);
			close(k.fd);
		}
	}
	assert_true(nr_refused > 300);
}

static void others_are_not_packed(void **state)
{
	struct test_file f;
	struct boot_source src;
	int to = memfd_create("unpacked", MFD_CLOEXEC);

	make_elf(&f);
	src = source(file_fd(&f), -1);
	assert_false(boot_is_packed(&src));
	assert_int_equal(boot_unpack(&src, to), -ENOTSUP);
	close(src.kernel_fd);
	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	assert_false(boot_is_packed(&src));
	assert_int_equal(boot_unpack(&src, to), -ENOTSUP);
	close(src.kernel_fd);
	close(to);
}

/* ---- Loading ----------------------------------------------------------- */

static const struct boot_params *params(const struct guest_ram *ram,
					const struct boot_entry *entry)
{
	return guest_memory_map(&ram->gm, entry->arg,
				sizeof(struct boot_params));
}

static bool kaslr(const struct guest_ram *ram, const struct boot_entry *entry)
{
	return params(ram, entry)->hdr.loadflags & KASLR_FLAG;
}

static void it_stays_where_it_is_told_to(void **state)
{
	struct boot_entry entry;
	struct guest_ram ram;
	struct kernel k;
	struct boot_source src;

	make_kernel(&k);
	src = unpacked_source(&k);
	src.cmdline = "quiet nokaslr";
	ram_make_boot(&ram, 64 * MIB);
	load(&ram, &src, &entry);
	assert_int_equal(entry.mode, BOOT_LONG64);
	assert_int_equal(entry.rip, BZ_LOAD + ENTRY_OFFSET);
	assert_at(&ram, BZ_LOAD, k.plain.data + CODE, CODE_SIZE);
	assert_zero(&ram, BZ_LOAD + CODE_SIZE, CODE_NEED - CODE_SIZE);
	assert_false(kaslr(&ram, &entry));
	assert_false(entry.la57);
	ram_free(&ram);
	free_kernel(&k);
}

/* The kernel as it must be once its addresses are moved by shift. */
static void expect_moved(const struct guest_ram *ram, uint64_t at,
			 const struct kernel *k, uint64_t shift)
{
	uint8_t want[CODE_SIZE], got[CODE_SIZE];
	uint64_t word64;
	uint32_t word32;

	memcpy(want, k->plain.data + CODE, CODE_SIZE);
	memcpy(&word64, want + WORD64, 8);
	word64 += shift;
	memcpy(want + WORD64, &word64, 8);
	memcpy(&word32, want + WORDSUB, 4);
	word32 -= (uint32_t)shift;
	memcpy(want + WORDSUB, &word32, 4);
	memcpy(&word32, want + WORD32, 4);
	word32 += (uint32_t)shift;
	memcpy(want + WORD32, &word32, 4);
	for (size_t i = 0; i < CODE_SIZE; i++)
		got[i] = *(uint8_t *)guest_memory_map(&ram->gm, at + i, 1);
	assert_memory_equal(got, want, CODE_SIZE);
}

static uint64_t shift_of(const struct guest_ram *ram, uint64_t at,
			 const struct kernel *k)
{
	uint64_t word;

	memcpy(&word, k->plain.data + CODE + WORD64, 8);
	return load64(ram, at + WORD64) - word;
}

static void it_goes_to_random_places(void **state)
{
	uint64_t places = 0, shifts = 0;
	struct boot_source src;
	struct kernel k;
	uint8_t *initrd;

	make_kernel(&k);
	src = unpacked_source(&k);
	src.initrd_fd = initrd_fd(70000, &initrd);
	for (int i = 0; i < 32; i++) {
		struct boot_entry entry;
		struct guest_ram ram;
		uint64_t at, shift;

		ram_make_boot(&ram, 64 * MIB);
		load(&ram, &src, &entry);
		at = entry.rip - ENTRY_OFFSET;
		shift = shift_of(&ram, at, &k);
		assert_true(at >= BZ_LOAD && at % ALIGN == 0);
		assert_true(shift % ALIGN == 0);
		assert_true(BZ_LOAD + shift + CODE_NEED <= 1024 * MIB);
		expect_moved(&ram, at, &k, shift);
		assert_true(kaslr(&ram, &entry));
		assert_true(at + CODE_NEED <=
			    params(&ram, &entry)->hdr.ramdisk_image);
		assert_at(&ram, params(&ram, &entry)->hdr.ramdisk_image, initrd,
			  70000);
		places |= 1ULL << at / ALIGN % 64;
		shifts |= 1ULL << shift / ALIGN % 64;
		ram_free(&ram);
	}
	/* Of 32 tries, at most one of 21 places, or of some 500, each. */
	assert_true(__builtin_popcountll(places) > 4);
	assert_true(__builtin_popcountll(shifts) > 4);
	close(src.initrd_fd);
	free(initrd);
	free_kernel(&k);
}

/* Regions meet in the middle of a word. */
static void memory_may_be_in_parts(void **state)
{
	struct boot_entry entry;
	struct guest_ram ram;
	struct boot_source src;
	struct kernel k;

	make_kernel(&k);
	src = unpacked_source(&k);
	src.cmdline = "mem=64M";
	ram_make(&ram, 64 * MIB);
	ram_add(&ram, 0, BZ_LOAD + WORD32 + 1, true);
	ram_add(&ram, BZ_LOAD + WORD32 + 1, 64 * MIB - BZ_LOAD - WORD32 - 1,
		true);
	load(&ram, &src, &entry);
	/* Nor does it go where the user may have taken memory away. */
	assert_int_equal(entry.rip, BZ_LOAD + ENTRY_OFFSET);
	expect_moved(&ram, BZ_LOAD, &k, shift_of(&ram, BZ_LOAD, &k));
	ram_free(&ram);
	free_kernel(&k);
}

static void it_gets_five_levels(void **state)
{
	static const struct {
		const char *cmdline;
		bool has, want;
	} cases[] = {
		{"", true, true},
		{"", false, false},
		{"no5lvl", true, false},
		{"xno5lvl no5lvlx", true, true},
	};
	struct boot_source src;
	struct kernel k;

	make_kernel(&k);
	src = unpacked_source(&k);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct boot_entry entry;
		struct guest_ram ram;
		uint64_t at;

		src.cmdline = cases[i].cmdline;
		src.la57 = cases[i].has;
		ram_make_boot(&ram, 64 * MIB);
		load(&ram, &src, &entry);
		assert_int_equal(entry.la57, cases[i].want);
		at = entry.cr3;
		if (entry.la57)
			at = load64(&ram, at) & ~0xfffULL;
		assert_int_equal(at, LAYOUT_PAGE_TABLES);
		ram_free(&ram);
	}
	/* A kernel that unpacks itself does that itself, too. */
	src.unpacked = false;
	src.cmdline = "";
	src.la57 = true;
	{
		struct boot_entry entry;
		struct guest_ram ram;

		ram_make_boot(&ram, 64 * MIB);
		load(&ram, &src, &entry);
		assert_false(entry.la57);
		assert_int_equal(entry.rip, BZ_LOAD + 0x200);
		ram_free(&ram);
	}
	free_kernel(&k);
}

/* ---- Relocations ------------------------------------------------------- */

/* Whether a kernel with these words after its ELF file is taken. */
static int take_lists(const uint32_t *words, size_t nr)
{
	struct boot_entry entry;
	struct guest_ram ram;
	struct boot_source src;
	struct error err;
	struct kernel k;
	int ret;

	make_vmlinux(&k.plain);
	k.plain.size = CODE + CODE_SIZE;
	put_list(&k.plain, words, nr);
	pack(&k, pack_zstd);
	k.fd = file_fd(&k.packed);
	ret = unpack(&k);
	if (ret) {
		close(k.fd);
		return ret;
	}
	src = unpacked_source(&k);
	ram_make_boot(&ram, 64 * MIB);
	/* Most shifts are not 0: then every word is looked at. */
	for (int i = 0; i < 8 && !ret; i++) {
		memset(ram.mem.base, 0, ram.mem.size);
		ret = boot_load(&ram.gm, &src, RSDP, &entry, &err);
	}
	ram_free(&ram);
	free_kernel(&k);
	return ret;
}

static void relocations_are_checked(void **state)
{
	const uint32_t at = (uint32_t)(LINK + BZ_LOAD), end = at + CODE_NEED;
	static const uint32_t nothing[] = {0, 0, 0};

	assert_int_equal(take_lists(nothing, 0), 0);
	assert_int_equal(take_lists(nothing, 1), -EINVAL);
	assert_int_equal(take_lists(nothing, 2), 0);
	assert_int_equal(take_lists(nothing, 3), 0);
	assert_int_equal(take_lists((const uint32_t[]){0, at, 0, at + 8}, 4),
			 0);
	assert_int_equal(take_lists((const uint32_t[]){at, 0, at, 0}, 4),
			 -EINVAL);
	assert_int_equal(take_lists((const uint32_t[]){0, 0, 0, 0}, 4),
			 -EINVAL);
	assert_int_equal(take_lists((const uint32_t[]){0, at - 1, 0}, 3),
			 -EINVAL);
	assert_int_equal(take_lists((const uint32_t[]){0, end - 8, 0}, 3), 0);
	assert_int_equal(take_lists((const uint32_t[]){0, end - 7, 0}, 3),
			 -EINVAL);
	assert_int_equal(take_lists((const uint32_t[]){0, 0, 1}, 3), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_format_is_unpacked),
		cmocka_unit_test(damaged_payloads_are_refused),
		cmocka_unit_test(others_are_not_packed),
		cmocka_unit_test(it_stays_where_it_is_told_to),
		cmocka_unit_test(it_goes_to_random_places),
		cmocka_unit_test(memory_may_be_in_parts),
		cmocka_unit_test(it_gets_five_levels),
		cmocka_unit_test(relocations_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
