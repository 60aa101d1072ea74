/* packet.c: decoding frames into fields: packet.h. */
#include "diag/packet.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_VLAN = 0x8100,
    TYPE_IPV6 = 0x86dd,
    TYPE_QINQ = 0x88a8,
    PORT_DNS = 53,
    PORT_DHCP_SERVER = 67,
    PORT_DHCP_CLIENT = 68,
    VLAN_TAGS_MAX = 4,
    EXTENSIONS_MAX = 16,
};

/* What is left to be read.  A read behind the end gives zeros and clears `whole`. */
struct reader {
    const uint8_t *bytes;
    size_t left;
    bool whole;
};

static bool has(struct reader *reader, size_t size)
{
    if (reader->left < size)
        reader->whole = false;
    return reader->left >= size;
}

static void skip(struct reader *reader, size_t size)
{
    if (!has(reader, size))
        size = reader->left;
    reader->bytes += size;
    reader->left -= size;
}

static uint8_t read_u8(struct reader *reader)
{
    uint8_t value = has(reader, 1) ? reader->bytes[0] : 0;
    skip(reader, 1);
    return value;
}

static uint16_t read_u16(struct reader *reader)
{
    uint16_t value = has(reader, 2) ? (uint16_t)(reader->bytes[0] << 8 | reader->bytes[1]) : 0;
    skip(reader, 2);
    return value;
}

static uint32_t read_u32(struct reader *reader)
{
    uint32_t high = read_u16(reader);
    return high << 16 | read_u16(reader);
}

static struct mac read_mac(struct reader *reader)
{
    struct mac mac = {0};
    if (has(reader, sizeof(mac.bytes)))
        memcpy(mac.bytes, reader->bytes, sizeof(mac.bytes));
    skip(reader, sizeof(mac.bytes));
    return mac;
}

static struct ip read_ip(struct reader *reader, int family)
{
    struct ip ip = {.family = (uint8_t)family};
    size_t size = ip_size(&ip);
    if (!has(reader, size)) {
        skip(reader, size);
        return (struct ip){0};
    }
    memcpy(ip.bytes, reader->bytes, size);
    skip(reader, size);
    return ip;
}

/* No more than `size` of what is left belongs to this layer. */
static void limit(struct reader *reader, size_t size)
{
    if (size < reader->left)
        reader->left = size;
    else if (size > reader->left)
        reader->whole = false;
}

static void arp_decode(struct reader *reader, struct packet *packet)
{
    uint16_t hardware = read_u16(reader), protocol = read_u16(reader);
    uint8_t hardware_size = read_u8(reader), protocol_size = read_u8(reader);
    packet->arp_operation = read_u16(reader);
    if (hardware != 1 || protocol != TYPE_IPV4 || hardware_size != 6 || protocol_size != 4)
        return;
    packet->arp_source_mac = read_mac(reader);
    packet->arp_source = read_ip(reader, AF_INET);
    packet->arp_target_mac = read_mac(reader);
    packet->arp_target = read_ip(reader, AF_INET);
    if (reader->whole)
        packet->layers |= PACKET_ARP;
}

/* Labels with their lengths, up to the empty one; a pointer (only an answer's names have them) ends it. */
static void dns_name_decode(struct reader *reader, char name[PACKET_NAME_SIZE])
{
    size_t at = 0;
    for (;;) {
        uint8_t length = read_u8(reader);
        if (length == 0 || length > 63 || !has(reader, length))
            break;
        if (at)
            name[at++] = '.';
        for (uint8_t i = 0; i < length; i++) {
            uint8_t byte = reader->bytes[i];
            if (at < PACKET_NAME_SIZE - 2)
                name[at++] = (char)(byte > ' ' && byte < 0x7f ? byte : '?');
        }
        skip(reader, length);
        if (at >= PACKET_NAME_SIZE - 2)
            break;
    }
    name[at] = '\0';
}

