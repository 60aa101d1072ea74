/* reach.c: asking until everybody has answered: reach.h.  ICMP echo and DNS on any host; neighbours are asked
 * as the operating system can. */
#include "host/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    ASK_FIRST_MS = 100, /* between the first questions; then twice as long each time, up to */
    ASK_LAST_MS = 400,
    DNS_PORT = 53,
    ECHO_SIZE = 16,
    RESOLV_CONF_MAX = 64 * 1024,
    ENVIRONMENT_MAX = 1024 * 1024,
    ANCESTORS_MAX = 16,
};

/* One asking.  Two sockets a way: IPv4's and IPv6's, opened when there is somebody to ask. */
struct asking {
    const struct reach_request *request;
    const struct neighbour_ops *neighbours;
    int echo[2], dns[2];
    const int *neighbour;
    uint16_t id; /* of our echoes and questions */
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void asking_close(struct asking *asking)
{
    for (int i = 0; i < 2; i++) {
        fd_close(&asking->echo[i]);
        fd_close(&asking->dns[i]);
    }
}

static bool by_neighbours(const struct asking *asking, const struct reach *reach)
{
    return reach->kind == REACH_NEIGHBOUR && asking->neighbours;
}

static int socket_open(int *fd, int family, int type, int protocol, struct err *err)
{
    if (*fd >= 0)
        return 0;
    *fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    return *fd < 0 ? err_errno(err, errno, "asking whether this host is still reached") : 0;
}

static int asking_open(struct asking *asking, struct err *err)
{
    bool neighbours[2] = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < asking->request->count; i++) {
        const struct reach *reach = &asking->request->reaches[i];
        int six = reach->ip.family == AF_INET6;
        neighbours[six] |= by_neighbours(asking, reach);
        if (reach->kind == REACH_NAME_SERVER)
            rc = socket_open(&asking->dns[six], reach->ip.family, SOCK_DGRAM, 0, err);
        else if (!by_neighbours(asking, reach))
            rc = socket_open(&asking->echo[six], reach->ip.family, SOCK_RAW,
                             six ? IPPROTO_ICMPV6 : IPPROTO_ICMP, err);
    }
    for (int six = 0; rc == 0 && six < 2; six++) {
        if (neighbours[six])
            rc = asking->neighbours->open(&asking->neighbours->fds[six], six ? AF_INET6 : AF_INET, err);
    }
    return rc;
}

/* --- asking */

static socklen_t socket_address(const struct reach *reach, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (reach->ip.family == AF_INET6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        memcpy(&six->sin6_addr, reach->ip.bytes, 16);
        six->sin6_scope_id = *reach->ifname ? if_nametoindex(reach->ifname) : 0;
        return sizeof(*six);
    }
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    memcpy(&four->sin_addr, reach->ip.bytes, 4);
    return sizeof(*four);
}

