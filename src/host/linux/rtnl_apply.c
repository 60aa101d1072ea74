/* rtnl_apply.c: operations on links, ports, addresses and routes, each one request of rtnetlink(7), checked
 * before it is sent. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "host/linux/linux.h"

int link_index(const char *name, struct err *err)
{
    unsigned index = if_nametoindex(name);
    if (index)
        return (int)index;
    return errno == ENODEV ? err_set(err, ENODEV, "interface '%s' does not exist", name)
                           : err_errno(err, errno, "looking for interface '%s'", name);
}

int link_index_or_none(const char *name, struct err *err)
{
    int index = link_index(name, err);
    return index == -ENODEV ? 0 : index;
}

/* --- links
 * ----------------------------------------------------------------------------------------------------------
 */

void link_put_ipv6(struct netlink_message *message, bool ipv6)
{
    if (access("/proc/sys/net/ipv6", F_OK) < 0)
        return;
    struct nlattr *spec = netlink_nest_open(message, IFLA_AF_SPEC);
    struct nlattr *inet6 = netlink_nest_open(message, AF_INET6);
    netlink_put_u8(message, IFLA_INET6_ADDR_GEN_MODE,
                   ipv6 ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE);
    netlink_nest_close(message, inet6);
    netlink_nest_close(message, spec);
}

