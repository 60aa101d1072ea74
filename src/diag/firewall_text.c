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

/* What the host sends, not what it gets. */
static bool is_outward(const struct refusal *refusal)
{
    enum chain_hook hook = refusal->judgement.base->hook;
    return hook == HOOK_OUTPUT || hook == HOOK_POSTROUTING || hook == HOOK_EGRESS;
}

static const char *iptables_match(struct arena *arena, const char *bridge, const struct refusal *refusal)
{
    switch (refusal->way) {
    case WAY_OUT:
        return arena_printf(arena, "-i %s", bridge);
    case WAY_ANSWER:
        return arena_printf(arena, "-o %s -m conntrack --ctstate ESTABLISHED,RELATED", bridge);
    case WAY_SERVICE:
        return arena_printf(arena, "-%c %s -p udp -m multiport --%cports 53,%s",
                            is_outward(refusal) ? 'o' : 'i', bridge, is_outward(refusal) ? 's' : 'd',
                            refusal->six ? "547" : "67");
    case WAY_ARP: /* ARP: no chain of iptables sees it */
        return "-p ipv6-icmp";
    case WAY_BRIDGED:
        return arena_printf(arena, "-i %s -o %s", bridge, bridge);
    }
    return "";
}

static const char *nft_match(struct arena *arena, const char *bridge, const struct refusal *refusal)
{
    switch (refusal->way) {
    case WAY_OUT:
        return arena_printf(arena, "iifname \"%s\"", bridge);
    case WAY_ANSWER:
        return arena_printf(arena, "oifname \"%s\" ct state established,related", bridge);
    case WAY_SERVICE:
        return arena_printf(arena, "%cifname \"%s\" udp %cport { 53, %s }", is_outward(refusal) ? 'o' : 'i',
                            bridge, is_outward(refusal) ? 's' : 'd', refusal->six ? "547" : "67");
    case WAY_ARP:
        return refusal->six ? "meta l4proto ipv6-icmp" : "arp operation { request, reply }";
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
                            chain->name, shell_quote(arena, nft_match(arena, bridge, refusal)));
    const char *table =
        strcmp(chain->table, "filter") == 0 ? "" : arena_printf(arena, " -t %s", chain->table);
    return arena_printf(
        arena, "%s%s%s -I %s %s -j ACCEPT", strcmp(chain->family, "ip6") == 0 ? "ip6tables" : "iptables",
        chain->legacy ? "-legacy" : "", table, chain->name, iptables_match(arena, bridge, refusal));
}

/* The same rule drops both, and the same word lets both pass. */
static bool same_place(struct arena *arena, const char *bridge, const struct refusal *a,
                       const struct refusal *b)
{
    return a->way == b->way && a->judgement.as == b->judgement.as &&
           a->judgement.chain == b->judgement.chain && a->judgement.rule == b->judgement.rule &&
           strcmp(firewall_cure(arena, bridge, a), firewall_cure(arena, bridge, b)) == 0;
}

void firewall_lines(struct arena *arena, const char *bridge, const struct refusals *refusals,
                    struct firewall_lines *lines)
{
    for (size_t i = 0; i < refusals->list.count; i++) {
        const struct refusal *refusal = &refusals->list.items[i];
        bool told = refusal->judgement.as != JUDGED_DROPPED;
        for (size_t earlier = 0; earlier < i; earlier++)
            told |= same_place(arena, bridge, &refusals->list.items[earlier], refusal);
        if (told)
            continue;
        struct text what = {.arena = arena};
        for (size_t j = i; j < refusals->list.count; j++) {
            if (same_place(arena, bridge, &refusals->list.items[j], refusal))
                text_add(&what, "%s%s", what.length ? ", " : "", refusals->list.items[j].what);
        }
        *vec_push(arena, &lines->list) =
            arena_printf(arena, "another firewall drops %s: %s; to let it pass: %s", text_get(&what),
                         judgement_text(arena, &refusal->judgement), firewall_cure(arena, bridge, refusal));
    }
}
