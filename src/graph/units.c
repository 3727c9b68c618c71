/* Units of retention and what lies inside them. */
#include "edges.h"

#include <stdlib.h>

bool kb_graph_unit_of(const kb_graph *g, uint32_t id, uint32_t *ret_holder, uint32_t *ret_node)
{
	uint32_t node = path_of(g, id);
	if (!node)
		return false;
	bool shared = bit_get(g->shared, id) && g->owner[id];
	if (shared)
		node = path_of(g, g->owner[id] - 1);
	*ret_holder = g->nodes[node].holder;
	*ret_node = shared ? node : g->holders[*ret_holder].node;
	return true;
}

typedef void (*object_fn)(void *ctx, uint32_t id, const kb_span *span, uint32_t node);

/* Calls fn for every object that a shared object owns, in id order. Few, as a rule: most of a heap has one holder. */
static void each_owned(const kb_graph *g, object_fn fn, void *ctx)
{
	for (size_t i = 0; i < ((size_t)g->heap->nids + 63) / 64; i++)
		for (uint64_t m = g->shared[i]; m; m &= m - 1) {
			uint32_t id = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(m));
			if (g->owner[id])
				fn(ctx, id, kb_heap_span_of_id(g->heap, id), path_of(g, id));
		}
}

static void not_own(void *ctx, uint32_t id, const kb_span *span, uint32_t node)
{
	struct path_own *own = ctx;
	(void)id;
	own[node].bytes -= span->elem_size;
	own[node].objects--;
}

/* The first object of each path that has some. */
static void find_examples(kb_graph *g)
{
	uint32_t last = 0;
	size_t missing = 0;
	for (size_t i = 0; i < g->nnodes; i++)
		missing += g->own[i].objects != 0;
	for (uint32_t id = 0; id < g->heap->nids && missing; id++) {
		uint32_t node = path_of(g, id);
		if (!node || node == last || g->own[node].example != KB_NO_ID || (bit_get(g->shared, id) && g->owner[id]))
			continue;
		last = node;
		g->own[node].example = id;
		missing--;
	}
}

kb_error *graph_sum_own(kb_graph *g)
{
	g->own = malloc(g->nnodes * sizeof(*g->own));
	if (!g->own)
		return kb_error_nomem();
	for (size_t i = 0; i < g->nnodes; i++)
		g->own[i] = (struct path_own){ .bytes = g->nodes[i].bytes, .objects = g->nodes[i].objects, .example = KB_NO_ID };
	each_owned(g, not_own, g->own);
	find_examples(g);
	return NULL;
}

/* Bytes behind the entries of each path: path node → index in units. */
struct entry_sums {
	const kb_graph *g;
	kb_map index;
	kb_unit *units;
	size_t n, cap;
	bool failed;
};

static void on_shared(void *ctx, uint32_t id, const kb_span *span, uint32_t node)
{
	struct entry_sums *s = ctx;
	uint64_t at;
	uint32_t entry = s->g->owner[id] - 1;
	node = path_of(s->g, entry);
	if (!kb_map_get(&s->index, node, &at)) {
		at = s->n;
		if (!KB_ROOM(s->units, s->n, s->cap, SIZE_MAX) || !kb_map_put(&s->index, node, at)) {
			s->failed = true;
			return;
		}
		s->units[s->n++] = (kb_unit){ .holder = s->g->nodes[node].holder, .node = node, .object = entry };
	}
	s->units[at].members += entry == id;
	s->units[at].bytes += span->elem_size;
	s->units[at].objects++;
}

static int larger_unit(const void *a, const void *b)
{
	const kb_unit *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->node < y->node ? -1 : x->node > y->node;
}

kb_error *kb_graph_units(const kb_graph *g, uint64_t min_bytes, kb_unit **ret, size_t *ret_n)
{
	struct entry_sums s = { .g = g };
	each_owned(g, on_shared, &s);
	for (uint32_t i = 0; i < g->nholders && !s.failed; i++) {
		const kb_holder *h = &g->holders[i];
		if (!KB_ROOM(s.units, s.n, s.cap, SIZE_MAX))
			s.failed = true;
		else
			s.units[s.n++] = (kb_unit){ .holder = i, .node = h->node, .object = KB_NO_ID, .members = 1,
						    .bytes = h->retained_bytes, .objects = h->retained_objects };
	}
	kb_map_free(&s.index);
	if (s.failed) {
		free(s.units);
		return kb_error_nomem();
	}
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		if (s.units[i].bytes && s.units[i].bytes >= min_bytes)
			s.units[n++] = s.units[i];
	if (n)
		qsort(s.units, n, sizeof(*s.units), larger_unit);
	*ret = s.units;
	*ret_n = n;
	return NULL;
}

