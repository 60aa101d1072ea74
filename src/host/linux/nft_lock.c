/* nft_lock.c: writes the table of locks (nft_lock_text.c): what a network's lock changes of it, each nic, and
 * the question whether this kernel can have it. */
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
int nft_lock_lacking(int rc, struct err *err)
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

int nft_lock_change(struct arena *arena, const struct observed *observed, const struct op *op, unsigned flags,
                    struct text *out, enum nft_extent *extent, struct err *err)
{
    const struct lock *now = known(observed, op->network);
    bool set = op->kind == OP_LOCK_SET, whole = observed->lock_base && observed->locks.count;
    if (!set && !now)
        return flags & HOST_APPLY_TOLERANT
                   ? 0
                   : err_set(err, ENOENT, "there are no such rules of network '%s'", op->network);
    *extent = !set && observed->locks.count == 1 ? NFT_NO_TABLE : set && !whole ? NFT_TABLE : NFT_ELEMENTS;
    if (*extent == NFT_NO_TABLE) {
        text_add(out, "delete table " TABLE "\n");
        return 0;
    }
    if (*extent == NFT_TABLE)
        text_add(out, "%s", nft_lock_base_text(arena));
    if (now)
        text_add(out, "%s", nft_lock_elements(arena, now, false));
    if (set)
        text_add(out, "%s", nft_lock_elements(arena, &op->lock, true));
    return 0;
}

int nft_lock_nic_apply(struct linux_host *host, const struct op *op, struct err *err)
{
    struct lock_nic none = {.ifname = op->nic.ifname};
    return nft_lock_lacking(nft_lock_nic_set(host, op->kind == OP_NIC_SET ? &op->nic : &none, false, err),
                            err);
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
    nft_lock_lacking(rc, err);
    observed->lock_refusal = arena_strdup(arena, err->text);
    return 0;
}
