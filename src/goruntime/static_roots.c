/* All roots but the stacks: variables, finalizers, cleanups, their queues, timers, weak handles, tiny
 * blocks. */
#include "bits.h"
#include "private.h"

#include <stdlib.h>

enum { PIECE_WORDS = 1 << 16, TIMERS_MAX = 1 << 26 };

struct emit {
	const kb_go *go;
	kb_root_fn fn;
	void *ctx;
};

static void emit(const struct emit *e, kb_root r)
{
	if (r.value)
		e->fn(e->ctx, &r);
}

/* ---- variables --------------------------------------------------------------------------------------------------- */

static void section_roots(const struct emit *e, kb_addr start, const uint8_t *bytes, size_t size, const uint8_t *mask,
			  int32_t nbits)
{
	size_t n = (size_t)nbits < size / 8 ? (size_t)nbits : size / 8;
	for (size_t i = 0; i < n; i++) {
		if (!(i & 7) && !mask[i >> 3]) {
			i += 7;
			continue;
		}
		uint64_t value = mask[i >> 3] >> (i & 7) & 1 ? kb_load64(bytes + 8 * i) : 0;
		if (!value)
			continue;
		kb_addr slot = start + 8 * i;
		emit(e, (kb_root){ .kind = KB_ROOT_GLOBAL,
				   .owner = kb_go_var_at(e->go, slot),
				   .slot = slot,
				   .value = value,
				   .word_before = i ? kb_load64(bytes + 8 * i - 8) : 0 });
	}
}

static void global_roots(const struct emit *e)
{
	for (size_t i = 0; i < e->go->nmodules; i++) {
		const kb_module *m = &e->go->modules[i];
		if (m->data_bytes && m->data_mask)
			section_roots(e, m->data, m->data_bytes, m->data_size, m->data_mask, m->gcdata_bits);
		if (m->bss_bytes && m->bss_mask)
			section_roots(e, m->bss, m->bss_bytes, m->bss_size, m->bss_mask, m->gcbss_bits);
	}
}

/* ---- finalizers and cleanups ------------------------------------------------------------------------------------- */

/* Reads objects span by span: specials come in span order, often many to a span. */
struct object_reader {
	const kb_go *go;
	kb_mask_cache *masks;
	const kb_span *span;
	uint64_t first; /* word of the span that data begins with */
	uint64_t nwords;
	uint8_t *data;
	uint64_t *bits;
	size_t cap;
};

static kb_error *read_piece(struct object_reader *o, const kb_span *s, uint64_t first, uint64_t nwords)
{
	if (o->span == s && o->first == first)
		return NULL;
	if (o->cap < nwords) {
		free(o->data);
		free(o->bits);
		o->cap = 0;
		o->data = malloc(nwords * 8);
		o->bits = malloc(nwords / 8 + 16);
		if (!o->data || !o->bits)
			return kb_error_nomem();
		o->cap = nwords;
	}
	o->span = s;
	o->first = first;
	o->nwords = nwords;
	kb_target_read_holes(o->go->target, s->base + first * 8, o->data, nwords * 8);
	kb_go_span_mask(o->go, o->masks, s, o->data, first, nwords, o->bits);
	return NULL;
}

/* The pointers in the words [from, to) of the piece. */
static void piece_roots(const struct emit *e, const struct object_reader *o, uint64_t from, uint64_t to, uint32_t owner)
{
	for (uint64_t w = kb_bits_find(o->bits, from, to, true); w < to; w = kb_bits_find(o->bits, w + 1, to, true))
		emit(e, (kb_root){ .kind = KB_ROOT_FINALIZER,
				   .owner = owner,
				   .slot = o->span->base + (o->first + w) * 8,
				   .value = kb_load64(o->data + w * 8),
				   .word_before = w > from ? kb_load64(o->data + w * 8 - 8) : 0 });
}

/* What an object with a finalizer refers to stays; the object itself need not. */
static kb_error *referents(const struct emit *e, struct object_reader *o, kb_addr object, uint32_t owner)
{
	const kb_heap *h = &e->go->heap;
	uint32_t si = kb_heap_span_of(h, object);
	if (si == KB_NO_ID || (h->spans[si].flags & KB_SPAN_NOSCAN))
		return NULL;
	const kb_span *s = &h->spans[si];
	uint64_t total = (uint64_t)s->npages * KB_PAGE_SIZE / 8, per = s->elem_size / 8;
	if (!(s->flags & KB_SPAN_LARGE)) {
		uint64_t i = kb_span_index(s, object);
		KB_TRY(read_piece(o, s, 0, total));
		if (i < s->nelems)
			piece_roots(e, o, i * per, (i + 1) * per, owner);
		return NULL;
	}
	for (uint64_t at = 0; at < total; at += PIECE_WORDS) {
		uint64_t n = total - at < PIECE_WORDS ? total - at : PIECE_WORDS;
		KB_TRY(read_piece(o, s, at, n));
		piece_roots(e, o, 0, n, owner);
	}
	return NULL;
}

static kb_error *special_roots(const struct emit *e, enum kb_special_kind kind, enum kb_root_kind root)
{
	const kb_go *go = e->go;
	struct object_reader o = { .go = go, .masks = kb_mask_cache_new(go) };
	kb_error *err = o.masks ? NULL : kb_error_nomem();
	for (size_t i = 0; !err && i < go->nspecials; i++) {
		const kb_special *sp = &go->specials[i];
		if (sp->kind != kind)
			continue;
		if (kind == KB_SPECIAL_FINALIZER)
			err = referents(e, &o, sp->object, (uint32_t)i);
		for (unsigned k = 0; k < 3; k++)
			emit(e, (kb_root){ .kind = root,
					   .owner = (uint32_t)i,
					   .slot = sp->special,
					   .value = go->special_words[i][k] });
	}
	kb_mask_cache_free(o.masks);
	free(o.data);
	free(o.bits);
	return err;
}