struct path_sums {
	const kb_graph *g;
	kb_map wanted, index; /* holder → position in the question; position << 32 | node → item */
	kb_holder_path *items;
	size_t n, cap;
	bool failed;
};

static kb_holder_path *sums_for(struct path_sums *s, uint64_t at, uint32_t node)
{
	uint64_t i;
	if (kb_map_get(&s->index, at << 32 | node, &i))
		return &s->items[i];
	if (!KB_ROOM(s->items, s->n, s->cap, SIZE_MAX) || !kb_map_put(&s->index, at << 32 | node, s->n)) {
		s->failed = true;
		return NULL;
	}
	s->items[s->n] = (kb_holder_path){ .at = (uint32_t)at, .node = node, .example = KB_NO_ID };
	return &s->items[s->n++];
}

static void add_objects(struct path_sums *s, uint64_t at, uint32_t node, uint64_t bytes, uint64_t objects, uint32_t example)
{
	kb_holder_path *p = sums_for(s, at, node);
	if (!p)
		return;
	p->bytes += bytes;
	p->objects += objects;
	if (example < p->example)
		p->example = example;
}

static void on_owned_object(void *ctx, uint32_t id, const kb_span *span, uint32_t node)
{
	struct path_sums *s = ctx;
	uint64_t at;
	uint32_t holder, unit;
	if (s->failed || !kb_graph_unit_of(s->g, id, &holder, &unit) || !kb_map_get(&s->wanted, holder, &at))
		return;
	/* The first path to it may be another holder's; it counts where the unit stands. */
	add_objects(s, at, s->g->nodes[node].holder == holder ? node : unit, span->elem_size, 1, id);
}

static void add_own(struct path_sums *s)
{
	const kb_graph *g = s->g;
	uint64_t at;
	for (uint32_t i = 1; i < g->nnodes && !s->failed; i++)
		if (g->own[i].objects && kb_map_get(&s->wanted, g->nodes[i].holder, &at))
			add_objects(s, at, i, g->own[i].bytes, g->own[i].objects, g->own[i].example);
}

static int by_place(const void *a, const void *b)
{
	const kb_holder_path *x = a, *y = b;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

/* Adds every node's sums to all nodes above it, up to the holder's own. */
static void add_above(struct path_sums *s)
{
	size_t n = s->n;
	for (size_t i = 0; i < n && !s->failed; i++) {
		kb_holder_path item = s->items[i];
		for (uint32_t node = item.node; node; node = s->g->nodes[node].parent) {
			kb_holder_path *p = sums_for(s, item.at, node);
			if (!p)
				return;
			p->sub_bytes += item.bytes;
			p->sub_objects += item.objects;
		}
	}
}

kb_error *kb_graph_holder_paths(const kb_graph *g, const uint32_t *holders, size_t n, kb_holder_path **ret, size_t *ret_n)
{
	struct path_sums s = { .g = g };
	for (size_t i = 0; i < n && !s.failed; i++)
		s.failed = !kb_map_put(&s.wanted, holders[i], i);
	if (!s.failed && n) {
		add_own(&s);
		each_owned(g, on_owned_object, &s);
	}
	if (!s.failed)
		add_above(&s);
	kb_map_free(&s.wanted);
	kb_map_free(&s.index);
	if (s.failed) {
		free(s.items);
		return kb_error_nomem();
	}
	if (s.n)
		qsort(s.items, s.n, sizeof(*s.items), by_place);
	*ret = s.items;
	*ret_n = s.n;
	return NULL;
}

const kb_graph_stats *kb_graph_stats_get(const kb_graph *g) { return &g->stats; }
kb_shapes *kb_graph_shapes(kb_graph *g) { return g->shapes; }
uint32_t kb_graph_path_of(const kb_graph *g, uint32_t id) { return id < g->heap->nids ? path_of(g, id) : 0; }

const kb_holder *kb_graph_holders(const kb_graph *g, size_t *ret_n)
{
	*ret_n = g->nholders;
	return g->holders;
}

const kb_path_node *kb_graph_paths(const kb_graph *g, size_t *ret_n)
{
	*ret_n = g->nnodes;
	return g->nodes;
}
