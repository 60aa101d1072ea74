/* port.c: what a bridge's port that leads to a guest may do: it is isolated from the others, and locked to
 * the guest's MAC.  All of it belongs to the port and goes with the tap, so that nothing has to be taken
 * back.
 *
 * A locked port (Linux 5.18) passes frames whose source the bridge knows to be behind it; it learns nothing,
 * and the one entry is made here.  So a guest has one MAC, cannot take another's frames, and cannot fill the
 * bridge's table. */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "host/linux/linux.h"

struct port_rules port_rules_read(const struct nlattr *slave_data)
{
    const struct nlattr *table[IFLA_BRPORT_MAX + 1];
    netlink_nested(slave_data, table, IFLA_BRPORT_MAX + 1);
    return (struct port_rules){.isolated = netlink_u8(table[IFLA_BRPORT_ISOLATED]) != 0,
                               .lock_mac = netlink_u8(table[IFLA_BRPORT_LOCKED]) != 0};
}

static int flags_set(struct linux_host *host, int index, const struct port_rules *rules, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_SETLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_family = AF_BRIDGE;
    info->ifi_index = index;
    struct nlattr *nest = netlink_nest_open(&message, IFLA_PROTINFO | NLA_F_NESTED);
    netlink_put_u8(&message, IFLA_BRPORT_ISOLATED, rules->isolated);
    netlink_put_u8(&message, IFLA_BRPORT_LEARNING, !rules->lock_mac);
    netlink_put_u8(&message, IFLA_BRPORT_LOCKED, rules->lock_mac);
    netlink_nest_close(&message, nest);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

int port_entry_set(struct linux_host *host, int index, const struct mac *mac, bool add, struct err *err)
{
    struct netlink_message message;
    uint16_t flags = NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_REPLACE : 0);
    struct ndmsg *info = netlink_start(&message, add ? RTM_NEWNEIGH : RTM_DELNEIGH, flags, sizeof(*info));
    info->ndm_family = AF_BRIDGE;
    info->ndm_ifindex = index;
    info->ndm_state = NUD_NOARP;
    info->ndm_flags = NTF_MASTER;
    netlink_put(&message, NDA_LLADDR, mac->bytes, sizeof(mac->bytes));
    int rc = netlink_call(&host->route, &message, NULL, NULL, add ? err : NULL);
    return rc == -ENOENT && !add ? 0 : rc;
}

int port_rules_set(struct linux_host *host, const char *ifname, const struct port_rules *rules,
                   const struct mac *mac, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct link port;
    int index = link_index(ifname, err);
    int rc = index < 0 ? index : rules->lock_mac ? port_entry_set(host, index, mac, true, err) : 0;
    if (rc == 0)
        rc = flags_set(host, index, rules, err);
    if (rc == 0 && !rules->lock_mac)
        port_entry_set(host, index, mac, false, NULL);
    if (rc == 0)
        rc = link_get(host, &arena, ifname, &port, err);
    if (rc < 0)
        return rc;
    /* An older kernel passes over what it does not know. */
    if (rules->lock_mac && !port.port.lock_mac)
        return err_set(err, EOPNOTSUPP,
                       "this kernel cannot lock a port to its MAC (Linux 5.18 can); write 'lock: off'");
    if (rules->isolated && !port.port.isolated)
        return err_set(err, EOPNOTSUPP,
                       "this kernel cannot isolate a port (Linux 4.18 can); write 'isolate: no'");
    return 0;
}
