/* cli: the command line. Options and commands are tables, from which parsing, help and the man page come. */
#ifndef KB_CLI_H
#define KB_CLI_H

#include "report/report.h"

enum kb_exit { KB_EXIT_OK = 0, KB_EXIT_FINDINGS = 1, KB_EXIT_USAGE = 2, KB_EXIT_TARGET = 3, KB_EXIT_PARTIAL = 4 };

/* What the command line said. */
typedef struct kb_options {
	const char *core, *exe, *output, *fail_on, *color, *by;
	enum kb_format format;
	bool force, exact, quiet, help, version;
	unsigned max_pause_ms;   /* 0: default */
	double time_limit;       /* seconds, 0 none */
	uint64_t min_bytes;      /* 0: default */
	size_t limit;            /* 0: default */
	const char *args[4];     /* positional, the command's name not among them */
	size_t nargs;
} kb_options;

typedef struct kb_command {
	const char *name, *args, *help;
	int (*run)(const kb_options *opt);
	bool hidden;
} kb_command;
/* Ends with a NULL name. */
extern const kb_command kb_commands[];

/* Parses; prints one line to stderr and returns KB_EXIT_USAGE when the words are wrong, -1 to go on. */
int kb_options_parse(int argc, char **argv, kb_options *ret, const kb_command **ret_command);
void kb_print_help(FILE *out);
void kb_print_man(FILE *out);

/* "keptby: message" and the remedy on stderr; frees err; the exit status that fits. */
int kb_fail(kb_error *err);
kb_style kb_style_for(const kb_options *opt, FILE *out);

/* A look at a target: opened, stopped for a moment, read, walked. */
typedef struct kb_session {
	kb_target *target;
	kb_go *go;
	kb_graph *graph;
	kb_rss rss;
	bool have_rss;
	kb_facts facts;
	kb_findings findings;
	kb_look look;
	char warning[256];
} kb_session;
/* target: the PID, or with --core the executable (may be NULL). Opens and takes the snapshot only. */
kb_error *kb_session_open(kb_session *s, const kb_options *opt, const char *target) KB_MUST_CHECK;
/* Reads the heap and walks it. */
kb_error *kb_session_read(kb_session *s, const kb_options *opt) KB_MUST_CHECK;
void kb_session_close(kb_session *s);
/* The positional argument that names the target, NULL when it was left out; *ret_rest the one behind it. extra: how many the command takes
 * besides the target. */
const char *kb_target_arg(const kb_options *opt, size_t extra, const char **ret_rest);

/* Where results go: stdout, or a file that appears whole or not at all and never replaces one without --force. */
typedef struct kb_output {
	FILE *f;
	const char *path;
	bool force, linked;
	char temp[4096];
} kb_output;
kb_error *kb_output_open(kb_output *o, const char *path, bool force, bool binary) KB_MUST_CHECK;
kb_error *kb_output_finish(kb_output *o) KB_MUST_CHECK;
void kb_output_abandon(kb_output *o);

int kb_cmd_debug(const kb_options *opt);
int kb_cmd_list(const kb_options *opt);
int kb_cmd_snapshot(const kb_options *opt);

#endif
