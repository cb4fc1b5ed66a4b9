/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /init of the test guest. It says that it runs, loads the stock kernel's
 * modules, and then answers commands on the console:
 *
 *     SEQ COMMAND [ARGUMENTS]        in, one line
 *     @SEQ TEXT                      out, any number of lines
 *     @SEQ END RC                    out, the last: 0 or an errno value
 *
 * The kernel's own messages go to the same console; the prefix tells the two
 * apart. Parameters on the kernel command line:
 *
 *     agent.online=movable|kernel|off|stock
 *                                      what becomes of memory that is added;
 *                                      stock: what the kernel has as default
 *     agent.nodriver                   load no driver for virtio-mem
 *     agent.driver=bellows             load bellows_mem, not virtio_mem;
 *     bellows_mem.NAME=VALUE           with these parameters
 *     agent.nobutton                   ignore the power and sleep buttons
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"
#include "dump.h"

#define AUTO_ONLINE   "/sys/devices/system/memory/auto_online_blocks"
#define MEMORY_DIR    "/sys/devices/system/memory"
#define NODE_DIR      "/sys/devices/system/node"
#define DRIVER_FILE   "virtio_mem.ko"
#define OUR_DRIVER    "bellows_mem"
#define MAX_BUTTONS   4
#define MAX_MARKS     32
#define MAX_NODES     64
/* How long `await` waits, and how often it looks. */
#define AWAIT_SECONDS 60
#define AWAIT_MS      5

struct agent {
	char cmdline[2048];
	char line[1024]; /* input so far */
	size_t line_len;
	const char *seq; /* of the command being answered */
	struct load loads[LOAD_MAX];
	struct mark marks[MAX_MARKS];
	int buttons[MAX_BUTTONS];
	unsigned int nr_buttons;
	char buf[65536];
};

/* One line of an answer, written at once so that the kernel's messages come
 * before or after it. */
