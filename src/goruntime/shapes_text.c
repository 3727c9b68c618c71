/* An edge in words for people: concrete map keys and indices. Reads the target; nothing it says goes to a terminal unescaped. */
#include "shapes.h"

#include <stdio.h>

enum { KEY_CHARS = 40, VALUE_MAX = 256, PARTS_MAX = 4, DEPTH_MAX = 4 };

static bool read_at(const kb_go *go, kb_addr a, void *buf, size_t n)
{
	kb_error *err = kb_target_read(go->target, a, buf, n);
	bool ok = !err;
	kb_error_free(err);
	return ok;
}

/* Length of the printable UTF-8 character at p, 0 when it is none: no controls (C0, DEL, C1), no marks that reorder text. */
static unsigned printable(const uint8_t *p, size_t n)
{
	if (p[0] >= 0x20 && p[0] < 0x7f)
		return 1;
	unsigned len = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
	if (!len || n < len)
		return 0;
	uint32_t c = p[0] & (0xffu >> (len + 1));
	for (unsigned i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	bool shortest = c >= (len == 2 ? 0x80u : len == 3 ? 0x800u : 0x10000u);
	bool bad = c < 0xa0 || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
		   (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0x61c;
	return shortest && !bad ? len : 0;
}

static void quote(kb_path_text *out, const uint8_t *p, size_t n, bool cut)
{
	char text[8];
	kb_path_add(out, "\"");
	for (size_t i = 0; i < n;) {
		unsigned len = printable(p + i, n - i);
		if (cut && !len && n - i < 4 && p[i] >= 0xc2)
			break; /* a character cut in two */
		if (len) {
			snprintf(text, sizeof(text), "%s%.*s", p[i] == '"' || p[i] == '\\' ? "\\" : "", (int)len, (const char *)p + i);
			i += len;
		} else {
			snprintf(text, sizeof(text), p[i] == '\n' ? "\\n" : p[i] == '\t' ? "\\t" : "\\x%02x", p[i]);
			i++;
		}
		kb_path_add(out, text);
	}
	kb_path_add(out, cut ? "…\"" : "\"");
}

static void string_text(const kb_go *go, kb_addr a, uint64_t n, kb_path_text *out)
{
	uint8_t buf[KEY_CHARS];
	size_t shown = n < sizeof(buf) ? (size_t)n : sizeof(buf);
	if (n > UINT64_C(1) << 46 || (shown && !read_at(go, a, buf, shown)))
		kb_path_add(out, "\"?\"");
	else
		quote(out, buf, shown, n > shown);
}

static int64_t signed_of(const uint8_t *p, uint64_t size)
{
	return size == 8 ? (int64_t)kb_load64(p) : size == 4 ? (int32_t)kb_load32(p) : size == 2 ? (int16_t)kb_load16(p) : (int8_t)p[0];
}

static void number(const kb_type *t, const uint8_t *p, kb_path_text *out)
{
	char text[40] = "?";
	float f;
	double d;
	switch (t->kind) {
	case KB_KIND_BOOL: snprintf(text, sizeof(text), "%s", p[0] ? "true" : "false"); break;
	case KB_KIND_INT: case KB_KIND_INT8: case KB_KIND_INT16: case KB_KIND_INT32: case KB_KIND_INT64:
		snprintf(text, sizeof(text), "%lld", (long long)signed_of(p, t->size));
		break;
	case KB_KIND_UINT: case KB_KIND_UINT8: case KB_KIND_UINT16: case KB_KIND_UINT32: case KB_KIND_UINT64:
		snprintf(text, sizeof(text), "%llu", (unsigned long long)kb_load(p, (uint32_t)t->size));
		break;
	case KB_KIND_FLOAT32:
		memcpy(&f, p, sizeof(f));
		snprintf(text, sizeof(text), "%g", (double)f);
		break;
	case KB_KIND_FLOAT64:
		memcpy(&d, p, sizeof(d));
		snprintf(text, sizeof(text), "%g", d);
		break;
	case KB_KIND_UINTPTR: case KB_KIND_PTR: case KB_KIND_UNSAFEPTR: case KB_KIND_CHAN: case KB_KIND_MAP: case KB_KIND_FUNC:
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)kb_load64(p));
		break;
	default: break;
	}
	kb_path_add(out, text);
}

static void value_text(const kb_go *go, kb_bytes b, const kb_type *t, kb_path_text *out, unsigned depth);

static void parts_text(const kb_go *go, kb_bytes b, const kb_type *t, kb_path_text *out, unsigned depth)
{
	bool array = t->kind == KB_KIND_ARRAY;
	uint64_t n = array ? t->len : t->nfields;
	kb_path_add(out, "{");
	for (uint64_t i = 0; i < n && i < PARTS_MAX; i++) {
		const kb_type *pt = array ? t->elem : t->fields[i].type;
		if (!pt)
			break;
		uint64_t off = array ? i * pt->size : t->fields[i].offset;
		kb_path_add(out, i ? ", " : "");
		uint64_t rest = off < b.n ? b.n - off : 0;
		value_text(go, kb_slice(b, off, pt->size < rest ? pt->size : rest), pt, out, depth + 1);
	}
	kb_path_add(out, n > PARTS_MAX ? ", …}" : "}");
}

