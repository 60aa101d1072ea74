/* port.c: what a bridge's port that leads to a guest may do.  It belongs to the port and goes with the tap,
 * so that nothing has to be taken back. */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "host/linux/linux.h"

struct port_rules port_rules_read(const struct nlattr *slave_data)
{
    const struct nlattr *table[IFLA_BRPORT_MAX + 1];
    netlink_nested(slave_data, table, IFLA_BRPORT_MAX + 1);
    return (struct port_rules){.isolated = netlink_u8(table[IFLA_BRPORT_ISOLATED]) != 0};
}

static int flags_set(struct linux_host *host, int index, const struct port_rules *rules, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_SETLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_family = AF_BRIDGE;
    info->ifi_index = index;
    struct nlattr *nest = netlink_nest_open(&message, IFLA_PROTINFO | NLA_F_NESTED);
    netlink_put_u8(&message, IFLA_BRPORT_ISOLATED, rules->isolated);
    netlink_nest_close(&message, nest);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

int port_rules_set(struct linux_host *host, const char *ifname, const struct port_rules *rules,
                   struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct link port;
    int index = link_index(ifname, err);
    int rc = index < 0 ? index : flags_set(host, index, rules, err);
    if (rc == 0)
        rc = link_get(host, &arena, ifname, &port, err);
    if (rc < 0)
        return rc;
    /* An older kernel passes over what it does not know. */
    if (rules->isolated && !port.port.isolated)
        return err_set(err, EOPNOTSUPP,
                       "this kernel cannot isolate a port (Linux 4.18 can); write 'isolate: no'");
    return 0;
}
