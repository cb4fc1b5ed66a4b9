// SPDX-License-Identifier: BSD-3-Clause
/*
 * The firmware tables of the guest (ACPI 6.0). Each table has a function that
 * fills it; which ones the root table lists, and in what order, stands in one
 * const array below.
 *
 * They are built one after the other in the window from LAYOUT_ACPI to
 * LAYOUT_ACPI_END, the root pointer first, so that a guest that scans for it
 * finds it, too.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "acpi.h"
#include "layout.h"

/* unsigned char dsdt_aml_code[], by iasl from dsdt.asl. */
/* clang-format off */
static const
#include "dsdt.hex"
/* clang-format on */

#define WINDOW_SIZE   (LAYOUT_ACPI_END - LAYOUT_ACPI)
#define TABLE_ALIGN   64  /* what the FACS asks for */
#define MAX_APIC_ID   254 /* 255 means all processors */
#define REAL_MODE_END (1ULL << 20)

#define SPACE_IO      1
#define RESET_VALUE   6
#define NO_C2_LATENCY 0x0fff /* more than 100 us: no such state */
#define NO_C3_LATENCY 0xffff

#define FADT_PROFILE_SERVER    4
#define FADT_BOOT_NO_VGA       (1U << 2)
#define FADT_BOOT_NO_ASPM      (1U << 4)
#define FADT_BOOT_NO_RTC       (1U << 5)
#define FADT_WBINVD	       (1U << 0)
#define FADT_PROC_C1	       (1U << 2)
#define FADT_NO_SLEEP_BUTTON   (1U << 5)
#define FADT_NO_FIXED_RTC      (1U << 6)
#define FADT_RESET_REGISTER    (1U << 10)
#define MADT_HAS_8259	       (1U << 0)
#define MADT_CPU_ENABLED       (1U << 0)
#define MADT_ACTIVE_HIGH_LEVEL 0x000d
#define SRAT_ENABLED	       (1U << 0)
#define SRAT_HOTPLUGGABLE      (1U << 1)
#define WAET_RTC_GOOD	       (1U << 0)
#define WAET_PM_TIMER_GOOD     (1U << 1)

#define PACKED __attribute__((packed))

	struct PACKED acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
};

struct PACKED acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

struct PACKED acpi_address {
	uint8_t space;
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size; /* 1: byte, 2: word, 3: double word */
	uint64_t address;
};

struct PACKED acpi_fadt {
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t model;
	uint8_t profile;
	uint16_t sci_interrupt;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_request, pstate_control;
	uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control;
	uint32_t pm2_control, pm_timer, gpe0, gpe1;
	uint8_t pm1_event_length, pm1_control_length, pm2_control_length;
	uint8_t pm_timer_length, gpe0_length, gpe1_length, gpe1_base;
	uint8_t cstate_control;
	uint16_t c2_latency, c3_latency;
	uint16_t flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_flags;
	uint8_t reserved;
	uint32_t flags;
	struct acpi_address reset_register;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_revision;
	uint64_t x_facs, x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event;
	struct acpi_address x_pm1a_control, x_pm1b_control;
	struct acpi_address x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
	struct acpi_address sleep_control, sleep_status;
	uint64_t hypervisor;
};

struct PACKED acpi_facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
};

struct PACKED acpi_madt {
	struct acpi_header header;
	uint32_t local_apic;
	uint32_t flags;
};

struct PACKED madt_local_apic {
	uint8_t type, length;
	uint8_t uid, apic_id;
	uint32_t flags;
};

struct PACKED madt_io_apic {
	uint8_t type, length;
	uint8_t id, reserved;
	uint32_t address;
	uint32_t gsi_base;
};

struct PACKED madt_override {
	uint8_t type, length;
	uint8_t bus, source;
	uint32_t gsi;
	uint16_t flags;
};

struct PACKED madt_local_nmi {
	uint8_t type, length;
	uint8_t uid;
	uint16_t flags;
	uint8_t lint;
};

struct PACKED acpi_mcfg {
	struct acpi_header header;
	uint64_t reserved;
	uint64_t base;
	uint16_t segment;
	uint8_t bus_first, bus_last;
	uint32_t reserved2;
};

struct PACKED acpi_waet {
	struct acpi_header header;
	uint32_t flags;
};

struct PACKED acpi_srat {
	struct acpi_header header;
	uint32_t reserved; /* 1 */
	uint64_t reserved2;
};

struct PACKED srat_cpu {
	uint8_t type, length;
	uint8_t node_low, apic_id;
	uint32_t flags;
	uint8_t eid, node_high[3];
	uint32_t clock;
};

struct PACKED srat_memory {
	uint8_t type, length;
	uint32_t node;
	uint16_t reserved;
	uint64_t base, size;
	uint32_t reserved2;
	uint32_t flags;
	uint64_t reserved3;
};

