/* service.h: the helper programs of a network: their configuration files, and which process should run. Pure.
 */
#ifndef VMWIRE_SERVICE_SERVICE_H
#define VMWIRE_SERVICE_SERVICE_H

#include "base/arena.h"
#include "model/model.h"
#include "model/state.h"

/* What a service's configuration needs beyond the network's entry. */
struct service_options {
    const struct model *model; /* the other networks, whose names guests of this one may need; NULL: none */
    const char *run_dir;       /* "/run/vmwire" */
    uint32_t mtu;              /* of the bridge, bytes, for DHCP's option 26 (RFC 2132, 5.1) */
    const char *user, *group;  /* that dnsmasq becomes; NULL: stay who it is */
    const char
        *program; /* absolute path of vmwire itself, which busybox's DHCP client calls with its events */
    const char *loopback; /* the loopback interface, which dnsmasq would add by itself; NULL: "lo" */
    bool dhclient;        /* the DHCP client is FreeBSD's dhclient(8) */
};

/* dnsmasq for one network, and its files.  A change of `config` needs a new start; the tables are read anew
 * on SIGHUP, as the user that it became, so its group may read them. */
struct dnsmasq {
    struct service service;
    struct file config;
    struct file hosts;      /* names: hosts(5) */
    struct file dhcp_hosts; /* static leases and machines' names; path NULL: no DHCP */
    struct file leases;     /* empty, to start with; path NULL: no DHCP */
};

/* DHCP, DNS and TFTP for a nat network, on its bridge alone.  False when it wants none of them.  Source:
 * dnsmasq(8). */
bool dnsmasq_service(struct arena *arena, const struct network *network,
                     const struct service_options *options, struct dnsmasq *dnsmasq);

/* What a network's dnsmasq serves. */
struct served {
    bool dhcp, dns, ra; /* DHCP of IPv4; of IPv6 with `ra`, router advertisements */
    const char *domain; /* of guests' names; NULL: nothing is served */
};

/* Read that from the configuration that dnsmasq_service made. */
void dnsmasq_served(struct arena *arena, const char *config, struct served *served);
const char *dnsmasq_config_path(struct arena *arena, const char *run_dir, const char *network);
/* "DHCP, DNS and RA"; "" for nothing. */
const char *served_text(struct arena *arena, const struct served *served);

/* One DHCP lease of dnsmasq's file. */
struct lease {
    int64_t expires; /* seconds since 1970, 0: never */
    struct mac mac;  /* of IPv6, all zero when the client's identifier (DUID) is not made from one */
    struct ip ip;
    const char *hostname; /* "" when the guest gave none */
};

struct leases {
    VEC(struct lease) list;
};

/* Read dnsmasq's lease file: lines "EXPIRY MAC ADDRESS NAME CLIENT-ID"; of DHCPv6 "EXPIRY IAID ADDRESS NAME
 * DUID", whose DUID has the MAC in two of its forms (RFC 8415, 11.2 and 11.4).  Lines that do not parse are
 * passed over. */
void dnsmasq_leases_parse(struct arena *arena, const char *text, struct leases *leases);

/* The DHCP client for `address: dhcp` on a bridge: busybox udhcpc, which calls vmwire for its events, or
 * FreeBSD's dhclient, which sets address, route and resolv.conf itself (dhclient-script(8)). */
void dhcp_client_service(struct arena *arena, const struct network *network,
                         const struct service_options *options, struct service *service);

#endif
