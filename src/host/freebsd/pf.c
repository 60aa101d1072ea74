/* pf.c: the packet filter: one anchor a network, and the main ruleset that has to hand over to it.
 *
 * Theory of operation.  pf looks at an anchor only where a line of the main ruleset says so; an anchor that
 * is loaded and not named there is not in force, and nothing tells.  The main ruleset is the administrator's:
 * it is never rewritten.  Where it lacks the three lines vmwire refuses and says them; only where no ruleset
 * is loaded at all it loads one of its own, which is these three lines, and pf's default is to pass.
 *
 * Port forwards are rdr rules on every interface; their tag lets the packets, which have the guest's address
 * by then, in to the guest, and nobody can give himself a tag.  One that comes from the guest's own network
 * is translated to the host's address, else the guest would answer past the host.  A connection of the host
 * itself passes no rdr rule: pf has it for packets that come in.
 *
 * IPv6 has the same rules again; what goes from and to link-local addresses is never forwarded, and passes:
 * neighbours, router advertisements and DHCPv6 use it.  (re0:0) is the first address that is none of these,
 * where (re0) would take turns with one.
 *
 * A network's rules, as for Linux (nft_text.c): guests leave by the uplink alone, under the host's address;
 * nobody outside opens a connection to them; networks are closed to each other.  What admits is not `quick`,
 * so that a rule of the administrator's behind the anchor can still refuse; what refuses is. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

static const char *const main_lines[] = {"nat-anchor \"vmwire/*\"", "rdr-anchor \"vmwire/*\"",
                                         "anchor \"vmwire/*\""};
enum { MAIN_LINES = 3 };

const char *freebsd_anchor(struct arena *arena, const char *network)
{
    return arena_printf(arena, "vmwire/%s", network);
}

const char *freebsd_main_text(void)
{
    return "nat-anchor \"vmwire/*\"\nrdr-anchor \"vmwire/*\"\nanchor \"vmwire/*\"\n";
}

/* "port 8000:8010 tag vmwire_in -> 10.0.0.5 port 8000:*": the ports in order, pf.conf(5). */
static void rdr_rules(struct text *out, const struct firewall *firewall)
{
    vec_foreach (&firewall->forwards.list, forward) {
        bool range = forward->last > forward->first;
        text_add(out, "rdr inet%s proto %s from any to %s port %s%u", forward->family == AF_INET6 ? "6" : "",
                 forward_protocol_name(forward),
                 ip_is_set(&forward->listen) ? IP_TEXT(&forward->listen) : "(self)", range ? "" : "= ",
                 forward->first);
        if (range)
            text_add(out, ":%u", forward->last);
        text_add(out, " tag vmwire_in -> %s port %u%s\n", IP_TEXT(&forward->target), forward->target_first,
                 range ? ":*" : "");
    }
}

/* Whose packets pass to guests beside answers: the network's, or with `isolate` only the host's own. */
const char *freebsd_anchor_inside(struct arena *arena, const struct firewall *firewall,
                                  const struct prefix *subnet)
{
    return firewall->isolate ? arena_printf(arena, "(%s)", firewall->bridge)
                             : arena_strdup(arena, PREFIX_TEXT(subnet));
}

static bool forwards_of(const struct firewall *firewall, uint8_t family)
{
    vec_foreach (&firewall->forwards.list, forward) {
        if (forward->family == family)
            return true;
    }
    return false;
}

static void nat6_rules(struct text *out, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge, *uplink = firewall->uplink;
    const char *subnet = arena_strdup(out->arena, PREFIX_TEXT(&firewall->subnet6));
    if (!*subnet)
        return;
    text_add(out, "nat on %s inet6 from %s to any -> (%s:0)\n", uplink, subnet, uplink);
    if (forwards_of(firewall, AF_INET6))
        text_add(out, "nat on %s inet6 from %s to %s tagged vmwire_in -> (%s:0)\n", bridge, subnet, subnet,
                 bridge);
}

