/* state.h: what a host has: links, addresses, routes, rules, services, files.  The same types say what is
 * observed and what an operation makes. */
#ifndef VMWIRE_MODEL_STATE_H
#define VMWIRE_MODEL_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/names.h"
#include "model/address.h"
#include "model/admission.h"
#include "model/forward.h"
#include "model/health.h"
#include "model/lock.h"
#include "model/rate.h"
#include "model/ruleset.h"

/* The owner tag on an interface (Linux alias, FreeBSD description): "vmwire:NET" on a bridge,
 * "vmwire:NET MACHINE/INDEX MAC" on a tap (MACHINE is "-" for `exec`; MAC is the guest's), with " any" or an
 * address behind it where `exec` had such, and " vlan N" where the nic has a VLAN. */
#define OWNER_PREFIX "vmwire:"

/* What a network asks of the ports that lead to guests. */
struct port_rules {
    bool isolated; /* no frame goes from one to another */
};

/* The limit on all guests' nics of a network together, one way; and what carries the nics' own. */
struct shaper {
    const char *network;
    bool outward;     /* from guests (RATE_OUT); else towards them */
    struct rate rate; /* bits_s 0: none, the nics' own only */
    bool nics;        /* nics may have limits of their own */
    uint32_t number;  /* where shapers go by numbers, from 1; 0 none */

    bool whole; /* observed only: all its parts are there */
};

/* The same of one nic, one way. */
struct nic_rate {
    bool shaped;      /* its frames go through the network's shaper */
    struct rate rate; /* its own; bits_s 0: none */
};

/* What rates stand on where that is not theirs alone (ipfw and dummynet): what is not so yet, or was not. All
 * zero on a host that needs nothing of the kind. */
struct shaping {
    bool ipfw, dummynet; /* modules that are not loaded */
    bool accept;         /* what ipfw does with packets that no rule is about is still to be said */
    bool rules;          /* those of all networks together are missing */
    bool one_pass;       /* what has left a pipe is not looked at again */
    bool frames;         /* frames do not pass the rules */

    const char *others; /* observed only: the first rule that is not vmwire's; NULL none */
};

/* The VLAN of a bridge's frames without a tag (default_pvid of <linux/if_bridge.h>), which is no network's.
 */
enum { VLAN_UNTAGGED = 1, VLAN_ID_MAX = 4094 };

/* A VLAN that a bridge's port is in. */
struct port_vlan {
    uint16_t id;
    bool own;      /* what comes without a tag is of it (PVID) */
    bool untagged; /* what leaves has no tag */
};

enum { MTU_DEFAULT = 1500 }; /* of Ethernet, bytes */

/* Which members of struct link mean something in LINK_CREATE and LINK_SET; observed links have all of them.
 */
enum link_field {
    LINK_MAC = 1 << 0,
    LINK_MTU = 1 << 1,
    LINK_UP = 1 << 2,
    LINK_ALIAS = 1 << 3,
    LINK_STP = 1 << 4,
    LINK_FORWARD_DELAY = 1 << 5,
    LINK_IPV6 = 1 << 6,
    LINK_FILTERS_VLANS = 1 << 7,
    LINK_ACCEPT_RA = 1 << 8,
};

struct link {
    const char *name;
    const char *kind; /* the kernel's: "bridge", "tun", "veth", "bond", "vlan", …; "" for hardware */
    unsigned fields;  /* enum link_field bits */
    struct mac mac;
    uint32_t mtu;           /* bytes */
    bool up;                /* administratively (IFF_UP) */
    const char *alias;      /* "" when none */
    bool stp;               /* a bridge's spanning tree */
    uint32_t forward_delay; /* a bridge's, in hundredths of a second (IFLA_BR_FORWARD_DELAY) */
    bool ipv6;              /* makes itself a link-local address (addrgenmode is not none) */
    uint8_t accept_ra;      /* router advertisements: 0 never, 1 as long as it does not forward, 2 always
                               (net.ipv6.conf.NAME.accept_ra) */
    bool filters_vlans;     /* a bridge: each port has VLANs of its own */

