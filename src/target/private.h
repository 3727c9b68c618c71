/* What the files of src/target share. Nothing outside this folder includes it. */
#ifndef KB_TARGET_PRIVATE_H
#define KB_TARGET_PRIVATE_H

#include "target/target.h"

#include <sys/uio.h>
#include <sys/user.h>

#define KB_PAGE 4096u
#define KB_PAGE_DOWN(a) ((a) & ~(uint64_t)(KB_PAGE - 1))
#define KB_PAGE_UP(a) KB_PAGE_DOWN((a) + KB_PAGE - 1)

/* Bounds on what a target may make us hold. */
#define KB_MAX_MAPPINGS 4000000u
#define KB_MAX_THREADS 1000000u
#define KB_MAX_CAPTURES 64000000u

/* ---- captured ranges (overlay.c) ------------------------------------------------------------------------------- */

/* One captured piece; data is NULL where the target could not be read at that time (the hole stays a hole). */
struct kb_piece {
	kb_addr start, end;
	uint8_t *data;
};

/* Sorted and without overlap. Changed only by the stopping thread, between open and resume; read without locks. */
struct kb_overlay {
	struct kb_piece *pieces;
	size_t n, cap;
	struct kb_block *blocks; /* memory of the copies; only ever added to */
	struct kb_capture_item
		*items; /* room for kb_target_capture_many, kept so that the second call needs no new pages */
	size_t items_cap;
	struct kb_piece *fresh;
	size_t fresh_cap;
};

/* One range on its way into the overlay. */
struct kb_capture_item {
	kb_addr start;
	uint64_t n;
	uint8_t *data;
	bool in_place; /* data is the buffer of an equal older capture */
};

/* Makes sure that the next n bytes need no page fault. Out of memory is not an error here: the capture would tell. */
void kb_overlay_reserve(struct kb_overlay *o, size_t n);
uint8_t *kb_overlay_alloc(struct kb_overlay *o, size_t n); /* NULL when out of memory */
/* First piece whose end is above a; o->n when there is none. */
size_t kb_overlay_find(const struct kb_overlay *o, kb_addr a);
/* Puts sorted, not overlapping pieces over what is there. */
kb_error *kb_overlay_merge(struct kb_overlay *o, const struct kb_piece *fresh, size_t n) KB_MUST_CHECK;
void kb_overlay_free(struct kb_overlay *o);

/* ---- mappings (maps.c) ----------------------------------------------------------------------------------------- */

struct kb_maps {
	kb_mapping *v;
	size_t n, cap;
	kb_arena names;
};
kb_error *kb_maps_parse(const char *text, size_t n, struct kb_maps *ret) KB_MUST_CHECK;
void kb_maps_free(struct kb_maps *m);
const kb_mapping *kb_maps_at(const struct kb_maps *m, kb_addr a);
/* Index of the first mapping whose end is above a. */
size_t kb_maps_find(const struct kb_maps *m, kb_addr a);

/* ---- /proc (procfs.c) ------------------------------------------------------------------------------------------ */

/* The whole text of a file under a directory descriptor, NUL-terminated, at most max bytes (the rest is left out). */
kb_error *kb_proc_slurp(int dirfd, const char *name, size_t max, kb_str *ret) KB_MUST_CHECK;

/* What /proc/PID/status says, as far as we need it. */
struct kb_status {
	char state; /* 'R', 'S', 'D', 'T', 't', 'Z', 'X', 'I'; 0 when not there */
	pid_t tgid, ppid, tracer;
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
	uint64_t cap_prm, cap_eff;
	int seccomp; /* -1 when the kernel does not say */
	pid_t inner; /* last field of NSpid, or the pid itself */
	unsigned ns_depth;
	char name[16];
};
kb_error *kb_proc_status(int dirfd, const char *name, struct kb_status *ret) KB_MUST_CHECK;

/* What /proc/PID/stat says. */
struct kb_stat {
	char comm[64];
	char state;
	pid_t ppid, pgrp, session;
	uint64_t flags, utime, stime, start_ticks, rss_pages;
	int64_t nice;
};
kb_error *kb_proc_stat(int dirfd, const char *name, struct kb_stat *ret) KB_MUST_CHECK;
uint64_t kb_age_seconds(uint64_t start_ticks);
kb_error *kb_proc_open(pid_t pid, int *ret_dirfd) KB_MUST_CHECK; /* KB_E_NOT_FOUND when there is none */
/* Where a link of the directory points; " (deleted)" is cut off and told. NULL when unreadable. malloc'ed. */
char *kb_proc_link(int dirfd, const char *name, bool *ret_deleted);

/* ---- access (access.c) ----------------------------------------------------------------------------------------- */

