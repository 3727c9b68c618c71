/* debug: what keptby's own tests ask. Not for users, and not part of any contract.
 *   mark PID    compares what is reached from outside with what the runtime keeps, object by object
 *   stacks PID  all goroutines with their frames
 *   man         the manual page */
#include "cli.h"

#include <jansson.h>
#include <stdlib.h>

enum { MAX_EXAMPLES = 20, MAX_FRAMES = 512 };

static json_t *example(const kb_span *s, uint32_t i)
{
	char text[64];
	snprintf(text, sizeof(text), "0x%llx size %llu%s", (unsigned long long)(s->base + i * s->elem_size), (unsigned long long)s->elem_size,
		 s->flags & KB_SPAN_NOSCAN ? " noscan" : "");
	return json_string(text);
}

static kb_error *mark(const kb_session *s)
{
	const kb_heap *h = kb_go_heap(s->go);
	uint64_t both = 0, extra = 0, missed = 0;
	json_t *missing = json_array(), *more = json_array();
	for (size_t k = 0; k < h->nspans; k++) {
		const kb_span *sp = &h->spans[k];
		for (uint32_t i = 0; i < sp->nelems; i++) {
			bool live = kb_span_live(sp, i), reached = kb_graph_path_of(s->graph, sp->first_id + i);
			both += live && reached;
			extra += !live && reached;
			missed += live && !reached;
			if (live && !reached && json_array_size(missing) < MAX_EXAMPLES)
				json_array_append_new(missing, example(sp, i));
			if (!live && reached && json_array_size(more) < MAX_EXAMPLES)
				json_array_append_new(more, example(sp, i));
		}
	}
	const kb_graph_stats *st = kb_graph_stats_get(s->graph);
	json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:I}", "objects", (json_int_t)h->objects, "bytes", (json_int_t)h->bytes, "both", (json_int_t)both,
			      "missed", (json_int_t)missed, "extra", (json_int_t)extra, "typed_bytes", (json_int_t)st->typed_bytes, "missing", missing, "more", more,
			      "edges", (json_int_t)st->edges);
	json_dumpf(o, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(o);
	return NULL;
}

static json_t *json_frame(const kb_line *l)
{
	return json_pack("{s:s,s:s,s:i,s:b}", "function", l->function, "file", l->file, "line", l->line, "inlined", l->inlined);
}

static json_t *json_frames(const kb_go *go, uint32_t index)
{
	kb_frame *frames = malloc(MAX_FRAMES * sizeof(*frames));
	json_t *list = json_array();
	bool complete;
	size_t n = frames ? kb_go_frames(go, index, frames, MAX_FRAMES, &complete) : 0;
	for (size_t i = 0; i < n; i++) {
		kb_line lines[16];
		size_t nl = kb_go_lines(go, frames[i].line_pc, lines, KB_ARRAY_LEN(lines));
		for (size_t k = 0; k < nl; k++)
			json_array_append_new(list, json_frame(&lines[k]));
	}
	free(frames);
	return list;
}

static kb_error *stacks(const kb_session *s)
{
	size_t n;
	const kb_goroutine *gs = kb_go_goroutines(s->go, &n);
	for (uint32_t i = 0; i < n; i++) {
		kb_line by;
		json_t *o = json_pack("{s:I,s:i,s:s,s:b,s:b,s:o}", "goid", (json_int_t)gs[i].goid, "status", (int)gs[i].status, "wait_reason", gs[i].wait_reason,
				      "system", gs[i].is_system, "unwind_failed", gs[i].unwind_failed, "frames", json_frames(s->go, i));
		if (kb_go_created_by(s->go, i, &by))
			json_object_set_new(o, "created_by", json_frame(&by));
		json_dumpf(o, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(o);
	}
	return NULL;
}

int kb_cmd_debug(const kb_options *opt)
{
	const char *what = opt->nargs ? opt->args[0] : "";
	if (strcmp(what, "man") == 0) {
		kb_print_man(stdout);
		return KB_EXIT_OK;
	}
	bool is_mark = strcmp(what, "mark") == 0;
	if ((!is_mark && strcmp(what, "stacks") != 0) || (opt->nargs < 2 && !opt->core)) {
		fputs("keptby: debug mark|stacks PID, debug man\n", stderr);
		return KB_EXIT_USAGE;
	}
	kb_session s;
	kb_error *err = kb_session_open(&s, opt, opt->nargs > 1 ? opt->args[1] : NULL);
	if (!err && is_mark)
		err = kb_session_read(&s, opt);
	if (!err)
		err = is_mark ? mark(&s) : stacks(&s);
	kb_session_close(&s);
	return err ? kb_fail(err) : KB_EXIT_OK;
}
