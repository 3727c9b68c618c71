/* list: the Go processes of this machine. */
#include "cli.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Heap and goroutines of one process, from the counters of its runtime; the target is not stopped. */
static void look_inside(kb_listed *l)
{
	kb_target *t = NULL;
	kb_go *go = NULL;
	kb_error *err = kb_target_open_pid(l->process->pid, NULL, &t);
	if (!err)
		err = kb_go_open(t, &go);
	if (!err) {
		kb_go_counters c;
		err = kb_go_counters_read(go, &c);
		if (!err) {
			l->heap = c.heap_live;
			l->goroutines = c.goroutines;
		}
	}
	kb_error_free(err);
	kb_go_close(go);
	kb_target_close(t);
}

static bool version_of(const kb_process *p, char *buf, size_t n)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)p->pid);
	KB_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	/* Without the right to follow the link the name still works, if it is the file we think it is. */
	if (fd < 0 && p->exe && !p->deleted) {
		fd = open(p->exe, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0)
		return false;
	kb_error *err = kb_program_go_version(fd, buf, n);
	bool ok = !err;
	kb_error_free(err);
	return ok;
}

static kb_error *gather(const kb_process *list, size_t n, kb_arena *a, kb_listed **ret, size_t *ret_n)
{
	size_t found = 0;
	kb_listed *out = kb_arena_alloc(a, (n + 1) * sizeof(*out));
	if (!out)
		return kb_error_nomem();
	for (size_t i = 0; i < n; i++) {
		char version[64];
		if (!version_of(&list[i], version, sizeof(version)))
			continue;
		kb_listed *l = &out[found++];
		*l = (kb_listed){ .process = &list[i], .go_version = kb_arena_strndup(a, version, strlen(version)),
				  .why_not = list[i].readable ? NULL : list[i].why_not ? list[i].why_not : "no permission" };
		if (list[i].readable)
			look_inside(l);
	}
	*ret = out;
	*ret_n = found;
	return NULL;
}

int kb_cmd_list(const kb_options *opt)
{
	kb_process *list = NULL;
	kb_listed *items = NULL;
	size_t n = 0, found = 0;
	kb_arena a = { 0 };
	kb_output o;
	if (opt->nargs) {
		fprintf(stderr, "keptby: list takes no arguments: '%s'\n", opt->args[0]);
		return KB_EXIT_USAGE;
	}
	kb_error *err = kb_output_open(&o, opt->output, opt->force, false);
	if (err)
		return kb_fail(err);
	kb_style st = kb_style_for(opt, o.f);
	err = kb_process_list(&list, &n);
	if (!err)
		err = gather(list, n, &a, &items, &found);
	if (!err)
		err = kb_list(o.f, items, found, opt->format, &st);
	if (!err)
		err = kb_output_finish(&o);
	else
		kb_output_abandon(&o);
	kb_arena_free(&a);
	kb_process_list_free(list, n);
	return err ? kb_fail(err) : KB_EXIT_OK;
}
