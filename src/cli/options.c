/* The one table of options: parsing, help and the man page come from it. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

enum { OPT_EXE = 256, OPT_FORMAT, OPT_JSON, OPT_COLOR, OPT_FAIL_ON, OPT_BY, OPT_LIMIT, OPT_MIN, OPT_EXACT, OPT_MAX_PAUSE, OPT_TIME_LIMIT, OPT_VERSION };

static const struct option_row {
	int key; /* a letter, or above 255 for long only */
	const char *name, *arg, *help;
} rows[] = {
	{ 'c', "core", "FILE", "read this core instead of a process" },
	{ OPT_EXE, "exe", "FILE", "the executable, when it cannot be had through /proc/PID/exe or the core" },
	{ OPT_FORMAT, "format", "FORM", "text (default), json, or pprof (gzip'd, for go tool pprof)" },
	{ OPT_JSON, "json", NULL, "short for --format json" },
	{ 'o', "output", "FILE", "write to FILE; an existing file is never replaced without -f" },
	{ 'f', "force", NULL, "let -o replace an existing file" },
	{ OPT_COLOR, "color", "WHEN", "auto (default), always, never; NO_COLOR and CLICOLOR_FORCE are honoured" },
	{ OPT_FAIL_ON, "fail-on", "LEVEL", "exit with 1 when there is a finding at or above proven, likely or suspect" },
	{ OPT_BY, "by", "WHAT", "top: holder (default), type or goroutine" },
	{ OPT_LIMIT, "limit", "N", "top, why: at most N lines or paths" },
	{ OPT_MIN, "min", "SIZE", "smallest holder worth a finding (16MiB, 500k); default: 8 MiB and 10 % of the live heap" },
	{ OPT_EXACT, "exact", NULL, "keep the target stopped until the whole heap is read: consistent, and slower for the target" },
	{ OPT_MAX_PAUSE, "max-pause", "MS", "give up when the threads do not stop within MS milliseconds (default 1000)" },
	{ OPT_TIME_LIMIT, "time-limit", "SECONDS", "stop reading the heap after this time, and tell what is known by then (exit 4)" },
	{ 'q', "quiet", NULL, "no progress, no warnings" },
	{ 'h', "help", NULL, "this text" },
	{ OPT_VERSION, "version", NULL, "the version" },
};

static bool parse_size(const char *s, uint64_t *ret)
{
	static const struct {
		const char *suffix;
		unsigned shift;
	} units[] = { { "", 0 }, { "B", 0 }, { "k", 10 }, { "K", 10 }, { "KiB", 10 }, { "M", 20 }, { "m", 20 }, { "MiB", 20 }, { "G", 30 }, { "g", 30 }, { "GiB", 30 } };
	char *end;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (end == s || errno || s[0] == '-')
		return false;
	for (size_t i = 0; i < KB_ARRAY_LEN(units); i++)
		if (strcmp(end, units[i].suffix) == 0 && v <= UINT64_MAX >> 30) {
			*ret = (uint64_t)v << units[i].shift;
			return true;
		}
	return false;
}

static bool parse_number(const char *s, uint64_t max, uint64_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (end == s || *end || errno || s[0] == '-' || v > max)
		return false;
	*ret = v;
	return true;
}

static bool one_of(const char *value, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(value, *words) == 0)
			return true;
	return false;
}

static int wrong_value(const char *option, const char *value, const char *expected)
{
	fprintf(stderr, "keptby: --%s does not take '%s': %s\n", option, value, expected);
	return KB_EXIT_USAGE;
}

static int set_format(kb_options *o, const char *v)
{
	if (strcmp(v, "text") == 0)
		o->format = KB_FORMAT_TEXT;
	else if (strcmp(v, "json") == 0)
		o->format = KB_FORMAT_JSON;
	else if (strcmp(v, "pprof") == 0)
		o->format = KB_FORMAT_PPROF;
	else
		return wrong_value("format", v, "text, json or pprof");
	return -1;
}