static void queue_roots(const struct emit *e)
{
	for (size_t i = 0; i < e->go->nqueued; i++)
		emit(e, (kb_root){ .kind = KB_ROOT_QUEUE,
				   .slot = e->go->queued[i].slot,
				   .value = e->go->queued[i].value });
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

/* To 1.22 a status (runtime/time.go: waiting, running, modifying, modified earlier or later, moving are alive); from
 * 1.23 state bits. */
static bool armed(const kb_go *go, kb_bytes t)
{
	const kb_layout *l = &go->layout;
	if (kb_has(l, KB_F_timer_status)) {
		uint64_t status = kb_field_of(go, t, KB_F_timer_status);
		int64_t none = kb_const(l, KB_C_TimerNoStatus), deleted = kb_const(l, KB_C_TimerDeleted),
			removing = kb_const(l, KB_C_TimerRemoving), removed = kb_const(l, KB_C_TimerRemoved);
		int64_t v = (int64_t)(uint32_t)status;
		return v != none && v != deleted && v != removing && v != removed;
	}
	uint64_t state = kb_field_of(go, t, KB_F_timer_state) & 255;
	int64_t heaped = kb_const(l, KB_C_TimerHeaped), zombie = kb_const(l, KB_C_TimerZombie);
	return (heaped <= 0 || (state & (uint64_t)heaped)) && (zombie <= 0 || !(state & (uint64_t)zombie));
}

/* The timers of one P. Those that are not armed any more are still held, by the P itself; they are no roots of their
 * own. */
static kb_error *timer_heap_roots(const struct emit *e, kb_addr p, uint32_t *order)
{
	const kb_go *go = e->go;
	const kb_layout *l = &go->layout;
	kb_addr slice = p + kb_off(l, KB_F_p_timers), at;
	uint64_t n, cap, size = 8, off = 0;
	uint8_t buf[512];
	kb_bytes b = { buf, kb_sizeof(l, KB_S_timer) };
	if (kb_has(l, KB_F_timers_heap)) {
		slice += kb_off(l, KB_F_timers_heap);
		size = kb_sizeof(l, KB_S_timerWhen);
		off = kb_has(l, KB_F_timerWhen_timer) ? kb_off(l, KB_F_timerWhen_timer) : 0;
	}
	KB_TRY(kb_read_slice(go, slice, &at, &n, &cap));
	if (n > TIMERS_MAX || !size || b.n > sizeof(buf))
		return kb_error_new(KB_E_CORRUPT, "%llu timers", (unsigned long long)n);
	KB_FREE uint8_t *entries = malloc(n * size + 8);
	if (!entries)
		return kb_error_nomem();
	size_t got = kb_target_read_holes(go->target, at, entries, n * size);
	for (uint64_t i = 0; i < n && got; i++) {
		kb_addr timer = kb_load64(entries + i * size + off);
		if (!timer || kb_target_read_holes(go->target, timer, buf, b.n) < b.n || !armed(go, b))
			continue;
		emit(e, (kb_root){ .kind = KB_ROOT_TIMER,
				   .owner = (*order)++,
				   .slot = at + i * size + off,
				   .value = timer,
				   .fn = kb_field_of(go, b, KB_F_timer_f) });
	}
	return NULL;
}

static void timer_roots(const struct emit *e)
{
	uint32_t order = 0;
	if (!kb_has(&e->go->layout, KB_F_p_timers))
		return;
	for (size_t i = 0; i < e->go->nps; i++) {
		KB_DROP_ERROR kb_error *err = e->go->ps[i] ? timer_heap_roots(e, e->go->ps[i], &order) : NULL;
		if (err)
			kb_go_gap(e->go, "timers of a P: %s", err->message);
	}
}

/* The block that small pointer-free objects are put into, while it is not full. Marked at the end of each cycle. */
static void tiny_roots(const struct emit *e)
{
	const kb_go *go = e->go;
	uint64_t mcache, tiny;
	if (!kb_has(&go->layout, KB_F_p_mcache) || !kb_has(&go->layout, KB_F_mcache_tiny))
		return;
	for (size_t i = 0; i < go->nps; i++) {
		KB_DROP_ERROR kb_error *err = kb_field(go, go->ps[i], KB_F_p_mcache, &mcache);
		if (err || !mcache)
			continue;
		err = kb_field(go, mcache, KB_F_mcache_tiny, &tiny);
		if (!err)
			emit(e, (kb_root){ .kind = KB_ROOT_TINY,
					   .owner = (uint32_t)i,
					   .slot = mcache + kb_off(&go->layout, KB_F_mcache_tiny),
					   .value = tiny });
	}
}

kb_error *kb_go_static_roots(const kb_go *go, kb_root_fn fn, void *ctx)
{
	struct emit e = { go, fn, ctx };
	global_roots(&e);
	KB_TRY(special_roots(&e, KB_SPECIAL_FINALIZER, KB_ROOT_FINALIZER));
	KB_TRY(special_roots(&e, KB_SPECIAL_CLEANUP, KB_ROOT_CLEANUP));
	queue_roots(&e);
	timer_roots(&e);
	KB_TRY(special_roots(&e, KB_SPECIAL_WEAK, KB_ROOT_WEAK));
	tiny_roots(&e);
	return NULL;
}
