/* Which words of a span are pointers, for the way that each Go version keeps it:
 *   1.19             heapArena.bitmap, a byte for 4 words: pointer bits low, "more follows" bits high
 *   1.20, 1.21       heapArena.bitmap, a bit for each word, and noMorePtrs, a bit for each word of that (1.22 without
 *                    headers as well)
 *   1.22 and later   objects to 512 bytes: bits at the end of the span; above: a *_type in front of each object, or in
 *                    mspan.largeType
 * runtime/mbitmap.go, mbitmap_allocheaders.go. Runs over every span of the heap on all CPUs: 64 words at a time. */
#include "bits.h"
#include "spans.h"

#include <stdlib.h>

enum {
	INLINE_BYTES = 128, /* 1.25+: mark bits of green tea at the very end of the span */
	WINDOW = 65536,     /* of a bitmap, read at once */
	UNIT_WORDS = 4096,  /* the mask of a small type is laid out for at least this many words */
	TYPES_MAX = 65536,  /* kept per thread */
	HEADER_WORDS = 1,
};

/* The mask of a type, repeated: unit_words is a multiple of the type's size. */
struct type_mask {
	uint64_t *unit;
	uint64_t unit_words, unit_bits; /* bits up to the last pointer of the unit */
	uint64_t *slot;                 /* laid out for a slot of slot_words with a header */
	uint64_t slot_words;
	bool bad;
};

struct window {
	kb_addr at;
	bool full;
	uint8_t bytes[WINDOW];
};

struct kb_mask_cache {
	const kb_go *go;
	uint64_t errors;
	kb_map index; /* type → number of type_mask */
	struct type_mask *types;
	size_t ntypes, cap_types;
	kb_addr last_type;
	struct type_mask *last;
	struct window bitmap, more;
	/* Bits of "more follows" (1.19) or "no more" (1.20) for the words at hand. */
	uint64_t *extra;
	size_t cap_extra;
	/* Where the pointers of a large object end, in words; found once for each. */
	kb_addr ended_base;
	uint64_t ended_at;
};

kb_mask_cache *kb_mask_cache_new(const kb_go *go)
{
	kb_mask_cache *c = calloc(1, sizeof(*c));
	if (c)
		c->go = go;
	return c;
}

static void drop_types(kb_mask_cache *c)
{
	for (size_t i = 0; i < c->ntypes; i++) {
		free(c->types[i].unit);
		free(c->types[i].slot);
	}
	c->ntypes = 0;
	c->last = NULL;
	c->last_type = 0;
	kb_map_free(&c->index);
}

void kb_mask_cache_free(kb_mask_cache *c)
{
	if (!c)
		return;
	drop_types(c);
	free(c->types);
	free(c->extra);
	free(c);
}

