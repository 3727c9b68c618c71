/* Which functions mention which package-level variable, and which of the variables are maps of what type: from the machine code alone, for
 * binaries without symbols or DWARF.
 *
 * Maps: at a call of runtime.mapassign*, mapaccess*, … the first argument (RAX) is the map's type descriptor, loaded by LEA, and the second
 * (RBX) the map, loaded by MOV from the variable (register ABI, 1.17 and later; cmd/compile walks map operations into these calls). */
#include "vars.h"
#include "types.h"

#include <stdlib.h>

enum {
	CHUNK = 256,               /* functions a piece of work */
	FUNC_MAX = 4 << 20,        /* bytes of one function's code */
	REFS_MAX = 1 << 16,        /* operands of one function */
	MAP_FUNCS = 96,
	ARG_REACH = 96,            /* bytes of code between loading an argument and the call */
	REFS_TOTAL = 1 << 26,
};

struct ref {
	kb_addr addr;
	uint32_t func;
	uint32_t rank;
	kb_addr map_type; /* 0: a mention; else a vote for this type */
};

struct refs {
	struct ref *items;
	size_t n, cap;
	uint8_t *code;
	size_t code_cap;
	uint64_t *targets;
};

struct scan {
	const kb_go *go;
	const kb_module *m;
	struct refs *workers;
	kb_addr map_funcs[MAP_FUNCS];
	size_t nmap_funcs;
	kb_addr map_lo, map_hi;
	_Atomic uint64_t unreadable;
};

