// SPDX-License-Identifier: BSD-3-Clause
/* Buses, the PCI bus and ACPI fixed hardware, without KVM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/bus.h"
#include "vmm/pci.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/pm.h"

/* ---- Bus --------------------------------------------------------------- */

struct probe {
	uint64_t offset;
	unsigned int len, nr_reads, nr_writes;
	uint8_t data[8];
};

static void probe_read(void *opaque, uint64_t offset, void *data,
		       unsigned int len)
{
	struct probe *probe = opaque;

	probe->offset = offset;
	probe->len = len;
	probe->nr_reads++;
	memset(data, 0x5a, len);
}

static void probe_write(void *opaque, uint64_t offset, const void *data,
			unsigned int len)
{
	struct probe *probe = opaque;

	probe->offset = offset;
	probe->len = len;
	probe->nr_writes++;
	memcpy(probe->data, data, len);
}

static const struct bus_ops probe_ops = {probe_read, probe_write};

static void bus_finds_the_range_or_nobody(void **state)
{
	struct probe a = {0}, b = {0};
	struct bus bus = {0};
	uint32_t value = 0;

	bus_add(&bus, &(struct bus_range){0x100, 0x10, &probe_ops, &a});
	bus_add(&bus, &(struct bus_range){0x110, 0x10, &probe_ops, &b});

	bus_read(&bus, 0x104, &value, 4);
	assert_int_equal(value, 0x5a5a5a5a);
	assert_int_equal(a.offset, 4);
	bus_write(&bus, 0x11f, "\x77", 1);
	assert_int_equal(b.offset, 0xf);
	assert_int_equal(b.data[0], 0x77);

	/* Sticking out of a range, or nowhere. */
	bus_read(&bus, 0x10e, &value, 4);
	assert_int_equal(value, 0xffffffff);
	bus_read(&bus, 0xff, &value, 2);
	bus_write(&bus, 0x120, &value, 4);
	bus_read(&bus, UINT64_MAX, &value, 4);
	assert_int_equal(a.nr_reads, 1);
	assert_int_equal(a.nr_writes, 0);
	assert_int_equal(b.nr_reads, 0);
	assert_int_equal(b.nr_writes, 1);
}

/* ---- PCI --------------------------------------------------------------- */

struct function {
	struct pci_bus *pci;
	int devfn;
	uint8_t config[256];
	struct probe bar;
};

static void function_config_read(void *opaque, unsigned int offset, void *data,
				 unsigned int len)
{
	struct function *f = opaque;

	memcpy(data, f->config + offset, len);
}

static void function_config_write(void *opaque, unsigned int offset,
				  const void *data, unsigned int len)
{
	struct function *f = opaque;
	uint32_t base;

	memcpy(f->config + offset, data, len);
	memcpy(&base, f->config + 0x10, 4);
	pci_bar_moved(f->pci, f->devfn, base & ~0xfU, f->config[4] & 2);
}

static void function_bar_read(void *opaque, uint64_t offset, void *data,
			      unsigned int len)
{
	struct function *f = opaque;

	probe_read(&f->bar, offset, data, len);
}

static void function_bar_write(void *opaque, uint64_t offset, const void *data,
			       unsigned int len)
{
	struct function *f = opaque;

	probe_write(&f->bar, offset, data, len);
}

static const struct pci_function_ops function_ops = {
	function_config_read,
	function_config_write,
	function_bar_read,
	function_bar_write,
};

static const struct machine_range window = {0xc0000000, 0x1000000};

static void pci_functions_fill_slots_first(void **state)
{
	static struct pci_bus pci;
	struct bus bus = {0};

	pci_init(&pci, &bus, &window);
	for (int i = 1; i <= 31; i++)
		assert_int_equal(pci_add(&pci, &function_ops, NULL, 4096),
				 i << 3);
	for (int i = 1; i <= 31; i++)
		assert_int_equal(pci_add(&pci, &function_ops, NULL, 4096),
				 i << 3 | 1);
	for (int i = 0; i < 6 * 31; i++)
		assert_true(pci_add(&pci, &function_ops, NULL, 4096) > 0);
	assert_true(pci_add(&pci, &function_ops, NULL, 4096) < 0);
	pci_finish(&pci);
}

