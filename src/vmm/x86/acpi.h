/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACPI tables of the guest: RSDP, XSDT, FADT, DSDT (static, from dsdt.asl by
 * iasl), MADT, MCFG, WAET, and with NUMA nodes SRAT and SLIT.
 */
#ifndef VMM_X86_ACPI_H
#define VMM_X86_ACPI_H

#include <stdint.h>

#include "host/error.h"
#include "vmm/machine.h"

struct acpi_config {
	unsigned int nr_cpus; /* APIC IDs are 0 to nr_cpus - 1 */
	/* NULL, or no nodes: SRAT and SLIT are left out. */
	const struct machine_numa *numa;
};

/*
 * Build all tables at LAYOUT_ACPI. *rsdp is where the root pointer is. -ENOSPC
 * if they do not fit below LAYOUT_ACPI_END.
 */
int acpi_build(const struct guest_memory *gm, const struct acpi_config *config,
	       uint64_t *rsdp, struct error *err);

#endif
