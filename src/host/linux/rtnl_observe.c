/* rtnl_observe.c: links, addresses and routes as rtnetlink(7) tells them. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/linux.h"

/* <linux/if.h> has it, and cannot stand beside <net/if.h>. */
enum { LINK_LOWER_UP = 1 << 16 };

#ifndef IFAPROT_KERNEL_LO
enum { IFAPROT_KERNEL_LO = 1, IFAPROT_KERNEL_RA = 2, IFAPROT_KERNEL_LL = 3 };
#endif

struct watcher {
    struct arena *arena;
    struct observed *observed;
    struct link *single; /* link_get's answer */
};

/* --- links
 * ----------------------------------------------------------------------------------------------------------
 */

/* Of one or two bytes. */
static uint32_t small_number(const struct nlattr *attribute)
{
    uint16_t value = 0;
    if (mnl_attr_get_payload_len(attribute) != sizeof(value))
        return netlink_u8(attribute);
    memcpy(&value, mnl_attr_get_payload(attribute), sizeof(value));
    return value;
}

/* What a bridge's or a bond's port has when nobody has set anything; a bridge's path cost follows the speed.
 * Source: new_nbp in net/bridge/br_if.c, bond_enslave in drivers/net/bonding/bond_main.c. */
static bool port_is_tuned(const char *kind, const struct nlattr *data)
{
    static const struct {
        uint16_t attribute, value;
    } bridge[] = {
        {IFLA_BRPORT_PRIORITY, 32},        {IFLA_BRPORT_MODE, 0},        {IFLA_BRPORT_GUARD, 0},
        {IFLA_BRPORT_PROTECT, 0},          {IFLA_BRPORT_FAST_LEAVE, 0},  {IFLA_BRPORT_LEARNING, 1},
        {IFLA_BRPORT_UNICAST_FLOOD, 1},    {IFLA_BRPORT_PROXYARP, 0},    {IFLA_BRPORT_PROXYARP_WIFI, 0},
        {IFLA_BRPORT_MULTICAST_ROUTER, 1}, {IFLA_BRPORT_MCAST_FLOOD, 1}, {IFLA_BRPORT_MCAST_TO_UCAST, 0},
        {IFLA_BRPORT_VLAN_TUNNEL, 0},      {IFLA_BRPORT_BCAST_FLOOD, 1}, {IFLA_BRPORT_GROUP_FWD_MASK, 0},
        {IFLA_BRPORT_NEIGH_SUPPRESS, 0},   {IFLA_BRPORT_ISOLATED, 0},    {IFLA_BRPORT_LOCKED, 0}};
    const struct nlattr *table[IFLA_BRPORT_MAX + 1];
    if (strcmp(kind, "bond") == 0) {
        netlink_nested(data, table, IFLA_BOND_SLAVE_MAX + 1);
        return table[IFLA_BOND_SLAVE_QUEUE_ID] && small_number(table[IFLA_BOND_SLAVE_QUEUE_ID]) != 0;
    }
    if (strcmp(kind, "bridge") != 0)
        return false;
    netlink_nested(data, table, IFLA_BRPORT_MAX + 1);
    for (size_t i = 0; i < sizeof(bridge) / sizeof(bridge[0]); i++) {
        const struct nlattr *attribute = table[bridge[i].attribute];
        if (attribute && small_number(attribute) != bridge[i].value)
            return true;
    }
    return table[IFLA_BRPORT_BACKUP_PORT] != NULL;
}