static void dns_decode(struct reader *reader, struct packet *packet)
{
    packet->dns_id = read_u16(reader);
    uint16_t flags = read_u16(reader);
    uint16_t questions = read_u16(reader);
    packet->dns_answers = read_u16(reader);
    skip(reader, 4);
    packet->dns_response = flags & 0x8000;
    packet->dns_status = flags & 0x000f;
    if (questions == 1)
        dns_name_decode(reader, packet->dns_name);
    packet->dns_type = questions == 1 ? read_u16(reader) : 0;
    if (reader->whole)
        packet->layers |= PACKET_DNS;
}

static void dhcp_options_decode(struct reader *reader, struct packet *packet)
{
    while (reader->left) {
        uint8_t code = read_u8(reader);
        if (code == 0)
            continue;
        if (code == 255)
            return;
        uint8_t length = read_u8(reader);
        if (!has(reader, length))
            return;
        struct reader value = {reader->bytes, length, true};
        if (code == 53 && length == 1)
            packet->dhcp_type = read_u8(&value);
        else if (code == 54 && length == 4)
            packet->dhcp_server = read_ip(&value, AF_INET);
        else if (code == 50 && length == 4)
            packet->dhcp_wanted = read_ip(&value, AF_INET);
        else if (code == 3 && length >= 4)
            packet->dhcp_router = read_ip(&value, AF_INET);
        skip(reader, length);
    }
}

static void dhcp_decode(struct reader *reader, struct packet *packet)
{
    static const struct ip unset = {.family = AF_INET};
    uint8_t operation = read_u8(reader), hardware = read_u8(reader);
    skip(reader, 2); /* hlen, hops */
    packet->dhcp_transaction = read_u32(reader);
    skip(reader, 8); /* secs, flags, ciaddr */
    packet->dhcp_given = read_ip(reader, AF_INET);
    skip(reader, 8); /* siaddr, giaddr */
    packet->dhcp_client = read_mac(reader);
    skip(reader, 10 + 64 + 128); /* the rest of chaddr, sname, file */
    uint32_t cookie = read_u32(reader);
    if (!reader->whole || cookie != 0x63825363 || hardware != 1 || operation < 1 || operation > 2)
        return;
    packet->dhcp_reply = operation == 2;
    if (ip_equal(&packet->dhcp_given, &unset))
        packet->dhcp_given = (struct ip){0};
    packet->layers |= PACKET_DHCP;
    dhcp_options_decode(reader, packet);
}

static void udp_decode(struct reader *reader, struct packet *packet)
{
    packet->flow.source_port = read_u16(reader);
    packet->flow.target_port = read_u16(reader);
    uint16_t length = read_u16(reader);
    skip(reader, 2);
    if (!reader->whole)
        return;
    packet->layers |= PACKET_UDP;
    packet->payload_length = length > 8 ? length - 8u : 0;
    if (packet->fragment)
        return;
    limit(reader, packet->payload_length);
    uint16_t source = packet->flow.source_port, target = packet->flow.target_port;
    if (source == PORT_DNS || target == PORT_DNS)
        dns_decode(reader, packet);
    else if ((source == PORT_DHCP_CLIENT || source == PORT_DHCP_SERVER) &&
             (target == PORT_DHCP_CLIENT || target == PORT_DHCP_SERVER))
        dhcp_decode(reader, packet);
}

static void tcp_decode(struct reader *reader, struct packet *packet, size_t size)
{
    packet->flow.source_port = read_u16(reader);
    packet->flow.target_port = read_u16(reader);
    packet->tcp_sequence = read_u32(reader);
    packet->tcp_acknowledgement = read_u32(reader);
    size_t header = (read_u8(reader) >> 4) * 4u;
    packet->tcp_flags = read_u8(reader);
    packet->tcp_window = read_u16(reader);
    skip(reader, 4);
    if (!reader->whole || header < 20)
        return;
    packet->layers |= PACKET_TCP;
    packet->payload_length = size > header ? size - header : 0;
}

static void ip_decode(struct reader *reader, struct packet *packet, bool inner);

