/* check.c: what the file wants and this host cannot give, each with its position in the file. */
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/internal.h"

enum { TABLE_MAIN = 254 };

/* "lo, re0, re1": what there is instead; at most a dozen. */
static const char *interfaces_here(struct planner *planner)
{
    struct text out = {.arena = planner->arena};
    size_t shown = 0;
    vec_foreach (&planner->observed->links, link) {
        if (link->loopback || strcmp(link->kind, "tun") == 0)
            continue;
        if (++shown > 12) {
            text_add(&out, ", …");
            break;
        }
        text_add(&out, "%s%s", out.length ? ", " : "", link->name);
    }
    return text_get(&out);
}

static void no_such_uplink(struct planner *planner, const struct network *network)
{
    VEC(const char *) names = {0};
    vec_foreach (&planner->observed->links, link)
        *vec_push(planner->arena, &names) = link->name;
    *vec_push(planner->arena, &names) = NULL;
    const char *near = text_nearest(network->uplink, names.items);
    problem_add(planner->problems, network->uplink_pos,
                "network '%s': uplink '%s' does not exist on this host%s%s%s; its interfaces are: %s",
                network->name, network->uplink, near ? "; did you mean '" : "", near ? near : "",
                near ? "'?" : "", interfaces_here(planner));
}

/* The uplink exists and can carry the network. */
static const struct link *check_uplink(struct planner *planner, const struct network *network)
{
    if (!network->uplink)
        return NULL;
    const struct link *uplink = link_find(planner->observed, network->uplink);
    if (!uplink) {
        no_such_uplink(planner, network);
        return NULL;
    }
    if (uplink->loopback) {
        problem_add(planner->problems, network->uplink_pos,
                    "network '%s': uplink '%s' is the loopback interface; it leads nowhere", network->name,
                    uplink->name);
        return NULL;
    }
    if (!uplink->up && mode_forwards(network->mode))
        problem_warn(planner->problems, network->uplink_pos,
                     "network '%s': uplink '%s' is down: guests reach the host only until it is up",
                     network->name, uplink->name);
    else if (uplink->up && !uplink->carrier)
        problem_warn(planner->problems, network->uplink_pos,
                     "network '%s': uplink '%s' has no carrier (cable unplugged, or the other end is down)",
                     network->name, uplink->name);
    return uplink;
}

static bool carries_default_route(const struct planner *planner, const char *ifname)
{
    vec_foreach (&planner->observed->routes, route) {
        if (route->to.length == 0 && route->table == TABLE_MAIN && text_equal(route->ifname, ifname))
            return true;
    }
    return false;
}

static void check_unmovable(struct planner *planner, const struct network *network)
{
    vec_foreach (&planner->observed->routes, route) {
        if (route->unmovable && route_moves(planner->observed, route, network->uplink))
            problem_add(
                planner->problems, network->uplink_pos,
                "network '%s': the route %s on '%s' has attributes that vmwire cannot move and put back "
                "(several next hops, or an encapsulation); replace it by a plain one, or use another uplink",
                network->name, route->to.length ? PREFIX_TEXT(&route->to) : "default", network->uplink);
    }
}

/* A fixed address takes the place of all of the uplink's: default routes whose gateway it does not reach are
 * lost.  Losing the only family of the address is refused, losing the other is said. */
static void check_static(struct planner *planner, const struct network *network)
{
    const struct prefix *fixed = &network->address_prefix;
    vec_foreach (&planner->observed->routes, route) {
        if (route->to.length != 0 || route->table != TABLE_MAIN ||
            !route_moves(planner->observed, route, network->uplink) ||
            prefix_contains(fixed, &route->gateway))
            continue;
        if (route->to.ip.family == fixed->ip.family)
            problem_add(
                planner->problems, network->address_pos,
                "network '%s': with address %s this host would lose its default route via %s on '%s', which "
                "is outside that prefix; use 'address: keep'",
                network->name, PREFIX_TEXT(fixed), IP_TEXT(&route->gateway), network->uplink);
        else
            problem_warn(planner->problems, network->address_pos,
                         "network '%s': with address %s this host has no default route via %s until down",
                         network->name, PREFIX_TEXT(fixed), IP_TEXT(&route->gateway));
    }
}

static void check_bridged(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    if (network->mac_shared)
        check_shared(planner, passage);
    check_port_vlans(planner, passage);
    const struct link *uplink = check_uplink(planner, network);
    if (!uplink)
        return;
    if (network->vlan) {
        check_vlan(planner, passage);
        return;
    }
    if (strcmp(uplink->kind, "bridge") == 0)
        problem_add(planner->problems, network->uplink_pos,
                    "network '%s': uplink '%s' is itself a bridge, and a bridge cannot be a port of another; "
                    "name the "
                    "interface behind it, or attach the machines to that bridge",
                    network->name, uplink->name);
    else if (*uplink->master && strcmp(uplink->master, network->name) != 0)
        problem_add(planner->problems, network->uplink_pos,
                    "network '%s': uplink '%s' is already a port of '%s'", network->name, uplink->name,
                    uplink->master);
    if (text_equal(passage->now.port, network->uplink))
        return;
    check_unmovable(planner, network);
    enum address_mode mode = address_mode_of(network, planner->observed, &passage->now);
    bool defaults = carries_default_route(planner, uplink->name);
    if (mode == ADDRESS_NONE && defaults)
        problem_add(
            planner->problems, network->address_pos.line ? network->address_pos : network->uplink_pos,
            "network '%s': 'address: none' would cut this host off: '%s' carries its default route; use "
            "'address: keep'",
            network->name, uplink->name);
    if (mode == ADDRESS_STATIC)
        check_static(planner, network);
}

