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
 *  5. rules before forwarding (plan.c), files before the service that reads them. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "plan/internal.h"

enum { ROUTE_KERNEL = 2, ROUTE_RA = 9, ROUTE_DHCP = 16 };

/* On such a host an address leaves the uplink before it arrives on the bridge, and routes with it; elsewhere
 * (4. above) it is on both for a moment, and routes are moved in their slots. */
static bool bare_ports(const struct planner *planner)
{
    return planner->observed->traits.bare_ports;
}

static void add_address(struct planner *planner, const struct passage *passage, const struct address *address)
{
    struct op op = op_for(passage, OP_ADDRESS_ADD), undo = op_for(passage, OP_ADDRESS_REMOVE);
    op.address = undo.address = *address;
    step_add(planner, &op, &undo);
}

static void remove_address(struct planner *planner, const struct passage *passage,
                           const struct address *address)
{
    struct op op = op_for(passage, OP_ADDRESS_REMOVE), undo = op_for(passage, OP_ADDRESS_ADD);
    op.address = undo.address = *address;
    step_add(planner, &op, &undo);
}

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

static const struct address *address_observed(const struct planner *planner, const struct address *wanted)
{
    vec_foreach (&planner->observed->addresses, address) {
        if (address_equal(address, wanted))
            return address;
    }
    return NULL;
}

static const struct route *route_observed(const struct planner *planner, const struct route *wanted)
{
    vec_foreach (&planner->observed->routes, route) {
        if (route_equal(route, wanted))
            return route;
    }
    return NULL;
}

static bool record_makes(const struct record *record, const struct op *wanted)
{
    vec_foreach (&record->made, op) {
        if (op->kind != wanted->kind)
            continue;
        if (op->kind == OP_ADDRESS_ADD ? address_equal(&op->address, &wanted->address)
                                       : route_equal(&op->route, &wanted->route))
            return true;
    }
    return false;
}

/* `to` takes the place of `from`, which is in its slot but for the interface. */
static void move_route(struct planner *planner, const struct passage *passage, const struct route *from,
                       const struct route *to)
{
    struct op op = op_for(passage, OP_ROUTE_REPLACE), undo = op_for(passage, OP_ROUTE_REPLACE);
    op.route = *to;
    undo.route = *from;
    step_add(planner, &op, &undo);
}

static void change_route(struct planner *planner, const struct passage *passage, const struct route *route,
                         bool add)
{
    struct op op = op_for(passage, add ? OP_ROUTE_ADD : OP_ROUTE_REMOVE);
    op.route = *route;
    struct op undo = op;
    undo.kind = add ? OP_ROUTE_REMOVE : OP_ROUTE_ADD;
    step_add(planner, &op, &undo);
}

/* The route of `record` that goes to the same place, on whatever interface. */
static const struct route *counterpart(const struct record *record, const struct route *route, bool made)
{
    const struct op *items = made ? record->made.items : record->former.items;
    size_t count = made ? record->made.count : record->former.count;
    for (size_t i = 0; i < count; i++) {
        if (items[i].kind != OP_ROUTE_ADD)
            continue;
        struct route other = items[i].route;
        other.ifname = route->ifname;
        if (route_same_slot(&other, route))
            return &items[i].route;
    }
    return NULL;
}

/* --- 2. giving an uplink back, and what the bridge loses
 * ---------------------------------------------------------- */

/* Won by the network's DHCP client: it comes and goes with the client.  lease_apply gives every lease an end.
 */
static bool is_leased(const struct planner *planner, const struct passage *passage,
                      const struct address *address)
{
    return address->valid_s != 0 && address->valid_s != UINT32_MAX &&
           service_running(planner, passage->name, "dhcp-client");
}

/* An address on the bridge that vmwire did not put there and no DHCP client or router advertisement did. */
static bool added_by_hand(const struct planner *planner, const struct passage *passage,
                          const struct address *address)
{
    struct op op = {.kind = OP_ADDRESS_ADD, .address = *address};
    return address_moves(address, passage->name) && !record_makes(&passage->now, &op) &&
           !is_leased(planner, passage, address);
}

static void give_addresses_back(struct planner *planner, const struct passage *passage, const char *uplink)
{
    vec_foreach (&passage->now.former, op) {
        if (op->kind == OP_ADDRESS_ADD && !address_observed(planner, &op->address))
            add_address(planner, passage, &op->address);
    }
    vec_foreach (&planner->observed->addresses, address) {
        if (passage->want.mode || !added_by_hand(planner, passage, address))
            continue;
        struct address moved = *address;
        moved.ifname = uplink;
        moved.label = "";
        plan_note(planner, "network '%s': address %s was added to '%s' by hand: it is kept, on '%s'",
                  passage->name, PREFIX_TEXT(&address->prefix), passage->name, uplink);
        add_address(planner, passage, &moved);
    }
    give_neighbours_back(planner, passage, uplink);
}

