/* linux.h: what the files of the Linux backend share. */
#ifndef VMWIRE_HOST_LINUX_LINUX_H
#define VMWIRE_HOST_LINUX_LINUX_H

#include "host/guest.h"
#include "host/host.h"
#include "host/linux/netlink.h"
#include "host/linux/text.h"
#include "host/shared.h"

struct linux_host {
    struct host host;
    struct netlink route;     /* NETLINK_ROUTE */
    struct netlink netfilter; /* NETLINK_NETFILTER, for reading */
    struct nft_ctx *nft;      /* for writing; made at first use */
    struct nft_seen *seen;    /* nft_seen.c's; NULL at first */
    int neighbours[2];        /* neighbour.c's sockets; -1: not open */
    struct acceleration {
        bool asked, there;
        char why_not[120];
    } acceleration; /* asked once: what was said of a machine is how it runs */
};

/* rtnl_observe.c */
int links_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
int addresses_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                      struct err *err);
int routes_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
/* rtnl_neighbour.c: neighbours entered by hand; observing needs the links. */
int neighbours_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err);
int neighbour_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);
/* One link by name; -ENODEV when it is not there. */
int link_get(struct linux_host *host, struct arena *arena, const char *name, struct link *link,
             struct err *err);

/* traffic_get of host.h. */
int traffic_get(struct host *host, const char *ifname, struct traffic *traffic, struct err *err);

/* rtnl_apply.c: one operation of links, ports, addresses or routes. */
int rtnl_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);
/* link_delete.c: without asking whose it is; OP_LINK_DELETE; several of bridges, as apply_many of host.h. */
int link_delete(struct linux_host *host, const char *name, struct err *err);
int link_delete_owned(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);
int bridges_delete(struct linux_host *host, const struct op *const ops[], size_t count, unsigned flags,
                   size_t *failed, struct err *err);
/* Is it vmwire's bridge, or VLAN, of the operation's network?  0, -ENODEV, or -EPERM. */
int link_owned_check(struct linux_host *host, struct arena *arena, const struct op *op, struct err *err);
/* Out of the group that bridges_delete may have put it in. */
int link_group_reset(struct linux_host *host, const char *name, struct err *err);
/* Ask for no IPv6 address of its own, or for the usual one; nothing on a kernel without IPv6. */
void link_put_ipv6(struct netlink_message *message, bool on);
/* The index of an interface; -ENODEV with the name in err, or 0 where it is not there. */
int link_index(const char *name, struct err *err);
int link_index_or_none(const char *name, struct err *err);

/* sysctl.c.  A setting by sysctl(8)'s name: its text, NULL where the kernel has none of that name. */
int sysctl_read(struct arena *arena, const char *name, const char **value, struct err *err);
/* Does br_netfilter, where it is loaded, hand bridged frames to iptables' (FILTER_IPV6: ip6tables') rules? */
int bridged_observe(struct arena *arena, bool bridged[FILTER_COUNT], struct err *err);
int forwarding_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err);
/* What an interface does with router advertisements (struct link); nothing where the kernel has no IPv6. */
int accept_ra_set(const char *ifname, uint8_t value, struct err *err);
int sysctl_apply(const struct sysctl *sysctl, unsigned flags, struct err *err);
/* Into device->sysctls. */
void interface_sysctls_observe(struct arena *arena, struct device *device);

/* nft.c: writes through libnftables; nft_observe.c: reads through nfnetlink. */
/* Networks' rules and locks, in this order, in one transaction; where that fails, each by itself. */
int nft_apply(struct linux_host *host, const struct op *const ops[], size_t count, unsigned flags,
              size_t *failed, struct err *err);
int nft_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
int nft_open(struct linux_host *host, struct err *err);
void nft_close(struct linux_host *host);
/* health.c */
int health_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
void open_socket_owner(struct host *host, struct arena *arena, struct open_socket *socket);
int64_t path_filter_count(struct host *host);
/* route_ask.c */
int route_ask(struct host *host, const struct route_question *question, struct route_answer *answer);
/* nft_rule_text.c */
const char *nft_rule_text(struct nft_ctx *nft, struct arena *arena, const char *family, const char *table,
                          const char *chain, uint64_t handle);
