/* Pointer masks of types: gcdata as it is, GC programs (to 1.23), masks made on demand (1.24 and later).
 * internal/abi/type.go, runtime/mbitmap.go, runtime/type.go. */
#include "bits.h"
#include "private.h"

#include <stdlib.h>

enum { DEPTH_MAX = 64, FIELDS_MAX = 1 << 16, KIND_ARRAY = 17, KIND_STRUCT = 25, PROGRAM_WINDOW = 4096 };
/* A type that is 16 GiB large: its mask has 256 MiB. */
#define TYPE_MAX (UINT64_C(1) << 34)
/* Steps of one build: bits written and fields visited; a mask of TYPE_MAX needs no more. */
#define WORK_MAX (UINT64_C(1) << 32)

struct desc {
	uint64_t size, ptr_bytes, gcdata;
	uint8_t tflag, kind;
	bool program, on_demand;
};

/* abi.Type: 48 bytes, the same offsets in all versions (internal/abi/type.go, 1.19: runtime/type.go), but the layout has them. */
static kb_error *read_desc(const kb_go *go, kb_addr type, struct desc *d)
{
	uint8_t buf[48];
	kb_bytes b = { buf, sizeof(buf) };
	KB_TRY(kb_read_ro(go, type, buf, sizeof(buf)));
	d->size = kb_field_of(go, b, KB_F_type_size);
	d->ptr_bytes = kb_field_of(go, b, KB_F_type_ptrdata);
	d->gcdata = kb_field_of(go, b, KB_F_type_gcdata);
	d->tflag = (uint8_t)kb_field_of(go, b, KB_F_type_tflag);
	d->kind = (uint8_t)kb_field_of(go, b, KB_F_type_kind);
	if (d->size > TYPE_MAX || d->ptr_bytes > d->size || (d->ptr_bytes & 7))
		return kb_error_new(KB_E_CORRUPT, "no type at 0x%llx", (unsigned long long)type);
	int64_t demand = kb_const(&go->layout, KB_C_TFlagGCMaskOnDemand),
		program = kb_const(&go->layout, KB_C_KindGCProg);
	int64_t unrolled = kb_const(&go->layout, KB_C_TFlagUnrolledBitmap);
	d->on_demand = demand > 0 && (d->tflag & demand);
	/* 1.22, 1.23: the type made up for a large object of GC-program type has its mask unrolled. */
	d->program = program > 0 && (d->kind & program) && !(unrolled > 0 && (d->tflag & unrolled));
	d->kind &= 31;
	return NULL;
}

/* ---- GC programs ------------------------------------------------------------------------------------------------- */

struct program {
	const kb_go *go;
	kb_addr at; /* of window[0] */
	size_t pos, n;
	uint8_t window[PROGRAM_WINDOW];
	uint64_t *bits;
	uint64_t nbits, max;
};

static bool next_byte(struct program *p, uint8_t *ret)
{
	if (p->pos == p->n) {
		p->at += p->n;
		p->pos = 0;
		/* The window may reach behind what is mapped; then take the rest of the page. */
		p->n = sizeof(p->window) - (p->at & (sizeof(p->window) - 1));
		KB_DROP_ERROR kb_error *err = kb_read_ro(p->go, p->at, p->window, p->n);
		if (err)
			return false;
	}
	*ret = p->window[p->pos++];
	return true;
}

static bool next_varint(struct program *p, uint64_t *ret)
{
	uint8_t b;
	*ret = 0;
	for (unsigned shift = 0; shift < 63; shift += 7) {
		if (!next_byte(p, &b))
			return false;
		*ret |= (uint64_t)(b & 127) << shift;
		if (b < 128)
			return true;
	}
	return false;
}