static int set_numbers(kb_options *o, int key, const char *v)
{
	uint64_t n;
	char *end;
	if (key == OPT_TIME_LIMIT) {
		o->time_limit = strtod(v, &end);
		return end != v && !*end && o->time_limit > 0 && o->time_limit < 1e9 ? -1 : wrong_value("time-limit", v, "a number of seconds above 0");
	}
	if (key == OPT_MIN) {
		if (!parse_size(v, &o->min_bytes) || !o->min_bytes)
			return wrong_value("min", v, "a size above 0 such as 500k or 16MiB");
		return -1;
	}
	if (!parse_number(v, 1000000, &n) || !n)
		return wrong_value(key == OPT_LIMIT ? "limit" : "max-pause", v, "a whole number from 1 to 1000000");
	if (key == OPT_LIMIT)
		o->limit = n;
	else
		o->max_pause_ms = (unsigned)n;
	return -1;
}

static int set_words(kb_options *o, int key, const char *v)
{
	static const char *const levels[] = { "proven", "likely", "suspect", NULL }, *const whens[] = { "auto", "always", "never", NULL },
				 *const bys[] = { "holder", "type", "goroutine", NULL };
	switch (key) {
	case OPT_FAIL_ON:
		o->fail_on = v;
		return one_of(v, levels) ? -1 : wrong_value("fail-on", v, "proven, likely or suspect");
	case OPT_COLOR:
		o->color = v;
		return one_of(v, whens) ? -1 : wrong_value("color", v, "auto, always or never");
	default:
		o->by = v;
		return one_of(v, bys) ? -1 : wrong_value("by", v, "holder, type or goroutine");
	}
}

static int set(kb_options *o, int key, const char *v)
{
	switch (key) {
	case 'c':
		o->core = v;
		break;
	case OPT_EXE:
		o->exe = v;
		break;
	case 'o':
		o->output = v;
		break;
	case 'f':
		o->force = true;
		break;
	case 'q':
		o->quiet = true;
		break;
	case 'h':
		o->help = true;
		break;
	case OPT_VERSION:
		o->version = true;
		break;
	case OPT_EXACT:
		o->exact = true;
		break;
	case OPT_JSON:
		o->format = KB_FORMAT_JSON;
		break;
	case OPT_FORMAT:
		return set_format(o, v);
	case OPT_FAIL_ON:
	case OPT_COLOR:
	case OPT_BY:
		return set_words(o, key, v);
	default:
		return set_numbers(o, key, v);
	}
	return -1;
}

