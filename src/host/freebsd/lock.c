/* lock.c: `lock`: what a nic is held to, as pf's rules and if_bridge's table of addresses.
 *
 * Theory of operation.  Each nic has an anchor of its own, vmwire/nic:TAP, beside the networks': nothing that
 * it refuses is passed by a later rule, since what refuses is `quick`, and what it has nothing against is
 * judged by all the rules that follow.  A guest's own address is told by a tag: what comes from one gets it,
 * and what has none is refused.  None of these rules keeps state: that would let the next packet of its kind
 * by.  The label of each names the network and the lock, by which observation knows them and status counts
 * them.
 *
 * pf sees a frame where it comes in by the tap: on its way to another port with net.link.bridge.pfil_member,
 * on its way to the host with net.link.bridge.pfil_local_phys, which are 1 as long as there are such rules.
 * A frame to all reaches the host without either, as one that came in by the bridge: there the network's own
 * rules judge.
 *
 * The MAC is if_bridge(4)'s: the guest's own is a static entry, which no other port can take, and with
 * `ifmaxaddr 1`, the one that there may be, the bridge drops frames from MACs that it does not know.  The
 * entry comes first: the limit would keep it out.  What it has learned of that port before is flushed. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

#define TAG "vmwire_own"

static const struct forwarding_sysctl sysctls[] = {
    /* if_bridge's own values, where it is not loaded yet */
    {.name = "net.link.bridge.pfil_member", .now = "1", .wanted = "1"},
    {.name = "net.link.bridge.pfil_local_phys", .now = "0", .wanted = "1"},
};

void freebsd_lock_sysctls(struct arena *arena, struct observed *observed)
{
    observed->lock_sysctls.count = 0;
    for (size_t i = 0; i < sizeof(sysctls) / sizeof(*sysctls); i++)
        *vec_push(arena, &observed->lock_sysctls) = sysctls[i];
}

const char *freebsd_lock_anchor(struct arena *arena, const char *tap)
{
    return arena_printf(arena, "vmwire/nic:%s", tap);
}

/* What may come from such a source, or `from` as words. */
static void pass_from(struct text *out, const struct lock_nic *nic, const char *family, const char *from)
{
    text_add(out, "pass in on %s %s %s no state label \"%s ip\" tag " TAG "\n", nic->ifname, family, from,
             nic->network);
}

static void address_rules(struct text *out, const struct lock_nic *nic)
{
    struct arena *arena = out->arena;
    const struct lock *held = &nic->held;
    const char *subnet = arena_strdup(arena, PREFIX_TEXT(&held->subnet));
    const char *own = arena_strdup(arena, ip_is_set(&nic->ip) ? IP_TEXT(&nic->ip) : subnet);
    if (*own) {
        pass_from(out, nic, "inet", arena_printf(arena, "from %s to any", own));
        pass_from(out, nic, "inet", "proto udp from 0.0.0.0 port = 68 to 255.255.255.255 port = 67");
        pass_from(out, nic, "inet", "proto igmp from 0.0.0.0 to 224.0.0.0/4");
        text_add(out, "block drop in quick on %s inet all label \"%s ip\" ! tagged " TAG "\n", nic->ifname,
                 nic->network);
    }
    if (held->any6)
        return;
    pass_from(out, nic, "inet6", "from fe80::/10 to any");
    pass_from(out, nic, "inet6", "from :: to ff02::/16");
    if (ip_is_set(&held->subnet6.ip))
        pass_from(out, nic, "inet6", arena_printf(arena, "from %s to any", PREFIX_TEXT(&held->subnet6)));
    if (ip_is_set(&nic->ip6))
        pass_from(out, nic, "inet6", arena_printf(arena, "from %s to any", IP_TEXT(&nic->ip6)));
    text_add(out, "block drop in quick on %s inet6 all label \"%s ip\" ! tagged " TAG "\n", nic->ifname,
             nic->network);
}

