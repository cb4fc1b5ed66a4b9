/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio-mem device as VIRTIO 5.15 words it, as naive as can be: one bool a
 * block, each rule spelled out. Written from the specification, to hold the
 * real one against. A request is judged first and applied later, so that
 * something may happen between the two, as it may in the real one.
 */
#ifndef TESTS_DEVICE_MODEL_H
#define TESTS_DEVICE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <vmem/device.h>

struct model {
	struct vmem_device_config
		config; /* block_size is not left to default */
	bool *plugged;
	uint64_t nr_blocks, nr_plugged;
	uint64_t usable, requested;
	uint64_t accepted; /* features */
};

/* What becomes of a request. */
struct verdict {
	unsigned int type, state; /* the response */
	bool asks_vmm;		  /* for the blocks named, or for all */
	bool blames_guest;
};

static inline uint64_t model_usable_for(const struct model *m,
					uint64_t requested)
{
	uint64_t slack = m->config.usable_slack, block = m->config.block_size;
	uint64_t size;

	if (slack == 0)
		slack = 256ULL << 20;
	if (requested == 0)
		return 0;
	if (slack > m->config.region_size)
		slack = m->config.region_size; /* or the sum may wrap */
	size = (requested + slack + block - 1) / block * block;
	return size < m->config.region_size ? size : m->config.region_size;
}

static inline void model_init(struct model *m,
			      const struct vmem_device_config *config)
{
	memset(m, 0, sizeof(*m));
	m->config = *config;
	m->nr_blocks = config->region_size / config->block_size;
	m->plugged = calloc(m->nr_blocks, sizeof(*m->plugged));
	m->requested = config->requested_size;
	m->usable = model_usable_for(m, m->requested);
}

static inline void model_finish(struct model *m)
{
	free(m->plugged);
}

static inline uint64_t model_block_of(const struct model *m, uint64_t addr)
{
	return (addr - m->config.addr) / m->config.block_size;
}

static inline uint64_t model_count(const struct model *m, uint64_t addr,
				   uint64_t nr)
{
	const bool *block = m->plugged + model_block_of(m, addr);
	uint64_t found = 0;

	for (uint64_t i = 0; i < nr; i++)
		found += block[i];
	return found;
}

/* 5.15.6.2, .3 and .5: aligned, not empty, within the usable region. */
static inline bool model_range_valid(const struct model *m,
				     const struct vmem_request *req)
{
	uint64_t block = m->config.block_size;
	uint64_t offset = req->addr - m->config.addr;

	return req->nr_blocks != 0 && req->addr % block == 0 &&
	       req->addr >= m->config.addr && offset < m->usable &&
	       req->nr_blocks * block <= m->usable - offset;
}

static inline struct verdict model_judge_plug(const struct model *m,
					      const struct vmem_request *req,
					      int vmm_says)
{
	struct verdict v = {.type = VMEM_RESP_ACK};

	if (model_count(m, req->addr, req->nr_blocks) != 0) {
		v.type = VMEM_RESP_ERROR;
		v.blames_guest = true;
	} else if ((m->nr_plugged + req->nr_blocks) * m->config.block_size >
		   m->requested) {
		v.type = VMEM_RESP_NACK;
		v.blames_guest = true;
	} else {
		v.asks_vmm = true;
		if (vmm_says == -VMEM_EBUSY || vmm_says == -VMEM_EAGAIN)
			v.type = VMEM_RESP_BUSY;
		else if (vmm_says != 0)
			v.type = VMEM_RESP_NACK;
	}
	return v;
}

static inline struct verdict model_judge_state(const struct model *m,
					       const struct vmem_request *req)
{
	uint64_t found = model_count(m, req->addr, req->nr_blocks);
	struct verdict v = {.type = VMEM_RESP_ACK, .state = VMEM_STATE_MIXED};

	if (found == req->nr_blocks)
		v.state = VMEM_STATE_PLUGGED;
	else if (found == 0)
		v.state = VMEM_STATE_UNPLUGGED;
	return v;
}

