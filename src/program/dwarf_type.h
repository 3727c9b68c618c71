/* Small questions to one DIE, each bounded: DWARF of a hostile file may contain cycles. */
#ifndef KB_PROGRAM_DWARF_TYPE_H
#define KB_PROGRAM_DWARF_TYPE_H

#include <elfutils/libdw.h>

#include "base/base.h"

/* Follows DW_AT_type once. */
bool type_of(Dwarf_Die *die, Dwarf_Die *ret);
/* Strips typedef and qualifiers. False when there are too many (a cycle) or nothing is behind them. */
bool type_peel(Dwarf_Die *die, Dwarf_Die *ret);
/* Bytes; 0 when unknown. */
uint64_t type_size(Dwarf_Die *type);
/* Go's attribute 0x2904 of a type: offset of the run-time descriptor from moduledata.types; 0 when none. */
uint64_t type_go_runtime(Dwarf_Die *type);
/* The name DWARF gives, or one in Go's or C's manner made from what it points to. Static text or in the arena; NULL when out of
 * memory. */
const char *type_name(Dwarf_Die *type, kb_arena *arena);

#endif
