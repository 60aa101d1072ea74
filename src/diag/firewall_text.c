/* firewall_text.c: judgements of refusal.h in words: firewall_text.h. */
#include "diag/firewall_text.h"

#include <string.h>

#include "base/text.h"

/* iptables' base chains have these names, in both of its kinds; whoever writes nftables does not shout. */
static bool is_iptables(const struct rule_chain *base)
{
    static const char *const names[] = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(base->name, names[i]) == 0)
            return true;
    }
    return false;
}

static const char *iptables_match(struct arena *arena, const char *bridge, enum refused_way way)
{
    switch (way) {
    case WAY_OUT:
        return arena_printf(arena, "-i %s", bridge);
    case WAY_ANSWER:
        return arena_printf(arena, "-o %s -m conntrack --ctstate ESTABLISHED,RELATED", bridge);
    case WAY_SERVICE:
        return arena_printf(arena, "-i %s -p udp -m multiport --dports 53,67", bridge);
    case WAY_ARP: /* no chain of iptables sees it */
    case WAY_BRIDGED:
        return arena_printf(arena, "-i %s -o %s", bridge, bridge);
    }
    return "";
}

static const char *nft_match(struct arena *arena, const char *bridge, enum refused_way way)
{
    switch (way) {
    case WAY_OUT:
        return arena_printf(arena, "iifname \"%s\"", bridge);
    case WAY_ANSWER:
        return arena_printf(arena, "oifname \"%s\" ct state established,related", bridge);
    case WAY_SERVICE:
        return arena_printf(arena, "iifname \"%s\" udp dport { 53, 67 }", bridge);
    case WAY_ARP:
        return "arp operation { request, reply }";
    case WAY_BRIDGED:
        return arena_printf(arena, "iifname \"%s\" oifname \"%s\"", bridge, bridge);
    }
    return "";
}

const char *firewall_cure(struct arena *arena, const char *bridge, const struct refusal *refusal)
{
    const struct rule_chain *base = refusal->judgement.base, *chain = refusal->judgement.chain;
    if (!is_iptables(base))
        return arena_printf(arena, "nft insert rule %s %s %s %s accept", chain->family, chain->table,
                            chain->name, shell_quote(arena, nft_match(arena, bridge, refusal->way)));
    const char *table =
        strcmp(chain->table, "filter") == 0 ? "" : arena_printf(arena, " -t %s", chain->table);
    return arena_printf(
        arena, "%s%s%s -I %s %s -j ACCEPT", strcmp(chain->family, "ip6") == 0 ? "ip6tables" : "iptables",
        chain->legacy ? "-legacy" : "", table, chain->name, iptables_match(arena, bridge, refusal->way));
}

static bool same_place(const struct refusal *a, const struct refusal *b)
{
    return a->way == b->way && a->judgement.as == b->judgement.as &&
           a->judgement.chain == b->judgement.chain && a->judgement.rule == b->judgement.rule;
}

void firewall_lines(struct arena *arena, const char *bridge, const struct refusals *refusals,
                    struct firewall_lines *lines)
{
    for (size_t i = 0; i < refusals->list.count; i++) {
        const struct refusal *refusal = &refusals->list.items[i];
        bool told = refusal->judgement.as != JUDGED_DROPPED;
        for (size_t earlier = 0; earlier < i; earlier++)
            told |= same_place(&refusals->list.items[earlier], refusal);
        if (told)
            continue;
        struct text what = {.arena = arena};
        for (size_t j = i; j < refusals->list.count; j++) {
            if (same_place(&refusals->list.items[j], refusal))
                text_add(&what, "%s%s", what.length ? ", " : "", refusals->list.items[j].what);
        }
        *vec_push(arena, &lines->list) =
            arena_printf(arena, "another firewall drops %s: %s; to let it pass: %s", text_get(&what),
                         judgement_text(arena, &refusal->judgement), firewall_cure(arena, bridge, refusal));
    }
}
