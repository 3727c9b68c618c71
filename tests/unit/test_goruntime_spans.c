/* Loading the spans of a made-up mheap that lies in this process's own memory: order, ids, bits, and whatever a
 * hostile or a running target may show. */
#include "kb_test.h"

#include <sys/mman.h>
#include <unistd.h>

#include "../../src/goruntime/spans.h"

enum { MSPANS = 64, L2_BYTES = 8 << 22, SWEEPGEN = 10 };
#define HEAP UINT64_C(0xc000000000)
#define ARENA_BASE_OFFSET UINT64_C(0xffff800000000000)

static struct kb_go go;
static uint8_t *mheap, *arena_meta;
static uint64_t *l2;
static uint8_t *mspans[MSPANS];
static kb_addr allspans[MSPANS];
static size_t nspans;
static uint8_t bits[MSPANS][64], marks[MSPANS][64];

static kb_addr here(const void *p)
{
	return (kb_addr)(uintptr_t)p;
}

static void put(void *at, enum kb_field_id f, uint64_t value)
{
	uint32_t n = kb_fsize(&go.layout, f);
	assert_true(kb_has(&go.layout, f));
	memcpy((uint8_t *)at + kb_off(&go.layout, f), &value, n > 8 ? 8 : n);
}

static void put_slice(void *at, enum kb_field_id f, kb_addr p, uint64_t len, uint64_t cap)
{
	const uint64_t w[3] = { p, len, cap };
	memcpy((uint8_t *)at + kb_off(&go.layout, f), w, sizeof(w));
}

