/* How full a map, channel or sync.Map is, read from its own structs. Bounded: what a damaged header claims is checked, not followed. */
#include "types.h"

#include <stdlib.h>

enum {
	MAX_TABLES = 1 << 22,
	TRIE_NODES = 1 << 20,  /* nodes of a sync.Map that are looked at */
	TRIE_CHILDREN = 16,
	OLD_OVERFLOW_APPROX = 16, /* hmap.noverflow is approximate from B = 16 on (runtime/map.go) */
};

static kb_error *read_struct(const kb_go *go, kb_addr a, enum kb_struct_id s, uint8_t *buf, size_t max, kb_bytes *ret)
{
	uint32_t n = kb_sizeof(&go->layout, s);
	if (!n || n > max)
		return kb_error_new(KB_E_UNSUPPORTED, "struct %s is not known for this Go version", kb_struct_name(s));
	KB_TRY(kb_target_read(go->target, a, buf, n));
	*ret = (kb_bytes){ buf, n };
	return NULL;
}

static kb_error *old_map(const kb_go *go, kb_addr addr, const kb_map_layout *m, kb_container *ret)
{
	uint8_t buf[128];
	kb_bytes h;
	KB_TRY(read_struct(go, addr, KB_S_hmap, buf, sizeof(buf), &h));
	uint64_t b = kb_field_of(go, h, KB_F_hmap_B), overflow = kb_field_of(go, h, KB_F_hmap_noverflow);
	ret->count = kb_field_of(go, h, KB_F_hmap_count);
	if (b > 48)
		return kb_error_new(KB_E_CORRUPT, "map at 0x%llx claims 2^%llu buckets", (unsigned long long)addr, (unsigned long long)b);
	uint64_t buckets = kb_field_of(go, h, KB_F_hmap_buckets) ? UINT64_C(1) << b : 0;
	/* From B = 4 on, 2^(B-4) overflow buckets are allocated with the array. */
	uint64_t spare = buckets && b >= 4 ? UINT64_C(1) << (b - 4) : 0;
	uint64_t old = kb_field_of(go, h, KB_F_hmap_oldbuckets) ? buckets / 2 : 0;
	if (b >= OLD_OVERFLOW_APPROX)
		overflow <<= b - 15;
	uint64_t beyond = overflow > spare ? overflow - spare : 0;
	ret->capacity = buckets * KB_MAP_SLOTS;
	ret->own_bytes = h.n + (buckets + spare + old + beyond) * m->unit;
	return NULL;
}

struct swiss {
	const kb_go *go;
	const kb_map_layout *m;
	kb_container *ret;
};

static kb_error *swiss_table(struct swiss *w, kb_addr table)
{
	uint8_t buf[64];
	kb_bytes t;
	KB_TRY(read_struct(w->go, table, KB_S_swisstable, buf, sizeof(buf), &t));
	uint64_t capacity = kb_field_of(w->go, t, KB_F_swisstable_capacity);
	w->ret->capacity += capacity;
	w->ret->own_bytes += t.n + capacity / KB_MAP_SLOTS * w->m->unit;
	return NULL;
}

/* Equal entries of the directory stand next to each other (internal/runtime/maps/map.go). */
static kb_error *swiss_directory(struct swiss *w, kb_addr dir, uint64_t n)
{
	kb_addr part[512], last = 0;
	w->ret->own_bytes += n * 8;
	for (uint64_t at = 0; at < n;) {
		size_t k = n - at < KB_ARRAY_LEN(part) ? (size_t)(n - at) : KB_ARRAY_LEN(part);
		KB_TRY(kb_target_read(w->go->target, dir + at * 8, part, k * 8));
		for (size_t i = 0; i < k; i++) {
			if (part[i] && part[i] != last)
				KB_TRY(swiss_table(w, part[i]));
			last = part[i];
		}
		at += k;
	}
	return NULL;
}

