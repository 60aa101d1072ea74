/* nft_observe.c: reads the table back through nfnetlink: which rules are there, which networks, whole or in
 * part. Source: <linux/netfilter/nf_tables.h>; comments are libnftnl's user data, a list of type, length,
 * value. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/linux/linux.h"

enum { UDATA_COMMENT = 0, KEY_SIZE = 16 };

/* Of the maps that are keyed by addresses or ports, `bridge` is the comment. */
struct element {
    const char *bridge, *uplink, *verdict, *comment;
    struct ip host;         /* of HOSTS; of NAT_HAIRPIN the subnet's first */
    struct forward forward; /* of FORWARD_AT and FORWARD_ANY, one port */
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
    size_t rules;     /* seen so far */
    size_t last;      /* the place in nft_rules of the last one, for the order inside a chain */
    uint64_t present; /* which of nft_rules, a bit each */
    bool strange;     /* a rule, chain or map that is not ours, or out of place */
    size_t chains, maps;
    struct elements elements[MAP_COUNT];
    enum map map; /* being read */
};

const char *nft_comment(const struct nlattr *userdata, struct arena *arena)
{
    if (!userdata)
        return "";
    const uint8_t *bytes = mnl_attr_get_payload(userdata);
    size_t length = mnl_attr_get_payload_len(userdata);
    for (size_t at = 0; at + 2 <= length && at + 2 + bytes[at + 1] <= length; at += 2u + bytes[at + 1]) {
        if (bytes[at] == UDATA_COMMENT)
            return arena_strndup(arena, (const char *)bytes + at + 2, bytes[at + 1]);
    }
    return "";
}

int nft_dump(struct linux_host *host, const struct nft_dump *dump, netlink_each *each,
             void (*reset)(void *data), void *data, struct err *err)
{
    struct netlink_message message;
    struct nfgenmsg *header =
        netlink_start(&message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | dump->type), 0, sizeof(*header));
    header->nfgen_family = dump->family;
    netlink_put_string(&message, dump->table_attribute, dump->table);
    if (dump->set)
        netlink_put_string(&message, NFTA_SET_ELEM_LIST_SET, dump->set);
    return netlink_dump(&host->netfilter, &message, each, reset, data, err);
}

static bool our_table(const struct nlattr *name)
{
    return strcmp(netlink_text(name), "vmwire") == 0;
}

static int rule_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_RULE_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_RULE_MAX + 1);
    if (!our_table(table[NFTA_RULE_TABLE]))
        return 0;
    const char *chain = netlink_text(table[NFTA_RULE_CHAIN]);
    const char *comment = nft_comment(table[NFTA_RULE_USERDATA], reader->arena);
    for (size_t i = 0; nft_rules[i].chain; i++) {
        if (strcmp(nft_rules[i].chain, chain) == 0 && strcmp(nft_rules[i].comment, comment) == 0) {
            bool same_chain = reader->rules && strcmp(nft_rules[reader->last].chain, chain) == 0;
            if (same_chain && i <= reader->last)
                reader->strange = true;
            reader->last = i;
            reader->present |= UINT64_C(1) << i;
            reader->rules++;
            return 0;
        }
    }
    reader->strange = true;
    return 0;
}

static int chain_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_CHAIN_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_CHAIN_MAX + 1);
    if (!our_table(table[NFTA_CHAIN_TABLE]))
        return 0;
    reader->chains++;
    if (table[NFTA_CHAIN_POLICY] && ntohl(netlink_u32(table[NFTA_CHAIN_POLICY])) != NF_ACCEPT)
        reader->strange = true;
    return 0;
}

static int set_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_SET_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_MAX + 1);
    const char *name = netlink_text(table[NFTA_SET_NAME]);
    if (!our_table(table[NFTA_SET_TABLE]))
        return 0;
    for (int map = 0; map < MAP_COUNT; map++) {
        if (strcmp(map_names[map], name) == 0) {
            reader->maps++;
            return 0;
        }
    }
    reader->strange |= strncmp(name, "__", 2) != 0; /* a set that is part of a rule has such a name */
    return 0;
}

static const char *verdict_of(struct arena *arena, const struct nlattr *data)
{
    const struct nlattr *verdict[NFTA_VERDICT_MAX + 1];
    if (!data)
        return "";
    netlink_nested(data, verdict, NFTA_VERDICT_MAX + 1);
    if (verdict[NFTA_VERDICT_CHAIN])
        return arena_strdup(arena, netlink_text(verdict[NFTA_VERDICT_CHAIN]));
    return ntohl(netlink_u32(verdict[NFTA_VERDICT_CODE])) == NF_ACCEPT ? "accept" : "";
}

