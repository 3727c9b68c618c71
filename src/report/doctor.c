/* The leak report as text and JSON. */
#include "private.h"

static void put_memory(FILE *out, kb_arena *a, const kb_rss *r)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} parts[] = { { "Go heap", r->go_heap }, { "idle", r->go_idle }, { "stacks", r->go_stacks }, { "runtime", r->go_runtime },
		      { "C heap", r->c_heap }, { "C idle", r->c_idle }, { "files", r->files }, { "other", r->other } };
	fprintf(out, "RSS %s =", kb_human_bytes(a, r->rss));
	bool first = true;
	for (size_t i = 0; i < KB_ARRAY_LEN(parts); i++) {
		if (!parts[i].bytes)
			continue;
		fprintf(out, "%s %s %s", first ? "" : " +", parts[i].name, kb_human_bytes(a, parts[i].bytes));
		first = false;
	}
	if (r->swap)
		fprintf(out, "   (and %s swapped out)", kb_human_bytes(a, r->swap));
	fputc('\n', out);
}

static void put_head(FILE *out, kb_arena *a, const kb_look *look, const kb_style *st)
{
	const kb_target_info *t = kb_target_info_get(look->facts->target);
	const kb_go_info *g = kb_go_info_get(look->facts->go);
	put_color(out, st, C_BOLD, clean(a, base_of(t->exe)));
	if (t->pid)
		fprintf(out, "  pid %d", (int)t->pid);
	if (t->inner_pid && t->inner_pid != t->pid)
		fprintf(out, " (%d inside)", (int)t->inner_pid);
	fprintf(out, "  %s linux/amd64", clean(a, g->version));
	if (t->kind == KB_TARGET_LIVE)
		fprintf(out, "  up %s", human_duration(a, (double)t->age_seconds));
	if (t->kind == KB_TARGET_LIVE)
		fprintf(out, "   stood still for %s, read in %s\n", human_duration(a, (double)t->stopped_ns / 1e9),
			human_duration(a, (double)look->read_ns / 1e9));
	else
		fprintf(out, "   core, read in %s\n", human_duration(a, (double)look->read_ns / 1e9));
}

static void put_heap(FILE *out, kb_arena *a, const kb_look *look)
{
	const kb_heap *h = kb_go_heap(look->facts->go);
	const kb_graph_stats *s = kb_graph_stats_get(look->facts->graph);
	size_t ngs;
	kb_go_goroutines(look->facts->go, &ngs);
	uint64_t live = h->bytes - h->unswept_bytes;
	double told = live ? 100.0 * (double)s->reached_bytes / (double)live : 100.0;
	fprintf(out, "heap %s in %s objects (%.1f %% reached by a holder", kb_human_bytes(a, h->bytes), kb_human_count(a, h->objects),
		told > 100 ? 100.0 : told);
	if (s->unreached_bytes)
		fprintf(out, "; %s %s", kb_human_bytes(a, s->unreached_bytes),
			look->partial ? "was not reached, since not all was read" : "is garbage not yet freed");
	fprintf(out, ")   %s goroutines\n", kb_human_count(a, ngs));
}

static void put_place(FILE *out, kb_arena *a, const char *what, const kb_place *p)
{
	fprintf(out, "        %s %s  %s:%d\n", what, clean(a, p->function), clean(a, base_of(p->file)), p->line);
}

static void put_sentences(FILE *out, const char *lead, const char *text, int width)
{
	int at = fprintf(out, "        %s", lead);
	int limit = width > 40 ? width : 100;
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, " ");
		if (at + (int)n + 1 > limit)
			at = fprintf(out, "\n        ") - 1;
		else if (p != text)
			at += fprintf(out, " ");
		at += fprintf(out, "%.*s", (int)n, p);
		p += n;
		p += strspn(p, " ");
	}
	fputc('\n', out);
}

