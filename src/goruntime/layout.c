/* The layout table (layout_table.inc): choosing a version's rows and expanding them. */
#include "layout.h"

#include <stdio.h>

#define NO KB_OFF_ABSENT
#define NONE UINT8_MAX

/* A struct's distinct layouts over all versions: each is size, which of its names, then offset and size of each
 * field. */
struct struct_table {
	const uint32_t *cells;
	uint16_t first; /* kb_field_id of its first field */
	uint16_t nfields;
	uint8_t nvariants;
};

struct wait_set {
	const char *const *names;
	uint32_t n;
};

struct layout_row {
	uint8_t minor, patch;
	const char *experiments;
	uint8_t consts, waits;
	uint8_t variant[KB_S_COUNT]; /* index into the struct's layouts; NONE when the version has no such struct */
};

#include "layout_table.inc"

_Static_assert(KB_ARRAY_LEN(rows) > 0 && KB_ARRAY_LEN(const_sets) < 256 && KB_ARRAY_LEN(wait_sets) < 256, "table");

_Atomic uint64_t kb_layout_absent_reads;

enum { OLDEST_MINOR = 19 };

static const struct struct_info {
	const char *name, *alternates;
} structs[KB_S_COUNT] = {
#define KB_STRUCT(id, names) [KB_S_##id] = { #id, names },
#define KB_FIELD(s, f)
#define KB_FIELD_AS(s, f, paths)
#define KB_CONST(id, names)
#include "layout_fields.def"
#undef KB_STRUCT
#undef KB_FIELD
#undef KB_FIELD_AS
#undef KB_CONST
};

static const struct field_info {
	const char *name, *alternates;
	enum kb_struct_id strukt;
} fields[KB_F_COUNT] = {
#define KB_STRUCT(id, names)
#define KB_FIELD(s, f) [KB_F_##s##_##f] = { #f, #f, KB_S_##s },
#define KB_FIELD_AS(s, f, paths) [KB_F_##s##_##f] = { #f, paths, KB_S_##s },
#define KB_CONST(id, names)
#include "layout_fields.def"
#undef KB_STRUCT
#undef KB_FIELD
#undef KB_FIELD_AS
#undef KB_CONST
};

static const char *const const_names[KB_C_COUNT] = {
#define KB_STRUCT(id, names)
#define KB_FIELD(s, f)
#define KB_FIELD_AS(s, f, paths)
#define KB_CONST(id, names) [KB_C_##id] = #id,
#include "layout_fields.def"
#undef KB_STRUCT
#undef KB_FIELD
#undef KB_FIELD_AS
#undef KB_CONST
};

const char *kb_struct_name(enum kb_struct_id s)
{
	return structs[s].name;
}

const char *kb_struct_alternates(enum kb_struct_id s)
{
	return structs[s].alternates;
}

const char *kb_field_name(enum kb_field_id f)
{
	return fields[f].name;
}

const char *kb_field_alternates(enum kb_field_id f)
{
	return fields[f].alternates;
}

const char *kb_const_name(enum kb_const_id c)
{
	return const_names[c];
}

enum kb_struct_id kb_field_struct(enum kb_field_id f)
{
	return fields[f].strukt;
}

bool kb_field_required(enum kb_field_id f)
{
	const struct struct_table *t = &struct_tables[fields[f].strukt];
	size_t width = 2 + 2 * (size_t)t->nfields;

	for (size_t v = 0; v < t->nvariants; v++)
		if (t->cells[v * width + 2 + 2 * (size_t)(f - t->first)] == NO)
			return false;
	return t->nvariants > 0;
}

/* Is word one of the comma-separated words of list? */
static bool lists(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (*list) {
		size_t len = strcspn(list, ",");

		if (len == n && memcmp(list, word, n) == 0)
			return true;
		list += len;
		list += *list == ',';
	}
	return false;
}

/* The last row of the minor with these experiments that is not newer than the patch release. Every change between
 * patch releases has a row at the release that made it, so this is the right one, not the nearest. When all are newer
 * (a row for an experiment exists for one patch release only) the first. */
static const struct layout_row *find_row(int minor, int patch, const char *experiments)
{
	const struct layout_row *best = NULL;

	for (size_t i = 0; i < KB_ARRAY_LEN(rows); i++) {
		const struct layout_row *r = &rows[i];

		if (r->minor == minor && strcmp(r->experiments, experiments) == 0 && (!best || r->patch <= patch))
			best = r;
	}
	return best;
}

