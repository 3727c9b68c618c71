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

void kb_graph_each_object(const kb_graph *g, kb_object_fn fn, void *ctx)
{
	const kb_heap *h = g->heap;
	for (size_t i = 0; i < h->nspans; i++)
		for (uint32_t k = 0, id = h->spans[i].first_id; k < h->spans[i].nelems; k++, id++)
			if (path_of(g, id))
				fn(ctx, id, &h->spans[i], path_of(g, id));
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
	if (!bit_get(s->g->shared, id) || !s->g->owner[id])
		return;
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
	kb_graph_each_object(g, on_shared, &s);
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

static void on_held_object(void *ctx, uint32_t id, const kb_span *span, uint32_t node)
{
	struct path_sums *s = ctx;
	uint64_t at;
	uint32_t holder, unit;
	if (s->failed || !kb_graph_unit_of(s->g, id, &holder, &unit) || !kb_map_get(&s->wanted, holder, &at))
		return;
	/* Inside a shared object's part the first path may be another holder's; it counts where the unit stands. */
	if (s->g->nodes[node].holder != holder)
		node = unit;
	kb_holder_path *p = sums_for(s, at, node);
	if (!p)
		return;
	if (p->example == KB_NO_ID)
		p->example = id;
	p->bytes += span->elem_size;
	p->objects++;
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
	if (!s.failed && n)
		kb_graph_each_object(g, on_held_object, &s);
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
const kb_go *kb_graph_go(const kb_graph *g) { return g->go; }
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