static void filter6_rules(struct text *out, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge, *uplink = firewall->uplink;
    const char *subnet = arena_strdup(out->arena, PREFIX_TEXT(&firewall->subnet6));
    bool forwards = forwards_of(firewall, AF_INET6);
    if (!*subnet)
        return;
    text_add(out, "pass in on %s inet6 from %s to any%s tag vmwire\n", bridge, subnet,
             forwards ? " ! tagged vmwire_in" : "");
    text_add(out, "pass in on %s inet6 from fe80::/10 to any\n", bridge);
    text_add(out, "pass in on %s inet6 from :: to ff02::/16\n", bridge);
    text_add(out, "pass out on %s inet6 all tagged vmwire\n", uplink);
    if (forwards) {
        text_add(out, "pass in inet6 all tagged vmwire_in\n");
        text_add(out, "pass out quick on %s inet6 all tagged vmwire_in\n", bridge);
    }
    text_add(out, "pass out quick on %s inet6 from fe80::/10 to any\n", bridge);
    text_add(out, "pass out quick on %s inet6 from %s to %s\n", bridge,
             freebsd_anchor_inside(out->arena, firewall, &firewall->subnet6), subnet);
    text_add(out, "pass out quick inet6 from %s to fe80::/10\n", subnet);
    text_add(out, "pass out quick inet6 from %s to ff00::/8\n", subnet);
    text_add(out, "block drop out quick on %s inet6 from any to %s\n", bridge, subnet);
    text_add(out, "block drop out quick on ! %s inet6 from %s to ! %s\n", uplink, subnet, subnet);
}

/* The tag tells, behind the translation, whose packet it is. */
const char *freebsd_anchor_text(struct arena *arena, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge, *uplink = firewall->uplink;
    const char *subnet = arena_strdup(arena, PREFIX_TEXT(&firewall->subnet));
    struct text out = {.arena = arena};
    bool forwards = forwards_of(firewall, AF_INET);
    if (*firewall->way)
        return freebsd_way_text(arena, firewall);
    text_add(&out, "nat on %s inet from %s to any -> (%s)\n", uplink, subnet, uplink);
    if (forwards)
        text_add(&out, "nat on %s inet from %s to %s tagged vmwire_in -> (%s)\n", bridge, subnet, subnet,
                 bridge);
    nat6_rules(&out, firewall);
    rdr_rules(&out, firewall);
    text_add(&out, "pass in on %s inet from %s to any%s tag vmwire\n", bridge, subnet,
             forwards ? " ! tagged vmwire_in" : ""); /* a later tag would replace it */
    text_add(&out, "pass in on %s inet proto udp from any port 68 to any port 67\n", bridge);
    text_add(&out, "pass out on %s inet all tagged vmwire\n", uplink);
    if (forwards) {
        text_add(&out, "pass in inet all tagged vmwire_in\n");
        text_add(&out, "pass out quick on %s inet all tagged vmwire_in\n", bridge);
    }
    text_add(&out, "pass out quick on %s inet from %s to %s\n", bridge,
             freebsd_anchor_inside(arena, firewall, &firewall->subnet), subnet);
    /* What everybody gets, also through the bridge's ports: DHCP's answers to 255.255.255.255, multicast. */
    text_add(&out, "pass out quick inet from %s to 224.0.0.0/3\n", subnet);
    text_add(&out, "block drop out quick on %s inet from any to %s\n", bridge, subnet);
    text_add(&out, "block drop out quick on ! %s inet from %s to ! %s\n", uplink, subnet, subnet);
    filter6_rules(&out, firewall);
    return text_get(&out);
}

void freebsd_anchors_parse(struct arena *arena, const char *text, struct freebsd_names *networks)
{
    static const char prefix[] = "vmwire/";
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n"), blank = strspn(line, " \t");
        const char *name = line + blank;
        if (blank < length && strncmp(name, prefix, strlen(prefix)) == 0) {
            name += strlen(prefix);
            const char *network = arena_strndup(arena, name, (size_t)(line + length - name));
            if (!name_fault(arena, network))
                *vec_push(arena, &networks->list) = network;
        }
        line += length + (line[length] == '\n');
    }
}

/* How much of a rule pfctl prints as it was loaded, on every release: behind the family it adds flags and
 * states and names ports; behind the address of a translation, the way that it chooses. */