/* Takes struct s from a row: its variant, or absent. */
static void take_struct(kb_layout *l, const struct layout_row *r, size_t s)
{
	const struct struct_table *t = &struct_tables[s];
	uint8_t v = r->variant[s];
	const uint32_t *cell;

	l->ssize[s] = 0;
	l->sname[s] = 0;
	for (size_t i = 0; i < t->nfields; i++) {
		l->off[t->first + i] = NO;
		l->fsize[t->first + i] = 0;
	}
	if (v == NONE || v >= t->nvariants)
		return;
	cell = t->cells + (size_t)v * (2 + 2 * (size_t)t->nfields);
	l->ssize[s] = *cell++;
	l->sname[s] = (uint8_t)*cell++;
	for (size_t i = 0; i < t->nfields; i++) {
		l->off[t->first + i] = *cell++;
		l->fsize[t->first + i] = *cell++;
	}
}

static void take_row(kb_layout *l, const struct layout_row *r)
{
	/* A struct no toolchain has is not in struct_tables: its fields stay absent. */
	for (size_t f = 0; f < KB_F_COUNT; f++) {
		l->off[f] = NO;
		l->fsize[f] = 0;
	}
	for (size_t s = 0; s < KB_S_COUNT; s++)
		take_struct(l, r, s);
	memcpy(l->consts, const_sets[r->consts], sizeof(l->consts));
	l->waitreasons = wait_sets[r->waits].names;
	l->nwaitreasons = wait_sets[r->waits].n;
}

/* What an experiment changed where its row was made, put on top of l: so several experiments add up, and those of
 * another patch release change nothing else. Returns whether there is a row for it. */
static bool take_experiment(kb_layout *l, const struct layout_row *with)
{
	const struct layout_row *without = find_row(with->minor, with->patch, "");

	if (!without || without->patch != with->patch)
		return false;
	for (size_t s = 0; s < KB_S_COUNT; s++)
		if (with->variant[s] != without->variant[s])
			take_struct(l, with, s);
	for (size_t c = 0; c < KB_C_COUNT; c++)
		if (const_sets[with->consts][c] != const_sets[without->consts][c])
			l->consts[c] = const_sets[with->consts][c];
	return true;
}

/* Applies those of the target's experiments that a row of this minor was made for; the others (boringcrypto, loopvar,
 * goroutineleakprofile…) change no struct. text gets the applied ones. */
static void take_experiments(kb_layout *l, int minor, const char *experiments, const char **ret_last, size_t *ret_n)
{
	*ret_n = 0;
	for (size_t i = 0; i < KB_ARRAY_LEN(rows); i++) {
		const struct layout_row *r = &rows[i];

		if (r->minor != minor || !*r->experiments || !lists(experiments, r->experiments))
			continue;
		if (take_experiment(l, r)) {
			*ret_last = r->experiments;
			++*ret_n;
		}
	}
}

kb_error *kb_layout_choose(int minor, int patch, const char *experiments, kb_layout *ret, kb_layout_origin *ret_origin)
{
	const int newest = rows[KB_ARRAY_LEN(rows) - 1].minor;
	const struct layout_row *r;
	const char *with = "";
	size_t nwith = 0;
	bool guessed = minor > newest;

	if (minor < OLDEST_MINOR)
		return kb_error_remedy(kb_error_new(KB_E_UNSUPPORTED,
						    "go1.%d.%d is older than go1.%d, the oldest that keptby knows",
						    minor, patch, OLDEST_MINOR),
				       "build the program with Go 1.%d or newer", OLDEST_MINOR);
	r = guessed ? find_row(newest, INT32_MAX, "") : find_row(minor, patch, "");
	if (!r)
		return kb_error_new(KB_E_UNSUPPORTED, "go1.%d.%d is not in the layout table", minor, patch);
	take_row(ret, r);
	take_experiments(ret, r->minor, experiments ? experiments : "", &with, &nwith);
	*ret_origin = (kb_layout_origin){
		.minor = r->minor,
		.patch = r->patch,
		.experiments = with,
		.nexperiments = (uint32_t)nwith,
		.exact = !guessed && r->patch == patch,
		.guessed = guessed,
	};
	snprintf(ret_origin->text, sizeof(ret_origin->text), "table go1.%d.%d%s%s%s", r->minor, r->patch,
		 *with ? " " : "", with, guessed ? " (newest known)" : "");
	return NULL;
}
