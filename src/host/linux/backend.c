/* backend.c: the Linux host behind host.h: which file answers what. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/fd.h"
#include "host/linux/linux.h"

static void linux_close(struct host *base)
{
    struct linux_host *host = (struct linux_host *)base;
    netlink_close(&host->route);
    netlink_close(&host->netfilter);
    linux_reach_end(base);
    nft_close(host);
    nft_seen_close(host);
    free(host);
}

static int linux_observe(struct host *base, struct arena *arena, unsigned what, struct observed *observed,
                         struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    int rc = 0;
    observed->run_dir = LINUX_RUN_DIR;
    /* Addresses and routes name their interfaces, so links come first. */
    if (what & (HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES | HOST_OBSERVE_ROUTES | HOST_OBSERVE_FORWARDING))
        rc = links_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_LINKS))
        rc = rates_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_LINKS))
        rc = port_vlans_observe(host, arena, false, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_ADDRESSES))
        rc = addresses_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_ROUTES))
        rc = routes_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_NEIGHBOURS))
        rc = neighbours_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FORWARDING))
        rc = forwarding_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL))
        rc = nft_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL))
        rc = nft_lock_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL))
        rc = nft_shared_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_SHARING))
        nft_shared_probe(host, arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_RATING))
        rates_probe(host, arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_TAGGING))
        vlan_probe(host, observed);
    if (rc == 0 && (what & HOST_OBSERVE_TAGGING))
        rc = port_vlans_observe(host, arena, true, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_LOCKING))
        rc = nft_lock_probe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_RULESET))
        rc = ruleset_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FIREWALL))
        rc = admissions_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_SERVICES) && (what & HOST_OBSERVE_LINKS))
        resolver_observe(arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_SERVICES))
        rc = services_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_HEALTH))
        rc = health_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_HEALTH))
        rc = nft_lock_health(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_SERVICES))
        rc = managers_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_FILES))
        rc = files_observe(arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_DEVICES))
        rc = devices_observe(host, arena, observed, err);
    if (rc == 0 && (what & HOST_OBSERVE_DEVICE_NAMES))
        device_names_observe(arena, observed);
    if (rc == 0 && (what & HOST_OBSERVE_DEVICE_SYSCTLS)) {
        vec_foreach (&observed->devices, device) {
            if (device->wanted && *device->ifname)
                interface_sysctls_observe(arena, device);
        }
    }
    return rc;
}

static int dispatch(struct host *base, const struct op *op, unsigned flags, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    switch (op->kind) {
    case OP_SYSCTL_SET:
        return sysctl_apply(&op->sysctl, flags, err);
    case OP_NEIGHBOUR_ADD:
    case OP_NEIGHBOUR_REMOVE:
        return neighbour_apply(host, op, flags, err);
    case OP_FIREWALL_SET:
    case OP_FIREWALL_REMOVE:
    case OP_LOCK_SET:
    case OP_LOCK_REMOVE:
        return nft_apply(host, &op, 1, flags, &(size_t){0}, err);
    case OP_ADMISSION_ADD:
    case OP_ADMISSION_REMOVE:
        return admission_apply(host, op, flags, err);
    case OP_ZONE_ADD:
    case OP_ZONE_REMOVE:
        return zone_apply(op, flags, err);
    case OP_SHARED_SET:
    case OP_SHARED_REMOVE:
    case OP_SHARED_ADDRESS_ADD:
    case OP_SHARED_ADDRESS_REMOVE:
        return nft_shared_apply(host, op, flags, err);
    case OP_UNMANAGE:
    case OP_MANAGE:
        return manager_apply(op, flags, err);
    case OP_SERVICE_START:
    case OP_SERVICE_STOP:
        return service_apply(base, op, flags, err);
    case OP_NIC_SET:
    case OP_NIC_REMOVE:
        return nft_lock_nic_apply(host, op, err);
    case OP_SHAPER_SET:
    case OP_SHAPER_REMOVE:
    case OP_RATE_SET:
        return rate_apply(host, op, flags, err);
    case OP_RESOLVER_SET:
    case OP_RESOLVER_CLEAR:
        return resolver_apply(op, flags, err);
    case OP_SERVICE_RELOAD:
        return service_reload(LINUX_RUN_DIR, op, flags, err);
    case OP_FILE_WRITE:
    case OP_FILE_REMOVE:
        return file_apply(LINUX_RUN_DIR, op, flags, err);
    case OP_DEVICE_BIND:
    case OP_DEVICE_UNBIND:
    case OP_FUNCTIONS_SET:
    case OP_FUNCTION_SET:
        return device_apply(host, op, flags, err);
    case OP_FIREWALL_ENABLE: /* Linux has no main ruleset: never planned */
    case OP_FIREWALL_DISABLE:
    case OP_NONE:
    case OP_KIND_COUNT:
        return 0;
    default:
        return rtnl_apply(host, op, flags, err);
    }
}

static int permission(const struct op *op, int rc, struct err *err)
{
    if (rc == -EPERM && !strstr(err->text, "permitted:") && op->kind != OP_LINK_DELETE)
        return err_set(err, rc, "not permitted: CAP_NET_ADMIN is needed (run as root)");
    return rc;
}

