#include "kb_test.h"

static void test_empty(void **state)
{
	kb_map m = { 0 };
	uint64_t value = 5;

	(void)state;
	assert_false(kb_map_get(&m, 0, &value));
	assert_false(kb_map_get(&m, UINT64_MAX, &value));
	assert_true(value == 5);
	kb_map_free(&m);
}

static void test_grows_and_keeps_all(void **state)
{
	kb_map m = { 0 };
	uint64_t value;

	(void)state;
	/* Keys like heap addresses: close together, low bits zero, and key 0. */
	for (uint64_t i = 0; i < 200000; i++)
		assert_true(kb_map_put(&m, i * 8192, ~i));
	assert_int_equal(m.n, 200000);
	assert_true(m.n <= m.cap / 4 * 3);
	for (uint64_t i = 0; i < 200000; i++) {
		assert_true(kb_map_get(&m, i * 8192, &value));
		assert_true(value == ~i);
		assert_false(kb_map_get(&m, i * 8192 + 1, &value));
	}
	kb_map_free(&m);
	assert_null(m.slots);
	assert_int_equal(m.n + m.cap, 0);
}

static void test_put_replaces(void **state)
{
	kb_map m = { 0 };
	uint64_t value;

	(void)state;
	assert_true(kb_map_put(&m, 7, 1));
	assert_true(kb_map_put(&m, 7, UINT64_MAX));
	assert_int_equal(m.n, 1);
	assert_true(kb_map_get(&m, 7, &value));
	assert_true(value == UINT64_MAX);
	assert_false(kb_map_put(&m, UINT64_MAX, 1));
	assert_int_equal(m.n, 1);
	kb_map_free(&m);
}

static void test_failed_growth_loses_nothing(void **state)
{
	kb_map m = { 0 };
	uint64_t n = 0, value;

	(void)state;
	kb_alloc_fail_after(3);
	while (kb_map_put(&m, n, n + 1))
		n++;
	assert_true(kb_map_put(&m, 0, 1)); /* replacing needs no memory */
	kb_alloc_fail_after(-1);
	assert_int_equal(m.n, n);
	for (uint64_t i = 0; i < n; i++)
		assert_true(kb_map_get(&m, i, &value) && value == i + 1);
	assert_true(kb_map_put(&m, n, n + 1));
	assert_int_equal(m.n, n + 1);
	kb_map_free(&m);
}

static void test_hashes(void **state)
{
	char text[] = "xwho keeps it";

	(void)state;
	assert_true(kb_hash64(1) != kb_hash64(2));
	/* Content counts, neither place nor alignment; the length counts, also when only zero bytes follow. */
	assert_true(kb_hash_bytes(text + 1, 12) == kb_hash_bytes("who keeps it", 12));
	assert_true(kb_hash_bytes("who keeps it", 11) != kb_hash_bytes("who keeps it", 12));
	assert_true(kb_hash_bytes("\0\0\0\0\0\0\0\0\0", 8) != kb_hash_bytes("\0\0\0\0\0\0\0\0\0", 9));
	assert_true(kb_hash_bytes("\0", 0) != kb_hash_bytes("\0", 1));
	assert_true(kb_hash_bytes("abcdefgh12345678", 16) != kb_hash_bytes("12345678abcdefgh", 16));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_grows_and_keeps_all),
		cmocka_unit_test(test_put_replaces),
		cmocka_unit_test(test_failed_growth_loses_nothing),
		cmocka_unit_test(test_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
