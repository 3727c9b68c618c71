/* Results to stdout or to a file that appears whole or not at all. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* An unnamed file in the directory of path: if we die, nothing is left. -1 where the file system has no such files. */
static int unnamed_file(const char *path, bool binary)
{
	KB_FREE char *copy = strdup(path);
	/* A core holds all secrets of a process; a report is a file like others. */
	return copy ? open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, binary ? 0600 : 0666) : -1;
}

static kb_error *exists_error(const char *path)
{
	return kb_error_remedy(kb_error_new(KB_E_EXISTS, "%s exists already", path), "use -f to replace it, or another name");
}

kb_error *kb_output_open(kb_output *o, const char *path, bool force, bool binary)
{
	*o = (kb_output){ .path = path, .force = force };
	if (!path) {
		if (binary && isatty(STDOUT_FILENO))
			return kb_error_remedy(kb_error_new(KB_E_USAGE, "this format is binary and stdout is a terminal"), "use -o FILE, or a pipe");
		o->f = stdout;
		return NULL;
	}
	struct stat st;
	if (!force && lstat(path, &st) == 0)
		return exists_error(path);
	int fd = unnamed_file(path, binary);
	if (fd < 0) {
		snprintf(o->temp, sizeof(o->temp), "%s.XXXXXX", path);
		fd = mkostemp(o->temp, O_CLOEXEC);
	}
	if (fd < 0)
		return kb_error_errno(errno, "cannot create %s", path);
	o->f = fdopen(fd, "w+");
	if (!o->f) {
		close(fd);
		return kb_error_nomem();
	}
	return NULL;
}

/* Gives the unnamed file a name. */
static int give_name(kb_output *o)
{
	char self[64];
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(o->f));
	if (!o->force)
		return linkat(AT_FDCWD, self, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(o->temp, sizeof(o->temp), "%s.%d.%u", o->path, (int)getpid(), i);
		if (linkat(AT_FDCWD, self, AT_FDCWD, o->temp, AT_SYMLINK_FOLLOW) == 0)
			return rename(o->temp, o->path);
		if (errno != EEXIST)
			return -1;
	}
	return -1;
}

kb_error *kb_output_finish(kb_output *o)
{
	if (!o->path)
		return fflush(o->f) == 0 ? NULL : kb_error_errno(errno, "cannot write to stdout");
	int rc = fflush(o->f);
	if (rc == 0 && o->temp[0])
		rc = o->force ? rename(o->temp, o->path) : link(o->temp, o->path);
	else if (rc == 0)
		rc = give_name(o);
	int err = errno;
	if (rc == 0 && o->temp[0] && !o->force)
		unlink(o->temp);
	if (rc == 0)
		o->temp[0] = '\0';
	kb_output_abandon(o);
	return rc == 0 ? NULL : err == EEXIST ? exists_error(o->path) : kb_error_errno(err, "cannot write %s", o->path);
}

void kb_output_abandon(kb_output *o)
{
	if (!o->path || !o->f)
		return;
	if (o->temp[0])
		unlink(o->temp);
	fclose(o->f);
	o->f = NULL;
}
