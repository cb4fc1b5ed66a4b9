/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small kernel files for tests: a bzImage and an ELF vmlinux with a PVH note,
 * valid to the loader but without code that could run.
 */
#ifndef TESTS_BOOT_FILES_H
#define TESTS_BOOT_FILES_H

#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_ram.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/layout.h"

/* A file in memory; tests change it and then give it a descriptor. */
struct test_file {
	uint8_t data[12288];
	size_t size;
};

#define BZ_SETUP_SECTORS 1
#define BZ_CODE_OFFSET	 1024
#define BZ_CODE_SIZE	 4096
#define BZ_LOAD		 0x1000000
#define BZ_INIT_SIZE	 0x300000
#define BZ_HEADER	 0x1f1 /* offset of struct setup_header */
#define BZ_FIELD(name)	 (BZ_HEADER + offsetof(struct setup_header, name))

#define ELF_NR_HEADERS	3
#define ELF_NOTE_OFFSET 0x200
#define ELF_NOTE_SIZE	(20 + 24) /* another note comes first */
#define ELF_ENTRY	(ELF_LOAD + 0x50)
#define ELF_LOAD	0x1000000
#define ELF_DATA	0x1400000
#define ELF_DATA_SIZE	0x1000
#define ELF_DATA_NEED	0x5123
#define ELF_PH(n, name)                                                        \
	(sizeof(Elf64_Ehdr) + (n) * sizeof(Elf64_Phdr) +                       \
	 offsetof(Elf64_Phdr, name))

/* Content that tells where it is from. */
static inline void fill_pattern(uint8_t *at, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static inline void make_bzimage(struct test_file *f)
{
	struct setup_header setup = {
		.setup_sects = BZ_SETUP_SECTORS,
		.syssize = BZ_CODE_SIZE / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb, /* over the header */
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = BZ_LOAD,
		.init_size = BZ_INIT_SIZE,
	};

	memset(f, 0, sizeof(*f));
	f->size = BZ_CODE_OFFSET + BZ_CODE_SIZE;
	f->data[BZ_HEADER - 2] = 0xff; /* the sentinel, not to be copied */
	memcpy(f->data + BZ_HEADER, &setup, sizeof(setup));
	fill_pattern(f->data + BZ_CODE_OFFSET, BZ_CODE_SIZE, 1);
}

static inline void make_note(uint8_t *at, uint32_t type, uint32_t value)
{
	const Elf64_Nhdr head = {.n_namesz = 4, .n_descsz = 4, .n_type = type};

	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), "Xen", 4);
	memcpy(at + sizeof(head) + 4, &value, sizeof(value));
}

/* Two segments with a gap between them, then the notes. */
static inline void make_elf(struct test_file *f)
{
	const Elf64_Ehdr elf = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(elf),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = ELF_NR_HEADERS,
	};
	const Elf64_Phdr headers[ELF_NR_HEADERS] = {
		{.p_type = PT_LOAD,
		 .p_offset = 0x1000,
		 .p_paddr = ELF_LOAD,
		 .p_filesz = 0x1000,
		 .p_memsz = 0x1000},
		{.p_type = PT_LOAD,
		 .p_offset = 0x2000,
		 .p_paddr = ELF_DATA,
		 .p_filesz = ELF_DATA_SIZE,
		 .p_memsz = ELF_DATA_NEED},
		{.p_type = PT_NOTE,
		 .p_offset = ELF_NOTE_OFFSET,
		 .p_filesz = ELF_NOTE_SIZE},
	};
	uint8_t *note = f->data + ELF_NOTE_OFFSET;

	memset(f, 0, sizeof(*f));
	f->size = 0x3000;
	memcpy(f->data, &elf, sizeof(elf));
	memcpy(f->data + sizeof(elf), headers, sizeof(headers));
	make_note(note, 6, 0x1234);
	make_note(note + 20, 18, ELF_ENTRY);
	/* The second's content has 8 bytes, as Linux has it. */
	note[20 + 4] = 8;
	fill_pattern(f->data + 0x1000, 0x1000, 3);
	fill_pattern(f->data + 0x2000, 0x1000, 5);
}

static inline int file_fd(const struct test_file *f)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, f->data, f->size, 0), f->size);
	return fd;
}

#define RSDP 0xe0000

static inline struct boot_source source(int kernel_fd, int initrd_fd)
{
	return (struct boot_source){
		.kernel_fd = kernel_fd,
		.kernel_path = "K",
		.initrd_fd = initrd_fd,
		.initrd_path = "I",
		.cmdline = "console=ttyS0 quiet",
	};
}

static inline void load(struct guest_ram *ram, const struct boot_source *src,
			struct boot_entry *entry)
{
	struct error err = {0};

	if (boot_load(&ram->gm, src, RSDP, entry, &err))
		fail_msg("%s", err.text);
}

static inline void assert_at(const struct guest_ram *ram, uint64_t gpa,
			     const void *data, size_t len)
{
	const void *at = guest_memory_map(&ram->gm, gpa, len);

	assert_non_null(at);
	assert_memory_equal(at, data, len);
}

static inline void assert_zero(const struct guest_ram *ram, uint64_t gpa,
			       size_t len)
{
	const uint8_t *at = guest_memory_map(&ram->gm, gpa, len);

	assert_non_null(at);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(at[i], 0);
}

static inline uint64_t load64(const struct guest_ram *ram, uint64_t gpa)
{
	uint64_t value;

	memcpy(&value, guest_memory_map(&ram->gm, gpa, sizeof(value)),
	       sizeof(value));
	return value;
}

/* A file of len patterned bytes as the initrd. */
static inline int initrd_fd(size_t len, uint8_t **content)
{
	int fd = memfd_create("initrd", MFD_CLOEXEC);

	assert_true(fd >= 0);
	*content = malloc(len);
	assert_non_null(*content);
	fill_pattern(*content, len, 9);
	assert_int_equal(pwrite(fd, *content, len, 0), len);
	return fd;
}

/* Whatever came of it, a kernel that was taken lies inside memory. */
static inline void check_taken(const struct guest_ram *ram,
			       const struct boot_entry *entry)
{
	assert_non_null(guest_memory_map(&ram->gm, entry->rip, 1));
	assert_true(entry->rip >= LAYOUT_HIGH);
}

#endif
