/* host.h: the contract between vmwire and an operating system: observe it, apply one operation, open nics,
 * look after processes.  linux/ and freebsd/ implement it; the build picks one for host_open.  fake/ wraps
 * one to make it fail.
 *
 * Rendering is apart (render.h): pure, and compiled everywhere for every host. */
#ifndef VMWIRE_HOST_HOST_H
#define VMWIRE_HOST_HOST_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "host/reach.h"
#include "host/watch.h"
#include "model/model.h"
#include "model/state.h"
#include "plan/op.h"

struct host;
struct host_chain_trace;
struct host_guest;

enum host_apply_flags {
    /* What is already so is success: for rolling back, where nobody knows whether the last operation was
     * done. Adding what is there, removing what is not, writing what is written. */
    HOST_APPLY_TOLERANT = 1 << 0,
};

/* What to look at; the cost of a command is what it observes. */
enum host_observe_flags {
    HOST_OBSERVE_LINKS = 1 << 0,
    HOST_OBSERVE_ADDRESSES = 1 << 1,
    HOST_OBSERVE_ROUTES = 1 << 2,
    HOST_OBSERVE_FORWARDING = 1 << 3,
    HOST_OBSERVE_FIREWALL = 1 << 4,
    HOST_OBSERVE_SERVICES = 1 << 5,
    HOST_OBSERVE_FILES = 1 << 6,
    HOST_OBSERVE_NEIGHBOURS = 1 << 7, /* those entered by hand; needs links */
    HOST_OBSERVE_ALL = (1 << 8) - 1,
    HOST_OBSERVE_DEVICES = 1 << 8,         /* apart: only passthrough needs it */
    HOST_OBSERVE_DEVICE_NAMES = 1 << 9,    /* vendors' and products' names of the devices observed */
    HOST_OBSERVE_RULESET = 1 << 10,        /* every firewall chain that is not vmwire's */
    HOST_OBSERVE_DEVICE_SYSCTLS = 1 << 11, /* of those `wanted`: what their interfaces would lose */
    HOST_OBSERVE_HEALTH = 1 << 12,  /* counters, tables, sockets: model/health.h; needs links, services */
    HOST_OBSERVE_SHARING = 1 << 13, /* can this host do `mac: shared`? */
    HOST_OBSERVE_RATING = 1 << 14,  /* and `rate`? */
    HOST_OBSERVE_TAGGING = 1 << 15, /* can it do `vlan`?  And all bridges' ports; needs links */
    HOST_OBSERVE_LOCKING = 1 << 16, /* can this host do `lock`? */
};

/* A nic to be opened: a tap that lives as long as its descriptors. */
struct nic_request {
    const char *network;
    const char *bridge;
    const char *machine; /* "-" for `exec` */
    unsigned index;
    struct mac mac;   /* the guest's, for the tag and the duplicate check; the tap's own MAC is another */
    bool mac_unknown; /* the program may take another: the nic is not locked to this one */
    struct ip address, address6; /* that the guest has without a lease; unset: none */
    unsigned queues;             /* 1 to NIC_QUEUES_MAX */
    bool vnet_header;            /* IFF_VNET_HDR: offloads; the hypervisor must know of it */
    bool vhost;         /* open /dev/vhost-net as well, one descriptor a queue, when the host has it */
    struct rates rates; /* its own; the network's are added */
    unsigned vlan;      /* that it is in, of a bridge that filters VLANs; 0: that of untagged frames */
    bool guest;         /* for a guest without a hypervisor (host/guest.h); one queue, no virtio header */
};

/* What its tag says. */
static inline struct wired_nic nic_request_wired(const struct nic_request *request)
{
    return (struct wired_nic){.network = request->network,
                              .machine = request->machine,
                              .index = request->index,
                              .mac = request->mac,
                              .mac_any = request->mac_unknown,
                              .address = request->machine[0] == '-' ? request->address : (struct ip){0},
                              .address6 = request->machine[0] == '-' ? request->address6 : (struct ip){0}};
}

