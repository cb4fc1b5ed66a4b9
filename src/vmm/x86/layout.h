/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where things are in the guest-physical address space and port space of an
 * x86 guest. dsdt.asl repeats some of these.
 */
#ifndef VMM_X86_LAYOUT_H
#define VMM_X86_LAYOUT_H

/* Low memory: what we put there before the kernel runs. */
#define LAYOUT_GDT	 0x00000500 /* boot GDT */
#define LAYOUT_ZERO_PAGE 0x00007000 /* struct boot_params (bzImage) */
#define LAYOUT_PVH_INFO	 0x00006000 /* hvm_start_info and its lists */
#define LAYOUT_PAGE_TABLES                                                     \
	0x00009000 /* identity map of the first 4 GiB: 7 pages */
#define LAYOUT_CMDLINE	   0x00020000 /* NUL-terminated */
#define LAYOUT_CMDLINE_MAX 0x00010000
#define LAYOUT_EBDA	   0x0009fc00 /* end of conventional memory */
#define LAYOUT_ACPI	   0x000e0000 /* RSDP first, then the tables */
#define LAYOUT_ACPI_END	   0x00100000
#define LAYOUT_HIGH	   0x00100000 /* kernel loads from here */

/* Boot memory ends here at the latest and goes on at 4 GiB. */
#define LAYOUT_HOLE_START 0xc0000000ULL
#define LAYOUT_HOLE_END	  0x100000000ULL

/* Inside the hole. */
#define LAYOUT_PCI_MMIO	     0xc0000000ULL /* BARs */
#define LAYOUT_PCI_MMIO_SIZE 0x20000000ULL
#define LAYOUT_ECAM	     0xe0000000ULL /* MCFG, bus 0 only */
#define LAYOUT_ECAM_SIZE     0x00100000ULL
#define LAYOUT_IOAPIC	     0xfec00000ULL
#define LAYOUT_LAPIC	     0xfee00000ULL
#define LAYOUT_KVM_IDENTITY  0xfffbc000ULL /* one page, and 3 for the TSS */
#define LAYOUT_KVM_TSS	     0xfffbd000ULL

/* Elastic devices start at multiples of this, above boot memory. The largest
 * memory block of Linux on x86 is 2 GiB. */
#define LAYOUT_ELASTIC_ALIGN 0x80000000ULL

/* Ports. */
#define PORT_COM1	   0x3f8
#define PORT_ACPI_PM1_EVT  0x600 /* status u16, enable u16 */
#define PORT_ACPI_PM1_CNT  0x604 /* control u16 */
#define PORT_ACPI_PM_TIMER 0x608 /* u32, 3.579545 MHz, 24 bits */
#define PORT_ACPI_GPE0	   0x620 /* status u8, enable u8 */
#define PORT_ACPI_ARMED	   0x622 /* u8: what the sleep button's _DSW was told */
#define PORT_ACPI_RESET	   0xcf9 /* value 0x06 resets */
#define PORT_PCI_ADDR	   0xcf8
#define PORT_PCI_DATA	   0xcfc
#define PORT_I8042_CMD	   0x64 /* 0xfe pulses the reset line */

/* Interrupt lines (GSIs). */
#define GSI_COM1      4
#define GSI_SCI	      9
/* First GSI that is only ever an MSI route. */
#define GSI_MSI_FIRST 24

/* General-purpose events, and what _DSW writes to PORT_ACPI_ARMED: 0, or this
 * and the sleeping state that the guest enters. */
#define GPE_SLEEP_BUTTON 0
#define GPE_WAKE	 1
#define ACPI_ARMED	 0x80

/* Sleep types in DSDT \_S3 and \_S5, written to PM1_CNT. */
#define SLEEP_TYPE_S5 5
#define SLEEP_TYPE_S3 1

#define IOAPIC_ID 0 /* as KVM's in-kernel IOAPIC has it */

#endif
