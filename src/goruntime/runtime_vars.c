/* Where the runtime's own variables are. With a symbol table: by name. Without: by the data that well-known functions
 * refer to (the function table survives stripping), and, for those that everything rests on, by what must be true of
 * their contents. Recipes hold for Go 1.19 to 1.27; each variable has several because the linker drops functions that
 * nobody calls. */
#include "private.h"

#include <stdlib.h>

enum {
	CODE_MAX = 1 << 18,
	REFS_MAX = 4096,
	SAME_NAME_MAX = 4,
	BSS_SCAN_MAX = 64 << 20,
	GOROUTINES_LOOKED_AT = 64,
	PS_MAX = 1 << 16
};

enum section { BSS, NOPTRBSS, DATA, NOPTRDATA };
enum how {
	LOWEST,  /* the lowest address referred to */
	ONLY,    /* the only one */
	COMMON,  /* the only one that all the functions refer to */
	UNSCHED, /* as COMMON, addresses inside sched left out */
	POINTER, /* as COMMON, contents are 0 or a mapped address */
};

#define VAR(v) offsetof(kb_runtime_vars, v)
#define NO_FIELD KB_F_COUNT

/* clang-format off */
static const struct {
	size_t var;
	const char *symbol;
	enum { OPTIONAL, WANTED, VITAL } need;
} variables[] = {
	{ VAR(mheap), "runtime.mheap_", VITAL },
	{ VAR(allgs), "runtime.allgs", VITAL },
	{ VAR(allglen), "runtime.allglen", OPTIONAL },
	{ VAR(allgptr), "runtime.allgptr", OPTIONAL },
	{ VAR(allp), "runtime.allp", WANTED },
	{ VAR(sched), "runtime.sched", WANTED },
	{ VAR(allm), "runtime.allm", WANTED },
	{ VAR(semtable), "runtime.semtable", OPTIONAL },
	{ VAR(fing), "runtime.fing", OPTIONAL },
	{ VAR(fing_status), "runtime.fingStatus", OPTIONAL },
	{ VAR(allfin), "runtime.allfin", OPTIONAL },
	{ VAR(gc_cleanups), "runtime.gcCleanups", OPTIONAL },
	{ VAR(mbuckets), "runtime.mbuckets", OPTIONAL },
	{ VAR(mem_profile_rate), "runtime.MemProfileRate", OPTIONAL },
	{ VAR(itab_table), "runtime.itabTable", OPTIONAL },
	{ VAR(pollcache), "runtime.pollcache", OPTIONAL },
	{ VAR(gcphase), "runtime.gcphase", WANTED },
	{ VAR(gc_controller), "runtime.gcController", WANTED },
	{ VAR(memstats), "runtime.memstats", OPTIONAL },
	{ VAR(work), "runtime.work", OPTIONAL },
	{ VAR(m0), "runtime.m0", OPTIONAL },
	{ VAR(epfd), "runtime.epfd", OPTIONAL },
};

