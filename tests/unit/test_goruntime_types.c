/* Type descriptors and shapes, on descriptors made here in this process's own memory and read as a target's. */
#include "kb_test.h"

#include <stdio.h>
#include <unistd.h>

#include "../../src/goruntime/shapes.h"

/* ---- the made-up program ---- */

enum { IMAGE = 256 * 1024 };
static uint8_t *image;
static size_t used;
static struct kb_go go;
static struct kb_module module;

static kb_addr place(size_t n)
{
	used = (used + 15) & ~(size_t)15;
	assert_true(used + n <= IMAGE);
	kb_addr a = (kb_addr)(uintptr_t)(image + used);
	used += n;
	return a;
}

static void put(kb_addr a, uint64_t value, unsigned n)
{
	memcpy((void *)(uintptr_t)a, &value, n);
}

static void put_field(kb_addr a, enum kb_field_id f, uint64_t value)
{
	assert_true(kb_has(&go.layout, f));
	put(a + kb_off(&go.layout, f), value, kb_fsize(&go.layout, f) > 8 ? 8 : kb_fsize(&go.layout, f));
}

static kb_addr place_name(const char *text)
{
	size_t n = strlen(text);
	kb_addr a = place(n + 4);
	uint8_t *p = (uint8_t *)(uintptr_t)a;
	p[0] = 1;
	p[1] = n < 128 ? (uint8_t)n : (uint8_t)(n | 0x80);
	if (n >= 128)
		p[2] = (uint8_t)(n >> 7);
	memcpy(p + (n < 128 ? 2 : 3), text, n);
	return a;
}

static kb_addr place_type(enum kb_struct_id s, enum kb_kind kind, uint64_t size, uint64_t ptrs, const char *name)
{
	kb_addr a = place(kb_sizeof(&go.layout, s));
	put_field(a, KB_F_type_size, size);
	put_field(a, KB_F_type_ptrdata, ptrs);
	put_field(a, KB_F_type_kind, kind);
	put_field(a, KB_F_type_align, 8);
	put_field(a, KB_F_type_hash, a & 0xffffffff);
	put_field(a, KB_F_type_str, (uint32_t)(place_name(name) - module.types));
	return a;
}

static kb_addr basic(enum kb_kind kind, uint64_t size, const char *name)
{
	uint64_t ptrs = kind == KB_KIND_STRING || kind == KB_KIND_UNSAFEPTR ? 8 : 0;
	return place_type(KB_S_type, kind, size, ptrs, name);
}

static kb_addr pointer(kb_addr elem, const char *name)
{
	kb_addr a = place_type(KB_S_ptrtype, KB_KIND_PTR, 8, 8, name);
	put_field(a, KB_F_ptrtype_elem, elem);
	return a;
}

static kb_addr slice(kb_addr elem, const char *name)
{
	kb_addr a = place_type(KB_S_slicetype, KB_KIND_SLICE, 24, 8, name);
	put_field(a, KB_F_slicetype_elem, elem);
	return a;
}

static kb_addr array(kb_addr elem, uint64_t esize, uint64_t eptrs, uint64_t len, const char *name)
{
	kb_addr a = place_type(KB_S_arraytype, KB_KIND_ARRAY, esize * len, len && eptrs ? (len - 1) * esize + eptrs : 0, name);
	put_field(a, KB_F_arraytype_elem, elem);
	put_field(a, KB_F_arraytype_len, len);
	return a;
}

static kb_addr iface(void)
{
	return place_type(KB_S_interfacetype, KB_KIND_INTERFACE, 16, 16, "interface {}");
}