static uint16_t checksum(const uint8_t *bytes, size_t length)
{
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Source: RFC 792; RFC 4443, 4.1, whose checksum the kernel makes. */
static void echo_send(const struct asking *asking, const struct reach *reach)
{
    struct sockaddr_storage to;
    socklen_t length = socket_address(reach, 0, &to);
    int six = reach->ip.family == AF_INET6;
    uint8_t echo[ECHO_SIZE] = {six ? 128 : 8, 0, 0, 0, (uint8_t)(asking->id >> 8), (uint8_t)asking->id, 0, 1};
    uint16_t sum = six ? 0 : checksum(echo, sizeof(echo));
    echo[2] = (uint8_t)(sum >> 8), echo[3] = (uint8_t)sum;
    (void)!sendto(asking->echo[six], echo, sizeof(echo), 0, (struct sockaddr *)&to, length);
}

/* "Which are the root's name servers?"; whoever resolves names knows that, or says that it does not.  Source:
 * RFC 1035, 4.1. */
static void dns_send(const struct asking *asking, const struct reach *reach)
{
    struct sockaddr_storage to;
    socklen_t length = socket_address(reach, DNS_PORT, &to);
    const uint8_t question[17] = {
        (uint8_t)(asking->id >> 8), (uint8_t)asking->id, 1, 0, 0, 1, [14] = 2, [16] = 1};
    (void)!sendto(asking->dns[reach->ip.family == AF_INET6], question, sizeof(question), 0,
                  (struct sockaddr *)&to, length);
}

static void ask(const struct asking *asking, const struct reach *reach)
{
    if (reach->kind == REACH_NAME_SERVER) {
        dns_send(asking, reach);
    } else if (!by_neighbours(asking, reach)) {
        echo_send(asking, reach);
    } else {
        for (const char *const *name = asking->request->interfaces; *name; name++)
            asking->neighbours->ask(asking->neighbour, *name, &reach->ip);
    }
}

/* --- answers */

static void answered(const struct asking *asking, const struct ip *ip, enum reach_kind kind)
{
    for (size_t i = 0; i < asking->request->count; i++) {
        struct reach *reach = &asking->request->reaches[i];
        bool asked = reach->kind == kind ||
                     (kind == REACH_ECHO && reach->kind == REACH_NEIGHBOUR && !asking->neighbours);
        if (asked && ip_equal(&reach->ip, ip))
            reach->answered = true;
    }
}

static ssize_t receive(int fd, uint8_t *bytes, size_t size, struct ip *from)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);
    ssize_t got = recvfrom(fd, bytes, size, MSG_DONTWAIT, (struct sockaddr *)&address, &length);
    *from = (struct ip){.family = (uint8_t)address.ss_family};
    if (address.ss_family == AF_INET6)
        memcpy(from->bytes, &((struct sockaddr_in6 *)&address)->sin6_addr, 16);
    else
        memcpy(from->bytes, &((struct sockaddr_in *)&address)->sin_addr, 4);
    return got;
}

static void echo_read(const struct asking *asking, int six)
{
    uint8_t bytes[256];
    struct ip from;
    ssize_t got = receive(asking->echo[six], bytes, sizeof(bytes), &from);
    ssize_t header = six || got <= 0 ? 0 : (bytes[0] & 15) * 4; /* IPv4's comes with it */
    const uint8_t *echo = bytes + header;
    if (got >= header + 8 && echo[0] == (six ? 129 : 0) && (echo[4] << 8 | echo[5]) == asking->id)
        answered(asking, &from, REACH_ECHO);
}

static void dns_read(const struct asking *asking, int six)
{
    uint8_t bytes[512];
    struct ip from;
    ssize_t got = receive(asking->dns[six], bytes, sizeof(bytes), &from);
    if (got >= 12 && (bytes[0] << 8 | bytes[1]) == asking->id && (bytes[2] & 0x80))
        answered(asking, &from, REACH_NAME_SERVER);
}

static bool everybody(const struct reach_request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        if (!request->reaches[i].answered)
            return false;
    }
    return true;
}

/* True when stop_fd says so. */
static bool listen_until(const struct asking *asking, int64_t end_ms)
{
    int64_t left_ms;
    while (!everybody(asking->request) && (left_ms = end_ms - now_ms()) > 0) {
        struct pollfd fds[7];
        for (int i = 0; i < 2; i++) {
            fds[i] = (struct pollfd){.fd = asking->echo[i], .events = POLLIN};
            fds[2 + i] = (struct pollfd){.fd = asking->dns[i], .events = POLLIN};
            fds[4 + i] = (struct pollfd){.fd = asking->neighbour[i], .events = POLLIN};
        }
        fds[6] = (struct pollfd){.fd = asking->request->stop_fd, .events = POLLIN};
        if (poll(fds, 7, (int)left_ms) < 0)
            continue;
        if (fds[6].revents)
            return true;
        for (int i = 0; i < 2; i++) {
            struct ip ip;
            if (fds[i].revents)
                echo_read(asking, i);
            if (fds[2 + i].revents)
                dns_read(asking, i);
            if (fds[4 + i].revents && asking->neighbours->read(asking->neighbour[i], &ip))
                answered(asking, &ip, REACH_NEIGHBOUR);
        }
    }
    return false;
}

