#include "base/base.h"

#include <time.h>

uint64_t kb_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void kb_progress_tell(const kb_progress *p, const char *phase, double fraction)
{
	if (p && p->fn)
		p->fn(p->ctx, phase, fraction);
}
