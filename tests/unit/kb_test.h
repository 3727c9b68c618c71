/* What every unit test needs: cmocka's headers in the order it wants, and checks for kb_error. */
#ifndef KB_TEST_H
#define KB_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

/* Fails with the error's text when the expression yields one. */
#define assert_ok(expr) \
	do { \
		kb_error *assert_err_ = (expr); \
		if (assert_err_) \
			fail_msg("%s: unexpected error %d: %s", #expr, assert_err_->code, assert_err_->message); \
	} while (0)

/* Fails unless the expression yields an error of this code; frees it. */
#define assert_error(expr, want) \
	do { \
		kb_error *assert_err_ = (expr); \
		if (!assert_err_) \
			fail_msg("%s: no error, expected code %d", #expr, (int)(want)); \
		if (assert_err_->code != (want)) \
			fail_msg("%s: code %d, expected %d: %s", #expr, assert_err_->code, (int)(want), \
				 assert_err_->message); \
		kb_error_free(assert_err_); \
	} while (0)

/* Runs fn with the first allocation failing, then the second, and so on until one run needs no more than it may have.
 * fn returns true when it had all the memory it wanted; it must clean up itself (the address sanitizer watches). */
static inline void kb_test_each_allocation_failing(bool (*fn)(void))
{
	bool complete = false;

	for (long n = 0; !complete; n++) {
		assert_true(n < 100000);
		kb_alloc_fail_after(n);
		complete = fn();
		kb_alloc_fail_after(-1);
	}
}

#endif
