/* SPDX-License-Identifier: BSD-3-Clause */
/* Marked pages, and dumps in ELF; see dump.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dump.h"

#define WORDS		 (PAGE / sizeof(uint64_t))
#define CHUNK		 (2ULL << 20)
#define SPREAD		 (128ULL << 20) /* one mark for each of these */
#define INFO_MAX	 (64 << 10)
#define PFN_MASK	 ((1ULL << 55) - 1)
#define START_KERNEL_MAP 0xffffffff80000000ULL

/* The word of a page that is at this physical address. */
static uint64_t mark_word(uint64_t phys, size_t i)
{
	return (phys + i + 1) * 0x9e3779b97f4a7c15ULL;
}

static uint64_t physical(int pagemap, const void *page)
{
	uint64_t entry = 0;
	off_t at = (off_t)((uintptr_t)page / PAGE * sizeof(entry));

	if (pread(pagemap, &entry, sizeof(entry), at) != sizeof(entry))
		return 0;
	return (entry & PFN_MASK) * PAGE;
}

/* True if this physical address is the first of its stretch. */
static bool is_new(const struct mark *marks, int nr, uint64_t phys)
{
	for (int i = 0; i < nr; i++) {
		if (marks[i].phys / SPREAD == phys / SPREAD)
			return false;
	}
	return phys != 0;
}

/* Memory in use, in huge pages where the kernel has them: quick to fill. */
static uint8_t *map_chunks(uint64_t size)
{
	uint8_t *memory =
		mmap(NULL, size + CHUNK, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	memory += -(uintptr_t)memory % CHUNK;
	madvise(memory, size, MADV_HUGEPAGE);
	for (uint64_t at = 0; at < size; at += PAGE)
		memory[at] = 1;
	return memory;
}

int marks_make(uint64_t size_mib, struct mark *marks, int max)
{
	uint64_t size = (size_mib << 20) / CHUNK * CHUNK;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint8_t *memory = pagemap < 0 ? NULL : map_chunks(size);
	int nr = 0;

	for (uint64_t at = 0; memory && at < size; at += CHUNK) {
		uint64_t *page = (uint64_t *)(void *)(memory + at);
		uint64_t phys = physical(pagemap, page);

		if (nr == max || !is_new(marks, nr, phys)) {
			munmap(page, CHUNK);
			continue;
		}
		mlock(page, PAGE);
		for (size_t i = 0; i < WORDS; i++)
			page[i] = mark_word(phys, i);
		marks[nr++] = (struct mark){.page = page, .phys = phys};
	}
	if (pagemap >= 0)
		close(pagemap);
	return memory ? nr : -ENOMEM;
}

/* ---- Reading a dump ------------------------------------------------------ */

int read_at(int fd, void *buf, size_t size, uint64_t at)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(fd, (uint8_t *)buf + done, size - done,
				    (off_t)(at + done));

		if (got <= 0)
			return got < 0 ? -errno : -ENODATA;
		done += (size_t)got;
	}
	return 0;
}

/* Where the kernel's description of itself is, lines of NAME=VALUE in a note.
 */
static int find_vmcoreinfo(struct dump *dump)
{
	static uint8_t notes[INFO_MAX];

	for (size_t i = 0; i < dump->nr_segments; i++) {
		const Elf64_Phdr *s = &dump->segments[i];
		size_t len = s->p_filesz < INFO_MAX ? s->p_filesz : INFO_MAX;
		size_t at = 0;

		if (s->p_type != PT_NOTE ||
		    read_at(dump->fd, notes, len, s->p_offset) < 0)
			continue;
		while (at + sizeof(Elf64_Nhdr) <= len) {
			Elf64_Nhdr note;
			size_t name, desc;

			memcpy(&note, notes + at, sizeof(note));
			name = at + sizeof(note);
			desc = name + (note.n_namesz + 3ULL) / 4 * 4;
			at = desc + (note.n_descsz + 3ULL) / 4 * 4;
			if (at > len)
				break;
			if (note.n_namesz == sizeof("VMCOREINFO") &&
			    !memcmp(notes + name, "VMCOREINFO", 10)) {
				dump->info_offset = s->p_offset + desc;
				dump->info_size = note.n_descsz;
				return 0;
			}
		}
	}
	return -ENOENT;
}

