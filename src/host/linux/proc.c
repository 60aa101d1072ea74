/* proc.c: which process listens on a port, from /proc/net and /proc/PID/fd (proc(5)). */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/linux/linux.h"

enum { TABLE_SIZE_MAX = 4 * 1024 * 1024, STATE_LISTEN = 0x0a };

/* An address of /proc/net: 32-bit words in the machine's byte order, in hexadecimal. */
static bool address_read(const char *text, struct ip *ip)
{
    size_t length = strspn(text, "0123456789ABCDEFabcdef");
    if (length != 8 && length != 32)
        return false;
    *ip = (struct ip){.family = length == 8 ? AF_INET : AF_INET6};
    for (size_t word = 0; word < length / 8; word++) {
        char digits[9] = "";
        memcpy(digits, text + word * 8, 8);
        uint32_t value = (uint32_t)strtoul(digits, NULL, 16);
        memcpy(ip->bytes + word * 4, &value, 4);
    }
    return true;
}

static bool is_unspecified(const struct ip *ip)
{
    return ip_equal(ip, &(struct ip){.family = ip->family});
}

/* A line of /proc/net/tcp or udp as a listener, with its inode.  A UDP socket that is connected is a client's
 * and gets nothing from others. */
static bool socket_read(const char *line, int protocol, struct listener *listener, unsigned long *inode)
{
    enum { UDP_UNCONNECTED = 0x07 };
    char local[40];
    unsigned port, state;
    if (sscanf(line, " %*u: %39[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*u %*u %lu", local, &port, &state, inode) !=
            4 ||
        state != (protocol == IPPROTO_TCP ? STATE_LISTEN : UDP_UNCONNECTED) || port > UINT16_MAX)
        return false;
    *listener = (struct listener){.program = "", .port = (uint16_t)port};
    return address_read(local, &listener->address);
}

static const char *socket_table(int protocol, bool ipv6)
{
    if (protocol == IPPROTO_TCP)
        return ipv6 ? "/proc/net/tcp6" : "/proc/net/tcp";
    return ipv6 ? "/proc/net/udp6" : "/proc/net/udp";
}

/* The inode of the first matching socket of a table, 0 when there is none. */
static unsigned long socket_find(struct arena *arena, const char *table, int protocol,
                                 const struct ip *wanted, uint16_t port, struct ip *address)
{
    char *text;
    if (file_read(arena, AT_FDCWD, table, TABLE_SIZE_MAX, &text, NULL, NULL) < 0)
        return 0;
    for (char *line; (line = strsep(&text, "\n"));) {
        struct listener listener;
        unsigned long inode;
        if (!socket_read(line, protocol, &listener, &inode) || listener.port != port)
            continue;
        *address = listener.address;
        if (!wanted || is_unspecified(address) || ip_equal(address, wanted))
            return inode;
    }
    return 0;
}

int listeners_list(struct host *host, struct arena *arena, int protocol, struct listeners *listeners,
                   struct err *err)
{
    (void)host;
    *listeners = (struct listeners){0};
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        char *text;
        const char *table = socket_table(protocol, ipv6);
        int rc = file_read(arena, AT_FDCWD, table, TABLE_SIZE_MAX, &text, NULL, ipv6 ? NULL : err);
        if (rc < 0 && ipv6)
            break; /* a kernel without IPv6 */
        if (rc < 0)
            return err_wrap(err, "reading '%s'", table);
        for (char *line; (line = strsep(&text, "\n"));) {
            struct listener listener;
            unsigned long inode;
            if (socket_read(line, protocol, &listener, &inode))
                *vec_push(arena, &listeners->list) = listener;
        }
    }
    return 0;
}

static bool holds_socket(struct arena *arena, const char *pid, const char *socket)
{
    DIR *folder = opendir(arena_printf(arena, "/proc/%s/fd", pid));
    bool found = false;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
        char target[64] = "";
        if (readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1) > 0)
            found = strcmp(target, socket) == 0;
    }
    if (folder)
        closedir(folder);
    return found;
}

