/* The heap's spans: mheap_.allspans, alloc and mark bits, page table. runtime/mheap.go, mgcsweep.go,
 * mgcmark_greenteagc.go (1.25+). A heap of 1 GB of small objects has 131,000 spans; everything is read in long runs. */
#include "spans.h"

#include <stdlib.h>

#define SPANS_MAX (UINT64_C(1) << 28)
#define ADDRESS_MAX (UINT64_C(1) << 57)
/* linux/amd64: arena indexes count from -2^47 (runtime/malloc.go: arenaBaseOffset). */
#define ARENA_BASE_OFFSET (UINT64_C(0xffff800000000000))
#define ARENAS_MAX (UINT64_C(1) << 22)
/* Of these with heap in them: 4 TiB. */
#define ARENAS_USED_MAX (UINT64_C(1) << 16)

enum {
	SIZE_CLASS_BYTES_MAX = 32768,
	SMALL_PAGES_MAX = 64,
	INLINE_BYTES = 128,
	INLINE_MARKS_AT = 64,
	INLINE_MARKS = 63,
	HEADER_MIN = 512,
	MSPAN_MAX = 512,
	AGAIN_MAX = 16
};
enum { STATE_IN_USE = 1, STATE_MANUAL = 2 }; /* mheap.go: mSpanInUse, mSpanManual; same numbers in all versions */

static const uint8_t no_bits[KB_BITS_MAX];

/* A span as read, before it has its place. */
struct raw {
	kb_span s;
	kb_addr alloc_bits, mark_bits;
};

struct loader {
	kb_go *go;
	struct kb_span_store *st;
	kb_addr *mspans;
	size_t nmspans;
	kb_pages structs;
	struct raw *raws;
	size_t nraws;
	uint32_t *order; /* raws by address */
	size_t norder;
	size_t odd; /* spans that contradict themselves: caught while they changed */
	kb_addr lo, hi;
};

/* ---- checking a candidate for mheap_ ----------------------------------------------------------------------------- */

/* 1: the span is found again through its arena; 0: it is not in use; -1: it is no span. */
static int span_points_back(const kb_go *go, kb_addr l2, kb_addr mspan)
{
	uint64_t base, npages, state, arena, back;
	KB_DROP_ERROR kb_error *err = kb_field(go, mspan, KB_F_mspan_state, &state);
	if (!err)
		err = kb_field(go, mspan, KB_F_mspan_startAddr, &base);
	if (!err)
		err = kb_field(go, mspan, KB_F_mspan_npages, &npages);
	if (err)
		return -1;
	if (!(uint8_t)state)
		return 0;
	if ((base & (KB_PAGE_SIZE - 1)) || !npages || npages >= 1 << 30 || base >= ADDRESS_MAX)
		return -1;
	err = kb_target_read_u64(go->target, l2 + 8 * ((base - ARENA_BASE_OFFSET) >> KB_ARENA_SHIFT), &arena);
	if (err || !arena || !kb_has(&go->layout, KB_F_heapArena_spans))
		return -1;
	err = kb_target_read_u64(go->target,
				 arena + kb_off(&go->layout, KB_F_heapArena_spans) +
					 8 * ((base >> KB_PAGE_SHIFT) & (KB_PAGES_PER_ARENA - 1)),
				 &back);
	return !err && back == mspan ? 1 : -1;
}

enum { CHECK_SAMPLES = 4096, CHECK_ENOUGH = 16 };