struct made_field {
	const char *name;
	kb_addr type;
	uint64_t offset;
};
static void set_fields(kb_addr a, const struct made_field *f, size_t n)
{
	uint32_t step = kb_sizeof(&go.layout, KB_S_structfield), at = kb_off(&go.layout, KB_F_structtype_fields);
	kb_addr list = place(step * n);
	for (size_t i = 0; i < n; i++) {
		put_field(list + i * step, KB_F_structfield_name, place_name(f[i].name));
		put_field(list + i * step, KB_F_structfield_typ, f[i].type);
		put_field(list + i * step, KB_F_structfield_offset, f[i].offset);
	}
	put(a + at, list, 8);
	put(a + at + 8, n, 8);
	put(a + at + 16, n, 8);
}
static kb_addr strukt(const char *name, uint64_t size, uint64_t ptrs, const struct made_field *f, size_t n)
{
	kb_addr a = place_type(KB_S_structtype, KB_KIND_STRUCT, size, ptrs, name);
	set_fields(a, f, n);
	return a;
}

/* map[K]E with slots of ksize + esize bytes, all multiples of 8. */
static kb_addr map_of(kb_addr k, uint64_t ksize, kb_addr e, uint64_t esize, const char *name)
{
	kb_addr a = place_type(KB_S_maptype, KB_KIND_MAP, 8, 8, name), group = place_type(KB_S_structtype, KB_KIND_STRUCT, 8, 8, "group");
	put_field(a, KB_F_maptype_key, k);
	put_field(a, KB_F_maptype_elem, e);
	if (kb_has(&go.layout, KB_F_maptype_groupSize)) {
		put_field(a, KB_F_maptype_group, group);
		put_field(a, KB_F_maptype_groupSize, 8 + 8 * (ksize + esize));
		if (kb_has(&go.layout, KB_F_maptype_keysOff)) {
			put_field(a, KB_F_maptype_keysOff, 8);
			put_field(a, KB_F_maptype_keyStride, ksize + esize);
			put_field(a, KB_F_maptype_elemsOff, 8 + ksize);
			put_field(a, KB_F_maptype_elemStride, ksize + esize);
		} else {
			put_field(a, KB_F_maptype_slotSize, ksize + esize);
			put_field(a, KB_F_maptype_elemOff, ksize);
		}
	} else {
		put_field(a, KB_F_maptype_bucket, group);
		put_field(a, KB_F_maptype_keysize, ksize);
		put_field(a, KB_F_maptype_elemsize, esize);
		put_field(a, KB_F_maptype_bucketsize, 8 + 8 * (ksize + esize) + 8);
	}
	return a;
}

static int minor_of_run;

static int set_up(void **state)
{
	(void)state;
	kb_layout_origin origin;
	kb_open_options opt = { 0 };
	memset(&go, 0, sizeof(go));
	memset(&module, 0, sizeof(module));
	image = calloc(1, IMAGE);
	used = 64;
	if (!image)
		return -1;
	if (!minor_of_run)
		minor_of_run = 24;
	assert_ok(kb_layout_choose(minor_of_run, 0, "", &go.layout, &origin));
	assert_ok(kb_target_open_pid(getpid(), &opt, &go.target));
	pthread_mutex_init(&go.lock, NULL);
	module.types = (kb_addr)(uintptr_t)image;
	module.etypes = module.types + IMAGE;
	go.modules = &module;
	go.nmodules = 1;
	go.minor = minor_of_run;
	assert_ok(kb_types_init(&go));
	return 0;
}

static int set_up_old(void **state)
{
	minor_of_run = 21;
	int r = set_up(state);
	minor_of_run = 0;
	return r;
}

static int set_up_27(void **state)
{
	minor_of_run = 27;
	int r = set_up(state);
	minor_of_run = 0;
	return r;
}

static int tear_down(void **state)
{
	(void)state;
	kb_types_free(&go);
	kb_target_close(go.target);
	kb_arena_free(&go.arena);
	free(image);
	return 0;
}

/* ---- descriptors ---- */

static void test_struct(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), str = basic(KB_KIND_STRING, 16, "*string");
	put_field(str, KB_F_type_tflag, 2 | 4); /* extra star in the name, named */
	kb_addr node = place_type(KB_S_structtype, KB_KIND_STRUCT, 32, 32, "main.Node");
	kb_addr next = pointer(node, "*main.Node");
	set_fields(node, (struct made_field[]){ { "id", i64, 0 }, { "name", str, 8 }, { "next", next, 24 } }, 3);
	const kb_type *t = kb_go_type(&go, node);
	assert_non_null(t);
	assert_string_equal(t->name, "main.Node");
	assert_int_equal(t->nfields, 3);
	assert_string_equal(t->fields[1].name, "name");
	assert_string_equal(t->fields[1].type->name, "string");
	assert_true(t->fields[1].type->named);
	assert_ptr_equal(t->fields[2].type->elem, t); /* the cycle closes on the same type */
	assert_ptr_equal(kb_go_type(&go, node), t);
}