static bool starts(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

bool kb_is_runtime_name(const char *name)
{
	static const char *const prefixes[] = { "runtime.", "runtime/internal/", "internal/runtime/", "internal/abi.", "internal/cpu.",
						"internal/bytealg.", "internal/chacha8rand.", "internal/godebugs.", "go:", "type:", "go.itab", "type.",
						"gcbits.", "_cgo_", "x_cgo_", "__" };
	for (size_t i = 0; i < KB_ARRAY_LEN(prefixes); i++)
		if (starts(name, prefixes[i]))
			return true;
	return false;
}

/* How much a function's name tells of a variable it mentions, best first: main, other packages with a dot in the first element of their
 * path (not of the standard library), the standard library, the runtime. Initialisation mentions everything: behind its likes. */
enum { RANK_MAIN = 0, RANK_USER = 2, RANK_STD = 4, RANK_RUNTIME = 6 };
static uint32_t rank_of(const char *name)
{
	const char *slash = strchr(name, '/'), *dot = strchr(name, '.');
	uint32_t rank = starts(name, "main.") ? RANK_MAIN : kb_is_runtime_name(name) ? RANK_RUNTIME : slash && dot && dot < slash ? RANK_USER : RANK_STD;
	const char *last = strrchr(name, '/');
	const char *func = strchr(last ? last : name, '.');
	return rank + (func && (!strcmp(func, ".init") || starts(func, ".init.")));
}

static bool in_data(const kb_module *m, kb_addr a)
{
	return (a >= m->data && a < m->edata) || (a >= m->bss && a < m->ebss);
}

static bool push(struct refs *r, struct ref ref)
{
	if (!KB_ROOM(r->items, r->n, r->cap, REFS_TOTAL))
		return false;
	r->items[r->n++] = ref;
	return true;
}

static bool is_map_func(const struct scan *s, kb_addr a)
{
	if (a < s->map_lo || a > s->map_hi)
		return false;
	for (size_t i = 0; i < s->nmap_funcs; i++)
		if (s->map_funcs[i] == a)
			return true;
	return false;
}

/* Target of the 32-bit displacement at p, whose instruction ends 4 bytes behind it at address pc. */
static kb_addr target_of(const uint8_t *p, kb_addr pc)
{
	return pc + 4 + (uint64_t)(int64_t)(int32_t)kb_load32(p);
}

static bool map_votes(const struct scan *s, struct refs *r, const uint8_t *c, size_t n, kb_addr pc, uint32_t func)
{
	kb_addr type = 0, global = 0;
	size_t type_at = 0, global_at = 0;
	for (size_t i = 0; i + 7 <= n; i++) {
		if (c[i] == 0x48 && c[i + 1] == 0x8d && c[i + 2] == 0x05) { /* LEA RAX, [RIP+d] */
			type = target_of(c + i + 3, pc + i + 3);
			type_at = i;
		} else if (c[i] == 0x48 && c[i + 1] == 0x8b && c[i + 2] == 0x1d) { /* MOV RBX, [RIP+d] */
			global = target_of(c + i + 3, pc + i + 3);
			global_at = i;
		} else if (c[i] == 0xe8) { /* CALL */
			kb_addr to = target_of(c + i + 1, pc + i + 1);
			if (to < s->m->text || to >= s->m->etext)
				continue;
			bool fresh = type && global && i - type_at <= ARG_REACH && i - global_at <= ARG_REACH;
			if (fresh && is_map_func(s, to) && type >= s->m->types && type < s->m->etypes && in_data(s->m, global) &&
			    !push(r, (struct ref){ .addr = global, .func = func, .rank = UINT32_MAX, .map_type = type }))
				return false;
			type = global = 0; /* a call leaves no register alone */
		}
	}
	return true;
}

static kb_error *scan_function(const struct scan *s, struct refs *r, const kb_func *f, const uint8_t *code)
{
	size_t n = (size_t)(f->end - f->entry);
	size_t nt = kb_code_data_refs((kb_bytes){ code, n }, f->entry, r->targets, REFS_MAX);
	uint32_t rank = rank_of(f->name);
	for (size_t i = 0; i < nt; i++)
		if (in_data(s->m, r->targets[i]) && !push(r, (struct ref){ .addr = r->targets[i], .func = f->index, .rank = rank }))
			return kb_error_nomem();
	if (rank < RANK_RUNTIME && !map_votes(s, r, code, n, f->entry, f->index))
		return kb_error_nomem();
	return NULL;
}

/* The code of functions [first, last) is read in one piece where it is one. */
static kb_error *scan_chunk(void *ctx, unsigned worker, size_t piece)
{
	struct scan *s = ctx;
	struct refs *r = &s->workers[worker];
	uint32_t last = (uint32_t)(piece + 1) * CHUNK < s->m->tab.nfunc ? (uint32_t)(piece + 1) * CHUNK : s->m->tab.nfunc;
	if (!r->targets && !(r->targets = malloc(REFS_MAX * sizeof(*r->targets))))
		return kb_error_nomem();
	kb_func f;
	kb_addr have = 0, have_end = 0, stop = 0;
	if (kb_func_at(&s->m->tab, last - 1, &f))
		stop = f.end;
	for (uint32_t i = (uint32_t)piece * CHUNK; i < last; i++) {
		if (!kb_func_at(&s->m->tab, i, &f) || f.end <= f.entry || f.end - f.entry > FUNC_MAX || f.entry < s->m->text || f.end > s->m->etext)
			continue;
		if (f.entry < have || f.end > have_end) {
			kb_addr end = stop > f.end && stop - f.entry <= FUNC_MAX ? stop : f.end;
			if (!kb_grow(&r->code, &r->code_cap, (size_t)(end - f.entry), 1, FUNC_MAX + 1))
				return kb_error_nomem();
			if (!kb_target_read_holes(s->go->target, f.entry, r->code, (size_t)(end - f.entry)))
				s->unreadable += end - f.entry;
			have = f.entry;
			have_end = end;
		}
		KB_TRY(scan_function(s, r, &f, r->code + (f.entry - have)));
	}
	return NULL;
}

static bool collect_map_func(void *ctx, const kb_func *f)
{
	static const char *const prefixes[] = { "runtime.mapassign", "runtime.mapaccess", "runtime.mapdelete", "runtime.mapclear", "runtime.mapiterinit",
						"runtime.mapIterStart" };
	struct scan *s = ctx;
	if (!starts(f->name, "runtime.map"))
		return true;
	for (size_t i = 0; i < KB_ARRAY_LEN(prefixes); i++) {
		if (!starts(f->name, prefixes[i]))
			continue;
		s->map_funcs[s->nmap_funcs++] = f->entry;
		s->map_lo = f->entry < s->map_lo ? f->entry : s->map_lo;
		s->map_hi = f->entry > s->map_hi ? f->entry : s->map_hi;
		break;
	}
	return s->nmap_funcs < MAP_FUNCS;
}

static int by_addr_rank(const void *pa, const void *pb)
{
	const struct ref *a = pa, *b = pb;
	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->map_type != b->map_type)
		return a->map_type < b->map_type ? -1 : 1;
	return a->func < b->func ? -1 : a->func > b->func;
}

