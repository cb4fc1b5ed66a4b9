// SPDX-License-Identifier: BSD-3-Clause
/* Making boot memory, and laying it over the guest's addresses. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host/size.h"
#include "vmm/boot_memory.h"

/* How far the plan's ranges are used. */
struct cursor {
	const struct boot_memory_place *place;
	unsigned int range;
	uint64_t used;
};

static int add_region(const struct boot_memory_place *place,
		      const struct guest_region *region, struct error *err)
{
	int ret = guest_memory_add(place->memory, region);

	if (ret)
		return error_set(err, ret, "no place for boot memory at %#llx",
				 (unsigned long long)region->gpa);
	return kvm_add_memory(place->kvm, region->gpa, region->size,
			      region->mem->base + region->offset, err);
}

/* Give a backend the next addresses of the plan. */
static int map(struct cursor *c, struct hostmem *mem, int node,
	       struct error *err)
{
	uint64_t offset = 0;
	int ret = 0;

	while (offset < mem->size && !ret) {
		const struct machine_range *r = &c->place->plan->boot[c->range];
		struct guest_region region = {
			.gpa = r->start + c->used,
			.size = r->size - c->used,
			.mem = mem,
			.offset = offset,
			.boot = true,
			.node = (unsigned int)(node < 0 ? 0 : node),
		};

		if (region.size > mem->size - offset)
			region.size = mem->size - offset;
		ret = add_region(c->place, &region, err);
		offset += region.size;
		c->used += region.size;
		if (c->used == r->size) {
			c->range++;
			c->used = 0;
		}
	}
	return ret;
}

/* What one backend is to be. */
struct part {
	int node;
	uint64_t size;
	const struct hostmem_placement *placement;
};

static void part_name(int node, char *name, size_t size)
{
	if (node < 0)
		snprintf(name, size, "boot");
	else
		snprintf(name, size, "node%d", node);
}

static int make(struct boot_memory *boot, struct cursor *c,
		const struct part *part, struct error *err)
{
	struct hostmem *mem = &boot->mem[boot->nr];
	char name[16];
	int ret;

	part_name(part->node, name, sizeof(name));
	ret = hostmem_create(mem, name, part->size, part->placement, err);
	if (ret)
		return ret;
	boot->node[boot->nr++] = part->node;
	if (hostmem_must_populate(part->placement) &&
	    hostmem_populate(mem, 0, mem->size))
		return error_set(err, -EINVAL,
				 "the host's pool of huge pages has not enough "
				 "for %s of boot memory ('%s'); free or add "
				 "some, or ask for other pages",
				 size_format(part->size).text, name);
	return map(c, mem, part->node, err);
}

int boot_memory_create(struct boot_memory *boot, const struct vm_config *config,
		       const struct boot_memory_place *place, struct error *err)
{
	struct cursor c = {.place = place};
	struct part part = {
		.node = -1,
		.size = config->memory_bytes,
		.placement = &config->placement,
	};
	int ret = 0;

	if (!config->nr_nodes)
		return make(boot, &c, &part, err);
	for (unsigned int i = 0; i < config->nr_nodes && !ret; i++) {
		part.node = (int)i;
		part.size = config->nodes[i].memory_bytes;
		part.placement = &config->nodes[i].placement;
		if (part.size)
			ret = make(boot, &c, &part, err);
	}
	return ret;
}

void boot_memory_destroy(struct boot_memory *boot)
{
	for (unsigned int i = 0; i < boot->nr; i++)
		hostmem_destroy(&boot->mem[i]);
	boot->nr = 0;
}

int boot_memory_clear(struct boot_memory *boot)
{
	int ret = 0;

	for (unsigned int i = 0; i < boot->nr && !ret; i++) {
		struct hostmem *mem = &boot->mem[i];

		/* Pages of a pool are kept: another process might take them
		 * before we have them back. */
		if (hostmem_must_populate(&mem->placement))
			memset(mem->base, 0, mem->size);
		else
			ret = hostmem_discard(mem, 0, mem->size);
	}
	return ret;
}

void boot_memory_get_status(const struct boot_memory *boot,
			    struct vm_status *status)
{
	for (unsigned int i = 0; i < boot->nr; i++) {
		int64_t resident = hostmem_resident(&boot->mem[i]);
		int node = boot->node[i];

		if (resident < 0)
			resident = 0;
		status->boot_resident_bytes += (uint64_t)resident;
		if (node < 0)
			continue;
		status->nodes[node].boot_bytes = boot->mem[i].size;
		status->nodes[node].boot_resident_bytes = (uint64_t)resident;
	}
}

unsigned int boot_memory_get_residence(const struct boot_memory *boot,
				       struct vm_residence *residence)
{
	for (unsigned int i = 0; i < boot->nr; i++) {
		struct vm_residence *r = &residence[i];

		*r = (struct vm_residence){.boot = true, .node = boot->node[i]};
		part_name(r->node, r->id, sizeof(r->id));
		hostmem_residence(&boot->mem[i], r->bytes);
	}
	return boot->nr;
}
