/* trace_diagnose.c: from where it ended, and what else was seen, to findings: trace.h. */
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "diag/trace_internal.h"
#include "plan/plan.h"

enum { LARGE = 1000 };

static const char *network_subject(struct tracer *tracer)
{
    return arena_printf(tracer->arena, "network '%s'", tracer->network);
}

const char *trace_nic_subject(struct tracer *tracer, size_t nic)
{
    const struct hop *hop = &tracer->hops.list.items[nic];
    return strcmp(hop->nic.machine, "-") == 0 ? arena_printf(tracer->arena, "nic '%s'", hop->ifname)
                                              : arena_printf(tracer->arena, "machine '%s'", hop->nic.machine);
}

#define FIND(code, subject, ...)                                                                             \
    finding_evidence(&tracer->trace->findings, finding_add(&tracer->trace->findings, code, subject),         \
                     __VA_ARGS__)

static void check_nics(struct tracer *tracer)
{
    vec_foreach (&tracer->hops.list, hop) {
        if (hop->kind != HOP_NIC)
            continue;
        const char *subject = trace_nic_subject(tracer, (size_t)(hop - tracer->hops.list.items));
        const struct link *link = link_find(tracer->request->observed, hop->ifname);
        if (strcmp(link->master, hop->network) != 0)
            FIND("nic-unplugged", subject, "its tap '%s' is %s%s%s, not a port of '%s'", hop->ifname,
                 *link->master ? "a port of '" : "no bridge's port", link->master, *link->master ? "'" : "",
                 hop->network);
        if (!link->up)
            FIND("nic-down", subject, "its tap '%s' is down", hop->ifname);
        const char *other = trace_mac_owner(tracer, &hop->nic.mac, hop->ifname);
        if (other)
            FIND("mac-duplicate", subject, "%s of its nic '%s' is also that of %s", MAC_TEXT(&hop->nic.mac),
                 hop->ifname, other);
    }
}

static void check_uplink(struct tracer *tracer)
{
    const char *subject = network_subject(tracer);
    const char *name =
        capture_uplink(tracer->arena, tracer->request->observed, tracer->request->model, tracer->network);
    const struct link *uplink = name ? link_find(tracer->request->observed, name) : NULL;
    const struct network *entry =
        tracer->request->model ? network_find(tracer->request->model, tracer->network) : NULL;
    if (!name && mode_forwards(tracer->mode))
        FIND("no-default-route", subject, "the routing table has no IPv4 default route");
    else if (name && !uplink)
        FIND(entry && entry->vlan ? "vlan-missing" : "uplink-missing", subject, "there is no interface '%s'",
             name);
    else if (uplink && !uplink->up)
        FIND("uplink-down", subject, "'%s' is down", name);
    else if (uplink && !uplink->carrier)
        FIND("uplink-no-carrier", subject, "'%s' is up and has no carrier", name);
    if (uplink && tracer->mode == NETWORK_BRIDGED && strcmp(uplink->master, tracer->network) != 0)
        FIND("uplink-unplugged", subject, "'%s' is no port of '%s'", name, tracer->network);
}

void trace_check_state(struct tracer *tracer)
{
    const char *subject = network_subject(tracer);
    check_nics(tracer);
    if (!tracer->bridge)
        FIND("bridge-missing", subject, "there is no interface '%s'", tracer->network);
    else if (!tracer->bridge->up)
        FIND("bridge-down", subject, "'%s' is down", tracer->network);
    check_uplink(tracer);
    if (!mode_forwards(tracer->mode))
        return;
    vec_foreach (&tracer->request->observed->forwarding, sysctl) {
        if (sysctl->ipv6)
            continue;
        if (sysctl->wanted && strcmp(sysctl->now, sysctl->wanted) != 0 && strcmp(sysctl->now, "0") == 0)
            FIND("forwarding-off", "the host", "%s is %s", sysctl->name, sysctl->now);
    }
}

/* Frames went to the tap, and its counter of what was read stands still. */
static bool nobody_reads(struct tracer *tracer, struct traffic *traffic)
{
    const struct hop *nic = &tracer->hops.list.items[0];
    if (!tracer->traffic_known ||
        tracer->host->backend->traffic_get(tracer->host, nic->ifname, traffic, NULL) < 0)
        return false;
    bool reads = traffic->sent > tracer->before.sent;
    return !reads && (tracer->frames_out > 1 || (traffic->sent == 0 && traffic->dropped > 0));
}

