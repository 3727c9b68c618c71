/* A running process: opening it, its executable, its mappings. Nothing here stops it. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define KB_MAPS_TEXT_MAX (1u << 30)

kb_error *kb_live_gone(const kb_target *t)
{
	return kb_error_new(KB_E_GONE, "process %d has ended", (int)t->live.pid);
}

kb_error *kb_live_refresh_maps(kb_target *t)
{
	kb_str text = { 0 };
	struct kb_maps fresh = { 0 };

	kb_error *err = kb_proc_slurp(t->live.proc_fd, "maps", KB_MAPS_TEXT_MAX, &text);
	if (!err)
		err = kb_maps_parse(text.s, text.n, &fresh);
	kb_str_free(&text);
	if (err)
		return err;
	if (!fresh.n) { /* the memory is gone, the entry in /proc not yet */
		kb_maps_free(&fresh);
		return kb_live_gone(t);
	}
	kb_maps_free(&t->maps);
	t->maps = fresh;
	return NULL;
}

/* True when the path's first mapping is the one /proc/PID/exe names; used only where exe itself cannot be opened. */
static int open_exe_by_mapping(const kb_target *t)
{
	for (size_t i = 0; i < t->maps.n; i++)
		if (t->info.exe && t->maps.v[i].inode && !strcmp(t->maps.v[i].path, t->info.exe))
			return kb_target_open_mapping(t, &t->maps.v[i]);
	return -1;
}

static int open_regular(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static kb_error *open_exe(kb_target *t, const kb_open_options *opt)
{
	if (opt && opt->exe) {
		t->exe_given = true;
		t->exe_fd = open_regular(opt->exe);
		if (t->exe_fd < 0)
			return kb_error_new(KB_E_NOT_FOUND, "cannot open the executable %s", opt->exe);
		return NULL;
	}
	t->exe_fd = openat(t->live.proc_fd, "exe", O_RDONLY | O_CLOEXEC);
	if (t->exe_fd < 0)
		t->exe_fd = open_exe_by_mapping(t);
	return NULL; /* the caller of kb_target_exe_fd decides what a missing executable means */
}

/* An inode that is unlinked or in another mount namespace is still reached through map_files; the path is second best,
 * and is believed only when it leads to the same inode. */
static int open_live_mapping(const kb_target *t, const kb_mapping *m)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof name, "map_files/%llx-%llx", (unsigned long long)m->start, (unsigned long long)m->end);
	int fd = openat(t->live.proc_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && m->path[0] == '/' && !m->deleted) {
		KB_CLOSE int root = openat(t->live.proc_fd, "root", O_PATH | O_CLOEXEC);
		if (root >= 0)
			fd = openat(root, m->path + 1, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0 && (fstat(fd, &st) || st.st_ino != m->inode)) {
			close(fd);
			return -1;
		}
	}
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		return -1;
	}
	return fd;
}

int kb_target_open_mapping(const kb_target *t, const kb_mapping *m)
{
	if (!m->inode && !t->core)
		return -1;
	return t->core ? kb_core_open_mapping(t, m) : open_live_mapping(t, m);
}

static kb_error *check_state(pid_t pid, const struct kb_status *st, const struct kb_stat *stat)
{
	enum { PF_KTHREAD_ = 0x00200000 }; /* linux/sched.h */
	if (st->tgid && st->tgid != pid)
		return kb_error_remedy(kb_error_new(KB_E_NOT_FOUND, "%d is a thread of process %d, not a process",
						    (int)pid, (int)st->tgid),
				       "give the process: %d", (int)st->tgid);
	if (st->state == 'Z' || st->state == 'X')
		return kb_error_new(KB_E_NOT_FOUND,
				    "process %d (%s) has ended; only its exit status is left (a zombie)", (int)pid,
				    st->name);
	if (stat->flags & PF_KTHREAD_)
		return kb_error_new(KB_E_NOT_FOUND, "%d (%s) is a kernel thread, not a program", (int)pid, st->name);
	return NULL;
}

static void fill_info(kb_target *t, const struct kb_status *st, const struct kb_stat *stat)
{
	t->info.kind = KB_TARGET_LIVE;
	t->info.pid = t->live.pid;
	t->info.inner_pid = st->inner ? st->inner : t->live.pid;
	t->live.in_ns = st->ns_depth > 1;
	t->info.exe = kb_proc_link(t->live.proc_fd, "exe", NULL);
	t->info.age_seconds = kb_age_seconds(stat->start_ticks);
	t->info.taken_at = (uint64_t)time(NULL);
}

static void read_auxv(kb_target *t)
{
	KB_CLOSE int fd = openat(t->live.proc_fd, "auxv", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, t->live.auxv, sizeof t->live.auxv) : -1;
	t->live.auxv_n = n > 0 ? (size_t)n : 0;
}

/* process_vm_readv may be filtered (seccomp) or missing while /proc/PID/mem works. */
static bool readv_refused(const kb_target *t)
{
	uint8_t byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)(uintptr_t)(t->maps.n ? t->maps.v[0].start : 0), 1 };
	return process_vm_readv(t->live.pid, &local, 1, &remote, 1, 0) < 0 && (errno == EPERM || errno == ENOSYS);
}

static kb_error *open_live(kb_target *t, const kb_open_options *opt)
{
	struct kb_status st;
	struct kb_stat stat;
	struct kb_live *l = &t->live;

	KB_TRY(kb_proc_open(l->pid, &l->proc_fd));
	kb_error *err = kb_proc_status(l->proc_fd, "status", &st);
	if (!err)
		err = kb_proc_stat(l->proc_fd, "stat", &stat);
	if (err) {
		kb_error_free(err);
		return kb_error_new(KB_E_NOT_FOUND, "there is no process %d", (int)l->pid);
	}
	KB_TRY(check_state(l->pid, &st, &stat));
	KB_TRY(kb_access_check_dir(l->pid, l->proc_fd));
	fill_info(t, &st, &stat);
	l->mem_fd = openat(l->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	l->task_fd = openat(l->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->mem_fd < 0 || l->task_fd < 0)
		return kb_error_errno(errno, "cannot open /proc/%d/%s", (int)l->pid, l->mem_fd < 0 ? "mem" : "task");
	KB_TRY(kb_live_refresh_maps(t));
	l->use_mem = readv_refused(t);
	read_auxv(t);
	return open_exe(t, opt);
}

kb_error *kb_target_open_pid(pid_t pid, const kb_open_options *opt, kb_target **ret)
{
	kb_target *t = calloc(1, sizeof *t);
	if (!t)
		return kb_error_nomem();
	t->exe_fd = -1;
	t->live = (struct kb_live){ .pid = pid, .proc_fd = -1, .mem_fd = -1, .task_fd = -1, .boost.old_policy = -1 };
	kb_error *err = open_live(t, opt);
	if (err) {
		kb_target_close(t);
		return err;
	}
	*ret = t;
	return NULL;
}

void kb_live_close(kb_target *t)
{
	struct kb_live *l = &t->live;
	kb_cleanup_close(&l->proc_fd);
	kb_cleanup_close(&l->mem_fd);
	kb_cleanup_close(&l->task_fd);
	free(l->tracees);
	kb_map_free(&l->by_tid);
}
