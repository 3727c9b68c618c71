#include "test_target_maker.h"

#define RW (PF_R | PF_W)
#define RX (PF_R | PF_X)
#define TEXT 0x400000ull
#define HEAP 0xc000000000ull

static kb_target *open_made(struct maker *m)
{
	kb_target *t = NULL;
	maker_finish(m);
	assert_ok(open_bytes(NULL, m->file, m->size, &t));
	return t;
}

static void assert_fault_at(kb_error *err, kb_addr a)
{
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_FAULT);
	assert_true(err->address == a);
	kb_error_free(err);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static void test_reads_segments_and_stops_at_holes(void **state)
{
	struct maker *m = maker_new();
	uint8_t buf[4 * PAGE];

	(void)state;
	maker_load(m, HEAP + 2 * PAGE, PAGE, PAGE, RW, 30); /* not in order */
	maker_load(m, HEAP, 2 * PAGE, 2 * PAGE, RW, 10);
	maker_load(m, HEAP + 4 * PAGE, PAGE, PAGE, RW, 50);
	kb_target *t = open_made(m);
	assert_ok(kb_target_read(t, HEAP + PAGE - 1, buf, PAGE + 2));
	assert_int_equal(buf[0], 10);
	assert_int_equal(buf[1], 11);
	assert_int_equal(buf[PAGE + 1], 30);
	assert_fault_at(kb_target_read(t, HEAP + PAGE, buf, 2 * PAGE + 1), HEAP + 3 * PAGE);
	assert_fault_at(kb_target_read(t, 8, buf, 1), 8);
	assert_fault_at(kb_target_read(t, KB_ADDR_MAX, buf, 8), KB_ADDR_MAX);
	memset(buf, 99, sizeof(buf));
	assert_int_equal(kb_target_read_holes(t, HEAP + 2 * PAGE, buf, 3 * PAGE), 2 * PAGE);
	assert_true(buf[0] == 30 && buf[PAGE] == 0 && buf[2 * PAGE - 1] == 0 && buf[2 * PAGE] == 50);
	assert_int_equal(buf[3 * PAGE], 99);
	kb_bytes v = kb_target_view(t, HEAP + 100, PAGE);
	assert_true(v.n == PAGE && v.p[0] == 10 && v.p[PAGE - 1] == 11);
	assert_null(kb_target_view(t, HEAP + PAGE, 2 * PAGE).p); /* two segments */
	kb_target_close(t);
	free(m);
}

static void test_threads_and_process(void **state)
{
	struct maker *m = maker_new();
	size_t n;

	(void)state;
	maker_thread(m, 7, 0x401000, 0x7ffe0000);
	maker_process(m, 5, "served");
	maker_thread(m, 5, 0x402000, HEAP);
	maker_load(m, HEAP, PAGE, PAGE, RW, 1);
	kb_target *t = open_made(m);
	const kb_thread *th = kb_target_threads(t, &n);
	assert_int_equal(n, 2);
	assert_true(th[0].tid == 7 && th[0].inner_tid == 7 && th[0].have_regs);
	assert_true(th[0].regs.rip == 0x401000 && th[0].regs.rsp == 0x7ffe0000);
	assert_true(th[1].tid == 5 && th[1].regs.rip == 0x402000 && th[1].regs.rsp == HEAP);
	assert_int_equal(kb_target_info_get(t)->pid, 5);
	assert_int_equal(kb_target_info_get(t)->kind, KB_TARGET_CORE);
	/* What is for live processes does nothing, or says so. */
	assert_ok(kb_target_stop(t, 1));
	assert_ok(kb_target_capture(t, HEAP, 8));
	assert_ok(kb_target_resume(t));
	kb_resident *r;
	assert_error(kb_target_smaps(t, &r, &n), KB_E_UNSUPPORTED);
	assert_error(kb_target_write_core(t, -1, NULL, NULL), KB_E_UNSUPPORTED);
	kb_target_close(t);
	free(m);
}

