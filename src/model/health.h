/* health.h: what a host tells of how its networks fare, beyond what they are made of: counters, tables that
 * fill up, switches that somebody may have turned.  Only doctor wants it (HOST_OBSERVE_HEALTH). */
#ifndef VMWIRE_MODEL_HEALTH_H
#define VMWIRE_MODEL_HEALTH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "model/address.h"

/* Frames of an interface.  Of a tap: `received` were sent by the guest, `sent` were read by it. */
struct traffic {
    uint64_t received, sent;
    uint64_t dropped; /* could not be sent: of a tap, nobody read them in time */
};

/* enum port_state: what a bridge does with a port; IEEE 802.1D 7.4, <linux/if_bridge.h>. */
enum port_state { PORT_DISABLED, PORT_LISTENING, PORT_LEARNING, PORT_FORWARDING, PORT_BLOCKING };

/* One interface. */
struct interface_health {
    const char *ifname;
    int index;
    struct traffic traffic;
    bool no_arp;      /* IFF_NOARP */
    bool wireless;    /* a station, whose access point takes no other MAC than its own */
    bool program;     /* an XDP program is attached */
    bool filters;     /* it has a qdisc that packets may be dropped in on arrival (clsact, ingress) */
    bool conf_known;  /* the four below are */
    int rp_filter;    /* 0 off, 1 strict, 2 loose; the greater of its own and that of all */
    int arp_ignore;   /* likewise */
    bool forwarding;  /* IPv4 */
    bool forwarding6; /* IPv6 */

    /* of a port of a bridge */
    bool port;
    uint8_t state; /* enum port_state */
    bool isolated, locked, no_flood, no_broadcast, guarded;
};

/* Of the neighbour tables of IPv4 and IPv6 (arp(7)). */
struct neighbour {
    struct ip ip;
    struct mac mac;
    const char *ifname;
    bool failed; /* it was asked for, and did not answer */
    bool fixed;  /* entered by hand */
};

/* Of a bridge's forwarding table: where a MAC was seen. */
struct learned {
    struct mac mac;
    const char *port, *bridge;
};

/* A socket that waits for packets from anybody. */
struct open_socket {
    int protocol; /* IPPROTO_UDP, IPPROTO_TCP */
    struct ip ip; /* the unspecified address: every one */
    uint16_t port;
    int index; /* the interface that it is bound to; 0: none */
    unsigned long inode;
    pid_t pid;           /* 0: not looked up, or not to be seen */
    const char *program; /* "" when not known */
};

struct health {
    bool seen;                               /* it was observed at all */
    bool no_nf_tables, no_tun;               /* this kernel lacks them */
    VEC(struct interface_health) interfaces; /* by name */
    VEC(struct neighbour) neighbours;
    VEC(struct learned) learned;
    VEC(struct open_socket) sockets;       /* of ports 53 and 67 */
    bool sockets_seen;                     /* false: nobody tells (a kernel without udp_diag) */
    long connections, connections_max;     /* conntrack's table; -1: not known */
    long neighbours_count, neighbours_max; /* IPv4's, of all interfaces; -1: not known */
    bool resolv_read;                      /* /etc/resolv.conf could be read */
    VEC(struct ip) nameservers;            /* of it */
};

const char *port_state_name(uint8_t state); /* "blocking" */
/* What keeps frames from a port that forwards, as the end of a sentence ("is locked"), or NULL.  Not that it
 * is isolated, which takes two ports, nor that it is not flooded: a guest is learned as soon as it speaks. */
const char *port_restriction(const struct interface_health *port);

const struct interface_health *health_interface(const struct health *health, const char *ifname);

#endif
