/* packet_text.c: a decoded frame as one line, after tcpdump -qne: packet.h. */
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

#include "diag/packet.h"

/* A line of bounded length. */
struct line {
    char *text;
    size_t length;
};

static void add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int got = vsnprintf(line->text + line->length, PACKET_TEXT_SIZE - line->length, format, args);
    va_end(args);
    if (got > 0)
        line->length += (size_t)got;
    if (line->length >= PACKET_TEXT_SIZE)
        line->length = PACKET_TEXT_SIZE - 1;
}

const char *packet_dhcp_name(uint8_t type)
{
    static const char *const names[] = {"message", "discover", "offer",   "request", "decline",
                                        "ack",     "nak",      "release", "inform"};
    return names[type < sizeof(names) / sizeof(names[0]) ? type : 0];
}

static const char *dns_status_name(uint8_t status)
{
    static const char *const names[] = {"", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
    return status < sizeof(names) / sizeof(names[0]) ? names[status] : "error";
}

static void arp_add(struct line *line, const struct packet *packet)
{
    if (!(packet->layers & PACKET_ARP)) {
        add(line, "ARP, operation %u", packet->arp_operation);
        return;
    }
    if (packet->arp_operation == 1)
        add(line, "ARP, Request who-has %s tell %s", IP_TEXT(&packet->arp_target),
            IP_TEXT(&packet->arp_source));
    else if (packet->arp_operation == 2)
        add(line, "ARP, Reply %s is-at %s", IP_TEXT(&packet->arp_source), MAC_TEXT(&packet->arp_source_mac));
    else
        add(line, "ARP, operation %u", packet->arp_operation);
}

static void tcp_add(struct line *line, const struct packet *packet)
{
    static const struct {
        uint8_t flag;
        char letter;
    } letters[] = {{TCP_FIN, 'F'}, {TCP_SYN, 'S'}, {TCP_RST, 'R'}, {TCP_PSH, 'P'}, {TCP_ACK, '.'}};
    char flags[8] = "";
    size_t count = 0;
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++) {
        if (packet->tcp_flags & letters[i].flag)
            flags[count++] = letters[i].letter;
    }
    add(line, "TCP, flags [%s], seq %u", count ? flags : "none", packet->tcp_sequence);
    if (packet->tcp_flags & TCP_ACK)
        add(line, ", ack %u", packet->tcp_acknowledgement);
    add(line, ", length %zu", packet->payload_length);
}

static void dhcp_add(struct line *line, const struct packet *packet)
{
    add(line, "DHCP %s, client %s", packet_dhcp_name(packet->dhcp_type), MAC_TEXT(&packet->dhcp_client));
    if (packet->dhcp_reply && ip_is_set(&packet->dhcp_given))
        add(line, ", address %s", IP_TEXT(&packet->dhcp_given));
    if (ip_is_set(&packet->dhcp_wanted))
        add(line, ", wants %s", IP_TEXT(&packet->dhcp_wanted));
    if (ip_is_set(&packet->dhcp_server))
        add(line, ", server %s", IP_TEXT(&packet->dhcp_server));
}

static void dns_add(struct line *line, const struct packet *packet)
{
    const char *type = packet->dns_type == 1 ? "A" : packet->dns_type == 28 ? "AAAA" : NULL;
    add(line, "DNS %s, id %u", packet->dns_response ? "answer" : "query", packet->dns_id);
    if (type)
        add(line, ", %s", type);
    else
        add(line, ", type %u", packet->dns_type);
    add(line, " %s", *packet->dns_name ? packet->dns_name : ".");
    if (packet->dns_response && packet->dns_status)
        add(line, ", %s", dns_status_name(packet->dns_status));
    else if (packet->dns_response)
        add(line, ", %u records", packet->dns_answers);
}

static const char *unreachable_name(uint8_t code)
{
    static const char *const names[] = {
        [0] = "network unreachable", [1] = "host unreachable",     [2] = "protocol unreachable",
        [3] = "port unreachable",    [4] = "fragmentation needed", [9] = "network prohibited",
        [10] = "host prohibited",    [13] = "admin prohibited"};
    return code < sizeof(names) / sizeof(names[0]) && names[code] ? names[code] : "unreachable";
}

static const char *unreachable6_name(uint8_t code)
{
    static const char *const names[] = {
        "no route",         "admin prohibited",  "beyond scope",  "address unreachable",
        "port unreachable", "source prohibited", "route rejected"};
    return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unreachable";
}

/* The packet that an error is about. */
static void inner_add(struct line *line, const struct packet *packet)
{
    if (!(packet->layers & PACKET_INNER))
        return;
    add(line, ", for %s > %s", IP_TEXT(&packet->inner.source), IP_TEXT(&packet->inner.target));
    if (packet->inner.protocol == IPPROTO_TCP || packet->inner.protocol == IPPROTO_UDP)
        add(line, " %s port %u", packet->inner.protocol == IPPROTO_TCP ? "TCP" : "UDP",
            packet->inner.target_port);
}

