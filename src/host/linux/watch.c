/* watch.c: the kernel's events behind host/watch.h: rtnetlink(7) and nfnetlink groups, inotify(7). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"

enum { BUFFER_SIZE = 8192, ROUTE_PROTOCOL_RA = 9 };

static int events_open(int protocol, const unsigned groups[], size_t count, struct err *err)
{
    _cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    struct sockaddr_nl own = {.nl_family = AF_NETLINK};
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
        return err_errno(err, errno, "listening to the kernel's events");
    for (size_t i = 0; i < count; i++) {
        if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
            return err_errno(err, errno, "listening to the kernel's events");
    }
    return fd_steal(&fd);
}

/* The directory, as editors put a new file in the place of the old one; twice for a symbolic link. */
static int file_open(const char *path, struct err *err)
{
    enum { CHANGES = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_ATTRIB };
    char copy[PATH_MAX], real[PATH_MAX];
    _cleanup_fd_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    snprintf(copy, sizeof(copy), "%s", path);
    if (fd < 0 || inotify_add_watch(fd, dirname(copy), CHANGES) < 0)
        return err_errno(err, errno, "watching the directory of '%s'", path);
    if (realpath(path, real))
        (void)!inotify_add_watch(fd, dirname(real), CHANGES); /* the same directory is watched once */
    return fd_steal(&fd);
}

int linux_watch_open(struct host *host, const char *path, int fds[HOST_WATCH_COUNT], struct err *err)
{
    const unsigned network[] = {RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_NETCONF};
    const unsigned firewall[] = {NFNLGRP_NFTABLES};
    (void)host;
    fds[HOST_WATCH_NETWORK] = events_open(NETLINK_ROUTE, network, sizeof(network) / sizeof(network[0]), err);
    fds[HOST_WATCH_FIREWALL] =
        fds[HOST_WATCH_NETWORK] < 0 ? -1 : events_open(NETLINK_NETFILTER, firewall, 1, err);
    fds[HOST_WATCH_FILE] = fds[HOST_WATCH_FIREWALL] < 0 ? -1 : file_open(path, err);
    if (fds[HOST_WATCH_FILE] >= 0)
        return 0;
    for (int i = 0; i < HOST_WATCH_COUNT; i++)
        fd_close(&fds[i]);
    return err->code;
}

/* What a router advertisement or a lease only makes anew. */
static bool refreshed(const struct nlmsghdr *header)
{
    const struct nlattr *table[IFA_MAX + 1];
    if (header->nlmsg_type == RTM_NEWROUTE) {
        const struct rtmsg *route = mnl_nlmsg_get_payload(header);
        return route->rtm_protocol == ROUTE_PROTOCOL_RA;
    }
    if (header->nlmsg_type != RTM_NEWADDR)
        return false;
    struct ifa_cacheinfo times;
    netlink_attributes(header, sizeof(struct ifaddrmsg), table, IFA_MAX + 1);
    if (!table[IFA_CACHEINFO] || mnl_attr_get_payload_len(table[IFA_CACHEINFO]) < sizeof(times))
        return false;
    memcpy(&times, mnl_attr_get_payload(table[IFA_CACHEINFO]), sizeof(times));
    return times.ifa_valid != UINT32_MAX;
}

/* A generation of rules, which names the process that made it, ends what one transaction did. */
static void generation_read(const struct nlmsghdr *header, struct host_watch_author *author)
{
    const struct nlattr *table[NFTA_GEN_MAX + 1];
    if ((header->nlmsg_type & 0xff) != NFT_MSG_NEWGEN)
        return;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_GEN_MAX + 1);
    const char *program = netlink_text(table[NFTA_GEN_PROC_NAME]);
    pid_t pid = (pid_t)ntohl(netlink_u32(table[NFTA_GEN_PROC_PID]));
    if (pid == author->self || strncmp(program, "vmwire", 6) == 0)
        return;
    *author = (struct host_watch_author){
        .port = header->nlmsg_pid, .kind = HOST_WATCH_FIREWALL, .pid = pid, .self = author->self};
    snprintf(author->program, sizeof(author->program), "%s", program);
}

