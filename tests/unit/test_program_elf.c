/* src/program on synthesised ELF files: sections, notes, symbols, compressed and damaged debug information. */
#include "kb_test.h"

#include <dwarf.h>
#include <elf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "program/program.h"

#define SECTIONS 16
#define DATA_ADDR 0x500000u
#define RELRO_ADDR 0x600000u

/* ---- a file in the making -------------------------------------------------------------------------------------------- */

struct file {
	kb_str bytes; /* what stands between the headers and the section headers */
	Elf64_Shdr sh[SECTIONS];
	char names[512]; /* begins with the empty name */
	size_t names_n, n;
	Elf64_Phdr ph[8];
	size_t nph;
	Elf64_Ehdr eh;
};

#define BODY (sizeof(Elf64_Ehdr) + 8 * sizeof(Elf64_Phdr))

static void file_begin(struct file *f)
{
	*f = (struct file){ .eh = { .e_type = ET_EXEC,
				    .e_machine = EM_X86_64,
				    .e_version = 1,
				    .e_ehsize = sizeof(Elf64_Ehdr),
				    .e_phentsize = sizeof(Elf64_Phdr),
				    .e_shentsize = sizeof(Elf64_Shdr) } };
	memcpy(f->eh.e_ident, ELFMAG "\2\1\1", 7);
	f->names_n = 1;
	f->n = 1;
}

static Elf64_Shdr *add_section(struct file *f, const char *name, uint32_t type, uint64_t flags, uint64_t addr,
			       kb_bytes b)
{
	Elf64_Shdr *sh = &f->sh[f->n++];

	assert_true(f->n <= SECTIONS);
	while (f->bytes.n % 16)
		kb_str_addn(&f->bytes, "", 1);
	*sh = (Elf64_Shdr){ .sh_name = (uint32_t)f->names_n,
			    .sh_type = type,
			    .sh_flags = flags,
			    .sh_addr = addr,
			    .sh_offset = BODY + f->bytes.n,
			    .sh_size = b.n,
			    .sh_addralign = 1 };
	assert_true(f->names_n + strlen(name) < sizeof(f->names));
	memcpy(f->names + f->names_n, name, strlen(name) + 1);
	f->names_n += strlen(name) + 1;
	kb_str_addn(&f->bytes, (const char *)b.p, b.n);
	return sh;
}

static kb_str file_end(struct file *f)
{
	kb_str out = { 0 };

	/* Taken whole, for its own name is added to it meanwhile. */
	add_section(f, ".shstrtab", SHT_STRTAB, 0, 0, (kb_bytes){ (const uint8_t *)f->names, sizeof(f->names) });
	f->eh.e_phoff = sizeof(f->eh);
	f->eh.e_phnum = (uint16_t)f->nph;
	f->eh.e_shoff = BODY + f->bytes.n;
	f->eh.e_shnum = (uint16_t)f->n;
	f->eh.e_shstrndx = (uint16_t)(f->n - 1);
	kb_str_addn(&out, (const char *)&f->eh, sizeof(f->eh));
	kb_str_addn(&out, (const char *)f->ph, sizeof(f->ph));
	kb_str_addn(&out, f->bytes.s, f->bytes.n);
	kb_str_addn(&out, (const char *)f->sh, f->n * sizeof(f->sh[0]));
	kb_str_free(&f->bytes);
	return out;
}

static int file_fd(kb_bytes b)
{
	int fd = memfd_create("program", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, b.p, b.n), b.n);
	return fd;
}

static kb_bytes text_bytes(const char *s)
{
	return (kb_bytes){ (const uint8_t *)s, strlen(s) };
}

static kb_bytes str_bytes(const kb_str *s)
{
	return (kb_bytes){ (const uint8_t *)s->s, s->n };
}

static const char blob[] = "\xff Go buildinf:\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08go1.24.9";

static void add_blob(struct file *f)
{
	add_section(f, ".go.buildinfo", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, DATA_ADDR - 0x100,
		    (kb_bytes){ (const uint8_t *)blob, sizeof(blob) });
}

