/* text.c: the string helpers of text.h. */
#include "base/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_reserve(struct text *text, size_t more)
{
    size_t need = text->length + more + 1;
    if (need <= text->capacity)
        return;
    size_t capacity = text->capacity ? text->capacity : 128;
    while (capacity < need)
        capacity *= 2;
    char *data = arena_alloc(text->arena, capacity);
    if (text->length)
        memcpy(data, text->data, text->length);
    data[text->length] = '\0';
    text->data = data;
    text->capacity = capacity;
}

void text_add_bytes(struct text *text, const char *bytes, size_t length)
{
    text_reserve(text, length);
    if (length)
        memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_add(struct text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    if (length < 0)
        abort();
    text_reserve(text, (size_t)length);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
    text->length += (size_t)length;
    va_end(again);
    va_end(args);
}

const char *text_get(struct text *text)
{
    return text->data ? text->data : "";
}

static bool shell_safe(const char *word)
{
    if (!*word)
        return false;
    return word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "_-+=./:,@%")] == '\0';
}

const char *shell_quote(struct arena *arena, const char *word)
{
    if (shell_safe(word))
        return word;
    struct text out = {.arena = arena};
    text_add(&out, "'");
    for (const char *c = word; *c; c++) {
        if (*c == '\'')
            text_add(&out, "'\\''");
        else
            text_add_bytes(&out, c, 1);
    }
    text_add(&out, "'");
    return text_get(&out);
}

const char *shell_join(struct arena *arena, const char *const argv[])
{
    struct text out = {.arena = arena};
    for (size_t i = 0; argv[i]; i++)
        text_add(&out, "%s%s", i ? " " : "", shell_quote(arena, argv[i]));
    return text_get(&out);
}

/* Levenshtein's distance with adjacent swaps counted as one, for words of at most 63 letters. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t la = strlen(a), lb = strlen(b);
    if (la >= MAX || lb >= MAX)
        return SIZE_MAX;
    size_t rows[3][MAX] = {0};
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *before2 = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);
            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before2[j - 2] + 1 < best)
                best = before2[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[la % 3][lb];
}

const char *text_nearest(const char *word, const char *const candidates[])
{
    const char *nearest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; candidates[i]; i++) {
        size_t distance = edit_distance(word, candidates[i]);
        size_t length = strlen(word) > strlen(candidates[i]) ? strlen(word) : strlen(candidates[i]);
        size_t allowed = length / 3 ? length / 3 : 1;
        if (distance <= allowed && distance < best) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}

bool text_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}
