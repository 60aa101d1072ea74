/* ruleset_observe.c: reads every nftables chain of the host, with what its rules do: model/ruleset.h.
 * Source: <linux/netfilter/nf_tables.h>; the intervals of a set are read as libnftables writes them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "host/linux/nft_read.h"
#include "host/linux/ruleset.h"

enum { ELEMENTS_MAX = 20000 };

struct ruleset_reader {
    struct arena *arena;
    struct ruleset *ruleset;
    struct rule_set *set; /* whose elements are being read */
};

static const char *family_text(const struct nlmsghdr *header)
{
    const struct nfgenmsg *message = mnl_nlmsg_get_payload(header);
    switch (message->nfgen_family) {
    case NFPROTO_INET:
        return "inet";
    case NFPROTO_IPV4:
        return "ip";
    case NFPROTO_IPV6:
        return "ip6";
    case NFPROTO_BRIDGE:
        return "bridge";
    case NFPROTO_NETDEV:
        return "netdev";
    case NFPROTO_ARP:
        return "arp";
    default:
        return NULL;
    }
}

static uint8_t family_number(const char *name)
{
    return strcmp(name, "inet") == 0     ? NFPROTO_INET
           : strcmp(name, "ip") == 0     ? NFPROTO_IPV4
           : strcmp(name, "ip6") == 0    ? NFPROTO_IPV6
           : strcmp(name, "bridge") == 0 ? NFPROTO_BRIDGE
           : strcmp(name, "arp") == 0    ? NFPROTO_ARP
                                         : NFPROTO_NETDEV;
}

/* vmwire's tables are not foreign; what they lack is drift. */
static bool foreign(const struct nlattr *table)
{
    const char *name = netlink_text(table);
    return *name && strcmp(name, "vmwire") != 0 && strcmp(name, "vmwire_lock") != 0 &&
           strcmp(name, "vmwire_trace") != 0;
}

static enum chain_hook hook_of(const char *family, uint32_t number)
{
    static const enum chain_hook hooks[] = {HOOK_PREROUTING, HOOK_INPUT,       HOOK_FORWARD,
                                            HOOK_OUTPUT,     HOOK_POSTROUTING, HOOK_INGRESS};
    if (strcmp(family, "arp") == 0) /* <linux/netfilter_arp.h> */
        return number == 0 ? HOOK_INPUT : number == 1 ? HOOK_OUTPUT : HOOK_NONE;
    if (strcmp(family, "netdev") == 0)
        return number == NF_NETDEV_INGRESS ? HOOK_INGRESS : HOOK_EGRESS;
    return number < sizeof(hooks) / sizeof(hooks[0]) ? hooks[number] : HOOK_NONE;
}

static void hook_read(struct ruleset_reader *reader, struct rule_chain *chain, const struct nlattr *nest)
{
    const struct nlattr *table[NFTA_HOOK_MAX + 1], *attribute;
    netlink_nested(nest, table, NFTA_HOOK_MAX + 1);
    chain->hook = hook_of(chain->family, ntohl(netlink_u32(table[NFTA_HOOK_HOOKNUM])));
    chain->priority = (int)ntohl(netlink_u32(table[NFTA_HOOK_PRIORITY]));
    if (table[NFTA_HOOK_DEV])
        *vec_push(reader->arena, &chain->interfaces) =
            arena_strdup(reader->arena, netlink_text(table[NFTA_HOOK_DEV]));
    if (!table[NFTA_HOOK_DEVS])
        return;
    mnl_attr_for_each_nested (attribute, table[NFTA_HOOK_DEVS])
        *vec_push(reader->arena, &chain->interfaces) = arena_strdup(reader->arena, netlink_text(attribute));
}

