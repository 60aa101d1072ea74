/* nft_read.c: dumps of nftables through nfnetlink (nft_read.h).  Source: <linux/netfilter/nf_tables.h>;
 * comments are libnftnl's user data, a list of type, length, value. */
#include "host/linux/nft_read.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <string.h>

enum { UDATA_COMMENT = 0 };

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

/* What one request asks for, and where the answers go. */
struct reading {
    struct nft_table *table;       /* rules, chains, sets */
    struct nft_elements *elements; /* elements */
    struct arena *arena;
};

static void message_start(struct netlink_message *message, uint16_t type, const struct nft_table *table,
                          uint16_t table_attribute)
{
    struct nfgenmsg *header =
        netlink_start(message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), 0, sizeof(*header));
    header->nfgen_family = table->family;
    netlink_put_string(message, table_attribute, table->name);
}

static bool is_table(const struct reading *reading, const struct nlattr *name)
{
    return strcmp(netlink_text(name), reading->table->name) == 0; /* old kernels tell of all */
}

static int rule_each(const struct nlmsghdr *header, void *data)
{
    struct reading *reading = data;
    const struct nlattr *of[NFTA_RULE_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), of, NFTA_RULE_MAX + 1);
    if (is_table(reading, of[NFTA_RULE_TABLE]))
        *vec_push(reading->arena, &reading->table->rules) =
            (struct nft_rule){.chain = arena_strdup(reading->arena, netlink_text(of[NFTA_RULE_CHAIN])),
                              .comment = nft_comment(of[NFTA_RULE_USERDATA], reading->arena)};
    return 0;
}

static int chain_each(const struct nlmsghdr *header, void *data)
{
    struct reading *reading = data;
    const struct nlattr *of[NFTA_CHAIN_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), of, NFTA_CHAIN_MAX + 1);
    const struct nlattr *policy = of[NFTA_CHAIN_POLICY];
    if (is_table(reading, of[NFTA_CHAIN_TABLE]))
        *vec_push(reading->arena, &reading->table->chains) =
            (struct nft_chain){.name = arena_strdup(reading->arena, netlink_text(of[NFTA_CHAIN_NAME])),
                               .drops = policy && ntohl(netlink_u32(policy)) != NF_ACCEPT};
    return 0;
}

static int set_each(const struct nlmsghdr *header, void *data)
{
    struct reading *reading = data;
    const struct nlattr *of[NFTA_SET_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), of, NFTA_SET_MAX + 1);
    uint32_t flags = ntohl(netlink_u32(of[NFTA_SET_FLAGS]));
    if (is_table(reading, of[NFTA_SET_TABLE]))
        *vec_push(reading->arena, &reading->table->sets) =
            (struct nft_named_set){.name = arena_strdup(reading->arena, netlink_text(of[NFTA_SET_NAME])),
                                   .map = flags & NFT_SET_MAP,
                                   .anonymous = flags & NFT_SET_ANONYMOUS};
    return 0;
}

static uint64_t number(const struct nlattr *attribute)
{
    uint64_t value = 0;
    if (attribute && mnl_attr_get_payload_len(attribute) >= sizeof(value))
        memcpy(&value, mnl_attr_get_payload(attribute), sizeof(value));
    return be64toh(value);
}

static struct nft_bytes bytes_of(struct arena *arena, const struct nlattr *value)
{
    if (!value)
        return (struct nft_bytes){0};
    size_t length = mnl_attr_get_payload_len(value);
    uint8_t *copy = arena_alloc(arena, length + 1);
    memcpy(copy, mnl_attr_get_payload(value), length);
    return (struct nft_bytes){copy, length};
}

static void element_read(struct reading *reading, const struct nlattr *nest)
{
    const struct nlattr *of[NFTA_SET_ELEM_MAX + 1], *data[NFTA_DATA_MAX + 1], *verdict[NFTA_VERDICT_MAX + 1],
        *expression[NFTA_EXPR_MAX + 1], *counter[NFTA_COUNTER_MAX + 1];
    netlink_nested(nest, of, NFTA_SET_ELEM_MAX + 1);
    netlink_nested(of[NFTA_SET_ELEM_KEY], data, NFTA_DATA_MAX + 1);
    struct nft_element element = {.key = bytes_of(reading->arena, data[NFTA_DATA_VALUE]), .chain = ""};
    netlink_nested(of[NFTA_SET_ELEM_DATA], data, NFTA_DATA_MAX + 1);
    element.value = bytes_of(reading->arena, data[NFTA_DATA_VALUE]);
    netlink_nested(data[NFTA_DATA_VERDICT], verdict, NFTA_VERDICT_MAX + 1);
    if (verdict[NFTA_VERDICT_CHAIN])
        element.chain = arena_strdup(reading->arena, netlink_text(verdict[NFTA_VERDICT_CHAIN]));
    else
        element.accepts =
            verdict[NFTA_VERDICT_CODE] && ntohl(netlink_u32(verdict[NFTA_VERDICT_CODE])) == NF_ACCEPT;
    element.comment = nft_comment(of[NFTA_SET_ELEM_USERDATA], reading->arena);
    element.timeout_ms = number(of[NFTA_SET_ELEM_TIMEOUT]);
    element.left_ms = number(of[NFTA_SET_ELEM_EXPIRATION]);
    netlink_nested(of[NFTA_SET_ELEM_EXPR], expression, NFTA_EXPR_MAX + 1);
    netlink_nested(expression[NFTA_EXPR_DATA], counter, NFTA_COUNTER_MAX + 1);
    element.packets = number(counter[NFTA_COUNTER_PACKETS]);
    *vec_push(reading->arena, &reading->elements->list) = element;
}

