/* The walk: breadth-first from the roots, class by class. Each object gets the path node of the edge that first reached it; its shape
 * says what its own pointers mean. Where an edge leads to what another holder of the class has reached, the two meet: see share.c. */
#include "ahead.h"

#include <stdlib.h>

enum {
	MAX_NODES = 1 << 20,  /* path nodes; beyond, new ways are counted with their parent's */
	MAX_DEPTH = 24,
	SHAPE_BITS = 22,
	LABEL_BITS = 22,
	ARCS_AHEAD = 24,      /* edges whose targets' path nodes are on their way while one is visited */
	RECENT_BITS = 10,
};

struct walk {
	kb_graph *g;
	struct ahead *ahead;
	struct queue next;
	struct block *spare;
	bool failed;
	const kb_progress *progress;
	/* Children of path nodes looked up last, by key; in front of the graph's map, which is slower. */
	struct recent {
		uint64_t key;
		uint32_t child;
	} recent[1 << RECENT_BITS];
};

static void push(struct walk *w, uint32_t id)
{
	struct queue *q = &w->next;
	if (!q->last || q->last->n == BLOCK_IDS) {
		struct block *b = w->spare;
		if (b)
			w->spare = b->next;
		else if (!(b = malloc(sizeof(*b)))) {
			w->failed = true;
			return;
		}
		b->next = NULL;
		b->n = 0;
		*(q->last ? &q->last->next : &q->first) = b;
		q->last = b;
		q->nblocks++;
	}
	q->last->ids[q->last->n++] = id;
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

kb_edge_out graph_step(kb_graph *g, uint32_t shape, const struct gspan *from, const struct gspan *to, const struct edge *e)
{
	kb_edge_in in = edge_view(from, to, e);
	kb_edge_out out = kb_shape_step(g->shapes, shape, &in);
	if (out.shape && kb_shape_get(g->shapes, out.shape)->role == KB_ROLE_CLOSURE) {
		in.target_code = graph_code_of(g, to, e->target);
		if (in.target_code)
			out = kb_shape_step(g->shapes, shape, &in);
	}
	return out;
}

/* From here on there are more nodes than 16 bits can say. */
static bool widen_paths(kb_graph *g)
{
	size_t nids = g->heap->nids;
	uint32_t *wide = kb_big_alloc(nids * sizeof(*wide) + 64);
	if (!wide)
		return false;
	for (size_t i = 0; g->path16 && i < nids; i++)
		wide[i] = g->path16[i];
	kb_big_free(g->path16, nids * sizeof(*g->path16) + 64);
	g->path16 = NULL;
	g->path32 = wide;
	return true;
}

static uint32_t new_node(kb_graph *g, uint32_t parent, uint32_t label, uint32_t shape)
{
	if (!KB_ROOM(g->nodes, g->nnodes, g->cap_nodes, UINT32_MAX - 1))
		return KB_NO_ID;
	const kb_path_node *p = &g->nodes[parent];
	uint32_t id = (uint32_t)g->nnodes;
	if (id > UINT16_MAX && !g->path32 && !widen_paths(g))
		return KB_NO_ID;
	g->nnodes++;
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

static uint32_t recent_child(struct walk *w, uint32_t parent, uint32_t label, uint32_t shape)
{
	uint64_t key = (uint64_t)parent << (LABEL_BITS + SHAPE_BITS) | (uint64_t)label << SHAPE_BITS | shape;
	struct recent *r = &w->recent[key * 0x9e3779b97f4a7c15u >> (64 - RECENT_BITS)];
	/* Node 0 has no children that are asked for, so that no key is 0; and too large a label or shape is not for this. */
	if (label >> LABEL_BITS || shape >> SHAPE_BITS)
		return path_child(w->g, parent, label, shape);
	if (r->key != key)
		*r = (struct recent){ key, path_child(w->g, parent, label, shape) };
	return r->child;
}

/* Two holders of a class reach an object: those behind node and old. */
static void meet(struct walk *w, uint32_t node, uint32_t old, uint32_t id)
{
	kb_graph *g = w->g;
	uint32_t a = g->nodes[node].holder, b = g->nodes[old].holder;
	if (a == b || g->holders[a].class_ != g->holders[b].class_)
		return;
	g->holder_meets[a] = g->holder_meets[b] = true;
	if (bit_get(g->shared, id))
		return;
	g->shared[id >> 6] |= 1ull << (id & 63);
	if (!KB_ROOM(g->meets, g->nmeets, g->cap_meets, SIZE_MAX))
		w->failed = true;
	else
		g->meets[g->nmeets++] = id;
}

/* An object first met through an untyped pointer gets its type, once, from a better one of the same class. */
static bool may_improve(const kb_graph *g, uint32_t node, uint32_t old)
{
	return !g->nodes[old].shape && path_class(g, old) == path_class(g, node);
}

static void reach(struct walk *w, uint32_t id, uint32_t node)
{
	kb_graph *g = w->g;
	uint32_t old = path_of(g, id);
	if (node == KB_NO_ID) {
		w->failed = true;
		return;
	}
	if (old && (!g->nodes[node].shape || !may_improve(g, node, old)))
		return;
	path_set(g, id, node);
	if (bit_get(g->has_edges, id))
		push(w, id);
}

static void visit(struct walk *w, uint32_t node, const struct gspan *from, const struct gspan *to, const struct edge *e)
{
	kb_graph *g = w->g;
	uint32_t old = path_of(g, e->target);
	if (old) {
		meet(w, node, old, e->target);
		if (!may_improve(g, node, old))
			return;
	}
	kb_edge_out out = graph_step(g, g->nodes[node].shape, from, to, e);
	reach(w, e->target, recent_child(w, node, out.label, out.shape));
}

/* The path node of an object that is about to be left through its edges; an untyped one that carries its type in its header gets it. */
static uint32_t node_of_source(struct walk *w, uint32_t id, kb_addr own_type)
{
	kb_graph *g = w->g;
	uint32_t node = path_of(g, id), shape;
	if (g->nodes[node].shape || !own_type || g->nodes[node].depth < 2 || !(shape = kb_shape_from_header(g->shapes, own_type)))
		return node;
	uint32_t better = path_child(g, g->nodes[node].parent, g->nodes[node].label, shape);
	if (better == KB_NO_ID) {
		w->failed = true;
		return node;
	}
	path_set(g, id, better);
	return better;
}

static void visit_large(struct walk *w, const struct item *item)
{
	kb_graph *g = w->g;
	struct edge ring[ARCS_AHEAD];
	struct edge_cursor c = edges_of(g, item->span, item->id);
	size_t n = 0;
	while (n < ARCS_AHEAD && edge_next(&c, &ring[n])) {
		path_prefetch(g, ring[n].target);
		n++;
	}
	uint32_t node = node_of_source(w, item->id, c.own_type);
	for (size_t i = 0; i < n && !w->failed; i++) {
		struct edge e = ring[i % ARCS_AHEAD];
		if (n == i + ARCS_AHEAD && edge_next(&c, &ring[n % ARCS_AHEAD])) {
			path_prefetch(g, ring[n % ARCS_AHEAD].target);
			n++;
		}
		visit(w, node, item->span, gspan_of(g, e.target), &e);
	}
}

static void visit_batch(struct walk *w, const struct batch *b)
{
	kb_graph *g = w->g;
	for (uint32_t i = 0; i < b->narcs && i < ARCS_AHEAD; i++)
		path_prefetch(g, b->arcs[i].edge.target);
	for (uint32_t i = 0, at = 0; i < b->nitems && !w->failed; i++) {
		const struct item *item = &b->items[i];
		if (item->narcs == ITEM_TOO_LARGE) {
			visit_large(w, item);
			continue;
		}
		uint32_t node = node_of_source(w, item->id, item->own_type);
		for (uint32_t end = at + item->narcs; at < end; at++) {
			if (at + ARCS_AHEAD < b->narcs)
				path_prefetch(g, b->arcs[at + ARCS_AHEAD].edge.target);
			visit(w, node, item->span, b->arcs[at].to, &b->arcs[at].edge);
		}
	}
}

static void free_blocks(struct block *b)
{
	while (b) {
		struct block *next = b->next;
		free(b);
		b = next;
	}
}

static void run_levels(struct walk *w)
{
	while (w->next.first && !w->failed) {
		struct queue now = w->next;
		const struct batch *b;
		w->next = (struct queue){ 0 };
		ahead_level(w->ahead, &now);
		/* A block is free for new objects once the batch made of it has been visited: the walk's own memory stays that of one level. */
		while (!w->failed && (b = ahead_next(w->ahead))) {
			visit_batch(w, b);
			struct block *done = now.first;
			now.first = done->next;
			done->next = w->spare;
			w->spare = done;
		}
		ahead_end(w->ahead);
		free_blocks(now.first);
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

/* n neighbours in a span that have the same node. */
static void count_run(kb_graph *g, const kb_span *s, uint32_t node, uint32_t first, uint32_t n)
{
	uint64_t bytes = n * s->elem_size;
	if (node) {
		g->nodes[node].bytes += bytes;
		g->nodes[node].objects += n;
		g->stats.reached_objects += n;
		g->stats.reached_bytes += bytes;
		g->stats.typed_bytes += g->nodes[node].shape ? bytes : 0;
		return;
	}
	for (uint32_t k = first; k < first + n; k++)
		if (kb_span_allocated(s, k)) {
			g->stats.unreached_objects++;
			g->stats.unreached_bytes += s->elem_size;
		}
}

static void sum_paths(kb_graph *g)
{
	const kb_heap *h = g->heap;
	for (size_t i = 0; i < h->nspans; i++) {
		const kb_span *s = &h->spans[i];
		for (uint32_t k = 0, run = 0; k < s->nelems; run = k) {
			uint32_t node = path_of(g, s->first_id + k);
			do
				k++;
			while (k < s->nelems && path_of(g, s->first_id + k) == node);
			count_run(g, s, node, run, k - run);
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

static bool alloc_state(kb_graph *g)
{
	size_t nids = g->heap->nids;
	if (!g->path32)
		g->path16 = kb_big_alloc(nids * sizeof(*g->path16) + 64);
	g->shared = kb_big_alloc((nids + 63) / 64 * 8 + 64);
	g->holder_meets = calloc(g->nholders + 1, sizeof(*g->holder_meets));
	return (g->path16 || g->path32) && g->shared && g->holder_meets;
}

static void walk_classes(struct walk *w)
{
	kb_graph *g = w->g;
	size_t at = 0;
	for (unsigned c = 0; c < KB_NCLASSES && !w->failed; c++) {
		for (; at < g->class_end[c] && !w->failed; at++) {
			const struct root *r = &g->roots[at];
			uint32_t node = path_child(g, g->holders[r->holder].node, r->label, r->shape), old = path_of(g, r->target);
			if (old && node != KB_NO_ID)
				meet(w, node, old, r->target);
			reach(w, r->target, node);
		}
		run_levels(w);
	}
}

kb_error *kb_graph_walk(kb_graph *g, const kb_progress *progress)
{
	KB_TRY(graph_collect_roots(g));
	KB_TRY(holder_nodes(g));
	struct walk *w = calloc(1, sizeof(*w));
	if (!w || !alloc_state(g) || !(w->ahead = ahead_new(g))) {
		free(w);
		return kb_error_nomem();
	}
	w->g = g;
	w->progress = progress;
	walk_classes(w);
	bool failed = w->failed;
	ahead_free(w->ahead);
	free_blocks(w->next.first);
	free_blocks(w->spare);
	free(w);
	if (failed)
		return kb_error_nomem();
	sum_paths(g);
	kb_progress_tell(progress, "finding who shares", -1);
	KB_TRY(graph_find_shared(g));
	return graph_sum_own(g);
}