unsigned kb_mheap_check(const kb_go *go, kb_addr mheap)
{
	const kb_layout *l = &go->layout;
	uint64_t l2, p, n, cap, mspan;
	unsigned ok = 0, bad = 0;
	if (!kb_has(l, KB_F_mheap_allspans) || !kb_has(l, KB_F_mheap_arenas))
		return 0;
	KB_DROP_ERROR kb_error *err = kb_read_slice(go, mheap + kb_off(l, KB_F_mheap_allspans), &p, &n, &cap);
	if (!err)
		err = kb_target_read_u64(go->target, mheap + kb_off(l, KB_F_mheap_arenas), &l2);
	if (err || !n || n > SPANS_MAX || !p || (p & 7) || !l2 || (l2 & 7))
		return 0;
	/* After a heap has shrunk most structs are of dead spans, which tell nothing. */
	for (uint64_t k = 0; k < n && ok < CHECK_ENOUGH; k += n / CHECK_SAMPLES + 1) {
		err = kb_target_read_u64(go->target, p + 8 * k, &mspan);
		if (err)
			return 0;
		int r = span_points_back(go, l2, mspan);
		ok += r > 0;
		bad += r < 0;
	}
	/* The target runs: one of them may have changed between two reads. */
	return bad > 1 + ok / 8 ? 0 : ok;
}

/* ---- reading the structs ----------------------------------------------------------------------------------------- */

static kb_error *read_mspans(struct loader *ld)
{
	kb_go *go = ld->go;
	uint64_t p, n, cap;
	uint32_t size = kb_sizeof(&go->layout, KB_S_mspan);
	if (!kb_has(&go->layout, KB_F_mheap_allspans) || !size)
		return kb_error_new(KB_E_UNSUPPORTED, "no layout of mheap");
	KB_TRY(kb_read_slice(go, go->vars.mheap + kb_off(&go->layout, KB_F_mheap_allspans), &p, &n, &cap));
	if (n > SPANS_MAX)
		return kb_error_new(KB_E_CORRUPT, "%llu spans", (unsigned long long)n);
	ld->nmspans = n;
	ld->mspans = malloc(n * 8 + 8);
	ld->raws = kb_big_alloc(n * sizeof(*ld->raws) + 1);
	if (!ld->mspans || !ld->raws)
		return kb_error_nomem();
	if (kb_target_read_holes(go->target, p, ld->mspans, n * 8) < n * 8)
		kb_go_gap(go, "the list of spans is not wholly readable");
	for (size_t i = 0; i < n; i++)
		if (ld->mspans[i] && !kb_pages_add(&ld->structs, ld->mspans[i], size))
			return kb_error_nomem();
	return kb_pages_load(&ld->structs, go->target);
}

static bool bounds_fit(const kb_span *s, uint64_t npages, uint64_t nelems)
{
	if ((s->base & (KB_PAGE_SIZE - 1)) || !s->base || s->base >= ADDRESS_MAX || !npages || npages >= UINT32_MAX)
		return false;
	if (s->flags & KB_SPAN_LARGE)
		return nelems == 1 && s->elem_size && s->elem_size <= npages * KB_PAGE_SIZE;
	return s->elem_size >= 8 && !(s->elem_size & 7) && s->elem_size <= SIZE_CLASS_BYTES_MAX &&
	       npages <= SMALL_PAGES_MAX && nelems && nelems * s->elem_size <= npages * KB_PAGE_SIZE;
}

