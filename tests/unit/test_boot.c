// SPDX-License-Identifier: BSD-3-Clause
/*
 * Loading kernels: what lands where, what the kernel is told, and the sentence
 * for every file that is none. With BELLOWS_KERNELS set to a folder of
 * NAME/vmlinuz and NAME/vmlinux, these are loaded instead.
 */
#include <dirent.h>
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

/* ---- bzImage ----------------------------------------------------------- */

static void check_gdt(const struct guest_ram *ram,
		      const struct boot_entry *entry)
{
	uint64_t code = load64(ram, entry->gdt + 0x10);
	uint64_t data = load64(ram, entry->gdt + 0x18);
	bool is64 = entry->mode == BOOT_LONG64;

	assert_true(entry->gdt_limit >= 0x27);
	assert_int_equal(code >> 40 & 0xff, 0x9b); /* execute, read */
	assert_int_equal(data >> 40 & 0xff, 0x93); /* read, write */
	assert_int_equal(code >> 53 & 1, is64);	   /* L */
	assert_int_equal(code >> 54 & 1, !is64);   /* D */
	assert_int_equal(code & 0xffff, 0xffff);
	assert_int_equal(data & 0xffff, 0xffff);
}

/* Walk the tables as a processor does. */
static uint64_t translate(const struct guest_ram *ram, uint64_t cr3,
			  uint64_t addr)
{
	uint64_t e = load64(ram, cr3 + (addr >> 39 & 511) * 8);

	assert_int_equal(e & 0xfff, 3);
	e = load64(ram, (e & ~0xfffULL) + (addr >> 30 & 511) * 8);
	assert_int_equal(e & 0xfff, 3);
	e = load64(ram, (e & ~0xfffULL) + (addr >> 21 & 511) * 8);
	assert_int_equal(e & 0xfff, 0x83);
	return (e & ~0xfffULL) + (addr & 0x1fffff);
}

static void check_page_tables(const struct guest_ram *ram, uint64_t cr3)
{
	for (uint64_t addr = 0x123; addr < 4ULL << 30; addr += 2 * MIB)
		assert_true(translate(ram, cr3, addr) == addr);
	assert_int_equal(load64(ram, cr3 + 8), 0);
	assert_int_equal(load64(ram, cr3 + 4096 + 4 * 8), 0);
}

