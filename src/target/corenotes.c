/* The notes of a core: threads, process, auxiliary vector, mapped files. Sizes in them are the file's claim, not a
 * fact. */
#include "core.h"

#include <stdlib.h>

/* struct elf_prstatus and elf_prpsinfo of amd64 (linux/elfcore.h), as offsets. */
enum {
	PRSTATUS_SIZE = 336,
	PRSTATUS_PID = 32,
	PRSTATUS_REGS = 112,
	PRPSINFO_SIZE = 136,
	PRPSINFO_PID = 24,
	PRPSINFO_FNAME = 40,
	FNAME_LEN = 16,
};
#define KB_MAX_FILES 1000000u

static kb_error *note_prstatus(kb_target *t, kb_bytes d)
{
	if (d.n < PRSTATUS_SIZE)
		return NULL; /* of another architecture or cut; the thread stays unknown */
	if (!KB_ROOM(t->threads, t->n_threads, t->threads_cap, KB_MAX_THREADS) ||
	    !KB_ROOM(t->raw, t->n_threads, t->raw_cap, KB_MAX_THREADS))
		return kb_error_nomem();
	struct kb_thread_raw *raw = &t->raw[t->n_threads];
	kb_thread *th = &t->threads[t->n_threads++];
	*raw = (struct kb_thread_raw){ 0 };
	memcpy(&raw->regs, d.p + PRSTATUS_REGS, sizeof raw->regs);
	*th = (kb_thread){ .tid = (pid_t)kb_load32(d.p + PRSTATUS_PID), .have_regs = true };
	th->inner_tid = th->tid;
	kb_regs_from_user(&th->regs, &raw->regs);
	return NULL;
}

static kb_error *note_prpsinfo(kb_target *t, kb_bytes d)
{
	if (d.n < PRPSINFO_SIZE)
		return NULL;
	t->info.pid = t->info.inner_pid = (pid_t)kb_load32(d.p + PRPSINFO_PID);
	const char *name = kb_get_cstr(d, PRPSINFO_FNAME, FNAME_LEN);
	t->core->fname = name ? name : "";
	return NULL;
}

/* One entry for each path. Two paths with the same hash are rare enough to be given one each every time. */
static kb_error *add_file(struct kb_core *c, const char *path, uint32_t *ret)
{
	uint64_t i, key = kb_hash_bytes(path, strlen(path)) >> 1;
	if (kb_map_get(&c->by_path, key, &i) && !strcmp(c->files[i].path, path)) {
		*ret = (uint32_t)i;
		return NULL;
	}
	if (!KB_ROOM(c->files, c->n_files, c->files_cap, KB_MAX_FILES) || !kb_map_put(&c->by_path, key, c->n_files))
		return kb_error_nomem();
	*ret = (uint32_t)c->n_files;
	c->files[c->n_files++] = (struct kb_core_file){ .path = path, .fd = -1 };
	return NULL;
}

/* count, page size, count × (start, end, offset in pages), then the names. */
static kb_error *note_file(kb_target *t, kb_bytes d)
{
	struct kb_core *c = t->core;
	uint64_t count, page;
	if (!kb_get_u64(d, 0, &count) || !kb_get_u64(d, 8, &page) || count > (d.n - 16) / 24 || !page ||
	    page > 1u << 30)
		return NULL;
	uint64_t names = 16 + count * 24;
	c->has_file_note = true;
	for (uint64_t i = 0; i < count; i++) {
		struct kb_core_map m = { 0 };
		const char *path = kb_get_cstr(d, names, d.n);
		kb_get_u64(d, 16 + i * 24, &m.start);
		kb_get_u64(d, 24 + i * 24, &m.end);
		kb_get_u64(d, 32 + i * 24, &m.offset);
		if (!path)
			break;
		names += strlen(path) + 1;
		if (m.start >= m.end || m.offset > UINT64_MAX / 2 / page)
			continue;
		m.offset *= page;
		KB_TRY(add_file(c, path, &m.file));
		if (!KB_ROOM(c->maps, c->n_maps, c->maps_cap, KB_MAX_MAPPINGS))
			return kb_error_nomem();
		c->maps[c->n_maps++] = m;
	}
	return NULL;
}

static kb_error *one_note(kb_target *t, const char *name, uint32_t type, kb_bytes desc)
{
	if (strcmp(name, "CORE"))
		return NULL;
	switch (type) {
	case NT_PRSTATUS:
		return note_prstatus(t, desc);
	case NT_PRPSINFO:
		return note_prpsinfo(t, desc);
	case NT_FILE:
		return t->core->has_file_note ? NULL : note_file(t, desc);
	case NT_AUXV:
		t->core->auxv = desc;
		return NULL;
	case NT_FPREGSET:
		if (t->n_threads && desc.n >= sizeof t->raw->fpregs) {
			struct kb_thread_raw *raw = &t->raw[t->n_threads - 1];
			memcpy(&raw->fpregs, desc.p, sizeof raw->fpregs);
			raw->have_fpregs = true;
		}
		return NULL;
	default:
		return NULL;
	}
}

kb_error *kb_core_notes(kb_target *t, kb_bytes notes)
{
	uint64_t off = 0;
	uint32_t namesz, descsz, type;

	/* Every note takes at least 12 bytes, so the loop ends. */
	while (kb_get_u32(notes, off, &namesz) && kb_get_u32(notes, off + 4, &descsz) &&
	       kb_get_u32(notes, off + 8, &type)) {
		uint64_t name_at = off + 12, desc_at = name_at + (((uint64_t)namesz + 3) & ~3ull);
		if (desc_at > notes.n || descsz > notes.n - desc_at)
			break;
		const char *name = namesz ? kb_get_cstr(notes, name_at, namesz) : NULL;
		KB_TRY(one_note(t, name ? name : "", type, kb_slice(notes, desc_at, descsz)));
		off = desc_at + (((uint64_t)descsz + 3) & ~3ull);
	}
	return NULL;
}

bool kb_core_auxv(const struct kb_core *c, uint64_t type, uint64_t *ret)
{
	uint64_t key, value;
	for (uint64_t off = 0; kb_get_u64(c->auxv, off, &key) && kb_get_u64(c->auxv, off + 8, &value); off += 16) {
		if (key == AT_NULL)
			return false;
		if (key == type) {
			*ret = value;
			return true;
		}
	}
	return false;
}
