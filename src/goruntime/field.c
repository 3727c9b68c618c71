/* Small readers that everything else here is made of: a field, a slice, read-only bytes, the module that owns an
 * address. */
#include "private.h"

kb_error *kb_field(const kb_go *go, kb_addr strukt, enum kb_field_id f, uint64_t *ret)
{
	if (!kb_has(&go->layout, f))
		return kb_error_new(KB_E_UNSUPPORTED, "%s has no %s in this version of Go",
				    kb_struct_name(kb_field_struct(f)), kb_field_name(f));
	uint32_t n = kb_fsize(&go->layout, f);
	uint8_t buf[8];
	if (n != 1 && n != 2 && n != 4)
		n = 8;
	KB_TRY(kb_target_read(go->target, strukt + kb_off(&go->layout, f), buf, n));
	*ret = kb_load(buf, n);
	return NULL;
}

uint64_t kb_field_of(const kb_go *go, kb_bytes strukt, enum kb_field_id f)
{
	if (!kb_has(&go->layout, f))
		return 0;
	uint32_t n = kb_fsize(&go->layout, f), off = kb_off(&go->layout, f);
	if (n != 1 && n != 2 && n != 4)
		n = 8;
	return off <= strukt.n && n <= strukt.n - off ? kb_load(strukt.p + off, n) : 0;
}

kb_error *kb_read_slice(const kb_go *go, kb_addr slice, kb_addr *ret_ptr, uint64_t *ret_len, uint64_t *ret_cap)
{
	uint64_t w[3];
	KB_TRY(kb_target_read(go->target, slice, w, sizeof(w)));
	if (w[1] > w[2] || w[2] > UINT64_C(1) << 47)
		return kb_error_new(KB_E_CORRUPT, "no slice at 0x%llx", (unsigned long long)slice);
	*ret_ptr = w[0];
	*ret_len = w[1];
	*ret_cap = w[2];
	return NULL;
}

static bool within(kb_addr a, kb_addr lo, kb_addr hi)
{
	return a >= lo && a < hi;
}

const kb_module *kb_module_of_data(const kb_go *go, kb_addr a)
{
	for (size_t i = 0; i < go->nmodules; i++) {
		const kb_module *m = &go->modules[i];
		if (within(a, m->data, m->edata) || within(a, m->bss, m->ebss) ||
		    within(a, m->noptrdata, m->enoptrdata) || within(a, m->noptrbss, m->enoptrbss))
			return m;
	}
	return NULL;
}

const kb_module *kb_module_of_type(const kb_go *go, kb_addr a)
{
	for (size_t i = 0; i < go->nmodules; i++)
		if (within(a, go->modules[i].types, go->modules[i].etypes))
			return &go->modules[i];
	return NULL;
}

const kb_module *kb_module_of_pc(const kb_go *go, kb_addr pc)
{
	for (size_t i = 0; i < go->nmodules; i++)
		if (within(pc, go->modules[i].minpc, go->modules[i].maxpc))
			return &go->modules[i];
	return NULL;
}

kb_bytes kb_view_ro(const kb_go *go, kb_addr a)
{
	for (size_t i = 0; i < go->nmodules; i++) {
		const kb_module *m = &go->modules[i];
		for (size_t k = 0; k < m->nkept; k++)
			if (a - m->kept[k].start < m->kept[k].n)
				return (kb_bytes){ m->kept[k].bytes + (a - m->kept[k].start),
						   m->kept[k].n - (a - m->kept[k].start) };
	}
	return (kb_bytes){ NULL, 0 };
}

kb_error *kb_read_ro(const kb_go *go, kb_addr a, void *buf, size_t n)
{
	kb_bytes v = kb_view_ro(go, a);
	if (v.n < n)
		return kb_target_read(go->target, a, buf, n);
	memcpy(buf, v.p, n);
	return NULL;
}

bool kb_go_func(const kb_go *go, kb_addr pc, kb_func *ret)
{
	const kb_module *m = kb_module_of_pc(go, pc);
	return m && kb_func_find(&m->tab, pc, ret);
}

/* An inline tree has 16 or 20 bytes an entry; no function comes near this many. */
enum { INLINE_TREE_MAX = 1 << 20 };

size_t kb_go_lines(const kb_go *go, kb_addr pc, kb_line *out, size_t max)
{
	kb_func f;
	if (!kb_go_func(go, pc, &f))
		return 0;
	kb_addr tree = kb_func_data(&f, KB_FUNCDATA_INLTREE);
	kb_bytes view = tree ? kb_view_ro(go, tree) : (kb_bytes){ NULL, 0 };
	if (!tree || view.n)
		return kb_func_lines(&f, pc, kb_slice(view, 0, view.n < INLINE_TREE_MAX ? view.n : INLINE_TREE_MAX),
				     out, max);
	/* Not kept (a plugin): take as much as is mapped, up to a size that holds every tree seen. */
	uint8_t buf[16384];
	size_t n = kb_target_read_holes(go->target, tree, buf, sizeof(buf));
	return kb_func_lines(&f, pc, (kb_bytes){ buf, n ? sizeof(buf) : 0 }, out, max);
}