static int ruleset_chain_each(const struct nlmsghdr *header, void *data)
{
    struct ruleset_reader *reader = data;
    const struct nlattr *table[NFTA_CHAIN_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_CHAIN_MAX + 1);
    const char *family = family_text(header);
    if (!family || !foreign(table[NFTA_CHAIN_TABLE]))
        return 0;
    struct rule_chain *chain = vec_push(reader->arena, &reader->ruleset->chains);
    chain->family = family;
    chain->table = arena_strdup(reader->arena, netlink_text(table[NFTA_CHAIN_TABLE]));
    chain->name = arena_strdup(reader->arena, netlink_text(table[NFTA_CHAIN_NAME]));
    chain->nat = strcmp(netlink_text(table[NFTA_CHAIN_TYPE]), "nat") == 0;
    chain->policy_drop = table[NFTA_CHAIN_POLICY] && ntohl(netlink_u32(table[NFTA_CHAIN_POLICY])) == NF_DROP;
    if (table[NFTA_CHAIN_HOOK])
        hook_read(reader, chain, table[NFTA_CHAIN_HOOK]);
    return 0;
}

/* Chains keep their place: rules refer to no chain by its address. */
static struct rule_chain *chain_of(const struct ruleset *ruleset, const char *family, const char *table,
                                   const char *name)
{
    return (struct rule_chain *)ruleset_chain_find(ruleset, false, family, table, name);
}

static int ruleset_rule_each(const struct nlmsghdr *header, void *data)
{
    struct ruleset_reader *reader = data;
    const struct nlattr *table[NFTA_RULE_MAX + 1], *element;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_RULE_MAX + 1);
    const char *family = family_text(header);
    struct rule_chain *chain = family && foreign(table[NFTA_RULE_TABLE])
                                   ? chain_of(reader->ruleset, family, netlink_text(table[NFTA_RULE_TABLE]),
                                              netlink_text(table[NFTA_RULE_CHAIN]))
                                   : NULL;
    if (!chain || !table[NFTA_RULE_EXPRESSIONS])
        return 0;
    struct rule *rule = vec_push(reader->arena, &chain->rules);
    const struct nlattr *handle = table[NFTA_RULE_HANDLE];
    if (handle && mnl_attr_get_payload_len(handle) >= sizeof(uint64_t)) {
        uint32_t halves[2];
        memcpy(halves, mnl_attr_get_payload(handle), sizeof(halves));
        rule->handle = (uint64_t)ntohl(halves[0]) << 32 | ntohl(halves[1]);
    }
    rule->comment = nft_comment(table[NFTA_RULE_USERDATA], reader->arena);
    struct rule_maker maker = {.arena = reader->arena, .ruleset = reader->ruleset, .rule = rule};
    mnl_attr_for_each_nested (element, table[NFTA_RULE_EXPRESSIONS])
        rule_expression(&maker, element);
    return 0;
}

static void fields_read(struct ruleset_reader *reader, struct rule_set *set, const struct nlattr *description)
{
    const struct nlattr *table[NFTA_SET_DESC_MAX + 1], *field, *inner[NFTA_SET_FIELD_MAX + 1];
    netlink_nested(description, table, NFTA_SET_DESC_MAX + 1);
    if (!table[NFTA_SET_DESC_CONCAT])
        return;
    mnl_attr_for_each_nested (field, table[NFTA_SET_DESC_CONCAT]) {
        netlink_nested(field, inner, NFTA_SET_FIELD_MAX + 1);
        *vec_push(reader->arena, &set->fields) = (uint8_t)ntohl(netlink_u32(inner[NFTA_SET_FIELD_LEN]));
    }
}

static int ruleset_set_each(const struct nlmsghdr *header, void *data)
{
    struct ruleset_reader *reader = data;
    const struct nlattr *table[NFTA_SET_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_MAX + 1);
    const char *family = family_text(header);
    if (!family || !foreign(table[NFTA_SET_TABLE]))
        return 0;
    struct rule_set *set = vec_push(reader->arena, &reader->ruleset->sets);
    uint32_t flags = ntohl(netlink_u32(table[NFTA_SET_FLAGS]));
    set->family = family;
    set->table = arena_strdup(reader->arena, netlink_text(table[NFTA_SET_TABLE]));
    set->name = arena_strdup(reader->arena, netlink_text(table[NFTA_SET_NAME]));
    set->length = ntohl(netlink_u32(table[NFTA_SET_KEY_LEN]));
    set->interval = flags & NFT_SET_INTERVAL;
    set->map = flags & NFT_SET_MAP;
    set->cut = set->length > REGISTERS_SIZE;
    fields_read(reader, set, table[NFTA_SET_DESC]);
    return 0;
}

