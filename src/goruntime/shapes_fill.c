/* What the pointer in a word of a shape leads to: worked out once for each word that is met. */
#include "shapes.h"


/* Inner node of the trie of a sync.Map (internal/sync/hashtriemap.go, 1.24+): declared as node, really an indirect or an entry. */
static bool is_trie_node(const kb_type *t)
{
	return !strcmp(t->name, "sync.node[interface {},interface {}]");
}

static struct step pointer_to(kb_shapes *s, const kb_type *t, const char *path)
{
	const kb_layout *l = &s->go->layout;
	if (!t)
		return (struct step){ .kind = STEP_NONE, .label = kb_label_make(s, path) };
	if (is_trie_node(t)) {
		kb_slot_sizes inner = kb_slot_sizes_of(kb_sizeof(l, KB_S_hashtrieindirect), true);
		kb_slot_sizes entry = kb_slot_sizes_of(kb_trie_entry_of(l).size, true);
		return (struct step){ .kind = STEP_TRIE, .shape = kb_shape_make(s, FORM_TRIE_ENTRY, NULL), .slot_a = inner.plain, .slot_b = entry.plain };
	}
	uint64_t size = t->size, timer = kb_sizeof(l, KB_S_timeTimer);
	/* Since 1.23 the allocated thing is a runtime.timeTimer, of which time.Timer declares the start (time/sleep.go). */
	if (timer > size && (!strcmp(t->name, "time.Timer") || !strcmp(t->name, "time.Ticker")))
		size = timer;
	kb_slot_sizes slot = kb_slot_sizes_of(size, t->ptr_bytes);
	return (struct step){ .kind = STEP_PTR, .label = kb_label_make(s, path), .shape = kb_shape_make(s, FORM_VALUE, t), .size = t->size,
			      .slot_a = slot.plain, .slot_b = slot.headed, .pointers = t->ptr_bytes, .type = t };
}

static struct step slice_of(kb_shapes *s, const kb_type *t, const char *path)
{
	uint32_t label = kb_label_make(s, path);
	if (!t)
		return (struct step){ .kind = STEP_NONE, .label = label };
	if (t->kind == KB_KIND_UINT8)
		return (struct step){ .kind = STEP_BYTES, .label = label, .shape = s->bytes };
	return (struct step){ .kind = STEP_SLICE, .label = label, .shape = kb_shape_make(s, FORM_VALUE, t),
			      .several = kb_shape_make(s, FORM_SEVERAL, t), .size = t->size, .pointers = t->ptr_bytes, .type = t };
}

static struct step fixed(kb_shapes *s, enum kb_form form, const kb_type *t, uint64_t size, const char *path)
{
	return (struct step){ .kind = STEP_FIXED, .label = kb_label_make(s, path), .shape = kb_shape_make(s, form, t), .size = size };
}

static struct step none(kb_shapes *s, const char *path)
{
	return (struct step){ .kind = STEP_NONE, .label = kb_label_make(s, path) };
}

/* unsafe.Pointer fields whose real type is known. */
static struct step unsafe_pointer(kb_shapes *s, const kb_leaf *leaf, const char *path)
{
	const kb_type *in = leaf->parent;
	if (leaf->phantom && leaf->phantom->elem)
		return pointer_to(s, leaf->phantom->elem, path);
	if (in && !strcmp(in->name, "sync.Pool")) /* local, victim */
		return fixed(s, FORM_POOL_LOCAL, NULL, kb_sizeof(&s->go->layout, KB_S_poolLocal), path);
	if (in && !strcmp(in->name, "sync.entry") && kb_type_any(s->go)) /* p, up to 1.19: *any */
		return pointer_to(s, kb_type_any(s->go), path);
	return none(s, path);
}

