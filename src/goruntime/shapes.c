/* The shape engine: storage and the hot path. */
#include "shapes.h"

#include <stdlib.h>

/* ---- making ---------------------------------------------------------------------------------------------------------------- */

uint32_t kb_label_make(kb_shapes *s, const char *text)
{
	uint64_t found, key = kb_hash_bytes(text, strlen(text)) >> 1;
	if (!text[0])
		return 0;
	if (kb_map_get(&s->label_index, key, &found))
		return (uint32_t)found;
	char *copy = kb_arena_strndup(&s->arena, text, strlen(text));
	if (!copy || !KB_ROOM(s->labels, s->nlabels, s->cap_labels, MAX_SHAPES) || !kb_map_put(&s->label_index, key, s->nlabels))
		return 0;
	s->labels[s->nlabels] = copy;
	return (uint32_t)s->nlabels++;
}

uint32_t kb_step_add(kb_shapes *s, const struct step *st)
{
	if (!KB_ROOM(s->steps, s->nsteps, s->cap_steps, MAX_STEPS))
		return 1;
	s->steps[s->nsteps] = *st;
	return (uint32_t)s->nsteps++;
}

static uint64_t unit_of(const kb_shapes *s, enum kb_form form, const kb_type *t)
{
	const kb_layout *l = &s->go->layout;
	const kb_map_layout *m = kb_type_map_layout(t);
	switch (form) {
	case FORM_VALUE: case FORM_SEVERAL: case FORM_HEADER: case FORM_CHAN_BUF:
		return t && t->ptr_bytes ? t->size : 0;
	case FORM_MAP: return m && m->swiss ? kb_sizeof(l, KB_S_swissmap) : kb_sizeof(l, KB_S_hmap);
	case FORM_BUCKETS: case FORM_DIR_OR_GROUP: return m ? m->unit : 0;
	case FORM_EXTRA: return kb_sizeof(l, KB_S_mapextra);
	case FORM_OVERFLOW: return 24;
	case FORM_OVERFLOW_LIST: case FORM_DIRECTORY: return 8;
	case FORM_TABLE: return kb_sizeof(l, KB_S_swisstable);
	case FORM_CHAN: return kb_sizeof(l, KB_S_hchan);
	case FORM_TRIE_ENTRY: return kb_trie_entry_of(l).size;
	case FORM_POOL_LOCAL: return kb_sizeof(l, KB_S_poolLocal);
	case FORM_POOL_ELT: return 48;
	case FORM_POOL_VALS: return 16;
	default: return 0;
	}
}

static bool form_repeats(enum kb_form form)
{
	return form == FORM_SEVERAL || form == FORM_CHAN_BUF || form == FORM_BUCKETS || form == FORM_OVERFLOW_LIST || form == FORM_DIRECTORY ||
	       form == FORM_POOL_LOCAL || form == FORM_POOL_VALS;
}

/* "chan int" whatever the direction. */
static kb_shape describe(kb_shapes *s, enum kb_form form, const kb_type *t)
{
	kb_arena *a = &s->arena;
	const char *n = t ? t->name : "";
	bool runtime = t && !strncmp(n, "runtime.", 8);
	switch (form) {
	case FORM_VALUE: case FORM_HEADER:
		if (runtime)
			return (kb_shape){ KB_ROLE_RUNTIME, NULL, n };
		if (!strncmp(n, "sync.indirect[", 14))
			n = "sync.Map node";
		return (kb_shape){ KB_ROLE_VALUE, t, n };
	case FORM_SEVERAL: return (kb_shape){ KB_ROLE_VALUE, t, kb_arena_printf(a, "[]%s", n) };
	case FORM_STRING: return (kb_shape){ KB_ROLE_BYTES, NULL, "string" };
	case FORM_BYTES: return (kb_shape){ KB_ROLE_BYTES, NULL, "[]uint8" };
	case FORM_MAP: return (kb_shape){ KB_ROLE_MAP, t, n };
	case FORM_BUCKETS: case FORM_DIR_OR_GROUP: return (kb_shape){ KB_ROLE_MAP_INNER, t, kb_arena_printf(a, "%s buckets", n) };
	case FORM_EXTRA: case FORM_OVERFLOW: case FORM_OVERFLOW_LIST:
		return (kb_shape){ KB_ROLE_MAP_INNER, t, kb_arena_printf(a, "%s overflow", n) };
	case FORM_DIRECTORY: case FORM_TABLE: return (kb_shape){ KB_ROLE_MAP_INNER, t, kb_arena_printf(a, "%s tables", n) };
	case FORM_CHAN: return (kb_shape){ KB_ROLE_CHAN, t, kb_arena_printf(a, "chan %s", n) };
	case FORM_CHAN_BUF: return (kb_shape){ KB_ROLE_CHAN_BUF, t, kb_arena_printf(a, "chan %s buffer", n) };
	case FORM_CLOSURE: return (kb_shape){ KB_ROLE_CLOSURE, NULL, "func" };
	case FORM_TRIE_ENTRY: return (kb_shape){ KB_ROLE_VALUE, NULL, "sync.Map entry" };
	case FORM_POOL_LOCAL: case FORM_POOL_ELT: case FORM_POOL_VALS: return (kb_shape){ KB_ROLE_VALUE, NULL, "sync.Pool store" };
	default: return (kb_shape){ KB_ROLE_UNKNOWN, NULL, "unknown" };
	}
}

