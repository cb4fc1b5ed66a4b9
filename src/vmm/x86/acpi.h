/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACPI tables of the guest: RSDP, XSDT, FADT, DSDT (static, from dsdt.asl by
 * iasl), MADT, MCFG, WAET, and with NUMA nodes SRAT and SLIT.
 */
#ifndef VMM_X86_ACPI_H
#define VMM_X86_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#include "host/error.h"
#include "boot.h"
#include "vmm/machine.h"

struct acpi_config {
	unsigned int nr_cpus; /* APIC IDs are 0 to nr_cpus - 1 */
	/* NULL, or no nodes: SRAT and SLIT are left out. */
	const struct machine_numa *numa;
};

/* Guest-physical addresses of what is looked for. */
struct acpi_places {
	uint64_t rsdp; /* the root pointer */
	uint64_t facs; /* where the guest leaves its waking vector */
};

/* Build all tables at LAYOUT_ACPI. -ENOSPC if they do not fit below
 * LAYOUT_ACPI_END. */
int acpi_build(const struct guest_memory *gm, const struct acpi_config *config,
	       struct acpi_places *places, struct error *err);

/* How the guest wants to be woken from S3, as it says in the FACS at gpa. False
 * if it does not, or says what is not in boot memory. */
bool acpi_waking_entry(const struct guest_memory *gm, uint64_t gpa,
		       struct boot_entry *entry);

#endif
