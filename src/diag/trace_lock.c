/* trace_lock.c: frames of the guest that a lock of its network dropped: trace.h.
 *
 * The kernel itself says which: the lock's chains report as every other chain does, and what goes to the
 * chain drop_KIND is dropped (host/linux/nft_lock_text.c).  Its report has the first bytes of each header
 * alone; the rest is in the frame that was captured at the tap. */
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "diag/lock_text.h"
#include "diag/trace_internal.h"

enum { NEIGHBOUR_SOLICITATION = 135, NEIGHBOUR_ADVERTISEMENT = 136 };

void trace_lock_frame(struct tracer *tracer, const struct packet *packet)
{
    tracer->recent[tracer->recent_count++ % RECENT_MAX] = *packet;
}

static bool is_same(const struct packet *whole, const struct packet *part)
{
    return whole->ethertype == part->ethertype && mac_equal(&whole->source_mac, &part->source_mac) &&
           mac_equal(&whole->target_mac, &part->target_mac) && whole->ip_id == part->ip_id &&
           packet_flow_equal(&whole->flow, &part->flow) && whole->flow.sequence == part->flow.sequence &&
           whole->icmp_type == part->icmp_type && whole->arp_operation == part->arp_operation &&
           ip_equal(&whole->arp_source, &part->arp_source) && ip_equal(&whole->arp_target, &part->arp_target);
}

void trace_lock_complete(const struct tracer *tracer, struct packet *part)
{
    size_t kept = tracer->recent_count < RECENT_MAX ? tracer->recent_count : RECENT_MAX;
    for (size_t i = 1; i <= kept; i++) {
        const struct packet *whole = &tracer->recent[(tracer->recent_count - i) % RECENT_MAX];
        if (is_same(whole, part)) {
            *part = *whole;
            return;
        }
    }
}

static size_t nic_of(const struct tracer *tracer, int index)
{
    vec_foreach (&tracer->hops.list, hop) {
        const struct link *link = link_find(tracer->request->observed, hop->ifname);
        if (hop->kind == HOP_NIC && link && link->index == index)
            return (size_t)(hop - tracer->hops.list.items);
    }
    return 0;
}

void trace_lock_drop(struct tracer *tracer, struct ask *ask, const struct packet *packet,
                     const struct chain_event *event, int in_index)
{
    static const char prefix[] = "drop_";
    if (event->verdict != CHAIN_JUMP || strcmp(event->family, "bridge") != 0 ||
        strcmp(event->table, "vmwire_lock") != 0 || strncmp(event->to_chain, prefix, sizeof(prefix) - 1) != 0)
        return;
    for (enum lock_kind kind = 0; kind < LOCK_KIND_COUNT; kind++) {
        if (strcmp(event->to_chain + sizeof(prefix) - 1, lock_kind_name(kind)) != 0)
            continue;
        struct locked *locked = &tracer->locked[kind];
        locked->count++;
        locked->nic = nic_of(tracer, in_index);
        locked->misnamed = strcmp(event->chain, "from_arp") == 0 || strncmp(event->chain, "nd", 2) == 0;
        locked->packet = *packet;
        if (ask) {
            ask->locked = true;
            ask->lock = kind;
        }
    }
}

static bool is_unspecified(const struct ip *ip)
{
    static const uint8_t zeros[16];
    return memcmp(ip->bytes, zeros, ip_size(ip)) == 0;
}

/* The address in whose name the frame speaks. */
static struct ip speaks_for(const struct packet *packet)
{
    bool discovery = packet->flow.protocol == IPPROTO_ICMPV6 && (packet->layers & PACKET_ICMP);
    if (packet->layers & PACKET_ARP)
        return is_unspecified(&packet->arp_source) ? packet->arp_target : packet->arp_source;
    if (discovery && (packet->icmp_type == NEIGHBOUR_ADVERTISEMENT ||
                      (packet->icmp_type == NEIGHBOUR_SOLICITATION && is_unspecified(&packet->flow.source))))
        return packet->icmp_target;
    return packet->layers & PACKET_IP ? packet->flow.source : (struct ip){0};
}

static struct lock_offence offence_of(const struct locked *locked, enum lock_kind kind)
{
    const struct packet *packet = &locked->packet;
    struct lock_offence offence = {.kind = kind, .mac = packet->source_mac, .misnamed = locked->misnamed};
    if (kind == LOCK_IP || kind == LOCK_ARP)
        offence.ip = speaks_for(packet);
    if (ip_is_set(&offence.ip) && is_unspecified(&offence.ip))
        offence.ip = (struct ip){0};
    if (kind == LOCK_DHCP && (packet->layers & PACKET_DHCP) && !packet->dhcp_reply) {
        offence.asks_lease = true;
        offence.mac = packet->dhcp_client;
    }
    return offence;
}

