/* From an offset in a value down to the pointer slot there, and the sizes of the allocator's slots. */
#include "types.h"

#include <stdio.h>

void kb_path_add(kb_path_text *p, const char *text)
{
	for (; *text && p->n + 1 < sizeof(p->s); text++)
		p->s[p->n++] = *text;
	p->s[p->n] = 0;
}

void kb_path_index(kb_path_text *p, uint64_t index)
{
	char text[32];
	snprintf(text, sizeof(text), "[%llu]", (unsigned long long)index);
	kb_path_add(p, text);
}

/* The field that holds byte off: fields are in order and do not overlap. */
static const kb_type_field *field_at(const kb_type *t, uint64_t off)
{
	size_t lo = 0, hi = t->nfields;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (t->fields[mid].offset + t->fields[mid].type->size <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->nfields && t->fields[lo].offset <= off ? &t->fields[lo] : NULL;
}

static bool starts(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* What the inside of these is called tells a reader nothing: the field of this type is enough. */
static bool transparent(const kb_type *t)
{
	static const char *const names[] = { "atomic.Value", "sync.Map", "sync.readOnly", "sync.entry" };
	for (size_t i = 0; i < KB_ARRAY_LEN(names); i++)
		if (!strcmp(t->name, names[i]))
			return true;
	return starts(t->name, "atomic.Pointer[") || starts(t->name, "sync.HashTrieMap[");
}

/* sync/atomic.Pointer[T] names T in a field "_ [0]*T" (sync/atomic/type.go, since 1.19.13 at the latest). */
static const kb_type *phantom_of(const kb_type *t)
{
	for (size_t i = 0; i < t->nfields && i < 4; i++) {
		const kb_type *f = t->fields[i].type;
		if (f->kind == KB_KIND_ARRAY && f->len == 0 && f->elem && f->elem->kind == KB_KIND_PTR)
			return f->elem;
	}
	return NULL;
}

kb_leaf kb_type_leaf(const kb_type *t, uint64_t offset, kb_path_text *path, bool concrete)
{
	kb_leaf leaf = { 0 };
	for (unsigned depth = 0; t && depth < KB_WALK_DEPTH; depth++) {
		if (offset >= t->size)
			return (kb_leaf){ 0 };
		if (t->kind == KB_KIND_STRUCT) {
			const kb_type_field *f = field_at(t, offset);
			if (!f)
				return (kb_leaf){ 0 };
			if (path && !transparent(t)) {
				kb_path_add(path, ".");
				kb_path_add(path, f->name);
			}
			leaf.parent = t;
			leaf.canonical += f->offset;
			offset -= f->offset;
			t = f->type;
		} else if (t->kind == KB_KIND_ARRAY) {
			if (!t->elem || !t->elem->size)
				return (kb_leaf){ 0 };
			if (path && concrete)
				kb_path_index(path, offset / t->elem->size);
			else if (path)
				kb_path_add(path, "[]");
			offset %= t->elem->size;
			leaf.parent = NULL;
			t = t->elem;
		} else {
			leaf.type = t;
			leaf.offset = offset;
			leaf.canonical += offset;
			leaf.phantom = leaf.parent && t->kind == KB_KIND_UNSAFEPTR ? phantom_of(leaf.parent) : NULL;
			return leaf;
		}
	}
	return (kb_leaf){ 0 };
}

/* runtime/sizeclasses.go, internal/runtime/gc/sizeclasses.go: the same in 1.19 … 1.27. */
static const uint16_t size_classes[] = {
	8,    16,   24,   32,   48,   64,   80,   96,   112,  128,  144,   160,   176,   192,   208,   224,   240,
	256,  288,  320,  352,  384,  416,  448,  480,  512,  576,  640,   704,   768,   896,   1024,  1152,  1280,
	1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864,  5376,  6144,  6528,  6784,  6912,  8192,
	9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
};

static uint64_t slot_of(uint64_t size)
{
	size_t lo = 0, hi = KB_ARRAY_LEN(size_classes);
	if (size > size_classes[hi - 1])
		return (size + KB_PAGE_SIZE - 1) & ~(uint64_t)(KB_PAGE_SIZE - 1);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (size_classes[mid] < size)
			lo = mid + 1;
		else
			hi = mid;
	}
	return size_classes[lo];
}

kb_slot_sizes kb_slot_sizes_of(uint64_t size, bool pointers)
{
	kb_slot_sizes s = { slot_of(size), slot_of(size) };
	if (!pointers && size < 16)
		s.headed = 16; /* the tiny allocator puts several into one 16-byte slot */
	else if (size + 8 > 32768)
		s.headed = slot_of(size > 32768 ? size : 32769); /* too large for a header: whole pages */
	else if (pointers && size > 512)
		s.headed = slot_of(size + 8) - 8;
	return s;
}