/* 5.15.6; vmm_says is what plug or unplug will return, if they are asked. */
static inline struct verdict model_judge(const struct model *m,
					 const struct vmem_request *req,
					 int vmm_says)
{
	const struct verdict error = {.type = VMEM_RESP_ERROR,
				      .blames_guest = true};
	struct verdict v = {.type = vmm_says ? VMEM_RESP_BUSY : VMEM_RESP_ACK,
			    .asks_vmm = true};

	switch (req->type) {
	case VMEM_REQ_UNPLUG_ALL:
		if (m->nr_plugged == 0)
			return (struct verdict){.type = VMEM_RESP_ACK};
		return v;
	case VMEM_REQ_PLUG:
		if (!model_range_valid(m, req))
			return error;
		return model_judge_plug(m, req, vmm_says);
	case VMEM_REQ_UNPLUG:
		if (!model_range_valid(m, req) ||
		    model_count(m, req->addr, req->nr_blocks) != req->nr_blocks)
			return error;
		return v;
	case VMEM_REQ_STATE:
		if (!model_range_valid(m, req))
			return error;
		return model_judge_state(m, req);
	default:
		return error;
	}
}

static inline void model_set(struct model *m, const struct vmem_request *req,
			     bool plugged)
{
	memset(m->plugged + model_block_of(m, req->addr), plugged,
	       req->nr_blocks);
	if (plugged)
		m->nr_plugged += req->nr_blocks;
	else
		m->nr_plugged -= req->nr_blocks;
}

/* True if the usable region changed. */
static inline bool model_unplug_all(struct model *m)
{
	uint64_t before = m->usable;

	memset(m->plugged, 0, m->nr_blocks * sizeof(*m->plugged));
	m->nr_plugged = 0;
	m->usable = model_usable_for(m, m->requested);
	return m->usable != before;
}

static inline void model_apply(struct model *m, const struct vmem_request *req,
			       const struct verdict *v)
{
	if (v->type != VMEM_RESP_ACK)
		return;
	if (req->type == VMEM_REQ_UNPLUG_ALL)
		model_unplug_all(m);
	else if (req->type != VMEM_REQ_STATE)
		model_set(m, req, req->type == VMEM_REQ_PLUG);
}

/* As vmem_device_set_requested_size(). */
static inline int model_resize(struct model *m, uint64_t size)
{
	if (size % m->config.block_size != 0)
		return -VMEM_EINVAL;
	if (size > m->config.region_size)
		return -VMEM_ERANGE;
	m->requested = size;
	if (model_usable_for(m, size) > m->usable)
		m->usable = model_usable_for(m, size);
	return 0;
}

static inline uint64_t model_features(const struct model *m)
{
	return 1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE |
	       (m->config.has_node ? 1ULL << VMEM_F_ACPI_PXM : 0) |
	       (m->config.persistent_suspend ? 1ULL << VMEM_F_PERSISTENT_SUSPEND
					     : 0);
}

/* As vmem_device_accept_features(). */
static inline int model_accept(struct model *m, uint64_t features)
{
	if ((features & ~model_features(m)) != 0)
		return -VMEM_EINVAL;
	if (m->config.require_unplugged_inaccessible &&
	    (features & 1ULL << VMEM_F_UNPLUGGED_INACCESSIBLE) == 0)
		return -VMEM_EINVAL;
	m->accepted = features;
	return 0;
}

static inline void model_put(uint8_t *at, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

/* 5.15.4, byte for byte. */
static inline void model_config_space(const struct model *m, uint8_t bytes[56])
{
	memset(bytes, 0, 56);
	model_put(bytes, m->config.block_size, 8);
	model_put(bytes + 8, m->config.has_node ? m->config.node_id : 0, 2);
	model_put(bytes + 16, m->config.addr, 8);
	model_put(bytes + 24, m->config.region_size, 8);
	model_put(bytes + 32, m->usable, 8);
	model_put(bytes + 40, m->nr_plugged * m->config.block_size, 8);
	model_put(bytes + 48, m->requested, 8);
}

/* As vmem_device_next_plugged(). */
static inline bool model_next_plugged(const struct model *m, uint64_t *addr,
				      uint64_t *size)
{
	uint64_t block = m->config.block_size, from = 0, first, end;
	const bool *found;

	if (*addr > m->config.addr)
		from = *addr - m->config.addr;
	first = from / block;
	if (first >= m->nr_blocks)
		return false;
	found = memchr(m->plugged + first, true, m->nr_blocks - first);
	if (!found)
		return false;
	first = (uint64_t)(found - m->plugged);
	found = memchr(found, false, m->nr_blocks - first);
	end = (found ? (uint64_t)(found - m->plugged) : m->nr_blocks) * block;
	if (from < first * block)
		from = first * block;
	*addr = m->config.addr + from;
	*size = end - from;
	return true;
}

#endif
