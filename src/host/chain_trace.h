/* chain_trace.h: which firewall chains judged the packets of one nic, and how: every chain of the host,
 * whoever owns it.  Only while a struct chain_trace is open does the host have a rule for it, in tables of
 * its own that the kernel takes away with the process, however that ends. */
#ifndef VMWIRE_HOST_CHAIN_TRACE_H
#define VMWIRE_HOST_CHAIN_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/address.h"

struct host;
struct chain_trace;

enum { CHAIN_FRAME_SIZE = 160, CHAIN_NAME_SIZE = 64, CHAINS_TRACED_MAX = 16 };

struct chain_trace_request {
    const char *taps[CHAINS_TRACED_MAX]; /* what guests send there is traced; ends with NULL */
    const char *uplink;                  /* "" none */
    struct ip target; /* what it sends back through the uplink is traced as well; unset: not */
    /* Answers are traced by the connection that they belong to.  Not where the host does not follow
     * connections: it would begin to. */
    bool connections;
    struct ip guest; /* with `connections`: the guest's address; unset: not known */
};

enum chain_verdict {
    CHAIN_GOES_ON, /* the rule matched, and the next one is asked */
    CHAIN_ACCEPT,
    CHAIN_DROP, /* or reject */
    CHAIN_JUMP, /* to `to_chain`; also goto */
    CHAIN_RETURN,
    CHAIN_OTHER, /* queue, stolen */
};

/* One rule that matched, or a chain's policy. */
struct chain_event {
    uint32_t packet_id; /* the same for the events of one packet, and reused by later ones */
    const char *family; /* "inet", "ip", "ip6", "bridge", "netdev", "arp" */
    char table[CHAIN_NAME_SIZE], chain[CHAIN_NAME_SIZE], to_chain[CHAIN_NAME_SIZE];
    uint64_t handle; /* of the rule; 0: the policy */
    enum chain_verdict verdict;
    int in_index, out_index; /* interfaces, 0: none */
    /* The first event of a packet in each base chain has what the kernel shows of the packet, as a frame
     * whose MACs may be zero; else frame_length is 0. */
    uint8_t frame[CHAIN_FRAME_SIZE];
    size_t frame_length;
};

/* The host's part (host_backend->chain_trace).  Functions return 0 or a negative errno with `err` set. */
struct host_chain_trace {
    /* -EOPNOTSUPP when this kernel cannot: the text says what it lacks. */
    int (*open)(struct host *host, const struct chain_trace_request *request, struct chain_trace **trace,
                struct err *err);
    /* The guest's address has become known: answers to it are traced from now on. */
    int (*guest_set)(struct chain_trace *trace, const struct ip *guest, struct err *err);
    /* For poll(2). */
    int (*fd)(const struct chain_trace *trace);
    /* The next event: 1, or 0 when there is none now. */
    int (*next)(struct chain_trace *trace, struct chain_event *event, struct err *err);
    /* The rule's text, as nft(8) lists it, or the policy's ("policy drop"); "" when it is gone. */
    const char *(*rule_text)(struct chain_trace *trace, struct arena *arena, const char *family,
                             const char *table, const char *chain, uint64_t handle);
    /* Accepts a pointer to NULL. */
    void (*close)(struct chain_trace **trace);
};

#endif
