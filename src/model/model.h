/* model.h: what the file asks for: networks, machines and their nics, as plain data, and the checks that need
 * no host. */
#ifndef VMWIRE_MODEL_MODEL_H
#define VMWIRE_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "model/address.h"
#include "model/forward.h"
#include "model/problem.h"
#include "model/state.h"

enum { GUARD_DEFAULT_MS = 10000, GUARD_MAX_MS = 600000 };

/* RFC 791 has every host take 576 bytes; a tap of Linux takes no more than 65535 with its Ethernet header. */
enum { NETWORK_MTU_MIN = 576, NETWORK_MTU_MAX = 65521, MTU_IPV6_MIN = 1280 /* RFC 8200, 5 */ };

/* An interface name has 1 to 15 bytes (IFNAMSIZ - 1, <net/if.h>). */
enum { NAME_MAX_LENGTH = 15, MACHINE_NAME_MAX_LENGTH = 63, NIC_QUEUES_MAX = 16 };

enum network_mode {
    NETWORK_BRIDGED = 1, /* guests sit on the uplink's own segment */
    NETWORK_NAT,         /* guests sit behind the host on a private subnet */
    NETWORK_PASSTHROUGH, /* the guest owns a PCI NIC */
    NETWORK_ROUTED,      /* as nat, but nothing is translated: others route the subnet to this host */
    NETWORK_ISOLATED,    /* guests and, unless `host: no`, the host; no way out */
    NETWORK_MODE_COUNT
};

/* Is the host the guests' router and server, on a subnet of their own?  (An isolated network without the host
 * has no subnet: network_has_subnet tells.) */
static inline bool mode_behind_host(enum network_mode mode)
{
    return mode == NETWORK_NAT || mode == NETWORK_ROUTED || mode == NETWORK_ISOLATED;
}

/* Does the host forward the guests' packets to the outside? */
static inline bool mode_forwards(enum network_mode mode)
{
    return mode == NETWORK_NAT || mode == NETWORK_ROUTED;
}

/* What address the host itself has on a bridged network. */
enum address_mode {
    ADDRESS_DEFAULT = 0, /* keep where the uplink carries addresses, else none */
    ADDRESS_KEEP,        /* the uplink's own addresses and routes move to the bridge */
    ADDRESS_DHCP,        /* a DHCP client runs on the bridge */
    ADDRESS_NONE,
    ADDRESS_STATIC, /* struct network's address_prefix */
};

/* How a passthrough network names its device. */
enum device_kind {
    DEVICE_NONE = 0,
    DEVICE_INTERFACE, /* text is an interface name: re1 */
    DEVICE_PCI,       /* 0000:03:00.0 */
    DEVICE_SELECTOR,  /* FreeBSD's bus/slot/function: 3/0/0 */
    DEVICE_FUNCTION,  /* an SR-IOV function of the interface `text`: {parent: enp3s0, vf: auto} */
};

enum { FUNCTION_AUTO = -1 };

struct device_ref {
    enum device_kind kind;
    const char *text;                     /* as written; the parent's interface for DEVICE_FUNCTION */
    unsigned domain, bus, slot, function; /* for DEVICE_PCI and DEVICE_SELECTOR */

    /* DEVICE_FUNCTION */
    int vf;                   /* its number from 0, or FUNCTION_AUTO: a free one */
    unsigned functions;       /* how many to create; 0: as many as the file's nics need */
    struct function settings; /* what the parent is told of it, beside the MAC: `fields` says which */
};

struct machine;
struct nic;

/* A nic that is on a network. */
struct network_nic {
    const struct machine *machine;
    struct nic *nic;
    bool first; /* the machine's first on this network: it has the machine's name there */
};

/* A port forward as the file has it. */
struct forward_entry {
    struct forward forward; /* target: unset while `name` stands for it */
    const char *name;       /* the machine whose nic on this network is meant; "" none */
    struct pos pos;
};

/* A DHCP option that guests are told, as dnsmasq spells it: a name or a number, and a value. */
struct dhcp_option {
    const char *name, *value;
};

/* A name that a network's DNS server knows besides its machines'. */
struct dns_host {
    const char *name;
    struct ip ip;
};

/* What a guest that boots from the network is told. */
struct boot {
    const char *file; /* for BIOS; NULL: none */
    const char *uefi; /* for UEFI; NULL: as for BIOS */
    const char *root; /* absolute path of the folder that the network's own TFTP server has; NULL: none */
    struct ip server; /* somebody else's TFTP server, IPv4; unset: the network's own */
    struct pos pos;
};