static kb_program *open_file(struct file *f, int *ret_fd)
{
	kb_str out = file_end(f);
	kb_program *p;

	*ret_fd = file_fd(str_bytes(&out));
	kb_str_free(&out);
	assert_ok(kb_program_open(*ret_fd, "synth", &p));
	return p;
}

static void close_file(kb_program *p, int fd)
{
	kb_program_close(p);
	close(fd);
}

/* ---- headers --------------------------------------------------------------------------------------------------------------- */

static void test_headers(void **state)
{
	static const char note[] = "\4\0\0\0\4\0\0\0\1\0\0\0XYZ\0abcd\4\0\0\0\6\0\0\0\3\0\0\0GNU\0\1\0\2\3\4\5\0\0";
	uint64_t memsz, align;
	const kb_segment *seg;
	kb_program *p;
	struct file f;
	char version[32];
	size_t n;
	int fd;

	(void)state;
	file_begin(&f);
	add_blob(&f);
	add_section(&f, ".note.gnu.build-id", SHT_NOTE, SHF_ALLOC, 0x400100,
		    (kb_bytes){ (const uint8_t *)note, sizeof(note) - 1 });
	add_section(&f, ".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, DATA_ADDR, (kb_bytes){ 0 })->sh_size = 1ull << 40;
	f.ph[f.nph++] = (Elf64_Phdr){ .p_type = PT_INTERP };
	f.ph[f.nph++] = (Elf64_Phdr){ .p_type = PT_TLS, .p_memsz = 24, .p_align = 8 };
	f.ph[f.nph++] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_vaddr = 0x400000, .p_filesz = 8, .p_memsz = 16, .p_flags = PF_R | PF_X
	};
	f.eh.e_type = ET_DYN;
	p = open_file(&f, &fd);
	assert_true(kb_program_is_pie(p) && kb_program_is_dynamic(p));
	assert_false(kb_program_has_symbols(p) || kb_program_has_dwarf(p));
	kb_program_tls(p, &memsz, &align);
	assert_true(memsz == 24 && align == 8);
	seg = kb_program_segments(p, &n);
	assert_true(n == 1 && seg[0].vaddr == 0x400000 && seg[0].memsz == 16);
	assert_int_equal(kb_program_build_id(p).n, 6);
	assert_memory_equal(kb_program_build_id(p).p, "\1\0\2\3\4\5", 6); /* a NUL inside is not its end */
	assert_int_equal(kb_program_buildinfo(p)->minor, 24);
	assert_ok(kb_program_go_version(fd, version, sizeof(version)));
	assert_string_equal(version, "go1.24.9");
	kb_bytes none = { (const uint8_t *)"", 1 };
	assert_ok(kb_program_section_bytes(p, kb_program_section(p, ".bss"), &none));
	assert_int_equal(none.n, 0);
	assert_null(kb_program_section(p, ".data"));
	close_file(p, fd);
}

/* Without section headers the build info is at the start of the first writable segment. */
static void test_no_sections(void **state)
{
	struct file f;
	kb_program *p;
	int fd;

	(void)state;
	file_begin(&f);
	add_blob(&f);
	f.ph[f.nph++] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = 64 };
	f.ph[f.nph++] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = f.sh[1].sh_offset, .p_filesz = sizeof(blob)
	};
	kb_str out = file_end(&f);
	memset(out.s + offsetof(Elf64_Ehdr, e_shoff), 0, 8);
	memset(out.s + offsetof(Elf64_Ehdr, e_shnum), 0, 4);
	fd = file_fd(str_bytes(&out));
	assert_ok(kb_program_open(fd, "synth", &p));
	assert_string_equal(kb_program_buildinfo(p)->go_version, "go1.24.9");
	close_file(p, fd);
	kb_str_free(&out);
}

