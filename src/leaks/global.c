/* Family global: what a package-level variable retains. One look: how much, how many entries, what fills it. */
#include "leaks.h"

#include <stdlib.h>

enum { MAX_HOLDERS = 16, MAX_FILL_STEPS = 4, MAX_SITES = 3 };
static const double same_place = 0.6; /* the way down goes on while one child has this share */
static const double worth_showing = 0.3;

/* What a variable holds: alone, and together with other variables (counted with the one that leads there first). */
struct claim {
	uint32_t holder;
	uint64_t bytes, objects, shared_bytes;
	uint32_t shared_example; /* an object that others hold as well, of the largest such group */
	uint64_t example_bytes;
};

/* One claim while it is looked into. */
struct look {
	const kb_facts *f;
	kb_findings *out;
	const struct claim *claim;
	uint32_t top;                /* the holder's path node */
	const kb_holder_path *paths; /* of this holder, sorted by node */
	size_t npaths;
	const kb_path_node *nodes;
	kb_shapes *shapes;
};

static const kb_holder_path *path_at(const struct look *l, uint32_t node)
{
	size_t lo = 0, hi = l->npaths;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (l->paths[mid].node < node)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->npaths && l->paths[lo].node == node ? &l->paths[lo] : NULL;
}

static const kb_holder_path *heaviest_child(const struct look *l, uint32_t node)
{
	const kb_holder_path *best = NULL;
	for (size_t i = 0; i < l->npaths; i++)
		if (l->nodes[l->paths[i].node].parent == node && l->paths[i].node != node && (!best || l->paths[i].sub_bytes > best->sub_bytes))
			best = &l->paths[i];
	return best;
}

static const kb_shape *shape_of(const struct look *l, uint32_t node) { return kb_shape_get(l->shapes, l->nodes[node].shape); }

static bool is_sync_map(const char *type)
{
	return type && (strcmp(type, "sync.Map") == 0 || strncmp(type, "internal/sync.HashTrieMap[", 26) == 0 || strncmp(type, "sync.HashTrieMap[", 17) == 0);
}

static const kb_var *var_of(const struct look *l)
{
	size_t n, nvars;
	const kb_holder *h = &kb_graph_holders(l->f->graph, &n)[l->claim->holder];
	const kb_var *vars = kb_go_vars(l->f->go, &nvars);
	return h->owner < nvars ? &vars[h->owner] : NULL;
}

/* The rule for what stands at a node; NULL while the way down should go on. */
static const char *rule_at(const struct look *l, uint32_t node)
{
	const kb_shape *s = shape_of(l, node);
	const kb_var *v = var_of(l);
	if (l->nodes[node].depth < 2)
		return v && v->type && is_sync_map(v->type->name) ? "global/map" : NULL;
	const kb_holder_path *p = path_at(l, node);
	switch (s->role) {
	case KB_ROLE_MAP:
		return "global/map";
	case KB_ROLE_CHAN:
	case KB_ROLE_CHAN_BUF:
	case KB_ROLE_BYTES:
		return "global/slice";
	case KB_ROLE_VALUE:
		if (is_sync_map(s->name))
			return "global/map";
		if (s->name && strncmp(s->name, "[]", 2) == 0)
			return "global/slice";
		break;
	default:
		break;
	}
	return p && p->objects > 1 ? "global/other" : NULL;
}

/* From the variable down to the place where the memory is: a container, many objects, or a fork. */
static uint32_t descend(const struct look *l, const char **ret_rule)
{
	uint32_t node = l->top;
	for (;;) {
		*ret_rule = rule_at(l, node);
		if (*ret_rule)
			return node;
		const kb_holder_path *here = path_at(l, node), *child = heaviest_child(l, node);
		if (!child || !here || (double)child->sub_bytes < same_place * (double)here->sub_bytes)
			break;
		node = child->node;
	}
	*ret_rule = "global/other";
	return node;
}

static const kb_type *slice_type_of(const struct look *l, uint32_t node)
{
	const kb_var *v = var_of(l);
	bool own = l->nodes[node].depth == 2 && v && v->type && v->type->kind == KB_KIND_SLICE;
	return own ? v->type : NULL;
}

