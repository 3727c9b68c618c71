/* src/program against real Go programs, which themselves print the truth about their code and variables
 * (program_testbin/main.go). KEPTBY_GO_TESTBIN names them, separated by colons; those without symbols have "strip" in
 * their file's name, those without inlining "noopt". */
#include "kb_test.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program/program.h"

#define FIELDS 6
#define FRAMES_MAX 256

struct fact {
	const char *f[FIELDS]; /* kind and what follows it */
};

struct bin {
	const char *path;
	int fd;
	kb_program *p;
	char *text; /* what the program printed; facts point into it */
	struct fact *facts;
	size_t nfacts;
	kb_pclntab tab; /* at run-time addresses */
	uint64_t bias;  /* run time minus link time; known with symbols only */
	bool stripped, noopt;
};

/* ---- what the program says --------------------------------------------------------------------------------------- */

static uint64_t hex(const char *s)
{
	return strtoull(s, NULL, 16);
}

static pid_t start(const char *path, int *ret_out)
{
	char *const argv[] = { (char *)(uintptr_t)path, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	assert_int_equal(posix_spawn(&pid, path, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	*ret_out = ends[0];
	return pid;
}

static void read_output(struct bin *b)
{
	kb_str text = { 0 };
	char buf[65536];
	int out, status;
	pid_t pid = start(b->path, &out);
	ssize_t n;

	while ((n = read(out, buf, sizeof(buf))) > 0)
		kb_str_addn(&text, buf, (size_t)n);
	close(out);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	b->text = text.s;
	assert_non_null(b->text);
}

static void split_facts(struct bin *b)
{
	size_t cap = 0;
	char *line_end, *field_end;

	for (char *line = strtok_r(b->text, "\n", &line_end); line; line = strtok_r(NULL, "\n", &line_end)) {
		struct fact fact = { { "", "", "", "", "", "" } };
		size_t n = 0;

		for (char *s = strtok_r(line, "\t", &field_end); s && n < FIELDS; s = strtok_r(NULL, "\t", &field_end))
			fact.f[n++] = s;
		assert_true(KB_ROOM(b->facts, b->nfacts, cap, 1u << 20));
		b->facts[b->nfacts++] = fact;
	}
}

static const struct fact *next_fact(const struct bin *b, const char *kind, size_t *at)
{
	while (*at < b->nfacts) {
		const struct fact *fact = &b->facts[(*at)++];

		if (!strcmp(fact->f[0], kind))
			return fact;
	}
	return NULL;
}

/* ---- the file's own view --------------------------------------------------------------------------------------------- */

static kb_bytes bytes_at(struct bin *b, uint64_t link_addr)
{
	static const char *const names[] = {
		".text", ".rodata", ".data.rel.ro", ".gopclntab", ".data.rel.ro.gopclntab", ".go.func"
	};

	for (size_t i = 0; i < KB_ARRAY_LEN(names); i++) {
		const kb_section *s = kb_program_section(b->p, names[i]);
		kb_bytes all;

		if (!s || link_addr < s->addr || link_addr - s->addr >= s->size)
			continue;
		assert_ok(kb_program_section_bytes(b->p, s, &all));
		return kb_slice(all, link_addr - s->addr, all.n - (link_addr - s->addr));
	}
	return (kb_bytes){ 0 };
}

struct by_name {
	const char *name;
	kb_func func;
	bool found;
};

static bool take_named(void *ctx, const kb_func *f)
{
	struct by_name *q = ctx;

	if (strcmp(f->name, q->name))
		return true;
	q->func = *f;
	q->found = true;
	return false;
}

static kb_func func_named(const struct bin *b, const char *name)
{
	struct by_name q = { .name = name };

	kb_func_each(&b->tab, take_named, &q);
	if (!q.found)
		fail_msg("%s: no function %s", b->path, name);
	return q.func;
}

/* GNU ld merges the table of position-independent programs of Go 1.25 and before into .data.rel.ro. */
static kb_bytes table_bytes(struct bin *b)
{
	static const char *const names[] = { ".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro" };
	kb_pcheader header;
	kb_bytes all;

	for (size_t i = 0; i < KB_ARRAY_LEN(names); i++) {
		const kb_section *s = kb_program_section(b->p, names[i]);

		if (!s)
			continue;
		assert_ok(kb_program_section_bytes(b->p, s, &all));
		for (size_t off = 0; off < all.n; off += 8) {
			kb_bytes rest = kb_slice(all, off, all.n - off);

			if (kb_pcheader_parse(rest, &header))
				return rest;
		}
	}
	fail_msg("%s: no function table", b->path);
	return (kb_bytes){ 0 };
}

/* The table's offsets become run-time addresses with the one entry that the program told. */
static void load_table(struct bin *b)
{
	size_t at = 0;
	const struct fact *main_fact = next_fact(b, "func", &at);
	kb_symbol sym;

	assert_true(kb_pclntab_from_section(table_bytes(b), 0, 0, &b->tab));
	b->tab.text = 0;
	b->tab.text = hex(main_fact->f[2]) - func_named(b, "main.main").entry;
	if (b->stripped)
		return;
	assert_ok(kb_program_find_symbol(b->p, "main.main", &sym));
	b->bias = hex(main_fact->f[2]) - sym.addr;
	assert_true(kb_program_is_pie(b->p) ? b->bias % 4096 == 0 : b->bias == 0);
	kb_error *err = kb_program_find_symbol(b->p, "go:func.*", &sym);
	if (err) {
		kb_error_free(err);
		assert_ok(kb_program_find_symbol(b->p, "go.func.*", &sym)); /* 1.19 */
	}
	b->tab.gofunc = sym.addr + b->bias;
}

static void open_bin(struct bin *b, const char *path)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

	*b = (struct bin){ .path = path, .stripped = strstr(base, "strip"), .noopt = strstr(base, "noopt") };
	b->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(b->fd >= 0);
	assert_ok(kb_program_open(b->fd, path, &b->p));
	read_output(b);
	split_facts(b);
	load_table(b);
}

static void close_bin(struct bin *b)
{
	kb_program_close(b->p);
	close(b->fd);
	free(b->text);
	free(b->facts);
}

/* ---- the checks ---------------------------------------------------------------------------------------------------------- */

static void check_file(struct bin *b)
{
	const kb_buildinfo *bi = kb_program_buildinfo(b->p);
	size_t at = 0;
	const char *version = next_fact(b, "go", &at)->f[1];
	char quick[128];

	assert_non_null(bi);
	/* runtime.Version and the file agree on all but experiments, which the former tells in another way before 1.21. */
	assert_memory_equal(bi->go_version, version, strcspn(version, " "));
	assert_ok(kb_program_go_version(b->fd, quick, sizeof(quick)));
	assert_string_equal(quick, bi->go_version);
	assert_true(bi->minor >= 19 && strtol(version + 4, NULL, 10) == bi->minor);
	assert_string_equal(bi->path, "keptby.example/testbin");
	assert_string_equal(kb_buildinfo_setting(bi, "GOARCH"), "amd64");
	assert_int_equal(kb_program_has_symbols(b->p), !b->stripped);
	assert_int_equal(kb_program_has_dwarf(b->p), !b->stripped);
	assert_true(kb_program_build_id(b->p).n > 0);
}

/* Since 1.21 the runtime shows [...] for the type arguments that the table spells out. */
static bool same_name(const char *table, const char *shown)
{
	const char *open = strchr(table, '['), *close = strrchr(table, ']'), *dots = strstr(shown, "[...]");

	if (!strcmp(table, shown))
		return true;
	return open && close && dots && open - table == dots - shown &&
	       !strncmp(table, shown, (size_t)(open - table)) && !strcmp(close + 1, dots + 5);
}

static size_t lines_at(struct bin *b, const kb_func *f, uint64_t pc, kb_line *out, size_t max)
{
	uint64_t tree = b->tab.gofunc ? kb_func_data(f, KB_FUNCDATA_INLTREE) : 0;

	return kb_func_lines(f, pc, tree ? bytes_at(b, tree - b->bias) : (kb_bytes){ 0 }, out, max);
}

static void check_line(const struct bin *b, uint64_t pc, const kb_line *line, const struct fact *want, bool with_name)
{
	if ((with_name && !same_name(line->function, want->f[2])) || strcmp(line->file, want->f[3]) ||
	    line->line != strtol(want->f[4], NULL, 10))
		fail_msg("%s: pc %llx is %s %s:%d, the program says %s %s:%s", b->path, (unsigned long long)pc,
			 line->function, line->file, line->line, want->f[2], want->f[3], want->f[4]);
}

static void check_pcs(struct bin *b)
{
	size_t at = 0, checked = 0, inlined = 0;
	const struct fact *fact;

	while ((fact = next_fact(b, "pc", &at))) {
		uint64_t pc = hex(fact->f[1]);
		kb_line lines[FRAMES_MAX];
		int32_t index;
		kb_func f;

		if (!kb_func_find(&b->tab, pc, &f))
			fail_msg("%s: no function at %llx, which is in %s", b->path, (unsigned long long)pc,
				 fact->f[2]);
		assert_true(pc >= f.entry && pc < f.end);
		if (pc + 1 == f.end) /* Go looks up pc+1 first, which is another function */
			continue;
		assert_true(lines_at(b, &f, pc, lines, FRAMES_MAX) > 0);
		inlined += lines[0].inlined;
		/* Without symbols the tree's place is not known here. */
		check_line(b, pc, &lines[0], fact,
			   b->tab.gofunc || (kb_pc_data(&f, KB_PCDATA_INLTREE, pc, &index) && index < 0));
		checked++;
	}
	assert_true(checked > 2000);
	assert_true(b->stripped || b->noopt || inlined > 100);
}

/* The logical frames of a real stack: what is inlined follows from the pc of the frame that is not. */
static void check_frames(struct bin *b)
{
	size_t at = 0, frames = 0, inlined = 0;
	const struct fact *fact = next_fact(b, "frame", &at);

	while (fact && !b->stripped) {
		uint64_t pc = hex(fact->f[1]) - 1;
		kb_line lines[FRAMES_MAX];
		kb_func f;
		int32_t delta;
		size_t n;

		assert_true(kb_func_find(&b->tab, pc, &f));
		assert_true(kb_func_spdelta(&f, pc, &delta) && delta >= 0 && delta % 8 == 0);
		n = lines_at(b, &f, pc, lines, FRAMES_MAX);
		for (size_t i = 0; i < n; i++) {
			assert_non_null(fact);
			assert_int_equal(lines[i].inlined, i + 1 < n);
			check_line(b, pc, &lines[i], fact, true);
			inlined += lines[i].inlined;
			frames++;
			fact = next_fact(b, "frame", &at);
		}
	}
	assert_true(b->stripped || frames >= 5);
	assert_true(b->stripped || b->noopt || inlined >= 2);
}

static void check_entries(struct bin *b)
{
	size_t at = 0;
	const struct fact *fact;

	while ((fact = next_fact(b, "func", &at)))
		assert_int_equal(func_named(b, fact->f[1]).entry, hex(fact->f[2]));
}

static const kb_dwarf_var *dwarf_var(struct bin *b, const char *name)
{
	const kb_dwarf_var *v;
	size_t n;

	assert_ok(kb_program_dwarf_vars(b->p, &v, &n));
	for (size_t i = 0; i < n; i++) {
		assert_true(i == 0 || v[i - 1].addr <= v[i].addr);
		if (!strcmp(v[i].name, name))
			return &v[i];
	}
	fail_msg("%s: DWARF has no variable %s", b->path, name);
	return NULL;
}

static bool is_data_symbol(struct bin *b, const char *name, uint64_t addr)
{
	const kb_symbol *s;
	bool found = false;
	size_t n;

	assert_ok(kb_program_data_symbols(b->p, &s, &n));
	for (size_t i = 0; i < n; i++) {
		assert_true(s[i].size && (i == 0 || s[i - 1].addr < s[i].addr));
		found |= !strcmp(s[i].name, name) && s[i].addr == addr;
	}
	return found;
}

static void check_var(struct bin *b, const struct fact *fact)
{
	uint64_t addr = hex(fact->f[2]) - b->bias, size = strtoull(fact->f[3], NULL, 10);
	const kb_dwarf_var *v = dwarf_var(b, fact->f[1]);
	kb_symbol sym, types;

	assert_ok(kb_program_find_symbol(b->p, fact->f[1], &sym));
	assert_int_equal(sym.addr, addr);
	assert_int_equal(sym.size, size);
	assert_true(is_data_symbol(b, fact->f[1], addr));
	assert_int_equal(v->addr, addr);
	assert_int_equal(v->size, size);
	if (strncmp(fact->f[1], "main.", 5)) {
		assert_int_equal(v->go_type, 0); /* C */
		return;
	}
	assert_ok(kb_program_find_symbol(b->p, "runtime.types", &types));
	assert_int_equal(types.addr + v->go_type + b->bias, hex(fact->f[4]));
}

static void check_vars(struct bin *b)
{
	const struct fact *fact;
	size_t at = 0;

	if (b->stripped) {
		const kb_symbol *s;
		const kb_dwarf_var *v;
		size_t n;

		assert_ok(kb_program_data_symbols(b->p, &s, &n));
		assert_int_equal(n, 0);
		assert_ok(kb_program_dwarf_vars(b->p, &v, &n));
		assert_int_equal(n, 0);
		return;
	}
	while ((fact = next_fact(b, "var", &at)))
		check_var(b, fact);
	assert_string_equal(dwarf_var(b, "main.sessions")->type_name, "map[string]*main.session");
	assert_string_equal(dwarf_var(b, "main.table")->type_name, "[4096]uint8");
	at = 0;
	while ((fact = next_fact(b, "field", &at))) {
		kb_dwarf_query q[2] = { { fact->f[1], fact->f[2], { 0 }, false },
					{ fact->f[1], "no.such", { 0 }, true } };

		assert_ok(kb_program_dwarf_fields(b->p, q, 2));
		assert_true(q[0].found && !q[1].found);
		assert_int_equal(q[0].result.offset, strtoul(fact->f[3], NULL, 10));
		assert_int_equal(q[0].result.size, strtoul(fact->f[4], NULL, 10));
	}
}

/* main.main takes the address of each variable it prints. */
static void check_references(struct bin *b)
{
	const kb_section *text = kb_program_section(b->p, ".text");
	kb_func f = func_named(b, "main.main");
	uint64_t refs[4096], link = f.entry - b->bias;
	const struct fact *fact;
	size_t at = 0, n;
	kb_bytes code;

	if (b->stripped && kb_program_is_pie(b->p)) /* where the code is in the file follows from a symbol here */
		return;
	assert_non_null(text);
	code = kb_slice(bytes_at(b, link), 0, f.end - f.entry);
	assert_true(code.n > 0);
	n = kb_code_data_refs(code, f.entry, refs, KB_ARRAY_LEN(refs));
	while ((fact = next_fact(b, "var", &at))) {
		bool found = false;

		if (strncmp(fact->f[1], "main.", 5))
			continue;
		for (size_t i = 0; i < n; i++)
			found |= refs[i] == hex(fact->f[2]);
		if (!found)
			fail_msg("%s: main.main refers to %s, not seen", b->path, fact->f[1]);
	}
}

/* ---- one test a check, over all programs ------------------------------------------------------------------------------------ */

static struct bin *bins;
static size_t nbins;

static int open_all(void **state)
{
	const char *list = getenv("KEPTBY_GO_TESTBIN");
	static char copy[65536];
	char *end;
	size_t cap = 0;

	(void)state;
	if (!list || !*list)
		return 0;
	snprintf(copy, sizeof(copy), "%s", list);
	for (char *path = strtok_r(copy, ":", &end); path; path = strtok_r(NULL, ":", &end)) {
		if (!KB_ROOM(bins, nbins, cap, 1024))
			return -1;
		open_bin(&bins[nbins++], path);
	}
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < nbins; i++)
		close_bin(&bins[i]);
	free(bins);
	return 0;
}

static void each(void (*check)(struct bin *))
{
	if (!nbins)
		skip();
	for (size_t i = 0; i < nbins; i++)
		check(&bins[i]);
}

#define OVER_ALL(name) \
	static void test_##name(void **state) \
	{ \
		(void)state; \
		each(check_##name); \
	}
OVER_ALL(file)
OVER_ALL(entries)
OVER_ALL(pcs)
OVER_ALL(frames)
OVER_ALL(vars)
OVER_ALL(references)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),   cmocka_unit_test(test_entries), cmocka_unit_test(test_pcs),
		cmocka_unit_test(test_frames), cmocka_unit_test(test_vars),    cmocka_unit_test(test_references),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
