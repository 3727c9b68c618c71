/* Type descriptors (internal/abi/type.go; runtime/type.go up to 1.20), read once each and kept. Worklist instead of recursion: whatever
 * the target claims, a descriptor is read once and has bounded parts. */
#include "types.h"

#include <stdlib.h>

enum {
	MAX_TYPES = 1 << 20,
	MAX_FIELDS = 1 << 16,   /* of one struct */
	MAX_NAME = 1000,        /* longer names are cut: generic types can have names of many kilobytes */
	DESC_MAX = 256,         /* bytes of the longest descriptor we read */
	TFLAG_EXTRA_STAR = 2,
	TFLAG_NAMED = 4,
	DIRECT_IFACE = 1 << 5,  /* in kind up to 1.25, in tflag from 1.26; unused in the other one */
	NAME_EMBEDDED = 8,
	OLD_INDIRECT_KEY = 1, OLD_INDIRECT_ELEM = 2,
	SWISS_INDIRECT_KEY = 4, SWISS_INDIRECT_ELEM = 8,
};
#define MAX_SIZE (UINT64_C(1) << 46)

struct rec {
	kb_type t;
	kb_map_layout map;
	bool in_module;
};

struct kb_type_cache {
	pthread_mutex_t lock;
	kb_arena arena;
	kb_map by_addr;  /* → struct rec *, or 0: no type there */
	kb_map by_group; /* bucket or group type → struct rec * of the map */
	kb_map itabs;    /* itab → type address, 0: not an itab */
	struct rec **queue;
	size_t nqueue, cap_queue;
	size_t ntypes;
	const kb_type *any;
	bool maps_met;
};

kb_error *kb_types_init(kb_go *go)
{
	if (go->types)
		return NULL;
	struct kb_type_cache *c = calloc(1, sizeof(*c));
	if (!c)
		return kb_error_nomem();
	pthread_mutex_init(&c->lock, NULL);
	go->types = c;
	return NULL;
}

void kb_types_free(kb_go *go)
{
	struct kb_type_cache *c = go->types;
	/* What vars.c and hprof.c made. */
	free(go->gvars);
	free(go->buckets);
	kb_map_free(&go->bucket_index);
	go->gvars = NULL;
	go->buckets = NULL;
	go->ngvars = go->nbuckets = 0;
	if (!c)
		return;
	kb_map_free(&c->by_addr);
	kb_map_free(&c->by_group);
	kb_map_free(&c->itabs);
	kb_arena_free(&c->arena);
	free(c->queue);
	pthread_mutex_destroy(&c->lock);
	free(c);
	go->types = NULL;
}

void *kb_type_alloc(const kb_go *go, size_t n)
{
	pthread_mutex_lock(&go->types->lock);
	void *p = kb_arena_alloc(&go->types->arena, n ? n : 1);
	pthread_mutex_unlock(&go->types->lock);
	return p;
}

kb_type *kb_type_new(const kb_go *go)
{
	struct rec *r = kb_type_alloc(go, sizeof(*r));
	return r ? &r->t : NULL;
}

static bool read_bytes(const kb_go *go, kb_addr a, void *buf, size_t n)
{
	kb_error *err = kb_read_ro(go, a, buf, n);
	bool ok = !err;
	kb_error_free(err);
	return ok;
}

/* A name: flag byte, uvarint length, bytes. Copied into the arena; NULL when damaged. */
static const char *read_name(const kb_go *go, kb_addr a, uint8_t *ret_flags)
{
	uint8_t head[4];
	char text[MAX_NAME + 1];
	uint64_t at = 1, n;
	if (!read_bytes(go, a, head, sizeof(head)) || !kb_get_uvarint((kb_bytes){ head, sizeof(head) }, &at, &n))
		return NULL;
	bool cut = n > MAX_NAME;
	if (cut)
		n = MAX_NAME;
	if (!read_bytes(go, a + at, text, n))
		return NULL;
	if (memchr(text, 0, n))
		return NULL;
	*ret_flags = head[0];
	return cut ? kb_arena_printf(&go->types->arena, "%.*s…", (int)n, text) : kb_arena_strndup(&go->types->arena, text, n);
}

