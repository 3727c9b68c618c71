/* One walk over all units, each unit's top level only: variables with a fixed address, and where the named structs are. Go puts
 * package-level variables there (cmd/compile writes each with its package's unit), C its globals and file statics. */
#include <dwarf.h>
#include <stdlib.h>

#include "dwarf_type.h"
#include "private.h"

#define UNITS_MAX (4u << 20)
#define VARS_MAX (16u << 20)
#define STRUCTS_MAX (64u << 20)

struct walker {
	Elf *elf;
	Dwarf *dwarf;
	kb_arena *arena;
	kb_dwarf_var *vars;
	size_t nvars, cap_vars;
	struct dwarf_struct *structs;
	size_t nstructs, cap_structs;
};

struct walk {
	const kb_program *p;
	struct dwarf_index *ix;
	struct walker *walkers; /* one for each worker */
	Dwarf_Off *units;       /* offset of each unit's DIE */
	size_t nunits, cap_units;
};

/* ---- one DIE ------------------------------------------------------------------------------------------------------ */

/* The address when the location is a constant one. */
static bool fixed_address(Dwarf_Die *die, uint64_t *ret)
{
	Dwarf_Attribute attr, target;
	Dwarf_Block block;
	Dwarf_Op *ops;
	Dwarf_Addr addr;
	size_t n;

	if (!dwarf_attr(die, DW_AT_location, &attr) || dwarf_formblock(&attr, &block) || !block.length)
		return false;
	if (block.length == 9 && block.data[0] == DW_OP_addr) {
		*ret = kb_load64(block.data + 1);
		return *ret != 0; /* 0: dropped by the linker */
	}
	if (block.data[0] != DW_OP_addrx && block.data[0] != DW_OP_GNU_addr_index)
		return false;
	if (dwarf_getlocation(&attr, &ops, &n) || n != 1 || dwarf_getlocation_attr(&attr, &ops[0], &target) ||
	    dwarf_formaddr(&target, &addr))
		return false;
	*ret = addr;
	return addr != 0;
}

static const char *name_of(Dwarf_Die *die)
{
	Dwarf_Attribute attr;

	return dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attr));
}

static kb_error *add_var(struct walker *w, Dwarf_Die *die)
{
	kb_dwarf_var v = { .type_name = "" };
	const char *name;
	Dwarf_Die type;

	if (!fixed_address(die, &v.addr))
		return NULL;
	name = name_of(die);
	if (!name || !*name)
		return NULL;
	v.name = kb_arena_strndup(w->arena, name, strlen(name));
	if (type_of(die, &type)) {
		v.type_name = type_name(&type, w->arena);
		v.size = type_size(&type);
		v.go_type = type_go_runtime(&type);
		v.type_ref = dwarf_dieoffset(&type);
	}
	if (!v.name || !v.type_name || !KB_ROOM(w->vars, w->nvars, w->cap_vars, VARS_MAX))
		return kb_error_nomem();
	w->vars[w->nvars++] = v;
	return NULL;
}

static kb_error *add_struct(struct walker *w, Dwarf_Die *die)
{
	const char *name = dwarf_diename(die);

	if (!name || !*name)
		return NULL;
	if (!KB_ROOM(w->structs, w->nstructs, w->cap_structs, STRUCTS_MAX))
		return kb_error_nomem();
	w->structs[w->nstructs++] = (struct dwarf_struct){ kb_hash_bytes(name, strlen(name)), dwarf_dieoffset(die) };
	return NULL;
}

/* ---- one unit -------------------------------------------------------------------------------------------------------- */

static kb_error *walk_unit(struct walker *w, Dwarf_Off unit)
{
	Dwarf_Die cu, die;
	Dwarf_Off last;

	if (!dwarf_offdie(w->dwarf, unit, &cu) || dwarf_child(&cu, &die))
		return NULL;
	do {
		int tag = dwarf_tag(&die);

		if (tag == DW_TAG_variable)
			KB_TRY(add_var(w, &die));
		else if (tag == DW_TAG_structure_type)
			KB_TRY(add_struct(w, &die));
		last = dwarf_dieoffset(&die);
		/* A sibling attribute that points back would be a loop. */
	} while (!dwarf_siblingof(&die, &die) && dwarf_dieoffset(&die) > last);
	return NULL;
}

static kb_error *open_handle(const struct dwarf_index *ix, struct walker *w)
{
	w->elf = elf_memory(ix->image, ix->image_size);
	if (w->elf)
		w->dwarf = dwarf_begin_elf(w->elf, DWARF_C_READ, NULL);
	return w->dwarf ? NULL : kb_error_new(KB_E_CORRUPT, "debug information cannot be read: %s", dwarf_errmsg(-1));
}

static void close_handle(struct walker *w)
{
	if (w->dwarf)
		dwarf_end(w->dwarf);
	if (w->elf)
		elf_end(w->elf);
}

static kb_error *walk_one(void *ctx, unsigned worker, size_t i)
{
	struct walk *walk = ctx;
	struct walker *w = &walk->walkers[worker];

	if (!w->dwarf)
		KB_TRY(open_handle(walk->ix, w));
	return walk_unit(w, walk->units[i]);
}

