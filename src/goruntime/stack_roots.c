/* The pointers of one goroutine's stack, as the collector itself finds them (runtime/mgcmark.go, scanstack; runtime/stkframe.go): pointer
 * maps where a frame stands at a call, variables whose address is taken when something live points at them, defers and panics;
 * every word where no map holds. */
#include "stacks.h"

#include <stdlib.h>

#define MAX_DEFERS 1000000u
#define MAX_OBJECTS 4000000u
#define MAX_REFLECT_WORDS 65536u

/* A pointer into the stack itself. */
struct inner {
	kb_addr p;
	bool conservative;
};
struct object {
	kb_addr a;
	const struct kb_stkobj *o;
	const char *function;
	bool seen;
};
struct scan {
	const kb_go *go;
	const kb_goroutine *g;
	const struct kb_gx *gx;
	struct kb_stack_copy stack;
	kb_root_fn fn;
	void *ctx;
	kb_root root; /* owner set once */
	struct inner *todo;
	size_t ntodo, todo_cap;
	struct object *objs;
	size_t nobjs, objs_cap;
	bool sorted, nomem;
};

/* ---- one slot --------------------------------------------------------------------------------------------------------- */

static void emit(struct scan *s, kb_addr slot, kb_addr value, bool conservative, const char *function)
{
	if (!value)
		return;
	if (value >= s->g->stack_lo && value < s->g->stack_hi) {
		if (!KB_ROOM(s->todo, s->ntodo, s->todo_cap, SIZE_MAX / 64))
			s->nomem = true;
		else
			s->todo[s->ntodo++] = (struct inner){ value, conservative };
		return;
	}
	if (conservative && kb_heap_object(&s->go->heap, value) == KB_NO_ID)
		return;
	s->root.slot = slot;
	s->root.value = value;
	s->root.word_before = slot ? kb_stack_word(&s->stack, slot - 8) : 0;
	s->root.conservative = conservative;
	s->root.function = function;
	s->fn(s->ctx, &s->root);
}

static void scan_range(struct scan *s, kb_addr from, kb_addr to, const char *function)
{
	from = (from + 7) & ~(kb_addr)7;
	if (from < s->stack.base)
		from = s->stack.base;
	if (to > s->stack.hi)
		to = s->stack.hi;
	for (kb_addr a = from; a < to && to - a >= 8; a += 8)
		emit(s, a, kb_load64(s->stack.p + (a - s->stack.base)), true, function);
}

static void scan_bits(struct scan *s, kb_addr base, const uint8_t *bits, uint32_t n, bool conservative, const char *function)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!(i & 7) && !bits[i >> 3]) {
			i += 7;
			continue;
		}
		if (bits[i >> 3] >> (i & 7) & 1) {
			kb_addr slot = base + 8 * (uint64_t)i;
			emit(s, slot, kb_stack_word(&s->stack, slot), conservative, function);
		}
	}
}

/* Outside of the stack copy: heap, or a frame that is gone. */
static bool read_word(const struct scan *s, kb_addr a, uint64_t *ret)
{
	if (a >= s->stack.base && s->stack.hi - a >= 8 && a < s->stack.hi) {
		*ret = kb_stack_word(&s->stack, a);
		return true;
	}
	kb_error *e = kb_target_read_u64(s->go->target, a, ret);
	kb_error_free(e);
	return !e;
}

/* ---- frames ------------------------------------------------------------------------------------------------------------- */

static void add_objects(struct scan *s, const struct kb_site *site, const struct kb_wframe *f)
{
	for (uint32_t i = 0; i < site->nobjs; i++) {
		const struct kb_stkobj *o = &site->objs[i];
		kb_addr a = (o->off >= 0 ? f->argp : f->varp) + (int64_t)o->off;
		if (a < f->sp || a >= s->stack.hi) /* not there yet */
			continue;
		if (!KB_ROOM(s->objs, s->nobjs, s->objs_cap, MAX_OBJECTS)) {
			s->nomem = true;
			return;
		}
		if (s->nobjs && s->objs[s->nobjs - 1].a > a)
			s->sorted = false;
		s->objs[s->nobjs++] = (struct object){ a, o, site->func.name, false };
	}
}

/* reflect's stubs keep their reflect.methodValue at 0(SP): {fn, stack *bitvector, argLen}; whether the results are filled in is at 32(SP)
 * (runtime/stkframe.go, argMapInternal). Their register save area is somewhere in the frame. */