static kb_error *open_changed(const kb_str *good, size_t at, uint8_t value)
{
	char *copy = malloc(good->n);
	kb_program *p = NULL;
	kb_error *err;
	int fd;

	memcpy(copy, good->s, good->n);
	copy[at] = (char)value;
	fd = file_fd((kb_bytes){ (const uint8_t *)copy, good->n });
	free(copy);
	err = kb_program_open(fd, "synth", &p);
	kb_program_close(p);
	close(fd);
	return err;
}

static void test_refused(void **state)
{
	struct file f;
	kb_program *p;
	char version[16];
	int fd;

	(void)state;
	file_begin(&f);
	add_blob(&f);
	kb_str good = file_end(&f);
	assert_error(open_changed(&good, EI_CLASS, ELFCLASS32), KB_E_UNSUPPORTED);
	assert_error(open_changed(&good, EI_DATA, ELFDATA2MSB), KB_E_UNSUPPORTED);
	assert_error(open_changed(&good, 18, EM_AARCH64), KB_E_UNSUPPORTED);
	assert_error(open_changed(&good, 16, ET_CORE), KB_E_NOT_GO);
	assert_error(open_changed(&good, 16, ET_REL), KB_E_NOT_GO);
	assert_error(open_changed(&good, 0, 'M'), KB_E_NOT_GO);
	assert_error(open_changed(&good, BODY + 3, 'X'), KB_E_NOT_GO);     /* no build info, no function table */
	assert_error(open_changed(&good, BODY + 15, 0), KB_E_UNSUPPORTED); /* of Go 1.17 or before */
	kb_str_free(&good);
	fd = file_fd(text_bytes("#!/bin/sh\n"));
	assert_error(kb_program_open(fd, "script", &p), KB_E_NOT_GO);
	assert_error(kb_program_go_version(fd, version, sizeof(version)), KB_E_NOT_GO);
	close(fd);
	fd = file_fd((kb_bytes){ 0 });
	assert_error(kb_program_open(fd, "empty", &p), KB_E_NOT_GO);
	close(fd);
}

/* ---- symbols ------------------------------------------------------------------------------------------------------------------ */

static void add_symbol(kb_str *syms, kb_str *names, const char *name, uint8_t type, uint16_t section, uint64_t addr,
		       uint64_t size)
{
	Elf64_Sym s = { .st_name = (uint32_t)names->n,
			.st_info = ELF64_ST_INFO(STB_GLOBAL, type),
			.st_shndx = section,
			.st_value = addr,
			.st_size = size };

	kb_str_addn(names, name, strlen(name) + 1);
	kb_str_addn(syms, (const char *)&s, sizeof(s));
}

