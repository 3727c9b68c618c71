/* Many small things at scattered addresses, read with few system calls: their pages are collected first, then read in
 * long runs. */
#ifndef KB_GORUNTIME_PAGES_H
#define KB_GORUNTIME_PAGES_H

#include "private.h"

typedef struct kb_pages {
	kb_map index;    /* page number → 1 before kb_pages_load, then place in data */
	uint64_t *pages; /* page numbers, sorted by kb_pages_load */
	size_t n, cap;
	uint8_t *data; /* n pages of 4096 bytes, in the order of pages */
	uint64_t last; /* page added last, + 1 */
} kb_pages;

/* Notes that [a, a+n) will be asked for; n ≤ 1 MiB. False when out of memory. */
bool kb_pages_add(kb_pages *p, kb_addr a, size_t n);
/* Reads all pages noted, on all CPUs. What cannot be read is zero. */
kb_error *kb_pages_load(kb_pages *p, const kb_target *t) KB_MUST_CHECK;
/* The bytes of [a, a+n), which must have been noted in one piece; NULL when they were not. */
const uint8_t *kb_pages_at(const kb_pages *p, kb_addr a, size_t n);
void kb_pages_free(kb_pages *p);

/* Memory read block by block as it is asked for, each block once: for lists whose records lie close together. Not
 * thread-safe. */
typedef struct kb_blocks {
	const kb_target *target;
	kb_map index; /* block number → its bytes */
	kb_arena arena;
	uint64_t last;
	const uint8_t *last_bytes;
} kb_blocks;
/* False when [a, a+n) cannot be read; n ≤ 4096. */
bool kb_blocks_read(kb_blocks *b, kb_addr a, void *buf, size_t n);
void kb_blocks_free(kb_blocks *b);

#endif
