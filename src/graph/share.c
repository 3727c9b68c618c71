/* Who alone keeps an object: the top of the dominator tree, without building the tree.
 *
 * An object is its holder's alone when every object that points to it is. The walk has marked the places where two holders of a class
 * meet; everything behind them is "shared". A shared object with an unshared predecessor can be passed by no other
 * object on all paths: it is an entry, a unit of retention of its own. Then the same is asked inside the shared part with the entries as
 * holders, a bounded number of rounds. (An entry e with predecessor p of holder h: a dominator of e lies on the path through p, which
 * only h reaches, and on a path from another holder, which h does not reach: there is none but the root.) */
#include "edges.h"

#include <stdlib.h>

enum { MAX_ROUNDS = 8, SPANS_A_TASK = 256, LOOK_AHEAD = 64 };

struct ids {
	uint32_t *p;
	size_t n, cap;
};

struct share {
	kb_graph *g;
	uint64_t *part;     /* the objects of this round; NULL in the first: all */
	uint64_t *tangled;  /* of the part: reached from several entries; the next round's part */
	struct ids *found;  /* one list a worker */
	unsigned nworkers;
	struct ids stack;
	struct ids entries; /* of this round */
};

typedef bool (*edge_fn)(struct share *s, unsigned worker, uint32_t from, uint32_t to);

static bool add(struct ids *l, uint32_t id)
{
	if (!KB_ROOM(l->p, l->n, l->cap, SIZE_MAX))
		return false;
	l->p[l->n++] = id;
	return true;
}

static bool is_entry(const kb_graph *g, uint32_t id) { return g->owner[id] == id + 1; }
static bool same_class(const kb_graph *g, uint32_t a, uint32_t b) { return path_class(g, path_of(g, a)) == path_class(g, path_of(g, b)); }

/* Whether a pass needs the edges of an object. In the first round only holders that met another have any that matter: where one of their
 * objects leads to what another holder reaches too, they have met there or before. */
static bool is_wanted(const struct share *s, uint32_t id)
{
	const kb_graph *g = s->g;
	uint32_t node = path_of(g, id);
	return node && (s->part ? bit_get(s->part, id) : g->holder_meets[g->nodes[node].holder]);
}

/* The first wanted object at or after id. */
static uint32_t next_wanted(const struct share *s, uint32_t id, uint32_t end)
{
	while (id < end && !is_wanted(s, id))
		id = s->part && !(id & 63) && !s->part[id >> 6] ? id + 64 : id + 1;
	return id;
}

/* Calls fn for each edge of the wanted objects of one span, a block of targets prefetched at a time. */
static bool span_edges(struct share *s, unsigned worker, const struct gspan *gs, edge_fn fn)
{
	kb_graph *g = s->g;
	uint32_t from[LOOK_AHEAD], to[LOOK_AHEAD], n = 0, end = gs[1].first_id, at = gs->first_id;
	struct edge_cursor c = edges_of(g, gs, at);
	for (uint32_t id = next_wanted(s, at, end); id < end; id = next_wanted(s, id + 1, end)) {
		bool near = (id - gs->first_id) >> SUB_SHIFT == (at - gs->first_id) >> SUB_SHIFT;
		c = near ? edge_cursor_at(g, skip_objects(c.p, id - at), id) : edges_of(g, gs, id);
		at = id + 1;
		struct edge e;
		while (edge_next(&c, &e)) {
			path_prefetch(g, e.target);
			from[n] = id;
			to[n++] = e.target;
			if (n < LOOK_AHEAD)
				continue;
			for (uint32_t i = 0; i < n; i++)
				if (!fn(s, worker, from[i], to[i]))
					return false;
			n = 0;
		}
	}
	for (uint32_t i = 0; i < n; i++)
		if (!fn(s, worker, from[i], to[i]))
			return false;
	return true;
}

struct task {
	struct share *s;
	edge_fn fn;
};

static kb_error *run_task(void *ctx, unsigned worker, size_t i)
{
	struct task *t = ctx;
	kb_graph *g = t->s->g;
	size_t end = (i + 1) * SPANS_A_TASK < g->heap->nspans ? (i + 1) * SPANS_A_TASK : g->heap->nspans;
	for (size_t k = i * SPANS_A_TASK; k < end; k++) {
		if (g->spans[k].stream && !span_edges(t->s, worker, &g->spans[k], t->fn))
			return kb_error_nomem();
	}
	return NULL;
}

