// SPDX-License-Identifier: BSD-3-Clause
/* How many requests libvirtio-mem serves: one row a kind, no VM involved. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <vmem/device.h>

#define TIB	    (1ULL << 40)
#define MIN_SECONDS 0.2

static int nothing(void *opaque, uint64_t addr, uint64_t size)
{
	return 0;
}

static const struct vmem_device_ops ops = {.plug = nothing, .unplug = nothing};

static double seconds(void)
{
	struct timespec ts;

	timespec_get(&ts, TIME_UTC);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void ask(struct vmem_device *dev, unsigned int type, uint64_t addr,
		unsigned int nr)
{
	uint8_t req[24] = {(uint8_t)type}, resp[10];

	for (unsigned int i = 0; i < 8; i++)
		req[8 + i] = (uint8_t)(addr >> (8 * i));
	req[16] = (uint8_t)nr;
	req[17] = (uint8_t)(nr >> 8);
	vmem_device_handle_request(dev, req, sizeof(req), resp, sizeof(resp));
	if (resp[0] != VMEM_RESP_ACK)
		abort();
}

/* Rounds of `type` then `undo` on nr blocks, somewhere else each time. */
static void bench_requests(struct vmem_device *dev, const char *name,
			   unsigned int nr, uint64_t region)
{
	const uint64_t span = (uint64_t)nr << 21;
	double began = seconds(), took;
	uint64_t addr = 0, rounds = 0;

	do {
		for (unsigned int i = 0; i < 100; i++) {
			ask(dev, VMEM_REQ_PLUG, addr, nr);
			ask(dev, VMEM_REQ_STATE, addr, nr);
			ask(dev, VMEM_REQ_UNPLUG, addr, nr);
			addr += span + (1ULL << 21);
			if (addr > region - span)
				addr = 0;
		}
		rounds += 100;
		took = seconds() - began;
	} while (took < MIN_SECONDS);
	printf("  %-32s %12.2f million requests/s\n", name,
	       3 * (double)rounds / took / 1e6);
}

static void bench_walk(const struct vmem_device *dev, const char *name)
{
	double began = seconds(), took;
	uint64_t walks = 0, runs = 0;

	do {
		uint64_t addr = 0, size;

		while (vmem_device_next_plugged(dev, &addr, &size)) {
			addr += size;
			runs++;
		}
		walks++;
		took = seconds() - began;
	} while (took < MIN_SECONDS);
	printf("  %-32s %12.2f ms, %llu runs\n", name,
	       took * 1e3 / (double)walks, (unsigned long long)(runs / walks));
}

static void bench_size(uint64_t region)
{
	const struct vmem_device_config config = {.region_size = region,
						  .requested_size = region};
	size_t size = vmem_device_storage_size(&config);
	void *storage = malloc(size);
	struct vmem_device *dev =
		vmem_device_init(storage, size, &config, &ops, NULL);

	printf("%llu TiB in blocks of 2 MiB: %zu KiB of storage\n",
	       (unsigned long long)(region / TIB), size / 1024);
	bench_requests(dev, "plug, state, unplug: 1 block", 1, region);
	bench_requests(dev, "                    64 blocks", 64, region);
	bench_requests(dev, "                 65535 blocks", 65535, region);
	for (uint64_t addr = 0; addr < region; addr += 1ULL << 30)
		ask(dev, VMEM_REQ_PLUG, addr, 1);
	bench_walk(dev, "walk: a block in each GiB");
	ask(dev, VMEM_REQ_UNPLUG_ALL, 0, 0);
	for (uint64_t addr = 0; addr < region; addr += 1ULL << 22)
		ask(dev, VMEM_REQ_PLUG, addr, 1);
	bench_walk(dev, "walk: every other block");
	free(storage);
}

int main(void)
{
	bench_size(TIB);
	bench_size(16 * TIB);
	return 0;
}
