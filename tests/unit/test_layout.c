/* The layout table: choosing a row, what is absent, experiments; and the target's DWARF on top of it, from a made-up
 * DWARF. */
#define kb_program_has_dwarf fake_has_dwarf
#define kb_program_dwarf_fields fake_dwarf_fields
#define kb_layout_from_dwarf layout_from_fake_dwarf
#include "../../src/goruntime/layout_dwarf.c"

#include "kb_test.h"

/* ---- the made-up DWARF ---- */

struct fake_field {
	const char *strukt, *field; /* field NULL: the struct itself */
	uint32_t offset, size;
};
static const struct fake_field *fake_fields;
static size_t nfake;
static bool fake_present;

bool fake_has_dwarf(const kb_program *p)
{
	(void)p;
	return fake_present;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

kb_error *fake_dwarf_fields(kb_program *p, kb_dwarf_query *q, size_t n)
{
	(void)p;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < nfake; k++)
			if (same(q[i].strukt, fake_fields[k].strukt) && same(q[i].field, fake_fields[k].field)) {
				q[i].found = true;
				q[i].result = (kb_dwarf_field){ fake_fields[k].offset, fake_fields[k].size };
			}
	return NULL;
}

static void set_fake(const struct fake_field *f, size_t n)
{
	fake_fields = f;
	nfake = n;
	fake_present = true;
}

/* ---- choosing ---- */

static kb_layout_origin choose(int minor, int patch, const char *experiments, kb_layout *l)
{
	kb_layout_origin origin;

	memset(l, 0xee, sizeof(*l));
	assert_ok(kb_layout_choose(minor, patch, experiments, l, &origin));
	return origin;
}

static void test_known_numbers(void **state)
{
	kb_layout l;

	(void)state;
	choose(19, 13, NULL, &l);
	assert_int_equal(kb_off(&l, KB_F_mspan_nelems), 56);
	assert_int_equal(kb_fsize(&l, KB_F_mspan_nelems), 8);
	assert_int_equal(kb_sizeof(&l, KB_S_heapArena), 2165776);
	assert_int_equal(kb_off(&l, KB_F_g_goid), 152);
	choose(24, 9, "", &l);
	assert_int_equal(kb_off(&l, KB_F_mspan_nelems), 50);
	assert_int_equal(kb_fsize(&l, KB_F_mspan_nelems), 2);
	assert_int_equal(kb_off(&l, KB_F_g_goid), 160);
	choose(27, 1, "", &l);
	assert_int_equal(kb_off(&l, KB_F_moduledata_typedesclen), 304);
	assert_int_equal(kb_off(&l, KB_F_g_goid), 152);
	/* elem became two words in 1.26; the second is the address. */
	assert_int_equal(kb_fsize(&l, KB_F_sudog_elem), 16);
	assert_int_equal(kb_off(&l, KB_F_sudog_elem_addr), kb_off(&l, KB_F_sudog_elem) + 8);
	assert_int_equal(kb_fsize(&l, KB_F_sudog_elem_addr), 8);
}

static void test_absent(void **state)
{
	kb_layout l;

	(void)state;
	choose(19, 0, "", &l);
	assert_false(kb_has(&l, KB_F_mspan_freeIndexForScan));
	assert_int_equal(kb_fsize(&l, KB_F_mspan_freeIndexForScan), 0);
	assert_false(kb_has(&l, KB_F_mspan_largeType));
	assert_int_equal(kb_sizeof(&l, KB_S_swissmap), 0);
	assert_int_equal(kb_sizeof(&l, KB_S_cleanupBlock), 0);
	assert_false(kb_has(&l, KB_F_swissmap_used));
	assert_int_equal(kb_const(&l, KB_C_SpecialCleanup), -1);
	assert_int_equal(kb_const(&l, KB_C_SpecialFinalizer), 1);
	choose(19, 13, "", &l);
	assert_true(kb_has(&l, KB_F_mspan_freeIndexForScan));
	choose(27, 0, "", &l);
	assert_false(kb_has(&l, KB_F_moduledata_typelinks));
	assert_false(kb_has(&l, KB_F_memRecordCycle_alloc_bytes));
	assert_int_equal(kb_sizeof(&l, KB_S_hmap), 0);
	assert_int_equal(kb_const(&l, KB_C_SpecialFinalizer), 2);
	assert_int_equal(kb_const(&l, KB_C_TFlagUnrolledBitmap), -1);
}