/* Entries of the container at node. */
static void count_entries(const struct look *l, uint32_t node, kb_container *c)
{
	*c = (kb_container){ 0 };
	const kb_heap *h = kb_go_heap(l->f->go);
	const kb_holder_path *p = path_at(l, node);
	const kb_shape *s = shape_of(l, node);
	const kb_var *v = var_of(l);
	kb_addr at = 0;
	uint64_t size = 0;
	if (p && p->example != KB_NO_ID) {
		const kb_span *span = kb_heap_span_of_id(h, p->example);
		at = kb_span_addr(span, p->example) + (span->flags & KB_SPAN_HEADERS ? 8 : 0);
		size = span->asked_size;
	}
	kb_error *err = NULL;
	uint64_t len = 0;
	if (l->nodes[node].depth < 2 && v)
		err = kb_go_syncmap_info(l->f->go, v->addr, c);
	else if (at && s->role == KB_ROLE_MAP)
		err = kb_go_map_info(l->f->go, at, s->type, c);
	else if (at && s->role == KB_ROLE_CHAN)
		err = kb_go_chan_info(l->f->go, at, c);
	else if (at && is_sync_map(s->name))
		err = kb_go_syncmap_info(l->f->go, at, c);
	else if (slice_type_of(l, node)) {
		err = kb_target_read_u64(l->f->target, v->addr + 8, &len);
		*c = (kb_container){ .kind = KB_CONT_SLICE, .count = len };
	} else if (s->role == KB_ROLE_VALUE && s->type && s->type->size)
		*c = (kb_container){ .kind = KB_CONT_SLICE, .capacity = size / s->type->size };
	kb_error_free(err);
}

/* Steps to the node, and below it what fills it. */
static kb_error *steps(const struct look *l, uint32_t node, kb_finding *fd)
{
	kb_step *s;
	size_t n;
	uint32_t fill = node;
	uint64_t whole = path_at(l, node) ? path_at(l, node)->sub_bytes : 0;
	for (unsigned shown = 0; shown < MAX_FILL_STEPS;) {
		const kb_holder_path *child = heaviest_child(l, fill);
		if (!child || (double)child->sub_bytes < worth_showing * (double)whole)
			break;
		fill = child->node;
		shown += kb_shape_label(l->shapes, l->nodes[fill].label)[0] != '\0';
	}
	KB_TRY(kb_steps_of_node(l->f, &l->out->arena, fill, &s, &n));
	fd->holder = s;
	fd->nholder = n;
	return NULL;
}

static void add_evidence(const struct look *l, kb_finding *fd, const char *text)
{
	enum { MAX = 8 };
	if (!fd->evidence)
		fd->evidence = kb_arena_alloc(&l->out->arena, MAX * sizeof(*fd->evidence));
	if (fd->evidence && text && fd->nevidence < MAX)
		fd->evidence[fd->nevidence++] = text;
}

/* Names of other variables that lead to the same objects, at most three. */
static const char *other_holders(const struct look *l)
{
	enum { MAX_FROM = 64, MAX_NAMES = 3 };
	uint32_t from[MAX_FROM], seen[MAX_NAMES + 1], nseen = 0;
	size_t n = kb_graph_referrers(l->f->graph, l->claim->shared_example, from, MAX_FROM), nnodes;
	const kb_path_node *nodes = kb_graph_paths(l->f->graph, &nnodes);
	kb_str names = { 0 };
	for (size_t i = 0; i < n && i < MAX_FROM && nseen < MAX_NAMES; i++) {
		uint32_t node = kb_graph_path_of(l->f->graph, from[i]), k = 0;
		if (!node || nodes[node].holder == l->claim->holder)
			continue;
		while (k < nseen && seen[k] != nodes[node].holder)
			k++;
		if (k < nseen)
			continue;
		seen[nseen++] = nodes[node].holder;
		kb_str_printf(&names, "%s%s", nseen > 1 ? ", " : "", kb_step_of_holder(l->f, &l->out->arena, nodes[node].holder).name);
	}
	const char *s = names.s ? kb_arena_strndup(&l->out->arena, names.s, names.n) : NULL;
	kb_str_free(&names);
	return s;
}

static void add_shared_evidence(const struct look *l, kb_finding *fd)
{
	kb_arena *a = &l->out->arena;
	const char *others = other_holders(l);
	add_evidence(l, fd, kb_arena_printf(a, "%s in %s objects; %s of it is also held by %s: it is freed when both let go.",
					    kb_human_bytes(a, l->claim->bytes), kb_human_count(a, l->claim->objects),
					    kb_human_bytes(a, l->claim->shared_bytes), others ? others : "other package-level data"));
}

static void evidence(const struct look *l, uint32_t node, const kb_container *c, kb_finding *fd)
{
	kb_arena *a = &l->out->arena;
	const kb_holder_path *p = path_at(l, node);
	if (!l->claim->shared_bytes)
		add_evidence(l, fd, kb_arena_printf(a, "%s in %s object%s would be freed if it were dropped.", kb_human_bytes(a, l->claim->bytes),
						    kb_human_count(a, l->claim->objects), l->claim->objects == 1 ? "" : "s"));
	else
		add_shared_evidence(l, fd);
	if (p && p->sub_bytes < l->claim->bytes)
		add_evidence(l, fd, kb_arena_printf(a, "%s of it lie here.", kb_human_bytes(a, p->sub_bytes)));
	if (c->capacity && c->count && c->kind != KB_CONT_SYNCMAP)
		add_evidence(l, fd, kb_arena_printf(a, "%s entries, room for %s.", kb_human_count(a, c->count), kb_human_count(a, c->capacity)));
}