static const kb_command *command_named(const char *name)
{
	for (const kb_command *c = kb_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int take_args(int argc, char **argv, kb_options *o, const kb_command **ret_command)
{
	const kb_command *named = optind < argc ? command_named(argv[optind]) : NULL;
	optind += named != NULL;
	for (; optind < argc; optind++) {
		if (o->nargs == KB_ARRAY_LEN(o->args)) {
			fprintf(stderr, "keptby: too many arguments: '%s' (see keptby --help)\n", argv[optind]);
			return KB_EXIT_USAGE;
		}
		o->args[o->nargs++] = argv[optind];
	}
	if (!named && o->nargs && !o->core && o->args[0][strspn(o->args[0], "0123456789")]) {
		fprintf(stderr, "keptby: there is no command '%s', and it is no PID (see keptby --help)\n", o->args[0]);
		return KB_EXIT_USAGE;
	}
	*ret_command = named ? named : command_named(o->nargs || o->core ? "doctor" : "list");
	return -1;
}

int kb_options_parse(int argc, char **argv, kb_options *o, const kb_command **ret_command)
{
	struct option longs[KB_ARRAY_LEN(rows) + 1] = { 0 };
	char shorts[2 * KB_ARRAY_LEN(rows) + 2] = ":";
	size_t n = 1;
	for (size_t i = 0; i < KB_ARRAY_LEN(rows); i++) {
		longs[i] = (struct option){ rows[i].name, rows[i].arg ? required_argument : no_argument, NULL, rows[i].key };
		if (rows[i].key > 255)
			continue;
		shorts[n++] = (char)rows[i].key;
		if (rows[i].arg)
			shorts[n++] = ':';
	}
	*o = (kb_options){ 0 };
	opterr = 0;
	for (int key; (key = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
		if (key == '?' || key == ':') {
			const char *word = argv[optind - 1];
			fprintf(stderr, "keptby: %s '%s' (see keptby --help)\n", key == ':' ? "a value is missing after" : "there is no option", word);
			return KB_EXIT_USAGE;
		}
		int rc = set(o, key, optarg);
		if (rc >= 0)
			return rc;
	}
	return take_args(argc, argv, o, ret_command);
}

static const char intro[] = "keptby looks at a running Go process, or its core, from outside, and says who keeps its memory.\n"
			    "No restart, no rebuild, no endpoint, no debug information needed.\n";

void kb_print_help(FILE *out)
{
	fprintf(out, "%s\nUsage:\n", intro);
	for (const kb_command *c = kb_commands; c->name; c++)
		if (!c->hidden)
			fprintf(out, "  keptby %-8s %-28s %s\n", c->name, c->args, c->help);
	fputs("\n  'keptby' alone is 'keptby list', 'keptby PID' is 'keptby doctor PID'; EXE -c CORE stands wherever PID does.\n\nOptions:\n", out);
	for (size_t i = 0; i < KB_ARRAY_LEN(rows); i++) {
		char left[48];
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "", rows[i].arg ? rows[i].arg : "");
		if (rows[i].key < 256)
			fprintf(out, "  -%c, %-22s %s\n", rows[i].key, left, rows[i].help);
		else
			fprintf(out, "      %-22s %s\n", left, rows[i].help);
	}
	fputs("\nExit status: 0 done; 1 findings at or above --fail-on; 2 usage; 3 the target cannot be read or understood;\n"
	      "4 a partial answer (cut core, time limit), which is still printed.\n",
	      out);
}

void kb_print_man(FILE *out)
{
	fprintf(out, ".TH KEPTBY 1 \"\" \"keptby %s\" \"User Commands\"\n.SH NAME\nkeptby \\- says who keeps the memory of a Go process\n", KB_VERSION);
	fputs(".SH SYNOPSIS\n", out);
	for (const kb_command *c = kb_commands; c->name; c++)
		if (!c->hidden)
			fprintf(out, ".B keptby %s\n.RI %s\n.br\n", c->name, c->args[0] ? c->args : "\"\"");
	fprintf(out, ".SH DESCRIPTION\n%s.SH COMMANDS\n", intro);
	for (const kb_command *c = kb_commands; c->name; c++)
		if (!c->hidden)
			fprintf(out, ".TP\n.BI \"%s \" \"%s\"\n%s\n", c->name, c->args, c->help);
	fputs(".SH OPTIONS\n", out);
	for (size_t i = 0; i < KB_ARRAY_LEN(rows); i++) {
		fputs(".TP\n.B ", out);
		if (rows[i].key < 256)
			fprintf(out, "\\-%c, ", rows[i].key);
		fprintf(out, "\\-\\-%s%s%s\n%s\n", rows[i].name, rows[i].arg ? " " : "", rows[i].arg ? rows[i].arg : "", rows[i].help);
	}
	fputs(".SH WHAT THE TARGET FEELS\n"
	      "All threads are stopped by ptrace for a few milliseconds (the report says how long), whatever the size of the heap; nothing is written to\n"
	      "the target; pages of its files that are looked at may count as resident in it afterwards. If keptby is killed, the kernel detaches it and the target runs on. After any ptrace stop\n"
	      ".BR epoll_wait (2)\nand\n.BR recv (2)\nwith a timeout return EINTR, as with any debugger; Go's runtime retries, C code called through cgo may not.\n"
	      ".SH EXIT STATUS\n0 done; 1 findings at or above \\-\\-fail\\-on; 2 usage; 3 the target cannot be read or understood; 4 a partial answer, which is\n"
	      "still printed.\n.SH ENVIRONMENT\n.B NO_COLOR, CLICOLOR_FORCE\n",
	      out);
}
