#include "base/base.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"

/* Handed out when an error itself cannot be allocated. Never changed, never freed, shared by all threads. */
static char nomem_message[] = "out of memory";
static kb_error nomem = { .code = KB_E_NOMEM, .message = nomem_message };

/* A malloc'ed text, NULL when out of memory. An error's text is one line: what a target puts in (a newline, an escape
 * sequence for the terminal) is shown as '?'. */
static char *format_line(const char *fmt, va_list args) KB_PRINTF(1, 0);
static char *format_line(const char *fmt, va_list args)
{
	va_list again;
	char *text;
	int n;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return NULL;
	text = kb_malloc((size_t)n + 1);
	if (!text)
		return NULL;
	vsnprintf(text, (size_t)n + 1, fmt, args);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return text;
}

static kb_error *error_with(enum kb_code code, char *message)
{
	kb_error *err;

	if (!message)
		return &nomem;
	err = kb_calloc(1, sizeof(*err));
	if (!err) {
		free(message);
		return &nomem;
	}
	err->code = code;
	err->message = message;
	return err;
}

kb_error *kb_error_new(enum kb_code code, const char *fmt, ...)
{
	va_list args;
	char *message;

	va_start(args, fmt);
	message = format_line(fmt, args);
	va_end(args);
	return error_with(code, message);
}

static enum kb_code code_of_errno(int err)
{
	switch (err) {
	case EPERM:
	case EACCES:
		return KB_E_PERMISSION;
	case ESRCH:
		return KB_E_GONE;
	default:
		return KB_E_IO;
	}
}

kb_error *kb_error_errno(int err, const char *fmt, ...)
{
	kb_error *ret;
	va_list args;
	char *what;

	va_start(args, fmt);
	what = format_line(fmt, args);
	va_end(args);
	if (!what)
		return &nomem;
	/* strerror's text for a known number is constant; strerrordesc_np has no shared buffer for unknown ones. */
	const char *why = strerrordesc_np(err);
	ret = why ? kb_error_new(code_of_errno(err), "%s: %s", what, why)
		  : kb_error_new(code_of_errno(err), "%s: error %d", what, err);
	free(what);
	if (ret != &nomem)
		ret->saved_errno = err;
	return ret;
}

kb_error *kb_error_fault(kb_addr address)
{
	kb_error *err = kb_error_new(KB_E_FAULT, "cannot read the target's memory at 0x%" PRIx64, address);

	if (err != &nomem)
		err->address = address;
	return err;
}

kb_error *kb_error_nomem(void)
{
	return &nomem;
}

kb_error *kb_error_remedy(kb_error *err, const char *fmt, ...)
{
	va_list args;
	char *text;

	if (!err || err == &nomem)
		return err;
	va_start(args, fmt);
	text = format_line(fmt, args);
	va_end(args);
	/* Without memory for the advice the error is still the better thing to have. */
	if (text) {
		free(err->remedy);
		err->remedy = text;
	}
	return err;
}

kb_error *kb_error_context(kb_error *err, const char *fmt, ...)
{
	kb_str whole = { 0 };
	va_list args;
	char *text;

	if (!err || err == &nomem)
		return err;
	va_start(args, fmt);
	text = format_line(fmt, args);
	va_end(args);
	if (!text)
		return err;
	kb_str_printf(&whole, "%s: %s", text, err->message);
	free(text);
	if (whole.failed) {
		kb_str_free(&whole);
		return err;
	}
	free(err->message);
	err->message = whole.s;
	return err;
}

void kb_error_free(kb_error *err)
{
	if (!err || err == &nomem)
		return;
	free(err->message);
	free(err->remedy);
	free(err);
}
