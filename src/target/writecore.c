/* Writing a core of a live process: the same file that the kernel would write, but sparse, and without killing
 * anybody.
 *
 * Registers and captured ranges are those of the last stop; the rest of the memory is read while the process runs.
 * What is not resident is not read (that would make the target use memory for it) and stays a hole in the file,
 * which reads as zero: that is what the process would see there. */
#include "private.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/procfs.h>
#include <unistd.h>

#define KB_CHUNK (4u << 20)
#define KB_CHUNK_PAGES (KB_CHUNK / KB_PAGE)
#define KB_BIG_HOLE (64u << 20) /* a hole from this size on is left out of the file, not only of the disk */
#define KB_MAX_SEGMENTS 4000000u

#define KB_LARGE_SEGMENT (4u << 20)

struct out_seg {
	kb_addr start, end;
	uint64_t offset, in_file; /* in_file: bytes of it in the file, all or none */
	uint32_t perms;
	bool sparse; /* anonymous: pages that are not resident are zero */
};

struct writer {
	kb_target *t;
	int fd, pagemap;
	const kb_progress *progress;
	struct out_seg *segs;
	size_t n_segs, segs_cap;
	kb_map code;     /* hash of the path → 1, for files that are mapped executable somewhere */
	kb_map resident; /* start → 1, for mappings with any resident or swapped page */
	bool know_resident;
	kb_str notes;
	struct chunk {
		uint32_t seg;
		uint64_t off;
	} * chunks;
	size_t n_chunks, chunks_cap;
	uint8_t *buffers; /* one for each worker */
	_Atomic uint64_t written;
	_Atomic size_t done;
};

/* ---- notes ----------------------------------------------------------------------------------------------------- */

static void add_note(kb_str *out, uint32_t type, const void *desc, size_t n)
{
	static const char zeros[4];
	Elf64_Nhdr h = { .n_namesz = 5, .n_descsz = (uint32_t)n, .n_type = type };
	kb_str_addn(out, (const char *)&h, sizeof h);
	kb_str_addn(out, "CORE\0\0\0", 8);
	kb_str_addn(out, desc, n);
	kb_str_addn(out, zeros, -n & 3);
}

static void note_thread(struct writer *w, const kb_thread *th, const struct kb_thread_raw *raw,
			const struct kb_stat *st)
{
	struct elf_prstatus s = { 0 };
	s.pr_pid = th->inner_tid;
	s.pr_ppid = st->ppid;
	s.pr_pgrp = st->pgrp;
	s.pr_sid = st->session;
	s.pr_fpvalid = raw->have_fpregs;
	_Static_assert(sizeof s.pr_reg == sizeof raw->regs, "the kernel's register layout");
	memcpy(&s.pr_reg, &raw->regs, sizeof s.pr_reg);
	add_note(&w->notes, NT_PRSTATUS, &s, sizeof s);
}

static void note_fpregs(struct writer *w, const struct kb_thread_raw *raw)
{
	if (raw->have_fpregs)
		add_note(&w->notes, NT_FPREGSET, &raw->fpregs, sizeof raw->fpregs);
}

static void note_process(struct writer *w, const struct kb_stat *st, const struct kb_status *status)
{
	const char states[] = "RSDTZW";
	struct elf_prpsinfo p = { 0 };
	kb_str args = { 0 };
	const char *state = st->state ? strchr(states, st->state) : NULL;

	p.pr_sname = st->state ? st->state : 'S';
	p.pr_state = state ? (char)(state - states) : 1;
	p.pr_nice = (char)st->nice;
	p.pr_flag = st->flags;
	p.pr_uid = status->ruid;
	p.pr_gid = status->rgid;
	p.pr_pid = w->t->info.inner_pid;
	p.pr_ppid = st->ppid;
	p.pr_pgrp = st->pgrp;
	p.pr_sid = st->session;
	memcpy(p.pr_fname, st->comm, sizeof p.pr_fname - 1);
	kb_error_free(kb_proc_slurp(w->t->live.proc_fd, "cmdline", sizeof p.pr_psargs - 1, &args));
	for (size_t i = 0; i < args.n; i++)
		p.pr_psargs[i] = args.s[i] ? args.s[i] : ' ';
	kb_str_free(&args);
	add_note(&w->notes, NT_PRPSINFO, &p, sizeof p);
}

