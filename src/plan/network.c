/* network.c: the operations that bring one network from what is to what should be.
 *
 * Theory of operation.  The order is what keeps the host reachable and every moment undoable:
 *
 *  1. helpers and rules that should not be there stop first, while what they stand on still exists;
 *  2. an uplink that is given back gets its addresses before it leaves the bridge (the kernel appends their
 * prefix routes behind the bridge's, so that there is always one), leaves, and then each route moves back in
 * its slot;
 *  3. the record is written before anything that it describes: from here on `down` can put back whatever was
 * done;
 *  4. the bridge comes up with the uplink's MAC, MTU and addresses, the uplink becomes its port, each route
 * moves in its slot, and only then do the uplink's own addresses go.  A frame that arrives in between finds
 * the address on one of the two;
 *  5. rules before forwarding (plan.c), files before the service that reads them.
 *
 * Rules of a network that comes or goes have a stage of their own (rules_stage), with those of the others:
 * before there is a bridge, and when the guests have left it. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "plan/internal.h"

static bool is_nic(const struct planner *planner, const char *ifname)
{
    struct wired_nic nic;
    const struct link *link = link_find(planner->observed, ifname);
    return link && owner_nic(planner->arena, link, &nic);
}

void change_port(struct planner *planner, const struct passage *passage, const char *ifname, bool add)
{
    struct op op = op_for(passage, add ? OP_PORT_ADD : OP_PORT_REMOVE);
    op.port = (struct port){.ifname = ifname, .bridge = passage->name, .guest = is_nic(planner, ifname)};
    struct op undo = op;
    undo.kind = add ? OP_PORT_REMOVE : OP_PORT_ADD;
    step_add(planner, &op, &undo);
}

void set_up(struct planner *planner, const struct passage *passage, const char *ifname, bool up)
{
    struct op op = op_for(passage, OP_LINK_SET);
    op.link = (struct link){.name = ifname, .kind = "", .alias = "", .fields = LINK_UP, .up = up};
    struct op undo = op;
    undo.link.up = !up;
    step_add(planner, &op, &undo);
}

/* Where a bridge makes itself no link-local address unless it is told to, it is told for IPv6's sake alone.
 */
static unsigned lacking(const struct planner *planner, bool ipv6)
{
    return planner->observed->traits.no_link_fields & ~(unsigned)(ipv6 ? LINK_IPV6 : 0);
}

static void delete_bridge(struct planner *planner, const struct passage *passage)
{
    const struct link *bridge = passage->bridge;
    if (!bridge)
        return;
    vec_foreach (&planner->observed->links, port) {
        if (strcmp(port->master, bridge->name) != 0 || text_equal(port->name, passage->now.port) ||
            is_vlan_of(planner, port, passage->name))
            continue;
        const struct planned_nic *wired = NULL;
        vec_foreach (&planner->nics, nic)
            wired = nic->tap == port ? nic : wired;
        if (!wired)
            change_port(planner, passage, port->name, false);
        else if (!nic_moves(wired)) /* else it has left already */
            nic_remove(planner, passage->name, wired);
    }
    struct op op = op_for(passage, OP_LINK_DELETE), undo = op_for(passage, OP_LINK_CREATE);
    op.link = undo.link = *bridge;
    undo.link.fields = (LINK_MAC | LINK_MTU | LINK_UP | LINK_ALIAS | LINK_STP | LINK_FORWARD_DELAY |
                        LINK_IPV6 | LINK_ACCEPT_RA | (bridge->filters_vlans ? LINK_FILTERS_VLANS : 0)) &
                       ~lacking(planner, bridge->ipv6);
    op.link.fields = 0;
    step_add_at(planner, planner->stage == STAGE_GO ? STAGE_BRIDGES : planner->stage, &op, &undo);
}