    const char *lower; /* the interface that it stands on, as a VLAN does; of a veth its other end (observed);
                          "" or NULL none here */
    uint32_t vlan;     /* of a VLAN on `lower`: its id; 0 none */

    bool guest; /* LINK_SET: a nic, as struct port's */

    /* observed only */
    struct port_rules port; /* of a bridge's port */
    struct nic_rate rates[RATE_WAYS];
    bool localnet; /* routes loopback addresses (net.ipv4.conf.NAME.route_localnet) */
    int index;
    bool carrier; /* IFF_LOWER_UP */
    bool loopback;
    const char *master;          /* the bridge or bond that it is a port of; "" when none */
    VEC(struct port_vlan) vlans; /* as a port of a bridge of vmwire's that filters VLANs */
    bool port_tuned;             /* as a port it has settings that a port has not by itself */
};

/* An address on an interface.  Every attribute that the kernel lets one set is here, so that it can be put
 * back. */
struct address {
    const char *ifname;
    struct prefix prefix;
    struct ip peer;      /* the other end of a point-to-point link; unset: none */
    struct ip broadcast; /* unset: none */
    const char *label;   /* IPv4 label when it is not the name; "" else */
    uint8_t scope;       /* RT_SCOPE_* of <linux/rtnetlink.h>: 0 global, 253 link, 254 host */
    uint32_t flags;      /* IFA_F_* that can be set: NODAD 0x2, NOPREFIXROUTE 0x200, MANAGETEMPADDR 0x100,
                            HOMEADDRESS 0x10 */
    uint32_t metric;     /* of its prefix route; 0: the kernel's default */
    uint32_t valid_s, preferred_s; /* lifetimes in seconds; UINT32_MAX: for ever; 0: unset, for ever */
    bool kernel;                   /* observed only: the kernel made it (link-local, SLAAC) */
};

struct route {
    uint32_t table;   /* 254 main */
    struct prefix to; /* length 0: the default route; family always set */
    uint8_t tos, scope, type,
        protocol;       /* rtm_* of <linux/rtnetlink.h>; protocol 2 kernel, 3 boot, 4 static, 9 ra, 16 dhcp */
    uint32_t metric;    /* 0: none given */
    struct ip gateway;  /* unset: on the link */
    const char *ifname; /* "" for blackhole and the like */
    struct ip source;   /* preferred source address; unset: none */
    bool onlink;
    uint32_t mtu, advmss; /* RTAX_MTU, RTAX_ADVMSS; 0: not set */
    uint8_t preference;   /* IPv6 router preference: 0 medium, 1 high, 3 low (RTA_PREF) */
    bool unmovable; /* observed only: it has attributes that are not here (several next hops, encapsulation,
                       …) */
};

/* A neighbour that somebody entered by hand (ip-neighbour(8), arp(8), ndp(8)). */
struct fixed_neighbour {
    const char *ifname;
    struct ip ip;
    struct mac mac;   /* all zero: none given, as of Linux's `proxy` */
    bool proxy;       /* this host answers for it (FreeBSD: `pub`) */
    bool router;      /* IPv6 */
    uint8_t protocol; /* who entered it (RTPROT_*); 0: not said */
};

struct sysctl {
    const char *name;  /* with dots: net.ipv4.ip_forward; a dot inside an interface name is written '/' as
                          sysctl(8) does */
    const char *value; /* without the newline */
};

/* One of the sysctls that forwarding touches, in the order of switching it on.  The host lists all that
 * switching it on changes. */
struct forwarding_sysctl {
    const char *name;
    const char *now;
    const char *wanted; /* NULL: not to be set, but its value is disturbed by the others and must be put back
                           after them */
    bool ipv6;
    bool own_ra; /* it lets the host go on learning from routers; set only where forwarding is vmwire's to
                    switch */
};

