/* neighbour.c: neighbours asked by frames of our own, whatever addresses, routes and neighbour tables say at
 * the moment: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861).  For host/reach.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "host/linux/linux.h"

enum {
    ETHERTYPE_ARP = 0x0806,
    ETHERTYPE_IPV6 = 0x86dd,
    ARP_SIZE = 28,
    SOLICITATION_SIZE = 72, /* IPv6's header, the message, one option */
    ADVERTISEMENT_SIZE = 64,
    IPV6_TENTATIVE = 0x40, /* IFA_F_TENTATIVE */
};

/* A cooked packet socket of every interface; of IPv6 only neighbour advertisements are let through. */
static int neighbours_open(int *fd, int family, struct err *err)
{
    struct sock_filter advertisements[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40),   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 136, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, (uint32_t)~0u), BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {.len = sizeof(advertisements) / sizeof(advertisements[0]),
                                .filter = advertisements};
    bool six = family == AF_INET6;
    struct sockaddr_ll all = {.sll_family = AF_PACKET,
                              .sll_protocol = htons(six ? ETHERTYPE_IPV6 : ETHERTYPE_ARP)};
    if (*fd >= 0) {
        char byte;
        while (recv(*fd, &byte, 1, MSG_DONTWAIT) >= 0) /* answers to earlier questions */
            ;
        return 0;
    }
    *fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0 || (six && setsockopt(*fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0) ||
        bind(*fd, (struct sockaddr *)&all, sizeof(all)) < 0)
        return err_errno(err, errno, "asking neighbours whether this host is still reached");
    return 0;
}

struct sender {
    int index;
    struct mac mac;
};

static bool sender_find(int fd, const char *ifname, struct sender *sender)
{
    struct ifreq request = {0};
    if (strlen(ifname) >= sizeof(request.ifr_name))
        return false;
    strcpy(request.ifr_name, ifname);
    if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
        return false;
    memcpy(sender->mac.bytes, request.ifr_hwaddr.sa_data, 6);
    if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
        return false;
    sender->index = request.ifr_ifindex;
    return true;
}

static void frame_send(int fd, const struct sender *sender, uint16_t type, const uint8_t to[6],
                       const uint8_t *bytes, size_t length)
{
    struct sockaddr_ll link = {
        .sll_family = AF_PACKET, .sll_protocol = htons(type), .sll_ifindex = sender->index, .sll_halen = 6};
    memcpy(link.sll_addr, to, 6);
    (void)!sendto(fd, bytes, length, 0, (struct sockaddr *)&link, sizeof(link));
}

/* --- ARP */

/* The interface's address on the neighbour's subnet, else any that it has; false: none, and who has no
 * address is not reached by this neighbour, though it answered an ARP probe. */
static bool arp_source(const char *ifname, const struct ip *neighbour, uint8_t source[4])
{
    struct ifaddrs *all = NULL;
    bool found = false, near = false;
    if (getifaddrs(&all) < 0)
        return false;
    for (const struct ifaddrs *one = all; one && !near; one = one->ifa_next) {
        if (strcmp(one->ifa_name, ifname) != 0 || !one->ifa_addr || one->ifa_addr->sa_family != AF_INET ||
            !one->ifa_netmask)
            continue;
        uint32_t own = ((struct sockaddr_in *)one->ifa_addr)->sin_addr.s_addr, other;
        uint32_t mask = ((struct sockaddr_in *)one->ifa_netmask)->sin_addr.s_addr;
        memcpy(&other, neighbour->bytes, 4);
        near = (own & mask) == (other & mask);
        if (near || !found)
            memcpy(source, &own, 4);
        found = true;
    }
    freeifaddrs(all);
    return found;
}

static void arp_ask(int fd, const char *ifname, const struct sender *sender, const struct ip *neighbour)
{
    static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t arp[ARP_SIZE] = {0, 1, 8, 0, 6, 4, 0, 1};
    if (!arp_source(ifname, neighbour, arp + 14))
        return;
    memcpy(arp + 8, sender->mac.bytes, 6);
    memcpy(arp + 24, neighbour->bytes, 4);
    frame_send(fd, sender, ETHERTYPE_ARP, everybody, arp, sizeof(arp));
}

/* --- neighbour discovery */

static bool same_network(const uint8_t *a, const uint8_t *b, unsigned length)
{
    unsigned whole = length / 8, rest = length % 8;
    return memcmp(a, b, whole) == 0 && (!rest || !((a[whole] ^ b[whole]) >> (8 - rest)));
}

