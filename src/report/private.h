/* Inside report only. */
#ifndef KB_REPORT_PRIVATE_H
#define KB_REPORT_PRIVATE_H

#include "report/report.h"

#include <jansson.h>

enum color { C_NONE, C_BOLD, C_DIM, C_RED, C_YELLOW, C_CYAN };
/* Text in colour where the style has it. */
void put_color(FILE *out, const kb_style *st, enum color c, const char *text);
const char *confidence_word(enum kb_confidence c);      /* "PROVEN" */
const char *confidence_json(enum kb_confidence c);      /* "proven" */
const char *base_of(const char *path);                  /* behind the last slash */
const char *arrow(const kb_style *st);                  /* "╰→" or "`->" */
/* Untrusted text (names, types, keys from the target) with control characters and invalid UTF-8 replaced; in the arena. */
const char *clean(kb_arena *a, const char *text);
/* "3h12m", "41s", "12 ms". */
const char *human_duration(kb_arena *a, double seconds);
json_t *json_text(const char *s);                       /* string with invalid UTF-8 replaced */
json_t *json_addr(kb_addr a);                           /* "0xc000012000", or null for 0 */
json_t *json_step(const kb_step *s);
json_t *json_target(const kb_look *look);
kb_error *json_finish(FILE *out, json_t *root) KB_MUST_CHECK; /* writes, ends with a newline, drops root; NULL root: out of memory */

/* Bytes and objects by type name. */
struct type_sum {
	const char *name;
	uint64_t bytes, objects;
};
/* Sorted by bytes, *ret malloc'ed; names live as long as the graph. */
kb_error *types_by_bytes(const kb_facts *f, struct type_sum **ret, size_t *ret_n) KB_MUST_CHECK;

#endif
