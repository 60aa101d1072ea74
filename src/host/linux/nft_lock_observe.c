/* nft_lock_observe.c: reads the table of locks (nft_lock_text.c). */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "host/linux/linux.h"

#define LOCK_TABLE "vmwire_lock"

enum { NAME_SIZE = 16 };

/* One element, its key and its data as the kernel has them. */
struct element {
    const uint8_t *key, *data;
    size_t key_length, data_length;
    const char *comment;
    uint64_t packets; /* that its counter counted */
};

struct reader {
    struct arena *arena;
    struct observed *observed;
    size_t rules; /* known ones in their order */
    bool strange;
    int kind;     /* enum lock_kind of the set that is read */
    size_t count; /* of its elements */
    void (*take)(struct reader *reader, const struct element *element);
};

bool nft_lock_nic_parse(struct arena *arena, const char *ifname, const char *comment, struct lock_nic *nic)
{
    enum { NETWORK, MAC, ANY, IP, IP6, WORDS };
    char *rest = arena_strdup(arena, comment), *words[WORDS];
    for (int i = 0; i < WORDS; i++) {
        words[i] = strsep(&rest, " ");
        if (!words[i])
            return false;
    }
    *nic =
        (struct lock_nic){.ifname = ifname, .network = words[NETWORK], .any = strcmp(words[ANY], "any") == 0};
    return !name_fault(arena, nic->network) && mac_parse(words[MAC], &nic->mac) == 0 &&
           (strcmp(words[IP], "-") == 0 || ip_parse(words[IP], &nic->ip) == 0) &&
           (strcmp(words[IP6], "-") == 0 || ip_parse(words[IP6], &nic->ip6) == 0);
}

static struct lock *lock_of(struct reader *reader, const char *network)
{
    vec_foreach (&reader->observed->locks, known) {
        if (strcmp(known->network, network) == 0)
            return known;
    }
    struct lock *fresh = vec_push(reader->arena, &reader->observed->locks);
    *fresh = (struct lock){.network = network};
    return fresh;
}

static int rule_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_RULE_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_RULE_MAX + 1);
    if (strcmp(netlink_text(table[NFTA_RULE_TABLE]), LOCK_TABLE) != 0)
        return 0;
    const struct nft_rule *wanted = &nft_lock_rules[reader->rules];
    if (!wanted->chain || strcmp(netlink_text(table[NFTA_RULE_CHAIN]), wanted->chain) != 0 ||
        strcmp(nft_comment(table[NFTA_RULE_USERDATA], reader->arena), wanted->comment) != 0)
        reader->strange = true;
    else
        reader->rules++;
    return 0;
}

static uint64_t packets_of(const struct nlattr *expression)
{
    const struct nlattr *table[NFTA_EXPR_MAX + 1], *counter[NFTA_COUNTER_MAX + 1];
    uint64_t packets = 0;
    netlink_nested(expression, table, NFTA_EXPR_MAX + 1);
    netlink_nested(table[NFTA_EXPR_DATA], counter, NFTA_COUNTER_MAX + 1);
    const struct nlattr *value = counter[NFTA_COUNTER_PACKETS];
    if (value && mnl_attr_get_payload_len(value) >= sizeof(packets))
        memcpy(&packets, mnl_attr_get_payload(value), sizeof(packets));
    return be64toh(packets);
}

static void value_of(const struct nlattr *nest, const uint8_t **bytes, size_t *length)
{
    const struct nlattr *data[NFTA_DATA_MAX + 1];
    netlink_nested(nest, data, NFTA_DATA_MAX + 1);
    if (data[NFTA_DATA_VALUE]) {
        *bytes = mnl_attr_get_payload(data[NFTA_DATA_VALUE]);
        *length = mnl_attr_get_payload_len(data[NFTA_DATA_VALUE]);
    }
}

