/* Bit arrays, GC programs, masks of types and of spans: on types and bitmaps made here in this process's own memory
 * and read as a target's. */
#include "kb_test.h"

#include <unistd.h>

#include "../../src/goruntime/bits.h"
#include "../../src/goruntime/spans.h"

static struct kb_go go;

static kb_addr here(const void *p)
{
	return (kb_addr)(uintptr_t)p;
}

static void put_field(void *at, enum kb_field_id f, uint64_t value)
{
	uint32_t n = kb_fsize(&go.layout, f);
	assert_true(kb_has(&go.layout, f));
	memcpy((uint8_t *)at + kb_off(&go.layout, f), &value, n > 8 ? 8 : n);
}

static void use_version(int minor, const char *experiments)
{
	assert_ok(kb_layout_choose(minor, 1, experiments, &go.layout, &go.layout_origin));
}

static int open_self(void **state)
{
	(void)state;
	assert_ok(kb_target_open_pid(getpid(), NULL, &go.target));
	pthread_mutex_init(&go.lock, NULL);
	return 0;
}

static int close_self(void **state)
{
	(void)state;
	kb_target_close(go.target);
	pthread_mutex_destroy(&go.lock);
	return 0;
}

/* ---- bits -------------------------------------------------------------------------------------------------------- */

enum { NBITS = 400 };

static bool bit(const void *bits, uint64_t i)
{
	return ((const uint8_t *)bits)[i >> 3] >> (i & 7) & 1;
}

static void bits_agree_with_single_bits(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 2000; round++) {
		uint64_t src[NBITS / 64 + 2], dst[NBITS / 64 + 2], was[NBITS / 64 + 2];
		for (size_t i = 0; i < KB_ARRAY_LEN(src); i++) {
			src[i] = (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
			was[i] = dst[i] = (uint64_t)rand() << 33 & (uint64_t)rand() << 31;
		}
		uint64_t to = (uint64_t)rand() % 200, from = (uint64_t)rand() % 200, n = (uint64_t)rand() % 200;
		kb_bits_or(dst, to, src, from, n);
		for (uint64_t i = 0; i < NBITS; i++)
			assert_int_equal(bit(dst, i),
					 bit(was, i) || (i >= to && i < to + n && bit(src, from + i - to)));
		memcpy(was, dst, sizeof(was));
		kb_bits_clear(dst, from, from + n);
		for (uint64_t i = 0; i < NBITS; i++)
			assert_int_equal(bit(dst, i), bit(was, i) && !(i >= from && i < from + n));
		for (int value = 0; value < 2; value++) {
			uint64_t want = from;
			while (want < from + n && bit(was, want) != value)
				want++;
			assert_int_equal(kb_bits_find(was, from, from + n, value), want);
		}
	}
}

/* ---- GC programs ------------------------------------------------------------------------------------------------- */

static void expect_program(const uint8_t *program, uint64_t max, const char *want)
{
	uint8_t *bits;
	assert_ok(kb_gcprog_run(&go, here(program), max, &bits));
	for (uint64_t i = 0; want[i]; i++)
		if (bit(bits, i) != (want[i] == '1'))
			fail_msg("bit %d of %s", (int)i, want);
	for (uint64_t i = strlen(want); i < max; i++)
		assert_false(bit(bits, i));
	free(bits);
}

static void gc_programs_run(void **state)
{
	(void)state;
	use_version(21, "");
	/* Literals of 3 and 9 bits. */
	expect_program((const uint8_t[]){ 3, 5, 9, 0xff, 1, 0 }, 40, "101111111111");
	/* Repeat the last 3 bits 4 times. */
	expect_program((const uint8_t[]){ 3, 1, 0x83, 4, 0 }, 40, "100100100100100");
	/* The same with both numbers as varints, the count in two bytes: 130 times. */
	char want[400] = "";
	for (int i = 0; i < 131; i++)
		memcpy(want + i * 2, "10", 3);
	expect_program((const uint8_t[]){ 2, 1, 0x80, 2, 0x82, 1, 0 }, 400, want);
	/* More than fits: cut, not written past. */
	expect_program((const uint8_t[]){ 1, 1, 0x81, 0xff, 0xff, 0xff, 0xff, 7, 0 }, 70,
		       "1111111111111111111111111111111111111111111111111111111111111111111111");
}

