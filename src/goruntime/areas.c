/* Where the runtime's memory lies: arenas, and what it maps for itself beside them. Source: runtime/mheap.go, mpagealloc.go, 1.19 … 1.27. */
#include "private.h"

#include <stdlib.h>

enum { MAX_ARENAS = 1 << 20, SUMMARY_LEVELS = 5, CHUNKS_L1 = 1 << 13 };
static const kb_addr arena_base_offset = 0xffff800000000000; /* amd64: index 0 is the lowest canonical address */

struct addrs {
	kb_addr *p;
	size_t n, cap;
};

static bool add(struct addrs *l, kb_addr a)
{
	if (!a)
		return true;
	if (!KB_ROOM(l->p, l->n, l->cap, SIZE_MAX))
		return false;
	l->p[l->n++] = a;
	return true;
}

/* The arenas of one []arenaIdx of mheap; a field this version does not have gives none. */
static kb_error *arenas_of(const kb_go *go, enum kb_field_id f, struct addrs *out)
{
	kb_addr p;
	uint64_t n, cap;
	if (!kb_has(&go->layout, f))
		return NULL;
	KB_TRY(kb_read_slice(go, go->vars.mheap + kb_off(&go->layout, f), &p, &n, &cap));
	for (uint64_t i = 0; i < n && i < MAX_ARENAS; i++) {
		uint64_t index;
		KB_TRY(kb_target_read_u64(go->target, p + 8 * i, &index));
		if (!add(out, (index << KB_ARENA_SHIFT) + arena_base_offset))
			return kb_error_nomem();
	}
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const kb_area *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

kb_error *kb_go_arenas(const kb_go *go, kb_area **ret, size_t *ret_n)
{
	struct addrs l = { 0 };
	kb_error *err = arenas_of(go, KB_F_mheap_allArenas, &l);
	if (!err)
		err = arenas_of(go, KB_F_mheap_heapArenas, &l);
	if (!err)
		err = arenas_of(go, KB_F_mheap_userArenaArenas, &l);
	kb_area *areas = err ? NULL : malloc((l.n + 1) * sizeof(*areas));
	for (size_t i = 0; areas && i < l.n; i++)
		areas[i] = (kb_area){ l.p[i], 1ull << KB_ARENA_SHIFT };
	if (areas && l.n)
		qsort(areas, l.n, sizeof(*areas), by_address);
	free(l.p);
	if (!err && !areas)
		return kb_error_nomem();
	*ret = areas;
	*ret_n = l.n;
	return err;
}

static void add_word(const kb_go *go, kb_addr at, struct addrs *out)
{
	uint64_t v;
	kb_error *err = kb_target_read_u64(go->target, at, &v);
	if (!err)
		add(out, v);
	kb_error_free(err);
}

/* pageAlloc: the start of each summary level, and the chunks that are in use. */
static void add_page_alloc(const kb_go *go, struct addrs *out)
{
	const kb_layout *l = &go->layout;
	kb_addr pages = go->vars.mheap + kb_off(l, KB_F_mheap_pages);
	if (kb_has(l, KB_F_pageAlloc_chunks)) {
		uint64_t *l1 = malloc(CHUNKS_L1 * sizeof(*l1));
		kb_error *err = l1 ? kb_target_read(go->target, pages + kb_off(l, KB_F_pageAlloc_chunks), l1, CHUNKS_L1 * sizeof(*l1)) : NULL;
		for (size_t i = 0; l1 && !err && i < CHUNKS_L1; i++)
			add(out, l1[i]);
		kb_error_free(err);
		free(l1);
	}
	/* summary [5][]pallocSum is the first field in every version. */
	for (unsigned i = 0; i < SUMMARY_LEVELS; i++)
		add_word(go, pages + 24 * i, out);
}

kb_error *kb_go_runtime_memory(const kb_go *go, kb_addr **ret, size_t *ret_n)
{
	struct addrs out = { 0 };
	kb_area *arenas = NULL;
	size_t n = 0;
	KB_TRY(kb_go_arenas(go, &arenas, &n));
	add(&out, go->l2_arenas);
	for (size_t i = 0; i < n; i++)
		add_word(go, go->l2_arenas + 8 * ((arenas[i].start - arena_base_offset) >> KB_ARENA_SHIFT), &out);
	free(arenas);
	add_word(go, go->vars.mheap + kb_off(&go->layout, KB_F_mheap_allspans), &out);
	add_page_alloc(go, &out);
	for (size_t i = 0; i < go->heap.nspans; i++)
		add(&out, go->heap.spans[i].mspan);
	for (size_t i = 0; i < go->nbuckets; i++)
		add(&out, go->buckets[i].addr);
	*ret = out.p;
	*ret_n = out.n;
	return NULL;
}
