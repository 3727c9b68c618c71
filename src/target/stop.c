/* The stop: every thread seized, interrupted, its registers taken; and the way back.
 *
 * - A thread of its own does it. A tracee can be let go only while it stands in a stop, so one that does not get
 *   there in time (state D, vfork) could not be released by us; but the kernel releases all tracees of a thread that
 *   ends, also those, and takes the pending interrupt off them. Nothing stays stopped whatever happens.
 * - PTRACE_SEIZE, never ATTACH: no SIGSTOP is sent, a stopped job stays a stopped job, and when we die the kernel
 *   detaches.
 * - Stops are looked at with WNOWAIT. An ordinary wait empties the tracee's exit code, and the signal in it would be
 *   lost if we were killed before the detach; so it stays, and either our detach or the kernel's delivers it.
 * - A thread may come to a signal-delivery-stop instead of our interrupt: that signal is given back at the detach. */
#include "private.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KB_SEIZE_ROUNDS 8u    /* listings before the first interrupt, while new threads keep coming */
#define KB_MAPS_IN_STOP 4000u /* with more mappings than that the list is read just before the stop */
#define KB_RESERVE_MIN (4u << 20)
#define KB_RESERVE_MAX (64u << 20)

/* ---- tracees --------------------------------------------------------------------------------------------------- */

static struct kb_tracee *tracee_find(struct kb_live *l, pid_t tid)
{
	uint64_t i;
	return kb_map_get(&l->by_tid, (uint64_t)tid, &i) ? &l->tracees[i] : NULL;
}

static kb_error *tracee_add(struct kb_live *l, pid_t tid)
{
	if (!KB_ROOM(l->tracees, l->n_tracees, l->tracees_cap, KB_MAX_THREADS) ||
	    !kb_map_put(&l->by_tid, (uint64_t)tid, l->n_tracees))
		return kb_error_nomem();
	l->tracees[l->n_tracees++] = (struct kb_tracee){ .tid = tid, .state = KB_TRACEE_SEIZED };
	return NULL;
}

static bool thread_status(const struct kb_live *l, pid_t tid, struct kb_status *ret)
{
	char name[32];
	snprintf(name, sizeof name, "%d/status", (int)tid);
	kb_error *err = kb_proc_status(l->task_fd, name, ret);
	kb_error_free(err);
	return !err;
}

static bool is_dead(char state)
{
	return state == 'Z' || state == 'X';
}

static kb_error *traced_already(const struct kb_live *l, pid_t tid, pid_t tracer)
{
	char path[32], name[64] = "?";
	struct kb_stat st;
	snprintf(path, sizeof path, "/proc/%d", (int)tracer);
	KB_CLOSE int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	kb_error *err = dir >= 0 ? kb_proc_stat(dir, "stat", &st) : NULL;
	if (dir >= 0 && !err)
		snprintf(name, sizeof name, "%s", st.comm);
	kb_error_free(err);
	return kb_error_remedy(kb_error_new(KB_E_PERMISSION, "thread %d of process %d is already traced by PID %d (%s)",
					    (int)tid, (int)l->pid, (int)tracer, name),
			       "a process can have one tracer only: end or detach %s first", name);
}

/* Why SEIZE said EPERM; NULL when the thread is on its way out. */
static kb_error *seize_refused(const kb_target *t, pid_t tid, int err)
{
	struct kb_status st;
	if (err == ESRCH || !thread_status(&t->live, tid, &st) || is_dead(st.state))
		return NULL;
	if (st.tracer)
		return traced_already(&t->live, tid, st.tracer);
	KB_TRY(kb_access_check_dir(t->live.pid, t->live.proc_fd));
	return kb_error_errno(err, "cannot trace thread %d of process %d", (int)tid, (int)t->live.pid);
}

static kb_error *seize_one(kb_target *t, pid_t tid, bool *ret_new)
{
	struct kb_live *l = &t->live;
	if (tracee_find(l, tid))
		return NULL;
	if (ptrace(PTRACE_SEIZE, tid, 0, 0))
		return seize_refused(t, tid, errno);
	*ret_new = true;
	kb_error *err = tracee_add(l, tid);
	if (err) /* not in our list, so nobody else would let it go */
		ptrace(PTRACE_DETACH, tid, 0, 0);
	return err;
}