static void gc_program_that_goes_wrong(void **state)
{
	(void)state;
	uint8_t *bits;
	use_version(21, "");
	/* Repeats more bits than there are; repeats none. */
	assert_error(kb_gcprog_run(&go, here((const uint8_t[]){ 2, 1, 0x83, 1, 0 }), 40, &bits), KB_E_CORRUPT);
	assert_error(kb_gcprog_run(&go, here((const uint8_t[]){ 2, 1, 0x80, 0, 1, 0 }), 40, &bits), KB_E_CORRUPT);
	/* Not mapped. */
	assert_error(kb_gcprog_run(&go, 16, 40, &bits), KB_E_CORRUPT);
	/* A varint without an end. */
	const uint8_t endless[] = { 1, 1, 0x80, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0 };
	assert_error(kb_gcprog_run(&go, here(endless), 40, &bits), KB_E_CORRUPT);
	assert_error(kb_gcprog_run(&go, here(endless), UINT64_MAX / 2, &bits), KB_E_LIMIT);
}

/* ---- masks of types ---------------------------------------------------------------------------------------------- */

enum { KIND_ARRAY = 17, KIND_PTR = 22, KIND_STRUCT = 25, ON_DEMAND = 16 };

/* A descriptor: 48 bytes, then what its kind has. */
struct desc {
	uint8_t common[48];
	uint64_t more[4];
};

static struct desc make_type(uint64_t size, uint64_t ptr_bytes, uint8_t kind, uint8_t tflag, const void *gcdata)
{
	struct desc d = { 0 };
	put_field(&d, KB_F_type_size, size);
	put_field(&d, KB_F_type_ptrdata, ptr_bytes);
	put_field(&d, KB_F_type_kind, kind);
	put_field(&d, KB_F_type_tflag, tflag);
	put_field(&d, KB_F_type_gcdata, here(gcdata));
	return d;
}

static void expect_mask(const struct desc *d, const char *want)
{
	uint64_t size, ptr_bytes;
	uint8_t *bits;
	assert_ok(kb_type_mask(&go, here(d), &size, &ptr_bytes, &bits));
	assert_int_equal(ptr_bytes / 8, strlen(want));
	for (uint64_t i = 0; want[i]; i++)
		if (bit(bits, i) != (want[i] == '1'))
			fail_msg("bit %d of %s", (int)i, want);
	free(bits);
}

static const uint64_t nil;
static const uint8_t one_pointer = 1, third_word = 4;

static void mask_plain_and_program(void **state)
{
	(void)state;
	use_version(23, "");
	struct desc t = make_type(32, 24, KIND_STRUCT, 0, &third_word);
	expect_mask(&t, "001");
	/* Bit 6 of kind: a program behind a 32-bit length. */
	const uint8_t program[] = { 5, 0, 0, 0, 2, 2, 0x82, 2, 0 };
	t = make_type(48, 48, KIND_ARRAY | 64, 0, program);
	expect_mask(&t, "010101");
	/* With its mask unrolled (tflag 16 in 1.22 and 1.23) it is none. */
	t = make_type(32, 24, KIND_ARRAY | 64, 16, &third_word);
	expect_mask(&t, "001");
}

static void mask_on_demand(void **state)
{
	(void)state;
	use_version(26, "");
	struct desc pointer = make_type(8, 8, KIND_PTR, 0, &one_pointer);
	struct desc number = make_type(8, 0, 2, 0, NULL);
	/* struct { n int; p *T; tail [many]int }: three words, then 3 of those in an array, then a struct around it. */
	const uint64_t fields[2][3] = { { 0, here(&number), 0 }, { 0, here(&pointer), 8 } };
	struct desc pair = make_type(24, 16, KIND_STRUCT, ON_DEMAND, &nil);
	pair.more[1] = here(fields);
	pair.more[2] = 2;
	expect_mask(&pair, "01");
	struct desc array = make_type(72, 64, KIND_ARRAY, ON_DEMAND, &nil);
	array.more[0] = here(&pair);
	array.more[2] = 3;
	expect_mask(&array, "01001001");
	/* A field without pointers behind the last pointer is no contradiction. */
	const uint64_t outer[3][3] = { { 0, here(&pointer), 0 }, { 0, here(&array), 8 }, { 0, here(&number), 80 } };
	struct desc around = make_type(88, 72, KIND_STRUCT, ON_DEMAND, &nil);
	around.more[1] = here(outer);
	around.more[2] = 3;
	expect_mask(&around, "101001001");
}

