/* The roots, gathered under holders: a package-level variable, a group of goroutines with one creation site, a finalizer function … */
#include "edges.h"

#include <stdlib.h>

/* A stack root as a worker found it. */
struct raw {
	kb_root root;
	uint32_t target;
};
struct raw_list {
	struct raw *items;
	size_t n, cap;
	bool failed;
};

/* Where the roots of one goroutine's stack are: in a list, from first to end. */
struct stack_part {
	unsigned worker;
	size_t first, end;
};

struct collect {
	struct stack_part *stacks; /* [goroutine] */
	kb_graph *g;
	kb_map holder_of; /* class, key → holder */
	uint32_t *holder_of_goroutine;
	struct raw_list *lists; /* one a worker */
	unsigned nlists;
	kb_error *err;
};

static kb_error *holder_for(struct collect *c, enum kb_holder_class cls, const kb_root *r, kb_addr key, uint32_t *ret)
{
	kb_graph *g = c->g;
	uint64_t slot = kb_hash64(key * KB_NCLASSES * 16 + (uint64_t)cls * 16 + (uint64_t)r->kind) >> 1, found;
	if (kb_map_get(&c->holder_of, slot, &found)) {
		*ret = (uint32_t)found;
		return NULL;
	}
	if (!KB_ROOM(g->holders, g->nholders, g->cap_holders, UINT32_MAX - 1) || !kb_map_put(&c->holder_of, slot, g->nholders))
		return kb_error_nomem();
	*ret = (uint32_t)g->nholders;
	g->holders[g->nholders++] = (kb_holder){ .class_ = cls, .kind = r->kind, .owner = r->owner, .key = key };
	return NULL;
}

static enum kb_holder_class class_of(const kb_go *go, const kb_root *r)
{
	size_t n;
	switch (r->kind) {
	case KB_ROOT_GLOBAL: {
		const kb_var *vars = kb_go_vars(go, &n);
		return r->owner < n && !vars[r->owner].is_runtime ? KB_CLASS_GLOBAL : KB_CLASS_RUNTIME;
	}
	case KB_ROOT_STACK:
		return KB_CLASS_GOROUTINE;
	case KB_ROOT_FINALIZER:
	case KB_ROOT_CLEANUP:
	case KB_ROOT_QUEUE:
		return KB_CLASS_FINALIZER;
	case KB_ROOT_TIMER:
		return KB_CLASS_TIMER;
	case KB_ROOT_WEAK:
	case KB_ROOT_TINY:
		break;
	}
	return KB_CLASS_RUNTIME;
}

static kb_addr key_of(const kb_go *go, const kb_root *r)
{
	size_t n;
	switch (r->kind) {
	case KB_ROOT_GLOBAL:
		return r->owner;
	case KB_ROOT_FINALIZER:
	case KB_ROOT_CLEANUP: {
		const kb_special *sp = kb_go_specials(go, &n);
		return r->owner < n ? sp[r->owner].fn : 0;
	}
	case KB_ROOT_TIMER:
		return r->fn;
	default:
		return 0;
	}
}

static kb_error *add_root(kb_graph *g, uint32_t holder, const kb_root *r, uint32_t target)
{
	const struct gspan *to = gspan_of(g, target);
	const kb_span *s = kb_heap_span_of_id(g->heap, target);
	kb_addr start = kb_span_addr(s, target) + to->header;
	kb_edge_in in = { .offset = 0, .type_word = r->word_before, .target_offset = r->value > start ? r->value - start : 0,
			  .target_size = (uint64_t)to->elem_words * 8 - to->header, .target_code = graph_code_of(g, to, target),
			  .target_pointers = to->leaf ? 1 : 2 };
	kb_edge_out out = kb_shape_root(g->shapes, r, &in);
	if (!KB_ROOM(g->roots, g->nroots, g->cap_roots, SIZE_MAX))
		return kb_error_nomem();
	g->roots[g->nroots++] = (struct root){ .holder = holder, .target = target, .label = out.label, .shape = out.shape };
	return NULL;
}

static void on_static_root(void *ctx, const kb_root *r)
{
	struct collect *c = ctx;
	uint32_t target = kb_heap_object(c->g->heap, r->value), holder;
	if (target == KB_NO_ID || c->err)
		return;
	c->err = holder_for(c, class_of(c->g->go, r), r, key_of(c->g->go, r), &holder);
	if (!c->err)
		c->err = add_root(c->g, holder, r, target);
}

static void on_stack_root(void *ctx, const kb_root *r)
{
	struct raw_list *l = ((void **)ctx)[0];
	const kb_heap *h = ((void **)ctx)[1];
	uint32_t target = kb_heap_object(h, r->value);
	if (target == KB_NO_ID)
		return;
	if (!KB_ROOM(l->items, l->n, l->cap, SIZE_MAX)) {
		l->failed = true;
		return;
	}
	l->items[l->n++] = (struct raw){ .root = *r, .target = target };
}

