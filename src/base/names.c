/* names.c: the hash table of names.h: open addressing, at most half full. */
#include "base/names.h"

#include <string.h>

uint32_t name_hash(const char *name)
{
    uint32_t hash = 2166136261u;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = (hash ^ *c) * 16777619u;
    return hash;
}

/* Where `name` is, or would go. */
static uint32_t *slot_of(const struct names *names, const char *name)
{
    size_t slot = name_hash(name) & names->mask;
    while (names->slots[slot] && strcmp(names->list.items[names->slots[slot] - 1], name) != 0)
        slot = (slot + 1) & names->mask;
    return &names->slots[slot];
}

static void grow(struct arena *arena, struct names *names)
{
    names->mask = names->slots ? 2 * names->mask + 1 : 15;
    names->slots = arena_alloc(arena, (names->mask + 1) * sizeof(*names->slots));
    for (size_t i = 0; i < names->list.count; i++)
        *slot_of(names, names->list.items[i]) = (uint32_t)i + 1;
}

size_t names_add(struct arena *arena, struct names *names, const char *name)
{
    if (!names->slots || 2 * names->list.count > names->mask)
        grow(arena, names);
    uint32_t *slot = slot_of(names, name);
    if (!*slot) {
        *vec_push(arena, &names->list) = name;
        *slot = (uint32_t)names->list.count;
    }
    return *slot - 1;
}

size_t names_find(const struct names *names, const char *name)
{
    uint32_t place = names->slots ? *slot_of(names, name) : 0;
    return place ? place - 1 : names->list.count;
}
