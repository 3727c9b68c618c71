/* Live processes: each test makes a child that knows the truth about its own memory, threads and signals. */
#include "test_target_maker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target/private.h"

/* Shared with the child: it says where things are, we say what to do. */
struct shared {
	_Atomic long signals, sent, made, beats;
	_Atomic int ready, command;
	uint8_t *memory;
};

#define PAGES 16u
#define STOP_MS 5000u

static struct shared *shared;
static uint8_t *memory; /* the child's, also when it is gone */

static void nap_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000l };
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* The child runs body until it is killed; we go on when it has said that it is ready. */
static pid_t start(void (*body)(void))
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(120); /* whatever happens to us, it does not stay */
		body();
		_exit(0);
	}
	while (!atomic_load(&shared->ready))
		nap_ms(1);
	memory = shared->memory;
	return pid;
}

static void finish(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(shared, sizeof(*shared));
}

static kb_target *open_child(pid_t pid)
{
	kb_target *t = NULL;
	assert_ok(kb_target_open_pid(pid, NULL, &t));
	return t;
}

static char state_of(pid_t pid)
{
	char path[64], line[512];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	size_t n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = 0;
	const char *p = strrchr(line, ')');
	return p ? p[2] : 0;
}

static void assert_running(void)
{
	long before = atomic_load(&shared->beats);
	for (int i = 0; i < 500 && atomic_load(&shared->beats) == before; i++)
		nap_ms(10);
	assert_true(atomic_load(&shared->beats) > before);
}

/* ---- children -------------------------------------------------------------------------------------------------- */

/* 16 pages, each its own bytes; page 5 unmapped, page 9 without access. On command the bytes change. */
static void child_memory(void)
{
	uint8_t *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < PAGES; i++)
		memset(p + i * PAGE, (int)(100 + i), PAGE);
	munmap(p + 5 * PAGE, PAGE);
	mprotect(p + 9 * PAGE, PAGE, PROT_NONE);
	shared->memory = p;
	atomic_store(&shared->ready, 1);
	for (;;) {
		if (atomic_exchange(&shared->command, 0))
			for (unsigned i = 0; i < PAGES; i++)
				if (i != 5 && i != 9)
					memset(p + i * PAGE, (int)(200 + i), PAGE);
		atomic_fetch_add(&shared->beats, 1);
		nap_ms(1);
	}
}

static void change_memory(void)
{
	atomic_store(&shared->command, 1);
	while (atomic_load(&shared->command))
		nap_ms(1);
	long before = atomic_load(&shared->beats); /* the change itself comes after the command was taken */
	while (atomic_load(&shared->beats) < before + 2)
		nap_ms(1);
}

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&shared->signals, 1);
}

static void *short_thread(void *arg)
{
	return arg;
}

static void *thread_maker(void *arg)
{
	(void)arg;
	for (;;) {
		pthread_t t[4];
		int n = 0;
		for (int i = 0; i < 4; i++)
			n += !pthread_create(&t[n], NULL, short_thread, NULL);
		for (int i = 0; i < n; i++)
			pthread_join(t[i], NULL);
		atomic_fetch_add(&shared->made, n);
	}
	return NULL;
}

static void *waiting_thread(void *arg)
{
	(void)arg;
	for (;;)
		nap_ms(1);
	return NULL;
}

/* Threads that come and go all the time, threads that wait, and real-time signals, which are queued and never
 * merged. */
static void child_threads(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	pthread_t t;
	sigaction(SIGRTMIN, &sa, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&t, NULL, thread_maker, NULL);
	for (int i = 0; i < 6; i++)
		pthread_create(&t, NULL, waiting_thread, NULL);
	atomic_store(&shared->ready, 1);
	for (;;) {
		atomic_fetch_add(&shared->beats, 1);
		nap_ms(1);
	}
}

static int sleep_a_second(void *arg)
{
	(void)arg;
	syscall(SYS_nanosleep, &(struct timespec){ 1, 0 }, NULL);
	return 0;
}

/* A thread that waits in vfork, as Go's os/exec does, where nothing but a kill reaches it; its child sleeps for a
 * second. */
static void *vforking_thread(void *arg)
{
	(void)arg;
	static _Alignas(16) uint8_t stack[65536];
	clone(sleep_a_second, stack + sizeof(stack), CLONE_VM | CLONE_VFORK, NULL);
	atomic_store(&shared->made, 1);
	for (;;)
		nap_ms(100);
	return NULL;
}

