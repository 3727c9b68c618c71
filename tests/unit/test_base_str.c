#include "kb_test.h"

static void test_add(void **state)
{
	kb_str b = { 0 };

	(void)state;
	kb_str_add(&b, "");
	kb_str_addn(&b, "never read", 0);
	assert_null(b.s);
	kb_str_add(&b, "ab");
	kb_str_addn(&b, "c\0d", 3);
	kb_str_printf(&b, "%03d%s", 7, "");
	assert_int_equal(b.n, 8);
	assert_memory_equal(b.s, "abc\0d007", 9);
	assert_false(b.failed);
	kb_str_free(&b);
	assert_null(b.s);
	assert_int_equal(b.n, 0);
}

static void test_grows(void **state)
{
	kb_str b = { 0 };

	(void)state;
	for (int i = 0; i < 5000; i++)
		kb_str_printf(&b, "%d,", i);
	assert_false(b.failed);
	assert_int_equal(b.n, 10 * 2 + 90 * 3 + 900 * 4 + 4000 * 5);
	assert_int_equal(strlen(b.s), b.n);
	assert_string_equal(b.s + b.n - 10, "4998,4999,");
	kb_str_free(&b);
}

static void test_failure_stays(void **state)
{
	kb_str b = { 0 };

	(void)state;
	kb_str_add(&b, "kept");
	kb_alloc_fail_after(0);
	kb_str_printf(&b, "%100s", "x");
	kb_alloc_fail_after(-1);
	assert_true(b.failed);
	kb_str_add(&b, "later"); /* a text with a hole is worse than one that ends */
	assert_string_equal(b.s, "kept");
	kb_str_free(&b);
	assert_false(b.failed);
}

static void test_maximum(void **state)
{
	kb_str b = { 0 };

	(void)state;
	kb_str_addn(&b, "x", (size_t)1 << 40); /* refused before a byte is read */
	assert_true(b.failed);
	assert_null(b.s);
	kb_str_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_grows),
		cmocka_unit_test(test_failure_stays),
		cmocka_unit_test(test_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