void socket_owner(struct arena *arena, unsigned long inode, struct listener *listener)
{
    const char *socket = arena_printf(arena, "socket:[%lu]", inode);
    DIR *proc = opendir("/proc");
    listener->program = "";
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        char *name;
        if (entry->d_name[strspn(entry->d_name, "0123456789")] || !holds_socket(arena, entry->d_name, socket))
            continue;
        listener->pid = (pid_t)atoi(entry->d_name);
        if (file_read(arena, AT_FDCWD, arena_printf(arena, "/proc/%s/comm", entry->d_name), 64, &name, NULL,
                      NULL) == 0) {
            name[strcspn(name, "\n")] = '\0';
            listener->program = name;
        }
        break;
    }
    if (proc)
        closedir(proc);
}

int listener_find(struct host *host, struct arena *arena, int protocol, const struct ip *address,
                  uint16_t port, struct listener *listener, struct err *err)
{
    (void)host;
    *listener = (struct listener){.program = ""};
    for (size_t i = 0; i < 2; i++) {
        unsigned long inode =
            socket_find(arena, socket_table(protocol, i == 1), protocol, address, port, &listener->address);
        if (!inode)
            continue;
        listener->port = port;
        socket_owner(arena, inode, listener);
        return 0;
    }
    return err_set(err, ENOENT, "nobody listens on port %u", port);
}

/* A user of /etc/passwd, without the name service's libraries and sockets, which cost more than the rest of
 * an `up` that has nothing to do.  False when there is none of that name. */
static bool user_find(const char *name, uid_t *uid, gid_t *gid)
{
    _cleanup_file_ FILE *file = fopen("/etc/passwd", "re");
    for (const struct passwd *user; file && (user = fgetpwent(file));) {
        if (strcmp(user->pw_name, name) == 0) {
            *uid = user->pw_uid;
            *gid = user->pw_gid;
            return true;
        }
    }
    return false;
}

/* In a user namespace only some users and groups exist. */
static bool is_mapped(const char *path, unsigned long id)
{
    _cleanup_file_ FILE *map = fopen(path, "re");
    unsigned long inside, outside, count;
    while (map && fscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3) {
        if (id >= inside && id - inside < count)
            return true;
    }
    return !map;
}

/* dnsmasq's own user, where it exists and this user namespace knows it. */
static const char *service_user_find(gid_t *gid)
{
    static const char *const names[] = {"dnsmasq", "nobody"};
    uid_t uid;
    for (size_t i = 0; i < 2; i++) {
        if (user_find(names[i], &uid, gid) && is_mapped("/proc/self/uid_map", uid))
            return names[i];
    }
    return NULL;
}

const char *process_user(struct host *host)
{
    (void)host;
    gid_t gid;
    return service_user_find(&gid);
}

const char *process_group(struct host *host, struct arena *arena)
{
    (void)host;
    gid_t gid;
    return service_user_find(&gid) && is_mapped("/proc/self/gid_map", gid) ? group_name(arena, gid) : NULL;
}

/* Source: proc(5), /proc/PID/stat: the state is field 3, the start in clock ticks since boot field 22. */
int process_look(struct host *host, pid_t pid, struct process_look *look)
{
    (void)host;
    _cleanup_arena_ struct arena arena = {0};
    char *text, state = 0;
    unsigned long long start = 0;
    struct timespec now;
    *look = (struct process_look){0};
    if (file_read(&arena, AT_FDCWD, arena_printf(&arena, "/proc/%d/stat", (int)pid), 4096, &text, NULL,
                  NULL) < 0)
        return -ESRCH;
    const char *rest = strrchr(text, ')'); /* the name may hold anything */
    if (!rest ||
        sscanf(rest, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &start) != 2)
        return -ESRCH;
    clock_gettime(CLOCK_BOOTTIME, &now);
    look->stopped = state == 'T' || state == 't';
    look->age_s = now.tv_sec - (int64_t)(start / (unsigned long long)sysconf(_SC_CLK_TCK));
    return 0;
}

const char *process_program(struct host *host, struct arena *arena)
{
    (void)host;
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    return length > 0 ? arena_strndup(arena, path, (size_t)length) : "vmwire";
}
