/* goruntime: the state of the Go runtime in a target. Version and layout, modules and functions, spans and objects, pointer
 * masks, roots, goroutines and their stacks, types, package-level variables, specials, heap-profile samples.
 * Facts about the runtime carry their source (version, file) where they are used. Go 1.19 … 1.27, amd64.
 *
 * Order: kb_go_open (target runs) → kb_go_snapshot (the short stop; loads what must be of one moment, then spans) → the rest.
 * After kb_go_snapshot everything taking a `const kb_go *` may be called from several threads. */
#ifndef KB_GORUNTIME_H
#define KB_GORUNTIME_H

#include "base/base.h"
#include "program/program.h"
#include "target/target.h"

typedef struct kb_go kb_go;
typedef struct kb_type kb_type;

enum { KB_PAGE_SIZE = 8192, KB_PAGE_SHIFT = 13, KB_ARENA_SHIFT = 26 };
#define KB_NO_ID UINT32_MAX

/* ---- opening -------------------------------------------------------------------------------------------------------- */

/* Finds the Go modules in the target (pclntab → moduledata), the version, the layout (the target's DWARF first, else the table; an
 * unknown newer version is tried with the newest row and verified by invariants), and the runtime's globals (symbols, else code
 * references verified by invariants). Does not stop the target. The target must outlive it.
 * KB_E_NOT_GO, KB_E_UNSUPPORTED (with the version in the message), KB_E_CORRUPT, KB_E_FAULT. */
kb_error *kb_go_open(kb_target *t, kb_go **ret) KB_MUST_CHECK;
void kb_go_close(kb_go *go);

typedef struct kb_snapshot_options {
	unsigned max_stop_ms; /* give up when the threads do not stop in this time; 0 = 1000 */
	bool whole_stop;      /* --exact: keep the target stopped until kb_go_snapshot_done */
} kb_snapshot_options;
/* The stop (design: "The stop"): reads g structs and stacks while running, stops all threads, takes registers, data and bss, re-reads the
 * g structs and the stacks that moved, resumes; then reads spans and alloc bits while it runs. For a core only loads. */
kb_error *kb_go_snapshot(kb_go *go, const kb_snapshot_options *opt, const kb_progress *progress) KB_MUST_CHECK;
/* With whole_stop: resumes the target. Otherwise nothing. */
kb_error *kb_go_snapshot_done(kb_go *go) KB_MUST_CHECK;

typedef struct kb_go_info {
	const kb_buildinfo *build;   /* of the main module */
	const char *version;         /* "go1.24.9 …" as in the binary */
	const char *layout_text;     /* where offsets come from: "DWARF of the executable", "table go1.24.9", "table go1.27.1 (newest known)" */
	bool layout_guessed;         /* the version is newer than the table; it passed the invariants */
	bool stripped;               /* neither symbols nor DWARF */
	bool has_dwarf, has_symbols, is_pie, uses_cgo;
	unsigned gc_phase;           /* 0 off, 1 mark, 2 mark termination, at the stop */
	uint32_t gc_cycles;
	uint64_t mem_profile_rate;   /* 0: the program does not sample allocations */
	int64_t gc_percent, memory_limit; /* GOGC (-1 off), GOMEMLIMIT in bytes (INT64_MAX: none) */
	uint64_t heap_inuse, heap_idle, heap_released; /* runtime's own counters, bytes */
	uint64_t heap_live, heap_marked;               /* gcController.heapLive, heapMarked (live after the last mark) */
	uint64_t stack_inuse;        /* bytes of stack spans */
	uint64_t runtime_other;      /* mspan, mcache, buckhash, gc, other sys as the runtime counts, bytes */
	uint64_t last_gc_unix_ns;    /* 0 unknown */
	const char **gaps;           /* what could not be read, and why: one line each */
	size_t ngaps;
} kb_go_info;
const kb_go_info *kb_go_info_get(const kb_go *go);
kb_target *kb_go_target(const kb_go *go);
/* The runtime's counters, read after kb_go_open without any stop: for the list of processes. */
typedef struct kb_go_counters {
	uint64_t heap_live;  /* bytes, gcController.heapLive */
	uint64_t goroutines; /* allglen less the dead ones that sched counts as free */
} kb_go_counters;
kb_error *kb_go_counters_read(const kb_go *go, kb_go_counters *ret) KB_MUST_CHECK;
/* Notes a gap (printf). Thread-safe. Copies the text; identical lines are kept once, at most 64. */
void kb_go_gap(const kb_go *go, const char *fmt, ...) KB_PRINTF(2, 3);

