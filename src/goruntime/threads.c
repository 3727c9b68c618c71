/* The runtime's threads (runtime.m) and where their registers stand: on the stack of their goroutine, on the scheduler's own
 * stack (g0), or in a signal handler. */
#include "stacks.h"

#include <stdlib.h>

static kb_addr word_at(const kb_go *go, kb_addr a)
{
	uint64_t v;
	kb_error *e = kb_target_read_u64(go->target, a, &v);
	if (!e)
		return v;
	kb_error_free(e);
	return 0;
}

static void read_bounds(const kb_go *go, kb_addr g, kb_addr *lo, kb_addr *hi)
{
	kb_addr a = g + kb_off(&go->layout, KB_F_g_stack);
	*lo = g ? word_at(go, a + kb_off(&go->layout, KB_F_stack_lo)) : 0;
	*hi = g ? word_at(go, a + kb_off(&go->layout, KB_F_stack_hi)) : 0;
}

/* *ret_next: the next m of the list. */
static bool read_m(kb_go *go, kb_addr m, struct kb_mrec *ret, kb_addr *ret_next)
{
	struct kb_stacks *s = go->stacks;
	kb_bytes b = { s->mbuf, kb_sizeof(&go->layout, KB_S_m) };
	kb_error *e = kb_target_read(go->target, m, s->mbuf, b.n);
	if (e) {
		kb_error_free(e);
		return false;
	}
	*ret = (struct kb_mrec){ .m = m };
	ret->procid = kb_field_of(go, b, KB_F_m_procid);
	ret->curg = kb_field_of(go, b, KB_F_m_curg);
	ret->g0 = kb_field_of(go, b, KB_F_m_g0);
	ret->gsignal = kb_field_of(go, b, KB_F_m_gsignal);
	ret->lockedg = kb_field_of(go, b, KB_F_m_lockedg);
	ret->incgo = kb_field_of(go, b, KB_F_m_incgo) & 1;
	ret->vdso_sp = kb_field_of(go, b, KB_F_m_vdsoSP);
	ret->vdso_pc = kb_field_of(go, b, KB_F_m_vdsoPC);
	*ret_next = kb_field_of(go, b, KB_F_m_alllink);
	read_bounds(go, ret->g0, &ret->g0_lo, &ret->g0_hi);
	read_bounds(go, ret->gsignal, &ret->sig_lo, &ret->sig_hi);
	return true;
}

/* allm → alllink … 0 (runtime/proc.go, mcommoninit). Bounded by what a process can have. */
static kb_error *walk_ms(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	kb_addr m = go->vars.allm ? word_at(go, go->vars.allm) : 0;
	s->nms = 0;
	while (m && s->nms < KB_MAX_MS) {
		if (!KB_ROOM(s->ms, s->nms, s->ms_cap, KB_MAX_MS))
			return kb_error_nomem();
		if (!read_m(go, m, &s->ms[s->nms], &m))
			break;
		s->nms++;
	}
	return NULL;
}

/* The ms, and the g structs they own, in one call: reads after it need no system call. */
static kb_error *capture_ms(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	s->nranges = 0;
	for (size_t i = 0; i < s->nms && s->nranges + 3 <= s->ranges_cap; i++) {
		const struct kb_mrec *m = &s->ms[i];
		s->ranges[s->nranges++] = (kb_range){ m->m, kb_sizeof(&go->layout, KB_S_m) };
		if (m->g0)
			s->ranges[s->nranges++] = (kb_range){ m->g0, s->gsize };
		if (m->gsignal)
			s->ranges[s->nranges++] = (kb_range){ m->gsignal, s->gsize };
	}
	return kb_target_capture_many(go->target, s->ranges, s->nranges);
}

kb_error *kb_ms_preread(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	s->mbuf = calloc(1, kb_sizeof(&go->layout, KB_S_m) + 8);
	if (!s->mbuf)
		return kb_error_nomem();
	if (!go->vars.allm)
		kb_go_gap(go, "the list of threads (runtime.allm) was not found: running goroutines are looked at word by word");
	KB_TRY(walk_ms(go));
	KB_TRY(capture_ms(go)); /* equal captures in the stop cost less than new ones */
	/* some more may start before the stop */
	return kb_grow(&s->ms, &s->ms_cap, s->nms + 64, sizeof *s->ms, KB_MAX_MS + 64) ? NULL : kb_error_nomem();
}

/* ---- registers -------------------------------------------------------------------------------------------------------- */

static bool within(kb_addr a, kb_addr lo, kb_addr hi)
{
	return a >= lo && a < hi;
}

/* The kernel's struct ucontext on the signal stack, known by its uc_stack, which repeats the bounds of that stack: flags, link = 0,
 * stack {sp, flags, size}, then r8 … r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags, cs (arch/x86 sigcontext). */
static bool interrupted_registers(const uint8_t *p, size_t n, const struct kb_mrec *m, kb_regs *ret)
{
	if (n < 192)
		return false;
	for (size_t i = (n - 192) & ~(size_t)7;; i -= 8) {
		const uint8_t *u = p + i, *r = u + 40;
		if (kb_load64(u + 8) == 0 && kb_load64(u + 16) == m->sig_lo && kb_load64(u + 32) == m->sig_hi - m->sig_lo &&
		    kb_load16(r + 144) == 0x33) {
			ret->r8 = kb_load64(r), ret->r9 = kb_load64(r + 8), ret->r10 = kb_load64(r + 16);
			ret->r11 = kb_load64(r + 24), ret->r12 = kb_load64(r + 32), ret->r13 = kb_load64(r + 40);
			ret->r14 = kb_load64(r + 48), ret->r15 = kb_load64(r + 56), ret->rdi = kb_load64(r + 64);
			ret->rsi = kb_load64(r + 72), ret->rbp = kb_load64(r + 80), ret->rbx = kb_load64(r + 88);
			ret->rdx = kb_load64(r + 96), ret->rax = kb_load64(r + 104), ret->rcx = kb_load64(r + 112);
			ret->rsp = kb_load64(r + 120), ret->rip = kb_load64(r + 128);
			return true;
		}
		if (!i)
			return false;
	}
}

