/* nft_shared_observe.c: what nft_read.c read of the table of the networks that share a MAC: which rules are
 * there, which networks, whole or in part, and who has which address. */
#include <errno.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/nft_read.h"

/* What was seen of one network. */
struct seen {
    const char *network;
    struct nft_rules_seen rules;
    size_t chains, sets;
    unsigned entries; /* a bit for each of nft_shared_maps that leads to its chains */
    bool strange;
    int uplink_index;
    struct mac mac;
};

struct reader {
    struct arena *arena;
    struct nft_table table;
    struct observed *observed;
    VEC(struct seen) networks;
    struct nft_rules_seen rules; /* of the base */
    size_t chains, maps;
    bool strange;
    bool foreign; /* there is what others have made */
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

/* The network that has a chain of that name, or NULL; `own`: the chain's name without it. */
static const char *chain_network(const char *chain, const char **own)
{
    const char *network = NULL;
    for (size_t i = 0; nft_shared_chains[i] && !network; i++) {
        network = network_of(chain, nft_shared_chains[i]);
        *own = nft_shared_chains[i];
    }
    return network;
}

static bool is_base_chain(const char *chain)
{
    for (size_t i = 0; nft_shared_base_chains[i]; i++) {
        if (strcmp(chain, nft_shared_base_chains[i]) == 0)
            return true;
    }
    return false;
}

static void rule_take(struct reader *reader, const struct nft_rule *rule)
{
    struct nft_rule plain = *rule;
    const char *network = chain_network(rule->chain, &plain.chain);
    if (network) {
        struct seen *seen = seen_of(reader, network);
        seen->strange |= !nft_rule_seen(nft_shared_rules, &plain, &seen->rules);
    } else if (is_base_chain(rule->chain)) {
        reader->strange |= !nft_rule_seen(nft_shared_base_rules, rule, &reader->rules);
    }
}

/* What is ours goes with its last network: "chain bridge vmwire NAME", "set …", "map …". */
static void object_add(struct reader *reader, const char *kind, const char *name)
{
    *vec_push(reader->arena, &reader->observed->shared_objects) =
        arena_printf(reader->arena, "%s bridge vmwire %s", kind, name);
}

static void chain_take(struct reader *reader, const struct nft_chain *chain)
{
    const char *own, *network = chain_network(chain->name, &own);
    bool base = is_base_chain(chain->name);
    if (network)
        seen_of(reader, network)->chains++;
    reader->chains += base;
    reader->strange |= chain->drops;
    if (network || base)
        object_add(reader, "chain", chain->name);
    else
        reader->foreign = true;
}

static void set_take(struct reader *reader, const struct nft_named_set *set)
{
    const char *network = NULL;
    size_t base = reader->maps;
    for (const struct nft_set *map = nft_shared_maps; map->name; map++)
        reader->maps += strcmp(set->name, map->name) == 0;
    for (const struct nft_set *own = nft_shared_sets; own->name && !network; own++)
        network = network_of(set->name, own->name);
    if (network)
        seen_of(reader, network)->sets++;
    if (network || reader->maps > base)
        object_add(reader, set->map ? "map" : "set", set->name);
    else if (!set->anonymous)
        reader->foreign = true;
}

/* The other maps of the base are what packets left. */
static bool leads(const struct nft_set *map)
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
static void entry_read(struct reader *reader, const char *map, const struct nft_element *element)
{
    const char *own, *network = chain_network(element->chain, &own);
    uint32_t key = 0;
    if (!network || element->key.length < sizeof(key)) {
        reader->strange = true;
        return;
    }
    struct seen *seen = seen_of(reader, network);
    memcpy(&key, element->key.bytes, sizeof(key));
    seen->entries |= map_bit(map);
    if (strcmp(map, "wire_in") == 0) {
        seen->uplink_index = (int)key;
        if (mac_parse(element->comment, &seen->mac) < 0)
            seen->strange = true;
    } else if (strncmp(map, "wire_out", 8) != 0 && strcmp(map, "host_to_wire") != 0 &&
               key != owner_group(network)) {
        seen->strange = true;
    }
}

static struct ip ip_of(const struct nft_bytes *key)
{
    struct ip ip = {.family = AF_INET};
    memcpy(ip.bytes, key->bytes, 4);
    return ip;
}

static int address_compare(const void *left, const void *right)
{
    const struct shared_address *a = left, *b = right;
    return ip_compare(&a->ip, &b->ip);
}

/* One network's addresses, sorted, the last in observed->shared_addresses. */
struct addresses {
    struct shared_address *items;
    size_t count;
};

static struct addresses owners_take(struct reader *reader, const char *network,
                                    const struct nft_elements *owners)
{
    struct observed *observed = reader->observed;
    size_t first = observed->shared_addresses.count;
    vec_foreach (&owners->list, element) {
        struct shared_address address = {.network = network, .fixed = !element->timeout_ms};
        if (element->key.length < 4 || element->value.length < sizeof(address.mac.bytes))
            continue;
        address.ip = ip_of(&element->key);
        memcpy(address.mac.bytes, element->value.bytes, sizeof(address.mac.bytes));
        if (element->timeout_ms > element->left_ms)
            address.since_s = (uint32_t)((element->timeout_ms - element->left_ms) / 1000);
        *vec_push(reader->arena, &observed->shared_addresses) = address;
    }
    struct addresses addresses = {observed->shared_addresses.items + first,
                                  observed->shared_addresses.count - first};
    if (addresses.count)
        qsort(addresses.items, addresses.count, sizeof(*addresses.items), address_compare);
    return addresses;
}

static struct shared_address *address_of(const struct addresses *addresses, const struct nft_bytes *key)
{
    if (key->length < 4 || !addresses->count)
        return NULL;
    const struct shared_address wanted = {.ip = ip_of(key)};
    return bsearch(&wanted, addresses->items, addresses->count, sizeof(wanted), address_compare);
}

/* A set that is not there has no elements. */
static int elements_read(struct linux_host *host, struct reader *reader, const char *set,
                         struct nft_elements *elements, struct err *err)
{
    elements->list.count = 0;
    int rc = nft_elements_read(host, &reader->table, set, elements, err);
    return rc == -ENOENT ? 0 : rc;
}

static int addresses_read(struct linux_host *host, struct reader *reader, const char *network,
                          struct err *err)
{
    struct nft_elements elements = {0};
    struct addresses addresses = {0};
    int rc = elements_read(host, reader, arena_printf(reader->arena, "owner_%s", network), &elements, err);
    if (rc == 0)
        addresses = owners_take(reader, network, &elements);
    if (rc == 0)
        rc = elements_read(host, reader, arena_printf(reader->arena, "held_%s", network), &elements, err);
    vec_foreach (&elements.list, element) {
        struct shared_address *address = address_of(&addresses, &element->key);
        if (address && element->key.length >= 10 &&
            memcmp(element->key.bytes + 4, address->mac.bytes, 6) == 0)
            address->held = true;
    }
    if (rc == 0)
        rc = elements_read(host, reader, arena_printf(reader->arena, "live_%s", network), &elements, err);
    vec_foreach (&elements.list, element) {
        struct shared_address *address = address_of(&addresses, &element->key);
        if (address)
            address->live = true;
    }
    return rc;
}

static int read_all(struct linux_host *host, struct reader *reader, struct err *err)
{
    struct nft_table *table = &reader->table;
    struct nft_elements elements = {0};
    int rc = nft_table_read(host, table, err);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    vec_foreach (&table->rules, rule)
        rule_take(reader, rule);
    vec_foreach (&table->sets, set)
        set_take(reader, set);
    vec_foreach (&table->chains, chain)
        chain_take(reader, chain);
    for (const struct nft_set *map = nft_shared_maps; rc == 0 && reader->maps && map->name; map++) {
        if (!leads(map))
            continue;
        rc = elements_read(host, reader, map->name, &elements, err);
        vec_foreach (&elements.list, element)
            entry_read(reader, map->name, element);
    }
    for (size_t i = 0; rc == 0 && i < reader->networks.count; i++)
        rc = addresses_read(host, reader, reader->networks.items[i].network, err);
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
    for (const struct nft_set *map = nft_shared_maps; map->name; map++) {
        counts.entries |= leads(map) ? map_bit(map->name) : 0;
        counts.maps++;
    }
    return counts;
}

int nft_shared_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err)
{
    struct reader reader = {
        .arena = arena, .table = {NFPROTO_BRIDGE, "vmwire", .arena = arena}, .observed = observed};
    struct err ignored;
    /* As nft_observe: whoever may not read sees none, and a kernel without has none. */
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (nft_unreadable(rc))
        return 0;
    if (rc < 0)
        return err_wrap(err, "reading the bridge's firewall rules");
    const struct counts counts = counts_of();
    observed->shared_base = reader.rules.count == counts.base_rules && reader.chains == counts.base_chains &&
                            reader.maps == counts.maps && !reader.strange;
    observed->shared_others = reader.foreign;
    vec_foreach (&reader.networks, seen) {
        char uplink[IF_NAMESIZE] = "";
        *vec_push(arena, &observed->shared_traces) = seen->network;
        if (!seen->uplink_index || !if_indextoname((unsigned)seen->uplink_index, uplink))
            continue;
        if (seen->rules.count == counts.rules && seen->chains == counts.chains && seen->sets == counts.sets &&
            seen->entries == counts.entries && !seen->strange)
            *vec_push(arena, &observed->shareds) = (struct shared){.network = seen->network,
                                                                   .bridge = seen->network,
                                                                   .uplink = arena_strdup(arena, uplink),
                                                                   .mac = seen->mac};
    }
    return 0;
}
