/* Go's build info blob: debug/buildinfo of the toolchain reads it the same way; written by cmd/link/internal/ld/data.go
 * (buildinfo) in one form since Go 1.18. */
#include "program/program.h"

#include <stdio.h>
#include <stdlib.h>

#include "private.h"

#define BLOB_ALIGN 16
#define BLOB_HEADER 32
#define FLAG_INLINE 2
/* The module text stands between two 16-byte marks, so that a scan of memory finds it too. */
#define SENTINEL 16
#define VERSION_MAX 256

static const char magic[14] = "\xff Go buildinf:";

/* ---- the blob ---------------------------------------------------------------------------------------------- */

struct blob {
	kb_bytes version, module;
	bool old_form; /* a blob of Go 1.17 or before was seen */
};

static kb_bytes get_string(kb_bytes b, uint64_t *off)
{
	uint64_t n;
	kb_bytes s = { 0 };

	if (!kb_get_uvarint(b, off, &n))
		return s;
	s = kb_slice(b, *off, n);
	*off += s.n;
	return s;
}

static bool looks_like_version(kb_bytes v)
{
	if (v.n < 3 || v.n > VERSION_MAX || memchr(v.p, '\0', v.n))
		return false;
	return !memcmp(v.p, "go", 2) || (v.n >= 5 && !memcmp(v.p, "devel", 5));
}

static bool read_blob(kb_bytes b, uint64_t at, struct blob *ret)
{
	uint64_t off = at + BLOB_HEADER;
	uint8_t flags;

	if (!kb_get_u8(b, at + 15, &flags))
		return false;
	if (!(flags & FLAG_INLINE)) {
		ret->old_form = true;
		return false;
	}
	ret->version = get_string(b, &off);
	if (!looks_like_version(ret->version))
		return false;
	ret->module = get_string(b, &off);
	if (ret->module.n < 2 * SENTINEL + 1 || ret->module.p[ret->module.n - SENTINEL - 1] != '\n')
		ret->module = (kb_bytes){ 0 };
	else
		ret->module = kb_slice(ret->module, SENTINEL, ret->module.n - 2 * SENTINEL);
	return true;
}

static kb_error *find_blob(kb_bytes b, struct blob *ret)
{
	uint64_t off = 0;

	*ret = (struct blob){ 0 };
	while (off + BLOB_HEADER <= b.n) {
		const uint8_t *hit = memmem(b.p + off, b.n - off, magic, sizeof(magic));
		uint64_t at;

		if (!hit)
			break;
		at = (uint64_t)(hit - b.p);
		if (at % BLOB_ALIGN == 0 && read_blob(b, at, ret))
			return NULL;
		off = at + 1;
	}
	if (ret->old_form)
		return kb_error_new(KB_E_UNSUPPORTED, "made with Go 1.17 or older; Go 1.19 or newer is needed");
	return kb_error_new(KB_E_NOT_GO, "not a Go program (no build info)");
}

kb_error *buildinfo_version(kb_bytes b, char *buf, size_t n)
{
	struct blob blob;

	KB_TRY(find_blob(b, &blob));
	snprintf(buf, n, "%.*s", (int)blob.version.n, (const char *)blob.version.p);
	return NULL;
}

/* ---- the version's text --------------------------------------------------------------------------------------- */

/* At most 4 digits; moves *s behind them. */
static int small_number(const char **s)
{
	int v = 0;

	for (int i = 0; i < 4 && **s >= '0' && **s <= '9'; i++, (*s)++)
		v = v * 10 + (**s - '0');
	return v;
}

static kb_error *parse_version(kb_buildinfo *bi)
{
	const char *s = strstr(bi->go_version, "go1."), *x = NULL;

	if (s) {
		s += 4;
		bi->minor = small_number(&s);
		if (*s == '.') {
			s++;
			bi->patch = small_number(&s);
		}
	}
	/* " X:a,b" up to Go 1.25, "-X:a,b" since 1.26 */
	for (s = bi->go_version; *s && !x; s++)
		if ((*s == ' ' || *s == '-') && s[1] == 'X' && s[2] == ':')
			x = s + 3;
	bi->experiments = x ? kb_arena_strndup(&bi->arena, x, strcspn(x, " -\t")) : "";
	return bi->experiments ? NULL : kb_error_nomem();
}

/* ---- the module text -------------------------------------------------------------------------------------------- */

/* One line, cut at tabs. */
struct line {
	const char *field[5];
	size_t n;
};

static const char *arena_copy(kb_arena *a, const uint8_t *p, size_t n)
{
	return kb_arena_strndup(a, (const char *)p, n);
}

/* The last field keeps further tabs: a build setting's value may hold any text. */
static bool split_line(kb_arena *a, kb_bytes text, struct line *ret)
{
	size_t from = 0;

	ret->n = 0;
	while (ret->n < KB_ARRAY_LEN(ret->field)) {
		bool last = ret->n + 1 == KB_ARRAY_LEN(ret->field);
		const uint8_t *tab = last || from == text.n ? NULL : memchr(text.p + from, '\t', text.n - from);
		size_t to = tab ? (size_t)(tab - text.p) : text.n;
		const char *copy = arena_copy(a, text.p + from, to - from);

		if (!copy)
			return false;
		ret->field[ret->n++] = copy;
		if (!tab)
			break;
		from = to + 1;
	}
	return true;
}

