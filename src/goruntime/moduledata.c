/* One moduledata of the target: section boundaries, function table, masks, and the read-only bytes that are worth
 * keeping. */
#include "modules.h"

#include <stdlib.h>

/* runtime/symtab.go: a moduledata has some 560 bytes in all versions. */
enum { MODULEDATA_MAX = 4096, MODULES_MAX = 4096, HEADER_BYTES = 72, TEXTSECT_MAX = 256 };
#define PCLN_MAX (UINT64_C(1) << 30)
/* Larger than this, read-only data is read from the target piece by piece: it is files embedded in the program. */
#define KEEP_MAX (UINT64_C(64) << 20)
#define ADDRESS_MAX (UINT64_C(1) << 56)

struct slice {
	kb_addr ptr;
	uint64_t len;
};

static struct slice slice_of(const kb_go *go, kb_bytes md, enum kb_field_id f)
{
	struct slice s = { kb_field_of(go, md, f), 0 };
	uint64_t len;
	if (kb_has(&go->layout, f) && kb_get_u64(md, (uint64_t)kb_off(&go->layout, f) + 8, &len))
		s.len = len;
	return s;
}

static void fill_bounds(const kb_go *go, kb_bytes md, kb_module *m)
{
#define GET(f) m->f = kb_field_of(go, md, KB_F_moduledata_##f)
	GET(text), GET(etext), GET(noptrdata), GET(enoptrdata), GET(data), GET(edata), GET(bss), GET(ebss),
		GET(noptrbss);
	GET(enoptrbss), GET(types), GET(etypes), GET(rodata), GET(gofunc), GET(minpc), GET(maxpc), GET(next);
#undef GET
	struct slice s = slice_of(go, md, KB_F_moduledata_typelinks);
	m->typelinks = s.ptr, m->ntypelinks = s.len;
	s = slice_of(go, md, KB_F_moduledata_itablinks);
	m->itablinks = s.ptr, m->nitablinks = s.len;
	m->typedesc_len = kb_field_of(go, md, KB_F_moduledata_typedesclen);
	m->itab_offset = kb_field_of(go, md, KB_F_moduledata_itaboffset);
	m->itab_size = kb_field_of(go, md, KB_F_moduledata_itabsize);
	/* A bitvector is {n int32, bytedata *uint8}: 16 bytes in all versions. */
	s = slice_of(go, md, KB_F_moduledata_gcdatamask);
	m->gcdata_bits = (int32_t)s.ptr, m->gcdata_mask = s.len;
	s = slice_of(go, md, KB_F_moduledata_gcbssmask);
	m->gcbss_bits = (int32_t)s.ptr, m->gcbss_mask = s.len;
}

static bool ordered(kb_addr lo, kb_addr hi)
{
	return lo <= hi && hi < ADDRESS_MAX;
}

static bool plausible(const kb_module *m)
{
	return ordered(m->text, m->etext) && ordered(m->noptrdata, m->enoptrdata) && ordered(m->data, m->edata) &&
	       ordered(m->bss, m->ebss) && ordered(m->noptrbss, m->enoptrbss) && ordered(m->types, m->etypes) &&
	       m->text <= m->minpc && m->minpc < m->maxpc && m->maxpc <= m->etext + 0x10000 && m->gcdata_bits >= 0 &&
	       m->gcbss_bits >= 0 && (uint64_t)m->gcdata_bits <= (m->edata - m->data) / 8 + 1 &&
	       (uint64_t)m->gcbss_bits <= (m->ebss - m->bss) / 8 + 1;
}

/* The section of the program's file that holds [a, a+n) (run-time), if its bytes are the same in memory. */
static const kb_section *file_section(const kb_go *go, kb_addr a, uint64_t n)
{
	static const char *const names[] = { ".gopclntab", ".data.rel.ro.gopclntab", ".rodata", ".go.func",
					     ".go.type" };
	if (!go->program)
		return NULL;
	for (size_t i = 0; i < KB_ARRAY_LEN(names); i++) {
		const kb_section *s = kb_program_section(go->program, names[i]);
		uint64_t at = a - go->bias;
		if (s && s->has_bytes && at >= s->addr && at - s->addr < s->size && n <= s->size - (at - s->addr))
			return s;
	}
	return NULL;
}

static void keep(kb_module *m, kb_addr start, size_t n, const uint8_t *bytes, bool owned)
{
	if (m->nkept < KB_ARRAY_LEN(m->kept))
		m->kept[m->nkept++] = (struct kb_kept){ start, n, bytes, owned };
	else if (owned)
		free((void *)(uintptr_t)bytes);
}

/* Keeps the whole section of the file that holds [a, a+n): the page cache has it, and the target's own pages stay
 * untouched. False when that is not possible. */
