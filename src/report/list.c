/* The list of Go processes. */
#include "private.h"

static const char *or_dash(const char *s) { return s && s[0] ? s : "-"; }

static void put_row(FILE *out, kb_arena *a, const kb_listed *l)
{
	const kb_process *p = l->process;
	fprintf(out, "%7d %8s %-12s %10s %10s %10s  %s%s", (int)p->pid, human_duration(a, (double)p->age_seconds), or_dash(clean(a, l->go_version)),
		kb_human_bytes(a, p->rss), l->heap ? kb_human_bytes(a, l->heap) : "-", l->goroutines ? kb_human_count(a, l->goroutines) : "-",
		or_dash(clean(a, p->exe)), p->deleted ? " (deleted)" : "");
	if (l->why_not)
		fprintf(out, "  [cannot be read: %s]", clean(a, l->why_not));
	fputc('\n', out);
}

static json_t *json_row(const kb_listed *l)
{
	const kb_process *p = l->process;
	json_t *o = json_object();
	json_object_set_new(o, "pid", json_integer(p->pid));
	json_object_set_new(o, "age_seconds", json_integer((json_int_t)p->age_seconds));
	json_object_set_new(o, "go_version", json_text(l->go_version));
	json_object_set_new(o, "rss", json_integer((json_int_t)p->rss));
	json_object_set_new(o, "heap", l->heap ? json_integer((json_int_t)l->heap) : json_null());
	json_object_set_new(o, "goroutines", l->goroutines ? json_integer((json_int_t)l->goroutines) : json_null());
	json_object_set_new(o, "exe", json_text(p->exe));
	json_object_set_new(o, "deleted", json_boolean(p->deleted));
	json_object_set_new(o, "readable", json_boolean(!l->why_not));
	if (l->why_not)
		json_object_set_new(o, "why_not", json_text(l->why_not));
	return o;
}

kb_error *kb_list(FILE *out, const kb_listed *items, size_t n, enum kb_format format, const kb_style *st)
{
	if (format == KB_FORMAT_JSON) {
		json_t *o = json_object(), *list = json_array();
		json_object_set_new(o, "schema", json_string("keptby/list/1"));
		json_object_set_new(o, "processes", list);
		for (size_t i = 0; i < n; i++)
			json_array_append_new(list, json_row(&items[i]));
		return json_finish(out, o);
	}
	if (!n) {
		fputs("No Go process found on this machine (in this PID namespace).\n", out);
		return NULL;
	}
	kb_arena a = { 0 };
	put_color(out, st, C_BOLD, "    PID      AGE GO                  RSS       HEAP GOROUTINES  EXECUTABLE\n");
	for (size_t i = 0; i < n; i++)
		put_row(out, &a, &items[i]);
	kb_arena_free(&a);
	return ferror(out) ? kb_error_new(KB_E_IO, "cannot write the list") : NULL;
}
