// SPDX-License-Identifier: BSD-3-Clause
/*
 * What libvirtio-mem costs by itself: requests a second, walks over what is
 * plugged, and storage, for two sizes of device. No VM, no VMM: the ops do
 * nothing. Each figure is the best of a few short slices.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <vmem/device.h>

#define TIB	      (1ULL << 40)
#define BLOCK	      (1ULL << 21)
#define SLICES	      5 /* the best counts: others only disturb */
#define SLICE_SECONDS 0.03
#define BATCH	      64 /* requests between looks at the clock */

static const unsigned int tebibytes[] = {1, 16};
#define NR_SIZES (sizeof(tebibytes) / sizeof(tebibytes[0]))

struct bench {
	struct vmem_device *dev;
	void *storage;
	size_t storage_size;
	uint64_t region_size;
};

static int nothing(void *opaque, uint64_t addr, uint64_t size)
{
	return 0;
}

static const struct vmem_device_ops ops = {.plug = nothing, .unplug = nothing};

static void create(struct bench *bench, uint64_t region_size)
{
	const struct vmem_device_config config = {
		.region_size = region_size,
		.block_size = BLOCK,
		.requested_size = region_size,
	};

	bench->region_size = region_size;
	bench->storage_size = vmem_device_storage_size(&config);
	bench->storage = malloc(bench->storage_size);
	bench->dev = vmem_device_init(bench->storage, bench->storage_size,
				      &config, &ops, NULL);
	if (!bench->dev) {
		fprintf(stderr, "device-bench: no memory for a device\n");
		exit(EXIT_FAILURE);
	}
}

static double seconds(void)
{
	struct timespec ts;

	timespec_get(&ts, TIME_UTC);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What is not granted would be measured as if it were: give up. */
static void ask(const struct bench *bench, unsigned int type, uint64_t addr,
		unsigned int nr)
{
	uint8_t req[24] = {(uint8_t)type}, resp[10];

	for (unsigned int i = 0; i < 8; i++)
		req[8 + i] = (uint8_t)(addr >> (8 * i));
	req[16] = (uint8_t)nr;
	req[17] = (uint8_t)(nr >> 8);
	vmem_device_handle_request(bench->dev, req, sizeof(req), resp,
				   sizeof(resp));
	if (resp[0] != VMEM_RESP_ACK) {
		fprintf(stderr, "device-bench: request %u refused: %u\n", type,
			resp[0]);
		exit(EXIT_FAILURE);
	}
}

/* One batch: nr blocks here, nr blocks there, as far as the region goes. */
static void batch(const struct bench *bench, unsigned int type, unsigned int nr,
		  unsigned int nr_requests)
{
	for (unsigned int i = 0; i < nr_requests; i++)
		ask(bench, type, i * (nr * BLOCK), nr);
}

/*
 * Requests a second of one type, for one slice. A batch of PLUG needs its
 * blocks unplugged and one of UNPLUG needs them plugged: the two alternate, and
 * the clock runs for the one that is asked for. STATE sees plugged blocks, and
 * so all of them.
 */
static double slice(const struct bench *bench, unsigned int type,
		    unsigned int nr)
{
	unsigned int room = (unsigned int)(bench->region_size / (nr * BLOCK));
	unsigned int in_batch = room < BATCH ? room : BATCH;
	double end = seconds() + SLICE_SECONDS, took = 0, began;
	uint64_t done = 0;

	do {
		if (type != VMEM_REQ_PLUG)
			batch(bench, VMEM_REQ_PLUG, nr, in_batch);
		began = seconds();
		batch(bench, type, nr, in_batch);
		took += seconds() - began;
		done += in_batch;
		if (type != VMEM_REQ_UNPLUG)
			batch(bench, VMEM_REQ_UNPLUG, nr, in_batch);
	} while (seconds() < end);
	return (double)done / took;
}

static double requests(const struct bench *bench, unsigned int type,
		       unsigned int nr)
{
	double best = 0, rate;

	for (unsigned int i = 0; i < SLICES; i++) {
		rate = slice(bench, type, nr);
		if (rate > best)
			best = rate;
	}
	return best;
}

/* Seconds of one walk over every run, of which there must be nr_runs. */
static double walk(const struct bench *bench, uint64_t nr_runs)
{
	double began = seconds();
	uint64_t addr = 0, size, runs = 0;

	while (vmem_device_next_plugged(bench->dev, &addr, &size)) {
		addr += size;
		runs++;
	}
	if (runs != nr_runs) {
		fprintf(stderr, "device-bench: a walk missed a run\n");
		exit(EXIT_FAILURE);
	}
	return seconds() - began;
}

/* The same over one block of every stride. */
static double walks(const struct bench *bench, uint64_t stride)
{
	uint64_t nr_runs = bench->region_size / (stride * BLOCK);
	double end, best, took;

	for (uint64_t i = 0; i < nr_runs; i++)
		ask(bench, VMEM_REQ_PLUG, i * stride * BLOCK, 1);
	end = seconds() + SLICES * SLICE_SECONDS;
	best = walk(bench, nr_runs);
	while (seconds() < end) {
		took = walk(bench, nr_runs);
		if (took < best)
			best = took;
	}
	ask(bench, VMEM_REQ_UNPLUG_ALL, 0, 0);
	return best;
}

static void print_requests(const struct bench *benches)
{
	static const char *const names[] = {"PLUG", "UNPLUG", NULL, "STATE"};
	static const unsigned int lengths[] = {1, 64, 65535};

	printf("million requests a second\n");
	for (unsigned int type = 0; type < 4; type++) {
		for (unsigned int i = 0; names[type] && i < 3; i++) {
			printf("  %-6s of %5u blocks      ", names[type],
			       lengths[i]);
			for (size_t s = 0; s < NR_SIZES; s++)
				printf(" %12.2f",
				       requests(&benches[s], type, lengths[i]) /
					       1e6);
			printf("\n");
		}
	}
}

static void print_walks(const struct bench *benches)
{
	static const unsigned int strides[] = {2, 512};

	printf("milliseconds for a walk over what is plugged\n");
	for (unsigned int i = 0; i < 2; i++) {
		printf("  one block of every %3u     ", strides[i]);
		for (size_t s = 0; s < NR_SIZES; s++)
			printf(" %12.3f", walks(&benches[s], strides[i]) * 1e3);
		printf("\n");
	}
}

int main(void)
{
	struct bench benches[NR_SIZES];

	printf("%-28s", "device, in blocks of 2 MiB");
	for (size_t s = 0; s < NR_SIZES; s++) {
		create(&benches[s], tebibytes[s] * TIB);
		printf(" %8u TiB", tebibytes[s]);
	}
	printf("\n%-28s", "bytes of storage");
	for (size_t s = 0; s < NR_SIZES; s++)
		printf(" %12zu", benches[s].storage_size);
	printf("\n");
	print_requests(benches);
	print_walks(benches);
	for (size_t s = 0; s < NR_SIZES; s++)
		free(benches[s].storage);
	return EXIT_SUCCESS;
}
