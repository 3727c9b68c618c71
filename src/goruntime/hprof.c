/* The runtime's own heap profile (runtime/mprof.go): a list of buckets, each a call stack and how often it allocated. Buckets are never
 * freed and their stacks never change, so they can be read while the target runs. */
#include "private.h"

#include <math.h>
#include <stdlib.h>

enum {
	MAX_BUCKETS = 1 << 20,
	MAX_STACK = 1024,   /* pcs of a bucket; GODEBUG=profstackdepth allows no more */
	WINDOW = 64 * 1024, /* buckets come from 256 KiB chunks: neighbours in the list are neighbours in memory */
};

struct window {
	kb_addr start;
	size_t n;
	uint8_t *bytes;
};

/* n bytes at a (n small against the window), valid until the next call. NULL when nothing can be read there. */
static const uint8_t *look(const kb_go *go, struct window *w, kb_addr a, size_t n)
{
	if (a < w->start || a - w->start > w->n || n > w->n - (a - w->start)) {
		w->start = a & ~(kb_addr)4095;
		w->n = 0;
		if (w->start > KB_ADDR_MAX - WINDOW || !kb_target_read_holes(go->target, w->start, w->bytes, WINDOW))
			return NULL;
		w->n = WINDOW;
	}
	return a - w->start <= w->n && n <= w->n - (a - w->start) ? w->bytes + (a - w->start) : NULL;
}

struct loader {
	kb_go *go;
	struct window window;
	size_t cap;
	bool damaged;
};

/* Appends the bucket at a; *ret_next is the next of the list. False ends the walk. */
static bool load_one(struct loader *l, kb_addr a, kb_addr *ret_next)
{
	kb_go *go = l->go;
	const kb_layout *lay = &go->layout;
	uint32_t head = kb_sizeof(lay, KB_S_bucket), rec = kb_sizeof(lay, KB_S_memRecordCycle);
	const uint8_t *p = look(go, &l->window, a, head);
	if (!p)
		return false;
	kb_bytes b = { p, head };
	uint64_t npcs = kb_field_of(go, b, KB_F_bucket_nstk), size = kb_field_of(go, b, KB_F_bucket_size);
	*ret_next = kb_field_of(go, b, KB_F_bucket_allnext);
	if (npcs > MAX_STACK || size > UINT64_C(1) << 46)
		return false;
	p = look(go, &l->window, a + head, npcs * 8 + rec);
	kb_addr *pcs = kb_arena_alloc(&go->arena, npcs * 8 + 8);
	if (!p || !pcs || !KB_ROOM(go->buckets, go->nbuckets, l->cap, MAX_BUCKETS))
		return false;
	memcpy(pcs, p, npcs * 8);
	/* memRecord.active, of completed cycles, is its first field. */
	kb_bytes r = { p + npcs * 8, rec };
	if (!kb_map_put(&go->bucket_index, a, go->nbuckets))
		return false;
	go->buckets[go->nbuckets++] = (kb_bucket){ .addr = a, .object_size = size, .pcs = pcs, .npcs = (uint32_t)npcs,
						   .allocs = kb_field_of(go, r, KB_F_memRecordCycle_allocs),
						   .frees = kb_field_of(go, r, KB_F_memRecordCycle_frees) };
	return true;
}

kb_error *kb_buckets_load(kb_go *go)
{
	kb_addr a = 0, next = 0;
	uint64_t seen;
	if (!go->vars.mbuckets || !kb_sizeof(&go->layout, KB_S_bucket) || !kb_sizeof(&go->layout, KB_S_memRecordCycle))
		return NULL;
	KB_TRY(kb_target_read_u64(go->target, go->vars.mbuckets, &a));
	struct loader l = { .go = go, .window.bytes = malloc(WINDOW) };
	if (!l.window.bytes)
		return kb_error_nomem();
	/* A cycle is met as an address seen before; the push in front of the list does not change what follows. */
	for (; a && !kb_map_get(&go->bucket_index, a, &seen); a = next)
		if (!load_one(&l, a, &next))
			break;
	free(l.window.bytes);
	if (a)
		kb_go_gap(go, "heap profile: bucket at 0x%llx is damaged; %zu read", (unsigned long long)a, go->nbuckets);
	return NULL;
}

const kb_bucket *kb_go_buckets(const kb_go *go, size_t *ret_n)
{
	*ret_n = go->nbuckets;
	return go->buckets;
}

uint32_t kb_go_bucket_at(const kb_go *go, kb_addr addr)
{
	uint64_t i;
	return kb_map_get(&go->bucket_index, addr, &i) ? (uint32_t)i : KB_NO_ID;
}

/* The runtime takes a sample about every mem_profile_rate bytes, exponentially distributed (runtime/pprof.scaleHeapSample). */
double kb_go_sample_weight(const kb_go *go, uint64_t object_size)
{
	double rate = (double)go->info.mem_profile_rate, size = (double)object_size;
	if (rate <= 1 || object_size == 0)
		return size;
	return size / (1 - exp(-size / rate));
}

/* Packages that allocate for their callers: their line tells nobody whose memory it is. Their own use of memory goes to the line that called them. */
static bool allocates_for_others(const char *function)
{
	static const char *const prefixes[] = { "runtime.", "internal/", "reflect.", "sync.", "sync/atomic.", "maps.", "slices.", "strings.",
						"bytes.", "bufio.", "strconv.", "fmt.", "errors.", "unique.", "sort.", "iter.", "io.ReadAll",
						"os.ReadFile", "container/" };
	for (size_t i = 0; i < KB_ARRAY_LEN(prefixes); i++)
		if (!strncmp(function, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

bool kb_go_alloc_line(const kb_go *go, const kb_bucket *b, kb_line *ret)
{
	enum { INLINED = 32 };
	bool have = false;
	for (uint32_t i = 0; i < b->npcs; i++) {
		kb_line lines[INLINED];
		if (!b->pcs[i])
			continue;
		size_t n = kb_go_lines(go, b->pcs[i] - 1, lines, INLINED);
		for (size_t k = 0; k < n; k++) {
			bool runtime = !strncmp(lines[k].function, "runtime.", 8);
			if (!have && !runtime) { /* better than nothing: the first frame outside the runtime */
				*ret = lines[k];
				have = true;
			}
			if (!allocates_for_others(lines[k].function)) {
				*ret = lines[k];
				return true;
			}
		}
	}
	return have;
}
