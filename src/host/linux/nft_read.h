/* nft_read.h: one table of vmwire's in nftables, read back as data.  Reading needs CAP_NET_ADMIN. */
#ifndef VMWIRE_HOST_LINUX_NFT_READ_H
#define VMWIRE_HOST_LINUX_NFT_READ_H

#include "host/linux/linux.h"

struct nft_chain {
    const char *name;
    bool drops; /* by its policy, what no rule decides */
};

struct nft_named_set {
    const char *name;
    bool map, anonymous; /* anonymous: part of a rule */
};

struct nft_table {
    uint8_t family; /* NFPROTO_* */
    const char *name;
    struct arena *arena;        /* holds what is read */
    VEC(struct nft_rule) rules; /* in their order; `text` is not read */
    VEC(struct nft_chain) chains;
    VEC(struct nft_named_set) sets;
};

/* A part that is not there or cannot be read has no bytes. */
struct nft_bytes {
    const uint8_t *bytes;
    size_t length;
};

struct nft_element {
    struct nft_bytes key, value;
    const char *chain; /* to which its verdict goes; "" none */
    bool accepts;      /* its verdict is `accept` */
    const char *comment;
    uint64_t timeout_ms, left_ms; /* 0: none */
    uint64_t packets;             /* that its counter counted */
};

struct nft_elements {
    VEC(struct nft_element) list;
};

/* Each fills what it is named by, in dumps that nobody changed meanwhile.  Of a table that is not there,
 * nothing; -ENOENT from kernels that say so. */
int nft_rules_read(struct linux_host *host, struct nft_table *table, struct err *err);
/* Rules, chains and sets. */
int nft_table_read(struct linux_host *host, struct nft_table *table, struct err *err);
/* The elements of one set or map; -ENOENT when it is not there. */
int nft_elements_read(struct linux_host *host, const struct nft_table *table, const char *set,
                      struct nft_elements *elements, struct err *err);
/* One of them, by its key; -ENOENT when it is not there. */
int nft_element_get(struct linux_host *host, const struct nft_table *table, const char *set,
                    const struct nft_bytes *key, struct nft_element *element, struct err *err);

/* How many of `rules` (ending with a NULL chain) were seen, and the place of the last one. */
struct nft_rules_seen {
    size_t count, last;
};
/* Is this rule one of them, and behind those before it in its chain?  Comments stand for the rules. */
bool nft_rule_seen(const struct nft_rule *rules, const struct nft_rule *rule, struct nft_rules_seen *seen);

/* The key of an interface's name, as far as it is one. */
const char *nft_ifname(struct arena *arena, const struct nft_bytes *key);
/* A kernel without netfilter's sockets, without nf_tables or this family; a caller who may not look. */
bool nft_unreadable(int rc);

#endif
