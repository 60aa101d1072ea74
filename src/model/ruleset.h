/* ruleset.h: every firewall chain of a host, whoever owns it, as data; and what becomes of a packet in them.
 *
 * Theory of operation.  A rule is a short program on 64 bytes of registers, as nftables runs it: load a part
 * of the packet, mask it, compare it, end with a verdict.  The Linux host reads the programs (iptables' rules
 * of both kinds come out as the same), and ruleset_judge runs them on a packet of which some bits are known
 * and others are not: a guest's address is known to the length of its subnet, a DHCP request's ports wholly.
 * So a comparison is true, false or unknown, and a rule of which one is unknown may match.  What comes out is
 * "passed" or "dropped, by this rule" where it is so for every packet of that kind, and "unknown" else.
 *
 * Sources: <linux/netfilter/nf_tables.h>, the kernel's nft_*.c, iptables-extensions(8). */
#ifndef VMWIRE_MODEL_RULESET_H
#define VMWIRE_MODEL_RULESET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "model/address.h"
#include "model/admission.h"

enum { REGISTERS_SIZE = 64, REGISTER_VERDICT = 0xff };

enum rule_verdict {
    RULE_CONTINUE,
    RULE_ACCEPT,
    RULE_DROP,
    RULE_REJECT, /* dropped, and the sender is told */
    RULE_JUMP,
    RULE_GOTO,
    RULE_RETURN,
    RULE_QUEUE, /* handed to a program, or on another way: what becomes of it is not known */
};

/* What a load reads. */
enum rule_source {
    SOURCE_UNKNOWN, /* something that vmwire does not know of: every bit of it is unknown */
    SOURCE_LINK,    /* bytes of the frame's header, at `offset` */
    SOURCE_NETWORK,
    SOURCE_TRANSPORT,
    SOURCE_ETHERTYPE, /* big-endian, as all that follows is in the machine's own order where it is a number */
    SOURCE_FAMILY,    /* NFPROTO_*, one byte */
    SOURCE_PROTOCOL,  /* IPPROTO_*, one byte */
    SOURCE_IN_NAME,   /* 16 bytes, filled with zeros: the interface that a chain of IP sees */
    SOURCE_OUT_NAME,
    SOURCE_IN_INDEX,
    SOURCE_OUT_INDEX,
    SOURCE_IN_PORT, /* 16 bytes: the bridge's port (iptables' physdev) */
    SOURCE_OUT_PORT,
    SOURCE_IN_BRIDGE, /* 16 bytes: in a chain of the bridge family, the bridge */
    SOURCE_OUT_BRIDGE,
    SOURCE_MARK,
    SOURCE_CT_STATE, /* bits: 1 invalid, 2 established, 4 related, 8 new, 64 untracked */
    SOURCE_CT_DIRECTION,
    SOURCE_CT_STATUS,
    SOURCE_TARGET_TYPE, /* RTN_* of the target address: 1 unicast, 2 local */
    SOURCE_SOURCE_TYPE,
    SOURCE_REVERSE_INDEX, /* by which interface the routes lead to the source */
    SOURCE_REVERSE_THERE, /* one byte: they lead there at all */
    SOURCE_NOTHING,       /* what a forwarded packet does not have (the user of its socket) */
};

enum rule_step_kind {
    STEP_LOAD,    /* `source` into `to` */
    STEP_SET,     /* `data` into `to`, or `verdict` */
    STEP_FORGET,  /* `to` becomes unknown */
    STEP_MASK,    /* `to` = (`from` & `data`) ^ `data2` */
    STEP_SWAP,    /* `to` = `from`, its numbers of `size` bytes turned round */
    STEP_COMPARE, /* with `data`: goes on where `compare` holds */
    STEP_RANGE,   /* goes on where `data` <= `from` <= `data2` (not: `negate`) */
    STEP_LOOKUP,  /* goes on where `set` has `from` (not: `negate`); a map's value goes into `to` */
    STEP_MAYBE,   /* something that vmwire does not know (named `what`): goes on or not */
    STEP_MARK,    /* sets the packet's mark to something unknown */
    STEP_END,     /* `verdict` */
};

enum rule_compare {
    COMPARE_EQUAL,
    COMPARE_NOT_EQUAL,
    COMPARE_LESS,
    COMPARE_AT_MOST,
    COMPARE_MORE,
    COMPARE_AT_LEAST
};

struct rule_target {
    enum rule_verdict verdict;
    const char *chain; /* of JUMP and GOTO: in the same table */
};

/* One element of a set: the keys from first to last.  With concatenated keys each field has its own range. */
struct set_element {
    const uint8_t *first, *last; /* `length` bytes each; NULL: every key (the map's default) */
    bool end;                    /* while it is read: an interval ends before `first` */
    struct rule_target target;   /* of a verdict map */
    bool data;                   /* a map of something else: its value is not kept */
};

struct rule_set {
    const char *family, *table, *name;
    uint32_t id; /* of an anonymous one, while it is read */
    size_t length;
    bool interval, map;
    bool needed;         /* some rule looks into it */
    bool cut;            /* it has more than is here */
    VEC(uint8_t) fields; /* lengths of concatenated keys, each padded to 4 bytes; empty: one field */
    VEC(struct set_element) elements;
};

