/* The goroutines before and in the stop. All g structs and stacks are copied while the target runs; in the stop the g structs are
 * copied again, and only the stacks of those that ran in between. What is done inside the stop decides how long the target
 * stands still: nothing is parsed and nothing grows there beyond a comparison. */
#include "stacks.h"

#include <stdlib.h>

#define JOIN_GAP 1024u            /* bytes between two g structs that are cheaper to read than to skip */
#define RANGE_MAX 65536u           /* a range is compared while it is in the cache */

/* ---- allgs -------------------------------------------------------------------------------------------------------------- */

/* allglen is written after allgptr, so it is read first (runtime/proc.go, atomicAllG). */
static kb_error *read_allgs(const kb_go *go, kb_addr *ret_ptr, uint64_t *ret_n)
{
	const kb_runtime_vars *v = &go->vars;
	if (v->allglen && v->allgptr) {
		KB_TRY(kb_target_read_u64(go->target, v->allglen, ret_n));
		KB_TRY(kb_target_read_u64(go->target, v->allgptr, ret_ptr));
	} else if (v->allgs) {
		uint64_t cap;
		KB_TRY(kb_read_slice(go, v->allgs, ret_ptr, ret_n, &cap));
	} else {
		return kb_error_new(KB_E_UNSUPPORTED, "the list of goroutines (runtime.allgs) was not found");
	}
	if (*ret_n > KB_MAX_GOROUTINES)
		return kb_error_new(KB_E_CORRUPT, "%llu goroutines cannot be", (unsigned long long)*ret_n);
	return NULL;
}

static int by_g(const void *a, const void *b, void *gs)
{
	kb_addr x = ((const kb_addr *)gs)[*(const uint32_t *)a], y = ((const kb_addr *)gs)[*(const uint32_t *)b];
	return x < y ? -1 : x > y;
}

/* Lays the g structs out in one buffer, in the order of their addresses; neighbours become one range. */
static bool lay_out(struct kb_stacks *s)
{
	size_t cap = 0;
	for (size_t i = 0; i < s->n; i++)
		s->by_addr[i] = (uint32_t)i;
	qsort_r(s->by_addr, s->n, sizeof *s->by_addr, by_g, s->gs);
	for (size_t i = 0; i < s->n; i++) {
		kb_addr g = s->gs[s->by_addr[i]];
		kb_range *last = s->ngranges ? &s->granges[s->ngranges - 1] : NULL;
		if (g > KB_ADDR_MAX - s->gsize)
			g = 0; /* cannot be read: stays zero, which is a dead goroutine */
		if (last && g >= last->a && g <= last->a + last->n + JOIN_GAP && g - last->a < RANGE_MAX) {
			uint64_t end = g - last->a + s->gsize;
			s->off[s->by_addr[i]] = s->nbytes - last->n + (g - last->a);
			if (end > last->n) {
				s->nbytes += end - last->n;
				last->n = end;
			}
			continue;
		}
		if (!KB_ROOM(s->granges, s->ngranges, cap, KB_MAX_GOROUTINES))
			return false;
		s->granges[s->ngranges++] = (kb_range){ g, s->gsize };
		s->off[s->by_addr[i]] = s->nbytes;
		s->nbytes += s->gsize;
	}
	return true;
}

/* ---- what tells that a goroutine ran ---------------------------------------------------------------------------------------- */

static void mask_bytes(struct kb_stacks *s, uint32_t off, uint32_t n)
{
	for (uint32_t i = off; i < off + n && i < s->nmask * 8; i++)
		((uint8_t *)s->mask)[i] = 0;
}

/* The words from g.stack up to g.trackingStamp, less what others write while it waits: preemption requests, the collector's marks. Among the rest
 * is trackingSeq, which counts every time it stops running (runtime/proc.go, casgstatus, 1.19 … 1.27): a goroutine that
 * ran and waits again at the same place is told by it. */
static bool make_mask(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	const kb_layout *l = &go->layout;
	s->nmask = kb_off(l, kb_has(l, KB_F_g_trackingStamp) ? KB_F_g_trackingStamp : KB_F_g_runnableTime) / 8;
	if (s->nmask > s->gsize / 8)
		s->nmask = s->gsize / 8;
	s->mask = malloc(s->nmask * 8 + 8);
	if (!s->mask)
		return false;
	memset(s->mask, 0xff, s->nmask * 8);
	if (kb_has(l, KB_F_g_stackguard0))
		mask_bytes(s, kb_off(l, KB_F_g_stackguard0), 8);
	if (kb_has(l, KB_F_g_waitsince))
		mask_bytes(s, kb_off(l, KB_F_g_waitsince), 8);
	mask_bytes(s, kb_off(l, KB_F_g_atomicstatus) + 1, 1);
	/* preempt, preemptStop, preemptShrink, asyncSafePoint, paniconfault, gcscandone, throwsplit follow waitreason */
	mask_bytes(s, kb_off(l, KB_F_g_waitreason) + 1, 7);
	return true;
}

