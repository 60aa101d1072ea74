/* freebsd_words.h: what the tests of FreeBSD's words share: what a real FreeBSD 12.1 answered
 * (tests/unit/freebsd/), and operations as the commands and failures that become of them. */
#ifndef VMWIRE_TEST_FREEBSD_WORDS_H
#define VMWIRE_TEST_FREEBSD_WORDS_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/freebsd/freebsd.h"
#include "host/profile.h"
#include "host/render.h"
#include "service/service.h"

static inline const char *transcript(struct arena *arena, const char *name)
{
    char *text;
    const char *path = arena_printf(arena, "%s/tests/unit/freebsd/%s.txt", getenv("VMWIRE_SOURCE"), name);
    if (file_read(arena, AT_FDCWD, path, 1 << 20, &text, NULL, NULL) < 0)
        fail_msg("%s cannot be read", path);
    return text;
}

static inline struct op operation(struct arena *arena, const char *line)
{
    struct op op;
    struct err err = {0};
    if (op_parse(arena, line, &op, &err) < 0)
        fail_msg("%s: %s", line, err.text);
    return op;
}

static inline void expect_render(const char *line, const char *commands)
{
    _cleanup_arena_ struct arena arena = {0};
    struct op op = operation(&arena, line);
    assert_string_equal(freebsd_render(&arena, &op), commands);
}

/* The failure of the operation's last command; `text` is what the error must hold, NULL: it is none. */
static inline void expect_failure(const char *line, const char *output, const char *errors, unsigned flags,
                                  int code, const char *text)
{
    _cleanup_arena_ struct arena arena = {0};
    struct op op = operation(&arena, line);
    struct freebsd_commands commands;
    struct err err = {0};
    struct freebsd_command none = {.argv = (const char *const[]){"dhclient", NULL}};
    freebsd_commands(&arena, &op, &commands);
    const struct freebsd_command *last =
        commands.list.count ? &commands.list.items[commands.list.count - 1] : &none;
    int rc = freebsd_failure(&arena, &op, last, 1, output, errors, flags, &err);
    assert_int_equal(rc, code);
    if (text && !strstr(err.text, text))
        fail_msg("'%s' does not say '%s'", err.text, text);
}

#endif