static bool keep_from_file(kb_go *go, kb_module *m, kb_addr a, uint64_t n)
{
	KB_DROP_ERROR kb_error *err = NULL;
	const kb_section *s = file_section(go, a, n);
	kb_bytes b;
	if (!s || (s->size > KEEP_MAX && s->size > n + KEEP_MAX))
		return false;
	err = kb_program_section_bytes(go->program, s, &b);
	if (err || b.n < s->size)
		return false;
	keep(m, s->addr + go->bias, s->size, b.p, false);
	return true;
}

static kb_error *keep_from_memory(kb_go *go, kb_module *m, kb_addr a, uint64_t n)
{
	if (m->nkept == KB_ARRAY_LEN(m->kept))
		return NULL;
	uint8_t *p = malloc(n ? n : 1);
	if (!p)
		return kb_error_nomem();
	kb_error *err = kb_target_read(go->target, a, p, n);
	if (err) {
		free(p);
		return err;
	}
	keep(m, a, n, p, true);
	return NULL;
}

static const uint8_t *kept_at(const kb_module *m, kb_addr a, uint64_t n)
{
	for (size_t i = 0; i < m->nkept; i++)
		if (a >= m->kept[i].start && a - m->kept[i].start <= m->kept[i].n &&
		    n <= m->kept[i].n - (a - m->kept[i].start))
			return m->kept[i].bytes + (a - m->kept[i].start);
	return NULL;
}

/* The part of the function table that a slice of moduledata names. */
static bool table_part(const kb_module *m, struct slice s, kb_bytes *ret)
{
	if (s.ptr < m->pcheader || s.ptr - m->pcheader > m->pcln_size || s.len > m->pcln_size - (s.ptr - m->pcheader))
		return false;
	*ret = (kb_bytes){ m->pcln_bytes + (s.ptr - m->pcheader), s.len };
	return true;
}

static kb_error *load_text_sections(kb_go *go, kb_bytes md, kb_module *m)
{
	struct slice s = slice_of(go, md, KB_F_moduledata_textsectmap);
	if (s.len <= 1)
		return NULL;
	if (s.len > TEXTSECT_MAX)
		return kb_error_new(KB_E_CORRUPT, "%llu text sections", (unsigned long long)s.len);
	m->textsect = malloc(s.len * sizeof(*m->textsect));
	if (!m->textsect)
		return kb_error_nomem();
	m->tab.textsect = (const uint64_t(*)[3])m->textsect;
	m->tab.ntextsect = s.len;
	return kb_target_read(go->target, s.ptr, m->textsect, s.len * sizeof(*m->textsect));
}

static kb_error *load_function_table(kb_go *go, kb_bytes md, kb_module *m, const kb_pcheader *h)
{
	struct slice pcln = slice_of(go, md, KB_F_moduledata_pclntable),
		     names = slice_of(go, md, KB_F_moduledata_funcnametab);
	if (names.ptr != m->pcheader + h->funcname_off || pcln.ptr != m->pcheader + h->pcln_off || pcln.len > PCLN_MAX)
		return kb_error_new(KB_E_CORRUPT, "moduledata does not fit the function table");
	m->pcln_size = pcln.ptr + pcln.len - m->pcheader;
	if (m->pcln_size > PCLN_MAX)
		return kb_error_new(KB_E_CORRUPT, "function table too large");
	if (!keep_from_file(go, m, m->pcheader, m->pcln_size))
		KB_TRY(keep_from_memory(go, m, m->pcheader, m->pcln_size));
	m->pcln_bytes = kept_at(m, m->pcheader, m->pcln_size);
	kb_pclntab *t = &m->tab;
	if (!m->pcln_bytes || !table_part(m, names, &t->funcnametab) || !table_part(m, pcln, &t->pclntable) ||
	    !table_part(m, slice_of(go, md, KB_F_moduledata_filetab), &t->filetab) ||
	    !table_part(m, slice_of(go, md, KB_F_moduledata_pctab), &t->pctab))
		return kb_error_new(KB_E_CORRUPT, "function table's parts lie outside of it");
	/* cutab is a []uint32. */
	struct slice cu = slice_of(go, md, KB_F_moduledata_cutab);
	cu.len = cu.len < PCLN_MAX ? cu.len * 4 : PCLN_MAX;
	if (!table_part(m, cu, &t->cutab))
		return kb_error_new(KB_E_CORRUPT, "function table's file table lies outside of it");
	t->nfunc = (uint32_t)h->nfunc;
	t->text = m->text;
	t->gofunc = m->gofunc;
	t->quantum = h->min_lc;
	t->old_func = h->magic == 0xfffffff0;
	return load_text_sections(go, md, m);
}