static bool literal(struct program *p, unsigned n)
{
	uint8_t b = 0;
	for (unsigned i = 0; i < n; i++) {
		if (!(i & 7) && !next_byte(p, &b))
			return false;
		if (p->nbits < p->max && (b >> (i & 7) & 1))
			p->bits[p->nbits >> 6] |= UINT64_C(1) << (p->nbits & 63);
		p->nbits += p->nbits < p->max;
	}
	return true;
}

/* Repeats the last n bits count times. */
static bool repeat(struct program *p, uint64_t n, uint64_t count)
{
	if (!n || n > p->nbits)
		return false;
	for (; count && p->nbits < p->max; count--) {
		uint64_t k = p->max - p->nbits < n ? p->max - p->nbits : n, done = 0;
		/* Source and destination may share a word when n is small: steps of at most n, at most 64 bits. */
		while (done < k) {
			uint64_t step = k - done < 64 ? k - done : 64;
			step = step < n ? step : n;
			uint64_t v = kb_bits_get64(p->bits, p->nbits - n);
			if (step < 64)
				v &= (UINT64_C(1) << step) - 1;
			uint64_t tmp[2] = { v, 0 };
			kb_bits_or(p->bits, p->nbits, tmp, 0, step);
			p->nbits += step;
			done += step;
		}
	}
	return true;
}

/* runtime/mbitmap.go, runGCProg: 0 ends; 1..127 so many literal bits; 128+n: repeat the last n bits c times. */
static bool run(struct program *p)
{
	uint8_t x;
	while (next_byte(p, &x)) {
		uint64_t n = x & 127, count;
		if (!x || p->nbits >= p->max)
			return true;
		if (!(x & 128)) {
			if (!literal(p, (unsigned)n))
				return false;
			continue;
		}
		if ((!n && !next_varint(p, &n)) || !next_varint(p, &count) || !repeat(p, n, count))
			return false;
	}
	return false;
}

/* Room for n bits and the word that kb_bits_get64 may touch behind them. */
static uint64_t *alloc_bits(uint64_t n)
{
	return calloc((size_t)(n / 64 + 3), 8);
}

kb_error *kb_gcprog_run(const kb_go *go, kb_addr a, uint64_t max_bits, uint8_t **ret_bits)
{
	*ret_bits = NULL;
	if (max_bits > TYPE_MAX / 8)
		return kb_error_new(KB_E_LIMIT, "GC program of %llu bits", (unsigned long long)max_bits);
	KB_FREE struct program *p = calloc(1, sizeof(*p));
	uint64_t *bits = alloc_bits(max_bits);
	if (!p || !bits) {
		free(bits);
		return kb_error_nomem();
	}
	p->go = go;
	p->at = a;
	p->bits = bits;
	p->max = max_bits;
	if (!run(p)) {
		free(bits);
		return kb_error_new(KB_E_CORRUPT, "GC program at 0x%llx", (unsigned long long)a);
	}
	*ret_bits = (uint8_t *)bits;
	return NULL;
}

/* ---- masks from the structure of a type -------------------------------------------------------------------------- */

struct build {
	const kb_go *go;
	uint64_t *bits;
	uint64_t max; /* bits */
	uint64_t work;
};

static kb_error *build(struct build *b, kb_addr type, uint64_t at, unsigned depth);

static kb_error *spend(struct build *b, uint64_t n)
{
	if (b->work > WORK_MAX - n)
		return kb_error_new(KB_E_LIMIT, "type too complex");
	b->work += n;
	return NULL;
}

static kb_error *build_array(struct build *b, kb_addr type, uint64_t at, unsigned depth)
{
	uint64_t w[3]; /* elem, slice, len */
	struct desc e;
	KB_TRY(kb_read_ro(b->go, type + 48, w, sizeof(w)));
	KB_TRY(read_desc(b->go, w[0], &e));
	if (!w[2] || !e.ptr_bytes || (e.size & 7))
		return NULL;
	uint64_t stride = e.size / 8, bits = e.ptr_bytes / 8;
	if (w[2] > b->max || at + stride * (w[2] - 1) + bits > b->max)
		return kb_error_new(KB_E_CORRUPT, "array larger than its type");
	KB_TRY(build(b, w[0], at, depth + 1));
	KB_TRY(spend(b, w[2] * (bits / 64 + 1)));
	for (uint64_t i = 1; i < w[2]; i++)
		kb_bits_or(b->bits, at + i * stride, b->bits, at, bits);
	return NULL;
}

