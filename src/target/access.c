/* May we read this process, and if not: which of the kernel's many gates is shut, and what opens it.
 *
 * The order is that of the kernel (kernel/ptrace.c __ptrace_may_access, security/commoncap.c,
 * security/yama/yama_lsm.c): same user ids or CAP_SYS_PTRACE; dumpable or CAP_SYS_PTRACE; no more capabilities than
 * we have, or CAP_SYS_PTRACE; Yama. A seccomp filter on our own process stands before all of them. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <unistd.h>

#define KB_CAP_SYS_PTRACE (1ull << 19)

static const char in_container[] =
	"in a container: docker run --cap-add SYS_PTRACE --pid container:NAME, or kubectl debug --profile=general "
	"--target=CONTAINER";

static kb_error *refused(const struct kb_access_facts *f, const char *why)
{
	return kb_error_new(KB_E_PERMISSION, "process %d (%s) may not be read: %s", (int)f->pid, f->target.name, why);
}

static kb_error *by_filter(const struct kb_access_facts *f)
{
	return kb_error_remedy(
		refused(f, f->readv_errno == ENOSYS || f->ptrace_errno == ENOSYS
				   ? "this kernel or sandbox has no ptrace or process_vm_readv"
				   : "a seccomp filter on keptby's own process forbids ptrace or process_vm_readv"),
		"start keptby outside this sandbox, or with a filter that allows both (docker run "
		"--cap-add SYS_PTRACE allows them; so does --security-opt seccomp=unconfined)");
}

static kb_error *by_uid(const struct kb_access_facts *f)
{
	char why[160];
	const struct kb_status *t = &f->target;
	bool mixed = t->ruid != t->euid || t->euid != t->suid || t->rgid != t->egid || t->egid != t->sgid;
	if (mixed && f->self.ruid == t->ruid)
		snprintf(why, sizeof why,
			 "it changed its user or group ids (set-user-ID?), and keptby lacks CAP_SYS_PTRACE");
	else if (f->self.ruid == t->euid && f->self.rgid != t->egid)
		snprintf(why, sizeof why, "it runs with group %u, keptby with group %u and without CAP_SYS_PTRACE",
			 t->egid, f->self.rgid);
	else
		snprintf(why, sizeof why, "it belongs to uid %u, keptby runs as uid %u without CAP_SYS_PTRACE", t->euid,
			 f->self.ruid);
	if (f->self.euid == 0)
		return kb_error_remedy(refused(f, why), "%s", in_container);
	return kb_error_remedy(refused(f, why), "run keptby as root (sudo keptby …)%s",
			       mixed ? "" : ", or as the user the process belongs to");
}

static kb_error *by_capability(const struct kb_access_facts *f, const char *why)
{
	if (f->self.euid == 0)
		return kb_error_remedy(refused(f, why), "%s", in_container);
	return kb_error_remedy(refused(f, why),
			       "run keptby as root, or give it the capability: setcap cap_sys_ptrace+ep "
			       "$(command -v keptby)");
}

static kb_error *by_yama(const struct kb_access_facts *f)
{
	char why[128];
	snprintf(why, sizeof why, "Yama forbids it (kernel.yama.ptrace_scope = %d%s)", f->yama,
		 f->yama == 1   ? ": only a parent may trace"
		 : f->yama == 2 ? ": only with CAP_SYS_PTRACE"
				: ": nobody may");
	if (f->yama >= 3)
		return kb_error_remedy(refused(f, why),
				       "this setting can be changed only by a reboot with another "
				       "kernel.yama.ptrace_scope; a core works without it (GOTRACEBACK=crash)");
	return kb_error_remedy(refused(f, why), "run keptby as root (or with CAP_SYS_PTRACE), or: sysctl -w "
						"kernel.yama.ptrace_scope=0");
}

static bool ids_match(const struct kb_access_facts *f)
{
	const struct kb_status *s = &f->self, *t = &f->target;
	return s->ruid == t->euid && s->ruid == t->suid && s->ruid == t->ruid && s->rgid == t->egid &&
	       s->rgid == t->sgid && s->rgid == t->rgid;
}

static kb_error *without_capability(const struct kb_access_facts *f)
{
	if (!ids_match(f))
		return by_uid(f);
	if (f->proc_owner != f->target.euid)
		return by_capability(
			f, "it is not dumpable (prctl PR_SET_DUMPABLE, or an executable that its user may not "
			   "read), and keptby lacks CAP_SYS_PTRACE");
	if (f->target.cap_prm & ~f->self.cap_prm)
		return by_capability(
			f, "it has capabilities that keptby has not (CapPrm), and keptby lacks CAP_SYS_PTRACE");
	if (f->yama >= 1)
		return by_yama(f);
	if (f->userns_known && !f->same_userns)
		return by_capability(f, "it lives in another user namespace");
	return by_capability(f,
			     "it may be not dumpable (prctl PR_SET_DUMPABLE), or a security module (SELinux, AppArmor) "
			     "forbids it; keptby lacks CAP_SYS_PTRACE");
}

static kb_error *despite_capability(const struct kb_access_facts *f)
{
	if (f->yama >= 3)
		return by_yama(f);
	if (!f->self_userns_initial || (f->userns_known && !f->same_userns))
		return kb_error_remedy(
			refused(f, "it lives in another user namespace, where keptby's CAP_SYS_PTRACE does not count"),
			"run keptby as root of the host, or inside the process's own user namespace (nsenter -U)");
	return kb_error_remedy(
		refused(f, "a security module (SELinux, AppArmor) forbids it, although keptby has CAP_SYS_PTRACE"),
		"look for the denial in the audit log (ausearch -m avc, or dmesg), and allow ptrace there");
}

static bool denied(int err)
{
	return err == EPERM || err == EACCES;
}

kb_error *kb_access_diagnose(const struct kb_access_facts *f)
{
	/* Reading is possible by /proc/PID/mem alone; stopping needs ptrace. */
	if (f->mem_opens && f->ptrace_errno != EPERM && f->ptrace_errno != ENOSYS)
		return NULL;
	if (f->mem_opens)
		return by_filter(f);
	if (!denied(f->mem_errno))
		return kb_error_errno(f->mem_errno, "cannot open the memory of process %d", (int)f->pid);
	if (f->self.cap_eff & KB_CAP_SYS_PTRACE)
		return despite_capability(f);
	return without_capability(f);
}

