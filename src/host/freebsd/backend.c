/* backend.c: the FreeBSD host behind host.h: which file answers what. */
#include <errno.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/sysctl.h>

#include "base/text.h"
#include "host/freebsd/system.h"

static void freebsd_close(struct host *base)
{
    struct freebsd_host *host = (struct freebsd_host *)base;
    arena_free(&host->arena);
    free(host);
}

static int bridge_get(struct host *host, struct arena *arena, const char *network, struct link *link,
                      struct err *err)
{
    (void)host;
    struct observed seen = {0};
    int rc = freebsd_link_get(arena, network, &seen, err);
    if (rc < 0)
        return rc;
    *link = *link_find(&seen, network);
    const char *owner = owner_network(arena, link->alias);
    if (strcmp(link->kind, "bridge") != 0 || !owner || strcmp(owner, network) != 0)
        return err_set(err, EEXIST, "interface '%s' is not vmwire's bridge of that network", network);
    return 0;
}

static bool sysctl_number(const char *name, unsigned *number)
{
    int value = 0;
    size_t size = sizeof(value);
    *number = 0;
    if (sysctlbyname(name, &value, &size, NULL, 0) < 0)
        return false;
    *number = (unsigned)value;
    return true;
}

/* `kldload vmm` succeeds also where the processor lacks what it needs: what it found says. */
static bool accelerated(struct host *host, struct arena *arena, const char **why_not)
{
    (void)host, (void)arena;
    unsigned intel, amd;
    bool loaded = sysctl_number("hw.vmm.vmx.initialized", &intel);
    loaded |= sysctl_number("hw.vmm.svm.features", &amd);
#if defined(__amd64__)
    if (loaded && (intel || amd))
        return true;
    if (why_not)
        *why_not =
            loaded ? "vmm found neither VT-x with EPT nor AMD-V with nested paging in this processor (dmesg "
                     "says what is missing; it may be off in the firmware's setup)"
                   : "the module vmm is not loaded: kldload vmm";
    return false;
#else
    (void)loaded;
    size_t size = 0;
    bool there = sysctlbyname("hw.vmm", NULL, &size, NULL, 0) == 0 || sysctl_number("hw.vmm.maxcpu", &intel);
    if (!there && why_not)
        *why_not = "the module vmm is not loaded: kldload vmm";
    return there;
#endif
}

static const char *text_sysctl(struct arena *arena, const char *name)
{
    char value[256] = "";
    size_t size = sizeof(value) - 1;
    if (sysctlbyname(name, value, &size, NULL, 0) < 0)
        return "";
    return arena_strdup(arena, value);
}

static const char *identity(struct host *host, struct arena *arena)
{
    (void)host;
    return text_sysctl(arena, "kern.hostuuid");
}

static const char *program(struct host *host, struct arena *arena)
{
    (void)host;
    int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PATHNAME, -1};
    char path[4096] = "";
    size_t size = sizeof(path) - 1;
    if (sysctl(name, 4, path, &size, NULL, 0) < 0 || !*path)
        return "vmwire";
    return arena_strdup(arena, path);
}

static const char *service_user(struct host *host)
{
    (void)host;
    return getpwnam("nobody") ? "nobody" : NULL;
}

static const char *service_group(struct host *host, struct arena *arena)
{
    (void)host;
    const struct passwd *user = getpwnam("nobody");
    return user ? group_name(arena, user->pw_gid) : NULL;
}

static int listener_find(struct host *host, struct arena *arena, int protocol, const struct ip *address,
                         uint16_t port, struct listener *listener, struct err *err)
{
    (void)host;
    struct freebsd_answer answer;
    int rc = FREEBSD_ASK(arena, &answer, err, "sockstat", "-46l", "-P",
                         protocol == IPPROTO_TCP ? "tcp" : "udp", "-p", arena_printf(arena, "%u", port));
    if (rc < 0)
        return rc;
    if (freebsd_sockstat_parse(arena, answer.output, address, port, listener))
        return 0;
    return err_set(err, ENOENT, "nobody listens on port %u", port);
}

static int listeners_list(struct host *host, struct arena *arena, int protocol, struct listeners *listeners,
                          struct err *err)
{
    (void)host;
    struct freebsd_answer answer;
    int rc =
        FREEBSD_ASK(arena, &answer, err, "sockstat", "-46l", "-P", protocol == IPPROTO_TCP ? "tcp" : "udp");
    if (rc == 0)
        freebsd_sockstat_list(arena, answer.output, listeners);
    return rc;
}

/* dhclient-script(8) does it. */
static int lease_apply(struct host *host, const char *ifname, const struct prefix *prefix,
                       const struct ip *gateway, uint32_t lifetime_s, struct err *err)
{
    (void)host, (void)prefix, (void)gateway, (void)lifetime_s;
    return err_set(err, ENOTSUP, "the lease of '%s': FreeBSD's dhclient sets it by itself", ifname);
}

/* Neighbours are asked by ICMP echo, which does not get there without ARP or neighbour discovery. */
static int freebsd_reach(struct host *host, const struct reach_request *request, struct err *err)
{
    (void)host;
    return reach_ask(request, NULL, err);
}

static const struct host_backend freebsd_backend = {
    .name = "freebsd",
    .run_dir = FREEBSD_RUN_DIR,
    .bhyve = true,
    .close = freebsd_close,
    .observe = freebsd_observe,
    .apply = freebsd_apply,
    .apply_many = host_apply_each,
    .bridge_get = bridge_get,
    .nic_open = freebsd_nic_open,
    .nic_close = freebsd_nic_close,
    .nics_settle = freebsd_nics_settle,
    .accelerated = accelerated,
    .identity = identity,
    .program = program,
    .service_user = service_user,
    .service_group = service_group,
    .listener_find = listener_find,
    .listeners_list = listeners_list,
    .lease_apply = lease_apply,
    .reach = freebsd_reach,
    .guest = &freebsd_guest,
};

int host_open(struct host **host, struct err *err)
{
    struct freebsd_host *made = calloc(1, sizeof(*made));
    if (!made)
        return err_errno(err, ENOMEM, "opening the host");
    made->host.backend = &freebsd_backend;
    *host = &made->host;
    return 0;
}
