/* Nameless statics get the name of the variable that leads to them: `var cache = &Cache{…}` is a pointer and, elsewhere in data, the
 * struct itself, which the linker gives no name. */
#include "vars.h"

#include <stdlib.h>

enum { MAX_PASSES = 4, MAX_SLOTS = 64, MAX_VARS = 1 << 24 };

/* A place in nameless data that a variable points to. */
struct claim {
	kb_addr addr;
	uint64_t size; /* of the type behind the pointer; 0: unknown, up to the next claim or the end of the piece */
	uint32_t from; /* the variable */
	const kb_type *type;
};

struct naming {
	const kb_go *go;
	kb_var *vars; /* sorted by address */
	size_t n;
	struct claim *claims;
	size_t nclaims, cap_claims;
	kb_var *next; /* the variables after this pass */
	size_t nnext, cap_next;
};

static bool nameless(const kb_var *v) { return !v->named && !strstr(v->name, "used by"); }

/* The nameless piece that holds a, NULL when there is none. */
static const kb_var *piece_at(const struct naming *w, kb_addr a)
{
	size_t lo = 0, hi = w->n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (w->vars[mid].addr + w->vars[mid].size <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < w->n && nameless(&w->vars[lo]) ? &w->vars[lo] : NULL;
}

static bool claim_word(struct naming *w, uint32_t from, size_t word, uint64_t value)
{
	const kb_var *v = &w->vars[from];
	bool pointer = word == 0 && v->size == 8 && v->type && v->type->kind == KB_KIND_PTR && v->type->elem && v->type->elem->size;
	uint64_t reach = pointer ? v->type->elem->size : 8;
	/* The piece starts at its first pointer slot; the struct may start before it. */
	const kb_var *piece = value && !(value & 7) ? piece_at(w, value) : NULL;
	if (!piece || piece->addr >= value + reach)
		return true;
	if (!KB_ROOM(w->claims, w->nclaims, w->cap_claims, MAX_VARS))
		return false;
	w->claims[w->nclaims++] = (struct claim){ .addr = value, .size = pointer ? reach : 0, .from = from, .type = pointer ? v->type->elem : NULL };
	return true;
}

static bool claim_all(struct naming *w)
{
	for (uint32_t i = 0; i < w->n; i++) {
		uint64_t words[MAX_SLOTS];
		size_t nwords = w->vars[i].size / 8 < MAX_SLOTS ? w->vars[i].size / 8 : MAX_SLOTS;
		if (!nwords || nameless(&w->vars[i]))
			continue;
		kb_error *err = kb_target_read(w->go->target, w->vars[i].addr, words, nwords * 8);
		for (size_t k = 0; !err && k < nwords; k++)
			if (!claim_word(w, i, k, words[k]))
				return false;
		kb_error_free(err);
	}
	return true;
}

/* By address; typed claims first. */
static int by_place(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return !x->size - !y->size;
}

static bool emit(struct naming *w, kb_var v)
{
	if (!v.size)
		return true;
	if (!KB_ROOM(w->next, w->nnext, w->cap_next, MAX_VARS))
		return false;
	w->next[w->nnext++] = v;
	return true;
}

/* Cuts a nameless piece by the claims from *at on; what lies between stays nameless. */
static bool cut(struct naming *w, const kb_var *piece, size_t *at)
{
	kb_addr pos = piece->addr, end = piece->addr + piece->size;
	for (; *at < w->nclaims && w->claims[*at].addr < end; (*at)++) {
		const struct claim *c = &w->claims[*at];
		const kb_var *from = &w->vars[c->from];
		kb_addr next = *at + 1 < w->nclaims && w->claims[*at + 1].addr < end ? w->claims[*at + 1].addr : end;
		kb_addr stop = c->size ? c->addr + c->size : next;
		if (stop <= pos || (c->size && stop > end && stop - end >= 8 * MAX_SLOTS))
			continue;
		kb_addr start = c->addr;
		if (start > pos && !emit(w, (kb_var){ .addr = pos, .size = start - pos, .name = piece->name }))
			return false;
		/* Before the piece there are only words without pointers, unless another variable ends there. */
		if (start < pos && w->nnext && w->next[w->nnext - 1].addr + w->next[w->nnext - 1].size > start)
			start = pos;
		stop = stop > end ? end : stop;
		if (!emit(w, (kb_var){ .addr = start, .size = stop - start, .name = from->name, .named = from->named, .is_runtime = from->is_runtime,
				       .type = start == c->addr ? c->type : NULL }))
			return false;
		pos = stop;
	}
	return pos >= end || emit(w, (kb_var){ .addr = pos, .size = end - pos, .name = piece->name });
}

static bool apply(struct naming *w)
{
	size_t at = 0;
	if (w->nclaims)
		qsort(w->claims, w->nclaims, sizeof(*w->claims), by_place);
	for (size_t i = 0; i < w->n; i++) {
		bool ok = nameless(&w->vars[i]) ? cut(w, &w->vars[i], &at) : emit(w, w->vars[i]);
		if (!ok)
			return false;
	}
	return true;
}

kb_error *kb_vars_name_statics(const kb_go *go, kb_var **vars, size_t *n)
{
	bool ok = true, again = true;
	for (unsigned pass = 0; pass < MAX_PASSES && ok && again; pass++) {
		struct naming w = { .go = go, .vars = *vars, .n = *n };
		ok = claim_all(&w) && apply(&w);
		again = w.nclaims;
		free(w.claims);
		if (!ok || !again) {
			free(w.next);
			continue;
		}
		free(*vars);
		*vars = w.next;
		*n = w.nnext;
	}
	return ok ? NULL : kb_error_nomem();
}