/* Every minor has what no reader can do without, fields lie in their structs, and none is lost between the rows. */
static void test_every_minor_is_whole(void **state)
{
	static const enum kb_field_id vital[] = {
		KB_F_mspan_startAddr,
		KB_F_mspan_npages,
		KB_F_mspan_freeindex,
		KB_F_mspan_nelems,
		KB_F_mspan_allocBits,
		KB_F_mspan_gcmarkBits,
		KB_F_mspan_sweepgen,
		KB_F_mspan_spanclass,
		KB_F_mspan_state,
		KB_F_mspan_elemsize,
		KB_F_mspan_limit,
		KB_F_mspan_specials,
		KB_F_mheap_allspans,
		KB_F_mheap_arenas,
		KB_F_mheap_sweepgen,
		KB_F_mcache_tiny,
		KB_F_g_stack,
		KB_F_g_atomicstatus,
		KB_F_g_goid,
		KB_F_g_waitreason,
		KB_F_g_waiting,
		KB_F_g_gopc,
		KB_F_g_startpc,
		KB_F_g_sched,
		KB_F_m_alllink,
		KB_F_m_procid,
		KB_F_m_curg,
		KB_F_p_mcache,
		KB_F_p_timers,
		KB_F_sudog_elem_addr,
		KB_F_sudog_c_addr,
		KB_F_hchan_recvq,
		KB_F_semaRoot_treap,
		KB_F_moduledata_next,
		KB_F_moduledata_gcdatamask,
		KB_F_pollDesc_self,
		KB_F_type_gcdata,
		KB_F_finblock_fin,
		KB_F_specialfinalizer_fn,
		KB_F_special_kind,
		KB_F_itab_fun,
		KB_F_maptype_key,
		KB_F_timer_when,
		KB_F_Mutex_sema,
		KB_F_WaitGroup_sema,
		KB_F_bucket_nstk,
		KB_F_cancelCtx_children,
		KB_F_FD_pd,
	};

	(void)state;
	for (int minor = 19; minor <= 27; minor++) {
		kb_layout l;

		choose(minor, 0, "", &l);
		for (size_t i = 0; i < KB_ARRAY_LEN(vital); i++)
			if (!kb_has(&l, vital[i]))
				fail_msg("go1.%d has no %s.%s", minor, kb_struct_name(kb_field_struct(vital[i])),
					 kb_field_name(vital[i]));
		for (size_t f = 0; f < KB_F_COUNT; f++) {
			uint64_t size = kb_sizeof(&l, kb_field_struct(f));

			if (kb_has(&l, f) && (uint64_t)kb_off(&l, f) + kb_fsize(&l, f) > size)
				fail_msg("go1.%d: %s.%s leaves its struct", minor, kb_struct_name(kb_field_struct(f)),
					 kb_field_name(f));
		}
		assert_string_equal(kb_waitreason(&l, 0), "");
	}
}

static void test_patch_boundaries(void **state)
{
	kb_layout l;
	kb_layout_origin origin;

	(void)state;
	/* m.allpSnapshot came with 1.23.12, and with 1.24.6. */
	origin = choose(23, 11, "", &l);
	assert_int_equal(kb_off(&l, KB_F_m_alllink), 328);
	assert_true(origin.exact);
	choose(23, 12, "", &l);
	assert_int_equal(kb_off(&l, KB_F_m_alllink), 352);
	choose(24, 5, "", &l);
	assert_false(kb_has(&l, KB_F_m_allpSnapshot));
	origin = choose(24, 7, "", &l);
	assert_true(kb_has(&l, KB_F_m_allpSnapshot));
	assert_int_equal(origin.patch, 6);
	assert_false(origin.exact);
	assert_false(origin.guessed);
	/* timer.isSending came with 1.23.2 as a byte in a gap; 1.23.3 made it a word at the end, which moved what
	 * holds timers. */
	choose(23, 1, "", &l);
	assert_false(kb_has(&l, KB_F_timer_isSending));
	choose(23, 2, "", &l);
	assert_int_equal(kb_off(&l, KB_F_timer_isSending), 11);
	assert_int_equal(kb_off(&l, KB_F_pollDesc_self), 256);
	choose(23, 3, "", &l);
	assert_int_equal(kb_off(&l, KB_F_timer_isSending), 80);
	assert_int_equal(kb_off(&l, KB_F_pollDesc_self), 272);
	/* A patch release newer than any row. */
	origin = choose(25, 99, "", &l);
	assert_int_equal(origin.minor, 25);
	assert_false(origin.guessed);
}

