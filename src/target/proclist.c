/* The list of processes: one that vanishes meanwhile is left out, never an error. */
#include "private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KB_MAX_PROCESSES 4194304u /* PID_MAX_LIMIT */
#define KB_PF_KTHREAD 0x00200000u /* linux/sched.h */

/* The phrase after "may not be read: ", which for one line of a list is enough. */
static char *phrase(const char *message)
{
	static const char mark[] = "may not be read: ";
	const char *at = strstr(message, mark);
	return strdup(at ? at + sizeof mark - 1 : message);
}

static kb_error *fill(pid_t pid, int dirfd, kb_process *p, bool *ret_wanted)
{
	struct kb_stat st;
	struct stat owner;
	long page = sysconf(_SC_PAGESIZE);

	KB_TRY(kb_proc_stat(dirfd, "stat", &st));
	if (st.flags & KB_PF_KTHREAD || st.state == 'Z' || st.state == 'X')
		return NULL;
	*p = (kb_process){ .pid = pid, .age_seconds = kb_age_seconds(st.start_ticks) };
	p->rss = st.rss_pages * (uint64_t)(page > 0 ? page : 4096);
	p->uid = fstat(dirfd, &owner) ? (uid_t)-1 : owner.st_uid;
	p->exe = kb_proc_link(dirfd, "exe", &p->deleted);
	if (!p->exe && errno == ENOENT)
		return NULL;
	kb_error *err = kb_access_check_dir(pid, dirfd);
	p->readable = !err;
	if (err && err->code == KB_E_PERMISSION)
		p->why_not = phrase(err->message);
	*ret_wanted = !err || err->code == KB_E_PERMISSION;
	kb_error_free(err);
	return NULL;
}

static void free_one(kb_process *p)
{
	free(p->exe);
	free(p->why_not);
}

void kb_process_list_free(kb_process *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free_one(&list[i]);
	free(list);
}

static int by_pid(const void *a, const void *b)
{
	pid_t x = ((const kb_process *)a)->pid, y = ((const kb_process *)b)->pid;
	return (x > y) - (x < y);
}

static kb_error *add(pid_t pid, kb_process **list, size_t *n, size_t *cap)
{
	bool wanted = false;
	KB_CLOSE int dirfd = -1;
	kb_process p = { 0 };
	kb_error *err = kb_proc_open(pid, &dirfd);
	if (!err)
		err = fill(pid, dirfd, &p, &wanted);
	kb_error_free(err);
	if (!wanted) {
		free_one(&p);
		return NULL;
	}
	if (!KB_ROOM(*list, *n, *cap, KB_MAX_PROCESSES)) {
		free_one(&p);
		return kb_error_nomem();
	}
	(*list)[(*n)++] = p;
	return NULL;
}

kb_error *kb_process_list(kb_process **ret, size_t *ret_n)
{
	kb_process *list = NULL;
	size_t n = 0, cap = 0;
	kb_error *err = NULL;

	DIR *dir = opendir("/proc");
	if (!dir)
		return kb_error_errno(errno, "cannot list /proc");
	for (struct dirent *d; !err && (d = readdir(dir));)
		if (d->d_name[0] >= '1' && d->d_name[0] <= '9')
			err = add((pid_t)strtol(d->d_name, NULL, 10), &list, &n, &cap);
	closedir(dir);
	if (err) {
		kb_process_list_free(list, n);
		return err;
	}
	if (n)
		qsort(list, n, sizeof *list, by_pid);
	*ret = list;
	*ret_n = n;
	return NULL;
}
