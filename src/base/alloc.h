/* Allocation for the files of base: every one of them can be made to fail by kb_alloc_fail_after. */
#ifndef KB_BASE_ALLOC_H
#define KB_BASE_ALLOC_H

#include <stddef.h>

/* As malloc, calloc, realloc; NULL when out of memory or when the test hook says so. Free with free(). */
void *kb_malloc(size_t n);
void *kb_calloc(size_t n, size_t size);
void *kb_realloc(void *p, size_t n);
/* Asks the hook only: for memory that does not come from malloc. */
int kb_alloc_denied(void);

#endif
