/* topology.c: what the lab consists of, and the building of it; behind topology.h.
 *
 *      practice host                namespace `router`                    namespace `internet`
 *   +-----------------+    +----------------------------------+    +----------------------------+
 *   | re0  .44  up    |----| port0 \                          |    |                            |
 *   |                 |    |        lan .1 -- masquerade- wan |----| isp      8.8.8.8 on lo:    |
 *   | re1  down, bare |----| port1 /   DHCP .40-.99, DNS      |    |          ping, DNS, HTTP   |
 *   +-----------------+    +----------------------------------+    +----------------------------+
 *      192.168.87.0/24                                    198.51.100.0/24
 *
 * The names, the MACs and the addresses are the article's.  The internet has no route back to
 * 192.168.87.0/24, so an answer proves that the router masqueraded.
 *
 * Theory of operation.  Before: the caller's mount and network namespaces are new and empty.
 *  1. Namespaces: `router` and `internet` are made, each held by a bind mount under /run/netns, where `ip
 * netns exec` looks for it.  The caller ends in the namespace in which it began.
 *  2. Files: the servers' configurations lie under LAB_DIRECTORY.
 *  3. Links: the `ip -batch` texts below; veth pairs are made by the practice host and by the internet,
 * their far ends put into the router.
 *  4. Settings, then rules, then servers, each in its namespace.  A server has gone to the background, and
 * answers, when its program returns. Nothing is ever taken down: all of it dies with the namespaces, and
 * those with the lab's first process (lab.c).
 */
#include "lab/topology.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"

enum place { HOST, ROUTER, INTERNET, PLACES };

static const char *const place_names[PLACES] = {"practice host", "router", "internet"};

/* The indexes differ from those of the far ends: a veth whose index equals its peer's looks to the kernel
 * like a device of its own, for which it may take a second to notice a carrier (net/core/link_watch.c,
 * linkwatch_urgent_event). */
static const char host_links[] =
    "link set lo up\n"
    "link add re0 index 100 address 18:a6:f7:01:66:51 type veth peer name port0 netns router\n"
    "link add re1 index 101 address 18:a6:f7:01:66:52 type veth peer name port1 netns router\n"
    "link set re0 up\n"
    "address add 192.168.87.44/24 broadcast 192.168.87.255 dev re0\n"
    "route add default via 192.168.87.1 dev re0\n";

/* Once the cable is in: re1 was up before, as every interface of a booted host was, and has a queue
 * discipline. */
static const char host_settled[] = "link set re1 up\n"
                                   "link set re1 down\n";

static const char internet_links[] = "link set lo up\n"
                                     "link add isp index 102 type veth peer name wan netns router\n"
                                     "link set isp up\n"
                                     "address add 198.51.100.1/24 dev isp\n"
                                     "address add 8.8.8.8/32 dev lo\n"
                                     "address add 203.0.113.80/32 dev lo\n";

static const char router_links[] = "link set lo up\n"
                                   "link add lan address 40:4a:03:76:de:1d type bridge forward_delay 0\n"
                                   "link set port0 master lan up\n"
                                   "link set port1 master lan up\n"
                                   "link set lan up\n"
                                   "link set wan up\n"
                                   "address add 192.168.87.1/24 broadcast 192.168.87.255 dev lan\n"
                                   "address add 198.51.100.2/24 dev wan\n"
                                   "route add default via 198.51.100.1 dev wan\n";

static const char router_rules[] = "table ip home {\n"
                                   "  chain forward {\n"
                                   "    type filter hook forward priority filter; policy drop;\n"
                                   "    iifname \"lan\" oifname \"wan\" accept\n"
                                   "    ct state established,related accept\n"
                                   "  }\n"
                                   "  chain postrouting {\n"
                                   "    type nat hook postrouting priority srcnat;\n"
                                   "    oifname \"wan\" masquerade\n"
                                   "  }\n"
                                   "}\n";

