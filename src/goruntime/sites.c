/* What the function table says of a pc, decoded once: thousands of goroutines stand at the same few places. */
#include "stacks.h"

#include <stdlib.h>

#define BUCKETS (1u << 14)
#define MAX_SITES (1u << 20)
#define MAX_MAP_BITS (1u << 20)  /* a frame of 8 MB: the compiler moves larger variables to the heap */
#define MAX_OBJECTS 65536u       /* variables of one frame */

struct kb_sites {
	_Atomic(struct kb_site *) buckets[BUCKETS];
	_Atomic uint32_t n;
};

struct kb_sites *kb_sites_new(void)
{
	return calloc(1, sizeof(struct kb_sites));
}

static void site_free(struct kb_site *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->nobjs; i++)
		free(s->objs[i].bits);
	free(s->objs);
	free(s->locals);
	free(s->args);
	free(s);
}

void kb_sites_free(struct kb_sites *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct kb_site *s = atomic_load(&t->buckets[i]), *next; s; s = next) {
			next = s->next;
			site_free(s);
		}
	free(t);
}

/* ---- reading the tables ------------------------------------------------------------------------------------------- */

static bool read_ro(const kb_go *go, kb_addr a, void *buf, size_t n)
{
	kb_error *e = kb_read_ro(go, a, buf, n);
	if (!e)
		return true;
	kb_error_free(e);
	return false;
}

/* stackmap {n, nbit int32; bitmaps of (nbit+7)/8 bytes} (runtime/symtab.go, 1.19 … 1.27). False when it cannot be read. */
static bool read_stackmap(const kb_go *go, kb_addr a, int32_t index, uint32_t *ret_nbits, uint8_t **ret_bits)
{
	uint8_t head[8];
	*ret_nbits = 0;
	*ret_bits = NULL;
	if (!a || !read_ro(go, a, head, sizeof head))
		return false;
	int32_t n = (int32_t)kb_load32(head), nbit = (int32_t)kb_load32(head + 4);
	if (n <= 0 || nbit < 0 || (uint32_t)nbit > MAX_MAP_BITS || index < 0 || (nbit && index >= n))
		return false;
	if (!nbit)
		return true;
	size_t bytes = ((size_t)nbit + 7) / 8;
	uint8_t *bits = malloc(bytes);
	if (!bits || !read_ro(go, a + 8 + (uint64_t)index * bytes, bits, bytes)) {
		free(bits);
		return false;
	}
	*ret_nbits = (uint32_t)nbit;
	*ret_bits = bits;
	return true;
}

/* The pointer bits of a stack object; a negative ptrdata (to 1.23) means a GC program behind a 4-byte length
 * (runtime/mgcmark.go, materializeGCProg). */
static bool object_mask(const kb_go *go, kb_addr gcdata, int32_t ptrdata, struct kb_stkobj *o)
{
	bool prog = ptrdata < 0;
	uint64_t words = (uint64_t)(prog ? -(int64_t)ptrdata : ptrdata) / 8;
	if (words > MAX_MAP_BITS)
		return false;
	o->nbits = (uint32_t)words;
	if (!words)
		return true;
	if (prog) {
		kb_error *e = kb_gcprog_run(go, gcdata + 4, words, &o->bits);
		if (e) {
			kb_error_free(e);
			return false;
		}
		return true;
	}
	size_t bytes = (size_t)(words + 7) / 8;
	o->bits = malloc(bytes);
	return o->bits && read_ro(go, gcdata, o->bits, bytes);
}

/* FUNCDATA 2: a count, then records {off, size, ptrdata int32; gcdataoff uint32 from rodata} (runtime/stkframe.go). An object whose
 * mask cannot be had counts all its words as pointers, which can only keep more alive. */
static void read_objects(const kb_go *go, struct kb_site *s)
{
	kb_addr a = kb_func_data(&s->func, KB_FUNCDATA_STKOBJ);
	const kb_module *m = kb_module_of_pc(go, s->func.entry);
	uint64_t n;
	if (!a || !m || !read_ro(go, a, &n, 8) || !n || n > MAX_OBJECTS)
		return;
	s->objs = calloc((size_t)n, sizeof *s->objs);
	if (!s->objs)
		return;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t rec[16];
		struct kb_stkobj *o = &s->objs[s->nobjs];
		if (!read_ro(go, a + 8 + 16 * i, rec, sizeof rec))
			break;
		o->off = (int32_t)kb_load32(rec);
		o->size = (int32_t)kb_load32(rec + 4);
		if (o->size <= 0)
			continue;
		if (!object_mask(go, m->rodata + kb_load32(rec + 12), (int32_t)kb_load32(rec + 8), o)) {
			free(o->bits);
			o->bits = NULL;
			o->nbits = (uint32_t)o->size / 8;
		}
		s->nobjs++;
	}
}

