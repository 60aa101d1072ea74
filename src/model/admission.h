/* admission.h: a firewall that is not vmwire's, and what it is told so that it lets a network's packets pass.
 *
 * An accept of vmwire's own table ends nothing but its own chain: what another table drops is dropped.  So
 * the word must be said inside the other's chains. */
#ifndef VMWIRE_MODEL_ADMISSION_H
#define VMWIRE_MODEL_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

/* Which packets of a network a rule lets pass; `bridge` is the network's name. */
enum admission_kind {
    ADMISSION_NONE = 0,
    ADMISSION_FROM,    /* forwarded, in by the bridge */
    ADMISSION_TO,      /* forwarded, out by the bridge: vmwire's own table judges these */
    ADMISSION_INSIDE,  /* in and out by the bridge: bridged frames that br_netfilter shows to the firewall */
    ADMISSION_DHCP,    /* to the host: UDP port 67 */
    ADMISSION_DHCP6,   /* UDP port 547 */
    ADMISSION_DNS_UDP, /* to the host: port 53 */
    ADMISSION_DNS_TCP,
    ADMISSION_KIND_COUNT
};

/* One rule of vmwire's in another's chain.  Its comment is "vmwire:NETWORK KIND": by that it is found. */
struct admission {
    const char *network;
    const char *family; /* "ip", "ip6", "inet" */
    const char *table, *chain;
    const char *kind; /* admission_name */
    bool last;        /* behind the chain's other rules; else in front of them.  Not observed */
};

/* The filter table of iptables, for IPv4 or IPv6. */
struct iptables_filter {
    bool docker, ufw;                  /* whose chains are in it */
    bool forward_closed, input_closed; /* what nobody decided is dropped: by the policy, or ufw rejects it */
};

enum { FILTER_IPV4, FILTER_IPV6, FILTER_COUNT };

/* An interface in a zone of firewalld's. */
struct zone_member {
    const char *ifname, *zone;
};

struct foreign_firewalls {
    struct iptables_filter filters[FILTER_COUNT];
    bool bridged[FILTER_COUNT]; /* bridged frames are shown to the firewall (br_netfilter) */

    bool firewalld;       /* its rules are in force */
    bool firewalld_owned; /* and nobody else may change them */
    bool zones_known;     /* it answers: what follows is all there is */
    VEC(const char *) zones;
    VEC(struct zone_member) members;
};

/* The zone that an interface is in by name, or NULL: firewalld's default one. */
const char *zone_of(const struct foreign_firewalls *foreign, const char *ifname);

/* "from", "to", "inside", "dhcp", "dhcp6", "dns-udp", "dns-tcp" */
const char *admission_name(enum admission_kind kind);
enum admission_kind admission_kind_find(const char *name); /* ADMISSION_NONE when it is none */

/* The comment, and the reverse: false when it is not vmwire's.  `network` and `kind` are filled. */
const char *admission_tag(struct arena *arena, const struct admission *admission);
bool admission_of_tag(struct arena *arena, const char *tag, struct admission *admission);
/* Family, table, chain, network and kind are the same. */
bool admission_equal(const struct admission *a, const struct admission *b);

#endif