static void add_symbols(struct file *f)
{
	kb_str syms = { 0 }, names = { 0 };

	kb_str_addn(&names, "", 1);
	kb_str_addn(&syms, (const char *)&(Elf64_Sym){ 0 }, sizeof(Elf64_Sym));
	add_symbol(&syms, &names, "main.second", STT_OBJECT, 2, DATA_ADDR + 0x20, 8);
	add_symbol(&syms, &names, "main.first", STT_OBJECT, 2, DATA_ADDR, 0x20);
	add_symbol(&syms, &names, "main.inside", STT_OBJECT, 2, DATA_ADDR + 8, 8);
	add_symbol(&syms, &names, "zz.double", STT_OBJECT, 2, DATA_ADDR, 0x20);
	add_symbol(&syms, &names, "untyped", STT_NOTYPE, 2, DATA_ADDR + 0x30, 4);
	add_symbol(&syms, &names, "runtime/cgo(.data)", STT_OBJECT, 2, DATA_ADDR + 0x40, 0x20);
	add_symbol(&syms, &names, "c_one", STT_OBJECT, 2, DATA_ADDR + 0x40, 4);
	add_symbol(&syms, &names, "c_two", STT_OBJECT, 2, DATA_ADDR + 0x50, 4);
	add_symbol(&syms, &names, "empty", STT_OBJECT, 2, DATA_ADDR + 0x38, 0);
	add_symbol(&syms, &names, "main.main", STT_FUNC, 3, 0x401000, 16);
	add_symbol(&syms, &names, "constant", STT_OBJECT, 3, 0x401010, 16);
	add_symbol(&syms, &names, "relro", STT_OBJECT, 4, RELRO_ADDR + 8, 16);
	add_symbol(&syms, &names, "undefined", STT_OBJECT, SHN_UNDEF, 0, 8);
	add_symbol(&syms, &names, "absolute", STT_OBJECT, SHN_ABS, DATA_ADDR + 0x100, 8);
	add_symbol(&syms, &names, "no.section", STT_OBJECT, 999, DATA_ADDR + 0x200, 8);
	add_symbol(&syms, &names, "around", STT_OBJECT, 2, UINT64_MAX - 2, 8);
	add_section(f, ".data", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, DATA_ADDR, text_bytes("0123456789abcdef"));
	add_section(f, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0x401000, text_bytes("\x90"));
	add_section(f, ".data.rel.ro", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, RELRO_ADDR, text_bytes("constants"));
	f->ph[f->nph++] = (Elf64_Phdr){ .p_type = PT_GNU_RELRO, .p_vaddr = RELRO_ADDR, .p_memsz = 0x1000 };
	Elf64_Shdr *symtab = add_section(f, ".symtab", SHT_SYMTAB, 0, 0, str_bytes(&syms));
	symtab->sh_link = (uint32_t)f->n;
	symtab->sh_entsize = sizeof(Elf64_Sym);
	add_section(f, ".strtab", SHT_STRTAB, 0, 0, str_bytes(&names));
	kb_str_free(&syms);
	kb_str_free(&names);
}

static void test_symbols(void **state)
{
	const kb_symbol *s;
	struct file f;
	kb_program *p;
	kb_symbol sym;
	size_t n;
	int fd;

	(void)state;
	file_begin(&f);
	add_blob(&f);
	add_symbols(&f);
	p = open_file(&f, &fd);
	assert_true(kb_program_has_symbols(p));
	assert_ok(kb_program_data_symbols(p, &s, &n));
	assert_int_equal(n, 5);
	assert_string_equal(s[3].name, "c_one");
	assert_string_equal(s[4].name, "c_two");
	assert_string_equal(s[0].name, "main.first");
	assert_string_equal(s[1].name, "main.second");
	assert_string_equal(s[2].name, "untyped");
	assert_int_equal(s[2].addr, DATA_ADDR + 0x30);
	assert_ok(kb_program_find_symbol(p, "main.main", &sym));
	assert_true(sym.addr == 0x401000 && sym.size == 16);
	assert_ok(kb_program_find_symbol(p, "main.inside", &sym));
	assert_error(kb_program_find_symbol(p, "undefined", &sym), KB_E_NOT_FOUND);
	assert_error(kb_program_find_symbol(p, "main.mai", &sym), KB_E_NOT_FOUND);
	close_file(p, fd);
}

/* ---- DWARF ---------------------------------------------------------------------------------------------------------------------- */