struct dirent64_ {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

/* Calls fn for every thread in the list of the moment. getdents directly: opendir would allocate in the stop. */
static kb_error *each_task(kb_target *t, kb_error *(*fn)(kb_target *, pid_t, bool *), bool *ret_any)
{
	_Alignas(8) char buf[16384];
	if (lseek(t->live.task_fd, 0, SEEK_SET) < 0)
		return kb_error_errno(errno, "cannot list the threads of process %d", (int)t->live.pid);
	for (;;) {
		long n = syscall(SYS_getdents64, t->live.task_fd, buf, sizeof buf);
		if (n < 0 && (errno == ENOENT || errno == ESRCH))
			return kb_live_gone(t);
		if (n < 0)
			return kb_error_errno(errno, "cannot list the threads of process %d", (int)t->live.pid);
		if (n == 0)
			return NULL;
		for (long at = 0; at < n;) {
			const struct dirent64_ *d = (const struct dirent64_ *)(buf + at);
			if (d->name[0] >= '0' && d->name[0] <= '9')
				KB_TRY(fn(t, (pid_t)strtol(d->name, NULL, 10), ret_any));
			at += d->reclen;
		}
	}
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static void nap(unsigned round)
{
	long ns = round < 20 ? 10000 : round < 60 ? 50000 : 300000;
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static void reap(struct kb_tracee *tr)
{
	int status;
	tr->state = KB_TRACEE_GONE;
	while (waitpid(tr->tid, &status, __WALL | WNOHANG) < 0 && errno == EINTR)
		;
}

/* Looks whether a tracee has come to a stop or an end. Returns whether its state is settled now. */
static bool poll_tracee(const struct kb_live *l, struct kb_tracee *tr)
{
	siginfo_t si = { 0 };
	struct kb_status st;

	if (waitid(P_PID, (id_t)tr->tid, &si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL)) {
		/* ECHILD: another thread called execve and this one's number is gone */
		if (errno != EINTR)
			tr->state = KB_TRACEE_GONE;
		return errno != EINTR;
	}
	if (si.si_pid == 0) {
		/* A dead leader is reported only after all its threads; it will not stop any more. */
		if (tr->tid == l->pid && thread_status(l, tr->tid, &st) && is_dead(st.state)) {
			tr->state = KB_TRACEE_GONE;
			return true;
		}
		return false;
	}
	if (si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED) {
		reap(tr);
		return true;
	}
	tr->state = KB_TRACEE_STOPPED;
	/* An event (our interrupt, or a job that is stopped) has a number in the second byte; a bare one is a
	 * signal. */
	tr->signal = si.si_status >> 8 ? 0 : si.si_status & 0x7f;
	return true;
}

static kb_error *stop_timed_out(const kb_target *t, const struct kb_tracee *tr, unsigned max_ms)
{
	struct kb_status st;
	const char *why = "has not come to a stop";
	bool known = thread_status(&t->live, tr->tid, &st);
	if (known && st.state == 'D')
		why = "waits in the kernel and cannot be interrupted (state D: a disk, a network, or vfork)";
	else if (known && st.state == 'R')
		why = "was not given a CPU";
	return kb_error_remedy(kb_error_new(KB_E_LIMIT,
					    "process %d could not be stopped within %u ms: thread %d (%s) %s",
					    (int)t->live.pid, max_ms, (int)tr->tid, known ? st.name : "?", why),
			       "the process runs on; try again, or allow a longer stop");
}

static kb_error *wait_all(kb_target *t, uint64_t deadline, unsigned max_ms)
{
	struct kb_live *l = &t->live;
	size_t first = 0;
	for (unsigned round = 0;; round++) {
		while (first < l->n_tracees && l->tracees[first].state != KB_TRACEE_SEIZED)
			first++;
		if (first == l->n_tracees)
			return NULL;
		bool progress = false;
		for (size_t i = first; i < l->n_tracees; i++)
			if (l->tracees[i].state == KB_TRACEE_SEIZED)
				progress |= poll_tracee(l, &l->tracees[i]);
		if (progress) {
			round = 0;
			continue;
		}
		if (kb_now_ns() > deadline)
			return stop_timed_out(t, &l->tracees[first], max_ms);
		nap(round);
	}
}

/* ---- stopping -------------------------------------------------------------------------------------------------- */

static void interrupt_from(struct kb_live *l, size_t from)
{
	for (size_t i = from; i < l->n_tracees; i++)
		ptrace(PTRACE_INTERRUPT, l->tracees[i].tid, 0,
		       0); /* fails only when it has ended: the wait will tell */
}

/* Until a listing shows no thread that we do not hold. Threads stopped already make no new ones, so this ends. */
static kb_error *stop_threads(kb_target *t, uint64_t deadline, unsigned max_ms)
{
	struct kb_live *l = &t->live;
	size_t interrupted = 0;
	bool fresh = true;

	while (fresh) {
		unsigned round = 0;
		do {
			fresh = false;
			KB_TRY(each_task(t, seize_one, &fresh));
		} while (fresh && !interrupted && ++round < KB_SEIZE_ROUNDS);
		if (!l->stop_start)
			l->stop_start = kb_now_ns();
		fresh = interrupted < l->n_tracees;
		interrupt_from(l, interrupted);
		interrupted = l->n_tracees;
		KB_TRY(wait_all(t, deadline, max_ms));
		if (fresh && kb_now_ns() > deadline)
			return kb_error_new(KB_E_LIMIT,
					    "process %d makes threads faster than they can be stopped (%u ms)",
					    (int)l->pid, max_ms);
	}
	return NULL;
}

/* False when the thread was killed while it stood still. */
static bool take_registers(pid_t tid, kb_thread *th, struct kb_thread_raw *raw)
{
	struct iovec iov = { &raw->regs, sizeof raw->regs };
	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) || iov.iov_len < sizeof raw->regs)
		return false;
	kb_regs_from_user(&th->regs, &raw->regs);
	th->have_regs = true;
	th->in_syscall = (int64_t)th->regs.orig_rax >= 0;
	iov = (struct iovec){ &raw->fpregs, sizeof raw->fpregs };
	raw->have_fpregs = !ptrace(PTRACE_GETREGSET, tid, NT_PRFPREG, &iov) && iov.iov_len == sizeof raw->fpregs;
	return true;
}

static void name_thread(const kb_target *t, kb_thread *th)
{
	char path[32];
	struct kb_status st;
	th->inner_tid = th->tid;
	if (t->live.in_ns && thread_status(&t->live, th->tid, &st)) {
		th->inner_tid = st.inner;
		memcpy(th->name, st.name, sizeof th->name);
		return;
	}
	snprintf(path, sizeof path, "%d/comm", (int)th->tid);
	KB_CLOSE int fd = openat(t->live.task_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, th->name, sizeof th->name - 1) : 0;
	if (n > 0 && th->name[n - 1] == '\n')
		n--;
	th->name[n > 0 ? n : 0] = 0;
}

static kb_error *note_thread(kb_target *t, pid_t tid, bool *ret_any)
{
	(void)ret_any;
	if (!KB_ROOM(t->threads, t->n_threads, t->threads_cap, KB_MAX_THREADS) ||
	    !KB_ROOM(t->raw, t->n_threads, t->raw_cap, KB_MAX_THREADS))
		return kb_error_nomem();
	kb_thread *th = &t->threads[t->n_threads++];
	*th = (kb_thread){ .tid = tid };
	name_thread(t, th);
	return NULL;
}

static int by_tid(const void *a, const void *b)
{
	pid_t x = ((const kb_thread *)a)->tid, y = ((const kb_thread *)b)->tid;
	return (x > y) - (x < y);
}

/* Names were read before the stop; here they are only joined with the threads that were really caught. */
static kb_error *collect_threads(kb_target *t)
{
	struct kb_live *l = &t->live;
	size_t n_known = t->n_threads;
	kb_thread *known = t->threads;

	t->threads = NULL, t->n_threads = t->threads_cap = 0;
	qsort(known, n_known, sizeof *known, by_tid);
	for (size_t i = 0; i < l->n_tracees; i++) {
		kb_error *err = NULL;
		if (l->tracees[i].state != KB_TRACEE_STOPPED)
			continue;
		kb_thread key = { .tid = l->tracees[i].tid };
		const kb_thread *old = n_known ? bsearch(&key, known, n_known, sizeof *known, by_tid) : NULL;
		if (!KB_ROOM(t->threads, t->n_threads, t->threads_cap, KB_MAX_THREADS) ||
		    !KB_ROOM(t->raw, t->n_threads, t->raw_cap, KB_MAX_THREADS))
			err = kb_error_nomem();
		if (err) {
			free(known);
			return err;
		}
		kb_thread *th = &t->threads[t->n_threads];
		*th = old ? *old : key;
		if (!take_registers(th->tid, th, &t->raw[t->n_threads]))
			continue; /* killed: its memory will be gone as well, and the reads say so */
		if (!old)
			name_thread(t, th);
		t->n_threads++;
	}
	free(known);
	return t->n_threads ? NULL : kb_live_gone(t);
}

/* The executable was replaced by execve between open and stop: everything known about it is wrong. */
static kb_error *check_same_program(const kb_target *t)
{
	uint8_t now[sizeof t->live.auxv];
	KB_CLOSE int fd = openat(t->live.proc_fd, "auxv", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, now, sizeof now) : -1;
	if (n < 0 || ((size_t)n == t->live.auxv_n && !memcmp(now, t->live.auxv, (size_t)n)))
		return NULL;
	if (n == 0)
		return kb_live_gone(t);
	return kb_error_new(KB_E_GONE, "process %d has started another program (execve) while it was looked at",
			    (int)t->live.pid);
}

/* ---- priority -------------------------------------------------------------------------------------------------- */

/* On a busy machine half of a stop is waiting for a CPU. Not allowed for ordinary users: then it is as it is. */
static void boost(struct kb_boost *b)
{
	struct sched_param old, fifo = { .sched_priority = 1 };
	int policy = sched_getscheduler(0);
	b->old_policy = -1;
	if (policy < 0 || sched_getparam(0, &old) || (policy & ~SCHED_RESET_ON_FORK) == SCHED_FIFO)
		return;
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &fifo))
		return;
	b->old_policy = policy;
	b->old_priority = old.sched_priority;
}

