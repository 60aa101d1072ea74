/* trace_follow.c: frames and chain events to what was asked, how far it came, and what answered. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "diag/trace_internal.h"

enum { LARGE = 1000, SERVFAIL = 2 };
#define TRACK_LEAST_NS INT64_C(100000000)

const char *trace_mac_owner(struct tracer *tracer, const struct mac *mac, const char *not_tap)
{
    vec_foreach (&tracer->request->observed->links, link) {
        struct wired_nic nic;
        if (strcmp(link->name, not_tap) == 0 || !owner_nic(tracer->arena, link, &nic) ||
            !mac_equal(&nic.mac, mac))
            continue;
        return strcmp(nic.machine, "-") == 0 ? arena_printf(tracer->arena, "the nic '%s'", link->name)
                                             : arena_printf(tracer->arena, "machine '%s' (nic %u, '%s')",
                                                            nic.machine, nic.index, link->name);
    }
    return NULL;
}

bool trace_in_subnet(const struct tracer *tracer, const struct ip *ip)
{
    for (size_t i = 0; i < tracer->subnet_count; i++) {
        if (prefix_contains(&tracer->subnets[i], ip))
            return true;
    }
    return false;
}

enum ask_side trace_side(const struct tracer *tracer, const struct ip *target)
{
    vec_foreach (&tracer->request->observed->addresses, address) {
        if (ip_equal(&address->prefix.ip, target))
            return SIDE_HOST;
    }
    return mode_behind_host(tracer->mode) && trace_in_subnet(tracer, target) ? SIDE_INSIDE : SIDE_OUTSIDE;
}

/* What TCP's sequence numbers count of a segment. */
static uint32_t tcp_span(const struct packet *packet)
{
    return (uint32_t)packet->payload_length + !!(packet->tcp_flags & TCP_SYN) +
           !!(packet->tcp_flags & TCP_FIN);
}

static bool is_unspecified(const struct ip *ip)
{
    static const uint8_t zeros[16];
    return memcmp(ip->bytes, zeros, ip_size(ip)) == 0;
}

/* Does this frame of a guest want an answer, and of which kind? */
static bool asks(const struct packet *packet, enum ask_kind *kind)
{
    if (packet->layers & PACKET_ARP) {
        *kind = ASK_ARP;
        /* Asking for one's own address, or from none, looks for others who have it: nobody should answer. */
        return packet->arp_operation == 1 && !ip_equal(&packet->arp_source, &packet->arp_target) &&
               !is_unspecified(&packet->arp_source);
    }
    if (packet->layers & PACKET_DHCP) {
        *kind = ASK_DHCP;
        return !packet->dhcp_reply &&
               (packet->dhcp_type == DHCP_DISCOVER || packet->dhcp_type == DHCP_REQUEST);
    }
    *kind = ASK_IP;
    if (!(packet->layers & PACKET_IP) || mac_is_multicast(&packet->target_mac) ||
        ip_is_multicast(&packet->flow.target) || ip_is_link_local(&packet->flow.target) ||
        packet->later_fragment)
        return false;
    if (packet->layers & PACKET_ICMP)
        return packet_is_echo_request(packet);
    if (packet->layers & PACKET_TCP)
        return tcp_span(packet) > 0 && !(packet->tcp_flags & TCP_RST) &&
               (packet->tcp_flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK);
    return packet->layers & PACKET_UDP;
}

static bool same_ask(const struct ask *ask, enum ask_kind kind, const struct packet *packet)
{
    if (ask->kind != kind)
        return false;
    if (kind == ASK_ARP)
        return ip_equal(&ask->packet.arp_target, &packet->arp_target) &&
               ip_equal(&ask->packet.arp_source, &packet->arp_source);
    if (kind == ASK_DHCP)
        return mac_equal(&ask->packet.dhcp_client, &packet->dhcp_client);
    return packet_flow_equal(&ask->packet.flow, &packet->flow);
}