static void mask_of_hostile_types(void **state)
{
	(void)state;
	uint64_t size, ptr_bytes;
	uint8_t *bits;
	use_version(26, "");
	/* A struct that holds itself. */
	struct desc loop = make_type(64, 64, KIND_STRUCT, ON_DEMAND, &nil);
	const uint64_t fields[1][3] = { { 0, here(&loop), 0 } };
	loop.more[1] = here(fields);
	loop.more[2] = 1;
	assert_error(kb_type_mask(&go, here(&loop), &size, &ptr_bytes, &bits), KB_E_CORRUPT);
	loop.more[2] = UINT64_MAX;
	assert_error(kb_type_mask(&go, here(&loop), &size, &ptr_bytes, &bits), KB_E_CORRUPT);
	/* An array with more elements than it has room for. */
	struct desc pointer = make_type(8, 8, KIND_PTR, 0, &one_pointer),
		    array = make_type(64, 64, KIND_ARRAY, ON_DEMAND, &nil);
	array.more[0] = here(&pointer);
	array.more[2] = UINT64_MAX / 8;
	assert_error(kb_type_mask(&go, here(&array), &size, &ptr_bytes, &bits), KB_E_CORRUPT);
	array.more[2] = 9;
	assert_error(kb_type_mask(&go, here(&array), &size, &ptr_bytes, &bits), KB_E_CORRUPT);
	array.more[2] = 8;
	expect_mask(&array, "11111111");
	/* Pointers behind its end; larger than anything; nowhere. */
	struct desc odd = make_type(8, 16, KIND_PTR, 0, &one_pointer);
	assert_error(kb_type_mask(&go, here(&odd), &size, &ptr_bytes, &bits), KB_E_CORRUPT);
	odd = make_type(UINT64_C(1) << 60, UINT64_C(1) << 60, KIND_PTR, 0, &one_pointer);
	assert_error(kb_type_mask(&go, here(&odd), &size, &ptr_bytes, &bits), KB_E_CORRUPT);
	assert_error(kb_type_mask(&go, 16, &size, &ptr_bytes, &bits), KB_E_FAULT);
}

/* ---- masks of spans ---------------------------------------------------------------------------------------------- */

static kb_span make_span(uint64_t elem_size, uint32_t npages, uint32_t nelems, const uint8_t *alloc_bits,
			 uint32_t flags)
{
	return (kb_span){ .base = UINT64_C(0xc000000000),
			  .elem_size = elem_size,
			  .npages = npages,
			  .nelems = nelems,
			  .alloc_bits = alloc_bits,
			  .div_magic = flags & KB_SPAN_LARGE ? 0 : UINT32_MAX / (uint32_t)elem_size + 1,
			  .flags = flags };
}

static void span_mask(const kb_span *s, const uint8_t *data, uint64_t first, uint64_t n, uint64_t *bits,
		      uint64_t want_errors)
{
	kb_mask_cache *c = kb_mask_cache_new(&go);
	assert_non_null(c);
	kb_go_span_mask(&go, c, s, data, first, n, bits);
	assert_int_equal(kb_mask_cache_errors(c), want_errors);
	kb_mask_cache_free(c);
}