/* ---- functions ------------------------------------------------------------------------------------------------------------ */

bool kb_go_func(const kb_go *go, kb_addr pc, kb_func *ret);
/* Source positions at pc with inlining, innermost first. For return addresses pass pc-1. 0 when unknown. */
size_t kb_go_lines(const kb_go *go, kb_addr pc, kb_line *out, size_t max);

/* The smallest ranges that hold the text, and everything file-backed or static, of all Go modules. */
typedef struct kb_image_range {
	kb_addr text_lo, text_hi, lo, hi;
} kb_image_range;
kb_image_range kb_go_image_range(const kb_go *go);

/* ---- spans and objects -------------------------------------------------------------------------------------------------------- */

enum {
	KB_SPAN_NOSCAN = 1,   /* no pointers inside */
	KB_SPAN_LARGE = 2,    /* size class 0: one object */
	KB_SPAN_INLINE = 4,   /* green tea: mark bits inside the page (1.25 X:greenteagc, 1.26+) */
	KB_SPAN_HEADERS = 8,  /* each object starts with its *_type (1.22+, 512 B < size ≤ 32 KiB with pointers) */
	KB_SPAN_UNSWEPT = 16, /* mark_bits tell what is alive; unmarked objects are garbage not yet freed */
	KB_SPAN_USER_ARENA = 32,
};
/* An in-use heap span. Object i (0 ≤ i < nelems) is at base + i*elem_size and has id first_id + i. */
typedef struct kb_span {
	kb_addr base;
	uint64_t elem_size;      /* slot size in bytes (large: pages rounded) */
	uint64_t asked_size;     /* large: bytes really asked for (limit - base); else elem_size */
	const uint8_t *alloc_bits, *mark_bits; /* (nelems+7)/8 bytes each, owned by kb_go; mark_bits NULL when swept */
	kb_addr large_type;      /* mspan.largeType, 0 none */
	kb_addr specials;        /* mspan.specials */
	kb_addr mspan;
	uint32_t npages, nelems, free_index, first_id, div_magic, flags;
} kb_span;

typedef struct kb_heap {
	const kb_span *spans;    /* in address order */
	size_t nspans;
	uint32_t nids;           /* ids are [0, nids): all slots of all spans, allocated or not */
	uint64_t objects, bytes; /* allocated objects, and the sum of their slot sizes (what HeapObjects / HeapAlloc say) */
	uint64_t unswept_objects, unswept_bytes; /* of these: known garbage, not yet swept */
	kb_addr arena_base_first;/* address of the first arena in page_table */
	uint32_t narenas;
	uint32_t *const *page_table; /* [arena] → 8192 span indexes (KB_NO_ID none); NULL for an arena without heap */
} kb_heap;
const kb_heap *kb_go_heap(const kb_go *go);
typedef struct kb_area {
	kb_addr start;
	uint64_t size;
} kb_area;
/* The heap's arenas (64 MiB each), in address order. *ret malloc'ed. */
kb_error *kb_go_arenas(const kb_go *go, kb_area **ret, size_t *ret_n) KB_MUST_CHECK;
/* Addresses inside memory the runtime maps for itself outside the arenas (span structs, page summaries, arena tables …): at least one in each
 * mapping that can be known. *ret malloc'ed, unsorted. What cannot be read is left out. */
kb_error *kb_go_runtime_memory(const kb_go *go, kb_addr **ret, size_t *ret_n) KB_MUST_CHECK;

