/* Paths, holders and numbers in words. */
#include "leaks.h"

#include <stdio.h>
#include <stdlib.h>

const char *kb_human_bytes(kb_arena *a, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)bytes;
	unsigned u = 0;
	while (v >= 1023.995 && u + 1 < KB_ARRAY_LEN(units)) {
		v /= 1024;
		u++;
	}
	const char *s = u == 0 ? kb_arena_printf(a, "%llu B", (unsigned long long)bytes) :
		 v < 10 ? kb_arena_printf(a, "%.2f %s", v, units[u]) :
		 v < 100 ? kb_arena_printf(a, "%.1f %s", v, units[u]) : kb_arena_printf(a, "%.0f %s", v, units[u]);
	return s ? s : "?";
}

const char *kb_human_count(kb_arena *a, uint64_t n)
{
	char digits[32], out[48];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), k = 0;
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			out[k++] = ',';
		out[k++] = digits[i];
	}
	const char *s = kb_arena_strndup(a, out, (size_t)k);
	return s ? s : "?";
}

static const char *class_word(const kb_holder *h)
{
	switch (h->kind) {
	case KB_ROOT_GLOBAL:
		return h->class_ == KB_CLASS_RUNTIME ? "runtime" : "global";
	case KB_ROOT_STACK:
		return "goroutine";
	case KB_ROOT_FINALIZER:
		return "finalizer";
	case KB_ROOT_CLEANUP:
		return "cleanup";
	case KB_ROOT_QUEUE:
		return "finalizer-queue";
	case KB_ROOT_TIMER:
		return "timer";
	case KB_ROOT_WEAK:
	case KB_ROOT_TINY:
		break;
	}
	return "runtime";
}