struct rule_step {
    enum rule_step_kind kind;
    enum rule_source source;
    enum rule_compare compare;
    bool negate;
    uint8_t from, to; /* offsets into the registers; `to` may be REGISTER_VERDICT */
    uint8_t length;   /* bytes */
    uint8_t size;
    uint16_t offset;
    const uint8_t *data, *data2;
    const char *set_name;
    uint32_t set_id;
    const struct rule_set *set; /* NULL: not found, not known */
    struct rule_target target;
    const char *what;
};

struct rule {
    uint64_t handle;     /* of nftables; of iptables-legacy its number in the chain, from 1 */
    const char *comment; /* "" none */
    VEC(struct rule_step) steps;
};

enum chain_hook {
    HOOK_NONE,
    HOOK_INGRESS,
    HOOK_PREROUTING,
    HOOK_INPUT,
    HOOK_FORWARD,
    HOOK_OUTPUT,
    HOOK_POSTROUTING,
    HOOK_EGRESS
};

struct rule_chain {
    const char *family; /* "inet", "ip", "ip6", "bridge", "netdev" */
    const char *table, *name;
    enum chain_hook hook; /* HOOK_NONE: only jumped to */
    int priority;
    bool policy_drop;
    bool nat;                     /* of type nat: it sees a connection's first packet only */
    bool legacy;                  /* of iptables-legacy, not of nftables */
    VEC(const char *) interfaces; /* of an ingress or egress hook */
    VEC(struct rule) rules;
};

struct ruleset {
    bool read;                     /* it could be read: false without CAP_NET_ADMIN */
    bool legacy;                   /* iptables-legacy has tables, and they could not be read */
    bool bridged_ip, bridged_ip6;  /* bridged frames go through the chains of IP as well (br_netfilter) */
    VEC(struct rule_chain) chains; /* vmwire's own tables' are not among them */
    VEC(struct rule_set) sets;
};

/* A packet, as far as it is known. */
struct sample {
    const char *in, *out;              /* interfaces, as IP sees them; "" none (from or for the host) */
    const char *in_port, *out_port;    /* ports of the bridge; NULL: not known; "" none */
    int in_index, out_index;           /* 0: not known */
    struct prefix source, target;      /* known to this length; the family of both is the packet's */
    struct mac source_mac, target_mac; /* zero: not known */
    uint16_t ethertype;                /* 0: by the family */
    uint8_t protocol;                  /* IPPROTO_*; 0: not known */
    uint16_t source_port, target_port; /* 0: one that a sender chose, above 32767 */
    uint8_t icmp_type; /* with ICMP and ICMPv6; of the latter, neighbour discovery's are of one hop */
    bool answer;       /* of a connection that is there; else the first packet of one */
    bool translated;   /* by a port forward (ct status dnat) */
    bool target_local; /* the host's own address */
    bool target_broadcast;
    bool source_local;
};

enum judged_as { JUDGED_PASSED, JUDGED_DROPPED, JUDGED_UNKNOWN };

struct judgement {
    enum judged_as as;
    /* Of DROPPED and UNKNOWN, who drops it, or might: */
    const struct rule_chain *base;  /* the chain that hangs from the hook */
    const struct rule_chain *chain; /* where the rule is */
    const struct rule *rule;        /* NULL: by the policy of `base` */
    bool told;                      /* rejected: the sender hears of it */
    const char *why; /* of UNKNOWN: what is not known of the packet or the rule, in a few words */
};

/* The whole way of a packet of IP: forwarded (`in` and `out` given), to the host (`out` ""), or from it (`in`
 * ""), through the chains of inet and IP, and of the network devices.  Where in_port or out_port is given,
 * through the bridge's as well. */
struct judgement ruleset_judge_way(const struct ruleset *ruleset, const struct sample *sample);

/* ARP that the host itself takes in (`out` "") or sends (`in` ""): the family arp has chains of its own. */
struct judgement ruleset_judge_arp(const struct ruleset *ruleset, const struct sample *sample);

/* Between two ports of the bridge `in`. */
struct judgement ruleset_judge_bridged(const struct ruleset *ruleset, const struct sample *sample);

const struct rule_chain *ruleset_chain_find(const struct ruleset *ruleset, bool legacy, const char *family,
                                            const char *table, const char *name);

/* The rule of an admission that is only planned becomes one of its chain, where there is that chain. */
void ruleset_admit(struct arena *arena, struct ruleset *ruleset, const struct admission *admission);

/* "Docker", "ufw", "firewalld", "libvirt": whose rules these are as far as names tell; NULL: not known. */
const char *judgement_owner(const struct ruleset *ruleset, const struct judgement *judgement);

/* "table 'ip filter', chain 'FORWARD', by its policy", "table 'inet foreign', chain 'fw', rule 7 (comment)".
 */
const char *judgement_text(struct arena *arena, const struct judgement *judgement);

#endif
