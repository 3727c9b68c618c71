/* What a goroutine is called: the line people want, where it was created, its labels, whether it is the runtime's own. */
#include "stacks.h"

#include <stdlib.h>

enum { MAX_LINES = 128, USER_FRAMES = 256 };

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* As the runtime decides (runtime/traceback.go, isSystemGoroutine): by the function it was started with; the finalizer and cleanup
 * goroutines are the program's while they run its code. */
bool kb_goroutine_is_system(const kb_go *go, const kb_goroutine *g)
{
	kb_func f;
	if (!kb_go_func(go, g->startpc, &f) || !starts(f.name, "runtime."))
		return false;
	const char *n = f.name + 8;
	if (!strcmp(n, "main") || !strcmp(n, "handleAsyncEvent") || !strcmp(n, "corostart"))
		return false;
	if (!strcmp(n, "runfinq") || !strcmp(n, "runFinalizers"))
		return !strcmp(g->wait_reason, "finalizer wait");
	if (!strcmp(n, "runCleanups"))
		return !strcmp(g->wait_reason, "cleanup wait");
	return true;
}

/* ---- lines -------------------------------------------------------------------------------------------------------------- */

/* Packages that only wait or call on behalf of somebody. time.Sleep is the runtime's under another name. */
static bool is_inside(const char *function)
{
	static const char *const prefixes[] = { "runtime.", "runtime/", "internal/", "sync.", "sync/", "iter.", "reflect." };
	for (size_t i = 0; i < KB_ARRAY_LEN(prefixes); i++)
		if (starts(function, prefixes[i]))
			return true;
	/* cgo's own wrappers have no source file of the program's */
	return !strcmp(function, "time.Sleep") || strstr(function, "._Cfunc_") || !strchr(function, '.');
}

/* How good a line is: 0 the runtime's, 1 inside of a package that serves others, 2 the program's. */
static int worth(const char *function)
{
	if (!is_inside(function))
		return 2;
	return !starts(function, "runtime.") && strcmp(function, "time.Sleep") != 0 && strchr(function, '.');
}

bool kb_go_user_line(const kb_go *go, uint32_t goroutine, kb_line *ret)
{
	kb_frame frames[USER_FRAMES];
	kb_line lines[MAX_LINES];
	bool complete;
	int best = -1;
	size_t n = kb_go_frames(go, goroutine, frames, USER_FRAMES, &complete);
	for (size_t i = 0; i < n && best < 2; i++) {
		size_t k = kb_go_lines(go, frames[i].line_pc, lines, MAX_LINES);
		for (size_t j = 0; j < k && best < 2; j++) {
			int w = worth(lines[j].function);
			if (w > best) {
				best = w;
				*ret = lines[j];
			}
		}
	}
	return best >= 0;
}

/* The function that holds the go statement. The first goroutine was created by the runtime's assembly: not told, as in tracebacks. */
bool kb_go_created_by(const kb_go *go, uint32_t goroutine, kb_line *ret)
{
	if (goroutine >= go->ngoroutines)
		return false;
	const kb_goroutine *g = &go->goroutines[goroutine];
	kb_func f;
	if (!g->gopc || g->goid == 1 || !kb_go_func(go, g->gopc, &f))
		return false;
	return kb_go_lines(go, g->gopc > f.entry ? g->gopc - 1 : g->gopc, ret, 1) == 1;
}

/* ---- labels ---------------------------------------------------------------------------------------------------------------- */

enum { MAX_LABELS = 256, MAX_LABEL_BYTES = 1024, MAX_BUCKETS = 4096 };

static bool read_at(const kb_go *go, kb_addr a, void *buf, size_t n)
{
	kb_error *e = kb_target_read(go->target, a, buf, n);
	kb_error_free(e);
	return !e;
}

