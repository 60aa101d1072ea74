/* nft_seen.c: vmwire's table and that of its locks as the last look, and what was done since, left them.
 *
 * A plan changes them network by network.  To read all of it each time would make the whole quadratic, so
 * what was read is kept with the generation of nftables (every transaction of anybody makes it one more), and
 * what is about to be done is noted, for the operations behind it in the same transaction and for the next
 * one, which reads it all again unless that transaction alone has moved the generation. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "host/linux/linux.h"

struct nft_seen {
    struct arena arena;
    struct observed observed;
    uint32_t generation; /* 0: nothing is known */
};

static int generation_each(const struct nlmsghdr *header, void *data)
{
    const struct nlattr *table[NFTA_GEN_MAX + 1];
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_GEN_MAX + 1);
    if (table[NFTA_GEN_ID])
        *(uint32_t *)data = ntohl(netlink_u32(table[NFTA_GEN_ID]));
    return 0;
}

/* 0: the kernel does not tell. */
static uint32_t generation(struct linux_host *host)
{
    struct netlink_message message;
    struct err ignored;
    uint32_t number = 0;
    if (netlink_open(&host->netfilter, NETLINK_NETFILTER, &ignored) < 0)
        return 0;
    netlink_start(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, sizeof(struct nfgenmsg));
    return netlink_call(&host->netfilter, &message, generation_each, &number, &ignored) < 0 ? 0 : number;
}

void nft_seen_close(struct linux_host *host)
{
    if (host->seen)
        arena_free(&host->seen->arena);
    free(host->seen);
    host->seen = NULL;
}

int nft_seen_get(struct linux_host *host, const struct observed **observed, struct err *err)
{
    if (!host->seen)
        host->seen = calloc(1, sizeof(*host->seen));
    if (!host->seen)
        return err_errno(err, ENOMEM, "reading the firewall rules");
    struct nft_seen *seen = host->seen;
    uint32_t now = generation(host);
    *observed = &seen->observed;
    if (now && now == seen->generation)
        return 0;
    arena_free(&seen->arena);
    seen->arena = (struct arena){0};
    seen->observed = (struct observed){0};
    seen->generation = 0;
    int rc = nft_observe(host, &seen->arena, &seen->observed, err);
    if (rc == 0)
        rc = nft_lock_observe(host, &seen->arena, &seen->observed, err);
    if (rc == 0 && generation(host) == now)
        seen->generation = now;
    return rc;
}

static void note_lock(struct nft_seen *seen, const struct op *op, enum nft_extent extent)
{
    struct observed *observed = &seen->observed;
    for (size_t i = observed->locks.count; i-- > 0;) {
        if (strcmp(observed->locks.items[i].network, op->network) == 0)
            observed->locks.items[i] = observed->locks.items[--observed->locks.count];
    }
    if (op->kind == OP_LOCK_SET)
        *vec_push(&seen->arena, &observed->locks) = op->lock;
    observed->lock_base |= extent != NFT_ELEMENTS;
}

static void note_firewall(struct nft_seen *seen, const struct op *op, enum nft_extent extent)
{
    struct observed *observed = &seen->observed;
    for (size_t i = observed->firewalls.count; i-- > 0;) {
        if (strcmp(observed->firewalls.items[i].network, op->network) == 0)
            observed->firewalls.items[i] = observed->firewalls.items[--observed->firewalls.count];
    }
    for (size_t i = observed->firewall_traces.count; i-- > 0;) {
        if (strcmp(observed->firewall_traces.items[i], op->network) == 0)
            observed->firewall_traces.items[i] =
                observed->firewall_traces.items[--observed->firewall_traces.count];
    }
    if (extent != NFT_ELEMENTS) { /* half a network does not come through it */
        observed->firewall_base = extent == NFT_TABLE;
        observed->firewall_none = extent == NFT_NO_TABLE;
        observed->firewall_traces.count = 0;
        vec_foreach (&observed->firewalls, firewall)
            *vec_push(&seen->arena, &observed->firewall_traces) = firewall->network;
    }
    if (op->kind == OP_FIREWALL_SET) {
        *vec_push(&seen->arena, &observed->firewalls) = op->firewall;
        *vec_push(&seen->arena, &observed->firewall_traces) = op->network;
    }
}

int nft_seen_note(struct linux_host *host, const struct op *op, enum nft_extent extent, struct err *err)
{
    struct nft_seen *seen = host->seen;
    /* The plan's memory may go before the host does. */
    struct op copy;
    int rc = op_parse(&seen->arena, op_format(&seen->arena, op), &copy, err);
    if (rc < 0)
        return rc;
    if (op->kind == OP_LOCK_SET || op->kind == OP_LOCK_REMOVE)
        note_lock(seen, &copy, extent);
    else
        note_firewall(seen, &copy, extent);
    return 0;
}

void nft_seen_moved(struct linux_host *host)
{
    if (host->seen && host->seen->generation)
        host->seen->generation =
            generation(host) == host->seen->generation + 1 ? host->seen->generation + 1 : 0;
}

void nft_seen_forget(struct linux_host *host)
{
    if (host->seen)
        host->seen->generation = 0;
}
