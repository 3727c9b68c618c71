/* The files behind a core: which one is the executable, does it belong to this core, and what the core left out of
 * them. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KB_MAX_OPEN_FILES 200u /* a process may usually have 1,024 */
#define KB_HEAD_MAX 65536u     /* of the executable: ELF header, program headers, notes */
#define KB_BUILD_ID_MAX 256u

/* ---- executables ----------------------------------------------------------------------------------------------- */

struct exe_file {
	uint8_t head[KB_HEAD_MAX];
	kb_bytes b; /* what was read of it */
	Elf64_Ehdr e;
	uint64_t size;
};

static bool exe_phdr(const struct exe_file *x, unsigned i, Elf64_Phdr *ret)
{
	kb_bytes p = kb_slice(x->b, x->e.e_phoff + (uint64_t)i * sizeof *ret, sizeof *ret);
	if (i >= x->e.e_phnum || p.n < sizeof *ret)
		return false;
	memcpy(ret, p.p, sizeof *ret);
	return true;
}

static int open_plain(const char *path, uint64_t *ret_size)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		errno = ENOENT;
		return -1;
	}
	if (fd >= 0)
		*ret_size = (uint64_t)st.st_size;
	return fd;
}

static kb_error *read_exe(int fd, const char *path, uint64_t size, struct exe_file *x)
{
	size_t n = 0;
	while (n < sizeof x->head) {
		ssize_t r = pread(fd, x->head + n, sizeof x->head - n, (off_t)n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	x->b = (kb_bytes){ x->head, n };
	x->size = size;
	if (n < sizeof x->e || memcmp(x->head, ELFMAG, SELFMAG))
		return kb_error_new(KB_E_CORRUPT, "%s is not an ELF executable", path);
	memcpy(&x->e, x->head, sizeof x->e);
	if (x->e.e_type == ET_CORE)
		return kb_error_remedy(kb_error_new(KB_E_CORRUPT, "%s is a core, not an executable", path),
				       "the order is: keptby EXECUTABLE -c CORE");
	if (x->e.e_ident[EI_CLASS] != ELFCLASS64 || x->e.e_machine != EM_X86_64)
		return kb_error_new(KB_E_UNSUPPORTED, "%s is not an amd64 executable", path);
	return NULL;
}

/* ---- build ids ------------------------------------------------------------------------------------------------- */

/* Go's own build id where there is one, else the GNU one. Go's note has the name "Go" and type 4
 * (cmd/link/internal/ld/elf.go ELF_NOTE_GOBUILDID_TAG). */
static kb_bytes build_id_in(kb_bytes notes)
{
	kb_bytes gnu = { NULL, 0 };
	uint32_t namesz, descsz, type;
	for (uint64_t off = 0; kb_get_u32(notes, off, &namesz) && kb_get_u32(notes, off + 4, &descsz) &&
			       kb_get_u32(notes, off + 8, &type);) {
		uint64_t desc_at = off + 12 + (((uint64_t)namesz + 3) & ~3ull);
		kb_bytes name = kb_slice(notes, off + 12, namesz), desc = kb_slice(notes, desc_at, descsz);
		if (!desc.n || desc.n > KB_BUILD_ID_MAX)
			break;
		if (type == 4 && name.n >= 2 && !memcmp(name.p, "Go", 2))
			return desc;
		if (type == NT_GNU_BUILD_ID && name.n >= 3 && !memcmp(name.p, "GNU", 3))
			gnu = desc;
		off = desc_at + (((uint64_t)descsz + 3) & ~3ull);
	}
	return gnu;
}

/* From the first bytes of a file or of its mapping: where PT_NOTE says. */
static kb_bytes build_id(kb_bytes head)
{
	Elf64_Ehdr e;
	kb_bytes gnu = { NULL, 0 };
	if (head.n < sizeof e)
		return gnu;
	memcpy(&e, head.p, sizeof e);
	for (unsigned i = 0; i < e.e_phnum; i++) {
		Elf64_Phdr p;
		kb_bytes raw = kb_slice(head, e.e_phoff + (uint64_t)i * sizeof p, sizeof p);
		if (raw.n < sizeof p)
			break;
		memcpy(&p, raw.p, sizeof p);
		if (p.p_type != PT_NOTE)
			continue;
		kb_bytes id = build_id_in(kb_slice(head, p.p_offset, p.p_filesz));
		if (id.n > gnu.n)
			gnu = id; /* Go's is the longer one */
	}
	return gnu;
}

/* Go's is text, GNU's is bytes. */
static void print_id(char *buf, size_t n, kb_bytes id)
{
	bool text = true;
	size_t at = 0;
	for (size_t i = 0; i < id.n; i++)
		text &= id.p[i] > ' ' && id.p[i] < 0x7f;
	if (text) {
		snprintf(buf, n, "%.*s", (int)id.n, (const char *)id.p);
		return;
	}
	buf[0] = 0;
	for (size_t i = 0; i < id.n && at + 3 < n; i++)
		at += (size_t)snprintf(buf + at, n - at, "%02x", id.p[i]);
}

/* ---- does the executable belong to the core? ------------------------------------------------------------------- */

static kb_error *mismatch(const char *exe, const char *core, const char *why)
{
	return kb_error_remedy(kb_error_new(KB_E_CORRUPT, "%s was not made by %s: %s", core, exe, why),
			       "give the executable that was running: keptby EXECUTABLE -c CORE");
}

/* Segments of the executable and what NT_FILE says of it must have the same distance between file and memory. */
static bool mapping_fits(const struct exe_file *x, const struct kb_core_map *m, uint64_t bias)
{
	Elf64_Phdr p;
	for (unsigned i = 0; exe_phdr(x, i, &p); i++)
		if (p.p_type == PT_LOAD &&
		    KB_PAGE_DOWN(p.p_vaddr + bias) - KB_PAGE_DOWN(p.p_offset) == m->start - m->offset &&
		    m->offset < KB_PAGE_UP(p.p_offset + p.p_filesz))
			return true;
	return false;
}

static kb_error *check_mappings(const struct kb_core *c, const struct exe_file *x, uint64_t bias, const char *path,
				const char *core_path)
{
	char why[160];
	for (size_t i = 0; i < c->n_maps; i++) {
		const struct kb_core_map *m = &c->maps[i];
		if (!c->files[m->file].is_exe)
			continue;
		if (!mapping_fits(x, m, bias)) {
			snprintf(why, sizeof why,
				 "its mapping at 0x%" PRIx64 " (file offset 0x%" PRIx64
				 ") is no segment of this executable",
				 m->start, m->offset);
			return mismatch(path, core_path, why);
		}
		if (KB_PAGE_UP(x->size) < m->offset + (m->end - m->start)) {
			snprintf(why, sizeof why, "it mapped %" PRIu64 " bytes of a file, this one has %" PRIu64,
				 m->offset + (m->end - m->start), x->size);
			return mismatch(path, core_path, why);
		}
	}
	return NULL;
}

/* The core's page with the ELF header against the file's. Section headers may differ: one of the two may be
 * stripped. */
static kb_error *check_page(kb_bytes in_core, const struct exe_file *x, const char *path, const char *core_path)
{
	char a[KB_BUILD_ID_MAX + 1], b[KB_BUILD_ID_MAX + 1], why[2 * KB_BUILD_ID_MAX + 64];
	Elf64_Ehdr e;
	if (in_core.n < sizeof e || memcmp(in_core.p, ELFMAG, SELFMAG))
		return NULL;
	memcpy(&e, in_core.p, sizeof e);
	kb_bytes id_core = build_id(in_core), id_file = build_id(x->b);
	if (id_core.n && id_file.n) {
		if (id_core.n == id_file.n && !memcmp(id_core.p, id_file.p, id_core.n))
			return NULL;
		print_id(a, sizeof a, id_core);
		print_id(b, sizeof b, id_file);
		snprintf(why, sizeof why, "build id %s in the core, %s in the executable", a, b);
		return mismatch(path, core_path, why);
	}
	uint64_t table = (uint64_t)e.e_phnum * sizeof(Elf64_Phdr);
	kb_bytes p = kb_slice(in_core, e.e_phoff, table), q = kb_slice(x->b, x->e.e_phoff, table);
	if (e.e_entry != x->e.e_entry || e.e_phnum != x->e.e_phnum || (p.n && q.n && memcmp(p.p, q.p, p.n)))
		return mismatch(path, core_path, "the program headers in the core are others");
	return NULL;
}

/* How far the executable was moved; false when the core does not tell. */
static bool find_bias(const struct kb_core *c, const struct exe_file *x, uint64_t *ret)
{
	Elf64_Phdr p;
	uint64_t at_phdr;
	bool known = kb_core_auxv(c, AT_PHDR, &at_phdr);
	for (unsigned i = 0; known && exe_phdr(x, i, &p); i++)
		if (p.p_type == PT_LOAD && x->e.e_phoff >= p.p_offset && x->e.e_phoff < p.p_offset + p.p_filesz) {
			*ret = at_phdr - (p.p_vaddr + (x->e.e_phoff - p.p_offset));
			return true;
		}
	for (unsigned i = 0; exe_phdr(x, i, &p); i++)
		for (size_t k = 0; p.p_type == PT_LOAD && k < c->n_maps; k++)
			if (c->files[c->maps[k].file].is_exe && c->maps[k].offset == KB_PAGE_DOWN(p.p_offset)) {
				*ret = c->maps[k].start - KB_PAGE_DOWN(p.p_vaddr);
				return true;
			}
	*ret = 0;
	return x->e.e_type == ET_EXEC;
}

static kb_error *check_auxv(const struct kb_core *c, const struct exe_file *x, uint64_t bias, const char *path,
			    const char *core_path)
{
	char why[160];
	uint64_t v;
	if (kb_core_auxv(c, AT_PHNUM, &v) && v != x->e.e_phnum) {
		snprintf(why, sizeof why, "it had %" PRIu64 " program headers, this executable has %u", v,
			 x->e.e_phnum);
		return mismatch(path, core_path, why);
	}
	if (kb_core_auxv(c, AT_ENTRY, &v) && v != x->e.e_entry + bias) {
		snprintf(why, sizeof why, "its entry point was 0x%" PRIx64 ", this executable's is 0x%" PRIx64, v,
			 (uint64_t)x->e.e_entry + bias);
		return mismatch(path, core_path, why);
	}
	if (x->e.e_type == ET_EXEC && bias)
		return mismatch(path, core_path, "this executable cannot be moved, but the core's was");
	return NULL;
}

static kb_error *check_exe(const struct kb_core *c, const struct exe_file *x, const char *path, const char *core_path)
{
	uint64_t bias;
	Elf64_Phdr p;
	if (!find_bias(c, x, &bias))
		return NULL;
	/* First what tells most: the build ids. */
	for (unsigned i = 0; exe_phdr(x, i, &p); i++)
		if (p.p_type == PT_LOAD && p.p_offset == 0)
			KB_TRY(check_page(kb_core_present(c, p.p_vaddr + bias, KB_PAGE), x, path, core_path));
	KB_TRY(check_auxv(c, x, bias, path, core_path));
	return check_mappings(c, x, bias, path, core_path);
}

/* ---- attaching ------------------------------------------------------------------------------------------------- */

static bool same_file(const struct kb_core *c, const char *path)
{
	const char *base = strrchr(path, '/');
	return !strncmp(base ? base + 1 : path, c->fname, strlen(c->fname)) && c->fname[0];
}

/* NT_FILE's path of the executable: where the program headers were (AT_PHDR), else by the command's name, else the
 * first. */
static const char *find_exe_path(const struct kb_core *c)
{
	uint64_t at;
	if (kb_core_auxv(c, AT_PHDR, &at))
		for (size_t i = 0; i < c->n_maps; i++)
			if (c->maps[i].start <= at && at < c->maps[i].end)
				return c->files[c->maps[i].file].path;
	for (size_t i = 0; i < c->n_maps; i++)
		if (same_file(c, c->files[c->maps[i].file].path))
			return c->files[c->maps[i].file].path;
	return c->n_maps ? c->files[c->maps[0].file].path : NULL;
}

/* Copies what is needed: a path in a core may end with " (deleted)". */
static char *clean_path(const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t n = strlen(path), k = sizeof deleted - 1;
	return strndup(path, n > k && !strcmp(path + n - k, deleted) ? n - k : n);
}

/* A core without NT_FILE (dlv writes such): the executable's own segments say where it lay. */
static kb_error *add_exe_maps(kb_target *t, const struct exe_file *x)
{
	struct kb_core *c = t->core;
	uint64_t bias;
	Elf64_Phdr p;
	if (c->n_maps || !find_bias(c, x, &bias))
		return NULL;
	if (!KB_ROOM(c->files, c->n_files, c->files_cap, KB_MAX_MAPPINGS))
		return kb_error_nomem();
	uint32_t file = (uint32_t)c->n_files++;
	c->files[file] = (struct kb_core_file){ .path = t->info.exe, .fd = -1, .is_exe = true };
	for (unsigned i = 0; exe_phdr(x, i, &p); i++) {
		if (p.p_type != PT_LOAD || !p.p_filesz || p.p_filesz > x->size || p.p_vaddr + bias > KB_ADDR_MAX / 2)
			continue;
		if (!KB_ROOM(c->maps, c->n_maps, c->maps_cap, KB_MAX_MAPPINGS))
			return kb_error_nomem();
		kb_addr start = KB_PAGE_DOWN(p.p_vaddr + bias);
		c->maps[c->n_maps++] = (struct kb_core_map){ .start = start,
							     .end = KB_PAGE_UP(p.p_vaddr + bias + p.p_filesz),
							     .offset = KB_PAGE_DOWN(p.p_offset),
							     .file = file };
	}
	return kb_core_build_segments(c);
}

static kb_error *use_exe(kb_target *t, const char *path, const char *core_path, uint64_t size)
{
	struct kb_core *c = t->core;
	struct exe_file *x = calloc(1, sizeof *x);
	if (!x)
		return kb_error_nomem();
	kb_error *err = read_exe(t->exe_fd, path, size, x);
	if (!err)
		err = check_exe(c, x, path, core_path);
	if (!err)
		err = add_exe_maps(t, x);
	free(x);
	if (err)
		return err;
	for (size_t i = 0; i < c->n_files; i++)
		if (c->files[i].is_exe) {
			c->files[i].fd = fcntl(t->exe_fd, F_DUPFD_CLOEXEC, 0);
			c->files[i].size = size;
			c->files[i].tried = true;
			break;
		}
	return NULL;
}

kb_error *kb_core_attach_exe(kb_target *t, const char *path, const char *core_path)
{
	struct kb_core *c = t->core;
	uint64_t size = 0;
	const char *inside = find_exe_path(c);

	for (size_t i = 0; inside && i < c->n_files; i++)
		c->files[i].is_exe = !strcmp(c->files[i].path, inside);
	t->exe_given = path != NULL;
	t->info.exe = path ? strdup(path) : inside ? clean_path(inside) : NULL;
	if (!t->info.exe)
		return path || inside ? kb_error_nomem() : NULL;
	t->exe_fd = open_plain(t->info.exe, &size);
	if (t->exe_fd < 0 && path && errno == ENOENT)
		return kb_error_new(KB_E_NOT_FOUND, "there is no executable %s", path);
	if (t->exe_fd < 0 && path)
		return kb_error_errno(errno, "cannot open the executable %s", path);
	if (t->exe_fd < 0)
		return NULL;
	return use_exe(t, t->info.exe, core_path, size);
}

/* ---- the other files ------------------------------------------------------------------------------------------- */

/* A library may have been replaced since: believed only when its first page is the core's, or not in the core at
 * all. */
static bool file_fits(const struct kb_core *c, uint32_t file, int fd)
{
	uint8_t page[KB_PAGE];
	for (size_t i = 0; i < c->n_maps; i++) {
		if (c->maps[i].file != file || c->maps[i].offset != 0)
			continue;
		kb_bytes b = kb_core_present(c, c->maps[i].start, KB_PAGE);
		ssize_t n = b.n ? pread(fd, page, b.n, 0) : 0;
		return n >= 0 && (size_t)n <= b.n && (n == 0 ? !b.n : !memcmp(page, b.p, (size_t)n));
	}
	return true;
}

static void attach_file(struct kb_core *c, uint32_t file)
{
	struct kb_core_file *f = &c->files[file];
	f->tried = true;
	if (f->path[0] != '/' || c->n_open++ >= KB_MAX_OPEN_FILES)
		return;
	f->fd = open_plain(f->path, &f->size);
	if (f->fd >= 0 && !file_fits(c, file, f->fd)) {
		close(f->fd);
		f->fd = -1;
	}
}

void kb_core_attach_files(kb_target *t)
{
	struct kb_core *c = t->core;
	for (size_t i = 0; i < c->n_segs; i++) {
		const struct kb_seg *s = &c->segs[i];
		if (s->file >= 0 && s->present_end < s->end && !(s->perms & KB_PERM_W) && !c->files[s->file].tried)
			attach_file(c, (uint32_t)s->file);
	}
}

int kb_core_open_mapping(const kb_target *t, const kb_mapping *m)
{
	const struct kb_core *c = t->core;
	uint64_t size;
	size_t i = kb_core_find(c, m->start);
	int32_t file = i < c->n_segs && c->segs[i].start <= m->start ? c->segs[i].file : -1;
	if (file < 0)
		return -1;
	const struct kb_core_file *f = &c->files[file];
	if (f->fd >= 0)
		return fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	if (f->tried || f->path[0] != '/')
		return -1;
	int fd = open_plain(f->path, &size);
	if (fd >= 0 && !file_fits(c, (uint32_t)file, fd)) {
		close(fd);
		return -1;
	}
	return fd;
}