static void span_bits_at_its_end(void **state)
{
	(void)state;
	uint8_t data[KB_PAGE_SIZE] = { 0 };
	uint8_t alloc[32] = { 0x05 }; /* objects 0 and 2 */
	uint64_t bits[16];
	use_version(24, "");
	/* Objects of 48 bytes: 6 words; the second word of each is said to be a pointer. */
	kb_span s = make_span(48, 1, 168, alloc, 0);
	for (uint32_t i = 0; i < 170; i++)
		data[KB_PAGE_SIZE - 128 + (i * 6 + 1) / 8] |= (uint8_t)(1 << ((i * 6 + 1) & 7));
	span_mask(&s, data, 0, 1024, bits, 0);
	for (uint64_t w = 0; w < 1024; w++)
		assert_int_equal(bit(bits, w), w == 1 || w == 13);
	/* Below free_index all are allocated. Nothing behind the last object. */
	s.free_index = 168;
	span_mask(&s, data, 0, 1024, bits, 0);
	for (uint64_t w = 0; w < 1024; w++)
		assert_int_equal(bit(bits, w), w % 6 == 1 && w < 168 * 6);
	/* With inline marks the bits lie 128 bytes lower. */
	memmove(data + KB_PAGE_SIZE - 256, data + KB_PAGE_SIZE - 128, 128);
	memset(data + KB_PAGE_SIZE - 128, 0xff, 128);
	s.flags = KB_SPAN_INLINE;
	s.nelems = s.free_index = 165;
	span_mask(&s, data, 0, 1024, bits, 0);
	for (uint64_t w = 0; w < 1024; w++)
		assert_int_equal(bit(bits, w), w % 6 == 1 && w < 165 * 6);
}

static void span_with_headers(void **state)
{
	(void)state;
	static uint8_t data[KB_PAGE_SIZE];
	uint8_t alloc[32] = { 0x1d }; /* 0, 2, 3, 4 */
	uint64_t bits[16];
	use_version(24, "");
	struct desc t = make_type(24, 24, KIND_STRUCT, 0, &third_word);
	struct desc large = make_type(4096, 24, KIND_STRUCT, 0, &third_word);
	kb_span s = make_span(1024, 1, 8, alloc, KB_SPAN_HEADERS);
	const kb_addr headers[8] = { here(&t), here(&t), 0, 16, here(&large), here(&t), here(&t), here(&t) };
	for (unsigned i = 0; i < 8; i++)
		memcpy(data + i * 1024, &headers[i], 8);
	/* Tiled from the second word to the slot's end; 2 has no type yet; 3 has none that can be read, 4 one too
	 * large for it. */
	span_mask(&s, data, 0, 1024, bits, 2);
	for (uint64_t w = 0; w < 1024; w++)
		assert_int_equal(bit(bits, w), w < 128 && w > 0 && (w - 1) % 3 == 2);
}

static void large_span_in_pieces(void **state)
{
	(void)state;
	enum { WORDS = 3 * 1024, PIECE = 192 };
	static uint8_t data[KB_PAGE_SIZE * 3];
	uint8_t alloc[1] = { 1 };
	uint64_t bits[PIECE / 64];
	use_version(24, "");
	for (uint64_t size = 24; size <= 8 * 2000; size += 8 * 659) {
		struct desc t = make_type(size, 24, KIND_STRUCT, 0, &third_word);
		kb_span s = make_span(sizeof(data), 3, 1, alloc, KB_SPAN_LARGE);
		s.large_type = here(&t);
		for (uint64_t at = 0; at < WORDS; at += PIECE) {
			span_mask(&s, data + at * 8, at, PIECE, bits, 0);
			for (uint64_t w = 0; w < PIECE; w++)
				assert_int_equal(bit(bits, w), (at + w) % (size / 8) == 2);
		}
		alloc[0] = 0;
		span_mask(&s, data, 0, PIECE, bits, 0);
		assert_int_equal(kb_bits_find(bits, 0, PIECE, true), PIECE);
		alloc[0] = 1;
	}
}

/* An arena whose bitmaps lie in `meta`. */
static void with_arena(uint8_t *meta, struct kb_span_store *st, kb_addr *arenas)
{
	arenas[0] = here(meta);
	*st = (struct kb_span_store){ .arenas = arenas };
	go.span_store = st;
	go.heap = (kb_heap){ .arena_base_first = UINT64_C(0xc000000000), .narenas = 1 };
}

static void without_arena(uint8_t *meta)
{
	go.span_store = NULL;
	go.heap = (kb_heap){ 0 };
	free(meta);
}

