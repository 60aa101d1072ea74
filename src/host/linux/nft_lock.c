/* nft_lock.c: writes the table of locks (nft_lock_text.c), one transaction an operation, of which one costs
 * what the first did. */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <string.h>

#include "base/text.h"
#include "host/linux/nft_read.h"

#define TABLE "bridge vmwire_lock"

/* What nft says of a kernel that lacks something is of no use to those who read it. */
static int lacking(int rc, struct err *err)
{
    return rc == -EOPNOTSUPP ? err_set(err, rc,
                                       "this kernel's nf_tables has no bridge family, or one without sets "
                                       "that packets write to "
                                       "(CONFIG_NF_TABLES_BRIDGE, Linux 5.4 or later)")
                             : rc;
}

static const struct lock *known(const struct observed *observed, const char *network)
{
    vec_foreach (&observed->locks, lock) {
        if (strcmp(lock->network, network) == 0)
            return lock;
    }
    return NULL;
}

static int lock_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct observed *observed;
    struct text out = {.arena = &arena};
    int rc = nft_seen_get(host, &observed, err);
    if (rc < 0)
        return rc;
    const struct lock *now = known(observed, op->network);
    if (op->kind == OP_LOCK_REMOVE && !now)
        return flags & HOST_APPLY_TOLERANT
                   ? 0
                   : err_set(err, ENOENT, "there are no such rules of network '%s'", op->network);
    if (op->kind == OP_LOCK_REMOVE && observed->locks.count == 1) {
        nft_seen_forget(host);
        return nft_run(host, "delete table " TABLE "\n", err);
    }
    if (op->kind == OP_LOCK_SET && (!observed->lock_base || !observed->locks.count))
        text_add(&out, "%s", nft_lock_base_text(&arena));
    if (now)
        text_add(&out, "%s", nft_lock_elements(&arena, now, false));
    if (op->kind == OP_LOCK_SET)
        text_add(&out, "%s", nft_lock_elements(&arena, &op->lock, true));
    bool part = observed->lock_base && observed->locks.count;
    rc = nft_run(host, text_get(&out), err);
    if (rc == 0 && part)
        nft_seen_note(host, op);
    else
        nft_seen_forget(host);
    return rc;
}

int nft_lock_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    if (op->kind == OP_NIC_SET)
        return lacking(nft_lock_nic_set(host, &op->nic, false, err), err);
    if (op->kind == OP_NIC_REMOVE)
        return lacking(nft_lock_nic_set(host, &(struct lock_nic){.ifname = op->nic.ifname}, false, err), err);
    return lacking(lock_apply(host, op, flags, err), err);
}

static int table_each(const struct nlmsghdr *header, void *data)
{
    (void)header, (void)data;
    return 0;
}

/* -ENOENT: there is no such table. */
static int table_find(struct linux_host *host, struct err *err)
{
    struct netlink_message message;
    struct nfgenmsg *header =
        netlink_start(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, sizeof(*header));
    header->nfgen_family = NFPROTO_BRIDGE;
    netlink_put_string(&message, NFTA_TABLE_NAME, "vmwire_lock");
    return netlink_call(&host->netfilter, &message, table_each, NULL, err);
}

/* What an earlier tap of that name was locked to; -ENOENT: nothing. */
static int record_get(struct linux_host *host, struct arena *arena, const char *ifname, struct lock_nic *nic,
                      struct err *err)
{
    const struct nft_table table = {NFPROTO_BRIDGE, "vmwire_lock", .arena = arena};
    uint8_t name[16] = "";
    struct nft_element element;
    memcpy(name, ifname, strnlen(ifname, sizeof(name) - 1));
    int rc = nft_element_get(host, &table, "nics", &(struct nft_bytes){name, sizeof(name)}, &element, err);
    return rc == 0 && !nft_lock_nic_parse(arena, ifname, element.comment, nic) ? -ENOENT : rc;
}

int nft_lock_nic_set(struct linux_host *host, const struct lock_nic *nic, bool fresh, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct text out = {.arena = &arena};
    struct lock_nic old;
    int rc = netlink_open(&host->netfilter, NETLINK_NETFILTER, err);
    if (rc == 0)
        rc = table_find(host, err);
    /* Without a table, or a kernel that has one, nobody asked for locks; or `up` has yet to put them back. */
    if (rc == -ENOENT || (rc != -EPERM && nft_unreadable(rc)))
        return 0;
    if (rc == 0)
        rc = record_get(host, &arena, nic->ifname, &old, err);
    if (rc < 0 && rc != -ENOENT)
        return err_wrap(err, "asking what '%s' is locked to", nic->ifname);
    if (rc == 0)
        text_add(&out, "%s", nft_lock_nic_text(&arena, &old, false));
    if (rc == 0 && fresh)
        text_add(&out, "%s", nft_lock_forget_text(&arena, nic->ifname));
    if (nic->network)
        text_add(&out, "%s", nft_lock_nic_text(&arena, nic, true));
    return out.length ? nft_run(host, text_get(&out), err) : 0;
}

/* Words of a moment in which the kernel could not be asked, not of what it lacks. */
static bool passing(const char *text)
{
    static const char *const words[] = {"cache initialization failed", "No buffer space", "Cannot allocate",
                                        "Interrupted", NULL};
    for (size_t i = 0; words[i]; i++) {
        if (strstr(text, words[i]))
            return true;
    }
    return false;
}

/* The whole table is offered to the kernel, which judges it and forgets it. */
int nft_lock_probe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    int rc = nft_open(host, err);
    /* libnftables speaks of it on standard error when the caller may not. */
    if (rc == 0 && table_find(host, NULL) != -EPERM) {
        nft_ctx_set_dry_run(host->nft, true);
        rc = nft_run(host, nft_lock_base_text(arena), err);
        nft_ctx_set_dry_run(host->nft, false);
    }
    if (rc == 0 || rc == -EPERM)
        return 0;
    if (rc != -EOPNOTSUPP && passing(err->text))
        return err_wrap(err, "asking the kernel for locks");
    lacking(rc, err);
    observed->lock_refusal = arena_strdup(arena, err->text);
    return 0;
}
