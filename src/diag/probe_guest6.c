/* probe_guest6.c: the guest's IPv6: what router advertisements gave it, and a ping: probe.h.
 *
 * The guest's kernel configures by itself (RFC 4862), as any guest's does, and solicits where its system has
 * the kernel do that; here is only looked at what it has then. */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "diag/probe_internal.h"

enum {
    MAYBE_WAIT_MS = 1000,  /* a router waits up to half a second before it answers (RFC 4861, 6.2.6) */
    WANTED_WAIT_MS = 4000, /* or three seconds, when it has just advertised */
    LOOK_EVERY_MS = 50,
    PING_TRIES = 3,
    PING_WAIT_MS = 700,
    ECHO_REQUEST = 128, /* RFC 4443, 4 */
    ECHO_REPLY = 129,
    ECHO_ID = 0x7672,
    ROUTER_SOLICIT = 133, /* RFC 4861, 4.1 */
    HOPS_ON_LINK = 255,
};

int64_t probe_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool probe_wait_input(int fd, int64_t end_ns)
{
    int64_t left = end_ns - probe_now_ns();
    struct pollfd input = {.fd = fd, .events = POLLIN};
    return left > 0 && poll(&input, 1, (int)(left / 1000000) + 1) > 0;
}

void probe_solicit(const struct probe_guest *guest)
{
    static const uint8_t solicitation[8] = {ROUTER_SOLICIT};
    /* all routers on this link, ff02::2 */
    struct sockaddr_in6 routers = {.sin6_family = AF_INET6,
                                   .sin6_addr.s6_addr = {0xff, 0x02, [15] = 2},
                                   .sin6_scope_id = if_nametoindex(guest->ifname)};
    int hops = HOPS_ON_LINK;
    _cleanup_fd_ int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops)) < 0)
        return;
    (void)!sendto(fd, solicitation, sizeof(solicitation), 0, (struct sockaddr *)&routers, sizeof(routers));
}

/* The guest's own address and router; false while it has no router. */
static bool look(struct host *host, const char *ifname, bool isolated, struct ip *router, struct prefix *own)
{
    _cleanup_arena_ struct arena arena = {0};
    struct observed observed = {0};
    if (host->backend->observe(host, &arena, HOST_OBSERVE_ADDRESSES | HOST_OBSERVE_ROUTES, &observed, NULL) <
        0)
        return false;
    vec_foreach (&observed.addresses, address) {
        if (address->prefix.ip.family == AF_INET6 && strcmp(address->ifname, ifname) == 0 &&
            !ip_is_link_local(&address->prefix.ip))
            *own = address->prefix;
    }
    vec_foreach (&observed.routes, route) {
        if (route->to.ip.family == AF_INET6 && route->to.length == 0 && ip_is_set(&route->gateway))
            *router = route->gateway;
    }
    return ip_is_set(isolated ? &own->ip : router);
}

void probe_router6(const struct probe_guest *guest, int64_t born_ns, struct probe_report *report)
{
    bool wanted = guest->ipv6 == PROBE_IPV6_WANTED;
    int64_t end = born_ns + (wanted ? WANTED_WAIT_MS : MAYBE_WAIT_MS) * INT64_C(1000000);
    struct host *host = NULL;
    struct err err = {0};
    struct prefix own = {0};
    if (guest->host->solicit)
        probe_solicit(guest); /* the first one may have come before the guest had an address */
    if (host_open(&host, &err) < 0) {
        snprintf(report->text, sizeof(report->text), "%.150s", err.text);
        return;
    }
    while (!look(host, guest->ifname, guest->isolated, &report->router6, &own) && probe_now_ns() < end)
        poll(NULL, 0, LOOK_EVERY_MS);
    host_close(&host);
    if (!ip_is_set(guest->isolated ? &own.ip : &report->router6)) {
        report->outcome = wanted ? PROBE_FAILED : PROBE_SKIPPED;
        snprintf(report->text, sizeof(report->text), "no router advertisement came to the guest%s",
                 wanted ? "" : ": the network has no IPv6");
        return;
    }
    report->outcome = PROBE_PASSED;
    const char *address = ip_is_set(&own.ip) ? PREFIX_TEXT(&own) : "no address";
    if (ip_is_set(&report->router6))
        snprintf(report->text, sizeof(report->text), "%s from %s", address, IP_TEXT(&report->router6));
    else
        snprintf(report->text, sizeof(report->text), "%s, and no router, as the network is isolated",
                 address);
}

static bool answered(int fd, const struct ip *target, int64_t end_ns)
{
    uint8_t bytes[128];
    while (probe_wait_input(fd, end_ns)) {
        struct sockaddr_in6 from;
        socklen_t length = sizeof(from);
        ssize_t got = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &length);
        if (got >= 8 && bytes[0] == ECHO_REPLY && (bytes[4] << 8 | bytes[5]) == ECHO_ID &&
            memcmp(&from.sin6_addr, target->bytes, 16) == 0)
            return true;
    }
    return false;
}

void probe_ping6(const struct probe_guest *guest, const struct ip *router, struct probe_report *report)
{
    const struct ip *target = ip_is_set(&guest->target6) ? &guest->target6 : router;
    struct sockaddr_in6 to = {.sin6_family = AF_INET6};
    memcpy(&to.sin6_addr, target->bytes, 16);
    if (ip_is_link_local(target))
        to.sin6_scope_id = if_nametoindex(guest->ifname);
    _cleanup_fd_ int fd =
        socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6); /* the kernel's checksum */
    int64_t sent = 0;
    report->outcome = PROBE_FAILED;
    for (uint8_t i = 1; fd >= 0 && i <= PING_TRIES && report->outcome != PROBE_PASSED; i++) {
        uint8_t echo[64] = {ECHO_REQUEST, 0, 0, 0, ECHO_ID >> 8, ECHO_ID & 255, 0, i};
        sent = probe_now_ns();
        (void)!sendto(fd, echo, sizeof(echo), 0, (struct sockaddr *)&to, sizeof(to));
        if (answered(fd, target, sent + PING_WAIT_MS * INT64_C(1000000)))
            report->outcome = PROBE_PASSED;
    }
    if (report->outcome == PROBE_PASSED)
        snprintf(report->text, sizeof(report->text), "%s answers in %.3f ms", IP_TEXT(target),
                 (double)(probe_now_ns() - sent) / 1e6);
    else
        snprintf(report->text, sizeof(report->text), "%s does not answer", IP_TEXT(target));
}
