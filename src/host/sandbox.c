// SPDX-License-Identifier: BSD-3-Clause
/* Giving up what a VM's process does not need. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#define MAX_NAME 64

/* ---- The user ---------------------------------------------------------- */

static bool parse_number(const char *text, unsigned int *value)
{
	char *end;
	unsigned long number;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	/* The last number means no change to the kernel. */
	if (*end || errno || number >= UINT32_MAX)
		return false;
	*value = (unsigned int)number;
	return true;
}

static int find_user(const char *name, struct sandbox_config *config,
		     bool need_group, struct error *err)
{
	const struct passwd *entry = getpwnam(name);

	if (!entry && parse_number(name, &config->uid)) {
		entry = getpwuid(config->uid);
		if (!entry && need_group)
			return error_set(err, -EINVAL,
					 "--user: user %s has no entry, so "
					 "give its group as well: %s:GROUP",
					 name, name);
	} else if (!entry) {
		return error_set(err, -EINVAL, "--user: no user '%s'", name);
	} else {
		config->uid = entry->pw_uid;
	}
	if (need_group)
		config->gid = entry->pw_gid;
	return 0;
}

int sandbox_parse_user(const char *text, struct sandbox_config *config,
		       struct error *err)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	const struct group *group;
	char name[MAX_NAME];
	int ret;

	if (!len || len >= sizeof(name) || (colon && !colon[1]))
		return error_set(err, -EINVAL,
				 "--user: '%s' is not USER or USER:GROUP",
				 text);
	memcpy(name, text, len);
	name[len] = '\0';
	ret = find_user(name, config, !colon, err);
	if (ret)
		return ret;
	config->change_user = true;
	if (!colon)
		return 0;
	group = getgrnam(colon + 1);
	if (group)
		config->gid = group->gr_gid;
	else if (!parse_number(colon + 1, &config->gid))
		return error_set(err, -EINVAL, "--user: no group '%s'",
				 colon + 1);
	return 0;
}

static int change_user(const struct sandbox_config *config, struct error *err)
{
	if (!config->change_user)
		return 0;
	if (setgroups(1, &config->gid) < 0 ||
	    setresgid(config->gid, config->gid, config->gid) < 0 ||
	    setresuid(config->uid, config->uid, config->uid) < 0)
		return error_set_errno(err, -errno,
				       "--user: cannot become user %u, group "
				       "%u (that takes root)",
				       config->uid, config->gid);
	return 0;
}

/* ---- The root ---------------------------------------------------------- */

static int check_empty(int folder, const char *path, struct error *err)
{
	DIR *dir = fdopendir(dup(folder));
	const struct dirent *entry;
	unsigned int nr = 0;

	if (!dir)
		return error_set_errno(err, -errno,
				       "--chroot: cannot read '%s'", path);
	while ((entry = readdir(dir)))
		nr += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
	closedir(dir);
	if (nr)
		return error_set(err, -EINVAL,
				 "--chroot: '%s' is not empty; give an empty "
				 "folder",
				 path);
	return 0;
}

/* An empty folder that nobody can write to, attached nowhere. */
static int make_root(void)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC), fd = -1;

	if (context < 0)
		return -1;
	if (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0555", 0) == 0 &&
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(context, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
				     MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	close(context);
	return fd;
}

static int enter(int folder)
{
	return fchdir(folder) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno
								       : 0;
}

static int change_root(const char *path, struct error *err)
{
	int folder, ret;

	if (!path) {
		/* Who may not do this is no worse off than before. */
		folder = make_root();
		if (folder >= 0) {
			enter(folder);
			close(folder);
		}
		return 0;
	}
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return error_set_errno(err, -errno,
				       "--chroot: cannot open '%s'", path);
	ret = check_empty(folder, path, err);
	if (!ret) {
		ret = enter(folder);
		if (ret)
			error_set_errno(err, ret,
					"--chroot: cannot make '%s' the root "
					"(that takes root)",
					path);
	}
	close(folder);
	return ret;
}

/* ---- Capabilities and limits ------------------------------------------- */

/* Where we may, which another user may not; without new privileges it is a
 * second lock on the same door. */
static void drop_bounding_set(void)
{
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int limit(int resource, rlim_t value)
{
	struct rlimit now, wanted = {.rlim_cur = value, .rlim_max = value};

	if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
		return -errno;
	if (now.rlim_max < value)
		wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
	return setrlimit((__rlimit_resource_t)resource, &wanted) < 0 ? -errno
								     : 0;
}

static int set_limits(const struct sandbox_config *config)
{
	int ret = limit(RLIMIT_NOFILE, SANDBOX_MAX_FILES);

	/* A file that is as long as may be takes no more; no reason to die. */
	signal(SIGXFSZ, SIG_IGN);
	if (!ret)
		ret = limit(RLIMIT_FSIZE, config->max_file_bytes);
	/* What a guest holds is nobody's to find in a file. */
	if (!ret)
		ret = limit(RLIMIT_CORE, 0);
	return ret;
}

int sandbox_confine(const struct sandbox_config *config, struct error *err)
{
	int ret;

	if (config->mode == SANDBOX_OFF)
		return 0;
	ret = set_limits(config);
	if (ret)
		return error_set_errno(err, ret, "cannot set limits");
	ret = change_root(config->root, err);
	drop_bounding_set();
	if (!ret)
		ret = change_user(config, err);
	if (ret)
		return ret;
	ret = drop_capabilities();
	return ret ? error_set_errno(err, ret, "cannot give up capabilities")
		   : 0;
}

/* ---- System calls ------------------------------------------------------ */

static int add_rule(scmp_filter_ctx filter, const struct sandbox_rule *rule)
{
	const struct scmp_arg_cmp compare = {
		.arg = (unsigned int)rule->arg,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = rule->mask,
		.datum_b = rule->value,
	};
	uint32_t action = rule->answer ? SCMP_ACT_ERRNO((unsigned)rule->answer)
				       : SCMP_ACT_ALLOW;

	return seccomp_rule_add_array(filter, action, rule->number,
				      rule->arg >= 0 ? 1 : 0, &compare);
}

int sandbox_filter(enum sandbox_mode mode, struct error *err)
{
	scmp_filter_ctx filter;
	int ret = 0;

	if (mode == SANDBOX_OFF)
		return 0;
	/* The kernel logs what it kills for. */
	filter = seccomp_init(mode == SANDBOX_LOG ? SCMP_ACT_LOG
						  : SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return error_set(err, -ENOMEM, "no memory for the filter");
	/* All threads, or none. */
	ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!ret)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
				       SCMP_ACT_KILL_PROCESS);
	for (size_t i = 0; !ret && i < sandbox_nr_rules; i++)
		ret = add_rule(filter, &sandbox_rules[i]);
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret ? error_set_errno(err, ret,
				     "cannot filter system calls (seccomp); "
				     "--sandbox off does without")
		   : 0;
}
