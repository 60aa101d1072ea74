/* frame_owner.h: whose frame is it?  Also where it has the host's MAC and address, behind NAT.
 *
 * Theory of operation.  On a tap and a bridge a guest's MAC tells.  Behind NAT it does not: there a frame is
 * the one that was seen a moment ago at a nic when all that translation leaves alone is the same; the flow
 * that it left in is remembered, and what comes back in that flow is its answer.  So frames have to be given
 * in time order, from all hops, and what was never seen at a nic stays nobody's. */
#ifndef VMWIRE_DIAG_FRAME_OWNER_H
#define VMWIRE_DIAG_FRAME_OWNER_H

#include "diag/capture.h"
#include "diag/packet.h"

/* Tables without chains: the cost of a frame does not grow with what was seen, and the latest counts. */
enum { OWNER_SLOTS = 4096 };

struct frame_owners {
    struct {
        struct packet_flow flow;
        uint16_t ip_id, dns_id;
        uint32_t tcp_sequence;
        size_t payload_length;
        size_t hop; /* + 1; 0: empty */
    } recent[OWNER_SLOTS];
    struct {
        struct packet_flow outside;
        size_t hop; /* + 1; 0: empty */
    } flows[OWNER_SLOTS];
};

/* The hop of the nic that it is of, SIZE_MAX for nobody's; `from`: the guest sent it, else it goes there. */
size_t frame_owner(struct frame_owners *owners, const struct hops *hops,
                   const struct capture_packet *captured, const struct packet *packet, bool *from);

#endif