/* The same packet at a later hop: the flow and what tells its packets apart. */
static bool same_packet(const struct ask *ask, const struct packet *packet)
{
    const struct packet *mine = &ask->packet;
    if (ask->kind == ASK_ARP)
        return (packet->layers & PACKET_ARP) && packet->arp_operation == 1 &&
               ip_equal(&mine->arp_target, &packet->arp_target) &&
               ip_equal(&mine->arp_source, &packet->arp_source);
    if (ask->kind == ASK_DHCP)
        return (packet->layers & PACKET_DHCP) && !packet->dhcp_reply &&
               packet->dhcp_transaction == mine->dhcp_transaction;
    return packet_flow_equal(&mine->flow, &packet->flow) && packet->flow.sequence == mine->flow.sequence &&
           packet->tcp_sequence == mine->tcp_sequence;
}

/* As same_packet, with source address, port and echo identifier perhaps translated. */
static bool same_translated(const struct ask *ask, const struct packet *packet)
{
    const struct packet *mine = &ask->packet;
    if (same_packet(ask, packet))
        return true;
    if (ask->kind != ASK_IP || !(packet->layers & PACKET_IP) ||
        packet->flow.protocol != mine->flow.protocol || !ip_equal(&packet->flow.target, &mine->flow.target) ||
        packet->ip_id != mine->ip_id || packet->payload_length != mine->payload_length)
        return false;
    if (packet->layers & PACKET_ICMP)
        return packet->icmp_type == mine->icmp_type && packet->flow.sequence == mine->flow.sequence;
    return packet->flow.target_port == mine->flow.target_port && packet->tcp_sequence == mine->tcp_sequence &&
           packet->dns_id == mine->dns_id;
}

static bool answers(const struct ask *ask, const struct packet_flow *flow, const struct packet *packet)
{
    const struct packet *mine = &ask->packet;
    if (ask->kind == ASK_ARP)
        return (packet->layers & PACKET_ARP) && packet->arp_operation == 2 &&
               ip_equal(&packet->arp_source, &mine->arp_target);
    if (ask->kind == ASK_DHCP)
        return (packet->layers & PACKET_DHCP) && packet->dhcp_reply &&
               packet->dhcp_transaction == mine->dhcp_transaction;
    if (!packet_flow_reverse(flow, &packet->flow))
        return false;
    if (packet->layers & PACKET_ICMP)
        return packet_is_echo_reply(packet);
    if (!(packet->layers & PACKET_TCP))
        return true;
    return (packet->tcp_flags & TCP_RST) ||
           ((packet->tcp_flags & TCP_ACK) &&
            (int32_t)(packet->tcp_acknowledgement - (mine->tcp_sequence + tcp_span(mine))) >= 0);
}

/* Here it was: the first frame of each hop counts. */
static void set_seen(struct ask *ask, enum stage stage, const struct packet *packet, int64_t time_ns)
{
    if (ask->times[stage])
        return;
    ask->times[stage] = time_ns;
    ask->seen[stage] = *packet;
}

static void track(struct ask *ask, size_t nic, const struct packet *packet, int64_t time_ns)
{
    memset(ask->times, 0, sizeof(ask->times));
    ask->packet = *packet;
    ask->nic = nic;
    if (time_ns)
        set_seen(ask, AT_NIC, packet, time_ns);
    ask->outside = packet->flow;
    ask->chain_count = 0;
    ask->dropped = ask->has_error = ask->error_reached_guest = false;
}

static struct ask *ask_add(struct tracer *tracer, enum ask_kind kind)
{
    if (tracer->ask_count == ASKS_MAX)
        return NULL;
    struct ask *ask = arena_new(tracer->arena, struct ask);
    ask->kind = kind;
    tracer->asks[tracer->ask_count++] = ask;
    return ask;
}

static enum ask_side side_of(const struct tracer *tracer, enum ask_kind kind, const struct packet *packet)
{
    if (kind == ASK_DHCP)
        return mode_behind_host(tracer->mode) ? SIDE_HOST : SIDE_OUTSIDE;
    if (kind == ASK_ARP) {
        enum ask_side side = trace_side(tracer, &packet->arp_target);
        return side == SIDE_OUTSIDE && mode_behind_host(tracer->mode) ? SIDE_INSIDE : side;
    }
    return trace_side(tracer, &packet->flow.target);
}

/* A packet of the guest that wants an answer.  Of a connection the oldest unanswered segment is tracked, and
 * tracked anew when it is sent again; of everything else the last packet. */
