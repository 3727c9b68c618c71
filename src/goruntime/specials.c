/* What the runtime has noted of single objects: finalizers, cleanups, weak handles, profile samples; and the
 * finalizers and cleanups that wait to run. runtime/mheap.go, mfinal.go, mcleanup.go (1.24+). The numbers of the kinds
 * changed in 1.21, 1.23 and 1.25: they are in the layout. */
#include "pages.h"

#include <stdlib.h>

/* An object may have several cleanups; of the other kinds, one. */
enum { SAME_MAX = 65536, RECORD_MAX = 256, QUEUE_BLOCKS_MAX = 1 << 20, QUEUED_MAX = 1 << 26 };
#define SPECIALS_MAX ((size_t)1 << 28)

struct loader {
	kb_go *go;
	kb_blocks blocks;
	size_t cap, cap_words, cap_queued, nwords;
	uint8_t kinds[256]; /* number in this version → enum kb_special_kind */
	size_t unreadable, disordered;
};

static void set_kinds(struct loader *ld)
{
	static const struct {
		enum kb_const_id c;
		enum kb_special_kind kind;
	} known[] = {
		{ KB_C_SpecialFinalizer, KB_SPECIAL_FINALIZER }, { KB_C_SpecialWeakHandle, KB_SPECIAL_WEAK },
		{ KB_C_SpecialProfile, KB_SPECIAL_PROFILE },     { KB_C_SpecialCleanup, KB_SPECIAL_CLEANUP },
		{ KB_C_SpecialPinCounter, KB_SPECIAL_PIN },
	};
	for (size_t i = 0; i < KB_ARRAY_LEN(known); i++) {
		int64_t n = kb_const(&ld->go->layout, known[i].c);
		if (n > 0 && n < 256)
			ld->kinds[n] = known[i].kind;
	}
}

/* Size of the record of a kind; 0 when the layout has none. */
static uint32_t record_size(const kb_layout *l, enum kb_special_kind kind)
{
	switch (kind) {
	case KB_SPECIAL_FINALIZER:
		return kb_sizeof(l, KB_S_specialfinalizer);
	case KB_SPECIAL_WEAK:
		return kb_sizeof(l, KB_S_specialWeakHandle);
	case KB_SPECIAL_PROFILE:
		return kb_sizeof(l, KB_S_specialprofile);
	case KB_SPECIAL_CLEANUP:
		return kb_sizeof(l, KB_S_specialCleanup);
	default:
		return kb_sizeof(l, KB_S_special);
	}
}

/* cleanup: 1.24 and 1.25 have a funcval, later ones {call, fn, arg}. */
static void cleanup_words(const kb_go *go, kb_bytes b, uint64_t words[3], kb_addr *ret_fn)
{
	const kb_layout *l = &go->layout;
	if (!kb_has(l, KB_F_specialCleanup_cleanup)) {
		*ret_fn = words[0] = kb_field_of(go, b, KB_F_specialCleanup_fn);
		return;
	}
	kb_bytes c = kb_slice(b, kb_off(l, KB_F_specialCleanup_cleanup), kb_sizeof(l, KB_S_cleanupFn));
	words[0] = kb_field_of(go, c, KB_F_cleanupFn_call);
	words[1] = *ret_fn = kb_field_of(go, c, KB_F_cleanupFn_fn);
	words[2] = kb_field_of(go, c, KB_F_cleanupFn_arg);
}

static kb_error *add_special(struct loader *ld, const kb_special *sp, const uint64_t words[3])
{
	kb_go *go = ld->go;
	if (!KB_ROOM(go->specials, go->nspecials, ld->cap, SPECIALS_MAX) ||
	    !KB_ROOM(go->special_words, go->nspecials, ld->cap_words, SPECIALS_MAX))
		return kb_error_nomem();
	go->specials[go->nspecials] = *sp;
	memcpy(go->special_words[go->nspecials], words, 3 * sizeof(*words));
	go->nspecials++;
	return NULL;
}

/* Where a list is: it is sorted by offset, then kind (runtime/mheap.go, specialFindSplicePoint). */
struct walk {
	const kb_span *span;
	uint64_t place; /* offset and kind of the last record */
	unsigned same;  /* records in a row with that place */
};

