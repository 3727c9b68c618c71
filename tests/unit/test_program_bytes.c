/* Build info, function tables and code references on synthesised bytes. */
#include "kb_test.h"

#include "program/program.h"

/* ---- putting bytes together ------------------------------------------------------------------------------------------ */

static void put8(kb_str *b, uint8_t v)
{
	kb_str_addn(b, (const char *)&v, 1);
}

static void put32(kb_str *b, uint32_t v)
{
	kb_str_addn(b, (const char *)&v, 4);
}

static void put64(kb_str *b, uint64_t v)
{
	kb_str_addn(b, (const char *)&v, 8);
}

static void put_uvarint(kb_str *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		put8(b, (uint8_t)(v | 0x80));
	put8(b, (uint8_t)v);
}

static void put_text(kb_str *b, const char *s)
{
	kb_str_addn(b, s, strlen(s) + 1);
}

static void set32(kb_str *b, size_t at, uint32_t v)
{
	assert_true(at + 4 <= b->n);
	memcpy(b->s + at, &v, 4);
}

static kb_bytes view(const kb_str *b)
{
	return (kb_bytes){ (const uint8_t *)b->s, b->n };
}

/* ---- build info ---------------------------------------------------------------------------------------------------------- */

static const char sentinel[] = "0123456789abcdef";

static kb_str blob(const char *version, const char *module, uint8_t flags)
{
	kb_str b = { 0 };

	kb_str_addn(&b, "\xff Go buildinf:", 14);
	put8(&b, 8);
	put8(&b, flags);
	put64(&b, 0);
	put64(&b, 0);
	put_uvarint(&b, strlen(version));
	kb_str_add(&b, version);
	if (*module) {
		put_uvarint(&b, strlen(module) + 32);
		kb_str_add(&b, sentinel);
		kb_str_add(&b, module);
		kb_str_add(&b, sentinel);
	} else {
		put_uvarint(&b, 0);
	}
	return b;
}

static const char full_module[] = "path\texample.com/app\n"
				  "mod\texample.com/app\tv1.2.3\th1:main=\n"
				  "dep\texample.com/a\tv0.1.0\th1:a=\n"
				  "dep\texample.com/b\tv0.2.0\n"
				  "=>\texample.com/fork\tv0.2.1\th1:f=\n"
				  "dep\texample.com/c\tv0.3.0\n"
				  "=>\t./local\n"
				  "build\t-compiler=gc\n"
				  "build\t-ldflags=\"-s -w -X 'a.b=c\\td\\u00e9\\x21\\\"'\"\n"
				  "build\t\"odd key\"=`raw \\t text`\n"
				  "build\tempty=\n"
				  "something\tnew\n";

static void test_buildinfo_full(void **state)
{
	kb_str b = blob("go1.24.9", full_module, 2);
	kb_buildinfo bi;

	(void)state;
	assert_ok(kb_buildinfo_parse(view(&b), &bi));
	assert_string_equal(bi.go_version, "go1.24.9");
	assert_int_equal(bi.minor, 24);
	assert_int_equal(bi.patch, 9);
	assert_string_equal(bi.experiments, "");
	assert_string_equal(bi.path, "example.com/app");
	assert_string_equal(bi.mod_path, "example.com/app");
	assert_string_equal(bi.mod_version, "v1.2.3");
	assert_int_equal(bi.ndeps, 3);
	assert_string_equal(bi.deps[0].sum, "h1:a=");
	assert_string_equal(bi.deps[0].replaced_by, "");
	assert_string_equal(bi.deps[1].version, "v0.2.0");
	assert_string_equal(bi.deps[1].sum, "");
	assert_string_equal(bi.deps[1].replaced_by, "example.com/fork@v0.2.1");
	assert_string_equal(bi.deps[2].replaced_by, "./local");
	assert_int_equal(bi.nsettings, 4);
	assert_string_equal(kb_buildinfo_setting(&bi, "-compiler"), "gc");
	assert_string_equal(kb_buildinfo_setting(&bi, "-ldflags"), "-s -w -X 'a.b=c\td\xc3\xa9!\"'");
	assert_string_equal(kb_buildinfo_setting(&bi, "odd key"), "raw \\t text");
	assert_string_equal(kb_buildinfo_setting(&bi, "empty"), "");
	assert_null(kb_buildinfo_setting(&bi, "absent"));
	kb_buildinfo_free(&bi);
	kb_str_free(&b);
}