static size_t sure_length(const char *rule, size_t length)
{
    static const char *const families[] = {" inet ", " inet6 "};
    for (size_t i = 0; i < 2 && strncmp(rule, "nat ", 4) != 0; i++) {
        const char *end = strstr(rule, families[i]);
        if (end && end < rule + length)
            return (size_t)(end - rule) + strlen(families[i]) - 1;
    }
    return length;
}

/* Do the lines of `shown` begin as those of `wanted` do, one by one? */
static bool same_rules(const char *wanted, const char *shown)
{
    while (*wanted && *shown) {
        size_t want = strcspn(wanted, "\n"), show = strcspn(shown, "\n"), sure = sure_length(wanted, want);
        if (show < sure || memcmp(wanted, shown, sure) != 0 || (show > sure && shown[sure] != ' '))
            return false;
        wanted += want + (wanted[want] == '\n');
        shown += show + (shown[show] == '\n');
    }
    return !*wanted && !*shown;
}

/* A port as pfctl prints it, which may be its name in /etc/services. */
static bool port_read(const char *text, const char *protocol, uint16_t *port)
{
    if (text[strspn(text, "0123456789")] == '\0' && *text) {
        *port = (uint16_t)atoi(text);
        return *port != 0;
    }
    const struct servent *service = getservbyname(text, protocol);
    *port = service ? ntohs((uint16_t)service->s_port) : 0;
    return service != NULL;
}

/* "rdr inet proto tcp from any to (self) port = 2222 tag vmwire_in -> 10.0.0.5 port 22", or "port 8000:8010
 * tag vmwire_in -> 10.0.0.5 port 8000:8010". */
static bool rdr_parse(const char *line, struct forward *forward)
{
    char family[8], protocol[8], to[64], from[32], target[64], target_port[32], last[32] = "";
    *forward = (struct forward){0};
    if (sscanf(line, "rdr %7s proto %7s from any to %63s port = %31s tag vmwire_in -> %63s port %31[^: \n]",
               family, protocol, to, from, target, target_port) != 6 &&
        sscanf(line,
               "rdr %7s proto %7s from any to %63s port %31[^:]:%31s tag vmwire_in -> %63s port %31[^: \n]",
               family, protocol, to, from, last, target, target_port) != 7)
        return false;
    forward->family = strcmp(family, "inet6") == 0 ? AF_INET6 : AF_INET;
    forward->protocol = strcmp(protocol, "tcp") == 0 ? IPPROTO_TCP : IPPROTO_UDP;
    bool ok = port_read(from, protocol, &forward->first) &&
              port_read(*last ? last : from, protocol, &forward->last) &&
              port_read(target_port, protocol, &forward->target_first) &&
              ip_parse(target, &forward->target) == 0;
    return ok && (strcmp(to, "(self)") == 0 || ip_parse(to, &forward->listen) == 0);
}