/* False when the record cannot be the next of the list: it was freed and used again for another while the list was
 * read. */
static bool in_order(struct walk *w, uint64_t offset, uint64_t kind)
{
	uint64_t place = offset << 8 | kind;
	if (!kind || offset >= (uint64_t)w->span->npages * KB_PAGE_SIZE || place < w->place)
		return false;
	w->same = place == w->place ? w->same + 1 : 0;
	w->place = place;
	return w->same < SAME_MAX;
}

/* One record; *next is the one behind it. */
static kb_error *load_special(struct loader *ld, struct walk *w, kb_addr a, kb_addr *next)
{
	const kb_span *s = w->span;
	const kb_go *go = ld->go;
	const kb_layout *l = &go->layout;
	uint8_t buf[RECORD_MAX];
	kb_bytes b = { buf, kb_sizeof(l, KB_S_special) };
	uint64_t words[3] = { 0 };
	kb_special sp = { .special = a };
	*next = 0;
	if (b.n > sizeof(buf) || !kb_blocks_read(&ld->blocks, a, buf, b.n)) {
		ld->unreadable++;
		return NULL;
	}
	uint64_t offset = kb_field_of(go, b, KB_F_special_offset), kind = kb_field_of(go, b, KB_F_special_kind) & 255;
	if (!in_order(w, offset, kind)) {
		ld->disordered++;
		return NULL;
	}
	*next = kb_field_of(go, b, KB_F_special_next);
	sp.kind = ld->kinds[kind];
	if (sp.kind == KB_SPECIAL_OTHER)
		return NULL;
	sp.object = s->base + (s->flags & KB_SPAN_LARGE ? 0 : offset / s->elem_size * s->elem_size);
	b.n = record_size(l, sp.kind);
	if (b.n > sizeof(buf) || !kb_blocks_read(&ld->blocks, a, buf, b.n)) {
		ld->unreadable++;
		return NULL;
	}
	if (sp.kind == KB_SPECIAL_FINALIZER) {
		sp.fn = words[0] = kb_field_of(go, b, KB_F_specialfinalizer_fn);
		sp.type = kb_field_of(go, b, KB_F_specialfinalizer_ot);
	} else if (sp.kind == KB_SPECIAL_WEAK) {
		words[0] = kb_field_of(go, b, KB_F_specialWeakHandle_handle);
	} else if (sp.kind == KB_SPECIAL_PROFILE) {
		sp.bucket = kb_field_of(go, b, KB_F_specialprofile_b);
	} else if (sp.kind == KB_SPECIAL_CLEANUP) {
		cleanup_words(go, b, words, &sp.fn);
	}
	return add_special(ld, &sp, words);
}

static kb_error *load_spans_specials(struct loader *ld)
{
	const kb_heap *h = &ld->go->heap;
	for (size_t i = 0; i < h->nspans; i++) {
		struct walk w = { .span = &h->spans[i] };
		for (kb_addr a = w.span->specials; a;)
			KB_TRY(load_special(ld, &w, a, &a));
	}
	if (ld->unreadable || ld->disordered)
		kb_go_gap(ld->go, "specials of %zu spans are incomplete: they changed while they were read",
			  ld->unreadable + ld->disordered);
	return NULL;
}

/* ---- queues ------------------------------------------------------------------------------------------------------ */

static kb_error *add_queued(struct loader *ld, kb_addr slot, uint64_t value)
{
	kb_go *go = ld->go;
	if (!value)
		return NULL;
	if (!KB_ROOM(go->queued, go->nqueued, ld->cap_queued, QUEUED_MAX))
		return kb_error_nomem();
	go->queued[go->nqueued++] = (struct kb_queued){ slot, value };
	return NULL;
}

/* n records of `size` bytes at a; all their words are roots. */
static kb_error *add_records(struct loader *ld, kb_addr a, uint64_t n, uint32_t size)
{
	uint64_t w[8];
	if (size > sizeof(w))
		return NULL;
	for (uint64_t i = 0; i < n; i++) {
		if (!kb_blocks_read(&ld->blocks, a + i * size, w, size))
			return NULL;
		for (uint32_t k = 0; k < size / 8; k++)
			KB_TRY(add_queued(ld, a + i * size + k * 8, w[k]));
	}
	return NULL;
}