static struct ip ip_read(const uint8_t *bytes, bool six)
{
    struct ip ip = {.family = six ? AF_INET6 : AF_INET};
    memcpy(ip.bytes, bytes, ip_size(&ip));
    return ip;
}

/* Parts of a key or value that is a concatenation are filled up to 4 bytes each. */
static void forward_read(const uint8_t *key, size_t length, const struct nlattr *value, bool six,
                         struct forward *forward)
{
    const uint8_t *to = value ? mnl_attr_get_payload(value) : NULL;
    size_t size = six ? 16 : 4;
    if ((length != 8 && length != 8 + size) || !to || mnl_attr_get_payload_len(value) < size + 2)
        return;
    forward->family = six ? AF_INET6 : AF_INET;
    if (length > 8)
        forward->listen = ip_read(key, six);
    key += length - 8;
    forward->protocol = key[0];
    forward->first = forward->last = (uint16_t)(key[4] << 8 | key[5]);
    forward->target = ip_read(to, six);
    forward->target_first = (uint16_t)(to[size] << 8 | to[size + 1]);
}

static void element_read(struct reader *reader, const struct nlattr *nest)
{
    const struct nlattr *table[NFTA_SET_ELEM_MAX + 1], *data[NFTA_DATA_MAX + 1];
    netlink_nested(nest, table, NFTA_SET_ELEM_MAX + 1);
    netlink_nested(table[NFTA_SET_ELEM_KEY], data, NFTA_DATA_MAX + 1);
    if (!data[NFTA_DATA_VALUE])
        return;
    const char *key = mnl_attr_get_payload(data[NFTA_DATA_VALUE]);
    size_t length = mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]);
    struct element *element = vec_push(reader->arena, &reader->elements[reader->map].list);
    *element = (struct element){.uplink = "", .verdict = ""};
    element->comment = nft_comment(table[NFTA_SET_ELEM_USERDATA], reader->arena);
    netlink_nested(table[NFTA_SET_ELEM_DATA], data, NFTA_DATA_MAX + 1);
    if (reader->map >= HOSTS) {
        element->bridge = element->comment;
        if (!*element->bridge) { /* somebody else's */
            reader->strange = true;
            reader->elements[reader->map].list.count--;
            return;
        }
        bool six = reader->map == HOSTS6 || reader->map >= FORWARD6_AT;
        if (reader->map <= HOSTS6 && length >= (six ? 16u : 4u))
            element->host = ip_read((const uint8_t *)key, six);
        else if (reader->map > HOSTS6)
            forward_read((const uint8_t *)key, length, data[NFTA_DATA_VALUE], six, &element->forward);
        return;
    }
    size_t address = reader->map == NAT_HAIRPIN ? 4 : reader->map == NAT_HAIRPIN6 ? 16 : 0;
    if (address && length >= address + KEY_SIZE) {
        element->host = ip_read((const uint8_t *)key, address == 16);
        key += address;
        length -= address;
    }
    element->bridge = arena_strndup(reader->arena, key, strnlen(key, length < KEY_SIZE ? length : KEY_SIZE));
    if (length >= 2 * KEY_SIZE)
        element->uplink = arena_strndup(reader->arena, key + KEY_SIZE, strnlen(key + KEY_SIZE, KEY_SIZE));
    element->verdict = verdict_of(reader->arena, data[NFTA_DATA_VERDICT]);
}

static int elements_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_SET_ELEM_LIST_MAX + 1], *attribute;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_ELEM_LIST_MAX + 1);
    if (!table[NFTA_SET_ELEM_LIST_ELEMENTS])
        return 0;
    mnl_attr_for_each_nested (attribute, table[NFTA_SET_ELEM_LIST_ELEMENTS])
        element_read(reader, attribute);
    return 0;
}

static void reset(void *data)
{
    struct reader *reader = data;
    reader->rules = reader->chains = reader->maps = 0;
    reader->strange = false;
    reader->elements[reader->map].list.count = 0;
}

static int dump(struct linux_host *host, struct reader *reader, uint16_t type, uint16_t table_attribute,
                const char *set, netlink_each *each, struct err *err)
{
    const struct nft_dump asked = {NFPROTO_INET, type, table_attribute, "vmwire", set};
    return nft_dump(host, &asked, each, reset, reader, err);
}

