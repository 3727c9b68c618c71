/* The runtime's own numbers: gcController, memstats, work. runtime/mgcpacer.go, mstats.go, mgc.go. */
#include "private.h"

enum { STATS_MAX = 3 };

static uint64_t get(const kb_go *go, kb_addr strukt, enum kb_field_id f)
{
	uint64_t v = 0;
	if (!strukt || !kb_has(&go->layout, f))
		return 0;
	kb_error_free(kb_field(go, strukt, f, &v));
	return v;
}

/* inStacks of the three generations of memstats.heapStats: each is a part of the sum, and may be negative. */
static uint64_t stack_bytes(const kb_go *go)
{
	const kb_layout *l = &go->layout;
	uint32_t size = kb_sizeof(l, KB_S_heapStatsDelta);
	uint64_t sum = 0;
	if (!go->vars.memstats || !size || !kb_has(l, KB_F_mstats_heapStats) ||
	    !kb_has(l, KB_F_consistentHeapStats_stats) || !kb_has(l, KB_F_heapStatsDelta_inStacks))
		return go->manual_bytes;
	kb_addr a = go->vars.memstats + kb_off(l, KB_F_mstats_heapStats) + kb_off(l, KB_F_consistentHeapStats_stats);
	for (unsigned i = 0; i < STATS_MAX; i++)
		sum += get(go, a + i * size, KB_F_heapStatsDelta_inStacks);
	return sum <= go->manual_bytes ? sum : go->manual_bytes;
}

static void load_controller(kb_go *go)
{
	kb_addr c = go->vars.gc_controller;
	kb_go_info *info = &go->info;
	info->memory_limit = INT64_MAX;
	info->gc_percent = 100;
	if (!c)
		return;
	info->gc_percent = (int32_t)get(go, c, KB_F_gcControllerState_gcPercent);
	info->memory_limit = (int64_t)get(go, c, KB_F_gcControllerState_memoryLimit);
	info->heap_live = get(go, c, KB_F_gcControllerState_heapLive);
	info->heap_marked = get(go, c, KB_F_gcControllerState_heapMarked);
	info->heap_inuse = get(go, c, KB_F_gcControllerState_heapInUse);
	info->heap_released = get(go, c, KB_F_gcControllerState_heapReleased);
	info->heap_idle = get(go, c, KB_F_gcControllerState_heapFree) + info->heap_released;
}

void kb_stats_load(kb_go *go)
{
	kb_go_info *info = &go->info;
	kb_addr m = go->vars.memstats;
	uint32_t phase = 0;
	load_controller(go);
	if (go->vars.gcphase)
		kb_error_free(kb_target_read_u32(go->target, go->vars.gcphase, &phase));
	info->gc_phase = phase;
	info->gc_cycles = (uint32_t)get(go, m, KB_F_mstats_numgc);
	info->last_gc_unix_ns = get(go, m, KB_F_mstats_last_gc_unix);
	info->runtime_other = get(go, m, KB_F_mstats_mspan_sys) + get(go, m, KB_F_mstats_mcache_sys) +
			      get(go, m, KB_F_mstats_buckhash_sys) + get(go, m, KB_F_mstats_gcMiscSys) +
			      get(go, m, KB_F_mstats_other_sys);
	info->stack_inuse = stack_bytes(go);
	if (go->vars.mem_profile_rate)
		kb_error_free(kb_target_read_u64(go->target, go->vars.mem_profile_rate, &info->mem_profile_rate));
}
