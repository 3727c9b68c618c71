/* The walk: breadth-first from the roots, class by class. Each object gets the path node of the edge that first reached it; its shape
 * says what its own pointers mean. Decoding runs ahead of visiting, so that the cache misses of many objects overlap. */
#include "edges.h"

#include <stdlib.h>

enum {
	MAX_NODES = 1 << 20,  /* path nodes; beyond, new ways are counted with their parent's */
	MAX_DEPTH = 24,
	SHAPE_BITS = 22,
	LABEL_BITS = 22,
	BATCH = 256,          /* edges decoded before they are visited */
	AHEAD = 12,           /* objects of the queue prefetched in front of the one that is decoded */
};

struct queue {
	uint32_t *ids;
	size_t n, cap;
};

/* An edge on its way from decoding to visiting. */
struct step {
	struct edge edge;
	const struct gspan *from;
	uint32_t node;
};

struct walk {
	kb_graph *g;
	struct queue now, next;
	struct step batch[BATCH];
	unsigned nbatch;
	bool failed;
	const kb_progress *progress;
	uint64_t visited;
};

static bool push(struct queue *q, uint32_t id)
{
	if (!KB_ROOM(q->ids, q->n, q->cap, SIZE_MAX))
		return false;
	q->ids[q->n++] = id;
	return true;
}

kb_addr graph_code_of(const kb_graph *g, const struct gspan *s, uint32_t id)
{
	if (!s->stream)
		return 0;
	struct edge_cursor c = edges_of(g, s, id);
	struct edge e;
	edge_next(&c, &e);
	return c.own_code;
}

kb_edge_out graph_step(kb_graph *g, uint32_t shape, const struct gspan *from, const struct edge *e)
{
	const struct gspan *to = gspan_of(g, e->target);
	kb_edge_in in = edge_view(from, to, e);
	kb_edge_out out = kb_shape_step(g->shapes, shape, &in);
	if (out.shape && kb_shape_get(g->shapes, out.shape)->role == KB_ROLE_CLOSURE) {
		in.target_code = graph_code_of(g, to, e->target);
		if (in.target_code)
			out = kb_shape_step(g->shapes, shape, &in);
	}
	return out;
}

static uint32_t new_node(kb_graph *g, uint32_t parent, uint32_t label, uint32_t shape)
{
	if (!KB_ROOM(g->nodes, g->nnodes, g->cap_nodes, UINT32_MAX - 1))
		return KB_NO_ID;
	const kb_path_node *p = &g->nodes[parent];
	uint32_t id = (uint32_t)g->nnodes++;
	g->nodes[id] = (kb_path_node){ .parent = parent, .holder = p->holder, .label = label, .shape = shape, .depth = (uint16_t)(p->depth + 1) };
	return id;
}

/* A type met again on the way down is the same place: lists and trees become one node. */
static uint32_t same_above(const kb_graph *g, uint32_t parent, uint32_t label, uint32_t shape)
{
	for (uint32_t a = parent; g->nodes[a].depth > 1; a = g->nodes[a].parent)
		if (g->nodes[a].shape == shape && (shape || g->nodes[a].label == label))
			return a;
	return 0;
}

uint32_t path_child(kb_graph *g, uint32_t parent, uint32_t label, uint32_t shape)
{
	if (label >> LABEL_BITS || shape >> SHAPE_BITS)
		return parent;
	uint64_t key = (uint64_t)parent << (LABEL_BITS + SHAPE_BITS) | (uint64_t)label << SHAPE_BITS | shape, found;
	if (kb_map_get(&g->node_index, key, &found))
		return (uint32_t)found;
	uint32_t node = same_above(g, parent, label, shape);
	if (!node)
		node = g->nnodes >= MAX_NODES || g->nodes[parent].depth >= MAX_DEPTH ? parent : new_node(g, parent, label, shape);
	if (node == KB_NO_ID || !kb_map_put(&g->node_index, key, node))
		return KB_NO_ID;
	return node;
}

static void reach(struct walk *w, uint32_t id, uint32_t node, bool leaf)
{
	kb_graph *g = w->g;
	uint32_t old = g->path[id];
	if (node == KB_NO_ID) {
		w->failed = true;
		return;
	}
	if (old) {
		/* An object first met through an untyped pointer gets its type, once, from a better one of the same class. */
		if (g->nodes[old].shape || !g->nodes[node].shape || path_class(g, old) != path_class(g, node))
			return;
	}
	g->path[id] = node;
	if (!leaf && !push(&w->next, id))
		w->failed = true;
}

static void flush(struct walk *w)
{
	kb_graph *g = w->g;
	for (unsigned i = 0; i < w->nbatch; i++) {
		const struct step *s = &w->batch[i];
		uint32_t old = g->path[s->edge.target];
		if (old && (g->nodes[old].shape || path_class(g, old) != path_class(g, s->node)))
			continue;
		kb_edge_out out = graph_step(g, g->nodes[s->node].shape, s->from, &s->edge);
		reach(w, s->edge.target, path_child(g, s->node, out.label, out.shape), s->edge.flags & EDGE_LEAF);
	}
	w->nbatch = 0;
}

