/* lock.h: what guests of a network may send: kinds of locks, a nic's own addresses, and what was dropped. */
#ifndef VMWIRE_MODEL_LOCK_H
#define VMWIRE_MODEL_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "model/address.h"

enum lock_kind {
    LOCK_MAC,  /* frames from another MAC than the nic's */
    LOCK_IP,   /* packets from another address than the guest's */
    LOCK_ARP,  /* ARP and neighbour discovery in another's name */
    LOCK_DHCP, /* answers of DHCP servers; requests for another MAC */
    LOCK_RA,   /* router advertisements and redirects */
    LOCK_KIND_COUNT
};

/* "mac", "ip", "arp", "dhcp", "ra" */
const char *lock_kind_name(enum lock_kind kind);
/* "mac, ip, arp"; "" for none. */
const char *lock_kinds_text(struct arena *arena, const bool kinds[LOCK_KIND_COUNT]);

/* One network's. */
struct lock {
    const char *network;
    bool kinds[LOCK_KIND_COUNT];
    struct prefix subnet6; /* IPv6 that guests may have beside link-local; unset: none */
    bool any6;             /* they may have any: the network is another's, whose prefixes nobody told */
    struct prefix subnet; /* where no lease is looked at, IPv4 that they may have; unset: any, or elsewhere */
};

bool lock_equal(const struct lock *a, const struct lock *b);

/* What a nic may say that it is. */
struct lock_nic {
    const char *ifname; /* its tap */
    const char *network;
    struct mac mac;
    bool any;          /* a program whose MAC is not known: neither MAC nor addresses are held against it */
    struct ip ip, ip6; /* that it has beside what it leases, or takes of IPv6; unset: none */
    struct ip leased;  /* in an operation: what it was known to lease when the rules were made; unset: none */
    struct lock held;  /* where rules are each nic's own, its network's as far as it holds this one; unset:
                          elsewhere, or nothing is held against it */
};

/* Where rules are each nic's own: what `lock` makes of a nic whose MAC and addresses are known.  What is of
 * no use to the rules is unset, so that equal rules are equal nics. */
void lock_nic_hold(struct lock_nic *nic, const struct lock *lock);
/* Is anything held against it; and by what a packet filter does? */
bool lock_nic_held(const struct lock_nic *nic);
bool lock_filters(const struct lock *lock);

bool lock_nic_equal(const struct lock_nic *a, const struct lock_nic *b); /* but for `leased` */

/* Frames of a tap that were dropped, since it is there. */
struct lock_drops {
    const char *ifname;
    uint64_t count[LOCK_KIND_COUNT];
    bool uncounted[LOCK_KIND_COUNT]; /* this host does not tell how many */
    struct mac mac;                  /* one that it sent in vain within ten minutes; unset: none */
    struct ip ip, ip6;               /* likewise */
};

/* An IPv4 address that a MAC was seen to lease. */
struct lock_lease {
    struct mac mac;
    struct ip ip;
};

#endif
