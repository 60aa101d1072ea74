/* health.c: how the host fares: tables that fill up, neighbours, sockets, name servers: model/health.h. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/health.h"

enum { DNS_PORT = 53, DHCP_PORT = 67, RESOLV_SIZE_MAX = 65536 };

long number_read(struct arena *arena, const char *path)
{
    char *text;
    return file_read(arena, AT_FDCWD, path, 64, &text, NULL, NULL) < 0 ? -1 : atol(text);
}

static const char *name_of(const struct health_reader *reader, int index)
{
    const struct link *link = link_by_index(reader->observed, index);
    return link ? link->name : "";
}

static void learned_read(struct health_reader *reader, const struct ndmsg *info,
                         const struct nlattr *const table[])
{
    if (!table[NDA_LLADDR] || mnl_attr_get_payload_len(table[NDA_LLADDR]) != 6 ||
        (info->ndm_state & NUD_PERMANENT))
        return;
    struct learned *learned = vec_push(reader->arena, &reader->health->learned);
    memcpy(learned->mac.bytes, mnl_attr_get_payload(table[NDA_LLADDR]), 6);
    learned->port = name_of(reader, info->ndm_ifindex);
    learned->bridge = name_of(reader, (int)netlink_u32(table[NDA_MASTER]));
}

static int neighbour_each(const struct nlmsghdr *header, void *data)
{
    struct health_reader *reader = data;
    const struct nlattr *table[NDA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWNEIGH)
        return 0;
    const struct ndmsg *info = mnl_nlmsg_get_payload(header);
    netlink_attributes(header, sizeof(*info), table, NDA_MAX + 1);
    if (info->ndm_family == AF_BRIDGE) {
        learned_read(reader, info, table);
        return 0;
    }
    if ((info->ndm_family != AF_INET && info->ndm_family != AF_INET6) || (info->ndm_state & NUD_NOARP))
        return 0;
    struct neighbour *neighbour = vec_push(reader->arena, &reader->health->neighbours);
    neighbour->ip = netlink_ip(table[NDA_DST], info->ndm_family);
    neighbour->ifname = name_of(reader, info->ndm_ifindex);
    neighbour->failed = info->ndm_state & (NUD_FAILED | NUD_INCOMPLETE);
    neighbour->fixed = info->ndm_state & NUD_PERMANENT;
    if (table[NDA_LLADDR] && mnl_attr_get_payload_len(table[NDA_LLADDR]) == 6)
        memcpy(neighbour->mac.bytes, mnl_attr_get_payload(table[NDA_LLADDR]), 6);
    return 0;
}

static void neighbours_reset(void *data)
{
    ((struct health_reader *)data)->health->neighbours.count = 0;
}

static void learned_reset(void *data)
{
    ((struct health_reader *)data)->health->learned.count = 0;
}

static int neighbours_read(struct health_reader *reader, struct err *err)
{
    struct netlink_message message;
    netlink_start(&message, RTM_GETNEIGH, 0, sizeof(struct ndmsg));
    int rc = netlink_dump(&reader->host->route, &message, neighbour_each, neighbours_reset, reader, err);
    if (rc < 0)
        return err_wrap(err, "reading the neighbours");
    struct ndmsg *info = netlink_start(&message, RTM_GETNEIGH, 0, sizeof(*info));
    info->ndm_family = AF_BRIDGE;
    rc = netlink_dump(&reader->host->route, &message, neighbour_each, learned_reset, reader, err);
    if (rc < 0)
        return err_wrap(err, "reading where MACs were seen");
    reader->health->neighbours_count = 0;
    vec_foreach (&reader->health->neighbours, neighbour)
        reader->health->neighbours_count += neighbour->ip.family == AF_INET && !neighbour->fixed;
    return 0;
}

static int socket_each(const struct nlmsghdr *header, void *data)
{
    struct health_reader *reader = data;
    if (mnl_nlmsg_get_payload_len(header) < sizeof(struct inet_diag_msg))
        return 0;
    const struct inet_diag_msg *message = mnl_nlmsg_get_payload(header);
    uint16_t port = ntohs(message->id.idiag_sport);
    if ((port != DNS_PORT && port != DHCP_PORT) || message->id.idiag_dport)
        return 0;
    struct open_socket *found = vec_push(reader->arena, &reader->health->sockets);
    found->protocol = IPPROTO_UDP;
    found->ip.family = message->idiag_family;
    memcpy(found->ip.bytes, message->id.idiag_src, ip_size(&found->ip));
    found->port = port;
    found->index = (int)message->id.idiag_if;
    found->inode = message->idiag_inode;
    found->program = "";
    return 0;
}

static void owners_of(struct arena *arena, struct health *health, const char *pid)
{
    DIR *folder = opendir(arena_printf(arena, "/proc/%s/fd", pid));
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char target[64] = "";
        unsigned long inode;
        char *name;
        if (readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1) <= 0 ||
            sscanf(target, "socket:[%lu]", &inode) != 1)
            continue;
        vec_foreach (&health->sockets, found) {
            if (found->inode != inode || found->pid)
                continue;
            found->pid = (pid_t)atoi(pid);
            if (file_read(arena, AT_FDCWD, arena_printf(arena, "/proc/%s/comm", pid), 64, &name, NULL, NULL) <
                0)
                continue;
            name[strcspn(name, "\n")] = '\0';
            found->program = name;
        }
    }
    if (folder)
        closedir(folder);
}

/* vmwire's own; others' are looked up when one matters. */
static void owners_find(struct health_reader *reader)
{
    vec_foreach (&reader->observed->services, service)
        owners_of(reader->arena, reader->health, arena_printf(reader->arena, "%d", (int)service->pid));
}

