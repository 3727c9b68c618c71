/* The commands. */
#include "cli.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEFAULT_TOP = 20, DEFAULT_PATHS = 5 };

int kb_fail(kb_error *err)
{
	int status = err->code == KB_E_USAGE || err->code == KB_E_EXISTS ? KB_EXIT_USAGE : KB_EXIT_TARGET;
	fprintf(stderr, "keptby: %s%s%s\n", err->message, err->remedy ? "; " : "", err->remedy ? err->remedy : "");
	kb_error_free(err);
	return status;
}

static bool color_wanted(const kb_options *opt, FILE *out)
{
	const char *no = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE");
	if (opt->color && strcmp(opt->color, "auto") != 0)
		return strcmp(opt->color, "always") == 0;
	if (no && no[0])
		return false;
	if (force && force[0] && strcmp(force, "0") != 0)
		return true;
	return isatty(fileno(out));
}

kb_style kb_style_for(const kb_options *opt, FILE *out)
{
	struct winsize ws;
	setlocale(LC_CTYPE, "");
	kb_style st = { .color = color_wanted(opt, out), .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 };
	if (isatty(fileno(out)) && ioctl(fileno(out), TIOCGWINSZ, &ws) == 0)
		st.width = ws.ws_col;
	return st;
}

/* The exit status of a look: partial, or findings at or above the level asked for. */
static int verdict(const kb_options *opt, const kb_session *s)
{
	enum kb_confidence least = !opt->fail_on || strcmp(opt->fail_on, "suspect") == 0 ? KB_SUSPECT :
				   strcmp(opt->fail_on, "likely") == 0			 ? KB_LIKELY : KB_PROVEN;
	if (s->look.partial)
		return KB_EXIT_PARTIAL;
	for (size_t i = 0; opt->fail_on && i < s->findings.n; i++)
		if (s->findings.items[i].confidence >= least)
			return KB_EXIT_FINDINGS;
	return KB_EXIT_OK;
}

typedef kb_error *(*print_fn)(FILE *out, const kb_options *opt, kb_session *s, const char *rest);

/* Opens, reads, prints: what doctor, top and why share. extra: positional arguments besides the target. */
static int look_and_print(const kb_options *opt, size_t extra, print_fn print)
{
	const char *rest = NULL, *target = kb_target_arg(opt, extra, &rest);
	kb_session s;
	kb_output o = { 0 };
	kb_error *err = kb_output_open(&o, opt->output, opt->force, opt->format == KB_FORMAT_PPROF);
	if (err)
		return kb_fail(err);
	err = kb_session_open(&s, opt, target);
	if (!err)
		err = kb_session_read(&s, opt);
	if (!err)
		err = print(o.f, opt, &s, rest);
	int status = err ? KB_EXIT_OK : verdict(opt, &s);
	kb_session_close(&s);
	if (!err)
		err = kb_output_finish(&o);
	else
		kb_output_abandon(&o);
	return err ? kb_fail(err) : status;
}

static int too_many(const kb_options *opt, size_t max)
{
	if (opt->nargs <= max)
		return 0;
	fprintf(stderr, "keptby: too many arguments: '%s' (see keptby --help)\n", opt->args[max]);
	return KB_EXIT_USAGE;
}

static kb_error *print_report(FILE *out, const kb_options *opt, kb_session *s, const char *rest)
{
	(void)rest;
	kb_style st = kb_style_for(opt, out);
	KB_TRY(kb_leaks_all(&s->facts, &s->findings));
	switch (opt->format) {
	case KB_FORMAT_JSON:
		return kb_report_json(out, &s->look);
	case KB_FORMAT_PPROF:
		return kb_report_pprof(out, &s->look);
	case KB_FORMAT_TEXT:
		break;
	}
	return kb_report_text(out, &s->look, &st);
}

static int cmd_doctor(const kb_options *opt)
{
	int rc = too_many(opt, 1);
	return rc ? rc : look_and_print(opt, 0, print_report);
}

