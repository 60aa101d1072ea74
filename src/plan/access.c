/* access.c: by which interfaces this host is reached: access.h. */
#include "plan/access.h"

#include <string.h>

enum { TABLE_MAIN = 254 };

static bool has(const struct access *access, const char *ifname)
{
    vec_foreach (&access->interfaces, name) {
        if (strcmp(*name, ifname) == 0)
            return true;
    }
    return false;
}

static void add(struct arena *arena, struct access *access, const char *ifname)
{
    if (ifname && *ifname && !has(access, ifname))
        *vec_push(arena, &access->interfaces) = ifname;
}

static bool is_default(const struct route *route)
{
    return route->to.length == 0 && route->ifname && *route->ifname;
}

static void add_gateway(struct arena *arena, struct access *access, const struct route *route)
{
    if (!ip_is_set(&route->gateway))
        return;
    vec_foreach (&access->gateways, known) {
        if (ip_equal(&known->ip, &route->gateway) && strcmp(known->ifname, route->ifname) == 0)
            return;
    }
    *vec_push(arena, &access->gateways) =
        (struct access_gateway){.ip = route->gateway, .ifname = route->ifname};
}

/* The route that the kernel would take: the longest prefix, then the lowest metric. */
static const struct route *route_to(const struct observed *observed, const struct ip *ip)
{
    const struct route *best = NULL;
    vec_foreach (&observed->routes, route) {
        if (route->table == TABLE_MAIN && route->ifname && *route->ifname &&
            prefix_contains(&route->to, ip) &&
            (!best || route->to.length > best->to.length ||
             (route->to.length == best->to.length && route->metric < best->metric)))
            best = route;
    }
    return best;
}

/* Until nothing is added: what an interface is a port of, its ports, what it stands on, what stands on it;
 * but a network's VLAN, which leads to guests.  The host that lives on that network has it as a port. */
void access_follow(struct arena *arena, const struct observed *observed, struct access *access)
{
    for (size_t before = 0; before != access->interfaces.count;) {
        before = access->interfaces.count;
        vec_foreach (&observed->links, link) {
            const char *lower = link->lower && strcmp(link->kind, "veth") != 0 ? link->lower : "";
            if (has(access, link->name)) {
                add(arena, access, link->master);
                add(arena, access, lower);
            } else if ((*link->master && has(access, link->master) && strcmp(link->kind, "tun") != 0) ||
                       (*lower && has(access, lower) && !owner_network(arena, link->alias))) {
                add(arena, access, link->name);
            }
        }
    }
}

void access_find(struct arena *arena, const struct observed *observed, const struct ip *caller,
                 struct access *access)
{
    *access = (struct access){0};
    vec_foreach (&observed->routes, route) {
        if (!is_default(route))
            continue;
        add(arena, access, route->ifname);
        add_gateway(arena, access, route);
    }
    const struct route *route = ip_is_set(caller) ? route_to(observed, caller) : NULL;
    if (route)
        add(arena, access, route->ifname);
    access->caller_on_link = route && !ip_is_set(&route->gateway);
    access_follow(arena, observed, access);
}

bool access_touched(const struct access *access, const struct observed *observed, const struct plan *plan)
{
    vec_foreach (&plan->steps, step) {
        const struct op *op = &step->op;
        const struct device *device;
        switch (op->kind) {
        case OP_LINK_CREATE:
        case OP_LINK_DELETE:
        case OP_LINK_SET:
            if (has(access, op->link.name))
                return true;
            break;
        case OP_PORT_ADD:
        case OP_PORT_REMOVE: {
            /* A guest's nic comes and goes without anybody else noticing. */
            const struct link *port = link_find(observed, op->port.ifname);
            if (has(access, op->port.ifname) ||
                (has(access, op->port.bridge) && !(port && strcmp(port->kind, "tun") == 0)))
                return true;
            break;
        }
        case OP_ADDRESS_ADD:
        case OP_ADDRESS_REMOVE:
            if (has(access, op->address.ifname))
                return true;
            break;
        case OP_ROUTE_ADD:
        case OP_ROUTE_REMOVE:
        case OP_ROUTE_REPLACE:
            if (is_default(&op->route) || (op->route.ifname && has(access, op->route.ifname)))
                return true;
            break;
        case OP_SHAPING_ENABLE:
            return true; /* a packet filter that refused would cut it off */
        case OP_DEVICE_BIND:
        case OP_DEVICE_UNBIND:
            device = device_find(observed, op->device.address);
            if ((device && device->ifname && has(access, device->ifname)) ||
                (op->device.ifname && has(access, op->device.ifname)))
                return true;
            break;
        default:
            break;
        }
    }
    return false;
}

const char *const *access_candidates(struct arena *arena, const struct access *access,
                                     const struct observed *observed, const struct ip *ip)
{
    VEC(const char *) names = {0};
    vec_foreach (&observed->links, link) {
        bool near = has(access, link->name);
        vec_foreach (&observed->addresses, address)
            near |= strcmp(address->ifname, link->name) == 0 && !ip_is_link_local(ip) &&
                    prefix_contains(&address->prefix, ip);
        if (near && link->up && !*link->master && !link->loopback)
            *vec_push(arena, &names) = link->name;
    }
    *vec_push(arena, &names) = NULL;
    return names.items;
}

static bool ends_lease(const struct plan *plan, const char *ifname)
{
    bool client = false, bridge = false;
    vec_foreach (&plan->steps, step) {
        const struct op *op = &step->op;
        client |= op->kind == OP_SERVICE_STOP && strcmp(op->service.kind, "dhcp-client") == 0 &&
                  strcmp(op->network, ifname) == 0;
        bridge |= op->kind == OP_LINK_DELETE && strcmp(op->link.name, ifname) == 0;
    }
    return client && bridge;
}

bool access_end_leases(struct access *access, const struct plan *plan)
{
    size_t had = access->gateways.count, left = 0;
    for (size_t i = 0; i < had; i++) {
        if (!ends_lease(plan, access->gateways.items[i].ifname))
            access->gateways.items[left++] = access->gateways.items[i];
    }
    access->gateways.count = left;
    return left || !had;
}