/* A Go string header's text; unprintable bytes become '?'. */
static void add_string(const kb_go *go, kb_str *out, const uint8_t *header)
{
	char buf[MAX_LABEL_BYTES];
	uint64_t n = kb_load64(header + 8);
	bool cut = n > sizeof buf;
	if (cut)
		n = sizeof buf;
	if (!n || !read_at(go, kb_load64(header), buf, (size_t)n))
		return;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)buf[i] < 32 || buf[i] == 127)
			buf[i] = '?';
	kb_str_addn(out, buf, (size_t)n);
	if (cut)
		kb_str_add(out, "...");
}

static void add_label(const kb_go *go, kb_str *out, const uint8_t *key, const uint8_t *value)
{
	if (out->n)
		kb_str_add(out, ", ");
	add_string(go, out, key);
	kb_str_add(out, "=");
	add_string(go, out, value);
}

/* From 1.24: a slice of {key, value string} (runtime/pprof/label.go). */
static void list_labels(const kb_go *go, kb_addr labels, kb_str *out)
{
	uint64_t slice[3];
	if (!read_at(go, labels, slice, sizeof slice) || slice[1] > slice[2])
		return;
	for (uint64_t i = 0; i < slice[1] && i < MAX_LABELS; i++) {
		uint8_t e[32];
		if (!read_at(go, slice[0] + 32 * i, e, sizeof e))
			return;
		add_label(go, out, e, e + 16);
	}
}

/* Buckets of a map[string]string: 8 bytes of top hashes, 8 keys, 8 values, the overflow bucket's address. Top hashes from 5 on mark
 * entries that are there (runtime/map.go, to 1.23). */
static void bucket_labels(const kb_go *go, kb_addr buckets, uint64_t n, unsigned *left, kb_str *out)
{
	for (uint64_t i = 0; i < n; i++) {
		kb_addr a = buckets + 272 * i;
		for (unsigned chain = 0; a && chain < 64; chain++) {
			uint8_t b[272];
			if (!*left || !read_at(go, a, b, sizeof b))
				return;
			for (unsigned k = 0; k < 8 && *left; k++) {
				if (b[k] < 5)
					continue;
				add_label(go, out, b + 8 + 16 * k, b + 136 + 16 * k);
				--*left;
			}
			a = kb_load64(b + 264);
		}
	}
}

/* To 1.23: the address of a map[string]string. Entries of a map that grows are in the old buckets or in the new, once. */
static void map_labels(const kb_go *go, kb_addr labels, kb_str *out)
{
	uint64_t hmap, count, b, buckets, old;
	unsigned left = MAX_LABELS;
	if (!read_at(go, labels, &hmap, 8) || !hmap)
		return;
	kb_error *e = kb_field(go, hmap, KB_F_hmap_count, &count);
	if (!e)
		e = kb_field(go, hmap, KB_F_hmap_B, &b);
	if (!e)
		e = kb_field(go, hmap, KB_F_hmap_buckets, &buckets);
	if (!e)
		e = kb_field(go, hmap, KB_F_hmap_oldbuckets, &old);
	if (!e && count && b < 12) {
		bucket_labels(go, buckets, (uint64_t)1 << b, &left, out);
		if (old)
			bucket_labels(go, old, b ? (uint64_t)1 << (b - 1) : 1, &left, out);
	}
	kb_error_free(e);
}

/* Goroutines share their creator's labels: seen maps the address to the text. */
const char *kb_goroutine_labels(kb_go *go, kb_addr labels, kb_map *seen)
{
	const kb_layout *l = &go->layout;
	uint64_t known;
	kb_str out = { 0 };
	if (!labels || labels == KB_ADDR_MAX)
		return NULL;
	if (kb_map_get(seen, labels, &known))
		return (const char *)(uintptr_t)known;
	if (kb_has(l, KB_F_labelMap_list) || kb_sizeof(l, KB_S_labelMap) == 24)
		list_labels(go, labels, &out);
	else
		map_labels(go, labels, &out);
	char *text = out.n && !out.failed ? kb_arena_strndup(&go->arena, out.s, out.n) : NULL;
	kb_str_free(&out);
	if (!kb_map_put(seen, labels, (uintptr_t)text))
		return text;
	return text;
}