static const uint8_t *key_read(struct ruleset_reader *reader, const struct nlattr *nest)
{
    const struct nlattr *table[NFTA_DATA_MAX + 1];
    netlink_nested(nest, table, NFTA_DATA_MAX + 1);
    const struct nlattr *value = table[NFTA_DATA_VALUE];
    if (!value || mnl_attr_get_payload_len(value) < reader->set->length)
        return NULL;
    uint8_t *copy = arena_alloc(reader->arena, reader->set->length + 1);
    memcpy(copy, mnl_attr_get_payload(value), reader->set->length);
    return copy;
}

static void ruleset_element_read(struct ruleset_reader *reader, const struct nlattr *nest)
{
    const struct nlattr *table[NFTA_SET_ELEM_MAX + 1], *value[NFTA_DATA_MAX + 1];
    netlink_nested(nest, table, NFTA_SET_ELEM_MAX + 1);
    uint32_t flags = ntohl(netlink_u32(table[NFTA_SET_ELEM_FLAGS]));
    struct set_element element = {.end = flags & NFT_SET_ELEM_INTERVAL_END};
    if (!(flags & NFT_SET_ELEM_CATCHALL)) {
        element.first = table[NFTA_SET_ELEM_KEY] ? key_read(reader, table[NFTA_SET_ELEM_KEY]) : NULL;
        element.last = table[NFTA_SET_ELEM_KEY_END] ? key_read(reader, table[NFTA_SET_ELEM_KEY_END]) : NULL;
        if (!element.first || reader->set->elements.count >= ELEMENTS_MAX) {
            reader->set->cut = true;
            return;
        }
    }
    netlink_nested(table[NFTA_SET_ELEM_DATA], value, NFTA_DATA_MAX + 1);
    if (value[NFTA_DATA_VERDICT])
        element.target = rule_verdict_read(reader->arena, value[NFTA_DATA_VERDICT]);
    *vec_push(reader->arena, &reader->set->elements) = element;
}

static int ruleset_elements_each(const struct nlmsghdr *header, void *data)
{
    struct ruleset_reader *reader = data;
    const struct nlattr *table[NFTA_SET_ELEM_LIST_MAX + 1], *attribute;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_ELEM_LIST_MAX + 1);
    if (!table[NFTA_SET_ELEM_LIST_ELEMENTS])
        return 0;
    mnl_attr_for_each_nested (attribute, table[NFTA_SET_ELEM_LIST_ELEMENTS])
        ruleset_element_read(reader, attribute);
    return 0;
}

static size_t order_length;

static int order(const void *a, const void *b)
{
    const struct set_element *one = a, *other = b;
    if (!one->first || !other->first)
        return !one->first - !other->first;
    int by_key = memcmp(one->first, other->first, order_length);
    return by_key ? by_key : other->end - one->end;
}

/* An interval set lists where its intervals start and, apart, the first key behind each. */
static void intervals_join(struct arena *arena, struct rule_set *set)
{
    size_t kept = 0, length = set->length;
    order_length = length;
    qsort(set->elements.items, set->elements.count, sizeof(*set->elements.items), order);
    for (size_t i = 0; i < set->elements.count; i++) {
        struct set_element element = set->elements.items[i];
        if (element.end)
            continue;
        if (element.first && !element.last) {
            uint8_t *last = arena_alloc(arena, length + 1);
            memset(last, 0xff, length);
            if (i + 1 < set->elements.count && set->elements.items[i + 1].first) {
                memcpy(last, set->elements.items[i + 1].first, length);
                for (size_t at = length; at-- > 0 && last[at]-- == 0;)
                    continue;
            }
            element.last = last;
        }
        set->elements.items[kept++] = element;
    }
    set->elements.count = kept;
}

