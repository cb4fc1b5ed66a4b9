// SPDX-License-Identifier: BSD-3-Clause
/*
 * The two configurations, the driver's and the device's: reading, judging, and
 * the geometry that follows from them. A device's word is checked before any
 * sum is made of it.
 */
#include <string.h>

#include "driver_internal.h"

#define MIB		  (UINT64_C(1) << 20)
#define DEFAULT_UNIT_SIZE (128 * MIB)
#define DEFAULT_DEPTH	  4
#define DEFAULT_MIN_MS	  50
#define DEFAULT_MAX_MS	  10000

#define CONFIG_SIZE   56
#define READ_ATTEMPTS 8

#define FEATURE(bit) (UINT64_C(1) << (bit))

uint64_t vmem_driver_features(uint64_t offered, bool can_persistent_suspend)
{
	uint64_t known = FEATURE(VMEM_F_ACPI_PXM) |
			 FEATURE(VMEM_F_UNPLUGGED_INACCESSIBLE);

	if (can_persistent_suspend)
		known |= FEATURE(VMEM_F_PERSISTENT_SUSPEND);
	return offered & known;
}

/* ---- Reading ----------------------------------------------------------- */

static uint64_t get_le(const uint8_t *from, unsigned int nr_bytes)
{
	uint64_t value = 0;

	while (nr_bytes-- > 0)
		value = value << 8 | from[nr_bytes];
	return value;
}

static void decode(struct vmem_config *device, const uint8_t *bytes)
{
	memset(device, 0, sizeof(*device));
	device->block_size = get_le(bytes, 8);
	device->node_id = (uint16_t)get_le(bytes + 8, 2);
	device->addr = get_le(bytes + 16, 8);
	device->region_size = get_le(bytes + 24, 8);
	device->usable_region_size = get_le(bytes + 32, 8);
	device->plugged_size = get_le(bytes + 40, 8);
	device->requested_size = get_le(bytes + 48, 8);
}

/* One reading, and a number that differs if the configuration changed
 * meanwhile; without a generation the reading itself is compared. */
static uint32_t read_once(const struct vmem_driver_ops *ops, void *opaque,
			  uint8_t *bytes)
{
	uint32_t generation = 0;

	if (ops->config_generation)
		generation = ops->config_generation(opaque);
	memset(bytes, 0, CONFIG_SIZE);
	ops->read_config(opaque, 0, bytes, CONFIG_SIZE);
	return generation;
}

int vmem_driver_read_config(const struct vmem_driver_ops *ops, void *opaque,
			    struct vmem_config *device)
{
	uint8_t bytes[CONFIG_SIZE], again[CONFIG_SIZE];
	uint32_t generation;
	bool stable;

	for (int i = 0; i < READ_ATTEMPTS; i++) {
		generation = read_once(ops, opaque, bytes);
		if (ops->config_generation) {
			stable = ops->config_generation(opaque) == generation;
		} else {
			read_once(ops, opaque, again);
			stable = memcmp(bytes, again, sizeof(bytes)) == 0;
		}
		if (stable) {
			decode(device, bytes);
			return 0;
		}
	}
	return -VMEM_EAGAIN;
}

/* ---- Judging ----------------------------------------------------------- */