/* The article's office switch.  A set of one element takes the first MAC that a port sees; adding a second
 * one to the full set ends that rule without a verdict, and the frame falls through to the counter. */
static const char single_mac_rules[] = "table bridge switch {\n"
                                       "  set mac0 { type ether_addr; size 1; flags dynamic; }\n"
                                       "  set mac1 { type ether_addr; size 1; flags dynamic; }\n"
                                       "  counter dropped0 { }\n"
                                       "  counter dropped1 { }\n"
                                       "  chain port0 {\n"
                                       "    ether saddr @mac0 accept\n"
                                       "    add @mac0 { ether saddr } accept\n"
                                       "    counter name dropped0 drop\n"
                                       "  }\n"
                                       "  chain port1 {\n"
                                       "    ether saddr @mac1 accept\n"
                                       "    add @mac1 { ether saddr } accept\n"
                                       "    counter name dropped1 drop\n"
                                       "  }\n"
                                       "  chain prerouting {\n"
                                       "    type filter hook prerouting priority -300;\n"
                                       "    iifname vmap { \"port0\" : jump port0, \"port1\" : jump port1 }\n"
                                       "  }\n"
                                       "}\n";

/* re1's MAC gets the address that the article's bridge got; re0's is reserved for its fixed one. */
static const char router_dnsmasq[] = "user=root\n"
                                     "interface=lan\n"
                                     "bind-interfaces\n"
                                     "no-resolv\n"
                                     "no-hosts\n"
                                     "server=8.8.8.8\n"
                                     "dhcp-range=192.168.87.40,192.168.87.99,1h\n"
                                     "dhcp-host=18:a6:f7:01:66:51,192.168.87.44\n"
                                     "dhcp-host=18:a6:f7:01:66:52,192.168.87.46\n"
                                     "dhcp-authoritative\n"
                                     "no-ping\n"
                                     "dhcp-leasefile=" LAB_DIRECTORY "/router/leases\n"
                                     "pid-file=" LAB_DIRECTORY "/router/dnsmasq.pid\n"
                                     "log-facility=" LAB_DIRECTORY "/router/dnsmasq.log\n";

static const char internet_dnsmasq[] = "user=root\n"
                                       "listen-address=8.8.8.8\n"
                                       "bind-interfaces\n"
                                       "no-resolv\n"
                                       "no-hosts\n"
                                       "host-record=dns.google,8.8.8.8\n"
                                       "local=/#/\n"
                                       "address=/#/203.0.113.80\n"
                                       "pid-file=" LAB_DIRECTORY "/internet/dnsmasq.pid\n"
                                       "log-facility=" LAB_DIRECTORY "/internet/dnsmasq.log\n";

static const struct {
    const char *path, *text;
} files[] = {
    {LAB_DIRECTORY "/router/dnsmasq.conf", router_dnsmasq},
    {LAB_DIRECTORY "/internet/dnsmasq.conf", internet_dnsmasq},
    {LAB_DIRECTORY "/internet/www/index.html", "the internet of the lab answers\n"},
};

/* A missing optional file is a kernel without that feature. */
static const struct {
    enum place place;
    const char *path, *value;
    bool optional;
} settings[] = {
    {ROUTER, "/proc/sys/net/ipv4/ip_forward", "1\n", false},
    /* A switch does not show its frames to the router's IP rules. */
    {ROUTER, "/proc/sys/net/bridge/bridge-nf-call-iptables", "0\n", true},
    {ROUTER, "/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0\n", true},
    {ROUTER, "/proc/sys/net/bridge/bridge-nf-call-arptables", "0\n", true},
};