static uint64_t word_at(const uint8_t *desc, uint32_t off)
{
	return off + 8 <= DESC_MAX ? kb_load64(desc + off) : 0;
}

static uint64_t desc_field(const kb_go *go, const uint8_t *desc, enum kb_field_id f)
{
	uint32_t off = go->layout.off[f], size = go->layout.fsize[f];
	if (off == KB_OFF_ABSENT || off + size > DESC_MAX || !(size == 1 || size == 2 || size == 4 || size >= 8))
		return 0;
	return kb_load(desc + off, size > 8 ? 8 : size);
}

static enum kb_struct_id struct_of_kind(enum kb_kind kind)
{
	switch (kind) {
	case KB_KIND_ARRAY: return KB_S_arraytype;
	case KB_KIND_CHAN: return KB_S_chantype;
	case KB_KIND_FUNC: return KB_S_functype;
	case KB_KIND_INTERFACE: return KB_S_interfacetype;
	case KB_KIND_MAP: return KB_S_maptype;
	case KB_KIND_PTR: return KB_S_ptrtype;
	case KB_KIND_SLICE: return KB_S_slicetype;
	case KB_KIND_STRUCT: return KB_S_structtype;
	default: return KB_S_type;
	}
}

/* The bytes of the descriptor, zero-padded. False when they are no descriptor. */
static bool read_desc(const kb_go *go, kb_addr a, uint8_t *desc)
{
	uint32_t base = kb_sizeof(&go->layout, KB_S_type);
	memset(desc, 0, DESC_MAX);
	if (a & 7 || !base || base > DESC_MAX || !read_bytes(go, a, desc, base))
		return false;
	uint64_t kind = desc_field(go, desc, KB_F_type_kind) & 31, size = desc_field(go, desc, KB_F_type_size);
	uint64_t align = desc_field(go, desc, KB_F_type_align), ptrs = desc_field(go, desc, KB_F_type_ptrdata);
	if (kind < KB_KIND_BOOL || kind > KB_KIND_UNSAFEPTR || size > MAX_SIZE || ptrs > size || ptrs & 7 || !align || align & (align - 1))
		return false;
	uint32_t full = kb_sizeof(&go->layout, struct_of_kind((enum kb_kind)kind));
	if (full > DESC_MAX)
		return false;
	return full <= base || read_bytes(go, a + base, desc + base, full - base);
}

/* Caller holds the lock. The descriptor's own facts are there at once, its parts after fill(). NULL when there is no type. */
static struct rec *intern(const kb_go *go, kb_addr a)
{
	struct kb_type_cache *c = go->types;
	uint64_t found;
	if (!a || a & 7 || a >= MAX_SIZE * 2)
		return NULL;
	if (kb_map_get(&c->by_addr, a, &found))
		return (struct rec *)(uintptr_t)found;
	uint8_t desc[DESC_MAX], flags;
	const kb_module *m = kb_module_of_type(go, a);
	const char *name = NULL;
	struct rec *r = NULL;
	if (c->ntypes < MAX_TYPES && read_desc(go, a, desc)) {
		uint64_t tflag = desc_field(go, desc, KB_F_type_tflag), kind = desc_field(go, desc, KB_F_type_kind);
		if (m)
			name = read_name(go, m->types + (uint64_t)(int64_t)(int32_t)desc_field(go, desc, KB_F_type_str), &flags);
		else
			name = ""; /* made by reflect: named from its parts */
		if (name && (r = kb_arena_alloc(&c->arena, sizeof(*r)))) {
			r->in_module = m;
			r->t = (kb_type){ .addr = a, .name = name + (m && tflag & TFLAG_EXTRA_STAR && name[0] == '*'),
					  .kind = (enum kb_kind)(kind & 31), .direct_iface = (kind | tflag) & DIRECT_IFACE,
					  .named = tflag & TFLAG_NAMED, .size = desc_field(go, desc, KB_F_type_size),
					  .ptr_bytes = desc_field(go, desc, KB_F_type_ptrdata) };
		}
	}
	if (r && KB_ROOM(c->queue, c->nqueue, c->cap_queue, MAX_TYPES)) {
		c->queue[c->nqueue++] = r;
		c->ntypes++;
	} else {
		r = NULL;
	}
	if (!kb_map_put(&c->by_addr, a, (uintptr_t)r))
		return NULL;
	return r;
}

