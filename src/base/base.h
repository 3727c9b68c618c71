/* base: what every other folder stands on. Errors as values, bounded readers, memory, strings, parallel loops.
 * Nothing here knows about processes or Go. Nothing here prints or exits. */
#ifndef KB_BASE_H
#define KB_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* An address in the target. Never a host pointer: kept as an integer so that it cannot be dereferenced by accident. */
typedef uint64_t kb_addr;
#define KB_ADDR_MAX UINT64_MAX

#define KB_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define KB_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define KB_MUST_CHECK __attribute__((warn_unused_result))

/* ---- errors ------------------------------------------------------------------------------------------------ */

enum kb_code {
	KB_E_NOMEM = 1,   /* out of memory (static object, never allocated) */
	KB_E_USAGE,       /* the caller's words are wrong: exit 2 */
	KB_E_NOT_FOUND,   /* no such process, file, symbol, type */
	KB_E_PERMISSION,  /* the kernel said no; the remedy is set */
	KB_E_NOT_GO,      /* readable, but not a Go program */
	KB_E_UNSUPPORTED, /* a Go program we cannot understand (too old, other architecture, layout fails its checks) */
	KB_E_FAULT,       /* target address not readable; address is set */
	KB_E_CORRUPT,     /* bytes that contradict their format */
	KB_E_IO,          /* system call failed; saved_errno is set */
	KB_E_GONE,        /* the target exited while we looked */
	KB_E_LIMIT,       /* a stated bound was reached */
	KB_E_EXISTS,      /* would overwrite a file */
};

/* An error value. NULL means success. Owned by whoever receives it; free with kb_error_free. */
typedef struct kb_error {
	enum kb_code code;
	int saved_errno; /* for KB_E_IO and KB_E_PERMISSION, else 0 */
	kb_addr address; /* for KB_E_FAULT, else 0 */
	char *message;   /* one line, no newline: what failed and why */
	char *remedy;    /* what the user can do, or NULL */
} kb_error;

/* NULL-message errors never exist; when allocation fails the static out-of-memory error is returned. */
kb_error *kb_error_new(enum kb_code code, const char *fmt, ...) KB_PRINTF(2, 3) KB_MUST_CHECK;
/* "what: strerror(err)", code KB_E_IO (KB_E_PERMISSION for EPERM/EACCES, KB_E_GONE for ESRCH). */
kb_error *kb_error_errno(int err, const char *fmt, ...) KB_PRINTF(2, 3) KB_MUST_CHECK;
kb_error *kb_error_fault(kb_addr address) KB_MUST_CHECK;
kb_error *kb_error_nomem(void) KB_MUST_CHECK;
/* Sets (replaces) the remedy and returns err, so that it can be chained in a return. NULL passes through. */
kb_error *kb_error_remedy(kb_error *err, const char *fmt, ...) KB_PRINTF(2, 3) KB_MUST_CHECK;
/* Puts "text: " in front of the message and returns err. NULL passes through. */
kb_error *kb_error_context(kb_error *err, const char *fmt, ...) KB_PRINTF(2, 3) KB_MUST_CHECK;
void kb_error_free(kb_error *err); /* NULL is fine */

/* Return from the function when the expression yields an error. */
#define KB_TRY(expr) \
	do { \
		kb_error *kb_try_err_ = (expr); \
		if (kb_try_err_) \
			return kb_try_err_; \
	} while (0)

/* ---- clean-up when a variable leaves its scope -------------------------------------------------------------- */

void kb_cleanup_free(void *p);  /* p: pointer to a malloc'ed pointer */
void kb_cleanup_close(int *fd); /* closes if >= 0, keeps errno */
void kb_cleanup_error(kb_error **e);
#define KB_FREE __attribute__((cleanup(kb_cleanup_free)))
#define KB_CLOSE __attribute__((cleanup(kb_cleanup_close)))
#define KB_DROP_ERROR __attribute__((cleanup(kb_cleanup_error)))

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* An arena: many allocations, freed together. Zeroed memory, 16-byte aligned. Not thread-safe. */
typedef struct kb_arena {
	struct kb_arena_block *head;
	size_t used_bytes; /* handed out so far */
} kb_arena;
void *kb_arena_alloc(kb_arena *a, size_t n); /* NULL when out of memory */
char *kb_arena_strndup(kb_arena *a, const char *s, size_t n);
char *kb_arena_printf(kb_arena *a, const char *fmt, ...) KB_PRINTF(2, 3);
void kb_arena_free(kb_arena *a);

