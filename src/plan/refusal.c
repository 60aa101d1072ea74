/* refusal.c: a network's usual packets, sent through everybody else's chains: refusal.h. */
#include "plan/refusal.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    ECHO_REPLY = 0,
    ECHO_REQUEST = 8,
    ECHO_REQUEST6 = 128,
    ECHO_REPLY6,
    ROUTER_SOLICITATION = 133, /* RFC 4861 */
    ROUTER_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    NEIGHBOUR_ADVERTISEMENT,
    DNS = 53,
    HTTPS = 443,
    DHCP_SERVER = 67,
    DHCP_CLIENT = 68,
    DHCP6_CLIENT = 546,
    DHCP6_SERVER = 547,
    ARP = 0x0806
};

struct asking {
    struct arena *arena;
    const struct observed *observed;
    const struct refusal_request *request;
    struct refusals *refusals;
    bool six;
    const char *uplink;
    struct prefix guest, target, host;
};

static struct prefix address_of(const char *text)
{
    struct ip ip = {0};
    ip_parse(text, &ip);
    return (struct prefix){.ip = ip, .length = (uint8_t)(8 * ip_size(&ip))};
}

/* Any address of a link that is nobody else's. */
static struct prefix link_local(void)
{
    struct prefix prefix = {0};
    prefix_parse("fe80::/10", &prefix);
    return prefix;
}

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
    *refusal = (struct refusal){.way = way, .six = asking->six, .what = what, .judgement = judgement};
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
                           .icmp_type = protocol == IPPROTO_ICMP     ? ECHO_REQUEST
                                        : protocol == IPPROTO_ICMPV6 ? ECHO_REQUEST6
                                                                     : 0};
}

static struct sample reply(struct sample sample)
{
    struct sample answer = sample;
    answer.source = sample.target, answer.target = sample.source;
    answer.source_port = sample.target_port, answer.target_port = sample.source_port;
    answer.in = sample.out, answer.out = sample.in;
    answer.icmp_type = sample.protocol == IPPROTO_ICMPV6 ? ECHO_REPLY6 : ECHO_REPLY;
    answer.answer = true;
    answer.source_local = sample.target_local, answer.target_local = false;
    return answer;
}

/* What guests send to the outside, and its words for IPv4 and IPv6. */
static const struct {
    uint8_t protocol;
    uint16_t port;
    const char *there[2], *back[2];
} outward[] = {
    {IPPROTO_ICMP, 0, {"pings", "IPv6 pings"}, {"the answers to pings", "the answers to IPv6 pings"}},
    {IPPROTO_TCP,
     HTTPS,
     {"TCP connections (port 443)", "TCP connections by IPv6 (port 443)"},
     {"the answers of TCP connections", "the answers of TCP connections by IPv6"}},
    {IPPROTO_UDP,
     DNS,
     {"UDP (DNS, port 53)", "UDP by IPv6 (DNS, port 53)"},
     {"the answers of UDP", "the answers of UDP by IPv6"}}};

enum { OUTWARD_COUNT = sizeof(outward) / sizeof(outward[0]) };

static struct sample outward_flow(const struct asking *asking, size_t i)
{
    bool ping = outward[i].protocol == IPPROTO_ICMP;
    return flow(&asking->guest, &asking->target, ping && asking->six ? IPPROTO_ICMPV6 : outward[i].protocol,
                0, outward[i].port);
}

static void ask_outward(struct asking *asking)
{
    struct sample samples[OUTWARD_COUNT];
    for (size_t i = 0; i < OUTWARD_COUNT; i++) {
        samples[i] = outward_flow(asking, i);
        samples[i].in = asking->request->bridge;
        samples[i].out = asking->uplink;
        ask(asking, WAY_OUT, outward[i].there[asking->six], samples[i]);
    }
    for (size_t i = 0; i < OUTWARD_COUNT; i++)
        ask(asking, WAY_ANSWER, outward[i].back[asking->six], reply(samples[i]));
}

/* From a guest to the host (`local`: to its own address; else to a group), and what the host itself sends. */
static void ask_in(struct asking *asking, enum refused_way way, const char *what, struct sample sample,
                   bool local)
{
    sample.in = asking->request->bridge;
    sample.target_local = local;
    ask(asking, way, what, sample);
}

static void ask_out(struct asking *asking, enum refused_way way, const char *what, struct sample sample)
{
    sample.out = asking->request->bridge;
    sample.source_local = true;
    ask(asking, way, what, sample);
}

static void ask_dns(struct asking *asking)
{
    static const char *const there[] = {"guests' DNS requests", "guests' DNS requests by IPv6"};
    static const char *const back[] = {"the host's DNS answers", "the host's DNS answers by IPv6"};
    struct sample sample = flow(&asking->guest, &asking->host, IPPROTO_UDP, 0, DNS);
    ask_in(asking, WAY_SERVICE, there[asking->six], sample, true);
    sample = reply(sample);
    ask_out(asking, WAY_SERVICE, back[asking->six], sample);
}

static void ask_dhcp(struct asking *asking)
{
    struct prefix all = address_of("255.255.255.255"), none = address_of("0.0.0.0");
    struct sample sample = flow(&none, &all, IPPROTO_UDP, DHCP_CLIENT, DHCP_SERVER);
    sample.target_broadcast = true;
    ask_in(asking, WAY_SERVICE, "guests' DHCP requests", sample, false);
    sample = flow(&asking->host, &asking->guest, IPPROTO_UDP, DHCP_SERVER, DHCP_CLIENT);
    ask_out(asking, WAY_SERVICE, "the host's DHCP answers", sample);
}

