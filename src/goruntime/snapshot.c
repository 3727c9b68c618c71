/* The stop. Everything that can be prepared is prepared while the target runs; between stop and resume memory is
 * copied and nothing else is done. What must be of one moment: registers, data and bss, goroutines and their stacks,
 * timers and tiny blocks of the Ps. */
#include "private.h"

#include <stdlib.h>

enum { DEFAULT_STOP_MS = 1000, PS_MAX = 1 << 16, MCACHE_BYTES = 256, HOST_PAGE = 4096, RESIDENT_PIECE = 16 << 20 };
/* More than this of pointer variables in one section is not copied in the stop (6 GB/s: 10 ms), but right behind it. */
#define SECTION_MAX (UINT64_C(64) << 20)
#define TIMER_BYTES_MAX (UINT64_C(16) << 20)

struct ranges {
	kb_range *r;
	size_t n, cap;
	bool failed;
};

static void add(struct ranges *l, kb_addr a, uint64_t n)
{
	if (!a || !n)
		return;
	if (!KB_ROOM(l->r, l->n, l->cap, SIZE_MAX / 64)) {
		l->failed = true;
		return;
	}
	l->r[l->n++] = (kb_range){ a, n };
}

static int by_address(const void *pa, const void *pb)
{
	const kb_range *a = pa, *b = pb;
	return (a->a > b->a) - (a->a < b->a);
}

static void merge(struct ranges *l)
{
	size_t n = 0;
	if (!l->n)
		return;
	qsort(l->r, l->n, sizeof(*l->r), by_address);
	for (size_t i = 1; i < l->n; i++) {
		kb_range *last = &l->r[n], *r = &l->r[i];
		if (r->a > last->a + last->n)
			l->r[++n] = *r;
		else if (r->a + r->n > last->a + last->n)
			last->n = r->a + r->n - last->a;
	}
	l->n = n + 1;
}

static kb_error *capture(kb_go *go, struct ranges *l)
{
	if (l->failed)
		return kb_error_nomem();
	merge(l);
	return l->n ? kb_target_capture_many(go->target, l->r, l->n) : NULL;
}

/* data and bss of all modules, and those of the runtime's variables that lie elsewhere. */
static void static_ranges(kb_go *go, struct ranges *l)
{
	const kb_runtime_vars *v = &go->vars;
	const kb_layout *lay = &go->layout;
	for (size_t i = 0; i < go->nmodules; i++) {
		const kb_module *m = &go->modules[i];
		if (m->edata - m->data <= SECTION_MAX)
			add(l, m->data, m->edata - m->data);
		if (m->ebss - m->bss <= SECTION_MAX)
			add(l, m->bss, m->ebss - m->bss);
	}
	const struct {
		kb_addr a;
		uint64_t n;
	} more[] = {
		{ v->mheap, kb_sizeof(lay, KB_S_mheap) },
		{ v->allgs, 24 },
		{ v->allglen, 8 },
		{ v->allgptr, 8 },
		{ v->allp, 24 },
		{ v->allm, 8 },
		{ v->gcphase, 4 },
		{ v->gc_controller, kb_sizeof(lay, KB_S_gcControllerState) },
		{ v->memstats, kb_sizeof(lay, KB_S_mstats) },
		{ v->work, kb_sizeof(lay, KB_S_workType) },
		{ v->allfin, 8 },
		{ v->fing, 8 },
		{ v->fing_status, 4 },
		{ v->mem_profile_rate, 8 },
		{ v->gc_cleanups, kb_sizeof(lay, KB_S_cleanupQueue) },
	};
	for (size_t i = 0; i < KB_ARRAY_LEN(more); i++)
		add(l, more[i].a, more[i].n);
}

/* ---- the Ps ------------------------------------------------------------------------------------------------------ */