static void test_not_types(void **state)
{
	(void)state;
	kb_addr good = basic(KB_KIND_INT, 8, "int"), bad = basic(KB_KIND_INT, 8, "int");
	assert_null(kb_go_type(&go, 0));
	assert_null(kb_go_type(&go, good + 4));
	assert_null(kb_go_type(&go, 8)); /* not mapped */
	put_field(bad, KB_F_type_kind, 31);
	assert_null(kb_go_type(&go, bad));
	bad = basic(KB_KIND_INT, 8, "int");
	put_field(bad, KB_F_type_ptrdata, 16); /* more pointers than bytes */
	assert_null(kb_go_type(&go, bad));
	assert_non_null(kb_go_type(&go, good));
}

static void test_hostile_struct(void **state)
{
	(void)state;
	kb_addr p = basic(KB_KIND_UNSAFEPTR, 8, "unsafe.Pointer");
	/* Fields outside, overlapping, and a struct that holds itself. */
	kb_addr a = place_type(KB_S_structtype, KB_KIND_STRUCT, 16, 16, "main.Bad");
	set_fields(a, (struct made_field[]){ { "self", a, 0 }, { "over", p, 8 }, { "out", p, 16 }, { "far", p, UINT64_MAX - 3 } }, 4);
	const kb_type *t = kb_go_type(&go, a);
	assert_non_null(t);
	assert_int_equal(t->nfields, 1);
	kb_leaf leaf = kb_type_leaf(t, 8, NULL, false);
	assert_null(leaf.type); /* and it ends */
	/* A claim of a billion fields. */
	kb_addr many = place_type(KB_S_structtype, KB_KIND_STRUCT, 16, 16, "main.Many");
	put(many + kb_off(&go.layout, KB_F_structtype_fields), module.types, 8);
	put(many + kb_off(&go.layout, KB_F_structtype_fields) + 8, 1000000000, 8);
	assert_int_equal(kb_go_type(&go, many)->nfields, 0);
	/* An array whose length does not go with its size. */
	kb_addr arr = array(p, 8, 8, 4, "[4]unsafe.Pointer");
	put_field(arr, KB_F_arraytype_len, UINT64_C(1) << 60);
	assert_null(kb_type_leaf(kb_go_type(&go, arr), 8, NULL, false).type);
}

static void test_iface_words(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), any = iface(), itab = place(64);
	put_field(itab, KB_F_itab_inter, any);
	put_field(itab, KB_F_itab_type, i64);
	put_field(itab, KB_F_itab_hash, i64 & 0xffffffff);
	assert_string_equal(kb_go_iface_type(&go, i64)->name, "int");
	assert_string_equal(kb_go_iface_type(&go, itab)->name, "int");
	kb_addr wrong = place(64); /* the hash is not the type's */
	put_field(wrong, KB_F_itab_inter, any);
	put_field(wrong, KB_F_itab_type, i64);
	put_field(wrong, KB_F_itab_hash, 1);
	assert_null(kb_go_iface_type(&go, wrong));
	assert_null(kb_go_iface_type(&go, 0x1000));
}

/* ---- leaves and slots ---- */

