/* probe_guest.c: what probe does as a guest, in a namespace or a jail of its own: probe.h.
 *
 * Nothing here may use the caller's struct host: its sockets belong to the host's side. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "diag/packet.h"
#include "diag/probe_internal.h"
#include "diag/trace_internal.h"

enum {
    LEASE_LIMIT_MS = 10000,
    ARP_TRIES = 3,
    ARP_WAIT_MS = 400,
    PING_TRIES = 3,
    PING_WAIT_MS = 700,
    NAME_TRIES = 2,
    NAME_WAIT_MS = 1500,
    TCP_WAIT_MS = 1600, /* one retransmission of the SYN, and time for its answer */
    MTU_TRIES = 3,
    MTU_WAIT_MS = 500,
    FRAME_MIN = 60,
    ECHO_MAX = 65500,
    ICMP_HEADERS = 28, /* IPv4's and ICMP's */
};

static struct sockaddr_in socket_address(const struct ip *ip, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&address.sin_addr, ip->bytes, 4);
    return address;
}

/* ---- the lease ---- */

static void lease_step(const struct probe_guest *guest, struct probe_report *report)
{
    struct err err = {0};
    struct guest_lease lease;
    if (guest->host->lease(guest->ifname, guest->program, LEASE_LIMIT_MS, &lease, &err) < 0) {
        snprintf(report->text, sizeof(report->text), "%.150s", err.text);
        return;
    }
    report->address = lease.address;
    report->gateway = lease.gateway;
    report->dns = lease.dns;
    report->server = lease.server;
    report->outcome = PROBE_PASSED;
    snprintf(report->text, sizeof(report->text), "%s from %s", PREFIX_TEXT(&report->address),
             IP_TEXT(&report->server));
}

static void static_step(const struct probe_guest *guest, struct probe_report *report)
{
    struct err err = {0};
    report->address = guest->address;
    report->gateway = guest->gateway;
    report->dns = guest->gateway;
    int rc = guest->host->address_set(guest->ifname, &guest->address, &guest->gateway, &err);
    report->outcome = rc < 0 ? PROBE_FAILED : PROBE_PASSED;
    snprintf(report->text, sizeof(report->text), "%s: the network has no DHCP",
             PREFIX_TEXT(&report->address));
}

/* So that the next guest can have the address.  Source: RFC 2131, 4.4.6. */
static void lease_release(const struct probe_guest *guest, const struct probe_report *lease)
{
    uint8_t message[300] = {1, 1, 6, 0, 0x76, 0x6d, 0x77, 0x70};
    uint8_t options[] = {99, 130, 83, 99, 53, 1, DHCP_RELEASE, 54, 4, 0, 0, 0, 0, 61, 7, 1,
                         0,  0,   0,  0,  0,  0, 255};
    if (lease->server.family != AF_INET)
        return;
    memcpy(message + 12, lease->address.ip.bytes, 4);
    memcpy(message + 28, guest->mac.bytes, 6);
    memcpy(options + 9, lease->server.bytes, 4);
    memcpy(options + 16, guest->mac.bytes, 6);
    memcpy(message + 236, options, sizeof(options));
    _cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in own = socket_address(&lease->address.ip, 68), to = socket_address(&lease->server, 67);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0)
        (void)!sendto(fd, message, sizeof(message), 0, (struct sockaddr *)&to, sizeof(to));
}

/* ---- ARP ---- */