static void put_bridge(struct netlink_message *message, const struct link *link)
{
    if (!(link->fields & (LINK_STP | LINK_FORWARD_DELAY | LINK_FILTERS_VLANS)))
        return;
    struct nlattr *info = netlink_nest_open(message, IFLA_LINKINFO);
    netlink_put_string(message, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = netlink_nest_open(message, IFLA_INFO_DATA);
    if (link->fields & LINK_FORWARD_DELAY)
        netlink_put_u32(message, IFLA_BR_FORWARD_DELAY, link->forward_delay);
    if (link->fields & LINK_STP)
        netlink_put_u32(message, IFLA_BR_STP_STATE, link->stp);
    if (link->fields & LINK_FILTERS_VLANS)
        netlink_put_u8(message, IFLA_BR_VLAN_FILTERING, link->filters_vlans);
    netlink_nest_close(message, data);
    netlink_nest_close(message, info);
}

static void put_vlan(struct netlink_message *message, const struct link *link, int lower)
{
    netlink_put_u32(message, IFLA_LINK, (uint32_t)lower);
    struct nlattr *info = netlink_nest_open(message, IFLA_LINKINFO);
    netlink_put_string(message, IFLA_INFO_KIND, "vlan");
    struct nlattr *data = netlink_nest_open(message, IFLA_INFO_DATA);
    netlink_put_u16(message, IFLA_VLAN_ID, (uint16_t)link->vlan);
    netlink_nest_close(message, data);
    netlink_nest_close(message, info);
}

/* The attributes that a link can be created with; the alias, the address mode and being up follow in a second
 * message. */
static void put_attributes(struct netlink_message *message, const struct link *link)
{
    if (link->fields & LINK_MAC)
        netlink_put(message, IFLA_ADDRESS, link->mac.bytes, sizeof(link->mac.bytes));
    if (link->fields & LINK_MTU)
        netlink_put_u32(message, IFLA_MTU, link->mtu);
}

/* Change what link->fields names.  IFF_UP travels apart: the kernel heeds it before the IPv6 mode of the same
 * message (do_setlink, net/core/rtnetlink.c), and a link that comes up first has made its link-local address
 * by then. */
static int link_change(struct linux_host *host, const struct link *link, int index, struct err *err)
{
    struct netlink_message messages[2];
    size_t count = 0, attributes = (link->fields & LINK_UP) && !link->up ? 1 : 0;
    int rc = link->fields & LINK_ACCEPT_RA ? accept_ra_set(link->name, link->accept_ra, err) : 0;
    if (rc < 0)
        return rc;
    if (link->fields & ~(unsigned)(LINK_UP | LINK_ACCEPT_RA)) {
        struct netlink_message *message = &messages[attributes];
        struct ifinfomsg *info = netlink_start(message, RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
        info->ifi_index = index;
        if (link->fields & LINK_ALIAS)
            netlink_put(message, IFLA_IFALIAS, link->alias, strlen(link->alias));
        _cleanup_arena_ struct arena arena = {0};
        const char *network =
            link->guest && (link->fields & LINK_ALIAS) ? owner_network(&arena, link->alias) : NULL;
        if (network)
            netlink_put_u32(message, IFLA_GROUP, owner_group(network));
        if (link->fields & LINK_IPV6)
            link_put_ipv6(message, link->ipv6);
        put_attributes(message, link);
        put_bridge(message, link);
        count++;
    }
    if (link->fields & LINK_UP) {
        struct netlink_message *message = &messages[count && !attributes ? 1 : 0];
        struct ifinfomsg *info = netlink_start(message, RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
        info->ifi_index = index;
        info->ifi_change = IFF_UP;
        info->ifi_flags = link->up ? IFF_UP : 0;
        count++;
    }
    return count ? netlink_call_all(&host->route, messages, count, err) : 0;
}

static int link_set(struct linux_host *host, const struct link *link, unsigned flags, struct err *err)
{
    int index = link_index(link->name, err);
    if (index < 0)
        return index == -ENODEV && ((flags & HOST_APPLY_TOLERANT) || link->guest) ? 0 : index;
    int rc = link_change(host, link, index, err);
    return rc == -ENODEV && link->guest ? 0 : rc; /* it may go between two requests, too */
}

static int link_create(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    const struct link *link = &op->link;
    _cleanup_arena_ struct arena arena = {0};
    if ((flags & HOST_APPLY_TOLERANT) && link_owned_check(host, &arena, op, err) == 0) {
        int reset = link_group_reset(host, link->name, err);
        return reset < 0 ? reset : link_set(host, link, flags, err);
    }
    struct netlink_message message;
    netlink_start(&message, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    netlink_put_string(&message, IFLA_IFNAME, link->name);
    int lower = link->vlan ? link_index(link->lower, err) : 0;
    if (lower < 0)
        return lower;
    /* What it is created with lasts until a port comes or goes: only an MTU that is set stays
     * (br_mtu_auto_adjust, net/bridge/br_if.c). */
    struct link bridge = *link, rest = *link;
    rest.fields &=
        LINK_UP | LINK_ALIAS | LINK_IPV6 | LINK_ACCEPT_RA | (link->mtu == MTU_DEFAULT ? 0 : LINK_MTU);
    bridge.fields &= ~(rest.fields & LINK_MTU);
    put_attributes(&message, &bridge);
    bridge.fields |= LINK_STP | LINK_FORWARD_DELAY; /* so that the kind is named */
    if (lower)
        put_vlan(&message, link, lower);
    else
        put_bridge(&message, &bridge);
    int rc = netlink_call(&host->route, &message, NULL, NULL, err);
    if (rc == -EOPNOTSUPP && lower)
        return err_set(err, rc, "%s", VLAN_LACKING);
    if (rc == -EOPNOTSUPP)
        return err_set(err, rc, "this kernel has no bridges (CONFIG_BRIDGE, module 'bridge')");
    if (rc < 0)
        return rc;
    int index = link_index(link->name, err);
    if (index > 0)
        rc = link_change(host, &rest, index, err);
    if (index < 0 || rc < 0)
        link_delete(host, link->name, NULL);
    return index < 0 ? index : rc;
}

/* --- ports
 * ----------------------------------------------------------------------------------------------------------
 */

static int set_master(struct linux_host *host, int index, int master, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = index;
    netlink_put_u32(&message, IFLA_MASTER, (uint32_t)master);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* A nic may go between two requests, too. */
static int went(const struct op *op, int rc)
{
    return rc == -ENODEV && op->port.guest ? 0 : rc;
}

static int port_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    bool tolerant = (flags & HOST_APPLY_TOLERANT) || op->port.guest, add = op->kind == OP_PORT_ADD;
    struct link port;
    int rc = link_get(host, &arena, op->port.ifname, &port, err);
    if (rc < 0)
        return tolerant && rc == -ENODEV ? 0 : rc;
    bool is_port = strcmp(port.master, op->port.bridge) == 0;
    if (!add) {
        if (!is_port)
            return tolerant
                       ? 0
                       : err_set(err, ENOENT, "'%s' is not a port of '%s'", op->port.ifname, op->port.bridge);
        return went(op, set_master(host, port.index, 0, err));
    }
    if (is_port)
        return tolerant
                   ? 0
                   : err_set(err, EEXIST, "'%s' is already a port of '%s'", op->port.ifname, op->port.bridge);
    if (*port.master)
        return err_set(err, EBUSY, "device is busy (it is a port of '%s')", port.master);
    int master = link_index(op->port.bridge, err);
    return master < 0 ? master : went(op, set_master(host, port.index, master, err));
}

static int port_set_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct link port;
    int rc = link_get(host, &arena, op->port.ifname, &port, err);
    bool gone = rc == -ENODEV || (rc == 0 && strcmp(port.master, op->port.bridge) != 0);
    if (gone && ((flags & HOST_APPLY_TOLERANT) || op->port.guest))
        return 0;
    if (rc == 0 && gone)
        return err_set(err, ENOENT, "'%s' is not a port of '%s'", op->port.ifname, op->port.bridge);
    if (rc == 0 && op->port.vlan) {
        struct link tag = {.fields = LINK_ALIAS, .alias = op->port.alias};
        rc = went(op, port_vlan_set(host, port.index, op->port.vlan, err));
        if (rc == 0)
            rc = went(op, link_change(host, &tag, port.index, err));
    }
    return rc < 0 ? rc : went(op, port_rules_set(host, op->port.ifname, &op->port.rules, err));
}

static int port_vlan_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct link port;
    int rc = link_get(host, &arena, op->port.ifname, &port, err);
    if (rc == 0 && strcmp(port.master, op->port.bridge) != 0)
        rc = err_set(err, ENOENT, "'%s' is not a port of '%s'", op->port.ifname, op->port.bridge);
    if ((rc == -ENODEV || rc == -ENOENT) && (flags & HOST_APPLY_TOLERANT))
        return 0;
    return rc < 0 ? rc : port_vlan_change(host, port.index, op->port.vlan, op->kind == OP_PORT_VLAN_ADD, err);
}

/* --- addresses
 * ------------------------------------------------------------------------------------------------------ */

static void put_lifetimes(struct netlink_message *message, const struct address *address)
{
    if (!address->valid_s || (address->valid_s == UINT32_MAX && address->preferred_s == UINT32_MAX))
        return;
    struct ifa_cacheinfo cache = {.ifa_valid = address->valid_s, .ifa_prefered = address->preferred_s};
    netlink_put(message, IFA_CACHEINFO, &cache, sizeof(cache));
}

static int address_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    const struct address *address = &op->address;
    bool tolerant = flags & HOST_APPLY_TOLERANT, add = op->kind == OP_ADDRESS_ADD;
    int index = link_index(address->ifname, err);
    if (index < 0)
        return tolerant && index == -ENODEV ? 0 : index;
    struct netlink_message message;
    struct ifaddrmsg *info = netlink_start(&message, add ? RTM_NEWADDR : RTM_DELADDR,
                                           NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0), sizeof(*info));
    info->ifa_family = address->prefix.ip.family;
    info->ifa_prefixlen = address->prefix.length;
    info->ifa_scope = address->scope;
    info->ifa_index = (unsigned)index;
    netlink_put_ip(&message, IFA_LOCAL, &address->prefix.ip);
    netlink_put_ip(&message, IFA_ADDRESS, ip_is_set(&address->peer) ? &address->peer : &address->prefix.ip);
    if (add) {
        if (ip_is_set(&address->broadcast))
            netlink_put_ip(&message, IFA_BROADCAST, &address->broadcast);
        if (address->label && *address->label)
            netlink_put_string(&message, IFA_LABEL, address->label);
        netlink_put_u32(&message, IFA_FLAGS, address->flags);
        if (address->metric)
            netlink_put_u32(&message, IFA_RT_PRIORITY, address->metric);
        put_lifetimes(&message, address);
    }
    int rc = netlink_call(&host->route, &message, NULL, NULL, err);
    if (tolerant && ((add && rc == -EEXIST) || (!add && rc == -EADDRNOTAVAIL)))
        return 0;
    return rc;
}

