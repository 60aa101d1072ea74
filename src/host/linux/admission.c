/* admission.c: which other firewalls are here, and vmwire's rules in their chains: read through nfnetlink,
 * written through libnftables.  Source: <linux/netfilter/nf_tables.h>; iptables-nft(8) keeps its tables there
 * under iptables' names. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/linux/nft_read.h"

/* A chain of others in which vmwire's rules may be, or whose rules say something. */
struct place {
    const char *family, *table, *chain;
};

struct found {
    struct admission admission;
    uint64_t handle;
};

struct reader {
    struct arena *arena;
    struct foreign_firewalls *foreign;
    VEC(struct place) places;
    VEC(struct found) found;
    const struct place *place; /* being read */
    size_t rules;              /* in it */
    size_t found_before;       /* how many were found before it */
};

static const char *family_name(uint8_t family)
{
    return family == NFPROTO_IPV4   ? "ip"
           : family == NFPROTO_IPV6 ? "ip6"
           : family == NFPROTO_INET ? "inet"
                                    : NULL;
}

static uint8_t family_number(const char *name)
{
    return strcmp(name, "ip") == 0 ? NFPROTO_IPV4 : strcmp(name, "ip6") == 0 ? NFPROTO_IPV6 : NFPROTO_INET;
}

static void note_filter_chain(struct reader *reader, struct iptables_filter *filter, const char *family,
                              const char *chain, bool drops)
{
    static const char *const read[] = {
        "FORWARD",          "ufw-after-forward",  "ufw-after-input",  "ufw-reject-forward",
        "ufw-reject-input", "ufw6-after-forward", "ufw6-after-input", "ufw6-reject-forward",
        "ufw6-reject-input"};
    /* firewalld that speaks iptables: its chains are rebuilt with every change. */
    if (strcmp(chain, "FORWARD_ZONES") == 0)
        reader->foreign->firewalld = reader->foreign->firewalld_owned = true;
    filter->docker |= strcmp(chain, "DOCKER-USER") == 0;
    filter->ufw |= strcmp(chain, "ufw-after-forward") == 0 || strcmp(chain, "ufw6-after-forward") == 0;
    filter->forward_closed |= drops && strcmp(chain, "FORWARD") == 0;
    filter->input_closed |= drops && strcmp(chain, "INPUT") == 0;
    for (size_t i = 0; i < sizeof(read) / sizeof(*read); i++) {
        if (strcmp(chain, read[i]) == 0)
            *vec_push(reader->arena, &reader->places) = (struct place){family, "filter", read[i]};
    }
}

static void note_firewalld_chain(struct reader *reader, const char *chain)
{
    static const char *const read[] = {"filter_FORWARD", "filter_INPUT"};
    reader->foreign->firewalld = true;
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(chain, read[i]) == 0)
            *vec_push(reader->arena, &reader->places) = (struct place){"inet", "firewalld", read[i]};
    }
}

static int chain_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nfgenmsg *message = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[NFTA_CHAIN_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_CHAIN_MAX + 1);
    const char *family = family_name(message->nfgen_family);
    bool drops = table[NFTA_CHAIN_POLICY] && ntohl(netlink_u32(table[NFTA_CHAIN_POLICY])) == NF_DROP;
    bool inet = message->nfgen_family == NFPROTO_INET;
    if (inet && strcmp(netlink_text(table[NFTA_CHAIN_TABLE]), "firewalld") == 0) {
        note_firewalld_chain(reader, netlink_text(table[NFTA_CHAIN_NAME]));
    } else if (family && !inet && strcmp(netlink_text(table[NFTA_CHAIN_TABLE]), "filter") == 0) {
        int which = message->nfgen_family == NFPROTO_IPV6 ? FILTER_IPV6 : FILTER_IPV4;
        note_filter_chain(reader, &reader->foreign->filters[which], family,
                          netlink_text(table[NFTA_CHAIN_NAME]), drops);
    }
    return 0;
}