static void test_overlapping_segments_are_made_disjoint(void **state)
{
	struct maker *m = maker_new();
	uint8_t buf[6 * PAGE];
	size_t n;

	(void)state;
	maker_load(m, HEAP, 3 * PAGE, 3 * PAGE, RW, 10);
	maker_load(m, HEAP + PAGE, PAGE, PAGE, RW, 70);             /* inside the first */
	maker_load(m, HEAP + 2 * PAGE, 3 * PAGE, 3 * PAGE, RW, 40); /* sticks out */
	kb_target *t = open_made(m);
	assert_ok(kb_target_read(t, HEAP, buf, 5 * PAGE));
	assert_true(buf[0] == 10 && buf[PAGE] == 11 && buf[2 * PAGE] == 12 && buf[3 * PAGE] == 41 &&
		    buf[5 * PAGE - 1] == 42);
	const kb_mapping *maps = kb_target_mappings(t, &n);
	for (size_t i = 1; i < n; i++)
		assert_true(maps[i - 1].end <= maps[i].start);
	assert_ptr_equal(kb_target_mapping_at(t, HEAP + 5 * PAGE), NULL);
	kb_target_close(t);
	free(m);
}

static void test_wild_segment_numbers(void **state)
{
	struct maker *m = maker_new();
	uint8_t buf[16];

	(void)state;
	maker_load(m, HEAP, PAGE, PAGE, RW, 10);
	maker_load(m, KB_ADDR_MAX - PAGE, UINT64_MAX, PAGE, RW, 1)->p_offset = 1; /* ends behind the last address */
	maker_load(m, 0x10000, PAGE, UINT64_MAX, RW, 1)->p_offset = 64;           /* more in the file than in memory */
	maker_load(m, 0x20000, 2 * PAGE, 2 * PAGE, RW, 1)->p_offset =
		UINT64_MAX - 100; /* begins behind the file's end */
	maker_load(m, 0x30000, 0, 0, RW, 1);
	maker_load(m, 0x40001, 100, 100, RW, 77); /* not at a page */
	kb_target *t = open_made(m);
	assert_ok(kb_target_read(t, HEAP, buf, 16));
	assert_ok(kb_target_read(t, KB_ADDR_MAX - PAGE, buf, 16));
	assert_fault_at(kb_target_read(t, 0x20000, buf, 16), 0x20000);
	assert_ok(kb_target_read(t, 0x40001, buf, 16));
	assert_int_equal(buf[0], 77);
	assert_fault_at(kb_target_read(t, 0x40001 + 90, buf, 16), 0x40001 + 100);
	assert_true(kb_target_info_get(t)->truncated);
	kb_target_close(t);
	free(m);
}

/* ---- headers --------------------------------------------------------------------------------------------------- */

static void test_what_is_no_core(void **state)
{
	static const struct {
		size_t at;
		uint8_t byte;
		enum kb_code code;
	} cases[] = {
		{ 0, 'E', KB_E_CORRUPT },
		{ EI_CLASS, ELFCLASS32, KB_E_UNSUPPORTED },
		{ EI_DATA, ELFDATA2MSB, KB_E_UNSUPPORTED },
		{ offsetof(Elf64_Ehdr, e_type), ET_EXEC, KB_E_CORRUPT },
		{ offsetof(Elf64_Ehdr, e_machine), EM_386, KB_E_UNSUPPORTED },
		{ offsetof(Elf64_Ehdr, e_phentsize), 32, KB_E_CORRUPT },
		{ offsetof(Elf64_Ehdr, e_phoff) + 3, 1, KB_E_CORRUPT },
		{ offsetof(Elf64_Ehdr, e_phnum), 0, KB_E_CORRUPT },
	};
	struct maker *m = maker_new();
	kb_target *t;

	(void)state;
	maker_load(m, HEAP, PAGE, PAGE, RW, 10);
	maker_finish(m);
	for (size_t i = 0; i < KB_ARRAY_LEN(cases); i++) {
		uint8_t old = m->file[cases[i].at];
		m->file[cases[i].at] = cases[i].byte;
		assert_error(open_bytes(NULL, m->file, m->size, &t), cases[i].code);
		m->file[cases[i].at] = old;
	}
	assert_error(open_bytes(NULL, "\x28\xb5\x2f\xfd and so on", 12, &t), KB_E_UNSUPPORTED);
	assert_error(open_bytes(NULL, "", 0, &t), KB_E_CORRUPT);
	assert_error(kb_target_open_core(NULL, "/nonexistent/core", &t), KB_E_NOT_FOUND);
	assert_error(kb_target_open_core(NULL, "/proc", &t), KB_E_CORRUPT);
	free(m);
}