static void child_vfork(void)
{
	pthread_t t;
	pthread_create(&t, NULL, vforking_thread, NULL);
	nap_ms(100);
	atomic_store(&shared->ready, 1);
	for (;;) {
		atomic_fetch_add(&shared->beats, 1);
		nap_ms(1);
	}
}

static void child_exec(void)
{
	atomic_store(&shared->ready, 1);
	while (!atomic_load(&shared->command))
		nap_ms(1);
	execl("/bin/sleep", "sleep", "100", (char *)NULL);
}

/* ---- reading and capturing ------------------------------------------------------------------------------------- */

static kb_addr at(unsigned page)
{
	return (uintptr_t)memory + page * PAGE;
}

static void assert_fault_at(kb_error *err, kb_addr a)
{
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_FAULT);
	assert_true(err->address == a);
	kb_error_free(err);
}

static void test_reads_and_holes(void **state)
{
	uint8_t *buf = malloc(PAGES * PAGE);
	pid_t pid = start(child_memory);
	kb_target *t = open_child(pid);
	uint64_t v;

	(void)state;
	assert_ok(kb_target_read(t, at(0) + 1, buf, 5 * PAGE - 1));
	assert_true(buf[0] == 100 && buf[5 * PAGE - 2] == 104);
	assert_fault_at(kb_target_read(t, at(3), buf, 4 * PAGE), at(5));
	assert_fault_at(kb_target_read(t, at(9) + 7, buf, 1), at(9) + 7);
	assert_fault_at(kb_target_read(t, 16, buf, 8), 16);
	assert_fault_at(kb_target_read(t, KB_ADDR_MAX - 3, buf, 8), KB_ADDR_MAX - 3);
	assert_fault_at(kb_target_read(t, 0xffff800000000000, buf, 8), 0xffff800000000000);
	assert_ok(kb_target_read_u64(t, at(1), &v));
	assert_true(v == 0x6565656565656565);
	assert_int_equal(kb_target_read_holes(t, at(0) + 100, buf, PAGES * PAGE - 100), (PAGES - 2) * PAGE - 100);
	for (unsigned i = 0; i < PAGES * PAGE - 100; i++) {
		unsigned page = (i + 100) / PAGE;
		assert_int_equal(buf[i], page == 5 || page == 9 ? 0 : 100 + page);
	}
	const kb_mapping *m = kb_target_mapping_at(t, at(6));
	assert_true(m && m->start == at(6) && m->perms == (KB_PERM_R | KB_PERM_W));
	assert_null(kb_target_mapping_at(t, at(5)));
	assert_null(kb_target_view(t, at(0), 8).p);
	finish(pid);
	assert_error(kb_target_read(t, at(0), buf, 8), KB_E_GONE);
	assert_int_equal(kb_target_read_holes(t, at(0), buf, PAGE), 0);
	kb_target_close(t);
	free(buf);
}

static void test_captures_win_and_holes_stay_holes(void **state)
{
	uint8_t *buf = malloc(PAGES * PAGE);
	pid_t pid = start(child_memory);
	kb_target *t = open_child(pid);
	/* Not sorted, some touch, holes inside, one empty. */
	const kb_range ranges[] = { { at(12), PAGE },     { at(3) + 100, 4 * PAGE }, { at(1), 10 },
				    { at(1) + 10, PAGE }, { at(9), PAGE / 2 },       { at(15) + 8, 0 } };

	(void)state;
	assert_ok(kb_target_capture_many(t, ranges, KB_ARRAY_LEN(ranges)));
	change_memory();
	assert_ok(kb_target_read(t, at(0), buf, 3 * PAGE));
	assert_true(buf[PAGE - 1] == 200 && buf[PAGE] == 101 && buf[PAGE + 10] == 101 && buf[2 * PAGE + 9] == 102);
	assert_int_equal(buf[2 * PAGE + 10], 202);
	assert_fault_at(kb_target_read(t, at(3), buf, 4 * PAGE), at(5));
	assert_int_equal(kb_target_read_holes(t, at(3), buf, 6 * PAGE), 5 * PAGE);
	assert_true(buf[99] == 203 && buf[100] == 103 && buf[2 * PAGE - 1] == 104 && buf[2 * PAGE] == 0);
	assert_true(buf[4 * PAGE + 99] == 107 && buf[4 * PAGE + 100] == 207);
	/* The same range again: the newer copy counts. A part of one: only that part. */
	assert_ok(kb_target_capture(t, at(12), PAGE));
	assert_ok(kb_target_capture(t, at(1) + 20, 30));
	assert_ok(kb_target_read(t, at(12), buf, PAGE));
	assert_true(buf[0] == 212 && buf[PAGE - 1] == 212);
	assert_ok(kb_target_read(t, at(1), buf, 60));
	assert_true(buf[19] == 101 && buf[20] == 201 && buf[49] == 201 && buf[50] == 101);
	assert_fault_at(kb_target_capture(t, KB_ADDR_MAX - 5, 10), KB_ADDR_MAX - 5);
	finish(pid);
	assert_ok(kb_target_read(t, at(12), buf, PAGE)); /* outlives the process */
	assert_error(kb_target_capture(t, at(0), PAGE), KB_E_GONE);
	kb_target_close(t);
	free(buf);
}