static void chains_reset(void *data)
{
    ((struct ruleset_reader *)data)->ruleset->chains.count = 0;
}

static void rules_reset(void *data)
{
    vec_foreach (&((struct ruleset_reader *)data)->ruleset->chains, chain)
        chain->rules.count = 0;
}

static void sets_reset(void *data)
{
    ((struct ruleset_reader *)data)->ruleset->sets.count = 0;
}

static void elements_reset(void *data)
{
    ((struct ruleset_reader *)data)->set->elements.count = 0;
}

static int ruleset_dump(struct linux_host *host, struct ruleset_reader *reader, uint16_t type,
                        netlink_each *each, void (*reset)(void *), struct err *err)
{
    struct netlink_message message;
    struct nfgenmsg *header =
        netlink_start(&message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), 0, sizeof(*header));
    header->nfgen_family = reader->set ? family_number(reader->set->family) : NFPROTO_UNSPEC;
    if (reader->set) {
        netlink_put_string(&message, NFTA_SET_ELEM_LIST_TABLE, reader->set->table);
        netlink_put_string(&message, NFTA_SET_ELEM_LIST_SET, reader->set->name);
    }
    return netlink_dump(&host->netfilter, &message, each, reset, reader, err);
}

static struct rule_set *set_of(struct ruleset *ruleset, const struct rule_chain *chain, const char *name)
{
    vec_foreach (&ruleset->sets, set) {
        if (strcmp(set->name, name) == 0 && strcmp(set->table, chain->table) == 0 &&
            strcmp(set->family, chain->family) == 0)
            return set;
    }
    return NULL;
}

static void sets_join(struct ruleset *ruleset)
{
    vec_foreach (&ruleset->chains, chain) {
        vec_foreach (&chain->rules, rule) {
            vec_foreach (&rule->steps, step) {
                struct rule_set *set =
                    step->kind == STEP_LOOKUP && !step->set ? set_of(ruleset, chain, step->set_name) : NULL;
                if (!set)
                    continue;
                step->set = set;
                set->needed = true;
                if (step->from + set->length > REGISTERS_SIZE)
                    set->cut = true, set->length = 0;
            }
        }
    }
}

static int ruleset_read(struct linux_host *host, struct ruleset_reader *reader, struct err *err)
{
    int rc = ruleset_dump(host, reader, NFT_MSG_GETCHAIN, ruleset_chain_each, chains_reset, err);
    if (rc == 0 && reader->ruleset->chains.count)
        rc = ruleset_dump(host, reader, NFT_MSG_GETRULE, ruleset_rule_each, rules_reset, err);
    if (rc == 0 && reader->ruleset->chains.count)
        rc = ruleset_dump(host, reader, NFT_MSG_GETSET, ruleset_set_each, sets_reset, err);
    sets_join(reader->ruleset);
    vec_foreach (&reader->ruleset->sets, set) {
        if (rc < 0 || !set->needed || set->cut)
            continue;
        reader->set = set;
        rc = ruleset_dump(host, reader, NFT_MSG_GETSETELEM, ruleset_elements_each, elements_reset, err);
        if (rc == -ENOENT) /* it has just gone */
            rc = 0, set->cut = true;
        if (set->interval)
            intervals_join(reader->arena, set);
    }
    return rc;
}

int ruleset_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct ruleset_reader reader = {.arena = arena, .ruleset = &observed->ruleset};
    struct err ignored;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = ruleset_read(host, &reader, err);
    observed->ruleset.read = rc == 0;
    if (nft_unreadable(rc)) {
        observed->ruleset.chains.count = 0;
        observed->ruleset.read = rc != -EPERM;
        rc = 0;
    }
    if (rc < 0)
        return err_wrap(err, "reading foreign firewall rules");
    bool bridged[FILTER_COUNT];
    rc = bridged_observe(arena, bridged, err);
    if (rc < 0)
        return rc;
    observed->ruleset.bridged_ip = bridged[FILTER_IPV4];
    observed->ruleset.bridged_ip6 = bridged[FILTER_IPV6];
    legacy_observe(arena, &observed->ruleset);
    return 0;
}