static kb_error *read_ps(kb_go *go)
{
	uint64_t p, n, cap;
	free(go->ps);
	go->ps = NULL;
	go->nps = 0;
	if (!go->vars.allp)
		return NULL;
	KB_TRY(kb_read_slice(go, go->vars.allp, &p, &n, &cap));
	if (n > PS_MAX)
		return kb_error_new(KB_E_CORRUPT, "%llu Ps", (unsigned long long)n);
	go->ps = malloc(n * 8 + 8);
	if (!go->ps)
		return kb_error_nomem();
	KB_TRY(kb_target_read(go->target, p, go->ps, n * 8));
	go->nps = n;
	return NULL;
}

/* Timer heaps are arrays of the heap, which the next timer may move. */
static void timer_ranges(kb_go *go, kb_addr p, struct ranges *l, uint64_t *budget)
{
	const kb_layout *lay = &go->layout;
	kb_addr slice = p + kb_off(lay, KB_F_p_timers), at;
	uint64_t n, cap, size = 8;
	if (kb_has(lay, KB_F_timers_heap)) {
		slice += kb_off(lay, KB_F_timers_heap);
		size = kb_sizeof(lay, KB_S_timerWhen);
	}
	KB_DROP_ERROR kb_error *err = kb_read_slice(go, slice, &at, &n, &cap);
	if (err || n > *budget / (size ? size : 8))
		return;
	*budget -= n * size;
	add(l, at, n * size);
}

static kb_error *capture_ps(kb_go *go)
{
	const kb_layout *lay = &go->layout;
	struct ranges own = { 0 }, theirs = { 0 };
	uint64_t budget = TIMER_BYTES_MAX, mcache;
	KB_TRY(read_ps(go));
	if (!kb_has(lay, KB_F_p_mcache) || !kb_has(lay, KB_F_p_timers))
		return NULL;
	for (size_t i = 0; i < go->nps; i++) {
		add(&own, go->ps[i] + kb_off(lay, KB_F_p_mcache), 8);
		add(&own, go->ps[i] + kb_off(lay, KB_F_p_timers), kb_fsize(lay, KB_F_p_timers));
	}
	kb_error *err = capture(go, &own);
	for (size_t i = 0; !err && i < go->nps; i++) {
		timer_ranges(go, go->ps[i], &theirs, &budget);
		KB_DROP_ERROR kb_error *none = kb_field(go, go->ps[i], KB_F_p_mcache, &mcache);
		if (!none)
			add(&theirs, mcache, MCACHE_BYTES);
	}
	if (!err)
		err = capture(go, &theirs);
	free(own.r);
	free(theirs.r);
	return err;
}

/* ---- the stop ---------------------------------------------------------------------------------------------------- */

static kb_error *in_stop(kb_go *go, const struct ranges *l)
{
	if (l->n)
		KB_TRY(kb_target_capture_many(go->target, l->r, l->n));
	kb_error *err = capture_ps(go);
	if (err) {
		kb_go_gap(go, "Ps: %s", err->message);
		kb_error_free(err);
	}
	return kb_goroutines_in_stop(go);
}

static kb_error *stop_and_take(kb_go *go, const kb_snapshot_options *opt, const struct ranges *l)
{
	unsigned ms = opt && opt->max_stop_ms ? opt->max_stop_ms : DEFAULT_STOP_MS;
	KB_TRY(kb_target_stop(go->target, ms));
	kb_error *err = in_stop(go, l);
	if (!err && opt && opt->whole_stop) {
		go->stopped = true;
		return NULL;
	}
	kb_error *resume = kb_target_resume(go->target);
	if (err) {
		kb_error_free(resume);
		return err;
	}
	return resume;
}

/* May some of [a, a+n) be swapped out? Then what is not resident is not nothing. */
static bool may_be_swapped(const kb_go *go, kb_addr a, uint64_t n)
{
	kb_resident *r;
	size_t nr;
	bool swapped = false;
	KB_DROP_ERROR kb_error *err = kb_target_smaps(go->target, &r, &nr);
	if (err)
		return true;
	for (size_t i = 0; i < nr; i++)
		swapped |= r[i].swap && r[i].start < a + n && a < r[i].start + r[i].size;
	free(r);
	return swapped;
}