/* A table that went through iptables-save and -restore has its comments as a match of iptables'. */
static const char *match_comment(const struct nlattr *expressions, struct arena *arena)
{
    const struct nlattr *attribute, *expression[NFTA_EXPR_MAX + 1], *match[NFTA_MATCH_MAX + 1];
    if (!expressions)
        return "";
    mnl_attr_for_each_nested (attribute, expressions) {
        netlink_nested(attribute, expression, NFTA_EXPR_MAX + 1);
        if (strcmp(netlink_text(expression[NFTA_EXPR_NAME]), "match") != 0 || !expression[NFTA_EXPR_DATA])
            continue;
        netlink_nested(expression[NFTA_EXPR_DATA], match, NFTA_MATCH_MAX + 1);
        if (strcmp(netlink_text(match[NFTA_MATCH_NAME]), "comment") == 0 && match[NFTA_MATCH_INFO]) {
            const char *text = mnl_attr_get_payload(match[NFTA_MATCH_INFO]);
            return arena_strndup(arena, text,
                                 strnlen(text, mnl_attr_get_payload_len(match[NFTA_MATCH_INFO])));
        }
    }
    return "";
}

static int rule_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_RULE_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_RULE_MAX + 1);
    if (strcmp(netlink_text(table[NFTA_RULE_TABLE]), reader->place->table) != 0 ||
        strcmp(netlink_text(table[NFTA_RULE_CHAIN]), reader->place->chain) != 0)
        return 0;
    reader->rules++;
    struct found found = {.admission = {.family = reader->place->family,
                                        .table = reader->place->table,
                                        .chain = reader->place->chain}};
    const char *comment = nft_comment(table[NFTA_RULE_USERDATA], reader->arena);
    if (!*comment)
        comment = match_comment(table[NFTA_RULE_EXPRESSIONS], reader->arena);
    if (!admission_of_tag(reader->arena, comment, &found.admission))
        return 0;
    if (table[NFTA_RULE_HANDLE] && mnl_attr_get_payload_len(table[NFTA_RULE_HANDLE]) >= sizeof(uint64_t))
        found.handle = be64toh(mnl_attr_get_u64(table[NFTA_RULE_HANDLE]));
    *vec_push(reader->arena, &reader->found) = found;
    return 0;
}

static void chains_reset(void *data)
{
    struct reader *reader = data;
    reader->places.count = 0;
    memset(reader->foreign, 0, sizeof(*reader->foreign));
}

static void rules_reset(void *data)
{
    struct reader *reader = data;
    reader->rules = 0;
    reader->found.count = reader->found_before;
}

static int chains_read(struct linux_host *host, struct reader *reader, struct err *err)
{
    struct netlink_message message;
    struct nfgenmsg *header =
        netlink_start(&message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN), 0, sizeof(*header));
    header->nfgen_family = NFPROTO_UNSPEC;
    return netlink_dump(&host->netfilter, &message, chain_each, chains_reset, reader, err);
}

static int table_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_TABLE_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_TABLE_MAX + 1);
    if (table[NFTA_TABLE_FLAGS])
        reader->foreign->firewalld_owned |= ntohl(netlink_u32(table[NFTA_TABLE_FLAGS])) & NFT_TABLE_F_OWNER;
    return 0;
}

/* Newer ones keep their table to themselves (NftablesTableOwner in firewalld.conf(5)). */
static int firewalld_read(struct linux_host *host, struct reader *reader, struct err *err)
{
    struct netlink_message message;
    struct nfgenmsg *header = netlink_start(
        &message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE), NLM_F_ACK, sizeof(*header));
    header->nfgen_family = NFPROTO_INET;
    netlink_put_string(&message, NFTA_TABLE_NAME, "firewalld");
    int rc = netlink_call(&host->netfilter, &message, table_each, reader, err);
    return rc == -ENOENT ? 0 : rc;
}

