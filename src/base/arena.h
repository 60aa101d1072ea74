/* arena.h: memory with one owner and one end.  Everything read, planned or rendered for one command lives in
 * an arena. */
#ifndef VMWIRE_BASE_ARENA_H
#define VMWIRE_BASE_ARENA_H

#include <stddef.h>
#include <stdarg.h>

struct arena_block;
struct arena {
    struct arena_block *head;
};

/* Zeroed memory of `size` bytes, aligned for any type; lives until arena_free.  Never returns NULL: running
 * out of memory for a few kilobytes of configuration leaves nothing sensible to do, and the journal makes
 * abort() safe. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((malloc, returns_nonnull));
char *arena_strdup(struct arena *arena, const char *text) __attribute__((returns_nonnull));
char *arena_strndup(struct arena *arena, const char *text, size_t length) __attribute__((returns_nonnull));
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));
char *arena_vprintf(struct arena *arena, const char *format, va_list args)
    __attribute__((format(printf, 2, 0), returns_nonnull));
/* Frees all of it; the arena can be used again.  NULL is accepted. */
void arena_free(struct arena *arena);

#define _cleanup_arena_ __attribute__((cleanup(arena_free)))

#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))

/* A growable array: VEC(struct link) links = {0};  vec_push(arena, &links) gives a zeroed new element. */
#define VEC(type)                                                                                            \
    struct {                                                                                                 \
        type *items;                                                                                         \
        size_t count, capacity;                                                                              \
    }

/* Appends a zeroed element and returns a pointer to it, valid until the next push. */
#define vec_push(arena, vec)                                                                                 \
    ((void)((vec)->items = arena_vec_grow((arena), (vec)->items, (vec)->count, &(vec)->capacity,             \
                                          sizeof(*(vec)->items))),                                           \
     &(vec)->items[(vec)->count++])

#define vec_foreach(vec, item)                                                                               \
    for (__typeof__((vec)->items + 0) item = (vec)->items; item && item < (vec)->items + (vec)->count; item++)

void *arena_vec_grow(struct arena *arena, void *items, size_t count, size_t *capacity, size_t item_size);

#endif
