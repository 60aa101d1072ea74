/* internal.h: what the files of the plan room share. */
#ifndef VMWIRE_PLAN_INTERNAL_H
#define VMWIRE_PLAN_INTERNAL_H

#include "plan/plan.h"

/* The order of a plan.  Within a stage, steps are in the order in which they were added: a network's own
 * order is above network.c.  Servers are all stopped before anything else changes and all started after it,
 * and bridges go together, since what waits there is not the processor: the waits overlap, and a server that
 * runs is woken by every address of every other network that comes or goes. */
enum stage {
    STAGE_FIRST,   /* what moves from one network to another is let go */
    STAGE_STOP,    /* servers */
    STAGE_GO,      /* networks that go, one after the other, but for */
    STAGE_RULES,   /* their rules, and those of networks that come (rules_stage), */
    STAGE_BRIDGES, /* and their bridges */
    STAGE_GONE,    /* the files of networks that go */
    STAGE_COME,    /* networks that stay or come, one after the other */
    STAGE_START,   /* servers */
    STAGE_LAST,    /* what the host has for all */
    STAGE_COUNT
};

/* A bridged network that has an uplink, by its record. */
struct uplink_use {
    const char *network, *uplink;
    bool formerly_up, left;
};

/* A nic that is wired now. */
struct planned_nic {
    const struct link *tap;
    struct wired_nic nic;
    const char *home; /* the network where it belongs */
};

struct planner {
    struct arena *arena;
    const struct plan_request *request;
    const struct observed *observed;
    struct problems *problems;
    struct plan *plan;
    enum stage stage; /* of the steps that are added now */
    bool devices;     /* some device is away from this host: it has a record */
    bool locks;       /* some network has a lock that a packet filter holds */
    VEC(struct uplink_use) uplink_uses;
    VEC(const struct link *) vlans; /* of the links that are there, those of this kind */
    VEC(struct planned_nic) nics;   /* by machine and index; nics_find */
    uint32_t shaper_number;         /* the last one given */
    VEC(struct firewall) firewalls; /* what each network's rules are, the steps so far being done */
};

/* One network on its way from `now` to `want` (mode 0: nothing, to be taken down). */
struct passage {
    const char *name;
    const struct network *network; /* its entry; NULL when it goes away */
    const struct network_services *services;
    struct record now, want;
    const struct link *bridge; /* observed and vmwire's, or NULL */
    uint32_t mtu;              /* plan_network_mtu; 0 for one that goes away */
    bool mtu_set;              /* the bridge has it, by a step of its own */
};

/* check.c: what this host cannot give.  Adds to planner->problems. */
void check_network(struct planner *planner, const struct passage *passage);
/* record of what `network` should be. */
void want_record(struct planner *planner, struct passage *passage);
/* host_steps.c: what all networks with rules share; up when one stays or comes, and whether one forwards. */
void host_steps_up(struct planner *planner, bool forward);
/* Before the networks' steps: room for as many DHCP and DNS servers as the file has. */
void watches_up(struct planner *planner);
/* Records of what is put back when the last network goes that needs it. */
enum former { FORMER_IPV4, FORMER_IPV6, FORMER_WATCHES, FORMER_RATES, FORMER_LOCKS };
/* The record is written, unless there is one, before what it takes back. */
void former_record(struct planner *planner, enum former former, const struct op *op);
/* What a host needs whose packet filter holds locks. */
void lock_sysctls_up(struct planner *planner);
/* And what those share that have IPv6. */
int host_steps6_up(struct planner *planner, struct err *err);
int host_steps_down(struct planner *planner, enum former former, struct err *err);
/* firewall.c: a network's rules that go or lose something, and those that come. */
void firewall_steps_down(struct planner *planner, const struct passage *passage);
void firewall_steps_up(struct planner *planner, const struct passage *passage);
/* Once, before any network's own: forwarded ports that move from one network to another are let go, and
 * those that a network holds which stays as it is are refused to others. */
void firewall_ports_release(struct planner *planner);
/* shared.c: `mac: shared`: rules and fixed addresses that should not be there, those that should, and what
 * this host cannot give. */
void remove_shared(struct planner *planner, const struct passage *passage);
void set_shared(struct planner *planner, const struct passage *passage);
void check_shared(struct planner *planner, const struct passage *passage);
/* vlan.c: networks that are a VLAN of their uplink.  The first once, before any network's own: VLANs that
 * move from one network to another are let go. */
