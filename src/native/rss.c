/* The resident set, split so that the parts add up: each mapping's resident bytes go to exactly one part, or page by page inside arenas. */
#include "native.h"

#include <stdlib.h>

enum { OS_PAGE = 4096 };

struct split {
	const kb_go *go;
	kb_target *target;
	kb_rss *rss;
	kb_area *arenas;
	size_t narenas;
	kb_addr *runtime; /* sorted */
	size_t nruntime;
	kb_area *stacks;  /* of goroutines, sorted */
	size_t nstacks;
	kb_image_range image;
	bool cgo;
};

static int by_addr(const void *a, const void *b)
{
	kb_addr x = *(const kb_addr *)a, y = *(const kb_addr *)b;
	return x < y ? -1 : x > y;
}

static int by_start(const void *a, const void *b)
{
	return by_addr(&((const kb_area *)a)->start, &((const kb_area *)b)->start);
}

static bool holds_any(const kb_addr *sorted, size_t n, kb_addr start, kb_addr end)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (sorted[mid] < start)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && sorted[lo] < end;
}

/* The last area that starts at or before a, NULL when it ends before a. */
static const kb_area *area_at(const kb_area *areas, size_t n, kb_addr a)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (areas[mid].start <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && a - areas[lo - 1].start < areas[lo - 1].size ? &areas[lo - 1] : NULL;
}

/* Resident pages of one arena's part [start, end) by what the runtime uses them for. The rest is put in *ret_idle. */
static kb_error *split_arena(struct split *s, kb_addr start, kb_addr end, uint64_t *ret_idle)
{
	const kb_heap *h = kb_go_heap(s->go);
	size_t pages = (end - start) / OS_PAGE;
	uint8_t *bits = calloc(1, pages / 8 + 1);
	if (!bits)
		return kb_error_nomem();
	kb_error *err = kb_target_resident_bits(s->target, start, end - start, bits);
	for (size_t i = 0; !err && i < pages; i++) {
		kb_addr a = start + i * OS_PAGE;
		if (!(bits[i >> 3] >> (i & 7) & 1))
			continue;
		if (kb_heap_span_of(h, a) != KB_NO_ID)
			s->rss->go_heap += OS_PAGE;
		else if (area_at(s->stacks, s->nstacks, a) || area_at(s->stacks, s->nstacks, a + OS_PAGE - 1))
			s->rss->go_stacks += OS_PAGE;
		else
			*ret_idle += OS_PAGE;
	}
	free(bits);
	return err;
}

static bool overlaps_arena(const struct split *s, kb_addr start, kb_addr end, kb_addr *ret_from, kb_addr *ret_to)
{
	for (size_t i = 0; i < s->narenas; i++) {
		kb_addr from = s->arenas[i].start > start ? s->arenas[i].start : start;
		kb_addr arena_end = s->arenas[i].start + s->arenas[i].size, to = arena_end < end ? arena_end : end;
		if (from >= to)
			continue;
		/* Neighbouring arenas are one range. */
		for (size_t k = i + 1; k < s->narenas && s->arenas[k].start == arena_end && arena_end < end; k++) {
			arena_end += s->arenas[k].size;
			to = arena_end < end ? arena_end : end;
		}
		*ret_from = from;
		*ret_to = to;
		return true;
	}
	return false;
}

static bool is_thread_stack(const struct split *s, kb_addr start, kb_addr end)
{
	size_t n;
	const kb_thread *t = kb_target_threads(s->target, &n);
	for (size_t i = 0; i < n; i++)
		if (t[i].have_regs && t[i].regs.rsp >= start && t[i].regs.rsp < end)
			return true;
	return false;
}

