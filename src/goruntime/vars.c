/* Package-level variables. Names and sizes from symbols, types from DWARF; where there is none of that, an address that code mentions is a
 * variable up to the next such address, told by the functions that mention it. Together they cover every pointer slot of data and bss. */
#include "vars.h"
#include "types.h"

#include <stdlib.h>

enum { MAX_VARS = 1 << 24 };

struct vars {
	kb_go *go;
	kb_var *items;
	size_t n, cap;
};

static bool add(struct vars *v, kb_var var)
{
	if (!KB_ROOM(v->items, v->n, v->cap, MAX_VARS))
		return false;
	v->items[v->n++] = var;
	return true;
}

static int by_addr(const void *pa, const void *pb)
{
	const kb_var *a = pa, *b = pb;
	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	return a->size > b->size ? -1 : a->size < b->size;
}

/* ---- pointer slots ------------------------------------------------------------------------------------------------------------ */

struct section {
	kb_addr start, end;
	const uint8_t *mask; /* NULL: every word may be a pointer */
	uint64_t bits;
};

static struct section section_of(const kb_module *m, bool bss)
{
	int32_t bits = bss ? m->gcbss_bits : m->gcdata_bits;
	return bss ? (struct section){ m->bss, m->ebss, m->bss_mask, bits > 0 ? (uint64_t)bits : 0 } :
		     (struct section){ m->data, m->edata, m->data_mask, bits > 0 ? (uint64_t)bits : 0 };
}

/* The first pointer slot in [a, end), or end. */
static kb_addr next_slot(const struct section *s, kb_addr a, kb_addr end)
{
	a = (a + 7) & ~(kb_addr)7;
	if (!s->mask)
		return a < end ? a : end;
	for (uint64_t i = (a - s->start) / 8; i < s->bits && s->start + i * 8 < end; i++) {
		if (!(i & 7) && !s->mask[i / 8])
			i += 7; /* eight words without a pointer */
		else if (s->mask[i / 8] >> (i & 7) & 1)
			return s->start + i * 8;
	}
	return end;
}

static bool in_sections(const kb_module *m, const kb_var *v, struct section *ret)
{
	for (unsigned k = 0; k < 2; k++) {
		*ret = section_of(m, k);
		if (v->addr >= ret->start && v->addr < ret->end)
			return true;
	}
	return false;
}

/* Keeps variables with pointer slots, each byte owned by one of them at most. Sorts. */
static void tidy(struct vars *v)
{
	size_t out = 0;
	kb_addr end = 0;
	if (v->n)
		qsort(v->items, v->n, sizeof(*v->items), by_addr);
	for (size_t i = 0; i < v->n; i++) {
		kb_var var = v->items[i];
		const kb_module *m = kb_module_of_data(v->go, var.addr);
		struct section s;
		if (!m || !in_sections(m, &var, &s) || var.addr < end)
			continue;
		if (var.size > s.end - var.addr)
			var.size = s.end - var.addr;
		if (!var.size || next_slot(&s, var.addr, var.addr + var.size) >= var.addr + var.size)
			continue;
		end = var.addr + var.size;
		v->items[out++] = var;
	}
	v->n = out;
}

/* ---- symbols and DWARF ---------------------------------------------------------------------------------------------------------- */

static kb_error *add_symbols(struct vars *v)
{
	kb_go *go = v->go;
	const kb_symbol *syms;
	size_t n;
	KB_TRY(kb_program_data_symbols(go->program, &syms, &n));
	for (size_t i = 0; i < n; i++) {
		kb_var var = { .addr = syms[i].addr + go->bias, .size = syms[i].size, .name = syms[i].name, .named = true,
			       .is_runtime = kb_is_runtime_name(syms[i].name) };
		if (!add(v, var))
			return kb_error_nomem();
	}
	return NULL;
}

static uint32_t find(const kb_var *vars, size_t n, kb_addr a)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (vars[mid].addr <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && a - vars[lo - 1].addr < vars[lo - 1].size ? (uint32_t)(lo - 1) : KB_NO_ID;
}