/* Against a model that keeps every byte: random captures of changing memory, in every order and overlap. */
static void test_many_captures_against_a_model(void **state)
{
	enum { ROUNDS = 40, PER_ROUND = 3000, LEN = 12 * PAGE };
	uint8_t *model = malloc(LEN), *buf = malloc(LEN);
	bool *taken = calloc(LEN, 1);
	kb_range *ranges = malloc(PER_ROUND * sizeof(*ranges));
	pid_t pid = start(child_memory);
	kb_target *t = open_child(pid);
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		size_t n = 0;
		if (round == ROUNDS / 2)
			change_memory();
		for (unsigned a = (unsigned)rand_r(&seed) % 50; a < LEN && n < PER_ROUND;) {
			unsigned len = 1 + (unsigned)rand_r(&seed) % (round % 3 ? 40 : 700);
			len = len < LEN - a ? len : LEN - a;
			ranges[n++] = (kb_range){ at(0) + a, len };
			for (unsigned i = a; i < a + len; i++) {
				model[i] = (uint8_t)((round < ROUNDS / 2 ? 100 : 200) + i / PAGE);
				taken[i] = i / PAGE != 5 && i / PAGE != 9; /* holes */
			}
			a += len + (unsigned)rand_r(&seed) % (round % 2 ? 3 : 300);
		}
		for (size_t i = n; i > 1; i--) { /* shuffled */
			size_t k = (size_t)rand_r(&seed) % i;
			kb_range swap = ranges[i - 1];
			ranges[i - 1] = ranges[k], ranges[k] = swap;
		}
		assert_ok(kb_target_capture_many(t, ranges, n));
	}
	finish(pid); /* what was not captured cannot be read any more */
	for (unsigned i = 0; i < LEN; i++) {
		kb_error *err = kb_target_read(t, at(0) + i, buf, 1);
		assert_int_equal(err == NULL, taken[i]);
		assert_true(err || buf[0] == model[i]);
		kb_error_free(err);
	}
	kb_target_close(t);
	free(ranges);
	free(taken);
	free(buf);
	free(model);
}

/* ---- the stop -------------------------------------------------------------------------------------------------- */

static void *send_signals(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	while (!atomic_load(&shared->command)) {
		if (sigqueue(pid, SIGRTMIN, (union sigval){ 0 }) == 0)
			atomic_fetch_add(&shared->sent, 1);
		if (atomic_load(&shared->sent) % 4 == 0)
			usleep(150);
	}
	return NULL;
}

static void assert_all_signals_arrived(pthread_t sender)
{
	atomic_store(&shared->command, 1);
	pthread_join(sender, NULL);
	for (int i = 0; i < 1000 && atomic_load(&shared->signals) < atomic_load(&shared->sent); i++)
		nap_ms(10);
	assert_true(atomic_load(&shared->sent) > 100);
	assert_int_equal(atomic_load(&shared->signals), atomic_load(&shared->sent));
}