static kb_error *swiss_map(const kb_go *go, kb_addr addr, const kb_map_layout *m, kb_container *ret)
{
	uint8_t buf[128];
	kb_bytes h;
	struct swiss w = { go, m, ret };
	KB_TRY(read_struct(go, addr, KB_S_swissmap, buf, sizeof(buf), &h));
	uint64_t dir = kb_field_of(go, h, KB_F_swissmap_dirPtr), len = kb_field_of(go, h, KB_F_swissmap_dirLen);
	ret->count = kb_field_of(go, h, KB_F_swissmap_used);
	ret->own_bytes = h.n;
	if (!dir)
		return NULL;
	if (!len) {
		ret->capacity = KB_MAP_SLOTS;
		ret->own_bytes += m->unit;
		return NULL;
	}
	if (len > MAX_TABLES)
		return kb_error_new(KB_E_CORRUPT, "map at 0x%llx claims %llu tables", (unsigned long long)addr, (unsigned long long)len);
	return swiss_directory(&w, dir, len);
}

kb_error *kb_go_map_info(const kb_go *go, kb_addr addr, const kb_type *t, kb_container *ret)
{
	const kb_map_layout *m = kb_type_map_layout(t);
	*ret = (kb_container){ .kind = KB_CONT_MAP };
	if (!m)
		return kb_error_new(KB_E_CORRUPT, "not a map type, or a damaged one");
	return m->swiss ? swiss_map(go, addr, m, ret) : old_map(go, addr, m, ret);
}

kb_error *kb_go_chan_info(const kb_go *go, kb_addr addr, kb_container *ret)
{
	uint8_t buf[192];
	kb_bytes c;
	*ret = (kb_container){ .kind = KB_CONT_CHAN };
	KB_TRY(read_struct(go, addr, KB_S_hchan, buf, sizeof(buf), &c));
	ret->count = kb_field_of(go, c, KB_F_hchan_qcount);
	ret->capacity = kb_field_of(go, c, KB_F_hchan_dataqsiz);
	uint64_t size = kb_field_of(go, c, KB_F_hchan_elemsize), bytes;
	if (ret->count > ret->capacity || __builtin_mul_overflow(size, ret->capacity, &bytes) || bytes > UINT64_C(1) << 46)
		return kb_error_new(KB_E_CORRUPT, "channel at 0x%llx claims %llu of %llu elements", (unsigned long long)addr,
				    (unsigned long long)ret->count, (unsigned long long)ret->capacity);
	ret->own_bytes = c.n + bytes;
	return NULL;
}

/* ---- sync.Map -------------------------------------------------------------------------------------------------------------- */

/* Up to 1.23: two maps of entries; dirty, when there is one, has all that is not deleted (sync/map.go). */
static kb_error *syncmap_of_maps(const kb_go *go, kb_addr addr, kb_container *ret)
{
	const kb_layout *l = &go->layout;
	kb_addr read = 0, dirty = 0, map = 0;
	uint64_t read_count = 0, dirty_count = 0;
	/* In 1.19 read is an atomic.Value, whose second word is the data; then a pointer. */
	uint32_t data = kb_fsize(l, KB_F_syncmap_read) >= 16 ? 8 : 0;
	KB_TRY(kb_target_read_u64(go->target, addr + kb_off(l, KB_F_syncmap_read) + data, &read));
	KB_TRY(kb_target_read_u64(go->target, addr + kb_off(l, KB_F_syncmap_dirty), &dirty));
	uint32_t count_at = kb_has(l, KB_F_hmap_count) ? kb_off(l, KB_F_hmap_count) : kb_has(l, KB_F_swissmap_used) ? kb_off(l, KB_F_swissmap_used) : 0;
	if (read)
		KB_TRY(kb_target_read_u64(go->target, read + (kb_has(l, KB_F_syncreadonly_m) ? kb_off(l, KB_F_syncreadonly_m) : 0), &map));
	if (map)
		KB_TRY(kb_target_read_u64(go->target, map + count_at, &read_count));
	if (dirty)
		KB_TRY(kb_target_read_u64(go->target, dirty + count_at, &dirty_count));
	ret->count = dirty_count > read_count ? dirty_count : read_count;
	ret->capacity = ret->count;
	return NULL;
}