static int elements_each(const struct nlmsghdr *header, void *data)
{
    const struct nlattr *of[NFTA_SET_ELEM_LIST_MAX + 1], *nest;
    netlink_attributes(header, sizeof(struct nfgenmsg), of, NFTA_SET_ELEM_LIST_MAX + 1);
    if (!of[NFTA_SET_ELEM_LIST_ELEMENTS])
        return 0;
    mnl_attr_for_each_nested (nest, of[NFTA_SET_ELEM_LIST_ELEMENTS])
        element_read(data, nest);
    return 0;
}

/* A dump that was torn begins anew. */
static void rules_reset(void *data)
{
    ((struct reading *)data)->table->rules.count = 0;
}

static void chains_reset(void *data)
{
    ((struct reading *)data)->table->chains.count = 0;
}

static void sets_reset(void *data)
{
    ((struct reading *)data)->table->sets.count = 0;
}

static void elements_reset(void *data)
{
    ((struct reading *)data)->elements->list.count = 0;
}

static int objects_read(struct linux_host *host, struct nft_table *table, uint16_t type,
                        uint16_t table_attribute, netlink_each *each, void (*reset)(void *data),
                        struct err *err)
{
    struct netlink_message message;
    struct reading reading = {.table = table, .arena = table->arena};
    message_start(&message, type, table, table_attribute);
    return netlink_dump(&host->netfilter, &message, each, reset, &reading, err);
}

int nft_rules_read(struct linux_host *host, struct nft_table *table, struct err *err)
{
    return objects_read(host, table, NFT_MSG_GETRULE, NFTA_RULE_TABLE, rule_each, rules_reset, err);
}

int nft_table_read(struct linux_host *host, struct nft_table *table, struct err *err)
{
    int rc = nft_rules_read(host, table, err);
    if (rc == 0)
        rc = objects_read(host, table, NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, chain_each, chains_reset, err);
    if (rc == 0)
        rc = objects_read(host, table, NFT_MSG_GETSET, NFTA_SET_TABLE, set_each, sets_reset, err);
    return rc;
}

int nft_elements_read(struct linux_host *host, const struct nft_table *table, const char *set,
                      struct nft_elements *elements, struct err *err)
{
    struct netlink_message message;
    struct reading reading = {.elements = elements, .arena = table->arena};
    message_start(&message, NFT_MSG_GETSETELEM, table, NFTA_SET_ELEM_LIST_TABLE);
    netlink_put_string(&message, NFTA_SET_ELEM_LIST_SET, set);
    return netlink_dump(&host->netfilter, &message, elements_each, elements_reset, &reading, err);
}

int nft_element_get(struct linux_host *host, const struct nft_table *table, const char *set,
                    const struct nft_bytes *key, struct nft_element *element, struct err *err)
{
    struct netlink_message message;
    struct nft_elements found = {0};
    struct reading reading = {.elements = &found, .arena = table->arena};
    message_start(&message, NFT_MSG_GETSETELEM, table, NFTA_SET_ELEM_LIST_TABLE);
    netlink_put_string(&message, NFTA_SET_ELEM_LIST_SET, set);
    struct nlattr *list = netlink_nest_open(&message, NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED);
    struct nlattr *one = netlink_nest_open(&message, NFTA_LIST_ELEM | NLA_F_NESTED);
    struct nlattr *data = netlink_nest_open(&message, NFTA_SET_ELEM_KEY | NLA_F_NESTED);
    netlink_put(&message, NFTA_DATA_VALUE, key->bytes, key->length);
    netlink_nest_close(&message, data);
    netlink_nest_close(&message, one);
    netlink_nest_close(&message, list);
    int rc = netlink_call(&host->netfilter, &message, elements_each, &reading, err);
    if (rc == 0 && !found.list.count)
        rc = -ENOENT;
    if (rc == 0)
        *element = found.list.items[0];
    return rc;
}

bool nft_rule_seen(const struct nft_rule *rules, const struct nft_rule *rule, struct nft_rules_seen *seen)
{
    for (size_t i = 0; rules[i].chain; i++) {
        if (strcmp(rules[i].chain, rule->chain) != 0 || strcmp(rules[i].comment, rule->comment) != 0)
            continue;
        bool in_order = !seen->count || strcmp(rules[seen->last].chain, rule->chain) != 0 || i > seen->last;
        seen->last = i;
        seen->count++;
        return in_order;
    }
    return false;
}

const char *nft_ifname(struct arena *arena, const struct nft_bytes *key)
{
    const char *name = (const char *)key->bytes;
    return name ? arena_strndup(arena, name, strnlen(name, key->length < IFNAMSIZ ? key->length : IFNAMSIZ))
                : "";
}

bool nft_unreadable(int rc)
{
    return rc == -EPERM || rc == -EPROTONOSUPPORT || rc == -EINVAL || rc == -EOPNOTSUPP ||
           rc == -EAFNOSUPPORT;
}
