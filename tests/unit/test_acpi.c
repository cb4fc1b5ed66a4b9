// SPDX-License-Identifier: BSD-3-Clause
/*
 * The firmware tables, read as a guest reads them: from the root pointer, with
 * checksums; and by ACPICA's disassembler, whose complaints count.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "guest_ram.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/layout.h"

#define MAX_TABLES  16
#define HEADER_SIZE 36

struct tables {
	unsigned int nr;
	const uint8_t *at[MAX_TABLES];
};

static uint64_t get(const uint8_t *at, unsigned int offset, unsigned int len)
{
	uint64_t value = 0;

	memcpy(&value, at + offset, len);
	return value;
}

static uint8_t sum(const uint8_t *at, size_t len)
{
	uint8_t total = 0;

	while (len--)
		total += at[len];
	return total;
}

static const uint8_t *table_at(const struct guest_ram *ram, uint64_t gpa)
{
	const uint8_t *at = guest_memory_map(&ram->gm, gpa, HEADER_SIZE);

	assert_non_null(at);
	assert_true(gpa >= LAYOUT_ACPI &&
		    gpa + get(at, 4, 4) <= LAYOUT_ACPI_END);
	return at;
}

/* A table with a header: its length is sane and all its bytes add up to 0. */
static void collect(struct tables *t, const struct guest_ram *ram, uint64_t gpa)
{
	const uint8_t *at = table_at(ram, gpa);

	assert_true(get(at, 4, 4) >= HEADER_SIZE);
	assert_int_equal(sum(at, get(at, 4, 4)), 0);
	assert_true(t->nr < MAX_TABLES);
	t->at[t->nr++] = at;
}

