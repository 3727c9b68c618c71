#include "base/base.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"

#define ALIGNMENT 16
#define FIRST_BLOCK (16 * 1024)
#define LARGEST_BLOCK (4 * 1024 * 1024)

struct kb_arena_block {
	alignas(ALIGNMENT) struct kb_arena_block *next;
	size_t size, used; /* bytes of data */
	alignas(ALIGNMENT) unsigned char data[];
};

static struct kb_arena_block *new_block(size_t size)
{
	struct kb_arena_block *b;

	if (size > SIZE_MAX - sizeof(*b))
		return NULL;
	b = kb_calloc(1, sizeof(*b) + size);
	if (b)
		b->size = size;
	return b;
}

/* A block with room for n bytes: the head, a new head, or for what is larger than a block one of its own behind the
 * head, so that the room left in the head is not lost. */
static struct kb_arena_block *block_for(kb_arena *a, size_t n)
{
	struct kb_arena_block *b = a->head;
	size_t size = FIRST_BLOCK;

	if (b && b->size - b->used >= n)
		return b;
	if (b)
		size = b->size >= LARGEST_BLOCK / 2 ? LARGEST_BLOCK : b->size * 2;
	if (n > size / 4 && b) {
		b = new_block(n);
		if (b) {
			b->next = a->head->next;
			a->head->next = b;
		}
		return b;
	}
	b = new_block(n > size ? n : size);
	if (b) {
		b->next = a->head;
		a->head = b;
	}
	return b;
}

void *kb_arena_alloc(kb_arena *a, size_t n)
{
	struct kb_arena_block *b;
	unsigned char *p;

	if (n > SIZE_MAX - ALIGNMENT)
		return NULL;
	n = n ? (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
	b = block_for(a, n);
	if (!b)
		return NULL;
	p = b->data + b->used;
	b->used += n;
	a->used_bytes += n;
	return p;
}

char *kb_arena_strndup(kb_arena *a, const char *s, size_t n)
{
	char *copy;

	n = strnlen(s, n);
	copy = kb_arena_alloc(a, n + 1);
	if (copy)
		memcpy(copy, s, n);
	return copy;
}

char *kb_arena_printf(kb_arena *a, const char *fmt, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		return NULL;
	text = kb_arena_alloc(a, (size_t)n + 1);
	if (!text)
		return NULL;
	va_start(args, fmt);
	vsnprintf(text, (size_t)n + 1, fmt, args);
	va_end(args);
	return text;
}

void kb_arena_free(kb_arena *a)
{
	struct kb_arena_block *next;

	for (struct kb_arena_block *b = a->head; b; b = next) {
		next = b->next;
		free(b);
	}
	*a = (kb_arena){ 0 };
}
