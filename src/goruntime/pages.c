#include "pages.h"

#include <stdlib.h>

enum { SHIFT = 12, SIZE = 1 << SHIFT, RUN_PAGES = 64 };
/* 16 GiB of scattered pages is more than any runtime has in its own structures. */
#define PAGES_MAX (UINT64_C(1) << 22)

bool kb_pages_add(kb_pages *p, kb_addr a, size_t n)
{
	uint64_t first = a >> SHIFT, end = (a + n + SIZE - 1) >> SHIFT, there;
	for (uint64_t page = first; page < end; page++) {
		if (page + 1 == p->last || kb_map_get(&p->index, page, &there))
			continue;
		if (!kb_map_put(&p->index, page, 1) || !KB_ROOM(p->pages, p->n, p->cap, PAGES_MAX))
			return false;
		p->pages[p->n++] = page;
		p->last = page + 1;
	}
	return true;
}

static int by_number(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
	return (a > b) - (a < b);
}

struct load {
	kb_pages *p;
	const kb_target *t;
};

/* Pages [i*RUN, (i+1)*RUN) of the sorted list, neighbours together. */
static kb_error *load_run(void *ctx, unsigned worker, size_t i)
{
	struct load *l = ctx;
	size_t from = i * RUN_PAGES, end = from + RUN_PAGES < l->p->n ? from + RUN_PAGES : l->p->n;
	(void)worker;
	while (from < end) {
		size_t to = from + 1;
		while (to < end && l->p->pages[to] == l->p->pages[to - 1] + 1)
			to++;
		kb_target_read_holes(l->t, l->p->pages[from] << SHIFT, l->p->data + from * SIZE, (to - from) * SIZE);
		from = to;
	}
	return NULL;
}

kb_error *kb_pages_load(kb_pages *p, const kb_target *t)
{
	struct load l = { p, t };
	if (!p->n)
		return NULL;
	qsort(p->pages, p->n, sizeof(p->pages[0]), by_number);
	p->data = kb_big_alloc(p->n * SIZE);
	if (!p->data)
		return kb_error_nomem();
	for (size_t i = 0; i < p->n; i++)
		if (!kb_map_put(&p->index, p->pages[i], i))
			return kb_error_nomem();
	return kb_parallel((p->n + RUN_PAGES - 1) / RUN_PAGES, load_run, &l);
}

const uint8_t *kb_pages_at(const kb_pages *p, kb_addr a, size_t n)
{
	uint64_t i, j;
	if (!p->data || !kb_map_get(&p->index, a >> SHIFT, &i))
		return NULL;
	if (n > SIZE - (a & (SIZE - 1))) {
		uint64_t last = (a + n - 1) >> SHIFT;
		if (!kb_map_get(&p->index, last, &j) || j - i != last - (a >> SHIFT))
			return NULL;
	}
	return p->data + i * SIZE + (a & (SIZE - 1));
}

void kb_pages_free(kb_pages *p)
{
	if (p->data)
		kb_big_free(p->data, p->n * SIZE);
	free(p->pages);
	kb_map_free(&p->index);
	*p = (kb_pages){ 0 };
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

enum { BLOCK_SHIFT = 14, BLOCK = 1 << BLOCK_SHIFT };
#define BLOCKS_BYTES_MAX (UINT64_C(4) << 30)

static const uint8_t *block(kb_blocks *b, uint64_t number)
{
	uint64_t p;
	if (b->last_bytes && b->last == number)
		return b->last_bytes;
	if (!kb_map_get(&b->index, number, &p)) {
		uint8_t *bytes = b->arena.used_bytes < BLOCKS_BYTES_MAX ? kb_arena_alloc(&b->arena, BLOCK) : NULL;
		if (!bytes)
			return NULL;
		if (!kb_target_read_holes(b->target, number << BLOCK_SHIFT, bytes, BLOCK))
			bytes = NULL;
		p = (uint64_t)(uintptr_t)bytes;
		if (!kb_map_put(&b->index, number, p))
			return NULL;
	}
	b->last = number;
	return b->last_bytes = (const uint8_t *)(uintptr_t)p;
}

bool kb_blocks_read(kb_blocks *b, kb_addr a, void *buf, size_t n)
{
	uint8_t *to = buf;
	while (n) {
		const uint8_t *p = block(b, a >> BLOCK_SHIFT);
		size_t off = a & (BLOCK - 1), k = n < BLOCK - off ? n : BLOCK - off;
		if (!p)
			return false;
		memcpy(to, p + off, k);
		to += k;
		a += k;
		n -= k;
	}
	return true;
}

void kb_blocks_free(kb_blocks *b)
{
	kb_map_free(&b->index);
	kb_arena_free(&b->arena);
	b->last_bytes = NULL;
}