/* Everything in the form that needs no tables: strings inline, references from the section's start. */
static const uint8_t abbrev[] = {
	1,
	DW_TAG_compile_unit,
	1,
	DW_AT_name,
	DW_FORM_string,
	0,
	0,
	2,
	DW_TAG_variable,
	0,
	DW_AT_name,
	DW_FORM_string,
	DW_AT_location,
	DW_FORM_block1,
	DW_AT_type,
	DW_FORM_ref4,
	0,
	0,
	3,
	DW_TAG_base_type,
	0,
	DW_AT_name,
	DW_FORM_string,
	DW_AT_byte_size,
	DW_FORM_data1,
	0x84,
	0x52 /* 0x2904 as LEB128: go_runtime_type */,
	DW_FORM_addr,
	0,
	0,
	4,
	DW_TAG_typedef,
	0,
	DW_AT_name,
	DW_FORM_string,
	DW_AT_type,
	DW_FORM_ref4,
	0,
	0,
	5,
	DW_TAG_structure_type,
	1,
	DW_AT_name,
	DW_FORM_string,
	DW_AT_byte_size,
	DW_FORM_udata,
	0,
	0,
	6,
	DW_TAG_member,
	0,
	DW_AT_name,
	DW_FORM_string,
	DW_AT_data_member_location,
	DW_FORM_udata,
	DW_AT_type,
	DW_FORM_ref4,
	0,
	0,
	7,
	DW_TAG_subprogram,
	1,
	DW_AT_name,
	DW_FORM_string,
	0,
	0,
	8,
	DW_TAG_array_type,
	1,
	DW_AT_type,
	DW_FORM_ref4,
	0,
	0,
	9,
	DW_TAG_subrange_type,
	0,
	DW_AT_upper_bound,
	DW_FORM_udata,
	0,
	0,
	10,
	DW_TAG_pointer_type,
	0,
	DW_AT_type,
	DW_FORM_ref4,
	0,
	0,
	11,
	DW_TAG_lexical_block,
	1,
	DW_AT_sibling,
	DW_FORM_ref4,
	0,
	0,
	0,
};

struct unit {
	kb_str b;
	uint32_t int_type, loop_type, struct_type, array_type, pointer_type;
};

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

static uint32_t die(kb_str *b, uint8_t code, const char *name)
{
	uint32_t at = (uint32_t)b->n;

	put8(b, code);
	if (name)
		kb_str_addn(b, name, strlen(name) + 1);
	return at;
}

static void put_var(struct unit *u, const char *name, uint64_t addr, uint32_t type)
{
	die(&u->b, 2, name);
	put8(&u->b, 9);
	put8(&u->b, DW_OP_addr);
	put64(&u->b, addr);
	put32(&u->b, type);
}

static void put_types(struct unit *u)
{
	u->int_type = die(&u->b, 3, "int");
	put8(&u->b, 8);
	put64(&u->b, 0x1234);
	u->loop_type = die(&u->b, 4, "main.Loop");
	put32(&u->b, u->loop_type); /* names itself */
	u->struct_type = die(&u->b, 5, "runtime.mspan");
	put8(&u->b, 40);
	die(&u->b, 6, "first");
	put8(&u->b, 0);
	put32(&u->b, u->int_type);
	die(&u->b, 6, "self");
	put8(&u->b, 24);
	put32(&u->b, u->struct_type); /* a struct in itself: impossible, but not for an attacker */
	put8(&u->b, 0);
	u->array_type = die(&u->b, 8, NULL);
	put32(&u->b, u->int_type);
	die(&u->b, 9, NULL);
	put8(&u->b, 6);
	die(&u->b, 9, NULL);
	put8(&u->b, 1);
	put8(&u->b, 0);
	u->pointer_type = die(&u->b, 10, NULL);
	put32(&u->b, u->int_type);
}

static void make_unit(struct unit *u, bool backwards)
{
	*u = (struct unit){ 0 };
	put32(&u->b, 0); /* length, set below */
	put8(&u->b, 4);
	put8(&u->b, 0);
	put32(&u->b, 0);
	put8(&u->b, 8);
	die(&u->b, 1, "main");
	put_types(u);
	put_var(u, "main.b", DATA_ADDR + 8, u->loop_type);
	put_var(u, "main.a", DATA_ADDR, u->int_type);
	put_var(u, "main.dropped", 0, u->int_type);
	die(&u->b, 7, "main.main");
	put_var(u, "local", DATA_ADDR + 0x80, u->int_type);
	put8(&u->b, 0);
	put_var(u, "main.c", DATA_ADDR + 16, u->struct_type);
	put_var(u, "c_array", DATA_ADDR + 0x40, u->array_type);
	put_var(u, "c_pointer", DATA_ADDR + 0xc0, u->pointer_type);
	if (backwards) {
		die(&u->b, 11, NULL);
		put32(&u->b, u->int_type);
		put8(&u->b, 0);
	}
	put8(&u->b, 0);
	uint32_t length = (uint32_t)u->b.n - 4;
	memcpy(u->b.s, &length, 4);
}