static void test_stops_of_coming_and_going_threads_lose_no_signal(void **state)
{
	pid_t pid = start(child_threads);
	kb_target *t = open_child(pid);
	pthread_t sender;
	size_t n;

	(void)state;
	pthread_create(&sender, NULL, send_signals, &pid);
	for (int i = 0; i < 200; i++) {
		assert_ok(kb_target_stop(t, STOP_MS));
		const kb_thread *th = kb_target_threads(t, &n);
		assert_true(n >= 9);
		for (size_t k = 0; k < n; k++)
			assert_true(th[k].have_regs && th[k].regs.rip && th[k].inner_tid == th[k].tid);
		/* Nothing moves while stopped. */
		long made = atomic_load(&shared->made), beats = atomic_load(&shared->beats);
		if (i % 20 == 0) {
			nap_ms(20);
			assert_int_equal(atomic_load(&shared->made), made);
			assert_int_equal(atomic_load(&shared->beats), beats);
			assert_error(kb_target_stop(t, STOP_MS), KB_E_USAGE);
		}
		assert_ok(kb_target_resume(t));
		assert_ok(kb_target_resume(t));
		assert_true(kb_target_info_get(t)->stopped_ns > 0);
		usleep(500);
	}
	assert_all_signals_arrived(sender);
	assert_running();
	kb_target_close(t);
	finish(pid);
}

