#include "kb_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define MANY 20000

static atomic_uint seen[MANY];
static atomic_size_t calls;

static void reset(void)
{
	memset(seen, 0, sizeof(seen));
	calls = 0;
}

static kb_error *count(void *ctx, unsigned worker, size_t i)
{
	(void)ctx;
	if (worker >= kb_cpu_count())
		return kb_error_new(KB_E_LIMIT, "worker %u", worker);
	atomic_fetch_add(&seen[i], 1);
	atomic_fetch_add(&calls, 1);
	return NULL;
}

static void test_each_once(void **state)
{
	static const size_t sizes[] = { 0, 1, 2, 3, MANY };

	(void)state;
	for (size_t s = 0; s < KB_ARRAY_LEN(sizes); s++) {
		reset();
		assert_ok(kb_parallel(sizes[s], count, NULL));
		assert_int_equal(calls, sizes[s]);
		for (size_t i = 0; i < sizes[s]; i++)
			assert_int_equal(seen[i], 1);
	}
}

static void test_works_without_memory_for_threads(void **state)
{
	(void)state;
	reset();
	kb_alloc_fail_after(0);
	kb_error *err = kb_parallel(100, count, NULL);
	kb_alloc_fail_after(-1);
	assert_null(err);
	assert_int_equal(calls, 100);
}

static kb_error *fail_early(void *ctx, unsigned worker, size_t i)
{
	(void)ctx, (void)worker;
	atomic_fetch_add(&calls, 1);
	return i >= 10 ? kb_error_new(KB_E_CORRUPT, "at %zu", i) : NULL;
}

static void test_first_error_stops_the_rest(void **state)
{
	(void)state;
	reset();
	assert_error(kb_parallel((size_t)1 << 40, fail_early, NULL), KB_E_CORRUPT);
	/* Ten good ones, and at most one failure in each worker. */
	assert_in_range(calls, 11, 10 + kb_cpu_count());
}

/* Both workers must be in the loop at once, or this waits until the limit. */
static kb_error *meet(void *ctx, unsigned worker, size_t i)
{
	uint64_t until = kb_now_ns() + 10000000000u;
	unsigned want = *(unsigned *)ctx;

	(void)worker, (void)i;
	atomic_fetch_add(&calls, 1);
	while (calls < want) {
		if (kb_now_ns() > until)
			return kb_error_new(KB_E_LIMIT, "alone");
		sched_yield();
	}
	return NULL;
}

static void test_uses_all_cpus_at_once(void **state)
{
	unsigned want = kb_cpu_count();

	(void)state;
	reset();
	assert_ok(kb_parallel(want, meet, &want));
	assert_int_equal(calls, want);
}

static kb_error *nested(void *ctx, unsigned worker, size_t i)
{
	(void)worker, (void)i;
	return kb_parallel(10, count, ctx);
}

static void test_nests(void **state)
{
	(void)state;
	reset();
	assert_ok(kb_parallel(20, nested, NULL));
	assert_int_equal(calls, 200);
}

static kb_error *mask_is_full(void *ctx, unsigned worker, size_t i)
{
	sigset_t now;

	(void)ctx, (void)i;
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	if (worker && sigismember(&now, SIGINT) != 1)
		return kb_error_new(KB_E_CORRUPT, "worker %u would take SIGINT", worker);
	if (!worker && sigismember(&now, SIGINT) != 0)
		return kb_error_new(KB_E_CORRUPT, "the caller lost SIGINT");
	return NULL;
}

static void test_signals_stay_with_the_caller(void **state)
{
	(void)state;
	assert_ok(kb_parallel(1000, mask_is_full, NULL));
}

static void test_clock_and_cpus(void **state)
{
	uint64_t before = kb_now_ns();

	(void)state;
	assert_true(before > 0);
	assert_true(kb_now_ns() >= before);
	assert_true(kb_cpu_count() >= 1);
}

static void note(void *ctx, const char *phase, double fraction)
{
	assert_string_equal(phase, "read");
	*(double *)ctx = fraction;
}

static void test_progress_is_optional(void **state)
{
	double fraction = -1;
	kb_progress p = { note, &fraction }, silent = { 0 };

	(void)state;
	kb_progress_tell(NULL, "read", 0);
	kb_progress_tell(&silent, "read", 0);
	kb_progress_tell(&p, "read", 0.5);
	assert_true(fraction == 0.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_once),
		cmocka_unit_test(test_works_without_memory_for_threads),
		cmocka_unit_test(test_first_error_stops_the_rest),
		cmocka_unit_test(test_uses_all_cpus_at_once),
		cmocka_unit_test(test_nests),
		cmocka_unit_test(test_signals_stay_with_the_caller),
		cmocka_unit_test(test_clock_and_cpus),
		cmocka_unit_test(test_progress_is_optional),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