static uint64_t *part_of(struct split *s, const kb_mapping *m)
{
	kb_rss *r = s->rss;
	if (m->path[0] == '/' && strncmp(m->path, "/dev/", 5) != 0 && strncmp(m->path, "/memfd:", 7) != 0)
		return &r->files;
	if (m->start < s->image.hi && m->end > s->image.lo)
		return &r->files; /* the program's zero-initialised data, behind its file */
	if (strcmp(m->path, "[heap]") == 0 || strncmp(m->path, "[anon: glibc", 12) == 0)
		return &r->c_heap;
	if (strncmp(m->path, "[anon: Go", 9) == 0)
		return &r->go_runtime;
	if (m->path[0] || m->perms & KB_PERM_SHARED)
		return &r->other;
	if (holds_any(s->runtime, s->nruntime, m->start, m->end) || !s->cgo)
		return &r->go_runtime;
	return is_thread_stack(s, m->start, m->end) ? &r->other : &r->c_heap;
}

static kb_error *split_mapping(struct split *s, const kb_resident *res, uint64_t *idle)
{
	kb_addr from, to;
	s->rss->rss += res->rss;
	s->rss->swap += res->swap;
	const kb_mapping *m = kb_target_mapping_at(s->target, res->start);
	if (!res->rss)
		return NULL;
	if (!m) {
		s->rss->other += res->rss;
		return NULL;
	}
	if (!overlaps_arena(s, res->start, res->start + res->size, &from, &to)) {
		*part_of(s, m) += res->rss;
		return NULL;
	}
	uint64_t before = s->rss->go_heap + s->rss->go_stacks + *idle;
	KB_TRY(split_arena(s, from, to, idle));
	uint64_t told = s->rss->go_heap + s->rss->go_stacks + *idle - before;
	/* Pages came or went between the two readings of the kernel's tables: the sum is kept true. */
	if (told <= res->rss)
		*idle += res->rss - told;
	else
		s->rss->rss += told - res->rss;
	return NULL;
}

static kb_error *goroutine_stacks(struct split *s)
{
	size_t n;
	const kb_goroutine *gs = kb_go_goroutines(s->go, &n);
	s->stacks = malloc((n + 1) * sizeof(*s->stacks));
	if (!s->stacks)
		return kb_error_nomem();
	for (size_t i = 0; i < n; i++)
		if (gs[i].stack_hi > gs[i].stack_lo)
			s->stacks[s->nstacks++] = (kb_area){ gs[i].stack_lo, gs[i].stack_hi - gs[i].stack_lo };
	if (s->nstacks)
		qsort(s->stacks, s->nstacks, sizeof(*s->stacks), by_start);
	return NULL;
}

/* Resident arena pages of no heap span and no goroutine's stack: the runtime's cached stacks and work buffers, and freed memory. */
static void divide_idle(struct split *s, uint64_t idle)
{
	uint64_t manual = kb_go_info_get(s->go)->stack_inuse;
	uint64_t cached = manual > s->rss->go_stacks ? manual - s->rss->go_stacks : 0;
	if (cached > idle)
		cached = idle;
	s->rss->go_stacks += cached;
	s->rss->go_idle += idle - cached;
}

kb_error *kb_rss_measure(const kb_go *go, kb_rss *ret)
{
	struct split s = { .go = go, .target = kb_go_target(go), .rss = ret, .image = kb_go_image_range(go), .cgo = kb_go_info_get(go)->uses_cgo };
	kb_resident *maps = NULL;
	size_t n = 0;
	uint64_t idle = 0;
	*ret = (kb_rss){ 0 };
	kb_error *err = kb_target_refresh_maps(s.target);
	if (!err)
		err = kb_target_smaps(s.target, &maps, &n);
	if (!err)
		err = kb_go_arenas(go, &s.arenas, &s.narenas);
	if (!err)
		err = kb_go_runtime_memory(go, &s.runtime, &s.nruntime);
	if (!err)
		err = goroutine_stacks(&s);
	if (!err && s.nruntime)
		qsort(s.runtime, s.nruntime, sizeof(*s.runtime), by_addr);
	for (size_t i = 0; i < n && !err; i++)
		err = split_mapping(&s, &maps[i], &idle);
	if (!err)
		divide_idle(&s, idle);
	free(maps);
	free(s.arenas);
	free(s.runtime);
	free(s.stacks);
	return err;
}