static void arp_send(int fd, const struct probe_guest *guest, const struct ip *source,
                     const struct ip *target)
{
    uint8_t frame[FRAME_MIN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, [12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    memcpy(frame + 6, guest->mac.bytes, 6);
    memcpy(frame + 22, guest->mac.bytes, 6);
    memcpy(frame + 28, source->bytes, 4);
    memcpy(frame + 38, target->bytes, 4);
    (void)!write(fd, frame, sizeof(frame));
}

static bool arp_answered(const struct probe_guest *guest, int fd, const struct ip *target, struct mac *mac,
                         int64_t end_ns)
{
    uint8_t bytes[256];
    while (probe_wait_input(fd, end_ns)) {
        struct packet packet;
        for (size_t got; (got = guest->host->arp_read(fd, bytes, sizeof(bytes))) > 0;) {
            packet_decode(bytes, got, got, &packet);
            if ((packet.layers & PACKET_ARP) && packet.arp_operation == 2 &&
                ip_equal(&packet.arp_source, target)) {
                *mac = packet.arp_source_mac;
                return true;
            }
        }
    }
    return false;
}

/* `source` unspecified: an ARP probe (RFC 5227), which a guest without an address may send. */
static void gateway_step(const struct probe_guest *guest, const struct ip *source, const struct ip *gateway,
                         struct probe_report *report)
{
    static const struct ip nobody = {.family = AF_INET};
    _cleanup_fd_ int fd = guest->host->arp_open(guest->ifname);
    struct mac mac;
    if (fd < 0) {
        snprintf(report->text, sizeof(report->text), "asking for %s by ARP: %s", IP_TEXT(gateway),
                 strerror(-fd));
        return;
    }
    for (int i = 0; i < ARP_TRIES && report->outcome != PROBE_PASSED; i++) {
        /* Who answers for the guest's own address is in conflict with it: the tracer sees that. */
        if (ip_is_set(source))
            arp_send(fd, guest, &nobody, source);
        arp_send(fd, guest, ip_is_set(source) ? source : &nobody, gateway);
        if (arp_answered(guest, fd, gateway, &mac, probe_now_ns() + ARP_WAIT_MS * INT64_C(1000000)))
            report->outcome = PROBE_PASSED;
    }
    snprintf(report->text, sizeof(report->text), "%s %s%s", IP_TEXT(gateway),
             report->outcome == PROBE_PASSED ? "is at " : "does not answer ARP",
             report->outcome == PROBE_PASSED ? MAC_TEXT(&mac) : "");
}

/* ---- ping and path MTU ---- */

enum { ECHO_PING = 0x7670, ECHO_MTU = 0x7671 }; /* identifiers, which tell the two flows apart */

static int echo_open(const struct probe_guest *guest)
{
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (fd >= 0)
        guest->host->never_fragment(fd);
    return fd;
}

static void echo_send(int fd, const struct ip *target, uint16_t id, uint16_t sequence, size_t size)
{
    static uint8_t echo[ECHO_MAX + 1];
    struct sockaddr_in to = socket_address(target, 0);
    size -= 20;
    memset(echo, 0, size + 1);
    echo[0] = 8;
    echo[4] = (uint8_t)(id >> 8), echo[5] = (uint8_t)id;
    echo[6] = (uint8_t)(sequence >> 8), echo[7] = (uint8_t)sequence;
    uint16_t sum = trace_checksum(echo, size + (size & 1));
    echo[2] = (uint8_t)(sum >> 8), echo[3] = (uint8_t)sum;
    (void)!sendto(fd, echo, size, 0, (struct sockaddr *)&to, sizeof(to));
}

/* The sequence number of the next reply to `id`, or -1 when the time is over. */
static int echo_answered(int fd, const struct ip *target, uint16_t id, int64_t end_ns)
{
    uint8_t bytes[128];
    while (probe_wait_input(fd, end_ns)) {
        struct sockaddr_in from;
        socklen_t length = sizeof(from);
        ssize_t got = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &length);
        size_t header = got > 0 ? (size_t)(bytes[0] & 15) * 4 : 0;
        if (got < (ssize_t)header + 8 || got <= 0 || memcmp(&from.sin_addr, target->bytes, 4) != 0)
            continue;
        const uint8_t *icmp = bytes + header;
        if (icmp[0] == 0 && (icmp[4] << 8 | icmp[5]) == id)
            return icmp[6] << 8 | icmp[7];
    }
    return -1;
}

static const uint16_t tcp_ports[] = {53, 80, 443};
enum { PORTS = sizeof(tcp_ports) / sizeof(tcp_ports[0]) };

/* Connections to the target; {0}: not begun. */
struct tcp {
    struct pollfd fds[PORTS];
    int64_t start_ns;
};

static void tcp_start(const struct probe_guest *guest, struct tcp *tcp)
{
    tcp->start_ns = probe_now_ns();
    for (size_t i = 0; i < PORTS; i++) {
        struct sockaddr_in to = socket_address(&guest->target, tcp_ports[i]);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        /* Closing resets it: a connection that waits for stray segments would keep a jail for a minute. */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
        (void)!connect(fd, (struct sockaddr *)&to, sizeof(to));
        tcp->fds[i] = (struct pollfd){.fd = fd, .events = POLLOUT};
    }
}

/* What does not answer at once is tried by TCP meanwhile: one that answers neither costs the time of one. */
static void ping_step(const struct probe_guest *guest, struct tcp *tcp, struct probe_report *report)
{
    _cleanup_fd_ int fd = echo_open(guest);
    int64_t sent = 0;
    for (uint16_t i = 1; fd >= 0 && i <= PING_TRIES && report->outcome != PROBE_PASSED; i++) {
        sent = probe_now_ns();
        echo_send(fd, &guest->target, ECHO_PING, i, 84);
        if (echo_answered(fd, &guest->target, ECHO_PING, sent + PING_WAIT_MS * INT64_C(1000000)) >= 0)
            report->outcome = PROBE_PASSED;
        else if (!tcp->start_ns)
            tcp_start(guest, tcp);
    }
    if (report->outcome == PROBE_PASSED)
        snprintf(report->text, sizeof(report->text), "%s answers in %.3f ms", IP_TEXT(&guest->target),
                 (double)(probe_now_ns() - sent) / 1e6);
    else
        snprintf(report->text, sizeof(report->text), "%s does not answer", IP_TEXT(&guest->target));
}

static void mtu_step(const struct probe_guest *guest, struct probe_report *report)
{
    const unsigned sizes[] = {guest->mtu, guest->mtu - 8, 1400, 1280, 576};
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
    bool answered[SIZES] = {0};
    _cleanup_fd_ int fd = echo_open(guest);
    size_t open = SIZES;
    for (int i = 0; fd >= 0 && i < MTU_TRIES && open; i++) {
        int64_t end = probe_now_ns() + MTU_WAIT_MS * INT64_C(1000000);
        for (size_t j = 0; j < SIZES; j++) {
            if (!answered[j])
                echo_send(fd, &guest->target, ECHO_MTU, (uint16_t)j, sizes[j]);
        }
        for (int got; open && (got = echo_answered(fd, &guest->target, ECHO_MTU, end)) >= 0;) {
            if (got < SIZES && !answered[got])
                answered[got] = true, open--;
        }
    }
    for (size_t j = SIZES; j-- > 0;) {
        if (answered[j] && sizes[j] > report->mtu)
            report->mtu = sizes[j];
    }
    for (size_t j = 0; j < SIZES; j++) {
        if (!answered[j] && sizes[j] > report->mtu && (!report->lost || sizes[j] < report->lost))
            report->lost = sizes[j];
    }
    report->outcome = report->lost || !report->mtu ? PROBE_FAILED : PROBE_PASSED;
    if (report->lost)
        snprintf(report->text, sizeof(report->text), "%u bytes pass, %u do not", report->mtu, report->lost);
    else
        snprintf(report->text, sizeof(report->text), "%u bytes pass", report->mtu);
}

/* ---- DNS ---- */

/* A question for a name, or, in class CHAOS, for what every dnsmasq and most other servers know without
 * asking anybody.  Source: RFC 1035, 4.1; RFC 4892. */
static size_t dns_question(uint8_t *out, uint16_t id, const char *name, uint16_t type, uint16_t class)
{
    size_t at = 12;
    memset(out, 0, 12);
    out[0] = (uint8_t)(id >> 8), out[1] = (uint8_t)id, out[2] = 1, out[5] = 1;
    for (const char *label = name; *label;) {
        size_t length = strcspn(label, ".");
        out[at++] = (uint8_t)length;
        memcpy(out + at, label, length);
        at += length;
        label += length + (label[length] == '.');
    }
    out[at++] = 0;
    out[at++] = 0, out[at++] = (uint8_t)type, out[at++] = 0, out[at++] = (uint8_t) class;
    return at;
}

static void name_step(const struct probe_guest *guest, const struct ip *server, struct probe_report *report)
{
    static const char name[] = "example.com";
    enum { ID_NAME = 0x7601, ID_SERVER = 0x7602, NXDOMAIN = 3, REFUSED = 5 };
    uint8_t bytes[512];
    report->dns_status = -1;
    _cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    _cleanup_fd_ int other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = socket_address(server, 53);
    if (fd < 0 || other < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
        connect(other, (struct sockaddr *)&to, sizeof(to)) < 0)
        return;
    for (int i = 0; i < NAME_TRIES && report->dns_status < 0; i++) {
        int64_t end = probe_now_ns() + NAME_WAIT_MS * INT64_C(1000000);
        (void)!send(fd, bytes, dns_question(bytes, ID_NAME, name, 1, 1), 0);
        while (report->dns_status < 0 && probe_wait_input(fd, end)) {
            ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
            if (got >= 12 && bytes[0] == ID_NAME >> 8 && bytes[1] == (ID_NAME & 255) && bytes[2] & 0x80)
                report->dns_status = bytes[3] & 15;
            else if (got < 0 && errno == ECONNREFUSED)
                break;
        }
    }
    bool asks_nobody = guest->isolated && report->dns_status == REFUSED; /* as it should */
    bool passed = report->dns_status == 0 || report->dns_status == NXDOMAIN || asks_nobody;
    report->outcome = passed ? PROBE_PASSED : PROBE_FAILED;
    report->dns_alive = report->dns_status >= 0;
    if (!report->dns_alive) {
        (void)!send(other, bytes, dns_question(bytes, ID_SERVER, "version.bind", 16, 3), 0);
        report->dns_alive = probe_wait_input(other, probe_now_ns() + MTU_WAIT_MS * INT64_C(1000000)) &&
                            recv(other, bytes, sizeof(bytes), MSG_DONTWAIT) >= 12;
    }
    static const char *const statuses[] = {"", "FORMERR", "SERVFAIL", "", "NOTIMP", "REFUSED"};
    int status = report->dns_status;
    if (asks_nobody)
        snprintf(report->text, sizeof(report->text), "%s answers, and asks nobody outside", IP_TEXT(server));
    else if (passed)
        snprintf(report->text, sizeof(report->text), "%s %s %s", IP_TEXT(server),
                 status ? "knows that there is no" : "knows", name);
    else if (status >= 0)
        snprintf(report->text, sizeof(report->text), "%s answers %s to %s", IP_TEXT(server),
                 status < 6 ? statuses[status] : "an error", name);
    else
        snprintf(report->text, sizeof(report->text), "%s does not answer%s", IP_TEXT(server),
                 report->dns_alive ? " what it has to ask others" : "");
}

/* ---- TCP ---- */

/* To several ports at once: any answer, also a refusal, shows that TCP passes both ways. */
static void tcp_step(const struct probe_guest *guest, struct tcp *tcp, struct probe_report *report)
{
    struct pollfd *fds = tcp->fds;
    if (!tcp->start_ns)
        tcp_start(guest, tcp);
    int64_t end = tcp->start_ns + TCP_WAIT_MS * INT64_C(1000000);
    snprintf(report->text, sizeof(report->text), "%s does not answer on ports 53, 80, 443",
             IP_TEXT(&guest->target));
    while (report->outcome != PROBE_PASSED) {
        int64_t left = end - probe_now_ns();
        if (poll(fds, PORTS, left < 0 ? 0 : (int)(left / 1000000) + 1) <= 0)
            break;
        for (size_t i = 0; i < PORTS && report->outcome != PROBE_PASSED; i++) {
            int error = 0;
            socklen_t length = sizeof(error);
            if (!fds[i].revents)
                continue;
            getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &error, &length);
            if (error == 0 || error == ECONNREFUSED) {
                report->outcome = PROBE_PASSED;
                snprintf(report->text, sizeof(report->text), "%s %s on port %u", IP_TEXT(&guest->target),
                         error ? "refuses" : "accepts", tcp_ports[i]);
            }
            fds[i].fd = error && error != ECONNREFUSED ? -1 : fds[i].fd;
        }
    }
    /* The guest ends soon, and with it the sockets. */
}

