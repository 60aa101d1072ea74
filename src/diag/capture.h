/* capture.h: frames of several interfaces at once, in time order: libpcap behind one call.
 *
 * Theory of operation.  A hop is an interface that a guest's packets pass.  Each is opened twice, once for
 * each direction, because libpcap tells no direction of a single frame; so every frame has one.  The kernel
 * stamps frames one after another and hands them to each handle apart, so frames wait here for a few
 * milliseconds (`hold`) until none that is older can come, and are then given out by their stamps.
 *
 * Nothing stays when the process ends, however it ends: handles, filters and promiscuous mode are the
 * kernel's to take back.  Source: pcap(3). */
#ifndef VMWIRE_DIAG_CAPTURE_H
#define VMWIRE_DIAG_CAPTURE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/model.h"
#include "model/state.h"

enum hop_kind {
    HOP_NIC,    /* a guest's tap */
    HOP_BRIDGE, /* a network's bridge: what the host itself sends and receives there, and what is forwarded */
    HOP_UPLINK,
    HOP_OTHER, /* an interface that the caller added */
};

/* The order of hops is the way out: nics, bridge, uplink. */
struct hop {
    enum hop_kind kind;
    const char *ifname;
    const char *network;  /* "" when none is known */
    struct wired_nic nic; /* of HOP_NIC; else machine is "" */
};

struct hops {
    VEC(struct hop) list;
};

const char *hop_kind_name(enum hop_kind kind); /* "nic", "bridge", "uplink", "other" */

/* The hops of `name`: of a network its nics, bridge and uplink; of a machine its nics, and bridge and uplink
 * of the networks that they are on; of one nic, named MACHINE/INDEX or by its tap, that alone.  From what is
 * there, not from the file: `observed` needs links, routes and files (HOST_OBSERVE_LINKS, _ROUTES, _FILES);
 * `model` may be NULL or empty, and only names an uplink that the record does not.  An interface that is not
 * there is left out.  -ENOENT when nothing has the name, or it has no interface: the text says what is. */
int capture_hops(struct arena *arena, const struct observed *observed, const struct model *model,
                 const char *name, struct hops *hops, struct err *err);

/* The uplink of a network, or its VLAN there: the file's, else the record's, else for nat the default
 * route's; NULL when none. `model` may be NULL. */
const char *capture_uplink(struct arena *arena, const struct observed *observed, const struct model *model,
                           const char *network);

/* Where a frame goes, as the host sees it: IN arrived on the interface (a guest sent it to its tap), OUT is
 * being sent (towards the guest, or into the wire). */
enum capture_direction { CAPTURE_UNKNOWN, CAPTURE_IN, CAPTURE_OUT };

const char *capture_direction_name(enum capture_direction direction); /* "?", "in", "out" */

struct capture_options {
    const char *filter;   /* pcap-filter(7); NULL or "": everything */
    unsigned snap_bytes;  /* of each frame are kept; 0: all of it */
    size_t buffer_bytes;  /* the kernel's, of each handle; 0: 2 MiB */
    bool relaxed;         /* frames may come up to 100 ms late: cheaper, and fewer are dropped under load */
    bool not_promiscuous; /* leave the interfaces' mode alone: a bridge then shows only the host's own frames
                           */
};

struct capture_packet {
    size_t hop; /* index into hops->list */
    const char *ifname;
    enum capture_direction direction;
    int64_t time_ns; /* since the epoch, CLOCK_REALTIME */
    const uint8_t *bytes;
    size_t caplen, length; /* bytes that are here, bytes that were on the wire */
};

struct capture;

/* Is this a filter?  -EINVAL with libpcap's words when it is not; -ENOENT without libpcap.  Opens
 * nothing. */
int capture_filter_check(const char *filter, struct err *err);

/* Open every hop.  An interface that is down or has just gone is passed over (capture_seeing tells); -ENODEV
 * when none can be opened.  -EPERM without CAP_NET_RAW; -EINVAL the filter.  `hops` must live as long. */
int capture_open(struct capture **capture, const struct hops *hops, const struct capture_options *options,
                 struct err *err);
/* Accepts a pointer to NULL. */
void capture_close(struct capture **capture);
#define _cleanup_capture_ __attribute__((cleanup(capture_close)))

/* The next frame: 1 with *packet (its bytes live until the next call), 0 when none came within `timeout_ms`
 * or a signal came, -ENODEV when no interface is left to see, or another negative errno.  A frame is given
 * out about 5 ms (relaxed: 150 ms) after it passed. */
int capture_next(struct capture *capture, int timeout_ms, struct capture_packet *packet, struct err *err);

/* For a poll(2) loop of one's own: fills at most `max` descriptors, returns how many there are.  Call
 * capture_next with a timeout of 0 until it returns 0 when one is readable, and again 5 ms later. */
size_t capture_pollfds(const struct capture *capture, struct pollfd *fds, size_t max);

/* Is this hop open (still)? */
bool capture_seeing(const struct capture *capture, size_t hop);

struct capture_counts {
    uint64_t captured; /* given out by capture_next */
    uint64_t dropped;  /* by the kernel, because they were not read in time */
};
void capture_counts(const struct capture *capture, struct capture_counts *counts);

#endif