static void span_bitmap_of_119(void **state)
{
	(void)state;
	use_version(19, "");
	uint8_t *meta = calloc(1, kb_sizeof(&go.layout, KB_S_heapArena)), alloc[64] = { 0xff, 0xff, 0xff };
	struct kb_span_store st;
	kb_addr arenas[1];
	uint64_t bits[16];
	assert_non_null(meta);
	with_arena(meta, &st, arenas);
	uint8_t *bitmap = meta + kb_off(&go.layout, KB_F_heapArena_bitmap);
	/* Objects of 5 words. Object i has pointers in words 1 and 4; "more" is set for 3 words in odd objects, for
	 * all in even ones. */
	for (uint64_t w = 0; w < 204 * 5; w++) {
		uint64_t i = w / 5, k = w % 5;
		if (k == 1 || k == 4)
			bitmap[w / 4] |= (uint8_t)(1 << (w & 3));
		if (!(i & 1) || k < 3)
			bitmap[w / 4] |= (uint8_t)(16 << (w & 3));
	}
	kb_span s = make_span(40, 1, 204, alloc, 0);
	span_mask(&s, NULL, 0, 1024, bits, 0);
	for (uint64_t w = 0; w < 1024; w++)
		assert_int_equal(bit(bits, w), w < 24 * 5 && (w % 5 == 1 || (w % 5 == 4 && !(w / 5 & 1))));
	without_arena(meta);
}

static void large_bitmaps_end(void **state)
{
	(void)state;
	enum { WORDS = 2 * 1024, END = 700, PIECE = 256 };
	for (int minor = 19; minor <= 21; minor++) {
		use_version(minor, "");
		uint8_t *meta = calloc(1, kb_sizeof(&go.layout, KB_S_heapArena)), alloc[1] = { 1 };
		struct kb_span_store st;
		kb_addr arenas[1];
		uint64_t bits[PIECE / 64];
		assert_non_null(meta);
		with_arena(meta, &st, arenas);
		uint8_t *bitmap = meta + kb_off(&go.layout, KB_F_heapArena_bitmap);
		bool old = !kb_has(&go.layout, KB_F_heapArena_noMorePtrs);
		/* All pointers, old ones included; 1.19 ends at a word, 1.20 after 64 of them. */
		memset(bitmap, 0xff, WORDS / (old ? 4 : 8));
		if (old)
			bitmap[END / 4] &= (uint8_t) ~(16 << (END & 3));
		else
			meta[kb_off(&go.layout, KB_F_heapArena_noMorePtrs) + END / 64 / 8] |= 1 << (END / 64 & 7);
		uint64_t end = old ? END : (END / 64 + 1) * 64;
		kb_span s = make_span(2 * KB_PAGE_SIZE, 2, 1, alloc, KB_SPAN_LARGE);
		/* From the back: the end must be known without the pieces before. */
		for (uint64_t at = WORDS; at;) {
			at -= PIECE;
			span_mask(&s, NULL, at, PIECE, bits, 0);
			for (uint64_t w = 0; w < PIECE; w++)
				assert_int_equal(bit(bits, w), at + w < end);
		}
		without_arena(meta);
	}
}

static void noscan_has_none(void **state)
{
	(void)state;
	uint8_t data[KB_PAGE_SIZE], alloc[32];
	uint64_t bits[16];
	use_version(24, "");
	memset(data, 0xff, sizeof(data));
	memset(alloc, 0xff, sizeof(alloc));
	kb_span s = make_span(48, 1, 170, alloc, KB_SPAN_NOSCAN);
	memset(bits, 0xff, sizeof(bits));
	span_mask(&s, data, 0, 1024, bits, 0);
	assert_int_equal(kb_bits_find(bits, 0, 1024, true), 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_agree_with_single_bits),
		cmocka_unit_test(gc_programs_run),
		cmocka_unit_test(gc_program_that_goes_wrong),
		cmocka_unit_test(mask_plain_and_program),
		cmocka_unit_test(mask_on_demand),
		cmocka_unit_test(mask_of_hostile_types),
		cmocka_unit_test(span_bits_at_its_end),
		cmocka_unit_test(span_with_headers),
		cmocka_unit_test(large_span_in_pieces),
		cmocka_unit_test(span_bitmap_of_119),
		cmocka_unit_test(large_bitmaps_end),
		cmocka_unit_test(noscan_has_none),
	};
	return cmocka_run_group_tests(tests, open_self, close_self);
}
