/* Rule memory/rss: a resident set that the live heap does not explain. */
#include "leaks.h"

#include <stdlib.h>

static const uint64_t least = 32 << 20;
static const double large_share = 0.4;

struct part {
	const char *name, *text;
	uint64_t bytes;
};

static kb_error *add(const kb_facts *f, kb_findings *out, const struct part *p)
{
	kb_arena *a = &out->arena;
	kb_step *step = kb_arena_alloc(a, sizeof(*step));
	const char **evidence = kb_arena_alloc(a, 2 * sizeof(*evidence));
	if (!step || !evidence)
		return kb_error_nomem();
	*step = (kb_step){ .kind = "memory", .name = p->name, .type = "" };
	evidence[0] = kb_arena_printf(a, "%s of %s resident (%.0f %%); live Go heap %s.", kb_human_bytes(a, p->bytes), kb_human_bytes(a, f->rss->rss),
				      100.0 * (double)p->bytes / (double)f->rss->rss, kb_human_bytes(a, f->rss->go_heap));
	kb_finding fd = { .rule = kb_rule_find("memory/rss"), .confidence = KB_SUSPECT, .bytes = p->bytes, .count = 1, .holder = step, .nholder = 1,
			  .evidence = evidence, .nevidence = evidence[0] ? 1 : 0,
			  .summary = kb_arena_printf(a, "%s: %s", p->text, kb_human_bytes(a, p->bytes)) };
	kb_finding_stamp(&fd);
	if (!KB_ROOM(out->items, out->n, out->cap, SIZE_MAX))
		return kb_error_nomem();
	out->items[out->n++] = fd;
	return NULL;
}

kb_error *kb_leaks_memory(const kb_facts *f, kb_findings *out)
{
	if (!f->rss || !f->rss->rss)
		return NULL;
	const struct part parts[] = {
		{ "go_idle", "freed heap that is still resident", f->rss->go_idle },
		{ "go_stacks", "goroutine stacks", f->rss->go_stacks },
		{ "go_runtime", "the runtime's own tables", f->rss->go_runtime },
		{ "c_heap", "C heap (malloc)", f->rss->c_heap },
		{ "c_idle", "free chunks that malloc keeps", f->rss->c_idle },
		{ "other", "memory outside Go and malloc", f->rss->other },
	};
	for (size_t i = 0; i < KB_ARRAY_LEN(parts); i++)
		if (parts[i].bytes >= least && (double)parts[i].bytes >= large_share * (double)f->rss->rss)
			KB_TRY(add(f, out, &parts[i]));
	return NULL;
}