#define WATCH_LIMIT_SYSCTL "fs.inotify.max_user_instances"

/* The firewall rules of one nat network. */
struct firewall {
    const char *network;
    const char *bridge;
    const char *uplink;    /* "" : whatever way the routes go */
    bool isolate;          /* nor from a guest to another by the host */
    const char *way;       /* "": translated (nat); "routed": as they are; "isolated": no way in or out */
    struct prefix subnet;  /* host bits clear */
    struct prefix subnet6; /* unset: none */
    struct forwards forwards;
};

/* The translation of one bridged network with `mac: shared`: what leaves by the uplink has the host's MAC. */
struct shared {
    const char *network;
    const char *bridge;
    const char *uplink;
    struct mac mac; /* the host's, the one that the wire sees */
};

/* Who has an IPv4 address of such a network. */
struct shared_address {
    const char *network;
    struct ip ip;
    struct mac mac;
    bool fixed;       /* a nic's `address:`, or the host's own that `up` knew: not learned, and never lost */
    uint32_t since_s; /* learned: seconds ago; fixed: 0 */
    bool held;        /* its owner has spoken from it; else a lease only was seen */
    bool live;        /* heard of lately: nobody else can take it */
};

/* Where the rules of networks hang from a main ruleset that is the administrator's (pf): what must be so that
 * they are in force.  All zero on a host that has no such thing. */
struct firewall_main {
    bool load;   /* no ruleset is loaded: a minimal one, which hands over to vmwire's rules, is to be */
    bool enable; /* the firewall is off, and to be switched on */
    bool ours;   /* the ruleset that is loaded is the minimal one, and nothing else */
    const char *refusal; /* why rules would not be in force as long as the administrator does nothing: what is
                            so, and the cure; may be several lines.  NULL: they would be */
};

/* A program that should run, or runs, for a network. */
struct service {
    const char *network;
    const char *kind; /* "dnsmasq", "dhcp-client": also the name of its pid file, KIND.pid */
    const char *const
        *argv; /* NULL-terminated; argv[0] is looked up by program_find.  It daemonizes once it is ready */
    const char *pid_path; /* the pid file that it writes */
    int timeout_ms;       /* how long it may take to get ready */
    pid_t pid;            /* observed only: the running process, 0 when none */
};

/* A program that is not vmwire's and configures an interface. */
struct manager {
    const char *ifname;
    const char *name; /* "NetworkManager", "systemd-networkd", "dhclient", "dhcpcd" */
};

/* What systemd-networkd was told to leave alone for a network. */
struct unmanaged {
    const char *network;
    const char *interfaces; /* names with a blank between */
};

/* What the host's own resolver (systemd-resolved) was told of an interface: names in `domain` are asked of
 * `server`. */
struct resolver {
    const char *ifname;
    struct ip server;
    const char *domain;
};

/* A file that a running program reads anew when it is told to (SIGHUP). */
struct reload {
    const char *kind;     /* the service's */
    const char *pid_path; /* its pid file */
    const char *path;     /* the file, below the run directory */
    const char *content;
    uint32_t mode;
    const char *group; /* as of struct file */
};

/* What an SR-IOV parent is told of one of its functions.  Source: ip-link(8), "vf NUM". */
enum function_field {
    FUNCTION_MAC = 1 << 0,
    FUNCTION_VLAN = 1 << 1,
    FUNCTION_SPOOF_CHECK = 1 << 2,
    FUNCTION_TRUST = 1 << 3,
    FUNCTION_RATE = 1 << 4,
    FUNCTION_LINK = 1 << 5,
};

/* IFLA_VF_LINK_STATE_* of <linux/if_link.h> */
enum function_link { FUNCTION_LINK_AUTO = 0, FUNCTION_LINK_UP = 1, FUNCTION_LINK_DOWN = 2 };

