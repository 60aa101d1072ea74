/* nft_shared_observe.c: reads the table of the networks that share a MAC back: which rules are there, which
 * networks, whole or in part, and who has which address.  Source: <linux/netfilter/nf_tables.h>. */
#include <arpa/inet.h>
#include <endian.h>
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

/* What was seen of one network. */
struct seen {
    const char *network;
    size_t rules, chains, sets;
    unsigned entries; /* a bit for each of nft_shared_maps that leads to its chains */
    size_t last_rule; /* the place in nft_shared_rules, for the order inside a chain */
    bool strange;
    int uplink_index;
    struct mac mac;
};

struct reader {
    struct arena *arena;
    VEC(struct seen) networks;
    size_t rules, chains, maps, last_rule; /* of the base */
    bool strange;
    VEC(const char *) chain_names, set_names; /* ours: "chain NAME", "set NAME", "map NAME" */
    bool foreign;                             /* there are others' */

    /* elements: what is being read */
    const char *map;
    struct seen *network;
    struct observed *observed;
    size_t first; /* of the network's addresses in observed->shared_addresses */
};

static struct seen *seen_of(struct reader *reader, const char *network)
{
    vec_foreach (&reader->networks, known) {
        if (strcmp(known->network, network) == 0)
            return known;
    }
    struct seen *fresh = vec_push(reader->arena, &reader->networks);
    *fresh = (struct seen){.network = arena_strdup(reader->arena, network)};
    return fresh;
}

/* The network of "NAME_NETWORK", or NULL. */
static const char *network_of(const char *object, const char *name)
{
    size_t length = strlen(name);
    return strncmp(object, name, length) == 0 && object[length] == '_' && object[length + 1]
               ? object + length + 1
               : NULL;
}

static bool our_table(const struct nlattr *name)
{
    return strcmp(netlink_text(name), "vmwire") == 0;
}

/* Comments stand for the rules, as in nft_observe.c. */
static bool rule_count(const struct nft_rule *rules, const char *chain, const char *comment, size_t *count,
                       size_t *last)
{
    for (size_t i = 0; rules[i].chain; i++) {
        if (strcmp(rules[i].chain, chain) != 0 || strcmp(rules[i].comment, comment) != 0)
            continue;
        bool in_order = !*count || strcmp(rules[*last].chain, chain) != 0 || i > *last;
        *last = i;
        ++*count;
        return in_order;
    }
    return false;
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
    for (size_t i = 0; nft_shared_chains[i]; i++) {
        const char *network = network_of(chain, nft_shared_chains[i]);
        if (!network)
            continue;
        struct seen *seen = seen_of(reader, network);
        if (!rule_count(nft_shared_rules, nft_shared_chains[i], comment, &seen->rules, &seen->last_rule))
            seen->strange = true;
        return 0;
    }
    for (size_t i = 0; nft_shared_base_chains[i]; i++) {
        if (strcmp(chain, nft_shared_base_chains[i]) == 0 &&
            !rule_count(nft_shared_base_rules, chain, comment, &reader->rules, &reader->last_rule))
            reader->strange = true;
    }
    return 0;
}

static int chain_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_CHAIN_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_CHAIN_MAX + 1);
    if (!our_table(table[NFTA_CHAIN_TABLE]))
        return 0;
    const char *chain = netlink_text(table[NFTA_CHAIN_NAME]), *network = NULL;
    size_t base = reader->chains;
    for (size_t i = 0; nft_shared_base_chains[i]; i++)
        reader->chains += strcmp(chain, nft_shared_base_chains[i]) == 0;
    for (size_t i = 0; nft_shared_chains[i] && !network; i++)
        network = network_of(chain, nft_shared_chains[i]);
    if (network)
        seen_of(reader, network)->chains++;
    if (network || reader->chains > base)
        *vec_push(reader->arena, &reader->chain_names) =
            arena_printf(reader->arena, "chain bridge vmwire %s", chain);
    else
        reader->foreign = true;
    if (table[NFTA_CHAIN_POLICY] && ntohl(netlink_u32(table[NFTA_CHAIN_POLICY])) != NF_ACCEPT)
        reader->strange = true;
    return 0;
}

