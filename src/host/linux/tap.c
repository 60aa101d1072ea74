/* tap.c: nics: a tap that lives as long as its descriptors, tagged, a port of its bridge, up.  A handful of
 * requests and no dump, so that the thousandth costs what the first does.  Source: the kernel's
 * Documentation/networking/tuntap.rst. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"

/* The header before each frame: with the number of merged buffers, as every virtio 1.0 guest wants it
 * (virtio 5.1.6). */
enum { VNET_HEADER_SIZE = sizeof(struct virtio_net_hdr_mrg_rxbuf) };

static int tun_open(struct err *err)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        return err_set(err, errno,
                       "/dev/net/tun is missing: this kernel has no taps (CONFIG_TUN, module 'tun')");
    if (errno == EACCES || errno == EPERM)
        return err_set(err, errno, "/dev/net/tun may not be opened by this user (see ls -l /dev/net/tun)");
    return err_errno(err, errno, "opening /dev/net/tun");
}

/* One queue of the tap `name`, or of a new one when it is a pattern; the kernel's answer replaces it. */
static int queue_open(char name[IF_NAMESIZE], const struct nic_request *request, struct err *err)
{
    int rc = tun_open(err);
    if (rc < 0)
        return rc;
    _cleanup_fd_ int fd = rc;
    struct ifreq ifreq = {.ifr_flags =
                              (short)(IFF_TAP | IFF_NO_PI | (request->vnet_header ? IFF_VNET_HDR : 0) |
                                      (request->queues > 1 ? IFF_MULTI_QUEUE : 0))};
    memcpy(ifreq.ifr_name, name, IF_NAMESIZE);
    if (ioctl(fd, TUNSETIFF, &ifreq) < 0) {
        if (errno == EPERM)
            return err_set(err, EPERM,
                           "making a tap is not permitted: CAP_NET_ADMIN is needed (run as root)");
        return err_errno(err, errno, "making a tap");
    }
    memcpy(name, ifreq.ifr_name, IF_NAMESIZE);
    int size = VNET_HEADER_SIZE;
    if (request->vnet_header && ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
        return err_errno(err, errno, "setting the header size of '%s'", name);
    return fd_steal(&fd);
}

static int vhost_open(void)
{
    return open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
}

struct entry {
    int port; /* the port that the bridge saw the MAC on, 0: none */
    bool local;
};

static int entry_each(const struct nlmsghdr *header, void *data)
{
    struct entry *entry = data;
    const struct ndmsg *info = mnl_nlmsg_get_payload(header);
    entry->port = info->ndm_ifindex;
    entry->local = info->ndm_state & NUD_PERMANENT;
    return 0;
}

/* Has the bridge seen this MAC, on a port that is there?  A kernel that cannot be asked (before 5.0) says
 * nothing.  Whose the port is, is for the message alone. */
static int duplicate_check(struct linux_host *host, const struct nic_request *request, int bridge,
                           struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct netlink_message message;
    struct ndmsg *info = netlink_start(&message, RTM_GETNEIGH, NLM_F_ACK, sizeof(*info));
    info->ndm_family = AF_BRIDGE;
    netlink_put(&message, NDA_LLADDR, request->mac.bytes, sizeof(request->mac.bytes));
    netlink_put_u32(&message, NDA_MASTER, (uint32_t)bridge);
    struct entry entry = {0};
    char name[IF_NAMESIZE] = "?";
    int rc = netlink_call(&host->route, &message, entry_each, &entry, err);
    if (rc == -ENOENT || rc == -EOPNOTSUPP || (rc == 0 && !entry.port))
        return 0;
    if (rc < 0)
        return err_wrap(err, "asking '%s' for MAC %s", request->bridge, MAC_TEXT(&request->mac));
    if_indextoname((unsigned)entry.port, name);
    struct link link = {.alias = ""};
    struct wired_nic nic = {.machine = "?"};
    if (link_get(host, &arena, name, &link, NULL) == 0)
        owner_nic(&arena, &link, &nic);
    return err_set(err, EADDRINUSE, "MAC %s is already in use on '%s', behind port '%s'%s%s",
                   MAC_TEXT(&request->mac), request->bridge, name, *nic.machine == '?' ? "" : " of machine ",
                   *nic.machine == '?' ? "" : nic.machine);
}

/* Tag, MTU, no IPv6 of the host's own on it, port of the bridge, up last. */
static int tap_wire(struct linux_host *host, const struct nic_request *request, const char *name,
                    const struct link *bridge, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    int index = link_index(name, err);
    if (index < 0)
        return index;
    struct wired_nic nic = nic_request_wired(request);
    const char *tag = owner_nic_vlan_tag(&arena, &nic, request->vlan);
    /* Two messages: the kernel heeds IFF_UP before the IPv6 mode of the same message. */
    struct netlink_message messages[2];
    struct ifinfomsg *info = netlink_start(&messages[0], RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = index;
    netlink_put(&messages[0], IFLA_IFALIAS, tag, strlen(tag));
    netlink_put_u32(&messages[0], IFLA_MTU, bridge->mtu);
    netlink_put_u32(&messages[0], IFLA_GROUP, owner_group(request->network));
    netlink_put_u32(&messages[0], IFLA_MASTER, (uint32_t)bridge->index);
    link_put_ipv6(&messages[0], false);
    info = netlink_start(&messages[1], RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = index;
    info->ifi_change = info->ifi_flags = IFF_UP;
    struct port_rules rules = owner_port_rules(bridge->alias);
    const struct lock_nic lock = {.ifname = name,
                                  .network = request->network,
                                  .mac = request->mac,
                                  .any = request->mac_unknown,
                                  .ip = request->address,
                                  .ip6 = request->address6};
    int rc = rates_open(host, request, name, err);
    /* Not up before it is locked. */
    if (rc == 0)
        rc = netlink_call(&host->route, &messages[0], NULL, NULL, err);
    if (rc == 0 && request->vlan)
        rc = port_vlan_set(host, index, request->vlan, err);
    if (rc == 0 && rules.isolated)
        rc = port_rules_set(host, name, &rules, err);
    if (rc == 0)
        rc = nft_lock_nic_set(host, &lock, true, err);
    if (rc == 0)
        rc = netlink_call(&host->route, &messages[1], NULL, NULL, err);
    return rc < 0 ? err_wrap(err, "wiring '%s' to '%s'", name, request->bridge) : 0;
}

static void nic_close(struct nic_open *nic)
{
    for (unsigned i = 0; i < NIC_QUEUES_MAX; i++) {
        fd_close(&nic->fds[i]);
        fd_close(&nic->vhost_fds[i]);
    }
}

int tap_open(struct host *base, const struct nic_request *request, struct nic_open *nic, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    _cleanup_arena_ struct arena arena = {0};
    struct link bridge;
    char name[IF_NAMESIZE] = "tap%d";
    *nic = (struct nic_open){.queues = request->queues, .lock_fd = -1};
    memset(nic->fds, -1, sizeof(nic->fds));
    memset(nic->vhost_fds, -1, sizeof(nic->vhost_fds));
    int rc = base->backend->bridge_get(base, &arena, request->network, &bridge, err);
    if (rc == 0)
        rc = duplicate_check(host, request, bridge.index, err);
    for (unsigned i = 0; rc == 0 && i < request->queues; i++) {
        int fd = queue_open(name, request, err);
        rc = fd < 0 ? fd : 0;
        nic->fds[i] = fd;
        if (request->vhost)
            nic->vhost_fds[i] = vhost_open();
    }
    if (rc == 0)
        rc = tap_wire(host, request, name, &bridge, err);
    if (rc < 0) {
        nic_close(nic);
        return rc;
    }
    nic->mtu = bridge.mtu;
    memcpy(nic->tap, name, sizeof(nic->tap) < IF_NAMESIZE ? sizeof(nic->tap) : IF_NAMESIZE);
    return 0;
}
