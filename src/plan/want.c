/* want.c: the record that a network should have: what was on its uplink, and what the bridge gets. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "plan/internal.h"

enum { IFA_FLAG_NODAD = 0x02, ROUTE_KERNEL = 2, ROUTE_RA = 9 };

bool address_moves(const struct address *address, const char *ifname)
{
    return strcmp(address->ifname, ifname) == 0 && !address->kernel && !ip_is_link_local(&address->prefix.ip);
}

enum { IFA_FLAG_NOPREFIXROUTE = 0x200 };

/* The kernel makes the routes of protocol `kernel` itself, with the address; but NetworkManager has it make
 * none, and adds its own under the kernel's name. */
static bool kernel_makes(const struct observed *observed, const struct route *route)
{
    if (route->protocol != ROUTE_KERNEL)
        return false;
    vec_foreach (&observed->addresses, address) {
        struct prefix network = prefix_network(&address->prefix);
        if (address_moves(address, route->ifname) && (address->flags & IFA_FLAG_NOPREFIXROUTE) &&
            prefix_equal(&network, &route->to))
            return false;
    }
    return true;
}

/* Those from router advertisements are learned again by the bridge. */
bool route_moves(const struct observed *observed, const struct route *route, const char *ifname)
{
    return route->ifname && strcmp(route->ifname, ifname) == 0 && route->protocol != ROUTE_RA &&
           !kernel_makes(observed, route);
}

enum address_mode address_mode_of(const struct network *network, const struct observed *observed,
                                  const struct record *now)
{
    if (network->address != ADDRESS_DEFAULT)
        return network->address;
    if (network->vlan)
        return ADDRESS_NONE; /* the uplink keeps its own */
    if (now->port && text_equal(now->port, network->uplink)) {
        vec_foreach (&now->former, op) {
            if (op->kind == OP_ADDRESS_ADD)
                return ADDRESS_KEEP;
        }
        return ADDRESS_NONE;
    }
    vec_foreach (&observed->addresses, address) {
        if (address_moves(address, network->uplink))
            return ADDRESS_KEEP;
    }
    return ADDRESS_NONE;
}

/* What the uplink is now, as the operations that make it so again. */
static void former_from_host(struct planner *planner, struct passage *passage, const struct link *uplink)
{
    struct record *want = &passage->want;
    *vec_push(planner->arena, &want->former) =
        (struct op){.kind = OP_LINK_SET,
                    .network = passage->name,
                    .link = {.name = uplink->name,
                             .kind = "",
                             .alias = "",
                             .fields = LINK_UP,
                             .up = uplink_formerly_up(planner, passage, uplink)}};
    if (want->vlan)
        return;
    vec_foreach (&planner->observed->addresses, address) {
        if (address_moves(address, uplink->name))
            *vec_push(planner->arena, &want->former) =
                (struct op){.kind = OP_ADDRESS_ADD, .network = passage->name, .address = *address};
    }
    for (int by_gateway = 0; by_gateway < 2; by_gateway++) { /* which is reached by those without one */
        vec_foreach (&planner->observed->routes, route) {
            if (route_moves(planner->observed, route, uplink->name) &&
                ip_is_set(&route->gateway) == by_gateway)
                *vec_push(planner->arena, &want->former) =
                    (struct op){.kind = OP_ROUTE_ADD, .network = passage->name, .route = *route};
        }
    }
    vec_foreach (&planner->observed->neighbours, neighbour) {
        if (strcmp(neighbour->ifname, uplink->name) == 0)
            *vec_push(planner->arena, &want->former) =
                (struct op){.kind = OP_NEIGHBOUR_ADD, .network = passage->name, .neighbour = *neighbour};
    }
}

/* An IPv4 label must begin with the interface's name: "re0:1" becomes "brext:1", or none when that is too
 * long. */
static const char *moved_label(struct arena *arena, const struct address *address, const char *bridge)
{
    const char *suffix = address->label ? strchr(address->label, ':') : NULL;
    if (!suffix || strlen(bridge) + strlen(suffix) > NAME_MAX_LENGTH)
        return "";
    return arena_printf(arena, "%s%s", bridge, suffix);
}

static void make_address(struct planner *planner, struct passage *passage, struct address address)
{
    address.ifname = passage->name;
    address.label = moved_label(planner->arena, &address, passage->name);
    if (address.prefix.ip.family == AF_INET6)
        address.flags |= IFA_FLAG_NODAD; /* it was in use on this very segment a moment ago */
    *vec_push(planner->arena, &passage->want.made) =
        (struct op){.kind = OP_ADDRESS_ADD, .network = passage->name, .address = address};
}

