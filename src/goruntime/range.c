#include "private.h"

static void widen(kb_addr *lo, kb_addr *hi, kb_addr a, kb_addr b)
{
	if (a >= b)
		return;
	if (a < *lo)
		*lo = a;
	if (b > *hi)
		*hi = b;
}

kb_image_range kb_go_image_range(const kb_go *go)
{
	kb_image_range r = { KB_ADDR_MAX, 0, KB_ADDR_MAX, 0 };
	for (size_t i = 0; i < go->nmodules; i++) {
		const kb_module *m = &go->modules[i];
		widen(&r.text_lo, &r.text_hi, m->text, m->etext);
		widen(&r.lo, &r.hi, m->text, m->etext);
		widen(&r.lo, &r.hi, m->types, m->etypes);
		widen(&r.lo, &r.hi, m->noptrdata, m->enoptrdata);
		widen(&r.lo, &r.hi, m->data, m->edata);
		widen(&r.lo, &r.hi, m->bss, m->ebss);
		widen(&r.lo, &r.hi, m->noptrbss, m->enoptrbss);
	}
	return r;
}