static void read_info(const struct nlattr *info, struct arena *arena, struct link *link)
{
    const struct nlattr *table[IFLA_INFO_MAX + 1], *data[IFLA_BR_MAX + 1];
    if (!info)
        return;
    netlink_nested(info, table, IFLA_INFO_MAX + 1);
    link->kind = arena_strdup(arena, netlink_text(table[IFLA_INFO_KIND]));
    if (strcmp(netlink_text(table[IFLA_INFO_SLAVE_KIND]), "bridge") == 0)
        link->port = port_rules_read(table[IFLA_INFO_SLAVE_DATA]);
    if (table[IFLA_INFO_SLAVE_DATA])
        link->port_tuned =
            port_is_tuned(netlink_text(table[IFLA_INFO_SLAVE_KIND]), table[IFLA_INFO_SLAVE_DATA]);
    if (strcmp(link->kind, "vlan") == 0 && table[IFLA_INFO_DATA]) {
        netlink_nested(table[IFLA_INFO_DATA], data, IFLA_BR_MAX + 1);
        link->vlan = netlink_u16(data[IFLA_VLAN_ID]);
    }
    if (strcmp(link->kind, "bridge") != 0 || !table[IFLA_INFO_DATA])
        return;
    netlink_nested(table[IFLA_INFO_DATA], data, IFLA_BR_MAX + 1);
    link->stp = netlink_u32(data[IFLA_BR_STP_STATE]) != 0;
    link->forward_delay = netlink_u32(data[IFLA_BR_FORWARD_DELAY]);
    link->filters_vlans = netlink_u8(data[IFLA_BR_VLAN_FILTERING]) != 0;
}

static bool makes_link_local(const struct nlattr *af_spec)
{
    const struct nlattr *families[AF_INET6 + 1], *inet6[IFLA_INET6_MAX + 1];
    if (!af_spec)
        return false;
    netlink_nested(af_spec, families, AF_INET6 + 1);
    if (!families[AF_INET6])
        return false;
    netlink_nested(families[AF_INET6], inet6, IFLA_INET6_MAX + 1);
    return netlink_u8(inet6[IFLA_INET6_ADDR_GEN_MODE]) != IN6_ADDR_GEN_MODE_NONE;
}

/* One of an interface's settings of a family; 0 when it has none.  They are an array, IFLA_INET_CONF from
 * number 1 on (<linux/ip.h>), IFLA_INET6_CONF from 0 on (<linux/ipv6.h>). */
static uint32_t setting(const struct nlattr *af_spec, int family, uint16_t array, size_t place)
{
    const struct nlattr *families[AF_INET6 + 1], *parts[IFLA_INET6_MAX + 1];
    uint32_t value = 0;
    if (!af_spec)
        return 0;
    netlink_nested(af_spec, families, AF_INET6 + 1);
    if (!families[family])
        return 0;
    netlink_nested(families[family], parts, IFLA_INET6_MAX + 1);
    if (parts[array] && mnl_attr_get_payload_len(parts[array]) >= (place + 1) * sizeof(value))
        memcpy(&value, (const char *)mnl_attr_get_payload(parts[array]) + place * sizeof(value),
               sizeof(value));
    return value;
}

/* Of interfaces whose names are not known until every link was read; 0 none. */
struct relatives {
    uint32_t master, lower;
};

static void link_read(const struct nlmsghdr *header, struct arena *arena, struct link *link,
                      struct relatives *relatives)
{
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[IFLA_MAX + 1];
    netlink_attributes(header, sizeof(*info), table, IFLA_MAX + 1);
    *link = (struct link){
        .name = arena_strdup(arena, netlink_text(table[IFLA_IFNAME])),
        .kind = "",
        .fields = LINK_MAC | LINK_MTU | LINK_UP | LINK_ALIAS | LINK_STP | LINK_FORWARD_DELAY | LINK_IPV6 |
                  LINK_ACCEPT_RA | LINK_FILTERS_VLANS,
        .mtu = netlink_u32(table[IFLA_MTU]),
        .up = info->ifi_flags & IFF_UP,
        .carrier = (info->ifi_flags & IFF_UP) && (info->ifi_flags & LINK_LOWER_UP),
        .loopback = info->ifi_flags & IFF_LOOPBACK,
        .alias = arena_strdup(arena, netlink_text(table[IFLA_IFALIAS])),
        .index = info->ifi_index,
        .master = "",
        .lower = "",
    };
    if (table[IFLA_ADDRESS] && mnl_attr_get_payload_len(table[IFLA_ADDRESS]) == sizeof(link->mac.bytes))
        memcpy(link->mac.bytes, mnl_attr_get_payload(table[IFLA_ADDRESS]), sizeof(link->mac.bytes));
    read_info(table[IFLA_LINKINFO], arena, link);
    link->ipv6 = makes_link_local(table[IFLA_AF_SPEC]);
    link->localnet =
        setting(table[IFLA_AF_SPEC], AF_INET, IFLA_INET_CONF, IPV4_DEVCONF_ROUTE_LOCALNET - 1) != 0;
    link->accept_ra = (uint8_t)setting(table[IFLA_AF_SPEC], AF_INET6, IFLA_INET6_CONF, DEVCONF_ACCEPT_RA);
    *relatives = (struct relatives){.master = netlink_u32(table[IFLA_MASTER])};
    if (!table[IFLA_LINK_NETNSID]) /* else it is in another namespace */
        relatives->lower = netlink_u32(table[IFLA_LINK]);
}

