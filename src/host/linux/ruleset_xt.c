/* ruleset_xt.c: iptables' matches and targets as steps of model/ruleset.h: those that Docker, ufw, firewalld
 * and administrators use; of any other it is not known whether it matches. Sources: <linux/netfilter/xt_*.h>,
 * iptables-extensions(8). */
#include <arpa/inet.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_mac.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_physdev.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6t_hl.h>
#include <string.h>

#include "host/linux/ruleset.h"

/* A set that stands in the rule itself. */
static struct rule_set *set_add(struct rule_maker *maker, uint8_t length, bool negate)
{
    struct rule_set *set = arena_new(maker->arena, struct rule_set);
    struct rule_step *step = rule_step_add(maker, STEP_LOOKUP);
    set->length = length;
    set->interval = true;
    step->set = set;
    step->length = length;
    step->negate = negate;
    return set;
}

static void set_put(struct rule_maker *maker, struct rule_set *set, const void *first, const void *last)
{
    struct set_element *element = vec_push(maker->arena, &set->elements);
    element->first = rule_bytes(maker, first, set->length);
    element->last = rule_bytes(maker, last, set->length);
}

static void ports_put(struct rule_maker *maker, struct rule_set *set, uint16_t first, uint16_t last)
{
    first = htons(first), last = htons(last);
    set_put(maker, set, &first, &last);
}

/* A range of ports, each in the machine's own order. */
static void ports(struct rule_maker *maker, uint16_t offset, const uint16_t range[2], bool negate)
{
    uint16_t first = htons(range[0]), last = htons(range[1]);
    if (range[0] == 0 && range[1] == 0xffff && !negate)
        return;
    rule_load(maker, SOURCE_TRANSPORT, offset, 2);
    rule_range(maker, &first, &last, 2, negate);
}

static bool tcp(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_tcp info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    ports(maker, 0, info.spts, info.invflags & XT_TCP_INV_SRCPT);
    ports(maker, 2, info.dpts, info.invflags & XT_TCP_INV_DSTPT);
    if (info.flg_mask) {
        rule_load(maker, SOURCE_TRANSPORT, 13, 1);
        rule_compare(maker, &info.flg_cmp, &info.flg_mask, 1, info.invflags & XT_TCP_INV_FLAGS);
    }
    if (info.option)
        rule_maybe(maker, "whether a TCP option is there");
    return true;
}

static bool udp(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_udp info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    ports(maker, 0, info.spts, info.invflags & XT_UDP_INV_SRCPT);
    ports(maker, 2, info.dpts, info.invflags & XT_UDP_INV_DSTPT);
    return true;
}

/* ICMP and ICMPv6 have the same struct. */
static bool icmp(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct ipt_icmp info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    if (info.type == 0xff && !(info.invflags & IPT_ICMP_INV)) /* any */
        return true;
    uint8_t first[] = {info.type, info.code[0]}, last[] = {info.type, info.code[1]};
    rule_load(maker, SOURCE_TRANSPORT, 0, 2);
    rule_range(maker, first, last, 2, info.invflags & IPT_ICMP_INV);
    return true;
}

static bool multiport(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_multiport_v1 info;
    memcpy(&info, bytes, sizeof(info));
    if (revision != 1 || info.flags == XT_MULTIPORT_EITHER || info.count > XT_MULTI_PORTS)
        return false;
    rule_load(maker, SOURCE_TRANSPORT, info.flags == XT_MULTIPORT_SOURCE ? 0 : 2, 2);
    struct rule_set *set = set_add(maker, 2, info.invert);
    for (unsigned i = 0; i < info.count; i++) {
        bool range = info.pflags[i] && i + 1u < info.count;
        ports_put(maker, set, info.ports[i], info.ports[range ? i + 1 : i]);
        i += range;
    }
    return true;
}

