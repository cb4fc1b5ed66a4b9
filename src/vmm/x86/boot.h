/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading a kernel: bzImage (Linux/x86 boot protocol, 64-bit entry) and
 * uncompressed ELF (PVH entry), with initrd and command line. Pure functions
 * of the files and guest memory: no KVM here. (An unpacked kernel is put at a
 * random place, unless the command line says nokaslr.)
 */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "host/error.h"
#include "vmm/guest_memory.h"

/* Files stay open for the life of the VM, so that a reboot loads them again
 * whatever became of their names. */
struct boot_source {
	int kernel_fd;
	const char *kernel_path; /* for messages */
	/* What boot_unpack() made of the kernel, if unpacked is set. */
	bool unpacked;
	int unpacked_fd;
	int initrd_fd; /* -1: none */
	const char *initrd_path;
	const char *cmdline;
	bool la57; /* the processors have 5-level paging */
};

enum boot_mode {
	BOOT_LONG64, /* bzImage: long mode, identity map, rsi = zero page */
	BOOT_PVH32,  /* ELF: 32-bit protected mode, no paging, ebx = info */
	BOOT_REAL16, /* no kernel, but waking from S3: rip is below 1 MiB */
};

/* How the first processor starts. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t arg; /* rsi or ebx */
	uint64_t rsp;
	uint64_t cr3; /* BOOT_LONG64: identity map of the first 4 GiB */
	bool la57;    /* which has 5 levels */
	uint64_t gdt; /* selectors: 0x10 code, 0x18 data, 0x20 TSS */
	uint16_t gdt_limit;
};

/*
 * A bzImage decompresses itself, each time it starts. Do it once instead: write
 * the kernel proper to the file open at to, which is empty, for src->unpacked.
 * -ENOTSUP: it is no bzImage, or packed in a way that is not known here;
 * -EINVAL: it is damaged; it may then still boot packed. The kernel decides
 * what this does: confine it (host/worker.h).
 */
#define BOOT_UNPACKED_MAX (1ULL << 30) /* bytes */
int boot_unpack(const struct boot_source *src, int to);

/* Whether boot_unpack() would know how. Reads a few KiB. */
bool boot_is_packed(const struct boot_source *src);

/*
 * Load everything into boot memory (regions of gm with boot set) and fill
 * entry. rsdp is the guest-physical address of the ACPI root pointer. Guest
 * memory must read as zero. Errors: -EINVAL for a file that is no kernel that
 * we can boot, -ENOMEM if boot memory is too small (the sentence says what
 * would do), or what reading gave.
 */
int boot_load(const struct guest_memory *gm, const struct boot_source *src,
	      uint64_t rsdp, struct boot_entry *entry, struct error *err);

/* Check that the kernel file is one that boot_load() takes, before any VM is
 * made. Reads a few KiB. */
int boot_check(const struct boot_source *src, struct error *err);

#endif