static kb_error *print_top(FILE *out, const kb_options *opt, kb_session *s, const char *rest)
{
	(void)rest;
	kb_style st = kb_style_for(opt, out);
	size_t limit = opt->limit ? opt->limit : DEFAULT_TOP;
	enum kb_top_by by = !opt->by || strcmp(opt->by, "holder") == 0 ? KB_TOP_HOLDER : strcmp(opt->by, "type") == 0 ? KB_TOP_TYPE : KB_TOP_GOROUTINE;
	if (opt->format == KB_FORMAT_JSON)
		return kb_top_json(out, &s->look, opt->limit ? opt->limit : 100);
	if (opt->format == KB_FORMAT_PPROF)
		return kb_report_pprof(out, &s->look);
	return kb_top_text(out, &s->look, by, limit, &st);
}

static int cmd_top(const kb_options *opt)
{
	int rc = too_many(opt, 1);
	return rc ? rc : look_and_print(opt, 0, print_top);
}

static kb_error *print_why(FILE *out, const kb_options *opt, kb_session *s, const char *what)
{
	kb_style st = kb_style_for(opt, out);
	return kb_why(out, &s->look, what, opt->limit ? opt->limit : DEFAULT_PATHS, opt->format, &st);
}

static int cmd_why(const kb_options *opt)
{
	if (opt->nargs < (opt->core ? 1u : 2u) || !opt->args[opt->nargs - 1][0]) {
		fputs("keptby: why what? Give an address, a type or a package-level variable: keptby why PID main.sessions\n", stderr);
		return KB_EXIT_USAGE;
	}
	if (opt->format == KB_FORMAT_PPROF) {
		fputs("keptby: why has no pprof form: use text or json\n", stderr);
		return KB_EXIT_USAGE;
	}
	int rc = too_many(opt, 2);
	return rc ? rc : look_and_print(opt, 1, print_why);
}

static int cmd_explain(const kb_options *opt)
{
	int rc = too_many(opt, 1);
	if (rc)
		return rc;
	kb_style st = kb_style_for(opt, stdout);
	kb_error *err = kb_explain(stdout, opt->nargs ? opt->args[0] : NULL, opt->format, &st);
	if (!err)
		return KB_EXIT_OK;
	err->code = KB_E_USAGE;
	return kb_fail(err);
}

/* check: can it be read? If not, why, and the remedy. */
static int cmd_check(const kb_options *opt)
{
	int rc = too_many(opt, 1);
	if (rc)
		return rc;
	kb_session s;
	kb_error *err = kb_session_open(&s, opt, opt->nargs ? opt->args[0] : NULL);
	if (!err) {
		const kb_go_info *g = kb_go_info_get(s.go);
		const kb_heap *h = kb_go_heap(s.go);
		kb_arena a = { 0 };
		printf("can be read: %s, %s; %s%s%s; heap %s in %s objects; stood still for %.1f ms\n", kb_target_info_get(s.target)->exe, g->version,
		       g->layout_text, g->stripped ? "; stripped" : "", g->layout_guessed ? "; a newer Go than this keptby knows" : "",
		       kb_human_bytes(&a, h->bytes), kb_human_count(&a, h->objects), (double)kb_target_info_get(s.target)->stopped_ns / 1e6);
		for (size_t i = 0; i < g->ngaps; i++)
			printf("not read: %s\n", g->gaps[i]);
		kb_arena_free(&a);
	}
	kb_session_close(&s);
	return err ? kb_fail(err) : KB_EXIT_OK;
}

const kb_command kb_commands[] = {
	{ "list", "", "the Go processes of this machine", kb_cmd_list, false },
	{ "doctor", "PID", "the leak report: who keeps the memory, and what to change", cmd_doctor, false },
	{ "top", "PID", "holders by retained size; --by type, --by goroutine", cmd_top, false },
	{ "why", "PID ADDRESS|TYPE|VARIABLE", "the path that keeps it alive", cmd_why, false },
	{ "snapshot", "PID -o FILE", "an ELF core, taken with the same short stop", kb_cmd_snapshot, false },
	{ "explain", "[RULE]", "what a rule means and what to do", cmd_explain, false },
	{ "check", "PID", "can it be read? if not, why, and the remedy", cmd_check, false },
	{ "debug", "WHAT PID", "for keptby's own tests", kb_cmd_debug, true },
	{ 0 },
};
