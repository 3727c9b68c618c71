/* Types of variables that have no descriptor at run time, made from DWARF. Parts that have one are taken from it. */
#include "types.h"

#include <stdlib.h>

/* Their addresses are made up: above all that a target can map. */
#define MADE_UP_BASE (UINT64_C(1) << 56)
enum { PASSES_MAX = 32 };

static uint64_t array_ptr_bytes(const kb_type *t)
{
	return t->elem && t->elem->ptr_bytes && t->len ? (t->len - 1) * t->elem->size + t->elem->ptr_bytes : 0;
}

static uint64_t ptr_bytes_of(const kb_type *t)
{
	switch (t->kind) {
	case KB_KIND_CHAN: case KB_KIND_FUNC: case KB_KIND_MAP: case KB_KIND_PTR: case KB_KIND_SLICE: case KB_KIND_STRING: case KB_KIND_UNSAFEPTR:
		return 8;
	case KB_KIND_INTERFACE: return 16;
	case KB_KIND_ARRAY: return array_ptr_bytes(t);
	case KB_KIND_STRUCT:
		for (size_t i = t->nfields; i-- > 0;)
			if (t->fields[i].type->ptr_bytes)
				return t->fields[i].offset + t->fields[i].type->ptr_bytes;
		return 0;
	default: return 0;
	}
}

/* As for descriptors: in order, inside, not overlapping. */
static void take_fields(const kb_go *go, kb_type *t, const kb_dwarf_types *d, const kb_dwarf_node *n, kb_type *const *types)
{
	kb_type_field *fields = kb_type_alloc(go, n->nfields * sizeof(*fields));
	uint64_t end = 0;
	for (uint32_t i = 0; fields && i < n->nfields; i++) {
		const kb_dwarf_member *f = &d->fields[n->first_field + i];
		const kb_type *ft = types[f->node];
		const char *name = kb_type_alloc(go, strlen(f->name) + 1);
		if (!ft || !name || f->offset < end || f->offset > t->size || ft->size > t->size - f->offset)
			continue;
		memcpy((char *)(uintptr_t)name, f->name, strlen(f->name));
		end = f->offset + ft->size;
		fields[t->nfields++] = (kb_type_field){ .name = name, .type = ft, .offset = f->offset };
	}
	t->fields = fields;
}

static bool path_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_./-%~+$", c)) || (c & 0x80);
}

/* DWARF writes whole import paths where descriptors have the package's name: "[]example.com/x/store.Item" → "[]store.Item". Type
 * arguments have the path in both. dst has room for strlen(src)+1 bytes. */
static void shorten_name(const char *src, char *dst)
{
	unsigned depth = 0; /* of brackets around type arguments */
	while (*src) {
		size_t n = 0, skip = 0;
		while (path_char(src[n]))
			n++;
		if (!n) {
			depth += depth && *src == '[';
			depth -= depth && *src == ']';
			*dst++ = *src++;
			continue;
		}
		for (size_t i = 0; i < n && !depth; i++)
			skip = src[i] == '/' ? i + 1 : skip;
		for (size_t i = 0; i < skip && src[i] == '.'; i++) /* "...T" */
			*dst++ = '.';
		memcpy(dst, src + skip, n - skip);
		dst += n - skip;
		bool map = n - skip == 3 && !memcmp(src + skip, "map", 3);
		src += n;
		if (*src == '[' && !map && !depth && src[1] != ']') {
			depth = 1;
			*dst++ = *src++;
		}
	}
	*dst = 0;
}

static kb_type *made_up(const kb_go *go, const kb_dwarf_node *n, size_t index)
{
	if (!n->go_kind || n->go_kind > KB_KIND_UNSAFEPTR || n->size > UINT64_C(1) << 46)
		return NULL;
	kb_type *t = kb_type_new(go);
	char *name = kb_type_alloc(go, strlen(n->name) + 1);
	if (!t || !name)
		return NULL;
	shorten_name(n->name, name);
	*t = (kb_type){ .addr = MADE_UP_BASE + index * 8, .name = name, .kind = (enum kb_kind)n->go_kind, .size = n->size, .len = n->len };
	return t;
}

static void connect(const kb_go *go, kb_type *t, const kb_dwarf_types *d, const kb_dwarf_node *n, kb_type *const *types)
{
	if (n->elem < d->nnodes)
		t->elem = types[n->elem];
	if (n->key < d->nnodes)
		t->key = types[n->key];
	if (t->kind == KB_KIND_ARRAY && t->elem && t->elem->size && t->len > t->size / t->elem->size)
		t->elem = NULL;
	if (t->kind == KB_KIND_STRUCT)
		take_fields(go, t, d, n, types);
}

static void build(const kb_go *go, const kb_dwarf_types *d, kb_type **types)
{
	const kb_addr base = go->modules[0].types;
	for (size_t i = 0; i < d->nnodes; i++)
		types[i] = d->nodes[i].go_type ? (kb_type *)(uintptr_t)kb_go_type(go, base + d->nodes[i].go_type) : made_up(go, &d->nodes[i], i);
	for (size_t i = 0; i < d->nnodes; i++)
		if (types[i] && types[i]->addr >= MADE_UP_BASE)
			connect(go, types[i], d, &d->nodes[i], types);
	/* A whole's pointers are known after its parts'; parts are few levels deep. */
	bool changed = true;
	for (unsigned pass = 0; changed && pass < PASSES_MAX; pass++) {
		changed = false;
		for (size_t i = 0; i < d->nnodes; i++) {
			if (!types[i] || types[i]->addr < MADE_UP_BASE)
				continue;
			uint64_t n = ptr_bytes_of(types[i]);
			changed |= n != types[i]->ptr_bytes && n <= types[i]->size;
			types[i]->ptr_bytes = n <= types[i]->size ? n : 0;
		}
	}
}

kb_error *kb_types_from_dwarf(const kb_go *go, const uint64_t *refs, size_t n, const kb_type **ret)
{
	kb_dwarf_types d;
	uint32_t *nodes = calloc(n + 1, sizeof(*nodes));
	if (!nodes)
		return kb_error_nomem();
	kb_error *err = kb_program_dwarf_types(go->program, refs, n, nodes, &d);
	kb_type **types = err ? NULL : calloc(d.nnodes + 1, sizeof(*types));
	if (types) {
		build(go, &d, types);
		for (size_t i = 0; i < n; i++)
			ret[i] = types[nodes[i]];
	} else if (!err) {
		err = kb_error_nomem();
	}
	free(types);
	free(nodes);
	kb_dwarf_types_free(&d);
	return err;
}