struct PACKED acpi_slit {
	struct acpi_header header;
	uint64_t nr_nodes;
};

static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");
static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");
static_assert(sizeof(struct acpi_address) == 12, "ACPI 5.2.3.2");
static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 5.2.9");
static_assert(offsetof(struct acpi_fadt, flags) == 112, "ACPI 5.2.9");
static_assert(offsetof(struct acpi_fadt, x_facs) == 132, "ACPI 5.2.9");
static_assert(offsetof(struct acpi_fadt, x_gpe1) == 232, "ACPI 5.2.9");
static_assert(sizeof(struct acpi_facs) == 64, "ACPI 5.2.10");
static_assert(sizeof(struct acpi_madt) == 44, "ACPI 5.2.12");
static_assert(sizeof(struct madt_local_apic) == 8, "ACPI 5.2.12.2");
static_assert(sizeof(struct madt_io_apic) == 12, "ACPI 5.2.12.3");
static_assert(sizeof(struct madt_override) == 10, "ACPI 5.2.12.5");
static_assert(sizeof(struct madt_local_nmi) == 6, "ACPI 5.2.12.7");
static_assert(sizeof(struct acpi_mcfg) == 60, "PCI Firmware 4.1.2");
static_assert(sizeof(struct acpi_waet) == 40, "WAET 1.0");
static_assert(sizeof(struct acpi_srat) == 48, "ACPI 5.2.16");
static_assert(sizeof(struct srat_cpu) == 16, "ACPI 5.2.16.1");
static_assert(sizeof(struct srat_memory) == 40, "ACPI 5.2.16.2");
static_assert(sizeof(struct acpi_slit) == 44, "ACPI 5.2.17");

/* The window, and how much of it is used. */
struct builder {
	const struct acpi_config *config;
	const struct guest_memory *gm;
	uint8_t *base;
	uint32_t used;
	bool full; /* something did not fit; nothing is written from then on */
	uint32_t facs, dsdt; /* guest-physical, for the FADT */
};

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	return (uint8_t)-sum;
}

static uint32_t address_now(const struct builder *b)
{
	return LAYOUT_ACPI + b->used;
}

static void append(struct builder *b, const void *data, size_t len)
{
	if (b->full || len > WINDOW_SIZE - b->used) {
		b->full = true;
		return;
	}
	memcpy(b->base + b->used, data, len);
	b->used += (uint32_t)len;
}

/* Where the next table starts. */
static uint32_t align(struct builder *b)
{
	static const uint8_t zeros[TABLE_ALIGN];

	append(b, zeros, -b->used % TABLE_ALIGN);
	return address_now(b);
}

static struct acpi_header header(const char *signature, uint8_t revision,
				 size_t length)
{
	struct acpi_header h = {
		.length = (uint32_t)length,
		.revision = revision,
		.oem_id = {'B', 'E', 'L', 'O', 'W', 'S'},
		.oem_table_id = {'B', 'E', 'L', 'L', 'O', 'W', 'S', ' '},
		.oem_revision = 1,
		.creator_id = {'B', 'L', 'W', 'S'},
		.creator_revision = 1,
	};

	memcpy(h.signature, signature, sizeof(h.signature));
	return h;
}

/* All parts of the table that starts at gpa are appended: set its length and
 * checksum. */
static void finish_table(struct builder *b, uint32_t gpa)
{
	uint32_t length = address_now(b) - gpa;
	uint8_t *table = b->base + (gpa - LAYOUT_ACPI);
	uint8_t sum;

	if (b->full)
		return;
	memcpy(table + offsetof(struct acpi_header, length), &length,
	       sizeof(length));
	table[offsetof(struct acpi_header, checksum)] = 0;
	sum = checksum(table, length);
	table[offsetof(struct acpi_header, checksum)] = sum;
}

/* ---- The tables -------------------------------------------------------- */

static struct acpi_address port(uint64_t address, uint8_t bytes, uint8_t access)
{
	return (struct acpi_address){
		.space = SPACE_IO,
		.bit_width = (uint8_t)(8 * bytes),
		.access_size = access,
		.address = address,
	};
}