static void bzimage_is_loaded(void **state)
{
	struct boot_params params;
	struct boot_entry entry;
	struct guest_ram ram;
	struct test_file f;
	struct boot_source src;

	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	assert_int_equal(boot_check(&src, NULL), 0);
	ram_make_boot(&ram, 64 * MIB);
	load(&ram, &src, &entry);
	assert_int_equal(entry.mode, BOOT_LONG64);
	assert_int_equal(entry.rip, BZ_LOAD + 0x200);
	assert_int_equal(entry.arg, LAYOUT_ZERO_PAGE);
	assert_at(&ram, BZ_LOAD, f.data + BZ_CODE_OFFSET, BZ_CODE_SIZE);
	assert_zero(&ram, BZ_LOAD + BZ_CODE_SIZE, 4096);
	assert_at(&ram, LAYOUT_CMDLINE, src.cmdline, strlen(src.cmdline) + 1);
	check_gdt(&ram, &entry);
	check_page_tables(&ram, entry.cr3);

	memcpy(&params, guest_memory_map(&ram.gm, entry.arg, sizeof(params)),
	       sizeof(params));
	assert_int_equal(params.sentinel, 0);
	assert_int_equal(params.hdr.header, 0x53726448);
	assert_int_equal(params.hdr.version, 0x020f);
	assert_int_equal(params.hdr.init_size, BZ_INIT_SIZE);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_true(params.hdr.loadflags & LOADED_HIGH);
	assert_int_equal(params.hdr.code32_start, BZ_LOAD);
	assert_int_equal(params.hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	assert_int_equal(params.hdr.ramdisk_size, 0);
	assert_int_equal(params.acpi_rsdp_addr, RSDP);
	ram_free(&ram);
	close(src.kernel_fd);
}

struct expected_entry {
	uint64_t start, end;
	uint32_t type; /* 1: usable, 2: reserved, in both protocols */
};

/* The map of a guest with memory on both sides of the hole. */
static const struct expected_entry expected_map[] = {
	{0, LAYOUT_EBDA, 1},
	{LAYOUT_EBDA, LAYOUT_HIGH, 2},
	{LAYOUT_HIGH, 64 * MIB, 1},
	{LAYOUT_ECAM, LAYOUT_ECAM + LAYOUT_ECAM_SIZE, 2},
	{LAYOUT_HOLE_END, LAYOUT_HOLE_END + 64 * MIB, 1},
};

#define NR_EXPECTED (sizeof(expected_map) / sizeof(expected_map[0]))

/* Regions that the map above comes from: adjacent parts, and one that is not
 * boot memory and must not show. */
static void make_parts(struct guest_ram *ram)
{
	ram_make(ram, 256 * MIB);
	ram_add(ram, 0, BZ_LOAD + 2048, true);
	ram_add(ram, BZ_LOAD + 2048, 64 * MIB - BZ_LOAD - 2048, true);
	ram_add(ram, LAYOUT_HOLE_END, 32 * MIB, true);
	ram_add(ram, LAYOUT_HOLE_END + 32 * MIB, 32 * MIB, true);
	ram_add(ram, LAYOUT_HOLE_END + 64 * MIB, 128 * MIB, false);
}

static void check_map_entry(unsigned int i, uint64_t start, uint64_t size,
			    uint32_t type)
{
	assert_true(i < NR_EXPECTED);
	assert_int_equal(start, expected_map[i].start);
	assert_int_equal(start + size, expected_map[i].end);
	assert_int_equal(type, expected_map[i].type);
}

/* Also: a kernel that spans two regions of boot memory. */
static void bzimage_gets_the_memory_map(void **state)
{
	const struct boot_params *params;
	struct boot_source src;
	struct boot_entry entry;
	struct guest_ram ram;
	struct test_file f;

	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	make_parts(&ram);
	load(&ram, &src, &entry);
	params = guest_memory_map(&ram.gm, entry.arg, sizeof(*params));
	assert_int_equal(params->e820_entries, NR_EXPECTED);
	for (unsigned int i = 0; i < NR_EXPECTED; i++)
		check_map_entry(i, params->e820_table[i].addr,
				params->e820_table[i].size,
				params->e820_table[i].type);
	assert_at(&ram, BZ_LOAD, f.data + BZ_CODE_OFFSET, 2048);
	assert_at(&ram, BZ_LOAD + 2048, f.data + BZ_CODE_OFFSET + 2048,
		  BZ_CODE_SIZE - 2048);
	ram_free(&ram);
	close(src.kernel_fd);
}

/* A map without high memory still has the window, last. */
static void ecam_is_reserved_in_small_guests(void **state)
{
	const struct boot_params *params;
	struct boot_entry entry;
	struct boot_source src;
	struct guest_ram ram;
	struct test_file f;

	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	ram_make_boot(&ram, 64 * MIB);
	load(&ram, &src, &entry);
	params = guest_memory_map(&ram.gm, entry.arg, sizeof(*params));
	assert_int_equal(params->e820_entries, 4);
	check_map_entry(3, params->e820_table[3].addr,
			params->e820_table[3].size, params->e820_table[3].type);
	ram_free(&ram);
	close(src.kernel_fd);
}

/* ---- Where the initrd goes --------------------------------------------- */

static const struct {
	const char *name;
	uint64_t memory;
	uint32_t initrd_max;
	size_t size;
	uint64_t start;
} places[] = {
	{"at the top", 64 * MIB, 0x7fffffff, 5000, 64 * MIB - 8192},
	{"a whole page", 64 * MIB, 0x7fffffff, 4096, 64 * MIB - 4096},
	{"one byte", 64 * MIB, 0x7fffffff, 1, 64 * MIB - 4096},
	{"below the kernel's limit", 64 * MIB, 0x1ffffff, 4096,
	 32 * MIB - 4096},
	{"limit inside a page", 64 * MIB, 0x2000ffe, 4096, 32 * MIB - 4096},
	{"limit at the end of memory", 64 * MIB, 0x3ffffff, 4096,
	 64 * MIB - 4096},
	{"exactly above the kernel", 20 * MIB, 0x7fffffff, MIB, 19 * MIB},
	{"below the kernel", 20 * MIB, 0x7fffffff, MIB + 1, 15 * MIB - 4096},
	{"filling all below the kernel", 20 * MIB, 0x7fffffff, 15 * MIB, MIB},
	{"limit inside the kernel", 64 * MIB, 0x10fffff, 4096, 16 * MIB - 4096},
	{"limit below the kernel", 64 * MIB, 0x7fffff, 4096, 8 * MIB - 4096},
};

static void initrd_goes_as_high_as_it_may(void **state)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const struct boot_params *params;
		struct boot_entry entry;
		struct boot_source src;
		struct guest_ram ram;
		struct test_file f;
		uint8_t *content;

		print_message("initrd %s\n", places[i].name);
		make_bzimage(&f);
		memcpy(f.data + BZ_FIELD(initrd_addr_max),
		       &places[i].initrd_max, 4);
		src = source(file_fd(&f), initrd_fd(places[i].size, &content));
		ram_make_boot(&ram, places[i].memory);
		load(&ram, &src, &entry);
		params = guest_memory_map(&ram.gm, entry.arg, sizeof(*params));
		assert_int_equal(params->hdr.ramdisk_image, places[i].start);
		assert_int_equal(params->hdr.ramdisk_size, places[i].size);
		assert_int_equal(params->ext_ramdisk_image, 0);
		assert_int_equal(params->ext_ramdisk_size, 0);
		assert_at(&ram, places[i].start, content, places[i].size);
		assert_at(&ram, BZ_LOAD, f.data + BZ_CODE_OFFSET, BZ_CODE_SIZE);
		ram_free(&ram);
		free(content);
		close(src.kernel_fd);
		close(src.initrd_fd);
	}
}