static uint32_t add_shape(kb_shapes *s, enum kb_form form, const kb_type *t, const kb_shape *pub)
{
	struct shape *sh = kb_arena_alloc(&s->arena, sizeof(*sh));
	if (!sh || !pub->name || !KB_ROOM(s->hot, s->n, s->cap, MAX_SHAPES) || !KB_ROOM(s->shapes, s->n, s->cap_shapes, MAX_SHAPES))
		return 0;
	*sh = (struct shape){ .pub = *pub, .form = form, .type = t, .unit = unit_of(s, form, t) };
	struct hot *h = &s->hot[s->n];
	*h = (struct hot){ .repeats = form_repeats(form) };
	if (sh->unit / 8 <= TABLE_WORDS)
		h->words = (uint32_t)(sh->unit / 8);
	else
		h->slow = true;
	s->shapes[s->n] = sh;
	return (uint32_t)s->n++;
}

uint32_t kb_shape_make(kb_shapes *s, enum kb_form form, const kb_type *t)
{
	uint64_t key = (t ? t->addr << 5 : 0) | form, found;
	bool needs_type = !(form == FORM_STRING || form == FORM_BYTES || form == FORM_CLOSURE || form == FORM_TRIE_ENTRY ||
			    form == FORM_POOL_LOCAL || form == FORM_POOL_ELT || form == FORM_POOL_VALS);
	if (needs_type && !t)
		return 0;
	if (kb_map_get(&s->by_key, key, &found))
		return (uint32_t)found;
	kb_shape pub = describe(s, form, t);
	uint32_t id = add_shape(s, form, t, &pub);
	if (!id || !kb_map_put(&s->by_key, key, id))
		return 0;
	if (form == FORM_HEADER) {
		uint32_t more = kb_shape_make(s, FORM_SEVERAL, t);
		s->shapes[id]->more = more;
	}
	return id;
}

uint32_t kb_shape_runtime(kb_shapes *s, const char *name)
{
	kb_shape pub = { KB_ROLE_RUNTIME, NULL, name };
	return add_shape(s, FORM_RUNTIME, NULL, &pub);
}

uint32_t kb_shape_closure(kb_shapes *s, kb_addr code)
{
	uint64_t found;
	kb_func f;
	if (!code)
		return s->closure;
	if (kb_map_get(&s->by_code, code, &found))
		return (uint32_t)found;
	uint32_t id = s->closure;
	if (kb_go_func(s->go, code, &f) && f.entry == code) {
		kb_shape pub = { KB_ROLE_CLOSURE, NULL, kb_arena_printf(&s->arena, "func %s", f.name) };
		uint32_t made = add_shape(s, FORM_CLOSURE, NULL, &pub);
		id = made ? made : id;
	} else {
		id = 0; /* a word that only looks like code */
	}
	(void)!kb_map_put(&s->by_code, code, id);
	return id;
}

