/* Captured ranges: copies of the target's memory from one moment, which win over the running process. */
#include "private.h"

#include <stdlib.h>
#include <sys/mman.h>

struct kb_block {
	struct kb_block *next;
	size_t size, used; /* of the whole mapping, this header included */
};

#define KB_BLOCK_HEADER 64u
#define KB_BLOCK_MIN (4u << 20)

static bool add_block(struct kb_overlay *o, size_t payload, int flags)
{
	if (payload > SIZE_MAX / 2)
		return false;
	size_t size = KB_PAGE_UP((payload > KB_BLOCK_MIN ? payload : KB_BLOCK_MIN) + KB_BLOCK_HEADER);
	struct kb_block *b = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (b == MAP_FAILED)
		return false;
	if (!(flags & MAP_POPULATE))
		madvise(b, size,
			MADV_HUGEPAGE); /* fewer faults while the target stands still; a refusal does no harm */
	*b = (struct kb_block){ .next = o->blocks, .size = size, .used = KB_BLOCK_HEADER };
	o->blocks = b;
	return true;
}

void kb_overlay_reserve(struct kb_overlay *o, size_t n)
{
	if (!o->blocks || o->blocks->size - o->blocks->used < n)
		add_block(o, n, MAP_POPULATE);
	/* The sorted array may be rebuilt in the stop as well; its pages come from malloc and are few. */
}

uint8_t *kb_overlay_alloc(struct kb_overlay *o, size_t n)
{
	n = (n + 15) & ~(size_t)15;
	if ((!o->blocks || o->blocks->size - o->blocks->used < n) && !add_block(o, n, 0))
		return NULL;
	uint8_t *p = (uint8_t *)o->blocks + o->blocks->used;
	o->blocks->used += n;
	return p;
}

void kb_overlay_free(struct kb_overlay *o)
{
	for (struct kb_block *b = o->blocks, *next; b; b = next) {
		next = b->next;
		munmap(b, b->size);
	}
	free(o->pieces);
	free(o->items);
	free(o->fresh);
	*o = (struct kb_overlay){ 0 };
}

static bool is_first_above(const struct kb_overlay *o, size_t i, kb_addr a)
{
	return i < o->n && o->pieces[i].end > a && (i == 0 || o->pieces[i - 1].end <= a);
}

/* Most reads are near the one before: each thread tries its last answer and the one behind it first. */
size_t kb_overlay_find(const struct kb_overlay *o, kb_addr a)
{
	static _Thread_local size_t hint;
	size_t lo = 0, hi = o->n;

	if (is_first_above(o, hint, a))
		return hint;
	if (is_first_above(o, hint + 1, a))
		return ++hint;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (o->pieces[mid].end <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	hint = lo;
	return lo;
}

/* The part of an old piece in [from, to), if any, is kept. */
static void keep(struct kb_piece *out, size_t *n, const struct kb_piece *old, kb_addr from, kb_addr to)
{
	if (from < old->start)
		from = old->start;
	if (to > old->end)
		to = old->end;
	if (from >= to)
		return;
	out[(*n)++] = (struct kb_piece){ from, to, old->data ? old->data + (from - old->start) : NULL };
}

/* Old pieces fill the gaps between fresh ones. Every fresh piece can cut one old piece in two, no more. */
static size_t merge(const struct kb_overlay *o, const struct kb_piece *fresh, size_t n, struct kb_piece *out)
{
	size_t i = 0, n_out = 0;
	kb_addr gap = 0;
	for (size_t k = 0; k <= n; k++) {
		kb_addr gap_end = k < n ? fresh[k].start : KB_ADDR_MAX;
		while (i < o->n && o->pieces[i].start < gap_end) {
			keep(out, &n_out, &o->pieces[i], gap, gap_end);
			if (o->pieces[i].end > gap_end)
				break;
			i++;
		}
		if (k == n)
			break;
		out[n_out++] = fresh[k];
		gap = fresh[k].end;
		while (i < o->n && o->pieces[i].end <= gap)
			i++;
	}
	return n_out;
}

kb_error *kb_overlay_merge(struct kb_overlay *o, const struct kb_piece *fresh, size_t n)
{
	size_t most = o->n + 2 * n;
	if (!n)
		return NULL;
	if (most > KB_MAX_CAPTURES)
		return kb_error_new(KB_E_LIMIT, "more than %u captured ranges", KB_MAX_CAPTURES);
	/* The common case: behind all there is, with room left. */
	if (!o->n || o->pieces[o->n - 1].end <= fresh[0].start) {
		if (!kb_grow(&o->pieces, &o->cap, o->n + n, sizeof *o->pieces, KB_MAX_CAPTURES))
			return kb_error_nomem();
		memcpy(o->pieces + o->n, fresh, n * sizeof *fresh);
		o->n += n;
		return NULL;
	}
	struct kb_piece *out = malloc((most + 1) * sizeof *out);
	if (!out)
		return kb_error_nomem();
	o->n = merge(o, fresh, n, out);
	o->cap = most + 1;
	free(o->pieces);
	o->pieces = out;
	return NULL;
}
