/* Go's function table. Format: internal/abi/symtab.go and runtime/symtab.go of Go 1.20+, runtime/symtab.go of 1.18/1.19;
 * written by cmd/link/internal/ld/pcln.go. Everything works on views and allocates nothing: a look at 100,000 goroutines
 * decodes a million of these tables. */
#include "program/program.h"

#define MAGIC_118 0xfffffff0u
#define MAGIC_120 0xfffffff1u
#define HEADER_SIZE 72
#define FTAB_ENTRY 8
#define NFUNC_MAX (1u << 26)
#define NFILES_MAX (1u << 24)
#define NO_OFFSET 0xffffffffu
#define NAME_MAX_LEN 65536
#define VARINT32_BYTES 5
/* Go's inliner stops far earlier; a longer chain is a damaged tree. */
#define INLINE_DEPTH_MAX 1024

/* ---- the header ---------------------------------------------------------------------------------------------- */

static bool plausible(const kb_pcheader *h)
{
	return h->nfunc > 0 && h->nfunc < NFUNC_MAX && h->nfiles < NFILES_MAX && h->funcname_off >= HEADER_SIZE &&
	       h->funcname_off <= h->cu_off && h->cu_off <= h->filetab_off && h->filetab_off <= h->pctab_off &&
	       h->pctab_off <= h->pcln_off && h->pcln_off < UINT64_C(1) << 33;
}

bool kb_pcheader_parse(kb_bytes b, kb_pcheader *ret)
{
	kb_pcheader h;

	if (b.n < HEADER_SIZE)
		return false;
	h.magic = kb_load32(b.p);
	if ((h.magic != MAGIC_118 && h.magic != MAGIC_120) || b.p[4] || b.p[5])
		return false;
	h.min_lc = b.p[6];
	h.ptr_size = b.p[7];
	if ((h.min_lc != 1 && h.min_lc != 2 && h.min_lc != 4) || h.ptr_size != 8)
		return false;
	h.nfunc = kb_load64(b.p + 8);
	h.nfiles = kb_load64(b.p + 16);
	h.text_start = kb_load64(b.p + 24);
	h.funcname_off = kb_load64(b.p + 32);
	h.cu_off = kb_load64(b.p + 40);
	h.filetab_off = kb_load64(b.p + 48);
	h.pctab_off = kb_load64(b.p + 56);
	h.pcln_off = kb_load64(b.p + 64);
	if (!plausible(&h))
		return false;
	*ret = h;
	return true;
}

static kb_bytes between(kb_bytes b, uint64_t from, uint64_t to)
{
	return kb_slice(b, from, to - from);
}

bool kb_pclntab_from_section(kb_bytes b, uint64_t text, uint64_t gofunc, kb_pclntab *ret)
{
	kb_pcheader h;

	if (!kb_pcheader_parse(b, &h) || h.pcln_off >= b.n)
		return false;
	*ret = (kb_pclntab){
		.funcnametab = between(b, h.funcname_off, h.cu_off),
		.cutab = between(b, h.cu_off, h.filetab_off),
		.filetab = between(b, h.filetab_off, h.pctab_off),
		.pctab = between(b, h.pctab_off, h.pcln_off),
		.pclntable = between(b, h.pcln_off, b.n),
		.nfunc = (uint32_t)h.nfunc,
		.text = text ? text : h.text_start,
		.gofunc = gofunc,
		.quantum = h.min_lc,
		.old_func = h.magic == MAGIC_118,
	};
	return true;
}

/* ---- finding a function ------------------------------------------------------------------------------------------- */

/* Of the ftab, at the front of pclntable: nfunc pairs and the end mark's first half. i <= nfunc, checked by the caller. */
static uint32_t ftab_entry(const kb_pclntab *t, uint32_t i)
{
	return kb_load32(t->pclntable.p + (size_t)i * FTAB_ENTRY);
}

static bool ftab_fits(const kb_pclntab *t)
{
	return t->nfunc && t->nfunc < NFUNC_MAX && t->pclntable.n >= (size_t)t->nfunc * FTAB_ENTRY + 4;
}

/* Text offset → run-time address. More than one section of text: runtime.(*moduledata).textAddr. */
static uint64_t text_addr(const kb_pclntab *t, uint32_t off)
{
	if (t->ntextsect > 1) {
		for (size_t i = 0; i < t->ntextsect; i++) {
			const uint64_t *s = t->textsect[i];

			if (off >= s[0] && off < s[1])
				return s[2] + off - s[0];
		}
	}
	return t->text + off;
}

