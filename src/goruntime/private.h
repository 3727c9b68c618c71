/* Inside goruntime only: what its files share. */
#ifndef KB_GORUNTIME_PRIVATE_H
#define KB_GORUNTIME_PRIVATE_H

#include "goruntime/goruntime.h"
#include "layout.h"

#include <pthread.h>

/* A Go module (main program, plugin, c-shared library): addresses as moduledata has them, all run-time. */
typedef struct kb_module {
	kb_addr addr, text, etext, noptrdata, enoptrdata, data, edata, bss, ebss, noptrbss, enoptrbss, types, etypes, rodata, gofunc;
	kb_addr minpc, maxpc, next;
	kb_addr typelinks; uint64_t ntypelinks; /* 0 from 1.27 */
	kb_addr itablinks; uint64_t nitablinks;
	kb_addr typedesc_len, itab_offset, itab_size; /* 1.27, else 0 */
	kb_addr gcdata_mask, gcbss_mask; int32_t gcdata_bits, gcbss_bits;
	kb_pclntab tab;
	kb_addr pcheader;
	const uint8_t *pcln_bytes; size_t pcln_size; /* from the pcHeader on; backs tab's views; one of kept[] */
	const uint8_t *rodata_bytes; size_t rodata_size; kb_addr rodata_start; /* [types, etypes); one of kept[]; may be NULL */
	uint64_t (*textsect)[3]; /* owned; backs tab.textsect */
	uint8_t *data_bytes; size_t data_size; /* [data, edata) at the snapshot */
	uint8_t *bss_bytes; size_t bss_size;   /* [bss, ebss) at the snapshot */
	uint8_t *data_mask, *bss_mask;         /* pointer masks, (bits+7)/8 bytes */
	/* Read-only parts kept for kb_read_ro and kb_view_ro: types, function table, stack maps, GC masks. */
	struct kb_kept {
		kb_addr start;
		size_t n;
		const uint8_t *bytes;
		bool owned; /* else the program owns them */
	} kept[6];
	size_t nkept;
} kb_module;

/* Addresses of the runtime's own variables; 0 when not found (then a gap is noted if it matters). */
typedef struct kb_runtime_vars {
	kb_addr mheap, allgs, allglen, allgptr, allp, allm, sched, semtable, fing, fing_status, allfin, gc_cleanups, mbuckets, mem_profile_rate,
		itab_table, pollcache, gcphase, gc_controller, memstats, work, m0, epfd;
} kb_runtime_vars;

struct kb_go {
	kb_target *target;
	kb_program *program;      /* the file that holds the Go runtime; NULL when only memory could be had */
	int program_fd;           /* owned when it is not the target's exe fd, else -1 */
	uint64_t bias;            /* run-time minus link-time address for program */
	kb_layout layout;
	int minor, patch;
	kb_module *modules;       /* the runtime's own first */
	size_t nmodules;
	kb_runtime_vars vars;
	kb_go_info info;
	kb_arena arena;           /* strings and tables that live as long as go; only before/inside snapshot, or under lock */
	pthread_mutex_t lock;     /* gaps, types */
	const char *gaps[64];
	bool snapshot_taken;

	/* open.c */
	kb_buildinfo own_build;   /* when there is no program */
	kb_layout_origin layout_origin;
	char *text;               /* of info: strings that are made up */

	/* snapshot.c: the Ps, as they were in the stop */
	kb_addr *ps;
	size_t nps;
	bool stopped;             /* whole_stop, and not done yet */

	/* spans.c */
	kb_heap heap;
	struct kb_span_store *span_store; /* what heap points into */
	uint64_t manual_bytes;    /* spans in state manual: stacks, mostly */
	uint32_t sweepgen;
	kb_addr l2_arenas;        /* mheap_.arenas[0] */

	/* goroutines.c */
	kb_goroutine *goroutines;
	size_t ngoroutines;
	struct kb_stacks *stacks; /* stacks.h: threads, pcs, what the walks keep */

	/* specials.c, hprof.c */
	kb_special *specials;
	uint64_t (*special_words)[3]; /* of each special: what of it is a root besides the object (fn; handle; cleanup's words) */
	size_t nspecials;
	struct kb_queued { kb_addr slot, value; } *queued; /* words of finalizers and cleanups waiting to run */
	size_t nqueued;
	kb_bucket *buckets;
	size_t nbuckets;
	kb_map bucket_index;

