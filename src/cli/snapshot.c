/* snapshot: a core of a living process, taken with the same short stop. */
#include "cli.h"

#include <unistd.h>

int kb_cmd_snapshot(const kb_options *opt)
{
	if (opt->nargs != 1 || opt->core || !opt->output) {
		fputs("keptby: usage: keptby snapshot PID -o FILE\n", stderr);
		return KB_EXIT_USAGE;
	}
	kb_session s = { 0 };
	kb_output o;
	uint64_t bytes = 0;
	kb_error *err = kb_output_open(&o, opt->output, opt->force, true);
	if (err)
		return kb_fail(err);
	err = kb_session_open(&s, opt, opt->args[0]);
	if (!err)
		err = kb_target_write_core(s.target, fileno(o.f), NULL, &bytes);
	double ms = err ? 0 : (double)kb_target_info_get(s.target)->stopped_ns / 1e6;
	if (!err)
		err = kb_output_finish(&o);
	else
		kb_output_abandon(&o);
	kb_session_close(&s);
	if (err)
		return kb_fail(err);
	kb_arena a = { 0 };
	if (!opt->quiet)
		fprintf(stderr, "%s written, %s of memory; stood still for %.1f ms\n", opt->output, kb_human_bytes(&a, bytes), ms);
	kb_arena_free(&a);
	return KB_EXIT_OK;
}
