/* graph: the heap as nodes, edges and roots; who reaches what, by which path, and who alone keeps it.
 *
 * A node is an object slot of the heap (its id as in kb_heap). Edges are kept as one packed byte stream a span (about 3 bytes an edge),
 * made in one pass over the heap on all CPUs, so that a look needs a small part of the memory it looks at: the heap itself is never copied.
 *
 * Every reached object gets a path node: a node of a tree of "how it is reached" (holder, field, type, field, type …), shared by all
 * objects reached in the same way. Roots are walked class by class (enum kb_holder_class): what a package-level variable reaches is
 * the variable's, even if a stack also points to it for a moment; within a class, what two holders reach is "shared". */
#ifndef KB_GRAPH_H
#define KB_GRAPH_H

#include "goruntime/goruntime.h"

typedef struct kb_graph kb_graph;

/* In the order in which they are walked. */
enum kb_holder_class {
	KB_CLASS_GLOBAL,    /* package-level variables outside package runtime */
	KB_CLASS_FINALIZER, /* finalizers, cleanups and their queues */
	KB_CLASS_TIMER,     /* armed timers */
	KB_CLASS_GOROUTINE, /* stacks, grouped by creation site */
	KB_CLASS_RUNTIME,   /* package runtime's own variables, weak handles, tiny blocks */
	KB_NCLASSES
};
typedef struct kb_holder {
	enum kb_holder_class class_;
	enum kb_root_kind kind;
	uint32_t owner;      /* GLOBAL, RUNTIME: index in kb_go_vars; GOROUTINE: index of one goroutine of the group; else index of the root's owner */
	uint32_t members;    /* goroutines of the group, timers, specials; 1 for a variable */
	kb_addr key;         /* GOROUTINE: creation site (gopc), 0 main; FINALIZER: fn; TIMER: function; else address of the variable */
	uint32_t node;       /* its path node */
	uint64_t bytes, objects;           /* reached first through it (partition: sums to what is reachable) */
	uint64_t retained_bytes, retained_objects; /* of these: reached by no other holder of its class */
} kb_holder;

/* One way of being reached. Node 0 is the top. */
typedef struct kb_path_node {
	uint32_t parent, holder, label, shape; /* label and shape as in kb_shapes; depth-1 nodes: label 0 */
	uint16_t depth;
	uint64_t bytes, objects;         /* of objects with exactly this path */
	uint64_t sub_bytes, sub_objects; /* with everything below */
} kb_path_node;

/* A unit of retention: a holder with everything that only it leads to, or the objects with one path that several holders of the class lead
 * to, with everything only those lead to. If it went, so would bytes (depth-1 nodes of the dominator tree, those with one path together). */
typedef struct kb_unit {
	uint32_t holder, node;   /* node: the holder's, or the path of the shared objects */
	uint32_t object;         /* KB_NO_ID: the holder itself; else one of the shared objects */
	uint64_t members;        /* how many shared objects; 1 for a holder */
	uint64_t bytes, objects;
} kb_unit;

typedef struct kb_graph_stats {
	uint64_t edges, stream_bytes, heap_read_bytes, unreadable_bytes;
	uint64_t reached_objects, reached_bytes, typed_bytes;
	uint64_t unreached_objects, unreached_bytes; /* allocated, but reached by nothing: garbage not yet freed */
	uint64_t unresolved_bytes;                   /* shared in a way too tangled to attribute (bounded rounds) */
	uint64_t mask_errors;
	bool cut_by_time;
} kb_graph_stats;

/* Reads the heap (the target may run) and encodes the edges. go must be after kb_go_snapshot. KB_E_GONE when the target ended, KB_E_NOMEM. */
/* deadline_ns (kb_now_ns): what is not read by then is left out and counted as unreadable_bytes, stats.cut_by_time says so; 0: none. */
kb_error *kb_graph_build(const kb_go *go, uint64_t deadline_ns, const kb_progress *progress, kb_graph **ret) KB_MUST_CHECK;
/* Roots, paths, sizes, shared objects and units. Once, after build. */
kb_error *kb_graph_walk(kb_graph *g, const kb_progress *progress) KB_MUST_CHECK;
void kb_graph_free(kb_graph *g);

const kb_graph_stats *kb_graph_stats_get(const kb_graph *g);
kb_shapes *kb_graph_shapes(kb_graph *g);
const kb_holder *kb_graph_holders(const kb_graph *g, size_t *ret_n);
const kb_path_node *kb_graph_paths(const kb_graph *g, size_t *ret_n);
/* Path node of an object; 0 when it is not reached. */
uint32_t kb_graph_path_of(const kb_graph *g, uint32_t id);
/* Units with at least min_bytes, largest first. *ret malloc'ed. */
kb_error *kb_graph_units(const kb_graph *g, uint64_t min_bytes, kb_unit **ret, size_t *ret_n) KB_MUST_CHECK;
/* The unit an object belongs to, by its node and the holder of that: false when it is not reached. */
bool kb_graph_unit_of(const kb_graph *g, uint32_t id, uint32_t *ret_holder, uint32_t *ret_node);
/* What lies where inside a holder: its own unit, and the shared units whose first path is through it. */
typedef struct kb_holder_path {
	uint32_t at, node;       /* index in the holders given; path node */
	uint64_t bytes, objects; /* self */
	uint64_t sub_bytes, sub_objects; /* with the nodes below it */
	uint32_t example;        /* an object with this path; KB_NO_ID when there are only objects below */
} kb_holder_path;
/* Sorted by at, then node. *ret malloc'ed. One pass over the heap's ids, whatever the number of holders. */
kb_error *kb_graph_holder_paths(const kb_graph *g, const uint32_t *holders, size_t n, kb_holder_path **ret, size_t *ret_n) KB_MUST_CHECK;

/* ---- one object ---------------------------------------------------------------------------------------------------------- */

/* The shortest chain of objects from a root to target. */
typedef struct kb_chain_link {
	uint32_t id;         /* the object */
	kb_addr slot;        /* where the pointer to it lies: in the previous object, the variable, the stack; 0 register */
	uint32_t shape;      /* of the object */
	kb_edge_in edge;     /* how the previous link leads here */
} kb_chain_link;
typedef struct kb_chain {
	uint32_t holder;
	kb_root root;
	kb_chain_link *links; /* malloc'ed; links[n-1] is the target */
	size_t n;
} kb_chain;
/* KB_E_NOT_FOUND when nothing reaches it. Breadth-first over all roots in class order; 4 bytes an id while it runs. */
kb_error *kb_graph_chain_to(kb_graph *g, uint32_t target, kb_chain *ret) KB_MUST_CHECK;
void kb_chain_free(kb_chain *c);
/* Objects that point to id, at most max; returns how many there are. One pass over all edges. */
size_t kb_graph_referrers(const kb_graph *g, uint32_t id, uint32_t *out, size_t max);

#endif
