/* agent.c: the guest's agent: agent.h. */
#include "hyper/agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hyper/qmp_internal.h"

#define MARK '\xff'

/* Answers to somebody before us may still be under way: the agent sends a byte that is in no JSON before its
 * answer to guest-sync-delimited, and all before it is thrown away. */
static int mark_await(struct qmp *qmp, int64_t deadline_ms)
{
    for (;;) {
        char *mark = qmp->used ? memchr(qmp->buffer, MARK, qmp->used) : NULL;
        if (mark) {
            qmp->used -= (size_t)(mark + 1 - qmp->buffer);
            memmove(qmp->buffer, mark + 1, qmp->used);
            return 0;
        }
        qmp->used = 0;
        int rc = qmp_grow(qmp);
        if (rc == 0)
            rc = qmp_wait_for(qmp->fd, POLLIN, deadline_ms);
        if (rc < 0)
            return rc;
        ssize_t got = recv(qmp->fd, qmp->buffer, qmp->capacity, MSG_DONTWAIT);
        if (got == 0)
            return -ECONNRESET;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        qmp->used = got > 0 ? (size_t)got : 0;
        /* A guest that never stops sending must not keep us. */
        if (!qmp->used || memchr(qmp->buffer, MARK, qmp->used) || deadline_ms > qmp_deadline(0))
            continue;
        return -ETIMEDOUT;
    }
}

static int ask(struct qmp *qmp, const char *line, int64_t deadline_ms, struct err *err)
{
    struct qmp_message message = {0};
    bool sync = line[0] == MARK;
    int rc = qmp_transmit(qmp, line, strlen(line), deadline_ms);
    if (rc == 0 && sync)
        rc = mark_await(qmp, deadline_ms);
    while (rc == 0 && message.kind != QMP_RETURN && message.kind != QMP_ERROR)
        rc = qmp_receive(qmp, deadline_ms, &message);
    if (rc == 0 && message.kind == QMP_ERROR)
        return err_set(err, EIO, "the guest's agent: %s", message.text);
    if (rc == -ETIMEDOUT)
        return err_set(err, rc, "the guest's agent does not answer: is qemu-ga running there?");
    return rc < 0 ? err_errno(err, rc, "asking the guest's agent") : 0;
}

int agent_ping(const char *path, const struct ip *target, int timeout_ms, struct err *err)
{
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    char line[256];
    int64_t deadline_ms = qmp_deadline(timeout_ms);
    int rc = qmp_connect(&qmp, path, deadline_ms, err);
    if (rc == 0)
        rc = ask(&qmp, "\xff{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": 118}}\n",
                 deadline_ms, err);
    if (rc < 0)
        return rc;
    snprintf(line, sizeof(line),
             "{\"execute\": \"guest-exec\", \"arguments\": {\"path\": \"ping\", \"arg\": [\"-c\", "
             "\"4\", \"%s\"]}}\n",
             IP_TEXT(target));
    return ask(&qmp, line, deadline_ms, err);
}