static void test_leaf(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), p = pointer(i64, "*int");
	kb_addr inner = strukt("main.In", 16, 16, (struct made_field[]){ { "n", i64, 0 }, { "p", p, 8 } }, 2);
	kb_addr arr = array(inner, 16, 16, 100, "[100]main.In");
	kb_addr outer = strukt("main.Out", 1608, 1600, (struct made_field[]){ { "list", arr, 0 }, { "end", i64, 1600 } }, 2);
	const kb_type *t = kb_go_type(&go, outer);
	kb_path_text path = { 0 }, exact = { 0 };
	kb_leaf leaf = kb_type_leaf(t, 42 * 16 + 8, &path, false);
	assert_string_equal(leaf.type->name, "*int");
	assert_int_equal(leaf.canonical, 8);
	assert_string_equal(path.s, ".list[].p");
	kb_type_leaf(t, 42 * 16 + 8, &exact, true);
	assert_string_equal(exact.s, ".list[42].p");
	assert_null(kb_type_leaf(t, 1608, NULL, false).type);
}

static void test_slot_sizes(void **state)
{
	(void)state;
	assert_int_equal(kb_slot_sizes_of(24, true).plain, 24);
	assert_int_equal(kb_slot_sizes_of(152, true).plain, 160);
	assert_int_equal(kb_slot_sizes_of(8, false).headed, 16);   /* tiny allocator */
	assert_int_equal(kb_slot_sizes_of(1024, true).headed, 1152 - 8);
	assert_int_equal(kb_slot_sizes_of(1024, true).plain, 1024);
	assert_int_equal(kb_slot_sizes_of(40000, true).plain, 40960);
}

/* ---- shapes ---- */

static kb_edge_out step(kb_shapes *s, uint32_t shape, uint64_t offset, uint64_t target_offset, uint64_t target_size)
{
	kb_edge_in in = { .offset = offset, .target_offset = target_offset, .target_size = target_size };
	return kb_shape_step(s, shape, &in);
}
#define NAME(s, out) kb_shape_get((s), (out).shape)->name
#define LABEL(s, out) kb_shape_label((s), (out).label)

static void test_value_steps(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), u8 = basic(KB_KIND_UINT8, 1, "uint8"), str = basic(KB_KIND_STRING, 16, "string");
	kb_addr node = place_type(KB_S_structtype, KB_KIND_STRUCT, 72, 56, "main.Node");
	kb_addr next = pointer(node, "*main.Node"), nodes = slice(node, "[]main.Node"), bytes = slice(u8, "[]uint8");
	set_fields(node, (struct made_field[]){ { "next", next, 0 }, { "kids", nodes, 8 }, { "buf", bytes, 32 }, { "s", str, 56 } }, 4);
	(void)i64;
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t one = kb_shape_of_type(s, kb_go_type(&go, node), false);
	assert_int_equal(kb_shape_get(s, one)->role, KB_ROLE_VALUE);
	kb_edge_out o = step(s, one, 0, 0, 80);
	assert_int_equal(o.shape, one);
	assert_string_equal(LABEL(s, o), ".next");
	assert_int_equal(step(s, one, 0, 8, 80).shape, 0);  /* into a larger object */
	assert_int_equal(step(s, one, 0, 0, 64).shape, 0);  /* does not fit */
	assert_int_equal(step(s, one, 0, 0, 160).shape, 0); /* starts a larger object */
	assert_string_equal(NAME(s, step(s, one, 8, 0, 80)), "main.Node");
	assert_string_equal(NAME(s, step(s, one, 8, 0, 160)), "[]main.Node");
	assert_string_equal(NAME(s, step(s, one, 8, 72, 160)), "[]main.Node");
	assert_int_equal(step(s, one, 8, 8, 160).shape, 0);
	assert_string_equal(NAME(s, step(s, one, 32, 5, 16)), "[]uint8");
	assert_string_equal(NAME(s, step(s, one, 56, 0, 16)), "string");
	assert_int_equal(step(s, one, 72, 0, 80).shape, 0); /* behind the value */
	kb_edge_in in = { .offset = 32, .target_size = 160, .target_pointers = 2 };
	assert_int_equal(kb_shape_step(s, one, &in).shape, 0); /* bytes are never in a span with pointers */
	uint32_t many = kb_shape_of_type(s, kb_go_type(&go, node), true);
	o = step(s, many, 72 * 1000, 0, 80);
	assert_int_equal(o.shape, one);
	assert_string_equal(LABEL(s, o), "[].next");
	kb_shapes_free(s);
}

