/* guest_act.c: what a guest asks of its kernel and its DHCP client on Linux: host/guest.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "host/linux/linux.h"

enum { ETHERTYPE_ARP = 0x0806 };

/* A line "WORD VALUE" of what `vmwire bound` prints. */
static bool said(const char *output, const char *word, char value[PREFIX_TEXT_SIZE])
{
    size_t length = strlen(word);
    for (const char *line = output; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, word, length) == 0 && line[length] == ' ')
            return snprintf(value, PREFIX_TEXT_SIZE, "%.*s", (int)strcspn(line + length + 1, " \n"),
                            line + length + 1) > 0;
    }
    return false;
}

int linux_guest_lease(const char *ifname, const char *program, int timeout_ms, struct guest_lease *lease,
                      struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    char value[PREFIX_TEXT_SIZE];
    struct spawn client = {.argv = (const char *const[]){"busybox", "udhcpc", "-i", ifname, "-n", "-q", "-t",
                                                         "3", "-T", "1", "-s", program, NULL},
                           .timeout_ms = timeout_ms,
                           .arena = &arena};
    *lease = (struct guest_lease){0};
    int rc = spawn_run(&client, err);
    if (rc < 0)
        return rc;
    if (!said(client.output, "address", value) || prefix_parse(value, &lease->address) < 0)
        return err_set(err, ETIMEDOUT, "no lease");
    if (said(client.output, "router", value))
        ip_parse(value, &lease->gateway);
    if (said(client.output, "dns", value))
        ip_parse(value, &lease->dns);
    if (said(client.output, "server", value))
        ip_parse(value, &lease->server);
    return 0;
}

int linux_guest_address_set(const char *ifname, const struct prefix *address, const struct ip *gateway,
                            struct err *err)
{
    _cleanup_host_ struct host *host = NULL;
    int rc = host_open(&host, err);
    return rc < 0 ? rc : host->backend->lease_apply(host, ifname, address, gateway, INT32_MAX, err);
}

int linux_guest_arp_open(const char *ifname)
{
    _cleanup_fd_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE_ARP));
    struct sockaddr_ll link = {.sll_family = AF_PACKET,
                               .sll_protocol = htons(ETHERTYPE_ARP),
                               .sll_ifindex = (int)if_nametoindex(ifname)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&link, sizeof(link)) < 0)
        return -errno;
    return fd_steal(&fd);
}

size_t linux_guest_arp_read(int fd, void *frame, size_t size)
{
    ssize_t got = recv(fd, frame, size, MSG_DONTWAIT);
    return got < 0 ? 0 : (size_t)got;
}

void linux_guest_never_fragment(int fd)
{
    int probe = IP_PMTUDISC_PROBE;
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe));
}
