/* Types as Go's compiler describes them in DWARF (cmd/link/internal/ld/dwarf.go, defgotype), for those that the program has no
 * descriptor of: the linker keeps descriptors only of types that reach an interface, a map, reflection or an allocation. */
#include <dwarf.h>
#include <stdlib.h>

#include "dwarf_type.h"
#include "private.h"

#define DW_AT_GO_KIND 0x2900
#define DW_AT_GO_KEY 0x2901
#define DW_AT_GO_ELEM 0x2902
#define GO_ARRAY 17
#define GO_PTR 22
#define GO_STRUCT 25
#define GO_UNSAFEPTR 26
#define PEEL_MAX 64
#define NODES_MAX (1u << 20)
#define FIELDS_MAX (1u << 22)
#define MEMBERS_MAX (1u << 16)

struct build {
	Dwarf *dwarf;
	kb_dwarf_types *out;
	size_t cap_nodes, cap_fields;
	kb_map seen;      /* DIE → node */
	uint64_t *dies;   /* of each node */
	size_t ndies, cap_dies;
};

/* The node for a DIE, made now, filled later. */
static kb_error *node_for(struct build *b, uint64_t die, uint32_t *ret)
{
	uint64_t found;

	if (kb_map_get(&b->seen, die, &found)) {
		*ret = (uint32_t)found;
		return NULL;
	}
	if (!KB_ROOM(b->out->nodes, b->out->nnodes, b->cap_nodes, NODES_MAX) ||
	    !KB_ROOM(b->dies, b->ndies, b->cap_dies, NODES_MAX) || !kb_map_put(&b->seen, die, b->out->nnodes))
		return kb_error_nomem();
	*ret = (uint32_t)b->out->nnodes;
	b->dies[b->ndies++] = die;
	b->out->nodes[b->out->nnodes++] = (kb_dwarf_node){ .elem = UINT32_MAX, .key = UINT32_MAX };
	return NULL;
}

/* The kind stands on the type itself, behind the typedef of a named one. False when it is no Go type. */
static bool find_kind(Dwarf_Die *type, Dwarf_Die *ret, uint32_t *ret_kind)
{
	*ret = *type;
	for (int i = 0; i < PEEL_MAX; i++) {
		Dwarf_Attribute attr;
		Dwarf_Word kind;
		Dwarf_Die next;

		if (dwarf_attr(ret, DW_AT_GO_KIND, &attr) && !dwarf_formudata(&attr, &kind)) {
			*ret_kind = (uint32_t)kind & 31;
			return true;
		}
		if (dwarf_tag(ret) == DW_TAG_pointer_type) { /* unsafe.Pointer, made by the linker without a kind up to 1.22 */
			const char *name = dwarf_diename(ret);

			*ret_kind = GO_UNSAFEPTR;
			return name && !strcmp(name, "unsafe.Pointer");
		}
		if (dwarf_tag(ret) != DW_TAG_typedef || !type_of(ret, &next))
			return false;
		*ret = next;
	}
	return false;
}

static kb_error *part(struct build *b, Dwarf_Die *die, unsigned at, uint32_t *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Die to;

	if (!dwarf_attr(die, at, &attr) || !dwarf_formref_die(&attr, &to))
		return NULL;
	return node_for(b, dwarf_dieoffset(&to), ret);
}

static uint64_t array_len(Dwarf_Die *array)
{
	Dwarf_Attribute attr;
	Dwarf_Word n;
	Dwarf_Die die;

	if (dwarf_child(array, &die) || dwarf_tag(&die) != DW_TAG_subrange_type)
		return 0;
	if (dwarf_attr(&die, DW_AT_count, &attr) && !dwarf_formudata(&attr, &n))
		return n;
	if (dwarf_attr(&die, DW_AT_upper_bound, &attr) && !dwarf_formudata(&attr, &n))
		return n + 1;
	return 0;
}

