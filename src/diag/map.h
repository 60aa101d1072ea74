/* map.h: the picture of what is wired to what, as data: drawn from what is on the host, not from the file.
 *
 * Nodes are things (a router, an uplink, NAT, a bridge, a tap, a guest); an edge leads from what is nearer to
 * the outside to what is nearer to a guest.  What is broken carries its reasons: those that the picture
 * itself shows (no carrier, a port that is none), and findings, each at the part that it is about.  All names
 * are free of control characters: what a host or guest calls itself may be drawn as it is here. */
#ifndef VMWIRE_DIAG_MAP_H
#define VMWIRE_DIAG_MAP_H

#include "base/names.h"
#include "diag/finding.h"
#include "model/model.h"
#include "model/state.h"

enum map_kind {
    MAP_ROUTER,  /* beyond an uplink: the host's gateway there */
    MAP_SEGMENT, /* beyond an uplink or a device: what is there, when the host knows no gateway */
    MAP_UPLINK,  /* a host's interface that leads outside */
    MAP_NAT,     /* the host translating between a bridge and an uplink */
    MAP_BRIDGE,  /* a network's */
    MAP_NIC,     /* a guest's tap */
    MAP_PORT,    /* a port of a bridge that is neither tap nor uplink */
    MAP_DEVICE,  /* a PCI device of a passthrough network */
    MAP_MACHINE, /* a guest, or a program of `exec` */
};

enum map_state { MAP_FINE, MAP_WARNED, MAP_BROKEN };

struct map_reason {
    const char *code; /* of the finding, or "drift" */
    const char *text; /* one sentence */
    enum map_state state;
};

struct map_node {
    enum map_kind kind;
    const char *id;          /* "uplink:re0": kind and name, one of a kind in the map */
    const char *name;        /* "re0", "vm0" */
    const char *network;     /* "" for what belongs to several or to none */
    VEC(const char *) lines; /* what is worth knowing of it, a line each: addresses first */
    size_t own;              /* of a nic: where its addresses and MAC, which its machine has too, end */
    enum map_state state;
    VEC(struct map_reason) reasons;
    VEC(size_t) below, above; /* edges from it, and to it */
    size_t group;             /* map_group: number from 1; 0: drawn by itself */
};

struct map_edge {
    size_t from, to; /* indexes into map->nodes */
    bool broken;     /* there should be a connection, and is none */
};

struct map {
    struct arena *arena;
    VEC(struct map_node) nodes;
    VEC(struct map_edge) edges;
    struct names ids;                 /* of nodes, each once */
    VEC(size_t) id_nodes;             /* whose each id is: the first that has it */
    VEC(struct map_reason) elsewhere; /* reasons that are about no part of the picture */
    /* Of the file, and not on the host: by name. */
    VEC(const char *) networks_down;
    VEC(const char *) machines_stopped;
    size_t groups;
    VEC(size_t) group_members; /* of each group a machine */
};

/* Who has which address, as far as a DHCP server knows. */
struct map_lease {
    struct mac mac;
    struct ip ip;
};

struct map_drift {
    const char *network; /* "": the host's */
    const char *text;    /* what `up` would do */
};

/* What else is known of a network that is there. */
struct map_guests {
    const char *network;
    const char *served; /* "DHCP and DNS"; "" nothing */
    const char *domain; /* of guests' names; NULL: none */
    bool isolate;       /* guests do not reach each other */
};

struct map_request {
    const struct model *model;       /* may be empty: names what is absent */
    const struct observed *observed; /* HOST_OBSERVE_ALL, _DEVICES, and _HEALTH for addresses without lease */
    VEC(struct map_lease) leases;
    VEC(struct map_drift) drift;
    VEC(struct map_guests) guests;
    const struct findings *findings;    /* may be NULL */
    bool (*runs)(void *, const char *); /* does this machine of the file run?  NULL: not asked */
    void *context;
};

/* Pure.  Damaged records are passed over: others report them. */
void map_build(struct arena *arena, const struct map_request *request, struct map *map);

/* The first node of that kind and name; SIZE_MAX: none. */
size_t map_node_find(const struct map *map, enum map_kind kind, const char *name);

const char *map_kind_name(enum map_kind kind); /* "router", "uplink", "nat", … */

/* Put machines that hang on the same networks, and are healthy or have the same reasons, into one group where
 * they are more than `most`; their taps go with them.  What has reasons of its own stays by itself. */
void map_group(struct map *map, size_t most);

/* A machine of the group, which has its reasons. */
const struct map_node *map_group_member(const struct map *map, size_t group);
/* How many taps of a group sit on this bridge. */
size_t map_group_taps(const struct map *map, size_t bridge, size_t group);
/* The groups that have taps on this bridge, in order. */
struct map_groups {
    VEC(size_t) list;
};
void map_groups_below(const struct map *map, size_t bridge, struct map_groups *groups);

/* The picture for graphviz's dot(1), grouped as the map is.  Everything that is a name is escaped. */
const char *map_dot(const struct map *map);

/* map_reasons.c: give each finding to the node that it is about. */
struct map_part {
    const char *network;
    size_t router, uplink, nat, bridge; /* indexes of its nodes; SIZE_MAX: none */
};
struct map_parts {
    VEC(struct map_part) list;
    struct names networks; /* theirs */
};
void map_reason_add(struct map *map, struct map_node *node, const char *code, enum map_state state,
                    const char *text);
void map_reasons_attach(struct map *map, const struct map_request *request, const struct map_parts *parts);

#endif