struct function {
    const char *ifname; /* the parent's interface */
    uint32_t index;     /* from 0 */
    unsigned fields;    /* enum function_field bits that mean something */
    struct mac mac;     /* all zero: none given, the guest chooses */
    uint32_t vlan;      /* 0: untagged */
    bool spoof_check, trust;
    uint32_t rate_mbps; /* Mbit/s at most; 0: no limit */
    uint8_t link;       /* enum function_link */
};

/* How many functions an SR-IOV parent has. */
struct functions {
    const char *address; /* the parent's PCI address */
    uint32_t count;
    bool probe; /* new ones are given to the host's driver (sriov_drivers_autoprobe) */
};

/* Another device of an IOMMU group. */
struct group_member {
    const char *address;
    uint32_t class; /* base class, subclass, interface: 0x040300 is an HD audio device */
    const char *driver;
};

/* A PCI device as observed.  Of one that is no network device only address, class, ids and driver are known.
 */
struct device {
    const char *address; /* 0000:03:00.0 */
    uint32_t class;
    uint16_t vendor, product;               /* ids */
    const char *vendor_name, *product_name; /* with HOST_OBSERVE_DEVICE_NAMES; NULL: not known */
    const char *driver;                     /* "" none */
    const char *override;                   /* the only driver that may have it; "" or NULL: any */
    const char *ifname;                     /* its first interface; "" none */
    VEC(const char *) other_ifnames;        /* its further ones: some cards have two ports on one device */
    bool wanted;                            /* said by the observer: it may be taken from the host */
    VEC(struct sysctl)
    sysctls;       /* of a wanted one, with HOST_OBSERVE_DEVICE_SYSCTLS: its interface's that one
                      just made would not have */
    bool network;  /* a network controller (class 0x02) */
    int numa_node; /* -1: not known */
    int group;     /* IOMMU group; -1: none */
    VEC(struct group_member) members; /* everything else in that group */

    /* SR-IOV */
    uint32_t functions_total, functions_now; /* 0: it has none */
    bool functions_probe;
    uint32_t functions_offset,
        functions_stride;           /* routing id of function N: the parent's + offset + N * stride */
    VEC(struct function) functions; /* what the parent was told of each */
    const char *parent;             /* of a function: the parent's address; "" else */
    uint32_t index;                 /* of a function */
};

/* A PCI device and the driver that it should have. */
struct device_driver {
    const char
        *address; /* 0000:03:00.0; FreeBSD's selector is pci0:3:0:0 without "pci" and with these numbers */
    const char *driver;   /* "vfio-pci", "ppt"; its own: "e1000e", "re0" is driver re */
    const char *ifname;   /* of the interface that its own driver makes; "" none */
    const char *override; /* back with its own driver: its driver_override of before; "" none (Linux) */
};

struct file {
    const char *path;
    const char *content; /* text */
    uint32_t mode;       /* permission bits */
    const char
        *group; /* who may read it beside root, and pass through the folders above; NULL or "": root's */
};

bool file_equal(const struct file *a, const struct file *b); /* content and group */

/* One nic that is wired now: a tap with an owner tag.  Read from its alias. */
struct wired_nic {
    const char *tap, *network, *machine; /* machine "-": made by `exec` */
    unsigned index;
    struct mac mac;              /* the guest's */
    bool mac_any;                /* a program of `exec` that may take another */
    struct ip address, address6; /* IPv4 and IPv6 that `exec` was told; unset: none */
    uint32_t vlan;               /* 0 none */
};