static void scan_reflect(struct scan *s, const struct kb_wframe *f)
{
	const char *name = f->site->func.name;
	if (f->sp >= f->fp - 8) /* not started */
		return;
	scan_range(s, f->sp, f->varp, name);
	kb_addr mv = kb_stack_word(&s->stack, f->sp), bv, bytes;
	uint64_t n, fn, arg_len;
	if (!read_word(s, mv, &fn) || fn != f->site->func.entry || !read_word(s, mv + 8, &bv) ||
	    !read_word(s, mv + 16, &arg_len) || !read_word(s, bv, &n) || !read_word(s, bv + 8, &bytes))
		return;
	n = (uint32_t)n;
	if (!(kb_stack_word(&s->stack, f->sp + 32) & 255) && n > arg_len / 8)
		n = arg_len / 8;
	if (n > MAX_REFLECT_WORDS)
		n = MAX_REFLECT_WORDS;
	uint8_t bits[MAX_REFLECT_WORDS / 8];
	kb_error *e = n ? kb_target_read(s->go->target, bytes, bits, (size_t)(n + 7) / 8) : NULL;
	if (!e)
		scan_bits(s, f->argp, bits, (uint32_t)n, false, name);
	kb_error_free(e);
}

static void scan_words(struct scan *s, const struct kb_wframe *f)
{
	const kb_func *fn = &f->site->func;
	scan_range(s, f->sp, f->varp, fn->name);
	if (fn->args > 0)
		scan_range(s, f->argp, f->argp + (uint32_t)fn->args, fn->name);
}

static void scan_frame(struct scan *s, const struct kb_wframe *f)
{
	const struct kb_site *site = f->site;
	if (!f->continpc)
		return;
	if (f->continpc != f->pc && !(site = kb_site_find(s->go, f->continpc))) {
		scan_words(s, f);
		return;
	}
	const char *name = site->func.name;
	if (site->flags & KB_SITE_REFLECT) {
		scan_reflect(s, f);
		return;
	}
	if (f->varp > f->sp) {
		if (site->flags & KB_SITE_BAD_LOCALS)
			scan_range(s, f->sp, f->varp, name);
		else
			scan_bits(s, f->varp - 8 * (uint64_t)site->nlocals, site->locals, site->nlocals, false, name);
	}
	if (site->flags & KB_SITE_BAD_ARGS)
		scan_range(s, f->argp, f->argp + (uint32_t)site->func.args, name);
	else
		scan_bits(s, f->argp, site->args, site->nargs, false, name);
	add_objects(s, site, f);
}

static void scan_frames(struct scan *s, uint32_t goroutine)
{
	struct kb_walk w;
	struct kb_wframe f;
	kb_walk_start(&w, s->go, goroutine, &s->stack);
	/* where it was interrupted there is no map; its callers stand at calls */
	bool conservative = w.stopped;
	while (kb_walk_next(&w, &f)) {
		/* holds registers of its caller, which is not at a safe point */
		bool saves = f.site->flags & (KB_SITE_ASYNC | KB_SITE_KEEPS_REGS);
		if (conservative || saves)
			scan_words(s, &f);
		else
			scan_frame(s, &f);
		conservative = saves;
	}
}

/* ---- what hangs on the g --------------------------------------------------------------------------------------------------- */

/* Defer records lie on the stack or in the heap, in one list that weaves between both. A list that is a circle meets
 * a record that was kept at a power of two again. */
static void scan_defers(struct scan *s)
{
	const kb_layout *l = &s->go->layout;
	if (!kb_has(l, KB_F_defer_fn) || !kb_has(l, KB_F_defer_link) || !kb_has(l, KB_F_defer_heap))
		return;
	kb_addr d = s->gx->defer, kept = 0, slot = s->g->g + kb_off(l, KB_F_g_defer);
	for (uint32_t i = 1; d && d != kept && i < MAX_DEFERS; i++) {
		kb_addr fn_slot = d + kb_off(l, KB_F_defer_fn), link_slot = d + kb_off(l, KB_F_defer_link);
		kb_addr heap_slot = d + kb_off(l, KB_F_defer_heap);
		uint64_t fn, link, heap;
		if (!read_word(s, fn_slot, &fn) || !read_word(s, link_slot, &link) || !read_word(s, heap_slot & ~(kb_addr)7, &heap))
			return;
		emit(s, fn_slot, fn, false, "defer");
		emit(s, link_slot, link, false, "defer");
		if (heap >> (heap_slot & 7) * 8 & 255)
			emit(s, slot, d, false, "defer");
		if (!(i & (i - 1)))
			kept = d;
		slot = link_slot;
		d = link;
	}
}