/* ---- all of it ---- */

/* A step that was begun has failed when nothing else is said. */
static void report_send(int fd, struct probe_report *report, int64_t start_ns)
{
    if (report->outcome == PROBE_SKIPPED && report->step < PROBE_ROUTER6)
        report->outcome = PROBE_FAILED;
    report->took_ns = probe_now_ns() - start_ns;
    (void)!send(fd, report, sizeof(*report), MSG_NOSIGNAL);
}

static void ipv4_steps(int fd, const struct probe_guest *guest, const struct probe_report *lease)
{
    const struct ip *gateway = ip_is_set(&lease->gateway) ? &lease->gateway : &guest->gateway;
    bool leased = lease->outcome == PROBE_PASSED, pinged = true;
    struct tcp tcp = {0};
    for (enum probe_step step = PROBE_GATEWAY; step <= PROBE_MTU; step++) {
        struct probe_report report = {.step = step};
        int64_t start = probe_now_ns();
        if (step == PROBE_GATEWAY && ip_is_set(gateway))
            gateway_step(guest, &lease->address.ip, gateway, &report);
        else if (!leased || step == PROBE_GATEWAY || (!pinged && step >= PROBE_TCP) ||
                 (step == PROBE_NAME && !ip_is_set(&lease->dns)))
            continue;
        else if (step == PROBE_PING)
            ping_step(guest, &tcp, &report);
        else if (step == PROBE_NAME)
            name_step(guest, &lease->dns, &report);
        else if (step == PROBE_TCP)
            tcp_step(guest, &tcp, &report);
        else if (step == PROBE_MTU)
            mtu_step(guest, &report);
        report_send(fd, &report, start);
        /* What follows from a target that nobody reaches is not worth the time; but some answer no ping. */
        if (step == PROBE_PING && report.outcome == PROBE_FAILED) {
            pinged = false;
            struct probe_report answer = {.step = PROBE_TCP};
            tcp_step(guest, &tcp, &answer);
            report_send(fd, &answer, tcp.start_ns);
            if (answer.outcome != PROBE_PASSED)
                break;
        }
    }
}