static void icmp6_add(struct line *line, const struct packet *packet)
{
    switch (packet->icmp_type) {
    case 1:
        add(line, "%s", unreachable6_name(packet->icmp_code));
        break;
    case 2:
        add(line, "packet too big, mtu %u", packet->icmp_mtu);
        break;
    case 3:
        add(line, "time exceeded");
        break;
    case 133:
        add(line, "router solicitation");
        break;
    case 134:
        add(line, "router advertisement");
        break;
    case 135:
        add(line, "neighbor solicitation, who has %s", IP_TEXT(&packet->icmp_target));
        break;
    case 136:
        add(line, "neighbor advertisement, tgt is %s", IP_TEXT(&packet->icmp_target));
        break;
    default:
        add(line, "type %u, code %u", packet->icmp_type, packet->icmp_code);
    }
}

static void icmp_add(struct line *line, const struct packet *packet)
{
    bool six = packet->flow.protocol == IPPROTO_ICMPV6;
    add(line, six ? "ICMP6, " : "ICMP ");
    if (packet_is_echo_request(packet) || packet_is_echo_reply(packet))
        add(line, "echo %s, id %u, seq %u", packet_is_echo_request(packet) ? "request" : "reply",
            packet->flow.source_port, packet->flow.sequence);
    else if (six)
        icmp6_add(line, packet);
    else if (packet->icmp_type == 3)
        add(line, "%s", unreachable_name(packet->icmp_code));
    else if (packet->icmp_type == 11)
        add(line, "time exceeded");
    else
        add(line, "type %u, code %u", packet->icmp_type, packet->icmp_code);
    if (!six && packet_is_too_big(packet))
        add(line, ", mtu %u", packet->icmp_mtu);
    inner_add(line, packet);
    add(line, ", length %zu", packet->payload_length);
}

/* Addresses with ports as tcpdump writes them: 10.0.0.2.51234. */
static void ip_add_ends(struct line *line, const struct packet *packet)
{
    bool ports = packet->layers & (PACKET_TCP | PACKET_UDP);
    add(line, "%s", IP_TEXT(&packet->flow.source));
    if (ports)
        add(line, ".%u", packet->flow.source_port);
    add(line, " > %s", IP_TEXT(&packet->flow.target));
    if (ports)
        add(line, ".%u", packet->flow.target_port);
    add(line, ": ");
}

static void summary_add(struct line *line, const struct packet *packet)
{
    if (packet->ethertype == 0x0806) {
        arp_add(line, packet);
        return;
    }
    if (!(packet->layers & PACKET_IP)) {
        add(line, "%s", packet->cut ? "cut short" : "no IP");
        return;
    }
    ip_add_ends(line, packet);
    if (packet->layers & PACKET_DHCP)
        dhcp_add(line, packet);
    else if (packet->layers & PACKET_DNS)
        dns_add(line, packet);
    else if (packet->layers & PACKET_TCP)
        tcp_add(line, packet);
    else if (packet->layers & PACKET_UDP)
        add(line, "UDP, length %zu", packet->payload_length);
    else if (packet->layers & PACKET_ICMP)
        icmp_add(line, packet);
    else
        add(line, "protocol %u, length %zu", packet->flow.protocol, packet->ip_length);
    if (packet->fragment)
        add(line, ", fragment of id %u", packet->ip_id);
}

char *packet_summary(const struct packet *packet, char text[PACKET_TEXT_SIZE])
{
    struct line line = {.text = text};
    text[0] = '\0';
    summary_add(&line, packet);
    return text;
}

char *packet_text(const struct packet *packet, char text[PACKET_TEXT_SIZE])
{
    struct line line = {.text = text};
    text[0] = '\0';
    if (!(packet->layers & PACKET_ETHERNET)) {
        add(&line, "a frame cut short, length %zu", packet->length);
        return text;
    }
    add(&line, "%s > %s, ", MAC_TEXT(&packet->source_mac), MAC_TEXT(&packet->target_mac));
    if (packet->vlan >= 0)
        add(&line, "vlan %d, ", packet->vlan);
    if (packet->ethertype == 0x0800)
        add(&line, "IPv4");
    else if (packet->ethertype == 0x86dd)
        add(&line, "IPv6");
    else if (packet->ethertype == 0x0806)
        add(&line, "ARP");
    else if (packet->ethertype < 0x600)
        add(&line, "802.3");
    else
        add(&line, "ethertype 0x%04x", packet->ethertype);
    add(&line, ", length %zu: ", packet->length);
    summary_add(&line, packet);
    return text;
}
