/* pf_way.c: the anchors of networks that are not translated: routed and isolated (the theory is in pf.c).
 *
 * What comes in by the uplink for a routed network is tagged there, and the tag lets it out to the guests:
 * pf cannot say in one rule whence a packet comes and where it goes. */
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

static void family_rules(struct text *out, const struct firewall *firewall, const struct prefix *prefix)
{
    const char *bridge = firewall->bridge, *subnet = arena_strdup(out->arena, PREFIX_TEXT(prefix));
    bool routed = strcmp(firewall->way, "routed") == 0, six = prefix->ip.family == AF_INET6;
    const char *way = routed ? firewall->uplink : bridge, *inet = six ? "inet6" : "inet";
    text_add(out, "pass in on %s %s from %s to any\n", bridge, inet, subnet);
    if (six) {
        text_add(out, "pass in on %s inet6 from fe80::/10 to any\n", bridge);
        text_add(out, "pass in on %s inet6 from :: to ff02::/16\n", bridge);
        text_add(out, "pass out quick on %s inet6 from fe80::/10 to any\n", bridge);
    } else {
        text_add(out, "pass in on %s inet proto udp from any port 68 to any port 67\n", bridge);
    }
    if (routed) {
        text_add(out, "pass out on %s %s from %s to any\n", way, inet, subnet);
        text_add(out, "pass in on %s %s from any to %s tag vmwire_routed\n", way, inet, subnet);
        text_add(out, "pass out quick on %s %s all tagged vmwire_routed\n", bridge, inet);
    }
    text_add(out, "pass out quick on %s %s from %s to %s\n", bridge, inet,
             freebsd_anchor_inside(out->arena, firewall, prefix), subnet);
    if (six)
        text_add(out, "pass out quick inet6 from %s to fe80::/10\n", subnet);
    text_add(out, "pass out quick %s from %s to %s\n", inet, subnet, six ? "ff00::/8" : "224.0.0.0/3");
    text_add(out, "block drop out quick on %s %s from any to %s\n", bridge, inet, subnet);
    text_add(out, "block drop out quick on ! %s %s from %s to ! %s\n", way, inet, subnet, subnet);
}

const char *freebsd_way_text(struct arena *arena, const struct firewall *firewall)
{
    struct text out = {.arena = arena};
    family_rules(&out, firewall, &firewall->subnet);
    if (ip_is_set(&firewall->subnet6.ip))
        family_rules(&out, firewall, &firewall->subnet6);
    return text_get(&out);
}

/* The word behind `before`, up to `after`, both on one line; NULL: none such. */
static const char *word_between(struct arena *arena, const char *text, const char *before, const char *after)
{
    const char *word = strstr(text, before), *end = word ? strstr(word, after) : NULL;
    if (!end || end > word + strcspn(word, "\n"))
        return NULL;
    word += strlen(before);
    return word < end ? arena_strndup(arena, word, (size_t)(end - word)) : NULL;
}

bool freebsd_way_parse(struct arena *arena, const char *network, const char *rules, struct firewall *firewall)
{
    const char *subnet =
        word_between(arena, rules, arena_printf(arena, "pass in on %s inet from ", network), " to any");
    const char *subnet6 =
        word_between(arena, rules, arena_printf(arena, "pass in on %s inet6 from ", network), " to any");
    const char *way = word_between(arena, rules, "block drop out quick on ! ", " inet from");
    *firewall = (struct firewall){.network = network, .bridge = network, .uplink = "", .way = "isolated"};
    if (!subnet || !way || prefix_parse(subnet, &firewall->subnet) < 0 ||
        (subnet6 && prefix_parse(subnet6, &firewall->subnet6) < 0))
        return false;
    if (strcmp(way, network) != 0) {
        firewall->way = "routed";
        firewall->uplink = way;
    }
    return true;
}
