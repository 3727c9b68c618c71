/* The function table, from its header on. In front of it stand 32 bytes: a pc, and one text section. The table's own bytes
 * serve as inline tree and as code too. */
#include <stdlib.h>

#include "program/program.h"

#define FRONT 32
#define FUNCS_MAX 64
#define LINES_MAX 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	kb_bytes tree;
	unsigned seen;
};

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_lines(const kb_func *f, uint64_t pc, kb_bytes tree)
{
	kb_line lines[LINES_MAX];
	size_t n = kb_func_lines(f, pc, tree, lines, LINES_MAX);

	require(n >= 1 && n <= LINES_MAX);
	for (size_t i = 0; i < n; i++) {
		require(lines[i].inlined || i + 1 == n);
		require(strlen(lines[i].function) < 1u << 30 && strlen(lines[i].file) < 1u << 30);
	}
}

static bool check_func(void *ctx, const kb_func *f)
{
	struct input *in = ctx;
	const uint64_t pcs[] = { f->entry, f->entry + 1, f->end - 1, f->end };
	kb_func again;
	int32_t value;

	require(f->entry < f->end && strlen(f->name) < 1u << 30);
	for (size_t i = 0; i < KB_ARRAY_LEN(pcs); i++) {
		(void)kb_func_spdelta(f, pcs[i], &value);
		for (unsigned table = 0; table < 4; table++)
			(void)kb_pc_data(f, table, pcs[i], &value);
		check_lines(f, pcs[i], in->tree);
		if (kb_func_find(f->tab, pcs[i], &again))
			require(pcs[i] >= again.entry && pcs[i] < again.end);
	}
	for (unsigned i = 0; i < 256; i += 3)
		(void)kb_func_data(f, i);
	return ++in->seen < FUNCS_MAX;
}

static void check_refs(kb_bytes code)
{
	uint64_t refs[16];

	require(kb_code_data_refs(code, 0x400000, refs, KB_ARRAY_LEN(refs)) <= KB_ARRAY_LEN(refs));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t sections[2][3] = { { 0, 0x40, 0x400000 } };
	struct input in = { 0 };
	kb_pclntab tab;
	kb_func f;

	if (size < FRONT)
		return 0;
	kb_bytes b = { data + FRONT, size - FRONT };
	if (!kb_pclntab_from_section(b, 0x400000, 0x500000, &tab))
		return 0;
	in.tree = tab.pctab;
	memcpy(sections[1], data + 8, sizeof(sections[1]));
	if (kb_load64(data) & 1) {
		tab.textsect = (const uint64_t(*)[3])sections;
		tab.ntextsect = 2;
	}
	kb_func_each(&tab, check_func, &in);
	(void)kb_func_find(&tab, kb_load64(data), &f);
	(void)kb_func_at(&tab, kb_load32(data), &f);
	check_refs(b);
	return 0;
}
