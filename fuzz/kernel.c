// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fuzz target: loading a kernel, bzImage or ELF with a PVH note, or what a
 * sound bzImage was unpacked to, with an initrd and a command line, into a
 * guest of one of several layouts. Whatever the file says, nothing is written
 * outside boot memory; a kernel that is taken starts inside it, and its parts
 * and the initrd are where the guest is told.
 */
#include "fuzz.h"

#include "../tests/unit/boot_files.h"

#define MAX_INITRD 8192

/* Memory that is no boot memory, and stays zero. */
#define OTHER_SIZE (64 * 1024)

static const struct layout {
	uint64_t below; /* boot memory from 0 */
	uint64_t above; /* boot memory from 4 GiB */
} layouts[] = {
	{48 * MIB, 0},
	{2 * MIB, 0},
	{17 * MIB, 0},
	{24 * MIB, 8 * MIB},
};
#define NR_LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

static void check_other(const struct guest_ram *ram, uint64_t gpa)
{
	static const uint8_t zeros[OTHER_SIZE];
	const void *other = guest_memory_map(&ram->gm, gpa, OTHER_SIZE);

	FUZZ_CHECK(other && !memcmp(other, zeros, OTHER_SIZE));
}

static void check_entry(const struct guest_ram *ram,
			const struct boot_entry *entry)
{
	FUZZ_CHECK(entry->mode == BOOT_LONG64 || entry->mode == BOOT_PVH32);
	check_taken(ram, entry);
	FUZZ_CHECK(guest_memory_map(&ram->gm, entry->arg, 1));
	FUZZ_CHECK(
		guest_memory_map(&ram->gm, entry->gdt, entry->gdt_limit + 1U));
	if (entry->mode == BOOT_LONG64)
		FUZZ_CHECK(guest_memory_map(&ram->gm, entry->cr3, 4096));
	else
		FUZZ_CHECK(entry->rip <= UINT32_MAX);
}

static int memory_file(const void *data, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(pwrite(fd, data, len, 0) == (ssize_t)len);
	return fd;
}

static int load_into(struct guest_ram *ram, const struct boot_source *src)
{
	struct boot_entry entry;
	struct error err = {0};
	int checked = boot_check(src, &err), ret;

	memset(&entry, 0xa5, sizeof(entry));
	FUZZ_CHECK(!checked || err.text[0]);
	ret = boot_load(&ram->gm, src, RSDP, &entry, &err);
	FUZZ_CHECK(!ret || err.text[0]);
	/* What is refused in the end for want of memory passed the check. */
	FUZZ_CHECK(ret || !checked);
	if (!ret)
		check_entry(ram, &entry);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	unsigned int kind = (unsigned int)fuzz_take(&in, 1);
	const struct layout *layout = &layouts[kind % NR_LAYOUTS];
	bool unpacked = kind / NR_LAYOUTS % 2;
	size_t initrd_size = (size_t)fuzz_take(&in, 2) % MAX_INITRD;
	size_t cmdline_size = (size_t)fuzz_take(&in, 1);
	uint64_t other = 1ULL << 36;
	static uint8_t initrd[MAX_INITRD];
	struct boot_source src;
	struct guest_ram ram;
	char cmdline[256];

	memset(cmdline, 'c', cmdline_size);
	cmdline[cmdline_size] = 0;
	memset(initrd, 'i', sizeof(initrd));
	ram_make(&ram, layout->below + layout->above + OTHER_SIZE);
	ram_add(&ram, 0, layout->below, true);
	if (layout->above)
		ram_add(&ram, 1ULL << 32, layout->above, true);
	ram_add(&ram, other, OTHER_SIZE, false);
	src = source(memory_file(in.at, in.left),
		     initrd_size ? memory_file(initrd, initrd_size) : -1);
	if (unpacked) {
		struct test_file bzimage;

		make_bzimage(&bzimage);
		src.unpacked = true;
		src.unpacked_fd = src.kernel_fd;
		src.kernel_fd = file_fd(&bzimage);
	}
	src.cmdline = cmdline;
	load_into(&ram, &src);
	check_other(&ram, other);
	close(src.kernel_fd);
	if (unpacked)
		close(src.unpacked_fd);
	if (src.initrd_fd >= 0)
		close(src.initrd_fd);
	ram_free(&ram);
	return 0;
}

/* What makes of make_elf()'s file one that a bzImage can hold. */
static void add_relocations(struct test_file *f)
{
	const uint32_t at = 0x80000000U + ELF_LOAD;
	const uint32_t words[] = {0, at + 0x40, 0, at + 0x80, 0, at + 0xc0};
	const uint64_t entry = ELF_ENTRY;

	memcpy(f->data + offsetof(Elf64_Ehdr, e_entry), &entry, sizeof(entry));
	memcpy(f->data + f->size - sizeof(words), words, sizeof(words));
	f->data[ELF_PH(1, p_filesz) + 1] = 0x0f; /* it ends before them */
	f->data[ELF_PH(1, p_filesz)] = 0x100 - sizeof(words);
}

size_t fuzz_seed(unsigned int nr, uint8_t *seed)
{
	struct fuzz_seed s = {.at = seed};
	struct test_file file;
	unsigned int kind = nr / NR_LAYOUTS, layout = nr % NR_LAYOUTS;

	if (kind > 2)
		return 0;
	if (kind == 0)
		make_bzimage(&file);
	else
		make_elf(&file);
	if (kind == 2)
		add_relocations(&file);
	fuzz_put(&s, layout + (kind == 2 ? NR_LAYOUTS : 0), 1);
	fuzz_put(&s, nr * 700, 2);
	fuzz_put(&s, nr * 9, 1);
	fuzz_put_bytes(&s, file.data, file.size);
	return s.len;
}
