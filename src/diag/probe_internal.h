/* probe_internal.h: what probe_guest.c and probe_guest6.c share: they run in the guest. */
#ifndef VMWIRE_DIAG_PROBE_INTERNAL_H
#define VMWIRE_DIAG_PROBE_INTERNAL_H

#include "diag/probe.h"

/* The clock of the guest's steps, CLOCK_MONOTONIC. */
int64_t probe_now_ns(void);
/* Wait for input until `end_ns`; false when the time is over. */
bool probe_wait_input(int fd, int64_t end_ns);

/* Ask for routers where the kernel does not (host_guest.solicit). */
void probe_solicit(const struct probe_guest *guest);
/* What the kernel made of router advertisements since `born_ns`: PROBE_ROUTER6.  Skipped, with the reason,
 * where none came and none need come. */
void probe_router6(const struct probe_guest *guest, int64_t born_ns, struct probe_report *report);
/* Ping guest->target6, else the router: PROBE_PING6. */
void probe_ping6(const struct probe_guest *guest, const struct ip *router, struct probe_report *report);
/* Ask DHCPv6 servers for an offer, and take none: PROBE_LEASE6.  The guest has its link-local address. */
void probe_lease6(const struct probe_guest *guest, struct probe_report *report);

#endif
