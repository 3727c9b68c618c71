/* Makes ELF cores and executables byte by byte, right ones and wrong ones. */
#ifndef KB_TEST_TARGET_MAKER_H
#define KB_TEST_TARGET_MAKER_H

#include "kb_test.h"

#include <elf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target/target.h"

#define PAGE 4096u
#define MAKER_MAX (1u << 20)
#define MAKER_SEGS 16

/* A core in the making: program headers may be changed at will before maker_finish lays them out. */
struct maker {
	Elf64_Ehdr e;
	Elf64_Phdr p[MAKER_SEGS];
	uint8_t fill[MAKER_SEGS]; /* what a segment's bytes are */
	unsigned n;
	uint8_t notes[65536];
	size_t notes_n;
	uint8_t file[MAKER_MAX];
	size_t size;
};

static inline struct maker *maker_new(void)
{
	struct maker *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->e = (Elf64_Ehdr){ .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			     .e_type = ET_CORE,
			     .e_machine = EM_X86_64,
			     .e_version = EV_CURRENT,
			     .e_phoff = sizeof(Elf64_Ehdr),
			     .e_ehsize = sizeof(Elf64_Ehdr),
			     .e_phentsize = sizeof(Elf64_Phdr) };
	return m;
}

static inline Elf64_Phdr *maker_load(struct maker *m, uint64_t vaddr, uint64_t memsz, uint64_t filesz, uint32_t flags,
				     uint8_t fill)
{
	Elf64_Phdr *p = &m->p[m->n];
	assert_true(m->n < MAKER_SEGS);
	*p = (Elf64_Phdr){ .p_type = PT_LOAD,
			   .p_vaddr = vaddr,
			   .p_memsz = memsz,
			   .p_filesz = filesz,
			   .p_flags = flags,
			   .p_align = PAGE };
	m->fill[m->n++] = fill;
	return p;
}

/* name without its NUL; sizes as given, right or wrong */
static inline void maker_raw_note(struct maker *m, uint32_t namesz, uint32_t descsz, uint32_t type, const void *desc,
				  size_t desc_n)
{
	Elf64_Nhdr h = { namesz, descsz, type };
	assert_true(m->notes_n + sizeof(h) + 8 + desc_n + 4 < sizeof(m->notes));
	memcpy(m->notes + m->notes_n, &h, sizeof(h));
	memcpy(m->notes + m->notes_n + sizeof(h), "CORE\0\0\0", 8);
	memcpy(m->notes + m->notes_n + sizeof(h) + 8, desc, desc_n);
	m->notes_n += sizeof(h) + 8 + ((desc_n + 3) & ~(size_t)3);
}

static inline void maker_note(struct maker *m, uint32_t type, const void *desc, size_t n)
{
	maker_raw_note(m, 5, (uint32_t)n, type, desc, n);
}

/* elf_prstatus of amd64: pid at 32, the 27 registers from 112 on, in the kernel's order */
static inline void maker_thread(struct maker *m, uint32_t pid, uint64_t rip, uint64_t rsp)
{
	uint8_t d[336] = { 0 };
	memcpy(d + 32, &pid, 4);
	memcpy(d + 112 + 16 * 8, &rip, 8);
	memcpy(d + 112 + 19 * 8, &rsp, 8);
	maker_note(m, NT_PRSTATUS, d, sizeof(d));
}

static inline void maker_process(struct maker *m, uint32_t pid, const char *name)
{
	uint8_t d[136] = { 0 };
	memcpy(d + 24, &pid, 4);
	memcpy(d + 40, name, strlen(name));
	maker_note(m, NT_PRPSINFO, d, sizeof(d));
}

/* One entry for each mapping of one file. */
static inline void maker_files(struct maker *m, const char *path, const uint64_t (*entries)[3], size_t n)
{
	uint8_t d[8192];
	uint64_t head[2] = { n, PAGE };
	size_t at = sizeof(head);
	memcpy(d, head, sizeof(head));
	for (size_t i = 0; i < n; i++, at += 24) {
		uint64_t entry[3] = { entries[i][0], entries[i][1], entries[i][2] / PAGE };
		memcpy(d + at, entry, sizeof(entry));
	}
	for (size_t i = 0; i < n; i++, at += strlen(path) + 1)
		memcpy(d + at, path, strlen(path) + 1);
	maker_note(m, NT_FILE, d, at);
}

static inline void maker_auxv(struct maker *m, uint64_t phdr, uint64_t phnum, uint64_t entry)
{
	uint64_t v[] = { AT_PHDR, phdr, AT_PHNUM, phnum, AT_ENTRY, entry, AT_NULL, 0 };
	maker_note(m, NT_AUXV, v, sizeof(v));
}

/* Headers, notes, then every segment's bytes, each at a page. A p_offset that is set already stays. */
static inline void maker_finish(struct maker *m)
{
	unsigned phnum = m->n + 1;
	uint64_t at = sizeof(m->e) + phnum * sizeof(Elf64_Phdr);
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = at, .p_filesz = m->notes_n, .p_align = 4 };
	memset(m->file, 0, sizeof(m->file));
	if (!m->e.e_phnum)
		m->e.e_phnum = (uint16_t)phnum;
	memcpy(m->file, &m->e, sizeof(m->e));
	memcpy(m->file + sizeof(m->e), &note, sizeof(note));
	memcpy(m->file + at, m->notes, m->notes_n);
	at = (at + m->notes_n + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	for (unsigned i = 0; i < m->n; i++) {
		Elf64_Phdr *p = &m->p[i];
		if (!p->p_offset && p->p_filesz < MAKER_MAX) {
			p->p_offset = at;
			assert_true(at + p->p_filesz <= MAKER_MAX);
			for (uint64_t k = 0; k < p->p_filesz; k++) /* each page its own bytes */
				m->file[at + k] = (uint8_t)(m->fill[i] + k / PAGE);
			at += (p->p_filesz + PAGE - 1) & ~(uint64_t)(PAGE - 1);
		}
		memcpy(m->file + sizeof(m->e) + (i + 1) * sizeof(*p), p, sizeof(*p));
	}
	m->size = at;
}

/* A file that lives as long as its descriptor; path has room for 32 bytes. */
static inline int file_of(const void *bytes, size_t n, char *path)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(fd >= 0);
	for (size_t done = 0; done < n;) {
		ssize_t r = write(fd, (const uint8_t *)bytes + done, n - done);
		assert_true(r > 0);
		done += (size_t)r;
	}
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static inline kb_error *open_bytes(const char *exe, const void *bytes, size_t n, kb_target **ret)
{
	char path[32];
	int fd = file_of(bytes, n, path);
	kb_error *err = kb_target_open_core(exe, path, ret);
	close(fd);
	return err;
}

#endif
