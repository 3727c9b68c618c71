/* Inside goruntime only: what the files about types and shapes share. */
#ifndef KB_GORUNTIME_TYPES_H
#define KB_GORUNTIME_TYPES_H

#include "private.h"

/* Where key and elem of slot i (0 … 7) of a bucket or group lie: off + i*stride, in bytes. An indirect one is a pointer to the value
 * (over 128 bytes; internal/runtime/maps, runtime/map.go). */
typedef struct kb_map_layout {
	bool swiss, indirect_key, indirect_elem;
	uint32_t unit;         /* bytes of one bucket or group; 0: damaged descriptor */
	uint32_t key_off, key_stride, elem_off, elem_stride;
	uint32_t overflow_off; /* buckets: of the overflow pointer */
} kb_map_layout;
/* Of a map type; NULL for another kind or a damaged descriptor. */
const kb_map_layout *kb_type_map_layout(const kb_type *t);

/* The map type whose bucket or group type lies at addr, as far as met or listed in typelinks; NULL when unknown. */
const kb_type *kb_map_of_group(const kb_go *go, kb_addr group);
/* The descriptor of interface {}; NULL when none was met. */
const kb_type *kb_type_any(const kb_go *go);
/* Meets all map types that the modules list (≤1.26 typelinks; 1.27 the descriptors themselves). */
void kb_types_meet_maps(const kb_go *go);

/* Zeroed memory that lives as long as the types. */
void *kb_type_alloc(const kb_go *go, size_t n);
kb_type *kb_type_new(const kb_go *go);
/* ret[i]: the type at refs[i] of the executable's DWARF; NULL when it is none of Go's. */
kb_error *kb_types_from_dwarf(const kb_go *go, const uint64_t *refs, size_t n, const kb_type **ret) KB_MUST_CHECK;

/* Bytes of the slots in which the allocator puts one value of this size: without a malloc header, and with one (the header
 * not counted). */
typedef struct kb_slot_sizes {
	uint64_t plain, headed;
} kb_slot_sizes;
kb_slot_sizes kb_slot_sizes_of(uint64_t size, bool pointers);

/* An entry of a sync.Map's trie, entry[any,any] (internal/sync/hashtriemap.go, 1.24+); size 0 where there are none. Where the layout
 * does not name it (generic instances may be missing in DWARF), its declaration decides: {isEntry bool; overflow *entry; key, value any}. */
typedef struct kb_trie_entry {
	uint32_t size, overflow, key, value;
} kb_trie_entry;
kb_trie_entry kb_trie_entry_of(const kb_layout *l);

enum { KB_MAP_SLOTS = 8, KB_WALK_DEPTH = 64, KB_PATH_MAX = 240 };

/* Text that grows to its bound and is cut there. Always terminated. */
typedef struct kb_path_text {
	char s[KB_PATH_MAX];
	unsigned n;
} kb_path_text;
void kb_path_add(kb_path_text *p, const char *text);
void kb_path_index(kb_path_text *p, uint64_t index);

/* The pointer slot at an offset of a value, found by walking down fields and elements. */
typedef struct kb_leaf {
	const kb_type *type;    /* kind without parts: pointer, slice, string, map, …; NULL: no such place */
	uint64_t offset;        /* of the asked byte inside the leaf */
	uint64_t canonical;     /* the same place with all array indices 0 */
	const kb_type *parent;  /* the struct the leaf is a field of; NULL */
	const kb_type *phantom; /* the *T of a field "_ [0]*T" beside it (atomic.Pointer[T]); NULL */
} kb_leaf;
/* path may be NULL; concrete: array indices as numbers, else "[]". */
kb_leaf kb_type_leaf(const kb_type *t, uint64_t offset, kb_path_text *path, bool concrete);

#endif
