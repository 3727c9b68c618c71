#include "private.h"

#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* How far into the first writable segment the build info may lie when there are no section headers; as much as Go's own
 * debug/buildinfo looks at since 1.23. */
#define BUILDINFO_WINDOW (1u << 20)
/* Far more than the longest dependency list seen (etcd: 9 KiB). */
#define BUILDINFO_MAX (16u << 20)
#define NOTE_MAX 65536

static pthread_once_t elf_once = PTHREAD_ONCE_INIT;

static void elf_init(void)
{
	elf_version(EV_CURRENT);
}

kb_error *program_pread(int fd, const char *name, uint64_t offset, void *buf, size_t n, size_t *ret_n)
{
	size_t done = 0;

	if (offset > INT64_MAX - n)
		return kb_error_new(KB_E_CORRUPT, "%s: file offset 0x%llx is out of range", name,
				    (unsigned long long)offset);
	while (done < n) {
		ssize_t r = pread(fd, (char *)buf + done, n - done, (off_t)(offset + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return kb_error_errno(errno, "%s: cannot read", name);
		if (r == 0)
			break;
		done += (size_t)r;
	}
	*ret_n = done;
	return NULL;
}

static kb_error *check_ident(Elf *elf, const char *name)
{
	GElf_Ehdr eh;
	const char *ident = elf_kind(elf) == ELF_K_ELF ? elf_getident(elf, NULL) : NULL;

	if (!ident)
		return kb_error_new(KB_E_NOT_GO, "%s: not an ELF executable", name);
	if (ident[EI_CLASS] != ELFCLASS64)
		return kb_error_new(KB_E_UNSUPPORTED, "%s: not a 64-bit program; only linux/amd64 is supported", name);
	if (!gelf_getehdr(elf, &eh))
		return kb_error_new(KB_E_CORRUPT, "%s: damaged ELF header: %s", name, elf_errmsg(-1));
	if (ident[EI_DATA] != ELFDATA2LSB || eh.e_machine != EM_X86_64)
		return kb_error_new(KB_E_UNSUPPORTED,
				    "%s: made for another processor (ELF machine %u); only linux/amd64 is supported",
				    name, eh.e_machine);
	if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		return kb_error_new(KB_E_NOT_GO, "%s: neither an executable nor a shared library (ELF type %u)", name,
				    eh.e_type);
	return NULL;
}

kb_error *program_elf_begin(int fd, const char *name, Elf **ret)
{
	kb_error *err;
	Elf *elf;

	pthread_once(&elf_once, elf_init);
	/* Not the mmap kind: a file cut short under us would be a SIGBUS instead of an error. */
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf)
		return kb_error_new(KB_E_NOT_GO, "%s: cannot be read as ELF: %s", name, elf_errmsg(-1));
	err = check_ident(elf, name);
	if (err) {
		elf_end(elf);
		return err;
	}
	*ret = elf;
	return NULL;
}

/* ---- reading the headers ------------------------------------------------------------------------------------ */

static kb_error *add_section(kb_program *p, Elf *elf, Elf_Scn *scn, size_t names)
{
	const char *name;
	GElf_Shdr sh;
	kb_section *s = &p->sections[p->nsections];

	if (!gelf_getshdr(scn, &sh))
		return kb_error_new(KB_E_CORRUPT, "%s: damaged section header: %s", p->name, elf_errmsg(-1));
	name = elf_strptr(elf, names, sh.sh_name);
	s->name = kb_arena_strndup(&p->arena, name ? name : "", name ? strlen(name) : 0);
	if (!s->name)
		return kb_error_nomem();
	s->addr = sh.sh_addr;
	s->size = sh.sh_size;
	s->file_offset = sh.sh_offset;
	s->has_bytes = sh.sh_type != SHT_NOBITS && sh.sh_type != SHT_NULL;
	p->more[p->nsections] = (struct section_more){ .flags = sh.sh_flags, .type = sh.sh_type, .link = sh.sh_link };
	p->nsections++;
	return NULL;
}

/* Kept at their ELF index, so that links between sections can be followed. */
static kb_error *read_sections(kb_program *p, Elf *elf)
{
	size_t n = 0, names = 0;

	/* A program whose section headers were cut off still runs and can be read through its segments. */
	if (elf_getshdrnum(elf, &n) || elf_getshdrstrndx(elf, &names) || !n)
		return NULL;
	if (n > SECTIONS_MAX)
		return kb_error_new(KB_E_CORRUPT, "%s: announces %zu sections", p->name, n);
	p->sections = calloc(n, sizeof(*p->sections));
	p->more = calloc(n, sizeof(*p->more));
	if (!p->sections || !p->more)
		return kb_error_nomem();
	for (size_t i = 0; i < n; i++) {
		Elf_Scn *scn = elf_getscn(elf, i);

		if (!scn)
			return kb_error_new(KB_E_CORRUPT, "%s: damaged section headers: %s", p->name, elf_errmsg(-1));
		KB_TRY(add_section(p, elf, scn, names));
	}
	return NULL;
}

static void add_segment(kb_program *p, const GElf_Phdr *ph)
{
	switch (ph->p_type) {
	case PT_LOAD:
		p->segments[p->nsegments++] = (kb_segment){ .vaddr = ph->p_vaddr,
							    .filesz = ph->p_filesz,
							    .memsz = ph->p_memsz,
							    .offset = ph->p_offset,
							    .flags = ph->p_flags };
		break;
	case PT_INTERP:
		p->dynamic = true;
		break;
	case PT_TLS:
		p->tls_memsz = ph->p_memsz;
		p->tls_align = ph->p_align;
		break;
	case PT_GNU_RELRO:
		p->relro_start = ph->p_vaddr;
		p->relro_end = ph->p_vaddr + ph->p_memsz;
		break;
	default:
		break;
	}
}

static kb_error *read_segments(kb_program *p, Elf *elf)
{
	size_t n = 0;
	GElf_Phdr ph;

	if (elf_getphdrnum(elf, &n) || n > SEGMENTS_MAX)
		return kb_error_new(KB_E_CORRUPT, "%s: damaged program headers", p->name);
	p->segments = calloc(n ? n : 1, sizeof(*p->segments));
	if (!p->segments)
		return kb_error_nomem();
	for (size_t i = 0; i < n; i++) {
		if (!gelf_getphdr(elf, (int)i, &ph))
			return kb_error_new(KB_E_CORRUPT, "%s: damaged program headers: %s", p->name, elf_errmsg(-1));
		add_segment(p, &ph);
	}
	return NULL;
}

/* ---- build info and build id ---------------------------------------------------------------------------------- */

/* Where the build info is to be looked for: its own section, else the start of the first writable segment. */
struct window {
	uint64_t offset, size;
};

static bool buildinfo_window(const kb_program *p, struct window *ret)
{
	const kb_section *s = kb_program_section(p, ".go.buildinfo");

	if (s && s->has_bytes) {
		*ret = (struct window){ s->file_offset, s->size < BUILDINFO_MAX ? s->size : BUILDINFO_MAX };
		return true;
	}
	for (size_t i = 0; i < p->nsegments; i++) {
		const kb_segment *g = &p->segments[i];

		if ((g->flags & (PF_W | PF_X)) == PF_W) {
			*ret = (struct window){ g->offset,
						g->filesz < BUILDINFO_WINDOW ? g->filesz : BUILDINFO_WINDOW };
			return true;
		}
	}
	return false;
}

static kb_error *read_window(const kb_program *p, uint64_t limit, uint8_t **ret, size_t *ret_n)
{
	struct window w;
	kb_error *err;

	if (!buildinfo_window(p, &w) || w.offset >= p->file_size)
		return kb_error_new(KB_E_NOT_GO, "%s: not a Go program (no build info)", p->name);
	if (w.size > p->file_size - w.offset)
		w.size = p->file_size - w.offset;
	if (w.size > limit)
		w.size = limit;
	*ret = malloc(w.size ? w.size : 1);
	if (!*ret)
		return kb_error_nomem();
	err = program_pread(p->fd, p->name, w.offset, *ret, w.size, ret_n);
	if (err) {
		free(*ret);
		*ret = NULL;
	}
	return err;
}

static bool has_function_table(const kb_program *p)
{
	return kb_program_section(p, ".gopclntab") || kb_program_section(p, ".data.rel.ro.gopclntab");
}

/* A program without build info but with a function table is Go still (some strip the former). */
static kb_error *read_buildinfo(kb_program *p)
{
	KB_FREE uint8_t *buf = NULL;
	size_t n = 0;
	kb_error *err = read_window(p, UINT64_MAX, &buf, &n);

	if (!err)
		err = kb_buildinfo_parse((kb_bytes){ buf, n }, &p->buildinfo);
	p->have_buildinfo = !err;
	if (err && err->code == KB_E_NOT_GO && has_function_table(p)) {
		kb_error_free(err);
		return NULL;
	}
	if (err && err->code == KB_E_NOT_GO) {
		kb_error_free(err);
		return kb_error_new(KB_E_NOT_GO, "%s: not a Go program (no build info, no function table)", p->name);
	}
	return kb_error_context(err, "%s", p->name);
}

static kb_bytes find_note(kb_bytes b, const char *owner, size_t owner_n, uint32_t type)
{
	uint32_t namesz, descsz, t;
	uint64_t off = 0;

	while (kb_get_u32(b, off, &namesz) && kb_get_u32(b, off + 4, &descsz) && kb_get_u32(b, off + 8, &t)) {
		uint64_t desc = off + 12 + (((uint64_t)namesz + 3) & ~UINT64_C(3));
		kb_bytes name = kb_slice(b, off + 12, namesz);

		if (t == type && name.n == owner_n && !memcmp(name.p, owner, owner_n))
			return kb_slice(b, desc, descsz);
		off = desc + (((uint64_t)descsz + 3) & ~UINT64_C(3));
	}
	return (kb_bytes){ 0 };
}

static kb_error *take_note(kb_program *p, const char *section, const char *owner, uint32_t type)
{
	const kb_section *s = kb_program_section(p, section);
	uint8_t buf[4096];
	kb_bytes note;
	size_t n = 0;
	uint8_t *copy;

	if (p->build_id.n || !s || !s->has_bytes || s->size > NOTE_MAX)
		return NULL;
	KB_TRY(program_pread(p->fd, p->name, s->file_offset, buf, s->size < sizeof(buf) ? s->size : sizeof(buf), &n));
	note = find_note((kb_bytes){ buf, n }, owner, 4, type);
	if (!note.n)
		return NULL;
	copy = kb_arena_alloc(&p->arena, note.n);
	if (!copy)
		return kb_error_nomem();
	memcpy(copy, note.p, note.n);
	p->build_id = (kb_bytes){ copy, note.n };
	return NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static kb_error *read_headers(kb_program *p)
{
	kb_error *err;
	Elf *elf;

	KB_TRY(program_elf_begin(p->fd, p->name, &elf));
	GElf_Ehdr eh;
	if (gelf_getehdr(elf, &eh))
		p->pie = eh.e_type == ET_DYN;
	err = read_segments(p, elf);
	if (!err)
		err = read_sections(p, elf);
	elf_end(elf);
	return err;
}

static kb_error *program_new(int fd, const char *name, kb_program **ret)
{
	kb_program *p = calloc(1, sizeof(*p));
	struct stat st;
	kb_error *err = NULL;

	if (!p)
		return kb_error_nomem();
	p->fd = fd;
	pthread_mutex_init(&p->lock, NULL);
	p->name = strdup(name ? name : "executable");
	if (!p->name)
		err = kb_error_nomem();
	else if (fstat(fd, &st))
		err = kb_error_errno(errno, "%s: cannot be read", p->name);
	else if (!S_ISREG(st.st_mode))
		err = kb_error_new(KB_E_NOT_GO, "%s: not a regular file", p->name);
	else
		p->file_size = (uint64_t)st.st_size;
	if (!err)
		err = read_headers(p);
	if (err) {
		kb_program_close(p);
		return err;
	}
	*ret = p;
	return NULL;
}

kb_error *kb_program_open(int fd, const char *name_for_errors, kb_program **ret)
{
	kb_program *p;
	kb_error *err;

	KB_TRY(program_new(fd, name_for_errors, &p));
	err = read_buildinfo(p);
	if (!err)
		err = take_note(p, ".note.gnu.build-id", "GNU", NT_GNU_BUILD_ID);
	if (!err)
		err = take_note(p, ".note.go.buildid", "Go\0", 4);
	if (err) {
		kb_program_close(p);
		return err;
	}
	*ret = p;
	return NULL;
}

void kb_program_close(kb_program *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nsections; i++)
		free((void *)(uintptr_t)p->more[i].bytes.p);
	dwarf_index_free(p->dwarf);
	kb_map_free(&p->symbol_by_hash);
	free(p->data_symbols);
	free(p->sections);
	free(p->more);
	free(p->segments);
	kb_buildinfo_free(&p->buildinfo);
	kb_arena_free(&p->arena);
	pthread_mutex_destroy(&p->lock);
	free(p->name);
	free(p);
}

kb_error *kb_program_go_version(int fd, char *buf, size_t n)
{
	KB_FREE uint8_t *window = NULL;
	size_t got = 0;
	kb_program *p;
	kb_error *err;

	KB_TRY(program_new(fd, NULL, &p));
	/* The version stands in front; 4 KiB hold it whenever the section is known, but not in the fallback. */
	err = read_window(p, kb_program_section(p, ".go.buildinfo") ? 4096 : UINT64_MAX, &window, &got);
	if (!err)
		err = buildinfo_version((kb_bytes){ window, got }, buf, n);
	kb_program_close(p);
	return err;
}

/* ---- asking ---------------------------------------------------------------------------------------------------------- */

size_t section_index(const kb_program *p, const char *name)
{
	for (size_t i = 0; i < p->nsections; i++)
		if (!strcmp(p->sections[i].name, name))
			return i;
	return SIZE_MAX;
}

const kb_section *kb_program_section(const kb_program *p, const char *name)
{
	size_t i = section_index(p, name);

	return i == SIZE_MAX ? NULL : &p->sections[i];
}

const kb_segment *kb_program_segments(const kb_program *p, size_t *ret_n)
{
	*ret_n = p->nsegments;
	return p->segments;
}

const kb_buildinfo *kb_program_buildinfo(const kb_program *p)
{
	return p->have_buildinfo ? &p->buildinfo : NULL;
}

bool kb_program_is_pie(const kb_program *p)
{
	return p->pie;
}

bool kb_program_is_dynamic(const kb_program *p)
{
	return p->dynamic;
}

bool kb_program_has_symbols(const kb_program *p)
{
	size_t i = section_index(p, ".symtab");

	return i != SIZE_MAX && p->sections[i].has_bytes && p->sections[i].size > sizeof(Elf64_Sym);
}

bool kb_program_has_dwarf(const kb_program *p)
{
	size_t i = section_index(p, ".debug_info");

	if (i == SIZE_MAX)
		i = section_index(p, ".zdebug_info");
	return i != SIZE_MAX && p->sections[i].has_bytes && p->sections[i].size;
}

kb_bytes kb_program_build_id(const kb_program *p)
{
	return p->build_id;
}

void kb_program_tls(const kb_program *p, uint64_t *ret_memsz, uint64_t *ret_align)
{
	*ret_memsz = p->tls_memsz;
	*ret_align = p->tls_align;
}
