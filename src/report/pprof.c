/* The holder paths as a pprof profile: a sample's "stack" is the way from the holder to the object, the holder outermost. */
#include "private.h"

#include "report/profile.pb-c.h"

#include <stdlib.h>
#include <zlib.h>

typedef Keptby__Pprof__Profile Profile;

struct builder {
	kb_arena arena;
	Profile profile;
	kb_map strings;   /* hash of the text → index; equal texts share an index */
	kb_map functions; /* string index → function and location id */
	size_t cap_strings, cap_functions, cap_locations, cap_samples;
	bool failed;
};

static int64_t text(struct builder *b, const char *s)
{
	uint64_t at, key = kb_hash_bytes(s, strlen(s)) >> 1;
	if (kb_map_get(&b->strings, key, &at))
		return (int64_t)at;
	Profile *p = &b->profile;
	if (!KB_ROOM(p->string_table, p->n_string_table, b->cap_strings, INT32_MAX) || !kb_map_put(&b->strings, key, p->n_string_table)) {
		b->failed = true;
		return 0;
	}
	p->string_table[p->n_string_table] = (char *)clean(&b->arena, s);
	return (int64_t)p->n_string_table++;
}

/* A location for a step's words; pprof wants one function a location. */
static uint64_t location(struct builder *b, const char *words)
{
	Profile *p = &b->profile;
	uint64_t id;
	int64_t name = text(b, words);
	if (kb_map_get(&b->functions, (uint64_t)name, &id))
		return id;
	id = p->n_function + 1;
	Keptby__Pprof__Function *f = kb_arena_alloc(&b->arena, sizeof(*f));
	Keptby__Pprof__Location *l = kb_arena_alloc(&b->arena, sizeof(*l));
	Keptby__Pprof__Line *line = kb_arena_alloc(&b->arena, sizeof(*line)), **lines = kb_arena_alloc(&b->arena, sizeof(*lines));
	if (!f || !l || !line || !lines || !KB_ROOM(p->function, p->n_function, b->cap_functions, INT32_MAX) ||
	    !KB_ROOM(p->location, p->n_location, b->cap_locations, INT32_MAX) || !kb_map_put(&b->functions, (uint64_t)name, id)) {
		b->failed = true;
		return 1;
	}
	keptby__pprof__function__init(f);
	keptby__pprof__location__init(l);
	keptby__pprof__line__init(line);
	f->id = l->id = line->function_id = id;
	f->name = f->system_name = name;
	lines[0] = line;
	l->line = lines;
	l->n_line = 1;
	p->function[p->n_function++] = f;
	p->location[p->n_location++] = l;
	return id;
}

static const char *step_words(struct builder *b, const kb_step *s)
{
	if (s->kind)
		return s->name;
	const char *t = kb_arena_printf(&b->arena, "%s %s", s->name, s->type);
	return t ? t : s->name;
}

static void add_sample(struct builder *b, const kb_step *steps, size_t n, uint64_t bytes, uint64_t objects)
{
	Profile *p = &b->profile;
	Keptby__Pprof__Sample *s = kb_arena_alloc(&b->arena, sizeof(*s));
	uint64_t *ids = kb_arena_alloc(&b->arena, n * sizeof(*ids));
	int64_t *values = kb_arena_alloc(&b->arena, 2 * sizeof(*values));
	if (!s || !ids || !values || !KB_ROOM(p->sample, p->n_sample, b->cap_samples, INT32_MAX)) {
		b->failed = true;
		return;
	}
	keptby__pprof__sample__init(s);
	for (size_t i = 0; i < n; i++)
		ids[n - 1 - i] = location(b, step_words(b, &steps[i]));
	values[0] = (int64_t)objects;
	values[1] = (int64_t)bytes;
	s->location_id = ids;
	s->n_location_id = n;
	s->value = values;
	s->n_value = 2;
	p->sample[p->n_sample++] = s;
}

static Keptby__Pprof__ValueType *value_type(struct builder *b, const char *type, const char *unit)
{
	Keptby__Pprof__ValueType *v = kb_arena_alloc(&b->arena, sizeof(*v));
	if (!v) {
		b->failed = true;
		return NULL;
	}
	keptby__pprof__value_type__init(v);
	v->type = text(b, type);
	v->unit = text(b, unit);
	return v;
}

static kb_error *fill(struct builder *b, const kb_look *look)
{
	size_t npaths;
	const kb_path_node *paths = kb_graph_paths(look->facts->graph, &npaths);
	keptby__pprof__profile__init(&b->profile);
	text(b, "");
	b->profile.sample_type = kb_arena_alloc(&b->arena, 2 * sizeof(*b->profile.sample_type));
	if (!b->profile.sample_type)
		return kb_error_nomem();
	b->profile.sample_type[0] = value_type(b, "retained_objects", "count");
	b->profile.sample_type[1] = value_type(b, "retained_space", "bytes");
	b->profile.n_sample_type = 2;
	b->profile.default_sample_type = text(b, "retained_space");
	b->profile.time_nanos = (int64_t)kb_target_info_get(look->facts->target)->taken_at * 1000000000;
	for (uint32_t i = 1; i < npaths && !b->failed; i++) {
		kb_step *steps;
		size_t n;
		if (!paths[i].objects)
			continue;
		KB_TRY(kb_steps_of_node(look->facts, &b->arena, i, &steps, &n));
		add_sample(b, steps, n, paths[i].bytes, paths[i].objects);
	}
	return b->failed ? kb_error_nomem() : NULL;
}

static kb_error *write_gzip(FILE *out, const uint8_t *data, size_t n)
{
	z_stream z = { 0 };
	uint8_t buf[16384];
	if (n > UINT32_MAX || deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return kb_error_nomem();
	z.next_in = (uint8_t *)data;
	z.avail_in = (uInt)n;
	int rc;
	do {
		z.next_out = buf;
		z.avail_out = sizeof(buf);
		rc = deflate(&z, Z_FINISH);
		fwrite(buf, 1, sizeof(buf) - z.avail_out, out);
	} while (rc == Z_OK);
	deflateEnd(&z);
	return rc == Z_STREAM_END && !ferror(out) ? NULL : kb_error_new(KB_E_IO, "cannot write the profile");
}

kb_error *kb_report_pprof(FILE *out, const kb_look *look)
{
	struct builder b = { 0 };
	kb_error *err = fill(&b, look);
	if (!err) {
		size_t n = keptby__pprof__profile__get_packed_size(&b.profile);
		uint8_t *bytes = malloc(n + 1);
		err = bytes ? write_gzip(out, bytes, keptby__pprof__profile__pack(&b.profile, bytes)) : kb_error_nomem();
		free(bytes);
	}
	free(b.profile.string_table);
	free(b.profile.function);
	free(b.profile.location);
	free(b.profile.sample);
	kb_map_free(&b.strings);
	kb_map_free(&b.functions);
	kb_arena_free(&b.arena);
	return err;
}