static void asked(struct tracer *tracer, size_t nic, enum ask_kind kind, const struct packet *packet,
                  int64_t time_ns)
{
    struct ask *ask = NULL;
    for (size_t i = 0; i < tracer->ask_count && !ask; i++) {
        if (same_ask(tracer->asks[i], kind, packet))
            ask = tracer->asks[i];
    }
    if (!ask && !(ask = ask_add(tracer, kind)))
        return;
    bool tcp = packet->layers & PACKET_TCP;
    if (ask->pending && tcp && packet->tcp_sequence != ask->packet.tcp_sequence)
        return;
    /* What the chains say of a packet comes after it: it is not replaced at once. */
    if (ask->pending && !tcp && time_ns - ask->times[AT_NIC] < TRACK_LEAST_NS) {
        ask->sent++;
        return;
    }
    if (!ask->pending) {
        ask->first_ns = time_ns;
        ask->sent = 0;
    }
    ask->side = side_of(tracer, kind, packet);
    ask->pending = true;
    ask->sent++;
    track(ask, nic, packet, time_ns);
}

/* Data of the peer of a connection, as the guest gets it: is there a hole that stays? */
static void data_arrived(struct ask *ask, const struct packet *packet, int64_t time_ns)
{
    uint32_t end = packet->tcp_sequence + tcp_span(packet);
    if (!ask->next_known || (packet->tcp_flags & TCP_SYN)) {
        ask->next_sequence = end;
        ask->next_known = true;
    } else if ((int32_t)(packet->tcp_sequence - ask->next_sequence) >= LARGE) {
        ask->gap_ns = ask->gap ? ask->gap_ns : time_ns;
        ask->gap = true;
    } else if ((int32_t)(end - ask->next_sequence) > 0) {
        ask->next_sequence = end;
        ask->gap = false;
    }
}

static void answered(struct ask *ask, const struct packet *packet, int64_t time_ns)
{
    ask->times[BACK_NIC] = 0;
    set_seen(ask, BACK_NIC, packet, time_ns);
    ask->reply = *packet;
    ask->settled_ns = time_ns;
    ask->pending = false;
    ask->answered++;
    if (ask->packet.ip_length > ask->answered_length)
        ask->answered_length = ask->packet.ip_length;
    ask->answered_large += ask->packet.ip_length >= LARGE;
    if ((packet->layers & PACKET_TCP) && (packet->tcp_flags & TCP_RST)) {
        ask->has_error = ask->error_reached_guest = true;
        ask->error = *packet;
    }
}

/* An ICMP error about what was asked, by its outside or its inside flow. */
static void error_seen(struct ask *ask, size_t hop, const struct packet *packet, bool to_guest)
{
    if (ask->kind != ASK_IP || !(packet->layers & PACKET_INNER))
        return;
    struct packet_flow inner = packet->inner, mine = to_guest ? ask->packet.flow : ask->outside;
    if (!packet_flow_equal(&inner, &mine))
        return;
    ask->has_error = true;
    ask->error = *packet;
    ask->error_hop = hop;
    ask->error_reached_guest |= to_guest;
}

/* A connection that somebody opens to the guest, and what the guest says to it. */
static void inward(struct tracer *tracer, const struct capture_packet *captured, const struct packet *packet)
{
    bool to_guest = captured->direction == CAPTURE_OUT;
    if (!(packet->layers & PACKET_TCP))
        return;
    if (to_guest && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
        if (!tracer->inward_ns || !packet_flow_equal(&tracer->inward, &packet->flow))
            tracer->inward_ns = captured->time_ns;
        tracer->inward = packet->flow;
    } else if (!to_guest && tracer->inward_ns && packet_flow_reverse(&tracer->inward, &packet->flow)) {
        tracer->inward_refused = packet->tcp_flags & TCP_RST;
        tracer->inward_ns = tracer->inward_refused ? tracer->inward_ns : 0;
    }
}