static void pci_config_reaches_functions(void **state)
{
	static struct pci_bus pci;
	static struct function f[32];
	struct bus bus = {0};
	uint32_t value;
	uint8_t type;

	pci_init(&pci, &bus, &window);
	for (int i = 0; i < 32; i++) {
		f[i].pci = &pci;
		f[i].devfn = pci_add(&pci, &function_ops, &f[i], 0x4000);
		f[i].config[0] = (uint8_t)(0x80 + i);
	}
	pci_config_read(&pci, 0, 8, &value, 4);
	assert_int_equal(value >> 16, 0x0600); /* host bridge */
	pci_config_read(&pci, 3 << 3, 0, &value, 4);
	assert_int_equal(value & 0xff, 0x82);
	pci_config_read(&pci, 3 << 3 | 1, 0, &value, 4);
	assert_int_equal(value, 0xffffffff);
	/* Slot 1 holds functions 0 and 1, and says so. */
	pci_config_read(&pci, 1 << 3, 0x0e, &type, 1);
	assert_int_equal(type, 0x80);
	pci_config_read(&pci, 2 << 3, 0x0e, &type, 1);
	assert_int_equal(type, 0);
	pci_config_read(&pci, 1 << 3, 0x0c, &value, 4);
	assert_int_equal(value >> 16 & 0xff, 0x80);
	/* Beyond the bus and beyond the function's space. */
	pci_config_read(&pci, 256, 0, &value, 4);
	assert_int_equal(value, 0xffffffff);
	pci_config_read(&pci, 1 << 3, 4096, &value, 4);
	assert_int_equal(value, 0xffffffff);
	pci_config_write(&pci, 256, 0, &value, 4);
	pci_finish(&pci);
}

static void pci_bars_are_assigned_apart_and_answer(void **state)
{
	static struct pci_bus pci;
	static struct function f[3];
	struct bus bus = {0};
	uint32_t base[3], value;

	pci_init(&pci, &bus, &window);
	for (int i = 0; i < 3; i++) {
		memset(&f[i], 0, sizeof(f[i]));
		f[i].pci = &pci;
		f[i].devfn = pci_add(&pci, &function_ops, &f[i], 0x4000);
	}
	bus_read(&bus, window.start, &value, 4);
	assert_int_equal(value, 0xffffffff);
	pci_assign(&pci);
	for (int i = 0; i < 3; i++) {
		memcpy(&base[i], f[i].config + 0x10, 4);
		assert_int_equal(base[i] % 0x4000, 0);
		assert_int_equal(base[i], window.start + 0x4000U * (uint32_t)i);
		bus_read(&bus, base[i] + 0x3ffc, &value, 4);
		assert_int_equal(value, 0x5a5a5a5a);
		assert_int_equal(f[i].bar.nr_reads, 1);
		assert_int_equal(f[i].bar.offset, 0x3ffc);
	}
	bus_write(&bus, base[1] + 8, "\x01\x02", 2);
	assert_int_equal(f[1].bar.nr_writes, 1);
	/* Memory decoding off: gone. */
	pci_config_write(&pci, (unsigned int)f[1].devfn, 4, "\0", 1);
	bus_read(&bus, base[1], &value, 4);
	assert_int_equal(value, 0xffffffff);
	pci_finish(&pci);
}

/* ---- ACPI fixed hardware ----------------------------------------------- */

struct pm_bench {
	struct pm pm;
	bool sci;
	unsigned int nr_poweroffs, nr_sleeps, nr_scis;
};

static void bench_sci(void *opaque, bool level)
{
	struct pm_bench *bench = opaque;

	bench->sci = level;
	bench->nr_scis++;
}

static void bench_poweroff(void *opaque)
{
	struct pm_bench *bench = opaque;

	bench->nr_poweroffs++;
}

static void bench_sleep(void *opaque)
{
	struct pm_bench *bench = opaque;

	bench->nr_sleeps++;
}

