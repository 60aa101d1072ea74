/* ruleset_rule.c: nftables' expressions, read from the kernel, as steps of model/ruleset.h.
 * Source: <linux/netfilter/nf_tables.h>, and the dump functions of the kernel's nft_*.c. */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <string.h>

#include "host/linux/netlink.h"
#include "host/linux/ruleset.h"

struct rule_step *rule_step_add(struct rule_maker *maker, enum rule_step_kind kind)
{
    struct rule_step *step = vec_push(maker->arena, &maker->rule->steps);
    step->kind = kind;
    return step;
}

const uint8_t *rule_bytes(struct rule_maker *maker, const void *bytes, size_t length)
{
    uint8_t *copy = arena_alloc(maker->arena, length ? length : 1);
    if (bytes)
        memcpy(copy, bytes, length);
    return copy;
}

void rule_load(struct rule_maker *maker, enum rule_source source, uint16_t offset, uint8_t length)
{
    struct rule_step *step = rule_step_add(maker, STEP_LOAD);
    step->source = source;
    step->offset = offset;
    step->length = length;
}

void rule_compare(struct rule_maker *maker, const void *value, const void *mask, uint8_t length, bool negate)
{
    if (mask) {
        struct rule_step *step = rule_step_add(maker, STEP_MASK);
        step->data = rule_bytes(maker, mask, length);
        step->data2 = rule_bytes(maker, NULL, length);
        step->length = length;
    }
    struct rule_step *step = rule_step_add(maker, STEP_COMPARE);
    step->compare = negate ? COMPARE_NOT_EQUAL : COMPARE_EQUAL;
    step->data = rule_bytes(maker, value, length);
    step->length = length;
}

void rule_range(struct rule_maker *maker, const void *first, const void *last, uint8_t length, bool negate)
{
    struct rule_step *step = rule_step_add(maker, STEP_RANGE);
    step->data = rule_bytes(maker, first, length);
    step->data2 = rule_bytes(maker, last, length);
    step->length = length;
    step->negate = negate;
}

void rule_maybe(struct rule_maker *maker, const char *what)
{
    rule_step_add(maker, STEP_MAYBE)->what = what;
}

void rule_end(struct rule_maker *maker, enum rule_verdict verdict, const char *chain)
{
    struct rule_step *step = rule_step_add(maker, STEP_END);
    step->target = (struct rule_target){.verdict = verdict, .chain = chain};
}

/* nft_parse_register (net/netfilter/nf_tables_api.c). */
uint8_t rule_register(uint32_t number)
{
    if (number == NFT_REG_VERDICT)
        return REGISTER_VERDICT;
    if (number <= NFT_REG_4)
        return (uint8_t)((number - NFT_REG_1) * 16);
    number = number >= NFT_REG32_00 && number <= NFT_REG32_15 ? number - NFT_REG32_00 : 0;
    return (uint8_t)(number * 4);
}

static uint32_t big(const struct nlattr *attribute)
{
    return ntohl(netlink_u32(attribute));
}

/* A length or an offset that the registers can hold. */
static uint8_t small(uint32_t value, uint8_t at)
{
    uint32_t room = at < REGISTERS_SIZE ? REGISTERS_SIZE - (uint32_t)at : 0;
    return (uint8_t)(value < room ? value : room);
}

struct rule_target rule_verdict_read(struct arena *arena, const struct nlattr *nest)
{
    const struct nlattr *table[NFTA_VERDICT_MAX + 1];
    netlink_nested(nest, table, NFTA_VERDICT_MAX + 1);
    struct rule_target target = {.chain = arena_strdup(arena, netlink_text(table[NFTA_VERDICT_CHAIN]))};
    switch ((int)big(table[NFTA_VERDICT_CODE])) {
    case NF_ACCEPT:
        target.verdict = RULE_ACCEPT;
        break;
    case NF_DROP:
        target.verdict = RULE_DROP;
        break;
    case NFT_CONTINUE:
        target.verdict = RULE_CONTINUE;
        break;
    case NFT_JUMP:
        target.verdict = RULE_JUMP;
        break;
    case NFT_GOTO:
        target.verdict = RULE_GOTO;
        break;
    case NFT_RETURN:
        target.verdict = RULE_RETURN;
        break;
    default: /* NF_QUEUE, NF_STOLEN */
        target.verdict = RULE_QUEUE;
        break;
    }
    return target;
}

