/* plan.h: what must change so that the host is as desired: (desired, observed) to an ordered list of
 * operations, each with its undo.  Pure functions. */
#ifndef VMWIRE_PLAN_PLAN_H
#define VMWIRE_PLAN_PLAN_H

#include "base/arena.h"
#include "base/err.h"
#include "model/model.h"
#include "model/problem.h"
#include "model/state.h"
#include "plan/op.h"

struct step {
    struct op op;
    struct op undo;
    unsigned stage; /* by which plan_make put it in its place */
};

struct plan {
    struct arena *arena;
    VEC(struct step) steps;
    VEC(const char *) notes; /* what the user should know and no operation shows; one line each */
};

/* The helper programs that a network should have: made by the service room, carried here as data. */
struct network_services {
    const char *network;
    VEC(struct service) services;
    VEC(struct file) files;  /* their configuration, under RUN/network/NET/ */
    VEC(struct file) tables; /* what the first of them reads anew without a new start; there too */
    VEC(struct file)
    state; /* files that they write themselves: made when they are not there, and else left alone */
};

struct plan_request {
    const struct model *model; /* NULL: `down` (nothing is desired of the selected networks) */
    const struct observed *observed;
    const char *const
        *names; /* NULL-terminated networks to touch; NULL: all, also those that left the file */
    VEC(struct network_services) services;
    VEC(struct lock_lease) leases; /* that the host's own DHCP servers gave */
};

/* Fill `plan`.  What the file wants and this host cannot give goes to `problems`, with positions.  Returns 0
 * (also with problems: the plan is then not to be applied), or -EINVAL when a record in the run directory is
 * damaged. */
int plan_make(struct arena *arena, const struct plan_request *request, struct problems *problems,
              struct plan *plan, struct err *err);

/* The MTU of a network's bridge and taps, bytes: the file's; else its uplink's, which for one that forwards
 * and names none is the default route's interface; of one that is gone, what the bridge has; else 1500.
 * With a subnet6 at least 1280, whatever the uplink has: IPv6 needs it.
 * `model` tells which interfaces are bridged networks' with an MTU of their own. */
uint32_t plan_network_mtu(const struct model *model, const struct network *network,
                          const struct observed *observed);

/* In how many ways (0 to RATE_WAYS) traffic of a network is limited: all of it, or some nic's. */
size_t plan_shapers_wanted(const struct network *network);

/* The interface of the IPv4 default route with the lowest metric in table main, or NULL. */
const char *plan_default_uplink(const struct observed *observed);
/* The same of IPv6. */
const char *plan_default_uplink6(const struct observed *observed);

/* What a network's record (RUN/network/NET/record) says: the mode it was brought up in, the operations that
 * put its uplink back, and the operations by which vmwire gave the bridge its addresses and routes.  It is
 * how `down` knows without the file, and how an address that somebody added by hand is told apart. */
struct record {
    enum network_mode mode; /* 0: no record */
    bool guard_given;       /* the file said `guard_ms` */
    uint32_t guard_ms;      /* it did */
    const char *uplink;     /* of a bridged network whose uplink was taken; NULL: none */
    const char *port;       /* the bridge's port to it: itself, or the VLAN of it that is among `made` */
    uint32_t vlan;          /* its id; 0: none */
    VEC(struct op)
    former; /* OP_LINK_SET first (the uplink's state), then OP_ADDRESS_ADD, OP_ROUTE_ADD and OP_NEIGHBOUR_ADD
               on it */
    VEC(struct op)
    made; /* OP_ADDRESS_ADD, OP_ROUTE_ADD and OP_NEIGHBOUR_ADD on the bridge; its VLAN's
             OP_LINK_CREATE */
};

const char *record_path(struct arena *arena, const char *run_dir, const char *network);
const char *record_format(struct arena *arena, const struct record *record);
/* Lines "mode NAME", "guard_ms NUMBER", "former OPERATION", "made OPERATION".  -EINVAL with the line's
 * number. */
int record_parse(struct arena *arena, const char *text, struct record *record, struct err *err);
/* How long those who answered before a `down` of these networks (NULL: all) have for answering after it, by
 * the file with which they came up: the longest of them. */
int record_guard_ms(struct arena *arena, const struct observed *observed, const char *const *names);
/* The record that `observed` holds of a network; mode 0 when there is none. */
int record_read(struct arena *arena, const struct observed *observed, const char *network,
                struct record *record, struct err *err);

#endif