static void test_interface_step(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), any = iface();
	kb_addr inner = strukt("main.In", 24, 0, (struct made_field[]){ { "n", i64, 0 } }, 1), p = pointer(inner, "*main.In");
	put_field(p, KB_F_type_tflag, 32);
	kb_addr box = strukt("main.Box", 16, 16, (struct made_field[]){ { "v", any, 0 } }, 1);
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t shape = kb_shape_of_type(s, kb_go_type(&go, box), false);
	kb_edge_in in = { .offset = 8, .type_word = p, .target_size = 24 };
	kb_edge_out o = kb_shape_step(s, shape, &in);
	assert_string_equal(NAME(s, o), "main.In"); /* the interface holds the pointer itself */
	assert_string_equal(LABEL(s, o), ".v.(*main.In)");
	in.type_word = inner;
	o = kb_shape_step(s, shape, &in);
	assert_string_equal(NAME(s, o), "main.In"); /* boxed */
	assert_string_equal(LABEL(s, o), ".v.(main.In)");
	in.type_word = 0;
	assert_int_equal(kb_shape_step(s, shape, &in).shape, 0);
	/* An untyped object: only an interface inside tells something, and not the word before the object. */
	in.type_word = p;
	assert_string_equal(NAME(s, kb_shape_step(s, 0, &in)), "main.In");
	in.offset = 0;
	assert_int_equal(kb_shape_step(s, 0, &in).shape, 0);
	kb_shapes_free(s);
}

static void test_atomic_pointer(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), up = basic(KB_KIND_UNSAFEPTR, 8, "unsafe.Pointer");
	kb_addr inner = strukt("main.In", 24, 0, (struct made_field[]){ { "n", i64, 0 } }, 1), p = pointer(inner, "*main.In");
	kb_addr none = array(p, 8, 8, 0, "[0]*main.In");
	kb_addr at = strukt("atomic.Pointer[main.In]", 8, 8, (struct made_field[]){ { "_", none, 0 }, { "v", up, 0 } }, 2);
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	kb_edge_out o = step(s, kb_shape_of_type(s, kb_go_type(&go, at), false), 0, 0, 24);
	assert_string_equal(NAME(s, o), "main.In");
	assert_string_equal(LABEL(s, o), "");
	kb_shapes_free(s);
}

static void test_big_array(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), p = pointer(i64, "*int");
	kb_addr inner = strukt("main.In", 16, 16, (struct made_field[]){ { "n", i64, 0 }, { "p", p, 8 } }, 2);
	kb_addr arr = array(inner, 16, 16, 1 << 20, "[1048576]main.In");
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t shape = kb_shape_of_type(s, kb_go_type(&go, arr), false);
	size_t steps = s->nsteps;
	for (uint64_t i = 0; i < 1000; i++) {
		kb_edge_out o = step(s, shape, i * 1040 * 16 + 8, 0, 8);
		assert_string_equal(NAME(s, o), "int");
		assert_string_equal(LABEL(s, o), "[].p");
	}
	assert_true(s->nsteps <= steps + 1); /* one step for all elements */
	kb_shapes_free(s);
}

