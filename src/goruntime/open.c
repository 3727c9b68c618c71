/* Opening: everything that can be learned of the runtime while the target runs. */
#include "private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void fill_info(kb_go *go)
{
	kb_go_info *info = &go->info;
	info->gaps = go->gaps;
	info->has_dwarf = go->program && kb_program_has_dwarf(go->program);
	info->has_symbols = go->program && kb_program_has_symbols(go->program);
	info->stripped = !info->has_dwarf && !info->has_symbols;
	info->is_pie = go->program && kb_program_is_pie(go->program);
	const char *cgo = kb_buildinfo_setting(info->build, "CGO_ENABLED");
	/* CGO_ENABLED only says that cgo was allowed; a program that has any is linked dynamically, or has its own
	 * TLS. */
	uint64_t tls = 0, align = 0;
	if (go->program)
		kb_program_tls(go->program, &tls, &align);
	info->uses_cgo = cgo && !strcmp(cgo, "1") && go->program && (kb_program_is_dynamic(go->program) || tls);
}

static kb_error *open_all(kb_go *go)
{
	KB_TRY(kb_modules_find(go));
	fill_info(go);
	KB_TRY(kb_runtime_vars_find(go));
	return kb_types_init(go);
}

kb_error *kb_go_open(kb_target *t, kb_go **ret)
{
	*ret = NULL;
	kb_go *go = calloc(1, sizeof(*go));
	if (!go)
		return kb_error_nomem();
	go->target = t;
	go->program_fd = -1;
	if (pthread_mutex_init(&go->lock, NULL)) {
		free(go);
		return kb_error_nomem();
	}
	kb_error *err = open_all(go);
	if (err) {
		kb_go_close(go);
		return err;
	}
	*ret = go;
	return NULL;
}

void kb_go_close(kb_go *go)
{
	if (!go)
		return;
	kb_error_free(kb_go_snapshot_done(go));
	kb_types_free(go);
	kb_goroutines_free(go);
	kb_spans_free(go);
	kb_modules_free(go);
	free(go->ps);
	free(go->specials);
	free(go->special_words);
	free(go->queued);
	for (size_t i = 0; i < go->info.ngaps; i++)
		free((void *)(uintptr_t)go->gaps[i]);
	kb_program_close(go->program);
	if (go->program_fd >= 0)
		close(go->program_fd);
	kb_buildinfo_free(&go->own_build);
	kb_arena_free(&go->arena);
	pthread_mutex_destroy(&go->lock);
	free(go);
}

const kb_go_info *kb_go_info_get(const kb_go *go)
{
	return &go->info;
}

kb_target *kb_go_target(const kb_go *go)
{
	return go->target;
}

void kb_go_gap(const kb_go *cgo, const char *fmt, ...)
{
	kb_go *go = (kb_go *)(uintptr_t)cgo; /* gaps are the one thing that grows behind a const */
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	pthread_mutex_lock(&go->lock);
	bool known = go->info.ngaps >= KB_ARRAY_LEN(go->gaps);
	for (size_t i = 0; i < go->info.ngaps && !known; i++)
		known = !strcmp(go->gaps[i], text);
	if (!known) {
		go->gaps[go->info.ngaps++] = text;
		text = NULL;
	}
	pthread_mutex_unlock(&go->lock);
	free(text);
}
