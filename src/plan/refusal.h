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
    WAY_ARP,     /* the host's own address on the bridge; of IPv6, routers and neighbours by ICMPv6 */
    WAY_BRIDGED, /* between ports of the bridge */
};

struct refusal_request {
    enum network_mode mode; /* nat or bridged */
    const char *bridge;
    const char
        *uplink; /* what the packets leave by: of nat the default route's when the file names none; "" none */
    const char *uplink6;           /* the same of IPv6; NULL: as `uplink` */
    struct prefix subnet, subnet6; /* nat: the guests'; bridged: unset */
    struct prefix guest;           /* one guest's address alone; unset: every one of both families */
    struct ip host, host6;         /* nat: the host's addresses on the bridge */
    struct ip target; /* outside; unset, and of the other family: 8.8.8.8, 2001:4860:4860::8888 */
    bool dhcp, dns;   /* the host serves them there */
    const char *tap;  /* one nic's; NULL: any */
};

struct refusal {
    enum refused_way way;
    bool six;                   /* IPv6 */
    const char *what;           /* "TCP connections (port 443)" */
    struct judgement judgement; /* JUDGED_DROPPED or JUDGED_UNKNOWN */
};

struct refusals {
    /* In the order of what was asked: ping, TCP, DNS outward, answers, services; IPv4, then IPv6. */
    VEC(struct refusal) list;
};

void plan_refusals(struct arena *arena, const struct observed *observed,
                   const struct refusal_request *request, struct refusals *refusals);

/* The first that is certain (or, with `certain` false, the first that is not), or NULL. */
const struct refusal *refusal_first(const struct refusals *refusals, bool certain);

#endif