static void at_nic(struct tracer *tracer, const struct capture_packet *captured, const struct packet *packet)
{
    int64_t time_ns = captured->time_ns;
    enum ask_kind kind;
    inward(tracer, captured, packet);
    if (captured->direction == CAPTURE_IN) {
        tracer->frames_in++;
        trace_lock_frame(tracer, packet);
        if (asks(packet, &kind))
            asked(tracer, captured->hop, kind, packet, time_ns);
        for (size_t i = 0; i < tracer->ask_count; i++) {
            struct ask *ask = tracer->asks[i];
            if (ask->kind == ASK_ECHO && ask->pending && answers(ask, &ask->packet.flow, packet))
                set_seen(ask, BACK_NIC, packet, time_ns);
        }
        return;
    }
    tracer->frames_out++;
    for (size_t i = 0; i < tracer->ask_count; i++) {
        struct ask *ask = tracer->asks[i];
        if (ask->kind == ASK_ECHO) {
            if (ask->pending && same_packet(ask, packet))
                set_seen(ask, AT_NIC, packet, time_ns);
            continue;
        }
        if ((packet->layers & PACKET_TCP) && packet_flow_reverse(&ask->packet.flow, &packet->flow))
            data_arrived(ask, packet, time_ns);
        if (ask->pending && answers(ask, &ask->packet.flow, packet))
            answered(ask, packet, time_ns);
        error_seen(ask, captured->hop, packet, true);
    }
}

/* The host's own ping: begins here, and ends here. */
static void echo_at_bridge(struct tracer *tracer, const struct capture_packet *captured,
                           const struct packet *packet)
{
    struct ask *ask = NULL;
    for (size_t i = 0; i < tracer->ask_count; i++) {
        if (tracer->asks[i]->kind == ASK_ECHO)
            ask = tracer->asks[i];
    }
    if (captured->direction == CAPTURE_OUT && tracer->request->ping && packet_is_echo_request(packet) &&
        ip_equal(&packet->flow.target, &tracer->guest)) {
        if (!ask && !(ask = ask_add(tracer, ASK_ECHO)))
            return;
        if (!ask->pending)
            ask->first_ns = captured->time_ns, ask->sent = 0;
        ask->side = SIDE_HOST;
        ask->pending = true;
        ask->sent++;
        track(ask, 0, packet, 0);
        set_seen(ask, AT_BRIDGE, packet, captured->time_ns);
    } else if (ask && ask->pending && captured->direction == CAPTURE_IN &&
               answers(ask, &ask->packet.flow, packet)) {
        int64_t nic = ask->times[BACK_NIC];
        answered(ask, packet, captured->time_ns);
        set_seen(ask, BACK_BRIDGE, packet, captured->time_ns);
        ask->times[BACK_NIC] = nic ? nic : captured->time_ns;
    }
}

static void at_bridge(struct tracer *tracer, const struct capture_packet *captured,
                      const struct packet *packet)
{
    echo_at_bridge(tracer, captured, packet);
    for (size_t i = 0; i < tracer->ask_count; i++) {
        struct ask *ask = tracer->asks[i];
        if (ask->kind == ASK_ECHO)
            continue;
        if (same_packet(ask, packet))
            set_seen(ask, AT_BRIDGE, packet, captured->time_ns);
        else if (answers(ask, &ask->packet.flow, packet))
            set_seen(ask, BACK_BRIDGE, packet, captured->time_ns);
    }
}

/* What the host itself asks and gets on the uplink: the measure for what guests get. */
static void host_at_uplink(struct tracer *tracer, const struct capture_packet *captured,
                           const struct packet *packet)
{
    bool own = tracer->uplink && (mac_equal(&packet->target_mac, &tracer->uplink->mac) ||
                                  (tracer->bridge && mac_equal(&packet->target_mac, &tracer->bridge->mac)));
    if (captured->direction == CAPTURE_IN) {
        tracer->router_answers_host |= own;
        if ((packet->layers & PACKET_ARP) && packet->arp_operation == 2 &&
            ip_equal(&packet->arp_source, &tracer->gateway))
            tracer->router_known = true;
        for (size_t i = 0; i < tracer->hops.list.count; i++) {
            const struct hop *hop = &tracer->hops.list.items[i];
            tracer->answers_many |= hop->kind == HOP_NIC && mac_equal(&hop->nic.mac, &packet->target_mac);
        }
    } else if ((packet->layers & PACKET_ARP) && packet->arp_operation == 1 &&
               ip_equal(&packet->arp_target, &tracer->gateway)) {
        tracer->host_asked++;
    }
}