void vlans_release(struct planner *planner);
void check_vlan(struct planner *planner, const struct passage *passage);
void vlan_detach(struct planner *planner, const struct passage *passage);
void vlan_remove(struct planner *planner, const struct passage *passage);
void vlan_make(struct planner *planner, const struct passage *passage);
/* Is it a VLAN that vmwire made for this network? */
bool is_vlan_of(const struct planner *planner, const struct link *link, const char *network);
/* port_vlan.c: VLANs of nics.  Does the network's bridge filter VLANs? */
bool filters_vlans(const struct network *network);
void check_port_vlans(struct planner *planner, const struct passage *passage);
/* The uplink's port, before it leaves the bridge, and once it is on it. */
void port_vlans_down(struct planner *planner, const struct passage *passage);
void port_vlans_up(struct planner *planner, const struct passage *passage);
/* Where a nic's port is not in the VLAN that it should be in: fills `vlan` and `alias` of both. */
bool port_vlan_differs(const struct planner *planner, const struct passage *passage, const struct link *tap,
                       const struct wired_nic *nic, struct port *now, struct port *want);
/* Several networks may have one uplink: was it up before the first of them came?  The last that leaves it
 * sets it down where it was. */
/* And which links are VLANs. */
void uplink_uses_read(struct planner *planner);
bool uplink_formerly_up(const struct planner *planner, const struct passage *passage,
                        const struct link *uplink);
void uplink_leave(struct planner *planner, const struct passage *passage);
/* network.c: what of want->fields is not so; one OP_LINK_SET; one port that comes or goes */
unsigned link_differences(const struct link *want, const struct link *now);
void set_up(struct planner *planner, const struct passage *passage, const char *ifname, bool up);
void change_port(struct planner *planner, const struct passage *passage, const char *ifname, bool add);
/* lock.c: `lock`: a network's rules, what each of its nics is held to, and what this host cannot give. */
void check_lock(struct planner *planner, const struct passage *passage);
/* `moved`: the nic has just come from another network, which has let it go. */
void lock_nic_steps(struct planner *planner, const struct passage *passage, const struct wired_nic *wired,
                    bool moved);
/* Where rules go with the port: before it leaves its bridge; and those of nics that are gone. */
void lock_nic_release(struct planner *planner, const char *tap);
void lock_nics_forget(struct planner *planner);
/* Does this network, which is left as it is, need the packet filter? */
bool lock_stays(const struct planner *planner, const char *network);
void lock_steps_down(struct planner *planner, const struct passage *passage);
void lock_steps_up(struct planner *planner, const struct passage *passage);
/* rate.c: `rate`: what limits a network's traffic and each nic's; of a network that goes, before its bridge;
 * and what this host cannot give. */
void rate_steps_up(struct planner *planner, const struct passage *passage);
void rate_steps_down(struct planner *planner, const struct passage *passage);
/* Of taps that went without vmwire. */
void stray_rates_remove(struct planner *planner);
void check_rates(struct planner *planner, const struct network *network);
/* shaping.c: before the networks' steps; whether it is needed after them; what of `former` is still so. */
void shaping_up(struct planner *planner);
bool shaping_needed(const struct planner *planner);
void shaping_put_back(struct planner *planner, const struct op *former);
void host_sysctl_set(struct planner *planner, const char *name, const char *value, const char *former);
/* learning.c: router advertisements on a network's bridge; the interface that a setting of them is of, NULL
 * when it is another setting; what somebody has set back of what RUN/former6 (NULL: none) has; bridges that
 * have taken an uplink. */
void learning_wanted(const struct passage *passage, struct link *bridge);
const char *learning_interface(const struct planner *planner, const char *name);
int learning_mend(struct planner *planner, const struct file *old, struct err *err);
void learning_bridges(struct planner *planner);
/* services.c: helper programs that go, or must start anew; those that come, and what those that stay read
 * anew; the lease file of a network that goes. */