static void put_finding(FILE *out, kb_arena *a, const kb_finding *f, const kb_style *st)
{
	char word[16];
	snprintf(word, sizeof(word), "%-8s", confidence_word(f->confidence));
	put_color(out, st, f->confidence == KB_PROVEN ? C_RED : f->confidence == KB_LIKELY ? C_YELLOW : C_CYAN, word);
	put_color(out, st, C_BOLD, f->rule->id);
	fprintf(out, "  %s\n        %s\n", kb_human_bytes(a, f->bytes), clean(a, f->summary));
	if (f->nholder > 1) {
		fprintf(out, "        %s", clean(a, f->holder[0].name));
		for (size_t i = 1; i < f->nholder; i++)
			fprintf(out, " %s %s%s%s", arrow(st), clean(a, f->holder[i].name), f->holder[i].type[0] ? " " : "", clean(a, f->holder[i].type));
		fputc('\n', out);
	}
	if (f->where)
		put_place(out, a, "at", f->where);
	if (f->created_by)
		put_place(out, a, "created by", f->created_by);
	for (size_t i = 0; i < f->nallocated_by && i < 2; i++)
		put_place(out, a, i ? "and by" : "allocated by", &f->allocated_by[i]);
	for (size_t i = 0; i < f->nevidence; i++)
		put_sentences(out, "", clean(a, f->evidence[i]), st->width);
	put_sentences(out, "Fix: ", f->rule->advice, st->width);
	fputc('\n', out);
}

kb_error *kb_report_text(FILE *out, const kb_look *look, const kb_style *st)
{
	kb_arena a = { 0 };
	const kb_go_info *g = kb_go_info_get(look->facts->go);
	put_head(out, &a, look, st);
	if (look->facts->rss)
		put_memory(out, &a, look->facts->rss);
	put_heap(out, &a, look);
	for (size_t i = 0; i < g->ngaps; i++)
		fprintf(out, "not read: %s\n", clean(&a, g->gaps[i]));
	fputc('\n', out);
	for (size_t i = 0; i < look->findings->n; i++)
		put_finding(out, &a, &look->findings->items[i], st);
	if (look->findings->n)
		fprintf(out, "%zu finding%s.  keptby explain %s says more.\n", look->findings->n, look->findings->n == 1 ? "" : "s",
			look->findings->items[0].rule->id);
	else
		fprintf(out, "No findings%s: no holder keeps a large part of the heap.  keptby top lists the largest.\n",
			look->partial ? " in what could be read" : "");
	kb_arena_free(&a);
	return ferror(out) ? kb_error_new(KB_E_IO, "cannot write the report") : NULL;
}

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *json_u64(uint64_t v) { return json_integer((json_int_t)v); }

static json_t *json_memory(const kb_look *look)
{
	const kb_heap *h = kb_go_heap(look->facts->go);
	const kb_rss *r = look->facts->rss;
	json_t *o = json_object();
	json_object_set_new(o, "rss", r ? json_u64(r->rss) : json_null());
	json_object_set_new(o, "go_heap", json_u64(r ? r->go_heap : h->bytes));
	json_object_set_new(o, "go_heap_objects", json_u64(h->objects));
	json_object_set_new(o, "go_heap_alloc", json_u64(h->bytes));
	if (r) {
		json_object_set_new(o, "go_idle", json_u64(r->go_idle));
		json_object_set_new(o, "go_stacks", json_u64(r->go_stacks));
		json_object_set_new(o, "go_runtime", json_u64(r->go_runtime));
		json_object_set_new(o, "c_heap", json_u64(r->c_heap));
		json_object_set_new(o, "c_idle", json_u64(r->c_idle));
		json_object_set_new(o, "files", json_u64(r->files));
		json_object_set_new(o, "other", json_u64(r->other));
		json_object_set_new(o, "swap", json_u64(r->swap));
	}
	return o;
}

static json_t *json_coverage(const kb_look *look)
{
	const kb_heap *h = kb_go_heap(look->facts->go);
	const kb_graph_stats *s = kb_graph_stats_get(look->facts->graph);
	size_t n, conservative = 0, failed = 0;
	const kb_goroutine *gs = kb_go_goroutines(look->facts->go, &n);
	for (size_t i = 0; i < n; i++) {
		conservative += gs[i].conservative || gs[i].from_registers;
		failed += gs[i].unwind_failed;
	}
	json_t *o = json_object();
	json_object_set_new(o, "heap_bytes", json_u64(h->bytes));
	json_object_set_new(o, "heap_objects", json_u64(h->objects));
	json_object_set_new(o, "complete", json_boolean(!look->partial));
	json_object_set_new(o, "accounted_bytes", json_u64(s->reached_bytes + s->unreached_bytes));
	json_object_set_new(o, "reachable_bytes", json_u64(s->reached_bytes));
	json_object_set_new(o, "unreachable_bytes", json_u64(s->unreached_bytes));
	json_object_set_new(o, "unswept_bytes", json_u64(h->unswept_bytes));
	json_object_set_new(o, "typed_bytes", json_u64(s->typed_bytes));
	json_object_set_new(o, "unreadable_bytes", json_u64(s->unreadable_bytes));
	json_object_set_new(o, "conservative_stacks", json_u64(conservative));
	json_object_set_new(o, "failed_stacks", json_u64(failed));
	return o;
}

