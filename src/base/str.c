#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"

/* Far above any report; a text that grows beyond it is a mistake or an attack. */
#define STR_MAX ((size_t)1 << 31)

/* Makes room for n more characters and the NUL. */
static bool room(kb_str *b, size_t n)
{
	if (b->failed)
		return false;
	if (n > STR_MAX || !kb_grow(&b->s, &b->cap, b->n + n + 1, 1, STR_MAX))
		b->failed = true;
	return !b->failed;
}

void kb_str_addn(kb_str *b, const char *text, size_t n)
{
	if (!n || !room(b, n))
		return;
	memcpy(b->s + b->n, text, n);
	b->n += n;
	b->s[b->n] = '\0';
}

void kb_str_add(kb_str *b, const char *text)
{
	kb_str_addn(b, text, strlen(text));
}

void kb_str_printf(kb_str *b, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		b->failed = true;
	if (n <= 0 || !room(b, (size_t)n))
		return;
	va_start(args, fmt);
	vsnprintf(b->s + b->n, (size_t)n + 1, fmt, args);
	va_end(args);
	b->n += (size_t)n;
}

void kb_str_free(kb_str *b)
{
	free(b->s);
	*b = (kb_str){ 0 };
}
