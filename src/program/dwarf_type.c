#include "dwarf_type.h"

#include <dwarf.h>

#define DW_AT_GO_RUNTIME_TYPE 0x2904
#define PEEL_MAX 64
#define NEST_MAX 16

bool type_of(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute attr;

	return dwarf_attr_integrate(die, DW_AT_type, &attr) && dwarf_formref_die(&attr, ret);
}

static bool is_transparent(int tag)
{
	return tag == DW_TAG_typedef || tag == DW_TAG_const_type || tag == DW_TAG_volatile_type ||
	       tag == DW_TAG_restrict_type || tag == DW_TAG_atomic_type;
}

bool type_peel(Dwarf_Die *die, Dwarf_Die *ret)
{
	*ret = *die;
	for (int i = 0; i < PEEL_MAX; i++) {
		Dwarf_Die next;

		if (!is_transparent(dwarf_tag(ret)))
			return true;
		if (!type_of(ret, &next))
			return false;
		*ret = next;
	}
	return false;
}

/* How many elements an array without a size of its own has: one factor for each dimension. */
static uint64_t array_count(Dwarf_Die *array)
{
	uint64_t count = 1;
	Dwarf_Die die;
	int dims = 0;

	if (dwarf_child(array, &die))
		return 0;
	do {
		Dwarf_Attribute attr;
		Dwarf_Word n;

		if (dwarf_tag(&die) != DW_TAG_subrange_type)
			continue;
		if (dwarf_attr(&die, DW_AT_count, &attr) && !dwarf_formudata(&attr, &n))
			dims++;
		else if (dwarf_attr(&die, DW_AT_upper_bound, &attr) && !dwarf_formudata(&attr, &n))
			dims++, n++;
		else
			return 0;
		if (__builtin_mul_overflow(count, n, &count))
			return 0;
	} while (dims < NEST_MAX && !dwarf_siblingof(&die, &die));
	return dims ? count : 0;
}

static uint64_t size_nested(Dwarf_Die *type, int depth)
{
	Dwarf_Die base, elem;
	uint64_t total;
	int n;

	if (depth > NEST_MAX || !type_peel(type, &base))
		return 0;
	n = dwarf_bytesize(&base);
	if (n >= 0) {
		/* dwarf_bytesize cuts to an int; arrays may be larger. */
		Dwarf_Attribute attr;
		Dwarf_Word size;

		return dwarf_attr(&base, DW_AT_byte_size, &attr) && !dwarf_formudata(&attr, &size) ? size : (uint64_t)n;
	}
	if (dwarf_tag(&base) == DW_TAG_pointer_type || dwarf_tag(&base) == DW_TAG_subroutine_type)
		return 8;
	if (dwarf_tag(&base) != DW_TAG_array_type || !type_of(&base, &elem))
		return 0;
	return __builtin_mul_overflow(array_count(&base), size_nested(&elem, depth + 1), &total) ? 0 : total;
}

uint64_t type_size(Dwarf_Die *type)
{
	return size_nested(type, 0);
}

static uint64_t own_go_runtime(Dwarf_Die *type)
{
	Dwarf_Attribute attr;
	Dwarf_Word value;
	Dwarf_Addr addr;

	if (!dwarf_attr(type, DW_AT_GO_RUNTIME_TYPE, &attr))
		return 0;
	if (!dwarf_formaddr(&attr, &addr))
		return addr;
	return dwarf_formudata(&attr, &value) ? 0 : value;
}

/* The attribute stands on the typedef of a named type, else on what it names. */
uint64_t type_go_runtime(Dwarf_Die *type)
{
	Dwarf_Die die = *type;

	for (int i = 0; i < PEEL_MAX; i++) {
		uint64_t value = own_go_runtime(&die);
		Dwarf_Die next;

		if (value || dwarf_tag(&die) != DW_TAG_typedef || !type_of(&die, &next))
			return value;
		die = next;
	}
	return 0;
}

static const char *name_nested(Dwarf_Die *type, kb_arena *arena, int depth)
{
	const char *name = dwarf_diename(type), *of;
	int tag = dwarf_tag(type);
	Dwarf_Die inner;
	bool has_inner = type_of(type, &inner);

	if (name)
		return kb_arena_strndup(arena, name, strlen(name));
	if (!has_inner || depth > NEST_MAX)
		return tag == DW_TAG_pointer_type ? "void *" : "";
	of = name_nested(&inner, arena, depth + 1);
	if (!of)
		return NULL;
	if (tag == DW_TAG_pointer_type)
		return kb_arena_printf(arena, "%s%s*", of, *of && of[strlen(of) - 1] == '*' ? "" : " ");
	if (tag == DW_TAG_array_type)
		return kb_arena_printf(arena, "%s[%llu]", of, (unsigned long long)array_count(type));
	return of;
}

const char *type_name(Dwarf_Die *type, kb_arena *arena)
{
	return name_nested(type, arena, 0);
}