/* --- routes
 * ---------------------------------------------------------------------------------------------------------
 */

static void put_route(struct netlink_message *message, struct rtmsg *info, const struct route *route,
                      int index)
{
    info->rtm_family = route->to.ip.family;
    info->rtm_dst_len = route->to.length;
    info->rtm_tos = route->tos;
    info->rtm_table = route->table < 256 ? (uint8_t)route->table : RT_TABLE_UNSPEC;
    info->rtm_protocol = route->protocol;
    info->rtm_scope = route->scope;
    info->rtm_type = route->type;
    info->rtm_flags = route->onlink ? RTNH_F_ONLINK : 0;
    if (route->to.length)
        netlink_put_ip(message, RTA_DST, &route->to.ip);
    netlink_put_u32(message, RTA_TABLE, route->table);
    if (route->metric)
        netlink_put_u32(message, RTA_PRIORITY, route->metric);
    if (ip_is_set(&route->gateway))
        netlink_put_ip(message, RTA_GATEWAY, &route->gateway);
    if (index)
        netlink_put_u32(message, RTA_OIF, (uint32_t)index);
    if (ip_is_set(&route->source))
        netlink_put_ip(message, RTA_PREFSRC, &route->source);
    if (route->preference)
        netlink_put_u8(message, RTA_PREF, route->preference);
    if (route->mtu || route->advmss) {
        struct nlattr *metrics = netlink_nest_open(message, RTA_METRICS);
        if (route->mtu)
            netlink_put_u32(message, RTAX_MTU, route->mtu);
        if (route->advmss)
            netlink_put_u32(message, RTAX_ADVMSS, route->advmss);
        netlink_nest_close(message, metrics);
    }
}