struct link_watcher {
    struct watcher common;
    VEC(struct relatives) relatives;
};

static int link_each(const struct nlmsghdr *header, void *data)
{
    struct link_watcher *watcher = data;
    if (header->nlmsg_type != RTM_NEWLINK)
        return 0;
    struct arena *arena = watcher->common.arena;
    link_read(header, arena, vec_push(arena, &watcher->common.observed->links),
              vec_push(arena, &watcher->relatives));
    return 0;
}

static void link_reset(void *data)
{
    struct link_watcher *watcher = data;
    watcher->common.observed->links.count = watcher->relatives.count = 0;
}

int links_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct link_watcher watcher = {.common = {.arena = arena, .observed = observed}};
    struct netlink_message message;
    netlink_start(&message, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    netlink_put_u32(&message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    int rc = netlink_dump(&host->route, &message, link_each, link_reset, &watcher, err);
    if (rc < 0)
        return err_wrap(err, "reading the interfaces");
    /* Ports of one bridge stand together more often than not. */
    const struct link *last = NULL;
    for (size_t i = 0; i < observed->links.count; i++) {
        struct link *link = &observed->links.items[i];
        uint32_t master = watcher.relatives.items[i].master, lower = watcher.relatives.items[i].lower;
        const struct link *below = lower ? link_by_index(observed, (int)lower) : NULL;
        if (below && below != link)
            link->lower = below->name;
        if (!master)
            continue;
        if (!last || last->index != (int)master)
            last = link_by_index(observed, (int)master);
        link->master = last ? last->name : "";
    }
    return 0;
}

static int single_each(const struct nlmsghdr *header, void *data)
{
    struct watcher *watcher = data;
    struct relatives relatives;
    if (header->nlmsg_type != RTM_NEWLINK)
        return 0;
    link_read(header, watcher->arena, watcher->single, &relatives);
    char name[IF_NAMESIZE] = "";
    if (relatives.master && if_indextoname(relatives.master, name))
        watcher->single->master = arena_strdup(watcher->arena, name);
    return 0;
}

int link_get(struct linux_host *host, struct arena *arena, const char *name, struct link *link,
             struct err *err)
{
    struct watcher watcher = {.arena = arena, .single = link};
    struct netlink_message message;
    *link = (struct link){0};
    netlink_start(&message, RTM_GETLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
    netlink_put_string(&message, IFLA_IFNAME, name);
    netlink_put_u32(&message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return netlink_call(&host->route, &message, single_each, &watcher, err);
}

/* --- addresses
 * ------------------------------------------------------------------------------------------------------ */

static const char *name_of(const struct observed *observed, int index)
{
    const struct link *link = link_by_index(observed, index);
    return link ? link->name : "";
}

static void read_lifetimes(const struct nlattr *info, struct address *address)
{
    if (!info || mnl_attr_get_payload_len(info) < sizeof(struct ifa_cacheinfo))
        return;
    const struct ifa_cacheinfo *cache = mnl_attr_get_payload(info);
    if (cache->ifa_valid == UINT32_MAX && cache->ifa_prefered == UINT32_MAX)
        return;
    address->valid_s = cache->ifa_valid;
    address->preferred_s = cache->ifa_prefered;
}

static int address_each(const struct nlmsghdr *header, void *data)
{
    enum { SETTABLE = IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_MANAGETEMPADDR | IFA_F_HOMEADDRESS };
    struct watcher *watcher = data;
    const struct ifaddrmsg *info = mnl_nlmsg_get_payload(header);
    if (header->nlmsg_type != RTM_NEWADDR || (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
        return 0;
    const struct nlattr *table[IFA_MAX + 1];
    netlink_attributes(header, sizeof(*info), table, IFA_MAX + 1);
    struct ip here = netlink_ip(table[IFA_LOCAL], info->ifa_family);
    struct ip there = netlink_ip(table[IFA_ADDRESS], info->ifa_family);
    uint32_t flags = table[IFA_FLAGS] ? netlink_u32(table[IFA_FLAGS]) : info->ifa_flags;
    const char *name = name_of(watcher->observed, (int)info->ifa_index);
    const char *label = netlink_text(table[IFA_LABEL]);
    struct address *address = vec_push(watcher->arena, &watcher->observed->addresses);
    *address = (struct address){
        .ifname = name,
        .prefix = {.ip = ip_is_set(&here) ? here : there, .length = info->ifa_prefixlen},
        .broadcast = netlink_ip(table[IFA_BROADCAST], info->ifa_family),
        .label = strcmp(label, name) == 0 ? "" : arena_strdup(watcher->arena, label),
        .scope = info->ifa_scope,
        .flags = flags & SETTABLE,
        .metric = netlink_u32(table[IFA_RT_PRIORITY]),
    };
    if (ip_is_set(&here) && ip_is_set(&there) && !ip_equal(&here, &there))
        address->peer = there;
    read_lifetimes(table[IFA_CACHEINFO], address);
    uint8_t maker = netlink_u8(table[IFA_PROTO]);
    bool learned =
        info->ifa_family == AF_INET6 && !(flags & IFA_F_PERMANENT) && address->valid_s &&
        ((flags & IFA_F_TEMPORARY) || (flags & IFA_F_MANAGETEMPADDR) || maker == IFAPROT_KERNEL_RA);
    address->kernel = learned || maker == IFAPROT_KERNEL_LL || maker == IFAPROT_KERNEL_LO ||
                      (info->ifa_family == AF_INET6 && ip_is_link_local(&address->prefix.ip));
    return 0;
}

static void address_reset(void *data)
{
    ((struct watcher *)data)->observed->addresses.count = 0;
}

int addresses_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                      struct err *err)
{
    struct watcher watcher = {.arena = arena, .observed = observed};
    struct netlink_message message;
    netlink_start(&message, RTM_GETADDR, 0, sizeof(struct ifaddrmsg));
    int rc = netlink_dump(&host->route, &message, address_each, address_reset, &watcher, err);
    return rc < 0 ? err_wrap(err, "reading the addresses") : 0;
}

/* --- routes
 * ---------------------------------------------------------------------------------------------------------
 */

static void read_metrics(const struct nlattr *metrics, struct route *route)
{
    const struct nlattr *attribute;
    if (!metrics)
        return;
    mnl_attr_for_each_nested (attribute, metrics) {
        if (mnl_attr_get_type(attribute) == RTAX_MTU)
            route->mtu = netlink_u32(attribute);
        else if (mnl_attr_get_type(attribute) == RTAX_ADVMSS)
            route->advmss = netlink_u32(attribute);
        else if (mnl_attr_get_type(attribute) != RTAX_HOPLIMIT || netlink_u32(attribute))
            route->unmovable = true;
    }
}

static bool route_counts(const struct rtmsg *info, uint32_t table)
{
    return (info->rtm_family == AF_INET || info->rtm_family == AF_INET6) && table != RT_TABLE_LOCAL &&
           !(info->rtm_flags & RTM_F_CLONED) && info->rtm_type != RTN_MULTICAST &&
           info->rtm_type != RTN_LOCAL && info->rtm_type != RTN_BROADCAST && info->rtm_type != RTN_ANYCAST;
}

/* A multipath route names its interfaces inside: it stands there once for each, so that whoever takes one of
 * them finds it. */
static void read_hops(struct watcher *watcher, struct route route, const struct nlattr *hops)
{
    struct observed *observed = watcher->observed;
    int left = mnl_attr_get_payload_len(hops);
    observed->routes.count--;
    for (const struct rtnexthop *hop = mnl_attr_get_payload(hops); RTNH_OK(hop, left);
         left -= (int)NLMSG_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
        route.ifname = name_of(observed, hop->rtnh_ifindex);
        *vec_push(watcher->arena, &observed->routes) = route;
    }
}

static int route_each(const struct nlmsghdr *header, void *data)
{
    struct watcher *watcher = data;
    const struct rtmsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[RTA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWROUTE)
        return 0;
    netlink_attributes(header, sizeof(*info), table, RTA_MAX + 1);
    uint32_t number = table[RTA_TABLE] ? netlink_u32(table[RTA_TABLE]) : info->rtm_table;
    if (!route_counts(info, number))
        return 0;
    struct ip to = netlink_ip(table[RTA_DST], info->rtm_family);
    if (ip_is_multicast(&to))
        return 0;
    to.family = info->rtm_family;
    struct route *route = vec_push(watcher->arena, &watcher->observed->routes);
    *route = (struct route){
        .table = number,
        .to = {.ip = to, .length = info->rtm_dst_len},
        .tos = info->rtm_tos,
        .scope = info->rtm_scope,
        .type = info->rtm_type,
        .protocol = info->rtm_protocol,
        .metric = netlink_u32(table[RTA_PRIORITY]),
        .gateway = netlink_ip(table[RTA_GATEWAY], info->rtm_family),
        .ifname = table[RTA_OIF] ? name_of(watcher->observed, (int)netlink_u32(table[RTA_OIF])) : "",
        .source = netlink_ip(table[RTA_PREFSRC], info->rtm_family),
        .onlink = info->rtm_flags & RTNH_F_ONLINK,
        .preference = netlink_u8(table[RTA_PREF]),
        .unmovable = table[RTA_MULTIPATH] || table[RTA_ENCAP] || table[RTA_NH_ID] || table[RTA_VIA] ||
                     table[RTA_FLOW] || info->rtm_src_len,
    };
    read_metrics(table[RTA_METRICS], route);
    if (table[RTA_MULTIPATH])
        read_hops(watcher, *route, table[RTA_MULTIPATH]);
    return 0;
}

static void route_reset(void *data)
{
    ((struct watcher *)data)->observed->routes.count = 0;
}

int routes_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct watcher watcher = {.arena = arena, .observed = observed};
    struct netlink_message message;
    netlink_start(&message, RTM_GETROUTE, 0, sizeof(struct rtmsg));
    int rc = netlink_dump(&host->route, &message, route_each, route_reset, &watcher, err);
    return rc < 0 ? err_wrap(err, "reading the routes") : 0;
}

static int traffic_each(const struct nlmsghdr *header, void *data)
{
    struct traffic *traffic = data;
    const struct nlattr *table[IFLA_MAX + 1];
    struct rtnl_link_stats64 stats = {0};
    netlink_attributes(header, sizeof(struct ifinfomsg), table, IFLA_MAX + 1);
    const struct nlattr *counts = table[IFLA_STATS64];
    if (!counts)
        return 0;
    size_t size = mnl_attr_get_payload_len(counts);
    memcpy(&stats, mnl_attr_get_payload(counts), size < sizeof(stats) ? size : sizeof(stats));
    *traffic =
        (struct traffic){.received = stats.rx_packets, .sent = stats.tx_packets, .dropped = stats.tx_dropped};
    return 0;
}

int traffic_get(struct host *base, const char *ifname, struct traffic *traffic, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    struct netlink_message message;
    *traffic = (struct traffic){0};
    int index = link_index(ifname, err);
    if (index < 0)
        return index;
    struct ifinfomsg *info = netlink_start(&message, RTM_GETLINK, 0, sizeof(*info));
    info->ifi_index = index;
    int rc = netlink_call(&host->route, &message, traffic_each, traffic, err);
    return rc < 0 ? err_wrap(err, "reading the counters of '%s'", ifname) : 0;
}
