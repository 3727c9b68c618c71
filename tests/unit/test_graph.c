/* The graph on made-up heaps: random objects, edges and roots, checked against brute force. The Go runtime is played by the functions
 * at the top: the linker takes them instead of the library's. */
#include "graph/graph.h"
#include "kb_test.h"

#include <stdlib.h>

enum { OBJECT_BYTES = 64, WORDS = 8, PER_SPAN = KB_PAGE_SIZE / OBJECT_BYTES, SPANS = 2, MAX_OBJECTS = SPANS * PER_SPAN, MAX_VARS = 6,
       MOST_SPANS = 857 };
static const kb_addr heap_base = 0xc000000000;

static struct {
	kb_heap heap;
	kb_span spans[MOST_SPANS];
	uint8_t bits[MOST_SPANS][PER_SPAN / 8];
	uint32_t pages[8192];
	uint32_t *table[1];
	uint64_t words[MOST_SPANS * KB_PAGE_SIZE / 8];
	kb_var vars[MAX_VARS];
	kb_root roots[64];
	size_t nroots, nvars;
	uint32_t nobjects;
} fake;

static kb_addr object_addr(uint32_t i) { return heap_base + (uint64_t)i * OBJECT_BYTES; }

const kb_heap *kb_go_heap(const kb_go *go) { (void)go; return &fake.heap; }
kb_target *kb_go_target(const kb_go *go) { (void)go; return NULL; }
kb_image_range kb_go_image_range(const kb_go *go) { (void)go; return (kb_image_range){ 0x400000, 0x500000, 0x400000, 0x600000 }; }
const kb_span *kb_heap_span_of_id(const kb_heap *h, uint32_t id) { return &h->spans[id / PER_SPAN]; }
size_t kb_target_read_holes(const kb_target *t, kb_addr a, void *buf, size_t n)
{
	(void)t;
	memcpy(buf, (uint8_t *)fake.words + (a - heap_base), n);
	return n;
}
kb_mask_cache *kb_mask_cache_new(const kb_go *go) { (void)go; return malloc(1); }
void kb_mask_cache_free(kb_mask_cache *c) { free(c); }
uint64_t kb_mask_cache_errors(const kb_mask_cache *c) { (void)c; return 0; }
void kb_go_span_mask(const kb_go *go, kb_mask_cache *c, const kb_span *s, const uint8_t *data, uint64_t first, uint64_t nwords, uint64_t *bits)
{
	(void)go, (void)c, (void)s, (void)data, (void)first;
	memset(bits, 0xff, (nwords + 63) / 64 * 8);
}
kb_error *kb_go_static_roots(const kb_go *go, kb_root_fn fn, void *ctx)
{
	(void)go;
	for (size_t i = 0; i < fake.nroots; i++)
		fn(ctx, &fake.roots[i]);
	return NULL;
}
kb_error *kb_go_stack_roots(const kb_go *go, uint32_t g, kb_root_fn fn, void *ctx) { (void)go, (void)g, (void)fn, (void)ctx; return NULL; }
const kb_goroutine *kb_go_goroutines(const kb_go *go, size_t *n) { (void)go; *n = 0; return NULL; }
const kb_var *kb_go_vars(const kb_go *go, size_t *n) { (void)go; *n = fake.nvars; return fake.vars; }
const kb_special *kb_go_specials(const kb_go *go, size_t *n) { (void)go; *n = 0; return NULL; }
void kb_go_gap(const kb_go *go, const char *fmt, ...) { (void)go, (void)fmt; }
kb_error *kb_shapes_new(const kb_go *go, kb_shapes **ret) { (void)go; *ret = NULL; return NULL; }
void kb_shapes_free(kb_shapes *s) { (void)s; }
const kb_shape *kb_shape_get(const kb_shapes *s, uint32_t shape)
{
	static const kb_shape unknown = { .role = KB_ROLE_UNKNOWN };
	(void)s, (void)shape;
	return &unknown;
}
size_t kb_shapes_count(const kb_shapes *s) { (void)s; return 1; }
kb_edge_out kb_shape_step(kb_shapes *s, uint32_t shape, const kb_edge_in *in) { (void)s, (void)shape; return (kb_edge_out){ 0, (uint32_t)in->offset / 8 + 1 }; }
kb_edge_out kb_shape_root(kb_shapes *s, const kb_root *r, const kb_edge_in *in) { (void)s, (void)r, (void)in; return (kb_edge_out){ 0 }; }
uint32_t kb_shape_from_header(kb_shapes *s, kb_addr t) { (void)s, (void)t; return 0; }

