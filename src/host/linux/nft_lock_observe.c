/* nft_lock_observe.c: reads the table of locks (nft_lock_text.c). */
#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/nft_read.h"

struct reader {
    struct arena *arena;
    struct nft_table table;
    struct observed *observed;
    struct nft_rules_seen rules;
    struct names networks; /* of observed->locks */
    bool strange;
    int kind; /* enum lock_kind of the set that is read */
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
    size_t place = names_add(reader->arena, &reader->networks, network);
    if (place < reader->observed->locks.count)
        return &reader->observed->locks.items[place];
    struct lock *fresh = vec_push(reader->arena, &reader->observed->locks);
    *fresh = (struct lock){.network = network};
    return fresh;
}

/* The network that an element of a set of groups is for, or NULL. */
static const char *network_of(struct reader *reader, const struct nft_element *element)
{
    uint32_t group;
    if (element->key.length < sizeof(group) || name_fault(reader->arena, element->comment)) {
        reader->strange = true;
        return NULL;
    }
    memcpy(&group, element->key.bytes, sizeof(group));
    if (group == owner_group(element->comment))
        return element->comment;
    reader->strange = true;
    return NULL;
}

static void take_kind(struct reader *reader, const struct nft_element *element)
{
    const char *network = network_of(reader, element);
    if (network)
        lock_of(reader, network)->kinds[reader->kind] = true;
}

static void take_any(struct reader *reader, const struct nft_element *element)
{
    const char *network = network_of(reader, element);
    if (network)
        lock_of(reader, network)->any6 = true;
}

static void take_home(struct reader *reader, const struct nft_element *element)
{
    static const uint8_t link_local[8] = {0xfe, 0x80};
    const char *network = network_of(reader, element);
    if (!network || element->key.length < 12 || memcmp(element->key.bytes + 4, link_local, 8) == 0)
        return;
    struct prefix *subnet6 = &lock_of(reader, network)->subnet6;
    *subnet6 = (struct prefix){.ip = {.family = AF_INET6}, .length = 64};
    memcpy(subnet6->ip.bytes, element->key.bytes + 4, 8);
}

static void take_nic(struct reader *reader, const struct nft_element *element)
{
    struct lock_nic nic;
    if (nft_lock_nic_parse(reader->arena, nft_ifname(reader->arena, &element->key), element->comment, &nic))
        *vec_push(reader->arena, &reader->observed->lock_nics) = nic;
}

static void take_lease(struct reader *reader, const struct nft_element *element)
{
    if (element->key.length < 12)
        return;
    struct lock_lease *lease = vec_push(reader->arena, &reader->observed->lock_leases);
    const uint8_t *key = element->key.bytes; /* each part fills up four bytes */
    *lease = (struct lock_lease){.mac = {{key[0], key[1], key[2], key[3], key[4], key[5]}},
                                 .ip = {.family = AF_INET, .bytes = {key[8], key[9], key[10], key[11]}}};
}

static struct lock_drops *drops_of(struct reader *reader, const struct nft_element *element)
{
    const char *name = nft_ifname(reader->arena, &element->key);
    vec_foreach (&reader->observed->lock_drops, drops) {
        if (strcmp(drops->ifname, name) == 0)
            return drops;
    }
    struct lock_drops *fresh = vec_push(reader->arena, &reader->observed->lock_drops);
    *fresh = (struct lock_drops){.ifname = name};
    return fresh;
}

static void take_drops(struct reader *reader, const struct nft_element *element)
{
    drops_of(reader, element)->count[reader->kind] = element->packets;
}

static void take_last_mac(struct reader *reader, const struct nft_element *element)
{
    if (element->value.length >= 6)
        memcpy(drops_of(reader, element)->mac.bytes, element->value.bytes, 6);
}

static void take_last_ip(struct reader *reader, const struct nft_element *element)
{
    struct lock_drops *drops = drops_of(reader, element);
    bool six = element->value.length >= 16;
    struct ip *ip = six ? &drops->ip6 : &drops->ip;
    if (element->value.length < 4)
        return;
    ip->family = six ? AF_INET6 : AF_INET;
    memcpy(ip->bytes, element->value.bytes, six ? 16 : 4);
}

/* How many elements there are, or a negative errno. */
static int read_set(struct linux_host *host, struct reader *reader, const char *set,
                    void (*take)(struct reader *reader, const struct nft_element *element), struct err *err)
{
    struct nft_elements elements = {0};
    int rc = nft_elements_read(host, &reader->table, set, &elements, err);
    for (size_t i = 0; rc == 0 && take && i < elements.list.count; i++)
        take(reader, &elements.list.items[i]);
    return rc < 0 ? rc : (int)elements.list.count;
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
    for (int i = 0; rc >= 0 && i < SETS; i++) {
        rc = read_set(host, reader, sets[i], NULL, err);
        whole &= rc == (int)wanted[i];
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
    int rc = nft_rules_read(host, &reader->table, err);
    vec_foreach (&reader->table.rules, rule)
        reader->strange |= !nft_rule_seen(nft_lock_rules, rule, &reader->rules);
    for (reader->kind = 0; rc >= 0 && reader->kind < LOCK_KIND_COUNT; reader->kind++)
        rc = read_set(host, reader,
                      arena_printf(reader->arena, "no_%s", lock_kind_name((enum lock_kind)reader->kind)),
                      take_kind, err);
    if (rc >= 0)
        rc = read_set(host, reader, "any_ip6", take_any, err);
    if (rc >= 0)
        rc = read_set(host, reader, "home_ip6", take_home, err);
    return rc < 0 ? rc : read_nics(host, reader, err);
}

static bool nothing_there(int rc)
{
    return rc == -ENOENT || nft_unreadable(rc);
}

static struct reader reader_of(struct arena *arena, struct observed *observed)
{
    return (struct reader){
        .arena = arena, .observed = observed, .table = {NFPROTO_BRIDGE, "vmwire_lock", .arena = arena}};
}

int nft_lock_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = reader_of(arena, observed);
    size_t wanted = 0;
    observed->locks.count = 0;
    observed->lock_base = true;
    while (nft_lock_rules[wanted].chain)
        wanted++;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, err);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (nothing_there(rc) && !reader.rules.count)
        return 0;
    if (rc < 0 && !nothing_there(rc))
        return err_wrap(err, "reading the rules of locks");
    observed->lock_base = rc >= 0 && reader.rules.count == wanted && !reader.strange;
    return 0;
}

int nft_lock_health(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = reader_of(arena, observed);
    observed->lock_leases.count = observed->lock_drops.count = 0;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, err);
    for (; rc >= 0 && reader.kind < LOCK_KIND_COUNT; reader.kind++)
        rc = read_set(host, &reader,
                      arena_printf(arena, "dropped_%s", lock_kind_name((enum lock_kind)reader.kind)),
                      take_drops, err);
    if (rc >= 0)
        rc = read_set(host, &reader, "last_mac", take_last_mac, err);
    if (rc >= 0)
        rc = read_set(host, &reader, "last_ip", take_last_ip, err);
    if (rc >= 0)
        rc = read_set(host, &reader, "last_ip6", take_last_ip, err);
    if (rc >= 0)
        rc = read_set(host, &reader, "own_ip", take_lease, err);
    return rc < 0 && !nothing_there(rc) ? err_wrap(err, "reading what locks dropped") : 0;
}
