/* freebsd.h: FreeBSD's commands, what they print, and what their failures mean.  Pure, and compiled
 * everywhere: parsed and decided by what a real FreeBSD 12.1 answered (tests/unit/freebsd/). */
#ifndef VMWIRE_HOST_FREEBSD_FREEBSD_H
#define VMWIRE_HOST_FREEBSD_FREEBSD_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "host/guest.h"
#include "host/host.h"
#include "model/state.h"
#include "plan/op.h"

#define FREEBSD_RUN_DIR "/var/run/vmwire"

/* One program that apply runs and render prints. */
struct freebsd_command {
    const char *const *argv; /* argv[0] is an absolute path */
    const char *input;       /* its standard input; NULL: none */
};

struct freebsd_commands {
    VEC(struct freebsd_command) list;
};

/* command.c: what carries an operation out, in order.  None for files, services and what FreeBSD does not
 * have (STP of a bridge as a whole, functions of SR-IOV): apply does or refuses those itself.  Of a service's
 * end, what follows it. */
void freebsd_commands(struct arena *arena, const struct op *op, struct freebsd_commands *commands);
/* One command from words, the last argument NULL; words[0] is a program's name, which becomes its path. */
struct freebsd_command freebsd_command(struct arena *arena, const char *const words[]);
#define FREEBSD_COMMAND(arena, ...) freebsd_command((arena), (const char *const[]){__VA_ARGS__, NULL})

/* What `ifconfig tap create` is followed by: the tag, the bridge's MTU, up, port of the bridge.  The tap
 * keeps its name, because a renamed one has no node in /dev; `link0` keeps it up when bhyve closes it, so
 * that a guest that reboots has its network again. */
void freebsd_nic_commands(struct arena *arena, const char *tap, const struct link *bridge, const char *tag,
                          struct freebsd_commands *commands);

/* The same for the nic of a guest without a hypervisor, `ifconfig epair create`: the first end gets the tag
 * and is the port, the other one the guest's MAC. */
void freebsd_epair_commands(struct arena *arena, const char *epair, const struct link *bridge,
                            const char *tag, const struct mac *mac, struct freebsd_commands *commands);
/* What `ifconfig epair create` printed when it is "epairNa", else NULL; and the other end of such, "epairNb".
 */
const char *freebsd_epair_created(struct arena *arena, const char *output);
const char *freebsd_epair_other(struct arena *arena, const char *name);
/* In the guest's jail, as the only ones: its interface without an address, where no duplicate is looked for;
 * and what a lease gave.  Those of `may_fail` are for a kernel without IPv6. */
void freebsd_guest_up_commands(struct arena *arena, const char *ifname, struct freebsd_commands *may_fail,
                               struct freebsd_commands *commands);
void freebsd_guest_address_commands(struct arena *arena, const char *ifname, const struct prefix *address,
                                    const struct ip *gateway, struct freebsd_commands *commands);
/* The files of the guest's dhclient beside the nic's lock; `name` is either end.  False for what is no epair.
 */
struct freebsd_guest_files {
    const char *config, *leases, *pid;
};
bool freebsd_guest_files(struct arena *arena, const char *name, struct freebsd_guest_files *files);
/* dhclient.conf(5) of the guest: no script, so that dhclient changes neither an interface nor resolv.conf. */
const char *freebsd_guest_dhclient_conf(void);

/* "0000:03:00.0" as devctl(8) writes it, "pci0:3:0:0", and as loader.conf(5) does, "3/0/0"; NULL when it is
 * no PCI address (or, for the latter, not of domain 0). */
const char *freebsd_selector(struct arena *arena, const char *address);
const char *freebsd_pptdevs_word(struct arena *arena, const char *address);
/* The line of /boot/loader.conf that gives a device to ppt at boot, beside those that `now` (kenv pptdevs, ""
 * none) has already. */
const char *freebsd_pptdevs_line(struct arena *arena, const char *now, const char *address);

