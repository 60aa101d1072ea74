/* lock_text.h: frames that a lock dropped, in words: which lock, why, and what would be right.  For doctor,
 * which has counts, and for trace, which has the frame. */
#ifndef VMWIRE_DIAG_LOCK_TEXT_H
#define VMWIRE_DIAG_LOCK_TEXT_H

#include "diag/finding.h"
#include "model/state.h"

struct lock_offence {
    enum lock_kind kind;
    struct mac mac;  /* that the guest sent under, or asked a lease for; unset: not that is the matter */
    struct ip ip;    /* that it sent under; unset: not known */
    bool misnamed;   /* LOCK_ARP: not for the address, but for the MAC that it named beside it */
    bool asks_lease; /* LOCK_DHCP: it does not answer, it asks for another MAC */
};

const struct lock *lock_of_network(const struct observed *observed, const char *network);
const struct lock_drops *lock_drops_of(const struct observed *observed, const char *tap);

/* "10.0.0.9 (given), 10.0.0.12 (leased)", or "none"; and whether `ip` is among them. */
const char *lock_own_addresses(struct arena *arena, const struct observed *observed, const char *tap,
                               const struct mac *mac, const struct ip *ip, bool *own);

/* Title and cure. */
void lock_words(struct findings *findings, struct finding *finding, const struct lock *lock,
                const struct lock_offence *offence);

#endif