kb_error *kb_shapes_new(const kb_go *go, kb_shapes **ret)
{
	kb_shapes *s = calloc(1, sizeof(*s));
	kb_shape unknown = { KB_ROLE_UNKNOWN, NULL, "unknown" };
	struct step none = { .kind = STEP_NONE };
	if (!s)
		return kb_error_nomem();
	s->go = go;
	s->iface_cache = calloc(IFACE_SLOTS, sizeof(*s->iface_cache));
	bool ok = s->iface_cache && KB_ROOM(s->labels, s->nlabels, s->cap_labels, MAX_SHAPES) &&
		  KB_ROOM(s->steps, s->nsteps, s->cap_steps, MAX_STEPS);
	if (ok) {
		s->labels[s->nlabels++] = "";
		s->steps[s->nsteps++] = none;
		ok = kb_step_add(s, &none) == 1 && s->nsteps == 2;
		add_shape(s, FORM_UNKNOWN, NULL, &unknown);
		s->string = kb_shape_make(s, FORM_STRING, NULL);
		s->bytes = kb_shape_make(s, FORM_BYTES, NULL);
		s->closure = kb_shape_make(s, FORM_CLOSURE, NULL);
		s->sudog = kb_shape_runtime(s, "runtime.sudog");
		s->timer = kb_shape_runtime(s, "runtime.timer");
		s->weak = kb_shape_runtime(s, "weak handle");
		s->tiny = kb_shape_runtime(s, "tiny block");
	}
	if (!ok || s->n != 8) {
		kb_shapes_free(s);
		return kb_error_nomem();
	}
	kb_types_meet_maps(go);
	*ret = s;
	return NULL;
}

void kb_shapes_free(kb_shapes *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->hot[i].table);
	free(s->hot);
	free(s->shapes);
	free(s->steps);
	free(s->labels);
	free(s->iface_cache);
	kb_map_free(&s->by_key);
	kb_map_free(&s->by_code);
	kb_map_free(&s->label_index);
	kb_map_free(&s->slow_steps);
	kb_map_free(&s->iface_steps);
	kb_arena_free(&s->arena);
	free(s);
}

const kb_shape *kb_shape_get(const kb_shapes *s, uint32_t shape)
{
	return &s->shapes[shape < s->n ? shape : 0]->pub;
}

size_t kb_shapes_count(const kb_shapes *s)
{
	return s->n;
}

const char *kb_shape_label(const kb_shapes *s, uint32_t label)
{
	return s->labels[label < s->nlabels ? label : 0];
}

uint32_t kb_shape_of_type(kb_shapes *s, const kb_type *t, bool several)
{
	return kb_shape_make(s, several ? FORM_SEVERAL : FORM_VALUE, t);
}

uint32_t kb_shape_from_header(kb_shapes *s, kb_addr header_type)
{
	const kb_type *map = kb_map_of_group(s->go, header_type);
	if (map)
		return kb_shape_make(s, FORM_BUCKETS, map);
	return kb_shape_make(s, FORM_HEADER, kb_go_type(s->go, header_type));
}

/* ---- stepping -------------------------------------------------------------------------------------------------------------- */

static kb_edge_out apply(kb_shapes *s, uint32_t index, const kb_edge_in *in);

/* The step of an interface whose type word is known: made once for each label and dynamic type. */
static uint32_t iface_step(kb_shapes *s, uint32_t label, kb_addr word)
{
	struct iface_slot *c = &s->iface_cache[((word >> 4) ^ (label * 0x9e3779b1u)) & (IFACE_SLOTS - 1)];
	uint64_t key, found;
	if (c->word == word && c->label == label && c->step)
		return c->step;
	key = kb_hash64(word ^ (uint64_t)label << 48) >> 1;
	if (!kb_map_get(&s->iface_steps, key, &found)) {
		const kb_type *t = kb_go_iface_type(s->go, word);
		found = 1;
		if (t) {
			kb_path_text path = { 0 };
			kb_path_add(&path, kb_shape_label(s, label));
			kb_path_add(&path, ".(");
			kb_path_add(&path, t->name);
			kb_path_add(&path, ")");
			kb_leaf leaf = { .type = t };
			if (t->direct_iface) /* the word is the value itself: of pointer shape */
				leaf = kb_type_leaf(t, 0, NULL, false);
			else
				leaf = (kb_leaf){ .phantom = t };
			struct step st = kb_step_of_leaf(s, &leaf, path.s);
			found = kb_step_add(s, &st);
		}
		(void)!kb_map_put(&s->iface_steps, key, found);
	}
	*c = (struct iface_slot){ word, label, (uint32_t)found };
	return (uint32_t)found;
}

/* What an object says of itself where its holder says nothing. */
static kb_edge_out hint(kb_shapes *s, uint32_t label, const kb_edge_in *in)
{
	uint32_t step = in->type_word ? iface_step(s, label, in->type_word) : 1;
	if (step > 1)
		return apply(s, step, in);
	return (kb_edge_out){ in->target_code && !in->target_offset ? kb_shape_closure(s, in->target_code) : 0, label };
}

