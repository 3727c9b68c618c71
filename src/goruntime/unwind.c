/* Walking a goroutine's stack by the function tables alone (runtime/traceback.go, 1.19 … 1.27). */
#include "stacks.h"

#include <stdlib.h>

kb_error *kb_stack_open(const kb_go *go, const kb_goroutine *g, struct kb_stack_copy *ret)
{
	*ret = (struct kb_stack_copy){ 0 };
	if (!g->stack_hi)
		return NULL;
	kb_addr base = g->sp & ~(kb_addr)7, hi = g->stack_hi & ~(kb_addr)7;
	if (base < g->stack_lo || base >= hi || hi - base > KB_MAX_STACK)
		return kb_error_new(KB_E_CORRUPT, "goroutine %llu has an impossible stack", (unsigned long long)g->goid);
	size_t n = (size_t)(hi - base);
	ret->base = base;
	ret->hi = hi;
	kb_bytes view = kb_target_view(go->target, base, n);
	if (view.p) {
		ret->p = view.p;
		ret->whole = true;
		return NULL;
	}
	ret->p = ret->owned = malloc(n);
	if (!ret->owned)
		return kb_error_nomem();
	ret->whole = kb_target_read_holes(go->target, base, ret->owned, n) == n;
	return NULL;
}

void kb_stack_close(struct kb_stack_copy *s)
{
	free(s->owned);
	*s = (struct kb_stack_copy){ 0 };
}

void kb_walk_start(struct kb_walk *w, const kb_go *go, uint32_t goroutine, const struct kb_stack_copy *s)
{
	const kb_goroutine *g = &go->goroutines[goroutine];
	uint32_t flags = go->stacks->gx[goroutine].flags;
	*w = (struct kb_walk){ .go = go, .stack = s, .pc = g->pc, .sp = g->sp, .innermost = true };
	w->stopped = flags & KB_GX_REGS;
	if (!s->p || (flags & KB_GX_NO_WALK) || !s->whole)
		w->state = KB_WALK_FAILED;
	if (w->state == KB_WALK_MORE && !w->pc) { /* called a nil function: the caller is what can be told */
		w->pc = kb_stack_word(s, w->sp);
		w->sp += 8;
		w->stopped = false;
	}
}

/* The caller of f, or the end. */
static void step(struct kb_walk *w, const struct kb_wframe *f)
{
	const struct kb_site *s = f->site;
	if (s->flags & KB_SITE_TOP) {
		w->state = KB_WALK_DONE;
		return;
	}
	/* SP cannot be told beyond such a function, except when it was saved before: in a system call */
	bool spwrite = (s->flags & KB_SITE_SPWRITE) && !f->innermost;
	w->pc = kb_stack_word(w->stack, f->fp - 8);
	w->sp = f->fp;
	if (spwrite || !w->pc || w->sp > w->stack->hi)
		w->state = KB_WALK_FAILED;
	w->callee_sigpanic = s->flags & KB_SITE_SIGPANIC;
	w->stopped = s->flags & (KB_SITE_SIGPANIC | KB_SITE_ASYNC);
	w->innermost = false;
}

/* Where the frame goes on. After a fault that is the deferreturn call, if a deferred function recovers; else nowhere. */
static kb_addr continue_pc(const struct kb_walk *w, const kb_func *f)
{
	if (!w->callee_sigpanic)
		return w->pc;
	return f->deferreturn ? f->entry + f->deferreturn + 1 : 0;
}

bool kb_walk_next(struct kb_walk *w, struct kb_wframe *ret)
{
	if (w->state != KB_WALK_MORE)
		return false;
	const struct kb_site *s = kb_site_find(w->go, w->pc);
	if (!s || (s->flags & KB_SITE_NO_SP) || w->n++ >= KB_MAX_FRAMES) {
		w->state = KB_WALK_FAILED;
		return false;
	}
	kb_addr fp = w->sp + (uint32_t)s->spdelta + 8;
	if (w->sp < w->stack->base || fp > w->stack->hi || (fp & 7)) {
		w->state = KB_WALK_FAILED;
		return false;
	}
	*ret = (struct kb_wframe){ .site = s, .pc = w->pc, .sp = w->sp, .fp = fp, .varp = fp - 8, .argp = fp };
	if (ret->varp > ret->sp) /* a function with a frame has saved rbp there */
		ret->varp -= 8;
	ret->continpc = continue_pc(w, &s->func);
	ret->innermost = w->innermost;
	ret->stopped = w->stopped;
	step(w, ret);
	return true;
}

size_t kb_go_frames(const kb_go *go, uint32_t goroutine, kb_frame *out, size_t max, bool *ret_complete)
{
	*ret_complete = false;
	if (goroutine >= go->ngoroutines)
		return 0;
	struct kb_stack_copy stack;
	kb_error *e = kb_stack_open(go, &go->goroutines[goroutine], &stack);
	if (e) {
		kb_error_free(e);
		return 0;
	}
	struct kb_walk w;
	struct kb_wframe f;
	size_t n = 0;
	kb_walk_start(&w, go, goroutine, &stack);
	while (n < max && kb_walk_next(&w, &f)) {
		kb_addr line_pc = f.stopped || f.pc == f.site->func.entry ? f.pc : f.pc - 1;
		out[n++] = (kb_frame){ f.pc, f.sp, f.fp, line_pc, f.site->func, f.innermost };
	}
	*ret_complete = w.state == KB_WALK_DONE;
	kb_stack_close(&stack);
	return n;
}