/* The bytes of an NFTA_DATA_VALUE nest; NULL when it holds none. */
static const uint8_t *value_read(struct rule_maker *maker, const struct nlattr *nest, size_t *length)
{
    const struct nlattr *table[NFTA_DATA_MAX + 1];
    netlink_nested(nest, table, NFTA_DATA_MAX + 1);
    const struct nlattr *value = table[NFTA_DATA_VALUE];
    *length = value ? mnl_attr_get_payload_len(value) : 0;
    return value ? rule_bytes(maker, mnl_attr_get_payload(value), *length) : NULL;
}

static void meta(struct rule_maker *maker, const struct nlattr *data)
{
    static const struct {
        uint32_t key;
        enum rule_source source;
        uint8_t length;
    } keys[] = {{NFT_META_PROTOCOL, SOURCE_ETHERTYPE, 2},     {NFT_META_MARK, SOURCE_MARK, 4},
                {NFT_META_IIF, SOURCE_IN_INDEX, 4},           {NFT_META_OIF, SOURCE_OUT_INDEX, 4},
                {NFT_META_IIFNAME, SOURCE_IN_NAME, 16},       {NFT_META_OIFNAME, SOURCE_OUT_NAME, 16},
                {NFT_META_NFPROTO, SOURCE_FAMILY, 1},         {NFT_META_L4PROTO, SOURCE_PROTOCOL, 1},
                {NFT_META_BRI_IIFNAME, SOURCE_IN_BRIDGE, 16}, {NFT_META_BRI_OIFNAME, SOURCE_OUT_BRIDGE, 16},
                {NFT_META_SKUID, SOURCE_NOTHING, 4},          {NFT_META_SKGID, SOURCE_NOTHING, 4}};
    const struct nlattr *table[NFTA_META_MAX + 1];
    netlink_nested(data, table, NFTA_META_MAX + 1);
    uint32_t key = big(table[NFTA_META_KEY]);
    if (!table[NFTA_META_DREG]) {
        if (key == NFT_META_MARK)
            rule_step_add(maker, STEP_MARK);
        return;
    }
    struct rule_step *step = rule_step_add(maker, STEP_LOAD);
    *step = (struct rule_step){.kind = STEP_LOAD, .source = SOURCE_UNKNOWN, .length = 16};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i].key == key)
            step->source = keys[i].source, step->length = keys[i].length;
    }
    step->to = rule_register(big(table[NFTA_META_DREG]));
    step->length = small(step->length, step->to);
}

static void connection(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_CT_MAX + 1];
    netlink_nested(data, table, NFTA_CT_MAX + 1);
    if (!table[NFTA_CT_DREG])
        return;
    struct rule_step *step = rule_step_add(maker, STEP_LOAD);
    uint32_t key = big(table[NFTA_CT_KEY]);
    step->source = key == NFT_CT_STATE    ? SOURCE_CT_STATE
                   : key == NFT_CT_STATUS ? SOURCE_CT_STATUS
                                          : SOURCE_UNKNOWN;
    step->length = 4;
    if (key == NFT_CT_DIRECTION)
        step->source = SOURCE_CT_DIRECTION, step->length = 1;
    step->to = rule_register(big(table[NFTA_CT_DREG]));
    step->length = small(step->source == SOURCE_UNKNOWN ? 16 : step->length, step->to);
}

static void payload(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_PAYLOAD_MAX + 1];
    netlink_nested(data, table, NFTA_PAYLOAD_MAX + 1);
    if (!table[NFTA_PAYLOAD_DREG]) /* it is written: marking the TOS byte, as a rule */
        return;
    struct rule_step *step = rule_step_add(maker, STEP_LOAD);
    uint32_t base = big(table[NFTA_PAYLOAD_BASE]), offset = big(table[NFTA_PAYLOAD_OFFSET]);
    step->source = base == NFT_PAYLOAD_LL_HEADER          ? SOURCE_LINK
                   : base == NFT_PAYLOAD_NETWORK_HEADER   ? SOURCE_NETWORK
                   : base == NFT_PAYLOAD_TRANSPORT_HEADER ? SOURCE_TRANSPORT
                                                          : SOURCE_UNKNOWN;
    step->offset = (uint16_t)(offset < 0x8000 ? offset : 0x8000);
    step->to = rule_register(big(table[NFTA_PAYLOAD_DREG]));
    step->length = small(big(table[NFTA_PAYLOAD_LEN]), step->to);
}