/* In order of trust; sched before allm, which needs it. */
static const struct recipe {
	size_t var;
	const char *functions[3];
	enum section section;
	enum how how;
	enum kb_field_id field; /* the address found is that of this field of the variable */
} recipes[] = {
	{ VAR(mheap), { "runtime.findObject" }, BSS, ONLY, KB_F_mheap_arenas },
	{ VAR(mheap), { "runtime.mallocinit" }, BSS, LOWEST, NO_FIELD },
	{ VAR(mheap), { "runtime.(*mheap).sysAlloc" }, BSS, ONLY, KB_F_mheap_arenaHints },
	{ VAR(mheap), { "runtime.(*mcache).prepareForSweep" }, BSS, ONLY, KB_F_mheap_sweepgen },
	{ VAR(allgs), { "runtime.forEachG" }, BSS, LOWEST, NO_FIELD },
	{ VAR(allgptr), { "runtime.forEachGRace" }, BSS, ONLY, NO_FIELD },
	{ VAR(allglen), { "runtime.forEachGRace" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(allp), { "runtime.gcMarkTinyAllocs" }, BSS, LOWEST, NO_FIELD },
	{ VAR(allp), { "runtime.preemptall" }, BSS, LOWEST, NO_FIELD },
	{ VAR(allp), { "runtime.flushmcache" }, BSS, LOWEST, NO_FIELD },
	{ VAR(sched), { "runtime.markrootFreeGStacks" }, BSS, LOWEST, KB_F_schedt_gFree },
	{ VAR(sched), { "runtime.acquireSudog" }, BSS, LOWEST, KB_F_schedt_sudoglock },
	{ VAR(sched), { "runtime.GOMAXPROCS" }, BSS, LOWEST, KB_F_schedt_lock },
	{ VAR(allm), { "runtime.mcommoninit", "runtime.mexit", "runtime.schedtrace" }, BSS, UNSCHED, NO_FIELD },
	{ VAR(allm), { "runtime.mcommoninit", "runtime.mexit" }, BSS, UNSCHED, NO_FIELD },
	{ VAR(semtable), { "runtime.semacquire1" }, BSS, ONLY, NO_FIELD },
	{ VAR(semtable), { "runtime.semrelease1" }, BSS, ONLY, NO_FIELD },
	{ VAR(fing), { "runtime.runfinq" }, BSS, ONLY, NO_FIELD },
	{ VAR(fing), { "runtime.runFinalizers" }, BSS, ONLY, NO_FIELD },
	{ VAR(fing_status), { "runtime.createfing" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(fing_status), { "runtime.finalizercommit" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(mbuckets), { "runtime.mProf_FlushLocked" }, BSS, ONLY, NO_FIELD },
	{ VAR(mem_profile_rate), { "runtime.profilealloc" }, NOPTRDATA, ONLY, NO_FIELD },
	{ VAR(mem_profile_rate), { "runtime.allocmcache" }, NOPTRDATA, ONLY, NO_FIELD },
	{ VAR(mem_profile_rate), { "runtime.mallocgcLarge" }, NOPTRDATA, ONLY, NO_FIELD },
	{ VAR(mem_profile_rate), { "runtime.profilealloc", "runtime.allocmcache" }, NOPTRBSS, COMMON, NO_FIELD },
	{ VAR(itab_table), { "runtime.itabAdd" }, DATA, ONLY, NO_FIELD },
	{ VAR(pollcache), { "internal/poll.runtime_pollOpen" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(pollcache), { "internal/poll.runtime_pollClose" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(gcphase), { "runtime.freeSomeWbufs", "runtime.stackpoolfree" }, NOPTRBSS, COMMON, NO_FIELD },
	{ VAR(gcphase), { "runtime.gcWaitOnMark" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(gcphase), { "runtime.GC" }, NOPTRBSS, ONLY, NO_FIELD },
	{ VAR(gc_controller), { "runtime.gcResetMarkState" }, NOPTRBSS, ONLY, KB_F_gcControllerState_heapLive },
	{ VAR(gc_controller), { "runtime.sysAlloc" }, NOPTRBSS, ONLY, KB_F_gcControllerState_mappedReady },
	{ VAR(memstats), { "runtime.recordspan" }, NOPTRBSS, ONLY, KB_F_mstats_other_sys },
	{ VAR(memstats), { "runtime.newBucket" }, NOPTRBSS, ONLY, KB_F_mstats_buckhash_sys },
	{ VAR(work), { "runtime.endCheckmarks" }, BSS, LOWEST, NO_FIELD },
	{ VAR(work), { "runtime.gcMarkRootCheck" }, BSS, LOWEST, KB_F_workType_markrootNext },
	{ VAR(allfin), { "runtime.markroot", "runtime.queuefinalizer" }, NOPTRBSS, POINTER, NO_FIELD },
	{ VAR(gc_cleanups), { "runtime.runCleanups" }, BSS, LOWEST, NO_FIELD },
	{ VAR(m0), { "runtime.mstart1" }, BSS, ONLY, NO_FIELD },
	{ VAR(epfd), { "runtime.netpoll" }, NOPTRDATA, ONLY, NO_FIELD },
};
/* clang-format on */

static kb_addr *slot_of(kb_go *go, size_t var)
{
	return (kb_addr *)(void *)((char *)&go->vars + var);
}

/* ---- functions and what they refer to ---------------------------------------------------------------------------- */

struct finder {
	kb_go *go;
	kb_map wanted; /* hash of a name → index in found */
	struct found {
		const char *name;
		kb_func f[SAME_NAME_MAX];
		unsigned n;
	} found[KB_ARRAY_LEN(recipes) * 3];
	size_t nfound;
	uint8_t *code;
};

static kb_error *want_function(struct finder *s, const char *name)
{
	uint64_t key = kb_hash_bytes(name, strlen(name)) >> 1, i;
	if (kb_map_get(&s->wanted, key, &i))
		return NULL;
	if (!kb_map_put(&s->wanted, key, s->nfound))
		return kb_error_nomem();
	s->found[s->nfound++].name = name;
	return NULL;
}

static bool look_at(void *ctx, const kb_func *f)
{
	struct finder *s = ctx;
	uint64_t i;
	if (!kb_map_get(&s->wanted, kb_hash_bytes(f->name, strlen(f->name)) >> 1, &i) ||
	    strcmp(s->found[i].name, f->name))
		return true;
	if (s->found[i].n < SAME_NAME_MAX)
		s->found[i].f[s->found[i].n++] = *f;
	return true;
}

static kb_error *find_functions(struct finder *s)
{
	for (size_t i = 0; i < KB_ARRAY_LEN(recipes); i++)
		for (size_t k = 0; k < 3 && recipes[i].functions[k]; k++)
			KB_TRY(want_function(s, recipes[i].functions[k]));
	kb_func_each(&s->go->modules[0].tab, look_at, s);
	return NULL;
}

static void section_range(const kb_module *m, enum section sec, kb_addr *lo, kb_addr *hi)
{
	const kb_addr range[][2] = { [BSS] = { m->bss, m->ebss },
				     [NOPTRBSS] = { m->noptrbss, m->enoptrbss },
				     [DATA] = { m->data, m->edata },
				     [NOPTRDATA] = { m->noptrdata, m->enoptrdata } };
	*lo = range[sec][0];
	*hi = range[sec][1];
}

/* A sorted set of addresses. */
struct refs {
	kb_addr a[REFS_MAX];
	size_t n;
};

static int by_value(const void *pa, const void *pb)
{
	kb_addr a = *(const kb_addr *)pa, b = *(const kb_addr *)pb;
	return (a > b) - (a < b);
}

static void sort_unique(struct refs *r)
{
	size_t n = 0;
	qsort(r->a, r->n, sizeof(r->a[0]), by_value);
	for (size_t i = 0; i < r->n; i++)
		if (!i || r->a[i] != r->a[i - 1])
			r->a[n++] = r->a[i];
	r->n = n;
}

/* What the function refers to in the section. False when the program has no such function. */
static bool refs_of(struct finder *s, const char *name, enum section sec, struct refs *ret)
{
	kb_addr lo, hi, all[REFS_MAX];
	uint64_t i;
	section_range(&s->go->modules[0], sec, &lo, &hi);
	ret->n = 0;
	if (!kb_map_get(&s->wanted, kb_hash_bytes(name, strlen(name)) >> 1, &i) || !s->found[i].n)
		return false;
	for (unsigned k = 0; k < s->found[i].n; k++) {
		const kb_func *f = &s->found[i].f[k];
		size_t size = f->end - f->entry < CODE_MAX ? (size_t)(f->end - f->entry) : CODE_MAX;
		KB_DROP_ERROR kb_error *err = kb_target_read(s->go->target, f->entry, s->code, size);
		if (err)
			return false;
		size_t n = kb_code_data_refs((kb_bytes){ s->code, size }, f->entry, all, REFS_MAX);
		for (size_t j = 0; j < n && ret->n < REFS_MAX; j++)
			if (all[j] >= lo && all[j] < hi)
				ret->a[ret->n++] = all[j];
	}
	sort_unique(ret);
	return ret->n;
}

static void intersect(struct refs *a, const struct refs *b)
{
	size_t n = 0;
	for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
		if (a->a[i] == b->a[j])
			a->a[n++] = a->a[i];
		if (a->a[i] <= b->a[j])
			i++;
		else
			j++;
	}
	a->n = n;
}

static bool inside_sched(const kb_go *go, kb_addr a)
{
	return go->vars.sched && a - go->vars.sched < kb_sizeof(&go->layout, KB_S_schedt);
}

/* 2: a mapped pointer; 1: zero; 0: neither. */
static int pointer_inside(const kb_go *go, kb_addr a)
{
	uint64_t v;
	KB_DROP_ERROR kb_error *err = kb_target_read_u64(go->target, a, &v);
	if (err)
		return 0;
	return !v ? 1 : !(v & 7) && kb_target_mapping_at(go->target, v) ? 2 : 0;
}

static void drop_unlikely(const kb_go *go, enum how how, struct refs *r)
{
	size_t n = 0;
	int best = 1;
	for (size_t i = 0; how == POINTER && i < r->n; i++)
		if (pointer_inside(go, r->a[i]) == 2)
			best = 2;
	for (size_t i = 0; i < r->n; i++)
		if (how == UNSCHED ? !inside_sched(go, r->a[i]) : pointer_inside(go, r->a[i]) >= best)
			r->a[n++] = r->a[i];
	r->n = n;
}

/* 0 when the recipe does not apply, or is ambiguous. */
static kb_addr cook(struct finder *s, const struct recipe *r)
{
	struct refs all, more;
	const kb_go *go = s->go;
	if (r->field != NO_FIELD && !kb_has(&go->layout, r->field))
		return 0;
	for (size_t k = 0; k < 3 && r->functions[k]; k++) {
		if (!refs_of(s, r->functions[k], r->section, k ? &more : &all))
			return 0;
		if (k)
			intersect(&all, &more);
	}
	if (r->how == UNSCHED || r->how == POINTER)
		drop_unlikely(go, r->how, &all);
	if (!all.n || (r->how != LOWEST && all.n != 1))
		return 0;
	return all.a[0] - (r->field == NO_FIELD ? 0 : kb_off(&go->layout, r->field));
}

/* ---- what must be true of the contents --------------------------------------------------------------------------- */

static bool check_g(const kb_go *go, kb_addr g, uint64_t *ret_goid)
{
	const kb_layout *l = &go->layout;
	uint8_t buf[1024];
	uint32_t size = kb_sizeof(l, KB_S_g);
	kb_bytes b = { buf, size };
	if (!size || size > sizeof(buf) || !g || (g & 7))
		return false;
	KB_DROP_ERROR kb_error *err = kb_target_read(go->target, g, buf, size);
	if (err)
		return false;
	uint64_t lo = kb_field_of(go, b, KB_F_g_stack), hi = 0, guard = kb_field_of(go, b, KB_F_g_stackguard0);
	uint32_t status = (uint32_t)kb_field_of(go, b, KB_F_g_atomicstatus) & ~UINT32_C(0x1000);
	kb_get_u64(b, (uint64_t)kb_off(l, KB_F_g_stack) + 8, &hi);
	*ret_goid = kb_field_of(go, b, KB_F_g_goid);
	if (status > KB_G_DEADEXTRA || status == 7 || *ret_goid > UINT64_C(1) << 48)
		return false;
	if (!lo && !hi)
		return status == KB_G_DEAD || status == KB_G_IDLE || status == KB_G_DEADEXTRA;
	return lo < hi && hi - lo <= UINT64_C(1) << 31 && !(lo & 1023) &&
	       ((guard > lo && guard <= hi) || guard > 0xffffffffffff0000);
}

/* How many different goroutines the slice at a holds (of the first few); 0 when it is no []*g. */
static unsigned check_allgs(const kb_go *go, kb_addr a)
{
	kb_addr p, g[GOROUTINES_LOOKED_AT], ids[GOROUTINES_LOOKED_AT];
	uint64_t len, cap, goid;
	unsigned nids = 0;
	KB_DROP_ERROR kb_error *err = kb_read_slice(go, a, &p, &len, &cap);
	if (err || !len || cap > 1 << 28 || (p & 7))
		return 0;
	size_t n = len < GOROUTINES_LOOKED_AT ? len : GOROUTINES_LOOKED_AT;
	err = kb_target_read(go->target, p, g, n * 8);
	for (size_t i = 0; i < n; i++) {
		if (err || !check_g(go, g[i], &goid))
			return 0;
		for (unsigned k = 0; k < nids; k++)
			if (ids[k] == goid)
				return 0;
		if (goid)
			ids[nids++] = goid;
	}
	return nids;
}

/* A slice of *p whose ids count from 0 and whose caches hold a span. */
static unsigned check_allp(const kb_go *go, kb_addr a)
{
	kb_addr ps[64];
	uint64_t p, len, cap, id, status;
	KB_DROP_ERROR kb_error *err = kb_read_slice(go, a, &p, &len, &cap);
	if (err || !len || cap > PS_MAX || (p & 7))
		return 0;
	size_t n = len < KB_ARRAY_LEN(ps) ? len : KB_ARRAY_LEN(ps);
	err = kb_target_read(go->target, p, ps, n * 8);
	for (size_t i = 0; i < n && !err; i++) {
		err = kb_field(go, ps[i], KB_F_p_id, &id);
		if (!err)
			err = kb_field(go, ps[i], KB_F_p_status, &status);
		if (!err && ((uint32_t)id != i || (uint32_t)status > 4))
			return 0;
	}
	return err ? 0 : (unsigned)n;
}

/* Tries every word of bss that could begin the variable; quick(word, next) filters. */
struct search {
	unsigned (*check)(const kb_go *, kb_addr);
	uint64_t slice_at; /* a slice with 0 < len ≤ cap lies here inside the variable */
};

static bool looks_like_slice(const uint8_t *p)
{
	uint64_t ptr = kb_load64(p), len = kb_load64(p + 8), cap = kb_load64(p + 16);
	return ptr >= 4096 && !(ptr & 7) && ptr < UINT64_C(1) << 47 && len && len <= cap && cap <= UINT64_C(1) << 32;
}

static size_t count_word(const uint8_t *bss, size_t n, uint64_t word)
{
	size_t hits = 0;
	for (size_t i = 0; i + 8 <= n; i += 8)
		hits += kb_load64(bss + i) == word;
	return hits;
}

/* The candidate with the best score; twin: its pointer must occur once more in bss (allgptr beside allgs). */
static kb_addr search_bss(const kb_go *go, const struct search *s, bool twin)
{
	const kb_module *m = &go->modules[0];
	kb_addr lo = (m->bss + 7) & ~UINT64_C(7), best = 0;
	size_t n = m->ebss - lo < BSS_SCAN_MAX ? (size_t)(m->ebss - lo) : BSS_SCAN_MAX;
	unsigned best_score = 0;
	KB_FREE uint8_t *bss = malloc(n + 8);
	if (!bss)
		return 0;
	kb_target_read_holes(go->target, lo, bss, n);
	for (size_t i = s->slice_at; i + 24 <= n; i += 8) {
		if (!looks_like_slice(bss + i))
			continue;
		kb_addr a = lo + i - s->slice_at;
		unsigned score = s->check(go, a);
		bool in_m0 = go->vars.m0 && a - go->vars.m0 < kb_sizeof(&go->layout, KB_S_m);
		if (score <= best_score || in_m0 || (twin && count_word(bss, n, kb_load64(bss + i)) < 2))
			continue;
		best_score = score;
		best = a;
	}
	return best;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static void by_symbols(kb_go *go)
{
	if (!go->program || !kb_program_has_symbols(go->program))
		return;
	for (size_t i = 0; i < KB_ARRAY_LEN(variables); i++) {
		kb_symbol sym;
		KB_DROP_ERROR kb_error *err = kb_program_find_symbol(go->program, variables[i].symbol, &sym);
		if (!err)
			*slot_of(go, variables[i].var) = sym.addr + go->bias;
	}
}

/* Fills what is still missing. */
static kb_error *by_recipes(kb_go *go)
{
	KB_FREE struct finder *s = calloc(1, sizeof(*s));
	KB_FREE uint8_t *code = malloc(CODE_MAX);
	if (!s || !code)
		return kb_error_nomem();
	s->go = go;
	s->code = code;
	kb_error *err = find_functions(s);
	for (size_t i = 0; !err && i < KB_ARRAY_LEN(recipes); i++) {
		kb_addr *a = slot_of(go, recipes[i].var);
		if (*a)
			continue;
		*a = cook(s, &recipes[i]);
		/* A recipe that leads astray must not keep the next one from being tried. */
		if ((recipes[i].var == VAR(mheap) && *a && !kb_mheap_check(go, *a)) ||
		    (recipes[i].var == VAR(allgs) && *a && !check_allgs(go, *a)) ||
		    (recipes[i].var == VAR(allp) && *a && !check_allp(go, *a)))
			*a = 0;
	}
	kb_map_free(&s->wanted);
	return err;
}

static bool any_missing(kb_go *go)
{
	static const size_t always_there[] = { VAR(mheap), VAR(allgs),   VAR(allp),         VAR(sched),
					       VAR(allm),  VAR(gcphase), VAR(gc_controller) };
	for (size_t i = 0; i < KB_ARRAY_LEN(always_there); i++)
		if (!*slot_of(go, always_there[i]))
			return true;
	return false;
}

/* The three on which everything rests must hold what they should; else they are looked for by their contents. */
static void verify(kb_go *go)
{
	const kb_layout *l = &go->layout;
	if (kb_has(l, KB_F_mheap_allspans) && (!go->vars.mheap || !kb_mheap_check(go, go->vars.mheap)))
		go->vars.mheap =
			search_bss(go, &(struct search){ kb_mheap_check, kb_off(l, KB_F_mheap_allspans) }, false);
	if (!go->vars.allgs || !check_allgs(go, go->vars.allgs))
		go->vars.allgs = search_bss(go, &(struct search){ check_allgs, 0 }, true);
	if (!go->vars.allp || !check_allp(go, go->vars.allp))
		go->vars.allp = search_bss(go, &(struct search){ check_allp, 0 }, false);
}

kb_error *kb_runtime_vars_find(kb_go *go)
{
	by_symbols(go);
	if (any_missing(go))
		KB_TRY(by_recipes(go));
	verify(go);
	for (size_t i = 0; i < KB_ARRAY_LEN(variables); i++) {
		if (*slot_of(go, variables[i].var) || variables[i].need == OPTIONAL)
			continue;
		if (variables[i].need == VITAL)
			return kb_error_new(KB_E_UNSUPPORTED, "%s: %s cannot be found (%s)", go->info.version,
					    variables[i].symbol, go->layout_origin.text);
		kb_go_gap(go, "%s cannot be found", variables[i].symbol);
	}
	return NULL;
}
