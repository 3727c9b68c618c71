/* An ELF core as a target: segments, what is missing of them, and reading. All numbers in the file are checked
 * before use. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KB_MAX_PHDRS 8000000u

/* ---- headers --------------------------------------------------------------------------------------------------- */

static kb_error *compressed(kb_bytes b, const char *path)
{
	static const struct {
		const char *magic, *name, *command;
	} known[] = {
		{ "\x28\xb5\x2f\xfd", "zstd", "zstd -d" },
		{ "\xfd\x37zX", "xz", "xz -d" },
		{ "\x04\x22\x4d\x18", "lz4", "lz4 -d" },
		{ "\x1f\x8b\x08", "gzip", "gzip -d" },
	};
	for (size_t i = 0; i < KB_ARRAY_LEN(known); i++)
		if (b.n > 4 && !memcmp(b.p, known[i].magic, strlen(known[i].magic)))
			return kb_error_remedy(kb_error_new(KB_E_UNSUPPORTED, "%s is compressed (%s)", path,
							    known[i].name),
					       "unpack it first: %s %s (or coredumpctl dump)", known[i].command, path);
	return NULL;
}

static kb_error *check_header(kb_bytes b, const char *path, Elf64_Ehdr *ret)
{
	KB_TRY(compressed(b, path));
	if (b.n < EI_NIDENT || memcmp(b.p, ELFMAG, SELFMAG))
		return kb_error_new(KB_E_CORRUPT, b.n ? "%s is not an ELF file" : "%s is empty", path);
	if (b.p[EI_CLASS] != ELFCLASS64 || b.p[EI_DATA] != ELFDATA2LSB)
		return kb_error_new(KB_E_UNSUPPORTED, "%s is not a core of a 64-bit little-endian program", path);
	if (b.n < sizeof *ret)
		return kb_error_new(KB_E_CORRUPT, "%s is cut short inside its ELF header (%zu bytes)", path, b.n);
	memcpy(ret, b.p, sizeof *ret);
	if (ret->e_type != ET_CORE)
		return kb_error_new(KB_E_CORRUPT, "%s is not a core%s", path,
				    ret->e_type == ET_EXEC || ret->e_type == ET_DYN ? " but an executable" : "");
	if (ret->e_machine != EM_X86_64)
		return kb_error_new(KB_E_UNSUPPORTED,
				    "%s is a core of another architecture (ELF machine %u), not amd64", path,
				    ret->e_machine);
	if (ret->e_phentsize != sizeof(Elf64_Phdr))
		return kb_error_new(KB_E_CORRUPT, "%s has program headers of %u bytes, not %zu", path, ret->e_phentsize,
				    sizeof(Elf64_Phdr));
	return NULL;
}

/* With 65,535 program headers or more the number is in the first section header, which the kernel writes last: in a
 * cut core it is missing. Then the table ends where the first part it names begins. */
static uint64_t count_phdrs(kb_bytes b, const Elf64_Ehdr *e)
{
	Elf64_Shdr s;
	Elf64_Phdr first;
	if (e->e_phnum != PN_XNUM)
		return e->e_phnum;
	kb_bytes sh = kb_slice(b, e->e_shoff, sizeof s), ph = kb_slice(b, e->e_phoff, sizeof first);
	if (e->e_shoff && sh.n == sizeof s) {
		memcpy(&s, sh.p, sizeof s);
		return s.sh_info;
	}
	if (ph.n < sizeof first)
		return 0;
	memcpy(&first, ph.p, sizeof first);
	return first.p_offset > e->e_phoff ? (first.p_offset - e->e_phoff) / sizeof first : 0;
}

static kb_error *phdr_table(kb_bytes b, const char *path, const Elf64_Ehdr *e, kb_bytes *ret, uint64_t *ret_n)
{
	uint64_t n = count_phdrs(b, e);
	if (!n)
		return kb_error_new(KB_E_CORRUPT, "%s has no program headers", path);
	if (n > KB_MAX_PHDRS)
		return kb_error_new(KB_E_LIMIT, "%s claims %" PRIu64 " program headers", path, n);
	*ret = kb_slice(b, e->e_phoff, n * sizeof(Elf64_Phdr));
	if (!ret->n)
		return kb_error_new(KB_E_CORRUPT, "%s is cut short inside its program headers (%zu bytes)", path, b.n);
	*ret_n = n;
	return NULL;
}

static uint32_t perms_of(uint32_t flags)
{
	return (flags & PF_R ? KB_PERM_R : 0u) | (flags & PF_W ? KB_PERM_W : 0u) | (flags & PF_X ? KB_PERM_X : 0u);
}