/* Index of the span holding p, or KB_NO_ID. */
static inline uint32_t kb_heap_span_of(const kb_heap *h, kb_addr p)
{
	uint64_t arena = (p - h->arena_base_first) >> KB_ARENA_SHIFT;
	if (p < h->arena_base_first || arena >= h->narenas || !h->page_table[arena])
		return KB_NO_ID;
	return h->page_table[arena][(p >> KB_PAGE_SHIFT) & 8191];
}
/* Index of the object inside span s that holds p; may be ≥ nelems (span tail). p must be inside the span. div_magic is ceil(2^32/elem_size). */
static inline uint32_t kb_span_index(const kb_span *s, kb_addr p)
{
	return (s->flags & KB_SPAN_LARGE) ? 0 : (uint32_t)(((p - s->base) * s->div_magic) >> 32);
}
static inline bool kb_span_allocated(const kb_span *s, uint32_t i)
{
	return i < s->free_index || (s->alloc_bits[i >> 3] >> (i & 7) & 1);
}
/* Allocated and not known garbage. During marking use kb_span_allocated and an own mark. */
static inline bool kb_span_live(const kb_span *s, uint32_t i)
{
	return kb_span_allocated(s, i) && (!s->mark_bits || (s->mark_bits[i >> 3] >> (i & 7) & 1));
}
/* Id of the allocated object that p points into (interior pointers count), or KB_NO_ID. */
static inline uint32_t kb_heap_object(const kb_heap *h, kb_addr p)
{
	uint32_t si = kb_heap_span_of(h, p);
	if (si == KB_NO_ID)
		return KB_NO_ID;
	const kb_span *s = &h->spans[si];
	uint32_t i = kb_span_index(s, p);
	return i < s->nelems && kb_span_allocated(s, i) ? s->first_id + i : KB_NO_ID;
}
/* The span of an object id (binary search). */
const kb_span *kb_heap_span_of_id(const kb_heap *h, uint32_t id);
static inline kb_addr kb_span_addr(const kb_span *s, uint32_t id) { return s->base + (uint64_t)(id - s->first_id) * s->elem_size; }

/* ---- pointer masks ------------------------------------------------------------------------------------------------------------ */

/* Per-thread scratch: caches masks of types. */
typedef struct kb_mask_cache kb_mask_cache;
kb_mask_cache *kb_mask_cache_new(const kb_go *go); /* NULL when out of memory */
void kb_mask_cache_free(kb_mask_cache *c);
/* Sets bit w of bits[] (cleared first) for every word w in [first_word, first_word+nwords) of the span that is a pointer slot of an
 * allocated object. data: the bytes of the span from first_word on (nwords*8 of them), as read. Objects of any version: heap bitmap (1.19; 1.20/21; noallocheaders),
 * span-end bitmaps, malloc headers and largeType tiled, GC programs, on-demand masks. For non-large spans first_word must be 0 and nwords
 * the whole span. What cannot be decoded gets no bits and is counted in cache's error counter. */
void kb_go_span_mask(const kb_go *go, kb_mask_cache *c, const kb_span *s, const uint8_t *data, uint64_t first_word, uint64_t nwords,
		     uint64_t *bits);
uint64_t kb_mask_cache_errors(const kb_mask_cache *c);

/* ---- roots -------------------------------------------------------------------------------------------------------------------- */

enum kb_root_kind {
	KB_ROOT_GLOBAL,    /* a pointer slot of data or bss; owner: index of the variable (kb_go_vars) */
	KB_ROOT_STACK,     /* owner: index of the goroutine (kb_go_goroutines); includes ctxt, defers, panics, registers */
	KB_ROOT_FINALIZER, /* what an object with a finalizer refers to, and the finalizer's closure; owner: index of the special */
	KB_ROOT_CLEANUP,   /* cleanup function, closure and argument; owner: index of the special */
	KB_ROOT_QUEUE,     /* finalizers and cleanups waiting to run; owner 0 */
	KB_ROOT_TIMER,     /* an armed timer in a P's heap; owner: index in timer order; slot: address of the heap entry */
	KB_ROOT_WEAK,      /* weak handle objects (the handle, never its target) */
	KB_ROOT_TINY,      /* tiny-allocator blocks of the Ps */
};
typedef struct kb_root {
	enum kb_root_kind kind;
	uint32_t owner;
	kb_addr slot;       /* where the pointer lies; 0 for a register */
	kb_addr value;      /* not 0; may point anywhere */
	kb_addr word_before;/* the word in front of the slot (an interface's type word, perhaps); 0 if none */
	bool conservative;  /* may not be a pointer at all (frame without a safe point) */
	const char *function; /* KB_ROOT_STACK: the frame's function; else NULL */
	kb_addr fn;         /* KB_ROOT_TIMER: the timer's function (funcval); else 0 */
} kb_root;
typedef void (*kb_root_fn)(void *ctx, const kb_root *r);
/* All roots but the stacks, in the order of enum kb_root_kind. A global slot of package runtime is told by kb_var.is_runtime. */
kb_error *kb_go_static_roots(const kb_go *go, kb_root_fn fn, void *ctx) KB_MUST_CHECK;
/* The roots of one goroutine's stack: precise stack maps where it stands at a safe point, stack objects, defers, panics; conservative where not.
 * Thread-safe for different goroutines. */
