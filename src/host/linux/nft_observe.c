/* nft_observe.c: what nft_read.c read of the table of nft_text.c: which rules are there, which networks,
 * whole or in part. */
#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/nft_read.h"

enum { KEY_SIZE = 16 };

/* Of the maps that are keyed by addresses or ports, `bridge` is the comment. */
struct element {
    const char *bridge, *uplink, *verdict, *comment;
    struct ip host;         /* of HOSTS; of NAT_HAIRPIN the subnet's first */
    struct forward forward; /* of FORWARD_AT and FORWARD_ANY, one port */
    size_t place;           /* as the kernel told them */
};

struct elements {
    VEC(struct element) list;
};

enum map {
    FORWARD_PAIR,
    FORWARD_TO,
    FORWARD_FROM,
    FORWARD_BACK,
    NAT_PAIR,
    NAT_FROM,
    NAT_HAIRPIN,
    NAT_HAIRPIN6,
    LOOPBACK,
    HOSTS,
    HOSTS6,
    FORWARD_AT,
    FORWARD_ANY,
    FORWARD6_AT,
    FORWARD6_ANY,
    MAP_COUNT
};
static const char *const map_names[MAP_COUNT] = {
    "forward_pair", "forward_to",  "forward_from", "forward_back", "nat_pair",
    "nat_from",     "nat_hairpin", "nat_hairpin6", "loopback",     "hosts",
    "hosts6",       "forward_at",  "forward_any",  "forward6_at",  "forward6_any"};
enum { CHAIN_COUNT = 9 };

struct reader {
    struct arena *arena;
    struct nft_table table;
    struct nft_rules_seen rules;
    bool translating; /* every rule by which addresses are translated is there */
    size_t maps;
    bool strange; /* a rule, chain, map or element that is not ours, or out of place */
    struct elements elements[MAP_COUNT];
};

static struct ip ip_read(const uint8_t *bytes, bool six)
{
    struct ip ip = {.family = six ? AF_INET6 : AF_INET};
    memcpy(ip.bytes, bytes, ip_size(&ip));
    return ip;
}

/* Parts of a key or value that is a concatenation are filled up to 4 bytes each. */
static void forward_read(const struct nft_bytes *key, const struct nft_bytes *to, bool six,
                         struct forward *forward)
{
    size_t size = six ? 16 : 4;
    if ((key->length != 8 && key->length != 8 + size) || to->length < size + 2)
        return;
    const uint8_t *port = key->bytes + key->length - 8;
    forward->family = six ? AF_INET6 : AF_INET;
    if (key->length > 8)
        forward->listen = ip_read(key->bytes, six);
    forward->protocol = port[0];
    forward->first = forward->last = (uint16_t)(port[4] << 8 | port[5]);
    forward->target = ip_read(to->bytes, six);
    forward->target_first = (uint16_t)(to->bytes[size] << 8 | to->bytes[size + 1]);
}

static void element_take(struct reader *reader, enum map map, const struct nft_element *from)
{
    struct nft_bytes key = from->key;
    struct element element = {.uplink = "",
                              .verdict = from->accepts ? "accept" : from->chain,
                              .comment = from->comment,
                              .bridge = from->comment};
    bool six = map == HOSTS6 || map >= FORWARD6_AT;
    size_t address = map == NAT_HAIRPIN ? 4 : map == NAT_HAIRPIN6 ? 16 : 0;
    if (map >= HOSTS && !*from->comment) { /* somebody else's */
        reader->strange = true;
        return;
    }
    if (map > HOSTS6) {
        forward_read(&key, &from->value, six, &element.forward);
    } else if (map >= HOSTS) {
        if (key.length >= (six ? 16u : 4u))
            element.host = ip_read(key.bytes, six);
    } else {
        if (address && key.length >= address + KEY_SIZE) {
            element.host = ip_read(key.bytes, address == 16);
            key = (struct nft_bytes){key.bytes + address, key.length - address};
        }
        element.bridge = nft_ifname(reader->arena, &key);
        if (key.length >= 2 * KEY_SIZE)
            element.uplink = nft_ifname(reader->arena, &(struct nft_bytes){key.bytes + KEY_SIZE, KEY_SIZE});
    }
    element.place = reader->elements[map].list.count;
    *vec_push(reader->arena, &reader->elements[map].list) = element;
}

static bool is_map(const char *name)
{
    for (int map = 0; map < MAP_COUNT; map++) {
        if (strcmp(map_names[map], name) == 0)
            return true;
    }
    return false;
}