static void test_too_many_program_headers_for_the_header(void **state)
{
	struct maker *m = maker_new();
	Elf64_Shdr s = { .sh_info = 2 };
	uint8_t buf[8];
	kb_target *t;

	(void)state;
	maker_load(m, HEAP, PAGE, PAGE, RW, 10);
	m->e.e_phnum = PN_XNUM;
	maker_finish(m);
	Elf64_Ehdr *e = (Elf64_Ehdr *)m->file;
	memcpy(m->file + m->size, &s, sizeof(s));
	e->e_shoff = m->size;
	assert_ok(open_bytes(NULL, m->file, m->size + sizeof(s), &t));
	assert_ok(kb_target_read(t, HEAP, buf, 8));
	kb_target_close(t);
	/* Cut: the section header is gone; the notes' place bounds the table. */
	assert_ok(open_bytes(NULL, m->file, m->size, &t));
	assert_ok(kb_target_read(t, HEAP, buf, 8));
	kb_target_close(t);
	/* A lie. */
	s.sh_info = UINT32_MAX;
	memcpy(m->file + m->size, &s, sizeof(s));
	assert_error(open_bytes(NULL, m->file, m->size + sizeof(s), &t), KB_E_LIMIT);
	e->e_phnum = PN_XNUM - 1;
	e->e_phoff = m->size - 200;
	assert_error(open_bytes(NULL, m->file, m->size, &t), KB_E_CORRUPT);
	free(m);
}

/* At every length: either a clear error, or what is there reads as it was, and what is missing is counted. */
static void test_cut_everywhere(void **state)
{
	struct maker *m = maker_new();
	uint8_t *buf = malloc(3 * PAGE);

	(void)state;
	maker_thread(m, 7, 1, 2);
	maker_process(m, 7, "served");
	maker_load(m, TEXT, PAGE, PAGE, RX, 100);
	maker_load(m, HEAP, 2 * PAGE, 2 * PAGE, RW, 10);
	maker_finish(m);
	size_t headers = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr), whole = m->notes_n + 3 * PAGE;
	for (size_t n = 0; n <= m->size; n += n < headers + m->notes_n + 8 ? 1 : 61) {
		kb_target *t = NULL;
		kb_error *err = open_bytes(NULL, m->file, n, &t);
		assert_int_equal(err != NULL, n < headers);
		if (err) {
			assert_int_equal(err->code, KB_E_CORRUPT);
			kb_error_free(err);
			continue;
		}
		size_t text = kb_target_read_holes(t, TEXT, buf, PAGE),
		       heap = kb_target_read_holes(t, HEAP, buf, 2 * PAGE);
		for (size_t k = 0; k < 2 * PAGE; k++)
			assert_int_equal(buf[k], k < heap ? 10 + k / PAGE : 0);
		size_t notes = n - headers < m->notes_n ? n - headers : m->notes_n;
		const kb_target_info *info = kb_target_info_get(t);
		assert_int_equal(info->missing_bytes, whole - text - heap - notes);
		assert_int_equal(info->truncated, info->missing_bytes != 0);
		assert_int_equal(info->truncated, info->truncated_text != NULL);
		kb_target_close(t);
	}
	free(buf);
	free(m);
}

/* ---- notes ----------------------------------------------------------------------------------------------------- */

static void test_notes_with_wild_sizes(void **state)
{
	static const uint32_t wild[] = { 0,   1,   4,   5,          6,          7,          8,
					 335, 336, 337, 0x7fffffff, 0xfffffffb, 0xfffffffc, 0xffffffff };
	static const uint32_t types[] = { NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE, NT_FPREGSET, NT_SIGINFO, 0 };
	uint8_t desc[340];
	size_t n;

	(void)state;
	memset(desc, 0xff, sizeof(desc));
	for (size_t i = 0; i < KB_ARRAY_LEN(wild); i++)
		for (size_t k = 0; k < KB_ARRAY_LEN(types); k++)
			for (int name = 0; name < 2; name++) {
				struct maker *m = maker_new();
				maker_thread(m, 7, 1, 2);
				maker_raw_note(m, name ? wild[i] : 5, name ? 340 : wild[i], types[k], desc,
					       sizeof(desc));
				maker_thread(m, 8, 1, 2);
				maker_load(m, HEAP, PAGE, PAGE, RW, 10);
				kb_target *t = open_made(m);
				const kb_thread *th = kb_target_threads(t, &n);
				assert_true(n >= 1 && th[0].tid == 7);
				kb_target_close(t);
				free(m);
			}
}

