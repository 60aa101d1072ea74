/* sysctl.c: the kernel's settings under /proc/sys, and those that IPv4 forwarding touches. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"

/* sysctl(8)'s rule: dots part the levels, a '/' stands for a dot inside a name. */
static const char *sysctl_path(struct arena *arena, const char *name)
{
    char *path = arena_printf(arena, "/proc/sys/%s", name);
    for (char *c = path + strlen("/proc/sys/"); *c; c++)
        *c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
    return path;
}

int sysctl_read(struct arena *arena, const char *name, const char **value, struct err *err)
{
    char *text;
    *value = NULL;
    int rc = file_read(arena, AT_FDCWD, sysctl_path(arena, name), 4096, &text, NULL, err);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    text[strcspn(text, "\n")] = '\0';
    *value = text;
    return 0;
}

int bridged_observe(struct arena *arena, bool bridged[FILTER_COUNT], struct err *err)
{
    const char *values[FILTER_COUNT];
    int rc = sysctl_read(arena, "net.bridge.bridge-nf-call-iptables", &values[FILTER_IPV4], err);
    if (rc == 0)
        rc = sysctl_read(arena, "net.bridge.bridge-nf-call-ip6tables", &values[FILTER_IPV6], err);
    for (int i = 0; rc == 0 && i < FILTER_COUNT; i++)
        bridged[i] = values[i] && strcmp(values[i], "0") != 0;
    return rc;
}

int sysctl_apply(const struct sysctl *sysctl, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *path = sysctl_path(&arena, sysctl->name);
    bool known = strncmp(sysctl->name, "net.", 4) == 0 || strcmp(sysctl->name, WATCH_LIMIT_SYSCTL) == 0;
    if (!known || strstr(path, "/../"))
        return err_set(err, EINVAL, "'%s' is not the name of a sysctl", sysctl->name);
    const char *now;
    /* What cannot be read (stable_secret while it is unset) is written all the same. */
    if (sysctl_read(&arena, sysctl->name, &now, NULL) == 0 && now && strcmp(now, sysctl->value) == 0)
        return 0;
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    /* The setting of an interface that is gone went with it. */
    if (fd < 0 && errno == ENOENT && (flags & HOST_APPLY_TOLERANT))
        return 0;
    if (fd < 0)
        return err_errno(err, errno, "opening '%s'", path);
    int rc = fd_write_all(fd, sysctl->value, strlen(sysctl->value));
    return rc < 0 ? err_errno(err, rc, "writing '%s'", path) : 0;
}

/* --- what an interface has of its own */

enum { SETTING_MAX = 256 };

struct settings_walk {
    struct arena *arena;
    struct device *device;
    const char *folder;   /* net.ipv4.conf */
    const char *ifname;   /* as in a sysctl's name */
    int own_fd, fresh_fd; /* their directories: the interface's, and "default" */
};

