/* nft_lock.c: reads and writes the table of locks (nft_lock_text.c). */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/text.h"
#include "host/linux/linux.h"

#define LOCK_TABLE "vmwire_lock"

struct reader {
    struct arena *arena;
    struct observed *observed;
    size_t rules; /* known ones in their order */
    bool strange, ra;
};

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
    const char *wanted = nft_lock_rules[reader->rules * 2];
    if (!wanted || strcmp(nft_comment(table[NFTA_RULE_USERDATA], reader->arena), wanted) != 0)
        reader->strange = true;
    else
        reader->rules++;
    return 0;
}

static int elements_each(const struct nlmsghdr *header, void *data)
{
    struct reader *reader = data;
    const struct nlattr *table[NFTA_SET_ELEM_LIST_MAX + 1], *one[NFTA_SET_ELEM_MAX + 1],
        *key[NFTA_DATA_MAX + 1], *attribute;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_SET_ELEM_LIST_MAX + 1);
    if (!table[NFTA_SET_ELEM_LIST_ELEMENTS])
        return 0;
    mnl_attr_for_each_nested (attribute, table[NFTA_SET_ELEM_LIST_ELEMENTS]) {
        netlink_nested(attribute, one, NFTA_SET_ELEM_MAX + 1);
        netlink_nested(one[NFTA_SET_ELEM_KEY], key, NFTA_DATA_MAX + 1);
        const char *network = nft_comment(one[NFTA_SET_ELEM_USERDATA], reader->arena);
        if (name_fault(reader->arena, network) || netlink_u32(key[NFTA_DATA_VALUE]) != owner_group(network)) {
            reader->strange = true;
            continue;
        }
        struct lock *lock = lock_of(reader, network);
        *(reader->ra ? &lock->ra : &lock->dhcp) = true;
    }
    return 0;
}

static void reset(void *data)
{
    struct reader *reader = data;
    reader->rules = 0;
    reader->strange = false;
}

static void keep(void *data)
{
    (void)data;
}

static int dump(struct linux_host *host, struct reader *reader, uint16_t type, uint16_t attribute,
                const char *set, struct err *err)
{
    const struct nft_dump asked = {NFPROTO_BRIDGE, type, attribute, LOCK_TABLE, set};
    return nft_dump(host, &asked, set ? elements_each : rule_each, set ? keep : reset, reader, err);
}

int nft_lock_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct reader reader = {.arena = arena, .observed = observed};
    struct err ignored;
    size_t wanted = 0;
    observed->locks.count = 0;
    observed->lock_base = true;
    while (nft_lock_rules[wanted * 2])
        wanted++;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored);
    if (rc == 0)
        rc = dump(host, &reader, NFT_MSG_GETRULE, NFTA_RULE_TABLE, NULL, err);
    if (rc == 0)
        rc = dump(host, &reader, NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_TABLE, "no_dhcp", err);
    reader.ra = true;
    if (rc == 0)
        rc = dump(host, &reader, NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_TABLE, "no_ra", err);
    /* No table; or a caller who may not look; or a kernel that has none. */
    if (rc == -ENOENT || rc == -EPERM || rc == -EPROTONOSUPPORT || rc == -EINVAL || rc == -EOPNOTSUPP)
        return 0;
    if (rc < 0)
        return err_wrap(err, "reading the rules of locks");
    observed->lock_base = reader.rules == wanted && !reader.strange;
    return 0;
}

int nft_lock_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct observed observed = {0};
    VEC(struct lock) all = {0};
    int rc = nft_lock_observe(host, &arena, &observed, err);
    if (rc < 0)
        return rc;
    bool there = false;
    vec_foreach (&observed.locks, lock) {
        bool same = strcmp(lock->network, op->network) == 0;
        there |= same;
        if (!same)
            *vec_push(&arena, &all) = *lock;
    }
    if (op->kind == OP_LOCK_REMOVE && !there)
        return flags & HOST_APPLY_TOLERANT
                   ? 0
                   : err_set(err, ENOENT, "there are no such rules of network '%s'", op->network);
    if (op->kind == OP_LOCK_SET)
        *vec_push(&arena, &all) = op->lock;
    rc = nft_run(host, nft_lock_text(&arena, all.items, all.count), err);
    return rc == -EOPNOTSUPP
               ? err_set(err, EOPNOTSUPP,
                         "this kernel's nf_tables has no bridge family (CONFIG_NF_TABLES_BRIDGE)")
               : rc;
}
