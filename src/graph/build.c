/* One pass over the heap on all CPUs: every pointer slot that leads to an allocated object becomes an edge in a packed stream. */
#include "edges.h"

#include <stdlib.h>

enum {
	PIECE_BYTES = 256 << 10, /* process_vm_readv is fastest in pieces that stay in the L2 cache */
	PIECE_WORDS = PIECE_BYTES / 8,
	GAP_BYTES = 16 << 10,    /* spans this near are read with one call, the bytes between included */
	SLAB_BYTES = 16 << 20,
	EDGE_MAX_BYTES = 32,     /* longest encoded edge: four varints, 3 + 5 + 10 + 10, rounded up */
};

/* A block of stream memory; a worker fills one after the other. */
struct slab {
	struct slab *next;
	size_t size, used;
	uint8_t data[];
};

/* Spans that are read together. */
struct piece {
	uint32_t first, count;
};

/* Growing output of one worker. */
struct out {
	uint8_t *p;
	size_t n, cap;
};

struct worker {
	kb_mask_cache *masks;
	uint8_t *data;
	uint64_t *bits;
	uint32_t *slot, *target, *span;
	uint64_t *value;
	struct out out;
	uint32_t *sub;
	struct slab *slabs;
	uint64_t edges, stream_bytes, read_bytes, missing_bytes;
};

struct build {
	kb_graph *g;
	const kb_heap *heap;
	kb_target *target;
	kb_image_range image;
	struct piece *pieces;
	size_t npieces, cap_pieces;
	struct worker *workers;
	unsigned nworkers;
	const kb_progress *progress;
	uint64_t deadline_ns;
	_Atomic size_t done;
	_Atomic bool late;
};

static bool out_room(struct out *o, size_t n)
{
	return o->n + n <= o->cap || kb_grow(&o->p, &o->cap, o->n + n, 1, SIZE_MAX / 2);
}

