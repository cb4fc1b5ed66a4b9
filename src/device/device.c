// SPDX-License-Identifier: BSD-3-Clause
/*
 * The virtio-mem device. Requests are decoded once into a struct of our own,
 * checked against the specification's rules in one place (check_range), and
 * turned into at most one call of the VMM.
 *
 * What keeps the state whole when the VMM changes requested_size, or resets
 * the device, from within that call: nothing read before the call is used
 * after it but the range of the request itself; the set of plugged blocks is
 * changed after it alone, and by nothing else while it runs.
 *
 * Invariants, between calls:
 * - addr, and all sizes are multiples of block_size;
 * - usable_for(requested_size) <= usable_region_size <= region_size;
 * - no block outside the usable region is plugged.
 *
 * Addresses become offsets into the region as soon as they are known to lie in
 * it, and ranges are compared by subtraction, so that nothing wraps.
 */
#include <string.h>
#include <vmem/device.h>

#include "block_set.h"

#define MIB		   (UINT64_C(1) << 20)
#define DEFAULT_BLOCK_SIZE (2 * MIB)
#define DEFAULT_SLACK	   (256 * MIB)

#define CONFIG_SIZE   56
#define REQUEST_SIZE  24
#define RESPONSE_SIZE 10

#define FEATURE(bit) (UINT64_C(1) << (bit))

struct vmem_device {
	struct vmem_device_config config; /* defaults filled in */
	const struct vmem_device_ops *ops;
	void *opaque;
	uint64_t accepted_features;
	uint64_t requested_size;
	uint64_t usable_region_size;
	struct block_set plugged; /* its words stand behind the struct */
	uint64_t words[];
};

/* ---- Wire format, by byte ---------------------------------------------- */

static uint64_t get_le(const uint8_t *from, unsigned int nr_bytes)
{
	uint64_t value = 0;

	while (nr_bytes-- > 0)
		value = value << 8 | from[nr_bytes];
	return value;
}