static int rules_read(struct linux_host *host, struct reader *reader, const struct place *place,
                      struct err *err)
{
    struct netlink_message message;
    struct nfgenmsg *header =
        netlink_start(&message, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE), 0, sizeof(*header));
    header->nfgen_family = family_number(place->family);
    netlink_put_string(&message, NFTA_RULE_TABLE, place->table);
    netlink_put_string(&message, NFTA_RULE_CHAIN, place->chain);
    reader->place = place;
    reader->rules = 0;
    reader->found_before = reader->found.count;
    int rc = netlink_dump(&host->netfilter, &message, rule_each, rules_reset, reader, err);
    return rc == -ENOENT ? 0 : rc; /* gone since */
}

/* ufw's `reject` is a rule of its own chain, and the policy stays as it is. */
static void note_rejects(struct reader *reader, const struct place *place)
{
    const char *chain = strcmp(place->table, "filter") == 0 ? strchr(place->chain, '-') : NULL;
    int which = strcmp(place->family, "ip6") == 0 ? FILTER_IPV6 : FILTER_IPV4;
    if (reader->rules == 0 || !chain)
        return;
    reader->foreign->filters[which].forward_closed |= strcmp(chain, "-reject-forward") == 0;
    reader->foreign->filters[which].input_closed |= strcmp(chain, "-reject-input") == 0;
}

static int read_all(struct linux_host *host, struct reader *reader, struct err *err)
{
    int rc = chains_read(host, reader, err);
    if (rc == 0 && reader->foreign->firewalld)
        rc = firewalld_read(host, reader, err);
    for (size_t i = 0; rc == 0 && i < reader->places.count; i++) {
        rc = rules_read(host, reader, &reader->places.items[i], err);
        note_rejects(reader, &reader->places.items[i]);
    }
    return rc;
}

int admissions_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       struct err *err)
{
    struct reader reader = {.arena = arena, .foreign = &observed->foreign};
    struct err ignored;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    /* As in nft_observe: a caller without the right to read, a kernel without the thing to be read. */
    if (nft_unreadable(rc))
        return 0;
    if (rc < 0)
        return err_wrap(err, "reading other firewalls' chains");
    vec_foreach (&reader.found, found)
        *vec_push(arena, &observed->admissions) = found->admission;
    if (observed->foreign.firewalld)
        firewalld_observe(arena, observed);
    return bridged_observe(arena, observed->foreign.bridged, err);
}

static int admission_remove(struct linux_host *host, struct arena *arena, const struct op *op,
                            const struct reader *reader, unsigned flags, struct err *err)
{
    struct text out = {.arena = arena};
    vec_foreach (&reader->found, found) {
        if (admission_equal(&found->admission, &op->admission))
            text_add(
                &out, "%s\n",
                admission_remove_text(arena, &op->admission, arena_printf(arena, "%" PRIu64, found->handle)));
    }
    if (out.length)
        return nft_run(host, text_get(&out), err);
    return flags & HOST_APPLY_TOLERANT ? 0 : err_set(err, ENOENT, "it is not there any longer");
}

int admission_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct foreign_firewalls foreign = {0};
    struct reader reader = {.arena = &arena, .foreign = &foreign};
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, err);
    if (rc == 0)
        rc = read_all(host, &reader, err);
    if (rc < 0)
        return rc;
    if (op->kind == OP_ADMISSION_REMOVE)
        return admission_remove(host, &arena, op, &reader, flags, err);
    bool chain = false;
    vec_foreach (&reader.found, found) {
        if (admission_equal(&found->admission, &op->admission))
            return 0;
    }
    vec_foreach (&reader.places, place)
        chain |= strcmp(place->family, op->admission.family) == 0 &&
                 strcmp(place->chain, op->admission.chain) == 0;
    /* Undoing on a host whose other firewall went meanwhile: nothing there drops anything. */
    if (!chain && (flags & HOST_APPLY_TOLERANT))
        return 0;
    return nft_run(host, admission_add_text(&arena, &op->admission), err);
}
