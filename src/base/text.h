/* text.h: strings: a growing buffer, shell quoting, near-miss suggestions. */
#ifndef VMWIRE_BASE_TEXT_H
#define VMWIRE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

/* A text that grows.  Start with {0} and an arena: struct text t = {.arena = a}; `data` is NUL-terminated, ""
 * at first use. */
struct text {
    struct arena *arena;
    char *data;
    size_t length, capacity;
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(struct text *text, const char *bytes, size_t length);
/* The finished text; "" when nothing was added.  Owned by the arena. */
const char *text_get(struct text *text) __attribute__((returns_nonnull));

/* `word` as one word of POSIX sh: unchanged when it is plainly safe, else in single quotes. */
const char *shell_quote(struct arena *arena, const char *word) __attribute__((returns_nonnull));
/* argv (NULL-terminated) as one shell-ready line. */
const char *shell_join(struct arena *arena, const char *const argv[]) __attribute__((returns_nonnull));

/* The candidate (NULL-terminated list) nearest to `word` by edit distance, or NULL when none is near enough
 * (more than a third of the letters, at least one, would have to change). */
const char *text_nearest(const char *word, const char *const candidates[]);

/* True when both are NULL or both are equal. */
bool text_equal(const char *a, const char *b);

#endif