static void test_experiments(void **state)
{
	kb_layout plain, l;
	kb_layout_origin origin;

	(void)state;
	choose(25, 4, "", &plain);
	origin = choose(25, 4, "greenteagc", &l);
	assert_string_equal(origin.experiments, "greenteagc");
	assert_string_equal(origin.text, "table go1.25.4 greenteagc");
	assert_int_equal(kb_off(&plain, KB_F_p_timers), 9392);
	assert_int_equal(kb_off(&l, KB_F_p_timers), 13624);
	assert_int_equal(kb_off(&l, KB_F_mspan_elemsize), kb_off(&plain, KB_F_mspan_elemsize));

	/* Two at once, and one that changes nothing. */
	origin = choose(25, 4, "boringcrypto,noswissmap,greenteagc", &l);
	assert_int_equal(origin.nexperiments, 2);
	assert_int_equal(kb_off(&l, KB_F_p_timers), 13624);
	assert_int_equal(kb_off(&l, KB_F_hmap_buckets), 16);
	assert_int_equal(kb_off(&l, KB_F_maptype_bucket), 64);

	origin = choose(26, 8, "goroutineleakprofile", &l);
	assert_int_equal(origin.nexperiments, 0);
	assert_string_equal(origin.text, "table go1.26.8");
	/* A name that only begins like one of them. */
	origin = choose(26, 8, "nogreenteagcx,nogreentea", &l);
	assert_int_equal(origin.nexperiments, 0);

	choose(22, 12, "noallocheaders", &l);
	assert_int_equal(kb_fsize(&l, KB_F_heapArena_bitmap), 1048576);
	assert_int_equal(kb_off(&l, KB_F_heapArena_spans), 1064960);
	choose(24, 9, "nosynchashtriemap", &l);
	assert_true(kb_has(&l, KB_F_syncmap_dirty));
	assert_false(kb_has(&l, KB_F_syncmap_m));
	/* The row of an experiment is of one patch release; what else changed between the two stays as it was. */
	choose(24, 0, "noswissmap", &l);
	assert_int_equal(kb_off(&l, KB_F_hmap_buckets), 16);
	assert_false(kb_has(&l, KB_F_m_allpSnapshot));
}

static void test_too_old_and_too_new(void **state)
{
	kb_layout l, newest;
	kb_layout_origin origin;
	kb_error *err;

	(void)state;
	err = kb_layout_choose(18, 10, "", &l, &origin);
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_UNSUPPORTED);
	assert_non_null(strstr(err->message, "go1.18.10"));
	assert_non_null(err->remedy);
	kb_error_free(err);
	assert_error(kb_layout_choose(0, 0, NULL, &l, &origin), KB_E_UNSUPPORTED);
	assert_error(kb_layout_choose(-5, 0, NULL, &l, &origin), KB_E_UNSUPPORTED);

	origin = choose(1000, 3, "", &l);
	assert_true(origin.guessed);
	assert_false(origin.exact);
	assert_non_null(strstr(origin.text, "newest known"));
	choose(origin.minor, origin.patch, "", &newest);
	assert_memory_equal(l.off, newest.off, sizeof(l.off));
}

