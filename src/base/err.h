/* err.h: what went wrong, in words that gain context on the way up.  The contract is docs/ERRORS.md. */
#ifndef VMWIRE_BASE_ERR_H
#define VMWIRE_BASE_ERR_H

#include <stdarg.h>

enum { ERR_TEXT_MAX = 2048 };

/* A failure.  `code` is a negative errno, 0 while nothing failed; `text` is one line or several, without a
 * final newline. */
struct err {
    int code;
    char text[ERR_TEXT_MAX];
};

/* Record a failure.  `code` is a negative errno (a positive one is negated).  Does not append strerror: say
 * in the format what failed.  `err` may be NULL.  Returns the negative errno, so that `return err_set(…)`
 * reads well. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, followed by `: ` and strerror(code). */
int err_errno(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Put context in front of what err already says: "<format>: <old text>".  Returns err->code (-EIO when err is
 * NULL). */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put a line behind what err already says, on a line of its own. */
void err_append(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
