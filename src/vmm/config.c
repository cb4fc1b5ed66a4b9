// SPDX-License-Identifier: BSD-3-Clause
/* What a config may say; every refusal names the value and what would do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <vmem/device.h>

#include "host/size.h"
#include "vmm/vmm.h"

#define BOOT_GRANULE  (2ULL << 20)
#define MIN_BLOCK     (2ULL << 20)
#define MAX_BLOCK     (1ULL << 40)
#define DEFAULT_BLOCK (2ULL << 20)

static bool is_word(const char *text)
{
	if (!text[0] || text[0] == '.' || text[0] == '-')
		return false;
	for (; *text; text++) {
		if (!((*text >= 'a' && *text <= 'z') ||
		      (*text >= 'A' && *text <= 'Z') ||
		      (*text >= '0' && *text <= '9') || *text == '.' ||
		      *text == '_' || *text == '-'))
			return false;
	}
	return true;
}

int vm_name_check(const char *name, struct error *err)
{
	if (!name[0])
		return error_set(err, -EINVAL, "the name is empty; give one");
	if (strlen(name) >= VM_NAME_MAX)
		return error_set(err, -EINVAL,
				 "the name '%s' is longer than %d characters",
				 name, VM_NAME_MAX - 1);
	if (!is_word(name))
		return error_set(err, -EINVAL,
				 "the name '%s' may have letters, digits, '.', "
				 "'_' and '-' only, and not start with '.' or "
				 "'-'",
				 name);
	return 0;
}

static uint64_t boot_granule(const struct hostmem_placement *placement)
{
	uint64_t page = hostmem_page_bytes(placement);

	return page > BOOT_GRANULE ? page : BOOT_GRANULE;
}

static int check_machine(const struct vm_config *config, struct error *err)
{
	uint64_t granule = boot_granule(&config->placement);
	int ret = vm_name_check(config->name, err);

	if (ret)
		return ret;
	if (!config->kernel_path)
		return error_set(err, -EINVAL, "no kernel given");
	if (config->nr_cpus < 1 || config->nr_cpus > VM_MAX_CPUS)
		return error_set(err, -EINVAL, "%u CPUs: 1 to %d are possible",
				 config->nr_cpus, VM_MAX_CPUS);
	if (config->memory_bytes < VM_MIN_MEMORY)
		return error_set(err, -EINVAL,
				 "memory of %s: it must be %s at least",
				 size_format(config->memory_bytes).text,
				 size_format(VM_MIN_MEMORY).text);
	if (config->memory_bytes % granule)
		return error_set(err, -EINVAL,
				 "memory of %s: it must be a multiple of %s",
				 size_format(config->memory_bytes).text,
				 size_format(granule).text);
	if (config->console == VM_CONSOLE_FILE && !config->console_path)
		return error_set(err, -EINVAL, "no file for the console");
	if (config->nr_elastic > VM_MAX_ELASTIC)
		return error_set(err, -EINVAL,
				 "%u elastic devices: %d are possible",
				 config->nr_elastic, VM_MAX_ELASTIC);
	return 0;
}

uint64_t vm_elastic_block(const struct vm_elastic_config *device)
{
	uint64_t page = hostmem_page_bytes(&device->placement);

	if (device->block_bytes)
		return device->block_bytes;
	return page > DEFAULT_BLOCK ? page : DEFAULT_BLOCK;
}

static int check_sizes(const struct vm_elastic_config *device, const char *id,
		       struct error *err)
{
	uint64_t page = hostmem_page_bytes(&device->placement);
	uint64_t block = vm_elastic_block(device);

	if (block < MIN_BLOCK || block > MAX_BLOCK || (block & (block - 1)))
		return error_set(err, -EINVAL,
				 "elastic device '%s': block=%s must be a "
				 "power of two from %s to %s",
				 id, size_format(block).text,
				 size_format(MIN_BLOCK).text,
				 size_format(MAX_BLOCK).text);
	if (block < page)
		return error_set(err, -EINVAL,
				 "elastic device '%s': block=%s is smaller "
				 "than its pages, %s",
				 id, size_format(block).text,
				 size_format(page).text);
	if (!device->max_bytes)
		return error_set(err, -EINVAL,
				 "elastic device '%s' needs max=SIZE, the most "
				 "that it can ever have",
				 id);
	if (device->max_bytes % block)
		return error_set(err, -EINVAL,
				 "elastic device '%s': max=%s must be a "
				 "multiple of the block size, %s",
				 id, size_format(device->max_bytes).text,
				 size_format(block).text);
	if (device->requested_bytes > device->max_bytes)
		return error_set(err, -ERANGE,
				 "elastic device '%s': size=%s is more than "
				 "max=%s",
				 id, size_format(device->requested_bytes).text,
				 size_format(device->max_bytes).text);
	if (device->requested_bytes % block)
		return error_set(err, -EINVAL,
				 "elastic device '%s': size=%s must be a "
				 "multiple of the block size, %s",
				 id, size_format(device->requested_bytes).text,
				 size_format(block).text);
	return 0;
}

void vm_elastic_id(const struct vm_config *config, unsigned int index,
		   char id[VM_ID_MAX])
{
	if (config->elastic[index].id[0])
		memcpy(id, config->elastic[index].id, VM_ID_MAX);
	else
		snprintf(id, VM_ID_MAX, "em%u", index);
}

static int check_elastic(const struct vm_config *config, unsigned int index,
			 struct error *err)
{
	const struct vm_elastic_config *device = &config->elastic[index];
	char id[VM_ID_MAX], other[VM_ID_MAX];
	int ret;

	vm_elastic_id(config, index, id);
	if (!is_word(id))
		return error_set(err, -EINVAL,
				 "the id '%s' may have letters, digits, '.', "
				 "'_' and '-' only, and not start with '.' or "
				 "'-'",
				 id);
	for (unsigned int i = 0; i < index; i++) {
		vm_elastic_id(config, i, other);
		if (!strcmp(id, other))
			return error_set(err, -EINVAL,
					 "two elastic devices have the id "
					 "'%s'; give each its own",
					 id);
	}
	if (device->node > 0 && (unsigned int)device->node >= config->nr_nodes)
		return error_set(err, -EINVAL,
				 "elastic device '%s': there is no node %d; "
				 "the VM has %u (--node makes one)",
				 id, device->node, config->nr_nodes);
	ret = check_sizes(device, id, err);
	return ret ? ret : hostmem_placement_check(&device->placement, err);
}

static int check_node(const struct vm_config *config, unsigned int index,
		      struct error *err)
{
	const struct vm_node_config *node = &config->nodes[index];
	uint64_t granule = boot_granule(&node->placement);

	if (node->memory_bytes % granule)
		return error_set(err, -EINVAL,
				 "node %u: memory of %s must be a multiple of "
				 "%s",
				 index, size_format(node->memory_bytes).text,
				 size_format(granule).text);
	if (node->distance[index] && node->distance[index] != 10)
		return error_set(err, -EINVAL,
				 "node %u: its distance to itself is 10, not "
				 "%u",
				 index, node->distance[index]);
	for (unsigned int i = 0; i < VM_MAX_NODES; i++) {
		uint8_t distance = node->distance[i];

		if (distance && i >= config->nr_nodes)
			return error_set(
				err, -EINVAL,
				"node %u: a distance to node %u, which "
				"is not there",
				index, i);
		if (distance && i != index && distance <= 10)
			return error_set(err, -EINVAL,
					 "node %u: the distance %u to node %u "
					 "must be from 11 to 255",
					 index, distance, i);
	}
	return hostmem_placement_check(&node->placement, err);
}

/* Every processor on one node, and all of the boot memory. */
static int check_nodes(const struct vm_config *config, struct error *err)
{
	uint64_t memory = 0;
	uint32_t placed = 0;

	if (config->nr_nodes > VM_MAX_NODES)
		return error_set(err, -EINVAL, "%u nodes: %d are possible",
				 config->nr_nodes, VM_MAX_NODES);
	for (unsigned int i = 0; i < config->nr_nodes; i++) {
		const struct vm_node_config *node = &config->nodes[i];
		int ret = check_node(config, i, err);

		if (ret)
			return ret;
		if (node->cpus & placed)
			return error_set(err, -EINVAL,
					 "node %u: processor %d is on another "
					 "node already",
					 i, __builtin_ctz(node->cpus & placed));
		placed |= node->cpus;
		memory += node->memory_bytes;
	}
	if (placed >> config->nr_cpus)
		return error_set(err, -EINVAL,
				 "there is no processor %d: the VM has %u "
				 "(--cpus)",
				 31 - __builtin_clz(placed), config->nr_cpus);
	if (config->nr_nodes && placed != (1U << config->nr_cpus) - 1)
		return error_set(err, -EINVAL,
				 "processor %d is on no node; add it to the "
				 "cpus= of a --node",
				 __builtin_ctz(~placed));
	if (config->nr_nodes && memory != config->memory_bytes)
		return error_set(err, -EINVAL,
				 "the nodes have %s of boot memory together, "
				 "not %s; leave --memory out",
				 size_format(memory).text,
				 size_format(config->memory_bytes).text);
	return hostmem_placement_check(&config->placement, err);
}

int vm_config_check(const struct vm_config *config, struct error *err)
{
	int ret = check_machine(config, err);

	if (!ret)
		ret = check_nodes(config, err);

	for (unsigned int i = 0; i < config->nr_elastic && !ret; i++)
		ret = check_elastic(config, i, err);
	return ret;
}
