/* A whole executable: headers, notes, symbols, compressed sections, DWARF. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "program/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_symbols(kb_program *p)
{
	const kb_symbol *s;
	kb_symbol found;
	size_t n;

	kb_error_free(kb_program_data_symbols(p, &s, &n));
	for (size_t i = 0; i < n; i++) {
		require(s[i].size && *s[i].name);
		require(i == 0 || s[i - 1].addr < s[i].addr);
	}
	if (n)
		kb_error_free(kb_program_find_symbol(p, s[0].name, &found));
	kb_error_free(kb_program_find_symbol(p, "runtime.mheap_", &found));
}

static void check_types(kb_program *p, const kb_dwarf_var *v, size_t n)
{
	uint64_t refs[16];
	uint32_t nodes[16];
	kb_dwarf_types types;
	size_t used = 0;
	kb_error *err;

	for (size_t i = 0; i < n && used < KB_ARRAY_LEN(refs); i++)
		if (v[i].type_ref)
			refs[used++] = v[i].type_ref;
	err = kb_program_dwarf_types(p, refs, used, nodes, &types);
	if (!err)
		for (size_t i = 0; i < used; i++)
			require(nodes[i] < types.nnodes);
	kb_error_free(err);
	kb_dwarf_types_free(&types);
}

static void check_dwarf(kb_program *p)
{
	kb_dwarf_query q[] = { { .strukt = "runtime.mspan" },
			       { .strukt = "runtime.mspan", .field = "next.startAddr" },
			       { .strukt = "pair", .field = "b" } };
	const kb_dwarf_var *v;
	size_t n;

	kb_error_free(kb_program_dwarf_vars(p, &v, &n));
	for (size_t i = 0; i < n; i++)
		require(v[i].addr && *v[i].name && strlen(v[i].type_name) < 1u << 30 &&
			(i == 0 || v[i - 1].addr <= v[i].addr));
	kb_error_free(kb_program_dwarf_fields(p, q, KB_ARRAY_LEN(q)));
	check_types(p, v, n);
}

static void check_sections(kb_program *p)
{
	static const char *const names[] = { ".go.buildinfo", ".gopclntab", ".debug_str", ".bss", "" };

	for (size_t i = 0; i < KB_ARRAY_LEN(names); i++) {
		const kb_section *s = kb_program_section(p, names[i]);
		kb_bytes b = { 0 };
		kb_error *err = s ? kb_program_section_bytes(p, s, &b) : NULL;

		require(err || !b.n || b.p[0] + b.p[b.n - 1] >= 0);
		kb_error_free(err);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char version[64];
	kb_program *p;
	kb_error *err;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	kb_error_free(kb_program_go_version(fd, version, sizeof(version)));
	err = kb_program_open(fd, "fuzz", &p);
	if (!err) {
		check_sections(p);
		check_symbols(p);
		check_dwarf(p);
		kb_program_close(p);
	}
	kb_error_free(err);
	close(fd);
	return 0;
}