static bool rdrs_parse(struct arena *arena, const char *nat, struct forwards *forwards)
{
    for (const char *line = nat; *line;) {
        if (strncmp(line, "rdr ", 4) == 0 && !rdr_parse(line, vec_push(arena, &forwards->list)))
            return false;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return true; /* their order is the canonical one already, being vmwire's */
}

/* The rule of the IPv6 subnet's way out, where there is one. */
static void subnet6_parse(struct arena *arena, const char *nat, struct firewall *firewall)
{
    const char *head = arena_printf(arena, "nat on %s inet6 from ", firewall->uplink);
    const char *line = strstr(nat, head);
    if (line)
        prefix_parse(arena_strndup(arena, line + strlen(head), strcspn(line + strlen(head), " \n")),
                     &firewall->subnet6);
}

static bool nat_parse(struct arena *arena, const char *network, const char *nat, struct firewall *firewall)
{
    static const char on[] = "nat on ", from[] = " inet from ", to[] = " to any -> (";
    if (strncmp(nat, on, strlen(on)) != 0)
        return false;
    const char *uplink = nat + strlen(on);
    const char *subnet = strstr(uplink, from), *end = subnet ? strstr(subnet, to) : NULL;
    if (!end || strcspn(nat, "\n") < (size_t)(end - nat))
        return false;
    *firewall = (struct firewall){.network = network, .bridge = network, .way = ""};
    firewall->uplink = arena_strndup(arena, uplink, (size_t)(subnet - uplink));
    subnet += strlen(from);
    subnet6_parse(arena, nat, firewall);
    return prefix_parse(arena_strndup(arena, subnet, (size_t)(end - subnet)), &firewall->subnet) == 0 &&
           rdrs_parse(arena, nat, &firewall->forwards);
}

bool freebsd_anchor_parse(struct arena *arena, const char *network, const char *nat, const char *rules,
                          struct firewall *firewall)
{
    if (!(*nat ? nat_parse(arena, network, nat, firewall)
               : freebsd_way_parse(arena, network, rules, firewall)))
        return false;
    firewall->isolate =
        strstr(rules, arena_printf(arena, "\npass out quick on %s inet from (%s) to ", network, network));
    return same_rules(freebsd_anchor_text(arena, firewall), arena_printf(arena, "%s%s", nat, rules));
}

/* --- the main ruleset
 * ----------------------------------------------------------------------------------------------- */

/* Is there a line `wanted all`, also with `quick` behind the word, and nothing that narrows it? */
static bool has_line(const char *text, const char *wanted, size_t *others)
{
    bool found = false;
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n"), word = strcspn(wanted, " ");
        const char *rest = line + word;
        bool quick = strncmp(line, wanted, word) == 0 && strncmp(rest, " quick ", 7) == 0;
        if (quick)
            rest += 6;
        if (strncmp(line, wanted, word) == 0 && strncmp(rest, wanted + word, strlen(wanted + word)) == 0 &&
            strncmp(rest + strlen(wanted + word), " all", 4) == 0 &&
            (size_t)(rest - line) + strlen(wanted + word) + 4 == length)
            found = true;
        (*others)++;
        line += length + (line[length] == '\n');
    }
    return found;
}

static const char *missing_text(struct arena *arena, const bool has[MAIN_LINES])
{
    struct text out = {.arena = arena};
    text_add(&out, "pf's ruleset does not refer to vmwire's rules, so that they would be loaded and not in "
                   "force.  Add to /etc/pf.conf");
    if (!has[0] || !has[1])
        text_add(&out, ", before its first filter rule (block, pass, anchor):\n%s%s%s%s",
                 has[0] ? "" : "    nat-anchor \"vmwire/*\"\n", has[1] ? "" : "    rdr-anchor \"vmwire/*\"\n",
                 has[2] ? "" : "and", has[2] ? "" : ",");
    if (!has[2])
        text_add(&out, "%swhere its filter rules shall judge guests' packets:\n    anchor \"vmwire/*\"\n",
                 has[0] && has[1] ? ", " : " ");
    text_add(&out, "then run: pfctl -f /etc/pf.conf");
    return text_get(&out);
}

void freebsd_main_judge(struct arena *arena, const char *info, const char *nat, const char *rules,
                        struct firewall_main *main)
{
    bool on = info && strncmp(info, "Status: Enabled", 15) == 0;
    *main = (struct firewall_main){.enable = !on};
    if (!info || (!*nat && !*rules)) {
        main->load = true;
        return;
    }
    size_t nats = 0, filters = 0;
    const bool has[MAIN_LINES] = {has_line(nat, main_lines[0], &nats),
                                  has_line(nat, main_lines[1], &(size_t){0}),
                                  has_line(rules, main_lines[2], &filters)};
    main->ours = has[0] && has[1] && has[2] && nats == 2 && filters == 1;
    if (main->ours)
        return;
    main->enable = false;
    if (!has[0] || !has[1] || !has[2])
        main->refusal = missing_text(arena, has);
    if (!on)
        main->refusal = arena_printf(
            arena,
            "%s%spf is off, and a ruleset that is not vmwire's is loaded.  Switch it on: pfctl -e "
            "(and at boot: sysrc pf_enable=YES)",
            main->refusal ? main->refusal : "", main->refusal ? "\n" : "");
}