/* Whatever else may be missing: what leaves is translated. */
static bool translating(const struct nft_table *table)
{
    size_t wanted = 0, seen = 0;
    for (size_t i = 0; nft_rules[i].chain; i++) {
        if (strcmp(nft_rules[i].chain, "postrouting") != 0 && strcmp(nft_rules[i].chain, "translate") != 0)
            continue;
        wanted++;
        struct nft_rules_seen one = {0};
        const struct nft_rule only[] = {nft_rules[i], {0}};
        for (size_t at = 0; at < table->rules.count && !one.count; at++)
            nft_rule_seen(only, &table->rules.items[at], &one);
        seen += one.count;
    }
    return seen == wanted;
}

/* Fill the reader.  A table that is not there leaves it empty. */
static int read_all(struct linux_host *host, struct reader *reader, struct err *err)
{
    struct nft_table *table = &reader->table;
    struct nft_elements elements = {0};
    int rc = nft_table_read(host, table, err);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    vec_foreach (&table->rules, rule)
        reader->strange |= !nft_rule_seen(nft_rules, rule, &reader->rules);
    reader->translating = translating(table);
    vec_foreach (&table->chains, chain)
        reader->strange |= chain->drops;
    vec_foreach (&table->sets, set) {
        reader->maps += is_map(set->name);
        reader->strange |= !is_map(set->name) && !set->anonymous;
    }
    for (int map = 0; map < MAP_COUNT && reader->maps; map++) {
        rc = nft_elements_read(host, table, map_names[map], &elements, err);
        if (rc < 0 && rc != -ENOENT)
            return rc;
        for (size_t i = 0; rc == 0 && i < elements.list.count; i++)
            element_take(reader, (enum map)map, &elements.list.items[i]);
    }
    return 0;
}

/* By bridge, so that each network's are found at once whatever the number of networks. */
static int element_compare(const void *left, const void *right)
{
    const struct element *a = left, *b = right;
    int order = strcmp(a->bridge, b->bridge);
    return order ? order : (a->place > b->place) - (a->place < b->place);
}

static void sort_elements(struct reader *reader)
{
    for (int map = 0; map < MAP_COUNT; map++) {
        if (reader->elements[map].list.count > 1)
            qsort(reader->elements[map].list.items, reader->elements[map].list.count, sizeof(struct element),
                  element_compare);
    }
}

/* The elements of one bridge: the first of them, and how many. */
static const struct element *elements_of(const struct reader *reader, enum map map, const char *bridge,
                                         size_t *count)
{
    const struct elements *all = &reader->elements[map];
    size_t low = 0, high = all->list.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(all->list.items[middle].bridge, bridge) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (high = low; high < all->list.count && strcmp(all->list.items[high].bridge, bridge) == 0;)
        high++;
    *count = high - low;
    return all->list.items + low;
}

static const struct element *find(const struct reader *reader, enum map map, const char *bridge,
                                  const char *uplink)
{
    size_t count;
    const struct element *of = elements_of(reader, map, bridge, &count);
    for (size_t i = 0; i < count; i++) {
        if (!uplink || strcmp(of[i].uplink, uplink) == 0)
            return &of[i];
    }
    return NULL;
}

static bool is(const struct element *element, const char *verdict)
{
    return element && strcmp(element->verdict, verdict) == 0;
}

/* The named uplink of a bridge: the other half of its translated pair, or of a routed network's way back. */
static const char *uplink_of(const struct reader *reader, const char *bridge)
{
    size_t count;
    const struct element *pair = elements_of(reader, NAT_PAIR, bridge, &count);
    for (size_t i = 0; i < count; i++) {
        if (is(&pair[i], "translate"))
            return pair[i].uplink;
    }
    const struct element *back = find(reader, FORWARD_BACK, bridge, NULL);
    return back ? back->uplink : "";
}

static const char *way_of(const struct reader *reader, const char *bridge)
{
    if (is(find(reader, FORWARD_FROM, bridge, NULL), "shut"))
        return "isolated";
    return find(reader, NAT_PAIR, bridge, NULL) || find(reader, NAT_FROM, bridge, NULL) ? "" : "routed";
}

static bool whole_way(const struct reader *reader, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge, *uplink = firewall->uplink;
    const struct element *to = find(reader, FORWARD_TO, bridge, NULL),
                         *from = find(reader, FORWARD_FROM, bridge, NULL),
                         *out = find(reader, FORWARD_PAIR, bridge, uplink);
    bool named = *uplink && is(out, "accept") && is(from, "refuse") && is(to, "inward");
    if (strcmp(firewall->way, "isolated") == 0)
        return is(to, "inward") && !*uplink && !find(reader, NAT_FROM, bridge, NULL) &&
               !find(reader, NAT_PAIR, bridge, NULL);
    if (strcmp(firewall->way, "routed") == 0)
        return *uplink ? named && is(find(reader, FORWARD_BACK, bridge, uplink), "accept")
                       : is(to, "accept") && !from;
    if (!is(find(reader, NAT_PAIR, bridge, bridge), "accept"))
        return false;
    return *uplink ? named && !find(reader, NAT_FROM, bridge, NULL)
                   : is(to, "inward") && is(find(reader, NAT_FROM, bridge, NULL), "translate") && !from;
}