/* The router is asked by the guest's kernel from the moment that its nic is there. */
static void ipv6_steps(int fd, const struct probe_guest *guest, int64_t born_ns)
{
    struct probe_report router = {.step = PROBE_ROUTER6}, ping = {.step = PROBE_PING6},
                        lease = {.step = PROBE_LEASE6};
    int64_t start = probe_now_ns();
    probe_router6(guest, born_ns, &router);
    report_send(fd, &router, start);
    if (router.outcome != PROBE_PASSED)
        return;
    start = probe_now_ns();
    probe_ping6(guest, &router.router6, &ping);
    report_send(fd, &ping, start);
    if (!guest->dhcp6)
        return;
    start = probe_now_ns();
    probe_lease6(guest, &lease);
    report_send(fd, &lease, start);
}

void probe_guest_act(int fd, const char *ifname, void *data)
{
    struct probe_guest *guest = data;
    char go;
    guest->ifname = ifname;
    if (read(fd, &go, 1) != 1)
        return;
    int64_t start = probe_now_ns();
    struct probe_report lease = {.step = PROBE_LEASE};
    if (guest->host->solicit && guest->ipv6 != PROBE_IPV6_NONE)
        probe_solicit(guest);
    if (ip_is_set(&guest->address.ip))
        static_step(guest, &lease);
    else
        lease_step(guest, &lease);
    report_send(fd, &lease, start);
    ipv4_steps(fd, guest, &lease);
    if (guest->ipv6 != PROBE_IPV6_NONE)
        ipv6_steps(fd, guest, start);
    if (lease.outcome == PROBE_PASSED && !ip_is_set(&guest->address.ip))
        lease_release(guest, &lease);
    struct probe_report end = {.step = PROBE_STEP_COUNT};
    report_send(fd, &end, start);
    (void)!read(fd, &go, 1); /* the nic stays until the caller has seen everything */
}
