// SPDX-License-Identifier: BSD-3-Clause
/*
 * The audit of an elastic device: what its file holds against what is plugged.
 *
 * The guest goes on meanwhile. A block is plugged in the books before the guest
 * hears of it, and its pages are gone before the worker takes the next request;
 * only with a request in flight can the two differ, or while a reset's memory
 * is given back. So what looks wrong at first is looked at again when neither
 * is so.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "vmm/elastic_internal.h"

/* So long may a request in flight keep an audit waiting. */
#define PATIENCE_SECONDS 10

/* A run of bytes that the file holds. */
struct held {
	uint64_t offset, size;
};

/* The part of it in the block that it begins in. */
static struct held first_block(const struct elastic *e, struct held held)
{
	uint64_t left = e->block_bytes - held.offset % e->block_bytes;

	if (held.size > left)
		held.size = left;
	return held;
}

static void add_excess(const struct elastic *e, struct vm_audit *audit,
		       struct held part)
{
	uint64_t addr = e->addr + part.offset - part.offset % e->block_bytes;
	uint64_t last = audit->nr_excess - 1;

	audit->excess_bytes += part.size;
	/* A block may hold several runs. */
	if (audit->nr_excess && audit->nr_excess <= VM_MAX_EXCESS &&
	    audit->excess[last].addr == addr) {
		audit->excess[last].bytes += part.size;
		return;
	}
	if (audit->nr_excess < VM_MAX_EXCESS) {
		audit->excess[audit->nr_excess].addr = addr;
		audit->excess[audit->nr_excess].bytes = part.size;
	}
	audit->nr_excess++;
}

/* Go through all that the file holds. The lock is held. */
static int compare(struct elastic *e, struct vm_audit *audit)
{
	struct held held = {0};
	struct vmem_config config;
	int64_t resident;
	int ret;

	vmem_device_get_config(e->dev, &config);
	*audit = (struct vm_audit){
		.block_bytes = e->block_bytes,
		.plugged_bytes = config.plugged_size,
	};
	memcpy(audit->id, e->id, sizeof(audit->id));
	while ((ret = hostmem_next_held(&e->mem, &held.offset, &held.size)) ==
	       1) {
		while (held.size) {
			struct held part = first_block(e, held);

			if (!vmem_device_is_plugged(e->dev,
						    e->addr + held.offset))
				add_excess(e, audit, part);
			held.offset += part.size;
			held.size -= part.size;
		}
	}
	resident = hostmem_resident(&e->mem);
	if (ret < 0 || resident < 0)
		return ret < 0 ? ret : (int)resident;
	audit->resident_bytes = (uint64_t)resident;
	if (audit->resident_bytes > audit->plugged_bytes + audit->excess_bytes)
		audit->unplaced_bytes = audit->resident_bytes -
					audit->plugged_bytes -
					audit->excess_bytes;
	return 0;
}

int elastic_audit(struct elastic *e, struct vm_audit *audit, struct error *err)
{
	struct timespec until;
	int ret;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_SECONDS;
	pthread_mutex_lock(&e->lock);
	ret = compare(e, audit);
	while (!ret && (e->busy || e->giving_back) &&
	       (audit->nr_excess || audit->unplaced_bytes)) {
		ret = -pthread_cond_timedwait(&e->idle, &e->lock, &until);
		if (!ret)
			ret = compare(e, audit);
	}
	pthread_mutex_unlock(&e->lock);
	if (ret == -ETIMEDOUT)
		return error_set(err, -EBUSY,
				 "elastic device '%s' is in a long request; "
				 "try again",
				 e->id);
	return ret ? error_set_errno(err, ret,
				     "cannot read what elastic device '%s' "
				     "holds",
				     e->id)
		   : 0;
}
