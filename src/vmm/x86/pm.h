/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACPI hardware: power management event and control blocks, the PM timer, the
 * power button; general-purpose events for the sleep button and for what wakes
 * the guest. ACPI is always on, there is no SMI.
 */
#ifndef VMM_X86_PM_H
#define VMM_X86_PM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"

struct pm_ops {
	void (*sci)(void *opaque, bool level); /* interrupt line */
	void (*poweroff)(void *opaque);	       /* the guest entered S5 */
	void (*sleep)(void *opaque);	       /* the guest entered S3 */
};

struct pm {
	pthread_mutex_t lock; /* guards the registers */
	const struct pm_ops *ops;
	void *opaque;
	uint16_t status, enable, control;
	uint8_t gpe_status, gpe_enable; /* bits GPE_... */
	uint8_t armed;			/* PORT_ACPI_ARMED */
	bool sci;			/* line as last set */
};

extern const struct bus_ops pm_bus_ops;

/* Ports from PORT_ACPI_PM1_EVT, this many, are the PM's. */
#define PM_NR_PORTS (PORT_ACPI_ARMED + 1 - PORT_ACPI_PM1_EVT)

void pm_init(struct pm *pm, const struct pm_ops *ops, void *opaque);
void pm_finish(struct pm *pm);
void pm_reset(struct pm *pm);
void pm_press_button(struct pm *pm);
void pm_press_sleep_button(struct pm *pm);

/* Whether the guest has suspended to idle, as it says. */
bool pm_is_idle(struct pm *pm);

/* Wake the guest from that; one that is awake takes no harm. */
void pm_wake_idle(struct pm *pm);

/* It wakes from S3, over which the registers stay. Interrupt chips are new: the
 * line is set anew. */
void pm_wake(struct pm *pm);

#endif