/* Types that have no descriptor: []T and structs that are only ever a variable's, for instance. */
static void add_undescribed(struct vars *v, const kb_dwarf_var *dv, size_t n)
{
	uint64_t *refs = malloc((n + 1) * sizeof(*refs));
	uint32_t *of = malloc((n + 1) * sizeof(*of));
	const kb_type **types = calloc(n + 1, sizeof(*types));
	size_t nrefs = 0;
	for (size_t i = 0; refs && of && types && i < n; i++) {
		uint32_t at = find(v->items, v->n, dv[i].addr + v->go->bias);
		if (dv[i].go_type || !dv[i].type_ref || at == KB_NO_ID || v->items[at].type || v->items[at].addr != dv[i].addr + v->go->bias)
			continue;
		refs[nrefs] = dv[i].type_ref;
		of[nrefs++] = at;
	}
	kb_error *err = nrefs ? kb_types_from_dwarf(v->go, refs, nrefs, types) : NULL;
	for (size_t i = 0; !err && i < nrefs; i++)
		if (types[i] && types[i]->size <= v->items[of[i]].size)
			v->items[of[i]].type = types[i];
	if (err)
		kb_go_gap(v->go, "types of variables: %s", err->message);
	kb_error_free(err);
	free(refs);
	free(of);
	free(types);
}

/* Types for the variables there are, and variables that have no symbol. *ret_types: DWARF had any. */
static kb_error *add_dwarf(struct vars *v, bool *ret_types)
{
	kb_go *go = v->go;
	const kb_dwarf_var *dv;
	size_t n, have = v->n;
	kb_error *err = kb_program_dwarf_vars(go->program, &dv, &n);
	if (err) {
		kb_go_gap(go, "DWARF of the executable: %s", err->message);
		kb_error_free(err);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		kb_addr a = dv[i].addr + go->bias;
		uint32_t at = find(v->items, have, a);
		const kb_type *t = dv[i].go_type ? kb_go_type(go, go->modules[0].types + dv[i].go_type) : NULL;
		kb_var var = { .addr = a, .size = dv[i].size, .name = dv[i].name, .type = t, .named = true, .is_runtime = kb_is_runtime_name(dv[i].name) };
		*ret_types |= t != NULL;
		if (at == KB_NO_ID) {
			if (var.size && !add(v, var))
				return kb_error_nomem();
		} else if (v->items[at].addr == a && t && t->size <= v->items[at].size) {
			v->items[at].type = t;
		}
	}
	tidy(v);
	add_undescribed(v, dv, n);
	return NULL;
}

/* ---- what is left: named by the code ---------------------------------------------------------------------------------------------- */

/* "main.login" of "example.com/x/main.login": the package's path is long and tells little here. */
static const char *short_name(const char *function)
{
	const char *slash = strrchr(function, '/');
	return slash ? slash + 1 : function;
}

static const char *made_up_name(struct vars *v, const kb_module *m, kb_addr a, const kb_code_ref *ref)
{
	kb_str text = { 0 };
	kb_func f;
	const char *sep = " (used by ";
	kb_str_printf(&text, "global 0x%llx", (unsigned long long)a);
	for (unsigned i = 0; ref && i < KB_REF_USERS; i++) {
		if (ref->users[i] == KB_NO_ID || !kb_func_at(&m->tab, ref->users[i], &f))
			continue;
		kb_str_printf(&text, "%s%.120s", sep, short_name(f.name));
		sep = ", ";
	}
	if (sep[0] == ',')
		kb_str_add(&text, ")");
	char *name = text.failed ? NULL : kb_arena_strndup(&v->go->arena, text.s, text.n);
	kb_str_free(&text);
	return name;
}

static kb_error *add_made_up(struct vars *v, const kb_module *m, const struct section *s, kb_addr a, kb_addr end, const kb_code_ref *ref)
{
	if (next_slot(s, a, end) >= end)
		return NULL;
	kb_var var = { .addr = a, .size = end - a, .name = made_up_name(v, m, a, ref), .is_runtime = ref && ref->runtime_only };
	if (ref && ref->map_type)
		var.type = kb_go_type(v->go, ref->map_type);
	if (!var.name || !add(v, var))
		return kb_error_nomem();
	return NULL;
}

