/* /proc/PID/maps: text to a sorted array. */
#include "private.h"

#include <stdlib.h>

/* A hexadecimal or decimal number; moves *p behind it. False when there is none or it overflows. */
static bool number(const char **p, const char *end, unsigned base, uint64_t *ret)
{
	uint64_t v = 0;
	const char *s = *p;
	for (; s < end; s++) {
		unsigned d = *s >= '0' && *s <= '9'   ? (unsigned)(*s - '0')
			     : *s >= 'a' && *s <= 'f' ? (unsigned)(*s - 'a') + 10
						      : 99;
		if (d >= base)
			break;
		if (v > (UINT64_MAX - d) / base)
			return false;
		v = v * base + d;
	}
	if (s == *p)
		return false;
	*p = s;
	*ret = v;
	return true;
}

static bool character(const char **p, const char *end, char c)
{
	if (*p >= end || **p != c)
		return false;
	++*p;
	return true;
}

static bool permissions(const char **p, const char *end, uint32_t *ret)
{
	const char *s = *p;
	if (end - s < 4)
		return false;
	*ret = (s[0] == 'r' ? KB_PERM_R : 0u) | (s[1] == 'w' ? KB_PERM_W : 0u) | (s[2] == 'x' ? KB_PERM_X : 0u) |
	       (s[3] == 's' ? KB_PERM_SHARED : 0u);
	*p = s + 4;
	return true;
}

/* The kernel writes a newline in a path as \012; other bytes stand as they are. */
static char *path_copy(kb_arena *names, const char *s, size_t n)
{
	char *copy = kb_arena_strndup(names, s, n), *w = copy;
	for (char *r = copy; copy && *r;)
		if (!strncmp(r, "\\012", 4))
			*w++ = '\n', r += 4;
		else
			*w++ = *r++;
	if (copy)
		*w = 0;
	return copy;
}

static bool ends_with(const char *s, size_t n, const char *suffix)
{
	size_t k = strlen(suffix);
	return n > k && !memcmp(s + n - k, suffix, k);
}

/* start-end perms offset dev:dev inode   path */
static bool parse_line(const char *p, const char *end, kb_mapping *m, const char **ret_path, size_t *ret_path_n)
{
	uint64_t major, minor;
	*m = (kb_mapping){ 0 };
	if (!number(&p, end, 16, &m->start) || !character(&p, end, '-') || !number(&p, end, 16, &m->end) ||
	    !character(&p, end, ' ') || !permissions(&p, end, &m->perms) || !character(&p, end, ' ') ||
	    !number(&p, end, 16, &m->file_offset) || !character(&p, end, ' ') || !number(&p, end, 16, &major) ||
	    !character(&p, end, ':') || !number(&p, end, 16, &minor) || !character(&p, end, ' ') ||
	    !number(&p, end, 10, &m->inode))
		return false;
	while (p < end && *p == ' ')
		p++;
	*ret_path = p;
	*ret_path_n = (size_t)(end - p);
	return m->start < m->end;
}

static kb_error *add_line(struct kb_maps *ret, const char *line, const char *end)
{
	const char *path;
	size_t n;
	kb_mapping m;

	if (!parse_line(line, end, &m, &path, &n))
		return kb_error_new(KB_E_CORRUPT, "/proc/…/maps has an unknown form");
	if (ret->n && ret->v[ret->n - 1].end > m.start) /* may happen when the map changed between two reads */
		return NULL;
	if (m.inode && ends_with(path, n, " (deleted)")) {
		m.deleted = true;
		n -= strlen(" (deleted)");
	}
	/* Neighbours mostly belong to the same file: one copy of its name will do. */
	if (ret->n && n && strlen(ret->v[ret->n - 1].path) == n && !memcmp(ret->v[ret->n - 1].path, path, n))
		m.path = ret->v[ret->n - 1].path;
	else
		m.path = n ? path_copy(&ret->names, path, n) : "";
	if (!m.path || !KB_ROOM(ret->v, ret->n, ret->cap, KB_MAX_MAPPINGS))
		return kb_error_nomem();
	ret->v[ret->n++] = m;
	return NULL;
}

kb_error *kb_maps_parse(const char *text, size_t n, struct kb_maps *ret)
{
	struct kb_maps m = { 0 };
	const char *end = text + n;
	while (text < end) {
		const char *line_end = memchr(text, '\n', (size_t)(end - text));
		if (!line_end)
			line_end = end;
		kb_error *err = add_line(&m, text, line_end);
		if (err) {
			kb_maps_free(&m);
			return err;
		}
		text = line_end + 1;
	}
	*ret = m;
	return NULL;
}

void kb_maps_free(struct kb_maps *m)
{
	free(m->v);
	kb_arena_free(&m->names);
	*m = (struct kb_maps){ 0 };
}

size_t kb_maps_find(const struct kb_maps *m, kb_addr a)
{
	size_t lo = 0, hi = m->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (m->v[mid].end <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const kb_mapping *kb_maps_at(const struct kb_maps *m, kb_addr a)
{
	size_t i = kb_maps_find(m, a);
	return i < m->n && m->v[i].start <= a ? &m->v[i] : NULL;
}
