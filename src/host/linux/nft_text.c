/* nft_text.c: the ruleset as text: one table for all networks.
 *
 * Theory of operation.  Chains and maps are constant; a network is a handful of map elements keyed by
 * interface name, so a packet costs the same few hash lookups whether there is one network or a thousand, and
 * a network comes and goes without a rule being touched.
 *
 * forward:
 *  1. forward_pair: bridge to itself (bridged frames that br_netfilter shows here), bridge to its named
 * uplink: accepted;
 *  2. forward_to: towards a bridge: only what was asked for (chain inward);
 *  3. forward_from: from a bridge that has a named uplink, by any other way: refused.
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
 * martian: with a forward, its bridge routes loopback addresses (plan/firewall.c): guests may not use them.
 *
 * So networks are closed to each other and to the outside, and answers flow.  Each rule has a comment; the
 * comments are how nft_observe.c knows that the rules are all there.  The element of forward_to carries the
 * subnet as its comment. */
#include "base/text.h"
#include "host/linux/text.h"

#define FORWARD_AT "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @forward_at"
#define FORWARD_ANY "fib daddr type local dnat ip to meta l4proto . th dport map @forward_any"

const struct nft_rule nft_rules[] = {
    {"forward", "inside a network, and to its uplink", "iifname . oifname vmap @forward_pair"},
    {"forward", "towards guests", "oifname vmap @forward_to"},
    {"forward", "not by another way than the uplink", "iifname vmap @forward_from"},
    {"inward", "answers", "ct state established,related accept"},
    {"inward", "port forwards", "ct status dnat accept"},
    {"inward", "nothing unasked", "counter reject with icmpx admin-prohibited"},
    {"refuse", "answers of port forwards", "ct status dnat ct direction reply accept"},
    {"refuse", "no way out but the uplink", "counter reject with icmpx admin-prohibited"},
    {"postrouting", "forwarded from the loopback", "ip saddr 127.0.0.0/8 oifname @loopback goto translate"},
    {"postrouting", "forwarded back into the network", "ct status dnat ip saddr . oifname vmap @nat_hairpin"},
    {"postrouting", "inside a network, and its uplink", "iifname . oifname vmap @nat_pair"},
    {"postrouting", "any way out", "iifname vmap @nat_from"},
    {"translate", "under the host's address", "masquerade"},
    {"prerouting", "the loopback is the host's own", "ip daddr 127.0.0.0/8 accept"},
    {"prerouting", "DHCP, DNS and TFTP of the networks", "ip daddr @hosts th dport { 53, 67, 69 } accept"},
    {"prerouting", "forwards of one address", FORWARD_AT},
    {"prerouting", "forwards of every address", FORWARD_ANY},
    {"output", "DHCP, DNS and TFTP of the networks", "ip daddr @hosts th dport { 53, 67, 69 } accept"},
    {"output", "forwards of one address", FORWARD_AT},
    {"output", "forwards of every address", FORWARD_ANY},
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
        "add chain inet vmwire translate\n"
        "add map inet vmwire forward_pair { type ifname . ifname : verdict; }\n"
        "add map inet vmwire forward_to { type ifname : verdict; }\n"
        "add map inet vmwire forward_from { type ifname : verdict; }\n"
        "add map inet vmwire nat_pair { type ifname . ifname : verdict; }\n"
        "add map inet vmwire nat_from { type ifname : verdict; }\n"
        "add map inet vmwire nat_hairpin { type ipv4_addr . ifname : verdict; flags interval; }\n"
        "add map inet vmwire forward_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . "
        "inet_service; }\n"
        "add map inet vmwire forward_any { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
        "add set inet vmwire hosts { type ipv4_addr; }\n"
        "add set inet vmwire loopback { type ifname; }\n"
        "add chain inet vmwire martian { type filter hook prerouting priority raw; policy accept; }\n"
        "add chain inet vmwire prerouting { type nat hook prerouting priority dstnat; policy accept; }\n"
        "add chain inet vmwire output { type nat hook output priority -100; policy accept; }\n"
        "add chain inet vmwire forward { type filter hook forward priority filter; policy accept; }\n"
        "add chain inet vmwire postrouting { type nat hook postrouting priority srcnat; policy accept; }\n");
    for (const struct nft_rule *rule = nft_rules; rule->chain; rule++)
        text_add(&out, "add rule inet vmwire %s %s comment \"%s\"\n", rule->chain, rule->text, rule->comment);
    return text_get(&out);
}

