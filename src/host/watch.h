/* watch.h: what happens to a host, as events: links, addresses, routes, forwarding, firewall rules; and to a
 * file. Nothing is ever asked for: a descriptor becomes readable. */
#ifndef VMWIRE_HOST_WATCH_H
#define VMWIRE_HOST_WATCH_H

#include <stdbool.h>
#include <sys/types.h>

enum host_watch_kind {
    HOST_WATCH_NETWORK,  /* links, addresses, routes, forwarding */
    HOST_WATCH_FIREWALL, /* rules of anybody */
    HOST_WATCH_FILE,     /* the file, and what a symbolic link means by it */
    HOST_WATCH_COUNT
};

/* Who made the last change.  The kernel does not say it of every one: then port is 0, and watch_author looks
 * for those who could. */
struct host_watch_author {
    unsigned port;    /* of its netlink socket: often its process's number */
    pid_t pid;        /* 0: not known yet */
    char program[20]; /* "" not known yet */
    enum host_watch_kind kind;
    char suspects[160]; /* "'a' (pid 1), 'b' (pid 2)"; "" none found */
    pid_t self;         /* in: a process that is not meant */
};

#endif