static json_t *json_place(const kb_place *p)
{
	json_t *o = json_object();
	json_object_set_new(o, "function", json_text(p->function));
	json_object_set_new(o, "file", json_text(p->file));
	json_object_set_new(o, "line", json_integer(p->line));
	return o;
}

static json_t *json_finding(const kb_finding *f)
{
	char family[32], print[32];
	snprintf(family, sizeof(family), "%.*s", (int)strcspn(f->rule->id, "/"), f->rule->id);
	snprintf(print, sizeof(print), "%016llx", (unsigned long long)f->fingerprint);
	json_t *o = json_object(), *list;
	json_object_set_new(o, "rule", json_string(f->rule->id));
	json_object_set_new(o, "family", json_string(family));
	json_object_set_new(o, "confidence", json_string(confidence_json(f->confidence)));
	json_object_set_new(o, "fingerprint", json_string(print));
	json_object_set_new(o, "summary", json_text(f->summary));
	json_object_set_new(o, "count", json_u64(f->count));
	json_object_set_new(o, "bytes", json_u64(f->bytes));
	if (f->where)
		json_object_set_new(o, "where", json_place(f->where));
	if (f->created_by)
		json_object_set_new(o, "created_by", json_place(f->created_by));
	json_object_set_new(o, "holder", list = json_array());
	for (size_t i = 0; i < f->nholder; i++)
		json_array_append_new(list, json_step(&f->holder[i]));
	json_object_set_new(o, "allocated_by", list = json_array());
	for (size_t i = 0; i < f->nallocated_by; i++)
		json_array_append_new(list, json_place(&f->allocated_by[i]));
	if (f->ngoids) {
		json_object_set_new(o, "goids", list = json_array());
		for (size_t i = 0; i < f->ngoids; i++)
			json_array_append_new(list, json_u64(f->goids[i]));
	}
	if (f->growth_seconds > 0)
		json_object_set_new(o, "growth", json_pack("{s:I,s:I,s:f}", "bytes", (json_int_t)f->growth_bytes, "count", (json_int_t)f->growth_count,
							   "seconds", f->growth_seconds));
	json_object_set_new(o, "evidence", list = json_array());
	for (size_t i = 0; i < f->nevidence; i++)
		json_array_append_new(list, json_text(f->evidence[i]));
	json_object_set_new(o, "advice", json_text(f->rule->advice));
	json_object_set_new(o, "learn_more", json_text(f->rule->link));
	return o;
}

kb_error *kb_report_json(FILE *out, const kb_look *look)
{
	size_t ngs;
	const kb_go_info *g = kb_go_info_get(look->facts->go);
	json_t *o = json_object(), *list;
	kb_go_goroutines(look->facts->go, &ngs);
	json_object_set_new(o, "schema", json_string("keptby/report/1"));
	json_object_set_new(o, "tool", json_pack("{s:s,s:s}", "name", "keptby", "version", KB_VERSION));
	json_object_set_new(o, "target", json_target(look));
	json_object_set_new(o, "memory", json_memory(look));
	json_object_set_new(o, "coverage", json_coverage(look));
	json_object_set_new(o, "goroutines", json_pack("{s:I,s:n}", "total", (json_int_t)ngs, "leaked"));
	json_object_set_new(o, "findings", list = json_array());
	for (size_t i = 0; i < look->findings->n; i++)
		json_array_append_new(list, json_finding(&look->findings->items[i]));
	json_object_set_new(o, "gaps", list = json_array());
	for (size_t i = 0; i < g->ngaps; i++)
		json_array_append_new(list, json_text(g->gaps[i]));
	return json_finish(out, o);
}