/* Fixed hardware that is always in ACPI mode: there is no SMI command. */
static void build_fadt(struct builder *b)
{
	const struct acpi_fadt fadt = {
		.header = header("FACP", 6, sizeof(fadt)),
		.facs = b->facs,
		.dsdt = b->dsdt,
		.x_dsdt = b->dsdt, /* of the FACS one address must be 0 */
		.profile = FADT_PROFILE_SERVER,
		.sci_interrupt = GSI_SCI,
		.pm1a_event = PORT_ACPI_PM1_EVT,
		.pm1_event_length = 4,
		.x_pm1a_event = port(PORT_ACPI_PM1_EVT, 4, 2),
		.pm1a_control = PORT_ACPI_PM1_CNT,
		.pm1_control_length = 2,
		.x_pm1a_control = port(PORT_ACPI_PM1_CNT, 2, 2),
		.pm_timer = PORT_ACPI_PM_TIMER,
		.pm_timer_length = 4,
		.x_pm_timer = port(PORT_ACPI_PM_TIMER, 4, 3),
		.gpe0 = PORT_ACPI_GPE0,
		.gpe0_length = 2,
		.x_gpe0 = port(PORT_ACPI_GPE0, 2, 1),
		.c2_latency = NO_C2_LATENCY,
		.c3_latency = NO_C3_LATENCY,
		/* Neither 8042 nor other legacy devices (bits clear). */
		.boot_flags =
			FADT_BOOT_NO_VGA | FADT_BOOT_NO_ASPM | FADT_BOOT_NO_RTC,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON |
			 FADT_NO_FIXED_RTC | FADT_RESET_REGISTER,
		.reset_register = port(PORT_ACPI_RESET, 1, 1),
		.reset_value = RESET_VALUE,
	};

	append(b, &fadt, sizeof(fadt));
}

static void build_madt(struct builder *b)
{
	const struct acpi_madt madt = {
		.header = header("APIC", 4, sizeof(madt)),
		.local_apic = (uint32_t)LAYOUT_LAPIC,
		.flags = MADT_HAS_8259,
	};
	const struct madt_io_apic io_apic = {
		.type = 1,
		.length = sizeof(io_apic),
		.id = IOAPIC_ID,
		.address = (uint32_t)LAYOUT_IOAPIC,
	};
	/* The timer arrives at pin 2, the SCI is level-triggered. */
	const struct madt_override overrides[] = {
		{.type = 2, .length = sizeof(overrides[0]), .gsi = 2},
		{.type = 2,
		 .length = sizeof(overrides[0]),
		 .source = GSI_SCI,
		 .gsi = GSI_SCI,
		 .flags = MADT_ACTIVE_HIGH_LEVEL},
	};
	const struct madt_local_nmi nmi = {
		.type = 4,
		.length = sizeof(nmi),
		.uid = 0xff, /* every processor */
		.lint = 1,
	};

	append(b, &madt, sizeof(madt));
	for (unsigned int i = 0; i < b->config->nr_cpus; i++) {
		const struct madt_local_apic cpu = {
			.length = sizeof(cpu),
			.uid = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = MADT_CPU_ENABLED,
		};

		append(b, &cpu, sizeof(cpu));
	}
	append(b, &io_apic, sizeof(io_apic));
	append(b, overrides, sizeof(overrides));
	append(b, &nmi, sizeof(nmi));
}

static void build_mcfg(struct builder *b)
{
	const struct acpi_mcfg mcfg = {
		.header = header("MCFG", 1, sizeof(mcfg)),
		.base = LAYOUT_ECAM,
	};

	append(b, &mcfg, sizeof(mcfg));
}

/* Tells the guest that it may read the timer once, not three times. */
static void build_waet(struct builder *b)
{
	const struct acpi_waet waet = {
		.header = header("WAET", 1, sizeof(waet)),
		.flags = WAET_RTC_GOOD | WAET_PM_TIMER_GOOD,
	};

	append(b, &waet, sizeof(waet));
}

/* Which node processors and memory belong to. Elastic regions are there as
 * hot-pluggable: so the guest knows of nodes that have nothing else. */
static void build_srat(struct builder *b)
{
	const struct acpi_srat srat = {
		.header = header("SRAT", 3, sizeof(srat)),
		.reserved = 1,
	};

	append(b, &srat, sizeof(srat));
	for (unsigned int i = 0; i < b->config->nr_cpus; i++) {
		const struct srat_cpu cpu = {
			.length = sizeof(cpu),
			.node_low = b->config->numa->cpu_node[i],
			.apic_id = (uint8_t)i,
			.flags = SRAT_ENABLED,
		};

		append(b, &cpu, sizeof(cpu));
	}
	for (unsigned int i = 0; i < b->gm->nr_regions; i++) {
		const struct guest_region *region = &b->gm->regions[i];
		const struct srat_memory memory = {
			.type = 1,
			.length = sizeof(memory),
			.node = region->node,
			.base = region->gpa,
			.size = region->size,
			.flags = SRAT_ENABLED |
				 (region->boot ? 0 : SRAT_HOTPLUGGABLE),
		};

		append(b, &memory, sizeof(memory));
	}
}

static void build_slit(struct builder *b)
{
	const struct machine_numa *numa = b->config->numa;
	const struct acpi_slit slit = {
		.header = header("SLIT", 1, sizeof(slit)),
		.nr_nodes = numa->nr_nodes,
	};

	append(b, &slit, sizeof(slit));
	for (unsigned int i = 0; i < numa->nr_nodes; i++)
		append(b, numa->distance[i], numa->nr_nodes);
}