static int linux_apply(struct host *base, const struct op *op, unsigned flags, struct err *err)
{
    return permission(op, dispatch(base, op, flags, err), err);
}

static int linux_apply_many(struct host *base, const struct op *const ops[], size_t count, unsigned flags,
                            size_t *failed, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    int rc;
    switch (ops[0]->kind) {
    case OP_LINK_DELETE:
        rc = bridges_delete(host, ops, count, flags, failed, err);
        break;
    case OP_SERVICE_START:
    case OP_SERVICE_STOP:
        rc = services_apply(base, ops, count, flags, failed, err);
        break;
    default:
        rc = nft_apply(host, ops, count, flags, failed, err);
        break;
    }
    return permission(ops[*failed], rc, err);
}

static int linux_bridge_get(struct host *base, struct arena *arena, const char *network, struct link *link,
                            struct err *err)
{
    int rc = link_get((struct linux_host *)base, arena, network, link, err);
    if (rc < 0)
        return rc;
    const char *owner = owner_network(arena, link->alias);
    if (strcmp(link->kind, "bridge") != 0 || !owner || strcmp(owner, network) != 0)
        return err_set(err, EEXIST, "interface '%s' is not vmwire's bridge of that network", network);
    return 0;
}

/* Some machines have a /dev/kvm that makes machines and cannot run a kernel in them: a software KVM of a
 * guest that was given no virtualisation of its own.  Then the processor's flags lack both vmx and svm. */
static bool processor_virtualises(struct arena *arena)
{
#if defined(__x86_64__) || defined(__i386__)
    char *text;
    if (file_read(arena, AT_FDCWD, "/proc/cpuinfo", 16 << 20, &text, NULL, NULL) < 0)
        return true;
    const char *flags = strstr(text, "\nflags");
    if (!flags)
        return true;
    char *line = arena_printf(arena, "%.*s ", (int)strcspn(flags + 1, "\n"), flags + 1);
    return strstr(line, " vmx ") || strstr(line, " svm ");
#else
    (void)arena;
    return true;
#endif
}

static const char *acceleration_lack(struct arena *arena)
{
    _cleanup_fd_ int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return errno == ENOENT
                   ? "/dev/kvm is missing (no hardware virtualisation, or module kvm is not loaded)"
                   : arena_printf(arena, "/dev/kvm cannot be opened: %s", strerror(errno));
    _cleanup_fd_ int machine =
        ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
    if (machine < 0)
        return "/dev/kvm does not make virtual machines";
    return processor_virtualises(arena) ? NULL
                                        : "/dev/kvm is there, but the processor has neither vmx nor svm";
}

static bool linux_accelerated(struct host *base, struct arena *arena, const char **why_not)
{
    struct acceleration *known = &((struct linux_host *)base)->acceleration;
    if (!known->asked) {
        const char *lack = acceleration_lack(arena);
        *known = (struct acceleration){.asked = true, .there = !lack};
        snprintf(known->why_not, sizeof(known->why_not), "%s", lack ? lack : "");
    }
    if (why_not && !known->there)
        *why_not = known->why_not;
    return known->there;
}

static const char *linux_identity(struct host *base, struct arena *arena)
{
    (void)base;
    char *text;
    if (file_read(arena, AT_FDCWD, "/etc/machine-id", 256, &text, NULL, NULL) < 0)
        return "";
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static const struct host_backend linux_backend = {
    .name = "linux",
    .run_dir = LINUX_RUN_DIR,
    .close = linux_close,
    .observe = linux_observe,
    .apply = linux_apply,
    .apply_many = linux_apply_many,
    .bridge_get = linux_bridge_get,
    .nic_open = tap_open,
    .accelerated = linux_accelerated,
    .identity = linux_identity,
    .program = process_program,
    .service_user = process_user,
    .service_group = process_group,
    .listener_find = listener_find,
    .listeners_list = listeners_list,
    .lease_apply = lease_apply,
    .traffic_get = traffic_get,
    .chain_trace = &nft_chain_trace,
    .reach = linux_reach,
    .reach_end = linux_reach_end,
    .rule_text = rule_text,
    .process_look = process_look,
    .path_filter_count = path_filter_count,
    .socket_owner = open_socket_owner,
    .route_ask = route_ask,
    .watch_open = linux_watch_open,
    .watch_read = linux_watch_read,
    .watch_author = linux_watch_author,
    .guest = &linux_guest,
};

int host_open(struct host **host, struct err *err)
{
    struct linux_host *made = calloc(1, sizeof(*made));
    if (!made)
        return err_errno(err, ENOMEM, "opening the host");
    made->host.backend = &linux_backend;
    made->neighbours[0] = made->neighbours[1] = -1;
    int rc = netlink_open(&made->route, NETLINK_ROUTE, err);
    if (rc < 0) {
        free(made);
        return err_wrap(err, "opening the host");
    }
    /* Who needs it asks again, and is told; so do a guard and a keeper, forks that have something to end. */
    static bool opened;
    if (!opened)
        (void)nft_open(made, NULL);
    opened = true;
    *host = &made->host;
    return 0;
}