static void reply(struct agent *agent, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void reply(struct agent *agent, const char *fmt, ...)
{
	char text[1200];
	int len = snprintf(text, sizeof(text), "@%s ", agent->seq);
	va_list args;

	va_start(args, fmt);
	len += vsnprintf(text + len, sizeof(text) - (size_t)len - 2, fmt, args);
	va_end(args);
	if (len > (int)sizeof(text) - 2)
		len = (int)sizeof(text) - 2;
	text[len++] = '\n';
	for (int done = 0; done < len;) {
		ssize_t put = write(1, text + done, (size_t)(len - done));

		if (put < 0 && errno != EINTR && errno != EAGAIN)
			return;
		done += put > 0 ? (int)put : 0;
	}
}

/* True if word stands on the kernel command line. */
static bool has_parameter(const struct agent *agent, const char *word)
{
	const char *at = agent->cmdline;
	size_t len = strlen(word);

	while ((at = strstr(at, word)) != NULL) {
		bool starts = at == agent->cmdline || at[-1] == ' ';

		if (starts && (at[len] == '\0' || strchr(" \n", at[len])))
			return true;
		at += len;
	}
	return false;
}

/* Say so if a module did not load. */
static void load_module(const char *file, const char *parameters)
{
	int code = module_insert(file, parameters);

	if (code < 0 && code != -EEXIST)
		printf("BELLOWS-ERROR %s: %s\n", file, strerror(-code));
}

/* What the kernel command line has for our driver, as modprobe gives it. */
static void our_parameters(const struct agent *agent, char *text, size_t size)
{
	static const char prefix[] = OUR_DRIVER ".";
	char copy[sizeof(agent->cmdline)];
	char *save = NULL;
	size_t used = 0;

	snprintf(copy, sizeof(copy), "%s", agent->cmdline);
	text[0] = '\0';
	for (char *word = strtok_r(copy, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		if (!strncmp(word, prefix, strlen(prefix)) && used < size)
			used += (size_t)snprintf(text + used, size - used,
						 "%s ", word + strlen(prefix));
	}
}

/* Load all modules that the image lists, in their order. */
static void load_modules(struct agent *agent)
{
	bool ours = has_parameter(agent, "agent.driver=bellows");
	char list[2048], parameters[256];
	char *save = NULL;

	if (read_text("/modules/order", list, sizeof(list)) < 0)
		return;
	for (char *file = strtok_r(list, "\n", &save); file;
	     file = strtok_r(NULL, "\n", &save)) {
		if (!strcmp(file, DRIVER_FILE) &&
		    (ours || has_parameter(agent, "agent.nodriver")))
			continue;
		load_module(file, "");
	}
	if (ours) {
		our_parameters(agent, parameters, sizeof(parameters));
		load_module(OUR_DRIVER ".ko", parameters);
	}
}

static int set_online_policy(const char *policy)
{
	if (!strcmp(policy, "kernel"))
		return write_text(AUTO_ONLINE, "online_kernel");
	if (!strcmp(policy, "off"))
		return write_text(AUTO_ONLINE, "offline");
	if (!strcmp(policy, "movable"))
		return write_text(AUTO_ONLINE, "online_movable");
	return -EINVAL;
}

static bool has_key(const unsigned char *keys, unsigned int key)
{
	return keys[key / 8] & (1 << key % 8);
}

/* Open the input devices that have a power or a sleep key. */
static void open_buttons(struct agent *agent)
{
	if (has_parameter(agent, "agent.nobutton"))
		return;
	for (int i = 0; i < 8 && agent->nr_buttons < MAX_BUTTONS; i++) {
		unsigned char keys[KEY_MAX / 8 + 1] = {0};
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/input/event%d", i);
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (ioctl(fd, (int)EVIOCGBIT(EV_KEY, sizeof(keys)), keys) > 0 &&
		    (has_key(keys, KEY_POWER) || has_key(keys, KEY_SLEEP)))
			agent->buttons[agent->nr_buttons++] = fd;
		else
			close(fd);
	}
}

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
}

/* Returns when it has woken. */
static void suspend(void)
{
	int code = write_text("/sys/power/state", "mem");

	printf("BELLOWS-AWAKE %s\n", code < 0 ? strerror(-code) : "well");
}

/* ---- Commands ----------------------------------------------------------- */

/* Each takes the arguments as one string and returns 0 or a negative errno
 * value. */
typedef int command_fn(struct agent *agent, char *args);

static int cmd_ping(struct agent *agent, char *args)
{
	reply(agent, "pong%s%s", *args ? " " : "", args);
	return 0;
}

/* Lines of a file, those with a word in them if it is not NULL. */
static int reply_file(struct agent *agent, const char *path, const char *word)
{
	ssize_t got = read_text(path, agent->buf, sizeof(agent->buf));
	char *save = NULL;

	if (got < 0)
		return (int)got;
	for (char *line = strtok_r(agent->buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (!word || strstr(line, word))
			reply(agent, "%s", line);
	}
	return 0;
}

/* The four lines of /proc/meminfo that matter here, in one. */
static int cmd_meminfo(struct agent *agent, char *args)
{
	static const char *const keys[] = {"MemTotal", "MemFree",
					   "MemAvailable"};
	char text[256] = "";
	size_t len = 0;
	ssize_t got =
		read_text("/proc/meminfo", agent->buf, sizeof(agent->buf));

	if (got < 0)
		return (int)got;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *at = strstr(agent->buf, keys[i]);

		if (!at)
			return -ENOENT;
		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "%s=%llu ", keys[i],
			strtoull(at + strlen(keys[i]) + 1, NULL, 10));
	}
	reply(agent, "%s", text);
	return 0;
}

/* nodes: MemTotal of each NUMA node. A walk asks again and again: that costs
 * no process, and few bytes on the console. */