static void test_wait_reasons(void **state)
{
	kb_layout l;

	(void)state;
	choose(19, 0, "", &l);
	assert_string_equal(kb_waitreason(&l, 15), "chan send");
	assert_string_equal(kb_waitreason(&l, 18), "semacquire");
	assert_null(kb_waitreason(&l, 200));
	assert_null(kb_waitreason(&l, UINT32_MAX));
	choose(27, 1, "", &l);
	assert_string_equal(kb_waitreason(&l, 20), "chan send");
	assert_string_equal(kb_waitreason(&l, (uint32_t)kb_const(&l, KB_C_WaitWaitGroup)), "sync.WaitGroup.Wait");
	/* 1.23 got one more within the minor. */
	choose(23, 0, "", &l);
	uint32_t n = l.nwaitreasons;
	assert_null(kb_waitreason(&l, n));
	choose(23, 12, "", &l);
	assert_int_equal(l.nwaitreasons, n + 1);
	assert_string_equal(kb_waitreason(&l, n), "GC weak to strong wait");
}

/* ---- DWARF ---- */

static void test_no_dwarf(void **state)
{
	kb_layout l, before;
	kb_layout_origin origin = choose(26, 8, "", &l);

	(void)state;
	before = l;
	fake_present = false;
	assert_ok(layout_from_fake_dwarf(&l, NULL, &origin));
	assert_memory_equal(&l, &before, sizeof(l));
	assert_string_equal(origin.text, "table go1.26.8");
}

static void test_dwarf_confirms_changes_removes(void **state)
{
	/* mspan moved by 8; largeType is gone (some versions lack it), state too (none does: kept). */
	static const struct fake_field dwarf[] = {
		{ "runtime.mspan", NULL, 0, 168 },
		{ "runtime.mspan", "next", 0, 8 },
		{ "runtime.mspan", "startAddr", 32, 8 },
		{ "runtime.mspan", "elemsize", 112, 4 },
	};
	kb_layout l;
	kb_layout_origin origin = choose(26, 8, "", &l);
	uint32_t state_off = kb_off(&l, KB_F_mspan_state);

	(void)state;
	set_fake(dwarf, KB_ARRAY_LEN(dwarf));
	assert_ok(layout_from_fake_dwarf(&l, NULL, &origin));
	assert_int_equal(kb_sizeof(&l, KB_S_mspan), 168);
	assert_int_equal(kb_off(&l, KB_F_mspan_startAddr), 32);
	assert_int_equal(kb_fsize(&l, KB_F_mspan_elemsize), 4);
	assert_false(kb_has(&l, KB_F_mspan_largeType));
	assert_int_equal(kb_off(&l, KB_F_mspan_state), state_off);
	assert_int_equal(origin.dwarf_confirmed, 1);
	assert_true(origin.dwarf_changed > 3);
	assert_true(origin.dwarf_missing > 5);
	assert_int_equal(origin.dwarf_rejected, 0);
	/* Structs that DWARF does not have stay. */
	assert_int_equal(kb_sizeof(&l, KB_S_hchan), 112);
	assert_string_equal(origin.text, "DWARF of the executable");
}

static void test_dwarf_adds(void **state)
{
	static const struct fake_field dwarf[] = {
		{ "runtime.mspan", NULL, 0, 144 },
		{ "runtime.mspan", "freeIndexForScan", 136, 8 },
	};
	kb_layout l;
	kb_layout_origin origin = choose(19, 0, "", &l);

	(void)state;
	assert_false(kb_has(&l, KB_F_mspan_freeIndexForScan));
	set_fake(dwarf, KB_ARRAY_LEN(dwarf));
	assert_ok(layout_from_fake_dwarf(&l, NULL, &origin));
	assert_int_equal(kb_off(&l, KB_F_mspan_freeIndexForScan), 136);
}

static void test_dwarf_alternates(void **state)
{
	/* Both forms of map types are there: the one of the table's row counts, not the first of the list. A nested
	 * path. */
	static const struct fake_field dwarf[] = {
		{ "internal/abi.OldMapType", NULL, 0, 88 },
		{ "internal/abi.OldMapType", "Bucket", 64, 8 },
		{ "internal/abi.SwissMapType", NULL, 0, 112 },
		{ "internal/abi.SwissMapType", "Group", 72, 8 },
		{ "sync.Mutex", NULL, 0, 8 },
		{ "sync.Mutex", "mu.state", 4, 4 },
	};
	kb_layout l;
	kb_layout_origin origin = choose(24, 9, "", &l);

	(void)state;
	set_fake(dwarf, KB_ARRAY_LEN(dwarf));
	assert_ok(layout_from_fake_dwarf(&l, NULL, &origin));
	assert_int_equal(kb_off(&l, KB_F_maptype_group), 72);
	assert_false(kb_has(&l, KB_F_maptype_bucket));
	assert_int_equal(kb_sizeof(&l, KB_S_maptype), 112);
	assert_int_equal(kb_off(&l, KB_F_Mutex_state), 4);
	origin = choose(24, 9, "noswissmap", &l);
	assert_ok(layout_from_fake_dwarf(&l, NULL, &origin));
	assert_int_equal(kb_off(&l, KB_F_maptype_bucket), 64);
	assert_int_equal(kb_sizeof(&l, KB_S_maptype), 88);
}