static kb_error *build_struct(struct build *b, kb_addr type, uint64_t at, unsigned depth)
{
	uint64_t w[2], f[3]; /* fields.ptr, len; name, type, offset */
	KB_TRY(kb_read_ro(b->go, type + 56, w, sizeof(w)));
	if (w[1] > FIELDS_MAX)
		return kb_error_new(KB_E_CORRUPT, "struct with %llu fields", (unsigned long long)w[1]);
	KB_TRY(spend(b, w[1] + 1));
	for (uint64_t i = 0; i < w[1]; i++) {
		KB_TRY(kb_read_ro(b->go, w[0] + i * sizeof(f), f, sizeof(f)));
		/* Fields without pointers may lie behind the mask's end. */
		if (f[2] <= TYPE_MAX)
			KB_TRY(build(b, f[1], at + f[2] / 8, depth + 1));
	}
	return NULL;
}

/* A mask that is simply there: bits of gcdata. */
static kb_error *or_plain(struct build *b, const struct desc *d, uint64_t at)
{
	uint64_t n = d->ptr_bytes / 8;
	KB_FREE uint64_t *tmp = alloc_bits(n);
	if (!tmp)
		return kb_error_nomem();
	KB_TRY(kb_read_ro(b->go, d->gcdata, tmp, (n + 7) / 8));
	kb_bits_or(b->bits, at, tmp, 0, n);
	return NULL;
}

/* ORs the mask of type into bits from `at` on. Recursion is as deep as the type nests, at most DEPTH_MAX. */
static kb_error *build(struct build *b, kb_addr type, uint64_t at, unsigned depth)
{
	struct desc d;
	KB_TRY(read_desc(b->go, type, &d));
	KB_TRY(spend(b, 1));
	if (!d.ptr_bytes)
		return NULL;
	if (depth > DEPTH_MAX || at + d.ptr_bytes / 8 > b->max)
		return kb_error_new(KB_E_CORRUPT, "type inside a smaller one");
	if (!d.on_demand && !d.program)
		return or_plain(b, &d, at);
	if (d.kind == KIND_ARRAY)
		return build_array(b, type, at, depth);
	if (d.kind == KIND_STRUCT)
		return build_struct(b, type, at, depth);
	return kb_error_new(KB_E_CORRUPT, "type of kind %u without a mask", d.kind);
}

kb_error *kb_type_mask(const kb_go *go, kb_addr type, uint64_t *ret_size, uint64_t *ret_ptr_bytes, uint8_t **ret_bits)
{
	struct desc d = { 0 };
	*ret_bits = NULL;
	KB_TRY(read_desc(go, type, &d));
	*ret_size = d.size;
	*ret_ptr_bytes = d.ptr_bytes;
	/* A GC program starts behind its length, a uint32. */
	if (d.program)
		return kb_gcprog_run(go, d.gcdata + 4, d.ptr_bytes / 8, ret_bits);
	struct build b = { .go = go, .max = d.ptr_bytes / 8, .bits = alloc_bits(d.ptr_bytes / 8) };
	if (!b.bits)
		return kb_error_nomem();
	/* A mask on demand need not exist yet, and is built from the structure: the same bits. */
	kb_error *err = d.on_demand ? build(&b, type, 0, 0) : d.ptr_bytes ? or_plain(&b, &d, 0) : NULL;
	if (err) {
		free(b.bits);
		return kb_error_context(err, "type 0x%llx", (unsigned long long)type);
	}
	*ret_bits = (uint8_t *)b.bits;
	return NULL;
}
