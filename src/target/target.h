/* target: the bytes of a process, live or in a core. Knows addresses, mappings and threads; knows nothing of Go.
 *
 * Order of use for a live process:  kb_target_open_pid → (read what can be read while it runs) → kb_target_stop →
 * kb_target_capture for everything that must be from one moment → kb_target_resume → read on.
 * A captured range wins over the running process in every later read. A core needs none of this: stop, capture and
 * resume succeed and do nothing. All reads are thread-safe; stop, capture, refresh_maps and resume change the target, so
 * nobody may read meanwhile. (The tracing itself is done by a thread of the target's own: ptrace belongs to a thread.) */
#ifndef KB_TARGET_H
#define KB_TARGET_H

#include "base/base.h"

#include <sys/types.h>

typedef struct kb_target kb_target;

enum { KB_PERM_R = 1, KB_PERM_W = 2, KB_PERM_X = 4, KB_PERM_SHARED = 8 };

typedef struct kb_mapping {
	kb_addr start, end; /* page-aligned, end exclusive */
	uint64_t file_offset;
	uint64_t inode;
	uint32_t perms;
	const char *path; /* "" when anonymous; "[heap]", "[stack]", "[anon: …]" as the kernel says; the target's */
	bool deleted;     /* the file was unlinked */
} kb_mapping;

/* amd64 user registers; in the order the unwinder needs them, not the kernel's. */
typedef struct kb_regs {
	uint64_t rip, rsp, rbp, rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, orig_rax, fs_base;
} kb_regs;

typedef struct kb_thread {
	pid_t tid;       /* in our PID namespace */
	pid_t inner_tid; /* in the target's own PID namespace: what Go's m.procid holds; tid without a namespace */
	bool have_regs;
	kb_regs regs;    /* at the stop, or in the core's NT_PRSTATUS */
	bool in_syscall; /* live only: orig_rax >= 0 at the stop */
	char name[16];   /* comm, live only */
} kb_thread;

enum kb_target_kind { KB_TARGET_LIVE, KB_TARGET_CORE };

typedef struct kb_target_info {
	enum kb_target_kind kind;
	pid_t pid;              /* 0 when a core does not say */
	pid_t inner_pid;        /* in the innermost PID namespace */
	char *exe;              /* path for people: where /proc/PID/exe points, or the path given with a core */
	uint64_t stopped_ns;    /* how long the threads stood still (first stopped → last resumed); 0 for a core */
	uint64_t age_seconds;   /* since the process started; 0 when unknown (core) */
	uint64_t taken_at;      /* wall clock, seconds since the epoch: now for a live process, core's mtime */
	uint64_t taken_mono_ns; /* CLOCK_MONOTONIC of the target's machine at the stop; 0 for a core */
	bool truncated;         /* the core is cut short */
	uint64_t missing_bytes; /* of the core: announced by the headers, but not in the file */
	char *truncated_text;   /* says what is missing, or NULL */
	bool filtered;          /* private anonymous pages are missing by the core filter */
} kb_target_info;

typedef struct kb_open_options {
	const char *exe; /* overrides where the executable is read from; NULL for /proc/PID/exe or what the core says */
} kb_open_options;

/* ---- opening --------------------------------------------------------------------------------------------------- */

/* Does not stop the process. Errors: KB_E_NOT_FOUND (no such pid, zombie), KB_E_PERMISSION with the reason in the
 * message (which of uid, capability, Yama, dumpable, user namespace, seccomp of our own) and the remedy that fits. */
kb_error *kb_target_open_pid(pid_t pid, const kb_open_options *opt, kb_target **ret) KB_MUST_CHECK;
/* exe may be NULL: then the core's own NT_FILE says it. Verifies that exe and core belong together (build-id, else the
 * mapping's sizes and the ELF header in the core): KB_E_USAGE-free, KB_E_CORRUPT with a clear line when they do not. */
kb_error *kb_target_open_core(const char *exe, const char *core, kb_target **ret) KB_MUST_CHECK;
void kb_target_close(kb_target *t); /* resumes first when stopped; NULL is fine */

const kb_target_info *kb_target_info_get(const kb_target *t);
/* A file descriptor of the main executable, opened once through /proc/PID/exe (then map_files, then opt.exe); owned
 * by the target; -1 when it cannot be had. */
int kb_target_exe_fd(const kb_target *t);
/* Like exe_fd for any other file-backed mapping (a shared library), by its start address: through
 * /proc/PID/map_files, else /proc/PID/root + path. Caller closes. -1 when it cannot be had. */
int kb_target_open_mapping(const kb_target *t, const kb_mapping *m);

/* ---- mappings -------------------------------------------------------------------------------------------------- */

/* Sorted by address, not overlapping. Refreshed by kb_target_stop and kb_target_refresh_maps; a refresh invalidates
 * old pointers. */