static void unboost(struct kb_boost *b)
{
	struct sched_param old = { .sched_priority = b->old_priority };
	if (b->old_policy >= 0)
		sched_setscheduler(0, b->old_policy, &old);
	b->old_policy = -1;
}

/* ---- the way back ---------------------------------------------------------------------------------------------- */

/* What cannot be detached here (killed meanwhile, or not yet in a stop) is released when this thread ends. */
static void detach_all(kb_target *t)
{
	struct kb_live *l = &t->live;
	for (size_t i = 0; i < l->n_tracees; i++) {
		struct kb_tracee *tr = &l->tracees[i];
		if (tr->state == KB_TRACEE_SEIZED)
			poll_tracee(l, tr);
		if (tr->state == KB_TRACEE_STOPPED)
			ptrace(PTRACE_DETACH, tr->tid, 0, (void *)(intptr_t)tr->signal);
	}
	if (l->stop_start)
		t->info.stopped_ns = kb_now_ns() - l->stop_start;
}

/* ---- the tracing thread ---------------------------------------------------------------------------------------- */

struct kb_tracer {
	kb_target *t;
	pthread_t thread;
	sem_t stopped, go_on;
	uint64_t deadline;
	unsigned max_ms;
	kb_error *err;
};

static kb_error *in_stop(kb_target *t, uint64_t deadline, unsigned max_ms)
{
	KB_TRY(stop_threads(t, deadline, max_ms));
	t->info.taken_mono_ns = kb_now_ns();
	KB_TRY(check_same_program(t));
	KB_TRY(collect_threads(t));
	return t->maps.n <= KB_MAPS_IN_STOP ? kb_live_refresh_maps(t) : NULL;
}

