/* The goroutines as the stop found them. */
#include "stacks.h"

#include <stdlib.h>

static bool exists(enum kb_gstatus status)
{
	switch (status) {
	case KB_G_RUNNABLE: case KB_G_RUNNING: case KB_G_SYSCALL: case KB_G_WAITING:
	case KB_G_COPYSTACK: case KB_G_PREEMPTED: case KB_G_LEAKED:
		return true;
	default: /* idle, dead, or a number no version has */
		return false;
	}
}

static bool waits(enum kb_gstatus status)
{
	return status == KB_G_WAITING || status == KB_G_LEAKED;
}

static const char *wait_reason(const kb_go *go, const kb_goroutine *g, kb_bytes b)
{
	const char *r = waits(g->status) ? kb_waitreason(&go->layout, (uint32_t)kb_field_of(go, b, KB_F_g_waitreason)) : NULL;
	return r ? r : "";
}

struct loading {
	kb_go *go;
	kb_map m_index; /* address of an m → index */
	kb_map labels;  /* seen before */
};

static const struct kb_mrec *m_at(const struct loading *l, kb_addr m)
{
	uint64_t i;
	return m && kb_map_get(&l->m_index, m, &i) ? &l->go->stacks->ms[i] : NULL;
}

static void fill_thread(const struct loading *l, kb_goroutine *g, kb_bytes b)
{
	g->m = kb_field_of(l->go, b, KB_F_g_m);
	kb_addr lockedm = kb_field_of(l->go, b, KB_F_g_lockedm);
	const struct kb_mrec *m = m_at(l, g->m), *on = m ? m : m_at(l, lockedm);
	g->locked = lockedm != 0;
	g->tid = on ? (int32_t)on->procid : 0;
	g->in_cgo = g->status == KB_G_SYSCALL && m && m->incgo;
}

static void fill_stack(const kb_go *go, kb_goroutine *g, struct kb_gx *x, kb_bytes b)
{
	const kb_layout *l = &go->layout;
	kb_addr stack = kb_off(l, KB_F_g_stack);
	kb_get_u64(b, stack + kb_off(l, KB_F_stack_lo), &g->stack_lo);
	kb_get_u64(b, stack + kb_off(l, KB_F_stack_hi), &g->stack_hi);
	struct kb_start st = kb_start_of(go, b, x->m);
	if (g->stack_lo >= g->stack_hi || g->stack_hi - g->stack_lo > 2 * KB_MAX_STACK) {
		g->stack_lo = g->stack_hi = 0;
		st = (struct kb_start){ .flags = KB_GX_NO_WALK };
	}
	g->pc = st.pc;
	g->sp = st.sp;
	g->from_registers = st.flags & KB_GX_REGS;
	x->flags = st.flags;
	x->defer = kb_field_of(go, b, KB_F_g_defer);
	x->panic = kb_field_of(go, b, KB_F_g_panic);
	kb_get_u64(b, kb_off(l, KB_F_g_sched) + kb_off(l, KB_F_gobuf_ctxt), &x->ctxt);
	if (kb_field_of(go, b, KB_F_g_asyncSafePoint))
		x->xregs = kb_field_of(go, b, KB_F_g_xRegs);
}

static void fill(struct loading *l, kb_goroutine *g, struct kb_gx *x, kb_bytes b)
{
	kb_go *go = l->go;
	g->goid = kb_field_of(go, b, KB_F_g_goid);
	g->parent_goid = kb_field_of(go, b, KB_F_g_parentGoid);
	g->wait_reason = wait_reason(go, g, b);
	g->wait_since_ns = waits(g->status) ? (int64_t)kb_field_of(go, b, KB_F_g_waitsince) : 0;
	g->gopc = kb_field_of(go, b, KB_F_g_gopc);
	g->startpc = kb_field_of(go, b, KB_F_g_startpc);
	fill_thread(l, g, b);
	fill_stack(go, g, x, b);
	g->is_system = kb_goroutine_is_system(go, g);
	g->labels = kb_goroutine_labels(go, kb_field_of(go, b, KB_F_g_labels), &l->labels);
}

/* ---- can it be walked to its end? --------------------------------------------------------------------------------------- */

enum { CHUNK = 256 };

