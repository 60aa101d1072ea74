/* route_ask.c: what the kernel would do with a packet that came in: `ip route get TO from FROM iif IN`.
 * Source: inet_rtm_getroute in the kernel's net/ipv4/route.c; rtnetlink(7). */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "host/linux/linux.h"

static int route_answer_each(const struct nlmsghdr *header, void *data)
{
    struct route_answer *answer = data;
    const struct nlattr *table[RTA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWROUTE)
        return 0;
    const struct rtmsg *info = mnl_nlmsg_get_payload(header);
    netlink_attributes(header, sizeof(*info), table, RTA_MAX + 1);
    uint32_t out = netlink_u32(table[RTA_OIF]);
    answer->gateway = netlink_ip(table[RTA_GATEWAY], info->rtm_family);
    answer->type = info->rtm_type;
    if (!out || !if_indextoname(out, answer->ifname))
        answer->ifname[0] = '\0';
    return 0;
}

int route_ask(struct host *base, const struct route_question *question, struct route_answer *answer)
{
    struct linux_host *host = (struct linux_host *)base;
    struct netlink_message message;
    *answer = (struct route_answer){0};
    struct rtmsg *info = netlink_start(&message, RTM_GETROUTE, 0, sizeof(*info));
    info->rtm_family = question->target.family;
    info->rtm_dst_len = (unsigned char)(8 * ip_size(&question->target));
    netlink_put_ip(&message, RTA_DST, &question->target);
    if (ip_is_set(&question->source)) {
        info->rtm_src_len = (unsigned char)(8 * ip_size(&question->source));
        netlink_put_ip(&message, RTA_SRC, &question->source);
    }
    if (*question->in) {
        unsigned index = if_nametoindex(question->in);
        if (!index)
            return -ENODEV;
        netlink_put_u32(&message, RTA_IIF, index);
    }
    struct err err = {0};
    answer->refused = netlink_call(&host->route, &message, route_answer_each, answer, &err);
    return 0;
}
