/* probe_dhcp6.c: does a DHCPv6 server offer the guest an address (RFC 8415)?  A SOLICIT and what comes back;
 * nothing is requested, so that no lease is left. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "diag/probe_internal.h"

enum {
    CLIENT_PORT = 546,
    SERVER_PORT = 547,
    SOLICIT = 1,
    ADVERTISE = 2,
    OPTION_CLIENT = 1,
    OPTION_IA_NA = 3,
    OPTION_ADDRESS = 5,
    OPTION_ELAPSED = 8,
    HEAD = 4,     /* of a message, and of an option */
    IA_HEAD = 12, /* what stands in an IA_NA in front of its options */
    TRIES = 3,
    WAIT_MS = 1000,
};

static const uint8_t transaction[3] = {0x76, 0x6d, 0x77};

static uint8_t *option(uint8_t *at, uint16_t code, uint16_t length)
{
    at[0] = (uint8_t)(code >> 8), at[1] = (uint8_t)code;
    at[2] = (uint8_t)(length >> 8), at[3] = (uint8_t)length;
    memset(at + HEAD, 0, length);
    return at + HEAD;
}

/* The client is named by its MAC (DUID-LL), as its IPv4 lease is. */
static size_t solicitation(const struct mac *mac, uint8_t message[64])
{
    static const uint8_t link_layer_ethernet[] = {0, 3, 0, 1};
    uint8_t *at = message;
    *at++ = SOLICIT;
    memcpy(at, transaction, sizeof(transaction));
    at = option(at + sizeof(transaction), OPTION_CLIENT, 10);
    memcpy(at, link_layer_ethernet, 4);
    memcpy(at + 4, mac->bytes, 6);
    at = option(at + 10, OPTION_IA_NA, IA_HEAD) + IA_HEAD;
    at = option(at, OPTION_ELAPSED, 2) + 2;
    return (size_t)(at - message);
}

/* The content of the first option of this code, and its length; NULL when there is none. */
static const uint8_t *option_find(const uint8_t *at, size_t length, unsigned code, size_t *size)
{
    while (length >= HEAD) {
        *size = (size_t)(at[2] << 8 | at[3]);
        if (*size > length - HEAD)
            return NULL;
        if ((unsigned)(at[0] << 8 | at[1]) == code)
            return at + HEAD;
        at += HEAD + *size, length -= HEAD + *size;
    }
    return NULL;
}

/* False: it is no answer to ours.  `offered` stays unset where the server has no address to give. */
static bool answer_read(const uint8_t *message, size_t length, struct ip *offered)
{
    size_t size = 0;
    if (length < HEAD || message[0] != ADVERTISE ||
        memcmp(message + 1, transaction, sizeof(transaction)) != 0)
        return false;
    const uint8_t *at = option_find(message + HEAD, length - HEAD, OPTION_IA_NA, &size);
    if (at && size > IA_HEAD)
        at = option_find(at + IA_HEAD, size - IA_HEAD, OPTION_ADDRESS, &size);
    else
        at = NULL;
    if (at && size >= 16) {
        offered->family = AF_INET6;
        memcpy(offered->bytes, at, 16);
    }
    return true;
}

void probe_lease6(const struct probe_guest *guest, struct probe_report *report)
{
    struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_port = htons(CLIENT_PORT)};
    /* all servers and relays on this link, ff02::1:2 */
    struct sockaddr_in6 servers = {.sin6_family = AF_INET6,
                                   .sin6_port = htons(SERVER_PORT),
                                   .sin6_addr.s6_addr = {0xff, 0x02, [13] = 1, [15] = 2},
                                   .sin6_scope_id = if_nametoindex(guest->ifname)};
    uint8_t message[64], answer[1500];
    size_t length = solicitation(&guest->mac, message);
    _cleanup_fd_ int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    report->outcome = PROBE_FAILED;
    snprintf(report->text, sizeof(report->text), "no DHCPv6 server answers");
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
        return;
    for (int i = 0; i < TRIES; i++) {
        int64_t end = probe_now_ns() + WAIT_MS * INT64_C(1000000);
        (void)!sendto(fd, message, length, 0, (struct sockaddr *)&servers, sizeof(servers));
        while (probe_wait_input(fd, end)) {
            struct sockaddr_in6 from;
            socklen_t size = sizeof(from);
            struct ip offered = {0}, server = {.family = AF_INET6};
            ssize_t got = recvfrom(fd, answer, sizeof(answer), MSG_DONTWAIT, (struct sockaddr *)&from, &size);
            if (got < 0 || !answer_read(answer, (size_t)got, &offered))
                continue;
            memcpy(server.bytes, &from.sin6_addr, 16);
            report->outcome = ip_is_set(&offered) ? PROBE_PASSED : PROBE_FAILED;
            snprintf(report->text, sizeof(report->text), "%s offered by %s",
                     ip_is_set(&offered) ? IP_TEXT(&offered) : "no address", IP_TEXT(&server));
            return;
        }
    }
}
