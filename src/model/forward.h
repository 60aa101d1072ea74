/* forward.h: port forwards: ports of the host that lead to a guest. */
#ifndef VMWIRE_MODEL_FORWARD_H
#define VMWIRE_MODEL_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "model/address.h"

/* At a host's address on a network these are its servers': DNS, DHCP and TFTP; DNS, TFTP and DHCPv6. */
#define FORWARD_OWN_PORTS 53, 67, 69
#define FORWARD_OWN_PORTS6 53, 69, 547

/* Ports `first` to `last` at `listen` lead to the same number of ports from `target_first` on, of one guest.
 */
struct forward {
    uint8_t family;       /* AF_INET or AF_INET6; in the file also 0: whichever the guest has */
    uint8_t protocol;     /* IPPROTO_TCP or IPPROTO_UDP */
    struct ip listen;     /* of the family; unset: every address of the host */
    uint16_t first, last; /* 1 to 65535, first <= last */
    struct ip target;     /* of the family */
    uint16_t target_first;
};

/* In the order of forwards_settle, none twice: two lists say the same just when they are equal. */
struct forwards {
    VEC(struct forward) list;
};

/* "tcp [ADDRESS:]PORTS -> [TARGET:]PORTS"; PORTS is N or N-M, and may be left out behind TARGET; an IPv6
 * address stands in brackets.  0.0.0.0 is every IPv4 address, [::] every IPv6 one.  Fills
 * `forward` and returns NULL, or says what is wrong.  `name` gets what stands as TARGET when it is no address
 * (a machine's name), "" when nothing stands there; forward->target is unset in both cases. */
const char *forward_parse(struct arena *arena, const char *text, struct forward *forward, const char **name);
/* The same form, "tcp 2222 -> 10.0.0.5:22", "tcp [::]:2222 -> [fd00::5]:22", in the arena. */
const char *forward_format(struct arena *arena, const struct forward *forward);
/* "2222" or "8000-8010": the ports on the host's side, and on the target's. */
const char *forward_ports(struct arena *arena, const struct forward *forward);
const char *forward_target_ports(struct arena *arena, const struct forward *forward);
const char *forward_protocol_name(const struct forward *forward); /* "tcp", "udp" */

/* "10.0.0.5", "[fd00::5]": an address in front of a port, in the arena. */
const char *ip_before_port(struct arena *arena, const struct ip *ip);

/* Is it for this machine's own loopback too (127.0.0.0/8, or every IPv4 address)? */
bool forward_has_loopback(const struct forward *forward);
/* Do both want a port at an address? */
bool forward_clash(const struct forward *a, const struct forward *b);

/* Order by protocol, address and port, and join what continues another. */
void forwards_settle(struct forwards *forwards);
bool forwards_equal(const struct forwards *a, const struct forwards *b);

#endif