kb_error *kb_go_stack_roots(const kb_go *go, uint32_t goroutine, kb_root_fn fn, void *ctx) KB_MUST_CHECK;

/* ---- goroutines ----------------------------------------------------------------------------------------------------------------- */

enum kb_gstatus { KB_G_IDLE = 0, KB_G_RUNNABLE = 1, KB_G_RUNNING = 2, KB_G_SYSCALL = 3, KB_G_WAITING = 4, KB_G_DEAD = 6, KB_G_COPYSTACK = 8,
		  KB_G_PREEMPTED = 9, KB_G_LEAKED = 10, KB_G_DEADEXTRA = 11 };
typedef struct kb_goroutine {
	kb_addr g;
	uint64_t goid, parent_goid; /* parent 0 before 1.21 */
	enum kb_gstatus status;     /* without the scan bit */
	const char *wait_reason;    /* "" when not waiting */
	int64_t wait_since_ns;      /* target's nanotime, lower bound set by a GC; 0 unknown */
	kb_addr stack_lo, stack_hi, pc, sp; /* where unwinding starts; 0 when it has no stack */
	kb_addr gopc, startpc;
	kb_addr m;                  /* its M, 0 none */
	int32_t tid;                /* thread it is on or locked to (m.procid), 0 none */
	bool is_system;             /* runtime's own goroutine */
	bool locked;                /* LockOSThread */
	bool in_cgo;
	bool from_registers;        /* pc, sp are the thread's registers at the stop: its innermost frame is not at a safe point */
	bool unwind_failed;         /* the stack could not be walked to its end */
	bool conservative;          /* some frame was scanned conservatively */
	const char *labels;         /* "k=v, …" or NULL */
} kb_goroutine;
/* All goroutines not dead or idle, by address of allgs order. */
const kb_goroutine *kb_go_goroutines(const kb_go *go, size_t *ret_n);

typedef struct kb_frame {
	kb_addr pc, sp, fp;  /* fp: just above the return address (argument area) */
	kb_addr line_pc;     /* what to ask kb_go_lines: inside the call for a return address, pc itself where it was interrupted */
	kb_func func;
	bool innermost;
} kb_frame;
/* Physical frames, innermost first, at most max; *ret_complete: reached the outermost frame. */
size_t kb_go_frames(const kb_go *go, uint32_t goroutine, kb_frame *out, size_t max, bool *ret_complete);
/* The line that people want: innermost frame that is not of the runtime or a sync primitive's inside; and the creation site. False when unknown. */
bool kb_go_user_line(const kb_go *go, uint32_t goroutine, kb_line *ret);
bool kb_go_created_by(const kb_go *go, uint32_t goroutine, kb_line *ret);

/* ---- types -------------------------------------------------------------------------------------------------------------------------- */

enum kb_kind { KB_KIND_INVALID, KB_KIND_BOOL, KB_KIND_INT, KB_KIND_INT8, KB_KIND_INT16, KB_KIND_INT32, KB_KIND_INT64, KB_KIND_UINT, KB_KIND_UINT8,
	       KB_KIND_UINT16, KB_KIND_UINT32, KB_KIND_UINT64, KB_KIND_UINTPTR, KB_KIND_FLOAT32, KB_KIND_FLOAT64, KB_KIND_COMPLEX64, KB_KIND_COMPLEX128,
	       KB_KIND_ARRAY, KB_KIND_CHAN, KB_KIND_FUNC, KB_KIND_INTERFACE, KB_KIND_MAP, KB_KIND_PTR, KB_KIND_SLICE, KB_KIND_STRING, KB_KIND_STRUCT,
	       KB_KIND_UNSAFEPTR };
