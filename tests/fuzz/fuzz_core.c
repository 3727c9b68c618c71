/* Hostile cores: opening, then reading in every way, which must agree; threads and mappings that keep their
 * promises. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* What one way of reading says, the others must say too. */
static void read_around(const kb_target *t, kb_addr a)
{
	uint8_t x[300], y[300];
	for (size_t n = 1; n <= sizeof(x); n = n * 3 + 1) {
		size_t got = kb_target_read_holes(t, a, x, n);
		require(got <= n);
		kb_error *err = kb_target_read(t, a, y, n);
		require((err == NULL) == (got == n));
		require(err || !memcmp(x, y, n));
		require(!err || err->code != KB_E_FAULT || err->address - a < n);
		kb_bytes v = kb_target_view(t, a, n);
		require(!v.p || (v.n == n && !err && !memcmp(v.p, y, n)));
		kb_error_free(err);
	}
}

static void read_all(const kb_target *t)
{
	size_t n;
	const kb_mapping *m = kb_target_mappings(t, &n);
	for (size_t i = 0; i < n; i++) {
		require(m[i].start < m[i].end && m[i].path);
		require(i == 0 || m[i - 1].end <= m[i].start);
		require(kb_target_mapping_at(t, m[i].start) == &m[i]);
		require(kb_target_mapping_at(t, m[i].end - 1) == &m[i]);
		if (i < 64) {
			read_around(t, m[i].start);
			read_around(t, m[i].start - 7);
			read_around(t, m[i].end - 100);
		}
	}
	const kb_thread *th = kb_target_threads(t, &n);
	for (size_t i = 0; i < n; i++)
		require(th[i].have_regs && th[i].tid == th[i].inner_tid);
	read_around(t, 0);
	read_around(t, KB_ADDR_MAX - 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];
	kb_target *t = NULL;

	if (fd < 0) {
		fd = memfd_create("core", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	require(fd >= 0 && !ftruncate(fd, 0));
	require(pwrite(fd, data, size, 0) == (ssize_t)size);
	kb_error *err = kb_target_open_core(NULL, path, &t);
	require((err == NULL) == (t != NULL));
	if (t) {
		require(kb_target_info_get(t)->truncated == (kb_target_info_get(t)->truncated_text != NULL));
		read_all(t);
	}
	require(!err || err->message[0]);
	kb_error_free(err);
	kb_target_close(t);
	return 0;
}