static void keep_hot(struct kb_stacks *s, size_t i, const uint8_t *g)
{
	memcpy(s->before + i * s->nmask * 8, g, s->nmask * 8);
}

static bool ran(const struct kb_stacks *s, size_t i, const uint8_t *g)
{
	const uint8_t *before = s->before + i * s->nmask * 8;
	uint64_t differ = 0;
	for (size_t k = 0; k < s->nmask; k++)
		differ |= (kb_load64(before + 8 * k) ^ kb_load64(g + 8 * k)) & s->mask[k];
	return differ != 0;
}

static uint64_t status_of(const kb_go *go, kb_bytes g)
{
	return kb_field_of(go, g, KB_F_g_atomicstatus) & 0xfff;
}

static bool has_stack(uint64_t status)
{
	return status != KB_G_IDLE && status != KB_G_DEAD && status != KB_G_DEADEXTRA;
}

/* The part of its stack that is in use; n 0 when there is none to tell. */
static kb_range stack_range(const kb_go *go, kb_bytes g, uint32_t m)
{
	kb_addr hi = 0, sp;
	kb_get_u64(g, kb_off(&go->layout, KB_F_g_stack) + kb_off(&go->layout, KB_F_stack_hi), &hi);
	if (!has_stack(status_of(go, g)))
		return (kb_range){ 0, 0 };
	sp = kb_start_of(go, g, m).sp & ~(kb_addr)7;
	return sp < hi && hi - sp <= KB_MAX_STACK ? (kb_range){ sp, hi - sp } : (kb_range){ 0, 0 };
}

/* ---- while it runs -------------------------------------------------------------------------------------------------------------- */

static bool allocate(struct kb_stacks *s, size_t n)
{
	s->new_cap = n / 8 + 4096;
	s->ranges_cap = 2 * (n + s->new_cap) + 4096;
	s->gs = calloc(n + 1, sizeof *s->gs);
	s->off = calloc(n + 1, sizeof *s->off);
	s->by_addr = calloc(n + 1, sizeof *s->by_addr);
	s->sranges = calloc(n + 1, sizeof *s->sranges);
	s->new_gs = calloc(s->new_cap, sizeof *s->new_gs);
	s->new_bytes = calloc(s->new_cap, s->gsize);
	s->m_of = malloc((n + s->new_cap) * sizeof *s->m_of);
	s->ranges = calloc(s->ranges_cap, sizeof *s->ranges);
	s->sites = kb_sites_new();
	s->n = n;
	return s->gs && s->off && s->by_addr && s->sranges && s->new_gs && s->new_bytes && s->m_of && s->ranges && s->sites;
}

/* Touched now, so that the stop has no page faults. */
static void prefault(struct kb_stacks *s)
{
	memset(s->ranges, 1, s->ranges_cap * sizeof *s->ranges);
	memset(s->new_bytes, 0, s->new_cap * s->gsize);
	memset(s->m_of, 0xff, (s->n + s->new_cap) * sizeof *s->m_of);
}

/* Calls fn for every known g, in the order of the addresses, with its bytes: captured ones once there are. */
typedef void (*g_fn)(kb_go *go, size_t i, kb_bytes g);
static void each_g(kb_go *go, g_fn fn)
{
	struct kb_stacks *s = go->stacks;
	uint64_t start = 0;
	size_t k = 0;
	for (size_t r = 0; r < s->ngranges; r++) {
		kb_target_read_holes(go->target, s->granges[r].a, s->scratch, (size_t)s->granges[r].n);
		for (; k < s->n && s->off[s->by_addr[k]] < start + s->granges[r].n; k++) {
			uint32_t i = s->by_addr[k];
			fn(go, i, (kb_bytes){ s->scratch + (s->off[i] - start), s->gsize });
		}
		start += s->granges[r].n;
	}
}

static void preread_g(kb_go *go, size_t i, kb_bytes g)
{
	struct kb_stacks *s = go->stacks;
	keep_hot(s, i, g.p);
	if (status_of(go, g) == KB_G_RUNNING)
		return;
	s->sranges[i] = stack_range(go, g, KB_NO_ID);
	if (s->sranges[i].n)
		s->ranges[s->nranges++] = s->sranges[i];
}

