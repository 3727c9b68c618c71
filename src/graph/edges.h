/* Inside graph only: the packed edges of an object, and what the files of graph share.
 *
 * An object's edges, in slot order, as varints:
 *     head = slot_delta << 3 | flags        slot_delta ≥ 1, in words, from the previous slot (the first from word -1)
 *            flags: LEAF target without pointers; INTERIOR the pointer is not at the start of the object's data; IFACE a type word stands before
 *     target  1 + zigzag(target id - own id)
 *     [INTERIOR: offset in bytes]  [IFACE: 1 + zigzag((type word - base) / 8)]
 * heads below 8 are not edges: 0 ends the object, 1 the object's own type (malloc header) follows, 2 its first word, a code pointer, follows.
 * Only the end of an object is 0, and so is the only byte of a stream that is 0: objects are skipped without decoding them. */
#ifndef KB_GRAPH_EDGES_H
#define KB_GRAPH_EDGES_H

#include "graph/graph.h"

#include <emmintrin.h>

enum { EDGE_LEAF = 1, EDGE_INTERIOR = 2, EDGE_IFACE = 4, EDGE_FLAG_BITS = 3 };
enum { HEAD_END = 0, HEAD_TYPE = 1, HEAD_CODE = 2 };
enum { STREAM_SLACK = 16 }; /* readable bytes behind every stream */
enum { SUB_SHIFT = 4 }; /* every 16th object of a span has its stream offset in the index */

/* What a walk needs of a span, kept small so that it stays in the cache. */
struct gspan {
	uint32_t first_id;
	uint32_t elem_words;  /* slot size in words, header included */
	const uint8_t *stream;/* NULL: no edges */
	const uint32_t *sub;  /* stream offset of every 16th object; NULL when nelems ≤ 16 */
	uint8_t header;       /* bytes of malloc header in front of the data: 0 or 8 */
	bool leaf;            /* noscan */
};

struct root {
	uint32_t holder, target, label, shape;
};

struct kb_graph {
	const kb_go *go;
	const kb_heap *heap;
	kb_shapes *shapes;
	kb_graph_stats stats;
	struct gspan *spans;      /* heap->nspans + 1, the last a sentinel */
	uint32_t *span_of;        /* [id >> 6] → index of the span of that id */
	uint64_t *has_edges;      /* bitmap of ids */
	kb_addr type_base;        /* what IFACE words are relative to */
	struct slab *slabs;       /* memory of the streams */

	struct root *roots;
	size_t nroots, cap_roots;
	size_t class_end[KB_NCLASSES]; /* roots are sorted by class: roots of class c end here */
	kb_holder *holders;
	size_t nholders, cap_holders;

	uint16_t *path16;         /* [id] → path node, 0 unreached; NULL once there are more nodes than that */
	uint32_t *path32;         /* then this */
	kb_path_node *nodes;
	size_t nnodes, cap_nodes;
	struct path_own {
		uint64_t bytes, objects;
		uint32_t example; /* an object of them */
	} *own;                   /* [node]: of the objects with this path those that no shared object owns */
	kb_map node_index;        /* (parent, label, shape) hashed → node */
	uint64_t *shared;         /* bitmap of ids: reached by several holders of its class */
	uint32_t *meets;          /* ids at which the walk met a second holder of the class; freed when their consequences are known */
	size_t nmeets, cap_meets;
	bool *holder_meets;       /* [holder]: has met another of its class */
	uint32_t *owner;          /* [id] for shared ids: 1 + id of the object that alone leads to it (itself for an entry); 0 none */
};

struct edge {
	uint32_t target, flags;
	uint64_t slot;        /* word index in the object's slot (header included) */
	uint64_t offset;      /* INTERIOR: bytes */
	kb_addr type_word;    /* IFACE */
};
struct edge_cursor {
	const uint8_t *p;
	uint32_t id;
	uint64_t slot;        /* previous slot + 1 */
	kb_addr own_type, own_code; /* set while decoding, before the first edge */
	kb_addr base;
};

static inline uint64_t get_varint(const uint8_t **pp)
{
	const uint8_t *p = *pp;
	uint64_t v = *p++;
	if (v >= 0x80) {
		v &= 0x7f;
		for (unsigned shift = 7;; shift += 7) {
			uint64_t b = *p++;
			v |= (b & 0x7f) << shift;
			if (b < 0x80)
				break;
		}
	}
	*pp = p;
	return v;
}
static inline int64_t unzigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }
static inline uint64_t zigzag(int64_t v) { return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); }