static void put_le(uint8_t *to, uint64_t value, unsigned int nr_bytes)
{
	for (unsigned int i = 0; i < nr_bytes; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static void decode_request(struct vmem_request *req, const void *buf)
{
	uint8_t bytes[REQUEST_SIZE];

	memcpy(bytes, buf, sizeof(bytes));
	memset(req, 0, sizeof(*req));
	req->type = (uint16_t)get_le(bytes, 2);
	req->addr = get_le(bytes + 8, 8);
	req->nr_blocks = (uint16_t)get_le(bytes + 16, 2);
}

static void encode_response(void *buf, enum vmem_response_type type,
			    enum vmem_range_state state)
{
	uint8_t bytes[RESPONSE_SIZE] = {0};

	put_le(bytes, type, 2);
	put_le(bytes + 8, state, 2);
	memcpy(buf, bytes, sizeof(bytes));
}

/* ---- Configuration ----------------------------------------------------- */

static struct vmem_device_config with_defaults(
	const struct vmem_device_config *config)
{
	struct vmem_device_config full = *config;

	if (full.block_size == 0)
		full.block_size = DEFAULT_BLOCK_SIZE;
	if (full.usable_slack == 0)
		full.usable_slack = DEFAULT_SLACK;
	if (!full.has_node)
		full.node_id = 0;
	return full;
}

/* Whether the bitmap and the struct can be addressed on this machine. */
static bool fits_in_memory(uint64_t nr_blocks)
{
	return block_set_nr_words(nr_blocks) <=
	       (SIZE_MAX - sizeof(struct vmem_device)) / sizeof(uint64_t);
}

const char *vmem_device_config_error(const struct vmem_device_config *config)
{
	struct vmem_device_config c = with_defaults(config);

	if ((c.block_size & (c.block_size - 1)) != 0)
		return "block_size is not a power of two";
	if (c.region_size == 0)
		return "region_size is 0";
	if (c.region_size % c.block_size != 0)
		return "region_size is not a multiple of block_size";
	if (c.addr % c.block_size != 0)
		return "addr is not a multiple of block_size";
	/* The end must be an address too: next_plugged() steps to it. */
	if (c.addr > UINT64_MAX - c.region_size)
		return "the region ends beyond the 64-bit address space";
	if (c.requested_size % c.block_size != 0)
		return "requested_size is not a multiple of block_size";
	if (c.requested_size > c.region_size)
		return "requested_size is more than region_size";
	if (!fits_in_memory(c.region_size / c.block_size))
		return "the region has more blocks than can be kept";
	return NULL;
}

size_t vmem_device_storage_size(const struct vmem_device_config *config)
{
	struct vmem_device_config c = with_defaults(config);

	if (vmem_device_config_error(config))
		return 0;
	return sizeof(struct vmem_device) +
	       (size_t)block_set_nr_words(c.region_size / c.block_size) *
		       sizeof(uint64_t);
}

/*
 * The usable region that a requested size calls for. Rounding up cannot pass
 * region_size, as that is a multiple of block_size itself.
 */
static uint64_t usable_for(const struct vmem_device *dev, uint64_t requested)
{
	const struct vmem_device_config *c = &dev->config;
	uint64_t size;

	if (requested == 0)
		return 0;
	if (c->usable_slack >= c->region_size - requested)
		return c->region_size;
	size = requested + c->usable_slack;
	return (size + c->block_size - 1) & ~(c->block_size - 1);
}

struct vmem_device *vmem_device_init(void *storage, size_t storage_size,
				     const struct vmem_device_config *config,
				     const struct vmem_device_ops *ops,
				     void *opaque)
{
	struct vmem_device *dev = storage;
	size_t needed = vmem_device_storage_size(config);

	if (!dev || needed == 0 || storage_size < needed ||
	    (uintptr_t)storage % sizeof(uint64_t) != 0)
		return NULL;
	if (!ops || !ops->plug || !ops->unplug)
		return NULL;
	memset(dev, 0, sizeof(*dev));
	dev->config = with_defaults(config);
	dev->ops = ops;
	dev->opaque = opaque;
	dev->requested_size = dev->config.requested_size;
	dev->usable_region_size = usable_for(dev, dev->requested_size);
	block_set_init(&dev->plugged, dev->words,
		       dev->config.region_size / dev->config.block_size);
	return dev;
}

void vmem_device_get_config(const struct vmem_device *dev,
			    struct vmem_config *config)
{
	memset(config, 0, sizeof(*config));
	config->block_size = dev->config.block_size;
	config->node_id = dev->config.node_id;
	config->addr = dev->config.addr;
	config->region_size = dev->config.region_size;
	config->usable_region_size = dev->usable_region_size;
	config->plugged_size = dev->plugged.nr_set * dev->config.block_size;
	config->requested_size = dev->requested_size;
}

void vmem_device_config_read(const struct vmem_device *dev, size_t offset,
			     void *buf, size_t len)
{
	uint8_t bytes[CONFIG_SIZE] = {0};
	struct vmem_config config;

	vmem_device_get_config(dev, &config);
	put_le(bytes, config.block_size, 8);
	put_le(bytes + 8, config.node_id, 2);
	put_le(bytes + 16, config.addr, 8);
	put_le(bytes + 24, config.region_size, 8);
	put_le(bytes + 32, config.usable_region_size, 8);
	put_le(bytes + 40, config.plugged_size, 8);
	put_le(bytes + 48, config.requested_size, 8);
	if (len == 0)
		return;
	memset(buf, 0, len);
	if (offset >= sizeof(bytes))
		return;
	if (len > sizeof(bytes) - offset)
		len = sizeof(bytes) - offset;
	memcpy(buf, bytes + offset, len);
}

/* ---- Features and resets ----------------------------------------------- */

uint64_t vmem_device_features(const struct vmem_device *dev)
{
	uint64_t features = FEATURE(VMEM_F_UNPLUGGED_INACCESSIBLE);

	if (dev->config.has_node)
		features |= FEATURE(VMEM_F_ACPI_PXM);
	if (dev->config.persistent_suspend)
		features |= FEATURE(VMEM_F_PERSISTENT_SUSPEND);
	return features;
}

int vmem_device_accept_features(struct vmem_device *dev, uint64_t features)
{
	if (features & ~vmem_device_features(dev))
		return -VMEM_EINVAL;
	if (dev->config.require_unplugged_inaccessible &&
	    !(features & FEATURE(VMEM_F_UNPLUGGED_INACCESSIBLE)))
		return -VMEM_EINVAL;
	dev->accepted_features = features;
	return 0;
}

uint64_t vmem_device_accepted_features(const struct vmem_device *dev)
{
	return dev->accepted_features;
}

void vmem_device_reset(struct vmem_device *dev)
{
	dev->accepted_features = 0;
}

static void notify(const struct vmem_device *dev)
{
	if (dev->ops->config_changed)
		dev->ops->config_changed(dev->opaque);
}

/* Take all blocks back. 0, or what the VMM returned: then nothing changed. */
static int unplug_everything(struct vmem_device *dev)
{
	uint64_t block_size = dev->config.block_size;
	struct block_run hull;
	int ret;

	if (!block_set_hull(&dev->plugged, &hull))
		return 0;
	ret = dev->ops->unplug(dev->opaque,
			       dev->config.addr + hull.first * block_size,
			       hull.nr * block_size);
	if (ret == 0)
		block_set_clear(&dev->plugged);
	return ret;
}

/*
 * Let the usable region shrink, once nothing is plugged. True if it did.
 * Compares with what is usable now, not before the VMM was called: it may have
 * changed requested_size from within that call.
 */
static bool shrink_usable(struct vmem_device *dev)
{
	uint64_t before = dev->usable_region_size;

	dev->usable_region_size = usable_for(dev, dev->requested_size);
	return dev->usable_region_size != before;
}

int vmem_device_system_reset(struct vmem_device *dev)
{
	int ret;

	dev->accepted_features = 0;
	ret = unplug_everything(dev);
	if (ret == 0 && shrink_usable(dev))
		notify(dev);
	return ret;
}

int vmem_device_set_requested_size(struct vmem_device *dev, uint64_t size)
{
	uint64_t usable;

	if (size % dev->config.block_size != 0)
		return -VMEM_EINVAL;
	if (size > dev->config.region_size)
		return -VMEM_ERANGE;
	if (size == dev->requested_size)
		return 0;
	dev->requested_size = size;
	usable = usable_for(dev, size);
	if (usable > dev->usable_region_size)
		dev->usable_region_size = usable;
	notify(dev);
	return 0;
}

/* ---- Requests ---------------------------------------------------------- */

static enum vmem_response_type refuse(const struct vmem_device *dev,
				      enum vmem_guest_error error,
				      const struct vmem_request *req)
{
	if (dev->ops->guest_error)
		dev->ops->guest_error(dev->opaque, error, req);
	return error == VMEM_GUEST_OVER_REQUESTED ? VMEM_RESP_NACK
						  : VMEM_RESP_ERROR;
}

/*
 * The rules that PLUG, UNPLUG and STATE have in common (5.15.6.2, 5.15.6.3,
 * 5.15.6.5). VMEM_NR_GUEST_ERRORS if all are kept; then range is set and lies
 * within the usable region.
 */
static enum vmem_guest_error check_range(const struct vmem_device *dev,
					 const struct vmem_request *req,
					 struct block_run *range)
{
	uint64_t block_size = dev->config.block_size;
	uint64_t offset, room;

	if (req->nr_blocks == 0)
		return VMEM_GUEST_ZERO_BLOCKS;
	if (req->addr % block_size != 0)
		return VMEM_GUEST_MISALIGNED;
	if (req->addr < dev->config.addr)
		return VMEM_GUEST_OUT_OF_RANGE;
	offset = req->addr - dev->config.addr;
	if (offset >= dev->usable_region_size)
		return VMEM_GUEST_OUT_OF_RANGE;
	room = (dev->usable_region_size - offset) / block_size;
	if (req->nr_blocks > room)
		return VMEM_GUEST_OUT_OF_RANGE;
	range->first = offset / block_size;
	range->nr = req->nr_blocks;
	return VMEM_NR_GUEST_ERRORS;
}

static enum vmem_response_type plug(struct vmem_device *dev,
				    const struct vmem_request *req,
				    struct block_run range)
{
	uint64_t size = range.nr * dev->config.block_size;
	uint64_t plugged = dev->plugged.nr_set * dev->config.block_size;
	int ret;

	/* ERROR before NACK: the first is a rule for every device. */
	if (!block_set_has_none(&dev->plugged, range))
		return refuse(dev, VMEM_GUEST_WRONG_STATE, req);
	if (plugged > dev->requested_size ||
	    size > dev->requested_size - plugged)
		return refuse(dev, VMEM_GUEST_OVER_REQUESTED, req);
	ret = dev->ops->plug(dev->opaque, req->addr, size);
	if (ret == -VMEM_EBUSY || ret == -VMEM_EAGAIN)
		return VMEM_RESP_BUSY;
	if (ret != 0)
		return VMEM_RESP_NACK;
	block_set_add(&dev->plugged, range);
	return VMEM_RESP_ACK;
}

static enum vmem_response_type unplug(struct vmem_device *dev,
				      const struct vmem_request *req,
				      struct block_run range)
{
	uint64_t size = range.nr * dev->config.block_size;

	if (!block_set_has_all(&dev->plugged, range))
		return refuse(dev, VMEM_GUEST_WRONG_STATE, req);
	if (dev->ops->unplug(dev->opaque, req->addr, size) != 0)
		return VMEM_RESP_BUSY;
	block_set_remove(&dev->plugged, range);
	return VMEM_RESP_ACK;
}

/* The one change of the usable region that needs no notification. */
static enum vmem_response_type unplug_all(struct vmem_device *dev)
{
	if (unplug_everything(dev) != 0)
		return VMEM_RESP_BUSY;
	shrink_usable(dev);
	return VMEM_RESP_ACK;
}

static enum vmem_range_state state_of(const struct vmem_device *dev,
				      struct block_run range)
{
	if (block_set_has_all(&dev->plugged, range))
		return VMEM_STATE_PLUGGED;
	if (block_set_has_none(&dev->plugged, range))
		return VMEM_STATE_UNPLUGGED;
	return VMEM_STATE_MIXED;
}

static enum vmem_response_type serve(struct vmem_device *dev,
				     const struct vmem_request *req,
				     enum vmem_range_state *state)
{
	struct block_run range;
	enum vmem_guest_error error;

	if (req->type == VMEM_REQ_UNPLUG_ALL)
		return unplug_all(dev);
	if (req->type != VMEM_REQ_PLUG && req->type != VMEM_REQ_UNPLUG &&
	    req->type != VMEM_REQ_STATE)
		return refuse(dev, VMEM_GUEST_BAD_TYPE, req);
	error = check_range(dev, req, &range);
	if (error != VMEM_NR_GUEST_ERRORS)
		return refuse(dev, error, req);
	if (req->type == VMEM_REQ_PLUG)
		return plug(dev, req, range);
	if (req->type == VMEM_REQ_UNPLUG)
		return unplug(dev, req, range);
	*state = state_of(dev, range);
	return VMEM_RESP_ACK;
}

int vmem_device_handle_request(struct vmem_device *dev, const void *req,
			       size_t req_len, void *resp, size_t resp_len)
{
	enum vmem_range_state state = VMEM_STATE_PLUGGED;
	enum vmem_response_type type;
	struct vmem_request copy;

	if (req_len < REQUEST_SIZE) {
		refuse(dev, VMEM_GUEST_SHORT_REQUEST, NULL);
		return -VMEM_EINVAL;
	}
	decode_request(&copy, req);
	if (resp_len < RESPONSE_SIZE) {
		refuse(dev, VMEM_GUEST_SHORT_RESPONSE, &copy);
		return -VMEM_EINVAL;
	}
	type = serve(dev, &copy, &state);
	encode_response(resp, type, state);
	return RESPONSE_SIZE;
}

/* ---- What is plugged --------------------------------------------------- */

bool vmem_device_is_plugged(const struct vmem_device *dev, uint64_t addr)
{
	const struct vmem_device_config *c = &dev->config;
	struct block_run block = {.nr = 1};

	if (addr < c->addr || addr - c->addr >= c->region_size)
		return false;
	block.first = (addr - c->addr) / c->block_size;
	return block_set_has_all(&dev->plugged, block);
}

bool vmem_device_next_plugged(const struct vmem_device *dev, uint64_t *addr,
			      uint64_t *size)
{
	const struct vmem_device_config *c = &dev->config;
	uint64_t from = *addr > c->addr ? *addr - c->addr : 0;
	uint64_t start, end;
	struct block_run run;

	if (!block_set_next_run(&dev->plugged, from / c->block_size, &run))
		return false;
	start = run.first * c->block_size;
	end = start + run.nr * c->block_size;
	/* addr may lie inside a block. */
	if (start < from)
		start = from;
	*addr = c->addr + start;
	*size = end - start;
	return true;
}
