/* lease.c: what the host's own DHCP client won: an address with a lifetime and a default route of protocol
 * dhcp. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/linux.h"

enum { TABLE_MAIN = RT_TABLE_MAIN, METRIC_BASE = 1000 };

/* Leases of before: addresses with an end on this interface, and its routes of protocol dhcp. */
static int forget_old(struct linux_host *host, const struct observed *seen, const char *ifname,
                      const struct prefix *keep, struct err *err)
{
    int rc = 0;
    vec_foreach (&seen->routes, route) {
        struct op op = {.kind = OP_ROUTE_REMOVE, .network = "", .route = *route};
        if (rc == 0 && route->protocol == RTPROT_DHCP && strcmp(route->ifname, ifname) == 0)
            rc = rtnl_apply(host, &op, HOST_APPLY_TOLERANT, err);
    }
    vec_foreach (&seen->addresses, address) {
        struct op op = {.kind = OP_ADDRESS_REMOVE, .network = "", .address = *address};
        if (rc == 0 && strcmp(address->ifname, ifname) == 0 && address->prefix.ip.family == AF_INET &&
            address->valid_s && address->valid_s != UINT32_MAX && !prefix_equal(&address->prefix, keep))
            rc = rtnl_apply(host, &op, HOST_APPLY_TOLERANT, err);
    }
    return rc;
}

static int address_set(struct linux_host *host, const char *ifname, const struct prefix *prefix,
                       uint32_t lifetime_s, struct err *err)
{
    struct netlink_message message;
    struct ifaddrmsg *info =
        netlink_start(&message, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, sizeof(*info));
    struct ip broadcast = prefix_last(prefix);
    struct ifa_cacheinfo cache = {.ifa_valid = lifetime_s, .ifa_prefered = lifetime_s};
    int index = link_index(ifname, err);
    if (index < 0)
        return index;
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = prefix->length;
    info->ifa_index = (unsigned)index;
    netlink_put_ip(&message, IFA_LOCAL, &prefix->ip);
    netlink_put_ip(&message, IFA_ADDRESS, &prefix->ip);
    if (prefix->length < 31)
        netlink_put_ip(&message, IFA_BROADCAST, &broadcast);
    netlink_put(&message, IFA_CACHEINFO, &cache, sizeof(cache));
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* Behind the default routes that an administrator set (metric 0), as DHCP clients do. */
static int gateway_set(struct linux_host *host, const char *ifname, const struct ip *gateway,
                       const struct ip *source, struct err *err)
{
    struct op op = {.kind = OP_ROUTE_REPLACE, .network = ""};
    int index = link_index(ifname, err);
    if (index < 0)
        return index;
    op.route = (struct route){.table = TABLE_MAIN,
                              .to = {.ip = {.family = AF_INET}},
                              .type = RTN_UNICAST,
                              .scope = RT_SCOPE_UNIVERSE,
                              .protocol = RTPROT_DHCP,
                              .metric = METRIC_BASE + (uint32_t)index,
                              .gateway = *gateway,
                              .source = *source,
                              .ifname = ifname};
    return rtnl_apply(host, &op, HOST_APPLY_TOLERANT, err);
}

int lease_apply(struct host *base, const char *ifname, const struct prefix *prefix, const struct ip *gateway,
                uint32_t lifetime_s, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    int rc = links_observe(host, &arena, &seen, err);
    if (rc == 0)
        rc = addresses_observe(host, &arena, &seen, err);
    if (rc == 0)
        rc = routes_observe(host, &arena, &seen, err);
    if (rc == 0)
        rc = forget_old(host, &seen, ifname, prefix, err);
    if (rc == 0 && ip_is_set(&prefix->ip))
        rc = address_set(host, ifname, prefix, lifetime_s, err);
    if (rc == 0 && ip_is_set(&prefix->ip) && ip_is_set(gateway))
        rc = gateway_set(host, ifname, gateway, &prefix->ip, err);
    return rc < 0 ? err_wrap(err, "the lease of '%s'", ifname) : 0;
}
