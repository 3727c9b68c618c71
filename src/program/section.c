/* Bytes of sections, decompressed. Done with zlib and zstd themselves: libelf inflates in place and one section after the
 * other, and its older releases do not know zstd. */
#include "private.h"

#include <elf.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

/* deflate cannot pack better than 1032:1; zstd could, but debug information never does. */
#define PACK_RATIO_MAX 1100
/* zlib takes 32-bit counts. */
#define ZLIB_PIECE (1u << 30)

kb_error *section_load_raw(const kb_program *p, size_t index, kb_bytes *ret_malloced)
{
	const kb_section *s = &p->sections[index];
	uint8_t *buf;
	size_t got = 0;
	kb_error *err;

	*ret_malloced = (kb_bytes){ 0 };
	if (!s->has_bytes || !s->size)
		return NULL;
	if (s->file_offset > p->file_size || s->size > p->file_size - s->file_offset)
		return kb_error_new(KB_E_CORRUPT, "%s: section %s reaches behind the end of the file", p->name,
				    s->name);
	if (s->size > SECTION_BYTES_MAX)
		return kb_error_new(KB_E_LIMIT, "%s: section %s is too large", p->name, s->name);
	buf = malloc(s->size);
	if (!buf)
		return kb_error_nomem();
	err = program_pread(p->fd, p->name, s->file_offset, buf, s->size, &got);
	if (!err && got != s->size)
		err = kb_error_new(KB_E_CORRUPT, "%s: section %s is cut short", p->name, s->name);
	if (err)
		free(buf);
	else
		*ret_malloced = (kb_bytes){ buf, got };
	return err;
}

static kb_error *check_packed_size(const kb_program *p, size_t index, const struct compressed *c)
{
	if (c->size > SECTION_BYTES_MAX || c->size / PACK_RATIO_MAX > c->packed.n)
		return kb_error_new(KB_E_CORRUPT, "%s: section %s announces an impossible size", p->name,
				    p->sections[index].name);
	return NULL;
}

kb_error *section_look_packed(const kb_program *p, size_t index, kb_bytes raw, struct compressed *ret)
{
	Elf64_Chdr ch;

	*ret = (struct compressed){ .packed = raw, .size = raw.n };
	if (p->more[index].flags & SHF_COMPRESSED) {
		if (raw.n < sizeof(ch))
			return kb_error_new(KB_E_CORRUPT, "%s: section %s is cut short", p->name,
					    p->sections[index].name);
		memcpy(&ch, raw.p, sizeof(ch));
		ret->packed = kb_slice(raw, sizeof(ch), raw.n - sizeof(ch));
		ret->size = ch.ch_size;
		ret->kind = ch.ch_type == ELFCOMPRESS_ZLIB           ? PACK_ZLIB
			    : ch.ch_type == 2 /* ELFCOMPRESS_ZSTD */ ? PACK_ZSTD
								     : PACK_NONE;
		if (ret->kind == PACK_NONE)
			return kb_error_new(KB_E_UNSUPPORTED, "%s: section %s is compressed in an unknown way (%u)",
					    p->name, p->sections[index].name, ch.ch_type);
	} else if (!strncmp(p->sections[index].name, ".zdebug_", 8) && raw.n >= 12 && !memcmp(raw.p, "ZLIB", 4)) {
		/* The GNU form: the size follows, big-endian. */
		ret->packed = kb_slice(raw, 12, raw.n - 12);
		ret->size = __builtin_bswap64(kb_load64(raw.p + 4));
		ret->kind = PACK_ZLIB;
	}
	return ret->kind == PACK_NONE ? NULL : check_packed_size(p, index, ret);
}

/* Feeds and drains in pieces that fit zlib's counters. True when exactly n bytes came out. */
static bool inflate_all(kb_bytes in, uint8_t *out, uint64_t n)
{
	z_stream z = { 0 };
	uint64_t fed = 0, made = 0;
	int r = Z_OK;

	if (inflateInit(&z) != Z_OK)
		return false;
	while (r == Z_OK && made < n) {
		uint64_t feed = in.n - fed < ZLIB_PIECE ? in.n - fed : ZLIB_PIECE;
		uint64_t drain = n - made < ZLIB_PIECE ? n - made : ZLIB_PIECE;

		z.next_in = (Bytef *)(uintptr_t)(in.p + fed);
		z.avail_in = (uInt)feed;
		z.next_out = out + made;
		z.avail_out = (uInt)drain;
		r = inflate(&z, Z_NO_FLUSH);
		fed += feed - z.avail_in;
		made += drain - z.avail_out;
	}
	inflateEnd(&z);
	return made == n && (r == Z_OK || r == Z_STREAM_END);
}

kb_error *section_unpack(const struct compressed *c, void *dst)
{
	bool ok = true;

	if (c->kind == PACK_NONE)
		memcpy(dst, c->packed.p, c->packed.n);
	else if (c->kind == PACK_ZLIB)
		ok = inflate_all(c->packed, dst, c->size);
	else
		ok = ZSTD_decompress(dst, c->size, c->packed.p, c->packed.n) == c->size;
	return ok ? NULL : kb_error_new(KB_E_CORRUPT, "a compressed section is damaged");
}

kb_error *section_bytes_locked(kb_program *p, size_t index, kb_bytes *ret)
{
	struct section_more *more = &p->more[index];
	struct compressed c;
	kb_error *err;
	kb_bytes raw;
	uint8_t *out = NULL;

	if (!more->bytes.p) {
		KB_TRY(section_load_raw(p, index, &raw));
		err = section_look_packed(p, index, raw, &c);
		if (!err && c.kind != PACK_NONE) {
			out = malloc(c.size ? c.size : 1);
			err = out ? section_unpack(&c, out) : kb_error_nomem();
			free((void *)(uintptr_t)raw.p);
			raw = (kb_bytes){ out, c.size };
		}
		if (err) {
			free((void *)(uintptr_t)raw.p);
			return kb_error_context(err, "%s: %s", p->name, p->sections[index].name);
		}
		more->bytes = raw;
	}
	*ret = more->bytes;
	return NULL;
}

kb_error *kb_program_section_bytes(kb_program *p, const kb_section *s, kb_bytes *ret)
{
	kb_error *err;

	pthread_mutex_lock(&p->lock);
	err = section_bytes_locked(p, (size_t)(s - p->sections), ret);
	pthread_mutex_unlock(&p->lock);
	return err;
}
