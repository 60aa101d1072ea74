/* observe.c: what this FreeBSD host has, by its own programs and the parsers of parse_*.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/freebsd/system.h"
#include "host/profile.h"

enum { LEASES_SIZE_MAX = 1 << 20, PROTOCOL_DHCP = 16, TABLE_MAIN = 254 };

int freebsd_link_get(struct arena *arena, const char *name, struct observed *observed, struct err *err)
{
    struct freebsd_answer answer;
    struct freebsd_command command = FREEBSD_COMMAND(arena, "ifconfig", "-f", "inet:cidr", name);
    int rc = freebsd_run(arena, &command, &answer, err);
    if (rc < 0)
        return rc;
    if (answer.status != 0 && strstr(answer.errors, "does not exist"))
        return err_set(err, ENODEV, "interface '%s' does not exist", name);
    if (answer.status != 0)
        return err_set(err, EIO, "ifconfig '%s': %.*s", name, (int)strcspn(answer.errors, "\n"),
                       answer.errors);
    freebsd_ifconfig_parse(arena, answer.output, observed, NULL);
    return link_find(observed, name) ? 0 : err_set(err, EIO, "ifconfig '%s' printed nothing about it", name);
}

static int links_observe(struct arena *arena, unsigned what, struct observed *observed, struct err *err)
{
    struct freebsd_answer answer;
    struct observed seen = {0};
    int rc = FREEBSD_ASK(arena, &answer, err, "ifconfig", "-a", "-f", "inet:cidr");
    if (rc < 0)
        return err_wrap(err, "reading the interfaces");
    freebsd_ifconfig_parse(arena, answer.output, &seen, NULL);
    memcpy(&observed->links, &seen.links, sizeof(seen.links));
    if (what & HOST_OBSERVE_ADDRESSES)
        memcpy(&observed->addresses, &seen.addresses, sizeof(seen.addresses));
    return 0;
}

static int routes_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    static const struct {
        const char *name;
        int family;
    } families[] = {{"inet", AF_INET}, {"inet6", AF_INET6}};
    observed->routes.count = 0;
    for (size_t i = 0; i < 2; i++) {
        struct freebsd_answer answer;
        int rc = FREEBSD_ASK(arena, &answer, err, "netstat", "-rnW", "-f", families[i].name);
        if (rc < 0)
            return err_wrap(err, "reading the routes");
        freebsd_routes_parse(arena, answer.output, families[i].family, observed);
    }
    return 0;
}

static int neighbours_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    struct freebsd_answer answer;
    observed->neighbours.count = 0;
    int rc = FREEBSD_ASK(arena, &answer, err, "arp", "-an");
    if (rc == 0)
        freebsd_arp_parse(arena, answer.output, observed);
    if (rc == 0 && FREEBSD_ASK(arena, &answer, NULL, "ndp", "-an") == 0) /* a kernel without IPv6 has none */
        freebsd_ndp_parse(arena, answer.output, observed);
    return rc < 0 ? err_wrap(err, "reading the neighbours") : 0;
}

/* rfc6204w3 has a host that forwards keep the default route of router advertisements (inet6(4)); which
 * interfaces take them at all is ifconfig(8)'s accept_rtadv, and stays. */
static int forwarding_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    static const struct forwarding_sysctl all[] = {
        {.name = "net.inet.ip.forwarding"},
        {.name = "net.inet6.ip6.rfc6204w3", .ipv6 = true, .own_ra = true},
        {.name = "net.inet6.ip6.forwarding", .ipv6 = true}};
    observed->forwarding.count = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct freebsd_answer answer;
        int rc = FREEBSD_ASK(arena, &answer, err, "sysctl", all[i].name);
        const char *now = rc == 0 ? freebsd_sysctl_parse(arena, answer.output, all[i].name) : NULL;
        if (!now && all[i].ipv6) { /* a kernel without INET6 has none of them */
            observed->ipv6_refusal = "this kernel has no IPv6 (options INET6)";
            return 0;
        }
        if (rc == 0 && !now)
            rc = err_set(err, EIO, "sysctl said nothing about %s", all[i].name);
        if (rc < 0)
            return err_wrap(err, "reading whether this host forwards");
        struct forwarding_sysctl *sysctl = vec_push(arena, &observed->forwarding);
        *sysctl = all[i];
        sysctl->now = now;
        sysctl->wanted = "1";
    }
    return 0;
}

