/* nft_text.c: the ruleset as text: one table for all networks.
 *
 * Theory of operation.  Chains and maps are constant; a network is a handful of map elements keyed by
 * interface name, so a packet costs the same few hash lookups whether there is one network or a thousand, and
 * a network comes and goes without a rule being touched.
 *
 * forward:
 *  1. forward_pair: bridge to itself (bridged frames that br_netfilter shows here), bridge to its named
 * uplink: accepted;
 *  2. forward_back: from its named uplink to a routed bridge: accepted;
 *  3. forward_from: from a bridge that has a named uplink, by any other way: refused but for port forwards;
 * from an isolated one: refused;
 *  4. forward_to: towards a bridge: only what was asked for (chain inward), or all, to a routed one without a
 *     named uplink.
 *
 * prerouting, output: forward_at, forward_any: a port of one address of the host, of every one: to the guest.
 * In prerouting not for loopback addresses, which a neighbour on the wire may write into a packet and only
 * the host itself, in output, can mean; and never the DHCP, DNS and TFTP ports of the networks' own addresses
 * (set hosts).
 *
 * postrouting:
 *  1. nat_hairpin: forwarded back to the network that it came from: under the host's address, else the guest
 *     would answer past the host; likewise what the host's loopback sends.  By the source's subnet, not by
 *     iifname: where br_netfilter shows bridged frames here, there is none at postrouting;
 *  2. nat_pair: bridge to itself: left alone; bridge to its named uplink: translated;
 *  3. nat_from: from a bridge without a named uplink, whatever way it leaves: translated.
 *
 * IPv6 goes the same ways: the maps by interface are for both, those by address are there twice.  But for
 * ::1: the answers to what it sends elsewhere never reach it, and nothing makes them (as route_localnet does
 * for IPv4), so that its ports are not forwarded; nor does anybody else's ::1 come in.
 *
 * martian: with a forward, its bridge routes loopback addresses (plan/firewall.c): guests may not use them.
 *
 * So networks are closed to each other and to the outside, and answers flow.  Each rule has a comment; the
 * comments are how nft_observe.c knows that the rules are all there.  The element of forward_to carries the
 * subnet as its comment. */
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/linux/text.h"

#define FORWARD_AT "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @forward_at"
#define FORWARD_ANY "fib daddr type local dnat ip to meta l4proto . th dport map @forward_any"
#define FORWARD6_AT "fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @forward6_at"
#define FORWARD6_ANY "fib daddr type local dnat ip6 to meta l4proto . th dport map @forward6_any"
#define WORDS_OF(...) #__VA_ARGS__
#define WORDS(...) WORDS_OF(__VA_ARGS__)
#define OWN_PORTS "ip daddr @hosts th dport { " WORDS(FORWARD_OWN_PORTS) " } accept"
#define OWN_PORTS6 "ip6 daddr @hosts6 th dport { " WORDS(FORWARD_OWN_PORTS6) " } accept"

const struct nft_rule nft_rules[] = {
    {"forward", "inside a network, and to its uplink", "iifname . oifname vmap @forward_pair"},
    {"forward", "to a routed network, from its uplink", "oifname . iifname vmap @forward_back"},
    {"forward", "not by another way than the uplink", "iifname vmap @forward_from"},
    {"forward", "towards guests", "oifname vmap @forward_to"},
    {"inward", "answers", "ct state established,related accept"},
    {"inward", "port forwards", "ct status dnat accept"},
    {"inward", "nothing unasked", "counter reject with icmpx admin-prohibited"},
    {"refuse", "port forwards", "ct status dnat accept"},
    {"refuse", "no way out but the uplink", "counter reject with icmpx admin-prohibited"},
    {"shut", "no way out", "counter reject with icmpx admin-prohibited"},
    {"postrouting", "forwarded from the loopback", "ip saddr 127.0.0.0/8 oifname @loopback goto translate"},
    {"postrouting", "forwarded back into the network", "ct status dnat ip saddr . oifname vmap @nat_hairpin"},
    {"postrouting", "forwarded back into the IPv6 network",
     "ct status dnat ip6 saddr . oifname vmap @nat_hairpin6"},
    {"postrouting", "inside a network, and its uplink", "iifname . oifname vmap @nat_pair"},
    {"postrouting", "any way out", "iifname vmap @nat_from"},
    {"translate", "under the host's address", "masquerade"},
    {"prerouting", "the loopback is the host's own", "ip daddr 127.0.0.0/8 accept"},
    {"prerouting", "DHCP, DNS and TFTP of the networks", OWN_PORTS},
    {"prerouting", "DHCPv6, DNS and TFTP of the networks", OWN_PORTS6},
    {"prerouting", "forwards of one address", FORWARD_AT},
    {"prerouting", "forwards of every address", FORWARD_ANY},
    {"prerouting", "IPv6 forwards of one address", FORWARD6_AT},
    {"prerouting", "IPv6 forwards of every address", FORWARD6_ANY},
    {"output", "::1 is the host's own", "ip6 daddr ::1 accept"},
    {"output", "DHCP, DNS and TFTP of the networks", OWN_PORTS},
    {"output", "DHCPv6, DNS and TFTP of the networks", OWN_PORTS6},
    {"output", "forwards of one address", FORWARD_AT},
    {"output", "forwards of every address", FORWARD_ANY},
    {"output", "IPv6 forwards of one address", FORWARD6_AT},
    {"output", "IPv6 forwards of every address", FORWARD6_ANY},
    {"martian", "guests do not reach the loopback", "ip daddr 127.0.0.0/8 iifname @loopback counter drop"},
    {"martian", "guests are not the loopback", "ip saddr 127.0.0.0/8 iifname @loopback counter drop"},
    {NULL, NULL, NULL},
};