static void iface_text(const kb_go *go, kb_addr word, kb_addr data, kb_path_text *out, unsigned depth)
{
	const kb_type *t = word ? kb_go_iface_type(go, word) : NULL;
	uint8_t buf[VALUE_MAX];
	if (!t) {
		kb_path_add(out, word ? "?" : "nil");
		return;
	}
	if (t->direct_iface) {
		memcpy(buf, &data, 8);
		value_text(go, (kb_bytes){ buf, t->size <= 8 ? (size_t)t->size : 0 }, t, out, depth + 1);
	} else if (t->size <= sizeof(buf) && (!t->size || read_at(go, data, buf, t->size))) {
		value_text(go, (kb_bytes){ buf, t->size }, t, out, depth + 1);
	} else {
		kb_path_add(out, t->name);
	}
}

static void value_text(const kb_go *go, kb_bytes b, const kb_type *t, kb_path_text *out, unsigned depth)
{
	bool parts = t->kind == KB_KIND_ARRAY || t->kind == KB_KIND_STRUCT;
	if ((b.n < t->size && !parts) || depth > DEPTH_MAX) {
		kb_path_add(out, "…");
		return;
	}
	switch (t->kind) {
	case KB_KIND_STRING:
		string_text(go, kb_load64(b.p), kb_load64(b.p + 8), out);
		break;
	case KB_KIND_INTERFACE: iface_text(go, kb_load64(b.p), kb_load64(b.p + 8), out, depth); break;
	case KB_KIND_ARRAY: case KB_KIND_STRUCT: parts_text(go, b, t, out, depth); break;
	default:
		if (t->size > 8 || !t->size)
			kb_path_add(out, t->name);
		else
			number(t, b.p, out);
	}
}

void kb_value_text(const kb_go *go, kb_addr a, const kb_type *t, kb_path_text *out)
{
	uint8_t buf[VALUE_MAX];
	size_t n = t->size < sizeof(buf) ? (size_t)t->size : sizeof(buf); /* of a large one, the first parts */
	if (n && !read_at(go, a, buf, n))
		kb_path_add(out, t->name);
	else
		value_text(go, (kb_bytes){ buf, n }, t, out, 0);
}

/* "[\"user-17\"]" for the value, "[key \"user-17\"]" for the key itself, and what follows inside. */
static bool bucket_text(const kb_go *go, const struct shape *sh, kb_addr object, uint64_t offset, kb_path_text *out, kb_leaf *leaf)
{
	const kb_map_layout *m = kb_type_map_layout(sh->type);
	struct place p;
	if (!m || !kb_place_in_unit(sh->type, offset % m->unit, &p))
		return false;
	kb_addr key = object + offset / m->unit * m->unit + m->key_off + (uint64_t)p.slot * m->key_stride;
	uint64_t at = 0;
	kb_path_add(out, p.is_key ? "[key " : "[");
	if (!m->indirect_key)
		kb_value_text(go, key, sh->type->key, out);
	else if (read_at(go, key, &at, 8))
		kb_value_text(go, at, sh->type->key, out);
	kb_path_add(out, "]");
	if (!p.indirect)
		*leaf = kb_type_leaf(p.type, p.offset, out, true);
	return true;
}

static bool trie_text(const kb_go *go, kb_addr object, uint64_t offset, kb_path_text *out)
{
	kb_trie_entry e = kb_trie_entry_of(&go->layout);
	uint8_t key[16];
	bool is_key = offset == e.key + 8u;
	if ((!is_key && offset != e.value + 8u) || !read_at(go, object + e.key, key, sizeof(key)))
		return false;
	kb_path_add(out, is_key ? "[key " : "[");
	iface_text(go, kb_load64(key), kb_load64(key + 8), out, 0);
	kb_path_add(out, "]");
	return true;
}

static void dynamic_type(const kb_go *go, kb_addr word, kb_path_text *out)
{
	const kb_type *t = word ? kb_go_iface_type(go, word) : NULL;
	if (!t)
		return;
	kb_path_add(out, ".(");
	kb_path_add(out, t->name);
	kb_path_add(out, ")");
}

void kb_shape_edge_text(kb_shapes *s, uint32_t shape, kb_addr object, uint64_t object_size, const kb_edge_in *in, char *buf, size_t n)
{
	const struct shape *sh = s->shapes[shape < s->n ? shape : 0];
	uint32_t label = kb_shape_step(s, shape, in).label;
	kb_path_text out = { 0 };
	kb_leaf leaf = { 0 };
	bool done = false, iface = false;
	if (label && in->offset < object_size) {
		if (sh->form == FORM_BUCKETS)
			done = bucket_text(s->go, sh, object, in->offset, &out, &leaf);
		else if (sh->form == FORM_TRIE_ENTRY)
			done = iface = trie_text(s->go, object, in->offset, &out);
		else
			done = kb_shape_path(s, sh, in->offset, true, &out, &leaf);
	}
	if (!done) { /* internal, or nothing concrete about it */
		out = (kb_path_text){ 0 };
		kb_path_add(&out, kb_shape_label(s, label));
	} else if (iface || (leaf.type && leaf.type->kind == KB_KIND_INTERFACE)) {
		dynamic_type(s->go, in->type_word, &out);
	}
	if (n)
		snprintf(buf, n, "%s", out.s);
}