struct nic_open {
    char tap[NAME_MAX_LENGTH + 1];
    int fds[NIC_QUEUES_MAX];       /* -1 beyond `queues`; close-on-exec */
    int vhost_fds[NIC_QUEUES_MAX]; /* -1 where there is no vhost */
    unsigned queues;
    uint32_t mtu; /* bytes */
    int lock_fd;  /* where the tap does not go with a descriptor: what it lives by, inherited like one; -1:
                     none */
};

/* A process that listens on a port. */
struct listener {
    pid_t pid;           /* 0: not known */
    const char *program; /* its name; "" when not known */
    struct ip address;   /* where it listens; the unspecified address for every one */
    uint16_t port;
};

struct listeners {
    VEC(struct listener) list;
};

struct process_look {
    bool stopped;  /* by SIGSTOP or a debugger */
    int64_t age_s; /* since it was started */
};

/* A packet whose way is asked for, without sending it. */
struct route_question {
    const char *in;   /* it comes in here; "": it is the host's own */
    struct ip source; /* unset: the host's own */
    struct ip target;
};

struct route_answer {
    int refused;  /* 0: it would be routed; -EXDEV and -EINVAL the reverse path filter, -EHOSTUNREACH,
                     -ENETUNREACH  no route, or no forwarding, -EACCES prohibited, … */
    uint8_t type; /* RTN_*: 1 unicast, 2 local */
    char ifname[NAME_MAX_LENGTH + 1]; /* by which it would leave */
    struct ip gateway;                /* unset: on the link */
};

