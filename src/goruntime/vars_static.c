/* Nameless statics get the name of the variable that leads to them: `var cache = &Cache{…}` is a pointer and, elsewhere in data, the
 * struct itself, which the linker gives no name. */
#include "vars.h"

enum { MAX_PASSES = 4, MAX_SLOTS = 64 };

static bool nameless(const kb_var *v) { return !v->named && !strstr(v->name, "used by"); }

/* Index of the first variable that ends behind a. */
static size_t first_behind(const kb_var *vars, size_t n, kb_addr a)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (vars[mid].addr + vars[mid].size <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The struct behind a typed pointer: the nameless pieces that make it up become one variable of its type. */
static void join(kb_var *vars, size_t n, size_t first, const kb_type *t, kb_addr start)
{
	kb_addr end = start + t->size;
	size_t last = first;
	while (last + 1 < n && vars[last + 1].addr < end && nameless(&vars[last + 1]))
		last++;
	if (vars[first].addr < start || vars[last].addr + vars[last].size > end || (last + 1 < n && vars[last + 1].addr < end))
		return; /* something with a name of its own stands inside: the pointer is not what it seems */
	vars[first].addr = start;
	vars[first].size = t->size;
	vars[first].type = t;
	for (size_t i = first + 1; i <= last; i++)
		vars[i] = (kb_var){ .addr = end, .name = "" };
}

/* One word of a variable that has a name: when it points to the nameless, they are one to the user. */
static bool name_target(kb_var *vars, size_t n, const kb_var *from, size_t word, uint64_t value)
{
	bool pointer = word == 0 && from->size == 8 && from->type && from->type->kind == KB_KIND_PTR && from->type->elem;
	uint64_t reach = pointer && from->type->elem->size ? from->type->elem->size : 8;
	size_t i = value && !(value & 7) ? first_behind(vars, n, value) : n;
	if (i == n || vars[i].addr >= value + reach || &vars[i] == from || !vars[i].size || !nameless(&vars[i]))
		return false;
	vars[i].name = from->name;
	vars[i].named = from->named;
	vars[i].is_runtime = from->is_runtime;
	if (pointer && !vars[i].type)
		join(vars, n, i, from->type->elem, value);
	return true;
}

static void one_pass(const kb_go *go, kb_var *vars, size_t n, bool *ret_again)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t words[MAX_SLOTS];
		size_t nwords = vars[i].size / 8 < MAX_SLOTS ? vars[i].size / 8 : MAX_SLOTS;
		if (!nwords || nameless(&vars[i]))
			continue;
		kb_error *err = kb_target_read(go->target, vars[i].addr, words, nwords * 8);
		for (size_t k = 0; !err && k < nwords; k++)
			*ret_again |= name_target(vars, n, &vars[i], k, words[k]);
		kb_error_free(err);
	}
}

size_t kb_vars_name_statics(const kb_go *go, kb_var *vars, size_t n)
{
	bool again = true;
	for (unsigned pass = 0; pass < MAX_PASSES && again; pass++) {
		size_t out = 0;
		again = false;
		one_pass(go, vars, n, &again);
		for (size_t i = 0; i < n; i++)
			if (vars[i].size)
				vars[out++] = vars[i];
		n = out;
	}
	return n;
}
