/* fault.c: a host whose N-th change fails or kills, for the tests: see fault.h. */
#include "host/fake/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

struct fault_host {
    struct host host;
    struct host_backend backend;
    const struct host_backend *real;
    bool after, kill, tolerant, caller, guard;
    pid_t opener; /* the process that opened the host: the caller, when a guard applies */
    long at, count;
};

static int fire(const struct fault_host *fault, const struct op *op, struct err *err)
{
    if (fault->kill) {
        bool one = fault->caller || fault->guard;
        if (getpid() != fault->opener && (!one || fault->caller))
            kill(fault->opener, SIGKILL);
        if (!one || fault->guard || getpid() == fault->opener)
            raise(SIGKILL);
        return 0;
    }
    return err_set(err, EIO, "a fault was injected at operation %ld (%s)", fault->count,
                   op_kind_name(op->kind));
}

/* The backend's functions are given the wrapped host: its first member is the struct host that they know. */
static struct fault_host *current;

static int fault_apply(struct host *host, const struct op *op, unsigned flags, struct err *err)
{
    struct fault_host *fault = current;
    if (!(flags & HOST_APPLY_TOLERANT) == fault->tolerant)
        return fault->real->apply(host, op, flags, err);
    fault->count++;
    if (fault->count == fault->at && !fault->after) {
        int rc = fire(fault, op, err);
        if (rc < 0)
            return rc;
    }
    int rc = fault->real->apply(host, op, flags, err);
    return rc == 0 && fault->count == fault->at ? fire(fault, op, err) : rc;
}

/* Where the N-th is among them they go one by one, so that it is known which have been done. */
static int fault_apply_many(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                            size_t *failed, struct err *err)
{
    struct fault_host *fault = current;
    bool counts = !(flags & HOST_APPLY_TOLERANT) != fault->tolerant;
    if (counts && fault->at > fault->count && fault->at <= fault->count + (long)count)
        return host_apply_each(host, ops, count, flags, failed, err);
    fault->count += counts ? (long)count : 0;
    return fault->real->apply_many(host, ops, count, flags, failed, err);
}

static void fault_close(struct host *host)
{
    struct fault_host *fault = current;
    host->backend = fault->real;
    current = NULL;
    fault->real->close(host);
    free(fault);
}

int host_fault_wrap(struct host *host, struct err *err)
{
    const char *wanted = getenv("VMWIRE_FAULT");
    if (!wanted)
        return 0;
    struct fault_host *fault = calloc(1, sizeof(*fault));
    if (!fault)
        return err_errno(err, ENOMEM, "injecting a fault");
    fault->tolerant = strncmp(wanted, "tolerant-", 9) == 0;
    wanted += fault->tolerant ? 9 : 0;
    const char *space = strchr(wanted, ' ');
    fault->kill = strncmp(wanted, "kill-", 5) == 0;
    fault->caller = strncmp(wanted, "kill-caller-", 12) == 0;
    fault->guard = strncmp(wanted, "kill-guard-", 11) == 0;
    fault->opener = getpid();
    fault->after = strstr(wanted, "-after") != NULL;
    fault->at = space ? strtol(space, NULL, 10) : 0;
    fault->real = host->backend;
    fault->backend = *host->backend;
    fault->backend.apply = fault_apply;
    fault->backend.apply_many = fault_apply_many;
    fault->backend.close = fault_close;
    host->backend = &fault->backend;
    current = fault;
    return 0;
}