void open_socket_owner(struct host *host, struct arena *arena, struct open_socket *socket)
{
    struct listener listener = {.program = ""};
    (void)host;
    socket_owner(arena, socket->inode, &listener);
    socket->pid = listener.pid;
    socket->program = listener.program;
}

static void sockets_reset(void *data)
{
    (void)data;
}

/* Source: sock_diag(7). */
static void sockets_read(struct health_reader *reader)
{
    struct netlink netlink = {0};
    if (netlink_open(&netlink, NETLINK_SOCK_DIAG, NULL) < 0)
        return;
    const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 2; i++) {
        struct netlink_message message;
        struct inet_diag_req_v2 *request = netlink_start(&message, SOCK_DIAG_BY_FAMILY, 0, sizeof(*request));
        request->sdiag_family = (uint8_t)families[i];
        request->sdiag_protocol = IPPROTO_UDP;
        request->idiag_states = UINT32_MAX;
        int rc = netlink_dump(&netlink, &message, socket_each, sockets_reset, reader, NULL);
        reader->health->sockets_seen |= families[i] == AF_INET && rc == 0;
    }
    netlink_close(&netlink);
    owners_find(reader);
}

static void resolv_read(struct health_reader *reader)
{
    char *text, *real = realpath("/etc/resolv.conf", NULL); /* it often is a link */
    if (real && file_read(reader->arena, AT_FDCWD, real, RESOLV_SIZE_MAX, &text, NULL, NULL) == 0) {
        reader->health->resolv_read = true;
        for (char *line; (line = strsep(&text, "\n"));) {
            char address[64];
            struct ip ip;
            if (sscanf(line, " nameserver %63[^ \t%%]", address) == 1 && ip_parse(address, &ip) == 0)
                *vec_push(reader->arena, &reader->health->nameservers) = ip;
        }
    }
    free(real);
}

/* A line of names and one of numbers, "TcpExt:" in front of both.  Source: snmp_counter.rst. */
int64_t path_filter_count(struct host *host)
{
    (void)host;
    _cleanup_arena_ struct arena arena = {0};
    char *text;
    if (file_read(&arena, AT_FDCWD, "/proc/net/netstat", RESOLV_SIZE_MAX, &text, NULL, NULL) < 0)
        return -1;
    char *names = strsep(&text, "\n"), *numbers = strsep(&text, "\n");
    while (names && numbers) {
        char *name = strsep(&names, " "), *number = strsep(&numbers, " ");
        if (name && number && strcmp(name, "IPReversePathFilter") == 0)
            return atoll(number);
    }
    return -1;
}

int health_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct health *health = &observed->health;
    struct health_reader reader = {.host = host, .arena = arena, .observed = observed, .health = health};
    int rc = health_links(&reader, err);
    if (rc == 0)
        rc = neighbours_read(&reader, err);
    if (rc < 0)
        return rc;
    health->seen = true;
    health->no_nf_tables = netlink_open(&host->netfilter, NETLINK_NETFILTER, NULL) < 0;
    health->no_tun = access("/dev/net/tun", F_OK) < 0 && errno == ENOENT;
    health->connections = number_read(arena, "/proc/sys/net/netfilter/nf_conntrack_count");
    health->connections_max = number_read(arena, "/proc/sys/net/netfilter/nf_conntrack_max");
    health->neighbours_max = number_read(arena, "/proc/sys/net/ipv4/neigh/default/gc_thresh3");
    sockets_read(&reader);
    resolv_read(&reader);
    return 0;
}