const char *rule_text(struct host *host, struct arena *arena, const struct rule_chain *chain,
                      const struct rule *rule);
/* nft_shared.c: the table of the networks that share a MAC; nft_shared_observe.c: reads it. */
int nft_shared_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);
int nft_shared_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err);
/* Sets observed->shared_refusal when this kernel cannot do it. */
void nft_shared_probe(struct linux_host *host, struct arena *arena, struct observed *observed);
/* ruleset_observe.c: everybody else's chains */
int ruleset_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
/* nft_seen.c: vmwire's table and its locks', read only when somebody else has changed nftables since.  What
 * is returned stays until the next call. */
int nft_seen_get(struct linux_host *host, const struct observed **observed, struct err *err);
/* How much of its table a change of one network's rules or lock makes anew. */
enum nft_extent {
    NFT_ELEMENTS, /* the network's elements */
    NFT_TABLE,    /* all of it */
    NFT_NO_TABLE, /* there is none behind it */
};
/* After nft_seen_get, of what the next transaction will do; nft_seen_forget where it did not. */
int nft_seen_note(struct linux_host *host, const struct op *op, enum nft_extent extent, struct err *err);
/* After any transaction of vmwire's own. */
void nft_seen_moved(struct linux_host *host);
void nft_seen_forget(struct linux_host *host);
void nft_seen_close(struct linux_host *host);
/* One transaction, as nft(8) text. */
int nft_run(struct linux_host *host, const char *text, struct err *err);
/* nft_read.c */
/* The comment in a rule's or an element's user data; "" none. */
const char *nft_comment(const struct nlattr *userdata, struct arena *arena);
/* admission.c */
int admissions_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err);
int admission_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);
/* firewalld.c: its zones, where it answers. */
void firewalld_observe(struct arena *arena, struct observed *observed);
int zone_apply(const struct op *op, unsigned flags, struct err *err);
/* manager.c: who else configures the links observed. */
int managers_observe(struct arena *arena, struct observed *observed, struct err *err);
int manager_apply(const struct op *op, unsigned flags, struct err *err);
/* nft_trace.c */
extern const struct host_chain_trace nft_chain_trace;
/* device.c: looking; device_apply.c: binding, functions. */
int devices_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
void device_names_observe(struct arena *arena, struct observed *observed); /* device_name.c */
/* module.c: is it loaded, built in, or to be found by modprobe? */
bool module_available(const char *name);
int module_load(const char *name, struct err *err);
int device_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);

/* resolved.c: systemd-resolved; observing needs the links. */
void resolver_observe(struct arena *arena, struct observed *observed);
int resolver_apply(const struct op *op, unsigned flags, struct err *err);

/* proc.c */
int listener_find(struct host *host, struct arena *arena, int protocol, const struct ip *address,
                  uint16_t port, struct listener *listener, struct err *err);
int listeners_list(struct host *host, struct arena *arena, int protocol, struct listeners *listeners,
                   struct err *err);

int process_look(struct host *host, pid_t pid, struct process_look *look);
const char *process_program(struct host *host, struct arena *arena);
const char *process_user(struct host *host);
const char *process_group(struct host *host, struct arena *arena);

/* port.c: what a guest's port may do.  -EOPNOTSUPP where this kernel cannot isolate one. */
int port_rules_set(struct linux_host *host, const char *ifname, const struct port_rules *rules,
                   struct err *err);
/* Of a port, from its IFLA_INFO_SLAVE_DATA. */
struct port_rules port_rules_read(const struct nlattr *slave_data);

/* rate.c: limits of rates.  rates_open: those of a nic that is being wired; -EAGAIN, telling what to run,
 * when its network has nothing to limit it with.  rates_probe sets observed->rate_refusal when this kernel
 * cannot. */