/* False when the struct is no in-use span. */
static bool parse_mspan(struct loader *ld, kb_addr mspan, kb_bytes b, struct raw *r)
{
	kb_go *go = ld->go;
#define GET(f) kb_field_of(go, b, KB_F_mspan_##f)
	uint64_t state = GET(state) & 255, npages = GET(npages), nelems = GET(nelems);
	if (state == STATE_MANUAL && npages < 1 << 30)
		go->manual_bytes += npages * KB_PAGE_SIZE;
	if (state != STATE_IN_USE)
		return false;
	uint64_t class_ = GET(spanclass), limit = GET(limit), unswept = (uint32_t)(GET(sweepgen) - go->sweepgen);
	kb_span *s = &r->s;
	s->base = GET(startAddr);
	s->elem_size = GET(elemsize);
	s->flags = (class_ & 1 ? KB_SPAN_NOSCAN : 0) | (class_ >> 1 ? 0 : KB_SPAN_LARGE);
	if (unswept == UINT32_MAX - 1 || unswept == 1)
		s->flags |= KB_SPAN_UNSWEPT;
	if (GET(isUserArenaChunk))
		s->flags |= KB_SPAN_USER_ARENA;
	if (!bounds_fit(s, npages, nelems)) {
		ld->odd++;
		return false;
	}
	s->npages = (uint32_t)npages;
	s->nelems = (uint32_t)nelems;
	uint64_t free_index = GET(freeindex);
	s->free_index = free_index < nelems ? (uint32_t)free_index : s->nelems;
	s->asked_size = s->elem_size;
	if ((s->flags & KB_SPAN_LARGE) && limit > s->base && limit - s->base <= s->elem_size)
		s->asked_size = limit - s->base;
	s->large_type = GET(largeType);
	s->specials = GET(specials);
	s->mspan = mspan;
	s->div_magic = s->flags & KB_SPAN_LARGE ? 0 : UINT32_MAX / (uint32_t)s->elem_size + 1;
	/* Malloc headers: 1.22 and later, unless built without them (then heapArena has bitmaps). */
	if (!(s->flags & (KB_SPAN_NOSCAN | KB_SPAN_LARGE)) && s->elem_size > HEADER_MIN &&
	    !kb_has(&go->layout, KB_F_heapArena_bitmap))
		s->flags |= KB_SPAN_HEADERS;
	r->alloc_bits = GET(allocBits);
	r->mark_bits = GET(gcmarkBits);
#undef GET
	return true;
}

static void parse_mspans(struct loader *ld)
{
	uint32_t size = kb_sizeof(&ld->go->layout, KB_S_mspan);
	ld->lo = KB_ADDR_MAX;
	for (size_t i = 0; i < ld->nmspans; i++) {
		const uint8_t *p = ld->mspans[i] ? kb_pages_at(&ld->structs, ld->mspans[i], size) : NULL;
		struct raw *r = &ld->raws[ld->nraws];
		*r = (struct raw){ 0 };
		if (!p || !parse_mspan(ld, ld->mspans[i], (kb_bytes){ p, size }, r))
			continue;
		kb_addr end = r->s.base + (uint64_t)r->s.npages * KB_PAGE_SIZE;
		ld->lo = r->s.base < ld->lo ? r->s.base : ld->lo;
		ld->hi = end > ld->hi ? end : ld->hi;
		ld->nraws++;
	}
}

/* ---- arenas and the page table ----------------------------------------------------------------------------------- */

static size_t arena_index(const kb_go *go, kb_addr a)
{
	return (size_t)((a - go->heap.arena_base_first) >> KB_ARENA_SHIFT);
}

static kb_error *alloc_tables(struct loader *ld)
{
	kb_go *go = ld->go;
	struct kb_span_store *st = ld->st;
	go->heap.arena_base_first = ld->nraws ? ld->lo & ~((UINT64_C(1) << KB_ARENA_SHIFT) - 1) : 0;
	uint64_t n = ld->nraws ? arena_index(go, ld->hi - 1) + 1 : 0, used = 0;
	if (n > ARENAS_MAX)
		return kb_error_new(KB_E_CORRUPT, "heap spread over %llu arenas", (unsigned long long)n);
	go->heap.narenas = (uint32_t)n;
	st->page_table_bytes = st->arenas_bytes = n * 8 + 8;
	st->page_table = kb_big_alloc(st->page_table_bytes);
	st->arenas = kb_big_alloc(st->arenas_bytes);
	if (!st->page_table || !st->arenas)
		return kb_error_nomem();
	/* First only marks which arenas have heap; a large span may fill several. */
	for (size_t i = 0; i < ld->nraws; i++) {
		const kb_span *s = &ld->raws[i].s;
		size_t last = arena_index(go, s->base + (uint64_t)s->npages * KB_PAGE_SIZE - 1);
		for (size_t a = arena_index(go, s->base); a <= last; a++) {
			used += !st->arenas[a];
			st->arenas[a] = 1;
		}
	}
	if (used > ARENAS_USED_MAX)
		return kb_error_new(KB_E_CORRUPT, "heap in %llu arenas", (unsigned long long)used);
	st->table_bytes = (size_t)used * KB_PAGES_PER_ARENA * 4 + 1;
	st->tables = kb_big_alloc(st->table_bytes);
	if (!st->tables)
		return kb_error_nomem();
	memset(st->tables, 0xff, st->table_bytes);
	uint32_t *next = st->tables;
	for (size_t a = 0; a < n; a++) {
		if (!st->arenas[a])
			continue;
		st->page_table[a] = next;
		next += KB_PAGES_PER_ARENA;
	}
	return NULL;
}