/* ---- ELF --------------------------------------------------------------- */

static void check_pvh_info(const struct guest_ram *ram, uint64_t at,
			   uint64_t initrd_start, uint64_t initrd_size)
{
	uint64_t memmap = load64(ram, at + 40);
	uint64_t modules = load64(ram, at + 16);

	assert_int_equal(load64(ram, at), 0x1336ec578); /* magic, version 1 */
	assert_int_equal(load64(ram, at + 24), LAYOUT_CMDLINE);
	assert_int_equal(load64(ram, at + 32), RSDP);
	assert_int_equal(load64(ram, at + 48), NR_EXPECTED);
	for (unsigned int i = 0; i < NR_EXPECTED; i++) {
		uint64_t e = memmap + 24 * i;

		check_map_entry(i, load64(ram, e), load64(ram, e + 8),
				(uint32_t)load64(ram, e + 16));
	}
	assert_int_equal(load64(ram, at + 8) >> 32, initrd_size != 0);
	if (!initrd_size)
		return;
	assert_int_equal(load64(ram, modules), initrd_start);
	assert_int_equal(load64(ram, modules + 8), initrd_size);
}

static void elf_is_loaded(void **state)
{
	static const size_t sizes[] = {0, 5000};

	for (size_t i = 0; i < 2; i++) {
		struct boot_entry entry;
		uint8_t *content = NULL;
		struct boot_source src;
		struct guest_ram ram;
		struct test_file f;

		make_elf(&f);
		src = source(file_fd(&f),
			     sizes[i] ? initrd_fd(sizes[i], &content) : -1);
		assert_int_equal(boot_check(&src, NULL), 0);
		make_parts(&ram);
		load(&ram, &src, &entry);
		assert_int_equal(entry.mode, BOOT_PVH32);
		assert_int_equal(entry.rip, ELF_ENTRY);
		assert_int_equal(entry.arg, LAYOUT_PVH_INFO);
		check_gdt(&ram, &entry);
		assert_at(&ram, ELF_LOAD, f.data + 0x1000, 2048);
		assert_at(&ram, ELF_LOAD + 2048, f.data + 0x1800, 2048);
		assert_at(&ram, ELF_DATA, f.data + 0x2000, ELF_DATA_SIZE);
		assert_zero(&ram, ELF_DATA + ELF_DATA_SIZE,
			    ELF_DATA_NEED - ELF_DATA_SIZE);
		assert_at(&ram, LAYOUT_CMDLINE, src.cmdline,
			  strlen(src.cmdline) + 1);
		check_pvh_info(&ram, entry.arg, 64 * MIB - 8192, sizes[i]);
		if (sizes[i])
			assert_at(&ram, 64 * MIB - 8192, content, sizes[i]);
		ram_free(&ram);
		free(content);
		close(src.kernel_fd);
		if (sizes[i])
			close(src.initrd_fd);
	}
}