static void put_varint(struct out *o, uint64_t v)
{
	while (v >= 0x80) {
		o->p[o->n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	o->p[o->n++] = (uint8_t)v;
}

/* Copies bytes to memory that lives as long as the graph. */
static void *slab_keep(struct worker *w, const void *src, size_t n)
{
	size_t room = (n + 7) & ~(size_t)7;
	if (!w->slabs || w->slabs->size - w->slabs->used < room) {
		size_t size = room > SLAB_BYTES / 4 ? room : SLAB_BYTES - sizeof(struct slab);
		struct slab *s = malloc(sizeof(*s) + size + STREAM_SLACK);
		if (!s)
			return NULL;
		*s = (struct slab){ .next = w->slabs, .size = size };
		w->slabs = s;
	}
	uint8_t *dst = w->slabs->data + w->slabs->used;
	w->slabs->used += room;
	memcpy(dst, src, n);
	return dst;
}

/* A word in front of a pointer that may say the pointee's type: an itab or type descriptor of a module, or an itab the runtime made. */
static bool may_be_type_word(const struct build *b, uint64_t w)
{
	if (w & 7 || !w)
		return false;
	if (w >= b->image.lo && w < b->image.hi)
		return true;
	return w >> 40 && w < 1ull << 47 && kb_heap_span_of(b->heap, w) == KB_NO_ID;
}

/* Pointer slots of [first, first+nwords) with their values into the worker's arrays; returns how many. */
static size_t gather(struct worker *w, const uint64_t *words, uint64_t nwords)
{
	size_t n = 0;
	for (uint64_t i = 0; i < (nwords + 63) / 64; i++) {
		for (uint64_t m = w->bits[i]; m; m &= m - 1) {
			uint32_t slot = (uint32_t)(i * 64 + (uint64_t)__builtin_ctzll(m));
			if (slot >= nwords)
				return n;
			if (words[slot]) {
				w->slot[n] = slot;
				w->value[n++] = words[slot];
			}
		}
	}
	return n;
}

/* Which objects the values lead to. In stages, so that the cache misses of many look-ups overlap. */
static void resolve(const kb_heap *h, struct worker *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		w->span[i] = kb_heap_span_of(h, w->value[i]);
		if (w->span[i] != KB_NO_ID)
			__builtin_prefetch(&h->spans[w->span[i]]);
	}
	for (size_t i = 0; i < n; i++) {
		w->target[i] = KB_NO_ID;
		if (w->span[i] == KB_NO_ID)
			continue;
		const kb_span *s = &h->spans[w->span[i]];
		uint32_t k = kb_span_index(s, w->value[i]);
		if (k >= s->nelems)
			continue;
		w->target[i] = k;
		__builtin_prefetch(&s->alloc_bits[k >> 3]);
	}
	for (size_t i = 0; i < n; i++) {
		if (w->target[i] == KB_NO_ID)
			continue;
		const kb_span *s = &h->spans[w->span[i]];
		w->target[i] = kb_span_allocated(s, w->target[i]) ? s->first_id + w->target[i] : KB_NO_ID;
	}
}

/* State while the edges of one object are written. */
struct writer {
	uint32_t id;
	uint64_t next_slot; /* last slot + 1, in words of the object */
};

static bool put_edge(const struct build *b, struct worker *w, struct writer *o, size_t i, uint64_t slot, const uint64_t *words)
{
	const kb_span *t = &b->heap->spans[w->span[i]];
	uint64_t start = t->base + (uint64_t)(w->target[i] - t->first_id) * t->elem_size + (t->flags & KB_SPAN_HEADERS ? 8 : 0);
	uint64_t offset = w->value[i] > start ? w->value[i] - start : 0;
	uint64_t before = w->slot[i] ? words[w->slot[i] - 1] : 0;
	bool iface = slot > 0 && !(w->bits[(w->slot[i] - 1) >> 6] >> ((w->slot[i] - 1) & 63) & 1) && may_be_type_word(b, before);
	uint64_t flags = (t->flags & KB_SPAN_NOSCAN ? EDGE_LEAF : 0) | (offset ? EDGE_INTERIOR : 0) | (iface ? EDGE_IFACE : 0);
	if (!out_room(&w->out, EDGE_MAX_BYTES))
		return false;
	put_varint(&w->out, (slot + 1 - o->next_slot) << EDGE_FLAG_BITS | flags);
	put_varint(&w->out, 1 + zigzag((int64_t)w->target[i] - o->id));
	if (offset)
		put_varint(&w->out, offset);
	if (iface)
		put_varint(&w->out, 1 + zigzag((int64_t)(before - b->g->type_base) / 8));
	o->next_slot = slot + 1;
	w->edges++;
	return true;
}

static bool put_word(const struct build *b, struct worker *w, int head, uint64_t value)
{
	if (!out_room(&w->out, EDGE_MAX_BYTES))
		return false;
	put_varint(&w->out, (uint64_t)head);
	put_varint(&w->out, 1 + zigzag((int64_t)(value - b->g->type_base) / 8));
	return true;
}

/* What an object says of itself: the type in its header, the code of a closure. */
static bool put_self(const struct build *b, struct worker *w, const kb_span *s, const uint64_t *object)
{
	uint64_t type = s->flags & KB_SPAN_LARGE ? s->large_type : s->flags & KB_SPAN_HEADERS ? object[0] : 0;
	if (type && !(type & 7) && !put_word(b, w, HEAD_TYPE, type))
		return false;
	uint64_t first = object[0];
	if (!type && first >= b->image.text_lo && first < b->image.text_hi && !(first & 7))
		return put_word(b, w, HEAD_CODE, first);
	return true;
}

/* Which of the 64 objects around id have edges. Their word may be shared with the next span, and so with another worker. */
static void note_edges(kb_graph *g, uint32_t id, uint64_t bits)
{
	__atomic_fetch_or(&g->has_edges[id >> 6], bits, __ATOMIC_RELAXED);
}

/* Encodes all objects of a small span. data: the span's bytes. */
static bool encode_span(struct build *b, struct worker *w, uint32_t si, const uint8_t *data)
{
	const kb_span *s = &b->heap->spans[si];
	const uint64_t *words = (const uint64_t *)(const void *)data;
	uint64_t nwords = (uint64_t)s->npages * KB_PAGE_SIZE / 8, per = s->elem_size / 8;
	kb_go_span_mask(b->g->go, w->masks, s, data, 0, nwords, w->bits);
	size_t n = gather(w, words, nwords), i = 0;
	resolve(b->heap, w, n);
	w->out.n = 0;
	uint64_t with_edges = 0;
	for (uint32_t k = 0; k < s->nelems; k++) {
		if (!(k & ((1u << SUB_SHIFT) - 1)))
			w->sub[k >> SUB_SHIFT] = (uint32_t)w->out.n;
		struct writer o = { .id = s->first_id + k };
		uint64_t from = k * per, to = from + per;
		if (kb_span_allocated(s, k) && !put_self(b, w, s, words + from))
			return false;
		for (; i < n && w->slot[i] < to; i++)
			if (w->target[i] != KB_NO_ID && !put_edge(b, w, &o, i, w->slot[i] - from, words))
				return false;
		if (!out_room(&w->out, 1))
			return false;
		w->out.p[w->out.n++] = HEAD_END;
		with_edges |= (uint64_t)(o.next_slot != 0) << (o.id & 63);
		if ((o.id & 63) == 63 || k + 1 == s->nelems) {
			note_edges(b->g, o.id, with_edges);
			with_edges = 0;
		}
	}
	return true;
}

static bool keep_stream(struct build *b, struct worker *w, uint32_t si)
{
	const kb_span *s = &b->heap->spans[si];
	struct gspan *gs = &b->g->spans[si];
	gs->stream = slab_keep(w, w->out.p, w->out.n);
	w->stream_bytes += w->out.n;
	if (!gs->stream)
		return false;
	if (s->nelems <= 1u << SUB_SHIFT)
		return true;
	size_t bytes = (s->nelems + (1u << SUB_SHIFT) - 1) / (1u << SUB_SHIFT) * sizeof(uint32_t);
	gs->sub = slab_keep(w, w->sub, bytes);
	w->stream_bytes += bytes;
	return gs->sub;
}

/* A large object, in pieces. */
static bool encode_large(struct build *b, struct worker *w, uint32_t si)
{
	const kb_span *s = &b->heap->spans[si];
	uint64_t total = (uint64_t)s->npages * KB_PAGE_SIZE / 8;
	struct writer o = { .id = s->first_id };
	w->out.n = 0;
	for (uint64_t at = 0; at < total; at += PIECE_WORDS) {
		uint64_t nwords = total - at < PIECE_WORDS ? total - at : PIECE_WORDS;
		size_t got = kb_target_read_holes(b->target, s->base + at * 8, w->data, nwords * 8);
		w->read_bytes += got;
		w->missing_bytes += nwords * 8 - got;
		const uint64_t *words = (const uint64_t *)(const void *)w->data;
		kb_go_span_mask(b->g->go, w->masks, s, w->data, at, nwords, w->bits);
		if (!at && kb_span_allocated(s, 0) && !put_self(b, w, s, words))
			return false;
		size_t n = gather(w, words, nwords);
		resolve(b->heap, w, n);
		for (size_t i = 0; i < n; i++)
			if (w->target[i] != KB_NO_ID && !put_edge(b, w, &o, i, at + w->slot[i], words))
				return false;
	}
	if (!out_room(&w->out, 1))
		return false;
	w->out.p[w->out.n++] = HEAD_END;
	note_edges(b->g, o.id, (uint64_t)(o.next_slot != 0) << (o.id & 63));
	return keep_stream(b, w, si);
}

static kb_error *run_piece(void *ctx, unsigned worker, size_t i)
{
	struct build *b = ctx;
	struct worker *w = &b->workers[worker];
	const struct piece *p = &b->pieces[i];
	const kb_span *first = &b->heap->spans[p->first], *last = first + p->count - 1;
	if (b->deadline_ns && kb_now_ns() > b->deadline_ns) {
		w->missing_bytes += last->base + (uint64_t)last->npages * KB_PAGE_SIZE - first->base;
		b->late = true;
		return NULL;
	}
	if (p->count == 1 && first->flags & KB_SPAN_LARGE) {
		if (!encode_large(b, w, p->first))
			return kb_error_nomem();
	} else {
		size_t bytes = last->base + (uint64_t)last->npages * KB_PAGE_SIZE - first->base;
		size_t got = kb_target_read_holes(b->target, first->base, w->data, bytes);
		w->read_bytes += got;
		w->missing_bytes += bytes - got;
		for (uint32_t k = 0; k < p->count; k++) {
			const kb_span *s = first + k;
			if (s->flags & (KB_SPAN_NOSCAN | KB_SPAN_LARGE))
				continue;
			if (!encode_span(b, w, p->first + k, w->data + (s->base - first->base)) || !keep_stream(b, w, p->first + k))
				return kb_error_nomem();
		}
	}
	size_t done = ++b->done;
	if (worker == 0)
		kb_progress_tell(b->progress, "reading the heap", (double)done / (double)b->npieces);
	return NULL;
}

/* Groups the spans with pointers into pieces of neighbours. */
static kb_error *plan(struct build *b)
{
	const kb_heap *h = b->heap;
	for (uint32_t i = 0; i < h->nspans;) {
		const kb_span *s = &h->spans[i];
		if (s->flags & KB_SPAN_NOSCAN) {
			i++;
			continue;
		}
		if (!KB_ROOM(b->pieces, b->npieces, b->cap_pieces, SIZE_MAX))
			return kb_error_nomem();
		struct piece *p = &b->pieces[b->npieces++];
		*p = (struct piece){ .first = i, .count = 1 };
		kb_addr end = s->base + (uint64_t)s->npages * KB_PAGE_SIZE;
		uint32_t j = i + 1;
		for (; !(s->flags & KB_SPAN_LARGE) && j < h->nspans; j++) {
			const kb_span *t = &h->spans[j];
			kb_addr t_end = t->base + (uint64_t)t->npages * KB_PAGE_SIZE;
			if (t_end - s->base > PIECE_BYTES || t->base - end > GAP_BYTES)
				break;
			if (t->flags & KB_SPAN_NOSCAN)
				continue;
			if (t->flags & KB_SPAN_LARGE)
				break;
			end = t_end;
			p->count = j - i + 1;
		}
		i = p->first + p->count;
	}
	return NULL;
}

static void worker_free(struct worker *w)
{
	kb_mask_cache_free(w->masks);
	free(w->data);
	free(w->bits);
	free(w->slot);
	free(w->target);
	free(w->span);
	free(w->value);
	free(w->out.p);
	free(w->sub);
}

static bool worker_init(struct worker *w, const kb_go *go)
{
	w->masks = kb_mask_cache_new(go);
	w->data = aligned_alloc(4096, PIECE_BYTES);
	w->bits = calloc(PIECE_WORDS / 64 + 1, sizeof(uint64_t));
	w->slot = malloc(PIECE_WORDS * sizeof(uint32_t));
	w->target = malloc(PIECE_WORDS * sizeof(uint32_t));
	w->span = malloc(PIECE_WORDS * sizeof(uint32_t));
	w->value = malloc(PIECE_WORDS * sizeof(uint64_t));
	w->sub = malloc(((PIECE_WORDS >> SUB_SHIFT) + 1) * sizeof(uint32_t));
	return w->masks && w->data && w->bits && w->slot && w->target && w->span && w->value && w->sub;
}

static void collect_worker(kb_graph *g, struct worker *w)
{
	g->stats.edges += w->edges;
	g->stats.stream_bytes += w->stream_bytes;
	g->stats.heap_read_bytes += w->read_bytes;
	g->stats.unreadable_bytes += w->missing_bytes;
	g->stats.mask_errors += w->masks ? kb_mask_cache_errors(w->masks) : 0;
	while (w->slabs) {
		struct slab *s = w->slabs;
		w->slabs = s->next;
		s->next = g->slabs;
		g->slabs = s;
	}
}

static kb_error *run_workers(struct build *b)
{
	b->nworkers = kb_cpu_count();
	b->workers = calloc(b->nworkers, sizeof(*b->workers));
	if (!b->workers)
		return kb_error_nomem();
	kb_error *err = NULL;
	for (unsigned i = 0; i < b->nworkers && !err; i++)
		if (!worker_init(&b->workers[i], b->g->go))
			err = kb_error_nomem();
	if (!err)
		err = kb_parallel(b->npieces, run_piece, b);
	for (unsigned i = 0; i < b->nworkers; i++) {
		collect_worker(b->g, &b->workers[i]);
		worker_free(&b->workers[i]);
	}
	free(b->workers);
	return err;
}

static kb_error *make_span_table(kb_graph *g)
{
	const kb_heap *h = g->heap;
	g->spans = calloc(h->nspans + 1, sizeof(*g->spans));
	g->span_of = calloc((h->nids >> 6) + 2, sizeof(*g->span_of));
	g->has_edges = kb_big_alloc(((size_t)h->nids + 63) / 64 * 8 + 64);
	if (!g->spans || !g->span_of || !g->has_edges)
		return kb_error_nomem();
	for (uint32_t i = 0; i < h->nspans; i++) {
		const kb_span *s = &h->spans[i];
		g->spans[i] = (struct gspan){ .first_id = s->first_id, .elem_words = (uint32_t)(s->elem_size / 8),
					      .header = s->flags & KB_SPAN_HEADERS ? 8 : 0, .leaf = s->flags & KB_SPAN_NOSCAN };
		uint32_t last = s->first_id + s->nelems;
		for (uint32_t id = (s->first_id + 63) & ~63u; id < last; id += 64)
			g->span_of[id >> 6] = i;
	}
	g->spans[h->nspans] = (struct gspan){ .first_id = h->nids };
	return NULL;
}

kb_error *kb_graph_build(const kb_go *go, uint64_t deadline_ns, const kb_progress *progress, kb_graph **ret)
{
	kb_graph *g = calloc(1, sizeof(*g));
	if (!g)
		return kb_error_nomem();
	g->go = go;
	g->heap = kb_go_heap(go);
	struct build b = { .g = g, .heap = g->heap, .target = kb_go_target(go), .image = kb_go_image_range(go), .progress = progress,
			   .deadline_ns = deadline_ns };
	g->type_base = b.image.lo & ~(kb_addr)7;
	kb_error *err = make_span_table(g);
	if (!err)
		err = plan(&b);
	if (!err)
		err = run_workers(&b);
	free(b.pieces);
	g->stats.cut_by_time = b.late;
	if (!err)
		err = kb_shapes_new(go, &g->shapes);
	if (err) {
		kb_graph_free(g);
		return err;
	}
	*ret = g;
	return NULL;
}

void kb_graph_free(kb_graph *g)
{
	if (!g)
		return;
	while (g->slabs) {
		struct slab *next = g->slabs->next;
		free(g->slabs);
		g->slabs = next;
	}
	size_t nids = g->heap->nids;
	kb_big_free(g->path16, nids * sizeof(*g->path16) + 64);
	kb_big_free(g->path32, nids * sizeof(*g->path32) + 64);
	kb_big_free(g->has_edges, (nids + 63) / 64 * 8 + 64);
	kb_big_free(g->owner, nids * sizeof(*g->owner) + 64);
	kb_big_free(g->shared, (nids + 63) / 64 * 8 + 64);
	kb_map_free(&g->node_index);
	kb_shapes_free(g->shapes);
	free(g->spans);
	free(g->span_of);
	free(g->roots);
	free(g->holders);
	free(g->meets);
	free(g->own);
	free(g->holder_meets);
	free(g->nodes);
	free(g);
}
