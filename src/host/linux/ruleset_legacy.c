/* ruleset_legacy.c: reads the tables of iptables-legacy, IPv4's and IPv6's, as chains of model/ruleset.h.
 *
 * A table is one blob of entries.  A built-in chain starts at hook_entry and ends with its policy, at
 * underflow; a chain of the administrator's starts behind an entry with the target ERROR, which holds its
 * name.  A jump's verdict is the offset of its chain's first rule.  Only tables that /proc lists are asked
 * for: asking for another would load its module.  Sources: <linux/netfilter_ipv4/ip_tables.h>,
 * <linux/netfilter_ipv6/ip6_tables.h>. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "host/linux/ruleset.h"

enum { TABLE_SIZE_MAX = 64 << 20 };

/* What IPv4's and IPv6's entries have in common. */
struct legacy_entry {
    const uint8_t *source, *source_mask, *target, *target_mask;
    const char *in, *out;
    const uint8_t *in_mask, *out_mask;
    uint8_t protocol, invert;
    bool any_protocol, go_to, strange;
    size_t size, target_offset, next;
};

struct legacy_table {
    struct arena *arena;
    struct ruleset *ruleset;
    bool six;
    const char *name;
    const uint8_t *bytes;
    size_t size;
    unsigned hooks, entry[NF_INET_NUMHOOKS], underflow[NF_INET_NUMHOOKS];
};

static bool entry_at(const struct legacy_table *table, size_t at, struct legacy_entry *entry)
{
    size_t head = table->six ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry);
    if (at + head > table->size)
        return false;
    if (table->six) {
        const struct ip6t_entry *raw = (const void *)(table->bytes + at);
        const struct ip6t_ip6 *ip = &raw->ipv6;
        *entry = (struct legacy_entry){.source = ip->src.s6_addr,
                                       .source_mask = ip->smsk.s6_addr,
                                       .target = ip->dst.s6_addr,
                                       .target_mask = ip->dmsk.s6_addr,
                                       .in = ip->iniface,
                                       .out = ip->outiface,
                                       .in_mask = ip->iniface_mask,
                                       .out_mask = ip->outiface_mask,
                                       .protocol = (uint8_t)ip->proto,
                                       .invert = ip->invflags,
                                       .any_protocol = !(ip->flags & IP6T_F_PROTO),
                                       .go_to = ip->flags & IP6T_F_GOTO,
                                       .strange = ip->flags & IP6T_F_TOS,
                                       .size = head,
                                       .target_offset = raw->target_offset,
                                       .next = at + raw->next_offset};
    } else {
        const struct ipt_entry *raw = (const void *)(table->bytes + at);
        const struct ipt_ip *ip = &raw->ip;
        *entry = (struct legacy_entry){.source = (const uint8_t *)&ip->src,
                                       .source_mask = (const uint8_t *)&ip->smsk,
                                       .target = (const uint8_t *)&ip->dst,
                                       .target_mask = (const uint8_t *)&ip->dmsk,
                                       .in = ip->iniface,
                                       .out = ip->outiface,
                                       .in_mask = ip->iniface_mask,
                                       .out_mask = ip->outiface_mask,
                                       .protocol = (uint8_t)ip->proto,
                                       .invert = ip->invflags,
                                       .any_protocol = ip->proto == 0,
                                       .go_to = ip->flags & IPT_F_GOTO,
                                       .strange = ip->flags & IPT_F_FRAG,
                                       .size = head,
                                       .target_offset = raw->target_offset,
                                       .next = at + raw->next_offset};
    }
    return entry->next > at && entry->next <= table->size &&
           at + entry->target_offset + sizeof(struct xt_entry_target) <= entry->next &&
           entry->target_offset >= head;
}

static const struct xt_entry_target *target_at(const struct legacy_table *table, size_t at,
                                               const struct legacy_entry *entry)
{
    return (const void *)(table->bytes + at + entry->target_offset);
}

static bool target_is(const struct xt_entry_target *target, const char *name)
{
    return strncmp(target->u.user.name, name, sizeof(target->u.user.name)) == 0;
}

