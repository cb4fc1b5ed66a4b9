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

static int check_machine(const struct vm_config *config, struct error *err)
{
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
	if (config->memory_bytes % BOOT_GRANULE)
		return error_set(err, -EINVAL,
				 "memory of %s: it must be a multiple of %s",
				 size_format(config->memory_bytes).text,
				 size_format(BOOT_GRANULE).text);
	if (config->console == VM_CONSOLE_FILE && !config->console_path)
		return error_set(err, -EINVAL, "no file for the console");
	if (config->nr_elastic > VM_MAX_ELASTIC)
		return error_set(err, -EINVAL,
				 "%u elastic devices: %d are possible",
				 config->nr_elastic, VM_MAX_ELASTIC);
	return 0;
}

static int check_sizes(const struct vm_elastic_config *device, const char *id,
		       struct error *err)
{
	uint64_t block =
		device->block_bytes ? device->block_bytes : DEFAULT_BLOCK;

	if (block < MIN_BLOCK || block > MAX_BLOCK || (block & (block - 1)))
		return error_set(err, -EINVAL,
				 "elastic device '%s': block=%s must be a "
				 "power of two from %s to %s",
				 id, size_format(block).text,
				 size_format(MIN_BLOCK).text,
				 size_format(MAX_BLOCK).text);
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
	if (device->node > UINT16_MAX)
		return error_set(err, -EINVAL,
				 "elastic device '%s': there is no node %d", id,
				 device->node);
	return check_sizes(device, id, err);
}

int vm_config_check(const struct vm_config *config, struct error *err)
{
	int ret = check_machine(config, err);

	for (unsigned int i = 0; i < config->nr_elastic && !ret; i++)
		ret = check_elastic(config, i, err);
	return ret;
}