/* One part of the main ruleset, or of an anchor's.  An anchor that is not there: "", and status 0. */
static int rules_get(struct arena *arena, const char *anchor, const char *part, const char **text,
                     struct err *err)
{
    struct freebsd_answer answer;
    int rc = anchor ? FREEBSD_ASK(arena, &answer, err, "pfctl", "-a", anchor, "-s", part)
                    : FREEBSD_ASK(arena, &answer, err, "pfctl", "-s", part);
    *text = answer.output;
    return rc;
}

static int anchor_observe(struct arena *arena, const char *network, struct observed *observed,
                          struct err *err)
{
    const char *nat, *rules, *anchor = freebsd_anchor(arena, network);
    struct firewall firewall;
    int rc = rules_get(arena, anchor, "nat", &nat, err);
    if (rc == 0)
        rc = rules_get(arena, anchor, "rules", &rules, err);
    if (rc < 0)
        return rc;
    *vec_push(arena, &observed->firewall_traces) = network;
    if (freebsd_anchor_parse(arena, network, nat, rules, &firewall))
        *vec_push(arena, &observed->firewalls) = firewall;
    return 0;
}

static int firewall_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    struct freebsd_answer answer;
    const char *nat = NULL, *rules = NULL;
    struct freebsd_names networks = {0};
    observed->firewall_base = true; /* an anchor is whole by itself */
    observed->firewalls.count = observed->firewall_traces.count = 0;
    struct freebsd_command info = FREEBSD_COMMAND(arena, "pfctl", "-s", "info");
    int rc = freebsd_run(arena, &info, &answer, err);
    if (rc < 0)
        return rc;
    if (answer.status != 0 && strstr(answer.errors, "/dev/pf: No such file or directory")) {
        freebsd_main_judge(arena, NULL, NULL, NULL, &observed->firewall_main);
        return 0;
    }
    if (answer.status != 0)
        return err_set(err, EACCES, "reading pf's rules needs root: %.*s", (int)strcspn(answer.errors, "\n"),
                       answer.errors);
    rc = rules_get(arena, NULL, "nat", &nat, err);
    if (rc == 0)
        rc = rules_get(arena, NULL, "rules", &rules, err);
    if (rc < 0)
        return rc;
    freebsd_main_judge(arena, answer.output, nat, rules, &observed->firewall_main);
    /* "DIOCGETRULESETS: No such file or directory", status 1: no anchor of ours */
    struct freebsd_command list = FREEBSD_COMMAND(arena, "pfctl", "-a", "vmwire", "-s", "Anchors");
    rc = freebsd_run(arena, &list, &answer, err);
    if (rc == 0 && answer.status == 0)
        freebsd_anchors_parse(arena, answer.output, &networks);
    for (size_t i = 0; rc == 0 && i < networks.list.count; i++)
        rc = anchor_observe(arena, networks.list.items[i], observed, err);
    return rc;
}

/* What dhclient won has no end here: it is told by its lease file, so that it is not taken for the
 * administrator's. */