/* What sets hosts apart in what has to be done, and in which order.  All zero is Linux. */
struct host_traits {
    unsigned no_link_fields; /* enum link_field bits that its bridges do not have */
    bool bare_ports;         /* a port of a bridge has no addresses: they leave before it becomes one */
    bool leases_stay;        /* what a DHCP client won stays on its interface when the client is stopped */
    bool nat_names_uplink;   /* NAT is bound to an interface by name: without an uplink in the file, it is the
                                default route's of the moment */
    bool fixed_nics;         /* none can come or go while its machine runs */
    bool equal_mtus;         /* the ports of a bridge have its MTU, each of them */
    bool rules_in_turn;      /* each network's rules are a ruleset of their own, not lines of one for all */
    bool locks_by_nic;       /* rules are each nic's own, go with its port, see no ARP and know no leases */
    bool loopback_closed;    /* a port of the loopback cannot lead to a guest */
    const char *passthrough_driver; /* that hands PCI devices to guests; NULL: vfio-pci */
    bool no_shared_mac;             /* it has no way to do `mac: shared` */
    bool routed_rates;    /* a rate is of what the host routes, not of frames between a bridge's ports */
    uint64_t rate_max;    /* bits in a second; 0: as many as can be said */
    uint32_t shapers_max; /* they go by numbers, 1 to this; 0: by their network's name */
    bool ra_for_all; /* one switch for all interfaces lets a host that forwards accept router advertisements,
                        and a bridge accepts none by itself */
    bool ports_take_tags; /* a bridge has its ports' tagged frames before their VLANs do */
    bool no_port_vlans;   /* its bridges know no VLANs of their own */
    bool stable_macs;     /* a bridge's own MAC does not change with its ports: a nat network's needs none */
};

/* What host_observe saw.  All of it lives in the caller's arena. */
struct observed {
    const char *run_dir; /* "/run/vmwire" */
    struct host_traits traits;
    VEC(struct link) links;
    VEC(struct address) addresses;
    VEC(struct route) routes;               /* unicast and blackhole-like, all tables but local */
    VEC(struct fixed_neighbour) neighbours; /* permanent ones and proxies */
    VEC(struct forwarding_sysctl) forwarding;
    const char *watch_limit;  /* root's inotify instances, WATCH_LIMIT_SYSCTL; NULL: there is no such limit */
    const char *ipv6_refusal; /* why no network can have IPv6 here; NULL: it can */
    struct firewall_main firewall_main;
    bool firewall_base; /* the table is there with every chain, map and rule of ours, and nothing else */
    bool firewall_none; /* it is not there, or has nothing in it */
    VEC(struct firewall) firewalls;        /* networks whose elements are all there and right */
    VEC(const char *) firewall_translates; /* networks whose packets are translated on their way out */
    VEC(const char *)
    firewall_traces; /* networks of which anything at all is in the table (also half of it) */
    struct foreign_firewalls foreign;
    VEC(struct admission) admissions; /* vmwire's rules in others' chains */
    bool shared_base;                 /* the same for the table of the networks that share a MAC */
    VEC(struct shared) shareds;
    VEC(const char *) shared_traces;
    bool shared_others;               /* others have something in that table */
    VEC(const char *) shared_objects; /* vmwire's sets and chains there, "chain bridge vmwire forward" */
    VEC(struct shared_address) shared_addresses;
    const char *shared_refusal;    /* why this kernel cannot share a MAC; NULL: it can, or was not asked */
    const char *vlan_refusal;      /* the same of VLANs on an interface */
    const char *port_vlan_refusal; /* and of VLANs of a bridge's ports */
    bool lock_base; /* the table of locks is there with all its rules, or is not there at all */
    VEC(struct lock) locks;
    VEC(struct lock_nic) lock_nics;     /* in the order of strcmp(ifname); also of taps that are gone */
    VEC(struct lock_lease) lock_leases; /* HOST_OBSERVE_HEALTH: what nics leased, as packets showed it */
    VEC(struct lock_drops) lock_drops;  /* HOST_OBSERVE_HEALTH */
    const char *lock_refusal;           /* why this kernel cannot lock; NULL: it can, or was not asked */
    VEC(struct forwarding_sysctl) lock_sysctls; /* without which its packet filter does not see guests */
    VEC(struct shaper) shapers;
    VEC(const char *) stray_rates; /* taps that have a rate and are gone */
    struct shaping shaping;
    const char *rate_refusal;        /* why this kernel cannot limit a rate; NULL: it can, or was not asked */
    bool resolver_runs;              /* the host has a resolver that takes such words */
    VEC(struct resolver) resolvers;  /* of interfaces that have a server or a domain of their own */
    VEC(struct service) services;    /* running ones, by their pid files */
    VEC(struct manager) managers;    /* by interface */
    bool networkd;                   /* systemd-networkd runs, and takes orders */
    VEC(struct unmanaged) unmanaged; /* what it was told already */
    VEC(struct device) devices;      /* every PCI device */
    bool iommu;                      /* some device is behind an IOMMU */
    bool iommu_remaps; /* interrupts are remapped, or unsafe ones are allowed: vfio demands it */
    bool vfio;         /* vfio-pci is there, or can be loaded */
    struct health health;
    struct ruleset ruleset; /* everybody else's firewall rules */
    VEC(struct file)
    files; /* everything that vmwire keeps under run_dir, but for journal, machine/, pids, sockets */
    /* What observed_index made, of the lists as they were. */
    const struct link *links_indexed;
    const struct file *files_indexed;
    struct names link_names, file_paths;
};