/* The heapArena of each arena with heap: mheap_.arenas[0] is an array of 2^22 pointers, almost all untouched. */
static kb_error *read_arenas(struct loader *ld)
{
	kb_go *go = ld->go;
	KB_TRY(kb_field(go, go->vars.mheap, KB_F_mheap_arenas, &go->l2_arenas));
	for (uint32_t a = 0; a < go->heap.narenas; a++) {
		if (!ld->st->arenas[a])
			continue;
		kb_addr start = go->heap.arena_base_first + ((uint64_t)a << KB_ARENA_SHIFT);
		KB_DROP_ERROR kb_error *err =
			kb_target_read_u64(go->target,
					   go->l2_arenas + 8 * ((start - ARENA_BASE_OFFSET) >> KB_ARENA_SHIFT),
					   &ld->st->arenas[a]);
		if (err) {
			ld->st->arenas[a] = 0;
			kb_go_gap(go, "no metadata of the arena at 0x%llx", (unsigned long long)start);
		}
	}
	return NULL;
}

static void put_pages(kb_go *go, const kb_span *s, uint32_t value, uint32_t npages)
{
	for (uint32_t k = 0; k < npages; k++) {
		kb_addr a = s->base + (uint64_t)k * KB_PAGE_SIZE;
		go->span_store->page_table[arena_index(go, a)][(a >> KB_PAGE_SHIFT) & (KB_PAGES_PER_ARENA - 1)] = value;
	}
}

/* Puts the spans into address order: each marks its first page, then the pages are walked. Overlapping ones (one of
 * them changed while it was read) lose to the first. */
static kb_error *sort_spans(struct loader *ld)
{
	kb_go *go = ld->go;
	kb_addr end = 0;
	ld->order = malloc(ld->nraws * sizeof(*ld->order) + 1);
	if (!ld->order)
		return kb_error_nomem();
	for (size_t i = 0; i < ld->nraws; i++)
		put_pages(go, &ld->raws[i].s, (uint32_t)i, 1);
	for (uint32_t a = 0; a < go->heap.narenas; a++) {
		uint32_t *t = ld->st->page_table[a];
		for (size_t page = 0; t && page < KB_PAGES_PER_ARENA; page++) {
			if (t[page] == KB_NO_ID)
				continue;
			const kb_span *s = &ld->raws[t[page]].s;
			if (s->base >= end) {
				ld->order[ld->norder++] = t[page];
				end = s->base + (uint64_t)s->npages * KB_PAGE_SIZE;
			}
			t[page] = KB_NO_ID;
		}
	}
	ld->odd += ld->nraws - ld->norder;
	return NULL;
}

/* ---- bits -------------------------------------------------------------------------------------------------------- */

/* Sets KB_SPAN_INLINE: which pages have marks inside is a bitmap in heapArena (1.25 and later; all zero without green
 * tea). */
static void find_inline_marks(struct loader *ld)
{
	kb_go *go = ld->go;
	uint8_t bits[KB_PAGES_PER_ARENA / 8];
	if (!kb_has(&go->layout, KB_F_heapArena_pageUseSpanInlineMarkBits))
		return;
	uint32_t off = kb_off(&go->layout, KB_F_heapArena_pageUseSpanInlineMarkBits), i = 0;
	for (uint32_t a = 0; a < go->heap.narenas; a++) {
		if (!ld->st->arenas[a])
			continue;
		kb_target_read_holes(go->target, ld->st->arenas[a] + off, bits, sizeof(bits));
		for (; i < ld->st->nspans && arena_index(go, ld->st->spans[i].base) == a; i++) {
			kb_span *s = &ld->st->spans[i];
			uint32_t page = (s->base >> KB_PAGE_SHIFT) & (KB_PAGES_PER_ARENA - 1);
			if (bits[page >> 3] >> (page & 7) & 1)
				s->flags |= KB_SPAN_INLINE;
		}
	}
}