/* Follow the pointers: all tables but root pointer and FACS. */
static void read_tables(struct tables *t, const struct guest_ram *ram,
			uint64_t root)
{
	const uint8_t *rsdp = guest_memory_map(&ram->gm, root, HEADER_SIZE);
	const uint8_t *xsdt, *fadt;

	t->nr = 0;
	assert_non_null(rsdp);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(root % 16, 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(get(rsdp, 20, 4), HEADER_SIZE);
	assert_int_equal(sum(rsdp, HEADER_SIZE), 0);
	collect(t, ram, get(rsdp, 24, 8));
	xsdt = t->at[0];
	assert_memory_equal(xsdt, "XSDT", 4);
	for (unsigned int i = HEADER_SIZE; i < get(xsdt, 4, 4); i += 8)
		collect(t, ram, get(xsdt, i, 8));
	fadt = t->at[1];
	assert_memory_equal(fadt, "FACP", 4);
	assert_int_equal(get(fadt, 40, 4), get(fadt, 140, 8)); /* DSDT */
	collect(t, ram, get(fadt, 140, 8));
}

static const uint8_t *find(const struct tables *t, const char *signature)
{
	for (unsigned int i = 0; i < t->nr; i++) {
		if (!memcmp(t->at[i], signature, 4))
			return t->at[i];
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static void build(struct guest_ram *ram, struct tables *t, unsigned int nr_cpus)
{
	const struct acpi_config config = {.nr_cpus = nr_cpus};
	struct error err = {0};
	struct acpi_places places;

	ram_make_boot(ram, 2 * MIB);
	if (acpi_build(&ram->gm, &config, &places, &err))
		fail_msg("%s", err.text);
	read_tables(t, ram, places.rsdp);
	assert_int_equal(places.facs, get(find(t, "FACP"), 36, 4));
}

static void root_leads_to_all_tables(void **state)
{
	static const char *const names[] = {"XSDT", "FACP", "APIC",
					    "MCFG", "WAET", "DSDT"};
	struct guest_ram ram;
	struct tables t;

	build(&ram, &t, 1);
	assert_int_equal(t.nr, sizeof(names) / sizeof(names[0]));
	for (unsigned int i = 0; i < t.nr; i++)
		assert_memory_equal(t.at[i], names[i], 4);
	ram_free(&ram);
}

static void fadt_names_the_ports(void **state)
{
	struct guest_ram ram;
	const uint8_t *fadt, *facs;
	struct tables t;

	build(&ram, &t, 1);
	fadt = find(&t, "FACP");
	assert_int_equal(get(fadt, 46, 2), GSI_SCI);
	assert_int_equal(get(fadt, 48, 4), 0); /* SMI_CMD: always on */
	assert_int_equal(get(fadt, 56, 4), PORT_ACPI_PM1_EVT);
	assert_int_equal(get(fadt, 64, 4), PORT_ACPI_PM1_CNT);
	assert_int_equal(get(fadt, 76, 4), PORT_ACPI_PM_TIMER);
	assert_int_equal(get(fadt, 80, 4), PORT_ACPI_GPE0);
	assert_int_equal(get(fadt, 120, 8), PORT_ACPI_RESET);
	assert_int_equal(fadt[128], 6);
	assert_true(get(fadt, 112, 4) & 1U << 10);  /* reset register */
	assert_false(get(fadt, 112, 4) & 1U << 20); /* hardware-reduced */
	assert_false(get(fadt, 112, 4) & 1U << 4);  /* power button: fixed */
	assert_true(get(fadt, 112, 4) & 1U << 5);   /* no sleep button */
	assert_int_equal(get(fadt, 109, 2), 0x34);  /* no VGA, ASPM, RTC */
	facs = table_at(&ram, get(fadt, 36, 4));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get(fadt, 36, 4) % 64, 0);
	assert_int_equal(get(facs, 4, 4), 64);
	ram_free(&ram);
}

/* Entries of one type; asserts that lengths fill the table exactly. */
static unsigned int count_entries(const uint8_t *madt, uint8_t type)
{
	unsigned int nr = 0;
	uint64_t i = 44;

	while (i < get(madt, 4, 4)) {
		assert_true(madt[i + 1] >= 2);
		nr += madt[i] == type;
		i += madt[i + 1];
	}
	assert_int_equal(i, get(madt, 4, 4));
	return nr;
}

static void madt_lists_the_processors(void **state)
{
	static const unsigned int counts[] = {1, 2, 16, 255};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct guest_ram ram;
		const uint8_t *madt;
		struct tables t;

		build(&ram, &t, counts[i]);
		madt = find(&t, "APIC");
		assert_int_equal(get(madt, 36, 4), LAYOUT_LAPIC);
		assert_int_equal(count_entries(madt, 0), counts[i]);
		assert_int_equal(count_entries(madt, 1), 1);
		assert_int_equal(count_entries(madt, 2), 2);
		assert_int_equal(count_entries(madt, 4), 1);
		for (unsigned int cpu = 0; cpu < counts[i]; cpu++) {
			assert_int_equal(madt[44 + 8 * cpu + 3], cpu);
			assert_int_equal(madt[44 + 8 * cpu + 4], 1);
		}
		ram_free(&ram);
	}
}

static void mcfg_names_the_window(void **state)
{
	struct guest_ram ram;
	const uint8_t *mcfg;
	struct tables t;

	build(&ram, &t, 1);
	mcfg = find(&t, "MCFG");
	assert_int_equal(get(mcfg, 4, 4), 60);
	assert_int_equal(get(mcfg, 44, 8), LAYOUT_ECAM);
	assert_int_equal(get(mcfg, 52, 4), 0); /* segment 0, buses 0 to 0 */
	assert_int_equal(LAYOUT_ECAM_SIZE, 1U << 20); /* one bus */
	ram_free(&ram);
}

static void errors_say_why(void **state)
{
	struct acpi_config config = {.nr_cpus = 0};
	struct guest_ram ram;
	struct error err;
	struct acpi_places places;

	ram_make_boot(&ram, MIB);
	assert_int_equal(acpi_build(&ram.gm, &config, &places, &err), -EINVAL);
	assert_string_equal(err.text, "0 processors cannot be in the ACPI "
				      "tables; give 1 to 255");
	config.nr_cpus = 256;
	assert_int_equal(acpi_build(&ram.gm, &config, &places, &err), -EINVAL);
	config.nr_cpus = 1;
	assert_int_equal(acpi_build(&ram.gm, &config, &places, &err), 0);
	ram_free(&ram);
	ram_make_boot(&ram, MIB - 4096);
	assert_int_equal(acpi_build(&ram.gm, &config, &places, &err), -ENOSPC);
	assert_string_equal(err.text, "no boot memory at 0xe0000 to 0x100000 "
				      "for ACPI tables");
	ram_free(&ram);
}

/* What a guest may have left in the FACS, and where that leads. */
static void waking_entries(void **state)
{
	static const struct {
		uint32_t vector;
		uint64_t x_vector;
		bool good;
		enum boot_mode mode;
		uint64_t rip;
	} cases[] = {
		{0, 0, false, BOOT_REAL16, 0},
		{0x9a010, 0, true, BOOT_REAL16, 0x9a010},
		{0xfffff, 0, true, BOOT_REAL16, 0xfffff},
		{0x100000, 0, false, BOOT_REAL16, 0},
		{0xffffffff, 0, false, BOOT_REAL16, 0},
		/* The second comes first. */
		{0x9a010, 0x9b000, true, BOOT_PVH32, 0x9b000},
		{0, 0x1fffff, true, BOOT_PVH32, 0x1fffff},
		/* No memory, more than 32 bits, elastic memory. */
		{0x9a010, 0x200000, false, BOOT_PVH32, 0},
		{0, 0xffffffff, false, BOOT_PVH32, 0},
		{0, UINT64_MAX, false, BOOT_PVH32, 0},
		{0, (1ULL << 32) + 0x1000, false, BOOT_PVH32, 0},
		{0, 0x80000000, false, BOOT_PVH32, 0},
	};
	struct guest_ram ram;
	struct tables t;
	uint64_t facs;

	build(&ram, &t, 1);
	facs = get(find(&t, "FACP"), 36, 4);
	/* An elastic region that could be reached. */
	assert_int_equal(guest_memory_add(&ram.gm,
					  &(struct guest_region){
						  .gpa = 0x80000000,
						  .size = MIB,
						  .mem = ram.gm.regions[0].mem,
					  }),
			 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *at = guest_memory_map(&ram.gm, facs, 64);
		struct boot_entry entry;
		bool good;

		memcpy(at + 12, &cases[i].vector, 4);
		memcpy(at + 24, &cases[i].x_vector, 8);
		good = acpi_waking_entry(&ram.gm, facs, &entry);
		if (good != cases[i].good ||
		    (good && (entry.mode != cases[i].mode ||
			      entry.rip != cases[i].rip)))
			fail_msg("vectors %#x, %#llx: %d, mode %d, %#llx",
				 cases[i].vector,
				 (unsigned long long)cases[i].x_vector, good,
				 entry.mode, (unsigned long long)entry.rip);
	}
	/* Tables that are not in memory. */
	assert_false(acpi_waking_entry(&ram.gm, 0x200000 - 63,
				       &(struct boot_entry){0}));
	ram_free(&ram);
}

/* ---- With iasl --------------------------------------------------------- */

struct scratch {
	char dir[64];
	char log[16384];
};

/* Run a command inside the scratch folder and keep what it says. */
static int run(struct scratch *s, const char *command)
{
	char line[256];
	size_t len;
	FILE *pipe;

	snprintf(line, sizeof(line), "cd %s && %s 2>&1", s->dir, command);
	pipe = popen(line, "r");
	assert_non_null(pipe);
	len = fread(s->log, 1, sizeof(s->log) - 1, pipe);
	s->log[len] = '\0';
	return pclose(pipe);
}

static void scratch_make(struct scratch *s)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(s->dir, sizeof(s->dir), "%s/bellows-acpi-XXXXXX",
		 tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->dir));
}

