/* profile.c: the table of operating systems: profile.h. */
#include "host/profile.h"

#include <string.h>

#include "host/freebsd/freebsd.h"
#include "host/linux/text.h"

enum { CLASS_ETHERNET = 0x020000 };

static void want_sysctl(struct arena *arena, struct observed *observed, const char *name, bool ipv6,
                        bool own_ra)
{
    *vec_push(arena, &observed->forwarding) =
        (struct forwarding_sysctl){.name = name, .now = "0", .wanted = "1", .ipv6 = ipv6, .own_ra = own_ra};
}

static void linux_fresh(struct arena *arena, struct observed *observed)
{
    want_sysctl(arena, observed, "net.ipv4.ip_forward", false, false);
    want_sysctl(arena, observed, "net.ipv6.conf.all.forwarding", true, false);
}

static void freebsd_fresh(struct arena *arena, struct observed *observed)
{
    want_sysctl(arena, observed, "net.inet.ip.forwarding", false, false);
    want_sysctl(arena, observed, "net.inet6.ip6.rfc6204w3", true, true);
    want_sysctl(arena, observed, "net.inet6.ip6.forwarding", true, false);
    freebsd_main_judge(arena, NULL, NULL, NULL, &observed->firewall_main);
    observed->firewall_base = observed->lock_base = true;
    freebsd_rates_judge(arena, NULL, observed);
    freebsd_lock_sysctls(arena, observed);
}

static const struct host_profile profiles[] = {
    {
        .name = "linux",
        .system = "Linux",
        .run_dir = LINUX_RUN_DIR,
        .config_path = "/etc/vmwire/vmwire.yaml",
        .program = "/usr/sbin/vmwire",
        .service_user = "dnsmasq",
        .service_group = "nogroup",
        .install = "Debian: apt install",
        .loopback = "lo",
        .render = linux_render,
        .fresh = linux_fresh,
    },
    {
        .name = "freebsd",
        .system = "FreeBSD",
        .run_dir = FREEBSD_RUN_DIR,
        .config_path = "/usr/local/etc/vmwire/vmwire.yaml",
        .program = "/usr/local/sbin/vmwire",
        .service_user = "nobody",
        .service_group = "nobody",
        .install = "FreeBSD: pkg install",
        .loopback = "lo0",
        .dhclient = true,
        .traits = {.no_link_fields =
                       LINK_STP | LINK_FORWARD_DELAY | LINK_IPV6 | LINK_ACCEPT_RA | LINK_FILTERS_VLANS,
                   .bare_ports = true,
                   .leases_stay = true,
                   .nat_names_uplink = true,
                   .loopback_closed = true,
                   .fixed_nics = true,
                   .equal_mtus = true,
                   .rules_in_turn = true,
                   .locks_by_nic = true,
                   .passthrough_driver = "ppt",
                   .no_shared_mac = true,
                   .routed_rates = true,
                   .rate_max = FREEBSD_RATE_MAX,
                   .shapers_max = FREEBSD_SHAPERS_MAX,
                   .ra_for_all = true,
                   .ports_take_tags = true,
                   .no_port_vlans = true,
                   .stable_macs = true},
        .render = freebsd_render,
        .fresh = freebsd_fresh,
    },
};

const struct host_profile *host_profile_find(const char *name)
{
    for (size_t i = 0; i < sizeof(profiles) / sizeof(*profiles); i++) {
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    }
    return NULL;
}

/* The card that a passthrough network names.  Where an interface stands for it nobody knows its address, and
 * none is needed as long as `up` leaves it alone. */
static void fresh_device(struct arena *arena, const struct network *network, struct observed *observed)
{
    const struct device_ref *ref = &network->device;
    bool named = ref->kind == DEVICE_INTERFACE;
    if (network->mode != NETWORK_PASSTHROUGH || ref->kind == DEVICE_FUNCTION || (named && network->bind_up))
        return;
    *vec_push(arena, &observed->devices) =
        (struct device){.address = named ? arena_printf(arena, "ffff:ff:%02zx.0", observed->devices.count)
                                         : arena_printf(arena, "%04x:%02x:%02x.%x", ref->domain, ref->bus,
                                                        ref->slot, ref->function),
                        .class = CLASS_ETHERNET,
                        .network = true,
                        .driver = "",
                        .ifname = named ? ref->text : "",
                        .numa_node = -1,
                        .group = (int)observed->devices.count,
                        .parent = ""};
    observed->iommu = observed->iommu_remaps = observed->vfio = true;
}

void host_profile_fresh(const struct host_profile *profile, struct arena *arena, const struct model *model,
                        struct observed *observed)
{
    *observed = (struct observed){.run_dir = profile->run_dir, .traits = profile->traits};
    vec_foreach (&model->networks, network) {
        fresh_device(arena, network, observed);
        if (!network->uplink || link_find(observed, network->uplink))
            continue;
        *vec_push(arena, &observed->links) = (struct link){
            .name = network->uplink,
            .kind = "",
            .alias = "",
            .master = "",
            .mtu = network->mtu && network->mode == NETWORK_BRIDGED ? network->mtu : MTU_DEFAULT,
            .up = network->mode != NETWORK_BRIDGED,
            .carrier = true,
            .index = (int)observed->links.count + 1};
    }
    profile->fresh(arena, observed);
}
