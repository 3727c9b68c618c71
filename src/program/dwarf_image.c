/* An ELF file in memory that holds only the debug sections needed here, uncompressed. libdw itself inflates every debug
 * section, one after the other and again for each handle; lines, frames and ranges are most of them and are of no use to us.
 * Any number of libdw handles can read one image, each in its own thread. */
#include "private.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>

#define IMAGE_ALIGN 64

static const char *const wanted[] = { "info", "abbrev", "str", "line_str", "str_offsets", "addr", "types" };
#define WANTED KB_ARRAY_LEN(wanted)
/* ".debug_str_offsets" and its NUL, for all; the null section; the names' own. */
#define NAMES_SIZE (WANTED * 24 + 1 + 10)
#define HEADERS (WANTED + 2)

struct part {
	size_t section; /* SIZE_MAX: absent */
	kb_bytes raw;   /* malloc'ed */
	struct compressed pack;
	uint64_t offset; /* in the image */
};

struct image {
	const kb_program *p;
	struct part part[WANTED];
	uint8_t *bytes;
	uint64_t size, names_off, headers_off;
};

static size_t find_part(const kb_program *p, const char *name)
{
	char full[32];
	size_t i;

	snprintf(full, sizeof(full), ".debug_%s", name);
	i = section_index(p, full);
	if (i != SIZE_MAX)
		return i;
	snprintf(full, sizeof(full), ".zdebug_%s", name);
	return section_index(p, full);
}

static kb_error *load_parts(struct image *im)
{
	uint64_t at = IMAGE_ALIGN;

	for (size_t i = 0; i < WANTED; i++) {
		struct part *part = &im->part[i];

		part->section = find_part(im->p, wanted[i]);
		if (part->section == SIZE_MAX)
			continue;
		KB_TRY(section_load_raw(im->p, part->section, &part->raw));
		KB_TRY(section_look_packed(im->p, part->section, part->raw, &part->pack));
		part->offset = at;
		at = (at + part->pack.size + IMAGE_ALIGN - 1) & ~(uint64_t)(IMAGE_ALIGN - 1);
		if (at > SECTION_BYTES_MAX)
			return kb_error_new(KB_E_LIMIT, "%s: too much debug information", im->p->name);
	}
	im->names_off = at;
	im->headers_off = (at + NAMES_SIZE + IMAGE_ALIGN - 1) & ~(uint64_t)(IMAGE_ALIGN - 1);
	im->size = im->headers_off + HEADERS * sizeof(Elf64_Shdr);
	return NULL;
}

static kb_error *unpack_part(void *ctx, unsigned worker, size_t i)
{
	struct image *im = ctx;
	struct part *part = &im->part[i];

	(void)worker;
	if (part->section == SIZE_MAX || !part->raw.n)
		return NULL;
	return kb_error_context(section_unpack(&part->pack, im->bytes + part->offset), "%s: %s", im->p->name,
				im->p->sections[part->section].name);
}

static void put_header(struct image *im, size_t index, const Elf64_Shdr *sh)
{
	memcpy(im->bytes + im->headers_off + index * sizeof(*sh), sh, sizeof(*sh));
}

static void write_headers(struct image *im)
{
	Elf64_Ehdr eh = { .e_type = ET_EXEC,
			  .e_machine = EM_X86_64,
			  .e_version = EV_CURRENT,
			  .e_ehsize = sizeof(eh),
			  .e_shentsize = sizeof(Elf64_Shdr),
			  .e_shoff = im->headers_off,
			  .e_shnum = HEADERS,
			  .e_shstrndx = 1 };
	Elf64_Shdr names = {
		.sh_type = SHT_STRTAB, .sh_offset = im->names_off, .sh_size = NAMES_SIZE, .sh_addralign = 1
	};
	char *text = (char *)im->bytes + im->names_off;
	size_t used = 1;

	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	eh.e_ident[EI_VERSION] = EV_CURRENT;
	memcpy(im->bytes, &eh, sizeof(eh));
	put_header(im, 1, &names); /* header 0 stays zero */
	for (size_t i = 0; i < WANTED; i++) {
		const struct part *part = &im->part[i];
		Elf64_Shdr sh = { .sh_type = part->section == SIZE_MAX || !part->raw.n ? SHT_NULL : SHT_PROGBITS,
				  .sh_name = (Elf64_Word)used,
				  .sh_offset = part->offset,
				  .sh_size = part->pack.size,
				  .sh_addralign = 1 };

		used += (size_t)snprintf(text + used, NAMES_SIZE - used, ".debug_%s", wanted[i]) + 1;
		put_header(im, i + 2, &sh);
	}
}

kb_error *dwarf_image_build(kb_program *p, void **ret, size_t *ret_size)
{
	struct image im = { .p = p };
	kb_error *err = NULL;

	*ret = NULL;
	*ret_size = 0;
	if (!kb_program_has_dwarf(p))
		return NULL;
	for (size_t i = 0; i < WANTED; i++)
		im.part[i].section = SIZE_MAX;
	err = load_parts(&im);
	if (!err && !(im.bytes = kb_big_alloc(im.size)))
		err = kb_error_nomem();
	if (!err)
		err = kb_parallel(WANTED, unpack_part, &im);
	for (size_t i = 0; i < WANTED; i++)
		free((void *)(uintptr_t)im.part[i].raw.p);
	if (err) {
		if (im.bytes)
			kb_big_free(im.bytes, im.size);
		return err;
	}
	write_headers(&im);
	*ret = im.bytes;
	*ret_size = im.size;
	return NULL;
}