/* Makes room for at least one more element in a malloc'ed array; *cap counts elements. False when out of memory or
 * over max elements. Use through KB_PUSH_ROOM(array, n, cap, max). */
bool kb_grow(void *array_ptr, size_t *cap, size_t need, size_t elem_size, size_t max);
#define KB_ROOM(arr, n, cap, max) kb_grow(&(arr), &(cap), (n) + 1, sizeof(*(arr)), (max))

/* Big zeroed memory straight from the kernel, touched lazily; huge pages advised. NULL when out of memory. */
void *kb_big_alloc(size_t bytes);
void kb_big_free(void *p, size_t bytes);

/* For tests: lets the next n allocations made through this folder succeed and all later ones fail; n < 0 ends that. */
void kb_alloc_fail_after(long n);

/* ---- strings ------------------------------------------------------------------------------------------------- */

typedef struct kb_str {
	char *s; /* NUL-terminated when n > 0; NULL when empty */
	size_t n, cap;
	bool failed; /* an allocation failed; the text is incomplete */
} kb_str;
void kb_str_add(kb_str *b, const char *text);
void kb_str_addn(kb_str *b, const char *text, size_t n);
void kb_str_printf(kb_str *b, const char *fmt, ...) KB_PRINTF(2, 3);
void kb_str_free(kb_str *b);

/* ---- hash map u64 -> u64 --------------------------------------------------------------------------------------- */

/* Open addressing. All zero is an empty map. Key UINT64_MAX is not allowed. */
typedef struct kb_map {
	struct kb_map_slot {
		uint64_t key, value;
	} *slots;
	size_t n, cap;
} kb_map;
bool kb_map_put(kb_map *m, uint64_t key, uint64_t value); /* replaces; false when out of memory */
bool kb_map_get(const kb_map *m, uint64_t key, uint64_t *ret_value);
void kb_map_free(kb_map *m);
uint64_t kb_hash64(uint64_t x);
uint64_t kb_hash_bytes(const void *p, size_t n);

/* ---- bounded reading of little-endian bytes ---------------------------------------------------------------------- */

/* A view of bytes somebody else owns. */
typedef struct kb_bytes {
	const uint8_t *p;
	size_t n;
} kb_bytes;
/* False, and *ret untouched, when the read would leave the view. */
bool kb_get_u8(kb_bytes b, uint64_t off, uint8_t *ret);
bool kb_get_u16(kb_bytes b, uint64_t off, uint16_t *ret);
bool kb_get_u32(kb_bytes b, uint64_t off, uint32_t *ret);
bool kb_get_u64(kb_bytes b, uint64_t off, uint64_t *ret);
/* Unsigned LEB128, at most 10 bytes; *off moves behind it. */
bool kb_get_uvarint(kb_bytes b, uint64_t *off, uint64_t *ret);
/* NUL-terminated string inside the view, at most max bytes without the NUL; NULL when there is no NUL in reach. */
const char *kb_get_cstr(kb_bytes b, uint64_t off, size_t max);
/* The part [off, off+n) of a view; empty when out of range. */
kb_bytes kb_slice(kb_bytes b, uint64_t off, uint64_t n);

static inline uint64_t kb_load64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static inline uint32_t kb_load32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static inline uint16_t kb_load16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return v;
}

/* n is 1, 2, 4 or 8. */
static inline uint64_t kb_load(const void *p, uint32_t n)
{
	return n == 8 ? kb_load64(p) : n == 4 ? kb_load32(p) : n == 2 ? kb_load16(p) : *(const uint8_t *)p;
}

/* ---- time, threads, progress --------------------------------------------------------------------------------------- */

uint64_t kb_now_ns(void);    /* CLOCK_MONOTONIC */
unsigned kb_cpu_count(void); /* CPUs this process may use, at least 1 */
/* Calls fn(ctx, worker, i) for every i in [0, n), on all CPUs, each i once; worker < kb_cpu_count(). Returns when all
 * are done. The first error stops the hand-out of further i and is returned. */
typedef kb_error *(*kb_parallel_fn)(void *ctx, unsigned worker, size_t i);
kb_error *kb_parallel(size_t n, kb_parallel_fn fn, void *ctx) KB_MUST_CHECK;

/* How long work tells where it is. fn may be NULL. fraction 0..1, or < 0 when unknown. */
typedef struct kb_progress {
	void (*fn)(void *ctx, const char *phase, double fraction);
	void *ctx;
} kb_progress;
void kb_progress_tell(const kb_progress *p, const char *phase, double fraction);

#endif