/* Everything in the network's folder goes, the record last. */
static void remove_files(struct planner *planner, const struct passage *passage)
{
    const char *record = record_path(planner->arena, planner->observed->run_dir, passage->name);
    const char *folder =
        arena_printf(planner->arena, "%s/network/%s/", planner->observed->run_dir, passage->name);
    const char *tables = table_path(planner->arena, planner->observed->run_dir, passage->name, "");
    for (int last = 0; last < 2; last++) {
        vec_foreach (&planner->observed->files, file) {
            if ((strncmp(file->path, folder, strlen(folder)) != 0 &&
                 strncmp(file->path, tables, strlen(tables)) != 0) ||
                (strcmp(file->path, record) == 0) != last)
                continue;
            struct op op = op_for(passage, OP_FILE_REMOVE), undo = op_for(passage, OP_FILE_WRITE);
            op.file = undo.file = *file;
            op.file.content = "";
            step_add(planner, &op, &undo);
        }
    }
}

/* --- 3. and 4. the bridge and its uplink
 * ---------------------------------------------------------------------------- */

static struct link bridge_wanted(const struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    struct link link = {
        .name = passage->name,
        .kind = "bridge",
        .alias = owner_bridge_tag(planner->arena, passage->name, &network->ports),
        .fields = LINK_MAC | LINK_MTU | LINK_UP | LINK_ALIAS | LINK_STP | LINK_FORWARD_DELAY | LINK_IPV6 |
                  LINK_FILTERS_VLANS,
        .filters_vlans = filters_vlans(network),
        .mac = network_bridge_mac(passage->name),
        .mtu = passage->mtu,
        .up = true,
        .ipv6 = true,
    };
    if (network->mode == NETWORK_BRIDGED) {
        const struct link *uplink = link_find(planner->observed, network->uplink);
        if (uplink)
            link.mac = uplink->mac;
        if (mac_is_zero(&link.mac))
            link.fields &= ~(unsigned)LINK_MAC;
        link.ipv6 = address_mode_of(network, planner->observed, &passage->now) != ADDRESS_NONE;
    } else if (planner->observed->traits.stable_macs) {
        link.fields &= ~(unsigned)LINK_MAC;
    }
    if (network->mode == NETWORK_ISOLATED && network->host_absent)
        link.ipv6 = false;
    learning_wanted(passage, &link);
    link.fields &= ~lacking(planner, network_has_subnet6(network));
    return link;
}

unsigned link_differences(const struct link *want, const struct link *now)
{
    unsigned differ =
        (mac_equal(&want->mac, &now->mac) ? 0 : LINK_MAC) | (want->mtu == now->mtu ? 0 : LINK_MTU) |
        (want->up == now->up ? 0 : LINK_UP) | (strcmp(want->alias, now->alias) == 0 ? 0 : LINK_ALIAS) |
        (want->stp == now->stp ? 0 : LINK_STP) |
        (want->forward_delay == now->forward_delay ? 0 : LINK_FORWARD_DELAY) |
        (want->ipv6 == now->ipv6 ? 0 : LINK_IPV6) | (want->accept_ra == now->accept_ra ? 0 : LINK_ACCEPT_RA) |
        (want->filters_vlans == now->filters_vlans ? 0 : LINK_FILTERS_VLANS);
    return differ & want->fields;
}

static void make_bridge(struct planner *planner, const struct passage *passage)
{
    struct op op = op_for(passage, OP_LINK_CREATE), undo = op_for(passage, OP_LINK_DELETE);
    op.link = bridge_wanted(planner, passage);
    if (!op.link.filters_vlans && !passage->bridge)
        op.link.fields &= ~(unsigned)LINK_FILTERS_VLANS;
    undo.link = (struct link){.name = passage->name, .kind = "bridge", .alias = op.link.alias};
    if (passage->bridge) {
        op.kind = undo.kind = OP_LINK_SET;
        undo.link = *passage->bridge;
        op.link.fields = undo.link.fields =
            link_differences(&op.link, passage->bridge) & ~(unsigned)(passage->mtu_set ? LINK_MTU : 0);
        if (!op.link.fields)
            return;
    }
    step_add(planner, &op, &undo);
}