/* failure.c: what a command's failure means.  Returns 0 when what was wanted is so already (only with
 * HOST_APPLY_TOLERANT, but for pf that is on already), else a negative errno with `err` set.  `output` and
 * `errors` are what the command printed. */
int freebsd_failure(struct arena *arena, const struct op *op, const struct freebsd_command *command,
                    int status, const char *output, const char *errors, unsigned flags, struct err *err);
/* Adds to the failure of giving a device to ppt what gives it at boot; `now` as in freebsd_pptdevs_line. */
void freebsd_pptdevs_advise(struct arena *arena, const char *now, const char *address, struct err *err);
/* `ifconfig bridge create name X` that could not give the name leaves a bridge behind, whose name it printed:
 * that name, or NULL. */
const char *freebsd_leftover(struct arena *arena, const char *output);

/* pf.c */
const char *freebsd_anchor(struct arena *arena, const char *network); /* "vmwire/NET" */
const char *freebsd_anchor_text(struct arena *arena, const struct firewall *firewall);
const char *freebsd_anchor_inside(struct arena *arena, const struct firewall *firewall,
                                  const struct prefix *subnet);
/* The same for a routed or isolated network (pf_way.c); parsing leaves comparing the rules to the caller. */
const char *freebsd_way_text(struct arena *arena, const struct firewall *firewall);
bool freebsd_way_parse(struct arena *arena, const char *network, const char *rules,
                       struct firewall *firewall);
const char *freebsd_main_text(void); /* the minimal main ruleset */
/* `pfctl -s Anchors`: the networks of "  vmwire/NET" lines, with -a vmwire. */
struct freebsd_names {
    VEC(const char *) list;
};
void freebsd_anchors_parse(struct arena *arena, const char *text, struct freebsd_names *networks);
/* What `pfctl -a vmwire/NET -sn` and `-sr` printed: true, and `firewall` filled, when these are all the rules
 * of that network, and no others. */
bool freebsd_anchor_parse(struct arena *arena, const char *network, const char *nat, const char *rules,
                          struct firewall *firewall);
/* From `pfctl -s info`, `-s nat` and `-s rules` of the main ruleset; NULL texts where /dev/pf is missing. */
void freebsd_main_judge(struct arena *arena, const char *info, const char *nat, const char *rules,
                        struct firewall_main *main);

/* rates.c, where the theory is.  Bits in a second that a pipe can have in every release, and how many shapers
 * have numbers. */
#define FREEBSD_RATE_MAX UINT64_C(2147000000)
enum { FREEBSD_SHAPERS_MAX = 2000 };
void freebsd_rate_commands(struct arena *arena, const struct op *op, struct freebsd_commands *commands);
/* The number of a tap's rule and pipe of that way; 0: it cannot have one. */
unsigned freebsd_rate_number(const char *tap, enum rate_way way);
/* What they printed, or did not: */
struct freebsd_rates {
    const char *sysctls; /* FREEBSD_RATE_SYSCTLS: those that are there */
    const char *rules;   /* `ipfw list` */
    const char *pipes;   /* `ipfw -v pipe list` */
};
#define FREEBSD_RATE_SYSCTLS                                                                                 \
    "net.inet.ip.fw.enable", "net.inet.ip.fw.one_pass", "net.link.ether.ipfw",                               \
        "net.inet.ip.dummynet.pipe_byte_limit"
/* Fills shapers, the links' rates, stray_rates, shaping and rate_refusal; `seen` NULL: nothing is loaded. */
void freebsd_rates_judge(struct arena *arena, const struct freebsd_rates *seen, struct observed *observed);
/* failure.c's part of it. */
int freebsd_rate_failure(const struct op *op, const struct freebsd_command *command, const char *words,
                         bool tolerant, struct err *err);