static void wait_sem(sem_t *s)
{
	while (sem_wait(s) && errno == EINTR)
		;
}

static void *tracer_main(void *arg)
{
	struct kb_tracer *tr = arg;
	struct kb_boost own;
	boost(&own);
	tr->err = in_stop(tr->t, tr->deadline, tr->max_ms);
	if (!tr->err) {
		sem_post(&tr->stopped);
		wait_sem(&tr->go_on);
		detach_all(tr->t);
	} else {
		detach_all(tr->t);
		sem_post(&tr->stopped);
	}
	return NULL;
}

/* Our signals are for the caller's threads. */
static int start_tracer(struct kb_tracer *tr)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&tr->thread, NULL, tracer_main, tr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

static void end_tracer(kb_target *t)
{
	struct kb_live *l = &t->live;
	pthread_join(l->tracer->thread, NULL);
	unboost(&l->boost);
	sem_destroy(&l->tracer->stopped);
	sem_destroy(&l->tracer->go_on);
	free(l->tracer);
	l->tracer = NULL;
	l->n_tracees = 0;
	kb_map_free(&l->by_tid);
}

kb_error *kb_target_resume(kb_target *t)
{
	if (t->core || !t->live.tracer)
		return NULL;
	sem_post(&t->live.tracer->go_on);
	end_tracer(t);
	return NULL;
}

