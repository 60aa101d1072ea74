/* access.h: by which interfaces and neighbours this host is reached, and whether a plan touches them.  Pure
 * functions. */
#ifndef VMWIRE_PLAN_ACCESS_H
#define VMWIRE_PLAN_ACCESS_H

#include "plan/plan.h"

struct access_gateway {
    struct ip ip;
    const char *ifname; /* that its route leads over */
};

struct access {
    /* Those that carry a default route or the way to the caller, with all that they stand on and that stands
     * on them: bridges and their ports, bonds, VLANs. */
    VEC(const char *) interfaces;
    VEC(struct access_gateway) gateways; /* of the default routes, each once */
    bool caller_on_link;                 /* the caller is a neighbour */
};

/* `caller`: who is logged in here over the network; unset: nobody. */
void access_find(struct arena *arena, const struct observed *observed, const struct ip *caller,
                 struct access *access);

/* Add what stands on those interfaces, and what they stand on, by now. */
void access_follow(struct arena *arena, const struct observed *observed, struct access *access);

/* Does the plan change one of the interfaces, their addresses, their routes, or any default route? */
bool access_touched(const struct access *access, const struct observed *observed, const struct plan *plan);

/* The interfaces among which the neighbour `ip` may be found: those of `access` that are there and no ports,
 * and those with an address on its subnet.  NULL-terminated, in the arena. */
const char *const *access_candidates(struct arena *arena, const struct access *access,
                                     const struct observed *observed, const struct ip *ip);

/* Forget the gateways that this host has by a lease of vmwire's own which the plan ends: without the network
 * the host did not have them, and is not to have them.  False when there were some and none is left. */
bool access_end_leases(struct access *access, const struct plan *plan);

#endif