struct inline_job {
	struct loader *ld;
	uint32_t *spans;
};

static kb_error *read_inline_marks(void *ctx, unsigned worker, size_t i)
{
	struct inline_job *j = ctx;
	kb_span *s = &j->ld->st->spans[j->spans[i]];
	uint8_t *to = j->ld->st->inline_marks + i * KB_PAGE_SIZE / 64;
	(void)worker;
	kb_target_read_holes(j->ld->go->target,
			     s->base + (uint64_t)s->npages * KB_PAGE_SIZE - INLINE_BYTES + INLINE_MARKS_AT, to,
			     INLINE_MARKS);
	s->mark_bits = to;
	return NULL;
}

/* Marks inside the spans themselves, needed only where sweeping has not come yet. */
static kb_error *load_inline_marks(struct loader *ld)
{
	const uint32_t both = KB_SPAN_INLINE | KB_SPAN_UNSWEPT;
	struct kb_span_store *st = ld->st;
	size_t n = 0;
	for (size_t i = 0; i < st->nspans; i++)
		n += (st->spans[i].flags & both) == both;
	KB_FREE uint32_t *which = malloc(n * sizeof(*which) + 1);
	st->inline_marks = calloc(n + 1, KB_PAGE_SIZE / 64);
	if (!which || !st->inline_marks)
		return kb_error_nomem();
	n = 0;
	for (size_t i = 0; i < st->nspans; i++)
		if ((st->spans[i].flags & both) == both)
			which[n++] = (uint32_t)i;
	struct inline_job job = { ld, which };
	return kb_parallel(n, read_inline_marks, &job);
}

static bool own_marks(const kb_span *s)
{
	return (s->flags & (KB_SPAN_INLINE | KB_SPAN_UNSWEPT)) == KB_SPAN_UNSWEPT;
}

static kb_error *load_bits(struct loader *ld)
{
	struct kb_span_store *st = ld->st;
	size_t missing = 0;
	for (size_t i = 0; i < st->nspans; i++) {
		const struct raw *r = &ld->raws[ld->order[i]];
		size_t n = (st->spans[i].nelems + 7) / 8;
		if (!kb_pages_add(&st->bits, r->alloc_bits, n) ||
		    (own_marks(&st->spans[i]) && !kb_pages_add(&st->bits, r->mark_bits, n)))
			return kb_error_nomem();
	}
	KB_TRY(kb_pages_load(&st->bits, ld->go->target));
	for (size_t i = 0; i < st->nspans; i++) {
		kb_span *s = &st->spans[i];
		const struct raw *r = &ld->raws[ld->order[i]];
		size_t n = (s->nelems + 7) / 8;
		s->alloc_bits = kb_pages_at(&st->bits, r->alloc_bits, n);
		if (!s->alloc_bits) {
			s->alloc_bits = no_bits;
			missing++;
		}
		if (own_marks(s))
			s->mark_bits = kb_pages_at(&st->bits, r->mark_bits, n);
	}
	if (missing)
		kb_go_gap(ld->go, "no alloc bits of %zu spans", missing);
	return load_inline_marks(ld);
}

/* ---- what a collection changed meanwhile ------------------------------------------------------------------------- */

/* Sweeping gives a span new alloc bits, and a cycle later the old ones' memory is cleared for others (runtime/mheap.go, gcBitsArenas). So bits
 * count only when the struct names them still after they were read. */
static bool names_same_bits(const struct loader *ld, const uint8_t *now, const struct raw *r)
{
	kb_bytes b = { now, kb_sizeof(&ld->go->layout, KB_S_mspan) };
	return now && kb_field_of(ld->go, b, KB_F_mspan_allocBits) == r->alloc_bits && kb_field_of(ld->go, b, KB_F_mspan_startAddr) == r->s.base;
}