static int elements_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_SET_ELEM_LIST_MAX + 1], *one[NFTA_SET_ELEM_MAX + 1], *attribute;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_ELEM_LIST_MAX + 1);
    if (!table[NFTA_SET_ELEM_LIST_ELEMENTS])
        return 0;
    mnl_attr_for_each_nested (attribute, table[NFTA_SET_ELEM_LIST_ELEMENTS]) {
        struct element element = {0};
        netlink_nested(attribute, one, NFTA_SET_ELEM_MAX + 1);
        value_of(one[NFTA_SET_ELEM_KEY], &element.key, &element.key_length);
        value_of(one[NFTA_SET_ELEM_DATA], &element.data, &element.data_length);
        element.comment = nft_comment(one[NFTA_SET_ELEM_USERDATA], reader->arena);
        element.packets = packets_of(one[NFTA_SET_ELEM_EXPR]);
        reader->count++;
        if (reader->take)
            reader->take(reader, &element);
    }
    return 0;
}

static void reset(void *data)
{
    struct reader *reader = data;
    reader->rules = 0;
    reader->count = 0;
}

/* The network that an element of a set of groups is for, or NULL. */
static const char *network_of(struct reader *reader, const struct element *element)
{
    uint32_t group;
    if (element->key_length < sizeof(group) || name_fault(reader->arena, element->comment)) {
        reader->strange = true;
        return NULL;
    }
    memcpy(&group, element->key, sizeof(group));
    if (group == owner_group(element->comment))
        return element->comment;
    reader->strange = true;
    return NULL;
}

static void take_kind(struct reader *reader, const struct element *element)
{
    const char *network = network_of(reader, element);
    if (network)
        lock_of(reader, network)->kinds[reader->kind] = true;
}

static void take_any(struct reader *reader, const struct element *element)
{
    const char *network = network_of(reader, element);
    if (network)
        lock_of(reader, network)->any6 = true;
}

static void take_home(struct reader *reader, const struct element *element)
{
    static const uint8_t link_local[8] = {0xfe, 0x80};
    const char *network = network_of(reader, element);
    if (!network || element->key_length < 12 || memcmp(element->key + 4, link_local, 8) == 0)
        return;
    struct prefix *subnet6 = &lock_of(reader, network)->subnet6;
    *subnet6 = (struct prefix){.ip = {.family = AF_INET6}, .length = 64};
    memcpy(subnet6->ip.bytes, element->key + 4, 8);
}

static const char *name_of(struct reader *reader, const struct element *element)
{
    return arena_strndup(reader->arena, (const char *)element->key,
                         strnlen((const char *)element->key,
                                 element->key_length < NAME_SIZE ? element->key_length : NAME_SIZE));
}

static void take_nic(struct reader *reader, const struct element *element)
{
    struct lock_nic nic;
    if (nft_lock_nic_parse(reader->arena, name_of(reader, element), element->comment, &nic))
        *vec_push(reader->arena, &reader->observed->lock_nics) = nic;
}

static void take_lease(struct reader *reader, const struct element *element)
{
    if (element->key_length < 12)
        return;
    struct lock_lease *lease = vec_push(reader->arena, &reader->observed->lock_leases);
    const uint8_t *key = element->key; /* each part fills up four bytes */
    *lease = (struct lock_lease){.mac = {{key[0], key[1], key[2], key[3], key[4], key[5]}},
                                 .ip = {.family = AF_INET, .bytes = {key[8], key[9], key[10], key[11]}}};
}

static struct lock_drops *drops_of(struct reader *reader, const struct element *element)
{
    const char *name = name_of(reader, element);
    vec_foreach (&reader->observed->lock_drops, drops) {
        if (strcmp(drops->ifname, name) == 0)
            return drops;
    }
    struct lock_drops *fresh = vec_push(reader->arena, &reader->observed->lock_drops);
    *fresh = (struct lock_drops){.ifname = name};
    return fresh;
}

static void take_drops(struct reader *reader, const struct element *element)
{
    drops_of(reader, element)->count[reader->kind] = element->packets;
}

static void take_last_mac(struct reader *reader, const struct element *element)
{
    if (element->data_length >= 6)
        memcpy(drops_of(reader, element)->mac.bytes, element->data, 6);
}

static void take_last_ip(struct reader *reader, const struct element *element)
{
    struct lock_drops *drops = drops_of(reader, element);
    bool six = element->data_length >= 16;
    struct ip *ip = six ? &drops->ip6 : &drops->ip;
    if (element->data_length < 4)
        return;
    ip->family = six ? AF_INET6 : AF_INET;
    memcpy(ip->bytes, element->data, six ? 16 : 4);
}

