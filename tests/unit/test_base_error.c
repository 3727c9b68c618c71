#include "kb_test.h"

#include <errno.h>

static void test_new_has_code_and_message(void **state)
{
	kb_error *err = kb_error_new(KB_E_NOT_FOUND, "no process %d", 42);

	(void)state;
	assert_int_equal(err->code, KB_E_NOT_FOUND);
	assert_string_equal(err->message, "no process 42");
	assert_null(err->remedy);
	assert_int_equal(err->saved_errno, 0);
	kb_error_free(err);
}

static void test_errno_chooses_the_code(void **state)
{
	static const struct {
		int err;
		enum kb_code code;
		const char *message;
	} cases[] = {
		{ EPERM, KB_E_PERMISSION, "attach: Operation not permitted" },
		{ EACCES, KB_E_PERMISSION, "attach: Permission denied" },
		{ ESRCH, KB_E_GONE, "attach: No such process" },
		{ EIO, KB_E_IO, "attach: Input/output error" },
		{ 99999, KB_E_IO, "attach: error 99999" },
	};

	(void)state;
	for (size_t i = 0; i < KB_ARRAY_LEN(cases); i++) {
		kb_error *err = kb_error_errno(cases[i].err, "attach");

		assert_int_equal(err->code, cases[i].code);
		assert_int_equal(err->saved_errno, cases[i].err);
		assert_string_equal(err->message, cases[i].message);
		kb_error_free(err);
	}
}

static void test_fault_has_the_address(void **state)
{
	kb_error *err = kb_error_fault(0xc000123450);

	(void)state;
	assert_int_equal(err->code, KB_E_FAULT);
	assert_true(err->address == 0xc000123450);
	assert_non_null(strstr(err->message, "0xc000123450"));
	kb_error_free(err);
}

static void test_context_and_remedy(void **state)
{
	kb_error *err = kb_error_new(KB_E_IO, "short");

	(void)state;
	err = kb_error_context(err, "read %s", "core");
	err = kb_error_context(err, "open");
	err = kb_error_remedy(err, "first");
	err = kb_error_remedy(err, "use %s", "sudo");
	assert_string_equal(err->message, "open: read core: short");
	assert_string_equal(err->remedy, "use sudo");
	kb_error_free(err);
	assert_null(kb_error_context(NULL, "x"));
	assert_null(kb_error_remedy(NULL, "x"));
	kb_error_free(NULL);
}

static void test_message_is_one_harmless_line(void **state)
{
	kb_error *err = kb_error_new(KB_E_NOT_FOUND, "no symbol %s", "a\nb\x1b[31m\x7f");

	(void)state;
	assert_string_equal(err->message, "no symbol a?b?[31m?");
	kb_error_free(err);
}

static void test_out_of_memory_is_one_static_object(void **state)
{
	kb_error *nomem = kb_error_nomem();

	(void)state;
	assert_int_equal(nomem->code, KB_E_NOMEM);
	kb_alloc_fail_after(0);
	assert_ptr_equal(kb_error_new(KB_E_IO, "x"), nomem);
	assert_ptr_equal(kb_error_errno(EIO, "x"), nomem);
	assert_ptr_equal(kb_error_fault(7), nomem);
	kb_alloc_fail_after(1); /* the text, but not the object */
	assert_ptr_equal(kb_error_new(KB_E_IO, "x"), nomem);
	kb_alloc_fail_after(-1);
	assert_ptr_equal(kb_error_context(nomem, "more"), nomem);
	assert_ptr_equal(kb_error_remedy(nomem, "more"), nomem);
	kb_error_free(nomem);
	assert_int_equal(nomem->saved_errno, 0);
	assert_true(nomem->address == 0);
	assert_string_equal(nomem->message, "out of memory");
	assert_null(nomem->remedy);
}

static bool decorate(void)
{
	kb_error *err = kb_error_errno(EIO, "read");
	bool complete;

	err = kb_error_context(err, "core");
	err = kb_error_remedy(err, "again");
	complete = err != kb_error_nomem() && err->remedy && strstr(err->message, "core: read");
	assert_true(err->message[0]);
	kb_error_free(err);
	return complete;
}

static void test_each_allocation_failing(void **state)
{
	(void)state;
	kb_test_each_allocation_failing(decorate);
}

static kb_error *fail_if(bool fail, bool *ran_on)
{
	KB_TRY(fail ? kb_error_new(KB_E_LIMIT, "stop") : NULL);
	*ran_on = true;
	return NULL;
}

static void test_try_returns_at_once(void **state)
{
	bool ran_on = false;

	(void)state;
	assert_error(fail_if(true, &ran_on), KB_E_LIMIT);
	assert_false(ran_on);
	assert_ok(fail_if(false, &ran_on));
	assert_true(ran_on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_has_code_and_message),
		cmocka_unit_test(test_errno_chooses_the_code),
		cmocka_unit_test(test_fault_has_the_address),
		cmocka_unit_test(test_context_and_remedy),
		cmocka_unit_test(test_message_is_one_harmless_line),
		cmocka_unit_test(test_out_of_memory_is_one_static_object),
		cmocka_unit_test(test_each_allocation_failing),
		cmocka_unit_test(test_try_returns_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
