/* qmp.h: a small client of QEMU's control protocol: one command at a time.
 *
 * Source: QEMU Machine Protocol Specification (docs/interop/qmp-spec.txt).  QEMU writes one JSON object a
 * line.  Whatever the other end sends, these functions end within their time with 0 or an error. */
#ifndef VMWIRE_HYPER_QMP_H
#define VMWIRE_HYPER_QMP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum {
    QMP_LINE_MAX = 256 * 1024, /* bytes; the longest line that is accepted */
    QMP_DEPTH_MAX = 64,        /* how deep objects and arrays may nest */
    QMP_TEXT_MAX = 256,        /* bytes of a name or an error's description that are kept, with the NUL */
    QMP_COMMAND_MAX = 2048,    /* bytes of a command's line */
};

struct qmp {
    int fd;       /* -1 while not connected */
    char *buffer; /* what was read and not yet consumed */
    size_t used, capacity;
};

/* What one line says. */
enum qmp_kind {
    QMP_OTHER = 0, /* a JSON object that is none of the below */
    QMP_GREETING,
    QMP_RETURN,
    QMP_ERROR, /* text: the description; class: its class */
    QMP_EVENT, /* text: the event's name */
};

struct qmp_message {
    enum qmp_kind kind;
    char text[QMP_TEXT_MAX]; /* UTF-8, cut at the end where too long */
    char class[32];          /* likewise */
};

/* Read one line (`length` bytes, without its newline).  -EPROTO when it is not exactly one JSON object (RFC
 * 8259), or nests deeper than QMP_DEPTH_MAX. */
int qmp_parse(const char *line, size_t length, struct qmp_message *message);

/* Connect to the unix socket at `path`, read the greeting, leave negotiation mode.  All of it within
 * `timeout_ms`. Errors: connect(2)'s (-ENOENT, -ECONNREFUSED: nobody is there); -ENAMETOOLONG; -ETIMEDOUT,
 * also when another client is being served; -ECONNRESET closed; -EPROTO not QMP.  On failure nothing is left
 * to close. */
int qmp_open(struct qmp *qmp, const char *path, int timeout_ms, struct err *err);

/* The same on a descriptor that is connected, which is owned from here on, also on failure. */
int qmp_attach(struct qmp *qmp, int fd, int timeout_ms, struct err *err);

/* Execute a command without arguments (letters, digits, '-', '_') and wait for its return; events are passed
 * over. Errors: -EIO with QEMU's own words when it refuses; -ETIMEDOUT, -ECONNRESET, -EPROTO. */
int qmp_execute(struct qmp *qmp, const char *command, int timeout_ms, struct err *err);

/* The same with `arguments`, a JSON object (NULL: none), and a descriptor `fd` (-1: none) that the command
 * takes; it stays open here too.  Errors besides: -ENODEV where QEMU knows no such device (DeviceNotFound).
 */
int qmp_call(struct qmp *qmp, const char *command, const char *arguments, int fd, int timeout_ms,
             struct err *err);

/* Wait for an event by its name.  timeout_ms negative: without bound.  Errors as qmp_execute's. */
int qmp_wait_event(struct qmp *qmp, const char *event, int timeout_ms, struct err *err);

/* Close; may be called twice, and on a zeroed structure whose fd is -1. */
void qmp_close(struct qmp *qmp);

#define _cleanup_qmp_ __attribute__((cleanup(qmp_close)))

#endif
