/* Capturing: many ranges copied with few system calls, no page faults where an equal range was captured before. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>

#define KB_IOV_MAX 1024u /* UIO_MAXIOV */
#define KB_BRIDGE 1024u  /* two ranges this near are read as one piece, see read_batch */

/* Least significant byte first, bytes in which all agree are skipped: a sort by comparison of 50,000 ranges would cost
 * the standing target several milliseconds. tmp has room for n. */
static void sort_items(struct kb_capture_item *v, struct kb_capture_item *tmp, size_t n)
{
	uint64_t differ = 0;
	for (size_t i = 1; i < n; i++)
		differ |= v[i].start ^ v[0].start;
	struct kb_capture_item *from = v, *to = tmp;
	for (unsigned shift = 0; shift < 64; shift += 8) {
		size_t at[257] = { 0 };
		if (!(differ >> shift & 255))
			continue;
		for (size_t i = 0; i < n; i++)
			at[(from[i].start >> shift & 255) + 1]++;
		for (size_t i = 0; i < 256; i++)
			at[i + 1] += at[i];
		for (size_t i = 0; i < n; i++)
			to[at[from[i].start >> shift & 255]++] = from[i];
		struct kb_capture_item *swap = from;
		from = to, to = swap;
	}
	if (from != v)
		memcpy(v, from, n * sizeof *v);
}

/* Sorted, without overlap, without empty ones. Returns how many are left. */
static size_t normalise(struct kb_capture_item *v, size_t n)
{
	bool sorted = true;
	for (size_t i = 1; i < n && sorted; i++)
		sorted = v[i - 1].start <= v[i].start;
	if (!sorted)
		sort_items(v, v + n, n);
	size_t out = 0;
	for (size_t i = 0; i < n; i++) {
		struct kb_capture_item it = v[i];
		kb_addr prev_end = out ? v[out - 1].start + v[out - 1].n : 0;
		if (it.start < prev_end) {
			uint64_t cut = prev_end - it.start;
			it.n = it.n > cut ? it.n - cut : 0;
			it.start = prev_end;
		}
		if (it.n)
			v[out++] = it;
	}
	return out;
}

/* A range captured before is read into its old copy: those pages are there already. */
static kb_error *place(struct kb_overlay *o, struct kb_capture_item *v, size_t n)
{
	uint64_t total = 0;
	size_t k = n ? kb_overlay_find(o, v[0].start) : 0;
	for (size_t i = 0; i < n; i++) {
		while (k < o->n && o->pieces[k].end <= v[i].start)
			k++;
		const struct kb_piece *p = k < o->n ? &o->pieces[k] : NULL;
		v[i].in_place = p && p->data && p->start == v[i].start && p->end == v[i].start + v[i].n;
		v[i].data = v[i].in_place ? p->data : NULL;
		if (!v[i].in_place && (total += v[i].n) < v[i].n)
			return kb_error_nomem();
	}
	uint8_t *room = total ? kb_overlay_alloc(o, total) : NULL;
	if (total && !room)
		return kb_error_nomem();
	for (size_t i = 0; i < n; i++)
		if (!v[i].in_place) {
			v[i].data = room;
			room += v[i].n;
		}
	return NULL;
}

/* Where the reading stands. */
struct run {
	kb_target *t;
	struct kb_capture_item *v;
	size_t n, i;
	size_t batch_end; /* the item behind the last call's */
	uint64_t off;     /* bytes of item i dealt with */
	uint64_t good;    /* start of the readable run that ends at off */
	size_t n_fresh;
};

static kb_error *emit(struct run *r, uint64_t from, uint64_t to, bool readable)
{
	struct kb_overlay *o = &r->t->overlay;
	const struct kb_capture_item *it = &r->v[r->i];
	if (from == to || (readable && it->in_place && from == 0 && to == it->n))
		return NULL;
	if (!KB_ROOM(o->fresh, r->n_fresh, o->fresh_cap, KB_MAX_CAPTURES))
		return kb_error_nomem();
	o->fresh[r->n_fresh++] =
		(struct kb_piece){ it->start + from, it->start + to, readable ? it->data + from : NULL };
	return NULL;
}

static kb_error *next_item_if_done(struct run *r)
{
	if (r->i < r->n && r->off == r->v[r->i].n) {
		KB_TRY(emit(r, r->good, r->off, true));
		r->i++;
		r->off = r->good = 0;
	}
	return NULL;
}

/* Bytes between item i and the next that were read with them, into nowhere. */
static uint64_t bridge(const struct kb_capture_item *v, size_t i)
{
	kb_addr end = v[i].start + v[i].n, next = v[i + 1].start;
	return next - end <= KB_BRIDGE || KB_PAGE_DOWN(end - 1) == KB_PAGE_DOWN(next) ? next - end : 0;
}

