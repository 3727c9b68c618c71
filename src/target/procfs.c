/* Reading /proc: always through a directory descriptor, so that a PID number used again by another process is
 * noticed. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define KB_SLURP_STEP 65536u

kb_error *kb_proc_slurp(int dirfd, const char *name, size_t max, kb_str *ret)
{
	KB_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return kb_error_errno(errno, "cannot open /proc/…/%s", name);
	while (ret->n < max) {
		if (!kb_grow(&ret->s, &ret->cap, ret->n + KB_SLURP_STEP + 1, 1, max + KB_SLURP_STEP + 2))
			return kb_error_nomem();
		size_t room = ret->cap - ret->n - 1;
		ssize_t r = read(fd, ret->s + ret->n, room);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return kb_error_errno(errno, "cannot read /proc/…/%s", name);
		if (r == 0)
			break;
		ret->n += (size_t)r;
	}
	if (!ret->s && !kb_grow(&ret->s, &ret->cap, 1, 1, KB_SLURP_STEP))
		return kb_error_nomem();
	if (ret->n > max)
		ret->n = max;
	ret->s[ret->n] = 0;
	return NULL;
}

kb_error *kb_proc_open(pid_t pid, int *ret_dirfd)
{
	char path[32];
	if (pid <= 0)
		return kb_error_new(KB_E_NOT_FOUND, "there is no process %d", (int)pid);
	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ESRCH))
		return kb_error_new(KB_E_NOT_FOUND, "there is no process %d", (int)pid);
	if (fd < 0)
		return kb_error_errno(errno, "cannot open %s", path);
	*ret_dirfd = fd;
	return NULL;
}

/* The rest of the line that starts with key, e.g. "Uid:"; NULL when there is none. */
static const char *status_field(const char *text, const char *key)
{
	size_t n = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
		if (!strncmp(line, key, n)) {
			line += n;
			return line + strspn(line, "\t ");
		}
	return NULL;
}

static uint64_t status_number(const char *text, const char *key, int base, uint64_t absent)
{
	const char *p = status_field(text, key);
	return p ? strtoull(p, NULL, base) : absent;
}

static void status_ids(const char *p, unsigned ids[3])
{
	char *end;
	for (int i = 0; i < 3 && p; i++, p = end)
		ids[i] = (unsigned)strtoul(p, &end, 10);
}

/* NSpid lists the pid in every namespace from ours inwards. */
static void status_nspid(const char *p, struct kb_status *ret)
{
	while (p && *p && *p != '\n') {
		char *end;
		long v = strtol(p, &end, 10);
		if (end == p)
			break;
		ret->inner = (pid_t)v;
		ret->ns_depth++;
		p = end;
		while (*p == '\t' || *p == ' ')
			p++;
	}
}

kb_error *kb_proc_status(int dirfd, const char *name, struct kb_status *ret)
{
	kb_str text = { 0 };
	unsigned uid[3] = { 0 }, gid[3] = { 0 };

	*ret = (struct kb_status){ .seccomp = -1 };
	kb_error *err = kb_proc_slurp(dirfd, name, KB_SLURP_STEP, &text);
	if (err) {
		kb_str_free(&text);
		return err;
	}
	const char *s = status_field(text.s, "State:");
	ret->state = s ? *s : 0;
	ret->tgid = (pid_t)status_number(text.s, "Tgid:", 10, 0);
	ret->ppid = (pid_t)status_number(text.s, "PPid:", 10, 0);
	ret->tracer = (pid_t)status_number(text.s, "TracerPid:", 10, 0);
	ret->cap_prm = status_number(text.s, "CapPrm:", 16, 0);
	ret->cap_eff = status_number(text.s, "CapEff:", 16, 0);
	ret->seccomp = (int)status_number(text.s, "Seccomp:", 10, (uint64_t)-1);
	ret->inner = (pid_t)status_number(text.s, "Pid:", 10, 0);
	status_nspid(status_field(text.s, "NSpid:"), ret);
	status_ids(status_field(text.s, "Uid:"), uid);
	status_ids(status_field(text.s, "Gid:"), gid);
	ret->ruid = uid[0], ret->euid = uid[1], ret->suid = uid[2];
	ret->rgid = gid[0], ret->egid = gid[1], ret->sgid = gid[2];
	if ((s = status_field(text.s, "Name:")))
		snprintf(ret->name, sizeof ret->name, "%.*s", (int)strcspn(s, "\n"), s);
	kb_str_free(&text);
	return NULL;
}

/* Fields are counted behind the last ')', because a command's name may hold blanks and parentheses. */
kb_error *kb_proc_stat(int dirfd, const char *name, struct kb_stat *ret)
{
	kb_str text = { 0 };
	uint64_t f[25] = { 0 };

	*ret = (struct kb_stat){ 0 };
	kb_error *err = kb_proc_slurp(dirfd, name, KB_SLURP_STEP, &text);
	char *open_ = err ? NULL : strchr(text.s, '('), *close_ = err ? NULL : strrchr(text.s, ')');
	if (!err && (!open_ || !close_ || close_ < open_ || !close_[1] || !close_[2]))
		err = kb_error_new(KB_E_CORRUPT, "/proc/…/%s has an unknown form", name);
	if (!err) {
		snprintf(ret->comm, sizeof ret->comm, "%.*s", (int)(close_ - open_ - 1), open_ + 1);
		ret->state = close_[2];
		char *p = close_ + 3;
		for (size_t i = 4; i < KB_ARRAY_LEN(f); i++)
			f[i] = (uint64_t)strtoll(p, &p, 10);
		ret->ppid = (pid_t)f[4], ret->pgrp = (pid_t)f[5], ret->session = (pid_t)f[6];
		ret->flags = f[9], ret->utime = f[14], ret->stime = f[15];
		ret->nice = (int64_t)f[19], ret->start_ticks = f[22], ret->rss_pages = f[24];
	}
	kb_str_free(&text);
	return err;
}

uint64_t kb_age_seconds(uint64_t start_ticks)
{
	struct timespec now;
	long hz = sysconf(_SC_CLK_TCK);
	if (hz <= 0 || clock_gettime(CLOCK_BOOTTIME, &now))
		return 0;
	uint64_t started = start_ticks / (uint64_t)hz;
	return (uint64_t)now.tv_sec > started ? (uint64_t)now.tv_sec - started : 0;
}

char *kb_proc_link(int dirfd, const char *name, bool *ret_deleted)
{
	static const char suffix[] = " (deleted)";
	char buf[PATH_MAX];
	ssize_t n = readlinkat(dirfd, name, buf, sizeof buf - 1);
	if (n <= 0)
		return NULL;
	buf[n] = 0;
	size_t cut = sizeof suffix - 1;
	bool deleted = (size_t)n > cut && !strcmp(buf + n - cut, suffix);
	if (deleted)
		buf[(size_t)n - cut] = 0;
	if (ret_deleted)
		*ret_deleted = deleted;
	return strdup(buf);
}