static void make_route(struct planner *planner, struct passage *passage, struct route route)
{
    route.ifname = passage->name;
    *vec_push(planner->arena, &passage->want.made) =
        (struct op){.kind = OP_ROUTE_ADD, .network = passage->name, .route = route};
}

/* `prefix` NULL: every neighbour of the uplink. */
static void make_neighbours(struct planner *planner, struct passage *passage, const struct prefix *prefix)
{
    vec_foreach (&passage->want.former, op) {
        if (op->kind != OP_NEIGHBOUR_ADD ||
            (prefix && !prefix_contains(prefix, &op->neighbour.ip) && !ip_is_link_local(&op->neighbour.ip)))
            continue;
        struct op made = *op;
        made.neighbour.ifname = passage->name;
        *vec_push(planner->arena, &passage->want.made) = made;
    }
}

static struct address plain_address(const struct prefix *prefix)
{
    struct address address = {.ifname = "", .prefix = *prefix, .label = ""};
    if (prefix->ip.family == AF_INET && prefix->length < 31)
        address.broadcast = prefix_last(prefix);
    return address;
}

static void make_static(struct planner *planner, struct passage *passage)
{
    const struct prefix *prefix = &passage->network->address_prefix;
    make_address(planner, passage, plain_address(prefix));
    vec_foreach (&passage->want.former, op) {
        if (op->kind != OP_ROUTE_ADD || !ip_is_set(&op->route.gateway) ||
            !prefix_contains(prefix, &op->route.gateway))
            continue;
        struct route route = op->route;
        if (!ip_equal(&route.source, &prefix->ip))
            route.source = (struct ip){0};
        make_route(planner, passage, route);
    }
    make_neighbours(planner, passage, prefix);
}

static void make_keep(struct planner *planner, struct passage *passage)
{
    vec_foreach (&passage->want.former, op) {
        if (op->kind == OP_ADDRESS_ADD)
            make_address(planner, passage, op->address);
        else if (op->kind == OP_ROUTE_ADD)
            make_route(planner, passage, op->route);
    }
    make_neighbours(planner, passage, NULL);
}

/* The link-local address is the one that the kernel would make; but it would make it when the first guest is
 * there, and check for a second or two that nobody has it, while the guest asks for routers, and next in four
 * seconds. */
static void make_addresses6(struct planner *planner, struct passage *passage)
{
    const struct network *network = passage->network;
    struct prefix host = network_host_address6(network), link_local;
    struct mac mac = network_bridge_mac(network->name);
    if (!network_has_subnet6(network))
        return;
    prefix_parse("fe80::/64", &link_local);
    link_local.ip = slaac_address(&link_local, &mac);
    if (!planner->observed->traits.stable_macs)
        make_address(planner, passage, plain_address(&link_local));
    make_address(planner, passage, plain_address(&host));
}

void want_record(struct planner *planner, struct passage *passage)
{
    const struct network *network = passage->network;
    passage->want = (struct record){0};
    if (!network)
        return;
    passage->want.mode = network->mode;
    passage->want.guard_given = planner->request->model->guard_ms_pos.line != 0;
    passage->want.guard_ms = planner->request->model->guard_ms;
    if (network_has_subnet(network)) {
        struct prefix host = network_host_address(network);
        make_address(planner, passage, plain_address(&host));
        make_addresses6(planner, passage);
        return;
    }
    if (network->mode != NETWORK_BRIDGED || !network->uplink)
        return;
    const struct link *uplink = link_find(planner->observed, network->uplink);
    passage->want.vlan = network->vlan;
    passage->want.port = network_port(planner->arena, network);
    if (text_equal(passage->now.port, passage->want.port)) {
        vec_foreach (&passage->now.former, op)
            *vec_push(planner->arena, &passage->want.former) = *op;
    } else if (uplink) {
        former_from_host(planner, passage, uplink);
    } else {
        passage->want.vlan = 0;
        passage->want.port = NULL;
        return;
    }
    passage->want.uplink = network->uplink;
    if (network->vlan)
        *vec_push(planner->arena, &passage->want.made) = (struct op){.kind = OP_LINK_CREATE,
                                                                     .network = passage->name,
                                                                     .link = {.name = passage->want.port,
                                                                              .kind = "vlan",
                                                                              .alias = "",
                                                                              .lower = network->uplink,
                                                                              .vlan = network->vlan}};
    enum address_mode mode = address_mode_of(network, planner->observed, &passage->now);
    if (mode == ADDRESS_KEEP)
        make_keep(planner, passage);
    else if (mode == ADDRESS_STATIC)
        make_static(planner, passage);
    else if (mode == ADDRESS_DHCP)
        make_neighbours(planner, passage, NULL);
}
