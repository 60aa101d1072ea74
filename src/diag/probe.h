/* probe.h: act as a guest, watch what becomes of its packets, and say what is wrong first.
 *
 * Theory of operation.  probe is trace with a guest of its own: a throw-away nic whose other end is in a
 * network namespace or a jail (host/guest.h).  There probe_guest.c does what a guest does, step by step,
 * and reports each; meanwhile the tracer (trace_internal.h) follows its packets through the hops.  The first
 * step that failed, in the order of enum probe_step, gives the ask that is told and explained. */
#ifndef VMWIRE_DIAG_PROBE_H
#define VMWIRE_DIAG_PROBE_H

#include "diag/trace.h"
#include "host/guest.h"

/* What is pinged when nothing else is said. */
#define PROBE_TARGET "8.8.8.8"
#define PROBE_TARGET6 "2001:4860:4860::8888" /* where guests have IPv6 by this host, and it has a way out */

/* In the order in which one is the cause of the next. */
enum probe_step {
    PROBE_LEASE,   /* an address, by DHCP */
    PROBE_GATEWAY, /* the router's MAC, by ARP */
    PROBE_PING,    /* the target answers */
    PROBE_NAME,    /* a name, over the leased DNS server */
    PROBE_TCP,     /* the target answers a TCP connection, if by refusing it */
    PROBE_MTU,     /* the target answers packets of the nic's MTU */
    PROBE_ROUTER6, /* a router advertisement, and an address by it; skipped where the network has no IPv6; of
                      an isolated network the address alone */
    PROBE_PING6,   /* the IPv6 target, else that router (isolated: the host), answers */
    PROBE_LEASE6,  /* an offer, by DHCPv6; skipped where the network has none of its own */
    PROBE_STEP_COUNT,
};

enum probe_outcome { PROBE_SKIPPED, PROBE_PASSED, PROBE_FAILED };

enum { PROBE_TEXT_SIZE = 160 };

/* What the guest tells of one step. */
struct probe_report {
    enum probe_step step;
    enum probe_outcome outcome;
    int64_t took_ns;
    char text[PROBE_TEXT_SIZE]; /* "10.0.0.14/24 from 10.0.0.1" */
    /* of PROBE_LEASE */
    struct prefix address;
    struct ip gateway, server, dns;
    /* of PROBE_NAME: the server answers what it knows by itself; what it said to the name */
    bool dns_alive;
    int dns_status; /* -1: nothing */
    /* of PROBE_MTU, bytes */
    unsigned mtu, lost; /* the largest that was answered, the smallest that was not (0: none) */
    /* of PROBE_ROUTER6: who advertised itself; unset: nobody */
    struct ip router6;
};

struct probe_request {
    const char *network;
    const struct nic_open *nic; /* one queue, no virtio header */
    struct mac mac;             /* of the nic */
    struct ip target;           /* IPv4 */
    struct ip target6;          /* IPv6; unset: the router */
    const char *program;        /* absolute path of vmwire, for the DHCP client's events */
    const struct model *model;
    const struct observed *observed; /* with the nic; as for trace */
    const struct findings *known;    /* as for trace */
    const volatile sig_atomic_t *stopped;
};

struct probe {
    struct probe_report steps[PROBE_STEP_COUNT];
    struct trace trace; /* hops of what failed, else of the ping; and the findings */
    int64_t took_ns;
};

const char *probe_step_name(enum probe_step step); /* "lease", "gateway", "ping", "name", "tcp", "mtu",
                                                      "router6", "ping6", "lease6" */

/* 0 (also when something is wrong: see the findings), or a negative errno: -ENOSYS on a host without guests,
 * -EPERM, -ENOENT without the DHCP client. */
int probe_run(struct arena *arena, struct host *host, const struct probe_request *request,
              struct probe *probe, struct err *err);

/* Whether guests of a network have IPv6. */
enum probe_ipv6 {
    PROBE_IPV6_NONE,   /* nothing is looked for */
    PROBE_IPV6_MAYBE,  /* it is looked for, and need not be */
    PROBE_IPV6_WANTED, /* the host has it there: a guest that gets none is a fault */
};

/* probe_guest.c and probe_guest6.c: what runs in the guest. */
struct probe_guest {
    const struct host_guest *host;
    const char *ifname; /* set in the guest */
    struct mac mac;
    uint32_t mtu;
    struct ip target, target6,
        gateway;           /* gateway: as the host knows it, for a guest without a lease; may be unset */
    struct prefix address; /* set: the network has no DHCP, this is the guest's address */
    const char *program;
    enum probe_ipv6 ipv6;
    bool dhcp6;    /* the network's own server offers IPv6 addresses */
    bool isolated; /* the network leads nowhere: its server asks nobody, and nobody is a router */
};
void probe_guest_act(int fd, const char *ifname, void *guest);

#endif
