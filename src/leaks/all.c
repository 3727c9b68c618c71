#include "leaks.h"

#include <stdlib.h>

static int worse(const void *a, const void *b)
{
	const kb_finding *x = a, *y = b;
	if (x->confidence != y->confidence)
		return x->confidence < y->confidence ? 1 : -1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->fingerprint < y->fingerprint ? -1 : x->fingerprint > y->fingerprint;
}

kb_error *kb_leaks_all(const kb_facts *f, kb_findings *out)
{
	KB_TRY(kb_leaks_global(f, out));
	KB_TRY(kb_leaks_memory(f, out));
	if (out->n)
		qsort(out->items, out->n, sizeof(*out->items), worse);
	return NULL;
}

void kb_findings_free(kb_findings *f)
{
	free(f->items);
	kb_arena_free(&f->arena);
	*f = (kb_findings){ 0 };
}