static kb_error *all_edges(struct share *s, edge_fn fn)
{
	struct task t = { s, fn };
	return kb_parallel((s->g->heap->nspans + SPANS_A_TASK - 1) / SPANS_A_TASK, run_task, &t);
}

/* Everything of its class behind the objects on the stack joins set; inside the part, and not past its entries, where there is one. */
static bool flood(struct share *s, uint64_t *set)
{
	kb_graph *g = s->g;
	while (s->stack.n) {
		uint32_t id = s->stack.p[--s->stack.n];
		const struct gspan *gs = gspan_of(g, id);
		if (!gs->stream)
			continue;
		struct edge_cursor c = edges_of(g, gs, id);
		struct edge e;
		while (edge_next(&c, &e)) {
			if (!path_of(g, e.target) || !same_class(g, id, e.target))
				continue;
			if (s->part && (!bit_get(s->part, e.target) || is_entry(g, e.target)))
				continue;
			if (bit_set(set, e.target) && !add(&s->stack, e.target))
				return false;
		}
	}
	return true;
}

static bool drain_found(struct share *s, struct ids *to)
{
	for (unsigned w = 0; w < s->nworkers; w++) {
		for (size_t i = 0; i < s->found[w].n; i++)
			if (!add(to, s->found[w].p[i]))
				return false;
		s->found[w].n = 0;
	}
	return true;
}

static kb_error *behind_meets(struct share *s)
{
	kb_graph *g = s->g;
	s->stack = (struct ids){ .p = g->meets, .n = g->nmeets, .cap = g->cap_meets };
	g->meets = NULL;
	g->nmeets = g->cap_meets = 0;
	return flood(s, g->shared) ? NULL : kb_error_nomem();
}

/* First round: a shared object that an unshared one leads to. */
static bool on_first_entry(struct share *s, unsigned worker, uint32_t from, uint32_t to)
{
	kb_graph *g = s->g;
	if (!bit_get(g->shared, to) || bit_get(g->shared, from) || !same_class(g, from, to))
		return true;
	return add(&s->found[worker], to);
}

/* Later rounds: a tangled object that an untangled one of the part leads to. */
static bool on_next_entry(struct share *s, unsigned worker, uint32_t from, uint32_t to)
{
	if (!bit_get(s->tangled, to) || bit_get(s->tangled, from) || !same_class(s->g, from, to))
		return true;
	return add(&s->found[worker], to);
}

/* An edge between objects that different entries lead to. */
static bool on_tangle(struct share *s, unsigned worker, uint32_t from, uint32_t to)
{
	kb_graph *g = s->g;
	if (!bit_get(s->part, to) || is_entry(g, to) || g->owner[to] == g->owner[from] || !same_class(g, from, to))
		return true;
	return !bit_set(s->tangled, to) || add(&s->found[worker], to);
}

static kb_error *take_entries(struct share *s)
{
	s->entries.n = 0;
	if (!drain_found(s, &s->entries))
		return kb_error_nomem();
	for (size_t i = 0; i < s->entries.n; i++)
		s->g->owner[s->entries.p[i]] = s->entries.p[i] + 1;
	return NULL;
}

static kb_error *first_entries(struct share *s)
{
	kb_graph *g = s->g;
	KB_TRY(all_edges(s, on_first_entry));
	for (size_t i = 0; i < g->nroots; i++) {
		uint32_t t = g->roots[i].target;
		if (bit_get(g->shared, t) && path_class(g, path_of(g, t)) == g->holders[g->roots[i].holder].class_ && !add(&s->found[0], t))
			return kb_error_nomem();
	}
	return take_entries(s);
}

