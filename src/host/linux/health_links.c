/* health_links.c: how each interface fares, in one dump: counters, settings, its place on a bridge.
 * Source: <linux/if_link.h>, <linux/ip.h> (the order of IFLA_INET_CONF), the kernel's
 * net/bridge/br_netlink.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/linux/health.h"

static int inet_conf(const struct nlattr *conf, unsigned which)
{
    int32_t value = 0;
    if (conf && mnl_attr_get_payload_len(conf) >= which * sizeof(value))
        memcpy(&value, (const char *)mnl_attr_get_payload(conf) + (which - 1) * sizeof(value), sizeof(value));
    return value;
}

static void settings_read(const struct nlattr *af_spec, struct interface_health *health)
{
    const struct nlattr *families[AF_INET6 + 1], *inet[IFLA_INET_MAX + 1], *inet6[IFLA_INET6_MAX + 1];
    netlink_nested(af_spec, families, AF_INET6 + 1);
    if (families[AF_INET]) {
        netlink_nested(families[AF_INET], inet, IFLA_INET_MAX + 1);
        health->conf_known = inet[IFLA_INET_CONF];
        health->rp_filter = inet_conf(inet[IFLA_INET_CONF], IPV4_DEVCONF_RP_FILTER);
        health->arp_ignore = inet_conf(inet[IFLA_INET_CONF], IPV4_DEVCONF_ARP_IGNORE);
        health->forwarding = inet_conf(inet[IFLA_INET_CONF], IPV4_DEVCONF_FORWARDING) != 0;
    }
    if (families[AF_INET6]) {
        netlink_nested(families[AF_INET6], inet6, IFLA_INET6_MAX + 1);
        /* IPv6's list starts at 0. */
        health->forwarding6 = inet_conf(inet6[IFLA_INET6_CONF], DEVCONF_FORWARDING + 1) != 0;
    }
}

static void port_read(const struct nlattr *nest, struct interface_health *health)
{
    const struct nlattr *table[IFLA_BRPORT_MAX + 1];
    netlink_nested(nest, table, IFLA_BRPORT_MAX + 1);
    health->port = true;
    health->state = netlink_u8(table[IFLA_BRPORT_STATE]);
    health->isolated = netlink_u8(table[IFLA_BRPORT_ISOLATED]);
    health->locked = netlink_u8(table[IFLA_BRPORT_LOCKED]);
    health->guarded = netlink_u8(table[IFLA_BRPORT_GUARD]);
    health->no_flood = table[IFLA_BRPORT_UNICAST_FLOOD] && !netlink_u8(table[IFLA_BRPORT_UNICAST_FLOOD]);
    health->no_broadcast = table[IFLA_BRPORT_BCAST_FLOOD] && !netlink_u8(table[IFLA_BRPORT_BCAST_FLOOD]);
}

static void info_read(const struct nlattr *info, struct interface_health *health)
{
    const struct nlattr *table[IFLA_INFO_MAX + 1];
    netlink_nested(info, table, IFLA_INFO_MAX + 1);
    if (strcmp(netlink_text(table[IFLA_INFO_SLAVE_KIND]), "bridge") == 0)
        port_read(table[IFLA_INFO_SLAVE_DATA], health);
}

static int interface_each(const struct nlmsghdr *header, void *data)
{
    struct health_reader *reader = data;
    const struct nlattr *table[IFLA_MAX + 1], *xdp[IFLA_XDP_MAX + 1];
    struct rtnl_link_stats64 stats = {0};
    if (header->nlmsg_type != RTM_NEWLINK)
        return 0;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
    netlink_attributes(header, sizeof(*info), table, IFLA_MAX + 1);
    struct interface_health *health = vec_push(reader->arena, &reader->health->interfaces);
    health->ifname = arena_strdup(reader->arena, netlink_text(table[IFLA_IFNAME]));
    health->index = info->ifi_index;
    health->no_arp = info->ifi_flags & IFF_NOARP;
    const struct nlattr *counts = table[IFLA_STATS64];
    size_t size = counts ? mnl_attr_get_payload_len(counts) : 0;
    if (size)
        memcpy(&stats, mnl_attr_get_payload(counts), size < sizeof(stats) ? size : sizeof(stats));
    health->traffic =
        (struct traffic){.received = stats.rx_packets, .sent = stats.tx_packets, .dropped = stats.tx_dropped};
    netlink_nested(table[IFLA_XDP], xdp, IFLA_XDP_MAX + 1);
    health->program = netlink_u8(xdp[IFLA_XDP_ATTACHED]) != 0;
    settings_read(table[IFLA_AF_SPEC], health);
    info_read(table[IFLA_LINKINFO], health);
    const struct nlattr *kind[IFLA_INFO_MAX + 1];
    netlink_nested(table[IFLA_LINKINFO], kind, IFLA_INFO_MAX + 1);
    if (!kind[IFLA_INFO_KIND]) /* a card */
        health->wireless =
            access(arena_printf(reader->arena, "/sys/class/net/%s/phy80211", health->ifname), F_OK) == 0;
    return 0;
}

static void interfaces_reset(void *data)
{
    ((struct health_reader *)data)->health->interfaces.count = 0;
}

/* rp_filter and arp_ignore of "all" count where they are greater (ip-sysctl.rst).  The dump does not have it.
 */
static void all_apply(struct health_reader *reader)
{
    long rp_filter = number_read(reader->arena, "/proc/sys/net/ipv4/conf/all/rp_filter");
    long arp_ignore = number_read(reader->arena, "/proc/sys/net/ipv4/conf/all/arp_ignore");
    vec_foreach (&reader->health->interfaces, interface) {
        if (rp_filter > interface->rp_filter)
            interface->rp_filter = (int)rp_filter;
        if (arp_ignore > interface->arp_ignore)
            interface->arp_ignore = (int)arp_ignore;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct interface_health *)a)->ifname, ((const struct interface_health *)b)->ifname);
}

static int qdisc_each(const struct nlmsghdr *header, void *data)
{
    struct health_reader *reader = data;
    const struct nlattr *table[TCA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWQDISC)
        return 0;
    const struct tcmsg *info = mnl_nlmsg_get_payload(header);
    netlink_attributes(header, sizeof(*info), table, TCA_MAX + 1);
    const char *kind = netlink_text(table[TCA_KIND]);
    if (strcmp(kind, "clsact") != 0 && strcmp(kind, "ingress") != 0)
        return 0;
    vec_foreach (&reader->health->interfaces, interface) {
        if (interface->index == info->tcm_ifindex)
            interface->filters = true;
    }
    return 0;
}

static void nothing_reset(void *data)
{
    (void)data;
}

int health_links(struct health_reader *reader, struct err *err)
{
    struct netlink_message message;
    netlink_start(&message, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    int rc = netlink_dump(&reader->host->route, &message, interface_each, interfaces_reset, reader, err);
    if (rc < 0)
        return err_wrap(err, "reading the interfaces' counters");
    all_apply(reader);
    qsort(reader->health->interfaces.items, reader->health->interfaces.count, sizeof(struct interface_health),
          by_name);
    netlink_start(&message, RTM_GETQDISC, 0, sizeof(struct tcmsg));
    netlink_dump(&reader->host->route, &message, qdisc_each, nothing_reset, reader, NULL);
    return 0;
}
