/* firewall_text.h: what other firewalls refuse a network, and how to let it pass there, in words. */
#ifndef VMWIRE_DIAG_FIREWALL_TEXT_H
#define VMWIRE_DIAG_FIREWALL_TEXT_H

#include "plan/refusal.h"

struct firewall_lines {
    VEC(const char *) list;
};

/* One line for each rule or policy that certainly drops some of the bridge's traffic: what is dropped, where,
 * and the command that lets it pass. */
void firewall_lines(struct arena *arena, const char *bridge, const struct refusals *refusals,
                    struct firewall_lines *lines);

/* The command that lets it pass where it is dropped: iptables' for a chain of iptables', else nft's. */
const char *firewall_cure(struct arena *arena, const char *bridge, const struct refusal *refusal);

#endif