kb_trie_entry kb_trie_entry_of(const kb_layout *l)
{
	if (kb_has(l, KB_F_hashtrieentry_overflow) && kb_has(l, KB_F_hashtrieentry_key) && kb_has(l, KB_F_hashtrieentry_value))
		return (kb_trie_entry){ kb_sizeof(l, KB_S_hashtrieentry), kb_off(l, KB_F_hashtrieentry_overflow),
					kb_off(l, KB_F_hashtrieentry_key), kb_off(l, KB_F_hashtrieentry_value) };
	return kb_sizeof(l, KB_S_hashtrieindirect) ? (kb_trie_entry){ 48, 8, 16, 32 } : (kb_trie_entry){ 0 };
}

struct trie {
	const kb_go *go;
	kb_addr *stack;
	size_t n, cap;
	uint64_t nodes;
	kb_container *ret;
};

static kb_error *trie_push(struct trie *t, kb_addr a)
{
	if (!a)
		return NULL;
	if (++t->nodes > TRIE_NODES)
		return kb_error_new(KB_E_LIMIT, "sync.Map has more than %d nodes", TRIE_NODES);
	if (!KB_ROOM(t->stack, t->n, t->cap, TRIE_NODES))
		return kb_error_nomem();
	t->stack[t->n++] = a;
	return NULL;
}

/* Entries with equal hash hang on one another by overflow; inner nodes have 16 children. */
static kb_error *trie_node(struct trie *t, kb_addr a)
{
	const kb_layout *l = &t->go->layout;
	kb_trie_entry entry = kb_trie_entry_of(l);
	uint8_t is_entry, buf[512];
	/* isEntry is the first byte of both kinds of node. */
	KB_TRY(kb_target_read(t->go->target, a, &is_entry, 1));
	if (is_entry) {
		kb_addr next;
		t->ret->count++;
		t->ret->own_bytes += entry.size;
		KB_TRY(kb_target_read_u64(t->go->target, a + entry.overflow, &next));
		return trie_push(t, next);
	}
	kb_bytes b;
	KB_TRY(read_struct(t->go, a, KB_S_hashtrieindirect, buf, sizeof(buf), &b));
	t->ret->own_bytes += b.n;
	t->ret->capacity += TRIE_CHILDREN;
	for (unsigned i = 0; i < TRIE_CHILDREN; i++) {
		uint64_t child = 0;
		kb_get_u64(b, kb_off(l, KB_F_hashtrieindirect_children) + 8u * i, &child);
		KB_TRY(trie_push(t, child));
	}
	return NULL;
}

static kb_error *syncmap_of_trie(const kb_go *go, kb_addr addr, kb_container *ret)
{
	const kb_layout *l = &go->layout;
	struct trie t = { .go = go, .ret = ret };
	kb_addr root = 0;
	if (!kb_has(l, KB_F_hashtriemap_root) || !kb_has(l, KB_F_hashtrieindirect_children))
		return kb_error_new(KB_E_UNSUPPORTED, "sync.Map's trie is not known for this Go version");
	KB_TRY(kb_target_read_u64(go->target, addr + kb_off(l, KB_F_syncmap_m) + kb_off(l, KB_F_hashtriemap_root), &root));
	kb_error *err = trie_push(&t, root);
	while (!err && t.n)
		err = trie_node(&t, t.stack[--t.n]);
	free(t.stack);
	return err;
}

kb_error *kb_go_syncmap_info(const kb_go *go, kb_addr addr, kb_container *ret)
{
	*ret = (kb_container){ .kind = KB_CONT_SYNCMAP };
	if (kb_has(&go->layout, KB_F_syncmap_m))
		return syncmap_of_trie(go, addr, ret);
	if (kb_has(&go->layout, KB_F_syncmap_read) && kb_has(&go->layout, KB_F_syncmap_dirty))
		return syncmap_of_maps(go, addr, ret);
	return kb_error_new(KB_E_UNSUPPORTED, "sync.Map is not known for this Go version");
}