static void test_dwarf_impossible(void **state)
{
	static const struct fake_field dwarf[] = {
		{ "runtime.hchan", NULL, 0, UINT32_MAX }, /* too large: the whole struct is not believed */
		{ "runtime.hchan", "buf", 48, 8 },           { "runtime.g", NULL, 0, 456 },
		{ "runtime.g", "goid", UINT32_MAX, 8 },      { "runtime.g", "gopc", 450, 8 },
		{ "runtime.g", "startpc", 448, UINT32_MAX }, { "runtime.sudog", NULL, 0, 0 },
		{ "runtime.sudog", "next", 64, 8 },
	};
	kb_layout l;
	kb_layout_origin origin = choose(27, 1, "", &l);

	(void)state;
	set_fake(dwarf, KB_ARRAY_LEN(dwarf));
	assert_ok(layout_from_fake_dwarf(&l, NULL, &origin));
	assert_int_equal(origin.dwarf_rejected, 3);
	assert_int_equal(kb_off(&l, KB_F_g_goid), 152);
	assert_int_equal(kb_off(&l, KB_F_g_gopc), 288);
	assert_int_equal(kb_off(&l, KB_F_hchan_buf), 16);
	assert_int_equal(kb_off(&l, KB_F_sudog_next), 8);
}

static bool from_dwarf_once(void)
{
	static const struct fake_field dwarf[] = {
		{ "runtime.mspan", NULL, 0, 160 },
		{ "runtime.mspan", "next", 0, 8 },
	};
	kb_layout l;
	kb_layout_origin origin;
	kb_error *err = kb_layout_choose(27, 1, "", &l, &origin);

	set_fake(dwarf, KB_ARRAY_LEN(dwarf));
	if (!err)
		err = layout_from_fake_dwarf(&l, NULL, &origin);
	if (err) {
		assert_int_equal(err->code, KB_E_NOMEM);
		/* What failed has changed nothing. */
		assert_int_equal(kb_off(&l, KB_F_mspan_startAddr), 24);
	}
	kb_error_free(err);
	return !err;
}

static void test_out_of_memory(void **state)
{
	(void)state;
	kb_test_each_allocation_failing(from_dwarf_once);
}

/* The definition itself: every name and path is one, and no id was given two meanings. */
static void test_names(void **state)
{
	(void)state;
	for (size_t s = 0; s < KB_S_COUNT; s++) {
		assert_true(strlen(kb_struct_name(s)) > 0);
		assert_non_null(strchr(kb_struct_alternates(s), '.'));
	}
	for (size_t f = 0; f < KB_F_COUNT; f++)
		assert_true(strlen(kb_field_name(f)) > 0 && strlen(kb_field_alternates(f)) > 0);
	for (size_t c = 0; c < KB_C_COUNT; c++)
		assert_true(strlen(kb_const_name(c)) > 0);
	assert_true(kb_field_required(KB_F_mspan_startAddr));
	assert_false(kb_field_required(KB_F_mspan_largeType));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_numbers),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_every_minor_is_whole),
		cmocka_unit_test(test_patch_boundaries),
		cmocka_unit_test(test_experiments),
		cmocka_unit_test(test_too_old_and_too_new),
		cmocka_unit_test(test_wait_reasons),
		cmocka_unit_test(test_no_dwarf),
		cmocka_unit_test(test_dwarf_confirms_changes_removes),
		cmocka_unit_test(test_dwarf_adds),
		cmocka_unit_test(test_dwarf_alternates),
		cmocka_unit_test(test_dwarf_impossible),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