static int read_set(struct linux_host *host, struct reader *reader, const char *set,
                    void (*take)(struct reader *reader, const struct element *element), struct err *err)
{
    const struct nft_dump asked = {NFPROTO_BRIDGE, NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_TABLE, LOCK_TABLE,
                                   set};
    reader->take = take;
    return nft_dump(host, &asked, elements_each, reset, reader, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lock_nic *)a)->ifname, ((const struct lock_nic *)b)->ifname);
}

/* What each nic's record says is there; whether it is there is seen by the number. */
static int read_nics(struct linux_host *host, struct reader *reader, struct err *err)
{
    enum { ANY, MAC, IP, IP6, SETS };
    static const char *const sets[SETS] = {"nic_any", "nic_mac", "nic_ip", "nic_ip6"};
    size_t wanted[SETS] = {0};
    bool whole = true;
    reader->observed->lock_nics.count = 0;
    int rc = read_set(host, reader, "nics", take_nic, err);
    vec_foreach (&reader->observed->lock_nics, nic) {
        wanted[nic->any ? ANY : MAC]++;
        wanted[IP] += ip_is_set(&nic->ip);
        wanted[IP6] += ip_is_set(&nic->ip6);
    }
    for (int i = 0; rc == 0 && i < SETS; i++) {
        rc = read_set(host, reader, sets[i], NULL, err);
        whole &= rc == 0 && reader->count == wanted[i];
    }
    if (!whole)
        reader->observed->lock_nics.count = 0;
    if (reader->observed->lock_nics.count)
        qsort(reader->observed->lock_nics.items, reader->observed->lock_nics.count, sizeof(struct lock_nic),
              by_name);
    return rc;
}

static int read_all(struct linux_host *host, struct reader *reader, struct err *err)
{
    const struct nft_dump rules = {NFPROTO_BRIDGE, NFT_MSG_GETRULE, NFTA_RULE_TABLE, LOCK_TABLE, NULL};
    int rc = nft_dump(host, &rules, rule_each, reset, reader, err);
    size_t seen = reader->rules;
    for (reader->kind = 0; rc == 0 && reader->kind < LOCK_KIND_COUNT; reader->kind++)
        rc = read_set(host, reader,
                      arena_printf(reader->arena, "no_%s", lock_kind_name((enum lock_kind)reader->kind)),
                      take_kind, err);
    if (rc == 0)
        rc = read_set(host, reader, "any_ip6", take_any, err);
    if (rc == 0)
        rc = read_set(host, reader, "home_ip6", take_home, err);
    if (rc == 0)
        rc = read_nics(host, reader, err);
    reader->rules = seen;
    return rc;
}

/* No table; or a caller who may not look; or a kernel that has none. */
static bool nothing_there(int rc)
{
    return rc == -ENOENT || rc == -EPERM || rc == -EPROTONOSUPPORT || rc == -EINVAL || rc == -EOPNOTSUPP;
}

int nft_lock_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = {.arena = arena, .observed = observed};
    size_t wanted = 0;
    observed->locks.count = 0;
    observed->lock_base = true;
    while (nft_lock_rules[wanted].chain)
        wanted++;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, err);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (nothing_there(rc) && !reader.rules)
        return 0;
    if (rc < 0 && !nothing_there(rc))
        return err_wrap(err, "reading the rules of locks");
    observed->lock_base = rc == 0 && reader.rules == wanted && !reader.strange;
    return 0;
}

int nft_lock_health(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = {.arena = arena, .observed = observed};
    observed->lock_leases.count = observed->lock_drops.count = 0;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, err);
    for (; rc == 0 && reader.kind < LOCK_KIND_COUNT; reader.kind++)
        rc = read_set(host, &reader,
                      arena_printf(arena, "dropped_%s", lock_kind_name((enum lock_kind)reader.kind)),
                      take_drops, err);
    if (rc == 0)
        rc = read_set(host, &reader, "last_mac", take_last_mac, err);
    if (rc == 0)
        rc = read_set(host, &reader, "last_ip", take_last_ip, err);
    if (rc == 0)
        rc = read_set(host, &reader, "last_ip6", take_last_ip, err);
    if (rc == 0)
        rc = read_set(host, &reader, "own_ip", take_lease, err);
    return rc < 0 && !nothing_there(rc) ? err_wrap(err, "reading what locks dropped") : 0;
}