/* Everything the diagnosis rests on, so that it can be tested without such a kernel. */
struct kb_access_facts {
	pid_t pid;
	struct kb_status self, target;
	uid_t self_fsuid;
	int yama;       /* kernel.yama.ptrace_scope, -1 without Yama */
	bool mem_opens; /* /proc/PID/mem could be opened */
	int mem_errno;
	int readv_errno;  /* of process_vm_readv on an address that is never mapped: EFAULT is good */
	int ptrace_errno; /* of a ptrace call that must fail with EIO: something else is a filter */
	uid_t proc_owner; /* owner of the files in /proc/PID: root when it is not dumpable */
	bool same_userns, userns_known;
	bool self_userns_initial;
};
/* NULL when the facts say that the process can be read. */
kb_error *kb_access_diagnose(const struct kb_access_facts *f) KB_MUST_CHECK;
kb_error *kb_access_check_dir(pid_t pid, int dirfd) KB_MUST_CHECK;

/* ---- the target ------------------------------------------------------------------------------------------------ */

/* Kept beside kb_thread for the core we may write. */
struct kb_thread_raw {
	struct user_regs_struct regs;
	struct user_fpregs_struct fpregs;
	bool have_fpregs;
};

enum kb_tracee_state { KB_TRACEE_SEIZED, KB_TRACEE_STOPPED, KB_TRACEE_GONE };
struct kb_tracee {
	pid_t tid;
	enum kb_tracee_state state;
	int signal; /* swallowed by the stop, to be given back at detach */
};

/* Scheduling of a thread before it was raised for the time of the stop; policy -1 when it was not. */
struct kb_boost {
	int old_policy, old_priority;
};

struct kb_live {
	pid_t pid;
	int proc_fd;  /* /proc/PID: opening below it fails once the process is gone, even if the PID is used again */
	int mem_fd;   /* /proc/PID/mem */
	int task_fd;  /* /proc/PID/task, for listing */
	bool use_mem; /* process_vm_readv is not allowed: read by mem_fd */
	bool in_ns;   /* the target lives in an inner PID namespace */
	uint8_t auxv[1024];
	size_t auxv_n;
	struct kb_tracee *tracees;
	size_t n_tracees, tracees_cap;
	kb_map by_tid;            /* tid → index in tracees + 1 */
	struct kb_tracer *tracer; /* not NULL while stopped */
	uint64_t stop_start;
	struct kb_boost boost; /* of the caller's thread */
};

struct kb_target {
	kb_target_info info;
	int exe_fd;
	bool exe_given; /* by the user */
	struct kb_maps maps;
	kb_thread *threads;
	struct kb_thread_raw *raw;
	size_t n_threads, threads_cap, raw_cap;
	struct kb_overlay overlay;
	struct kb_live live;
	struct kb_core *core; /* NULL for a live process */
};

/* Reads without the overlay; never crosses an unreadable page; as many bytes as are readable from a on, without a
 * hole; *ret_err 0 or an errno. */
size_t kb_live_read_run(const kb_target *t, kb_addr a, void *buf, size_t n, int *ret_err);
/* The same for a core; *ret_missing when the bytes exist but not in the file. Never fails otherwise. */
size_t kb_core_read_run(const struct kb_core *c, kb_addr a, void *buf, size_t n);
/* First readable address in [a, end), or end. */
kb_addr kb_core_next_readable(const struct kb_core *c, kb_addr a, kb_addr end);
void kb_core_free(struct kb_core *c);
int kb_core_open_mapping(const kb_target *t, const kb_mapping *m);
kb_bytes kb_core_view(const struct kb_core *c, kb_addr a, size_t n);

void kb_regs_from_user(kb_regs *r, const struct user_regs_struct *u);
kb_error *kb_live_refresh_maps(kb_target *t) KB_MUST_CHECK;
void kb_live_close(kb_target *t);
/* "process N has ended" */
kb_error *kb_live_gone(const kb_target *t) KB_MUST_CHECK;

/* First address in [a, end) worth trying after a failed read at a: the next page where a mapping is known, else the
 * next mapping; end when there is none. */
kb_addr kb_live_after_hole(const kb_target *t, kb_addr a, kb_addr end);

/* Pagemap words of the pages from a on: bit 63 present, bit 62 swapped. False when unreadable. */
bool kb_pagemap_read(int pagemap_fd, kb_addr a, uint64_t *words, size_t pages);
#define KB_PRESENT_OR_SWAPPED (3ull << 62) /* Documentation/admin-guide/mm/pagemap.rst */

/* Finds runs of pages that are present or swapped, in address order. Start with { .fd = …, .next = from }. */
struct kb_page_runs {
	int fd;       /* of pagemap; -1: all pages count as present */
	bool no_scan; /* a kernel without PAGEMAP_SCAN */
	kb_addr next; /* looked at up to here */
	struct kb_page_run {
		kb_addr start, end;
		uint64_t categories;
	} v[512];
	size_t i, n;
};
/* The first run that ends above a (a does not go back from call to call); false when there is none below end. */
bool kb_page_runs_next(struct kb_page_runs *r, kb_addr a, kb_addr end, kb_range *ret);

#endif
