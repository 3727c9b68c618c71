/* Where the Go runtime is: the file that holds it, how far it was moved, function table, moduledata, version. */
#include "modules.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_BYTES = 72, SCAN_CHUNK = 1 << 20, CANDIDATES_MAX = 4096 };
#define SCAN_MAX (UINT64_C(8) << 30)

static const char *const pclntab_sections[] = { ".gopclntab", ".data.rel.ro.gopclntab" };
static const char *const module_sections[] = { ".go.module", ".noptrdata", ".data", ".data.rel.ro" };

static bool header_at(const kb_go *go, kb_addr a, kb_pcheader *ret)
{
	uint8_t buf[HEADER_BYTES];
	KB_DROP_ERROR kb_error *err = kb_target_read(go->target, a, buf, sizeof(buf));
	return !err && kb_pcheader_parse((kb_bytes){ buf, sizeof(buf) }, ret);
}

static const kb_section *pclntab_section(kb_program *p)
{
	for (size_t i = 0; i < KB_ARRAY_LEN(pclntab_sections); i++) {
		const kb_section *s = kb_program_section(p, pclntab_sections[i]);
		if (s)
			return s;
	}
	return NULL;
}

/* Where the program would begin if mapping m is the start of one of its segments. */
static bool bias_by_mapping(const kb_program *p, const kb_mapping *m, uint64_t *ret)
{
	size_t n;
	const kb_segment *segs = kb_program_segments(p, &n);
	for (size_t i = 0; i < n; i++) {
		if ((segs[i].offset & ~UINT64_C(4095)) != m->file_offset)
			continue;
		*ret = m->start - (segs[i].vaddr & ~UINT64_C(4095));
		return true;
	}
	return false;
}

/* Finds go->bias: the one that brings the file's function table to where memory has one. only: mappings of this path;
 * NULL any. */
static bool find_bias(kb_go *go, kb_program *p, const char *only, kb_addr *ret_header)
{
	const kb_section *s = pclntab_section(p);
	kb_pcheader h;
	size_t n;
	if (!s)
		return false;
	*ret_header = s->addr;
	go->bias = 0;
	if (!kb_program_is_pie(p) && header_at(go, s->addr, &h))
		return true;
	const kb_mapping *maps = kb_target_mappings(go->target, &n);
	for (size_t i = 0; i < n; i++) {
		uint64_t bias;
		if (maps[i].path[0] != '/' || (only && strcmp(maps[i].path, only)) ||
		    !bias_by_mapping(p, &maps[i], &bias))
			continue;
		if (header_at(go, s->addr + bias, &h)) {
			*ret_header = s->addr + bias;
			go->bias = bias;
			return true;
		}
	}
	return false;
}

/* ---- the memory scan, for what has no usable sections ------------------------------------------------------------ */

typedef kb_error *(*hit_fn)(kb_go *go, kb_addr at, kb_addr want, bool *ret_done);

struct scan {
	hit_fn hit;
	uint64_t want; /* the 8-byte word to look for */
};

static kb_error *scan_range(kb_go *go, kb_addr lo, kb_addr hi, const struct scan *sc, uint8_t *buf, bool *done)
{
	lo = (lo + 7) & ~UINT64_C(7);
	for (kb_addr a = lo; a < hi && !*done; a += SCAN_CHUNK) {
		size_t n = hi - a < SCAN_CHUNK ? (size_t)(hi - a) : SCAN_CHUNK;
		if (!kb_target_read_holes(go->target, a, buf, n))
			continue;
		for (size_t i = 0; i + 8 <= n && !*done; i += 8)
			if (kb_load64(buf + i) == sc->want)
				KB_TRY(sc->hit(go, a + i, sc->want, done));
	}
	return NULL;
}

/* Over the file-backed mappings that are readable and, unless code is wanted, not executable. */
static kb_error *scan_mappings(kb_go *go, bool with_code, const struct scan *sc, bool *done)
{
	KB_FREE uint8_t *buf = malloc(SCAN_CHUNK);
	uint64_t budget = SCAN_MAX;
	size_t n;
	if (!buf)
		return kb_error_nomem();
	const kb_mapping *maps = kb_target_mappings(go->target, &n);
	for (size_t i = 0; i < n && !*done; i++) {
		const kb_mapping *m = &maps[i];
		if (m->path[0] != '/' || !(m->perms & KB_PERM_R) || (m->perms & KB_PERM_SHARED) ||
		    m->end - m->start > budget || (!with_code && (m->perms & KB_PERM_X)))
			continue;
		budget -= m->end - m->start;
		KB_TRY(scan_range(go, m->start, m->end, sc, buf, done));
	}
	return NULL;
}