static int elf_open(struct dump *dump)
{
	Elf64_Ehdr head;
	size_t size;
	int code = read_at(dump->fd, &head, sizeof(head), 0);

	if (!code && (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
		      head.e_ident[EI_CLASS] != ELFCLASS64 ||
		      head.e_type != ET_CORE || head.e_machine != EM_X86_64 ||
		      head.e_phentsize != sizeof(Elf64_Phdr)))
		code = -ENOEXEC;
	if (code)
		return code;
	dump->nr_segments = head.e_phnum;
	size = dump->nr_segments * sizeof(Elf64_Phdr);
	dump->segments = malloc(size);
	if (!dump->segments)
		return -ENOMEM;
	code = read_at(dump->fd, dump->segments, size, head.e_phoff);
	return code ? code : find_vmcoreinfo(dump);
}

int dump_open(struct dump *dump, const char *path)
{
	int code;

	memset(dump, 0, sizeof(*dump));
	dump->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (dump->fd < 0)
		return -errno;
	code = elf_open(dump);
	if (code == -ENOEXEC)
		code = diskdump_open(dump);
	if (code)
		dump_close(dump);
	return code;
}

void dump_close(struct dump *dump)
{
	free(dump->segments);
	free(dump->bitmaps);
	close(dump->fd);
}

static int read_page(const struct dump *dump, void *page, uint64_t phys)
{
	if (dump->bitmaps)
		return diskdump_read(dump, page, phys);
	for (size_t i = 0; i < dump->nr_segments; i++) {
		const Elf64_Phdr *s = &dump->segments[i];

		if (s->p_type == PT_LOAD && phys >= s->p_paddr &&
		    phys - s->p_paddr < s->p_filesz &&
		    PAGE <= s->p_filesz - (phys - s->p_paddr))
			return read_at(dump->fd, page, PAGE,
				       s->p_offset + (phys - s->p_paddr));
	}
	return -ENXIO;
}

const char *dump_page(const struct dump *dump, uint64_t phys)
{
	uint64_t page[WORDS];
	size_t nr_right = 0, nr_zero = 0;

	if (read_page(dump, page, phys) < 0)
		return "absent";
	for (size_t i = 0; i < WORDS; i++) {
		nr_right += page[i] == mark_word(phys, i);
		nr_zero += page[i] == 0;
	}
	return nr_right == WORDS  ? "right"
	       : nr_zero == WORDS ? "zero"
				  : "other";
}

/* The value of NAME=VALUE in vmcoreinfo, in the base that C would read. */
static int info_number(const char *text, const char *name, int base,
		       uint64_t *value)
{
	const char *at = strstr(text, name);

	if (!at || at[strlen(name)] != '=')
		return -ENOENT;
	*value = strtoull(at + strlen(name) + 1, NULL, base);
	return 0;
}

int dump_release(const struct dump *dump, char *release, size_t size)
{
	static char text[INFO_MAX];
	char page[PAGE];
	uint64_t symbol, offset, phys_base, phys;
	int code = dump->info_size < sizeof(text)
			   ? read_at(dump->fd, text, dump->info_size,
				     dump->info_offset)
			   : -EFBIG;

	text[code ? 0 : dump->info_size] = '\0';
	if (!code)
		code = info_number(text, "SYMBOL(init_uts_ns)", 16, &symbol);
	if (!code)
		code = info_number(text, "OFFSET(uts_namespace.name)", 10,
				   &offset);
	if (!code)
		code = info_number(text, "NUMBER(phys_base)", 10, &phys_base);
	if (code)
		return code;
	/* The third field of struct new_utsname. */
	phys = symbol + offset + 2 * UTS_FIELD - START_KERNEL_MAP + phys_base;
	code = read_page(dump, page, phys / PAGE * PAGE);
	if (!code && PAGE - phys % PAGE < UTS_FIELD)
		code = -ERANGE; /* not in one page: no kernel has it so */
	if (!code)
		snprintf(release, size, "%.*s", UTS_FIELD, page + phys % PAGE);
	return code;
}

uint64_t dump_bytes(const struct dump *dump)
{
	uint64_t bytes = 0;

	if (dump->bitmaps)
		return diskdump_bytes(dump);
	for (size_t i = 0; i < dump->nr_segments; i++) {
		/* The kernel's text is there twice, at one place. */
		if (dump->segments[i].p_type == PT_LOAD &&
		    dump->segments[i].p_vaddr < START_KERNEL_MAP)
			bytes += dump->segments[i].p_filesz;
	}
	return bytes;
}