static void make_heap_of(uint32_t nspans, uint32_t nobjects, unsigned nvars)
{
	memset(&fake, 0, sizeof(fake));
	memset(fake.pages, 0xff, sizeof(fake.pages));
	fake.nobjects = nobjects;
	fake.nvars = nvars;
	for (uint32_t i = 0; i < nspans; i++) {
		fake.spans[i] = (kb_span){ .base = heap_base + i * KB_PAGE_SIZE, .elem_size = OBJECT_BYTES, .asked_size = OBJECT_BYTES, .npages = 1,
					   .alloc_bits = fake.bits[i], .nelems = PER_SPAN, .first_id = i * PER_SPAN, .div_magic = UINT32_MAX / OBJECT_BYTES + 1 };
		fake.pages[i] = i;
	}
	for (uint32_t i = 0; i < nobjects; i++)
		fake.bits[i / PER_SPAN][i % PER_SPAN / 8] |= (uint8_t)(1 << (i & 7));
	fake.table[0] = fake.pages;
	fake.heap = (kb_heap){ .spans = fake.spans, .nspans = nspans, .nids = nspans * PER_SPAN, .objects = nobjects, .arena_base_first = heap_base, .narenas = 1,
			       .page_table = fake.table };
}

static void make_heap(uint32_t nobjects, unsigned nvars) { make_heap_of(SPANS, nobjects, nvars); }

static void add_edge(uint32_t from, unsigned slot, uint32_t to, unsigned offset)
{
	fake.words[(uint64_t)from * WORDS + slot] = object_addr(to) + offset;
}

static void add_root(uint32_t var, uint32_t to)
{
	fake.roots[fake.nroots] = (kb_root){ .kind = KB_ROOT_GLOBAL, .owner = var, .slot = 0x500000 + 8 * fake.nroots, .value = object_addr(to) };
	fake.nroots++;
}

static kb_graph *walk(void)
{
	kb_graph *g;
	assert_null(kb_graph_build(NULL, 0, NULL, &g));
	assert_null(kb_graph_walk(g, NULL));
	return g;
}

/* Brute force. Nodes: objects, then variables at MAX_OBJECTS + i. Reachable from all variables when node `without` is taken away. */
static void reach_without(uint32_t without, bool *seen)
{
	uint32_t stack[MAX_OBJECTS], n = 0;
	memset(seen, 0, MAX_OBJECTS);
	for (size_t i = 0; i < fake.nroots; i++) {
		uint32_t t = (uint32_t)((fake.roots[i].value - heap_base) / OBJECT_BYTES);
		if (MAX_OBJECTS + fake.roots[i].owner == without || t == without || seen[t])
			continue;
		seen[t] = true;
		stack[n++] = t;
	}
	while (n) {
		uint32_t o = stack[--n];
		for (unsigned s = 0; s < WORDS; s++) {
			uint64_t v = fake.words[(uint64_t)o * WORDS + s];
			uint32_t t = (uint32_t)((v - heap_base) / OBJECT_BYTES);
			if (!v || t == without || seen[t])
				continue;
			seen[t] = true;
			stack[n++] = t;
		}
	}
}

/* unit[o]: the topmost node that dominates o (a variable or an object, o itself at least); KB_NO_ID when o is not reached. */
static void brute_units(uint32_t *unit)
{
	static bool all[MAX_OBJECTS], without[MAX_OBJECTS + MAX_VARS][MAX_OBJECTS];
	reach_without(KB_NO_ID, all);
	for (uint32_t d = 0; d < MAX_OBJECTS + MAX_VARS; d++)
		reach_without(d, without[d]);
	for (uint32_t o = 0; o < MAX_OBJECTS; o++) {
		unit[o] = all[o] ? o : KB_NO_ID;
		for (uint32_t v = MAX_OBJECTS; all[o] && v < MAX_OBJECTS + MAX_VARS; v++)
			if (!without[v][o])
				unit[o] = v;
	}
	for (uint32_t o = 0; o < MAX_OBJECTS; o++) {
		if (unit[o] != o)
			continue;
		/* The dominator of o that nothing but itself dominates. */
		for (uint32_t d = 0; d < MAX_OBJECTS; d++)
			if (all[d] && d != o && !without[d][o] && !without[d][unit[o]])
				unit[o] = d;
	}
}

