/* forward_check.c: does anything listen where port forwards lead: forward_check.h. */
#include "diag/forward_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 700 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void forward_check_start(struct forward_check *check, const struct network *network)
{
    *check = (struct forward_check){.started_ms = now_ms()};
    for (size_t i = 0; network && i < network->forwards.list.count && check->count < FORWARDS_CHECKED; i++) {
        const struct forward *forward = &network->forwards.list.items[i];
        if (forward->protocol != IPPROTO_TCP)
            continue;
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(forward->target_first)};
        struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = to.sin_port};
        bool ipv6 = forward->target.family == AF_INET6;
        memcpy(ipv6 ? (void *)&to6.sin6_addr : &to.sin_addr, forward->target.bytes,
               ip_size(&forward->target));
        int fd = socket(forward->target.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0) /* poll tells how it went */
            (void)!connect(fd, ipv6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to,
                           ipv6 ? sizeof(to6) : sizeof(to));
        check->fds[check->count] = fd;
        check->forwards[check->count++] = forward;
    }
}

static const char *machine_of(struct arena *arena, const struct network *network, const struct ip *target,
                              const struct observed *observed, bool *runs)
{
    *runs = true;
    vec_foreach (&network->nics, member) {
        if (!ip_equal(&member->nic->address, target) && !ip_equal(&member->nic->address6, target))
            continue;
        *runs = false;
        vec_foreach (&observed->links, link) {
            struct wired_nic nic;
            *runs |= owner_nic(arena, link, &nic) && mac_equal(&nic.mac, &member->nic->mac);
        }
        return member->machine->name;
    }
    return NULL;
}

static void tell(struct arena *arena, const struct observed *observed, const struct network *network,
                 const struct forward *forward, const char *what, struct findings *findings)
{
    bool runs;
    const char *machine = machine_of(arena, network, &forward->target, observed, &runs);
    struct finding *finding =
        finding_add(findings, "forward-target-silent", arena_printf(arena, "network '%s'", network->name));
    finding_evidence(findings, finding, "%s: %s port %u %s%s%s%s", forward_format(arena, forward),
                     IP_TEXT(&forward->target), forward->target_first, what, machine ? "; machine '" : "",
                     machine ? machine : "",
                     !machine ? ""
                     : runs   ? "' runs"
                              : "' does not run");
    if (machine && !runs)
        finding->severity = FINDING_NOTE;
}

void forward_check_end(struct forward_check *check, struct arena *arena, const struct observed *observed,
                       const struct network *network, struct findings *findings)
{
    for (size_t i = 0; i < check->count; i++) {
        int64_t left = check->started_ms + PATIENCE_MS - now_ms();
        struct pollfd ready = {.fd = check->fds[i], .events = POLLOUT};
        int error = ETIMEDOUT;
        socklen_t length = sizeof(error);
        if (check->fds[i] < 0)
            continue;
        if (poll(&ready, 1, left > 0 ? (int)left : 0) > 0)
            getsockopt(check->fds[i], SOL_SOCKET, SO_ERROR, &error, &length);
        close(check->fds[i]);
        if (error)
            tell(arena, observed, network, check->forwards[i],
                 error == ECONNREFUSED ? "refuses the connection: nothing listens there" : "does not answer",
                 findings);
    }
    check->count = 0;
}