static int cmd_nodes(struct agent *agent, char *args)
{
	for (unsigned int i = 0; i < MAX_NODES; i++) {
		char path[64];
		const char *at;

		snprintf(path, sizeof(path), NODE_DIR "/node%u/meminfo", i);
		if (read_text(path, agent->buf, sizeof(agent->buf)) < 0)
			continue;
		at = strstr(agent->buf, "MemTotal:");
		if (!at)
			return -ENOENT;
		reply(agent, "%u=%llu", i, strtoull(at + 9, NULL, 10));
	}
	return 0;
}

static int cmd_iomem(struct agent *agent, char *args)
{
	return reply_file(agent, "/proc/iomem", *args ? args : NULL);
}

static int cmd_cat(struct agent *agent, char *args)
{
	return reply_file(agent, args, NULL);
}

static unsigned long long mem_total_kib(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return 0;
	return (unsigned long long)info.totalram * info.mem_unit / 1024;
}

static unsigned long long nr_memory_blocks(void)
{
	DIR *dir = opendir(MEMORY_DIR);
	unsigned long long nr = 0;
	struct dirent *entry;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		nr += !strncmp(entry->d_name, "memory", 6);
	closedir(dir);
	return nr;
}

/* await total KIB, await blocks N: answer once MemTotal, or the number of
 * memory blocks, is that. Who asked again and again on the console would take
 * the guest's processor from what is waited for. */
static int cmd_await(struct agent *agent, char *args)
{
	unsigned long long (*now)(void) = NULL;
	char what[16];
	unsigned long long wanted;

	if (sscanf(args, "%15s %llu", what, &wanted) != 2)
		return -EINVAL;
	if (!strcmp(what, "total"))
		now = mem_total_kib;
	else if (!strcmp(what, "blocks"))
		now = nr_memory_blocks;
	if (!now)
		return -EINVAL;
	for (int i = 0; now() != wanted; i++) {
		if (i == AWAIT_SECONDS * 1000 / AWAIT_MS)
			return -ETIMEDOUT;
		usleep(AWAIT_MS * 1000);
	}
	return 0;
}

/* Memory blocks by state: what was added, and what of it is online. */
static int cmd_blocks(struct agent *agent, char *args)
{
	unsigned int nr_online = 0, nr_offline = 0;
	DIR *dir = opendir(MEMORY_DIR);
	struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)) != NULL) {
		char path[320], state[32];

		if (strncmp(entry->d_name, "memory", 6))
			continue;
		snprintf(path, sizeof(path), MEMORY_DIR "/%s/state",
			 entry->d_name);
		if (read_text(path, state, sizeof(state)) < 0)
			continue;
		if (!strncmp(state, "online", 6))
			nr_online++;
		else
			nr_offline++;
		if (!strcmp(args, "online") && !strncmp(state, "offline", 7))
			write_text(path, "online_movable");
	}
	closedir(dir);
	reply(agent, "online=%u offline=%u", nr_online, nr_offline);
	return 0;
}

static int cmd_online(struct agent *agent, char *args)
{
	return set_online_policy(args);
}

/* insmod FILE [PARAMETERS] */
static int cmd_insmod(struct agent *agent, char *args)
{
	char *parameters = strchr(args, ' ');

	if (parameters)
		*parameters++ = '\0';
	return module_insert(args, parameters ? parameters : "");
}

static int cmd_rmmod(struct agent *agent, char *args)
{
	return module_remove(args);
}

static int load_command_start(struct agent *agent, char *args)
{
	static const char *const kinds[] = {
		[LOAD_SEQUENTIAL] = "seq",
		[LOAD_RANDOM] = "random",
		[LOAD_SPREAD] = "spread",
	};
	const unsigned int nr_kinds = sizeof(kinds) / sizeof(kinds[0]);
	unsigned int kind = 0;
	char *rest;
	unsigned long long size = strtoull(args, &rest, 10);

	while (*rest == ' ')
		rest++;
	while (kind < nr_kinds && strcmp(rest, kinds[kind]))
		kind++;
	if (kind == nr_kinds)
		return -EINVAL;
	for (int i = 0; i < LOAD_MAX; i++) {
		if (!agent->loads[i].pid)
			return load_start(&agent->loads[i], size,
					  (enum load_kind)kind);
	}
	return -EBUSY;
}

