/* doctor.h: what can be told of networks and machines without a packet.
 *
 * Everything comes from one observation of the host (HOST_OBSERVE_ALL, _RULESET and _HEALTH), and from asking
 * the kernel how it would route.  The chain of a guest's packets is gone along link by link: nic, bridge,
 * addresses, routes, firewalls, translation, uplink, services.  What does not follow with certainty is a
 * note, or nothing. */
#ifndef VMWIRE_DIAG_DOCTOR_H
#define VMWIRE_DIAG_DOCTOR_H

#include "diag/finding.h"
#include "host/host.h"
#include "model/model.h"
#include "model/state.h"

struct doctor_lease {
    struct mac mac;
    struct ip ip;
};

struct doctor_network {
    const char *name;
    const struct network *entry; /* NULL: not in the file */
    enum network_mode mode;
    bool up;                         /* something of it is on the host */
    const char *uplink;              /* the file's, the record's or the default route's; NULL: none */
    const char *port;                /* the bridge's port to it: itself, or its VLAN */
    unsigned vlan;                   /* 0: none */
    bool uplink_named;               /* by the file or the record */
    VEC(struct doctor_lease) leases; /* that are not over */
    VEC(const char *) drift;         /* what `up` would do */
};

struct doctor_machine {
    const char *name;
    const struct machine *entry; /* NULL: not in the file */
    bool running;
    pid_t pid; /* 0: not known */
};

struct doctor_request {
    const struct model *model;
    const struct observed *observed;
    VEC(struct doctor_network) networks;
    VEC(struct doctor_machine) machines;
    VEC(const char *) host_drift;
    const char *name; /* a network or machine; NULL: all */
};

/* 0, or -ENOENT when nothing has the name: the text says what there is. */
int doctor_run(struct arena *arena, struct host *host, const struct doctor_request *request,
               struct findings *findings, struct err *err);

#endif