static void silent(struct tracer *tracer)
{
    const char *subject = trace_nic_subject(tracer, 0), *tap = tracer->hops.list.items[0].ifname;
    struct traffic traffic = {0};
    long long seconds = (tracer->now_ns - tracer->start_ns + 500000000) / 1000000000;
    if (nobody_reads(tracer, &traffic)) {
        FIND("guest-driver-down", subject,
             "%" PRIu64 " frames went to its tap '%s' within %lld s, and none was read (read ever: %" PRIu64
             ", sent by the guest ever: %" PRIu64 ")",
             tracer->frames_out, tap, seconds, traffic.sent, traffic.received);
        return;
    }
    FIND("guest-silent", subject, "no frame came from '%s' within %lld s", tap, seconds);
    struct findings *findings = &tracer->trace->findings;
    struct finding *finding = &findings->list.items[findings->list.count - 1];
    if (tracer->traffic_known && traffic.received > 0) {
        finding_title(findings, finding, "the guest sent nothing while trace watched");
        finding_evidence(findings, finding, "no frame came from '%s' within %lld s; %" PRIu64 " did before",
                         tap, seconds, traffic.received);
        finding_cure(findings, finding, "%s",
                     tracer->request->ping ? "let the guest send something, and trace again"
                                           : "let the guest send something, or trace with --ping");
    }
}

/* An interface of the host's: one on the same segment answers ARP for every address of the host (arp_ignore).
 */
static bool is_hosts_mac(const struct tracer *tracer, const struct mac *mac)
{
    vec_foreach (&tracer->request->observed->links, link) {
        if (!link->loopback && mac_equal(&link->mac, mac))
            return true;
    }
    return false;
}

/* The guests' router, which on a nat network is the host, has another's address: two answer for it. */
static void check_router_twin(struct tracer *tracer)
{
    for (size_t i = 0; tracer->bridge && i < tracer->speaker_count; i++) {
        const struct speaker *one = &tracer->speakers[i];
        bool host = trace_side(tracer, &one->ip) == SIDE_HOST && trace_in_subnet(tracer, &one->ip);
        const struct mac *other = host && !is_hosts_mac(tracer, &one->mac) ? &tracer->bridge->mac : NULL;
        for (size_t j = 0; !host && !other && j < i; j++) {
            if (ip_equal(&one->ip, &tracer->gateway) && ip_equal(&tracer->speakers[j].ip, &one->ip))
                other = &tracer->speakers[j].mac;
        }
        if (!other || ip_is_link_local(&one->ip))
            continue;
        const char *owner = trace_mac_owner(tracer, &one->mac, "");
        FIND("address-conflict", network_subject(tracer), "%s, %s, is used by %s and by %s%s%s",
             IP_TEXT(&one->ip), host ? "the host's own address" : "the router", MAC_TEXT(other),
             MAC_TEXT(&one->mac), owner ? ": " : "", owner ? owner : "");
        return;
    }
}

/* The address and MAC of others that the guest also has. */
static void check_twins(struct tracer *tracer)
{
    const char *subject = trace_nic_subject(tracer, tracer->guest_nic);
    if (tracer->twin && !finding_find(&tracer->trace->findings, "mac-duplicate", NULL))
        FIND("mac-duplicate", subject, "frames from %s%s also come in at '%s'", MAC_TEXT(&tracer->twin_mac),
             tracer->bridge && mac_equal(&tracer->twin_mac, &tracer->bridge->mac) ? ", the bridge's own,"
                                                                                  : "",
             tracer->hops.list.items[tracer->twin_hop].ifname);
    const struct mac *own = &tracer->hops.list.items[tracer->guest_nic].nic.mac;
    for (size_t i = 0; ip_is_set(&tracer->guest) && i < tracer->speaker_count; i++) {
        const struct speaker *other = &tracer->speakers[i];
        if (!ip_equal(&other->ip, &tracer->guest) || mac_equal(&other->mac, own))
            continue;
        const char *owner = trace_mac_owner(tracer, &other->mac, "");
        FIND(owner ? "address-duplicate" : "address-conflict", subject,
             "%s is used by its nic, %s, and by %s%s%s", IP_TEXT(&tracer->guest), MAC_TEXT(own),
             MAC_TEXT(&other->mac), owner ? ", " : "", owner ? owner : "");
        break;
    }
    check_router_twin(tracer);
    if (ip_is_set(&tracer->other_server))
        FIND("dhcp-rogue", network_subject(tracer), "%s at %s answered the guest's DHCP request",
             IP_TEXT(&tracer->other_server), MAC_TEXT(&tracer->other_server_mac));
}