static kb_error *walk_one(const kb_go *go, uint32_t i)
{
	kb_goroutine *g = &go->goroutines[i];
	struct kb_stack_copy stack;
	struct kb_walk w;
	struct kb_wframe f;
	kb_error *e = kb_stack_open(go, g, &stack);
	if (e && e->code != KB_E_CORRUPT)
		return e;
	kb_error_free(e);
	kb_walk_start(&w, go, i, &stack);
	g->conservative = (go->stacks->gx[i].flags & (KB_GX_SUSPECT | KB_GX_REGS | KB_GX_RUNNING)) != 0;
	while (kb_walk_next(&w, &f))
		g->conservative |= (f.site->flags & (KB_SITE_ASYNC | KB_SITE_KEEPS_REGS | KB_SITE_REFLECT)) != 0;
	g->unwind_failed = w.state != KB_WALK_DONE;
	g->conservative |= g->unwind_failed;
	kb_stack_close(&stack);
	return NULL;
}

static kb_error *walk_chunk(void *ctx, unsigned worker, size_t chunk)
{
	const kb_go *go = ctx;
	(void)worker;
	for (size_t i = chunk * CHUNK; i < (chunk + 1) * CHUNK && i < go->ngoroutines; i++)
		KB_TRY(walk_one(go, (uint32_t)i));
	return NULL;
}

static void tell_gaps(const kb_go *go)
{
	size_t failed = 0;
	for (size_t i = 0; i < go->ngoroutines; i++)
		failed += go->goroutines[i].unwind_failed;
	if (failed)
		kb_go_gap(go, "the stacks of %zu of %zu goroutines could not be walked to their end: read word by word", failed,
			  go->ngoroutines);
	if (go->stacks->missed)
		kb_go_gap(go, "%llu goroutines that started just before the stop are missing",
			  (unsigned long long)go->stacks->missed);
}

/* ---- loading ---------------------------------------------------------------------------------------------------------------- */

static kb_error *fill_all(struct loading *l)
{
	kb_go *go = l->go;
	struct kb_stacks *s = go->stacks;
	size_t all = s->n + s->nnew;
	KB_TRY(kb_gs_after_stop(go));
	go->goroutines = calloc(all + 1, sizeof *go->goroutines);
	s->gx = calloc(all + 1, sizeof *s->gx);
	if (!go->goroutines || !s->gx)
		return kb_error_nomem();
	for (size_t i = 0; i < s->nms; i++)
		if (!kb_map_put(&l->m_index, s->ms[i].m, i))
			return kb_error_nomem();
	for (size_t i = 0; i < all; i++) {
		kb_bytes b = kb_g_bytes(s, i);
		enum kb_gstatus status = (enum kb_gstatus)(kb_field_of(go, b, KB_F_g_atomicstatus) & 0xfff);
		if (!exists(status))
			continue;
		kb_goroutine *g = &go->goroutines[go->ngoroutines];
		g->g = i < s->n ? s->gs[i] : s->new_gs[i - s->n];
		g->status = status;
		s->gx[go->ngoroutines].m = s->m_of[i];
		fill(l, g, &s->gx[go->ngoroutines++], b);
	}
	return NULL;
}

/* Only g bytes are needed to here; stacks are read from the target's captures. */
static void drop_copies(struct kb_stacks *s)
{
	free(s->before), free(s->now), free(s->new_bytes), free(s->granges), free(s->ranges);
	free(s->off), free(s->by_addr), free(s->sranges), free(s->m_of), free(s->gs), free(s->new_gs), free(s->mask),
		free(s->scratch);
	s->before = s->now = s->new_bytes = s->scratch = NULL;
	s->granges = s->ranges = s->sranges = NULL;
	s->off = s->mask = s->gs = s->new_gs = NULL;
	s->by_addr = s->m_of = NULL;
	s->n = s->nnew = s->ngranges = s->nranges = s->ranges_cap = s->new_cap = 0;
}

kb_error *kb_goroutines_load(kb_go *go)
{
	struct loading l = { .go = go };
	kb_error *e = fill_all(&l);
	kb_map_free(&l.m_index);
	kb_map_free(&l.labels);
	KB_TRY(e);
	drop_copies(go->stacks);
	KB_TRY(kb_parallel((go->ngoroutines + CHUNK - 1) / CHUNK, walk_chunk, go));
	tell_gaps(go);
	return NULL;
}

void kb_goroutines_free(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	free(go->goroutines);
	go->goroutines = NULL;
	go->ngoroutines = 0;
	if (!s)
		return;
	drop_copies(s);
	kb_sites_free(s->sites);
	free(s->ms);
	free(s->mbuf);
	free(s->gx);
	free(s);
	go->stacks = NULL;
}

const kb_goroutine *kb_go_goroutines(const kb_go *go, size_t *ret_n)
{
	*ret_n = go->ngoroutines;
	return go->goroutines;
}