/* Which words of data or bss are pointers. The runtime's mask lies in memory of its own; where a core lacks that, the program it was made from
 * says the same (runtime/mbitmap.go, progToPointerMask), and without that every word may be one. */
static kb_error *load_mask(kb_go *go, kb_addr a, int32_t bits, kb_addr program, uint8_t **ret)
{
	size_t n = ((size_t)bits + 7) / 8;
	*ret = calloc(n + 8, 1);
	if (!*ret)
		return kb_error_nomem();
	KB_DROP_ERROR kb_error *err = n ? kb_target_read(go->target, a, *ret, n) : NULL;
	if (!err)
		return NULL;
	uint8_t *made = NULL;
	KB_DROP_ERROR kb_error *again = kb_gcprog_run(go, program, (uint64_t)bits, &made);
	if (!again)
		memcpy(*ret, made, n);
	else
		memset(*ret, 0xff, n);
	kb_go_gap(go, "the pointer mask of the variables is not readable: %s", again ? "every word is taken for a pointer" : "made anew from the program");
	free(made);
	return NULL;
}

/* What types, stack maps and GC masks are read from. Nothing here is vital: kb_read_ro asks the target for what is not
 * kept. */
static kb_error *keep_read_only(kb_go *go, kb_module *m)
{
	uint64_t n = m->etypes - m->types;
	bool relocated = !go->program || kb_program_is_pie(go->program);
	if (n && n <= KEEP_MAX && (relocated || !keep_from_file(go, m, m->types, n)))
		KB_TRY(keep_from_memory(go, m, m->types, n));
	if (n && (m->rodata_bytes = kept_at(m, m->types, n))) {
		m->rodata_start = m->types;
		m->rodata_size = n;
	}
	if (m->gofunc && !kept_at(m, m->gofunc, 1))
		keep_from_file(go, m, m->gofunc, 1);
	if (m->rodata && !kept_at(m, m->rodata, 1))
		keep_from_file(go, m, m->rodata, 1);
	return NULL;
}

static void module_free(kb_module *m)
{
	for (size_t i = 0; i < m->nkept; i++)
		if (m->kept[i].owned)
			free((void *)(uintptr_t)m->kept[i].bytes);
	free(m->textsect);
	free(m->data_bytes);
	free(m->bss_bytes);
	free(m->data_mask);
	free(m->bss_mask);
}

void kb_modules_free(kb_go *go)
{
	for (size_t i = 0; i < go->nmodules; i++)
		module_free(&go->modules[i]);
	free(go->modules);
	go->modules = NULL;
	go->nmodules = 0;
}

static kb_error *load(kb_go *go, kb_addr addr, kb_addr header, kb_module *m)
{
	uint8_t buf[MODULEDATA_MAX], head[HEADER_BYTES];
	uint32_t size = kb_sizeof(&go->layout, KB_S_moduledata);
	kb_pcheader h;
	if (!size || size > sizeof(buf))
		return kb_error_new(KB_E_UNSUPPORTED, "no layout of moduledata");
	KB_TRY(kb_target_read(go->target, addr, buf, size));
	KB_TRY(kb_target_read(go->target, header, head, sizeof(head)));
	kb_bytes md = { buf, size };
	if (kb_field_of(go, md, KB_F_moduledata_pcHeader) != header ||
	    !kb_pcheader_parse((kb_bytes){ head, sizeof(head) }, &h))
		return kb_error_new(KB_E_CORRUPT, "no moduledata at 0x%llx", (unsigned long long)addr);
	m->addr = addr;
	m->pcheader = header;
	fill_bounds(go, md, m);
	if (!plausible(m))
		return kb_error_new(KB_E_CORRUPT, "implausible moduledata at 0x%llx", (unsigned long long)addr);
	KB_TRY(load_function_table(go, md, m, &h));
	KB_TRY(load_mask(go, m->gcdata_mask, m->gcdata_bits, kb_field_of(go, md, KB_F_moduledata_gcdata), &m->data_mask));
	KB_TRY(load_mask(go, m->gcbss_mask, m->gcbss_bits, kb_field_of(go, md, KB_F_moduledata_gcbss), &m->bss_mask));
	return keep_read_only(go, m);
}

kb_error *kb_module_load(kb_go *go, kb_addr addr, kb_addr header)
{
	if (go->nmodules >= MODULES_MAX)
		return kb_error_new(KB_E_LIMIT, "more than %d modules", MODULES_MAX);
	kb_module *p = realloc(go->modules, (go->nmodules + 1) * sizeof(*p));
	if (!p)
		return kb_error_nomem();
	go->modules = p;
	kb_module m = { 0 };
	kb_error *err = load(go, addr, header, &m);
	if (err) {
		module_free(&m);
		return err;
	}
	go->modules[go->nmodules++] = m;
	return NULL;
}
