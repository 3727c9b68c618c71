/* How much of each mapping is resident (smaps), and which pages (pagemap). */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KB_SMAPS_TEXT_MAX (2u << 30)

static kb_error *live_only(void)
{
	return kb_error_new(KB_E_UNSUPPORTED, "a core does not say which memory was resident");
}

/* "Rss:   123 kB" → bytes. */
static uint64_t kilobytes(const char *p)
{
	return strtoull(p, NULL, 10) << 10;
}

/* "start-end perms …": a header line starts with a hexadecimal digit in lower case, others with a capital. */
static bool is_header(const char *line)
{
	return (*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f');
}

static kb_error *parse_smaps(const char *text, kb_resident **ret, size_t *ret_n)
{
	size_t n = 0, cap = 0;
	kb_resident *v = NULL;
	for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		if (is_header(line)) {
			char *end;
			kb_addr start = strtoull(line, &end, 16);
			kb_addr stop = *end == '-' ? strtoull(end + 1, NULL, 16) : 0;
			if (!KB_ROOM(v, n, cap, KB_MAX_MAPPINGS)) {
				free(v);
				return kb_error_nomem();
			}
			v[n++] = (kb_resident){ .start = start, .size = stop > start ? stop - start : 0 };
		} else if (n && !strncmp(line, "Rss:", 4)) {
			v[n - 1].rss = kilobytes(line + 4);
		} else if (n && !strncmp(line, "Swap:", 5)) {
			v[n - 1].swap = kilobytes(line + 5);
		}
	}
	*ret = v;
	*ret_n = n;
	return NULL;
}

kb_error *kb_target_smaps(const kb_target *t, kb_resident **ret, size_t *ret_n)
{
	kb_str text = { 0 };
	if (t->core)
		return live_only();
	kb_error *err = kb_proc_slurp(t->live.proc_fd, "smaps", KB_SMAPS_TEXT_MAX, &text);
	if (!err && !text.n)
		err = kb_live_gone(t);
	if (!err)
		err = parse_smaps(text.s, ret, ret_n);
	kb_str_free(&text);
	return err;
}

bool kb_pagemap_read(int pagemap_fd, kb_addr a, uint64_t *words, size_t pages)
{
	size_t want = pages * sizeof *words, done = 0;
	while (done < want) {
		ssize_t r = pread(pagemap_fd, (uint8_t *)words + done, want - done, (off_t)(a / KB_PAGE * 8 + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		done += (size_t)r;
	}
	return true;
}

/* ---- runs of pages --------------------------------------------------------------------------------------------- */

/* struct pm_scan_arg of linux/fs.h since Linux 6.7, which older headers do not have. */
struct pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define KB_PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan)
#define KB_PAGE_IS_PRESENT_OR_SWAPPED (1u << 3 | 1u << 4)

/* The kernel walks the page tables, so that terabytes of nothing (a sanitizer's shadow) cost nothing. */
static bool fill_by_scan(struct kb_page_runs *r, kb_addr end)
{
	struct pm_scan arg = { .size = sizeof arg,
			       .start = r->next,
			       .end = end,
			       .vec = (uintptr_t)r->v,
			       .vec_len = KB_ARRAY_LEN(r->v),
			       .category_anyof_mask = KB_PAGE_IS_PRESENT_OR_SWAPPED,
			       .return_mask = KB_PAGE_IS_PRESENT_OR_SWAPPED };
	int n = ioctl(r->fd, KB_PAGEMAP_SCAN, &arg);
	if (n < 0 || arg.walk_end <= r->next)
		return false;
	r->n = (size_t)n;
	r->next = arg.walk_end;
	return true;
}

static bool fill_by_words(struct kb_page_runs *r, kb_addr end)
{
	uint64_t words[2 * KB_ARRAY_LEN(r->v)]; /* every second page a run of its own at worst */
	size_t pages = (size_t)((end - r->next) / KB_PAGE);
	pages = pages < KB_ARRAY_LEN(words) ? pages : KB_ARRAY_LEN(words);
	if (!kb_pagemap_read(r->fd, r->next, words, pages))
		return false;
	for (size_t i = 0; i < pages; i++) {
		kb_addr page = r->next + i * KB_PAGE;
		if (!(words[i] & KB_PRESENT_OR_SWAPPED))
			continue;
		if (r->n && r->v[r->n - 1].end == page)
			r->v[r->n - 1].end += KB_PAGE;
		else
			r->v[r->n++] = (struct kb_page_run){ .start = page, .end = page + KB_PAGE };
	}
	r->next += pages * KB_PAGE;
	return true;
}

bool kb_page_runs_next(struct kb_page_runs *r, kb_addr a, kb_addr end, kb_range *ret)
{
	for (;;) {
		for (; r->i < r->n; r->i++)
			if (r->v[r->i].end > a) {
				*ret = (kb_range){ r->v[r->i].start, r->v[r->i].end - r->v[r->i].start };
				return true;
			}
		if (r->next >= end)
			return false;
		r->i = r->n = 0;
		if (r->fd >= 0 && !r->no_scan && fill_by_scan(r, end))
			continue;
		r->no_scan = true;
		if (r->fd >= 0 && fill_by_words(r, end))
			continue;
		r->v[r->n++] = (struct kb_page_run){ .start = r->next, .end = end };
		r->next = end;
	}
}

kb_error *kb_target_resident_bits(const kb_target *t, kb_addr a, size_t n, uint8_t *bits)
{
	uint64_t words[512];
	size_t pages = n / KB_PAGE + (n % KB_PAGE != 0);
	if (t->core)
		return live_only();
	KB_CLOSE int fd = openat(t->live.proc_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return kb_error_errno(errno, "cannot open /proc/%d/pagemap", (int)t->live.pid);
	memset(bits, 0, (pages + 7) / 8);
	for (size_t i = 0; i < pages; i += KB_ARRAY_LEN(words)) {
		size_t k = pages - i < KB_ARRAY_LEN(words) ? pages - i : KB_ARRAY_LEN(words);
		if (!kb_pagemap_read(fd, a + i * KB_PAGE, words, k))
			return kb_error_errno(errno, "cannot read /proc/%d/pagemap", (int)t->live.pid);
		for (size_t j = 0; j < k; j++)
			if (words[j] >> 63)
				bits[(i + j) / 8] |= (uint8_t)(1u << (i + j) % 8);
	}
	return NULL;
}