static void ask_dhcp6(struct asking *asking)
{
    struct prefix servers = address_of("ff02::1:2"), own = link_local();
    struct sample sample = flow(&own, &servers, IPPROTO_UDP, DHCP6_CLIENT, DHCP6_SERVER);
    ask_in(asking, WAY_SERVICE, "guests' DHCPv6 requests", sample, false);
    sample = flow(&own, &own, IPPROTO_UDP, DHCP6_SERVER, DHCP6_CLIENT);
    ask_out(asking, WAY_SERVICE, "the host's DHCPv6 answers", sample);
}

static struct sample discovery(const struct prefix *source, const struct prefix *target, uint8_t type)
{
    struct sample sample = flow(source, target, IPPROTO_ICMPV6, 0, 0);
    sample.icmp_type = type;
    return sample;
}

/* By which guests find the host, and it them: what ARP is to IPv4, and who routes. */
static void ask_discovery(struct asking *asking)
{
    struct prefix own = link_local(), all = address_of("ff02::1"), routers = address_of("ff02::2");
    struct sample sample = discovery(&own, &routers, ROUTER_SOLICITATION);
    ask_in(asking, WAY_ARP, "guests' router solicitations", sample, false);
    sample = discovery(&own, &all, ROUTER_ADVERTISEMENT);
    ask_out(asking, WAY_ARP, "the host's router advertisements", sample);
    sample = discovery(&asking->guest, &asking->host, NEIGHBOUR_SOLICITATION);
    ask_in(asking, WAY_ARP, "guests' neighbour solicitations", sample, true);
    sample = discovery(&asking->host, &asking->guest, NEIGHBOUR_ADVERTISEMENT);
    ask_out(asking, WAY_ARP, "the host's neighbour advertisements", sample);
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
    note(asking, WAY_BRIDGED, what, ruleset_judge_bridged(ruleset, &sample));
}

/* How guests and others find each other's MACs. */
static void ask_bridged_neighbours(struct asking *asking, const char *uplink)
{
    const char *tap = asking->request->tap;
    if (asking->six) {
        ask_between(asking, "guests' neighbour solicitations",
                    discovery(&asking->guest, &asking->target, NEIGHBOUR_SOLICITATION), tap, uplink);
        ask_between(asking, "neighbour advertisements",
                    discovery(&asking->target, &asking->guest, NEIGHBOUR_ADVERTISEMENT), uplink, tap);
        return;
    }
    struct sample arp = {.source = asking->guest, .target = asking->target, .ethertype = ARP};
    ask_between(asking, "guests' ARP requests", arp, tap, uplink);
    struct sample answer = {
        .source = asking->target, .target = asking->guest, .ethertype = ARP, .answer = true};
    ask_between(asking, "ARP answers", answer, uplink, tap);
}

static void ask_bridged(struct asking *asking)
{
    const char *tap = asking->request->tap;
    const char *uplink =
        asking->request->mode == NETWORK_BRIDGED && *asking->request->uplink ? asking->request->uplink : NULL;
    ask_bridged_neighbours(asking, uplink);
    for (size_t i = 0; i < OUTWARD_COUNT; i++) {
        struct sample sample = outward_flow(asking, i);
        ask_between(asking, outward[i].there[asking->six], sample, tap, uplink);
        ask_between(asking, outward[i].back[asking->six], reply(sample), uplink, tap);
    }
}

static void ask_host(struct asking *asking)
{
    const struct refusal_request *request = asking->request;
    if (asking->six)
        ask_discovery(asking);
    else
        ask_arp(asking);
    if (request->dhcp && asking->six)
        ask_dhcp6(asking);
    else if (request->dhcp)
        ask_dhcp(asking);
    if (request->dns)
        ask_dns(asking);
}

/* What one family's packets meet. */
static void ask_family(struct asking *asking)
{
    const struct refusal_request *request = asking->request;
    if (mode_behind_host(request->mode)) {
        if (*asking->uplink)
            ask_outward(asking);
        if (ip_is_set(&asking->host.ip))
            ask_host(asking);
        /* Between two guests. */
        asking->target = asking->guest;
    }
    ask_bridged(asking);
}

void plan_refusals(struct arena *arena, const struct observed *observed,
                   const struct refusal_request *request, struct refusals *refusals)
{
    static const char *const far[] = {"8.8.8.8", "2001:4860:4860::8888"};
    for (int six = 0; six <= 1; six++) {
        uint8_t family = six ? AF_INET6 : AF_INET, bits = six ? 128 : 32;
        const struct prefix *subnet = six ? &request->subnet6 : &request->subnet;
        bool nothing = six && mode_behind_host(request->mode) && !ip_is_set(&subnet->ip);
        if (nothing || (ip_is_set(&request->guest.ip) && request->guest.ip.family != family))
            continue;
        struct asking asking = {.arena = arena,
                                .observed = observed,
                                .request = request,
                                .refusals = refusals,
                                .six = six,
                                .uplink = six && request->uplink6 ? request->uplink6 : request->uplink,
                                .target = address_of(far[six]),
                                .guest = {.ip = {.family = family}},
                                .host = {six ? request->host6 : request->host, bits}};
        if (request->target.family == family)
            asking.target.ip = request->target;
        if (ip_is_set(&request->guest.ip))
            asking.guest = request->guest;
        else if (ip_is_set(&subnet->ip))
            asking.guest = *subnet;
        ask_family(&asking);
    }
}

const struct refusal *refusal_first(const struct refusals *refusals, bool certain)
{
    vec_foreach (&refusals->list, refusal) {
        if ((refusal->judgement.as == JUDGED_DROPPED) == certain)
            return refusal;
    }
    return NULL;
}
