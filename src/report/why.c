/* why: the shortest path from a root to an address; all paths of a type, grouped; what a variable keeps. */
#include "private.h"

#include <ctype.h>
#include <stdlib.h>

/* A path to show. */
struct shown_path {
	uint64_t bytes, objects;
	const kb_step *steps;
	size_t n;
};
struct answer {
	struct shown_path *paths;
	size_t n, cap;
	kb_map known; /* hash of the steps → index in paths */
	kb_arena arena;
	size_t left_out;
};

/* Ways that differ only in what is not shown (tables of a map) are one path. */
static kb_error *add_path(struct answer *w, struct shown_path p)
{
	uint64_t key = 0, at;
	for (size_t i = 0; i < p.n; i++) {
		key = kb_hash64(key ^ kb_hash_bytes(p.steps[i].name, strlen(p.steps[i].name)));
		key = kb_hash64(key ^ kb_hash_bytes(p.steps[i].type, strlen(p.steps[i].type)) ^ p.steps[i].address);
	}
	key >>= 1;
	if (kb_map_get(&w->known, key, &at)) {
		w->paths[at].bytes += p.bytes;
		w->paths[at].objects += p.objects;
		return NULL;
	}
	if (!kb_map_put(&w->known, key, w->n))
		return kb_error_nomem();
	if (!KB_ROOM(w->paths, w->n, w->cap, SIZE_MAX))
		return kb_error_nomem();
	w->paths[w->n++] = p;
	return NULL;
}

static kb_addr data_start(const kb_heap *h, uint32_t id)
{
	const kb_span *s = kb_heap_span_of_id(h, id);
	return kb_span_addr(s, id) + (s->flags & KB_SPAN_HEADERS ? 8 : 0);
}

static const char *shape_name(const kb_facts *f, uint32_t shape)
{
	const char *n = kb_shape_get(kb_graph_shapes(f->graph), shape)->name;
	return shape && n ? n : "";
}

/* The edge between two links, with its concrete index or key. */
static const char *edge_text(const kb_facts *f, kb_arena *a, const kb_chain *c, size_t i)
{
	char buf[160];
	const kb_heap *h = kb_go_heap(f->go);
	const kb_chain_link *from = &c->links[i - 1];
	const kb_span *s = kb_heap_span_of_id(h, from->id);
	kb_shape_edge_text(kb_graph_shapes(f->graph), from->shape, data_start(h, from->id), s->elem_size, &c->links[i].edge, buf, sizeof(buf));
	return kb_arena_strndup(a, buf, strlen(buf));
}

static const char *root_label(const kb_facts *f, const kb_chain *c)
{
	const kb_heap *h = kb_go_heap(f->go);
	const kb_span *s = kb_heap_span_of_id(h, c->links[0].id);
	kb_addr start = data_start(h, c->links[0].id);
	kb_edge_in in = { .type_word = c->root.word_before, .target_offset = c->root.value > start ? c->root.value - start : 0, .target_size = s->elem_size,
			  .target_pointers = s->flags & KB_SPAN_NOSCAN ? 1 : 2 };
	kb_shapes *shapes = kb_graph_shapes(f->graph);
	return kb_shape_label(shapes, kb_shape_root(shapes, &c->root, &in).label);
}

static kb_error *why_object(const kb_facts *f, uint32_t id, struct answer *w)
{
	kb_chain c;
	KB_TRY(kb_graph_chain_to(f->graph, id, &c));
	const kb_heap *h = kb_go_heap(f->go);
	kb_step *steps = kb_arena_alloc(&w->arena, (c.n + 1) * sizeof(*steps));
	if (!steps) {
		kb_chain_free(&c);
		return kb_error_nomem();
	}
	steps[0] = kb_step_of_holder(f, &w->arena, c.holder);
	size_t n = 1;
	for (size_t i = 0; i < c.n; i++) {
		const char *name = i ? edge_text(f, &w->arena, &c, i) : root_label(f, &c);
		enum kb_role role = kb_shape_get(kb_graph_shapes(f->graph), c.links[i].shape)->role;
		bool last = i + 1 == c.n;
		/* Tables of maps and the like are no step for people, unless they are what was asked for. */
		if (!last && (!name || !name[0]) && (i == 0 || role == KB_ROLE_MAP_INNER || role == KB_ROLE_MAP))
			continue;
		steps[n++] = (kb_step){ .name = name && name[0] ? name : i ? "(pointer)" : "", .type = shape_name(f, c.links[i].shape),
					.address = data_start(h, c.links[i].id) };
	}
	uint64_t size = kb_heap_span_of_id(h, id)->asked_size;
	kb_chain_free(&c);
	return add_path(w, (struct shown_path){ .bytes = size, .objects = 1, .steps = steps, .n = n });
}

static bool type_matches(const char *name, const char *what)
{
	if (!name)
		return false;
	if (strcmp(name, what) == 0)
		return true;
	return what[0] == '*' && strcmp(name, what + 1) == 0;
}

