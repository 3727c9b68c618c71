/* Why a process cannot be read, for kernels and containers that are not at hand; and /proc's texts. */
#include "kb_test.h"

#include <errno.h>
#include <unistd.h>

#include "target/private.h"

#define CAP_SYS_PTRACE (1ull << 19)

/* An ordinary user, a process of the same user, nothing in the way; every case changes one thing. */
static struct kb_access_facts refused(void)
{
	struct kb_access_facts f = { .pid = 42,
				     .yama = 0,
				     .mem_errno = EACCES,
				     .readv_errno = EPERM,
				     .ptrace_errno = EIO,
				     .same_userns = true,
				     .userns_known = true,
				     .self_userns_initial = true };
	f.self = f.target = (struct kb_status){
		.ruid = 1000, .euid = 1000, .suid = 1000, .rgid = 1000, .egid = 1000, .sgid = 1000, .seccomp = 0
	};
	f.proc_owner = 1000;
	return f;
}

static void assert_says(const struct kb_access_facts *f, const char *why, const char *remedy)
{
	kb_error *err = kb_access_diagnose(f);
	assert_non_null(err);
	assert_int_equal(err->code, KB_E_PERMISSION);
	assert_non_null(err->remedy);
	if (!strstr(err->message, why))
		fail_msg("'%s' does not say '%s'", err->message, why);
	if (!strstr(err->remedy, remedy))
		fail_msg("'%s' does not say '%s'", err->remedy, remedy);
	kb_error_free(err);
}

static void test_nothing_in_the_way(void **state)
{
	struct kb_access_facts f = refused();

	(void)state;
	f.mem_opens = true;
	f.mem_errno = 0;
	assert_ok(kb_access_diagnose(&f));
	f.readv_errno = EPERM; /* /proc/PID/mem will do */
	assert_ok(kb_access_diagnose(&f));
}

static void test_our_own_filter(void **state)
{
	struct kb_access_facts f = refused();

	(void)state;
	f.mem_opens = true;
	f.ptrace_errno = EPERM;
	f.self.euid = 0;
	assert_says(&f, "seccomp", "SYS_PTRACE");
	f.ptrace_errno = f.readv_errno = ENOSYS;
	assert_says(&f, "no ptrace", "sandbox");
}

static void test_another_user(void **state)
{
	struct kb_access_facts f = refused();

	(void)state;
	f.target.ruid = f.target.euid = f.target.suid = f.proc_owner = 33;
	assert_says(&f, "uid 33", "sudo");
	f.self.ruid = f.self.euid = 0; /* root in a container without the capability */
	assert_says(&f, "CAP_SYS_PTRACE", "--cap-add SYS_PTRACE");
	assert_says(&f, "CAP_SYS_PTRACE", "kubectl debug --profile=general");
	f = refused();
	f.target.egid = f.target.rgid = f.target.sgid = 77;
	assert_says(&f, "group 77", "sudo");
	f = refused();
	f.target.euid = f.target.suid = 0;
	assert_says(&f, "set-user-ID", "sudo");
}

static void test_same_user(void **state)
{
	struct kb_access_facts f = refused();

	(void)state;
	f.proc_owner = 0;
	assert_says(&f, "not dumpable", "root");
	f = refused();
	f.target.cap_prm = 1u << 10;
	assert_says(&f, "capabilities", "setcap");
	f = refused();
	f.yama = 1;
	assert_says(&f, "ptrace_scope = 1", "kernel.yama.ptrace_scope=0");
	f.yama = 2;
	assert_says(&f, "ptrace_scope = 2", "root");
	f.yama = 3;
	assert_says(&f, "ptrace_scope = 3", "reboot");
	f = refused();
	f.same_userns = false;
	assert_says(&f, "user namespace", "root");
	f.userns_known = false;
	assert_says(&f, "SELinux", "root");
}

static void test_refused_with_the_capability(void **state)
{
	struct kb_access_facts f = refused();

	(void)state;
	f.self.euid = f.self.ruid = 0;
	f.self.cap_eff = f.self.cap_prm = CAP_SYS_PTRACE;
	assert_says(&f, "security module", "audit");
	f.self_userns_initial = false;
	assert_says(&f, "user namespace", "nsenter");
	f.self_userns_initial = true;
	f.yama = 2; /* not it: the capability is enough for Yama 2 */
	assert_says(&f, "security module", "audit");
	f.yama = 3;
	assert_says(&f, "ptrace_scope = 3", "reboot");
}