int rate_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err);
int rates_open(struct linux_host *host, const struct nic_request *request, const char *tap, struct err *err);
void rates_probe(struct linux_host *host, struct arena *arena, struct observed *observed);
/* rate_observe.c; needs the links. */
int rates_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
#define VLAN_LACKING "this kernel has no VLANs (CONFIG_VLAN_8021Q, module '8021q')"
/* vlan.c: what the ports of vmwire's own bridges that filter VLANs are in, or of `all` of them; needs the
 * links. */
int port_vlans_observe(struct linux_host *host, struct arena *arena, bool all, struct observed *observed,
                       struct err *err);
/* A guest's port is in this VLAN alone, without tags. */
int port_vlan_set(struct linux_host *host, int index, uint32_t vlan, struct err *err);
/* A port is in one more, with tags (VLAN_UNTAGGED: without), or is not in it any longer. */
int port_vlan_change(struct linux_host *host, int index, uint32_t vlan, bool add, struct err *err);
/* vlan.c: sets observed->vlan_refusal and port_vlan_refusal where this kernel lacks them. */
void vlan_probe(struct linux_host *host, struct observed *observed);

/* nft_lock_observe.c; what health has of it apart; nft_lock.c */
int nft_lock_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                     struct err *err);
int nft_lock_health(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);
/* What lock-set or lock-remove does to the table, as nft's text. */
int nft_lock_change(struct arena *arena, const struct observed *observed, const struct op *op, unsigned flags,
                    struct text *out, enum nft_extent *extent, struct err *err);
/* Says what the kernel lacks where it lacks some of it. */
int nft_lock_lacking(int rc, struct err *err);
int nft_lock_nic_apply(struct linux_host *host, const struct op *op, struct err *err);
/* What a nic may say that it is, instead of what a nic of that tap might before; network NULL: nothing more.
 * Does nothing where there are no locks at all.  `fresh`: the tap is new. */
int nft_lock_nic_set(struct linux_host *host, const struct lock_nic *nic, bool fresh, struct err *err);
/* Of the comment that an element of `nics` has. */
bool nft_lock_nic_parse(struct arena *arena, const char *ifname, const char *comment, struct lock_nic *nic);
/* Sets observed->lock_refusal when this kernel cannot do it. */
int nft_lock_probe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err);

/* tap.c */
int tap_open(struct host *host, const struct nic_request *request, struct nic_open *nic, struct err *err);

/* neighbour.c: reach and reach_end of host.h */
int linux_reach(struct host *host, const struct reach_request *request, struct err *err);
void linux_reach_end(struct host *host);

/* The process that holds a socket, with the name of its program; pid 0: none. */
void socket_owner(struct arena *arena, unsigned long inode, struct listener *listener);

/* watch.c: watch_open, watch_read and watch_author of host.h */
int linux_watch_open(struct host *host, const char *path, int fds[HOST_WATCH_COUNT], struct err *err);
bool linux_watch_read(struct host *host, enum host_watch_kind kind, int fd, const char *path,
                      struct host_watch_author *author);
void linux_watch_author(struct host *host, struct arena *arena, struct host_watch_author *author);

/* guest.c */
extern const struct host_guest linux_guest;
/* guest_act.c: host_guest's of what is called in the guest */
int linux_guest_lease(const char *ifname, const char *program, int timeout_ms, struct guest_lease *lease,
                      struct err *err);
int linux_guest_address_set(const char *ifname, const struct prefix *address, const struct ip *gateway,
                            struct err *err);
int linux_guest_arp_open(const char *ifname);
size_t linux_guest_arp_read(int fd, void *frame, size_t size);
void linux_guest_never_fragment(int fd);

/* lease.c */
int lease_apply(struct host *host, const char *ifname, const struct prefix *prefix, const struct ip *gateway,
                uint32_t lifetime_s, struct err *err);

#endif
