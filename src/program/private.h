/* What the files of program share. */
#ifndef KB_PROGRAM_PRIVATE_H
#define KB_PROGRAM_PRIVATE_H

#include "program/program.h"

#include <libelf.h>
#include <pthread.h>

/* A file that announces more than this is damaged or hostile; the largest real programs have a few dozen of each. */
#define SECTIONS_MAX 65536
#define SEGMENTS_MAX 4096
/* One section after decompression. */
#define SECTION_BYTES_MAX (UINT64_C(4) << 30)

/* The part of a section header that only this folder needs; same index as kb_program.sections. */
struct section_more {
	uint64_t flags;
	uint32_t type, link;
	kb_bytes bytes; /* once loaded; malloc'ed */
};

struct dwarf_index;

struct kb_program {
	int fd;
	uint64_t file_size;
	char *name;
	bool pie, dynamic;
	uint64_t tls_memsz, tls_align;
	uint64_t relro_start, relro_end;
	kb_section *sections;
	struct section_more *more;
	size_t nsections;
	kb_segment *segments;
	size_t nsegments;
	kb_bytes build_id;
	kb_buildinfo buildinfo;
	bool have_buildinfo;
	kb_arena arena;

	/* Guards all below, which is loaded on first use. */
	pthread_mutex_t lock;
	bool symbols_loaded, data_symbols_loaded;
	kb_bytes symtab, strtab;
	kb_map symbol_by_hash; /* hash of the name → index in symtab */
	kb_symbol *data_symbols;
	size_t ndata_symbols;
	struct dwarf_index *dwarf; /* NULL: not loaded yet */
};

/* elf.c */
/* Makes an Elf handle for fd after checking that it is a 64-bit little-endian amd64 executable or shared object. */
kb_error *program_elf_begin(int fd, const char *name, Elf **ret);
/* Reads up to n bytes at a file offset; stops early only at the end of the file. */
kb_error *program_pread(int fd, const char *name, uint64_t offset, void *buf, size_t n, size_t *ret_n);

/* section.c */
/* How large the section is once decompressed, and where its decompressed bytes go. raw is the section as in the file. */
kb_error *section_load_raw(const kb_program *p, size_t index, kb_bytes *ret_malloced);
struct compressed {
	enum { PACK_NONE, PACK_ZLIB, PACK_ZSTD } kind;
	kb_bytes packed;
	uint64_t size;
};
kb_error *section_look_packed(const kb_program *p, size_t index, kb_bytes raw, struct compressed *ret);
/* dst has c->size bytes. */
kb_error *section_unpack(const struct compressed *c, void *dst);
/* Index of a section in p->sections; SIZE_MAX when absent. */
size_t section_index(const kb_program *p, const char *name);
/* section_bytes with p->lock held. */
kb_error *section_bytes_locked(kb_program *p, size_t index, kb_bytes *ret);

/* buildinfo.c */
/* The version alone, even when the module text is cut off. */
kb_error *buildinfo_version(kb_bytes b, char *buf, size_t n);

/* dwarf_index.c */
struct dwarf_struct {
	uint64_t name_hash;
	uint64_t die; /* offset in .debug_info */
};
/* One walk over the top level of every unit finds both. */
struct dwarf_index {
	void *image; /* an ELF file in memory with the debug sections, uncompressed */
	size_t image_size;
	kb_arena *arenas; /* one for each worker; own the strings */
	unsigned narenas;
	kb_dwarf_var *vars; /* sorted by address */
	size_t nvars;
	struct dwarf_struct *structs; /* sorted by hash */
	size_t nstructs;
};
kb_error *dwarf_index_get(kb_program *p, struct dwarf_index **ret); /* takes p->lock */
void dwarf_index_free(struct dwarf_index *ix);

/* dwarf_image.c */
kb_error *dwarf_image_build(kb_program *p, void **ret, size_t *ret_size); /* p->lock held; *ret NULL without DWARF */

#endif