static kb_error *scan_goroutine(void *ctx, unsigned worker, size_t i)
{
	struct collect *c = ctx;
	void *arg[2] = { &c->lists[worker], (void *)c->g->heap };
	c->stacks[i] = (struct stack_part){ .worker = worker, .first = c->lists[worker].n };
	kb_error *err = kb_go_stack_roots(c->g->go, (uint32_t)i, on_stack_root, arg);
	c->stacks[i].end = c->lists[worker].n;
	if (err && err->code != KB_E_NOMEM && err->code != KB_E_GONE) {
		size_t n;
		const kb_goroutine *gs = kb_go_goroutines(c->g->go, &n);
		kb_go_gap(c->g->go, "stack of goroutine %llu: %s", (unsigned long long)gs[i].goid, err->message);
		kb_error_free(err);
		return NULL;
	}
	return err;
}

/* Goroutines made at one place are one holder. */
static kb_error *group_goroutines(struct collect *c)
{
	size_t n;
	const kb_goroutine *gs = kb_go_goroutines(c->g->go, &n);
	c->holder_of_goroutine = calloc(n + 1, sizeof(*c->holder_of_goroutine));
	if (!c->holder_of_goroutine)
		return kb_error_nomem();
	for (uint32_t i = 0; i < n; i++) {
		kb_root r = { .kind = KB_ROOT_STACK, .owner = i };
		KB_TRY(holder_for(c, KB_CLASS_GOROUTINE, &r, gs[i].gopc, &c->holder_of_goroutine[i]));
		c->g->holders[c->holder_of_goroutine[i]].members++;
	}
	return NULL;
}

static kb_error *collect_stacks(struct collect *c)
{
	size_t n;
	kb_go_goroutines(c->g->go, &n);
	KB_TRY(group_goroutines(c));
	c->nlists = kb_cpu_count();
	c->lists = calloc(c->nlists, sizeof(*c->lists));
	c->stacks = calloc(n + 1, sizeof(*c->stacks));
	if (!c->lists || !c->stacks)
		return kb_error_nomem();
	KB_TRY(kb_parallel(n, scan_goroutine, c));
	for (unsigned w = 0; w < c->nlists; w++)
		if (c->lists[w].failed)
			return kb_error_nomem();
	/* In the order of the goroutines, whoever scanned them: the first way to an object is always the same one. */
	for (size_t i = 0; i < n; i++)
		for (size_t k = c->stacks[i].first; k < c->stacks[i].end; k++) {
			const struct raw *r = &c->lists[c->stacks[i].worker].items[k];
			KB_TRY(add_root(c->g, c->holder_of_goroutine[i], &r->root, r->target));
		}
	return NULL;
}

static void count_members(kb_graph *g)
{
	for (size_t i = 0; i < g->nholders; i++)
		if (!g->holders[i].members)
			g->holders[i].members = 1;
	size_t n;
	const kb_special *sp = kb_go_specials(g->go, &n);
	for (size_t i = 0; i < g->nholders; i++) {
		kb_holder *h = &g->holders[i];
		if (h->kind != KB_ROOT_FINALIZER && h->kind != KB_ROOT_CLEANUP)
			continue;
		h->members = 0;
		for (size_t k = 0; k < n; k++)
			h->members += sp[k].fn == h->key && sp[k].kind == (h->kind == KB_ROOT_FINALIZER ? KB_SPECIAL_FINALIZER : KB_SPECIAL_CLEANUP);
	}
}

/* Stable sort of the roots by class of their holder. */
static kb_error *sort_by_class(kb_graph *g)
{
	struct root *sorted = malloc((g->nroots + 1) * sizeof(*sorted));
	if (!sorted)
		return kb_error_nomem();
	size_t at = 0;
	for (unsigned c = 0; c < KB_NCLASSES; c++) {
		for (size_t i = 0; i < g->nroots; i++)
			if (g->holders[g->roots[i].holder].class_ == c)
				sorted[at++] = g->roots[i];
		g->class_end[c] = at;
	}
	free(g->roots);
	g->roots = sorted;
	g->cap_roots = g->nroots + 1;
	return NULL;
}

kb_error *graph_collect_roots(kb_graph *g)
{
	struct collect c = { .g = g };
	kb_error *err = kb_go_static_roots(g->go, on_static_root, &c);
	if (err)
		kb_error_free(c.err);
	else
		err = c.err;
	if (!err)
		err = collect_stacks(&c);
	if (!err) {
		count_members(g);
		err = sort_by_class(g);
	}
	for (unsigned w = 0; c.lists && w < c.nlists; w++)
		free(c.lists[w].items);
	free(c.lists);
	free(c.stacks);
	free(c.holder_of_goroutine);
	kb_map_free(&c.holder_of);
	return err;
}
