/* trace.h: follow a guest's own packets, hop by hop, and say what is wrong first.
 *
 * Nothing is sent (but with `ping`): frames are watched at the machine's nics, their bridge and its uplink,
 * the firewall's chains are told to report on what the guest sends, and both end with this call. */
#ifndef VMWIRE_DIAG_TRACE_H
#define VMWIRE_DIAG_TRACE_H

#include <signal.h>
#include <stdbool.h>

#include "diag/capture.h"
#include "diag/finding.h"
#include "host/host.h"

struct trace_request {
    const char *name;                /* a machine, or one nic: MACHINE/INDEX or its tap */
    struct ip target;                /* follow what goes there; unset: whatever comes */
    bool ping;                       /* the host pings the guest, so that there is traffic */
    int seconds;                     /* to wait at most */
    void (*watching)(void *context); /* called when everything is open, before the wait; may be NULL */
    void *context;
    const struct model *model;       /* may be NULL */
    const struct observed *observed; /* links, addresses, routes, forwarding, services, files, ruleset */
    const struct ip *addresses;      /* of the guest, as far as leases tell; `address_count` of them */
    size_t address_count;
    const struct findings *known;         /* doctor's, to explain what frames alone do not; may be NULL */
    const volatile sig_atomic_t *stopped; /* not 0: end now; may be NULL */
};

enum trace_mark {
    TRACE_PASSED,
    TRACE_LOST,  /* here it ended: dropped, or never seen */
    TRACE_NOTED, /* neither: what is worth knowing on the way */
};

/* One row: a hop or a chain, on the way out or back. */
struct trace_step {
    enum trace_mark mark;
    bool back;         /* of the answer */
    const char *where; /* "tap0", "brnat", "re0", "inet vmwire forward" */
    const char *what;  /* "vm0/0 sends …", "accept: RULE" */
    const char *frame; /* of a hop: the frame that was seen there, as tcpdump -qne prints it; NULL none */
    int64_t after_ns;  /* since the guest sent it; -1: not known */
};

struct trace {
    struct findings findings;
    VEC(struct trace_step) steps;
    const char *flow;      /* what was followed, as text; NULL: nothing came */
    bool answered;         /* it went out and its answer reached the guest */
    int64_t round_trip_ns; /* -1: not answered */
    uint64_t frames;       /* that the guest sent while it was watched */
    const char *chains;    /* NULL: chains were watched; else why not */
};

/* 0 (also when something is wrong: see the findings), or a negative errno: -ENOENT no such machine or nic,
 * -EPERM. */
int trace_run(struct arena *arena, struct host *host, const struct trace_request *request,
              struct trace *trace, struct err *err);

#endif
