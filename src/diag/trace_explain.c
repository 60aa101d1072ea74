/* trace_explain.c: where frames alone do not tell why one was lost, what else the host knows: trace.h.
 *
 * Asked in this order: what everybody's firewall rules do to just this packet and its answer (those that
 * cannot be watched among them), what the kernel's path filter has counted, and what doctor finds. */
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "diag/firewall_text.h"
#include "diag/trace_internal.h"

#define FIND(code, subject, ...)                                                                             \
    finding_evidence(&tracer->trace->findings, finding_add(&tracer->trace->findings, code, subject),         \
                     __VA_ARGS__)

/* These say what was seen, and not why. */
static bool is_vague(const char *code)
{
    static const char *const codes[] = {
        "packet-lost",      "reply-lost",   "dhcp-silent",      "dns-silent", "target-silent",
        "dhcp-none",        "tcp-silent",   "router-silent",    "arp-off",    "dnsmasq-dead",
        "no-default-route", "guest-silent", "guest-driver-down"};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(codes[i], code) == 0)
            return true;
    }
    return false;
}

static struct sample sample_of(const struct tracer *tracer, const struct ask *ask)
{
    const struct packet *packet = &ask->packet;
    const struct packet_flow *flow = &packet->flow;
    bool outside = ask->side == SIDE_OUTSIDE && tracer->uplink;
    uint8_t bits = (uint8_t)(8 * ip_size(&flow->source));
    struct sample sample = {.in = tracer->network,
                            .out = outside ? tracer->uplink->name : "",
                            .in_port = tracer->hops.list.items[ask->nic].ifname,
                            .out_port =
                                outside && tracer->mode == NETWORK_BRIDGED ? tracer->uplink->name : NULL,
                            .in_index = tracer->bridge ? tracer->bridge->index : 0,
                            .out_index = outside ? tracer->uplink->index : 0,
                            .source = {flow->source, bits},
                            .target = {flow->target, bits},
                            .source_mac = packet->source_mac,
                            .protocol = flow->protocol,
                            .source_port = flow->source_port,
                            .target_port = flow->target_port,
                            .icmp_type = packet->icmp_type,
                            .target_local = ask->side == SIDE_HOST,
                            .target_broadcast = mac_is_multicast(&packet->target_mac)};
    if (packet->layers & PACKET_ICMP)
        sample.source_port = sample.target_port = 0;
    return sample;
}

static struct sample answer_of(const struct tracer *tracer, const struct ask *ask,
                               const struct sample *sample)
{
    struct sample answer = *sample;
    answer.source = sample->target, answer.target = sample->source;
    if (ask->kind == ASK_DHCP) { /* from the server's own address; not an answer to connection tracking */
        answer.source = (struct prefix){.ip = {.family = AF_INET}};
        answer.target = answer.source;
        if (tracer->subnet_count)
            answer.target = tracer->subnets[0];
    }
    answer.source_port = sample->target_port, answer.target_port = sample->source_port;
    answer.in = sample->out, answer.out = sample->in;
    answer.in_port = sample->out_port, answer.out_port = sample->in_port;
    answer.in_index = sample->out_index, answer.out_index = sample->in_index;
    answer.source_mac = answer.target_mac = (struct mac){0};
    answer.icmp_type = sample->icmp_type == 128 ? 129 : 0;
    answer.answer = ask->kind != ASK_DHCP;
    answer.source_local = sample->target_local;
    answer.target_local = answer.target_broadcast = false;
    return answer;
}

static struct judgement judge(const struct tracer *tracer, const struct sample *sample)
{
    const struct ruleset *ruleset = &tracer->request->observed->ruleset;
    if (tracer->mode == NETWORK_BRIDGED && !sample->target_local && !sample->source_local)
        return ruleset_judge_bridged(ruleset, sample);
    return ruleset_judge_way(ruleset, sample);
}