/* The name of the chain whose first rule is at `offset`; NULL when none starts there. */
static const char *chain_at(const struct legacy_table *table, size_t offset)
{
    static const char *const builtin[] = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
    struct legacy_entry entry;
    for (unsigned i = 0; i < NF_INET_NUMHOOKS; i++) {
        if (table->hooks & 1u << i && table->entry[i] == offset)
            return builtin[i];
    }
    for (size_t at = 0; entry_at(table, at, &entry); at = entry.next) {
        const struct xt_entry_target *target = target_at(table, at, &entry);
        if (entry.next == offset && target_is(target, XT_ERROR_TARGET))
            return arena_strndup(table->arena, (const char *)target->data,
                                 strnlen((const char *)target->data, 31));
    }
    return NULL;
}

static bool any_set(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i])
            return true;
    }
    return false;
}

static void head_tests(struct rule_maker *maker, const struct legacy_table *table,
                       const struct legacy_entry *entry)
{
    uint8_t size = table->six ? 16 : 4;
    if (any_set(entry->source_mask, size)) {
        rule_load(maker, SOURCE_NETWORK, table->six ? 8 : 12, size);
        rule_compare(maker, entry->source, entry->source_mask, size, entry->invert & IPT_INV_SRCIP);
    }
    if (any_set(entry->target_mask, size)) {
        rule_load(maker, SOURCE_NETWORK, table->six ? 24 : 16, size);
        rule_compare(maker, entry->target, entry->target_mask, size, entry->invert & IPT_INV_DSTIP);
    }
    xt_interface(maker, SOURCE_IN_NAME, entry->in, entry->in_mask, entry->invert & IPT_INV_VIA_IN);
    xt_interface(maker, SOURCE_OUT_NAME, entry->out, entry->out_mask, entry->invert & IPT_INV_VIA_OUT);
    if (!entry->any_protocol) {
        rule_load(maker, SOURCE_PROTOCOL, 0, 1);
        rule_compare(maker, &entry->protocol, NULL, 1, entry->invert & XT_INV_PROTO);
    }
    if (entry->strange)
        rule_maybe(maker, "whether it is a fragment");
}

static void target_read(struct rule_maker *maker, const struct legacy_table *table,
                        const struct legacy_entry *entry, const struct xt_entry_target *target)
{
    int verdict;
    size_t size = target->u.target_size;
    if (!target_is(target, XT_STANDARD_TARGET)) {
        const char *name = arena_strndup(maker->arena, target->u.user.name,
                                         strnlen(target->u.user.name, sizeof(target->u.user.name)));
        xt_target(maker, name, target->data, size > sizeof(*target) ? size - sizeof(*target) : 0);
        return;
    }
    memcpy(&verdict, target->data, sizeof(verdict));
    if (verdict == -NF_ACCEPT - 1)
        rule_end(maker, RULE_ACCEPT, NULL);
    else if (verdict == -NF_DROP - 1)
        rule_end(maker, RULE_DROP, NULL);
    else if (verdict == XT_RETURN)
        rule_end(maker, RULE_RETURN, NULL);
    else if (verdict < 0)
        rule_end(maker, RULE_QUEUE, NULL);
    else if ((size_t)verdict != entry->next) /* else a rule without a target */
        rule_end(maker, entry->go_to ? RULE_GOTO : RULE_JUMP, chain_at(table, (size_t)verdict));
}

static void legacy_rule(const struct legacy_table *table, struct rule_chain *chain, size_t at,
                        const struct legacy_entry *entry)
{
    struct rule *rule = vec_push(table->arena, &chain->rules);
    *rule = (struct rule){.handle = chain->rules.count, .comment = ""};
    struct rule_maker maker = {.arena = table->arena, .ruleset = table->ruleset, .rule = rule};
    head_tests(&maker, table, entry);
    const struct xt_entry_match *match;
    for (size_t i = at + entry->size; i + sizeof(*match) <= at + entry->target_offset;
         i += match->u.match_size) {
        match = (const void *)(table->bytes + i);
        if (match->u.match_size < sizeof(*match) || i + match->u.match_size > at + entry->target_offset)
            break;
        const char *name = arena_strndup(table->arena, match->u.user.name,
                                         strnlen(match->u.user.name, sizeof(match->u.user.name)));
        xt_match(&maker, name, match->u.user.revision, match->data, match->u.match_size - sizeof(*match));
    }
    target_read(&maker, table, entry, target_at(table, at, entry));
}