/* Taps of guests that kept running while the bridge was away. */
static void set_port(struct planner *planner, const struct passage *passage, const struct link *tap,
                     const struct wired_nic *nic, bool attached)
{
    struct op op = op_for(passage, OP_PORT_SET);
    op.port = (struct port){.ifname = tap->name, .bridge = passage->name, .guest = true};
    struct op undo = op;
    struct port_rules *now = &undo.port.rules, *want = &op.port.rules;
    *now = attached ? tap->port : (struct port_rules){0};
    *want = passage->network->ports;
    bool moves = port_vlan_differs(planner, passage, tap, nic, &undo.port, &op.port);
    if (now->isolated == want->isolated && !moves)
        return;
    step_add(planner, &op, &undo);
}

static void reattach_taps(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&planner->nics, nic) {
        const struct link *link = nic->tap;
        struct wired_nic wired = nic->nic;
        if (strcmp(nic->home, passage->name) != 0)
            continue;
        wired.network = nic->home;
        bool attached = passage->bridge && strcmp(link->master, passage->name) == 0 && !nic_moves(nic);
        if (!planner->observed->traits.equal_mtus)
            tap_mtu_set(planner, passage, link);
        if (!attached)
            change_port(planner, passage, link->name, true);
        set_port(planner, passage, link, &wired, attached);
        lock_nic_steps(planner, passage, &wired, nic_moves(nic));
    }
}

static void passthrough_steps(struct planner *planner, struct passage *passage)
{
    if (passage->network->bind_up) {
        file_put(planner, passage, record_path(planner->arena, planner->observed->run_dir, passage->name),
                 record_format(planner->arena, &passage->want));
    } else if (passage->now.mode) {
        device_network_down(planner, passage->name); /* it was `bind: up` before */
        remove_files(planner, passage);
    }
    device_network_up(planner, passage);
}

void network_steps(struct planner *planner, struct passage *passage)
{
    if (passage->want.mode != NETWORK_PASSTHROUGH)
        device_network_down(planner, passage->name);
    services_steps_down(planner, passage);
    remove_admissions(planner, passage);
    firewall_steps_down(planner, passage);
    lock_steps_down(planner, passage);
    rate_steps_down(planner, passage);
    if (passage->want.mode && passage->want.mode != NETWORK_PASSTHROUGH)
        file_put(planner, passage, record_path(planner->arena, planner->observed->run_dir, passage->name),
                 record_format(planner->arena, &passage->want));
    if (bare_ports(planner))
        strip_bridge(planner, passage);
    give_uplink_back(planner, passage);
    if (!bare_ports(planner))
        strip_bridge(planner, passage);
    remove_shared(planner, passage);
    vlan_remove(planner, passage);
    if (!passage->want.mode) {
        delete_bridge(planner, passage);
        planner->stage = STAGE_GONE;
        leave_zone(planner, passage);
        tell_managers(planner, passage);
        remove_files(planner, passage);
        leases_steps_down(planner, passage);
        planner->stage = STAGE_GO;
        return;
    }
    if (passage->want.mode == NETWORK_PASSTHROUGH) {
        delete_bridge(planner, passage);
        leave_zone(planner, passage);
        tell_managers(planner, passage);
        passthrough_steps(planner, passage);
        return;
    }
    leave_zone(planner, passage);
    enter_zone(planner, passage);
    tap_mtus_first(planner, passage);
    make_bridge(planner, passage);
    if (bare_ports(planner))
        clear_uplink(planner, passage);
    else
        add_made_addresses(planner, passage);
    vlan_make(planner, passage);
    set_shared(planner, passage);
    attach_uplink(planner, passage);
    port_vlans_up(planner, passage);
    if (bare_ports(planner))
        add_made_addresses(planner, passage);
    place_made_routes(planner, passage);
    if (!bare_ports(planner))
        clear_uplink(planner, passage);
    lock_steps_up(planner, passage);
    reattach_taps(planner, passage);
    rate_steps_up(planner, passage);
    nics_arrive(planner, passage);
    firewall_steps_up(planner, passage);
    add_admissions(planner, passage);
    services_steps_up(planner, passage);
    tell_managers(planner, passage);
    note_managers(planner, passage);
}