static bool same_cut(const kb_span *a, const kb_span *b)
{
	return a->base == b->base && a->npages == b->npages && a->nelems == b->nelems && a->elem_size == b->elem_size &&
	       !((a->flags ^ b->flags) & KB_SPAN_NOSCAN);
}

/* One span again: struct, bits, struct, until both structs agree. False when it is no longer the span it was. */
static bool read_again(struct loader *ld, kb_span *s, uint8_t *bits)
{
	uint8_t before[MSPAN_MAX], after[MSPAN_MAX];
	size_t size = kb_sizeof(&ld->go->layout, KB_S_mspan), n = (s->nelems + 7) / 8, odd = ld->odd;
	uint64_t manual = ld->go->manual_bytes;
	if (size > sizeof(before))
		return false;
	for (unsigned i = 0; i < AGAIN_MAX; i++) {
		struct raw r = { 0 };
		if (kb_target_read_holes(ld->go->target, s->mspan, before, size) < size)
			return false;
		bool in_use = parse_mspan(ld, s->mspan, (kb_bytes){ before, size }, &r);
		ld->odd = odd;
		ld->go->manual_bytes = manual;
		if (!in_use || !same_cut(s, &r.s))
			return false;
		kb_target_read_holes(ld->go->target, r.alloc_bits, bits, n);
		kb_target_read_holes(ld->go->target, s->mspan, after, size);
		if (!names_same_bits(ld, after, &r))
			continue;
		s->free_index = r.s.free_index;
		s->specials = r.s.specials;
		s->flags &= ~(uint32_t)KB_SPAN_UNSWEPT;
		s->mark_bits = NULL;
		s->alloc_bits = bits;
		return true;
	}
	return false;
}

static kb_error *settle_bits(struct loader *ld)
{
	struct kb_span_store *st = ld->st;
	uint32_t size = kb_sizeof(&ld->go->layout, KB_S_mspan);
	kb_pages now = { 0 };
	kb_error *err = NULL;
	if (kb_target_info_get(ld->go->target)->kind == KB_TARGET_CORE)
		return NULL;
	for (size_t i = 0; i < st->nspans && !err; i++)
		err = kb_pages_add(&now, st->spans[i].mspan, size) ? NULL : kb_error_nomem();
	if (!err)
		err = kb_pages_load(&now, ld->go->target);
	for (size_t i = 0; i < st->nspans && !err; i++) {
		kb_span *s = &st->spans[i];
		if (names_same_bits(ld, kb_pages_at(&now, s->mspan, size), &ld->raws[ld->order[i]]))
			continue;
		uint8_t *bits = kb_arena_alloc(&st->again, (s->nelems + 7) / 8 + 8);
		if (!bits) {
			err = kb_error_nomem();
		} else if (!read_again(ld, s, bits)) {
			s->alloc_bits = no_bits; /* freed, and perhaps used for something else: its old objects are gone */
			s->mark_bits = NULL;
			s->free_index = 0;
			s->specials = 0;
			ld->odd++;
		}
	}
	kb_pages_free(&now);
	return err;
}

/* ---- totals ------------------------------------------------------------------------------------------------------ */

static uint32_t count_bits(const uint8_t *bits, const uint8_t *also, uint32_t from, uint32_t to)
{
	uint32_t n = 0;
	for (; from < to && (from & 7); from++)
		n += bits[from >> 3] >> (from & 7) & (also ? also[from >> 3] >> (from & 7) : 1) & 1;
	for (; from + 8 <= to; from += 8)
		n += (uint32_t)__builtin_popcount(bits[from >> 3] & (also ? also[from >> 3] : 255));
	for (; from < to; from++)
		n += bits[from >> 3] >> (from & 7) & (also ? also[from >> 3] >> (from & 7) : 1) & 1;
	return n;
}

