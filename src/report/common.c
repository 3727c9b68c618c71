#include "private.h"

#include <stdlib.h>
#include <time.h>

void put_color(FILE *out, const kb_style *st, enum color c, const char *text)
{
	static const char *const codes[] = { "0", "1", "2", "1;31", "1;33", "36" };
	if (st->color && c != C_NONE)
		fprintf(out, "\033[%sm%s\033[0m", codes[c], text);
	else
		fputs(text, out);
}

const char *confidence_word(enum kb_confidence c) { return c == KB_PROVEN ? "PROVEN" : c == KB_LIKELY ? "LIKELY" : "SUSPECT"; }
const char *confidence_json(enum kb_confidence c) { return c == KB_PROVEN ? "proven" : c == KB_LIKELY ? "likely" : "suspect"; }

const char *base_of(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	return slash ? slash + 1 : path ? path : "?";
}

const char *arrow(const kb_style *st) { return st->utf8 ? "╰→" : "`->"; }

/* Length of a valid UTF-8 sequence at s, 0 when it is none. Overlong forms and surrogates do not matter for a terminal. */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

const char *clean(kb_arena *a, const char *text)
{
	if (!text)
		return "";
	kb_str b = { 0 };
	for (const unsigned char *p = (const unsigned char *)text; *p;) {
		size_t n = utf8_len(p);
		/* C1 controls are two bytes in UTF-8 and can drive a terminal as well. */
		bool control = *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
		if (n && !control)
			kb_str_addn(&b, (const char *)p, n);
		else
			kb_str_addn(&b, "?", 1);
		p += n ? n : 1;
	}
	const char *s = b.failed ? "?" : kb_arena_strndup(a, b.s ? b.s : "", b.n);
	kb_str_free(&b);
	return s ? s : "?";
}

const char *human_duration(kb_arena *a, double seconds)
{
	uint64_t s = (uint64_t)seconds;
	const char *t = seconds <= 0 ? kb_arena_printf(a, "0 s") : seconds < 0.0095 ? kb_arena_printf(a, "%.1f ms", seconds * 1e3) :
		 seconds < 1 ? kb_arena_printf(a, "%.0f ms", seconds * 1e3) :
		 seconds < 60 ? kb_arena_printf(a, "%.1f s", seconds) :
		 s < 3600 ? kb_arena_printf(a, "%lum%02lus", (unsigned long)(s / 60), (unsigned long)(s % 60)) :
		 s < 48 * 3600 ? kb_arena_printf(a, "%luh%02lum", (unsigned long)(s / 3600), (unsigned long)(s / 60 % 60)) :
		 kb_arena_printf(a, "%lud%luh", (unsigned long)(s / 86400), (unsigned long)(s / 3600 % 24));
	return t ? t : "?";
}

json_t *json_text(const char *s)
{
	kb_arena a = { 0 };
	json_t *j = s ? json_string(clean(&a, s)) : json_null();
	kb_arena_free(&a);
	return j;
}

json_t *json_addr(kb_addr a)
{
	char text[32];
	if (!a)
		return json_null();
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)a);
	return json_string(text);
}

json_t *json_step(const kb_step *s)
{
	json_t *o = json_object();
	if (s->kind) {
		json_object_set_new(o, "kind", json_text(s->kind));
		json_object_set_new(o, "name", json_text(s->name));
	} else {
		json_object_set_new(o, "edge", json_text(s->name));
	}
	json_object_set_new(o, "type", json_text(s->type));
	if (s->address)
		json_object_set_new(o, "address", json_addr(s->address));
	return o;
}

json_t *json_target(const kb_look *look)
{
	const kb_target_info *t = kb_target_info_get(look->facts->target);
	const kb_go_info *g = kb_go_info_get(look->facts->go);
	char taken[32] = "";
	time_t at = (time_t)t->taken_at;
	struct tm tm;
	if (at && gmtime_r(&at, &tm))
		strftime(taken, sizeof(taken), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_t *o = json_object();
	json_object_set_new(o, "kind", json_string(t->kind == KB_TARGET_LIVE ? "process" : "core"));
	json_object_set_new(o, "pid", json_integer(t->pid));
	if (t->inner_pid && t->inner_pid != t->pid)
		json_object_set_new(o, "inner_pid", json_integer(t->inner_pid));
	json_object_set_new(o, "exe", json_text(t->exe));
	json_object_set_new(o, "go_version", json_text(g->version));
	json_object_set_new(o, "layout", json_text(g->layout_text));
	json_object_set_new(o, "os", json_string("linux"));
	json_object_set_new(o, "arch", json_string("amd64"));
	json_object_set_new(o, "stripped", json_boolean(g->stripped));
	json_object_set_new(o, "stopped_ms", json_real((double)t->stopped_ns / 1e6));
	json_object_set_new(o, "read_ms", json_real((double)look->read_ns / 1e6));
	json_object_set_new(o, "age_seconds", json_integer((json_int_t)t->age_seconds));
	json_object_set_new(o, "taken_at", json_text(taken));
	return o;
}

kb_error *json_finish(FILE *out, json_t *root)
{
	if (!root)
		return kb_error_nomem();
	int rc = json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(root);
	if (rc != 0 || fputc('\n', out) == EOF)
		return kb_error_new(KB_E_IO, "cannot write the JSON output");
	return NULL;
}

static int larger_type(const void *a, const void *b)
{
	const struct type_sum *x = a, *y = b;
	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : strcmp(x->name, y->name);
}

kb_error *types_by_bytes(const kb_facts *f, struct type_sum **ret, size_t *ret_n)
{
	size_t npaths;
	const kb_path_node *paths = kb_graph_paths(f->graph, &npaths);
	kb_shapes *shapes = kb_graph_shapes(f->graph);
	size_t nshapes = kb_shapes_count(shapes), n = 0;
	struct type_sum *sums = calloc(nshapes + 1, sizeof(*sums));
	if (!sums)
		return kb_error_nomem();
	for (size_t i = 1; i < npaths; i++) {
		sums[paths[i].shape].bytes += paths[i].bytes;
		sums[paths[i].shape].objects += paths[i].objects;
	}
	for (uint32_t i = 0; i < nshapes; i++) {
		if (!sums[i].objects)
			continue;
		const char *name = i ? kb_shape_get(shapes, i)->name : NULL;
		sums[n] = sums[i];
		sums[n++].name = name ? name : "(unknown type)";
	}
	qsort(sums, n, sizeof(*sums), larger_type);
	*ret = sums;
	*ret_n = n;
	return NULL;
}