/* A route that is not this network's own and shares addresses with its subnet. */
static void check_subnet(struct planner *planner, const struct passage *passage, const struct prefix *subnet,
                         struct pos pos)
{
    const struct network *network = passage->network;
    vec_foreach (&planner->observed->routes, route) {
        if (route->to.length == 0 || text_equal(route->ifname, network->name) ||
            !prefix_overlaps(&route->to, subnet))
            continue;
        const struct link *link = link_find(planner->observed, route->ifname);
        if (link && owner_network(planner->arena, link->alias))
            continue; /* another network of ours: model_check speaks of the file, and this one may be on its
                         way out */
        struct text via = {.arena = planner->arena};
        if (ip_is_set(&route->gateway))
            text_add(&via, " via %s", IP_TEXT(&route->gateway));
        if (route->ifname && *route->ifname)
            text_add(&via, " dev %s", route->ifname);
        problem_add(planner->problems, pos,
                    "network '%s': subnet %s overlaps the route %s%s that this host has already; choose "
                    "another subnet",
                    network->name, PREFIX_TEXT(subnet), PREFIX_TEXT(&route->to), text_get(&via));
        return;
    }
}

static void check_subnet6(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    if (!network_has_subnet6(network))
        return;
    check_subnet(planner, passage, &network->subnet6, network->subnet6_pos);
    if (planner->observed->ipv6_refusal)
        problem_add(planner->problems, network->subnet6_pos, "network '%s': 'subnet6' cannot be had: %s",
                    network->name, planner->observed->ipv6_refusal);
    /* Of an address that is not unique local guests think more than of an IPv4 one (RFC 6724). */
    bool unique_local = (network->subnet6.ip.bytes[0] & 0xfe) == 0xfc, way = false;
    vec_foreach (&planner->observed->routes, route)
        way |= route->to.length == 0 && route->to.ip.family == AF_INET6;
    if (mode_forwards(network->mode) && !unique_local && !way && !planner->observed->traits.ra_for_all)
        problem_warn(planner->problems, network->subnet6_pos,
                     "network '%s': guests prefer IPv6 from %s to IPv4, and this host has no IPv6 default "
                     "route: what has both is reached late, or not",
                     network->name, PREFIX_TEXT(&network->subnet6));
}

/* Every address of the host is then every one but the loopback's; one that is the loopback's leads nowhere.
 */
static void check_loopback_forwards(struct planner *planner, const struct network *network)
{
    if (!planner->observed->traits.loopback_closed)
        return;
    vec_foreach (&network->forwards.list, forward) {
        if (ip_is_loopback(&forward->listen))
            problem_add(
                planner->problems, network->forward_pos,
                "network '%s': '%s': this host's packet filter does not forward the loopback's ports; "
                "use the guest's own address",
                network->name, forward_format(planner->arena, forward));
    }
}

static void check_nat(struct planner *planner, const struct passage *passage)
{
    check_loopback_forwards(planner, passage->network);
    check_uplink(planner, passage->network);
    check_subnet(planner, passage, &passage->network->subnet, passage->network->subnet_pos);
    check_subnet6(planner, passage);
    if (planner->observed->firewall_main.refusal)
        problem_add_lines(planner->problems, passage->network->pos,
                          arena_printf(planner->arena, "network '%s': %s", passage->name,
                                       planner->observed->firewall_main.refusal));
    bool lost = mode_forwards(passage->network->mode) && !passage->network->uplink &&
                !plan_default_uplink(planner->observed);
    if (lost && planner->observed->traits.nat_names_uplink)
        problem_add(planner->problems, passage->network->pos,
                    "network '%s': it needs an interface here, and this host has no default route that tells "
                    "it: name one (uplink: re0)",
                    passage->name);
    else if (lost)
        problem_warn(
            planner->problems, passage->network->pos,
            "network '%s': this host has no default route: guests reach the host only until it has one",
            passage->name);
}

void check_network(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    if (!network)
        return;
    const struct link *link = link_find(planner->observed, network->name);
    if (link && !passage->bridge)
        problem_add(
            planner->problems, network->pos,
            "network '%s': this host has an interface of that name already, and it is not vmwire's; choose "
            "another name",
            network->name);
    check_lock(planner, passage);
    check_mtu(planner, passage);
    check_rates(planner, network);
    if (network->mode == NETWORK_BRIDGED)
        check_bridged(planner, passage);
    else if (network_has_subnet(network))
        check_nat(planner, passage);
}
