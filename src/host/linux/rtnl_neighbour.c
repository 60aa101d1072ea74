/* rtnl_neighbour.c: neighbours that somebody entered by hand, as rtnetlink(7) tells and takes them. */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/linux.h"

struct watcher {
    struct arena *arena;
    struct observed *observed;
};

/* Those of a program that keeps the table itself (NTF_EXT_LEARNED) are that program's to move. */
static int neighbour_each(const struct nlmsghdr *header, void *data)
{
    struct watcher *watcher = data;
    const struct nlattr *table[NDA_MAX + 1];
    const struct ndmsg *info = mnl_nlmsg_get_payload(header);
    if (header->nlmsg_type != RTM_NEWNEIGH || (info->ndm_family != AF_INET && info->ndm_family != AF_INET6) ||
        (info->ndm_flags & NTF_EXT_LEARNED) ||
        !((info->ndm_flags & NTF_PROXY) || (info->ndm_state & NUD_PERMANENT)))
        return 0;
    netlink_attributes(header, sizeof(*info), table, NDA_MAX + 1);
    const struct nlattr *mac = table[NDA_LLADDR];
    const struct link *link = link_by_index(watcher->observed, info->ndm_ifindex);
    if (!link || (mac && mnl_attr_get_payload_len(mac) != sizeof(struct mac)))
        return 0;
    struct fixed_neighbour *neighbour = vec_push(watcher->arena, &watcher->observed->neighbours);
    *neighbour = (struct fixed_neighbour){
        .ifname = link->name,
        .ip = netlink_ip(table[NDA_DST], info->ndm_family),
        .proxy = info->ndm_flags & NTF_PROXY,
        .router = info->ndm_flags & NTF_ROUTER,
        .protocol = netlink_u8(table[NDA_PROTOCOL]),
    };
    if (mac)
        memcpy(neighbour->mac.bytes, mnl_attr_get_payload(mac), sizeof(neighbour->mac.bytes));
    return 0;
}

static void neighbours_reset(void *data)
{
    ((struct watcher *)data)->observed->neighbours.count = 0;
}

/* The kernel lists proxies where it is asked for them alone (neigh_dump_info, net/core/neighbour.c). */
int neighbours_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err)
{
    struct observed proxies = {.links.items = observed->links.items, .links.count = observed->links.count};
    int rc = 0;
    for (int proxy = 0; rc == 0 && proxy < 2; proxy++) {
        struct watcher watcher = {.arena = arena, .observed = proxy ? &proxies : observed};
        struct netlink_message message;
        struct ndmsg *info = netlink_start(&message, RTM_GETNEIGH, 0, sizeof(*info));
        info->ndm_flags = proxy ? NTF_PROXY : 0;
        rc = netlink_dump(&host->route, &message, neighbour_each, neighbours_reset, &watcher, err);
    }
    vec_foreach (&proxies.neighbours, neighbour)
        *vec_push(arena, &observed->neighbours) = *neighbour;
    return rc < 0 ? err_wrap(err, "reading the neighbours") : 0;
}

int neighbour_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    const struct fixed_neighbour *neighbour = &op->neighbour;
    bool tolerant = flags & HOST_APPLY_TOLERANT, add = op->kind == OP_NEIGHBOUR_ADD;
    int index = link_index(neighbour->ifname, err);
    if (index < 0)
        return tolerant && index == -ENODEV ? 0 : index;
    struct netlink_message message;
    struct ndmsg *info = netlink_start(&message, add ? RTM_NEWNEIGH : RTM_DELNEIGH,
                                       NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_REPLACE : 0), sizeof(*info));
    info->ndm_family = neighbour->ip.family;
    info->ndm_ifindex = index;
    info->ndm_state = NUD_PERMANENT;
    info->ndm_flags = (neighbour->proxy ? NTF_PROXY : 0) | (neighbour->router ? NTF_ROUTER : 0);
    netlink_put_ip(&message, NDA_DST, &neighbour->ip);
    if (add && !mac_is_zero(&neighbour->mac))
        netlink_put(&message, NDA_LLADDR, neighbour->mac.bytes, sizeof(neighbour->mac.bytes));
    if (add && neighbour->protocol)
        netlink_put_u8(&message, NDA_PROTOCOL, neighbour->protocol);
    int rc = netlink_call(&host->route, &message, NULL, NULL, err);
    return tolerant && !add && rc == -ENOENT ? 0 : rc;
}