static const struct pm_ops bench_ops = {bench_sci, bench_poweroff, bench_sleep};

static uint32_t pm_in(struct pm_bench *bench, unsigned int port,
		      unsigned int len)
{
	uint32_t value = 0;

	pm_bus_ops.read(&bench->pm, port - PORT_ACPI_PM1_EVT, &value, len);
	return value;
}

static void pm_out(struct pm_bench *bench, unsigned int port, uint32_t value,
		   unsigned int len)
{
	pm_bus_ops.write(&bench->pm, port - PORT_ACPI_PM1_EVT, &value, len);
}

static void power_button_raises_sci_when_enabled(void **state)
{
	struct pm_bench bench = {0};

	pm_init(&bench.pm, &bench_ops, &bench);
	pm_press_button(&bench.pm);
	assert_false(bench.sci);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_EVT, 2), 0x100);
	pm_out(&bench, PORT_ACPI_PM1_EVT + 2, 0x100, 2);
	assert_true(bench.sci);
	/* A byte of zeros clears nothing, a one does. */
	pm_out(&bench, PORT_ACPI_PM1_EVT, 0, 1);
	assert_true(bench.sci);
	pm_out(&bench, PORT_ACPI_PM1_EVT + 1, 0x01, 1);
	assert_false(bench.sci);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_EVT, 4), 0x100U << 16);
	pm_press_button(&bench.pm);
	assert_true(bench.sci);
	pm_reset(&bench.pm);
	assert_false(bench.sci);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_EVT, 4), 0);
	pm_finish(&bench.pm);
}

/* Types that no package names mean nothing, and so does one without the bit. */
static void sleep_types_need_sleep_enable(void **state)
{
	struct pm_bench bench = {0};

	pm_init(&bench.pm, &bench_ops, &bench);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_CNT, 2), 1); /* SCI_EN */
	for (unsigned int type = 0; type < 8; type++) {
		pm_out(&bench, PORT_ACPI_PM1_CNT, type << 10, 2);
		pm_out(&bench, PORT_ACPI_PM1_CNT, 0, 2);
		if (type != SLEEP_TYPE_S3 && type != SLEEP_TYPE_S5)
			pm_out(&bench, PORT_ACPI_PM1_CNT, 1U << 13 | type << 10,
			       2);
	}
	assert_int_equal(bench.nr_poweroffs, 0);
	assert_int_equal(bench.nr_sleeps, 0);
	pm_out(&bench, PORT_ACPI_PM1_CNT, 1 << 13 | SLEEP_TYPE_S3 << 10, 2);
	assert_int_equal(bench.nr_sleeps, 1);
	/* By bytes, it is the second that has the bit. */
	pm_out(&bench, PORT_ACPI_PM1_CNT, 0, 1);
	pm_out(&bench, PORT_ACPI_PM1_CNT + 1, 0x20 | SLEEP_TYPE_S3 << 2, 1);
	assert_int_equal(bench.nr_sleeps, 2);
	assert_int_equal(bench.nr_poweroffs, 0);
	pm_out(&bench, PORT_ACPI_PM1_CNT, 1 << 13 | SLEEP_TYPE_S5 << 10, 2);
	assert_int_equal(bench.nr_poweroffs, 1);
	assert_int_equal(bench.nr_sleeps, 2);
	/* The bit is never kept. */
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_CNT, 2),
			 SLEEP_TYPE_S5 << 10 | 1);
	pm_finish(&bench.pm);
}

static void sleep_button_is_an_event(void **state)
{
	struct pm_bench bench = {0};

	pm_init(&bench.pm, &bench_ops, &bench);
	pm_press_sleep_button(&bench.pm);
	assert_false(bench.sci);
	pm_out(&bench, PORT_ACPI_GPE0 + 1, 1 << GPE_SLEEP_BUTTON, 1);
	assert_true(bench.sci);
	pm_out(&bench, PORT_ACPI_GPE0, 1 << GPE_WAKE, 1);
	assert_true(bench.sci);
	pm_out(&bench, PORT_ACPI_GPE0, 1 << GPE_SLEEP_BUTTON, 1);
	assert_false(bench.sci);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_EVT, 2), 0);
	pm_finish(&bench.pm);
}

