/* err.c: the error record of err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int negative(int code)
{
    return code > 0 ? -code : code;
}

int err_set(struct err *err, int code, const char *format, ...)
{
    code = negative(code);
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    err->code = code;
    return code;
}

int err_errno(struct err *err, int code, const char *format, ...)
{
    code = negative(code);
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (length >= 0 && (size_t)length < sizeof(err->text))
        snprintf(err->text + length, sizeof(err->text) - (size_t)length, ": %s", strerror(-code));
    err->code = code;
    return code;
}

int err_wrap(struct err *err, const char *format, ...)
{
    if (!err)
        return -EIO;
    char context[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof(context), format, args);
    va_end(args);

    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof(old));
    /* What does not fit is cut at the end: the outermost context is what a reader needs first. */
    size_t length = strnlen(context, sizeof(context) - 1);
    memcpy(err->text, context, length + 1);
    const char *parts[] = {": ", old};
    for (size_t i = 0; i < 2; i++) {
        size_t room = sizeof(err->text) - length - 1, size = strlen(parts[i]);
        size = size < room ? size : room;
        memcpy(err->text + length, parts[i], size);
        length += size;
        err->text[length] = '\0';
    }
    return err->code;
}

void err_append(struct err *err, const char *format, ...)
{
    if (!err)
        return;
    size_t used = strlen(err->text);
    if (used + 2 >= sizeof(err->text))
        return;
    err->text[used++] = '\n';
    va_list args;
    va_start(args, format);
    vsnprintf(err->text + used, sizeof(err->text) - used, format, args);
    va_end(args);
}