/* An untyped object that carries its type in its header. */
static uint32_t node_from_header(struct walk *w, uint32_t id, uint32_t node, kb_addr type)
{
	kb_graph *g = w->g;
	uint32_t shape = kb_shape_from_header(g->shapes, type);
	if (!shape || g->nodes[node].depth < 2)
		return node;
	uint32_t better = path_child(g, g->nodes[node].parent, g->nodes[node].label, shape);
	if (better == KB_NO_ID) {
		w->failed = true;
		return node;
	}
	return g->path[id] = better;
}

static void decode(struct walk *w, uint32_t id)
{
	kb_graph *g = w->g;
	const struct gspan *s = gspan_of(g, id);
	if (!s->stream)
		return;
	struct edge_cursor c = edges_of(g, s, id);
	struct edge e;
	uint32_t node = g->path[id];
	bool first = true;
	while (edge_next(&c, &e)) {
		if (first && !g->nodes[node].shape && c.own_type)
			node = node_from_header(w, id, node, c.own_type);
		first = false;
		__builtin_prefetch(&g->path[e.target], 1);
		__builtin_prefetch(&g->span_of[e.target >> 6]);
		w->batch[w->nbatch++] = (struct step){ .edge = e, .from = s, .node = node };
		if (w->nbatch == BATCH)
			flush(w);
	}
}

static void prefetch_stream(const kb_graph *g, uint32_t id)
{
	const struct gspan *s = gspan_of(g, id);
	if (s->stream)
		__builtin_prefetch(s->stream + (s->sub ? s->sub[(id - s->first_id) >> SUB_SHIFT] : 0));
}

static void run_levels(struct walk *w)
{
	while (w->next.n && !w->failed) {
		struct queue t = w->now;
		w->now = w->next;
		w->next = t;
		w->next.n = 0;
		for (size_t i = 0; i < w->now.n && !w->failed; i++) {
			if (i + AHEAD < w->now.n)
				prefetch_stream(w->g, w->now.ids[i + AHEAD]);
			decode(w, w->now.ids[i]);
		}
		flush(w);
		w->visited += w->now.n;
		kb_progress_tell(w->progress, "walking the heap", -1);
	}
}

static kb_error *holder_nodes(kb_graph *g)
{
	if (!KB_ROOM(g->nodes, g->nnodes, g->cap_nodes, UINT32_MAX - 1))
		return kb_error_nomem();
	g->nodes[g->nnodes++] = (kb_path_node){ .holder = KB_NO_ID };
	for (uint32_t i = 0; i < g->nholders; i++) {
		uint32_t id = new_node(g, 0, 0, 0);
		if (id == KB_NO_ID)
			return kb_error_nomem();
		g->nodes[id].holder = i;
		g->holders[i].node = id;
	}
	return NULL;
}

static void sum_paths(kb_graph *g)
{
	const kb_heap *h = g->heap;
	for (size_t i = 0; i < h->nspans; i++) {
		const kb_span *s = &h->spans[i];
		for (uint32_t k = 0; k < s->nelems; k++) {
			uint32_t node = g->path[s->first_id + k];
			if (node) {
				g->nodes[node].bytes += s->elem_size;
				g->nodes[node].objects++;
				g->stats.reached_objects++;
				g->stats.reached_bytes += s->elem_size;
				g->stats.typed_bytes += g->nodes[node].shape ? s->elem_size : 0;
			} else if (kb_span_allocated(s, k)) {
				g->stats.unreached_objects++;
				g->stats.unreached_bytes += s->elem_size;
			}
		}
	}
	/* Children have larger numbers than their parents. */
	for (size_t n = g->nnodes; n-- > 1;) {
		kb_path_node *p = &g->nodes[n];
		p->sub_bytes += p->bytes;
		p->sub_objects += p->objects;
		g->nodes[p->parent].sub_bytes += p->sub_bytes;
		g->nodes[p->parent].sub_objects += p->sub_objects;
	}
	for (size_t i = 0; i < g->nholders; i++) {
		g->holders[i].bytes = g->nodes[g->holders[i].node].sub_bytes;
		g->holders[i].objects = g->nodes[g->holders[i].node].sub_objects;
	}
}

kb_error *kb_graph_walk(kb_graph *g, const kb_progress *progress)
{
	KB_TRY(graph_collect_roots(g));
	KB_TRY(holder_nodes(g));
	g->path = kb_big_alloc((size_t)g->heap->nids * sizeof(*g->path) + 64);
	struct walk *w = calloc(1, sizeof(*w));
	if (!g->path || !w) {
		free(w);
		return kb_error_nomem();
	}
	w->g = g;
	w->progress = progress;
	size_t at = 0;
	for (unsigned c = 0; c < KB_NCLASSES && !w->failed; c++) {
		for (; at < g->class_end[c]; at++) {
			const struct root *r = &g->roots[at];
			reach(w, r->target, path_child(g, g->holders[r->holder].node, r->label, r->shape), gspan_of(g, r->target)->leaf);
		}
		run_levels(w);
	}
	bool failed = w->failed;
	free(w->now.ids);
	free(w->next.ids);
	free(w);
	if (failed)
		return kb_error_nomem();
	sum_paths(g);
	kb_progress_tell(progress, "finding who shares", -1);
	return graph_find_shared(g);
}