/* What of [offset, offset + n) the file has. */
static uint64_t present(kb_bytes b, uint64_t offset, uint64_t n)
{
	return offset >= b.n ? 0 : n < b.n - offset ? n : b.n - offset;
}

static kb_error *add_load(struct kb_core *c, const Elf64_Phdr *p)
{
	uint64_t size = p->p_memsz, in_file = p->p_filesz;
	if (size > KB_ADDR_MAX - p->p_vaddr)
		size = KB_ADDR_MAX - p->p_vaddr;
	if (in_file > size)
		in_file = size;
	if (!size)
		return NULL;
	if (!KB_ROOM(c->segs, c->n_segs, c->segs_cap, KB_MAX_MAPPINGS))
		return kb_error_nomem();
	c->segs[c->n_segs++] = (struct kb_seg){
		.start = p->p_vaddr,
		.end = p->p_vaddr + size,
		.present_end = p->p_vaddr + present(c->bytes, p->p_offset, in_file),
		.announced_end = p->p_vaddr + in_file,
		.offset = p->p_offset,
		.perms = perms_of(p->p_flags),
		.file = -1,
	};
	return NULL;
}

/* Counts what is missing over all program headers. */
struct missing {
	uint64_t bytes, announced, parts, all_parts;
	kb_addr first_address; /* of memory, when any_load */
	bool any_load, notes;
};

static void note_missing(struct missing *m, kb_bytes b, const Elf64_Phdr *p)
{
	uint64_t have = present(b, p->p_offset, p->p_filesz);
	m->all_parts += p->p_filesz != 0;
	if (__builtin_add_overflow(m->announced, p->p_filesz, &m->announced))
		m->announced = UINT64_MAX;
	if (have == p->p_filesz)
		return;
	m->parts++;
	if (p->p_type == PT_NOTE)
		m->notes = true;
	else if (!m->any_load || p->p_vaddr + have < m->first_address) {
		m->any_load = true;
		m->first_address = p->p_vaddr + have;
	}
	if (__builtin_add_overflow(m->bytes, p->p_filesz - have, &m->bytes))
		m->bytes = UINT64_MAX;
}

static kb_error *read_phdrs(kb_target *t, kb_bytes table, uint64_t n, struct missing *m)
{
	struct kb_core *c = t->core;
	for (uint64_t i = 0; i < n; i++) {
		Elf64_Phdr p;
		memcpy(&p, table.p + i * sizeof p, sizeof p);
		if (p.p_type == PT_LOAD)
			KB_TRY(add_load(c, &p));
		else if (p.p_type == PT_NOTE)
			KB_TRY(kb_core_notes(t, kb_slice(c->bytes, p.p_offset,
							 present(c->bytes, p.p_offset, p.p_filesz))));
		if (p.p_type == PT_LOAD || p.p_type == PT_NOTE)
			note_missing(m, c->bytes, &p);
	}
	return NULL;
}