static void scratch_free(struct scratch *s)
{
	assert_int_equal(run(s, "rm -f -- *.dat *.dsl *.aml"), 0);
	assert_int_equal(rmdir(s->dir), 0);
}

static void dump(const struct scratch *s, const uint8_t *table)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%.4s.dat", s->dir,
		 (const char *)table);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(table, get(table, 4, 4), 1, file), 1);
	assert_int_equal(fclose(file), 0);
}

static void assert_no_complaint(const struct scratch *s, const char *name)
{
	static const char *const words[] = {"Error",   "Warning", "Invalid",
					    "rror:",   "Unknown", "Could not",
					    "ncorrect"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strstr(s->log, words[i]))
			fail_msg("iasl complains of %s:\n%s", name, s->log);
	}
}

static void disassembler_has_no_complaint(void **state)
{
	struct guest_ram ram;
	struct scratch s;
	struct tables t;
	char command[64];

	build(&ram, &t, 3);
	t.at[t.nr++] = table_at(&ram, get(find(&t, "FACP"), 36, 4)); /* FACS */
	scratch_make(&s);
	for (unsigned int i = 0; i < t.nr; i++) {
		char name[5] = {0};

		memcpy(name, t.at[i], 4);
		dump(&s, t.at[i]);
		snprintf(command, sizeof(command), "iasl -vs -d %s.dat", name);
		if (run(&s, command))
			fail_msg("iasl fails on %s:\n%s", name, s.log);
		assert_no_complaint(&s, name);
		/* Fields that it does not know or finds odd stand in the
		 * listing. */
		snprintf(command, sizeof(command),
			 "grep -v 'AML Disass' %s.dsl", name);
		assert_int_equal(run(&s, command), 0);
		assert_no_complaint(&s, name);
	}
	scratch_free(&s);
	ram_free(&ram);
}