/* Fill the reader.  A table that is not there leaves it empty. */
static int read_all(struct linux_host *host, struct reader *reader, struct err *err)
{
    const struct {
        uint16_t type, table;
        netlink_each *each;
    } parts[] = {{NFT_MSG_GETRULE, NFTA_RULE_TABLE, rule_each},
                 {NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, chain_each},
                 {NFT_MSG_GETSET, NFTA_SET_TABLE, set_each}};
    size_t rules = 0, chains = 0, maps = 0;
    bool strange = false;
    for (size_t i = 0; i < 3; i++) {
        reset(reader);
        int rc = dump(host, reader, parts[i].type, parts[i].table, NULL, parts[i].each, err);
        if (rc == -ENOENT)
            return 0;
        if (rc < 0)
            return rc;
        rules += reader->rules, chains += reader->chains, maps += reader->maps, strange |= reader->strange;
    }
    for (int map = 0; map < MAP_COUNT && maps; map++) {
        reader->map = (enum map)map;
        int rc = dump(host, reader, NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_TABLE, map_names[map],
                      elements_each, err);
        if (rc < 0 && rc != -ENOENT)
            return rc;
        strange |= reader->strange;
    }
    reader->rules = rules, reader->chains = chains, reader->maps = maps, reader->strange = strange;
    return 0;
}

static const struct element *find(const struct reader *reader, enum map map, const char *bridge,
                                  const char *uplink)
{
    vec_foreach (&reader->elements[map].list, element) {
        if (strcmp(element->bridge, bridge) == 0 && (!uplink || strcmp(element->uplink, uplink) == 0))
            return element;
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
    vec_foreach (&reader->elements[NAT_PAIR].list, element) {
        if (strcmp(element->bridge, bridge) == 0 && strcmp(element->verdict, "translate") == 0)
            return element->uplink;
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

/* Each network's forwards, in one pass over the elements whatever the number of networks. */
static int element_compare(const void *left, const void *right)
{
    return strcmp(((const struct element *)left)->bridge, ((const struct element *)right)->bridge);
}

static void sort_forwards(struct reader *reader)
{
    for (int map = FORWARD_AT; map < MAP_COUNT; map++) {
        if (reader->elements[map].list.count > 1)
            qsort(reader->elements[map].list.items, reader->elements[map].list.count, sizeof(struct element),
                  element_compare);
    }
}

static void forwards_of(const struct reader *reader, const char *bridge, struct forwards *forwards)
{
    for (int map = FORWARD_AT; map < MAP_COUNT; map++) {
        const struct element key = {.bridge = bridge}, *items = reader->elements[map].list.items;
        size_t count = reader->elements[map].list.count;
        const struct element *at =
            count ? bsearch(&key, items, count, sizeof(*items), element_compare) : NULL;
        while (at && at > items && strcmp(at[-1].bridge, bridge) == 0)
            at--;
        for (; at && at < items + count && strcmp(at->bridge, bridge) == 0; at++)
            *vec_push(reader->arena, &forwards->list) = at->forward;
    }
    forwards_settle(forwards);
}

/* Whatever else may be missing: what leaves is translated. */
static bool translates(const struct reader *reader, const char *bridge)
{
    for (size_t i = 0; nft_rules[i].chain; i++) {
        bool nat =
            strcmp(nft_rules[i].chain, "postrouting") == 0 || strcmp(nft_rules[i].chain, "translate") == 0;
        if (nat && !(reader->present & UINT64_C(1) << i))
            return false;
    }
    return is(find(reader, NAT_FROM, bridge, NULL), "translate") || *uplink_of(reader, bridge);
}

static void add_trace(struct arena *arena, struct observed *observed, const char *bridge)
{
    vec_foreach (&observed->firewall_traces, known) {
        if (strcmp(*known, bridge) == 0)
            return;
    }
    *vec_push(arena, &observed->firewall_traces) = bridge;
}

int nft_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = {.arena = arena};
    struct err ignored;
    size_t rule_count = 0;
    while (nft_rules[rule_count].chain)
        rule_count++;
    /* Reading rules needs CAP_NET_ADMIN; a caller without it sees none, and a kernel without nf_tables has
     * none. */
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (rc == -EPERM || rc == -EPROTONOSUPPORT || rc == -EINVAL || rc == -EOPNOTSUPP)
        return 0;
    if (rc < 0)
        return err_wrap(err, "reading the firewall rules");
    observed->firewall_base = reader.rules == rule_count && reader.chains == CHAIN_COUNT &&
                              reader.maps == MAP_COUNT && !reader.strange;
    sort_forwards(&reader);
    for (int map = 0; map < MAP_COUNT; map++) {
        const char *last = NULL;
        vec_foreach (&reader.elements[map].list, element) {
            if (!last || strcmp(last, element->bridge) != 0)
                add_trace(arena, observed, element->bridge);
            last = element->bridge;
        }
    }
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