/* A second load into the same memory gives the same result: a reboot. */
static void loading_again_is_the_same(void **state)
{
	struct boot_entry first, second;
	struct boot_source src;
	struct guest_ram a, b;
	struct test_file f;

	make_elf(&f);
	src = source(file_fd(&f), -1);
	ram_make_boot(&a, 32 * MIB);
	ram_make_boot(&b, 32 * MIB);
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	load(&a, &src, &first);
	load(&b, &src, &second);
	assert_memory_equal(a.mem.base, b.mem.base, 32 * MIB);
	assert_memory_equal(&first, &second, sizeof(first));
	ram_free(&a);
	ram_free(&b);
	close(src.kernel_fd);
}

/* ---- Memory that is too small ------------------------------------------ */

static void expect_failure(struct guest_ram *ram, const struct boot_source *src,
			   int code, const char *sentence)
{
	struct boot_entry entry;
	struct error err = {0};

	assert_int_equal(boot_load(&ram->gm, src, RSDP, &entry, &err), code);
	assert_string_equal(err.text, sentence);
	ram_free(ram);
}

/* Each sentence names an amount; with that much it loads. */
static void small_memory_says_what_would_do(void **state)
{
	struct boot_entry entry;
	struct boot_source src;
	struct guest_ram ram;
	struct test_file f;
	uint8_t *content;

	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	ram_make_boot(&ram, 18 * MIB);
	expect_failure(&ram, &src, -ENOMEM,
		       "kernel K needs at least 20 MiB of boot memory, there "
		       "is 18 MiB");
	ram_make_boot(&ram, 20 * MIB);
	load(&ram, &src, &entry);
	ram_free(&ram);

	src.initrd_fd = initrd_fd(15 * MIB + 1, &content);
	ram_make_boot(&ram, 32 * MIB);
	expect_failure(&ram, &src, -ENOMEM,
		       "kernel K with its initrd needs at least 36 MiB of "
		       "boot memory, there is 32 MiB");
	ram_make_boot(&ram, 36 * MIB);
	load(&ram, &src, &entry);
	ram_free(&ram);
	free(content);
	close(src.kernel_fd);
	close(src.initrd_fd);
}

static void what_never_fits_is_said(void **state)
{
	static const uint32_t half_gib = 0x1fffffff;
	static const uint32_t init_size = 0xc0000000;
	struct guest_ram ram = {0};
	struct boot_source src;
	struct test_file f;
	uint8_t *content;

	make_bzimage(&f);
	memcpy(f.data + BZ_FIELD(init_size), &init_size, 4);
	src = source(file_fd(&f), -1);
	ram_make_boot(&ram, 32 * MIB);
	expect_failure(&ram, &src, -ENOMEM,
		       "kernel K cannot be loaded: it needs 3088 MiB, and the "
		       "loader has 3072 MiB at the most");
	close(src.kernel_fd);

	make_bzimage(&f);
	memcpy(f.data + BZ_FIELD(initrd_addr_max), &half_gib, 4);
	src = source(file_fd(&f), initrd_fd(1, &content));
	free(content);
	assert_int_equal(ftruncate(src.initrd_fd, 510 * MIB), 0);
	ram_make_boot(&ram, 1024 * MIB);
	expect_failure(&ram, &src, -EINVAL,
		       "initrd I (534773760 bytes) is too large: kernel K "
		       "takes none above 0x1fffffff");
	close(src.kernel_fd);
	close(src.initrd_fd);
}