/* load SIZE_MIB random|seq|spread; load stop; load (tells of the workers) */
static int cmd_load(struct agent *agent, char *args)
{
	if (*args && strcmp(args, "stop"))
		return load_command_start(agent, args);
	for (int i = 0; i < LOAD_MAX; i++) {
		struct load *load = &agent->loads[i];
		bool alive = load_alive(load);

		if (!load->pid)
			continue;
		reply(agent,
		      "size_mib=%llu pages=%llu errors=%llu filled=%llu "
		      "alive=%d signal=%d",
		      (unsigned long long)load->size_mib,
		      (unsigned long long)load->stats->pages_done,
		      (unsigned long long)load->stats->errors,
		      (unsigned long long)load->stats->filled, alive,
		      load->end_signal);
		if (*args)
			load_stop(load);
	}
	return 0;
}

/* pulse SECONDS: a foreground load, and how it went. */
static int cmd_pulse(struct agent *agent, char *args)
{
	struct pulse pulse;
	int code = pulse_run((unsigned int)strtoul(args, NULL, 10), &pulse);

	if (!code)
		reply(agent, "kib_per_s=%llu p50_us=%u p99_us=%u max_us=%u",
		      (unsigned long long)pulse.kib_per_s, pulse.p50_us,
		      pulse.p99_us, pulse.max_us);
	return code;
}

/* mark SIZE_MIB: the physical address of each page that was marked. */
static int cmd_mark(struct agent *agent, char *args)
{
	int nr = marks_make(strtoull(args, NULL, 10), agent->marks, MAX_MARKS);

	for (int i = 0; i < nr; i++)
		reply(agent, "0x%llx",
		      (unsigned long long)agent->marks[i].phys);
	return nr < 0 ? nr : 0;
}

/* dump FILE [ADDRESS...]: which kernel it is of, how much memory it has, and
 * what it has of the pages at these addresses. */
static int cmd_dump(struct agent *agent, char *args)
{
	char *save = NULL;
	char *word = strtok_r(args, " ", &save);
	char release[128];
	struct dump dump;
	int code = word ? dump_open(&dump, word) : -EINVAL;

	if (code)
		return code;
	code = dump_release(&dump, release, sizeof(release));
	if (!code)
		reply(agent, "release=%s bytes=%llu", release,
		      (unsigned long long)dump_bytes(&dump));
	while (!code && (word = strtok_r(NULL, " ", &save)) != NULL)
		reply(agent, "%s=%s", word,
		      dump_page(&dump, strtoull(word, NULL, 16)));
	dump_close(&dump);
	return code;
}

/* devmem read|write ADDRESS STEP COUNT: at how many of them root may. */
static int cmd_devmem(struct agent *agent, char *args)
{
	long long address, step;
	unsigned int count;
	char how[8];
	int nr;

	if (sscanf(args, "%7s %lli %lli %u", how, &address, &step, &count) != 4)
		return -EINVAL;
	if (!strcmp(how, "read"))
		nr = physical_read((uint64_t)address, (uint64_t)step, count);
	else if (!strcmp(how, "write"))
		nr = physical_write((uint64_t)address, (uint64_t)step, count);
	else
		return -EINVAL;
	if (nr >= 0)
		reply(agent, "%d", nr);
	return nr < 0 ? nr : 0;
}

