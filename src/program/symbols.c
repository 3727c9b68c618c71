#include "private.h"

#include <elf.h>
#include <stdlib.h>

#define DATA_SYMBOLS_MAX (16u << 20)
#define NAME_MAX_LEN 65536

static size_t symbol_count(const kb_program *p)
{
	return p->symtab.n / sizeof(Elf64_Sym);
}

static void symbol_at(const kb_program *p, size_t i, Elf64_Sym *ret)
{
	memcpy(ret, p->symtab.p + i * sizeof(*ret), sizeof(*ret));
}

static const char *symbol_name(const kb_program *p, const Elf64_Sym *sym)
{
	const char *name = kb_get_cstr(p->strtab, sym->st_name, NAME_MAX_LEN);

	return name ? name : "";
}

/* p->lock held. */
static kb_error *load_symtab(kb_program *p)
{
	size_t i = section_index(p, ".symtab");

	if (p->symbols_loaded)
		return NULL;
	if (i != SIZE_MAX && p->more[i].type == SHT_SYMTAB && p->more[i].link < p->nsections) {
		KB_TRY(section_bytes_locked(p, i, &p->symtab));
		KB_TRY(section_bytes_locked(p, p->more[i].link, &p->strtab));
	}
	p->symbols_loaded = true;
	return NULL;
}

/* ---- data symbols ------------------------------------------------------------------------------------------------ */

/* What the program can change while it runs; what is write-protected after start-up holds no roots. */
static bool is_variable(const kb_program *p, const Elf64_Sym *sym)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);
	uint64_t flags;

	if ((type != STT_OBJECT && type != STT_NOTYPE) || !sym->st_size || !sym->st_name)
		return false;
	if (sym->st_shndx == SHN_UNDEF || sym->st_shndx >= SHN_LORESERVE || sym->st_shndx >= p->nsections)
		return false;
	flags = p->more[sym->st_shndx].flags;
	if ((flags & (SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR | SHF_TLS)) != (SHF_WRITE | SHF_ALLOC))
		return false;
	if (sym->st_value >= p->relro_start && sym->st_value < p->relro_end)
		return false;
	return sym->st_value + sym->st_size > sym->st_value;
}

/* By address; the larger first; then by name, for a stable choice among duplicates. */
static int compare_symbols(const void *va, const void *vb)
{
	const kb_symbol *a = va, *b = vb;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* Go's linker keeps a whole section of a C object as one symbol, "runtime/cgo(.bss)", beside those of its variables. */
static bool is_whole_section(const kb_symbol *s)
{
	size_t n = strlen(s->name);

	return n && s->name[n - 1] == ')' && strstr(s->name, "(.");
}

/* Drops what lies wholly inside the symbol before it; a whole section gives way to what is inside. */
static size_t drop_inner(kb_symbol *s, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		bool inside = kept && s[i].addr + s[i].size <= s[kept - 1].addr + s[kept - 1].size;

		if (inside && is_whole_section(&s[kept - 1]))
			kept--;
		else if (inside)
			continue;
		s[kept++] = s[i];
	}
	return kept;
}

static kb_error *load_data_symbols(kb_program *p)
{
	size_t cap = 0, n = 0;
	Elf64_Sym sym;

	KB_TRY(load_symtab(p));
	for (size_t i = 0; i < symbol_count(p); i++) {
		symbol_at(p, i, &sym);
		if (!is_variable(p, &sym) || !*symbol_name(p, &sym))
			continue;
		if (!KB_ROOM(p->data_symbols, n, cap, DATA_SYMBOLS_MAX))
			return kb_error_nomem();
		p->data_symbols[n++] = (kb_symbol){ symbol_name(p, &sym), sym.st_value, sym.st_size };
	}
	if (n)
		qsort(p->data_symbols, n, sizeof(*p->data_symbols), compare_symbols);
	p->ndata_symbols = drop_inner(p->data_symbols, n);
	p->data_symbols_loaded = true;
	return NULL;
}

kb_error *kb_program_data_symbols(kb_program *p, const kb_symbol **ret, size_t *ret_n)
{
	kb_error *err = NULL;

	pthread_mutex_lock(&p->lock);
	if (!p->data_symbols_loaded)
		err = load_data_symbols(p);
	*ret = err ? NULL : p->data_symbols;
	*ret_n = err ? 0 : p->ndata_symbols;
	pthread_mutex_unlock(&p->lock);
	return err;
}

/* ---- by name --------------------------------------------------------------------------------------------------------- */

/* Never UINT64_MAX, which a map cannot hold. */
static uint64_t name_key(const char *name)
{
	return kb_hash_bytes(name, strlen(name)) & INT64_MAX;
}

static bool is_defined(const Elf64_Sym *sym)
{
	unsigned type = ELF64_ST_TYPE(sym->st_info);

	return sym->st_shndx != SHN_UNDEF && type != STT_FILE && type != STT_SECTION;
}

/* The first of several symbols with one name wins. */
static kb_error *index_names(kb_program *p)
{
	Elf64_Sym sym;
	uint64_t there;

	if (p->symbol_by_hash.n)
		return NULL;
	for (size_t i = 0; i < symbol_count(p); i++) {
		uint64_t key;

		symbol_at(p, i, &sym);
		if (!is_defined(&sym))
			continue;
		key = name_key(symbol_name(p, &sym));
		if (!kb_map_get(&p->symbol_by_hash, key, &there) && !kb_map_put(&p->symbol_by_hash, key, i))
			return kb_error_nomem();
	}
	return NULL;
}

static bool take_if_named(const kb_program *p, size_t i, const char *name, kb_symbol *ret)
{
	Elf64_Sym sym;

	symbol_at(p, i, &sym);
	if (!is_defined(&sym) || strcmp(symbol_name(p, &sym), name))
		return false;
	*ret = (kb_symbol){ symbol_name(p, &sym), sym.st_value, sym.st_size };
	return true;
}

static kb_error *find_symbol(kb_program *p, const char *name, kb_symbol *ret)
{
	uint64_t i;

	KB_TRY(load_symtab(p));
	KB_TRY(index_names(p));
	if (kb_map_get(&p->symbol_by_hash, name_key(name), &i)) {
		if (take_if_named(p, i, name, ret))
			return NULL;
		/* Two names with one hash: look at each symbol. */
		for (size_t k = 0; k < symbol_count(p); k++)
			if (take_if_named(p, k, name, ret))
				return NULL;
	}
	return kb_error_new(KB_E_NOT_FOUND, "%s: no symbol %s", p->name, name);
}

kb_error *kb_program_find_symbol(kb_program *p, const char *name, kb_symbol *ret)
{
	kb_error *err;

	pthread_mutex_lock(&p->lock);
	err = find_symbol(p, name, ret);
	pthread_mutex_unlock(&p->lock);
	return err;
}
