/* The catalogue of rules: the only place with their words. Families add rows here. */
#include "leaks.h"

static const kb_rule rules[] = {
	{ .id = "global/map",
	  .title = "A package-level map keeps much of the heap",
	  .why = "A package-level variable lives as long as the program, and so does every entry that is not deleted. The bytes are what would be "
		 "freed if the map were dropped: nothing else of the same kind leads to them. One look shows size, not growth: take a second look "
		 "later to see whether it grows.",
	  .advice = "Bound it (LRU, expiry), or delete the entry when its work ends. A map keeps its tables after delete: make a new one when it "
		    "has shrunk for good.",
	  .link = "https://go.dev/doc/gc-guide#Identiying_costs" },
	{ .id = "global/slice",
	  .title = "A package-level slice or buffer keeps much of the heap",
	  .why = "What a package-level slice, list, array or channel buffer holds stays until the element is removed or overwritten. The bytes are "
		 "what would be freed if it were dropped.",
	  .advice = "Cap its length, or drop what is done with: set removed elements to nil (clear), and copy what remains into a new slice. For a channel "
		    "buffer: let somebody drain it, or make it smaller.",
	  .link = "https://go.dev/wiki/SliceTricks" },
	{ .id = "global/other",
	  .title = "A package-level variable keeps much of the heap",
	  .why = "The variable leads to this memory by pointers only it, and what it leads to, holds. The bytes are what would be freed if it were set to nil.",
	  .advice = "Set the pointer to nil when its job is over, or keep only the part that is needed.",
	  .link = "https://go.dev/doc/gc-guide" },
	{ .id = "memory/rss",
	  .title = "Much of the resident memory is not live heap",
	  .why = "The resident set is larger than what the program keeps: freed heap not yet returned to the system, stacks, C memory or mapped files. This "
		 "is not a leak of Go objects, whatever the size of the process.",
	  .advice = "Idle heap: set GOMEMLIMIT, or lower GOGC; debug.FreeOSMemory returns it at once. Stacks: fewer goroutines, less recursion. C memory: look "
		    "for missing frees; for retained arenas set MALLOC_ARENA_MAX.",
	  .link = "https://go.dev/doc/gc-guide#Memory_limit" },
};

const kb_rule *kb_rules(size_t *ret_n)
{
	*ret_n = KB_ARRAY_LEN(rules);
	return rules;
}

const kb_rule *kb_rule_find(const char *id)
{
	for (size_t i = 0; i < KB_ARRAY_LEN(rules); i++)
		if (strcmp(rules[i].id, id) == 0)
			return &rules[i];
	return NULL;
}