static void walk_map(uint64_t unit, const char *map_name)
{
	kb_addr str = basic(KB_KIND_STRING, 16, "string"), i64 = basic(KB_KIND_INT, 8, "int");
	kb_addr inner = strukt("main.In", 24, 0, (struct made_field[]){ { "n", i64, 0 } }, 1), p = pointer(inner, "*main.In");
	kb_addr map = map_of(str, 16, p, 8, map_name), var = strukt("main.V", 8, 8, (struct made_field[]){ { "m", map, 0 } }, 1);
	bool swiss = kb_has(&go.layout, KB_F_maptype_groupSize);
	kb_shapes *s;
	char text[100];
	assert_ok(kb_shapes_new(&go, &s));
	kb_edge_out o = step(s, kb_shape_of_type(s, kb_go_type(&go, var), false), 0, 0, 48);
	assert_string_equal(LABEL(s, o), ".m");
	assert_int_equal(kb_shape_get(s, o.shape)->role, KB_ROLE_MAP);
	uint32_t head = o.shape;
	uint64_t data = kb_off(&go.layout, swiss ? KB_F_swissmap_dirPtr : KB_F_hmap_buckets);
	o = step(s, head, data, 0, kb_slot_sizes_of(unit, true).plain);
	assert_int_equal(kb_shape_get(s, o.shape)->role, KB_ROLE_MAP_INNER);
	assert_int_equal(o.label, 0);
	uint32_t buckets = o.shape;
	uint64_t key3 = swiss ? 8 + 3 * 24 : 8 + 3 * 16, elem3 = swiss ? 8 + 3 * 24 + 16 : 8 + 8 * 16 + 3 * 8;
	o = step(s, buckets, unit * 5 + key3, 0, 16);
	assert_string_equal(LABEL(s, o), "[key]");
	assert_string_equal(NAME(s, o), "string");
	o = step(s, buckets, unit * 5 + elem3, 0, 24);
	assert_string_equal(LABEL(s, o), "[value]");
	assert_string_equal(NAME(s, o), "main.In");
	/* The key in words, from memory. */
	static const char user[] = "user-17\x1b[31m \"x\"";
	kb_addr object = place(unit);
	put(object + key3, (kb_addr)(uintptr_t)user, 8);
	put(object + key3 + 8, sizeof(user) - 1, 8);
	kb_edge_in in = { .offset = elem3, .target_size = 24 };
	kb_shape_edge_text(s, buckets, object, unit, &in, text, sizeof(text));
	assert_string_equal(text, "[\"user-17\\x1b[31m \\\"x\\\"\"]");
	kb_shape_edge_text(s, buckets, object, unit, &in, text, 5);
	assert_string_equal(text, "[\"us");
	kb_shapes_free(s);
}

static void test_swiss_map(void **state)
{
	(void)state;
	walk_map(8 + 8 * 24, "map[string]*main.In");
	/* A directory: 64 pointers to tables of 32 bytes, whose groups start with a control word. */
	kb_addr str = basic(KB_KIND_STRING, 16, "string"), i64 = basic(KB_KIND_INT, 8, "int");
	const kb_type *map = kb_go_type(&go, map_of(str, 16, i64, 8, "map[string]int"));
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t head = kb_shape_make(s, FORM_MAP, map);
	kb_edge_out dir = step(s, head, kb_off(&go.layout, KB_F_swissmap_dirPtr), 0, 512);
	assert_string_equal(NAME(s, dir), "map[string]int tables");
	kb_edge_out table = step(s, dir.shape, 63 * 8, 0, 32);
	assert_string_equal(NAME(s, table), "map[string]int tables");
	kb_edge_out groups = step(s, table.shape, kb_off(&go.layout, KB_F_swisstable_groups), 0, 26624);
	assert_string_equal(NAME(s, groups), "map[string]int buckets");
	assert_int_equal(step(s, groups.shape, 0, 0, 16).shape, 0); /* the control word is no pointer */
	kb_shapes_free(s);
}

/* Slots of 128 bytes: one group and a directory of 128 tables have the same size class. */
static void test_directory_or_group(void **state)
{
	(void)state;
	kb_addr str = basic(KB_KIND_STRING, 16, "string"), i64 = basic(KB_KIND_INT, 8, "int");
	kb_addr key = array(i64, 8, 0, 14, "[14]int");
	const kb_type *map = kb_go_type(&go, map_of(key, 112, str, 16, "map[[14]int]string"));
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t head = kb_shape_make(s, FORM_MAP, map);
	kb_edge_out o = step(s, head, kb_off(&go.layout, KB_F_swissmap_dirPtr), 0, 1144);
	assert_int_equal(s->shapes[o.shape]->form, FORM_DIR_OR_GROUP);
	assert_string_equal(NAME(s, step(s, o.shape, 0, 0, 32)), "map[[14]int]string tables");
	assert_string_equal(NAME(s, step(s, o.shape, 80, 0, 32)), "map[[14]int]string tables");
	kb_edge_out value = step(s, o.shape, 8 + 128 + 112, 0, 16);
	assert_string_equal(NAME(s, value), "string");
	assert_string_equal(LABEL(s, value), "[value]");
	kb_shapes_free(s);
}

