/* nft_shared.c: writes the table of the networks that share a MAC (nft_shared_text.c), one transaction an
 * operation. */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <string.h>

#include "base/text.h"
#include "host/linux/linux.h"

static const struct shared *known_network(const struct observed *observed, const char *network)
{
    vec_foreach (&observed->shareds, shared) {
        if (strcmp(shared->network, network) == 0)
            return shared;
    }
    return NULL;
}

static bool any_trace(const struct observed *observed, const char *network, bool others)
{
    vec_foreach (&observed->shared_traces, trace) {
        if ((strcmp(*trace, network) != 0) == others)
            return true;
    }
    return false;
}

/* All that is vmwire's goes: with the table, or from among what others have put there. */
static void drop(const struct observed *observed, struct text *out)
{
    if (!observed->shared_others) {
        text_add(out, "add table bridge vmwire\ndelete table bridge vmwire\n");
        return;
    }
    vec_foreach (&observed->shared_objects, object) {
        if (strncmp(*object, "chain ", 6) == 0)
            text_add(out, "flush %s\n", *object);
    }
    vec_foreach (&observed->shared_objects, object)
        text_add(out, "delete %s\n", *object);
}

/* The whole table anew, with every network that was whole but `without`.  What was learned is learned again.
 */
static void rebuild(struct arena *arena, const struct observed *observed, const char *without,
                    struct text *out)
{
    drop(observed, out);
    text_add(out, "%s", nft_shared_base_text(arena));
    vec_foreach (&observed->shareds, shared) {
        if (strcmp(shared->network, without) != 0)
            text_add(out, "%s", nft_shared_set_text(arena, shared));
    }
    vec_foreach (&observed->shared_addresses, address) {
        if (address->fixed && strcmp(address->network, without) != 0 &&
            known_network(observed, address->network))
            text_add(out, "%s", nft_shared_address_text(arena, address, true));
    }
}

static int shared_set(struct linux_host *host, struct arena *arena, const struct observed *observed,
                      const struct shared *shared, struct err *err)
{
    struct text out = {.arena = arena};
    if (!observed->shared_base || any_trace(observed, shared->network, false))
        rebuild(arena, observed, shared->network, &out);
    text_add(&out, "%s", nft_shared_set_text(arena, shared));
    return nft_run(host, text_get(&out), err);
}

static int shared_remove(struct linux_host *host, struct arena *arena, const struct observed *observed,
                         const struct shared *shared, unsigned flags, struct err *err)
{
    struct text out = {.arena = arena};
    const struct shared *old = known_network(observed, shared->network);
    if (!any_trace(observed, shared->network, false) && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ENOENT, "there are no such rules of network '%s'", shared->network);
    if (!any_trace(observed, shared->network, true))
        drop(observed, &out);
    else if (old && observed->shared_base)
        text_add(&out, "%s", nft_shared_remove_text(arena, old, link_index(old->uplink, NULL)));
    else if (any_trace(observed, shared->network, false))
        rebuild(arena, observed, shared->network, &out);
    int rc = out.length ? nft_run(host, text_get(&out), err) : 0;
    /* Where there are no rules at all there are none to take back. */
    return rc == -EOPNOTSUPP && (flags & HOST_APPLY_TOLERANT) ? 0 : rc;
}

/* What is known of this address by other ways, learned or fixed for another, as the text that takes it away.
 */
static void forget_address(struct arena *arena, const struct observed *observed,
                           const struct shared_address *want, struct text *out)
{
    vec_foreach (&observed->shared_addresses, address) {
        if (strcmp(address->network, want->network) != 0 || !ip_equal(&address->ip, &want->ip))
            continue;
        const char *ip = arena_strdup(arena, IP_TEXT(&want->ip));
        text_add(out, "delete element bridge vmwire owner_%s { %s }\n", want->network, ip);
        if (address->held)
            text_add(out, "delete element bridge vmwire held_%s { %s . %s }\n", want->network, ip,
                     MAC_TEXT(&address->mac));
        if (address->live)
            text_add(out, "delete element bridge vmwire live_%s { %s }\n", want->network, ip);
    }
}

static int address_apply(struct linux_host *host, struct arena *arena, const struct observed *observed,
                         const struct op *op, unsigned flags, struct err *err)
{
    const struct shared_address *want = &op->shared_address;
    bool add = op->kind == OP_SHARED_ADDRESS_ADD;
    struct text out = {.arena = arena};
    if (!known_network(observed, want->network)) {
        if (!add && (flags & HOST_APPLY_TOLERANT))
            return 0;
        return err_set(err, ENOENT, "there are no such rules of network '%s'", want->network);
    }
    forget_address(arena, observed, want, &out);
    if (!add && !out.length && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ENOENT, "it is not known there");
    if (out.length) /* and what was looked up of it just now */
        text_add(&out, "flush map bridge vmwire fresh\nflush map bridge vmwire known\n");
    if (add)
        text_add(&out, "%s", nft_shared_address_text(arena, want, true));
    return out.length ? nft_run(host, text_get(&out), err) : 0;
}

/* What nft says of a kernel that lacks something is of no use to those who read it. */
static int lacking(int rc, struct err *err)
{
    if (rc != -EOPNOTSUPP)
        return rc;
    return err_set(err, EOPNOTSUPP,
                   "this kernel's nf_tables has no bridge family, or one without sets that packets write to "
                   "(CONFIG_NF_TABLES_BRIDGE, Linux 5.4 or later)");
}

int nft_shared_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct observed observed = {0};
    int rc = nft_shared_observe(host, &arena, &observed, err);
    if (rc < 0)
        return rc;
    if (op->kind == OP_SHARED_SET)
        rc = shared_set(host, &arena, &observed, &op->shared, err);
    else if (op->kind == OP_SHARED_REMOVE)
        rc = shared_remove(host, &arena, &observed, &op->shared, flags, err);
    else
        rc = address_apply(host, &arena, &observed, op, flags, err);
    return lacking(rc, err);
}

static int table_each(const struct nlmsghdr *header, void *data)
{
    (void)header, (void)data;
    return 0;
}

static void table_reset(void *data)
{
    (void)data;
}

/* libnftables speaks of it on standard error when the caller may not. */
static bool may_ask(struct linux_host *host)
{
    struct netlink_message message;
    struct nfgenmsg *header =
        netlink_start(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, sizeof(*header));
    header->nfgen_family = NFPROTO_BRIDGE;
    return netlink_dump(&host->netfilter, &message, table_each, table_reset, NULL, NULL) != -EPERM;
}

/* All of it is offered to the kernel, which judges it and forgets it. */
void nft_shared_probe(struct linux_host *host, struct arena *arena, struct observed *observed)
{
    struct err err = {0};
    const struct shared shared = {.network = "probe", .bridge = "probe", .uplink = "lo"};
    const char *text =
        arena_printf(arena, "%s%s", nft_shared_base_text(arena), nft_shared_set_text(arena, &shared));
    int rc = nft_open(host, &err);
    if (rc == 0 && may_ask(host)) {
        nft_ctx_set_dry_run(host->nft, true);
        rc = nft_run(host, text, &err);
        nft_ctx_set_dry_run(host->nft, false);
        nft_seen_forget(host);
    }
    if (rc < 0 && rc != -EPERM) {
        lacking(rc, &err);
        observed->shared_refusal = arena_strdup(arena, err.text);
    }
}