const char *nft_base_text(struct arena *arena)
{
    struct text out = {.arena = arena};
    text_add(
        &out,
        "add table inet vmwire\n"
        "add chain inet vmwire inward\n"
        "add chain inet vmwire refuse\n"
        "add chain inet vmwire shut\n"
        "add chain inet vmwire translate\n"
        "add map inet vmwire forward_pair { type ifname . ifname : verdict; }\n"
        "add map inet vmwire forward_to { type ifname : verdict; }\n"
        "add map inet vmwire forward_from { type ifname : verdict; }\n"
        "add map inet vmwire forward_back { type ifname . ifname : verdict; }\n"
        "add map inet vmwire nat_pair { type ifname . ifname : verdict; }\n"
        "add map inet vmwire nat_from { type ifname : verdict; }\n"
        "add map inet vmwire nat_hairpin { type ipv4_addr . ifname : verdict; flags interval; }\n"
        "add map inet vmwire forward_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . "
        "inet_service; }\n"
        "add map inet vmwire forward_any { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
        "add map inet vmwire nat_hairpin6 { type ipv6_addr . ifname : verdict; flags interval; }\n"
        "add map inet vmwire forward6_at { type ipv6_addr . inet_proto . inet_service : ipv6_addr . "
        "inet_service; }\n"
        "add map inet vmwire forward6_any { type inet_proto . inet_service : ipv6_addr . inet_service; }\n"
        "add set inet vmwire hosts { type ipv4_addr; }\n"
        "add set inet vmwire hosts6 { type ipv6_addr; }\n"
        "add set inet vmwire loopback { type ifname; }\n"
        "add chain inet vmwire martian { type filter hook prerouting priority raw; policy accept; }\n"
        "add chain inet vmwire prerouting { type nat hook prerouting priority dstnat; policy accept; }\n"
        "add chain inet vmwire output { type nat hook output priority -100; policy accept; }\n"
        "add chain inet vmwire forward { type filter hook forward priority filter; policy accept; }\n"
        "add chain inet vmwire postrouting { type nat hook postrouting priority srcnat; policy accept; }\n");
    nft_rules_add(&out, "inet vmwire", nft_rules);
    return text_get(&out);
}

/* The forwards' elements, one a port, in one command a map: `value` false for deleting them. */
static void forward_elements(struct text *out, const struct firewall *firewall, const char *verb, bool value)
{
    for (int map = 0; map < 4; map++) {
        const char *separator = "";
        bool any = map & 1, six = map & 2;
        vec_foreach (&firewall->forwards.list, forward) {
            if (ip_is_set(&forward->listen) == any || (forward->family == AF_INET6) != six)
                continue;
            for (unsigned port = forward->first; port <= forward->last; port++) {
                text_add(out, "%s", separator);
                if (!*separator)
                    text_add(out, "%s element inet vmwire forward%s_%s { ", verb, six ? "6" : "",
                             any ? "any" : "at");
                separator = ", ";
                if (!any)
                    text_add(out, "%s . ", IP_TEXT(&forward->listen));
                text_add(out, "%s . %u", forward_protocol_name(forward), port);
                if (value)
                    text_add(out, " comment \"%s\" : %s . %u", firewall->network, IP_TEXT(&forward->target),
                             forward->target_first + port - forward->first);
            }
        }
        if (*separator)
            text_add(out, " }\n");
    }
}