static void memory_must_start_at_zero(void **state)
{
	struct boot_source src;
	struct guest_ram ram;
	struct test_file f;

	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	ram_make(&ram, MIB);
	expect_failure(&ram, &src, -ENOMEM,
		       "kernel K needs at least 20 MiB of boot memory, there "
		       "is 0 MiB");
	ram_make(&ram, 64 * MIB);
	ram_add(&ram, 0, 64 * MIB, false);
	expect_failure(&ram, &src, -ENOMEM,
		       "kernel K needs at least 20 MiB of boot memory, there "
		       "is 0 MiB");
	close(src.kernel_fd);
}

static void map_with_too_many_parts(void **state)
{
	struct boot_source src;
	struct guest_ram ram;
	struct test_file f;

	make_bzimage(&f);
	src = source(file_fd(&f), -1);
	ram_make(&ram, 64 * MIB);
	ram_add(&ram, 0, 32 * MIB, true);
	for (unsigned int i = 0; i < BOOT_MAX_MAP; i++)
		ram_add(&ram, LAYOUT_HOLE_END + i * MIB, 4096, true);
	expect_failure(&ram, &src, -ENOSPC,
		       "boot memory is in more than 64 parts");
	close(src.kernel_fd);
}

/* ---- Kernels of the distribution --------------------------------------- */

static void load_large(const struct boot_source *src, enum boot_mode mode)
{
	struct boot_entry entry;
	struct guest_ram ram;

	ram_make_boot(&ram, 256 * MIB);
	load(&ram, src, &entry);
	assert_int_equal(entry.mode, mode);
	check_taken(&ram, &entry);
	/* Code, not zeros, stands where it is entered. */
	assert_true(load64(&ram, entry.rip) != 0);
	ram_free(&ram);
}

/* 64 MiB is enough, or it is said what would be. */
static void load_small(const struct boot_source *src)
{
	struct boot_entry entry;
	struct error err = {0};
	struct guest_ram ram;
	int ret;

	ram_make_boot(&ram, 64 * MIB);
	ret = boot_load(&ram.gm, src, RSDP, &entry, &err);
	if (ret) {
		assert_int_equal(ret, -ENOMEM);
		assert_non_null(strstr(err.text, "there is 64 MiB"));
	}
	print_message("%s in 64 MiB: %s\n", src->kernel_path,
		      ret ? err.text : "loads");
	ram_free(&ram);
}

/* One file of BELLOWS_KERNELS; 0 if it is not there. */
static unsigned int load_real(const char *folder, const char *name,
			      const char *file, enum boot_mode mode)
{
	struct boot_source src;
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s/%s", folder, name, file);
	src = source(open(path, O_RDONLY | O_CLOEXEC), -1);
	if (src.kernel_fd < 0)
		return 0;
	src.kernel_path = path;
	load_large(&src, mode);
	load_small(&src);
	close(src.kernel_fd);
	return 1;
}

static void real_kernels_are_loaded(void **state)
{
	const char *folder = getenv("BELLOWS_KERNELS");
	unsigned int nr = 0;
	struct dirent *d;
	DIR *dir;

	dir = opendir(folder);
	if (!dir)
		fail_msg("BELLOWS_KERNELS: no folder %s", folder);
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		nr += load_real(folder, d->d_name, "vmlinuz", BOOT_LONG64);
		nr += load_real(folder, d->d_name, "vmlinux", BOOT_PVH32);
	}
	closedir(dir);
	if (nr == 0)
		fail_msg("no NAME/vmlinuz or NAME/vmlinux in %s", folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bzimage_is_loaded),
		cmocka_unit_test(bzimage_gets_the_memory_map),
		cmocka_unit_test(ecam_is_reserved_in_small_guests),
		cmocka_unit_test(initrd_goes_as_high_as_it_may),
		cmocka_unit_test(elf_is_loaded),
		cmocka_unit_test(loading_again_is_the_same),
		cmocka_unit_test(small_memory_says_what_would_do),
		cmocka_unit_test(what_never_fits_is_said),
		cmocka_unit_test(memory_must_start_at_zero),
		cmocka_unit_test(map_with_too_many_parts),
	};
	const struct CMUnitTest real[] = {
		cmocka_unit_test(real_kernels_are_loaded),
	};

	if (getenv("BELLOWS_KERNELS"))
		return cmocka_run_group_tests(real, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