/* The word before an object's first word belongs to something else: a malloc header, another object. */
static kb_edge_out hint_inside(kb_shapes *s, uint32_t label, const kb_edge_in *in)
{
	kb_edge_in e = *in;
	if (!e.offset)
		e.type_word = 0;
	return hint(s, label, &e);
}

static uint32_t to_pointer(const struct step *st, const kb_edge_in *in)
{
	if (!in->target_offset && (in->target_size == st->slot_a || in->target_size == st->slot_b))
		return st->shape;
	/* Several small values without pointers share a slot of the tiny allocator. */
	return !st->pointers && st->size < 16 && in->target_size == 16 ? st->shape : 0;
}

static uint32_t to_slice(const struct step *st, const kb_edge_in *in)
{
	if (!st->size || in->target_size < st->size || in->target_offset % st->size)
		return 0;
	return in->target_offset || in->target_size >= 2 * st->size ? st->several : st->shape;
}

/* maps.Map.dirPtr leads to the only group (dirLen 0), or to a directory: an array of a power of two of pointers. */
static uint32_t to_directory(kb_shapes *s, const struct step *st, const kb_edge_in *in)
{
	const kb_type *map = st->type;
	uint64_t size = in->target_size, entries = 8;
	if (in->target_offset || size < 8)
		return 0;
	entries = UINT64_C(1) << (63 - __builtin_clzll(size));
	kb_slot_sizes dir = kb_slot_sizes_of(entries, true);
	bool may_be_dir = (size == dir.plain || size == dir.headed) && in->target_pointers != 1;
	bool may_be_group = (size == st->slot_a || size == st->slot_b) && (!in->target_pointers || st->pointers == (in->target_pointers == 2));
	if (may_be_dir && may_be_group)
		return kb_shape_make(s, FORM_DIR_OR_GROUP, map);
	return may_be_dir ? kb_shape_make(s, FORM_DIRECTORY, map) : may_be_group ? st->shape : 0;
}

static bool contradicts(const struct step *st, const kb_edge_in *in)
{
	return in->target_pointers && st->pointers != (in->target_pointers == 2);
}

static kb_edge_out apply(kb_shapes *s, uint32_t index, const kb_edge_in *in)
{
	const struct step *st = &s->steps[index];
	uint32_t label = st->label;
	switch (st->kind) {
	case STEP_PTR: return (kb_edge_out){ contradicts(st, in) ? 0 : to_pointer(st, in), label };
	case STEP_SLICE: return (kb_edge_out){ contradicts(st, in) ? 0 : to_slice(st, in), label };
	case STEP_BYTES: return (kb_edge_out){ in->target_pointers == 2 ? 0 : st->shape, label };
	case STEP_FIXED: return (kb_edge_out){ !in->target_offset && in->target_size >= st->size ? st->shape : 0, label };
	case STEP_UNITS:
		return (kb_edge_out){ st->size && in->target_size >= st->size && in->target_offset % st->size == 0 ? st->shape : 0, label };
	case STEP_DIR: return (kb_edge_out){ to_directory(s, st, in), label };
	case STEP_FUNC: return (kb_edge_out){ in->target_offset ? 0 : kb_shape_closure(s, in->target_code), label };
	case STEP_TRIE: return (kb_edge_out){ in->target_size == st->slot_a ? st->several : in->target_size == st->slot_b ? st->shape : 0, 0 };
	case STEP_TABLE_OR:
		if (!in->target_offset && in->target_size == st->size)
			return (kb_edge_out){ st->shape, 0 };
		return apply(s, st->several, in); /* a step made before this one: no cycle */
	case STEP_IFACE:
		if (in->type_word) {
			uint32_t step = iface_step(s, label, in->type_word);
			if (step > 1)
				return apply(s, step, in); /* never STEP_IFACE itself */
		}
		return (kb_edge_out){ 0, label };
	case STEP_NONE: break;
	}
	return hint_inside(s, label, in);
}

static __attribute__((noinline)) uint32_t fill_word(kb_shapes *s, uint32_t shape, uint64_t w)
{
	struct hot *h = &s->hot[shape];
	if (!h->table && !(h->table = calloc(h->words, sizeof(*h->table))))
		return 1;
	uint32_t step = kb_shape_fill(s, shape, w * 8);
	s->hot[shape].table[w] = step; /* filling may have made shapes, and moved hot */
	return step;
}