/* The tables that XSDT lists. */
static const struct {
	void (*build)(struct builder *b);
	bool numa; /* only with nodes */
} tables[] = {
	{build_fadt, false}, {build_madt, false}, {build_mcfg, false},
	{build_waet, false}, {build_srat, true},  {build_slit, true},
};

#define NR_TABLES (sizeof(tables) / sizeof(tables[0]))

/* ---- Putting them together --------------------------------------------- */

static void build_facs(struct builder *b)
{
	const struct acpi_facs facs = {
		.signature = {'F', 'A', 'C', 'S'},
		.length = sizeof(facs),
		.version = 2,
	};

	b->facs = align(b);
	append(b, &facs, sizeof(facs));
}

static void build_dsdt(struct builder *b)
{
	b->dsdt = align(b);
	append(b, dsdt_aml_code, sizeof(dsdt_aml_code));
}

static uint32_t build_xsdt(struct builder *b, const uint64_t *pointers,
			   unsigned int nr)
{
	const size_t size = nr * sizeof(*pointers);
	const struct acpi_header h = header("XSDT", 1, sizeof(h) + size);
	uint32_t gpa = align(b);

	append(b, &h, sizeof(h));
	append(b, pointers, size);
	finish_table(b, gpa);
	return gpa;
}

/* The root pointer has its room at the start of the window since the start. */
static void build_rsdp(struct builder *b, uint32_t xsdt)
{
	struct acpi_rsdp rsdp = {
		.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'B', 'E', 'L', 'O', 'W', 'S'},
		.revision = 2,
		.length = sizeof(rsdp),
		.xsdt = xsdt,
	};

	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(b->base, &rsdp, sizeof(rsdp));
}

int acpi_build(const struct guest_memory *gm, const struct acpi_config *config,
	       struct acpi_places *places, struct error *err)
{
	struct builder b = {
		.config = config,
		.gm = gm,
		.base = guest_memory_map(gm, LAYOUT_ACPI, WINDOW_SIZE),
		.used = sizeof(struct acpi_rsdp),
	};
	bool numa = config->numa && config->numa->nr_nodes;
	uint64_t pointers[NR_TABLES];
	unsigned int nr = 0;
	uint32_t xsdt;

	if (config->nr_cpus == 0 || config->nr_cpus > MAX_APIC_ID + 1)
		return error_set(err, -EINVAL,
				 "%u processors cannot be in the ACPI tables; "
				 "give 1 to %u",
				 config->nr_cpus, MAX_APIC_ID + 1);
	if (!b.base)
		return error_set(err, -ENOSPC,
				 "no boot memory at %#x to %#x for ACPI tables",
				 LAYOUT_ACPI, LAYOUT_ACPI_END);
	build_facs(&b);
	build_dsdt(&b);
	for (size_t i = 0; i < NR_TABLES; i++) {
		uint32_t gpa;

		if (tables[i].numa && !numa)
			continue;
		gpa = align(&b);
		tables[i].build(&b);
		finish_table(&b, gpa);
		pointers[nr++] = gpa;
	}
	xsdt = build_xsdt(&b, pointers, nr);
	if (b.full)
		return error_set(err, -ENOSPC,
				 "ACPI tables do not fit into %u bytes",
				 WINDOW_SIZE);
	build_rsdp(&b, xsdt);
	places->rsdp = LAYOUT_ACPI;
	places->facs = b.facs;
	return 0;
}

/* ---- Waking up --------------------------------------------------------- */

static bool is_boot_memory(const struct guest_memory *gm, uint64_t gpa)
{
	const struct guest_region *region = guest_memory_find(gm, gpa);

	return region && region->boot;
}

/* The 64-bit field comes first, though we offer no 64-bit mode for it (flags):
 * whoever sets it asks for flat 32-bit mode. */
bool acpi_waking_entry(const struct guest_memory *gm, uint64_t gpa,
		       struct boot_entry *entry)
{
	const void *at = guest_memory_map(gm, gpa, sizeof(struct acpi_facs));
	struct acpi_facs facs;
	uint64_t end;

	if (!at)
		return false;
	memcpy(&facs, at, sizeof(facs));
	*entry = (struct boot_entry){
		.mode = facs.x_waking_vector ? BOOT_PVH32 : BOOT_REAL16,
		.rip = facs.x_waking_vector ? facs.x_waking_vector
					    : facs.waking_vector,
	};
	end = entry->mode == BOOT_REAL16 ? REAL_MODE_END : 1ULL << 32;
	return entry->rip && entry->rip < end && is_boot_memory(gm, entry->rip);
}