/* ---- gathering ------------------------------------------------------------------------------------------------- */

static int read_yama(void)
{
	kb_str text = { 0 };
	kb_error *err = kb_proc_slurp(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 64, &text);
	int v = err ? -1 : (int)strtol(text.s, NULL, 10);
	kb_error_free(err);
	kb_str_free(&text);
	return v;
}

/* A map of everything onto itself is the initial namespace's. */
static bool in_initial_userns(void)
{
	kb_str text = { 0 };
	unsigned long long inside = 0, outside = 0, n = 0;
	kb_error *err = kb_proc_slurp(AT_FDCWD, "/proc/self/uid_map", 4096, &text);
	bool initial = err || (sscanf(text.s, "%llu %llu %llu", &inside, &outside, &n) == 3 && !inside && !outside &&
			       n == 4294967295ull);
	kb_error_free(err);
	kb_str_free(&text);
	return initial;
}

static void gather_userns(int dirfd, struct kb_access_facts *f)
{
	KB_FREE char *mine = kb_proc_link(AT_FDCWD, "/proc/self/ns/user", NULL);
	KB_FREE char *its = kb_proc_link(dirfd, "ns/user", NULL);
	f->userns_known = mine && its;
	f->same_userns = f->userns_known && !strcmp(mine, its);
	f->self_userns_initial = in_initial_userns();
}

/* Calls that the kernel itself refuses with another number than a filter would, and that change nothing: an address
 * that is never mapped, and PTRACE_SEIZE with an argument that must be 0 (kernel/ptrace.c ptrace_attach: EIO). */
static void probe_calls(struct kb_access_facts *f)
{
	uint8_t byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)(uintptr_t)16, 1 };
	f->readv_errno = process_vm_readv(f->pid, &local, 1, &remote, 1, 0) < 0 ? errno : 0;
	f->ptrace_errno = ptrace(PTRACE_SEIZE, f->pid, (void *)1, 0) < 0 ? errno : 0;
}

static kb_error *gather(pid_t pid, int dirfd, struct kb_access_facts *f)
{
	struct stat st;
	KB_TRY(kb_proc_status(dirfd, "status", &f->target));
	KB_TRY(kb_proc_status(AT_FDCWD, "/proc/self/status", &f->self));
	f->yama = read_yama();
	/* Of a file in it: the directory itself always belongs to the process's user (fs/proc/base.c
	 * task_dump_owner). */
	f->proc_owner = fstatat(dirfd, "stat", &st, 0) ? f->target.euid : st.st_uid;
	f->pid = pid;
	gather_userns(dirfd, f);
	return NULL;
}

kb_error *kb_access_check_dir(pid_t pid, int dirfd)
{
	struct kb_access_facts f = { .pid = pid };
	KB_CLOSE int fd = openat(dirfd, "mem", O_RDONLY | O_CLOEXEC);
	f.mem_opens = fd >= 0;
	f.mem_errno = fd >= 0 ? 0 : errno;
	if (!f.mem_opens && (errno == ENOENT || errno == ESRCH))
		return kb_error_new(KB_E_NOT_FOUND, "process %d has ended", (int)pid);
	probe_calls(&f);
	if (f.mem_opens && f.ptrace_errno != EPERM && f.ptrace_errno != ENOSYS)
		return NULL; /* the usual case, without looking further */
	KB_TRY(gather(pid, dirfd, &f));
	return kb_access_diagnose(&f);
}

kb_error *kb_target_check_access(pid_t pid)
{
	KB_CLOSE int dirfd = -1;
	KB_TRY(kb_proc_open(pid, &dirfd));
	return kb_access_check_dir(pid, dirfd);
}