/* Numbers that dsdt.asl repeats from layout.h, as the listing prints them. */
static void dsdt_agrees_with_the_layout(void **state)
{
	const uint64_t mmio_last = LAYOUT_PCI_MMIO + LAYOUT_PCI_MMIO_SIZE - 1;
	const struct {
		const char *format;
		unsigned long long value;
	} lines[] = {
		{"0x%08llX,         // Range Minimum", LAYOUT_PCI_MMIO},
		{"0x%08llX,         // Range Maximum", mmio_last},
		{"0x%08llX,         // Length", LAYOUT_PCI_MMIO_SIZE},
		{"0x%08llX,         // Address Base", LAYOUT_ECAM},
		{"0x%08llX,         // Address Length", LAYOUT_ECAM_SIZE},
		{"0x%04llX,             // Range Minimum", PORT_COM1},
		{"0x%04llX,             // Range Minimum", PORT_ACPI_PM1_EVT},
		{"0x%04llX,             // Range Minimum", PORT_PCI_ADDR},
		{"0x%02llX,               // Length",
		 PORT_ACPI_ARMED + 1 - PORT_ACPI_PM1_EVT},
		{"{%llu}", GSI_COM1},
		{"0x%02llX, \n        0x05, ", SLEEP_TYPE_S5},
		{"_S3, Package", 0},
		{"Name (_PRW, Package (0x02)", 0},
		{"OperationRegion (ARMR, SystemIO, 0x%04llX, One)",
		 PORT_ACPI_ARMED},
		{"ARMD = (0x%02llX | Arg1)", ACPI_ARMED},
		{"Method (_E%02llX", GPE_SLEEP_BUTTON},
		{"Method (_E%02llX", GPE_WAKE},
	};
	struct guest_ram ram;
	struct scratch s;
	struct tables t;

	build(&ram, &t, 1);
	scratch_make(&s);
	dump(&s, find(&t, "DSDT"));
	assert_int_equal(run(&s, "iasl -vs -d DSDT.dat"), 0);
	if (run(&s, "iasl -we -vs DSDT.dsl"))
		fail_msg("the listing does not compile again:\n%s", s.log);
	assert_int_equal(run(&s, "cat DSDT.dsl"), 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char text[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), lines[i].format, lines[i].value);
#pragma GCC diagnostic pop
		if (!strstr(s.log, text))
			fail_msg("\"%s\" is not in the listing:\n%s", text,
				 s.log);
	}
	scratch_free(&s);
	ram_free(&ram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_leads_to_all_tables),
		cmocka_unit_test(fadt_names_the_ports),
		cmocka_unit_test(madt_lists_the_processors),
		cmocka_unit_test(mcfg_names_the_window),
		cmocka_unit_test(errors_say_why),
		cmocka_unit_test(waking_entries),
		cmocka_unit_test(disassembler_has_no_complaint),
		cmocka_unit_test(dsdt_agrees_with_the_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