/* Some hundred of them are read, so this is no more than it takes.  False when it cannot be read. */
static bool setting_get(int directory, const char *entry, char text[SETTING_MAX])
{
    int fd = openat(directory, entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t length = fd >= 0 ? read(fd, text, SETTING_MAX - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return length > 0;
}

static bool setting_add(struct settings_walk *walk, const char *entry, bool always)
{
    char own[SETTING_MAX], fresh[SETTING_MAX];
    struct stat about;
    if (!setting_get(walk->own_fd, entry, own)) /* stable_secret while it is unset */
        return false;
    if (!always && setting_get(walk->fresh_fd, entry, fresh) && strcmp(own, fresh) == 0)
        return false;
    if (fstatat(walk->own_fd, entry, &about, 0) < 0 || !(about.st_mode & S_IWUSR))
        return false;
    *vec_push(walk->arena, &walk->device->sysctls) =
        (struct sysctl){arena_printf(walk->arena, "%s.%s.%s", walk->folder, walk->ifname, entry),
                        arena_strdup(walk->arena, own)};
    return true;
}

static void settings_read(struct settings_walk *walk)
{
    /* The MTU is the interface's.  Setting the secret sets the mode, and one of the modes needs it. */
    static const char *const apart[] = {"mtu", "stable_secret", "addr_gen_mode", NULL};
    DIR *directory = walk->own_fd >= 0 ? fdopendir(dup(walk->own_fd)) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        const char *const *word = apart;
        while (*word && strcmp(entry->d_name, *word) != 0)
            word++;
        if (!*word && entry->d_name[0] != '.')
            setting_add(walk, entry->d_name, false);
    }
    if (directory)
        closedir(directory);
    setting_add(walk, "addr_gen_mode", setting_add(walk, "stable_secret", false));
}

/* A new interface has what "default" has. */
void interface_sysctls_observe(struct arena *arena, struct device *device)
{
    static const char *const folders[] = {"net.ipv4.conf", "net.ipv4.neigh", "net.ipv6.conf",
                                          "net.ipv6.neigh"};
    char *ifname = arena_strdup(arena, device->ifname);
    for (char *c = ifname; *c; c++)
        *c = *c == '.' ? '/' : *c;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        const char *own = sysctl_path(arena, arena_printf(arena, "%s.%s", folders[i], ifname)),
                   *fresh = sysctl_path(arena, arena_printf(arena, "%s.default", folders[i]));
        _cleanup_fd_ int own_fd = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_fd_ int fresh_fd = open(fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct settings_walk walk = {arena, device, folders[i], ifname, own_fd, fresh_fd};
        settings_read(&walk);
    }
}

static void add(struct arena *arena, struct observed *observed, const struct forwarding_sysctl *sysctl)
{
    *vec_push(arena, &observed->forwarding) = *sysctl;
}

static const char *interface_setting(struct arena *arena, bool ipv6, const char *ifname, const char *entry)
{
    char *text = arena_strdup(arena, ifname);
    for (char *c = text; *c; c++)
        *c = *c == '.' ? '/' : *c;
    return arena_printf(arena, "net.ipv%d.conf.%s.%s", ipv6 ? 6 : 4, text, entry);
}

int accept_ra_set(const char *ifname, uint8_t value, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct sysctl sysctl = {.name = interface_setting(&arena, true, ifname, "accept_ra"),
                            .value = arena_printf(&arena, "%u", value)};
    return access("/proc/sys/net/ipv6", F_OK) < 0 ? 0 : sysctl_apply(&sysctl, 0, err);
}

struct forwarding_watcher {
    struct arena *arena;
    struct observed *observed;
    size_t first; /* how many entries stand before those of the dump */
    bool ipv6;
};

/* One interface's, or the default's, where it is not what switching off leaves. */
static int netconf_each(const struct nlmsghdr *header, void *data)
{
    struct forwarding_watcher *watcher = data;
    const struct nlattr *table[NETCONFA_FORWARDING + 1];
    if (header->nlmsg_type != RTM_NEWNETCONF)
        return 0;
    netlink_attributes(header, sizeof(struct netconfmsg), table, NETCONFA_FORWARDING + 1);
    int index = (int)netlink_u32(table[NETCONFA_IFINDEX]);
    if (index == NETCONFA_IFINDEX_ALL || netlink_u32(table[NETCONFA_FORWARDING]) == 0)
        return 0;
    const struct link *link = link_by_index(watcher->observed, index);
    const char *name = link ? link->name : "default";
    if (link || index == NETCONFA_IFINDEX_DEFAULT)
        add(watcher->arena, watcher->observed,
            &(struct forwarding_sysctl){
                .name = interface_setting(watcher->arena, watcher->ipv6, name, "forwarding"),
                .now = "1",
                .ipv6 = watcher->ipv6});
    return 0;
}

static void netconf_reset(void *data)
{
    struct forwarding_watcher *watcher = data;
    watcher->observed->forwarding.count = watcher->first;
}

/* The interfaces whose forwarding would come back otherwise than it is now. */
static int disturbed_observe(struct linux_host *host, struct arena *arena, bool ipv6,
                             struct observed *observed, struct err *err)
{
    struct forwarding_watcher watcher = {
        .arena = arena, .observed = observed, .first = observed->forwarding.count, .ipv6 = ipv6};
    struct netlink_message message;
    struct netconfmsg *info = netlink_start(&message, RTM_GETNETCONF, 0, sizeof(*info));
    info->ncm_family = ipv6 ? AF_INET6 : AF_INET;
    int rc = netlink_dump(&host->route, &message, netconf_each, netconf_reset, &watcher, err);
    return rc < 0 ? err_wrap(err, "reading which interfaces forward") : 0;
}

/* Writing ip_forward rewrites the forwarding of every interface and accept_redirects (inet_forward_change,
 * net/ipv4/devinet.c): to 0 and 1 when it is switched off.  What would come back otherwise than it is now is
 * listed too. */
static int forwarding4_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                               struct err *err)
{
    const char *forward, *redirects;
    int rc = sysctl_read(arena, "net.ipv4.ip_forward", &forward, err);
    if (rc == 0)
        rc = sysctl_read(arena, "net.ipv4.conf.all.accept_redirects", &redirects, err);
    if (rc < 0)
        return rc;
    if (!forward)
        return err_set(err, ENOENT, "'/proc/sys/net/ipv4/ip_forward' cannot be read (is /proc mounted?)");
    if (strcmp(forward, "0") == 0) {
        if (redirects && strcmp(redirects, "1") != 0)
            add(arena, observed,
                &(struct forwarding_sysctl){.name = "net.ipv4.conf.all.accept_redirects", .now = redirects});
        rc = disturbed_observe(host, arena, false, observed, err);
        if (rc < 0)
            return rc;
    }
    add(arena, observed,
        &(struct forwarding_sysctl){.name = "net.ipv4.ip_forward", .now = forward, .wanted = "1"});
    return 0;
}