static void test_old_map(void **state)
{
	(void)state;
	walk_map(8 + 8 * 24 + 8, "map[string]*main.In");
	kb_addr str = basic(KB_KIND_STRING, 16, "string"), i64 = basic(KB_KIND_INT, 8, "int");
	const kb_type *map = kb_go_type(&go, map_of(str, 16, i64, 8, "map[string]int"));
	uint64_t unit = 8 + 8 * 24 + 8;
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t buckets = kb_shape_make(s, FORM_BUCKETS, map);
	assert_int_equal(step(s, buckets, 3 * unit + unit - 8, 7 * unit, 9472).shape, buckets); /* an overflow bucket of the array */
	assert_int_equal(step(s, buckets, unit - 8, 12, 9472).shape, 0);
	kb_edge_out extra = step(s, kb_shape_make(s, FORM_MAP, map), kb_off(&go.layout, KB_F_hmap_extra), 0, 24);
	kb_edge_out list = step(s, extra.shape, kb_off(&go.layout, KB_F_mapextra_overflow), 0, 24);
	assert_int_equal(step(s, step(s, list.shape, 0, 0, 64).shape, 56, 0, 208).shape, buckets);
	assert_int_equal(kb_shape_from_header(s, map->group->addr), buckets);
	kb_shapes_free(s);
}

static void test_chan(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), p = pointer(i64, "*int");
	kb_addr ch = place_type(KB_S_chantype, KB_KIND_CHAN, 8, 8, "chan *int");
	put_field(ch, KB_F_chantype_elem, p);
	kb_addr var = strukt("main.V", 8, 8, (struct made_field[]){ { "c", ch, 0 } }, 1);
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	kb_edge_out o = step(s, kb_shape_of_type(s, kb_go_type(&go, var), false), 0, 0, 112);
	assert_int_equal(kb_shape_get(s, o.shape)->role, KB_ROLE_CHAN);
	assert_string_equal(NAME(s, o), "chan *int");
	o = step(s, o.shape, kb_off(&go.layout, KB_F_hchan_buf), 0, 80);
	assert_int_equal(kb_shape_get(s, o.shape)->role, KB_ROLE_CHAN_BUF);
	o = step(s, o.shape, 72, 0, 8);
	assert_string_equal(NAME(s, o), "int");
	assert_string_equal(LABEL(s, o), "[]");
	kb_shapes_free(s);
}

static void test_header(void **state)
{
	(void)state;
	kb_addr i64 = basic(KB_KIND_INT, 8, "int"), p = pointer(i64, "*int");
	kb_addr inner = strukt("main.In", 16, 16, (struct made_field[]){ { "n", i64, 0 }, { "p", p, 8 } }, 2);
	kb_shapes *s;
	assert_ok(kb_shapes_new(&go, &s));
	uint32_t h = kb_shape_from_header(s, inner);
	assert_string_equal(LABEL(s, step(s, h, 8, 0, 8)), ".p");
	assert_string_equal(LABEL(s, step(s, h, 16 * 50 + 8, 0, 8)), "[].p"); /* then it is an array of them */
	assert_int_equal(kb_shape_from_header(s, inner + 8), 0);
	kb_shapes_free(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_struct),
		T(test_not_types),
		T(test_hostile_struct),
		T(test_iface_words),
		T(test_leaf),
		T(test_slot_sizes),
		T(test_value_steps),
		T(test_interface_step),
		T(test_atomic_pointer),
		T(test_big_array),
		T(test_swiss_map),
		T(test_directory_or_group),
		cmocka_unit_test_setup_teardown(test_swiss_map, set_up_27, tear_down),
		cmocka_unit_test_setup_teardown(test_old_map, set_up_old, tear_down),
		T(test_chan),
		T(test_header),
	};
	return cmocka_run_group_tests_name("goruntime types and shapes", tests, NULL, NULL);
}
