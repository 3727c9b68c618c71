// cgoheap: memory from C's malloc, which Go's collector never sees. Needs CGO_ENABLED=1.
package main

/*
#include <stdlib.h>
#include <string.h>

static void *kept[1 << 16];
static int count;

static void take(size_t size) {
	void *p = malloc(size);
	if (p && count < (1 << 16)) {
		memset(p, 1, size);
		kept[count++] = p;
	}
}

static void drop_all(void) {
	while (count > 0)
		free(kept[--count]);
}
*/
import "C"

import (
	"flag"

	"keptby.lab/kit"
)

func main() {
	n := flag.Int("n", 4_000, "pieces, at most 65536")
	size := flag.Int("size", 10_000, "bytes of each")
	k := kit.Start()
	for i := 0; i < *n; i++ {
		C.take(C.size_t(*size))
	}
	if k.Leak {
		k.Fact("expect", "memory/rss")
		k.Fact("c_bytes", *n**size)
	} else {
		C.drop_all()
		k.Fact("c_bytes", 0)
	}
	k.Ready()
	k.Wait()
}