/* Units too large for a table: found by hash. */
static uint32_t slow_step(kb_shapes *s, uint32_t shape, uint64_t offset)
{
	const struct shape *sh = s->shapes[shape];
	kb_leaf leaf = kb_type_leaf(sh->type, offset, NULL, false);
	uint64_t key = kb_hash64(kb_hash64(leaf.canonical) + shape) >> 1, found;
	if (!leaf.type)
		return 1;
	if (kb_map_get(&s->slow_steps, key, &found))
		return (uint32_t)found;
	uint32_t step = kb_shape_fill(s, shape, leaf.canonical);
	(void)!kb_map_put(&s->slow_steps, key, step);
	return step;
}

static __attribute__((noinline)) kb_edge_out step_beyond(kb_shapes *s, uint32_t shape, const kb_edge_in *in)
{
	const struct shape *sh = s->shapes[shape];
	const struct hot *h = &s->hot[shape];
	if (!sh->unit)
		return hint_inside(s, 0, in);
	if (in->offset >= sh->unit && sh->form == FORM_HEADER && sh->more)
		return kb_shape_step(s, sh->more, in);
	if (in->offset >= sh->unit && sh->form == FORM_DIR_OR_GROUP)
		return kb_shape_step(s, kb_shape_make(s, FORM_DIRECTORY, sh->type), in);
	if (in->offset >= sh->unit && !h->repeats)
		return hint_inside(s, 0, in);
	return apply(s, slow_step(s, shape, in->offset % sh->unit), in);
}

kb_edge_out kb_shape_step(kb_shapes *s, uint32_t shape, const kb_edge_in *in)
{
	if (shape >= s->n)
		shape = 0;
	const struct hot *h = &s->hot[shape];
	uint64_t w = in->offset >> 3;
	if (w >= h->words) {
		if (!h->repeats || h->slow || !h->words)
			return step_beyond(s, shape, in);
		w = w >> 32 ? w % h->words : (uint32_t)w % h->words;
	}
	uint32_t step = h->table ? h->table[w] : 0;
	if (!step)
		step = fill_word(s, shape, w);
	return apply(s, step, in);
}

/* ---- roots ----------------------------------------------------------------------------------------------------------------- */

static kb_edge_out of_value(kb_shapes *s, const kb_type *t, uint64_t offset, const kb_edge_in *in)
{
	kb_edge_in e = *in;
	e.offset = offset;
	return kb_shape_step(s, kb_shape_make(s, FORM_VALUE, t), &e);
}

/* A pointer of an object with a finalizer, or the finalizer's closure. */
static kb_edge_out of_finalizer(kb_shapes *s, const kb_root *r, const kb_edge_in *in)
{
	const kb_go *go = s->go;
	const kb_special *sp = r->owner < go->nspecials ? &go->specials[r->owner] : NULL;
	const kb_type *ptr = sp && sp->type ? kb_go_type(go, sp->type) : NULL;
	if (!ptr || ptr->kind != KB_KIND_PTR || !ptr->elem || r->slot < sp->object)
		return hint(s, 0, in);
	uint32_t span = kb_heap_span_of(&go->heap, sp->object);
	uint64_t header = span != KB_NO_ID && go->heap.spans[span].flags & KB_SPAN_HEADERS ? 8 : 0, offset = r->slot - sp->object;
	if (offset < header || offset - header >= ptr->elem->size)
		return hint(s, 0, in);
	return of_value(s, ptr->elem, offset - header, in);
}

kb_edge_out kb_shape_root(kb_shapes *s, const kb_root *r, const kb_edge_in *in)
{
	const kb_go *go = s->go;
	switch (r->kind) {
	case KB_ROOT_GLOBAL: {
		const kb_var *v = r->owner < go->ngvars ? &go->gvars[r->owner] : NULL;
		if (v && v->type && r->slot >= v->addr && r->slot - v->addr < v->type->size)
			return of_value(s, v->type, r->slot - v->addr, in);
		break;
	}
	case KB_ROOT_FINALIZER: return of_finalizer(s, r, in);
	case KB_ROOT_TIMER: return (kb_edge_out){ s->timer, 0 };
	case KB_ROOT_WEAK: return (kb_edge_out){ s->weak, 0 };
	case KB_ROOT_TINY: return (kb_edge_out){ s->tiny, 0 };
	case KB_ROOT_STACK:
	case KB_ROOT_CLEANUP:
	case KB_ROOT_QUEUE: break;
	}
	return hint(s, 0, in);
}