/* count, page size, count × (start, end, offset in pages), names */
static void note_files(struct writer *w)
{
	kb_str table = { 0 }, names = { 0 };
	uint64_t head[2] = { 0, KB_PAGE };
	for (size_t i = 0; i < w->t->maps.n; i++) {
		const kb_mapping *m = &w->t->maps.v[i];
		if (!m->inode || m->path[0] != '/')
			continue;
		uint64_t entry[3] = { m->start, m->end, m->file_offset / KB_PAGE };
		kb_str_addn(&table, (const char *)entry, sizeof entry);
		kb_str_add(&names, m->path);
		kb_str_addn(&names, " (deleted)", m->deleted ? 10 : 0);
		kb_str_addn(&names, "", 1);
		head[0]++;
	}
	kb_str all = { 0 };
	kb_str_addn(&all, (const char *)head, sizeof head);
	kb_str_addn(&all, table.s, table.n);
	kb_str_addn(&all, names.s, names.n);
	add_note(&w->notes, NT_FILE, all.s, all.n);
	w->notes.failed |= table.failed || names.failed || all.failed;
	kb_str_free(&table);
	kb_str_free(&names);
	kb_str_free(&all);
}

static kb_error *build_notes(struct writer *w)
{
	kb_target *t = w->t;
	struct kb_stat st = { 0 };
	struct kb_status status = { 0 };
	size_t leader = 0;

	KB_TRY(kb_proc_stat(t->live.proc_fd, "stat", &st));
	KB_TRY(kb_proc_status(t->live.proc_fd, "status", &status));
	for (size_t i = 0; i < t->n_threads; i++)
		if (t->threads[i].tid == t->live.pid)
			leader = i;
	/* In the kernel's order: debuggers take the first thread for the current one. */
	note_thread(w, &t->threads[leader], &t->raw[leader], &st);
	note_process(w, &st, &status);
	add_note(&w->notes, NT_AUXV, t->live.auxv, t->live.auxv_n);
	note_files(w);
	note_fpregs(w, &t->raw[leader]);
	for (size_t i = 0; i < t->n_threads; i++)
		if (i != leader) {
			note_thread(w, &t->threads[i], &t->raw[i], &st);
			note_fpregs(w, &t->raw[i]);
		}
	return w->notes.failed ? kb_error_nomem() : NULL;
}

/* ---- what goes into the file ----------------------------------------------------------------------------------- */

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* Memory that is not memory: reading a device may do something, and vvar cannot be read at all. */
static bool is_device(const kb_mapping *m)
{
	return starts_with(m->path, "[vvar") || starts_with(m->path, "[vsyscall") ||
	       (starts_with(m->path, "/dev/") && !starts_with(m->path, "/dev/zero") &&
		!starts_with(m->path, "/dev/shm/") && !starts_with(m->path, "/dev/hugepages/"));
}

static uint64_t path_key(const char *path)
{
	return kb_hash_bytes(path, strlen(path)) >> 1;
}

static kb_error *find_code(struct writer *w)
{
	for (size_t i = 0; i < w->t->maps.n; i++) {
		const kb_mapping *m = &w->t->maps.v[i];
		if (m->inode && m->perms & KB_PERM_X && !kb_map_put(&w->code, path_key(m->path), 1))
			return kb_error_nomem();
	}
	return NULL;
}

/* Programs and libraries go in as a whole, so that the core can be read elsewhere; mapped data files do not. */
static bool wanted(const struct writer *w, const kb_mapping *m)
{
	uint64_t ignored;
	if (!(m->perms & KB_PERM_R))
		return false;
	if (!m->inode)
		return true;
	if (m->perms & KB_PERM_SHARED)
		return m->deleted || starts_with(m->path, "/memfd:") || starts_with(m->path, "/SYSV") ||
		       starts_with(m->path, "/dev/");
	return m->perms & KB_PERM_W || kb_map_get(&w->code, path_key(m->path), &ignored);
}

