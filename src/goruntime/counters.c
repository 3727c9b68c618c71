/* The runtime's counters without a stop: what the list of processes shows. */
#include "private.h"

#include <stdlib.h>

enum { MAX_STATUS_READS = 20000, SCAN_BIT = 0x1000 };

static bool is_dead(uint64_t status)
{
	status &= ~(uint64_t)SCAN_BIT;
	return status == KB_G_IDLE || status == KB_G_DEAD || status == KB_G_DEADEXTRA;
}

/* Goroutines that are not dead; of very many the dead are not told apart (allglen never shrinks, so it is an upper bound). */
static kb_error *count_goroutines(const kb_go *go, uint64_t *ret)
{
	kb_addr p;
	uint64_t n, cap, dead = 0;
	KB_TRY(kb_read_slice(go, go->vars.allgs, &p, &n, &cap));
	*ret = n;
	if (n > MAX_STATUS_READS)
		return NULL;
	KB_FREE uint64_t *gs = malloc(n * 8 + 8);
	if (!gs)
		return kb_error_nomem();
	KB_TRY(kb_target_read(go->target, p, gs, n * 8));
	for (uint64_t i = 0; i < n; i++) {
		uint64_t status;
		KB_TRY(kb_field(go, gs[i], KB_F_g_atomicstatus, &status));
		dead += is_dead(status);
	}
	*ret = n - dead;
	return NULL;
}

kb_error *kb_go_counters_read(const kb_go *go, kb_go_counters *ret)
{
	*ret = (kb_go_counters){ 0 };
	if (go->vars.gc_controller && kb_has(&go->layout, KB_F_gcControllerState_heapLive))
		KB_TRY(kb_field(go, go->vars.gc_controller, KB_F_gcControllerState_heapLive, &ret->heap_live));
	return count_goroutines(go, &ret->goroutines);
}