/* So that link_find and file_find take the same time among thousands; a list that changes later is searched
 * from its start. */
void observed_index(struct arena *arena, struct observed *observed);
const struct link *link_find(const struct observed *observed, const char *name);
const struct link *link_by_index(const struct observed *observed, int index);
const struct file *file_find(const struct observed *observed, const char *path);

/* RUN/leases/NET: the DHCP server's leases of a network, which stay when the network goes. */
const char *leases_path(struct arena *arena, const char *run_dir, const char *network);
/* RUN-dnsmasq/NET/NAME: what dnsmasq reads anew as the user that it became, who may not look into RUN. */
#define TABLES_SUFFIX "-dnsmasq"
const char *table_path(struct arena *arena, const char *run_dir, const char *network, const char *name);

const struct device *device_find(const struct observed *observed, const char *address);
/* Also of one of its further interfaces. */
const struct device *device_of_interface(const struct observed *observed, const char *ifname);
/* "Ethernet controller", "audio device": what a class (struct device) is, "device" when it is not a common
 * one. */
const char *device_class_name(uint32_t class);

/* The network of an owner tag, in the arena, or NULL when the alias is not vmwire's. */
const char *owner_network(struct arena *arena, const char *alias);
/* A tap's tag parsed.  False when the alias is not a tap's tag. */
bool owner_nic(struct arena *arena, const struct link *tap, struct wired_nic *nic);
/* The tags. */
const char *owner_tag(struct arena *arena, const char *network);
/* A bridge's says what is asked of its guests' ports: "vmwire:NET isolate". */
const char *owner_bridge_tag(struct arena *arena, const char *network, const struct port_rules *rules);
struct port_rules owner_port_rules(const char *alias);
/* `nic`: all but `tap`. */
const char *owner_nic_tag(struct arena *arena, const struct wired_nic *nic);

/* The same with another VLAN; 0 none. */
const char *owner_nic_vlan_tag(struct arena *arena, const struct wired_nic *nic, uint32_t vlan);

/* The one VLAN that a port is in, without tags both ways; 0 when it is not so. */
uint32_t port_vlan_own(const struct link *port);

/* The device group (ip-link(8)) of a network's taps, by which rules know whose a frame is: made from its
 * name, in a range that no administrator would choose from. */
uint32_t owner_group(const char *network);

bool address_equal(const struct address *a,
                   const struct address *b); /* interface, prefix, peer: what makes it the same one */
bool route_equal(const struct route *a, const struct route *b); /* every settable member */
/* The same interface, address and kind; and every attribute too. */
bool neighbour_same_slot(const struct fixed_neighbour *a, const struct fixed_neighbour *b);
bool neighbour_equal(const struct fixed_neighbour *a, const struct fixed_neighbour *b);
/* What makes two routes one in the kernel's table: table, to, tos, metric (and for IPv6 the interface and
 * gateway). */
bool route_same_slot(const struct route *a, const struct route *b);

#endif