struct forward_entries {
    VEC(struct forward_entry) list;
};

struct network {
    const char *name; /* its bridge's name too */
    enum network_mode mode;
    const char *uplink; /* NULL: not named (nat: follow the default route) */

    /* bridged */
    enum address_mode address;
    struct prefix address_prefix; /* with ADDRESS_STATIC */
    bool mac_shared;              /* `mac: shared`: one MAC on the wire */
    unsigned vlan;                /* 802.1Q on the uplink, 1 to VLAN_ID_MAX; 0: untagged */

    bool host_absent; /* isolated: `host: no` */
    struct port_rules ports;
    struct rates rates;         /* of all its guests' nics together */
    bool lock[LOCK_KIND_COUNT]; /* what guests are held to; nat: all of it where the file says nothing */

    /* behind the host: nat, routed, isolated */
    struct prefix subnet;  /* host bits clear */
    struct prefix subnet6; /* IPv6, a /64, host bits clear; unset: none.  Never without `subnet` */
    bool subnet6_auto;     /* `subnet6: auto`: made by model_check (network_subnet6_derive) */
    bool dhcp;
    struct ip dhcp_first, dhcp_last; /* the range, inclusive */
    uint32_t lease_s;                /* how long a lease is; UINT32_MAX: for ever */
    VEC(struct dhcp_option) dhcp_options;
    bool dns; /* the host answers guests' DNS questions */
    VEC(const char *)
    upstream; /* DNS servers that it asks, "ADDRESS" or "ADDRESS#PORT"; none: the host's own */
    VEC(struct dns_host) dns_hosts;
    const char *domain; /* of guests' names; always set */
    struct boot boot;
    struct forward_entries forward_entries;
    struct forwards forwards; /* its own entries and its nics', with every target; filled by model_check */

    unsigned mtu; /* bytes, NETWORK_MTU_MIN to _MAX; 0: the uplink's */

    struct ip probe; /* bridged and nat: what `probe` pings; unset: 8.8.8.8 */

    /* passthrough */
    struct device_ref device;
    bool bind_up;     /* `bind: up`: given to vfio-pci by `up`, not by `run` */
    bool in_use_take; /* `in_use: take`: also when the host has addresses on it */

    VEC(struct network_nic) nics; /* of all machines, in the file's order; filled by model_check */

    /* where it stands in the file */
    struct pos pos, mode_pos, uplink_pos, address_pos, subnet_pos, dhcp_pos, device_pos, mac_pos, bind_pos,
        in_use_pos, probe_pos, forward_pos, ports_pos, lock_pos, subnet6_pos, mtu_pos, rate_pos, vlan_pos;
};

enum nic_model { NIC_VIRTIO = 0, NIC_E1000 };

struct nic {
    const char *network; /* its name; network_find gives the entry */
    struct mac mac;      /* always set once model_check has run */
    bool mac_given;      /* written in the file, not derived */
    struct ip address;   /* IPv4, that the guest has or is given by DHCP; unset: any */
    struct ip address6;  /* likewise IPv6 */
    bool address_chosen; /* by model_check, because a forward leads to it */
    bool address6_chosen;
    struct forward_entries forward_entries;
    unsigned queues; /* 1 to NIC_QUEUES_MAX; 0: not given */
    enum nic_model model;
    struct rates rates;
    unsigned vlan; /* of a bridged network: tagged so on the uplink, 1 to VLAN_ID_MAX; 0: as the network */
    struct pos pos, network_pos, mac_pos, address_pos, address6_pos, rate_pos, vlan_pos;
};

enum firmware_kind { FIRMWARE_DEFAULT = 0, FIRMWARE_UEFI, FIRMWARE_BIOS, FIRMWARE_PATH };
enum serial_kind { SERIAL_DEFAULT = 0, SERIAL_STDIO, SERIAL_SOCKET, SERIAL_OFF };
enum disk_format { DISK_RAW = 0, DISK_QCOW2 };

struct disk {
    const char *path;
    enum disk_format format; /* the file's `format:`, else by the ending .qcow2, else raw */
    bool read_only;
    struct pos pos;
};

struct display {
    bool on;
    struct ip vnc_ip;       /* where VNC listens */
    uint16_t vnc_port;      /* TCP port, 5900 and up */
    unsigned width, height; /* pixels; 0: not given */
    bool wait;              /* the guest starts when a viewer connects */
    struct pos vnc_pos;
};

