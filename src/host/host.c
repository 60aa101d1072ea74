/* host.c: what every backend shares: which operations are applied at once; ending a host. */
#include "host/host.h"

#include <stddef.h>
#include <string.h>

static bool goes_with_others(const struct op *op)
{
    return op->kind == OP_SERVICE_START || op->kind == OP_SERVICE_STOP ||
           (op->kind == OP_LINK_DELETE && strcmp(op->link.kind, "bridge") == 0);
}

size_t host_batch(const struct op *const ops[], size_t count)
{
    size_t batch = 1;
    while (batch < count && goes_with_others(ops[0]) && goes_with_others(ops[batch]) &&
           ops[batch]->kind == ops[0]->kind)
        batch++;
    return batch;
}

int host_apply_each(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                    size_t *failed, struct err *err)
{
    int result = 0;
    for (size_t i = 0; i < count && (result == 0 || (flags & HOST_APPLY_TOLERANT)); i++) {
        struct err said = {0};
        int rc = host->backend->apply(host, ops[i], flags, &said);
        if (rc < 0 && result == 0) {
            result = rc;
            *failed = i;
            if (err)
                *err = said;
        }
    }
    return result;
}

int host_apply(struct host *host, const struct op *const ops[], size_t count, unsigned flags, size_t *failed,
               struct err *err)
{
    *failed = 0;
    return count == 1 ? host->backend->apply(host, ops[0], flags, err)
                      : host->backend->apply_many(host, ops, count, flags, failed, err);
}

void host_close(struct host **host)
{
    if (*host)
        (*host)->backend->close(*host);
    *host = NULL;
}
