/* reach.h: who answers this host: its gateways, name servers, the caller's own end of an SSH connection.
 * Asked before and after a change, so that one that cuts the host off is undone (engine/guard.h). */
#ifndef VMWIRE_HOST_REACH_H
#define VMWIRE_HOST_REACH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/address.h"

enum reach_kind {
    REACH_NEIGHBOUR,   /* ARP or neighbour discovery, on every one of `interfaces` */
    REACH_ECHO,        /* ICMP echo */
    REACH_NAME_SERVER, /* any answer to a DNS question over UDP */
};

struct reach {
    enum reach_kind kind;
    const char *who; /* "default gateway", for messages */
    struct ip ip;
    const char *ifname; /* the scope of a link-local address; "" else */
    bool answered;
};

struct reach_request {
    struct reach *reaches; /* those that have `answered` already are not asked */
    size_t count;
    const char *const
        *interfaces; /* NULL-terminated; for neighbours.  One that is not there is passed over */
    int timeout_ms;
    int stop_fd; /* once it is readable (or hung up), asking ends; -1: none */
};

/* How an operating system asks neighbours.  NULL: by ICMP echo, which cannot do without them. */
struct neighbour_ops {
    /* Sockets of IPv4 and IPv6, -1 while not open.  They stay open from one asking to the next (closing one
     * costs some ten milliseconds), until the backend's reach_end. */
    int *fds;
    /* Open the one of this family, or empty it.  0 or a negative errno. */
    int (*open)(int *fd, int family, struct err *err);
    void (*ask)(const int fds[2], const char *ifname, const struct ip *ip);
    /* One message of a socket of `open`, which is readable: the address that it shows to be there. */
    bool (*read)(int fd, struct ip *ip);
};

/* Ask again and again until each has answered.  0: each has; -ETIMEDOUT; -ECANCELED for stop_fd; or what kept
 * it from asking. */
int reach_ask(const struct reach_request *request, const struct neighbour_ops *neighbours, struct err *err);

/* The servers of /etc/resolv.conf but loopback ones, which answer whatever happens; at most `limit`. */
size_t reach_name_servers(struct arena *arena, struct reach *reaches, size_t limit);

/* Who is logged in here over the network: $SSH_CONNECTION of this process or, as sudo(8) drops it, of one
 * that it comes from.  Unset: nobody. */
struct ip reach_caller(struct arena *arena);

#endif