/* ---- public ---------------------------------------------------------------------------------------------------- */

/* Room for what is typically captured in the stop: the executable's writable data and its bss. */
static void reserve_room(kb_target *t)
{
	uint64_t n = KB_RESERVE_MIN;
	for (size_t i = 0; i < t->maps.n && n < KB_RESERVE_MAX; i++) {
		const kb_mapping *m = &t->maps.v[i];
		bool data = m->perms & KB_PERM_W && m->inode && t->info.exe && !strcmp(m->path, t->info.exe);
		if (!data)
			continue;
		n += m->end - m->start;
		if (i + 1 < t->maps.n && m[1].start == m->end && !m[1].inode) /* bss */
			n += m[1].end - m[1].start;
	}
	kb_overlay_reserve(&t->overlay, (size_t)(n < KB_RESERVE_MAX ? n : KB_RESERVE_MAX));
}

static kb_error *prepare(kb_target *t)
{
	struct kb_live *l = &t->live;
	bool any;

	l->stop_start = 0;
	t->n_threads = 0;
	KB_TRY(each_task(t, note_thread, &any));
	if (!kb_grow(&l->tracees, &l->tracees_cap, 2 * t->n_threads + 16, sizeof *l->tracees, 2 * KB_MAX_THREADS))
		return kb_error_nomem();
	reserve_room(t);
	return kb_live_refresh_maps(t);
}

kb_error *kb_target_stop(kb_target *t, unsigned max_ms)
{
	struct kb_live *l = &t->live;
	if (t->core)
		return NULL;
	if (l->tracer)
		return kb_error_new(KB_E_USAGE, "process %d is stopped already", (int)l->pid);
	KB_TRY(prepare(t));
	struct kb_tracer *tr = calloc(1, sizeof *tr);
	if (!tr)
		return kb_error_nomem();
	*tr = (struct kb_tracer){ .t = t, .max_ms = max_ms, .deadline = kb_now_ns() + max_ms * 1000000ull };
	sem_init(&tr->stopped, 0, 0);
	sem_init(&tr->go_on, 0, 0);
	t->info.taken_at = (uint64_t)time(NULL);
	l->tracer = tr;
	int failed = start_tracer(tr);
	if (failed) {
		l->tracer = NULL;
		free(tr);
		return kb_error_errno(failed, "cannot start the tracing thread");
	}
	boost(&l->boost);
	wait_sem(&tr->stopped);
	kb_error *err = tr->err;
	if (err)
		end_tracer(t);
	return err;
}

const kb_thread *kb_target_threads(const kb_target *t, size_t *ret_n)
{
	*ret_n = t->n_threads;
	return t->threads;
}