/* The other way round: runtime.(*moduledata).textOff. */
static bool text_off(const kb_pclntab *t, uint64_t pc, uint32_t *ret)
{
	uint64_t off = pc - t->text;

	if (t->ntextsect > 1) {
		for (size_t i = 0; i < t->ntextsect; i++) {
			const uint64_t *s = t->textsect[i];

			if (s[1] > s[0] && pc >= s[2] && pc - s[2] < s[1] - s[0])
				off = pc - s[2] + s[0];
		}
	}
	if (off >= UINT32_MAX)
		return false;
	*ret = (uint32_t)off;
	return true;
}

static const char *string_at(kb_bytes tab, uint64_t off)
{
	/* A table that ends in NUL, as each one does, needs no search. */
	if (off < tab.n && !tab.p[tab.n - 1])
		return (const char *)tab.p + off;
	return kb_get_cstr(tab, off, NAME_MAX_LEN);
}

static bool read_record(const kb_pclntab *t, uint64_t off, kb_func *f)
{
	uint32_t fixed = t->old_func ? 40 : 44;
	kb_bytes b = t->pclntable;
	const uint8_t *p;

	if (off > b.n || b.n - off < fixed)
		return false;
	p = b.p + off;
	f->args = (int32_t)kb_load32(p + 8);
	f->deferreturn = kb_load32(p + 12);
	f->pcsp = kb_load32(p + 16);
	f->pcfile = kb_load32(p + 20);
	f->pcln = kb_load32(p + 24);
	f->npcdata = kb_load32(p + 28);
	f->cu_offset = kb_load32(p + 32);
	/* Since 1.20 startLine stands in front of the small fields: funcID, flag, pad, nfuncdata. */
	f->flag = p[fixed - 3];
	f->nfuncdata = p[fixed - 1];
	f->tail = off + fixed;
	if (((uint64_t)f->npcdata + f->nfuncdata) * 4 > b.n - f->tail)
		return false;
	f->name = string_at(t->funcnametab, kb_load32(p + 4));
	return f->name != NULL;
}

bool kb_func_at(const kb_pclntab *t, uint32_t index, kb_func *ret)
{
	uint32_t entry, next, record;

	if (!ftab_fits(t) || index >= t->nfunc)
		return false;
	entry = ftab_entry(t, index);
	next = ftab_entry(t, index + 1);
	record = kb_load32(t->pclntable.p + (size_t)index * FTAB_ENTRY + 4);
	/* The record repeats the entry: a cheap proof that it is one. */
	if (next <= entry || record > t->pclntable.n - 4 || kb_load32(t->pclntable.p + record) != entry)
		return false;
	ret->tab = t;
	ret->index = index;
	ret->entry = text_addr(t, entry);
	ret->end = ret->entry + (next - entry);
	return read_record(t, record, ret);
}

bool kb_func_find(const kb_pclntab *t, uint64_t pc, kb_func *ret)
{
	uint32_t off, low = 0, n = t->nfunc;

	if (!ftab_fits(t) || !text_off(t, pc, &off))
		return false;
	if (off < ftab_entry(t, 0) || off >= ftab_entry(t, t->nfunc))
		return false;
	/* The function is among the n from low on. No branch depends on what is read: half of them would be mispredicted, and
	 * a stack walk asks for each frame. */
	while (n > 1) {
		uint32_t half = n / 2;

		low += ftab_entry(t, low + half) <= off ? half : 0;
		n -= half;
	}
	/* Sections of text that overlap in a damaged table could lead to a function elsewhere. */
	return kb_func_at(t, low, ret) && pc >= ret->entry && pc < ret->end;
}

void kb_func_each(const kb_pclntab *t, kb_func_fn fn, void *ctx)
{
	kb_func f;

	for (uint32_t i = 0; i < t->nfunc && ftab_fits(t); i++)
		if (kb_func_at(t, i, &f) && !fn(ctx, &f))
			return;
}

/* ---- pc-value tables -------------------------------------------------------------------------------------------------- */

/* Unsigned LEB128 of at most 32 bits. NULL when it is cut off or too long. */
static inline const uint8_t *varint32(const uint8_t *p, const uint8_t *end, uint32_t *ret)
{
	uint32_t v;

	if (p == end)
		return NULL;
	v = *p++;
	if (v & 0x80) {
		v &= 0x7f;
		for (unsigned i = 1;; i++) {
			uint8_t byte;

			if (p == end || i == VARINT32_BYTES)
				return NULL;
			byte = *p++;
			v |= (uint32_t)(byte & 0x7f) << (7 * i);
			if (!(byte & 0x80))
				break;
		}
	}
	*ret = v;
	return p;
}