struct step kb_step_of_leaf(kb_shapes *s, const kb_leaf *leaf, const char *path)
{
	const kb_layout *l = &s->go->layout;
	const kb_type *t = leaf->type;
	if (!t) /* boxed in an interface: phantom is the type itself */
		return leaf->phantom ? pointer_to(s, leaf->phantom, path) : none(s, path);
	if (leaf->offset != (t->kind == KB_KIND_INTERFACE ? 8 : 0))
		return none(s, path);
	switch (t->kind) {
	case KB_KIND_PTR: return pointer_to(s, t->elem, path);
	case KB_KIND_SLICE: return slice_of(s, t->elem, path);
	case KB_KIND_STRING: return (struct step){ .kind = STEP_BYTES, .label = kb_label_make(s, path), .shape = s->string };
	case KB_KIND_MAP: return fixed(s, FORM_MAP, t, kb_sizeof(l, kb_has(l, KB_F_maptype_groupSize) ? KB_S_swissmap : KB_S_hmap), path);
	case KB_KIND_CHAN: return fixed(s, FORM_CHAN, t->elem, kb_sizeof(l, KB_S_hchan), path);
	case KB_KIND_FUNC: return (struct step){ .kind = STEP_FUNC, .label = kb_label_make(s, path) };
	case KB_KIND_INTERFACE: return (struct step){ .kind = STEP_IFACE, .label = kb_label_make(s, path) };
	case KB_KIND_UNSAFEPTR: return unsafe_pointer(s, leaf, path);
	default: return none(s, path);
	}
}

/* ---- maps ------------------------------------------------------------------------------------------------------------------ */

static bool at(const kb_layout *l, enum kb_field_id f, uint64_t offset)
{
	return kb_has(l, f) && kb_off(l, f) == offset;
}

static struct step units(kb_shapes *s, enum kb_form form, const kb_type *map)
{
	const kb_map_layout *m = kb_type_map_layout(map);
	return (struct step){ .kind = STEP_UNITS, .shape = m ? kb_shape_make(s, form, map) : 0, .size = m ? m->unit : 0 };
}

static struct step of_map(kb_shapes *s, const kb_type *map, uint64_t offset)
{
	const kb_layout *l = &s->go->layout;
	const kb_map_layout *m = kb_type_map_layout(map);
	if (!m)
		return none(s, "");
	if (m->swiss) {
		bool pointers = (m->indirect_key || m->indirect_elem || map->key->ptr_bytes || map->elem->ptr_bytes);
		kb_slot_sizes slot = kb_slot_sizes_of(m->unit, pointers);
		if (!at(l, KB_F_swissmap_dirPtr, offset))
			return none(s, "");
		return (struct step){ .kind = STEP_DIR, .shape = kb_shape_make(s, FORM_BUCKETS, map), .slot_a = slot.plain, .slot_b = slot.headed,
				      .pointers = pointers, .type = map };
	}
	if (at(l, KB_F_hmap_buckets, offset) || at(l, KB_F_hmap_oldbuckets, offset))
		return units(s, FORM_BUCKETS, map);
	if (at(l, KB_F_hmap_extra, offset))
		return fixed(s, FORM_EXTRA, map, kb_sizeof(l, KB_S_mapextra), "");
	return none(s, "");
}

bool kb_place_in_unit(const kb_type *map, uint64_t offset, struct place *ret)
{
	const kb_map_layout *m = kb_type_map_layout(map);
	for (unsigned k = 0; m && k < 2; k++) {
		bool key = k == 0;
		uint32_t off = key ? m->key_off : m->elem_off, stride = key ? m->key_stride : m->elem_stride;
		bool indirect = key ? m->indirect_key : m->indirect_elem;
		const kb_type *t = key ? map->key : map->elem;
		uint64_t size = indirect ? 8 : t->size;
		if (!stride || offset < off || (offset - off) / stride >= KB_MAP_SLOTS || (offset - off) % stride >= size)
			continue;
		*ret = (struct place){ .is_key = key, .indirect = indirect, .slot = (unsigned)((offset - off) / stride),
				       .offset = (offset - off) % stride, .type = t };
		return true;
	}
	return false;
}