/* The packet that an ICMP error is about: its end points. */
static void inner_decode(struct reader *reader, struct packet *packet)
{
    struct packet about = {.vlan = -1};
    struct reader inner = *reader;
    ip_decode(&inner, &about, true);
    if (!(about.layers & PACKET_IP))
        return;
    packet->inner = about.flow;
    packet->layers |= PACKET_INNER;
}

static void icmp_decode(struct reader *reader, struct packet *packet, size_t size, bool inner)
{
    packet->icmp_type = read_u8(reader);
    packet->icmp_code = read_u8(reader);
    skip(reader, 2);
    uint32_t rest = read_u32(reader);
    if (!reader->whole)
        return;
    packet->layers |= PACKET_ICMP;
    packet->payload_length = size;
    bool six = packet->flow.protocol == IPPROTO_ICMPV6;
    if (packet_is_echo_request(packet) || packet_is_echo_reply(packet)) {
        packet->flow.source_port = packet->flow.target_port = (uint16_t)(rest >> 16);
        packet->flow.sequence = (uint16_t)rest;
    } else if (six && (packet->icmp_type == 135 || packet->icmp_type == 136)) {
        packet->icmp_target = read_ip(reader, AF_INET6);
    } else if (six ? packet->icmp_type < 128
                   : packet->icmp_type == 3 || packet->icmp_type == 11 || packet->icmp_type == 12) {
        if (packet_is_too_big(packet))
            packet->icmp_mtu = six ? rest : rest & 0xffff;
        if (!inner)
            inner_decode(reader, packet);
    }
}

static void transport_decode(struct reader *reader, struct packet *packet, size_t size, bool inner)
{
    if (packet->later_fragment)
        return;
    switch (packet->flow.protocol) {
    case IPPROTO_UDP:
        if (inner && has(reader, 4)) {
            packet->flow.source_port = read_u16(reader);
            packet->flow.target_port = read_u16(reader);
        } else if (!inner) {
            udp_decode(reader, packet);
        }
        break;
    case IPPROTO_TCP:
        if (inner && has(reader, 4)) {
            packet->flow.source_port = read_u16(reader);
            packet->flow.target_port = read_u16(reader);
        } else if (!inner) {
            tcp_decode(reader, packet, size);
        }
        break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        icmp_decode(reader, packet, size, inner);
        break;
    default:
        break;
    }
}

static void ipv4_decode(struct reader *reader, struct packet *packet, bool inner)
{
    size_t header = (read_u8(reader) & 0x0f) * 4u;
    skip(reader, 1);
    packet->ip_length = read_u16(reader);
    packet->ip_id = read_u16(reader);
    uint16_t fragment = read_u16(reader);
    packet->ttl = read_u8(reader);
    packet->flow.protocol = read_u8(reader);
    skip(reader, 2);
    packet->flow.source = read_ip(reader, AF_INET);
    packet->flow.target = read_ip(reader, AF_INET);
    if (!reader->whole || header < 20)
        return;
    /* A packet that is segmented later (TSO above 64 KiB) has no length of its own. */
    if (packet->ip_length == 0)
        packet->ip_length = 20 + reader->left;
    packet->dont_fragment = fragment & 0x4000;
    packet->fragment = fragment & 0x3fff;
    packet->later_fragment = fragment & 0x1fff;
    packet->layers |= PACKET_IP;
    skip(reader, header - 20);
    if (!inner)
        limit(reader, packet->ip_length > header ? packet->ip_length - header : 0);
    bool whole = reader->whole;
    reader->whole = true; /* a captured frame may end early: what is there is decoded */
    transport_decode(reader, packet, packet->ip_length > header ? packet->ip_length - header : 0, inner);
    reader->whole &= whole;
}