static void begin(int minor)
{
	assert_ok(kb_layout_choose(minor, 1, "", &go.layout, &go.layout_origin));
	mheap = calloc(1, kb_sizeof(&go.layout, KB_S_mheap));
	arena_meta = calloc(1, kb_sizeof(&go.layout, KB_S_heapArena));
	l2 = mmap(NULL, L2_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(mheap && arena_meta && l2 != MAP_FAILED);
	assert_ok(kb_target_open_pid(getpid(), NULL, &go.target));
	pthread_mutex_init(&go.lock, NULL);
	go.vars.mheap = here(mheap);
	l2[(HEAP - ARENA_BASE_OFFSET) >> KB_ARENA_SHIFT] = here(arena_meta);
	put(mheap, KB_F_mheap_sweepgen, SWEEPGEN);
	put(mheap, KB_F_mheap_arenas, here(l2));
	memset(bits, 0, sizeof(bits));
	memset(marks, 0, sizeof(marks));
	nspans = 0;
}

static void end(void)
{
	kb_spans_free(&go);
	for (size_t i = 0; i < nspans; i++)
		free(mspans[i]);
	for (size_t i = 0; i < go.info.ngaps; i++)
		free((void *)(uintptr_t)go.gaps[i]);
	kb_target_close(go.target);
	pthread_mutex_destroy(&go.lock);
	free(mheap);
	free(arena_meta);
	munmap(l2, L2_BYTES);
	go = (struct kb_go){ 0 };
}

/* An in-use span of one size class; page counts from the start of the heap. */
static uint8_t *add(uint64_t page, uint64_t npages, uint64_t elem_size, uint64_t nelems, unsigned spanclass)
{
	assert_true(nspans < MSPANS);
	uint8_t *m = calloc(1, kb_sizeof(&go.layout, KB_S_mspan));
	assert_non_null(m);
	mspans[nspans] = m;
	allspans[nspans] = here(m);
	put(m, KB_F_mspan_startAddr, HEAP + page * KB_PAGE_SIZE);
	put(m, KB_F_mspan_npages, npages);
	put(m, KB_F_mspan_elemsize, elem_size);
	put(m, KB_F_mspan_nelems, nelems);
	put(m, KB_F_mspan_spanclass, spanclass);
	put(m, KB_F_mspan_state, 1);
	put(m, KB_F_mspan_sweepgen, SWEEPGEN);
	put(m, KB_F_mspan_limit, HEAP + page * KB_PAGE_SIZE + elem_size * nelems);
	put(m, KB_F_mspan_allocBits, here(bits[nspans]));
	put(m, KB_F_mspan_gcmarkBits, here(marks[nspans]));
	kb_addr self = here(m);
	for (uint64_t k = 0; k < npages && k < 8; k++)
		memcpy(arena_meta + kb_off(&go.layout, KB_F_heapArena_spans) + (page + k) * 8, &self, 8);
	nspans++;
	put_slice(mheap, KB_F_mheap_allspans, here(allspans), nspans, MSPANS);
	return m;
}

static void each_version(void (*fn)(int minor))
{
	for (int minor = 19; minor <= 27; minor++) {
		begin(minor);
		fn(minor);
		end();
	}
}

static void check_order(int minor)
{
	uint8_t *m = add(10, 1, 48, 170, 5 << 1);
	put(m, KB_F_mspan_freeindex, 3);
	bits[0][0] = 0x21;  /* 0 (below 3 anyway) and 5 */
	bits[0][21] = 0x0e; /* 169, and two that are no objects */
	m = add(2, 3, 24576 - 1000, 1, 0);
	put(m, KB_F_mspan_elemsize, 24576);
	bits[1][0] = 1;
	m = add(5, 1, 1024, 8, 30 << 1 | 1);
	put(m, KB_F_mspan_freeindex, 8);
	m = add(20, 4, 0, 0, 0);
	put(m, KB_F_mspan_state, 2);
	m = add(30, 1, 48, 170, 5 << 1);
	put(m, KB_F_mspan_state, 0);
	assert_int_equal(kb_mheap_check(&go, here(mheap)), 4);
	assert_ok(kb_spans_load(&go));
	const kb_heap *h = kb_go_heap(&go);
	assert_int_equal(h->nspans, 3);
	assert_int_equal(h->nids, 1 + 8 + 170);
	assert_int_equal(h->spans[0].base, HEAP + 2 * KB_PAGE_SIZE);
	assert_true(h->spans[0].flags & KB_SPAN_LARGE);
	assert_int_equal(h->spans[0].asked_size, 24576 - 1000);
	assert_int_equal(h->spans[1].flags, KB_SPAN_NOSCAN);
	assert_int_equal(h->spans[1].first_id, 1);
	assert_int_equal(h->spans[2].first_id, 9);
	assert_int_equal(h->objects, 1 + 8 + 3 + 2);
	assert_int_equal(h->bytes, 24576 + 8 * 1024 + 5 * 48);
	assert_int_equal(go.manual_bytes, 4 * KB_PAGE_SIZE);
	assert_int_equal(kb_heap_object(h, HEAP + 4 * KB_PAGE_SIZE + 77), 0);
	assert_int_equal(kb_heap_object(h, HEAP + 10 * KB_PAGE_SIZE + 5 * 48 + 47), 9 + 5);
	assert_int_equal(kb_heap_object(h, HEAP + 10 * KB_PAGE_SIZE + 6 * 48), KB_NO_ID);
	assert_int_equal(kb_heap_object(h, HEAP + 10 * KB_PAGE_SIZE + 170 * 48), KB_NO_ID);
	assert_int_equal(kb_heap_span_of(h, HEAP + 20 * KB_PAGE_SIZE), KB_NO_ID);
	assert_int_equal(kb_heap_span_of(h, HEAP - 1), KB_NO_ID);
	for (uint32_t id = 0; id < h->nids; id++) {
		const kb_span *s = kb_heap_span_of_id(h, id);
		assert_true(id >= s->first_id && id - s->first_id < s->nelems);
	}
	assert_null(kb_heap_span_of_id(h, h->nids));
	assert_int_equal(go.info.ngaps, 0);
	(void)minor;
}

static void order_ids_and_totals(void **state)
{
	(void)state;
	each_version(check_order);
}

static void check_headers(int minor)
{
	add(1, 1, 512, 16, 9 << 1);
	add(2, 1, 576, 14, 10 << 1);
	add(3, 1, 576, 14, 10 << 1 | 1);
	assert_ok(kb_spans_load(&go));
	assert_false(go.heap.spans[0].flags & KB_SPAN_HEADERS);
	assert_int_equal(!!(go.heap.spans[1].flags & KB_SPAN_HEADERS), minor >= 22);
	assert_false(go.heap.spans[2].flags & KB_SPAN_HEADERS);
}

static void headers_from_122_on(void **state)
{
	(void)state;
	each_version(check_headers);
}

static void check_unswept(int minor)
{
	/* Behind by 2: waits to be swept; ahead by 1: cached before the sweep; ahead by 3: swept and cached. */
	static const int gens[] = { SWEEPGEN - 2, SWEEPGEN + 1, SWEEPGEN, SWEEPGEN + 3, SWEEPGEN - 1 };
	for (unsigned i = 0; i < 5; i++) {
		uint8_t *m = add(1 + i, 1, 64, 128, 6 << 1);
		put(m, KB_F_mspan_sweepgen, (uint32_t)gens[i]);
		put(m, KB_F_mspan_freeindex, 4);
		bits[i][2] = 0xff;
		marks[i][0] = 0x03; /* 0, 1 of the first four */
		marks[i][2] = 0x0f;
		marks[i][3] = 0xff; /* not allocated */
	}
	assert_ok(kb_spans_load(&go));
	const kb_heap *h = kb_go_heap(&go);
	for (unsigned i = 0; i < 5; i++) {
		const kb_span *s = &h->spans[i];
		assert_int_equal(!!s->mark_bits, i < 2);
		assert_int_equal(kb_span_live(s, 1), true);
		assert_int_equal(kb_span_live(s, 2), i >= 2);
		assert_int_equal(kb_span_live(s, 20), i >= 2);
		assert_false(kb_span_live(s, 24));
	}
	assert_int_equal(h->objects, 5 * 12);
	assert_int_equal(h->unswept_objects, 2 * 6);
	assert_int_equal(h->unswept_bytes, 2 * 6 * 64);
	(void)minor;
}

static void unswept_spans(void **state)
{
	(void)state;
	each_version(check_unswept);
}

/* Green tea: the bitmap of the arena says so, page by page. */
static void inline_marks_by_page(void **state)
{
	(void)state;
	begin(26);
	add(1, 1, 64, 126, 6 << 1);
	add(2, 1, 64, 128, 6 << 1);
	arena_meta[kb_off(&go.layout, KB_F_heapArena_pageUseSpanInlineMarkBits)] = 1 << 1;
	assert_ok(kb_spans_load(&go));
	assert_int_equal(go.heap.spans[0].flags & KB_SPAN_INLINE, KB_SPAN_INLINE);
	assert_int_equal(go.heap.spans[1].flags & KB_SPAN_INLINE, 0);
	end();
}

static void what_cannot_be_is_left_out(void **state)
{
	(void)state;
	begin(26);
	add(1, 1, 64, 128, 6 << 1);
	put(add(2, 1, 64, 128, 6 << 1), KB_F_mspan_startAddr, HEAP + 77); /* not at a page */
	add(3, 1, 64, 129, 6 << 1);                                       /* more objects than room */
	add(4, 1, 0, 0, 6 << 1);
	add(5, 1, 60, 100, 6 << 1); /* not a multiple of words */
	put(add(6, 1, 64, 128, 6 << 1), KB_F_mspan_npages, 0);
	put(add(7, 1, 64, 128, 6 << 1), KB_F_mspan_npages, UINT64_MAX);
	put(add(8, 1, 64, 128, 6 << 1), KB_F_mspan_startAddr, UINT64_C(1) << 60);
	put(add(9, 1, 8192, 1, 0), KB_F_mspan_nelems, 2);
	add(10, 4, 32768, 1, 0);
	add(12, 1, 64, 128, 6 << 1); /* inside the one before */
	put(add(15, 1, 64, 128, 6 << 1), KB_F_mspan_allocBits, 16);
	put(add(16, 1, 64, 128, 6 << 1), KB_F_mspan_freeindex, 60000);
	allspans[nspans++] = 0;
	put_slice(mheap, KB_F_mheap_allspans, here(allspans), nspans, MSPANS);
	mspans[nspans - 1] = NULL;
	assert_ok(kb_spans_load(&go));
	const kb_heap *h = kb_go_heap(&go);
	assert_int_equal(h->nspans, 4);
	assert_int_equal(h->spans[0].base, HEAP + KB_PAGE_SIZE);
	assert_int_equal(h->spans[1].npages, 4);
	assert_int_equal(h->spans[2].base, HEAP + 15 * KB_PAGE_SIZE);
	assert_int_equal(h->spans[3].free_index, 128);
	assert_false(kb_span_allocated(&h->spans[2], 127));
	assert_int_equal(go.info.ngaps, 1);
	end();
}

static void broken_heaps(void **state)
{
	(void)state;
	begin(26);
	/* No spans at all. */
	put_slice(mheap, KB_F_mheap_allspans, here(allspans), 0, MSPANS);
	assert_ok(kb_spans_load(&go));
	assert_int_equal(go.heap.nids, 0);
	assert_int_equal(kb_heap_span_of(&go.heap, HEAP), KB_NO_ID);
	assert_null(kb_heap_span_of_id(&go.heap, 0));
	/* Length over capacity; more than there can be; a list that is not there. */
	put_slice(mheap, KB_F_mheap_allspans, here(allspans), 2, 1);
	assert_error(kb_spans_load(&go), KB_E_CORRUPT);
	put_slice(mheap, KB_F_mheap_allspans, here(allspans), UINT64_C(1) << 40, UINT64_C(1) << 40);
	assert_error(kb_spans_load(&go), KB_E_CORRUPT);
	put_slice(mheap, KB_F_mheap_allspans, 64, 3, 3);
	assert_ok(kb_spans_load(&go));
	assert_int_equal(go.heap.nspans, 0);
	/* Two spans as far apart as addresses go. */
	add(1, 1, 64, 128, 6 << 1);
	put(add(2, 1, 64, 128, 6 << 1), KB_F_mspan_startAddr, UINT64_C(1) << 56);
	assert_error(kb_spans_load(&go), KB_E_CORRUPT);
	go.vars.mheap = 64;
	assert_error(kb_spans_load(&go), KB_E_FAULT);
	end();
}

static void not_mheap(void **state)
{
	(void)state;
	begin(26);
	for (unsigned i = 0; i < 8; i++)
		add(1 + i, 1, 64, 128, 6 << 1);
	assert_int_equal(kb_mheap_check(&go, here(mheap)), 8);
	/* The arena knows other spans. */
	memset(arena_meta + kb_off(&go.layout, KB_F_heapArena_spans), 0, 9 * 8);
	assert_int_equal(kb_mheap_check(&go, here(mheap)), 0);
	assert_int_equal(kb_mheap_check(&go, 64), 0);
	assert_int_equal(kb_mheap_check(&go, here(l2)), 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_ids_and_totals),
		cmocka_unit_test(headers_from_122_on),
		cmocka_unit_test(unswept_spans),
		cmocka_unit_test(inline_marks_by_page),
		cmocka_unit_test(what_cannot_be_is_left_out),
		cmocka_unit_test(broken_heaps),
		cmocka_unit_test(not_mheap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