static void test_mapped_files_with_wild_numbers(void **state)
{
	static const uint64_t cases[][5] = {
		/* count, page size, start, end, offset */
		{ 1, PAGE, HEAP, HEAP + PAGE, 0 },       { UINT64_MAX, PAGE, HEAP, HEAP + PAGE, 0 },
		{ 2, PAGE, HEAP, HEAP + PAGE, 0 },       { 1, 0, HEAP, HEAP + PAGE, 0 },
		{ 1, UINT64_MAX, HEAP, HEAP + PAGE, 5 }, { 1, PAGE, HEAP + PAGE, HEAP, 0 },
		{ 1, PAGE, 0, UINT64_MAX, 0 },           { 1, PAGE, HEAP, UINT64_MAX, UINT64_MAX },
		{ 0x0aaaaaaaaaaaaaab, PAGE, 0, 1, 0 },   { 1, PAGE, HEAP + 100, HEAP + 200, UINT64_MAX / PAGE / 2 },
	};
	uint8_t buf[PAGE];

	(void)state;
	for (size_t i = 0; i < KB_ARRAY_LEN(cases); i++)
		for (int nul = 0; nul < 2; nul++) {
			struct maker *m = maker_new();
			uint8_t d[48];
			memcpy(d, cases[i], 40);
			memcpy(d + 40, "/x/y/zz", 8);
			maker_note(m, NT_FILE, d, nul ? 48 : 47);
			maker_load(m, HEAP, PAGE, PAGE, RW, 10);
			kb_target *t = open_made(m);
			assert_ok(kb_target_read(t, HEAP, buf, PAGE));
			assert_true(buf[0] == 10 && buf[PAGE - 1] == 10);
			kb_target_read_holes(t, KB_ADDR_MAX - PAGE, buf, PAGE - 1);
			kb_target_close(t);
			free(m);
		}
}

/* ---- memory that a core leaves out ----------------------------------------------------------------------------- */

static void test_never_written_memory_is_zero_filtered_memory_is_missing(void **state)
{
	static const uint64_t entry[][3] = { { TEXT, TEXT + PAGE, 0 } };
	uint8_t buf[2 * PAGE];

	(void)state;
	for (int written = 0; written < 2; written++) {
		struct maker *m = maker_new();
		maker_files(m, "/nonexistent/served", entry, 1);
		maker_load(m, TEXT, PAGE, 0, RX, 0);
		maker_load(m, HEAP, PAGE, written ? PAGE : 0, RW, 10);
		maker_load(m, HEAP + PAGE, PAGE, 0, RW, 0);
		maker_load(m, HEAP + 2 * PAGE, PAGE, 0, 0, 0); /* reserved */
		kb_target *t = open_made(m);
		assert_int_equal(kb_target_info_get(t)->filtered, !written);
		assert_int_equal(kb_target_read_holes(t, HEAP, buf, 2 * PAGE), written ? 2 * PAGE : 0);
		assert_int_equal(buf[PAGE], 0);
		assert_fault_at(kb_target_read(t, HEAP + 2 * PAGE, buf, 1), HEAP + 2 * PAGE);
		assert_fault_at(kb_target_read(t, TEXT, buf, 1), TEXT);
		assert_false(kb_target_info_get(t)->truncated);
		kb_target_close(t);
		free(m);
	}
}

struct exe {
	Elf64_Ehdr e;
	Elf64_Phdr p[3];
	struct {
		Elf64_Nhdr h;
		char name[4], desc[24];
	} note;
	uint8_t rest[4 * PAGE];
};