enum { WAY_TRANSLATED, WAY_ROUTED, WAY_ISOLATED };

static int way_of(const struct firewall *firewall)
{
    const char *way = firewall->way ? firewall->way : "";
    return strcmp(way, "routed") == 0     ? WAY_ROUTED
           : strcmp(way, "isolated") == 0 ? WAY_ISOLATED
                                          : WAY_TRANSLATED;
}

/* One element: of a map when `verdict` is not "". */
struct element_text {
    const char *map, *key, *comment, *verdict;
};

struct element_texts {
    VEC(struct element_text) list;
};

static void element(struct arena *arena, struct element_texts *all, const char *map, const char *key,
                    const char *comment, const char *verdict)
{
    *vec_push(arena, &all->list) = (struct element_text){map, key, comment, verdict};
}

/* The host's own addresses on the bridge.  One that is unset was never whole, and it is not known what there
 * is. */
static void hosts_of(struct arena *arena, const struct firewall *firewall, struct element_texts *all)
{
    const struct prefix *subnets[] = {&firewall->subnet, &firewall->subnet6};
    for (int six = 0; six < 2; six++) {
        struct ip host = ip_add(&subnets[six]->ip, 1);
        if (ip_is_set(&host))
            element(arena, all, six ? "hosts6" : "hosts", arena_strdup(arena, IP_TEXT(&host)),
                    firewall->bridge, "");
    }
}

/* A network's elements, but for its port forwards'. */
static void elements_of(struct arena *arena, const struct firewall *firewall, struct element_texts *all)
{
    int way = way_of(firewall);
    const char *bridge = arena_printf(arena, "\"%s\"", firewall->bridge);
    const char *inside = arena_printf(arena, "%s . %s", bridge, bridge);
    const char *out = *firewall->uplink ? arena_printf(arena, "%s . \"%s\"", bridge, firewall->uplink) : NULL;
    const char *subnets[] = {arena_strdup(arena, PREFIX_TEXT(&firewall->subnet)),
                             arena_strdup(arena, PREFIX_TEXT(&firewall->subnet6))};
    const char *both = *subnets[1] ? arena_printf(arena, "%s %s", subnets[0], subnets[1]) : subnets[0];
    element(arena, all, "forward_pair", inside, "", firewall->isolate ? "goto refuse" : "accept");
    element(arena, all, "forward_to", bridge, both, way == WAY_ROUTED && !out ? "accept" : "goto inward");
    hosts_of(arena, firewall, all);
    if (way == WAY_TRANSLATED)
        element(arena, all, "nat_pair", inside, "", "accept");
    if (out) {
        element(arena, all, "forward_pair", out, "", "accept");
        element(arena, all, "forward_from", bridge, "", "goto refuse");
        element(arena, all, way == WAY_ROUTED ? "forward_back" : "nat_pair", out, "",
                way == WAY_ROUTED ? "accept" : "goto translate");
    } else if (way == WAY_TRANSLATED) {
        element(arena, all, "nat_from", bridge, "", "goto translate");
    } else if (way == WAY_ISOLATED) {
        element(arena, all, "forward_from", bridge, "", "goto shut");
    }
    if (firewall->forwards.list.count) {
        element(arena, all, "loopback", bridge, "", "");
        for (int six = 0; six < 2; six++) {
            if (*subnets[six])
                element(arena, all, six ? "nat_hairpin6" : "nat_hairpin",
                        arena_printf(arena, "%s . %s", subnets[six], bridge), "", "goto translate");
        }
    }
}

/* Interface names were checked when they were read (name_fault): no quote, no backslash. */
const char *nft_set_text(struct arena *arena, const struct firewall *firewall)
{
    struct element_texts all = {0};
    struct text out = {.arena = arena};
    elements_of(arena, firewall, &all);
    vec_foreach (&all.list, one)
        text_add(&out, "add element inet vmwire %s { %s%s%s%s%s%s }\n", one->map, one->key,
                 *one->comment ? " comment \"" : "", one->comment, *one->comment ? "\"" : "",
                 *one->verdict ? " : " : "", one->verdict);
    forward_elements(&out, firewall, "add", true);
    return text_get(&out);
}

const char *nft_remove_text(struct arena *arena, const struct firewall *firewall)
{
    struct element_texts all = {0};
    struct text out = {.arena = arena};
    elements_of(arena, firewall, &all);
    vec_foreach (&all.list, one)
        text_add(&out, "delete element inet vmwire %s { %s }\n", one->map, one->key);
    forward_elements(&out, firewall, "delete", false);
    return text_get(&out);
}