static const char *summary_of(const struct look *l, uint32_t node, const kb_container *c, const kb_finding *fd)
{
	kb_arena *a = &l->out->arena;
	kb_str path = { 0 };
	kb_step *s;
	size_t n;
	kb_error *err = kb_steps_of_node(l->f, a, node, &s, &n);
	if (err) {
		kb_error_free(err);
		return fd->holder[0].name;
	}
	kb_str_add(&path, s[0].name);
	for (size_t i = 1; i < n; i++)
		kb_str_add(&path, s[i].name);
	const char *type = s[n - 1].type;
	if (type[0])
		kb_str_printf(&path, "  %s", type);
	if (c->count)
		kb_str_printf(&path, "  %s %s", kb_human_count(a, c->count), c->kind == KB_CONT_CHAN ? "queued" : "entries");
	const char *text = path.s ? kb_arena_strndup(a, path.s, path.n) : NULL;
	kb_str_free(&path);
	return text ? text : fd->holder[0].name;
}

static kb_error *find(const struct look *l)
{
	kb_findings *out = l->out;
	const char *rule;
	uint32_t node = descend(l, &rule);
	kb_container c;
	count_entries(l, node, &c);
	kb_finding fd = { .rule = kb_rule_find(rule), .confidence = KB_SUSPECT, .bytes = l->claim->bytes,
			  .count = c.count ? c.count : c.capacity ? c.capacity : l->claim->objects };
	KB_TRY(steps(l, node, &fd));
	evidence(l, node, &c, &fd);
	fd.summary = summary_of(l, node, &c, &fd);
	kb_place *sites = kb_arena_alloc(&out->arena, MAX_SITES * sizeof(*sites));
	if (!sites)
		return kb_error_nomem();
	fd.nallocated_by = kb_allocated_by(l->f, l->claim->holder, sites, MAX_SITES);
	fd.allocated_by = sites;
	kb_finding_stamp(&fd);
	if (!KB_ROOM(out->items, out->n, out->cap, SIZE_MAX))
		return kb_error_nomem();
	out->items[out->n++] = fd;
	return NULL;
}

static uint64_t threshold(const kb_facts *f)
{
	uint64_t tenth = kb_graph_stats_get(f->graph)->reached_bytes / 10, least = 8 << 20;
	return f->min_bytes ? f->min_bytes : tenth > least ? tenth : least;
}

static int larger_claim(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->holder < y->holder ? -1 : x->holder > y->holder;
}

/* What each variable claims; those below the threshold are dropped. */
static kb_error *claims_of(const kb_facts *f, struct claim **ret, size_t *ret_n)
{
	kb_unit *units = NULL;
	size_t n, nholders, kept = 0;
	const kb_holder *holders = kb_graph_holders(f->graph, &nholders);
	KB_TRY(kb_graph_units(f->graph, 1, &units, &n));
	struct claim *claims = calloc(nholders + 1, sizeof(*claims));
	for (size_t i = 0; claims && i < n; i++) {
		struct claim *c = &claims[units[i].holder];
		c->bytes += units[i].bytes;
		c->objects += units[i].objects;
		if (units[i].object == KB_NO_ID)
			continue;
		c->shared_bytes += units[i].bytes;
		if (units[i].bytes > c->example_bytes) {
			c->example_bytes = units[i].bytes;
			c->shared_example = units[i].object;
		}
	}
	free(units);
	if (!claims)
		return kb_error_nomem();
	for (uint32_t i = 0; i < nholders; i++) {
		claims[i].holder = i;
		if (holders[i].class_ == KB_CLASS_GLOBAL && claims[i].bytes >= threshold(f))
			claims[kept++] = claims[i];
	}
	qsort(claims, kept, sizeof(*claims), larger_claim);
	*ret = claims;
	*ret_n = kept < MAX_HOLDERS ? kept : MAX_HOLDERS;
	return NULL;
}

kb_error *kb_leaks_global(const kb_facts *f, kb_findings *out)
{
	struct claim *claims = NULL;
	kb_holder_path *paths = NULL;
	size_t n = 0, npaths = 0, nholders, nnodes;
	uint32_t wanted[MAX_HOLDERS];
	const kb_holder *holders = kb_graph_holders(f->graph, &nholders);
	KB_TRY(claims_of(f, &claims, &n));
	for (size_t i = 0; i < n; i++)
		wanted[i] = claims[i].holder;
	kb_error *err = kb_graph_holder_paths(f->graph, wanted, n, &paths, &npaths);
	for (size_t i = 0, at = 0; i < n && !err; i++) {
		struct look l = { .f = f, .out = out, .claim = &claims[i], .top = holders[claims[i].holder].node, .paths = paths + at,
				  .shapes = kb_graph_shapes(f->graph), .nodes = kb_graph_paths(f->graph, &nnodes) };
		while (at + l.npaths < npaths && l.paths[l.npaths].at == i)
			l.npaths++;
		at += l.npaths;
		err = find(&l);
	}
	free(paths);
	free(claims);
	return err;
}
