/* nft_text.c: the ruleset as text: one table for all networks.
 *
 * Theory of operation.  Chains and maps are constant; a network is a handful of map elements keyed by
 * interface name, so a packet costs the same few hash lookups whether there is one network or a thousand, and
 * a network comes and goes without a rule being touched.
 *
 *   forward:  1. forward_pair  bridge to itself (bridged frames that br_netfilter shows here), bridge to its
 * named uplink: accepted
 *             2. forward_to    towards a bridge: only what was asked for (chain inward)
 *             3. forward_from  from a bridge that has a named uplink, by any other way: refused
 *   postrouting: 1. nat_pair   bridge to itself: left alone; bridge to its named uplink: translated
 *             2. nat_from      from a bridge without a named uplink, whatever way it leaves: translated
 *
 * So networks are closed to each other and to the outside, and answers flow.  Each rule has a comment; the
 * comments are how nft_observe.c knows that the rules are all there.  The element of forward_to carries the
 * subnet as its comment. */
#include "base/text.h"
#include "host/linux/text.h"

const struct nft_rule nft_rules[] = {
    {"forward", "inside a network, and to its uplink", "iifname . oifname vmap @forward_pair"},
    {"forward", "towards guests", "oifname vmap @forward_to"},
    {"forward", "not by another way than the uplink", "iifname vmap @forward_from"},
    {"inward", "answers", "ct state established,related accept"},
    {"inward", "port forwards", "ct status dnat accept"},
    {"inward", "nothing unasked", "counter reject with icmpx admin-prohibited"},
    {"refuse", "no way out but the uplink", "counter reject with icmpx admin-prohibited"},
    {"postrouting", "inside a network, and its uplink", "iifname . oifname vmap @nat_pair"},
    {"postrouting", "any way out", "iifname vmap @nat_from"},
    {"translate", "under the host's address", "masquerade"},
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
        "add chain inet vmwire forward { type filter hook forward priority filter; policy accept; }\n"
        "add chain inet vmwire postrouting { type nat hook postrouting priority srcnat; policy accept; }\n");
    for (const struct nft_rule *rule = nft_rules; rule->chain; rule++)
        text_add(&out, "add rule inet vmwire %s %s comment \"%s\"\n", rule->chain, rule->text, rule->comment);
    return text_get(&out);
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
    struct text out = {.arena = arena};
    text_add(&out, "delete element inet vmwire forward_pair { \"%s\" . \"%s\" }\n", bridge, bridge);
    text_add(&out, "delete element inet vmwire forward_to { \"%s\" }\n", bridge);
    text_add(&out, "delete element inet vmwire nat_pair { \"%s\" . \"%s\" }\n", bridge, bridge);
    if (*uplink) {
        text_add(&out, "delete element inet vmwire forward_pair { \"%s\" . \"%s\" }\n", bridge, uplink);
        text_add(&out, "delete element inet vmwire forward_from { \"%s\" }\n", bridge);
        text_add(&out, "delete element inet vmwire nat_pair { \"%s\" . \"%s\" }\n", bridge, uplink);
    } else {
        text_add(&out, "delete element inet vmwire nat_from { \"%s\" }\n", bridge);
    }
    return text_get(&out);
}