/* The next edge; false at the object's end (the cursor then stands at the next object). */
static inline bool edge_next(struct edge_cursor *c, struct edge *e)
{
	for (;;) {
		uint64_t head = get_varint(&c->p);
		if (head >= 8) {
			c->slot += head >> EDGE_FLAG_BITS;
			e->slot = c->slot - 1;
			e->flags = (uint32_t)head & 7;
			e->target = (uint32_t)(c->id + (uint64_t)unzigzag(get_varint(&c->p) - 1));
			e->offset = e->flags & EDGE_INTERIOR ? get_varint(&c->p) : 0;
			e->type_word = e->flags & EDGE_IFACE ? c->base + (uint64_t)unzigzag(get_varint(&c->p) - 1) * 8 : 0;
			return true;
		}
		if (head == HEAD_END)
			return false;
		uint64_t v = c->base + (uint64_t)unzigzag(get_varint(&c->p) - 1) * 8;
		if (head == HEAD_TYPE)
			c->own_type = v;
		else
			c->own_code = v;
	}
}
static inline struct edge_cursor edge_cursor_at(const kb_graph *g, const uint8_t *p, uint32_t id)
{
	return (struct edge_cursor){ .p = p, .id = id, .base = g->type_base };
}

static inline const struct gspan *gspan_of(const kb_graph *g, uint32_t id)
{
	const struct gspan *s = &g->spans[g->span_of[id >> 6]];
	while (s[1].first_id <= id)
		s++;
	return s;
}
/* Behind the n-th zero byte. */
static inline const uint8_t *skip_objects(const uint8_t *p, uint32_t n)
{
	const __m128i zero = _mm_setzero_si128(), one = _mm_set1_epi8(1);
	while (n) {
		__m128i ends = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), zero);
		__m128i sums = _mm_sad_epu8(_mm_and_si128(ends, one), zero);
		uint32_t here = (uint32_t)(_mm_extract_epi16(sums, 0) + _mm_extract_epi16(sums, 4));
		if (here < n) {
			n -= here;
			p += 16;
			continue;
		}
		uint32_t mask = (uint32_t)_mm_movemask_epi8(ends);
		while (--n)
			mask &= mask - 1;
		return p + __builtin_ctz(mask) + 1;
	}
	return p;
}
/* A cursor at the first edge of object id of span s; s->stream must not be NULL. */
static inline struct edge_cursor edges_of(const kb_graph *g, const struct gspan *s, uint32_t id)
{
	uint32_t i = id - s->first_id;
	const uint8_t *p = s->stream + (s->sub ? s->sub[i >> SUB_SHIFT] : 0);
	return edge_cursor_at(g, skip_objects(p, s->sub ? i & ((1u << SUB_SHIFT) - 1) : i), id);
}
/* Several threads may set bits of one bitmap. True when the bit was clear. */
static inline bool bit_set(uint64_t *b, uint32_t i)
{
	uint64_t mask = 1ull << (i & 63);
	return !(__atomic_fetch_or(&b[i >> 6], mask, __ATOMIC_RELAXED) & mask);
}
static inline bool bit_get(const uint64_t *b, uint32_t i) { return b[i >> 6] >> (i & 63) & 1; }
static inline uint32_t path_of(const kb_graph *g, uint32_t id) { return g->path16 ? g->path16[id] : g->path32[id]; }
static inline void path_set(kb_graph *g, uint32_t id, uint32_t node)
{
	if (g->path16)
		g->path16[id] = (uint16_t)node;
	else
		g->path32[id] = node;
}
/* For what is done with a target: its path node, and whether it has edges. */
static inline void path_prefetch(const kb_graph *g, uint32_t id)
{
	if (g->path16)
		__builtin_prefetch(&g->path16[id], 1);
	else
		__builtin_prefetch(&g->path32[id], 1);
	__builtin_prefetch(&g->has_edges[id >> 6]);
}
static inline uint32_t path_class(const kb_graph *g, uint32_t node) { return g->holders[g->nodes[node].holder].class_; }

/* How an edge looks to the shapes. */
static inline kb_edge_in edge_view(const struct gspan *from, const struct gspan *to, const struct edge *e)
{
	return (kb_edge_in){ .offset = e->slot * 8 - from->header, .type_word = e->type_word, .target_offset = e->offset,
			     .target_size = (uint64_t)to->elem_words * 8 - to->header, .target_pointers = to->leaf ? 1 : 2 };
}
/* Shape and label an edge gives its target, which lies in span to; closures named by their code. */
kb_edge_out graph_step(kb_graph *g, uint32_t shape, const struct gspan *from, const struct gspan *to, const struct edge *e);
/* First word of an object when it is a code pointer (closure), else 0. */
kb_addr graph_code_of(const kb_graph *g, const struct gspan *s, uint32_t id);

kb_error *graph_collect_roots(kb_graph *g) KB_MUST_CHECK;
kb_error *graph_find_shared(kb_graph *g) KB_MUST_CHECK;
/* Fills own; after graph_find_shared. */
kb_error *graph_sum_own(kb_graph *g) KB_MUST_CHECK;
/* Child of a path node; collapses recursion. 0 never. KB_NO_ID when out of memory. */
uint32_t path_child(kb_graph *g, uint32_t parent, uint32_t label, uint32_t shape);

#endif