/* Pairs of a value's zig-zag difference and how many code units further it holds; a difference of 0 ends the table,
 * except in front (runtime.step). */
bool kb_pc_value(const kb_func *f, uint32_t table_off, uint64_t pc, int32_t *ret)
{
	const kb_pclntab *t = f->tab;
	const uint8_t *p, *first, *end;
	uint32_t value = UINT32_MAX, delta, run;
	uint64_t at = f->entry;

	if (!table_off || table_off >= t->pctab.n || pc < f->entry)
		return false;
	first = p = t->pctab.p + table_off;
	end = t->pctab.p + t->pctab.n;
	for (;;) {
		bool start = p == first;

		p = varint32(p, end, &delta);
		if (!p || (!delta && !start))
			return false;
		p = varint32(p, end, &run);
		if (!p)
			return false;
		value += delta & 1 ? ~(delta >> 1) : delta >> 1;
		at += (uint64_t)run * t->quantum;
		if (pc < at) {
			*ret = (int32_t)value;
			return true;
		}
	}
}

bool kb_pc_data(const kb_func *f, unsigned table, uint64_t pc, int32_t *ret)
{
	uint32_t off;

	*ret = -1;
	if (table >= f->npcdata)
		return true;
	off = kb_load32(f->tab->pclntable.p + f->tail + (uint64_t)table * 4);
	return !off || kb_pc_value(f, off, pc, ret);
}

uint64_t kb_func_data(const kb_func *f, unsigned i)
{
	uint32_t off;

	if (i >= f->nfuncdata)
		return 0;
	off = kb_load32(f->tab->pclntable.p + f->tail + ((uint64_t)f->npcdata + i) * 4);
	return off == NO_OFFSET ? 0 : f->tab->gofunc + off;
}

bool kb_func_spdelta(const kb_func *f, uint64_t pc, int32_t *ret)
{
	return kb_pc_value(f, f->pcsp, pc, ret);
}

/* ---- source positions ---------------------------------------------------------------------------------------------------- */

static const char *file_at(const kb_func *f, uint64_t pc)
{
	const kb_pclntab *t = f->tab;
	const char *name = NULL;
	uint32_t off;
	int32_t file;

	if (kb_pc_value(f, f->pcfile, pc, &file) && file >= 0 &&
	    kb_get_u32(t->cutab, ((uint64_t)f->cu_offset + (uint32_t)file) * 4, &off) && off != NO_OFFSET)
		name = string_at(t->filetab, off);
	return name ? name : "?";
}

static void position(const kb_func *f, uint64_t pc, kb_line *out)
{
	if (!kb_pc_value(f, f->pcln, pc, &out->line))
		out->line = 0;
	out->file = file_at(f, pc);
}

/* One entry of the inline tree: which function was inlined, and at which pc of its parent. 1.18/1.19: {i16 parent, u8 funcID,
 * pad, i32 file, line, nameOff, parentPc}; since 1.20: {u8 funcID, 3 pad, i32 nameOff, parentPc, startLine}. */
static bool inline_entry(const kb_func *f, kb_bytes tree, int32_t index, const char **ret_name, uint64_t *ret_pc)
{
	bool old = f->tab->old_func;
	uint64_t at = (uint64_t)(uint32_t)index * (old ? 20 : 16);
	uint32_t name, parent;

	if (!kb_get_u32(tree, at + (old ? 12 : 4), &name) || !kb_get_u32(tree, at + (old ? 16 : 8), &parent))
		return false;
	*ret_name = string_at(f->tab->funcnametab, name);
	*ret_pc = f->entry + parent;
	return *ret_name && *ret_pc < f->end;
}

size_t kb_func_lines(const kb_func *f, uint64_t pc, kb_bytes inltree, kb_line *out, size_t max)
{
	const char *name;
	uint64_t parent;
	int32_t index;
	size_t n = 0;

	while (n < max && n < INLINE_DEPTH_MAX && inltree.n && kb_pc_data(f, KB_PCDATA_INLTREE, pc, &index) &&
	       index >= 0 && inline_entry(f, inltree, index, &name, &parent)) {
		out[n] = (kb_line){ .function = name, .inlined = true };
		position(f, pc, &out[n++]);
		pc = parent;
	}
	if (n < max) {
		out[n] = (kb_line){ .function = f->name };
		position(f, pc, &out[n++]);
	}
	return n;
}