/* The struct's state bits are connection tracking's own, but for two of the translations. */
static bool conntrack(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_conntrack_mtinfo3 info;
    memcpy(&info, bytes, sizeof(info));
    uint32_t zero = 0, mask;
    unsigned asked =
        info.match_flags & ~(unsigned)(XT_CONNTRACK_STATE | XT_CONNTRACK_STATUS | XT_CONNTRACK_STATE_ALIAS);
    if (revision < 2 || asked)
        return false;
    if (info.match_flags & XT_CONNTRACK_STATE) {
        bool negate = info.invert_flags & XT_CONNTRACK_STATE;
        bool translated = info.state_mask & (XT_CONNTRACK_STATE_DNAT | XT_CONNTRACK_STATE_SNAT);
        mask = info.state_mask & 0x0f;
        if (info.state_mask & XT_CONNTRACK_STATE_UNTRACKED)
            mask |= 64;
        if (translated && (mask || (info.state_mask & XT_CONNTRACK_STATE_SNAT)))
            return false;
        if (translated)
            mask = 1 << 5; /* IPS_DST_NAT */
        rule_load(maker, translated ? SOURCE_CT_STATUS : SOURCE_CT_STATE, 0, 4);
        rule_compare(maker, &zero, &mask, 4, !negate);
    }
    if (info.match_flags & XT_CONNTRACK_STATUS) {
        mask = info.status_mask;
        rule_load(maker, SOURCE_CT_STATUS, 0, 4);
        rule_compare(maker, &zero, &mask, 4, !(info.invert_flags & XT_CONNTRACK_STATUS));
    }
    return true;
}

/* `-m state`: a mask of bits that are conntrack's. */
static bool state(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    uint32_t mask, zero = 0;
    (void)revision;
    memcpy(&mask, bytes, sizeof(mask));
    rule_load(maker, SOURCE_CT_STATE, 0, 4);
    rule_compare(maker, &zero, &mask, 4, true);
    return true;
}

static void address_type(struct rule_maker *maker, enum rule_source source, uint16_t types, bool negate)
{
    if (!types)
        return;
    rule_load(maker, source, 0, 4);
    struct rule_set *set = set_add(maker, 4, negate);
    for (uint32_t type = 0; type < 16; type++) {
        if (types & 1u << type)
            set_put(maker, set, &type, &type);
    }
}

static bool addrtype(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_addrtype_info_v1 info;
    memcpy(&info, bytes, sizeof(info));
    if (revision != 1)
        return false;
    address_type(maker, SOURCE_SOURCE_TYPE, info.source, info.flags & XT_ADDRTYPE_INVERT_SOURCE);
    address_type(maker, SOURCE_TARGET_TYPE, info.dest, info.flags & XT_ADDRTYPE_INVERT_DEST);
    return true;
}

static bool mark(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_mark_mtinfo1 info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    rule_load(maker, SOURCE_MARK, 0, 4);
    rule_compare(maker, &info.mark, &info.mask, 4, info.invert);
    return true;
}

static bool mac(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_mac_info info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    rule_load(maker, SOURCE_LINK, 6, 6);
    rule_compare(maker, info.srcaddr, NULL, 6, info.invert);
    return true;
}

void xt_interface(struct rule_maker *maker, enum rule_source source, const char *name, const uint8_t *mask,
                  bool negate)
{
    uint8_t value[IFNAMSIZ], any = 0;
    for (size_t i = 0; i < IFNAMSIZ; i++) {
        value[i] = (uint8_t)name[i] & mask[i];
        any |= mask[i];
    }
    if (!any)
        return;
    rule_load(maker, source, 0, IFNAMSIZ);
    rule_compare(maker, value, mask, IFNAMSIZ, negate);
}