uint64_t kb_mask_cache_errors(const kb_mask_cache *c)
{
	return c->errors;
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

static bool lay_out_unit(kb_mask_cache *c, kb_addr type, struct type_mask *m)
{
	uint64_t size, ptr_bytes;
	KB_FREE uint8_t *mask = NULL;
	KB_DROP_ERROR kb_error *err = kb_type_mask(c->go, type, &size, &ptr_bytes, &mask);
	if (err || (ptr_bytes && (!size || (size & 7))))
		return false;
	if (!ptr_bytes)
		return true;
	uint64_t words = size / 8, n = words < UNIT_WORDS ? UNIT_WORDS / words : 1;
	m->unit_words = n * words;
	m->unit_bits = (n - 1) * words + ptr_bytes / 8;
	m->unit = calloc(m->unit_bits / 64 + 3, 8);
	if (!m->unit)
		return false;
	for (uint64_t i = 0; i < n; i++)
		kb_bits_or(m->unit, i * words, (const uint64_t *)(const void *)mask, 0, ptr_bytes / 8);
	return true;
}

/* The mask of a type of at most `room` bytes: a larger one cannot be that of the object, which was freed while it was
 * read. */
static struct type_mask *mask_of_type(kb_mask_cache *c, kb_addr type, uint64_t room)
{
	uint64_t i, size;
	if (type == c->last_type && c->last)
		return c->last;
	if (!kb_map_get(&c->index, type, &i)) {
		KB_DROP_ERROR kb_error *err = NULL;
		if ((type & 7) || (err = kb_read_ro(c->go, type, &size, sizeof(size))) || !size || size > room)
			return NULL;
		if (c->ntypes >= TYPES_MAX)
			drop_types(c);
		if (!KB_ROOM(c->types, c->ntypes, c->cap_types, TYPES_MAX + 1) ||
		    !kb_map_put(&c->index, type, c->ntypes))
			return NULL;
		i = c->ntypes++;
		c->types[i] = (struct type_mask){ 0 };
		c->types[i].bad = !lay_out_unit(c, type, &c->types[i]);
	}
	c->last_type = type;
	c->last = &c->types[i];
	return c->last;
}

/* ORs the type's mask, repeated from word `origin` on, into the words [from, to) of bits, which begins at word from.
 * origin ≤ from. */
static void tile(const struct type_mask *m, uint64_t origin, uint64_t from, uint64_t to, uint64_t *bits)
{
	if (!m->unit)
		return;
	uint64_t at = origin + (from - origin) / m->unit_words * m->unit_words;
	for (; at < to; at += m->unit_words) {
		uint64_t skip = at < from ? from - at : 0, n = m->unit_bits;
		if (n > to - at)
			n = to - at;
		if (skip < n)
			kb_bits_or(bits, at + skip - from, m->unit, skip, n - skip);
	}
}

static const uint64_t *slot_mask(struct type_mask *m, uint64_t words)
{
	if (m->slot_words != words) {
		KB_FREE uint64_t *data = calloc(words / 64 + 3, 8);
		free(m->slot);
		m->slot_words = 0;
		m->slot = calloc(words / 64 + 3, 8);
		if (!m->slot || !data)
			return NULL;
		m->slot_words = words;
		/* Bit 0 is the header's: no pointer into the heap. */
		tile(m, HEADER_WORDS, HEADER_WORDS, words, data);
		kb_bits_or(m->slot, HEADER_WORDS, data, 0, words - HEADER_WORDS);
	}
	return m->slot;
}

/* Objects that begin with their type. */
static void mask_headers(kb_mask_cache *c, const kb_span *s, const uint8_t *data, uint64_t *bits)
{
	uint64_t per = s->elem_size / 8;
	for (uint32_t i = 0; i < s->nelems; i++) {
		kb_addr type = kb_load64(data + i * s->elem_size);
		/* 0: allocated, but not yet given out. */
		if (!type || !kb_span_allocated(s, i))
			continue;
		struct type_mask *m = mask_of_type(c, type, s->elem_size);
		const uint64_t *slot = m && !m->bad ? slot_mask(m, per) : NULL;
		if (slot)
			kb_bits_or(bits, i * per, slot, 0, per);
		else
			c->errors++;
	}
}

/* ---- bits at the end of the span --------------------------------------------------------------------------------- */

static void clear_free(const kb_span *s, uint64_t *bits)
{
	uint64_t per = s->elem_size / 8;
	for (uint32_t i = s->free_index; i < s->nelems; i++) {
		if (!(i & 7) && s->alloc_bits[i >> 3] == 255)
			i += 7;
		else if (!(s->alloc_bits[i >> 3] >> (i & 7) & 1))
			kb_bits_clear(bits, i * per, (i + 1) * per);
	}
}

/* A bit for each word of the span, at its end: 1/64 of it. */
static void mask_in_span(const kb_span *s, const uint8_t *data, uint64_t nwords, uint64_t *bits)
{
	uint64_t total = (uint64_t)s->npages * KB_PAGE_SIZE, bytes = total / 64;
	memcpy(bits, data + total - bytes - (s->flags & KB_SPAN_INLINE ? INLINE_BYTES : 0), bytes);
	kb_bits_clear(bits, s->nelems * s->elem_size / 8, nwords);
	clear_free(s, bits);
}

/* ---- bitmaps of the arena (to 1.21, and 1.22 without headers) ---------------------------------------------------- */

/* [a, a+n) through a window of the target; n ≤ 4096. */
static const uint8_t *through(kb_mask_cache *c, struct window *w, kb_addr a, size_t n)
{
	if (!w->full || a < w->at || a + n > w->at + WINDOW) {
		w->at = a & ~UINT64_C(4095);
		kb_target_read_holes(c->go->target, w->at, w->bytes, WINDOW);
		w->full = true;
	}
	return w->bytes + (a - w->at);
}

/* 64 words of 1.19: 16 bytes, each with the pointer bits of 4 words low and their "more" bits high. */
static void split_119(const uint8_t *b, uint64_t *ptr, uint64_t *more)
{
	uint64_t p = 0, m = 0;
	for (unsigned i = 0; i < 16; i++) {
		p |= (uint64_t)(b[i] & 15) << (4 * i);
		m |= (uint64_t)(b[i] >> 4) << (4 * i);
	}
	*ptr = p;
	*more = m;
}

/* The bitmaps of 64 words at a (a multiple of 512). end: bit w set when the object's pointers end before word w
 * (1.19), or after all of these 64 (then bit 63 only; 1.20). */
static void arena_bits(kb_mask_cache *c, kb_addr a, uint64_t *ptr, uint64_t *end)
{
	const kb_layout *l = &c->go->layout;
	kb_addr arena = kb_arena_of(c->go, a);
	uint64_t group = (a & ((UINT64_C(1) << KB_ARENA_SHIFT) - 1)) / 512, more;
	*ptr = *end = 0;
	if (!arena)
		return;
	if (!kb_has(l, KB_F_heapArena_noMorePtrs)) {
		split_119(through(c, &c->bitmap, arena + kb_off(l, KB_F_heapArena_bitmap) + group * 16, 16), ptr,
			  &more);
		*end = ~more;
		return;
	}
	*ptr = kb_load64(through(c, &c->bitmap, arena + kb_off(l, KB_F_heapArena_bitmap) + group * 8, 8));
	if (*through(c, &c->more, arena + kb_off(l, KB_F_heapArena_noMorePtrs) + group / 8, 1) >> (group & 7) & 1)
		*end = UINT64_C(1) << 63;
}

/* Word of a large object from which on the bitmap is not valid any more: left over from what was there before. */
static uint64_t end_of_large(kb_mask_cache *c, const kb_span *s)
{
	uint64_t total = (uint64_t)s->npages * KB_PAGE_SIZE / 8, ptr, end, at;
	bool after = kb_has(&c->go->layout, KB_F_heapArena_noMorePtrs);
	if (c->ended_base == s->base)
		return c->ended_at;
	for (at = 0; at < total; at += 64) {
		arena_bits(c, s->base + at * 8, &ptr, &end);
		if (end) {
			at += after ? 64 : (uint64_t)__builtin_ctzll(end);
			break;
		}
	}
	c->ended_base = s->base;
	c->ended_at = at;
	return at;
}

/* Small objects: clears from where an object's pointers end up to its own end. */
static void clear_ended(const kb_go *go, const kb_span *s, const uint64_t *end, uint64_t nwords, uint64_t *bits)
{
	uint64_t per = s->elem_size / 8, after = kb_has(&go->layout, KB_F_heapArena_noMorePtrs);
	for (uint64_t w = kb_bits_find(end, 0, nwords, true); w < nwords; w = kb_bits_find(end, w, nwords, true)) {
		uint64_t stop = (w / per + 1) * per;
		if (stop > nwords)
			stop = nwords;
		kb_bits_clear(bits, w + after < stop ? w + after : stop, stop);
		w = stop > w ? stop : w + 1;
	}
}

static void mask_from_arena(kb_mask_cache *c, const kb_span *s, uint64_t first, uint64_t nwords, uint64_t *bits)
{
	size_t groups = (nwords + 63) / 64;
	if (!kb_grow(&c->extra, &c->cap_extra, groups + 1, sizeof(*c->extra), SIZE_MAX / 16)) {
		c->errors++;
		return;
	}
	for (size_t g = 0; g < groups; g++)
		arena_bits(c, s->base + (first + g * 64) * 8, &bits[g], &c->extra[g]);
	if (s->flags & KB_SPAN_LARGE) {
		uint64_t end = end_of_large(c, s);
		kb_bits_clear(bits, end > first ? (end - first < nwords ? end - first : nwords) : 0, groups * 64);
		return;
	}
	kb_bits_clear(bits, s->nelems * s->elem_size / 8, groups * 64);
	clear_ended(c->go, s, c->extra, nwords, bits);
	clear_free(s, bits);
}

/* ---- a span ------------------------------------------------------------------------------------------------------ */

static void mask_large(kb_mask_cache *c, const kb_span *s, uint64_t first, uint64_t nwords, uint64_t *bits)
{
	/* 0: allocated, but not yet given out. */
	if (!s->large_type)
		return;
	struct type_mask *m = mask_of_type(c, s->large_type, (uint64_t)s->npages * KB_PAGE_SIZE);
	if (m && !m->bad)
		tile(m, 0, first, first + nwords, bits);
	else
		c->errors++;
}

void kb_go_span_mask(const kb_go *go, kb_mask_cache *c, const kb_span *s, const uint8_t *data, uint64_t first_word,
		     uint64_t nwords, uint64_t *bits)
{
	uint64_t total = (uint64_t)s->npages * KB_PAGE_SIZE / 8;
	memset(bits, 0, (nwords + 63) / 64 * 8);
	if ((s->flags & KB_SPAN_NOSCAN) || first_word >= total || nwords > total - first_word || (first_word & 63))
		return;
	if (s->flags & KB_SPAN_LARGE) {
		if (!kb_span_allocated(s, 0))
			return;
		if (kb_has(&go->layout, KB_F_heapArena_bitmap))
			mask_from_arena(c, s, first_word, nwords, bits);
		else
			mask_large(c, s, first_word, nwords, bits);
		return;
	}
	if (first_word || nwords != total)
		return;
	if (kb_has(&go->layout, KB_F_heapArena_bitmap))
		mask_from_arena(c, s, 0, nwords, bits);
	else if (s->flags & KB_SPAN_HEADERS)
		mask_headers(c, s, data, bits);
	else
		mask_in_span(s, data, nwords, bits);
}