static const char *field(const struct line *l, size_t i)
{
	return i < l->n ? l->field[i] : "";
}

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | (c >> 18 & 7));
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* One escape behind a backslash at *s, as strconv.Quote writes it. Returns the bytes written; never more than were read. */
static size_t unescape(const char **s, char *out)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	char kind = **s, hex[9] = "";
	size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
	const char *known;

	(*s)++;
	if (digits && strspn(*s, "0123456789abcdefABCDEF") >= digits) {
		uint32_t c;

		memcpy(hex, *s, digits);
		*s += digits;
		c = (uint32_t)strtoul(hex, NULL, 16);
		if (kind != 'x')
			return put_utf8(out, c);
		*out = (char)c;
		return 1;
	}
	known = kind ? strchr(from, kind) : NULL;
	*out = known ? to[known - from] : kind;
	return 1;
}

/* Go quotes keys and values that hold blanks, quotes or line ends. In place. Returns the end in the source. */
static const char *unquote(char *s)
{
	const char *in = s + 1;
	char quote = *s, *out = s;

	if (quote != '"' && quote != '`')
		return NULL;
	while (*in && *in != quote) {
		if (*in == '\\' && quote == '"' && in[1]) {
			in++;
			out += unescape(&in, out);
		} else {
			*out++ = *in++;
		}
	}
	if (*in)
		in++;
	*out = '\0';
	return in;
}

static kb_error *add_setting(kb_buildinfo *bi, const char *text, size_t *cap)
{
	char *key, *value = NULL;

	if (!KB_ROOM(bi->settings, bi->nsettings, *cap, 1u << 20))
		return kb_error_nomem();
	key = kb_arena_strndup(&bi->arena, text, strlen(text));
	if (!key)
		return kb_error_nomem();
	if (*key == '"' || *key == '`') {
		/* The '=' behind a quoted key: unquote moves bytes to the front only. */
		const char *end = unquote(key);

		value = *end == '=' ? key + (end - key) + 1 : NULL;
	} else {
		value = strchr(key, '=');
		if (value)
			*value++ = '\0';
	}
	if (value)
		unquote(value);
	bi->settings[bi->nsettings++] = (kb_setting){ .key = key, .value = value ? value : "" };
	return NULL;
}

static kb_error *add_dep(kb_buildinfo *bi, const struct line *l, size_t *cap)
{
	if (!KB_ROOM(bi->deps, bi->ndeps, *cap, 1u << 20))
		return kb_error_nomem();
	bi->deps[bi->ndeps++] =
		(kb_dep){ .path = field(l, 1), .version = field(l, 2), .sum = field(l, 3), .replaced_by = "" };
	return NULL;
}

static kb_error *set_replacement(kb_buildinfo *bi, const struct line *l)
{
	kb_dep *d;

	if (!bi->ndeps) /* of the main module: says nothing we need */
		return NULL;
	d = &bi->deps[bi->ndeps - 1];
	d->replaced_by = *field(l, 2) ? kb_arena_printf(&bi->arena, "%s@%s", field(l, 1), field(l, 2)) : field(l, 1);
	return d->replaced_by ? NULL : kb_error_nomem();
}

struct caps {
	size_t deps, settings;
};

static kb_error *take_line(kb_buildinfo *bi, kb_bytes text, struct caps *cap)
{
	struct line l;
	const char *kind;

	if (text.n > 6 && !memcmp(text.p, "build\t", 6)) {
		const char *rest = arena_copy(&bi->arena, text.p + 6, text.n - 6);

		return rest ? add_setting(bi, rest, &cap->settings) : kb_error_nomem();
	}
	if (!split_line(&bi->arena, text, &l))
		return kb_error_nomem();
	kind = field(&l, 0);
	if (!strcmp(kind, "path")) {
		bi->path = field(&l, 1);
	} else if (!strcmp(kind, "mod")) {
		bi->mod_path = field(&l, 1);
		bi->mod_version = field(&l, 2);
	} else if (!strcmp(kind, "dep")) {
		return add_dep(bi, &l, &cap->deps);
	} else if (!strcmp(kind, "=>")) {
		return set_replacement(bi, &l);
	}
	return NULL;
}

static kb_error *parse_module(kb_buildinfo *bi, kb_bytes text)
{
	struct caps cap = { 0 };
	size_t from = 0;

	while (from < text.n) {
		const uint8_t *nl = memchr(text.p + from, '\n', text.n - from);
		size_t to = nl ? (size_t)(nl - text.p) : text.n;

		KB_TRY(take_line(bi, (kb_bytes){ text.p + from, to - from }, &cap));
		from = to + 1;
	}
	return NULL;
}

kb_error *kb_buildinfo_parse(kb_bytes b, kb_buildinfo *ret)
{
	struct blob blob;
	kb_error *err;

	*ret = (kb_buildinfo){ .path = "", .mod_path = "", .mod_version = "", .experiments = "" };
	KB_TRY(find_blob(b, &blob));
	ret->go_version = arena_copy(&ret->arena, blob.version.p, blob.version.n);
	err = ret->go_version ? parse_version(ret) : kb_error_nomem();
	if (!err)
		err = parse_module(ret, blob.module);
	if (err)
		kb_buildinfo_free(ret);
	return err;
}

const char *kb_buildinfo_setting(const kb_buildinfo *bi, const char *key)
{
	for (size_t i = 0; i < bi->nsettings; i++)
		if (!strcmp(bi->settings[i].key, key))
			return bi->settings[i].value;
	return NULL;
}

void kb_buildinfo_free(kb_buildinfo *bi)
{
	free(bi->deps);
	free(bi->settings);
	kb_arena_free(&bi->arena);
	*bi = (kb_buildinfo){ 0 };
}