static void scan_registers(struct scan *s)
{
	if (!(s->gx->flags & KB_GX_RUNNING) || s->gx->m == KB_NO_ID)
		return;
	const struct kb_mrec *m = &s->go->stacks->ms[s->gx->m];
	if (!m->have_regs)
		return;
	const kb_regs *r = &m->regs;
	const uint64_t v[] = { r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rbp, r->r8,
			       r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 };
	for (size_t i = 0; i < KB_ARRAY_LEN(v); i++)
		emit(s, 0, v[i], true, "registers");
}

/* What lies outside of all maps: the runtime works for this goroutine on the thread's own stack, or the vector registers were saved. */
static void scan_outside(struct scan *s, kb_addr a, uint64_t n, const char *what)
{
	uint8_t buf[4096];
	for (uint64_t done = 0; done < n;) {
		size_t part = n - done < sizeof buf ? (size_t)(n - done) : sizeof buf;
		kb_target_read_holes(s->go->target, a + done, buf, part);
		for (size_t i = 0; i + 8 <= part; i += 8)
			emit(s, a + done + i, kb_load64(buf + i), true, what);
		done += part;
	}
}

static void scan_g(struct scan *s)
{
	const kb_layout *l = &s->go->layout;
	emit(s, s->g->g + kb_off(l, KB_F_g_sched) + kb_off(l, KB_F_gobuf_ctxt), s->gx->ctxt, false, "context register");
	scan_defers(s);
	if (s->gx->panic >= s->g->stack_lo && s->gx->panic < s->g->stack_hi)
		emit(s, s->g->g + kb_off(l, KB_F_g_panic), s->gx->panic, false, "panic");
	scan_registers(s);
	if ((s->gx->flags & KB_GX_RUNNING) && s->gx->m != KB_NO_ID) {
		const struct kb_mrec *m = &s->go->stacks->ms[s->gx->m];
		scan_outside(s, m->system_stack.a, m->system_stack.n, "system stack");
	}
	uint32_t xregs = kb_fsize(l, KB_F_xRegState_regs);
	if (s->gx->xregs && xregs <= 4096)
		scan_outside(s, s->gx->xregs, xregs, "vector registers");
}

/* ---- stack objects ------------------------------------------------------------------------------------------------------------ */

static int by_address(const void *a, const void *b)
{
	kb_addr x = ((const struct object *)a)->a, y = ((const struct object *)b)->a;
	return x < y ? -1 : x > y;
}

static struct object *object_at(struct scan *s, kb_addr p)
{
	size_t lo = 0, hi = s->nobjs;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->objs[mid].a <= p)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	struct object *o = &s->objs[lo - 1];
	return p - o->a < (uint32_t)o->o->size ? o : NULL;
}

/* Variables that something live points at are alive, and so is what they point at. Each is scanned once. */
static void scan_objects(struct scan *s)
{
	if (!s->sorted)
		qsort(s->objs, s->nobjs, sizeof *s->objs, by_address);
	while (s->ntodo) {
		struct inner in = s->todo[--s->ntodo];
		struct object *o = object_at(s, in.p);
		if (!o || o->seen)
			continue;
		o->seen = true;
		if (o->o->bits)
			scan_bits(s, o->a, o->o->bits, o->o->nbits, in.conservative, o->function);
		else if (o->o->nbits)
			scan_range(s, o->a, o->a + 8 * (uint64_t)o->o->nbits, o->function);
	}
}

kb_error *kb_go_stack_roots(const kb_go *go, uint32_t goroutine, kb_root_fn fn, void *ctx)
{
	if (goroutine >= go->ngoroutines)
		return kb_error_new(KB_E_NOT_FOUND, "no goroutine number %u", goroutine);
	struct scan s = { .go = go, .g = &go->goroutines[goroutine], .gx = &go->stacks->gx[goroutine], .fn = fn, .ctx = ctx };
	s.root.kind = KB_ROOT_STACK;
	s.root.owner = goroutine;
	s.sorted = true;
	KB_TRY(kb_stack_open(go, s.g, &s.stack));
	scan_g(&s);
	if (s.g->unwind_failed || (s.gx->flags & KB_GX_SUSPECT)) {
		scan_range(&s, s.stack.base, s.stack.hi, "");
	} else if (s.stack.p) {
		scan_frames(&s, goroutine);
		scan_objects(&s);
	}
	kb_stack_close(&s.stack);
	free(s.todo);
	free(s.objs);
	return s.nomem ? kb_error_nomem() : NULL;
}
