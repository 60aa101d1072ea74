/* uplink.c: addresses and routes on their way from an uplink to its bridge and back.  The order, and why, is
 * above network.c. */
#include <string.h>
#include <sys/socket.h>

#include "plan/internal.h"

enum { ROUTE_KERNEL = 2, ROUTE_RA = 9, ROUTE_DHCP = 16 };

bool bare_ports(const struct planner *planner)
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

/* --- back: 2. above network.c */

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

void give_uplink_back(struct planner *planner, const struct passage *passage)
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
void strip_bridge(struct planner *planner, const struct passage *passage)
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

/* --- there: 4. above network.c */

void add_made_addresses(struct planner *planner, const struct passage *passage)
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

void place_made_routes(struct planner *planner, const struct passage *passage)
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
void clear_uplink(struct planner *planner, const struct passage *passage)
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

void attach_uplink(struct planner *planner, const struct passage *passage)
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
