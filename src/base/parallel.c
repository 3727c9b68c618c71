#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "alloc.h"

/* Beyond this many threads the work we have does not get faster, and per-worker memory grows. */
#define WORKERS_MAX 256
/* The kernel refuses an affinity mask smaller than its own; this is its largest NR_CPUS. */
#define CPUS_MAX 8192

struct loop {
	kb_parallel_fn fn;
	void *ctx;
	size_t n;
	atomic_size_t next;
	_Atomic(kb_error *) error; /* the first one */
};

struct worker {
	struct loop *loop;
	unsigned number;
	pthread_t thread;
};

static unsigned cpu_count;
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

static void count_cpus(void)
{
	size_t bytes = CPU_ALLOC_SIZE(CPUS_MAX);
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
	int n = 1;

	if (set && !sched_getaffinity(0, bytes, set))
		n = CPU_COUNT_S(bytes, set);
	CPU_FREE(set);
	cpu_count = n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

/* Counted once: kb_parallel promises worker < kb_cpu_count(), also when the affinity changes meanwhile. */
unsigned kb_cpu_count(void)
{
	pthread_once(&cpu_once, count_cpus);
	return cpu_count;
}

static void keep_first(struct loop *loop, kb_error *err)
{
	kb_error *none = NULL;

	if (!atomic_compare_exchange_strong(&loop->error, &none, err))
		kb_error_free(err);
}

static void work(struct loop *loop, unsigned number)
{
	while (!atomic_load_explicit(&loop->error, memory_order_relaxed)) {
		size_t i = atomic_fetch_add(&loop->next, 1);

		if (i >= loop->n)
			return;
		kb_error *err = loop->fn(loop->ctx, number, i);
		if (err) {
			keep_first(loop, err);
			return;
		}
	}
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;

	work(w->loop, w->number);
	return NULL;
}

/* Starts up to n workers, numbered from 1, and says how many run. With fewer the work is done all the same. */
static unsigned start_workers(struct worker *workers, unsigned n, struct loop *loop)
{
	sigset_t all, before;
	unsigned started = 0;

	/* Signals are the main thread's business: a handler there may rely on which thread it interrupts. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (started < n) {
		struct worker *w = &workers[started];

		*w = (struct worker){ .loop = loop, .number = started + 1 };
		if (pthread_create(&w->thread, NULL, thread_main, w))
			break;
		started++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

kb_error *kb_parallel(size_t n, kb_parallel_fn fn, void *ctx)
{
	struct loop loop = { .fn = fn, .ctx = ctx, .n = n };
	unsigned helpers = kb_cpu_count() - 1, started = 0;
	struct worker *workers = NULL;

	if (n <= helpers)
		helpers = n ? (unsigned)n - 1 : 0;
	if (helpers)
		workers = kb_calloc(helpers, sizeof(*workers));
	if (workers)
		started = start_workers(workers, helpers, &loop);
	work(&loop, 0); /* the caller's thread is worker 0 */
	for (unsigned i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
	return atomic_load(&loop.error);
}