int reach_ask(const struct reach_request *request, const struct neighbour_ops *neighbours, struct err *err)
{
    static const int none[2] = {-1, -1};
    struct asking asking = {.request = request,
                            .neighbours = neighbours,
                            .echo = {-1, -1},
                            .dns = {-1, -1},
                            .neighbour = neighbours ? neighbours->fds : none,
                            .id = (uint16_t)getpid()};
    int64_t end_ms = now_ms() + request->timeout_ms;
    bool stopped = false;
    if (everybody(request))
        return 0;
    int rc = asking_open(&asking, err);
    for (int wait_ms = ASK_FIRST_MS; rc == 0 && !stopped && !everybody(request) && now_ms() < end_ms;) {
        for (size_t i = 0; i < request->count; i++) {
            if (!request->reaches[i].answered)
                ask(&asking, &request->reaches[i]);
        }
        int64_t next_ms = now_ms() + wait_ms;
        stopped = listen_until(&asking, next_ms < end_ms ? next_ms : end_ms);
        wait_ms = wait_ms * 2 < ASK_LAST_MS ? wait_ms * 2 : ASK_LAST_MS;
    }
    asking_close(&asking);
    if (rc < 0)
        return rc;
    return stopped ? -ECANCELED : everybody(request) ? 0 : -ETIMEDOUT;
}

/* --- name servers */

size_t reach_name_servers(struct arena *arena, struct reach *reaches, size_t limit)
{
    char *text;
    size_t count = 0;
    int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* often a symbolic link */
    if (fd < 0)
        return 0;
    char *bytes = arena_alloc(arena, RESOLV_CONF_MAX + 1);
    ssize_t got = read(fd, bytes, RESOLV_CONF_MAX);
    fd_close(&fd);
    bytes[got > 0 ? got : 0] = '\0';
    for (char *line = strtok_r(bytes, "\n", &text); line && count < limit;
         line = strtok_r(NULL, "\n", &text)) {
        char *rest, *word = strtok_r(line, " \t", &rest);
        if (!word || strcmp(word, "nameserver") != 0 || !(word = strtok_r(NULL, " \t", &rest)))
            continue;
        char *scope = strchr(word, '%');
        if (scope)
            *scope++ = '\0';
        struct reach reach = {.kind = REACH_NAME_SERVER, .who = "name server", .ifname = scope ? scope : ""};
        if (ip_parse(word, &reach.ip) == 0 && !ip_is_loopback(&reach.ip))
            reaches[count++] = reach;
    }
    return count;
}

/* --- the caller */

static const char *variable(const char *environment, size_t length, const char *name)
{
    for (const char *at = environment; at < environment + length; at += strlen(at) + 1) {
        if (strncmp(at, name, strlen(name)) == 0)
            return at + strlen(name);
    }
    return NULL;
}

/* Source: proc_pid_environ(5), proc_pid_stat(5); a host without /proc has only this process's own. */
static const char *connection_of(struct arena *arena, pid_t pid, pid_t *parent)
{
    char *text;
    size_t length = 0;
    const char *folder = arena_printf(arena, "/proc/%d/", (int)pid), *found = NULL;
    *parent = 0;
    if (file_read(arena, AT_FDCWD, arena_printf(arena, "%senviron", folder), ENVIRONMENT_MAX, &text, &length,
                  NULL) == 0)
        found = variable(text, length, "SSH_CONNECTION=");
    if (file_read(arena, AT_FDCWD, arena_printf(arena, "%sstat", folder), 4096, &text, NULL, NULL) == 0) {
        const char *name_end = strrchr(text, ')');
        int number = 0;
        if (name_end && sscanf(name_end, ") %*c %d", &number) == 1)
            *parent = number;
    }
    return found;
}

struct ip reach_caller(struct arena *arena)
{
    struct ip ip = {0};
    const char *connection = getenv("SSH_CONNECTION");
    pid_t pid = getppid();
    for (int i = 0; !connection && pid > 1 && i < ANCESTORS_MAX; i++) {
        pid_t parent;
        connection = connection_of(arena, pid, &parent);
        pid = parent;
    }
    if (connection)
        ip_parse(arena_strndup(arena, connection, strcspn(connection, " %")), &ip);
    return ip;
}