/* Run a command of the shell and send what it prints. */
static int cmd_sh(struct agent *agent, char *args)
{
	FILE *pipe = popen(args, "re");
	int status;

	if (!pipe)
		return -errno;
	while (fgets(agent->buf, 1000, pipe)) {
		agent->buf[strcspn(agent->buf, "\n")] = '\0';
		reply(agent, "%s", agent->buf);
	}
	status = pclose(pipe);
	if (status < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

static int cmd_poweroff(struct agent *agent, char *args)
{
	power_off();
	return -errno;
}

static int cmd_reboot(struct agent *agent, char *args)
{
	reboot(RB_AUTOBOOT);
	return -errno;
}

static const struct command {
	const char *name;
	command_fn *run;
} commands[] = {
	{"ping", cmd_ping},	    {"meminfo", cmd_meminfo},
	{"nodes", cmd_nodes},	    {"devmem", cmd_devmem},
	{"iomem", cmd_iomem},	    {"cat", cmd_cat},
	{"blocks", cmd_blocks},	    {"online", cmd_online},
	{"insmod", cmd_insmod},	    {"rmmod", cmd_rmmod},
	{"load", cmd_load},	    {"sh", cmd_sh},
	{"mark", cmd_mark},	    {"dump", cmd_dump},
	{"pulse", cmd_pulse},	    {"reboot", cmd_reboot},
	{"poweroff", cmd_poweroff}, {"await", cmd_await},
};

/* ---- The console -------------------------------------------------------- */

static void handle_line(struct agent *agent, char *line)
{
	char *save = NULL;
	char *name, *args;
	int code = -ENOSYS;

	agent->seq = strtok_r(line, " ", &save);
	name = agent->seq ? strtok_r(NULL, " ", &save) : NULL;
	if (!name)
		return;
	args = save ? save : name + strlen(name);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(commands[i].name, name))
			code = commands[i].run(agent, args);
	}
	reply(agent, "END %d", -code);
}

static void handle_input(struct agent *agent)
{
	char bytes[256];
	ssize_t got = read(0, bytes, sizeof(bytes));

	for (ssize_t i = 0; i < got; i++) {
		if (bytes[i] != '\n' && bytes[i] != '\r') {
			if (agent->line_len < sizeof(agent->line) - 1)
				agent->line[agent->line_len++] = bytes[i];
			continue;
		}
		agent->line[agent->line_len] = '\0';
		agent->line_len = 0;
		handle_line(agent, agent->line);
	}
}

static void handle_button(int fd)
{
	struct input_event event;

	while (read(fd, &event, sizeof(event)) == sizeof(event)) {
		if (event.type != EV_KEY || event.value != 1)
			continue;
		if (event.code == KEY_POWER)
			power_off();
		if (event.code == KEY_SLEEP)
			suspend();
	}
}

static void serve(struct agent *agent)
{
	struct pollfd fds[1 + MAX_BUTTONS];

	for (;;) {
		fds[0] = (struct pollfd){.fd = 0, .events = POLLIN};
		for (unsigned int i = 0; i < agent->nr_buttons; i++)
			fds[1 + i] = (struct pollfd){
				.fd = agent->buttons[i],
				.events = POLLIN,
			};
		if (poll(fds, 1 + agent->nr_buttons, -1) < 0)
			continue;
		if (fds[0].revents)
			handle_input(agent);
		for (unsigned int i = 0; i < agent->nr_buttons; i++) {
			if (fds[1 + i].revents)
				handle_button(agent->buttons[i]);
		}
	}
}

/* Bytes as they are, both ways. */
static void raw_console(void)
{
	struct termios mode;

	if (tcgetattr(0, &mode) < 0)
		return;
	cfmakeraw(&mode);
	tcsetattr(0, TCSANOW, &mode);
}

int main(void)
{
	static struct agent agent;
	struct utsname name;

	uname(&name);
	dprintf(1, "BELLOWS-INIT %s\n", name.release);
	setvbuf(stdout, NULL, _IOLBF, 0);
	setenv("PATH", "/bin", 1);
	signal(SIGPIPE, SIG_IGN);
	raw_console();
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	read_text("/proc/cmdline", agent.cmdline, sizeof(agent.cmdline));
	if (has_parameter(&agent, "agent.online=kernel"))
		set_online_policy("kernel");
	else if (has_parameter(&agent, "agent.online=off"))
		set_online_policy("off");
	else if (!has_parameter(&agent, "agent.online=stock"))
		set_online_policy("movable");
	load_modules(&agent);
	open_buttons(&agent);
	printf("BELLOWS-READY\n");
	serve(&agent);
	return 0;
}
