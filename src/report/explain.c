/* The catalogue of rules, for reading. */
#include "private.h"

static void put_rule(FILE *out, const kb_rule *r, const kb_style *st)
{
	put_color(out, st, C_BOLD, r->id);
	fprintf(out, "  %s\n\n%s\n\nWhat to do: %s\n\nMore: %s\n", r->title, r->why, r->advice, r->link);
}

static json_t *json_rule(const kb_rule *r)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s}", "rule", r->id, "title", r->title, "why", r->why, "advice", r->advice, "learn_more", r->link);
}

static kb_error *explain_json(FILE *out, const kb_rule *rules, size_t n)
{
	json_t *o = json_object(), *list = json_array();
	json_object_set_new(o, "schema", json_string("keptby/rules/1"));
	json_object_set_new(o, "rules", list);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_rule(&rules[i]));
	return json_finish(out, o);
}

kb_error *kb_explain(FILE *out, const char *id, enum kb_format format, const kb_style *st)
{
	size_t n;
	const kb_rule *rules = kb_rules(&n);
	if (id) {
		rules = kb_rule_find(id);
		n = 1;
	}
	if (!rules)
		return kb_error_remedy(kb_error_new(KB_E_NOT_FOUND, "there is no rule %s", id), "'keptby explain' lists the rules");
	if (format == KB_FORMAT_JSON)
		return explain_json(out, rules, n);
	if (id)
		put_rule(out, rules, st);
	else
		for (size_t i = 0; i < n; i++)
			fprintf(out, "%-16s %s\n", rules[i].id, rules[i].title);
	return ferror(out) ? kb_error_new(KB_E_IO, "cannot write the output") : NULL;
}