static void check_subnet(struct tracer *tracer)
{
    const struct ip *guest = &tracer->guest;
    const struct link *tap =
        link_find(tracer->request->observed, tracer->hops.list.items[tracer->guest_nic].ifname);
    if (tap && port_vlan_own(tap) > VLAN_UNTAGGED)
        return; /* whose subnet the host is not in */
    if (guest->family != AF_INET || !tracer->subnet_count || trace_in_subnet(tracer, guest) ||
        ip_is_link_local(guest))
        return;
    /* A guest that forwards for others sends from addresses of theirs; one that answers nobody's ARP does
     * not. */
    FIND("guest-wrong-subnet", trace_nic_subject(tracer, tracer->guest_nic), "it sends as %s; '%s' is %s",
         IP_TEXT(guest), tracer->network, PREFIX_TEXT(&tracer->subnets[0]));
}

static bool bridge_frames_are_filtered(const struct judged *judged)
{
    return strcmp(judged->family, "bridge") == 0 || strcmp(judged->family, "netdev") == 0 ||
           strcmp(judged->family, "arp") == 0;
}

static void dropped(struct tracer *tracer, const struct ask *ask)
{
    const struct judged *judged = NULL;
    for (size_t i = 0; i < ask->chain_count && !judged; i++)
        judged = ask->chains[i].verdict == CHAIN_DROP ? &ask->chains[i] : NULL;
    if (!judged)
        return;
    const char *rule = tracer->host->backend->chain_trace->rule_text(
        tracer->chains, tracer->arena, judged->family, judged->table, judged->chain, judged->handle);
    bool bridged = bridge_frames_are_filtered(judged);
    const char *code = strcmp(judged->family, "arp") == 0 ? "arp-off"
                       : bridged                          ? "bridge-refused"
                       : ask->side == SIDE_HOST           ? "service-refused"
                       : tracer->mode == NETWORK_BRIDGED  ? "bridge-netfilter"
                                                          : "forward-refused";
    FIND(code, network_subject(tracer), "nftables table '%s %s', chain '%s', %s%s%s%s dropped %s%s",
         judged->family, judged->table, judged->chain, judged->handle ? "rule '" : "by its ",
         *rule            ? rule
         : judged->handle ? "that is gone"
                          : "policy",
         judged->handle ? "'" : "",
         judged->handle ? arena_printf(tracer->arena, " (handle %" PRIu64 ")", judged->handle) : "",
         judged->back ? "the answer to " : "", PACKET_SUMMARY(&ask->packet));
}

/* Smaller packets to the same target were answered. */
static size_t answered_smaller(const struct tracer *tracer, const struct ask *ask)
{
    size_t best = 0;
    for (size_t i = 0; i < tracer->ask_count; i++) {
        const struct ask *other = tracer->asks[i];
        if (other->kind == ASK_IP && other->answered && other->answered_length < ask->packet.ip_length &&
            ip_equal(&other->packet.flow.target, &ask->packet.flow.target) && other->answered_length > best)
            best = other->answered_length;
    }
    return best;
}

bool ask_is_black_hole(const struct tracer *tracer, const struct ask *ask)
{
    if (ask->kind != ASK_IP || ask->side != SIDE_OUTSIDE || ask->dropped)
        return false;
    if (ask->gap)
        return true;
    return ask->pending && ask->times[AT_UPLINK] && !ask->times[BACK_UPLINK] &&
           ask->packet.ip_length >= LARGE && answered_smaller(tracer, ask) > 0;
}