static void give_routes_back(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&passage->now.former, op) {
        if (op->kind != OP_ROUTE_ADD || route_observed(planner, &op->route))
            continue;
        const struct route *made = counterpart(&passage->now, &op->route, true);
        const struct route *there = made && !bare_ports(planner) ? route_observed(planner, made) : NULL;
        if (there)
            move_route(planner, passage, there, &op->route);
        else
            change_route(planner, passage, &op->route, true);
    }
}

/* A route on the bridge that neither vmwire nor a DHCP client made: it goes with the host's addresses. */
static bool routed_by_hand(const struct planner *planner, const struct passage *passage,
                           const struct route *route)
{
    struct op op = {.kind = OP_ROUTE_ADD, .route = *route};
    return route_moves(planner->observed, route, passage->name) && !record_makes(&passage->now, &op) &&
           !route->unmovable && route->protocol != ROUTE_DHCP;
}

static void give_foreign_routes_back(struct planner *planner, const struct passage *passage,
                                     const char *uplink)
{
    vec_foreach (&planner->observed->routes, route) {
        if (!routed_by_hand(planner, passage, route))
            continue;
        struct route moved = *route;
        moved.ifname = uplink;
        plan_note(planner, "network '%s': route %s was added to '%s' by hand: it is kept, on '%s'",
                  passage->name, route->to.length ? PREFIX_TEXT(&route->to) : "default", passage->name,
                  uplink);
        if (bare_ports(planner))
            change_route(planner, passage, &moved, true);
        else
            move_route(planner, passage, route, &moved);
    }
}

static bool formerly_up(const struct passage *passage)
{
    vec_foreach (&passage->now.former, op) {
        if (op->kind == OP_LINK_SET)
            return op->link.up;
    }
    return false;
}

static void give_uplink_back(struct planner *planner, const struct passage *passage)
{
    const char *name = passage->now.uplink;
    vlan_detach(planner, passage);
    port_vlans_down(planner, passage);
    if (!name || passage->now.vlan || text_equal(name, passage->want.port))
        return;
    const struct link *uplink = link_find(planner->observed, name);
    if (!uplink) {
        plan_note(planner, "network '%s': uplink '%s' is gone; its addresses cannot be put back",
                  passage->name, name);
        return;
    }
    if (!uplink->up && formerly_up(passage)) /* else its routes could not be put back */
        set_up(planner, passage, name, true);
    if (!bare_ports(planner))
        give_addresses_back(planner, passage, name);
    if (strcmp(uplink->master, passage->name) == 0)
        change_port(planner, passage, name, false);
    if (bare_ports(planner))
        give_addresses_back(planner, passage, name);
    give_routes_back(planner, passage);
    if (!passage->want.mode)
        give_foreign_routes_back(planner, passage, name);
    uplink_leave(planner, passage);
}

/* Its DHCP client is stopped, and leaves behind what it won. */
static bool lease_ends(const struct planner *planner, const struct passage *passage)
{
    return planner->observed->traits.leases_stay && service_running(planner, passage->name, "dhcp-client") &&
           !service_stays(planner, passage, "dhcp-client");
}

/* An address of the bridge that goes takes routes with it: those with it as their source, and with the last
 * of an interface every one.  So they are removed by name before it, that their undo is known, and made
 * again. */
static bool goes_with_an_address(const struct planner *planner, const struct passage *passage,
                                 const struct route *route)
{
    if (!passage->bridge || bare_ports(planner))
        return false;
    vec_foreach (&passage->now.made, op) {
        if (op->kind != OP_ADDRESS_ADD || record_makes(&passage->want, op) ||
            op->address.prefix.ip.family != route->to.ip.family || !address_observed(planner, &op->address))
            continue;
        if (ip_equal(&op->address.prefix.ip, &route->source) ||
            (ip_is_set(&route->gateway) && prefix_contains(&op->address.prefix, &route->gateway)))
            return true;
    }
    return false;
}

