// SPDX-License-Identifier: BSD-3-Clause
/* What a VM's config may say, sizes as people write them, and the sentences. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "host/size.h"
#include "vmm/vmm.h"

#define KIB 1024ULL
#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static void sizes_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},	 {"4096", 4096},
		{"1K", KIB},	 {"512M", 512 * MIB},
		{"2g", 2 * GIB}, {"16T", 16ULL << 40},
		{"0T", 0},	 {"8388607T", 8388607ULL << 40},
	};
	static const char *const bad[] = {
		"",
		"M",
		"-1",
		"-1G",
		"+1G",
		" 1G",
		"1 G",
		"1GB",
		"1.5G",
		"0x10",
		"lots",
		"1GG",
		"8388608T",
		"99999999999T",
		"18446744073709551616",
		"9223372036854775808",
	};
	struct error err;
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(size_parse("x", good[i].text, &bytes, &err),
				 0);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(size_parse("--what", bad[i], &bytes, &err) < 0);
		assert_non_null(strstr(err.text, bad[i]));
		assert_non_null(strstr(err.text, "--what"));
	}
}

static void sizes_written(void **state)
{
	assert_string_equal(size_format(0).text, "0");
	assert_string_equal(size_format(1023).text, "1023");
	assert_string_equal(size_format(1025 * KIB).text, "1025K");
	assert_string_equal(size_format(3 * MIB).text, "3M");
	assert_string_equal(size_format(16ULL << 40).text, "16T");
	assert_string_equal(size_format(1ULL << 50).text, "1024T");
}

static struct vm_config usual(void)
{
	struct vm_config config = {
		.name = "vm",
		.kernel_path = "kernel",
		.cmdline = "",
		.nr_cpus = 2,
		.memory_bytes = 512 * MIB,
		.nr_elastic = 2,
		.elastic = {{.max_bytes = GIB, .node = -1},
			    {.max_bytes = GIB,
			     .requested_bytes = 2 * MIB,
			     .node = -1}},
	};

	return config;
}

static void refused(const struct vm_config *config, const char *word)
{
	struct error err = {0};

	assert_true(vm_config_check(config, &err) < 0);
	if (!strstr(err.text, word))
		fail_msg("no '%s' in '%s'", word, err.text);
}

static void configs_taken(void **state)
{
	struct vm_config config = usual();
	struct error err = {0};
	char id[VM_ID_MAX];

	assert_int_equal(vm_config_check(&config, &err), 0);
	vm_elastic_id(&config, 1, id);
	assert_string_equal(id, "em1");
	config.memory_bytes = VM_MIN_MEMORY;
	config.nr_cpus = VM_MAX_CPUS;
	config.elastic[0].block_bytes = GIB;
	strcpy(config.elastic[1].id, "a.B_c-9");
	assert_int_equal(vm_config_check(&config, &err), 0);
	assert_int_equal(vm_config_check(&config, NULL), 0);
}

static void machines_refused(void **state)
{
	struct vm_config config = usual();

	config.nr_cpus = 0;
	refused(&config, "0 CPUs");
	config.nr_cpus = VM_MAX_CPUS + 1;
	refused(&config, "17");
	config = usual();
	config.kernel_path = NULL;
	refused(&config, "kernel");
	config = usual();
	config.memory_bytes = 62 * MIB;
	refused(&config, "62M");
	config.memory_bytes = 65 * MIB;
	refused(&config, "65M");
	config = usual();
	config.nr_elastic = VM_MAX_ELASTIC + 1;
	refused(&config, "65");
	config = usual();
	config.console = VM_CONSOLE_FILE;
	refused(&config, "console");
}

static void names_refused(void **state)
{
	static const char *const bad[] = {"",	 "a/b", ".a", "-a",
					  "a b", "\n",	"ä",  "a:b"};
	struct vm_config config;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		config = usual();
		strcpy(config.name, bad[i]);
		refused(&config, bad[i]);
		if (!bad[i][0])
			continue;
		config = usual();
		strcpy(config.elastic[1].id, bad[i]);
		refused(&config, bad[i]);
	}
}

static void devices_refused(void **state)
{
	struct vm_config config = usual();

	config.elastic[0].max_bytes = 0;
	refused(&config, "max=");
	config.elastic[0].max_bytes = GIB + MIB;
	refused(&config, "1025M");
	config = usual();
	config.elastic[1].requested_bytes = 2 * GIB;
	refused(&config, "size=2G");
	config.elastic[1].requested_bytes = 3 * MIB;
	refused(&config, "size=3M");
	config = usual();
	config.elastic[1].block_bytes = 3 * MIB;
	refused(&config, "block=3M");
	config.elastic[1].block_bytes = MIB;
	refused(&config, "block=1M");
	config.elastic[1].block_bytes = 1ULL << 41;
	refused(&config, "block=2T");
	config = usual();
	strcpy(config.elastic[0].id, "em1");
	refused(&config, "'em1'");
	config = usual();
	config.elastic[0].node = 3;
	refused(&config, "no node 3");
	config = usual();
	config.elastic[0].placement.pages = HOSTMEM_PAGES_1G;
	config.elastic[0].block_bytes = 2 * MIB;
	refused(&config, "block=2M");
}

static struct vm_config with_nodes(void)
{
	struct vm_config config = usual();

	config.nr_nodes = 3;
	config.nodes[0].cpus = 1;
	config.nodes[0].memory_bytes = 512 * MIB;
	config.nodes[1].cpus = 2;
	config.elastic[1].node = 2;
	return config;
}

static void nodes_taken(void **state)
{
	struct vm_config config = with_nodes();
	struct error err = {0};

	if (vm_config_check(&config, &err))
		fail_msg("%s", err.text);
	config.nodes[0].distance[2] = 31;
	config.nodes[0].placement.policy = HOSTMEM_POLICY_BIND;
	config.nodes[0].placement.host_nodes = 1;
	if (vm_config_check(&config, &err))
		fail_msg("%s", err.text);
}

static void nodes_refused(void **state)
{
	struct vm_config config = with_nodes();

	config.nodes[2].cpus = 3;
	refused(&config, "processor 0 is on another node");
	config.nodes[2].cpus = 4;
	refused(&config, "no processor 2");
	config = with_nodes();
	config.nodes[1].cpus = 0;
	refused(&config, "processor 1 is on no node");
	config = with_nodes();
	config.nodes[2].memory_bytes = 2 * MIB;
	refused(&config, "514M");
	config.nodes[2].memory_bytes = MIB;
	refused(&config, "node 2: memory of 1M");
	config = with_nodes();
	config.elastic[1].node = 3;
	refused(&config, "no node 3");
	config = with_nodes();
	config.nodes[1].distance[3] = 20;
	refused(&config, "node 3");
	config = with_nodes();
	config.nodes[1].distance[0] = 10;
	refused(&config, "distance 10");
	config = with_nodes();
	config.nodes[1].distance[1] = 20;
	refused(&config, "itself");
	config = with_nodes();
	config.nodes[1].placement.policy = HOSTMEM_POLICY_BIND;
	refused(&config, "no host node");
	config.nodes[1].placement.host_nodes = 1ULL << 63;
	refused(&config, "host node 63");
	config = with_nodes();
	config.nr_nodes = VM_MAX_NODES + 1;
	refused(&config, "65 nodes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_read),
		cmocka_unit_test(sizes_written),
		cmocka_unit_test(configs_taken),
		cmocka_unit_test(machines_refused),
		cmocka_unit_test(names_refused),
		cmocka_unit_test(devices_refused),
		cmocka_unit_test(nodes_taken),
		cmocka_unit_test(nodes_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
