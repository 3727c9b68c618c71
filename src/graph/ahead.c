#include "ahead.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum {
	SLOTS = 16,           /* batches that may wait for the walk */
	THREADS_MAX = 6,      /* more only wait for the walk */
	WORTH_THREADS = 8,    /* blocks of a level: below, waking somebody takes longer */
	LOOK_AHEAD = 12,      /* objects whose streams are on their way while one is decoded */
};

struct ahead {
	const kb_graph *g;
	struct batch *slots;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	/* Of the current level, under the lock. Numbers count blocks; block n is decoded into slot n % SLOTS. */
	const struct block *unclaimed;
	size_t nblocks, claimed, taken;
	bool taking; /* the walk has block number `taken` in its hands */
	bool ready[SLOTS];
	unsigned busy; /* blocks that are being decoded */
	bool quit;
	pthread_t threads[THREADS_MAX];
	unsigned nthreads;
	bool started;
};

static void prefetch_stream(const kb_graph *g, uint32_t id)
{
	const struct gspan *s = gspan_of(g, id);
	if (!s->stream)
		return;
	/* Two lines: the object is up to 15 others behind the place that the index knows. */
	const uint8_t *p = s->stream + (s->sub ? s->sub[(id - s->first_id) >> SUB_SHIFT] : 0);
	__builtin_prefetch(p);
	__builtin_prefetch(p + 64);
}

static void decode_object(const kb_graph *g, struct batch *b, uint32_t id)
{
	const struct gspan *s = gspan_of(g, id);
	if (!s->stream)
		return;
	struct edge_cursor c = edges_of(g, s, id);
	struct item *item = &b->items[b->nitems];
	uint32_t n = b->narcs;
	while (n < BATCH_ARCS && edge_next(&c, &b->arcs[n].edge))
		n++;
	*item = (struct item){ .span = s, .id = id, .own_type = c.own_type, .narcs = n - b->narcs };
	if (n == BATCH_ARCS)
		item->narcs = ITEM_TOO_LARGE;
	else
		b->narcs = n;
	b->nitems += item->narcs != 0;
}

static void decode_block(const kb_graph *g, const struct block *from, struct batch *b)
{
	b->nitems = b->narcs = 0;
	for (uint32_t i = 0; i < from->n; i++) {
		if (i + LOOK_AHEAD < from->n)
			prefetch_stream(g, from->ids[i + LOOK_AHEAD]);
		decode_object(g, b, from->ids[i]);
	}
	for (uint32_t i = 0; i < b->narcs; i++)
		b->arcs[i].to = gspan_of(g, b->arcs[i].edge.target);
}

static bool may_claim(const struct ahead *a) { return a->unclaimed && a->claimed - a->taken < SLOTS; }

/* With the lock held; it is open while the block is decoded. */
static void claim_and_decode(struct ahead *a)
{
	const struct block *block = a->unclaimed;
	size_t slot = a->claimed++ % SLOTS;
	a->unclaimed = block->next;
	a->busy++;
	pthread_mutex_unlock(&a->lock);
	decode_block(a->g, block, &a->slots[slot]);
	pthread_mutex_lock(&a->lock);
	a->ready[slot] = true;
	a->busy--;
}

static void *thread_main(void *arg)
{
	struct ahead *a = arg;
	pthread_mutex_lock(&a->lock);
	while (!a->quit) {
		if (!may_claim(a)) {
			pthread_cond_wait(&a->work, &a->lock);
			continue;
		}
		claim_and_decode(a);
		pthread_cond_signal(&a->done);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

struct ahead *ahead_new(const kb_graph *g)
{
	struct ahead *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->g = g;
	a->slots = malloc(SLOTS * sizeof(*a->slots));
	if (!a->slots) {
		free(a);
		return NULL;
	}
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->work, NULL);
	pthread_cond_init(&a->done, NULL);
	return a;
}

/* As many as there are CPUs besides the walk's. Without any, the walk decodes all by itself. */
static void start_threads(struct ahead *a)
{
	sigset_t all, before;
	unsigned want = kb_cpu_count() - 1 < THREADS_MAX ? kb_cpu_count() - 1 : THREADS_MAX;
	a->started = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (a->nthreads < want && !pthread_create(&a->threads[a->nthreads], NULL, thread_main, a))
		a->nthreads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void ahead_free(struct ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->quit = true;
	pthread_cond_broadcast(&a->work);
	pthread_mutex_unlock(&a->lock);
	for (unsigned i = 0; i < a->nthreads; i++)
		pthread_join(a->threads[i], NULL);
	pthread_cond_destroy(&a->work);
	pthread_cond_destroy(&a->done);
	pthread_mutex_destroy(&a->lock);
	free(a->slots);
	free(a);
}

void ahead_level(struct ahead *a, const struct queue *q)
{
	if (q->nblocks >= WORTH_THREADS && !a->started)
		start_threads(a);
	pthread_mutex_lock(&a->lock);
	a->unclaimed = q->first;
	a->nblocks = q->nblocks;
	a->claimed = a->taken = 0;
	a->taking = false;
	memset(a->ready, 0, sizeof(a->ready));
	if (q->nblocks >= WORTH_THREADS)
		pthread_cond_broadcast(&a->work);
	pthread_mutex_unlock(&a->lock);
}

const struct batch *ahead_next(struct ahead *a)
{
	const struct batch *b = NULL;
	pthread_mutex_lock(&a->lock);
	if (a->taking) {
		a->ready[a->taken++ % SLOTS] = false;
		/* Not at each free slot: who sleeps is woken for half a ring of work. */
		if (a->unclaimed && a->claimed - a->taken == SLOTS / 2)
			pthread_cond_broadcast(&a->work);
	}
	a->taking = a->taken < a->nblocks;
	if (a->taking) {
		size_t slot = a->taken % SLOTS;
		/* Rather than sleep while somebody decodes the block that is wanted next, decode a later one. */
		while (!a->ready[slot]) {
			if (may_claim(a))
				claim_and_decode(a);
			else
				pthread_cond_wait(&a->done, &a->lock);
		}
		b = &a->slots[slot];
	}
	pthread_mutex_unlock(&a->lock);
	return b;
}

void ahead_end(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->unclaimed = NULL;
	while (a->busy)
		pthread_cond_wait(&a->done, &a->lock);
	pthread_mutex_unlock(&a->lock);
}