static kb_error *list_units(struct walk *walk)
{
	struct walker *w = &walk->walkers[0];
	Dwarf_CU *cu = NULL;

	KB_TRY(open_handle(walk->ix, w));
	for (;;) {
		Dwarf_Die die;
		int r = dwarf_get_units(w->dwarf, cu, &cu, NULL, NULL, &die, NULL);

		/* Behind a damaged unit nothing can be found; what came before is good. */
		if (r)
			return NULL;
		if (!KB_ROOM(walk->units, walk->nunits, walk->cap_units, UNITS_MAX))
			return kb_error_nomem();
		/* Type units have no variables, and their offsets count in another section in DWARF 4. */
		if (dwarf_tag(&die) == DW_TAG_compile_unit)
			walk->units[walk->nunits++] = dwarf_dieoffset(&die);
	}
}

/* ---- putting together --------------------------------------------------------------------------------------------------- */

static int compare_vars(const void *va, const void *vb)
{
	const kb_dwarf_var *a = va, *b = vb;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	/* Of several declarations of one address the one that knows most first. */
	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int compare_structs(const void *va, const void *vb)
{
	const struct dwarf_struct *a = va, *b = vb;

	if (a->name_hash != b->name_hash)
		return a->name_hash < b->name_hash ? -1 : 1;
	return a->die < b->die ? -1 : a->die > b->die;
}

static size_t drop_doubles(kb_dwarf_var *v, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept && v[i].addr == v[kept - 1].addr && !strcmp(v[i].name, v[kept - 1].name))
			continue;
		v[kept++] = v[i];
	}
	return kept;
}

static kb_error *merge(struct walk *walk, unsigned workers)
{
	struct dwarf_index *ix = walk->ix;
	size_t nvars = 0, nstructs = 0;

	for (unsigned i = 0; i < workers; i++) {
		nvars += walk->walkers[i].nvars;
		nstructs += walk->walkers[i].nstructs;
	}
	ix->vars = calloc(nvars ? nvars : 1, sizeof(*ix->vars));
	ix->structs = calloc(nstructs ? nstructs : 1, sizeof(*ix->structs));
	if (!ix->vars || !ix->structs)
		return kb_error_nomem();
	for (unsigned i = 0; i < workers; i++) {
		const struct walker *w = &walk->walkers[i];

		if (w->nvars)
			memcpy(ix->vars + ix->nvars, w->vars, w->nvars * sizeof(*w->vars));
		if (w->nstructs)
			memcpy(ix->structs + ix->nstructs, w->structs, w->nstructs * sizeof(*w->structs));
		ix->nvars += w->nvars;
		ix->nstructs += w->nstructs;
	}
	qsort(ix->vars, ix->nvars, sizeof(*ix->vars), compare_vars);
	qsort(ix->structs, ix->nstructs, sizeof(*ix->structs), compare_structs);
	ix->nvars = drop_doubles(ix->vars, ix->nvars);
	return NULL;
}

static kb_error *walk_all(struct walk *walk)
{
	unsigned workers = kb_cpu_count();
	kb_error *err;

	walk->walkers = calloc(workers, sizeof(*walk->walkers));
	walk->ix->arenas = calloc(workers, sizeof(*walk->ix->arenas));
	if (!walk->walkers || !walk->ix->arenas)
		return kb_error_nomem();
	walk->ix->narenas = workers;
	for (unsigned i = 0; i < workers; i++)
		walk->walkers[i].arena = &walk->ix->arenas[i];
	err = list_units(walk);
	if (!err)
		err = kb_parallel(walk->nunits, walk_one, walk);
	if (!err)
		err = merge(walk, workers);
	for (unsigned i = 0; i < workers; i++) {
		close_handle(&walk->walkers[i]);
		free(walk->walkers[i].vars);
		free(walk->walkers[i].structs);
	}
	return err;
}

static kb_error *index_build(kb_program *p, struct dwarf_index **ret)
{
	struct dwarf_index *ix = calloc(1, sizeof(*ix));
	struct walk walk = { .p = p, .ix = ix };
	kb_error *err;

	if (!ix)
		return kb_error_nomem();
	err = dwarf_image_build(p, &ix->image, &ix->image_size);
	if (!err && ix->image)
		err = walk_all(&walk);
	free(walk.walkers);
	free(walk.units);
	if (err) {
		dwarf_index_free(ix);
		return kb_error_context(err, "%s", p->name);
	}
	*ret = ix;
	return NULL;
}

kb_error *dwarf_index_get(kb_program *p, struct dwarf_index **ret)
{
	kb_error *err = NULL;

	pthread_mutex_lock(&p->lock);
	if (!p->dwarf)
		err = index_build(p, &p->dwarf);
	*ret = p->dwarf;
	pthread_mutex_unlock(&p->lock);
	return err;
}

void dwarf_index_free(struct dwarf_index *ix)
{
	if (!ix)
		return;
	for (unsigned i = 0; i < ix->narenas; i++)
		kb_arena_free(&ix->arenas[i]);
	free(ix->arenas);
	free(ix->vars);
	free(ix->structs);
	if (ix->image)
		kb_big_free(ix->image, ix->image_size);
	free(ix);
}
