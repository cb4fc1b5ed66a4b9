// SPDX-License-Identifier: BSD-3-Clause
/* ACPI hardware registers (ACPI 6, section 4.8). */
#include <string.h>
#include <time.h>

#include "layout.h"
#include "pm.h"

#define PM1_TIMER      (1U << 0) /* timer carry; never raised, 24 bits polled */
#define PM1_PWRBTN     (1U << 8)
#define PM1_WAK	       (1U << 15) /* has no enable bit */
#define PM1_STS_BITS   0x8731U	  /* those that the specification defines */
#define PM1_EN_BITS    0x0721U
#define PM1_CNT_SCI_EN (1U << 0)
#define PM1_CNT_SLP_EN (1U << 13)
#define SLEEP_NONE     (-1)
#define PM_TIMER_HZ    3579545ULL
#define PM_TIMER_MASK  0xffffffU

enum {
	OFF_STATUS = 0,
	OFF_ENABLE = 2,
	OFF_CONTROL = PORT_ACPI_PM1_CNT - PORT_ACPI_PM1_EVT,
	OFF_TIMER = PORT_ACPI_PM_TIMER - PORT_ACPI_PM1_EVT,
	OFF_GPE = PORT_ACPI_GPE0 - PORT_ACPI_PM1_EVT,
	OFF_ARMED = PORT_ACPI_ARMED - PORT_ACPI_PM1_EVT,
};

static void update_sci(struct pm *pm)
{
	bool level = (pm->status & pm->enable) != 0 ||
		     (pm->gpe_status & pm->gpe_enable) != 0;

	if (level == pm->sci)
		return;
	pm->sci = level;
	pm->ops->sci(pm->opaque, level);
}

static uint32_t timer_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)((uint64_t)ts.tv_sec * PM_TIMER_HZ +
			  (uint64_t)ts.tv_nsec * PM_TIMER_HZ / 1000000000) &
	       PM_TIMER_MASK;
}

/* The registers as one image, so that any width at any offset reads right. */
static void build_image(const struct pm *pm, uint8_t image[PM_NR_PORTS])
{
	uint16_t control = pm->control | PM1_CNT_SCI_EN;
	uint32_t timer = timer_now();

	memset(image, 0, PM_NR_PORTS);
	for (unsigned int i = 0; i < 2; i++) {
		image[OFF_STATUS + i] = (uint8_t)(pm->status >> 8 * i);
		image[OFF_ENABLE + i] = (uint8_t)(pm->enable >> 8 * i);
		image[OFF_CONTROL + i] = (uint8_t)(control >> 8 * i);
	}
	for (unsigned int i = 0; i < 4; i++)
		image[OFF_TIMER + i] = (uint8_t)(timer >> 8 * i);
	image[OFF_GPE] = pm->gpe_status;
	image[OFF_GPE + 1] = pm->gpe_enable;
	image[OFF_ARMED] = pm->armed;
}

static void pm_bus_read(void *opaque, uint64_t offset, void *data,
			unsigned int len)
{
	struct pm *pm = opaque;
	uint8_t image[PM_NR_PORTS];

	pthread_mutex_lock(&pm->lock);
	build_image(pm, image);
	pthread_mutex_unlock(&pm->lock);
	memcpy(data, image + offset, len);
}

/* One byte of a register. The sleep type if the guest asked to enter it, else
 * SLEEP_NONE. */
static int write_byte(struct pm *pm, unsigned int offset, uint8_t value)
{
	unsigned int shift = 8 * (offset & 1);
	uint16_t bits = (uint16_t)(value << shift);
	uint16_t mask = (uint16_t)(0xff << shift);

	switch (offset) {
	case OFF_STATUS:
	case OFF_STATUS + 1: /* write one to clear */
		pm->status &= (uint16_t)~bits;
		break;
	case OFF_ENABLE:
	case OFF_ENABLE + 1:
		pm->enable = ((pm->enable & ~mask) | bits) & PM1_EN_BITS;
		break;
	case OFF_CONTROL:
	case OFF_CONTROL + 1:
		pm->control = (uint16_t)((pm->control & ~mask) | bits) &
			      (uint16_t)~PM1_CNT_SLP_EN;
		if (bits & PM1_CNT_SLP_EN)
			return pm->control >> 10 & 7;
		break;
	case OFF_GPE:
		pm->gpe_status &= (uint8_t)~value;
		break;
	case OFF_GPE + 1:
		pm->gpe_enable = value;
		break;
	case OFF_ARMED:
		pm->armed = value;
		if (value) /* what woke it the last time is over */
			pm->gpe_status &= (uint8_t) ~(1U << GPE_WAKE);
		break;
	default:
		break;
	}
	return SLEEP_NONE;
}

static void pm_bus_write(void *opaque, uint64_t offset, const void *data,
			 unsigned int len)
{
	struct pm *pm = opaque;
	const uint8_t *bytes = data;
	int type = SLEEP_NONE;

	pthread_mutex_lock(&pm->lock);
	for (unsigned int i = 0; i < len; i++) {
		int asked = write_byte(pm, (unsigned int)offset + i, bytes[i]);

		if (asked != SLEEP_NONE)
			type = asked;
	}
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
	/* A type that no _Sx package has means nothing. */
	if (type == SLEEP_TYPE_S5)
		pm->ops->poweroff(pm->opaque);
	else if (type == SLEEP_TYPE_S3)
		pm->ops->sleep(pm->opaque);
}

const struct bus_ops pm_bus_ops = {
	.read = pm_bus_read,
	.write = pm_bus_write,
};

void pm_init(struct pm *pm, const struct pm_ops *ops, void *opaque)
{
	memset(pm, 0, sizeof(*pm));
	pthread_mutex_init(&pm->lock, NULL);
	pm->ops = ops;
	pm->opaque = opaque;
}

void pm_finish(struct pm *pm)
{
	pthread_mutex_destroy(&pm->lock);
}

void pm_reset(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status = pm->enable = pm->control = 0;
	pm->gpe_status = pm->gpe_enable = pm->armed = 0;
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

void pm_press_button(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= PM1_PWRBTN;
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

static void raise_gpe(struct pm *pm, unsigned int gpe)
{
	pthread_mutex_lock(&pm->lock);
	pm->gpe_status |= (uint8_t)(1U << gpe);
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}

void pm_press_sleep_button(struct pm *pm)
{
	raise_gpe(pm, GPE_SLEEP_BUTTON);
}

bool pm_is_idle(struct pm *pm)
{
	bool idle;

	pthread_mutex_lock(&pm->lock);
	idle = pm->armed == ACPI_ARMED;
	pthread_mutex_unlock(&pm->lock);
	return idle;
}

void pm_wake_idle(struct pm *pm)
{
	raise_gpe(pm, GPE_WAKE);
}

void pm_wake(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= PM1_WAK;
	pm->gpe_status |= 1U << GPE_WAKE;
	pm->sci = false;
	pm->ops->sci(pm->opaque, false);
	update_sci(pm);
	pthread_mutex_unlock(&pm->lock);
}
