/* Units of retention and what lies inside them. */
#include "edges.h"

#include <stdlib.h>

bool kb_graph_unit_of(const kb_graph *g, uint32_t id, uint32_t *ret_holder, uint32_t *ret_object)
{
	uint32_t node = g->path[id];
	if (!node)
		return false;
	*ret_holder = g->nodes[node].holder;
	*ret_object = KB_NO_ID;
	if (!bit_get(g->shared, id))
		return true;
	if (!g->owner[id])
		return false;
	*ret_object = g->owner[id] - 1;
	*ret_holder = g->nodes[g->path[*ret_object]].holder;
	return true;
}

void kb_graph_each_object(const kb_graph *g, kb_object_fn fn, void *ctx)
{
	const kb_heap *h = g->heap;
	for (size_t i = 0; i < h->nspans; i++)
		for (uint32_t k = 0, id = h->spans[i].first_id; k < h->spans[i].nelems; k++, id++)
			if (g->path[id])
				fn(ctx, id, &h->spans[i], g->path[id]);
}

/* Bytes behind each entry: entry id → index in list. */
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
	(void)node;
	if (!bit_get(s->g->shared, id) || !s->g->owner[id])
		return;
	uint32_t entry = s->g->owner[id] - 1;
	if (!kb_map_get(&s->index, entry, &at)) {
		at = s->n;
		if (!KB_ROOM(s->units, s->n, s->cap, SIZE_MAX) || !kb_map_put(&s->index, entry, at)) {
			s->failed = true;
			return;
		}
		uint32_t path = s->g->path[entry];
		s->units[s->n++] = (kb_unit){ .holder = s->g->nodes[path].holder, .node = path, .object = entry };
	}
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
			s.units[s.n++] = (kb_unit){ .holder = i, .node = h->node, .object = KB_NO_ID, .bytes = h->retained_bytes,
						    .objects = h->retained_objects };
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
	kb_map unit_of_holder, unit_of_object, index; /* index: unit << 32 | node → entry */
	kb_unit_path *items;
	size_t n, cap;
	bool failed;
};

static kb_unit_path *sums_for(struct path_sums *s, uint64_t unit, uint32_t node, uint32_t example)
{
	uint64_t at;
	if (kb_map_get(&s->index, unit << 32 | node, &at))
		return &s->items[at];
	if (!KB_ROOM(s->items, s->n, s->cap, SIZE_MAX) || !kb_map_put(&s->index, unit << 32 | node, s->n)) {
		s->failed = true;
		return NULL;
	}
	s->items[s->n] = (kb_unit_path){ .unit = (uint32_t)unit, .node = node, .example = example };
	return &s->items[s->n++];
}

static void on_unit_object(void *ctx, uint32_t id, const kb_span *span, uint32_t node)
{
	struct path_sums *s = ctx;
	uint64_t unit;
	const kb_graph *g = s->g;
	bool found = !bit_get(g->shared, id) ? kb_map_get(&s->unit_of_holder, g->nodes[node].holder, &unit) :
		     g->owner[id] ? kb_map_get(&s->unit_of_object, g->owner[id] - 1, &unit) : false;
	if (!found || s->failed)
		return;
	kb_unit_path *u = sums_for(s, unit, node, id);
	if (u) {
		u->bytes += span->elem_size;
		u->objects++;
	}
}

static int by_unit_node(const void *a, const void *b)
{
	const kb_unit_path *x = a, *y = b;
	if (x->unit != y->unit)
		return x->unit < y->unit ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

/* Adds every node's sums to all nodes above it, up to the unit's own. */
static void add_above(struct path_sums *s, const kb_unit *units)
{
	size_t n = s->n;
	for (size_t i = 0; i < n && !s->failed; i++) {
		kb_unit_path item = s->items[i];
		uint32_t node = item.node, top = units[item.unit].node;
		for (;;) {
			kb_unit_path *u = sums_for(s, item.unit, node, KB_NO_ID);
			if (!u)
				return;
			u->sub_bytes += item.bytes;
			u->sub_objects += item.objects;
			if (node == top || !s->g->nodes[node].parent)
				break;
			node = s->g->nodes[node].parent;
		}
	}
}

kb_error *kb_graph_unit_paths(const kb_graph *g, const kb_unit *units, size_t nunits, kb_unit_path **ret, size_t *ret_n)
{
	struct path_sums s = { .g = g };
	for (size_t i = 0; i < nunits && !s.failed; i++) {
		bool ok = units[i].object == KB_NO_ID ? kb_map_put(&s.unit_of_holder, units[i].holder, i) :
							kb_map_put(&s.unit_of_object, units[i].object, i);
		s.failed = !ok;
	}
	if (!s.failed)
		kb_graph_each_object(g, on_unit_object, &s);
	if (!s.failed)
		add_above(&s, units);
	kb_map_free(&s.unit_of_holder);
	kb_map_free(&s.unit_of_object);
	kb_map_free(&s.index);
	if (s.failed) {
		free(s.items);
		return kb_error_nomem();
	}
	if (s.n)
		qsort(s.items, s.n, sizeof(*s.items), by_unit_node);
	*ret = s.items;
	*ret_n = s.n;
	return NULL;
}

const kb_graph_stats *kb_graph_stats_get(const kb_graph *g) { return &g->stats; }
kb_shapes *kb_graph_shapes(kb_graph *g) { return g->shapes; }
const kb_go *kb_graph_go(const kb_graph *g) { return g->go; }
uint32_t kb_graph_path_of(const kb_graph *g, uint32_t id) { return id < g->heap->nids ? g->path[id] : 0; }

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
