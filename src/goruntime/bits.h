/* Bit arrays of 64-bit words, little end first: bit i is bits[i / 64] >> i % 64 & 1. */
#ifndef KB_GORUNTIME_BITS_H
#define KB_GORUNTIME_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* 64 bits from bit `at` on. Reads the word behind when at is not a multiple of 64. */
static inline uint64_t kb_bits_get64(const uint64_t *src, uint64_t at)
{
	unsigned sh = at & 63;
	uint64_t v = src[at >> 6] >> sh;
	return sh ? v | src[(at >> 6) + 1] << (64 - sh) : v;
}

/* dst[to, to+n) |= src[from, from+n). src has a word behind its last one. */
static inline void kb_bits_or(uint64_t *dst, uint64_t to, const uint64_t *src, uint64_t from, uint64_t n)
{
	unsigned sh = to & 63;
	dst += to >> 6;
	for (uint64_t i = 0; i < n; i += 64, dst++) {
		uint64_t v = kb_bits_get64(src, from + i);
		if (n - i < 64)
			v &= (UINT64_C(1) << (n - i)) - 1;
		dst[0] |= v << sh;
		if (sh && v >> (64 - sh))
			dst[1] |= v >> (64 - sh);
	}
}

/* Clears [from, to). */
static inline void kb_bits_clear(uint64_t *bits, uint64_t from, uint64_t to)
{
	while (from < to) {
		unsigned at = from & 63;
		uint64_t n = to - from < 64 - at ? to - from : 64 - at;
		bits[from >> 6] &= ~((n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << at);
		from += n;
	}
}

/* First bit in [from, to) that is set (value true) or clear; `to` when there is none. */
static inline uint64_t kb_bits_find(const uint64_t *bits, uint64_t from, uint64_t to, bool value)
{
	while (from < to) {
		uint64_t w = (value ? bits[from >> 6] : ~bits[from >> 6]) >> (from & 63);
		if (w) {
			from += (uint64_t)__builtin_ctzll(w);
			return from < to ? from : to;
		}
		from = (from | 63) + 1;
	}
	return to;
}

#endif
