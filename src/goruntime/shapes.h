/* Inside goruntime only: what the files of the shape engine share.
 *
 * A shape is a reading of an object's words: a form (value, buckets, channel …) and a type. Each shape has a table with one entry a word
 * of its unit, filled when the word is first met: the step that the pointer in that word takes. */
#ifndef KB_GORUNTIME_SHAPES_H
#define KB_GORUNTIME_SHAPES_H

#include "types.h"

enum kb_form {
	FORM_UNKNOWN,
	FORM_VALUE,    /* one T */
	FORM_SEVERAL,  /* T, T, T … */
	FORM_HEADER,   /* T, or several: the object says T of itself */
	FORM_STRING,
	FORM_BYTES,
	FORM_MAP,      /* hmap, maps.Map */
	FORM_BUCKETS,  /* buckets or groups */
	FORM_EXTRA,    /* mapextra */
	FORM_OVERFLOW, /* []*bmap: the slice header, on the heap */
	FORM_OVERFLOW_LIST,
	FORM_DIRECTORY,
	FORM_TABLE,
	FORM_DIR_OR_GROUP, /* by its size it can be either */
	FORM_CHAN,
	FORM_CHAN_BUF,
	FORM_CLOSURE,
	FORM_RUNTIME,
	FORM_TRIE_ENTRY,   /* of sync.Map from 1.24 */
	FORM_POOL_LOCAL,   /* [P]sync.poolLocal */
	FORM_POOL_ELT,     /* sync.poolChainElt */
	FORM_POOL_VALS,    /* []sync.eface */
};

enum kb_step_kind {
	STEP_NONE,    /* not a known pointer: only the object's own hints */
	STEP_PTR,     /* to one T; offset 0, slot of T's size */
	STEP_SLICE,   /* to T, T, T … */
	STEP_BYTES,   /* anywhere */
	STEP_FIXED,   /* to the start of a shape of size bytes at least */
	STEP_UNITS,   /* to the start of any unit of size bytes: buckets */
	STEP_DIR,     /* maps.Map.dirPtr */
	STEP_FUNC,
	STEP_IFACE,
	STEP_TRIE,    /* to a node of sync.Map's trie: inner or entry */
	STEP_TABLE_OR, /* FORM_DIR_OR_GROUP: to a table, unless the slot says otherwise */
};

struct step {
	enum kb_step_kind kind;
	uint32_t label;
	uint32_t shape, several; /* of the target: one, more than one */
	uint64_t size;           /* of T, of a unit */
	uint64_t slot_a, slot_b; /* slot sizes that one T has */
	bool pointers;           /* T has some */
	const kb_type *type;     /* STEP_DIR, STEP_TABLE_OR: the map; STEP_PTR, STEP_SLICE: T */
};

/* What the hot path reads of a shape. */
struct hot {
	uint32_t *table; /* [word of the unit] → step, 0 not filled yet */
	uint32_t words;  /* of the unit; 0: no table */
	bool repeats;    /* further units follow the first */
	bool slow;       /* unit too large for a table */
};

struct shape {
	kb_shape pub;
	enum kb_form form;
	const kb_type *type; /* T, map or element type */
	uint64_t unit;       /* bytes */
	uint32_t more;       /* FORM_HEADER: the shape of several */
};

struct iface_slot {
	kb_addr word;
	uint32_t label, step;
};
enum { IFACE_SLOTS = 4096, MAX_SHAPES = 1 << 20, MAX_STEPS = 1 << 24, TABLE_WORDS = 4096 };

struct kb_shapes {
	const kb_go *go;
	kb_arena arena;
	struct hot *hot;
	struct shape **shapes;
	size_t n, cap, cap_shapes;
	struct step *steps; /* 0 means "not filled", 1 is STEP_NONE without label */
	size_t nsteps, cap_steps;
	const char **labels;
	size_t nlabels, cap_labels;
	kb_map by_key;      /* form, type → shape */
	kb_map by_code;     /* code address → shape */
	kb_map label_index; /* hash of the text → label */
	kb_map slow_steps;  /* hash of shape, word → step */
	kb_map iface_steps; /* hash of label, word → step */
	struct iface_slot *iface_cache;
	uint32_t string, bytes, closure, sudog, timer, weak, tiny;
};

/* The shape of this form and type, made on first use; 0 when type is NULL where one is needed, or out of memory. */
uint32_t kb_shape_make(kb_shapes *s, enum kb_form form, const kb_type *t);
uint32_t kb_shape_runtime(kb_shapes *s, const char *name);
uint32_t kb_shape_closure(kb_shapes *s, kb_addr code);
uint32_t kb_label_make(kb_shapes *s, const char *text); /* 0 for "" */
/* shapes_fill.c: the step of the pointer at byte offset of the shape's unit. Index in steps, at least 1. */
uint32_t kb_shape_fill(kb_shapes *s, uint32_t shape, uint64_t offset);
uint32_t kb_step_add(kb_shapes *s, const struct step *st);
/* The step a value's leaf takes. label is used as it is. */
struct step kb_step_of_leaf(kb_shapes *s, const kb_leaf *leaf, const char *path);
/* Where in a bucket or group: the key or elem of a slot. False: neither (control word, tophash, overflow, padding). */
struct place {
	bool is_key, indirect;
	unsigned slot;
	uint64_t offset; /* inside the key or elem */
	const kb_type *type;
};
bool kb_place_in_unit(const kb_type *map, uint64_t offset, struct place *ret);
/* shapes_text.c: a value of type t at address a, in words: "\"user-17\"", "42", "{1, 2}". */
void kb_value_text(const kb_go *go, kb_addr a, const kb_type *t, kb_path_text *out);
/* The path from the start of the unit to the slot; false when there is none. concrete: indices as numbers. */
bool kb_shape_path(const kb_shapes *s, const struct shape *sh, uint64_t offset, bool concrete, kb_path_text *path, kb_leaf *ret_leaf);

#endif