static void check_against_brute_force(kb_graph *g, bool *ret_resolved)
{
	static uint32_t unit[MAX_OBJECTS];
	size_t nholders;
	const kb_holder *holders = kb_graph_holders(g, &nholders);
	brute_units(unit);
	*ret_resolved = kb_graph_stats_get(g)->unresolved_bytes == 0;
	for (uint32_t o = 0; o < fake.nobjects; o++) {
		uint32_t holder, node;
		bool reached = kb_graph_unit_of(g, o, &holder, &node);
		assert_int_equal(reached, unit[o] != KB_NO_ID);
		if (!reached || !*ret_resolved)
			continue;
		/* A unit is told by its path node: the holder's, or that of the shared object. */
		bool own = node == holders[holder].node;
		assert_true(own ? unit[o] == MAX_OBJECTS + holders[holder].owner : unit[o] < MAX_OBJECTS && kb_graph_path_of(g, unit[o]) == node);
	}
}

static void random_heaps_agree_with_brute_force(void **state)
{
	unsigned resolved = 0, total = 300;
	(void)state;
	srandom(7);
	for (unsigned round = 0; round < total; round++) {
		uint32_t n = 2 + (uint32_t)random() % 90;
		make_heap(n, 1 + (unsigned)random() % MAX_VARS);
		unsigned edges = n + (unsigned)random() % n;
		for (unsigned i = 0; i < edges; i++)
			add_edge((uint32_t)random() % n, (unsigned)random() % WORDS, (uint32_t)random() % n, random() % 4 ? 0 : 8u * (unsigned)(random() % WORDS));
		for (unsigned i = 0; i < 1 + n / 10; i++)
			add_root((uint32_t)random() % (uint32_t)fake.nvars, (uint32_t)random() % n);
		kb_graph *g = walk();
		bool ok;
		check_against_brute_force(g, &ok);
		resolved += ok;
		kb_graph_free(g);
	}
	assert_in_range(resolved, total * 9 / 10, total);
}

static void a_shared_object_is_a_unit_of_its_own(void **state)
{
	(void)state;
	make_heap(6, 2); /* var 0 → 0 → 2, var 1 → 1 → 2 → 3 → 4; 5 is garbage */
	add_root(0, 0);
	add_root(1, 1);
	add_edge(0, 0, 2, 0);
	add_edge(1, 7, 2, 16);
	add_edge(2, 3, 3, 0);
	add_edge(3, 0, 4, 0);
	kb_graph *g = walk();
	kb_unit *units;
	size_t n;
	assert_null(kb_graph_units(g, 1, &units, &n));
	assert_int_equal(n, 3);
	assert_int_equal(units[0].object, 2);
	assert_int_equal(units[0].bytes, 3 * OBJECT_BYTES);
	assert_int_equal(units[0].objects, 3);
	assert_int_equal(kb_graph_stats_get(g)->unreached_objects, 1);
	assert_int_equal(kb_graph_stats_get(g)->reached_bytes, 5 * OBJECT_BYTES);
	free(units);
	kb_graph_free(g);
}

static void the_shortest_chain_is_found(void **state)
{
	(void)state;
	make_heap(140, 1); /* 0 → 1 → … → 139, and a short cut 3 → 120 across a span */
	add_root(0, 0);
	for (uint32_t i = 0; i + 1 < 140; i++)
		add_edge(i, 1, i + 1, 0);
	add_edge(3, 5, 120, 24);
	kb_graph *g = walk();
	kb_chain c;
	assert_null(kb_graph_chain_to(g, 121, &c));
	assert_int_equal(c.n, 6);
	assert_int_equal(c.links[4].id, 120);
	assert_int_equal(c.links[4].slot, object_addr(3) + 40);
	assert_int_equal(c.links[4].edge.target_offset, 24);
	assert_int_equal(c.root.slot, 0x500000);
	kb_chain_free(&c);
	uint32_t from[4];
	assert_int_equal(kb_graph_referrers(g, 120, from, 4), 2);
	assert_int_equal(from[0], 3);
	assert_int_equal(from[1], 119);
	kb_graph_free(g);
}