static void black_hole(struct tracer *tracer, const struct ask *ask)
{
    const char *target = arena_strdup(tracer->arena, IP_TEXT(&ask->packet.flow.target));
    if (ask->gap && !ask->pending) {
        FIND("mtu-black-hole", network_subject(tracer),
             "of a connection with %s large packets towards the guest are missing for %lld s, later small "
             "ones came",
             target, (long long)((tracer->now_ns - ask->gap_ns) / 1000000000));
        return;
    }
    FIND("mtu-black-hole", network_subject(tracer),
         "%u packets of %zu bytes to %s left by '%s' and were not answered; %zu bytes were; nobody sent "
         "'fragmentation needed'",
         ask->sent, ask->packet.ip_length, target, tracer->uplink ? tracer->uplink->name : "?",
         answered_smaller(tracer, ask));
}

static bool service_runs(const struct tracer *tracer)
{
    vec_foreach (&tracer->request->observed->services, service) {
        if (strcmp(service->network, tracer->network) == 0 && strcmp(service->kind, "dnsmasq") == 0 &&
            service->pid)
            return true;
    }
    return false;
}

static void redirected(struct tracer *tracer, const char *what)
{
    struct findings *findings = &tracer->trace->findings;
    struct finding *finding = finding_add(findings, "service-refused", network_subject(tracer));
    finding_title(findings, finding, "a rule of this host redirects guests' DNS questions elsewhere");
    finding_evidence(findings, finding, "%s left by '%s' towards %s, and no answer came back", what,
                     tracer->uplink ? tracer->uplink->name : "?", IP_TEXT(&tracer->redirected));
    finding_cure(findings, finding, "except the bridge from that rule: nft list ruleset, chains of type nat");
}

static void host_silent(struct tracer *tracer, const struct ask *ask)
{
    const char *subject = network_subject(tracer), *what = PACKET_SUMMARY(&ask->packet);
    bool dns = ask->kind == ASK_IP && (ask->packet.layers & PACKET_DNS);
    if ((ask->kind == ASK_DHCP || dns) && !service_runs(tracer))
        FIND("dnsmasq-dead", subject, "%u times unanswered: %s; no dnsmasq of this network runs", ask->sent,
             what);
    else if (dns && ip_is_set(&tracer->redirected))
        redirected(tracer, what);
    else if (dns && tracer->host_dns_asked && !tracer->host_dns_answered)
        FIND("dns-upstream-dead", subject,
             "%u times unanswered: %s; the host asked on by '%s' %u times, and no name server answered",
             ask->sent, what, tracer->uplink ? tracer->uplink->name : "?", tracer->host_dns_asked);
    else if (ask->kind == ASK_DHCP)
        FIND("dhcp-silent", subject, "%u times unanswered: %s", ask->sent, what);
    else if (dns)
        FIND("dns-silent", subject, "%u times unanswered: %s", ask->sent, what);
    else if (ask->kind == ASK_ARP)
        FIND("arp-off", subject, "%u times unanswered: %s", ask->sent, what);
    else
        FIND("packet-lost", subject, "%u times unanswered by the host itself: %s", ask->sent, what);
}

/* It came to the host and did not leave. */
static void never_left(struct tracer *tracer, const struct ask *ask)
{
    const char *subject = network_subject(tracer), *what = PACKET_SUMMARY(&ask->packet);
    if (tracer->host_asked > 1 && !tracer->router_known) {
        FIND("router-silent", subject, "the host asked %u times by ARP for %s on '%s', and nobody answered",
             tracer->host_asked, IP_TEXT(&tracer->gateway), tracer->uplink ? tracer->uplink->name : "?");
        return;
    }
    if (ask->has_error) {
        struct route_question question = {
            .in = tracer->network, .source = ask->packet.flow.source, .target = ask->packet.flow.target};
        struct route_answer answer = {0};
        if (tracer->host->backend->route_ask)
            tracer->host->backend->route_ask(tracer->host, &question, &answer);
        enum { TIME_EXCEEDED = 11 };
        if (ask->packet.flow.source.family == AF_INET && ask->error.icmp_type == TIME_EXCEEDED) {
            FIND("packet-lost", subject, "%s had a time to live of %u: %s", what, ask->packet.ttl,
                 PACKET_SUMMARY(&ask->error));
            finding_title(
                &tracer->trace->findings,
                &tracer->trace->findings.list.items[tracer->trace->findings.list.count - 1],
                "the packet's time to live ended at this host: its sender or a rule (ttl set) made it small");
            return;
        }
        bool prohibited = !answer.refused && (ask->error.icmp_code == 13 || ask->error.icmp_code == 9 ||
                                              ask->error.icmp_code == 10);
        FIND(prohibited ? "forward-refused" : "route-refused", subject, "the host refused %s: %s", what,
             PACKET_SUMMARY(&ask->error));
        return;
    }
    FIND("packet-lost", subject, "%s came to '%s' and did not leave by '%s'; %s", what,
         ask->times[AT_BRIDGE] ? tracer->network : tracer->hops.list.items[ask->nic].ifname,
         tracer->uplink ? tracer->uplink->name : "any uplink",
         tracer->chains ? "no nftables chain dropped it: rp_filter, a route, or iptables-legacy may have"
                        : "firewall chains were not watched");
}