/* Reads only the pages that are there: a section of gigabytes is mostly untouched, and reading would make its pages
 * ours and the target's. False when the kernel does not say which. */
static bool read_resident(kb_go *go, kb_addr a, uint64_t n, uint8_t *bytes)
{
	uint8_t there[RESIDENT_PIECE / HOST_PAGE / 8];
	kb_addr end = a + n;
	if (may_be_swapped(go, a, n))
		return false;
	for (kb_addr at = a & ~(kb_addr)(HOST_PAGE - 1); at < end; at += RESIDENT_PIECE) {
		KB_DROP_ERROR kb_error *err = kb_target_resident_bits(go->target, at, RESIDENT_PIECE, there);
		if (err)
			return false;
		for (size_t i = 0; i < RESIDENT_PIECE / HOST_PAGE; i++) {
			kb_addr from = at + i * HOST_PAGE, to = from + HOST_PAGE;
			from = from < a ? a : from;
			to = to > end ? end : to;
			if (from < to && (there[i >> 3] >> (i & 7) & 1))
				kb_target_read_holes(go->target, from, bytes + (from - a), to - from);
		}
	}
	return true;
}

static kb_error *keep_section(kb_go *go, kb_addr a, uint64_t n, uint8_t **bytes, size_t *size)
{
	free(*bytes);
	*size = 0;
	*bytes = calloc(n + 8, 1); /* large ones are untouched pages */
	if (!*bytes)
		return kb_error_nomem();
	if ((n <= SECTION_MAX || !read_resident(go, a, n, *bytes)) &&
	    kb_target_read_holes(go->target, a, *bytes, n) < n)
		kb_go_gap(go, "some of the variables at 0x%llx … 0x%llx cannot be read", (unsigned long long)a,
			  (unsigned long long)(a + n));
	*size = n;
	return NULL;
}

static kb_error *keep_variables(kb_go *go)
{
	for (size_t i = 0; i < go->nmodules; i++) {
		kb_module *m = &go->modules[i];
		KB_TRY(keep_section(go, m->data, m->edata - m->data, &m->data_bytes, &m->data_size));
		KB_TRY(keep_section(go, m->bss, m->ebss - m->bss, &m->bss_bytes, &m->bss_size));
	}
	return NULL;
}

static kb_error *load_rest(kb_go *go, const kb_progress *progress)
{
	KB_TRY(keep_variables(go));
	kb_progress_tell(progress, "spans", -1);
	KB_TRY(kb_spans_load(go));
	KB_TRY(kb_specials_load(go));
	kb_progress_tell(progress, "goroutines", -1);
	KB_TRY(kb_goroutines_load(go));
	KB_TRY(kb_buckets_load(go));
	kb_stats_load(go);
	go->snapshot_taken = true;
	return NULL;
}

kb_error *kb_go_snapshot(kb_go *go, const kb_snapshot_options *opt, const kb_progress *progress)
{
	struct ranges l = { 0 };
	if (go->snapshot_taken)
		return kb_error_new(KB_E_USAGE, "snapshot taken already");
	kb_progress_tell(progress, "variables", -1);
	KB_TRY(kb_gvars_load(go));
	kb_progress_tell(progress, "stacks", -1);
	KB_TRY(kb_goroutines_preread(go));
	static_ranges(go, &l);
	merge(&l);
	kb_progress_tell(progress, "stop", -1);
	kb_error *err = l.failed ? kb_error_nomem() : stop_and_take(go, opt, &l);
	free(l.r);
	if (!err)
		err = load_rest(go, progress);
	if (err)
		kb_error_free(kb_go_snapshot_done(go));
	return err;
}

kb_error *kb_go_snapshot_done(kb_go *go)
{
	if (!go->stopped)
		return NULL;
	go->stopped = false;
	return kb_target_resume(go->target);
}