enum packing { PLAIN, ZLIB, ZLIB_GNU, ZSTD };

static void add_debug(struct file *f, const char *name, kb_bytes b, enum packing how)
{
	uint8_t packed[8192];
	uLongf n = sizeof(packed) - 64;
	Elf64_Chdr ch = { .ch_type = how == ZSTD ? 2 : ELFCOMPRESS_ZLIB, .ch_size = b.n, .ch_addralign = 1 };
	uint64_t big_endian = __builtin_bswap64(b.n);
	size_t head = how == ZLIB_GNU ? 12 : sizeof(ch);
	char full[64];

	snprintf(full, sizeof(full), ".%sdebug_%s", how == ZLIB_GNU ? "z" : "", name);
	if (how == PLAIN) {
		add_section(f, full, SHT_PROGBITS, 0, 0, b);
		return;
	}
	if (how == ZLIB_GNU) {
		memcpy(packed, "ZLIB", 4);
		memcpy(packed + 4, &big_endian, 8);
	} else {
		memcpy(packed, &ch, sizeof(ch));
	}
	if (how == ZSTD)
		n = ZSTD_compress(packed + head, n, b.p, b.n, 3);
	else
		assert_int_equal(compress(packed + head, &n, b.p, b.n), Z_OK);
	add_section(f, full, SHT_PROGBITS, how == ZLIB_GNU ? 0 : SHF_COMPRESSED, 0, (kb_bytes){ packed, head + n });
}

static kb_program *open_dwarf(enum packing how, bool backwards, int *ret_fd)
{
	struct file f;
	struct unit u;

	make_unit(&u, backwards);
	file_begin(&f);
	add_blob(&f);
	add_debug(&f, "info", str_bytes(&u.b), how);
	add_debug(&f, "abbrev", (kb_bytes){ abbrev, sizeof(abbrev) }, how);
	kb_str_free(&u.b);
	return open_file(&f, ret_fd);
}

static void check_var(const kb_dwarf_var *v, const char *name, const char *type, uint64_t size, uint64_t go_type)
{
	assert_string_equal(v->name, name);
	assert_string_equal(v->type_name, type);
	assert_int_equal(v->size, size);
	assert_int_equal(v->go_type, go_type);
}

static void check_dwarf(kb_program *p)
{
	kb_dwarf_query q[] = { { .strukt = "runtime.mspan" },
			       { .strukt = "runtime.mspan", .field = "self.self.first" },
			       { .strukt = "runtime.mspan", .field = "first.x" },
			       { .strukt = "runtime.g", .field = "goid" } };
	const kb_dwarf_var *v;
	kb_bytes info;
	size_t n;

	assert_true(kb_program_has_dwarf(p));
	assert_ok(kb_program_dwarf_vars(p, &v, &n));
	assert_int_equal(n, 5);
	check_var(&v[0], "main.a", "int", 8, 0x1234);
	check_var(&v[1], "main.b", "main.Loop", 0, 0);
	check_var(&v[2], "main.c", "runtime.mspan", 40, 0);
	check_var(&v[3], "c_array", "int[14]", 14 * 8, 0);
	check_var(&v[4], "c_pointer", "int *", 8, 0);
	assert_ok(kb_program_dwarf_fields(p, q, KB_ARRAY_LEN(q)));
	assert_true(q[0].found && q[0].result.offset == 0 && q[0].result.size == 40);
	assert_true(q[1].found && q[1].result.offset == 48 && q[1].result.size == 8);
	assert_false(q[2].found || q[3].found);
	const kb_section *s = kb_program_section(p, ".debug_info");
	if (!s)
		s = kb_program_section(p, ".zdebug_info");
	assert_ok(kb_program_section_bytes(p, s, &info));
	assert_int_equal(kb_load32(info.p) + 4, info.n); /* decompressed */
}

