#include "private.h"

kb_error *kb_program_dwarf_vars(kb_program *p, const kb_dwarf_var **ret, size_t *ret_n)
{
	struct dwarf_index *ix;

	*ret = NULL;
	*ret_n = 0;
	KB_TRY(dwarf_index_get(p, &ix));
	*ret = ix->vars;
	*ret_n = ix->nvars;
	return NULL;
}
