/* refusal.c: a network's usual packets, sent through everybody else's chains: refusal.h. */
#include "plan/refusal.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    ECHO_REPLY = 0,
    ECHO_REQUEST = 8,
    DNS = 53,
    HTTPS = 443,
    DHCP_SERVER = 67,
    DHCP_CLIENT = 68,
    ARP = 0x0806
};

struct asking {
    struct arena *arena;
    const struct observed *observed;
    const struct refusal_request *request;
    struct refusals *refusals;
    struct prefix guest, target, host;
};

static int index_of(const struct observed *observed, const char *ifname)
{
    const struct link *link = *ifname ? link_find(observed, ifname) : NULL;
    return link ? link->index : 0;
}

static void note(struct asking *asking, enum refused_way way, const char *what, struct judgement judgement)
{
    if (judgement.as == JUDGED_PASSED)
        return;
    struct refusal *refusal = vec_push(asking->arena, &asking->refusals->list);
    *refusal = (struct refusal){.way = way, .what = what, .judgement = judgement};
}

static void ask(struct asking *asking, enum refused_way way, const char *what, struct sample sample)
{
    const struct observed *observed = asking->observed;
    sample.in_index = index_of(observed, sample.in);
    sample.out_index = index_of(observed, sample.out);
    if (*sample.in && strcmp(sample.in, asking->request->bridge) == 0)
        sample.in_port = asking->request->tap;
    if (*sample.out && strcmp(sample.out, asking->request->bridge) == 0)
        sample.out_port = asking->request->tap;
    note(asking, way, what, ruleset_judge_way(&observed->ruleset, &sample));
}

static struct sample flow(const struct prefix *source, const struct prefix *target, uint8_t protocol,
                          uint16_t source_port, uint16_t target_port)
{
    return (struct sample){.in = "",
                           .out = "",
                           .source = *source,
                           .target = *target,
                           .protocol = protocol,
                           .source_port = source_port,
                           .target_port = target_port,
                           .icmp_type = protocol == IPPROTO_ICMP ? ECHO_REQUEST : 0};
}

static struct sample reply(struct sample sample)
{
    struct sample answer = sample;
    answer.source = sample.target, answer.target = sample.source;
    answer.source_port = sample.target_port, answer.target_port = sample.source_port;
    answer.in = sample.out, answer.out = sample.in;
    answer.icmp_type = ECHO_REPLY;
    answer.answer = true;
    answer.source_local = sample.target_local, answer.target_local = false;
    return answer;
}

static const struct {
    uint8_t protocol;
    uint16_t port;
    const char *there, *back;
} outward[] = {{IPPROTO_ICMP, 0, "pings", "the answers to pings"},
               {IPPROTO_TCP, HTTPS, "TCP connections (port 443)", "the answers of TCP connections"},
               {IPPROTO_UDP, DNS, "UDP (DNS, port 53)", "the answers of UDP"}};

enum { OUTWARD_COUNT = sizeof(outward) / sizeof(outward[0]) };

static void ask_outward(struct asking *asking)
{
    struct sample samples[OUTWARD_COUNT];
    for (size_t i = 0; i < OUTWARD_COUNT; i++) {
        samples[i] = flow(&asking->guest, &asking->target, outward[i].protocol, 0, outward[i].port);
        samples[i].in = asking->request->bridge;
        samples[i].out = asking->request->uplink;
        ask(asking, WAY_OUT, outward[i].there, samples[i]);
    }
    for (size_t i = 0; i < OUTWARD_COUNT; i++)
        ask(asking, WAY_ANSWER, outward[i].back, reply(samples[i]));
}

static void ask_services(struct asking *asking)
{
    struct prefix all = {.ip = {.family = AF_INET, .bytes = {255, 255, 255, 255}}, .length = 32};
    struct prefix none = {.ip = {.family = AF_INET}, .length = 32};
    if (asking->request->dhcp) {
        struct sample sample = flow(&none, &all, IPPROTO_UDP, DHCP_CLIENT, DHCP_SERVER);
        sample.in = asking->request->bridge;
        sample.target_broadcast = true;
        ask(asking, WAY_SERVICE, "guests' DHCP requests", sample);
        sample = flow(&asking->host, &asking->guest, IPPROTO_UDP, DHCP_SERVER, DHCP_CLIENT);
        sample.out = asking->request->bridge;
        sample.source_local = true;
        ask(asking, WAY_SERVICE, "the host's DHCP answers", sample);
    }
    if (asking->request->dns) {
        struct sample sample = flow(&asking->guest, &asking->host, IPPROTO_UDP, 0, DNS);
        sample.in = asking->request->bridge;
        sample.target_local = true;
        ask(asking, WAY_SERVICE, "guests' DNS requests", sample);
        ask(asking, WAY_SERVICE, "the host's DNS answers", reply(sample));
    }
}