static kb_error *members(struct build *b, Dwarf_Die *strukt, uint32_t node)
{
	kb_dwarf_types *out = b->out;
	size_t seen = 0;
	Dwarf_Die die;

	out->nodes[node].first_field = (uint32_t)out->nfields;
	if (dwarf_child(strukt, &die))
		return NULL;
	do {
		const char *name = dwarf_diename(&die);
		kb_dwarf_member f = { 0 };
		Dwarf_Attribute attr;
		Dwarf_Word off;
		Dwarf_Die type;

		if (dwarf_tag(&die) != DW_TAG_member || !name || !type_of(&die, &type) ||
		    !dwarf_attr(&die, DW_AT_data_member_location, &attr) || dwarf_formudata(&attr, &off))
			continue;
		f.offset = off;
		f.name = kb_arena_strndup(&out->arena, name, strlen(name));
		KB_TRY(node_for(b, dwarf_dieoffset(&type), &f.node));
		if (!f.name || !KB_ROOM(out->fields, out->nfields, b->cap_fields, FIELDS_MAX))
			return kb_error_nomem();
		out->fields[out->nfields++] = f;
		out->nodes[node].nfields++;
	} while (++seen < MEMBERS_MAX && !dwarf_siblingof(&die, &die));
	return NULL;
}

/* The parts of a type with a descriptor are the descriptor's business. */
static kb_error *fill(struct build *b, uint32_t i)
{
	kb_dwarf_types *out = b->out;
	Dwarf_Die die, base;
	uint32_t elem = UINT32_MAX, key = UINT32_MAX;

	if (!dwarf_offdie(b->dwarf, b->dies[i], &die))
		return NULL;
	out->nodes[i].name = type_name(&die, &out->arena);
	if (!out->nodes[i].name)
		return kb_error_nomem();
	out->nodes[i].size = type_size(&die);
	out->nodes[i].go_type = type_go_runtime(&die);
	if (!find_kind(&die, &base, &out->nodes[i].go_kind) || out->nodes[i].go_type)
		return NULL;
	if (out->nodes[i].go_kind == GO_STRUCT)
		return members(b, &base, i);
	if (out->nodes[i].go_kind == GO_ARRAY)
		out->nodes[i].len = array_len(&base);
	KB_TRY(part(b, &base, DW_AT_GO_KEY, &key));
	KB_TRY(part(b, &base, out->nodes[i].go_kind == GO_ARRAY || out->nodes[i].go_kind == GO_PTR ? DW_AT_type : DW_AT_GO_ELEM, &elem));
	out->nodes[i].key = key;
	out->nodes[i].elem = elem;
	return NULL;
}

static kb_error *build(struct build *b, const uint64_t *refs, size_t n, uint32_t *ret)
{
	for (size_t i = 0; i < n; i++)
		KB_TRY(node_for(b, refs[i], &ret[i]));
	for (uint32_t i = 0; i < b->out->nnodes; i++)
		KB_TRY(fill(b, i));
	return NULL;
}

kb_error *kb_program_dwarf_types(kb_program *p, const uint64_t *refs, size_t n, uint32_t *ret_nodes, kb_dwarf_types *ret)
{
	struct dwarf_index *ix;
	struct build b = { .out = ret };
	Elf *elf;

	*ret = (kb_dwarf_types){ 0 };
	KB_TRY(dwarf_index_get(p, &ix));
	if (!ix->image)
		return kb_error_new(KB_E_NOT_FOUND, "%s: no debug information", p->name);
	elf = elf_memory(ix->image, ix->image_size);
	if (elf)
		b.dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
	kb_error *err = b.dwarf ? build(&b, refs, n, ret_nodes) :
				  kb_error_new(KB_E_CORRUPT, "%s: debug information cannot be read", p->name);
	if (b.dwarf)
		dwarf_end(b.dwarf);
	if (elf)
		elf_end(elf);
	kb_map_free(&b.seen);
	free(b.dies);
	if (err)
		kb_dwarf_types_free(ret);
	return err;
}

void kb_dwarf_types_free(kb_dwarf_types *t)
{
	free(t->nodes);
	free(t->fields);
	kb_arena_free(&t->arena);
	*t = (kb_dwarf_types){ 0 };
}
