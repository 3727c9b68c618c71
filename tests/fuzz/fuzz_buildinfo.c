/* Go's build info blob, as found in any bytes. */
#include <stdlib.h>

#include "program/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check(const kb_buildinfo *bi)
{
	require(bi->go_version && *bi->go_version && bi->experiments && bi->path && bi->mod_path && bi->mod_version);
	require(bi->minor >= 0 && bi->minor <= 9999 && bi->patch >= 0 && bi->patch <= 9999);
	for (size_t i = 0; i < bi->ndeps; i++) {
		const kb_dep *d = &bi->deps[i];

		require(d->path && d->version && d->sum && d->replaced_by);
		require(strlen(d->path) + strlen(d->version) + strlen(d->sum) < 1u << 30);
	}
	for (size_t i = 0; i < bi->nsettings; i++) {
		const char *value = kb_buildinfo_setting(bi, bi->settings[i].key);

		require(value && strlen(value) < 1u << 30);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	kb_buildinfo bi;
	kb_error *err = kb_buildinfo_parse((kb_bytes){ data, size }, &bi);

	if (err) {
		require(err->code == KB_E_NOT_GO || err->code == KB_E_UNSUPPORTED);
		kb_error_free(err);
		return 0;
	}
	check(&bi);
	kb_buildinfo_free(&bi);
	return 0;
}
