/* Where the fields of the Go runtime's structs lie, as data: a table made from the toolchains (tools/layouts), overridden
 * by the target's own DWARF where it has some. Code asks whether a field is present, never which version it is.
 *
 *   if (kb_has(l, KB_F_mspan_largeType))
 *           type = kb_load64(span + kb_off(l, KB_F_mspan_largeType));
 *
 * The ids come from layout_fields.def: KB_S_<struct>, KB_F_<struct>_<field>, KB_C_<constant>. */
#ifndef KB_GORUNTIME_LAYOUT_H
#define KB_GORUNTIME_LAYOUT_H

#include "program/program.h"

#include <assert.h>
#include <stdatomic.h>

enum kb_struct_id {
#define KB_STRUCT(id, names) KB_S_##id,
#define KB_FIELD(s, f)
#define KB_FIELD_AS(s, f, paths)
#define KB_CONST(id, names)
#include "layout_fields.def"
#undef KB_STRUCT
#undef KB_FIELD
#undef KB_FIELD_AS
	KB_S_COUNT
};

enum kb_field_id {
#define KB_STRUCT(id, names)
#define KB_FIELD(s, f) KB_F_##s##_##f,
#define KB_FIELD_AS(s, f, paths) KB_F_##s##_##f,
#include "layout_fields.def"
#undef KB_FIELD
#undef KB_FIELD_AS
#undef KB_CONST
	KB_F_COUNT
};

enum kb_const_id {
#define KB_FIELD(s, f)
#define KB_FIELD_AS(s, f, paths)
#define KB_CONST(id, names) KB_C_##id,
#include "layout_fields.def"
#undef KB_STRUCT
#undef KB_FIELD
#undef KB_FIELD_AS
#undef KB_CONST
	KB_C_COUNT
};

#define KB_OFF_ABSENT UINT32_MAX

/* One version's layout, expanded: 8 KiB or so, no pointers to free, may be copied. */
typedef struct kb_layout {
	uint32_t off[KB_F_COUNT];   /* bytes from the start of the struct, or KB_OFF_ABSENT */
	uint32_t fsize[KB_F_COUNT]; /* bytes; 0 when absent */
	uint32_t ssize[KB_S_COUNT]; /* bytes; 0 when absent */
	uint8_t sname[KB_S_COUNT];  /* which of its names in layout_fields.def the struct has here */
	int64_t consts[KB_C_COUNT]; /* -1 when absent */
	const char *const *waitreasons;
	uint32_t nwaitreasons;
} kb_layout;

/* Where a layout comes from. */
typedef struct kb_layout_origin {
	int minor, patch;         /* of the row that was taken */
	const char *experiments;  /* the (last) one that was applied; "" when none changes a layout */
	uint32_t nexperiments;    /* how many were applied */
	bool exact;               /* the row is of the target's own patch release */
	bool guessed;             /* newer than the table: the newest row was taken */
	uint32_t dwarf_confirmed; /* fields and sizes that the target's DWARF has, and has alike */
	uint32_t dwarf_changed;   /* … has differently: taken over */
	uint32_t dwarf_rejected;  /* … has, but impossibly (outside of its struct): not taken over */
	uint32_t dwarf_missing;   /* … lacks, though every known version has it: the table's is kept */
	char text[80]; /* for people: "table go1.24.9", "table go1.27.1 (newest known)", "DWARF of the executable" */
} kb_layout_origin;

/* How often code asked for a field that its version does not have, without asking kb_has before: a mistake in keptby. */
extern _Atomic uint64_t kb_layout_absent_reads;

static inline bool kb_has(const kb_layout *l, enum kb_field_id f)
{
	return l->off[f] != KB_OFF_ABSENT;
}

/* Offset in bytes. The field must be present (kb_has): asserted in debug builds; else 0, and counted. */
static inline uint32_t kb_off(const kb_layout *l, enum kb_field_id f)
{
	if (l->off[f] != KB_OFF_ABSENT)
		return l->off[f];
	assert(!"field that this Go version does not have");
	atomic_fetch_add_explicit(&kb_layout_absent_reads, 1, memory_order_relaxed);
	return 0;
}

/* Size of a field in bytes; 0 when absent. An array's is that of the whole array, a slice's 24. */
static inline uint32_t kb_fsize(const kb_layout *l, enum kb_field_id f)
{
	return l->fsize[f];
}

/* Size of a struct in bytes; 0 when this version has no such struct. */
static inline uint32_t kb_sizeof(const kb_layout *l, enum kb_struct_id s)
{
	return l->ssize[s];
}

/* Value of a constant; -1 when this version has no such constant. */
static inline int64_t kb_const(const kb_layout *l, enum kb_const_id c)
{
	return l->consts[c];
}

/* What the runtime itself prints for g.waitreason n ("" for 0); NULL beyond the table. */
static inline const char *kb_waitreason(const kb_layout *l, uint32_t n)
{
	return n < l->nwaitreasons ? l->waitreasons[n] : NULL;
}

/* For messages and tests: "mspan", "startAddr", "SpecialFinalizer". Never NULL for an id below its COUNT. */
const char *kb_struct_name(enum kb_struct_id s);
const char *kb_field_name(enum kb_field_id f);
const char *kb_const_name(enum kb_const_id c);
enum kb_struct_id kb_field_struct(enum kb_field_id f);

/* The layout of go1.<minor>.<patch> with these experiments (comma separated, as the version string names them; NULL
 * and "" for none): the minor's last row that is not newer than the patch release, with what each of the experiments
 * changes put on top. A newer minor than the table knows gets the newest row, and guessed. Errors: KB_E_UNSUPPORTED
 * before 1.19. */
kb_error *kb_layout_choose(int minor, int patch, const char *experiments, kb_layout *ret,
			   kb_layout_origin *ret_origin) KB_MUST_CHECK;
/* Must a version that has the struct have this field too, as far as the table knows? False when some version lacks
 * it. */
bool kb_field_required(enum kb_field_id f);
/* The names of a struct, the paths of a field, with '|' between them, as in layout_fields.def. */
const char *kb_struct_alternates(enum kb_struct_id s);
const char *kb_field_alternates(enum kb_field_id f);

/* Takes over what the executable's DWARF says of structs and fields; counts in origin, and sets its text when the
 * DWARF had anything to say. Without DWARF nothing happens. What is impossible in itself is not believed. Constants
 * and wait reasons stay. */
kb_error *kb_layout_from_dwarf(kb_layout *l, kb_program *p, kb_layout_origin *origin) KB_MUST_CHECK;

#endif