static int larger_path(const void *a, const void *b)
{
	const struct shown_path *x = a, *y = b;
	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

static kb_error *why_type(const kb_facts *f, const char *what, size_t limit, struct answer *w)
{
	size_t npaths;
	const kb_path_node *paths = kb_graph_paths(f->graph, &npaths);
	for (uint32_t i = 1; i < npaths; i++) {
		if (!paths[i].objects || !type_matches(shape_name(f, paths[i].shape), what))
			continue;
		kb_step *s;
		size_t n;
		KB_TRY(kb_steps_of_node(f, &w->arena, i, &s, &n));
		KB_TRY(add_path(w, (struct shown_path){ .bytes = paths[i].bytes, .objects = paths[i].objects, .steps = s, .n = n }));
	}
	if (w->n)
		qsort(w->paths, w->n, sizeof(*w->paths), larger_path);
	if (w->n > limit) {
		w->left_out = w->n - limit;
		w->n = limit;
	}
	return w->n ? NULL : kb_error_new(KB_E_NOT_FOUND, "nothing alive is known to have the type %s", what);
}

/* A variable is a root itself: shown with the heaviest ways down from it. */
static kb_error *why_variable(const kb_facts *f, uint32_t var, size_t limit, struct answer *w)
{
	size_t n, npaths, nvars;
	const kb_holder *holders = kb_graph_holders(f->graph, &n);
	const kb_var *vars = kb_go_vars(f->go, &nvars);
	const kb_path_node *paths = kb_graph_paths(f->graph, &npaths);
	for (uint32_t i = 1; i < npaths; i++) {
		const kb_holder *h = paths[i].holder < n ? &holders[paths[i].holder] : NULL;
		if (!h || h->kind != KB_ROOT_GLOBAL || !paths[i].objects || strcmp(vars[h->owner].name, vars[var].name) != 0)
			continue;
		kb_step *s;
		size_t ns;
		KB_TRY(kb_steps_of_node(f, &w->arena, i, &s, &ns));
		KB_TRY(add_path(w, (struct shown_path){ .bytes = paths[i].bytes, .objects = paths[i].objects, .steps = s, .n = ns }));
	}
	if (!w->n)
		return kb_error_new(KB_E_NOT_FOUND, "%s is a package-level variable, and nothing in the heap is kept by it first",
				    vars[var].name);
	qsort(w->paths, w->n, sizeof(*w->paths), larger_path);
	if (w->n > limit) {
		w->left_out = w->n - limit;
		w->n = limit;
	}
	return NULL;
}

static bool parse_address(const char *s, kb_addr *ret)
{
	char *end;
	if (!isdigit((unsigned char)s[0]))
		return false;
	*ret = strtoull(s, &end, 0);
	return *end == '\0';
}

static kb_error *answer_address(const kb_facts *f, kb_addr at, size_t limit, struct answer *w)
{
	uint32_t id = kb_heap_object(kb_go_heap(f->go), at);
	if (id != KB_NO_ID)
		return why_object(f, id, w);
	uint32_t var = kb_go_var_at(f->go, at);
	if (var != KB_NO_ID)
		return why_variable(f, var, limit, w);
	return kb_error_new(KB_E_NOT_FOUND, "0x%llx is in no object of the Go heap and in no package-level variable that holds pointers", (unsigned long long)at);
}

static kb_error *answer(const kb_facts *f, const char *what, size_t limit, struct answer *w)
{
	kb_addr at;
	if (parse_address(what, &at))
		return answer_address(f, at, limit, w);
	uint32_t var = kb_go_var_by_name(f->go, what);
	if (var != KB_NO_ID)
		return why_variable(f, var, limit, w);
	return kb_error_remedy(why_type(f, what, limit, w), "give an address (0xc000012000), a type (main.Session) or a package-level variable (main.sessions)");
}

static void put_path(FILE *out, kb_arena *a, const struct shown_path *p, const kb_style *st)
{
	fprintf(out, "%s in %s object%s\n", kb_human_bytes(a, p->bytes), kb_human_count(a, p->objects), p->objects == 1 ? "" : "s");
	fputs("  ", out);
	put_color(out, st, C_BOLD, clean(a, p->steps[0].name));
	fprintf(out, "%s%s   (%s)\n", p->steps[0].type[0] ? "  " : "", clean(a, p->steps[0].type), p->steps[0].kind);
	for (size_t i = 1; i < p->n; i++) {
		fprintf(out, "  %s %s  %s", arrow(st), clean(a, p->steps[i].name), clean(a, p->steps[i].type));
		if (p->steps[i].address)
			fprintf(out, "  0x%llx", (unsigned long long)p->steps[i].address);
		fputc('\n', out);
	}
}

static kb_error *put_json(FILE *out, const kb_look *look, const struct answer *w)
{
	json_t *o = json_object(), *list, *steps;
	json_object_set_new(o, "schema", json_string("keptby/why/1"));
	json_object_set_new(o, "target", json_target(look));
	json_object_set_new(o, "paths", list = json_array());
	for (size_t i = 0; i < w->n; i++) {
		json_t *p = json_object();
		json_object_set_new(p, "bytes", json_integer((json_int_t)w->paths[i].bytes));
		json_object_set_new(p, "objects", json_integer((json_int_t)w->paths[i].objects));
		json_object_set_new(p, "path", steps = json_array());
		for (size_t k = 0; k < w->paths[i].n; k++)
			json_array_append_new(steps, json_step(&w->paths[i].steps[k]));
		json_array_append_new(list, p);
	}
	return json_finish(out, o);
}

kb_error *kb_why(FILE *out, const kb_look *look, const char *what, size_t limit, enum kb_format format, const kb_style *st)
{
	struct answer w = { 0 };
	kb_error *err = answer(look->facts, what, limit, &w);
	if (!err && format == KB_FORMAT_JSON) {
		err = put_json(out, look, &w);
	} else if (!err) {
		for (size_t i = 0; i < w.n; i++)
			put_path(out, &w.arena, &w.paths[i], st);
		if (w.left_out)
			fprintf(out, "(and %zu more path%s: --limit)\n", w.left_out, w.left_out == 1 ? "" : "s");
	}
	free(w.paths);
	kb_map_free(&w.known);
	kb_arena_free(&w.arena);
	return err;
}
