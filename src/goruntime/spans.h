/* What kb_heap points into. */
#ifndef KB_GORUNTIME_SPANS_H
#define KB_GORUNTIME_SPANS_H

#include "pages.h"

enum {
	KB_PAGES_PER_ARENA = 8192,
	KB_BITS_MAX = 8192 /* bytes of alloc bits of one span; real ones have 128 at most */
};

struct kb_span_store {
	kb_span *spans;
	size_t nspans, cap_bytes;
	uint32_t **page_table;
	size_t page_table_bytes;
	uint32_t *tables; /* of all arenas with heap, one after the other */
	size_t table_bytes;
	kb_addr *arenas; /* *heapArena of each arena, 0 none */
	size_t arenas_bytes;
	kb_pages bits;
	kb_arena again; /* bits read a second time */
	uint8_t *inline_marks; /* of unswept spans with inline marks */
	size_t ninline;
};

/* Address of the heapArena that holds p, 0 when there is none. */
static inline kb_addr kb_arena_of(const kb_go *go, kb_addr p)
{
	uint64_t i = (p - go->heap.arena_base_first) >> KB_ARENA_SHIFT;
	return p >= go->heap.arena_base_first && i < go->heap.narenas ? go->span_store->arenas[i] : 0;
}

#endif
