/* A core: what core.c, corenotes.c and corefile.c share. */
#ifndef KB_TARGET_CORE_H
#define KB_TARGET_CORE_H

#include "private.h"

#include <elf.h>

/* A file that was mapped by the process, as NT_FILE tells. */
struct kb_core_file {
	const char *path; /* in the core's own bytes */
	int fd;           /* -1 when it was not opened, or does not belong to this core */
	uint64_t size;
	bool is_exe;
	bool tried;
};

struct kb_core_map {
	kb_addr start, end;
	uint64_t offset;
	uint32_t file; /* index into files */
};

/* A PT_LOAD, later cut at the borders of mapped files. From start: present bytes lie in the core, then announced
 * ones are missing (the file is cut short), then come bytes that were left out on purpose. */
struct kb_seg {
	kb_addr start, end, present_end, announced_end;
	uint64_t offset; /* of start in the core */
	uint32_t perms;
	int32_t file; /* index into files, -1 when anonymous */
	uint64_t file_offset;
	bool zero; /* left out because nobody ever wrote to it */
};

struct kb_core {
	kb_bytes bytes;
	bool has_file_note;
	struct kb_seg *segs; /* sorted, not overlapping */
	size_t n_segs, segs_cap;
	struct kb_core_file *files;
	size_t n_files, files_cap;
	kb_map by_path;           /* hash of the path → index into files */
	struct kb_core_map *maps; /* sorted by start, not overlapping after kb_core_sort_maps */
	size_t n_maps, maps_cap;
	kb_bytes auxv;
	const char *fname; /* the command's name by NT_PRPSINFO, or "" */
	size_t n_open;     /* files opened for attach_files */
};

/* All notes of one PT_NOTE. */
kb_error *kb_core_notes(kb_target *t, kb_bytes notes) KB_MUST_CHECK;
bool kb_core_auxv(const struct kb_core *c, uint64_t type, uint64_t *ret);
/* Finds the executable, opens it, and checks that it is the core's. path may be NULL. */
kb_error *kb_core_attach_exe(kb_target *t, const char *path, const char *core_path) KB_MUST_CHECK;
/* Opens the files behind memory that the core leaves out. */
void kb_core_attach_files(kb_target *t);
/* Bytes that lie in the core itself, in one piece, at most n; empty when there are none. */
kb_bytes kb_core_present(const struct kb_core *c, kb_addr a, size_t n);
/* Cuts the segments at the borders of mapped files; may be called again when more of these are known. */
kb_error *kb_core_build_segments(struct kb_core *c) KB_MUST_CHECK;
size_t kb_core_find(const struct kb_core *c, kb_addr a);

#endif
