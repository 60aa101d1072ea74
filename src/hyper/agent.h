/* agent.h: a guest's own helper, qemu-ga, asked through the machine's agent socket to do something inside.
 *
 * Source: QEMU Guest Agent Protocol Reference (docs/interop/qemu-ga-ref): the lines of QMP without its
 * greeting.  What answers is a program of the guest: whatever it sends, these functions end within their
 * time. */
#ifndef VMWIRE_HYPER_AGENT_H
#define VMWIRE_HYPER_AGENT_H

#include "base/err.h"
#include "model/address.h"

/* Let the guest ping `target` four times; does not wait for that.  Errors: -ENOENT, -ECONNREFUSED: the
 * machine has no agent socket; -ETIMEDOUT: nobody in the guest answers; -EIO with the agent's words when it
 * refuses; -EPROTO. */
int agent_ping(const char *path, const struct ip *target, int timeout_ms, struct err *err);

#endif
