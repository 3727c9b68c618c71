/* The shortest chain of objects from a root to one object, and who points to it. */
#include "edges.h"

#include <stdlib.h>

struct search {
	kb_graph *g;
	uint32_t *parent; /* [id] → 1 + id of the object before it; own id + 1 for a root's target; 0 not seen */
	uint32_t *now, *next;
	size_t nnow, nnext, cap_now, cap_next;
};

static bool see(struct search *s, uint32_t id, uint32_t parent)
{
	if (s->parent[id])
		return true;
	s->parent[id] = parent + 1;
	if (!KB_ROOM(s->next, s->nnext, s->cap_next, SIZE_MAX))
		return false;
	s->next[s->nnext++] = id;
	return true;
}

static bool expand(struct search *s, uint32_t id)
{
	const struct gspan *gs = gspan_of(s->g, id);
	if (!gs->stream)
		return true;
	struct edge_cursor c = edges_of(s->g, gs, id);
	struct edge e;
	while (edge_next(&c, &e))
		if (!see(s, e.target, id))
			return false;
	return true;
}

/* Breadth-first, one class of roots after the other, until the target is seen. */
static kb_error *find(struct search *s, uint32_t target)
{
	size_t at = 0;
	for (unsigned c = 0; c < KB_NCLASSES && !s->parent[target]; c++) {
		for (; at < s->g->class_end[c]; at++)
			if (!see(s, s->g->roots[at].target, s->g->roots[at].target))
				return kb_error_nomem();
		while (s->nnext && !s->parent[target]) {
			uint32_t *t = s->now;
			size_t cap = s->cap_now;
			s->now = s->next, s->nnow = s->nnext, s->cap_now = s->cap_next;
			s->next = t, s->cap_next = cap, s->nnext = 0;
			for (size_t i = 0; i < s->nnow; i++)
				if (!expand(s, s->now[i]))
					return kb_error_nomem();
		}
	}
	return s->parent[target] ? NULL : kb_error_new(KB_E_NOT_FOUND, "nothing that is alive leads to this object: it is garbage not yet freed");
}

static kb_error *collect_links(const struct search *s, uint32_t target, kb_chain *c)
{
	size_t cap = 0;
	for (uint32_t id = target;; id = s->parent[id] - 1) {
		if (!KB_ROOM(c->links, c->n, cap, SIZE_MAX))
			return kb_error_nomem();
		c->links[c->n++] = (kb_chain_link){ .id = id };
		if (s->parent[id] - 1 == id)
			break;
	}
	for (size_t i = 0; i < c->n / 2; i++) {
		kb_chain_link t = c->links[i];
		c->links[i] = c->links[c->n - 1 - i];
		c->links[c->n - 1 - i] = t;
	}
	return NULL;
}

static const struct root *root_of(const kb_graph *g, uint32_t target)
{
	const struct root *best = NULL;
	for (size_t i = 0; i < g->nroots; i++)
		if (g->roots[i].target == target && (!best || (!best->shape && g->roots[i].shape)))
			best = &g->roots[i];
	return best;
}

/* Types along the chain, as the walk learns them: from the root's type down, each edge giving the next shape. */
static void fill_links(kb_graph *g, kb_chain *c, const struct root *r)
{
	c->links[0].shape = r->shape;
	for (size_t i = 0; i + 1 < c->n; i++) {
		const struct gspan *s = gspan_of(g, c->links[i].id);
		const kb_span *span = kb_heap_span_of_id(g->heap, c->links[i].id);
		struct edge_cursor cur = edges_of(g, s, c->links[i].id);
		struct edge e;
		kb_edge_out best = { 0 };
		bool found = false;
		while (edge_next(&cur, &e)) {
			if (e.target != c->links[i + 1].id)
				continue;
			if (!c->links[i].shape && cur.own_type)
				c->links[i].shape = kb_shape_from_header(g->shapes, cur.own_type);
			kb_edge_out out = graph_step(g, c->links[i].shape, s, gspan_of(g, e.target), &e);
			if (found && (best.shape || !out.shape))
				continue;
			found = true;
			best = out;
			c->links[i + 1].edge = edge_view(s, gspan_of(g, e.target), &e);
			c->links[i + 1].slot = kb_span_addr(span, c->links[i].id) + e.slot * 8;
		}
		uint32_t node = path_of(g, c->links[i + 1].id);
		c->links[i + 1].shape = best.shape ? best.shape : node ? g->nodes[node].shape : 0;
	}
}

struct root_search {
	const kb_graph *g;
	uint32_t target;
	const kb_holder *holder;
	kb_root *ret;
	bool found;
};

static void on_root(void *ctx, const kb_root *r)
{
	struct root_search *s = ctx;
	if (s->found || kb_heap_object(s->g->heap, r->value) != s->target || r->kind != s->holder->kind)
		return;
	*s->ret = *r;
	s->found = true;
}

/* Where exactly the root's pointer lies: asked again, since the graph does not keep it. */
static kb_error *locate_root(const kb_graph *g, kb_chain *c, const struct root *r)
{
	c->holder = r->holder;
	struct root_search s = { .g = g, .target = r->target, .holder = &g->holders[r->holder], .ret = &c->root };
	if (s.holder->kind != KB_ROOT_STACK)
		return kb_go_static_roots(g->go, on_root, &s);
	size_t n;
	const kb_goroutine *gs = kb_go_goroutines(g->go, &n);
	for (uint32_t i = 0; i < n && !s.found; i++)
		if (gs[i].gopc == s.holder->key)
			kb_error_free(kb_go_stack_roots(g->go, i, on_root, &s));
	return NULL;
}

kb_error *kb_graph_chain_to(kb_graph *g, uint32_t target, kb_chain *ret)
{
	*ret = (kb_chain){ 0 };
	size_t bytes = (size_t)g->heap->nids * sizeof(uint32_t) + 64;
	struct search s = { .g = g, .parent = kb_big_alloc(bytes) };
	kb_error *err = s.parent ? find(&s, target) : kb_error_nomem();
	if (!err)
		err = collect_links(&s, target, ret);
	kb_big_free(s.parent, bytes);
	free(s.now);
	free(s.next);
	const struct root *r = err ? NULL : root_of(g, ret->links[0].id);
	if (!err)
		err = r ? locate_root(g, ret, r) : kb_error_new(KB_E_CORRUPT, "the chain has no root");
	if (!err)
		fill_links(g, ret, r);
	if (err)
		kb_chain_free(ret);
	return err;
}

void kb_chain_free(kb_chain *c)
{
	free(c->links);
	*c = (kb_chain){ 0 };
}

size_t kb_graph_referrers(const kb_graph *g, uint32_t id, uint32_t *out, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < g->heap->nspans; i++) {
		const uint8_t *p = g->spans[i].stream;
		for (uint32_t from = g->spans[i].first_id; p && from < g->spans[i + 1].first_id && from < g->heap->nids; from++) {
			struct edge_cursor c = edge_cursor_at(g, p, from);
			struct edge e;
			bool hit = false;
			while (edge_next(&c, &e))
				hit |= e.target == id;
			p = c.p;
			if (!hit)
				continue;
			if (n < max)
				out[n] = from;
			n++;
		}
	}
	return n;
}