static bool physdev(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct xt_physdev_info info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    if (info.bitmask & ~(XT_PHYSDEV_OP_IN | XT_PHYSDEV_OP_OUT))
        return false;
    if (info.bitmask & XT_PHYSDEV_OP_IN)
        xt_interface(maker, SOURCE_IN_PORT, info.physindev, (const uint8_t *)info.in_mask,
                     info.invert & XT_PHYSDEV_OP_IN);
    if (info.bitmask & XT_PHYSDEV_OP_OUT)
        xt_interface(maker, SOURCE_OUT_PORT, info.physoutdev, (const uint8_t *)info.out_mask,
                     info.invert & XT_PHYSDEV_OP_OUT);
    return true;
}

static bool hop_limit(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    struct ip6t_hl_info info;
    (void)revision;
    memcpy(&info, bytes, sizeof(info));
    if (info.mode != IP6T_HL_EQ && info.mode != IP6T_HL_NE)
        return false;
    rule_load(maker, SOURCE_NETWORK, 7, 1);
    rule_compare(maker, &info.hop_limit, NULL, 1, info.mode == IP6T_HL_NE);
    return true;
}

/* A header of IPv6's that the packets which are asked about do not have. */
static bool extension(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    (void)revision, (void)bytes;
    set_add(maker, 1, false);
    return true;
}

static bool comment(struct rule_maker *maker, uint32_t revision, const void *bytes)
{
    (void)revision;
    if (!*maker->rule->comment)
        maker->rule->comment = arena_strndup(maker->arena, bytes, strnlen(bytes, 256));
    return true;
}

void xt_match(struct rule_maker *maker, const char *name, uint32_t revision, const void *info, size_t length)
{
    static const struct {
        const char *name;
        size_t size;
        bool (*read)(struct rule_maker *maker, uint32_t revision, const void *info);
    } known[] = {{"tcp", sizeof(struct xt_tcp), tcp},
                 {"udp", sizeof(struct xt_udp), udp},
                 {"icmp", sizeof(struct ipt_icmp), icmp},
                 {"icmp6", sizeof(struct ipt_icmp), icmp},
                 {"multiport", sizeof(struct xt_multiport_v1), multiport},
                 {"conntrack", sizeof(struct xt_conntrack_mtinfo3), conntrack},
                 {"state", sizeof(uint32_t), state},
                 {"addrtype", sizeof(struct xt_addrtype_info_v1), addrtype},
                 {"mark", sizeof(struct xt_mark_mtinfo1), mark},
                 {"mac", sizeof(struct xt_mac_info), mac},
                 {"physdev", sizeof(struct xt_physdev_info), physdev},
                 {"hl", sizeof(struct ip6t_hl_info), hop_limit},
                 {"rt", 1, extension},
                 {"frag", 1, extension},
                 {"hbh", 1, extension},
                 {"dst", 1, extension},
                 {"comment", 1, comment}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0 && length >= known[i].size &&
            known[i].read(maker, revision, info))
            return;
    }
    rule_maybe(maker, arena_printf(maker->arena, "whether its '%s' holds", name));
}

void xt_target(struct rule_maker *maker, const char *name, const void *info, size_t length)
{
    static const char *const translating[] = {"MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", NULL};
    static const char *const leaving[] = {"NFQUEUE", "QUEUE", "SYNPROXY", "TPROXY", NULL};
    (void)info, (void)length;
    for (size_t i = 0; translating[i]; i++) {
        if (strcmp(translating[i], name) == 0)
            rule_end(maker, RULE_ACCEPT, NULL);
    }
    for (size_t i = 0; leaving[i]; i++) {
        if (strcmp(leaving[i], name) == 0)
            rule_end(maker, RULE_QUEUE, NULL);
    }
    if (strcmp(name, "REJECT") == 0)
        rule_end(maker, RULE_REJECT, NULL);
    else if (strcmp(name, "MARK") == 0 || strcmp(name, "CONNMARK") == 0)
        rule_step_add(maker, STEP_MARK);
    /* Others (LOG, TCPMSS, CT, …) let the packet go on. */
}