	/* types.c, vars.c */
	struct kb_type_cache *types;
	kb_var *gvars;
	size_t ngvars;
};

/* The steps of opening and of the snapshot, each in its own file. Every one may note gaps for what is not vital. */
kb_error *kb_modules_find(kb_go *go) KB_MUST_CHECK;        /* modules.c: pclntab, moduledata, version, layout, program */
kb_error *kb_runtime_vars_find(kb_go *go) KB_MUST_CHECK;   /* runtime_vars.c: symbols, else code references; verified */
kb_error *kb_goroutines_preread(kb_go *go) KB_MUST_CHECK;  /* goroutines.c, target running: g structs and stacks */
kb_error *kb_goroutines_in_stop(kb_go *go) KB_MUST_CHECK;  /* goroutines.c, target stopped: g, m, moved stacks */
kb_error *kb_goroutines_load(kb_go *go) KB_MUST_CHECK;     /* goroutines.c, after resume: builds go->goroutines */
kb_error *kb_spans_load(kb_go *go) KB_MUST_CHECK;          /* spans.c, after resume */
void kb_spans_free(kb_go *go);
/* Is this the address of runtime.mheap_? Spans must be found again through the arenas. Returns how many were, 0 for no. spans.c */
unsigned kb_mheap_check(const kb_go *go, kb_addr mheap);
kb_error *kb_specials_load(kb_go *go) KB_MUST_CHECK;       /* specials.c */
void kb_stats_load(kb_go *go);                             /* stats.c: the numbers of kb_go_info; gaps for what is not there */
void kb_modules_free(kb_go *go);
kb_error *kb_buckets_load(kb_go *go) KB_MUST_CHECK;        /* hprof.c */
kb_error *kb_gvars_load(kb_go *go) KB_MUST_CHECK;          /* vars.c: may run before the stop except for values */
kb_error *kb_types_init(kb_go *go) KB_MUST_CHECK;          /* types.c */
void kb_types_free(kb_go *go);
void kb_goroutines_free(kb_go *go);

/* A field of a struct in the target: address of the struct + layout. KB_E_UNSUPPORTED when this version has no such field. */
kb_error *kb_field(const kb_go *go, kb_addr strukt, enum kb_field_id f, uint64_t *ret) KB_MUST_CHECK;
/* The same from a local copy of the struct's bytes; 0 when absent or out of bounds. Fields wider than 8 bytes give their first word. */
uint64_t kb_field_of(const kb_go *go, kb_bytes strukt, enum kb_field_id f);
kb_error *kb_read_slice(const kb_go *go, kb_addr slice, kb_addr *ret_ptr, uint64_t *ret_len, uint64_t *ret_cap) KB_MUST_CHECK;
const kb_module *kb_module_of_data(const kb_go *go, kb_addr a); /* module whose data/bss/noptr* holds a */
const kb_module *kb_module_of_type(const kb_go *go, kb_addr a); /* module whose [types, etypes) holds a */
const kb_module *kb_module_of_pc(const kb_go *go, kb_addr pc);
/* Read-only module bytes without a system call where they are kept (rodata_bytes, pcln_bytes), else from the target. */
kb_error *kb_read_ro(const kb_go *go, kb_addr a, void *buf, size_t n) KB_MUST_CHECK;
/* The kept bytes from a on, up to the end of what is kept there; empty when a is not kept. No copy. */
kb_bytes kb_view_ro(const kb_go *go, kb_addr a);
/* Pointer mask of a type (size, ptrbytes, one bit a word): on-demand masks, GC programs, plain. *ret_bits malloc'ed. masks.c */
kb_error *kb_type_mask(const kb_go *go, kb_addr type, uint64_t *ret_size, uint64_t *ret_ptr_bytes, uint8_t **ret_bits) KB_MUST_CHECK;
/* GC program at a: at most max_bits bits. masks.c */
kb_error *kb_gcprog_run(const kb_go *go, kb_addr a, uint64_t max_bits, uint8_t **ret_bits) KB_MUST_CHECK;

#endif