/* The forwards' elements, one a port, in one command a map: `value` false for deleting them. */
static void forward_elements(struct text *out, const struct firewall *firewall, const char *verb, bool value)
{
    for (int any = 0; any < 2; any++) {
        const char *separator = "";
        vec_foreach (&firewall->forwards.list, forward) {
            if (ip_is_set(&forward->listen) == any)
                continue;
            for (unsigned port = forward->first; port <= forward->last; port++) {
                text_add(out, "%s", separator);
                if (!*separator)
                    text_add(out, "%s element inet vmwire %s { ", verb, any ? "forward_any" : "forward_at");
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

static struct ip host_address(const struct firewall *firewall)
{
    return ip_add(&firewall->subnet.ip, 1);
}

/* Interface names were checked when they were read (name_fault): no quote, no backslash. */
const char *nft_set_text(struct arena *arena, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge, *uplink = firewall->uplink;
    struct text out = {.arena = arena};
    text_add(&out, "add element inet vmwire forward_pair { \"%s\" . \"%s\" : accept }\n", bridge, bridge);
    text_add(&out, "add element inet vmwire forward_to { \"%s\" comment \"%s\" : goto inward }\n", bridge,
             PREFIX_TEXT(&firewall->subnet));
    text_add(&out, "add element inet vmwire nat_pair { \"%s\" . \"%s\" : accept }\n", bridge, bridge);
    struct ip host = host_address(firewall);
    text_add(&out, "add element inet vmwire hosts { %s comment \"%s\" }\n", IP_TEXT(&host), bridge);
    if (firewall->forwards.list.count) {
        text_add(&out, "add element inet vmwire loopback { \"%s\" }\n", bridge);
        text_add(&out, "add element inet vmwire nat_hairpin { %s . \"%s\" : goto translate }\n",
                 PREFIX_TEXT(&firewall->subnet), bridge);
        forward_elements(&out, firewall, "add", true);
    }
    if (*uplink) {
        text_add(&out, "add element inet vmwire forward_pair { \"%s\" . \"%s\" : accept }\n", bridge, uplink);
        text_add(&out, "add element inet vmwire forward_from { \"%s\" : goto refuse }\n", bridge);
        text_add(&out, "add element inet vmwire nat_pair { \"%s\" . \"%s\" : goto translate }\n", bridge,
                 uplink);
    } else {
        text_add(&out, "add element inet vmwire nat_from { \"%s\" : goto translate }\n", bridge);
    }
    return text_get(&out);
}

const char *nft_remove_text(struct arena *arena, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge, *uplink = firewall->uplink;
    struct ip host = host_address(firewall);
    struct text out = {.arena = arena};
    text_add(&out, "delete element inet vmwire forward_pair { \"%s\" . \"%s\" }\n", bridge, bridge);
    text_add(&out, "delete element inet vmwire forward_to { \"%s\" }\n", bridge);
    text_add(&out, "delete element inet vmwire nat_pair { \"%s\" . \"%s\" }\n", bridge, bridge);
    if (ip_is_set(&firewall->subnet.ip)) /* else it was never whole, and it is not known what there is */
        text_add(&out, "delete element inet vmwire hosts { %s }\n", IP_TEXT(&host));
    if (firewall->forwards.list.count) {
        text_add(&out, "delete element inet vmwire loopback { \"%s\" }\n", bridge);
        text_add(&out, "delete element inet vmwire nat_hairpin { %s . \"%s\" }\n",
                 PREFIX_TEXT(&firewall->subnet), bridge);
        forward_elements(&out, firewall, "delete", false);
    }
    if (*uplink) {
        text_add(&out, "delete element inet vmwire forward_pair { \"%s\" . \"%s\" }\n", bridge, uplink);
        text_add(&out, "delete element inet vmwire forward_from { \"%s\" }\n", bridge);
        text_add(&out, "delete element inet vmwire nat_pair { \"%s\" . \"%s\" }\n", bridge, uplink);
    } else {
        text_add(&out, "delete element inet vmwire nat_from { \"%s\" }\n", bridge);
    }
    return text_get(&out);
}