struct machine {
    const char *name;
    unsigned cpus;
    uint64_t memory_bytes;
    enum firmware_kind firmware;
    const char *firmware_path;             /* with FIRMWARE_PATH */
    const char *kernel, *initrd, *cmdline; /* direct kernel boot; NULL: not used */
    const char *cdrom;
    VEC(struct disk) disks;
    struct display display;
    bool tablet; /* a USB tablet as pointer; default: with a display */
    enum serial_kind serial;
    bool agent; /* a channel to the guest's agent, qemu-ga */
    VEC(struct nic) nics;
    VEC(const char *) extra; /* arguments appended to the hypervisor's command line */
    struct pos pos;
};

struct model {
    VEC(struct network) networks;
    VEC(struct machine) machines;
    unsigned guard_ms;       /* as given; model_guard_ms has the default */
    struct pos guard_ms_pos; /* line 0: not given */
    const char *directory; /* absolute path of the file's directory; relative paths in the file start here */
};

/* The entry by name, or NULL. */
struct network *network_find(const struct model *model, const char *name);
struct machine *machine_find(const struct model *model, const char *name);

/* How long those by whom the host is reached have for answering after a change; 0: they are not asked. */
int model_guard_ms(const struct model *model);

/* It is behind the host, and has its subnet. */
static inline bool network_has_subnet(const struct network *network)
{
    return mode_behind_host(network->mode) && ip_is_set(&network->subnet.ip);
}

/* And an IPv6 one too. */
static inline bool network_has_subnet6(const struct network *network)
{
    return network_has_subnet(network) && ip_is_set(&network->subnet6.ip);
}

/* Do packets of guests on `from` reach guests on `to` unasked?  To routed networks that may be entered by any
 * way, from those that may be left by any (host/linux/nft_text.c). */
bool network_reaches(const struct network *from, const struct network *to);

/* The host's own address on a nat network: the subnet's first address, with the subnet's length. */
struct prefix network_host_address(const struct network *network);

/* The same of its IPv6 subnet. */
struct prefix network_host_address6(const struct network *network);

/* The IPv6 address that a guest with this MAC makes itself by SLAAC, unless it hides its MAC: the /64 and the
 * modified EUI-64 (RFC 4291, appendix A). */
struct ip slaac_address(const struct prefix *subnet6, const struct mac *mac);

/* `subnet6: auto`: fd00::/8 (RFC 4193) and 56 bits of hash over seed and network, a /64. */
struct prefix network_subnet6_derive(const char *seed, const char *network);

/* What is the bridge's port to the outside: the uplink, or its VLAN, "re1.10" or, where that is too long for
 * a name, "v", a hash of the uplink's name, and ".10".  NULL without an uplink. */
const char *network_port(struct arena *arena, const struct network *network);
const char *vlan_name(struct arena *arena, const char *uplink, unsigned vlan);

/* Why a guest on a nat network cannot have this address, as the end of a sentence, or NULL. */
const char *guest_address_fault(struct arena *arena, const struct network *network, const struct ip *ip);

const char *
network_mode_name(enum network_mode mode); /* "bridged", "nat", "passthrough", "routed", "isolated" */
const char *
address_mode_name(enum address_mode mode); /* "keep", "dhcp", "none", "static"; default: "default" */

/* NULL when `name` can be an interface's name and a directory's on both hosts: 1-15 bytes of letters, digits,
 * '.', '_',
 * '-'; no leading '-' or '.'; not "all" or "default" (directories of net.ipv4.conf), "lo"; else what is
 * wrong, as the end of a sentence ("has 16 characters, one more than an interface name can have (15)"). */
const char *name_fault(struct arena *arena, const char *name);

/* The same for a machine's name, which is a directory's and the hypervisor's guest name: 1-63 bytes of the
 * same letters, no leading '-' or '.'. */
const char *machine_name_fault(struct arena *arena, const char *name);

/* The derived MAC of nic `index` of a machine: 02: and 40 bits of SHA-like hash (FNV-1a 64) over seed,
 * machine, index. Locally administered, unicast (IEEE 802-2014, 8.4).  `seed` keeps two hosts with the same
 * file on one segment apart: the host's machine-id, or "". */
struct mac nic_mac_derive(const char *seed, const char *machine, unsigned index);

/* The bridge's own MAC, of a network behind the host. */
static inline struct mac network_bridge_mac(const char *network)
{
    return nic_mac_derive("vmwire bridge", network, 0);
}

/* All checks across entries: overlapping subnets, a NIC on two networks, duplicate MACs, nics of unknown
 * networks, one VNC port twice.  Fills in derived values: MACs, DHCP ranges, queue counts.  Problems are
 * added to `problems`. */
void model_check(struct model *model, struct arena *arena, const char *mac_seed, struct problems *problems);

#endif
