/* doctor_internal.h: what the files of doctor share. */
#ifndef VMWIRE_DIAG_DOCTOR_INTERNAL_H
#define VMWIRE_DIAG_DOCTOR_INTERNAL_H

#include <string.h>

#include "diag/doctor.h"

enum { TABLE_MAIN = 254 };

/* One nic that is wired. */
struct doctor_nic {
    const struct link *tap;
    struct wired_nic nic;
    const char *subject;                   /* "machine 'vm0'", "nic 'tap0'" */
    const struct interface_health *health; /* NULL: not known */
    const struct doctor_machine *machine;  /* NULL: a program of `exec` */
    const struct doctor_lease *lease;      /* NULL: none on its network */
    bool neighbour;                        /* the host knows an address of it */
    bool neighbour6;                       /* an IPv6 one */
};

struct doctor_nics {
    VEC(struct doctor_nic) list;
    struct doctor_nic **by_mac, **by_machine; /* the same, sorted */
};

/* doctor_nics.c */
void doctor_nics_find(struct arena *arena, const struct doctor_request *request, struct doctor_nics *nics);
/* Who has this MAC, other than `but`; NULL nobody. */
struct doctor_nic *doctor_nic_by_mac(const struct doctor_nics *nics, const struct mac *mac,
                                     const struct doctor_nic *but);
/* Is this nic of a machine wired?  Is any of it, on this network? */
bool doctor_machine_has(const struct doctor_nics *nics, const char *machine, unsigned index);
bool doctor_machine_on(const struct doctor_nics *nics, const char *machine, const char *network);

/* One network that is looked at. */
struct patient {
    struct arena *arena;
    struct host *host;
    const struct doctor_request *request;
    const struct observed *observed;
    const struct health *health;
    struct findings *findings;
    const struct doctor_nics *nics;
    const struct doctor_network *network;
    const char *subject;       /* "network 'brnat'" */
    const struct link *bridge; /* vmwire's; NULL: not there */
    const struct link *uplink; /* NULL: none, or not there */
    const char *out;           /* what guests' packets leave by; "" not known */
    struct prefix subnet;      /* of nat, else the bridge's IPv4 prefix; unset: none */
    struct ip host_ip;         /* the host's on the bridge; unset: none */
    struct prefix subnet6;     /* the same of nat's IPv6 */
    struct ip host_ip6;
    struct ip guest;  /* an address that a guest has or could have; unset: none */
    struct ip target; /* outside */
};

#define PATIENT_FIND(patient, code, about, ...)                                                              \
    finding_evidence((patient)->findings, finding_add((patient)->findings, code, about), __VA_ARGS__)

/* doctor_link.c: bridge, uplink, ports.  False when nothing behind them can be judged. */
bool doctor_links(struct patient *patient);
/* doctor_route.c: addresses, forwarding, routes. */
void doctor_routes(struct patient *patient);
void doctor_ipv6(struct patient *patient);
/* doctor_firewall.c */
void doctor_firewall(struct patient *patient);
/* doctor_service.c: DHCP and DNS. */
void doctor_services(struct patient *patient);
/* doctor_guest.c: one running machine, or a program of `exec`, by its nics on this network. */
void doctor_guests(struct patient *patient, const char *machine);
/* doctor_lock.c: what locks drop of one nic. */
void doctor_locked(struct patient *patient, const struct doctor_nic *seen);

bool doctor_default_route(const struct observed *observed);

#endif
