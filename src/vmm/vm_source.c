// SPDX-License-Identifier: BSD-3-Clause
/* The files that a VM boots from, and the unpacked copy of its kernel. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/cache.h"
#include "host/worker.h"
#include "vm_internal.h"

static int open_file(const char *path, const char *what, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set(err, -errno,
				 "cannot open %s '%s' (%s); name a file that "
				 "this user may read",
				 what, path, strerror(errno));
	return fd;
}

struct unpack_job {
	const struct boot_source *source;
	int to;
};

static int unpack_confined(void *opaque)
{
	const struct unpack_job *job = opaque;

	return boot_unpack(job->source, job->to);
}

static int unpack(void *opaque, int to)
{
	struct unpack_job *job = opaque;

	job->to = to;
	return worker_run(unpack_confined, job, BOOT_UNPACKED_MAX);
}

/* What fails here the guest's own code does. */
static void open_unpacked(struct vm *vm, const struct vm_config *config)
{
	struct unpack_job job = {.source = &vm->source};
	int fd;

	if (config->no_cache || !boot_is_packed(&vm->source))
		return;
	fd = cache_open(config->cache_path, "kernel", vm->source.kernel_fd,
			unpack, &job, NULL);
	if (fd < 0)
		return;
	vm->source.unpacked = true;
	vm->source.unpacked_fd = fd;
}

int vm_open_source(struct vm *vm, const struct vm_config *config,
		   struct error *err)
{
	int ret;

	vm->kernel_path = strdup(config->kernel_path);
	vm->initrd_path =
		strdup(config->initrd_path ? config->initrd_path : "");
	vm->cmdline = strdup(config->cmdline ? config->cmdline : "");
	if (!vm->kernel_path || !vm->initrd_path || !vm->cmdline)
		return error_set(err, -ENOMEM, "no memory for the config");
	vm->source.kernel_path = vm->kernel_path;
	vm->source.initrd_path = vm->initrd_path;
	vm->source.cmdline = vm->cmdline;
	vm->source.kernel_fd = open_file(vm->kernel_path, "kernel", err);
	if (vm->source.kernel_fd < 0)
		return vm->source.kernel_fd;
	if (config->initrd_path) {
		vm->source.initrd_fd =
			open_file(vm->initrd_path, "initrd", err);
		if (vm->source.initrd_fd < 0)
			return vm->source.initrd_fd;
	}
	ret = boot_check(&vm->source, err);
	if (!ret)
		open_unpacked(vm, config);
	return ret;
}

void vm_close_source(struct vm *vm)
{
	if (vm->source.kernel_fd >= 0)
		close(vm->source.kernel_fd);
	if (vm->source.unpacked)
		close(vm->source.unpacked_fd);
	if (vm->source.initrd_fd >= 0)
		close(vm->source.initrd_fd);
	free(vm->kernel_path);
	free(vm->initrd_path);
	free(vm->cmdline);
}
