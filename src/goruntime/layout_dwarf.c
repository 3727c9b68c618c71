/* A layout from the target's own DWARF, where it has some: the structs of the table are looked up there by name.
 * DWARF is as untrusted as the rest of the file: what does not fit into its struct is left out. */
#include "layout.h"

#include <stdio.h>
#include <stdlib.h>

/* The largest runtime struct, heapArena of Go 1.19, has 2 MiB. */
#define STRUCT_SIZE_MAX (64u << 20)
#define ALTERNATES_MAX 8

/* The '|'-separated names, each copied into the arena. Returns how many; 0 when out of memory. */
static size_t split(kb_arena *a, const char *alternates, const char *out[ALTERNATES_MAX])
{
	size_t n = 0;

	while (n < ALTERNATES_MAX) {
		size_t len = strcspn(alternates, "|");

		out[n] = kb_arena_strndup(a, alternates, len);
		if (!out[n])
			return 0;
		n++;
		if (!alternates[len])
			break;
		alternates += len + 1;
	}
	return n;
}

/* Which query answers for what. */
struct lookup {
	kb_program *program;
	kb_arena arena;
	kb_dwarf_query *queries;
	size_t n, cap;
	uint32_t first_of_struct[KB_S_COUNT + 1]; /* index of the first query for each struct, then for each field */
	uint32_t first_of_field[KB_F_COUNT + 1];
	const char *name[KB_S_COUNT]; /* what the struct is called in this DWARF; NULL when it is not there */
	uint32_t size[KB_S_COUNT];
};

static kb_error *ask(struct lookup *k, const char *strukt, const char *field)
{
	if (!KB_ROOM(k->queries, k->n, k->cap, 65536))
		return kb_error_nomem();
	k->queries[k->n++] = (kb_dwarf_query){ .strukt = strukt, .field = field };
	return NULL;
}

/* Finds what each struct is called. The name it has in the table's row comes before the others: two of the names may be
 * there at once (Go 1.24 and 1.25 have both forms of maps in their sources). */
static kb_error *find_structs(struct lookup *k, const kb_layout *l)
{
	k->n = 0;
	for (size_t s = 0; s < KB_S_COUNT; s++) {
		const char *names[ALTERNATES_MAX];
		size_t n = split(&k->arena, kb_struct_alternates(s), names);

		if (!n)
			return kb_error_nomem();
		k->first_of_struct[s] = (uint32_t)k->n;
		for (size_t i = 0; i < n; i++)
			KB_TRY(ask(k, names[(i + l->sname[s]) % n], NULL));
	}
	k->first_of_struct[KB_S_COUNT] = (uint32_t)k->n;
	KB_TRY(kb_program_dwarf_fields(k->program, k->queries, k->n));
	for (size_t s = 0; s < KB_S_COUNT; s++)
		for (size_t i = k->first_of_struct[s]; i < k->first_of_struct[s + 1]; i++) {
			const kb_dwarf_query *q = &k->queries[i];

			if (k->name[s] || !q->found || !q->result.size || q->result.size > STRUCT_SIZE_MAX)
				continue;
			k->name[s] = q->strukt;
			k->size[s] = q->result.size;
		}
	return NULL;
}

static kb_error *find_fields(struct lookup *k)
{
	k->n = 0;
	for (size_t f = 0; f < KB_F_COUNT; f++) {
		const char *name = k->name[kb_field_struct(f)];
		const char *paths[ALTERNATES_MAX];
		size_t n = name ? split(&k->arena, kb_field_alternates(f), paths) : 0;

		if (name && !n)
			return kb_error_nomem();
		k->first_of_field[f] = (uint32_t)k->n;
		for (size_t i = 0; i < n; i++)
			KB_TRY(ask(k, name, paths[i]));
	}
	k->first_of_field[KB_F_COUNT] = (uint32_t)k->n;
	return kb_program_dwarf_fields(k->program, k->queries, k->n);
}

static const kb_dwarf_field *answer(const struct lookup *k, size_t f)
{
	for (size_t i = k->first_of_field[f]; i < k->first_of_field[f + 1]; i++)
		if (k->queries[i].found)
			return &k->queries[i].result;
	return NULL;
}

/* The struct is there, the field is not: a version that lacks it, or a new name for it. */
static void field_missing(kb_layout *l, size_t f, kb_layout_origin *origin)
{
	if (!kb_has(l, f))
		return;
	if (kb_field_required(f)) {
		origin->dwarf_missing++;
		return;
	}
	l->off[f] = KB_OFF_ABSENT;
	l->fsize[f] = 0;
	origin->dwarf_changed++;
}

static void take_field(kb_layout *l, size_t f, const kb_dwarf_field *d, uint32_t struct_size, kb_layout_origin *origin)
{
	uint32_t size = d->size ? d->size : l->fsize[f];

	if (d->offset > struct_size || size > struct_size - d->offset) {
		origin->dwarf_rejected++;
		return;
	}
	if (l->off[f] == d->offset && l->fsize[f] == size)
		origin->dwarf_confirmed++;
	else
		origin->dwarf_changed++;
	l->off[f] = d->offset;
	l->fsize[f] = size;
}

static void take_all(const struct lookup *k, kb_layout *l, kb_layout_origin *origin)
{
	for (size_t s = 0; s < KB_S_COUNT; s++) {
		if (!k->name[s])
			continue;
		if (l->ssize[s] == k->size[s])
			origin->dwarf_confirmed++;
		else
			origin->dwarf_changed++;
		l->ssize[s] = k->size[s];
	}
	for (size_t f = 0; f < KB_F_COUNT; f++) {
		enum kb_struct_id s = kb_field_struct(f);
		const kb_dwarf_field *d = answer(k, f);

		if (!k->name[s])
			continue;
		if (d)
			take_field(l, f, d, k->size[s], origin);
		else
			field_missing(l, f, origin);
	}
}

kb_error *kb_layout_from_dwarf(kb_layout *l, kb_program *p, kb_layout_origin *origin)
{
	struct lookup *k;
	kb_error *err;

	if (!kb_program_has_dwarf(p))
		return NULL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return kb_error_nomem();
	k->program = p;
	err = find_structs(k, l);
	if (!err)
		err = find_fields(k);
	if (!err) {
		take_all(k, l, origin);
		if (origin->dwarf_confirmed + origin->dwarf_changed > 0)
			snprintf(origin->text, sizeof(origin->text), "DWARF of the executable");
	}
	kb_arena_free(&k->arena);
	free(k->queries);
	free(k);
	return err;
}