/* A moduledata begins with the address of its function table's header. */
static kb_error *try_module(kb_go *go, kb_addr at, kb_addr want, bool *ret_done)
{
	KB_DROP_ERROR kb_error *err = kb_module_load(go, at, want);
	*ret_done = !err;
	return NULL;
}

static kb_error *module_by_symbol(kb_go *go, kb_addr header, bool *done)
{
	KB_DROP_ERROR kb_error *err = NULL;
	kb_symbol sym;
	if (!go->program || !kb_program_has_symbols(go->program))
		return NULL;
	err = kb_program_find_symbol(go->program, "runtime.firstmoduledata", &sym);
	return err ? NULL : try_module(go, sym.addr + go->bias, header, done);
}

static kb_error *module_by_sections(kb_go *go, kb_addr header, bool *done)
{
	const struct scan sc = { try_module, header };
	KB_FREE uint8_t *buf = malloc(SCAN_CHUNK);
	if (!buf)
		return kb_error_nomem();
	for (size_t i = 0; go->program && i < KB_ARRAY_LEN(module_sections) && !*done; i++) {
		const kb_section *s = kb_program_section(go->program, module_sections[i]);
		if (s && s->size < SCAN_MAX)
			KB_TRY(scan_range(go, s->addr + go->bias, s->addr + go->bias + s->size, &sc, buf, done));
	}
	return NULL;
}

static kb_error *find_module(kb_go *go, kb_addr header, bool *done)
{
	const struct scan sc = { try_module, header };
	*done = false;
	KB_TRY(module_by_symbol(go, header, done));
	if (!*done)
		KB_TRY(module_by_sections(go, header, done));
	return *done ? NULL : scan_mappings(go, false, &sc, done);
}

/* A word that may begin a function table: magic, two zero bytes, instruction quantum 1, pointer size 8. */
static kb_error *try_header(kb_go *go, kb_addr at, kb_addr want, bool *ret_done)
{
	kb_pcheader h;
	(void)want;
	return header_at(go, at, &h) ? find_module(go, at, ret_done) : NULL;
}

static kb_error *scan_for_headers(kb_go *go, bool *done)
{
	static const uint32_t magics[] = { 0xfffffff1, 0xfffffff0 };
	*done = false;
	for (size_t i = 0; i < KB_ARRAY_LEN(magics) && !*done; i++) {
		const struct scan sc = { try_header, UINT64_C(0x0801000000000000) | magics[i] };
		KB_TRY(scan_mappings(go, true, &sc, done));
	}
	return NULL;
}

/* ---- file and version -------------------------------------------------------------------------------------------- */

/* The executable is not Go: perhaps a library that it has loaded is (c-shared). */
static kb_error *program_among_libraries(kb_go *go, kb_addr *ret_header)
{
	size_t n;
	const kb_mapping *maps = kb_target_mappings(go->target, &n);
	for (size_t i = 0; i < n; i++) {
		KB_DROP_ERROR kb_error *err = NULL;
		if (maps[i].path[0] != '/' || maps[i].file_offset)
			continue;
		int fd = kb_target_open_mapping(go->target, &maps[i]);
		kb_program *p = NULL;
		if (fd < 0)
			continue;
		err = kb_program_open(fd, maps[i].path, &p);
		if (!err && find_bias(go, p, maps[i].path, ret_header)) {
			go->program = p;
			go->program_fd = fd;
			return NULL;
		}
		kb_program_close(p);
		close(fd);
	}
	return kb_error_new(KB_E_NOT_GO, "%s is not a Go program, and has loaded no Go library",
			    kb_target_info_get(go->target)->exe ? kb_target_info_get(go->target)->exe : "the target");
}

/* Build info from memory: it is at the start of the first writable mapping of the file. */
static kb_error *build_from_memory(kb_go *go)
{
	KB_FREE uint8_t *buf = malloc(SCAN_CHUNK);
	size_t n;
	if (!buf)
		return kb_error_nomem();
	const kb_mapping *maps = kb_target_mappings(go->target, &n);
	for (size_t i = 0; i < n; i++) {
		if (maps[i].path[0] != '/' || (maps[i].perms & (KB_PERM_W | KB_PERM_X)) == KB_PERM_X)
			continue;
		size_t len =
			maps[i].end - maps[i].start < SCAN_CHUNK ? (size_t)(maps[i].end - maps[i].start) : SCAN_CHUNK;
		if (!kb_target_read_holes(go->target, maps[i].start, buf, len))
			continue;
		kb_error *err = kb_buildinfo_parse((kb_bytes){ buf, len }, &go->own_build);
		if (!err) {
			go->info.build = &go->own_build;
			return NULL;
		}
		kb_error_free(err);
	}
	return kb_error_new(KB_E_NOT_GO, "no Go build information in the target");
}