static const kb_type *part(const kb_go *go, const uint8_t *desc, enum kb_field_id f)
{
	struct rec *r = intern(go, desc_field(go, desc, f));
	return r ? &r->t : NULL;
}

/* Fields in order, not overlapping, inside the struct: so a walk over a value is bounded by its size. Others are dropped. */
static void fill_struct(const kb_go *go, struct rec *r, const uint8_t *desc)
{
	uint32_t off = go->layout.off[KB_F_structtype_fields], step = kb_sizeof(&go->layout, KB_S_structfield);
	if (off == KB_OFF_ABSENT || step < 24 || step > 64)
		return;
	uint64_t list = word_at(desc, off), n = word_at(desc, off + 8), end = 0;
	if (!n || n > MAX_FIELDS)
		return;
	kb_type_field *fields = kb_arena_alloc(&go->types->arena, n * sizeof(*fields));
	if (!fields)
		return;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t raw[64], flags = 0;
		if (!read_bytes(go, list + i * step, raw, step))
			break;
		kb_bytes b = { raw, step };
		struct rec *t = intern(go, kb_field_of(go, b, KB_F_structfield_typ));
		const char *name = read_name(go, kb_field_of(go, b, KB_F_structfield_name), &flags);
		uint64_t at = kb_field_of(go, b, KB_F_structfield_offset);
		if (!t || !name || at < end || at > r->t.size || t->t.size > r->t.size - at)
			continue;
		end = at + t->t.size;
		fields[r->t.nfields++] = (kb_type_field){ .name = name, .type = &t->t, .offset = at, .embedded = flags & NAME_EMBEDDED };
	}
	r->t.fields = fields;
}

static bool fits(uint64_t off, uint64_t stride, uint64_t size, uint64_t end)
{
	return off <= end && stride <= 1 << 12 && size <= stride && off + (KB_MAP_SLOTS - 1) * stride + size <= end;
}

static void old_map_layout(const kb_go *go, struct rec *r, const uint8_t *desc)
{
	kb_map_layout *m = &r->map;
	uint64_t flags = desc_field(go, desc, KB_F_maptype_flags), unit = desc_field(go, desc, KB_F_maptype_bucketsize);
	m->indirect_key = flags & OLD_INDIRECT_KEY;
	m->indirect_elem = flags & OLD_INDIRECT_ELEM;
	m->key_off = KB_MAP_SLOTS; /* behind the tophash bytes */
	m->key_stride = (uint32_t)desc_field(go, desc, KB_F_maptype_keysize);
	m->elem_off = m->key_off + KB_MAP_SLOTS * m->key_stride;
	m->elem_stride = (uint32_t)desc_field(go, desc, KB_F_maptype_elemsize);
	m->overflow_off = (uint32_t)unit - 8;
	if (unit >= 16)
		m->unit = (uint32_t)unit;
}

static void swiss_map_layout(const kb_go *go, struct rec *r, const uint8_t *desc)
{
	kb_map_layout *m = &r->map;
	uint64_t flags = desc_field(go, desc, KB_F_maptype_flags), unit = desc_field(go, desc, KB_F_maptype_groupSize);
	m->swiss = true;
	m->indirect_key = flags & SWISS_INDIRECT_KEY;
	m->indirect_elem = flags & SWISS_INDIRECT_ELEM;
	if (kb_has(&go->layout, KB_F_maptype_keysOff)) {
		m->key_off = (uint32_t)desc_field(go, desc, KB_F_maptype_keysOff);
		m->key_stride = (uint32_t)desc_field(go, desc, KB_F_maptype_keyStride);
		m->elem_off = (uint32_t)desc_field(go, desc, KB_F_maptype_elemsOff);
		m->elem_stride = (uint32_t)desc_field(go, desc, KB_F_maptype_elemStride);
	} else {
		m->key_off = 8; /* behind the control word */
		m->key_stride = m->elem_stride = (uint32_t)desc_field(go, desc, KB_F_maptype_slotSize);
		m->elem_off = 8 + (uint32_t)desc_field(go, desc, KB_F_maptype_elemOff);
	}
	if (unit >= 8 && unit < 1 << 16)
		m->unit = (uint32_t)unit;
}