static uint32_t of_bucket(kb_shapes *s, uint32_t shape, const kb_type *map, uint64_t offset)
{
	const kb_map_layout *m = kb_type_map_layout(map);
	struct place p;
	struct step st = none(s, "");
	if (kb_place_in_unit(map, offset, &p)) {
		/* Slots are alike: the first one's step serves all. */
		uint64_t w = ((p.is_key ? m->key_off : m->elem_off) + p.offset) / 8;
		const struct hot *h = &s->hot[shape];
		if (p.slot && h->table && w < h->words && h->table[w])
			return h->table[w];
		kb_path_text path = { 0 };
		kb_path_add(&path, p.is_key ? "[key]" : "[value]");
		if (p.indirect) {
			st = pointer_to(s, p.type, path.s);
		} else {
			kb_leaf leaf = kb_type_leaf(p.type, p.offset, &path, false);
			st = kb_step_of_leaf(s, &leaf, path.s);
		}
	} else if (m && !m->swiss && offset == m->overflow_off) {
		st = units(s, FORM_BUCKETS, map);
	}
	return kb_step_add(s, &st);
}

/* An object that is a directory or a group: a pointer to something of a table's size is one, unless a group could hold it there. */
static uint32_t of_dir_or_group(kb_shapes *s, const kb_type *map, uint64_t offset)
{
	uint32_t table = kb_shape_make(s, FORM_TABLE, map), size = kb_sizeof(&s->go->layout, KB_S_swisstable);
	uint32_t in_group = of_bucket(s, kb_shape_make(s, FORM_BUCKETS, map), map, offset);
	if (s->steps[in_group].kind == STEP_PTR && s->steps[in_group].slot_a == size)
		return in_group;
	struct step st = { .kind = STEP_TABLE_OR, .shape = table, .size = size, .several = in_group };
	return kb_step_add(s, &st);
}

static struct step of_extra(kb_shapes *s, const kb_type *map, uint64_t offset)
{
	const kb_layout *l = &s->go->layout;
	if (at(l, KB_F_mapextra_overflow, offset) || at(l, KB_F_mapextra_oldoverflow, offset))
		return fixed(s, FORM_OVERFLOW, map, 24, "");
	if (at(l, KB_F_mapextra_nextOverflow, offset))
		return units(s, FORM_BUCKETS, map);
	return none(s, "");
}

/* ---- channels, pools, sync.Map ----------------------------------------------------------------------------------------------- */

static struct step of_chan(kb_shapes *s, const kb_type *elem, uint64_t offset)
{
	const kb_layout *l = &s->go->layout;
	if (at(l, KB_F_hchan_buf, offset))
		return (struct step){ .kind = STEP_FIXED, .shape = kb_shape_make(s, FORM_CHAN_BUF, elem), .size = elem->size };
	for (unsigned i = 0; i < 2; i++) /* waitq: first, last */
		if ((kb_has(l, KB_F_hchan_recvq) && offset == kb_off(l, KB_F_hchan_recvq) + 8 * i) ||
		    (kb_has(l, KB_F_hchan_sendq) && offset == kb_off(l, KB_F_hchan_sendq) + 8 * i))
			return (struct step){ .kind = STEP_FIXED, .label = kb_label_make(s, ".waiter"), .shape = s->sudog, .size = 8 };
	return none(s, "");
}

static struct step of_trie_entry(kb_shapes *s, uint64_t offset)
{
	kb_trie_entry e = kb_trie_entry_of(&s->go->layout);
	if (offset == e.overflow)
		return fixed(s, FORM_TRIE_ENTRY, NULL, e.size, "");
	if (offset == e.key + 8)
		return (struct step){ .kind = STEP_IFACE, .label = kb_label_make(s, "[key]") };
	if (offset == e.value + 8)
		return (struct step){ .kind = STEP_IFACE, .label = kb_label_make(s, "[value]") };
	return none(s, "");
}

/* sync/pool.go, sync/poolqueue.go, alike in 1.19 … 1.27: poolLocal{private any, shared poolChain{head, tail}}, poolChainElt{headTail,
 * vals []eface, next, prev}. */