static bool rule_drops(struct tracer *tracer, const struct ask *ask)
{
    const struct ruleset *ruleset = &tracer->request->observed->ruleset;
    if (!ask || !ruleset->read || (ask->kind != ASK_IP && ask->kind != ASK_DHCP))
        return false;
    struct sample there = sample_of(tracer, ask), back = answer_of(tracer, ask, &there);
    struct judgement judgement = judge(tracer, &there);
    bool answer = judgement.as != JUDGED_DROPPED;
    if (answer)
        judgement = judge(tracer, &back);
    if (judgement.as != JUDGED_DROPPED)
        return false;
    const char *family = judgement.chain->family;
    bool bridge = strcmp(family, "bridge") == 0 || strcmp(family, "netdev") == 0;
    const char *code = bridge                            ? "bridge-refused"
                       : ask->side == SIDE_HOST          ? "service-refused"
                       : tracer->mode == NETWORK_BRIDGED ? "bridge-netfilter"
                                                         : "forward-refused";
    const char *rule =
        judgement.rule && tracer->host->backend->rule_text
            ? tracer->host->backend->rule_text(tracer->host, tracer->arena, judgement.chain, judgement.rule)
            : "";
    const char *owner = judgement_owner(ruleset, &judgement);
    FIND(code, arena_printf(tracer->arena, "network '%s'", tracer->network), "%s%s%s%s%s drops %s%s",
         judgement_text(tracer->arena, &judgement),
         owner ? arena_printf(tracer->arena, " (%s's)", owner) : "", *rule ? ", '" : "", rule,
         *rule ? "'," : "", answer ? "the answer to " : "", PACKET_SUMMARY(&ask->packet));
    return true;
}

/* It counts for the whole host, so only what grew while this packet was lost counts, and what was lost here.
 */
static bool path_filtered(struct tracer *tracer, const struct ask *ask)
{
    if (!ask || tracer->path_filtered < 0 || !tracer->host->backend->path_filter_count)
        return false;
    int64_t grown = tracer->host->backend->path_filter_count(tracer->host) - tracer->path_filtered;
    bool here =
        ask->kind == ASK_IP && ask->pending && ask->side == SIDE_OUTSIDE && tracer->mode == NETWORK_NAT;
    if (grown <= 0 || !here)
        return false;
    const char *where = ask->times[BACK_UPLINK] || ask->times[AT_UPLINK] ? "the answers to it" : "it";
    FIND("rp-filter", arena_printf(tracer->arena, "network '%s'", tracer->network),
         "the kernel's path filter dropped %" PRId64
         " packets meanwhile (IPReversePathFilter of nstat), %s most likely: %s",
         grown, where, PACKET_SUMMARY(&ask->packet));
    return true;
}

/* What doctor knows of others is not why this guest's packet was lost. */
static bool concerns(const struct tracer *tracer, const struct ask *ask, const struct finding *finding)
{
    const char *machine = tracer->hops.list.items[0].nic.machine;
    if (strcmp(finding->code, "machine-stopped") == 0)
        return false;
    if (strcmp(finding->code, "bridge-netfilter") == 0 && tracer->mode == NETWORK_NAT && ask &&
        ask->side != SIDE_INSIDE)
        return false;
    if (strcmp(finding->code, "router-silent") == 0 && ask && ask->side == SIDE_HOST)
        return false;
    bool machines = strncmp(finding->subject, "machine '", 9) == 0;
    return !strncmp(finding->subject, "network '", 9) || strcmp(finding->subject, "the host") == 0 ||
           (machines && strstr(finding->subject, arena_printf(tracer->arena, "'%s'", machine)));
}

static void known_take(struct tracer *tracer, const struct ask *ask)
{
    const struct findings *known = tracer->request->known;
    bool lost = findings_any(&tracer->trace->findings, FINDING_ERROR);
    for (size_t i = 0; known && i < known->list.count; i++) {
        const struct finding *from = &known->list.items[i];
        /* Of a guest that is merely silent, what is no error is no reason. */
        if (!concerns(tracer, ask, from) || (!lost && from->severity != FINDING_ERROR) ||
            finding_find(&tracer->trace->findings, from->code, NULL))
            continue;
        struct finding *finding = finding_add(&tracer->trace->findings, from->code, from->subject);
        finding->severity = from->severity;
        finding->title = from->title;
        finding->evidence = from->evidence;
        finding->cure = from->cure;
    }
}

void trace_explain(struct tracer *tracer, const struct ask *ask)
{
    findings_sort(&tracer->trace->findings);
    if (!tracer->trace->findings.list.count || !is_vague(tracer->trace->findings.list.items[0].code))
        return;
    if (rule_drops(tracer, ask) || path_filtered(tracer, ask)) {
        findings_sort(&tracer->trace->findings);
        return;
    }
    known_take(tracer, ask);
    findings_sort(&tracer->trace->findings);
}
