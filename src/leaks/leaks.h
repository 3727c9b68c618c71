/* leaks: from facts to findings. One file a family; the rules' words stand in one table (rules.c).
 *
 * A finding owns nothing: its strings live in the arena of the report it belongs to. */
#ifndef KB_LEAKS_H
#define KB_LEAKS_H

#include "base/base.h"
#include "goruntime/goruntime.h"
#include "graph/graph.h"
#include "native/native.h"

enum kb_confidence {
	KB_SUSPECT, /* large or old, worth a look */
	KB_LIKELY,  /* measured growth or measured waste */
	KB_PROVEN,  /* no future step of the program can release it */
};

/* The catalogue: the only place with a rule's words. */
typedef struct kb_rule {
	const char *id;     /* "global/map" */
	const char *title;  /* one line, no full stop */
	const char *why;    /* how it is known, and what it means; sentences */
	const char *advice; /* the cure; imperative sentences */
	const char *link;   /* Go documentation */
} kb_rule;
const kb_rule *kb_rules(size_t *ret_n);
const kb_rule *kb_rule_find(const char *id); /* NULL when there is none */

/* One step of "who keeps it". The first is the holder: kind set, name and type of the variable, goroutine …; the others are edges. */
typedef struct kb_step {
	const char *kind;  /* first step: "global" "goroutine" "finalizer" "cleanup" "timer" "runtime" "object"; NULL for edges */
	const char *name;  /* first step: "main.sessions"; else the edge: ".buf", "[key]", "[value]", "[]" */
	const char *type;  /* of what is reached; "" unknown */
	kb_addr address;   /* 0 when many */
} kb_step;

typedef struct kb_place {
	const char *function, *file; /* NULL function: unknown */
	int line;
} kb_place;

typedef struct kb_finding {
	const kb_rule *rule;
	enum kb_confidence confidence;
	uint64_t fingerprint;      /* rule + holder path + types: the same leak in another run has the same */
	const char *summary;       /* "main.sessions  map[string]*main.Session  402,113 entries" */
	uint64_t count;            /* entries, goroutines … */
	uint64_t bytes;
	const kb_place *where, *created_by; /* NULL none */
	const kb_step *holder;
	size_t nholder;
	const kb_place *allocated_by; /* most bytes first */
	size_t nallocated_by;
	const uint64_t *goids;
	size_t ngoids;
	const char **evidence;     /* sentences */
	size_t nevidence;
	uint64_t growth_bytes, growth_count; /* measured between looks; growth_seconds 0: not measured */
	double growth_seconds;
} kb_finding;

/* What a family sees. */
typedef struct kb_facts {
	kb_target *target;
	const kb_go *go;
	kb_graph *graph;
	const kb_rss *rss;      /* NULL for a core */
	uint64_t min_bytes;     /* a holder below this is no finding; 0: default (8 MiB and 10 % of the live heap) */
} kb_facts;

typedef struct kb_findings {
	kb_arena arena;
	kb_finding *items;      /* worst first after kb_findings_sort */
	size_t n, cap;
} kb_findings;

/* The families. Each adds its findings. */
kb_error *kb_leaks_global(const kb_facts *f, kb_findings *out) KB_MUST_CHECK;
kb_error *kb_leaks_memory(const kb_facts *f, kb_findings *out) KB_MUST_CHECK;
/* All of them, sorted: confidence, then bytes. */
kb_error *kb_leaks_all(const kb_facts *f, kb_findings *out) KB_MUST_CHECK;
void kb_findings_free(kb_findings *f);

/* ---- shared by families and report: telling a path in words --------------------------------------------------------------- */

/* Steps from a holder to a path node. *ret in the arena. */
kb_error *kb_steps_of_node(const kb_facts *f, kb_arena *arena, uint32_t node, kb_step **ret, size_t *ret_n) KB_MUST_CHECK;
/* Kind and name of a holder: "global", "main.sessions"; "goroutine", "12 goroutines created by main.fetch fetch.go:38". */
kb_step kb_step_of_holder(const kb_facts *f, kb_arena *arena, uint32_t holder);
/* Where what a holder keeps was allocated, by the program's own samples: the lines that stand for most bytes, at most max. */
size_t kb_allocated_by(const kb_facts *f, uint32_t holder, kb_place *out, size_t max);
/* A finding whose rule, confidence and holder are set gets its fingerprint. */
void kb_finding_stamp(kb_finding *f);
const char *kb_human_bytes(kb_arena *a, uint64_t bytes);  /* "1.21 GiB" */
const char *kb_human_count(kb_arena *a, uint64_t n);      /* "402,113" */

#endif