/* The table that a backend fills.  Every function returns 0 or a negative errno with `err` set. */
struct host_backend {
    const char *name; /* "linux", "freebsd" */
    const char *run_dir;
    bool bhyve; /* machines run on bhyve, not on QEMU */
    void (*close)(struct host *host);
    /* Fill the parts of `observed` that `what` (enum host_observe_flags) asks for. */
    int (*observe)(struct host *host, struct arena *arena, unsigned what, struct observed *observed,
                   struct err *err);
    int (*apply)(struct host *host, const struct op *op, unsigned flags, struct err *err);
    /* Several operations, none of which needs another (host_batch): at once, so that their waits overlap, or
     * as one transaction.  `failed` gets the index of the first that failed, which err is about.  With
     * HOST_APPLY_TOLERANT all are tried; else some may have been done by then, and others not. */
    int (*apply_many)(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                      size_t *failed, struct err *err);
    /* One bridge, without a dump: -ENODEV when it is not there, -EEXIST when it is there and not vmwire's for
     * this network.  `link` is filled on success. */
    int (*bridge_get)(struct host *host, struct arena *arena, const char *network, struct link *link,
                      struct err *err);
    /* Make a tap, tag it, give it the bridge's MTU, make it a port, set it up.  Nothing stays behind on
     * failure. -EADDRINUSE when the MAC was seen on another port of the bridge. */
    int (*nic_open)(struct host *host, const struct nic_request *request, struct nic_open *nic,
                    struct err *err);
    /* Take away a tap that nic_open made and that does not go with its descriptors, once the caller has
     * closed its own; it stays as long as another process has nic->lock_fd.  NULL where all go with their
     * descriptors. */
    int (*nic_close)(struct host *host, const char *tap, struct err *err);
    /* Take away the taps of nics whose programs have ended without; NULL where there are none. */
    int (*nics_settle)(struct host *host, struct err *err);
    /* Can the hypervisor use hardware virtualisation here?  `why_not` (may be NULL) gets a sentence when not.
     */
    bool (*accelerated)(struct host *host, struct arena *arena, const char **why_not);
    /* Stable identity of this installation (/etc/machine-id), "" when it has none. */
    const char *(*identity)(struct host *host, struct arena *arena);
    /* The absolute path of the running vmwire, in the arena; "vmwire" when it cannot be told. */
    const char *(*program)(struct host *host, struct arena *arena);
    /* The unprivileged user that dnsmasq becomes; NULL: it stays who it is. */
    const char *(*service_user)(struct host *host);
    /* And the group; NULL likewise. */
    const char *(*service_group)(struct host *host, struct arena *arena);
    /* Who listens on this port (protocol IPPROTO_UDP or IPPROTO_TCP) at this address or every one?
     * -ENOENT when nobody does. */
    int (*listener_find)(struct host *host, struct arena *arena, int protocol, const struct ip *address,
                         uint16_t port, struct listener *listener, struct err *err);
    /* Every port of this protocol that is listened on, in one look; pid and program only where that costs
     * nothing. */
    int (*listeners_list)(struct host *host, struct arena *arena, int protocol, struct listeners *listeners,
                          struct err *err);
    /* The address and route that a DHCP client won for `ifname`: replaces those that it won before. `gateway`
     * unset: no default route.  Lifetime in seconds.  `prefix` unset: take them away. */
    int (*lease_apply)(struct host *host, const char *ifname, const struct prefix *prefix,
                       const struct ip *gateway, uint32_t lifetime_s, struct err *err);
    /* What passed an interface since it is there; NULL where this host cannot tell. */
    int (*traffic_get)(struct host *host, const char *ifname, struct traffic *traffic, struct err *err);
    /* How the firewall's chains judge a nic's packets (host/chain_trace.h); NULL: not told on this host. */
    const struct host_chain_trace *chain_trace;
    /* Who answers this host (host/reach.h)? */
    int (*reach)(struct host *host, const struct reach_request *request, struct err *err);
    /* Asking is over: close what it kept open; NULL where it keeps nothing. */
    void (*reach_end)(struct host *host);
    /* A foreign chain's rule as `nft list` would print it, in the arena; "" when it cannot be told.  NULL
     * where there are no such chains. */
    const char *(*rule_text)(struct host *host, struct arena *arena, const struct rule_chain *chain,
                             const struct rule *rule);
    /* How a process fares; -ESRCH when it is not there.  NULL where this host cannot tell. */
    int (*process_look)(struct host *host, pid_t pid, struct process_look *look);
    /* How many packets the reverse path filter has dropped since boot, -1 when not known; NULL likewise. */
    int64_t (*path_filter_count)(struct host *host);
    /* Fill in whose socket it is; pid stays 0 when nobody's.  Looks through every process.  NULL where this
     * host cannot tell. */
    void (*socket_owner)(struct host *host, struct arena *arena, struct open_socket *socket);
    /* What would be done with a packet; NULL where this host cannot tell. */
    int (*route_ask)(struct host *host, const struct route_question *question, struct route_answer *answer);
    /* Descriptors that become readable when something happens (host/watch.h) to the host or the file at
     * `path`; NULL where this host has no such events. */
    int (*watch_open)(struct host *host, const char *path, int fds[HOST_WATCH_COUNT], struct err *err);
    /* Read all that is there: false when none of it matters.  `author` is changed when somebody did it. */
    bool (*watch_read)(struct host *host, enum host_watch_kind kind, int fd, const char *path,
                       struct host_watch_author *author);
    /* Find out its process, while that lives. */
    void (*watch_author)(struct host *host, struct arena *arena, struct host_watch_author *author);
    /* Guests without a hypervisor (host/guest.h); NULL where this host has none. */
    const struct host_guest *guest;
};

struct host {
    const struct host_backend *backend;
};

/* How many of these operations, from the first on, may be applied at once: at least 1. */
size_t host_batch(const struct op *const ops[], size_t count);
/* Apply what host_batch counted; `failed` as of apply_many. */
int host_apply(struct host *host, const struct op *const ops[], size_t count, unsigned flags, size_t *failed,
               struct err *err);
/* An apply_many that does one after the other. */
int host_apply_each(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                    size_t *failed, struct err *err);

/* The host that this program was built for.  -EPERM when the caller may not change networks here (no
 * CAP_NET_ADMIN) is not checked: observing works without. */
int host_open(struct host **host, struct err *err);
void host_close(struct host **host); /* accepts a pointer to NULL */

#define _cleanup_host_ __attribute__((cleanup(host_close)))

#endif