const char *freebsd_lock_text(struct arena *arena, const struct lock_nic *nic)
{
    static const struct {
        enum lock_kind kind;
        const char *what;
    } refused[] = {{LOCK_DHCP, "inet proto udp from any port = 67 to any"},
                   {LOCK_DHCP, "inet6 proto udp from any port = 547 to any"},
                   {LOCK_RA, "inet6 proto ipv6-icmp all icmp6-type routeradv"},
                   {LOCK_RA, "inet6 proto ipv6-icmp all icmp6-type redir"}};
    struct text out = {.arena = arena};
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        if (nic->held.kinds[refused[i].kind])
            text_add(&out, "block drop in quick on %s %s label \"%s %s\"\n", nic->ifname, refused[i].what,
                     nic->network, lock_kind_name(refused[i].kind));
    }
    if (nic->held.kinds[LOCK_IP])
        address_rules(&out, nic);
    return text_get(&out);
}

void freebsd_lock_commands(struct arena *arena, const struct lock_nic *nic, bool set, bool fresh,
                           struct freebsd_commands *commands)
{
    const char *anchor = freebsd_lock_anchor(arena, nic->ifname);
    const char *mac = arena_strdup(arena, MAC_TEXT(&nic->mac));
    bool filters = lock_filters(&nic->held), macs = nic->held.kinds[LOCK_MAC];
#define ADD(...) *vec_push(arena, &commands->list) = FREEBSD_COMMAND(arena, __VA_ARGS__)
    if (set && filters) {
        ADD("kldload", "-n", "pf");
        ADD("pfctl", "-a", anchor, "-f", "-");
        commands->list.items[commands->list.count - 1].input = freebsd_lock_text(arena, nic);
    }
    if (set && macs) {
        ADD("ifconfig", nic->network, "static", nic->ifname, mac);
        ADD("ifconfig", nic->network, "ifmaxaddr", nic->ifname, "1");
        if (!fresh)
            ADD("ifconfig", nic->network, "flush");
    }
    if (!set && macs) {
        ADD("ifconfig", nic->network, "ifmaxaddr", nic->ifname, "0");
        if (!mac_is_zero(&nic->mac))
            ADD("ifconfig", nic->network, "deladdr", mac);
    }
    if ((!set && filters) || (!filters && !macs)) /* of which nothing is known: all that may be there */
        ADD("pfctl", "-a", anchor, "-f", "/dev/null");
#undef ADD
}

/* --- reading back */

void freebsd_lock_anchors_parse(struct arena *arena, const char *text, struct freebsd_names *taps)
{
    static const char prefix[] = "vmwire/nic:";
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n"), blank = strspn(line, " \t");
        const char *name = line + blank;
        if (blank + strlen(prefix) < length && strncmp(name, prefix, strlen(prefix)) == 0) {
            name += strlen(prefix);
            *vec_push(arena, &taps->list) = arena_strndup(arena, name, (size_t)(line + length - name));
        }
        line += length + (line[length] == '\n');
    }
}

static bool is_port(const char *word, const char *port)
{
    const struct servent *service = getservbyname(word, "udp");
    char number[8];
    snprintf(number, sizeof(number), "%u", service ? ntohs((uint16_t)service->s_port) : 0);
    return strcmp(number, port) == 0 || (strcmp(word, "bootps") == 0 && strcmp(port, "67") == 0) ||
           (strcmp(word, "bootpc") == 0 && strcmp(port, "68") == 0) ||
           (strcmp(word, "dhcpv6-server") == 0 && strcmp(port, "547") == 0);
}

/* pfctl prints a port's name for its number. */
static bool same_words(struct arena *arena, const char *wanted, const char *shown)
{
    char *want = arena_strdup(arena, wanted), *show = arena_strdup(arena, shown), *w, *s;
    do {
        do {
            w = strsep(&want, " \n");
        } while (w && !*w);
        do {
            s = strsep(&show, " \n");
        } while (s && !*s);
        if (w && s && strcmp(w, s) != 0 && !is_port(s, w))
            return false;
    } while (w && s);
    return !w && !s;
}

/* `"brnat ip"` behind the word label: both in the arena. */
static bool label_parse(struct arena *arena, const char *rule, const char **network, const char **kind)
{
    char name[64], word[8];
    const char *label = strstr(rule, " label \"");
    if (!label || label > rule + strcspn(rule, "\n") ||
        sscanf(label, " label \"%63[^ \"] %7[a-z]\"", name, word) != 2)
        return false;
    *network = arena_strdup(arena, name);
    *kind = arena_strdup(arena, word);
    return true;
}

