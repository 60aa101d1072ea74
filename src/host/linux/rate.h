/* rate.h: how a rate is limited on Linux; what the files that apply, read and render it share.
 *
 * Theory.  Every frame of a limited nic passes the network's shaper of its way, an interface of kind ifb, and
 * comes back to where it was: mirred takes it from the tap's clsact hook (ingress: from the guest; egress:
 * towards it), ifb queues it in its own root qdisc, and what leaves that goes on at the tap, which does not
 * ask the hook a second time.  So nothing but taps is touched, neither the uplink nor what is the host's, the
 * order of frames is kept, and a sender is slowed by a queue and not by losses.
 *
 *   htb 7677:            overhead -14: bytes are IP's
 *     class 7677:1       the network's rate (none: UNLIMITED)
 *       class 7677:2     nics without a rate of their own
 *       class 7677:8000+ one a nic that has one
 *
 * A nic's class is found by its tap's index, at a cost that does not grow with their number: by `flow map key
 * iif`, or, where the kernel has no cls_flow, by a program of four instructions that says the same.  The
 * shaper is the network's, made by `up`; hook and filter are the tap's and go with it.  A nic's class stays
 * when its program ends, empty, until one of the next 64 is opened (rates_open). */
#ifndef VMWIRE_HOST_LINUX_RATE_H
#define VMWIRE_HOST_LINUX_RATE_H

#include <stdint.h>

#include "base/arena.h"
#include "model/state.h"

enum {
    SHAPER_MAJOR = 0x7677,
    SHAPER_ALL = 1,
    SHAPER_REST = 2,
    SHAPER_NICS = 0x8000,
    SHAPER_NIC_MASK = 0x7fff,
    SHAPER_OVERHEAD = -14, /* the Ethernet header's */
    SHAPER_QUANTUM = 65536,
    SHAPER_OWN_BITS = 64000, /* what a class has without asking its parent: next to nothing */
};
#define SHAPER_UNLIMITED UINT64_C(1000000000000)
#define SHAPER_CLASS(minor) ((uint32_t)SHAPER_MAJOR << 16 | (minor))

/* "vmwin3fa94c01", "vmwout3fa94c01": made from the network's name, which may be too long to add to. */
const char *shaper_name(struct arena *arena, const char *network, enum rate_way way);
/* Its alias: "vmwire:NET rate-in". */
const char *shaper_tag(struct arena *arena, const char *network, enum rate_way way);

/* What a class may have waiting, bytes: 50 ms, at least four of the largest packets, at most 16 MiB. */
uint32_t shaper_queue(uint64_t bits_s);
/* A class's limit: `ceil` of htb(8). */
struct rate shaper_ceil(const struct rate *rate);

/* As commands of sh. */
struct nic_rates;
const char *nic_rate_commands(struct arena *arena, const char *network, const struct nic_rates *rates);
const char *shaper_commands(struct arena *arena, const struct shaper *shaper, bool set);

#endif
