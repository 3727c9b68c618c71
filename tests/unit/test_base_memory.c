#include "kb_test.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void assert_zeroed(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], 0);
}

static void test_arena_memory_is_aligned_zeroed_and_apart(void **state)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 1000, 16384, 16385, 5000000, 3 };
	unsigned char *parts[KB_ARRAY_LEN(sizes)];
	kb_arena a = { 0 };

	(void)state;
	for (size_t i = 0; i < KB_ARRAY_LEN(sizes); i++) {
		parts[i] = kb_arena_alloc(&a, sizes[i]);
		assert_non_null(parts[i]);
		assert_int_equal((uintptr_t)parts[i] % 16, 0);
		assert_zeroed(parts[i], sizes[i]);
		memset(parts[i], (int)i + 1, sizes[i]);
	}
	for (size_t i = 0; i < KB_ARRAY_LEN(sizes); i++)
		for (size_t j = 0; j < sizes[i]; j++)
			assert_int_equal(parts[i][j], i + 1);
	assert_true(a.used_bytes >= 5000000 + 16384 + 16385);
	kb_arena_free(&a);
	assert_null(a.head);
	assert_true(a.used_bytes == 0);
}

static void test_arena_many_small_ones(void **state)
{
	kb_arena a = { 0 };
	uint64_t **kept = calloc(100000, sizeof(*kept));

	(void)state;
	for (size_t i = 0; i < 100000; i++) {
		kept[i] = kb_arena_alloc(&a, 24);
		assert_non_null(kept[i]);
		assert_true(kept[i][0] == 0 && kept[i][2] == 0);
		kept[i][0] = kept[i][2] = i;
	}
	for (size_t i = 0; i < 100000; i++)
		assert_true(kept[i][0] == i && kept[i][2] == i);
	free(kept);
	kb_arena_free(&a);
}

static void test_arena_refuses_the_impossible(void **state)
{
	kb_arena a = { 0 };

	(void)state;
	assert_null(kb_arena_alloc(&a, SIZE_MAX));
	assert_null(kb_arena_alloc(&a, SIZE_MAX - 40));
	assert_non_null(kb_arena_alloc(&a, 1));
	assert_null(kb_arena_alloc(&a, SIZE_MAX - 40));
	assert_true(a.used_bytes == 16);
	kb_arena_free(&a);
}

static void test_arena_text(void **state)
{
	kb_arena a = { 0 };

	(void)state;
	assert_string_equal(kb_arena_strndup(&a, "abcdef", 3), "abc");
	assert_string_equal(kb_arena_strndup(&a, "ab", 100), "ab");
	assert_string_equal(kb_arena_strndup(&a, "ab", 0), "");
	assert_string_equal(kb_arena_printf(&a, "%s-%d", "x", 7), "x-7");
	kb_arena_free(&a);
}

static bool use_arena(void)
{
	kb_arena a = { 0 };
	bool complete = true;

	for (int i = 0; i < 20; i++)
		complete = kb_arena_alloc(&a, 6000) && kb_arena_printf(&a, "%d", i) && complete;
	kb_arena_free(&a);
	return complete;
}

static void test_arena_each_allocation_failing(void **state)
{
	(void)state;
	kb_test_each_allocation_failing(use_arena);
}

static void test_grow_keeps_content_and_stops_at_max(void **state)
{
	size_t n = 0, cap = 0;
	KB_FREE int *array = NULL;

	(void)state;
	while (KB_ROOM(array, n, cap, 100)) {
		assert_true(cap <= 100);
		array[n] = (int)n;
		n++;
	}
	assert_int_equal(n, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(array[i], i);
}

static void test_grow_refuses_overflow(void **state)
{
	size_t cap = 0;
	KB_FREE uint64_t *array = NULL;

	(void)state;
	assert_false(kb_grow(&array, &cap, SIZE_MAX / 4, sizeof(*array), SIZE_MAX));
	assert_false(kb_grow(&array, &cap, SIZE_MAX, sizeof(*array), SIZE_MAX));
	assert_null(array);
	assert_int_equal(cap, 0);
	kb_alloc_fail_after(0);
	assert_false(kb_grow(&array, &cap, 1, sizeof(*array), 10));
	kb_alloc_fail_after(-1);
	assert_int_equal(cap, 0);
	assert_true(kb_grow(&array, &cap, 1, sizeof(*array), 10));
	assert_int_equal(cap, 10);
}

static void test_big_memory(void **state)
{
	size_t bytes = (size_t)1 << 36; /* more than there is: only what is touched counts */
	unsigned char *p = kb_big_alloc(bytes);

	(void)state;
#ifndef __SANITIZE_ADDRESS__
	assert_non_null(p);
#endif
	if (p) {
		assert_int_equal(p[0] | p[bytes - 1], 0);
		p[bytes / 2] = 1;
		kb_big_free(p, bytes);
	}
	assert_null(kb_big_alloc(SIZE_MAX));
	kb_big_free(NULL, 0);
	kb_alloc_fail_after(0);
	assert_null(kb_big_alloc(4096));
	kb_alloc_fail_after(-1);
}

static void test_clean_up_at_end_of_scope(void **state)
{
	int fd, kept;

	(void)state;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	kept = fd;
	{
		KB_CLOSE int scoped = fd;
		KB_CLOSE int none = -1;
		KB_DROP_ERROR kb_error *err = kb_error_new(KB_E_IO, "dropped");

		(void)scoped, (void)none, (void)err;
		errno = ENOENT;
	}
	assert_int_equal(errno, ENOENT);
	assert_int_equal(fcntl(kept, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_memory_is_aligned_zeroed_and_apart),
		cmocka_unit_test(test_arena_many_small_ones),
		cmocka_unit_test(test_arena_refuses_the_impossible),
		cmocka_unit_test(test_arena_text),
		cmocka_unit_test(test_arena_each_allocation_failing),
		cmocka_unit_test(test_grow_keeps_content_and_stops_at_max),
		cmocka_unit_test(test_grow_refuses_overflow),
		cmocka_unit_test(test_big_memory),
		cmocka_unit_test(test_clean_up_at_end_of_scope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