static void fill_map(const kb_go *go, struct rec *r, const uint8_t *desc)
{
	bool swiss = kb_has(&go->layout, KB_F_maptype_groupSize);
	kb_addr group = desc_field(go, desc, swiss ? KB_F_maptype_group : KB_F_maptype_bucket);
	r->t.key = part(go, desc, KB_F_maptype_key);
	r->t.elem = part(go, desc, KB_F_maptype_elem);
	struct rec *g = intern(go, group);
	r->t.group = g ? &g->t : NULL;
	if (swiss)
		swiss_map_layout(go, r, desc);
	else
		old_map_layout(go, r, desc);
	kb_map_layout *m = &r->map;
	if (!r->t.key || !r->t.elem || !fits(m->key_off, m->key_stride, m->indirect_key ? 8 : r->t.key->size, m->unit) ||
	    !fits(m->elem_off, m->elem_stride, m->indirect_elem ? 8 : r->t.elem->size, m->unit))
		m->unit = 0;
	uint64_t known;
	if (g && m->unit && !kb_map_get(&go->types->by_group, group, &known))
		(void)!kb_map_put(&go->types->by_group, group, (uintptr_t)r);
}

/* Types made by reflect at run time have no name we can read: named from their parts, which may still be without theirs. */
static void name_from_parts(const kb_go *go, struct rec *r)
{
	kb_arena *a = &go->types->arena;
	const kb_type *t = &r->t;
	const char *elem = t->elem && t->elem->name[0] ? t->elem->name : "?", *name = NULL;
	switch (t->kind) {
	case KB_KIND_PTR: name = kb_arena_printf(a, "*%s", elem); break;
	case KB_KIND_SLICE: name = kb_arena_printf(a, "[]%s", elem); break;
	case KB_KIND_CHAN: name = kb_arena_printf(a, "chan %s", elem); break;
	case KB_KIND_ARRAY: name = kb_arena_printf(a, "[%llu]%s", (unsigned long long)t->len, elem); break;
	case KB_KIND_MAP: name = kb_arena_printf(a, "map[%s]%s", t->key && t->key->name[0] ? t->key->name : "?", elem); break;
	case KB_KIND_FUNC: name = "func"; break;
	case KB_KIND_STRUCT: name = "struct {…}"; break;
	default: name = "reflected type"; break;
	}
	r->t.name = name ? name : "";
}

static void fill(const kb_go *go, struct rec *r)
{
	uint8_t desc[DESC_MAX];
	if (!read_desc(go, r->t.addr, desc))
		return;
	switch (r->t.kind) {
	case KB_KIND_ARRAY:
		r->t.elem = part(go, desc, KB_F_arraytype_elem);
		r->t.len = desc_field(go, desc, KB_F_arraytype_len);
		if (r->t.elem && r->t.elem->size && r->t.len > r->t.size / r->t.elem->size)
			r->t.elem = NULL;
		break;
	case KB_KIND_CHAN: r->t.elem = part(go, desc, KB_F_chantype_elem); break;
	case KB_KIND_PTR: r->t.elem = part(go, desc, KB_F_ptrtype_elem); break;
	case KB_KIND_SLICE: r->t.elem = part(go, desc, KB_F_slicetype_elem); break;
	case KB_KIND_MAP: fill_map(go, r, desc); break;
	case KB_KIND_STRUCT: fill_struct(go, r, desc); break;
	case KB_KIND_INTERFACE: {
		uint32_t off = go->layout.off[KB_F_interfacetype_methods];
		r->t.empty_interface = off != KB_OFF_ABSENT && word_at(desc, off + 8) == 0;
		if (r->t.empty_interface && !r->t.named)
			go->types->any = &r->t;
		break;
	}
	default: break;
	}
	if (!r->in_module)
		name_from_parts(go, r);
}

/* Caller holds the lock. */
static const kb_type *get_locked(const kb_go *go, kb_addr a)
{
	struct kb_type_cache *c = go->types;
	struct rec *r = intern(go, a);
	while (c->nqueue)
		fill(go, c->queue[--c->nqueue]);
	return r ? &r->t : NULL;
}