typedef struct kb_type_field {
	const char *name;
	const kb_type *type;
	uint64_t offset;
	bool embedded;
} kb_type_field;
struct kb_type {
	kb_addr addr;          /* of the descriptor */
	const char *name;      /* "map[string]*main.Session" */
	enum kb_kind kind;
	bool direct_iface, named, empty_interface;
	uint64_t size, ptr_bytes;
	const kb_type *elem, *key; /* array, chan, ptr, slice, map */
	const kb_type *group;  /* map: bucket type (≤1.23) or group type (swiss) */
	uint64_t len;          /* array */
	const kb_type_field *fields;
	size_t nfields;
};
/* The type descriptor at addr; NULL when it is none. Cached for the life of go; takes a lock. */
const kb_type *kb_go_type(const kb_go *go, kb_addr addr);
/* The concrete type behind an interface's first word: an itab or a type; NULL when it is neither. */
const kb_type *kb_go_iface_type(const kb_go *go, kb_addr word);

/* ---- shapes: what a heap object is, learned from the pointer that leads to it --------------------------------------------------------------- */

/* A shape says how the words of an object are to be read: values of a type one after the other, a map header, buckets, a channel…
 * Shapes are numbered densely from 0; 0 is "unknown". Memoised; not thread-safe (one walker). */
typedef struct kb_shapes kb_shapes;
enum kb_role { KB_ROLE_UNKNOWN, KB_ROLE_VALUE /* T, or several T */, KB_ROLE_BYTES /* string or []byte data */, KB_ROLE_MAP /* hmap / maps.Map */,
	       KB_ROLE_MAP_INNER /* buckets, overflow, groups, tables, directory, extra */, KB_ROLE_CHAN, KB_ROLE_CHAN_BUF, KB_ROLE_CLOSURE,
	       KB_ROLE_RUNTIME /* g, m, p, sudog, timer … */ };
typedef struct kb_shape {
	enum kb_role role;
	const kb_type *type;  /* VALUE: T; MAP, MAP_INNER: the map type; CHAN, CHAN_BUF: element type; else NULL */
	const char *name;     /* "main.Session", "[]main.Session" (several), "map[string]int", "map[string]int buckets", "chan int", "func main.f.func1", "g"… */
} kb_shape;
kb_error *kb_shapes_new(const kb_go *go, kb_shapes **ret) KB_MUST_CHECK;
void kb_shapes_free(kb_shapes *s);
const kb_shape *kb_shape_get(const kb_shapes *s, uint32_t shape);
size_t kb_shapes_count(const kb_shapes *s);
uint32_t kb_shape_of_type(kb_shapes *s, const kb_type *t, bool several); /* VALUE of t; 0 when t is NULL */

/* One pointer inside an object, as seen when the object was read. */
typedef struct kb_edge_in {
	uint64_t offset;        /* of the slot in the object's data (behind a malloc header) */
	kb_addr type_word;      /* the word before the slot when it may be an interface's type word (itab or type), else 0 */
	uint64_t target_offset; /* where the pointer points inside its object's data */
	uint64_t target_size;   /* slot size of the target object less header */
	kb_addr target_code;    /* first word of the target when it lies in text (a closure), else 0 */
	uint8_t target_pointers;/* 1 the target is in a span without pointers, 2 with; 0 not told */
} kb_edge_in;
typedef struct kb_edge_out {
	uint32_t shape;  /* of the target; 0 unknown */
	uint32_t label;  /* of the edge, for kb_shape_label: ".buf", "[]", "[key]", "[value]", ".(main.T)" … 0 = "" (internal, not shown) */
} kb_edge_out;
/* What the pointer at in->offset of an object of this shape leads to. Hot (once per edge of the heap): a table look-up for known offsets. */
kb_edge_out kb_shape_step(kb_shapes *s, uint32_t shape, const kb_edge_in *in);
const char *kb_shape_label(const kb_shapes *s, uint32_t label);
/* Shape for a root's target: a global slot by the variable's type, or unknown + interface/closure hints. */
kb_edge_out kb_shape_root(kb_shapes *s, const kb_root *r, const kb_edge_in *in);
/* A better reading of an object of unknown shape from what it says of itself: malloc header or largeType (type_at), channel by elemtype. */
uint32_t kb_shape_from_header(kb_shapes *s, kb_addr header_type);
/* The edge with concrete index or key for people: reads the object. "[\"user-17\"]", "[42]", ".buf". At most n-1 characters, always terminated. */
void kb_shape_edge_text(kb_shapes *s, uint32_t shape, kb_addr object, uint64_t object_size, const kb_edge_in *in, char *buf, size_t n);