static void strip_routes(struct planner *planner, const struct passage *passage)
{
    bool bare = bare_ports(planner);
    bool leaves =
        passage->now.uplink && !passage->now.vlan && !text_equal(passage->now.uplink, passage->want.port);
    const struct link *uplink = leaves ? link_find(planner->observed, passage->now.uplink) : NULL;
    vec_foreach (&passage->now.made, op) {
        bool goes = op->kind == OP_ROUTE_ADD && goes_with_an_address(planner, passage, &op->route);
        if (op->kind != OP_ROUTE_ADD || (record_makes(&passage->want, op) && !goes) ||
            !route_observed(planner, &op->route))
            continue;
        bool moved = !bare && ((uplink && counterpart(&passage->now, &op->route, false)) ||
                               (!goes && counterpart(&passage->want, &op->route, true)));
        if (!moved)
            change_route(planner, passage, &op->route, false);
    }
    /* Without an uplink nobody takes over what was made by hand: it would vanish with the bridge. */
    vec_foreach (&planner->observed->routes, route) {
        bool by_hand = (bare || !uplink) && !passage->want.mode && routed_by_hand(planner, passage, route);
        if (by_hand || (lease_ends(planner, passage) && route->protocol == ROUTE_DHCP &&
                        text_equal(route->ifname, passage->name)))
            change_route(planner, passage, route, false);
    }
}

/* What vmwire put on the bridge and does not want there any longer; all of it when the bridge goes. */
static void strip_bridge(struct planner *planner, const struct passage *passage)
{
    if (!passage->bridge)
        return;
    strip_routes(planner, passage);
    strip_neighbours(planner, passage);
    for (size_t i = planner->observed->addresses.count; i-- > 0;) {
        const struct address *address = &planner->observed->addresses.items[i];
        struct op op = {.kind = OP_ADDRESS_ADD, .address = *address};
        bool stale = record_makes(&passage->now, &op) && !record_makes(&passage->want, &op);
        bool goes =
            address_moves(address, passage->name) &&
            (is_leased(planner, passage, address) ? lease_ends(planner, passage) : !passage->want.mode);
        if (stale || goes)
            remove_address(planner, passage, address);
    }
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
    step_add(planner, &op, &undo);
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

static void add_made_addresses(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&passage->want.made, op) {
        if (op->kind == OP_ADDRESS_ADD && (!passage->bridge || !address_observed(planner, &op->address)))
            add_address(planner, passage, &op->address);
    }
    add_made_neighbours(planner, passage);
}

/* Somebody's route where ours belongs: the kernel has one a slot. */
static const struct route *route_in_the_way(const struct planner *planner, const struct route *wanted)
{
    vec_foreach (&planner->observed->routes, route) {
        if (route_same_slot(route, wanted) && !route->unmovable && route->ifname && *route->ifname)
            return route;
    }
    return NULL;
}

static void place_made_routes(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&passage->want.made, op) {
        if (op->kind != OP_ROUTE_ADD || (passage->bridge && route_observed(planner, &op->route) &&
                                         !goes_with_an_address(planner, passage, &op->route)))
            continue;
        const struct route *former = counterpart(&passage->want, &op->route, false);
        const struct route *there = former && !bare_ports(planner) ? route_observed(planner, former) : NULL;
        if (!there && !bare_ports(planner))
            there = route_in_the_way(planner, &op->route);
        struct op stripped = {.kind = OP_ROUTE_ADD};
        if (there) {
            stripped.route = *there;
            if (record_makes(&passage->now, &stripped) && goes_with_an_address(planner, passage, there))
                there = NULL;
        }
        if (there)
            move_route(planner, passage, there, &op->route);
        else
            change_route(planner, passage, &op->route, true);
    }
}

/* The uplink's own addresses go, the last first: a secondary address would go with its primary.  Routes that
 * nothing took over are removed by name, so that their undo is known. */
static void clear_uplink(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&passage->want.former, op) {
        if (op->kind == OP_ROUTE_ADD && route_observed(planner, &op->route) &&
            (bare_ports(planner) || !counterpart(&passage->want, &op->route, true)))
            change_route(planner, passage, &op->route, false);
    }
    clear_neighbours(planner, passage);
    for (size_t i = passage->want.former.count; i-- > 0;) {
        const struct op *op = &passage->want.former.items[i];
        if (op->kind == OP_ADDRESS_ADD && address_observed(planner, &op->address))
            remove_address(planner, passage, &op->address);
    }
}

static void attach_uplink(struct planner *planner, const struct passage *passage)
{
    const struct link *uplink =
        passage->want.uplink ? link_find(planner->observed, passage->want.uplink) : NULL;
    if (!uplink)
        return;
    if (!uplink->up && !passage->want.vlan)
        set_up(planner, passage, uplink->name, true);
    const struct link *port = link_find(planner->observed, passage->want.port);
    if (passage->bridge && port && strcmp(port->master, passage->name) == 0)
        return;
    change_port(planner, passage, passage->want.port, true);
    if (!passage->want.vlan) /* which has its bridge's */
        bridge_mtu_keep(planner, passage, uplink);
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
        lock_nic_steps(planner, passage, &wired);
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
        leave_zone(planner, passage);
        tell_managers(planner, passage);
        remove_files(planner, passage);
        leases_steps_down(planner, passage);
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
