/* problem.h: what is wrong with a file, and where: every mistake at once, each with its position. */
#ifndef VMWIRE_MODEL_PROBLEM_H
#define VMWIRE_MODEL_PROBLEM_H

#include <stdbool.h>

#include "base/arena.h"

/* A place in the file.  line and column count from 1; 0 means that no place is known (a default, or no file).
 */
struct pos {
    int line, column;
};

struct problem {
    struct pos pos;
    bool warning;     /* worth saying, but nothing is refused for it */
    const char *text; /* the value and what would be right; one line, but for problem_add_lines */
};

/* All problems found so far, in the order found.  `file` is the name to print in front, or NULL. */
struct problems {
    struct arena *arena;
    const char *file;
    VEC(struct problem) list;
};

void problem_add(struct problems *problems, struct pos pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with a text of vmwire's own, in the arena, which may have several lines. */
void problem_add_lines(struct problems *problems, struct pos pos, const char *text);
void problem_warn(struct problems *problems, struct pos pos, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The problems that are not warnings. */
size_t problem_count(const struct problems *problems);
/* Into file order (line, column), a stable sort. */
void problem_sort(struct problems *problems);
/* "file:line:column: text" or "file:line:column: warning: text", in the arena. */
const char *problem_text(const struct problems *problems, const struct problem *problem);

#endif