static bool message_read(const struct nlmsghdr *header, enum host_watch_kind kind,
                         struct host_watch_author *author)
{
    if (kind == HOST_WATCH_FIREWALL) {
        generation_read(header, author);
        return true;
    }
    if (refreshed(header))
        return false;
    if (header->nlmsg_pid && header->nlmsg_pid != (unsigned)author->self)
        *author = (struct host_watch_author){.port = header->nlmsg_pid, .kind = kind, .self = author->self};
    return true;
}

static bool file_read_events(int fd, const char *path)
{
    char bytes[BUFFER_SIZE] __attribute__((aligned(8))), copy[PATH_MAX], real[PATH_MAX];
    bool touched = false;
    snprintf(copy, sizeof(copy), "%s", path);
    const char *name = basename(copy), *target = realpath(path, real) ? strrchr(real, '/') + 1 : name;
    ssize_t got;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        const struct inotify_event *event;
        for (char *at = bytes; at < bytes + got; at += sizeof(*event) + event->len) {
            event = (const struct inotify_event *)at;
            touched |= event->len && (strcmp(event->name, name) == 0 || strcmp(event->name, target) == 0);
        }
    }
    return touched;
}

bool linux_watch_read(struct host *host, enum host_watch_kind kind, int fd, const char *path,
                      struct host_watch_author *author)
{
    char bytes[BUFFER_SIZE] __attribute__((aligned(8)));
    bool happened = false;
    (void)host;
    if (kind == HOST_WATCH_FILE)
        return file_read_events(fd, path);
    for (;;) {
        ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == ENOBUFS) { /* more than fitted: whatever it was */
            happened = true;
            continue;
        }
        if (got <= 0)
            return happened;
        int left = (int)got;
        for (const struct nlmsghdr *header = (const void *)bytes; mnl_nlmsg_ok(header, left);
             header = mnl_nlmsg_next(header, &left))
            happened |= message_read(header, kind, author);
    }
}

static bool program_name(struct arena *arena, unsigned pid, char name[20])
{
    char *text;
    if (!pid || pid > INT32_MAX ||
        file_read(arena, AT_FDCWD, arena_printf(arena, "/proc/%u/comm", pid), 64, &text, NULL, NULL) < 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    snprintf(name, 20, "%.15s", text);
    return true;
}

/* One that has a socket through which it could. */
static void suspect_add(struct arena *arena, struct host_watch_author *author, unsigned port)
{
    char name[20];
    size_t length = strlen(author->suspects);
    if ((pid_t)port == getpid() || (pid_t)port == author->self || !program_name(arena, port, name) ||
        strncmp(name, "vmwire", 6) == 0)
        return;
    snprintf(author->suspects + length, sizeof(author->suspects) - length, "%s'%s' (pid %u)",
             length ? ", " : "", name, port);
}

/* A port is the number of its process, or, of a process's second socket, any number.  Source: netlink(7); the
 * kernel's net/netlink/af_netlink.c, netlink_native_seq_show. */
void linux_watch_author(struct host *host, struct arena *arena, struct host_watch_author *author)
{
    _cleanup_file_ FILE *table = *author->program ? NULL : fopen("/proc/net/netlink", "re");
    char line[256];
    (void)host;
    *author->suspects = '\0';
    int protocol = author->kind == HOST_WATCH_FIREWALL ? NETLINK_NETFILTER : NETLINK_ROUTE;
    while (table && fgets(line, sizeof(line), table)) {
        int found;
        unsigned port;
        unsigned long inode;
        struct listener owner = {.program = ""};
        if (sscanf(line, "%*s %d %u %*s %*s %*s %*s %*s %*s %lu", &found, &port, &inode) != 3 ||
            found != protocol)
            continue;
        if (!author->port)
            suspect_add(arena, author, port);
        if (!author->port || port != author->port)
            continue;
        socket_owner(arena, inode, &owner);
        author->pid = owner.pid;
        snprintf(author->program, sizeof(author->program), "%s", owner.program);
    }
    if (!*author->program && program_name(arena, author->port, author->program))
        author->pid = (pid_t)author->port;
}
