/* report: findings, holders and paths as text, JSON and pprof. With cli the only place that prints. */
#ifndef KB_REPORT_H
#define KB_REPORT_H

#include "leaks/leaks.h"

#include <stdio.h>

enum kb_format { KB_FORMAT_TEXT, KB_FORMAT_JSON, KB_FORMAT_PPROF };

/* How text is written. */
typedef struct kb_style {
	bool color; /* ANSI colours; nothing is told by colour alone */
	bool utf8;  /* else plain ASCII */
	int width;  /* columns, 0 unlimited */
} kb_style;

typedef struct kb_look {
	const kb_facts *facts;
	const kb_findings *findings;
	uint64_t read_ns;      /* from opening to the last byte read */
	bool partial;          /* part of the target could not be read */
} kb_look;

/* doctor. */
kb_error *kb_report_text(FILE *out, const kb_look *look, const kb_style *style) KB_MUST_CHECK;
kb_error *kb_report_json(FILE *out, const kb_look *look) KB_MUST_CHECK;
/* A gzip'd pprof profile: retained bytes and objects by holder path, for go tool pprof. */
kb_error *kb_report_pprof(FILE *out, const kb_look *look) KB_MUST_CHECK;

enum kb_top_by { KB_TOP_HOLDER, KB_TOP_TYPE, KB_TOP_GOROUTINE };
kb_error *kb_top_text(FILE *out, const kb_look *look, enum kb_top_by by, size_t limit, const kb_style *style) KB_MUST_CHECK;
kb_error *kb_top_json(FILE *out, const kb_look *look, size_t limit) KB_MUST_CHECK;

/* why ADDRESS|TYPE|VARIABLE. KB_E_NOT_FOUND when there is no such thing. */
kb_error *kb_why(FILE *out, const kb_look *look, const char *what, size_t limit, enum kb_format format, const kb_style *style) KB_MUST_CHECK;

/* explain: one rule, or all when id is NULL. KB_E_NOT_FOUND. */
kb_error *kb_explain(FILE *out, const char *id, enum kb_format format, const kb_style *style) KB_MUST_CHECK;

typedef struct kb_listed {
	const kb_process *process;
	const char *go_version;
	uint64_t heap;      /* bytes, 0 unknown */
	uint64_t goroutines;
	const char *why_not; /* when it may not be read */
} kb_listed;
kb_error *kb_list(FILE *out, const kb_listed *items, size_t n, enum kb_format format, const kb_style *style) KB_MUST_CHECK;

#endif