enum { ROUTE_RA = 9, TABLE_MAIN = 254 };

/* Does the host configure this interface from router advertisements, or may it be about to (its router may
 * speak later than `up` at boot)? */
static bool learns(const struct observed *observed, const struct link *link)
{
    vec_foreach (&observed->routes, route) {
        if (route->ifname && strcmp(route->ifname, link->name) == 0 &&
            ((route->to.ip.family == AF_INET6 && route->protocol == ROUTE_RA) ||
             (route->to.length == 0 && route->table == TABLE_MAIN)))
            return true;
    }
    vec_foreach (&observed->addresses, address) {
        if (strcmp(address->ifname, link->name) == 0 && address->prefix.ip.family == AF_INET6 &&
            address->kernel && !ip_is_link_local(&address->prefix.ip))
            return true;
    }
    return false;
}

/* An interface that forwards takes no router advertisements with accept_ra=1, and at the moment of switching
 * on its default route goes (rt6_purge_dflt_routers, net/ipv6/route.c), unless accept_ra is 2 by then. */
static int forwarding6_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                               struct err *err)
{
    const char *forward, *off;
    int rc = sysctl_read(arena, "net.ipv6.conf.all.forwarding", &forward, err);
    if (rc == 0)
        rc = sysctl_read(arena, "net.ipv6.conf.default.disable_ipv6", &off, err);
    if (rc < 0)
        return rc;
    if (!forward)
        observed->ipv6_refusal =
            "this kernel has no IPv6 (CONFIG_IPV6, or it was booted with ipv6.disable=1)";
    else if (off && strcmp(off, "0") != 0)
        observed->ipv6_refusal = "IPv6 is switched off for new interfaces; switch it on: "
                                 "sysctl -w net.ipv6.conf.default.disable_ipv6=0";
    if (!forward)
        return 0;
    vec_foreach (&observed->links, link) {
        if (link->accept_ra == 1 && link->up && !link->loopback && !*link->master &&
            !owner_network(arena, link->alias) && learns(observed, link))
            add(arena, observed,
                &(struct forwarding_sysctl){.name = interface_setting(arena, true, link->name, "accept_ra"),
                                            .now = "1",
                                            .wanted = "2",
                                            .ipv6 = true,
                                            .own_ra = true});
    }
    rc = strcmp(forward, "0") == 0 ? disturbed_observe(host, arena, true, observed, err) : 0;
    add(arena, observed,
        &(struct forwarding_sysctl){
            .name = "net.ipv6.conf.all.forwarding", .now = forward, .wanted = "1", .ipv6 = true});
    return rc;
}

int forwarding_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err)
{
    int rc = forwarding4_observe(host, arena, observed, err);
    if (rc == 0)
        rc = sysctl_read(arena, WATCH_LIMIT_SYSCTL, &observed->watch_limit, err);
    return rc < 0 ? rc : forwarding6_observe(host, arena, observed, err);
}