/* Hop-by-hop, routing, destination options: type, length in 8 bytes beyond the first 8.  Fragment: 8. */
static uint8_t extensions_skip(struct reader *reader, struct packet *packet, uint8_t next, size_t *size)
{
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        size_t length;
        if (next == IPPROTO_FRAGMENT) {
            length = 8;
            if (reader->left >= 4) {
                uint16_t offset = (uint16_t)(reader->bytes[2] << 8 | reader->bytes[3]);
                packet->fragment = true;
                packet->later_fragment = offset & 0xfff8;
            }
        } else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
            length = reader->left >= 2 ? (reader->bytes[1] + 1u) * 8 : 8;
        } else {
            return next;
        }
        uint8_t after = reader->left ? reader->bytes[0] : 0;
        skip(reader, length);
        *size = *size > length ? *size - length : 0;
        next = after;
    }
    return next;
}

static void ipv6_decode(struct reader *reader, struct packet *packet, bool inner)
{
    skip(reader, 4);
    size_t size = read_u16(reader);
    uint8_t next = read_u8(reader);
    packet->ttl = read_u8(reader);
    packet->flow.source = read_ip(reader, AF_INET6);
    packet->flow.target = read_ip(reader, AF_INET6);
    if (!reader->whole)
        return;
    packet->ip_length = 40 + size;
    packet->dont_fragment = true;
    packet->layers |= PACKET_IP;
    if (!inner && size)
        limit(reader, size);
    bool whole = reader->whole;
    reader->whole = true;
    packet->flow.protocol = extensions_skip(reader, packet, next, &size);
    transport_decode(reader, packet, size, inner);
    reader->whole &= whole;
}

static void ip_decode(struct reader *reader, struct packet *packet, bool inner)
{
    if (!has(reader, 1))
        return;
    unsigned version = reader->bytes[0] >> 4;
    if (version == 4)
        ipv4_decode(reader, packet, inner);
    else if (version == 6)
        ipv6_decode(reader, packet, inner);
}

void packet_decode(const uint8_t *bytes, size_t caplen, size_t length, struct packet *packet)
{
    struct reader reader = {bytes, caplen, true};
    *packet = (struct packet){.length = length, .vlan = -1};
    packet->target_mac = read_mac(&reader);
    packet->source_mac = read_mac(&reader);
    packet->ethertype = read_u16(&reader);
    for (int i = 0; i < VLAN_TAGS_MAX && (packet->ethertype == TYPE_VLAN || packet->ethertype == TYPE_QINQ);
         i++) {
        uint16_t tag = read_u16(&reader);
        if (packet->vlan < 0)
            packet->vlan = tag & 0x0fff;
        packet->ethertype = read_u16(&reader);
    }
    if (reader.whole)
        packet->layers |= PACKET_ETHERNET;
    if (packet->ethertype == TYPE_ARP)
        arp_decode(&reader, packet);
    else if (packet->ethertype == TYPE_IPV4 || packet->ethertype == TYPE_IPV6)
        ip_decode(&reader, packet, false);
    packet->cut = !reader.whole || caplen < length;
}

bool packet_flow_equal(const struct packet_flow *a, const struct packet_flow *b)
{
    return a->protocol == b->protocol && a->source_port == b->source_port &&
           a->target_port == b->target_port && ip_equal(&a->source, &b->source) &&
           ip_equal(&a->target, &b->target);
}

bool packet_flow_reverse(const struct packet_flow *request, const struct packet_flow *reply)
{
    return request->protocol == reply->protocol && request->source_port == reply->target_port &&
           request->target_port == reply->source_port && ip_equal(&request->source, &reply->target) &&
           ip_equal(&request->target, &reply->source);
}

static bool is_icmp(const struct packet *packet, uint8_t four, uint8_t six)
{
    if (!(packet->layers & PACKET_ICMP))
        return false;
    return packet->flow.protocol == IPPROTO_ICMP ? packet->icmp_type == four : packet->icmp_type == six;
}

bool packet_is_echo_request(const struct packet *packet)
{
    return is_icmp(packet, 8, 128);
}

bool packet_is_echo_reply(const struct packet *packet)
{
    return is_icmp(packet, 0, 129);
}

bool packet_is_too_big(const struct packet *packet)
{
    if (!is_icmp(packet, 3, 2))
        return false;
    return packet->flow.protocol == IPPROTO_ICMPV6 || packet->icmp_code == 4;
}