/* The target has answered something that was no TCP. */
static bool answers_otherwise(const struct tracer *tracer, const struct ask *ask)
{
    for (size_t i = 0; i < tracer->ask_count; i++) {
        const struct ask *other = tracer->asks[i];
        if (other->kind == ASK_IP && other->answered && !(other->packet.layers & PACKET_TCP) &&
            ip_equal(&other->packet.flow.target, &ask->packet.flow.target))
            return true;
    }
    return false;
}

/* The rule is there: then no connection is tracked. */
static void untracked(struct tracer *tracer)
{
    struct findings *findings = &tracer->trace->findings;
    struct finding *finding = &findings->list.items[findings->list.count - 1];
    vec_foreach (&tracer->request->observed->firewall_translates, name) {
        if (strcmp(*name, tracer->network) != 0)
            continue;
        finding_title(findings, finding,
                      "guests' packets leave untranslated, though the rule that masquerades is there");
        finding_cure(
            findings, finding,
            "look for 'notrack' in the raw chains (nft list ruleset): what is not tracked is not translated");
    }
}

/* It left, and nothing came back. */
static void outside_silent(struct tracer *tracer, const struct ask *ask)
{
    const char *subject = network_subject(tracer), *what = PACKET_SUMMARY(&ask->packet);
    const char *uplink = tracer->uplink ? tracer->uplink->name : "?";
    if (ask->kind == ASK_DHCP && !(tracer->router_answers_host && !tracer->answers_many)) {
        FIND("dhcp-none", subject, "%u requests left by '%s', and no offer came", ask->sent, uplink);
    } else if (tracer->mode == NETWORK_BRIDGED && tracer->router_answers_host && !tracer->answers_many) {
        FIND("switch-one-mac", subject,
             "%s left by '%s' %u times under the guest's MAC %s without an answer; answers to the host's own "
             "MAC came",
             what, uplink, ask->sent, MAC_TEXT(&ask->packet.source_mac));
    } else if (ask->kind == ASK_ARP) {
        FIND("router-silent", subject, "%s left by '%s' %u times, and nobody answered", what, uplink,
             ask->sent);
    } else if (tracer->mode == NETWORK_NAT && ip_equal(&ask->outside.source, &ask->packet.flow.source)) {
        FIND("masquerade-missing", subject, "it left by '%s' as %s, the guest's own address", uplink,
             IP_TEXT(&ask->outside.source));
        untracked(tracer);
    } else if (tracer->mode == NETWORK_NAT && trace_side(tracer, &ask->outside.source) != SIDE_HOST) {
        FIND("masquerade-missing", subject,
             "it left by '%s' as %s, which is no address of this host: another rule translated it", uplink,
             IP_TEXT(&ask->outside.source));
        struct findings *findings = &tracer->trace->findings;
        struct finding *finding = &findings->list.items[findings->list.count - 1];
        finding_title(findings, finding, "guests' packets leave under an address that is not the host's");
        finding_cure(findings, finding, "take the rule out of the nat chains: nft list ruleset");
    } else if (ask->has_error) {
        FIND("target-silent", subject, "%s left by '%s', and %s", what, uplink, PACKET_SUMMARY(&ask->error));
    } else if ((ask->packet.layers & PACKET_TCP) && answers_otherwise(tracer, ask)) {
        FIND("tcp-silent", subject, "%s left by '%s' %u times without an answer", what, uplink, ask->sent);
    } else {
        FIND("target-silent", subject, "%s left by '%s' %u times, and no answer came", what, uplink,
             ask->sent);
    }
}