static void fib(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_FIB_MAX + 1];
    netlink_nested(data, table, NFTA_FIB_MAX + 1);
    uint32_t result = big(table[NFTA_FIB_RESULT]), flags = big(table[NFTA_FIB_FLAGS]);
    struct rule_step *step = rule_step_add(maker, STEP_LOAD);
    bool source = flags & NFTA_FIB_F_SADDR;
    step->source = SOURCE_UNKNOWN;
    step->length = 16;
    if (result == NFT_FIB_RESULT_ADDRTYPE)
        step->source = source ? SOURCE_SOURCE_TYPE : SOURCE_TARGET_TYPE, step->length = 4;
    else if (flags & NFTA_FIB_F_PRESENT)
        step->source = source ? SOURCE_REVERSE_THERE : SOURCE_UNKNOWN, step->length = 1;
    else if (result == NFT_FIB_RESULT_OIF && source)
        step->source = SOURCE_REVERSE_INDEX, step->length = 4;
    step->to = rule_register(big(table[NFTA_FIB_DREG]));
    step->length = small(step->length, step->to);
}

static void immediate(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_IMMEDIATE_MAX + 1], *inner[NFTA_DATA_MAX + 1];
    netlink_nested(data, table, NFTA_IMMEDIATE_MAX + 1);
    netlink_nested(table[NFTA_IMMEDIATE_DATA], inner, NFTA_DATA_MAX + 1);
    if (inner[NFTA_DATA_VERDICT]) {
        struct rule_target target = rule_verdict_read(maker->arena, inner[NFTA_DATA_VERDICT]);
        rule_end(maker, target.verdict, target.chain);
        return;
    }
    size_t length;
    struct rule_step *step = rule_step_add(maker, STEP_SET);
    step->data = value_read(maker, table[NFTA_IMMEDIATE_DATA], &length);
    step->to = rule_register(big(table[NFTA_IMMEDIATE_DREG]));
    step->length = small((uint32_t)length, step->to);
    if (!step->data || step->to == REGISTER_VERDICT)
        step->kind = STEP_FORGET, step->to = 0, step->length = 0;
}

static void bitwise(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_BITWISE_MAX + 1];
    netlink_nested(data, table, NFTA_BITWISE_MAX + 1);
    size_t mask = 0, other = 0;
    struct rule_step *step = rule_step_add(maker, STEP_MASK);
    step->data = value_read(maker, table[NFTA_BITWISE_MASK], &mask);
    step->data2 = value_read(maker, table[NFTA_BITWISE_XOR], &other);
    step->from = rule_register(big(table[NFTA_BITWISE_SREG]));
    step->to = rule_register(big(table[NFTA_BITWISE_DREG]));
    uint32_t length = big(table[NFTA_BITWISE_LEN]);
    step->length = small(small(length, step->from), step->to);
    /* A shift, or a mask from a register. */
    if (big(table[NFTA_BITWISE_OP]) != NFT_BITWISE_MASK_XOR || mask < length || other < length)
        step->kind = STEP_FORGET;
}

static void byteorder(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_BYTEORDER_MAX + 1];
    netlink_nested(data, table, NFTA_BYTEORDER_MAX + 1);
    struct rule_step *step = rule_step_add(maker, STEP_SWAP);
    step->from = rule_register(big(table[NFTA_BYTEORDER_SREG]));
    step->to = rule_register(big(table[NFTA_BYTEORDER_DREG]));
    step->size = (uint8_t)big(table[NFTA_BYTEORDER_SIZE]);
    uint8_t length = small(small(big(table[NFTA_BYTEORDER_LEN]), step->from), step->to);
    step->length = step->size ? (uint8_t)(length / step->size * step->size) : 0;
}

static void compare(struct rule_maker *maker, const struct nlattr *data)
{
    static const enum rule_compare compares[] = {COMPARE_EQUAL,   COMPARE_NOT_EQUAL, COMPARE_LESS,
                                                 COMPARE_AT_MOST, COMPARE_MORE,      COMPARE_AT_LEAST};
    const struct nlattr *table[NFTA_CMP_MAX + 1];
    netlink_nested(data, table, NFTA_CMP_MAX + 1);
    uint32_t how = big(table[NFTA_CMP_OP]);
    size_t length;
    const uint8_t *value = value_read(maker, table[NFTA_CMP_DATA], &length);
    if (!value || how > NFT_CMP_GTE) {
        rule_maybe(maker, "a comparison of an unknown kind");
        return;
    }
    struct rule_step *step = rule_step_add(maker, STEP_COMPARE);
    step->compare = compares[how];
    step->from = rule_register(big(table[NFTA_CMP_SREG]));
    step->data = value;
    step->length = small((uint32_t)length, step->from);
}