/* What there is by the addresses of one family. */
static bool whole_family(const struct reader *reader, const struct firewall *firewall, bool six)
{
    const struct ip *subnet = six ? &firewall->subnet6.ip : &firewall->subnet.ip;
    struct ip address = ip_add(subnet, 1);
    const struct element *host = find(reader, six ? HOSTS6 : HOSTS, firewall->bridge, NULL),
                         *hairpin = find(reader, six ? NAT_HAIRPIN6 : NAT_HAIRPIN, firewall->bridge, NULL);
    if (!ip_is_set(subnet))
        return six && !host && !hairpin;
    return host && ip_equal(&host->host, &address) &&
           is(hairpin, "translate") == (firewall->forwards.list.count > 0) &&
           (!hairpin || ip_equal(&hairpin->host, subnet));
}

static bool whole(const struct reader *reader, const struct firewall *firewall)
{
    const char *bridge = firewall->bridge;
    return is(find(reader, FORWARD_PAIR, bridge, bridge), firewall->isolate ? "refuse" : "accept") &&
           whole_family(reader, firewall, false) && whole_family(reader, firewall, true) &&
           (find(reader, LOOPBACK, bridge, NULL) != NULL) == (firewall->forwards.list.count > 0) &&
           whole_way(reader, firewall);
}

/* "10.0.0.0/24", or "10.0.0.0/24 fd00::/64": the comment of a network's element of FORWARD_TO. */
static void subnets_read(struct arena *arena, const char *comment, struct firewall *firewall)
{
    size_t length = strcspn(comment, " ");
    prefix_parse(arena_strndup(arena, comment, length), &firewall->subnet);
    if (comment[length])
        prefix_parse(comment + length + 1, &firewall->subnet6);
}

static void forwards_of(const struct reader *reader, const char *bridge, struct forwards *forwards)
{
    for (int map = FORWARD_AT; map < MAP_COUNT; map++) {
        size_t count;
        const struct element *of = elements_of(reader, (enum map)map, bridge, &count);
        for (size_t i = 0; i < count; i++)
            *vec_push(reader->arena, &forwards->list) = of[i].forward;
    }
    forwards_settle(forwards);
}

static bool translates(const struct reader *reader, const char *bridge)
{
    return reader->translating &&
           (is(find(reader, NAT_FROM, bridge, NULL), "translate") || *uplink_of(reader, bridge));
}

int nft_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = {.arena = arena, .table = {NFPROTO_INET, "vmwire", .arena = arena}};
    struct err ignored;
    size_t rule_count = 0;
    while (nft_rules[rule_count].chain)
        rule_count++;
    /* Reading rules needs CAP_NET_ADMIN; a caller without it sees none, and a kernel without nf_tables has
     * none. */
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (nft_unreadable(rc))
        return 0;
    if (rc < 0)
        return err_wrap(err, "reading the firewall rules");
    observed->firewall_base = reader.rules.count == rule_count && reader.table.chains.count == CHAIN_COUNT &&
                              reader.maps == MAP_COUNT && !reader.strange;
    observed->firewall_none = !reader.rules.count && !reader.table.chains.count && !reader.table.sets.count;
    sort_elements(&reader);
    struct names traces = {0};
    for (int map = 0; map < MAP_COUNT; map++) {
        vec_foreach (&reader.elements[map].list, element)
            names_add(arena, &traces, element->bridge);
    }
    vec_foreach (&traces.list, bridge)
        *vec_push(arena, &observed->firewall_traces) = *bridge;
    vec_foreach (&observed->firewall_traces, bridge) {
        if (translates(&reader, *bridge))
            *vec_push(arena, &observed->firewall_translates) = *bridge;
        struct firewall firewall = {.network = *bridge,
                                    .bridge = *bridge,
                                    .uplink = uplink_of(&reader, *bridge),
                                    .way = way_of(&reader, *bridge)};
        const struct element *to = find(&reader, FORWARD_TO, *bridge, NULL);
        firewall.isolate = is(find(&reader, FORWARD_PAIR, *bridge, *bridge), "refuse");
        if (to)
            subnets_read(arena, to->comment, &firewall);
        forwards_of(&reader, *bridge, &firewall.forwards);
        if (whole(&reader, &firewall))
            *vec_push(arena, &observed->firewalls) = firewall;
    }
    return 0;
}
