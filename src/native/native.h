/* native: memory beside the Go heap. Splits the resident set into parts that add up. */
#ifndef KB_NATIVE_H
#define KB_NATIVE_H

#include "goruntime/goruntime.h"
#include "target/target.h"

/* Bytes of resident memory. The parts add up to rss. */
typedef struct kb_rss {
	uint64_t rss;
	uint64_t go_heap;    /* pages of in-use heap spans */
	uint64_t go_idle;    /* resident pages of arenas in no span: freed, not yet returned */
	uint64_t go_stacks;  /* goroutine stacks */
	uint64_t go_runtime; /* spans' structs, bitmaps, tables, the runtime's own allocations */
	uint64_t c_heap;     /* malloc, in use; the whole of malloc's memory where free chunks were not told apart */
	uint64_t c_idle;     /* malloc, free chunks kept */
	uint64_t files;      /* file-backed pages: text, data, mmapped files */
	uint64_t other;      /* thread stacks, shared memory, what nobody could be named for */
	uint64_t swap;
} kb_rss;

/* From smaps and the pagemap of the arenas. KB_E_UNSUPPORTED for a core. */
kb_error *kb_rss_measure(const kb_go *go, kb_rss *ret) KB_MUST_CHECK;

#endif