static void unanswered(struct tracer *tracer, const struct ask *ask)
{
    if (ask->locked) {
        return; /* trace_lock_tell does */
    } else if (ask->dropped) {
        dropped(tracer, ask);
    } else if (ask->kind == ASK_ECHO) {
        /* The guest may have its own reasons not to answer a ping; a frame of it shows that it is there. */
        if (tracer->frames_in == 0)
            silent(tracer);
        else
            FIND("packet-lost", trace_nic_subject(tracer, ask->nic),
                 "the guest did not answer the host's ping, and sends other frames: a firewall in the guest "
                 "may drop it");
    } else if (!ask->times[AT_UPLINK] && ask->side == SIDE_HOST) {
        host_silent(tracer, ask);
    } else if (ask->side == SIDE_INSIDE) {
        if (!finding_find(&tracer->trace->findings, "guest-wrong-subnet", NULL))
            FIND("packet-lost", network_subject(tracer), "nobody on the segment answered %s",
                 PACKET_SUMMARY(&ask->packet));
    } else if (!ask->times[AT_UPLINK]) {
        never_left(tracer, ask);
    } else if (ask->times[BACK_UPLINK]) {
        FIND("reply-lost", network_subject(tracer), "the answer to %s came in at '%s' and not to the guest",
             PACKET_SUMMARY(&ask->packet), tracer->uplink ? tracer->uplink->name : "?");
    } else {
        outside_silent(tracer, ask);
    }
}

/* It sends, and nothing that wants an answer. */
static void idle(struct tracer *tracer)
{
    struct findings *findings = &tracer->trace->findings;
    if (!ip_is_set(&tracer->guest)) {
        FIND("guest-no-lease", trace_nic_subject(tracer, 0),
             "%" PRIu64 " of its frames came, none of them asks for a lease", tracer->frames_in);
        return;
    }
    struct finding *finding = finding_add(findings, "guest-silent", trace_nic_subject(tracer, 0));
    finding->severity = FINDING_NOTE;
    finding_title(findings, finding, "the guest asked nobody for anything while trace watched");
    finding_evidence(findings, finding, "%" PRIu64 " of its frames came, from %s", tracer->frames_in,
                     IP_TEXT(&tracer->guest));
    finding_cure(findings, finding, "let the guest send something%s",
                 tracer->request->ping ? "" : ", or trace with --ping");
}

/* Somebody came in by a port forward, and the guest has nobody for it. */
static void check_inward(struct tracer *tracer)
{
    const int64_t patience_ns = INT64_C(2000000000);
    bool silent = tracer->inward_ns && tracer->now_ns - tracer->inward_ns > patience_ns;
    const struct packet_flow *flow = &tracer->inward;
    if (!tracer->entry || !(tracer->inward_refused || silent))
        return;
    vec_foreach (&tracer->entry->forwards.list, forward) {
        if (forward->protocol != IPPROTO_TCP || !ip_equal(&forward->target, &flow->target) ||
            flow->target_port < forward->target_first ||
            flow->target_port - forward->target_first > forward->last - forward->first)
            continue;
        FIND("forward-target-silent", network_subject(tracer),
             "%s: a connection came from %s, and the guest %s", forward_format(tracer->arena, forward),
             IP_TEXT(&flow->source),
             tracer->inward_refused ? "refused it: nothing listens there" : "did not answer");
        return;
    }
}

void trace_diagnose(struct tracer *tracer, const struct ask *ask)
{
    check_inward(tracer);
    check_twins(tracer);
    check_subnet(tracer);
    trace_lock_tell(tracer, ask);
    if (ask && ask_is_black_hole(tracer, ask))
        black_hole(tracer, ask);
    else if (ask && ask->pending)
        unanswered(tracer, ask);
    else if (ask && ask->has_error && (ask->error.layers & PACKET_TCP))
        FIND("tcp-refused", network_subject(tracer), "%s was answered by a reset",
             PACKET_SUMMARY(&ask->packet));
    else if (!ask && tracer->frames_in == 0)
        silent(tracer);
    else if (!ask)
        idle(tracer);
}
