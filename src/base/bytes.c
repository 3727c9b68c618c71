#include "base/base.h"

/* Written so that no sum can overflow, whatever off and n a target supplies. */
static bool within(kb_bytes b, uint64_t off, uint64_t n)
{
	return off <= b.n && n <= b.n - off;
}

bool kb_get_u8(kb_bytes b, uint64_t off, uint8_t *ret)
{
	if (!within(b, off, sizeof(*ret)))
		return false;
	*ret = b.p[off];
	return true;
}

bool kb_get_u16(kb_bytes b, uint64_t off, uint16_t *ret)
{
	if (!within(b, off, sizeof(*ret)))
		return false;
	*ret = kb_load16(b.p + off);
	return true;
}

bool kb_get_u32(kb_bytes b, uint64_t off, uint32_t *ret)
{
	if (!within(b, off, sizeof(*ret)))
		return false;
	*ret = kb_load32(b.p + off);
	return true;
}

bool kb_get_u64(kb_bytes b, uint64_t off, uint64_t *ret)
{
	if (!within(b, off, sizeof(*ret)))
		return false;
	*ret = kb_load64(b.p + off);
	return true;
}

bool kb_get_uvarint(kb_bytes b, uint64_t *off, uint64_t *ret)
{
	uint64_t value = 0, at = *off;
	uint8_t byte;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (!kb_get_u8(b, at++, &byte))
			return false;
		/* The tenth byte has room for one bit. */
		if (shift == 63 && byte > 1)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*off = at;
			*ret = value;
			return true;
		}
	}
	return false;
}

const char *kb_get_cstr(kb_bytes b, uint64_t off, size_t max)
{
	const char *s;
	size_t reach;

	if (off >= b.n)
		return NULL;
	s = (const char *)b.p + off;
	reach = b.n - off;
	if (max < reach)
		reach = max + 1; /* max characters and the NUL */
	return memchr(s, '\0', reach) ? s : NULL;
}

kb_bytes kb_slice(kb_bytes b, uint64_t off, uint64_t n)
{
	if (!within(b, off, n) || !n)
		return (kb_bytes){ 0 };
	return (kb_bytes){ .p = b.p + off, .n = n };
}
