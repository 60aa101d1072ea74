/* names.h: a list of different names, in which each is found at once however many there are. */
#ifndef VMWIRE_BASE_NAMES_H
#define VMWIRE_BASE_NAMES_H

#include <stdint.h>

#include "base/arena.h"

/* Start with {0}.  Names are not copied: they live as long as it does. */
struct names {
    VEC(const char *) list; /* in the order in which they came */
    uint32_t *slots;        /* place + 1 by hash; 0: free */
    size_t mask;
};

/* The place of `name` in the list: the next one, list.count as it was, when it was not there. */
size_t names_add(struct arena *arena, struct names *names, const char *name);
/* The place of `name`; list.count when it is not there. */
size_t names_find(const struct names *names, const char *name);

/* FNV-1a, 32 bits. */
uint32_t name_hash(const char *name);

#endif
