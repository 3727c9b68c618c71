/* Inside graph only: decoding that runs ahead of the walk, on the other CPUs.
 *
 * The walk goes level by level through queues of objects. What it does with an edge depends on all edges before it, so one thread does
 * that, in order; but most of the time goes into waiting for the memory of the streams, and that needs no order. So other threads decode
 * blocks of the queue into batches, and the walk takes the batches in the queue's order: what comes out does not depend on the threads. */
#ifndef KB_GRAPH_AHEAD_H
#define KB_GRAPH_AHEAD_H

#include "edges.h"

enum {
	BLOCK_IDS = 256,
	BATCH_ARCS = 2048,
	ITEM_TOO_LARGE = UINT32_MAX, /* as narcs: more edges than a batch has room for; the walk decodes this object itself */
};

/* Objects of a level, in the order in which they were found. */
struct block {
	struct block *next;
	uint32_t n;
	uint32_t ids[BLOCK_IDS];
};

struct queue {
	struct block *first, *last;
	size_t nblocks;
};

struct arc {
	struct edge edge;
	const struct gspan *to;
};

struct item {
	const struct gspan *span;
	kb_addr own_type; /* from a malloc header; 0 none */
	uint32_t id, narcs;
};

struct batch {
	uint32_t nitems, narcs;
	struct item items[BLOCK_IDS];
	struct arc arcs[BATCH_ARCS];
};

struct ahead;
/* NULL when out of memory. Threads start with the first level that is worth it. */
struct ahead *ahead_new(const kb_graph *g);
void ahead_free(struct ahead *a); /* NULL is fine */
/* Begins a level. The blocks belong to the caller, and stay as they are until their batch has been taken. */
void ahead_level(struct ahead *a, const struct queue *q);
/* The next batch of the level, in order, valid until the next call; NULL at the level's end. */
const struct batch *ahead_next(struct ahead *a);
/* Ends the level, also before its end: when it returns, no thread reads a block. */
void ahead_end(struct ahead *a);

#endif
