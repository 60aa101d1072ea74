/* vlan.c: the VLANs that a bridge's ports are in, and what this kernel can do with VLANs. */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/linux.h"

/* --- what is */

struct reader {
    struct arena *arena;
    struct observed *observed;
    bool all; /* also of bridges that do not filter them now */
};

static void port_reset(void *data)
{
    vec_foreach (&((struct reader *)data)->observed->links, link)
        link->vlans.count = 0;
}

static bool is_asked(const struct reader *reader, const struct link *bridge)
{
    return bridge && strcmp(bridge->kind, "bridge") == 0 && (bridge->filters_vlans || reader->all) &&
           owner_network(reader->arena, bridge->alias);
}

/* A range is told by its first and its last. */
static int port_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[IFLA_MAX + 1], *attribute;
    if (header->nlmsg_type != RTM_NEWLINK)
        return 0;
    netlink_attributes(header, sizeof(*info), table, IFLA_MAX + 1);
    struct link *port = (struct link *)link_by_index(reader->observed, info->ifi_index);
    if (!port || !table[IFLA_AF_SPEC] || !is_asked(reader, link_find(reader->observed, port->master)))
        return 0;
    unsigned first = 0;
    mnl_attr_for_each_nested (attribute, table[IFLA_AF_SPEC]) {
        struct bridge_vlan_info vlan;
        if (mnl_attr_get_type(attribute) != IFLA_BRIDGE_VLAN_INFO ||
            mnl_attr_get_payload_len(attribute) < sizeof(vlan))
            continue;
        memcpy(&vlan, mnl_attr_get_payload(attribute), sizeof(vlan));
        if (vlan.flags & BRIDGE_VLAN_INFO_RANGE_BEGIN)
            first = vlan.vid;
        for (unsigned id = first && (vlan.flags & BRIDGE_VLAN_INFO_RANGE_END) ? first + 1 : vlan.vid;
             id <= vlan.vid; id++)
            *vec_push(reader->arena, &port->vlans) =
                (struct port_vlan){.id = (uint16_t)id,
                                   .own = vlan.flags & BRIDGE_VLAN_INFO_PVID,
                                   .untagged = vlan.flags & BRIDGE_VLAN_INFO_UNTAGGED};
    }
    return 0;
}

int port_vlans_observe(struct linux_host *host, struct arena *arena, bool all, struct observed *observed,
                       struct err *err)
{
    struct reader reader = {.arena = arena, .observed = observed, .all = all};
    bool any = false;
    vec_foreach (&observed->links, link)
        any |= is_asked(&reader, link);
    port_reset(&reader);
    if (!any)
        return 0;
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_GETLINK, 0, sizeof(*info));
    info->ifi_family = AF_BRIDGE;
    netlink_put_u32(&message, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED);
    int rc = netlink_dump(&host->route, &message, port_each, port_reset, &reader, err);
    return rc < 0 ? err_wrap(err, "reading the VLANs of the bridges' ports") : 0;
}

/* --- what should be */

static void put_vlan(struct netlink_message *message, uint32_t id, uint16_t flags)
{
    struct bridge_vlan_info vlan = {.flags = flags, .vid = (uint16_t)id};
    netlink_put(message, IFLA_BRIDGE_VLAN_INFO, &vlan, sizeof(vlan));
}

static struct nlattr *vlans_open(struct netlink_message *message, int index, bool add)
{
    struct ifinfomsg *info =
        netlink_start(message, add ? RTM_SETLINK : RTM_DELLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_family = AF_BRIDGE;
    info->ifi_index = index;
    return netlink_nest_open(message, IFLA_AF_SPEC);
}

int port_vlan_change(struct linux_host *host, int index, uint32_t vlan, bool add, struct err *err)
{
    enum { OWN = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED };
    struct netlink_message message;
    struct nlattr *nest = vlans_open(&message, index, add);
    put_vlan(&message, vlan, add && vlan == VLAN_UNTAGGED ? OWN : 0);
    netlink_nest_close(&message, nest);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* Nothing is said of one that it is not in. */
static void put_range(struct netlink_message *message, uint32_t first, uint32_t last)
{
    if (first < last) {
        put_vlan(message, first, BRIDGE_VLAN_INFO_RANGE_BEGIN);
        put_vlan(message, last, BRIDGE_VLAN_INFO_RANGE_END);
    } else if (first == last) {
        put_vlan(message, first, 0);
    }
}

int port_vlan_set(struct linux_host *host, int index, uint32_t vlan, struct err *err)
{
    struct netlink_message message;
    struct nlattr *nest = vlans_open(&message, index, true);
    put_vlan(&message, vlan, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED);
    netlink_nest_close(&message, nest);
    int rc = netlink_call(&host->route, &message, NULL, NULL, err);
    if (rc < 0)
        return rc;
    nest = vlans_open(&message, index, false);
    put_range(&message, 1, vlan - 1);
    put_range(&message, vlan + 1, VLAN_ID_MAX);
    netlink_nest_close(&message, nest);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* --- what can be */

/* Both questions ask for an interface that cannot be: the kernel loads the kind's module, and refuses before
 * it makes anything.  Source: __rtnl_newlink in net/core/rtnetlink.c: kind, validate, rtnl_create_link. */
static int ask(struct linux_host *host, const char *kind, bool protocol)
{
    enum { NO_PROTOCOL = 0x0101 };
    struct netlink_message message;
    netlink_start(&message, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    netlink_put_u32(&message, IFLA_NUM_TX_QUEUES, 0);
    struct nlattr *info = netlink_nest_open(&message, IFLA_LINKINFO);
    netlink_put_string(&message, IFLA_INFO_KIND, kind);
    if (protocol) {
        struct nlattr *data = netlink_nest_open(&message, IFLA_INFO_DATA);
        netlink_put_u16(&message, IFLA_BR_VLAN_PROTOCOL, NO_PROTOCOL);
        netlink_nest_close(&message, data);
    }
    netlink_nest_close(&message, info);
    return netlink_call(&host->route, &message, NULL, NULL, NULL);
}

void vlan_probe(struct linux_host *host, struct observed *observed)
{
    /* A VLAN without an id is refused (vlan_validate, net/8021q/vlan_netlink.c). */
    if (ask(host, "vlan", false) == -EOPNOTSUPP)
        observed->vlan_refusal = VLAN_LACKING;
    /* A bridge that knows VLANs knows their protocols, and refuses others before it looks at the queues
     * (br_validate, net/bridge/br_netlink.c); one that does not passes over them. */
    int rc = ask(host, "bridge", true);
    if (rc != -EPROTONOSUPPORT && rc != -EPERM)
        observed->port_vlan_refusal = "this kernel's bridges know no VLANs (CONFIG_BRIDGE_VLAN_FILTERING)";
}