void services_steps_down(struct planner *planner, const struct passage *passage);
void services_steps_up(struct planner *planner, const struct passage *passage);
void leases_steps_down(struct planner *planner, const struct passage *passage);
/* Does the program of this kind, as it runs now, go on running?  And the one that runs, or NULL. */
bool service_stays(const struct planner *planner, const struct passage *passage, const char *kind);
const struct service *service_running(const struct planner *planner, const char *network, const char *kind);
/* Write a file, mode 0600, unless it is so already. */
void file_put(struct planner *planner, const struct passage *passage, const char *path, const char *content);
/* cut.c: the user is told of guests whose connections end. */
void note_cut(struct planner *planner, const struct passage *passage);
/* mtu.c: what the file's MTU is wrong about; the second knows what the bridge gets. */
void check_mtu(struct planner *planner, const struct passage *passage);
void check_mtu_ipv6(struct planner *planner, const struct passage *passage);
/* One tap's, after the bridge's; where the bridge wants its ports' to be right, all taps' before it. */
void tap_mtu_set(struct planner *planner, const struct passage *passage, const struct link *tap);
void tap_mtus_first(struct planner *planner, struct passage *passage);
/* The bridge has just got `uplink` as a port, and is not to take its MTU. */
void bridge_mtu_keep(struct planner *planner, const struct passage *passage, const struct link *uplink);
/* nics.c: which nics are wired, and what running machines lack of theirs. */
void nics_find(struct planner *planner);
/* The file's nic of that index: those that are passed through do not count; NULL: none. */
const struct nic *nic_entry(const struct planner *planner, const struct machine *machine, unsigned index);
/* Does it go to another network than it is tagged for? */
bool nic_moves(const struct planned_nic *nic);
/* Those that do leave before any network changes, and come up when all of their new one is done. */
void nics_leave(struct planner *planner);
void nics_arrive(struct planner *planner, const struct passage *passage);
/* Off its bridge; the undo gives back what that asked of the port. */
void nic_remove(struct planner *planner, const char *network, const struct planned_nic *nic);
/* network.c: append the operations. */
void network_steps(struct planner *planner, struct passage *passage);
/* uplink.c.  On such a host an address leaves the uplink before it arrives on the bridge, and routes with it;
 * elsewhere it is on both for a moment, and routes are moved in their slots. */
bool bare_ports(const struct planner *planner);
/* An uplink that is no longer the network's; what the bridge has and should not have, all of it when it goes.
 */
void give_uplink_back(struct planner *planner, const struct passage *passage);
void strip_bridge(struct planner *planner, const struct passage *passage);
/* The bridge's addresses and routes, its uplink as a port, and what that loses. */
void add_made_addresses(struct planner *planner, const struct passage *passage);
void place_made_routes(struct planner *planner, const struct passage *passage);
void attach_uplink(struct planner *planner, const struct passage *passage);
void clear_uplink(struct planner *planner, const struct passage *passage);
/* renamed.c: of a network that goes. */
void follow_renamed_uplink(struct planner *planner, struct passage *passage);
/* neighbour.c: neighbours entered by hand, which go where the addresses go: back to the uplink, off the
 * bridge, onto the bridge, off the uplink. */
void give_neighbours_back(struct planner *planner, const struct passage *passage, const char *uplink);
void strip_neighbours(struct planner *planner, const struct passage *passage);
void add_made_neighbours(struct planner *planner, const struct passage *passage);
void clear_neighbours(struct planner *planner, const struct passage *passage);
/* admission.c: rules in the chains of firewalls that are not vmwire's. */
void remove_admissions(struct planner *planner, const struct passage *passage);
void add_admissions(struct planner *planner, const struct passage *passage);
/* firewalld's zone of the bridge: into the record that is wanted, and the steps there and back. */
void want_zone(struct planner *planner, struct passage *passage);
void enter_zone(struct planner *planner, const struct passage *passage);
void leave_zone(struct planner *planner, const struct passage *passage);
/* manager.c: what other programs are told, and what the user is told of them. */
void tell_managers(struct planner *planner, const struct passage *passage);
void note_managers(struct planner *planner, const struct passage *passage);
/* device_steps.c: a passthrough network's own operations.  Up adds problems too. */
void device_network_up(struct planner *planner, const struct passage *passage);
void device_network_down(struct planner *planner, const char *name);
/* The addresses and routes that a takeover of this interface would move. */
bool address_moves(const struct address *address, const char *ifname);
bool route_moves(const struct observed *observed, const struct route *route, const char *ifname);
/* A network's address mode with the default worked out. */
enum address_mode address_mode_of(const struct network *network, const struct observed *observed,
                                  const struct record *now);

/* An operation of this network, to be filled. */
static inline struct op op_for(const struct passage *passage, enum op_kind kind)
{
    return (struct op){.kind = kind, .network = passage->name};
}

void step_add(struct planner *planner, const struct op *op, const struct op *undo);
void step_add_at(struct planner *planner, enum stage stage, const struct op *op, const struct op *undo);
/* When a network's rules and its lock change.  Of networks that come or go: all at once, while no guest is on
 * their bridges, so that the host makes one transaction of them; else, and where rules_in_turn, in the
 * network's own turn. */
enum stage rules_stage(const struct planner *planner, const struct passage *passage);
/* Does this plan bring that network to what the file says, or take it away? */
bool plan_selects(const struct planner *planner, const char *name);
/* "net.ipv6.conf.re0.accept_ra": a dot in the name would part levels, and sysctl(8) writes '/' for it. */
const char *interface_sysctl(const struct planner *planner, int version, const char *ifname,
                             const char *entry);
void plan_note(struct planner *planner, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
