// SPDX-License-Identifier: BSD-3-Clause
/*
 * A fuzz target without a fuzzer, of any compiler:
 *
 *     TARGET FILE...          try these inputs
 *     TARGET --seeds FOLDER   write the seeds there
 *     TARGET --smoke NR       try all seeds, and NR mutations of them that are
 *                             the same in every run
 *
 * Exit status 0 if all went well; what is wrong aborts.
 */
#include "fuzz.h"

static uint8_t input[FUZZ_MAX_SIZE];

static int try_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t len;

	if (!file) {
		perror(path);
		return 1;
	}
	len = fread(input, 1, sizeof(input), file);
	fclose(file);
	LLVMFuzzerTestOneInput(input, len);
	return 0;
}

static int write_seeds(const char *folder)
{
	size_t len;

	for (unsigned int nr = 0; (len = fuzz_seed(nr, input)) > 0; nr++) {
		char path[4096];
		FILE *file;

		snprintf(path, sizeof(path), "%s/seed-%02u", folder, nr);
		file = fopen(path, "wb");
		if (!file || fwrite(input, 1, len, file) != len ||
		    fclose(file)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

static uint64_t draw(uint64_t *random, uint64_t bound)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % bound;
}

/* Bytes replaced, bits flipped, a part moved, the end cut or made up. */
static size_t mutate(uint8_t *data, size_t len, uint64_t *random)
{
	for (uint64_t n = 1 + draw(random, 8); n > 0 && len; n--) {
		size_t at = draw(random, len), from = draw(random, len);
		size_t part = 1 + draw(random, 16);

		switch (draw(random, 5)) {
		case 0:
			data[at] = (uint8_t)draw(random, 256);
			break;
		case 1:
			data[at] ^= (uint8_t)(1U << draw(random, 8));
			break;
		case 2:
			data[at] = draw(random, 2) ? 0 : 0xff;
			break;
		case 3:
			if (at + part <= len && from + part <= len)
				memmove(data + at, data + from, part);
			break;
		default:
			if (draw(random, 2)) {
				len = at;
				break;
			}
			for (; part && len < FUZZ_MAX_SIZE; part--)
				data[len++] = (uint8_t)draw(random, 256);
			break;
		}
	}
	return len;
}

static int smoke(unsigned long tries)
{
	unsigned int nr_seeds = 0;
	uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
	size_t len;

	while ((len = fuzz_seed(nr_seeds, input)) > 0) {
		LLVMFuzzerTestOneInput(input, len);
		nr_seeds++;
	}
	FUZZ_CHECK(nr_seeds > 0);
	for (unsigned long i = 0; i < tries; i++) {
		len = fuzz_seed(i % nr_seeds, input);
		len = mutate(input, len, &random);
		LLVMFuzzerTestOneInput(input, len);
	}
	printf("%u seeds, %lu mutations\n", nr_seeds, tries);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--seeds"))
		return write_seeds(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--smoke"))
		return smoke(strtoul(argv[2], NULL, 10));
	for (int i = 1; i < argc; i++) {
		if (try_file(argv[i]))
			return 1;
	}
	return 0;
}