static kb_error *advance(struct run *r, uint64_t got)
{
	while (got) {
		size_t i = r->i;
		uint64_t left = r->v[i].n - r->off, step = got < left ? got : left;
		r->off += step;
		got -= step;
		KB_TRY(next_item_if_done(r));
		if (r->i != i && r->i < r->batch_end) {
			uint64_t gap = bridge(r->v, i);
			got -= got < gap ? got : gap;
		}
	}
	return NULL;
}

static kb_error *hole(struct run *r)
{
	const struct kb_capture_item *it = &r->v[r->i];
	KB_TRY(emit(r, r->good, r->off, true));
	uint64_t end = kb_live_after_hole(r->t, it->start + r->off, it->start + it->n) - it->start;
	KB_TRY(emit(r, r->off, end, false));
	r->off = r->good = end;
	return next_item_if_done(r);
}

/* The pieces of one call. The kernel takes the two lists for two streams of bytes: pieces near each other in the
 * target are one remote piece, as that is what costs (a page table walk each), and what lies between them goes to a
 * waste buffer. */
struct batch {
	struct iovec local[KB_IOV_MAX], remote[KB_IOV_MAX];
	size_t n_local, n_remote;
};

static void add_piece(struct batch *b, uint8_t *data, kb_addr a, size_t n)
{
	struct iovec *l = b->n_local ? &b->local[b->n_local - 1] : NULL,
		     *q = b->n_remote ? &b->remote[b->n_remote - 1] : NULL;
	if (l && (uint8_t *)l->iov_base + l->iov_len == data)
		l->iov_len += n;
	else
		b->local[b->n_local++] = (struct iovec){ data, n };
	if (q && (uintptr_t)q->iov_base + q->iov_len == a)
		q->iov_len += n;
	else
		b->remote[b->n_remote++] = (struct iovec){ (void *)(uintptr_t)a, n };
}

static void fill_batch(struct run *r, struct batch *b, uint8_t *waste)
{
	uint64_t off = r->off;
	size_t i = r->i;
	for (; i < r->n && b->n_local + 2 <= KB_IOV_MAX && b->n_remote < KB_IOV_MAX; i++, off = 0) {
		const struct kb_capture_item *it = &r->v[i];
		uint64_t gap = i > r->i ? bridge(r->v, i - 1) : 0;
		if (gap)
			add_piece(b, waste, it->start - gap, gap);
		add_piece(b, it->data + off, it->start + off, (size_t)(it->n - off));
	}
	r->batch_end = i;
}

static ssize_t read_batch(struct run *r)
{
	struct batch b;
	uint8_t waste[KB_PAGE];
	b.n_local = b.n_remote = 0;
	if (r->t->live.use_mem) {
		int err;
		const struct kb_capture_item *it = &r->v[r->i];
		size_t got =
			kb_live_read_run(r->t, it->start + r->off, it->data + r->off, (size_t)(it->n - r->off), &err);
		r->batch_end = r->i + 1;
		errno = err;
		return got ? (ssize_t)got : -1;
	}
	fill_batch(r, &b, waste);
	return process_vm_readv(r->t->live.pid, b.local, b.n_local, b.remote, b.n_remote, 0);
}

static kb_error *read_items(struct run *r)
{
	while (r->i < r->n) {
		ssize_t got = read_batch(r);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == ESRCH)
			return kb_live_gone(r->t);
		if (got < 0 && errno != EFAULT)
			return kb_error_errno(errno, "cannot read the memory of process %d", (int)r->t->live.pid);
		if (got > 0)
			KB_TRY(advance(r, (uint64_t)got));
		else
			KB_TRY(hole(r));
	}
	return NULL;
}

kb_error *kb_target_capture_many(kb_target *t, const kb_range *ranges, size_t n)
{
	struct kb_overlay *o = &t->overlay;
	if (t->core || !n)
		return NULL;
	/* Twice: the sort needs as much again. */
	if (n > KB_MAX_CAPTURES / 2 || !kb_grow(&o->items, &o->items_cap, 2 * n, sizeof *o->items, KB_MAX_CAPTURES))
		return kb_error_nomem();
	for (size_t i = 0; i < n; i++) {
		if (ranges[i].n > KB_ADDR_MAX - ranges[i].a)
			return kb_error_fault(ranges[i].a);
		o->items[i] = (struct kb_capture_item){ .start = ranges[i].a, .n = ranges[i].n };
	}
	struct run r = { .t = t, .v = o->items, .n = normalise(o->items, n) };
	KB_TRY(place(o, r.v, r.n));
	KB_TRY(read_items(&r));
	return kb_overlay_merge(o, o->fresh, r.n_fresh);
}

kb_error *kb_target_capture(kb_target *t, kb_addr a, size_t n)
{
	kb_range one = { a, n };
	return kb_target_capture_many(t, &one, 1);
}