static struct step of_pool(kb_shapes *s, enum kb_form form, uint64_t offset)
{
	struct step value = { .kind = STEP_IFACE, .label = kb_label_make(s, "[]") };
	if (form == FORM_POOL_LOCAL)
		return offset == 8 ? value : offset == 16 || offset == 24 ? fixed(s, FORM_POOL_ELT, NULL, 48, "") : none(s, "");
	if (form == FORM_POOL_ELT)
		return offset == 8 ? fixed(s, FORM_POOL_VALS, NULL, 16, "") :
		       offset == 32 || offset == 40 ? fixed(s, FORM_POOL_ELT, NULL, 48, "") : none(s, "");
	return offset == 8 ? value : none(s, "");
}

/* ---- all ------------------------------------------------------------------------------------------------------------------- */

bool kb_shape_path(const kb_shapes *s, const struct shape *sh, uint64_t offset, bool concrete, kb_path_text *path, kb_leaf *ret_leaf)
{
	(void)s;
	if (!sh->type || !sh->unit)
		return false;
	if (sh->form == FORM_SEVERAL || sh->form == FORM_CHAN_BUF || (sh->form == FORM_HEADER && offset >= sh->unit)) {
		if (concrete)
			kb_path_index(path, offset / sh->unit);
		else
			kb_path_add(path, "[]");
		offset %= sh->unit;
	} else if (sh->form != FORM_VALUE && sh->form != FORM_HEADER) {
		return false;
	}
	*ret_leaf = kb_type_leaf(sh->type, offset, path, concrete);
	return ret_leaf->type;
}

static uint32_t of_value(kb_shapes *s, uint32_t shape, const struct shape *sh, uint64_t offset)
{
	kb_path_text path = { 0 };
	kb_leaf leaf;
	if (!kb_shape_path(s, sh, offset, false, &path, &leaf))
		return 1;
	const struct hot *h = &s->hot[shape];
	uint64_t w = leaf.canonical / 8;
	if (leaf.canonical != offset && h->table && w < h->words) { /* the same place in element 0 of an array */
		if (!h->table[w]) {
			uint32_t step = kb_shape_fill(s, shape, leaf.canonical);
			s->hot[shape].table[w] = step;
		}
		return s->hot[shape].table[w];
	}
	struct step st = kb_step_of_leaf(s, &leaf, path.s);
	if (st.kind == STEP_TRIE)
		st.several = shape; /* only inner nodes have children */
	return kb_step_add(s, &st);
}

uint32_t kb_shape_fill(kb_shapes *s, uint32_t shape, uint64_t offset)
{
	const struct shape *sh = s->shapes[shape];
	struct step st;
	switch (sh->form) {
	case FORM_VALUE: case FORM_SEVERAL: case FORM_HEADER: case FORM_CHAN_BUF: return of_value(s, shape, sh, offset);
	case FORM_BUCKETS: return of_bucket(s, shape, sh->type, offset);
	case FORM_DIR_OR_GROUP: return of_dir_or_group(s, sh->type, offset);
	case FORM_MAP: st = of_map(s, sh->type, offset); break;
	case FORM_EXTRA: st = of_extra(s, sh->type, offset); break;
	case FORM_OVERFLOW: st = offset == 0 ? fixed(s, FORM_OVERFLOW_LIST, sh->type, 8, "") : none(s, ""); break;
	case FORM_OVERFLOW_LIST: st = units(s, FORM_BUCKETS, sh->type); break;
	case FORM_DIRECTORY: st = fixed(s, FORM_TABLE, sh->type, kb_sizeof(&s->go->layout, KB_S_swisstable), ""); break;
	case FORM_TABLE:
		st = at(&s->go->layout, KB_F_swisstable_groups, offset) ? units(s, FORM_BUCKETS, sh->type) : none(s, "");
		break;
	case FORM_CHAN: st = of_chan(s, sh->type, offset); break;
	case FORM_TRIE_ENTRY: st = of_trie_entry(s, offset); break;
	case FORM_POOL_LOCAL: case FORM_POOL_ELT: case FORM_POOL_VALS: st = of_pool(s, sh->form, offset); break;
	default: return 1;
	}
	return kb_step_add(s, &st);
}