static kb_error *find_resident(struct writer *w)
{
	kb_resident *v = NULL;
	size_t n = 0;
	kb_error *err = kb_target_smaps(w->t, &v, &n);
	for (size_t i = 0; !err && i < n; i++)
		if ((v[i].rss || v[i].swap) && !kb_map_put(&w->resident, v[i].start, 1))
			err = kb_error_nomem();
	w->know_resident = !err;
	free(v);
	return err;
}

static kb_error *add_seg(struct writer *w, const kb_mapping *m, kb_addr start, kb_addr end, bool in_file)
{
	if (start >= end)
		return NULL;
	if (!KB_ROOM(w->segs, w->n_segs, w->segs_cap, KB_MAX_SEGMENTS))
		return kb_error_new(KB_E_LIMIT, "the process has too many mappings for a core");
	w->segs[w->n_segs++] = (struct out_seg){
		.start = start, .end = end, .in_file = in_file ? end - start : 0, .perms = m->perms, .sparse = !m->inode
	};
	return NULL;
}

/* Pages of [a, a + pages) that have to be read; a page that was captured counts, whatever became of it since. */
static void mark_pages(const struct writer *w, kb_addr a, size_t pages, uint64_t *words)
{
	const struct kb_overlay *o = &w->t->overlay;
	kb_addr end = a + pages * KB_PAGE;
	if (w->pagemap < 0 || !kb_pagemap_read(w->pagemap, a, words, pages))
		memset(words, 0xff, pages * sizeof *words);
	for (size_t i = kb_overlay_find(o, a); i < o->n && o->pieces[i].start < end; i++) {
		kb_addr from = o->pieces[i].start > a ? o->pieces[i].start : a;
		kb_addr to = o->pieces[i].end < end ? o->pieces[i].end : end;
		for (size_t p = (from - a) / KB_PAGE; p * KB_PAGE < to - a; p++)
			words[p] |= KB_PRESENT_OR_SWAPPED;
	}
}

/* The first pages from a on that have to be read: resident, or captured. */
static bool next_used(const struct writer *w, struct kb_page_runs *runs, kb_addr a, kb_addr end, kb_range *ret)
{
	const struct kb_overlay *o = &w->t->overlay;
	size_t i = kb_overlay_find(o, a);
	bool captured = i < o->n && o->pieces[i].start < end, resident = kb_page_runs_next(runs, a, end, ret);
	if (captured && (!resident || o->pieces[i].start < ret->a)) {
		ret->a = KB_PAGE_DOWN(o->pieces[i].start);
		ret->n = KB_PAGE_UP(o->pieces[i].end) - ret->a;
	}
	return captured || resident;
}

/* A large anonymous mapping is cut at its large holes: a race detector's or an arena's reservation may be terabytes. */
static kb_error *add_with_holes(struct writer *w, const kb_mapping *m)
{
	struct kb_page_runs runs = { .fd = w->pagemap, .next = m->start };
	kb_addr start = m->start, used_end = m->start; /* of the part being collected */
	kb_range used;
	while (used_end < m->end && next_used(w, &runs, used_end, m->end, &used)) {
		kb_addr end = used.a + used.n < m->end ? used.a + used.n : m->end;
		if (used.a > used_end && used.a - used_end >= KB_BIG_HOLE) {
			KB_TRY(add_seg(w, m, start, used_end, true));
			KB_TRY(add_seg(w, m, used_end, used.a, false));
			start = used.a;
		}
		used_end = end;
	}
	if (m->end - used_end < KB_BIG_HOLE)
		return add_seg(w, m, start, m->end, true);
	KB_TRY(add_seg(w, m, start, used_end, true));
	return add_seg(w, m, used_end, m->end, false);
}

static bool was_captured(const struct writer *w, const kb_mapping *m)
{
	const struct kb_overlay *o = &w->t->overlay;
	size_t i = kb_overlay_find(o, m->start);
	return i < o->n && o->pieces[i].start < m->end;
}

