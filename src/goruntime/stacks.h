/* What goroutines.c, sites.c, unwind.c, stack_roots.c and gname.c share: the state of a stop, and walking a stack. */
#ifndef KB_GORUNTIME_STACKS_H
#define KB_GORUNTIME_STACKS_H

#include "private.h"

/* Bounds on what a target may make us do. */
#define KB_MAX_GOROUTINES 50000000u
#define KB_MAX_MS 1000000u
#define KB_MAX_STACK ((uint64_t)1 << 30) /* runtime.maxstacksize is 1 GB on 64 bit (Go 1.19 … 1.27, runtime/proc.go) */
#define KB_MAX_FRAMES 100000u
#define KB_MAX_SYSTEM_STACK 65536u /* bytes of a g0 or signal stack that are looked at */

/* ---- sites: what the function table says of one pc, kept for all goroutines that stand there ----------------------- */

enum {
	KB_SITE_TOP = 1,         /* outermost frame: runtime.goexit, mstart … */
	KB_SITE_SPWRITE = 2,     /* writes SP in ways pcsp does not tell */
	KB_SITE_SIGPANIC = 4,    /* its caller stopped at a fault, not at a call */
	KB_SITE_ASYNC = 8,       /* asyncPreempt, debugCall: holds the registers of its caller, which is not at a call */
	KB_SITE_REFLECT = 16,    /* reflect.makeFuncStub, methodValueCall: arguments are described at run time */
	KB_SITE_NO_SP = 32,      /* no stack pointer delta for this pc */
	KB_SITE_BAD_LOCALS = 64, /* has a frame without a readable pointer map: scan conservatively */
	KB_SITE_BAD_ARGS = 128,
	KB_SITE_KEEPS_REGS = 256, /* a call that keeps all registers: its caller has pointers in them, and no map for that call */
};
/* A variable on the stack whose address is taken. */
struct kb_stkobj {
	int32_t off, size; /* from argp when off >= 0, else from varp */
	uint32_t nbits;    /* words described */
	uint8_t *bits;     /* owned by the table */
};
struct kb_site {
	struct kb_site *next;
	kb_addr pc;
	kb_func func;
	int32_t spdelta;
	uint32_t flags;
	uint32_t nlocals, nargs; /* bits; locals end at varp, args start at argp */
	uint8_t *locals, *args;
	struct kb_stkobj *objs;
	uint32_t nobjs;
};
struct kb_sites;
struct kb_sites *kb_sites_new(void); /* NULL when out of memory */
void kb_sites_free(struct kb_sites *s);
/* NULL when pc is in no known function (or memory or patience ran out). Thread-safe, lock-free. */
const struct kb_site *kb_site_find(const kb_go *go, kb_addr pc);

/* ---- one thread and its m ------------------------------------------------------------------------------------------ */

enum kb_where { KB_ON_UNKNOWN, KB_ON_OWN /* curg's stack */, KB_ON_G0, KB_ON_SIGNAL };
struct kb_mrec {
	kb_addr m, curg, g0, gsignal, lockedg, vdso_sp, vdso_pc;
	kb_addr g0_hi, g0_lo, sig_lo, sig_hi;
	uint64_t procid;
	bool incgo, have_regs;
	enum kb_where where;
	kb_regs regs;          /* of the thread; on the signal stack those of the interrupted code, when they were found */
	kb_range system_stack; /* captured part of the g0 stack in use; n 0 = none */
};

/* ---- what is kept about goroutines ---------------------------------------------------------------------------------- */

enum {
	KB_GX_NO_WALK = 1,  /* where it stands is not known */
	KB_GX_SUSPECT = 2,  /* the runtime was moving or scanning the stack: the maps may not fit */
	KB_GX_SYSCALL = 4,  /* starts at syscallsp */
	KB_GX_REGS = 8,     /* starts at a thread's registers */
	KB_GX_RUNNING = 16, /* its thread's registers may hold its pointers */
};
struct kb_gx {
	uint32_t m; /* index of the m it runs on, KB_NO_ID none */
	uint32_t flags;
	kb_addr defer, panic, ctxt, xregs;
};