/* The type most votes are for, if they are two thirds of all and it is a map type. votes: n of them, sorted by type. */
static kb_addr elect(const kb_go *go, const struct ref *votes, size_t n)
{
	size_t best = 0, best_n = 0;
	for (size_t i = 0, k; i < n; i = k) {
		for (k = i; k < n && votes[k].map_type == votes[i].map_type; k++)
			;
		if (k - i > best_n) {
			best = i;
			best_n = k - i;
		}
	}
	if (!best_n || best_n * 3 < n * 2)
		return 0;
	const kb_type *t = kb_go_type(go, votes[best].map_type);
	return t && t->kind == KB_KIND_MAP ? t->addr : 0;
}

/* refs of one address, mentions first, best names first. */
static kb_code_ref summarise(const kb_go *go, const struct ref *refs, size_t n)
{
	kb_code_ref out = { .addr = refs[0].addr, .users = { KB_NO_ID, KB_NO_ID, KB_NO_ID } };
	unsigned users = 0;
	size_t mentions = 0;
	for (; mentions < n && !refs[mentions].map_type; mentions++) {
		const struct ref *r = &refs[mentions];
		/* Only functions as telling as the best one: what the library does with it is not news. */
		if (users < KB_REF_USERS && r->rank / 2 == refs[0].rank / 2 && (!users || out.users[users - 1] != r->func))
			out.users[users++] = r->func;
	}
	out.runtime_only = refs[0].rank >= RANK_RUNTIME && mentions;
	out.map_type = elect(go, refs + mentions, n - mentions);
	return out;
}

static kb_error *merge(const kb_go *go, struct refs *workers, unsigned nworkers, kb_code_ref **ret, size_t *ret_n)
{
	size_t n = 0, cap = 0, at = 0;
	for (unsigned i = 0; i < nworkers; i++)
		n += workers[i].n;
	struct ref *all = malloc((n + 1) * sizeof(*all));
	if (!all)
		return kb_error_nomem();
	for (unsigned i = 0; i < nworkers; i++) {
		if (workers[i].n)
			memcpy(all + at, workers[i].items, workers[i].n * sizeof(*all));
		at += workers[i].n;
	}
	qsort(all, n, sizeof(*all), by_addr_rank);
	kb_error *err = NULL;
	for (size_t i = 0, k; i < n; i = k) {
		for (k = i; k < n && all[k].addr == all[i].addr; k++)
			;
		if (!KB_ROOM(*ret, *ret_n, cap, REFS_TOTAL)) {
			err = kb_error_nomem();
			break;
		}
		(*ret)[(*ret_n)++] = summarise(go, all + i, k - i);
	}
	free(all);
	return err;
}

kb_error *kb_code_refs(const kb_go *go, const kb_module *m, kb_code_ref **ret, size_t *ret_n)
{
	unsigned nworkers = kb_cpu_count();
	struct scan s = { .go = go, .m = m, .map_lo = KB_ADDR_MAX, .workers = calloc(nworkers, sizeof(*s.workers)) };
	*ret = NULL;
	*ret_n = 0;
	if (!s.workers)
		return kb_error_nomem();
	kb_func_each(&m->tab, collect_map_func, &s);
	kb_error *err = kb_parallel((m->tab.nfunc + CHUNK - 1) / CHUNK, scan_chunk, &s);
	if (!err)
		err = merge(go, s.workers, nworkers, ret, ret_n);
	if (!err && s.unreadable)
		kb_go_gap(go, "%llu bytes of code cannot be read: variables they use may have no name", (unsigned long long)s.unreadable);
	for (unsigned i = 0; i < nworkers; i++) {
		free(s.workers[i].items);
		free(s.workers[i].code);
		free(s.workers[i].targets);
	}
	free(s.workers);
	if (err) {
		free(*ret);
		*ret = NULL;
		*ret_n = 0;
	}
	return err;
}