/* The function a funcval calls. */
static const char *funcval_name(const kb_facts *f, kb_addr fn)
{
	uint64_t pc;
	kb_func func;
	kb_error *err = fn ? kb_target_read_u64(f->target, fn, &pc) : NULL;
	if (!fn || err) {
		kb_error_free(err);
		return NULL;
	}
	return kb_go_func(f->go, pc, &func) ? func.name : NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static const char *goroutine_name(const kb_facts *f, kb_arena *a, const kb_holder *h)
{
	size_t n;
	const kb_goroutine *gs = kb_go_goroutines(f->go, &n);
	kb_line line;
	if (h->owner >= n)
		return "goroutine";
	if (gs[h->owner].goid == 1 && h->members == 1)
		return "goroutine 1 (main)";
	const char *many = kb_human_count(a, h->members), *s = h->members == 1 ? "" : "s";
	if (kb_go_created_by(f->go, h->owner, &line))
		return kb_arena_printf(a, "%s goroutine%s created by %s %s:%d", many, s, line.function, base_name(line.file), line.line);
	return kb_arena_printf(a, "%s goroutine%s", many, s);
}

kb_step kb_step_of_holder(const kb_facts *f, kb_arena *a, uint32_t holder)
{
	size_t n, nvars;
	const kb_holder *h = &kb_graph_holders(f->graph, &n)[holder];
	const kb_var *vars = kb_go_vars(f->go, &nvars);
	kb_step step = { .kind = class_word(h), .name = "", .type = "" };
	const char *fn = NULL;
	switch (h->kind) {
	case KB_ROOT_GLOBAL:
		if (h->owner < nvars) {
			step.name = vars[h->owner].name;
			step.type = vars[h->owner].type ? vars[h->owner].type->name : "";
			step.address = vars[h->owner].addr;
		}
		break;
	case KB_ROOT_STACK:
		step.name = goroutine_name(f, a, h);
		break;
	case KB_ROOT_FINALIZER:
	case KB_ROOT_CLEANUP:
	case KB_ROOT_TIMER:
		fn = funcval_name(f, h->key);
		step.name = kb_arena_printf(a, "%s %s%s%s", kb_human_count(a, h->members), step.kind, h->members == 1 ? "" : "s", fn ? " " : "");
		if (fn && step.name)
			step.name = kb_arena_printf(a, "%s%s", step.name, fn);
		break;
	case KB_ROOT_QUEUE:
		step.name = "finalizers and cleanups waiting to run";
		break;
	case KB_ROOT_WEAK:
		step.name = "weak pointer handles";
		break;
	case KB_ROOT_TINY:
		step.name = "tiny allocator blocks";
		break;
	}
	if (!step.name)
		step.name = "?";
	return step;
}

/* A path node says something to people when its edge has a name. */
static bool shown(const kb_facts *f, const kb_path_node *n)
{
	return kb_shape_label(kb_graph_shapes(f->graph), n->label)[0] != '\0';
}

kb_error *kb_steps_of_node(const kb_facts *f, kb_arena *arena, uint32_t node, kb_step **ret, size_t *ret_n)
{
	size_t npaths, n = 1;
	const kb_path_node *paths = kb_graph_paths(f->graph, &npaths);
	kb_shapes *shapes = kb_graph_shapes(f->graph);
	for (uint32_t i = node; paths[i].depth > 1; i = paths[i].parent)
		n += shown(f, &paths[i]);
	kb_step *steps = kb_arena_alloc(arena, n * sizeof(*steps));
	if (!steps)
		return kb_error_nomem();
	steps[0] = kb_step_of_holder(f, arena, paths[node].holder);
	size_t at = n;
	for (uint32_t i = node; paths[i].depth > 1; i = paths[i].parent) {
		const char *type = kb_shape_get(shapes, paths[i].shape)->name;
		if (shown(f, &paths[i]))
			steps[--at] = (kb_step){ .name = kb_shape_label(shapes, paths[i].label), .type = type ? type : "" };
		else if (paths[i].depth == 2 && !steps[0].type[0] && type && paths[i].shape)
			steps[0].type = type;
	}
	*ret = steps;
	*ret_n = n;
	return NULL;
}

void kb_finding_stamp(kb_finding *f)
{
	uint64_t h = kb_hash_bytes(f->rule->id, strlen(f->rule->id));
	for (size_t i = 0; i < f->nholder; i++) {
		const kb_step *s = &f->holder[i];
		h = kb_hash64(h ^ kb_hash_bytes(s->name, strlen(s->name)));
		h = kb_hash64(h ^ kb_hash_bytes(s->type, strlen(s->type)));
	}
	f->fingerprint = h;
}

/* Sampled bytes at one line. */
struct site {
	kb_line line;
	double bytes;
};

static int larger_site(const void *a, const void *b)
{
	const struct site *x = a, *y = b;
	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

static bool holds(const kb_facts *f, uint32_t wanted, kb_addr object)
{
	uint32_t id = kb_heap_object(kb_go_heap(f->go), object), holder, node;
	return id != KB_NO_ID && kb_graph_unit_of(f->graph, id, &holder, &node) && holder == wanted;
}

size_t kb_allocated_by(const kb_facts *f, uint32_t holder, kb_place *out, size_t max)
{
	size_t n, nbuckets, nsites = 0, cap = 0;
	const kb_special *sp = kb_go_specials(f->go, &n);
	const kb_bucket *buckets = kb_go_buckets(f->go, &nbuckets);
	struct site *sites = NULL;
	for (size_t i = 0; i < n; i++) {
		uint32_t b = sp[i].kind == KB_SPECIAL_PROFILE ? kb_go_bucket_at(f->go, sp[i].bucket) : KB_NO_ID;
		kb_line line;
		if (b == KB_NO_ID || !holds(f, holder, sp[i].object) || !kb_go_alloc_line(f->go, &buckets[b], &line))
			continue;
		size_t k = 0;
		while (k < nsites && (sites[k].line.function != line.function || sites[k].line.line != line.line))
			k++;
		if (k == nsites) {
			if (!KB_ROOM(sites, nsites, cap, 4096))
				break;
			sites[nsites++] = (struct site){ .line = line };
		}
		sites[k].bytes += kb_go_sample_weight(f->go, buckets[b].object_size);
	}
	if (nsites)
		qsort(sites, nsites, sizeof(*sites), larger_site);
	n = nsites < max ? nsites : max;
	for (size_t i = 0; i < n; i++)
		out[i] = (kb_place){ .function = sites[i].line.function, .file = sites[i].line.file, .line = sites[i].line.line };
	free(sites);
	return n;
}