static int set_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_SET_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_MAX + 1);
    const char *name = netlink_text(table[NFTA_SET_NAME]), *network = NULL;
    if (!our_table(table[NFTA_SET_TABLE]))
        return 0;
    size_t base = reader->maps;
    for (const struct nft_shared_set *map = nft_shared_maps; map->name; map++)
        reader->maps += strcmp(name, map->name) == 0;
    for (const struct nft_shared_set *set = nft_shared_sets; set->name && !network; set++)
        network = network_of(name, set->name);
    if (network)
        seen_of(reader, network)->sets++;
    bool anonymous = table[NFTA_SET_FLAGS] && ntohl(netlink_u32(table[NFTA_SET_FLAGS])) & NFT_SET_ANONYMOUS;
    bool map = table[NFTA_SET_FLAGS] && ntohl(netlink_u32(table[NFTA_SET_FLAGS])) & NFT_SET_MAP;
    if (network || reader->maps > base)
        *vec_push(reader->arena, &reader->set_names) =
            arena_printf(reader->arena, "%s bridge vmwire %s", map ? "map" : "set", name);
    else if (!anonymous)
        reader->foreign = true;
    return 0;
}

struct element {
    const uint8_t *key;
    size_t key_length;
    const uint8_t *value; /* NULL: none */
    size_t value_length;
    const char *chain, *comment;
    uint64_t timeout_ms, left_ms; /* 0: none */
};

static const uint8_t *data_value(const struct nlattr *nest, size_t *length)
{
    const struct nlattr *data[NFTA_DATA_MAX + 1];
    *length = 0;
    if (!nest)
        return NULL;
    netlink_nested(nest, data, NFTA_DATA_MAX + 1);
    if (!data[NFTA_DATA_VALUE])
        return NULL;
    *length = mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]);
    return mnl_attr_get_payload(data[NFTA_DATA_VALUE]);
}

static const char *data_chain(const struct nlattr *nest)
{
    const struct nlattr *data[NFTA_DATA_MAX + 1], *verdict[NFTA_VERDICT_MAX + 1];
    if (!nest)
        return "";
    netlink_nested(nest, data, NFTA_DATA_MAX + 1);
    if (!data[NFTA_DATA_VERDICT])
        return "";
    netlink_nested(data[NFTA_DATA_VERDICT], verdict, NFTA_VERDICT_MAX + 1);
    return netlink_text(verdict[NFTA_VERDICT_CHAIN]);
}

static uint64_t milliseconds(const struct nlattr *attribute)
{
    uint64_t value = 0;
    if (attribute && mnl_attr_get_payload_len(attribute) >= sizeof(value))
        memcpy(&value, mnl_attr_get_payload(attribute), sizeof(value));
    return be64toh(value);
}

/* The other maps of the base are what packets left. */
static bool leads(const struct nft_shared_set *map)
{
    return strstr(map->spec, ": verdict;") != NULL;
}

static unsigned map_bit(const char *map)
{
    unsigned bit = 1;
    for (size_t i = 0; nft_shared_maps[i].name && strcmp(nft_shared_maps[i].name, map) != 0; i++)
        bit <<= 1;
    return bit;
}

/* An element of one of the base's maps: "NAME_NETWORK" is where it goes. */
static void entry_read(struct reader *reader, const struct element *element)
{
    const char *network = NULL;
    uint32_t key = 0;
    for (size_t i = 0; nft_shared_chains[i] && !network; i++)
        network = network_of(element->chain, nft_shared_chains[i]);
    if (!network || element->key_length < sizeof(key)) {
        reader->strange = true;
        return;
    }
    struct seen *seen = seen_of(reader, network);
    memcpy(&key, element->key, sizeof(key));
    seen->entries |= map_bit(reader->map);
    if (strcmp(reader->map, "wire_in") == 0) {
        seen->uplink_index = (int)key;
        if (mac_parse(element->comment, &seen->mac) < 0)
            seen->strange = true;
    } else if (strncmp(reader->map, "wire_out", 8) != 0 && strcmp(reader->map, "host_to_wire") != 0 &&
               key != owner_group(network)) {
        seen->strange = true;
    }
}

static struct ip ip_of(const uint8_t *bytes)
{
    struct ip ip = {.family = AF_INET};
    memcpy(ip.bytes, bytes, 4);
    return ip;
}

