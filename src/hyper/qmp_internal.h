/* qmp_internal.h: lines of JSON over a socket, for qmp.c and agent.c.  A deadline is of CLOCK_MONOTONIC, in
 * milliseconds; INT64_MAX: none. */
#ifndef VMWIRE_HYPER_QMP_INTERNAL_H
#define VMWIRE_HYPER_QMP_INTERNAL_H

#include <stdint.h>

#include "hyper/qmp.h"

int64_t qmp_deadline(int timeout_ms); /* negative: without bound */
/* Connect; nothing is read.  Errors as qmp_open's.  On failure nothing is left to close. */
int qmp_connect(struct qmp *qmp, const char *path, int64_t deadline_ms, struct err *err);
/* The next line that is not empty, parsed.  -ETIMEDOUT, -ECONNRESET, -EPROTO, … */
int qmp_receive(struct qmp *qmp, int64_t deadline_ms, struct qmp_message *message);
int qmp_transmit(struct qmp *qmp, const char *bytes, size_t length, int64_t deadline_ms);
/* Until the socket can be read (POLLIN) or written (POLLOUT). */
int qmp_wait_for(int fd, short events, int64_t deadline_ms);
/* Room in the buffer for more. */
int qmp_grow(struct qmp *qmp);

#endif
