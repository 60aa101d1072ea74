/* guest.h: a guest without a hypervisor: a process that is alone on a network, and dies with its caller.
 *
 * On Linux it lives in namespaces of its own, on FreeBSD in a jail with a network stack of its own.  Either
 * way its only interface is the other end of a nic that was opened for it (nic_request.guest). */
#ifndef VMWIRE_HOST_GUEST_H
#define VMWIRE_HOST_GUEST_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "model/address.h"

struct host;
struct nic_open;

/* It dies with the caller, however that ends, and all that it started with it. */
struct guest {
    pid_t pid;
    int fd;   /* a SOCK_SEQPACKET socket to it */
    int jail; /* FreeBSD: its number; 0: none */
};

struct guest_request {
    const struct nic_open *nic; /* one queue, no virtio header */
    struct mac mac;
    uint32_t mtu; /* bytes */
    /* Runs in the process with the other end of guest->fd; the interface `ifname` is up, without address.
     * The process ends when it returns. */
    void (*act)(int fd, const char *ifname, void *data);
    void *data;
};

/* What a DHCP client was given; `gateway`, `dns` and `server` may be unset. */
struct guest_lease {
    struct prefix address;
    struct ip gateway, dns, server;
};

/* How a host makes guests; below end, what is called in the guest's process alone. */
struct host_guest {
    int (*start)(struct host *host, const struct guest_request *request, struct guest *guest,
                 struct err *err);
    void (*end)(struct guest *guest); /* may be called twice */

    /* Get a lease by the system's own DHCP client, and set address and route by it.  `program` is vmwire's
     * absolute path.  -ETIMEDOUT when nobody answered within the time, -ENOENT without the client. */
    int (*lease)(const char *ifname, const char *program, int timeout_ms, struct guest_lease *lease,
                 struct err *err);
    /* Set what a guest without DHCP has; `gateway` may be unset. */
    int (*address_set)(const char *ifname, const struct prefix *address, const struct ip *gateway,
                       struct err *err);
    /* A descriptor that becomes readable when ARP frames come, and is written whole frames to; -errno. */
    int (*arp_open)(const char *ifname);
    /* The next frame that came, at most `size` bytes of it; 0 when there is none now. */
    size_t (*arp_read)(int fd, void *frame, size_t size);
    /* What is sent by this IPv4 socket goes with "do not fragment", whatever the kernel has learned of paths.
     */
    void (*never_fragment)(int fd);
    bool solicit; /* the kernel asks for no router by itself */
};

#endif
