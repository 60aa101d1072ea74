/* status.h: what is: networks with their ports, addresses, leases and drift, as data. */
#ifndef VMWIRE_ENGINE_STATUS_H
#define VMWIRE_ENGINE_STATUS_H

#include "engine/engine.h"
#include "service/service.h"

enum network_state {
    STATE_DOWN,     /* in the file, nothing of it on the host */
    STATE_UP,       /* as the file says */
    STATE_DRIFTED,  /* partly there, or other than the file says: `drift` tells */
    STATE_UNLISTED, /* on the host, no longer in the file */
};

struct status_port {
    const char *ifname;
    bool uplink;
    bool carrier;
    uint32_t vlan;                  /* a nic's, as it is; 0 none */
    struct wired_nic nic;           /* machine "" when it is not a nic of vmwire's */
    struct rates rates;             /* its own, in force */
    bool isolated;                  /* from the other isolated ones, in force */
    VEC(struct ip) addresses;       /* a nic's: given by the file or to `exec`, leased, or learned */
    const struct lock_drops *drops; /* HOST_OBSERVE_HEALTH: what locks dropped of it; NULL: nothing */
};

/* A device of a passthrough network: its card, or a function that a machine has. */
struct status_device {
    const char *address;
    const char *ifname;  /* of its interface on the host, now or before it went; "" none */
    const char *driver;  /* "" none */
    const char *machine; /* that has it; "" nobody */
    bool missing;        /* the file names it, and this host has no such device */
};

/* A port forward that is in force. */
struct status_forward {
    struct forward forward;
    const char *machine; /* whose nic has the target address, by the file; "" nobody's */
};

/* Who has an address of a network that shares a MAC. */
struct status_owner {
    const struct shared_address *address;
    bool host;           /* the host itself */
    const char *machine; /* whose nic has that MAC; "" not known, "-" a program of exec */
};

struct status_network {
    const char *name;
    const struct network *entry; /* NULL: not in the file */
    enum network_mode mode;
    enum network_state state;
    const struct link *bridge;      /* NULL: not there */
    const char *uplink;             /* the file's, the record's or the default route's; NULL: none */
    const struct link *uplink_link; /* NULL: not there */
    const char *port;               /* the bridge's port to it: itself, or its VLAN */
    unsigned vlan;                  /* 0: none */
    bool uplink_default;            /* it is the default route's at this moment */
    bool dhcp;                      /* dnsmasq runs for it, or its DHCP client */
    VEC(const struct address *) addresses;
    VEC(struct status_port) ports;
    VEC(struct status_device) devices;
    VEC(struct status_forward) forwards;
    struct leases leases;
    struct rates rates;          /* of all nics together, in force */
    const struct shared *shared; /* the translation that is in force; NULL: none */
    VEC(struct status_owner) owners;
    const struct lock *lock; /* what guests are held to; NULL: nothing */
    bool isolate;            /* guests do not reach each other */
    struct served served;    /* by its dnsmasq, which runs */
    VEC(const char *) drift; /* what `up` would do, one line each */
};

struct status {
    VEC(struct status_network) networks;
    struct names names;           /* theirs */
    VEC(const char *) host_drift; /* what `up` would do to the host itself */
    int confirm_ms;               /* a change waits to be confirmed, for so long yet; -1: none */
};

/* Collect it.  `model` may be empty (no file).  Observes the host (HOST_OBSERVE_ALL and `more`);
 * engine->observed is filled. */
int engine_status(struct engine *engine, struct model *model, unsigned more, struct problems *problems,
                  struct status *status, struct err *err);

const char *network_state_name(enum network_state state); /* "down", "up", "drifted", "unlisted" */

/* The leases of one network as its server knows them now; none when it has none. */
void engine_leases(struct engine *engine, const char *network, struct leases *leases);

#endif
