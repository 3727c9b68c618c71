/* Inside goruntime only: what the machine code says of package-level variables. */
#ifndef KB_GORUNTIME_VARS_H
#define KB_GORUNTIME_VARS_H

#include "private.h"

enum { KB_REF_USERS = 3 };

/* An address in data or bss that code mentions. */
typedef struct kb_code_ref {
	kb_addr addr;
	uint32_t users[KB_REF_USERS]; /* functions (index in the module's table) that tell most, KB_NO_ID none */
	bool runtime_only;            /* only package runtime and its internals mention it */
	kb_addr map_type;             /* it holds a map of this type: seen as an argument of the runtime's map functions; 0 */
} kb_code_ref;
/* One pass over the text of a module. Sorted by address, each address once. *ret malloc'ed. */
kb_error *kb_code_refs(const kb_go *go, const kb_module *m, kb_code_ref **ret, size_t *ret_n) KB_MUST_CHECK;

/* Of package runtime, or of what it is made of; name as in the function table or the symbol table. */
bool kb_is_runtime_name(const char *name);

/* Gives nameless statics the name, and where it can be known the type, of the variable that points to them: their pieces are cut where pointers
 * lead to. *vars is malloc'ed, sorted by address, and replaced. */
kb_error *kb_vars_name_statics(const kb_go *go, kb_var **vars, size_t *n) KB_MUST_CHECK;

#endif