/* Rare: a thread stopped inside of its signal handler. */
static void leave_signal(kb_go *go, struct kb_mrec *m)
{
	static const size_t max = KB_MAX_SYSTEM_STACK;
	kb_addr from = m->regs.rsp & ~(kb_addr)7;
	size_t n = m->sig_hi - from < max ? (size_t)(m->sig_hi - from) : max;
	uint8_t *buf = malloc(n);
	if (buf && kb_target_read_holes(go->target, m->sig_hi - n, buf, n) == n)
		interrupted_registers(buf, n, m, &m->regs);
	free(buf);
}

static void place(kb_go *go, struct kb_mrec *m)
{
	kb_addr lo, hi;
	read_bounds(go, m->curg, &lo, &hi);
	if (within(m->regs.rsp, m->sig_lo, m->sig_hi)) {
		leave_signal(go, m);
		m->where = KB_ON_SIGNAL;
	}
	if (within(m->regs.rsp, lo, hi)) {
		m->where = KB_ON_OWN;
	} else if (within(m->regs.rsp, m->g0_lo, m->g0_hi)) {
		m->where = KB_ON_G0;
		uint64_t n = m->g0_hi - (m->regs.rsp & ~(kb_addr)7);
		m->system_stack = (kb_range){ m->regs.rsp & ~(kb_addr)7, n < KB_MAX_SYSTEM_STACK ? n : KB_MAX_SYSTEM_STACK };
	}
}

/* Index of the m with this thread id, or nms. hint: threads and ms tend to come in opposite order. */
static size_t m_of_thread(const struct kb_stacks *s, uint64_t tid, size_t hint)
{
	for (size_t i = 0; i < s->nms; i++) {
		size_t k = (hint + i) % s->nms;
		if (s->ms[k].procid == tid)
			return k;
	}
	return s->nms;
}

static void index_curg(struct kb_stacks *s, kb_addr g, uint32_t m)
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->gs[s->by_addr[mid]] < g)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < s->n && s->gs[s->by_addr[lo]] == g)
		s->m_of[s->by_addr[lo]] = m;
	for (size_t i = 0; i < s->nnew; i++)
		if (s->new_gs[i] == g)
			s->m_of[s->n + i] = m;
}

kb_error *kb_ms_in_stop(kb_go *go)
{
	struct kb_stacks *s = go->stacks;
	size_t nthreads, hint = 0;
	KB_TRY(capture_ms(go));
	KB_TRY(walk_ms(go));
	const kb_thread *threads = kb_target_threads(go->target, &nthreads);
	for (size_t i = 0; i < nthreads && s->nms; i++) {
		size_t k = m_of_thread(s, (uint64_t)threads[i].inner_tid, hint + s->nms - 1);
		if (k == s->nms || !threads[i].have_regs)
			continue;
		hint = k;
		s->ms[k].have_regs = true;
		s->ms[k].regs = threads[i].regs;
		place(go, &s->ms[k]);
	}
	for (size_t i = 0; i < s->nms; i++)
		if (s->ms[i].curg)
			index_curg(s, s->ms[i].curg, (uint32_t)i);
	return NULL;
}

/* ---- where a goroutine stands --------------------------------------------------------------------------------------------- */

struct kb_start kb_start_of(const kb_go *go, kb_bytes g, uint32_t mi)
{
	const kb_layout *l = &go->layout;
	const struct kb_mrec *m = mi == KB_NO_ID ? NULL : &go->stacks->ms[mi];
	kb_addr lo = kb_field_of(go, g, KB_F_g_stack), hi = lo;
	uint64_t sched = kb_off(l, KB_F_g_sched), sp = 0, pc = 0, syscallsp = kb_field_of(go, g, KB_F_g_syscallsp);
	uint64_t status = kb_field_of(go, g, KB_F_g_atomicstatus);
	struct kb_start st = { 0 };
	kb_get_u64(g, kb_off(l, KB_F_g_stack) + kb_off(l, KB_F_stack_hi), &hi);
	kb_get_u64(g, sched + kb_off(l, KB_F_gobuf_sp), &sp);
	kb_get_u64(g, sched + kb_off(l, KB_F_gobuf_pc), &pc);
	bool scan = status & 0x1000;
	status &= 0xfff;
	if (status == KB_G_RUNNING && m && m->have_regs) {
		st.flags |= KB_GX_RUNNING;
		if (within(m->regs.rsp, lo, hi))
			return (struct kb_start){ m->regs.rip, m->regs.rsp, st.flags | KB_GX_REGS };
		/* in the vDSO on g0's stack: the caller of time.now or nanotime was noted (runtime/sys_linux_amd64.s) */
		if (within(m->vdso_sp, lo, hi))
			return (struct kb_start){ m->vdso_pc, m->vdso_sp, st.flags };
	}
	if (status == KB_G_COPYSTACK || (scan && status != KB_G_RUNNING))
		st.flags |= KB_GX_SUSPECT;
	if (within(syscallsp, lo, hi) && (status != KB_G_RUNNING || !within(sp, lo, hi)))
		return (struct kb_start){ kb_field_of(go, g, KB_F_g_syscallpc), syscallsp, st.flags | KB_GX_SYSCALL };
	if (within(sp, lo, hi))
		return (struct kb_start){ pc, sp, st.flags };
	return (struct kb_start){ 0, lo, st.flags | KB_GX_NO_WALK };
}
