// SPDX-License-Identifier: BSD-3-Clause
/*
 * Translation of guest-physical addresses. A list of a few regions in
 * ascending order, searched by halving; it does not change while the VM runs,
 * so there is no lock.
 */
#include <errno.h>
#include <stddef.h>

#include "vmm/guest_memory.h"

int guest_memory_add(struct guest_memory *gm, const struct guest_region *r)
{
	const struct guest_region *last;

	if (gm->nr_regions == GUEST_MEMORY_MAX_REGIONS)
		return -ENOSPC;
	if (r->size == 0 || r->gpa > UINT64_MAX - r->size)
		return -EINVAL;
	if (!r->mem || r->offset > r->mem->size ||
	    r->size > r->mem->size - r->offset)
		return -EINVAL;
	if (gm->nr_regions) {
		last = &gm->regions[gm->nr_regions - 1];
		if (r->gpa < last->gpa + last->size)
			return -EINVAL;
	}
	gm->regions[gm->nr_regions++] = *r;
	return 0;
}

const struct guest_region *guest_memory_find(const struct guest_memory *gm,
					     uint64_t gpa)
{
	unsigned int low = 0, high = gm->nr_regions;

	/* Regions before low end at or before gpa, those from high on start
	 * after it. */
	while (low < high) {
		unsigned int middle = (low + high) / 2;
		const struct guest_region *r = &gm->regions[middle];

		if (gpa < r->gpa)
			high = middle;
		else if (gpa - r->gpa < r->size)
			return r;
		else
			low = middle + 1;
	}
	return NULL;
}

void *guest_memory_map(const struct guest_memory *gm, uint64_t gpa,
		       uint64_t len)
{
	const struct guest_region *r = guest_memory_find(gm, gpa);

	if (!r || len == 0 || len > r->size - (gpa - r->gpa))
		return NULL;
	return r->mem->base + r->offset + (gpa - r->gpa);
}