static void say_size(char *buf, size_t n, uint64_t bytes)
{
	static const char *const unit[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	size_t u = 0;
	for (; v >= 1024 && u + 1 < KB_ARRAY_LEN(unit); u++)
		v /= 1024;
	snprintf(buf, n, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
}

static kb_error *say_missing(kb_target *t, const struct missing *m)
{
	char lost[32], all[32], size[32], where[64] = "";
	if (!m->parts)
		return NULL;
	say_size(lost, sizeof lost, m->bytes);
	say_size(all, sizeof all, m->announced);
	say_size(size, sizeof size, t->core->bytes.n);
	if (m->any_load)
		snprintf(where, sizeof where, ", the lowest from address 0x%" PRIx64 " on", m->first_address);
	t->info.truncated = true;
	t->info.missing_bytes = m->bytes;
	if (asprintf(&t->info.truncated_text,
		     "the core is cut short: %s of the %s its headers announce are not in the file (%s): %" PRIu64
		     " of %" PRIu64 " parts are incomplete or missing%s%s",
		     lost, all, size, m->parts, m->all_parts, where,
		     m->notes ? "; threads and mapped files are among what is missing" : "") < 0) {
		t->info.truncated_text = NULL;
		return kb_error_nomem();
	}
	return NULL;
}

/* ---- segments -------------------------------------------------------------------------------------------------- */

static int seg_order(const void *a, const void *b)
{
	const struct kb_seg *x = a, *y = b;
	return x->start != y->start ? (x->start > y->start) - (x->start < y->start)
				    : (x->offset > y->offset) - (x->offset < y->offset);
}

static int map_order(const void *a, const void *b)
{
	kb_addr x = ((const struct kb_core_map *)a)->start, y = ((const struct kb_core_map *)b)->start;
	return (x > y) - (x < y);
}

static kb_addr at_most(kb_addr a, kb_addr limit)
{
	return a < limit ? a : limit;
}

/* The part of a segment from a to b. */
static struct kb_seg cut(const struct kb_seg *s, kb_addr a, kb_addr b)
{
	struct kb_seg r = *s;
	r.start = a;
	r.end = b;
	r.offset = s->offset + (a - s->start);
	r.present_end = s->present_end < a ? a : at_most(s->present_end, b);
	r.announced_end = s->announced_end < a ? a : at_most(s->announced_end, b);
	return r;
}

/* Of two that overlap the lower one stays whole. */
static void drop_overlaps(struct kb_core *c)
{
	size_t n = 0;
	kb_addr end = 0;
	if (c->n_segs)
		qsort(c->segs, c->n_segs, sizeof *c->segs, seg_order);
	for (size_t i = 0; i < c->n_segs; i++) {
		struct kb_seg s = c->segs[i];
		if (s.start < end && s.end > end)
			s = cut(&s, end, s.end);
		else if (s.start < end)
			continue;
		c->segs[n++] = s;
		end = s.end;
	}
	c->n_segs = n;
	n = 0, end = 0;
	if (c->n_maps)
		qsort(c->maps, c->n_maps, sizeof *c->maps, map_order);
	for (size_t i = 0; i < c->n_maps; i++) {
		struct kb_core_map m = c->maps[i];
		if (m.start < end)
			continue;
		c->maps[n++] = m;
		end = m.end;
	}
	c->n_maps = n;
}

struct pieces {
	struct kb_seg *v;
	size_t n, cap;
};

static kb_error *add_piece(struct pieces *p, struct kb_seg s)
{
	if (s.start >= s.end)
		return NULL;
	if (!KB_ROOM(p->v, p->n, p->cap, 3 * KB_MAX_MAPPINGS))
		return kb_error_nomem();
	p->v[p->n++] = s;
	return NULL;
}

static struct kb_seg left_out(const struct kb_core_map *m, kb_addr a, kb_addr b)
{
	return (struct kb_seg){ .start = a,
				.end = b,
				.present_end = a,
				.announced_end = a,
				.perms = KB_PERM_R,
				.file = (int32_t)m->file,
				.file_offset = m->offset + (a - m->start) };
}

/* The part of a segment up to the next border of a mapped file. i is the first file mapping whose end is above a. */
static struct kb_seg next_piece(const struct kb_core *c, const struct kb_seg *s, kb_addr a, size_t i)
{
	const struct kb_core_map *m = i < c->n_maps ? &c->maps[i] : NULL;
	if (!m || m->start >= s->end)
		return cut(s, a, s->end);
	if (m->start > a)
		return cut(s, a, m->start);
	struct kb_seg piece = cut(s, a, at_most(m->end, s->end));
	piece.file = (int32_t)m->file;
	piece.file_offset = m->offset + (a - m->start);
	return piece;
}

/* Cuts the segments at the borders of mapped files; file mappings without a segment (gcore leaves them out) get one. */
static kb_error *join(struct kb_core *c, struct pieces *out)
{
	size_t k = 0;
	kb_addr a = 0;
	for (size_t i = 0; i <= c->n_segs; i++) {
		kb_addr gap_end = i < c->n_segs ? c->segs[i].start : KB_ADDR_MAX;
		while (k < c->n_maps && a < gap_end) { /* the gap before the segment */
			const struct kb_core_map *m = &c->maps[k];
			kb_addr from = m->start > a ? m->start : a;
			if (from >= gap_end)
				break;
			KB_TRY(add_piece(out, left_out(m, from, at_most(m->end, gap_end))));
			a = at_most(m->end, gap_end);
			k += m->end <= gap_end;
		}
		if (i == c->n_segs)
			return NULL;
		for (a = c->segs[i].start; a < c->segs[i].end; a = out->v[out->n - 1].end) {
			while (k < c->n_maps && c->maps[k].end <= a)
				k++;
			KB_TRY(add_piece(out, next_piece(c, &c->segs[i], a, k)));
		}
		while (k < c->n_maps && c->maps[k].end <= a)
			k++;
	}
	return NULL;
}

kb_error *kb_core_build_segments(struct kb_core *c)
{
	struct pieces p = { 0 };
	drop_overlaps(c);
	kb_error *err = join(c, &p);
	if (err) {
		free(p.v);
		return err;
	}
	free(c->segs);
	c->segs = p.v;
	c->n_segs = p.n;
	c->segs_cap = p.cap;
	return NULL;
}

/* The kernel leaves out anonymous memory that nobody wrote to, which reads as zero; with a core filter without bit 0
 * it leaves out all of it, and then nothing is known. The two are told apart by whether any anonymous memory was
 * written. */
static void judge_anonymous(kb_target *t)
{
	struct kb_core *c = t->core;
	size_t written = 0, empty = 0;
	for (size_t i = 0; i < c->n_segs; i++) {
		const struct kb_seg *s = &c->segs[i];
		if (s->file >= 0 || !(s->perms & KB_PERM_W))
			continue;
		written += s->announced_end > s->start;
		empty += s->announced_end == s->start;
	}
	t->info.filtered = c->has_file_note && empty && !written;
	for (size_t i = 0; i < c->n_segs; i++) {
		struct kb_seg *s = &c->segs[i];
		s->zero = s->file < 0 && s->perms & KB_PERM_R && c->has_file_note && !t->info.filtered;
	}
}

static kb_error *build_mappings(kb_target *t)
{
	static const char deleted[] = " (deleted)";
	struct kb_core *c = t->core;
	for (size_t i = 0; i < c->n_segs; i++) {
		const struct kb_seg *s = &c->segs[i];
		const char *path = s->file >= 0 ? c->files[s->file].path : "";
		size_t n = strlen(path), k = sizeof deleted - 1;
		bool gone = n > k && !strcmp(path + n - k, deleted);
		if (gone && !(path = kb_arena_strndup(&t->maps.names, path, n - k)))
			return kb_error_nomem();
		if (!KB_ROOM(t->maps.v, t->maps.n, t->maps.cap, 3 * KB_MAX_MAPPINGS))
			return kb_error_nomem();
		t->maps.v[t->maps.n++] = (kb_mapping){ .start = s->start,
						       .end = s->end,
						       .file_offset = s->file_offset,
						       .perms = s->perms,
						       .path = path,
						       .deleted = gone };
	}
	return NULL;
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

static kb_error *map_file(const char *path, kb_bytes *ret, uint64_t *ret_mtime)
{
	struct stat st;
	KB_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return kb_error_new(KB_E_NOT_FOUND, "there is no core %s", path);
	if (fd < 0 || fstat(fd, &st))
		return kb_error_errno(errno, "cannot open the core %s", path);
	if (!S_ISREG(st.st_mode))
		return kb_error_new(KB_E_CORRUPT, "%s is not a regular file, so not a core", path);
	*ret_mtime = st.st_mtime > 0 ? (uint64_t)st.st_mtime : 0;
	if (!st.st_size)
		return NULL;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return kb_error_errno(errno, "cannot map the core %s", path);
	*ret = (kb_bytes){ p, (size_t)st.st_size };
	return NULL;
}

static kb_error *open_core(kb_target *t, const char *exe, const char *path)
{
	struct kb_core *c = t->core;
	Elf64_Ehdr e;
	kb_bytes table = { NULL, 0 };
	uint64_t n = 0;
	struct missing m = { 0 };

	KB_TRY(map_file(path, &c->bytes, &t->info.taken_at));
	KB_TRY(check_header(c->bytes, path, &e));
	KB_TRY(phdr_table(c->bytes, path, &e, &table, &n));
	KB_TRY(read_phdrs(t, table, n, &m));
	KB_TRY(say_missing(t, &m));
	if (!c->n_segs)
		return kb_error_new(KB_E_CORRUPT, "%s has no memory in it", path);
	KB_TRY(kb_core_build_segments(c));
	judge_anonymous(t);
	KB_TRY(kb_core_attach_exe(t, exe, path));
	kb_core_attach_files(t);
	return build_mappings(t);
}

kb_error *kb_target_open_core(const char *exe, const char *core, kb_target **ret)
{
	kb_target *t = calloc(1, sizeof *t);
	struct kb_core *c = calloc(1, sizeof *c);
	if (!t || !c) {
		free(t);
		free(c);
		return kb_error_nomem();
	}
	c->fname = "";
	t->exe_fd = -1;
	t->core = c;
	t->info.kind = KB_TARGET_CORE;
	kb_error *err = open_core(t, exe, core);
	if (err) {
		kb_target_close(t);
		return err;
	}
	*ret = t;
	return NULL;
}

void kb_core_free(struct kb_core *c)
{
	for (size_t i = 0; i < c->n_files; i++)
		kb_cleanup_close(&c->files[i].fd);
	if (c->bytes.p)
		munmap((void *)(uintptr_t)c->bytes.p, c->bytes.n);
	free(c->segs);
	kb_map_free(&c->by_path);
	free(c->files);
	free(c->maps);
	free(c);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

enum source { FROM_CORE, FROM_FILE, FROM_NOTHING, IS_ZERO };

size_t kb_core_find(const struct kb_core *c, kb_addr a)
{
	size_t lo = 0, hi = c->n_segs;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (c->segs[mid].end <= a)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Where the byte at a comes from, and up to which address the same holds. */
static enum source source_of(const struct kb_core *c, const struct kb_seg *s, kb_addr a, kb_addr *ret_until)
{
	*ret_until = s->end;
	if (a < s->present_end) {
		*ret_until = s->present_end;
		return FROM_CORE;
	}
	if (s->file >= 0 && c->files[s->file].fd >= 0) {
		const struct kb_core_file *f = &c->files[s->file];
		uint64_t off = s->file_offset + (a - s->start), have = KB_PAGE_UP(f->size);
		/* Written memory is not the file's; except the executable's that was never touched. */
		if (off < have && (!(s->perms & KB_PERM_W) || (f->is_exe && a >= s->announced_end))) {
			*ret_until = have - off < s->end - a ? a + (have - off) : s->end;
			return FROM_FILE;
		}
	}
	if (a < s->announced_end) {
		*ret_until = s->announced_end;
		return FROM_NOTHING;
	}
	return s->zero ? IS_ZERO : FROM_NOTHING;
}

static size_t read_file(const struct kb_core *c, const struct kb_seg *s, kb_addr a, uint8_t *buf, size_t n)
{
	const struct kb_core_file *f = &c->files[s->file];
	uint64_t off = s->file_offset + (a - s->start);
	size_t done = 0;
	while (done < n && off + done < f->size) {
		ssize_t r = pread(f->fd, buf + done, n - done, (off_t)(off + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return done;
		done += (size_t)r;
	}
	memset(buf + done, 0, n - done); /* the rest of the file's last page */
	return n;
}

size_t kb_core_read_run(const struct kb_core *c, kb_addr a, void *buf, size_t n)
{
	size_t done = 0;
	for (size_t i = kb_core_find(c, a); done < n && i < c->n_segs && c->segs[i].start <= a + done;) {
		const struct kb_seg *s = &c->segs[i];
		kb_addr at = a + done, until;
		enum source from = source_of(c, s, at, &until);
		size_t step = until - at < n - done ? (size_t)(until - at) : n - done, got = step;
		uint8_t *out = (uint8_t *)buf + done;
		if (from == FROM_NOTHING)
			break;
		if (from == FROM_CORE)
			memcpy(out, c->bytes.p + s->offset + (at - s->start), step);
		else if (from == IS_ZERO)
			memset(out, 0, step);
		else
			got = read_file(c, s, at, out, step);
		done += got;
		if (got < step)
			break;
		i += at + step == s->end;
	}
	return done;
}

kb_addr kb_core_next_readable(const struct kb_core *c, kb_addr a, kb_addr end)
{
	for (size_t i = kb_core_find(c, a); i < c->n_segs && c->segs[i].start < end;) {
		const struct kb_seg *s = &c->segs[i];
		kb_addr until;
		if (a < s->start)
			a = s->start;
		if (source_of(c, s, a, &until) != FROM_NOTHING)
			return at_most(a, end);
		a = until;
		i += a >= s->end;
	}
	return end;
}

kb_bytes kb_core_present(const struct kb_core *c, kb_addr a, size_t n)
{
	size_t i = kb_core_find(c, a);
	if (i == c->n_segs || c->segs[i].start > a || a >= c->segs[i].present_end)
		return (kb_bytes){ NULL, 0 };
	const struct kb_seg *s = &c->segs[i];
	uint64_t have = s->present_end - a;
	return (kb_bytes){ c->bytes.p + s->offset + (a - s->start), have < n ? (size_t)have : n };
}

kb_bytes kb_core_view(const struct kb_core *c, kb_addr a, size_t n)
{
	kb_bytes b = kb_core_present(c, a, n);
	return b.n == n ? b : (kb_bytes){ NULL, 0 };
}
