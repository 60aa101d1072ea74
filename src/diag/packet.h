/* packet.h: one Ethernet frame, decoded: into fields for matching, and into a line of text like tcpdump's.
 *
 * Frames come from anybody, so every length is checked: a frame that is cut short or lies about itself is
 * decoded as far as it goes.  Sources: IEEE 802.3 and 802.1Q, RFC 826 (ARP), 791 (IPv4), 8200 (IPv6), 768
 * (UDP), 9293 (TCP), 792 (ICMP), 4443 and 4861 (ICMPv6), 2131 and 2132 (DHCP), 1035 (DNS). */
#ifndef VMWIRE_DIAG_PACKET_H
#define VMWIRE_DIAG_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/address.h"

enum { PACKET_TEXT_SIZE = 512, PACKET_NAME_SIZE = 256 };

/* What was decoded without doubt. */
enum packet_layer {
    PACKET_ETHERNET = 1 << 0,
    PACKET_ARP = 1 << 1,
    PACKET_IP = 1 << 2, /* addresses, protocol */
    PACKET_TCP = 1 << 3,
    PACKET_UDP = 1 << 4,
    PACKET_ICMP = 1 << 5, /* ICMP and ICMPv6: type and code */
    PACKET_DHCP = 1 << 6,
    PACKET_DNS = 1 << 7,
    PACKET_INNER = 1 << 8, /* an ICMP error with the packet that it is about */
};

enum tcp_flags {
    TCP_FIN = 0x01,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_PSH = 0x08,
    TCP_ACK = 0x10,
    TCP_URG = 0x20,
};

/* DHCP message types, RFC 2132 9.6; 0: BOOTP. */
enum dhcp_type {
    DHCP_DISCOVER = 1,
    DHCP_OFFER,
    DHCP_REQUEST,
    DHCP_DECLINE,
    DHCP_ACK,
    DHCP_NAK,
    DHCP_RELEASE,
    DHCP_INFORM,
};

/* The end points of a packet, as far as its header names them. */
struct packet_flow {
    struct ip source, target;
    uint8_t protocol; /* IPPROTO_* */
    /* TCP and UDP ports; of an ICMP echo its identifier in both; else 0. */
    uint16_t source_port, target_port;
    uint16_t sequence; /* of an ICMP echo */
};

struct packet {
    unsigned layers; /* enum packet_layer bits */
    size_t length;   /* bytes on the wire */
    bool cut;        /* less was there than the headers say */

    struct mac source_mac, target_mac;
    int vlan;           /* the outermost tag's, -1: none */
    uint16_t ethertype; /* behind tags; below 0x600 an 802.3 length */

    struct packet_flow flow;
    uint8_t ttl;
    uint16_t ip_id;        /* IPv4 */
    size_t ip_length;      /* header and payload */
    bool dont_fragment;    /* IPv4; IPv6 always */
    bool fragment;         /* a piece of a packet */
    bool later_fragment;   /* not the first piece: no ports */
    size_t payload_length; /* behind the TCP or UDP header; of ICMP all of it */

    uint16_t arp_operation; /* 1 request, 2 reply */
    struct mac arp_source_mac, arp_target_mac;
    struct ip arp_source, arp_target;

    uint8_t tcp_flags; /* enum tcp_flags */
    uint32_t tcp_sequence, tcp_acknowledgement;
    uint16_t tcp_window;

    uint8_t icmp_type, icmp_code;
    uint32_t icmp_mtu;        /* of "fragmentation needed", "packet too big" */
    struct ip icmp_target;    /* of neighbour solicitation and advertisement */
    struct packet_flow inner; /* with PACKET_INNER */

    uint8_t dhcp_type;
    bool dhcp_reply; /* from a server */
    uint32_t dhcp_transaction;
    struct mac dhcp_client;
    struct ip dhcp_given, dhcp_server, dhcp_router, dhcp_wanted; /* unset: not in it */

    uint16_t dns_id, dns_type; /* 1 A, 28 AAAA, … */
    bool dns_response;
    uint8_t dns_status;              /* 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED */
    uint16_t dns_answers;            /* how many records */
    char dns_name[PACKET_NAME_SIZE]; /* that is asked for; only printable bytes */
};

/* Decode `caplen` bytes of a frame that had `length` on the wire.  A VLAN tag of the frame is looked
 * through. */
void packet_decode(const uint8_t *bytes, size_t caplen, size_t length, struct packet *packet);

/* As tcpdump -qne prints it, without the time:
 * "00:a0:98:1b:c8:07 > 40:4a:03:76:de:1d, IPv4, length 98: 192.168.87.47 > 8.8.8.8: ICMP echo request, id
 * 25603, seq 4, length 64".  Never a control character.  Writes `text` and returns it. */
char *packet_text(const struct packet *packet, char text[PACKET_TEXT_SIZE]);

/* The part behind the MACs, ethertype and length: "8.8.8.8 > 10.0.0.2: ICMP echo reply, id 7, seq 1, …". */
char *packet_summary(const struct packet *packet, char text[PACKET_TEXT_SIZE]);

#define PACKET_TEXT(packet) packet_text((packet), (char[PACKET_TEXT_SIZE]){0})
#define PACKET_SUMMARY(packet) packet_summary((packet), (char[PACKET_TEXT_SIZE]){0})

/* Is `reply` the answer to `request`'s direction of the same flow: addresses and ports swapped, same
 * protocol? */
bool packet_flow_reverse(const struct packet_flow *request, const struct packet_flow *reply);
bool packet_flow_equal(const struct packet_flow *a, const struct packet_flow *b); /* but the sequence */

/* An ICMP or ICMPv6 echo request, or reply. */
bool packet_is_echo_request(const struct packet *packet);
bool packet_is_echo_reply(const struct packet *packet);
/* "Fragmentation needed" or "packet too big". */
bool packet_is_too_big(const struct packet *packet);
/* "discover", "offer", …; "message" for an unknown one. */
const char *packet_dhcp_name(uint8_t type);

#endif
