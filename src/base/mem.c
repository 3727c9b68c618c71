#include "base/base.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"

#define GROW_MIN 16

/* Allocations left until all fail; negative: never (the state outside tests). */
static atomic_long allocations_left = -1;

void kb_alloc_fail_after(long n)
{
	atomic_store(&allocations_left, n);
}

int kb_alloc_denied(void)
{
	long left = atomic_load_explicit(&allocations_left, memory_order_relaxed);

	if (left < 0)
		return 0;
	while (left > 0)
		if (atomic_compare_exchange_weak(&allocations_left, &left, left - 1))
			return 0;
	return 1;
}

void *kb_malloc(size_t n)
{
	return kb_alloc_denied() ? NULL : malloc(n ? n : 1);
}

void *kb_calloc(size_t n, size_t size)
{
	return kb_alloc_denied() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *kb_realloc(void *p, size_t n)
{
	return kb_alloc_denied() ? NULL : realloc(p, n ? n : 1);
}

bool kb_grow(void *array_ptr, size_t *cap, size_t need, size_t elem_size, size_t max)
{
	void *array;
	size_t wanted, bytes;

	if (need > max)
		return false;
	if (need <= *cap)
		return true;
	/* Doubling keeps a push cheap; the last step ends at the maximum, not beyond it. */
	wanted = *cap > max / 2 ? max : *cap * 2;
	if (wanted < GROW_MIN)
		wanted = GROW_MIN;
	if (wanted < need)
		wanted = need;
	if (wanted > max)
		wanted = max;
	if (__builtin_mul_overflow(wanted, elem_size, &bytes))
		return false;
	/* array_ptr is the address of a pointer of any type; memcpy is the way to it that the language allows. */
	memcpy(&array, array_ptr, sizeof(array));
	array = kb_realloc(array, bytes);
	if (!array)
		return false;
	memcpy(array_ptr, &array, sizeof(array));
	*cap = wanted;
	return true;
}

void *kb_big_alloc(size_t bytes)
{
	void *p;

	if (kb_alloc_denied())
		return NULL;
	p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* Only advice: a kernel without huge pages answers EINVAL, and small pages do as well. */
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

void kb_big_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes ? bytes : 1);
}

void kb_cleanup_free(void *p)
{
	void *memory;

	memcpy(&memory, p, sizeof(memory));
	free(memory);
}

void kb_cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

void kb_cleanup_error(kb_error **e)
{
	kb_error_free(*e);
}