/* Idle is who armed the button with S0 for a target. */
static void idle_is_what_the_guest_says(void **state)
{
	struct pm_bench bench = {0};

	pm_init(&bench.pm, &bench_ops, &bench);
	for (unsigned int value = 0; value < 256; value++) {
		pm_out(&bench, PORT_ACPI_ARMED, value, 1);
		assert_int_equal(pm_is_idle(&bench.pm), value == ACPI_ARMED);
		assert_int_equal(pm_in(&bench, PORT_ACPI_ARMED, 1), value);
	}
	pm_out(&bench, PORT_ACPI_ARMED, ACPI_ARMED, 1);
	pm_out(&bench, PORT_ACPI_GPE0 + 1, 1 << GPE_WAKE, 1);
	assert_false(bench.sci);
	pm_wake_idle(&bench.pm);
	assert_true(bench.sci);
	assert_true(pm_is_idle(&bench.pm));
	/* The next time it sleeps until it is woken again. */
	pm_out(&bench, PORT_ACPI_ARMED, 0, 1);
	assert_true(bench.sci);
	pm_out(&bench, PORT_ACPI_ARMED, ACPI_ARMED, 1);
	assert_false(bench.sci);
	pm_wake_idle(&bench.pm);
	assert_true(bench.sci);
	pm_reset(&bench.pm);
	assert_false(bench.sci);
	assert_false(pm_is_idle(&bench.pm));
	pm_finish(&bench.pm);
}

/* Registers stay over S3; the interrupt chips do not, so the line is set anew
 * even if it was up. */
static void waking_keeps_the_registers(void **state)
{
	struct pm_bench bench = {0};

	pm_init(&bench.pm, &bench_ops, &bench);
	pm_out(&bench, PORT_ACPI_PM1_EVT + 2, 0x100, 2);
	pm_press_button(&bench.pm);
	assert_int_equal(bench.nr_scis, 1);
	pm_wake(&bench.pm);
	assert_int_equal(bench.nr_scis, 3);
	assert_true(bench.sci);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_EVT, 4),
			 0x100U << 16 | 0x8100);
	assert_int_equal(pm_in(&bench, PORT_ACPI_GPE0, 1), 1 << GPE_WAKE);
	/* WAK_STS is cleared by a one, and raises no interrupt. */
	pm_out(&bench, PORT_ACPI_PM1_EVT, 0x100, 2);
	assert_false(bench.sci);
	pm_out(&bench, PORT_ACPI_PM1_EVT, 0x8000, 2);
	assert_int_equal(pm_in(&bench, PORT_ACPI_PM1_EVT, 2), 0);
	pm_finish(&bench.pm);
}

static void pm_timer_runs_in_24_bits(void **state)
{
	struct pm_bench bench = {0};
	uint32_t first, now;

	pm_init(&bench.pm, &bench_ops, &bench);
	first = pm_in(&bench, PORT_ACPI_PM_TIMER, 4);
	do {
		now = pm_in(&bench, PORT_ACPI_PM_TIMER, 4);
		assert_true(now <= 0xffffff);
	} while (now == first);
	pm_finish(&bench.pm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bus_finds_the_range_or_nobody),
		cmocka_unit_test(pci_functions_fill_slots_first),
		cmocka_unit_test(pci_config_reaches_functions),
		cmocka_unit_test(pci_bars_are_assigned_apart_and_answer),
		cmocka_unit_test(power_button_raises_sci_when_enabled),
		cmocka_unit_test(sleep_types_need_sleep_enable),
		cmocka_unit_test(sleep_button_is_an_event),
		cmocka_unit_test(idle_is_what_the_guest_says),
		cmocka_unit_test(waking_keeps_the_registers),
		cmocka_unit_test(pm_timer_runs_in_24_bits),
	};

	return cmocka_run_group_tests_name("platform", tests, NULL, NULL);
}