/* An address, or a prefix, that packets may come from. */
static void source_parse(const char *from, struct lock_nic *nic)
{
    char word[64];
    struct ip ip;
    struct prefix prefix;
    if (sscanf(from, " from %63[^ ]", word) != 1 || strcmp(word, "fe80::/10") == 0 || strcmp(word, "::") == 0)
        return;
    if (ip_parse(word, &ip) == 0)
        *(ip.family == AF_INET6 ? &nic->ip6 : &nic->ip) = ip;
    else if (prefix_parse(word, &prefix) == 0)
        *(prefix.ip.family == AF_INET6 ? &nic->held.subnet6 : &nic->held.subnet) = prefix;
}

bool freebsd_lock_parse(struct arena *arena, const char *tap, const char *rules, struct lock_nic *nic)
{
    const char *kind;
    struct lock *held = &nic->held;
    bool inet6 = false;
    *nic = (struct lock_nic){.ifname = tap, .network = ""};
    for (const char *rule = rules; *rule;) {
        const char *from;
        size_t length = strcspn(rule, "\n");
        if (!label_parse(arena, rule, &nic->network, &kind))
            return false;
        for (int each = 0; each < LOCK_KIND_COUNT; each++)
            held->kinds[each] |= strcmp(kind, lock_kind_name((enum lock_kind)each)) == 0;
        from = arena_printf(arena, "pass in on %s inet from ", tap);
        if (strncmp(rule, from, strlen(from)) == 0)
            source_parse(rule + strlen(from) - strlen(" from "), nic);
        from = arena_printf(arena, "pass in on %s inet6 from ", tap);
        if (strncmp(rule, from, strlen(from)) == 0) {
            source_parse(rule + strlen(from) - strlen(" from "), nic);
            inet6 = true;
        }
        rule += length + (rule[length] == '\n');
    }
    held->any6 = held->kinds[LOCK_IP] && !inet6;
    return *rules && same_words(arena, freebsd_lock_text(arena, nic), rules);
}

bool freebsd_lock_drops_parse(struct arena *arena, const char *tap, const char *rules,
                              struct lock_drops *drops)
{
    *drops = (struct lock_drops){.ifname = tap, .uncounted = {[LOCK_MAC] = true, [LOCK_ARP] = true}};
    const char *network, *kind = NULL;
    for (const char *line = rules; *line;) {
        unsigned long long packets;
        size_t length = strcspn(line, "\n");
        if (*line != ' ' && (strncmp(line, "block ", 6) != 0 || !label_parse(arena, line, &network, &kind)))
            kind = NULL;
        if (*line == ' ' && kind && sscanf(line, " [ Evaluations: %*s Packets: %llu", &packets) == 1) {
            for (int each = 0; each < LOCK_KIND_COUNT; each++) {
                if (strcmp(kind, lock_kind_name((enum lock_kind)each)) == 0)
                    drops->count[each] += packets;
            }
        }
        line += length + (line[length] == '\n');
    }
    return *rules;
}

/* "00:a0:98:27:a7:18 Vlan1 tap0 0 flags=1<STATIC>" */
bool freebsd_lock_static(const char *addresses, const char *tap, const struct mac *mac)
{
    for (const char *line = addresses; *line;) {
        char text[18], port[32], flags[32];
        struct mac seen;
        if (sscanf(line, " %17s Vlan%*u %31s %*u flags=%*[^<]<%31[A-Z,]>", text, port, flags) == 3 &&
            strcmp(port, tap) == 0 && strstr(flags, "STATIC") && mac_parse(text, &seen) == 0 &&
            mac_equal(&seen, mac))
            return true;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return false;
}

/* Behind "\tmember: tap0 flags=…": "\t        ifmaxaddr 1 port 4 …". */
unsigned freebsd_lock_limit(struct arena *arena, const char *bridge, const char *tap)
{
    unsigned limit = 0;
    const char *member = strstr(bridge, arena_printf(arena, "\tmember: %s ", tap));
    const char *line = member ? strchr(member, '\n') : NULL;
    if (line)
        sscanf(line, " ifmaxaddr %u", &limit);
    return limit;
}