static bool is_power_of_two(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

struct vmem_driver_config drv_defaults(const struct vmem_driver_config *config)
{
	struct vmem_driver_config full = *config;

	if (full.unit_size == 0)
		full.unit_size = DEFAULT_UNIT_SIZE;
	if (full.granule == 0)
		full.granule = 1;
	if (full.depth == 0)
		full.depth = DEFAULT_DEPTH;
	if (full.retry_min_ms == 0)
		full.retry_min_ms = DEFAULT_MIN_MS;
	if (full.retry_max_ms == 0)
		full.retry_max_ms = DEFAULT_MAX_MS;
	if (full.retry_max_ms < full.retry_min_ms)
		full.retry_max_ms = full.retry_min_ms;
	return full;
}

/* The rules of 5.15.4 and 5.15.5. */
static const char *device_error(const struct vmem_config *d)
{
	uint64_t mask = d->block_size - 1;

	if (!is_power_of_two(d->block_size))
		return "the device's block_size is not a power of two";
	if (d->region_size == 0)
		return "the device's region_size is 0";
	if ((d->addr & mask) != 0)
		return "the device's addr is not a multiple of block_size";
	if ((d->region_size & mask) != 0)
		return "the device's region_size is not a multiple of "
		       "block_size";
	if (d->addr > UINT64_MAX - d->region_size)
		return "the device's region ends beyond the address space";
	if ((d->usable_region_size & mask) != 0 ||
	    d->usable_region_size > d->region_size)
		return "the device's usable_region_size is not a multiple of "
		       "block_size within region_size";
	if ((d->requested_size & mask) != 0 ||
	    d->requested_size > d->usable_region_size)
		return "the device's requested_size is not a multiple of "
		       "block_size within usable_region_size";
	if ((d->plugged_size & mask) != 0 ||
	    d->plugged_size > d->usable_region_size)
		return "the device's plugged_size is not a multiple of "
		       "block_size within usable_region_size";
	return NULL;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Round up to a power of two; UINT64_MAX if that is no number. */
static uint64_t round_up(uint64_t x, uint64_t power)
{
	if (x > UINT64_MAX - (power - 1))
		return UINT64_MAX;
	return (x + power - 1) & ~(power - 1);
}

/* nr_subs is 0 where nothing fits. */
struct geometry drv_geometry(const struct vmem_driver_config *config,
			     const struct vmem_config *device, bool has_units)
{
	struct vmem_driver_config c = drv_defaults(config);
	bool look = c.start == VMEM_DRIVER_START_LOOK;
	uint64_t end = device->addr + device->region_size;
	struct geometry geo = {0};
	uint64_t align;

	geo.sub_size = look ? device->block_size
			    : larger(device->block_size, c.granule);
	geo.unit_size = larger(geo.sub_size, c.unit_size);
	geo.blocks_per_sub = (uint32_t)(geo.sub_size / device->block_size);
	if (c.addr_limit != 0 && c.addr_limit < end && !look)
		end = c.addr_limit;
	align = has_units && !look ? geo.unit_size : geo.sub_size;
	geo.base = round_up(device->addr, align);
	end &= ~(align - 1);
	if (geo.base >= end)
		return geo;
	geo.nr_subs = (end - geo.base) / geo.sub_size;
	geo.first_unit = geo.base / geo.unit_size;
	geo.nr_units = (end - 1) / geo.unit_size - geo.first_unit + 1;
	return geo;
}

/* Bytes of storage; 0 if this machine cannot address so much. */
static size_t storage_for(const struct geometry *geo)
{
	uint64_t limit = (SIZE_MAX - sizeof(struct vmem_driver)) / 2;

	if (geo->nr_subs > limit || geo->nr_units > limit / sizeof(struct unit))
		return 0;
	return sizeof(struct vmem_driver) +
	       (size_t)geo->nr_units * sizeof(struct unit) +
	       (size_t)geo->nr_subs;
}

const char *vmem_driver_config_error(const struct vmem_driver_config *config,
				     const struct vmem_config *device,
				     bool has_units)
{
	struct vmem_driver_config c = drv_defaults(config);
	const char *wrong = device_error(device);
	struct geometry geo;

	if (!is_power_of_two(c.unit_size))
		return "unit_size is not a power of two";
	if (!is_power_of_two(c.granule))
		return "granule is not a power of two";
	if (c.depth > VMEM_DRIVER_MAX_DEPTH)
		return "depth is more than VMEM_DRIVER_MAX_DEPTH";
	if ((unsigned int)c.start > VMEM_DRIVER_START_LOOK)
		return "start is not one of its values";
	if (wrong)
		return wrong;
	if (c.start != VMEM_DRIVER_START_LOOK &&
	    c.granule / device->block_size > MAX_REQUEST_BLOCKS)
		return "the device's block_size is so small that one request "
		       "does not cover a granule";
	geo = drv_geometry(&c, device, has_units);
	/* The counts of a unit are 32 bits wide. */
	if (geo.unit_size / geo.sub_size > UINT32_MAX)
		return "a unit has more sub-blocks than can be counted";
	if (geo.nr_subs == 0)
		return "the device's region holds no unit that the OS can use";
	if (storage_for(&geo) == 0)
		return "the region has more sub-blocks than can be kept";
	return NULL;
}

size_t vmem_driver_storage_size(const struct vmem_driver_config *config,
				const struct vmem_config *device,
				bool has_units)
{
	struct geometry geo;

	if (vmem_driver_config_error(config, device, has_units))
		return 0;
	geo = drv_geometry(config, device, has_units);
	return storage_for(&geo);
}

/* ---- While running ----------------------------------------------------- */

bool drv_has_units(const struct vmem_driver *drv)
{
	return drv->ops->unit_add != NULL &&
	       drv->config.start != VMEM_DRIVER_START_LOOK;
}

/* With nothing in flight the device's sum must be ours. */
static bool sums_agree(const struct vmem_driver *drv)
{
	uint64_t nr = drv->geo.nr_subs - drv->totals[VMEM_DRIVER_UNPLUGGED];

	if (drv->phase != VMEM_DRIVER_ACTIVE || drv->nr_in_flight > 0)
		return true;
	return nr * drv->geo.sub_size == drv->device.plugged_size;
}

bool drv_update_config(struct vmem_driver *drv)
{
	struct vmem_config *before = &drv->device, now;
	const char *wrong;

	if (vmem_driver_read_config(drv->ops, drv->opaque, &now) != 0) {
		drv_refused(drv, &drv->device_retry);
		return false;
	}
	wrong = device_error(&now);
	if (!wrong &&
	    (now.block_size != before->block_size ||
	     now.node_id != before->node_id || now.addr != before->addr ||
	     now.region_size != before->region_size))
		wrong = "the device changed what never changes of its "
			"configuration";
	if (wrong) {
		drv_break(drv, wrong);
		return false;
	}
	drv->config_dirty = false;
	if (now.requested_size != before->requested_size ||
	    now.usable_region_size != before->usable_region_size)
		drv_stop_waiting(drv);
	drv->device = now;
	if (!sums_agree(drv))
		drv->need_sync = true;
	return true;
}

uint64_t drv_nr_usable_subs(const struct vmem_driver *drv)
{
	uint64_t end = drv->device.addr + drv->device.usable_region_size;
	uint64_t nr;

	if (end <= drv->geo.base)
		return 0;
	nr = (end - drv->geo.base) / drv->geo.sub_size;
	return nr < drv->geo.nr_subs ? nr : drv->geo.nr_subs;
}

uint64_t drv_target(const struct vmem_driver *drv)
{
	uint64_t usable = drv_nr_usable_subs(drv);
	uint64_t requested = drv->device.requested_size / drv->geo.sub_size;

	if (drv->draining)
		return 0;
	return requested < usable ? requested : usable;
}
