/* frame_owner.c: whose frame is it: frame_owner.h. */
#include "diag/frame_owner.h"

static size_t nic_by_mac(const struct hops *hops, const struct mac *mac)
{
    vec_foreach (&hops->list, hop) {
        if (hop->kind == HOP_NIC && mac_equal(&hop->nic.mac, mac))
            return (size_t)(hop - hops->list.items);
    }
    return SIZE_MAX;
}

static uint32_t mix(uint32_t hash, const void *bytes, size_t length)
{
    for (const uint8_t *byte = bytes; length--; byte++)
        hash = (hash ^ *byte) * 16777619u; /* FNV-1a */
    return hash;
}

/* Of what translation leaves alone: not source address and port, nor an echo's identifier. */
static uint32_t packet_slot(const struct packet *packet)
{
    uint32_t hash = mix(2166136261u, packet->flow.target.bytes, sizeof(packet->flow.target.bytes));
    hash = mix(hash, &packet->flow.protocol, 1);
    hash = mix(hash, &packet->ip_id, sizeof(packet->ip_id));
    hash = mix(hash, &packet->tcp_sequence, sizeof(packet->tcp_sequence));
    return mix(hash, &packet->flow.sequence, sizeof(packet->flow.sequence)) % OWNER_SLOTS;
}

static uint32_t flow_slot(const struct packet_flow *flow)
{
    uint32_t hash = mix(2166136261u, flow->source.bytes, sizeof(flow->source.bytes));
    hash = mix(hash, flow->target.bytes, sizeof(flow->target.bytes));
    hash = mix(hash, &flow->source_port, sizeof(flow->source_port));
    hash = mix(hash, &flow->target_port, sizeof(flow->target_port));
    return mix(hash, &flow->protocol, 1) % OWNER_SLOTS;
}

static void remember(struct frame_owners *owners, size_t hop, const struct packet *packet)
{
    __typeof__(&owners->recent[0]) slot = &owners->recent[packet_slot(packet)];
    slot->flow = packet->flow;
    slot->ip_id = packet->ip_id;
    slot->dns_id = packet->dns_id;
    slot->tcp_sequence = packet->tcp_sequence;
    slot->payload_length = packet->payload_length;
    slot->hop = hop + 1;
}

static size_t recent_find(const struct frame_owners *owners, const struct packet *packet)
{
    const __typeof__(owners->recent[0]) *slot = &owners->recent[packet_slot(packet)];
    bool echo = packet->layers & PACKET_ICMP;
    bool same = slot->hop && slot->flow.protocol == packet->flow.protocol &&
                ip_equal(&slot->flow.target, &packet->flow.target) &&
                (echo || slot->flow.target_port == packet->flow.target_port) &&
                slot->flow.sequence == packet->flow.sequence && slot->ip_id == packet->ip_id &&
                slot->dns_id == packet->dns_id && slot->tcp_sequence == packet->tcp_sequence &&
                slot->payload_length == packet->payload_length;
    return same ? slot->hop - 1 : SIZE_MAX;
}

static void flow_learn(struct frame_owners *owners, size_t hop, const struct packet_flow *flow)
{
    __typeof__(&owners->flows[0]) slot = &owners->flows[flow_slot(flow)];
    slot->outside = *flow;
    slot->hop = hop + 1;
}

static size_t answer_find(const struct frame_owners *owners, const struct packet_flow *answer)
{
    struct packet_flow outside = *answer;
    outside.source = answer->target, outside.target = answer->source;
    outside.source_port = answer->target_port, outside.target_port = answer->source_port;
    const __typeof__(owners->flows[0]) *slot = &owners->flows[flow_slot(&outside)];
    return slot->hop && packet_flow_equal(&slot->outside, &outside) ? slot->hop - 1 : SIZE_MAX;
}

size_t frame_owner(struct frame_owners *owners, const struct hops *hops,
                   const struct capture_packet *captured, const struct packet *packet, bool *from)
{
    const struct hop *hop = &hops->list.items[captured->hop];
    bool ip = packet->layers & PACKET_IP;
    if (hop->kind == HOP_NIC) {
        *from = captured->direction == CAPTURE_IN;
        if (*from && ip)
            remember(owners, captured->hop, packet);
        return captured->hop;
    }
    size_t source = nic_by_mac(hops, &packet->source_mac), target = nic_by_mac(hops, &packet->target_mac);
    *from = source != SIZE_MAX;
    if (source != SIZE_MAX || target != SIZE_MAX)
        return *from ? source : target;
    if (hop->kind != HOP_UPLINK || !ip)
        return SIZE_MAX;
    *from = captured->direction == CAPTURE_OUT;
    if (!*from)
        return answer_find(owners, &packet->flow);
    size_t owner = recent_find(owners, packet);
    if (owner != SIZE_MAX)
        flow_learn(owners, owner, &packet->flow);
    return owner;
}