static kb_error *plan(struct writer *w)
{
	uint64_t ignored;
	KB_TRY(find_code(w));
	kb_error_free(find_resident(w)); /* without it every page is asked for */
	for (size_t i = 0; i < w->t->maps.n; i++) {
		const kb_mapping *m = &w->t->maps.v[i];
		if (is_device(m))
			continue;
		bool empty = !m->inode && w->know_resident && !kb_map_get(&w->resident, m->start, &ignored) &&
			     !was_captured(w, m);
		if (!wanted(w, m) || empty)
			KB_TRY(add_seg(w, m, m->start, m->end, false));
		else if (!m->inode && m->end - m->start > KB_BIG_HOLE)
			KB_TRY(add_with_holes(w, m));
		else
			KB_TRY(add_seg(w, m, m->start, m->end, true));
	}
	return NULL;
}

static kb_error *plan_chunks(struct writer *w)
{
	for (size_t i = 0; i < w->n_segs; i++)
		for (uint64_t off = 0; off < w->segs[i].in_file; off += KB_CHUNK) {
			if (!KB_ROOM(w->chunks, w->n_chunks, w->chunks_cap, SIZE_MAX / sizeof *w->chunks))
				return kb_error_nomem();
			w->chunks[w->n_chunks++] = (struct chunk){ (uint32_t)i, off };
		}
	return NULL;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static kb_error *write_at(struct writer *w, const void *data, size_t n, uint64_t off)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = pwrite(w->fd, (const uint8_t *)data + done, n - done, (off_t)(off + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return kb_error_errno(r ? errno : ENOSPC, "cannot write the core");
		done += (size_t)r;
	}
	atomic_fetch_add(&w->written, n);
	return NULL;
}

static bool is_zero(const uint8_t *page)
{
	return !kb_load64(page) && !memcmp(page, page + 8, KB_PAGE - 8);
}

/* Runs of pages with something in them; zero pages become holes. n is whole pages. */
static kb_error *write_nonzero(struct writer *w, const uint8_t *data, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n;) {
		size_t from = i;
		while (i < n && !is_zero(data + i))
			i += KB_PAGE;
		if (i > from)
			KB_TRY(write_at(w, data + from, i - from, off + from));
		while (i < n && is_zero(data + i))
			i += KB_PAGE;
	}
	return NULL;
}

static kb_error *write_chunk(void *ctx, unsigned worker, size_t index)
{
	struct writer *w = ctx;
	const struct out_seg *s = &w->segs[w->chunks[index].seg];
	uint64_t words[KB_CHUNK_PAGES], off = w->chunks[index].off, left = s->in_file - off;
	size_t pages = (size_t)((left < KB_CHUNK ? left : KB_CHUNK) / KB_PAGE);
	uint8_t *buf = w->buffers + (size_t)worker * KB_CHUNK;

	if (s->sparse)
		mark_pages(w, s->start + off, pages, words);
	else
		memset(words, 0xff, sizeof words);
	for (size_t i = 0; i < pages;) {
		size_t from = i;
		while (i < pages && words[i] & KB_PRESENT_OR_SWAPPED)
			i++;
		if (i > from) {
			size_t n = (i - from) * KB_PAGE;
			uint64_t at = off + from * KB_PAGE;
			kb_target_read_holes(w->t, s->start + at, buf, n);
			KB_TRY(write_nonzero(w, buf, n, s->offset + at));
		}
		while (i < pages && !(words[i] & KB_PRESENT_OR_SWAPPED))
			i++;
	}
	size_t done = atomic_fetch_add(&w->done, 1) + 1;
	if (worker == 0)
		kb_progress_tell(w->progress, "writing the core", (double)done / (double)w->n_chunks);
	return NULL;
}

static uint32_t phdr_flags(uint32_t perms)
{
	return (perms & KB_PERM_R ? PF_R : 0u) | (perms & KB_PERM_W ? PF_W : 0u) | (perms & KB_PERM_X ? PF_X : 0u);
}

/* Small segments first: they hold what a runtime knows about the large ones, and a file that is cut short later should lose heap, not that. */
static uint64_t place_segments(struct writer *w, uint64_t at)
{
	for (unsigned large = 0; large < 2; large++) {
		for (size_t i = 0; i < w->n_segs; i++) {
			if ((w->segs[i].in_file >= KB_LARGE_SEGMENT) != large)
				continue;
			w->segs[i].offset = at;
			at += w->segs[i].in_file;
		}
	}
	return at;
}