static struct rule_chain *legacy_chain(const struct legacy_table *table, const char *name)
{
    struct rule_chain *chain = vec_push(table->arena, &table->ruleset->chains);
    *chain = (struct rule_chain){
        .family = table->six ? "ip6" : "ip", .table = table->name, .name = name, .legacy = true};
    chain->nat = strcmp(table->name, "nat") == 0;
    return chain;
}

static int priority_of(const char *table, unsigned hook)
{
    if (strcmp(table, "raw") == 0)
        return -300;
    if (strcmp(table, "mangle") == 0)
        return -150;
    if (strcmp(table, "nat") == 0)
        return hook == NF_INET_POST_ROUTING || hook == NF_INET_LOCAL_IN ? 100 : -100;
    return strcmp(table, "security") == 0 ? 50 : 0;
}

static void table_read(const struct legacy_table *table)
{
    static const enum chain_hook hooks[] = {HOOK_PREROUTING, HOOK_INPUT, HOOK_FORWARD, HOOK_OUTPUT,
                                            HOOK_POSTROUTING};
    struct rule_chain *chain = NULL;
    struct legacy_entry entry;
    size_t policy_at = SIZE_MAX;
    for (size_t at = 0; entry_at(table, at, &entry); at = entry.next) {
        const struct xt_entry_target *target = target_at(table, at, &entry);
        for (unsigned i = 0; i < NF_INET_NUMHOOKS; i++) {
            if (!(table->hooks & 1u << i) || table->entry[i] != at)
                continue;
            chain = legacy_chain(table, chain_at(table, at));
            chain->hook = hooks[i];
            chain->priority = priority_of(table->name, i);
            policy_at = table->underflow[i];
        }
        if (target_is(target, XT_ERROR_TARGET)) {
            chain = entry.next < table->size ? legacy_chain(table, chain_at(table, entry.next)) : NULL;
            policy_at = SIZE_MAX;
        } else if (chain && at == policy_at) {
            int verdict;
            memcpy(&verdict, target->data, sizeof(verdict));
            chain->policy_drop = verdict == -NF_DROP - 1;
        } else if (chain) {
            legacy_rule(table, chain, at, &entry);
        }
    }
}

static int table_get(struct arena *arena, struct ruleset *ruleset, bool six, const char *name)
{
    _cleanup_fd_ int fd = socket(six ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    int level = six ? IPPROTO_IPV6 : IPPROTO_IP;
    struct ipt_getinfo info = {0}; /* IPv6's is the same */
    socklen_t length = sizeof(info);
    strncpy(info.name, name, sizeof(info.name) - 1);
    if (fd < 0 || getsockopt(fd, level, IPT_SO_GET_INFO, &info, &length) < 0)
        return -errno;
    if (info.size > TABLE_SIZE_MAX)
        return -EFBIG;
    struct ipt_get_entries *blob = arena_alloc(arena, sizeof(*blob) + info.size);
    strncpy(blob->name, name, sizeof(blob->name) - 1);
    blob->size = info.size;
    length = (socklen_t)(sizeof(*blob) + info.size);
    if (getsockopt(fd, level, IPT_SO_GET_ENTRIES, blob, &length) < 0)
        return -errno;
    struct legacy_table table = {.arena = arena,
                                 .ruleset = ruleset,
                                 .six = six,
                                 .name = name,
                                 .bytes = (const uint8_t *)blob->entrytable,
                                 .size = info.size,
                                 .hooks = info.valid_hooks};
    memcpy(table.entry, info.hook_entry, sizeof(table.entry));
    memcpy(table.underflow, info.underflow, sizeof(table.underflow));
    table_read(&table);
    return 0;
}

void legacy_observe(struct arena *arena, struct ruleset *ruleset)
{
    static const char *const lists[] = {"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"};
    for (size_t i = 0; i < 2; i++) {
        char *text, *rest;
        if (file_read(arena, AT_FDCWD, lists[i], 4096, &text, NULL, NULL) < 0)
            continue;
        for (char *name = strtok_r(text, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
            if (table_get(arena, ruleset, i == 1, name) < 0)
                ruleset->legacy = true;
        }
    }
}
