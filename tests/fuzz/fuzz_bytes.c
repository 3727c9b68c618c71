/* The readers of base against an oracle that cannot be wrong about bounds: it goes byte by byte. */
#include <stdlib.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_fixed(kb_bytes b, uint64_t off)
{
	uint64_t got = 0, want = 0;
	bool inside = off < b.n && b.n - off >= 8;

	require(kb_get_u64(b, off, &got) == inside);
	for (unsigned i = 0; inside && i < 8; i++)
		want |= (uint64_t)b.p[off + i] << (8 * i);
	require(got == want);
}

/* Ten bytes hold 70 bits; a value fits when what is above bit 63 is zero. */
static void check_uvarint(kb_bytes b, uint64_t start)
{
	unsigned __int128 want = 0;
	uint64_t off = start, got = 0, at = start;
	unsigned n = 0;

	while (n < 10 && at < b.n) {
		uint8_t byte = b.p[at++];

		want |= (unsigned __int128)(byte & 0x7f) << (7 * n++);
		if (byte & 0x80)
			continue;
		require(kb_get_uvarint(b, &off, &got) == !(want >> 64));
		require(want >> 64 || (off == at && got == (uint64_t)want));
		return;
	}
	require(!kb_get_uvarint(b, &off, &got) && off == start);
}

static void check_cstr(kb_bytes b, uint64_t off, size_t max)
{
	const char *s = kb_get_cstr(b, off, max);
	size_t n = 0;

	while (off < b.n && n < b.n - off && n <= max && b.p[off + n])
		n++;
	if (off < b.n && n < b.n - off && n <= max)
		require(s && strlen(s) == n);
	else
		require(!s);
}

static void check_slice(kb_bytes b, uint64_t off, uint64_t n)
{
	kb_bytes part = kb_slice(b, off, n);

	require(part.n == 0 || (part.n == n && part.p == b.p + off));
	if (part.n)
		require(part.p[0] == b.p[off] && part.p[n - 1] == b.p[off + n - 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t off, n;

	if (size < 16)
		return 0;
	off = kb_load64(data);
	n = kb_load64(data + 8);
	kb_bytes b = { data + 16, size - 16 };
	/* As given, and near the view, where the edges are. */
	for (int i = 0; i < 2; i++) {
		check_fixed(b, off);
		check_uvarint(b, off);
		check_cstr(b, off, n);
		check_slice(b, off, n);
		off %= b.n + 2;
		n %= b.n + 2;
	}
	return 0;
}