/* Guests' questions for the host's own MAC, and what it says. */
static void ask_arp(struct asking *asking)
{
    struct sample sample = {.in = asking->request->bridge,
                            .out = "",
                            .in_port = asking->request->tap,
                            .ethertype = ARP,
                            .source = asking->guest,
                            .target = asking->host,
                            .in_index = index_of(asking->observed, asking->request->bridge)};
    note(asking, WAY_ARP, "guests' ARP requests", ruleset_judge_arp(&asking->observed->ruleset, &sample));
    struct sample answer = {.in = "",
                            .out = asking->request->bridge,
                            .out_port = asking->request->tap,
                            .answer = true,
                            .ethertype = ARP,
                            .source = asking->host,
                            .target = asking->guest,
                            .out_index = sample.in_index};
    note(asking, WAY_ARP, "the host's ARP answers", ruleset_judge_arp(&asking->observed->ruleset, &answer));
}

static void ask_between(struct asking *asking, const char *what, struct sample sample, const char *from,
                        const char *to)
{
    const struct ruleset *ruleset = &asking->observed->ruleset;
    sample.in = sample.out = asking->request->bridge;
    sample.in_port = from, sample.out_port = to;
    sample.in_index = sample.out_index = index_of(asking->observed, asking->request->bridge);
    note(asking, WAY_BRIDGED, what, ruleset_judge_bridged(ruleset, &sample, ruleset->bridged_ip));
}

static void ask_bridged(struct asking *asking)
{
    const char *tap = asking->request->tap;
    const char *uplink =
        asking->request->mode == NETWORK_BRIDGED && *asking->request->uplink ? asking->request->uplink : NULL;
    struct sample arp = {.source = asking->guest, .target = asking->target, .ethertype = ARP};
    ask_between(asking, "guests' ARP requests", arp, tap, uplink);
    struct sample answer = {
        .source = asking->target, .target = asking->guest, .ethertype = ARP, .answer = true};
    ask_between(asking, "ARP answers", answer, uplink, tap);
    for (size_t i = 0; i < OUTWARD_COUNT; i++) {
        struct sample sample = flow(&asking->guest, &asking->target, outward[i].protocol, 0, outward[i].port);
        ask_between(asking, outward[i].there, sample, tap, uplink);
        ask_between(asking, outward[i].back, reply(sample), uplink, tap);
    }
}

void plan_refusals(struct arena *arena, const struct observed *observed,
                   const struct refusal_request *request, struct refusals *refusals)
{
    struct ip far = {.family = AF_INET, .bytes = {8, 8, 8, 8}};
    struct asking asking = {.arena = arena, .observed = observed, .request = request, .refusals = refusals};
    asking.target = (struct prefix){.ip = ip_is_set(&request->target) ? request->target : far, .length = 32};
    asking.guest = ip_is_set(&request->guest.ip) ? request->guest : request->subnet;
    if (!ip_is_set(&asking.guest.ip))
        asking.guest = (struct prefix){.ip = {.family = AF_INET}};
    asking.host = (struct prefix){.ip = request->host, .length = 32};
    if (mode_behind_host(request->mode)) {
        if (*request->uplink)
            ask_outward(&asking);
        if (ip_is_set(&request->host)) {
            ask_arp(&asking);
            ask_services(&asking);
        }
        /* Between two guests. */
        asking.target = asking.guest;
    }
    ask_bridged(&asking);
}

const struct refusal *refusal_first(const struct refusals *refusals, bool certain)
{
    vec_foreach (&refusals->list, refusal) {
        if ((refusal->judgement.as == JUDGED_DROPPED) == certain)
            return refusal;
    }
    return NULL;
}