/* What it may send under. */
static const char *right(struct tracer *tracer, const struct observed *observed, const struct hop *nic,
                         const struct lock_offence *offence)
{
    struct arena *arena = tracer->arena;
    bool own;
    const char *addresses =
        lock_own_addresses(arena, observed, nic->ifname, &nic->nic.mac, &offence->ip, &own);
    const char *mac = arena_strdup(arena, MAC_TEXT(&nic->nic.mac));
    if (offence->kind == LOCK_MAC || offence->asks_lease)
        return arena_printf(arena, "; its nic's MAC is %s, not %s", mac, MAC_TEXT(&offence->mac));
    if (offence->kind == LOCK_IP || offence->kind == LOCK_ARP)
        return arena_printf(arena, "; its nic's MAC is %s, its addresses are: %s", mac, addresses);
    return "";
}

static void tell(struct tracer *tracer, const struct observed *observed, enum lock_kind kind,
                 enum finding_severity severity)
{
    const struct locked *locked = &tracer->locked[kind];
    const struct hop *nic = &tracer->hops.list.items[locked->nic];
    const struct lock *lock = lock_of_network(observed, nic->network);
    const struct lock_drops *drops = lock_drops_of(observed, nic->ifname);
    struct lock_offence offence = offence_of(locked, kind);
    const char *may = right(tracer, observed, nic, &offence), *name = lock_kind_name(kind);
    if (!lock) /* set down meanwhile */
        return;
    struct findings *findings = &tracer->trace->findings;
    struct finding *finding = finding_add(findings, "nic-locked", trace_nic_subject(tracer, locked->nic));
    finding->severity = severity;
    finding_evidence(
        findings, finding,
        "lock '%s' of network '%s' dropped at '%s' (nic %u): %s; its counter dropped_%s is %" PRIu64
        ", of which %" PRIu64 " while trace watched%s",
        name, nic->network, nic->ifname, nic->nic.index, PACKET_TEXT(&locked->packet), name,
        drops ? drops->count[kind] : 0, locked->count, may);
    lock_words(findings, finding, lock, &offence);
}

/* IP and ARP of one address are one fault. */
static bool is_told(const struct tracer *tracer, enum lock_kind kind, const bool done[LOCK_KIND_COUNT])
{
    enum lock_kind other = kind == LOCK_IP ? LOCK_ARP : LOCK_IP;
    if (done[kind] || (kind != LOCK_IP && kind != LOCK_ARP) || !done[other])
        return done[kind];
    struct ip ip = speaks_for(&tracer->locked[kind].packet);
    struct ip known = speaks_for(&tracer->locked[other].packet);
    return ip_equal(&ip, &known);
}

/* One that a guest makes up until it has a lease. */
static bool is_made_up(const struct packet *packet)
{
    struct ip ip = speaks_for(packet);
    return ip.family == AF_INET && ip_is_link_local(&ip);
}

void trace_lock_tell(struct tracer *tracer, const struct ask *told)
{
    const unsigned what =
        HOST_OBSERVE_LINKS | HOST_OBSERVE_SERVICES | HOST_OBSERVE_FIREWALL | HOST_OBSERVE_HEALTH;
    struct observed observed = {.run_dir = tracer->host->backend->run_dir};
    bool done[LOCK_KIND_COUNT] = {0}, reason = told && told->pending && told->locked;
    uint64_t all = 0;
    for (int kind = 0; kind < LOCK_KIND_COUNT; kind++)
        all += tracer->locked[kind].count;
    if (!all || tracer->host->backend->observe(tracer->host, tracer->arena, what, &observed, NULL) < 0)
        return;
    if (reason)
        tell(tracer, &observed, told->lock, FINDING_WARNING);
    if (reason)
        done[told->lock] = true;
    for (enum lock_kind kind = 0; kind < LOCK_KIND_COUNT; kind++) {
        bool beside = kind == LOCK_DHCP || kind == LOCK_RA || (told && !told->pending);
        if (!tracer->locked[kind].count || is_told(tracer, kind, done) ||
            is_made_up(&tracer->locked[kind].packet))
            continue;
        tell(tracer, &observed, kind, beside ? FINDING_NOTE : FINDING_WARNING);
        done[kind] = true;
    }
}