/* What dnsmasq has to ask others. */
static void host_dns(struct tracer *tracer, const struct capture_packet *captured,
                     const struct packet *packet)
{
    if (!(packet->layers & PACKET_DNS))
        return;
    bool answer = packet->dns_response && packet->dns_status != SERVFAIL;
    /* A guest's own question to the host, on its way elsewhere: a rule redirects it. */
    for (size_t i = 0; i < tracer->ask_count && captured->direction == CAPTURE_OUT; i++) {
        const struct packet *mine = &tracer->asks[i]->packet;
        if (tracer->asks[i]->side == SIDE_HOST && (mine->layers & PACKET_DNS) &&
            mine->dns_id == packet->dns_id && mine->flow.source_port == packet->flow.source_port) {
            tracer->redirected = packet->flow.target;
            return;
        }
    }
    tracer->host_dns_asked += captured->direction == CAPTURE_OUT && !packet->dns_response;
    tracer->host_dns_answered += captured->direction == CAPTURE_IN && answer;
}

static void at_uplink(struct tracer *tracer, const struct capture_packet *captured,
                      const struct packet *packet)
{
    host_at_uplink(tracer, captured, packet);
    host_dns(tracer, captured, packet);
    for (size_t i = 0; i < tracer->ask_count; i++) {
        struct ask *ask = tracer->asks[i];
        if (captured->direction == CAPTURE_OUT && ask->pending && !ask->times[AT_UPLINK] &&
            same_translated(ask, packet)) {
            set_seen(ask, AT_UPLINK, packet, captured->time_ns);
            ask->outside = packet->flow;
        } else if (captured->direction == CAPTURE_IN) {
            if (ask->times[AT_UPLINK] && answers(ask, &ask->outside, packet))
                set_seen(ask, BACK_UPLINK, packet, captured->time_ns);
            error_seen(ask, captured->hop, packet, false);
        }
    }
}

static void speaker_add(struct tracer *tracer, struct speaker speaker)
{
    for (size_t i = 0; i < tracer->speaker_count; i++) {
        if (ip_equal(&tracer->speakers[i].ip, &speaker.ip) &&
            mac_equal(&tracer->speakers[i].mac, &speaker.mac))
            return;
    }
    if (tracer->speaker_count < SPEAKERS_MAX)
        tracer->speakers[tracer->speaker_count++] = speaker;
}

/* Who answers the guest for an address: two may. */
static void answered_for(struct tracer *tracer, const struct capture_packet *captured,
                         const struct packet *packet)
{
    if (tracer->hops.list.items[captured->hop].kind == HOP_NIC && (packet->layers & PACKET_ARP) &&
        packet->arp_operation == 2)
        speaker_add(tracer, (struct speaker){packet->arp_source, packet->arp_source_mac, captured->hop});
}

/* Who speaks under which address: what comes in at nics and, from guests of other machines, at the bridge. */
static void heard(struct tracer *tracer, const struct capture_packet *captured, const struct packet *packet)
{
    const struct hop *hop = &tracer->hops.list.items[captured->hop];
    struct speaker speaker = {.mac = packet->source_mac, .hop = captured->hop};
    if (packet->layers & PACKET_ARP)
        speaker.ip = packet->arp_source;
    else if ((packet->layers & PACKET_IP) && packet->flow.source.family == AF_INET &&
             (hop->kind == HOP_NIC || trace_mac_owner(tracer, &speaker.mac, "")))
        speaker.ip = packet->flow.source;
    if (!ip_is_set(&speaker.ip) || is_unspecified(&speaker.ip))
        return;
    if (hop->kind == HOP_NIC && !ip_is_link_local(&speaker.ip) && !ip_equal(&tracer->guest, &speaker.ip)) {
        tracer->guest = speaker.ip;
        tracer->guest_nic = captured->hop;
        if (tracer->chains)
            tracer->host->backend->chain_trace->guest_set(tracer->chains, &tracer->guest, NULL);
    }
    speaker_add(tracer, speaker);
}