static const struct step {
    enum place place;
    bool single_mac; /* only with --single-mac */
    const char *argv[8], *input;
} steps[] = {
    {HOST, false, {"ip", "-batch", "-"}, host_links},
    {INTERNET, false, {"ip", "-batch", "-"}, internet_links},
    {ROUTER, true, {"nft", "-f", "-"}, single_mac_rules},
    {ROUTER, false, {"ip", "-batch", "-"}, router_links},
    {HOST, false, {"ip", "-batch", "-"}, host_settled},
    {ROUTER, false, {"nft", "-f", "-"}, router_rules},
    {ROUTER, false, {"dnsmasq", "--conf-file=" LAB_DIRECTORY "/router/dnsmasq.conf"}, NULL},
    {INTERNET, false, {"dnsmasq", "--conf-file=" LAB_DIRECTORY "/internet/dnsmasq.conf"}, NULL},
    {INTERNET, false, {"busybox", "httpd", "-p", "80", "-h", LAB_DIRECTORY "/internet/www"}, NULL},
};

struct world {
    int namespace_fds[PLACES];
};

static void world_close(struct world *world)
{
    for (int place = 0; place < PLACES; place++)
        fd_close(&world->namespace_fds[place]);
}

static int namespace_open(struct world *world, enum place place, struct err *err)
{
    world->namespace_fds[place] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (world->namespace_fds[place] < 0)
        return err_errno(err, errno, "opening the network namespace of the %s", place_names[place]);
    return 0;
}

static int namespace_enter(const struct world *world, enum place place, struct err *err)
{
    if (setns(world->namespace_fds[place], CLONE_NEWNET) < 0)
        return err_errno(err, errno, "entering the network namespace of the %s", place_names[place]);
    return 0;
}

/* Leaves the caller in the new namespace. */
static int namespace_make(struct world *world, enum place place, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/run/netns/%s", place_names[place]);
    int rc = file_write_atomic(path, "", 0, 0444, err);
    if (rc < 0)
        return rc;
    if (unshare(CLONE_NEWNET) < 0)
        return err_errno(err, errno, "making network namespace '%s'", place_names[place]);
    if (mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL) < 0)
        return err_errno(err, errno, "naming network namespace '%s' by '%s'", place_names[place], path);
    return namespace_open(world, place, err);
}

static int namespaces_make(struct world *world, struct err *err)
{
    int rc = namespace_open(world, HOST, err);
    for (enum place place = ROUTER; rc == 0 && place < PLACES; place++)
        rc = namespace_make(world, place, err);
    return rc < 0 ? rc : namespace_enter(world, HOST, err);
}

static int files_write(struct err *err)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        int rc = file_write_atomic(files[i].path, files[i].text, strlen(files[i].text), 0644, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int settings_write(const struct world *world, struct err *err)
{
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        int rc = namespace_enter(world, settings[i].place, err);
        if (rc < 0)
            return rc;
        _cleanup_fd_ int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT && settings[i].optional)
            continue;
        if (fd < 0)
            return err_errno(err, errno, "opening '%s'", settings[i].path);
        rc = fd_write_all(fd, settings[i].value, strlen(settings[i].value));
        if (rc < 0)
            return err_errno(err, rc, "writing '%s'", settings[i].path);
    }
    return namespace_enter(world, HOST, err);
}

static int step_run(const struct world *world, const struct step *step, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct spawn spawn = {.argv = step->argv, .input = step->input, .timeout_ms = 20000, .arena = &arena};
    int rc = namespace_enter(world, step->place, err);
    if (rc == 0)
        rc = spawn_check(&spawn, err);
    return rc < 0 ? err_wrap(err, "%s", place_names[step->place]) : 0;
}

int topology_build(bool single_mac, struct err *err)
{
    __attribute__((cleanup(world_close))) struct world world = {.namespace_fds = {-1, -1, -1}};
    int rc = namespaces_make(&world, err);
    if (rc == 0)
        rc = files_write(err);
    if (rc == 0)
        rc = settings_write(&world, err);
    for (size_t i = 0; rc == 0 && i < sizeof(steps) / sizeof(*steps); i++)
        if (single_mac || !steps[i].single_mac)
            rc = step_run(&world, &steps[i], err);
    if (rc == 0)
        rc = namespace_enter(&world, HOST, err);
    return rc;
}