/* An address of the interface that the neighbour can answer to and that is in use already; else all zero,
 * which is answered to everybody (RFC 4861, 7.2.4).  False: it has no address at all.  Source: the kernel's
 * net/ipv6/addrconf.c, if6_seq_show. */
static bool solicitation_source(const char *ifname, const uint8_t neighbour[16], uint8_t source[16])
{
    _cleanup_file_ FILE *table = fopen("/proc/net/if_inet6", "re");
    char hex[33], name[IF_NAMESIZE];
    unsigned index, length, scope, flags;
    bool found = false;
    memset(source, 0, 16);
    while (table && fscanf(table, "%32s %x %x %x %x %15s", hex, &index, &length, &scope, &flags, name) == 6) {
        uint8_t own[16];
        if (strcmp(name, ifname) != 0)
            continue;
        found = true;
        for (int i = 0; i < 16; i++) {
            unsigned byte = 0;
            sscanf(hex + (size_t)i * 2, "%2x", &byte);
            own[i] = (uint8_t)byte;
        }
        if (!(flags & IPV6_TENTATIVE) && length <= 128 && same_network(own, neighbour, length)) {
            memcpy(source, own, 16);
            return true;
        }
    }
    return found;
}

static uint16_t icmp6_checksum(const uint8_t *packet, size_t length)
{
    uint32_t sum = (uint32_t)(length - 40) + IPPROTO_ICMPV6;
    for (size_t i = 8; i < length; i += 2) /* from the addresses on */
        sum += (uint32_t)(packet[i] << 8 | packet[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void solicitation_ask(int fd, const char *ifname, const struct sender *sender,
                             const struct ip *neighbour)
{
    const uint8_t *last = neighbour->bytes + 13;
    const uint8_t to[6] = {0x33, 0x33, 0xff, last[0], last[1], last[2]};
    const uint8_t group[16] = {0xff, 2, [11] = 1, 0xff, last[0], last[1], last[2]};
    static const uint8_t nobody[16];
    uint8_t packet[SOLICITATION_SIZE] = {0x60, [6] = IPPROTO_ICMPV6, 255};
    if (!solicitation_source(ifname, neighbour->bytes, packet + 8))
        return;
    /* Without a source there is no option with our MAC either. */
    size_t length = memcmp(packet + 8, nobody, 16) == 0 ? ADVERTISEMENT_SIZE : SOLICITATION_SIZE;
    packet[5] = (uint8_t)(length - 40);
    memcpy(packet + 24, group, 16);
    packet[40] = 135;
    memcpy(packet + 48, neighbour->bytes, 16);
    if (length == SOLICITATION_SIZE) {
        packet[64] = packet[65] = 1;
        memcpy(packet + 66, sender->mac.bytes, 6);
    }
    uint16_t sum = icmp6_checksum(packet, length);
    packet[42] = (uint8_t)(sum >> 8), packet[43] = (uint8_t)sum;
    frame_send(fd, sender, ETHERTYPE_IPV6, to, packet, length);
}

static void neighbour_ask(const int fds[2], const char *ifname, const struct ip *neighbour)
{
    struct sender sender;
    bool six = neighbour->family == AF_INET6;
    if (!sender_find(fds[six], ifname, &sender))
        return;
    if (six)
        solicitation_ask(fds[1], ifname, &sender, neighbour);
    else
        arp_ask(fds[0], ifname, &sender, neighbour);
}

static bool neighbour_read(int fd, struct ip *neighbour)
{
    uint8_t bytes[128];
    struct sockaddr_ll from = {0};
    socklen_t size = sizeof(from);
    ssize_t got = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &size);
    if (from.sll_pkttype == PACKET_OUTGOING)
        return false;
    bool six = from.sll_protocol == htons(ETHERTYPE_IPV6);
    *neighbour = (struct ip){.family = six ? AF_INET6 : AF_INET};
    if (six ? got < ADVERTISEMENT_SIZE : got < ARP_SIZE || bytes[7] != 2)
        return false;
    memcpy(neighbour->bytes, six ? bytes + 48 : bytes + 14, six ? 16 : 4);
    return true;
}

int linux_reach(struct host *base, const struct reach_request *request, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    const struct neighbour_ops ops = {
        .fds = host->neighbours, .open = neighbours_open, .ask = neighbour_ask, .read = neighbour_read};
    return reach_ask(request, &ops, err);
}

void linux_reach_end(struct host *base)
{
    struct linux_host *host = (struct linux_host *)base;
    fd_close(&host->neighbours[0]);
    fd_close(&host->neighbours[1]);
}
