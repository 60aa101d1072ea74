/* ruleset_walk.h: what the two halves of ruleset_judge share: a packet on its way through the chains. */
#ifndef VMWIRE_MODEL_RULESET_WALK_H
#define VMWIRE_MODEL_RULESET_WALK_H

#include <string.h>

#include "model/ruleset.h"

enum { HEADER_SIZE = 64 };

enum truth { NO, MAYBE, YES };

/* Bits and which of them are known; unknown ones are zero in `bits`. */
struct bytes {
    uint8_t bits[HEADER_SIZE], known[HEADER_SIZE];
};

struct walk {
    const struct ruleset *ruleset;
    const struct sample *sample;
    const struct rule_chain *base;
    uint8_t family;       /* NFPROTO_* that this chain's packets have */
    const char *in, *out; /* as this hook sees them */
    struct bytes link, network, transport;
    size_t network_size;
    bool mark_unknown;
    struct bytes registers;
    unsigned steps, depth;
    struct judgement suspect; /* the first that drops it, or might */
    const char *doubt;        /* the last thing that was not known */
};

enum { FAMILY_IPV4 = 2, FAMILY_ARP = 3, FAMILY_NETDEV = 5, FAMILY_BRIDGE = 7, FAMILY_IPV6 = 10 };

uint16_t sample_ethertype(const struct sample *sample);
/* Fill in the packet's headers, as far as they are known. */
void walk_headers_make(struct walk *walk);
/* One step; MAYBE where what is known does not tell. */
enum truth walk_step(struct walk *walk, const struct rule_step *step);
/* Does the set's element match the registers from `at`? */
enum truth walk_element_has(const struct walk *walk, const struct rule_set *set,
                            const struct set_element *element, size_t at);

#endif