static void test_check_of_real_processes(void **state)
{
	(void)state;
	assert_ok(kb_target_check_access(getpid()));
	assert_error(kb_target_check_access(0x7ffffffe), KB_E_NOT_FOUND);
}

/* ---- maps ------------------------------------------------------------------------------------------------------ */

static struct kb_maps parsed(const char *text)
{
	struct kb_maps m = { 0 };
	assert_ok(kb_maps_parse(text, strlen(text), &m));
	return m;
}

static void test_maps_lines(void **state)
{
	struct kb_maps m =
		parsed("00400000-0049f000 r-xp 00000000 fe:00 1234                       /srv/a b (deleted)\n"
		       "0049f000-0057a000 r--p 0009f000 fe:00 1234                       /srv/a b (deleted)\n"
		       "c000000000-c000400000 rw-p 00000000 00:00 0 \n"
		       "7f0000000000-7f0000001000 rw-s 00001000 00:05 99 /memfd:x\\012y\n"
		       "7ffd1446d000-7ffd1448e000 ---p 00000000 00:00 0                          [stack]\n"
		       "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]");

	(void)state;
	assert_int_equal(m.n, 6);
	assert_true(m.v[0].start == 0x400000 && m.v[0].end == 0x49f000 && m.v[0].inode == 1234 && m.v[0].deleted);
	assert_string_equal(m.v[0].path, "/srv/a b");
	assert_int_equal(m.v[0].perms, KB_PERM_R | KB_PERM_X);
	assert_true(m.v[1].file_offset == 0x9f000 && !strcmp(m.v[1].path, "/srv/a b"));
	assert_string_equal(m.v[2].path, "");
	assert_int_equal(m.v[3].perms, KB_PERM_R | KB_PERM_W | KB_PERM_SHARED);
	assert_string_equal(m.v[3].path, "/memfd:x\ny");
	assert_true(m.v[4].perms == 0 && !strcmp(m.v[4].path, "[stack]"));
	assert_ptr_equal(kb_maps_at(&m, 0x49efff), &m.v[0]);
	assert_ptr_equal(kb_maps_at(&m, 0x49f000), &m.v[1]);
	assert_null(kb_maps_at(&m, 0x57a000));
	assert_null(kb_maps_at(&m, 0));
	assert_null(kb_maps_at(&m, KB_ADDR_MAX));
	assert_ptr_equal(kb_maps_at(&m, 0xffffffffff600fff), &m.v[5]);
	kb_maps_free(&m);
}

static void test_maps_that_are_no_maps(void **state)
{
	static const char *const bad[] = { "x\n",
					   "\n",
					   "1000-2000\n",
					   "1000-2000 r-xp 0 fe:00\n",
					   "2000-1000 r-xp 0 0:0 0 \n",
					   "10000000000000000-2 rw-p 0 0:0 0\n",
					   "1000-2000 rw 0 0:0 0\n" };
	struct kb_maps m = { 0 };

	(void)state;
	for (size_t i = 0; i < KB_ARRAY_LEN(bad); i++)
		assert_error(kb_maps_parse(bad[i], strlen(bad[i]), &m), KB_E_CORRUPT);
	/* Lines that overlap come from a map that changed while it was read: the first counts. */
	m = parsed("1000-3000 rw-p 0 0:0 0 \n2000-4000 rw-p 0 0:0 0 \n3000-5000 r--p 0 0:0 0 \n");
	assert_true(m.n == 2 && m.v[1].start == 0x3000);
	kb_maps_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_in_the_way),
		cmocka_unit_test(test_our_own_filter),
		cmocka_unit_test(test_another_user),
		cmocka_unit_test(test_same_user),
		cmocka_unit_test(test_refused_with_the_capability),
		cmocka_unit_test(test_check_of_real_processes),
		cmocka_unit_test(test_maps_lines),
		cmocka_unit_test(test_maps_that_are_no_maps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
