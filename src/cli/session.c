/* One look at one target, from opening it to findings. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Progress on stderr, when it is a terminal and the work takes more than a second. */
struct meter {
	uint64_t started, last;
	bool shown;
};
static struct meter meter;

static void show_progress(void *ctx, const char *phase, double fraction)
{
	struct meter *m = ctx;
	uint64_t now = kb_now_ns();
	if (now - m->started < 1000000000 || now - m->last < 100000000)
		return;
	m->last = now;
	m->shown = true;
	if (fraction >= 0)
		fprintf(stderr, "\r\033[K%s %.0f %%", phase, 100 * fraction);
	else
		fprintf(stderr, "\r\033[K%s", phase);
}

static void end_progress(void)
{
	if (meter.shown)
		fputs("\r\033[K", stderr);
	meter.shown = false;
}

static kb_progress progress_for(const kb_options *opt)
{
	if (opt->quiet || !isatty(STDERR_FILENO))
		return (kb_progress){ 0 };
	return (kb_progress){ .fn = show_progress, .ctx = &meter };
}

const char *kb_target_arg(const kb_options *opt, size_t extra, const char **ret_rest)
{
	size_t first = opt->nargs > extra ? 1 : 0;
	if (ret_rest)
		*ret_rest = opt->nargs > first ? opt->args[first] : NULL;
	return first ? opt->args[0] : NULL;
}

static bool is_number(const char *s)
{
	const char *p = s;
	while (isdigit((unsigned char)*p))
		p++;
	return p != s && !*p;
}

static kb_error *open_target(const kb_options *opt, const char *target, kb_target **ret)
{
	if (opt->core)
		return kb_target_open_core(opt->exe ? opt->exe : target, opt->core, ret);
	if (!target)
		return kb_error_remedy(kb_error_new(KB_E_USAGE, "no process is named"), "give a PID, or EXE -c CORE; 'keptby' alone lists Go processes");
	if (!is_number(target))
		return kb_error_remedy(kb_error_new(KB_E_USAGE, "'%s' is neither a PID nor a command", target),
				       "give a PID, or EXE -c CORE for a core; see keptby --help");
	errno = 0;
	long pid = strtol(target, NULL, 10);
	if (errno || pid <= 0 || pid > INT32_MAX)
		return kb_error_new(KB_E_NOT_FOUND, "there is no process %s", target);
	kb_open_options oo = { .exe = opt->exe };
	return kb_target_open_pid((pid_t)pid, &oo, ret);
}

/* A cut core that cannot be understood: that it is cut says more than where reading failed. */
static kb_error *blame_the_cut(const kb_session *s, kb_error *err)
{
	const kb_target_info *t = s->target ? kb_target_info_get(s->target) : NULL;
	if (!err || !t || !t->truncated || !t->truncated_text)
		return err;
	return kb_error_remedy(kb_error_context(err, "%s; what is left does not do", t->truncated_text), "take a whole core (disk space, ulimit -c)");
}

static kb_error *open_all(kb_session *s, const kb_options *opt, const char *target)
{
	meter = (struct meter){ .started = kb_now_ns() };
	kb_progress progress = progress_for(opt);
	kb_snapshot_options so = { .max_stop_ms = opt->max_pause_ms, .whole_stop = opt->exact };
	KB_TRY(open_target(opt, target, &s->target));
	KB_TRY(kb_go_open(s->target, &s->go));
	KB_TRY(kb_go_snapshot(s->go, &so, &progress));
	s->facts = (kb_facts){ .target = s->target, .go = s->go, .min_bytes = opt->min_bytes };
	s->look = (kb_look){ .facts = &s->facts, .findings = &s->findings };
	return NULL;
}

kb_error *kb_session_open(kb_session *s, const kb_options *opt, const char *target)
{
	*s = (kb_session){ 0 };
	return blame_the_cut(s, open_all(s, opt, target));
}

static void judge_partial(kb_session *s)
{
	const kb_target_info *t = kb_target_info_get(s->target);
	const kb_graph_stats *st = kb_graph_stats_get(s->graph);
	s->look.partial = t->truncated || st->cut_by_time;
	if (st->cut_by_time)
		snprintf(s->warning, sizeof(s->warning), "partial answer: the time limit came before the heap was read, %llu bytes of it are missing",
			 (unsigned long long)st->unreadable_bytes);
	else if (t->truncated)
		snprintf(s->warning, sizeof(s->warning), "partial answer: %s", t->truncated_text ? t->truncated_text : "the core is cut short");
	if (s->warning[0])
		kb_go_gap(s->go, "%s", s->warning);
	if (st->unreadable_bytes && !st->cut_by_time && !t->truncated)
		kb_go_gap(s->go, "%llu bytes of heap spans could not be read (freed while we looked)", (unsigned long long)st->unreadable_bytes);
	uint64_t kept = kb_go_info_get(s->go)->heap_marked;
	if (t->kind == KB_TARGET_LIVE && !s->look.partial && st->reached_bytes < kept / 10 * 7 && kept - st->reached_bytes >= 8 << 20)
		kb_go_gap(s->go, "the collector kept %llu bytes at its last cycle, and %llu are reached now: the program let go of the rest since, or moved "
				 "it while it was read; --exact reads it standing still", (unsigned long long)kept,
			  (unsigned long long)st->reached_bytes);
	if (st->mask_errors)
		kb_go_gap(s->go, "the pointer maps of %llu objects could not be read", (unsigned long long)st->mask_errors);
}

kb_error *kb_session_read(kb_session *s, const kb_options *opt)
{
	kb_progress progress = progress_for(opt);
	uint64_t deadline = opt->time_limit > 0 ? meter.started + (uint64_t)(opt->time_limit * 1e9) : 0;
	kb_error *err = kb_graph_build(s->go, deadline, &progress, &s->graph);
	if (!err && kb_target_info_get(s->target)->kind == KB_TARGET_LIVE) {
		kb_error *rss_err = kb_rss_measure(s->go, &s->rss);
		s->have_rss = !rss_err;
		if (rss_err)
			kb_go_gap(s->go, "resident memory: %s", rss_err->message);
		kb_error_free(rss_err);
	}
	if (!err)
		err = kb_go_snapshot_done(s->go);
	if (!err)
		err = kb_graph_walk(s->graph, &progress);
	end_progress();
	if (err)
		return blame_the_cut(s, err);
	s->facts.graph = s->graph;
	s->facts.rss = s->have_rss ? &s->rss : NULL;
	judge_partial(s);
	s->look.read_ns = kb_now_ns() - meter.started;
	return NULL;
}

void kb_session_close(kb_session *s)
{
	end_progress();
	kb_findings_free(&s->findings);
	kb_graph_free(s->graph);
	kb_go_close(s->go);
	kb_target_close(s->target);
	*s = (kb_session){ 0 };
}