static void range(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_RANGE_MAX + 1];
    netlink_nested(data, table, NFTA_RANGE_MAX + 1);
    size_t first_length, last_length;
    const uint8_t *first = value_read(maker, table[NFTA_RANGE_FROM_DATA], &first_length);
    const uint8_t *last = value_read(maker, table[NFTA_RANGE_TO_DATA], &last_length);
    if (!first || !last || first_length != last_length) {
        rule_maybe(maker, "a range of an unknown kind");
        return;
    }
    struct rule_step *step = rule_step_add(maker, STEP_RANGE);
    step->from = rule_register(big(table[NFTA_RANGE_SREG]));
    step->data = first, step->data2 = last;
    step->length = small((uint32_t)first_length, step->from);
    step->negate = big(table[NFTA_RANGE_OP]) == NFT_RANGE_NEQ;
}

static void lookup(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_LOOKUP_MAX + 1];
    netlink_nested(data, table, NFTA_LOOKUP_MAX + 1);
    struct rule_step *step = rule_step_add(maker, STEP_LOOKUP);
    step->set_name = arena_strdup(maker->arena, netlink_text(table[NFTA_LOOKUP_SET]));
    step->set_id = big(table[NFTA_LOOKUP_SET_ID]);
    step->from = rule_register(big(table[NFTA_LOOKUP_SREG]));
    step->to = table[NFTA_LOOKUP_DREG] ? rule_register(big(table[NFTA_LOOKUP_DREG])) : 0;
    step->length = step->to == REGISTER_VERDICT ? 0 : small(16, step->to);
    step->negate = big(table[NFTA_LOOKUP_FLAGS]) & NFT_LOOKUP_F_INV;
    step->what = "what is in a set";
}

static void match(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_MATCH_MAX + 1];
    netlink_nested(data, table, NFTA_MATCH_MAX + 1);
    const struct nlattr *info = table[NFTA_MATCH_INFO];
    xt_match(maker, netlink_text(table[NFTA_MATCH_NAME]), big(table[NFTA_MATCH_REV]),
             info ? mnl_attr_get_payload(info) : NULL, info ? mnl_attr_get_payload_len(info) : 0);
}

static void target(struct rule_maker *maker, const struct nlattr *data)
{
    const struct nlattr *table[NFTA_TARGET_MAX + 1];
    netlink_nested(data, table, NFTA_TARGET_MAX + 1);
    const struct nlattr *info = table[NFTA_TARGET_INFO];
    xt_target(maker, netlink_text(table[NFTA_TARGET_NAME]), info ? mnl_attr_get_payload(info) : NULL,
              info ? mnl_attr_get_payload_len(info) : 0);
}

static void rejects(struct rule_maker *maker, const struct nlattr *data)
{
    (void)data;
    rule_end(maker, RULE_REJECT, NULL);
}

static void translates(struct rule_maker *maker, const struct nlattr *data)
{
    (void)data;
    rule_end(maker, RULE_ACCEPT, NULL);
}

static void leaves(struct rule_maker *maker, const struct nlattr *data)
{
    (void)data;
    rule_end(maker, RULE_QUEUE, NULL);
}

static void nothing(struct rule_maker *maker, const struct nlattr *data)
{
    (void)maker, (void)data;
}

void rule_expression(struct rule_maker *maker, const struct nlattr *element)
{
    static const struct {
        const char *name;
        void (*read)(struct rule_maker *maker, const struct nlattr *data);
    } known[] = {
        {"meta", meta},           {"ct", connection},   {"payload", payload},      {"fib", fib},
        {"immediate", immediate}, {"bitwise", bitwise}, {"byteorder", byteorder},  {"cmp", compare},
        {"range", range},         {"lookup", lookup},   {"match", match},          {"target", target},
        {"reject", rejects},      {"nat", translates},  {"masq", translates},      {"redir", translates},
        {"queue", leaves},        {"fwd", leaves},      {"synproxy", leaves},      {"counter", nothing},
        {"log", nothing},         {"dup", nothing},     {"notrack", nothing},      {"objref", nothing},
        {"last", nothing},        {"tproxy", nothing},  {"flow_offload", nothing}, {"dynset", nothing}};
    const struct nlattr *table[NFTA_EXPR_MAX + 1];
    netlink_nested(element, table, NFTA_EXPR_MAX + 1);
    const char *name = netlink_text(table[NFTA_EXPR_NAME]);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0) {
            known[i].read(maker, table[NFTA_EXPR_DATA]);
            return;
        }
    }
    /* limit, quota, connlimit, numgen, hash, rt, socket, osf, exthdr, …: it may match or not, and registers
     * that it may have set are not known. */
    struct rule_step *step = rule_step_add(maker, STEP_FORGET);
    step->length = REGISTERS_SIZE;
    rule_maybe(maker, arena_printf(maker->arena, "whether its '%s' holds", name));
}