/* A library, or a Go program whose file does not show it (no section headers): then its memory does. */
static kb_error *not_the_executable(kb_go *go, kb_addr *ret_header)
{
	kb_error *err = program_among_libraries(go, ret_header);
	if (!err || err->code != KB_E_NOT_GO)
		return err;
	kb_error *memory = build_from_memory(go);
	if (memory) {
		kb_error_free(memory);
		return err;
	}
	kb_error_free(err);
	*ret_header = 0;
	return NULL;
}

static bool is_executable(const kb_mapping *m, ino_t inode, const char *exe)
{
	const char *a = strrchr(m->path, '/'), *b = exe ? strrchr(exe, '/') : NULL;
	if (!a)
		return false;
	return m->inode ? m->inode == inode : exe && strcmp(a + 1, b ? b + 1 : exe) == 0;
}

/* A function table without a section of its own (GNU ld puts it into .data.rel.ro of a cgo PIE, up to 1.25) tells nothing of the bias;
 * where the executable is mapped does. */
static void bias_of_executable(kb_go *go, int fd)
{
	struct stat st;
	size_t n;
	const kb_mapping *maps = kb_target_mappings(go->target, &n);
	if (!kb_program_is_pie(go->program) || fstat(fd, &st))
		return;
	for (size_t i = 0; i < n; i++)
		if (is_executable(&maps[i], st.st_ino, kb_target_info_get(go->target)->exe) && bias_by_mapping(go->program, &maps[i], &go->bias))
			return;
}

static kb_error *find_program(kb_go *go, kb_addr *ret_header)
{
	int fd = kb_target_exe_fd(go->target);
	*ret_header = 0;
	if (fd < 0)
		return NULL;
	const char *name = kb_target_info_get(go->target)->exe;
	kb_error *err = kb_program_open(fd, name ? name : "executable", &go->program);
	if (err && err->code == KB_E_NOT_GO) {
		kb_error_free(err);
		return not_the_executable(go, ret_header);
	}
	KB_TRY(err);
	if (!find_bias(go, go->program, NULL, ret_header)) {
		*ret_header = 0;
		bias_of_executable(go, fd);
	}
	return NULL;
}

static kb_error *choose_layout(kb_go *go)
{
	const kb_buildinfo *b = go->info.build;
	/* A development version without a number is newer than all we know. */
	go->minor = b->minor ? b->minor : INT16_MAX;
	go->patch = b->patch;
	go->info.version = b->go_version;
	KB_TRY(kb_layout_choose(go->minor, go->patch, b->experiments, &go->layout, &go->layout_origin));
	if (go->program && kb_program_has_dwarf(go->program)) {
		kb_error *err = kb_layout_from_dwarf(&go->layout, go->program, &go->layout_origin);
		if (err) {
			kb_go_gap(go, "DWARF of the executable: %s", err->message);
			kb_error_free(err);
		}
	}
	go->info.layout_text = go->layout_origin.text;
	go->info.layout_guessed = go->layout_origin.guessed;
	return NULL;
}

/* Plugins hang behind the first module. */
static void load_next_modules(kb_go *go)
{
	kb_addr next = go->modules[0].next;
	while (next && go->nmodules < CANDIDATES_MAX) {
		KB_DROP_ERROR kb_error *err = NULL;
		uint64_t header;
		for (size_t i = 0; i < go->nmodules; i++)
			if (go->modules[i].addr == next)
				return;
		err = kb_target_read_u64(go->target, next, &header);
		if (!err)
			err = kb_module_load(go, next, header);
		if (err) {
			kb_go_gap(go, "module at 0x%llx: %s", (unsigned long long)next, err->message);
			return;
		}
		next = go->modules[go->nmodules - 1].next;
	}
}

kb_error *kb_modules_find(kb_go *go)
{
	kb_addr header;
	bool done = false;
	KB_TRY(find_program(go, &header));
	if (go->program)
		go->info.build = kb_program_buildinfo(go->program);
	if (!go->info.build)
		KB_TRY(build_from_memory(go));
	KB_TRY(choose_layout(go));
	if (header)
		KB_TRY(find_module(go, header, &done));
	if (!done)
		KB_TRY(scan_for_headers(go, &done));
	if (!done && go->layout_origin.guessed)
		return kb_error_new(KB_E_UNSUPPORTED,
				    "%s is newer than this keptby knows, and lays out its memory differently from %s",
				    go->info.version, go->layout_origin.text);
	if (!done)
		return kb_error_new(KB_E_UNSUPPORTED, "%s: no module data that fits the layout of this version (%s)",
				    go->info.version, go->layout_origin.text);
	load_next_modules(go);
	return NULL;
}
