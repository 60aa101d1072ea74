/* refusal.h: which of everybody else's firewall chains would drop a network's traffic, and by which rule.
 * Pure: from the ruleset that was observed (HOST_OBSERVE_LINKS and _RULESET). */
#ifndef VMWIRE_PLAN_REFUSAL_H
#define VMWIRE_PLAN_REFUSAL_H

#include "base/arena.h"
#include "model/model.h"
#include "model/state.h"

enum refused_way {
    WAY_OUT,     /* from the guests to the outside, through the host */
    WAY_ANSWER,  /* the answers */
    WAY_SERVICE, /* DHCP and DNS: to the host, and its answers */
    WAY_ARP,     /* the host's own address on the bridge */
    WAY_BRIDGED, /* between ports of the bridge */
};

struct refusal_request {
    enum network_mode mode; /* nat or bridged */
    const char *bridge;
    const char
        *uplink; /* what the packets leave by: of nat the default route's when the file names none; "" none */
    struct prefix subnet; /* nat: the guests'; bridged: unset */
    struct prefix guest;  /* one guest's address alone; unset: every one */
    struct ip host;       /* nat: the host's address on the bridge */
    struct ip target;     /* outside; unset: 8.8.8.8 */
    bool dhcp, dns;       /* the host serves them there */
    const char *tap;      /* one nic's; NULL: any */
};

struct refusal {
    enum refused_way way;
    const char *what;           /* "TCP connections to 8.8.8.8, port 443" */
    struct judgement judgement; /* JUDGED_DROPPED or JUDGED_UNKNOWN */
};

struct refusals {
    VEC(struct refusal) list; /* in the order of what was asked: ping, TCP, DNS outward, answers, services */
};

void plan_refusals(struct arena *arena, const struct observed *observed,
                   const struct refusal_request *request, struct refusals *refusals);

/* The first that is certain (or, with `certain` false, the first that is not), or NULL. */
const struct refusal *refusal_first(const struct refusals *refusals, bool certain);

#endif