/* ---- special functions -------------------------------------------------------------------------------------------------- */

/* By name: the numbers of the runtime's funcIDs change between minors. */
static uint32_t flags_of(const kb_func *f)
{
	uint32_t flags = 0;
	const char *n = f->name;
	if (f->flag & KB_FUNC_TOPFRAME)
		flags |= KB_SITE_TOP;
	/* cgocallback switches stacks, but is valid for unwinding on both (runtime/traceback.go, resolveInternal) */
	if ((f->flag & KB_FUNC_SPWRITE) && strcmp(n, "runtime.cgocallback") != 0)
		flags |= KB_SITE_SPWRITE;
	if (!strcmp(n, "runtime.sigpanic"))
		flags |= KB_SITE_SIGPANIC;
	if (!strcmp(n, "runtime.asyncPreempt") || !strcmp(n, "runtime.debugCallV1") || !strcmp(n, "runtime.debugCallV2"))
		flags |= KB_SITE_ASYNC;
	/* runtime.gcWriteBarrier to 1.20, from 1.21 gcWriteBarrier behind runtime.gcWriteBarrier1 … 8 (runtime/asm_amd64.s) */
	if (strstr(n, "gcWriteBarrier") == (strncmp(n, "runtime.", 8) ? n : n + 8))
		flags |= KB_SITE_KEEPS_REGS;
	if (f->args == INT32_MIN && (!strcmp(n, "reflect.makeFuncStub") || !strcmp(n, "reflect.methodValueCall")))
		flags |= KB_SITE_REFLECT;
	return flags;
}

/* Which of the stack maps holds: that of the call before pc; at the entry, and where the table says "none", the first
 * (runtime/stkframe.go, getStackMap). */
static int32_t map_index(const kb_func *f, kb_addr pc)
{
	int32_t index;
	if (pc == f->entry || !kb_pc_data(f, KB_PCDATA_STACKMAP, pc - 1, &index) || index == -1)
		return 0;
	return index;
}

static struct kb_site *site_new(const kb_go *go, kb_addr pc)
{
	struct kb_site *s = calloc(1, sizeof *s);
	if (!s || !kb_go_func(go, pc, &s->func)) {
		free(s);
		return NULL;
	}
	const kb_func *f = &s->func;
	s->pc = pc;
	s->flags = flags_of(f);
	if (!f->pcsp || !kb_func_spdelta(f, pc, &s->spdelta) || s->spdelta < 0)
		s->flags |= KB_SITE_NO_SP;
	int32_t index = map_index(f, pc);
	if (!read_stackmap(go, kb_func_data(f, KB_FUNCDATA_LOCALS), index, &s->nlocals, &s->locals))
		s->flags |= KB_SITE_BAD_LOCALS;
	if (f->args > 0 && !read_stackmap(go, kb_func_data(f, KB_FUNCDATA_ARGS), index, &s->nargs, &s->args))
		s->flags |= KB_SITE_BAD_ARGS;
	if (!(s->flags & KB_SITE_REFLECT))
		read_objects(go, s);
	return s;
}

static const struct kb_site *lookup(struct kb_site *s, kb_addr pc)
{
	while (s && s->pc != pc)
		s = s->next;
	return s;
}

const struct kb_site *kb_site_find(const kb_go *go, kb_addr pc)
{
	struct kb_sites *t = go->stacks->sites;
	_Atomic(struct kb_site *) *bucket = &t->buckets[kb_hash64(pc) & (BUCKETS - 1)];
	struct kb_site *head = atomic_load_explicit(bucket, memory_order_acquire);
	const struct kb_site *found = lookup(head, pc);
	if (found)
		return found;
	/* Hostile stacks may hold millions of different pcs. */
	if (atomic_load_explicit(&t->n, memory_order_relaxed) >= MAX_SITES)
		return NULL;
	struct kb_site *fresh = site_new(go, pc);
	if (!fresh)
		return NULL;
	do {
		found = lookup(head, pc);
		if (found) { /* somebody else was quicker */
			site_free(fresh);
			return found;
		}
		fresh->next = head;
	} while (!atomic_compare_exchange_weak_explicit(bucket, &head, fresh, memory_order_release,
							memory_order_acquire));
	atomic_fetch_add_explicit(&t->n, 1, memory_order_relaxed);
	return fresh;
}
