#include "kb_test.h"

static const uint8_t data[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
static const kb_bytes view = { data, sizeof(data) };

static void test_get_within(void **state)
{
	uint64_t v64;
	uint32_t v32;
	uint16_t v16;
	uint8_t v8;

	(void)state;
	assert_true(kb_get_u8(view, 8, &v8) && v8 == 9);
	assert_true(kb_get_u16(view, 7, &v16) && v16 == 0x0908);
	assert_true(kb_get_u32(view, 5, &v32) && v32 == 0x09080706);
	assert_true(kb_get_u64(view, 1, &v64) && v64 == 0x0908070605040302);
}

static void test_get_outside_leaves_the_result_alone(void **state)
{
	static const uint64_t offsets[] = { 9, 10, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 7, (uint64_t)1 << 63 };
	uint64_t v64 = 77;
	uint32_t v32 = 77;
	uint16_t v16 = 77;
	uint8_t v8 = 77;

	(void)state;
	assert_false(kb_get_u16(view, 8, &v16));
	assert_false(kb_get_u32(view, 6, &v32));
	assert_false(kb_get_u64(view, 2, &v64));
	for (size_t i = 0; i < KB_ARRAY_LEN(offsets); i++) {
		assert_false(kb_get_u8(view, offsets[i], &v8));
		assert_false(kb_get_u16(view, offsets[i], &v16));
		assert_false(kb_get_u32(view, offsets[i], &v32));
		assert_false(kb_get_u64(view, offsets[i], &v64));
	}
	assert_false(kb_get_u8((kb_bytes){ 0 }, 0, &v8));
	assert_true(v8 == 77 && v16 == 77 && v32 == 77 && v64 == 77);
}

static void test_uvarint(void **state)
{
	static const struct {
		uint8_t bytes[11];
		size_t n;
		uint64_t value;
	} cases[] = {
		{ { 0x00 }, 1, 0 },
		{ { 0x7f }, 1, 127 },
		{ { 0x80, 0x01 }, 2, 128 },
		{ { 0xff, 0xff, 0xff, 0xff, 0x0f }, 5, UINT32_MAX },
		{ { 0x80, 0x00 }, 2, 0 },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f }, 9, UINT64_MAX >> 1 },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 }, 10, UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < KB_ARRAY_LEN(cases); i++) {
		kb_bytes b = { cases[i].bytes, cases[i].n };
		uint64_t off = 0, value = 0;

		assert_true(kb_get_uvarint(b, &off, &value));
		assert_true(value == cases[i].value);
		assert_int_equal(off, cases[i].n);
		/* One byte less: cut short. */
		b.n--;
		off = 0;
		value = 77;
		assert_false(kb_get_uvarint(b, &off, &value));
		assert_true(off == 0 && value == 77);
	}
}

static void test_uvarint_too_large(void **state)
{
	static const uint8_t over[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
	static const uint8_t endless[] = { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00 };
	uint64_t off = 0, value = 77;

	(void)state;
	assert_false(kb_get_uvarint((kb_bytes){ over, sizeof(over) }, &off, &value));
	assert_false(kb_get_uvarint((kb_bytes){ endless, sizeof(endless) }, &off, &value));
	off = UINT64_MAX;
	assert_false(kb_get_uvarint((kb_bytes){ over, sizeof(over) }, &off, &value));
	assert_true(off == UINT64_MAX && value == 77);
}

static void test_cstr(void **state)
{
	static const uint8_t text[] = { 'a', 'b', 'c', 0, 'd', 'e' };
	kb_bytes b = { text, sizeof(text) };

	(void)state;
	assert_string_equal(kb_get_cstr(b, 0, 3), "abc");
	assert_string_equal(kb_get_cstr(b, 1, SIZE_MAX), "bc");
	assert_string_equal(kb_get_cstr(b, 3, 0), "");
	assert_null(kb_get_cstr(b, 0, 2));        /* longer than allowed */
	assert_null(kb_get_cstr(b, 4, SIZE_MAX)); /* no NUL before the end */
	assert_null(kb_get_cstr(b, 6, 10));
	assert_null(kb_get_cstr(b, UINT64_MAX, 10));
}

static void test_slice(void **state)
{
	kb_bytes part = kb_slice(view, 2, 7);

	(void)state;
	assert_ptr_equal(part.p, data + 2);
	assert_int_equal(part.n, 7);
	assert_int_equal(kb_slice(view, 2, 8).n, 0);
	assert_null(kb_slice(view, 9, 0).p);
	assert_int_equal(kb_slice(view, UINT64_MAX, 2).n, 0);
	assert_int_equal(kb_slice(view, 1, UINT64_MAX).n, 0);
}

static void test_load(void **state)
{
	(void)state;
	assert_true(kb_load(data + 1, 1) == 0x02);
	assert_true(kb_load(data + 1, 2) == 0x0302);
	assert_true(kb_load(data + 1, 4) == 0x05040302);
	assert_true(kb_load(data + 1, 8) == 0x0908070605040302);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_within),
		cmocka_unit_test(test_get_outside_leaves_the_result_alone),
		cmocka_unit_test(test_uvarint),
		cmocka_unit_test(test_uvarint_too_large),
		cmocka_unit_test(test_cstr),
		cmocka_unit_test(test_slice),
		cmocka_unit_test(test_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