/* lock.c */
/* The sysctls that let pf see guests' packets, with if_bridge's own values. */
void freebsd_lock_sysctls(struct arena *arena, struct observed *observed);
const char *freebsd_lock_anchor(struct arena *arena, const char *tap); /* "vmwire/nic:TAP" */
const char *freebsd_lock_text(struct arena *arena, const struct lock_nic *nic);
/* Adds what holds a nic to it, or lets it go; `fresh`: nobody has sent anything by it yet. */
void freebsd_lock_commands(struct arena *arena, const struct lock_nic *nic, bool set, bool fresh,
                           struct freebsd_commands *commands);
/* The taps of "  vmwire/nic:TAP" lines, as freebsd_anchors_parse. */
void freebsd_lock_anchors_parse(struct arena *arena, const char *text, struct freebsd_names *taps);
/* What `pfctl -a vmwire/nic:TAP -s rules` printed: true when these are all the rules of such a nic, and no
 * others.  `nic` has its network also when it is false, "" when nothing tells it. */
bool freebsd_lock_parse(struct arena *arena, const char *tap, const char *rules, struct lock_nic *nic);
/* The same of `-vsr`, with counters; false: it has no rules. */
bool freebsd_lock_drops_parse(struct arena *arena, const char *tap, const char *rules,
                              struct lock_drops *drops);
/* `ifconfig BRIDGE addr`: is the MAC a static entry of that port?  `ifconfig BRIDGE`: how many MACs the port
 * may have; 0: any number. */
bool freebsd_lock_static(const char *addresses, const char *tap, const struct mac *mac);
unsigned freebsd_lock_limit(struct arena *arena, const char *bridge, const char *tap);

/* parse_ifconfig.c: `ifconfig -a -f inet:cidr`, links and addresses.  `openers` (may be NULL) gets the
 * interfaces that a process has open ("Opened by PID").  Interfaces of unknown forms are kept, with what is
 * known. */
void freebsd_ifconfig_parse(struct arena *arena, const char *text, struct observed *observed,
                            struct freebsd_names *openers);
/* `ifconfig BRIDGE addr`: the port behind which a MAC was seen, or NULL. */
const char *freebsd_port_of_mac(struct arena *arena, const char *text, const struct mac *mac);
/* The word that `ifconfig tap create` printed when it is the prefix and a number, else NULL. */
const char *freebsd_created(struct arena *arena, const char *output, const char *prefix);

/* parse_route.c: `netstat -rnW -f inet` and `-f inet6`.  Routes of the kernel's own (loopback, own addresses)
 * are left out, those to a connected prefix have protocol 2. */
void freebsd_routes_parse(struct arena *arena, const char *text, int family, struct observed *observed);

/* parse_neighbour.c: `arp -an` and `ndp -an`: the permanent and published entries but those of the host's own
 * addresses, which `observed` has. */
void freebsd_arp_parse(struct arena *arena, const char *text, struct observed *observed);
void freebsd_ndp_parse(struct arena *arena, const char *text, struct observed *observed);

/* parse_misc.c */
/* `sysctl NAME…`: the value of "NAME: VALUE" in the arena, or NULL. */
const char *freebsd_sysctl_parse(struct arena *arena, const char *text, const char *name);
/* `pgrep -lf dhclient`: the process that has the lease of an interface, not its privileged half; 0 none. */
pid_t freebsd_dhclient_parse(const char *text, const char *ifname);
/* A file of dhclient.leases(5): the last whole lease of an interface. */
bool freebsd_lease_parse(const char *text, const char *ifname, struct guest_lease *lease);
/* `sockstat -46l -P udp`: who listens where. */
void freebsd_sockstat_list(struct arena *arena, const char *text, struct listeners *listeners);
/* `sockstat -46l -P udp -p 67`: who listens. */
bool freebsd_sockstat_parse(struct arena *arena, const char *text, const struct ip *address, uint16_t port,
                            struct listener *listener);
/* `pciconf -lv`: every PCI device.  `ifname` is the device's name as it stands, "" for ppt, none and virtio.
 */
void freebsd_pciconf_parse(struct arena *arena, const char *text, struct observed *observed);

#endif