const kb_type *kb_go_type(const kb_go *go, kb_addr a)
{
	if (!go->types)
		return NULL;
	pthread_mutex_lock(&go->types->lock);
	const kb_type *t = get_locked(go, a);
	pthread_mutex_unlock(&go->types->lock);
	return t;
}

/* itab: interface type, concrete type, the latter's hash (runtime/runtime2.go, internal/abi/iface.go). Made at link time or in persistent
 * memory, never in the heap. */
static kb_addr type_of_itab(const kb_go *go, kb_addr a)
{
	uint8_t itab[64], desc[DESC_MAX];
	uint32_t n = kb_sizeof(&go->layout, KB_S_itab);
	if (n < 24 || n > sizeof(itab) || kb_heap_span_of(&go->heap, a) != KB_NO_ID || !read_bytes(go, a, itab, n))
		return 0;
	kb_bytes b = { itab, n };
	kb_addr inter = kb_field_of(go, b, KB_F_itab_inter), type = kb_field_of(go, b, KB_F_itab_type);
	if (!kb_module_of_type(go, inter) || !type || !read_desc(go, inter, desc) ||
	    (desc_field(go, desc, KB_F_type_kind) & 31) != KB_KIND_INTERFACE)
		return 0;
	if (!read_desc(go, type, desc) || desc_field(go, desc, KB_F_type_hash) != kb_field_of(go, b, KB_F_itab_hash))
		return 0;
	return type;
}

const kb_type *kb_go_iface_type(const kb_go *go, kb_addr word)
{
	struct kb_type_cache *c = go->types;
	if (!c || word & 7 || word < 4096 || word >= MAX_SIZE * 2)
		return NULL;
	pthread_mutex_lock(&c->lock);
	const kb_type *t = NULL;
	uint64_t type;
	if (kb_map_get(&c->itabs, word, &type)) {
		t = type ? get_locked(go, type) : NULL;
	} else {
		if (kb_module_of_type(go, word))
			t = get_locked(go, word);
		if (!t && (type = type_of_itab(go, word)))
			t = get_locked(go, type);
		(void)!kb_map_put(&c->itabs, word, t ? t->addr : 0);
	}
	pthread_mutex_unlock(&c->lock);
	return t;
}

const kb_map_layout *kb_type_map_layout(const kb_type *t)
{
	const struct rec *r = (const struct rec *)t; /* t is its first member */
	return t && t->kind == KB_KIND_MAP && r->map.unit ? &r->map : NULL;
}

const kb_type *kb_map_of_group(const kb_go *go, kb_addr group)
{
	uint64_t found = 0;
	pthread_mutex_lock(&go->types->lock);
	bool known = kb_map_get(&go->types->by_group, group, &found);
	pthread_mutex_unlock(&go->types->lock);
	return known ? &((struct rec *)(uintptr_t)found)->t : NULL;
}

const kb_type *kb_type_any(const kb_go *go)
{
	return go->types->any;
}

static void meet_if_map(const kb_go *go, kb_addr a)
{
	uint8_t desc[DESC_MAX];
	if (!read_desc(go, a, desc) || (desc_field(go, desc, KB_F_type_kind) & 31) != KB_KIND_MAP)
		return;
	pthread_mutex_lock(&go->types->lock);
	get_locked(go, a);
	pthread_mutex_unlock(&go->types->lock);
}

/* Up to 1.26, typelinks lists the unnamed composite types as offsets from types. */
static void meet_typelinks(const kb_go *go, const kb_module *m)
{
	uint64_t n = m->ntypelinks < MAX_TYPES ? m->ntypelinks : MAX_TYPES;
	int32_t *links = n ? malloc(n * sizeof(*links)) : NULL;
	if (links && read_bytes(go, m->typelinks, links, n * sizeof(*links)))
		for (uint64_t i = 0; i < n; i++)
			meet_if_map(go, m->types + (uint64_t)(int64_t)links[i]);
	free(links);
}

void kb_types_meet_maps(const kb_go *go)
{
	struct kb_type_cache *c = go->types;
	pthread_mutex_lock(&c->lock);
	bool met = c->maps_met;
	c->maps_met = true;
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; !met && i < go->nmodules; i++)
		meet_typelinks(go, &go->modules[i]);
}