struct queue {
	const char *name;
	kb_addr head; /* of the first block */
	enum kb_field_id link, count, records;
	uint32_t record_size, slots;
};

static kb_error *load_queue(struct loader *ld, const struct queue *q)
{
	const kb_layout *l = &ld->go->layout;
	kb_map seen = { 0 };
	kb_error *err = NULL;
	kb_addr a = q->head;
	uint64_t there, next;
	unsigned n = 0;
	for (; a && !err && n < QUEUE_BLOCKS_MAX && !kb_map_get(&seen, a, &there); n++) {
		uint32_t count;
		if (a == KB_ADDR_MAX || !kb_map_put(&seen, a, 1) ||
		    !kb_blocks_read(&ld->blocks, a + kb_off(l, q->count), &count, 4) ||
		    !kb_blocks_read(&ld->blocks, a + kb_off(l, q->link), &next, 8)) {
			kb_go_gap(ld->go, "queue of %s: a block cannot be read", q->name);
			break;
		}
		err = add_records(ld, a + kb_off(l, q->records), count < q->slots ? count : q->slots, q->record_size);
		a = next;
	}
	kb_map_free(&seen);
	return err;
}

/* runtime/mfinal.go: allfin heads the list of all blocks, queued or free; free ones have a count of 0. 1.24 queues
 * cleanups here as well. */
static kb_error *load_finalizer_queue(struct loader *ld)
{
	const kb_go *go = ld->go;
	const kb_layout *l = &go->layout;
	struct queue q = { "finalizers",
			   0,
			   KB_F_finblock_alllink,
			   KB_F_finblock_cnt,
			   KB_F_finblock_fin,
			   kb_sizeof(l, KB_S_finalizer),
			   0 };
	if (!go->vars.allfin || !kb_has(l, q.link) || !kb_has(l, q.count) || !kb_has(l, q.records) || !q.record_size)
		return NULL;
	/* The array fills what the block's size (FinBlockSize) leaves. */
	q.slots = kb_fsize(l, q.records) / q.record_size;
	kb_error *err = kb_target_read_u64(go->target, go->vars.allfin, &q.head);
	if (err) {
		kb_error_free(err);
		return NULL;
	}
	return load_queue(ld, &q);
}

/* runtime/mcleanup.go, 1.25 and later: gcCleanups.all; blocks hold *funcval (1.25) or cleanupFn. */
static kb_error *load_cleanup_queue(struct loader *ld)
{
	const kb_go *go = ld->go;
	const kb_layout *l = &go->layout;
	struct queue q = { "cleanups", 0, KB_F_cleanupBlock_alllink, KB_F_cleanupBlock_n, KB_F_cleanupBlock_cleanups,
			   8,          0 };
	if (!go->vars.gc_cleanups || !kb_has(l, KB_F_cleanupQueue_all) || !kb_has(l, q.link) || !kb_has(l, q.count) ||
	    !kb_has(l, q.records))
		return NULL;
	if (kb_sizeof(l, KB_S_cleanupFn))
		q.record_size = kb_sizeof(l, KB_S_cleanupFn);
	q.slots = kb_fsize(l, q.records) / q.record_size;
	kb_error *err =
		kb_target_read_u64(go->target, go->vars.gc_cleanups + kb_off(l, KB_F_cleanupQueue_all), &q.head);
	if (err) {
		kb_error_free(err);
		return NULL;
	}
	return load_queue(ld, &q);
}

static kb_error *load(struct loader *ld)
{
	set_kinds(ld);
	KB_TRY(load_spans_specials(ld));
	KB_TRY(load_finalizer_queue(ld));
	return load_cleanup_queue(ld);
}

kb_error *kb_specials_load(kb_go *go)
{
	struct loader ld = { .go = go, .blocks = { .target = go->target } };
	kb_error *err = load(&ld);
	kb_blocks_free(&ld.blocks);
	return err;
}

const kb_special *kb_go_specials(const kb_go *go, size_t *ret_n)
{
	*ret_n = go->nspecials;
	return go->specials;
}