/* Where a walk begins. */
struct kb_start {
	kb_addr pc, sp;
	uint32_t flags; /* KB_GX_… */
};
struct kb_stacks {
	struct kb_sites *sites;
	/* from the pre-read */
	size_t n;                /* goroutines known, in the order of allgs */
	kb_addr *gs;             /* [n] */
	uint64_t *off;           /* [n] where the bytes of a g lie in now, and in the ranges one after the other */
	uint32_t *by_addr;       /* [n] indexes sorted by address */
	uint32_t gsize;          /* bytes of a g */
	kb_range *granges;       /* the g structs, neighbours in one */
	size_t ngranges;
	uint64_t nbytes;         /* of all granges */
	uint8_t *before;         /* [n * nmask * 8] from the pre-read: the words that tell whether it ran */
	uint8_t *now;            /* [nbytes] the g structs as they were in the stop; after it */
	uint8_t *scratch;        /* room for the longest range */
	kb_range *sranges;       /* [n] stack ranges of the pre-read, n 0 = none */
	uint64_t *mask;          /* [nmask] words of a g that change when it runs */
	size_t nmask;
	/* goroutines that appeared between pre-read and stop */
	kb_addr *new_gs;         /* [new_cap] */
	uint8_t *new_bytes;
	size_t nnew, new_cap;
	uint64_t missed;         /* did not fit */
	uint32_t *m_of;          /* [n + new_cap] index of the m whose curg it is */
	/* threads */
	struct kb_mrec *ms;
	size_t nms, ms_cap;
	uint8_t *mbuf;
	/* room for lists of ranges, so that nothing grows in the stop */
	kb_range *ranges;
	size_t nranges, ranges_cap;
	struct kb_gx *gx;        /* beside go->goroutines */
};
/* Bytes of goroutine i of [0, n + nnew) as they were in the stop. */
static inline kb_bytes kb_g_bytes(const struct kb_stacks *s, size_t i)
{
	const uint8_t *p = i < s->n ? s->now + s->off[i] : s->new_bytes + (i - s->n) * s->gsize;
	return (kb_bytes){ p, s->gsize };
}
/* gstop.c. After the stop: now. */
kb_error *kb_gs_after_stop(kb_go *go) KB_MUST_CHECK;
struct kb_start kb_start_of(const kb_go *go, kb_bytes g, uint32_t m);
/* threads.c. In the stop: the ms as they are now, matched with the threads' registers. */
kb_error *kb_ms_preread(kb_go *go) KB_MUST_CHECK;
kb_error *kb_ms_in_stop(kb_go *go) KB_MUST_CHECK;

/* ---- walking --------------------------------------------------------------------------------------------------------- */

/* A goroutine's stack from its sp up, read once. */
struct kb_stack_copy {
	const uint8_t *p;
	uint8_t *owned;
	kb_addr base, hi; /* 8-aligned; p[0] is at base */
	bool whole;       /* no holes */
};
kb_error *kb_stack_open(const kb_go *go, const kb_goroutine *g, struct kb_stack_copy *ret) KB_MUST_CHECK;
void kb_stack_close(struct kb_stack_copy *s);
static inline uint64_t kb_stack_word(const struct kb_stack_copy *s, kb_addr a)
{
	return a >= s->base && a + 8 <= s->hi && a + 8 > a ? kb_load64(s->p + (a - s->base)) : 0;
}

struct kb_wframe {
	const struct kb_site *site;
	kb_addr pc, sp, fp, varp, argp, continpc; /* continpc 0: the frame never continues, nothing in it is alive */
	bool innermost;
	bool stopped;   /* pc is where it stopped, not a return address */
};
struct kb_walk {
	const kb_go *go;
	const struct kb_stack_copy *stack;
	kb_addr pc, sp;
	unsigned n;
	bool innermost, stopped, callee_sigpanic;
	enum { KB_WALK_MORE, KB_WALK_DONE, KB_WALK_FAILED } state;
};
void kb_walk_start(struct kb_walk *w, const kb_go *go, uint32_t goroutine, const struct kb_stack_copy *s);
/* The next frame, outwards. False at the end: then state says whether the outermost frame was reached. */
bool kb_walk_next(struct kb_walk *w, struct kb_wframe *ret);

/* gname.c: what a goroutine is called. */
const char *kb_goroutine_labels(kb_go *go, kb_addr labels, kb_map *seen);
bool kb_goroutine_is_system(const kb_go *go, const kb_goroutine *g);

#endif