static void count_objects(kb_heap *h, const kb_span *s)
{
	uint32_t n = s->free_index + count_bits(s->alloc_bits, NULL, s->free_index, s->nelems);
	h->objects += n;
	h->bytes += n * s->elem_size;
	if (!s->mark_bits)
		return;
	uint32_t live = count_bits(s->mark_bits, NULL, 0, s->free_index) +
			count_bits(s->mark_bits, s->alloc_bits, s->free_index, s->nelems);
	h->unswept_objects += n - live;
	h->unswept_bytes += (n - live) * s->elem_size;
}

static kb_error *number_spans(struct loader *ld)
{
	kb_go *go = ld->go;
	struct kb_span_store *st = ld->st;
	uint64_t id = 0;
	st->cap_bytes = ld->norder * sizeof(kb_span) + 1;
	st->spans = kb_big_alloc(st->cap_bytes);
	if (!st->spans)
		return kb_error_nomem();
	st->nspans = ld->norder;
	for (size_t i = 0; i < st->nspans; i++) {
		kb_span *s = &st->spans[i];
		*s = ld->raws[ld->order[i]].s;
		s->first_id = (uint32_t)id;
		id += s->nelems;
		if (id >= KB_NO_ID)
			return kb_error_new(KB_E_LIMIT, "the heap has more than %u object slots", KB_NO_ID - 1);
		put_pages(go, s, (uint32_t)i, s->npages);
	}
	go->heap.spans = st->spans;
	go->heap.nspans = st->nspans;
	go->heap.nids = (uint32_t)id;
	go->heap.page_table = st->page_table;
	return NULL;
}

static kb_error *load(struct loader *ld)
{
	kb_go *go = ld->go;
	uint64_t sweepgen;
	KB_TRY(kb_field(go, go->vars.mheap, KB_F_mheap_sweepgen, &sweepgen));
	go->sweepgen = (uint32_t)sweepgen;
	KB_TRY(read_mspans(ld));
	parse_mspans(ld);
	KB_TRY(alloc_tables(ld));
	KB_TRY(read_arenas(ld));
	KB_TRY(sort_spans(ld));
	KB_TRY(number_spans(ld));
	find_inline_marks(ld);
	KB_TRY(load_bits(ld));
	KB_TRY(settle_bits(ld));
	for (size_t i = 0; i < ld->st->nspans; i++)
		count_objects(&go->heap, &ld->st->spans[i]);
	if (ld->odd)
		kb_go_gap(go, "%zu spans were being changed while they were read, and are left out", ld->odd);
	return NULL;
}

kb_error *kb_spans_load(kb_go *go)
{
	kb_spans_free(go);
	struct loader ld = { .go = go };
	go->span_store = ld.st = calloc(1, sizeof(*ld.st));
	if (!ld.st)
		return kb_error_nomem();
	kb_error *err = load(&ld);
	free(ld.mspans);
	if (ld.raws)
		kb_big_free(ld.raws, ld.nmspans * sizeof(*ld.raws) + 1);
	free(ld.order);
	kb_pages_free(&ld.structs);
	if (err)
		kb_spans_free(go);
	return kb_error_context(err, "heap");
}

void kb_spans_free(kb_go *go)
{
	struct kb_span_store *st = go->span_store;
	if (!st)
		return;
	if (st->spans)
		kb_big_free(st->spans, st->cap_bytes);
	if (st->page_table)
		kb_big_free(st->page_table, st->page_table_bytes);
	if (st->tables)
		kb_big_free(st->tables, st->table_bytes);
	if (st->arenas)
		kb_big_free(st->arenas, st->arenas_bytes);
	kb_pages_free(&st->bits);
	kb_arena_free(&st->again);
	free(st->inline_marks);
	free(st);
	go->span_store = NULL;
	go->heap = (kb_heap){ 0 };
}

const kb_heap *kb_go_heap(const kb_go *go)
{
	return &go->heap;
}

const kb_span *kb_heap_span_of_id(const kb_heap *h, uint32_t id)
{
	size_t lo = 0, hi = h->nspans;
	if (id >= h->nids)
		return NULL;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;
		if (h->spans[mid].first_id <= id)
			lo = mid;
		else
			hi = mid;
	}
	return &h->spans[lo];
}
