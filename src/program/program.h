/* program: what an executable (or shared library) file says. ELF sections and symbols, Go build info, DWARF variables and
 * structs, and the function table (pclntab) as a parser of bytes. Files only: no process. Everything here is untrusted
 * input: every offset is checked, nothing is believed. libelf and libdw do ELF and DWARF. */
#ifndef KB_PROGRAM_H
#define KB_PROGRAM_H

#include "base/base.h"

/* ---- build info ------------------------------------------------------------------------------------------------ */

typedef struct kb_dep {
	const char *path, *version, *sum; /* "" when absent */
	const char *replaced_by;          /* "path@version" or "" */
} kb_dep;
typedef struct kb_setting {
	const char *key, *value;
} kb_setting;
typedef struct kb_buildinfo {
	const char *go_version; /* as written: "go1.24.9", "go1.25.4 X:greenteagc", "go1.26.8-X:goroutineleakprofile", "devel …" */
	int minor, patch;       /* go1.24.9 → 24, 9; patch 0 when absent; minor 0 when not go1.N */
	const char *experiments; /* comma separated, "" when none */
	const char *path;        /* main package path, "" when unknown */
	const char *mod_path, *mod_version;
	kb_dep *deps;
	size_t ndeps;
	kb_setting *settings;
	size_t nsettings;
	kb_arena arena; /* owns all of the above */
} kb_buildinfo;
/* Looks for the build info blob in bytes (start of the data segment, or a whole file). KB_E_NOT_GO when there is none. Old
 * (pointer) form, of 1.17 and before: KB_E_UNSUPPORTED. */
kb_error *kb_buildinfo_parse(kb_bytes b, kb_buildinfo *ret) KB_MUST_CHECK;
const char *kb_buildinfo_setting(const kb_buildinfo *bi, const char *key); /* NULL when absent */
void kb_buildinfo_free(kb_buildinfo *bi);
/* Fast test for the process list: does this file hold Go build info? Reads little. fd is not closed; pos unchanged. */
kb_error *kb_program_go_version(int fd, char *buf, size_t n) KB_MUST_CHECK;

/* ---- the file ---------------------------------------------------------------------------------------------------- */

typedef struct kb_program kb_program;

typedef struct kb_section {
	const char *name;
	uint64_t addr, size, file_offset; /* link-time address */
	bool has_bytes;                   /* not NOBITS */
} kb_section;
typedef struct kb_segment { /* PT_LOAD */
	uint64_t vaddr, filesz, memsz, offset;
	uint32_t flags; /* PF_R… */
} kb_segment;

/* fd stays the caller's and must live as long as the program. KB_E_NOT_GO when it is ELF without a Go program inside,
 * KB_E_UNSUPPORTED for another architecture or 32 bit, KB_E_CORRUPT. */
kb_error *kb_program_open(int fd, const char *name_for_errors, kb_program **ret) KB_MUST_CHECK;
void kb_program_close(kb_program *p);
const kb_buildinfo *kb_program_buildinfo(const kb_program *p); /* NULL when the file has none */
bool kb_program_is_pie(const kb_program *p);
bool kb_program_has_symbols(const kb_program *p);
bool kb_program_has_dwarf(const kb_program *p);
bool kb_program_is_dynamic(const kb_program *p); /* has PT_INTERP */
const kb_section *kb_program_section(const kb_program *p, const char *name); /* NULL when absent */
const kb_segment *kb_program_segments(const kb_program *p, size_t *ret_n);
/* Bytes of a section, from the file; empty for NOBITS; decompressed where needed (libelf). Owned by the program. */
kb_error *kb_program_section_bytes(kb_program *p, const kb_section *s, kb_bytes *ret) KB_MUST_CHECK;
/* GNU build-id, else Go build id's text; empty when neither. */
kb_bytes kb_program_build_id(const kb_program *p);
/* PT_TLS sizes for cgo (0 when there is no TLS). */
void kb_program_tls(const kb_program *p, uint64_t *ret_memsz, uint64_t *ret_align);

/* ---- symbols ------------------------------------------------------------------------------------------------------- */

