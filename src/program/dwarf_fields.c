/* Offsets of struct fields, asked by name. The index knows where each named struct is, so that only those asked for are
 * looked at. */
#include <dwarf.h>

#include "dwarf_type.h"
#include "private.h"

/* Structs of one name: a type seen by several units. */
#define SAME_NAME_MAX 64
#define PATH_MAX_LEN 256
/* Go's largest runtime structs have about 100 fields. */
#define MEMBERS_MAX 65536

static size_t first_with_hash(const struct dwarf_index *ix, uint64_t hash)
{
	size_t low = 0, high = ix->nstructs;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ix->structs[mid].name_hash < hash)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* A complete struct; declarations have no size. */
static bool find_struct(const struct dwarf_index *ix, Dwarf *dwarf, const char *name, Dwarf_Die *ret)
{
	uint64_t hash = kb_hash_bytes(name, strlen(name));
	size_t first = first_with_hash(ix, hash);

	for (size_t i = first; i < ix->nstructs && i - first < SAME_NAME_MAX && ix->structs[i].name_hash == hash; i++) {
		const char *found;

		if (!dwarf_offdie(dwarf, ix->structs[i].die, ret))
			continue;
		found = dwarf_diename(ret);
		if (found && !strcmp(found, name) && dwarf_hasattr(ret, DW_AT_byte_size))
			return true;
	}
	return false;
}

static bool find_member(Dwarf_Die *strukt, const char *name, size_t n, Dwarf_Die *ret)
{
	Dwarf_Die die;
	int seen = 0;

	if (dwarf_tag(strukt) != DW_TAG_structure_type || dwarf_child(strukt, &die))
		return false;
	do {
		const char *found = dwarf_tag(&die) == DW_TAG_member ? dwarf_diename(&die) : NULL;

		if (found && strlen(found) == n && !memcmp(found, name, n)) {
			*ret = die;
			return true;
		}
	} while (++seen < MEMBERS_MAX && !dwarf_siblingof(&die, &die));
	return false;
}

static bool member_offset(Dwarf_Die *member, uint64_t *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Word value;
	Dwarf_Block block;
	uint64_t at = 1;

	if (!dwarf_attr(member, DW_AT_data_member_location, &attr))
		return false;
	if (!dwarf_formudata(&attr, &value)) {
		*ret = value;
		return true;
	}
	/* The older form: an expression that adds a constant. */
	if (dwarf_formblock(&attr, &block) || !block.length || block.data[0] != DW_OP_plus_uconst)
		return false;
	return kb_get_uvarint((kb_bytes){ block.data, block.length }, &at, ret);
}

/* Walks the path "a.b.c" from a struct. */
static bool resolve(Dwarf_Die *strukt, const char *path, kb_dwarf_field *ret)
{
	Dwarf_Die at = *strukt, member, type;
	uint64_t total = 0, off, size;

	if (path && strlen(path) > PATH_MAX_LEN)
		return false;
	while (path && *path) {
		size_t n = strcspn(path, ".");

		if (!find_member(&at, path, n, &member) || !member_offset(&member, &off) || !type_of(&member, &type) ||
		    !type_peel(&type, &at))
			return false;
		total += off;
		path += path[n] ? n + 1 : n;
	}
	size = type_size(&at);
	if (total > UINT32_MAX || size > UINT32_MAX)
		return false;
	*ret = (kb_dwarf_field){ (uint32_t)total, (uint32_t)size };
	return true;
}

static void answer(const struct dwarf_index *ix, Dwarf *dwarf, kb_dwarf_query *q, size_t n)
{
	const char *current = NULL;
	Dwarf_Die strukt;
	bool have = false;

	for (size_t i = 0; i < n; i++) {
		/* Questions about one struct usually come in a row. */
		if (!current || strcmp(current, q[i].strukt)) {
			current = q[i].strukt;
			have = find_struct(ix, dwarf, current, &strukt);
		}
		q[i].found = have && resolve(&strukt, q[i].field, &q[i].result);
	}
}

kb_error *kb_program_dwarf_fields(kb_program *p, kb_dwarf_query *q, size_t n)
{
	struct dwarf_index *ix;
	Dwarf *dwarf = NULL;
	Elf *elf;

	for (size_t i = 0; i < n; i++)
		q[i].found = false;
	KB_TRY(dwarf_index_get(p, &ix));
	if (!ix->image)
		return NULL;
	elf = elf_memory(ix->image, ix->image_size);
	if (elf)
		dwarf = dwarf_begin_elf(elf, DWARF_C_READ, NULL);
	if (dwarf)
		answer(ix, dwarf, q, n);
	if (dwarf)
		dwarf_end(dwarf);
	if (elf)
		elf_end(elf);
	return dwarf ? NULL : kb_error_new(KB_E_CORRUPT, "%s: debug information cannot be read", p->name);
}
