/* problem.c: the list behind problem.h. */
#include "model/problem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void add_text(struct problems *problems, struct pos pos, bool warning, const char *text)
{
    struct problem *problem = vec_push(problems->arena, &problems->list);
    problem->pos = pos;
    problem->warning = warning;
    problem->text = text;
}

__attribute__((format(printf, 4, 0))) static void add(struct problems *problems, struct pos pos, bool warning,
                                                      const char *format, va_list args)
{
    char *text = arena_vprintf(problems->arena, format, args);
    /* What the file holds reaches a terminal here. */
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        *c = *c < ' ' || *c == 0x7f ? '?' : *c;
    add_text(problems, pos, warning, text);
}

void problem_add_lines(struct problems *problems, struct pos pos, const char *text)
{
    add_text(problems, pos, false, text);
}

void problem_add(struct problems *problems, struct pos pos, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(problems, pos, false, format, args);
    va_end(args);
}

void problem_warn(struct problems *problems, struct pos pos, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(problems, pos, true, format, args);
    va_end(args);
}

size_t problem_count(const struct problems *problems)
{
    size_t count = 0;
    vec_foreach (&problems->list, problem)
        count += !problem->warning;
    return count;
}

static bool later(const struct problem *a, const struct problem *b)
{
    return a->pos.line != b->pos.line ? a->pos.line > b->pos.line : a->pos.column > b->pos.column;
}

void problem_sort(struct problems *problems)
{
    struct problem *items = problems->list.items;
    for (size_t i = 1; i < problems->list.count; i++) {
        struct problem moving = items[i];
        size_t to = i;
        for (; to > 0 && later(&items[to - 1], &moving); to--)
            items[to] = items[to - 1];
        items[to] = moving;
    }
}

const char *problem_text(const struct problems *problems, const struct problem *problem)
{
    const char *kind = problem->warning ? "warning: " : "";
    const char *file = problems->file ? problems->file : "vmwire.yaml";
    if (problem->pos.line == 0)
        return arena_printf(problems->arena, "%s%s", kind, problem->text);
    return arena_printf(problems->arena, "%s:%d:%d: %s%s", file, problem->pos.line, problem->pos.column, kind,
                        problem->text);
}