/* A tree wide enough that other threads decode ahead of the walk. An object's path is its parent's and the slot, whoever decoded it. */
static void a_wide_level_is_walked_in_order(void **state)
{
	enum { SPANS_HERE = 64, ALL = SPANS_HERE * PER_SPAN };
	static uint32_t child_of[ALL + 16][WORDS];
	(void)state;
	make_heap_of(SPANS_HERE, ALL, 2);
	add_root(0, 0);
	add_root(1, ALL - 1); /* a leaf of the tree, held by another variable too */
	for (uint32_t i = 1; i < ALL; i++)
		add_edge((i - 1) / WORDS, (i - 1) % WORDS, i, 0);
	for (unsigned round = 0; round < 20; round++) {
		kb_graph *g = walk();
		memset(child_of, 0, sizeof(child_of));
		assert_int_equal(kb_graph_stats_get(g)->reached_objects, ALL);
		for (uint32_t i = 1; i < ALL - 1; i++) {
			uint32_t parent = kb_graph_path_of(g, (i - 1) / WORDS), own = kb_graph_path_of(g, i);
			assert_in_range(parent, 1, ALL + 15);
			uint32_t *seen = &child_of[parent][(i - 1) % WORDS];
			assert_true(own && (!*seen || *seen == own));
			*seen = own;
		}
		size_t n;
		const kb_holder *holders = kb_graph_holders(g, &n);
		assert_int_equal(n, 2);
		assert_int_equal(holders[0].retained_objects, ALL - 1);
		assert_int_equal(holders[1].retained_objects, 0);
		kb_graph_free(g);
	}
}

/* One object for each sequence of different slots, 8! e of them: more paths than 16 bits can number. */
static void paths_beyond_16_bits(void **state)
{
	enum { SEQUENCES = 109601 };
	static uint32_t parent[SEQUENCES];
	static uint8_t used[SEQUENCES];
	uint32_t n = 1;
	(void)state;
	make_heap_of(MOST_SPANS, SEQUENCES, 1);
	add_root(0, 0);
	for (uint32_t i = 0; i < n; i++)
		for (unsigned slot = 0; slot < WORDS; slot++)
			if (!(used[i] >> slot & 1)) {
				parent[n] = i;
				used[n] = (uint8_t)(used[i] | 1 << slot);
				add_edge(i, slot, n++, 0);
			}
	assert_int_equal(n, SEQUENCES);
	kb_graph *g = walk();
	size_t npaths;
	const kb_path_node *paths = kb_graph_paths(g, &npaths);
	assert_true(npaths > SEQUENCES);
	for (uint32_t i = 0; i < n; i++) {
		const kb_path_node *p = &paths[kb_graph_path_of(g, i)];
		assert_int_equal(p->objects, 1);
		assert_true(!i || p->parent == kb_graph_path_of(g, parent[i]));
	}
	assert_int_equal(kb_graph_stats_get(g)->reached_objects, SEQUENCES);
	kb_graph_free(g);
}

static void garbage_has_no_chain(void **state)
{
	(void)state;
	make_heap(3, 1);
	add_root(0, 0);
	kb_graph *g = walk();
	kb_chain c;
	kb_error *err = kb_graph_chain_to(g, 2, &c);
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_NOT_FOUND);
	kb_error_free(err);
	kb_graph_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_heaps_agree_with_brute_force),
		cmocka_unit_test(a_shared_object_is_a_unit_of_its_own),
		cmocka_unit_test(the_shortest_chain_is_found),
		cmocka_unit_test(garbage_has_no_chain),
		cmocka_unit_test(a_wide_level_is_walked_in_order),
		cmocka_unit_test(paths_beyond_16_bits),
	};
	return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