static void leases_mark(struct arena *arena, struct observed *observed)
{
    vec_foreach (&observed->services, service) {
        char *text;
        struct guest_lease lease;
        const char *path =
            arena_printf(arena, "%s/network/%s/dhclient.leases", observed->run_dir, service->network);
        if (strcmp(service->kind, "dhcp-client") != 0 ||
            file_read(arena, AT_FDCWD, path, LEASES_SIZE_MAX, &text, NULL, NULL) < 0 ||
            !freebsd_lease_parse(text, service->network, &lease))
            continue;
        vec_foreach (&observed->addresses, address) {
            if (strcmp(address->ifname, service->network) == 0 &&
                ip_equal(&address->prefix.ip, &lease.address.ip))
                address->valid_s = address->preferred_s = 1;
        }
        vec_foreach (&observed->routes, route) {
            if (strcmp(route->ifname, service->network) == 0 && ip_is_set(&lease.gateway) &&
                ip_equal(&route->gateway, &lease.gateway))
                route->protocol = PROTOCOL_DHCP;
        }
    }
}

/* "dev.vtnet.0.%parent: virtio_pci0": the interface behind a virtio device. */
static void virtio_names(struct arena *arena, struct observed *observed)
{
    struct freebsd_answer answer;
    if (FREEBSD_ASK(arena, &answer, NULL, "pciconf", "-l") < 0)
        return;
    for (unsigned unit = 0; unit < 16; unit++) {
        struct freebsd_answer parent;
        const char *name = arena_printf(arena, "dev.vtnet.%u.%%parent", unit);
        if (FREEBSD_ASK(arena, &parent, NULL, "sysctl", name) < 0)
            return;
        const char *value = freebsd_sysctl_parse(arena, parent.output, name);
        const char *line = value ? strstr(answer.output, arena_printf(arena, "%s@pci", value)) : NULL;
        if (!line)
            continue;
        struct observed one = {0};
        freebsd_pciconf_parse(arena, arena_strndup(arena, line, strcspn(line, "\n")), &one);
        vec_foreach (&observed->devices, device) {
            if (one.devices.count && strcmp(device->address, one.devices.items[0].address) == 0)
                device->ifname = arena_printf(arena, "vtnet%u", unit);
        }
    }
}

static int devices_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    struct freebsd_answer answer;
    int rc = FREEBSD_ASK(arena, &answer, err, "pciconf", "-lv");
    if (rc < 0)
        return err_wrap(err, "reading the PCI devices");
    observed->devices.count = 0;
    freebsd_pciconf_parse(arena, answer.output, observed);
    virtio_names(arena, observed);
    /* vmm alone can tell, and only once it is loaded: bhyve says it when a machine starts. */
    static const char enabled[] = "hw.vmm.iommu.enable";
    const char *value = FREEBSD_ASK(arena, &answer, NULL, "sysctl", enabled) == 0
                            ? freebsd_sysctl_parse(arena, answer.output, enabled)
                            : NULL;
    observed->iommu = !value || strcmp(value, "0") != 0;
    observed->iommu_remaps = observed->vfio = true;
    return 0;
}

int freebsd_observe(struct host *host, struct arena *arena, unsigned what, struct observed *observed,
                    struct err *err)
{
    (void)host;
    int rc = 0;
    observed->run_dir = FREEBSD_RUN_DIR;
    observed->traits = host_profile_find("freebsd")->traits;
    if (what & (HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES))
        rc = links_observe(arena, what, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_ROUTES))
        rc = routes_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_NEIGHBOURS))
        rc = neighbours_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FORWARDING))
        rc = forwarding_observe(arena, observed, err);
    if (what & HOST_OBSERVE_FORWARDING)
        freebsd_lock_sysctls_observe(arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL))
        rc = firewall_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL) && (what & HOST_OBSERVE_LINKS))
        rc = freebsd_locks_observe(arena, what & HOST_OBSERVE_HEALTH, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL) && (what & HOST_OBSERVE_LINKS))
        rc = freebsd_rates_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_RATING))
        freebsd_rates_probe(arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_SERVICES)) {
        rc = services_observe(arena, observed, err);
        leases_mark(arena, observed);
    }
    if (rc == 0 && (what & HOST_OBSERVE_FILES))
        rc = files_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FILES))
        freebsd_lock_files(arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_DEVICES))
        rc = devices_observe(arena, observed, err);
    return rc;
}