/* The guest's own MAC as sender, from somewhere else. */
static void twin_check(struct tracer *tracer, const struct capture_packet *captured,
                       const struct packet *packet)
{
    const struct hop *from = &tracer->hops.list.items[captured->hop];
    if (from->kind == HOP_BRIDGE)
        return;
    if (from->kind == HOP_NIC && tracer->bridge && mac_equal(&tracer->bridge->mac, &packet->source_mac)) {
        tracer->twin = true;
        tracer->twin_mac = packet->source_mac;
        tracer->twin_hop = captured->hop;
        return;
    }
    vec_foreach (&tracer->hops.list, hop) {
        size_t index = (size_t)(hop - tracer->hops.list.items);
        if (hop->kind == HOP_NIC && index != captured->hop && mac_equal(&hop->nic.mac, &packet->source_mac)) {
            tracer->twin = true;
            tracer->twin_mac = packet->source_mac;
            tracer->twin_hop = captured->hop;
        }
    }
}

static void server_check(struct tracer *tracer, const struct packet *packet)
{
    if (!(packet->layers & PACKET_DHCP) || !packet->dhcp_reply || !mode_behind_host(tracer->mode))
        return;
    const struct ip *server = ip_is_set(&packet->dhcp_server) ? &packet->dhcp_server : &packet->flow.source;
    if (trace_side(tracer, server) == SIDE_HOST)
        return;
    tracer->other_server = *server;
    tracer->other_server_mac = packet->source_mac;
}

void trace_frame(struct tracer *tracer, const struct capture_packet *captured)
{
    struct packet packet;
    packet_decode(captured->bytes, captured->caplen, captured->length, &packet);
    if (captured->direction != CAPTURE_OUT) {
        heard(tracer, captured, &packet);
        twin_check(tracer, captured, &packet);
        server_check(tracer, &packet);
    } else {
        answered_for(tracer, captured, &packet);
    }
    switch (tracer->hops.list.items[captured->hop].kind) {
    case HOP_NIC:
        at_nic(tracer, captured, &packet);
        break;
    case HOP_BRIDGE:
        at_bridge(tracer, captured, &packet);
        break;
    case HOP_UPLINK:
        at_uplink(tracer, captured, &packet);
        break;
    default:
        break;
    }
}

/* Whose packet is this?  Chains see it before and behind translation. */
static struct ask *ask_of(struct tracer *tracer, const struct packet *packet, bool *back)
{
    for (size_t i = 0; i < tracer->ask_count; i++) {
        struct ask *ask = tracer->asks[i];
        const struct packet_flow *mine = &ask->packet.flow;
        *back = false;
        if (ask->kind == ASK_ARP && same_packet(ask, packet))
            return ask;
        if (ask->kind == ASK_ARP || !(packet->layers & PACKET_IP))
            continue;
        if (packet_flow_equal(mine, &packet->flow) || packet_flow_equal(&ask->outside, &packet->flow))
            return ask;
        *back = packet_flow_reverse(mine, &packet->flow) || packet_flow_reverse(&ask->outside, &packet->flow);
        if (*back)
            return ask;
    }
    return NULL;
}

void trace_chain_event(struct tracer *tracer, const struct chain_event *event, int64_t now_ns)
{
    __typeof__(&tracer->ids[0]) id = &tracer->ids[event->packet_id % 256];
    if (event->frame_length) {
        packet_decode(event->frame, event->frame_length, event->frame_length, &id->packet);
        trace_lock_complete(tracer, &id->packet);
        bool back = false;
        id->id = event->packet_id;
        id->ask = ask_of(tracer, &id->packet, &back);
        id->back = back;
        id->in_index = event->in_index;
        id->out_index = event->out_index;
    }
    struct ask *ask = id->id == event->packet_id ? id->ask : NULL;
    if (id->id == event->packet_id)
        trace_lock_drop(tracer, ask, &id->packet, event, id->in_index);
    if (!ask || strcmp(event->table, "vmwire_trace") == 0 || ask->chain_count == CHAINS_MAX)
        return;
    struct judged *judged = &ask->chains[ask->chain_count++];
    *judged = (struct judged){.back = id->back,
                              .family = event->family,
                              .handle = event->handle,
                              .verdict = event->verdict,
                              .in_index = id->in_index,
                              .out_index = id->out_index};
    memcpy(judged->table, event->table, sizeof(judged->table));
    memcpy(judged->chain, event->chain, sizeof(judged->chain));
    memcpy(judged->to_chain, event->to_chain, sizeof(judged->to_chain));
    if (event->verdict == CHAIN_DROP && !ask->dropped) {
        ask->dropped = true;
        ask->dropped_ns = now_ns;
    }
}