static void test_dwarf(void **state)
{
	(void)state;
	for (int how = PLAIN; how <= ZSTD; how++) {
		for (int backwards = 0; backwards < 2; backwards++) {
			int fd;
			kb_program *p = open_dwarf((enum packing)how, backwards, &fd);

			check_dwarf(p);
			close_file(p, fd);
		}
	}
}

static void test_impossible_sizes(void **state)
{
	Elf64_Chdr ch = { .ch_type = ELFCOMPRESS_ZLIB, .ch_size = 1ull << 31 };
	struct file f;
	kb_program *p;
	const kb_dwarf_var *v;
	kb_bytes b;
	size_t n;
	int fd;

	(void)state;
	file_begin(&f);
	add_blob(&f);
	add_section(&f, ".debug_info", SHT_PROGBITS, SHF_COMPRESSED, 0, (kb_bytes){ (const uint8_t *)&ch, sizeof(ch) });
	add_section(&f, ".far", SHT_PROGBITS, 0, 0, text_bytes("x"))->sh_offset = 1ull << 62;
	p = open_file(&f, &fd);
	assert_error(kb_program_section_bytes(p, kb_program_section(p, ".debug_info"), &b), KB_E_CORRUPT);
	assert_error(kb_program_section_bytes(p, kb_program_section(p, ".far"), &b), KB_E_CORRUPT);
	assert_error(kb_program_dwarf_vars(p, &v, &n), KB_E_CORRUPT);
	assert_int_equal(n, 0);
	close_file(p, fd);
}

/* ---- damage anywhere --------------------------------------------------------------------------------------------------------------- */

static kb_str whole_file(void)
{
	struct file f;
	struct unit u;

	make_unit(&u, true);
	file_begin(&f);
	add_blob(&f);
	add_symbols(&f);
	add_debug(&f, "info", str_bytes(&u.b), PLAIN);
	add_debug(&f, "abbrev", (kb_bytes){ abbrev, sizeof(abbrev) }, ZLIB);
	kb_str_free(&u.b);
	return file_end(&f);
}

/* Uses all there is; errors are fine. True when the file opened. */
static bool use_all(kb_bytes b)
{
	kb_dwarf_query q = { .strukt = "runtime.mspan", .field = "self.first" };
	const kb_dwarf_var *v;
	const kb_symbol *s;
	kb_program *p;
	kb_error *err;
	size_t n;
	int fd = file_fd(b);

	err = kb_program_open(fd, "synth", &p);
	if (err) {
		assert_non_null(err->message);
		kb_error_free(err);
		close(fd);
		return false;
	}
	kb_error_free(kb_program_data_symbols(p, &s, &n));
	kb_error_free(kb_program_dwarf_vars(p, &v, &n));
	for (size_t i = 0; i < n; i++)
		assert_true(strlen(v[i].name) && strlen(v[i].type_name) < 1000);
	kb_error_free(kb_program_dwarf_fields(p, &q, 1));
	kb_program_close(p);
	close(fd);
	return true;
}

static void test_cut_and_flipped(void **state)
{
	kb_str good = whole_file();
	size_t opened = 0;

	(void)state;
	assert_true(use_all(str_bytes(&good)));
	for (size_t n = 0; n < good.n; n += 7)
		opened += use_all((kb_bytes){ (const uint8_t *)good.s, n });
	assert_int_equal(opened, 0); /* the section headers are at the end */
	for (size_t i = 0; i < good.n; i++) {
		char keep = good.s[i];

		good.s[i] = i % 3 ? (char)0xff : (char)(keep ^ 1);
		opened += use_all(str_bytes(&good));
		good.s[i] = keep;
	}
	assert_true(opened > good.n / 2);
	kb_str_free(&good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),         cmocka_unit_test(test_no_sections),
		cmocka_unit_test(test_refused),         cmocka_unit_test(test_symbols),
		cmocka_unit_test(test_dwarf),           cmocka_unit_test(test_impossible_sizes),
		cmocka_unit_test(test_cut_and_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
