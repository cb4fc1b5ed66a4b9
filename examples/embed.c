// SPDX-License-Identifier: BSD-3-Clause
/* A VMM in miniature: libvirtio-mem, and a guest that asks it for memory. */
#include <stdio.h>
#include <stdlib.h>
#include <vmem/device.h>

#define GIB (1ULL << 30)
#define MIB (1ULL << 20)

/* Here a VMM maps memory into the guest, */
static int plug(void *opaque, uint64_t addr, uint64_t size)
{
	printf("  plug   %#llx + %llu MiB\n", (unsigned long long)addr,
	       (unsigned long long)(size / MIB));
	return 0;
}

/* and here it takes it away, and its content with it. */
static int unplug(void *opaque, uint64_t addr, uint64_t size)
{
	printf("  unplug %#llx + %llu MiB\n", (unsigned long long)addr,
	       (unsigned long long)(size / MIB));
	return 0;
}

static const struct vmem_device_ops ops = {.plug = plug, .unplug = unplug};

/* What the transport does with a buffer of the guest's request queue. */
static unsigned int ask(struct vmem_device *device, uint8_t type,
			uint16_t nr_blocks)
{
	static const char *const answers[] = {"ACK", "NACK", "BUSY", "ERROR"};
	uint8_t response[10] = {0};
	uint8_t request[24] = {[0] = type,
			       [12] = 1, /* address 4 GiB, little-endian */
			       [16] = (uint8_t)nr_blocks,
			       [17] = (uint8_t)(nr_blocks >> 8)};

	vmem_device_handle_request(device, request, sizeof(request), response,
				   sizeof(response));
	printf("request %u, %u blocks: %s\n", type, nr_blocks,
	       answers[response[0]]);
	return response[0];
}

int main(void)
{
	const struct vmem_device_config config = {.addr = 4 * GIB,
						  .region_size = 16 * GIB};
	size_t size = vmem_device_storage_size(&config);
	void *storage = malloc(size);
	struct vmem_device *device =
		vmem_device_init(storage, size, &config, &ops, NULL);
	unsigned int wrong;

	if (!device)
		return EXIT_FAILURE;
	printf("16 GiB in blocks of 2 MiB: %zu bytes of storage\n", size);
	vmem_device_set_requested_size(device, 1 * GIB);
	wrong = ask(device, VMEM_REQ_PLUG, 512) != VMEM_RESP_ACK;
	wrong += ask(device, VMEM_REQ_PLUG, 1) != VMEM_RESP_ERROR;
	wrong += ask(device, VMEM_REQ_STATE, 512) != VMEM_RESP_ACK;
	wrong += ask(device, VMEM_REQ_UNPLUG, 256) != VMEM_RESP_ACK;
	wrong += vmem_device_is_plugged(device, config.addr);
	free(storage);
	return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