/* ---- containers ---------------------------------------------------------------------------------------------------------------------- */

typedef struct kb_container {
	enum { KB_CONT_NONE, KB_CONT_MAP, KB_CONT_SLICE, KB_CONT_CHAN, KB_CONT_SYNCMAP, KB_CONT_POINTER, KB_CONT_STRING, KB_CONT_OTHER } kind;
	uint64_t count;    /* entries, elements (len), queued; sync.Map: by walking, bounded */
	uint64_t capacity; /* slots, cap, buffer size */
	uint64_t own_bytes;/* header and tables themselves, when known */
} kb_container;
/* A map header at addr of map type t. */
kb_error *kb_go_map_info(const kb_go *go, kb_addr addr, const kb_type *t, kb_container *ret) KB_MUST_CHECK;
kb_error *kb_go_chan_info(const kb_go *go, kb_addr addr, kb_container *ret) KB_MUST_CHECK;
kb_error *kb_go_syncmap_info(const kb_go *go, kb_addr addr, kb_container *ret) KB_MUST_CHECK;

/* ---- package-level variables --------------------------------------------------------------------------------------------------------------- */

typedef struct kb_var {
	kb_addr addr;
	uint64_t size;
	const char *name;      /* "main.sessions"; made up when stripped: "global 0x5a1c40 (used by main.login, main.logout)" */
	const kb_type *type;   /* NULL unknown */
	bool is_runtime;       /* of package runtime, or its internals */
	bool named;            /* the name comes from symbols or DWARF */
} kb_var;
/* All variables that have pointer slots, sorted by address; together they cover every root slot of data and bss. */
const kb_var *kb_go_vars(const kb_go *go, size_t *ret_n);
/* Index of the variable holding a, or KB_NO_ID. */
uint32_t kb_go_var_at(const kb_go *go, kb_addr a);
/* By exact name, or by suffix after the last '/' ("main.sessions"). KB_NO_ID when there is none. */
uint32_t kb_go_var_by_name(const kb_go *go, const char *name);

/* ---- specials ---------------------------------------------------------------------------------------------------------------------------- */

enum kb_special_kind { KB_SPECIAL_OTHER, KB_SPECIAL_FINALIZER, KB_SPECIAL_WEAK, KB_SPECIAL_PROFILE, KB_SPECIAL_CLEANUP, KB_SPECIAL_PIN };
typedef struct kb_special {
	enum kb_special_kind kind;
	kb_addr object;  /* start of the object it belongs to */
	kb_addr special; /* address of the record */
	kb_addr fn;      /* funcval of a finalizer or cleanup; 0 otherwise */
	kb_addr bucket;  /* PROFILE: address of the bucket */
	kb_addr type;    /* FINALIZER: ot, pointer type of the object */
} kb_special;
/* All specials except those of kind OTHER, in span order. Loaded by the snapshot. */
const kb_special *kb_go_specials(const kb_go *go, size_t *ret_n);

/* ---- the runtime's own heap profile ---------------------------------------------------------------------------------------------------------- */

typedef struct kb_bucket {
	kb_addr addr;
	uint64_t object_size;
	const kb_addr *pcs; /* return addresses, innermost first */
	uint32_t npcs;
	uint64_t allocs, frees; /* samples, completed cycles */
} kb_bucket;
/* Memory profile buckets; empty when the program does not sample. */
const kb_bucket *kb_go_buckets(const kb_go *go, size_t *ret_n);
/* Index of the bucket at addr, KB_NO_ID if none. */
uint32_t kb_go_bucket_at(const kb_go *go, kb_addr addr);
/* How many allocated bytes one sampled object of this size stands for: size / (1 - exp(-size/rate)). */
double kb_go_sample_weight(const kb_go *go, uint64_t object_size);
/* The user's line of an allocation stack: first frame outside runtime and the standard library's own allocators. */
bool kb_go_alloc_line(const kb_go *go, const kb_bucket *b, kb_line *ret);

#endif