static void stop_and_hang(pid_t pid, int told)
{
	kb_target *t;
	if (kb_target_open_pid(pid, NULL, &t) || kb_target_stop(t, STOP_MS))
		_exit(1);
	if (write(told, "s", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Killed at any instant of the stop: the threads run on, and the signals it held are delivered by the kernel. */
static void test_killed_while_the_target_is_stopped(void **state)
{
	pid_t pid = start(child_threads);
	pthread_t sender;
	char byte;

	(void)state;
	pthread_create(&sender, NULL, send_signals, &pid);
	for (int i = 0; i < 40; i++) {
		int told[2];
		assert_int_equal(pipe(told), 0);
		pid_t tool = fork();
		if (tool == 0)
			stop_and_hang(pid, told[1]);
		close(told[1]);
		if (i % 2)
			assert_int_equal(read(told[0], &byte, 1), 1); /* fully stopped */
		else
			usleep((unsigned)i * 100); /* somewhere on the way */
		kill(tool, SIGKILL);
		waitpid(tool, NULL, 0);
		close(told[0]);
	}
	assert_all_signals_arrived(sender);
	assert_running();
	finish(pid);
}

static void test_stopped_job_stays_stopped(void **state)
{
	pid_t pid = start(child_threads);
	kb_target *t = open_child(pid);

	(void)state;
	kill(pid, SIGSTOP);
	while (state_of(pid) != 'T')
		nap_ms(1);
	for (int i = 0; i < 5; i++) {
		assert_ok(kb_target_stop(t, STOP_MS));
		assert_int_equal(state_of(pid), 't');
		assert_ok(kb_target_resume(t));
	}
	nap_ms(20);
	assert_int_equal(state_of(pid), 'T');
	kill(pid, SIGCONT);
	assert_running();
	kb_target_close(t);
	finish(pid);
}

static void test_traced_by_somebody_else(void **state)
{
	pid_t pid = start(child_memory);
	kb_target *t = open_child(pid);
	int told[2];
	char byte;

	(void)state;
	assert_int_equal(pipe(told), 0);
	pid_t other = fork();
	if (other == 0) {
		ptrace(PTRACE_SEIZE, pid, 0, 0);
		if (write(told[1], "s", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	kb_error *err = kb_target_stop(t, STOP_MS);
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_PERMISSION);
	char want[64];
	snprintf(want, sizeof(want), "already traced by PID %d (test_target_liv", (int)other);
	assert_non_null(strstr(err->message, want));
	kb_error_free(err);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	assert_ok(kb_target_stop(t, STOP_MS));
	kb_target_close(t); /* resumes */
	assert_running();
	close(told[0]);
	close(told[1]);
	finish(pid);
}

/* A thread that cannot be stopped in time: a clear error, and all run on, that thread too when it comes back. */
static void test_thread_that_cannot_be_stopped(void **state)
{
	pid_t pid = start(child_vfork);
	kb_target *t = open_child(pid);

	(void)state;
	kb_error *err = kb_target_stop(t, 100);
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_LIMIT);
	assert_non_null(strstr(err->message, "vfork"));
	kb_error_free(err);
	assert_running();
	for (int i = 0; i < 300 && !atomic_load(&shared->made); i++)
		nap_ms(10);
	assert_int_equal(atomic_load(&shared->made), 1);
	assert_ok(kb_target_stop(t, STOP_MS));
	assert_ok(kb_target_resume(t));
	assert_running();
	kb_target_close(t);
	finish(pid);
}

static void test_killed_while_stopped(void **state)
{
	pid_t pid = start(child_threads);
	kb_target *t = open_child(pid);
	uint8_t byte;
	size_t n;

	(void)state;
	assert_ok(kb_target_stop(t, STOP_MS));
	kb_addr a = kb_target_threads(t, &n)[0].regs.rsp;
	kill(pid, SIGKILL);
	nap_ms(20);
	assert_error(kb_target_read(t, a, &byte, 1), KB_E_GONE);
	assert_ok(kb_target_resume(t));
	assert_error(kb_target_stop(t, STOP_MS), KB_E_GONE);
	kb_target_close(t);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	munmap(shared, sizeof(*shared));
}

static void test_another_program_is_noticed(void **state)
{
	pid_t pid = start(child_exec);
	kb_target *t = open_child(pid);

	(void)state;
	atomic_store(&shared->command, 1);
	for (int i = 0; i < 500; i++) {
		char path[64], name[32] = "";
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		FILE *f = fopen(path, "r");
		bool done = f && fgets(name, sizeof(name), f) && !strcmp(name, "sleep\n");
		if (f)
			fclose(f);
		if (done)
			break;
		nap_ms(10);
	}
	assert_error(kb_target_stop(t, STOP_MS), KB_E_GONE);
	assert_true(state_of(pid) == 'S' || state_of(pid) == 'R');
	kb_target_close(t);
	finish(pid);
}

static void test_processes_that_cannot_be_opened(void **state)
{
	kb_target *t;

	(void)state;
	assert_error(kb_target_open_pid(0, NULL, &t), KB_E_NOT_FOUND);
	assert_error(kb_target_open_pid(-1, NULL, &t), KB_E_NOT_FOUND);
	assert_error(kb_target_open_pid(0x7ffffffe, NULL, &t), KB_E_NOT_FOUND);
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	while (state_of(pid) != 'Z')
		nap_ms(1);
	assert_error(kb_target_open_pid(pid, NULL, &t), KB_E_NOT_FOUND);
	waitpid(pid, NULL, 0);
}

/* ---- a core of it ---------------------------------------------------------------------------------------------- */

static void compare_core(const kb_target *live, const kb_target *core)
{
	uint8_t *a = malloc(PAGES * PAGE), *b = malloc(PAGES * PAGE);
	size_t n_live, n_core;

	assert_ok(kb_target_read(core, at(2), a, PAGE));
	assert_int_equal(a[0], 102); /* captured before the change */
	assert_int_equal(a[PAGE - 1], 102);
	kb_target_read_holes(live, at(0), a, PAGES * PAGE);
	kb_target_read_holes(core, at(0), b, PAGES * PAGE);
	assert_memory_equal(a, b, PAGES * PAGE);
	assert_int_equal(b[3 * PAGE], 203);
	assert_fault_at(kb_target_read(core, at(5), a, 1), at(5));
	assert_fault_at(kb_target_read(core, at(9), a, 1), at(9));
	const kb_thread *x = kb_target_threads(live, &n_live), *y = kb_target_threads(core, &n_core);
	assert_int_equal(n_live, 1);
	assert_int_equal(n_core, 1);
	assert_memory_equal(&x->regs, &y->regs, sizeof(x->regs));
	assert_int_equal(x->inner_tid, y->tid);
	assert_int_equal(kb_target_info_get(live)->pid, kb_target_info_get(core)->pid);
	assert_string_equal(kb_target_info_get(live)->exe, kb_target_info_get(core)->exe);
	assert_false(kb_target_info_get(core)->truncated);
	assert_false(kb_target_info_get(core)->filtered);
	/* All that is readable, but for what changes by itself. */
	const kb_mapping *m = kb_target_mappings(live, &n_live);
	for (size_t i = 0; i < n_live; i++) {
		bool same = !(m[i].perms & KB_PERM_W) && m[i].perms & KB_PERM_R && m[i].path[0] == '/';
		for (kb_addr p = m[i].start; same && p < m[i].end; p += PAGE) {
			size_t got = kb_target_read_holes(live, p, a, PAGE);
			assert_true(kb_target_read_holes(core, p, b, PAGE) == got);
			assert_memory_equal(a, b, PAGE);
		}
	}
	free(a);
	free(b);
}

static void test_core_written_and_read_back(void **state)
{
	pid_t pid = start(child_memory);
	kb_target *t = open_child(pid), *core;
	int fd = memfd_create("core", MFD_CLOEXEC);
	char path[32];
	uint64_t written;

	(void)state;
	assert_error(kb_target_write_core(t, fd, NULL, &written), KB_E_USAGE);
	assert_ok(kb_target_stop(t, STOP_MS));
	assert_ok(kb_target_capture(t, at(2), PAGE));
	assert_ok(kb_target_resume(t));
	change_memory();
	assert_int_equal(write(fd, "something old", 13), 13);
	assert_ok(kb_target_write_core(t, fd, NULL, &written));
	assert_true(written > PAGES * PAGE && written <= (uint64_t)lseek(fd, 0, SEEK_END));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_ok(kb_target_open_core(NULL, path, &core));
	compare_core(t, core);
	kb_target_close(core);
	/* Nowhere to write, and nothing to write any more. */
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	assert_error(kb_target_write_core(t, full, NULL, &written), KB_E_IO);
	close(full);
	finish(pid);
	kb_error *err = kb_target_write_core(t, fd, NULL, &written);
	assert_non_null(err);
	kb_error_free(err);
	kb_target_close(t);
	close(fd);
}

/* ---- facts ----------------------------------------------------------------------------------------------------- */

static void test_resident_pages(void **state)
{
	uint8_t bits[2] = { 0 };
	kb_resident *r;
	size_t n, n_maps;
	pid_t pid = start(child_memory);
	kb_target *t = open_child(pid);

	(void)state;
	assert_ok(kb_target_resident_bits(t, at(0), PAGES * PAGE, bits));
	assert_int_equal(bits[0], 0xdf); /* page 5 is not there; page 9 was written, then closed */
	assert_int_equal(bits[1], 0xff);
	assert_ok(kb_target_smaps(t, &r, &n));
	kb_target_mappings(t, &n_maps);
	assert_int_equal(n, n_maps);
	bool found = false;
	for (size_t i = 0; i < n; i++)
		if (r[i].start == at(6)) {
			found = true;
			assert_int_equal(r[i].size, 3 * PAGE);
			assert_int_equal(r[i].rss, 3 * PAGE);
		}
	assert_true(found);
	free(r);
	kb_target_close(t);
	finish(pid);
}

/* By the kernel's scan and by pagemap's words: the same runs. */
static void test_runs_of_resident_pages(void **state)
{
	static const kb_range want[] = { { 0, 5 * PAGE }, { 6 * PAGE, 10 * PAGE } };
	pid_t pid = start(child_memory);
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int no_scan = 0; no_scan < 2; no_scan++) {
		struct kb_page_runs runs = { .fd = fd, .no_scan = no_scan, .next = at(0) };
		kb_range r;
		kb_addr a = at(0);
		for (size_t i = 0; i < KB_ARRAY_LEN(want); i++, a = r.a + r.n) {
			assert_true(kb_page_runs_next(&runs, a, at(PAGES), &r));
			assert_int_equal(r.a - at(0), want[i].a);
			assert_int_equal(r.n, want[i].n);
		}
		assert_false(kb_page_runs_next(&runs, a, at(PAGES), &r));
	}
	close(fd);
	finish(pid);
}

static void test_list_has_us(void **state)
{
	kb_process *list;
	size_t n;
	bool found = false;

	(void)state;
	assert_ok(kb_process_list(&list, &n));
	for (size_t i = 0; i < n; i++) {
		assert_true(i == 0 || list[i - 1].pid < list[i].pid);
		if (list[i].pid == getpid()) {
			found = true;
			assert_non_null(strstr(list[i].exe, "test_target_live"));
			assert_true(list[i].readable && list[i].rss > 0 && list[i].uid == getuid());
		}
		assert_int_equal(list[i].readable, list[i].why_not == NULL);
	}
	assert_true(found);
	kb_process_list_free(list, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_and_holes),
		cmocka_unit_test(test_captures_win_and_holes_stay_holes),
		cmocka_unit_test(test_many_captures_against_a_model),
		cmocka_unit_test(test_stops_of_coming_and_going_threads_lose_no_signal),
		cmocka_unit_test(test_killed_while_the_target_is_stopped),
		cmocka_unit_test(test_stopped_job_stays_stopped),
		cmocka_unit_test(test_traced_by_somebody_else),
		cmocka_unit_test(test_thread_that_cannot_be_stopped),
		cmocka_unit_test(test_killed_while_stopped),
		cmocka_unit_test(test_another_program_is_noticed),
		cmocka_unit_test(test_processes_that_cannot_be_opened),
		cmocka_unit_test(test_core_written_and_read_back),
		cmocka_unit_test(test_resident_pages),
		cmocka_unit_test(test_runs_of_resident_pages),
		cmocka_unit_test(test_list_has_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