static void test_buildinfo_versions(void **state)
{
	static const struct {
		const char *text;
		int minor, patch;
		const char *experiments;
	} cases[] = {
		{ "go1.19", 19, 0, "" },
		{ "go1.27rc1", 27, 0, "" },
		{ "go1.25.4 X:greenteagc", 25, 4, "greenteagc" },
		{ "go1.26.8-X:goroutineleakprofile,runtimefreegc", 26, 8, "goroutineleakprofile,runtimefreegc" },
		{ "go1.22.12 X:noallocheaders (vendor)", 22, 12, "noallocheaders" },
		{ "go1.21.3-fips.1", 21, 3, "" },
		{ "devel go1.27-1234abcd Mon Jan 5", 27, 0, "" },
		{ "devel +1234abcd", 0, 0, "" },
		{ "go1.99999999999", 9999, 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < KB_ARRAY_LEN(cases); i++) {
		kb_str b = blob(cases[i].text, "", 2);
		kb_buildinfo bi;

		assert_ok(kb_buildinfo_parse(view(&b), &bi));
		assert_string_equal(bi.go_version, cases[i].text);
		assert_int_equal(bi.minor, cases[i].minor);
		assert_int_equal(bi.patch, cases[i].patch);
		assert_string_equal(bi.experiments, cases[i].experiments);
		kb_buildinfo_free(&bi);
		kb_str_free(&b);
	}
}

static void test_buildinfo_placement(void **state)
{
	kb_str old = blob("go1.16", "", 0), good = blob("go1.20", "", 2), b = { 0 };
	kb_buildinfo bi;

	(void)state;
	assert_error(kb_buildinfo_parse((kb_bytes){ 0 }, &bi), KB_E_NOT_GO);
	assert_error(kb_buildinfo_parse(view(&old), &bi), KB_E_UNSUPPORTED);
	/* Not on a multiple of 16: a string constant of a tool, not the blob. */
	kb_str_add(&b, "12345678");
	kb_str_addn(&b, good.s, good.n);
	assert_error(kb_buildinfo_parse(view(&b), &bi), KB_E_NOT_GO);
	/* Behind an old form, and on a multiple of 16. */
	while (b.n % 16)
		put8(&b, 0);
	kb_str_addn(&b, old.s, old.n);
	while (b.n % 16)
		put8(&b, 0);
	kb_str_addn(&b, good.s, good.n);
	assert_ok(kb_buildinfo_parse(view(&b), &bi));
	assert_int_equal(bi.minor, 20);
	kb_buildinfo_free(&bi);
	kb_str_free(&b);
	kb_str_free(&old);
	kb_str_free(&good);
}

/* However it is cut, the version is right or there is an error. */
static void test_buildinfo_cut(void **state)
{
	kb_str b = blob("go1.24.9", full_module, 2);

	(void)state;
	for (size_t n = 0; n < b.n; n++) {
		uint8_t *copy = malloc(n + 1); /* so that a read behind the end is seen */
		kb_buildinfo bi;
		kb_error *err;

		memcpy(copy, b.s, n);
		err = kb_buildinfo_parse((kb_bytes){ copy, n }, &bi);
		if (!err) {
			assert_string_equal(bi.go_version, "go1.24.9");
			assert_int_equal(bi.ndeps, 0); /* a cut module text is not believed */
			kb_buildinfo_free(&bi);
		}
		assert_int_equal(!err, n >= 32 + 9);
		kb_error_free(err);
		free(copy);
	}
	kb_str_free(&b);
}

static kb_str memory_blob;

static bool parse_once(void)
{
	kb_buildinfo bi;
	kb_error *err = kb_buildinfo_parse(view(&memory_blob), &bi);

	if (err) {
		assert_int_equal(err->code, KB_E_NOMEM);
		kb_error_free(err);
		return false;
	}
	assert_int_equal(bi.ndeps, 3);
	kb_buildinfo_free(&bi);
	return true;
}

static void test_buildinfo_no_memory(void **state)
{
	(void)state;
	memory_blob = blob("go1.24.9", full_module, 2);
	kb_test_each_allocation_failing(parse_once);
	kb_str_free(&memory_blob);
}

/* ---- function table -------------------------------------------------------------------------------------------------------- */

/* Three functions at 0x0, 0x40 and 0x80, the last one ends at 0x100. In the second, "callee" is inlined at 0x10..0x20,
 * and "leaf" into callee at 0x18..0x20. */
#define TEXT 0x401000u

struct table {
	kb_str names, cutab, files, pctab, pcln, tree;
	kb_pclntab tab;
};

static uint32_t add_name(struct table *t, const char *s)
{
	uint32_t at = (uint32_t)t->names.n;

	put_text(&t->names, s);
	return at;
}

/* Pairs of value and how far it reaches. */
static uint32_t add_values(struct table *t, const int32_t (*steps)[2], size_t n)
{
	uint32_t at = (uint32_t)t->pctab.n;
	int32_t value = -1;

	for (size_t i = 0; i < n; i++) {
		int32_t d = steps[i][0] - value;

		put_uvarint(&t->pctab, (uint32_t)d << 1 ^ (uint32_t)(d >> 31));
		put_uvarint(&t->pctab, (uint32_t)steps[i][1]);
		value = steps[i][0];
	}
	put8(&t->pctab, 0);
	return at;
}

struct record {
	uint32_t entry, name, pcsp, pcfile, pcln, inline_table;
};

static void add_record(struct table *t, uint32_t index, const struct record *r, bool old)
{
	uint32_t fixed[9] = { r->entry, r->name, 16, 0, r->pcsp, r->pcfile, r->pcln, 3, 1 };

	set32(&t->pcln, index * 8, r->entry);
	set32(&t->pcln, index * 8 + 4, (uint32_t)t->pcln.n);
	for (size_t i = 0; i < 9; i++)
		put32(&t->pcln, fixed[i]);
	if (!old)
		put32(&t->pcln, 7); /* startLine */
	put32(&t->pcln, 4u << 24 | KB_FUNC_SPWRITE << 8 | 3);
	put32(&t->pcln, 0);
	put32(&t->pcln, 0);
	put32(&t->pcln, r->inline_table);
	for (uint32_t i = 0; i < 4; i++)
		put32(&t->pcln, i == KB_FUNCDATA_INLTREE && r->inline_table ? 0x20 : UINT32_MAX);
}

static void add_inlined(struct table *t, uint32_t name, uint32_t parent_pc, bool old)
{
	if (old) {
		put32(&t->tree, 0);
		put32(&t->tree, 0);
		put32(&t->tree, 0);
	} else {
		put32(&t->tree, 0);
	}
	put32(&t->tree, name);
	put32(&t->tree, parent_pc);
	if (!old)
		put32(&t->tree, 1);
}

static void finish(struct table *t, bool old)
{
	t->tab = (kb_pclntab){ .funcnametab = view(&t->names),
			       .cutab = view(&t->cutab),
			       .filetab = view(&t->files),
			       .pctab = view(&t->pctab),
			       .pclntable = view(&t->pcln),
			       .nfunc = 3,
			       .text = TEXT,
			       .gofunc = 0x500000,
			       .quantum = 1,
			       .old_func = old };
}

static void make_table(struct table *t, bool old)
{
	static const int32_t sp[][2] = { { 0, 8 }, { 24, 0x30 }, { 0, 0x88 } }, one_file[][2] = { { 0, 0x80 } },
			     files[][2] = { { 0, 0x10 }, { 1, 0x10 }, { 0, 0x60 } },
			     lines[][2] = { { 10, 0x10 }, { 100, 8 }, { 5, 8 }, { 11, 0x60 } },
			     inlined[][2] = { { -1, 0x10 }, { 0, 8 }, { 1, 8 }, { -1, 0x20 } };
	uint32_t callee, leaf;

	*t = (struct table){ 0 };
	put8(&t->pctab, 0);
	put32(&t->cutab, UINT32_MAX);
	put32(&t->cutab, 0);
	put32(&t->cutab, 5);
	put_text(&t->files, "/a.c");
	put_text(&t->files, "/b.go");
	for (int i = 0; i < 7; i++)
		put32(&t->pcln, 0);
	set32(&t->pcln, 24, 0x100);
	struct record r = { .pcsp = add_values(t, sp, 3),
			    .pcfile = add_values(t, one_file, 1),
			    .pcln = add_values(t, lines, 4) };
	r.name = add_name(t, "first");
	add_record(t, 0, &r, old);
	r.pcfile = add_values(t, files, 3);
	r.inline_table = add_values(t, inlined, 4);
	r.entry = 0x40;
	r.name = add_name(t, "second");
	add_record(t, 1, &r, old);
	r.inline_table = 0;
	r.entry = 0x80;
	r.name = add_name(t, "third");
	add_record(t, 2, &r, old);
	callee = add_name(t, "callee");
	leaf = add_name(t, "leaf");
	add_inlined(t, callee, 0x4, old);
	add_inlined(t, leaf, 0x12, old);
	finish(t, old);
}

static void free_table(struct table *t)
{
	kb_str_free(&t->names);
	kb_str_free(&t->cutab);
	kb_str_free(&t->files);
	kb_str_free(&t->pctab);
	kb_str_free(&t->pcln);
	kb_str_free(&t->tree);
}

static void test_find(void **state)
{
	static const char *const names[] = { "first", "second", "third" };

	(void)state;
	for (int old = 0; old < 2; old++) {
		struct table t;
		kb_func f;

		make_table(&t, old);
		for (uint64_t off = 0; off < 0x100; off++) {
			size_t want = off < 0x40 ? 0 : off < 0x80 ? 1 : 2;

			assert_true(kb_func_find(&t.tab, TEXT + off, &f));
			assert_string_equal(f.name, names[want]);
			assert_int_equal(f.index, want);
			assert_int_equal(f.entry, TEXT + 0x40 * want);
			assert_int_equal(f.end, want == 2 ? TEXT + 0x100 : TEXT + 0x40 * (want + 1));
		}
		assert_int_equal(f.args, 16);
		assert_int_equal(f.flag, KB_FUNC_SPWRITE);
		assert_int_equal(f.npcdata, 3);
		assert_int_equal(f.nfuncdata, 4);
		assert_false(kb_func_find(&t.tab, TEXT - 1, &f));
		assert_false(kb_func_find(&t.tab, TEXT + 0x100, &f));
		assert_false(kb_func_find(&t.tab, 0, &f));
		assert_false(kb_func_find(&t.tab, UINT64_MAX, &f));
		assert_false(kb_func_at(&t.tab, 3, &f));
		free_table(&t);
	}
}

static void test_values(void **state)
{
	struct table t;
	int32_t v;
	kb_func f;

	(void)state;
	make_table(&t, false);
	assert_true(kb_func_at(&t.tab, 1, &f));
	assert_true(kb_func_spdelta(&f, f.entry, &v) && v == 0);
	assert_true(kb_func_spdelta(&f, f.entry + 7, &v) && v == 0);
	assert_true(kb_func_spdelta(&f, f.entry + 8, &v) && v == 24);
	assert_true(kb_func_spdelta(&f, f.entry + 0x38, &v) && v == 0);
	assert_false(kb_func_spdelta(&f, f.entry - 1, &v));
	assert_false(kb_func_spdelta(&f, f.entry + 0xc0, &v)); /* behind the table's end */
	assert_true(kb_pc_data(&f, KB_PCDATA_INLTREE, f.entry + 0x18, &v) && v == 1);
	assert_true(kb_pc_data(&f, KB_PCDATA_INLTREE, f.entry + 0x20, &v) && v == -1);
	assert_true(kb_pc_data(&f, KB_PCDATA_STACKMAP, f.entry, &v) && v == -1); /* no table */
	assert_true(kb_pc_data(&f, 9, f.entry, &v) && v == -1);                  /* beyond npcdata */
	assert_false(kb_pc_data(&f, KB_PCDATA_INLTREE, f.entry + 0x40, &v));
	assert_int_equal(kb_func_data(&f, KB_FUNCDATA_INLTREE), 0x500020);
	assert_int_equal(kb_func_data(&f, KB_FUNCDATA_ARGS), 0);
	assert_int_equal(kb_func_data(&f, 200), 0);
	assert_false(kb_pc_value(&f, 0, f.entry, &v));
	assert_false(kb_pc_value(&f, UINT32_MAX, f.entry, &v));
	free_table(&t);
}

static void test_value_limits(void **state)
{
	/* A number of six bytes; one that is cut; a zero difference that is not in front. */
	static const char too_long[] = "\0\x80\x80\x80\x80\x80\x01\x7f", cut[] = "\0\x02\xff",
			  early_end[] = "\0\x02\x08\0\x08";
	kb_pclntab tab = { .quantum = 1, .pctab = { (const uint8_t *)too_long, sizeof(too_long) - 1 } };
	kb_func f = { .tab = &tab, .entry = 0x1000, .end = 0x2000 };
	int32_t v = 77;

	(void)state;
	assert_false(kb_pc_value(&f, 1, 0x1000, &v));
	tab.pctab = (kb_bytes){ (const uint8_t *)cut, sizeof(cut) - 1 };
	assert_false(kb_pc_value(&f, 1, 0x1000, &v));
	tab.pctab = (kb_bytes){ (const uint8_t *)early_end, sizeof(early_end) - 1 };
	assert_false(kb_pc_value(&f, 1, 0x1008, &v));
	assert_int_equal(v, 77);
	assert_true(kb_pc_value(&f, 1, 0x1007, &v));
	assert_int_equal(v, 0);
	tab.quantum = 4;
	assert_true(kb_pc_value(&f, 1, 0x101f, &v));
	/* The first difference may be 0: the value is -1 then. */
	assert_true(kb_pc_value(&f, 3, 0x1000, &v));
	assert_int_equal(v, -1);
}

static void check_line(const kb_line *l, const char *function, const char *file, int line, bool inlined)
{
	assert_string_equal(l->function, function);
	assert_string_equal(l->file, file);
	assert_int_equal(l->line, line);
	assert_int_equal(l->inlined, inlined);
}

static void test_lines(void **state)
{
	(void)state;
	for (int old = 0; old < 2; old++) {
		struct table t;
		kb_line l[8];
		kb_func f;

		make_table(&t, old);
		assert_true(kb_func_at(&t.tab, 1, &f));
		assert_int_equal(kb_func_lines(&f, f.entry, view(&t.tree), l, 8), 1);
		check_line(&l[0], "second", "/a.c", 10, false);
		assert_int_equal(kb_func_lines(&f, f.entry + 0x19, view(&t.tree), l, 8), 3);
		check_line(&l[0], "leaf", "/b.go", 5, true);
		check_line(&l[1], "callee", "/b.go", 100, true);
		check_line(&l[2], "second", "/a.c", 10, false);
		assert_int_equal(kb_func_lines(&f, f.entry + 0x19, view(&t.tree), l, 2), 2);
		check_line(&l[1], "callee", "/b.go", 100, true);
		assert_int_equal(kb_func_lines(&f, f.entry + 0x19, view(&t.tree), l, 0), 0);
		/* Without the tree, or with half of it, at least the function. */
		assert_int_equal(kb_func_lines(&f, f.entry + 0x19, (kb_bytes){ 0 }, l, 8), 1);
		check_line(&l[0], "second", "/b.go", 5, false);
		assert_int_equal(kb_func_lines(&f, f.entry + 0x19, kb_slice(view(&t.tree), 0, old ? 20 : 16), l, 8), 1);
		free_table(&t);
	}
}

/* A tree whose entry leads back to itself ends at the number the caller has room for. */
static void test_lines_cycle(void **state)
{
	static kb_line many[5000];
	struct table t;
	kb_func f;
	size_t n;

	(void)state;
	make_table(&t, false);
	set32(&t.tree, 8, 0x10); /* callee's parent: a pc inside itself */
	assert_true(kb_func_at(&t.tab, 1, &f));
	assert_int_equal(kb_func_lines(&f, f.entry + 0x10, view(&t.tree), many, 20), 20);
	n = kb_func_lines(&f, f.entry + 0x10, view(&t.tree), many, KB_ARRAY_LEN(many));
	assert_true(n < KB_ARRAY_LEN(many));
	check_line(&many[n - 1], "second", "/b.go", 100, false);
	set32(&t.tree, 8, 0x7fffffff); /* outside the function */
	assert_int_equal(kb_func_lines(&f, f.entry + 0x10, view(&t.tree), many, 20), 1);
	free_table(&t);
}

static void test_damaged_records(void **state)
{
	struct table t;
	kb_func f;
	uint32_t record;

	(void)state;
	make_table(&t, false);
	record = kb_load32(t.pcln.s + 12);
	set32(&t.pcln, 12, record + 4); /* points beside the record */
	assert_false(kb_func_at(&t.tab, 1, &f));
	set32(&t.pcln, 12, UINT32_MAX);
	assert_false(kb_func_at(&t.tab, 1, &f));
	set32(&t.pcln, 12, record);
	assert_true(kb_func_at(&t.tab, 1, &f));
	set32(&t.pcln, record + 28, UINT32_MAX); /* npcdata */
	assert_false(kb_func_at(&t.tab, 1, &f));
	set32(&t.pcln, record + 28, 3);
	set32(&t.pcln, record + 4, UINT32_MAX); /* name */
	assert_false(kb_func_at(&t.tab, 1, &f));
	set32(&t.pcln, record + 4, 0);
	set32(&t.pcln, 16, 0x40); /* the next function begins where this one does */
	assert_false(kb_func_at(&t.tab, 1, &f));
	free_table(&t);
}

/* A table cut anywhere: no read behind the end (the address sanitizer watches), and what is found is right. */
static void test_cut_table(void **state)
{
	struct table t;
	size_t found = 0;

	(void)state;
	make_table(&t, false);
	for (size_t n = 0; n <= t.pcln.n; n++) {
		uint8_t *copy = malloc(n + 1);
		kb_pclntab cut = t.tab;
		kb_func f;

		memcpy(copy, t.pcln.s, n);
		cut.pclntable = (kb_bytes){ copy, n };
		for (uint64_t off = 0; off < 0x100; off += 0x20) {
			if (!kb_func_find(&cut, TEXT + off, &f))
				continue;
			found++;
			assert_true(f.entry <= TEXT + off && TEXT + off < f.end);
			assert_int_equal(kb_func_data(&f, KB_FUNCDATA_ARGS), 0);
		}
		free(copy);
	}
	assert_true(found > 8);
	free_table(&t);
}

/* Two sections of text, the second one far away. */
static void test_text_sections(void **state)
{
	static const uint64_t sections[][3] = { { 0, 0x40, TEXT }, { 0x40, 0x100, 0x900000 } };
	struct table t;
	kb_func f;

	(void)state;
	make_table(&t, false);
	t.tab.textsect = sections;
	t.tab.ntextsect = 2;
	assert_true(kb_func_find(&t.tab, TEXT + 0x3f, &f));
	assert_string_equal(f.name, "first");
	assert_int_equal(f.end, TEXT + 0x40);
	assert_true(kb_func_find(&t.tab, 0x900000, &f));
	assert_string_equal(f.name, "second");
	assert_int_equal(f.entry, 0x900000);
	assert_true(kb_func_find(&t.tab, 0x9000bf, &f));
	assert_string_equal(f.name, "third");
	assert_int_equal(f.end, 0x9000c0);
	assert_false(kb_func_find(&t.tab, 0x9000c0, &f));
	free_table(&t);
}

/* Damaged: both sections claim the same addresses. What is found holds the pc all the same. */
static void test_overlapping_sections(void **state)
{
	static const uint64_t sections[][3] = { { 0, 0x100, TEXT }, { 0, 0x100, TEXT + 0x38 } };
	struct table t;
	size_t found = 0;
	kb_func f;

	(void)state;
	make_table(&t, false);
	t.tab.textsect = sections;
	t.tab.ntextsect = 2;
	for (uint64_t pc = TEXT; pc < TEXT + 0x138; pc++) {
		if (!kb_func_find(&t.tab, pc, &f))
			continue;
		assert_true(pc >= f.entry && pc < f.end);
		found++;
	}
	assert_true(found >= 0x38 && found < 0x138);
	free_table(&t);
}

static void test_header(void **state)
{
	static const uint64_t words[] = { 3, 2, TEXT, 72, 80, 96, 112, 120 };
	kb_str b = { 0 };
	kb_pcheader h;

	(void)state;
	put32(&b, 0xfffffff1);
	put32(&b, 0x08010000);
	for (size_t i = 0; i < KB_ARRAY_LEN(words); i++)
		put64(&b, words[i]);
	assert_true(kb_pcheader_parse(view(&b), &h));
	assert_int_equal(h.nfunc, 3);
	assert_int_equal(h.text_start, TEXT);
	assert_int_equal(h.pcln_off, 120);
	for (size_t n = 0; n < b.n; n++)
		assert_false(kb_pcheader_parse(kb_slice(view(&b), 0, n), &h));
	for (size_t i = 0; i < 8; i++) { /* each byte of the front matters */
		b.s[i] ^= 0x40;
		assert_false(kb_pcheader_parse(view(&b), &h));
		b.s[i] ^= 0x40;
	}
	set32(&b, 0, 0xfffffffa); /* Go 1.16, 1.17 */
	assert_false(kb_pcheader_parse(view(&b), &h));
	set32(&b, 0, 0xfffffff0);
	assert_true(kb_pcheader_parse(view(&b), &h));
	set32(&b, 40, 200); /* the cu table behind the file table */
	assert_false(kb_pcheader_parse(view(&b), &h));
	kb_str_free(&b);
}

/* ---- code references ----------------------------------------------------------------------------------------------------------- */

static void test_code_refs(void **state)
{
	/* Every target is 0x2000; the code is at 0x1000. Checked with objdump. */
	static const uint8_t code[] = {
		0x48, 0x8d, 0x05, 0xf9, 0x0f, 0,    0,                /* 1000 lea rax */
		0x48, 0x8b, 0x0d, 0xf2, 0x0f, 0,    0,                /* 1007 mov rcx */
		0x80, 0x3d, 0xeb, 0x0f, 0,    0,    0,                /* 100e cmp byte, 0 */
		0x48, 0xc7, 0x05, 0xe0, 0x0f, 0,    0,    1, 0, 0, 0, /* 1015 mov qword, 1 */
		0x66, 0xc7, 0x05, 0xd7, 0x0f, 0,    0,    1, 0,       /* 1020 mov word, 1 */
		0xf6, 0x05, 0xd0, 0x0f, 0,    0,    1,                /* 1029 test byte, 1 */
		0xf7, 0x1d, 0xca, 0x0f, 0,    0,                      /* 1030 neg dword */
		0xf0, 0x48, 0x0f, 0xba, 0x2d, 0xc0, 0x0f, 0, 0, 3,    /* 1036 lock bts qword, 3 */
		0xf3, 0x0f, 0x6f, 0x05, 0xb8, 0x0f, 0,    0,          /* 1040 movdqu xmm0 */
		0x89, 0xc0, 0x90,                                     /* 1048 mov eax, eax; nop */
	};
	uint64_t refs[32];
	size_t n = kb_code_data_refs((kb_bytes){ code, sizeof(code) }, 0x1000, refs, 32);

	(void)state;
	assert_int_equal(n, 9);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(refs[i], 0x2000);
	assert_int_equal(kb_code_data_refs((kb_bytes){ code, sizeof(code) }, 0x1000, refs, 4), 4);
	assert_int_equal(kb_code_data_refs((kb_bytes){ code, 6 }, 0x1000, refs, 4), 0);
	assert_int_equal(kb_code_data_refs((kb_bytes){ 0 }, 0x1000, refs, 4), 0);
	/* Backwards. */
	assert_int_equal(
		kb_code_data_refs((kb_bytes){ (const uint8_t *)"\x8b\x05\xfa\xff\xff\xff", 6 }, 0x1000, refs, 4), 1);
	assert_int_equal(refs[0], 0x1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buildinfo_full),
		cmocka_unit_test(test_buildinfo_versions),
		cmocka_unit_test(test_buildinfo_placement),
		cmocka_unit_test(test_buildinfo_cut),
		cmocka_unit_test(test_buildinfo_no_memory),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_value_limits),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_lines_cycle),
		cmocka_unit_test(test_damaged_records),
		cmocka_unit_test(test_cut_table),
		cmocka_unit_test(test_text_sections),
		cmocka_unit_test(test_overlapping_sections),
		cmocka_unit_test(test_code_refs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