static void owner_read(struct reader *reader, const struct element *element)
{
    struct shared_address address = {.network = reader->network->network};
    if (element->key_length < 4 || element->value_length < sizeof(address.mac.bytes))
        return;
    address.ip = ip_of(element->key);
    memcpy(address.mac.bytes, element->value, sizeof(address.mac.bytes));
    address.fixed = !element->timeout_ms;
    if (element->timeout_ms > element->left_ms)
        address.since_s = (uint32_t)((element->timeout_ms - element->left_ms) / 1000);
    *vec_push(reader->arena, &reader->observed->shared_addresses) = address;
}

static int address_compare(const void *left, const void *right)
{
    const struct shared_address *a = left, *b = right;
    return ip_compare(&a->ip, &b->ip);
}

/* Those of the network that is being read are the last, and sorted. */
static struct shared_address *address_of(struct reader *reader, const uint8_t *key)
{
    const struct shared_address wanted = {.ip = ip_of(key)};
    struct observed *observed = reader->observed;
    if (observed->shared_addresses.count == reader->first)
        return NULL;
    return bsearch(&wanted, observed->shared_addresses.items + reader->first,
                   observed->shared_addresses.count - reader->first, sizeof(wanted), address_compare);
}

static void element_read(struct reader *reader, const struct nlattr *nest)
{
    const struct nlattr *table[NFTA_SET_ELEM_MAX + 1];
    netlink_nested(nest, table, NFTA_SET_ELEM_MAX + 1);
    struct element element = {.chain = data_chain(table[NFTA_SET_ELEM_DATA]),
                              .comment = nft_comment(table[NFTA_SET_ELEM_USERDATA], reader->arena),
                              .timeout_ms = milliseconds(table[NFTA_SET_ELEM_TIMEOUT]),
                              .left_ms = milliseconds(table[NFTA_SET_ELEM_EXPIRATION])};
    element.key = data_value(table[NFTA_SET_ELEM_KEY], &element.key_length);
    element.value = data_value(table[NFTA_SET_ELEM_DATA], &element.value_length);
    if (!element.key)
        return;
    if (!reader->network) {
        entry_read(reader, &element);
        return;
    }
    if (strcmp(reader->map, "owner") == 0) {
        owner_read(reader, &element);
        return;
    }
    struct shared_address *address = element.key_length >= 4 ? address_of(reader, element.key) : NULL;
    if (!address)
        return;
    if (strcmp(reader->map, "live") == 0)
        address->live = true;
    else if (element.key_length >= 10 && memcmp(element.key + 4, address->mac.bytes, 6) == 0)
        address->held = true;
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

/* A dump that was torn begins anew. */
static void reset_objects(void *data)
{
    struct reader *reader = data;
    reader->networks.count = 0;
    reader->rules = reader->chains = reader->maps = 0;
    reader->chain_names.count = reader->set_names.count = 0;
    reader->strange = reader->foreign = false;
}

static void reset_elements(void *data)
{
    struct reader *reader = data;
    vec_foreach (&reader->networks, seen) {
        if (!reader->network)
            seen->entries &= ~map_bit(reader->map);
    }
    if (reader->network && strcmp(reader->map, "owner") == 0)
        reader->observed->shared_addresses.count = reader->first;
}

static int dump(struct linux_host *host, struct reader *reader, uint16_t type, uint16_t table_attribute,
                const char *set, netlink_each *each, struct err *err)
{
    const struct nft_dump asked = {NFPROTO_BRIDGE, type, table_attribute, "vmwire", set};
    return nft_dump(host, &asked, each, set ? reset_elements : reset_objects, reader, err);
}

static int elements_read(struct linux_host *host, struct reader *reader, const char *map,
                         struct seen *network, struct err *err)
{
    reader->map = map;
    reader->network = network;
    const char *name = network ? arena_printf(reader->arena, "%s_%s", map, network->network) : map;
    int rc = dump(host, reader, NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_TABLE, name, elements_each, err);
    return rc == -ENOENT ? 0 : rc;
}

/* Rules, chains and sets are each read in one dump: a torn one must not take what the others have seen. */
static int objects_read(struct linux_host *host, struct reader *reader, struct err *err)
{
    const struct {
        uint16_t type, table;
        netlink_each *each;
    } parts[] = {{NFT_MSG_GETRULE, NFTA_RULE_TABLE, rule_each},
                 {NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, chain_each},
                 {NFT_MSG_GETSET, NFTA_SET_TABLE, set_each}};
    struct reader whole = {.arena = reader->arena, .observed = reader->observed};
    for (size_t i = 0; i < 3; i++) {
        struct reader part = {.arena = reader->arena};
        int rc = dump(host, &part, parts[i].type, parts[i].table, NULL, parts[i].each, err);
        if (rc < 0)
            return rc == -ENOENT ? 0 : rc;
        whole.rules += part.rules, whole.chains += part.chains, whole.maps += part.maps;
        whole.strange |= part.strange;
        whole.foreign |= part.foreign;
        vec_foreach (&part.chain_names, name)
            *vec_push(reader->arena, &whole.chain_names) = *name;
        vec_foreach (&part.set_names, name)
            *vec_push(reader->arena, &whole.set_names) = *name;
        vec_foreach (&part.networks, seen) {
            struct seen *sum = seen_of(&whole, seen->network);
            sum->rules += seen->rules, sum->chains += seen->chains, sum->sets += seen->sets;
            sum->strange |= seen->strange;
        }
    }
    *reader = whole;
    return 0;
}

static int read_all(struct linux_host *host, struct reader *reader, struct err *err)
{
    int rc = objects_read(host, reader, err);
    for (const struct nft_shared_set *map = nft_shared_maps; rc == 0 && reader->maps && map->name; map++) {
        if (leads(map))
            rc = elements_read(host, reader, map->name, NULL, err);
    }
    for (size_t i = 0; rc == 0 && i < reader->networks.count; i++) {
        struct seen *network = &reader->networks.items[i];
        struct observed *observed = reader->observed;
        reader->first = observed->shared_addresses.count;
        rc = elements_read(host, reader, "owner", network, err);
        if (observed->shared_addresses.count > reader->first)
            qsort(observed->shared_addresses.items + reader->first,
                  observed->shared_addresses.count - reader->first, sizeof(struct shared_address),
                  address_compare);
        if (rc == 0)
            rc = elements_read(host, reader, "held", network, err);
        if (rc == 0)
            rc = elements_read(host, reader, "live", network, err);
    }
    return rc;
}

/* How many there are of each, when all are there. */
struct counts {
    size_t rules, chains, sets, base_rules, base_chains, maps;
    unsigned entries;
};

static struct counts counts_of(void)
{
    struct counts counts = {0};
    while (nft_shared_rules[counts.rules].chain)
        counts.rules++;
    while (nft_shared_chains[counts.chains])
        counts.chains++;
    while (nft_shared_sets[counts.sets].name)
        counts.sets++;
    while (nft_shared_base_rules[counts.base_rules].chain)
        counts.base_rules++;
    while (nft_shared_base_chains[counts.base_chains])
        counts.base_chains++;
    for (const struct nft_shared_set *map = nft_shared_maps; map->name; map++) {
        counts.entries |= leads(map) ? map_bit(map->name) : 0;
        counts.maps++;
    }
    return counts;
}

int nft_shared_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err)
{
    struct reader reader = {.arena = arena, .observed = observed};
    struct err ignored;
    /* As nft_observe: whoever may not read sees none, and a kernel without has none. */
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (rc == -EPERM || rc == -EPROTONOSUPPORT || rc == -EINVAL || rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT)
        return 0;
    if (rc < 0)
        return err_wrap(err, "reading the bridge's firewall rules");
    const struct counts counts = counts_of();
    observed->shared_base = reader.rules == counts.base_rules && reader.chains == counts.base_chains &&
                            reader.maps == counts.maps && !reader.strange;
    observed->shared_others = reader.foreign;
    vec_foreach (&reader.set_names, name)
        *vec_push(arena, &observed->shared_objects) = *name;
    vec_foreach (&reader.chain_names, name)
        *vec_push(arena, &observed->shared_objects) = *name;
    vec_foreach (&reader.networks, seen) {
        char uplink[IF_NAMESIZE] = "";
        *vec_push(arena, &observed->shared_traces) = seen->network;
        if (!seen->uplink_index || !if_indextoname((unsigned)seen->uplink_index, uplink))
            continue;
        if (seen->rules == counts.rules && seen->chains == counts.chains && seen->sets == counts.sets &&
            seen->entries == counts.entries && !seen->strange)
            *vec_push(arena, &observed->shareds) = (struct shared){.network = seen->network,
                                                                   .bridge = seen->network,
                                                                   .uplink = arena_strdup(arena, uplink),
                                                                   .mac = seen->mac};
    }
    return 0;
}
