/* Reading and capturing. What was captured wins over the running process; the search in the sorted captures takes no
 * lock. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define KB_READ_MAX (4u << 20) /* bytes one call may ask for: bounds how long the kernel holds the target's mmap lock */
#define KB_USER_END ((kb_addr)1 << 63)

static size_t min_size(uint64_t a, uint64_t b)
{
	return (size_t)(a < b ? a : b);
}

static ssize_t read_once(const kb_target *t, kb_addr a, void *buf, size_t n)
{
	if (a >= KB_USER_END || n > KB_USER_END - a) {
		errno = EFAULT;
		return -1;
	}
	if (t->live.use_mem)
		return pread(t->live.mem_fd, buf, n, (off_t)a);
	struct iovec local = { buf, n }, remote = { (void *)(uintptr_t)a, n };
	return process_vm_readv(t->live.pid, &local, 1, &remote, 1, 0);
}

size_t kb_live_read_run(const kb_target *t, kb_addr a, void *buf, size_t n, int *ret_err)
{
	size_t done = 0;
	*ret_err = 0;
	while (done < n) {
		ssize_t r = read_once(t, a + done, (uint8_t *)buf + done, min_size(n - done, KB_READ_MAX));
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			/* /proc/PID/mem says EIO for a hole, and 0 once the memory is gone */
			*ret_err = r == 0 ? ESRCH : errno == EIO ? EFAULT : errno;
			break;
		}
		done += (size_t)r;
	}
	return done;
}

kb_addr kb_live_after_hole(const kb_target *t, kb_addr a, kb_addr end)
{
	size_t i = kb_maps_find(&t->maps, a);
	const kb_mapping *m = i < t->maps.n ? &t->maps.v[i] : NULL;
	kb_addr next = KB_PAGE_DOWN(a) + KB_PAGE;

	if (m && m->start <= a && m->perms)
		;
	else if (m && m->start > a)
		next = m->start;
	else if (m) /* reserved, no access */
		next = m->end;
	else
		next = end;
	return next < end && next > a ? next : end;
}

static kb_error *read_failed(const kb_target *t, int err, kb_addr a)
{
	if (err == ESRCH)
		return kb_live_gone(t);
	if (err == EFAULT || err == 0)
		return kb_error_fault(a);
	return kb_error_errno(err, "cannot read the memory of process %d", (int)t->live.pid);
}

/* ---- public reads ---------------------------------------------------------------------------------------------- */

/* Reads from one source: a capture, a capture's hole, or the process between two captures. *ret_n is what was asked
 * of it. */
static size_t read_live_part(const kb_target *t, kb_addr a, void *buf, size_t n, size_t *ret_n, int *ret_err)
{
	const struct kb_overlay *o = &t->overlay;
	size_t i = o->n ? kb_overlay_find(o, a) : 0;

	*ret_err = 0;
	if (i < o->n && o->pieces[i].start <= a) {
		const struct kb_piece *p = &o->pieces[i];
		*ret_n = min_size(n, p->end - a);
		if (!p->data) {
			*ret_err = EFAULT;
			return 0;
		}
		memcpy(buf, p->data + (a - p->start), *ret_n);
		return *ret_n;
	}
	*ret_n = i < o->n ? min_size(n, o->pieces[i].start - a) : n;
	return kb_live_read_run(t, a, buf, *ret_n, ret_err);
}

kb_error *kb_target_read(const kb_target *t, kb_addr a, void *buf, size_t n)
{
	if (n > KB_ADDR_MAX - a)
		return kb_error_fault(a);
	if (t->core) {
		size_t done = kb_core_read_run(t->core, a, buf, n);
		return done == n ? NULL : kb_error_fault(a + done);
	}
	while (n) {
		size_t asked;
		int err;
		size_t got = read_live_part(t, a, buf, n, &asked, &err);
		if (got < asked)
			return read_failed(t, err, a + got);
		a += got;
		buf = (uint8_t *)buf + got;
		n -= got;
	}
	return NULL;
}

static size_t core_read_holes(const kb_target *t, kb_addr a, uint8_t *buf, size_t n)
{
	size_t done = 0, got_all = 0;
	while (done < n) {
		size_t got = kb_core_read_run(t->core, a + done, buf + done, n - done);
		done += got;
		got_all += got;
		if (done == n)
			break;
		size_t next = (size_t)(kb_core_next_readable(t->core, a + done, a + n) - a);
		if (next == done) /* a file behind the core that cannot be read there */
			next = min_size(n, KB_PAGE_DOWN(a + done) + KB_PAGE - a);
		memset(buf + done, 0, next - done);
		done = next;
	}
	return got_all;
}

/* One source's part with its holes; stops early, *ret_gone set, when the process has ended. */
static size_t part_holes(const kb_target *t, kb_addr a, uint8_t *buf, size_t n, size_t *ret_n, bool *ret_gone)
{
	int err;
	size_t done = read_live_part(t, a, buf, n, ret_n, &err), got_all = done;
	if (done < *ret_n && err == EFAULT && t->overlay.n) {
		size_t i = kb_overlay_find(&t->overlay, a);
		if (i < t->overlay.n && t->overlay.pieces[i].start <= a) { /* a captured hole is a hole as a whole */
			memset(buf, 0, *ret_n);
			return 0;
		}
	}
	while (done < *ret_n) {
		size_t next = *ret_n;
		if (err == EFAULT)
			next = (size_t)(kb_live_after_hole(t, a + done, a + *ret_n) - a);
		else
			*ret_gone = true;
		memset(buf + done, 0, next - done);
		done = next;
		if (done < *ret_n) {
			size_t got = kb_live_read_run(t, a + done, buf + done, *ret_n - done, &err);
			done += got;
			got_all += got;
		}
	}
	return got_all;
}

size_t kb_target_read_holes(const kb_target *t, kb_addr a, void *buf, size_t n)
{
	size_t got_all = 0;
	bool gone = false;
	uint8_t *out = buf;

	if (n > KB_ADDR_MAX - a) {
		memset(buf, 0, n);
		return 0;
	}
	if (t->core)
		return core_read_holes(t, a, buf, n);
	while (n && !gone) {
		size_t asked;
		got_all += part_holes(t, a, out, n, &asked, &gone);
		a += asked;
		out += asked;
		n -= asked;
	}
	memset(out, 0, n);
	return got_all;
}

kb_error *kb_target_read_u64(const kb_target *t, kb_addr a, uint64_t *ret)
{
	return kb_target_read(t, a, ret, sizeof *ret);
}

kb_error *kb_target_read_u32(const kb_target *t, kb_addr a, uint32_t *ret)
{
	return kb_target_read(t, a, ret, sizeof *ret);
}

kb_bytes kb_target_view(const kb_target *t, kb_addr a, size_t n)
{
	return t->core ? kb_core_view(t->core, a, n) : (kb_bytes){ NULL, 0 };
}