static int route_send(struct linux_host *host, const struct route *route, uint16_t type, uint16_t flags,
                      struct err *err)
{
    int index = 0;
    if (route->ifname && *route->ifname) {
        index = link_index(route->ifname, err);
        if (index < 0)
            return index;
    }
    struct netlink_message message;
    struct rtmsg *info = netlink_start(&message, type, NLM_F_ACK | flags, sizeof(*info));
    put_route(&message, info, route, index);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

static bool is_our_bridge(const struct observed *seen, struct arena *arena, const char *name)
{
    const struct link *link = link_find(seen, name);
    return link && strcmp(link->kind, "bridge") == 0 && owner_network(arena, link->alias);
}

/* Is `old` the route that moves to where `route` is?  Other interfaces may have one in the slot for good
 * reasons.  A port and its bridge are plain; once the port has left, the gateway tells, or that there is no
 * other. */
static bool route_moves_away(const struct observed *seen, struct arena *arena, const struct route *old,
                             const struct route *route, bool alone)
{
    const struct link *from = link_find(seen, old->ifname), *to = link_find(seen, route->ifname);
    if (old->unmovable || !from || !to)
        return false;
    if (strcmp(from->master, to->name) == 0 || strcmp(to->master, from->name) == 0 || from == to)
        return true;
    bool same_gateway = ip_is_set(&old->gateway) && ip_equal(&old->gateway, &route->gateway);
    return (alone || same_gateway) &&
           (is_our_bridge(seen, arena, from->name) || is_our_bridge(seen, arena, to->name));
}

/* IPv6 keeps a route an interface in one slot, and NLM_F_REPLACE hits the first that it meets.  So it is used
 * only when the slot's one other route is the one that moves; else the new route is added and the one that
 * moves deleted. */
static int route_replace_ipv6(struct linux_host *host, const struct route *route, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    VEC(struct route) others = {0}, moving = {0};
    int rc = links_observe(host, &arena, &seen, err);
    if (rc == 0)
        rc = routes_observe(host, &arena, &seen, err);
    if (rc < 0)
        return rc;
    vec_foreach (&seen.routes, old) {
        struct route slot = *old;
        slot.ifname = route->ifname, slot.gateway = route->gateway;
        if (route_same_slot(&slot, route) && !route_equal(old, route))
            *vec_push(&arena, &others) = *old;
    }
    vec_foreach (&others, old) {
        if (route_moves_away(&seen, &arena, old, route, others.count == 1))
            *vec_push(&arena, &moving) = *old;
    }
    bool replace = others.count == 1 && moving.count == 1;
    rc = route_send(host, route, RTM_NEWROUTE, NLM_F_CREATE | (replace ? NLM_F_REPLACE : 0), err);
    if (rc < 0 && rc != -EEXIST)
        return rc;
    vec_foreach (&moving, old) {
        rc = route_send(host, old, RTM_DELROUTE, 0, err);
        if (rc < 0 && rc != -ESRCH)
            return rc;
    }
    return 0;
}

static int route_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    bool tolerant = flags & HOST_APPLY_TOLERANT;
    int rc;
    switch (op->kind) {
    case OP_ROUTE_ADD:
        /* IPv6 keeps a route an interface, and NLM_F_EXCL would refuse the second of one metric. */
        rc = route_send(host, &op->route, RTM_NEWROUTE,
                        op->route.to.ip.family == AF_INET6 ? NLM_F_CREATE : NLM_F_CREATE | NLM_F_EXCL, err);
        return tolerant && (rc == -EEXIST || rc == -ENODEV) ? 0 : rc;
    case OP_ROUTE_REMOVE:
        rc = route_send(host, &op->route, RTM_DELROUTE, 0, err);
        return tolerant && (rc == -ESRCH || rc == -ENODEV) ? 0 : rc;
    default:
        rc = op->route.to.ip.family == AF_INET6
                 ? route_replace_ipv6(host, &op->route, err)
                 : route_send(host, &op->route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, err);
        return tolerant && rc == -ENODEV ? 0 : rc;
    }
}

int rtnl_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    switch (op->kind) {
    case OP_LINK_CREATE:
        return link_create(host, op, flags, err);
    case OP_LINK_DELETE:
        return link_delete_owned(host, op, flags, err);
    case OP_LINK_SET:
        return link_set(host, &op->link, flags, err);
    case OP_PORT_ADD:
    case OP_PORT_REMOVE:
        return port_apply(host, op, flags, err);
    case OP_PORT_SET:
        return port_set_apply(host, op, flags, err);
    case OP_PORT_VLAN_ADD:
    case OP_PORT_VLAN_REMOVE:
        return port_vlan_apply(host, op, flags, err);
    case OP_ADDRESS_ADD:
    case OP_ADDRESS_REMOVE:
        return address_apply(host, op, flags, err);
    default:
        return route_apply(host, op, flags, err);
    }
}
