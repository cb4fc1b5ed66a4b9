// SPDX-License-Identifier: BSD-3-Clause
/*
 * The PC as far as the guest needs it: UART, ACPI timer and power-off at the
 * ports that Bellows and QEMU's q35 share, PCI configuration by ports.
 */
#include <stddef.h>
#include <string.h>

#include "x86.h"

#define COM1	      0x3f8
#define UART_DATA     (COM1 + 0)
#define UART_IER      (COM1 + 1)
#define UART_FCR      (COM1 + 2)
#define UART_LCR      (COM1 + 3)
#define UART_LSR      (COM1 + 5)
#define LSR_READY     0x01
#define LSR_THRE      0x20
#define UART_FIFO     16
#define PIC_1_MASK    0x21
#define PIC_2_MASK    0xa1
#define PM1_CONTROL   0x604
#define PM_TIMER      0x608
#define PM_TIMER_MASK 0xffffff
#define PCI_ADDRESS   0xcf8
#define PCI_DATA      0xcfc
#define RESET_PORT    0xcf9
#define RESET_FULL    0x06
#define SLEEP_ENABLE  0x2000
#define SLEEP_TYPE(n) ((n) << 10)
#define S5_BELLOWS    5
#define MSR_KVM_CLOCK 0x4b564d01
#define S5_QEMU	      0

#define PVH_MAGIC   0x336ec578
#define CMDLINE_MAX 2048

/* What PVH hands over, as far as it is used. */
struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline;
};

static char cmdline[CMDLINE_MAX];

/* As one string for each filling of the FIFO: one exit, not sixteen. */
void arch_console_write(const char *bytes, size_t len)
{
	while (len) {
		size_t part = len < UART_FIFO ? len : UART_FIFO;
		size_t count = part;
		const char *from = bytes;

		while (!(in8(UART_LSR) & LSR_THRE))
			arch_relax();
		__asm__ volatile("rep outsb"
				 : "+S"(from), "+c"(count)
				 : "d"((uint16_t)UART_DATA)
				 : "memory");
		bytes += part;
		len -= part;
	}
}

int arch_console_get(void)
{
	return in8(UART_LSR) & LSR_READY ? in8(UART_DATA) : -1;
}

/* The ACPI timer has 24 bits at 3.579545 MHz: it wraps after 4.7 s. */
uint64_t arch_now_us(void)
{
	static uint64_t ticks;
	static uint32_t last;
	uint32_t now = in32(PM_TIMER) & PM_TIMER_MASK;

	ticks += (now - last) & PM_TIMER_MASK;
	last = now;
	return ticks * 1000 / 3580;
}

/* Not mfence, which emulating KVMs lack. */
void arch_barrier(void)
{
	__asm__ volatile("lock; addl $0, (%%rsp)" ::: "memory", "cc");
}

void arch_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

uint32_t arch_pci_read(unsigned int bdf, unsigned int offset, unsigned int size)
{
	uint16_t port = (uint16_t)(PCI_DATA + (offset & 3));

	out32(PCI_ADDRESS, 1U << 31 | bdf << 8 | (offset & 0xfc));
	return size == 1 ? in8(port) : size == 2 ? in16(port) : in32(port);
}

void arch_pci_write(unsigned int bdf, unsigned int offset, uint32_t value,
		    unsigned int size)
{
	uint16_t port = (uint16_t)(PCI_DATA + (offset & 3));

	out32(PCI_ADDRESS, 1U << 31 | bdf << 8 | (offset & 0xfc));
	if (size == 1)
		out8(port, (uint8_t)value);
	else if (size == 2)
		out16(port, (uint16_t)value);
	else
		out32(port, value);
}

uint64_t arch_fetch_add(uint64_t addr, uint64_t value)
{
	__asm__ volatile("lock; xaddq %0, (%1)"
			 : "+r"(value)
			 : "r"(addr)
			 : "memory", "cc");
	return value;
}

void arch_fill(uint64_t addr, uint8_t byte, size_t len)
{
	__asm__ volatile("rep stosb"
			 : "+D"(addr), "+c"(len)
			 : "a"(byte)
			 : "memory");
}

static void write_msr(void *arg)
{
	uint64_t value = *(uint64_t *)arg;

	__asm__ volatile("wrmsr" ::"c"(MSR_KVM_CLOCK), "a"((uint32_t)value),
			 "d"((uint32_t)(value >> 32)));
}

/* kvmclock: bit 0 of the address switches it on. */
bool arch_clock_at(uint64_t addr)
{
	uint64_t value = addr ? addr | 1 : 0;

	return arch_try(write_msr, &value, NULL);
}

/* Each VMM knows one of the two values, and ignores the other. */
void arch_power_off(void)
{
	out16(PM1_CONTROL, SLEEP_TYPE(S5_BELLOWS) | SLEEP_ENABLE);
	out16(PM1_CONTROL, SLEEP_TYPE(S5_QEMU) | SLEEP_ENABLE);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void arch_reset(void)
{
	out8(RESET_PORT, RESET_FULL);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void platform_init(void)
{
	out8(PIC_1_MASK, 0xff);
	out8(PIC_2_MASK, 0xff);
	out8(UART_IER, 0);
	out8(UART_LCR, 0x03);
	out8(UART_FCR, 0x01);
}

/* From entry.S; info lies in low memory, which we use otherwise. */
void arch_main(const struct pvh_start_info *info)
{
	const char *from = NULL;

	if (info->magic == PVH_MAGIC)
		from = (const char *)info->cmdline;
	for (size_t i = 0; from && i < CMDLINE_MAX - 1 && from[i]; i++)
		cmdline[i] = from[i];
	faults_init();
	platform_init();
	bare_main(cmdline);
	arch_power_off();
}
