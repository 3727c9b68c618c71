/* Between modules.c (which file, which addresses) and moduledata.c (what is at one of them). */
#ifndef KB_GORUNTIME_MODULES_H
#define KB_GORUNTIME_MODULES_H

#include "private.h"

/* Reads the moduledata at addr whose function table must be at header, checks it, and appends it to go->modules.
 * KB_E_CORRUPT when it is none. */
kb_error *kb_module_load(kb_go *go, kb_addr addr, kb_addr header) KB_MUST_CHECK;

#endif
