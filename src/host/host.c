/* host.c: what every backend shares: which operations are applied at once; ending a host. */
#include "host/host.h"

#include <stddef.h>
#include <string.h>

/* What goes together: operations of one kind, and what changes vmwire's own rules.  OP_NONE: goes alone. */
static enum op_kind company(const struct op *op)
{
    switch (op->kind) {
    case OP_SERVICE_START:
    case OP_SERVICE_STOP:
        return op->kind;
    case OP_LINK_DELETE:
        return strcmp(op->link.kind, "bridge") == 0 ? op->kind : OP_NONE;
    case OP_FIREWALL_SET:
    case OP_FIREWALL_REMOVE:
    case OP_LOCK_SET:
    case OP_LOCK_REMOVE:
        return OP_FIREWALL_SET;
    default:
        return OP_NONE;
    }
}

size_t host_batch(const struct op *const ops[], size_t count)
{
    size_t batch = 1;
    enum op_kind first = company(ops[0]);
    while (batch < count && first != OP_NONE && company(ops[batch]) == first)
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
