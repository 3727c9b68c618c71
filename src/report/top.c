/* top: holders by what they retain, types by bytes, goroutines by what they alone keep. */
#include "private.h"

#include <stdlib.h>

/* A line of the holder table. */
struct row {
	kb_step holder;
	const char *path; /* "" or the way to a shared object */
	uint64_t bytes, objects;
	double share;
};

static bool wanted(enum kb_top_by by, const kb_holder *h) { return by != KB_TOP_GOROUTINE || h->kind == KB_ROOT_STACK; }

static const char *path_text(const kb_facts *f, kb_arena *a, uint32_t node, const char **ret_type)
{
	kb_step *s;
	size_t n;
	*ret_type = "";
	kb_error *err = kb_steps_of_node(f, a, node, &s, &n);
	if (err) {
		kb_error_free(err);
		return "";
	}
	*ret_type = s[n - 1].type;
	kb_str b = { 0 };
	for (size_t i = 1; i < n; i++)
		kb_str_add(&b, s[i].name);
	const char *t = b.s ? kb_arena_strndup(a, b.s, b.n) : "";
	kb_str_free(&b);
	return t ? t : "";
}

static kb_error *rows_of(const kb_facts *f, kb_arena *a, enum kb_top_by by, size_t limit, struct row **ret, size_t *ret_n)
{
	kb_unit *units;
	size_t n, nholders, kept = 0;
	const kb_holder *holders = kb_graph_holders(f->graph, &nholders);
	double whole = (double)kb_graph_stats_get(f->graph)->reached_bytes;
	KB_TRY(kb_graph_units(f->graph, 1, &units, &n));
	struct row *rows = kb_arena_alloc(a, (n < limit ? n : limit) * sizeof(*rows) + 1);
	for (size_t i = 0; rows && i < n && kept < limit; i++) {
		if (!wanted(by, &holders[units[i].holder]))
			continue;
		struct row *r = &rows[kept++];
		const char *type = "";
		*r = (struct row){ .holder = kb_step_of_holder(f, a, units[i].holder), .path = "", .bytes = units[i].bytes, .objects = units[i].objects,
				   .share = whole > 0 ? (double)units[i].bytes / whole : 0 };
		if (units[i].object != KB_NO_ID) {
			r->path = path_text(f, a, units[i].node, &type);
			r->holder.kind = "shared";
			const kb_span *span = kb_heap_span_of_id(kb_go_heap(f->go), units[i].object);
			r->holder.address = units[i].members == 1 ? kb_span_addr(span, units[i].object) : 0;
			r->holder.type = type;
		}
	}
	free(units);
	*ret = rows;
	*ret_n = kept;
	return rows ? NULL : kb_error_nomem();
}

static kb_error *put_types(FILE *out, kb_arena *a, const kb_look *look, size_t limit, const kb_style *st)
{
	struct type_sum *types;
	size_t n;
	KB_TRY(types_by_bytes(look->facts, &types, &n));
	put_color(out, st, C_BOLD, "      bytes       objects  type\n");
	for (size_t i = 0; i < n && i < limit; i++)
		fprintf(out, "%11s %13s  %s\n", kb_human_bytes(a, types[i].bytes), kb_human_count(a, types[i].objects), clean(a, types[i].name));
	free(types);
	return NULL;
}

kb_error *kb_top_text(FILE *out, const kb_look *look, enum kb_top_by by, size_t limit, const kb_style *st)
{
	kb_arena a = { 0 };
	struct row *rows;
	size_t n;
	kb_error *err;
	if (by == KB_TOP_TYPE) {
		err = put_types(out, &a, look, limit, st);
		kb_arena_free(&a);
		return err;
	}
	err = rows_of(look->facts, &a, by, limit, &rows, &n);
	if (!err) {
		const kb_graph_stats *s = kb_graph_stats_get(look->facts->graph);
		put_color(out, st, C_BOLD, "   retained       %       objects  holder\n");
		for (size_t i = 0; i < n; i++)
			fprintf(out, "%11s %6.1f%% %13s  %-9s %s%s%s%s\n", kb_human_bytes(&a, rows[i].bytes), 100 * rows[i].share,
				kb_human_count(&a, rows[i].objects), rows[i].holder.kind, clean(&a, rows[i].holder.name), clean(&a, rows[i].path),
				rows[i].holder.type[0] ? "  " : "", clean(&a, rows[i].holder.type));
		if (s->unreached_bytes && by == KB_TOP_HOLDER)
			fprintf(out, "%11s         %13s  (%s)\n", kb_human_bytes(&a, s->unreached_bytes),
				kb_human_count(&a, s->unreached_objects), look->partial ? "not reached: not all was read" : "garbage, not yet freed");
	}
	kb_arena_free(&a);
	return err;
}

static json_t *json_row(const struct row *r)
{
	json_t *o = json_object();
	json_object_set_new(o, "kind", json_text(r->holder.kind));
	json_object_set_new(o, "name", json_text(r->holder.name));
	if (r->path[0])
		json_object_set_new(o, "path", json_text(r->path));
	json_object_set_new(o, "type", json_text(r->holder.type));
	json_object_set_new(o, "address", json_addr(r->holder.address));
	json_object_set_new(o, "retained_bytes", json_integer((json_int_t)r->bytes));
	json_object_set_new(o, "objects", json_integer((json_int_t)r->objects));
	return o;
}

kb_error *kb_top_json(FILE *out, const kb_look *look, size_t limit)
{
	kb_arena a = { 0 };
	struct row *rows;
	struct type_sum *types = NULL;
	size_t n, ntypes;
	kb_error *err = rows_of(look->facts, &a, KB_TOP_HOLDER, limit, &rows, &n);
	if (!err)
		err = types_by_bytes(look->facts, &types, &ntypes);
	if (!err) {
		json_t *o = json_object(), *list;
		const kb_graph_stats *s = kb_graph_stats_get(look->facts->graph);
		json_object_set_new(o, "schema", json_string("keptby/top/1"));
		json_object_set_new(o, "target", json_target(look));
		json_object_set_new(o, "holders", list = json_array());
		for (size_t i = 0; i < n; i++)
			json_array_append_new(list, json_row(&rows[i]));
		json_object_set_new(o, "unreachable", json_pack("{s:I,s:I}", "bytes", (json_int_t)s->unreached_bytes, "objects",
								(json_int_t)s->unreached_objects));
		json_object_set_new(o, "types", list = json_array());
		for (size_t i = 0; i < ntypes && i < limit; i++) {
			json_t *t = json_object();
			json_object_set_new(t, "type", json_text(types[i].name));
			json_object_set_new(t, "bytes", json_integer((json_int_t)types[i].bytes));
			json_object_set_new(t, "objects", json_integer((json_int_t)types[i].objects));
			json_array_append_new(list, t);
		}
		err = json_finish(out, o);
	}
	free(types);
	kb_arena_free(&a);
	return err;
}