/* Text of two pages, data of one. */
static void make_exe(struct exe *x, const char *build_id)
{
	*x = (struct exe){ .e = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
					       EV_CURRENT },
				  .e_type = ET_EXEC,
				  .e_machine = EM_X86_64,
				  .e_phoff = sizeof(Elf64_Ehdr),
				  .e_phentsize = sizeof(Elf64_Phdr),
				  .e_phnum = 3,
				  .e_entry = TEXT + 0x1000 } };
	x->p[0] =
		(Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = offsetof(struct exe, note), .p_filesz = sizeof(x->note) };
	x->p[1] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = RX, .p_vaddr = TEXT, .p_filesz = 2 * PAGE, .p_memsz = 2 * PAGE
	};
	x->p[2] = (Elf64_Phdr){ .p_type = PT_LOAD,
				.p_flags = RW,
				.p_offset = 2 * PAGE,
				.p_vaddr = TEXT + 2 * PAGE,
				.p_filesz = PAGE,
				.p_memsz = 2 * PAGE };
	x->note.h = (Elf64_Nhdr){ 4, sizeof(x->note.desc), 4 };
	memcpy(x->note.name, "Go\0", 4);
	snprintf(x->note.desc, sizeof(x->note.desc), "%s", build_id);
	for (size_t i = 0; i < sizeof(x->rest); i++)
		x->rest[i] = (uint8_t)(i * 7 + i / 251);
}

/* A core of that executable; the page with the ELF header is in it. */
static struct maker *core_of(const struct exe *x, const char *path, uint64_t entry_point)
{
	static const uint64_t entries[][3] = { { TEXT, TEXT + 2 * PAGE, 0 },
					       { TEXT + 2 * PAGE, TEXT + 3 * PAGE, 2 * PAGE } };
	struct maker *m = maker_new();
	maker_process(m, 5, "served");
	maker_auxv(m, TEXT + sizeof(Elf64_Ehdr), 3, entry_point);
	maker_files(m, path, entries, 2);
	maker_load(m, TEXT, 2 * PAGE, PAGE, RX, 0);
	maker_load(m, TEXT + 2 * PAGE, PAGE, PAGE, RW, 200);
	maker_load(m, HEAP, PAGE, PAGE, RW, 1);
	maker_finish(m);
	memcpy(m->file + m->p[0].p_offset, x, PAGE);
	return m;
}

static void test_text_comes_from_the_executable(void **state)
{
	struct exe *x = malloc(sizeof(*x));
	char path[32];
	uint8_t buf[3 * PAGE];

	(void)state;
	make_exe(x, "first build");
	int fd = file_of(x, sizeof(*x), path);
	for (int given = 0; given < 2; given++) {
		struct maker *m = core_of(x, given ? "/nonexistent/served" : path, x->e.e_entry);
		kb_target *t;
		assert_ok(open_bytes(given ? path : NULL, m->file, m->size, &t));
		assert_true(kb_target_exe_fd(t) >= 0);
		assert_string_equal(kb_target_info_get(t)->exe, path);
		assert_ok(kb_target_read(t, TEXT, buf, 3 * PAGE));
		assert_memory_equal(buf, x, 2 * PAGE);
		assert_int_equal(buf[2 * PAGE], 200); /* written memory is the core's */
		assert_int_equal(kb_target_mapping_at(t, TEXT)->perms, KB_PERM_R | KB_PERM_X);
		int lib = kb_target_open_mapping(t, kb_target_mapping_at(t, TEXT));
		assert_true(lib >= 0);
		close(lib);
		kb_target_close(t);
		free(m);
	}
	close(fd);
	free(x);
}

static void assert_mismatch(const char *exe, const struct maker *m)
{
	kb_target *t;
	kb_error *err = open_bytes(exe, m->file, m->size, &t);
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_CORRUPT);
	assert_non_null(strstr(err->message, "was not made by"));
	assert_non_null(err->remedy);
	kb_error_free(err);
}