static size_t first_ref(const kb_code_ref *refs, size_t n, kb_addr a)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (refs[mid].addr < a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Splits [a, end), which no variable covers, at the addresses that code mentions. */
static kb_error *fill_gap(struct vars *v, const kb_module *m, const struct section *s, kb_addr a, kb_addr end, const kb_code_ref *refs, size_t n)
{
	size_t i = first_ref(refs, n, a);
	if (next_slot(s, a, end) >= end)
		return NULL;
	if (i >= n || refs[i].addr >= end)
		return add_made_up(v, m, s, a, end, NULL);
	if (refs[i].addr > a)
		KB_TRY(add_made_up(v, m, s, a, refs[i].addr, NULL));
	for (; i < n && refs[i].addr < end; i++)
		KB_TRY(add_made_up(v, m, s, refs[i].addr, i + 1 < n && refs[i + 1].addr < end ? refs[i + 1].addr : end, &refs[i]));
	return NULL;
}

/* v->items[0, have) are tidy; made up ones go behind them. */
static kb_error *fill_module(struct vars *v, size_t have, const kb_module *m, const kb_code_ref *refs, size_t n)
{
	for (unsigned k = 0; k < 2; k++) {
		struct section s = section_of(m, k);
		kb_addr at = s.start;
		for (size_t i = 0; i < have && at < s.end; i++) {
			kb_addr start = v->items[i].addr, end = start + v->items[i].size;
			if (start < s.start || start >= s.end)
				continue;
			KB_TRY(fill_gap(v, m, &s, at, start, refs, n));
			at = end;
		}
		if (at < s.end)
			KB_TRY(fill_gap(v, m, &s, at, s.end, refs, n));
	}
	return NULL;
}

static void type_maps(struct vars *v, size_t have, const kb_code_ref *refs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t at = refs[i].map_type ? find(v->items, have, refs[i].addr) : KB_NO_ID;
		if (at != KB_NO_ID && v->items[at].addr == refs[i].addr && v->items[at].size == 8 && !v->items[at].type)
			v->items[at].type = kb_go_type(v->go, refs[i].map_type);
	}
}

static kb_error *complete(struct vars *v, bool have_types)
{
	size_t have = v->n;
	for (size_t i = 0; i < v->go->nmodules; i++) {
		const kb_module *m = &v->go->modules[i];
		kb_code_ref *refs = NULL;
		size_t n = 0;
		/* With symbols and DWARF the little that is left is not worth reading the code. */
		if (i > 0 || !have || !have_types)
			KB_TRY(kb_code_refs(v->go, m, &refs, &n));
		type_maps(v, have, refs, n);
		kb_error *err = fill_module(v, have, m, refs, n);
		free(refs);
		KB_TRY(err);
	}
	if (v->n)
		qsort(v->items, v->n, sizeof(*v->items), by_addr);
	return NULL;
}

static kb_error *load(struct vars *v)
{
	bool types = false;
	if (v->go->program)
		KB_TRY(add_symbols(v));
	tidy(v);
	if (v->go->program)
		KB_TRY(add_dwarf(v, &types));
	KB_TRY(complete(v, types));
	return kb_vars_name_statics(v->go, &v->items, &v->n);
}

kb_error *kb_gvars_load(kb_go *go)
{
	struct vars v = { .go = go };
	if (go->gvars)
		return NULL;
	kb_error *err = load(&v);
	if (err) {
		free(v.items);
		return err;
	}
	go->gvars = v.items;
	go->ngvars = v.n;
	return NULL;
}

const kb_var *kb_go_vars(const kb_go *go, size_t *ret_n)
{
	*ret_n = go->ngvars;
	return go->gvars;
}

uint32_t kb_go_var_at(const kb_go *go, kb_addr a)
{
	return find(go->gvars, go->ngvars, a);
}

uint32_t kb_go_var_by_name(const kb_go *go, const char *name)
{
	uint32_t by_suffix = KB_NO_ID;
	for (size_t i = 0; i < go->ngvars; i++) {
		const char *full = go->gvars[i].name;
		if (!strcmp(full, name))
			return (uint32_t)i;
		if (by_suffix == KB_NO_ID && !strcmp(short_name(full), name))
			by_suffix = (uint32_t)i;
	}
	return by_suffix;
}