typedef struct kb_symbol {
	const char *name;
	uint64_t addr, size; /* link-time */
} kb_symbol;
/* Data symbols (OBJECT and NOTYPE in writable sections), sorted by address, size > 0, sub-symbols and duplicates removed.
 * Loaded on first use, once; then constant. Empty when stripped. */
kb_error *kb_program_data_symbols(kb_program *p, const kb_symbol **ret, size_t *ret_n) KB_MUST_CHECK;
/* Any symbol by exact name; KB_E_NOT_FOUND. */
kb_error *kb_program_find_symbol(kb_program *p, const char *name, kb_symbol *ret) KB_MUST_CHECK;

/* ---- DWARF ----------------------------------------------------------------------------------------------------------- */

typedef struct kb_dwarf_var {
	const char *name;      /* "main.sessions" */
	uint64_t addr;         /* link-time; only variables with DW_OP_addr */
	uint64_t size;         /* of its type, 0 unknown */
	const char *type_name; /* as DWARF says: "map[string]*main.Session" */
	uint64_t go_type;      /* DW_AT_go_runtime_type of the type: offset from moduledata.types; 0 = none */
	uint64_t type_ref;     /* for kb_program_dwarf_types; 0 none */
} kb_dwarf_var;
/* All package-level variables, sorted by address. Loaded on first use (parallel over units when it pays). */
kb_error *kb_program_dwarf_vars(kb_program *p, const kb_dwarf_var **ret, size_t *ret_n) KB_MUST_CHECK;

/* Types as DWARF has them, for those without a descriptor in the program (go_type 0). A node with a descriptor has no parts here. */
typedef struct kb_dwarf_member {
	const char *name;
	uint64_t offset;
	uint32_t node;
} kb_dwarf_member;
typedef struct kb_dwarf_node {
	const char *name;      /* "[]main.Session" */
	uint64_t go_type;      /* as in kb_dwarf_var */
	uint64_t size, len;    /* bytes; elements of an array */
	uint32_t go_kind;      /* DW_AT_go_kind, as reflect.Kind; 0: no Go type */
	uint32_t elem, key;    /* nodes; UINT32_MAX none */
	uint32_t first_field, nfields;
} kb_dwarf_node;
typedef struct kb_dwarf_types {
	kb_dwarf_node *nodes;
	size_t nnodes;
	kb_dwarf_member *fields;
	size_t nfields;
	kb_arena arena; /* owns the names */
} kb_dwarf_types;
/* The types at refs (kb_dwarf_var.type_ref) and all they are made of; node ret_nodes[i] is that of refs[i]. */
kb_error *kb_program_dwarf_types(kb_program *p, const uint64_t *refs, size_t n, uint32_t *ret_nodes, kb_dwarf_types *ret) KB_MUST_CHECK;
void kb_dwarf_types_free(kb_dwarf_types *t);

typedef struct kb_dwarf_field {
	uint32_t offset, size;
} kb_dwarf_field;
/* Looks up many struct fields at once, walking the DWARF of the packages concerned (runtime, sync, time, internal/…) once.
 * Names: struct "runtime.mspan", field "startAddr"; field NULL asks for the struct itself (offset 0, size sizeof).
 * found[i] tells which are there. A nested path "a.b" is allowed. */
typedef struct kb_dwarf_query {
	const char *strukt, *field;
	kb_dwarf_field result;
	bool found;
} kb_dwarf_query;
kb_error *kb_program_dwarf_fields(kb_program *p, kb_dwarf_query *q, size_t n) KB_MUST_CHECK;

/* ---- the function table (pclntab), on bytes from a file or from memory --------------------------------------------------- */

enum { KB_PCDATA_UNSAFE_POINT = 0, KB_PCDATA_STACKMAP = 1, KB_PCDATA_INLTREE = 2 };
enum { KB_FUNCDATA_ARGS = 0, KB_FUNCDATA_LOCALS = 1, KB_FUNCDATA_STKOBJ = 2, KB_FUNCDATA_INLTREE = 3 };
enum { KB_FUNC_TOPFRAME = 1, KB_FUNC_SPWRITE = 2, KB_FUNC_ASM = 4 };