static void test_executable_and_core_that_do_not_belong_together(void **state)
{
	struct exe *x = malloc(sizeof(*x)), *y = malloc(sizeof(*y));
	char path[32];
	kb_target *t;

	(void)state;
	make_exe(x, "first build");
	struct maker *m = core_of(x, "/nonexistent/served", x->e.e_entry);
	make_exe(y, "second build"); /* all the same but for the build id */
	int fd = file_of(y, sizeof(*y), path);
	assert_mismatch(path, m);
	close(fd);
	make_exe(y, "first build"); /* stripped: section headers differ, and that is fine */
	y->e.e_shoff = 12345;
	fd = file_of(y, sizeof(*y), path);
	assert_ok(open_bytes(path, m->file, m->size, &t));
	kb_target_close(t);
	/* The page is not in the core: then the entry point tells, */
	m->p[0].p_filesz = 0;
	memcpy(m->file + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), &m->p[0], sizeof(m->p[0]));
	assert_ok(open_bytes(path, m->file, m->size, &t));
	kb_target_close(t);
	close(fd);
	y->e.e_entry += 16;
	fd = file_of(y, sizeof(*y), path);
	assert_mismatch(path, m);
	close(fd);
	/* or the segments, */
	make_exe(y, "first build");
	y->p[2].p_vaddr += PAGE;
	fd = file_of(y, sizeof(*y), path);
	assert_mismatch(path, m);
	close(fd);
	/* or the size. */
	make_exe(y, "first build");
	fd = file_of(y, 2 * PAGE, path);
	assert_mismatch(path, m);
	close(fd);
	fd = file_of(m->file, m->size, path);
	assert_error(open_bytes(path, m->file, m->size, &t), KB_E_CORRUPT);
	close(fd);
	assert_error(open_bytes("/nonexistent/served", m->file, m->size, &t), KB_E_NOT_FOUND);
	free(m);
	free(x);
	free(y);
}

/* gcore leaves out unwritten mappings as a whole; dlv writes no NT_FILE. */
static void test_mappings_without_a_segment(void **state)
{
	struct exe *x = malloc(sizeof(*x));
	struct maker *m = maker_new();
	static const uint64_t entries[][3] = { { TEXT, TEXT + 2 * PAGE, 0 } };
	char path[32];
	uint8_t buf[2 * PAGE];
	kb_target *t;

	(void)state;
	make_exe(x, "first build");
	int fd = file_of(x, sizeof(*x), path);
	maker_load(m, HEAP, PAGE, PAGE, RW, 1);
	maker_finish(m);
	assert_ok(open_bytes(path, m->file, m->size, &t));
	assert_ok(kb_target_read(t, TEXT, buf, 2 * PAGE));
	assert_memory_equal(buf, x, 2 * PAGE);
	kb_target_close(t);
	free(m);
	m = maker_new();
	maker_files(m, path, entries, 1);
	maker_load(m, HEAP, PAGE, PAGE, RW, 1);
	maker_finish(m);
	assert_ok(open_bytes(NULL, m->file, m->size, &t));
	assert_ok(kb_target_read(t, TEXT, buf, 2 * PAGE));
	assert_memory_equal(buf, x, 2 * PAGE);
	kb_target_close(t);
	free(m);
	close(fd);
	free(x);
}

static struct maker *failing_core;

static bool open_with_little_memory(void)
{
	kb_target *t;
	kb_error *err = open_bytes(NULL, failing_core->file, failing_core->size, &t);
	if (!err) {
		kb_target_close(t);
		return true;
	}
	bool nomem = err->code == KB_E_NOMEM;
	kb_error_free(err);
	assert_true(nomem);
	return false;
}

static void test_each_allocation_failing(void **state)
{
	static const uint64_t entry[][3] = { { TEXT, TEXT + PAGE, 0 } };

	(void)state;
	failing_core = maker_new();
	maker_thread(failing_core, 7, 1, 2);
	maker_files(failing_core, "/nonexistent/served", entry, 1);
	maker_load(failing_core, TEXT, PAGE, 0, RX, 0);
	maker_load(failing_core, HEAP, PAGE, PAGE, RW, 10);
	maker_finish(failing_core);
	kb_test_each_allocation_failing(open_with_little_memory);
	free(failing_core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_segments_and_stops_at_holes),
		cmocka_unit_test(test_threads_and_process),
		cmocka_unit_test(test_overlapping_segments_are_made_disjoint),
		cmocka_unit_test(test_wild_segment_numbers),
		cmocka_unit_test(test_what_is_no_core),
		cmocka_unit_test(test_too_many_program_headers_for_the_header),
		cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_notes_with_wild_sizes),
		cmocka_unit_test(test_mapped_files_with_wild_numbers),
		cmocka_unit_test(test_never_written_memory_is_zero_filtered_memory_is_missing),
		cmocka_unit_test(test_text_comes_from_the_executable),
		cmocka_unit_test(test_executable_and_core_that_do_not_belong_together),
		cmocka_unit_test(test_mappings_without_a_segment),
		cmocka_unit_test(test_each_allocation_failing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