/* Gives every object of the part the entry it is first reached from. */
static kb_error *spread(struct share *s)
{
	kb_graph *g = s->g;
	s->stack.n = 0;
	for (size_t i = 0; i < s->entries.n; i++)
		if (!add(&s->stack, s->entries.p[i]))
			return kb_error_nomem();
	while (s->stack.n) {
		uint32_t id = s->stack.p[--s->stack.n];
		const struct gspan *gs = gspan_of(g, id);
		if (!gs->stream)
			continue;
		struct edge_cursor c = edges_of(g, gs, id);
		struct edge e;
		while (edge_next(&c, &e)) {
			if (!bit_get(s->part, e.target) || g->owner[e.target] || !same_class(g, id, e.target))
				continue;
			g->owner[e.target] = g->owner[id];
			if (!add(&s->stack, e.target))
				return kb_error_nomem();
		}
	}
	return NULL;
}

/* What the entries of the part do not own alone becomes the next part. False in *ret_more when nothing is left. */
static kb_error *next_round(struct share *s, size_t words, bool *ret_more)
{
	kb_graph *g = s->g;
	memset(s->tangled, 0, words * 8);
	KB_TRY(all_edges(s, on_tangle));
	s->stack.n = 0;
	if (!drain_found(s, &s->stack))
		return kb_error_nomem();
	*ret_more = s->stack.n > 0;
	if (!*ret_more)
		return NULL;
	if (!flood(s, s->tangled))
		return kb_error_nomem();
	KB_TRY(all_edges(s, on_next_entry));
	for (size_t i = 0; i < words; i++)
		for (uint64_t m = s->tangled[i]; m; m &= m - 1)
			g->owner[i * 64 + (size_t)__builtin_ctzll(m)] = 0;
	KB_TRY(take_entries(s));
	memcpy(s->part, s->tangled, words * 8);
	return NULL;
}

static kb_error *rounds(struct share *s, size_t words)
{
	memcpy(s->part, s->g->shared, words * 8);
	bool more = true;
	for (unsigned i = 0; i < MAX_ROUNDS && more; i++) {
		KB_TRY(spread(s));
		KB_TRY(next_round(s, words, &more));
	}
	if (!more)
		return NULL;
	/* The rest goes to an entry that is on a path to it; how much that is, is said. */
	for (size_t i = 0; i < words; i++)
		for (uint64_t m = s->part[i]; m; m &= m - 1) {
			uint32_t id = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(m));
			if (!is_entry(s->g, id))
				s->g->stats.unresolved_bytes += (uint64_t)gspan_of(s->g, id)->elem_words * 8;
		}
	return spread(s);
}

static bool any_shared(const kb_graph *g, size_t words)
{
	for (size_t i = 0; i < words; i++)
		if (g->shared[i])
			return true;
	return false;
}

static void sum_retained(kb_graph *g, size_t words)
{
	for (size_t i = 0; i < g->nholders; i++) {
		g->holders[i].retained_bytes = g->holders[i].bytes;
		g->holders[i].retained_objects = g->holders[i].objects;
	}
	for (size_t i = 0; i < words; i++)
		for (uint64_t m = g->shared[i]; m; m &= m - 1) {
			uint32_t id = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(m));
			kb_holder *h = &g->holders[g->nodes[path_of(g, id)].holder];
			h->retained_bytes -= (uint64_t)gspan_of(g, id)->elem_words * 8;
			h->retained_objects--;
		}
}

kb_error *graph_find_shared(kb_graph *g)
{
	size_t words = ((size_t)g->heap->nids + 63) / 64;
	struct share s = { .g = g, .nworkers = kb_cpu_count() };
	g->owner = kb_big_alloc((size_t)g->heap->nids * sizeof(*g->owner) + 64);
	s.found = calloc(s.nworkers, sizeof(*s.found));
	kb_error *err = g->owner && s.found ? behind_meets(&s) : kb_error_nomem();
	if (!err && any_shared(g, words)) {
		err = first_entries(&s);
		s.part = kb_big_alloc(words * 8 + 64);
		s.tangled = kb_big_alloc(words * 8 + 64);
		if (!err)
			err = s.part && s.tangled ? rounds(&s, words) : kb_error_nomem();
		kb_big_free(s.part, words * 8 + 64);
		kb_big_free(s.tangled, words * 8 + 64);
	}
	for (unsigned w = 0; s.found && w < s.nworkers; w++)
		free(s.found[w].p);
	free(s.found);
	free(s.stack.p);
	free(s.entries.p);
	if (!err)
		sum_retained(g, words);
	return err;
}