typedef struct kb_pclntab {
	/* Views; the owner of the bytes keeps them alive. From moduledata's slices, or the section. */
	kb_bytes funcnametab, cutab, filetab, pctab, pclntable; /* pclntable starts at the ftab */
	uint32_t nfunc;
	uint64_t text;     /* run-time address of the module's text */
	uint64_t gofunc;   /* run-time address funcdata offsets are relative to */
	uint32_t quantum;  /* 1 on amd64 */
	bool old_func;     /* magic 0xfffffff0 (1.18, 1.19): no startLine, 20-byte inline entries */
	/* textsectmap, when it has more than one entry: vaddr, end, baseaddr */
	const uint64_t (*textsect)[3];
	size_t ntextsect;
} kb_pclntab;

typedef struct kb_func {
	const kb_pclntab *tab;
	uint32_t index;
	uint64_t entry, end; /* run-time addresses */
	const char *name;    /* in funcnametab */
	int32_t args;        /* bytes; INT32_MIN when unknown */
	uint32_t deferreturn, pcsp, pcfile, pcln, npcdata, cu_offset, nfuncdata;
	uint8_t flag;
	uint64_t tail;       /* offset in pclntable of the pcdata and funcdata words */
} kb_func;

/* The header: checks magic and bounds. header is the pclntab's first 72 bytes or more. */
typedef struct kb_pcheader { /* offsets count from the header */
	uint32_t magic;
	uint8_t min_lc, ptr_size;
	uint64_t nfunc, nfiles, text_start, funcname_off, cu_off, filetab_off, pctab_off, pcln_off;
} kb_pcheader;
bool kb_pcheader_parse(kb_bytes header, kb_pcheader *ret);
/* The table as it stands in a file: section is .gopclntab (.data.rel.ro.gopclntab in position-independent programs of Go
 * 1.25 and before). text 0 takes the header's own, which is 0 in such programs and since 1.26. No textsectmap. */
bool kb_pclntab_from_section(kb_bytes section, uint64_t text, uint64_t gofunc, kb_pclntab *ret);

/* The function holding pc. False when there is none or its record is damaged. */
bool kb_func_find(const kb_pclntab *t, uint64_t pc, kb_func *ret);
bool kb_func_at(const kb_pclntab *t, uint32_t index, kb_func *ret);
/* Functions by name: linear scan; for several names at once use this with a table. Calls fn for each function. */
typedef bool (*kb_func_fn)(void *ctx, const kb_func *f); /* false stops */
void kb_func_each(const kb_pclntab *t, kb_func_fn fn, void *ctx);
/* Value of a pc-value table (offset in pctab; 0 = none) at pc. False when there is none or the table is damaged. */
bool kb_pc_value(const kb_func *f, uint32_t table_off, uint64_t pc, int32_t *ret);
bool kb_pc_data(const kb_func *f, unsigned table, uint64_t pc, int32_t *ret); /* PCDATA; -1 value = none */
/* Run-time address of FUNCDATA i; 0 when absent. */
uint64_t kb_func_data(const kb_func *f, unsigned i);
/* stack pointer delta at pc (pcsp). */
bool kb_func_spdelta(const kb_func *f, uint64_t pc, int32_t *ret);

typedef struct kb_line {
	const char *function; /* in funcnametab */
	const char *file;     /* in filetab; "?" when unknown */
	int32_t line;
	bool inlined;         /* not a frame of its own */
} kb_line;
/* The source positions at pc, innermost (inlined) first; at most max. For a return address pass pc-1. inltree is the inline
 * tree's bytes (FUNCDATA 3), empty when the function has none. Returns how many. */
size_t kb_func_lines(const kb_func *f, uint64_t pc, kb_bytes inltree, kb_line *out, size_t max);

/* ---- code references ------------------------------------------------------------------------------------------------------ */

/* Targets of RIP-relative operands in amd64 machine code, without a disassembler: at most
 * max, in code order. pc is the run-time address of code.p[0]. */
size_t kb_code_data_refs(kb_bytes code, uint64_t pc, uint64_t *out, size_t max);

#endif