/* ELF header, program headers, one section header when there are too many of these for the ELF header, notes. */
static kb_error *write_headers(struct writer *w, uint64_t *ret_end)
{
	uint64_t n = w->n_segs + 1, at_section = sizeof(Elf64_Ehdr) + n * sizeof(Elf64_Phdr);
	bool many = n >= PN_XNUM;
	uint64_t at_notes = at_section + (many ? sizeof(Elf64_Shdr) : 0), at = KB_PAGE_UP(at_notes + w->notes.n);
	kb_str out = { 0 };
	Elf64_Ehdr e = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			 .e_type = ET_CORE,
			 .e_machine = EM_X86_64,
			 .e_version = EV_CURRENT,
			 .e_phoff = sizeof e,
			 .e_ehsize = sizeof e,
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = many ? PN_XNUM : (uint16_t)n,
			 .e_shoff = many ? at_section : 0,
			 .e_shentsize = many ? sizeof(Elf64_Shdr) : 0,
			 .e_shnum = many };
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = at_notes, .p_filesz = w->notes.n, .p_align = 4 };
	Elf64_Shdr section = { .sh_info = (uint32_t)n, .sh_size = 1 };

	kb_str_addn(&out, (const char *)&e, sizeof e);
	kb_str_addn(&out, (const char *)&note, sizeof note);
	at = place_segments(w, at);
	for (size_t i = 0; i < w->n_segs; i++) {
		const struct out_seg *s = &w->segs[i];
		Elf64_Phdr p = { .p_type = PT_LOAD,
				 .p_flags = phdr_flags(s->perms),
				 .p_offset = s->offset,
				 .p_vaddr = s->start,
				 .p_filesz = s->in_file,
				 .p_memsz = s->end - s->start,
				 .p_align = KB_PAGE };
		kb_str_addn(&out, (const char *)&p, sizeof p);
	}
	if (many)
		kb_str_addn(&out, (const char *)&section, sizeof section);
	kb_str_addn(&out, w->notes.s, w->notes.n);
	*ret_end = at;
	kb_error *err = out.failed ? kb_error_nomem() : write_at(w, out.s, out.n, 0);
	kb_str_free(&out);
	return err;
}

/* A process that ended while we wrote leaves a file full of holes, which must not pass for a core. */
static kb_error *still_there(const kb_target *t)
{
	char byte;
	KB_CLOSE int fd = openat(t->live.proc_fd, "maps", O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &byte, 1) == 1 ? NULL : kb_error_context(kb_live_gone(t), "the core is incomplete");
}

static kb_error *write_all(struct writer *w)
{
	uint64_t end;
	KB_TRY(build_notes(w));
	KB_TRY(plan(w));
	KB_TRY(plan_chunks(w));
	if (ftruncate(w->fd, 0))
		return kb_error_errno(errno, "cannot write the core");
	KB_TRY(write_headers(w, &end));
	if (ftruncate(w->fd, (off_t)end))
		return kb_error_errno(errno, "cannot make the core %llu bytes long", (unsigned long long)end);
	w->buffers = kb_big_alloc((size_t)kb_cpu_count() * KB_CHUNK);
	if (!w->buffers)
		return kb_error_nomem();
	KB_TRY(kb_parallel(w->n_chunks, write_chunk, w));
	return still_there(w->t);
}

kb_error *kb_target_write_core(kb_target *t, int fd, const kb_progress *progress, uint64_t *ret_bytes)
{
	if (t->core)
		return kb_error_new(KB_E_UNSUPPORTED, "this is a core already: copy the file");
	if (!t->n_threads)
		return kb_error_new(KB_E_USAGE, "process %d was not stopped yet: there are no registers for a core",
				    (int)t->live.pid);
	struct writer w = { .t = t, .fd = fd, .progress = progress };
	w.pagemap = openat(t->live.proc_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	kb_error *err = write_all(&w);
	if (!err && ret_bytes)
		*ret_bytes = atomic_load(&w.written);
	kb_cleanup_close(&w.pagemap);
	kb_big_free(w.buffers, (size_t)kb_cpu_count() * KB_CHUNK);
	kb_map_free(&w.code);
	kb_map_free(&w.resident);
	kb_str_free(&w.notes);
	free(w.segs);
	free(w.chunks);
	return err;
}