kb_error *kb_goroutines_preread(kb_go *go)
{
	kb_addr array;
	uint64_t n;
	kb_goroutines_free(go);
	KB_TRY(kb_error_context(read_allgs(go, &array, &n), "cannot read the list of goroutines"));
	struct kb_stacks *s = go->stacks = calloc(1, sizeof *s);
	if (!s)
		return kb_error_nomem();
	s->gsize = kb_sizeof(&go->layout, KB_S_g);
	if (!allocate(s, (size_t)n))
		return kb_error_nomem();
	KB_TRY(kb_error_context(kb_target_read(go->target, array, s->gs, (size_t)n * 8), "cannot read the list of goroutines"));
	if (!lay_out(s) || !make_mask(go))
		return kb_error_nomem();
	s->before = malloc(s->n * s->nmask * 8 + 8);
	s->scratch = calloc(1, RANGE_MAX + 2 * (size_t)s->gsize);
	if (!s->before || !s->scratch)
		return kb_error_nomem();
	prefault(s);
	KB_TRY(kb_target_capture_many(go->target, s->granges, s->ngranges));
	each_g(go, preread_g);
	KB_TRY(kb_target_capture_many(go->target, s->ranges, s->nranges));
	return kb_ms_preread(go);
}

/* ---- in the stop ---------------------------------------------------------------------------------------------------------------- */

/* Goroutines are only ever added to allgs; the g structs of ended ones are used again. */
static kb_error *read_new(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	kb_addr array;
	uint64_t n;
	KB_TRY(read_allgs(go, &array, &n));
	if (n <= s->n)
		return NULL;
	s->nnew = (size_t)(n - s->n);
	if (s->nnew > s->new_cap) {
		s->missed = s->nnew - s->new_cap;
		s->nnew = s->new_cap;
	}
	KB_TRY(kb_target_read(go->target, array + 8 * s->n, s->new_gs, s->nnew * 8));
	for (size_t i = 0; i < s->nnew; i++)
		s->ranges[i] = (kb_range){ s->new_gs[i], s->new_gs[i] ? s->gsize : 0 };
	KB_TRY(kb_target_capture_many(go->target, s->ranges, s->nnew));
	for (size_t i = 0; i < s->nnew; i++)
		kb_target_read_holes(go->target, s->new_gs[i], s->new_bytes + i * s->gsize, s->gsize);
	return NULL;
}

static void add_range(struct kb_stacks *s, kb_range r)
{
	if (r.n && s->nranges < s->ranges_cap)
		s->ranges[s->nranges++] = r;
}

/* A stack that was left, or is longer now, is read in its old extent too: its memory may belong to somebody else by now, and
 * the old copy must not hide that. */
static void add_moved(struct kb_stacks *s, kb_range old, kb_range now)
{
	kb_addr end = now.a + now.n;
	if (old.n && now.n && old.a + old.n == end) {
		kb_addr a = old.a < now.a ? old.a : now.a;
		now = (kb_range){ a, end - a };
		old.n = 0;
	}
	add_range(s, old);
	add_range(s, now);
}

static void compare_g(kb_go *go, size_t i, kb_bytes g)
{
	struct kb_stacks *s = go->stacks;
	if (!ran(s, i, g.p) && s->m_of[i] == KB_NO_ID && (s->sranges[i].n || !has_stack(status_of(go, g))))
		return;
	add_moved(s, s->sranges[i], stack_range(go, g, s->m_of[i]));
}

kb_error *kb_goroutines_in_stop(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	KB_TRY(kb_target_capture_many(go->target, s->granges, s->ngranges));
	KB_TRY(read_new(go));
	KB_TRY(kb_ms_in_stop(go));
	s->nranges = 0;
	each_g(go, compare_g);
	for (size_t i = s->n; i < s->n + s->nnew; i++)
		add_range(s, stack_range(go, kb_g_bytes(s, i), s->m_of[i]));
	for (size_t i = 0; i < s->nms; i++)
		add_range(s, s->ms[i].system_stack);
	return kb_target_capture_many(go->target, s->ranges, s->nranges);
}

static void keep_g(kb_go *go, size_t i, kb_bytes g)
{
	memcpy(go->stacks->now + go->stacks->off[i], g.p, g.n);
}

kb_error *kb_gs_after_stop(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	s->now = malloc(s->nbytes + 1);
	if (!s->now)
		return kb_error_nomem();
	each_g(go, keep_g);
	return NULL;
}