const kb_mapping *kb_target_mappings(const kb_target *t, size_t *ret_n);
const kb_mapping *kb_target_mapping_at(const kb_target *t, kb_addr a); /* NULL when not mapped */
kb_error *kb_target_refresh_maps(kb_target *t) KB_MUST_CHECK;

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* All n bytes, or KB_E_FAULT with the first address that could not be read (KB_E_GONE when the process ended). */
kb_error *kb_target_read(const kb_target *t, kb_addr a, void *buf, size_t n) KB_MUST_CHECK;
/* As many bytes as can be read; holes are zero-filled in buf. Returns the number of bytes really read. For bulk reads
 * (256 KiB pieces are fastest). Pages absent from a cut core count as holes. */
size_t kb_target_read_holes(const kb_target *t, kb_addr a, void *buf, size_t n);
kb_error *kb_target_read_u64(const kb_target *t, kb_addr a, uint64_t *ret) KB_MUST_CHECK;
kb_error *kb_target_read_u32(const kb_target *t, kb_addr a, uint32_t *ret) KB_MUST_CHECK;
/* For a core: a direct view of [a, a+n) in the mapped file, without copying; p is NULL when it is not in one piece, and
 * always NULL for a live process. Valid until close. */
kb_bytes kb_target_view(const kb_target *t, kb_addr a, size_t n);

/* ---- the stop -------------------------------------------------------------------------------------------------- */

/* Seizes and interrupts every thread, those that appear meanwhile included; takes their registers. Never blocks for
 * long: after max_ms without all threads stopped it resumes everything and fails with KB_E_LIMIT. Signals that
 * arrive as signal-delivery-stops are kept and re-injected by resume. If keptby dies, the kernel detaches and the
 * target runs on. */
kb_error *kb_target_stop(kb_target *t, unsigned max_ms) KB_MUST_CHECK;
kb_error *kb_target_resume(kb_target *t) KB_MUST_CHECK; /* no-op when not stopped */
/* Copies [a, a+n) now; later reads see this copy. Holes stay holes. May also be called before the stop (pre-read); a
 * capture of the same range replaces the older one. Ranges may be many (50,000 stacks): batched by capture_many. */
kb_error *kb_target_capture(kb_target *t, kb_addr a, size_t n) KB_MUST_CHECK;
typedef struct kb_range {
	kb_addr a;
	uint64_t n;
} kb_range;
/* As capture, for many ranges, with as few system calls as possible (process_vm_readv takes 1,024 pieces a call).
 * Ranges need not be sorted and may touch, not overlap. */
kb_error *kb_target_capture_many(kb_target *t, const kb_range *ranges, size_t n) KB_MUST_CHECK;
/* The threads at the last stop, or of the core. */
const kb_thread *kb_target_threads(const kb_target *t, size_t *ret_n);

/* ---- writing a core -------------------------------------------------------------------------------------------- */

/* Writes an ELF core (NT_PRSTATUS for each thread, NT_PRPSINFO, NT_AUXV, NT_FILE, PT_LOADs) of a live target that
 * has been stopped once (its captures and registers are used) to fd (a regular file, which is emptied first), sparse
 * where memory is not resident. dlv, gdb and keptby open it. Memory that was not captured is read now, while the
 * process runs. *ret_bytes (may be NULL): bytes really written, without the holes. On error the file is of no use. */
kb_error *kb_target_write_core(kb_target *t, int fd, const kb_progress *progress, uint64_t *ret_bytes) KB_MUST_CHECK;

/* ---- process facts (live) -------------------------------------------------------------------------------------- */

typedef struct kb_resident {
	kb_addr start;
	uint64_t size, rss, swap; /* bytes */
} kb_resident;
/* One entry for each mapping, in address order, from smaps. *ret is malloc'ed. KB_E_UNSUPPORTED for a core. */
kb_error *kb_target_smaps(const kb_target *t, kb_resident **ret, size_t *ret_n) KB_MUST_CHECK;
/* One bit for each 4 KiB page of [a, a+n): resident or not; bit i of bits[i/8]. From pagemap. */
kb_error *kb_target_resident_bits(const kb_target *t, kb_addr a, size_t n, uint8_t *bits) KB_MUST_CHECK;

/* ---- the list of processes ------------------------------------------------------------------------------------- */

typedef struct kb_process {
	pid_t pid;
	uint64_t age_seconds, rss;
	char *exe; /* path, " (deleted)" stripped; NULL when unreadable */
	bool deleted;
	uid_t uid;
	bool readable; /* may we ptrace it? */
	char *why_not; /* when not readable: one phrase */
} kb_process;
/* All processes of this machine that have an executable (kernel threads left out), sorted by pid. *ret malloc'ed;
 * free with kb_process_list_free. Never fails because one process vanished. */
kb_error *kb_process_list(kb_process **ret, size_t *ret_n) KB_MUST_CHECK;
void kb_process_list_free(kb_process *list, size_t n);
/* May this process be read (PTRACE_MODE_ATTACH)? NULL if so; else KB_E_PERMISSION with reason and remedy, or
 * KB_E_NOT_FOUND. */
kb_error *kb_target_check_access(pid_t pid) KB_MUST_CHECK;

#endif
